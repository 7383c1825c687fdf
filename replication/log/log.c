#include "replication/log/log.h"

#include <stdlib.h>

#include "proto/base/log.h"
#include "replication/log/impl.h"

#define LOG_PRODUCERS_MAX 100000

void log_config_init(struct log_config *c)
{
    *c = (struct log_config){
        .segment_bytes = 1u << 30,
        .segment_ms = 7LL * 24 * 3600 * 1000,
        .index_interval_bytes = 4096,
        .segment_index_bytes = 10u << 20,
        .retention_ms = 7LL * 24 * 3600 * 1000,
        .retention_bytes = -1,
        .cleanup_delete = true,
        .flush_messages = 1,
        .flush_ms = LOG_FLUSH_NEVER,
        .file_delete_delay_ms = 60000,
        .producer_expiration_ms = 86400000,
    };
}

const char *log_state_name(enum log_state state)
{
    static const char *const names[] = {"whole", "cut", "damaged", "missing"};
    return (unsigned)state < sizeof(names) / sizeof(names[0]) ? names[state] : "?";
}

/* ---- segments ---- */

struct log_segment *log_segment_new(struct log *log, const struct log_segment_facts *facts)
{
    struct log_segment *s = kb_new(struct log_segment);
    char *path = log_segment_path(log->dir, facts->base_offset, ".log");
    *s = (struct log_segment){
        .base_offset = facts->base_offset,
        .size_bytes = facts->size_bytes,
        .file = kb_file_new(log->env, path),
        .max_timestamp = facts->max_timestamp,
        .max_timestamp_offset = facts->max_timestamp_offset,
        .first_timestamp = facts->first_timestamp,
        .made_wall_ms = kb_env_wall_ms(log->env),
    };
    free(path);
    return s;
}

struct log_segment *log_segment_free(struct log_segment *s)
{
    if (s != NULL) {
        (void)kb_file_unref(s->file);
        free(s);
    }
    return NULL;
}

void log_segments_push(struct log *log, struct log_segment *s)
{
    /* NOLINTNEXTLINE(bugprone-sizeof-expression): an array of pointers */
    kb_array_reserve(log->segments, log->segment_count, log->segment_capacity);
    log->segments[log->segment_count++] = s;
}

void log_segments_splice(struct log *log, size_t first, size_t count)
{
    KB_ASSERT(first + count <= log->segment_count);
    for (size_t i = first; i + count < log->segment_count; i++)
        log->segments[i] = log->segments[i + count];
    log->segment_count -= count;
}

size_t log_segment_find(const struct log *log, int64_t offset)
{
    size_t low = 0; /* below low: base <= offset */
    size_t high = log->segment_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (log->segments[middle]->base_offset <= offset)
            low = middle + 1;
        else
            high = middle;
    }
    return low == 0 ? 0 : low - 1;
}

void log_fail(struct log *log, int error)
{
    if (log->failure != 0)
        return;
    log->failure = error;
    kb_log_debug("log", "event=failed dir=%s end=%lld durable=%lld error=%s", log->dir,
                 (long long)log->end, (long long)log->durable, kb_err_name(error));
    if (log->handler->on_failed != NULL)
        log->handler->on_failed(log, log->user, error);
}

void log_removed(struct log *log, int result)
{
    if (result == -KB_EIO)
        log_fail(log, result);
}

/* ---- work that the world holds ---- */

void log_work_add(struct log *log, struct log_work *work)
{
    work->log = log;
    LIST_INSERT_HEAD(&log->works, work, link);
}

void log_work_remove(struct log_work *work)
{
    struct log *log = work->log;
    LIST_REMOVE(work, link);
    if (log->close_timer != NULL && LIST_EMPTY(&log->works))
        kb_timer_arm(log->close_timer, 0); /* the caller is not through with the log */
}

static void job_done(struct kb_job *job, int result)
{
    struct log_job *j = LOG_JOB_OF(job);
    struct log *log = j->work.log;
    log_work_remove(&j->work);
    /* finish may end in a callback that frees the log: the log is not touched after it. */
    j->finish(log, j, result);
    j->work.release(&j->work);
}

static void job_prepare(struct log *log, struct log_job *j,
                        int (*run)(struct kb_job *job, struct kb_fs *fs),
                        void (*finish)(struct log *, struct log_job *, int),
                        void (*release)(struct log_work *))
{
    j->job.run = run;
    j->job.done = job_done;
    j->finish = finish;
    j->work.release = release;
    log_work_add(log, &j->work);
}

