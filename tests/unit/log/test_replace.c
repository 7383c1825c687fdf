/* Compaction on a living log: the job's result is swapped in under readers, behind a roll, under
 * a truncation, and with a crash at each file call; the tail cache's limit beside it. */

#include <stdlib.h>
#include <string.h>

#include "proto/base/err.h"
#include "proto/kafka/batch.h"
#include "replication/log/compact.h"
#include "tests/unit/log/log_world.h"
#include "tests/unit/unit.h"

enum { KEYS = 7 };

/* Value of record o: its own offset, so that the newest of a key is known. */
static int append_keyed(struct lw *l, int records)
{
    struct kw_batch_builder b;
    struct kb_block *block = NULL;
    kw_batch_builder_init(&b);
    for (int i = 0; i < records; i++) {
        int64_t offset = log_end_offset(l->log) + i;
        char key[8];
        char value[64];
        int n = snprintf(key, sizeof(key), "k%d", (int)(offset % KEYS));
        int m = snprintf(value, sizeof(value), "%032lld", (long long)offset);
        ck_assert_int_eq(kw_batch_builder_add(&b, 1000 + offset,
                                              (struct kw_bytes){(uint8_t *)key, n},
                                              (struct kw_bytes){(uint8_t *)value, m}),
                         0);
    }
    ck_assert_int_eq(kw_batch_builder_finish(&b, &block), 0);
    kw_batch_builder_release(&b);
    struct log_appended a;
    int r = LOG_APPEND_BUSY;
    for (int i = 0; i < 100 && r == LOG_APPEND_BUSY; i++) {
        r = log_append_leader(l->log, block, 0, block->size, 1, &a);
        if (r == LOG_APPEND_BUSY)
            lw_run(l, 5);
    }
    (void)kb_block_unref(block);
    return r;
}

static void fill(struct lw *l, int batches)
{
    for (int i = 0; i < batches; i++)
        ck_assert_int_eq(append_keyed(l, 3), 0);
    lw_settle(l);
}

static void start(struct lw *l)
{
    lw_init(l, 21);
    l->options.config.segment_bytes = 1200;
    l->options.config.cleanup_compact = true;
    l->options.config.file_delete_delay_ms = 100;
    lw_create(l, 0);
    fill(l, 40);
    ck_assert_uint_gt(log_segment_count(l->log), 4);
}

/* Run the compaction of all closed segments, synchronously. */
static void clean(struct lw *l, struct log_compact_result *ret)
{
    size_t count = log_segment_count(l->log) - 1;
    struct log_compact_segment *segments = calloc(count, sizeof(*segments));
    for (size_t i = 0; i < count; i++) {
        struct log_segment_info s = log_segment_info(l->log, i);
        segments[i].base_offset = s.base_offset;
        segments[i].size_bytes = s.size_bytes;
        segments[i].first_timestamp = s.first_timestamp;
        segments[i].max_timestamp = s.max_timestamp;
    }
    struct log_compact_input in = {
        .dir = LW_DIR,
        .segments = segments,
        .segment_count = count,
        .end_offset = log_segment_info(l->log, count).base_offset,
        .config = {.delete_retention_ms = 1000,
                   .max_compaction_lag_ms = UINT64_MAX,
                   .segment_bytes = 1 << 20,
                   .index_interval_bytes = 200,
                   .map_bytes = 1 << 16,
                   .batch_bytes_max = 1 << 20},
        .now_wall_ms = 5000,
    };
    ck_assert_int_eq(log_compact_run(sim_env_fs(l->env), &in, ret), 0);
    free(segments);
    ck_assert_uint_ge(ret->group_count, 1);
}

static void swap(struct lw *l, const struct log_compact_group *g, int64_t *bases)
{
    for (size_t i = 0; i < g->count; i++)
        bases[i] = log_segment_info(l->log, g->first + i).base_offset;
    l->done = false;
    log_replace_segments(l->log, bases, g->count, lw_on_done, l);
}

