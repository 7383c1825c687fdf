/* Truncation and reset: what is visible at once, what a reader in flight gets, what the log is
 * afterwards; producers and epochs follow. Then retention, the start offset and lookups by time. */

#include <stdlib.h>
#include <string.h>

#include "proto/base/err.h"
#include "proto/base/prng.h"
#include "replication/log/producers.h"
#include "tests/unit/log/log_world.h"
#include "tests/unit/unit.h"

static void fill(struct lw *l, int batches, int64_t timestamp)
{
    int32_t epoch = log_last_epoch(l->log) + 1;
    for (int i = 0; i < batches; i++)
        ck_assert_int_eq(lw_append(l, epoch + i / 8, 1 + i % 3, 60, timestamp + 10L * i), 0);
    lw_settle(l);
}

static void start(struct lw *l, uint32_t segment_bytes)
{
    lw_init(l, 11);
    l->options.config.segment_bytes = segment_bytes;
    l->options.config.index_interval_bytes = 200;
    l->options.config.file_delete_delay_ms = 1000;
    lw_create(l, 0);
}

static int cut(struct lw *l, int64_t offset)
{
    l->done = false;
    log_truncate_to(l->log, offset, lw_on_done, l);
    ck_assert(!l->done);
    return lw_wait_done(l);
}

START_TEST(truncate__is_visible_at_once_and_durable_when_done)
{
    struct lw l;
    start(&l, 1500);
    fill(&l, 40, 1000);
    uint32_t generation = log_generation(l.log);
    int64_t to = l.batches[17].base_offset;
    log_truncate_to(l.log, to, lw_on_done, &l);
    ck_assert_uint_eq(log_generation(l.log), generation + 1);
    ck_assert_int_eq(log_end_offset(l.log), to);
    ck_assert_int_eq(log_durable_offset(l.log), to);
    ck_assert_int_eq(lw_append_once(&l, 99, 1, 10, 1), LOG_APPEND_BUSY);
    struct log_read r;
    ck_assert_int_eq(lw_read(&l, &r, to + 1, to + 9, 100, true), LOG_READ_OUT_OF_RANGE);
    ck_assert_int_eq(lw_wait_done(&l), 0);
    ck_assert_uint_gt(l.space_events, 0);
    lw_model_cut(&l, to);
    lw_check_all(&l);
    ck_assert_int_eq(log_last_epoch(l.log), l.batches[l.batch_count - 1].epoch);
    fill(&l, 20, 5000);
    lw_check_all(&l);
    int64_t mark = log_durable_mark(l.log);
    lw_power_cut(&l, SIM_CRASH_DROP);
    lw_open(&l, false, mark);
    lw_check_all(&l);
    lw_release(&l);
}
END_TEST

/* A log whose epoch file and mark know all its batches, cut to `keep` of them; then `count` of the
 * next epoch, which the file does not know yet. Returns the mark. */
static int64_t cut_below_mark(struct lw *l, size_t keep, int count, int records)
{
    start(l, 100000);
    fill(l, 8, 1000);
    lw_run(l, 5000); /* the epoch file follows */
    int64_t mark = log_durable_mark(l->log);
    ck_assert_int_eq(mark, log_end_offset(l->log));
    int64_t to = l->batches[keep].base_offset;
    ck_assert_int_eq(cut(l, to), 0);
    lw_model_cut(l, to);
    for (int i = 0; i < count; i++)
        ck_assert_int_eq(lw_append(l, 1, records, 60, 5000 + i), 0);
    lw_settle(l);
    lw_run(l, 20);
    ck_assert_int_eq(log_durable_mark(l->log), to);
    return mark;
}

static bool cut_limit_is_there(struct lw *l)
{
    struct sim_dir dir;
    struct kb_view bytes;
    ck_assert(sim_disk_dir(sim_host_disk(l->host), LW_DIR, false, &dir));
    return sim_dir_view(&dir, "cut-limit", &bytes);
}

/* The file still says that the epoch before the cut goes on behind it: a sound batch there, alone
 * below the former mark, would count as damage if that held again (seed 3001415). */
