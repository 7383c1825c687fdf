#include "tests/sim/sim_consumer.h"

#include <stdlib.h>

#include "proto/base/assert.h"
#include "proto/base/mem.h"
#include "proto/kafka/batch.h"
#include "proto/kafka/messages.h"

#define SIM_PARTITIONS_MAX 64
#define SIM_IDLE_MS 10

struct position {
    int64_t offset;       /* -1: not assigned */
    uint32_t assignments; /* answers to what was asked in an earlier one do not count */
    int32_t last_epoch;   /* of the batch before it; -1 */
    int64_t high_watermark;
    bool asked; /* in a poll under way */
    bool seeking;
    int64_t began;
    struct sim_start_asked then; /* when it was asked for last */
};

/* Asking a leader where a partition begins. */
struct seek {
    struct sim_consumer *consumer;
    uint32_t partition;
    struct sim_start_asked asked;
};

/* A poll under way to one leader. */
struct poll {
    struct sim_consumer *consumer;
    int32_t leader; /* -1: free */
    uint32_t partitions[SIM_PARTITIONS_MAX];
    uint32_t assignments[SIM_PARTITIONS_MAX];
    uint32_t count;
};

struct sim_consumer {
    struct kb_env *env;
    struct sim_consumer_options options;
    struct sim_client *client;
    struct kb_timer *tick;
    struct position *positions;
    struct seek *seeks; /* by partition */
    uint32_t partition_count;
    struct poll polls[8];
};

/* ---- what came ---- */

static void take_batch(struct sim_consumer *c, uint32_t partition, const struct kw_batch *b)
{
    struct position *pos = &c->positions[partition];
    struct kw_records *it = NULL;
    struct kw_record record;
    int r = kw_records_open(b, 64 << 20, &it);
    while (r == 0 && (r = kw_records_next(it, &record)) == 1) {
        r = 0;
        if (record.offset < pos->offset)
            continue;
        sim_check(c->options.checks, SIM_CHECK_P10, record.offset == pos->offset || c->options.gaps,
                  "partition %u consumer %u: expected offset %lld, was given %lld", partition,
                  c->options.number, (long long)pos->offset, (long long)record.offset);
        if (c->options.on_keyed != NULL)
            c->options.on_keyed(c->options.arg, partition, &record);
        else
            c->options.on_record(c->options.arg, partition, record.offset,
                                 kw_bytes_view(record.value));
        pos->offset = record.offset + 1;
        pos->last_epoch = b->leader_epoch;
    }
    (void)kw_records_close(it);
    sim_check(c->options.checks, SIM_CHECK_P10, r == 0 && kw_batch_crc_ok(b),
              "partition %u consumer %u: bad batch at %lld", partition, c->options.number,
              (long long)b->base_offset);
}

static void take_records(struct sim_consumer *c, uint32_t partition,
                         const struct kw_fetch_response_partition *rs)
{
    struct kw_batches it;
    struct kw_batch b;
    kw_batches_init(&it, rs->records.data, (size_t)rs->records.size);
    while (kw_batches_next(&it, &b) == KW_BATCHES_ONE) {
        if (kw_batch_last_offset(&b) < c->positions[partition].offset)
            continue;
        sim_check(c->options.checks, SIM_CHECK_P10, kw_batch_last_offset(&b) < rs->high_watermark,
                  "partition %u consumer %u: given %lld at a high watermark of %lld", partition,
                  c->options.number, (long long)kw_batch_last_offset(&b),
                  (long long)rs->high_watermark);
        if (c->options.starts != NULL)
            sim_start_check_read(c->options.starts, partition, &c->positions[partition].then,
                                 c->positions[partition].offset);
        take_batch(c, partition, &b);
    }
    if (rs->high_watermark > c->positions[partition].high_watermark)
        c->positions[partition].high_watermark = rs->high_watermark;
}

