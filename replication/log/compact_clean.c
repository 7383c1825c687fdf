#include <stdlib.h>

#include "proto/base/err.h"
#include "proto/base/mem.h"
#include "proto/base/mutant.h"
#include "replication/log/compact_internal.h"

/* Second half of a run: judge each batch, write the new segments. */

enum { CLEAN_WRITE_BYTES = 256 << 10 };

struct compact_cleaner {
    struct compact *compact;
    struct compact_open_list open; /* producers whose open transaction still has data here */
    /* of the group at work */
    struct log_compact_group *group;
    const struct log_compact_segment *segment;
    bool last_segment;
    bool changed;
    struct kb_fd *fd;
    struct kb_buf pending; /* not written yet */
    uint64_t position;     /* behind pending */
    struct log_index index;
};

struct compact_cleaner *compact_cleaner_new(struct compact *c)
{
    struct compact_cleaner *cl = kb_new(struct compact_cleaner);
    cl->compact = c;
    return cl;
}

struct compact_cleaner *compact_cleaner_free(struct compact_cleaner *cl)
{
    kb_buf_release(&cl->pending);
    (void)kb_free(cl->open.all);
    return kb_free(cl);
}

/* ---- writing ---- */

static int flush(struct compact_cleaner *cl)
{
    struct compact *c = cl->compact;
    if (cl->pending.size == 0)
        return 0;
    uint64_t at = cl->position - cl->pending.size;
    int r = compact_wrote(c, kb_fs_pwrite(c->fs, cl->fd, cl->pending.data, cl->pending.size, at));
    c->result->bytes_written += cl->pending.size;
    cl->pending.size = 0;
    return r;
}

static int put(struct compact_cleaner *cl, const uint8_t *data, size_t size)
{
    struct log_compact_group *g = cl->group;
    struct kw_batch b;
    if (kw_batch_parse(data, size, &b) != KW_BATCH_WHOLE || cl->position + size > INT32_MAX)
        return -KB_ECORRUPT;
    log_index_add(&cl->index, (uint32_t)(kw_batch_last_offset(&b) - g->base_offset),
                  (uint32_t)cl->position, (uint32_t)size, b.max_timestamp);
    if (b.max_timestamp > g->max_timestamp) {
        g->max_timestamp = b.max_timestamp;
        g->max_timestamp_offset = kw_batch_last_offset(&b);
    }
    g->last_offset = kw_batch_last_offset(&b);
    kb_buf_append(&cl->pending, data, size);
    cl->position += size;
    return cl->pending.size >= CLEAN_WRITE_BYTES ? flush(cl) : 0;
}

static int put_built(struct compact_cleaner *cl, struct kw_batch_builder *builder)
{
    struct kb_block *block = NULL;
    int r = kw_batch_builder_finish(builder, &block);
    if (r == 0)
        r = put(cl, block->data, block->size);
    (void)kb_block_unref(block);
    cl->changed = true;
    return r;
}

/* ---- judging ---- */

static int compare_last(const void *key, const void *member)
{
    int64_t id = *(const int64_t *)key;
    const struct log_producer_last *p = member;
    return (id > p->producer_id) - (id < p->producer_id);
}

/* Does the batch carry what is known of a live producer: its last sequence, or else its epoch? */
static bool is_last_of_producer(const struct compact *c, const struct kw_batch *b)
{
    if (b->producer_id < 0 || c->in->producer_count == 0)
        return false;
    const struct log_producer_last *p = bsearch(&b->producer_id, c->in->producers,
                                                c->in->producer_count, sizeof(*p), compare_last);
    if (p == NULL)
        return false;
    if (p->last_data_offset >= 0)
        return kw_batch_last_offset(b) == p->last_data_offset;
    return kw_batch_is(b, KW_BATCH_CONTROL) && b->producer_epoch == p->epoch;
}

static bool horizon_passed(const struct compact *c, const struct kw_batch *b)
{
    return kw_batch_is(b, KW_BATCH_HORIZON) && b->base_timestamp <= c->in->now_wall_ms &&
           !KB_MUTANT("tombstones-for-ever");
}

static int64_t new_horizon(const struct compact *c)
{
    uint64_t keep = c->in->config.delete_retention_ms;
    return keep > (uint64_t)(INT64_MAX - c->in->now_wall_ms) ? INT64_MAX
                                                             : c->in->now_wall_ms + (int64_t)keep;
}