START_TEST(truncate__former_marks_are_void_until_the_epoch_file_knows)
{
    struct lw l;
    int64_t mark = cut_below_mark(&l, 7, 5, 3);
    ck_assert_int_gt(l.batches[8].base_offset, mark);
    lw_kill(&l);
    lw_open(&l, false, mark);
    ck_assert_int_eq(l.found.state, LOG_WHOLE);
    lw_check_all(&l);
    ck_assert(cut_limit_is_there(&l));
    lw_run(&l, 5000);
    ck_assert(!cut_limit_is_there(&l)); /* nobody needs to append for that */
    lw_kill(&l);
    sim_disk_flip_bit(sim_host_disk(l.host), LW_DIR "/00000000000000000000.log",
                      l.batches[6].position + 70, 2);
    lw_open(&l, false, mark);
    ck_assert_int_eq(l.found.state, LOG_DAMAGED);
    lw_release(&l);
}
END_TEST

/* The second cut must not give marks of before the first one back what the first one voided. */
START_TEST(truncate__again_below_former_marks_and_a_crash_at_any_call)
{
    for (uint64_t n = 1; n < 40; n++) {
        struct lw l;
        int64_t mark = cut_below_mark(&l, 4, 2, 1);
        ck_assert_int_lt(log_end_offset(l.log), mark);
        int64_t to = l.batches[l.batch_count - 1].base_offset;
        sim_env_crash_after(l.env, n, true);
        l.done = false;
        log_truncate_to(l.log, to, lw_on_done, &l);
        lw_run(&l, 20); /* the epoch file would follow later */
        if (!sim_env_is_down(l.env))
            sim_env_power_cut(l.env);
        lw_restart(&l);
        lw_open(&l, false, mark);
        ck_assert_int_eq(l.found.state, LOG_WHOLE);
        ck_assert_int_ge(l.found.end_offset, to);
        lw_model_cut(&l, l.found.end_offset);
        lw_check_all(&l);
        lw_release(&l);
    }
}
END_TEST

/* A cut writes small files. On a full disk it waits for space and is no failure (9.3). */
START_TEST(truncate__waits_on_a_full_disk)
{
    struct lw l;
    start(&l, 1500);
    fill(&l, 40, 1000);
    int64_t to = l.batches[17].base_offset;
    sim_disk_settings(sim_host_disk(l.host))->capacity_bytes = 1;
    log_truncate_to(l.log, to, lw_on_done, &l);
    lw_run(&l, 3500);
    ck_assert_uint_eq(l.failures, 0);
    ck_assert_int_eq(log_end_offset(l.log), to);
    ck_assert_int_eq(lw_append_once(&l, 99, 1, 10, 1), LOG_APPEND_BUSY);
    sim_disk_settings(sim_host_disk(l.host))->capacity_bytes = 0;
    ck_assert_int_eq(lw_wait_done(&l), 0);
    lw_model_cut(&l, to);
    lw_check_all(&l);
    fill(&l, 20, 5000);
    lw_check_all(&l);
    lw_release(&l);
}
END_TEST

static void note_closed(struct log *log, void *user, int result)
{
    *(int *)user = result;
}

/* A full disk is no failure, at a stop or a deletion either; but the stop is not a clean one. */
START_TEST(truncate__that_waits_for_space_ends_with_the_log)
{
    struct lw l;
    int closed = 99;
    start(&l, 1500);
    fill(&l, 40, 1000);
    int64_t to = l.batches[17].base_offset;
    sim_disk_settings(sim_host_disk(l.host))->capacity_bytes = 1;
    log_truncate_to(l.log, to, lw_on_done, &l);
    lw_run(&l, 500);
    log_close(l.log, note_closed, &closed);
    ck_assert_int_eq(lw_wait_done(&l), -KB_ENOSPC);
    lw_run(&l, 1000);
    ck_assert_int_eq(closed, -KB_ENOSPC);
    ck_assert_uint_eq(l.failures, 0);
    sim_disk_settings(sim_host_disk(l.host))->capacity_bytes = 0;
    lw_kill(&l);
    lw_open(&l, false, to);
    ck_assert_int_ne(l.found.state, LOG_DAMAGED);
    ck_assert_int_ge(l.found.end_offset, to);
    lw_release(&l);
}
END_TEST

