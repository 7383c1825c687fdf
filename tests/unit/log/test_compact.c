/* A log of keyed records is compacted again and again while it grows: with deletions, transactions,
 * all codecs, a map that is too small, and a crash at each file call of a swap. What is left must
 * be what a naive pass over an array of records leaves. */

#include <string.h>

#include "proto/base/err.h"
#include "proto/base/mem.h"
#include "replication/log/compact_map.h"
#include "replication/log/index.h"
#include "tests/sim/sim_env.h"
#include "tests/sim/sim_world.h"
#include "tests/unit/log/compact_kit.h"
#include "tests/unit/unit.h"

struct bench {
    struct sim_world *world;
    struct sim_env *env;
    struct sim_disk *disk;
    struct kb_fs *fs;
    struct kit_writer writer;
    struct log_compact_config config;
    int64_t first_dirty;
    int64_t now_ms;
    bool no_producers;
};

static void bench_init(struct bench *b, uint64_t seed)
{
    *b = (struct bench){.world = sim_world_new(seed), .now_ms = 2000000};
    b->env = sim_world_add_env(b->world, "n1");
    b->disk = sim_host_disk(sim_env_host(b->env));
    b->fs = sim_env_fs(b->env);
    b->config = (struct log_compact_config){
        .delete_retention_ms = 1000,
        .max_compaction_lag_ms = UINT64_MAX,
        .min_cleanable_ratio = 0.5,
        .segment_bytes = 3000,
        .index_interval_bytes = 200,
        .map_bytes = 1 << 20,
        .batch_bytes_max = 1 << 20,
    };
    kit_writer_init(&b->writer, b->disk, seed);
}

static void bench_release(struct bench *b)
{
    kit_writer_release(&b->writer);
    sim_env_free(b->env);
    sim_world_free(b->world);
}

static void swap_all(struct bench *b, const struct kit_log *before,
                     const struct log_compact_result *result)
{
    for (size_t i = 0; i < result->group_count; i++) {
        const struct log_compact_group *g = &result->groups[i];
        int64_t bases[100];
        for (size_t k = 0; k < g->count; k++)
            bases[k] = before->segments[g->first + k].base_offset;
        ck_assert_int_eq(log_compact_commit(b->fs, KIT_DIR, bases, g->count, 7), 0);
        ck_assert_int_eq(log_compact_finish(b->fs, KIT_DIR, bases, g->count), 0);
        ck_assert_int_eq(log_compact_install(b->fs, KIT_DIR, bases[0]), 0);
        for (size_t k = 0; k < g->count; k++)
            ck_assert_int_eq(log_compact_discard(b->fs, KIT_DIR, bases[k], 7), 0);
    }
}

static void input_of(struct bench *b, const struct kit_log *before, struct log_compact_input *in)
{
    *in = (struct log_compact_input){
        .dir = KIT_DIR,
        .segments = before->segments,
        .segment_count = before->segment_count,
        .first_dirty = b->first_dirty,
        .end_offset = before->end_offset,
        .config = b->config,
        .now_wall_ms = b->now_ms,
        .hash_seed = {1, 2},
    };
    if (!b->no_producers)
        in->producers = kit_producers(&b->writer, &in->producer_count);
}

/* One run with its swaps. Caller releases. */
static void compact(struct bench *b, struct kit_log *ret_before, struct log_compact_result *ret,
                    struct kit_log *ret_after)
{
    struct log_compact_input in;
    kit_read(b->disk, ret_before);
    input_of(b, ret_before, &in);
    ck_assert_int_eq(log_compact_run(b->fs, &in, ret), 0);
    swap_all(b, ret_before, ret);
    kit_read(b->disk, ret_after);
    kb_free((void *)in.producers);
}

/* Only the outcome. */
static void compact_after(struct bench *b, struct kit_log *ret_after)
{
    struct kit_log before;
    struct log_compact_result result;
    compact(b, &before, &result, ret_after);
    b->first_dirty = result.first_dirty;
    kit_release(&before);
    log_compact_result_release(&result);
}

/* ---- the naive twin ---- */

