#include "tests/sim/sim_auditor.h"

#include <stdlib.h>

#include "proto/base/mem.h"
#include "proto/kafka/messages.h"

#define LIST_LATEST (-1)
#define LIST_EARLIEST (-2)
#define LIST_MAX_TIMESTAMP (-3)

struct sim_auditor {
    struct kb_env *env;
    struct sim_auditor_options options;
    struct kb_timer *tick;
    bool stopped, asking;
    struct sim_audit_question question; /* under way */
    struct kb_uuid topic_id;
    uint32_t topic;
    int32_t index;
};

static uint32_t draw(struct sim_auditor *a, uint32_t low, uint32_t high)
{
    return low + (uint32_t)(kb_env_random_u64(a->env) % (high - low + 1));
}

static void look(struct sim_auditor *a, struct sim_audit_view *ret)
{
    *ret = (struct sim_audit_view){0};
    a->options.look(a->options.arg, a->question.broker, &a->topic_id, a->index, ret);
}

static void answered(struct sim_auditor *a, const struct sim_audit_answer *answer)
{
    struct sim_audit_view after;
    look(a, &after);
    sim_audit_check_answer(a->options.check, &a->question, answer, &after);
}

static int16_t draw_version(struct sim_auditor *a, int16_t api_key, int16_t min)
{
    const struct kw_api *api = kw_api_find(api_key);
    int16_t low = api->version_min > min ? api->version_min : min;
    int16_t version = (int16_t)draw(a, (uint32_t)low, (uint32_t)api->version_max);
    sim_client_set_version(a->options.client, api_key, version);
    return version;
}

static void call(struct sim_auditor *a, int16_t api_key, const void *request, sim_answer_fn *fn)
{
    a->asking = true;
    sim_client_call(a->options.client, a->question.broker, api_key, request, fn, a);
}

static const char *topic_name(const struct sim_auditor *a)
{
    return a->options.topics->topic[a->topic].name;
}

/* ---- Fetch ---- */

static void take_fetched(void *arg, const void *response)
{
    struct sim_auditor *a = arg;
    const struct kw_fetch_response *rs = response;
    a->asking = false;
    if (rs == NULL || rs->error_code != KW_NONE || rs->responses_count != 1 ||
        rs->responses[0].partitions_count != 1)
        return;
    struct sim_audit_answer answer = {.error = rs->responses[0].partitions[0].error_code};
    answered(a, &answer);
}

static void fetch(struct sim_auditor *a)
{
    struct sim_audit_question *q = &a->question;
    struct kw_fetch_request rq;
    struct kw_fetch_request_partition p = {.partition = a->index,
                                           .last_fetched_epoch = -1,
                                           .log_start_offset = -1,
                                           .partition_max_bytes = 1,
                                           .high_watermark = INT64_MAX};
    struct kw_fetch_request_topic topic = {.partitions = &p, .partitions_count = 1};
    int16_t version = draw_version(a, KW_API_FETCH, q->other_topic ? 13 : 0);
    q->by_id = version >= 13;
    q->current_epoch = version >= 9 ? q->current_epoch : -1;
    p.current_leader_epoch = q->current_epoch;
    if (q->before.high_watermark > 0)
        p.fetch_offset = (int64_t)draw(a, 0, (uint32_t)q->before.high_watermark);
    kw_fetch_request_init(&rq);
    if (q->by_id)
        topic.topic_id = a->topic_id;
    else
        topic.topic = kw_str_of(topic_name(a));
    rq.max_bytes = 1;
    rq.isolation_level = version >= 4 ? (int8_t)draw(a, 0, 1) : 0;
    rq.rack_id = KW_STR("");
    rq.topics = &topic;
    rq.topics_count = 1;
    call(a, KW_API_FETCH, &rq, take_fetched);
}

/* ---- ListOffsets ---- */

static void take_listed(void *arg, const void *response)
{
    struct sim_auditor *a = arg;
    const struct kw_list_offsets_response *rs = response;
    a->asking = false;
    if (rs == NULL || rs->topics_count != 1 || rs->topics[0].partitions_count != 1)
        return;
    const struct kw_list_offsets_response_partition *p = &rs->topics[0].partitions[0];
    struct sim_audit_answer answer = {.error = p->error_code,
                                      .offset = p->offset,
                                      .timestamp = p->timestamp,
                                      .epoch = p->leader_epoch};
    answered(a, &answer);
}

/* Somewhere in the run so far, or a little later. */
static int64_t draw_time(struct sim_auditor *a)
{
    return kb_env_wall_ms(a->env) - (int64_t)draw(a, 0, 20000) + 2000;
}

static void list(struct sim_auditor *a)
{
    struct sim_audit_question *q = &a->question;
    struct kw_list_offsets_request rq;
    struct kw_list_offsets_request_partition p = {.partition_index = a->index};
    struct kw_list_offsets_request_topic topic = {
        .name = kw_str_of(topic_name(a)), .partitions = &p, .partitions_count = 1};
    int16_t version = draw_version(a, KW_API_LIST_OFFSETS, q->kind == SIM_AUDIT_MAX_TIME ? 7 : 0);
    if (q->kind == SIM_AUDIT_TIME)
        q->timestamp = draw_time(a);
    else
        q->timestamp = q->kind == SIM_AUDIT_LATEST     ? LIST_LATEST
                       : q->kind == SIM_AUDIT_EARLIEST ? LIST_EARLIEST
                                                       : LIST_MAX_TIMESTAMP;
    q->current_epoch = version >= 4 ? q->current_epoch : -1;
    p.timestamp = q->timestamp;
    p.current_leader_epoch = q->current_epoch;
    kw_list_offsets_request_init(&rq);
    rq.replica_id = -1;
    rq.isolation_level = version >= 2 ? (int8_t)draw(a, 0, 1) : 0; /* no transactions: all alike */
    rq.topics = &topic;
    rq.topics_count = 1;
    call(a, KW_API_LIST_OFFSETS, &rq, take_listed);
}

