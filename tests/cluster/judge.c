/* The independent judge: a librdkafka producer and consumer that count what a cluster acknowledged
 * and what it gives back.
 *
 * Scenario: all partitions of one topic are written steadily by an idempotent producer with
 * acks=all (the defaults of an idempotent librdkafka producer, nothing else is set). A driver kills
 * and starts brokers and talks to the judge over stdin, one command a line; answers are JSON
 * objects, one a line, on stdout:
 *
 *   cluster                    ->
 * {"event":"cluster","controller":C,"isr_full":B,"steady":B,"leaders":[…]} start ->
 * {"event":"started"} and, with the first acknowledgement,
 * {"event":"first_ack","ms":M} kill PID BROKER P,P,…      -> kill -9;
 * {"event":"recovered","ms":[…]}: per partition from the kill to the next acknowledgement that
 * another broker than BROKER gave stop                       -> flush;
 * {"event":"stopped","acked":N,"failed":N} verify                     ->
 * {"event":"verified","read":N,"lost":N,"duplicated":N,"reordered":N}
 *
 *   watch BROKER P,P…         -> {"event":"watching","at":T}; then "recovered" as after a kill, but
 * somebody else stops BROKER
 *
 * With -c REPLICAS it first makes the topic by the admin API, and says so:
 * {"event":"created","error":E}, E being null or the reason.
 *   gap   -> {"event":"gap","ms":M}: since the last such question the longest time in which some
 *            partition got no acknowledgement
 *   halt  -> {"event":"halted","acked":N}: what was not acknowledged is given up
 *   groups N M -> {"event":"groups_started"}: N consumer groups of M members that read and commit
 *   active     -> {"event":"active","groups":N}: so many have committed something
 *   rejoin     -> {"event":"rejoining"}: a rebalance in each group
 *   history    -> after verify: {"event":"history","complete":B,"groups":[…]}, see judge_groups.h
 *
 * -X key=value sets a setting of librdkafka for the producer and all consumers.
 *
 * Every record carries its partition's running number; acknowledged numbers are kept in memory.
 * Times are CLOCK_MONOTONIC milliseconds. */
#include <errno.h>
#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <librdkafka/rdkafka.h>

#include "tests/cluster/judge_groups.h"

enum {
    PARTITIONS_MAX = 256,
    LINE_BYTES_MAX = 1024,
    LINES_MAX = 100000,
    IN_FLIGHT_MAX = 2000, /* per partition */
    SETTINGS_MAX = 16,
    CALL_MS = 2000,
    STEADY_MS = 250,
    VERIFY_MS = 60000,
};

struct partition {
    uint32_t next; /* number of the next record */
    uint32_t in_flight;
    uint8_t *acked; /* by number */
    uint32_t acked_capacity;
    double acked_ms; /* last acknowledgement */
    double gap_ms;   /* longest time between two, since it was asked for */
    bool sample_wanted;
    double sample_ms;
    /* verification */
    uint8_t *seen;
    int64_t last_read; /* number */
    int64_t next_offset;
    int64_t end_offset;
    bool done;
};

struct judge {
    const char *bootstrap;
    const char *topic;
    int partitions;
    double interval_ms; /* between two records of one partition */
    char **lines;
    size_t lines_count;
    rd_kafka_t *producer;
    rd_kafka_topic_t *handle;
    struct partition p[PARTITIONS_MAX];
    bool running;
    bool first_acked;
    double started_ms;
    double killed_ms;
    int victim;
    int samples_missing;
    uint64_t acked;
    uint64_t failed;
    char *settings[SETTINGS_MAX]; /* key=value */
    size_t settings_count;
    struct groups *groups; /* NULL without */
    int groups_count;
};

static double now_ms(void)
{
    struct timespec ts;
    (void)clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec * 1000.0 + (double)ts.tv_nsec / 1e6;
}

static void die(const char *what, const char *why)
{
    (void)fprintf(stderr, "judge: %s: %s\n", what, why);
    exit(1);
}

static void *grow(void *p, size_t size)
{
    p = realloc(p, size);
    if (p == NULL)
        die("memory", "exhausted");
    return p;
}

/* ---- acknowledgements
 * ------------------------------------------------------------------------------ */

static void remember(struct partition *p, uint32_t number)
{
    if (number >= p->acked_capacity) {
        uint32_t capacity = number * 2 + 1024;
        p->acked = grow(p->acked, capacity);
        memset(p->acked + p->acked_capacity, 0, capacity - p->acked_capacity);
        p->acked_capacity = capacity;
    }
    p->acked[number] = 1;
}

