"""Rows 46 to 54: directories wiped and rolled back, clocks, limits, topics made anew, upgrades, and all of it for hours."""
import calendar
import os
import random
import shutil
import subprocess
import tempfile
import threading
import time

import faults_crash
import faults_input
import faults_memory
from rows_disk import rolling_stage, segments_of
from stage import QUICK_CLIENT, Rows, disk, expect, wait_until, wire

rows = Rows()
row = rows.row


@row(46, "a data directory wiped")
def wiped(bench, times):
    return faults_crash.wiped_directory(bench)


@row(47, "a data directory rolled back to an older copy", times=3, long=15)
def rolled_back(bench, times):
    stage = bench.stage(nodes=5)
    for number in range(times):
        victim = stage.pick()
        copy = os.path.join(stage.cluster.dir, "copy")
        victim.kill()
        shutil.copytree(victim.dir, copy)
        victim.start()
        stage.load.wait_full(90)
        time.sleep(2)
        victim.kill()
        shutil.rmtree(victim.dir)
        os.rename(copy, victim.dir)
        victim.start()
        stage.load.wait_full(90)
    told = sum(stage.said(b, "event=broker_registered", "rolled_back=1") for b in stage.cluster.brokers)
    expect(told >= times, "of %d directories that were rolled back controllers noticed %d", times, told)
    return "%d copies of an earlier incarnation, each noticed at its registration; %s" % (times, stage.verdict())


@row(48, "wall clocks jump by an hour, there and back, on one and on all", times=4, long=16)
def clocks(bench, times):
    # An hour is twice what records are kept; what a clock says alone must remove none.
    stage = rolling_stage(bench, shim=True, settings={"log.retention.ms": 1800000, "log.retention.check.interval.ms": 500})
    wait_until("segments are closed", lambda: min(len(segments_of(b, 0)) for b in stage.cluster.brokers) > 1, 90)
    before = stage.term()
    seen = set()
    for number in range(times):
        victims = stage.cluster.brokers if number % 2 else [stage.pick()]
        for seconds in (3600, -3600, 0):
            for b in victims:
                stage.shims[b.id].set_clock(seconds)
            time.sleep(2)
            provoke(stage, victims[0])
            seen.add(clock_of(victims[0]))
            stage.steady("writing goes on with clocks %+d s" % seconds, 10)
    stage.all_alive()
    terms = stage.term() - before
    expect(len(seen) > 1, "no clock was seen to jump: %s", seen)
    noticed = sum(stage.said(b, "event=clock_jump") for b in stage.cluster.brokers)
    removed = sum(stage.said(b, "event=segments_removed tp=load-") for b in stage.cluster.brokers)
    expect(noticed > 0 and removed == 0, "retention noticed %d jumps and removed segments %d times", noticed, removed)
    expect(terms <= 1, "%d terms because clocks jumped", terms)
    load = stage.load.cluster()
    expect(load["isr_full"], "replicas left ISRs because clocks jumped")
    return "%d jumps, %d terms, clocks off by %s h as their logs tell; %s" % (times * 3, terms, sorted(seen), stage.verdict())


def provoke(stage, broker):
    """A line in the broker's log."""
    with stage.connect(broker, 30) as c:
        error, message = c.create_topic("now-%d" % random.randrange(1 << 40), 1, 3)
        expect(error == wire.NONE, "CreateTopics: %d %s", error, message)
    time.sleep(0.5)


def clock_of(broker):
    """By how many hours the broker's own log is off now."""
    with open(broker.log, errors="replace") as f:
        last = f.readlines()[-1]
    said = time.strptime(last[:19], "%Y-%m-%dT%H:%M:%S")
    return round((calendar.timegm(said) - time.time()) / 3600)


@row(49, "descriptor limit, memory limit, one starved processor")
def limits(bench, times):
    told = [faults_input.few_descriptors(bench)]
    bench.check_disks()
    bench.retire()
    told.append(faults_memory.memory_limit(bench))
    bench.check_disks()
    bench.retire()
    told.append(starved(bench))
    return "; ".join(told)


def starved(bench):
    """All brokers on one processor, beside programs that never wait."""
    stage = bench.stage(wrap=lambda broker: ["taskset", "-c", "0"])
    before = stage.term()
    hogs = [subprocess.Popen(["taskset", "-c", "0", "sh", "-c", "while :; do :; done"]) for _ in range(4)]
    try:
        time.sleep(10)
        stage.progress("writing goes on on a starved processor")
    finally:
        for h in hogs:
            h.kill()
            h.wait()
    stage.all_alive()
    stage.load.wait_full(90)
    return "starved beside 4 busy programs: %d terms; %s" % (stage.term() - before, stage.verdict())


