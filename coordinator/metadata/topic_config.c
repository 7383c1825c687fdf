/* The table of topic configs and the checks of single values. */
#include "coordinator/metadata/topic_config.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/assert.h"
#include "proto/base/err.h"

struct key_def {
    struct meta_topic_key_info info;
    int64_t min;
    int64_t max;
    const char *const *allowed; /* words of a string or list, ends with NULL */
};

static const char *const CLEANUP[] = {"compact", "delete", NULL};
static const char *const COMPRESSION[] = {"uncompressed", "zstd",     "lz4", "snappy",
                                          "gzip",         "producer", NULL};
static const char *const TIMESTAMP[] = {"CreateTime", "LogAppendTime", NULL};

#define LONG_KEY(name_, default_, low_, broker_, doc_)                                             \
    {                                                                                              \
        .info = {.name = (name_),                                                                  \
                 .type = META_TYPE_LONG,                                                           \
                 .default_value = (default_),                                                      \
                 .broker_name = (broker_),                                                         \
                 .doc = (doc_)},                                                                   \
        .min = (low_), .max = INT64_MAX                                                            \
    }
#define INT_KEY(name_, default_, low_, high_, broker_, doc_)                                       \
    {                                                                                              \
        .info = {.name = (name_),                                                                  \
                 .type = META_TYPE_INT,                                                            \
                 .default_value = (default_),                                                      \
                 .broker_name = (broker_),                                                         \
                 .doc = (doc_)},                                                                   \
        .min = (low_), .max = (high_)                                                              \
    }
#define BOOL_KEY(name_, broker_, doc_)                                                             \
    {                                                                                              \
        .info = {                                                                                  \
            .name = (name_),                                                                       \
            .type = META_TYPE_BOOLEAN,                                                             \
            .default_value = "false",                                                              \
            .broker_name = (broker_),                                                              \
            .doc = (doc_)                                                                          \
        }                                                                                          \
    }
#define WORD_KEY(name_, type_, default_, words_, broker_, doc_)                                    \
    {                                                                                              \
        .info = {.name = (name_),                                                                  \
                 .type = (type_),                                                                  \
                 .default_value = (default_),                                                      \
                 .broker_name = (broker_),                                                         \
                 .doc = (doc_)},                                                                   \
        .allowed = (words_)                                                                        \
    }
#define FOREVER "9223372036854775807"

