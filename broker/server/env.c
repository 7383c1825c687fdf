#include "broker/server/env.h"

#include <errno.h>
#include <event2/event.h>
#include <malloc.h>
#include <openssl/rand.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "broker/server/internal.h"
#include "broker/server/log_sink.h"
#include "proto/base/assert.h"
#include "proto/base/err.h"
#include "proto/base/log.h"
#include "proto/base/mem.h"

#define POOL_KEEP_BYTES ((size_t)4 * 1024 * 1024)
#define STEPS_PER_ROUND 8 /* deliveries at the end of a round, before new events are looked at */
#define ROUND_FOREVER UINT64_MAX
/* Clients' connections are served for so long before timers, disks and other brokers are looked at
 * again: with thousands of them a round would take longer than a heartbeat may. */
#define SLICE_US ((uint64_t)10000)

static struct srv_env *env_of(struct kb_env *ke)
{
    return (struct srv_env *)ke;
}

/* ---- time, chance ---- */

static uint64_t now_us(struct kb_env *ke)
{
    (void)ke;
    return srv_now_us();
}

static int64_t wall_ms(struct kb_env *ke)
{
    struct timespec ts;
    (void)ke;
    (void)clock_gettime(CLOCK_REALTIME, &ts);
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static void random_bytes(struct kb_env *ke, void *ret, size_t size)
{
    uint8_t *p = ret;
    (void)ke;
    while (size > 0) {
        int step = size < 65536 ? (int)size : 65536;
        int r = RAND_bytes(p, step);
        KB_ASSERT(r == 1);
        p += step;
        size -= (size_t)step;
    }
}

static struct kb_timer *timer_new(struct kb_env *ke, kb_timer_fn *fn, void *arg)
{
    return srv_timer_new(&env_of(ke)->timers, ke, fn, arg);
}

/* ---- files ---- */

static struct kb_file *file_new(struct kb_env *ke, const char *path)
{
    return &srv_file_new(&env_of(ke)->files, ke, path)->base;
}

static void file_release(struct kb_file *kf)
{
    struct srv_env *e = env_of(kf->env);
    srv_workers_close_fd(&e->readers, srv_file_free((struct srv_file *)kf));
}

static void file_set_path(struct kb_file *kf, const char *path)
{
    struct srv_env *e = env_of(kf->env);
    srv_workers_close_fd(&e->readers, srv_file_set_path((struct srv_file *)kf, path));
}

int64_t srv_env_read_now(struct srv_env *e, struct srv_file *f, uint64_t position, void *ret,
                         size_t size)
{
    struct srv_open *o = srv_file_try_pin(f);
    int64_t result = 0;
    if (o == NULL)
        return -KB_EAGAIN; /* opening may wait for the disk: a reader does it */
    if (e->options.never_read_now)
        result = -KB_EAGAIN;
    while (result >= 0 && (size_t)result < size) {
        struct iovec iov = {(uint8_t *)ret + result, size - (size_t)result};
        ssize_t n = preadv2(o->fd, &iov, 1, (off_t)(position + (uint64_t)result), RWF_NOWAIT);
        if (n == 0)
            break;
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            /* A file system without non-waiting reads is read by a reader thread, too. */
            bool wait = errno == EAGAIN || errno == EOPNOTSUPP || errno == ENOSYS;
            result = wait ? -KB_EAGAIN : kb_err_from_errno(errno);
            break;
        }
        result += n;
    }
    srv_workers_close_fd(&e->readers, srv_file_unpin(&e->files, o));
    return result;
}

static int64_t read_now(struct kb_env *ke, struct kb_file *file, uint64_t position, void *ret,
                        size_t size)
{
    return srv_env_read_now(env_of(ke), (struct srv_file *)file, position, ret, size);
}

void srv_env_read(struct srv_env *e, struct kb_read *r)
{
    r->env_ = &e->base;
    e->outstanding++;
    (void)kb_file_ref(r->file);
    srv_workers_read(&e->readers, r);
}

static void read_file(struct kb_env *ke, struct kb_read *r)
{
    srv_env_read(env_of(ke), r);
}

void srv_worker_read_done(void *env, void *ptr, int64_t result)
{
    struct srv_env *e = env;
    struct kb_read *r = ptr;
    struct kb_file *file = r->file;
    e->outstanding--;
    r->done(r, result);
    (void)kb_file_unref(file);
}

/* ---- lanes and jobs ---- */

static void lane_write(struct kb_env *ke, enum kb_lane lane, struct kb_write *w)
{
    struct srv_env *e = env_of(ke);
    (void)kb_file_ref(w->file);
    e->outstanding++;
    srv_lane_stage(&e->lanes[lane], w, false);
}