@row(50, "oversize, malformed and half requests, 2,000 idle connections")
def malformed(bench, times):
    return faults_input.malformed(bench)


@row(51, "a topic deleted and made anew while a replica is away", times=3, long=15)
def made_anew(bench, times):
    stage = bench.stage(nodes=5)
    for number in range(times):
        away = stage.pick()
        others = stage.others(away)
        with stage.connect(others[0], 30) as c:
            error, message = c.create_topic("twice", assignments=[[others[0].id, others[1].id, away.id]])
            expect(error == wire.NONE, "CreateTopics: %d %s", error, message)
            for n in range(20):
                wait_until("twice is written", lambda n=n: c.produce("twice", 0, wire.batch([b"old %d" % n]))[0] == wire.NONE, 20)
            away.kill()
            time.sleep(0.5)
            expect(c.delete_topic("twice") == wire.NONE, "the topic cannot be deleted")
            wait_until("twice is made anew", lambda: c.create_topic(
                "twice", assignments=[[others[0].id, others[1].id, away.id]])[0] == wire.NONE, 20, 0.2)
            for n in range(5):
                wait_until("twice is written", lambda n=n: c.produce("twice", 0, wire.batch([b"new %d" % n]))[0] == wire.NONE, 20)
            away.start()
            stage.load.wait_full(90)
            wait_until("node %d is back in the ISR of twice" % away.id, lambda: away.id in c.metadata("twice")["partitions"][0]["isr"],
                       60, 0.1)
            # It leads now, and must have nothing of the old topic.
            others[0].kill()
        with stage.connect(others[1], 30) as c:
            wait_until("twice has a new leader", lambda: stage.leader_of("twice", 0) not in (-1, others[0].id), 30)
        with stage.connect(stage.cluster.broker(stage.leader_of("twice", 0)), 30) as c:
            data = c.fetch("twice", 0, 0)[2]
            expect(b"new 0" in data and b"old" not in data, "after the topic was made anew: %s", data[:200])
        others[0].start()
        stage.load.wait_full(90)
        with stage.connect(others[1], 30) as c:
            found = stage.metadata("twice")["partitions"][0]
            wait_until("all replicas of twice", lambda: len(stage.metadata("twice")["partitions"][0]["isr"]) == 3, 60, 0.1)
            expect(c.delete_topic("twice") == wire.NONE, "the topic cannot be deleted (%s)", found)
        time.sleep(1)
    return "%d times; %s" % (times, stage.verdict())


@row(52, "the ISR shrinks to one, which dies; others return first", times=3, long=15)
def last_one(bench, times):
    stage = bench.stage(nodes=5, client=QUICK_CLIENT)
    told = []
    for number in range(times):
        controller = stage.controller()
        rest = [b for b in stage.cluster.brokers if b.id != controller]
        random.shuffle(rest)
        early, middle, last = rest[:3]
        topic = "shrunk-%d" % number
        with stage.connect(last, 30) as c:
            error, message = c.create_topic(topic, assignments=[[last.id, middle.id, early.id]])
            expect(error == wire.NONE, "CreateTopics: %d %s", error, message)
            wait_until("%s is written" % topic, lambda: c.produce(topic, 0, wire.batch([b"a"]))[0] == wire.NONE, 20)
            early.kill()
            wait_until("two are left", lambda: early.id not in c.metadata(topic)["partitions"][0]["isr"], 20)
            value = b"acknowledged by two"
            error, offset = wait_until("a write to two", lambda: (lambda r: r if r[0] == wire.NONE else None)(
                c.produce(topic, 0, wire.batch([value]))), 20)
            middle.kill()
            wait_until("one is left", lambda: c.metadata(topic)["partitions"][0]["isr"] == [last.id], 20)
            error, _ = c.produce(topic, 0, wire.batch([b"alone"]), timeout_ms=1000)
            expect(error != wire.NONE, "a write with an ISR of one was acknowledged")
            last.kill()
        early.start()
        time.sleep(4)
        led = stage.leader_of(topic, 0)
        expect(led != early.id, "node %d, out of the ISR before the last acknowledged write, leads", early.id)
        (middle if number % 2 else last).start()
        leader = wait_until("%s has a leader again" % topic, lambda: max(0, stage.leader_of(topic, 0)), 60)
        expect(leader != early.id, "node %d leads without the last acknowledged write", early.id)
        with stage.connect(stage.cluster.broker(leader), 30) as c:
            data = wait_until("%s is read" % topic, lambda: c.fetch(topic, 0, offset)[2], 30)
            expect(value in data, "the record that two had acknowledged is gone")
        for b in (middle, last):
            if not b.alive():
                b.start()
        stage.load.wait_full(90)
        told.append("node %d waited for %d" % (early.id, leader))
    return "%s; %s" % ("; ".join(told), stage.verdict())