static const struct key_def KEYS[META_TOPIC_KEY_COUNT_] = {
    [META_CLEANUP_POLICY] = WORD_KEY(
        "cleanup.policy", META_TYPE_LIST, "delete", CLEANUP, "log.cleanup.policy",
        "What happens to old records: delete them by age and size, compact to the last value per "
        "key, or both. Empty keeps everything."),
    [META_COMPRESSION_GZIP_LEVEL] =
        INT_KEY("compression.gzip.level", "-1", -1, 9, "compression.gzip.level",
                "Level when the broker compresses with gzip: 1 to 9, or -1 for its default."),
    [META_COMPRESSION_LZ4_LEVEL] = INT_KEY("compression.lz4.level", "9", 1, 17,
                                           "compression.lz4.level",
                                           "Level when the broker compresses with lz4."),
    [META_COMPRESSION_TYPE] =
        WORD_KEY("compression.type", META_TYPE_STRING, "producer", COMPRESSION, "compression.type",
                 "Codec of the records on disk; producer keeps what the producer used."),
    [META_COMPRESSION_ZSTD_LEVEL] = INT_KEY("compression.zstd.level", "3", -131072, 22,
                                            "compression.zstd.level",
                                            "Level when the broker compresses with zstd."),
    [META_DELETE_RETENTION_MS] = LONG_KEY(
        "delete.retention.ms", "86400000", 0, "log.cleaner.delete.retention.ms",
        "How long delete markers (null values) stay in a compacted topic, in milliseconds."),
    [META_FILE_DELETE_DELAY_MS] =
        LONG_KEY("file.delete.delay.ms", "60000", 0, "log.segment.delete.delay.ms",
                 "Wait before the file of a removed segment is deleted, in milliseconds."),
    [META_FLUSH_MESSAGES] =
        {.info = {.name = "flush.messages",
                  .type = META_TYPE_LONG,
                  .default_value = "1",
                  .broker_name = "log.flush.interval.messages",
                  .doc = "Records after which a partition is synced. 1: a record is on the disk "
                         "before it is acknowledged. " FOREVER
                         ": acknowledged from the page cache, as in Kafka.",
                  .governed = true},
         .min = 1,
         .max = INT64_MAX},
    [META_FLUSH_MS] = LONG_KEY("flush.ms", FOREVER, 0, "log.flush.interval.ms",
                               "Time after which a partition is synced, in milliseconds."),
    [META_FOLLOWER_THROTTLED] =
        WORD_KEY("follower.replication.throttled.replicas", META_TYPE_LIST, "", NULL, NULL,
                 "Replicas throttled at the follower: partition:broker pairs, or *."),
    [META_INDEX_INTERVAL_BYTES] = INT_KEY("index.interval.bytes", "4096", 0, INT32_MAX,
                                          "log.index.interval.bytes",
                                          "Bytes of log per entry of the offset index."),
    [META_LEADER_THROTTLED] =
        WORD_KEY("leader.replication.throttled.replicas", META_TYPE_LIST, "", NULL, NULL,
                 "Replicas throttled at the leader: partition:broker pairs, or *."),
    [META_LOCAL_RETENTION_BYTES] =
        LONG_KEY("local.retention.bytes", "-2", -2, "log.local.retention.bytes",
                 "Tiered storage: local bytes kept per partition; -2 means retention.bytes."),
    [META_LOCAL_RETENTION_MS] = LONG_KEY("local.retention.ms", "-2", -2, "log.local.retention.ms",
                                         "Tiered storage: local time kept; -2 means retention.ms."),
    [META_MAX_COMPACTION_LAG_MS] =
        LONG_KEY("max.compaction.lag.ms", FOREVER, 1, "log.cleaner.max.compaction.lag.ms",
                 "Longest time a record stays uncompacted, in milliseconds."),
    [META_MAX_MESSAGE_BYTES] = INT_KEY("max.message.bytes", "1048588", 0, INT32_MAX,
                                       "message.max.bytes",
                                       "Largest record batch accepted, after compression."),
    [META_TIMESTAMP_AFTER_MAX_MS] = LONG_KEY(
        "message.timestamp.after.max.ms", "3600000", 0, "log.message.timestamp.after.max.ms",
        "How far a CreateTime timestamp may be ahead of the broker's clock."),
    [META_TIMESTAMP_BEFORE_MAX_MS] = LONG_KEY(
        "message.timestamp.before.max.ms", FOREVER, 0, "log.message.timestamp.before.max.ms",
        "How far a CreateTime timestamp may be behind the broker's clock."),
    [META_TIMESTAMP_TYPE] = WORD_KEY("message.timestamp.type", META_TYPE_STRING, "CreateTime",
                                     TIMESTAMP, "log.message.timestamp.type",
                                     "Timestamp kept: set by the producer, or at the append."),
    [META_MIN_CLEANABLE_DIRTY_RATIO] =
        {.info = {.name = "min.cleanable.dirty.ratio",
                  .type = META_TYPE_DOUBLE,
                  .default_value = "0.5",
                  .broker_name = "log.cleaner.min.cleanable.ratio",
                  .doc = "Share of uncompacted bytes that makes a log a candidate for compaction."},
         .min = 0,
         .max = 1},
    [META_MIN_COMPACTION_LAG_MS] =
        LONG_KEY("min.compaction.lag.ms", "0", 0, "log.cleaner.min.compaction.lag.ms",
                 "Shortest time a record stays uncompacted, in milliseconds."),
    [META_MIN_INSYNC_REPLICAS] =
        {.info = {.name = "min.insync.replicas",
                  .type = META_TYPE_INT,
                  .default_value = "2",
                  .broker_name = "min.insync.replicas",
                  .doc = "In-sync replicas needed to acknowledge with acks=all. Not set: 2 for "
                         "topics of three or more replicas, else 1.",
                  .governed = true},
         .min = 1,
         .max = INT32_MAX},
    [META_PREALLOCATE] = BOOL_KEY("preallocate", "log.preallocate",
                                  "Reserve the whole segment file when it is made."),
    [META_REMOTE_LOG_COPY_DISABLE] = BOOL_KEY("remote.log.copy.disable", NULL,
                                              "Tiered storage: stop uploading."),
    [META_REMOTE_LOG_DELETE_ON_DISABLE] =
        BOOL_KEY("remote.log.delete.on.disable", NULL,
                 "Tiered storage: drop remote data when it is switched off."),
    [META_REMOTE_STORAGE_ENABLE] = BOOL_KEY("remote.storage.enable", NULL,
                                            "Tiered storage; not available in Kvorum."),
    [META_RETENTION_BYTES] =
        LONG_KEY("retention.bytes", "-1", INT64_MIN, "log.retention.bytes",
                 "Bytes kept per partition before old segments are deleted; -1 is no limit."),
    [META_RETENTION_MS] =
        LONG_KEY("retention.ms", "604800000", -1, "log.retention.ms",
                 "Age at which segments are deleted, in milliseconds; -1 is no limit."),
    [META_SEGMENT_BYTES] = INT_KEY("segment.bytes", "1073741824", 1048576, INT32_MAX,
                                   "log.segment.bytes", "Size of a segment file."),
    [META_SEGMENT_INDEX_BYTES] = INT_KEY("segment.index.bytes", "10485760", 4, INT32_MAX,
                                         "log.index.size.max.bytes",
                                         "Largest size of a segment's index files."),
    [META_SEGMENT_JITTER_MS] =
        LONG_KEY("segment.jitter.ms", "0", 0, "log.roll.jitter.ms",
                 "Random part taken off segment.ms, so that segments do not roll together."),
    [META_SEGMENT_MS] = LONG_KEY("segment.ms", "604800000", 1, "log.roll.ms",
                                 "Age that closes a segment, in milliseconds."),
    [META_UNCLEAN_LEADER_ELECTION] =
        {.info = {.name = "unclean.leader.election.enable",
                  .type = META_TYPE_BOOLEAN,
                  .default_value = "false",
                  .broker_name = "unclean.leader.election.enable",
                  .doc = "Set on a topic: when no eligible replica is left, one that may lack "
                         "acknowledged records is elected. As a default of all topics it is "
                         "shown but has no effect.",
                  .governed = true}},
};

