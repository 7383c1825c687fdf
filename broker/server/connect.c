#include <arpa/inet.h>
#include <errno.h>
#include <event2/event.h>
#include <event2/listener.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "broker/server/internal.h"
#include "proto/base/assert.h"
#include "proto/base/err.h"
#include "proto/base/log.h"
#include "proto/base/mem.h"

#define BACKLOG 1024
#define ACCEPT_RETRY_MS 100 /* after running out of descriptors */

/* ---- dialling ---- */

static enum kb_close_reason reason_of(int sys_errno)
{
    switch (sys_errno) {
    case ECONNREFUSED:
        return KB_CLOSE_REFUSED;
    case EHOSTUNREACH:
    case ENETUNREACH:
    case EADDRNOTAVAIL:
    case ENETDOWN:
    case EHOSTDOWN:
        return KB_CLOSE_UNREACHABLE;
    case ETIMEDOUT:
        return KB_CLOSE_TIMEOUT;
    case ECONNRESET:
        return KB_CLOSE_PEER;
    default:
        return KB_CLOSE_ERROR;
    }
}

/* Start connecting to one address. 0, or the errno that failed it at once. */
static int start_connect(struct srv_conn *c, struct sockaddr_storage *address)
{
    int fd = socket(address->ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return errno == EAFNOSUPPORT ? ENETUNREACH : errno;
    srv_address_set_port(address, c->port);
    int r = connect(fd, (struct sockaddr *)address, srv_address_size(address));
    if (r < 0 && errno != EINPROGRESS) {
        int saved_errno = errno;
        (void)close(fd);
        return saved_errno;
    }
    if (srv_conn_attach(c, fd) < 0 || event_add(c->write_event, NULL) < 0)
        return ENOMEM;
    c->writing_on = true;
    c->state = SRV_CONN_CONNECTING;
    return 0;
}

/* Try the addresses in turn. When none is left the reason is the last one's, but a refusal by any
 * of them is the better evidence: that process is not running. */
void srv_conn_dial_next(struct srv_conn *c, enum kb_close_reason reason)
{
    srv_conn_drop_socket(c);
    c->saw_refused = c->saw_refused || reason == KB_CLOSE_REFUSED;
    while (c->next_address < c->addresses.count) {
        int e = start_connect(c, &c->addresses.list[c->next_address++]);
        if (e == 0)
            return;
        srv_conn_drop_socket(c);
        reason = reason_of(e);
        c->saw_refused = c->saw_refused || reason == KB_CLOSE_REFUSED;
    }
    srv_resolver_doubt(c->env->resolver, c->host);
    srv_conn_fail(c, c->saw_refused ? KB_CLOSE_REFUSED : reason);
}

/* On loopback a dial to a port in the ephemeral range where nobody listens can meet itself. */
static bool connected_to_itself(int fd)
{
    struct sockaddr_storage a = {0};
    struct sockaddr_storage b = {0};
    socklen_t size_a = sizeof(a);
    socklen_t size_b = sizeof(b);
    return getsockname(fd, (struct sockaddr *)&a, &size_a) == 0 &&
           getpeername(fd, (struct sockaddr *)&b, &size_b) == 0 && size_a == size_b &&
           memcmp(&a, &b, size_a) == 0;
}

void srv_conn_finish_dial(struct srv_conn *c)
{
    int error = 0;
    socklen_t size = sizeof(error);
    if (getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &size) < 0)
        error = errno;
    if (error == 0 && connected_to_itself(c->fd))
        error = ECONNREFUSED;
    if (error != 0) {
        srv_conn_dial_next(c, reason_of(error));
        return;
    }
    c->deadline = kb_timer_free(c->deadline);
    c->state = SRV_CONN_OPEN;
    (void)event_del(c->write_event);
    c->writing_on = false;
    srv_conn_reading(c, true);
    if (c->handler->on_open != NULL)
        c->handler->on_open(&c->base, c->user);
    if (c->queued_bytes > 0)
        srv_conn_make_ready(c);
}

static void on_resolved(void *arg, int result, const struct srv_addresses *addresses)
{
    struct srv_conn *c = arg;
    c->lookup = NULL;
    if (result < 0) {
        srv_conn_fail(c, KB_CLOSE_UNREACHABLE);
        return;
    }
    c->addresses = *addresses;
    srv_conn_dial_next(c, KB_CLOSE_ERROR);
}

