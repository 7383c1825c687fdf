#include "tests/sim/sim_group_outsider.h"

#include <stdlib.h>
#include <string.h>

#include "proto/base/mem.h"
#include "proto/kafka/messages.h"
#include "tests/sim/sim_env.h"
#include "tests/sim/sim_group_log.h"
#include "tests/sim/sim_group_wire.h"

#define TOPIC_RESOURCE 2

struct sim_outsider {
    struct kb_env *env;
    struct sim_outsider_options options;
    struct sim_client *client;
    struct kb_timer *tick;
    bool stopped;
    bool found, configured; /* __consumer_offsets is there, is set up */
    bool asking;            /* any request is under way */
    int32_t coordinator;    /* answered as one last; 0 none */
    bool told[SIM_GROUPS_MAX];
    uint32_t fetching;              /* the group whose offsets are asked for */
    struct sim_group_asker asked;   /* who asks what is under way */
    struct sim_group_commit commit; /* under way */
    int64_t next_offset;            /* to commit */
    uint32_t describing;            /* the group */
    struct sim_group_listing listings[SIM_GROUPS_MAX];
};

static uint64_t now_us(const struct sim_outsider *o)
{
    return sim_world_now_us(sim_env_world(sim_env_of(o->env)));
}

static uint32_t draw(struct sim_outsider *o, uint32_t bound)
{
    return (uint32_t)(kb_env_random_u64(o->env) % bound);
}

static void ask(struct sim_outsider *o, uint32_t group, int32_t broker, int16_t api_key,
                const void *request, sim_answer_fn *fn)
{
    o->asking = true;
    o->asked = (struct sim_group_asker){
        .group = group, .broker = broker, .generation = -1, .asked_us = now_us(o)};
    sim_client_call(o->client, broker, api_key, request, fn, o);
}

/* Whom a client would ask: the coordinator it knows, now and then somebody else. */
static int32_t likely_broker(struct sim_outsider *o)
{
    return o->coordinator > 0 && draw(o, 4) != 0
               ? o->coordinator
               : 1 + (int32_t)draw(o, (uint32_t)o->options.brokers);
}

static int32_t any_broker(struct sim_outsider *o)
{
    return 1 + (int32_t)draw(o, (uint32_t)o->options.brokers);
}

static void lost(struct sim_outsider *o)
{
    o->coordinator = 0;
    sim_client_refresh(o->client);
}

/* ---- setting up ---- */

static void take_found(void *arg, const void *response)
{
    struct sim_outsider *o = arg;
    const struct kw_find_coordinator_response *rs = response;
    o->asking = false;
    if (rs != NULL)
        o->found = sim_client_version(o->client, KW_API_FIND_COORDINATOR) >= 4
                       ? rs->coordinators_count == 1 && rs->coordinators[0].error_code == KW_NONE
                       : rs->error_code == KW_NONE;
}

static void find(struct sim_outsider *o)
{
    struct kw_find_coordinator_request rq;
    struct kw_str key = kw_str_of(o->options.groups[0]);
    kw_find_coordinator_request_init(&rq);
    if (sim_client_version(o->client, KW_API_FIND_COORDINATOR) >= 4) {
        rq.coordinator_keys = &key;
        rq.coordinator_keys_count = 1;
    } else {
        rq.key = key;
    }
    ask(o, 0, SIM_ANY_BROKER, KW_API_FIND_COORDINATOR, &rq, take_found);
}

static void take_configured(void *arg, const void *response)
{
    struct sim_outsider *o = arg;
    const struct kw_incremental_alter_configs_response *rs = response;
    o->asking = false;
    o->configured = rs != NULL && rs->responses_count == 1 &&
                    rs->responses[0].error_code == KW_NONE;
}