START_TEST(truncate__at_every_batch)
{
    for (size_t i = 0; i < 24; i++) {
        struct lw l;
        start(&l, 800);
        fill(&l, 24, 1000);
        int64_t to = l.batches[i].base_offset;
        ck_assert_int_eq(cut(&l, to), 0);
        lw_model_cut(&l, to);
        ck_assert_int_eq(log_end_offset(l.log), to);
        lw_check_all(&l);
        ck_assert_int_eq(log_producers_end_offset(log_producers(l.log)), to);
        fill(&l, 5, 2000);
        lw_check_all(&l);
        lw_close(&l);
        lw_open(&l, true, 0);
        ck_assert_int_eq(l.found.state, LOG_WHOLE);
        lw_check_all(&l);
        lw_release(&l);
    }
}
END_TEST

/* What the next life finds is some of what was there, all of what was to stay, and what it builds
 * on: a power cut brings nothing back that it did not see. */
START_TEST(truncate__a_kill_at_any_call_leaves_part_of_it)
{
    unsigned between = 0;
    for (uint64_t n = 1; n < 60; n++) {
        struct lw l;
        start(&l, 300);
        fill(&l, 12, 1000);
        int64_t end = log_end_offset(l.log), to = l.batches[2].base_offset;
        sim_env_crash_after(l.env, n, false);
        l.done = false;
        log_truncate_to(l.log, to, lw_on_done, &l);
        lw_run(&l, 1000);
        bool done = l.done;
        lw_kill(&l);
        lw_open(&l, false, end);
        ck_assert_int_eq(l.open_result, 0);
        ck_assert_int_eq(l.found.state, LOG_WHOLE);
        ck_assert_int_ge(l.found.end_offset, to);
        ck_assert(!done || l.found.end_offset == to);
        between += l.found.end_offset > to && l.found.end_offset < end;
        lw_model_cut(&l, l.found.end_offset);
        ck_assert_int_eq(l.batches[l.batch_count - 1].last_offset + 1, l.found.end_offset);
        lw_check_all(&l);
        if (n % 2 == 0)
            fill(&l, 3, 2000);
        lw_power_cut(&l, SIM_CRASH_DROP);
        lw_open(&l, false, to);
        ck_assert_int_eq(l.found.state, LOG_WHOLE);
        ck_assert_int_eq(l.found.end_offset, l.batches[l.batch_count - 1].last_offset + 1);
        lw_check_all(&l);
        lw_release(&l);
    }
    ck_assert_uint_ge(between, 5);
}
END_TEST

START_TEST(truncate__inside_a_batch_drops_all_of_it)
{
    struct lw l;
    start(&l, 100000);
    ck_assert_int_eq(lw_append(&l, 1, 3, 10, 1000), 0);
    ck_assert_int_eq(lw_append(&l, 1, 5, 10, 1000), 0);
    lw_settle(&l);
    ck_assert_int_eq(cut(&l, 5), 0);
    ck_assert_int_eq(log_end_offset(l.log), 3);
    lw_model_cut(&l, 5);
    lw_check_all(&l);
    lw_release(&l);
}
END_TEST

START_TEST(truncate__pending_writes_report_nothing)
{
    struct lw l;
    start(&l, 100000);
    fill(&l, 5, 1000);
    int64_t to = log_end_offset(l.log);
    lw_run(&l, 50);
    ck_assert_int_eq(lw_append(&l, 9, 2, 10, 1000), 0);
    ck_assert_int_eq(lw_append_once(&l, 9, 2, 10, 1000), 0);
    ck_assert_int_eq(cut(&l, to), 0);
    ck_assert_int_eq(log_written_offset(l.log), to);
    ck_assert_int_eq(log_durable_offset(l.log), to);
    lw_model_cut(&l, to);
    lw_check_all(&l);
    lw_release(&l);
}
END_TEST

static void note_result(struct log_read *r, int result)
{
    *(int *)r->user = result;
}

