"""Apache Kafka's own command line tools, unmodified, judged by what they print. Each function is one test."""
import json
import os
import re
import tempfile

import jvm
import view
from contract import require, wait_for

TOOLS = "org.apache.kafka.tools."
TOPIC = "tools-a"
GROUP = "tools-group"
RECORDS = 500


class Tools:
    def __init__(self, cluster, logs):
        self.cluster, self.logs = cluster, logs
        self.bootstrap = ["--bootstrap-server", cluster.bootstrap()]
        self.number = 0

    def run(self, main, *arguments, stdin=None, fails=False):
        """What a tool printed. Its exit status must be 0, or not 0 if it should fail."""
        self.number += 1
        status, out = jvm.run(main, *self.bootstrap, *arguments, stdin=stdin)
        with open(os.path.join(self.logs, "tool-%03d-%s.log" % (self.number, main.rsplit(".", 1)[1])), "w",
                  encoding="utf-8") as f:
            f.write("%s %s\nstatus %s\n%s" % (main, " ".join(arguments), status, out))
        require((status != 0) == fails, "%s %s ended with status %s: %s", main, " ".join(arguments), status, out[-500:])
        return out

    def topics(self, *arguments, **keys):
        return self.run(TOOLS + "TopicCommand", *arguments, **keys)

    def groups(self, *arguments):
        return self.run(TOOLS + "consumer.group.ConsumerGroupCommand", *arguments)

    def offsets(self, topic, *arguments):
        """kafka-get-offsets: partition -> offset"""
        out = self.run(TOOLS + "GetOffsetShell", "--topic", topic, *arguments)
        found = re.findall(r"^%s:(\d+):(\d+)$" % re.escape(topic), out, re.M)
        require(found, "no offsets: %s", out)
        return {int(p): int(o) for p, o in found}


def has(out, pattern, what=None):
    found = re.search(pattern, out, re.M)
    require(found, "%s is missing in: %s", what or pattern, out[-800:])
    return found


def described(out, topic):
    """kafka-topics --describe: partition -> (leader, replicas, isr)"""
    rows = re.findall(r"^\s*Topic: %s\s+Partition: (\d+)\s+Leader: (\S+)\s+Replicas: (\S+)\s+Isr: (\S+)" % re.escape(topic),
                      out, re.M)
    return {int(p): (leader, replicas.split(","), isr.split(",")) for p, leader, replicas, isr in rows}


def topics_create(t):
    """kafka-topics --create, --list, --describe"""
    out = t.topics("--create", "--topic", TOPIC, "--partitions", "6", "--replication-factor", "3", "--config",
                   "retention.ms=3600000")
    has(out, r"^Created topic %s\.$" % TOPIC)
    has(t.topics("--list"), r"^%s$" % TOPIC)
    out = t.topics("--describe", "--topic", TOPIC)
    has(out, r"PartitionCount: 6\s+ReplicationFactor: 3\s+Configs: .*retention\.ms=3600000")
    rows = described(out, TOPIC)
    require(sorted(rows) == list(range(6)), "partitions in: %s", out)
    for leader, replicas, isr in rows.values():
        require(leader in replicas and sorted(replicas) == sorted(isr) == ["1", "2", "3"], "replicas in: %s", out)
    return "6 partitions, each with leader, 3 replicas, 3 in sync"


def topics_errors(t):
    """kafka-topics: the words for what cannot be"""
    out = t.topics("--create", "--topic", TOPIC, fails=True)
    has(out, r"already exists|exists already|TopicExistsException")
    out = t.topics("--create", "--topic", "tools-too-many", "--replication-factor", "4", fails=True)
    has(out, r"InvalidReplicationFactorException")
    out = t.topics("--describe", "--topic", "tools-absent", fails=True)
    has(out, r"does not exist")
    t.topics("--create", "--if-not-exists", "--topic", TOPIC)
    return "existing, too many replicas, absent"


def topics_under_replicated(t):
    """kafka-topics --describe --under-replicated-partitions"""
    out = t.topics("--describe", "--under-replicated-partitions")
    require("Topic:" not in out, "a healthy cluster has under-replicated partitions: %s", out)
    return "none"


