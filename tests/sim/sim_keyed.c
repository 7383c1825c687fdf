#include "tests/sim/sim_keyed.h"

#include <stdlib.h>

#include "proto/base/mem.h"
#include "proto/base/prng.h"
#include "proto/kafka/messages.h"
#include "tests/sim/sim_consumer.h"
#include "tests/sim/sim_logs.h"
#include "tests/sim/sim_probe.h"
#include "tests/sim/sim_producer.h"

#define TOPIC "keys"
#define DIR "/data/" TOPIC "-0"
#define KEYS 10
#define TOMBSTONES_EVERY 5
#define RESTING_EVERY 6
#define RESTING_IDS 20
#define RECORD_BYTES_MAX (1 << 20)
#define STEP_MS 200
#define TOMBSTONES_LIMIT_MS 20000
#define END_LIMIT_MS 20000
#define CLEANED_MIN 20

struct sim_keyed {
    struct sim_keyed_options options;
    struct sim_topics topics;
    char segment_ms[16], delete_ms[16];
    struct sim_compact_check *check;
    struct sim_history *history;
    struct sim_env *env;
    struct sim_client *admin;
    struct sim_producer *producer;
    struct sim_log logs[SIM_CLUSTER_NODES_MAX];
    bool asking, created;
};

static int64_t now_ms(const struct sim_keyed *k)
{
    return sim_world_wall_ms(k->options.world);
}

/* ---- making the topic ---- */

static void take_created(void *arg, const void *response)
{
    struct sim_keyed *k = arg;
    const struct kw_create_topics_response *rs = response;
    k->asking = false;
    k->created = rs != NULL && rs->topics_count == 1 &&
                 (rs->topics[0].error_code == KW_NONE ||
                  rs->topics[0].error_code == KW_TOPIC_ALREADY_EXISTS);
}

bool sim_keyed_prepare(struct sim_keyed *k)
{
    struct kw_create_topics_request rq;
    struct kw_create_topics_request_config configs[] = {
        {.name = KW_STR("cleanup.policy"), .value = KW_STR("compact")},
        {.name = KW_STR("min.cleanable.dirty.ratio"), .value = KW_STR("0.01")},
        {.name = KW_STR("segment.ms"), .value = kw_str_of(k->segment_ms)},
        {.name = KW_STR("delete.retention.ms"), .value = kw_str_of(k->delete_ms)}};
    struct kw_create_topics_request_topic topic = {.name = KW_STR(TOPIC),
                                                   .num_partitions = 1,
                                                   .replication_factor = 3,
                                                   .configs = configs,
                                                   .configs_count = 4};
    if (k->created || k->asking)
        return k->created;
    kw_create_topics_request_init(&rq);
    rq.timeout_ms = 2000;
    rq.topics = &topic;
    rq.topics_count = 1;
    k->asking = true;
    sim_client_call(k->admin, SIM_ANY_BROKER, KW_API_CREATE_TOPICS, &rq, take_created, k);
    return false;
}

/* ---- producing ---- */

static bool fill(void *arg, uint64_t id, struct kb_buf *key, struct kb_buf *value)
{
    uint64_t dice = id * UINT64_C(0x9e3779b97f4a7c15) >> 32;
    (void)arg;
    bool rests = dice % RESTING_EVERY == 0;
    dice /= RESTING_EVERY;
    if (rests) /* nobody touches it again after a while: its tombstone must go by time */
        kb_buf_printf(key, "r%llu", (unsigned long long)(id / RESTING_IDS));
    else
        kb_buf_printf(key, "k%u", (unsigned)(dice % KEYS));
    if (dice / KEYS % (rests ? 2 : TOMBSTONES_EVERY) == 0)
        return false;
    sim_history_value(id, value);
    return true;
}

static void on_ack(void *arg, const struct sim_ack *ack)
{
    struct sim_keyed *k = arg;
    struct kw_batch b;
    struct kw_records *it = NULL;
    struct kw_record r;
    if (kw_batch_parse(ack->batch.data, ack->batch.size, &b) != KW_BATCH_WHOLE ||
        kw_records_open(&b, RECORD_BYTES_MAX, &it) < 0)
        return;
    while (kw_records_next(it, &r) == 1) {
        struct sim_compact_record c = {.offset = ack->first_offset + (r.offset - b.base_offset),
                                       .key = kw_bytes_view(r.key),
                                       .value = kw_bytes_view(r.value),
                                       .sent_ms = r.timestamp};
        sim_compact_check_acked(k->check, &c, now_ms(k));
    }
    (void)kw_records_close(it);
}

