/* The simulator's producers and consumers against a broker of a few lines: one host, logs in
 * memory, whose bugs can be switched on. Connections are reset all the time; the clients must get
 * every record through once and in order, and the checkers must notice each bug. */
#include <sys/queue.h>

#include "proto/base/mem.h"
#include "proto/kafka/batch.h"
#include "proto/kafka/messages.h"
#include "proto/kafka/messages_table.h"
#include "tests/sim/sim_consumer.h"
#include "tests/sim/sim_env.h"
#include "tests/sim/sim_net.h"
#include "tests/sim/sim_producer.h"
#include "tests/unit/unit.h"

enum { PARTITIONS = 2, BATCHES_MAX = 2000 };
enum bug { BUG_NONE, BUG_LOSES, BUG_DUPLICATES, BUG_SHOWS_FUTURE, BUG_SKIPS };

struct stored {
    struct kb_block *bytes;
    int64_t base;
    int64_t producer_id;
    int32_t sequence;
};

struct fake {
    struct kb_env *env;
    struct kb_listener *listener;
    struct stored log[PARTITIONS][BATCHES_MAX];
    size_t count[PARTITIONS];
    int64_t end[PARTITIONS];
    struct kb_uuid topic_id;
    int64_t producer_ids;
    enum bug bug;
    uint32_t calls;
};

static const struct kw_message *find_message(int16_t key, enum kw_message_kind kind)
{
    size_t n = 0;
    const struct kw_message *t = kw_message_table(&n);
    for (size_t i = 0; i < n; i++) {
        if (t[i].api_key == key && t[i].kind == kind)
            return &t[i];
    }
    ck_abort();
    return NULL;
}

static void append(struct fake *f, int32_t p, struct kw_bytes records, int64_t *ret_base)
{
    struct kw_batch b;
    ck_assert_int_eq(kw_batch_parse(records.data, (size_t)records.size, &b), KW_BATCH_WHOLE);
    ck_assert(kw_batch_crc_ok(&b));
    for (size_t i = 0; i < f->count[p] && f->bug != BUG_DUPLICATES; i++) {
        const struct stored *s = &f->log[p][i];
        if (b.producer_id >= 0 && s->producer_id == b.producer_id &&
            s->sequence == b.base_sequence) {
            *ret_base = s->base;
            return;
        }
    }
    *ret_base = f->end[p];
    f->end[p] += b.record_count;
    if (f->bug == BUG_LOSES && f->calls % 50 == 0) {
        f->end[p] -= b.record_count;
        return;
    }
    ck_assert_uint_lt(f->count[p], BATCHES_MAX);
    struct stored *s = &f->log[p][f->count[p]++];
    *s = (struct stored){.bytes = kb_block_copy(records.data, (size_t)records.size),
                         .base = *ret_base,
                         .producer_id = b.producer_id,
                         .sequence = b.base_sequence};
    kw_batch_set_offset(s->bytes->data, *ret_base, 0);
}

static void handle_produce(struct fake *f, struct kb_arena *a, const struct kw_produce_request *rq,
                           struct kw_produce_response *rs)
{
    const struct kw_produce_request_topic *t = &rq->topic_data[0];
    rs->responses = kb_arena_new(a, struct kw_produce_response_topic);
    rs->responses_count = 1;
    rs->responses[0].name = t->name;
    rs->responses[0].topic_id = t->topic_id;
    struct kw_produce_response_partition *p = kb_arena_new(a, struct kw_produce_response_partition);
    *p = (struct kw_produce_response_partition){.index = t->partition_data[0].index,
                                                .log_append_time_ms = -1,
                                                .log_start_offset = 0,
                                                .current_leader = {-1, -1}};
    append(f, p->index, t->partition_data[0].records, &p->base_offset);
    rs->responses[0].partition_responses = p;
    rs->responses[0].partition_responses_count = 1;
}

static void handle_fetch(struct fake *f, struct kb_arena *a, const struct kw_fetch_request *rq,
                         struct kw_fetch_response *rs)
{
    const struct kw_fetch_request_topic *t = &rq->topics[0];
    rs->responses = kb_arena_new(a, struct kw_fetch_response_topic);
    rs->responses_count = 1;
    rs->responses[0].topic = t->topic;
    rs->responses[0].topic_id = t->topic_id;
    rs->responses[0].partitions_count = t->partitions_count;
    rs->responses[0].partitions = kb_arena_new_array(a, struct kw_fetch_response_partition,
                                                     (size_t)t->partitions_count);
    for (int32_t i = 0; i < t->partitions_count; i++) {
        struct kw_fetch_response_partition *p = &rs->responses[0].partitions[i];
        int32_t index = t->partitions[i].partition;
        *p = (struct kw_fetch_response_partition){.partition_index = index,
                                                  .high_watermark = f->end[index],
                                                  .last_stable_offset = f->end[index],
                                                  .diverging_epoch = {-1, -1},
                                                  .current_leader = {-1, -1},
                                                  .snapshot_id = {-1, -1},
                                                  .aborted_transactions_count = -1,
                                                  .preferred_read_replica = -1};
        for (size_t b = 0; b < f->count[index]; b++) {
            const struct stored *s = &f->log[index][b];
            if (s->base < t->partitions[i].fetch_offset)
                continue;
            if (f->bug == BUG_SKIPS && s->base % 5 == 4)
                continue;
            if (f->bug == BUG_SHOWS_FUTURE)
                p->high_watermark = s->base;
            p->records = kw_bytes_of(s->bytes->data, s->bytes->size);
            break;
        }
    }
}