static void say_recovered(const struct judge *j)
{
    (void)printf("{\"event\":\"recovered\",\"ms\":[");
    const char *comma = "";
    for (int i = 0; i < j->partitions; i++) {
        if (j->p[i].sample_ms < 0)
            continue;
        (void)printf("%s%.1f", comma, j->p[i].sample_ms);
        comma = ",";
    }
    (void)printf("]}\n");
    (void)fflush(stdout);
}

static void on_delivery(rd_kafka_t *rk, const rd_kafka_message_t *m, void *opaque)
{
    struct judge *j = opaque;
    struct partition *p = &j->p[m->partition];
    uint32_t number = (uint32_t)(uintptr_t)m->_private;
    (void)rk;
    p->in_flight--;
    if (m->err != RD_KAFKA_RESP_ERR_NO_ERROR) {
        j->failed++;
        (void)fprintf(stderr, "judge: partition %d record %u: %s\n", m->partition, number,
                      rd_kafka_err2str(m->err));
        return;
    }
    j->acked++;
    double now = now_ms();
    if (p->acked_ms > 0 && now - p->acked_ms > p->gap_ms)
        p->gap_ms = now - p->acked_ms;
    p->acked_ms = now;
    remember(p, number);
    if (!j->first_acked) {
        j->first_acked = true;
        (void)printf("{\"event\":\"first_ack\",\"ms\":%.1f}\n", now_ms());
        (void)fflush(stdout);
    }
    if (p->sample_wanted && rd_kafka_message_broker_id(m) != j->victim) {
        p->sample_wanted = false;
        p->sample_ms = now_ms() - j->killed_ms;
        if (--j->samples_missing == 0)
            say_recovered(j);
    }
}

static void produce_one(struct judge *j, int partition)
{
    struct partition *p = &j->p[partition];
    char value[LINE_BYTES_MAX + 32];
    if (p->in_flight >= IN_FLIGHT_MAX || j->lines_count == 0)
        return;
    int size = snprintf(value, sizeof(value), "%u %s", p->next, j->lines[p->next % j->lines_count]);
    int r = rd_kafka_produce(j->handle, partition, RD_KAFKA_MSG_F_COPY, value, (size_t)size, NULL,
                             0, (void *)(uintptr_t)p->next);
    if (r == -1)
        return; /* the queue is full: this record is not born yet */
    p->next++;
    p->in_flight++;
}

/* ---- commands
 * --------------------------------------------------------------------------------------------- */

/* Every partition was acknowledged just now: the client is connected to all leaders. */
static bool steady(const struct judge *j)
{
    for (int i = 0; i < j->partitions; i++) {
        if (now_ms() - j->p[i].acked_ms > STEADY_MS)
            return false;
    }
    return true;
}

static void do_cluster(struct judge *j)
{
    const struct rd_kafka_metadata *md = NULL;
    rd_kafka_resp_err_t e = rd_kafka_metadata(j->producer, 0, j->handle, &md, CALL_MS);
    if (e != RD_KAFKA_RESP_ERR_NO_ERROR || md->topic_cnt != 1) {
        (void)printf("{\"event\":\"cluster\",\"controller\":-1,\"isr_full\":false,\"steady\":false,"
                     "\"leaders\":[]}\n");
    } else {
        const struct rd_kafka_metadata_topic *t = &md->topics[0];
        bool full = t->partition_cnt == j->partitions;
        for (int i = 0; i < t->partition_cnt; i++)
            full = full && t->partitions[i].isr_cnt == t->partitions[i].replica_cnt &&
                   t->partitions[i].leader >= 0;
        (void)printf("{\"event\":\"cluster\",\"controller\":%d,\"isr_full\":%s,\"steady\":%s,"
                     "\"leaders\":[",
                     rd_kafka_controllerid(j->producer, 0), full ? "true" : "false",
                     steady(j) ? "true" : "false");
        for (int i = 0; i < t->partition_cnt; i++)
            (void)printf("%s%d", i > 0 ? "," : "", t->partitions[i].leader);
        (void)printf("]}\n");
    }
    if (md != NULL)
        rd_kafka_metadata_destroy(md);
    (void)fflush(stdout);
}

