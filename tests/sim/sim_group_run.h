#ifndef SIM_GROUP_RUN_H
#define SIM_GROUP_RUN_H

#include "tests/sim/sim_cluster.h"

/* The consumer groups of a run: members on hosts of their own that crash, lose power, freeze, leave
 * and come back while the brokers' faults go on, a client outside of all groups, and their judges.
 * Chance of its own: a run's other events follow from the seed alone. */
struct sim_groups;

/* Does this seed have groups? */
bool sim_groups_wanted(uint64_t seed);
/* How long this run keeps offsets that nobody uses; 0: longer than it lasts. */
uint64_t sim_groups_retention_ms(uint64_t seed);

struct sim_groups_options {
    struct sim_client_options client;
    struct sim_checks *checks; /* borrowed */
    struct sim_cluster *cluster;
};
struct sim_groups *sim_groups_new(struct sim_world *w, const struct sim_groups_options *options);
/* The clients end; before the cluster and the world do. */
void sim_groups_end(struct sim_groups *g);
/* After the world. NULL accepted; returns NULL. */
struct sim_groups *sim_groups_free(struct sim_groups *g);

/* Work on making __consumer_offsets; true when it is there. */
bool sim_groups_prepare(struct sim_groups *g);
/* Members start, and their troubles. */
void sim_groups_start(struct sim_groups *g);
/* No more troubles: everybody runs, who was replaced goes. */
void sim_groups_heal(struct sim_groups *g);
/* Every group is stable: all members run in one generation and own each partition once; they have
 * worked on everything that is in the partitions' logs, and committed that. */
bool sim_groups_whole(struct sim_groups *g);
/* Enough commits and generations for the run to have shown something. */
bool sim_groups_did_enough(struct sim_groups *g);
/* The cluster is whole. Drives the world: a static member returns in time, a member dies, clocks
 * jump, and nothing may happen that the rules forbid. */
void sim_groups_probe(struct sim_groups *g);
/* The cluster is at rest: judge. */
void sim_groups_judge(struct sim_groups *g);
/* What every member believes, for people. */
void sim_groups_describe(struct sim_groups *g, FILE *out);

struct sim_groups_counts {
    uint64_t commits; /* acknowledged */
    uint64_t generations;
    uint64_t compacted; /* records of __consumer_offsets that compaction took away */
    uint64_t troubles;
};
struct sim_groups_counts sim_groups_counts(const struct sim_groups *g);

#endif