START_TEST(truncate__a_read_under_way_sees_the_new_log)
{
    struct lw l;
    start(&l, 1000);
    fill(&l, 30, 1000);
    int result = 99;
    struct log_read r = {.offset = 3,
                         .bound_offset = log_end_offset(l.log),
                         .max_bytes = 100000,
                         .min_one = true,
                         .done = note_result,
                         .user = &result};
    ck_assert_int_eq(log_read(l.log, &r), LOG_READ_PENDING); /* a closed segment: a job */
    int64_t to = l.batches[1].base_offset;
    ck_assert_int_eq(cut(&l, to), 0);
    lw_run(&l, 100);
    ck_assert_int_eq(result, LOG_READ_OUT_OF_RANGE);
    struct log_read c = r;
    c.offset = 0;
    fill(&l, 30, 2000);
    ck_assert_int_eq(log_read(l.log, &c),
                     LOG_READ_OK); /* the first batch is where the file starts */
    kb_chain_release(&c.records);
    c.offset = 1;
    ck_assert_int_eq(log_read(l.log, &c), LOG_READ_PENDING);
    log_read_cancel(&c);
    lw_run(&l, 100);
    lw_release(&l);
}
END_TEST

static void free_closed(struct log *log, void *user, int result)
{
    struct lw *l = user;
    l->log = log_free(log);
    lw_on_done(NULL, user, result);
}

static void read_slowly(struct lw *l, struct log_read *r, int *ret_result)
{
    struct sim_disk_settings *d = sim_disk_settings(sim_host_disk(l->host));
    d->read_us_min = d->read_us_max = 300000;
    *r = (struct log_read){.offset = 3,
                           .bound_offset = log_end_offset(l->log),
                           .max_bytes = 100000,
                           .min_one = true,
                           .done = note_result,
                           .user = ret_result};
    *ret_result = 99;
    ck_assert_int_eq(log_read(l->log, r), LOG_READ_PENDING);
    d->read_us_min = d->read_us_max = 10;
}

/* Who closes frees in the callback: nothing may be in the hands of a reader thread then. */
START_TEST(close__waits_for_reads_under_way)
{
    for (int cancelled = 0; cancelled < 2; cancelled++) {
        struct lw l;
        struct log_read r;
        int result = 0;
        start(&l, 1000);
        fill(&l, 30, 1000);
        read_slowly(&l, &r, &result);
        if (cancelled)
            log_read_cancel(&r);
        l.done = false;
        log_close(l.log, free_closed, &l);
        ck_assert_int_eq(lw_wait_done(&l), 0);
        ck_assert_int_eq(result, cancelled ? 99 : LOG_READ_OK);
        if (!cancelled)
            kb_chain_release(&r.records);
        lw_run(&l, 1000);
        lw_release(&l);
    }
}
END_TEST

START_TEST(reset__begins_anew)
{
    struct lw l;
    start(&l, 1000);
    fill(&l, 30, 1000);
    l.done = false;
    log_reset(l.log, 500, kb_view_of(NULL, 0), lw_on_done, &l);
    ck_assert_int_eq(log_start_offset(l.log), 500);
    ck_assert_int_eq(log_end_offset(l.log), 500);
    ck_assert_int_eq(lw_wait_done(&l), 0);
    lw_model_cut(&l, 0);
    ck_assert_int_eq(log_last_epoch(l.log), -1);
    ck_assert_uint_eq(log_producers_count(log_producers(l.log)), 0);
    fill(&l, 10, 2000);
    ck_assert_int_eq(l.batches[0].base_offset, 500);
    lw_check_all(&l);
    lw_power_cut(&l, SIM_CRASH_DROP);
    lw_open(&l, false, 100000); /* a mark of before the reset */
    ck_assert_int_eq(l.found.state, LOG_WHOLE);
    ck_assert_int_eq(l.found.start_offset, 500);
    lw_check_all(&l);
    lw_release(&l);
}
END_TEST

/* The producers of what is deleted come along; a stop leaves a snapshot of their own (10.2). */
START_TEST(reset__producers_of_what_lies_below_are_kept)
{
    struct lw l;
    struct kb_buf below = {0};
    start(&l, 700);
    fill(&l, 12, 1000);
    lw_close(&l);
    lw_open(&l, true, 0);
    size_t known = log_producers_serialize_below(log_producers(l.log), log_end_offset(l.log),
                                                 SIZE_MAX, &below);
    ck_assert_uint_eq(known, 2);
    for (int round = 0; round < 3; round++) {
        int64_t to = 1000 * (round + 1LL);
        l.done = false;
        log_reset(l.log, to, kb_view_of(below.data, round == 2 ? 20 : below.size), lw_on_done, &l);
        ck_assert_int_eq(lw_wait_done(&l), 0);
        lw_model_cut(&l, 0);
        ck_assert_uint_eq(log_producers_count(log_producers(l.log)), round == 2 ? 0 : 2);
        if (round == 1)
            fill(&l, 12, 3000);
        lw_power_cut(&l, SIM_CRASH_DROP);
        lw_open(&l, false, 0);
        ck_assert_int_eq(l.found.start_offset, to);
        ck_assert_uint_eq(log_producers_count(log_producers(l.log)), round == 2 ? 0 : 2);
    }
    kb_buf_release(&below);
    lw_release(&l);
}
END_TEST

