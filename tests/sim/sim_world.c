#include "tests/sim/sim_world.h"

#include <stdarg.h>
#include <string.h>

#include "tests/sim/sim_private.h"

static const char *const kind_names[SIM_EV_KIND_MAX_] = {
    [SIM_EV_CALL] = "call",   [SIM_EV_TIMER] = "timer",       [SIM_EV_ARRIVE] = "arrive",
    [SIM_EV_FRAME] = "frame", [SIM_EV_ACCEPT] = "accept",     [SIM_EV_OPEN] = "open",
    [SIM_EV_CLOSE] = "close", [SIM_EV_DRAIN] = "drain",       [SIM_EV_CONNECT] = "connect",
    [SIM_EV_PUMP] = "pump",   [SIM_EV_WRITTEN] = "written",   [SIM_EV_DURABLE] = "durable",
    [SIM_EV_JOB] = "job",     [SIM_EV_JOB_DONE] = "job_done", [SIM_EV_READ] = "read",
    [SIM_EV_FAULT] = "fault",
};

/* ---- the queue: a binary heap by (time, sequence) ---- */

static bool before(const struct sim_event *a, const struct sim_event *b)
{
    return a->at_us != b->at_us ? a->at_us < b->at_us : a->sequence < b->sequence;
}

static void heap_place(struct sim_world *w, size_t index, struct sim_event *ev)
{
    w->heap[index] = ev;
    ev->heap_slot = index + 1;
}

static void heap_up(struct sim_world *w, size_t index, struct sim_event *ev)
{
    while (index > 0 && before(ev, w->heap[(index - 1) / 2])) {
        heap_place(w, index, w->heap[(index - 1) / 2]);
        index = (index - 1) / 2;
    }
    heap_place(w, index, ev);
}

static void heap_down(struct sim_world *w, size_t index, struct sim_event *ev)
{
    for (;;) {
        size_t child = 2 * index + 1;
        if (child >= w->heap_count)
            break;
        if (child + 1 < w->heap_count && before(w->heap[child + 1], w->heap[child]))
            child++;
        if (!before(w->heap[child], ev))
            break;
        heap_place(w, index, w->heap[child]);
        index = child;
    }
    heap_place(w, index, ev);
}

static void heap_remove(struct sim_world *w, struct sim_event *ev)
{
    size_t index = ev->heap_slot - 1;
    struct sim_event *last = w->heap[--w->heap_count];
    ev->heap_slot = 0;
    if (last == ev)
        return;
    if (index > 0 && before(last, w->heap[(index - 1) / 2]))
        heap_up(w, index, last);
    else
        heap_down(w, index, last);
}

void sim_event_init(struct sim_event *ev, struct sim_env *env, enum sim_kind kind,
                    void (*fn)(void *arg), void *arg)
{
    *ev = (struct sim_event){.env = env, .kind = kind, .fn = fn, .arg = arg};
}

void sim_event_cancel(struct sim_world *w, struct sim_event *ev)
{
    if (ev->heap_slot != 0)
        heap_remove(w, ev);
    if (ev->frozen) {
        TAILQ_REMOVE(&ev->env->frozen_events, ev, frozen_link);
        ev->frozen = false;
    }
}

void sim_event_at(struct sim_world *w, struct sim_event *ev, uint64_t at_us)
{
    sim_event_cancel(w, ev);
    if (ev->env != NULL && ev->env->down)
        return;
    ev->at_us = at_us < w->now_us ? w->now_us : at_us;
    ev->sequence = ++w->sequence;
    kb_array_reserve(w->heap, w->heap_count, w->heap_capacity);
    heap_up(w, w->heap_count++, ev);
}

void sim_event_in(struct sim_world *w, struct sim_event *ev, uint64_t delay_us)
{
    sim_event_at(w, ev, w->now_us + delay_us);
}

/* ---- life ---- */

