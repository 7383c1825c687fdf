/* What people type and read: numbers, times, lists of partitions, similar words, tables, JSON; and
 * where a reset would set offsets. */
#include "broker/cli/group.h"
#include "tests/unit/unit.h"

static struct cli_args to_text(char **text, size_t *size)
{
    struct cli_args a = {.out = open_memstream(text, size)};
    return a;
}

/* ---- reading ----------------------------------------------------------------------------------
 */

START_TEST(parse_number__whole_and_in_bounds)
{
    int64_t v = -7;
    ck_assert(cli_parse_number("12", 0, 100, &v) && v == 12);
    ck_assert(cli_parse_number("-12", -20, 100, &v) && v == -12);
    ck_assert(!cli_parse_number("101", 0, 100, &v));
    ck_assert(!cli_parse_number("", 0, 100, &v));
    ck_assert(!cli_parse_number(" 5", 0, 100, &v));
    ck_assert(!cli_parse_number("5x", 0, 100, &v));
    ck_assert(!cli_parse_number("99999999999999999999", 0, INT64_MAX, &v));
    ck_assert_int_eq(v, -12);
}
END_TEST

START_TEST(parse_millis__units)
{
    int64_t v = 0;
    ck_assert(cli_parse_millis("5s", &v) && v == 5000);
    ck_assert(cli_parse_millis("5", &v) && v == 5000);
    ck_assert(cli_parse_millis("250ms", &v) && v == 250);
    ck_assert(cli_parse_millis("2m", &v) && v == 120000);
    ck_assert(cli_parse_millis("1h", &v) && v == 3600000);
    ck_assert(!cli_parse_millis("0", &v));
    ck_assert(!cli_parse_millis("5 s", &v));
    ck_assert(!cli_parse_millis("-5s", &v));
    ck_assert(!cli_parse_millis("s", &v));
    ck_assert(!cli_parse_millis("99999999999s", &v));
}
END_TEST

START_TEST(parse_datetime__forms)
{
    int64_t v = 0;
    ck_assert(cli_parse_datetime("1970-01-01T00:00:00Z", &v) && v == 0);
    ck_assert(cli_parse_datetime("1970-01-02", &v) && v == 86400000);
    ck_assert(cli_parse_datetime("1970-01-01 00:01", &v) && v == 60000);
    ck_assert(cli_parse_datetime("2026-01-31T12:00:00.5Z", &v) && v == 1769860800500);
    ck_assert(cli_parse_datetime("2026-01-31T12:00:00.123+01:00", &v) && v == 1769857200123);
    ck_assert(cli_parse_datetime("2026-01-31T12:00:00-0530", &v) && v == 1769880600000);
    ck_assert(cli_parse_datetime("2024-02-29", &v));
    ck_assert(!cli_parse_datetime("2026-02-29", &v));
    ck_assert(!cli_parse_datetime("2026-13-01", &v));
    ck_assert(!cli_parse_datetime("2026-01-31T24:30", &v));
    ck_assert(!cli_parse_datetime("2026-01-31T12:00:61", &v));
    ck_assert(!cli_parse_datetime("2026-01-31T12", &v));
    ck_assert(!cli_parse_datetime("2026-01-31T12:00:00x", &v));
    ck_assert(!cli_parse_datetime("2026-01-31T12:00:00+25:00", &v));
    ck_assert(!cli_parse_datetime("yesterday", &v));
}
END_TEST

static void collect(void *arg, struct kw_str topic, int32_t partition)
{
    kb_buf_printf(arg, "%.*s/%d ", CLI_STR(topic), partition);
}

static void check_topic(const char *text, const char *expected)
{
    struct kb_buf got = {0};
    bool good = cli_parse_topic(text, collect, &got);
    ck_assert_int_eq(good, expected != NULL);
    kb_buf_append(&got, "", 1);
    if (expected != NULL)
        ck_assert_str_eq((const char *)got.data, expected);
    kb_buf_release(&got);
}

START_TEST(parse_topic__lists_and_ranges)
{
    check_topic("orders", "orders/-1 ");
    check_topic("orders:3", "orders/3 ");
    check_topic("orders:0,2,5-7", "orders/0 orders/2 orders/5 orders/6 orders/7 ");
    check_topic("", NULL);
    check_topic(":1", NULL);
    check_topic("orders:", NULL);
    check_topic("orders:1,", NULL);
    check_topic("orders:x", NULL);
    check_topic("orders:-1", NULL);
    check_topic("orders:7-5", NULL);
    check_topic("orders:0-99999999", NULL);
}
END_TEST