const struct meta_topic_key_info *meta_topic_key_info(enum meta_topic_key key)
{
    KB_ASSERT((unsigned)key < META_TOPIC_KEY_COUNT_);
    return &KEYS[key].info;
}

int meta_topic_key_find(const char *name)
{
    for (int i = 0; i < META_TOPIC_KEY_COUNT_; i++) {
        if (strcmp(KEYS[i].info.name, name) == 0)
            return i;
    }
    return -1;
}

int meta_topic_key_find_broker(const char *name)
{
    for (int i = 0; i < META_TOPIC_KEY_COUNT_; i++) {
        if (KEYS[i].info.broker_name != NULL && strcmp(KEYS[i].info.broker_name, name) == 0)
            return i;
    }
    return -1;
}

/* ---- checks of one value ------------------------------------------------------------------------
 */

bool meta_parse_long(const char *text, int64_t *ret)
{
    char *end = NULL;
    errno = 0;
    long long v = strtoll(text, &end, 10);
    if (text[0] == '\0' || text[0] == ' ' || *end != '\0' || errno != 0)
        return false;
    *ret = v;
    return true;
}

static bool is_blank(char c)
{
    return (unsigned char)c <= ' ';
}

/* A part of a text without the white space at its ends. */
static size_t trim(const char **text, size_t size)
{
    while (size > 0 && is_blank((*text)[0])) {
        (*text)++;
        size--;
    }
    while (size > 0 && is_blank((*text)[size - 1]))
        size--;
    return size;
}

static void tidy_list(char *list)
{
    const char *at = list;
    size_t left = strlen(list);
    char *out = list;
    while (left > 0) {
        const char *word = at;
        const char *comma = memchr(at, ',', left);
        size_t taken = comma != NULL ? (size_t)(comma - at) : left;
        size_t size = trim(&word, taken);
        memmove(out, word, size);
        out += size;
        if (comma != NULL) {
            *out++ = ',';
            taken++;
        }
        at += taken;
        left -= taken;
    }
    *out = '\0';
}

const char *meta_topic_value_tidy(enum meta_topic_key key, const char *value,
                                  struct kb_arena *arena)
{
    const char *at = value;
    size_t size = trim(&at, strlen(value));
    char *text = kb_arena_strndup(arena, at, size);
    int64_t number;
    if (text == NULL)
        return NULL;
    switch (KEYS[key].info.type) {
    case META_TYPE_INT:
    case META_TYPE_LONG:
        return meta_parse_long(text, &number) ? kb_arena_printf(arena, "%" PRId64, number) : text;
    case META_TYPE_BOOLEAN:
        if (strcasecmp(text, "true") == 0)
            memcpy(text, "true", size);
        else if (strcasecmp(text, "false") == 0)
            memcpy(text, "false", size);
        return text;
    case META_TYPE_LIST:
        tidy_list(text);
        return text;
    case META_TYPE_DOUBLE:
    case META_TYPE_STRING:
        return text;
    }
    KB_UNREACHABLE();
}

