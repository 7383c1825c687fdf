/* Reads that must wait for a disk. Where the position is known one read of a reader thread brings
 * the bytes, and the loop looks through them; else a job asks the index file and walks. Both check
 * CRCs: readers check what was not resident (rule 10.4). */
#include <stdlib.h>

#include "replication/log/read_parts.h"

#define READ_SLACK_BYTES (16u << 10) /* a sparse index points a little before the offset */
enum { READ_TRIES_MAX = 6 };

struct log_read_op {
    struct log_job j; /* its work links the operation, whichever way it goes */
    struct kb_read fetch;
    struct log_read *r; /* NULL: cancelled */
    char *path;
    char *index_path; /* NULL: position is known */
    struct want want;
    int64_t segment_base;
    uint64_t segment_bytes; /* all that is wanted lies below */
    uint64_t position;
    uint32_t generation;
    uint32_t layout;
    unsigned tries;
    struct kb_block *block; /* the loop's; others only fill its bytes */
    struct range range;
    size_t available; /* bytes of the block from the range's first on */
};
#define OP_OF_FETCH(ptr) ((struct log_read_op *)((char *)(ptr)-offsetof(struct log_read_op, fetch)))

static void read_op_release(struct log_work *work)
{
    struct log_read_op *op = (struct log_read_op *)work;
    if (op->r != NULL)
        op->r->op_ = NULL;
    (void)kb_block_unref(op->block);
    (void)kb_file_unref(op->fetch.file);
    free(op->path);
    free(op->index_path);
    free(op);
}

/* The caller's request again, without the operation. */
static struct log_read *op_detach(struct log_read_op *op)
{
    struct log_read *r = op->r;
    if (r != NULL)
        r->op_ = NULL;
    op->r = NULL;
    return r;
}

static void read_again(struct log *log, struct log_read *r, unsigned tries, size_t block_bytes)
{
    int result = tries < READ_TRIES_MAX ? log_read_try(log, r, tries + 1, block_bytes) : -KB_EIO;
    if (result != LOG_READ_PENDING)
        r->done(r, result);
}

/* The segment that was read; NULL: its files were replaced meanwhile. */
static const struct log_segment *segment_of(const struct log *log, const struct log_read_op *op)
{
    for (size_t i = 0; i < log->segment_count && op->layout == log->layout; i++)
        if (log->segments[i]->base_offset == op->segment_base)
            return log->segments[i];
    return NULL;
}

/* Give out `size` bytes of the block from `at`, which are the range. -KB_ECORRUPT when its first
 * batch is not where, or of the epoch, that it was written. */
static int answer(struct log *log, struct log_read_op *op, struct log_read *r, size_t at)
{
    const struct range *g = &op->range;
    const struct log_segment *of = segment_of(log, op);
    struct log_segment *s = NULL;
    int e = log_proof_range(log, of, op->block->data + at, op->available, op->want.offset,
                            &op->range);
    if (e < 0)
        return e;
    r->first_offset = g->first_offset;
    r->next_offset = g->next_offset;
    if (op->layout == log->layout) {
        log_hint_add(log, op->segment_base, g->next_offset, g->position + g->size);
        s = log->segments[log_segment_find(log, g->first_offset)];
        if (s->base_offset == op->segment_base)
            log_segment_is_sound(s, g->position, g->size);
        else
            s = NULL;
    }
    if (r->as_files && s != NULL) { /* it was read to be looked at, and is resident now */
        kb_chain_add_file(&r->records, s->file, g->position, g->size);
        return 0;
    }
    op->block->size = (uint32_t)(at + g->size);
    kb_chain_add_block(&r->records, op->block, at, (size_t)g->size);
    return 0;
}

/* The sound whole batches at p that are wanted, up to the first that is not. Sets the range's size
 * and offsets. -KB_ECORRUPT when the first one is bad. */
static int take_sound(struct log_read_op *op, const uint8_t *p, size_t size)
{
    struct range *g = &op->range;
    const struct want *w = &op->want;
    g->size = 0;
    g->first_offset = g->next_offset = w->offset;
    for (;;) {
        struct log_head h;
        if (!log_head_parse(p + g->size, size - g->size, &h) || h.size > size - g->size ||
            h.last_offset >= w->bound)
            return 0;
        if (g->size + h.size > w->max_bytes && (g->size != 0 || !w->min_one))
            return 0;
        if (!log_head_crc_holds(&h, p + g->size))
            return g->size == 0 ? -KB_ECORRUPT : 0;
        if (g->size == 0)
            g->first_offset = h.base_offset;
        g->size += h.size;
        g->next_offset = h.last_offset + 1;
    }
}

