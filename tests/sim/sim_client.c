#include "tests/sim/sim_client.h"

#include <stdlib.h>
#include <sys/queue.h>

#include "proto/base/arena.h"
#include "proto/base/assert.h"
#include "proto/base/mem.h"
#include "proto/kafka/messages.h"
#include "proto/kafka/messages_table.h"

#define SIM_REFRESH_MS_MIN 50
#define SIM_APIS_MAX 100
#define SIM_BROKERS_MAX 16

struct call {
    TAILQ_ENTRY(call) link;
    int32_t correlation_id;
    int16_t api_key;
    uint64_t deadline_ms;
    sim_answer_fn *fn; /* NULL: forgotten */
    void *arg;
};
TAILQ_HEAD(call_list, call);

/* A connection to one broker, or to a bootstrap host (id below -1). */
struct link {
    LIST_ENTRY(link) entry;
    struct sim_client *client;
    int32_t broker;
    struct kb_conn *conn;
    struct call_list calls;
};
LIST_HEAD(link_list, link);

struct broker {
    int32_t id;
    char host[64];
    uint16_t port;
};

struct sim_client {
    struct kb_env *env;
    struct sim_client_options options;
    int16_t versions[SIM_APIS_MAX];
    int32_t correlation;
    struct link_list links;
    struct kb_timer *tick;
    struct broker brokers[SIM_BROKERS_MAX];
    size_t broker_count;
    struct kb_uuid *topic_ids;
    struct sim_partition_view *partitions;
    bool refreshing, refresh_wanted;
    uint64_t refreshed_ms;
    sim_metadata_fn *metadata_fn;
    void *metadata_arg;
    uint64_t lost;
};

uint32_t sim_topics_partitions(const struct sim_topics *t)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < t->count; i++)
        n += (uint32_t)t->topic[i].partitions;
    return n;
}

void sim_topics_split(const struct sim_topics *t, uint32_t p, uint32_t *ret_topic,
                      int32_t *ret_index)
{
    uint32_t topic = 0;
    while (p >= (uint32_t)t->topic[topic].partitions)
        p -= (uint32_t)t->topic[topic++].partitions;
    *ret_topic = topic;
    *ret_index = (int32_t)p;
}

/* ---- messages ---- */

/* Request and response of an API. */
static const struct kw_message *message_of(int16_t api_key, enum kw_message_kind kind)
{
    size_t count = 0;
    const struct kw_message *table = kw_message_table(&count);
    for (size_t i = 0; i < count; i++) {
        if (table[i].api_key == api_key && table[i].kind == kind)
            return &table[i];
    }
    KB_UNREACHABLE();
}

int16_t sim_client_version(const struct sim_client *c, int16_t api_key)
{
    return c->versions[api_key];
}

void sim_client_set_version(struct sim_client *c, int16_t api_key, int16_t version)
{
    c->versions[api_key] = version;
}

/* The oldest versions lack what the simulator asks about: metadata without topic ids, for one. */
static void draw_versions(struct sim_client *c)
{
    static const struct {
        int16_t key, min;
    } floors[] = {{KW_API_METADATA, 10}, {KW_API_CREATE_TOPICS, 5}};
    size_t count = 0;
    const struct kw_api *apis = kw_api_table(&count);
    for (size_t i = 0; i < count; i++) {
        int16_t min = apis[i].version_min;
        if (apis[i].key >= SIM_APIS_MAX)
            continue;
        for (size_t f = 0; f < sizeof(floors) / sizeof(floors[0]); f++) {
            if (floors[f].key == apis[i].key)
                min = floors[f].min;
        }
        uint64_t range = (uint64_t)(apis[i].version_max - min) + 1;
        c->versions[apis[i].key] = (int16_t)(min + (int16_t)(kb_env_random_u64(c->env) % range));
    }
}

/* ---- connections ---- */

static void call_end(struct sim_client *c, struct call *call, const void *response)
{
    sim_answer_fn *fn = call->fn;
    void *arg = call->arg;
    free(call);
    if (response == NULL)
        c->lost++;
    if (fn != NULL)
        fn(arg, response);
}

/* The answers of a link that ended are lost; the link is gone first, so that whoever is told may
 * send again at once. */
static void link_lost(struct link *l)
{
    struct sim_client *c = l->client;
    struct call_list calls = TAILQ_HEAD_INITIALIZER(calls);
    struct call *call;
    TAILQ_CONCAT(&calls, &l->calls, link);
    LIST_REMOVE(l, entry);
    free(l);
    while ((call = TAILQ_FIRST(&calls)) != NULL) {
        TAILQ_REMOVE(&calls, call, link);
        call_end(c, call, NULL);
    }
}

static void link_close(struct kb_conn *conn, void *user, enum kb_close_reason reason)
{
    link_lost(user);
}

