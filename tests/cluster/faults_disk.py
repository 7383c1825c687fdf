"""Full disks: refused with the right error, nothing acknowledged lost, and whole again without a restart. And one that dies."""
import itertools
import os
import random
import subprocess
import tempfile
import time

import wire
from load import Failure, expect, wait_until
from wire import Connection

VOLUME_MB = 128
SETTINGS = {"kvorum.reserve.bytes": 4 << 20, "log.segment.bytes": 4 << 20}
LINE = "full disk " * 90  # about 900 bytes a record: what is preallocated is soon used up


def big_records():
    f = tempfile.NamedTemporaryFile("w", prefix="kvorum-lines-", suffix=".txt")
    f.write((LINE + "\n") * 10)
    f.flush()
    return f


def led_by(connection, topic, node):
    return [i for i, p in connection.metadata(topic)["partitions"].items() if p["leader"] == node]


def write_until(cluster, node, topic, wanted, timeout=60):
    """Write to a partition at this node until it answers with one of the wanted errors; what was acknowledged meanwhile."""
    acked = []
    until = time.monotonic() + timeout
    with Connection(cluster.broker(node).port) as c:
        while time.monotonic() < until:
            value = b"%06d " % len(acked) + LINE.encode() * 8
            error, offset = c.produce(topic, 0, wire.batch([value]), timeout_ms=3000)
            if error in wanted:
                return error, acked
            if error == wire.NONE:
                acked.append((offset, value))
    raise Failure("node %d with a full disk never answered a write to %s-0 with %s within %d s" % (node, topic, wanted, timeout))


