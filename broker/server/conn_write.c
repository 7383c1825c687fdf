#include <errno.h>
#include <event2/event.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "broker/server/internal.h"
#include "proto/base/assert.h"
#include "proto/base/err.h"
#include "proto/base/log.h"
#include "proto/base/mem.h"

/* Chains to the socket: what is in memory, and small file ranges read into pooled buffers, by one
 * sendmsg; long file ranges by sendfile. A range whose pages are not resident is fetched by a
 * reader thread first, so that the loop never waits for a disk. A file range that was read into a
 * buffer keeps its file in the slice: if the log is cut before the last byte is out, the connection
 * closes (replication rule 2.10). */

#define FLUSH_BYTES_MAX ((size_t)1024 * 1024) /* per connection and round */
#define GATHER_BYTES ((size_t)256 * 1024)     /* per sendmsg; also bounds buffers of file bytes */
#define GATHER_SLICES 64
#define SENDFILE_BYTES_MIN ((size_t)256 * 1024)
#define SENDFILE_STEP ((size_t)512 * 1024)
#define PROBE_STEP ((size_t)32 * 1024) /* one byte per so many is asked for before sendfile */

/* A range a reader thread fetches for a connection, which may be gone when it is done. */
struct srv_cold {
    struct kb_read read;
    struct srv_conn *conn;
    struct kb_block *block; /* NULL: pages are only warmed for sendfile */
};

enum step { STEP_ON, STEP_WAIT, STEP_CLOSED };

#define SLICE_BYTES ((uint64_t)128) /* charged for each slice beside its bytes */

void srv_conn_charge_chain(struct srv_conn *c, const struct kb_chain *chain)
{
    uint64_t sum = 0;
    for (size_t i = 0; c->options.answers != NULL && i < chain->count; i++)
        sum += SLICE_BYTES + (chain->slices[i].block != NULL ? chain->slices[i].size : 0);
    srv_conn_charge(c, sum);
}

void srv_conn_forget_output(struct srv_conn *c)
{
    srv_conn_discharge(c, c->charged_bytes);
    /* The consumed slices before out_head hold nothing any more. */
    kb_chain_release(&c->out);
    c->out_head = 0;
    c->queued_bytes = 0;
    c->congested = false;
    if (c->cold != NULL)
        c->cold->conn = NULL;
    c->cold = NULL;
}

static void slice_done(struct kb_slice *s)
{
    (void)kb_block_unref(s->block);
    (void)kb_file_unref(s->file);
    *s = (struct kb_slice){0};
}

static void consume(struct srv_conn *c, uint64_t size)
{
    c->env->stats.bytes_sent += size;
    c->queued_bytes -= size;
    while (size > 0) {
        struct kb_slice *s = &c->out.slices[c->out_head];
        uint64_t part = size < s->size ? size : s->size;
        srv_conn_discharge(c, (s->block != NULL ? part : 0) + (part == s->size ? SLICE_BYTES : 0));
        if (size < s->size) {
            s->position += size;
            s->size -= size;
            break;
        }
        size -= s->size;
        slice_done(s);
        c->out_head++;
    }
    if (c->out_head == c->out.count) {
        c->out_head = 0;
        c->out.count = 0;
    } else if (c->out_head >= 64 && c->out_head >= c->out.count / 2) {
        c->out.count -= c->out_head;
        memmove(c->out.slices, c->out.slices + c->out_head,
                c->out.count * sizeof(c->out.slices[0]));
        c->out_head = 0;
    }
    c->out.size = c->queued_bytes;
}

static bool is_stale(const struct kb_slice *s)
{
    return s->file != NULL && s->file_generation != kb_file_generation(s->file);
}

static bool is_unread(const struct kb_slice *s)
{
    return s->block == NULL;
}

/* ---- cold ranges ---- */