/* Nothing of the batch stays but, where it is needed, its head. */
static int put_empty(struct compact_cleaner *cl, const struct kw_batch *b, bool needed)
{
    if (!needed) {
        cl->changed = true;
        return 0;
    }
    if (b->record_count == 0)
        return put(cl, b->data, b->size);
    struct kw_batch_builder builder;
    kw_batch_builder_init_like(&builder, b, -1);
    int r = put_built(cl, &builder);
    kw_batch_builder_release(&builder);
    return r;
}

/* Write the batch anew with the records that `keeps` accepts, and maybe a delete horizon. */
typedef bool keeps_fn(const struct compact *c, const struct kw_batch *b,
                      const struct kw_record *record);
static int put_some(struct compact_cleaner *cl, const struct kw_batch *b, int64_t horizon_ms,
                    keeps_fn *keeps)
{
    struct compact *c = cl->compact;
    struct kw_batch_builder builder;
    struct kw_records *it = NULL;
    struct kw_record record;
    kw_batch_builder_init_like(&builder, b, horizon_ms);
    int r = kw_records_open(b, c->in->config.batch_bytes_max, &it);
    while (r == 0 && (r = kw_records_next(it, &record)) == 1)
        r = keeps == NULL || keeps(c, b, &record) ? kw_batch_builder_keep(&builder, &record) : 0;
    if (r == 0)
        r = put_built(cl, &builder);
    (void)kw_records_close(it);
    kw_batch_builder_release(&builder);
    return r;
}

static bool keeps_committed(const struct compact *c, const struct kw_batch *b,
                            const struct kw_record *record)
{
    if (record->offset >= c->map_end)
        return true;
    if (record->key.data == NULL)
        return false; /* refused at produce; here from a time before compaction: nothing names it */
    if (record->value.data == NULL &&
        (horizon_passed(c, b) || KB_MUTANT("compaction-drops-tombstones")))
        return false;
    if (KB_MUTANT("compaction-drops-last"))
        return false;
    return compact_map_get(&c->map, kb_view_of(record->key.data, (size_t)record->key.size)) <=
           record->offset;
}

static bool keeps_aborted(const struct compact *c, const struct kw_batch *b,
                          const struct kw_record *record)
{
    (void)b;
    return record->offset >= c->map_end;
}

/* ---- batches ---- */

static int clean_control(struct compact_cleaner *cl, const struct kw_batch *b, bool needed)
{
    struct compact *c = cl->compact;
    struct log_producer_batch info;
    if (b->record_count == 0)
        return put_empty(cl, b, needed);
    int r = log_producer_batch_parse(b->data, b->size, &info);
    if (r < 0)
        return r;
    if (info.marker == LOG_MARKER_NONE)
        return put(cl, b->data, b->size);
    /* While data of its transaction is there, the marker says whether it counts (KAFKA-8351). */
    struct compact_open *open = compact_open_find(&cl->open, b->producer_id);
    if (open != NULL && !KB_MUTANT("compaction-drops-markers")) {
        compact_open_remove(&cl->open, open);
        return put(cl, b->data, b->size);
    }
    if (horizon_passed(c, b))
        return put_empty(cl, b, needed);
    if (kw_batch_is(b, KW_BATCH_HORIZON))
        return put(cl, b->data, b->size);
    return put_some(cl, b, new_horizon(c), NULL);
}

struct judgement {
    int32_t kept;
    int32_t tombstones; /* among the kept ones below the map's end */
};

static int judge(struct compact_cleaner *cl, const struct kw_batch *b, keeps_fn *keeps,
                 struct judgement *ret)
{
    struct compact *c = cl->compact;
    struct judgement j = {0};
    struct kw_records *it = NULL;
    struct kw_record record;
    int r = kw_records_open(b, c->in->config.batch_bytes_max, &it);
    while (r == 0 && (r = kw_records_next(it, &record)) == 1) {
        r = 0;
        if (!keeps(c, b, &record))
            continue;
        j.kept++;
        j.tombstones += record.value.data == NULL && record.offset < c->map_end;
    }
    (void)kw_records_close(it);
    c->result->records_read += (uint64_t)b->record_count;
    c->result->records_kept += (uint64_t)j.kept;
    *ret = j;
    return r;
}

