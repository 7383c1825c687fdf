/* A user types a command: it is found by its words, its options are read or refused, and addresses
 * of brokers come in the forms people use. */
#include "broker/cli/internal.h"
#include "tests/unit/unit.h"

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

START_TEST(parse__reads_options)
{
    const char *argv[] = {"health", "--local", "-q", "-b", "a:1,b:2", "-o", "json", NULL};
    struct cli_args a;
    ck_assert_int_eq(parse(argv, &a), CLI_OK);
    ck_assert(a.local && a.quiet && a.json);
    ck_assert_str_eq(a.bootstrap, "a:1,b:2");
}
END_TEST

START_TEST(parse__refuses_what_the_command_does_not_take)
{
    const char *local[] = {"status", "--local", NULL};
    const char *format[] = {"status", "-o", "xml", NULL};
    const char *operand[] = {"status", "now", NULL};
    const char *missing[] = {"status", "-b", NULL};
    struct cli_args a;
    ck_assert_int_eq(parse(local, &a), CLI_USAGE);
    ck_assert_int_eq(parse(format, &a), CLI_USAGE);
    ck_assert_int_eq(parse(operand, &a), CLI_USAGE);
    ck_assert_int_eq(parse(missing, &a), CLI_USAGE);
}
END_TEST

START_TEST(parse__values_of_all_kinds)
{
    const char *create[] = {"topic", "create",       "-p",        "12",    "orders", "-c",
                            "a=b",   "--config=c=d", "--timeout", "250ms", "more",   NULL};
    const char *reset[] = {"group", "reset",   "g", "--shift-by", "-5", "--topic",
                           "t:1",   "--topic", "u", "-y",         NULL};
    const char *lines[] = {"topic", "info", "-o", "jsonl", "--no-headers", NULL};
    struct cli_args a;
    ck_assert_int_eq(parse(create, &a), CLI_OK);
    ck_assert_int_eq(a.partitions, 12);
    ck_assert_int_eq(a.replication, -1);
    ck_assert_int_eq(a.timeout_ms, 250);
    ck_assert_uint_eq(a.configs_count, 2);
    ck_assert_str_eq(a.configs[1], "c=d");
    ck_assert_uint_eq(a.operands_count, 2);
    ck_assert_str_eq(a.operands[1], "more");
    ck_assert(CLI_GIVEN(&a, PARTITIONS) && !CLI_GIVEN(&a, REPLICATION));
    ck_assert_int_eq(parse(reset, &a), CLI_OK);
    ck_assert_int_eq(a.shift_by, -5);
    ck_assert_uint_eq(a.topics_count, 2);
    ck_assert(a.yes);
    ck_assert_int_eq(parse(lines, &a), CLI_OK);
    ck_assert(a.json && a.json_lines && a.no_headers && !a.color);
}
END_TEST

START_TEST(parse__refuses_bad_values)
{
    const char *const bad[][6] = {
        {"topic", "create", "t", "-p", "0"},
        {"topic", "create", "t", "-p", "x"},
        {"topic", "create", "t", "-r", "99999"},
        {"topic", "create", "t", "-c", "=x"},
        {"topic", "create", "t", "-c", "name"},
        {"status", "--timeout", "soon"},
        {"topic", "create"},
        {"topic", "alter", "a", "b"},
        {"topic", "ls", "--output="},
    };
    struct cli_args a;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        ck_assert_int_eq(parse(bad[i], &a), CLI_USAGE);
}
END_TEST

START_TEST(parse__too_many_operands)
{
    const char *argv[CLI_OPERANDS_MAX + 4] = {"topic", "rm"};
    struct cli_args a;
    for (size_t i = 2; i < CLI_OPERANDS_MAX + 3; i++)
        argv[i] = "t";
    ck_assert_int_eq(parse(argv, &a), CLI_USAGE);
    argv[CLI_OPERANDS_MAX + 2] = NULL;
    ck_assert_int_eq(parse(argv, &a), CLI_OK);
    ck_assert_uint_eq(a.operands_count, CLI_OPERANDS_MAX);
}
END_TEST

START_TEST(find__unknown_words)
{
    const char *argv[] = {"statsu", NULL};
    int words = 0;
    ck_assert_ptr_null(cli_command_find(1, (char *const *)(uintptr_t)argv, &words));
    ck_assert_int_eq(cli_main(1, (char *const *)(uintptr_t)argv), CLI_USAGE);
}
END_TEST

static void check_address(const char *text, const char *host, uint16_t port)
{
    char *got = NULL;
    uint16_t got_port = 0;
    int r = cli_address_parse(text, strlen(text), &got, &got_port);
    ck_assert_int_eq(r, host != NULL ? 0 : -KB_EINVAL);
    if (host == NULL)
        return;
    ck_assert_str_eq(got, host);
    ck_assert_uint_eq(got_port, port);
    (void)kb_free(got);
}

