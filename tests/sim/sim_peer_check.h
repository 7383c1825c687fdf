#ifndef SIM_PEER_CHECK_H
#define SIM_PEER_CHECK_H

#include "proto/base/bytes.h"
#include "tests/sim/sim_checks.h"

/* Judges what followers and leaders say to each other on the wire: P14 (what a follower reports as
 * durable lies durably on its disk when it says so) and P15 (a leader serves a follower only in the
 * epoch that the follower named, and only its present life). Reads the bytes of peer frames,
 * without the brokers' code. */
struct sim_peer_check;

struct sim_peer_options {
    struct sim_checks *checks;
    uint32_t partitions; /* at most 64 */
    /* Number of this partition; -1: none of the run's. */
    int32_t (*partition_of)(void *arg, struct kb_view topic_id, int32_t index);
    /* node told a leader that it has the partition durably up to here. */
    void (*on_reported)(void *arg, uint32_t node, uint32_t partition, int64_t durable);
    /* The broker epoch of `of` by the metadata that `at` has applied; 0 none. */
    uint64_t (*broker_epoch)(void *arg, uint32_t at, uint32_t of);
    void *arg;
};
struct sim_peer_check *sim_peer_check_new(const struct sim_peer_options *options);
/* NULL accepted; returns NULL. */
struct sim_peer_check *sim_peer_check_free(struct sim_peer_check *c);

/* A frame between two nodes, without its size. sent: it leaves now; else it has just reached the
 * other one, which has not looked at it yet. conn names the connection, alike at both ends. The
 * bytes of records may be missing. */
void sim_peer_check_frame(struct sim_peer_check *c, uint32_t from, uint32_t to, uint64_t conn,
                          bool sent, struct kb_view frame);

#endif
