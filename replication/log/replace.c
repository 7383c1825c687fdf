/* Compacted segments take the place of the old ones. Three short lane jobs (compact.h); between
 * them the list of segments and the names of files change on the loop. A cut may be asked for
 * meanwhile: it is over the list at once, its own job comes after ours. */
#include <stdlib.h>

#include "replication/log/compact.h"
#include "replication/log/impl.h"

struct replace {
    int64_t *bases;
    size_t count;
    uint32_t token;
    struct log_segment_facts facts; /* of the new segment */
    struct kb_uuid topic_id;
    int64_t gaps_below;     /* to be said first; -1: is said already */
    bool no_space;          /* ... and there was no space to say it */
    struct kb_file **files; /* of the old ones, in step; NULL before it began */
};

struct replace_job {
    struct log_job j;
    char *dir;
    struct replace what;
    int (*act)(struct kb_fs *fs, const char *dir, struct replace *what);
};

static void replace_release(struct log_work *work)
{
    struct replace_job *j = (struct replace_job *)work;
    for (size_t i = 0; j->what.files != NULL && i < j->what.count; i++)
        (void)kb_file_unref(j->what.files[i]);
    free(j->what.files);
    free(j->what.bases);
    free(j->dir);
    free(j);
}

static int replace_run(struct kb_job *job, struct kb_fs *fs)
{
    struct replace_job *j = (struct replace_job *)LOG_JOB_OF(job);
    return j->act(fs, j->dir, &j->what);
}

/* The next job, which takes `what` over. */
static void replace_go_on(struct log *log, struct replace *what,
                          int (*act)(struct kb_fs *, const char *, struct replace *),
                          void (*finish)(struct log *, struct log_job *, int))
{
    struct replace_job *j = kb_new(struct replace_job);
    j->dir = kb_strdup(log->dir);
    j->act = act;
    j->what = *what;
    *what = (struct replace){0};
    log_job_lane(log, &j->j, replace_run, finish, replace_release);
}

static void replace_end(struct log *log, int result)
{
    log->replacing = false;
    if (result < 0)
        log_fail(log, result);
    (void)log_clean_below_start(log); /* what had to wait */
    log_step_done(log, result);
}

/* ---- the steps on disk ---- */

/* The new segment's facts, from what the compaction has left. Its time index ends with the largest
 * timestamp; without it the old ones' stands, which is none too small. */
static int read_facts(struct kb_fs *fs, const char *dir, struct log_segment_facts *facts)
{
    struct kb_fs_stat st;
    struct kb_buf times = {0};
    char *path = log_segment_path(dir, facts->base_offset, ".log.cleaned");
    int r = kb_fs_stat(fs, path, &st);
    free(path);
    if (r < 0 || st.type != KB_FS_FILE)
        return r < 0 ? r : -KB_ENOENT;
    facts->size_bytes = st.size;
    path = log_segment_path(dir, facts->base_offset, ".timeindex.cleaned");
    r = kb_fs_read_all(fs, path, LOG_INDEX_FILE_BYTES_MAX, &times);
    free(path);
    if (r == 0 && times.size >= LOG_INDEX_TIME_SIZE) {
        const uint8_t *last = times.data + times.size - LOG_INDEX_TIME_SIZE;
        facts->max_timestamp = (int64_t)kb_get_be64(last);
        facts->max_timestamp_offset = facts->base_offset + kb_get_be32(last + 8);
    }
    kb_buf_release(&times);
    return r == -KB_ECRASHED ? r : 0;
}

static int act_commit(struct kb_fs *fs, const char *dir, struct replace *w)
{
    int r = read_facts(fs, dir, &w->facts);
    if (r == 0 && w->gaps_below >= 0)
        r = log_metadata_save(fs, dir, &w->topic_id, w->gaps_below);
    w->no_space = r == -KB_ENOSPC; /* and nothing has changed yet (row 31) */
    return r < 0 ? r : log_compact_commit(fs, dir, w->bases, w->count, w->token);
}

static int act_finish(struct kb_fs *fs, const char *dir, struct replace *w)
{
    return log_compact_finish(fs, dir, w->bases, w->count);
}

static int act_install(struct kb_fs *fs, const char *dir, struct replace *w)
{
    return log_compact_install(fs, dir, w->bases[0]);
}

static int act_abandon(struct kb_fs *fs, const char *dir, struct replace *w)
{
    return log_compact_abandon(fs, dir, w->bases[0]);
}

/* ---- the steps on the loop ---- */

static void abandon_finish(struct log *log, struct log_job *j, int result)
{
    log_removed(log, result); /* what could not be removed goes at the next start */
    if (log->replacing) {
        log->replacing = false;
        (void)log_clean_below_start(log); /* what had to wait */
    }
    log_step_done(log, LOG_REPLACE_STALE);
}

