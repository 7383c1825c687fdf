#include "tests/sim/sim_producer.h"

#include <stdlib.h>
#include <sys/queue.h>

#include "proto/base/assert.h"
#include "proto/base/mem.h"
#include "proto/kafka/batch.h"
#include "proto/kafka/messages.h"
#include "tests/sim/sim_env.h"

#define SIM_IN_FLIGHT_MAX 5
#define SIM_QUEUED_MAX 8 /* batches per partition before the producer waits */
#define SIM_RETRY_MS 40
#define SIM_PRODUCE_TIMEOUT_MS 1500

struct batch {
    TAILQ_ENTRY(batch) link;
    struct sim_producer *producer;
    uint32_t partition;
    uint64_t first_id;
    uint32_t count;
    int32_t sequence; /* -1 until sent first */
    struct kb_block *bytes;
    int32_t leader_epoch; /* known when it was sent last */
    bool in_flight;
};
TAILQ_HEAD(batch_list, batch);

struct lane {
    struct batch_list batches; /* not acknowledged, in order */
    uint32_t queued, in_flight;
    uint32_t order;
    int32_t sequence;
    int16_t epoch;  /* of what is sent */
    int32_t leader; /* what is in flight went there */
    bool forgotten; /* the broker does not know the producer: the next epoch, then all again */
    bool retrying;  /* something failed: wait until nothing is in flight, then send in order */
};

struct sim_producer {
    struct kb_env *env;
    struct sim_producer_options options;
    struct sim_client *client;
    struct kb_timer *make, *retry;
    struct lane *lanes;
    uint32_t lane_count;
    int64_t producer_id;
    int16_t producer_epoch;
    bool asking_id, stopped;
};

static uint64_t draw(struct sim_producer *p, uint64_t min, uint64_t max)
{
    return min + kb_env_random_u64(p->env) % (max - min + 1);
}

static void batch_free(struct sim_producer *p, struct batch *b)
{
    struct lane *lane = &p->lanes[b->partition];
    TAILQ_REMOVE(&lane->batches, b, link);
    lane->queued--;
    if (b->in_flight)
        lane->in_flight--;
    (void)kb_block_unref(b->bytes);
    free(b);
}

static void batch_done(struct sim_producer *p, struct batch *b, enum sim_outcome outcome,
                       int64_t base_offset)
{
    for (uint32_t i = 0; i < b->count; i++)
        sim_history_done(p->options.history, b->first_id + i, outcome,
                         outcome == SIM_OK ? base_offset + i : -1);
    batch_free(p, b);
}

/* Encode with the sequence it will keep. */
static void batch_encode(struct sim_producer *p, struct batch *b)
{
    struct lane *lane = &p->lanes[b->partition];
    struct kw_batch_builder builder;
    kw_batch_builder_init(&builder);
    if (p->options.idempotent) {
        b->sequence = lane->sequence;
        lane->sequence += (int32_t)b->count;
        builder.producer_id = p->producer_id;
        builder.producer_epoch = lane->epoch;
        builder.base_sequence = b->sequence;
    }
    for (uint32_t i = 0; i < b->count; i++) {
        struct kb_buf key = {0}, value = {0};
        uint64_t id = b->first_id + i;
        bool whole = true;
        if (p->options.fill != NULL) {
            whole = p->options.fill(p->options.on_ack_arg, id, &key, &value);
        } else {
            kb_buf_append(&key, &id, sizeof(id));
            sim_history_value(id, &value);
        }
        int r = kw_batch_builder_add(
            &builder, kb_env_wall_ms(p->env), kw_bytes_of(key.data, key.size),
            whole ? kw_bytes_of(value.data, value.size) : kw_bytes_of(NULL, 0));
        KB_ASSERT(r == 0);
        kb_buf_release(&key);
        kb_buf_release(&value);
        if (p->options.idempotent)
            sim_history_set_sequence(p->options.history, id, p->producer_id, lane->epoch,
                                     b->sequence + (int32_t)i);
    }
    int r = kw_batch_builder_finish(&builder, &b->bytes);
    KB_ASSERT(r == 0);
    kw_batch_builder_release(&builder);
}