def topics_alter(t):
    """kafka-topics --alter --partitions, --delete"""
    t.topics("--create", "--topic", "tools-b", "--partitions", "2")
    t.topics("--alter", "--topic", "tools-b", "--partitions", "5")
    require(sorted(described(t.topics("--describe", "--topic", "tools-b"), "tools-b")) == list(range(5)), "not 5 partitions")
    out = t.topics("--alter", "--topic", "tools-b", "--partitions", "3", fails=True)
    has(out, r"InvalidPartitionsException")
    t.topics("--delete", "--topic", "tools-b")
    require(not re.search(r"^tools-b$", t.topics("--list"), re.M), "tools-b is still listed")
    return "2 partitions to 5, never fewer, then deleted"


def configs(t):
    """kafka-configs --describe, --alter"""
    entity = ["--entity-type", "topics", "--entity-name", TOPIC]
    main = TOOLS + "ConfigCommand"
    has(t.run(main, *entity, "--describe"), r"retention\.ms=3600000 .*DYNAMIC_TOPIC_CONFIG:retention\.ms=3600000")
    out = t.run(main, *entity, "--alter", "--add-config", "max.message.bytes=200000,cleanup.policy=[compact,delete]")
    has(out, r"Completed updating config for topic %s\." % TOPIC)
    out = t.run(main, *entity, "--describe")
    has(out, r"max\.message\.bytes=200000")
    has(out, r"cleanup\.policy=compact,delete")
    t.run(main, *entity, "--alter", "--delete-config", "max.message.bytes,cleanup.policy,retention.ms")
    out = t.run(main, *entity, "--describe")
    require("max.message.bytes" not in out and "retention.ms" not in out, "still set: %s", out)
    out = t.run(main, *entity, "--describe", "--all")
    has(out, r"flush\.messages=1\b")
    has(out, r"retention\.ms=604800000")
    out = t.run(main, *entity, "--alter", "--add-config", "retention.ms=soon", fails=True)
    has(out, r"InvalidConfigurationException|InvalidRequestException|Invalid value")
    return "set, listed, unset, all with defaults; a bad value is refused"


def console(t):
    """kafka-console-producer, kafka-console-consumer with a group"""
    lines = "".join("%d\trecord %d\n" % (i, i) for i in range(RECORDS))
    t.run(TOOLS + "ConsoleProducer", "--topic", TOPIC, "--reader-property", "parse.key=true", stdin=lines)
    out = t.run(TOOLS + "consumer.ConsoleConsumer", "--topic", TOPIC, "--group", GROUP, "--from-beginning",
                "--max-messages", str(RECORDS), "--formatter-property", "print.key=true")
    found = re.findall(r"^(\d+)\trecord (\d+)$", out, re.M)
    require(sorted(int(k) for k, v in found if k == v) == list(range(RECORDS)), "%d records came back", len(found))
    has(out, r"Processed a total of %d messages" % RECORDS)
    return "%d records with keys" % RECORDS


def get_offsets(t):
    """kafka-get-offsets"""
    latest = t.offsets(TOPIC)
    require(sum(latest.values()) == RECORDS and len(latest) == 6, "latest: %s", latest)
    earliest = t.offsets(TOPIC, "--time", "earliest")
    require(set(earliest.values()) == {0}, "earliest: %s", earliest)
    by_time = t.offsets(TOPIC, "--time", "1000")
    require(set(by_time.values()) == {0}, "first after 1970: %s", by_time)
    return "latest %d over 6 partitions, earliest 0" % RECORDS


def group_rows(out, group, topic):
    """kafka-consumer-groups --describe: partition -> (committed, end, lag)"""
    rows = re.findall(r"^%s\s+%s\s+(\d+)\s+(\d+|-)\s+(\d+)\s+(\d+|-)\s" % (re.escape(group), re.escape(topic)), out, re.M)
    require(rows, "no rows of %s in: %s", group, out[-800:])
    return {int(p): (committed, int(end), lag) for p, committed, end, lag in rows}


def groups_describe(t):
    """kafka-consumer-groups --list, --describe, --state, --members"""
    has(t.groups("--list"), r"^%s$" % GROUP)
    rows = group_rows(t.groups("--describe", "--group", GROUP), GROUP, TOPIC)
    require(sum(end for _, end, _ in rows.values()) == RECORDS, "ends: %s", rows)
    require(all(committed == str(end) and lag == "0" for committed, end, lag in rows.values()), "lag: %s", rows)
    out = t.groups("--describe", "--group", GROUP, "--state")
    coordinator = has(out, r"^%s\s+127\.0\.0\.1:\d+\s+\(([123])\)\s.*Empty\s+.*0" % GROUP)[1]
    offsets = view.metadata(t.cluster).topics["__consumer_offsets"]
    require(int(coordinator) == offsets[view.group_partition(GROUP)].leader, "coordinator: %s", out)
    has(t.groups("--describe", "--group", GROUP, "--members"), r"has no active members")
    return "6 partitions, lag 0, state Empty"


