/* Truncation and reset (rule 2.5). What is decided happens at once in memory; the files follow in
 * one lane job. */
#include <stdlib.h>

#include "proto/base/log.h"
#include "proto/base/mutant.h"
#include "replication/log/impl.h"

struct cut_job {
    struct log_job j;
    char *dir;
    int64_t offset;
    int64_t limit;       /* marks are void from here on */
    int64_t base_offset; /* of the segment that becomes the last one */
    bool reset;
    struct kb_buf producers; /* of a reset: the snapshot it begins with */
    bool check_crc;
    int64_t gaps_below;
    int failure;
    struct log_epochs epochs;
    uint32_t generation;
    /* out */
    struct log_rebuild rebuild; /* of the segment that holds the cut */
};

static void cut_release(struct log_work *work)
{
    struct cut_job *c = (struct cut_job *)work;
    log_rebuild_release(&c->rebuild);
    log_epochs_release(&c->epochs);
    kb_buf_release(&c->producers);
    free(c->dir);
    free(c);
}

/* A snapshot of producers at a later end would be taken for good once the log has grown again. */
static int snapshots_unlink_above(struct kb_fs *fs, const char *dir, int64_t offset)
{
    struct log_bases found = {0};
    bool changed = false;
    int r = log_bases_list(fs, dir, ".snapshot", &found);
    for (size_t i = 0; r == 0 && i < found.count; i++) {
        if (found.bases[i] <= offset)
            continue;
        char *path = log_segment_path(dir, found.bases[i], ".snapshot");
        r = kb_fs_unlink(fs, path);
        free(path);
        changed = true;
    }
    log_bases_release(&found);
    if (r == 0 && changed)
        r = kb_fs_sync_dir(fs, dir);
    return r;
}

static int cut_file(struct kb_fs *fs, struct cut_job *c)
{
    char *path = log_segment_path(c->dir, c->base_offset, ".log");
    struct kb_fd *fd = NULL;
    /* Of a damaged log the file itself may be gone; it is empty from here then. */
    int flags = c->check_crc ? KB_FS_WRITE | KB_FS_CREATE : KB_FS_WRITE;
    int r = kb_fs_open(fs, path, flags, &fd);
    free(path);
    log_rebuild_init(&c->rebuild, c->base_offset, c->rebuild.index.interval_bytes);
    c->rebuild.scan.stop_offset = c->offset;
    c->rebuild.scan.check_crc = c->check_crc;
    c->rebuild.scan.gaps_below = c->gaps_below;
    if (r == 0)
        r = log_rebuild_run(fs, fd, &c->rebuild);
    /* The offset lies inside a batch: marks are void from where the log ends now. */
    if (r == 0 && c->rebuild.scan.next_offset < c->limit) {
        c->limit = c->rebuild.scan.next_offset;
        r = log_cut_limit_save(fs, c->dir, LOG_CUT_TO, c->limit);
    }
    if (r == 0)
        r = kb_fs_truncate(fs, fd, c->rebuild.scan.position);
    if (r == 0 && !KB_MUTANT("cut-not-synced"))
        r = kb_fs_sync(fs, fd);
    (void)kb_fs_close(fs, fd);
    return r;
}

static int cut_run(struct kb_job *job, struct kb_fs *fs)
{
    struct cut_job *c = (struct cut_job *)LOG_JOB_OF(job);
    if (c->failure != 0)
        return c->failure;
    if (c->reset)
        return log_reset_run(fs, c->dir, c->offset,
                             kb_view_of(c->producers.data, c->producers.size));
    int r = log_cut_limit_save(fs, c->dir, LOG_CUT_TO, c->limit);
    if (r == 0)
        r = snapshots_unlink_above(fs, c->dir, c->offset);
    if (r == 0)
        r = log_segments_unlink_from(fs, c->dir, c->base_offset + 1);
    if (r == 0)
        r = cut_file(fs, c);
    if (r == 0) {
        log_epochs_truncate_end(&c->epochs, c->rebuild.scan.next_offset);
        r = log_epochs_save(fs, c->dir, &c->epochs);
    }
    return r;
}

