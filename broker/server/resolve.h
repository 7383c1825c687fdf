#ifndef SRV_RESOLVE_H
#define SRV_RESOLVE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "broker/server/mailbox.h"

/* Host names to addresses: getaddrinfo on a thread of its own per name being looked up, and a
 * cache. An old answer is used at once and refreshed behind it, so that a dead name server does not
 * delay a dial; srv_resolver_doubt makes the next dial ask anew. The loop owns it. */
#define SRV_RESOLVE_ADDRESSES_MAX 8

struct srv_addresses {
    size_t count;
    struct sockaddr_storage list[SRV_RESOLVE_ADDRESSES_MAX];
};
struct srv_resolver;
struct srv_lookup;

/* result 0 with addresses (valid during the call), or negative. Never from inside srv_resolve. */
typedef void srv_resolve_fn(void *arg, int result, const struct srv_addresses *addresses);

struct srv_resolver *srv_resolver_new(struct srv_mailbox *mailbox);
/* Lookups under way are given up: their callbacks get -KB_ECLOSED. NULL accepted; returns NULL. */
struct srv_resolver *srv_resolver_free(struct srv_resolver *r);

/* An answer without asking anybody: a numeric address, or a name in the cache. */
bool srv_resolve_now(struct srv_resolver *r, const char *host, struct srv_addresses *ret);
/* Ask; the handle is good until the callback or srv_lookup_cancel. */
struct srv_lookup *srv_resolve(struct srv_resolver *r, const char *host, srv_resolve_fn *fn,
                               void *arg);
void srv_lookup_cancel(struct srv_lookup *l);
/* Connecting to what the cache says failed. */
void srv_resolver_doubt(struct srv_resolver *r, const char *host);

/* getaddrinfo, waiting: for start-up and tests. host "" = all addresses of this machine. */
int srv_resolve_wait(const char *host, bool passive, struct srv_addresses *ret);
void srv_address_set_port(struct sockaddr_storage *address, uint16_t port);
socklen_t srv_address_size(const struct sockaddr_storage *address);

#endif
