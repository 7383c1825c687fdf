#include "tests/sim/sim_env.h"

#include <string.h>

#include "tests/sim/sim_private.h"

#define SIM_TIMER_LATE_US_MAX 300 /* timers of a real loop are never early */

/* ---- clocks and chance ---- */

static uint64_t env_now_us(struct kb_env *env)
{
    struct sim_env *e = sim_env_from(env);
    return e->host->boot_us + e->world->now_us;
}

static int64_t env_wall_ms(struct kb_env *env)
{
    struct sim_env *e = sim_env_from(env);
    return SIM_WALL_START_MS + e->host->skew_ms + (int64_t)(e->world->now_us / 1000);
}

static void env_random(struct kb_env *env, void *ret, size_t size)
{
    struct sim_env *e = sim_env_from(env);
    uint8_t *at = ret;
    while (size > 0) {
        uint64_t v = kb_prng_next(&e->prng);
        size_t n = size < sizeof(v) ? size : sizeof(v);
        memcpy(at, &v, n);
        at += n;
        size -= n;
    }
}

/* ---- timers ---- */

struct sim_timer {
    struct kb_timer base;
    LIST_ENTRY(sim_timer) link;
    struct sim_event event;
    kb_timer_fn *fn;
    void *arg;
};

static void timer_fire(void *arg)
{
    struct sim_timer *t = arg;
    t->fn(t->arg); /* may free the timer */
}

static struct kb_timer *timer_new(struct kb_env *env, kb_timer_fn *fn, void *arg)
{
    struct sim_env *e = sim_env_from(env);
    struct sim_timer *t = kb_new(struct sim_timer);
    t->base.env = env;
    t->fn = fn;
    t->arg = arg;
    sim_event_init(&t->event, e, SIM_EV_TIMER, timer_fire, t);
    LIST_INSERT_HEAD(&e->timers, t, link);
    return &t->base;
}

static void timer_arm(struct kb_timer *timer, uint64_t delay_ms)
{
    struct sim_timer *t = (struct sim_timer *)timer;
    struct sim_env *e = sim_env_from(timer->env);
    uint64_t late = delay_ms == 0 ? 0 : kb_prng_below(&e->prng, SIM_TIMER_LATE_US_MAX);
    if (delay_ms > UINT64_C(1) << 40) /* far beyond any run */
        delay_ms = UINT64_C(1) << 40;
    sim_event_in(e->world, &t->event, delay_ms * 1000 + late);
}

static void timer_cancel(struct kb_timer *timer)
{
    struct sim_timer *t = (struct sim_timer *)timer;
    sim_event_cancel(sim_env_from(timer->env)->world, &t->event);
}

static bool timer_armed(const struct kb_timer *timer)
{
    return sim_event_waiting(&((const struct sim_timer *)timer)->event);
}

static void timer_free(struct kb_timer *timer)
{
    struct sim_timer *t = (struct sim_timer *)timer;
    timer_cancel(timer);
    LIST_REMOVE(t, link);
    free(t);
}

/* ---- the table ---- */

static void env_exit(struct kb_env *env, int status, const char *reason)
{
    struct sim_env *e = sim_env_from(env);
    if (sim_env_gone(e))
        return;
    e->exit_status = status;
    e->exit_reason = kb_strdup(reason);
    sim_world_note(e->world, "%s exits: %d %s", e->host->name, status, reason);
    sim_env_end(e, false, true);
}

static const struct kb_env_ops env_ops = {
    .now_us = env_now_us,
    .wall_ms = env_wall_ms,
    .random = env_random,
    .timer_new = timer_new,
    .timer_arm = timer_arm,
    .timer_cancel = timer_cancel,
    .timer_armed = timer_armed,
    .timer_free = timer_free,
    .listen = sim_listen,
    .listener_port = sim_listener_port,
    .listener_close = sim_listener_close,
    .connect = sim_connect,
    .conn_set_handler = sim_conn_set_handler,
    .conn_send = sim_conn_send,
    .conn_queued_bytes = sim_conn_queued_bytes,
    .conn_congested = sim_conn_congested,
    .conn_pause = sim_conn_pause,
    .conn_resume = sim_conn_resume,
    .conn_close = sim_conn_close,
    .file_release = sim_file_release,
    .file_new = sim_file_new,
    .file_set_path = sim_file_set_path,
    .lane_write = sim_lane_write,
    .lane_job = sim_lane_job,
    .job = sim_env_job,
    .lane_stall_ms = sim_lane_stall_ms,
    .read_now = sim_read_now,
    .read = sim_read,
    .exit = env_exit,
};

/* ---- life of a process ---- */

static void down_event(void *arg)
{
    struct sim_env *e = arg;
    if (e->world->down_fn != NULL)
        e->world->down_fn(e->world->down_arg, e);
}

