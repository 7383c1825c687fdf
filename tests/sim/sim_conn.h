#ifndef SIM_CONN_H
#define SIM_CONN_H

#include "tests/sim/sim_private.h"

/* One end of a connection. What was sent waits in the receiver's inbox as segments with arrival
 * times in order; both ends point at each other until one of them ends. */

enum sim_segment_kind { SIM_SEG_DATA, SIM_SEG_FIN, SIM_SEG_RST };

struct sim_segment {
    STAILQ_ENTRY(sim_segment) link;
    uint64_t due_us;
    enum sim_segment_kind kind;
    uint32_t size;
    uint8_t data[];
};
STAILQ_HEAD(sim_inbox, sim_segment);

enum sim_conn_state { SIM_CONN_CONNECTING, SIM_CONN_OPEN, SIM_CONN_CLOSING };

struct sim_listener {
    struct kb_listener base;
    LIST_ENTRY(sim_listener) link;
    struct kb_conn_options options;
    uint16_t port;
    kb_accept_fn *fn;
    void *arg;
};

struct sim_conn {
    struct kb_conn base;
    LIST_ENTRY(sim_conn) link;
    struct sim_env *env;
    struct sim_host *remote; /* NULL: no such host */
    struct sim_conn *peer;   /* NULL: the other end is gone, or not there yet */
    uint64_t id;
    uint64_t pair;      /* names the connection at both ends */
    uint16_t pair_port; /* where it was accepted */
    uint16_t remote_port;
    struct kb_conn_options options;
    const struct kb_conn_handler *handler; /* NULL until set */
    void *user;
    enum sim_conn_state state;
    enum kb_close_reason reason;
    struct sim_listener *listener; /* waits to be accepted */
    uint32_t tries;                /* connection attempts */

    struct kb_chain out; /* from slice out_index, byte out_offset of it, on */
    size_t out_index;
    uint64_t out_offset;
    uint64_t out_bytes;
    uint64_t unacked_bytes; /* sent and not yet taken by the receiver */
    bool was_high;
    bool file_ready; /* the range at the head has been fetched */
    bool close_when_sent;
    bool lost_send; /* bytes went to an end that is gone, and nobody could say so yet */

    struct sim_inbox inbox;
    uint64_t last_due_us;
    bool blocked; /* the head of the inbox waits behind a cut */
    struct kb_buf rx;
    size_t rx_position;
    bool paused, starved, fin;
    uint64_t owed_bytes; /* taken, not acknowledged */

    struct sim_event arrive, reader, pump, drain, opened, accepted, closed, given_up;
    struct sim_event wire; /* the network's own: SYN, refusal, reset */
    struct sim_event timeout;
};

/* sim_conn.c */
struct sim_conn *sim_conn_new(struct sim_env *e, struct sim_host *remote,
                              const struct kb_conn_options *options);
void sim_conn_free(struct sim_conn *c);
/* End this side: on_close follows as an event. Says nothing to the other side. */
void sim_conn_end(struct sim_conn *c, enum kb_close_reason reason);
/* Part from the other end, telling it with a FIN or RST, or silently. */
void sim_conn_tell_peer(struct sim_conn *c, enum sim_segment_kind kind);
void sim_conn_part(struct sim_conn *c);
void sim_conn_pump(struct sim_conn *c);
void sim_conn_schedule_arrival(struct sim_conn *c, uint64_t extra_us);
/* Pay acknowledgements that the other end may now hear. */
void sim_conn_ack(struct sim_conn *c);
/* Give-up timer: start it when stuck, stop it when not. */
void sim_conn_check_stuck(struct sim_conn *c);
/* Bytes sent to an end that is gone: a reset comes back as soon as one can. */
void sim_conn_expect_reset(struct sim_conn *c);

/* sim_net.c */
bool sim_net_up(const struct sim_host *from, const struct sim_host *to);
uint64_t sim_net_delay_us(const struct sim_host *from, const struct sim_host *to);
uint64_t sim_net_skew_us(const struct sim_conn *c);
bool sim_net_chance(struct sim_world *w, uint32_t ppm);
/* A frame reached its process. */
void sim_net_heard(const struct sim_host *from, const struct sim_host *to);
/* The way between them is not steady, up to for_us from now. */
void sim_net_disturbed(const struct sim_host *from, const struct sim_host *to, uint64_t for_us);

#endif
