#include "tests/sim/sim_conn.h"

#include <string.h>

#include "proto/base/crc32c.h"

#define SIM_WINDOW_BYTES (UINT64_C(256) * 1024) /* in flight per direction */
#define SIM_BUDGET_RETRY_US 1000                /* a starved connection looks again */
#define SIM_RETRANSMIT_US_MIN 200000            /* a lost segment comes this much later */
#define SIM_RETRANSMIT_US_MAX 1600000

static struct sim_conn *conn_from(const struct kb_conn *conn)
{
    return (struct sim_conn *)conn;
}

static struct sim_world *world_of(const struct sim_conn *c)
{
    return c->env->world;
}

static struct sim_host *local_of(const struct sim_conn *c)
{
    return c->env->host;
}

/* ---- ends ---- */

static void cancel_all(struct sim_conn *c)
{
    struct sim_event *const events[] = {&c->arrive,   &c->reader, &c->pump,
                                        &c->drain,    &c->opened, &c->accepted,
                                        &c->given_up, &c->wire,   &c->timeout};
    for (size_t i = 0; i < sizeof(events) / sizeof(events[0]); i++)
        sim_event_cancel(world_of(c), events[i]);
}

static void inbox_clear(struct sim_conn *c)
{
    struct sim_segment *s;
    while ((s = STAILQ_FIRST(&c->inbox)) != NULL) {
        STAILQ_REMOVE_HEAD(&c->inbox, link);
        free(s);
    }
    c->blocked = false;
}

static void out_clear(struct sim_conn *c)
{
    kb_chain_release(&c->out);
    c->out_index = 0;
    c->out_offset = 0;
    c->out_bytes = 0;
}

void sim_conn_free(struct sim_conn *c)
{
    cancel_all(c);
    sim_event_cancel(world_of(c), &c->closed);
    inbox_clear(c);
    out_clear(c);
    kb_buf_release(&c->rx);
    free(c);
}

static void on_closed(void *arg)
{
    struct sim_conn *c = arg;
    LIST_REMOVE(c, link);
    if (c->handler != NULL)
        c->handler->on_close(&c->base, c->user, c->reason);
    sim_conn_free(c);
}

void sim_conn_end(struct sim_conn *c, enum kb_close_reason reason)
{
    if (c->state == SIM_CONN_CLOSING)
        return;
    c->state = SIM_CONN_CLOSING;
    if (c->remote != NULL) {
        sim_net_disturbed(local_of(c), c->remote, 0);
        sim_net_disturbed(c->remote, local_of(c), 0);
    }
    c->reason = reason;
    c->listener = NULL;
    cancel_all(c);
    inbox_clear(c);
    out_clear(c);
    sim_event_in(world_of(c), &c->closed, 0);
}

void sim_conn_part(struct sim_conn *c)
{
    if (c->peer == NULL)
        return;
    c->peer->peer = NULL;
    c->peer = NULL;
}

static void inbox_add(struct sim_conn *to, struct sim_segment *s, uint64_t due_us)
{
    s->due_us = due_us > to->last_due_us ? due_us : to->last_due_us;
    to->last_due_us = s->due_us;
    bool first = STAILQ_EMPTY(&to->inbox);
    STAILQ_INSERT_TAIL(&to->inbox, s, link);
    if (first)
        sim_event_at(world_of(to), &to->arrive, s->due_us);
}

void sim_conn_tell_peer(struct sim_conn *c, enum sim_segment_kind kind)
{
    struct sim_conn *peer = c->peer;
    if (peer == NULL)
        return;
    sim_conn_part(c);
    if (peer->state == SIM_CONN_CLOSING)
        return;
    struct sim_segment *s = kb_new(struct sim_segment);
    s->kind = kind;
    inbox_add(peer, s, world_of(c)->now_us + sim_net_delay_us(local_of(c), c->remote));
}

static void give_up(void *arg)
{
    struct sim_conn *c = arg;
    if (c->peer != NULL)
        inbox_clear(c->peer);
    sim_conn_part(c);
    sim_conn_end(c, KB_CLOSE_ERROR);
}

