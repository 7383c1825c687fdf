/* Old segments go: retention, a raised start offset, files renamed .deleted. */
#include <stdlib.h>

#include "proto/base/log.h"
#include "proto/base/mutant.h"
#include "replication/log/compact.h"
#include "replication/log/impl.h"

enum { CLEAN_SEGMENTS_MAX = 16 }; /* per pass: the lane is not held up for long */

static const char *const clean_suffixes[] = {".log", ".index", ".timeindex", ".txnindex",
                                             ".snapshot"};
#define CLEAN_SUFFIX_COUNT (sizeof(clean_suffixes) / sizeof(clean_suffixes[0]))

/* ---- renamed files go for good ---- */

struct doom_job {
    struct log_job j;
    char *dir;
    int64_t base_offset;
    uint32_t token;
};

static void doom_release(struct log_work *work)
{
    struct doom_job *d = (struct doom_job *)work;
    free(d->dir);
    free(d);
}

static int doom_run(struct kb_job *job, struct kb_fs *fs)
{
    struct doom_job *d = (struct doom_job *)LOG_JOB_OF(job);
    int r = 0;
    if (d->token != 0)
        return log_compact_discard(fs, d->dir, d->base_offset, d->token);
    for (size_t i = 0; i < CLEAN_SUFFIX_COUNT && (r == 0 || r == -KB_ENOENT); i++) {
        char *plain = log_segment_path(d->dir, d->base_offset, clean_suffixes[i]);
        char *path = kb_asprintf("%s.deleted", plain);
        r = kb_fs_unlink(fs, path);
        free(path);
        free(plain);
    }
    return r;
}

static void doom_finish(struct log *log, struct log_job *j, int result)
{
    log_removed(log, result); /* recovery removes what stays */
}

static void doom_due(void *arg)
{
    struct log *log = arg;
    uint64_t now_ms = kb_env_now_ms(log->env);
    struct log_doomed *d = NULL;
    while ((d = STAILQ_FIRST(&log->doomed)) != NULL && d->due_ms <= now_ms) {
        STAILQ_REMOVE_HEAD(&log->doomed, link);
        struct doom_job *job = kb_new(struct doom_job);
        job->dir = kb_strdup(log->dir);
        job->base_offset = d->base_offset;
        job->token = d->token;
        free(d);
        /* In lane order: the same name may be renamed to .deleted again later. */
        log_job_lane(log, &job->j, doom_run, doom_finish, doom_release);
    }
    if (d != NULL)
        kb_timer_arm(log->doom_timer, d->due_ms - now_ms);
}

void log_doom(struct log *log, int64_t base_offset, uint32_t token)
{
    struct log_doomed *d = kb_new(struct log_doomed);
    int64_t delay = log->config.file_delete_delay_ms;
    d->base_offset = base_offset;
    d->token = token;
    d->due_ms = kb_env_now_ms(log->env) + (delay > 0 ? (uint64_t)delay : 0);
    STAILQ_INSERT_TAIL(&log->doomed, d, link);
    if (log->doom_timer == NULL)
        log->doom_timer = kb_timer_new(log->env, doom_due, log);
    if (!kb_timer_armed(log->doom_timer))
        kb_timer_arm(log->doom_timer, delay > 0 ? (uint64_t)delay : 0);
}

/* ---- renaming the oldest segments ---- */

struct clean_job {
    struct log_job j;
    char *dir;
    size_t count;
    int64_t bases[CLEAN_SEGMENTS_MAX];
    struct kb_file *files[CLEAN_SEGMENTS_MAX]; /* readers may still hold ranges of them */
};

static void clean_release(struct log_work *work)
{
    struct clean_job *c = (struct clean_job *)work;
    for (size_t i = 0; i < c->count; i++)
        (void)kb_file_unref(c->files[i]);
    free(c->dir);
    free(c);
}

/* Oldest first, each durable before the next: a crash never leaves a hole. */
static int clean_run(struct kb_job *job, struct kb_fs *fs)
{
    struct clean_job *c = (struct clean_job *)LOG_JOB_OF(job);
    for (size_t i = 0; i < c->count; i++) {
        for (size_t k = 0; k < CLEAN_SUFFIX_COUNT; k++) {
            char *from = log_segment_path(c->dir, c->bases[i], clean_suffixes[k]);
            char *to = kb_asprintf("%s.deleted", from);
            int r = kb_fs_rename(fs, from, to);
            free(from);
            free(to);
            if (r < 0 && r != -KB_ENOENT)
                return r;
        }
        int r = kb_fs_sync_dir(fs, c->dir);
        if (r < 0)
            return r;
    }
    return 0;
}

