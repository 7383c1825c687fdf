"""NestJS services against the cluster: a gateway that sends requests and emits events, workers that answer and take them, each
a process of its own, on topics that nobody made before. run() plays all stories on a running cluster."""
import os
import sys
import time

import view
from contract import Client, Failed, Program, RESUME_S, kill_programs, require, wait_for

INTERVAL_MS = 25
START_S = 60          # for the services to find each other while the machine is busy
END_S = 180           # the pair itself gives up 150 s after its last request
DOWN_S = 3


class Pair(Program):
    """`client pair`: its services, and when each request was sent and answered, each event taken."""

    def __init__(self, client, cluster, prefix, count, workers=1, first="gateway", tuned=False):
        self.prefix, self.count = prefix, count
        self.sent, self.replies, self.events = {}, {}, {}
        self.event_copies = self.again = 0
        self.pids, self.ready, self.ended, self.errors, self.done = {}, {}, [], [], None
        super().__init__(client, "pair-" + prefix, [cluster.bootstrap(), prefix, str(count), str(INTERVAL_MS),
                                                    str(workers), first], {"KAFKAJS_TUNED": "1"} if tuned else {})

    def hear(self, words, line):
        kind = words[0]
        if kind == "request":
            self.sent[int(words[1])] = int(words[2])
        elif kind == "reply":
            self.replies.setdefault(int(words[1]), int(words[2]))
        elif kind == "event":
            self.event_copies += int(words[1]) in self.events
            self.events.setdefault(int(words[1]), int(words[2]))
        elif kind == "again":
            self.again += 1
        elif kind == "error":
            self.errors.append(line)
        elif kind == "started":
            self.pids[words[1]] = int(words[2])
        elif kind == "ready":
            self.ready[words[1]] = int(words[2])
        elif kind == "ended":
            self.ended.append(line)
        elif kind == "done":
            self.done = (int(words[1]), int(words[2]))

    def seen(self):
        with self.lock:
            return dict(self.sent), dict(self.replies), dict(self.events)

    def wait_under_way(self, replies=40):
        wait_for(START_S, lambda: not self.running() or min(len(self.seen()[1]), len(self.seen()[2])) >= replies,
                 lambda: "%d replies, %d events: %s" % (len(self.seen()[1]), len(self.seen()[2]), self.say_why()))
        require(self.running(), "%s ended early: %s", self.what, self.say_why())

    def resumed_ms(self, since_ms):
        """How long after since_ms both a reply to a request and an event that was sent later arrived, or None."""
        sent, replies, events = self.seen()
        later = [i for i, ms in sent.items() if ms > since_ms]
        firsts = [min((heard[i] for i in later if i in heard), default=None) for heard in (replies, events)]
        return None if None in firsts else max(firsts) - since_ms

    def verdict(self, ended=()):
        """All answered, all taken, at least once; only the services named have ended before. Returns what was seen."""
        self.wait_end(self.count * INTERVAL_MS / 1000 + END_S)
        require(not self.errors, "%d errors, first: %s", len(self.errors), self.errors[:1])
        require(sorted(line.split()[1] for line in self.ended) == sorted(ended), "services ended: %s", self.ended)
        missing = [[i for i in range(self.count) if i not in heard] for heard in (self.replies, self.events)]
        require(not missing[0], "%d requests were not answered, first: %s", len(missing[0]), missing[0][:3])
        require(not missing[1], "%d events did not arrive, first: %s", len(missing[1]), missing[1][:3])
        require(self.done == (self.count, self.count), "done %s", self.done)
        slowest = max(self.replies[i] - self.sent[i] for i in range(self.count))
        return "%d requests answered (%d sent again, slowest after %.1f s), %d events taken (%d of them again)" % (
            self.count, self.again, slowest / 1000, self.count, self.event_copies)


def any_order(client, cluster, tag):
    """services start in any order without topics"""
    texts = []
    for first in ("gateway", "worker"):
        pair = Pair(client, cluster, "nestjs-%s-%s-first" % (tag, first), 60, first=first)
        texts.append("%s first: %s" % (first, pair.verdict()))
    return "; ".join(texts)


def worker_dies(client, cluster, tag):
    """two workers, one killed with -9"""
    pair = Pair(client, cluster, "nestjs-%s-worker-dies" % tag, 600, workers=2, tuned=True)
    pair.wait_under_way()
    wait_for(START_S, lambda: {"worker-1", "worker-2"} <= set(pair.ready), "both workers have joined")
    os.kill(pair.pids["worker-1"], 9)
    # Its share is taken over when its session is over: 6 s, 30 s by default.
    return pair.verdict(ended=["worker-1"])