START_TEST(reset__a_crash_at_any_call_leaves_old_or_empty)
{
    for (uint64_t n = 1; n < 90; n++) {
        struct lw l;
        struct kb_buf below = {0};
        start(&l, 700);
        fill(&l, 12, 1000);
        int64_t end = log_end_offset(l.log);
        size_t known = n % 3 == 0 ? 0
                                  : log_producers_serialize_below(log_producers(l.log), 5, SIZE_MAX,
                                                                  &below);
        sim_disk_set_crash_mode(sim_host_disk(l.host),
                                n % 2 == 0 ? SIM_CRASH_DROP : SIM_CRASH_KEEP);
        sim_env_crash_after(l.env, n, true);
        l.done = false;
        log_reset(l.log, 3, kb_view_of(below.data, below.size), lw_on_done, &l);
        lw_run(&l, 1000);
        bool done = l.done;
        if (!sim_env_is_down(l.env))
            sim_env_power_cut(l.env);
        lw_restart(&l);
        lw_open(&l, false, end);
        ck_assert_int_eq(l.open_result, 0);
        ck_assert_int_eq(l.found.state, LOG_WHOLE);
        if (l.found.end_offset == end) {
            ck_assert(!done);
            lw_check_all(&l);
            ck_assert_uint_eq(log_producers_count(log_producers(l.log)), 2);
        } else {
            ck_assert_int_eq(l.found.start_offset, 3);
            ck_assert_int_eq(l.found.end_offset, 3);
            ck_assert_uint_eq(log_producers_count(log_producers(l.log)), known);
        }
        kb_buf_release(&below);
        lw_release(&l);
    }
}
END_TEST

/* ---- retention ---- */

struct counting {
    const char *suffix;
    size_t count;
};

static int count_entry(void *arg, const char *name, enum kb_fs_type type)
{
    struct counting *c = arg;
    size_t n = strlen(name);
    size_t s = strlen(c->suffix);
    c->count += n >= s && strcmp(name + n - s, c->suffix) == 0;
    return 0;
}

static size_t files(struct lw *l, const char *suffix)
{
    struct counting c = {suffix, 0};
    ck_assert_int_eq(sim_disk_list(sim_host_disk(l->host), LW_DIR, false, count_entry, &c), 0);
    return c.count;
}

/* The model without what is gone. */
static void model_start(struct lw *l)
{
    size_t gone = 0;
    while (gone < l->batch_count && l->batches[gone].last_offset < log_start_offset(l->log))
        gone++;
    if (gone == 0)
        return;
    memmove(l->batches, l->batches + gone, (l->batch_count - gone) * sizeof(*l->batches));
    l->batch_count -= gone;
}

START_TEST(retention__by_size)
{
    struct lw l;
    start(&l, 1000);
    fill(&l, 60, 1000);
    size_t segments = log_segment_count(l.log);
    struct log_config c = l.options.config;
    c.retention_bytes = 3000;
    c.retention_ms = -1;
    log_set_config(l.log, &c);
    int64_t bound = log_segment_info(l.log, 3).base_offset;
    ck_assert_int_eq(log_clean_by_retention(l.log, 0, bound), 3); /* not past the bound */
    int gone = log_clean_by_retention(l.log, 0, log_end_offset(l.log));
    ck_assert_uint_eq(log_segment_count(l.log) + 3 + (size_t)gone, segments);
    ck_assert_uint_ge(log_size_bytes(l.log), 3000);
    ck_assert_uint_lt(log_size_bytes(l.log), 4000);
    ck_assert_int_eq(log_start_offset(l.log), log_segment_info(l.log, 0).base_offset);
    lw_run(&l, 200);
    ck_assert_uint_eq(files(&l, ".log"), log_segment_count(l.log));
    ck_assert_uint_gt(files(&l, ".log.deleted"), 0);
    lw_run(&l, 3000);
    ck_assert_uint_eq(files(&l, ".deleted"), 0);
    model_start(&l);
    lw_check_all(&l);
    struct log_read r;
    ck_assert_int_eq(lw_read(&l, &r, 0, 10, 100, true), LOG_READ_OUT_OF_RANGE);
    lw_kill(&l);
    lw_open(&l, false, 0);
    ck_assert_int_eq(l.found.state, LOG_WHOLE);
    lw_check_all(&l);
    lw_release(&l);
}
END_TEST