def build_of(bench, commit):
    """The broker as it was at a commit: (binary, directory to remove)."""
    root = subprocess.run(["git", "rev-parse", "--show-toplevel"], stdout=subprocess.PIPE, text=True, check=True).stdout.strip()
    place = tempfile.mkdtemp(prefix="kvorum-old-")
    bench.others.append(Directory(place))
    source = os.path.join(place, "source")
    os.mkdir(source)
    archive = subprocess.Popen(["git", "-C", root, "archive", commit], stdout=subprocess.PIPE)
    subprocess.run(["tar", "-x", "-C", source], stdin=archive.stdout, check=True)
    expect(archive.wait() == 0, "no commit %s", commit)
    build = os.path.join(place, "build")
    for command in (["meson", "setup", build, source, "-Dtests=false"], ["ninja", "-C", build, "broker/kvorum"]):
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        expect(done.returncode == 0, "%s: %s", " ".join(command), done.stdout[-500:])
    return os.path.join(build, "broker", "kvorum")


class Directory:
    def __init__(self, path):
        self.path = path

    def remove(self):
        shutil.rmtree(self.path, ignore_errors=True)


@row(53, "old and new build mixed, upgraded, rolled back once, upgraded")
def upgrade(bench, times):
    old = build_of(bench, bench.old_commit)
    new = bench.binary
    bench.binary = old
    stage = bench.stage(start=False)
    bench.binary = new
    stage.start()
    for binary in (new, old, new):
        for b in stage.cluster.brokers:
            b.binary = binary
            b.process.terminate()
            expect(b.process.wait(40) == 0, "node %d: exit status %s after SIGTERM", b.id, b.process.returncode)
            b.start()
            stage.load.wait_full(90)
            time.sleep(1)
        victim = stage.pick()
        stage.restart(victim)
        stage.load.wait_full(90)
    return "commit %s: upgraded node by node, back, and again, a kill -9 in each; %s" % (bench.old_commit, stage.verdict())


# ---- all of it

ON_ALL = ("5 kill all", "6 power all", "48 clocks")  # these leave no other broker for the second of a pair


def soak_actions(stage):
    cut = stage.network
    lock = threading.Lock()  # two faults of a pair may be on the network at once

    def hold_network(begin, b, seconds):
        with lock:
            begin(b)
        time.sleep(seconds)
        with lock:
            cut.heal(*[n for n in cut.nodes if n in touched[b.id]])
    touched = {b.id: {b.id} for b in stage.cluster.brokers}

    def one_way(v):
        other = random.choice(stage.others(v)).id
        touched[v.id] = {other}
        cut.drop_one_way(v.id, other)

    def alone(v, others):
        touched[v.id] = {v.id}
        cut.isolate_from(v.id, [b.id for b in others])

    def wholly(v):
        touched[v.id] = {v.id}
        cut.isolate(v.id)

    def fill(b):
        stage.disks[b.id].fill()
        time.sleep(random.uniform(1, 4))
        stage.disks[b.id].relieve()
    return {
        "1 kill": lambda b: stage.restart(b, random.uniform(0, 2)),
        "4 rebalance": lambda b: stage.load.ask("rejoin", "rejoining"),
        "5 kill all": lambda b: ([v.kill() for v in stage.cluster.brokers], [v.start() for v in stage.cluster.brokers]),
        "6 power all": lambda b: (stage.cut_power(), [v.start() for v in stage.cluster.brokers]),
        "7 power": lambda b: (stage.cut_power([b.id]), b.start()),
        "9 stop": soak_stop,
        "12 freeze": lambda b: soak_hold(stage.freeze, stage.thaw, b, random.uniform(0.2, 5)),
        "16 isolate": lambda b: hold_network(wholly, b, random.uniform(1, 5)),
        "17 from peers": lambda b: hold_network(lambda v: alone(v, stage.others(v)), b, random.uniform(1, 5)),
        "18 one way": lambda b: hold_network(one_way, b, random.uniform(1, 5)),
        "19 pair": lambda b: hold_network(lambda v: alone(v, [random.choice(stage.others(v))]), b, random.uniform(1, 5)),
        "29 full disk": fill,
        "32 short writes": lambda b: soak_shim(stage, b, disk.WRITE, disk.SHORT, 20),
        "33 sync error": lambda b: soak_shim(stage, b, disk.SYNC, disk.EIO, 1),
        "35 stall": lambda b: soak_shim(stage, b, disk.SYNC, disk.STALL, 2, random.randint(300, 4000)),
        "48 clocks": lambda b: soak_clocks(stage),
    }


