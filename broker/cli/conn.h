#ifndef CLI_CONN_H
#define CLI_CONN_H

#include "broker/cli/internal.h"
#include "broker/cli/loop.h"

/* A connection that carries frames (int32 size, then bytes) on a loop. Never blocks: names are
 * looked up in the background, each address of a host is tried in turn. */

struct cli_conn;
struct cli_conn_handler {
    void (*on_open)(void *arg);
    /* The frame without its size; borrowed. The connection may be freed in here. */
    void (*on_frame)(void *arg, const uint8_t *data, size_t size);
    /* It failed or was closed (-errno). The owner frees it, here or later. Runs once. */
    void (*on_close)(void *arg, int result);
};

struct cli_conn *cli_conn_new(struct cli_loop *l, const char *host, uint16_t port,
                              uint64_t connect_timeout_ms, const struct cli_conn_handler *handler,
                              void *arg);
/* No callback runs any more. NULL accepted; returns NULL. */
struct cli_conn *cli_conn_free(struct cli_conn *c);
/* Queue bytes; the chain (blocks only) is emptied. */
void cli_conn_send(struct cli_conn *c, struct kb_chain *chain);
size_t cli_conn_unsent(const struct cli_conn *c);

#endif