/* Outcome of the transaction that this data batch belongs to; NONE: none, or still open. */
static enum log_marker outcome_of(const struct kit_log *l, size_t at)
{
    const struct kw_batch *h = &l->batches[at].head;
    if (!kw_batch_is(h, KW_BATCH_TRANSACTIONAL))
        return LOG_MARKER_NONE;
    for (size_t i = at + 1; i < l->count; i++)
        if (l->batches[i].head.producer_id == h->producer_id &&
            l->batches[i].marker != LOG_MARKER_NONE)
            return l->batches[i].marker;
    return LOG_MARKER_NONE;
}

static bool has_data(const struct kit_log *l, size_t marker)
{
    int64_t id = l->batches[marker].head.producer_id;
    for (size_t i = marker; i-- > 0;) {
        const struct kit_batch *b = &l->batches[i];
        if (b->head.producer_id == id && b->marker != LOG_MARKER_NONE)
            return false;
        if (b->head.producer_id == id && !kw_batch_is(&b->head, KW_BATCH_CONTROL) &&
            kw_batch_is(&b->head, KW_BATCH_TRANSACTIONAL))
            return true;
    }
    return false;
}

/* First offset of the first transaction whose end is not in the log. */
static int64_t decided_end(const struct kit_log *l)
{
    for (size_t i = 0; i < l->count; i++) {
        const struct kw_batch *h = &l->batches[i].head;
        if (!kw_batch_is(h, KW_BATCH_CONTROL) && kw_batch_is(h, KW_BATCH_TRANSACTIONAL) &&
            outcome_of(l, i) == LOG_MARKER_NONE)
            return h->base_offset;
    }
    return l->end_offset;
}

static bool same_key(const struct kit_record *a, const struct kit_record *b)
{
    return !a->null_key && !b->null_key &&
           kb_view_equal(kb_view_of(a->key.data, a->key.size),
                         kb_view_of(b->key.data, b->key.size));
}

static bool superseded(const struct kit_log *l, const struct kit_record *r, int64_t first_dirty,
                       int64_t map_end)
{
    for (size_t i = 0; i < l->count; i++) {
        if (outcome_of(l, i) == LOG_MARKER_ABORT)
            continue;
        for (size_t k = 0; k < l->batches[i].count; k++) {
            const struct kit_record *o = &l->batches[i].records[k];
            if (o->offset > r->offset && o->offset >= first_dirty && o->offset < map_end &&
                same_key(o, r))
                return true;
        }
    }
    return false;
}

static bool is_last_word(const struct bench *b, const struct kit_batch *k)
{
    if (k->head.producer_id < 0 || b->no_producers)
        return false;
    const struct kit_producer *p = &b->writer.producers[k->head.producer_id];
    if (p->last_data_offset >= 0)
        return kw_batch_last_offset(&k->head) == p->last_data_offset;
    return kw_batch_is(&k->head, KW_BATCH_CONTROL) && k->head.producer_epoch == p->epoch;
}

/* Is this batch the last of its group? Groups that did not change are not listed. */
static bool ends_group(const struct kit_log *l, const struct log_compact_result *result, size_t at)
{
    if (!l->batches[at].last_of_segment)
        return false;
    size_t segment = 0;
    while (l->segments[segment].base_offset != l->batches[at].segment_base)
        segment++;
    for (size_t i = 0; i < result->group_count; i++) {
        const struct log_compact_group *g = &result->groups[i];
        if (segment >= g->first && segment < g->first + g->count)
            return segment + 1 == g->first + g->count;
    }
    return true;
}

static const struct kit_batch *find_batch(const struct kit_log *l, int64_t base_offset)
{
    for (size_t i = 0; i < l->count; i++)
        if (l->batches[i].head.base_offset == base_offset)
            return &l->batches[i];
    return NULL;
}

static void check_head(const struct kit_batch *a, const struct kit_batch *b, int64_t horizon)
{
    const struct kw_batch *x = &a->head;
    const struct kw_batch *y = &b->head;
    ck_assert_int_eq(x->last_offset_delta, y->last_offset_delta);
    ck_assert_int_eq(x->leader_epoch, y->leader_epoch);
    ck_assert_int_eq(x->producer_id, y->producer_id);
    ck_assert_int_eq(x->producer_epoch, y->producer_epoch);
    ck_assert_int_eq(x->base_sequence, y->base_sequence);
    ck_assert_int_eq(x->attributes | (horizon >= 0 ? KW_BATCH_HORIZON : 0), y->attributes);
    if (kw_batch_is(y, KW_BATCH_HORIZON))
        ck_assert_int_eq(y->base_timestamp, horizon >= 0 ? horizon : x->base_timestamp);
}