static void lane_job(struct kb_env *ke, enum kb_lane lane, struct kb_job *job)
{
    struct srv_env *e = env_of(ke);
    e->outstanding++;
    srv_lane_stage(&e->lanes[lane], job, true);
}

static void env_job(struct kb_env *ke, struct kb_job *job)
{
    struct srv_env *e = env_of(ke);
    e->outstanding++;
    srv_workers_job(&e->jobs, job);
}

static uint64_t lane_stall_ms(struct kb_env *ke, enum kb_lane lane)
{
    return srv_lane_stall_ms(&env_of(ke)->lanes[lane]);
}

static void write_written(void *env, void *ptr, int64_t result)
{
    struct kb_write *w = ptr;
    (void)env;
    kb_chain_release(&w->chain);
    if (w->on_written != NULL)
        w->on_written(w, (int)result);
}

static void write_finished(void *env, void *ptr, int64_t result)
{
    struct srv_env *e = env;
    struct kb_write *w = ptr;
    struct kb_file *file = w->file;
    e->outstanding--;
    if (result < 0 && w->on_written == NULL)
        kb_log_error("server", "event=write_failed file=%s error=%s", kb_file_path(file),
                     kb_err_name((int)result));
    write_written(env, w, result);
    (void)kb_file_unref(file);
}

static void write_durable(void *env, void *ptr, int64_t result)
{
    struct srv_env *e = env;
    struct kb_write *w = ptr;
    struct kb_file *file = w->file;
    e->outstanding--;
    w->on_durable(w, (int)result);
    (void)kb_file_unref(file);
}

static void job_done(void *env, void *ptr, int64_t result)
{
    struct srv_env *e = env;
    struct kb_job *job = ptr;
    e->outstanding--;
    job->done(job, (int)result);
}

void srv_worker_job_done(void *env, void *job, int64_t result)
{
    job_done(env, job, result);
}

const struct srv_lane_callbacks srv_lane_callbacks = {
    .written = write_written,
    .finished = write_finished,
    .durable = write_durable,
    .job_done = job_done,
};

/* ---- the end ---- */

static void env_exit(struct kb_env *ke, int status, const char *reason)
{
    struct srv_env *e = env_of(ke);
    if (e->options.exit_fn != NULL) {
        e->options.exit_fn(e->options.exit_arg, status, reason);
        return;
    }
    srv_log_flush();
    _exit(status);
}

static const struct kb_env_ops ops = {
    .now_us = now_us,
    .wall_ms = wall_ms,
    .random = random_bytes,
    .timer_new = timer_new,
    .timer_arm = srv_timer_arm,
    .timer_cancel = srv_timer_cancel,
    .timer_armed = srv_timer_armed,
    .timer_free = srv_timer_free,
    .listen = srv_env_listen,
    .listener_port = srv_listener_port,
    .listener_close = srv_listener_close,
    .connect = srv_env_connect,
    .conn_set_handler = srv_conn_set_handler,
    .conn_send = srv_conn_send,
    .conn_queued_bytes = srv_conn_queued_bytes,
    .conn_congested = srv_conn_congested,
    .conn_pause = srv_conn_pause,
    .conn_resume = srv_conn_resume,
    .conn_close = srv_conn_close,
    .file_release = file_release,
    .file_new = file_new,
    .file_set_path = file_set_path,
    .lane_write = lane_write,
    .lane_job = lane_job,
    .job = env_job,
    .lane_stall_ms = lane_stall_ms,
    .read_now = read_now,
    .read = read_file,
    .exit = env_exit,
};

/* ---- set up and tear down ---- */

/* Shares of the descriptor limit: half for files, the rest for clients but for a reserve that
 * peers, listeners and the process itself need. */
static void fill_options(struct srv_env_options *o, const struct srv_env_options *given)
{
    struct rlimit limit = {.rlim_cur = 1024};
    if (given != NULL)
        *o = *given;
    (void)getrlimit(RLIMIT_NOFILE, &limit);
    size_t fds = limit.rlim_cur < 1048576 ? (size_t)limit.rlim_cur : 1048576;
    size_t reserve = fds >= 1024 ? 128 : fds / 8;
    if (o->pool_keep_bytes == 0)
        o->pool_keep_bytes = POOL_KEEP_BYTES;
    if (o->open_files_max == 0)
        o->open_files_max = fds / 2 < 16384 ? fds / 2 : 16384;
    if (o->conns_max == 0)
        o->conns_max = fds - (fds / 2 < 16384 ? fds / 2 : 16384) - reserve;
    if (o->reader_threads == 0)
        o->reader_threads = 2;
    if (o->job_threads == 0)
        o->job_threads = 2;
}