/* Read everything; each key's newest record must be there, in order, up to the end. */
static void check_keys(struct lw *l)
{
    int64_t newest[KEYS];
    int64_t end = log_end_offset(l->log);
    int64_t last = -1;
    memset(newest, 0xff, sizeof(newest));
    for (int64_t at = log_start_offset(l->log); at < end;) {
        struct log_read r;
        ck_assert_int_eq(lw_read(l, &r, at, end, 900, true), LOG_READ_OK);
        ck_assert_uint_gt(r.records.size, 0);
        ck_assert_int_gt(r.next_offset, at);
        at = r.next_offset;
        for (size_t i = 0; i < r.records.count; i++) {
            const struct kb_slice *s = &r.records.slices[i];
            ck_assert_ptr_nonnull(s->block);
            struct kw_batches it;
            struct kw_batch b;
            kw_batches_init(&it, s->block->data + s->position, s->size);
            while (kw_batches_next(&it, &b) == KW_BATCHES_ONE) {
                struct kw_records *records = NULL;
                struct kw_record rec;
                ck_assert(kw_batch_crc_ok(&b));
                ck_assert_int_eq(kw_records_open(&b, 1 << 20, &records), 0);
                while (kw_records_next(records, &rec) == 1) {
                    ck_assert_int_gt(rec.offset, last);
                    last = rec.offset;
                    ck_assert_int_eq(atoll((const char *)rec.value.data), rec.offset);
                    newest[rec.offset % KEYS] = rec.offset;
                }
                (void)kw_records_close(records);
            }
        }
        kb_chain_release(&r.records);
    }
    for (int k = 0; k < KEYS; k++) {
        int64_t expected = end - 1;
        while (expected % KEYS != k)
            expected--;
        ck_assert_int_eq(newest[k], expected);
    }
}

START_TEST(replace__keeps_the_newest_of_each_key)
{
    struct lw l;
    struct log_compact_result result;
    int64_t bases[64] = {0};
    start(&l);
    size_t segments = log_segment_count(l.log);
    uint64_t size = log_size_bytes(l.log);
    clean(&l, &result);
    swap(&l, &result.groups[0], bases);
    fill(&l, 2);
    ck_assert_int_eq(l.done ? l.done_result : lw_wait_done(&l), LOG_REPLACE_OK);
    ck_assert_uint_lt(log_segment_count(l.log), segments);
    ck_assert_uint_lt(log_size_bytes(l.log), size);
    check_keys(&l);
    lw_run(&l, 500);
    ck_assert_uint_eq(l.failures, 0);
    int64_t end = log_end_offset(l.log);
    lw_kill(&l);
    lw_open(&l, false, end);
    ck_assert_int_eq(l.found.state, LOG_WHOLE);
    check_keys(&l);
    lw_close(&l);
    lw_open(&l, true, end);
    ck_assert_int_eq(l.found.state, LOG_WHOLE);
    check_keys(&l);
    log_compact_result_release(&result);
    lw_release(&l);
}
END_TEST

START_TEST(replace__is_stale_when_a_segment_is_gone)
{
    struct lw l;
    struct log_compact_result result;
    int64_t bases[64] = {0};
    start(&l);
    clean(&l, &result);
    const struct log_compact_group *g = &result.groups[0];
    for (size_t i = 0; i < g->count; i++)
        bases[i] = log_segment_info(l.log, g->first + i).base_offset;
    log_set_start_offset(l.log, bases[1]);
    l.done = false;
    log_replace_segments(l.log, bases, g->count, lw_on_done, &l);
    ck_assert_int_eq(lw_wait_done(&l), LOG_REPLACE_STALE);
    check_keys(&l);
    log_compact_result_release(&result);
    lw_release(&l);
}
END_TEST