def check_reads(cluster, node, topic, acked):
    """Everything acknowledged is served by the node, full or not."""
    with Connection(cluster.broker(node).port) as c:
        for offset, value in acked[::max(1, len(acked) // 20)]:
            error, high, records = c.fetch(topic, 0, offset)
            expect(error == wire.NONE and value in records, "%s-0 at %d: error %d, high watermark %d, %d bytes",
                   topic, offset, error, high, len(records))


def count_starts(broker):
    with open(broker.log, errors="replace") as f:
        return f.read().count("event=started")


def fill_metadata(connection, numbers):
    """Records for the metadata log, so that what it has reserved is used up too; how many topics could be made."""
    made = 0
    for number in numbers:
        error, _ = connection.create_topic("filler-%d" % number, 60, 3, timeout_ms=5000)
        made += error == wire.NONE
    return made


def disk_full_one(bench):
    """The controller's disk, without a reserve: partition data, metadata log and vote all find no space."""
    cluster, disks = bench.cluster_on_volumes((1, 2, 3), VOLUME_MB, {**SETTINGS, "kvorum.reserve.bytes": 0})
    bench.start(cluster)
    with big_records() as lines:
        load = bench.load(cluster, file=lines.name, interval_ms=20)
        load.start()
    full = load.cluster()["controller"]
    others = [n for n in (1, 2, 3) if n != full]
    with Connection(cluster.broker(others[0]).port, 30) as c:
        error, message = c.create_topic("full", assignments=[[full] + others])
        expect(error == wire.NONE, "CreateTopics: %d %s", error, message)
        wait_until("node %d leads full-0" % full, lambda: led_by(c, "full", full), 20)
        load.gap_ms()
        began = time.monotonic()
        disks[full].fill()
        refused, acked = write_until(cluster, full, "full", (wire.KAFKA_STORAGE_ERROR, wire.NOT_LEADER_OR_FOLLOWER))
        wait_until("node %d hands its leaderships over" % full,
                   lambda: not led_by(c, "full", full) and not led_by(c, "load", full), 60)
        moved = time.monotonic() - began
        check_reads(cluster, c.metadata("full")["partitions"][0]["leader"], "full", acked)
        wait_until("the cluster writes with the other two", lambda: load.cluster()["steady"], 60, 0.2)
        gap = load.gap_ms()
        made = fill_metadata(c, range(4))
        more = itertools.count(4)
        wait_until("topics can be made while one disk is full", lambda: fill_metadata(c, [next(more)]), 30)
        stays_away(cluster, load, c, full)
        # A full disk at the start is no reason to die either.
        cluster.broker(full).kill()
        cluster.broker(full).start()
        time.sleep(4)
        expect(cluster.broker(full).alive(), "node %d cannot start on a full disk: exit status %s", full,
               cluster.broker(full).process.poll())
        disks[full].relieve()
        began = time.monotonic()
        load.wait_full(90)
        wait_until("full-0 has all replicas", lambda: len(c.metadata("full")["partitions"][0]["isr"]) == 3, 30)
        back = time.monotonic() - began
    expect(count_starts(cluster.broker(full)) == 2, "node %d was started %d times", full, count_starts(cluster.broker(full)))
    return ("controller's disk full: refused (%d), leaders moved after %.1f s, writes paused %.1f s, %d of 4 topics made at the "
            "first try, whole again %.1f s after space; %s" % (refused, moved, gap / 1000, made, back, load.verdict()))


def stays_away(cluster, load, c, full):
    """No leader goes back to a full disk, nobody ends, and writing goes on."""
    until = time.monotonic() + 5
    while time.monotonic() < until:
        expect(not led_by(c, "load", full), "a leader went back to the full disk")
        expect(all(b.alive() for b in cluster.brokers), "a broker ended on a full disk")
        time.sleep(0.1)
    wait_until("writing goes on while one disk is full", lambda: load.cluster()["steady"], 5, 0.1)


def disk_full_all(bench):
    cluster, disks = bench.cluster_on_volumes((1, 2, 3), VOLUME_MB, SETTINGS)
    bench.start(cluster)
    with Connection(cluster.brokers[1].port) as c:
        error, message = c.create_topic("full", assignments=[[1, 2, 3]])
        expect(error == wire.NONE, "CreateTopics: %d %s", error, message)
        wait_until("node 1 leads full-0", lambda: led_by(c, "full", 1), 20)
    with big_records() as lines:
        load = bench.load(cluster, file=lines.name, interval_ms=10)
        load.start()
    for _ in range(2):  # twice: what was given up the first time must be there again
        acked = fill_and_refill(cluster, disks, load)
    for b in cluster.brokers:
        expect(count_starts(b) == 1, "node %d was started %d times", b.id, count_starts(b))
    with Connection(cluster.brokers[0].port) as c:
        state = c.metadata("full")
    check_reads(cluster, state["partitions"][0]["leader"], "full", acked)
    return "twice; refused, read from, and whole again without a restart; " + load.verdict()


def fill_and_refill(cluster, disks, load):
    for d in disks.values():
        d.fill()
    with Connection(cluster.brokers[0].port) as c:
        leader = c.metadata("full")["partitions"][0]["leader"]
    wanted = (wire.KAFKA_STORAGE_ERROR, wire.NOT_LEADER_OR_FOLLOWER, wire.REQUEST_TIMED_OUT, wire.NOT_ENOUGH_REPLICAS)
    _, acked = write_until(cluster, leader, "full", wanted)
    wait_until("writing stops", lambda: not load.cluster()["steady"], 60, 0.2)
    time.sleep(5)
    expect(all(b.alive() for b in cluster.brokers), "a broker ended on a full disk")

    def readable():
        with Connection(cluster.brokers[0].port) as c:
            now = c.metadata("full")["partitions"][0]["leader"]
        if now < 1:
            return False
        check_reads(cluster, now, "full", acked)
        return True
    wait_until("full disks are read from", readable, 20)
    for d in disks.values():
        d.relieve()
    load.wait_full(90)
    return acked


# ---- a disk that dies in the middle of a sync

def disk_dies(bench):
    """What a sync reported durable is on the disk, also when the disk goes while it runs."""
    volume = bench.volume("dying", 64)
    checked = 0
    for cut in range(60):
        directory = os.path.join(volume.path, "cut-%d" % cut)
        os.mkdir(directory)
        os.sync()
        syncer = subprocess.Popen([bench.tool("syncer"), directory, str(random.randrange(1 << 31))],
                                  stdout=subprocess.PIPE, text=True)
        time.sleep(random.uniform(0.03, 0.13))
        volume.cut_power()
        line = syncer.communicate(timeout=30)[0]
        volume.unmount()
        volume.mount()
        for index, count in enumerate(int(n) for n in line.split()):
            with open(os.path.join(directory, "f%d" % index), "rb") as f:
                data = f.read()
            there = 0
            while there < count and data[there * 300:there * 300 + 10] == b"%010d" % there:
                there += 1
            expect(there == count, "cut %d: %d records of file %d were reported durable, %d are there", cut, count, index, there)
            checked += count
    expect(checked > 300, "only %d records were reported durable: the test was idle", checked)
    return "60 disks died under syncs; all %d records reported durable are there" % checked


TESTS = [
    ("disk-dies", disk_dies),
    ("disk-full-one", disk_full_one),
    ("disk-full-all", disk_full_all),
]