/* ---- identity ---- */

static void send_all(struct sim_producer *p);

static void retry_soon(struct sim_producer *p)
{
    sim_client_refresh(p->client);
    if (!kb_timer_armed(p->retry))
        kb_timer_arm(p->retry, SIM_RETRY_MS + draw(p, 0, SIM_RETRY_MS));
}

static void take_id(void *arg, const void *response)
{
    struct sim_producer *p = arg;
    const struct kw_init_producer_id_response *rs = response;
    p->asking_id = false;
    if (rs == NULL || rs->error_code != KW_NONE) {
        retry_soon(p);
        return;
    }
    p->producer_id = rs->producer_id;
    p->producer_epoch = rs->producer_epoch;
    for (uint32_t i = 0; i < p->lane_count; i++)
        p->lanes[i].epoch = p->producer_epoch;
    if (p->options.on_identity != NULL)
        p->options.on_identity(p->options.on_ack_arg, p->producer_id, p->producer_epoch);
    send_all(p);
}

static bool has_identity(struct sim_producer *p)
{
    if (!p->options.idempotent || p->producer_id >= 0)
        return true;
    if (!p->asking_id) {
        struct kw_init_producer_id_request rq;
        kw_init_producer_id_request_init(&rq);
        rq.transactional_id = kw_str_null();
        rq.transaction_timeout_ms = 60000;
        p->asking_id = true;
        sim_client_call(p->client, SIM_ANY_BROKER, KW_API_INIT_PRODUCER_ID, &rq, take_id, p);
    }
    return false;
}

/* As clients do after an error they cannot make good: the next epoch of their id, which nobody has
 * to be asked for, or another id. Sequences begin anew. */
static void renew(struct sim_producer *p)
{
    uint32_t every = p->options.renews_every;
    if (every == 0 || p->producer_id < 0 || !sim_producer_is_idle(p) || draw(p, 1, every) != 1)
        return;
    if (draw(p, 0, 2) == 0)
        p->producer_id = -1;
    else
        p->producer_epoch++;
    for (uint32_t i = 0; i < p->lane_count; i++) {
        p->lanes[i].sequence = 0;
        p->lanes[i].epoch = p->producer_epoch;
    }
}

/* KIP-360: what the broker knew of the producer went with its records. The partition goes on in the
 * next epoch, and what is not acknowledged is sent again in that. */
static void begin_anew(struct sim_producer *p, struct lane *lane)
{
    struct batch *b = NULL;
    lane->forgotten = false;
    lane->epoch = ++p->producer_epoch;
    lane->sequence = 0;
    TAILQ_FOREACH(b, &lane->batches, link)
    b->bytes = kb_block_unref(b->bytes);
    if (p->options.on_identity != NULL)
        p->options.on_identity(p->options.on_ack_arg, p->producer_id, p->producer_epoch);
}

/* ---- answers ---- */

/* The outcome is unknown or a clear "not now": send again, or without idempotence give it up. */
static void batch_again(struct batch *b)
{
    struct sim_producer *p = b->producer;
    struct lane *lane = &p->lanes[b->partition];
    if (!p->options.idempotent) {
        batch_done(p, b, SIM_INFO, -1);
    } else {
        b->in_flight = false;
        lane->in_flight--;
        lane->retrying = true;
    }
    retry_soon(p);
}

static const struct kw_produce_response_partition *find_answer(const struct kw_produce_response *rs,
                                                               int32_t index)
{
    for (int32_t t = 0; rs != NULL && t < rs->responses_count; t++) {
        const struct kw_produce_response_topic *topic = &rs->responses[t];
        for (int32_t i = 0; i < topic->partition_responses_count; i++) {
            if (topic->partition_responses[i].index == index)
                return &topic->partition_responses[i];
        }
    }
    return NULL;
}