static void take_start(void *arg, const void *response)
{
    struct seek *s = arg;
    struct sim_consumer *c = s->consumer;
    struct position *pos = &c->positions[s->partition];
    const struct kw_list_offsets_response *rs = response;
    pos->seeking = false;
    if (rs == NULL || rs->topics_count != 1 || rs->topics[0].partitions_count != 1 ||
        rs->topics[0].partitions[0].error_code != KW_NONE) {
        sim_client_refresh(c->client);
        return;
    }
    int64_t start = rs->topics[0].partitions[0].offset;
    sim_start_check_told(c->options.starts, s->partition, &s->asked, start, kb_env_wall_ms(c->env));
    if (start <= pos->offset)
        return;
    pos->offset = pos->began = start;
    pos->last_epoch = -1;
}

static void seek(struct sim_consumer *c, uint32_t partition)
{
    struct kw_list_offsets_request rq;
    struct kw_list_offsets_request_partition part = {.timestamp = -2};
    struct kw_list_offsets_request_topic topic = {.partitions = &part, .partitions_count = 1};
    const struct sim_topics *topics = c->options.client.topics;
    const struct sim_partition_view *v = sim_client_partition(c->client, partition);
    uint32_t t = 0;
    sim_topics_split(topics, partition, &t, &part.partition_index);
    topic.name = kw_str_of(topics->topic[t].name);
    part.current_leader_epoch = v->leader_epoch;
    kw_list_offsets_request_init(&rq);
    rq.replica_id = -1;
    rq.topics = &topic;
    rq.topics_count = 1;
    c->positions[partition].seeking = true;
    c->seeks[partition] = (struct seek){
        c, partition, sim_start_check_asking(c->options.starts, partition, v->leader_epoch)};
    sim_client_call(c->client, v->leader, KW_API_LIST_OFFSETS, &rq, take_start,
                    &c->seeks[partition]);
}

static void take_partition(struct sim_consumer *c, uint32_t partition,
                           const struct kw_fetch_response_partition *rs)
{
    sim_check(c->options.checks, SIM_CHECK_P10,
              (rs->error_code != KW_OFFSET_OUT_OF_RANGE || c->options.starts != NULL) &&
                  rs->diverging_epoch.end_offset < 0,
              "partition %u consumer %u at %lld: broker %d of epoch %d says %s, diverging at %lld",
              partition, c->options.number, (long long)c->positions[partition].offset,
              sim_client_partition(c->client, partition)->leader,
              sim_client_partition(c->client, partition)->leader_epoch,
              kw_error_name(rs->error_code), (long long)rs->diverging_epoch.end_offset);
    if (rs->error_code == KW_NONE) {
        take_records(c, partition, rs);
        return;
    }
    if (rs->error_code == KW_OFFSET_OUT_OF_RANGE && c->options.starts != NULL) {
        sim_start_check_out_of_range(c->options.starts, partition, c->positions[partition].offset,
                                     kb_env_wall_ms(c->env));
        if (sim_client_partition(c->client, partition)->leader >= 0)
            seek(c, partition);
        return;
    }
    sim_check(c->options.checks, SIM_CHECK_RUN,
              kw_error_retriable(rs->error_code) || kw_error_refreshes(rs->error_code) ||
                  rs->error_code == KW_OFFSET_OUT_OF_RANGE,
              "partition %u consumer %u: fetch refused with %s", partition, c->options.number,
              kw_error_name(rs->error_code));
    sim_client_refresh(c->client);
}

