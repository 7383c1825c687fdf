/* Which value counts for a topic, and the typed form of all of them. */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "coordinator/metadata/topic_config.h"
#include "proto/base/assert.h"
#include "proto/base/err.h"

enum { LEVELS = 5 };
struct level {
    const char *value; /* NULL = not set */
    enum meta_config_source source;
};

static const char *statics_get(const struct meta_static_configs *statics, const char *name)
{
    for (size_t i = 0; statics != NULL && i < statics->count; i++) {
        if (strcmp(statics->entries[i].name, name) == 0)
            return statics->entries[i].value;
    }
    return NULL;
}

static const char *default_value(const struct meta_topic *topic, enum meta_topic_key key)
{
    if (key != META_MIN_INSYNC_REPLICAS || topic == NULL || topic->partitions_count == 0)
        return meta_topic_key_info(key)->default_value;
    return topic->partitions[0]->replicas_count >= 3 ? "2" : "1";
}

/* Highest first; the last is always set. */
static void levels_fill(const struct meta_image *image, const struct meta_topic *topic,
                        const struct meta_static_configs *statics, enum meta_topic_key key,
                        struct level levels[LEVELS])
{
    const struct meta_topic_key_info *info = meta_topic_key_info(key);
    const struct meta_configs *dynamic = meta_image_resource_configs(image, META_RESOURCE_BROKER,
                                                                     "");
    levels[0] = (struct level){topic != NULL ? meta_configs_get(&topic->configs, info->name) : NULL,
                               META_SOURCE_TOPIC};
    levels[1] = (struct level){
        info->broker_name != NULL ? meta_configs_get(dynamic, info->broker_name) : NULL,
        META_SOURCE_DEFAULT_BROKER};
    levels[2] = (struct level){info->governed ? NULL : statics_get(statics, info->name),
                               META_SOURCE_STATIC};
    levels[3] = (struct level){meta_configs_get(meta_image_founding_configs(image), info->name),
                               META_SOURCE_STATIC};
    levels[4] = (struct level){default_value(topic, key), META_SOURCE_DEFAULT};
}

const char *meta_topic_value(const struct meta_image *image, const struct meta_topic *topic,
                             const struct meta_static_configs *statics, enum meta_topic_key key,
                             enum meta_config_source *ret_source)
{
    struct level levels[LEVELS];
    levels_fill(image, topic, statics, key, levels);
    size_t i = 0;
    while (levels[i].value == NULL)
        i++;
    if (ret_source != NULL)
        *ret_source = levels[i].source;
    return levels[i].value;
}

void meta_config_describe(const struct meta_image *image, const struct meta_topic *topic,
                          const struct meta_static_configs *statics, enum meta_topic_key key,
                          struct meta_config_line *ret)
{
    const struct meta_topic_key_info *info = meta_topic_key_info(key);
    struct level levels[LEVELS];
    levels_fill(image, topic, statics, key, levels);
    *ret = (struct meta_config_line){.name = info->name, .type = info->type, .doc = info->doc};
    for (size_t i = 0; i < LEVELS; i++) {
        /* The founding level speaks for the file that founded the cluster; only one of both is
         * shown. */
        if (levels[i].value == NULL ||
            (i == 3 && ret->synonyms_count > 0 &&
             ret->synonyms[ret->synonyms_count - 1].source == META_SOURCE_STATIC))
            continue;
        bool topic_level = i == 0 || info->broker_name == NULL;
        ret->synonyms[ret->synonyms_count++] =
            (struct meta_config_synonym){.name = topic_level ? info->name : info->broker_name,
                                         .value = levels[i].value,
                                         .source = levels[i].source};
    }
    ret->value = ret->synonyms[0].value;
    ret->source = ret->synonyms[0].source;
}

/* ---- typed -------------------------------------------------------------------------------------
 */

struct asker {
    const struct meta_image *image;
    const struct meta_topic *topic;
    const struct meta_static_configs *statics;
};

static const char *ask(const struct asker *a, enum meta_topic_key key)
{
    return meta_topic_value(a->image, a->topic, a->statics, key, NULL);
}

/* Values were checked when they were set; one that no longer parses counts as the default. */
static int64_t ask_long(const struct asker *a, enum meta_topic_key key)
{
    int64_t v = 0;
    if (!meta_parse_long(ask(a, key), &v))
        (void)meta_parse_long(meta_topic_key_info(key)->default_value, &v);
    return v;
}

static int32_t ask_int(const struct asker *a, enum meta_topic_key key)
{
    int64_t v = ask_long(a, key);
    return v > INT32_MAX ? INT32_MAX : v < INT32_MIN ? INT32_MIN : (int32_t)v;
}

static bool ask_bool(const struct asker *a, enum meta_topic_key key)
{
    return strcasecmp(ask(a, key), "true") == 0;
}

