/* A partition's log and its directory after every power cut and kill of small runs: what was
 * reported durable is there, a cut never comes back, torn ends are no damage (rule 8.2), starting
 * twice is starting once (P20). */
#include <stdio.h>

#include "proto/kafka/batch.h"
#include "replication/log/compact.h"
#include "replication/log/head.h"
#include "tests/crash/store.h"
#include "tests/crash/crash_main.h"

static const struct crash_limits limits = {.images = 600, .states = 1500};

START_TEST(append__what_was_durable_stays)
{
    struct store s;
    store_init(&s, 1);
    store_open(&s);
    store_create_log(&s);
    store_append(&s, 1, 2, 150);
    store_settle(&s);
    store_checkpoint(&s);
    /* Three at once: written together, synced together. */
    store_append(&s, 1, 1, 500);
    store_append(&s, 1, 3, 100);
    store_append(&s, 2, 1, 300);
    store_settle(&s);
    store_append(&s, 2, 1, 700);
    store_settle(&s);
    store_checkpoint(&s);
    store_append(&s, 4, 2, 40);
    store_append(&s, 4, 1, 600);
    store_settle(&s);
    store_walk(&s, "append", &limits);
    store_release(&s);
}
END_TEST

START_TEST(roll__segments_join_without_a_hole)
{
    struct store s;
    store_init(&s, 2);
    s.lw.options.config.segment_bytes = 900;
    store_open(&s);
    store_create_log(&s);
    for (int i = 0; i < 8; i++) {
        store_append(&s, 1 + i / 3, 1 + i % 2, 250);
        if (i % 2 == 1)
            store_settle(&s);
        if (i == 4)
            store_checkpoint(&s);
    }
    store_settle(&s);
    ck_assert_uint_gt(log_segment_count(s.lw.log), 2);
    store_walk(&s, "roll", &limits);
    store_release(&s);
}
END_TEST

START_TEST(truncate__what_was_cut_never_comes_back)
{
    struct store s;
    store_init(&s, 3);
    s.lw.options.config.segment_bytes = 900;
    store_open(&s);
    store_create_log(&s);
    for (int i = 0; i < 7; i++)
        store_append(&s, 1 + i / 4, 1, 300);
    store_settle(&s);
    store_checkpoint(&s);
    ck_assert_uint_gt(log_segment_count(s.lw.log), 2);
    store_cut(&s, 3);
    store_append(&s, 5, 2, 200);
    store_append(&s, 5, 1, 200);
    store_settle(&s);
    store_cut(&s, 4);
    store_append(&s, 6, 1, 120);
    store_settle(&s);
    store_checkpoint(&s);
    store_append(&s, 6, 1, 120);
    store_settle(&s);
    store_walk(&s, "truncate", &limits);
    store_release(&s);
}
END_TEST

START_TEST(reset__begins_anew_or_is_as_it_was)
{
    struct store s;
    store_init(&s, 4);
    s.lw.options.config.segment_bytes = 900;
    store_open(&s);
    store_create_log(&s);
    for (int i = 0; i < 6; i++)
        store_append(&s, 1, 1, 300);
    store_settle(&s);
    store_checkpoint(&s);
    int old = s.now.contents[0];
    int none = store_content_fork(&s, 0);
    s.now.contents[0] = none;
    s.now.contents[1] = old;
    s.now.end_min = 0;
    store_note(&s);
    log_reset(s.lw.log, 40, kb_view_of(NULL, 0), lw_on_done, &s.lw);
    s.lw.done = false;
    ck_assert_int_eq(lw_wait_done(&s.lw), 0);
    lw_model_cut(&s.lw, 0);
    s.now.contents[1] = -1;
    s.now.end_min = 40;
    store_note(&s);
    store_append(&s, 3, 1, 100);
    store_settle(&s);
    store_checkpoint(&s);
    store_walk(&s, "reset", &limits);
    store_release(&s);
}
END_TEST