static void handle_metadata(struct fake *f, struct kb_arena *a, struct kw_metadata_response *rs)
{
    rs->brokers = kb_arena_new(a, struct kw_metadata_response_broker);
    rs->brokers_count = 1;
    rs->brokers[0] = (struct kw_metadata_response_broker){
        .node_id = 1, .host = KW_STR("broker"), .port = 9092, .rack = kw_str_null()};
    rs->topics = kb_arena_new(a, struct kw_metadata_response_topic);
    rs->topics_count = 1;
    rs->topics[0].name = KW_STR("t");
    rs->topics[0].topic_id = f->topic_id;
    rs->topics[0].topic_authorized_operations = INT32_MIN;
    rs->topics[0].partitions = kb_arena_new_array(a, struct kw_metadata_response_partition,
                                                  PARTITIONS);
    rs->topics[0].partitions_count = PARTITIONS;
    for (int32_t i = 0; i < PARTITIONS; i++) {
        rs->topics[0].partitions[i].partition_index = i;
        rs->topics[0].partitions[i].leader_id = 1;
    }
}

static void on_frame(struct kb_conn *conn, void *user, struct kb_block *frame)
{
    struct fake *f = user;
    struct kw_reader rd;
    struct kw_request_header header;
    struct kb_arena arena;
    kw_reader_init(&rd, frame->data, frame->size);
    kb_arena_init(&arena, 16 << 20);
    ck_assert_int_eq(kw_request_header_read(&rd, &header), KW_HEADER_OK);
    const struct kw_message *in = find_message(header.api_key, KW_MESSAGE_REQUEST);
    const struct kw_message *out = find_message(header.api_key, KW_MESSAGE_RESPONSE);
    void *rq = kb_arena_alloc(&arena, in->size);
    void *rs = kb_arena_alloc(&arena, out->size);
    ck_assert_int_eq(in->read(&rd, header.api_version, &arena, rq), 0);
    out->init(rs);
    f->calls++;
    bool silent = false;
    switch (header.api_key) {
    case KW_API_PRODUCE:
        handle_produce(f, &arena, rq, rs);
        silent = ((struct kw_produce_request *)rq)->acks == 0;
        break;
    case KW_API_FETCH:
        handle_fetch(f, &arena, rq, rs);
        break;
    case KW_API_METADATA:
        handle_metadata(f, &arena, rs);
        break;
    case KW_API_INIT_PRODUCER_ID:
        ((struct kw_init_producer_id_response *)rs)->producer_id = ++f->producer_ids;
        break;
    default:
        ck_abort();
    }
    struct kb_chain chain = {0};
    struct kw_writer w;
    kw_writer_init(&w, &chain);
    kw_frame_begin(&w);
    kw_response_header_write(&w, header.api_key, header.api_version, header.correlation_id);
    out->write(&w, header.api_version, rs);
    kw_frame_end(&w);
    ck_assert_int_eq(kw_writer_finish(&w), 0);
    if (silent)
        kb_chain_release(&chain);
    else
        kb_conn_send(conn, &chain);
    kb_arena_release(&arena);
}

static void on_close(struct kb_conn *conn, void *user, enum kb_close_reason reason)
{
}

static const struct kb_conn_handler fake_handler = {.on_frame = on_frame, .on_close = on_close};
static const struct kb_conn_options fake_options = {.frame_bytes_max = 16 << 20,
                                                    .send_high_bytes = 1 << 20};

static void on_accept(struct kb_conn *conn, const char *host, uint16_t port, void *arg)
{
    kb_conn_set_handler(conn, &fake_handler, arg);
}

struct run {
    struct sim_checks checks;
    struct sim_history *history;
    uint64_t acked, read, lost;
};

static void on_record(void *arg, uint32_t partition, int64_t offset, struct kb_view value)
{
    struct run *run = arg;
    sim_history_read(run->history, 1, partition, offset, value);
}

