"""The plain phase: topics made by asking for them and by asking first, and a group whose members come and go."""
import subprocess

import view
from contract import require, tail, wait_for

PARTITIONS = 6
REPLICAS = 3
JOIN_S = 90  # a member's start, on a busy machine, and a rebalance, which waits for every member's next heartbeat
READ_S = 60


def shape(cluster, topic):
    m = view.metadata(cluster, topic)
    require(m is not None and topic in m.topics, "%s is not in the metadata", topic)
    partitions = m.topics[topic]
    require(len(partitions) == PARTITIONS, "%s has %d partitions, not %d", topic, len(partitions), PARTITIONS)
    for number, p in partitions.items():
        require(len(set(p.replicas)) == REPLICAS, "%s-%d has replicas %s", topic, number, p.replicas)


def auto_created(cluster, client):
    """A topic that comes into being by the client's first record: num.partitions and default.replication.factor count."""
    topic = "auto-" + client.name
    producer = client.produce(cluster, topic, 60, 0)
    producer.wait_end(JOIN_S)
    require(len(producer.acks) == 60, "%d of 60 records acknowledged", len(producer.acks))
    shape(cluster, topic)
    read = view.check_log(cluster, client, topic, producer.acks)
    require(not client.idempotent or read == 60, "%d records in the log instead of 60", read)
    return "6 partitions, 3 replicas, %d records" % read


def owned_once(members, each_has_some=True):
    """Whether the members' last words on what they own are the topic's partitions, each once."""
    owned = [p for m in members for p in m.assigned]
    return sorted(owned) == list(range(PARTITIONS)) and (not each_has_some or all(m.assigned for m in members))


def wait_owned(members, what):
    def settled():
        for m in members:
            require(m.running(), "%s: %s ended: %s", what, m.what, m.say_why())
        return owned_once(members)
    wait_for(JOIN_S, settled, lambda: "%s: members own %s" % (what, " ".join(str(sorted(m.assigned)) for m in members)))


class Group:
    """The story of one group; each step is a test, in order."""

    def __init__(self, cluster, client):
        self.cluster, self.client = cluster, client
        self.topic = "plain-" + client.name
        self.group = "plain-" + client.name
        self.members = []
        self.acks = []
        self.first_count = 0

    def join(self):
        self.members.append(self.client.consume(self.cluster, self.topic, self.group))

    def read(self):
        return [r for m in self.members for r in m.heard()]

    def wait_read(self, acks):
        def missing():
            seen = {(r.partition, r.offset) for r in self.read()}
            return [a for a in acks if (a.partition, a.offset) not in seen]
        wait_for(READ_S, lambda: not missing(), lambda: "%d of %d acknowledged records were not read, first: %s" % (
            len(missing()), len(acks), missing()[:1]))

    def two_members(self):
        """Two members own all partitions and read each record once."""
        view.create_topic(self.cluster, self.topic, PARTITIONS, REPLICAS)
        shape(self.cluster, self.topic)
        self.join()
        self.join()
        wait_owned(self.members, "two members")
        producer = self.client.produce(self.cluster, self.topic, 300, 10)
        producer.wait_end(JOIN_S)
        require(len(producer.acks) == 300, "%d of 300 records acknowledged", len(producer.acks))
        self.acks = producer.heard()
        self.wait_read(self.acks)
        records = self.read()
        places = [(r.partition, r.offset) for r in records]
        require(len(set(places)) == len(places), "%d records were read twice", len(places) - len(set(places)))
        values = {r.value for r in records}
        require(values == {"%s-%d" % (self.client.name, i) for i in range(300)}, "values differ from what was written")
        self.first_count = len(records)
        return "%d records read once by two members" % len(records)

    def third_joins_one_leaves(self):
        """During traffic: a third member gets its share; the first leaves, and the others take over."""
        self.producer = self.client.produce(self.cluster, self.topic, 100000, 30)
        wait_for(JOIN_S, self.producer.heard, lambda: "no acknowledgement: " + self.producer.say_why())
        self.join()
        wait_owned(self.members, "three members")
        spread = [len(m.assigned) for m in self.members]
        self.members[0].ask_to_end()
        self.members[0].wait_end()
        wait_owned(self.members[1:], "after one left")
        self.producer.ask_to_end()
        self.producer.wait_end()
        self.acks += self.producer.heard()
        self.wait_read(self.acks)
        for m in self.members[1:]:
            m.ask_to_end()
        for m in self.members[1:]:
            m.wait_end()
        self.wait_read(self.acks)
        again = len(self.read()) - len({(r.partition, r.offset) for r in self.read()})
        return "shares of %s, then taken over; %d records read, %d of them again" % (
            "+".join(map(str, spread)), len(self.acks), again)


def extra(cluster, client):
    log = "%s/%s-extra.log" % (client.logs, client.name)
    with open(log, "wb") as out:
        try:
            status = subprocess.run([client.extra(), cluster.bootstrap()], stdin=subprocess.DEVNULL, stdout=out,
                                    stderr=subprocess.STDOUT, timeout=120, check=False).returncode
        except subprocess.TimeoutExpired:
            status = "no end within 120 s"
    require(status == 0, "%s: %s", status, tail(log))
    return tail(log).split("\n")[-1]
