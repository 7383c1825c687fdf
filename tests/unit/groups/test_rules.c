/* What the transcripts cannot show: partitions by Java's hash, the clock that offsets expire by,
 * Kafka's bytes of records, topics by id, old versions, records nobody knows, cut subscriptions. */
#include "tests/unit/groups/toy.h"
#include "tests/unit/unit.h"

START_TEST(group_partition_for__is_javas_hash)
{
    ck_assert_int_eq(group_partition_for(KW_STR(""), 50), 0);
    ck_assert_int_eq(group_partition_for(KW_STR("a"), 50), 97 % 50);
    ck_assert_int_eq(group_partition_for(KW_STR("hello"), 1000), 99162322 % 1000);
    /* hashCode is Integer.MIN_VALUE, which has no absolute value */
    ck_assert_int_eq(group_partition_for(KW_STR("polygenelubricants"), 50), 0);
    /* two bytes of UTF-8, one unit; four bytes, a pair of surrogates */
    ck_assert_int_eq(group_partition_for(KW_STR("\xc3\xa9"), 1000), 0xe9);
    ck_assert_int_eq(group_partition_for(KW_STR("\xf0\x9f\x98\x80"), 1000),
                     (0xd83d * 31 + 0xde00) % 1000);
}
END_TEST

START_TEST(group_clock_read__takes_no_jumps)
{
    struct group_clock c = {0};
    ck_assert_int_eq(group_clock_read(&c, 100, 5000), 5000);
    ck_assert_int_le(group_clock_read(&c, 1100, 90000000), 6001);
    ck_assert_int_ge(group_clock_read(&c, 2100, -90000000), 6999);
    int64_t before = group_clock_read(&c, 2100, 0);
    ck_assert_int_eq(group_clock_read(&c, 2100, 90000000), before);
}
END_TEST

START_TEST(replay__ignores_what_is_not_ours)
{
    struct group_options o;
    group_options_init(&o);
    struct group_shard *s = group_shard_new(&o);
    const uint8_t consumer_group[] = {0, 3, 0, 1, 'g', 0};
    const uint8_t cut_key[] = {0, 2, 0, 9, 'g'};
    const uint8_t metadata_key[] = {0, 2, 0, 1, 'g'};
    const uint8_t later_value[] = {0, 99, 1, 2, 3};
    const uint8_t cut_value[] = {0, 3, 0};
    ck_assert_int_eq(group_shard_replay(s, kb_view_of(consumer_group, 6), kb_view_of("x", 1)),
                     GROUP_REPLAY_IGNORED);
    ck_assert_int_eq(group_shard_replay(s, kb_view_of(cut_key, 5), kb_view_of(NULL, 0)),
                     -KB_ECORRUPT);
    ck_assert_int_eq(group_shard_replay(s, kb_view_of("", 0), kb_view_of(NULL, 0)), -KB_ECORRUPT);
    ck_assert_int_eq(group_shard_replay(s, kb_view_of(metadata_key, 5), kb_view_of(later_value, 5)),
                     GROUP_REPLAY_IGNORED);
    ck_assert_int_eq(group_shard_replay(s, kb_view_of(metadata_key, 5), kb_view_of(cut_value, 3)),
                     -KB_ECORRUPT);
    (void)group_shard_free(s, KW_NONE, NULL);
}
END_TEST

START_TEST(records__have_kafkas_bytes)
{
    static const uint8_t key[] = {0, 1, 0, 1, 'g', 0, 1, 't', 0, 0, 0, 7};
    struct toy t;
    toy_init(&t);
    ck_assert_int_eq(toy_commit(&t, toy_client(&t, "c"), "t", 7, 5, "m"), KW_NONE);
    ck_assert_uint_eq(t.log_count, 1);
    ck_assert_uint_eq(t.log[0].key_size, sizeof(key));
    ck_assert_mem_eq(t.log[0].key, key, sizeof(key));
    ck_assert_uint_eq(kb_get_be16(t.log[0].value), 3);
    ck_assert_uint_eq(kb_get_be64(t.log[0].value + 2), 5);
    ck_assert_uint_eq(kb_get_be32(t.log[0].value + 10), UINT32_MAX);
    ck_assert_uint_eq(kb_get_be16(t.log[0].value + 14), 1);
    ck_assert_uint_eq(kb_get_be64(t.log[0].value + 17), 1000000);
    toy_release(&t);
}
END_TEST

