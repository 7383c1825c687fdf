#ifndef SIM_KEYED_H
#define SIM_KEYED_H

#include "tests/sim/sim_cluster.h"
#include "tests/sim/sim_compact_check.h"

/* A compacted topic of its own in a run: an idempotent producer sets and deletes few keys, segments
 * are rolled and cleaned soon, and the logs of all nodes are looked at again and again. */
struct sim_keyed;

struct sim_keyed_options {
    struct sim_client_options client; /* its topics are not used */
    struct sim_checks *checks;        /* borrowed */
    struct sim_world *world;
    struct sim_cluster *cluster;
    uint64_t seed; /* of what the topic is set to */
};
struct sim_keyed *sim_keyed_new(const struct sim_keyed_options *options);
/* NULL accepted; returns NULL. */
struct sim_keyed *sim_keyed_free(struct sim_keyed *k);
/* Work on making the topic; true when it is there. */
bool sim_keyed_prepare(struct sim_keyed *k);
void sim_keyed_start(struct sim_keyed *k);
/* Compare what the nodes have. */
void sim_keyed_look(struct sim_keyed *k);
/* The cluster is whole: wait until tombstones are gone, end producing, read all, judge. */
void sim_keyed_judge(struct sim_keyed *k);
/* Clients end. */
void sim_keyed_end(struct sim_keyed *k);

#endif
