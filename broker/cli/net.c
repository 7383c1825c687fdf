/* Requests over non-blocking sockets, side by side: a node that is dead costs no more than the
 * deadline, whatever the number of nodes. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "broker/cli/internal.h"

enum { LOOKUP_POLL_MS = 5, DEFAULT_PORT = 9092, READ_BYTES = 64 << 10 };

uint64_t cli_now_ms(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

int cli_address_parse(const char *text, size_t size, char **ret_host, uint16_t *ret_port)
{
    size_t host_at = 0;
    size_t host_end = size;
    const char *colon = memrchr(text, ':', size);
    const char *bracket = memrchr(text, ']', size);
    unsigned long port = DEFAULT_PORT;
    if (colon != NULL && (bracket == NULL || colon > bracket)) {
        char digits[6] = {0};
        char *end = NULL;
        size_t n = size - (size_t)(colon - text) - 1;
        if (n == 0 || n >= sizeof(digits))
            return -KB_EINVAL;
        memcpy(digits, colon + 1, n);
        port = strtoul(digits, &end, 10);
        if (*end != '\0' || digits[0] < '0' || digits[0] > '9' || port == 0 || port > UINT16_MAX)
            return -KB_EINVAL;
        host_end = (size_t)(colon - text);
    }
    if (host_end > 1 && text[0] == '[' && text[host_end - 1] == ']') {
        host_at = 1;
        host_end--;
    }
    if (host_end == host_at)
        return -KB_EINVAL;
    *ret_host = kb_strndup(text + host_at, host_end - host_at);
    *ret_port = (uint16_t)port;
    return 0;
}

const char *cli_result_text(int result)
{
    switch (-result) {
    case 0:
        return "ok";
    case ECONNREFUSED:
        return "refused";
    case ETIMEDOUT:
        return "timed out";
    case ENOENT:
        return "unknown host";
    case ENOTCONN:
        return "no client address known";
    case ECONNRESET:
        return "closed the connection";
    default:
        return strerror(-result);
    }
}

/* ---- one call --------------------------------------------------------------------------------
 */

static void finish(struct cli_call *c, int result)
{
    c->state = CLI_DONE;
    c->result = result;
    c->took_ms = cli_now_ms() - c->began_ms;
    if (result < 0 && c->fd >= 0) {
        (void)close(c->fd);
        c->fd = -1;
    }
}

/* Begin to connect to the address at hand or one behind it; failure is the last one's. */
static void try_addresses(struct cli_call *c, int result)
{
    for (; c->address_ != NULL; c->address_ = c->address_->ai_next) {
        c->fd = socket(c->address_->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        if (c->fd >= 0 && connect(c->fd, c->address_->ai_addr, c->address_->ai_addrlen) == 0) {
            c->state = CLI_SENDING;
            return;
        }
        result = -errno;
        if (c->fd >= 0 && result == -EINPROGRESS) {
            c->state = CLI_CONNECTING;
            return;
        }
        if (c->fd >= 0)
            (void)close(c->fd);
        c->fd = -1;
    }
    finish(c, result);
}

static void step_lookup(struct cli_call *c)
{
    int r = gai_error(c->lookup_);
    if (r == EAI_INPROGRESS)
        return;
    c->address_ = c->lookup_->ar_result;
    try_addresses(c, -ENOENT);
}

static void step_connect(struct cli_call *c)
{
    int error = 0;
    socklen_t size = sizeof(error);
    if (getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &size) < 0)
        error = errno;
    if (error == 0) {
        c->state = CLI_SENDING;
        return;
    }
    (void)close(c->fd);
    c->fd = -1;
    c->address_ = c->address_->ai_next;
    try_addresses(c, -error);
}

static void step_send(struct cli_call *c)
{
    ssize_t n = send(c->fd, c->out_.data + c->sent_, c->out_.size - c->sent_, MSG_NOSIGNAL);
    if (n < 0) {
        if (errno != EAGAIN && errno != EINTR)
            finish(c, -errno);
        return;
    }
    c->sent_ += (size_t)n;
    if (c->sent_ == c->out_.size)
        c->state = CLI_RECEIVING;
}

static void step_receive(struct cli_call *c)
{
    size_t want = READ_BYTES;
    if (c->in.size >= 4) {
        size_t whole = 4 + (size_t)kb_get_be32(c->in.data);
        if (whole > CLI_ANSWER_BYTES_MAX) {
            finish(c, -EPROTO);
            return;
        }
        want = whole - c->in.size;
    } else {
        want = 4 - c->in.size;
    }
    kb_buf_reserve(&c->in, want);
    ssize_t n = recv(c->fd, c->in.data + c->in.size, want, 0);
    if (n == 0)
        finish(c, -ECONNRESET);
    else if (n < 0 && errno != EAGAIN && errno != EINTR)
        finish(c, -errno);
    if (n <= 0)
        return;
    c->in.size += (size_t)n;
    if (c->in.size >= 4 && c->in.size == 4 + (size_t)kb_get_be32(c->in.data))
        finish(c, 0);
}

