/* Space is reserved before an offset is given (rule 9.3). A small log grows in small steps, so many
 * are asked for: they must not part the writes of other logs. */
#include <stdlib.h>

#include "proto/base/log.h"
#include "replication/log/impl.h"

struct space_job {
    struct log_job j;
    char *path;
    char *dir;
    uint64_t position;
    uint64_t size;
    uint32_t layout;
};

static void space_release(struct log_work *work)
{
    struct space_job *s = (struct space_job *)work;
    free(s->path);
    free(s->dir);
    free(s);
}

static int space_run(struct kb_job *job, struct kb_fs *fs)
{
    struct space_job *s = (struct space_job *)LOG_JOB_OF(job);
    struct kb_fd *fd = NULL;
    int r = kb_fs_open(fs, s->path, KB_FS_WRITE, &fd);
    if (r == 0)
        r = kb_fs_allocate(fs, fd, s->position, s->size);
    (void)kb_fs_close(fs, fd);
    if (r == -KB_EUNSUPPORTED) {
        /* No promise, but the best such a file system gives. */
        uint64_t free_bytes = 0;
        r = kb_fs_free_bytes(fs, s->dir, &free_bytes);
        if (r == 0 && free_bytes < s->size)
            r = -KB_ENOSPC;
    }
    return r;
}

static void space_start(struct log *log, uint64_t size);

static void space_retry(void *arg)
{
    struct log *log = arg;
    if (log->space != LOG_SPACE_FULL || !log_is_open(log) || log->failure != 0)
        return;
    /* A roll or cut under way looks for space by itself. */
    if (log->rolling || log->cutting) {
        log->space = LOG_SPACE_IDLE;
        return;
    }
    space_start(log, log->chunk_bytes);
}

void log_space_full(struct log *log)
{
    log->space = LOG_SPACE_FULL;
    log->chunk_bytes = LOG_CHUNK_MIN;
    if (log->space_timer == NULL)
        log->space_timer = kb_timer_new(log->env, space_retry, log);
    kb_timer_arm(log->space_timer, LOG_SPACE_RETRY_MS);
}

void log_space_offer(struct log *log)
{
    if (!log->space_wanted || log->rolling || log->cutting)
        return;
    log->space_wanted = false;
    if (log->handler->on_space != NULL)
        log->handler->on_space(log, log->user);
}

static void space_finish(struct log *log, struct log_job *j, int result)
{
    struct space_job *s = (struct space_job *)j;
    bool stale = s->layout != log->layout;
    bool was_full = log->space == LOG_SPACE_FULL;
    if (log->space == LOG_SPACE_FULL && result == 0)
        kb_log_debug("log", "event=space_back dir=%s", log->dir);
    log->space = LOG_SPACE_IDLE;
    if (result == -KB_ENOSPC && !stale && !was_full && log->chunk_bytes > LOG_CHUNK_MIN) {
        log->chunk_bytes = LOG_CHUNK_MIN; /* less may still be had */
    } else if (result == -KB_ENOSPC && !stale) {
        log_space_full(log);
    } else if (result < 0 && !stale) {
        log_fail(log, result);
        return;
    } else if (!stale) {
        uint64_t end = s->position + s->size;
        if (end > log->allocated_bytes)
            log->allocated_bytes = end;
        if (log->chunk_bytes < LOG_CHUNK_MAX)
            log->chunk_bytes *= 2;
    }
    log_space_offer(log);
}

static void space_start(struct log *log, uint64_t size)
{
    struct space_job *s = kb_new(struct space_job);
    s->path = kb_strdup(kb_file_path(log_active(log)->file));
    s->dir = kb_strdup(log->dir);
    s->position = log->allocated_bytes;
    s->size = size;
    s->layout = log->layout;
    s->j.job.any_order = true; /* it reserves behind all that is written; a cut makes it stale */
    if (log->space != LOG_SPACE_FULL)
        log->space = LOG_SPACE_ALLOCATING;
    log_job_lane(log, &s->j, space_run, space_finish, space_release);
}

/* How far ahead to reserve: small steps for small logs. Not beyond what the segment may hold. */
static uint64_t space_step(const struct log *log, uint64_t needed)
{
    uint64_t size = log->chunk_bytes > needed ? log->chunk_bytes : needed;
    uint64_t room = log->config.segment_bytes > log->allocated_bytes
                        ? log->config.segment_bytes - log->allocated_bytes
                        : 0;
    if (size > room)
        size = room > needed ? room : needed;
    return size;
}

enum log_append_result log_space_take(struct log *log, uint64_t size)
{
    uint64_t used = log_active(log)->size_bytes;
    uint64_t left = log->allocated_bytes > used ? log->allocated_bytes - used : 0;
    if (left < size) {
        log->space_wanted = true;
        if (log->space == LOG_SPACE_FULL)
            return LOG_APPEND_NO_SPACE;
        if (log->space == LOG_SPACE_IDLE)
            space_start(log, space_step(log, size - left));
        return LOG_APPEND_BUSY;
    }
    left -= size;
    if (log->space == LOG_SPACE_IDLE && left < log->chunk_bytes / 4) {
        uint64_t step = space_step(log, 0);
        if (step != 0)
            space_start(log, step);
    }
    return LOG_APPEND_OK;
}

void log_space_reset(struct log *log, uint64_t allocated_bytes)
{
    log->allocated_bytes = allocated_bytes;
    if (log->chunk_bytes < LOG_CHUNK_MIN)
        log->chunk_bytes = LOG_CHUNK_MIN;
    log->layout++;
    if (log->space == LOG_SPACE_ALLOCATING)
        log->space = LOG_SPACE_IDLE; /* what is under way is void */
}
