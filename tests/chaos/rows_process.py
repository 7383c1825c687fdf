"""Rows 1 to 15: brokers killed, cut off from power, stopped and frozen."""
import itertools
import os
import random
import time

import faults_crash
import faults_disk
from quickstart import summary
from stage import QUICK_CLIENT, RETURNING_CLIENT, Failure, Rows, alternate, disk, expect, logs, wait_until, wire

rows = Rows()
row = rows.row
ROUND_S = 4.0  # librdkafka's pause before it connects again to a broker that it lost shortly before is not measured (quickstart.py)
FOLLOWER_ONLY = [[1, 2, 3], [2, 1, 3]] * 3  # node 3 leads nothing
ELECTION_S = 1.3


def sizes(times):
    """Half of the rounds on three brokers, half on five."""
    return [(3, times - times // 2), (5, times // 2)]


def judged(bench, samples, limit_ms, rounds, name="failover_ms"):
    figures = summary(samples)
    bench.figures.update({name: figures, "limit_p99_ms": limit_ms, "rounds": bench.figures.get("rounds", 0) + rounds})
    text = "%d rounds, %d partitions: p50 %.0f, p99 %.0f, max %.0f ms (limit p99 %d)" % (
        rounds, figures["samples"], figures["p50"], figures["p99"], figures["max"], limit_ms)
    expect(figures["p99"] < limit_ms, "%s", text)
    return text


def leader_rounds(bench, times, round_s, play, **options):
    """times rounds over both sizes; play(stage, victim, leaders) gives the samples of one."""
    samples, told = [], []
    for nodes, rounds in sizes(times):
        if rounds == 0:
            continue
        stage = bench.stage(nodes=nodes, partitions=12, **options)
        last = {}
        state = stage.ready(time.monotonic() + 1)
        for number in range(1, rounds + 1):
            ends = time.monotonic() + round_s
            victim = alternate(state["leaders"], last, number)
            samples += play(stage, stage.cluster.broker(victim), state["leaders"])
            state = stage.ready(ends)
        told.append("%d brokers: %s" % (nodes, stage.verdict(1000)))
        bench.check_disks()
        bench.retire()
    return samples, "; ".join(told)


@row(1, "SIGKILL of partition leaders", times=60, long=200)
def kill_leaders(bench, times):
    def play(stage, victim, leaders):
        samples = stage.kill_leader(victim.id, leaders)
        victim.start()
        return samples
    samples, told = leader_rounds(bench, times, ROUND_S, play)
    return judged(bench, samples, 500, times) + "; " + told


@row(2, "SIGKILL of a follower", times=5, long=20)
def kill_follower(bench, times):
    stage = bench.stage(nodes=5, assignments=FOLLOWER_ONLY)
    follower = stage.cluster.broker(3)
    gaps = []
    for _ in range(times):
        stage.load.gap_ms()
        follower.kill()
        time.sleep(1)
        isr = stage.metadata("load", stage.cluster.broker(1))["partitions"]
        expect(all(3 not in p["isr"] for p in isr.values()), "a second after its death node 3 is in ISRs: %s", isr)
        gaps.append(stage.load.gap_ms())
        follower.start()
        stage.load.wait_full()
    expect(max(gaps) < 1000, "acknowledgements paused for %.0f ms when a follower died", max(gaps))
    bench.figures["pause_ms"] = summary(gaps)
    return "writing paused %.0f ms at most; %s" % (max(gaps), stage.verdict())


@row(3, "SIGKILL of the active controller", times=6, long=20)
def kill_controller(bench, times):
    took, told = [], []
    for nodes, rounds in sizes(times):
        stage = bench.stage(nodes=nodes)
        gaps = []
        for number in range(rounds):
            victim = stage.cluster.broker(stage.controller())
            stage.load.gap_ms()
            victim.kill()
            began = time.monotonic()
            other = stage.others(victim)[0]

            def made():
                try:
                    with stage.connect(other, 5) as c:
                        return c.create_topic("made-%d" % number, 1, 2, timeout_ms=1000)[0] in (wire.NONE, wire.TOPIC_ALREADY_EXISTS)
                except (OSError, wire.Closed):
                    return False
            wait_until("a topic can be made again", made, 10 * ELECTION_S, 0.02)
            took.append((time.monotonic() - began) * 1000)
            victim.start()
            stage.ready()
            gaps.append(stage.load.gap_ms())
        told.append("%d brokers: longest writing pause %.0f ms, %s" % (nodes, max(gaps), stage.verdict()))
        bench.check_disks()
        bench.retire()
    bench.figures["metadata_writes_ms"] = summary(took)
    return "metadata writes again after %.0f ms at most (limit %.0f); %s" % (max(took), 10000 * ELECTION_S, "; ".join(told))


@row(4, "SIGKILL of a group coordinator in the middle of a rebalance", times=6, long=30)
def kill_coordinator(bench, times):
    stage = bench.stage(nodes=5)
    killed = []
    for number in range(times):
        group = "load-group-%d" % (number % 3)
        with stage.connect(stage.cluster.brokers[0]) as c:
            error, node = c.find_coordinator(group)
        expect(error == wire.NONE, "FindCoordinator: error %d", error)
        stage.load.ask("rejoin", "rejoining")
        time.sleep(random.uniform(0, 0.3))
        stage.restart(stage.cluster.broker(node), 1)
        killed.append(node)
        stage.ready()
    return "coordinators killed: nodes %s; %s" % (killed, stage.verdict())


@row(5, "SIGKILL of all within 100 ms, restarted in random order", times=2, long=20)
def kill_all(bench, times):
    told = [faults_crash.kill_all(bench)]
    bench.check_disks()
    bench.retire()
    stage = bench.stage(nodes=5, client=RETURNING_CLIENT)
    for _ in range(times):
        time.sleep(1)
        began = time.monotonic()
        for b in random.sample(stage.cluster.brokers, 5):
            b.process.kill()
        expect(time.monotonic() - began < 0.1, "the five kills took more than 100 ms")
        for b in stage.cluster.brokers:
            b.process.wait()
        for b in random.sample(stage.cluster.brokers, 5):
            time.sleep(random.uniform(0, 0.4))
            b.start()
        stage.load.wait_full(90)
    return "three brokers: %s; five brokers, %d times: %s" % (told[0], times, stage.verdict())


def power_rounds(stage, times):
    took = []
    for _ in range(times):
        time.sleep(random.uniform(0.7, 1.5))
        stage.cut_power()
        began = time.monotonic()
        for b in random.sample(stage.cluster.brokers, len(stage.cluster.brokers)):
            b.start()
        stage.load.wait_full(90)
        took.append((time.monotonic() - began) * 1000)
    return took


@row(6, "power cut of all nodes: everything that was not synced is gone", times=15, long=50)
def power_cut(bench, times):
    took, told = [], []
    for nodes, rounds in sizes(times):
        if rounds == 0:
            continue
        stage = bench.stage(nodes=nodes, disks=True, interval_ms=5, client=RETURNING_CLIENT)
        took += power_rounds(stage, rounds)
        told.append("%d brokers, %d cuts: %s" % (nodes, rounds, stage.verdict(1000)))
        bench.check_disks()
        bench.retire()
    bench.figures.update({"whole_again_ms": summary(took), "rounds": times})
    told.append(power_cut_control(bench))
    return "whole again after %.0f ms (p50), %.0f ms at most; %s" % (summary(took)["p50"], max(took), "; ".join(told))


def power_cut_control(bench):
    """The same without one of the flushes, that of partition data before it is acknowledged; votes and the metadata log are
    flushed as ever. This must be seen to lose records."""
    stage = bench.stage(disks=True, interval_ms=5, shim=True)
    for shim in stage.shims.values():
        for slot, words in enumerate(("/load-", "/__consumer_offsets-")):  # many at once are flushed through either directory
            shim.arm(disk.SYNC, disk.SKIP, words, times=disk.ALWAYS, slot=slot)
    time.sleep(1)
    skipped = sum(s.hits(slot) for s in stage.shims.values() for slot in (0, 1))
    stage.cut_power()
    acked = stage.load.ask("halt", "halted")["acked"]
    held = sum(max(logs.records(os.path.join(b.dir, "load-%d" % p)) for b in stage.cluster.brokers) for p in range(6))
    expect(skipped > 0, "control: no sync was left out")
    expect(held < acked, "control: %d syncs were left out before a power cut of all nodes, and of %d acknowledged records %d are on "
           "disks: the cut cuts nothing", skipped, acked, held)
    for shim in stage.shims.values():
        shim.disarm()
    stage.cluster.start()
    try:
        wait_until("served", lambda: all(stage.leader_of("load", p) > 0 for p in range(6)), 15)
        lost = stage.load.ask("verify", "verified")["lost"]
        expect(lost >= acked - held, "control: %d records are on no disk, and the client misses %d", acked - held, lost)
        ending = "the client misses %d" % lost
    except Failure as e:
        if "served" not in str(e):
            raise
        ending = "the topic is offline, for what was marked durable is gone"
    bench.figures["control"] = {"syncs_left_out": skipped, "acked": acked, "on_disks": held, "ending": ending}
    for b in stage.cluster.brokers:
        b.kill()
    bench.retire()
    return "control: with %d syncs of data left out, of %d acknowledged records %d are on disks, and %s: as it must be" % (
        skipped, acked, held, ending)


@row(7, "power cut of a leader while another replica is cut off", times=3, long=15)
def amnesiac(bench, times):
    stage = bench.stage(nodes=5, network_cuts=True, disks=True, interval_ms=5, client=QUICK_CLIENT)
    for _ in range(times):
        leaders = stage.load.wait_full(90)["leaders"]
        victim = stage.cluster.broker(faults_crash.busiest(leaders))
        cut_off = random.choice(stage.others(victim))
        stage.network.isolate(cut_off.id)
        time.sleep(random.uniform(1, 4))
        stage.cut_power([victim.id])
        victim.start()
        time.sleep(random.uniform(0.2, 2))
        stage.network.heal()
        stage.load.wait_full(90)
    return "%d times; %s" % (times, stage.verdict())


@row(8, "5x bounce of whoever leads", times=3, long=20)
def chase(bench, times):
    stage = bench.stage(nodes=5)
    for _ in range(times):
        for _ in range(5):
            leader = wait_until("load-0 has a leader", lambda: max(0, stage.leader_of("load", 0)), 30)
            stage.restart(stage.cluster.broker(leader))
            wait_until("load-0 has another leader", lambda old=leader: stage.leader_of("load", 0) not in (-1, old), 30)
        stage.load.wait_full()
    return "%d leaders of load-0 chased; longest pause %.0f ms; %s" % (5 * times, stage.load.gap_ms(), stage.verdict())


@row(9, "SIGTERM rolling restart", times=1, long=5)
def rolling(bench, times):
    told = faults_crash.rolling_restart(bench)
    bench.check_disks()
    bench.retire()
    stage = bench.stage(nodes=5)
    for _ in range(times):
        for b in stage.cluster.brokers:
            b.process.terminate()
            expect(b.process.wait(40) == 0, "node %d: exit status %s after SIGTERM", b.id, b.process.returncode)
            b.start()
            stage.load.wait_full()
    return "three brokers: %s; five brokers: longest pause %.0f ms; %s" % (told, stage.load.gap_ms(), stage.verdict())


@row(10, "SIGKILL during recovery", times=20, long=100)
def kill_in_recovery(bench, times):
    # What it reads in recovery takes its time, so that the kill comes in the middle.
    stage = bench.stage(disks=True, interval_ms=5, shim=True)
    time.sleep(2)
    victim = stage.pick()
    victim.kill()
    done = stage.said(victim, "node ", "event=recovered partitions=")
    running = 0
    for number in range(times):
        stage.shims[victim.id].arm(disk.READ, disk.STALL, "", times=disk.ALWAYS, stall_ms=number % 3)
        victim.start()
        time.sleep(random.uniform(0.005, 0.12))
        running += victim.alive()
        victim.kill()
    expect(running == times, "of %d starts only %d lived until they were killed", times, running)
    finished = stage.said(victim, "node ", "event=recovered partitions=") - done
    expect(times - finished >= times // 3, "of %d recoveries %d were over before the kill", times, finished)
    bench.figures["killed_before_the_end"] = times - finished
    stage.shims[victim.id].disarm()
    victim.start()
    stage.load.wait_full()
    return "node %d killed %d times 5 to 120 ms after its start, %d times before its recovery had ended; %s" % (
        victim.id, times, times - finished, stage.verdict())


FAILPOINTS = [
    ("a record append", disk.WRITE, "/load-", 40), ("a flush", disk.SYNC, "/load-", 20), ("a flush of many files", disk.SYNC, "", 60),
    ("a metadata append", disk.WRITE, "/__cluster_metadata", 2), ("a metadata flush", disk.SYNC, "/__cluster_metadata", 2),
    ("a vote", disk.WRITE, "quorum-state", 0), ("a vote's rename", disk.RENAME, "quorum-state", 0),
    ("a new segment", disk.OPEN, "/load-", 2), ("an offsets append", disk.WRITE, "/__consumer_offsets", 5),
    ("a checkpoint's rename", disk.RENAME, "checkpoint", 2), ("any rename", disk.RENAME, "", 1), ("any new file", disk.OPEN, "", 3),
    ("any cut", disk.CUT, "", 0),
]


@row(11, "SIGKILL before and after writes, syncs, renames, new files", times=26, long=130)
def failpoints(bench, times):
    lines = faults_disk.big_records()
    stage = bench.stage(shim=True, settings={"log.segment.bytes": 1 << 20}, interval_ms=5, file=lines.name)
    lines.close()
    hit, missed = {}, []
    for number in range(times):
        name, call, words, skip = FAILPOINTS[number // 2 % len(FAILPOINTS)]
        action = disk.KILL_AFTER if number % 2 else disk.KILL_BEFORE
        victim = stage.pick()
        stage.shims[victim.id].arm(call, action, words, random.randint(0, skip))
        point = "%s %s" % ("after" if number % 2 else "before", name)
        if reach(stage, victim, name):
            hit[point] = hit.get(point, 0) + 1
        else:
            missed.append(point)
        stage.shims[victim.id].disarm()
        for b in stage.cluster.brokers:
            if not b.alive():
                b.start()
        stage.load.wait_full(90)
    bench.figures.update({"hit": hit, "not_reached": missed})
    expect(sum(hit.values()) >= times * 3 // 4, "only %d of %d points were reached: not %s", sum(hit.values()), times, missed)
    return "%d killed at their point, not reached within 10 s: %s; %s" % (sum(hit.values()), missed or "none", stage.verdict())


def reach(stage, victim, name):
    """Do what leads to the point, until the victim is dead."""
    until = time.monotonic() + 10
    number = 0
    while victim.alive() and time.monotonic() < until:
        number += 1
        try:
            if "metadata" in name or name in ("any new file", "any rename"):
                with stage.connect(random.choice(stage.others(victim)), 5) as c:
                    c.create_topic("work-%d" % random.randrange(1 << 40), 1, 3, timeout_ms=1000)
            elif "vote" in name and number % 20 == 1:  # an election
                stage.restart(stage.cluster.broker(max(1, stage.controller())))
            elif "cut" in name and number % 60 == 1:  # it wakes with a tail that others do not have
                stage.freeze(victim)
                time.sleep(2.5)
                stage.thaw(victim)
        except (OSError, wire.Closed):
            pass
        time.sleep(0.05)
    return not victim.alive()


@row(12, "SIGSTOP of leaders past the session timeout, then CONT", times=30, long=100)
def freeze_leaders(bench, times):
    def play(stage, victim, leaders):
        stage.watch(victim.id, leaders)
        stage.freeze(victim)
        try:
            samples = stage.recovered()
        finally:
            stage.thaw(victim)
        return samples
    samples, told = leader_rounds(bench, times, ROUND_S, play, client=QUICK_CLIENT)
    zombie = faults_crash.freeze_leader(bench)
    return judged(bench, samples, 2500, times) + "; " + told + "; a write in a frozen leader's socket: " + zombie


@row(13, "SIGSTOP and CONT of the controller", times=6, long=20)
def freeze_controller(bench, times):
    told = []
    for nodes, rounds in sizes(times):
        stage = bench.stage(nodes=nodes, client=QUICK_CLIENT)
        made, refused = [], []
        for number in range(rounds):
            error = freeze_one_controller(stage, number, made)
            (made if error == wire.NONE else refused).append("zombie-%d" % number)
            stage.load.wait_full()
            for topic in made:
                for b in stage.cluster.brokers:
                    wait_until("node %d knows %s" % (b.id, topic), lambda b=b, t=topic: len(
                        [p for p in (stage.metadata(t, b) or {"partitions": {}})["partitions"].values() if p["leader"] > 0]) > 0, 15)
        told.append("%d brokers: %d topics made and all there, %d refused by the controller that had been frozen, %s" % (
            nodes, len(made), len(refused), stage.verdict()))
        bench.check_disks()
        bench.retire()
    return "; ".join(told)


def freeze_one_controller(stage, number, made):
    """Another makes a topic meanwhile; how the frozen one answers what lay in its socket."""
    victim = stage.cluster.broker(stage.controller())
    other = random.choice(stage.others(victim))
    with stage.connect(victim) as zombie:
        stage.freeze(victim)
        try:
            zombie.send_create_topic("zombie-%d" % number, 1, 3)
            until = time.monotonic() + 15
            error = None
            while error not in (wire.NONE, wire.TOPIC_ALREADY_EXISTS) and time.monotonic() < until:
                with stage.connect(other) as c:
                    error, _ = c.create_topic("live-%d" % number, 2, 3, timeout_ms=2000)
            expect(error in (wire.NONE, wire.TOPIC_ALREADY_EXISTS), "no topic could be made while the controller was frozen: error %s", error)
            made.append("live-%d" % number)
        finally:
            stage.thaw(victim)
        return zombie.receive_create_topic()[0]


@row(14, "SIGSTOP and CONT of a follower, longer than it may lag", times=3, long=15)
def freeze_follower(bench, times):
    stage = bench.stage(nodes=5, assignments=FOLLOWER_ONLY, settings={"replica.lag.time.max.ms": 2000})
    follower = stage.cluster.broker(3)
    gaps = []
    for _ in range(times):
        stage.load.gap_ms()
        stage.freeze(follower)
        try:
            time.sleep(5)
            isr = stage.metadata("load", stage.cluster.broker(1))["partitions"]
            expect(all(3 not in p["isr"] for p in isr.values()), "frozen for 5 s, node 3 is in ISRs: %s", isr)
            stage.steady("writing goes on without the follower", 5)
        finally:
            stage.thaw(follower)
        stage.load.wait_full()
        gaps.append(stage.load.gap_ms())
    bench.figures["pause_ms"] = summary(gaps)
    return "frozen %d times for 5 s; writing paused %.0f ms at most; %s" % (times, max(gaps), stage.verdict())


# Heartbeats of controllers and of brokers, silence before a pre-vote, session and check-quorum, lag (as set below), group session.
TIMEOUTS_S = (0.15, 0.3, 1.0, 1.5, 3.0, 6.0)


@row(15, "SIGSTOP of 0.5, 1 and 2 times each timeout, jittered", times=18, long=72)
def freeze_jittered(bench, times):
    freezes = itertools.cycle(itertools.product((0.5, 1, 2), TIMEOUTS_S))
    told, terms = [], 0
    for nodes, rounds in sizes(times):
        stage = bench.stage(nodes=nodes, client=QUICK_CLIENT, settings={"replica.lag.time.max.ms": 3000})
        before = stage.term()
        for factor, timeout in itertools.islice(freezes, rounds):
            victim = stage.pick()
            stage.freeze(victim)
            time.sleep(timeout * factor * random.uniform(0.85, 1.15))
            stage.thaw(victim)
            time.sleep(random.uniform(0, 1))
        stage.load.wait_full()
        stage.all_alive()
        terms += stage.term() - before
        told.append("%d brokers: %s" % (nodes, stage.verdict()))
        bench.check_disks()
        bench.retire()
    bench.figures["terms"] = terms
    expect(terms <= times + 2, "%d terms for %d freezes: elections storm", terms, times)
    return "%d freezes, %d terms; %s" % (times, terms, "; ".join(told))