static bool is_stuck(const struct sim_conn *c)
{
    if (c->lost_send)
        return true;
    const struct sim_conn *peer = c->peer;
    return peer != NULL &&
           (peer->blocked || (peer->owed_bytes > 0 && !peer->paused && !peer->starved &&
                              !sim_net_up(c->remote, local_of(c))));
}

void sim_conn_check_stuck(struct sim_conn *c)
{
    struct sim_world *w = world_of(c);
    if (c->state != SIM_CONN_OPEN || !is_stuck(c)) {
        sim_event_cancel(w, &c->given_up);
        return;
    }
    if (!sim_event_waiting(&c->given_up))
        sim_event_in(w, &c->given_up,
                     w->tcp_timeout_us + kb_prng_below(&w->net_prng, w->tcp_timeout_us / 4 + 1));
}

static void on_wire_reset(void *arg)
{
    struct sim_conn *c = arg;
    sim_conn_end(c, KB_CLOSE_PEER);
}

void sim_conn_expect_reset(struct sim_conn *c)
{
    struct sim_host *local = local_of(c);
    c->lost_send = true;
    if (sim_event_waiting(&c->wire))
        return;
    if (c->remote->up && sim_net_up(local, c->remote) && sim_net_up(c->remote, local)) {
        sim_event_init(&c->wire, c->env, SIM_EV_ARRIVE, on_wire_reset, c);
        sim_event_in(world_of(c), &c->wire,
                     sim_net_delay_us(local, c->remote) + sim_net_delay_us(c->remote, local));
    }
    sim_conn_check_stuck(c);
}

/* ---- sending ---- */

/* Copy up to size bytes of the output's head into data: bytes, 0 when a range must be fetched
 * first, negative when the connection cannot go on. */
static int64_t take_from_slice(struct sim_conn *c, uint8_t *data, uint64_t size)
{
    struct kb_slice *s = &c->out.slices[c->out_index];
    uint64_t n = s->size - c->out_offset < size ? s->size - c->out_offset : size;
    if (s->block != NULL) {
        memcpy(data, s->block->data + s->position + c->out_offset, n);
        return (int64_t)n;
    }
    if (kb_file_generation(s->file) != s->file_generation)
        return -KB_CLOSE_STALE_RANGE;
    if (!c->file_ready)
        return 0;
    struct sim_inode *inode = NULL;
    struct sim_disk *d = local_of(c)->disk;
    c->file_ready = false;
    if (sim_disk_open(d, s->file->path, KB_FS_READ, 0, &inode) < 0 ||
        sim_inode_read(d, inode, data, n, s->position + c->out_offset) != (int64_t)n)
        return -KB_CLOSE_ERROR;
    return (int64_t)n;
}

static void out_advance(struct sim_conn *c, uint64_t n)
{
    struct kb_slice *s = &c->out.slices[c->out_index];
    c->out_bytes -= n;
    c->out_offset += n;
    if (c->out_offset < s->size)
        return;
    s->block = kb_block_unref(s->block);
    s->file = kb_file_unref(s->file);
    c->out_offset = 0;
    if (++c->out_index == c->out.count) {
        kb_chain_release(&c->out);
        c->out_index = 0;
    }
}

/* The segment leaves: late, lost for a while, or the end of its connection. */
static void put_on_wire(struct sim_conn *c, struct sim_segment *s)
{
    struct sim_world *w = world_of(c);
    const struct sim_link_settings *link = sim_net_link(local_of(c), c->remote);
    uint64_t skew = sim_net_skew_us(c);
    uint64_t delay = sim_net_delay_us(local_of(c), c->remote) + skew;
    w->net.bytes += s->size;
    if (c->peer == NULL) {
        free(s);
        sim_conn_expect_reset(c);
        return;
    }
    if (skew > 0) /* what follows in this connection waits for it, also when the skew has ended */
        sim_net_disturbed(local_of(c), c->remote, skew);
    if (sim_net_chance(w, link->loss_ppm)) {
        w->net.retransmissions++;
        delay += kb_prng_range(&w->net_prng, SIM_RETRANSMIT_US_MIN, SIM_RETRANSMIT_US_MAX);
        sim_net_disturbed(local_of(c), c->remote, delay);
    }
    c->unacked_bytes += s->size;
    inbox_add(c->peer, s, w->now_us + delay);
    if (sim_net_chance(w, link->reset_ppm)) {
        w->net.resets++;
        sim_conn_tell_peer(c, SIM_SEG_RST);
        sim_conn_end(c, KB_CLOSE_PEER);
    }
}

