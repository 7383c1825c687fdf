#ifndef SIM_GROUP_CHECK_H
#define SIM_GROUP_CHECK_H

#include <stddef.h>

#include "tests/sim/sim_checks.h"

/* Judges what the members of classic groups are told: G2 to G7 and G12 (offsets:
 * sim_group_offsets). Members report what they asked and what was answered, in the order of the
 * answers; times are the world's. Groups are numbered 0.., brokers go by their node ids. */
struct sim_group_check;

#define SIM_GROUPS_MAX 4
#define SIM_GROUP_MEMBERS_MAX 8
#define SIM_GROUP_ID_MAX 64 /* of members and instances, with the zero */

/* A group that is empty and has no offset, or none younger than retention_ms (0: they stay), may be
 * deleted and come again with generation 1. */
struct sim_group_check *sim_group_check_new(struct sim_checks *checks, uint64_t retention_ms);
/* NULL accepted; returns NULL. */
struct sim_group_check *sim_group_check_free(struct sim_group_check *c);

/* Who asked a broker, and when. */
struct sim_group_asker {
    uint32_t group;
    int32_t broker;
    int32_t generation;              /* -1: it has none */
    char member[SIM_GROUP_ID_MAX];   /* "": it has no id yet */
    char instance[SIM_GROUP_ID_MAX]; /* "": a dynamic member */
    uint64_t asked_us;
};
/* Static members are the same across their ids. */
const char *sim_group_asker_key(const struct sim_group_asker *a);

/* The broker coordinates from now on (its shard is loaded and it leads), or does not any more. */
void sim_group_check_coordinator(struct sim_group_check *c, int32_t broker, bool ready,
                                 uint64_t now_us);

enum sim_group_request {
    SIM_GROUP_JOIN,
    SIM_GROUP_SYNC,
    SIM_GROUP_HEARTBEAT,
    SIM_GROUP_COMMIT,
    SIM_GROUP_FETCH,
    SIM_GROUP_LEAVE,
    SIM_GROUP_DESCRIBE,
};
/* Any answer: G2, and with no error that nothing stale was accepted: G5, G12. */
void sim_group_check_answer(struct sim_group_check *c, const struct sim_group_asker *a,
                            enum sim_group_request request, int16_t error, uint64_t now_us);
/* Was a heartbeat that was answered without an error a coordinator's all the while, so that the
 * asker's session began anew? Not while the group is loaded. */
bool sim_group_check_heard(const struct sim_group_check *c, const struct sim_group_asker *a,
                           uint64_t now_us);
/* JoinGroup gave this member id and generation: G3. Comes after sim_group_check_answer. */
void sim_group_check_joined(struct sim_group_check *c, const struct sim_group_asker *a,
                            const char *member, int32_t generation, uint64_t now_us);

/* Partitions as a mask. */
struct sim_group_share {
    char member[SIM_GROUP_ID_MAX];
    char instance[SIM_GROUP_ID_MAX];
    uint64_t partitions;
};
/* The leader sends these shares with its SyncGroup. */
void sim_group_check_sent(struct sim_group_check *c, const struct sim_group_asker *a,
                          const struct sim_group_share *shares, size_t count);
/* SyncGroup gave these partitions: G4, G6. */
void sim_group_check_synced(struct sim_group_check *c, const struct sim_group_asker *a,
                            uint64_t partitions);
/* A commit for this partition was accepted: G4. */
void sim_group_check_committed(struct sim_group_check *c, const struct sim_group_asker *a,
                               uint32_t partition);

/* A member was told that it is none any more. contact_us: when it asked what was answered without
 * an error last. G7. */
void sim_group_check_expelled(struct sim_group_check *c, const struct sim_group_asker *a,
                              uint64_t contact_us, uint32_t session_ms, uint64_t now_us);
/* A member died, its group's coordinator did not, and dead_ms later the coordinator lists it, or
 * not: G7. */
void sim_group_check_dead(struct sim_group_check *c, const struct sim_group_asker *a,
                          uint64_t dead_ms, uint32_t session_ms, bool listed);
/* A static member of a stable group that nothing else happened to was away for away_ms, and is in
 * this generation now: G12. */
void sim_group_check_returned(struct sim_group_check *c, const struct sim_group_asker *a,
                              uint64_t away_ms, uint32_t session_ms, int32_t generation);
/* Largest generation any member was told; -1 = none. */
int32_t sim_group_check_generation(const struct sim_group_check *c, uint32_t group);

#endif
