"""Brokers killed, frozen, stopped, cut off from power and wiped, under load of the independent client."""
import json
import os
import random
import re
import shutil
import signal
import subprocess
import time

import wire
from load import PARTITIONS, expect, wait_until
from wire import Connection


def busiest(leaders):
    return max(sorted(set(leaders)), key=leaders.count)


def status(bench, cluster):
    done = subprocess.run([bench.binary, "status", "-o", "json", "-b", cluster.bootstrap()], stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, timeout=30)
    try:
        return json.loads(done.stdout)
    except ValueError:
        return {}


def wait_served(cluster, topic, partition):
    """The id of the node that leads the partition and serves it."""
    def probe():
        for b in cluster.brokers:
            try:
                with Connection(b.port) as c:
                    if b.alive() and c.end_offset(topic, partition)[0] == wire.NONE:
                        return b.id
            except (OSError, wire.Closed):
                continue
        return None
    return wait_until("%s-%d is served" % (topic, partition), probe, 30)


# ---- all three at once

def kill_all(bench):
    cluster = bench.cluster()
    bench.start(cluster)
    load = bench.load(cluster)
    load.start()
    back = []
    for number in range(2):
        time.sleep(1.5)
        began = time.monotonic()
        for b in random.sample(cluster.brokers, 3):
            b.process.send_signal(signal.SIGKILL)
        expect(time.monotonic() - began < 0.1, "the three kills took more than 100 ms")
        for b in cluster.brokers:
            b.process.wait()
            os.mkdir(os.path.join(b.dir, "ghost-%d" % number))  # all that a kill left of a log that was being made
        began = time.monotonic()
        for b in random.sample(cluster.brokers, 3):
            time.sleep(random.uniform(0, 0.5))
            b.start()
        load.wait_full()
        back.append(time.monotonic() - began)
        for b in cluster.brokers:
            expect(b.alive(), "node %d ended after the restart with %s", b.id, b.process.poll())
            wait_until("the remains of a log are set aside",
                       lambda path=os.path.join(b.dir, "ghost-%d" % number): not os.path.exists(path), 20)
    return "twice; whole again after %s s; %s" % (" and ".join("%.1f" % s for s in back), load.verdict())


# ---- a frozen leader

def check_frozen(cluster, connection, topic):
    """The fate of a write that lay in a frozen leader's socket when it woke: refused, or there for ever."""
    error, offset = connection.receive_produce()
    if error != wire.NONE:
        return "refused (%d)" % error
    with Connection(cluster.broker(wait_served(cluster, topic, 0)).port) as c:
        records = c.fetch(topic, 0, offset)[2]
    expect(b"sent to a frozen leader" in records, "a frozen leader acknowledged offset %d, and it is gone", offset)
    return "kept"


def watch_move(observer, victim, began, seconds):
    """How long after the freeze nothing was led by the victim any more; None = it kept its leaderships."""
    moved = None
    while time.monotonic() - began < seconds:
        led = [p["leader"] for p in observer.metadata("load")["partitions"].values()]
        if moved is None and victim.id not in led and -1 not in led:
            moved = time.monotonic() - began
        time.sleep(0.02)
    return moved


def freeze(cluster, load, seconds):
    victim = cluster.broker(busiest(load.wait_full()["leaders"]))
    others = [b for b in cluster.brokers if b is not victim]
    topic = "frozen-%s" % seconds
    with Connection(victim.port) as zombie, Connection(others[0].port) as observer:
        error, message = zombie.create_topic(topic, assignments=[[victim.id, others[0].id, others[1].id]])
        expect(error == wire.NONE, "CreateTopics: %d %s", error, message)
        expect(wait_served(cluster, topic, 0) == victim.id, "%s is not led by its preferred leader", topic)
        began = time.monotonic()
        victim.process.send_signal(signal.SIGSTOP)
        try:
            zombie.send_produce(topic, 0, wire.batch([b"sent to a frozen leader"]))
            moved = watch_move(observer, victim, began, seconds)
        finally:
            victim.process.send_signal(signal.SIGCONT)
        fate = check_frozen(cluster, zombie, topic)
    load.wait_full()
    expect(victim.alive(), "node %d ended after it had been frozen for %s s", victim.id, seconds)
    return moved, fate


def freeze_leader(bench):
    cluster = bench.cluster()
    bench.start(cluster)
    load = bench.load(cluster)
    load.start()
    story = []
    for seconds in (0.3, 1.2, 4.0):
        moved, fate = freeze(cluster, load, seconds)
        if seconds >= 4:
            expect(moved is not None, "no new leaders while a leader was frozen for 4 s")
        said = "leaders moved after %.1f s" % moved if moved is not None else "leaders stayed"
        story.append("%.1f s: %s, its waiting write %s" % (seconds, said, fate))
    return "; ".join(story) + "; " + load.verdict()