struct sim_world *sim_world_new(uint64_t seed)
{
    struct sim_world *w = kb_new(struct sim_world);
    w->seed = seed;
    w->hash = seed ^ UINT64_C(0xcbf29ce484222325);
    kb_prng_init(&w->prng, seed);
    kb_prng_init(&w->net_prng, seed ^ UINT64_C(0x6e6574776f726b));
    w->link_default = (struct sim_link_settings){.delay_us_min = 50, .delay_us_max = 400};
    w->tcp_timeout_us = 15 * 1000000;
    LIST_INIT(&w->calls);
    return w;
}

struct sim_call {
    LIST_ENTRY(sim_call) link;
    struct sim_event event;
    struct sim_world *world;
    sim_call_fn *fn;
    void *arg;
};

static void call_run(void *arg)
{
    struct sim_call *c = arg;
    sim_call_fn *fn = c->fn;
    void *fn_arg = c->arg;
    LIST_REMOVE(c, link);
    free(c);
    fn(fn_arg);
}

void sim_world_after(struct sim_world *w, uint64_t delay_us, sim_call_fn *fn, void *arg)
{
    struct sim_call *c = kb_new(struct sim_call);
    c->world = w;
    c->fn = fn;
    c->arg = arg;
    sim_event_init(&c->event, NULL, SIM_EV_CALL, call_run, c);
    LIST_INSERT_HEAD(&w->calls, c, link);
    sim_event_in(w, &c->event, delay_us);
}

struct sim_world *sim_world_free(struct sim_world *w)
{
    if (w == NULL)
        return NULL;
    w->down_fn = NULL;
    for (size_t i = 0; i < w->host_count; i++)
        (void)sim_env_free(w->hosts[i]->env);
    for (size_t i = 0; i < w->host_count; i++) {
        struct sim_host *h = w->hosts[i];
        (void)sim_disk_free(h->disk);
        (void)kb_free(h->name);
        free(h);
    }
    while (!LIST_EMPTY(&w->calls)) {
        struct sim_call *c = LIST_FIRST(&w->calls);
        sim_event_cancel(w, &c->event);
        LIST_REMOVE(c, link);
        free(c);
    }
    KB_ASSERT(w->heap_count == 0);
    free(w->hosts);
    free(w->links);
    free(w->heap);
    free(w);
    return NULL;
}

uint64_t sim_world_seed(const struct sim_world *w)
{
    return w->seed;
}

int64_t sim_world_wall_ms(const struct sim_world *w)
{
    return SIM_WALL_START_MS + (int64_t)(w->now_us / 1000);
}

uint64_t sim_world_now_us(const struct sim_world *w)
{
    return w->now_us;
}

struct kb_prng *sim_world_prng(struct sim_world *w)
{
    return &w->prng;
}

/* ---- hosts ---- */

struct sim_host *sim_world_add_host(struct sim_world *w, const char *name)
{
    for (size_t i = 0; i < w->host_count; i++)
        KB_ASSERT(strcmp(w->hosts[i]->name, name) != 0);
    struct sim_host *h = kb_new(struct sim_host);
    uint64_t salt = (w->host_count + 1) * UINT64_C(0x9e3779b97f4a7c15);
    h->world = w;
    h->name = kb_strdup(name);
    h->index = w->host_count;
    h->next_port = 40000;
    kb_prng_init(&h->prng, w->seed ^ salt);
    h->boot_us = 1000000 + kb_prng_below(&h->prng, UINT64_C(1) << 32);
    h->disk = sim_disk_new(w, w->seed ^ (salt >> 7));
    h->up = true;
    kb_array_reserve(w->hosts, w->host_count, w->host_capacity);
    w->hosts[w->host_count++] = h;
    sim_net_host_added(w);
    return h;
}

struct sim_env *sim_world_add_env(struct sim_world *w, const char *name)
{
    return sim_host_start(sim_world_add_host(w, name));
}

size_t sim_world_host_count(const struct sim_world *w)
{
    return w->host_count;
}

struct sim_host *sim_world_host(const struct sim_world *w, size_t index)
{
    return index < w->host_count ? w->hosts[index] : NULL;
}

/* ---- running ---- */

#define SIM_STANDSTILL_MAX 100000 /* events while the clock stands still */

