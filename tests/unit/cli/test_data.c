/* produce, consume and demo, without a cluster: where keyed records go, how records are printed,
 * who of a group reads what, and how a demo's samples are summed up. */
#include "broker/cli/assign.h"
#include "broker/cli/demo.h"
#include "broker/cli/format.h"
#include "broker/cli/partitioner.h"
#include "broker/cli/produce.h"
#include "tests/unit/unit.h"

/* ---- keys ---- */

/* The values of Apache Kafka's own UtilsTest. */
START_TEST(murmur2__as_kafkas_java_client)
{
    static const struct {
        const char *key;
        int32_t hash;
    } known[] = {
        {"21", -973932308},
        {"foobar", -790332482},
        {"a-little-bit-long-string", -985981536},
        {"a-little-bit-longer-string", -1486304829},
        {"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971},
        {"abc", 479470107},
    };
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
        ck_assert_int_eq((int32_t)cli_murmur2(known[i].key, strlen(known[i].key)), known[i].hash);
}
END_TEST

START_TEST(key_partition__is_within_bounds)
{
    ck_assert_int_eq(cli_key_partition("21", 2, 1), 0);
    /* A negative hash loses its sign before it is divided. */
    ck_assert_int_eq(cli_key_partition("21", 2, 12), (-973932308 & 0x7fffffff) % 12);
    for (int32_t i = 0; i < 1000; i++) {
        int32_t p = cli_key_partition(&i, sizeof(i), 7);
        ck_assert(p >= 0 && p < 7);
    }
}
END_TEST

/* ---- formats ---- */

static const struct kw_record record = {.offset = 42,
                                        .timestamp = 1700000000123,
                                        .key = {(const uint8_t *)"k", 1},
                                        .value = {(const uint8_t *)"v\n", 2}};

static void check_format(const char *text, const char *expected, size_t size)
{
    char *got = NULL;
    size_t got_size = 0;
    struct cli_format *f = cli_format_new(text);
    ck_assert_ptr_nonnull(f);
    FILE *out = open_memstream(&got, &got_size);
    cli_format_print(f, "orders", 3, &record, out);
    (void)fclose(out);
    ck_assert_uint_eq(got_size, size);
    ck_assert(memcmp(got, expected, size) == 0);
    free(got);
    (void)cli_format_free(f);
}

START_TEST(format__verbs_and_escapes)
{
    check_format("%v\\n", "v\n\n", 3);
    check_format("%t-%p@%o %k=%v %d", "orders-3@42 k=v\n 1700000000123", 30);
    check_format("100%% \\\\ \\t\\r\\x41\\0|", "100% \\ \t\rA\0|", 12);
    check_format("[%h]", "[]", 2);
    check_format("", "", 0);
}
END_TEST

START_TEST(format__refuses_what_it_does_not_know)
{
    ck_assert_ptr_null(cli_format_new("%z"));
    ck_assert_ptr_null(cli_format_new("half %"));
    ck_assert_ptr_null(cli_format_new("\\q"));
    ck_assert_ptr_null(cli_format_new("\\x4"));
    ck_assert_ptr_null(cli_format_new("end \\"));
    char many[2 * 300 + 1] = "";
    for (size_t i = 0; i < 300; i++)
        memcpy(many + 2 * i, "%v", 3);
    ck_assert_ptr_null(cli_format_new(many));
}
END_TEST

static json_t *to_json(const struct kw_record *r)
{
    char *got = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&got, &size);
    cli_record_json_print("orders", 3, r, out);
    (void)fclose(out);
    ck_assert_ptr_eq(strchr(got, '\n'), got + size - 1); /* one line */
    json_t *o = json_loads(got, 0, NULL);
    free(got);
    ck_assert_ptr_nonnull(o);
    return o;
}

START_TEST(json__bytes_that_are_no_text)
{
    static const uint8_t bytes[] = {0xff, 0xfe, 'a', 0};
    struct kw_record r = record;
    r.key = kw_bytes_of(NULL, 0);
    r.value = kw_bytes_of(bytes, sizeof(bytes));
    json_t *o = to_json(&r);
    ck_assert(json_is_null(json_object_get(o, "key")));
    ck_assert_ptr_null(json_object_get(o, "value"));
    ck_assert_str_eq(json_string_value(json_object_get(o, "value_base64")), "//5hAA==");
    ck_assert_int_eq(json_integer_value(json_object_get(o, "schema_version")), 1);
    ck_assert_int_eq(json_integer_value(json_object_get(o, "offset")), 42);
    json_decref(o);
    o = to_json(&record);
    ck_assert_str_eq(json_string_value(json_object_get(o, "value")), "v\n");
    json_decref(o);
}
END_TEST

