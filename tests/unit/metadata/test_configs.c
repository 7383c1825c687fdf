/* Scenario: topic configs are set on topics, as defaults of all brokers, in a node's file and at
 * founding; the highest that is set counts, and everybody is told where it comes from. */
#include "tests/unit/metadata/toy.h"
#include "tests/unit/unit.h"

#include <string.h>

static int value_check(const char *name, const char *value)
{
    struct kb_arena arena;
    const char *why = NULL;
    kb_arena_init(&arena, 4096);
    int key = meta_topic_key_find(name);
    ck_assert_int_ge(key, 0);
    int r = meta_topic_value_check((enum meta_topic_key)key, value, &arena, &why);
    ck_assert(r == 0 || why != NULL);
    kb_arena_release(&arena);
    return r;
}

START_TEST(value_check__limits)
{
    static const struct {
        const char *name;
        const char *value;
        bool good;
    } cases[] = {
        {"cleanup.policy", "delete", true},
        {"cleanup.policy", "compact,delete", true},
        {"cleanup.policy", "compact, delete", true},
        {"cleanup.policy", "", true},
        {"cleanup.policy", "keep", false},
        {"compression.type", "zstd", true},
        {"compression.type", "zstd,lz4", false},
        {"compression.gzip.level", "0", false},
        {"compression.gzip.level", "-1", true},
        {"compression.gzip.level", "10", false},
        {"compression.zstd.level", "-131072", true},
        {"retention.ms", "-1", true},
        {"retention.ms", "-2", false},
        {"retention.ms", "", false},
        {"retention.ms", "5 ", false},
        {"retention.ms", "9223372036854775808", false},
        {"retention.bytes", "-5", true},
        {"segment.bytes", "1048576", true},
        {"segment.bytes", "1048575", false},
        {"segment.bytes", "2147483648", false},
        {"min.cleanable.dirty.ratio", "0.25", true},
        {"min.cleanable.dirty.ratio", "1.5", false},
        {"min.cleanable.dirty.ratio", "nan", false},
        {"preallocate", "TRUE", true},
        {"preallocate", "1", false},
        {"min.insync.replicas", "0", false},
        {"message.timestamp.type", "LogAppendTime", true},
        {"message.timestamp.type", "logappendtime", false},
        {"flush.messages", "0", false},
        {"leader.replication.throttled.replicas", "*", true},
        {"leader.replication.throttled.replicas", "0:1,1:2", true},
        {"leader.replication.throttled.replicas", "0:1,1", false},
        {"remote.storage.enable", "true", false},
        {"remote.storage.enable", "false", true},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        ck_assert_msg((value_check(cases[i].name, cases[i].value) == 0) == cases[i].good, "%s=%s",
                      cases[i].name, cases[i].value);
    /* Every default is a good value, and every name is found by itself. */
    for (int i = 0; i < META_TOPIC_KEY_COUNT_; i++) {
        const struct meta_topic_key_info *info = meta_topic_key_info((enum meta_topic_key)i);
        ck_assert_int_eq(meta_topic_key_find(info->name), i);
        ck_assert_int_eq(value_check(info->name, info->default_value), 0);
    }
    ck_assert_int_eq(meta_topic_key_find("segment.byte"), -1);
    ck_assert_int_eq(meta_topic_key_find_broker("log.retention.ms"), META_RETENTION_MS);
}
END_TEST

START_TEST(value__highest_level_counts)
{
    struct toy *t = toy_up(3);
    struct meta_config_entry entries[] = {
        {(char *)(uintptr_t) "retention.ms", (char *)(uintptr_t) "300"},
        {(char *)(uintptr_t) "flush.messages", (char *)(uintptr_t) "99"}};
    struct meta_static_configs statics = {.entries = entries, .count = 2};
    enum meta_config_source source;
    const struct meta_topic *topic = toy_topic(t, "a", "1,2,3", NULL);
    ck_assert_str_eq(meta_topic_value(t->committed, topic, NULL, META_RETENTION_MS, &source),
                     "604800000");
    ck_assert_int_eq(source, META_SOURCE_DEFAULT);
    ck_assert_str_eq(meta_topic_value(t->committed, topic, &statics, META_RETENTION_MS, &source),
                     "300");
    ck_assert_int_eq(source, META_SOURCE_STATIC);
    ck_assert_int_eq(toy_set_config(t, NULL, "log.retention.ms", "200"), KW_NONE);
    ck_assert_str_eq(meta_topic_value(t->committed, topic, &statics, META_RETENTION_MS, &source),
                     "200");
    ck_assert_int_eq(source, META_SOURCE_DEFAULT_BROKER);
    ck_assert_int_eq(toy_set_config(t, "a", "retention.ms", "100"), KW_NONE);
    topic = meta_image_topic(t->committed, "a");
    ck_assert_str_eq(meta_topic_value(t->committed, topic, &statics, META_RETENTION_MS, &source),
                     "100");
    ck_assert_int_eq(source, META_SOURCE_TOPIC);
    /* 3.2: what decides about safety is the same on all nodes. */
    ck_assert_str_eq(meta_topic_value(t->committed, topic, &statics, META_FLUSH_MESSAGES, NULL),
                     "1");
    struct meta_config_line line;
    meta_config_describe(t->committed, topic, &statics, META_RETENTION_MS, &line);
    ck_assert_uint_eq(line.synonyms_count, 4);
    ck_assert_str_eq(line.synonyms[1].name, "log.retention.ms");
    ck_assert_str_eq(line.synonyms[1].value, "200");
    ck_assert_int_eq(line.synonyms[3].source, META_SOURCE_DEFAULT);
    (void)toy_free(t);
}
END_TEST

/* 3.2: the founding record rules, and without one the number of replicas. */
START_TEST(min_isr__by_founding_topic_and_replicas)
{
    struct toy *t = toy_up(3);
    (void)toy_topic(t, "one", "1", NULL);
    (void)toy_topic(t, "two", "1,2", NULL);
    (void)toy_topic(t, "three", "1,2,3", NULL);
    (void)toy_topic(t, "own", "1,2", "min.insync.replicas=5");
    ck_assert_int_eq(meta_min_isr(t->committed, toy_partition(t, "one", 0)), 1);
    ck_assert_int_eq(meta_min_isr(t->committed, toy_partition(t, "two", 0)), 1);
    ck_assert_int_eq(meta_min_isr(t->committed, toy_partition(t, "three", 0)), 2);
    ck_assert_int_eq(meta_min_isr(t->committed, toy_partition(t, "own", 0)), 2);
    (void)toy_free(t);

    struct meta_image *image = meta_image_new();
    struct meta_records records = {0};
    struct meta_config_entry entry = {(char *)(uintptr_t) "min.insync.replicas",
                                      (char *)(uintptr_t) "1"};
    struct meta_voter voter = {.id = 1, .host = (char *)(uintptr_t) "h", .port = 1};
    struct meta_founding founding = {.cluster_id = "c",
                                     .voters = &voter,
                                     .voters_count = 1,
                                     .topic_configs = &entry,
                                     .topic_configs_count = 1};
    meta_records_add_founding(&records, &founding);
    for (size_t i = 0; i < records.count; i++)
        ck_assert_int_eq(meta_image_apply(image, i + 1, 1, meta_records_at(&records, i), NULL), 0);
    ck_assert_str_eq(meta_topic_value(image, NULL, NULL, META_MIN_INSYNC_REPLICAS, NULL), "1");
    meta_records_release(&records);
    (void)meta_image_free(image);
}
END_TEST

START_TEST(log_config__is_typed)
{
    struct toy *t = toy_up(1);
    struct meta_log_config c;
    (void)toy_topic(t, "a", "1", "cleanup.policy=compact,compression.type=zstd,segment.ms=5");
    (void)toy_set_config(t, "a", "message.timestamp.type", "LogAppendTime");
    meta_log_config(t->committed, meta_image_topic(t->committed, "a"), NULL, &c);
    ck_assert(c.cleanup_compact && !c.cleanup_delete);
    ck_assert_int_eq(c.compression, 4);
    ck_assert_int_eq(c.compression_level, 3);
    ck_assert_int_eq(c.segment_ms, 5);
    ck_assert_int_eq(c.timestamp_type, META_LOG_APPEND_TIME);
    ck_assert_int_eq(c.flush_messages, 1);
    ck_assert_int_eq(c.flush_ms, INT64_MAX);
    ck_assert_int_eq(c.max_message_bytes, 1048588);
    meta_log_config(t->committed, NULL, NULL, &c);
    ck_assert(!c.cleanup_compact && c.cleanup_delete);
    ck_assert_int_eq(c.compression, -1);
    (void)toy_free(t);
}
END_TEST

static int16_t incremental(struct toy *t, int8_t op, const char *name, const char *value)
{
    struct kw_incremental_alter_configs_request_config config = {
        .name = kw_str_of(name), .value = kw_str_of(value), .config_operation = op};
    struct kw_incremental_alter_configs_request_resource resource = {
        .resource_type = 2, .resource_name = KW_STR("a"), .configs = &config, .configs_count = 1};
    struct kw_incremental_alter_configs_request req = {.resources = &resource,
                                                       .resources_count = 1};
    struct kw_incremental_alter_configs_response resp;
    ck_assert_int_eq(
        meta_controller_incremental_alter_configs(t->c, &req, &t->arena, &t->result, &resp), 0);
    (void)toy_commit(t);
    return resp.responses[0].error_code;
}

static const char *set_on(struct toy *t, const char *name)
{
    const char *v = meta_configs_get(&meta_image_topic(t->committed, "a")->configs, name);
    return v != NULL ? v : "-";
}

START_TEST(incremental__operations)
{
    struct toy *t = toy_up(1);
    (void)toy_topic(t, "a", "1", NULL);
    ck_assert_int_eq(incremental(t, 0, "retention.ms", "5"), KW_NONE);
    ck_assert_str_eq(set_on(t, "retention.ms"), "5");
    ck_assert_int_eq(incremental(t, 1, "retention.ms", NULL), KW_NONE);
    ck_assert_str_eq(set_on(t, "retention.ms"), "-");
    ck_assert_int_eq(incremental(t, 2, "cleanup.policy", "compact"), KW_NONE);
    ck_assert_str_eq(set_on(t, "cleanup.policy"), "delete,compact");
    ck_assert_int_eq(incremental(t, 2, "cleanup.policy", "compact"), KW_NONE);
    ck_assert_str_eq(set_on(t, "cleanup.policy"), "delete,compact");
    ck_assert_int_eq(incremental(t, 3, "cleanup.policy", "delete"), KW_NONE);
    ck_assert_str_eq(set_on(t, "cleanup.policy"), "compact");
    ck_assert_int_eq(incremental(t, 2, "retention.ms", "7"), KW_INVALID_CONFIG);
    ck_assert_int_eq(incremental(t, 9, "cleanup.policy", "compact"), KW_INVALID_REQUEST);
    ck_assert_int_eq(incremental(t, 0, "retention.ms", NULL), KW_INVALID_REQUEST);
    ck_assert_int_eq(incremental(t, 0, "retention.ms", "x"), KW_INVALID_CONFIG);
    ck_assert_int_eq(incremental(t, 0, "nonsense", "x"), KW_INVALID_CONFIG);
    ck_assert_int_eq(incremental(t, 1, "nonsense", NULL), KW_NONE);
    ck_assert_int_eq(incremental(t, 1, "", "x"), KW_NONE);
    ck_assert_int_eq(incremental(t, 2, "nonsense", "x"), KW_INVALID_CONFIG);
    ck_assert_int_eq(incremental(t, 0, "max.compaction.lag.ms", "5"), KW_NONE);
    ck_assert_int_eq(incremental(t, 0, "min.compaction.lag.ms", "6"), KW_INVALID_CONFIG);
    (void)toy_free(t);
}
END_TEST

/* White space around a value is no part of it, and it is kept and shown in its plain form. */
START_TEST(incremental__tidies_values)
{
    static const struct {
        const char *name;
        const char *value;
        const char *kept; /* NULL = refused */
    } cases[] = {
        {"retention.ms", "  1000 ", "1000"},
        {"retention.ms", "\t+07\n", "7"},
        {"retention.ms", "1 000", NULL},
        {"retention.ms", " ", NULL},
        {"segment.bytes", " 2000000 ", "2000000"},
        {"preallocate", " TRUE ", "true"},
        {"preallocate", "False", "false"},
        {"preallocate", "tru e", NULL},
        {"min.cleanable.dirty.ratio", " 0.5 ", "0.5"},
        {"compression.type", " gzip ", "gzip"},
        {"compression.type", "g zip", NULL},
        {"cleanup.policy", " compact , delete ", "compact,delete"},
        {"cleanup.policy", " ", ""},
        {"cleanup.policy", "compact,", NULL},
        {"cleanup.policy", ",compact", NULL},
        {"cleanup.policy", "compact , ", NULL},
    };
    struct toy *t = toy_up(1);
    (void)toy_topic(t, "a", "1", NULL);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        int16_t expected = cases[i].kept != NULL ? KW_NONE : KW_INVALID_CONFIG;
        ck_assert_msg(incremental(t, 0, cases[i].name, cases[i].value) == expected, "%s=[%s]",
                      cases[i].name, cases[i].value);
        if (cases[i].kept != NULL)
            ck_assert_str_eq(set_on(t, cases[i].name), cases[i].kept);
    }
    ck_assert_int_eq(incremental(t, 0, "cleanup.policy", "delete"), KW_NONE);
    ck_assert_int_eq(incremental(t, 2, "cleanup.policy", " delete , compact"), KW_NONE);
    ck_assert_str_eq(set_on(t, "cleanup.policy"), "delete,compact");
    /* So for a new topic. */
    const struct meta_topic *b = toy_topic(t, "b", "1", "retention.ms= 5 ");
    ck_assert_str_eq(meta_configs_get(&b->configs, "retention.ms"), "5");
    (void)toy_free(t);
}
END_TEST

