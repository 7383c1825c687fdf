"""The rows: what the cluster is loaded with. Each is played while the judged load writes, and judged by watch.py."""
import os
import random
import subprocess
import sys
import time

import crowd
import wire
from crowd import Crowd
from load import expect, wait_until
from members import Members, coordinators
from watch import MB, Watch
from wire import Connection

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "chaos"))
import disk  # noqa: E402

LARGE = 4 * MB  # a batch of the topic "large"
ROWS = {}


def row(name, share, title):
    """share: continuous integration plays it."""
    def add(play):
        ROWS[name] = {"name": name, "share": share, "title": title, "play": play}
        return play
    return add


class Stage:
    """Three brokers, the judged load, and the crowds of one row."""

    def __init__(self, bench, limit_mb=256, settings=None, wrap=None, start=True):
        self.bench = bench
        self.limit = limit_mb * MB
        self.crowds = []
        self.cluster = bench.cluster(settings={"kvorum.memory.max.bytes": self.limit, "group.initial.rebalance.delay.ms": 1000,
                                               **(settings or {})}, wrap=wrap)
        bench.start(self.cluster)
        self.load = bench.load(self.cluster)
        self.load.start()
        with Connection(self.cluster.brokers[0].port) as c:  # the offsets topic is there before anything is measured
            c.find_coordinator("first")
        time.sleep(0.5)
        wait_until("healthy", lambda: bench.healthy(self.cluster))
        self.watch = Watch(bench, self.cluster, self.limit)
        self.load.gap_ms()
        self.gap = 0
        self.figures = {}

    def crowd(self, node, count, frames, **options):
        c = Crowd(self.bench.tool("crowd", "overload"), self.cluster.broker(node), count, frames, **options)
        self.crowds.append(c)
        self.bench.others.append(c)
        return c

    def go(self, seconds, gap_ms):
        """Let it be for so long; the judged load may not wait longer than gap_ms for an acknowledgement."""
        time.sleep(seconds)
        self.gap = max(self.gap, self.load.gap_ms())
        self.figures["judged_gap_ms"] = round(self.gap)
        self.gap_max = gap_ms

    def leave(self):
        for c in self.crowds:
            c.remove()
        self.crowds = []

    def end(self, told, judge=None, back_mb=64, more_descriptors=400):
        late = ["the judged load waited %.0f ms; %d is the limit of this row" % (self.gap, self.gap_max)] if self.gap > self.gap_max else []
        self.leave()
        said = self.watch.judge(wrong=late, **(judge or {}))
        back = self.watch.back(back_mb, more_descriptors)
        verdict = self.load.verdict()
        self.figures.update(self.watch.figures, **self.load.figures)
        return "%s; judged load waited at most %.0f ms; %s; %s; %s" % (told, self.gap, said, back, verdict)

    def topic(self, name, partitions, configs=None, leaders=(1, 2, 3)):
        """Partition k is led by the k-th of leaders, in turn."""
        assignments = []
        for k in range(partitions):
            first = leaders[k % len(leaders)]
            assignments.append([first] + [n for n in (1, 2, 3) if n != first])
        with Connection(self.cluster.brokers[0].port, 60) as c:
            error, message = c.create_topic(name, assignments=assignments, configs=configs)
            expect(error == wire.NONE, "CreateTopics %s: %d %s", name, error, message)
        for k in range(partitions):
            port = self.cluster.broker(leaders[k % len(leaders)]).port

            def leads():
                with Connection(port, 30) as c:
                    return c.end_offset(name, k)[0] == wire.NONE
            wait_until("%s-%d is led" % (name, k), leads, 30)

    def large_topic(self):
        """Led by node 1, with some large batches in it."""
        self.topic("large", 2, {"max.message.bytes": str(LARGE * 2), "retention.bytes": str(64 * MB), "segment.bytes": str(16 * MB)}, (1,))
        with Connection(self.cluster.brokers[0].port, 60) as c:
            for k in range(8):
                error, _ = c.produce("large", k % 2, large_batch())
                expect(error == wire.NONE, "a large batch: error %d", error)

    def total(self, key, since=None):
        return sum(f[key] for f in (since or [c.figures() for c in self.crowds]))


_large = []