START_TEST(delete__the_start_never_falls)
{
    struct store s;
    store_init(&s, 5);
    s.lw.options.config.segment_bytes = 900;
    store_open(&s);
    store_create_log(&s);
    for (int i = 0; i < 9; i++)
        store_append(&s, 1 + i / 4, 1, 300);
    store_settle(&s);
    store_checkpoint(&s);
    store_delete(&s, 1);
    store_delete(&s, 6);
    store_append(&s, 3, 1, 100);
    store_settle(&s);
    store_delete(&s, 10);
    store_walk(&s, "delete records", &limits);
    store_release(&s);
}
END_TEST

/* ---- compaction ---- */

static void append_keyed(struct store *s, int key)
{
    struct kw_batch_builder builder;
    struct kb_block *block = NULL;
    struct log_appended done;
    char value[64];
    uint8_t k = (uint8_t)key;
    int64_t base = log_end_offset(s->lw.log);
    kw_batch_builder_init(&builder);
    int size = snprintf(value, sizeof(value), "%lld %030d", (long long)base, key);
    struct kw_bytes v = {(uint8_t *)value, size};
    ck_assert_int_eq(kw_batch_builder_add(&builder, 1000 + base, (struct kw_bytes){&k, 1}, v), 0);
    ck_assert_int_eq(kw_batch_builder_finish(&builder, &block), 0);
    int r = LOG_APPEND_BUSY;
    while ((r = log_append_leader(s->lw.log, block, 0, block->size, 1, &done)) == LOG_APPEND_BUSY)
        lw_run(&s->lw, 1);
    ck_assert_int_eq(r, LOG_APPEND_OK);
    struct store_content *c = &s->contents[s->now.contents[0]];
    struct lw_batch b = {base, base, 1, 1000 + base, c->bytes.size, block->size};
    kb_buf_append(&c->bytes, block->data, block->size);
    kb_array_reserve(c->batches, c->count, c->capacity);
    c->batches[c->count++] = b;
    (void)kb_block_unref(block);
    kw_batch_builder_release(&builder);
    store_note(s);
}

struct compact_job {
    struct kb_job job;
    struct log_compact_input in;
    struct log_compact_result result;
    bool done;
    int r;
};

static int compact_run(struct kb_job *job, struct kb_fs *fs)
{
    struct compact_job *c = (struct compact_job *)job;
    return log_compact_run(fs, &c->in, &c->result);
}

static void compact_done(struct kb_job *job, int result)
{
    struct compact_job *c = (struct compact_job *)job;
    c->done = true;
    c->r = result;
}

static int add_log_file(void *arg, const char *name, enum kb_fs_type type)
{
    struct store *s = arg;
    size_t size = strlen(name);
    if (size != 24 || strcmp(name + 20, ".log") != 0)
        return 0;
    struct kb_view v;
    char *path = kb_asprintf(LW_DIR "/%s", name);
    ck_assert_int_eq(sim_disk_view(sim_host_disk(s->lw.host), path, false, &v), 0);
    struct store_content *c = &s->contents[s->content_count - 1];
    for (size_t at = 0; at < v.size;) {
        struct log_head h;
        ck_assert(log_head_parse(v.data + at, v.size - at, &h));
        struct lw_batch b = {h.base_offset,   h.last_offset, h.epoch,
                             h.max_timestamp, c->bytes.size, h.size};
        kb_buf_append(&c->bytes, v.data + at, h.size);
        kb_array_reserve(c->batches, c->count, c->capacity);
        c->batches[c->count++] = b;
        at += h.size;
    }
    (void)kb_free(path);
    return 0;
}