void log_job_lane(struct log *log, struct log_job *j,
                  int (*run)(struct kb_job *job, struct kb_fs *fs),
                  void (*finish)(struct log *, struct log_job *, int),
                  void (*release)(struct log_work *))
{
    job_prepare(log, j, run, finish, release);
    kb_lane_job(log->env, log->lane, &j->job);
}

void log_job_background(struct log *log, struct log_job *j,
                        int (*run)(struct kb_job *job, struct kb_fs *fs),
                        void (*finish)(struct log *, struct log_job *, int),
                        void (*release)(struct log_work *))
{
    job_prepare(log, j, run, finish, release);
    kb_env_job(log->env, &j->job);
}

/* ---- steps ---- */

struct log_step *log_step_new(void (*start)(struct log *, struct log_step *), bool quiet,
                              log_done_fn *fn, void *user)
{
    struct log_step *s = kb_new(struct log_step);
    s->start = start;
    s->quiet = quiet;
    s->fn = fn;
    s->user = user;
    return s;
}

static void step_free(struct log_step *s)
{
    free(s->bases);
    free(s);
}

void log_step_queue(struct log *log, struct log_step *step)
{
    STAILQ_INSERT_TAIL(&log->steps, step, link);
    log_steps_run(log);
}

void log_steps_run(struct log *log)
{
    struct log_step *s = STAILQ_FIRST(&log->steps);
    if (log->step != NULL || s == NULL || (s->quiet && log->writes_pending != 0))
        return;
    STAILQ_REMOVE_HEAD(&log->steps, link);
    log->step = s;
    s->start(log, s);
}

void log_step_done(struct log *log, int result)
{
    struct log_step *s = log->step;
    log->step = NULL;
    log_steps_run(log);
    log_done_fn *fn = s->fn;
    void *user = s->user;
    step_free(s);
    if (fn != NULL)
        fn(log, user, result); /* may free the log */
}

/* ---- opening ---- */

struct open_job {
    struct log_job j;
    struct log_recovery rc;
    bool create;
    int64_t first_offset;
    struct kb_buf producers_below;
    struct kb_uuid topic_id;
};

static void open_release(struct log_work *work)
{
    struct open_job *o = (struct open_job *)work;
    log_recovery_release(&o->rc);
    (void)log_producers_free(o->rc.producers);
    kb_buf_release(&o->producers_below);
    free(o);
}

static int open_run(struct kb_job *job, struct kb_fs *fs)
{
    struct open_job *o = (struct open_job *)LOG_JOB_OF(job);
    if (!o->create)
        return log_recovery_run(fs, &o->rc);
    int r = log_create_run(fs, o->rc.dir, o->first_offset, &o->topic_id, LOG_CHUNK_MIN,
                           kb_view_of(o->producers_below.data, o->producers_below.size));
    if (r < 0)
        return r;
    kb_array_reserve(o->rc.segments, o->rc.segment_count, o->rc.segment_capacity);
    o->rc.segments[o->rc.segment_count++] = (struct log_segment_facts){
        .base_offset = o->first_offset, .max_timestamp = -1, .first_timestamp = -1};
    log_index_init(&o->rc.index, o->rc.index_interval_bytes);
    o->rc.cut_limit = -1;
    o->rc.gaps_below = kb_uuid_is_zero(&o->topic_id) ? INT64_MAX : 0;
    o->rc.found = (struct log_found){.start_offset = o->first_offset,
                                     .end_offset = o->first_offset,
                                     .damaged_from = -1,
                                     .last_epoch = -1,
                                     .topic_id = o->topic_id};
    return 0;
}

static void open_adopt(struct log *log, struct open_job *o)
{
    struct log_recovery *rc = &o->rc;
    const struct log_found *f = &rc->found;
    for (size_t i = 0; i < rc->segment_count; i++) {
        struct log_segment *s = log_segment_new(log, &rc->segments[i]);
        s->sound_from = s->size_bytes;
        log_segments_push(log, s);
    }
    log->index = rc->index;
    log_index_init(&rc->index, 0);
    log->index_valid = true;
    log->epochs = rc->epochs;
    rc->epochs = (struct log_epochs){0};
    log->producers = rc->producers;
    rc->producers = NULL;
    log->cut_limit = rc->cut_limit;
    log->gaps_below = rc->gaps_below;
    log->topic_id = f->topic_id;
    log_proof_begin(log, rc->epoch_saved);
    log->cut_noted = rc->cut_noted;
    log->cut_ceiling = rc->durable_mark;
    log->start = f->start_offset;
    log->end = log->written = log->durable = f->end_offset;
    log->damaged = f->state == LOG_DAMAGED;
    log_space_reset(log, o->create ? LOG_CHUNK_MIN : log_active(log)->size_bytes);
    log->phase = LOG_OPEN;
}

