#ifndef SIM_SOLO_H
#define SIM_SOLO_H

#include "broker/node/node.h"
#include "tests/sim/sim_env.h"

/* One whole node in a simulated world, without checkers: for tests of the node itself and for
 * fuzzing what its peers send. Node N on host "nodeN", clients on SIM_SOLO_PORT, peers on
 * SIM_SOLO_PEER_PORT. Of the configured voters the others are further sim_solos of the same world,
 * hosts that the test adds and plays, or nobody. */

enum { SIM_SOLO_PORT = 9092, SIM_SOLO_PEER_PORT = 9093 };
#define SIM_SOLO_DIR "/data"

struct sim_solo {
    struct sim_world *world;
    struct sim_host *host;
    struct sim_env *env;
    struct node *node;
    uint32_t number;
    uint32_t voters;
    const struct node_api *apis; /* borrowed; NULL = none */
    size_t apis_count;
    uint64_t snapshot_bytes; /* of metadata between two snapshots; 0 = as usual */
    int result;              /* of the last start; 1 = not yet known */
};
/* A world and the host of node 1; nothing runs yet. */
void sim_solo_init(struct sim_solo *s, uint64_t seed, uint32_t voters);
/* The host of another node in the world of first, which releases it. */
void sim_solo_join(struct sim_solo *s, const struct sim_solo *first, uint32_t number);
/* Start the node's next life on the same disk. */
void sim_solo_start(struct sim_solo *s);
/* Run until the node is in this state; false after limit_ms. */
bool sim_solo_run_until(struct sim_solo *s, enum node_state state, uint64_t limit_ms);
/* kill -9, or the end of a process that has ended itself; the disk stays. */
void sim_solo_kill(struct sim_solo *s);
/* Ends everything, the world too if this one made it. */
void sim_solo_release(struct sim_solo *s);

#endif
