#include "tests/sim/sim_admin.h"

#include <stdlib.h>

#include "proto/base/mem.h"
#include "proto/kafka/messages.h"

#define TOPICS 4
#define REPLICAS 3
#define REPEAT_MS 20 /* no answer comes sooner that a broker asked for twice */
#define CALL_TIMEOUT_MS 1500
#define REQUEST_MS 2500

static const char *const names[TOPICS] = {"extra0", "extra1", "extra2", "extra3"};

struct sim_admin {
    struct kb_env *env;
    struct sim_admin_options options;
    struct sim_client *client;
    struct sim_admin_check *check;
    struct kb_timer *tick;
    bool stopped, asking;
    uint64_t called_ms;
    uint32_t topic; /* the call under way is about it */
    enum sim_admin_call call;
    int32_t partitions;    /* the call asks for */
    int32_t guess[TOPICS]; /* partitions as last answered */
    uint32_t partition;    /* whose end is asked for */
    uint32_t judged;       /* topics */
};

static uint32_t draw(struct sim_admin *a, uint32_t low, uint32_t high)
{
    return low + (uint32_t)(kb_env_random_u64(a->env) % (high - low + 1));
}

static void call(struct sim_admin *a, int32_t broker, int16_t api_key, const void *request,
                 sim_answer_fn *fn)
{
    a->asking = true;
    a->called_ms = kb_env_now_ms(a->env);
    sim_client_call(a->client, broker, api_key, request, fn, a);
}

/* ---- topics ---- */

static void called(struct sim_admin *a, int16_t error)
{
    a->asking = false;
    bool repeated = kb_env_now_ms(a->env) - a->called_ms >= REPEAT_MS;
    sim_admin_check_done(a->check, a->topic, a->call, a->partitions, error, repeated);
    if (error == KW_NONE)
        a->guess[a->topic] = a->call == SIM_ADMIN_DELETE ? 0 : a->partitions;
    else if (error == KW_UNKNOWN_TOPIC_OR_PARTITION)
        a->guess[a->topic] = 0;
    else if (error == KW_TOPIC_ALREADY_EXISTS)
        a->guess[a->topic] = 1;
}

static void take_created(void *arg, const void *response)
{
    const struct kw_create_topics_response *rs = response;
    const struct sim_admin *a = arg;
    if (rs != NULL && rs->topics_count == 1 && rs->topics[0].error_code == KW_NONE &&
        sim_client_version(a->client, KW_API_CREATE_TOPICS) >= 7 && a->options.on_topic_id != NULL)
        a->options.on_topic_id(a->options.arg, &rs->topics[0].topic_id);
    called(arg, rs != NULL && rs->topics_count == 1 ? rs->topics[0].error_code : SIM_ADMIN_LOST);
}

static void create(struct sim_admin *a)
{
    struct kw_create_topics_request rq;
    struct kw_create_topics_request_topic topic = {.name = kw_str_of(names[a->topic]),
                                                   .num_partitions = a->partitions,
                                                   .replication_factor = REPLICAS};
    kw_create_topics_request_init(&rq);
    rq.timeout_ms = CALL_TIMEOUT_MS;
    rq.topics = &topic;
    rq.topics_count = 1;
    call(a, SIM_ANY_BROKER, KW_API_CREATE_TOPICS, &rq, take_created);
}

static void take_deleted(void *arg, const void *response)
{
    const struct kw_delete_topics_response *rs = response;
    called(arg,
           rs != NULL && rs->responses_count == 1 ? rs->responses[0].error_code : SIM_ADMIN_LOST);
}

static void remove_topic(struct sim_admin *a)
{
    struct kw_delete_topics_request rq;
    struct kw_delete_topics_request_topic topic = {.name = kw_str_of(names[a->topic])};
    kw_delete_topics_request_init(&rq);
    rq.timeout_ms = CALL_TIMEOUT_MS;
    if (sim_client_version(a->client, KW_API_DELETE_TOPICS) >= 6) {
        rq.topics = &topic;
        rq.topics_count = 1;
    } else {
        rq.topic_names = &topic.name;
        rq.topic_names_count = 1;
    }
    call(a, SIM_ANY_BROKER, KW_API_DELETE_TOPICS, &rq, take_deleted);
}

static void take_grown(void *arg, const void *response)
{
    const struct kw_create_partitions_response *rs = response;
    called(arg, rs != NULL && rs->results_count == 1 ? rs->results[0].error_code : SIM_ADMIN_LOST);
}

static void grow(struct sim_admin *a)
{
    struct kw_create_partitions_request rq;
    struct kw_create_partitions_request_topic topic = {
        .name = kw_str_of(names[a->topic]), .count = a->partitions, .assignments_count = -1};
    kw_create_partitions_request_init(&rq);
    rq.timeout_ms = CALL_TIMEOUT_MS;
    rq.topics = &topic;
    rq.topics_count = 1;
    call(a, SIM_ANY_BROKER, KW_API_CREATE_PARTITIONS, &rq, take_grown);
}