START_TEST(replace__then_a_cut_into_the_new_segment)
{
    struct lw l;
    struct log_compact_result result;
    int64_t bases[64] = {0};
    for (int wait = 0; wait < 12; wait++) {
        start(&l);
        clean(&l, &result);
        const struct log_compact_group *g = &result.groups[0];
        swap(&l, g, bases);
        for (int i = 0; i < wait; i++)
            (void)sim_world_step(l.world);
        int64_t to = bases[g->count - 1];
        struct lw cut = {0};
        log_truncate_to(l.log, to, lw_on_done, &cut);
        ck_assert(sim_world_run_until_flag(l.world, &cut.done, 10000));
        ck_assert_int_eq(cut.done_result, 0);
        ck_assert(l.done);
        ck_assert(l.done_result == LOG_REPLACE_OK || l.done_result == LOG_REPLACE_STALE);
        ck_assert_int_le(log_end_offset(l.log), to);
        ck_assert_uint_eq(l.failures, 0);
        int64_t end = log_end_offset(l.log);
        fill(&l, 4);
        lw_kill(&l);
        lw_open(&l, false, end);
        ck_assert_int_eq(l.found.state, LOG_WHOLE);
        ck_assert_int_eq(l.found.end_offset, end + 12);
        log_compact_result_release(&result);
        lw_release(&l);
    }
}
END_TEST

START_TEST(replace__a_crash_at_any_call_keeps_everything)
{
    for (uint64_t n = 1; n < 70; n++) {
        struct lw l;
        struct log_compact_result result;
        int64_t bases[64] = {0};
        start(&l);
        int64_t end = log_end_offset(l.log);
        clean(&l, &result);
        sim_disk_set_crash_mode(sim_host_disk(l.host), SIM_CRASH_SEEDED);
        sim_env_crash_after(l.env, n, n % 3 != 0);
        swap(&l, &result.groups[0], bases);
        lw_run(&l, 1000);
        if (!sim_env_is_down(l.env))
            sim_env_power_cut(l.env);
        lw_restart(&l);
        lw_open(&l, false, end);
        ck_assert_int_eq(l.open_result, 0);
        ck_assert_int_eq(l.found.state, LOG_WHOLE);
        ck_assert_int_eq(l.found.end_offset, end);
        check_keys(&l);
        log_compact_result_release(&result);
        lw_release(&l);
    }
}
END_TEST

START_TEST(cache__is_bounded_over_logs_and_large_frames)
{
    struct lw l;
    lw_init(&l, 3);
    l.cache = log_cache_new(20000);
    lw_create(&l, 0);
    /* Small batches inside a large frame are copied out of it. */
    struct kb_block *frame = kb_block_new(1 << 20);
    struct kb_block *batch = lw_make_batch(2, 100, 1000);
    for (int i = 0; i < 300; i++) {
        struct log_appended a;
        memcpy(frame->data + frame->size, batch->data, batch->size);
        frame->size += batch->size;
        size_t at = frame->size - batch->size;
        while (log_append_leader(l.log, frame, at, batch->size, 1, &a) != 0)
            lw_run(&l, 5);
        ck_assert_uint_le(log_cache_bytes(l.cache), 20000);
    }
    lw_settle(&l);
    ck_assert_uint_gt(log_cache_bytes(l.cache), 15000);
    ck_assert_uint_eq(frame->refs, 1);
    /* One that is too large for the cache empties it: what is cached reaches up to the end. */
    ck_assert_int_eq(lw_append(&l, 1, 1, 30000, 1000), 0);
    ck_assert_uint_eq(log_cache_bytes(l.cache), 0);
    lw_settle(&l);
    (void)kb_block_unref(frame);
    (void)kb_block_unref(batch);
    lw_release(&l);
}
END_TEST

UNIT_MAIN("log_replace", replace__keeps_the_newest_of_each_key,
          replace__is_stale_when_a_segment_is_gone, replace__then_a_cut_into_the_new_segment,
          replace__a_crash_at_any_call_keeps_everything,
          cache__is_bounded_over_logs_and_large_frames)
