/* Connections that carry frames. */
#include "broker/cli/conn.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <netinet/tcp.h>
#include <unistd.h>

enum { LOOKUP_POLL_MS = 5, READ_BYTES = 256 << 10, READS_MAX = 8 };

/* A lookup outlives its connection: getaddrinfo_a writes to it until it is done. */
struct lookup {
    struct gaicb block;
    struct gaicb *list[1];
    char *host;
    char service[8];
};

/* Frames are being handed over; who frees the connection meanwhile leaves their bytes here. */
struct in_hand {
    bool alive;
    struct kb_buf in;
};

struct cli_conn {
    struct cli_loop *loop;
    const struct cli_conn_handler *handler;
    void *arg;
    struct lookup *lookup;
    struct addrinfo *address; /* the one being tried */
    bool numeric;             /* the host is an address: not looked up */
    bool begun;               /* addresses are known, and tried */
    struct cli_watch watch;
    struct cli_timer timer; /* the lookup is polled; then the limit of connecting */
    uint64_t deadline_ms;
    bool open;
    bool closed;          /* on_close ran */
    struct in_hand *hand; /* while a frame is handed over */
    struct kb_buf in;
    size_t in_used;
    struct kb_buf out;
    size_t out_sent;
};

static void close_fd(struct cli_conn *c)
{
    cli_watch_remove(c->loop, &c->watch);
    if (c->watch.fd >= 0)
        (void)close(c->watch.fd);
    c->watch.fd = -1;
}

static void fail(struct cli_conn *c, int result)
{
    close_fd(c);
    cli_timer_cancel(&c->timer);
    c->open = false;
    if (!c->closed) {
        c->closed = true;
        c->handler->on_close(c->arg, result); /* may free it */
    }
}

/* ---- connecting --------------------------------------------------------------------------------
 */

