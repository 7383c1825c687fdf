/* Configuration: the properties grammar, where values come from and which wins, and every sentence
 * an operator may get to read. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "broker/server/config.h"
#include "broker/server/properties.h"
#include "proto/base/err.h"
#include "proto/base/mem.h"
#include "tests/unit/unit.h"

/* ---- properties ---- */

static int collect(void *arg, const char *key, const char *value, unsigned line)
{
    kb_buf_printf(arg, "%u[%s|%s]", line, key, value);
    return strcmp(key, "stop") == 0 ? 5 : 0;
}

static void check_properties(const char *text, int expected_result, const char *expected)
{
    struct kb_buf out = {0};
    unsigned line = 0;
    kb_buf_append(&out, "", 0);
    ck_assert_int_eq(srv_properties_parse(text, strlen(text), collect, &out, &line),
                     expected_result);
    kb_buf_append(&out, "", 1);
    ck_assert_str_eq((char *)out.data, expected);
    kb_buf_release(&out);
}

START_TEST(properties__grammar_is_javas)
{
    check_properties("", 0, "");
    check_properties("a=1", 0, "1[a|1]");
    check_properties("# c\n! d\n\n  a = 1  \r\nb:2\rc 3\n", 0, "4[a|1]5[b|2]6[c|3]");
    check_properties("a=x\\\n   y\\\r\n\tz\nb=1\n", 0, "1[a|xyz]4[b|1]");
    check_properties("a\\=b\\:c\\ d=1=2:3", 0, "1[a=b:c d|1=2:3]");
    check_properties("a=\\t\\n\\q\\\\.", 0, "1[a|\t\nq\\.]");
    check_properties("a=\\u0041\\u00e9\\u20AC", 0, "1[a|A\xc3\xa9\xe2\x82\xac]");
    check_properties("key\nother=\n", 0, "1[key|]2[other|]");
    check_properties("a=1\nstop=2\nb=3", 5, "1[a|1]2[stop|2]");
    check_properties("a=\\u00g1", -KB_EINVAL, "");
    check_properties("a=\\u12", -KB_EINVAL, "");
    check_properties("a=1\\", 0, "1[a|1]");
    check_properties("a = #no comment", 0, "1[a|#no comment]");
}
END_TEST

/* ---- sources ---- */

static void finish(struct srv_config *c, const char *text)
{
    srv_config_init(c);
    srv_config_load_text(c, "f", text, strlen(text));
    srv_config_finish(c);
}

static void check_error(const char *text, const char *part)
{
    struct srv_config c;
    finish(&c, text);
    ck_assert_msg(c.errors_count >= 1, "no error for: %s", text);
    ck_assert_msg(strstr(c.errors[0], part) != NULL, "\"%s\" lacks \"%s\"", c.errors[0], part);
    srv_config_release(&c);
}

static void check_fine(const char *text)
{
    struct srv_config c;
    finish(&c, text);
    ck_assert_msg(c.errors_count == 0, "%s", c.errors_count > 0 ? c.errors[0] : "");
    srv_config_release(&c);
}