/* From now on, wait until another broker than the named one acknowledges in these partitions. */
static void watch(struct judge *j, char *victim, char *list)
{
    char *rest = NULL;
    j->victim = atoi(victim);
    for (int i = 0; i < j->partitions; i++)
        j->p[i].sample_ms = -1;
    for (char *s = strtok_r(list, ",", &rest); s != NULL; s = strtok_r(NULL, ",", &rest)) {
        j->p[atoi(s)].sample_wanted = true;
        j->samples_missing++;
    }
    j->killed_ms = now_ms();
}

static void do_watch(struct judge *j, char *arguments)
{
    char *rest = NULL;
    char *victim = strtok_r(arguments, " ", &rest);
    char *list = strtok_r(NULL, " \n", &rest);
    if (victim == NULL || list == NULL)
        die("watch", "needs BROKER PARTITIONS");
    watch(j, victim, list);
    (void)printf("{\"event\":\"watching\",\"at\":%.1f}\n", j->killed_ms);
    (void)fflush(stdout);
}

static void do_kill(struct judge *j, char *arguments)
{
    char *rest = NULL;
    char *pid = strtok_r(arguments, " ", &rest);
    char *victim = strtok_r(NULL, " ", &rest);
    char *list = strtok_r(NULL, " \n", &rest);
    if (pid == NULL || victim == NULL || list == NULL)
        die("kill", "needs PID BROKER PARTITIONS");
    watch(j, victim, list);
    if (kill((pid_t)atoi(pid), SIGKILL) != 0)
        die("kill", strerror(errno));
}

/* Before the producer knows the topic: asking for its metadata creates it too. */
static void create_topic(const struct judge *j, int replicas)
{
    char error[256] = "no answer";
    rd_kafka_NewTopic_t *topic = rd_kafka_NewTopic_new(j->topic, j->partitions, replicas, error,
                                                       sizeof(error));
    if (topic == NULL)
        die("create", error);
    rd_kafka_queue_t *queue = rd_kafka_queue_new(j->producer);
    rd_kafka_CreateTopics(j->producer, &topic, 1, NULL, queue);
    rd_kafka_event_t *event = rd_kafka_queue_poll(queue, VERIFY_MS);
    const rd_kafka_CreateTopics_result_t *result = event != NULL
                                                       ? rd_kafka_event_CreateTopics_result(event)
                                                       : NULL;
    size_t count = 0;
    if (event != NULL && rd_kafka_event_error(event) != RD_KAFKA_RESP_ERR_NO_ERROR) {
        (void)snprintf(error, sizeof(error), "%s", rd_kafka_err2name(rd_kafka_event_error(event)));
    } else if (result != NULL) {
        const rd_kafka_topic_result_t **list = rd_kafka_CreateTopics_result_topics(result, &count);
        (void)snprintf(error, sizeof(error), "%s",
                       count == 0 || rd_kafka_topic_result_error(list[0]) == 0
                           ? ""
                           : rd_kafka_err2name(rd_kafka_topic_result_error(list[0])));
    }
    (void)printf(error[0] == '\0' ? "{\"event\":\"created\",\"error\":null}\n"
                                  : "{\"event\":\"created\",\"error\":\"%s\"}\n",
                 error);
    (void)fflush(stdout);
    if (event != NULL)
        rd_kafka_event_destroy(event);
    rd_kafka_queue_destroy(queue);
    rd_kafka_NewTopic_destroy(topic);
}

static void do_stop(struct judge *j)
{
    j->running = false;
    (void)rd_kafka_flush(j->producer, VERIFY_MS);
    (void)printf("{\"event\":\"stopped\",\"acked\":%llu,\"failed\":%llu,\"outstanding\":%d}\n",
                 (unsigned long long)j->acked, (unsigned long long)j->failed,
                 rd_kafka_outq_len(j->producer));
    (void)fflush(stdout);
}

static void do_gap(struct judge *j)
{
    double longest = 0;
    for (int i = 0; i < j->partitions; i++) {
        struct partition *p = &j->p[i];
        double open = p->acked_ms > 0 ? now_ms() - p->acked_ms : 0;
        double gap = open > p->gap_ms ? open : p->gap_ms;
        longest = gap > longest ? gap : longest;
        p->gap_ms = 0;
    }
    (void)printf("{\"event\":\"gap\",\"ms\":%.1f}\n", longest);
    (void)fflush(stdout);
}

