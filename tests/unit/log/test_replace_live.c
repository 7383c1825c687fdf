/* A living log whose closed segments are compacted under it: readers go on, cuts and retention come
 * between, the process dies at any file call. What is read afterwards, and after the next start, is
 * the newest record of each key. */

#include <string.h>

#include "proto/base/err.h"
#include "proto/base/mem.h"
#include "proto/base/prng.h"
#include "proto/kafka/batch.h"
#include "replication/log/compact.h"
#include "tests/unit/log/log_world.h"
#include "tests/unit/unit.h"

enum { KEYS = 7 };

struct bench {
    struct lw lw;
    struct kb_prng rng;
    int64_t newest[KEYS]; /* offset of each key's newest record; -1: none */
    int64_t first_dirty;
};

static void append(struct bench *b)
{
    struct kw_batch_builder builder;
    struct kb_block *block = NULL;
    struct log_appended done;
    char value[80];
    int64_t base = log_end_offset(b->lw.log);
    int count = 1 + (int)kb_prng_below(&b->rng, 3);
    kw_batch_builder_init(&builder);
    for (int i = 0; i < count; i++) {
        uint8_t key = (uint8_t)kb_prng_below(&b->rng, KEYS);
        snprintf(value, sizeof(value), "%lld %0*d", (long long)base + i,
                 (int)kb_prng_below(&b->rng, 40) + 1, 0);
        ck_assert_int_eq(
            kw_batch_builder_add(&builder, 1000 + base + i, (struct kw_bytes){&key, 1},
                                 (struct kw_bytes){(uint8_t *)value, (int32_t)strlen(value)}),
            0);
        b->newest[key] = base + i;
    }
    ck_assert_int_eq(kw_batch_builder_finish(&builder, &block), 0);
    int r = LOG_APPEND_BUSY;
    for (int tries = 0; tries < 1000 && r == LOG_APPEND_BUSY; tries++) {
        r = log_append_leader(b->lw.log, block, 0, block->size, 1, &done);
        if (r == LOG_APPEND_BUSY)
            lw_run(&b->lw, 1);
    }
    ck_assert_int_eq(r, LOG_APPEND_OK);
    kb_block_unref(block);
    kw_batch_builder_release(&builder);
}

static void bench_init(struct bench *b, uint64_t seed, int batches)
{
    *b = (struct bench){0};
    kb_prng_init(&b->rng, 5);
    lw_init(&b->lw, seed);
    b->lw.options.config.segment_bytes = 800;
    b->lw.options.config.index_interval_bytes = 100;
    b->lw.options.config.file_delete_delay_ms = 500;
    b->lw.options.config.cleanup_compact = true;
    for (int i = 0; i < KEYS; i++)
        b->newest[i] = -1;
    lw_create(&b->lw, 0);
    for (int i = 0; i < batches; i++)
        append(b);
    lw_settle(&b->lw);
}

/* ---- reading all ---- */

struct content {
    int64_t offsets[1000];
    uint8_t keys[1000];
    size_t count;
};

static void take_records(struct content *c, const struct kb_chain *chain)
{
    for (size_t i = 0; i < chain->count; i++) {
        const struct kb_slice *s = &chain->slices[i];
        struct kw_batches it;
        struct kw_batch head;
        ck_assert_ptr_nonnull(s->block);
        kw_batches_init(&it, s->block->data + s->position, s->size);
        while (kw_batches_next(&it, &head) == KW_BATCHES_ONE) {
            struct kw_records *records = NULL;
            struct kw_record r;
            ck_assert(kw_batch_crc_ok(&head));
            ck_assert_int_eq(kw_records_open(&head, 1 << 20, &records), 0);
            while (kw_records_next(records, &r) == 1) {
                ck_assert_int_eq(strtoll((const char *)r.value.data, NULL, 10), r.offset);
                ck_assert(c->count == 0 || c->offsets[c->count - 1] < r.offset);
                c->keys[c->count] = r.key.data[0];
                c->offsets[c->count++] = r.offset;
            }
            kw_records_close(records);
        }
    }
}

static void read_all(struct lw *l, struct content *ret, size_t max_bytes)
{
    int64_t offset = log_start_offset(l->log);
    ret->count = 0;
    while (offset < log_end_offset(l->log)) {
        struct log_read r = {0};
        ck_assert_int_eq(lw_read(l, &r, offset, INT64_MAX, max_bytes, true), LOG_READ_OK);
        ck_assert_int_gt(r.next_offset, offset);
        take_records(ret, &r.records);
        offset = r.next_offset;
        kb_chain_release(&r.records);
    }
}