static void check_record(const struct kit_record *a, const struct kit_record *b)
{
    ck_assert_int_eq(a->offset, b->offset);
    ck_assert_int_eq(a->timestamp, b->timestamp);
    ck_assert_int_eq(a->header_count, b->header_count);
    ck_assert(a->null_key == b->null_key && a->null_value == b->null_value);
    ck_assert(
        kb_view_equal(kb_view_of(a->key.data, a->key.size), kb_view_of(b->key.data, b->key.size)));
    ck_assert(kb_view_equal(kb_view_of(a->value.data, a->value.size),
                            kb_view_of(b->value.data, b->value.size)));
}

static bool record_stays(const struct bench *b, const struct kit_log *l, size_t at,
                         const struct kit_record *r, int64_t map_end)
{
    const struct kw_batch *h = &l->batches[at].head;
    if (r->offset >= map_end)
        return true;
    if (outcome_of(l, at) == LOG_MARKER_ABORT || r->null_key)
        return false;
    if (r->null_value && kw_batch_is(h, KW_BATCH_HORIZON) && h->base_timestamp <= b->now_ms)
        return false;
    return !superseded(l, r, b->first_dirty, map_end);
}

/* The one batch's fate, told by its records and by the rules for control batches. Counts what was
 * seen, so that a test can tell that it tested something. */
enum { SEEN_DROPPED, SEEN_EMPTIED, SEEN_THINNED, SEEN_HORIZON, SEEN_MARKER_GONE, SEEN_COUNT };
static void check_batch(const struct bench *b, const struct kit_log *before,
                        const struct log_compact_result *result, const struct kit_log *after,
                        size_t at, int64_t map_end, size_t *seen)
{
    const struct kit_batch *old = &before->batches[at];
    const struct kit_batch *new = find_batch(after, old->head.base_offset);
    bool control = kw_batch_is(&old->head, KW_BATCH_CONTROL);
    bool judged = old->head.base_offset < map_end;
    bool needed = !judged || ends_group(before, result, at) || is_last_word(b, old);
    bool discardable = control && judged && !has_data(before, at);
    bool expired = kw_batch_is(&old->head, KW_BATCH_HORIZON) &&
                   old->head.base_timestamp <= b->now_ms;
    size_t kept = 0;
    size_t tombstones = 0;
    const struct kit_record *stay[16];
    for (size_t k = 0; k < old->count; k++) {
        const struct kit_record *r = &old->records[k];
        bool stays = control ? !(discardable && expired) : record_stays(b, before, at, r, map_end);
        if (stays) {
            tombstones += !control && r->null_value && r->offset < map_end;
            stay[kept++] = r;
        }
    }
    if (kept == 0 && !needed) {
        ck_assert_ptr_null(new);
        seen[control ? SEEN_MARKER_GONE : SEEN_DROPPED]++;
        return;
    }
    ck_assert_ptr_nonnull(new);
    ck_assert_uint_eq(new->count, kept);
    for (size_t k = 0; k < kept; k++)
        check_record(stay[k], &new->records[k]);
    bool marks = kept != 0 && !kw_batch_is(&old->head, KW_BATCH_HORIZON) &&
                 (discardable || (tombstones != 0 && kw_batch_last_offset(&old->head) < map_end));
    check_head(old, new, marks ? b->now_ms + (int64_t)b->config.delete_retention_ms : -1);
    seen[SEEN_EMPTIED] += kept == 0 && old->count != 0;
    seen[SEEN_THINNED] += kept != 0 && kept < old->count;
    seen[SEEN_HORIZON] += marks;
}

