#include "broker/server/resolve.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/queue.h>

#include "broker/server/thread.h"
#include "broker/server/timer.h"
#include "proto/base/err.h"
#include "proto/base/mem.h"

#define FRESH_US (10 * 1000000ull)
#define NAMES_MAX 256 /* cached; more are looked up each time */

/* One name. While a thread asks, `query` is shared with it. */
struct name {
    LIST_ENTRY(name) all;
    struct srv_resolver *resolver;
    char *host;
    struct srv_addresses addresses;
    uint64_t answered_us; /* 0 = never */
    bool doubted;
    struct query *query;
    LIST_HEAD(, srv_lookup) waiting;
};
struct srv_lookup {
    LIST_ENTRY(srv_lookup) siblings;
    srv_resolve_fn *fn;
    void *arg;
};
/* Shared with one detached thread, which may outlive the resolver by as long as a name server
 * pleases. The last holder frees it. */
struct query {
    pthread_mutex_t lock;
    unsigned holders;
    struct srv_mailbox *mailbox; /* NULL: nobody waits any more */
    struct name *name;           /* the loop's */
    char *host;
    int result;
    struct srv_addresses addresses;
};
struct srv_resolver {
    struct srv_mailbox *mailbox;
    LIST_HEAD(, name) names;
    size_t n_names;
};

socklen_t srv_address_size(const struct sockaddr_storage *address)
{
    return address->ss_family == AF_INET6 ? sizeof(struct sockaddr_in6)
                                          : sizeof(struct sockaddr_in);
}

void srv_address_set_port(struct sockaddr_storage *address, uint16_t port)
{
    if (address->ss_family == AF_INET6)
        ((struct sockaddr_in6 *)address)->sin6_port = htons(port);
    else
        ((struct sockaddr_in *)address)->sin_port = htons(port);
}

static int ask(const char *host, int flags, struct srv_addresses *ret)
{
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = flags};
    struct addrinfo *list = NULL;
    /* A service makes the loopback and wildcard answers exist for host NULL. */
    int r = getaddrinfo(host[0] != '\0' ? host : NULL, host[0] != '\0' ? NULL : "0", &hints, &list);
    if (r != 0)
        return r == EAI_MEMORY ? -KB_ENOMEM : -KB_EUNREACHABLE;
    ret->count = 0;
    for (struct addrinfo *a = list; a != NULL && ret->count < SRV_RESOLVE_ADDRESSES_MAX;
         a = a->ai_next) {
        if ((a->ai_family != AF_INET && a->ai_family != AF_INET6) ||
            a->ai_addrlen > sizeof(ret->list[0]))
            continue;
        memset(&ret->list[ret->count], 0, sizeof(ret->list[0]));
        memcpy(&ret->list[ret->count++], a->ai_addr, a->ai_addrlen);
    }
    freeaddrinfo(list);
    return ret->count > 0 ? 0 : -KB_EUNREACHABLE;
}

int srv_resolve_wait(const char *host, bool passive, struct srv_addresses *ret)
{
    return ask(host, passive ? AI_PASSIVE : 0, ret);
}

static void query_drop(struct query *q)
{
    (void)pthread_mutex_lock(&q->lock);
    bool last = --q->holders == 0;
    (void)pthread_mutex_unlock(&q->lock);
    if (!last)
        return;
    (void)pthread_mutex_destroy(&q->lock);
    (void)kb_free(q->host);
    (void)kb_free(q);
}

static struct name *find(struct srv_resolver *r, const char *host)
{
    struct name *n = NULL;
    LIST_FOREACH(n, &r->names, all)
    {
        if (strcmp(n->host, host) == 0)
            return n;
    }
    return NULL;
}

static void name_free(struct name *n)
{
    LIST_REMOVE(n, all);
    n->resolver->n_names--;
    (void)kb_free(n->host);
    (void)kb_free(n);
}

/* The thread's answer, on the loop. */
static void answered(void *env, void *ptr, int64_t result)
{
    struct query *q = ptr;
    struct name *n = q->name;
    LIST_HEAD(, srv_lookup) waiting;
    struct srv_lookup *l = NULL;
    (void)env;
    n->query = NULL;
    if (result == 0) {
        n->addresses = q->addresses;
        n->answered_us = srv_now_us();
        n->doubted = false;
    } else if (n->answered_us != 0) {
        result = 0; /* the last known addresses are better than none */
    }
    query_drop(q);
    /* A list of its own: a callback may ask again, or cancel another one. */
    waiting.lh_first = LIST_FIRST(&n->waiting);
    if (waiting.lh_first != NULL)
        waiting.lh_first->siblings.le_prev = &waiting.lh_first;
    LIST_INIT(&n->waiting);
    while ((l = LIST_FIRST(&waiting)) != NULL) {
        LIST_REMOVE(l, siblings);
        l->fn(l->arg, (int)result, &n->addresses);
        (void)kb_free(l);
    }
    bool keep = n->answered_us != 0 && n->resolver->n_names <= NAMES_MAX;
    if (!keep && n->query == NULL && LIST_EMPTY(&n->waiting))
        name_free(n);
}

