#include <errno.h>
#include <event2/event.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "broker/server/internal.h"
#include "proto/base/assert.h"
#include "proto/base/err.h"
#include "proto/base/log.h"

/* Bytes to frames. One readv takes {rest of the frame in work, scratch}: many small frames per
 * call, a large frame straight into its buffer. */

#define READS_PER_EVENT 4 /* then other connections get their turn */
/* While connections wait for memory: */
#define STALL_LIMIT_US (10 * 1000000ull)      /* a frame that does not grow for so long is closed */
#define STALL_SMALL_LIMIT_US (2 * 1000000ull) /* also if small frames wait, */
#define FRAME_LIMIT_US (30 * 1000000ull)      /* and one that is not whole after this */
/* Frames above it leave an eighth of the budget to the others, and queue by themselves: whoever
 * announces 64 MB and sends nothing holds up those who do likewise, not heartbeats. */
#define LARGE_FRAME_BYTES ((size_t)256 * 1024)
#define LARGE_LEAVES_PARTS 8

void srv_conn_reading(struct srv_conn *c, bool on)
{
    if (c->read_event == NULL)
        return;
    if (on)
        (void)event_add(c->read_event, NULL);
    else
        (void)event_del(c->read_event);
    c->reading_off = !on;
}

void srv_conn_forget_input(struct srv_conn *c)
{
    if (c->blocked)
        TAILQ_REMOVE(&c->env->blocked, c, blocked_link);
    c->blocked = false;
    c->frame = kb_block_unref(c->frame);
    c->rest = kb_block_unref(c->rest);
    c->sized = false;
    c->prefix_size = 0;
}

static bool deliverable(const struct srv_conn *c)
{
    return c->state == SRV_CONN_OPEN && !c->paused && !c->blocked && !c->ending;
}

static bool is_large(const struct srv_conn *c)
{
    return c->frame_size > LARGE_FRAME_BYTES;
}

/* What frames of this size may use of their budget. */
static size_t frames_limit(const struct srv_conn *c)
{
    size_t limit = c->options.budget->limit_bytes;
    return is_large(c) ? limit - limit / LARGE_LEAVES_PARTS : limit;
}

/* Somebody has been refused by this budget and waits: no overtaking, or a large frame would
 * starve. */
static bool others_wait(const struct srv_conn *c)
{
    const struct srv_conn *other = NULL;
    TAILQ_FOREACH(other, &c->env->blocked, blocked_link)
    {
        if (other->options.budget == c->options.budget && is_large(other) == is_large(c))
            return other != c;
    }
    return false;
}

static void block(struct srv_conn *c)
{
    struct srv_env *e = c->env;
    c->blocked = true;
    TAILQ_INSERT_TAIL(&e->blocked, c, blocked_link);
    srv_conns_watch_memory(e);
}

/* It is never going to fit. */
static bool never_fits(const struct srv_conn *c)
{
    return kb_pool_cost(c->frame_size) > frames_limit(c);
}

/* A link between brokers must not end for that: what a leader has taken, followers can have. */
static bool passes_uncounted(const struct srv_conn *c)
{
    return c->options.budget == NULL || (c->options.answers == NULL && never_fits(c));
}

/* Its buffer, if the budgets allow it now. */
static struct kb_block *frame_buffer(struct srv_conn *c)
{
    struct kb_budget *budget = c->options.budget;
    if (passes_uncounted(c))
        return kb_pool_take(c->env->pool, c->frame_size, NULL);
    size_t limit = frames_limit(c);
    if (srv_conn_answers_spent(c) || budget->used_bytes > limit ||
        kb_pool_cost(c->frame_size) > limit - budget->used_bytes)
        return NULL;
    return kb_pool_take(c->env->pool, c->frame_size, budget);
}

static void frame_begins(struct srv_conn *c)
{
    c->progress_us = c->began_us = srv_now_us();
}

/* A buffer for the frame whose size is known. False when the budget says wait (the connection is
 * blocked) or when it never will be possible (it is closed). */
