#include <event2/event.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include "broker/server/internal.h"
#include "proto/base/assert.h"
#include "proto/base/err.h"
#include "proto/base/mem.h"

#define END_LIMIT_MS 5000    /* close_after_send: the other side must take the rest by then */
#define LINGER_LIMIT_MS 1000 /* and close its own side by then */

/* ---- birth ---- */

struct srv_conn *srv_conn_new(struct srv_env *e, const struct kb_conn_options *options)
{
    struct srv_conn *c = kb_new(struct srv_conn);
    c->base.env = &e->base;
    c->env = e;
    c->fd = -1;
    c->options = *options;
    c->reading_off = true;
    TAILQ_INSERT_TAIL(&e->conns, c, all);
    e->n_conns++;
    return c;
}

static void socket_options(int fd)
{
    int one = 1;
    int idle_s = 60;
    int interval_s = 10;
    /* Best effort: a socket without them still works. */
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    (void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof(one));
    (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle_s, sizeof(idle_s));
    (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval_s, sizeof(interval_s));
}

/* What other brokers send in bulk waits with the clients. */
static enum srv_priority priority_of(const struct srv_conn *c)
{
    return c->options.control ? SRV_PRIORITY_OWN : SRV_PRIORITY_CLIENTS;
}

void srv_conn_count_slice(struct srv_conn *c)
{
    if (priority_of(c) == SRV_PRIORITY_CLIENTS && srv_env_slice_over(c->env))
        (void)event_base_loopbreak(c->env->loop); /* after this one */
}

int srv_conn_attach(struct srv_conn *c, int fd)
{
    socket_options(fd);
    c->read_event = event_new(c->env->loop, fd, EV_READ | EV_PERSIST, srv_conn_on_readable, c);
    c->write_event = event_new(c->env->loop, fd, EV_WRITE | EV_PERSIST, srv_conn_on_writable, c);
    c->fd = fd;
    if (c->read_event == NULL || c->write_event == NULL)
        return -KB_ENOMEM;
    (void)event_priority_set(c->read_event, priority_of(c));
    (void)event_priority_set(c->write_event, priority_of(c));
    return 0;
}

/* ---- death ---- */

static void on_deadline(void *arg)
{
    struct srv_conn *c = arg;
    bool dialling = c->state == SRV_CONN_RESOLVING || c->state == SRV_CONN_CONNECTING;
    if (dialling)
        srv_resolver_doubt(c->env->resolver, c->host);
    srv_conn_fail(c, dialling ? KB_CLOSE_TIMEOUT : KB_CLOSE_LOCAL);
}

void srv_conn_set_timeout(struct srv_conn *c, uint64_t delay_ms)
{
    if (c->deadline == NULL)
        c->deadline = kb_timer_new(&c->env->base, on_deadline, c);
    kb_timer_arm(c->deadline, delay_ms);
}

void srv_conn_drop_socket(struct srv_conn *c)
{
    if (c->read_event != NULL)
        event_free(c->read_event);
    if (c->write_event != NULL)
        event_free(c->write_event);
    c->read_event = c->write_event = NULL;
    c->writing_on = false;
    c->reading_off = true;
    if (c->fd >= 0)
        (void)close(c->fd);
    c->fd = -1;
}

void srv_conn_fail(struct srv_conn *c, enum kb_close_reason reason)
{
    if (c->state == SRV_CONN_CLOSED)
        return;
    c->state = SRV_CONN_CLOSED;
    c->reason = c->ending && reason == KB_CLOSE_PEER ? KB_CLOSE_LOCAL : reason;
    if (c->lookup != NULL)
        srv_lookup_cancel(c->lookup);
    c->lookup = NULL;
    c->deadline = kb_timer_free(c->deadline);
    srv_conn_drop_socket(c);
    srv_conn_forget_input(c);
    srv_conn_forget_output(c);
    TAILQ_INSERT_TAIL(&c->env->closing, c, closing_link);
}

static void conn_free(struct srv_conn *c)
{
    struct srv_env *e = c->env;
    if (c->ready)
        TAILQ_REMOVE(&e->ready[priority_of(c)], c, ready_link);
    TAILQ_REMOVE(&e->conns, c, all);
    e->n_conns--;
    if (c->incoming && !c->options.control)
        e->n_clients--;
    (void)kb_free(c->host);
    (void)kb_free(c);
}

void srv_conns_free_all(struct srv_env *e)
{
    struct srv_conn *c = NULL;
    while ((c = TAILQ_FIRST(&e->conns)) != NULL) {
        srv_conn_fail(c, KB_CLOSE_LOCAL);
        TAILQ_REMOVE(&e->closing, c, closing_link);
        conn_free(c);
    }
}

/* ---- the end of a round ---- */

