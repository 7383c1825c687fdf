#ifndef SIM_GROUP_MEMBER_H
#define SIM_GROUP_MEMBER_H

#include "tests/sim/sim_consumer.h"
#include "tests/sim/sim_group_check.h"
#include "tests/sim/sim_group_offsets.h"

/* A consumer in a classic group: finds the coordinator, joins, syncs (and assigns when it leads),
 * fetches offsets, reads what it owns, commits what it has worked on, heartbeats; starts over as
 * Kafka's clients do when it is told to. It reports everything it asks and hears to the checkers.
 * Members rejoin eagerly: they give up all partitions first. */
struct sim_member;

struct sim_member_options {
    struct sim_client_options client;
    struct sim_checks *checks; /* borrowed, as the next two */
    struct sim_group_check *check;
    struct sim_group_offsets *offsets;
    uint32_t group;
    const char *group_id;
    const char *instance; /* NULL: a dynamic member */
    bool statics;         /* the group has static members: no versions that cannot name them */
    uint32_t number;
    uint32_t session_ms, rebalance_ms;
};
struct sim_member *sim_member_new(struct kb_env *env, const struct sim_member_options *options);
/* Without a word to the coordinator. NULL accepted; returns NULL. */
struct sim_member *sim_member_free(struct sim_member *m);
/* Commit, leave, then do nothing more. */
void sim_member_leave(struct sim_member *m);
/* It has left, or was fenced. */
bool sim_member_is_out(const struct sim_member *m);
/* It heartbeats in a generation and reads what it owns. */
bool sim_member_is_running(const struct sim_member *m);
/* As it would ask now: its broker, ids and generation. */
struct sim_group_asker sim_member_asker(const struct sim_member *m);
/* When it asked what was answered to its present id without an error last. */
uint64_t sim_member_contact_us(const struct sim_member *m);
uint64_t sim_member_partitions(const struct sim_member *m);
/* It owns the partition, has worked on everything before end, and knows that this is committed. */
bool sim_member_is_at(const struct sim_member *m, uint32_t partition, int64_t end);

#endif