static void do_halt(struct judge *j)
{
    j->running = false;
    (void)rd_kafka_purge(j->producer, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT);
    (void)rd_kafka_flush(j->producer, CALL_MS);
    (void)printf("{\"event\":\"halted\",\"acked\":%llu}\n", (unsigned long long)j->acked);
    (void)fflush(stdout);
}

/* ---- verification
 * ------------------------------------------------------------------------------------------ */

struct verdict {
    uint64_t read;
    uint64_t lost;
    uint64_t duplicated;
    uint64_t reordered;
    uint64_t reread;  /* the same offset once more: the client's doing, not the log's */
    uint64_t changed; /* another record than a group read at the same offset */
};

static void take(struct judge *j, const rd_kafka_message_t *m, struct verdict *v)
{
    struct partition *p = &j->p[m->partition];
    char text[16] = {0};
    memcpy(text, m->payload, m->len < sizeof(text) - 1 ? m->len : sizeof(text) - 1);
    unsigned long number = strtoul(text, NULL, 10);
    if (m->offset < p->next_offset) {
        v->reread++;
        return;
    }
    p->next_offset = m->offset + 1;
    v->read++;
    if (number >= p->next)
        die("verify", "a record nobody sent");
    if (p->seen[number]) {
        if (v->duplicated++ < 3)
            (void)fprintf(stderr, "judge: partition %d: record %lu again at offset %lld\n",
                          m->partition, number, (long long)m->offset);
    } else if ((int64_t)number < p->last_read) {
        v->reordered++;
    }
    p->seen[number] = 1;
    if (j->groups != NULL && !groups_note(j->groups, m->partition, m->offset, (uint32_t)number))
        v->changed++;
    if ((int64_t)number > p->last_read)
        p->last_read = (int64_t)number;
    if (m->offset + 1 >= p->end_offset)
        p->done = true;
}

static void configure(const struct judge *j, rd_kafka_conf_t *conf)
{
    char error[256];
    for (size_t i = 0; i < j->settings_count; i++) {
        char setting[256];
        (void)snprintf(setting, sizeof(setting), "%s", j->settings[i]);
        char *equals = strchr(setting, '=');
        *equals = '\0';
        if (rd_kafka_conf_set(conf, setting, equals + 1, error, sizeof(error)) != 0)
            die("setting", error);
    }
}

static rd_kafka_t *consumer_new(const struct judge *j)
{
    char error[256];
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    if (rd_kafka_conf_set(conf, "bootstrap.servers", j->bootstrap, error, sizeof(error)) != 0 ||
        rd_kafka_conf_set(conf, "group.id", "judge", error, sizeof(error)) != 0 ||
        rd_kafka_conf_set(conf, "enable.auto.commit", "false", error, sizeof(error)) != 0)
        die("consumer", error);
    configure(j, conf);
    rd_kafka_t *c = rd_kafka_new(RD_KAFKA_CONSUMER, conf, error, sizeof(error));
    if (c == NULL)
        die("consumer", error);
    (void)rd_kafka_poll_set_consumer(c);
    return c;
}

static bool all_done(const struct judge *j)
{
    for (int i = 0; i < j->partitions; i++) {
        if (!j->p[i].done)
            return false;
    }
    return true;
}

static void do_verify(struct judge *j)
{
    struct verdict v = {0};
    rd_kafka_t *c = consumer_new(j);
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(j->partitions);
    for (int i = 0; i < j->partitions; i++) {
        int64_t low = 0;
        struct partition *p = &j->p[i];
        rd_kafka_resp_err_t e = rd_kafka_query_watermark_offsets(c, j->topic, i, &low,
                                                                 &p->end_offset, 10000);
        if (e != RD_KAFKA_RESP_ERR_NO_ERROR)
            die("watermarks", rd_kafka_err2str(e));
        p->seen = calloc(p->next + 1, 1);
        p->last_read = -1;
        p->next_offset = 0;
        p->done = p->end_offset == 0;
        rd_kafka_topic_partition_list_add(list, j->topic, i)->offset = 0;
    }
    (void)rd_kafka_assign(c, list);
    rd_kafka_topic_partition_list_destroy(list);
    double until = now_ms() + VERIFY_MS;
    while (!all_done(j) && now_ms() < until) {
        rd_kafka_message_t *m = rd_kafka_consumer_poll(c, 100);
        if (m == NULL)
            continue;
        if (m->err == RD_KAFKA_RESP_ERR_NO_ERROR)
            take(j, m, &v);
        rd_kafka_message_destroy(m);
    }
    for (int i = 0; i < j->partitions; i++) {
        for (uint32_t k = 0; k < j->p[i].acked_capacity && k < j->p[i].next; k++)
            v.lost += j->p[i].acked[k] && !j->p[i].seen[k];
    }
    (void)printf("{\"event\":\"verified\",\"complete\":%s,\"read\":%llu,\"lost\":%llu,"
                 "\"duplicated\":%llu,\"reordered\":%llu,\"changed\":%llu,\"reread\":%llu}\n",
                 all_done(j) ? "true" : "false", (unsigned long long)v.read,
                 (unsigned long long)v.lost, (unsigned long long)v.duplicated,
                 (unsigned long long)v.reordered, (unsigned long long)v.changed,
                 (unsigned long long)v.reread);
    (void)fflush(stdout);
    for (int i = 0; i < j->partitions; i++) {
        free(j->p[i].seen);
        j->p[i].seen = NULL;
    }
    (void)rd_kafka_consumer_close(c);
    rd_kafka_destroy(c);
}