def leaders(cluster, prefix):
    """(leader of the partition replies go to, leader -> partitions of the request topic)"""
    m = wait_for(START_S, lambda: view.metadata(cluster), "no broker answers")
    require(prefix + ".square" in m.topics and prefix + ".square.reply" in m.topics, "topics: %s", sorted(m.topics))
    led = {b.id: m.led_by(b.id, prefix + ".square") for b in cluster.brokers}
    return m.topics[prefix + ".square.reply"][0].leader, led


def coordinators(cluster, prefix):
    m = wait_for(START_S, lambda: view.metadata(cluster), "no broker answers")
    groups = (prefix + "-gateway-client", prefix + "-worker-server")
    return {m.topics["__consumer_offsets"][view.group_partition(group)].leader for group in groups}


def kill(pair, cluster, victim, allowed_s):
    """Kills it, keeps it down until the traffic is back, starts it again. Returns the ms to resume."""
    broker = cluster.broker(victim)
    killed_ms = int(time.time() * 1000)
    broker.kill()
    try:
        resumed = wait_for(allowed_s, lambda: pair.resumed_ms(killed_ms), "")
    except Failed:
        resumed = None
    time.sleep(max(0.0, killed_ms / 1000 + DOWN_S - time.time()))
    broker.start()
    require(resumed is not None, "node %d killed: no reply or no event within %d s", victim, allowed_s)
    require(resumed <= allowed_s * 1000, "node %d killed: resumed only after %.1f s", victim, resumed / 1000)
    wait_for(START_S, lambda: (m := view.metadata(cluster)) and m.full(), "the in-sync replicas are full again")
    return resumed


def leaders_die(client, cluster, prefix, tuned, allowed_s):
    pair = Pair(client, cluster, prefix, 1600, workers=2, tuned=tuned)
    pair.wait_under_way()
    reply_leader, _ = leaders(cluster, prefix)
    texts = [kill_text(pair, cluster, reply_leader, "replies", allowed_s)]
    _, led = leaders(cluster, prefix)
    request_leader = max((b for b in led if b != reply_leader), key=lambda b: len(led[b]))
    texts.append(kill_text(pair, cluster, request_leader, "requests", allowed_s))
    texts.append(pair.verdict())
    require(not tuned or pair.again == 0, "%d requests were not answered in time", pair.again)
    return "; ".join(texts)


def kill_text(pair, cluster, victim, what, allowed_s):
    coordinates = victim in coordinators(cluster, pair.prefix)
    ms = kill(pair, cluster, victim, allowed_s if coordinates else RESUME_S)
    return "leader of %s%s: resumed in %.1f s" % (what, ", a coordinator" if coordinates else "", ms / 1000)


def leaders_die_at_defaults(client, cluster, tag):
    """leaders of requests and replies killed with -9, kafkajs's defaults"""
    return leaders_die(client, cluster, "nestjs-%s-leaders-die" % tag, False, client.coordinator_resume_s)


def leaders_die_tuned(client, cluster, tag):
    """leaders of requests and replies killed with -9, settings of kafkajs-tuned"""
    return leaders_die(client, cluster, "nestjs-%s-tuned" % tag, True, RESUME_S)


ALL = (any_order, worker_dies, leaders_die_tuned, leaders_die_at_defaults)


def run(cluster, client, test, tag="services"):
    """test(subject, name, function, *arguments) runs and notes one test; the driver's Report.test is one."""
    for story in ALL:
        test(client.name, story.__doc__, story, client, cluster, tag)


def main():
    """By itself: NESTJS_TEST=story[,story] python3 nestjs_test.py BINARY, on three brokers of its own."""
    here = os.path.dirname(os.path.abspath(__file__))
    sys.path.insert(0, os.path.join(here, "..", "..", "cluster"))
    from brokers import Cluster
    logs = os.path.join(os.environ["BUILD"], "clients", "logs")
    os.makedirs(logs, exist_ok=True)
    client, failed = Client("nestjs", logs), []
    client.setup()
    cluster = Cluster(sys.argv[1], settings={"num.partitions": 6})
    wanted = [s for s in os.environ.get("NESTJS_TEST", "").split(",") if s]

    def test(subject, name, function, *arguments):
        if wanted and function.__name__ not in wanted:
            return
        try:
            print("ok   %s %s: %s" % (subject, name, function(*arguments)), flush=True)
        except Failed as e:
            failed.append(name)
            print("FAIL %s %s: %s" % (subject, name, e), flush=True)
    try:
        cluster.start()
        wait_for(START_S, lambda: (m := view.metadata(cluster)) and m.controller > 0, "no controller")
        run(cluster, client, test)
    finally:
        kill_programs()
        cluster.stop()
        cluster.remove()
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
