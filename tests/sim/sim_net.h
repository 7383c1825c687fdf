#ifndef SIM_NET_H
#define SIM_NET_H

#include <stdbool.h>
#include <stdint.h>

#include "proto/base/bytes.h"
#include "tests/sim/sim_world.h"

/* The network: TCP as processes see it. Bytes of a connection keep their order and are never
 * altered; they may be late, wait behind a cut until it heals, or be lost with the connection.
 * A connection whose bytes find no way for tcp_timeout is given up by the sender. Host names are
 * the hosts' names; "localhost" and "127.0.0.1" are the asking host. */

struct sim_link_settings {
    uint32_t delay_us_min, delay_us_max; /* one way, per segment, order kept */
    uint32_t loss_ppm;                   /* a segment comes late by a retransmission (200+ ms) */
    uint32_t reset_ppm;                  /* the connection is reset right behind a segment */
    /* Each connection is later than this link's others by some time of its own, up to this: what
     * two connections carry comes in another order than it was sent in. */
    uint32_t skew_us_max;
};
/* Every link, now and later made. */
void sim_net_set_all(struct sim_world *w, const struct sim_link_settings *settings);
/* One direction of one pair. */
struct sim_link_settings *sim_net_link(struct sim_host *from, struct sim_host *to);

/* Cut and heal one direction; what was sent meanwhile arrives some time after healing. */
void sim_net_cut(struct sim_host *from, struct sim_host *to);
void sim_net_heal(struct sim_host *from, struct sim_host *to);
bool sim_net_is_cut(const struct sim_host *from, const struct sim_host *to);
void sim_net_heal_all(struct sim_world *w);
/* One direction takes nothing for a while; what was sent meanwhile comes all at its end. Nobody
 * gives up on it: to a sender it is a slow network. */
void sim_net_clog(struct sim_host *from, struct sim_host *to, uint64_t duration_us);
/* Open connections between the two are gone at one end, whose process hears of it; the other end
 * does not until it sends. */
void sim_net_half_open(struct sim_host *gone_at, struct sim_host *other);
/* Reset every connection between the two (RST at both ends). */
void sim_net_reset(struct sim_host *a, struct sim_host *b);

/* When a process on `to` last got a frame of a process on `from`, 0 = never in its life; and since
 * when the way was steady: no two frames more than SIM_STEADY_GAP_US apart, none held back by a
 * cut, a clog, a skew or a retransmission, no connection ended. Of a skew one connection may know
 * alone, and it may be the one that the process judges its peer by. */
#define SIM_STEADY_GAP_US 400000
uint64_t sim_net_heard_us(const struct sim_host *from, const struct sim_host *to);
uint64_t sim_net_steady_us(const struct sim_host *from, const struct sim_host *to);

/* Called for each frame that a process sends, and again when it reaches its process, before it is
 * looked at. head: its first bytes, size prefix left out; file ranges behind them are not there.
 * conn: the connection, alike at both ends. port: where it was accepted. NULL = nobody. */
struct sim_frame {
    const struct sim_host *from, *to;
    uint64_t conn;
    uint16_t port;
    bool sent;
    struct kb_view head;
};
typedef void sim_frame_fn(void *arg, const struct sim_frame *frame);
void sim_net_on_frame(struct sim_world *w, sim_frame_fn *fn, void *arg);

/* After this long without a way an unacknowledged sender gives up (default 15 s; a process meets
 * it as KB_CLOSE_ERROR). */
void sim_net_set_tcp_timeout(struct sim_world *w, uint64_t timeout_ms);

struct sim_net_counts {
    uint64_t connects, frames, bytes, resets, retransmissions, blocked, half_opened;
};
struct sim_net_counts sim_net_counts(const struct sim_world *w);

#endif