static const struct kw_fetch_response_partition *
find_answer(const struct sim_consumer *c, const struct kw_fetch_response *rs, uint32_t partition)
{
    uint32_t topic = 0;
    int32_t index = 0;
    sim_topics_split(c->options.client.topics, partition, &topic, &index);
    const char *name = c->options.client.topics->topic[topic].name;
    struct kb_uuid id = sim_client_topic_id(c->client, topic);
    bool by_id = sim_client_version(c->client, KW_API_FETCH) >= 13;
    for (int32_t t = 0; t < rs->responses_count; t++) {
        const struct kw_fetch_response_topic *rt = &rs->responses[t];
        if (by_id ? !kb_uuid_equal(&rt->topic_id, &id) : !kw_str_is(rt->topic, name))
            continue;
        for (int32_t i = 0; i < rt->partitions_count; i++) {
            if (rt->partitions[i].partition_index == index)
                return &rt->partitions[i];
        }
    }
    return NULL;
}

static void take_fetched(void *arg, const void *response)
{
    struct poll *poll = arg;
    struct sim_consumer *c = poll->consumer;
    const struct kw_fetch_response *rs = response;
    poll->leader = -1;
    for (uint32_t i = 0; i < poll->count; i++) {
        uint32_t partition = poll->partitions[i];
        c->positions[partition].asked = false;
        if (c->positions[partition].assignments != poll->assignments[i])
            continue;
        const struct kw_fetch_response_partition *p = rs != NULL && rs->error_code == KW_NONE
                                                          ? find_answer(c, rs, partition)
                                                          : NULL;
        if (p != NULL)
            take_partition(c, partition, p);
    }
    if (rs == NULL || rs->error_code != KW_NONE)
        sim_client_refresh(c->client);
    if (!kb_timer_armed(c->tick))
        kb_timer_arm(c->tick, 1);
}

/* ---- asking ---- */

/* What is asked of one partition, in the words of this version. */
static void fill_partition(struct sim_consumer *c, uint32_t partition, int32_t index,
                           struct kw_fetch_request_partition *part)
{
    struct position *pos = &c->positions[partition];
    int16_t version = sim_client_version(c->client, KW_API_FETCH);
    *part = (struct kw_fetch_request_partition){.partition = index,
                                                .current_leader_epoch = -1,
                                                .fetch_offset = pos->offset,
                                                .last_fetched_epoch = -1,
                                                .log_start_offset = -1,
                                                .partition_max_bytes = 1 << 20,
                                                .high_watermark = INT64_MAX};
    if (version >= 9)
        part->current_leader_epoch = sim_client_partition(c->client, partition)->leader_epoch;
    if (version >= 12)
        part->last_fetched_epoch = pos->last_epoch;
    if (c->options.starts != NULL)
        pos->then = sim_start_check_asking(c->options.starts, partition,
                                           part->current_leader_epoch);
    pos->asked = true;
}

static void ask(struct sim_consumer *c, struct poll *poll)
{
    struct kw_fetch_request rq;
    struct kw_fetch_request_topic topics[8] = {0};
    struct kw_fetch_request_partition parts[SIM_PARTITIONS_MAX];
    const struct sim_topics *names = c->options.client.topics;
    uint32_t last = UINT32_MAX;
    kw_fetch_request_init(&rq);
    for (uint32_t i = 0; i < poll->count; i++) {
        uint32_t topic = 0;
        int32_t index = 0;
        sim_topics_split(names, poll->partitions[i], &topic, &index);
        fill_partition(c, poll->partitions[i], index, &parts[i]);
        if (topic != last) {
            struct kw_fetch_request_topic *t = &topics[rq.topics_count++];
            if (sim_client_version(c->client, KW_API_FETCH) >= 13)
                t->topic_id = sim_client_topic_id(c->client, topic);
            else
                t->topic = kw_str_of(names->topic[topic].name);
            t->partitions = &parts[i];
            last = topic;
        }
        topics[rq.topics_count - 1].partitions_count++;
    }
    rq.max_wait_ms = (int32_t)c->options.max_wait_ms;
    rq.min_bytes = 1;
    rq.max_bytes = 8 << 20;
    rq.rack_id = KW_STR("");
    rq.topics = topics;
    sim_client_call(c->client, poll->leader, KW_API_FETCH, &rq, take_fetched, poll);
}