START_TEST(config__flag_beats_environment_beats_file_beats_default)
{
    static const char text[] = "num.partitions=2\nlog.dirs=/a\nnode.id=7\n";
    char *const environment[] = {(char *)"KAFKA_NUM_PARTITIONS=3", (char *)"KAFKA_LOG_DIRS=/b",
                                 (char *)"PATH=/bin", (char *)"KAFKA_OPTS=-Xmx1G", NULL};
    char *const argv[] = {(char *)"server", (char *)"--set", (char *)"num.partitions=4", NULL};
    for (int order = 0; order < 2; order++) {
        struct srv_config c;
        struct kb_buf where = {0};
        srv_config_init(&c);
        if (order == 0)
            srv_config_load_text(&c, "f", text, strlen(text));
        srv_config_load_args(&c, 3, argv);
        srv_config_load_env(&c, environment);
        if (order == 1)
            srv_config_load_text(&c, "f", text, strlen(text));
        srv_config_finish(&c);
        ck_assert_uint_eq(c.errors_count, 0);
        ck_assert_uint_eq(c.warnings_count, 0);
        ck_assert_int_eq(srv_config_int(&c, "num.partitions"), 4);
        ck_assert_str_eq(c.log_dir, "/b");
        ck_assert_int_eq(c.node_id, 7);
        ck_assert(!srv_config_is_set(&c, "message.max.bytes"));
        ck_assert_int_eq(srv_config_int(&c, "message.max.bytes"), 1048588);
        srv_config_explain_source(&c, "num.partitions", &where);
        ck_assert_str_eq((char *)where.data, "flag --set");
        where.size = 0;
        srv_config_explain_source(&c, "log.dirs", &where);
        ck_assert_str_eq((char *)where.data, "environment KAFKA_LOG_DIRS");
        where.size = 0;
        srv_config_explain_source(&c, "node.id", &where);
        ck_assert_str_eq((char *)where.data, "file f:3");
        where.size = 0;
        srv_config_explain_source(&c, "max.connections", &where);
        ck_assert_str_eq((char *)where.data, "default");
        kb_buf_release(&where);
        srv_config_release(&c);
    }
}
END_TEST

START_TEST(config__environment_names_map_as_kafkas_image)
{
    static const struct {
        const char *variable;
        const char *key;
    } names[] = {
        {"KAFKA_NODE_ID", "node.id"},
        {"KAFKA_A__B_C", "a_b.c"},
        {"KAFKA_A___B", "a-b"},
        {"KAFKA_A____B", "a____b"},
        {"CLUSTER_ID", "cluster.id"},
        {"KAFKA_OPTS", NULL},
        {"KAFKA_HEAP_OPTS", NULL},
        {"KAFKA_", NULL},
        {"HOME", NULL},
        {"KAFKA_KVORUM_LOG_LEVEL", "kvorum.log.level"},
    };
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        char *key = srv_config_env_key(names[i].variable);
        if (names[i].key == NULL)
            ck_assert_ptr_null(key);
        else
            ck_assert_str_eq(key, names[i].key);
        (void)kb_free(key);
    }
}
END_TEST

START_TEST(config__unknown_and_ignored_keys_are_named)
{
    struct srv_config c;
    finish(&c, "num.partition=2\nnum.io.threads=8\nzookeeper.connect=x\nnum.io.threads=9\n"
               "listener.name.x.ssl.key.password=y\nqqqqqqqqqqqq=1\n"
               "retention.hours=3\nleader.imbalance.check.interval.seconds=4294968\n");
    ck_assert_uint_eq(c.errors_count, 0);
    ck_assert_uint_eq(c.warnings_count, 4);
    ck_assert_str_eq(c.warnings[0],
                     "f:1: unknown key num.partition is ignored. Did you mean num.partitions?");
    ck_assert_str_eq(c.warnings[1], "f:6: unknown key qqqqqqqqqqqq is ignored");
    ck_assert_str_eq(c.warnings[2], "f:7: unknown key retention.hours is ignored. Did you mean "
                                    "log.retention.hours?");
    ck_assert_str_eq(c.warnings[3],
                     "these Kafka keys have no effect here: num.io.threads, zookeeper.connect, "
                     "listener.name.*, leader.imbalance.check.interval.seconds");
    srv_config_release(&c);
}
END_TEST