/* ---- producers that the undo journal cannot roll back ---- */

struct replay_job {
    struct log_job j;
    char *dir;
    int64_t end_offset;
    uint64_t interval_bytes;
    struct log_producers *producers;
};

static void replay_release(struct log_work *work)
{
    struct replay_job *p = (struct replay_job *)work;
    (void)log_producers_free(p->producers);
    free(p->dir);
    free(p);
}

static int replay_segment(struct kb_fs *fs, struct replay_job *p, int64_t base)
{
    char *path = log_segment_path(p->dir, base, ".log");
    struct kb_fd *fd = NULL;
    struct log_rebuild b;
    log_rebuild_init(&b, base, p->interval_bytes);
    b.producers = p->producers;
    b.now_ms = kb_fs_now_ms(fs);
    int r = kb_fs_open(fs, path, KB_FS_READ, &fd);
    if (r == 0)
        r = log_rebuild_run(fs, fd, &b);
    (void)kb_fs_close(fs, fd);
    log_rebuild_release(&b);
    free(path);
    return r;
}

static int replay_run(struct kb_job *job, struct kb_fs *fs)
{
    struct replay_job *p = (struct replay_job *)LOG_JOB_OF(job);
    struct log_bases bases = {0};
    int64_t from = 0;
    int r = log_bases_list(fs, p->dir, ".log", &bases);
    if (r == 0)
        r = log_snapshot_load(fs, p->dir, p->end_offset, bases.count != 0 ? bases.bases[0] : 0,
                              p->producers, &from);
    for (size_t i = 0; r == 0 && i < bases.count; i++) {
        int64_t next = i + 1 < bases.count ? bases.bases[i + 1] : INT64_MAX;
        if (next > from)
            r = replay_segment(fs, p, bases.bases[i]);
    }
    log_bases_release(&bases);
    return r;
}

/* ---- the loop's side ---- */

static void cut_again(void *arg);

static void cut_complete(struct log *log)
{
    log->cutting = false;
    if (log->failure != 0) { /* of other work, meanwhile */
        log_step_done(log, log->failure);
        return;
    }
    log_space_offer(log);
    uint32_t generation = log->generation;
    int64_t end = log->end;
    if (log->handler->on_written != NULL)
        log->handler->on_written(log, log->user, generation, end);
    if (log->handler->on_durable != NULL && log->generation == generation)
        log->handler->on_durable(log, log->user, generation, end);
    log_step_done(log, 0);
}

static void replay_finish(struct log *log, struct log_job *j, int result)
{
    struct replay_job *p = (struct replay_job *)j;
    if (result < 0) {
        log->cutting = false;
        log_fail(log, result);
        log_step_done(log, result);
        return;
    }
    (void)log_producers_free(log->producers);
    log->producers = p->producers;
    p->producers = NULL;
    log_producers_advance(log->producers, log->end);
    cut_complete(log);
}

static void adopt_cut(struct log *log, struct cut_job *c)
{
    struct log_segment *s = log_active(log);
    struct log_rebuild *b = &c->rebuild;
    KB_ASSERT(s->base_offset == b->scan.segment_base);
    log->end = b->scan.next_offset;
    s->size_bytes = b->scan.position;
    s->max_timestamp = b->index.max_timestamp;
    s->max_timestamp_offset = s->base_offset + b->index.max_timestamp_relative;
    s->first_timestamp = b->first_timestamp;
    log_index_release(&log->index);
    log->index = b->index;
    log_index_init(&b->index, 0);
    log_epochs_truncate_end(&log->epochs, log->end);
    log_cache_cut(log, log->end);
}