def soak_shim(stage, broker, call, action, times, stall_ms=0):
    """Until the rule has acted, 4 s at most; a broker that ended for it is started again."""
    shim = stage.shims[broker.id]
    shim.arm(call, action, "", random.randint(0, 10), times, stall_ms)
    until = time.monotonic() + 4 + stall_ms / 1000
    while broker.alive() and shim.hits() < times and time.monotonic() < until:
        time.sleep(0.02)
    time.sleep(stall_ms / 1000)
    if action == disk.EIO and shim.hits():
        soak_gone(broker)
    expect(shim.hits() > 0, "node %d: no call of kind %d within 4 s", broker.id, call)
    shim.disarm()
    if not broker.alive():
        expect(broker.process.returncode != 0, "node %d ended with 0 after an error of its disk", broker.id)
        broker.start()


def soak_gone(broker):
    """It hands over first, and ends."""
    try:
        broker.process.wait(40)
    except subprocess.TimeoutExpired:
        expect(False, "node %d goes on after a failed sync", broker.id)


def soak_clocks(stage):
    for seconds in (3600, -3600, 0):
        for shim in stage.shims.values():
            shim.set_clock(seconds)
        time.sleep(1)


def soak_pair(stage, actions, pair):
    """Both at once on two brokers, unless one of them is on all."""
    first, second = random.sample(stage.cluster.brokers, 2)
    if any(name in ON_ALL for name in pair):
        for name, b in zip(pair, (first, second)):
            actions[name](b)
        return
    failed = []

    def other():
        try:
            actions[pair[1]](second)
        except Exception as e:
            failed.append(e)
    thread = threading.Thread(target=other)
    thread.start()
    try:
        actions[pair[0]](first)
    finally:
        thread.join()
    if failed:
        raise failed[0]


def soak_stop(broker):
    broker.process.terminate()
    try:
        broker.process.wait(40)
    except subprocess.TimeoutExpired:
        broker.kill()
    broker.start()


def soak_hold(begin, end, broker, seconds):
    begin(broker)
    time.sleep(seconds)
    end(broker)


def resources(broker):
    return broker.rss_bytes(), len(os.listdir("/proc/%d/fd" % broker.process.pid))


@row(54, "soak: a pair of faults each 10 s, on two brokers at once; 20 minutes with --all, as long as --soak HOURS says, else 2")
def soak(bench, times):
    hours = bench.hours or 2 / 60
    # One load per stretch, so that everything is read back and the disks are looked at again and again.
    stretch_s = min(300, hours * 3600)
    until = time.monotonic() + hours * 3600
    played = {}
    stretches = acked = 0
    grown = []
    while time.monotonic() < until:
        stage = bench.stage(nodes=(3, 5)[stretches % 2], network_cuts=True, disks=True, shim=True, client=QUICK_CLIENT, disk_mb=1024)
        actions = soak_actions(stage)
        ends = min(until, time.monotonic() + stretch_s)
        first = [resources(b) for b in stage.cluster.brokers]
        while time.monotonic() < ends:
            next_pair = time.monotonic() + 10
            pair = random.sample(sorted(actions), 2)
            for name in pair:
                played[name] = played.get(name, 0) + 1
            soak_pair(stage, actions, pair)
            stage.load.wait_full(120)
            time.sleep(max(0, next_pair - time.monotonic()))
        grown += [(r[0] - f[0]) >> 20 for f, r in zip(first, (resources(b) for b in stage.cluster.brokers))]
        files = [resources(b)[1] for b in stage.cluster.brokers]
        expect(max(files) < 400, "descriptors: %s", files)
        stage.verdict()
        acked += bench.figures["acked"]
        stretches += 1
        bench.check_disks()
        bench.retire()
    expect(max(grown) < 64, "resident memory grew by %s MB", grown)
    bench.figures.update({"played": played, "grown_mb": grown, "stretches": stretches, "acked": acked})
    return "%d stretches, %d faults %s, %d acknowledged, memory grew by %d MB at most" % (
        stretches, sum(played.values()), played, acked, max(grown))
