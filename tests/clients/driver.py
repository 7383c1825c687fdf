#!/usr/bin/env python3
"""Real clients against three real brokers, plain and while leaders are killed with -9; Kafka's tools and kafka-dump-log.

Prints each test and a table client × version × result × seconds to resume. README.md tells what is tested and how."""
import argparse
import json
import os
import signal
import sys
import threading
import time
import traceback

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "lib"), os.path.join(HERE, "..", "cluster")]
import codecs_cross  # noqa: E402
import contract  # noqa: E402
import dump  # noqa: E402
import kill  # noqa: E402
import nestjs_test  # noqa: E402
import plain  # noqa: E402
import selftest  # noqa: E402
import tools  # noqa: E402
import view  # noqa: E402
from brokers import Cluster  # noqa: E402

# Needed by the driver itself, whichever clients are asked for: readers, the creator of topics, Kafka's tools.
NEEDED = ("kcat", "librdkafka", "aiokafka", "java")
AT_ONCE = 4  # clients that go through their plain phase at the same time
START_S = 30
STOP_S = 20  # brokers that waited for each other to take over would need 30


class Report:
    def __init__(self):
        self.began = time.monotonic()
        self.lock = threading.Lock()
        self.tests = []  # (subject, test, passed, text)
        self.kill_loads = {}

    def log(self, text):
        with self.lock:
            print("[%5.1f] %s" % (time.monotonic() - self.began, text), flush=True)

    def test(self, subject, name, function, *arguments):
        """Runs one test; its text is what it saw or why it failed. Returns whether it passed."""
        began = time.monotonic()
        try:
            text = function(*arguments) or "ok"
            passed = True
        except contract.Failed as e:
            text, passed = str(e), False
        except Exception:  # a test that breaks has failed, and the others go on
            text, passed = traceback.format_exc(), False
        with self.lock:
            self.tests.append((subject, name, passed, text))
        self.log("%s %s: %s: %s (%.1f s)" % ("ok  " if passed else "FAIL", subject, name, text, time.monotonic() - began))
        return passed

    def failed(self, subject=None):
        return [t for t in self.tests if not t[2] and subject in (None, t[0])]

    def table(self, clients):
        rows = []
        for c in clients:
            load = self.kill_loads.get(c.name)
            rows.append({"client": c.name, "version": c.version, "result": "failed" if self.failed(c.name) else "passed",
                         "tests": sum(t[0] == c.name for t in self.tests),
                         "produce_resume_s": load.slowest("produce") if load else None,
                         "consume_resume_s": load.slowest("consume") if load else None,
                         "idempotent": c.idempotent})
        return rows


def show(rows):
    print("\n%-16s %-26s %-7s %5s %16s %16s" % ("client", "version", "result", "tests", "resume produce/s", "resume consume/s"))
    for r in rows:
        print("%-16s %-26s %-7s %5d %16s %16s" % (
            r["client"], r["version"], r["result"], r["tests"],
            *("-" if s is None else "%.2f" % s for s in (r["produce_resume_s"], r["consume_resume_s"]))))
    print(flush=True)


def in_threads(jobs, at_once):
    """Runs all jobs, so many at a time."""
    turn = threading.Semaphore(at_once)

    def run(job):
        with turn:
            job()
    threads = [threading.Thread(target=run, args=(job,), daemon=True) for job in jobs]
    for t in threads:
        t.start()
    for t in threads:
        t.join()


def plain_phase(report, cluster, client, readers):
    report.test(client.name, "topic made by asking for it", plain.auto_created, cluster, client)
    group = plain.Group(cluster, client)
    if report.test(client.name, "two members", group.two_members):
        report.test(client.name, "a third joins, one leaves", group.third_joins_one_leaves)
    if client.extra():
        report.test(client.name, "extra", plain.extra, cluster, client)
    report.test(client.name, "codecs", codecs_cross.cross, cluster, client, readers)


def tools_phase(report, cluster, logs):
    t = tools.Tools(cluster, logs)
    for test in tools.ALL:
        report.test("tools", test.__doc__.split("\n")[0], test, t)
    report.test("dump-log", "a closed segment of a running broker", dump.closed_segment, cluster)


def kill_phase(report, cluster, clients):
    loads = []
    for c in clients:
        def begin(client=c):
            load = kill.Load(cluster, client)
            loads.append(load)
            report.kill_loads[client.name] = load
            return "started"
        if not report.test(c.name, "load for the kill", begin):
            continue
    rounds = kill.Rounds(cluster, loads, report.log)
    report.test("cluster", "brokers killed and started again", rounds.play)
    in_threads([lambda load=load: report.test(load.client.name, "kill -9 of leaders", load.verdict) for load in loads], 4)


