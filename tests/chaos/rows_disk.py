"""Rows 28 to 45: disks that are full, slow, broken or lie, and files that are not as they were left."""
import glob
import os
import random
import shutil
import time

import faults_disk
import logs
from rows_process import power_rounds
from stage import RETURNING_CLIENT, Rows, disk, expect, wait_until, wire

rows = Rows()
row = rows.row


def big_lines(bench):
    lines = faults_disk.big_records()
    bench.others.append(Closer(lines))
    return lines.name


class Closer:
    def __init__(self, file):
        self.file = file

    def remove(self):
        self.file.close()


def rolling_stage(bench, **options):
    """Segments of 1 MB that are soon full."""
    settings = {"log.segment.bytes": 1 << 20, **options.pop("settings", {})}
    return bench.stage(file=big_lines(bench), interval_ms=5, settings=settings, **options)


def segments_of(broker, partition, topic="load"):
    return logs.segments(os.path.join(broker.dir, "%s-%d" % (topic, partition)))


@row(28, "ENOSPC on the data directories, twice")
def full_all(bench, times):
    return faults_disk.disk_full_all(bench)


@row(29, "ENOSPC on a follower's data directory", times=2, long=10)
def full_follower(bench, times):
    cluster_settings = {**faults_disk.SETTINGS}
    stage = bench.stage(nodes=5, disks=True, disk_mb=faults_disk.VOLUME_MB, settings=cluster_settings, file=big_lines(bench),
                        interval_ms=10, assignments=[[1, 2, 3], [2, 1, 3]] * 3)
    for _ in range(times):
        stage.disks[3].fill()
        wait_until("node 3 with a full disk leaves the ISRs", lambda: all(
            3 not in p["isr"] for p in stage.metadata("load", stage.cluster.broker(1))["partitions"].values()), 60)
        stage.steady("writing goes on while a follower's disk is full")
        stage.all_alive()
        stage.disks[3].relieve()
        stage.load.wait_full(90)
    return "%d times; %s" % (times, stage.verdict())


@row(30, "ENOSPC on a voter's metadata, without a reserve")
def full_voter(bench, times):
    return faults_disk.disk_full_one(bench)


NEW_FILES = {"compaction": ".cleaned", "producer snapshots": ".snapshot", "metadata snapshots": ".checkpoint", "checkpoints": "-checkpoint"}


def dirty(stage, topic):
    """Several closed segments for the cleaner."""
    with stage.connect(stage.cluster.broker(max(1, wait_until("%s is led" % topic, lambda: max(0, stage.leader_of(topic, 0)), 30))), 30) as c:
        for _ in range(30):
            wait_until("%s is written" % topic, lambda: c.produce(topic, 0, wire.batch([b"x" * 100000], key=b"k"))[0] == wire.NONE, 30)


@row(31, "ENOSPC in new files of compaction, snapshots and checkpoints", times=2, long=10)
def full_cleaner(bench, times):
    stage = rolling_stage(bench, shim=True, settings={"log.retention.check.interval.ms": 1000,
                                                      "log.cleaner.backoff.ms": 500,
                                                      "metadata.log.max.record.bytes.between.snapshots": 4096})
    hits = dict.fromkeys(NEW_FILES, 0)
    with stage.connect(stage.cluster.brokers[0], 30) as c:
        error, message = c.create_topic("compacted", assignments=[[1, 2, 3]], configs={
            "cleanup.policy": "compact", "segment.bytes": str(1 << 20), "min.cleanable.dirty.ratio": "0.01"})
        expect(error == wire.NONE, "CreateTopics: %d %s", error, message)
    for number in range(times):
        for name, words in NEW_FILES.items():  # one after the other: a broker without space for one writes nothing else
            for shim in stage.shims.values():
                shim.arm(disk.WRITE, disk.NOSPC, words, times=disk.ALWAYS)
            if name == "compaction":
                dirty(stage, "compacted")
            elif name == "metadata snapshots":
                with stage.connect(stage.cluster.brokers[0], 30) as c:
                    for n in range(3):
                        c.create_topic("more-%d-%d" % (number, n), 20, 3)
            wait_until("%s find the disk full" % name, lambda: any(s.hits() for s in stage.shims.values()), 60, 0.1)
            time.sleep(1)
            stage.all_alive()
            hits[name] += sum(s.hits() for s in stage.shims.values())
            for shim in stage.shims.values():
                shim.disarm()
            stage.load.wait_full(90)
    for b in stage.cluster.brokers:
        stage.restart(b)
        stage.load.wait_full()
    wait_until("the log is compacted once there is space", lambda: all(
        stage.said(b, "event=compacted tp=compacted-0") for b in stage.cluster.brokers), 30, 0.5)
    bench.figures["hits"] = hits
    return "writes refused: %s; compacted afterwards; %s" % (hits, stage.verdict())