static void install_finish(struct log *log, struct log_job *j, int result)
{
    replace_end(log, result < 0 ? result : LOG_REPLACE_OK);
}

/* How many of the old segments a cut under way has left in the list, and where they begin. */
static size_t still_listed(const struct log *log, const struct replace *w, size_t *ret_at)
{
    size_t at = 0;
    size_t count = 0;
    while (at < log->segment_count && log->segments[at]->file != w->files[0])
        at++;
    while (at + count < log->segment_count && count < w->count &&
           log->segments[at + count]->file == w->files[count])
        count++;
    *ret_at = at;
    return count;
}

static void swap_listed(struct log *log, const struct replace *w)
{
    size_t at = 0;
    size_t count = still_listed(log, w, &at);
    if (count == 0)
        return;
    for (size_t i = 0; i < count; i++)
        (void)log_segment_free(log->segments[at + i]);
    if (count > 1)
        log_segments_splice(log, at + 1, count - 1);
    log->segments[at] = log_segment_new(log, &w->facts);
    log->layout++;
    log_hints_clear(log);
}

static void finish_finish(struct log *log, struct log_job *job, int result)
{
    struct replace_job *j = (struct replace_job *)job;
    if (result < 0) {
        replace_end(log, result);
        return;
    }
    swap_listed(log, &j->what);
    for (size_t i = 0; i < j->what.count; i++)
        log_doom(log, j->what.bases[i], j->what.token);
    replace_go_on(log, &j->what, act_install, install_finish);
}

static void commit_finish(struct log *log, struct log_job *job, int result)
{
    struct replace_job *j = (struct replace_job *)job;
    if (result < 0 && j->what.no_space) {
        replace_go_on(log, &j->what, act_abandon, abandon_finish);
        return;
    }
    if (result < 0) {
        replace_end(log, result);
        return;
    }
    for (size_t i = 0; i < j->what.count; i++) {
        char *path = log_compact_old_path(log->dir, j->what.bases[i], j->what.token);
        kb_file_set_path(j->what.files[i], path);
        free(path);
    }
    if (j->what.gaps_below > log->gaps_below)
        log->gaps_below = j->what.gaps_below;
    log->layout++; /* who reads by an old name asks again */
    replace_go_on(log, &j->what, act_finish, finish_finish);
}

/* Are the old segments there as they were listed, and none of them the active one? */
static bool is_fresh(const struct log *log, const struct log_step *step, size_t *ret_at)
{
    size_t at = 0;
    if (log->failure != 0 || log->cutting || log->damaged ||
        step->offset != (int64_t)log->generation)
        return false;
    while (at < log->segment_count && log->segments[at]->base_offset != step->bases[0])
        at++;
    if (at + step->count >= log->segment_count)
        return false;
    for (size_t i = 0; i < step->count; i++)
        if (log->segments[at + i]->base_offset != step->bases[i])
            return false;
    *ret_at = at;
    return true;
}

/* The old segments' facts over all, until the new one's are known. */
static void take_old(struct log *log, size_t at, struct replace *w)
{
    struct log_segment_facts *f = &w->facts;
    w->files = kb_new_array(struct kb_file *, w->count);
    *f = (struct log_segment_facts){
        .base_offset = w->bases[0],
        .max_timestamp = -1,
        .first_timestamp = log->segments[at]->first_timestamp,
    };
    for (size_t i = 0; i < w->count; i++) {
        const struct log_segment *s = log->segments[at + i];
        w->files[i] = kb_file_ref(s->file);
        if (s->max_timestamp > f->max_timestamp) {
            f->max_timestamp = s->max_timestamp;
            f->max_timestamp_offset = s->max_timestamp_offset;
        }
    }
}

static void replace_begin(struct log *log, struct log_step *step)
{
    struct replace w = {.count = step->count, .gaps_below = -1};
    size_t at = 0;
    w.bases = kb_memdup(step->bases, step->count * sizeof(*step->bases));
    if (!is_fresh(log, step, &at)) {
        replace_go_on(log, &w, act_abandon, abandon_finish);
        return;
    }
    log->replacing = true;
    w.token = ++log->layout; /* the value is unique for this life: layout only grows */
    take_old(log, at, &w);
    int64_t end = log->segments[at + w.count]->base_offset;
    w.topic_id = log->topic_id;
    w.gaps_below = end > log->gaps_below ? end : -1;
    replace_go_on(log, &w, act_commit, commit_finish);
}

void log_replace_segments(struct log *log, const int64_t *bases, size_t count, log_done_fn *fn,
                          void *user)
{
    KB_ASSERT(log_is_open(log) && count != 0);
    struct log_step *s = log_step_new(replace_begin, false, fn, user);
    s->bases = kb_memdup(bases, count * sizeof(*bases));
    s->count = count;
    s->offset = (int64_t)log->generation;
    log_step_queue(log, s);
}