static void open_finish(struct log *log, struct log_job *j, int result)
{
    struct open_job *o = (struct open_job *)j;
    if (result == 0 && o->rc.found.state != LOG_MISSING)
        open_adopt(log, o);
    else
        log->phase = LOG_CLOSED;
    log->open_fn(log, log->open_user, result, result == 0 ? &o->rc.found : NULL);
}

static struct log *open_common(struct kb_env *env, const struct log_options *options, bool create,
                               log_open_fn *fn, void *user)
{
    struct log *log = kb_new(struct log);
    *log = (struct log){
        .env = env,
        .dir = kb_strdup(options->dir),
        .lane = options->lane,
        .config = options->config,
        .handler = options->handler,
        .user = options->user,
        .read_pool = options->read_pool,
        .read_budget = options->read_budget,
        .cache = options->cache,
        .phase = LOG_OPENING,
        .open_fn = fn,
        .open_user = user,
        .generation = 1,
        .cut_limit = -1,
        .gaps_below = INT64_MAX,
        .epochs_unsaved = INT64_MAX,
    };
    LIST_INIT(&log->works);
    STAILQ_INIT(&log->steps);
    STAILQ_INIT(&log->doomed);
    log_hints_clear(log);
    struct open_job *o = kb_new(struct open_job);
    o->create = create;
    o->first_offset = options->first_offset;
    o->topic_id = options->topic_id;
    o->rc.dir = log->dir;
    o->rc.clean = options->clean;
    o->rc.remember_cut = options->remember_cut;
    o->rc.durable_mark = options->durable_mark;
    o->rc.start_offset = options->start_offset;
    o->rc.index_interval_bytes = options->config.index_interval_bytes;
    o->rc.producers = options->producers ? log_producers_make(log) : NULL;
    if (create && o->rc.producers != NULL)
        log_producers_begin(log, o->rc.producers, options->first_offset, options->producers_below,
                            &o->producers_below);
    log_job_background(log, &o->j, open_run, open_finish, open_release);
    return log;
}

struct log *log_open(struct kb_env *env, const struct log_options *options, log_open_fn *fn,
                     void *user)
{
    return open_common(env, options, false, fn, user);
}

struct log *log_create(struct kb_env *env, const struct log_options *options, log_open_fn *fn,
                       void *user)
{
    KB_ASSERT(options->first_offset >= 0);
    return open_common(env, options, true, fn, user);
}

struct log *log_free(struct log *log)
{
    if (log == NULL)
        return NULL;
    struct log_work *work = NULL;
    while ((work = LIST_FIRST(&log->works)) != NULL) {
        log_work_remove(work);
        work->release(work);
    }
    struct log_step *step = NULL;
    while ((step = STAILQ_FIRST(&log->steps)) != NULL) {
        STAILQ_REMOVE_HEAD(&log->steps, link);
        step_free(step);
    }
    if (log->step != NULL)
        step_free(log->step);
    struct log_doomed *d = NULL;
    while ((d = STAILQ_FIRST(&log->doomed)) != NULL) {
        STAILQ_REMOVE_HEAD(&log->doomed, link);
        free(d);
    }
    log_cache_drop(log);
    for (size_t i = 0; i < log->segment_count; i++)
        (void)log_segment_free(log->segments[i]);
    free(log->segments);
    log_index_release(&log->index);
    log_epochs_release(&log->epochs);
    (void)log_producers_free(log->producers);
    kb_buf_release(&log->producers_below);
    (void)kb_timer_free(log->close_timer);
    (void)kb_timer_free(log->space_timer);
    (void)kb_timer_free(log->cut_timer);
    (void)kb_timer_free(log->flush_timer);
    (void)kb_timer_free(log->doom_timer);
    (void)kb_timer_free(log->epochs_timer);
    free(log->dir);
    free(log);
    return NULL;
}