/* Build one segment of what the window allows; 0 or the reason to close, negated. */
static int build_segment(struct sim_conn *c, struct sim_segment **ret)
{
    uint64_t room = SIM_WINDOW_BYTES - c->unacked_bytes;
    uint64_t size = c->out_bytes < room ? c->out_bytes : room;
    struct sim_segment *s = kb_realloc(NULL, sizeof(*s) + size);
    int64_t n = 0;
    *s = (struct sim_segment){.kind = SIM_SEG_DATA};
    while (s->size < size) {
        n = take_from_slice(c, s->data + s->size, size - s->size);
        if (n <= 0)
            break;
        s->size += (uint32_t)n;
        out_advance(c, (uint64_t)n);
    }
    if (s->size == 0)
        s = kb_free(s);
    *ret = s;
    if (n == 0 && c->out_bytes > 0 && !sim_event_waiting(&c->pump))
        sim_event_in(world_of(c), &c->pump, sim_disk_read_us(local_of(c)->disk, 0));
    return n < 0 ? (int)n : 0;
}

void sim_conn_pump(struct sim_conn *c)
{
    while (c->state == SIM_CONN_OPEN && c->out_bytes > 0 && c->unacked_bytes < SIM_WINDOW_BYTES &&
           !sim_event_waiting(&c->pump)) {
        struct sim_segment *s = NULL;
        int r = build_segment(c, &s);
        if (s != NULL)
            put_on_wire(c, s);
        if (r < 0 && c->state == SIM_CONN_OPEN) {
            sim_conn_tell_peer(c, SIM_SEG_FIN);
            sim_conn_end(c, (enum kb_close_reason) - r);
        }
    }
    if (c->state != SIM_CONN_OPEN)
        return;
    if (c->was_high && c->out_bytes <= c->options.send_high_bytes / 4) {
        c->was_high = false;
        sim_event_in(world_of(c), &c->drain, 0);
    }
    if (c->close_when_sent && c->out_bytes == 0) {
        sim_conn_tell_peer(c, SIM_SEG_FIN);
        sim_conn_end(c, KB_CLOSE_LOCAL);
    }
}

static void on_pump(void *arg)
{
    struct sim_conn *c = arg;
    c->file_ready = true;
    sim_conn_pump(c);
}

static void on_drain(void *arg)
{
    struct sim_conn *c = arg;
    if (c->handler != NULL && c->handler->on_drain != NULL)
        c->handler->on_drain(&c->base, c->user);
}

static void tell_frame(const struct sim_conn *c, bool sent, struct kb_view head)
{
    struct sim_world *w = world_of(c);
    if (w->frame_fn == NULL || c->remote == NULL)
        return;
    struct sim_frame frame = {.from = sent ? local_of(c) : c->remote,
                              .to = sent ? c->remote : local_of(c),
                              .conn = c->pair,
                              .port = c->pair_port,
                              .sent = sent,
                              .head = head};
    w->frame_fn(w->frame_arg, &frame);
}

/* The first slice of what is sent holds the head of a frame. */
static void tell_sent(const struct sim_conn *c, const struct kb_chain *chain)
{
    const struct kb_slice *s = chain->slices;
    if (chain->count > 0 && s->block != NULL && s->size > 4)
        tell_frame(c, true, kb_view_of(s->block->data + s->position + 4, s->size - 4));
}

void sim_conn_send(struct kb_conn *conn, struct kb_chain *chain)
{
    struct sim_conn *c = conn_from(conn);
    if (sim_env_gone(c->env) || c->state == SIM_CONN_CLOSING || c->close_when_sent) {
        kb_chain_release(chain);
        return;
    }
    tell_sent(c, chain);
    c->out_bytes += chain->size;
    kb_chain_move(&c->out, chain);
    if (c->out_bytes > c->options.send_high_bytes)
        c->was_high = true;
    sim_conn_pump(c);
}