/* Each key's newest record is there, and below `clean_end` nothing else. */
static void check_newest(struct bench *b, int64_t clean_end)
{
    for (size_t bytes = 1; bytes < 5000; bytes += 2400) {
        struct content c;
        int found = 0;
        read_all(&b->lw, &c, bytes);
        for (size_t i = 0; i < c.count; i++) {
            bool newest = b->newest[c.keys[i]] == c.offsets[i];
            found += newest;
            for (size_t k = i + 1; k < c.count && c.offsets[k] < clean_end; k++)
                ck_assert_int_ne(c.keys[i], c.keys[k]);
        }
        int wanted = 0;
        for (int i = 0; i < KEYS; i++)
            wanted += b->newest[i] >= 0;
        ck_assert_int_eq(found, wanted);
    }
}

/* ---- a compaction, as a node does it ---- */

struct compaction {
    struct kb_job job;
    struct log_compact_segment segments[200];
    int64_t bases[200];
    struct log_compact_input input;
    struct log_compact_result result;
    bool ran;
};

static int compaction_run(struct kb_job *job, struct kb_fs *fs)
{
    struct compaction *c = (struct compaction *)job;
    return log_compact_run(fs, &c->input, &c->result);
}

static void compaction_done(struct kb_job *job, int result)
{
    ck_assert_int_eq(result, 0);
    ((struct compaction *)job)->ran = true;
}

static void list_segments(struct bench *b, struct compaction *c)
{
    struct log *log = b->lw.log;
    c->input = (struct log_compact_input){.dir = LW_DIR,
                                          .segments = c->segments,
                                          .first_dirty = b->first_dirty,
                                          .now_wall_ms = 1000000,
                                          .config = {.segment_bytes = 1600,
                                                     .index_interval_bytes = 100,
                                                     .map_bytes = 1 << 20,
                                                     .batch_bytes_max = 1 << 20}};
    for (size_t i = 0; i < log_segment_count(log); i++) {
        struct log_segment_info info = log_segment_info(log, i);
        if (info.active)
            break;
        c->segments[i] = (struct log_compact_segment){.base_offset = info.base_offset,
                                                      .size_bytes = info.size_bytes,
                                                      .first_timestamp = -1,
                                                      .max_timestamp = info.max_timestamp};
        c->input.segment_count = i + 1;
        c->input.end_offset = info.next_offset;
    }
}

/* False: the process died on the way. */
static bool run_compaction(struct bench *b, struct compaction *c)
{
    *c = (struct compaction){.job = {.run = compaction_run, .done = compaction_done}};
    list_segments(b, c);
    kb_env_job(sim_env_kb(b->lw.env), &c->job);
    return sim_world_run_until_flag(b->lw.world, &c->ran, 60000);
}

static void start_replace(struct bench *b, struct compaction *c, size_t group)
{
    const struct log_compact_group *g = &c->result.groups[group];
    for (size_t i = 0; i < g->count; i++)
        c->bases[i] = c->segments[g->first + i].base_offset;
    b->lw.done = false;
    log_replace_segments(b->lw.log, c->bases, g->count, lw_on_done, &b->lw);
}

static bool replace_all(struct bench *b, struct compaction *c)
{
    for (size_t i = 0; i < c->result.group_count; i++) {
        start_replace(b, c, i);
        int r = lw_wait_done(&b->lw);
        if (r == -KB_ETIMEDOUT)
            return false;
        ck_assert_int_eq(r, LOG_REPLACE_OK);
    }
    b->first_dirty = c->result.first_dirty;
    return true;
}

static bool compact(struct bench *b)
{
    struct compaction c;
    bool alive = run_compaction(b, &c) && replace_all(b, &c);
    if (c.ran)
        log_compact_result_release(&c.result);
    return alive;
}

static int count_litter(void *arg, const char *name, enum kb_fs_type type)
{
    (void)type;
    *(size_t *)arg += strstr(name, ".cleaned") != NULL || strstr(name, ".swap") != NULL ||
                      strstr(name, ".deleted") != NULL;
    return 0;
}

static size_t litter(struct lw *l)
{
    size_t count = 0;
    ck_assert_int_eq(sim_disk_list(sim_host_disk(l->host), LW_DIR, false, count_litter, &count), 0);
    return count;
}

