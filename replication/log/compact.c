#include "replication/log/compact.h"

#include <stdlib.h>

#include "proto/base/err.h"
#include "proto/base/mem.h"
#include "replication/log/compact_internal.h"

/* ---- is it worth it? ---- */

/* A dirty segment whose newest record is younger than min.compaction.lag.ms ends what may be
 * cleaned. Segments without timestamps hold nothing back. */
static size_t segments_past_lag(const struct log_compact_segment *segments, size_t count,
                                size_t first_dirty, const struct log_compact_config *config,
                                int64_t now_ms)
{
    if (config->min_compaction_lag_ms == 0)
        return count;
    for (size_t i = first_dirty; i < count; i++) {
        int64_t newest = segments[i].max_timestamp;
        if (newest >= 0 &&
            (newest > now_ms || (uint64_t)(now_ms - newest) < config->min_compaction_lag_ms))
            return i;
    }
    return count;
}

void log_compact_plan(const struct log_compact_segment *segments, size_t count, int64_t end_offset,
                      int64_t first_dirty, const struct log_compact_config *config,
                      int64_t now_wall_ms, struct log_compact_plan *ret)
{
    struct log_compact_plan plan = {.first_dirty = first_dirty, .end_offset = end_offset};
    bool overdue = false;
    if (count == 0) {
        plan.first_dirty = plan.end_offset = end_offset;
        *ret = plan;
        return;
    }
    /* A checkpoint outside the log comes from before a truncation or a new start: begin anew. */
    if (first_dirty < segments[0].base_offset || first_dirty > end_offset)
        plan.first_dirty = segments[0].base_offset;
    size_t dirty = 0;
    while (dirty < count &&
           (dirty + 1 < count ? segments[dirty + 1].base_offset : end_offset) <= plan.first_dirty)
        dirty++;
    plan.segment_count = segments_past_lag(segments, count, dirty, config, now_wall_ms);
    if (plan.segment_count < count)
        plan.end_offset = segments[plan.segment_count].base_offset;
    for (size_t i = 0; i < plan.segment_count; i++) {
        const struct log_compact_segment *s = &segments[i];
        bool clean = i < dirty;
        *(clean ? &plan.clean_bytes : &plan.dirty_bytes) += s->size_bytes;
        int64_t oldest = s->first_timestamp >= 0 ? s->first_timestamp : s->max_timestamp;
        overdue = overdue || (!clean && oldest >= 0 && oldest <= now_wall_ms &&
                              (uint64_t)(now_wall_ms - oldest) > config->max_compaction_lag_ms);
    }
    if (plan.dirty_bytes != 0)
        plan.ratio = (double)plan.dirty_bytes / (double)(plan.clean_bytes + plan.dirty_bytes);
    plan.due = plan.dirty_bytes != 0 && (overdue || plan.ratio >= config->min_cleanable_ratio);
    *ret = plan;
}

/* ---- transactions ---- */

struct compact_open *compact_open_find(struct compact_open_list *list, int64_t producer_id)
{
    for (size_t i = 0; i < list->count; i++)
        if (list->all[i].producer_id == producer_id)
            return &list->all[i];
    return NULL;
}

void compact_open_add(struct compact_open_list *list, int64_t producer_id, int64_t first_offset)
{
    kb_array_reserve(list->all, list->count, list->capacity);
    list->all[list->count++] = (struct compact_open){producer_id, first_offset};
}

void compact_open_remove(struct compact_open_list *list, struct compact_open *open)
{
    *open = list->all[--list->count];
}

/* By producer, then by marker. Transactions of one producer do not overlap. */
static int compare_aborted(const void *a, const void *b)
{
    const struct compact_aborted *x = a;
    const struct compact_aborted *y = b;
    if (x->producer_id != y->producer_id)
        return x->producer_id < y->producer_id ? -1 : 1;
    return (x->last_offset > y->last_offset) - (x->last_offset < y->last_offset);
}

