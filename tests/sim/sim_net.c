#include "tests/sim/sim_net.h"

#include <string.h>

#include "tests/sim/sim_conn.h"

#define SIM_SYN_RETRY_US 1000000 /* doubles with each try */
#define SIM_HEAL_US_MAX 400000   /* the next retransmission after a cut heals */

/* ---- links ---- */

static struct sim_link *link_of(const struct sim_host *from, const struct sim_host *to)
{
    struct sim_world *w = from->world;
    return &w->links[from->index * w->host_count + to->index];
}

void sim_net_host_added(struct sim_world *w)
{
    size_t n = w->host_count;
    struct sim_link *links = kb_new_array(struct sim_link, n * n);
    for (size_t a = 0; a < n; a++) {
        for (size_t b = 0; b < n; b++) {
            bool known = a + 1 < n && b + 1 < n;
            links[a * n + b] = known ? w->links[a * (n - 1) + b]
                                     : (struct sim_link){.settings = w->link_default};
        }
    }
    free(w->links);
    w->links = links;
}

void sim_net_set_all(struct sim_world *w, const struct sim_link_settings *settings)
{
    w->link_default = *settings;
    for (size_t i = 0; i < w->host_count * w->host_count; i++)
        w->links[i].settings = *settings;
}

struct sim_link_settings *sim_net_link(struct sim_host *from, struct sim_host *to)
{
    return &link_of(from, to)->settings;
}

bool sim_net_is_cut(const struct sim_host *from, const struct sim_host *to)
{
    return link_of(from, to)->cut;
}

bool sim_net_up(const struct sim_host *from, const struct sim_host *to)
{
    return !link_of(from, to)->cut;
}

bool sim_net_chance(struct sim_world *w, uint32_t ppm)
{
    return ppm != 0 && kb_prng_below(&w->net_prng, 1000000) < ppm;
}

uint64_t sim_net_delay_us(const struct sim_host *from, const struct sim_host *to)
{
    const struct sim_link *l = link_of(from, to);
    const struct sim_link_settings *s = &l->settings;
    uint64_t now_us = from->world->now_us;
    if (from == to)
        return 10;
    uint64_t delay = s->delay_us_max > s->delay_us_min
                         ? kb_prng_range(&from->world->net_prng, s->delay_us_min, s->delay_us_max)
                         : s->delay_us_min;
    return now_us + delay < l->clogged_until_us ? l->clogged_until_us - now_us : delay;
}

/* What this connection's segments are later than others of the link. */
uint64_t sim_net_skew_us(const struct sim_conn *c)
{
    uint32_t max = link_of(c->env->host, c->remote)->settings.skew_us_max;
    uint64_t mixed = c->id * UINT64_C(0x9e3779b97f4a7c15);
    mixed = (mixed ^ mixed >> 32) * UINT64_C(0xbf58476d1ce4e5b9);
    return max == 0 ? 0 : (mixed >> 32) % max;
}

void sim_net_set_tcp_timeout(struct sim_world *w, uint64_t timeout_ms)
{
    w->tcp_timeout_us = timeout_ms * 1000;
}

struct sim_net_counts sim_net_counts(const struct sim_world *w)
{
    return w->net;
}

/* ---- who hears whom ---- */

void sim_net_heard(const struct sim_host *from, const struct sim_host *to)
{
    struct sim_link *l = link_of(from, to);
    if (l->heard_us == 0 || from->world->now_us - l->heard_us > SIM_STEADY_GAP_US)
        sim_net_disturbed(from, to, 0);
    l->heard_us = from->world->now_us;
}

void sim_net_disturbed(const struct sim_host *from, const struct sim_host *to, uint64_t for_us)
{
    struct sim_link *l = link_of(from, to);
    uint64_t until_us = from->world->now_us + for_us;
    l->steady_us = until_us > l->steady_us ? until_us : l->steady_us;
}

uint64_t sim_net_heard_us(const struct sim_host *from, const struct sim_host *to)
{
    return link_of(from, to)->heard_us;
}