START_TEST(config__invalid_values_are_one_sentence)
{
    check_error("num.partitions=x", "f:1: num.partitions must be a whole number, not \"x\"");
    check_error("num.partitions=", "must be a whole number");
    check_error("num.partitions=0", "num.partitions is 0 but must be from 1 to 2147483647");
    check_error("num.partitions=99999999999999999999", "must be a whole number");
    check_error("delete.topic.enable=yes", "delete.topic.enable must be true or false");
    check_error("log.cleaner.min.cleanable.ratio=1.5", "must be a number from 0 to 1");
    check_error("log.cleaner.min.cleanable.ratio=nan", "must be a number from 0 to 1");
    check_error("compression.type=brotli", "compression.type is \"brotli\" but must be of");
    check_error("log.cleanup.policy=compact,keep", "must be of: compact|delete");
    check_error("process.roles=broker,queen", "must be of: broker|controller");
    check_error("x=\\u00", "f:1: malformed");
    check_error("log.dirs=/a,/b", "several directories");
    check_error("log.dirs=", "log.dirs is empty");
    check_error("kvorum.memory.max.bytes=16777216", "could never be read");
    check_error("group.min.session.timeout.ms=1800001", "no consumer could join");
    check_error("broker.session.timeout.ms=500", "at least twice");
    check_error("authorizer.class.name=org.X", "not enforced yet");
    check_error("cluster.id=a b", "without spaces");
    check_fine("log.cleanup.policy=compact, delete\nDELETE=1\ncompression.type=zstd\n"
               "delete.topic.enable=TRUE\nlog.retention.ms=-1\n");
}
END_TEST

/* ---- node and voters ---- */

#define THREE "controller.quorum.voters=1@a:9093,2@b:9093,3@[::1]:9093\n"

START_TEST(config__voters_and_roles)
{
    struct srv_config c;
    finish(&c, THREE "node.id=3\nprocess.roles=broker,controller\n");
    ck_assert_uint_eq(c.errors_count, 0);
    ck_assert_uint_eq(c.voters_count, 3);
    ck_assert_str_eq(c.voters[2].host, "::1");
    ck_assert_uint_eq(c.voters[2].port, 9093);
    ck_assert(!c.observer);
    srv_config_release(&c);
    finish(&c, THREE "node.id=4\n");
    ck_assert_uint_eq(c.errors_count, 0);
    ck_assert(c.observer);
    srv_config_release(&c);
    check_error("controller.quorum.voters=1@a:1,2@b:2\nnode.id=1", "an even number");
    check_error("controller.quorum.voters=1@a:1,1@b:2,3@c:3\nnode.id=1", "names node 1 twice");
    check_error("controller.quorum.voters=a:9093\nnode.id=1", "is not id@host:port");
    check_error("controller.quorum.voters=1@:9093\nnode.id=1", "is not id@host:port");
    check_error("controller.quorum.voters=1@a:0\nnode.id=1", "is not id@host:port");
    check_error("controller.quorum.voters=1@a:99999\nnode.id=1", "is not id@host:port");
    check_error("controller.quorum.voters=99999999999@a:1\nnode.id=1", "is not id@host:port");
    check_error(THREE, "node.id is not set");
    check_error(THREE "node.id=1\nbroker.id=2", "broker.id, its old name");
    check_error("process.roles=controller", "controller alone is not supported");
    check_error(THREE "node.id=4\nprocess.roles=broker,controller", "is not in");
    check_error(THREE "node.id=1\nprocess.roles=broker", "Use process.roles=broker,controller");
    check_error("process.roles=broker", "to know which cluster to join");
    check_fine(THREE "broker.id=2\nnode.id=2\n");
}
END_TEST

/* ---- listeners ---- */

START_TEST(config__nothing_at_all_is_one_local_node)
{
    struct srv_config c;
    srv_config_init(&c);
    srv_config_finish(&c);
    ck_assert_uint_eq(c.errors_count, 0);
    ck_assert_uint_eq(c.warnings_count, 0);
    ck_assert_int_eq(c.node_id, 1);
    ck_assert_uint_eq(c.voters_count, 0);
    ck_assert_uint_eq(c.listeners_count, 2);
    ck_assert_str_eq(c.listeners[0].host, "localhost");
    ck_assert_uint_eq(c.listeners[0].port, 9092);
    ck_assert_str_eq(c.listeners[0].advertised_host, "localhost");
    ck_assert(!c.listeners[0].controller);
    ck_assert(c.listeners[1].controller);
    ck_assert_str_eq(c.listeners[1].host, "localhost");
    ck_assert_str_eq(c.log_dir, "kvorum-data");
    srv_config_release(&c);
}
END_TEST

