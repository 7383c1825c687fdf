"""What the cluster looks like from outside: kcat for metadata, kcat or aiokafka as the reader that judges."""
import json
import os
import subprocess

from contract import Failed, HERE, Record, require

READ_S = 60
ASK_S = 20
# Clients on librdkafka, as kcat is: they are judged by a reader of another making.
LIBRDKAFKA = ("kcat", "librdkafka", "confluent-kafka")


class Partition:
    def __init__(self, leader, replicas, isr):
        self.leader, self.replicas, self.isr = leader, replicas, isr


class Metadata:
    def __init__(self, answer):
        self.controller = answer["controllerid"]
        self.topics = {t["topic"]: {p["partition"]: Partition(p["leader"], [r["id"] for r in p["replicas"]],
                                                              [r["id"] for r in p["isrs"]])
                                    for p in t["partitions"]} for t in answer["topics"]}

    def full(self):
        return all(len(p.isr) == len(p.replicas) and p.leader > 0 for t in self.topics.values() for p in t.values())

    def led_by(self, broker, topic):
        return sorted(number for number, p in self.topics[topic].items() if p.leader == broker)


def metadata(cluster, topic=None):
    """Metadata, or None while no broker answers."""
    command = ["kcat", "-b", cluster.bootstrap(), "-m", str(ASK_S), "-L", "-J"]
    try:
        p = subprocess.run(command + (["-t", topic] if topic else []), stdin=subprocess.DEVNULL, capture_output=True,
                           text=True, timeout=ASK_S + 10, check=False)
        return Metadata(json.loads(p.stdout)) if p.returncode == 0 else None
    except (subprocess.TimeoutExpired, json.JSONDecodeError):
        return None


def group_partition(group, partitions=50):
    """The partition of __consumer_offsets that a group lives in: the absolute value of Java's String.hashCode."""
    h = 0
    for byte in group.encode():
        h = (h * 31 + byte) & 0xFFFFFFFF
    h = (1 << 32) - h if h > 1 << 31 else h
    return 0 if h == 1 << 31 else h % partitions  # Java has no absolute value of its smallest integer


def create_topic(cluster, topic, partitions=6, replicas=3):
    p = subprocess.run([os.path.join(HERE, "librdkafka", "client"), "create", cluster.bootstrap(), topic, str(partitions),
                        str(replicas)], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False)
    require(p.returncode == 0, "topic %s could not be created: %s", topic, p.stderr.strip())


def read_with_kcat(cluster, topic):
    command = ["kcat", "-b", cluster.bootstrap(), "-C", "-t", topic, "-o", "beginning", "-e", "-q", "-f", "%p %o %s\\n"]
    p = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=READ_S, check=False)
    require(p.returncode == 0, "kcat could not read %s: %s", topic, p.stderr.strip())
    return [line.split(" ") for line in p.stdout.splitlines()]


def read_with_aiokafka(cluster, topic):
    command = [os.path.join(HERE, "aiokafka", "client"), "read", cluster.bootstrap(), topic]
    p = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=READ_S, check=False)
    lines = p.stdout.splitlines()
    require(p.returncode == 0 and lines[-1:] == ["end"], "aiokafka could not read %s: %s", topic, p.stderr.strip()[-300:])
    return [line.split(" ")[1:] for line in lines[:-1]]


def read_back(cluster, client, topic):
    """All records of a topic by partition, each in the order of its offsets, read by a client independent of client."""
    try:
        lines = (read_with_aiokafka if client.name in LIBRDKAFKA else read_with_kcat)(cluster, topic)
    except subprocess.TimeoutExpired:
        raise Failed("%s was not read to its end within %d s" % (topic, READ_S)) from None
    log = {}
    for partition, offset, value in lines:
        log.setdefault(int(partition), []).append(Record(int(partition), int(offset), value, 0))
    for partition, records in log.items():
        offsets = [r.offset for r in records]
        require(offsets == list(range(offsets[0], offsets[0] + len(offsets))) and offsets[0] == 0,
                "%s-%d: offsets are not 0, 1, 2 …: first %d, last %d, %d records", topic, partition, offsets[0], offsets[-1],
                len(offsets))
    return log


def judge_log(client, topic, log, acks):
    """Every acknowledged record is where its acknowledgement said; per partition in the order sent, idempotent ones once."""
    for a in acks:
        records = log.get(a.partition, [])
        require(a.offset < len(records), "%s-%d: record %d was acknowledged at offset %d, but the log ends at %d", topic,
                a.partition, a.i, a.offset, len(records))
        value = records[a.offset].value
        require(value.rstrip(".") == "%s-%d" % (client.name, a.i), "%s-%d: offset %d holds %s instead of record %d", topic,
                a.partition, a.offset, value[:40], a.i)
    for partition, records in log.items():
        numbers = [int(r.value.rstrip(".").rsplit("-", 1)[1]) for r in records]
        if client.idempotent:
            require(numbers == sorted(set(numbers)), "%s-%d: records are duplicated or out of order", topic, partition)


def check_log(cluster, client, topic, acks):
    """read_back and judge_log; returns the number of records in the log."""
    log = read_back(cluster, client, topic)
    judge_log(client, topic, log, acks)
    return sum(len(records) for records in log.values())
