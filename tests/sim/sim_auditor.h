#ifndef SIM_AUDITOR_H
#define SIM_AUDITOR_H

#include "tests/sim/sim_audit_check.h"
#include "tests/sim/sim_client.h"

/* A client that asks any broker, leader or not, what its logs hold: Fetch, ListOffsets and
 * OffsetForLeaderEpoch in every version, with the leader epoch that the broker knows, older and
 * newer ones, and with ids of topics that are there, are gone, or never were. Its checker is told
 * what was answered. */
struct sim_auditor;

struct sim_auditor_options {
    struct sim_client *client; /* borrowed; nobody else may use those three APIs with it */
    const struct sim_topics *topics;
    struct sim_audit_check *check; /* borrowed */
    int32_t brokers;               /* 1..brokers */
    /* A topic id, any that ever was. */
    struct kb_uuid (*any_topic)(void *arg, uint64_t chance);
    void (*look)(void *arg, int32_t broker, const struct kb_uuid *topic_id, int32_t partition,
                 struct sim_audit_view *ret);
    void *arg;
};
struct sim_auditor *sim_auditor_new(const struct sim_auditor_options *options);
/* NULL accepted; returns NULL. */
struct sim_auditor *sim_auditor_free(struct sim_auditor *a);
/* No more questions. */
void sim_auditor_stop(struct sim_auditor *a);

#endif