/* ---- receiving ---- */

void sim_conn_ack(struct sim_conn *c)
{
    if (c->owed_bytes == 0 || c->paused || c->starved)
        return;
    if (c->peer == NULL) {
        c->owed_bytes = 0;
        return;
    }
    if (sim_net_up(local_of(c), c->remote)) {
        c->peer->unacked_bytes -= c->owed_bytes;
        c->owed_bytes = 0;
        sim_conn_pump(c->peer);
    }
    if (c->peer != NULL)
        sim_conn_check_stuck(c->peer);
}

/* A block for the next frame, charged to the budget; NULL when the budget refuses. One frame is
 * always let through, else a frame above the limit would stop the connection for ever. */
static struct kb_block *frame_block(struct sim_conn *c, const uint8_t *data, uint32_t size)
{
    struct kb_budget *budget = c->options.budget;
    struct kb_block *b = kb_block_copy(data, size);
    if (budget == NULL)
        return b;
    if (kb_budget_take(budget, b->capacity) < 0) {
        if (budget->used_bytes > 0)
            return kb_block_unref(b);
        budget->used_bytes += b->capacity;
    }
    b->budget = budget;
    return b;
}

/* Deliver the whole frames in rx, as long as the process lets us. */
static void deliver_frames(struct sim_conn *c)
{
    struct sim_world *w = world_of(c);
    while (c->state == SIM_CONN_OPEN && !c->paused && !c->close_when_sent && !c->env->down) {
        size_t left = c->rx.size - c->rx_position;
        if (left < 4)
            break;
        const uint8_t *at = c->rx.data + c->rx_position;
        uint32_t size = kb_get_be32(at);
        if (size > INT32_MAX || size > c->options.frame_bytes_max) {
            sim_conn_tell_peer(c, SIM_SEG_RST);
            sim_conn_end(c, KB_CLOSE_BAD_FRAME);
            return;
        }
        if (left - 4 < size)
            break;
        struct kb_block *b = frame_block(c, at + 4, size);
        c->starved = b == NULL;
        if (b == NULL) {
            sim_event_in(w, &c->reader, SIM_BUDGET_RETRY_US);
            return;
        }
        c->rx_position += 4 + size;
        w->net.frames++;
        if (c->remote != NULL)
            sim_net_heard(c->remote, local_of(c));
        sim_trace(w, SIM_EV_FRAME, c->env, c->id << 32 | kb_crc32c(size, b->data, size));
        tell_frame(c, false, kb_view_of(b->data, b->size));
        c->handler->on_frame(&c->base, c->user, b);
        (void)kb_block_unref(b);
    }
}

static void read_on(struct sim_conn *c)
{
    c->starved = false;
    deliver_frames(c);
    if (c->env->down || c->state != SIM_CONN_OPEN)
        return;
    if (c->rx_position == c->rx.size) {
        c->rx.size = 0;
        c->rx_position = 0;
    } else if (c->rx_position > 0) {
        memmove(c->rx.data, c->rx.data + c->rx_position, c->rx.size - c->rx_position);
        c->rx.size -= c->rx_position;
        c->rx_position = 0;
    }
    sim_conn_ack(c);
    if (c->fin && c->state == SIM_CONN_OPEN && !c->paused && !c->starved)
        sim_conn_end(c, KB_CLOSE_PEER);
}

static void on_reader(void *arg)
{
    read_on(arg);
}

void sim_conn_schedule_arrival(struct sim_conn *c, uint64_t extra_us)
{
    struct sim_segment *s = STAILQ_FIRST(&c->inbox);
    struct sim_world *w = world_of(c);
    c->blocked = false;
    if (s != NULL)
        sim_event_at(w, &c->arrive, (s->due_us > w->now_us ? s->due_us : w->now_us) + extra_us);
}