static struct event_base *loop_new(void)
{
    struct event_config *config = event_config_new();
    struct event_base *loop = NULL;
    if (config == NULL)
        return NULL;
    /* One thread uses it, and it keeps no time. */
    (void)event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK);
    (void)event_config_set_flag(config, EVENT_BASE_FLAG_IGNORE_ENV);
    (void)event_config_set_flag(config, EVENT_BASE_FLAG_NO_CACHE_TIME);
    loop = event_base_new_with_config(config);
    event_config_free(config);
    if (loop != NULL && event_base_priority_init(loop, SRV_PRIORITIES) < 0) {
        event_base_free(loop);
        loop = NULL;
    }
    return loop;
}

static int start_threads(struct srv_env *e)
{
    int r = srv_lane_init(&e->lanes[KB_LANE_RAFT], "kv-raft", &e->files, &e->mailbox);
    int r2 = srv_lane_init(&e->lanes[KB_LANE_DATA], "kv-data", &e->files, &e->mailbox);
    int r3 = srv_workers_init(&e->jobs, "kv-job", e->options.job_threads, &e->files, &e->mailbox);
    int r4 = srv_workers_init(&e->readers, "kv-read", e->options.reader_threads, &e->files,
                              &e->mailbox);
    return r < 0 ? r : r2 < 0 ? r2 : r3 < 0 ? r3 : r4;
}

int srv_env_new(const struct srv_env_options *options, struct srv_env **ret)
{
    (void)signal(SIGPIPE, SIG_IGN);
    struct srv_env *e = kb_new(struct srv_env);
    e->base.ops = &ops;
    fill_options(&e->options, options);
    TAILQ_INIT(&e->conns);
    TAILQ_INIT(&e->blocked);
    TAILQ_INIT(&e->owing);
    for (int i = 0; i < SRV_PRIORITIES; i++)
        TAILQ_INIT(&e->ready[i]);
    TAILQ_INIT(&e->closing);
    LIST_INIT(&e->listeners);
    e->loop = loop_new();
    if (e->loop == NULL) {
        (void)kb_free(e);
        return -KB_ELIMIT;
    }
    int r = srv_timers_init(&e->timers, e->loop);
    int r2 = srv_mailbox_init(&e->mailbox, e->loop, e);
    srv_files_init(&e->files, e->options.open_files_max);
    int r3 = start_threads(e);
    e->resolver = srv_resolver_new(&e->mailbox);
    e->pool = kb_pool_new(e->options.pool_keep_bytes);
    e->scratch = kb_alloc(SRV_SCRATCH_BYTES);
    e->stall_timer = timer_new(&e->base, srv_conns_shed, e);
    e->trim_timer = timer_new(&e->base, srv_memory_trim, e);
    srv_memory_trim(e);
    if (r < 0 || r2 < 0 || r3 < 0) {
        (void)srv_env_free(e);
        return r < 0 ? r : r2 < 0 ? r2 : r3;
    }
    *ret = e;
    return 0;
}

/* A result nobody will hear of: give back what the request held. */
static void forget_post(const struct srv_post *post)
{
    if (post->fn == srv_worker_read_done) {
        struct kb_read *r = post->ptr;
        struct kb_file *file = r->file;
        if (srv_conn_owns_read(r))
            r->done(r, post->result);
        (void)kb_file_unref(file);
    } else if (post->fn == write_written) {
        kb_chain_release(&((struct kb_write *)post->ptr)->chain);
    } else if (post->fn == write_finished || post->fn == write_durable) {
        struct kb_write *w = post->ptr;
        kb_chain_release(&w->chain);
        (void)kb_file_unref(w->file);
    }
}

void srv_env_halt(struct srv_env *e)
{
    struct srv_conn *c = NULL;
    if (e->halted)
        return;
    e->halted = true;
    for (int i = 0; i < KB_LANE_COUNT_; i++)
        srv_lane_stop(&e->lanes[i]);
    srv_workers_stop(&e->jobs);
    srv_workers_stop(&e->readers);
    TAILQ_FOREACH(c, &e->conns, all)
    {
        srv_conn_forget_output(c);
    }
    srv_mailbox_drain(&e->mailbox, forget_post);
}

