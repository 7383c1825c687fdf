#ifndef SIM_GROUP_OUTSIDER_H
#define SIM_GROUP_OUTSIDER_H

#include "tests/sim/sim_group_check.h"
#include "tests/sim/sim_group_offsets.h"

/* A client outside of all groups: makes and sets up __consumer_offsets, commits offsets of a group
 * that has no members, asks any broker, coordinator or not, for offsets and members. */
struct sim_outsider;

struct sim_outsider_options {
    struct sim_client_options client;
    struct sim_checks *checks; /* borrowed, as the next three */
    struct sim_group_check *check;
    struct sim_group_offsets *offsets;
    const char *const *groups;
    uint32_t group_count;
    uint32_t memberless; /* the group it commits to */
    int32_t brokers;     /* 1..brokers */
};
struct sim_outsider *sim_outsider_new(struct kb_env *env,
                                      const struct sim_outsider_options *options);
/* NULL accepted; returns NULL. */
struct sim_outsider *sim_outsider_free(struct sim_outsider *o);

/* Work on making __consumer_offsets with segments that are rolled and compacted soon; true when
 * done. Call again until then. */
bool sim_outsider_prepare(struct sim_outsider *o);
/* Now and then something by itself. */
void sim_outsider_start(struct sim_outsider *o);
void sim_outsider_stop(struct sim_outsider *o);

/* Ask until a coordinator has told the offsets of all groups; true when done. Begins anew after
 * sim_outsider_forget. */
bool sim_outsider_fetch_all(struct sim_outsider *o);
void sim_outsider_forget(struct sim_outsider *o);

/* The latest answer to DescribeGroups about a group. */
struct sim_group_listing {
    uint64_t asked_us; /* 0: none yet */
    int32_t broker;
    char state[32];
    char members[SIM_GROUP_MEMBERS_MAX][SIM_GROUP_ID_MAX];
    size_t count;
};
const struct sim_group_listing *sim_outsider_listing(const struct sim_outsider *o, uint32_t group);
/* Ask for it, when nothing else is under way. */
void sim_outsider_describe(struct sim_outsider *o, uint32_t group);

#endif
