#include "replication/log/scan.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/assert.h"
#include "proto/base/err.h"

#define SCAN_WINDOW_BYTES (256u << 10)

/* Bytes [start, start + size) of the file. */
struct scan_window {
    uint8_t *data;
    size_t capacity;
    uint64_t start;
    size_t size;
};

/* Bytes available at position, at most wanted, or negative. */
static int64_t window_fill(struct kb_fs *fs, struct kb_fd *fd, struct scan_window *w,
                           uint64_t position, size_t wanted, uint64_t limit)
{
    uint64_t end = w->start + w->size;
    if (position < w->start || position > end || end - position < wanted) {
        size_t capacity = wanted > SCAN_WINDOW_BYTES ? wanted : SCAN_WINDOW_BYTES;
        if (capacity > w->capacity) {
            w->data = kb_realloc(w->data, capacity);
            w->capacity = capacity;
        }
        uint64_t left = limit > position ? limit - position : 0;
        size_t size = left < w->capacity ? (size_t)left : w->capacity;
        int64_t got = kb_fs_pread(fs, fd, w->data, size, position);
        if (got < 0)
            return got;
        w->start = position;
        w->size = (size_t)got;
        end = w->start + w->size;
    }
    uint64_t there = end - position;
    return there < wanted ? (int64_t)there : (int64_t)wanted;
}

/* 1 = the bytes of a batch at position, 0 = none, negative = error. */
static int batch_at(struct kb_fs *fs, struct kb_fd *fd, const struct log_scan *s,
                    struct scan_window *w, uint64_t position, struct log_head *ret)
{
    if (position >= s->limit)
        return 0;
    int64_t there = window_fill(fs, fd, w, position, LOG_HEAD_SIZE, s->limit);
    if (there < 0)
        return (int)there;
    if (!log_head_parse(w->data + (position - w->start), (size_t)there, ret) ||
        ret->last_offset - s->segment_base > INT32_MAX || ret->size > s->limit - position)
        return 0;
    there = window_fill(fs, fd, w, position, ret->size, s->limit);
    if (there < 0)
        return (int)there;
    return (uint64_t)there >= ret->size &&
           (!s->check_crc || log_head_crc_holds(ret, w->data + (position - w->start)));
}

/* Does the table know this offset? Then *ret is the epoch of a batch there; -1: none can be. */
static bool epoch_known(const struct log_scan *s, int64_t offset, int32_t *ret)
{
    bool known = s->known != NULL && offset < s->known_below;
    *ret = known ? log_epochs_at(s->known, offset) : -1;
    return known;
}

/* A batch in order whose base leaves a gap or whose epoch is a new one is what a turned bit makes
 * of its head, too: then the batch behind it, which begins where this one would end, seems to go
 * back. (What begins elsewhere is none: an older file may have left whole batches behind the end.)
 * And what the table of epochs says of one batch alone it says rightly; of two that agree it is
 * itself what is wrong. 1, 0 or negative as batch_at. */
static int is_proved(struct kb_fs *fs, struct kb_fd *fd, struct log_scan *s, struct scan_window *w,
                     const struct log_head *h)
{
    struct log_head next;
    int32_t known = -1;
    bool gap = h->base_offset != s->next_offset;
    bool other = epoch_known(s, h->base_offset, &known) && known != h->epoch;
    bool rise = h->epoch > s->epoch && known != h->epoch;
    if (!gap && !other && !rise)
        return 1;
    int r = batch_at(fs, fd, s, w, s->position + h->size, &next);
    if (r < 0)
        return r;
    if (r == 0)
        return !other;
    int64_t without_gap = s->next_offset + (h->last_offset - h->base_offset) + 1;
    if (gap && next.base_offset >= without_gap && next.base_offset <= h->last_offset)
        return 0;
    if (rise && next.epoch >= s->epoch && next.epoch < h->epoch &&
        next.base_offset == h->last_offset + 1)
        return 0;
    s->known_bad = other && next.epoch == h->epoch && next.base_offset > h->last_offset &&
                   epoch_known(s, next.base_offset, &known) && known != next.epoch;
    return !other;
}