# ---- one after the other, as an upgrade does it

def leaders_by_log(broker):
    """Per partition whom this process last followed or was, from its own log; and whether it said that it stopped."""
    led = {}
    stopped = deadline = False
    with open(broker.log, errors="replace") as f:
        text = f.read()
    for line in text[text.rfind("event=started"):].splitlines():
        role = re.search(r"event=role tp=(load-\d+) state=\w+ leader=(-?\d+)", line)
        if role and not stopped:
            led[role.group(1)] = int(role.group(2))
        stopped = stopped or "event=stopped" in line
        deadline = deadline or "event=stop_deadline" in line
    return led, stopped, deadline


def rolling_restart(bench):
    cluster = bench.cluster()
    bench.start(cluster)
    load = bench.load(cluster)
    load.start()
    exits = []
    gaps = []
    moved = 0
    for b in cluster.brokers:
        leaders = load.wait_full()["leaders"]
        load.gap_ms()
        began = time.monotonic()
        b.process.send_signal(signal.SIGTERM)
        code = b.process.wait(40)
        exits.append(time.monotonic() - began)
        expect(code == 0, "node %d: exit status %d after SIGTERM", b.id, code)
        led, stopped, deadline = leaders_by_log(b)
        expect(stopped and not deadline, "node %d stopped without moving its leaders (stopped %s, deadline %s)",
               b.id, stopped, deadline)
        expect(b.id not in led.values(), "node %d stopped while it led %s", b.id,
               [tp for tp, leader in led.items() if leader == b.id])
        moved += leaders.count(b.id)
        b.start()
        load.wait_full()
        gaps.append(load.gap_ms())
    expect(moved > 0, "no broker led anything: nothing was tested")
    expect(max(gaps) < 10000, "writing paused for %.0f ms", max(gaps))
    return "%d leaders moved first; stops took %s s; longest writing pause %.0f ms; %s" % (
        moved, ", ".join("%.1f" % s for s in exits), max(gaps), load.verdict())


# ---- power

def cut_power(cluster, disks):
    """Nothing that is not on a disk yet will ever be there."""
    for volume in disks.values():
        volume.cut_power()
    for b in cluster.brokers:
        b.kill()
    for volume in disks.values():
        volume.unmount()
        volume.mount()


def power_cut(bench):
    cluster, disks = bench.cluster_on_volumes((1, 2, 3), 128, {"kvorum.reserve.bytes": 8 << 20})
    bench.start(cluster)
    load = bench.load(cluster, interval_ms=5)
    load.start()
    for _ in range(3):
        time.sleep(random.uniform(1, 2))
        cut_power(cluster, disks)
        for b in random.sample(cluster.brokers, 3):
            b.start()
        load.wait_full()
    return "3 cuts of all three; " + load.verdict(1000)


def power_cut_control(bench):
    """Acknowledged from page caches, as Kafka's default does it: this must lose records, or power-cut proves nothing."""
    cluster, disks = bench.cluster_on_volumes((1, 2, 3), 128, {"kvorum.reserve.bytes": 8 << 20})
    bench.start(cluster)
    with Connection(cluster.brokers[0].port) as c:
        error, message = c.create_topic("load", PARTITIONS, 3, {"flush.messages": "9223372036854775807"})
    expect(error == wire.NONE, "CreateTopics: %s %s", error, message)
    load = bench.load(cluster, interval_ms=5)
    load.start()
    time.sleep(1.5)
    cut_power(cluster, disks)  # seconds before the kernel would write anything back by itself
    acked = load.ask("halt", "halted")["acked"]
    cluster.start()
    for partition in range(PARTITIONS):
        wait_served(cluster, "load", partition)
    verified = load.ask("verify", "verified")
    expect(acked >= 100, "only %d records were acknowledged: the test was idle", acked)
    expect(verified["lost"] > 0, "%d records were acknowledged from page caches, and a power cut of all three lost none: "
           "the power cut cuts nothing", acked)
    return "without flushing %d of %d acknowledged records are gone, as they must be" % (verified["lost"], acked)


# ---- a disk that comes back empty