/* ---- by a reader thread ---- */

enum fetch_verdict { FETCH_ANSWER, FETCH_EMPTY, FETCH_LARGER, FETCH_BY_JOB };

/* What the bytes at op->position are. *ret_at: where in the block the range begins. */
static int fetch_look(struct log_read_op *op, size_t size, size_t *ret_at, size_t *ret_larger)
{
    const uint8_t *p = op->block->data;
    size_t at = 0;
    struct log_head h;
    bool there = false;
    while ((there = log_head_parse(p + at, size - at, &h)) && h.last_offset < op->want.offset &&
           h.size <= size - at)
        at += h.size;
    if (!there || h.last_offset < op->want.offset)
        return FETCH_BY_JOB; /* further behind, or a position that misleads */
    if (h.last_offset >= op->want.bound) {
        op->range.blocked = true;
        op->range.blocked_base = h.base_offset;
        op->range.blocked_last = h.last_offset;
        return FETCH_EMPTY;
    }
    if (h.size > op->segment_bytes - op->position - at)
        return FETCH_BY_JOB; /* no batch reaches beyond the segment */
    if (h.size > size - at) {
        if (h.size > op->want.max_bytes && !op->want.min_one)
            return FETCH_EMPTY;
        *ret_larger = at + h.size;
        return h.size <= op->block->capacity ? FETCH_BY_JOB : FETCH_LARGER;
    }
    int r = take_sound(op, p + at, size - at);
    if (r < 0)
        return r;
    op->range.position = op->position + at;
    op->available = size - at;
    *ret_at = at;
    return op->range.size != 0 ? FETCH_ANSWER : FETCH_EMPTY;
}

static int start_job(struct log *log, struct log_read *r, struct log_read_op *op);

static void fetch_done(struct kb_read *fetch, int64_t n)
{
    struct log_read_op *op = OP_OF_FETCH(fetch);
    struct log *log = op->j.work.log;
    struct log_read *r = op_detach(op);
    log_work_remove(&op->j.work);
    size_t at = 0;
    size_t larger = 0;
    if (r == NULL)
        goto out;
    if (op->generation != log->generation || (n < 0 && op->layout != log->layout)) {
        read_again(log, r, op->tries, 0);
        goto out;
    }
    int verdict = n < 0 ? (int)n : fetch_look(op, (size_t)n, &at, &larger);
    if (verdict == FETCH_LARGER) {
        read_again(log, r, op->tries, larger);
    } else if (verdict == FETCH_BY_JOB) {
        (void)start_job(log, r, op);
        return;
    } else {
        if (verdict == FETCH_ANSWER)
            verdict = answer(log, op, r, at);
        else if (verdict == FETCH_EMPTY &&
                 !log_proof_blocked(log, segment_of(log, op), op->want.offset, &op->range))
            verdict = -KB_ECORRUPT;
        r->done(r, verdict < 0 ? verdict : LOG_READ_OK);
    }
out:
    read_op_release(&op->j.work);
}

static int start_fetch(struct log *log, struct log_read *r, struct log_read_op *op,
                       struct kb_file *file)
{
    op->fetch.file = kb_file_ref(file);
    op->fetch.position = op->position;
    op->fetch.buffer = op->block->data;
    op->fetch.size = op->block->capacity;
    op->fetch.done = fetch_done;
    op->j.work.release = read_op_release;
    op->r = r;
    r->op_ = op;
    log_work_add(log, &op->j.work);
    kb_env_read(log->env, &op->fetch);
    return LOG_READ_PENDING;
}

/* ---- by a job ---- */

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

static int64_t heads_pread(struct heads *hs, uint64_t position, void *ret, size_t size)
{
    return kb_fs_pread(hs->fs, hs->fd, ret, size, position);
}