START_TEST(compact__old_or_new_and_never_both)
{
    struct store s;
    struct log_compact_segment segments[16];
    struct compact_job job = {0};
    store_init(&s, 6);
    s.lw.options.config.segment_bytes = 500;
    s.lw.options.config.cleanup_compact = true;
    s.lw.options.producers = true;
    store_open(&s);
    store_create_log(&s);
    for (int i = 0; i < 14; i++)
        append_keyed(&s, i % 3);
    store_settle(&s);
    store_checkpoint(&s);
    size_t count = log_segment_count(s.lw.log) - 1;
    ck_assert_uint_gt(count, 2);
    ck_assert_uint_lt(count, 16);
    for (size_t i = 0; i < count; i++) {
        struct log_segment_info info = log_segment_info(s.lw.log, i);
        segments[i] = (struct log_compact_segment){info.base_offset, info.size_bytes,
                                                   info.first_timestamp, info.max_timestamp};
    }
    job.in = (struct log_compact_input){
        .dir = LW_DIR,
        .segments = segments,
        .segment_count = count,
        .first_dirty = 0,
        .end_offset = log_segment_info(s.lw.log, count).base_offset,
        .config = {.max_compaction_lag_ms = UINT64_MAX,
                   .segment_bytes = 500,
                   .index_interval_bytes = 200,
                   .map_bytes = 2400,
                   .batch_bytes_max = 1 << 20},
        .now_wall_ms = 1000000,
    };
    job.job.run = compact_run;
    job.job.done = compact_done;
    kb_env_job(sim_env_kb(s.lw.env), &job.job);
    ck_assert(sim_world_run_until_flag(s.lw.world, &job.done, 60000));
    ck_assert_int_eq(job.r, 0);
    ck_assert_uint_gt(job.result.group_count, 0);
    /* Swapped one group after the other: before and after each of them is a content of its own. */
    for (size_t g = 0; g < job.result.group_count && g < 3; g++) {
        int64_t bases[16];
        const struct log_compact_group *group = &job.result.groups[g];
        for (size_t i = 0; i < group->count; i++)
            bases[i] = segments[group->first + i].base_offset;
        int old = s.now.contents[0];
        int new = s.content_count++;
        ck_assert_int_lt(new, STORE_CONTENTS_MAX);
        s.now.contents[0] = new;
        s.now.contents[1] = old;
        store_note(&s);
        s.lw.done = false;
        log_replace_segments(s.lw.log, bases, group->count, lw_on_done, &s.lw);
        ck_assert_int_eq(lw_wait_done(&s.lw), LOG_REPLACE_OK);
        ck_assert_int_eq(sim_disk_list(sim_host_disk(s.lw.host), LW_DIR, false, add_log_file, &s),
                         0);
        ck_assert_uint_lt(s.contents[new].count, s.contents[old].count);
        s.now.contents[1] = -1;
        store_note(&s);
    }
    append_keyed(&s, 1);
    store_settle(&s);
    lw_run(&s.lw, 200);
    log_compact_result_release(&job.result);
    store_walk(&s, "compaction", &limits);
    store_release(&s);
}
END_TEST

START_TEST(close__clean_is_said_last)
{
    struct store s;
    store_init(&s, 7);
    s.lw.options.config.segment_bytes = 900;
    store_open(&s);
    log_dir_set_cluster_id(s.dir, "abcdefghijklmnopqrstuv", store_on_answer, &s);
    store_wait(&s);
    snprintf(s.now.cluster_id, sizeof(s.now.cluster_id), "abcdefghijklmnopqrstuv");
    store_note(&s);
    log_dir_set_broker_epoch(s.dir, 41, store_on_answer, &s);
    store_wait(&s);
    s.now.broker_epoch = 41;
    store_note(&s);
    store_create_log(&s);
    log_dir_set_creations(s.dir, 7, store_on_answer, &s);
    store_wait(&s);
    s.now.creations = 7;
    store_note(&s);
    for (int i = 0; i < 5; i++)
        store_append(&s, 1, 2, 200);
    store_settle(&s);
    store_close(&s);
    store_walk(&s, "format, life, clean stop", &limits);
    store_release(&s);
}
END_TEST

CRASH_MAIN("crash_log", append__what_was_durable_stays, roll__segments_join_without_a_hole,
           truncate__what_was_cut_never_comes_back, reset__begins_anew_or_is_as_it_was,
           delete__the_start_never_falls, compact__old_or_new_and_never_both,
           close__clean_is_said_last)