struct srv_env *srv_env_free(struct srv_env *e)
{
    if (e == NULL)
        return NULL;
    srv_env_halt(e);
    while (!LIST_EMPTY(&e->listeners))
        srv_listener_close((struct kb_listener *)LIST_FIRST(&e->listeners));
    srv_conns_free_all(e);
    e->resolver = srv_resolver_free(e->resolver);
    srv_mailbox_release(&e->mailbox);
    for (int i = 0; i < KB_LANE_COUNT_; i++)
        srv_lane_release(&e->lanes[i]);
    srv_workers_release(&e->jobs);
    srv_workers_release(&e->readers);
    srv_files_release(&e->files);
    e->stall_timer = kb_timer_free(e->stall_timer);
    e->trim_timer = kb_timer_free(e->trim_timer);
    srv_timers_release(&e->timers);
    e->pool = kb_pool_free(e->pool);
    e->scratch = kb_free(e->scratch);
    if (e->loop != NULL)
        event_base_free(e->loop);
    return kb_free(e);
}

struct kb_env *srv_env_base(struct srv_env *e)
{
    return &e->base;
}

struct event_base *srv_env_loop(struct srv_env *e)
{
    return e->loop;
}

struct resolving {
    srv_env_resolved_fn *fn;
    void *arg;
};

static void on_resolved(void *arg, int result, const struct srv_addresses *addresses)
{
    struct resolving *r = arg;
    (void)addresses;
    r->fn(r->arg, result);
    (void)kb_free(r);
}

void srv_env_resolve(struct srv_env *e, const char *host, srv_env_resolved_fn *fn, void *arg)
{
    struct resolving *r = kb_new(struct resolving);
    *r = (struct resolving){fn, arg};
    (void)srv_resolve(e->resolver, host, on_resolved, r);
}

/* ---- rounds ---- */

static void submit(struct srv_env *e)
{
    for (int i = 0; i < KB_LANE_COUNT_; i++)
        srv_lane_submit(&e->lanes[i]);
}

bool srv_env_slice_over(struct srv_env *e)
{
    uint64_t now = srv_now_us();
    if (e->slice_us == 0)
        e->slice_us = now;
    return now - e->slice_us >= SLICE_US;
}

/* Deliver what the callbacks of this round left to do. True when there may be more. */
static bool finish_round(struct srv_env *e)
{
    bool moved = true;
    bool soon = srv_timers_run_soon(&e->timers);
    e->stats.rounds++;
    submit(e); /* the disk starts before the sending does */
    e->slice_us = 0;
    for (int i = 0; i < STEPS_PER_ROUND && moved && !srv_env_slice_over(e); i++)
        moved = srv_conns_step(e);
    e->slice_us = 0; /* the events that follow have one of their own */
    submit(e);
    return moved || soon || !TAILQ_EMPTY(&e->timers.soon);
}

static void round_nothing(void *arg)
{
    (void)arg;
}

void srv_env_round(struct srv_env *e, uint64_t wait_ms)
{
    bool more = finish_round(e);
    int flags = EVLOOP_ONCE;
    struct kb_timer *limit = NULL;
    if (more || wait_ms == 0 || e->stopping)
        flags |= EVLOOP_NONBLOCK;
    else if (wait_ms != ROUND_FOREVER) {
        limit = timer_new(&e->base, round_nothing, NULL);
        kb_timer_arm(limit, wait_ms);
    }
    (void)event_base_loop(e->loop, flags);
    (void)kb_timer_free(limit);
    (void)finish_round(e);
}

void srv_env_run(struct srv_env *e)
{
    while (!e->stopping) {
        /* A callback in it may stop the loop as well: then nothing may be waited for. */
        bool more = finish_round(e) || e->stopping;
        (void)event_base_loop(e->loop, EVLOOP_ONCE | (more ? EVLOOP_NONBLOCK : 0));
    }
    (void)finish_round(e);
    e->stopping = false;
}

void srv_env_stop(struct srv_env *e)
{
    e->stopping = true;
}

int srv_env_quiesce(struct srv_env *e, uint64_t limit_ms)
{
    uint64_t end_us = srv_now_us() + limit_ms * 1000;
    while (e->outstanding > 0) {
        uint64_t now = srv_now_us();
        if (now >= end_us)
            return -KB_ETIMEDOUT;
        srv_env_round(e, (end_us - now) / 1000 + 1);
    }
    return 0;
}

void srv_env_stats(struct srv_env *e, struct srv_env_stats *ret)
{
    const struct srv_conn *c = NULL;
    *ret = e->stats;
    ret->connections = e->n_conns;
    ret->open_files = srv_files_open_count(&e->files);
    ret->reading_stopped = 0;
    TAILQ_FOREACH(c, &e->blocked, blocked_link)
    {
        ret->reading_stopped++;
    }
    for (int i = 0; i < KB_LANE_COUNT_; i++)
        srv_lane_figures(&e->lanes[i], &ret->lane_writes[i], &ret->lane_syncs[i]);
}