/* Find the range and bring it into the block, as far as it is sound. */
static int read_op_look(struct log_read_op *op, struct heads *hs, uint64_t position)
{
    struct log_head h;
    int r = log_heads_at(hs, position, &h);
    if (r == 0 && h.base_offset > op->want.offset && position != 0)
        r = -KB_ECORRUPT; /* the index pointed too far */
    if (r == 0)
        r = log_heads_find(hs, position, &op->want, &op->range);
    if (r == 0 && op->range.position + op->range.size > op->segment_bytes)
        r = -KB_ECORRUPT;
    if (r < 0 || op->range.size == 0 || op->range.size > op->block->capacity)
        return r; /* too large for the block: the loop asks again with a larger one */
    /* With the head behind them, which says where they end. */
    size_t size = (size_t)op->range.size + LOG_HEAD_SIZE;
    if (size > op->block->capacity)
        size = op->block->capacity;
    int64_t n = kb_fs_pread(hs->fs, hs->fd, op->block->data, size, op->range.position);
    op->available = n > 0 ? (size_t)n : 0;
    return n < 0 ? (int)n : take_sound(op, op->block->data, (size_t)n);
}

static int read_op_run(struct kb_job *job, struct kb_fs *fs)
{
    struct log_read_op *op = (struct log_read_op *)LOG_JOB_OF(job);
    struct heads *hs = kb_new(struct heads);
    hs->read = heads_pread;
    hs->fs = fs;
    int r = kb_fs_open(fs, op->path, KB_FS_READ, &hs->fd);
    if (r == 0) {
        uint64_t position = op->position;
        if (op->index_path != NULL)
            position = index_file_lookup(fs, op->index_path,
                                         (uint32_t)(op->want.offset - op->segment_base));
        r = read_op_look(op, hs, position);
        if (r == -KB_ECORRUPT && position != 0) { /* a garbled index file? */
            hs->size = 0;
            r = read_op_look(op, hs, 0);
        }
    }
    (void)kb_fs_close(fs, hs->fd);
    free(hs);
    return r;
}

static void read_op_finish(struct log *log, struct log_job *j, int result)
{
    struct log_read_op *op = (struct log_read_op *)j;
    struct log_read *r = op_detach(op);
    if (r == NULL)
        return;
    size_t larger = result == 0 && op->range.size > op->block->capacity ? (size_t)op->range.size
                                                                        : 0;
    if (larger != 0 || op->generation != log->generation ||
        (result < 0 && op->layout != log->layout)) {
        read_again(log, r, op->tries, larger);
        return;
    }
    if (result == 0 && op->range.size != 0)
        result = answer(log, op, r, 0);
    else if (result == 0 &&
             !log_proof_blocked(log, segment_of(log, op), op->want.offset, &op->range))
        result = -KB_ECORRUPT;
    r->done(r, result);
}

static int start_job(struct log *log, struct log_read *r, struct log_read_op *op)
{
    op->r = r;
    r->op_ = op;
    if (op->want.max_bytes > READ_BLOCK_MAX)
        op->want.max_bytes = READ_BLOCK_MAX;
    log_job_background(log, &op->j, read_op_run, read_op_finish, read_op_release);
    return LOG_READ_PENDING;
}

/* ---- the call ---- */

int log_read_cold(struct log *log, struct log_read *r, const struct want *w,
                  const struct cold_read *c)
{
    const struct log_segment *s = log->segments[c->segment];
    size_t size = w->max_bytes < READ_BLOCK_MAX ? w->max_bytes : READ_BLOCK_MAX;
    size += READ_SLACK_BYTES;
    struct kb_block *block = log_read_block(log, r, c->block_bytes > size ? c->block_bytes : size);
    if (block == NULL)
        return -KB_ELIMIT;
    struct log_read_op *op = kb_new(struct log_read_op);
    op->path = kb_strdup(kb_file_path(s->file));
    if (!c->known)
        op->index_path = log_segment_path(log->dir, s->base_offset, ".index");
    op->want = *w;
    op->segment_base = s->base_offset;
    op->segment_bytes = s->size_bytes;
    op->position = c->position;
    op->generation = log->generation;
    op->layout = log->layout;
    op->tries = c->tries;
    op->block = block;
    return c->known ? start_fetch(log, r, op, s->file) : start_job(log, r, op);
}

void log_read_cancel(struct log_read *r)
{
    if (r->op_ != NULL) {
        r->op_->r = NULL;
        r->op_ = NULL;
    }
}
