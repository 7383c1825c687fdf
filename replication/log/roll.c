/* Ending the active segment: roll to a new one, and the clean stop. */
#include <stdlib.h>

#include "proto/base/log.h"
#include "replication/log/impl.h"

/* What both leave on disk about the segment that ends. */
struct seal {
    char *dir;
    int64_t base_offset;
    uint64_t size_bytes;
    int64_t end_offset;
    bool sync;
    struct kb_buf offsets, times;
    struct log_epochs epochs;
    bool has_snapshot;
    struct kb_buf snapshot; /* producers at end_offset */
};

static void seal_take(struct log *log, struct seal *s, bool sync)
{
    const struct log_segment *a = log_active(log);
    s->dir = kb_strdup(log->dir);
    s->base_offset = a->base_offset;
    s->size_bytes = a->size_bytes;
    s->end_offset = log->end;
    s->sync = sync;
    log_index_format(&log->index, &s->offsets, &s->times);
    log_epochs_copy(&s->epochs, &log->epochs);
    if (log->producers != NULL) {
        s->has_snapshot = true;
        log_producers_serialize(log->producers, &s->snapshot);
    }
}

static void seal_release(struct seal *s)
{
    free(s->dir);
    kb_buf_release(&s->offsets);
    kb_buf_release(&s->times);
    log_epochs_release(&s->epochs);
    kb_buf_release(&s->snapshot);
}

static int seal_write(struct kb_fs *fs, const struct seal *s)
{
    char *path = log_segment_path(s->dir, s->base_offset, ".log");
    struct kb_fd *fd = NULL;
    int r = kb_fs_open(fs, path, KB_FS_WRITE, &fd);
    free(path);
    if (r < 0)
        return r;
    int64_t size = kb_fs_size(fs, fd);
    if (size < 0)
        r = (int)size;
    else if ((uint64_t)size != s->size_bytes)
        r = -KB_EIO; /* somebody else wrote here, or the disk lies */
    if (r == 0)
        r = kb_fs_truncate(fs, fd, s->size_bytes); /* gives back what was reserved behind it */
    if (r == 0 && s->sync)
        r = kb_fs_sync(fs, fd);
    (void)kb_fs_close(fs, fd);
    if (r == 0)
        r = log_index_save(fs, s->dir, s->base_offset, &s->offsets, &s->times);
    if (r == 0)
        r = log_epochs_save(fs, s->dir, &s->epochs);
    if (r == 0 && s->has_snapshot)
        r = log_snapshot_save(fs, s->dir, s->end_offset,
                              kb_view_of(s->snapshot.data, s->snapshot.size));
    return r;
}

/* ---- roll ---- */

struct roll_job {
    struct log_job j;
    struct seal seal;
    uint64_t allocate_bytes;
    uint32_t generation;
};

static void roll_release(struct log_work *work)
{
    struct roll_job *r = (struct roll_job *)work;
    seal_release(&r->seal);
    free(r);
}

static int roll_run(struct kb_job *job, struct kb_fs *fs)
{
    struct roll_job *j = (struct roll_job *)LOG_JOB_OF(job);
    const struct seal *s = &j->seal;
    int r = seal_write(fs, s);
    if (r < 0)
        return r;
    r = log_segment_create(fs, s->dir, s->end_offset, j->allocate_bytes);
    if (r == 0)
        r = kb_fs_sync_dir(fs, s->dir);
    if (r == -KB_ENOSPC) {
        /* The old segment goes on, so no file may claim its continuation. */
        char *path = log_segment_path(s->dir, s->end_offset, ".log");
        int undone = kb_fs_unlink(fs, path);
        free(path);
        if (undone == 0 || undone == -KB_ENOENT)
            undone = kb_fs_sync_dir(fs, s->dir);
        if (undone < 0)
            r = undone == -KB_ENOSPC ? -KB_EIO : undone;
    }
    return r;
}

static void roll_adopt(struct log *log, uint64_t allocate_bytes)
{
    log_segments_push(log,
                      log_segment_new(log, &(struct log_segment_facts){.base_offset = log->end,
                                                                       .max_timestamp = -1,
                                                                       .first_timestamp = -1}));
    log_index_release(&log->index);
    log_index_init(&log->index, log->config.index_interval_bytes);
    log_space_reset(log, allocate_bytes);
    if (log->durable < log->end) { /* a weak log: the roll has synced */
        log->durable = log->end;
        log->unflushed_records = 0;
        if (log->handler->on_durable != NULL)
            log->handler->on_durable(log, log->user, log->generation, log->end);
    }
}

static void roll_finish(struct log *log, struct log_job *j, int result)
{
    struct roll_job *r = (struct roll_job *)j;
    log->rolling = false;
    if (log->generation != r->generation) {
        /* A cut was asked for meanwhile; it follows and begins from what is on disk. */
        if (result < 0 && result != -KB_ENOSPC)
            log_fail(log, result);
    } else if (result == 0) {
        log->space = log->space == LOG_SPACE_FULL ? LOG_SPACE_IDLE : log->space;
        roll_adopt(log, r->allocate_bytes);
    } else if (result == -KB_ENOSPC) {
        log->allocated_bytes = log_active(log)->size_bytes;
        log_space_full(log);
    } else {
        log_fail(log, result);
    }
    log_space_offer(log);
    log_step_done(log, result);
}