static void final_logs(struct fake *f, struct sim_history *h)
{
    for (uint32_t p = 0; p < PARTITIONS; p++) {
        for (size_t i = 0; i < f->count[p]; i++) {
            struct kw_batch b;
            struct kw_records *it = NULL;
            struct kw_record r;
            (void)kw_batch_parse(f->log[p][i].bytes->data, f->log[p][i].bytes->size, &b);
            ck_assert_int_eq(kw_records_open(&b, 1 << 20, &it), 0);
            while (kw_records_next(it, &r) == 1)
                sim_history_final(h, "log", p, r.offset, kw_bytes_view(r.value));
            (void)kw_records_close(it);
            (void)kb_block_unref(f->log[p][i].bytes);
        }
        sim_history_final_end(h, "log", p, f->end[p]);
    }
    sim_history_judge(h);
}

static struct run run_clients(uint64_t seed, enum bug bug, int16_t acks, bool idempotent)
{
    static const struct sim_topics topics = {.topic = {{"t", PARTITIONS}}, .count = 1};
    static const char *const hosts[] = {"broker"};
    struct run run = {0};
    struct fake *f = kb_new(struct fake);
    struct sim_world *w = sim_world_new(seed);
    struct sim_env *be = sim_world_add_env(w, "broker"), *ce = sim_world_add_env(w, "client");
    f->env = sim_env_kb(be);
    f->bug = bug;
    memset(f->topic_id.bytes, 7, 16);
    run.history = sim_history_new(&run.checks, PARTITIONS);
    ck_assert_int_eq(kb_env_listen(f->env, "", 9092, &fake_options, on_accept, f, &f->listener), 0);
    struct sim_client_options co = {.topics = &topics,
                                    .bootstrap = hosts,
                                    .bootstrap_count = 1,
                                    .port = 9092,
                                    .request_timeout_ms = 1000,
                                    .client_id = "sim"};
    struct sim_producer_options po = {.client = co,
                                      .history = run.history,
                                      .checks = &run.checks,
                                      .acks = acks,
                                      .idempotent = idempotent,
                                      .interval_ms_min = 5,
                                      .interval_ms_max = 25,
                                      .records_max = 3};
    struct sim_consumer_options so = {.client = co,
                                      .checks = &run.checks,
                                      .number = 1,
                                      .max_wait_ms = 10,
                                      .on_record = on_record,
                                      .arg = &run};
    struct sim_producer *p = sim_producer_new(sim_env_kb(ce), &po);
    struct sim_consumer *c = sim_consumer_new(sim_env_kb(ce), &so);
    struct sim_link_settings bad = {
        .delay_us_min = 100, .delay_us_max = 8000, .loss_ppm = 5000, .reset_ppm = 10000};
    sim_net_set_all(w, &bad);
    sim_world_run_for(w, 8000);
    sim_producer_stop(p);
    sim_net_set_all(w, &(struct sim_link_settings){.delay_us_min = 100, .delay_us_max = 100});
    sim_world_run_for(w, 3000);
    run.acked = sim_history_acked(run.history);
    run.read = sim_history_reads(run.history);
    ck_assert(sim_producer_is_idle(p));
    p = sim_producer_free(p);
    c = sim_consumer_free(c);
    final_logs(f, run.history);
    f->listener = kb_listener_close(f->listener);
    (void)sim_world_free(w);
    free(f);
    return run;
}

static void run_end(struct run *run)
{
    run->history = sim_history_free(run->history);
}

static void expect_clean(struct run *run)
{
    for (int i = 0; i < SIM_CHECK_MAX_; i++)
        ck_assert_msg(run->checks.check[i].failures == 0, "%s: %s", sim_check_name(i),
                      run->checks.check[i].first);
}

START_TEST(clients__get_everything_through_resets)
{
    for (uint64_t seed = 1; seed <= 10; seed++) {
        struct run run = run_clients(seed, BUG_NONE, -1, true);
        expect_clean(&run);
        ck_assert_uint_gt(run.acked, 200);
        ck_assert_uint_eq(run.acked, run.read);
        ck_assert_uint_gt(run.checks.check[SIM_CHECK_P11].checks, 100);
        run_end(&run);
        run = run_clients(seed, BUG_NONE, seed % 2 == 0 ? 1 : 0, false);
        expect_clean(&run);
        ck_assert_uint_gt(run.read, 200);
        run_end(&run);
    }
}
END_TEST

START_TEST(checks__notice_each_bug)
{
    static const struct {
        enum bug bug;
        enum sim_check_id by;
    } cases[] = {{BUG_LOSES, SIM_CHECK_P1},
                 {BUG_DUPLICATES, SIM_CHECK_P12},
                 {BUG_SHOWS_FUTURE, SIM_CHECK_P10},
                 {BUG_SKIPS, SIM_CHECK_P10}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct run run = run_clients(5, cases[i].bug, -1, true);
        ck_assert_msg(run.checks.check[cases[i].by].failures > 0, "bug %d", (int)cases[i].bug);
        run_end(&run);
    }
}
END_TEST

UNIT_MAIN("sim_clients", clients__get_everything_through_resets, checks__notice_each_bug)
