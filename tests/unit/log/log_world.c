#include "tests/unit/log/log_world.h"

#include <check.h>
#include <stdlib.h>

#include "proto/base/env.h"
#include "proto/base/err.h"
#include "proto/kafka/batch.h"

static void on_written(struct log *log, void *user, uint32_t generation, int64_t offset)
{
    struct lw *l = user;
    ck_assert_uint_eq(generation, log_generation(log));
    ck_assert_int_le(offset, log_end_offset(log));
    l->written = offset;
}

static void on_durable(struct log *log, void *user, uint32_t generation, int64_t offset)
{
    struct lw *l = user;
    ck_assert_uint_eq(generation, log_generation(log));
    ck_assert_int_le(offset, log_written_offset(log));
    l->durable = offset;
}

static void on_space(struct log *log, void *user)
{
    ((struct lw *)user)->space_events++;
}

static void on_failed(struct log *log, void *user, int error)
{
    struct lw *l = user;
    l->failures++;
    l->failure = error;
}

static const struct log_handler lw_handler = {on_written, on_durable, on_space, on_failed};

void lw_init(struct lw *l, uint64_t seed)
{
    *l = (struct lw){.world = sim_world_new(seed)};
    l->env = sim_world_add_env(l->world, "n1");
    l->host = sim_env_host(l->env);
    sim_disk_settings(sim_host_disk(l->host))->cold_ppm = 0;
    l->options = (struct log_options){
        .dir = LW_DIR,
        .lane = KB_LANE_DATA,
        .handler = &lw_handler,
        .user = l,
        .producers = true,
    };
    log_config_init(&l->options.config);
    for (int i = 0; i < 16; i++)
        l->options.topic_id.bytes[i] = (uint8_t)(i + 1);
}

void lw_release(struct lw *l)
{
    l->log = log_free(l->log);
    if (l->cache != NULL)
        l->cache = log_cache_free(l->cache);
    (void)sim_world_free(l->world);
    kb_buf_release(&l->bytes);
    free(l->batches);
}

static void on_open(struct log *log, void *user, int result, const struct log_found *found)
{
    struct lw *l = user;
    l->opened = true;
    l->open_result = result;
    if (result == 0)
        l->found = *found;
}

static void wait_open(struct lw *l)
{
    l->opened = false;
    l->failures = 0;
    sim_world_run_until_flag(l->world, &l->opened, 60000);
}

void lw_create(struct lw *l, int64_t first_offset)
{
    l->options.first_offset = first_offset;
    l->options.cache = l->cache;
    l->log = log_create(sim_env_kb(l->env), &l->options, on_open, l);
    wait_open(l);
}

void lw_open(struct lw *l, bool clean, int64_t durable_mark)
{
    l->options.clean = clean;
    l->options.durable_mark = durable_mark;
    l->options.cache = l->cache;
    l->log = log_open(sim_env_kb(l->env), &l->options, on_open, l);
    wait_open(l);
}

void lw_on_done(struct log *log, void *user, int result)
{
    struct lw *l = user;
    l->done = true;
    l->done_result = result;
}

int lw_wait_done(struct lw *l)
{
    bool there = sim_world_run_until_flag(l->world, &l->done, 60000);
    l->done = false;
    return there ? l->done_result : -KB_ETIMEDOUT;
}

void lw_close(struct lw *l)
{
    l->done = false;
    log_close(l->log, lw_on_done, l);
    ck_assert_int_eq(lw_wait_done(l), 0);
    l->log = log_free(l->log);
    sim_env_kill(l->env);
    lw_restart(l);
}

void lw_restart(struct lw *l)
{
    l->log = log_free(l->log);
    ck_assert_uint_eq(sim_env_leaks(l->env), 0);
    l->env = sim_env_free(l->env);
    l->env = sim_host_start(l->host);
}

void lw_kill(struct lw *l)
{
    sim_env_kill(l->env);
    lw_restart(l);
}

void lw_power_cut(struct lw *l, enum sim_crash_mode mode)
{
    sim_disk_set_crash_mode(sim_host_disk(l->host), mode);
    sim_env_power_cut(l->env);
    lw_restart(l);
}

void lw_run(struct lw *l, uint64_t ms)
{
    sim_world_run_for(l->world, ms);
}

struct kb_block *lw_make_batch(int records, size_t value_size, int64_t timestamp)
{
    struct kw_batch_builder b;
    struct kb_block *block = NULL;
    uint8_t *value = calloc(1, value_size + 1);
    kw_batch_builder_init(&b);
    if (timestamp % 3 != 0) { /* the log takes any sequence: checking is the leader's */
        b.producer_id = 100 + timestamp % 3;
        b.producer_epoch = 0;
        b.base_sequence = (int32_t)(timestamp % 100000);
    }
    for (int i = 0; i < records; i++) {
        memset(value, 'a' + (int)((timestamp + i) % 26), value_size);
        struct kw_bytes v = {value, (int32_t)value_size};
        struct kw_bytes none = {NULL, 0};
        ck_assert_int_eq(kw_batch_builder_add(&b, timestamp + i, none, v), 0);
    }
    ck_assert_int_eq(kw_batch_builder_finish(&b, &block), 0);
    kw_batch_builder_release(&b);
    free(value);
    return block;
}

static void model_add(struct lw *l, const struct kb_block *block, const struct log_appended *a,
                      int32_t epoch, int64_t max_timestamp)
{
    kb_array_reserve(l->batches, l->batch_count, l->batch_capacity);
    l->batches[l->batch_count++] = (struct lw_batch){a->first_offset, a->last_offset, epoch,
                                                     max_timestamp,   l->bytes.size,  block->size};
    kb_buf_append(&l->bytes, block->data, block->size);
}