static bool list_has(const char *list, const char *word)
{
    const char *at = strstr(list, word);
    return at != NULL;
}

static void fill_compression(const struct asker *a, struct meta_log_config *ret)
{
    static const struct {
        const char *name;
        int8_t codec;
        int level_key;
    } codecs[] = {
        {"uncompressed", 0, -1},
        {"gzip", 1, META_COMPRESSION_GZIP_LEVEL},
        {"snappy", 2, -1},
        {"lz4", 3, META_COMPRESSION_LZ4_LEVEL},
        {"zstd", 4, META_COMPRESSION_ZSTD_LEVEL},
    };
    const char *name = ask(a, META_COMPRESSION_TYPE);
    ret->compression = -1;
    for (size_t i = 0; i < sizeof(codecs) / sizeof(codecs[0]); i++) {
        if (strcmp(name, codecs[i].name) != 0)
            continue;
        ret->compression = codecs[i].codec;
        if (codecs[i].level_key >= 0)
            ret->compression_level = ask_int(a, (enum meta_topic_key)codecs[i].level_key);
    }
}

void meta_log_config(const struct meta_image *image, const struct meta_topic *topic,
                     const struct meta_static_configs *statics, struct meta_log_config *ret)
{
    struct asker a = {.image = image, .topic = topic, .statics = statics};
    const char *cleanup = ask(&a, META_CLEANUP_POLICY);
    *ret = (struct meta_log_config){
        .cleanup_delete = list_has(cleanup, "delete"),
        .cleanup_compact = list_has(cleanup, "compact"),
        .delete_retention_ms = ask_long(&a, META_DELETE_RETENTION_MS),
        .file_delete_delay_ms = ask_long(&a, META_FILE_DELETE_DELAY_MS),
        .flush_messages = ask_long(&a, META_FLUSH_MESSAGES),
        .flush_ms = ask_long(&a, META_FLUSH_MS),
        .index_interval_bytes = ask_int(&a, META_INDEX_INTERVAL_BYTES),
        .max_message_bytes = ask_int(&a, META_MAX_MESSAGE_BYTES),
        .max_compaction_lag_ms = ask_long(&a, META_MAX_COMPACTION_LAG_MS),
        .min_compaction_lag_ms = ask_long(&a, META_MIN_COMPACTION_LAG_MS),
        .min_cleanable_dirty_ratio = strtod(ask(&a, META_MIN_CLEANABLE_DIRTY_RATIO), NULL),
        .timestamp_after_max_ms = ask_long(&a, META_TIMESTAMP_AFTER_MAX_MS),
        .timestamp_before_max_ms = ask_long(&a, META_TIMESTAMP_BEFORE_MAX_MS),
        .timestamp_type = strcmp(ask(&a, META_TIMESTAMP_TYPE), "LogAppendTime") == 0
                              ? META_LOG_APPEND_TIME
                              : META_CREATE_TIME,
        .preallocate = ask_bool(&a, META_PREALLOCATE),
        .retention_bytes = ask_long(&a, META_RETENTION_BYTES),
        .retention_ms = ask_long(&a, META_RETENTION_MS),
        .segment_bytes = ask_int(&a, META_SEGMENT_BYTES),
        .segment_index_bytes = ask_int(&a, META_SEGMENT_INDEX_BYTES),
        .segment_jitter_ms = ask_long(&a, META_SEGMENT_JITTER_MS),
        .segment_ms = ask_long(&a, META_SEGMENT_MS),
        .min_insync_replicas = ask_int(&a, META_MIN_INSYNC_REPLICAS),
        .unclean_leader_election = ask_bool(&a, META_UNCLEAN_LEADER_ELECTION),
    };
    fill_compression(&a, ret);
}

int32_t meta_min_isr(const struct meta_image *image, const struct meta_partition *p)
{
    struct asker a = {.image = image, .topic = p->topic};
    int32_t wanted = ask_int(&a, META_MIN_INSYNC_REPLICAS);
    int32_t replicas = (int32_t)p->replicas_count;
    return wanted < 1 ? 1 : wanted > replicas ? replicas : wanted;
}

bool meta_topic_strong(const struct meta_image *image, const struct meta_topic *topic)
{
    struct asker a = {.image = image, .topic = topic};
    return ask_long(&a, META_FLUSH_MESSAGES) == 1;
}

int meta_topic_configs_check(const struct meta_image *image, const struct meta_configs *configs,
                             const char **ret_why)
{
    struct meta_topic topic = {.configs = *configs};
    struct asker a = {.image = image, .topic = &topic};
    if (ask_long(&a, META_MIN_COMPACTION_LAG_MS) > ask_long(&a, META_MAX_COMPACTION_LAG_MS)) {
        *ret_why = "min.compaction.lag.ms cannot be above max.compaction.lag.ms";
        return -KB_EINVAL;
    }
    return 0;
}