START_TEST(prove__changes_nothing)
{
    struct toy t;
    struct group_effects fx;
    toy_init(&t);
    ck_assert_int_eq(toy_commit(&t, toy_client(&t, "c"), "t", 7, 5, "m"), KW_NONE);
    group_effects_init(&fx);
    group_shard_prove(t.shard, &fx);
    ck_assert_uint_eq(fx.records_count, 1);
    toy_run(&t, &fx);
    toy_judge(&t);
    ck_assert_int_eq(toy_fetch(&t, "g", "t", 7), 5);
    toy_release(&t);
}
END_TEST

/* One topic "t" of two partitions, whose id changes when it is made anew. */
static bool one_topic(void *arg, struct kw_str *name, struct kb_uuid *id, int32_t *ret_partitions)
{
    const struct kb_uuid *present = arg;
    if (name->data != NULL ? !kw_str_is(*name, "t") : !kb_uuid_equal(id, present))
        return false;
    *name = KW_STR("t");
    *id = *present;
    *ret_partitions = 2;
    return true;
}

START_TEST(fetch__leaves_out_offsets_of_a_former_topic)
{
    struct kb_uuid id = {{1}};
    struct toy t;
    toy_init(&t);
    t.options.topic = one_topic;
    t.options.topic_arg = &id;
    toy_take_over(&t);
    struct toy_client *c = toy_client(&t, "c");
    ck_assert_int_eq(toy_commit(&t, c, "t", 1, 5, ""), KW_NONE);
    ck_assert_int_eq(toy_commit(&t, c, "t", 2, 5, ""), KW_UNKNOWN_TOPIC_OR_PARTITION);
    ck_assert_int_eq(toy_commit(&t, c, "u", 0, 5, ""), KW_UNKNOWN_TOPIC_OR_PARTITION);
    ck_assert_int_eq(toy_fetch(&t, "g", "t", 1), 5);
    id.bytes[0] = 2;
    ck_assert_int_eq(toy_fetch(&t, "g", "t", 1), -1);
    ck_assert_int_eq(toy_commit(&t, c, "t", 1, 6, ""), KW_NONE);
    ck_assert_int_eq(toy_fetch(&t, "g", "t", 1), 6);
    toy_release(&t);
}
END_TEST

/* A topic was deleted while the shard loaded, or while nobody led: no handler heard of it. */
START_TEST(loaded__drops_offsets_of_topics_that_are_gone)
{
    struct kb_uuid id = {{1}};
    struct kb_buf dump = {0};
    struct toy t;
    toy_init(&t);
    ck_assert_int_eq(toy_commit(&t, toy_client(&t, "c"), "u", 0, 5, ""), KW_NONE);
    t.options.topic = one_topic;
    t.options.topic_arg = &id;
    toy_take_over(&t);
    ck_assert_int_eq(toy_commit(&t, toy_client(&t, "c"), "t", 1, 7, ""), KW_NONE);
    toy_wait(&t, 1);
    group_shard_dump(t.shard, &dump);
    kb_buf_append(&dump, "", 1);
    ck_assert_ptr_null(strstr((const char *)dump.data, "offset u-0"));
    ck_assert_ptr_nonnull(strstr((const char *)dump.data, "offset t-1=7"));
    dump.size = 0;
    id.bytes[0] = 2; /* made anew under its name */
    toy_take_over(&t);
    toy_wait(&t, 1);
    group_shard_dump(t.shard, &dump);
    ck_assert_uint_eq(dump.size, 0); /* nothing is left of the group */
    kb_buf_release(&dump);
    toy_release(&t);
}
END_TEST

START_TEST(memory__is_bounded_over_all_shards)
{
    struct group_memory memory = {.limit_bytes = 4000};
    struct toy a;
    struct toy b;
    toy_init(&a);
    toy_init(&b);
    a.options.memory = b.options.memory = &memory;
    toy_take_over(&a);
    toy_take_over(&b);
    int32_t count = 0;
    while (toy_commit(&a, toy_client(&a, "c"), "t", count, 5, "") == KW_NONE)
        ck_assert_int_lt(++count, 100);
    ck_assert_int_gt(count, 3);
    ck_assert_uint_le(memory.used_bytes, memory.limit_bytes);
    ck_assert_int_eq(toy_commit(&b, toy_client(&b, "c"), "t", 0, 5, ""),
                     KW_COORDINATOR_NOT_AVAILABLE);
    toy_release(&a);
    ck_assert_int_eq(toy_commit(&b, toy_client(&b, "c"), "t", 0, 5, ""), KW_NONE);
    toy_release(&b);
    ck_assert_uint_eq(memory.used_bytes, 0);
}
END_TEST

