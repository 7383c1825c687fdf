"""The kill phase: all clients at once write and read steadily while broker after broker is killed with -9 and started again.

Each round's victim is a broker not killed before; each leads a third of every client's partitions, and in the course of
the rounds each group's coordinator and the controller are among them. The phase is judged per client, afterwards, from
what its processes said and from the logs read back."""
import time

import view
from contract import Failed, RESUME_S, require, wait_for

PARTITIONS = 6
INTERVAL_MS = 20        # decimal keys leave a partition out for up to 41 records
ROUNDS = 3
RESUME_LATE_S = 20     # how much longer than allowed a round waits for traffic, to tell late from never
STEADY_S = 120         # for members, in-sync replicas and leaders to be back at their places
STEADY_AGE_MS = 4000   # a partition is steady if something was heard from it in this time
HOLD_S = 5             # all must be steady for so long before a round begins. librdkafka does not go back for up to 10 s to a
#                        broker it lost, and kcat gives up when it has lost all of them: each victim must be in use again
DOWN_S = 3             # a broker stays down at least so long
COUNT = 1000000


def now_ms():
    return int(time.time() * 1000)


class Load:
    """One client: a producer and a group of two."""

    def __init__(self, cluster, client):
        self.cluster, self.client = cluster, client
        self.topic = self.group = "kill-" + client.name
        self.samples = []  # (kind, partition, ms, whether the group's coordinator was killed)
        view.create_topic(cluster, self.topic, PARTITIONS, 3)
        self.members = [client.consume(cluster, self.topic, self.group) for _ in range(2)]
        self.producer = client.produce(cluster, self.topic, COUNT, INTERVAL_MS)

    def heard(self, kind):
        """(partition, ms) of every acknowledgement, or of every record read by any member, by time"""
        if kind == "produce":
            events = [(a.partition, a.ms) for a in self.producer.heard()]
        else:
            events = [(r.partition, r.ms) for m in self.members for r in m.heard()]
        return sorted(events, key=lambda e: e[1])

    def alive(self):
        return all(p.running() for p in [self.producer] + self.members)

    def last_heard(self, kind):
        return dict(self.heard(kind))

    def steady(self):
        """Whether every partition was written and read just now."""
        oldest = now_ms() - STEADY_AGE_MS
        return all(self.last_heard(kind).get(p, 0) >= oldest for kind in ("produce", "consume") for p in range(PARTITIONS))

    def longest_gaps(self, kind, partitions, from_ms, to_ms):
        """For each partition the longest time without an event, from_ms being an event; None when nothing came at all."""
        gaps = {}
        for p in partitions:
            times = [t for q, t in self.heard(kind) if q == p and from_ms < t <= to_ms]
            gaps[p] = max(b - a for a, b in zip([from_ms] + times, times)) if times else None
        return gaps

    def judge_round(self, partitions, from_ms, to_ms, coordinated):
        for kind in ("produce", "consume"):
            for p, gap in self.longest_gaps(kind, partitions, from_ms, to_ms).items():
                self.samples.append((kind, p, gap, coordinated))

    def end(self):
        """Ends the processes; each must have lived until here and must end well."""
        require(self.producer.running(), "%s died: %s", self.producer.what, self.producer.say_why())
        for m in self.members:
            require(m.running(), "%s died: %s", m.what, m.say_why())
        self.producer.ask_to_end()
        acks = self.producer.heard()
        self.producer.wait_end(given_up_max=len(acks) // 50 if self.client.may_give_up else 0)
        acks = self.producer.heard()

        def missing():
            seen = {(r.partition, r.offset) for m in self.members for r in m.heard()}
            return [a for a in acks if (a.partition, a.offset) not in seen]
        wait_for(60, lambda: not missing(), lambda: "%d acknowledged records were not read by the group, first: %s" % (
            len(missing()), missing()[:1]))
        for m in self.members:
            m.ask_to_end()
        for m in self.members:
            m.wait_end()
        return acks

    def slowest(self, kind, coordinated=(False, True)):
        gaps = [gap for k, _, gap, c in self.samples if k == kind and c in coordinated]
        return None if not gaps or None in gaps else max(gaps) / 1000.0

    def judge_speed(self, kind, coordinated, allowed):
        """Of the rounds that killed the group's coordinator, or of those that did not; both kinds must have been."""
        slowest = self.slowest(kind, (coordinated,))
        what = "%s, %s killed" % (kind, "the group's coordinator" if coordinated else "a leader")
        require(slowest is not None, "%s: no such round, or a partition was not heard of again in time", what)
        require(slowest <= allowed, "%s: resumed only after %.1f s", what, slowest)

    def verdict(self):
        """Raises Failed, or returns what was seen."""
        try:
            acks = self.end()
        finally:
            for p in [self.producer] + self.members:
                p.kill()
        read = view.check_log(self.cluster, self.client, self.topic, acks)
        for kind in ("produce", "consume"):
            self.judge_speed(kind, False, RESUME_S)
            self.judge_speed(kind, True, self.client.coordinator_resume_s if kind == "consume" else RESUME_S)
        given_up = len(self.producer.errors)
        return "%d acknowledged, %d in the log, %sresumed within %.1f s (produce) and %.1f s (consume)" % (
            len(acks), read, "%d given up, " % given_up if given_up else "", self.slowest("produce"), self.slowest("consume"))


class Rounds:
    def __init__(self, cluster, loads, log):
        self.cluster, self.loads, self.log = cluster, loads, log
        self.killed = []
        self.controllers_killed = 0

    def living(self):
        return [load for load in self.loads if load.alive()]

    def unsteady(self):
        return [load.client.name for load in self.living() if not load.steady()]

    def wait_ready(self):
        """In-sync replicas full, leaders spread, everything written and read; what is not by then is left to the verdict."""
        until = time.monotonic() + STEADY_S
        m = since = None
        while time.monotonic() < until:
            m = view.metadata(self.cluster)
            if not (m is not None and m.full() and self.spread(m) and not self.unsteady()):
                since = None
            elif since is None:
                since = time.monotonic()
            elif time.monotonic() - since >= HOLD_S:
                return m
            time.sleep(0.3)
        require(m is not None, "no broker answers")
        require(m.full(), "the in-sync replicas were not full again within %d s", STEADY_S)
        self.log("not steady after %d s: %s" % (STEADY_S, ", ".join(self.unsteady()) or "leaders"))
        return m

    def spread(self, m):
        brokers = [b.id for b in self.cluster.brokers]
        return all(m.led_by(b, load.topic) for load in self.loads for b in brokers)

    def victim(self, m):
        left = [b.id for b in self.cluster.brokers if b.id not in self.killed] or [b.id for b in self.cluster.brokers]
        return max(left, key=lambda b: (sum(len(m.led_by(b, load.topic)) for load in self.loads), b == m.controller))

    def play_one(self, number):
        m = self.wait_ready()
        victim = self.victim(m)
        broker = self.cluster.broker(victim)
        led = {load: m.led_by(victim, load.topic) for load in self.loads}
        coordinators = m.topics["__consumer_offsets"]
        coordinated = [load for load in self.loads if coordinators[view.group_partition(load.group)].leader == victim]
        killed_ms = now_ms()
        broker.kill()
        self.killed.append(victim)
        self.controllers_killed += victim == m.controller

        def resumed():
            return all(min([load.last_heard(kind).get(p, 0) for p in led[load]] or [now_ms()]) > killed_ms + 1000
                       for load in self.living() for kind in ("produce", "consume"))
        try:
            allowed = max([load.client.coordinator_resume_s for load in coordinated] + [RESUME_S])
            wait_for(allowed + RESUME_LATE_S, resumed, "")
        except Failed:
            pass  # the verdicts tell who did not
        time.sleep(max(0.0, killed_ms / 1000.0 + DOWN_S - time.time()))
        restarted_ms = now_ms()
        broker.start()
        for load in self.loads:
            load.judge_round(led[load], killed_ms, restarted_ms, load in coordinated)
        self.log("round %d: killed node %d%s, coordinator of %d groups, leader of %d partitions; traffic resumed in %.1f s" % (
            number, victim, " (controller)" if victim == m.controller else "", len(coordinated),
            sum(map(len, led.values())), (restarted_ms - killed_ms) / 1000.0))

    def play(self):
        for number in range(1, ROUNDS + 1):
            self.play_one(number)
        self.wait_ready()
        require(self.controllers_killed > 0, "the controller was never killed")
        return "%d rounds, the controller %d times" % (ROUNDS, self.controllers_killed)