static void check_indexes(struct bench *b, const struct kit_log *l,
                          const struct log_compact_result *result)
{
    for (size_t i = 0; i < result->group_count; i++) {
        char path[100];
        struct kb_buf offsets = {0};
        struct kb_buf times = {0};
        const struct log_compact_group *g = &result->groups[i];
        struct log_index ix;
        snprintf(path, sizeof(path), KIT_DIR "/%020lld.index", (long long)g->base_offset);
        ck_assert_int_eq(sim_disk_read(b->disk, path, &offsets), 0);
        snprintf(path, sizeof(path), KIT_DIR "/%020lld.timeindex", (long long)g->base_offset);
        ck_assert_int_eq(sim_disk_read(b->disk, path, &times), 0);
        log_index_init(&ix, 4096);
        ck_assert_int_eq(log_index_parse(&ix, &offsets, &times, g->new_bytes), 0);
        uint64_t position = 0;
        for (size_t k = 0; k < l->count; k++) {
            const struct kit_batch *batch = &l->batches[k];
            if (batch->segment_base != g->base_offset)
                continue;
            uint32_t relative = (uint32_t)(kw_batch_last_offset(&batch->head) - g->base_offset);
            ck_assert_uint_le(log_index_lookup(&ix, relative), position);
            position += batch->raw.size;
        }
        ck_assert_uint_eq(position, g->new_bytes);
        log_index_release(&ix);
        kb_buf_release(&offsets);
        kb_buf_release(&times);
    }
}

static void run_twin(uint64_t seed, bool transactions, uint64_t map_bytes, size_t *seen)
{
    struct bench b;
    bench_init(&b, seed);
    b.writer.transactions = transactions;
    b.config.map_bytes = map_bytes;
    b.no_producers = seed % 3 == 0;
    if (map_bytes < 10000)
        b.writer.key_count = 300;
    for (int round = 0; round < 8; round++) {
        for (int i = 0; i < 40; i++) {
            kit_write_batch(&b.writer);
            if (b.writer.segment.size > 1000)
                kit_roll(&b.writer);
        }
        kit_roll(&b.writer);
        struct kit_log before;
        struct kit_log after;
        struct log_compact_result result;
        compact(&b, &before, &result, &after);
        int64_t end = decided_end(&before);
        ck_assert_int_le(result.first_dirty, end);
        ck_assert(result.map_full || end <= b.first_dirty || result.first_dirty == end);
        ck_assert_int_eq(after.end_offset, before.end_offset);
        for (size_t i = 0; i < before.count; i++)
            if (result.first_dirty > b.first_dirty)
                check_batch(&b, &before, &result, &after, i, result.first_dirty, seen);
        check_indexes(&b, &after, &result);
        b.first_dirty = result.first_dirty;
        b.now_ms += 600;
        kit_release(&before);
        kit_release(&after);
        log_compact_result_release(&result);
    }
    bench_release(&b);
}

START_TEST(run__equals_naive_pass)
{
    size_t seen[SEEN_COUNT] = {0};
    for (uint64_t seed = 1; seed <= 6; seed++)
        run_twin(seed, false, 1 << 20, seen);
    for (uint64_t seed = 11; seed <= 16; seed++)
        run_twin(seed, true, 1 << 20, seen);
    for (int i = 0; i < SEEN_COUNT; i++)
        ck_assert_uint_gt(seen[i], 10);
}
END_TEST

START_TEST(run__small_map_goes_on_where_it_stopped)
{
    size_t seen[SEEN_COUNT] = {0};
    for (uint64_t seed = 21; seed <= 24; seed++)
        run_twin(seed, seed % 2 == 0, 1000, seen);
    /* Until all is clean: then each key is there once. */
    struct bench b;
    bench_init(&b, 25);
    b.config.map_bytes = 1000;
    b.writer.key_count = 300;
    for (int i = 0; i < 300; i++) {
        kit_write_batch(&b.writer);
        if (b.writer.segment.size > 1000)
            kit_roll(&b.writer);
    }
    kit_roll(&b.writer);
    int runs = 0;
    while (b.first_dirty < b.writer.next_offset) {
        struct kit_log after;
        int64_t was = b.first_dirty;
        compact_after(&b, &after);
        ck_assert_int_gt(b.first_dirty, was);
        kit_release(&after);
        runs++;
    }
    ck_assert_int_gt(runs, 4);
    struct kit_log l;
    kit_read(b.disk, &l);
    for (size_t i = 0; i < l.count; i++)
        for (size_t k = 0; k < l.batches[i].count; k++)
            ck_assert(!superseded(&l, &l.batches[i].records[k], 0, INT64_MAX));
    kit_release(&l);
    bench_release(&b);
}
END_TEST