static struct kb_slice *head_unread(struct srv_conn *c)
{
    for (size_t i = c->out_head; i < c->out.count; i++) {
        if (is_unread(&c->out.slices[i]))
            return &c->out.slices[i];
    }
    return NULL;
}

static void on_cold_read(struct kb_read *r, int64_t result)
{
    struct srv_cold *cold = (struct srv_cold *)r;
    struct srv_conn *c = cold->conn;
    struct kb_block *block = cold->block;
    if (c != NULL) {
        c->cold = NULL;
        c->waiting_disk = false;
        /* Only this read changes the first unread slice, so it is still the one asked for. */
        struct kb_slice *s = head_unread(c);
        KB_ASSERT(s != NULL && s->file == r->file);
        if (is_stale(s)) {
            srv_conn_fail(c, KB_CLOSE_STALE_RANGE);
        } else if (result != (int64_t)r->size) {
            kb_log_warn("server", "event=range_unreadable file=%s position=%llu size=%zu got=%lld",
                        kb_file_path(s->file), (unsigned long long)r->position, r->size,
                        (long long)result);
            srv_conn_fail(c, KB_CLOSE_ERROR);
        } else if (block != NULL) {
            block->size = (uint32_t)r->size;
            s->block = kb_block_ref(block);
            s->position = 0;
            srv_conn_charge(c, s->size);
        } else {
            c->warm_file = r->file;
            c->warm_from = r->position;
            c->warm_to = r->position + r->size;
        }
        srv_conn_make_ready(c);
    }
    (void)kb_block_unref(block);
    (void)kb_file_unref(r->file);
    (void)kb_free(cold);
}

bool srv_conn_owns_read(const struct kb_read *r)
{
    return r->done == on_cold_read;
}

/* Have size bytes of slice s fetched, into a buffer or only into the page cache. */
static enum step fetch_cold(struct srv_conn *c, const struct kb_slice *s, uint64_t size,
                            bool buffered)
{
    struct srv_cold *cold = kb_new(struct srv_cold);
    cold->conn = c;
    if (buffered)
        cold->block = kb_pool_take(c->env->pool, (size_t)size, NULL);
    if (buffered && cold->block == NULL) {
        (void)kb_free(cold);
        srv_conn_fail(c, KB_CLOSE_ERROR);
        return STEP_CLOSED;
    }
    cold->read = (struct kb_read){
        .file = kb_file_ref(s->file),
        .position = s->position,
        .buffer = buffered ? cold->block->data : NULL,
        .size = (size_t)size,
        .done = on_cold_read,
    };
    c->cold = cold;
    c->waiting_disk = true;
    c->env->stats.cold_reads++;
    srv_env_read(c->env, &cold->read);
    return STEP_WAIT;
}

/* ---- small ranges and memory: one sendmsg ---- */

/* To be sent from the file without being brought into memory: because it is long, or because
 * memory is short. */
static bool is_sent_as_file(const struct srv_conn *c, const struct kb_slice *s)
{
    return is_unread(s) && (s->size >= SENDFILE_BYTES_MIN || srv_conn_answers_short(c));
}

/* Bytes of the unread small ranges from index on, as many as fit one gathering. */
static size_t run_bytes(const struct srv_conn *c, size_t index, size_t limit)
{
    size_t sum = 0;
    for (size_t i = index; i < c->out.count; i++) {
        const struct kb_slice *s = &c->out.slices[i];
        if (!is_unread(s))
            continue;
        if (s->size >= SENDFILE_BYTES_MIN || sum + s->size > limit)
            break;
        sum += (size_t)s->size;
    }
    return sum;
}