START_TEST(config__listeners_of_a_compose_file)
{
    struct srv_config c;
    finish(&c, "node.id=1\nlisteners=INTERNAL://:9092,EXTERNAL://[::]:19092,CONTROLLER://:9093\n"
               "advertised.listeners=INTERNAL://kvorum-1:9092,external://localhost:29092\n"
               "listener.security.protocol.map=INTERNAL:PLAINTEXT,CONTROLLER:PLAINTEXT\n"
               "controller.quorum.voters=1@kvorum-1:9093,2@kvorum-2:9093,3@kvorum-3:9093\n");
    ck_assert_msg(c.errors_count == 0, "%s", c.errors_count > 0 ? c.errors[0] : "");
    ck_assert_uint_eq(c.listeners_count, 3);
    ck_assert_str_eq(c.listeners[0].name, "INTERNAL");
    ck_assert_str_eq(c.listeners[0].host, "");
    ck_assert_str_eq(c.listeners[0].advertised_host, "kvorum-1");
    ck_assert_str_eq(c.listeners[1].host, "::");
    ck_assert_uint_eq(c.listeners[1].port, 19092);
    ck_assert_uint_eq(c.listeners[1].advertised_port, 29092);
    ck_assert(c.listeners[2].controller);
    ck_assert_str_eq(c.listeners[2].advertised_host, "kvorum-1");
    srv_config_release(&c);
}
END_TEST

START_TEST(config__listeners_left_out_are_made_up)
{
    struct srv_config c;
    char host[256] = "";
    /* The controller's: at the port the voters know. */
    finish(&c, THREE "node.id=2\nlisteners=PLAINTEXT://10.0.0.5:9092\n");
    ck_assert_uint_eq(c.listeners_count, 2);
    ck_assert(c.listeners[1].controller);
    ck_assert_uint_eq(c.listeners[1].port, 9093);
    ck_assert_str_eq(c.listeners[1].advertised_host, "b");
    ck_assert_str_eq(c.listeners[0].advertised_host, "10.0.0.5");
    srv_config_release(&c);
    /* An observer's: any free port. */
    finish(&c, THREE "node.id=9\n");
    ck_assert_uint_eq(c.listeners_count, 2);
    ck_assert_uint_eq(c.listeners[1].port, 0);
    (void)gethostname(host, sizeof(host) - 1);
    ck_assert_str_eq(c.listeners[0].advertised_host, host);
    srv_config_release(&c);
    /* The clients': from what is advertised, on all addresses. */
    finish(&c, "advertised.listeners=PLAINTEXT://kafka.example:19092\n");
    ck_assert_uint_eq(c.errors_count, 0);
    ck_assert_str_eq(c.listeners[0].host, "");
    ck_assert_uint_eq(c.listeners[0].port, 19092);
    ck_assert_str_eq(c.listeners[0].advertised_host, "kafka.example");
    srv_config_release(&c);
}
END_TEST

START_TEST(config__bad_listeners_are_explained)
{
    check_error("listeners=9092", "is not NAME://host:port");
    check_error("listeners=PLAINTEXT://::1:9092", "is not NAME://host:port");
    check_error("listeners=PLAINTEXT://h", "is not NAME://host:port");
    check_error("listeners=PLAINTEXT://h:70000", "is not NAME://host:port");
    check_error("listeners=,", "names no listener");
    check_error("listeners=A://h:1,A://h:2", "A is named twice");
    check_error("listeners=A://h:1,B://h:1", "B has the same address");
    check_error("listeners=SSL://h:1", "serves PLAINTEXT only");
    check_error("listeners=A://h:1\nlistener.security.protocol.map=A:SASL_SSL",
                "listener A has security protocol SASL_SSL");
    check_error("listeners=CONTROLLER://:9093", "only the controller's listener");
    check_error("listeners=A://h:1\nadvertised.listeners=B://h:1", "not in listeners");
    check_error("listeners=A://h:1\nadvertised.listeners=A://0.0.0.0:1", "could connect to");
    check_error("controller.listener.names=", "controller.listener.names is empty");
    check_fine("listeners=a://h:1,CTL://h:2\ncontroller.listener.names=ctl\n");
}
END_TEST