/* 9.3: whichever call fails that takes old segments away, their renaming, its sync or the removal
 * behind it, the log has failed, although nobody misses them. */
START_TEST(retention__a_disk_that_fails_is_told)
{
    for (int kind = 0; kind < 3; kind++) {
        struct lw l;
        start(&l, 1000);
        fill(&l, 60, 1000);
        struct sim_disk_settings *disk = sim_disk_settings(sim_host_disk(l.host));
        struct log_config c = l.options.config;
        c.retention_bytes = 3000;
        c.retention_ms = -1;
        log_set_config(l.log, &c);
        disk->dead = kind == 0;
        disk->sync_fail_next = kind == 1;
        ck_assert_int_gt(log_clean_by_retention(l.log, 0, log_end_offset(l.log)), 0);
        lw_run(&l, 200);
        ck_assert_uint_eq(l.failures, kind < 2);
        disk->dead = kind == 2;
        lw_run(&l, 3000);
        ck_assert_uint_eq(l.failures, 1);
        ck_assert_int_eq(l.failure, -KB_EIO);
        lw_release(&l);
    }
}
END_TEST

/* A cut of a log that fails meanwhile is no success, even if its own calls are well (seed 70969).
 */
START_TEST(truncate__of_a_log_that_other_work_fails)
{
    struct lw l;
    start(&l, 1000);
    fill(&l, 60, 1000);
    struct sim_disk_settings *disk = sim_disk_settings(sim_host_disk(l.host));
    struct log_config c = l.options.config;
    c.retention_bytes = 3000;
    c.retention_ms = -1;
    log_set_config(l.log, &c);
    disk->write_us_min = disk->write_us_max = 20000; /* the cut begins later */
    disk->sync_fail_next = 1;
    ck_assert_int_gt(log_clean_by_retention(l.log, 0, log_end_offset(l.log)), 0);
    l.done = false;
    log_truncate_to(l.log, l.batches[58].base_offset, lw_on_done, &l);
    for (int ms = 0; ms < 1000 && l.failures == 0; ms++)
        lw_run(&l, 1);
    ck_assert_uint_eq(l.failures, 1);
    ck_assert(!l.done);
    ck_assert_int_eq(lw_wait_done(&l), -KB_EIO);
    ck_assert_uint_eq(l.failures, 1);
    lw_release(&l);
}
END_TEST

START_TEST(retention__by_time_rolls_the_active_segment)
{
    struct lw l;
    start(&l, 1000);
    fill(&l, 40, 1000);
    struct log_config c = l.options.config;
    c.retention_ms = 500;
    log_set_config(l.log, &c);
    int64_t end = log_end_offset(l.log);
    ck_assert_int_eq(log_clean_by_retention(l.log, 1400, end), 0);
    int gone = log_clean_by_retention(l.log, 1700, end);
    ck_assert_int_gt(gone, 1);
    ck_assert_uint_gt(log_segment_count(l.log), 1);
    for (int i = 0; i < 10; i++) {
        (void)log_clean_by_retention(l.log, 100000, end);
        lw_run(&l, 50);
    }
    ck_assert_uint_eq(log_segment_count(l.log), 1);
    ck_assert_int_eq(log_start_offset(l.log), end);
    ck_assert_int_eq(log_end_offset(l.log), end);
    fill(&l, 2, 200000);
    model_start(&l);
    lw_check_all(&l);
    lw_release(&l);
}
END_TEST