bool sim_world_step(struct sim_world *w)
{
    if (w->heap_count == 0)
        return false;
    struct sim_event *ev = w->heap[0];
    heap_remove(w, ev);
    KB_ASSERT(ev->at_us >= w->now_us);
    w->standstill = ev->at_us == w->now_us ? w->standstill + 1 : 0;
    KB_ASSERT(w->standstill < SIM_STANDSTILL_MAX); /* somebody goes in circles */
    w->now_us = ev->at_us;
    struct sim_env *e = ev->env;
    if (e != NULL && e->down)
        return true;
    if (e != NULL && e->frozen) {
        TAILQ_INSERT_TAIL(&e->frozen_events, ev, frozen_link);
        ev->frozen = true;
        return true;
    }
    w->events++;
    w->last_env = e;
    sim_trace(w, ev->kind, e, ev->at_us);
    ev->fn(ev->arg);
    if (w->step_fn != NULL)
        w->step_fn(w->step_arg);
    return true;
}

static bool step_before(struct sim_world *w, uint64_t end_us)
{
    return w->heap_count > 0 && w->heap[0]->at_us <= end_us && sim_world_step(w);
}

void sim_world_run_for(struct sim_world *w, uint64_t duration_ms)
{
    uint64_t end_us = w->now_us + duration_ms * 1000;
    while (step_before(w, end_us))
        ;
    w->now_us = end_us;
}

bool sim_world_run_until(struct sim_world *w, sim_predicate_fn *fn, void *arg, uint64_t limit_ms)
{
    uint64_t end_us = w->now_us + limit_ms * 1000;
    while (!fn(arg)) {
        if (!step_before(w, end_us))
            return false;
    }
    return true;
}

static bool flag_is_set(void *arg)
{
    return **(const bool **)arg;
}

bool sim_world_run_until_flag(struct sim_world *w, const bool *flag, uint64_t limit_ms)
{
    return sim_world_run_until(w, flag_is_set, &flag, limit_ms);
}

bool sim_world_run_idle(struct sim_world *w, uint64_t limit_ms)
{
    uint64_t end_us = w->now_us + limit_ms * 1000;
    while (step_before(w, end_us))
        ;
    return w->heap_count == 0;
}

struct sim_env *sim_world_last_env(const struct sim_world *w)
{
    return w->last_env;
}

void sim_world_on_step(struct sim_world *w, sim_call_fn *fn, void *arg)
{
    w->step_fn = fn;
    w->step_arg = arg;
}

void sim_world_on_down(struct sim_world *w, sim_down_fn *fn, void *arg)
{
    w->down_fn = fn;
    w->down_arg = arg;
}

/* ---- trace ---- */

static void hash_add(struct sim_world *w, uint64_t value)
{
    uint64_t h = (w->hash ^ value) * UINT64_C(0x9e3779b97f4a7c15);
    w->hash = h ^ (h >> 29);
}

void sim_trace(struct sim_world *w, enum sim_kind kind, const struct sim_env *env, uint64_t detail)
{
    uint64_t where = env != NULL ? (env->host->index + 1) << 32 | env->life : 0;
    hash_add(w, (uint64_t)kind << 56 ^ where);
    hash_add(w, detail);
    if (w->trace != NULL && w->trace_events)
        fprintf(w->trace, "%10.3f %s%s%.0u %s %llx\n", (double)w->now_us / 1000.0,
                env != NULL ? env->host->name : "world", env != NULL ? "." : "",
                env != NULL ? env->life : 0, kind_names[kind], (unsigned long long)detail);
}

uint64_t sim_world_trace_hash(const struct sim_world *w)
{
    return w->hash;
}

uint64_t sim_world_event_count(const struct sim_world *w)
{
    return w->events;
}

void sim_world_trace_to(struct sim_world *w, FILE *out, bool events)
{
    w->trace = out;
    w->trace_events = events;
}

void sim_world_note(struct sim_world *w, const char *format, ...)
{
    char line[512];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(line, sizeof(line), format, args);
    va_end(args);
    for (const char *s = line; *s != '\0'; s++)
        hash_add(w, (uint8_t)*s);
    if (w->trace != NULL)
        fprintf(w->trace, "%10.3f note %s\n", (double)w->now_us / 1000.0, line);
}