static void step(struct cli_call *c)
{
    switch (c->state) {
    case CLI_RESOLVING:
        step_lookup(c);
        break;
    case CLI_CONNECTING:
        step_connect(c);
        break;
    case CLI_SENDING:
        step_send(c);
        break;
    case CLI_RECEIVING:
        step_receive(c);
        break;
    case CLI_DONE:
        break;
    }
}

/* ---- all of them ------------------------------------------------------------------------------
 */

static void begin_lookup(struct cli_call *c)
{
    static const struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    char *service = kb_asprintf("%u", c->port);
    c->lookup_ = kb_new(struct gaicb);
    c->lookup_->ar_name = c->host;
    c->lookup_->ar_service = service;
    c->lookup_->ar_request = &hints;
    if (getaddrinfo_a(GAI_NOWAIT, &c->lookup_, 1, NULL) != 0)
        finish(c, -ENOENT);
}

struct cli_call *cli_calls_add(struct cli_calls *set, const char *host, uint16_t port, int fd,
                               struct kb_buf *frame)
{
    struct cli_call *c = kb_new(struct cli_call);
    kb_array_reserve(set->calls, set->count, set->capacity);
    set->calls[set->count++] = c;
    c->host = kb_strdup(host);
    c->port = port;
    c->fd = fd;
    c->out_ = *frame;
    *frame = (struct kb_buf){0};
    c->began_ms = cli_now_ms();
    c->state = fd >= 0 ? CLI_SENDING : CLI_RESOLVING;
    if (fd < 0)
        begin_lookup(c);
    return c;
}

/* Wait until a socket is ready; 0 calls open = all are done. */
static size_t wait_ready(const struct cli_calls *set, struct pollfd *fds, uint64_t wait_ms)
{
    size_t open = 0;
    for (size_t i = 0; i < set->count; i++) {
        const struct cli_call *c = set->calls[i];
        bool idle = c->state == CLI_DONE || c->state == CLI_RESOLVING;
        fds[i] = (struct pollfd){.fd = idle ? -1 : c->fd};
        fds[i].events = c->state == CLI_RECEIVING ? POLLIN : POLLOUT;
        open += c->state != CLI_DONE;
        if (c->state == CLI_RESOLVING && wait_ms > LOOKUP_POLL_MS)
            wait_ms = LOOKUP_POLL_MS;
    }
    if (open > 0)
        (void)poll(fds, set->count, (int)wait_ms);
    return open;
}

void cli_calls_run(struct cli_calls *set, uint64_t deadline_ms, cli_done_fn *done, void *arg)
{
    for (;;) {
        uint64_t now_ms = cli_now_ms();
        uint64_t wait_ms = deadline_ms > now_ms ? deadline_ms - now_ms : 0;
        struct pollfd *fds = kb_new_array(struct pollfd, set->count);
        size_t polled = set->count;
        size_t open = wait_ready(set, fds, wait_ms);
        bool over = wait_ms == 0;
        for (size_t i = 0; i < polled && open > 0; i++) {
            struct cli_call *c = set->calls[i];
            if (c->state == CLI_DONE)
                continue;
            if (fds[i].revents != 0 || c->state == CLI_RESOLVING)
                step(c);
            if (over && c->state != CLI_DONE)
                finish(c, -ETIMEDOUT);
            if (c->state == CLI_DONE && done != NULL)
                done(arg, c);
        }
        (void)kb_free(fds);
        for (size_t i = 0; set->stop && i < set->count; i++) {
            if (set->calls[i]->state != CLI_DONE)
                finish(set->calls[i], -ECANCELED);
        }
        if (set->stop || (open == 0 && polled == set->count))
            return;
    }
}

void cli_calls_release(struct cli_calls *set)
{
    for (size_t i = 0; i < set->count; i++) {
        struct cli_call *c = set->calls[i];
        /* A lookup under way still writes to its block: that stays until the process ends. */
        bool looking = c->lookup_ != NULL && gai_error(c->lookup_) == EAI_INPROGRESS;
        if (c->lookup_ != NULL && !looking) {
            if (c->lookup_->ar_result != NULL)
                freeaddrinfo(c->lookup_->ar_result);
            free((void *)(uintptr_t)c->lookup_->ar_service);
            (void)kb_free(c->lookup_);
        }
        if (c->fd >= 0)
            (void)close(c->fd);
        kb_buf_release(&c->in);
        kb_buf_release(&c->out_);
        if (!looking)
            (void)kb_free(c->host);
        (void)kb_free(c);
    }
    (void)kb_free(set->calls);
    *set = (struct cli_calls){0};
}
