#ifndef SIM_LIFE_H
#define SIM_LIFE_H

#include "tests/sim/sim_cluster.h"

/* The life of records in a run, drawn from its seed: whose records a client deletes, which topic
 * has a short retention, whether there is a compacted one. In runs with groups no records of the
 * run's partitions go: their members want every one. */
struct sim_life;

struct sim_life *sim_life_new(uint64_t seed, struct sim_checks *checks,
                              const struct sim_topics *topics);
/* NULL accepted; returns NULL. */
struct sim_life *sim_life_free(struct sim_life *l);
/* What may be gone; NULL: nothing in this run. */
struct sim_start_check *sim_life_starts(const struct sim_life *l);
/* Records go by the clock: brokers must start with the right one, which they believe. */
bool sim_life_right_clocks(const struct sim_life *l);
/* What topic t is made with; borrowed. */
struct kw_create_topics_request_config *sim_life_configs(struct sim_life *l, uint32_t t,
                                                         int32_t *ret_count);

/* The world and the cluster are there. */
void sim_life_begin(struct sim_life *l, struct sim_world *w, struct sim_cluster *c,
                    const struct sim_client_options *client);
/* Work on what must be there before the faults begin; true when done. */
bool sim_life_prepare(struct sim_life *l);
void sim_life_start(struct sim_life *l);
/* Now and then while faults happen. */
void sim_life_look(struct sim_life *l);
/* Has the deleter had a success? Otherwise it needs more time. */
bool sim_life_did_enough(const struct sim_life *l);
/* The faults are over: no more calls. */
void sim_life_heal(struct sim_life *l);
/* Everything is at rest. */
void sim_life_judge(struct sim_life *l);
/* Clients end. */
void sim_life_end(struct sim_life *l);

#endif
