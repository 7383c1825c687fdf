#include "tests/sim/sim_deleter.h"

#include <stdlib.h>

#include "proto/base/mem.h"
#include "proto/kafka/messages.h"

#define CALL_TIMEOUT_MS 1000
#define REQUEST_MS 2000
#define BEYOND 1000000 /* offsets above the high watermark: more than a run has */

struct sim_deleter {
    struct kb_env *env;
    struct sim_deleter_options options;
    struct sim_client *client;
    struct kb_timer *tick;
    bool stopped, asking;
    uint32_t partition; /* the call under way is about it */
    bool beyond;        /* ... and must be refused */
    struct sim_start_asked asked;
};

static uint64_t draw(struct sim_deleter *d, uint64_t low, uint64_t high)
{
    return low + kb_env_random_u64(d->env) % (high - low + 1);
}

static int64_t wall_ms(struct sim_deleter *d)
{
    return kb_env_wall_ms(d->env);
}

/* ---- DeleteRecords ---- */

static enum sim_start_answer judge_error(int16_t error)
{
    switch (error) {
    case KW_NONE:
        return SIM_START_DELETED;
    case KW_OFFSET_OUT_OF_RANGE:
    case KW_NOT_ENOUGH_REPLICAS: /* both are said before anything happens */
        return SIM_START_REFUSED;
    default:
        return SIM_START_UNKNOWN;
    }
}

static void take_deleted(void *arg, const void *response)
{
    struct sim_deleter *d = arg;
    const struct kw_delete_records_response *rs = response;
    enum sim_start_answer answer = SIM_START_UNKNOWN;
    int64_t low_watermark = -1;
    d->asking = false;
    if (rs != NULL && rs->topics_count == 1 && rs->topics[0].partitions_count == 1) {
        answer = judge_error(rs->topics[0].partitions[0].error_code);
        low_watermark = rs->topics[0].partitions[0].low_watermark;
    }
    if (d->beyond && answer == SIM_START_UNKNOWN)
        answer = SIM_START_REFUSED; /* whatever became of it */
    sim_start_check_answered(d->options.starts, d->partition, answer, low_watermark,
                             d->options.newest_epoch(d->options.arg, d->partition));
    if (answer == SIM_START_DELETED)
        d->options.deleted(d->options.arg, d->partition);
    else
        sim_client_refresh(d->client);
}

/* Mostly a part of what is left; seldom all, and seldom more than there is. */
static int64_t draw_offset(struct sim_deleter *d)
{
    int64_t floor = sim_start_check_floor(d->options.starts, d->partition);
    int64_t end = d->options.high_watermark(d->options.arg, d->partition);
    uint64_t dice = draw(d, 0, 15);
    d->beyond = dice == 1;
    if (dice == 0)
        return SIM_START_HIGH_WATERMARK;
    if (dice == 1)
        return end + BEYOND;
    if (dice == 2) /* gone already: nothing falls */
        return (int64_t)draw(d, 0, (uint64_t)floor);
    if (end <= floor)
        return floor;
    return floor + (int64_t)draw(d, 0, (uint64_t)(end - floor) * (dice < 4 ? 4 : 2) / 4);
}

static void delete_records(struct sim_deleter *d, int32_t leader)
{
    struct kw_delete_records_request rq;
    struct kw_delete_records_request_partition partition = {0};
    struct kw_delete_records_request_topic topic = {.partitions = &partition,
                                                    .partitions_count = 1};
    const struct sim_topics *topics = d->options.client.topics;
    uint32_t t = 0;
    sim_topics_split(topics, d->partition, &t, &partition.partition_index);
    topic.name = kw_str_of(topics->topic[t].name);
    partition.offset = draw_offset(d);
    kw_delete_records_request_init(&rq);
    rq.topics = &topic;
    rq.topics_count = 1;
    rq.timeout_ms = CALL_TIMEOUT_MS;
    d->asking = true;
    sim_start_check_asked(d->options.starts, d->partition, partition.offset);
    sim_client_call(d->client, leader, KW_API_DELETE_RECORDS, &rq, take_deleted, d);
}

/* ---- ListOffsets ---- */

static void take_listed(void *arg, const void *response)
{
    struct sim_deleter *d = arg;
    const struct kw_list_offsets_response *rs = response;
    d->asking = false;
    if (rs == NULL || rs->topics_count != 1 || rs->topics[0].partitions_count != 1 ||
        rs->topics[0].partitions[0].error_code != KW_NONE) {
        sim_client_refresh(d->client);
        return;
    }
    sim_start_check_told(d->options.starts, d->partition, &d->asked,
                         rs->topics[0].partitions[0].offset, wall_ms(d));
}

static void list(struct sim_deleter *d, const struct sim_partition_view *v)
{
    struct kw_list_offsets_request rq;
    struct kw_list_offsets_request_partition partition = {.timestamp = -2};
    struct kw_list_offsets_request_topic topic = {.partitions = &partition, .partitions_count = 1};
    const struct sim_topics *topics = d->options.client.topics;
    uint32_t t = 0;
    sim_topics_split(topics, d->partition, &t, &partition.partition_index);
    topic.name = kw_str_of(topics->topic[t].name);
    partition.current_leader_epoch = v->leader_epoch;
    kw_list_offsets_request_init(&rq);
    rq.replica_id = -1;
    rq.topics = &topic;
    rq.topics_count = 1;
    d->asking = true;
    d->asked = sim_start_check_asking(d->options.starts, d->partition, v->leader_epoch);
    sim_client_call(d->client, v->leader, KW_API_LIST_OFFSETS, &rq, take_listed, d);
}

static void on_tick(void *arg)
{
    struct sim_deleter *d = arg;
    if (d->stopped)
        return;
    kb_timer_arm(d->tick, draw(d, 50, 400));
    if (d->asking)
        return;
    d->partition = (uint32_t)draw(d, 0, sim_topics_partitions(d->options.client.topics) - 1);
    const struct sim_partition_view *v = sim_client_partition(d->client, d->partition);
    bool may_delete = (d->options.partitions >> d->partition & 1) != 0 &&
                      d->options.high_watermark(d->options.arg, d->partition) >= 0;
    if (v->leader < 0)
        sim_client_refresh(d->client);
    else if (may_delete && draw(d, 0, 1) == 0)
        delete_records(d, v->leader);
    else
        list(d, v);
}

/* ---- life ---- */

struct sim_deleter *sim_deleter_new(struct kb_env *env, const struct sim_deleter_options *options)
{
    struct sim_deleter *d = kb_new(struct sim_deleter);
    d->env = env;
    d->options = *options;
    d->client = sim_client_new(env, &options->client);
    sim_client_set_timeout(d->client, REQUEST_MS);
    if (sim_client_version(d->client, KW_API_LIST_OFFSETS) < 4)
        sim_client_set_version(d->client, KW_API_LIST_OFFSETS, 4); /* names the leader epoch */
    d->tick = kb_timer_new(env, on_tick, d);
    kb_timer_arm(d->tick, 1);
    sim_client_refresh(d->client);
    return d;
}

struct sim_deleter *sim_deleter_free(struct sim_deleter *d)
{
    if (d == NULL)
        return NULL;
    d->client = sim_client_free(d->client);
    d->tick = kb_timer_free(d->tick);
    free(d);
    return NULL;
}

void sim_deleter_stop(struct sim_deleter *d)
{
    d->stopped = true;
}
