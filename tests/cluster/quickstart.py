#!/usr/bin/env python3
"""Three brokers, one topic, an independent client, and a leader killed again and again.

Prints who led, who took over and after how long, and what was acknowledged, read, lost, duplicated. Exit status 0 only if
nothing was lost, duplicated or reordered."""
import argparse
import json
import os
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from brokers import Cluster  # noqa: E402

PARTITIONS = 12
INTERVAL_MS = 20  # between two records of one partition
SETTLE_S = 60     # for every ISR to be full again
BALANCE_S = 30    # for leaders to be back where they are preferred, and the client with them
# librdkafka pauses up to 10 s before it reconnects to a broker that it lost shortly before. Victims take turns, rounds have
# this length at least, and each begins when all partitions are written steadily: the cluster is measured, not that pause.
ROUND_S = 4.0


class Judge:
    def __init__(self, binary, bootstrap, file, topic="quickstart"):
        self.process = subprocess.Popen(
            [binary, "-b", bootstrap, "-t", topic, "-p", str(PARTITIONS), "-i",
             str(INTERVAL_MS), "-f", file],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)

    def say(self, command):
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()

    def hear(self, event):
        while True:
            line = self.process.stdout.readline()
            if line == "":
                raise SystemExit("the judge ended while waiting for '%s'" % event)
            answer = json.loads(line)
            if answer["event"] == event:
                return answer

    def end(self):
        self.process.stdin.close()
        self.process.wait()

    def ask(self, command, event):
        self.say(command)
        return self.hear(event)


def percentile(samples, p):
    ordered = sorted(samples)
    return ordered[min(len(ordered) - 1, int(len(ordered) * p / 100.0))]


def summary(samples):
    if not samples:
        return {"p50": None, "p99": None, "max": None, "samples": 0}
    return {"p50": percentile(samples, 50), "p99": percentile(samples, 99), "max": max(samples),
            "samples": len(samples)}


def wait_full(judge):
    until = time.monotonic() + SETTLE_S
    while time.monotonic() < until:
        state = judge.ask("cluster", "cluster")
        if state["isr_full"] and len(state["leaders"]) == PARTITIONS:
            return state
        time.sleep(0.1)
    raise SystemExit("the in-sync replicas did not come back within %d s" % SETTLE_S)


def balanced(leaders):
    counts = [leaders.count(node) for node in (1, 2, 3)]
    return max(counts) - min(counts) <= 1


def wait_ready(judge, not_before):
    """Every ISR full, leaders spread, all partitions written steadily, and the round's time over."""
    state = wait_full(judge)
    until = time.monotonic() + BALANCE_S
    while time.monotonic() < not_before or not (balanced(state["leaders"]) and state["steady"]):
        if time.monotonic() > max(until, not_before):
            raise SystemExit("after %d s with full ISRs: leaders %s, all partitions %s"
                             % (BALANCE_S, state["leaders"],
                                "written" if state["steady"] else "not written steadily"))
        time.sleep(0.1)
        state = wait_full(judge)
    return state


def choose_victim(leaders, last_killed):
    """Who leads most; among equals, who was spared longest."""
    return max(set(leaders), key=lambda n: (leaders.count(n), -last_killed.get(n, 0)))