bool compact_is_aborted(const struct compact *c, const struct kw_batch *b)
{
    if (!kw_batch_is(b, KW_BATCH_TRANSACTIONAL))
        return false;
    const struct compact_aborted wanted = {.producer_id = b->producer_id,
                                           .last_offset = b->base_offset};
    size_t low = 0; /* its producer's first one whose marker lies behind the batch */
    size_t high = c->aborted_count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (compare_aborted(&c->aborted[middle], &wanted) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low < c->aborted_count && c->aborted[low].producer_id == b->producer_id &&
           c->aborted[low].first_offset <= b->base_offset;
}

/* Where segment i ends. */
static int64_t segment_end(const struct log_compact_input *in, size_t i)
{
    return i + 1 < in->segment_count ? in->segments[i + 1].base_offset : in->end_offset;
}

int compact_scan(struct compact *c, const struct log_compact_segment *segment, bool check_crc,
                 log_scan_fn *fn, void *arg)
{
    struct kb_fd *fd = NULL;
    struct log_scan scan = {
        .segment_base = segment->base_offset,
        .limit = segment->size_bytes,
        .next_offset = segment->base_offset,
        .stop_offset = INT64_MAX,
        .epoch = -1,
        .check_crc = check_crc,
        .fn = fn,
        .arg = arg,
    };
    log_scan_trust(&scan);
    if (c->in->epochs != NULL) {
        size_t i = (size_t)(segment - c->in->segments);
        scan.gaps_below = c->in->gaps_below;
        scan.end_offset = segment_end(c->in, i);
        scan.known = c->in->epochs;
        scan.known_below = INT64_MAX;
    }
    char *path = log_segment_path(c->in->dir, segment->base_offset, ".log");
    int r = kb_fs_open(c->fs, path, KB_FS_READ, &fd);
    (void)kb_free(path);
    if (r < 0)
        return r;
    r = log_scan_run(c->fs, fd, &scan);
    (void)kb_fs_close(c->fs, fd);
    if (r == 0 && scan.stopped == 0 &&
        (scan.bad || scan.position != segment->size_bytes ||
         (scan.end_offset != INT64_MAX && scan.next_offset != scan.end_offset))) {
        c->result->damaged_from = scan.next_offset;
        r = -KB_ECORRUPT;
    }
    return r < 0 ? r : scan.stopped;
}

struct txn_scan {
    struct compact *compact;
    struct compact_open_list open;
};

static int note_txn(void *arg, const struct log_head *h, const uint8_t *data, uint64_t position)
{
    struct txn_scan *t = arg;
    struct compact *c = t->compact;
    struct log_producer_batch b;
    (void)position;
    if ((h->attributes & (KW_BATCH_TRANSACTIONAL | KW_BATCH_CONTROL)) == 0)
        return 0;
    int r = log_producer_batch_parse(data, h->size, &b);
    if (r < 0)
        return r;
    struct compact_open *open = compact_open_find(&t->open, b.producer_id);
    if (!b.control && b.transactional && open == NULL)
        compact_open_add(&t->open, b.producer_id, b.base_offset);
    if (b.marker == LOG_MARKER_NONE || open == NULL)
        return 0;
    if (b.marker == LOG_MARKER_ABORT) {
        kb_array_reserve(c->aborted, c->aborted_count, c->aborted_capacity);
        c->aborted[c->aborted_count++] = (struct compact_aborted){
            .producer_id = b.producer_id,
            .first_offset = open->first_offset,
            .last_offset = h->last_offset,
        };
    }
    compact_open_remove(&t->open, open);
    return 0;
}

/* Which transactions aborted, and up to where all is decided: beyond the first record of a
 * transaction that is still open nothing is cleaned. */
static int find_txns(struct compact *c, int64_t *ret_decided_end)
{
    struct txn_scan t = {.compact = c};
    const struct log_compact_input *in = c->in;
    int64_t end = in->end_offset;
    int r = 0;
    for (size_t i = 0; i < in->segment_count && r == 0; i++)
        if (segment_end(in, i) > in->first_dirty)
            r = compact_scan(c, &in->segments[i], false, note_txn, &t);
    for (size_t i = 0; i < t.open.count; i++)
        if (t.open.all[i].first_offset < end)
            end = t.open.all[i].first_offset;
    (void)kb_free(t.open.all);
    if (c->aborted_count != 0)
        qsort(c->aborted, c->aborted_count, sizeof(*c->aborted), compare_aborted);
    *ret_decided_end = end;
    return r;
}

/* ---- the map ---- */

enum { MAP_STOP = 1 };

static int note_keys(struct compact *c, const struct kw_batch *b)
{
    struct kw_records *it = NULL;
    struct kw_record record;
    int r = kw_records_open(b, c->in->config.batch_bytes_max, &it);
    while (r == 0 && (r = kw_records_next(it, &record)) == 1) {
        r = 0;
        if (record.offset >= c->map_end)
            r = MAP_STOP;
        else if (record.key.data == NULL || record.offset < c->in->first_dirty)
            continue;
        else if (!compact_map_put(&c->map, kb_view_of(record.key.data, (size_t)record.key.size),
                                  record.offset)) {
            c->map_end = record.offset;
            c->result->map_full = true;
            r = MAP_STOP;
        }
    }
    (void)kw_records_close(it);
    return r;
}

static int note_batch(void *arg, const struct log_head *h, const uint8_t *data, uint64_t position)
{
    struct compact *c = arg;
    struct kw_batch b;
    (void)position;
    if (h->base_offset >= c->map_end)
        return MAP_STOP;
    if (h->last_offset < c->in->first_dirty || (h->attributes & KW_BATCH_CONTROL) != 0)
        return 0;
    if (kw_batch_parse(data, h->size, &b) != KW_BATCH_WHOLE)
        return -KB_ECORRUPT;
    return compact_is_aborted(c, &b) ? 0 : note_keys(c, &b);
}

static int build_map(struct compact *c)
{
    const struct log_compact_input *in = c->in;
    int r = 0;
    for (size_t i = 0; i < in->segment_count && r == 0; i++)
        if (segment_end(in, i) > in->first_dirty)
            r = compact_scan(c, &in->segments[i], true, note_batch, c);
    return r == MAP_STOP ? 0 : r;
}

/* ---- groups ---- */

/* How many segments from `first` on become one: by size, and so that offsets relative to the first
 * base fit in an index entry. */
static size_t group_size(const struct compact *c, size_t first)
{
    const struct log_compact_input *in = c->in;
    uint64_t bytes = in->segments[first].size_bytes;
    size_t count = 1;
    while (first + count < in->segment_count &&
           in->segments[first + count].base_offset < c->map_end &&
           bytes + in->segments[first + count].size_bytes <= in->config.segment_bytes &&
           segment_end(in, first + count) - in->segments[first].base_offset <= INT32_MAX) {
        bytes += in->segments[first + count].size_bytes;
        count++;
    }
    return count;
}

static int clean_groups(struct compact *c)
{
    const struct log_compact_input *in = c->in;
    struct log_compact_result *result = c->result;
    struct compact_cleaner *cleaner = compact_cleaner_new(c);
    int r = 0;
    result->groups = kb_new_array(struct log_compact_group, in->segment_count);
    for (size_t i = 0; i < in->segment_count && in->segments[i].base_offset < c->map_end;) {
        struct log_compact_group *g = &result->groups[result->group_count];
        bool changed = false;
        *g = (struct log_compact_group){
            .first = i,
            .count = group_size(c, i),
            .base_offset = in->segments[i].base_offset,
            .max_timestamp = -1,
            .max_timestamp_offset = -1,
        };
        r = compact_clean_group(cleaner, g, &changed);
        if (r < 0)
            break;
        result->group_count += changed;
        i += g->count;
    }
    (void)compact_cleaner_free(cleaner);
    return r;
}

/* ---- a run ---- */

int compact_wrote(struct compact *c, int result)
{
    if (result == -KB_EIO)
        c->result->disk_failed = true;
    return result;
}

int log_compact_run(struct kb_fs *fs, const struct log_compact_input *in,
                    struct log_compact_result *ret)
{
    struct log_compact_result result = {.first_dirty = in->first_dirty, .damaged_from = -1};
    struct compact c = {.fs = fs, .in = in, .result = &result};
    compact_map_init(&c.map, in->config.map_bytes, in->hash_seed);
    int r = compact_wrote(&c, compact_clear_cleaned(fs, in->dir));
    if (r == 0)
        r = find_txns(&c, &c.map_end);
    if (r == 0)
        r = build_map(&c);
    if (r == 0 && c.map_end > in->first_dirty) {
        result.first_dirty = c.map_end;
        r = clean_groups(&c);
        if (r == 0 && result.group_count != 0)
            r = compact_wrote(&c, kb_fs_sync_dir(fs, in->dir));
    }
    if (r < 0 && r != -KB_ECRASHED)
        (void)compact_wrote(&c, compact_clear_cleaned(fs, in->dir));
    compact_map_release(&c.map);
    (void)kb_free(c.aborted);
    if (r < 0) {
        const struct log_compact_result why = {
            .damaged_from = r == -KB_ECORRUPT ? result.damaged_from : -1,
            .disk_failed = result.disk_failed,
        };
        log_compact_result_release(&result);
        *ret = why;
        return r;
    }
    *ret = result;
    return 0;
}

void log_compact_result_release(struct log_compact_result *r)
{
    (void)kb_free(r->groups);
    *r = (struct log_compact_result){0};
}