START_TEST(incremental__resources)
{
    struct toy *t = toy_up(3);
    ck_assert_int_eq(toy_set_config(t, "none", "retention.ms", "1"), KW_UNKNOWN_TOPIC_OR_PARTITION);
    ck_assert_int_eq(toy_set_config(t, "no name", "retention.ms", "1"), KW_INVALID_TOPIC_EXCEPTION);
    ck_assert_int_eq(toy_set_config(t, "", "retention.ms", "1"), KW_INVALID_REQUEST);
    ck_assert_int_eq(toy_set_config(t, NULL, "retention.ms", "1"), KW_INVALID_CONFIG);
    ck_assert_int_eq(toy_set_config(t, NULL, "num.io.threads", "1"), KW_INVALID_CONFIG);
    ck_assert_int_eq(toy_set_config(t, NULL, "num.io.threads", NULL), KW_NONE);
    ck_assert_int_eq(toy_set_config(t, "none", "nonsense", NULL), KW_UNKNOWN_TOPIC_OR_PARTITION);
    ck_assert_int_eq(toy_set_config(t, NULL, "log.retention.ms", "1"), KW_NONE);
    ck_assert_int_eq(toy_set_config(t, NULL, "log.retention.ms", NULL), KW_NONE);
    ck_assert_ptr_null(meta_image_resource_configs(t->committed, META_RESOURCE_BROKER, ""));
    (void)toy_free(t);
}
END_TEST