START_TEST(start_offset__removes_whole_segments_below)
{
    struct lw l;
    start(&l, 1000);
    fill(&l, 40, 1000);
    int64_t inside = log_segment_info(l.log, 2).base_offset + 1;
    log_set_start_offset(l.log, inside);
    ck_assert_int_eq(log_start_offset(l.log), inside);
    ck_assert_int_lt(log_segment_info(l.log, 0).base_offset, inside);
    log_set_start_offset(l.log, 2);
    ck_assert_int_eq(log_start_offset(l.log), inside);
    model_start(&l);
    lw_check_all(&l);
    int64_t end = log_end_offset(l.log);
    lw_close(&l);
    l.options.start_offset = inside;
    lw_open(&l, true, end);
    ck_assert_int_eq(l.found.start_offset, inside);
    lw_check_all(&l);
    lw_release(&l);
}
END_TEST

/* ---- time ---- */

struct asking {
    bool done;
    int result;
};

static void time_done(struct log_time_query *q, int result)
{
    struct asking *a = q->user;
    a->done = true;
    a->result = result;
}

static struct log_time_offset ask(struct lw *l, int64_t timestamp, int64_t bound)
{
    struct asking a = {false, 0};
    struct log_time_query q = {
        .timestamp = timestamp, .bound_offset = bound, .done = time_done, .user = &a};
    log_offset_for_time(l->log, &q);
    ck_assert(!a.done);
    ck_assert(sim_world_run_until_flag(l->world, &a.done, 10000));
    ck_assert_int_eq(a.result, 0);
    return q.found;
}

/* Records of the model: batch timestamps rise by 1 per record up to max_timestamp. */
static struct log_time_offset plain_time(struct lw *l, int64_t timestamp, int64_t bound)
{
    struct log_time_offset best = {-1, -1, -1};
    for (size_t i = 0; i < l->batch_count; i++) {
        const struct lw_batch *b = &l->batches[i];
        for (int64_t o = b->base_offset; o <= b->last_offset && o < bound; o++) {
            int64_t t = b->max_timestamp - (b->last_offset - o);
            if (o < log_start_offset(l->log))
                continue;
            if (timestamp == LOG_TIME_MAX ? t > best.timestamp : t >= timestamp) {
                best = (struct log_time_offset){t, o, b->epoch};
                if (timestamp != LOG_TIME_MAX)
                    return best;
            }
        }
    }
    return best;
}

static void check_time(struct lw *l, int64_t timestamp, int64_t bound)
{
    struct log_time_offset a = ask(l, timestamp, bound);
    struct log_time_offset b = plain_time(l, timestamp, bound);
    ck_assert_int_eq(a.offset, b.offset);
    ck_assert_int_eq(a.timestamp, b.timestamp);
    ck_assert_int_eq(a.leader_epoch, b.leader_epoch);
}

START_TEST(offset_for_time__agrees_with_a_plain_search)
{
    struct lw l;
    start(&l, 1200);
    struct kb_prng p;
    kb_prng_init(&p, 4);
    check_time(&l, 5, 100);
    check_time(&l, LOG_TIME_MAX, 100);
    int64_t timestamp = 1000;
    for (int i = 0; i < 60; i++) {
        timestamp += (int64_t)kb_prng_below(&p, 40) - 12; /* producers' clocks go back, too */
        ck_assert_int_eq(lw_append(&l, i / 20, 1 + i % 4, 50, timestamp), 0);
    }
    lw_settle(&l);
    for (int round = 0; round < 2; round++) {
        int64_t end = log_end_offset(l.log);
        for (int64_t t = 950; t < timestamp + 60; t += 17)
            check_time(&l, t, end);
        for (int64_t bound = 0; bound <= end; bound += 5) {
            check_time(&l, 1150, bound);
            check_time(&l, LOG_TIME_MAX, bound);
        }
        if (round == 0) {
            lw_kill(&l);
            lw_open(&l, false, end);
        }
        log_set_start_offset(l.log, 20);
    }
    lw_release(&l);
}
END_TEST

static struct kb_buf read_file(struct lw *l, const char *path)
{
    struct kb_buf b = {0};
    ck_assert_int_eq(sim_disk_read(sim_host_disk(l->host), path, &b), 0);
    return b;
}