def groups_reset(t):
    """kafka-consumer-groups --reset-offsets, --delete-offsets, --delete"""
    out = t.groups("--reset-offsets", "--group", GROUP, "--topic", TOPIC, "--to-earliest", "--dry-run")
    require(len(re.findall(r"^%s\s+%s\s+\d+\s+0\b" % (GROUP, TOPIC), out, re.M)) == 6, "plan: %s", out)
    t.groups("--reset-offsets", "--group", GROUP, "--topic", TOPIC, "--shift-by", "-10", "--execute")
    rows = group_rows(t.groups("--describe", "--group", GROUP), GROUP, TOPIC)
    require(all(int(lag) == min(10, end) for _, end, lag in rows.values()), "after a shift by -10: %s", rows)
    t.groups("--delete-offsets", "--group", GROUP, "--topic", TOPIC + ":0")
    rows = group_rows(t.groups("--describe", "--group", GROUP), GROUP, TOPIC)
    require(sorted(rows) == [1, 2, 3, 4, 5], "after delete-offsets of partition 0: %s", rows)
    has(t.groups("--delete", "--group", GROUP), r"Deletion of requested consumer groups \('%s'\) was successful" % GROUP)
    require(not re.search(r"^%s$" % GROUP, t.groups("--list"), re.M), "still listed")
    return "planned, shifted, one partition's offset deleted, group deleted"


def groups_all(t):
    """kafka-groups --list"""
    out = t.run(TOOLS + "GroupsCommand", "--list")
    has(out, r"^%s\s+Classic\s+consumer" % GROUP)
    return "type Classic, protocol consumer"


def quorum(t):
    """kafka-metadata-quorum describe --status, --replication; kafka-cluster cluster-id"""
    out = t.run(TOOLS + "MetadataQuorumCommand", "describe", "--status")
    leader = has(out, r"^LeaderId:\s+([123])$")[1]
    has(out, r"^LeaderEpoch:\s+[1-9]\d*$")
    has(out, r"^HighWatermark:\s+[1-9]\d*$")
    voters = has(out, r"^CurrentVoters:\s+(.*)$")[1]
    require(sorted(set(re.findall(r'"id": (\d)|\b([123])\b', voters))) and all(str(i) in voters for i in (1, 2, 3)),
            "voters: %s", voters)
    cluster_id = has(out, r"^ClusterId:\s+(\S+)$")[1]
    out = t.run(TOOLS + "MetadataQuorumCommand", "describe", "--replication", "--human-readable")
    rows = re.findall(r"^([123])\s+\S+\s+(\d+)\s+(\d+)\s+.*\s(Leader|Follower|Observer)\s*$", out, re.M)
    require(sorted(row[0] for row in rows) == ["1", "2", "3"], "rows: %s", out)
    require([row[0] for row in rows if row[3] == "Leader"] == [leader], "leader %s, but: %s", leader, out)
    status, out = jvm.run(TOOLS + "ClusterTool", "cluster-id", *t.bootstrap)
    require(status == 0, "cluster-id: %s", out)
    require(has(out, r"^Cluster ID: (\S+)$")[1] == cluster_id, "cluster id %s, but: %s", cluster_id, out)
    return "leader and two followers, cluster id"


def elections(t):
    """kafka-leader-election --election-type preferred"""
    out = t.run(TOOLS + "LeaderElectionCommand", "--election-type", "preferred", "--topic", TOPIC, "--partition", "0")
    has(out, r"Valid replica already elected|Successfully completed leader election")
    out = t.run(TOOLS + "LeaderElectionCommand", "--election-type", "preferred", "--all-topic-partitions")
    require("Error" not in out and "Exception" not in out, "%s", out[-500:])
    return "one partition, all partitions"


def delete_records(t):
    """kafka-delete-records"""
    before = t.offsets(TOPIC)
    with tempfile.NamedTemporaryFile("w", suffix=".json") as f:
        json.dump({"version": 1, "partitions": [{"topic": TOPIC, "partition": 1, "offset": before[1] - 3},
                                                {"topic": TOPIC, "partition": 2, "offset": -1}]}, f)
        f.flush()
        out = t.run(TOOLS + "DeleteRecordsCommand", "--offset-json-file", f.name)
    has(out, r"partition: %s-1\s+low_watermark: %d" % (TOPIC, before[1] - 3))
    has(out, r"partition: %s-2\s+low_watermark: %d" % (TOPIC, before[2]))
    earliest = t.offsets(TOPIC, "--time", "earliest")
    require(earliest[1] == before[1] - 3 and earliest[2] == before[2] and earliest[0] == 0, "earliest: %s", earliest)
    return "low watermarks as asked, read back"