static void batch_refused(struct batch *b, int16_t error)
{
    struct sim_producer *p = b->producer;
    sim_world_note(sim_env_world(sim_env_of(p->env)), "producer %u partition %u sequence %d: %s",
                   p->options.number, b->partition, b->sequence, kw_error_name(error));
    bool order = error == KW_OUT_OF_ORDER_SEQUENCE_NUMBER || error == KW_UNKNOWN_PRODUCER_ID;
    bool behind = p->options.is_behind != NULL &&
                  p->options.is_behind(p->options.on_ack_arg, b->partition,
                                       p->lanes[b->partition].leader);
    if (order) /* something acknowledged is gone, or refused just now: then its error was due */
        sim_check(p->options.checks, SIM_CHECK_P11, behind,
                  "partition %u producer %u sequence %d: %s, though all before it were sent",
                  b->partition, p->options.number, b->sequence, kw_error_name(error));
    else
        sim_check(p->options.checks, SIM_CHECK_RUN,
                  kw_error_retriable(error) || kw_error_refreshes(error),
                  "partition %u producer %u: produce refused with %s", b->partition,
                  p->options.number, kw_error_name(error));
    if (error == KW_UNKNOWN_PRODUCER_ID)
        p->lanes[b->partition].forgotten = true;
    batch_again(b);
}

static void take_produced(void *arg, const void *response)
{
    struct batch *b = arg;
    struct sim_producer *p = b->producer;
    uint32_t topic = 0;
    int32_t index = 0;
    sim_topics_split(p->options.client.topics, b->partition, &topic, &index);
    const struct kw_produce_response_partition *rs = find_answer(response, index);
    if (rs == NULL) {
        batch_again(b);
        return;
    }
    if (rs->error_code != KW_NONE) {
        batch_refused(b, rs->error_code);
        return;
    }
    struct sim_ack ack = {.partition = b->partition,
                          .first_offset = rs->base_offset,
                          .last_offset = rs->base_offset + b->count - 1,
                          .acks = p->options.acks,
                          .broker = p->lanes[b->partition].leader,
                          .leader_epoch = b->leader_epoch,
                          .batch = kb_view_of(b->bytes->data, b->bytes->size)};
    if (p->options.on_ack != NULL)
        p->options.on_ack(p->options.on_ack_arg, &ack);
    batch_done(p, b, SIM_OK, rs->base_offset);
    send_all(p);
}

/* ---- sending ---- */

static void batch_send(struct sim_producer *p, struct batch *b, int32_t leader)
{
    struct kw_produce_request rq;
    struct kw_produce_request_topic topic = {0};
    struct kw_produce_request_partition part = {0};
    uint32_t topic_index = 0;
    if (b->bytes == NULL)
        batch_encode(p, b);
    kw_produce_request_init(&rq);
    sim_topics_split(p->options.client.topics, b->partition, &topic_index, &part.index);
    if (sim_client_version(p->client, KW_API_PRODUCE) >= 13)
        topic.topic_id = sim_client_topic_id(p->client, topic_index);
    else
        topic.name = kw_str_of(p->options.client.topics->topic[topic_index].name);
    part.records = kw_bytes_of(b->bytes->data, b->bytes->size);
    topic.partition_data = &part;
    topic.partition_data_count = 1;
    rq.acks = p->options.acks;
    rq.timeout_ms = SIM_PRODUCE_TIMEOUT_MS;
    rq.topic_data = &topic;
    rq.topic_data_count = 1;
    bool answered = p->options.acks != 0;
    sim_client_call(p->client, leader, KW_API_PRODUCE, &rq, answered ? take_produced : NULL, b);
    if (!answered) {
        batch_done(p, b, SIM_INFO, -1);
        return;
    }
    b->leader_epoch = sim_client_partition(p->client, b->partition)->leader_epoch;
    b->in_flight = true;
    p->lanes[b->partition].in_flight++;
}

