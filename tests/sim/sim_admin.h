#ifndef SIM_ADMIN_H
#define SIM_ADMIN_H

#include "tests/sim/sim_client.h"
#include "tests/sim/sim_admin_check.h"

/* A client that makes, deletes and grows topics of its own while things go wrong, asks for the ends
 * of the run's partitions in between, and tells its checker what was answered. */
struct sim_admin;

struct sim_admin_options {
    struct sim_client_options client;
    struct sim_checks *checks; /* borrowed */
    int32_t brokers;
    /* Runs when an answer says that a topic was made with this id. May be NULL. */
    void (*on_topic_id)(void *arg, const struct kb_uuid *id);
    void *arg;
};
struct sim_admin *sim_admin_new(struct kb_env *env, const struct sim_admin_options *options);
/* NULL accepted; returns NULL. */
struct sim_admin *sim_admin_free(struct sim_admin *a);
/* No more calls. */
void sim_admin_stop(struct sim_admin *a);
/* The cluster is at rest: work on asking for all topics and judging them; true when done. Call
 * again until then. */
bool sim_admin_judge(struct sim_admin *a);
struct sim_admin_counts sim_admin_counts(const struct sim_admin *a);

#endif