/* ---- groups
 * ------------------------------------------------------------------------------------------------
 */

static void do_groups(struct judge *j, const char *arguments)
{
    char *rest = NULL;
    long groups = strtol(arguments, &rest, 10);
    long members = strtol(rest, NULL, 10);
    if (j->groups != NULL || groups < 1 || members < 1)
        die("groups", "needs GROUPS MEMBERS, once");
    const struct groups_options options = {.bootstrap = j->bootstrap,
                                           .topic = j->topic,
                                           .partitions = j->partitions,
                                           .groups = (int)groups,
                                           .members = (int)members,
                                           .settings = j->settings,
                                           .settings_count = j->settings_count};
    j->groups = groups_start(&options);
    j->groups_count = (int)groups;
    (void)printf("{\"event\":\"groups_started\"}\n");
    (void)fflush(stdout);
}

/* Whether all groups come to the ends that verify saw. */
static bool wait_groups(const struct judge *j)
{
    const struct timespec pause = {.tv_nsec = 20000000};
    double until = now_ms() + VERIFY_MS;
    for (int i = 0; i < j->partitions; i++) {
        while (!groups_reached(j->groups, i, j->p[i].end_offset)) {
            if (now_ms() > until) {
                for (int k = 0; k < j->partitions; k++)
                    groups_tell(j->groups, k, j->p[k].end_offset);
                return false;
            }
            (void)nanosleep(&pause, NULL);
        }
    }
    return true;
}

static void do_history(struct judge *j)
{
    if (j->groups == NULL)
        die("history", "there are no groups");
    bool complete = wait_groups(j);
    (void)printf("{\"event\":\"history\",\"complete\":%s,\"groups\":[",
                 complete ? "true" : "false");
    for (int g = 0; g < j->groups_count; g++) {
        uint64_t missing = 0;
        for (int i = 0; i < j->partitions; i++) {
            const struct partition *p = &j->p[i];
            uint32_t count = p->next < p->acked_capacity ? p->next : p->acked_capacity;
            missing += groups_missing(j->groups, g, i, p->acked, count);
        }
        (void)printf(g > 0 ? "," : "");
        groups_print(j->groups, g, missing);
    }
    (void)printf("]}\n");
    (void)fflush(stdout);
}

/* ---- the loop
 * -------------------------------------------------------------------------------------------------
 */

static void command(struct judge *j, char *line)
{
    if (strncmp(line, "cluster", 7) == 0) {
        do_cluster(j);
    } else if (strncmp(line, "start", 5) == 0) {
        j->running = true;
        j->started_ms = now_ms();
        (void)printf("{\"event\":\"started\"}\n");
        (void)fflush(stdout);
    } else if (strncmp(line, "kill ", 5) == 0) {
        do_kill(j, line + 5);
    } else if (strncmp(line, "watch ", 6) == 0) {
        do_watch(j, line + 6);
    } else if (strncmp(line, "gap", 3) == 0) {
        do_gap(j);
    } else if (strncmp(line, "halt", 4) == 0) {
        do_halt(j);
    } else if (strncmp(line, "stop", 4) == 0) {
        do_stop(j);
    } else if (strncmp(line, "verify", 6) == 0) {
        do_verify(j);
    } else if (strncmp(line, "groups ", 7) == 0) {
        do_groups(j, line + 7);
    } else if (strncmp(line, "active", 6) == 0) {
        (void)printf("{\"event\":\"active\",\"groups\":%d}\n",
                     j->groups != NULL ? groups_active(j->groups) : 0);
        (void)fflush(stdout);
    } else if (strncmp(line, "rejoin", 6) == 0) {
        if (j->groups != NULL)
            groups_rejoin(j->groups);
        (void)printf("{\"event\":\"rejoining\"}\n");
        (void)fflush(stdout);
    } else if (strncmp(line, "history", 7) == 0) {
        do_history(j);
    } else {
        die("unknown command", line);
    }
}