static bool is_behind(void *arg, uint32_t partition, int32_t broker)
{
    (void)partition;
    return sim_cluster_is_behind_in(((struct sim_keyed *)arg)->options.cluster, TOPIC, 0, broker);
}

void sim_keyed_start(struct sim_keyed *k)
{
    struct sim_producer_options po = {.client = k->options.client,
                                      .history = k->history,
                                      .checks = k->options.checks,
                                      .number = 0,
                                      .acks = -1,
                                      .idempotent = true,
                                      .interval_ms_min = 40,
                                      .interval_ms_max = 160,
                                      .records_max = 2,
                                      .on_ack = on_ack,
                                      .on_ack_arg = k,
                                      .is_behind = is_behind,
                                      .fill = fill};
    k->producer = sim_producer_new(sim_env_kb(k->env), &po);
}

/* ---- looking ---- */

static void look_at_batch(struct sim_keyed *k, struct sim_disk *disk,
                          const struct sim_log_batch *at)
{
    struct kb_view bytes = sim_log_bytes(at, disk, DIR, false);
    struct kw_batch b;
    struct kw_records *it = NULL;
    struct kw_record r;
    if (kw_batch_parse(bytes.data, bytes.size, &b) != KW_BATCH_WHOLE ||
        kw_records_open(&b, RECORD_BYTES_MAX, &it) < 0)
        return;
    while (kw_records_next(it, &r) == 1) {
        struct sim_compact_record c = {
            .offset = r.offset,
            .key = kw_bytes_view(r.key),
            .value = kw_bytes_view(r.value),
            .sent_ms = r.timestamp,
            .horizon_ms = kw_batch_is(&b, KW_BATCH_HORIZON) ? b.base_timestamp : -1};
        sim_compact_check_record(k->check, &c, now_ms(k));
    }
    (void)kw_records_close(it);
}

static int64_t high_watermark(const struct sim_keyed *k, uint32_t node)
{
    const struct node *n = sim_cluster_node(k->options.cluster, node);
    const struct sim_env *env = sim_cluster_env(k->options.cluster, node);
    if (n == NULL || env == NULL || sim_env_is_down(env))
        return -1;
    return sim_probe_high_watermark(n, TOPIC, 0);
}

/* Segments are replaced under their names: all is read anew. */
static void look_at_node(struct sim_keyed *k, uint32_t node)
{
    struct sim_disk *disk = sim_host_disk(sim_cluster_host(k->options.cluster, node));
    struct sim_log *log = &k->logs[node];
    int64_t bound = high_watermark(k, node);
    if (bound <= 0 || sim_disk_failed_us(disk) != 0)
        return; /* with a call that failed a replacement may have ended in the middle */
    sim_log_release(log);
    sim_log_refresh(log, disk, DIR, false);
    /* Who copies what others have cleaned lacks values whose successors it has not yet; and who has
     * just started knows a high watermark of before its own cleaning (seed 693872). */
    for (uint32_t i = 0; i < sim_cluster_nodes(k->options.cluster); i++) {
        int64_t other = high_watermark(k, i);
        if (sim_log_end(log) < other)
            return;
        bound = other > bound ? other : bound;
    }
    if (sim_cluster_was_replaced(k->options.cluster, node))
        sim_compact_check_replaced(k->check, node);
    sim_compact_check_begin(k->check, node, bound);
    for (size_t i = 0; i < log->count; i++)
        look_at_batch(k, disk, &log->batches[i]);
    sim_compact_check_end(k->check, now_ms(k));
}

void sim_keyed_look(struct sim_keyed *k)
{
    for (uint32_t i = 0; i < sim_cluster_nodes(k->options.cluster); i++)
        look_at_node(k, i);
}

/* ---- the end ---- */

static uint64_t overdue(struct sim_keyed *k)
{
    uint64_t count = 0;
    sim_keyed_look(k);
    for (uint32_t i = 0; i < sim_cluster_nodes(k->options.cluster); i++)
        count += sim_compact_check_overdue(k->check, i);
    return count;
}

/* All replicas end alike; where, or -1. */
static int64_t common_end(struct sim_keyed *k)
{
    int64_t end = -1;
    for (uint32_t i = 0; i < sim_cluster_nodes(k->options.cluster); i++) {
        int64_t hw = high_watermark(k, i);
        if (hw < 0)
            continue;
        if ((end >= 0 && hw != end) || sim_log_end(&k->logs[i]) != hw)
            return -1;
        end = hw;
    }
    return end;
}