static void configure(struct sim_outsider *o)
{
    struct kw_incremental_alter_configs_request rq;
    struct kw_incremental_alter_configs_request_config configs[] = {
        {.name = KW_STR("segment.ms"), .value = KW_STR("1500")},
        {.name = KW_STR("min.cleanable.dirty.ratio"), .value = KW_STR("0.1")}};
    struct kw_incremental_alter_configs_request_resource resource = {
        .resource_type = TOPIC_RESOURCE,
        .resource_name = KW_STR(SIM_GROUP_TOPIC),
        .configs = configs,
        .configs_count = 2};
    kw_incremental_alter_configs_request_init(&rq);
    rq.resources = &resource;
    rq.resources_count = 1;
    ask(o, 0, SIM_ANY_BROKER, KW_API_INCREMENTAL_ALTER_CONFIGS, &rq, take_configured);
}

bool sim_outsider_prepare(struct sim_outsider *o)
{
    if (o->configured || o->asking)
        return o->configured && !o->asking;
    if (o->found)
        configure(o);
    else
        find(o);
    return false;
}

/* ---- OffsetFetch ---- */

/* Only a coordinator's answer says anything. */
static void take_answer(struct sim_outsider *o, enum sim_group_request request, int16_t error)
{
    bool elsewhere = error == KW_NOT_COORDINATOR || error == KW_COORDINATOR_NOT_AVAILABLE;
    if (elsewhere && o->coordinator == o->asked.broker)
        o->coordinator = 0;
    if (error == KW_NONE)
        o->coordinator = o->asked.broker;
    sim_group_check_answer(o->options.check, &o->asked, request, error, now_us(o));
}

static void take_offsets(void *arg, const void *response)
{
    struct sim_outsider *o = arg;
    const struct sim_topics *topics = o->options.client.topics;
    int16_t error = KW_NONE;
    o->asking = false;
    if (response == NULL) {
        lost(o);
        return;
    }
    for (uint32_t p = 0; p < sim_topics_partitions(topics) && error == KW_NONE; p++) {
        struct kw_str metadata = kw_str_null();
        int64_t offset = -1;
        error = sim_group_fetched(o->client, topics, p, response, &offset, &metadata);
        if (error == KW_NONE)
            sim_group_offsets_fetched(o->options.offsets, o->fetching, p, offset,
                                      kw_str_view(metadata), o->asked.asked_us);
    }
    if (error != KW_UNKNOWN_TOPIC_ID)
        take_answer(o, SIM_GROUP_FETCH, error);
    o->told[o->fetching] = o->told[o->fetching] || error == KW_NONE;
}

static void fetch(struct sim_outsider *o, uint32_t group)
{
    struct sim_group_fetch_request rq;
    for (uint32_t t = 0; t < o->options.client.topics->count; t++) {
        struct kb_uuid id = sim_client_topic_id(o->client, t);
        if (kb_uuid_is_zero(&id)) {
            sim_client_refresh(o->client);
            return;
        }
    }
    o->fetching = group;
    sim_group_fill_fetch(o->client, o->options.client.topics, o->options.groups[group], UINT64_MAX,
                         &rq);
    ask(o, group, any_broker(o), KW_API_OFFSET_FETCH, &rq, take_offsets);
}

bool sim_outsider_fetch_all(struct sim_outsider *o)
{
    for (uint32_t g = 0; g < o->options.group_count; g++) {
        if (o->told[g])
            continue;
        if (!o->asking)
            fetch(o, g);
        return false;
    }
    return true;
}

void sim_outsider_forget(struct sim_outsider *o)
{
    memset(o->told, 0, sizeof(o->told));
    memset(o->listings, 0, sizeof(o->listings));
}

/* ---- OffsetCommit ---- */

static void take_committed(void *arg, const void *response)
{
    struct sim_outsider *o = arg;
    int16_t error = KW_NONE;
    o->asking = false;
    if (response == NULL) {
        lost(o);
        return;
    }
    error = sim_group_commit_error(o->client, o->options.client.topics, o->commit.partition,
                                   response);
    sim_group_offsets_done(o->options.offsets, o->commit.id,
                           error == KW_NONE ? SIM_COMMIT_OK : SIM_COMMIT_OPEN, now_us(o));
    if (error != KW_UNKNOWN_TOPIC_OR_PARTITION && error != KW_UNKNOWN_TOPIC_ID)
        take_answer(o, SIM_GROUP_COMMIT, error);
}

