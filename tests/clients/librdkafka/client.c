/* A plain librdkafka program, written as its documentation shows: the client of
 * tests/clients/README.md's contract, and `create`, with which the driver makes its topics.
 *
 *   client produce BOOTSTRAP TOPIC COUNT INTERVAL_MS CODEC
 *   client consume BOOTSTRAP TOPIC GROUP
 *   client create BOOTSTRAP TOPIC PARTITIONS REPLICAS
 */
#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <librdkafka/rdkafka.h>

enum {
    PAD_BYTES_MAX = 64 * 1024,
    POLL_MS = 100,
    FLUSH_MS = 60000,
    CREATE_MS = 20000,
};

static volatile sig_atomic_t asked_to_end;
static int64_t acked;

static void on_signal(int number)
{
    (void)number;
    asked_to_end = 1;
}

static int64_t clock_ms(clockid_t clock)
{
    struct timespec t;

    clock_gettime(clock, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static int fail(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
    return 1;
}

static rd_kafka_conf_t *make_conf(const char *const *settings)
{
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    char why[256];
    size_t i;

    for (i = 0; settings[i] != NULL; i += 2) {
        if (rd_kafka_conf_set(conf, settings[i], settings[i + 1], why, sizeof(why)) !=
            RD_KAFKA_CONF_OK) {
            (void)fail("%s", why);
            rd_kafka_conf_destroy(conf);
            return NULL;
        }
    }
    return conf;
}

static rd_kafka_t *open_client(rd_kafka_type_t type, rd_kafka_conf_t *conf)
{
    char why[256];
    rd_kafka_t *rk = conf == NULL ? NULL : rd_kafka_new(type, conf, why, sizeof(why));

    if (rk == NULL && conf != NULL)
        (void)fail("%s", why);
    return rk;
}

static void on_delivery(rd_kafka_t *rk, const rd_kafka_message_t *m, void *opaque)
{
    intptr_t i = (intptr_t)m->_private;

    (void)rk;
    (void)opaque;
    if (m->err) {
        printf("error %jd %s\n", (intmax_t)i, rd_kafka_err2str(m->err));
        return;
    }
    acked++;
    printf("ack %jd %" PRId32 " %" PRId64 " %" PRId64 "\n", (intmax_t)i, m->partition, m->offset,
           clock_ms(CLOCK_REALTIME));
}

/* One record, waiting while librdkafka's queue is full. */
static rd_kafka_resp_err_t send_record(rd_kafka_t *rk, const char *topic, intptr_t i,
                                       const char *pad)
{
    char key[24];
    char name[40];
    char value[sizeof(name) + PAD_BYTES_MAX];
    rd_kafka_resp_err_t err;

    snprintf(key, sizeof(key), "%jd", (intmax_t)i);
    snprintf(name, sizeof(name), "librdkafka-%jd", (intmax_t)i);
    snprintf(value, sizeof(value), "%s%s", name, pad);
    for (;;) {
        err = rd_kafka_producev(rk, RD_KAFKA_V_TOPIC(topic), RD_KAFKA_V_KEY(key, strlen(key)),
                                RD_KAFKA_V_VALUE(value, strlen(value)),
                                RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY),
                                RD_KAFKA_V_OPAQUE((void *)i), RD_KAFKA_V_END);
        if (err != RD_KAFKA_RESP_ERR__QUEUE_FULL)
            return err;
        rd_kafka_poll(rk, POLL_MS);
    }
}

static int produce(const char *bootstrap, const char *topic, intptr_t count, int64_t interval_ms,
                   const char *codec)
{
    const char *settings[] = {"bootstrap.servers",
                              bootstrap,
                              "enable.idempotence",
                              "true",
                              "compression.codec",
                              codec,
                              NULL};
    static char pad[PAD_BYTES_MAX];
    const char *pad_bytes = getenv("PAD");
    rd_kafka_conf_t *conf = make_conf(settings);
    rd_kafka_t *rk;
    int64_t next_ms = clock_ms(CLOCK_MONOTONIC);
    intptr_t i;

    if (pad_bytes != NULL) {
        long n = strtol(pad_bytes, NULL, 10);

        memset(pad, '.', (size_t)(n < 0 ? 0 : n < PAD_BYTES_MAX ? n : PAD_BYTES_MAX - 1));
    }
    if (conf != NULL)
        rd_kafka_conf_set_dr_msg_cb(conf, on_delivery);
    rk = open_client(RD_KAFKA_PRODUCER, conf);
    if (rk == NULL)
        return 1;
    for (i = 0; i < count && !asked_to_end; i++) {
        rd_kafka_resp_err_t err;

        while (!asked_to_end && clock_ms(CLOCK_MONOTONIC) < next_ms)
            rd_kafka_poll(rk, (int)(next_ms - clock_ms(CLOCK_MONOTONIC)));
        next_ms += interval_ms;
        err = send_record(rk, topic, i, pad);
        if (err)
            printf("error %jd %s\n", (intmax_t)i, rd_kafka_err2str(err));
        rd_kafka_poll(rk, 0);
    }
    (void)rd_kafka_flush(rk, FLUSH_MS);
    printf("done %" PRId64 "\n", acked);
    rd_kafka_destroy(rk);
    return 0;
}

static void on_rebalance(rd_kafka_t *rk, rd_kafka_resp_err_t err,
                         rd_kafka_topic_partition_list_t *partitions, void *opaque)
{
    int i;

    (void)opaque;
    if (err != RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS) {
        (void)rd_kafka_assign(rk, NULL);
        return;
    }
    (void)rd_kafka_assign(rk, partitions);
    printf("assigned ");
    for (i = 0; i < partitions->cnt; i++)
        printf("%s%" PRId32, i == 0 ? "" : ",", partitions->elems[i].partition);
    printf("\n");
}

static int consume(const char *bootstrap, const char *topic, const char *group)
{
    const char *settings[] = {"bootstrap.servers", bootstrap,  "group.id", group,
                              "auto.offset.reset", "earliest", NULL};
    rd_kafka_conf_t *conf = make_conf(settings);
    rd_kafka_topic_partition_list_t *topics;
    rd_kafka_resp_err_t err;
    rd_kafka_t *rk;

    if (conf != NULL)
        rd_kafka_conf_set_rebalance_cb(conf, on_rebalance);
    rk = open_client(RD_KAFKA_CONSUMER, conf);
    if (rk == NULL)
        return 1;
    (void)rd_kafka_poll_set_consumer(rk);
    topics = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(topics, topic, RD_KAFKA_PARTITION_UA);
    err = rd_kafka_subscribe(rk, topics);
    rd_kafka_topic_partition_list_destroy(topics);
    while (!err && !asked_to_end) {
        rd_kafka_message_t *m = rd_kafka_consumer_poll(rk, POLL_MS);

        if (m == NULL)
            continue;
        if (m->err)
            (void)fail("%s", rd_kafka_message_errstr(m));
        else
            printf("record %" PRId32 " %" PRId64 " %.*s %" PRId64 "\n", m->partition, m->offset,
                   (int)m->len, (const char *)m->payload, clock_ms(CLOCK_REALTIME));
        rd_kafka_message_destroy(m);
    }
    (void)rd_kafka_consumer_close(rk); /* commits what was stored, and leaves */
    rd_kafka_destroy(rk);
    return err ? fail("%s", rd_kafka_err2str(err)) : 0;
}

/* The broker's word on the one topic that was asked for. */
static int creation_result(rd_kafka_event_t *event)
{
    const rd_kafka_CreateTopics_result_t *result = rd_kafka_event_CreateTopics_result(event);
    const rd_kafka_topic_result_t *const *topics;
    size_t n = 0;

    if (rd_kafka_event_error(event))
        return fail("%s", rd_kafka_event_error_string(event));
    topics = rd_kafka_CreateTopics_result_topics(result, &n);
    if (n == 1 && rd_kafka_topic_result_error(topics[0]))
        return fail("%s", rd_kafka_topic_result_error_string(topics[0]));
    return n == 1 ? 0 : fail("no answer for the topic");
}

static int create(const char *bootstrap, const char *topic, int partitions, int replicas)
{
    const char *settings[] = {"bootstrap.servers", bootstrap, NULL};
    rd_kafka_t *rk = open_client(RD_KAFKA_PRODUCER, make_conf(settings));
    rd_kafka_NewTopic_t *wanted;
    rd_kafka_AdminOptions_t *options;
    rd_kafka_queue_t *queue;
    rd_kafka_event_t *event;
    char why[256];
    int r;

    if (rk == NULL)
        return 1;
    wanted = rd_kafka_NewTopic_new(topic, partitions, replicas, why, sizeof(why));
    queue = rd_kafka_queue_new(rk);
    options = rd_kafka_AdminOptions_new(rk, RD_KAFKA_ADMIN_OP_CREATETOPICS);
    (void)rd_kafka_AdminOptions_set_operation_timeout(options, CREATE_MS, why, sizeof(why));
    if (wanted == NULL) {
        r = fail("%s", why);
    } else {
        rd_kafka_CreateTopics(rk, &wanted, 1, options, queue);
        event = rd_kafka_queue_poll(queue, -1);
        r = creation_result(event);
        rd_kafka_event_destroy(event);
        rd_kafka_NewTopic_destroy(wanted);
    }
    rd_kafka_AdminOptions_destroy(options);
    rd_kafka_queue_destroy(queue);
    rd_kafka_destroy(rk);
    return r;
}

static bool known_codec(const char *codec)
{
    static const char *const codecs[] = {"none", "gzip", "snappy", "lz4", "zstd"};
    size_t i;

    for (i = 0; i < sizeof(codecs) / sizeof(codecs[0]); i++) {
        if (strcmp(codec, codecs[i]) == 0)
            return true;
    }
    return false;
}

int main(int argc, char **argv)
{
    struct sigaction action = {.sa_handler = on_signal};

    setvbuf(stdout, NULL, _IOLBF, 0);
    (void)sigaction(SIGTERM, &action, NULL);
    if (argc == 2 && strcmp(argv[1], "version") == 0) {
        printf("%s\n", rd_kafka_version_str());
        return 0;
    }
    if (argc == 7 && strcmp(argv[1], "produce") == 0) {
        if (!known_codec(argv[6])) {
            printf("unsupported %s\n", argv[6]);
            return 3;
        }
        return produce(argv[2], argv[3], (intptr_t)strtol(argv[4], NULL, 10),
                       strtol(argv[5], NULL, 10), argv[6]);
    }
    if (argc == 5 && strcmp(argv[1], "consume") == 0)
        return consume(argv[2], argv[3], argv[4]);
    if (argc == 6 && strcmp(argv[1], "create") == 0)
        return create(argv[2], argv[3], (int)strtol(argv[4], NULL, 10),
                      (int)strtol(argv[5], NULL, 10));
    return fail("usage: client produce|consume|create|version …");
}