START_TEST(replace__log_reads_on_and_opens_again)
{
    struct bench b;
    bench_init(&b, 1, 80);
    for (int round = 0; round < 4; round++) {
        size_t segments = log_segment_count(b.lw.log);
        uint64_t bytes = log_size_bytes(b.lw.log);
        int64_t end = log_end_offset(b.lw.log);
        ck_assert(compact(&b));
        ck_assert_uint_lt(log_segment_count(b.lw.log), segments);
        ck_assert_uint_lt(log_size_bytes(b.lw.log), bytes);
        ck_assert_int_eq(log_end_offset(b.lw.log), end);
        check_newest(&b, b.first_dirty);
        for (int i = 0; i < 40; i++)
            append(&b);
        lw_settle(&b.lw);
        check_newest(&b, b.first_dirty);
    }
    ck_assert_uint_gt(litter(&b.lw), 0);
    lw_run(&b.lw, 1000);
    ck_assert_uint_eq(litter(&b.lw), 0);
    int64_t end = log_end_offset(b.lw.log);
    lw_close(&b.lw);
    lw_open(&b.lw, true, end);
    ck_assert_int_eq(b.lw.found.state, LOG_WHOLE);
    ck_assert_int_eq(b.lw.found.end_offset, end);
    check_newest(&b, b.first_dirty);
    lw_power_cut(&b.lw, SIM_CRASH_SEEDED);
    lw_open(&b.lw, false, end);
    ck_assert_int_eq(b.lw.found.state, LOG_WHOLE);
    check_newest(&b, b.first_dirty);
    lw_release(&b.lw);
}
END_TEST

struct slow_read {
    struct log_read r;
    struct content content;
    bool done;
};

static void on_read(struct log_read *r, int result)
{
    struct slow_read *s = (struct slow_read *)r;
    ck_assert_int_eq(result, LOG_READ_OK);
    take_records(&s->content, &r->records);
    kb_chain_release(&r->records);
    s->done = true;
}

/* Cold reads of all places are under way while the files change under them. */
START_TEST(replace__readers_under_way_get_their_bytes)
{
    struct bench b;
    struct compaction c;
    bench_init(&b, 2, 80);
    sim_disk_settings(sim_host_disk(b.lw.host))->cold_ppm = 1000000;
    int64_t end = log_end_offset(b.lw.log);
    size_t pending = 0;
    ck_assert(run_compaction(&b, &c));
    for (size_t g = 0; g < c.result.group_count; g++) {
        struct slow_read *reads = kb_new_array(struct slow_read, (size_t)end);
        size_t started = 0;
        start_replace(&b, &c, g);
        while (!b.lw.done) {
            int64_t offset = (int64_t)(started * 7) % c.result.first_dirty;
            struct slow_read *s = &reads[started];
            if (started < (size_t)end) {
                s->r = (struct log_read){.offset = offset,
                                         .bound_offset = INT64_MAX,
                                         .max_bytes = 300,
                                         .min_one = true,
                                         .done = on_read};
                int r = log_read(b.lw.log, &s->r);
                ck_assert_int_eq(r, LOG_READ_PENDING);
                started++;
            }
            sim_world_run_for(b.lw.world, 0);
            (void)sim_world_step(b.lw.world);
        }
        ck_assert_int_eq(b.lw.done_result, LOG_REPLACE_OK);
        for (size_t i = 0; i < started; i++)
            ck_assert(sim_world_run_until_flag(b.lw.world, &reads[i].done, 60000));
        pending += started;
        kb_free(reads);
    }
    ck_assert_uint_gt(pending, 20);
    b.first_dirty = c.result.first_dirty;
    log_compact_result_release(&c.result);
    check_newest(&b, b.first_dirty);
    lw_release(&b.lw);
}
END_TEST

START_TEST(replace__stale_lists_change_nothing)
{
    struct bench b;
    struct compaction c;
    bench_init(&b, 3, 40);
    ck_assert(run_compaction(&b, &c));
    ck_assert_uint_gt(c.result.group_count, 1);
    /* A cut into the group came first. */
    int64_t inside = c.segments[c.result.groups[1].first].base_offset + 1;
    log_truncate_to(b.lw.log, inside, lw_on_done, &b.lw);
    start_replace(&b, &c, 1);
    ck_assert_int_eq(lw_wait_done(&b.lw), 0);
    ck_assert_int_eq(lw_wait_done(&b.lw), LOG_REPLACE_STALE);
    /* Its segments are gone. */
    log_set_start_offset(b.lw.log, log_end_offset(b.lw.log));
    start_replace(&b, &c, 0);
    ck_assert_int_eq(lw_wait_done(&b.lw), LOG_REPLACE_STALE);
    lw_run(&b.lw, 1000);
    /* The groups that were never asked for go with the next run. */
    ck_assert_uint_gt(litter(&b.lw), 0);
    log_compact_result_release(&c.result);
    ck_assert(run_compaction(&b, &c));
    ck_assert_uint_eq(litter(&b.lw), 0);
    log_compact_result_release(&c.result);
    lw_release(&b.lw);
}
END_TEST