uint64_t sim_net_steady_us(const struct sim_host *from, const struct sim_host *to)
{
    return link_of(from, to)->steady_us;
}

void sim_net_on_frame(struct sim_world *w, sim_frame_fn *fn, void *arg)
{
    w->frame_fn = fn;
    w->frame_arg = arg;
}

/* ---- cuts and resets ---- */

void sim_net_cut(struct sim_host *from, struct sim_host *to)
{
    if (from == to)
        return;
    sim_world_note(from->world, "cut %s -> %s", from->name, to->name);
    link_of(from, to)->cut = true;
    sim_net_disturbed(from, to, SIM_HEAL_US_MAX);
}

/* The connection's way was opened, in one direction at least: what waited moves again. */
static void conn_healed(struct sim_conn *c)
{
    struct sim_world *w = c->env->world;
    if (c->state == SIM_CONN_CLOSING || c->remote == NULL)
        return;
    if (c->blocked && sim_net_up(c->remote, c->env->host))
        sim_conn_schedule_arrival(c, kb_prng_below(&w->net_prng, SIM_HEAL_US_MAX));
    if (c->lost_send)
        sim_conn_expect_reset(c);
    sim_conn_ack(c);
    if (c->peer != NULL)
        sim_conn_check_stuck(c->peer);
    sim_conn_check_stuck(c);
}

static void pair_healed(struct sim_host *local, struct sim_host *remote)
{
    struct sim_env *e = local->env;
    if (e == NULL || e->down)
        return;
    struct sim_conn *c;
    LIST_FOREACH(c, &e->conns, link)
    {
        if (c->remote == remote)
            conn_healed(c);
    }
}

void sim_net_heal(struct sim_host *from, struct sim_host *to)
{
    if (!link_of(from, to)->cut)
        return;
    sim_world_note(from->world, "heal %s -> %s", from->name, to->name);
    link_of(from, to)->cut = false;
    sim_net_disturbed(from, to, SIM_HEAL_US_MAX);
    pair_healed(from, to);
    pair_healed(to, from);
}

void sim_net_heal_all(struct sim_world *w)
{
    for (size_t a = 0; a < w->host_count; a++) {
        for (size_t b = 0; b < w->host_count; b++) {
            link_of(w->hosts[a], w->hosts[b])->clogged_until_us = 0;
            sim_net_heal(w->hosts[a], w->hosts[b]);
        }
    }
}

void sim_net_clog(struct sim_host *from, struct sim_host *to, uint64_t duration_us)
{
    uint64_t until_us = from->world->now_us + duration_us;
    struct sim_link *l = link_of(from, to);
    sim_world_note(from->world, "clog %s -> %s", from->name, to->name);
    if (until_us > l->clogged_until_us)
        l->clogged_until_us = until_us;
    sim_net_disturbed(from, to, duration_us);
}

void sim_net_half_open(struct sim_host *gone_at, struct sim_host *other)
{
    struct sim_conn *c;
    if (gone_at->env == NULL || gone_at->env->down)
        return;
    sim_world_note(gone_at->world, "half open %s - %s", gone_at->name, other->name);
    LIST_FOREACH(c, &gone_at->env->conns, link)
    {
        struct sim_conn *peer = c->peer;
        if (c->remote != other || peer == NULL || c->state != SIM_CONN_OPEN)
            continue;
        gone_at->world->net.half_opened++;
        sim_conn_part(c);
        if (peer->unacked_bytes > 0)
            sim_conn_expect_reset(peer);
        sim_conn_end(c, KB_CLOSE_ERROR);
    }
}

void sim_net_reset(struct sim_host *a, struct sim_host *b)
{
    struct sim_conn *c;
    if (a->env == NULL || a->env->down)
        return;
    sim_world_note(a->world, "reset %s - %s", a->name, b->name);
    LIST_FOREACH(c, &a->env->conns, link)
    {
        if (c->remote != b || c->peer == NULL)
            continue;
        a->world->net.resets++;
        sim_conn_tell_peer(c, SIM_SEG_RST);
        sim_conn_end(c, KB_CLOSE_PEER);
    }
}