def lag_zero(report, cluster, logs, groups):
    """What the members committed when they left, in the words of kafka-consumer-groups."""
    def check(out, group):
        rows = tools.group_rows(out, group, group)
        contract.require(all(lag == "0" for _, _, lag in rows.values()), "uncommitted: %s", rows)
        return "lag 0 in %d partitions" % len(rows)
    out = tools.Tools(cluster, logs).groups("--describe", "--all-groups")
    for group in groups:
        report.test(group.split("-", 1)[1], "committed offsets of " + group, check, out, group)


def stop_and_dump(report, cluster, clients):
    def stopped():
        began = time.monotonic()
        contract.require(cluster.stop(STOP_S), "not all brokers ended with status 0 within %d s", STOP_S)
        return "%.1f s" % (time.monotonic() - began)
    report.test("cluster", "clean stop of all brokers at once", stopped)
    seen = {}

    def everything(broker):
        text, seen[broker.id] = dump.all_files(cluster, broker)
        return text
    in_threads([lambda b=b: report.test("dump-log", "all files of node %d" % b.id, everything, b) for b in cluster.brokers], 2)
    report.test("dump-log", "__consumer_offsets", dump.offsets_topic, cluster, ["plain-" + c.name for c in clients])

    def stored(client):
        codecs = set(seen[1]["codecs-" + client.name])
        contract.require(codecs >= {"none", "gzip", "snappy", "lz4", "zstd"}, "only %s", sorted(codecs))
        return " ".join(sorted(codecs))
    for c in clients:
        if c.name in codecs_cross.MUST_HAVE_ALL:
            report.test(c.name, "codecs in the log", stored, c)


def play(report, args, clients, readers, logs):
    cluster = Cluster(args.binary, settings={"num.partitions": plain.PARTITIONS}, keep=args.keep)
    try:
        cluster.start()
        contract.wait_for(START_S, lambda: (m := view.metadata(cluster)) and m.controller > 0, "no controller")
        report.log("three brokers started, %d clients" % len(clients))
        jobs = [lambda c=c: plain_phase(report, cluster, c, readers) for c in clients]
        if not args.only:
            jobs.insert(0, lambda: tools_phase(report, cluster, logs))
        in_threads(jobs, AT_ONCE)
        kill_phase(report, cluster, clients)
        for c in clients:
            if c.name == "nestjs":
                nestjs_test.run(cluster, c, report.test)
        if not args.only:
            report.test("tools", "with a dead broker", tools.with_a_dead_broker, tools.Tools(cluster, logs))
        lag_zero(report, cluster, logs, [kind + c.name for c in clients for kind in ("plain-", "kill-")])
        stop_and_dump(report, cluster, clients)
    finally:
        contract.kill_programs()
        cluster.stop()
        cluster.remove()


def set_up(report, logs, wanted):
    """Sets up the clients asked for and those the driver needs; returns the former, and the latter if all are ready."""
    clients = contract.discover(logs, wanted)
    helpers = [c for c in contract.discover(logs, []) if c.name in NEEDED and c.name not in [d.name for d in clients]]
    for c in clients + helpers:
        c.ready = report.test(c.name, "setup", lambda c=c: c.setup() or c.version)
    needed = [c for c in clients + helpers if c.name in NEEDED]
    return clients, needed if all(c.ready for c in needed) else None


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="clients (all)")
    parser.add_argument("--binary", required=True, help=argparse.SUPPRESS)
    parser.add_argument("--json", help="write the table and all tests to this file")
    parser.add_argument("--keep", action="store_true", help="keep the brokers' data and logs")
    parser.add_argument("--clients-only", dest="only", action="store_true", help="without Kafka's tools")
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("asked to end"))  # brokers and clients are ended on the way out
    logs = os.path.join(os.environ["BUILD"], "clients", "logs")
    os.makedirs(logs, exist_ok=True)
    for name in os.listdir(logs):
        os.unlink(os.path.join(logs, name))
    report = Report()
    report.test("driver", "notices what is wrong", selftest.run)
    clients, readers = set_up(report, logs, args.names)
    if readers is not None:
        report.test("cluster", "the whole story", lambda: play(report, args, [c for c in clients if c.ready], readers, logs))
    else:
        report.log("without %s nothing can be judged" % ", ".join(NEEDED))
    rows = report.table(clients)
    show(rows)
    for subject, name, _, text in report.failed():
        print("FAILED %s: %s: %s" % (subject, name, text))
    if report.failed():
        print("logs: %s" % logs)
    passed = len(report.tests) - len(report.failed())
    if args.json:
        with open(args.json, "w", encoding="utf-8") as f:
            json.dump({"clients": rows, "tests": [dict(zip(("subject", "test", "passed", "text"), t)) for t in report.tests],
                       "passed": passed, "failed": len(report.failed()),
                       "seconds": round(time.monotonic() - report.began, 1)}, f, indent=2)
            f.write("\n")
    print("%d passed, %d failed" % (passed, len(report.failed())))
    sys.exit(1 if report.failed() else 0)


if __name__ == "__main__":
    main()