/* A cut, a reset or a new start offset is asked for at each event of a swap. */
START_TEST(replace__cut_at_any_moment)
{
    enum { CUT_INSIDE, CUT_BELOW, RESET, NEW_START, KINDS };
    for (int kind = 0; kind < KINDS; kind++) {
        bool through = false;
        for (int events = 0; !through; events++) {
            struct bench b;
            struct compaction c;
            struct content before;
            struct content after;
            bench_init(&b, 4, 40);
            ck_assert(run_compaction(&b, &c));
            const struct log_compact_group *g = &c.result.groups[1];
            ck_assert_uint_gt(g->count, 1);
            int64_t inside = c.segments[g->first + 1].base_offset + 1;
            int64_t below = c.segments[g->first].base_offset - 1;
            start_replace(&b, &c, 1);
            for (int i = 0; i < events && !b.lw.done; i++)
                (void)sim_world_step(b.lw.world);
            through = b.lw.done;
            bool cut = kind != NEW_START;
            if (kind == CUT_INSIDE)
                log_truncate_to(b.lw.log, inside, lw_on_done, &b.lw);
            else if (kind == CUT_BELOW)
                log_truncate_to(b.lw.log, below, lw_on_done, &b.lw);
            else if (kind == RESET)
                log_reset(b.lw.log, g->base_offset, kb_view_of(NULL, 0), lw_on_done, &b.lw);
            else
                log_set_start_offset(b.lw.log, inside);
            b.lw.done = false;
            lw_run(&b.lw, 300);
            ck_assert(b.lw.done || !cut || through);
            ck_assert_int_eq(b.lw.failures, 0);
            ck_assert_int_le(log_end_offset(b.lw.log), kind == CUT_INSIDE  ? inside
                                                       : kind == CUT_BELOW ? below
                                                       : kind == RESET     ? g->base_offset
                                                                           : INT64_MAX);
            /* It goes on, and memory and disk agree. */
            for (int i = 0; i < 10; i++)
                append(&b);
            lw_settle(&b.lw);
            read_all(&b.lw, &before, 1000);
            int64_t end = log_end_offset(b.lw.log);
            int64_t start = log_start_offset(b.lw.log);
            lw_kill(&b.lw);
            b.lw.options.start_offset = start;
            lw_open(&b.lw, false, 0);
            ck_assert_int_eq(b.lw.found.state, LOG_WHOLE);
            ck_assert_int_eq(log_end_offset(b.lw.log), end);
            read_all(&b.lw, &after, 1000);
            ck_assert_uint_eq(before.count, after.count);
            ck_assert_mem_eq(before.offsets, after.offsets, before.count * sizeof(int64_t));
            ck_assert_uint_eq(litter(&b.lw), 0);
            log_compact_result_release(&c.result);
            lw_release(&b.lw);
            ck_assert_int_lt(events, 200);
        }
    }
}
END_TEST

START_TEST(replace__survives_a_crash_at_each_file_call)
{
    for (int power = 0; power < 2; power++) {
        bool through = false;
        for (uint64_t call = 1; !through; call++) {
            struct bench b;
            bench_init(&b, 100 + call, 40);
            int64_t end = log_end_offset(b.lw.log);
            sim_env_crash_after(b.lw.env, call, power == 1);
            through = compact(&b);
            if (!sim_env_is_down(b.lw.env)) {
                if (power == 1)
                    sim_env_power_cut(b.lw.env);
                else
                    sim_env_kill(b.lw.env);
            }
            lw_restart(&b.lw);
            lw_open(&b.lw, false, end);
            ck_assert_int_eq(b.lw.open_result, 0);
            ck_assert_int_eq(b.lw.found.state, LOG_WHOLE);
            ck_assert_int_eq(log_end_offset(b.lw.log), end);
            check_newest(&b, through ? b.first_dirty : 0);
            ck_assert_uint_eq(litter(&b.lw), 0);
            append(&b);
            lw_settle(&b.lw);
            lw_release(&b.lw);
            ck_assert_uint_lt(call, 1000);
        }
    }
}
END_TEST

UNIT_MAIN("replace_live", replace__log_reads_on_and_opens_again,
          replace__readers_under_way_get_their_bytes, replace__stale_lists_change_nothing,
          replace__cut_at_any_moment, replace__survives_a_crash_at_each_file_call)