static void link_frame(struct kb_conn *conn, void *user, struct kb_block *frame)
{
    struct link *l = user;
    struct sim_client *c = l->client;
    struct call *call = TAILQ_FIRST(&l->calls);
    if (call == NULL) {
        kb_conn_close(conn);
        return;
    }
    struct kw_reader rd;
    struct kb_arena arena;
    int32_t correlation = -1;
    int16_t version = c->versions[call->api_key];
    const struct kw_message *m = message_of(call->api_key, KW_MESSAGE_RESPONSE);
    kw_reader_init(&rd, frame->data, frame->size);
    kb_arena_init(&arena, 64 << 20);
    int r = kw_response_header_read(&rd, call->api_key, version, &correlation);
    void *response = kb_arena_alloc(&arena, m->size);
    if (r == 0)
        r = m->read(&rd, version, &arena, response);
    if (r < 0 || correlation != call->correlation_id) {
        kb_arena_release(&arena);
        kb_conn_close(conn); /* the run's checks will wonder about lost answers */
        return;
    }
    TAILQ_REMOVE(&l->calls, call, link);
    call_end(c, call, response);
    kb_arena_release(&arena);
}

static const struct kb_conn_handler link_handler = {.on_frame = link_frame, .on_close = link_close};
static const struct kb_conn_options link_options = {.frame_bytes_max = 64 << 20,
                                                    .send_high_bytes = 1 << 20};

static struct link *link_get(struct sim_client *c, int32_t broker)
{
    struct link *l;
    const char *host = NULL;
    uint16_t port = c->options.port;
    if (broker == SIM_ANY_BROKER) {
        uint64_t n = kb_env_random_u64(c->env) % c->options.bootstrap_count;
        broker = -2 - (int32_t)n;
        host = c->options.bootstrap[n];
    }
    LIST_FOREACH(l, &c->links, entry)
    {
        if (l->broker == broker)
            return l;
    }
    for (size_t i = 0; i < c->broker_count && host == NULL; i++) {
        if (c->brokers[i].id == broker) {
            host = c->brokers[i].host;
            port = c->brokers[i].port;
        }
    }
    l = kb_new(struct link);
    l->client = c;
    l->broker = broker;
    TAILQ_INIT(&l->calls);
    LIST_INSERT_HEAD(&c->links, l, entry);
    l->conn = kb_env_connect(c->env, host != NULL ? host : "unknown", port,
                             c->options.request_timeout_ms, &link_options, &link_handler, l);
    return l;
}

void sim_client_call(struct sim_client *c, int32_t broker, int16_t api_key, const void *request,
                     sim_answer_fn *fn, void *arg)
{
    struct link *l = link_get(c, broker);
    struct kb_chain chain = {0};
    struct kw_writer w;
    struct kw_request_header header = {.api_key = api_key,
                                       .api_version = c->versions[api_key],
                                       .correlation_id = ++c->correlation,
                                       .client_id = kw_str_of(c->options.client_id)};
    kw_writer_init(&w, &chain);
    kw_frame_begin(&w);
    kw_request_header_write(&w, &header);
    message_of(api_key, KW_MESSAGE_REQUEST)->write(&w, header.api_version, request);
    kw_frame_end(&w);
    int r = kw_writer_finish(&w);
    KB_ASSERT(r == 0);
    kb_conn_send(l->conn, &chain);
    if (fn == NULL)
        return;
    struct call *call = kb_new(struct call);
    call->correlation_id = header.correlation_id;
    call->api_key = api_key;
    call->deadline_ms = kb_env_now_ms(c->env) + c->options.request_timeout_ms;
    call->fn = fn;
    call->arg = arg;
    TAILQ_INSERT_TAIL(&l->calls, call, link);
}

void sim_client_set_timeout(struct sim_client *c, uint64_t timeout_ms)
{
    c->options.request_timeout_ms = timeout_ms;
}

void sim_client_forget(struct sim_client *c, void *arg)
{
    struct link *l;
    struct call *call;
    LIST_FOREACH(l, &c->links, entry)
    {
        TAILQ_FOREACH(call, &l->calls, link)
        {
            if (call->arg == arg)
                call->fn = NULL;
        }
    }
}

/* ---- metadata ---- */

static void take_topic(struct sim_client *c, uint32_t topic, uint32_t first,
                       const struct kw_metadata_response_topic *t)
{
    if (t->error_code != KW_NONE)
        return; /* a broker that does not know it yet */
    c->topic_ids[topic] = t->topic_id;
    for (int32_t i = 0; i < t->partitions_count; i++) {
        const struct kw_metadata_response_partition *p = &t->partitions[i];
        if (p->partition_index < 0 ||
            p->partition_index >= c->options.topics->topic[topic].partitions)
            continue;
        struct sim_partition_view *view = &c->partitions[first + (uint32_t)p->partition_index];
        /* A broker that is behind may still name a former leader: newer news stand. */
        if (p->leader_epoch < view->leader_epoch)
            continue;
        *view = (struct sim_partition_view){.leader = p->error_code == KW_NONE ? p->leader_id : -1,
                                            .leader_epoch = p->leader_epoch,
                                            .replica_count = p->replica_nodes_count,
                                            .isr_count = p->isr_nodes_count};
        for (int32_t n = 0; n < p->replica_nodes_count; n++)
            view->replicas |= 1U << (uint32_t)(p->replica_nodes[n] - 1);
    }
}