static bool parse_double(const char *text, double *ret)
{
    char *end = NULL;
    double v = strtod(text, &end);
    if (text[0] == '\0' || text[0] == ' ' || *end != '\0' || v != v)
        return false;
    *ret = v;
    return true;
}

static int refuse(struct kb_arena *arena, const char **ret_why, char *sentence)
{
    *ret_why = sentence != NULL ? sentence : "the value is not allowed";
    return -KB_EINVAL;
}

static int check_number(const struct key_def *k, const char *value, struct kb_arena *arena,
                        const char **ret_why)
{
    int64_t v;
    if (!meta_parse_long(value, &v))
        return refuse(arena, ret_why,
                      kb_arena_printf(arena, "%s=%.64s is no whole number", k->info.name, value));
    if (v < k->min || v > k->max || (&KEYS[META_COMPRESSION_GZIP_LEVEL] == k && v == 0))
        return refuse(arena, ret_why,
                      kb_arena_printf(arena, "%s=%.64s is outside %" PRId64 " … %" PRId64,
                                      k->info.name, value, k->min, k->max));
    return 0;
}

static bool word_allowed(const char *const *words, const char *word, size_t size)
{
    for (size_t i = 0; words[i] != NULL; i++) {
        if (strlen(words[i]) == size && memcmp(words[i], word, size) == 0)
            return true;
    }
    return false;
}

/* "*" or "partition:broker" pairs. */
static bool throttle_list_ok(const char *value)
{
    if (value[0] == '\0' || strcmp(value, "*") == 0)
        return true;
    bool colon = false;
    bool digit = false;
    for (const char *c = value; *c != '\0'; c++) {
        if (*c >= '0' && *c <= '9') {
            digit = true;
        } else if (*c == ':' && digit && !colon) {
            colon = true;
            digit = false;
        } else if (*c == ',' && digit && colon) {
            colon = false;
            digit = false;
        } else if (*c != ' ') {
            return false;
        }
    }
    return colon && digit;
}

static int check_words(const struct key_def *k, const char *value, struct kb_arena *arena,
                       const char **ret_why)
{
    bool ok = true;
    if (k->allowed == NULL) {
        ok = throttle_list_ok(value);
    } else if (k->info.type == META_TYPE_STRING) {
        ok = word_allowed(k->allowed, value, strlen(value));
    } else {
        const char *at = value;
        while (ok && *at != '\0') {
            at += strspn(at, " ");
            size_t size = strcspn(at, ",");
            size_t word = size;
            while (word > 0 && at[word - 1] == ' ')
                word--;
            ok = word_allowed(k->allowed, at, word);
            at += size;
            if (*at == ',')
                ok = ok && *++at != '\0';
        }
    }
    if (ok)
        return 0;
    return refuse(
        arena, ret_why,
        kb_arena_printf(arena, "%s=%.64s is not one of the allowed values", k->info.name, value));
}

int meta_topic_value_check(enum meta_topic_key key, const char *value, struct kb_arena *arena,
                           const char **ret_why)
{
    const struct key_def *k = &KEYS[key];
    double number;
    switch (k->info.type) {
    case META_TYPE_INT:
    case META_TYPE_LONG:
        return check_number(k, value, arena, ret_why);
    case META_TYPE_DOUBLE:
        if (parse_double(value, &number) && number >= (double)k->min && number <= (double)k->max)
            return 0;
        return refuse(
            arena, ret_why,
            kb_arena_printf(arena, "%s=%.64s is no number between 0 and 1", k->info.name, value));
    case META_TYPE_BOOLEAN:
        if (key == META_REMOTE_STORAGE_ENABLE && strcasecmp(value, "true") == 0)
            return refuse(arena, ret_why,
                          kb_arena_printf(arena,
                                          "tiered storage is not available: %s must be "
                                          "false",
                                          k->info.name));
        if (strcasecmp(value, "true") == 0 || strcasecmp(value, "false") == 0)
            return 0;
        return refuse(
            arena, ret_why,
            kb_arena_printf(arena, "%s=%.64s is neither true nor false", k->info.name, value));
    case META_TYPE_STRING:
    case META_TYPE_LIST:
        return check_words(k, value, arena, ret_why);
    }
    KB_UNREACHABLE();
}
