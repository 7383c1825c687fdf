/* Compaction's result takes the place of the segments it was made from: commit → the old files'
 * handles move to .deleted → finish → the new segment enters the list. */
#include <stdlib.h>

#include "proto/base/log.h"
#include "replication/log/compact.h"
#include "replication/log/impl.h"

struct replace_job {
    struct log_job j;
    char *dir;
    int64_t *bases;
    struct kb_file **files; /* of the old segments; NULL before they are found */
    size_t count;
    uint64_t interval_bytes;
    /* out */
    struct log_segment_facts facts;
};

static void replace_release(struct log_work *work)
{
    struct replace_job *p = (struct replace_job *)work;
    for (size_t i = 0; p->files != NULL && i < p->count; i++)
        (void)kb_file_unref(p->files[i]);
    free(p->files);
    free(p->bases);
    free(p->dir);
    free(p);
}

static struct replace_job *replace_job_new(struct log *log, const int64_t *bases, size_t count)
{
    struct replace_job *p = kb_new(struct replace_job);
    p->dir = kb_strdup(log->dir);
    p->bases = kb_memdup(bases, count * sizeof(bases[0]));
    p->count = count;
    p->interval_bytes = log->config.index_interval_bytes;
    return p;
}

/* Where the group begins in the list; segment_count when it is not there as it was. */
static size_t group_find(const struct log *log, const int64_t *bases, size_t count)
{
    size_t first = log_segment_find(log, bases[0]);
    if (first + count >= log->segment_count) /* the active one is not closed */
        return log->segment_count;
    for (size_t i = 0; i < count; i++) {
        if (log->segments[first + i]->base_offset != bases[i])
            return log->segment_count;
    }
    return first;
}

/* ---- nothing to swap any more ---- */

static int abandon_run(struct kb_job *job, struct kb_fs *fs)
{
    struct replace_job *p = (struct replace_job *)LOG_JOB_OF(job);
    (void)log_compact_abandon(fs, p->dir, p->bases[0]); /* recovery removes leftovers */
    return LOG_REPLACE_STALE;
}

static void abandon_finish(struct log *log, struct log_job *j, int result)
{
    log_step_done(log, result);
}

/* ---- finish ---- */

/* The new segment's size and timestamps. */
static int replace_look(struct kb_fs *fs, struct replace_job *p)
{
    struct kb_fd *fd = NULL;
    struct log_rebuild b;
    char *path = log_segment_path(p->dir, p->bases[0], ".log");
    log_rebuild_init(&b, p->bases[0], p->interval_bytes);
    int r = kb_fs_open(fs, path, KB_FS_READ, &fd);
    free(path);
    int64_t size = r == 0 ? kb_fs_size(fs, fd) : r;
    r = size < 0 ? (int)size : log_index_load(fs, p->dir, p->bases[0], (uint64_t)size, &b.index);
    b.scan.position = size < 0 ? 0 : (uint64_t)size;
    if (size >= 0 && r < 0) { /* no index: one pass over the file */
        b.scan.position = 0;
        r = log_rebuild_run(fs, fd, &b);
    }
    p->facts = (struct log_segment_facts){
        .base_offset = p->bases[0],
        .size_bytes = b.scan.position,
        .max_timestamp = b.index.max_timestamp,
        .max_timestamp_offset = p->bases[0] + b.index.max_timestamp_relative,
        .first_timestamp = -1,
    };
    (void)kb_fs_close(fs, fd);
    log_rebuild_release(&b);
    return r;
}

static int finish_run(struct kb_job *job, struct kb_fs *fs)
{
    struct replace_job *p = (struct replace_job *)LOG_JOB_OF(job);
    int r = log_compact_finish(fs, p->dir, p->bases[0]);
    return r < 0 ? r : replace_look(fs, p);
}

static bool is_replaced(const struct replace_job *p, const struct log_segment *s)
{
    for (size_t i = 0; i < p->count; i++) {
        if (p->files[i] == s->file)
            return true;
    }
    return false;
}

static void finish_finish(struct log *log, struct log_job *j, int result)
{
    struct replace_job *p = (struct replace_job *)j;
    if (result < 0) {
        log_fail(log, result);
        log_step_done(log, result);
        return;
    }
    /* A cut that was asked for meanwhile has dropped some or all of the old ones from the list; the
     * new segment stands for those that are left, and is cut next. */
    size_t first = 0;
    while (first < log->segment_count && !is_replaced(p, log->segments[first]))
        first++;
    size_t count = 0;
    while (first + count < log->segment_count && is_replaced(p, log->segments[first + count]))
        count++;
    if (count != 0) {
        for (size_t i = 0; i < count; i++)
            (void)log_segment_free(log->segments[first + i]);
        log_segments_splice(log, first, count - 1);
        log->segments[first] = log_segment_new(log, &p->facts);
    }
    log->layout++;
    log_hints_clear(log);
    for (size_t i = 0; i < p->count; i++)
        log_doom(log, p->bases[i]);
    log_step_done(log, LOG_REPLACE_OK);
}

/* ---- commit ---- */

static int commit_run(struct kb_job *job, struct kb_fs *fs)
{
    struct replace_job *p = (struct replace_job *)LOG_JOB_OF(job);
    return log_compact_commit(fs, p->dir, p->bases, p->count);
}

static void commit_finish(struct log *log, struct log_job *j, int result)
{
    struct replace_job *p = (struct replace_job *)j;
    if (result < 0) {
        /* Some names may have changed and others not: only recovery can tell. */
        log_fail(log, result);
        log_step_done(log, result);
        return;
    }
    for (size_t i = 0; i < p->count; i++) {
        char *path = kb_asprintf("%s.deleted", kb_file_path(p->files[i]));
        kb_file_set_path(p->files[i], path);
        free(path);
    }
    log->layout++;
    struct replace_job *next = replace_job_new(log, p->bases, p->count);
    next->files = p->files;
    p->files = NULL;
    log_job_lane(log, &next->j, finish_run, finish_finish, replace_release);
}

static void replace_begin(struct log *log, struct log_step *step)
{
    struct replace_job *p = replace_job_new(log, step->bases, step->count);
    size_t first = log->failure != 0 || log->cutting || log->damaged
                       ? log->segment_count
                       : group_find(log, p->bases, p->count);
    if (first == log->segment_count) {
        log_job_lane(log, &p->j, abandon_run, abandon_finish, replace_release);
        return;
    }
    p->files = kb_new_array(struct kb_file *, p->count);
    for (size_t i = 0; i < p->count; i++)
        p->files[i] = kb_file_ref(log->segments[first + i]->file);
    log_job_lane(log, &p->j, commit_run, commit_finish, replace_release);
}

void log_replace_segments(struct log *log, const int64_t *bases, size_t count, log_done_fn *fn,
                          void *user)
{
    KB_ASSERT(log_is_open(log) && count > 0);
    struct log_step *s = log_step_new(replace_begin, false, fn, user);
    s->bases = kb_memdup(bases, count * sizeof(bases[0]));
    s->count = count;
    log_step_queue(log, s);
}