static struct poll *free_poll(struct sim_consumer *c, int32_t leader)
{
    struct poll *found = NULL;
    for (size_t i = 0; i < sizeof(c->polls) / sizeof(c->polls[0]); i++) {
        if (c->polls[i].leader == leader)
            return NULL; /* one at a time */
        if (c->polls[i].leader < 0 && found == NULL)
            found = &c->polls[i];
    }
    return found;
}

static bool wants(const struct sim_consumer *c, uint32_t partition)
{
    return c->positions[partition].offset >= 0 && !c->positions[partition].asked &&
           !c->positions[partition].seeking;
}

static void poll_all(struct sim_consumer *c)
{
    for (uint32_t first = 0; first < c->partition_count; first++) {
        int32_t leader = sim_client_partition(c->client, first)->leader;
        if (leader < 0) {
            sim_client_refresh(c->client);
            continue;
        }
        struct poll *poll = wants(c, first) ? free_poll(c, leader) : NULL;
        if (poll == NULL)
            continue;
        poll->consumer = c;
        poll->leader = leader;
        poll->count = 0;
        for (uint32_t p = first; p < c->partition_count && poll->count < SIM_PARTITIONS_MAX; p++) {
            if (!wants(c, p) || sim_client_partition(c->client, p)->leader != leader)
                continue;
            poll->assignments[poll->count] = c->positions[p].assignments;
            poll->partitions[poll->count++] = p;
        }
        ask(c, poll);
    }
}

static void on_tick(void *arg)
{
    struct sim_consumer *c = arg;
    poll_all(c);
    kb_timer_arm(c->tick, SIM_IDLE_MS);
}

struct sim_consumer *sim_consumer_new(struct kb_env *env,
                                      const struct sim_consumer_options *options)
{
    struct sim_consumer *c = kb_new(struct sim_consumer);
    c->env = env;
    c->options = *options;
    c->partition_count = sim_topics_partitions(options->client.topics);
    KB_ASSERT(c->partition_count <= SIM_PARTITIONS_MAX);
    c->positions = kb_new_array(struct position, c->partition_count);
    for (uint32_t p = 0; p < c->partition_count; p++)
        c->positions[p] = (struct position){.offset = options->assigned ? -1 : 0, .last_epoch = -1};
    for (size_t i = 0; i < sizeof(c->polls) / sizeof(c->polls[0]); i++)
        c->polls[i].leader = -1;
    c->seeks = kb_new_array(struct seek, c->partition_count);
    c->client = sim_client_new(env, &options->client);
    if (sim_client_version(c->client, KW_API_LIST_OFFSETS) < 4)
        sim_client_set_version(c->client, KW_API_LIST_OFFSETS, 4); /* names the leader epoch */
    c->tick = kb_timer_new(env, on_tick, c);
    kb_timer_arm(c->tick, SIM_IDLE_MS);
    sim_client_refresh(c->client);
    return c;
}

struct sim_consumer *sim_consumer_free(struct sim_consumer *c)
{
    if (c == NULL)
        return NULL;
    c->client = sim_client_free(c->client);
    c->tick = kb_timer_free(c->tick);
    free(c->positions);
    free(c->seeks);
    free(c);
    return NULL;
}

void sim_consumer_assign(struct sim_consumer *c, uint32_t partition, int64_t offset)
{
    struct position *pos = &c->positions[partition];
    pos->offset = offset;
    pos->last_epoch = -1;
    pos->assignments++;
}

int64_t sim_consumer_position(const struct sim_consumer *c, uint32_t partition)
{
    return c->positions[partition].offset;
}

int64_t sim_consumer_began(const struct sim_consumer *c, uint32_t partition)
{
    return c->positions[partition].began;
}

int64_t sim_consumer_high_watermark(const struct sim_consumer *c, uint32_t partition)
{
    return c->positions[partition].high_watermark;
}
