/* Base offset and leader epoch are the first bytes of a batch, set by the leader, and no CRC covers
 * them. What proves them: offsets are left out only below gaps_below, which partition.metadata says
 * before the first one is; and the epoch file knows each epoch below the durable mark. This is the
 * side of a living log; scan.c proves what a job reads. */
#include <stdlib.h>

#include "proto/base/log.h"
#include "replication/log/read_parts.h"

enum {
    EPOCHS_SAVE_MIN_MS = 50,   /* a new epoch reaches the file so long after it began: behind a */
    EPOCHS_SAVE_MAX_MS = 1000, /* fail-over of many partitions, one after the other */
    GAPS_AHEAD = 10000,        /* a copy of compacted batches goes on: not a write for each gap */
};

/* ---- gaps ---- */

struct widen_job {
    struct log_job j;
    char *dir;
    struct kb_uuid topic_id;
    int64_t gaps_below;
};

static void widen_release(struct log_work *work)
{
    struct widen_job *w = (struct widen_job *)work;
    free(w->dir);
    free(w);
}

static int widen_run(struct kb_job *job, struct kb_fs *fs)
{
    struct widen_job *w = (struct widen_job *)LOG_JOB_OF(job);
    return log_metadata_save(fs, w->dir, &w->topic_id, w->gaps_below);
}

static void widen_finish(struct log *log, struct log_job *j, int result)
{
    struct widen_job *w = (struct widen_job *)j;
    log->widening = false;
    if (result == 0)
        log->gaps_below = w->gaps_below;
    else if (result == -KB_ENOSPC)
        log_space_full(log);
    else
        log_fail(log, result);
    log_space_offer(log);
    log_step_done(log, result);
}

static void widen_begin(struct log *log, struct log_step *step)
{
    struct widen_job *w = kb_new(struct widen_job);
    w->dir = kb_strdup(log->dir);
    w->topic_id = log->topic_id;
    w->gaps_below = step->offset;
    log_job_lane(log, &w->j, widen_run, widen_finish, widen_release);
}

bool log_proof_gap(struct log *log, int64_t base_offset, int64_t below)
{
    if (base_offset < log->gaps_below)
        return true;
    log->space_wanted = true;
    if (log->space == LOG_SPACE_FULL)
        return false;
    log->widening = true;
    struct log_step *step = log_step_new(widen_begin, false, NULL, NULL);
    step->offset = below + GAPS_AHEAD;
    log_step_queue(log, step);
    return false;
}

/* ---- the epoch file ---- */

struct epochs_job {
    struct log_job j;
    char *dir;
    struct log_epochs epochs;
    uint32_t generation;
    int failure;
};

static void epochs_release(struct log_work *work)
{
    struct epochs_job *e = (struct epochs_job *)work;
    log_epochs_release(&e->epochs);
    free(e->dir);
    free(e);
}

static int epochs_run(struct kb_job *job, struct kb_fs *fs)
{
    struct epochs_job *e = (struct epochs_job *)LOG_JOB_OF(job);
    return e->failure != 0 ? e->failure : log_epochs_save(fs, e->dir, &e->epochs);
}

static void epochs_later(struct log *log);

/* Where the first epoch begins that is newer than `saved`. */
static int64_t unsaved_from(const struct log *log, int32_t saved)
{
    for (size_t i = 0; i < log->epochs.count; i++)
        if (log->epochs.entries[i].epoch > saved)
            return log->epochs.entries[i].start_offset;
    return INT64_MAX;
}

static void epochs_finish(struct log *log, struct log_job *j, int result)
{
    struct epochs_job *e = (struct epochs_job *)j;
    uint32_t generation = log->generation;
    log->epochs_saving = false;
    if (result < 0 && result != -KB_ENOSPC && log->failure == 0)
        log_fail(log, result);
    if (result == 0 && e->generation == generation) {
        log->epochs_unsaved = unsaved_from(log, log_epochs_last(&e->epochs));
        log_cut_limit_check(log);
        /* Whoever persists the mark hears that it has moved. */
        if (log->failure == 0 && log_is_open(log) && log->handler->on_durable != NULL)
            log->handler->on_durable(log, log->user, generation, log->durable);
    }
    if (log->epochs_unsaved != INT64_MAX)
        epochs_later(log);
    log_step_done(log, result);
}

static void epochs_begin(struct log *log, struct log_step *step)
{
    struct epochs_job *e = kb_new(struct epochs_job);
    e->dir = kb_strdup(log->dir);
    e->generation = log->generation;
    e->failure = log->failure != 0 ? log->failure : log->damaged ? -KB_ENOSPC : 0;
    log_epochs_copy(&e->epochs, &log->epochs);
    log_job_lane(log, &e->j, epochs_run, epochs_finish, epochs_release);
}