def large_batch():
    if not _large:
        _large.append(wire.batch([b"x" * (LARGE // 4)] * 4))
    return _large[0]


@row("idle", True, "thousands of connections that say nothing")
def idle(bench, long):
    count = 5200 if long else 2000
    stage = Stage(bench)
    for node in (1, 2, 3):
        stage.crowd(node, count, [crowd.api_versions()], requests=1, per_second=4000)
    wait_until("all are connected and were answered", lambda: all(c.figures()["done"] == count for c in stage.crowds), 60, 0.5)
    used = [stage.watch.peak(b) - stage.watch.before[b.id][0] for b in stage.cluster.brokers]
    stage.go(12 if long else 4, 2000)
    for c in stage.crowds:
        c.ask("again")
    wait_until("all are answered once more", lambda: all(c.figures()["done"] == count for c in stage.crowds), 30, 0.5)
    seen = [c.figures() for c in stage.crowds]
    expect(all(f["open"] == count and f["closed"] == 0 for f in seen), "connections were closed: %s", seen)
    stage.figures.update(connections=3 * count, bytes_each=max(used) // count)
    return stage, stage.end("3 x %d connections, %d bytes of a broker each" % (count, max(used) // count))


@row("busy", True, "thousands of connections, each at work with many APIs")
def busy(bench, long):
    count = 1500 if long else 700
    stage = Stage(bench)
    stage.topic("busy", 12, {"retention.bytes": str(16 * MB), "segment.bytes": str(4 * MB)})
    groups = ["busy-%d" % k for k in range(30)]
    ports = coordinators(stage.cluster, groups)
    for node in (1, 2, 3):
        led = [k for k in range(12) if k % 3 == node - 1]
        own = [g for g in groups if ports[g] == stage.cluster.broker(node).port]
        stage.crowd(node, count, crowd.mix("busy", led, own), interval_ms=1000, per_second=2000)
    stage.go(20 if long else 8, 3000)
    seen = [c.figures() for c in stage.crowds]
    answers, slowest = sum(f["answers"] for f in seen), max(f["max_ms"] for f in seen)
    p99 = max(f["p99_ms"] for f in seen)
    expect(sum(f["closed"] + f["refused"] for f in seen) == 0 and stage.total("open") == 3 * count, "connections were closed: %s", seen)
    expect(answers >= 3 * count * (6 if long else 2), "only %d answers", answers)
    expect(slowest < 10000, "an answer took %.0f ms", slowest)
    stage.figures.update(connections=3 * count, answers=answers, p99_ms=p99, max_ms=slowest)
    return stage, stage.end("3 x %d connections, %d answers, 99 %% within %.0f ms, the slowest after %.0f ms" % (count, answers, p99, slowest))


@row("slow", True, "readers that read slowly or never, and never stop asking")
def slow(bench, long):
    limit = 128
    stage = Stage(bench, limit)
    stage.large_topic()
    stage.topic("many", 300)
    readers = 400 if long else 150
    large = [crowd.fetch("large", [0, 1]), crowd.fetch("large", [1, 0])]
    small = [crowd.fetch("load", range(6), 0, 200000)]
    never = [stage.crowd(1, readers, large, window=8, read=0, receive_buffer=8192, reopen=True),
             stage.crowd(1, readers, [crowd.metadata()], window=100000, read=0, receive_buffer=8192, reopen=True)]
    never += [stage.crowd(node, readers, small, window=100, read=0, receive_buffer=8192, reopen=True) for node in (1, 2, 3)]
    slowly = [stage.crowd(1, readers // 2, large, window=8, read=20000, receive_buffer=8192, reopen=True)]
    writers = stage.crowd(1, 8, [crowd.produce("large", [(0, large_batch())]), crowd.produce("large", [(1, large_batch())])], reopen=True)
    stage.go(25 if long else 8, 5000)
    written = writers.figures()
    taken = sum(c.figures()["bytes_read"] for c in slowly)
    expect(written["answers"] >= 10, "writers beside them got only %d answers", written["answers"])
    expect(taken > 0, "slow readers got nothing")
    stage.figures.update(readers=len(never) * readers + readers // 2, written=written["answers"])
    return stage, stage.end("%d readers that never read, %d that do slowly; beside them %d batches of 4 MB were written" % (
        len(never) * readers, readers // 2, written["answers"]))


@row("disk", True, "producers at ten times what the disk takes")
def slow_disk(bench, long):
    shims = {}

    def wrap(broker):
        shims[broker.id] = disk.Shim(bench.shim, os.path.join(broker.cluster.dir, "rules-%d" % broker.id))
        return shims[broker.id].wrap()
    stage = Stage(bench, 128, wrap=wrap)
    stage.topic("flood", 12)
    for shim in shims.values():
        shim.arm(disk.SYNC, disk.STALL, times=disk.ALWAYS, stall_ms=60, slot=0)
        shim.arm(disk.WRITE, disk.STALL, "flood", times=disk.ALWAYS, stall_ms=15, slot=1)
    records = wire.batch([b"f" * 50000] * 2)
    producers = 200 if long else 100
    for node in (1, 2, 3):
        frames = [crowd.produce("flood", [(k, records)]) for k in range(12) if k % 3 == node - 1]
        stage.crowd(node, producers, frames, window=50)
    stage.go(25 if long else 10, 10000)
    seen = [c.figures() for c in stage.crowds]
    answers = sum(f["answers"] for f in seen)
    expect(answers > 50, "only %d answers", answers)
    for shim in shims.values():
        shim.disarm()
    stage.figures.update(producers=3 * producers, answers=answers)
    return stage, stage.end("%d producers with 50 batches of 100 KB under way each, %d acknowledged" % (3 * producers, answers))


@row("large", True, "requests of 64 MB, whole, trickling, and announced only")
def large(bench, long):
    stage = Stage(bench, 256)
    stage.large_topic()
    whole = crowd.produce("large", [(0, large_batch())] * 15)  # refused by its content, and read all the same
    count = 6 << 20
    names = crowd.frame(wire.METADATA, 4, count.to_bytes(4, "big") + wire.string("t000001") * count + b"\0")
    join = crowd.frame(crowd.JOIN_GROUP, 2, wire.string("big") + b"\0\0\x27\x10\0\0\x27\x10" + wire.string("") + wire.string("consumer")
                       + wire.array([wire.string("range") + (60 * MB).to_bytes(4, "big") + bytes(60 * MB)]))
    above = (101 * MB).to_bytes(4, "big") + bytes(MB)
    stage.crowd(1, 4, [whole, names, join], reopen=True)
    cut = [whole[:200]]
    stage.crowd(1, 10, cut, reopen=True)  # announced only
    stage.crowd(1, 10, [whole], send=20000, reopen=True)
    refused = stage.crowd(1, 4, [above], reopen=True)
    small = stage.crowd(1, 100, [crowd.api_versions(), crowd.metadata(["load"]), crowd.fetch("load", [0], 0, 1000, 0)], interval_ms=100)
    stage.go(40 if long else 10, 5000)
    said = small.figures()
    whole_answers = stage.crowds[0].figures()
    expect(said["closed"] == 0, "%d small clients were closed", said["closed"])
    expect(said["max_ms"] < 3000, "a small request took %.0f ms", said["max_ms"])
    expect(refused.figures()["closed"] > 0, "frames above the limit were not refused")
    done = whole_answers["answers"] + whole_answers["closed"]
    expect(done > 0, "no large request came to an end")
    stage.figures.update(large_done=done, small_max_ms=said["max_ms"], small_p99_ms=said["p99_ms"])
    return stage, stage.end("%d of 64 MB came to an end; small ones beside them within %.0f ms (99 %%) and %.0f ms" % (
        done, said["p99_ms"], said["max_ms"]))


@row("groups", True, "thousands of members join at once")
def groups(bench, long):
    stage = Stage(bench)
    names = ["g-%d" % k for k in range(1000 if long else 300)]
    ports = coordinators(stage.cluster, names + ["crowded"])
    wanted = {name: (ports[name], 2) for name in names}
    wanted["crowded"] = (ports["crowded"], 400 if long else 150)
    members = Members(wanted)
    began = time.monotonic()
    members.start()
    try:
        wait_until("all members have joined", lambda: members.stable() == len(members.members), 90, 0.2)
        took = time.monotonic() - began
        stage.go(15 if long else 5, 3000)
        expect(not members.expelled, "%d were expelled, the first: %s", len(members.expelled), members.expelled[:1])
        expect(members.closed == 0, "%d connections were closed", members.closed)
        wait_until("all are members still", lambda: members.stable() == len(members.members), 30, 0.2)
    finally:
        members.ending = True
        members.join(30)
    stage.figures.update(members=len(members.members), joined_s=round(took, 1), heartbeat_max_ms=round(members.slowest * 1000))
    return stage, stage.end("%d members of %d groups in after %.1f s; %d heartbeats, the slowest %.0f ms; none expelled" % (
        len(members.members), len(wanted), took, members.heartbeats, members.slowest * 1000))


@row("topics", False, "thousands of partitions are made at once, and removed")
def topics(bench, long):
    count, each = (10, 300) if long else (4, 100)
    stage = Stage(bench)
    with Connection(stage.cluster.brokers[0].port, 60) as c:
        for k in range(count):
            error, message = c.create_topic("t%d" % k, each, 3)
            expect(error == wire.NONE, "CreateTopics: %d %s", error, message)
        made = time.monotonic()
        wait_until("all partitions are led and in sync", lambda: bench.healthy(stage.cluster), 120, 0.5)
        stage.figures["in_sync_s"] = round(time.monotonic() - made, 1)
        stage.go(5, 5000)
        for k in range(count):
            expect(c.delete_topic("t%d" % k) == wire.NONE, "DeleteTopics")
    stage.go(10, 5000)
    return stage, stage.end("%d partitions made, removed" % (count * each))


@row("descriptors", True, "more clients than descriptors")
def few_descriptors(bench, long):
    stage = Stage(bench, wrap=lambda broker: ["prlimit", "--nofile=512:512"])
    for node in (1, 2, 3):
        stage.crowd(node, 3000 if long else 1000, [crowd.api_versions()], interval_ms=500, reopen=True, per_second=2000)
    stage.go(15 if long else 6, 3000)
    seen = [c.figures() for c in stage.crowds]
    expect(all(f["closed"] + f["refused"] > 0 for f in seen), "nobody was turned away: %s", seen)
    expect(all(f["answers"] > 100 for f in seen), "those who were let in got too few answers: %s", seen)
    return stage, stage.end("%d answers to those who were let in, %d turned away" % (
        sum(f["answers"] for f in seen), sum(f["closed"] + f["refused"] for f in seen)))


@row("processor", False, "one processor for all brokers, shared with four that spin")
def processor(bench, long):
    stage = Stage(bench, wrap=lambda broker: ["taskset", "-c", "0"])
    spinners = [subprocess.Popen(["taskset", "-c", "0", sys.executable, "-c", "while True: pass"]) for _ in range(4)]
    try:
        for node in (1, 2, 3):
            stage.crowd(node, 200, [crowd.api_versions(), crowd.metadata(["load"])], interval_ms=500)
        stage.go(20 if long else 8, 5000)
    finally:
        for s in spinners:
            s.kill()
            s.wait()
    return stage, stage.end("brokers beside 4 processes that spin on their only processor")


@row("all", True, "all of it at once in little memory")
def everything(bench, long):
    stage = Stage(bench, 96, settings={"socket.request.max.bytes": 32 * MB})
    stage.large_topic()
    stage.topic("busy", 12, {"retention.bytes": str(16 * MB), "segment.bytes": str(4 * MB)})
    stage.topic("many", 300)
    names = ["g-%d" % k for k in range(200 if long else 60)]
    ports = coordinators(stage.cluster, names)
    members = Members({name: (ports[name], 2) for name in names})
    members.start()
    count = 1500 if long else 500
    try:
        wait_until("all members have joined", lambda: members.stable() == len(members.members), 60, 0.2)
        large = [crowd.fetch("large", [0, 1])]
        whole = crowd.produce("large", [(0, large_batch())] * 7)
        for node in (1, 2, 3):
            led = [k for k in range(12) if k % 3 == node - 1]
            stage.crowd(node, count, [crowd.api_versions()], requests=1, per_second=2000)
            stage.crowd(node, count // 5, crowd.mix("busy", led, []), interval_ms=1000)
            stage.crowd(node, 100, [crowd.metadata()], window=100000, read=0, receive_buffer=8192, reopen=True)
        stage.crowd(1, 100, large, window=8, read=0, receive_buffer=8192, reopen=True)
        stage.crowd(1, 50, large, window=4, read=20000, receive_buffer=8192, reopen=True)
        stage.crowd(1, 6, [whole], reopen=True)
        stage.crowd(1, 10, [whole], send=20000, reopen=True)
        stage.crowd(1, 10, [crowd.produce("large", [(k, large_batch())]) for k in (0, 1)], reopen=True)
        stage.go(30 if long else 8, 10000)
        expect(not members.expelled, "%d were expelled, the first: %s", len(members.expelled), members.expelled[:1])
        idle_ones = [c.figures() for c in stage.crowds if c.count == count]
        expect(all(f["open"] == count for f in idle_ones), "idle connections were closed: %s", idle_ones)
    finally:
        members.ending = True
        members.join(30)
    stage.figures.update(connections=sum(c.count for c in stage.crowds), heartbeat_max_ms=round(members.slowest * 1000))
    return stage, stage.end("%d connections and %d members; the slowest heartbeat %.0f ms; none expelled" % (
        sum(c.count for c in stage.crowds), len(members.members), members.slowest * 1000))