/* The old AlterConfigs replaces all configs of the resource. */
START_TEST(alter_configs__replaces)
{
    struct toy *t = toy_up(1);
    (void)toy_topic(t, "a", "1", "retention.ms=5,segment.ms=7");
    struct kw_alter_configs_request_config config = {.name = KW_STR("segment.ms"),
                                                     .value = KW_STR("8")};
    struct kw_alter_configs_request_resource resource = {
        .resource_type = 2, .resource_name = KW_STR("a"), .configs = &config, .configs_count = 1};
    struct kw_alter_configs_request req = {
        .resources = &resource, .resources_count = 1, .validate_only = true};
    struct kw_alter_configs_response resp;
    ck_assert_int_eq(meta_controller_alter_configs(t->c, &req, &t->arena, &t->result, &resp), 0);
    ck_assert_uint_eq(toy_commit(t), 0);
    req.validate_only = false;
    ck_assert_int_eq(meta_controller_alter_configs(t->c, &req, &t->arena, &t->result, &resp), 0);
    ck_assert_uint_eq(toy_commit(t), 2);
    ck_assert_int_eq(resp.responses[0].error_code, KW_NONE);
    ck_assert_str_eq(set_on(t, "segment.ms"), "8");
    ck_assert_str_eq(set_on(t, "retention.ms"), "-");
    (void)toy_free(t);
}
END_TEST