/* Begin to connect to the address at hand or one behind it; failure is the last one's. */
static void try_addresses(struct cli_conn *c, int result)
{
    for (; c->address != NULL; c->address = c->address->ai_next) {
        int on = 1;
        int fd = socket(c->address->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        if (fd < 0) {
            result = -errno;
            continue;
        }
        (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
        if (connect(fd, c->address->ai_addr, c->address->ai_addrlen) == 0 || errno == EINPROGRESS) {
            c->watch.fd = fd;
            c->watch.events = POLLOUT;
            cli_watch_add(c->loop, &c->watch);
            return;
        }
        result = -errno;
        (void)close(fd);
    }
    fail(c, result);
}

static void on_timer(void *arg)
{
    struct cli_conn *c = arg;
    if (!c->begun) {
        int r = c->numeric ? 0 : gai_error(&c->lookup->block);
        if (r != EAI_INPROGRESS) {
            c->begun = true;
            c->address = r == 0 ? c->lookup->block.ar_result : NULL;
            uint64_t now_ms = cli_now_ms();
            cli_timer_arm(c->loop, &c->timer,
                          c->deadline_ms > now_ms ? c->deadline_ms - now_ms : 0);
            try_addresses(c, -ENOENT);
            return;
        }
    }
    if (cli_now_ms() >= c->deadline_ms)
        fail(c, -ETIMEDOUT);
    else
        cli_timer_arm(c->loop, &c->timer, LOOKUP_POLL_MS);
}

static void on_connected(struct cli_conn *c)
{
    int error = 0;
    socklen_t size = sizeof(error);
    if (getsockopt(c->watch.fd, SOL_SOCKET, SO_ERROR, &error, &size) < 0)
        error = errno;
    if (error != 0) {
        close_fd(c);
        c->address = c->address->ai_next;
        try_addresses(c, -error);
        return;
    }
    cli_timer_cancel(&c->timer);
    c->open = true;
    c->watch.events = POLLIN;
    c->handler->on_open(c->arg);
}

/* ---- bytes -------------------------------------------------------------------------------------
 */

static bool write_some(struct cli_conn *c)
{
    while (c->out_sent < c->out.size) {
        ssize_t n = send(c->watch.fd, c->out.data + c->out_sent, c->out.size - c->out_sent,
                         MSG_NOSIGNAL);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            break;
        if (n < 0) {
            fail(c, -errno);
            return false;
        }
        c->out_sent += (size_t)n;
    }
    if (c->out_sent == c->out.size)
        c->out_sent = c->out.size = 0;
    c->watch.events = c->out.size > 0 ? POLLIN | POLLOUT : POLLIN;
    return true;
}

/* Hand over whole frames. False: the connection failed or is gone. */
static bool take_frames(struct cli_conn *c, const struct in_hand *hand)
{
    while (c->in.size - c->in_used >= 4) {
        const uint8_t *at = c->in.data + c->in_used;
        size_t size = kb_get_be32(at);
        if (size > CLI_ANSWER_BYTES_MAX) {
            fail(c, -EPROTO);
            return false;
        }
        if (c->in.size - c->in_used < 4 + size)
            break;
        c->in_used += 4 + size;
        c->handler->on_frame(c->arg, at + 4, size);
        if (!hand->alive || c->closed)
            return false;
    }
    if (c->in_used > 0) {
        memmove(c->in.data, c->in.data + c->in_used, c->in.size - c->in_used);
        c->in.size -= c->in_used;
        c->in_used = 0;
    }
    return true;
}

static void read_some(struct cli_conn *c)
{
    for (int i = 0; i < READS_MAX; i++) {
        kb_buf_reserve(&c->in, READ_BYTES);
        ssize_t n = recv(c->watch.fd, c->in.data + c->in.size, READ_BYTES, 0);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        if (n <= 0) {
            fail(c, n == 0 ? -ECONNRESET : -errno);
            return;
        }
        c->in.size += (size_t)n;
        struct in_hand hand = {.alive = true};
        c->hand = &hand;
        bool goes_on = take_frames(c, &hand);
        if (!hand.alive) {
            kb_buf_release(&hand.in);
            return;
        }
        c->hand = NULL;
        if (!goes_on || n < READ_BYTES)
            return;
    }
}

static void on_ready(void *arg, short revents)
{
    struct cli_conn *c = arg;
    if (!c->open) {
        on_connected(c);
        return;
    }
    if ((revents & POLLOUT) != 0 && !write_some(c))
        return;
    if ((revents & (POLLIN | POLLERR | POLLHUP)) != 0)
        read_some(c);
}

/* ---- life --------------------------------------------------------------------------------------
 */

struct cli_conn *cli_conn_new(struct cli_loop *l, const char *host, uint16_t port,
                              uint64_t connect_timeout_ms, const struct cli_conn_handler *handler,
                              void *arg)
{
    static const struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    static const struct addrinfo numeric = {.ai_socktype = SOCK_STREAM,
                                            .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV};
    struct cli_conn *c = kb_new(struct cli_conn);
    struct lookup *k = kb_new(struct lookup);
    c->loop = l;
    c->handler = handler;
    c->arg = arg;
    c->lookup = k;
    c->watch = (struct cli_watch){.fd = -1, .fn = on_ready, .arg = c};
    c->timer = (struct cli_timer){.fn = on_timer, .arg = c};
    c->deadline_ms = cli_now_ms() + connect_timeout_ms;
    k->host = kb_strdup(host);
    (void)snprintf(k->service, sizeof(k->service), "%u", port);
    k->block = (struct gaicb){.ar_name = k->host, .ar_service = k->service, .ar_request = &hints};
    k->list[0] = &k->block;
    /* Numbers need no lookup, and no thread for it (which a forked process would lack). What cannot
     * even be begun shows as a failed lookup when the timer looks at it. */
    c->numeric = getaddrinfo(host, k->service, &numeric, &c->address) == 0;
    if (c->numeric)
        k->block.ar_result = c->address;
    else
        (void)getaddrinfo_a(GAI_NOWAIT, k->list, 1, NULL);
    cli_timer_arm(l, &c->timer, 0);
    return c;
}

static void lookup_free(struct lookup *k, bool numeric)
{
    if (!numeric && gai_error(&k->block) == EAI_INPROGRESS &&
        gai_cancel(&k->block) == EAI_NOTCANCELED)
        return; /* it still writes to its block: that stays until the process ends */
    if (k->block.ar_result != NULL)
        freeaddrinfo(k->block.ar_result);
    (void)kb_free(k->host);
    (void)kb_free(k);
}

struct cli_conn *cli_conn_free(struct cli_conn *c)
{
    if (c == NULL)
        return NULL;
    if (c->hand != NULL) { /* whoever reads the frame in hand goes on reading it */
        *c->hand = (struct in_hand){.in = c->in};
        c->in = (struct kb_buf){0};
    }
    close_fd(c);
    cli_timer_cancel(&c->timer);
    lookup_free(c->lookup, c->numeric);
    kb_buf_release(&c->in);
    kb_buf_release(&c->out);
    return kb_free(c);
}

void cli_conn_send(struct cli_conn *c, struct kb_chain *chain)
{
    for (size_t i = 0; i < chain->count; i++) {
        const struct kb_slice *s = &chain->slices[i];
        kb_buf_append(&c->out, s->block->data + s->position, s->size);
    }
    kb_chain_release(chain);
    /* A failure to write shows as an event. */
    if (c->open)
        c->watch.events = POLLIN | POLLOUT;
}

size_t cli_conn_unsent(const struct cli_conn *c)
{
    return c->out.size - c->out_sent;
}