static void on_arrive(void *arg)
{
    struct sim_conn *c = arg;
    struct sim_segment *s = STAILQ_FIRST(&c->inbox);
    if (!sim_net_up(c->remote, local_of(c))) {
        world_of(c)->net.blocked++;
        c->blocked = true;
        if (c->peer != NULL)
            sim_conn_check_stuck(c->peer);
        return;
    }
    STAILQ_REMOVE_HEAD(&c->inbox, link);
    sim_conn_schedule_arrival(c, 0);
    switch (s->kind) {
    case SIM_SEG_DATA:
        kb_buf_append(&c->rx, s->data, s->size);
        c->owed_bytes += s->size;
        read_on(c);
        break;
    case SIM_SEG_FIN:
        c->fin = true;
        read_on(c);
        break;
    case SIM_SEG_RST:
        sim_conn_end(c, KB_CLOSE_PEER);
        break;
    }
    free(s);
}

/* ---- the rest of the seam ---- */

static void on_opened(void *arg)
{
    struct sim_conn *c = arg;
    sim_event_cancel(world_of(c), &c->timeout);
    c->state = SIM_CONN_OPEN;
    if (c->handler->on_open != NULL)
        c->handler->on_open(&c->base, c->user);
    if (!c->env->down)
        sim_conn_pump(c);
}

static void on_accepted(void *arg)
{
    struct sim_conn *c = arg;
    struct sim_listener *l = c->listener;
    c->listener = NULL;
    l->fn(&c->base, c->remote->name, c->remote_port, l->arg);
    KB_ASSERT(c->env->down || c->handler != NULL || c->state == SIM_CONN_CLOSING);
}

struct sim_conn *sim_conn_new(struct sim_env *e, struct sim_host *remote,
                              const struct kb_conn_options *options)
{
    struct sim_conn *c = kb_new(struct sim_conn);
    c->base.env = &e->base;
    c->env = e;
    c->remote = remote;
    c->id = ++e->world->conn_ids;
    c->options = *options;
    STAILQ_INIT(&c->inbox);
    sim_event_init(&c->arrive, e, SIM_EV_ARRIVE, on_arrive, c);
    sim_event_init(&c->reader, e, SIM_EV_ARRIVE, on_reader, c);
    sim_event_init(&c->pump, e, SIM_EV_PUMP, on_pump, c);
    sim_event_init(&c->drain, e, SIM_EV_DRAIN, on_drain, c);
    sim_event_init(&c->opened, e, SIM_EV_OPEN, on_opened, c);
    sim_event_init(&c->accepted, e, SIM_EV_ACCEPT, on_accepted, c);
    sim_event_init(&c->closed, e, SIM_EV_CLOSE, on_closed, c);
    sim_event_init(&c->given_up, e, SIM_EV_CLOSE, give_up, c);
    LIST_INSERT_HEAD(&e->conns, c, link);
    return c;
}

void sim_conn_set_handler(struct kb_conn *conn, const struct kb_conn_handler *h, void *user)
{
    struct sim_conn *c = conn_from(conn);
    c->handler = h;
    c->user = user;
}

uint64_t sim_conn_queued_bytes(const struct kb_conn *conn)
{
    return conn_from(conn)->out_bytes;
}

bool sim_conn_congested(const struct kb_conn *conn)
{
    const struct sim_conn *c = conn_from(conn);
    return c->out_bytes > c->options.send_high_bytes;
}

void sim_conn_pause(struct kb_conn *conn)
{
    conn_from(conn)->paused = true;
}

void sim_conn_resume(struct kb_conn *conn)
{
    struct sim_conn *c = conn_from(conn);
    if (!c->paused)
        return;
    c->paused = false;
    if (!sim_env_gone(c->env) && c->state == SIM_CONN_OPEN)
        sim_event_in(world_of(c), &c->reader, 0);
}

void sim_conn_close(struct kb_conn *conn, bool after_send)
{
    struct sim_conn *c = conn_from(conn);
    if (sim_env_gone(c->env) || c->state == SIM_CONN_CLOSING)
        return;
    if (after_send && c->out_bytes > 0) {
        c->close_when_sent = true;
        return;
    }
    sim_conn_tell_peer(c, SIM_SEG_FIN);
    sim_conn_end(c, KB_CLOSE_LOCAL);
}
