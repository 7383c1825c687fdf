#include "tests/cluster/judge_groups.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <librdkafka/rdkafka.h>

enum {
    PARTITIONS_MAX = 256,
    COMMIT_MS = 200,
    COMMITTED_MS = 5000, /* for an answer with committed offsets */
};

/* A growing array of numbers, absent ones are 0. */
struct numbers {
    uint32_t *at;
    size_t size;
};

struct group_partition {
    int owner;            /* the member that was assigned it last, or -1 */
    int64_t commit_acked; /* the largest offset whose commit was confirmed, or -1 */
    int64_t delivered_to; /* one past the largest offset read */
    struct numbers seen;  /* by number: read */
};

struct group {
    char id[128];
    bool cooperative;
    struct group_partition p[PARTITIONS_MAX];
    uint64_t delivered, commits, commits_refused, rebalances;
    uint64_t back, stale, reordered, changed;
};

struct member {
    struct groups *groups;
    struct group *group;
    int index;
    rd_kafka_t *consumer;
    int64_t last_offset[PARTITIONS_MAX]; /* of this assignment, or -1 */
    int64_t committed[PARTITIONS_MAX];   /* last offset sent */
    bool owned_at_send[PARTITIONS_MAX];
    bool committing;
    uint64_t rejoined; /* rounds of groups_rejoin it has followed */
};

struct groups {
    struct groups_options o;
    pthread_mutex_t lock;
    struct group *group;
    uint64_t rejoin_rounds;
    struct numbers values[PARTITIONS_MAX]; /* by offset: number + 1, once somebody read it */
};

static void die(const char *what, const char *why)
{
    (void)fprintf(stderr, "judge: groups: %s: %s\n", what, why);
    exit(1);
}

static double now_ms(void)
{
    struct timespec ts;
    (void)clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec * 1000.0 + (double)ts.tv_nsec / 1e6;
}

static uint32_t *number_at(struct numbers *n, size_t index)
{
    if (index >= n->size) {
        size_t size = index * 2 + 1024;
        n->at = realloc(n->at, size * sizeof(*n->at));
        if (n->at == NULL)
            die("memory", "exhausted");
        memset(n->at + n->size, 0, (size - n->size) * sizeof(*n->at));
        n->size = size;
    }
    return &n->at[index];
}

/* With the lock held. */
static bool note(struct groups *g, int partition, int64_t offset, uint32_t number)
{
    uint32_t *value = number_at(&g->values[partition], (size_t)offset);
    if (*value == 0)
        *value = number + 1;
    return *value == number + 1;
}

bool groups_note(struct groups *g, int partition, int64_t offset, uint32_t number)
{
    (void)pthread_mutex_lock(&g->lock);
    bool same = note(g, partition, offset, number);
    (void)pthread_mutex_unlock(&g->lock);
    return same;
}

/* ---- one member
 * ------------------------------------------------------------------------------------------- */

/* Offsets to start from are asked for here, so that they can be compared with what was confirmed.
 */
static void begin_partitions(struct member *m, rd_kafka_topic_partition_list_t *list)
{
    int64_t confirmed[PARTITIONS_MAX] = {0};
    (void)pthread_mutex_lock(&m->groups->lock);
    for (int i = 0; i < list->cnt; i++)
        confirmed[i] = m->group->p[list->elems[i].partition].commit_acked;
    (void)pthread_mutex_unlock(&m->groups->lock);
    rd_kafka_resp_err_t e = rd_kafka_committed(m->consumer, list, COMMITTED_MS);
    (void)pthread_mutex_lock(&m->groups->lock);
    m->group->rebalances++;
    for (int i = 0; i < list->cnt; i++) {
        rd_kafka_topic_partition_t *t = &list->elems[i];
        if (e == RD_KAFKA_RESP_ERR_NO_ERROR && t->err == RD_KAFKA_RESP_ERR_NO_ERROR &&
            confirmed[i] >= 0 && t->offset < confirmed[i]) {
            m->group->back++;
            (void)fprintf(
                stderr, "judge: group %s: partition %d begins at %lld, %lld was confirmed\n",
                m->group->id, t->partition, (long long)t->offset, (long long)confirmed[i]);
        }
        if (t->err == RD_KAFKA_RESP_ERR_NO_ERROR && e == RD_KAFKA_RESP_ERR_NO_ERROR &&
            t->offset < 0)
            t->offset = RD_KAFKA_OFFSET_BEGINNING;
        m->group->p[t->partition].owner = m->index;
        m->last_offset[t->partition] = -1;
        m->committed[t->partition] = -1;
    }
    (void)pthread_mutex_unlock(&m->groups->lock);
}