static void commit(struct sim_outsider *o)
{
    struct sim_group_commit_request rq;
    uint32_t p = draw(o, sim_topics_partitions(o->options.client.topics));
    struct kb_uuid id = sim_client_topic_id(o->client, 0);
    if (kb_uuid_is_zero(&id))
        return;
    o->commit = (struct sim_group_commit){.partition = p, .offset = o->next_offset++};
    o->commit.id = sim_group_offsets_commit(o->options.offsets, o->options.memberless, p, -1,
                                            o->commit.offset, now_us(o));
    sim_group_fill_commit(o->client, o->options.client.topics, &o->commit, 1, &rq);
    rq.rq.group_id = kw_str_of(o->options.groups[o->options.memberless]);
    ask(o, o->options.memberless, likely_broker(o), KW_API_OFFSET_COMMIT, &rq.rq, take_committed);
}

/* ---- DescribeGroups ---- */

static void take_described(void *arg, const void *response)
{
    struct sim_outsider *o = arg;
    const struct kw_describe_groups_response *rs = response;
    o->asking = false;
    if (rs == NULL || rs->groups_count != 1) {
        lost(o);
        return;
    }
    const struct kw_describe_groups_response_group *g = &rs->groups[0];
    take_answer(o, SIM_GROUP_DESCRIBE, g->error_code);
    if (g->error_code != KW_NONE)
        return;
    struct sim_group_listing *l = &o->listings[o->describing];
    *l = (struct sim_group_listing){.asked_us = o->asked.asked_us, .broker = o->asked.broker};
    (void)snprintf(l->state, sizeof(l->state), "%.*s", g->group_state.size, g->group_state.data);
    for (int32_t i = 0; i < g->members_count && l->count < SIM_GROUP_MEMBERS_MAX; i++)
        (void)snprintf(l->members[l->count++], SIM_GROUP_ID_MAX, "%.*s",
                       g->members[i].member_id.size, g->members[i].member_id.data);
}

const struct sim_group_listing *sim_outsider_listing(const struct sim_outsider *o, uint32_t group)
{
    return &o->listings[group];
}

void sim_outsider_describe(struct sim_outsider *o, uint32_t group)
{
    struct kw_describe_groups_request rq;
    struct kw_str id = kw_str_of(o->options.groups[group]);
    if (o->asking)
        return;
    kw_describe_groups_request_init(&rq);
    rq.groups = &id;
    rq.groups_count = 1;
    o->describing = group;
    ask(o, group, likely_broker(o), KW_API_DESCRIBE_GROUPS, &rq, take_described);
}

/* ---- by itself ---- */

static void on_tick(void *arg)
{
    struct sim_outsider *o = arg;
    if (o->stopped)
        return;
    kb_timer_arm(o->tick, 100 + draw(o, 400));
    if (o->asking)
        return;
    switch (draw(o, 4)) {
    case 0:
        sim_outsider_describe(o, draw(o, o->options.group_count));
        break;
    case 1:
        fetch(o, draw(o, o->options.group_count));
        break;
    default:
        commit(o);
        break;
    }
}

void sim_outsider_start(struct sim_outsider *o)
{
    kb_timer_arm(o->tick, 1);
}

void sim_outsider_stop(struct sim_outsider *o)
{
    o->stopped = true;
}

struct sim_outsider *sim_outsider_new(struct kb_env *env,
                                      const struct sim_outsider_options *options)
{
    struct sim_outsider *o = kb_new(struct sim_outsider);
    o->env = env;
    o->options = *options;
    o->client = sim_client_new(env, &options->client);
    o->tick = kb_timer_new(env, on_tick, o);
    sim_client_refresh(o->client);
    return o;
}

struct sim_outsider *sim_outsider_free(struct sim_outsider *o)
{
    if (o == NULL)
        return NULL;
    o->client = sim_client_free(o->client);
    o->tick = kb_timer_free(o->tick);
    free(o);
    return NULL;
}