static void *query_main(void *arg)
{
    struct query *q = arg;
    struct srv_addresses addresses = {0};
    int r = ask(q->host, AI_ADDRCONFIG, &addresses);
    if (r < 0) /* a machine with only a loopback interface has no "configured" family */
        r = ask(q->host, 0, &addresses);
    (void)pthread_mutex_lock(&q->lock);
    q->addresses = addresses;
    if (q->mailbox != NULL) {
        struct srv_post post = {answered, q, r};
        srv_mailbox_post(q->mailbox, &post, 1);
    }
    (void)pthread_mutex_unlock(&q->lock);
    query_drop(q);
    return NULL;
}

static void query_start(struct name *n)
{
    pthread_t thread;
    struct query *q = kb_new(struct query);
    (void)pthread_mutex_init(&q->lock, NULL);
    q->holders = 2;
    q->mailbox = n->resolver->mailbox;
    q->name = n;
    q->host = kb_strdup(n->host);
    n->query = q;
    if (srv_thread_start("kv-resolve", query_main, q, &thread) == 0) {
        (void)pthread_detach(thread);
        return;
    }
    q->holders = 1;
    struct srv_post post = {answered, q, -KB_ENOMEM};
    srv_mailbox_post(q->mailbox, &post, 1);
}

struct srv_resolver *srv_resolver_new(struct srv_mailbox *mailbox)
{
    struct srv_resolver *r = kb_new(struct srv_resolver);
    r->mailbox = mailbox;
    LIST_INIT(&r->names);
    return r;
}

struct srv_resolver *srv_resolver_free(struct srv_resolver *r)
{
    struct name *n = NULL;
    if (r == NULL)
        return NULL;
    while ((n = LIST_FIRST(&r->names)) != NULL) {
        struct srv_lookup *l = NULL;
        while ((l = LIST_FIRST(&n->waiting)) != NULL) {
            LIST_REMOVE(l, siblings);
            l->fn(l->arg, -KB_ECLOSED, &n->addresses);
            (void)kb_free(l);
        }
        if (n->query != NULL) {
            (void)pthread_mutex_lock(&n->query->lock);
            n->query->mailbox = NULL;
            n->query->name = NULL;
            (void)pthread_mutex_unlock(&n->query->lock);
            query_drop(n->query);
        }
        name_free(n);
    }
    return kb_free(r);
}

static bool numeric(const char *host, struct srv_addresses *ret)
{
    struct sockaddr_in *v4 = (struct sockaddr_in *)&ret->list[0];
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&ret->list[0];
    ret->count = 1;
    memset(&ret->list[0], 0, sizeof(ret->list[0]));
    if (inet_pton(AF_INET, host, &v4->sin_addr) == 1) {
        v4->sin_family = AF_INET;
        return true;
    }
    if (inet_pton(AF_INET6, host, &v6->sin6_addr) == 1) {
        v6->sin6_family = AF_INET6;
        return true;
    }
    ret->count = 0;
    return false;
}

bool srv_resolve_now(struct srv_resolver *r, const char *host, struct srv_addresses *ret)
{
    if (numeric(host, ret))
        return true;
    struct name *n = find(r, host);
    if (n == NULL || n->answered_us == 0 || n->doubted)
        return false;
    if (n->query == NULL && srv_now_us() - n->answered_us > FRESH_US)
        query_start(n);
    *ret = n->addresses;
    return true;
}

struct srv_lookup *srv_resolve(struct srv_resolver *r, const char *host, srv_resolve_fn *fn,
                               void *arg)
{
    struct name *n = find(r, host);
    if (n == NULL) {
        n = kb_new(struct name);
        n->resolver = r;
        n->host = kb_strdup(host);
        LIST_INIT(&n->waiting);
        LIST_INSERT_HEAD(&r->names, n, all);
        r->n_names++;
    }
    struct srv_lookup *l = kb_new(struct srv_lookup);
    l->fn = fn;
    l->arg = arg;
    LIST_INSERT_HEAD(&n->waiting, l, siblings);
    if (n->query == NULL)
        query_start(n);
    return l;
}

void srv_lookup_cancel(struct srv_lookup *l)
{
    LIST_REMOVE(l, siblings);
    (void)kb_free(l);
}

void srv_resolver_doubt(struct srv_resolver *r, const char *host)
{
    struct name *n = find(r, host);
    if (n != NULL)
        n->doubted = true;
}
