#include "tests/sim/sim_logs.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/crc32c.h"
#include "proto/base/mem.h"

struct reading {
    struct sim_log *log;
    struct sim_disk *disk;
    const char *dir;
    bool durable;
    const char *from_segment; /* skip those before it; NULL = none */
    uint64_t from_position;   /* in from_segment */
    bool ended;               /* a bad batch: what follows does not count */
};

static int segment_view(struct sim_disk *d, const char *dir, const char *segment, bool durable,
                        struct kb_view *ret)
{
    char path[256];
    (void)snprintf(path, sizeof(path), "%s/%s", dir, segment);
    return sim_disk_view(d, path, durable, ret);
}

struct kb_view sim_log_bytes(const struct sim_log_batch *b, struct sim_disk *d, const char *dir,
                             bool durable)
{
    struct kb_view v;
    if (segment_view(d, dir, b->segment, durable, &v) < 0 || b->position + b->size > v.size)
        return kb_view_of(NULL, 0);
    return kb_view_of(v.data + b->position, b->size);
}

static void add_batch(struct sim_log *l, const struct kw_batch *b, const char *segment,
                      uint64_t position)
{
    kb_array_reserve(l->batches, l->count, l->capacity);
    struct sim_log_batch *e = &l->batches[l->count++];
    *e = (struct sim_log_batch){.first = b->base_offset,
                                .last = kw_batch_last_offset(b),
                                .epoch = b->leader_epoch,
                                .crc = kb_crc32c(0, b->data, b->size),
                                .size = (uint32_t)b->size,
                                .producer_id = b->producer_id,
                                .producer_epoch = b->producer_epoch,
                                .sequence = b->base_sequence,
                                .record_count = b->record_count,
                                .max_timestamp = b->max_timestamp,
                                .position = position};
    (void)snprintf(e->segment, sizeof(e->segment), "%s", segment);
}

static int read_segment(void *arg, const char *name, enum kb_fs_type type)
{
    struct reading *r = arg;
    const char *dot = strrchr(name, '.');
    struct kb_view v;
    if (type == KB_FS_FILE && dot != NULL && strcmp(dot, ".checkpoint") == 0)
        r->log->snapshot = strtoll(name, NULL, 10);
    if (type != KB_FS_FILE || dot == NULL || strcmp(dot, ".log") != 0 || r->ended)
        return 0;
    int64_t base = strtoll(name, NULL, 10);
    r->log->first_base = r->log->first_base < 0 ? base : r->log->first_base;
    r->log->last_base = r->log->base = base;
    int order = r->from_segment == NULL ? 1 : strcmp(name, r->from_segment);
    if (order < 0 || segment_view(r->disk, r->dir, name, r->durable, &v) < 0)
        return 0;
    uint64_t at = order == 0 ? r->from_position : 0;
    while (at < v.size) {
        struct kw_batch b;
        struct sim_log *l = r->log;
        if (kw_batch_parse(v.data + at, v.size - at, &b) != KW_BATCH_WHOLE ||
            !kw_batch_crc_ok(&b) ||
            (l->count > 0 && b.base_offset <= l->batches[l->count - 1].last)) {
            r->ended = true;
            break;
        }
        add_batch(l, &b, name, at);
        at += b.size;
    }
    return 0;
}

/* The oldest segments may have gone: their batches do, too. Left is the last batch at least. */
static void drop_gone(struct sim_log *l, struct sim_disk *d, const char *dir, bool durable)
{
    const char *last = l->batches[l->count - 1].segment;
    struct kb_view v;
    size_t gone = 0;
    while (strcmp(l->batches[gone].segment, last) != 0 &&
           segment_view(d, dir, l->batches[gone].segment, durable, &v) < 0) {
        const char *segment = l->batches[gone].segment;
        while (strcmp(l->batches[gone].segment, segment) == 0)
            gone++;
    }
    if (gone == 0)
        return;
    l->count -= gone;
    memmove(l->batches, l->batches + gone, l->count * sizeof(l->batches[0]));
}

void sim_log_refresh(struct sim_log *l, struct sim_disk *d, const char *dir, bool durable)
{
    struct reading r = {.log = l, .disk = d, .dir = dir, .durable = durable};
    struct sim_log_batch last;
    l->fresh = 0;
    l->snapshot = -1;
    l->base = 0;
    l->first_base = l->last_base = -1;
    if (l->count > 0) {
        last = l->batches[l->count - 1];
        struct kb_view bytes = sim_log_bytes(&last, d, dir, durable);
        if (bytes.size > 0 && kb_crc32c(0, bytes.data, bytes.size) == last.crc) {
            drop_gone(l, d, dir, durable);
            l->fresh = l->count;
            r.from_segment = last.segment;
            r.from_position = last.position + last.size;
        } else {
            l->count = 0;
        }
    }
    (void)sim_disk_list(d, dir, durable, read_segment, &r);
}

void sim_log_release(struct sim_log *l)
{
    free(l->batches);
    *l = (struct sim_log){0};
}

const struct sim_log_batch *sim_log_find(const struct sim_log *l, int64_t offset)
{
    size_t low = 0, high = l->count;
    while (low < high) {
        size_t mid = (low + high) / 2;
        if (l->batches[mid].last < offset)
            low = mid + 1;
        else
            high = mid;
    }
    return low < l->count && l->batches[low].first <= offset ? &l->batches[low] : NULL;
}

int64_t sim_log_end(const struct sim_log *l)
{
    if (l->count > 0)
        return l->batches[l->count - 1].last + 1;
    return l->last_base > 0 ? l->last_base : 0;
}