void srv_conn_make_ready(struct srv_conn *c)
{
    if (c->ready || c->state == SRV_CONN_CLOSED)
        return;
    c->ready = true;
    TAILQ_INSERT_TAIL(&c->env->ready[priority_of(c)], c, ready_link);
}

static void step_one(struct srv_conn *c)
{
    c->ready = false;
    if (c->state == SRV_CONN_OPEN && !c->paused && c->reading_off)
        srv_conn_continue(c);
    if (c->state == SRV_CONN_OPEN && !c->writing_on)
        srv_conn_flush(c);
}

/* Those that are ready now. Clients that do not fit this slice come first in the next. */
static bool step_ready(struct srv_env *e, enum srv_priority priority)
{
    struct srv_conn_list ready = TAILQ_HEAD_INITIALIZER(ready);
    struct srv_conn *c = NULL;
    bool moved = false;
    TAILQ_CONCAT(&ready, &e->ready[priority], ready_link);
    while ((c = TAILQ_FIRST(&ready)) != NULL) {
        moved = true;
        if (priority == SRV_PRIORITY_CLIENTS && srv_env_slice_over(e))
            break;
        TAILQ_REMOVE(&ready, c, ready_link);
        step_one(c);
    }
    TAILQ_CONCAT(&ready, &e->ready[priority], ready_link);
    TAILQ_CONCAT(&e->ready[priority], &ready, ready_link);
    return moved;
}

bool srv_conns_step(struct srv_env *e)
{
    struct srv_conn *c = NULL;
    bool moved = srv_conns_unblock(e);
    moved = step_ready(e, SRV_PRIORITY_OWN) || moved;
    moved = step_ready(e, SRV_PRIORITY_CLIENTS) || moved;
    while ((c = TAILQ_FIRST(&e->closing)) != NULL) {
        moved = true;
        TAILQ_REMOVE(&e->closing, c, closing_link);
        if (c->handler != NULL)
            c->handler->on_close(&c->base, c->user, c->reason);
        conn_free(c);
    }
    return moved;
}

/* ---- the calls of env.h ---- */

static struct srv_conn *conn_of(struct kb_conn *kc)
{
    return (struct srv_conn *)kc;
}

void srv_conn_set_handler(struct kb_conn *kc, const struct kb_conn_handler *handler, void *user)
{
    struct srv_conn *c = conn_of(kc);
    c->handler = handler;
    c->user = user;
}

void srv_conn_send(struct kb_conn *kc, struct kb_chain *chain)
{
    struct srv_conn *c = conn_of(kc);
    if (c->state == SRV_CONN_CLOSED || c->state == SRV_CONN_LINGERING || c->ending) {
        kb_chain_release(chain);
        return;
    }
    c->queued_bytes += chain->size;
    srv_conn_charge_chain(c, chain);
    kb_chain_move(&c->out, chain);
    if (c->queued_bytes > c->options.send_high_bytes)
        c->congested = true;
    srv_conn_make_ready(c);
}

uint64_t srv_conn_queued_bytes(const struct kb_conn *kc)
{
    return ((const struct srv_conn *)kc)->queued_bytes;
}

bool srv_conn_congested(const struct kb_conn *kc)
{
    const struct srv_conn *c = (const struct srv_conn *)kc;
    return c->queued_bytes > c->options.send_high_bytes;
}

void srv_conn_pause(struct kb_conn *kc)
{
    conn_of(kc)->paused = true;
}

void srv_conn_resume(struct kb_conn *kc)
{
    struct srv_conn *c = conn_of(kc);
    c->paused = false;
    /* Mostly nothing came meanwhile and the read event is still there. */
    if (c->reading_off || c->rest != NULL) {
        c->reading_off = true;
        srv_conn_make_ready(c);
    }
}

void srv_conn_close(struct kb_conn *kc, bool after_send)
{
    struct srv_conn *c = conn_of(kc);
    if (c->state == SRV_CONN_CLOSED || c->state == SRV_CONN_LINGERING)
        return;
    if (!after_send || c->queued_bytes == 0) {
        if (after_send && c->state == SRV_CONN_OPEN)
            srv_conn_linger(c);
        else
            srv_conn_fail(c, KB_CLOSE_LOCAL);
        return;
    }
    c->ending = true;
    srv_conn_forget_input(c);
    srv_conn_set_timeout(c, END_LIMIT_MS);
}

/* Closing at once with unread input would send a reset, which can overtake the last answer. */
void srv_conn_linger(struct srv_conn *c)
{
    c->state = SRV_CONN_LINGERING;
    c->ending = true;
    srv_conn_forget_input(c);
    (void)shutdown(c->fd, SHUT_WR);
    srv_conn_reading(c, true);
    srv_conn_set_timeout(c, LINGER_LIMIT_MS);
}
