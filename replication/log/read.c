/* Reading whole batches: from the tail cache, from resident pages at once, else by a job that also
 * checks CRCs (rule 10.4: readers check what was not resident). */
#include <stdlib.h>

#include "replication/log/impl.h"

#define READ_WINDOW_BYTES (16u << 10)
#define READ_BLOCK_MAX (1u << 20)      /* bytes brought into memory by one read */
#define READ_SENDFILE_MIN (256u << 10) /* from here on a file range is cheaper */
#define READ_RANGE_MAX (4u << 20)
#define READ_PROBE_STEP (64u << 10)
enum { READ_WALK_MAX = 80, READ_TRIES_MAX = 5 };

/* ---- finding batch borders ---- */

/* Heads of one segment file, through a window. */
struct heads {
    int64_t (*read)(struct heads *hs, uint64_t position, void *ret, size_t size);
    struct kb_env *env; /* on the loop: resident pages only */
    struct kb_file *file;
    struct kb_fs *fs; /* in a job */
    struct kb_fd *fd;
    unsigned fills_left; /* on the loop: how often it may go on */
    uint64_t start;
    size_t size;
    uint8_t window[READ_WINDOW_BYTES];
};

static int64_t heads_read_now(struct heads *hs, uint64_t position, void *ret, size_t size)
{
    if (hs->fills_left == 0)
        return -KB_EAGAIN;
    hs->fills_left--;
    return kb_env_read_now(hs->env, hs->file, position, ret, size);
}

static int64_t heads_pread(struct heads *hs, uint64_t position, void *ret, size_t size)
{
    return kb_fs_pread(hs->fs, hs->fd, ret, size, position);
}

/* 0, -KB_ECORRUPT when no batch begins there, or another error. */
static int heads_at(struct heads *hs, uint64_t position, struct log_head *ret)
{
    if (position < hs->start || position + LOG_HEAD_SIZE > hs->start + hs->size) {
        int64_t n = hs->read(hs, position, hs->window, sizeof(hs->window));
        if (n < 0)
            return (int)n;
        hs->start = position;
        hs->size = (size_t)n;
    }
    size_t at = (size_t)(position - hs->start);
    return log_head_parse(hs->window + at, hs->size - at, ret) ? 0 : -KB_ECORRUPT;
}

struct want {
    int64_t offset;
    int64_t bound;
    size_t max_bytes; /* of this answer */
    bool min_one;
};
struct range {
    uint64_t position;
    uint64_t size;       /* 0: nothing below the bound, or the first batch does not fit */
    uint64_t first_size; /* of the first batch below the bound; 0: none */
    int64_t first_offset, next_offset;
};

/* The wanted batches, looked for from `position` (a batch's start at or before the offset). */
static int heads_find(struct heads *hs, uint64_t position, const struct want *w, struct range *ret)
{
    struct log_head h;
    *ret = (struct range){.first_offset = w->offset, .next_offset = w->offset};
    int r = 0;
    while ((r = heads_at(hs, position, &h)) == 0 && h.last_offset < w->offset)
        position += h.size;
    if (r < 0)
        return r;
    ret->position = position;
    if (h.last_offset >= w->bound)
        return 0;
    ret->first_size = h.size;
    ret->first_offset = h.base_offset;
    for (;;) {
        bool fits = ret->size + h.size <= w->max_bytes || (ret->size == 0 && w->min_one);
        if (h.last_offset >= w->bound || !fits)
            return 0;
        ret->size += h.size;
        ret->next_offset = h.last_offset + 1;
        if (ret->next_offset >= w->bound || ret->size >= w->max_bytes)
            return 0;
        r = heads_at(hs, position + ret->size, &h);
        if (r < 0)
            return r == -KB_ECORRUPT ? 0 : r; /* the segment's end */
    }
}

/* ---- hints ---- */

void log_hints_clear(struct log *log)
{
    for (int i = 0; i < LOG_HINT_COUNT; i++)
        log->hints[i] = (struct log_hint){.segment_base = -1};
}