/* ---- facts ---- */

int64_t log_start_offset(const struct log *log)
{
    return log->start;
}

int64_t log_end_offset(const struct log *log)
{
    return log->end;
}

int64_t log_written_offset(const struct log *log)
{
    return log->written;
}

int64_t log_durable_offset(const struct log *log)
{
    return log->durable;
}

uint32_t log_generation(const struct log *log)
{
    return log->generation;
}

uint64_t log_size_bytes(const struct log *log)
{
    uint64_t size = 0;
    for (size_t i = 0; i < log->segment_count; i++)
        size += log->segments[i]->size_bytes;
    return size;
}

const char *log_dir_path(const struct log *log)
{
    return log->dir;
}

int log_failure(const struct log *log)
{
    return log->failure;
}

bool log_is_full(const struct log *log)
{
    return log->space == LOG_SPACE_FULL;
}

/* Below a mark the epoch file proves each batch's epoch: none is above what that does not know. */
int64_t log_durable_mark(const struct log *log)
{
    return log->durable < log->epochs_unsaved ? log->durable : log->epochs_unsaved;
}

int64_t log_gaps_below(const struct log *log)
{
    return log->gaps_below;
}

void log_epochs_take(const struct log *log, struct log_epochs *ret)
{
    log_epochs_copy(ret, &log->epochs);
}

struct log_producers *log_producers(struct log *log)
{
    return log->producers;
}

const struct log_config *log_get_config(const struct log *log)
{
    return &log->config;
}

void log_producers_begin(const struct log *log, struct log_producers *p, int64_t offset,
                         struct kb_view below, struct kb_buf *ret)
{
    ret->size = 0;
    log_producers_reset(p, offset);
    if (below.size == 0)
        return;
    if (log_producers_load(p, below.data, below.size, offset, kb_env_now_ms(log->env)) == 0)
        kb_buf_append(ret, below.data, below.size);
    else
        kb_log_warn("log", "event=producers_refused dir=%s size=%zu", log->dir, below.size);
}

struct log_producers *log_producers_make(const struct log *log)
{
    struct log_producers_config config = {
        .expiration_ms = log->config.producer_expiration_ms > 0
                             ? (uint64_t)log->config.producer_expiration_ms
                             : 0,
        .count_max = LOG_PRODUCERS_MAX,
    };
    return log_producers_new(&config);
}

void log_set_config(struct log *log, const struct log_config *config)
{
    log->config = *config;
    if (log->producers != NULL) {
        struct log_producers_config pc = {
            .expiration_ms =
                config->producer_expiration_ms > 0 ? (uint64_t)config->producer_expiration_ms : 0,
            .count_max = LOG_PRODUCERS_MAX,
        };
        log_producers_set_config(log->producers, &pc);
    }
    if (log_is_open(log) && log_is_strong(log) && log->durable < log->end)
        log_flush(log);
}

size_t log_segment_count(const struct log *log)
{
    return log->segment_count;
}

struct log_segment_info log_segment_info(const struct log *log, size_t index)
{
    KB_ASSERT(index < log->segment_count);
    const struct log_segment *s = log->segments[index];
    bool active = index + 1 == log->segment_count;
    return (struct log_segment_info){
        .base_offset = s->base_offset,
        .next_offset = active ? log->end : log->segments[index + 1]->base_offset,
        .size_bytes = s->size_bytes,
        .first_timestamp = s->first_timestamp,
        .max_timestamp = s->max_timestamp,
        .active = active,
    };
}

/* ---- epochs ---- */

void log_epoch_assign(struct log *log, int32_t epoch)
{
    if (log_epochs_assign(&log->epochs, epoch, log->end))
        log_proof_epoch(log, log->end);
}

struct log_epoch_end log_epoch_end_offset(const struct log *log, int32_t epoch)
{
    return log_epochs_end_offset(&log->epochs, epoch, log->start, log->end);
}

int32_t log_last_epoch(const struct log *log)
{
    return log_epochs_last(&log->epochs);
}

int64_t log_last_epoch_start(const struct log *log)
{
    size_t n = log->epochs.count;
    return n != 0 ? log->epochs.entries[n - 1].start_offset : -1;
}

int32_t log_epoch_at(const struct log *log, int64_t offset)
{
    return log_epochs_at(&log->epochs, offset);
}