static void run(struct judge *j)
{
    double next = now_ms();
    (void)setvbuf(stdin, NULL, _IONBF, 0); /* poll and fgets must agree */
    struct pollfd in = {.fd = STDIN_FILENO, .events = POLLIN};
    for (;;) {
        if (poll(&in, 1, 0) > 0) {
            char line[4096];
            if (fgets(line, sizeof(line), stdin) == NULL)
                return;
            command(j, line);
        }
        if (j->running && now_ms() >= next) {
            for (int i = 0; i < j->partitions; i++)
                produce_one(j, i);
            next += j->interval_ms;
            if (next < now_ms() - 1000)
                next = now_ms();
        }
        (void)rd_kafka_poll(j->producer, 1);
    }
}

static void read_lines(struct judge *j, const char *path)
{
    char line[LINE_BYTES_MAX];
    FILE *f = fopen(path, "r");
    if (f == NULL)
        die(path, strerror(errno));
    j->lines = calloc(LINES_MAX, sizeof(*j->lines));
    while (j->lines_count < LINES_MAX && fgets(line, sizeof(line), f) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        j->lines[j->lines_count++] = strdup(line);
    }
    (void)fclose(f);
    if (j->lines_count == 0)
        die(path, "is empty");
}

int main(int argc, char **argv)
{
    static struct judge j = {.partitions = 12, .interval_ms = 20, .topic = "judge"};
    char error[256];
    int option = 0;
    const char *file = NULL;
    int replicas = 0;
    while ((option = getopt(argc, argv, "b:t:p:i:f:c:X:")) != -1) {
        switch (option) {
        case 'b':
            j.bootstrap = optarg;
            break;
        case 't':
            j.topic = optarg;
            break;
        case 'p':
            j.partitions = atoi(optarg);
            break;
        case 'i':
            j.interval_ms = atof(optarg);
            break;
        case 'f':
            file = optarg;
            break;
        case 'c':
            replicas = atoi(optarg);
            break;
        case 'X':
            if (j.settings_count == SETTINGS_MAX || strchr(optarg, '=') == NULL)
                die("setting", optarg);
            j.settings[j.settings_count++] = optarg;
            break;
        default:
            die("usage", "judge -b BOOTSTRAP -f FILE [-t TOPIC] [-p PARTITIONS] [-i INTERVAL_MS] "
                         "[-c REPLICAS] [-X KEY=VALUE]…");
        }
    }
    if (j.bootstrap == NULL || file == NULL || j.partitions < 1 || j.partitions > PARTITIONS_MAX)
        die("usage", "judge -b BOOTSTRAP -f FILE [-t TOPIC] [-p PARTITIONS] [-i INTERVAL_MS] "
                     "[-c REPLICAS] [-X KEY=VALUE]…");
    read_lines(&j, file);
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    if (rd_kafka_conf_set(conf, "bootstrap.servers", j.bootstrap, error, sizeof(error)) != 0 ||
        rd_kafka_conf_set(conf, "enable.idempotence", "true", error, sizeof(error)) != 0)
        die("configuration", error);
    configure(&j, conf);
    rd_kafka_conf_set_dr_msg_cb(conf, on_delivery);
    rd_kafka_conf_set_opaque(conf, &j);
    j.producer = rd_kafka_new(RD_KAFKA_PRODUCER, conf, error, sizeof(error));
    if (j.producer == NULL)
        die("producer", error);
    if (replicas > 0)
        create_topic(&j, replicas);
    j.handle = rd_kafka_topic_new(j.producer, j.topic, NULL);
    (void)printf("{\"event\":\"ready\",\"client\":\"librdkafka\",\"version\":\"%s\"}\n",
                 rd_kafka_version_str());
    (void)fflush(stdout);
    run(&j);
    _exit(0); /* the driver ended: nothing to say goodbye to */
}