/* ---- names and listeners ---- */

static bool is_own_name(const struct sim_host *h, const char *name)
{
    return strcmp(name, h->name) == 0 || strcmp(name, "localhost") == 0 ||
           strcmp(name, "127.0.0.1") == 0;
}

static struct sim_host *find_host(struct sim_host *asking, const char *name)
{
    struct sim_world *w = asking->world;
    if (is_own_name(asking, name))
        return asking;
    for (size_t i = 0; i < w->host_count; i++) {
        if (strcmp(w->hosts[i]->name, name) == 0)
            return w->hosts[i];
    }
    return NULL;
}

static struct sim_listener *find_listener(const struct sim_host *h, uint16_t port)
{
    struct sim_listener *l;
    if (h->env == NULL || h->env->down)
        return NULL;
    LIST_FOREACH(l, &h->env->listeners, link)
    {
        if (l->port == port)
            return l;
    }
    return NULL;
}

int sim_listen(struct kb_env *env, const char *host, uint16_t port, const struct kb_conn_options *o,
               kb_accept_fn *fn, void *arg, struct kb_listener **ret)
{
    struct sim_env *e = sim_env_from(env);
    if (sim_env_gone(e))
        return -KB_EIO;
    if (host[0] != '\0' && strcmp(host, "0.0.0.0") != 0 && strcmp(host, "::") != 0 &&
        !is_own_name(e->host, host))
        return -KB_EUNREACHABLE;
    while (port == 0 || (port == e->host->next_port && find_listener(e->host, port) != NULL))
        port = ++e->host->next_port;
    if (find_listener(e->host, port) != NULL)
        return -KB_EADDRINUSE;
    struct sim_listener *l = kb_new(struct sim_listener);
    l->base.env = env;
    l->options = *o;
    l->port = port;
    l->fn = fn;
    l->arg = arg;
    LIST_INSERT_HEAD(&e->listeners, l, link);
    *ret = &l->base;
    return 0;
}

uint16_t sim_listener_port(const struct kb_listener *l)
{
    return ((const struct sim_listener *)l)->port;
}

void sim_listener_close(struct kb_listener *listener)
{
    struct sim_listener *l = (struct sim_listener *)listener;
    struct sim_env *e = sim_env_from(listener->env);
    struct sim_conn *c;
    LIST_FOREACH(c, &e->conns, link)
    {
        if (c->listener == l && !e->down) {
            sim_conn_tell_peer(c, SIM_SEG_RST);
            sim_conn_end(c, KB_CLOSE_LOCAL);
        }
    }
    LIST_REMOVE(l, link);
    free(l);
}

/* ---- connecting ---- */

static void on_refused(void *arg)
{
    sim_conn_end(arg, KB_CLOSE_REFUSED);
}

static void on_unreachable(void *arg)
{
    sim_conn_end(arg, KB_CLOSE_UNREACHABLE);
}

static void on_timeout(void *arg)
{
    struct sim_conn *c = arg;
    sim_conn_tell_peer(c, SIM_SEG_RST);
    sim_conn_end(c, KB_CLOSE_TIMEOUT);
}

static void on_syn(void *arg)
{
    struct sim_conn *c = arg;
    struct sim_world *w = c->env->world;
    struct sim_host *local = c->env->host;
    struct sim_host *remote = c->remote;
    if (!remote->up || !sim_net_up(local, remote) || !sim_net_up(remote, local)) {
        sim_event_in(w, &c->wire, (uint64_t)SIM_SYN_RETRY_US << (c->tries < 5 ? c->tries : 5));
        c->tries++;
        return;
    }
    struct sim_listener *l = find_listener(remote, c->remote_port);
    uint64_t back_us = sim_net_delay_us(remote, local);
    if (l == NULL) {
        sim_event_init(&c->wire, c->env, SIM_EV_CONNECT, on_refused, c);
        sim_event_in(w, &c->wire, back_us);
        return;
    }
    struct sim_conn *server = sim_conn_new(remote->env, local, &l->options);
    server->remote_port = (uint16_t)(30000 + server->id % 10000);
    server->state = SIM_CONN_OPEN;
    server->listener = l;
    server->pair = c->pair;
    server->pair_port = c->pair_port;
    server->peer = c;
    c->peer = server;
    server->last_due_us = w->now_us;
    c->last_due_us = w->now_us + back_us;
    sim_event_in(w, &server->accepted, 0);
    sim_event_in(w, &c->opened, back_us);
}