static void end_partitions(struct member *m, const rd_kafka_topic_partition_list_t *list)
{
    (void)pthread_mutex_lock(&m->groups->lock);
    for (int i = 0; i < list->cnt; i++) {
        struct group_partition *p = &m->group->p[list->elems[i].partition];
        if (p->owner == m->index)
            p->owner = -1;
        m->last_offset[list->elems[i].partition] = -1;
    }
    (void)pthread_mutex_unlock(&m->groups->lock);
}

static void on_rebalance(rd_kafka_t *c, rd_kafka_resp_err_t e,
                         rd_kafka_topic_partition_list_t *list, void *opaque)
{
    struct member *m = opaque;
    bool assigned = e == RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS;
    if (assigned)
        begin_partitions(m, list);
    else
        end_partitions(m, list);
    rd_kafka_error_t *error = NULL;
    if (m->group->cooperative)
        error = assigned ? rd_kafka_incremental_assign(c, list)
                         : rd_kafka_incremental_unassign(c, list);
    else
        (void)rd_kafka_assign(c, assigned ? list : NULL);
    if (error != NULL)
        rd_kafka_error_destroy(error);
}

static void on_commit(rd_kafka_t *c, rd_kafka_resp_err_t e, rd_kafka_topic_partition_list_t *list,
                      void *opaque)
{
    struct member *m = opaque;
    (void)c;
    m->committing = false;
    (void)pthread_mutex_lock(&m->groups->lock);
    if (e != RD_KAFKA_RESP_ERR_NO_ERROR)
        m->group->commits_refused++;
    else
        m->group->commits++;
    for (int i = 0; list != NULL && i < list->cnt; i++) {
        const rd_kafka_topic_partition_t *t = &list->elems[i];
        struct group_partition *p = &m->group->p[t->partition];
        if (e != RD_KAFKA_RESP_ERR_NO_ERROR || t->err != RD_KAFKA_RESP_ERR_NO_ERROR) {
            m->committed[t->partition] = -1;
            continue;
        }
        if (!m->owned_at_send[t->partition])
            m->group->stale++;
        if (t->offset > p->commit_acked)
            p->commit_acked = t->offset;
    }
    (void)pthread_mutex_unlock(&m->groups->lock);
}

static void commit(struct member *m)
{
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(4);
    (void)pthread_mutex_lock(&m->groups->lock);
    for (int i = 0; i < m->groups->o.partitions; i++) {
        if (m->last_offset[i] < 0 || m->committed[i] == m->last_offset[i] + 1)
            continue;
        m->committed[i] = m->last_offset[i] + 1;
        m->owned_at_send[i] = m->group->p[i].owner == m->index;
        rd_kafka_topic_partition_list_add(list, m->groups->o.topic, i)->offset = m->committed[i];
    }
    (void)pthread_mutex_unlock(&m->groups->lock);
    if (list->cnt > 0)
        m->committing = rd_kafka_commit(m->consumer, list, 1) == RD_KAFKA_RESP_ERR_NO_ERROR;
    rd_kafka_topic_partition_list_destroy(list);
}

static void take(struct member *m, const rd_kafka_message_t *message)
{
    char text[16] = {0};
    int partition = message->partition;
    struct group_partition *p = &m->group->p[partition];
    memcpy(text, message->payload,
           message->len < sizeof(text) - 1 ? message->len : sizeof(text) - 1);
    uint32_t number = (uint32_t)strtoul(text, NULL, 10);
    (void)pthread_mutex_lock(&m->groups->lock);
    m->group->delivered++;
    if (message->offset <= m->last_offset[partition]) {
        m->group->reordered++;
        (void)fprintf(stderr, "judge: group %s: partition %d: offset %lld after %lld\n",
                      m->group->id, partition, (long long)message->offset,
                      (long long)m->last_offset[partition]);
    }
    m->last_offset[partition] = message->offset;
    if (!note(m->groups, partition, message->offset, number))
        m->group->changed++;
    *number_at(&p->seen, number) = 1;
    if (message->offset + 1 > p->delivered_to)
        p->delivered_to = message->offset + 1;
    (void)pthread_mutex_unlock(&m->groups->lock);
}