static void on_record(void *arg, uint32_t partition, const struct kw_record *r)
{
    struct sim_keyed *k = arg;
    struct sim_compact_record c = {.offset = r->offset,
                                   .key = kw_bytes_view(r->key),
                                   .value = kw_bytes_view(r->value),
                                   .sent_ms = r->timestamp,
                                   .horizon_ms = -1};
    (void)partition;
    sim_compact_check_record(k->check, &c, now_ms(k));
}

static void read_all(struct sim_keyed *k, int64_t end)
{
    struct sim_env *env = sim_world_add_env(k->options.world, "keys_reader");
    struct sim_consumer_options co = {.client = k->options.client,
                                      .checks = k->options.checks,
                                      .number = 8,
                                      .max_wait_ms = 50,
                                      .gaps = true,
                                      .on_keyed = on_record,
                                      .arg = k};
    struct sim_consumer *consumer = sim_consumer_new(sim_env_kb(env), &co);
    sim_compact_check_begin(k->check, SIM_COMPACT_READER, end);
    for (uint64_t ms = 0; ms < END_LIMIT_MS && sim_consumer_position(consumer, 0) < end; ms += 50)
        sim_world_run_for(k->options.world, 50);
    if (sim_check(k->options.checks, SIM_CHECK_LIVE, sim_consumer_position(consumer, 0) >= end,
                  TOPIC " is not read to its end in %d ms", END_LIMIT_MS))
        sim_compact_check_end(k->check, now_ms(k));
    (void)sim_consumer_free(consumer);
}

void sim_keyed_judge(struct sim_keyed *k)
{
    struct sim_world *w = k->options.world;
    int64_t end = -1;
    for (uint64_t ms = 0; ms < TOMBSTONES_LIMIT_MS && overdue(k) > 0; ms += STEP_MS)
        sim_world_run_for(w, STEP_MS);
    sim_compact_check_final(k->check);
    sim_producer_stop(k->producer);
    for (uint64_t ms = 0; ms < END_LIMIT_MS && end < 0; ms += STEP_MS) {
        sim_world_run_for(w, STEP_MS);
        sim_keyed_look(k);
        end = sim_producer_is_idle(k->producer) ? common_end(k) : -1;
    }
    if (!sim_check(k->options.checks, SIM_CHECK_LIVE, end > 0,
                   "replicas of " TOPIC " do not end alike after %d ms", END_LIMIT_MS))
        return;
    struct sim_compact_counts c = sim_compact_check_counts(k->check);
    sim_world_note(w, TOPIC ": %llu records, %llu tombstones; gone %llu and %llu",
                   (unsigned long long)c.records, (unsigned long long)c.tombstones,
                   (unsigned long long)c.cleaned, (unsigned long long)c.expired);
    sim_check(k->options.checks, SIM_CHECK_RUN, c.cleaned >= CLEANED_MIN && c.expired > 0,
              "compaction did too little: %llu records and %llu tombstones gone",
              (unsigned long long)c.cleaned, (unsigned long long)c.expired);
    read_all(k, end);
}

/* ---- life ---- */

struct sim_keyed *sim_keyed_new(const struct sim_keyed_options *options)
{
    struct sim_keyed *k = kb_new(struct sim_keyed);
    struct kb_prng prng;
    kb_prng_init(&prng, options->seed);
    k->options = *options;
    k->topics = (struct sim_topics){.topic = {{TOPIC, 1}}, .count = 1};
    k->options.client.topics = &k->topics;
    (void)snprintf(k->segment_ms, sizeof(k->segment_ms), "%llu",
                   (unsigned long long)kb_prng_range(&prng, 500, 1500));
    uint64_t delete_ms = kb_prng_range(&prng, 1500, 3000);
    (void)snprintf(k->delete_ms, sizeof(k->delete_ms), "%llu", (unsigned long long)delete_ms);
    k->check = sim_compact_check_new(options->checks, (int64_t)delete_ms);
    k->history = sim_history_new(options->checks, 1);
    k->env = sim_world_add_env(options->world, "keyed");
    k->admin = sim_client_new(sim_env_kb(k->env), &k->options.client);
    return k;
}

void sim_keyed_end(struct sim_keyed *k)
{
    k->producer = sim_producer_free(k->producer);
    k->admin = sim_client_free(k->admin);
}

struct sim_keyed *sim_keyed_free(struct sim_keyed *k)
{
    if (k == NULL)
        return NULL;
    k->history = sim_history_free(k->history);
    k->check = sim_compact_check_free(k->check);
    for (uint32_t i = 0; i < SIM_CLUSTER_NODES_MAX; i++)
        sim_log_release(&k->logs[i]);
    free(k);
    return NULL;
}
