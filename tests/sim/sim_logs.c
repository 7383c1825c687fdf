#include "tests/sim/sim_logs.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/crc32c.h"
#include "proto/base/mem.h"

struct reading {
    struct sim_log *log;
    struct sim_dir dir;
    const char *from_segment; /* skip those before it; NULL = none */
    uint64_t from_position;   /* in from_segment */
    bool ended;               /* a bad batch: what follows does not count */
};

static struct kb_view batch_bytes(const struct sim_log_batch *b, const struct sim_dir *dir)
{
    struct kb_view v;
    if (!sim_dir_view(dir, b->segment, &v) || b->position + b->size > v.size)
        return kb_view_of(NULL, 0);
    return kb_view_of(v.data + b->position, b->size);
}

struct kb_view sim_log_bytes(const struct sim_log_batch *b, struct sim_disk *d, const char *dir,
                             bool durable)
{
    struct sim_dir at;
    return sim_disk_dir(d, dir, durable, &at) ? batch_bytes(b, &at) : kb_view_of(NULL, 0);
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
    size_t size = strnlen(segment, sizeof(e->segment) - 1);
    memcpy(e->segment, segment, size);
    e->segment[size] = '\0';
}

static void read_segment(struct reading *r, const char *name, struct kb_view v, uint64_t at)
{
    struct sim_log *l = r->log;
    struct kw_batch b;
    while (at < v.size) {
        if (kw_batch_parse(v.data + at, v.size - at, &b) != KW_BATCH_WHOLE ||
            !kw_batch_crc_ok(&b) ||
            (l->count > 0 && b.base_offset <= l->batches[l->count - 1].last)) {
            r->ended = true;
            break;
        }
        add_batch(l, &b, name, at);
        at += b.size;
    }
}

static void read_entry(struct reading *r, const struct sim_dir_entry *e)
{
    const char *dot = strrchr(e->name, '.');
    if (e->dir || dot == NULL)
        return;
    if (strcmp(dot, ".checkpoint") == 0)
        r->log->snapshot = strtoll(e->name, NULL, 10);
    if (strcmp(dot, ".log") != 0 || r->ended)
        return;
    int64_t base = strtoll(e->name, NULL, 10);
    r->log->first_base = r->log->first_base < 0 ? base : r->log->first_base;
    r->log->last_base = r->log->base = base;
    int order = r->from_segment == NULL ? 1 : strcmp(e->name, r->from_segment);
    if (order >= 0)
        read_segment(r, e->name, e->bytes, order == 0 ? r->from_position : 0);
}

/* The oldest segments may have gone: their batches do, too. Left is the last batch at least. */
static void drop_gone(struct sim_log *l, const struct sim_dir *dir)
{
    const char *last = l->batches[l->count - 1].segment;
    struct kb_view v;
    size_t gone = 0;
    while (strcmp(l->batches[gone].segment, last) != 0 &&
           !sim_dir_view(dir, l->batches[gone].segment, &v)) {
        const char *segment = l->batches[gone].segment;
        while (strcmp(l->batches[gone].segment, segment) == 0)
            gone++;
    }
    if (gone == 0)
        return;
    l->count -= gone;
    memmove(l->batches, l->batches + gone, l->count * sizeof(l->batches[0]));
}

static void read_log(struct sim_log *l, const struct sim_dir *dir)
{
    struct reading r = {.log = l, .dir = *dir};
    struct sim_log_batch last;
    if (l->count > 0) {
        last = l->batches[l->count - 1];
        struct kb_view bytes = batch_bytes(&last, dir);
        if (bytes.size > 0 && kb_crc32c(0, bytes.data, bytes.size) == last.crc) {
            drop_gone(l, dir);
            l->fresh = l->count;
            r.from_segment = last.segment;
            r.from_position = last.position + last.size;
        } else {
            l->count = 0;
        }
    }
    for (size_t i = 0; i < sim_dir_count(dir); i++) {
        struct sim_dir_entry e = sim_dir_at(dir, i);
        read_entry(&r, &e);
    }
}

void sim_log_refresh(struct sim_log *l, struct sim_disk *d, const char *path, bool durable)
{
    struct sim_dir dir;
    struct sim_dir_stamp stamp = {0};
    bool found = sim_disk_dir(d, path, durable, &dir);
    if (found)
        stamp = sim_dir_stamp(&dir);
    if (found && sim_dir_stamp_same(&stamp, &l->stamp)) {
        l->fresh = l->count;
        return;
    }
    l->stamp = stamp;
    l->fresh = 0;
    l->snapshot = -1;
    l->base = 0;
    l->first_base = l->last_base = -1;
    if (found)
        read_log(l, &dir);
    else
        l->count = 0;
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