/* A position that a broker says is out of range: it was read or committed, so it exists. */
static void take_error(struct member *m, const rd_kafka_message_t *message)
{
    if (message->err != RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET)
        return;
    (void)pthread_mutex_lock(&m->groups->lock);
    m->group->back++;
    (void)pthread_mutex_unlock(&m->groups->lock);
    (void)fprintf(stderr, "judge: group %s: partition %d: out of range at %lld: %s\n", m->group->id,
                  message->partition, (long long)message->offset, rd_kafka_message_errstr(message));
}

static void subscribe(struct member *m)
{
    rd_kafka_topic_partition_list_t *topics = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(topics, m->groups->o.topic, RD_KAFKA_PARTITION_UA);
    rd_kafka_resp_err_t e = rd_kafka_subscribe(m->consumer, topics);
    rd_kafka_topic_partition_list_destroy(topics);
    if (e != RD_KAFKA_RESP_ERR_NO_ERROR)
        die("subscribe", rd_kafka_err2str(e));
}

static void rejoin_if_asked(struct member *m)
{
    (void)pthread_mutex_lock(&m->groups->lock);
    bool asked = m->index == 0 && m->rejoined != m->groups->rejoin_rounds;
    m->rejoined = m->groups->rejoin_rounds;
    (void)pthread_mutex_unlock(&m->groups->lock);
    if (asked) {
        (void)rd_kafka_unsubscribe(m->consumer);
        subscribe(m);
    }
}

void groups_rejoin(struct groups *g)
{
    (void)pthread_mutex_lock(&g->lock);
    g->rejoin_rounds++;
    (void)pthread_mutex_unlock(&g->lock);
}

static void *member_run(void *argument)
{
    struct member *m = argument;
    double next = now_ms();
    for (;;) {
        rd_kafka_message_t *message = rd_kafka_consumer_poll(m->consumer, 50);
        if (message != NULL) {
            if (message->err == RD_KAFKA_RESP_ERR_NO_ERROR)
                take(m, message);
            else
                take_error(m, message);
            rd_kafka_message_destroy(message);
        }
        rejoin_if_asked(m);
        if (!m->committing && now_ms() >= next) {
            next = now_ms() + COMMIT_MS;
            commit(m);
        }
    }
    return NULL;
}

static void set(rd_kafka_conf_t *conf, const char *key, const char *value)
{
    char error[256];
    if (rd_kafka_conf_set(conf, key, value, error, sizeof(error)) != RD_KAFKA_CONF_OK)
        die(key, error);
}

static void member_start(struct groups *g, struct group *group, int index)
{
    char error[256];
    struct member *m = calloc(1, sizeof(*m));
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    if (m == NULL)
        die("memory", "exhausted");
    *m = (struct member){.groups = g, .group = group, .index = index};
    for (int i = 0; i < PARTITIONS_MAX; i++)
        m->last_offset[i] = m->committed[i] = -1;
    for (size_t i = 0; i < g->o.settings_count; i++) {
        char setting[256];
        (void)snprintf(setting, sizeof(setting), "%s", g->o.settings[i]);
        char *equals = strchr(setting, '=');
        *equals = '\0';
        set(conf, setting, equals + 1);
    }
    set(conf, "bootstrap.servers", g->o.bootstrap);
    set(conf, "group.id", group->id);
    set(conf, "enable.auto.commit", "false");
    set(conf, "auto.offset.reset", "error");
    /* A member whose farewell is lost holds up its group for so long; the least a broker takes. */
    set(conf, "session.timeout.ms", "6000");
    set(conf, "heartbeat.interval.ms", "1000");
    if (group->cooperative)
        set(conf, "partition.assignment.strategy", "cooperative-sticky");
    rd_kafka_conf_set_rebalance_cb(conf, on_rebalance);
    rd_kafka_conf_set_offset_commit_cb(conf, on_commit);
    rd_kafka_conf_set_opaque(conf, m);
    m->consumer = rd_kafka_new(RD_KAFKA_CONSUMER, conf, error, sizeof(error));
    if (m->consumer == NULL)
        die("consumer", error);
    (void)rd_kafka_poll_set_consumer(m->consumer);
    subscribe(m);
    pthread_t thread;
    if (pthread_create(&thread, NULL, member_run, m) != 0)
        die("thread", "cannot be started");
    (void)pthread_detach(thread);
}