static const char *nearest(const char *word)
{
    static const char *const words[] = {"status", "health", "topic", "group", "quorum"};
    struct cli_nearest n = {.word = word};
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
        cli_nearest_offer(&n, words[i]);
    return n.best;
}

START_TEST(nearest__similar_words_only)
{
    ck_assert_str_eq(nearest("statsu"), "status");
    ck_assert_str_eq(nearest("topics"), "topic");
    ck_assert_str_eq(nearest("grp"), "group");
    ck_assert_ptr_null(nearest("elephant"));
    ck_assert_ptr_null(nearest(""));
    ck_assert_ptr_null(nearest("x"));
    char word[200];
    memset(word, 'q', sizeof(word));
    word[sizeof(word) - 1] = '\0';
    ck_assert_ptr_null(nearest(word));
}
END_TEST

/* ---- resets -----------------------------------------------------------------------------------
 */

START_TEST(reset__stays_within_the_log)
{
    struct cli_group_row row = {.committed = 50, .log_start = 10, .log_end = 100};
    ck_assert_int_eq(cli_reset_target(CLI_RESET_EARLIEST, 0, -1, &row), 10);
    ck_assert_int_eq(cli_reset_target(CLI_RESET_LATEST, 0, -1, &row), 100);
    ck_assert_int_eq(cli_reset_target(CLI_RESET_OFFSET, 70, -1, &row), 70);
    ck_assert_int_eq(cli_reset_target(CLI_RESET_OFFSET, 3, -1, &row), 10);
    ck_assert_int_eq(cli_reset_target(CLI_RESET_OFFSET, 300, -1, &row), 100);
    ck_assert_int_eq(cli_reset_target(CLI_RESET_SHIFT, -5, -1, &row), 45);
    ck_assert_int_eq(cli_reset_target(CLI_RESET_SHIFT, -500, -1, &row), 10);
    ck_assert_int_eq(cli_reset_target(CLI_RESET_SHIFT, INT64_MAX, -1, &row), 100);
    ck_assert_int_eq(cli_reset_target(CLI_RESET_SHIFT, INT64_MIN + 1, -1, &row), 10);
    ck_assert_int_eq(cli_reset_target(CLI_RESET_DATETIME, 0, 42, &row), 42);
    /* Nothing is that young: only what is to come. */
    ck_assert_int_eq(cli_reset_target(CLI_RESET_DATETIME, 0, -1, &row), 100);
}
END_TEST

START_TEST(reset__what_cannot_be_told)
{
    struct cli_group_row nothing = {.committed = -1, .log_start = 0, .log_end = 9};
    struct cli_group_row no_leader = {.committed = 5, .log_start = -1, .log_end = -1};
    ck_assert_int_eq(cli_reset_target(CLI_RESET_SHIFT, -5, -1, &nothing), -1);
    ck_assert_int_eq(cli_reset_target(CLI_RESET_OFFSET, 4, -1, &nothing), 4);
    ck_assert_int_eq(cli_reset_target(CLI_RESET_LATEST, 0, -1, &no_leader), -1);
}
END_TEST

START_TEST(group_rows__are_found_and_sorted)
{
    struct cli_group g = {0};
    for (int32_t i = 20; i-- > 0;) {
        cli_group_row(&g, i % 2 == 0 ? KW_STR("b") : KW_STR("a"), i / 2)->committed = i;
    }
    ck_assert_uint_eq(g.count, 20);
    ck_assert_int_eq(cli_group_row(&g, KW_STR("a"), 3)->committed, 7);
    ck_assert_uint_eq(g.count, 20);
    cli_group_sort(&g);
    ck_assert(kw_str_is(g.rows[0].topic, "a") && g.rows[0].partition == 0);
    ck_assert(kw_str_is(g.rows[19].topic, "b") && g.rows[19].partition == 9);
    cli_group_release(&g);
}
END_TEST

/* ---- printing ---------------------------------------------------------------------------------
 */