/* A full disk is a state: what a cut has done so far, it can do again. */
static void cut_later(struct log *log)
{
    if (log->cut_timer == NULL)
        log->cut_timer = kb_timer_new(log->env, cut_again, log);
    kb_timer_arm(log->cut_timer, LOG_SPACE_RETRY_MS);
}

static void cut_finish(struct log *log, struct log_job *j, int result)
{
    struct cut_job *c = (struct cut_job *)j;
    if (result == -KB_ENOSPC && log_is_open(log)) {
        cut_later(log);
        return;
    }
    if (result < 0) {
        log->cutting = false;
        if (result == -KB_ENOSPC)
            log->failure = result; /* it is being closed: nobody waits for space, and not cleanly */
        else
            log_fail(log, result);
        log_step_done(log, result);
        return;
    }
    if (!c->reset)
        adopt_cut(log, c);
    log->index_valid = true;
    log_proof_cut(log);
    log->written = log->durable = log->end;
    if (log->start > log->end)
        log->start = log->end;
    log->cut_limit = c->limit;
    log->damaged = false;
    log->unflushed_records = 0;
    if (log->space == LOG_SPACE_FULL)
        log->space = LOG_SPACE_IDLE;
    log_space_reset(log, log_active(log)->size_bytes);
    if (c->reset)
        kb_buf_release(&log->producers_below);
    if (log->producers == NULL || c->reset || log_producers_truncate(log->producers, log->end)) {
        cut_complete(log);
        return;
    }
    struct replay_job *p = kb_new(struct replay_job);
    p->dir = kb_strdup(log->dir);
    p->end_offset = log->end;
    p->interval_bytes = log->config.index_interval_bytes;
    p->producers = log_producers_make(log);
    log_job_background(log, &p->j, replay_run, replay_finish, replay_release);
}

static void cut_begin(struct log *log, struct log_step *step)
{
    struct cut_job *c = kb_new(struct cut_job);
    c->dir = kb_strdup(log->dir);
    c->offset = c->limit = step->offset;
    c->base_offset = log_active(log)->base_offset;
    c->reset = step->count != 0;
    /* Marks of before an earlier cut may still be there. */
    if (!c->reset && log->cut_limit >= 0 && log->cut_limit < c->limit)
        c->limit = log->cut_limit;
    if (c->reset)
        kb_buf_append(&c->producers, log->producers_below.data, log->producers_below.size);
    c->check_crc = log->damaged;
    c->gaps_below = log->gaps_below;
    c->failure = log->failure;
    c->generation = log->generation;
    log_epochs_copy(&c->epochs, &log->epochs);
    log_rebuild_init(&c->rebuild, step->offset, log->config.index_interval_bytes);
    log_job_lane(log, &c->j, cut_run, cut_finish, cut_release);
}

static void cut_again(void *arg)
{
    struct log *log = arg;
    cut_begin(log, log->step);
}

static void cut_queue(struct log *log, int64_t offset, bool reset, log_done_fn *fn, void *user)
{
    struct log_step *s = log_step_new(cut_begin, false, fn, user);
    s->offset = offset;
    s->count = reset ? 1 : 0;
    log_step_queue(log, s);
}

/* From now on nothing of the bytes that go is given out or reported. */
static void cut_memory(struct log *log, int64_t offset)
{
    log->cutting = true;
    log->generation++;
    if (log->durable > log->cut_ceiling)
        log->cut_ceiling = log->durable;
    log->index_valid = false;
    log_hints_clear(log);
    log_cache_cut(log, offset);
}