/* Read the small range at index into *answer (taken for a whole run of them when NULL). */
static enum step load_range(struct srv_conn *c, size_t index, struct kb_block **answer,
                            bool *ret_cold)
{
    struct kb_slice *s = &c->out.slices[index];
    struct kb_block *b = *answer;
    if (b == NULL || b->capacity - b->size < s->size) {
        size_t wanted = run_bytes(c, index, GATHER_BYTES);
        (void)kb_block_unref(b);
        *answer = b = kb_pool_take(c->env->pool, wanted > s->size ? wanted : (size_t)s->size, NULL);
        if (b == NULL) {
            srv_conn_fail(c, KB_CLOSE_ERROR);
            return STEP_CLOSED;
        }
    }
    int64_t n = srv_env_read_now(c->env, (struct srv_file *)s->file, s->position, b->data + b->size,
                                 (size_t)s->size);
    if (n == -KB_EAGAIN) {
        *ret_cold = true;
        return STEP_ON;
    }
    if (n != (int64_t)s->size) {
        kb_log_warn("server", "event=range_unreadable file=%s position=%llu size=%llu got=%lld",
                    kb_file_path(s->file), (unsigned long long)s->position,
                    (unsigned long long)s->size, (long long)n);
        srv_conn_fail(c, KB_CLOSE_ERROR);
        return STEP_CLOSED;
    }
    s->position = b->size;
    b->size += (uint32_t)s->size;
    s->block = kb_block_ref(b);
    srv_conn_charge(c, s->size);
    return STEP_ON;
}

struct gather {
    struct iovec iov[GATHER_SLICES];
    size_t count;
    uint64_t size;
    const struct kb_slice *cold; /* the range that ended it, to be fetched */
};

static enum step gather(struct srv_conn *c, struct gather *g)
{
    struct kb_block *answer = NULL;
    enum step r = STEP_ON;
    g->count = 0;
    g->size = 0;
    g->cold = NULL;
    for (size_t i = c->out_head;
         i < c->out.count && g->count < GATHER_SLICES && g->size < GATHER_BYTES; i++) {
        struct kb_slice *s = &c->out.slices[i];
        bool cold = false;
        if (is_stale(s)) {
            srv_conn_fail(c, KB_CLOSE_STALE_RANGE);
            r = STEP_CLOSED;
            break;
        }
        if (is_sent_as_file(c, s))
            break;
        if (is_unread(s) && (r = load_range(c, i, &answer, &cold)) != STEP_ON)
            break;
        if (cold) {
            g->cold = s;
            break;
        }
        g->iov[g->count++] = (struct iovec){s->block->data + s->position, (size_t)s->size};
        g->size += s->size;
    }
    (void)kb_block_unref(answer);
    return r;
}

static enum step sent(struct srv_conn *c, ssize_t n, uint64_t asked)
{
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return STEP_WAIT;
    if (n < 0) {
        bool peer = errno == EPIPE || errno == ECONNRESET || errno == ETIMEDOUT;
        srv_conn_fail(c, peer ? KB_CLOSE_PEER : KB_CLOSE_ERROR);
        return STEP_CLOSED;
    }
    if (c->charged_bytes > 0)
        c->drained_us = srv_now_us();
    consume(c, (uint64_t)n);
    return (uint64_t)n < asked ? STEP_WAIT : STEP_ON;
}