/* ---- all groups
 * ------------------------------------------------------------------------------------------- */

struct groups *groups_start(const struct groups_options *options)
{
    struct groups *g = calloc(1, sizeof(*g));
    if (g == NULL)
        die("memory", "exhausted");
    g->o = *options;
    g->group = calloc((size_t)options->groups, sizeof(*g->group));
    if (g->group == NULL)
        die("memory", "exhausted");
    (void)pthread_mutex_init(&g->lock, NULL);
    for (int i = 0; i < options->groups; i++) {
        struct group *group = &g->group[i];
        (void)snprintf(group->id, sizeof(group->id), "%.100s-group-%d", options->topic, i);
        group->cooperative = i % 3 == 2;
        for (int k = 0; k < PARTITIONS_MAX; k++)
            group->p[k].owner = -1, group->p[k].commit_acked = -1;
        for (int k = 0; k < options->members; k++)
            member_start(g, group, k);
    }
    return g;
}

bool groups_reached(struct groups *g, int partition, int64_t end_offset)
{
    if (end_offset == 0)
        return true;
    bool all = true;
    (void)pthread_mutex_lock(&g->lock);
    for (int i = 0; i < g->o.groups; i++)
        all = all && g->group[i].p[partition].delivered_to >= end_offset &&
              g->group[i].p[partition].commit_acked >= end_offset;
    (void)pthread_mutex_unlock(&g->lock);
    return all;
}

void groups_tell(struct groups *g, int partition, int64_t end_offset)
{
    (void)pthread_mutex_lock(&g->lock);
    for (int i = 0; i < g->o.groups; i++) {
        const struct group_partition *p = &g->group[i].p[partition];
        if (p->delivered_to < end_offset || p->commit_acked < end_offset)
            (void)fprintf(stderr,
                          "judge: group %s: partition %d: read to %lld, committed to %lld of %lld, "
                          "owner %d\n",
                          g->group[i].id, partition, (long long)p->delivered_to,
                          (long long)p->commit_acked, (long long)end_offset, p->owner);
    }
    (void)pthread_mutex_unlock(&g->lock);
}

int groups_active(struct groups *g)
{
    int active = 0;
    (void)pthread_mutex_lock(&g->lock);
    for (int i = 0; i < g->o.groups; i++)
        active += g->group[i].commits > 0;
    (void)pthread_mutex_unlock(&g->lock);
    return active;
}

uint64_t groups_missing(struct groups *g, int group, int partition, const uint8_t *acked,
                        uint32_t count)
{
    uint64_t missing = 0;
    (void)pthread_mutex_lock(&g->lock);
    for (uint32_t i = 0; i < count; i++)
        missing += acked[i] && *number_at(&g->group[group].p[partition].seen, i) == 0;
    (void)pthread_mutex_unlock(&g->lock);
    return missing;
}

void groups_print(struct groups *g, int group, uint64_t missing)
{
    (void)pthread_mutex_lock(&g->lock);
    const struct group *p = &g->group[group];
    (void)printf("{\"id\":\"%s\",\"delivered\":%llu,\"commits\":%llu,\"commits_refused\":%llu,"
                 "\"rebalances\":%llu,\"back\":%llu,\"stale\":%llu,\"reordered\":%llu,"
                 "\"changed\":%llu,\"missing\":%llu}",
                 p->id, (unsigned long long)p->delivered, (unsigned long long)p->commits,
                 (unsigned long long)p->commits_refused, (unsigned long long)p->rebalances,
                 (unsigned long long)p->back, (unsigned long long)p->stale,
                 (unsigned long long)p->reordered, (unsigned long long)p->changed,
                 (unsigned long long)missing);
    (void)pthread_mutex_unlock(&g->lock);
}