/* Nothing to do, but answers come later. */
static int nothing_run(struct kb_job *job, struct kb_fs *fs)
{
    return 0;
}

static void nothing_finish(struct log *log, struct log_job *j, int result)
{
    log->rolling = false;
    log_space_offer(log);
    log_step_done(log, log->failure);
}

static void nothing_release(struct log_work *work)
{
    free(work);
}

static void roll_begin(struct log *log, struct log_step *step)
{
    if (log->failure != 0 || log->cutting || log_active(log)->size_bytes == 0) {
        log_job_background(log, kb_new(struct log_job), nothing_run, nothing_finish,
                           nothing_release);
        return;
    }
    struct roll_job *r = kb_new(struct roll_job);
    seal_take(log, &r->seal, !log_is_strong(log) || log->durable < log->end);
    r->generation = log->generation;
    r->allocate_bytes = log->chunk_bytes;
    if (r->allocate_bytes > log->config.segment_bytes)
        r->allocate_bytes = log->config.segment_bytes;
    log_job_lane(log, &r->j, roll_run, roll_finish, roll_release);
}

void log_roll_start(struct log *log, log_done_fn *fn, void *user)
{
    KB_ASSERT(!log->rolling);
    log->rolling = true;
    log_step_queue(log, log_step_new(roll_begin, true, fn, user));
}

/* Another roll is queued already: wait for it. */
static void roll_again(struct log *log, struct log_step *step)
{
    log_job_background(log, kb_new(struct log_job), nothing_run, nothing_finish, nothing_release);
}

void log_roll(struct log *log, log_done_fn *fn, void *user)
{
    KB_ASSERT(log_is_open(log));
    if (log->rolling)
        log_step_queue(log, log_step_new(roll_again, false, fn, user));
    else
        log_roll_start(log, fn, user);
}

/* ---- close ---- */

struct close_job {
    struct log_job j;
    struct seal seal;
    int failure; /* of the log before: nothing is written */
};

static void close_release(struct log_work *work)
{
    struct close_job *c = (struct close_job *)work;
    seal_release(&c->seal);
    free(c);
}

/* Snapshots that neither start a segment nor end the log served former clean stops. */
static int close_tidy(struct kb_fs *fs, const struct seal *s)
{
    struct log_bases snapshots = {0};
    struct log_bases segments = {0};
    int r = log_bases_list(fs, s->dir, ".snapshot", &snapshots);
    if (r == 0)
        r = log_bases_list(fs, s->dir, ".log", &segments);
    size_t k = 0;
    for (size_t i = 0; r == 0 && i < snapshots.count; i++) {
        int64_t offset = snapshots.bases[i];
        while (k < segments.count && segments.bases[k] < offset)
            k++;
        if (offset == s->end_offset || (k < segments.count && segments.bases[k] == offset))
            continue;
        char *path = log_segment_path(s->dir, offset, ".snapshot");
        r = kb_fs_unlink(fs, path);
        free(path);
    }
    log_bases_release(&snapshots);
    log_bases_release(&segments);
    return r;
}

static int close_run(struct kb_job *job, struct kb_fs *fs)
{
    struct close_job *c = (struct close_job *)LOG_JOB_OF(job);
    if (c->failure != 0)
        return c->failure;
    int r = seal_write(fs, &c->seal);
    if (r == 0)
        r = close_tidy(fs, &c->seal);
    if (r == 0)
        r = kb_fs_sync_dir(fs, c->seal.dir);
    return r;
}

static void close_end(void *arg)
{
    struct log *log = arg;
    if (LIST_EMPTY(&log->works))
        log_step_done(log, log->close_result);
}

/* Who closes frees the log: first the reads that other threads have in hand must be back. None
 * begins any more. */
static void close_finish(struct log *log, struct log_job *j, int result)
{
    log->phase = LOG_CLOSED;
    log->close_result = result;
    log->doom_timer = kb_timer_free(log->doom_timer);
    log->space_timer = kb_timer_free(log->space_timer);
    log->close_timer = kb_timer_new(log->env, close_end, log);
    close_end(log);
}

static void close_begin(struct log *log, struct log_step *step)
{
    struct close_job *c = kb_new(struct close_job);
    c->failure = log->failure != 0 ? log->failure : log->damaged ? -KB_ECORRUPT : 0;
    if (c->failure == 0)
        seal_take(log, &c->seal, true);
    log_job_lane(log, &c->j, close_run, close_finish, close_release);
}

void log_close(struct log *log, log_done_fn *fn, void *user)
{
    KB_ASSERT(log_is_open(log));
    log->phase = LOG_CLOSING;
    log_step_queue(log, log_step_new(close_begin, true, fn, user));
}