/* ---- options ---- */

static int parse(const char *const *words_given, struct cli_args *ret)
{
    char *const *argv = (char *const *)(uintptr_t)words_given;
    int argc = 0;
    int words = 0;
    while (argv[argc] != NULL)
        argc++;
    const struct cli_command *c = cli_command_find(argc, argv, &words);
    ck_assert_ptr_nonnull(c);
    return cli_args_parse(c, argc - words + 1, argv + words - 1, ret);
}

START_TEST(parse__produce)
{
    const char *argv[] = {"produce", "-p", "3",  "-a",      "all",  "-K",     ":", "-H",
                          "a=1",     "-H", "b=", "--codec", "zstd", "orders", NULL};
    const char *acks[] = {"produce", "-a", "2", "orders", NULL};
    const char *header[] = {"produce", "-H", "novalue", "orders", NULL};
    const char *topic[] = {"produce", NULL};
    struct cli_args a;
    ck_assert_int_eq(parse(argv, &a), CLI_OK);
    ck_assert_int_eq(a.partition, 3);
    ck_assert_int_eq(a.acks, -1);
    ck_assert_str_eq(a.key_separator, ":");
    ck_assert_uint_eq(a.headers_count, 2);
    ck_assert_str_eq(a.codec, "zstd");
    ck_assert_int_eq(parse(acks, &a), CLI_USAGE);
    ck_assert_int_eq(parse(header, &a), CLI_USAGE);
    ck_assert_int_eq(parse(topic, &a), CLI_USAGE);
}
END_TEST

static void check_offset(const char *text, int64_t offset, int64_t last)
{
    const char *argv[] = {"consume", "-O", text, "orders", NULL};
    struct cli_args a;
    ck_assert_int_eq(parse(argv, &a), CLI_OK);
    ck_assert_int_eq(a.offset, offset);
    ck_assert_int_eq(a.last, last);
}

START_TEST(parse__consume)
{
    const char *bad[] = {"consume", "-O", "-0", "orders", NULL};
    const char *zero[] = {"consume", "-n", "0", "orders", NULL};
    const char *both[] = {"consume", "-G", "g", "-P", "1", "orders", NULL};
    const char *time[] = {"consume", "--from-timestamp", "yesterday", "orders", NULL};
    const char *two[] = {"consume", "--from-timestamp", "5", "-O", "5", "orders", NULL};
    struct cli_args a;
    check_offset("beginning", -2, 0);
    check_offset("end", -1, 0);
    check_offset("17", 17, 0);
    check_offset("-17", -2, 17);
    ck_assert_int_eq(parse(bad, &a), CLI_USAGE);
    ck_assert_int_eq(parse(zero, &a), CLI_USAGE);
    ck_assert_int_eq(parse(both, &a), CLI_OK);
    ck_assert_int_eq(cli_consume(&a), CLI_USAGE);
    ck_assert_int_eq(parse(time, &a), CLI_OK);
    ck_assert_int_eq(cli_consume(&a), CLI_USAGE);
    ck_assert_int_eq(parse(two, &a), CLI_OK);
    ck_assert_int_eq(cli_consume(&a), CLI_USAGE);
}
END_TEST

START_TEST(parse__demo)
{
    const char *argv[] = {"demo", "--script", "kill-leader", "--rounds", "7", NULL};
    const char *script[] = {"demo", "--script", "dance", NULL};
    struct cli_args a;
    ck_assert_int_eq(parse(argv, &a), CLI_OK);
    ck_assert_int_eq(a.rounds, 7);
    ck_assert_int_eq(a.max_failover_ms, 500);
    ck_assert_int_eq(parse(script, &a), CLI_OK);
    ck_assert_int_eq(cli_demo(&a), CLI_USAGE);
}
END_TEST

/* ---- groups ---- */

struct shares {
    int32_t owners[2][8];
    int32_t *rows[2];
};

static void share(void (*fn)(const struct cli_assign_topic *, size_t,
                             const struct cli_assign_member *, size_t, int32_t *const *),
                  const struct cli_assign_topic *topics, const bool wants[][2], size_t members,
                  struct shares *ret)
{
    struct cli_assign_member list[4];
    for (size_t i = 0; i < members; i++)
        list[i] = (struct cli_assign_member){"m", wants[i]};
    for (size_t i = 0; i < 2; i++)
        ret->rows[i] = ret->owners[i];
    fn(topics, 2, list, members, ret->rows);
}