static enum step send_gathered(struct srv_conn *c)
{
    struct gather g;
    enum step r = gather(c, &g);
    if (r != STEP_ON)
        return r;
    if (g.count == 0) {
        KB_ASSERT(g.cold != NULL);
        return fetch_cold(c, g.cold, g.cold->size, true);
    }
    struct msghdr msg = {.msg_iov = g.iov, .msg_iovlen = g.count};
    ssize_t n = sendmsg(c->fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
    return sent(c, n, g.size);
}

/* ---- long ranges: sendfile ---- */

/* Whether every page probably is in memory. Readahead brings pages in long runs, so one byte per
 * PROBE_STEP tells enough, at a few per cent of sendfile's own cost. */
static bool resident(struct srv_env *e, struct srv_file *f, uint64_t position, uint64_t size)
{
    uint8_t byte;
    for (uint64_t at = 0; at < size; at += PROBE_STEP) {
        if (srv_env_read_now(e, f, position + at, &byte, 1) == -KB_EAGAIN)
            return false;
    }
    return srv_env_read_now(e, f, position + size - 1, &byte, 1) != -KB_EAGAIN;
}

/* Bytes of the head of s that were fetched for it just now. They are sent without asking again
 * whether they are in memory: some file systems never tell (overlayfs, NFS), and what was evicted
 * meanwhile would be fetched for ever. */
static uint64_t warm_bytes(const struct srv_conn *c, const struct kb_slice *s)
{
    bool inside = c->warm_file == s->file && s->position >= c->warm_from &&
                  s->position < c->warm_to;
    return inside ? c->warm_to - s->position : 0;
}

static enum step send_file(struct srv_conn *c)
{
    struct srv_env *e = c->env;
    const struct kb_slice *s = &c->out.slices[c->out_head];
    struct srv_file *f = (struct srv_file *)s->file;
    uint64_t size = s->size < SENDFILE_STEP ? s->size : SENDFILE_STEP;
    if (is_stale(s)) {
        srv_conn_fail(c, KB_CLOSE_STALE_RANGE);
        return STEP_CLOSED;
    }
    uint64_t warm = warm_bytes(c, s);
    if (warm > 0)
        size = size < warm ? size : warm;
    else if (!resident(e, f, s->position, size))
        return fetch_cold(c, s, size, false);
    struct srv_open *o = srv_file_try_pin(f);
    if (o == NULL)
        return fetch_cold(c, s, size, false);
    off_t offset = (off_t)s->position;
    ssize_t n = sendfile(c->fd, o->fd, &offset, (size_t)size);
    int saved_errno = errno;
    srv_workers_close_fd(&e->readers, srv_file_unpin(&e->files, o));
    errno = saved_errno;
    if (n == 0) {
        kb_log_warn("server", "event=range_unreadable file=%s position=%llu size=%llu got=0",
                    kb_file_path(s->file), (unsigned long long)s->position,
                    (unsigned long long)size);
        srv_conn_fail(c, KB_CLOSE_ERROR);
        return STEP_CLOSED;
    }
    if (n > 0)
        e->stats.sendfile_bytes += (uint64_t)n;
    return sent(c, n, size);
}

/* ---- flush ---- */

static void writing(struct srv_conn *c, bool on)
{
    if (on == c->writing_on)
        return;
    c->writing_on = on;
    if (on)
        (void)event_add(c->write_event, NULL);
    else
        (void)event_del(c->write_event);
}

static void after_flush(struct srv_conn *c)
{
    writing(c, c->queued_bytes > 0 && !c->waiting_disk);
    if (c->ending && c->queued_bytes == 0) {
        srv_conn_linger(c);
        return;
    }
    if (c->congested && c->queued_bytes <= c->options.send_high_bytes / 4) {
        c->congested = false;
        if (c->handler->on_drain != NULL)
            c->handler->on_drain(&c->base, c->user);
    }
}

void srv_conn_flush(struct srv_conn *c)
{
    uint64_t before = c->queued_bytes;
    enum step r = STEP_ON;
    if (c->waiting_disk)
        return;
    while (r == STEP_ON && c->queued_bytes > 0 && before - c->queued_bytes < FLUSH_BYTES_MAX) {
        const struct kb_slice *s = &c->out.slices[c->out_head];
        r = is_sent_as_file(c, s) ? send_file(c) : send_gathered(c);
    }
    if (r != STEP_CLOSED)
        after_flush(c);
}

void srv_conn_on_writable(int fd, short what, void *arg)
{
    struct srv_conn *c = arg;
    (void)fd;
    (void)what;
    srv_conn_count_slice(c);
    if (c->state == SRV_CONN_CONNECTING)
        srv_conn_finish_dial(c);
    else if (c->state == SRV_CONN_OPEN)
        srv_conn_flush(c);
}