static bool take_frame(struct srv_conn *c)
{
    bool counted = !passes_uncounted(c);
    if (counted && never_fits(c)) {
        kb_log_warn("server",
                    "event=frame_refused size=%u why=\"larger than the whole memory budget\"",
                    c->frame_size);
        srv_conn_fail(c, KB_CLOSE_BAD_FRAME);
        return false;
    }
    if (!counted || !others_wait(c))
        c->frame = frame_buffer(c);
    if (c->frame != NULL) {
        frame_begins(c);
        return true;
    }
    if (!counted) {
        kb_log_warn("server", "event=frame_refused size=%u why=\"out of memory\"", c->frame_size);
        srv_conn_fail(c, KB_CLOSE_ERROR);
        return false;
    }
    block(c);
    return false;
}

static void deliver(struct srv_conn *c)
{
    struct kb_block *frame = c->frame;
    c->frame = NULL;
    c->sized = false;
    c->prefix_size = 0;
    KB_ASSERT(c->handler != NULL);
    c->handler->on_frame(&c->base, c->user, frame);
    (void)kb_block_unref(frame);
}

static bool parse_prefix(struct srv_conn *c, const uint8_t *data, size_t size, size_t *position)
{
    while (c->prefix_size < 4 && *position < size)
        c->prefix[c->prefix_size++] = data[(*position)++];
    if (c->prefix_size < 4)
        return false;
    uint32_t frame_size = kb_get_be32(c->prefix);
    if (frame_size > INT32_MAX || frame_size > c->options.frame_bytes_max) {
        srv_conn_fail(c, KB_CLOSE_BAD_FRAME);
        return false;
    }
    c->frame_size = frame_size;
    c->sized = true;
    return true;
}

/* Cut data into frames and deliver them, until it is used up or delivery has to stop. Returns the
 * bytes used. */
static size_t parse(struct srv_conn *c, const uint8_t *data, size_t size)
{
    size_t position = 0;
    while (deliverable(c)) {
        if (!c->sized && !parse_prefix(c, data, size, &position))
            break;
        if (c->frame == NULL && !take_frame(c))
            break;
        size_t n = c->frame_size - c->frame->size;
        if (n > size - position)
            n = size - position;
        if (n > 0)
            memcpy(c->frame->data + c->frame->size, data + position, n);
        c->frame->size += (uint32_t)n;
        position += n;
        if (c->frame->size < c->frame_size)
            break;
        deliver(c);
    }
    return position;
}

/* Keep what could not be delivered now. Charged when the budget allows it; bounded by the scratch
 * size in any case. */
static void keep_rest(struct srv_conn *c, const uint8_t *data, size_t size)
{
    c->rest = kb_pool_take(c->env->pool, size, c->options.budget);
    if (c->rest == NULL)
        c->rest = kb_pool_take(c->env->pool, size, NULL);
    if (c->rest == NULL) {
        srv_conn_fail(c, KB_CLOSE_ERROR);
        return;
    }
    memcpy(c->rest->data, data, size);
    c->rest->size = (uint32_t)size;
    c->rest_position = 0;
}

/* One readv and what it brought. True when the socket may hold more. */
static bool read_once(struct srv_conn *c)
{
    struct srv_env *e = c->env;
    struct iovec iov[2];
    int n_iov = 0;
    size_t into_frame = 0;
    if (c->frame != NULL) {
        into_frame = c->frame_size - c->frame->size;
        iov[n_iov++] = (struct iovec){c->frame->data + c->frame->size, into_frame};
    }
    iov[n_iov++] = (struct iovec){e->scratch, SRV_SCRATCH_BYTES};
    ssize_t n = readv(c->fd, iov, n_iov);
    if (n <= 0) {
        if (n == 0 || errno == ECONNRESET)
            srv_conn_fail(c, KB_CLOSE_PEER);
        else if (errno != EAGAIN && errno != EINTR)
            srv_conn_fail(c, errno == ETIMEDOUT ? KB_CLOSE_PEER : KB_CLOSE_ERROR);
        return false;
    }
    size_t got = (size_t)n;
    bool more = got == into_frame + SRV_SCRATCH_BYTES;
    e->stats.bytes_read += got;
    if (into_frame > 0) {
        size_t part = got < into_frame ? got : into_frame;
        c->frame->size += (uint32_t)part;
        got -= part;
        c->progress_us = srv_now_us();
        if (c->frame->size < c->frame_size)
            return false;
        deliver(c);
    }
    size_t used = parse(c, e->scratch, got);
    if (c->state == SRV_CONN_OPEN && !c->ending && used < got)
        keep_rest(c, e->scratch + used, got - used);
    return more && c->rest == NULL && deliverable(c);
}

