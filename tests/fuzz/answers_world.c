#include "tests/fuzz/answers_world.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "proto/base/assert.h"

enum { FIRST_FD = 1 << 20, MS_PER_POLL = 1, INBOX_BYTES_MAX = 1 << 20, POLLS_MAX = 3000 };

struct conn {
    bool open;
    bool ended;        /* the other end has closed, behind what is in out */
    struct kb_buf in;  /* sent by the command, not yet a whole frame */
    struct kb_buf out; /* to be received */
    size_t out_at;
};

static struct {
    bool on;
    uint64_t now_ms;
    int polls;
    bool interrupted; /* a signal waits */
    aw_request_fn *fn;
    void *arg;
    struct kb_view input;
    struct conn conns[AW_CONNS_MAX];
} world;

void aw_begin(aw_request_fn *fn, void *arg, struct kb_view input)
{
    world.on = true;
    world.now_ms = 1000000;
    world.polls = 0;
    world.interrupted = false;
    world.fn = fn;
    world.arg = arg;
    world.input = input;
}

void aw_interrupt(void)
{
    world.interrupted = true;
}

void aw_end(void)
{
    world.on = false;
    for (size_t i = 0; i < AW_CONNS_MAX; i++)
        KB_ASSERT(!world.conns[i].open);
}

static struct conn *conn_of(int fd)
{
    return fd >= FIRST_FD && fd < FIRST_FD + AW_CONNS_MAX ? &world.conns[fd - FIRST_FD] : NULL;
}

/* ---- names ---- */

static struct sockaddr_in somewhere = {.sin_family = AF_INET};
static struct addrinfo address = {.ai_family = AF_INET,
                                  .ai_socktype = SOCK_STREAM,
                                  .ai_addrlen = sizeof(somewhere),
                                  .ai_addr = (struct sockaddr *)&somewhere};

/* The names are the linker's. NOLINTBEGIN(bugprone-reserved-identifier,cert-dcl37-c,cert-dcl51-cpp)
 */
int __wrap_getaddrinfo_a(int mode, struct gaicb *list[], int count, struct sigevent *event);
int __wrap_gai_error(struct gaicb *block);
int __wrap_getaddrinfo(const char *host, const char *service, const struct addrinfo *hints,
                       struct addrinfo **ret);
void __wrap_freeaddrinfo(struct addrinfo *list);
int __wrap_socket(int family, int type, int protocol);
int __wrap_connect(int fd, const struct sockaddr *to, socklen_t size);
int __wrap_getsockopt(int fd, int level, int name, void *value, socklen_t *size);
int __wrap_setsockopt(int fd, int level, int name, const void *value, socklen_t size);
ssize_t __wrap_send(int fd, const void *data, size_t size, int flags);
ssize_t __wrap_recv(int fd, void *data, size_t size, int flags);
int __wrap_poll(struct pollfd *fds, nfds_t count, int timeout_ms);
int __wrap_close(int fd);
ssize_t __wrap_read(int fd, void *data, size_t size);
int __wrap_clock_gettime(clockid_t clock, struct timespec *ret);
int __wrap_sigprocmask(int how, const sigset_t *set, sigset_t *ret);
int __wrap_sigtimedwait(const sigset_t *set, siginfo_t *info, const struct timespec *limit);
int __real_poll(struct pollfd *fds, nfds_t count, int timeout_ms);
int __real_close(int fd);
ssize_t __real_read(int fd, void *data, size_t size);
int __real_clock_gettime(clockid_t clock, struct timespec *ret);

int __wrap_getaddrinfo_a(int mode, struct gaicb *list[], int count, struct sigevent *event)
{
    (void)mode;
    (void)event;
    for (int i = 0; i < count; i++)
        list[i]->ar_result = &address;
    return 0;
}

int __wrap_gai_error(struct gaicb *block)
{
    return block->ar_result != NULL ? 0 : EAI_NONAME;
}

int __wrap_getaddrinfo(const char *host, const char *service, const struct addrinfo *hints,
                       struct addrinfo **ret)
{
    (void)host;
    (void)service;
    (void)hints;
    *ret = &address;
    return 0;
}

void __wrap_freeaddrinfo(struct addrinfo *list)
{
    (void)list;
}

/* ---- sockets ---- */

int __wrap_socket(int family, int type, int protocol)
{
    (void)family;
    (void)type;
    (void)protocol;
    for (int i = 0; i < AW_CONNS_MAX; i++) {
        if (!world.conns[i].open) {
            world.conns[i] = (struct conn){.open = true};
            return FIRST_FD + i;
        }
    }
    errno = EMFILE;
    return -1;
}

int __wrap_connect(int fd, const struct sockaddr *to, socklen_t size)
{
    (void)to;
    (void)size;
    KB_ASSERT(conn_of(fd) != NULL);
    return 0;
}

