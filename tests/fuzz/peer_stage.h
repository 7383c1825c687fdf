#ifndef FUZZ_PEER_STAGE_H
#define FUZZ_PEER_STAGE_H

#include "proto/base/uuid.h"
#include "proto/cluster/peer.pb-c.h"
#include "tests/sim/sim_solo.h"

/* A whole node in the simulated world and its two peers, played here: node 1 starts on the disk of
 * a cluster that has a topic of three partitions; brokers 2 and 3 are connections that say what
 * they are told to. With manners they also do what good voters and brokers do by themselves: say
 * hello, grant votes, acknowledge entries, register and send heartbeats, so that node 1 becomes the
 * controller, leads a partition and follows two. */

enum { STAGE_SLOTS = 8, STAGE_PEERS = 2, STAGE_ASKED_MAX = 8 };

struct stage;

/* One connection with node 1; the first four are dialled by the peers, the others by node 1. */
struct stage_slot {
    struct stage *stage;
    struct kb_conn *conn; /* NULL: free */
    int peer;             /* 2 or 3 */
    uint32_t purpose;
    bool open;                       /* hellos were exchanged */
    uint64_t asked[STAGE_ASKED_MAX]; /* request ids of node 1, the newest last */
    size_t asked_count;
};

struct stage_peer {
    struct kb_env *env;
    struct kb_listener *listener;
    struct kb_uuid directory;
    uint64_t broker_epoch;
    uint64_t link_number;
    uint64_t heartbeat_ms;
    bool registering;
};

struct stage {
    struct sim_solo solo;
    struct stage_peer peers[STAGE_PEERS];
    struct stage_slot slots[STAGE_SLOTS];
    char *cluster_id;
    struct kb_uuid topic_id;
    bool manners;
};

/* Node 1 runs; with manners it is the controller when this returns. */
void stage_init(struct stage *s, bool manners);
/* Node 1 has neither died nor left anything behind. */
void stage_release(struct stage *s);
/* Let the world run. */
void stage_run(struct stage *s, uint64_t duration_ms);
/* Connect from the slot's peer, with its hello at once or without. */
void stage_dial(struct stage *s, size_t slot, uint32_t purpose, bool hello);
void stage_close(struct stage *s, size_t slot);
/* Send a frame without its size prefix. */
void stage_send(struct stage *s, size_t slot, const void *frame, size_t size);
void stage_send_message(struct stage *s, size_t slot, const Kvorum__PeerMessage *m,
                        struct kb_view payload);

#endif