void log_reset(struct log *log, int64_t start_offset, struct kb_view producers, log_done_fn *fn,
               void *user)
{
    KB_ASSERT(log_is_open(log) && !log->cutting && start_offset >= 0);
    cut_memory(log, 0);
    for (size_t i = 0; i < log->segment_count; i++) {
        kb_file_bump(log->segments[i]->file);
        (void)log_segment_free(log->segments[i]);
    }
    log->segment_count = 0;
    log_segments_push(log,
                      log_segment_new(log, &(struct log_segment_facts){.base_offset = start_offset,
                                                                       .max_timestamp = -1,
                                                                       .first_timestamp = -1}));
    log_index_release(&log->index);
    log_index_init(&log->index, log->config.index_interval_bytes);
    log_epochs_truncate_end(&log->epochs, 0);
    log->start = log->end = log->written = log->durable = start_offset;
    if (log->producers != NULL)
        log_producers_begin(log, log->producers, start_offset, producers, &log->producers_below);
    cut_queue(log, start_offset, true, fn, user);
}

void log_truncate_to(struct log *log, int64_t offset, log_done_fn *fn, void *user)
{
    KB_ASSERT(log_is_open(log) && !log->cutting && offset >= 0);
    if (offset < log->segments[0]->base_offset) {
        log_reset(log, offset, kb_view_of(NULL, 0), fn, user);
        return;
    }
    if (offset > log->end)
        offset = log->end;
    cut_memory(log, offset);
    while (log_active(log)->base_offset > offset) {
        kb_file_bump(log_active(log)->file);
        (void)log_segment_free(log_active(log));
        log->segment_count--;
    }
    kb_file_bump(log_active(log)->file);
    log_index_release(&log->index);
    log_index_init(&log->index, log->config.index_interval_bytes);
    log_epochs_truncate_end(&log->epochs, offset);
    log->end = offset;
    if (log->written > offset)
        log->written = offset;
    if (log->durable > offset)
        log->durable = offset;
    if (log->start > offset)
        log->start = offset;
    cut_queue(log, offset, false, fn, user);
}

/* ---- the end of the cut limit, and of the note of a cut ---- */

struct forget_job {
    struct log_job j;
    char *path;
};

static void forget_release(struct log_work *work)
{
    struct forget_job *f = (struct forget_job *)work;
    free(f->path);
    free(f);
}

static int forget_run(struct kb_job *job, struct kb_fs *fs)
{
    struct forget_job *f = (struct forget_job *)LOG_JOB_OF(job);
    int r = kb_fs_unlink(fs, f->path);
    return r == -KB_ENOENT ? 0 : r;
}

static void forget_finish(struct log *log, struct log_job *j, int result)
{
    log_removed(log, result);
    log_step_done(log, result);
}

static void forget_file(struct log *log, const char *name)
{
    struct forget_job *f = kb_new(struct forget_job);
    f->path = kb_asprintf("%s/%s", log->dir, name);
    log_job_lane(log, &f->j, forget_run, forget_finish, forget_release);
}

static void forget_begin(struct log *log, struct log_step *step)
{
    forget_file(log, LOG_FILE_CUT_LIMIT);
}

static void forget_cut_begin(struct log *log, struct log_step *step)
{
    forget_file(log, LOG_FILE_CUT_TAIL);
}

static void forget(struct log *log)
{
    log->cut_limit = -1;
    log->cut_ceiling = 0;
    log_step_queue(log, log_step_new(forget_begin, false, NULL, NULL));
}

/* Staying too long only makes recovery less strict, going too early would make it see damage. */
static bool may_forget(const struct log *log)
{
    return log->cut_limit >= 0 && !log->cutting && log->failure == 0 && log_is_open(log);
}

/* A former mark holds again once the epoch file proves what lies below it: it may still tell of the
 * epochs that were cut off there. */
void log_cut_limit_check(struct log *log)
{
    if (may_forget(log) && log_durable_mark(log) >= log->cut_ceiling)
        forget(log);
}

void log_durable_mark_saved(struct log *log, uint32_t generation)
{
    if (may_forget(log) && generation == log->generation)
        forget(log);
}

void log_forget_cut(struct log *log)
{
    if (!log->cut_noted || log->failure != 0 || !log_is_open(log))
        return;
    log->cut_noted = false;
    log_step_queue(log, log_step_new(forget_cut_begin, false, NULL, NULL));
}