START_TEST(free__answers_what_is_parked)
{
    struct toy t;
    toy_init(&t);
    struct toy_client *c = toy_client(&t, "c");
    c->version = 3;
    toy_join(&t, c);
    ck_assert_uint_ne(c->waiting, 0);
    toy_take_over(&t);
    ck_assert_uint_eq(c->waiting, 0);
    ck_assert_int_eq(c->error, KW_NOT_COORDINATOR);
    toy_release(&t);
}
END_TEST

static enum kw_error delete_offset(struct toy *t, const char *topic)
{
    struct kw_offset_delete_request_partition partition = {.partition_index = 0};
    struct kw_offset_delete_request_topic asked = {
        .name = kw_str_of(topic), .partitions = &partition, .partitions_count = 1};
    struct kw_offset_delete_request req;
    struct kw_offset_delete_response resp;
    struct group_effects fx;
    struct kb_arena arena;
    kb_arena_init(&arena, 1 << 20);
    kw_offset_delete_request_init(&req);
    req.group_id = KW_STR("g");
    req.topics = &asked;
    req.topics_count = 1;
    group_effects_init(&fx);
    ck_assert_int_eq(group_shard_delete_offsets(t->shard, &req, &arena, &resp, &fx), 0);
    ck_assert_int_eq(resp.error_code, KW_NONE);
    enum kw_error error = (enum kw_error)resp.topics[0].partitions[0].error_code;
    toy_run(t, &fx);
    kb_arena_release(&arena);
    return error;
}

/* Only the topics are read of a subscription, as Kafka does: later fields may be cut. */
START_TEST(subscription__later_fields_do_not_matter)
{
    static const char text[] = {0, 1, 0, 0, 0, 1, 0, 1, 't', 0, 0, 0, 0}; /* no owned partitions */
    struct kw_join_group_request_protocol range = {.name = KW_STR("range"),
                                                   .metadata = kw_bytes_of(text, sizeof(text))};
    struct kw_join_group_request req;
    struct group_effects fx;
    struct toy t;
    toy_init(&t);
    struct toy_client *c = toy_client(&t, "c");
    struct group_caller caller = {.token = ++t.token,
                                  .version = 3, /* a new member is not sent back for its id */
                                  .client_id = KW_STR("c"),
                                  .client_host = KW_STR("localhost")};
    c->waiting = caller.token;
    kw_join_group_request_init(&req);
    req.group_id = KW_STR("g");
    req.session_timeout_ms = 30000;
    req.rebalance_timeout_ms = 30000;
    req.protocol_type = KW_STR("consumer");
    req.protocols = &range;
    req.protocols_count = 1;
    group_effects_init(&fx);
    group_shard_join(t.shard, toy_now(&t), &caller, &req, &fx);
    toy_run(&t, &fx);
    toy_wait(&t, 5000);
    ck_assert_int_eq(c->error, KW_NONE);
    ck_assert_int_eq(c->generation, 1);
    toy_sync(&t, c, NULL);
    ck_assert_int_eq(c->error, KW_NONE);
    ck_assert_int_eq(toy_commit(&t, c, "t", 0, 5, ""), KW_NONE);
    ck_assert_int_eq(toy_commit(&t, c, "u", 0, 5, ""), KW_NONE);
    ck_assert_int_eq(delete_offset(&t, "t"), KW_GROUP_SUBSCRIBED_TO_TOPIC);
    ck_assert_int_eq(delete_offset(&t, "u"), KW_NONE);
    ck_assert_int_eq(toy_fetch(&t, "g", "t", 0), 5);
    ck_assert_int_eq(toy_fetch(&t, "g", "u", 0), -1);
    toy_release(&t);
}
END_TEST

UNIT_MAIN("groups_rules", group_partition_for__is_javas_hash, group_clock_read__takes_no_jumps,
          replay__ignores_what_is_not_ours, records__have_kafkas_bytes, prove__changes_nothing,
          fetch__leaves_out_offsets_of_a_former_topic,
          loaded__drops_offsets_of_topics_that_are_gone, memory__is_bounded_over_all_shards,
          free__answers_what_is_parked, subscription__later_fields_do_not_matter)