int lw_append_once(struct lw *l, int32_t epoch, int records, size_t value_size, int64_t timestamp)
{
    struct kb_block *block = lw_make_batch(records, value_size, timestamp);
    struct log_appended a;
    int r = log_append_leader(l->log, block, 0, block->size, epoch, &a);
    if (r == 0)
        model_add(l, block, &a, epoch, timestamp + records - 1);
    (void)kb_block_unref(block);
    return r;
}

int lw_append(struct lw *l, int32_t epoch, int records, size_t value_size, int64_t timestamp)
{
    for (int tries = 0;; tries++) {
        unsigned before = l->space_events;
        int r = lw_append_once(l, epoch, records, value_size, timestamp);
        if (r != LOG_APPEND_BUSY || tries == 50)
            return r;
        for (int i = 0; i < 10000 && l->space_events == before && l->failures == 0; i++)
            if (!sim_world_step(l->world))
                break;
        if (l->failures != 0)
            return -KB_EIO;
    }
}

static bool is_settled(void *arg)
{
    struct lw *l = arg;
    return log_durable_offset(l->log) == log_end_offset(l->log) || l->failures != 0;
}

void lw_settle(struct lw *l)
{
    ck_assert(sim_world_run_until(l->world, is_settled, l, 60000));
}

void lw_model_cut(struct lw *l, int64_t offset)
{
    while (l->batch_count != 0 && l->batches[l->batch_count - 1].last_offset >= offset) {
        l->batch_count--;
        l->bytes.size = l->batches[l->batch_count].position;
    }
}

/* ---- reading ---- */

struct lw_reading {
    bool done;
    int result;
};

static void read_done(struct log_read *r, int result)
{
    struct lw_reading *rd = r->user;
    rd->done = true;
    rd->result = result;
}

int lw_read(struct lw *l, struct log_read *r, int64_t offset, int64_t bound, size_t max_bytes,
            bool min_one)
{
    struct lw_reading rd = {false, 0};
    *r = (struct log_read){.offset = offset,
                           .bound_offset = bound,
                           .max_bytes = max_bytes,
                           .min_one = min_one,
                           .done = read_done,
                           .user = &rd};
    int result = log_read(l->log, r);
    if (result == LOG_READ_PENDING) {
        ck_assert(sim_world_run_until_flag(l->world, &rd.done, 60000));
        result = rd.result;
    } else {
        ck_assert(!rd.done);
    }
    return result;
}

static void chain_bytes(struct lw *l, const struct kb_chain *c, struct kb_buf *ret)
{
    for (size_t i = 0; i < c->count; i++) {
        const struct kb_slice *s = &c->slices[i];
        if (s->block != NULL) {
            kb_buf_append(ret, s->block->data + s->position, s->size);
            continue;
        }
        struct kb_view v;
        ck_assert_int_eq(sim_disk_view(sim_host_disk(l->host), kb_file_path(s->file), false, &v),
                         0);
        ck_assert_uint_le(s->position + s->size, v.size);
        kb_buf_append(ret, v.data + s->position, s->size);
    }
}

/* The slow twin: whole batches from the one that holds offset. */
static void check_one(struct lw *l, const struct log_read *r)
{
    size_t i = 0;
    while (i < l->batch_count && l->batches[i].last_offset < r->offset)
        i++;
    size_t from = i;
    size_t size = 0;
    int64_t next = r->offset;
    struct kb_buf got = {0};
    chain_bytes(l, &r->records, &got);
    /* How many batches the log may give is its own choice, up to the limits. */
    while (i < l->batch_count && size < got.size) {
        ck_assert_int_lt(l->batches[i].last_offset, r->bound_offset);
        size += l->batches[i].size;
        next = l->batches[i].last_offset + 1;
        i++;
    }
    ck_assert_uint_eq(size, got.size);
    ck_assert_int_eq(r->next_offset, next);
    if (got.size != 0) {
        ck_assert_int_eq(r->first_offset, l->batches[from].base_offset);
        ck_assert_int_eq(memcmp(got.data, l->bytes.data + l->batches[from].position, got.size), 0);
        ck_assert(got.size <= r->max_bytes || (i == from + 1 && r->min_one));
    } else if (from < l->batch_count && r->min_one) {
        ck_assert_int_ge(l->batches[from].last_offset, r->bound_offset);
    }
    kb_buf_release(&got);
}

void lw_check_read(struct lw *l, int64_t offset, int64_t bound, size_t max_bytes)
{
    while (offset < bound) {
        struct log_read r;
        ck_assert_int_eq(lw_read(l, &r, offset, bound, max_bytes, true), LOG_READ_OK);
        check_one(l, &r);
        bool more = r.records.size != 0;
        offset = r.next_offset;
        kb_chain_release(&r.records);
        if (!more)
            break;
    }
    size_t i = 0;
    while (i < l->batch_count && l->batches[i].last_offset < offset)
        i++;
    if (i < l->batch_count) /* it stopped at the bound, not before */
        ck_assert_int_ge(l->batches[i].last_offset, bound);
}

void lw_check_all(struct lw *l)
{
    int64_t start = log_start_offset(l->log);
    int64_t end = log_end_offset(l->log);
    if (l->batch_count != 0)
        ck_assert_int_eq(l->batches[l->batch_count - 1].last_offset + 1, end);
    lw_check_read(l, start, end, 1 << 20);
    lw_check_read(l, start, end, 1);
    lw_check_read(l, start, end, 700);
    for (int64_t o = start; o < end; o += 1 + (end - start) / 13) {
        lw_check_read(l, o, end, 5000);
        lw_check_read(l, start, o, 1 << 20);
    }
}