static void take_metadata(void *arg, const void *response)
{
    struct sim_client *c = arg;
    const struct kw_metadata_response *m = response;
    c->refreshing = false;
    c->refreshed_ms = kb_env_now_ms(c->env);
    if (m == NULL) {
        c->refresh_wanted = true;
        return;
    }
    if (m->brokers_count > 0)
        c->broker_count = 0;
    for (int32_t i = 0; i < m->brokers_count && c->broker_count < SIM_BROKERS_MAX; i++) {
        struct broker *b = &c->brokers[c->broker_count++];
        b->id = m->brokers[i].node_id;
        b->port = (uint16_t)m->brokers[i].port;
        (void)snprintf(b->host, sizeof(b->host), "%.*s", m->brokers[i].host.size,
                       m->brokers[i].host.data);
    }
    uint32_t first = 0;
    for (uint32_t topic = 0; topic < c->options.topics->count; topic++) {
        for (int32_t i = 0; i < m->topics_count; i++) {
            if (kw_str_is(m->topics[i].name, c->options.topics->topic[topic].name))
                take_topic(c, topic, first, &m->topics[i]);
        }
        first += (uint32_t)c->options.topics->topic[topic].partitions;
    }
    if (c->metadata_fn != NULL)
        c->metadata_fn(c->metadata_arg);
}

static void ask_metadata(struct sim_client *c)
{
    struct kw_metadata_request rq;
    struct kw_metadata_request_topic topics[8] = {0};
    kw_metadata_request_init(&rq);
    rq.allow_auto_topic_creation = false;
    rq.topics = topics;
    rq.topics_count = (int32_t)c->options.topics->count;
    for (uint32_t i = 0; i < c->options.topics->count; i++)
        topics[i].name = kw_str_of(c->options.topics->topic[i].name);
    c->refreshing = true;
    c->refresh_wanted = false;
    sim_client_call(c, SIM_ANY_BROKER, KW_API_METADATA, &rq, take_metadata, c);
}

static void refresh_if_wanted(struct sim_client *c)
{
    uint64_t now = kb_env_now_ms(c->env);
    if (c->refresh_wanted && !c->refreshing && now >= c->refreshed_ms + SIM_REFRESH_MS_MIN)
        ask_metadata(c);
}

void sim_client_refresh(struct sim_client *c)
{
    c->refresh_wanted = true;
    refresh_if_wanted(c);
}

void sim_client_on_metadata(struct sim_client *c, sim_metadata_fn *fn, void *arg)
{
    c->metadata_fn = fn;
    c->metadata_arg = arg;
}

const struct sim_partition_view *sim_client_partition(const struct sim_client *c, uint32_t p)
{
    return &c->partitions[p];
}

struct kb_uuid sim_client_topic_id(const struct sim_client *c, uint32_t topic)
{
    return c->topic_ids[topic];
}

uint64_t sim_client_lost(const struct sim_client *c)
{
    return c->lost;
}

/* ---- life ---- */

/* Close the links whose oldest request waits for too long. */
static void on_tick(void *arg)
{
    struct sim_client *c = arg;
    struct link *l;
    uint64_t now = kb_env_now_ms(c->env);
    LIST_FOREACH(l, &c->links, entry)
    {
        const struct call *call = TAILQ_FIRST(&l->calls);
        if (call != NULL && now >= call->deadline_ms)
            kb_conn_close(l->conn);
    }
    refresh_if_wanted(c);
    kb_timer_arm(c->tick, 25);
}

struct sim_client *sim_client_new(struct kb_env *env, const struct sim_client_options *options)
{
    struct sim_client *c = kb_new(struct sim_client);
    c->env = env;
    c->options = *options;
    LIST_INIT(&c->links);
    c->topic_ids = kb_new_array(struct kb_uuid, options->topics->count);
    c->partitions = kb_new_array(struct sim_partition_view, sim_topics_partitions(options->topics));
    for (uint32_t p = 0; p < sim_topics_partitions(options->topics); p++)
        c->partitions[p].leader = -1;
    draw_versions(c);
    c->tick = kb_timer_new(env, on_tick, c);
    kb_timer_arm(c->tick, 25);
    return c;
}

static void silent_close(struct kb_conn *conn, void *user, enum kb_close_reason reason)
{
}

struct sim_client *sim_client_free(struct sim_client *c)
{
    static const struct kb_conn_handler silent = {.on_frame = NULL, .on_close = silent_close};
    if (c == NULL)
        return NULL;
    while (!LIST_EMPTY(&c->links)) {
        struct link *l = LIST_FIRST(&c->links);
        struct call *call;
        while ((call = TAILQ_FIRST(&l->calls)) != NULL) {
            TAILQ_REMOVE(&l->calls, call, link);
            free(call);
        }
        kb_conn_set_handler(l->conn, &silent, NULL);
        kb_conn_close(l->conn);
        LIST_REMOVE(l, entry);
        free(l);
    }
    c->tick = kb_timer_free(c->tick);
    free(c->topic_ids);
    free(c->partitions);
    free(c);
    return NULL;
}

struct kb_env *sim_client_env(struct sim_client *c)
{
    return c->env;
}