static void clean_finish(struct log *log, struct log_job *j, int result)
{
    struct clean_job *c = (struct clean_job *)j;
    if (result < 0)
        kb_log_debug("log", "event=clean_failed dir=%s error=%s", log->dir, kb_err_name(result));
    for (size_t i = 0; i < c->count && result == 0; i++) {
        char *path = kb_asprintf("%s.deleted", kb_file_path(c->files[i]));
        kb_file_set_path(c->files[i], path);
        free(path);
        log_doom(log, c->bases[i], 0);
    }
    /* What could not be renamed is there again after the next start. */
    log_removed(log, result);
}

/* Take the first `count` segments out. They are out of reach at once. */
static void clean_front(struct log *log, size_t count)
{
    KB_ASSERT(count < log->segment_count && count <= CLEAN_SEGMENTS_MAX);
    struct clean_job *c = kb_new(struct clean_job);
    c->dir = kb_strdup(log->dir);
    c->count = count;
    for (size_t i = 0; i < count; i++) {
        struct log_segment *s = log->segments[i];
        c->bases[i] = s->base_offset;
        c->files[i] = s->file;
        s->file = NULL;
        (void)log_segment_free(s);
    }
    log_segments_splice(log, 0, count);
    log->layout++;
    int64_t base = log->segments[0]->base_offset;
    if (log->start < base)
        log->start = base;
    log_epochs_truncate_start(&log->epochs, base);
    log_job_lane(log, &c->j, clean_run, clean_finish, clean_release);
}

/* A cut or a swap rewrites the list of files; whoever cleans comes again. */
static bool clean_allowed(const struct log *log)
{
    return log_is_open(log) && log->failure == 0 && !log->cutting && !log->replacing &&
           !log->damaged;
}

size_t log_clean_below_start(struct log *log)
{
    if (!clean_allowed(log))
        return 0;
    size_t count = 0;
    while (count + 1 < log->segment_count && count < CLEAN_SEGMENTS_MAX &&
           log->segments[count + 1]->base_offset <= log->start)
        count++;
    if (count != 0)
        clean_front(log, count);
    return count;
}

void log_set_start_offset(struct log *log, int64_t offset)
{
    if (offset > log->end)
        offset = log->end;
    if (offset <= log->start && !KB_MUTANT("delete-lowers-start"))
        return;
    log->start = offset;
    (void)log_clean_below_start(log);
}

/* ---- retention ---- */

static bool is_expired(const struct log *log, const struct log_segment *s, int64_t wall_ms)
{
    int64_t newest = s->max_timestamp >= 0 ? s->max_timestamp : s->made_wall_ms;
    return log->config.retention_ms >= 0 && wall_ms > newest &&
           wall_ms - newest > log->config.retention_ms;
}

/* What is written, or a little less: what waits for the disk may never come to be, and makes
 * nothing old superfluous. */
static uint64_t written_bytes(const struct log *log)
{
    const struct log_segment *last = log_active(log);
    uint64_t size = log_size_bytes(log);
    uint64_t position = 0;
    if (log->written == log->end)
        return size;
    if (log->index_valid && log->written > last->base_offset)
        position = log_index_lookup(&log->index, (uint32_t)(log->written - last->base_offset));
    return size - last->size_bytes + (position < last->size_bytes ? position : last->size_bytes);
}

int log_clean_by_retention(struct log *log, int64_t wall_ms, int64_t bound)
{
    if (!clean_allowed(log))
        return 0;
    if (log->producers != NULL)
        (void)log_producers_expire(log->producers, kb_env_now_ms(log->env));
    uint64_t size = written_bytes(log);
    size_t count = 0;
    for (; count + 1 < log->segment_count && count < CLEAN_SEGMENTS_MAX; count++) {
        const struct log_segment *s = log->segments[count];
        int64_t next = log->segments[count + 1]->base_offset;
        bool below_start = next <= log->start;
        bool too_many = log->config.cleanup_delete && log->config.retention_bytes >= 0 &&
                        size - s->size_bytes >= (uint64_t)log->config.retention_bytes;
        bool too_old = log->config.cleanup_delete && is_expired(log, s, wall_ms);
        if ((next > bound && !KB_MUTANT("retention-past-hw")) ||
            !(below_start || too_many || too_old))
            break;
        size -= s->size_bytes;
    }
    const struct log_segment *last = log_active(log);
    if (count + 1 == log->segment_count && last->size_bytes != 0 && log->end <= bound &&
        log->config.cleanup_delete && is_expired(log, last, wall_ms) && !log->rolling)
        log_roll_start(log, NULL, NULL); /* its records go with a later pass */
    if (count != 0)
        clean_front(log, count);
    return (int)count;
}