static void epochs_due(void *arg)
{
    struct log *log = arg;
    if (log->epochs_unsaved == INT64_MAX || log->epochs_saving || log->failure != 0 ||
        !log_is_open(log))
        return;
    log->epochs_saving = true;
    log_step_queue(log, log_step_new(epochs_begin, false, NULL, NULL));
}

static void epochs_later(struct log *log)
{
    if (log->epochs_timer == NULL)
        log->epochs_timer = kb_timer_new(log->env, epochs_due, log);
    if (!kb_timer_armed(log->epochs_timer))
        kb_timer_arm(log->epochs_timer,
                     EPOCHS_SAVE_MIN_MS +
                         kb_env_random_u64(log->env) % (EPOCHS_SAVE_MAX_MS - EPOCHS_SAVE_MIN_MS));
}

void log_proof_epoch(struct log *log, int64_t offset)
{
    if (log->gaps_below == INT64_MAX)
        return; /* nobody relies on it */
    if (offset < log->epochs_unsaved)
        log->epochs_unsaved = offset;
    epochs_later(log);
}

/* Recovery may have found epochs that the file lacks. Those it has stay proved: a mark that fell at
 * each start would let a power cut soon after it make a torn tail of damage. */
void log_proof_begin(struct log *log, int32_t saved)
{
    int64_t unsaved = unsaved_from(log, saved);
    if (unsaved != INT64_MAX)
        log_proof_epoch(log, unsaved);
}

void log_proof_cut(struct log *log)
{
    if (log->epochs_unsaved >= log->end)
        log->epochs_unsaved = INT64_MAX;
}

/* ---- what is read ---- */

struct proof {
    const struct log *log;
    const struct log_segment *segment;
    int64_t expected; /* where the next batch begins; -1: not known */
    int64_t offset;
};

/* Where the segment ends by its neighbour. */
static int64_t segment_end(const struct proof *f)
{
    size_t i = log_segment_find(f->log, f->segment->base_offset);
    return i + 1 < f->log->segment_count ? f->log->segments[i + 1]->base_offset : f->log->end;
}

/* next: the head behind this batch, NULL when it is not at hand. last: it is the segment's last. */
static bool is_proved(const struct proof *f, const struct log_head *h, const struct log_head *next,
                      bool last)
{
    int32_t known = log_epochs_at(&f->log->epochs, h->base_offset);
    bool gapless = h->base_offset >= f->log->gaps_below;
    bool follows = h->base_offset == f->expected;
    if (known >= 0 && known != h->epoch)
        return false;
    if (f->expected >= 0 && (h->base_offset < f->expected || (gapless && !follows)))
        return false;
    if (f->expected < 0 && gapless && h->base_offset > f->offset)
        return false;
    if (last)
        return h->last_offset + 1 == segment_end(f);
    if (next == NULL || follows) /* what contradicts it then is wrong itself */
        return true;
    return gapless ? next->base_offset == h->last_offset + 1 : next->base_offset > h->last_offset;
}

bool log_proof_blocked(const struct log *log, const struct log_segment *segment, int64_t offset,
                       const struct range *g)
{
    struct proof f = {log, segment, -1, offset};
    if (!g->blocked)
        return true;
    if (g->blocked_base > offset && g->blocked_base >= log->gaps_below)
        return false;
    return g->blocked_last < (segment != NULL ? segment_end(&f) : log->end);
}

int log_proof_range(const struct log *log, const struct log_segment *segment, const uint8_t *p,
                    size_t available, int64_t offset, struct range *g)
{
    struct proof f = {log, segment, -1, offset};
    uint64_t end = g->size;
    if (segment != NULL && g->position == 0)
        f.expected = segment->base_offset;
    g->size = 0;
    while (g->size < end) {
        struct log_head h;
        struct log_head next;
        size_t at = (size_t)g->size;
        if (!log_head_parse(p + at, available - at, &h))
            break;
        size_t behind = at + h.size;
        bool more = behind < available && log_head_parse(p + behind, available - behind, &next);
        bool last = segment != NULL && g->position + behind == segment->size_bytes;
        if (!is_proved(&f, &h, more ? &next : NULL, last))
            break;
        if (at == 0)
            g->first_offset = h.base_offset;
        g->size = behind;
        g->next_offset = f.expected = h.last_offset + 1;
    }
    return g->size == 0 && end != 0 ? -KB_ECORRUPT : 0;
}