int __wrap_getsockopt(int fd, int level, int name, void *value, socklen_t *size)
{
    (void)fd;
    (void)level;
    (void)name;
    memset(value, 0, *size);
    return 0;
}

int __wrap_setsockopt(int fd, int level, int name, const void *value, socklen_t size)
{
    (void)fd;
    (void)level;
    (void)name;
    (void)value;
    (void)size;
    return 0;
}

static void take_frames(struct conn *c)
{
    size_t at = 0;
    while (!c->ended && c->in.size - at >= 4) {
        size_t size = kb_get_be32(c->in.data + at);
        KB_ASSERT(size <= INBOX_BYTES_MAX);
        if (c->in.size - at - 4 < size)
            break;
        c->ended = !world.fn(world.arg, kb_view_of(c->in.data + at + 4, size), &c->out);
        at += 4 + size;
    }
    memmove(c->in.data, c->in.data + at, c->in.size - at);
    c->in.size -= at;
}

ssize_t __wrap_send(int fd, const void *data, size_t size, int flags)
{
    struct conn *c = conn_of(fd);
    (void)flags;
    KB_ASSERT(c != NULL && c->open);
    if (c->ended) {
        errno = EPIPE;
        return -1;
    }
    kb_buf_append(&c->in, data, size);
    take_frames(c);
    return (ssize_t)size;
}

ssize_t __wrap_recv(int fd, void *data, size_t size, int flags)
{
    struct conn *c = conn_of(fd);
    (void)flags;
    KB_ASSERT(c != NULL && c->open);
    size_t left = c->out.size - c->out_at;
    if (left == 0 && !c->ended) {
        errno = EAGAIN;
        return -1;
    }
    size = size < left ? size : left;
    if (size > 0)
        memcpy(data, c->out.data + c->out_at, size);
    c->out_at += size;
    return (ssize_t)size;
}

int __wrap_close(int fd)
{
    struct conn *c = conn_of(fd);
    if (c == NULL)
        return __real_close(fd);
    KB_ASSERT(c->open);
    kb_buf_release(&c->in);
    kb_buf_release(&c->out);
    c->open = false;
    return 0;
}

/* ---- time and waiting ---- */

static short ready(const struct pollfd *p)
{
    const struct conn *c = conn_of(p->fd);
    if (p->fd == STDIN_FILENO)
        return p->events & POLLIN;
    if (c == NULL && p->fd > STDERR_FILENO) /* the descriptor of signals */
        return world.interrupted ? p->events & POLLIN : 0;
    if (c == NULL || !c->open)
        return 0;
    bool readable = c->ended || c->out.size > c->out_at;
    return (short)((p->events & POLLOUT) | (readable ? p->events & POLLIN : 0));
}

int __wrap_poll(struct pollfd *fds, nfds_t count, int timeout_ms)
{
    int n = 0;
    if (!world.on)
        return __real_poll(fds, count, timeout_ms);
    if (++world.polls == POLLS_MAX)
        aw_interrupt();
    for (nfds_t i = 0; i < count; i++) {
        fds[i].revents = ready(&fds[i]);
        n += fds[i].revents != 0;
    }
    world.now_ms += n == 0 && timeout_ms > MS_PER_POLL ? (uint64_t)timeout_ms : MS_PER_POLL;
    return n;
}

ssize_t __wrap_read(int fd, void *data, size_t size)
{
    if (!world.on)
        return __real_read(fd, data, size);
    if (fd != STDIN_FILENO && world.interrupted) {
        world.interrupted = false;
        memset(data, 0, size);
        ((struct signalfd_siginfo *)data)->ssi_signo = SIGINT;
        return (ssize_t)size;
    }
    if (fd != STDIN_FILENO) {
        errno = EAGAIN;
        return -1;
    }
    size = size < world.input.size ? size : world.input.size;
    if (size > 0)
        memcpy(data, world.input.data, size);
    world.input = kb_view_of(world.input.data + size, world.input.size - size);
    return (ssize_t)size;
}

int __wrap_clock_gettime(clockid_t clock, struct timespec *ret)
{
    if (!world.on)
        return __real_clock_gettime(clock, ret);
    ret->tv_sec = (time_t)(world.now_ms / 1000);
    ret->tv_nsec = (long)(world.now_ms % 1000) * 1000000;
    return 0;
}

int __wrap_sigprocmask(int how, const sigset_t *set, sigset_t *ret)
{
    (void)how;
    (void)set;
    if (ret != NULL)
        (void)sigemptyset(ret);
    return 0;
}

/* One comes at once: nothing is watched for long. */
int __wrap_sigtimedwait(const sigset_t *set, siginfo_t *info, const struct timespec *limit)
{
    (void)set;
    (void)info;
    (void)limit;
    return SIGINT;
}
/* NOLINTEND(bugprone-reserved-identifier,cert-dcl37-c,cert-dcl51-cpp) */
