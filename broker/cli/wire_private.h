#ifndef CLI_WIRE_PRIVATE_H
#define CLI_WIRE_PRIVATE_H

#include "broker/cli/wire.h"

/* What wire.c and wire_metadata.c share. */

enum { WIRE_APIS_MAX = 128, WIRE_BOOTSTRAP_ID = -2 /* and below */ };

struct wire_call {
    TAILQ_ENTRY(wire_call) entries;
    int32_t correlation_id;
    int16_t api_key;
    int16_t version;
    uint64_t deadline_ms;
    cli_answer_fn *fn; /* NULL: forgotten */
    void *arg;
};
TAILQ_HEAD(wire_calls, wire_call);

struct wire_version {
    int16_t key, min, max;
};

/* A broker, or an address of the bootstrap list. */
struct wire_peer {
    LIST_ENTRY(wire_peer) entries;
    struct cli_wire *wire;
    int32_t id;
    char *host;
    uint16_t port;
    struct cli_conn *conn;
    bool ready; /* open, and its versions are known */
    int result; /* why it was lost last */
    uint64_t retry_at_ms;
    uint64_t retry_ms;
    uint64_t asked; /* number of the last metadata request it was sent */
    struct wire_version versions[WIRE_APIS_MAX];
    size_t versions_count;
    struct wire_calls calls;
};
LIST_HEAD(wire_peers, wire_peer);

struct cli_wire {
    struct cli_wire_options options;
    struct wire_peers peers;
    int32_t correlation;
    bool reached;
    struct cli_timer poke;
    struct cli_timer check;
    struct cli_topic *topics;
    size_t topics_count;
    size_t topics_capacity;
    bool refresh_wanted;
    bool refreshing;
    uint64_t asked;        /* metadata requests so far */
    uint64_t asked_ms;     /* the last one */
    uint64_t refreshed_ms; /* the last answer; 0 = none */
};

struct wire_peer *wire_peer_find(const struct cli_wire *w, int32_t id);
struct wire_peer *wire_peer_add(struct cli_wire *w, int32_t id, const char *host, uint16_t port);
void wire_metadata_pump(struct cli_wire *w);
void wire_metadata_free(struct cli_wire *w);

#endif
