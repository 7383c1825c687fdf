#include "broker/server/config_keys.h"

#include <string.h>

/* name, type, our default, Kafka's default, min, max, choices, meaning */
static const struct srv_key keys[] = {
    {"process.roles", SRV_KEY_LIST, NULL, NULL, 0, 0, "broker|controller",
     "broker,controller for a voter, broker for an observer; set by itself from "
     "controller.quorum.voters when unset"},
    {"node.id", SRV_KEY_INT, NULL, NULL, 0, INT32_MAX, NULL,
     "id of the node, unique in the cluster; 1 when nothing is configured"},
    {"broker.id", SRV_KEY_INT, NULL, "-1", -1, INT32_MAX, NULL,
     "old name of the id; node.id is used when unset"},
    {"broker.rack", SRV_KEY_STRING, NULL, NULL, 0, 0, NULL,
     "rack name, for replica placement and rack-aware fetching"},
    {"controller.quorum.voters", SRV_KEY_LIST, NULL, "", 0, 0, NULL,
     "id@host:port of each voter, an odd number of them; unset = a cluster of this node alone"},
    {"controller.quorum.fetch.timeout.ms", SRV_KEY_INT, "1000", "2000", 300, INT32_MAX, NULL,
     "voter starts an election, or leader resigns, after this time without fetches"},
    {"controller.listener.names", SRV_KEY_LIST, "CONTROLLER", NULL, 0, 0, NULL,
     "the listener that carries Raft, heartbeats and replication between nodes; one name"},
    {"broker.heartbeat.interval.ms", SRV_KEY_INT, "300", "2000", 50, INT32_MAX, NULL,
     "interval of broker heartbeats to the controller"},
    {"broker.session.timeout.ms", SRV_KEY_INT, "1500", "9000", 300, INT32_MAX, NULL,
     "controller fences a broker after this silence"},
    {"metadata.log.max.record.bytes.between.snapshots", SRV_KEY_LONG, "20971520", "20971520", 1,
     INT64_MAX, NULL, "new bytes that trigger a snapshot"},
    {"listeners", SRV_KEY_LIST, "PLAINTEXT://:9092", "PLAINTEXT://:9092", 0, 0, NULL,
     "addresses to bind, NAME://host:port; without any configuration localhost only"},
    {"advertised.listeners", SRV_KEY_LIST, NULL, NULL, 0, 0, NULL,
     "addresses given to clients; listeners when unset"},
    {"listener.security.protocol.map", SRV_KEY_STRING,
     "PLAINTEXT:PLAINTEXT,SSL:SSL,SASL_PLAINTEXT:SASL_PLAINTEXT,SASL_SSL:SASL_SSL",
     "PLAINTEXT:PLAINTEXT,SSL:SSL,SASL_PLAINTEXT:SASL_PLAINTEXT,SASL_SSL:SASL_SSL", 0, 0, NULL,
     "security protocol per listener name; names not listed are PLAINTEXT, and nothing else is "
     "served yet"},
    {"socket.request.max.bytes", SRV_KEY_INT, "104857600", "104857600", 1, INT32_MAX, NULL,
     "largest request accepted"},
    {"max.connections", SRV_KEY_INT, "2147483647", "2147483647", 1, INT32_MAX, NULL,
     "connections per broker"},
    {"connections.max.idle.ms", SRV_KEY_LONG, "600000", "600000", -1, INT64_MAX, NULL,
     "client connections idle for this long are closed; -1 = never"},
    {"num.partitions", SRV_KEY_INT, "1", "1", 1, INT32_MAX, NULL,
     "partitions of auto-created topics and default of CreateTopics(-1)"},
    {"default.replication.factor", SRV_KEY_INT, "3", "1", 1, INT32_MAX, NULL,
     "replicas of auto-created topics and default of CreateTopics(-1); at most the number of "
     "brokers"},
    {"auto.create.topics.enable", SRV_KEY_BOOL, "true", "true", 0, 0, NULL,
     "create topics on a metadata request"},
    {"delete.topic.enable", SRV_KEY_BOOL, "true", "true", 0, 0, NULL, "allow topic deletion"},
    {"log.dir", SRV_KEY_LIST, NULL, "/tmp/kafka-logs", 0, 0, NULL,
     "the same under its old name; log.dirs wins"},
    {"log.dirs", SRV_KEY_LIST, "kvorum-data", NULL, 0, 0, NULL, "the data directory; exactly one"},
    {"log.segment.bytes", SRV_KEY_INT, "1073741824", "1073741824", 1048576, INT32_MAX, NULL,
     "default of segment.bytes"},
    {"log.roll.ms", SRV_KEY_LONG, NULL, NULL, INT64_MIN, INT64_MAX, NULL, "default of segment.ms"},
    {"log.roll.hours", SRV_KEY_INT, "168", "168", 1, INT32_MAX, NULL, "same in hours"},
    {"log.roll.jitter.ms", SRV_KEY_LONG, NULL, NULL, INT64_MIN, INT64_MAX, NULL,
     "default of segment.jitter.ms"},
    {"log.roll.jitter.hours", SRV_KEY_INT, "0", "0", 0, INT32_MAX, NULL, "same in hours"},
    {"log.retention.ms", SRV_KEY_LONG, NULL, NULL, INT64_MIN, INT64_MAX, NULL,
     "default of retention.ms"},
    {"log.retention.minutes", SRV_KEY_INT, NULL, NULL, INT32_MIN, INT32_MAX, NULL,
     "same in minutes"},
    {"log.retention.hours", SRV_KEY_INT, "168", "168", INT32_MIN, INT32_MAX, NULL, "same in hours"},
    {"log.retention.bytes", SRV_KEY_LONG, "-1", "-1", INT64_MIN, INT64_MAX, NULL,
     "default of retention.bytes"},
    {"log.retention.check.interval.ms", SRV_KEY_LONG, "300000", "300000", 1, INT64_MAX, NULL,
     "how often retention is checked"},
    {"log.cleanup.policy", SRV_KEY_LIST, "delete", "delete", 0, 0, "compact|delete",
     "default of cleanup.policy"},
    {"log.index.size.max.bytes", SRV_KEY_INT, "10485760", "10485760", 4, INT32_MAX, NULL,
     "default of segment.index.bytes"},
    {"log.index.interval.bytes", SRV_KEY_INT, "4096", "4096", 0, INT32_MAX, NULL,
     "default of index.interval.bytes"},
    {"log.flush.interval.messages", SRV_KEY_LONG, "1", "9223372036854775807", 1, INT64_MAX, NULL,
     "default of flush.messages: 1 = an acknowledged record is on disk; 9223372036854775807 = as "
     "Apache Kafka, in the page cache"},
    {"log.flush.interval.ms", SRV_KEY_LONG, NULL, NULL, INT64_MIN, INT64_MAX, NULL,
     "default of flush.ms"},
    {"log.segment.delete.delay.ms", SRV_KEY_LONG, "60000", "60000", 0, INT64_MAX, NULL,
     "default of file.delete.delay.ms"},
    {"log.preallocate", SRV_KEY_BOOL, "false", "false", 0, 0, NULL, "default of preallocate"},
    {"log.message.timestamp.type", SRV_KEY_STRING, "CreateTime", "CreateTime", 0, 0,
     "CreateTime|LogAppendTime", "default of message.timestamp.type"},
    {"log.message.timestamp.before.max.ms", SRV_KEY_LONG, "9223372036854775807",
     "9223372036854775807", 0, INT64_MAX, NULL, "default of message.timestamp.before.max.ms"},
    {"log.message.timestamp.after.max.ms", SRV_KEY_LONG, "3600000", "3600000", 0, INT64_MAX, NULL,
     "default of message.timestamp.after.max.ms"},
    {"message.max.bytes", SRV_KEY_INT, "1048588", "1048588", 0, INT32_MAX, NULL,
     "default of max.message.bytes"},
    {"compression.type", SRV_KEY_STRING, "producer", "producer", 0, 0,
     "uncompressed|zstd|lz4|snappy|gzip|producer", "default of the topic codec"},
    {"compression.gzip.level", SRV_KEY_INT, "-1", "-1", -1, 9, NULL, "default gzip level"},
    {"compression.lz4.level", SRV_KEY_INT, "9", "9", 1, 17, NULL, "default lz4 level"},
    {"compression.zstd.level", SRV_KEY_INT, "3", "3", -131072, 22, NULL, "default zstd level"},
    {"log.cleaner.enable", SRV_KEY_BOOL, "true", "true", 0, 0, NULL, "run the compactor"},
    {"log.cleaner.backoff.ms", SRV_KEY_LONG, "15000", "15000", 0, INT64_MAX, NULL,
     "how often the compactor looks for work"},
    {"log.cleaner.dedupe.buffer.size", SRV_KEY_LONG, "134217728", "134217728", INT64_MIN, INT64_MAX,
     NULL, "memory for key maps over all threads"},
    {"log.cleaner.min.cleanable.ratio", SRV_KEY_DOUBLE, "0.5", "0.5", 0, 0, NULL,
     "default of min.cleanable.dirty.ratio"},
    {"log.cleaner.delete.retention.ms", SRV_KEY_LONG, "86400000", "86400000", 0, INT64_MAX, NULL,
     "default of delete.retention.ms"},
    {"log.cleaner.min.compaction.lag.ms", SRV_KEY_LONG, "0", "0", 0, INT64_MAX, NULL,
     "default of min.compaction.lag.ms"},
    {"log.cleaner.max.compaction.lag.ms", SRV_KEY_LONG, "9223372036854775807",
     "9223372036854775807", 1, INT64_MAX, NULL, "default of max.compaction.lag.ms"},
    {"min.insync.replicas", SRV_KEY_INT, "2", "1", 1, INT32_MAX, NULL,
     "copies an acks=all record needs; when set nowhere 1 for topics of fewer than three replicas"},
    {"unclean.leader.election.enable", SRV_KEY_BOOL, "false", "false", 0, 0, NULL,
     "default of the topic setting"},
    {"replica.lag.time.max.ms", SRV_KEY_LONG, "30000", "30000", 1, INT64_MAX, NULL,
     "follower leaves the in-sync set after lagging this long"},
    {"auto.leader.rebalance.enable", SRV_KEY_BOOL, "true", "true", 0, 0, NULL,
     "return leadership to preferred replicas"},
    {"controlled.shutdown.enable", SRV_KEY_BOOL, "true", "true", 0, 0, NULL,
     "move leadership away before stopping"},
    {"fetch.max.bytes", SRV_KEY_INT, "57671680", "57671680", 1024, INT32_MAX, NULL,
     "cap of a whole fetch response"},
    {"group.min.session.timeout.ms", SRV_KEY_INT, "6000", "6000", 1, INT32_MAX, NULL,
     "least session timeout of classic members"},
    {"group.max.session.timeout.ms", SRV_KEY_INT, "1800000", "1800000", 1, INT32_MAX, NULL,
     "largest session timeout of classic members"},
    {"group.initial.rebalance.delay.ms", SRV_KEY_INT, "100", "3000", 0, INT32_MAX, NULL,
     "wait for more members in a new classic group"},
    {"group.max.size", SRV_KEY_INT, "2147483647", "2147483647", 1, INT32_MAX, NULL,
     "members per classic group"},
    {"offsets.topic.num.partitions", SRV_KEY_INT, "50", "50", 1, INT32_MAX, NULL,
     "partitions of __consumer_offsets; must not change after creation"},
    {"offsets.topic.replication.factor", SRV_KEY_INT, "3", "3", 1, INT32_MAX, NULL,
     "replicas of __consumer_offsets; creation fails with fewer brokers"},
    {"offsets.retention.minutes", SRV_KEY_INT, "10080", "10080", 1, INT32_MAX, NULL,
     "offsets of an empty group expire after this time"},
    {"offsets.retention.check.interval.ms", SRV_KEY_LONG, "600000", "600000", 1, INT64_MAX, NULL,
     "how often offsets that are due to expire are looked for"},
    {"offsets.commit.timeout.ms", SRV_KEY_INT, "5000", "5000", 1, INT32_MAX, NULL,
     "longest wait of a group's member for what it did to be committed"},
    {"offset.metadata.max.bytes", SRV_KEY_INT, "4096", "4096", 0, INT32_MAX, NULL,
     "largest metadata text of a commit"},
    {"producer.id.expiration.ms", SRV_KEY_INT, "86400000", "86400000", 1, INT32_MAX, NULL,
     "idle producer ids are forgotten by partitions"},
    {"authorizer.class.name", SRV_KEY_STRING, "", "", 0, 0, NULL,
     "authorizer plug-in; must be empty: access control lists are not enforced yet"},
    {"security.inter.broker.protocol", SRV_KEY_STRING, "PLAINTEXT", "PLAINTEXT", 0, 0, NULL,
     "protocol between brokers; must be PLAINTEXT: links are not encrypted yet"},
    {"cluster.id", SRV_KEY_STRING, NULL, NULL, 0, 0, NULL,
     "id the cluster must have or is founded with (environment: CLUSTER_ID); unset = made at "
     "founding"},
    {"kvorum.memory.max.bytes", SRV_KEY_LONG, "268435456", NULL, 16777216, INT64_MAX, NULL,
     "bound on requests in work, caches and parked requests; reading from clients stops at it"},
    {"kvorum.found.without.absent.voters", SRV_KEY_BOOL, "false", NULL, 0, 0, NULL,
     "found the cluster with a majority of the configured voters, once, although others are "
     "absent"},
    {"kvorum.stop.timeout.ms", SRV_KEY_LONG, "30000", NULL, 0, 3600000, NULL,
     "limit of a controlled stop: moving leaders away, then closing"},
    {"kvorum.reserve.bytes", SRV_KEY_LONG, "67108864", NULL, 0, 4294967295, NULL,
     "space kept for Raft on a full disk"},
    {"kvorum.log.level", SRV_KEY_STRING, "info", NULL, 0, 0, "debug|info|warn|error",
     "lowest level of log lines"},
    {"kvorum.log.format", SRV_KEY_STRING, "text", NULL, 0, 0, "text|json",
     "form of log lines on standard error"},
    {"kvorum.job.threads", SRV_KEY_INT, "2", NULL, 1, 16, NULL,
     "threads for recovery, compaction and snapshots"},
    {"kvorum.reader.threads", SRV_KEY_INT, "2", NULL, 1, 16, NULL,
     "threads that read what is not in the page cache"},
};