START_TEST(run__nothing_to_do_leaves_nothing)
{
    struct bench b;
    bench_init(&b, 30);
    kit_write_record(&b.writer, "a", "1");
    kit_write_record(&b.writer, "b", "1");
    kit_roll(&b.writer);
    b.config.segment_bytes = 100; /* no merging */
    struct kit_log before;
    struct kit_log after;
    struct log_compact_result result;
    compact(&b, &before, &result, &after);
    ck_assert_uint_eq(result.group_count, 0);
    ck_assert_int_eq(result.first_dirty, 2);
    ck_assert(kit_same(&before, &after));
    kit_release(&before);
    kit_release(&after);
    log_compact_result_release(&result);
    bench_release(&b);
}
END_TEST

/* KIP-534: a null value goes delete.retention.ms after it was first compacted, not earlier. */
START_TEST(run__tombstone_lives_until_its_horizon)
{
    struct bench b;
    struct kit_log l;
    bench_init(&b, 31);
    kit_write_record(&b.writer, "a", "1");
    kit_write_record(&b.writer, "a", NULL);
    kit_write_record(&b.writer, "b", "1");
    kit_roll(&b.writer);
    compact_after(&b, &l);
    ck_assert_uint_eq(l.count, 2);
    ck_assert(kw_batch_is(&l.batches[0].head, KW_BATCH_HORIZON));
    ck_assert_int_eq(l.batches[0].head.base_timestamp, b.now_ms + 1000);
    ck_assert_int_eq(l.batches[0].records[0].timestamp, 1000000);
    kit_release(&l);
    const char *const values[] = {"2", "3"};
    for (int i = 0; i < 2; i++) {
        b.now_ms += i == 0 ? 999 : 1;
        kit_write_record(&b.writer, "c", values[i]);
        kit_roll(&b.writer);
        compact_after(&b, &l);
        ck_assert_ptr_nonnull(find_batch(&l, 2));
        ck_assert_int_eq(find_batch(&l, 1) != NULL, i == 0);
        kit_release(&l);
    }
    bench_release(&b);
}
END_TEST

/* KAFKA-8351, KAFKA-13727: an abort whose data lies before it in other segments, and the marker
 * that must outlive it. */
START_TEST(run__aborted_data_goes_before_its_marker)
{
    struct bench b;
    struct kit_log l;
    bench_init(&b, 32);
    b.no_producers = true;
    kit_write_record(&b.writer, "a", "1");
    kit_write_txn_record(&b.writer, 0, "a", "void");
    kit_roll(&b.writer);
    kit_write_txn_record(&b.writer, 0, "b", "void");
    kit_roll(&b.writer);
    /* The end is not known yet: nothing past the transaction's beginning is touched. */
    compact_after(&b, &l);
    ck_assert_int_eq(b.first_dirty, 1);
    ck_assert_uint_eq(l.count, 3);
    kit_release(&l);
    kit_write_marker(&b.writer, 0, false);
    kit_write_record(&b.writer, "z", "1");
    kit_roll(&b.writer);
    compact_after(&b, &l);
    ck_assert_int_eq(b.first_dirty, 5);
    ck_assert_uint_eq(l.count, 3); /* a=1, the marker, z=1 */
    ck_assert_int_eq(l.batches[1].head.base_offset, 3);
    ck_assert(!kw_batch_is(&l.batches[1].head, KW_BATCH_HORIZON));
    kit_release(&l);
    const char *const values[] = {"2", "3", "4"};
    for (int i = 0; i < 3; i++) { /* horizon set, still there, gone */
        if (i == 2)
            b.now_ms += 1000;
        kit_write_record(&b.writer, "z", values[i]);
        kit_roll(&b.writer);
        compact_after(&b, &l);
        ck_assert_int_eq(find_batch(&l, 3) != NULL, i < 2);
        kit_release(&l);
    }
    bench_release(&b);
}
END_TEST