/* ---- flags ---- */

START_TEST(config__flags)
{
    struct srv_config c;
    char *const argv[] = {(char *)"server",
                          (char *)"x.properties",
                          (char *)"--node-id=5",
                          (char *)"--voters",
                          (char *)"5@h:1",
                          (char *)"-s",
                          (char *)"a=b",
                          (char *)"--check-config",
                          (char *)"--found-without-absent-voters",
                          NULL};
    char *const bad[] = {(char *)"server", (char *)"--nope", (char *)"--set",    (char *)"novalue",
                         (char *)"a",      (char *)"b",      (char *)"--config", NULL};
    srv_config_init(&c);
    srv_config_load_args(&c, 9, argv);
    srv_config_finish(&c);
    ck_assert_uint_eq(c.errors_count, 0);
    ck_assert_str_eq(c.file, "x.properties");
    ck_assert_int_eq(c.node_id, 5);
    ck_assert(c.check_only);
    ck_assert(srv_config_bool(&c, "kvorum.found.without.absent.voters"));
    ck_assert_uint_eq(c.warnings_count, 1); /* a=b */
    srv_config_release(&c);
    srv_config_init(&c);
    srv_config_load_args(&c, 7, bad);
    ck_assert_uint_eq(c.errors_count, 4);
    ck_assert_str_eq(c.errors[0], "unknown flag --nope. See: kvorum server --help");
    ck_assert_str_eq(c.errors[1], "--set novalue: write it as key=value");
    ck_assert_str_eq(c.errors[2], "--config needs a value");
    srv_config_release(&c);
    srv_config_init(&c);
    srv_config_load_file(&c, "./no/such/file");
    ck_assert_str_eq(c.errors[0],
                     "cannot read the configuration ./no/such/file: No such file or directory");
    srv_config_release(&c);
}
END_TEST

START_TEST(keys__table_is_sound)
{
    size_t n = 0;
    size_t n_ignored = 0;
    const struct srv_key *keys = srv_keys(&n);
    const struct srv_ignored_key *ignored = srv_ignored_keys(&n_ignored);
    struct srv_config c;
    srv_config_init(&c);
    for (size_t i = 0; i < n; i++) {
        ck_assert_int_eq(srv_key_find(keys[i].name), (int)i); /* no name twice */
        ck_assert_ptr_null(srv_ignored_key_find(keys[i].name));
        ck_assert(keys[i].doc[0] != '\0');
        if (keys[i].default_value != NULL) /* every default passes its own check */
            srv_config_set(&c, keys[i].name, keys[i].default_value, SRV_FROM_FILE, "default");
    }
    srv_config_finish(&c);
    ck_assert_msg(c.errors_count == 0, "%s", c.errors_count > 0 ? c.errors[0] : "");
    for (size_t i = 0; i < n_ignored; i++)
        ck_assert_ptr_eq(srv_ignored_key_find(ignored[i].name), &ignored[i]);
    srv_config_release(&c);
}
END_TEST

UNIT_MAIN("config", properties__grammar_is_javas,
          config__flag_beats_environment_beats_file_beats_default,
          config__environment_names_map_as_kafkas_image, config__unknown_and_ignored_keys_are_named,
          config__invalid_values_are_one_sentence, config__voters_and_roles,
          config__nothing_at_all_is_one_local_node, config__listeners_of_a_compose_file,
          config__listeners_left_out_are_made_up, config__bad_listeners_are_explained,
          config__flags, keys__table_is_sound)