/* A resource named twice is left alone; the others are changed. */
START_TEST(alter_configs__repeated)
{
    struct toy *t = toy_up(1);
    static const char *const names[] = {"a", "b", "a"};
    struct kw_alter_configs_request_config config = {.name = KW_STR("segment.ms"),
                                                     .value = KW_STR("8")};
    struct kw_incremental_alter_configs_request_config set = {.name = KW_STR("retention.ms"),
                                                              .value = KW_STR("9")};
    struct kw_alter_configs_request_resource old[3];
    struct kw_incremental_alter_configs_request_resource new[3];
    struct kw_alter_configs_request req = {.resources = old, .resources_count = 3};
    struct kw_incremental_alter_configs_request inc = {.resources = new, .resources_count = 3};
    struct kw_alter_configs_response resp;
    struct kw_incremental_alter_configs_response inc_resp;
    (void)toy_topic(t, "a", "1", NULL);
    (void)toy_topic(t, "b", "1", NULL);
    for (int i = 0; i < 3; i++) {
        old[i] = (struct kw_alter_configs_request_resource){.resource_type = 2,
                                                            .resource_name = kw_str_of(names[i]),
                                                            .configs = &config,
                                                            .configs_count = 1};
        new[i] = (struct kw_incremental_alter_configs_request_resource){
            .resource_type = 2,
            .resource_name = kw_str_of(names[i]),
            .configs = &set,
            .configs_count = 1};
    }
    ck_assert_int_eq(meta_controller_alter_configs(t->c, &req, &t->arena, &t->result, &resp), 0);
    ck_assert_uint_eq(toy_commit(t), 1);
    ck_assert_int_eq(
        meta_controller_incremental_alter_configs(t->c, &inc, &t->arena, &t->result, &inc_resp), 0);
    ck_assert_uint_eq(toy_commit(t), 1);
    ck_assert_int_eq(resp.responses_count, 3);
    ck_assert_int_eq(inc_resp.responses_count, 3);
    for (int i = 0; i < 3; i++) {
        ck_assert_int_eq(resp.responses[i].error_code, i == 1 ? KW_NONE : KW_INVALID_REQUEST);
        ck_assert_int_eq(inc_resp.responses[i].error_code, i == 1 ? KW_NONE : KW_INVALID_REQUEST);
    }
    ck_assert_uint_eq(meta_image_topic(t->committed, "a")->configs.count, 0);
    ck_assert_uint_eq(meta_image_topic(t->committed, "b")->configs.count, 2);
    (void)toy_free(t);
}
END_TEST

UNIT_MAIN("configs", value_check__limits, value__highest_level_counts,
          min_isr__by_founding_topic_and_replicas, log_config__is_typed, incremental__operations,
          incremental__tidies_values, incremental__resources, alter_configs__replaces,
          alter_configs__repeated)