START_TEST(run__damage_is_refused_and_nothing_changes)
{
    struct bench b;
    bench_init(&b, 33);
    for (int i = 0; i < 30; i++) {
        kit_write_batch(&b.writer);
        if (b.writer.segment.size > 1000)
            kit_roll(&b.writer);
    }
    kit_roll(&b.writer);
    struct kit_log before;
    struct kit_log after;
    struct log_compact_input in;
    struct log_compact_result result;
    kit_read(b.disk, &before);
    char path[80];
    snprintf(path, sizeof(path), KIT_DIR "/%020lld.log", (long long)before.segments[1].base_offset);
    for (uint64_t at = 0; at < before.segments[1].size_bytes; at += 7) {
        if (at < 16) /* offset, length and epoch lie outside the CRC */
            continue;
        ck_assert_int_eq(sim_disk_flip_bit(b.disk, path, at, 3), 0);
        input_of(&b, &before, &in);
        int r = log_compact_run(b.fs, &in, &result);
        ck_assert_int_eq(sim_disk_flip_bit(b.disk, path, at, 3), 0);
        ck_assert(r == -KB_ECORRUPT || r == 0); /* 0: a head outside the CRC, still in order */
        if (r == 0) {
            for (size_t i = 0; i < result.group_count; i++)
                ck_assert_int_eq(log_compact_abandon(b.fs, KIT_DIR, result.groups[i].base_offset),
                                 0);
            log_compact_result_release(&result);
        }
        kb_free((void *)in.producers);
    }
    kit_read(b.disk, &after);
    ck_assert(kit_same(&before, &after));
    kit_release(&before);
    kit_release(&after);
    bench_release(&b);
}
END_TEST

static int count_litter(void *arg, const char *name, enum kb_fs_type type)
{
    (void)type;
    *(size_t *)arg += strstr(name, ".cleaned") != NULL || strstr(name, ".swap") != NULL ||
                      strstr(name, ".deleted") != NULL;
    return 0;
}

static size_t litter(struct bench *b)
{
    size_t count = 0;
    ck_assert_int_eq(sim_disk_list(b->disk, KIT_DIR, false, count_litter, &count), 0);
    return count;
}

/* Row 31: a full disk or a failing one at any point: the original is untouched, no litter. */
START_TEST(run__full_disk_leaves_the_log_as_it_was)
{
    struct bench b;
    bench_init(&b, 34);
    for (int i = 0; i < 60; i++) {
        kit_write_batch(&b.writer);
        if (b.writer.segment.size > 1000)
            kit_roll(&b.writer);
    }
    kit_roll(&b.writer);
    struct kit_log before;
    struct kit_log after;
    kit_read(b.disk, &before);
    int full = 0;
    for (uint64_t room = 0; room < 8000; room += 500) {
        struct log_compact_input in;
        struct log_compact_result result;
        sim_disk_settings(b.disk)->capacity_bytes = sim_disk_used_bytes(b.disk) + room;
        input_of(&b, &before, &in);
        int r = log_compact_run(b.fs, &in, &result);
        kb_free((void *)in.producers);
        if (r == 0) {
            log_compact_result_release(&result);
            break;
        }
        full++;
        ck_assert_int_eq(r, -KB_ENOSPC);
        ck_assert_uint_eq(litter(&b), 0);
        kit_read(b.disk, &after);
        ck_assert(kit_same(&before, &after));
        kit_release(&after);
    }
    ck_assert_int_gt(full, 3);
    kit_release(&before);
    bench_release(&b);
}
END_TEST

/* 9.3: nobody needs the new segments yet, but a write or sync that failed must be told: the disk is
 * not trusted any more. A read that failed says nothing of what was written. */
START_TEST(run__a_failed_write_or_sync_is_told_apart_from_a_failed_read)
{
    struct bench b;
    bench_init(&b, 35);
    for (int i = 0; i < 60; i++) {
        kit_write_batch(&b.writer);
        if (b.writer.segment.size > 1000)
            kit_roll(&b.writer);
    }
    kit_roll(&b.writer);
    struct kit_log before;
    struct kit_log after;
    kit_read(b.disk, &before);
    struct sim_disk_settings *disk = sim_disk_settings(b.disk);
    int failed = 0;
    for (int turn = 0; turn < 40; turn++) {
        struct log_compact_input in;
        struct log_compact_result result = {0};
        uint64_t failures = sim_disk_failures(b.disk);
        disk->read_fail_next = turn == 0 ? 1 : 0;
        disk->write_fail_next = turn == 1 ? 1 : 0;
        disk->sync_eio_ppm = turn >= 2 ? 200000 : 0; /* any of the syncs */
        input_of(&b, &before, &in);
        int r = log_compact_run(b.fs, &in, &result);
        kb_free((void *)in.producers);
        if (sim_disk_failures(b.disk) == failures) {
            ck_assert_int_eq(r, 0);
            log_compact_result_release(&result);
            continue;
        }
        failed++;
        ck_assert_int_eq(r, -KB_EIO);
        ck_assert_int_eq(result.disk_failed, turn != 0);
        ck_assert_uint_eq(litter(&b), 0);
        kit_read(b.disk, &after);
        ck_assert(kit_same(&before, &after));
        kit_release(&after);
    }
    ck_assert_int_gt(failed, 20);
    kit_release(&before);
    bench_release(&b);
}
END_TEST