struct kb_conn *srv_env_connect(struct kb_env *ke, const char *host, uint16_t port,
                                uint64_t timeout_ms, const struct kb_conn_options *options,
                                const struct kb_conn_handler *handler, void *user)
{
    struct srv_env *e = (struct srv_env *)ke;
    struct srv_conn *c = srv_conn_new(e, options);
    c->handler = handler;
    c->user = user;
    c->host = kb_strdup(host);
    c->port = port;
    c->state = SRV_CONN_RESOLVING;
    srv_conn_set_timeout(c, timeout_ms);
    if (srv_resolve_now(e->resolver, host, &c->addresses))
        srv_conn_dial_next(c, KB_CLOSE_ERROR);
    else
        c->lookup = srv_resolve(e->resolver, host, on_resolved, c);
    return &c->base;
}

/* ---- listening ---- */

#define LISTENER_SOCKETS_MAX 4

struct srv_listener {
    struct kb_listener base;
    LIST_ENTRY(srv_listener) all;
    struct evconnlistener *sockets[LISTENER_SOCKETS_MAX];
    size_t n_sockets;
    uint16_t port;
    struct kb_conn_options options;
    kb_accept_fn *fn;
    void *arg;
    struct kb_timer *retry;
    struct kb_log_rate rate;
};

static uint16_t address_text(const struct sockaddr *address, char *text, size_t size)
{
    if (address->sa_family == AF_INET6) {
        const struct sockaddr_in6 *a = (const struct sockaddr_in6 *)(const void *)address;
        if (IN6_IS_ADDR_V4MAPPED(&a->sin6_addr))
            (void)inet_ntop(AF_INET, &a->sin6_addr.s6_addr[12], text, (socklen_t)size);
        else
            (void)inet_ntop(AF_INET6, &a->sin6_addr, text, (socklen_t)size);
        return ntohs(a->sin6_port);
    }
    const struct sockaddr_in *a = (const struct sockaddr_in *)(const void *)address;
    (void)inet_ntop(AF_INET, &a->sin_addr, text, (socklen_t)size);
    return ntohs(a->sin_port);
}

static void warn_rarely(struct srv_listener *l, const char *event, const char *why)
{
    uint64_t suppressed = 0;
    if (kb_log_rate_allow(&l->rate, kb_env_now_ms(l->base.env), 5000, &suppressed) == 1)
        kb_log_warn("server", "event=%s port=%u why=\"%s\" similar=%llu", event, l->port, why,
                    (unsigned long long)suppressed);
}

static void on_accept(struct evconnlistener *ev, evutil_socket_t fd, struct sockaddr *address,
                      int address_size, void *arg)
{
    struct srv_listener *l = arg;
    struct srv_env *e = (struct srv_env *)l->base.env;
    char host[INET6_ADDRSTRLEN] = "";
    (void)ev;
    (void)address_size;
    if (!l->options.control && e->n_clients >= e->options.conns_max) {
        warn_rarely(l, "connection_refused", "too many connections for this descriptor limit");
        (void)close(fd);
        return;
    }
    uint16_t port = address_text(address, host, sizeof(host));
    struct srv_conn *c = srv_conn_new(e, &l->options);
    c->incoming = true;
    c->state = SRV_CONN_OPEN;
    e->n_clients += !l->options.control;
    if (srv_conn_attach(c, fd) < 0) {
        srv_conn_fail(c, KB_CLOSE_ERROR);
        return;
    }
    srv_conn_reading(c, true);
    l->fn(&c->base, host, port, l->arg);
    KB_ASSERT(c->handler != NULL || c->state == SRV_CONN_CLOSED || c->state == SRV_CONN_LINGERING);
}

static void on_retry(void *arg)
{
    struct srv_listener *l = arg;
    for (size_t i = 0; i < l->n_sockets; i++)
        (void)evconnlistener_enable(l->sockets[i]);
}

static void on_accept_error(struct evconnlistener *ev, void *arg)
{
    struct srv_listener *l = arg;
    warn_rarely(l, "accept_failed", strerror(errno));
    (void)evconnlistener_disable(ev);
    kb_timer_arm(l->retry, ACCEPT_RETRY_MS);
}