def api_versions(t):
    """kafka-broker-api-versions"""
    out = t.run(TOOLS + "BrokerApiVersionsCommand")
    brokers = re.findall(r"^127\.0\.0\.1:\d+ \(id: ([123]) rack: .*\) -> \(", out, re.M)
    require(sorted(brokers) == ["1", "2", "3"], "brokers: %s", out[:500])
    require(len(re.findall(r"^\s*Produce\(0\): .*\[usable: \d+\]", out, re.M)) == 3, "Produce is not usable: %s", out[:500])
    require(len(re.findall(r"^\s*JoinGroup\(11\): .*\[usable: \d+\]", out, re.M)) == 3, "JoinGroup is not usable")
    return "three brokers; Produce, JoinGroup usable"


def performance(t):
    """kafka-producer-perf-test, kafka-consumer-perf-test; fills a topic whose segments close early"""
    t.topics("--create", "--topic", "tools-segments", "--partitions", "1", "--config", "segment.bytes=1048576")
    status, out = jvm.run(TOOLS + "ProducerPerformance", "--topic", "tools-segments", "--num-records", "2200",
                          "--record-size", "1000", "--throughput", "-1", *t.bootstrap)
    require(status == 0, "producer: %s", out[-500:])
    has(out, r"^2200 records sent, .*records/sec")
    out = t.run(TOOLS + "ConsumerPerformance", "--topic", "tools-segments", "--num-records", "2200")
    has(out, r"^\d{4}-.*, 2200, ")
    return "2,200 records of 1,000 bytes written and read"


def verifiable(t):
    """VerifiableProducer, VerifiableConsumer"""
    out = t.run(TOOLS + "VerifiableProducer", "--topic", TOPIC, "--max-messages", "300", "--acks", "-1")
    require(len(re.findall(r'"name":"producer_send_success"', out)) == 300, "successes: %s", out[-300:])
    has(out, r'"name":"tool_data".*"acked":300|"acked":300.*"name":"tool_data"')
    left = sum(t.offsets(TOPIC).values()) - sum(t.offsets(TOPIC, "--time", "earliest").values())
    out = t.run(TOOLS + "VerifiableConsumer", "--topic", TOPIC, "--group-id", "tools-verifiable", "--max-messages",
                str(left), "--reset-policy", "earliest")
    events = [json.loads(line) for line in out.split("\n") if line.startswith("{")]
    consumed = sum(e["count"] for e in events if e["name"] == "records_consumed")
    require(consumed == left, "%d of %d records consumed", consumed, left)
    require(all(e["success"] for e in events if e["name"] == "offsets_committed"), "a commit failed")
    return "300 acknowledged, %d consumed" % consumed


def with_a_dead_broker(t):
    """kafka-topics --under-replicated-partitions, kafka-metadata-quorum, kafka-consumer-groups while a broker is dead"""
    dead = t.cluster.broker(3)
    dead.kill()
    try:
        wait_for(30, lambda: all(p[2] and "3" not in p[2] for p in described(t.topics("--describe", "--topic", TOPIC),
                                                                           TOPIC).values()), "3 stays in sync")
        rows = described(t.topics("--describe", "--under-replicated-partitions"), TOPIC)
        require(sorted(rows) == list(range(6)), "under-replicated partitions of %s: %s", TOPIC, rows)
        require(all(leader in ("1", "2") and sorted(isr) == ["1", "2"] for leader, _, isr in rows.values()), "%s", rows)
        require("Topic:" not in t.topics("--describe", "--unavailable-partitions"), "some partitions are unavailable")
        has(t.run(TOOLS + "MetadataQuorumCommand", "describe", "--status"), r"^LeaderId:\s+[12]$")
        has(t.groups("--list"), r"^tools-verifiable$")
    finally:
        dead.start()
    return "6 partitions listed, a leader of the quorum, groups"


# In this order: each builds on those before it.
ALL = [topics_create, topics_errors, topics_under_replicated, topics_alter, configs, console, get_offsets, groups_describe,
       groups_all, groups_reset, quorum, elections, delete_records, api_versions, performance, verifiable]