/* ---- crashes ---- */

struct crash_job {
    struct kb_job job;
    struct bench *bench;
    const struct kit_log *before;
    bool recover; /* instead of a run */
    bool done;
};

static int crash_run(struct kb_job *job, struct kb_fs *fs)
{
    struct crash_job *j = (struct crash_job *)job;
    struct bench *b = j->bench;
    struct log_compact_input in;
    struct log_compact_result result;
    if (j->recover)
        return log_compact_recover(fs, KIT_DIR);
    input_of(b, j->before, &in);
    int r = log_compact_run(fs, &in, &result);
    kb_free((void *)in.producers);
    if (r < 0)
        return r;
    for (size_t i = 0; i < result.group_count && r == 0; i++) {
        const struct log_compact_group *g = &result.groups[i];
        int64_t bases[100];
        for (size_t k = 0; k < g->count; k++)
            bases[k] = j->before->segments[g->first + k].base_offset;
        r = log_compact_commit(fs, KIT_DIR, bases, g->count, 7);
        if (r == 0)
            r = log_compact_finish(fs, KIT_DIR, bases, g->count);
        if (r == 0)
            r = log_compact_install(fs, KIT_DIR, bases[0]);
        for (size_t k = 0; k < g->count && r == 0; k++)
            r = log_compact_discard(fs, KIT_DIR, bases[k], 7);
    }
    log_compact_result_release(&result);
    return r;
}

static void crash_done(struct kb_job *job, int result)
{
    ck_assert_int_eq(result, 0);
    ((struct crash_job *)job)->done = true;
}

/* Run a job that may die; true when it got through. */
static bool run_job(struct bench *b, const struct kit_log *before, bool recover)
{
    struct crash_job j = {.bench = b, .before = before, .recover = recover};
    j.job.run = crash_run;
    j.job.done = crash_done;
    kb_env_job(sim_env_kb(b->env), &j.job);
    return sim_world_run_until_flag(b->world, &j.done, 100000);
}

static void restart(struct bench *b, bool power)
{
    struct sim_host *host = sim_env_host(b->env);
    if (!sim_env_is_down(b->env)) {
        if (power)
            sim_env_power_cut(b->env);
        else
            sim_env_kill(b->env);
    }
    sim_env_free(b->env);
    b->env = sim_host_start(host);
    b->fs = sim_env_fs(b->env);
}

/* Each batch of the log is as before, or as the whole compaction leaves it; per segment one of the
 * two. With compaction done from here, all is as it should be. */
static void check_mixture(const struct kit_log *now, const struct kit_log *before,
                          const struct kit_log *after)
{
    ck_assert_int_eq(now->end_offset, before->end_offset);
    for (size_t s = 0; s < now->segment_count; s++) {
        int64_t base = now->segments[s].base_offset;
        const struct kit_log *sources[2] = {before, after};
        bool matches[2] = {false, false};
        for (int k = 0; k < 2; k++) {
            size_t i = 0;
            size_t o = 0;
            while (i < now->count && now->batches[i].segment_base != base)
                i++;
            while (o < sources[k]->count && sources[k]->batches[o].segment_base != base)
                o++;
            bool same = o < sources[k]->count;
            for (; same && i < now->count && now->batches[i].segment_base == base; i++, o++)
                same = o < sources[k]->count && sources[k]->batches[o].segment_base == base &&
                       kb_view_equal(kb_view_of(now->batches[i].raw.data, now->batches[i].raw.size),
                                     kb_view_of(sources[k]->batches[o].raw.data,
                                                sources[k]->batches[o].raw.size));
            matches[k] = same &&
                         (o == sources[k]->count || sources[k]->batches[o].segment_base != base);
        }
        ck_assert(matches[0] || matches[1]);
    }
    /* Nothing readable got lost: each record of the outcome is there. */
    for (size_t i = 0; i < after->count; i++)
        for (size_t k = 0; k < after->batches[i].count; k++) {
            const struct kit_batch *b = find_batch(now, after->batches[i].head.base_offset);
            ck_assert_ptr_nonnull(b);
            bool found = false;
            for (size_t m = 0; m < b->count; m++)
                found = found || b->records[m].offset == after->batches[i].records[k].offset;
            ck_assert(found);
        }
}