def wiped_directory(bench):
    cluster = bench.cluster()
    bench.start(cluster)
    load = bench.load(cluster)
    load.start()
    victim = cluster.broker(load.wait_full()["controller"])
    before = next(n for n in status(bench, cluster)["node_list"] if n["node_id"] == victim.id)
    victim.kill()
    shutil.rmtree(victim.dir)
    time.sleep(1)
    victim.start()
    began = time.monotonic()
    load.wait_full()
    seconds = time.monotonic() - began
    after = next(n for n in status(bench, cluster)["node_list"] if n["node_id"] == victim.id)
    expect(after["directory_id"] != before["directory_id"], "the wiped directory has its old id")
    expect(after["state"] == "running", "node %d is %s after its directory was wiped", victim.id, after["state"])
    for partition in range(load.partitions):
        expect(os.path.isdir(os.path.join(victim.dir, "load-%d" % partition)), "load-%d was not fetched again", partition)
    # It votes again: with it and one other, but without the third, the cluster goes on.
    wait_until("node %d is admitted as a voter again" % victim.id,
               lambda: any(n["node_id"] == victim.id and n["voter"] and n.get("role") in ("follower", "controller", "leader")
                           for n in status(bench, cluster).get("node_list", [])), 30, 0.2)
    third = next(b for b in cluster.brokers if b is not victim)
    third.kill()

    def writable():
        state = load.cluster()
        return state["steady"] and third.id not in state["leaders"]
    wait_until("the cluster writes with the wiped node and one other", writable, 30, 0.2)
    third.start()
    load.wait_full()
    return "whole again after %.1f s, and a voter; %s" % (seconds, load.verdict())


# ---- no majority

def no_quorum(bench):
    cluster = bench.cluster()
    bench.start(cluster)
    load = bench.load(cluster)
    load.start()
    with Connection(cluster.brokers[0].port) as c:
        expect(c.create_topic("left", assignments=[[1, 2, 3]])[0] == wire.NONE, "the topic 'left' cannot be made")
    wait_served(cluster, "left", 0)
    left = cluster.brokers[0]
    with Connection(left.port) as c:
        error, offset = wait_until("a first record", lambda: (lambda r: r if r[0] == 0 else None)(
            c.produce("left", 0, wire.batch([b"before"]))), 20)
    for b in cluster.brokers[1:]:
        b.process.send_signal(signal.SIGKILL)
    for b in cluster.brokers[1:]:
        b.process.wait()
    time.sleep(0.3)
    with Connection(left.port) as c:
        error, _, records = c.fetch("left", 0, offset)
        expect(error == wire.NONE and b"before" in records, "the one node left does not serve reads (error %d)", error)
        first, _ = c.produce("left", 0, wire.batch([b"during"]), timeout_ms=2000)
        expect(first in (wire.NOT_ENOUGH_REPLICAS, wire.NOT_LEADER_OR_FOLLOWER, wire.REQUEST_TIMED_OUT,
                         wire.NOT_ENOUGH_REPLICAS_AFTER_APPEND), "a write without a majority: error %d", first)
        time.sleep(2.5)  # longer than a session: it knows by now
        later, _ = c.produce("left", 0, wire.batch([b"during"]), timeout_ms=2000)
        expect(later in (wire.NOT_ENOUGH_REPLICAS, wire.NOT_LEADER_OR_FOLLOWER), "a write without a majority: error %d", later)
        error, _, records = c.fetch("left", 0, offset)
        expect(error == wire.NONE and b"before" in records, "after a session without a controller reads end (error %d)", error)
        refused, message = c.create_topic("never", 1, 3, timeout_ms=3000)
        expect(refused != wire.NONE, "a topic was made without a majority")
    state = status(bench, cluster)
    expect(state.get("metadata_changes") is False and state.get("nodes_up") == 1, "status without a majority: %s", state)
    shown = subprocess.run([bench.binary, "status", "-b", cluster.bootstrap()], stdout=subprocess.PIPE, text=True, timeout=30).stdout
    expect("STOPPED (1 of 3 controllers" in shown, "kvorum status does not say that changes are stopped: %s", shown)
    health = subprocess.run([bench.binary, "health", "-b", cluster.bootstrap()], stdout=subprocess.PIPE, text=True, timeout=30)
    expect(health.returncode == 10, "kvorum health: exit %d without a majority", health.returncode)
    cluster.brokers[1].start()
    wait_until("one node back heals it", lambda: load.cluster()["steady"], 60, 0.2)
    cluster.brokers[2].start()
    load.wait_full()
    return "reads went on, writes refused (%d, later %d), CreateTopics %d (%s); %s" % (
        first, later, refused, message, load.verdict())


TESTS = [
    ("kill-all", kill_all),
    ("freeze-leader", freeze_leader),
    ("rolling-restart", rolling_restart),
    ("power-cut", power_cut),
    ("power-cut-control", power_cut_control),
    ("wiped-directory", wiped_directory),
    ("no-quorum", no_quorum),
]
