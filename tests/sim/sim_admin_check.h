#ifndef SIM_ADMIN_CHECK_H
#define SIM_ADMIN_CHECK_H

#include "tests/sim/sim_checks.h"

/* Admin calls with their outcomes, and what must follow from them: which topics there are, with how
 * many partitions (up to 60), and that the end of a partition, as one client is told it, never
 * falls (P5). Calls about one topic come one after the other; a call whose answer was lost may
 * still happen at any later time. */
struct sim_admin_check;

#define SIM_ADMIN_TOPICS_MAX 8
#define SIM_ADMIN_PARTITIONS_MAX 64

struct sim_admin_check *sim_admin_check_new(struct sim_checks *checks);
/* NULL accepted; returns NULL. */
struct sim_admin_check *sim_admin_check_free(struct sim_admin_check *c);

enum sim_admin_call { SIM_ADMIN_CREATE, SIM_ADMIN_DELETE, SIM_ADMIN_GROW };
#define SIM_ADMIN_LOST (-1000) /* no answer, or one that does not say */
/* A call about this topic was answered. partitions: after a create or grow that happens.
 * repeated: it took so long that the broker may have sent it to a second controller, as Kafka's
 * brokers do, which then found what the first had done. */
void sim_admin_check_done(struct sim_admin_check *c, uint32_t topic, enum sim_admin_call call,
                          int32_t partitions, int16_t error, bool repeated);
/* Everything is at rest: the topic has so many partitions; 0 = it does not exist. */
void sim_admin_check_final(struct sim_admin_check *c, uint32_t topic, int32_t partitions);
/* Calls that were answered with success, refused, and lost. */
struct sim_admin_counts {
    uint64_t ok, failed, info;
};
struct sim_admin_counts sim_admin_check_counts(const struct sim_admin_check *c);

/* ListOffsets, of the newest leader epoch the client knew, gave this as the end. One at a time. */
void sim_admin_check_listed(struct sim_admin_check *c, uint32_t partition, int64_t end);

#endif