static int clean_data(struct compact_cleaner *cl, const struct kw_batch *b, bool needed)
{
    struct compact *c = cl->compact;
    struct judgement j;
    if (kw_batch_is(b, KW_BATCH_TRANSACTIONAL) &&
        compact_open_find(&cl->open, b->producer_id) == NULL)
        compact_open_add(&cl->open, b->producer_id, b->base_offset);
    if (b->record_count == 0)
        return put_empty(cl, b, needed);
    keeps_fn *keeps = compact_is_aborted(c, b) ? keeps_aborted : keeps_committed;
    int r = judge(cl, b, keeps, &j);
    if (r < 0)
        return r;
    if (j.kept == 0)
        return put_empty(cl, b, needed);
    bool horizon = j.tombstones != 0 && !kw_batch_is(b, KW_BATCH_HORIZON) &&
                   kw_batch_last_offset(b) < c->map_end;
    if (j.kept == b->record_count && !horizon)
        return put(cl, b->data, b->size);
    return put_some(cl, b, horizon ? new_horizon(c) : -1, keeps);
}

static int clean_batch(void *arg, const struct log_head *h, const uint8_t *data, uint64_t position)
{
    struct compact_cleaner *cl = arg;
    struct compact *c = cl->compact;
    struct kw_batch b;
    c->result->bytes_read += h->size;
    if (h->base_offset >= c->map_end)
        return put(cl, data, h->size);
    if (kw_batch_parse(data, h->size, &b) != KW_BATCH_WHOLE)
        return -KB_ECORRUPT;
    /* The last batch says where the segment ends, with or without records. */
    bool needed = (cl->last_segment && position + h->size == cl->segment->size_bytes) ||
                  is_last_of_producer(c, &b);
    return kw_batch_is(&b, KW_BATCH_CONTROL) ? clean_control(cl, &b, needed)
                                             : clean_data(cl, &b, needed);
}

/* ---- groups ---- */

static int write_synced(struct kb_fs *fs, const char *path, const struct kb_buf *bytes)
{
    struct kb_fd *fd = NULL;
    int r = kb_fs_open(fs, path, KB_FS_WRITE | KB_FS_CREATE | KB_FS_TRUNCATE, &fd);
    if (r < 0)
        return r;
    if (bytes->size != 0)
        r = kb_fs_pwrite(fs, fd, bytes->data, bytes->size, 0);
    if (r == 0)
        r = kb_fs_sync(fs, fd);
    (void)kb_fs_close(fs, fd);
    return r;
}

static int write_indexes(struct compact_cleaner *cl)
{
    struct compact *c = cl->compact;
    struct kb_buf offsets = {0};
    struct kb_buf times = {0};
    int64_t base = cl->group->base_offset;
    char *offsets_path = compact_path(c->in->dir, base, ".index", ".cleaned");
    char *times_path = compact_path(c->in->dir, base, ".timeindex", ".cleaned");
    log_index_format(&cl->index, &offsets, &times);
    int r = write_synced(c->fs, offsets_path, &offsets);
    if (r == 0)
        r = write_synced(c->fs, times_path, &times);
    (void)kb_free(offsets_path);
    (void)kb_free(times_path);
    kb_buf_release(&offsets);
    kb_buf_release(&times);
    return compact_wrote(c, r);
}

static int clean_segments(struct compact_cleaner *cl)
{
    struct compact *c = cl->compact;
    struct log_compact_group *g = cl->group;
    int r = 0;
    for (size_t i = 0; i < g->count && r == 0; i++) {
        cl->segment = &c->in->segments[g->first + i];
        cl->last_segment = i + 1 == g->count;
        g->old_bytes += cl->segment->size_bytes;
        r = compact_scan(c, cl->segment, true, clean_batch, cl);
    }
    if (r == 0)
        r = flush(cl);
    g->new_bytes = cl->position;
    return r;
}

int compact_clean_group(struct compact_cleaner *cl, struct log_compact_group *g, bool *ret_changed)
{
    struct compact *c = cl->compact;
    char *path = compact_path(c->in->dir, g->base_offset, ".log", ".cleaned");
    cl->group = g;
    cl->position = 0;
    cl->pending.size = 0;
    cl->changed = g->count > 1;
    log_index_init(&cl->index, c->in->config.index_interval_bytes);
    int r = compact_wrote(
        c, kb_fs_open(c->fs, path, KB_FS_WRITE | KB_FS_CREATE | KB_FS_TRUNCATE, &cl->fd));
    if (r < 0)
        goto out;
    r = clean_segments(cl);
    if (r == 0 && cl->changed)
        r = compact_wrote(c, kb_fs_sync(c->fs, cl->fd));
    cl->fd = kb_fs_close(c->fs, cl->fd);
    if (r == 0 && cl->changed)
        r = write_indexes(cl);
    if (r == 0 && !cl->changed)
        r = compact_wrote(c, kb_fs_unlink(c->fs, path));
    if (r == 0)
        *ret_changed = cl->changed;
out:
    log_index_release(&cl->index);
    (void)kb_free(path);
    return r;
}