static void write_for_crash(struct bench *b, uint64_t seed)
{
    bench_init(b, seed);
    kit_writer_release(&b->writer);
    kit_writer_init(&b->writer, b->disk, 7); /* the same log whatever the disk's seed */
    b->writer.transactions = true;
    for (int i = 0; i < 24; i++) {
        kit_write_batch(&b->writer);
        if (b->writer.segment.size > 500)
            kit_roll(&b->writer);
    }
    kit_end_txns(&b->writer);
    kit_roll(&b->writer);
    b->config.segment_bytes = 1500;
}

START_TEST(swap__survives_a_crash_at_each_file_call)
{
    struct bench b;
    struct kit_log before;
    struct kit_log after;
    write_for_crash(&b, 40);
    kit_read(b.disk, &before);
    ck_assert(run_job(&b, &before, false));
    kit_read(b.disk, &after);
    ck_assert(!kit_same(&before, &after));
    ck_assert_uint_lt(after.segment_count, before.segment_count);
    bench_release(&b);
    for (int power = 0; power < 2; power++) {
        bool through = false;
        for (uint64_t call = 1; !through; call++) {
            ck_assert_uint_lt(call, 2000);
            write_for_crash(&b, 1000 + call);
            sim_env_crash_after(b.env, call, power == 1);
            through = run_job(&b, &before, false);
            restart(&b, power == 1);
            /* Recovery itself is cut short too. */
            sim_env_crash_after(b.env, 1 + call % 23, power == 1);
            (void)run_job(&b, NULL, true);
            restart(&b, power == 1);
            ck_assert_int_eq(log_compact_recover(b.fs, KIT_DIR), 0);
            ck_assert_uint_eq(litter(&b), 0);
            struct kit_log now;
            kit_read(b.disk, &now);
            check_mixture(&now, &before, &after);
            struct kit_log again;
            ck_assert_int_eq(log_compact_recover(b.fs, KIT_DIR), 0);
            kit_read(b.disk, &again);
            ck_assert(kit_same(&now, &again));
            kit_release(&now);
            kit_release(&again);
            bench_release(&b);
        }
    }
    kit_release(&before);
    kit_release(&after);
}
END_TEST

/* The new file went bad on the disk between commit and recovery. */
START_TEST(recover__damaged_swap_is_dropped_while_the_old_are_whole)
{
    for (int gone = 0; gone < 2; gone++) {
        struct bench b;
        struct kit_log before;
        struct kit_log after;
        bench_init(&b, 41);
        for (int i = 0; i < 3; i++) {
            kit_write_record(&b.writer, "a", "1");
            kit_roll(&b.writer);
        }
        kit_read(b.disk, &before);
        sim_disk_put(b.disk, KIT_DIR "/00000000000000000000.log.swap", "rubbish", 7);
        sim_disk_put(b.disk, KIT_DIR "/00000000000000000001.log.7.deleted", "old", 3);
        if (gone)
            ck_assert_int_eq(sim_disk_remove(b.disk, KIT_DIR "/00000000000000000001.log"), 0);
        ck_assert_int_eq(log_compact_recover(b.fs, KIT_DIR), gone ? -KB_ECORRUPT : 0);
        ck_assert_uint_eq(litter(&b), gone ? 2 : 0);
        kit_read(b.disk, &after);
        ck_assert(gone || kit_same(&before, &after));
        kit_release(&before);
        kit_release(&after);
        bench_release(&b);
    }
}
END_TEST

UNIT_MAIN("compact", run__equals_naive_pass, run__small_map_goes_on_where_it_stopped,
          run__nothing_to_do_leaves_nothing, run__tombstone_lives_until_its_horizon,
          run__aborted_data_goes_before_its_marker, run__damage_is_refused_and_nothing_changes,
          run__full_disk_leaves_the_log_as_it_was,
          run__a_failed_write_or_sync_is_told_apart_from_a_failed_read,
          swap__survives_a_crash_at_each_file_call,
          recover__damaged_swap_is_dropped_while_the_old_are_whole)