static const struct cli_assign_topic two_topics[] = {{"a", 5}, {"b", 3}};

START_TEST(assign__range_gives_runs)
{
    static const bool all[][2] = {{true, true}, {true, true}};
    static const int32_t a[] = {0, 0, 0, 1, 1};
    static const int32_t b[] = {0, 0, 1};
    struct shares s;
    share(cli_assign_range, two_topics, all, 2, &s);
    ck_assert(memcmp(s.owners[0], a, sizeof(a)) == 0);
    ck_assert(memcmp(s.owners[1], b, sizeof(b)) == 0);
}
END_TEST

START_TEST(assign__round_robin_goes_on_over_topics)
{
    static const bool all[][2] = {{true, true}, {true, true}};
    static const int32_t a[] = {0, 1, 0, 1, 0};
    static const int32_t b[] = {1, 0, 1};
    struct shares s;
    share(cli_assign_round_robin, two_topics, all, 2, &s);
    ck_assert(memcmp(s.owners[0], a, sizeof(a)) == 0);
    ck_assert(memcmp(s.owners[1], b, sizeof(b)) == 0);
}
END_TEST

START_TEST(assign__only_who_wants)
{
    static const bool some[][2] = {{true, false}, {true, false}, {false, false}};
    static const int32_t nobody[] = {-1, -1, -1};
    struct shares s;
    share(cli_assign_range, two_topics, some, 3, &s);
    ck_assert_int_eq(s.owners[0][4], 1);
    ck_assert(memcmp(s.owners[1], nobody, sizeof(nobody)) == 0);
    share(cli_assign_round_robin, two_topics, some, 3, &s);
    ck_assert_int_eq(s.owners[0][4], 0);
    ck_assert(memcmp(s.owners[1], nobody, sizeof(nobody)) == 0);
}
END_TEST

/* ---- words and numbers ---- */

START_TEST(leavers__in_words)
{
    Kvorum__StatusReplica one = KVORUM__STATUS_REPLICA__INIT;
    Kvorum__StatusReplica two = KVORUM__STATUS_REPLICA__INIT;
    Kvorum__StatusReplica in = KVORUM__STATUS_REPLICA__INIT;
    Kvorum__StatusReplica *list[] = {&one, &in, &two};
    Kvorum__StatusPartition p = KVORUM__STATUS_PARTITION__INIT;
    struct kb_buf text = {0};
    char lagging[] = "lagging";
    one.node_id = 1;
    one.left_age_ms = 4100;
    one.left_reason = two.left_reason = lagging;
    two.node_id = 2;
    two.left_age_ms = 3800;
    in.in_isr = true;
    p.peers = list;
    p.n_peers = 3;
    cli_produce_leavers(&p, &text);
    kb_buf_append(&text, "", 1);
    ck_assert_str_eq((const char *)text.data,
                     " Nodes 1 and 2 left the ISR 4.1 s and 3.8 s ago (no fetch).");
    kb_buf_release(&text);
}
END_TEST

START_TEST(percentile__nearest_rank)
{
    uint64_t v[100];
    for (uint64_t i = 0; i < 100; i++)
        v[i] = i + 1;
    ck_assert_uint_eq(demo_percentile(v, 100, 50), 50);
    ck_assert_uint_eq(demo_percentile(v, 100, 99), 99);
    ck_assert_uint_eq(demo_percentile(v, 100, 100), 100);
    ck_assert_uint_eq(demo_percentile(v, 3, 50), 2);
    ck_assert_uint_eq(demo_percentile(v, 3, 99), 3);
    ck_assert_uint_eq(demo_percentile(v, 1, 1), 1);
    ck_assert_uint_eq(demo_percentile(v, 1, 0), 1);
    ck_assert_uint_eq(demo_percentile(v, 0, 50), 0);
}
END_TEST

UNIT_MAIN("cli_data", murmur2__as_kafkas_java_client, key_partition__is_within_bounds,
          format__verbs_and_escapes, format__refuses_what_it_does_not_know,
          json__bytes_that_are_no_text, parse__produce, parse__consume, parse__demo,
          assign__range_gives_runs, assign__round_robin_goes_on_over_topics, assign__only_who_wants,
          leavers__in_words, percentile__nearest_rank)