START_TEST(address_parse__forms)
{
    check_address("localhost", "localhost", 9092);
    check_address("kvorum-1:19092", "kvorum-1", 19092);
    check_address("[::1]:29092", "::1", 29092);
    check_address("[::1]", "::1", 9092);
    check_address("a:", NULL, 0);
    check_address(":1", NULL, 0);
    check_address("", NULL, 0);
    check_address("a:0", NULL, 0);
    check_address("a:65536", NULL, 0);
    check_address("a:1x", NULL, 0);
}
END_TEST

static void check_local(const char *listeners, const char *advertised, const char *controllers,
                        const char *expected)
{
    char got[64] = "";
    bool found = cli_local_address(listeners, advertised, controllers, got, sizeof(got));
    ck_assert_msg(found == (expected != NULL), "%s: \"%s\"", listeners, got);
    if (expected != NULL)
        ck_assert_str_eq(got, expected);
}

START_TEST(local_address__follows_the_listeners_of_the_broker)
{
    check_local("INTERNAL://:9092,EXTERNAL://:19092", NULL, NULL, "127.0.0.1:9092");
    check_local("CONTROLLER://:9093, Clients://0.0.0.0:7", NULL, NULL, "127.0.0.1:7");
    check_local("A://[::]:1,B://:2", NULL, "x,a", "127.0.0.1:2");
    check_local("A://[::]:1", NULL, "", "127.0.0.1:1");
    check_local("A://[fe80::1]:1", "A://h:2", NULL, "[fe80::1]:1");
    check_local("A://kvorum-1:1", NULL, NULL, "kvorum-1:1");
    /* Without listeners the advertised ports are bound on all addresses. */
    check_local(NULL, "PLAINTEXT://kafka.example:29092", NULL, "127.0.0.1:29092");
    check_local("", "PLAINTEXT://kafka.example:29092", NULL, "127.0.0.1:29092");
    /* A port that is not known before it is bound. */
    check_local("A://:0,B://:2", NULL, NULL, "127.0.0.1:2");
    check_local("A://:0", NULL, NULL, NULL);
    check_local(NULL, NULL, NULL, NULL);
    check_local("9092,A:1,A://h,://:,,", NULL, NULL, NULL);
    check_local("A://a-name-of-more-than-64-characters.which-does-not-fit-into-the-room:1", NULL,
                NULL, NULL);
}
END_TEST

START_TEST(local_address__gives_way_to_the_option)
{
    const char *plain[] = {"health", "--local", NULL};
    const char *option[] = {"health", "--local", "-b", "x:1", NULL};
    const char *cluster[] = {"health", NULL};
    struct cli_args a;
    ck_assert_int_eq(setenv("KAFKA_LISTENERS", "A://:7", 1), 0);
    ck_assert_int_eq(setenv("KVORUM_BOOTSTRAP", "b:1,b:2", 1), 0);
    ck_assert_int_eq(parse(plain, &a), CLI_OK);
    ck_assert_str_eq(a.bootstrap, "127.0.0.1:7");
    ck_assert_int_eq(parse(option, &a), CLI_OK);
    ck_assert_str_eq(a.bootstrap, "x:1");
    ck_assert_int_eq(parse(cluster, &a), CLI_OK);
    ck_assert_str_eq(a.bootstrap, "b:1,b:2");
    ck_assert_int_eq(unsetenv("KAFKA_LISTENERS"), 0);
    ck_assert_int_eq(parse(plain, &a), CLI_OK);
    ck_assert_str_eq(a.bootstrap, "b:1,b:2");
    ck_assert_int_eq(unsetenv("KVORUM_BOOTSTRAP"), 0);
    ck_assert_int_eq(parse(plain, &a), CLI_OK);
    ck_assert_str_eq(a.bootstrap, "localhost:9092");
}
END_TEST

START_TEST(gather__nobody_answers)
{
    struct cli_args a = {.bootstrap = "127.0.0.1:1", .quiet = true};
    struct cli_cluster c = {0};
    uint64_t begin_ms = cli_now_ms();
    ck_assert_int_eq(cli_cluster_gather(&a, false, &c), CLI_NO_NODE);
    ck_assert_uint_lt(cli_now_ms() - begin_ms, 1200);
    cli_cluster_release(&c);
}
END_TEST

UNIT_MAIN("cli_args", parse__reads_options, parse__values_of_all_kinds, parse__refuses_bad_values,
          parse__too_many_operands, parse__refuses_what_the_command_does_not_take,
          find__unknown_words, address_parse__forms,
          local_address__follows_the_listeners_of_the_broker,
          local_address__gives_way_to_the_option, gather__nobody_answers)
