#ifndef META_TOPIC_CONFIG_H
#define META_TOPIC_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "coordinator/metadata/image.h"
#include "proto/base/arena.h"

/* Topic configs: names, types, limits and defaults (Kafka's, except flush.messages 1 and
 * min.insync.replicas by replica count), and the value that counts for a topic.
 *
 * Order of what counts, highest first:
 *   topic > broker (dynamic, all brokers) > static (this node's own file) > founding > default.
 * min.insync.replicas, flush.messages and unclean.leader.election.enable decide about safety and
 * are the same on all nodes: for them the static level is skipped (rule 3.2). */

enum meta_topic_key {
    META_CLEANUP_POLICY,
    META_COMPRESSION_GZIP_LEVEL,
    META_COMPRESSION_LZ4_LEVEL,
    META_COMPRESSION_TYPE,
    META_COMPRESSION_ZSTD_LEVEL,
    META_DELETE_RETENTION_MS,
    META_FILE_DELETE_DELAY_MS,
    META_FLUSH_MESSAGES,
    META_FLUSH_MS,
    META_FOLLOWER_THROTTLED,
    META_INDEX_INTERVAL_BYTES,
    META_LEADER_THROTTLED,
    META_LOCAL_RETENTION_BYTES,
    META_LOCAL_RETENTION_MS,
    META_MAX_COMPACTION_LAG_MS,
    META_MAX_MESSAGE_BYTES,
    META_TIMESTAMP_AFTER_MAX_MS,
    META_TIMESTAMP_BEFORE_MAX_MS,
    META_TIMESTAMP_TYPE,
    META_MIN_CLEANABLE_DIRTY_RATIO,
    META_MIN_COMPACTION_LAG_MS,
    META_MIN_INSYNC_REPLICAS,
    META_PREALLOCATE,
    META_REMOTE_LOG_COPY_DISABLE,
    META_REMOTE_LOG_DELETE_ON_DISABLE,
    META_REMOTE_STORAGE_ENABLE,
    META_RETENTION_BYTES,
    META_RETENTION_MS,
    META_SEGMENT_BYTES,
    META_SEGMENT_INDEX_BYTES,
    META_SEGMENT_JITTER_MS,
    META_SEGMENT_MS,
    META_UNCLEAN_LEADER_ELECTION,
    META_TOPIC_KEY_COUNT_
};

/* Kafka's config types and sources, as on the wire. */
enum meta_config_type {
    META_TYPE_BOOLEAN = 1,
    META_TYPE_STRING = 2,
    META_TYPE_INT = 3,
    META_TYPE_LONG = 5,
    META_TYPE_DOUBLE = 6,
    META_TYPE_LIST = 7,
};
enum meta_config_source {
    META_SOURCE_TOPIC = 1,
    META_SOURCE_BROKER = 2,
    META_SOURCE_DEFAULT_BROKER = 3,
    META_SOURCE_STATIC = 4,
    META_SOURCE_DEFAULT = 5,
};
struct meta_topic_key_info {
    const char *name;
    enum meta_config_type type;
    const char *default_value; /* min.insync.replicas: see meta_min_isr_default */
    const char *broker_name;   /* its name in server.properties, NULL = none */
    const char *doc;
    bool governed; /* the static level is skipped */
};
const struct meta_topic_key_info *meta_topic_key_info(enum meta_topic_key key);
/* By topic-level name; -1 = unknown. */
int meta_topic_key_find(const char *name);
/* By the name in server.properties (log.retention.ms, …); -1 = no topic default. */
int meta_topic_key_find_broker(const char *name);

/* A whole decimal number and nothing else. */
bool meta_parse_long(const char *text, int64_t *ret);
/* The value as it is kept and shown: no white space around it and around the words of a list, whole
 * numbers and booleans in their plain form. Good or bad, it is checked afterwards. NULL when the
 * arena refuses. */
const char *meta_topic_value_tidy(enum meta_topic_key key, const char *value,
                                  struct kb_arena *arena);
/* 0, or -KB_EINVAL and a sentence in the arena. */
int meta_topic_value_check(enum meta_topic_key key, const char *value, struct kb_arena *arena,
                           const char **ret_why);
/* Checks over several keys of one topic (min.compaction.lag.ms <= max.compaction.lag.ms, …). */
int meta_topic_configs_check(const struct meta_image *image, const struct meta_configs *configs,
                             const char **ret_why);

/* Defaults of this node's own file, with topic-level names; NULL or empty = none. */
struct meta_static_configs {
    const struct meta_config_entry *entries;
    size_t count;
};

/* The value that counts; never NULL. topic NULL = a topic without own configs. The default of
 * min.insync.replicas goes by the topic's replicas. */
const char *meta_topic_value(const struct meta_image *image, const struct meta_topic *topic,
                             const struct meta_static_configs *statics, enum meta_topic_key key,
                             enum meta_config_source *ret_source);

enum meta_timestamp_type { META_CREATE_TIME, META_LOG_APPEND_TIME };
/* Everything a log and a replica want to know about their topic. */
struct meta_log_config {
    bool cleanup_delete;
    bool cleanup_compact;
    int8_t compression; /* -1 = as the producer has it, else Kafka's codec number (0 none … 4) */
    int compression_level;
    int64_t delete_retention_ms;
    int64_t file_delete_delay_ms;
    int64_t flush_messages; /* 1 = strong topic */
    int64_t flush_ms;       /* INT64_MAX = never */
    int32_t index_interval_bytes;
    int32_t max_message_bytes;
    int64_t max_compaction_lag_ms;
    int64_t min_compaction_lag_ms;
    double min_cleanable_dirty_ratio;
    int64_t timestamp_after_max_ms;
    int64_t timestamp_before_max_ms;
    enum meta_timestamp_type timestamp_type;
    bool preallocate;
    int64_t retention_bytes; /* -1 = no limit */
    int64_t retention_ms;    /* -1 = no limit */
    int32_t segment_bytes;
    int32_t segment_index_bytes;
    int64_t segment_jitter_ms;
    int64_t segment_ms;
    int32_t min_insync_replicas; /* as configured; the effective one is meta_min_isr */
    bool unclean_leader_election;
};
void meta_log_config(const struct meta_image *image, const struct meta_topic *topic,
                     const struct meta_static_configs *statics, struct meta_log_config *ret);

/* Effective minimum ISR (rule 3.2): min(min.insync.replicas, replicas), >= 1. Not set anywhere: 2
 * for three or more replicas, else 1. */
int32_t meta_min_isr(const struct meta_image *image, const struct meta_partition *p);
/* flush.messages = 1: acknowledged means synced. */
bool meta_topic_strong(const struct meta_image *image, const struct meta_topic *topic);

/* One line of DescribeConfigs. Strings live in the image, the statics or static storage. */
struct meta_config_synonym {
    const char *name;
    const char *value;
    enum meta_config_source source;
};
struct meta_config_line {
    const char *name;
    const char *value;
    enum meta_config_source source;
    enum meta_config_type type;
    const char *doc;
    struct meta_config_synonym synonyms[6]; /* highest first, the one that counts included */
    size_t synonyms_count;
};
void meta_config_describe(const struct meta_image *image, const struct meta_topic *topic,
                          const struct meta_static_configs *statics, enum meta_topic_key key,
                          struct meta_config_line *ret);

#endif