def ends_or_goes_on(stage, victim, seconds):
    """Whether the process ended; a status of 0 would be a lie."""
    until = time.monotonic() + seconds
    while victim.alive() and time.monotonic() < until:
        time.sleep(0.02)
    if victim.alive():
        return False
    expect(victim.process.returncode != 0, "node %d ended with status 0 after an error of its disk", victim.id)
    return True


def hit_by_work(stage, victim, what):
    """Until the rule of a broker has acted; topics are made meanwhile, so that metadata is written too."""
    def hit():
        if stage.shims[victim.id].hits() or not victim.alive():
            return True
        try:
            with stage.connect(random.choice(stage.others(victim)), 5) as c:
                c.create_topic("work-%d" % random.randrange(1 << 40), 1, 3, timeout_ms=1000)
        except (OSError, wire.Closed):
            pass
        return False
    wait_until(what, hit, 30, 0.1)


@row(32, "EIO on write, and writes cut short", times=8, long=40)
def write_errors(bench, times):
    stage = bench.stage(nodes=5, shim=True, interval_ms=10)
    ended = short = 0
    for number in range(times):
        victim = stage.pick()
        words = random.choice(("/load-", "/load-", "/__cluster_metadata", "/__consumer_offsets"))
        if number % 2:
            stage.shims[victim.id].arm(disk.WRITE, disk.SHORT, words, random.randint(0, 20), times=5)
            time.sleep(1.5)
            short += stage.shims[victim.id].hits()
            stage.all_alive()
        else:
            stage.shims[victim.id].arm(disk.WRITE, disk.EIO, words, random.randint(0, 20))
            hit_by_work(stage, victim, "a write fails on %s" % words)
            ended += ends_or_goes_on(stage, victim, 15)
        stage.shims[victim.id].disarm()
        if not victim.alive():
            victim.start()
        stage.load.wait_full(90)
    expect(short > 0, "no write was cut short: the test was idle")
    bench.figures.update({"ended": ended, "short_writes": short})
    return "%d errors: %d times the process ended, %d writes cut short; %s" % (times - times // 2, ended, short, stage.verdict())


@row(33, "EIO on one fsync, then success", times=6, long=30)
def sync_errors(bench, times):
    stage = bench.stage(nodes=5, shim=True, interval_ms=10)
    for number in range(times):
        victim = stage.pick()
        words = ("/load-", "/__cluster_metadata", "/__consumer_offsets")[number % 3]
        stage.shims[victim.id].arm(disk.SYNC, disk.EIO, words, random.randint(0, 10))
        hit_by_work(stage, victim, "a sync fails on '%s'" % words)
        expect(ends_or_goes_on(stage, victim, 40), "node %d goes on after a sync of '%s' failed", victim.id, words)
        stage.shims[victim.id].disarm()
        victim.start()
        stage.load.wait_full(90)
    return "%d syncs failed once, each ended its process; %s" % (times, stage.verdict())


@row(34, "EIO and short reads in recovery and in fetches", times=4, long=20)
def read_errors(bench, times):
    stage = bench.stage(shim=True, interval_ms=10)
    hits = {"recovery": 0, "fetch": 0}
    answers = {}
    for number in range(times):
        victim = stage.pick()
        shim = stage.shims[victim.id]
        action = disk.SHORT if number % 2 == 0 else disk.EIO
        victim.kill()
        shim.arm(disk.READ, action, "/load-", random.randint(0, 5), times=20 if action == disk.SHORT else 1)
        victim.start()
        time.sleep(2)
        hits["recovery"] += shim.hits()
        shim.disarm()
        back(victim)
        stage.load.wait_full(90)
        stage.ready()
        hits["fetch"] += hurt_fetch(stage, action, answers)
        stage.load.wait_full(90)
    expect(min(hits.values()) > 0, "reads hurt: %s: the test was idle", hits)
    bench.figures.update({"hits": hits, "answers": answers})
    return "reads hurt: %s; fetches that met them ended with %s; %s" % (hits, answers, stage.verdict())


def back(broker):
    """Started again if it ended, which it may not have done with status 0."""
    if not broker.alive():
        expect(broker.process.returncode != 0, "node %d ended with status 0 after an error of its disk", broker.id)
        broker.start()


def forget_pages(broker, partition):
    """What is read next of this partition comes from the disk."""
    for path in segments_of(broker, partition):
        with open(path, "rb") as f:
            os.fdatasync(f.fileno())
            os.posix_fadvise(f.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def hurt_fetch(stage, action, answers):
    """A leader whose disk gives an error, or less than was asked for, to a reader: nothing false is served."""
    victim = stage.pick()
    partition = stage.load.cluster()["leaders"].index(victim.id)
    shim = stage.shims[victim.id]
    shim.arm(disk.READ, action, "/load-%d" % partition, 0, times=2)
    until = time.monotonic() + 15
    while not shim.hits() and victim.alive() and time.monotonic() < until:
        forget_pages(victim, partition)
        try:
            with stage.connect(victim, 5) as c:
                error, _, records = c.fetch("load", partition, 0)
            sound(records)
            answer = str(error)
        except (OSError, wire.Closed):
            answer = "closed"
        if shim.hits():
            answers[answer] = answers.get(answer, 0) + 1
    hits = shim.hits()
    shim.disarm()
    time.sleep(1)
    back(victim)
    return hits


def sound(records):
    for base, _, crc, covered in logs.fetched(records or b""):
        expect(wire.crc32c(covered) == crc, "a damaged batch was served at offset %d", base)


@row(35, "syncs stall for 2, 5 and 12 s", times=3, long=12)
def stalls(bench, times):
    stage = bench.stage(shim=True)
    told = []
    for number in range(times):
        seconds = (2, 5, 12)[number % 3]
        leaders = stage.load.wait_full(90)["leaders"]
        victim = stage.cluster.broker((stage.controller(), max(set(leaders), key=leaders.count))[number % 2])
        before = stage.term()
        stage.load.gap_ms()
        # Every sync of the data hangs, until it is over; heartbeats go on.
        stage.shims[victim.id].arm(disk.SYNC, disk.STALL, "", times=2, stall_ms=seconds * 1000)
        time.sleep(seconds + 1)
        expect(victim.alive(), "node %d ended because a sync took %d s", victim.id, seconds)
        stage.shims[victim.id].disarm()
        stage.load.wait_full(90)
        gap = stage.load.gap_ms()
        told.append("%d s: writing paused %.1f s, %d terms" % (seconds, gap / 1000, stage.term() - before))
        expect(gap < seconds * 1000 + 6000, "a stall of %d s held up writing for %.1f s", seconds, gap / 1000)
    bench.figures["stalls"] = told
    return "%s; %s" % ("; ".join(told), stage.verdict())


# ---- files that changed while the broker was down

def changed(bench, stage, victim, change, timeout=90):
    """Kill a broker, change its files, start it: whole again, or it does not start and says why."""
    victim.kill()
    change()
    victim.start()
    stage.load.wait_full(timeout)
    expect(victim.alive(), "node %d ended with %s", victim.id, victim.process.poll())


def last_segment(broker):
    """The newest segment of a partition with data."""
    for partition in random.sample(range(6), 6):
        found = [s for s in segments_of(broker, partition) if os.path.getsize(s) > 400]
        if found:
            return found[-1]
    expect(False, "node %d has no data", broker.id)


def metadata_log(broker):
    return sorted(glob.glob(os.path.join(broker.dir, "__cluster_metadata-0", "*.log")))[-1]


def last_batch_size(path):
    found = logs.batches(os.path.dirname(path))
    return os.path.getsize(path) - found[-1][9]


@row(36, "the last batch cut, at bytes all over it (every byte with --long), and the metadata log", times=12, long=0)
def torn(bench, times):
    stage = bench.stage(nodes=5)
    victim = stage.pick()
    size = last_batch_size(last_segment(victim))
    cuts = range(1, size) if bench.long else sorted(random.sample(range(1, size), min(times, size - 1)))
    for count in cuts:
        changed(bench, stage, victim, lambda n=count: disk.cut_tail(last_segment(victim), n))
    for count in random.sample(range(1, 80), 40 if bench.long else 4):
        changed(bench, stage, victim, lambda n=count: disk.cut_tail(metadata_log(victim), n))
    return "node %d, cut by %s of %d bytes, and its metadata log %d times; %s" % (
        victim.id, "all" if bench.long else list(cuts), size, 40 if bench.long else 4, stage.verdict())


@row(37, "partition and metadata logs longer than their data: zeros, garbage, old blocks", times=9, long=30)
def longer(bench, times):
    stage = bench.stage(nodes=5)
    for number in range(times):
        victim = stage.pick()

        def change(kind=number % 3, victim=victim, number=number):
            path = metadata_log(victim) if number >= times * 2 // 3 else last_segment(victim)
            size = random.choice((1, 60, 512, 4096, 70000))
            with open(path, "rb") as f:
                old = f.read(size)
            disk.append(path, (b"\0" * size, random.randbytes(size), old)[kind])
        changed(bench, stage, victim, change)
    return "%d tails; %s" % (times, stage.verdict())


@row(38, "a hole of zeros before sound batches at the end", times=4, long=20)
def holes(bench, times):
    stage = bench.stage()
    for _ in range(times):
        victim = stage.pick()

        def change(victim=victim):
            path = last_segment(victim)
            at = max(0, os.path.getsize(path) - random.randrange(300, 1500)) // 512 * 512
            with open(path, "r+b") as f:
                f.seek(at)
                f.write(b"\0" * min(512, os.path.getsize(path) - at))
        changed(bench, stage, victim, change)
    return "%d holes; %s" % (times, stage.verdict())


def durable_mark(victim, partition, topic="load"):
    """What the disk says that TOPIC-PARTITION has durably, 0 when it does not."""
    try:
        with open(os.path.join(victim.dir, "recovery-point-offset-checkpoint")) as f:
            lines = [line.split() for line in f]
    except OSError:
        return 0
    return max([int(line[2]) for line in lines if line[:2] == [topic, str(partition)]] + [0])


def below_mark(victim, partition):
    """(file, bytes of it) where the batches of the newest segment end that lie below the durable mark."""
    newest = segments_of(victim, partition)[-1]
    found = [b for b in logs.batches(os.path.dirname(newest)) if b[8] == newest]
    mark = durable_mark(victim, partition)
    return newest, max([b[9] for b in found if b[0] <= mark] + [0])


def flipped(bench, stage, victim, partition, closed=False):
    def change():
        found = segments_of(victim, partition)
        expect(not closed or len(found) > 1, "load-%d has no closed segment", partition)
        path, end = (found[0], os.path.getsize(found[0]) // 2) if closed else below_mark(victim, partition)
        disk.flip_bit(path, random.randrange(61, end))

    # Damage is what lies below the durable mark, which a new leader epoch holds back for some seconds (8.2).
    if not closed:
        wait_until("load-%d has a durable mark at node %d" % (partition, victim.id),
                   lambda: below_mark(victim, partition)[1] > 1000, 30, 0.2)

    def told():
        tp = "tp=load-%d " % partition
        return stage.said(victim, tp, "state=damaged") + stage.said(victim, tp, "what=damaged")
    before = told()
    changed(bench, stage, victim, change)
    if not closed:  # that all is whole may be what was said before the kill
        wait_until("node %d notices a flipped bit in load-%d" % (victim.id, partition), lambda: told() > before, 30, 0.1)
        stage.load.wait_full(90)


@row(39, "a flipped bit below the high watermark of a follower", times=4, long=20)
def flip_follower(bench, times):
    stage = bench.stage(nodes=5, assignments=[[1, 2, 3], [2, 1, 3]] * 3)
    for number in range(times):
        time.sleep(1)
        flipped(bench, stage, stage.cluster.broker(3), number % 6)
    return "%d bits, each found and said; %s" % (times, stage.verdict())


@row(40, "a flipped bit below the high watermark of a leader", times=4, long=20)
def flip_leader(bench, times):
    stage = bench.stage(nodes=5)
    for _ in range(times):
        time.sleep(1)
        leaders = stage.ready()["leaders"]
        partition = random.randrange(6)
        flipped(bench, stage, stage.cluster.broker(leaders[partition]), partition)
    return "%d bits, each found and said; %s" % (times, stage.verdict())


@row(41, "a flipped bit in a closed segment, found when it is read (there is no scrub)", times=3, long=12)
def flip_closed(bench, times):
    stage = rolling_stage(bench)
    wait_until("segments are closed", lambda: all(len(segments_of(b, p)) > 2 for b in stage.cluster.brokers for p in range(6)), 90)
    found = 0
    for number in range(times):
        # The preferred leader, so that it is read from; another one each time, for who has given up leads nothing for a minute.
        node = number % 3 + 1
        partition = stage.preferred.index(node)
        victim = stage.cluster.broker(node)
        flipped(bench, stage, victim, partition, closed=True)
        wait_until("node %d leads load-%d again" % (victim.id, partition),
                   lambda p=partition, v=victim: stage.leader_of("load", p) == v.id, 90, 0.2)
        found += read_to_damage(stage, victim, partition)
        stage.load.wait_full(90)
    return "%d bits, all found by the first reader and the replica fetched anew; %s" % (found, stage.verdict())


def read_to_damage(stage, victim, partition):
    """A consumer reads the partition from its start until the replica's owner has said that it is damaged."""
    def said():
        with open(victim.log, errors="replace") as f:
            return "tp=load-%d what=damaged" % partition in f.read()
    until = time.monotonic() + 30
    offset = 0
    with stage.connect(victim) as c:
        while time.monotonic() < until and not said():
            error, _, records = c.fetch("load", partition, offset)
            if error != wire.NONE or not records:
                time.sleep(0.2)
                continue
            for base, last, crc, covered in logs.fetched(records):
                expect(wire.crc32c(covered) == crc, "node %d served a damaged batch at offset %d", victim.id, base)
                offset = last + 1
    expect(said(), "node %d read load-%d up to offset %d and did not find the damage", victim.id, partition, offset)
    return True


@row(42, "a flipped bit in the metadata log, the vote, meta.properties", times=4, long=16)
def flip_voter(bench, times):
    stage = bench.stage()
    told = []
    for number in range(times):
        victim = stage.pick()
        name = ("metadata log", "vote", "metadata log", "meta.properties")[number % 4]
        victim.kill()
        if name == "metadata log":
            path = metadata_log(victim)
        elif name == "vote":
            path = os.path.join(victim.dir, "__cluster_metadata-0", "quorum-state")
        else:
            path = os.path.join(victim.dir, "meta.properties")
            shutil.copy(path, path + ".sound")
        disk.flip_bit(path, os.path.getsize(path) // 2)
        victim.start()
        time.sleep(3)
        stage.steady("writing goes on with a damaged %s on node %d" % (name, victim.id), 30)
        if not victim.alive():
            told.append("%s: refuses to start" % name)
            expect(victim.process.returncode in (1, 2), "exit status %s", victim.process.returncode)
            if name == "meta.properties":
                os.rename(path + ".sound", path)
                victim.start()
            else:  # as the operator would do it: a new disk
                shutil.rmtree(victim.dir)
                victim.start()
        else:
            told.append("%s: starts" % name)
            if name == "meta.properties":
                os.unlink(path + ".sound")
        stage.load.wait_full(90)
        wait_until("node %d votes again" % victim.id, lambda v=victim: any(
            n["node_id"] == v.id and n["voter"] and n.get("role") in ("follower", "controller", "leader")
            for n in stage.status().get("node_list", [])), 60, 0.3)
    bench.figures["stories"] = told
    return "%s; %s" % ("; ".join(told), stage.verdict())


@row(43, "the same flipped bit on all replicas", exempt="all copies of a record are damaged: the expected ending is offline and loud")
def flip_all(bench, times):
    stage = bench.stage(start=False)
    stage.cluster.start()
    stage.wait_healthy()
    with stage.connect(stage.cluster.brokers[0]) as c:
        error, message = c.create_topic("doomed", assignments=[[1, 2, 3]])
        expect(error == wire.NONE, "CreateTopics: %d %s", error, message)
        wait_until("doomed is led", lambda: c.produce("doomed", 0, wire.batch([b"first"]))[0] == wire.NONE, 20)
        for n in range(50):
            error, _ = c.produce("doomed", 0, wire.batch([b"record %d" % n * 20]))
            expect(error == wire.NONE, "a write: error %d", error)
    wait_until("the durable mark is written",
               lambda: all(durable_mark(b, 0, "doomed") >= 51 for b in stage.cluster.brokers), 30, 0.1)
    for b in stage.cluster.brokers:
        b.kill()
    at = os.path.getsize(segments_of(stage.cluster.brokers[0], 0, "doomed")[-1]) // 2
    for b in stage.cluster.brokers:
        path = segments_of(b, 0, "doomed")[-1]
        with open(path, "r+b") as f:
            f.seek(at)
            byte = f.read(1)[0]
            f.seek(at)
            f.write(bytes([byte ^ 4]))
    stage.cluster.start()
    time.sleep(8)
    served = stage.leader_of("doomed", 0)
    loud = 0
    for b in stage.cluster.brokers:
        with open(b.log, errors="replace") as f:
            loud += sum("doomed-0" in line and ("damaged" in line or "ERROR" in line or "WARN" in line) for line in f)
    expect(loud > 0, "no log says that doomed-0 is damaged")
    if served > 0:
        with stage.connect(stage.cluster.broker(served)) as c:
            offset = 0
            error = wire.NONE
            while offset < 51 and error == wire.NONE:
                error, high, records = c.fetch("doomed", 0, offset, 4096)
                if not records:
                    break
                offset += 1
            expect(error != wire.NONE or high >= 51, "doomed-0 is led by node %d with a high watermark of %d of 51: a silent loss",
                   served, high)
            return "led by node %d, reading ends with error %d at %d; %d log lines" % (served, error, offset, loud)
    health = stage.bench.healthy(stage.cluster)
    expect(not health, "kvorum health says all is well")
    return "no leader, kvorum health says so, %d log lines" % loud


GARBLED = ("*.index", "*.timeindex", "leader-epoch-checkpoint", "*.snapshot")
TOP = ("replication-offset-checkpoint", "recovery-point-offset-checkpoint")


@row(44, "indexes, epoch files, producer snapshots and checkpoints deleted or garbled", times=6, long=30)
def caches(bench, times):
    stage = bench.stage()
    hurt = 0
    for number in range(times):
        victim = stage.pick()
        if number % 2 == 0:  # they are all written at a controlled stop
            victim.process.terminate()
            expect(victim.process.wait(40) == 0, "node %d: exit status %s", victim.id, victim.process.returncode)
        victim.kill()
        found = [f for pattern in GARBLED for f in glob.glob(os.path.join(victim.dir, "*-*", pattern))]
        found += [os.path.join(victim.dir, n) for n in TOP if os.path.exists(os.path.join(victim.dir, n))]
        found = [f for f in found if "__cluster_metadata" not in f]
        for path in found:
            hurt += 1
            if random.random() < 0.5:
                os.unlink(path)
            else:
                with open(path, "wb") as f:
                    f.write(random.randbytes(random.randrange(1, 200)))
        victim.start()
        stage.load.wait_full(90)
    expect(hurt > 20, "only %d files were there to be hurt", hurt)
    bench.figures["files"] = hurt
    return "%d files on %d starts; %s" % (hurt, times, stage.verdict())


@row(45, "power cuts while segments roll: directory entries that were not synced are gone", times=4, long=20)
def rolled_entries(bench, times):
    stage = rolling_stage(bench, disks=True, disk_mb=512, client=RETURNING_CLIENT)
    def segments():
        return [len(segments_of(b, p)) for b in stage.cluster.brokers for p in range(6)]
    wait_until("segments roll", lambda: min(segments()) > 1, 60)
    before = sum(segments())
    power_rounds(stage, times)
    rolled = sum(segments()) - before
    expect(rolled >= 2 * times, "only %d segments rolled in %d rounds", rolled, times)
    return "%d cuts, %d segments rolled meanwhile; %s" % (times, rolled, stage.verdict(1000))
