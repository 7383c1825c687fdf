"""Rows 16 to 27: packets dropped, links slow, silent, reset, spoiled and repeated."""
import itertools
import random
import time

from rows_process import ROUND_S, judged, leader_rounds
from stage import ATTACHED_CLIENT, QUICK_CLIENT, Rows, expect, wait_until, wire

rows = Rows()
row = rows.row


@row(16, "leaders cut off from all peers in their network namespace, the load's clients attached; then from clients, too",
     times=30, long=100)
def isolate_leaders(bench, times):
    def from_peers(stage, victim, leaders):
        stage.watch(victim.id, leaders)
        stage.network.isolate_from(victim.id, [b.id for b in stage.others(victim)])
        try:
            samples = stage.recovered()
            expect(stage.metadata("load", victim) is not None, "node %d, cut off from its peers, does not answer clients", victim.id)
            return samples
        finally:
            stage.network.heal(victim.id)

    def from_all(stage, victim, leaders):
        stage.watch(victim.id, leaders)
        stage.network.isolate(victim.id)
        try:
            return stage.recovered()
        finally:
            stage.network.heal(victim.id)
    samples, told = leader_rounds(bench, times, ROUND_S, from_peers, network_cuts=True, client=ATTACHED_CLIENT)
    rounds = max(6, times // 5)
    wholly, more = leader_rounds(bench, rounds, ROUND_S, from_all, network_cuts=True, client=QUICK_CLIENT)
    minority = isolated_with_clients(bench, max(3, times // 10))
    return "from peers: %s; %s; from clients, too: %s; %s; acks=all asked for in the minority: %s" % (
        judged(bench, samples, 2500, times), told, judged(bench, wholly, 2500, rounds, "failover_wholly_ms"), more, minority)


def isolated_with_clients(bench, times):
    stage = bench.stage(network_cuts=True, client=ATTACHED_CLIENT)
    answers = {}
    for number in range(times):
        victim = stage.cluster.broker(number % 3 + 1)
        others = [b.id for b in stage.others(victim)]
        with stage.connect(victim) as c:
            topic = "alone-%d" % number
            error, message = c.create_topic(topic, assignments=[[victim.id] + others])
            expect(error == wire.NONE, "CreateTopics: %d %s", error, message)
            wait_until("%s is led" % topic, lambda c=c, t=topic: c.produce(t, 0, wire.batch([b"x"]))[0] == wire.NONE, 20)
            stage.network.isolate_from(victim.id, others)
            until = time.monotonic() + 5
            while time.monotonic() < until:
                error, _ = c.produce(topic, 0, wire.batch([b"alone"]), timeout_ms=700)
                answers[error] = answers.get(error, 0) + 1
                expect(error != wire.NONE, "node %d, cut off from all its peers, acknowledged a write of acks=all", victim.id)
                time.sleep(0.02)
        stage.network.heal()
        stage.load.wait_full(90)
    bench.figures["answers_in_minority"] = answers
    return "%d times, answers by error code %s; %s" % (times, answers, stage.verdict())


@row(17, "controller cut off together with clients that make topics", times=4, long=20)
def isolate_controller(bench, times):
    stage = bench.stage(nodes=5, network_cuts=True, client=ATTACHED_CLIENT)
    outcome = {}
    for number in range(times):
        victim = stage.cluster.broker(stage.controller())
        topic = "minority-%d" % number
        with stage.connect(victim, 20) as c:
            stage.network.isolate_from(victim.id, [b.id for b in stage.others(victim)])
            time.sleep(random.uniform(0, 2))
            error, _ = c.create_topic(topic, 4, 3, timeout_ms=4000)
        outcome[error] = outcome.get(error, 0) + 1
        expect(error != wire.NONE, "a controller cut off from all others made a topic")
        stage.network.heal()
        stage.load.wait_full(90)
        time.sleep(0.5)
        for b in stage.cluster.brokers:
            found = stage.metadata(topic, b)
            whole = len(found["partitions"]) in (0, 4)
            expect(whole, "node %d knows %d of 4 partitions of %s", b.id, len(found["partitions"]), topic)
    return "%d topics refused or timed out (%s), none half made; %s" % (times, outcome, stage.verdict())


def stays_stable(stage, seconds, what, terms):
    before = stage.term()
    time.sleep(seconds)
    stage.progress("writing goes on with %s" % what, 30)
    after = stage.term()
    expect(after - before <= terms, "%s: %d terms in %d s", what, after - before, seconds)
    return after - before


@row(18, "one direction between two brokers dropped", times=9, long=30)
def one_way(bench, times):
    terms, told = 0, []
    for nodes, rounds in ((3, min(6, times)), (5, times - min(6, times))):
        # A follower that hears nothing leaves the ISR after this time; half a minute is Kafka's.
        stage = bench.stage(nodes=nodes, network_cuts=True, client=ATTACHED_CLIENT, settings={"replica.lag.time.max.ms": 3000})
        pairs = list(itertools.permutations(range(1, nodes + 1), 2))
        random.shuffle(pairs)
        for source, target in itertools.islice(itertools.cycle(pairs), rounds):
            stage.network.drop_one_way(source, target)
            terms += stays_stable(stage, 4, "%d to %d dropped" % (source, target), 3)
            stage.network.heal()
            stage.load.wait_full(90)
        told.append("%d brokers, %d directions: %s" % (nodes, rounds, stage.verdict()))
        bench.check_disks()
        bench.retire()
    bench.figures["terms"] = terms
    return "%d directions, %d terms; %s" % (times, terms, "; ".join(told))


@row(19, "two brokers cut off from each other, both see the others", times=4, long=20)
def non_transitive(bench, times):
    told = []
    for nodes in (3, 5):
        stage = bench.stage(nodes=nodes, network_cuts=True, client=ATTACHED_CLIENT)
        terms = 0
        for _ in range(max(1, times // 2)):
            a = stage.controller()
            b = random.choice([n for n in range(1, nodes + 1) if n != a])
            stage.network.isolate_from(a, [b])
            terms += stays_stable(stage, 6, "%d and %d cut" % (a, b), 2)
            stage.network.heal()
            stage.load.wait_full(90)
        told.append("%d brokers: %d terms, %s" % (nodes, terms, stage.verdict()))
        bench.check_disks()
        bench.retire()
    return "; ".join(told)


def replicas_without_controller(stage, topic):
    """A topic of one partition whose three replicas are not the controller; (controller, leader, followers)."""
    controller = stage.controller()
    rest = [b.id for b in stage.cluster.brokers if b.id != controller]
    random.shuffle(rest)
    with stage.connect(stage.cluster.brokers[0]) as c:
        error, message = c.create_topic(topic, assignments=[rest[:3]])
    expect(error == wire.NONE, "CreateTopics: %d %s", error, message)

    def takes(n):
        if n < 1:
            return False
        with stage.connect(stage.cluster.broker(n)) as c:
            return c.produce(topic, 0, wire.batch([b"first"]))[0] == wire.NONE
    # Mostly the first, but links that are dead since the last round may not be known to have healed.
    wait_until("%s is led" % topic, lambda: takes(stage.leader_of(topic, 0)), 20)
    leader = stage.leader_of(topic, 0)
    return controller, stage.cluster.broker(leader), [n for n in rest[:3] if n != leader]


@row(20, "a leader reaches its followers and not the controllers", times=4, long=20)
def leader_without_controller(bench, times):
    stage = bench.stage(nodes=5, network_cuts=True, client=ATTACHED_CLIENT)
    moved = []
    for number in range(times):
        topic = "split-%d" % number
        _, leader, followers = replicas_without_controller(stage, topic)
        far = [b.id for b in stage.others(leader) if b.id not in followers]
        witness = stage.cluster.broker(followers[0])
        with stage.connect(leader) as c:
            stage.network.isolate_from(leader.id, far)
            began = time.monotonic()
            acked = wait_until("node %d, out of the controller's reach, hands over" % leader.id,
                               lambda: (stage.metadata(topic, witness) or {"partitions": {0: {"leader": leader.id}}})
                               ["partitions"][0]["leader"] not in (-1, leader.id), 15, 0.02)
            moved.append((time.monotonic() - began) * 1000)
            time.sleep(1)
            error, _ = c.produce(topic, 0, wire.batch([b"late"]), timeout_ms=2000)
            expect(acked and error != wire.NONE, "a fenced leader acknowledged a write")
        stage.network.heal()
        stage.load.wait_full(90)
    expect(max(moved) < 4000, "leaders moved only after %s ms", ["%.0f" % m for m in moved])
    bench.figures["moved_ms"] = moved
    return "leaders moved after %s ms, none acknowledged afterwards; %s" % (", ".join("%.0f" % m for m in moved), stage.verdict())


@row(21, "a leader reaches the controller and not its followers", times=4, long=20)
def leader_without_followers(bench, times):
    # The old leader stays in the ISR for this time after another was elected; half a minute is Kafka's.
    stage = bench.stage(nodes=5, network_cuts=True, client=ATTACHED_CLIENT, settings={"replica.lag.time.max.ms": 5000})
    writable = []
    for number in range(times):
        topic = "lonely-%d" % number
        _, leader, followers = replicas_without_controller(stage, topic)
        stage.network.isolate_from(leader.id, followers)
        began = time.monotonic()

        def written():
            found = stage.metadata(topic, stage.cluster.broker(followers[0]))
            now = found["partitions"][0]["leader"] if found and 0 in found["partitions"] else -1
            if now < 1:
                return False
            try:
                with stage.connect(stage.cluster.broker(now), 5) as c:
                    return c.produce(topic, 0, wire.batch([b"again"]), timeout_ms=1000)[0] == wire.NONE
            except (OSError, wire.Closed):
                return False
        wait_until("%s is writable although its leader is cut off from its followers" % topic, written, 45, 0.05)
        writable.append((time.monotonic() - began) * 1000)
        stage.network.heal()
        stage.load.wait_full(90)
    bench.figures["writable_ms"] = writable
    return "writable again after %s ms; %s" % (", ".join("%.0f" % m for m in writable), stage.verdict())


def flap(network, pairs, seconds):
    """Clog a random subset of links, one after the other, and unclog them in random order."""
    until = time.monotonic() + seconds
    rounds = 0
    while time.monotonic() < until:
        for n in network.nodes:
            network.heal(n)
        for a, b in random.sample(pairs, random.randint(1, len(pairs))):
            network.drop_one_way(a, b)
            time.sleep(random.uniform(0, 0.4))
        time.sleep(random.uniform(1, 5))
        for n in random.sample(list(network.nodes), len(network.nodes)):
            network.heal(n)
            time.sleep(random.uniform(0, 0.8))
        rounds += 1
    return rounds


@row(22, "swizzle-clog: links flap 1 to 5 s, for 40 s (300 s with --long)", times=1)
def swizzle(bench, times):
    stage = bench.stage(nodes=5, network_cuts=True, client=ATTACHED_CLIENT)
    pairs = list(itertools.permutations(range(1, 6), 2))
    rounds = flap(stage.network, pairs, 300 if bench.long else 40)
    stage.network.heal()
    began = time.monotonic()
    stage.load.wait_full(60)
    healed = time.monotonic() - began
    stage.all_alive()
    return "%d rounds over %d directions; whole again %.1f s after the last; %s" % (rounds, len(pairs), healed, stage.verdict())


@row(23, "a follower's link loses 30 %, has 1 Mbit/s, or takes 75+-40 ms", times=1, long=6)
def bad_link(bench, times):
    stage = bench.stage(network_cuts=True, client=ATTACHED_CLIENT, start=False)
    stage.put_peer_proxies()
    stage.start()
    terms = {}
    for number in range(times):
        victim = number % 3 + 1
        others = [n for n in (1, 2, 3) if n != victim]
        before = stage.term()
        for o in others:
            stage.network.lose(victim, o, 0.3)
        # Links end at the gateway, where the proxies are.
        stage.network.rules(victim, ["-A INPUT -s %s -p tcp -m statistic --mode random --probability 0.3 -j DROP" %
                                     stage.network.gateway])
        time.sleep(8)
        stage.network.heal()
        stage.load.wait_full(90)
        terms["loss"] = stage.term() - before
        stage.network.slow(victim, 1000)
        time.sleep(8)
        stage.network.slow(victim, 0)
        stage.load.wait_full(90)
        terms["1 Mbit/s"] = stage.term() - before
        for o in others:
            stage.peer_proxies[(victim, o)].delay_ms = stage.peer_proxies[(o, victim)].delay_ms = (75, 40)
        time.sleep(8)
        stage.progress("writing goes on over slow links", 30)
        for p in stage.peer_proxies.values():
            p.delay_ms = None
        stage.load.wait_full(90)
        terms["delay"] = stage.term() - before
    stage.all_alive()
    used = sum(p.counts["connections"] for p in stage.peer_proxies.values())
    expect(used >= 6, "only %d links went through the proxies", used)
    bench.figures["terms_until"] = terms
    return "8 s each, terms until then %s, %d links through proxies; %s" % (terms, used, stage.verdict())


@row(24, "half-open connections: peers and clients vanish silently", times=2, long=10)
def half_open(bench, times):
    stage = bench.stage(network_cuts=True, client=ATTACHED_CLIENT, start=False)
    stage.put_peer_proxies()
    stage.start()
    for number in range(times):
        victim = stage.cluster.broker(number % 3 + 1)
        silent = [p for pair, p in stage.peer_proxies.items() if victim.id in pair]
        for p in silent:
            p.silent = True
        wait_until("writing goes on without node %d, whose links are silent" % victim.id,
                   lambda v=victim: victim.id not in stage.load.cluster()["leaders"] and stage.load.cluster()["steady"], 20, 0.1)
        for p in silent:
            p.silent = False
        stage.load.wait_full(90)
    idle = half_open_clients(stage)
    return "%d brokers with silent links, %d clients vanished; %s" % (times, idle, stage.verdict())


def half_open_clients(stage):
    """Clients that have asked and will never read the answer, and whose packets end nowhere."""
    held = [stage.connect(b) for b in stage.cluster.brokers for _ in range(20)]
    for c in held:
        c.send(wire.API_VERSIONS, 0, b"")
    time.sleep(0.5)
    for n in stage.network.nodes:
        ports = [c.socket.getsockname()[1] for c in held]
        # Their end, a reset because of what they have not read, is not heard of either.
        stage.network.rules(n, ["-A OUTPUT -p tcp --dport %d -j DROP\n-A INPUT -p tcp --sport %d -j DROP" % (p, p) for p in ports])
    for c in held:
        c.close()
    stage.steady("the load goes on beside clients that vanished", 10)
    stage.network.heal()
    return len(held)


def proxied(bench):
    """Clients come through proxies. One connection that is reset takes all its requests with it: librdkafka is told to come
    back soon."""
    return bench.stage(proxies=True, client=QUICK_CLIENT)


def counts(stage, name):
    return sum(p.counts[name] for p in stage.proxies.values())


@row(25, "RST after the broker appended, before its reply", times=1, long=5)
def reset_replies(bench, times):
    stage = proxied(bench)
    for _ in range(times):
        for p in stage.proxies.values():
            p.reset_after = {wire.PRODUCE: 0.05, wire.OFFSET_COMMIT: 0.1}
        before = counts(stage, "reset")
        time.sleep(8)
        wait_until("connections are reset", lambda b=before: counts(stage, "reset") >= b + 20, 60)
        for p in stage.proxies.values():
            p.reset_after = {}
        stage.load.wait_full()
    reset = counts(stage, "reset")
    expect(reset >= 20, "only %d connections were reset: the test was idle", reset)
    bench.figures["reset"] = reset
    return "%d replies lost with their connections; %s" % (reset, stage.verdict())


@row(26, "requests sent again, up to 3 s late and by other connections", times=1, long=5)
def replays(bench, times):
    stage = proxied(bench)
    for p in stage.proxies.values():
        # Not OffsetCommit: one that comes again late sets the group back, and nothing in the protocol tells it from a new one.
        p.replay = {wire.PRODUCE: 0.2, wire.HEARTBEAT: 0.2, wire.SYNC_GROUP: 0.5, wire.INIT_PRODUCER_ID: 0.5}
        p.reset_after = {wire.PRODUCE: 0.01}
    for number in range(max(2, times)):
        time.sleep(5)
        stage.restart(stage.cluster.broker(number % 3 + 1), 0.5)
        stage.load.wait_full()
    for p in stage.proxies.values():
        p.replay, p.reset_after = {}, {}
    time.sleep(3.5)
    replayed = counts(stage, "replayed")
    expect(replayed >= 50, "only %d requests were sent again: the test was idle", replayed)
    bench.figures["replayed"] = replayed
    return "%d requests came twice; %s" % (replayed, stage.verdict())


@row(27, "bits flipped and frames cut in transit, of clients and of brokers", times=1, long=5)
def spoiled(bench, times):
    stage = bench.stage(network_cuts=True, client=ATTACHED_CLIENT, start=False)
    stage.put_peer_proxies()
    stage.start()
    for _ in range(times):
        for p in stage.peer_proxies.values():
            p.spoil, p.chop = 0.002, 0.002
        time.sleep(12)
        for p in stage.peer_proxies.values():
            p.spoil = p.chop = 0
        stage.load.wait_full(90)
    stage.all_alive()
    hurt = {k: sum(p.counts[k] for p in stage.peer_proxies.values()) for k in ("spoiled", "chopped")}
    expect(min(hurt.values()) >= 3, "only %s: the test was idle", hurt)
    bench.figures.update(hurt)
    noise = spoiled_clients(stage)
    return "between brokers %d pieces spoiled and %d cut; %d spoiled batches of clients refused; %s" % (
        hurt["spoiled"], hurt["chopped"], noise, stage.verdict())


def spoiled_clients(stage):
    """One bit of a batch flipped anywhere behind its length: it is refused and nothing is stored."""
    with stage.connect(stage.cluster.brokers[0]) as c:
        error, message = c.create_topic("noise", assignments=[[1, 2, 3]])
        expect(error == wire.NONE, "CreateTopics: %d %s", error, message)
        wait_until("noise is led", lambda: c.produce("noise", 0, wire.batch([b"good"]))[0] == wire.NONE, 20)
        before = c.end_offset("noise", 0)[1]
        good = wire.batch([b"x" * 50])
        refused = 0
        for at in range(16, len(good)):  # behind base offset, length and leader epoch, which are not covered by the CRC
            bad = good[:at] + bytes([good[at] ^ (1 << random.randrange(8))]) + good[at + 1:]
            error, _ = c.produce("noise", 0, bad)
            expect(error != wire.NONE, "a batch with a flipped bit at byte %d was stored", at)
            refused += 1
        expect(c.end_offset("noise", 0)[1] == before, "batches that were refused moved the end of the log")
    return refused