def play(args, cluster):
    result = {}
    began = time.monotonic() * 1000
    cluster.start()
    judge = Judge(args.judge, cluster.bootstrap(), args.file, "coldstart")
    judge.hear("ready")
    judge.say("start")
    first = judge.hear("first_ack")
    result["cold_start_ms"] = round(first["ms"] - began, 1)
    judge.ask("stop", "stopped")
    wait_full(judge)  # three brokers are in it
    judge.end()
    judge = Judge(args.judge, cluster.bootstrap(), args.file)
    ready = judge.hear("ready")
    judge.say("start")
    judge.hear("first_ack")
    print("three brokers started; first acknowledged record after %.0f ms" % result["cold_start_ms"])
    samples = []
    controller_samples = []
    last_killed = {}
    state = wait_ready(judge, time.monotonic() + 1)
    for number in range(1, args.rounds + 1):
        leaders = state["leaders"]
        victim = choose_victim(leaders, last_killed)
        last_killed[victim] = number
        round_ends = time.monotonic() + ROUND_S
        partitions = [i for i, leader in enumerate(leaders) if leader == victim]
        was_controller = state["controller"] == victim
        broker = cluster.broker(victim)
        times = judge.ask("kill %d %d %s" % (broker.process.pid, victim,
                                             ",".join(map(str, partitions))), "recovered")["ms"]
        broker.process.wait()
        samples += times
        if was_controller:
            controller_samples += times
        after = judge.ask("cluster", "cluster")
        took_over = sorted(set(after["leaders"][i] for i in partitions
                               if i < len(after["leaders"])))
        print("round %2d: killed node %d%s, leader of %d of %d partitions; node %s took over, "
              "writable again after %.0f ms (slowest %.0f ms)"
              % (number, victim, " (controller)" if was_controller else "", len(partitions),
                 PARTITIONS, " and ".join(map(str, took_over)), percentile(times, 50),
                 max(times)), flush=True)
        broker.start()
        state = wait_ready(judge, round_ends)
    stopped = judge.ask("stop", "stopped")
    verified = judge.ask("verify", "verified")
    judge.end()
    result.update({
        "rounds": args.rounds,
        "records_acked": stopped["acked"],
        "records_failed": stopped["failed"],
        "records_unanswered": stopped["outstanding"],
        "read_to_the_end": verified["complete"],
        "records_read": verified["read"],
        "lost": verified["lost"],
        "duplicated": verified["duplicated"],
        "reordered": verified["reordered"],
        "failover_ms": summary(samples),
        "failover_controller_ms": summary(controller_samples),
        "client": {"name": ready["client"], "version": ready["version"],
                   "settings": {"enable.idempotence": "true"}},
    })
    return result


def measure_idle(args):
    """Resident memory of three idle brokers, 5 s after a topic exists, in a cluster of its own."""
    cluster = Cluster(args.binary, settings={"num.partitions": PARTITIONS}, keep=args.keep)
    try:
        cluster.start()
        judge = Judge(args.judge, cluster.bootstrap(), args.file)
        judge.hear("ready")
        wait_full(judge)
        judge.end()
        time.sleep(5)
        return [b.rss_bytes() for b in cluster.brokers]
    finally:
        cluster.stop()
        cluster.remove()


def show(result):
    f = result["failover_ms"]
    print()
    if f["samples"]:
        print("failover       p50 %.0f ms, p99 %.0f ms, max %.0f ms (%d partitions moved)"
              % (f["p50"], f["p99"], f["max"], f["samples"]))
    print("cold start     %.0f ms to the first record acknowledged by all" % result["cold_start_ms"])
    print("memory, idle   %.1f MB for the three brokers together"
          % (sum(result["rss_idle_bytes"]) / 1e6))
    print("acknowledged   %d" % result["records_acked"])
    print("read           %d" % result["records_read"])
    print("lost           %d" % result["lost"])
    print("duplicated     %d" % result["duplicated"])
    print("reordered      %d" % result["reordered"])
    if not result["stopped_cleanly"]:
        print("stop           a broker did not end by itself, or not with status 0")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--binary", required=True, help=argparse.SUPPRESS)
    parser.add_argument("--judge", required=True, help=argparse.SUPPRESS)
    parser.add_argument("--rounds", type=int, default=5, help="leaders to kill (5)")
    parser.add_argument("--json", help="write the figures to this file")
    parser.add_argument("--file", default="/usr/share/common-licenses/GPL-3",
                        help="the file whose lines are streamed")
    parser.add_argument("--keep", action="store_true", help="keep data and logs")
    args = parser.parse_args()
    idle = measure_idle(args)
    cluster = Cluster(args.binary, settings={"num.partitions": PARTITIONS}, keep=args.keep)
    try:
        result = play(args, cluster)
        result["stopped_cleanly"] = cluster.stop()
    finally:
        cluster.stop()
        cluster.remove()
    result["rss_idle_bytes"] = idle
    show(result)
    if args.json:
        with open(args.json, "w") as f:
            json.dump(result, f, indent=2)
            f.write("\n")
    bad = (result["lost"] + result["duplicated"] + result["reordered"] + result["records_failed"] +
           result["records_unanswered"])
    good = (bad == 0 and result["read_to_the_end"] and result["records_acked"] > 0 and
            result["stopped_cleanly"])
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
