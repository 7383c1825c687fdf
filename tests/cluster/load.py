"""Load by the independent client (judge.c) for the fault tests, and the verdict on it."""
import json
import queue
import subprocess
import threading
import time

PARTITIONS = 6  # of a topic that nobody made with more or fewer
FILE = "/usr/share/common-licenses/GPL-3"


class Failure(Exception):
    """A test's sentence on what is wrong."""


def expect(condition, sentence, *values):
    if not condition:
        raise Failure(sentence % values)


def wait_until(what, probe, timeout=60, pause=0.05):
    """Poll until probe() is true and return it."""
    until = time.monotonic() + timeout
    while True:
        value = probe()
        if value:
            return value
        if time.monotonic() > until:
            raise Failure("%s: not within %d s" % (what, timeout))
        time.sleep(pause)


class Load:
    """An idempotent producer with acks=all that writes every partition of a topic steadily, and its memory."""

    def __init__(self, binary, bootstrap, topic="load", partitions=PARTITIONS, interval_ms=20, file=FILE,
                 settings=None, replicas=0, groups=None):
        self.partitions = partitions
        self.groups = 0
        self.groups_wanted = groups  # (groups, members of each)
        more = [part for k, v in (settings or {}).items() for part in ("-X", "%s=%s" % (k, v))]
        more += ["-c", str(replicas)] if replicas else []
        self.process = subprocess.Popen(
            [binary, "-b", bootstrap, "-t", topic, "-p", str(partitions), "-i", str(interval_ms), "-f", file] + more,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, bufsize=1)
        self.events = queue.Queue()
        self.errors = []
        threading.Thread(target=self.listen, daemon=True).start()
        threading.Thread(target=self.listen_errors, daemon=True).start()
        self.hear("ready")

    def listen(self):
        for line in self.process.stdout:
            self.events.put(json.loads(line))
        self.events.put(None)

    def listen_errors(self):
        for line in self.process.stderr:
            self.errors.append(line.strip())

    def last_words(self):
        """What the client itself said last, without its library's log."""
        return " / ".join([e for e in self.errors if e.startswith("judge: ")][-3:] or self.errors[-2:])

    def hear(self, event, timeout=150):
        until = time.monotonic() + timeout
        while True:
            try:
                answer = self.events.get(timeout=max(0.01, until - time.monotonic()))
            except queue.Empty:
                raise Failure("the client did not say '%s' within %d s" % (event, timeout)) from None
            if answer is None:
                time.sleep(0.1)
                raise Failure("the client ended while '%s' was awaited: %s" % (event, self.last_words()))
            if answer["event"] == event:
                return answer

    def say(self, command):
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()

    def ask(self, command, event, timeout=150):
        self.say(command)
        return self.hear(event, timeout)

    def start(self):
        self.say("start")
        self.hear("first_ack", 60)
        self.wait_full()
        if self.groups_wanted:
            self.start_groups(*self.groups_wanted)

    def start_groups(self, groups, members):
        """Consumer groups that read and commit all the time; verdict() looks at what happened to them."""
        self.ask("groups %d %d" % (groups, members), "groups_started")
        self.groups = groups
        wait_until("all groups read and commit", lambda: self.ask("active", "active")["groups"] == groups, 60, 0.1)

    def cluster(self):
        return self.ask("cluster", "cluster")

    def wait_full(self, timeout=60):
        """Every partition has a leader and all its replicas in sync, and is being written."""
        def probe():
            state = self.cluster()
            return state if state["isr_full"] and len(state["leaders"]) == self.partitions and state["steady"] else None
        return wait_until("all replicas in sync and all partitions written", probe, timeout, 0.1)

    def gap_ms(self):
        """The longest time since the last question in which some partition was not acknowledged."""
        return self.ask("gap", "gap")["ms"]

    def verdict(self, at_least=100):
        """End the load, read everything back; anything but all records once and in order is a failure."""
        stopped = self.ask("stop", "stopped")
        verified = self.ask("verify", "verified")
        expect(stopped["failed"] == 0 and stopped["outstanding"] == 0,
               "%d records failed and %d were never answered: %s", stopped["failed"], stopped["outstanding"],
               self.last_words())
        expect(stopped["acked"] >= at_least, "only %d records were acknowledged: the test was idle", stopped["acked"])
        expect(verified["complete"], "the end of the log was not reached within 60 s")
        bad = {k: verified[k] for k in ("lost", "duplicated", "reordered", "changed") if verified[k] != 0}
        expect(not bad, "of %d acknowledged records: %s", stopped["acked"], bad)
        self.figures = {"acked": stopped["acked"], "read": verified["read"],
                        **{k: verified[k] for k in ("lost", "duplicated", "reordered")}}
        told = "%d acknowledged, %d read, 0 lost, 0 duplicated, 0 reordered" % (stopped["acked"], verified["read"])
        return told + (self.group_verdict() if self.groups else "")

    def group_verdict(self):
        history = self.ask("history", "history")
        expect(history["complete"], "a group did not come to the end of the log within 60 s: %s; %s", history["groups"],
               self.last_words())
        for group in history["groups"]:
            bad = {k: group[k] for k in ("back", "stale", "reordered", "changed", "missing") if group[k] != 0}
            expect(not bad, "group %s: %s: %s", group["id"], bad, self.last_words())
            expect(group["commits"] > 0, "group %s never committed anything", group["id"])
        self.figures["groups"] = history["groups"]
        return "; %d groups, %d commits, %d assignments" % (
            self.groups, sum(g["commits"] for g in history["groups"]), sum(g["rebalances"] for g in history["groups"]))

    def end(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