/* ---- OffsetForLeaderEpoch ---- */

static void take_ends(void *arg, const void *response)
{
    struct sim_auditor *a = arg;
    const struct kw_offset_for_leader_epoch_response *rs = response;
    a->asking = false;
    if (rs == NULL || rs->topics_count != 1 || rs->topics[0].partitions_count != 1)
        return;
    const struct kw_offset_for_leader_epoch_response_partition *p = &rs->topics[0].partitions[0];
    struct sim_audit_answer answer = {
        .error = p->error_code, .offset = p->end_offset, .epoch = p->leader_epoch};
    answered(a, &answer);
}

static void ask_for_end(struct sim_auditor *a)
{
    struct sim_audit_question *q = &a->question;
    struct kw_offset_for_leader_epoch_request rq;
    struct kw_offset_for_leader_epoch_request_partition p = {
        .partition = a->index, .current_leader_epoch = q->current_epoch};
    struct kw_offset_for_leader_epoch_request_topic topic = {
        .topic = kw_str_of(topic_name(a)), .partitions = &p, .partitions_count = 1};
    (void)draw_version(a, KW_API_OFFSET_FOR_LEADER_EPOCH, 0);
    q->epoch = (int32_t)draw(a, 0, (uint32_t)(q->before.leader_epoch + 1));
    p.leader_epoch = q->epoch;
    kw_offset_for_leader_epoch_request_init(&rq);
    rq.topics = &topic;
    rq.topics_count = 1;
    call(a, KW_API_OFFSET_FOR_LEADER_EPOCH, &rq, take_ends);
}

/* ---- asking ---- */

/* Mostly the epoch it knows, else an older or a newer one, or none. */
static int32_t draw_epoch(struct sim_auditor *a, int32_t known)
{
    uint32_t dice = draw(a, 0, 9);
    if (dice == 0 || known < 0)
        return -1;
    if (dice <= 2)
        return known + (int32_t)draw(a, 1, 2);
    if (dice <= 4 && known > 0)
        return (int32_t)draw(a, 0, (uint32_t)known - 1);
    return known;
}

static int32_t leader_of(struct sim_auditor *a)
{
    struct sim_audit_view v;
    for (a->question.broker = 1; a->question.broker <= a->options.brokers; a->question.broker++) {
        look(a, &v);
        if (v.leads)
            return a->question.broker;
    }
    return (int32_t)draw(a, 1, (uint32_t)a->options.brokers);
}

/* One that is there, one that was, or one that never was. */
static void draw_topic(struct sim_auditor *a)
{
    struct kb_uuid id = a->options.any_topic(a->options.arg, kb_env_random_u64(a->env));
    if (draw(a, 0, 3) == 0)
        id.bytes[15] ^= 1;
    if (kb_uuid_equal(&id, &a->topic_id))
        return;
    a->question.other_topic = true;
    a->topic_id = id;
    a->index = 0;
}

static void ask(struct sim_auditor *a)
{
    struct sim_audit_question *q = &a->question;
    *q = (struct sim_audit_question){.kind = draw(a, 0, SIM_AUDIT_KIND_MAX_ - 1)};
    q->partition = draw(a, 0, sim_topics_partitions(a->options.topics) - 1);
    sim_topics_split(a->options.topics, q->partition, &a->topic, &a->index);
    a->topic_id = sim_client_topic_id(a->options.client, a->topic);
    if (q->kind == SIM_AUDIT_FETCH && draw(a, 0, 1) == 0)
        draw_topic(a);
    q->broker = draw(a, 0, 2) != 0 ? leader_of(a)
                                   : (int32_t)draw(a, 1, (uint32_t)a->options.brokers);
    look(a, &q->before);
    q->current_epoch = draw_epoch(a, q->before.leader_epoch);
    if (q->before.life == 0)
        return;
    if (q->kind == SIM_AUDIT_FETCH)
        fetch(a);
    else if (q->kind == SIM_AUDIT_EPOCH_END)
        ask_for_end(a);
    else
        list(a);
}

static void on_tick(void *arg)
{
    struct sim_auditor *a = arg;
    if (a->stopped)
        return;
    kb_timer_arm(a->tick, draw(a, 50, 250));
    if (!a->asking)
        ask(a);
}

/* ---- life ---- */

struct sim_auditor *sim_auditor_new(const struct sim_auditor_options *options)
{
    struct sim_auditor *a = kb_new(struct sim_auditor);
    a->options = *options;
    a->env = sim_client_env(options->client);
    a->tick = kb_timer_new(a->env, on_tick, a);
    kb_timer_arm(a->tick, 1);
    return a;
}

struct sim_auditor *sim_auditor_free(struct sim_auditor *a)
{
    if (a == NULL)
        return NULL;
    sim_client_forget(a->options.client, a);
    a->tick = kb_timer_free(a->tick);
    free(a);
    return NULL;
}

void sim_auditor_stop(struct sim_auditor *a)
{
    a->stopped = true;
}