/* Input while delivery is stopped. An end of the stream counts at once if nothing that came before
 * it waits to be delivered; else it is found after that. */
static void peek_for_end(struct srv_conn *c)
{
    uint8_t byte;
    if (c->rest == NULL) {
        ssize_t n = recv(c->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
        if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) {
            srv_conn_fail(c, KB_CLOSE_PEER);
            return;
        }
    }
    srv_conn_reading(c, false);
}

static void discard(struct srv_conn *c)
{
    ssize_t n = recv(c->fd, c->env->scratch, SRV_SCRATCH_BYTES, MSG_DONTWAIT);
    if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
        srv_conn_fail(c, KB_CLOSE_LOCAL);
}

static void readable(struct srv_conn *c)
{
    if (c->state == SRV_CONN_LINGERING) {
        discard(c);
        return;
    }
    if (!deliverable(c) || c->rest != NULL) {
        peek_for_end(c);
        return;
    }
    for (int i = 0; i < READS_PER_EVENT && read_once(c); i++)
        ;
}

void srv_conn_on_readable(int fd, short what, void *arg)
{
    struct srv_conn *c = arg;
    (void)fd;
    (void)what;
    srv_conn_count_slice(c);
    readable(c);
}

void srv_conn_continue(struct srv_conn *c)
{
    if (c->rest != NULL || c->sized) {
        struct kb_block *rest = c->rest;
        size_t position = rest != NULL ? c->rest_position : 0;
        size_t size = rest != NULL ? rest->size : 0;
        const uint8_t *data = rest != NULL ? rest->data + position : c->env->scratch;
        c->rest = NULL; /* parse may close the connection, which forgets its input */
        position += parse(c, data, size - position);
        if (c->state == SRV_CONN_OPEN && !c->ending && position < size) {
            c->rest = rest;
            c->rest_position = position;
        } else {
            (void)kb_block_unref(rest);
        }
    }
    if (c->reading_off && c->rest == NULL && deliverable(c))
        srv_conn_reading(c, true);
}

bool srv_conns_unblock(struct srv_env *e)
{
    struct srv_conn *c = TAILQ_FIRST(&e->blocked);
    struct srv_conn *last = TAILQ_LAST(&e->blocked, srv_conn_list);
    struct srv_conn *next = NULL;
    bool moved = false;
    for (; c != NULL; c = next) {
        next = c == last ? NULL : TAILQ_NEXT(c, blocked_link);
        if (others_wait(c))
            continue;
        if (c->frame == NULL)
            c->frame = frame_buffer(c);
        if (c->frame == NULL)
            continue;
        moved = true;
        frame_begins(c);
        c->blocked = false;
        TAILQ_REMOVE(&e->blocked, c, blocked_link);
        c->reading_off = true;
        srv_conn_make_ready(c);
    }
    return moved;
}

static bool small_waits(const struct srv_env *e)
{
    const struct srv_conn *c = NULL;
    TAILQ_FOREACH(c, &e->blocked, blocked_link)
    {
        if (!is_large(c))
            return true;
    }
    return false;
}

void srv_conns_evict_stalled(struct srv_env *e, uint64_t now_us)
{
    struct srv_conn *c = NULL;
    struct srv_conn *next = NULL;
    uint64_t stall_us = small_waits(e) ? STALL_SMALL_LIMIT_US : STALL_LIMIT_US;
    for (c = TAILQ_FIRST(&e->conns); c != NULL; c = next) {
        next = TAILQ_NEXT(c, all);
        if (c->frame == NULL || c->options.budget == NULL || c->state != SRV_CONN_OPEN ||
            c->paused || c->reading_off)
            continue;
        bool stands = now_us - c->progress_us >= stall_us;
        if (!stands && (!is_large(c) || now_us - c->began_us < FRAME_LIMIT_US))
            continue;
        kb_log_warn("server",
                    "event=frame_stalled size=%u got=%u why=\"%s, while others wait for memory\"",
                    c->frame_size, c->frame->size,
                    stands ? "half a frame and no progress" : "half a frame after 30 s");
        srv_conn_fail(c, KB_CLOSE_PEER);
    }
}