void log_hint_add(struct log *log, int64_t segment_base, int64_t offset, uint64_t position)
{
    log->hints[log->hint_next++ % LOG_HINT_COUNT] = (struct log_hint){segment_base, offset,
                                                                      position};
}

/* Where to start in this segment; false when only its index file knows. */
static bool start_position(const struct log *log, size_t segment, int64_t offset,
                           uint64_t *ret_position)
{
    const struct log_segment *s = log->segments[segment];
    bool active = segment + 1 == log->segment_count;
    uint64_t position = 0;
    bool found = offset == s->base_offset || active;
    if (active && log->index_valid)
        position = log_index_lookup(&log->index, (uint32_t)(offset - s->base_offset));
    for (int i = 0; i < LOG_HINT_COUNT; i++) {
        const struct log_hint *h = &log->hints[i];
        bool usable = h->segment_base == s->base_offset &&
                      (h->offset == offset || (active && h->offset < offset));
        if (usable && h->position >= position) {
            position = h->position;
            found = true;
        }
    }
    *ret_position = position;
    return found;
}

/* ---- blocks ---- */

static struct kb_block *read_block(struct log *log, size_t size)
{
    if (log->read_pool != NULL)
        return kb_pool_take(log->read_pool, size, log->read_budget);
    return kb_block_new(size);
}

static void read_answer(struct log *log, struct log_read *r, const struct log_segment *s,
                        const struct range *g)
{
    r->first_offset = g->first_offset;
    r->next_offset = g->next_offset;
    log_hint_add(log, s->base_offset, g->next_offset, g->position + g->size);
}

/* ---- at once ---- */

static bool range_is_resident(struct log *log, struct kb_file *file, const struct range *g)
{
    uint8_t byte;
    for (uint64_t at = 0; at < g->size; at += READ_PROBE_STEP) {
        if (kb_env_read_now(log->env, file, g->position + at, &byte, 1) != 1)
            return false;
    }
    return kb_env_read_now(log->env, file, g->position + g->size - 1, &byte, 1) == 1;
}

/* LOG_READ_OK, -KB_EAGAIN (a job must do it), -KB_ELIMIT, or another error for the job to find. */
static int read_resident(struct log *log, struct log_read *r, size_t segment, const struct want *w,
                         uint64_t position)
{
    struct log_segment *s = log->segments[segment];
    struct heads hs = {
        .read = heads_read_now, .env = log->env, .file = s->file, .fills_left = READ_WALK_MAX};
    struct range g;
    int e = heads_find(&hs, position, w, &g);
    if (e < 0)
        return e;
    if (g.size == 0)
        return LOG_READ_OK;
    if (g.size >= READ_SENDFILE_MIN) {
        if (!range_is_resident(log, s->file, &g))
            return -KB_EAGAIN;
        kb_chain_add_file(&r->records, s->file, g.position, g.size);
        read_answer(log, r, s, &g);
        return LOG_READ_OK;
    }
    struct kb_block *b = read_block(log, (size_t)g.size);
    if (b == NULL)
        return -KB_ELIMIT;
    int64_t n = (int64_t)g.size;
    if (g.position >= hs.start && g.position + g.size <= hs.start + hs.size)
        memcpy(b->data, hs.window + (g.position - hs.start), (size_t)g.size);
    else
        n = kb_env_read_now(log->env, s->file, g.position, b->data, (size_t)g.size);
    if (n == (int64_t)g.size) {
        b->size = (uint32_t)g.size;
        kb_chain_add_block(&r->records, b, 0, (size_t)g.size);
        read_answer(log, r, s, &g);
    }
    (void)kb_block_unref(b);
    return n == (int64_t)g.size ? LOG_READ_OK : -KB_EAGAIN;
}

/* ---- by a job ---- */