START_TEST(table__headers_and_alignment)
{
    static const char *const columns[] = {"NAME", ">COUNT", NULL};
    char *text = NULL;
    size_t size = 0;
    struct cli_args a = to_text(&text, &size);
    struct libscols_table *t = cli_table_new(&a, columns);
    cli_table_row(t, "%s\t%d", "orders", 7);
    cli_table_print(t);
    (void)fclose(a.out);
    ck_assert_str_eq(text, "NAME   COUNT\norders     7\n");
    free(text);
    a = to_text(&text, &size);
    a.no_headers = true;
    t = cli_table_new(&a, columns);
    cli_table_row(t, "%s\t%d", "orders", 7);
    cli_table_print(t);
    (void)fclose(a.out);
    ck_assert_ptr_null(strstr(text, "NAME"));
    ck_assert_ptr_nonnull(strstr(text, "orders"));
    free(text);
}
END_TEST

START_TEST(color__only_where_wanted)
{
    char *text = NULL;
    size_t size = 0;
    struct cli_args a = to_text(&text, &size);
    cli_print_colored(&a, CLI_RED, "DOWN");
    a.color = true;
    cli_print_colored(&a, CLI_RED, "DOWN");
    (void)fclose(a.out);
    ck_assert_str_eq(text, "DOWN\033[31mDOWN\033[0m");
    free(text);
}
END_TEST

START_TEST(json__one_line_or_many)
{
    char *text = NULL;
    size_t size = 0;
    struct cli_args a = to_text(&text, &size);
    a.json = a.json_lines = true;
    cli_json_print(&a, json_pack("{s:i}", "x", 1));
    (void)fclose(a.out);
    ck_assert_str_eq(text, "{\"schema_version\":1,\"x\":1}\n");
    free(text);
    a = to_text(&text, &size);
    a.json = true;
    cli_json_print(&a, json_pack("{s:o, s:o}", "bad", cli_str_json(KW_STR("a\xff")), "null",
                                 cli_str_json(kw_str_null())));
    (void)fclose(a.out);
    ck_assert_ptr_nonnull(strstr(text, "\"bad\": \"a\\\\xff\""));
    ck_assert_ptr_nonnull(strstr(text, "\"null\": null"));
    free(text);
}
END_TEST

START_TEST(text__ages_sizes_times)
{
    char text[40];
    cli_age_text(-1, text);
    ck_assert_str_eq(text, "never");
    cli_age_text(6240, text);
    ck_assert_str_eq(text, "6.2 s ago");
    cli_age_text(600000, text);
    ck_assert_str_eq(text, "10 min ago");
    cli_bytes_text(0, text);
    ck_assert_str_eq(text, "0 B");
    cli_bytes_text(1234567890, text);
    ck_assert_str_eq(text, "1.1 G");
    cli_time_text(1769860800500, text);
    ck_assert_str_eq(text, "2026-01-31T12:00:00.500Z");
    cli_time_text(-1, text);
    ck_assert_str_eq(text, "1969-12-31T23:59:59.999Z");
}
END_TEST

START_TEST(split_config__first_equal)
{
    struct kw_str name;
    struct kw_str value;
    cli_split_config("a.b=c=d", &name, &value);
    ck_assert(kw_str_is(name, "a.b") && kw_str_is(value, "c=d"));
    cli_split_config("a=", &name, &value);
    ck_assert(kw_str_is(name, "a") && value.size == 0 && value.data != NULL);
}
END_TEST

START_TEST(exit_codes__of_kafka_errors)
{
    ck_assert_int_eq(cli_kafka_exit(KW_NONE), CLI_OK);
    ck_assert_int_eq(cli_kafka_exit(KW_UNKNOWN_TOPIC_OR_PARTITION), CLI_NOT_FOUND);
    ck_assert_int_eq(cli_kafka_exit(KW_GROUP_ID_NOT_FOUND), CLI_NOT_FOUND);
    ck_assert_int_eq(cli_kafka_exit(KW_TOPIC_AUTHORIZATION_FAILED), CLI_UNAUTHORIZED);
    ck_assert_int_eq(cli_kafka_exit(KW_REQUEST_TIMED_OUT), CLI_TIMEOUT);
    ck_assert_int_eq(cli_kafka_exit(KW_INVALID_CONFIG), CLI_FAILED);
}
END_TEST

UNIT_MAIN("cli_text", parse_number__whole_and_in_bounds, parse_millis__units, parse_datetime__forms,
          parse_topic__lists_and_ranges, nearest__similar_words_only, reset__stays_within_the_log,
          reset__what_cannot_be_told, group_rows__are_found_and_sorted,
          table__headers_and_alignment, color__only_where_wanted, json__one_line_or_many,
          text__ages_sizes_times, split_config__first_equal, exit_codes__of_kafka_errors)