/* 1 = a good batch at s->position, 0 = none, negative = error. */
static int scan_look(struct kb_fs *fs, struct kb_fd *fd, struct log_scan *s, struct scan_window *w,
                     struct log_head *ret, const uint8_t **ret_bytes)
{
    struct log_head h;
    int r = batch_at(fs, fd, s, w, s->position, &h);
    if (r <= 0)
        return r;
    if (h.base_offset < s->next_offset || h.epoch < s->epoch || h.last_offset >= s->end_offset ||
        (h.base_offset != s->next_offset && h.base_offset >= s->gaps_below))
        return 0;
    r = is_proved(fs, fd, s, w, &h);
    if (r <= 0)
        return r;
    /* Looking at the next one may have moved the window. */
    int64_t there = window_fill(fs, fd, w, s->position, h.size, s->limit);
    if (there < (int64_t)h.size)
        return there < 0 ? (int)there : 0;
    *ret = h;
    *ret_bytes = w->data + (s->position - w->start);
    return 1;
}

void log_scan_trust(struct log_scan *s)
{
    s->gaps_below = s->end_offset = INT64_MAX;
    s->known = NULL;
    s->known_below = 0;
}

static int scan_judge_tail(struct kb_fs *fs, struct kb_fd *fd, struct log_scan *s,
                           struct scan_window *w)
{
    s->bad = true;
    s->bad_is_zero = true;
    for (uint64_t at = s->position; at < s->limit && s->bad_is_zero;) {
        size_t wanted = SCAN_WINDOW_BYTES;
        int64_t there = window_fill(fs, fd, w, at, wanted, s->limit);
        if (there < 0)
            return (int)there;
        if (there == 0)
            break;
        const uint8_t *p = w->data + (at - w->start);
        for (int64_t i = 0; i < there && s->bad_is_zero; i++)
            s->bad_is_zero = p[i] == 0;
        at += (uint64_t)there;
    }
    return 0;
}

int log_scan_run(struct kb_fs *fs, struct kb_fd *fd, struct log_scan *s)
{
    int64_t size = kb_fs_size(fs, fd);
    if (size < 0)
        return (int)size;
    s->file_size = (uint64_t)size;
    if (s->limit > s->file_size)
        s->limit = s->file_size;
    s->bad = s->bad_is_zero = s->known_bad = false;
    s->stopped = 0;
    struct scan_window w = {0};
    int r = 0;
    while (s->position < s->limit) {
        struct log_head h;
        const uint8_t *bytes = NULL;
        r = scan_look(fs, fd, s, &w, &h, &bytes);
        if (r < 0)
            break;
        if (r == 0) {
            r = scan_judge_tail(fs, fd, s, &w);
            break;
        }
        r = 0;
        if (h.last_offset >= s->stop_offset)
            break;
        s->stopped = s->fn != NULL ? s->fn(s->arg, &h, bytes, s->position) : 0;
        if (s->stopped != 0)
            break;
        if (s->run_batches == 0 || h.epoch != s->epoch) {
            s->run_from = h.base_offset;
            s->run_batches = 0;
        }
        s->run_batches++;
        s->position += h.size;
        s->next_offset = h.last_offset + 1;
        s->epoch = h.epoch;
    }
    free(w.data);
    return r;
}

/* ---- rebuilding a segment's state ---- */

static int rebuild_batch(void *arg, const struct log_head *h, const uint8_t *batch,
                         uint64_t position)
{
    struct log_rebuild *b = arg;
    if (position == 0)
        b->first_timestamp = h->max_timestamp;
    log_index_add(&b->index, (uint32_t)(h->last_offset - b->scan.segment_base), (uint32_t)position,
                  h->size, h->max_timestamp);
    if (b->epochs != NULL)
        (void)log_epochs_assign(b->epochs, h->epoch, h->base_offset);
    if (b->producers != NULL && h->base_offset >= log_producers_end_offset(b->producers)) {
        struct log_producer_batch p;
        /* A batch whose CRC holds but whose marker is malformed carries no state. */
        if (log_producer_batch_parse(batch, h->size, &p) == 0)
            (void)log_producers_update(b->producers, &p, b->now_ms, NULL);
        log_producers_advance(b->producers, h->last_offset + 1);
    }
    return 0;
}