/* A bound, listening socket, or a negative error. */
static int bind_socket(struct sockaddr_storage *address, uint16_t port, bool dual)
{
    int one = 1;
    int v6only = !dual;
    int fd = socket(address->ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return kb_err_from_errno(errno);
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    if (address->ss_family == AF_INET6)
        (void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &v6only, sizeof(v6only));
    srv_address_set_port(address, port);
    if (bind(fd, (struct sockaddr *)address, srv_address_size(address)) < 0 ||
        listen(fd, BACKLOG) < 0) {
        int r = kb_err_from_errno(errno);
        (void)close(fd);
        return r;
    }
    return fd;
}

static uint16_t bound_port(int fd)
{
    struct sockaddr_storage address = {0};
    socklen_t size = sizeof(address);
    if (getsockname(fd, (struct sockaddr *)&address, &size) < 0)
        return 0;
    if (address.ss_family == AF_INET6)
        return kb_get_be16(&((struct sockaddr_in6 *)&address)->sin6_port);
    return kb_get_be16(&((struct sockaddr_in *)&address)->sin_port);
}

static int add_socket(struct srv_env *e, struct srv_listener *l, struct sockaddr_storage *address,
                      bool dual)
{
    int fd = bind_socket(address, l->port, dual);
    if (fd < 0)
        return fd;
    struct evconnlistener *ev = evconnlistener_new(
        e->loop, on_accept, l, LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC, 0, fd);
    if (ev == NULL) {
        (void)close(fd);
        return -KB_ENOMEM;
    }
    evconnlistener_set_error_cb(ev, on_accept_error);
    l->sockets[l->n_sockets++] = ev;
    if (l->port == 0)
        l->port = bound_port(fd);
    return 0;
}

/* All addresses: one dual-stack socket, or IPv4 alone where there is no IPv6. */
static int listen_everywhere(struct srv_env *e, struct srv_listener *l)
{
    struct sockaddr_storage v6 = {.ss_family = AF_INET6};
    struct sockaddr_storage v4 = {.ss_family = AF_INET};
    int r = add_socket(e, l, &v6, true);
    if (r == 0 || r == -KB_EADDRINUSE || r == -KB_EPERM)
        return r;
    return add_socket(e, l, &v4, false);
}

static int listen_on(struct srv_env *e, struct srv_listener *l, const char *host)
{
    struct srv_addresses addresses;
    int first = -KB_EUNREACHABLE;
    int r = srv_resolve_wait(host, true, &addresses);
    if (r < 0)
        return r;
    for (size_t i = 0; i < addresses.count && l->n_sockets < LISTENER_SOCKETS_MAX; i++) {
        r = add_socket(e, l, &addresses.list[i], false);
        if (r < 0 && first == -KB_EUNREACHABLE)
            first = r;
    }
    return l->n_sockets > 0 ? 0 : first;
}

int srv_env_listen(struct kb_env *ke, const char *host, uint16_t port,
                   const struct kb_conn_options *options, kb_accept_fn *fn, void *arg,
                   struct kb_listener **ret)
{
    struct srv_env *e = (struct srv_env *)ke;
    struct srv_listener *l = kb_new(struct srv_listener);
    l->base.env = ke;
    l->port = port;
    l->options = *options;
    l->fn = fn;
    l->arg = arg;
    l->retry = kb_timer_new(ke, on_retry, l);
    LIST_INSERT_HEAD(&e->listeners, l, all);
    bool everywhere = host[0] == '\0' || strcmp(host, "0.0.0.0") == 0 || strcmp(host, "::") == 0;
    int r = everywhere ? listen_everywhere(e, l) : listen_on(e, l, host);
    if (r < 0) {
        srv_listener_close(&l->base);
        return r;
    }
    *ret = &l->base;
    return 0;
}

uint16_t srv_listener_port(const struct kb_listener *kl)
{
    return ((const struct srv_listener *)kl)->port;
}

void srv_listener_close(struct kb_listener *kl)
{
    struct srv_listener *l = (struct srv_listener *)kl;
    for (size_t i = 0; i < l->n_sockets; i++)
        evconnlistener_free(l->sockets[i]);
    LIST_REMOVE(l, all);
    l->retry = kb_timer_free(l->retry);
    (void)kb_free(l);
}