/* Start cleanly with one bit turned; afterwards the file is as before, whoever repaired it. */
static void look_with_turned_bit(struct lw *l, const char *path, uint64_t position, unsigned bit)
{
    struct sim_disk *disk = sim_host_disk(l->host);
    struct kb_buf before = read_file(l, path);
    ck_assert_int_eq(sim_disk_flip_bit(disk, path, position, bit), 0);
    int64_t end = l->batches[l->batch_count - 1].last_offset + 1;
    lw_open(l, true, end);
    ck_assert_int_eq(log_end_offset(l->log), end);
    for (int64_t t = 990; t < 2900; t += 43)
        check_time(l, t, end);
    check_time(l, LOG_TIME_MAX, end);
    lw_close(l);
    struct kb_buf after = read_file(l, path);
    ck_assert_uint_eq(after.size, before.size);
    if (memcmp(after.data, before.data, after.size) != 0)
        ck_assert_int_eq(sim_disk_flip_bit(disk, path, position, bit), 0);
    kb_buf_release(&before);
    kb_buf_release(&after);
}

START_TEST(time_index__turned_bits_change_no_answer)
{
    static const char *const paths[] = {LW_DIR "/00000000000000000000.timeindex",
                                        LW_DIR "/00000000000000000000.index"};
    struct lw l;
    start(&l, 3000);
    for (int i = 0; i < 40; i++) /* clocks that go back, too */
        ck_assert_int_eq(lw_append(&l, 0, 1 + i % 3, 60, 1023 + 45L * i - i % 4 * 50L), 0);
    lw_settle(&l);
    ck_assert_uint_gt(log_segment_count(l.log), 1);
    lw_close(&l);
    for (size_t f = 0; f < 2; f++) {
        struct kb_buf whole = read_file(&l, paths[f]);
        uint64_t bits = whole.size * 8;
        ck_assert_uint_gt(bits, 200);
        for (uint64_t i = 0; i < bits; i++)
            look_with_turned_bit(&l, paths[f], i / 8, i % 8);
        kb_buf_release(&whole);
    }
    lw_release(&l);
}
END_TEST

/* What a start could not write for want of space is no index of the next one (seed 85848). */
START_TEST(time_index__made_on_a_full_disk_is_not_believed)
{
    struct lw l;
    start(&l, 1200);
    l.options.config.index_interval_bytes = 4096; /* offset indexes stay empty */
    fill(&l, 30, 1000);
    lw_run(&l, 5000); /* the epoch file follows */
    ck_assert_uint_gt(log_segment_count(l.log), 2);
    int64_t end = log_end_offset(l.log);
    lw_kill(&l);
    sim_disk_settings(sim_host_disk(l.host))->capacity_bytes = 1;
    lw_open(&l, false, 1);
    ck_assert_int_eq(log_end_offset(l.log), end);
    lw_kill(&l);
    sim_disk_settings(sim_host_disk(l.host))->capacity_bytes = 0;
    lw_open(&l, false, end);
    for (int64_t t = 900; t < 1400; t += 31)
        check_time(&l, t, end);
    lw_release(&l);
}
END_TEST

UNIT_MAIN("log_cut", truncate__is_visible_at_once_and_durable_when_done, truncate__at_every_batch,
          truncate__former_marks_are_void_until_the_epoch_file_knows,
          truncate__again_below_former_marks_and_a_crash_at_any_call,
          truncate__waits_on_a_full_disk, truncate__that_waits_for_space_ends_with_the_log,
          truncate__a_kill_at_any_call_leaves_part_of_it, truncate__of_a_log_that_other_work_fails,
          truncate__inside_a_batch_drops_all_of_it, truncate__pending_writes_report_nothing,
          truncate__a_read_under_way_sees_the_new_log, close__waits_for_reads_under_way,
          reset__begins_anew, reset__producers_of_what_lies_below_are_kept,
          reset__a_crash_at_any_call_leaves_old_or_empty, retention__by_size,
          retention__a_disk_that_fails_is_told, retention__by_time_rolls_the_active_segment,
          start_offset__removes_whole_segments_below, offset_for_time__agrees_with_a_plain_search,
          time_index__turned_bits_change_no_answer, time_index__made_on_a_full_disk_is_not_believed)
