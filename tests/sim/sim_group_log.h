#ifndef SIM_GROUP_LOG_H
#define SIM_GROUP_LOG_H

#include "tests/sim/sim_cluster.h"
#include "tests/sim/sim_group_offsets.h"

/* Reads the one partition of __consumer_offsets from the disks of all nodes, without the broker's
 * code, and tells sim_group_offsets what is committed there. */
struct sim_group_log;

#define SIM_GROUP_TOPIC "__consumer_offsets"
#define SIM_GROUP_REPLICAS 3

struct sim_group_log *sim_group_log_new(struct sim_cluster *cluster, struct sim_checks *checks,
                                        struct sim_group_offsets *offsets);
/* NULL accepted; returns NULL. */
struct sim_group_log *sim_group_log_free(struct sim_group_log *l);
/* What became committed since the last time, as each running node believes. Often, so that it is
 * seen before it is compacted away. */
void sim_group_log_read(struct sim_group_log *l);
/* The cluster is at rest: everything that is left. */
void sim_group_log_final(struct sim_group_log *l);

#endif