static void lane_send(struct sim_producer *p, uint32_t partition)
{
    struct lane *lane = &p->lanes[partition];
    const struct sim_partition_view *view = sim_client_partition(p->client, partition);
    struct batch *b, *next;
    if (TAILQ_EMPTY(&lane->batches) || (lane->retrying && lane->in_flight > 0))
        return;
    if (view->leader < 0) {
        sim_client_refresh(p->client);
        return;
    }
    /* A broker that knows nothing of this producer accepts any sequence: nothing goes to a new
     * leader before all that went to the old one is answered. */
    if (lane->in_flight > 0 && lane->leader != view->leader)
        return;
    lane->leader = view->leader;
    lane->retrying = false;
    if (lane->forgotten)
        begin_anew(p, lane);
    for (b = TAILQ_FIRST(&lane->batches); b != NULL; b = next) {
        next = TAILQ_NEXT(b, link);
        if (lane->in_flight >= SIM_IN_FLIGHT_MAX)
            break;
        if (!b->in_flight)
            batch_send(p, b, view->leader);
    }
}

static void send_all(struct sim_producer *p)
{
    if (!has_identity(p) || kb_timer_armed(p->retry))
        return;
    for (uint32_t i = 0; i < p->lane_count; i++)
        lane_send(p, i);
}

static void on_retry(void *arg)
{
    send_all(arg);
}

static void on_metadata(void *arg)
{
    send_all(arg);
}

/* ---- making ---- */

static void make_batch(struct sim_producer *p, uint32_t partition, uint32_t count)
{
    struct lane *lane = &p->lanes[partition];
    if (lane->queued >= SIM_QUEUED_MAX)
        return;
    struct batch *b = kb_new(struct batch);
    b->producer = p;
    b->partition = partition;
    b->count = count;
    b->sequence = -1;
    for (uint32_t i = 0; i < count; i++) {
        struct sim_sent sent = {.producer = p->options.number,
                                .partition = partition,
                                .order = lane->order++,
                                .acks = p->options.acks,
                                .producer_id = -1,
                                .sequence = -1};
        uint64_t id = sim_history_send(p->options.history, &sent);
        if (i == 0)
            b->first_id = id;
    }
    TAILQ_INSERT_TAIL(&lane->batches, b, link);
    lane->queued++;
    send_all(p);
}

static void on_make(void *arg)
{
    struct sim_producer *p = arg;
    if (p->stopped)
        return;
    renew(p);
    make_batch(p, (uint32_t)draw(p, 0, p->lane_count - 1),
               (uint32_t)draw(p, 1, p->options.records_max));
    kb_timer_arm(p->make, draw(p, p->options.interval_ms_min, p->options.interval_ms_max));
}

void sim_producer_push(struct sim_producer *p, uint32_t partition)
{
    make_batch(p, partition, 1);
}

void sim_producer_stop(struct sim_producer *p)
{
    p->stopped = true;
}

bool sim_producer_is_idle(const struct sim_producer *p)
{
    for (uint32_t i = 0; i < p->lane_count; i++) {
        if (p->lanes[i].queued > 0)
            return false;
    }
    return true;
}

struct sim_producer *sim_producer_new(struct kb_env *env,
                                      const struct sim_producer_options *options)
{
    struct sim_producer *p = kb_new(struct sim_producer);
    p->env = env;
    p->options = *options;
    p->producer_id = -1;
    p->lane_count = sim_topics_partitions(options->client.topics);
    p->lanes = kb_new_array(struct lane, p->lane_count);
    for (uint32_t i = 0; i < p->lane_count; i++)
        TAILQ_INIT(&p->lanes[i].batches);
    p->client = sim_client_new(env, &options->client);
    sim_client_on_metadata(p->client, on_metadata, p);
    p->make = kb_timer_new(env, on_make, p);
    p->retry = kb_timer_new(env, on_retry, p);
    kb_timer_arm(p->make, draw(p, 0, options->interval_ms_max));
    sim_client_refresh(p->client);
    return p;
}

struct sim_producer *sim_producer_free(struct sim_producer *p)
{
    if (p == NULL)
        return NULL;
    p->client = sim_client_free(p->client);
    for (uint32_t i = 0; i < p->lane_count; i++) {
        while (!TAILQ_EMPTY(&p->lanes[i].batches))
            batch_done(p, TAILQ_FIRST(&p->lanes[i].batches), SIM_INFO, -1);
    }
    p->make = kb_timer_free(p->make);
    p->retry = kb_timer_free(p->retry);
    free(p->lanes);
    free(p);
    return NULL;
}