static const char *const type_names[] = {
    [SRV_KEY_INT] = "int",       [SRV_KEY_LONG] = "long",     [SRV_KEY_BOOL] = "boolean",
    [SRV_KEY_DOUBLE] = "double", [SRV_KEY_STRING] = "string", [SRV_KEY_LIST] = "list",
};

const struct srv_key *srv_keys(size_t *ret_count)
{
    *ret_count = sizeof(keys) / sizeof(keys[0]);
    return keys;
}

int srv_key_find(const char *name)
{
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        if (strcmp(keys[i].name, name) == 0)
            return (int)i;
    }
    return -1;
}

const char *srv_key_type_name(enum srv_key_type type)
{
    return (unsigned)type <= SRV_KEY_LIST ? type_names[type] : "?";
}

/* ---- the nearest name ---- */

#define NAME_MAX_ 96 /* longer ones are not compared */

static size_t min3(size_t a, size_t b, size_t c)
{
    size_t m = a < b ? a : b;
    return m < c ? m : c;
}

/* Levenshtein distance. */
static size_t distance(const char *a, const char *b)
{
    size_t row[NAME_MAX_ + 1];
    size_t size_a = strlen(a);
    size_t size_b = strlen(b);
    if (size_a > NAME_MAX_ || size_b > NAME_MAX_)
        return SIZE_MAX;
    for (size_t j = 0; j <= size_b; j++)
        row[j] = j;
    for (size_t i = 1; i <= size_a; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= size_b; j++) {
            size_t above = row[j];
            row[j] = min3(above + 1, row[j - 1] + 1, diagonal + (a[i - 1] != b[j - 1]));
            diagonal = above;
        }
    }
    return row[size_b];
}

static void consider(const char *name, const char *candidate, const char **best, size_t *best_size)
{
    size_t a = strlen(name);
    size_t b = strlen(candidate);
    if ((a > b ? a - b : b - a) >= *best_size)
        return; /* so many insertions alone */
    size_t d = distance(name, candidate);
    if (d < *best_size) {
        *best = candidate;
        *best_size = d;
    }
}

/* A topic's name of a config that brokers know with "log." before it; NULL if it is none. */
static const char *topic_key(const char *name)
{
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        if (strncmp(keys[i].name, "log.", 4) == 0 && strcmp(keys[i].name + 4, name) == 0)
            return keys[i].name;
    }
    return NULL;
}

const char *srv_key_nearest(const char *name)
{
    const char *best = topic_key(name);
    if (best != NULL)
        return best;
    size_t limit = strlen(name) / 4 > 2 ? strlen(name) / 4 : 2;
    size_t best_size = limit + 1;
    size_t n_ignored = 0;
    const struct srv_ignored_key *ignored = srv_ignored_keys(&n_ignored);
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
        consider(name, keys[i].name, &best, &best_size);
    for (size_t i = 0; i < n_ignored; i++)
        consider(name, ignored[i].name, &best, &best_size);
    return best;
}