struct sim_env *sim_host_start(struct sim_host *h)
{
    KB_ASSERT(h->env == NULL);
    struct sim_env *e = kb_new(struct sim_env);
    e->base.ops = &env_ops;
    e->host = h;
    e->world = h->world;
    e->life = ++h->lives;
    e->exit_status = -1;
    kb_prng_init(&e->prng, kb_prng_next(&h->prng));
    TAILQ_INIT(&e->frozen_events);
    LIST_INIT(&e->timers);
    LIST_INIT(&e->listeners);
    LIST_INIT(&e->conns);
    LIST_INIT(&e->files);
    LIST_INIT(&e->fds);
    sim_event_init(&e->down_event, NULL, SIM_EV_FAULT, down_event, e);
    sim_fs_init(&e->fs, e, true);
    sim_lane_init(e);
    h->env = e;
    if (!h->up) {
        h->up = true;
        sim_net_host_up(h);
    }
    return e;
}

void sim_env_end(struct sim_env *e, bool power, bool notify)
{
    if (e->down)
        return;
    sim_env_thaw(e);
    sim_trace(e->world, SIM_EV_FAULT, e, power ? 2 : 1);
    if (power)
        e->host->up = false;
    sim_net_env_down(e, power);
    e->down = true;
    sim_lane_drop(e);
    struct sim_timer *t;
    LIST_FOREACH(t, &e->timers, link)
    sim_event_cancel(e->world, &t->event);
    if (power)
        sim_disk_power_cut(e->host->disk);
    if (notify)
        sim_event_in(e->world, &e->down_event, 0);
}

void sim_env_finish_crash(struct sim_env *e)
{
    bool power = e->doomed_power;
    e->doomed = false;
    sim_world_note(e->world, "%s crashes at a file call, %s", e->host->name,
                   power ? "power" : "killed");
    sim_env_end(e, power, true);
}

void sim_env_kill(struct sim_env *e)
{
    sim_env_end(e, false, true);
}

void sim_env_power_cut(struct sim_env *e)
{
    sim_env_end(e, true, true);
}

void sim_env_crash_after(struct sim_env *e, uint64_t file_calls, bool power)
{
    e->crash_calls = file_calls;
    e->crash_power = power;
}

void sim_env_freeze(struct sim_env *e)
{
    if (e->down || e->frozen)
        return;
    sim_trace(e->world, SIM_EV_FAULT, e, 3);
    e->frozen = true;
}

void sim_env_thaw(struct sim_env *e)
{
    if (!e->frozen)
        return;
    sim_trace(e->world, SIM_EV_FAULT, e, 4);
    e->frozen = false;
    struct sim_event *ev;
    while ((ev = TAILQ_FIRST(&e->frozen_events)) != NULL)
        sim_event_at(e->world, ev, e->world->now_us); /* leaves the list; keeps the order */
}

bool sim_env_is_frozen(const struct sim_env *e)
{
    return e->frozen;
}

size_t sim_env_leaks(const struct sim_env *e)
{
    size_t n = 0;
    struct sim_timer *t;
    struct sim_file *f;
    LIST_FOREACH(t, &e->timers, link)
    n++;
    LIST_FOREACH(f, &e->files, link)
    n++;
    return n + (LIST_EMPTY(&e->listeners) ? 0 : 1);
}

struct sim_env *sim_env_free(struct sim_env *e)
{
    if (e == NULL)
        return NULL;
    sim_env_end(e, false, false);
    sim_event_cancel(e->world, &e->down_event);
    sim_net_env_free(e);
    sim_fs_drop(e);
    while (!LIST_EMPTY(&e->timers))
        timer_free(&LIST_FIRST(&e->timers)->base);
    while (!LIST_EMPTY(&e->files))
        sim_file_release(&LIST_FIRST(&e->files)->base);
    e->host->env = NULL;
    if (e->world->last_env == e)
        e->world->last_env = NULL;
    (void)kb_free(e->exit_reason);
    free(e);
    return NULL;
}

/* ---- looking ---- */

struct kb_env *sim_env_kb(struct sim_env *e)
{
    return &e->base;
}

struct sim_env *sim_env_of(struct kb_env *env)
{
    return sim_env_from(env);
}

struct sim_host *sim_env_host(struct sim_env *e)
{
    return e->host;
}

struct sim_world *sim_env_world(struct sim_env *e)
{
    return e->world;
}

uint32_t sim_env_life(const struct sim_env *e)
{
    return e->life;
}

bool sim_env_is_down(const struct sim_env *e)
{
    return e->down;
}

int sim_env_exit_status(const struct sim_env *e)
{
    return e->exit_status;
}

const char *sim_env_exit_reason(const struct sim_env *e)
{
    return e->exit_reason;
}

struct kb_fs *sim_env_fs(struct sim_env *e)
{
    return &e->fs.base;
}

const char *sim_host_name(const struct sim_host *h)
{
    return h->name;
}

struct sim_disk *sim_host_disk(struct sim_host *h)
{
    return h->disk;
}

struct sim_env *sim_host_env(struct sim_host *h)
{
    return h->env;
}

void sim_host_set_clock_skew(struct sim_host *h, int64_t skew_ms)
{
    h->skew_ms = skew_ms;
}