struct kb_conn *sim_connect(struct kb_env *env, const char *host, uint16_t port,
                            uint64_t timeout_ms, const struct kb_conn_options *o,
                            const struct kb_conn_handler *handler, void *user)
{
    struct sim_env *e = sim_env_from(env);
    struct sim_host *remote = find_host(e->host, host);
    struct sim_conn *c = sim_conn_new(e, remote, o);
    c->handler = handler;
    c->user = user;
    c->remote_port = c->pair_port = port;
    c->pair = c->id;
    e->world->net.connects++;
    if (sim_env_gone(e))
        return &c->base;
    sim_event_init(&c->timeout, e, SIM_EV_CONNECT, on_timeout, c);
    sim_event_in(e->world, &c->timeout, timeout_ms * 1000);
    if (remote == NULL) {
        sim_event_init(&c->wire, e, SIM_EV_CONNECT, on_unreachable, c);
        sim_event_in(e->world, &c->wire, 1000);
    } else { /* the network's event: a frozen process's SYN travels all the same */
        sim_event_init(&c->wire, NULL, SIM_EV_CONNECT, on_syn, c);
        sim_event_in(e->world, &c->wire, sim_net_delay_us(e->host, remote));
    }
    return &c->base;
}

/* ---- ends of processes and hosts ---- */

/* What was sent by a host that lost its power and has not arrived is not sent again. */
static void drop_unsent(struct sim_conn *peer)
{
    struct sim_segment *s, *next;
    for (s = STAILQ_FIRST(&peer->inbox); s != NULL; s = next) {
        next = STAILQ_NEXT(s, link);
        if (peer->blocked || s->due_us > peer->env->world->now_us + 5000) {
            STAILQ_REMOVE(&peer->inbox, s, sim_segment, link);
            free(s);
        }
    }
    sim_event_cancel(peer->env->world, &peer->arrive);
    sim_conn_schedule_arrival(peer, 0);
}

void sim_net_env_down(struct sim_env *e, bool power)
{
    struct sim_world *w = e->world;
    struct sim_conn *c;
    for (size_t i = 0; i < w->host_count; i++) {
        link_of(w->hosts[i], e->host)->heard_us = 0;
        sim_net_disturbed(w->hosts[i], e->host, 0);
        sim_net_disturbed(e->host, w->hosts[i], 0);
    }
    LIST_FOREACH(c, &e->conns, link)
    {
        struct sim_conn *peer = c->peer;
        if (!power) {
            sim_conn_tell_peer(c, kb_prng_below(&w->net_prng, 2) == 0 ? SIM_SEG_FIN : SIM_SEG_RST);
        } else if (peer != NULL) {
            sim_conn_part(c);
            if (peer->state != SIM_CONN_CLOSING)
                drop_unsent(peer);
        }
        if (peer != NULL && peer->unacked_bytes > 0) /* as good as sent once more */
            peer->lost_send = power;
        if (peer != NULL && peer->state != SIM_CONN_CLOSING)
            sim_conn_check_stuck(peer);
        sim_event_cancel(w, &c->wire);
    }
}

void sim_net_env_free(struct sim_env *e)
{
    struct sim_conn *c;
    while ((c = LIST_FIRST(&e->conns)) != NULL) {
        LIST_REMOVE(c, link);
        sim_conn_free(c);
    }
    while (!LIST_EMPTY(&e->listeners)) {
        struct sim_listener *l = LIST_FIRST(&e->listeners);
        LIST_REMOVE(l, link);
        free(l);
    }
}

void sim_net_host_up(struct sim_host *h)
{
    for (size_t i = 0; i < h->world->host_count; i++)
        pair_healed(h->world->hosts[i], h);
}
