"""What an overloaded cluster may not do: elections, fencing, ISRs that shrink, memory above the limit, descriptors that stay.

Watch begins when the cluster is idle, looks on from a thread, and judges at the end."""
import json
import os
import re
import subprocess
import threading
import time

from load import expect, wait_until

MB = 1 << 20
# Program, libraries, heap that is not given back at once; an idle broker has 9 MB.
BASE = 48 * MB
TROUBLE = ("link_lost", "peer_dead", "controller", "registered", "fenced", "stopping", "leaders_moved", "isr_left")
STANDSTILL = re.compile(r"event=standstill node=\d+ ms=(\d+)")


def proc_kb(pid, name):
    with open("/proc/%d/status" % pid) as f:
        for line in f:
            if line.startswith(name):
                return int(line.split()[1])
    return 0


def descriptors(pid):
    return len(os.listdir("/proc/%d/fd" % pid))


def words(event):
    return " ".join("%s=%s" % (k, v) for k, v in event.items() if k not in ("sequence", "wall_ms", "age_ms"))


class Watch:
    def __init__(self, bench, cluster, limit):
        self.bench = bench
        self.cluster = cluster
        self.limit = limit
        self.most = {b.id: 0 for b in cluster.brokers}
        self.before = {b.id: (proc_kb(b.process.pid, "VmRSS:") << 10, descriptors(b.process.pid)) for b in cluster.brokers}
        self.log_at = {b.id: os.path.getsize(b.log) for b in cluster.brokers}
        self.events_seen = {b.id: self.events(b)[0] for b in cluster.brokers}
        self.term = self.status()["node_list"][0]["term"]
        for b in cluster.brokers:
            with open("/proc/%d/clear_refs" % b.process.pid, "w") as f:
                f.write("5")  # VmHWM begins anew

    def status(self, broker=None):
        where = "127.0.0.1:%d" % broker.port if broker else self.cluster.bootstrap()
        # It may wait in line behind a crowd of others.
        for _ in range(5):
            done = subprocess.run([self.bench.binary, "status", "-b", where, "-o", "json"], stdout=subprocess.PIPE,
                                  stderr=subprocess.DEVNULL, timeout=60)
            try:
                return json.loads(done.stdout)
            except ValueError:
                time.sleep(1)
        raise RuntimeError("no status of %s" % where)

    def events(self, broker):
        """(the newest sequence, events) as this broker tells them."""
        events = [e for e in self.status(broker)["events"]]
        return max([e["wall_ms"] for e in events], default=0), events

    def peak(self, broker):
        return proc_kb(broker.process.pid, "VmHWM:") << 10

    def standstills(self):
        """How often a state loop was late by more than 250 ms, and the longest time."""
        all_ms = []
        for b in self.cluster.brokers:
            with open(b.log, errors="replace") as f:
                f.seek(self.log_at[b.id])
                all_ms += [int(m) for m in STANDSTILL.findall(f.read())]
        return len(all_ms), max(all_ms, default=0)

    def judge(self, wrong=(), allow=(), extra=0, standstill_ms=1000):
        """Everything but the judged load; a text for the report. extra: bytes above limit and base that the row explains."""
        for b in self.cluster.brokers:
            expect(b.alive(), "node %d ended", b.id)
        wrong = list(wrong)
        state = self.status()
        if not all(n["up"] and not n["fenced"] for n in state["node_list"]):
            wrong.append("a node is down or fenced: %s" % state["problems"])
        for b in self.cluster.brokers:
            events = [e for e in self.events(b)[1]
                      if e["wall_ms"] > self.events_seen[b.id] and e["kind"] in TROUBLE and e["kind"] not in allow]
            wrong += ["node %d tells: %s" % (b.id, "; ".join(words(e) for e in events[:4]))] if events else []
        terms = {n["term"] for n in state["node_list"]}
        if "controller" not in allow and terms != {self.term}:
            wrong.append("the term was %d, is %s" % (self.term, terms))
        peaks = {b.id: self.peak(b) for b in self.cluster.brokers}
        self.figures = {"limit_mb": self.limit // MB, "peak_mb": [p // MB for p in peaks.values()]}
        if max(peaks.values()) > self.limit + BASE + extra:
            wrong.append("peaks of %s MB; the limit is %d and %d of base" % (
                "/".join(str(p // MB) for p in peaks.values()), self.limit // MB, (BASE + extra) // MB))
        count, longest = self.standstills()
        self.figures.update(standstills=count, standstill_ms=longest)
        if longest > standstill_ms:
            wrong.append("a state loop stood still for %d ms" % longest)
        expect(not wrong, "%s", "; ".join(wrong))
        return "peak %s of %d MB; loop late %d times, at most %d ms" % (
            "/".join(str(p // MB) for p in peaks.values()), self.limit // MB, count, longest)

    def back(self, memory_mb, more_descriptors=64, timeout=30):
        """After all have gone: memory within so much of what it was, descriptors as before but for log files."""
        def settled():
            return all(proc_kb(b.process.pid, "VmRSS:") << 10 <= self.before[b.id][0] + memory_mb * MB
                       and descriptors(b.process.pid) <= self.before[b.id][1] + more_descriptors for b in self.cluster.brokers)
        try:
            wait_until("memory and descriptors go back", settled, timeout, 0.5)
        except Exception:
            raise type(self).failure("not given back (peaks of %s MB): %s" % (self.figures["peak_mb"], ", ".join(
                "node %d has %d MB and %d descriptors, had %d and %d" % (
                    b.id, proc_kb(b.process.pid, "VmRSS:") >> 10, descriptors(b.process.pid), self.before[b.id][0] // MB,
                    self.before[b.id][1]) for b in self.cluster.brokers))) from None
        after = [proc_kb(b.process.pid, "VmRSS:") >> 10 for b in self.cluster.brokers]
        self.figures["after_mb"] = after
        return "then %s MB" % "/".join(str(a) for a in after)

    from load import Failure as failure