/* Mostly what should succeed. */
static void change(struct sim_admin *a)
{
    a->topic = draw(a, 0, TOPICS - 1);
    int32_t now = a->guess[a->topic];
    uint32_t dice = draw(a, 0, 9);
    if ((now == 0) == (dice != 0)) {
        a->call = SIM_ADMIN_CREATE;
        a->partitions = (int32_t)draw(a, 1, 2);
        create(a);
    } else if (dice < 6 || now >= 3) {
        a->call = SIM_ADMIN_DELETE;
        a->partitions = 0;
        remove_topic(a);
    } else {
        a->call = SIM_ADMIN_GROW;
        a->partitions = now + 1;
        grow(a);
    }
}

/* ---- ends ---- */

static void take_listed(void *arg, const void *response)
{
    struct sim_admin *a = arg;
    const struct kw_list_offsets_response *rs = response;
    a->asking = false;
    if (rs == NULL || rs->topics_count != 1 || rs->topics[0].partitions_count != 1 ||
        rs->topics[0].partitions[0].error_code != KW_NONE) {
        sim_client_refresh(a->client);
        return;
    }
    sim_admin_check_listed(a->check, a->partition, rs->topics[0].partitions[0].offset);
}

static void list(struct sim_admin *a)
{
    struct kw_list_offsets_request rq;
    struct kw_list_offsets_request_partition partition = {.timestamp = -1};
    struct kw_list_offsets_request_topic topic = {.partitions = &partition, .partitions_count = 1};
    const struct sim_topics *topics = a->options.client.topics;
    uint32_t t = 0;
    a->partition = draw(a, 0, sim_topics_partitions(topics) - 1);
    const struct sim_partition_view *v = sim_client_partition(a->client, a->partition);
    if (v->leader < 0) {
        sim_client_refresh(a->client);
        return;
    }
    sim_topics_split(topics, a->partition, &t, &partition.partition_index);
    topic.name = kw_str_of(topics->topic[t].name);
    partition.current_leader_epoch = v->leader_epoch;
    kw_list_offsets_request_init(&rq);
    rq.replica_id = -1;
    rq.topics = &topic;
    rq.topics_count = 1;
    call(a, v->leader, KW_API_LIST_OFFSETS, &rq, take_listed);
}

static void on_tick(void *arg)
{
    struct sim_admin *a = arg;
    if (a->stopped)
        return;
    kb_timer_arm(a->tick, draw(a, 50, 350));
    if (a->asking)
        return;
    if (draw(a, 0, 1) == 0)
        change(a);
    else
        list(a);
}

/* ---- the end ---- */

static void take_final(void *arg, const void *response)
{
    struct sim_admin *a = arg;
    const struct kw_metadata_response *rs = response;
    a->asking = false;
    if (rs == NULL || rs->topics_count != 1)
        return;
    const struct kw_metadata_response_topic *t = &rs->topics[0];
    if (t->error_code != KW_NONE && t->error_code != KW_UNKNOWN_TOPIC_OR_PARTITION)
        return;
    for (int32_t i = 0; i < t->partitions_count; i++) {
        if (t->partitions[i].leader_id < 0 || t->partitions[i].isr_nodes_count != REPLICAS)
            return; /* not yet at rest */
    }
    sim_admin_check_final(a->check, a->judged, t->error_code == KW_NONE ? t->partitions_count : 0);
    a->judged++;
}

bool sim_admin_judge(struct sim_admin *a)
{
    struct kw_metadata_request rq;
    struct kw_metadata_request_topic topic = {0};
    if (a->judged == TOPICS || a->asking)
        return a->judged == TOPICS;
    kw_metadata_request_init(&rq);
    topic.name = kw_str_of(names[a->judged]);
    rq.topics = &topic;
    rq.topics_count = 1;
    rq.allow_auto_topic_creation = false;
    call(a, SIM_ANY_BROKER, KW_API_METADATA, &rq, take_final);
    return false;
}

/* ---- life ---- */

struct sim_admin *sim_admin_new(struct kb_env *env, const struct sim_admin_options *options)
{
    struct sim_admin *a = kb_new(struct sim_admin);
    a->env = env;
    a->options = *options;
    a->check = sim_admin_check_new(options->checks);
    a->client = sim_client_new(env, &options->client);
    sim_client_set_timeout(a->client, REQUEST_MS);
    if (sim_client_version(a->client, KW_API_LIST_OFFSETS) < 4)
        sim_client_set_version(a->client, KW_API_LIST_OFFSETS, 4); /* names the leader epoch */
    a->tick = kb_timer_new(env, on_tick, a);
    kb_timer_arm(a->tick, 1);
    sim_client_refresh(a->client);
    return a;
}

struct sim_admin *sim_admin_free(struct sim_admin *a)
{
    if (a == NULL)
        return NULL;
    a->client = sim_client_free(a->client);
    a->tick = kb_timer_free(a->tick);
    a->check = sim_admin_check_free(a->check);
    free(a);
    return NULL;
}

void sim_admin_stop(struct sim_admin *a)
{
    a->stopped = true;
}

struct sim_admin_counts sim_admin_counts(const struct sim_admin *a)
{
    return sim_admin_check_counts(a->check);
}