void log_rebuild_init(struct log_rebuild *b, int64_t segment_base, uint64_t index_interval_bytes)
{
    *b = (struct log_rebuild){.first_timestamp = -1};
    b->scan = (struct log_scan){.segment_base = segment_base,
                                .limit = UINT64_MAX,
                                .next_offset = segment_base,
                                .stop_offset = INT64_MAX,
                                .epoch = -1,
                                .fn = rebuild_batch};
    log_scan_trust(&b->scan);
    log_index_init(&b->index, index_interval_bytes);
}

void log_rebuild_release(struct log_rebuild *b)
{
    log_index_release(&b->index);
}

int log_rebuild_run(struct kb_fs *fs, struct kb_fd *fd, struct log_rebuild *b)
{
    b->scan.arg = b;
    return log_scan_run(fs, fd, &b->scan);
}

/* ---- names and index files ---- */

char *log_segment_path(const char *dir, int64_t base_offset, const char *suffix)
{
    return kb_asprintf("%s/%020lld%s", dir, (long long)base_offset, suffix);
}

bool log_segment_name_parse(const char *name, const char *suffix, int64_t *ret_base)
{
    int64_t base = 0;
    for (int i = 0; i < 20; i++) {
        if (name[i] < '0' || name[i] > '9' || base > (INT64_MAX - (name[i] - '0')) / 10)
            return false;
        base = base * 10 + (name[i] - '0');
    }
    if (strcmp(name + 20, suffix) != 0)
        return false;
    *ret_base = base;
    return true;
}

static int replace_index(struct kb_fs *fs, const char *dir, int64_t base_offset, const char *suffix,
                         const struct kb_buf *b)
{
    char *path = log_segment_path(dir, base_offset, suffix);
    int r = kb_fs_replace(fs, path, b->data, b->size);
    free(path);
    return r;
}

int log_index_save(struct kb_fs *fs, const char *dir, int64_t base_offset,
                   const struct kb_buf *offsets, const struct kb_buf *times)
{
    int r = replace_index(fs, dir, base_offset, ".index", offsets);
    if (r == 0)
        r = replace_index(fs, dir, base_offset, ".timeindex", times);
    return r;
}

int log_index_load(struct kb_fs *fs, const char *dir, int64_t base_offset, uint64_t segment_size,
                   struct log_index *ix)
{
    struct kb_buf offsets = {0};
    struct kb_buf times = {0};
    char *offset_path = log_segment_path(dir, base_offset, ".index");
    char *time_path = log_segment_path(dir, base_offset, ".timeindex");
    int r = kb_fs_read_all(fs, offset_path, LOG_INDEX_FILE_BYTES_MAX, &offsets);
    if (r == 0)
        r = kb_fs_read_all(fs, time_path, LOG_INDEX_FILE_BYTES_MAX, &times);
    /* A segment with records has at least its largest timestamp in the time index. */
    if (r == 0 && segment_size != 0 && times.size == 0 && offsets.size != 0)
        r = -KB_ECORRUPT;
    if (r == 0)
        r = log_index_parse(ix, &offsets, &times, segment_size);
    kb_buf_release(&offsets);
    kb_buf_release(&times);
    free(offset_path);
    free(time_path);
    return r;
}

struct time_check {
    int64_t last_offset;
    int64_t timestamp;
    bool holds;
};

static int check_time_step(void *arg, const struct log_head *h, const uint8_t *batch,
                           uint64_t position)
{
    struct time_check *c = arg;
    (void)batch;
    (void)position;
    if (h->last_offset < c->last_offset)
        return 0;
    c->holds = h->last_offset == c->last_offset && h->max_timestamp == c->timestamp;
    return 1;
}

int log_index_check_time(struct kb_fs *fs, struct kb_fd *fd, int64_t segment_base,
                         uint64_t position, const struct log_index_time *entry)
{
    struct time_check c = {segment_base + entry->relative_offset, entry->timestamp, false};
    struct log_scan scan = {.segment_base = segment_base,
                            .position = position,
                            .limit = UINT64_MAX,
                            .stop_offset = INT64_MAX,
                            .epoch = -1,
                            .fn = check_time_step,
                            .arg = &c};
    log_scan_trust(&scan);
    int r = log_scan_run(fs, fd, &scan);
    return r < 0 ? r : c.holds;
}