struct log_read_op {
    struct log_job j;
    struct log_read *r; /* NULL: cancelled */
    char *path;
    char *index_path; /* NULL: position is known */
    struct want want;
    int64_t segment_base;
    uint64_t position;
    uint32_t generation;
    uint32_t layout;
    unsigned tries;
    struct kb_block *block; /* the loop's; the job only fills its bytes */
    /* out */
    struct range range;
};

static void read_op_release(struct log_work *work)
{
    struct log_read_op *op = (struct log_read_op *)work;
    if (op->r != NULL)
        op->r->op_ = NULL;
    (void)kb_block_unref(op->block);
    free(op->path);
    free(op->index_path);
    free(op);
}

/* Binary search in an index file. Whatever is wrong with it: start at 0. */
static uint64_t index_file_lookup(struct kb_fs *fs, const char *path, uint32_t relative_offset)
{
    struct kb_fd *fd = NULL;
    if (kb_fs_open(fs, path, KB_FS_READ, &fd) < 0)
        return 0;
    int64_t size = kb_fs_size(fs, fd);
    uint64_t low = 0; /* entries below low are <= the offset */
    uint64_t high = size > 0 ? (uint64_t)size / LOG_INDEX_ENTRY_SIZE : 0;
    uint64_t position = 0;
    while (low < high) {
        uint8_t e[LOG_INDEX_ENTRY_SIZE];
        uint64_t middle = low + (high - low) / 2;
        if (kb_fs_pread(fs, fd, e, sizeof(e), middle * sizeof(e)) != sizeof(e)) {
            position = 0;
            break;
        }
        if (kb_get_be32(e) <= relative_offset) {
            position = kb_get_be32(e + 4);
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    (void)kb_fs_close(fs, fd);
    return position;
}

/* Bring the range into the block and keep what is sound of it. */
static int read_op_fill(struct log_read_op *op, struct kb_fs *fs, struct kb_fd *fd)
{
    struct range *g = &op->range;
    if (g->size > op->block->capacity)
        return 0; /* the loop asks again with a larger block */
    int64_t n = kb_fs_pread(fs, fd, op->block->data, (size_t)g->size, g->position);
    if (n < 0)
        return (int)n;
    size_t sound = 0;
    int64_t next = g->next_offset;
    while (sound < g->size) {
        struct log_head h;
        const uint8_t *p = op->block->data + sound;
        if (!log_head_parse(p, (size_t)n - sound, &h) || h.size > (size_t)n - sound ||
            !log_head_crc_holds(&h, p))
            break;
        sound += h.size;
        next = h.last_offset + 1;
    }
    if (sound == 0)
        return -KB_ECORRUPT;
    if (sound < g->size) {
        g->size = sound;
        g->next_offset = next;
    }
    return 0;
}

static int read_op_run(struct kb_job *job, struct kb_fs *fs)
{
    struct log_read_op *op = (struct log_read_op *)LOG_JOB_OF(job);
    struct heads *hs = kb_new(struct heads);
    hs->read = heads_pread;
    hs->fs = fs;
    int r = kb_fs_open(fs, op->path, KB_FS_READ, &hs->fd);
    if (r < 0)
        goto out;
    uint64_t position = op->position;
    if (op->index_path != NULL)
        position = index_file_lookup(fs, op->index_path,
                                     (uint32_t)(op->want.offset - op->segment_base));
    for (;;) {
        r = heads_find(hs, position, &op->want, &op->range);
        if (r == 0 && op->range.size != 0)
            r = read_op_fill(op, fs, hs->fd);
        bool misled = r == -KB_ECORRUPT || (r == 0 && op->range.first_offset > op->want.offset);
        if (!misled || position == 0)
            break;
        position = 0; /* a garbled index file */
        hs->size = 0;
    }
out:
    (void)kb_fs_close(fs, hs->fd);
    free(hs);
    return r;
}

static int read_try(struct log *log, struct log_read *r, unsigned tries, size_t block_bytes);

static void read_op_finish(struct log *log, struct log_job *j, int result)
{
    struct log_read_op *op = (struct log_read_op *)j;
    struct log_read *r = op->r;
    if (r == NULL)
        return;
    op->r = NULL;
    r->op_ = NULL;
    const struct range *g = &op->range;
    size_t larger = result == 0 && g->size > op->block->capacity ? (size_t)g->size : 0;
    if (larger != 0 || op->generation != log->generation ||
        (result < 0 && op->layout != log->layout)) {
        result = op->tries < READ_TRIES_MAX ? read_try(log, r, op->tries + 1, larger) : -KB_EIO;
        if (result != LOG_READ_PENDING)
            r->done(r, result);
        return;
    }
    if (result == 0 && g->size != 0) {
        op->block->size = (uint32_t)g->size;
        kb_chain_add_block(&r->records, op->block, 0, (size_t)g->size);
        r->first_offset = g->first_offset;
        r->next_offset = g->next_offset;
        if (op->layout == log->layout)
            log_hint_add(log, op->segment_base, g->next_offset, g->position + g->size);
    }
    r->done(r, result);
}

static int read_by_job(struct log *log, struct log_read *r, size_t segment, const struct want *w,
                       bool known, uint64_t position, unsigned tries, size_t block_bytes)
{
    const struct log_segment *s = log->segments[segment];
    size_t size = w->max_bytes < READ_BLOCK_MAX ? w->max_bytes : READ_BLOCK_MAX;
    if (size < LOG_HEAD_SIZE)
        size = LOG_HEAD_SIZE;
    struct kb_block *block = read_block(log, block_bytes > size ? block_bytes : size);
    if (block == NULL)
        return -KB_ELIMIT;
    struct log_read_op *op = kb_new(struct log_read_op);
    op->r = r;
    op->path = kb_strdup(kb_file_path(s->file));
    if (!known)
        op->index_path = log_segment_path(log->dir, s->base_offset, ".index");
    op->want = *w;
    op->segment_base = s->base_offset;
    op->position = position;
    op->generation = log->generation;
    op->layout = log->layout;
    op->tries = tries;
    op->block = block;
    if (op->want.max_bytes > READ_BLOCK_MAX)
        op->want.max_bytes = READ_BLOCK_MAX;
    r->op_ = op;
    log_job_background(log, &op->j, read_op_run, read_op_finish, read_op_release);
    return LOG_READ_PENDING;
}

/* ---- the call ---- */

static int read_try(struct log *log, struct log_read *r, unsigned tries, size_t block_bytes)
{
    if (log->phase != LOG_OPEN && log->phase != LOG_CLOSING)
        return -KB_ECLOSED;
    r->first_offset = r->next_offset = r->offset;
    if (r->offset < log->start || r->offset > log->end)
        return LOG_READ_OUT_OF_RANGE;
    int64_t bound = r->bound_offset < log->written ? r->bound_offset : log->written;
    if (r->offset >= bound || log->segment_count == 0)
        return LOG_READ_OK;
    if (log_cache_read(log, r, bound))
        return LOG_READ_OK;
    size_t segment = log_segment_find(log, r->offset);
    struct want w = {r->offset, bound, r->max_bytes, r->min_one};
    if (w.max_bytes > READ_RANGE_MAX)
        w.max_bytes = READ_RANGE_MAX;
    uint64_t position = 0;
    bool known = start_position(log, segment, r->offset, &position);
    if (known && tries == 0) {
        int e = read_resident(log, r, segment, &w, position);
        if (e == LOG_READ_OK || e == -KB_ELIMIT)
            return e;
    }
    return read_by_job(log, r, segment, &w, known, position, tries, block_bytes);
}

int log_read(struct log *log, struct log_read *r)
{
    r->records = (struct kb_chain){0};
    r->op_ = NULL;
    return read_try(log, r, 0, 0);
}

void log_read_cancel(struct log_read *r)
{
    if (r->op_ != NULL) {
        r->op_->r = NULL;
        r->op_ = NULL;
    }
}
