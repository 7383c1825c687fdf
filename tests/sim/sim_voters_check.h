#ifndef SIM_VOTERS_CHECK_H
#define SIM_VOTERS_CHECK_H

#include "tests/sim/sim_checks.h"
#include "tests/sim/sim_logs.h"

/* R15: a voter is a node id with one directory. Judged by the directory ids and votes on all disks,
 * and by the voter sets that leaders go by: only directories of a set vote and count, one change at
 * a time, each after a commit of the leader's own term. A directory that lost its vote or its log
 * (fault row 42) has no say before a leader has brought it up. */
struct sim_voters_check;

#define SIM_VOTERS_MAX 15
#define SIM_DIRECTORY_BYTES 16

struct sim_voter {
    int32_t id;
    uint8_t directory[SIM_DIRECTORY_BYTES];
};
/* As one node has it: the newest in its log. */
struct sim_voter_set {
    uint64_t index; /* of its record; 0: the founding */
    uint32_t count;
    struct sim_voter voters[SIM_VOTERS_MAX];
};

struct sim_voters_options {
    struct sim_checks *checks;
    struct sim_disk *disks[8]; /* of all nodes, with a vote or not; borrowed */
    uint32_t disk_count;
    int32_t first_id; /* disk d is that of node first_id + d */
    const char *log_dir;
    /* What lies durably on a disk: 1 and filled, or 0. */
    int (*directory_of)(struct sim_disk *disk, uint8_t ret[SIM_DIRECTORY_BYTES]);
    int (*vote_of)(struct sim_disk *disk, uint64_t *ret_term, int32_t *ret_voted_for);
    int (*barred_of)(struct sim_disk *disk, bool *ret);
};
struct sim_voters_check *sim_voters_check_new(const struct sim_voters_options *options);
struct sim_voters_check *sim_voters_check_free(struct sim_voters_check *c);

/* Somebody goes by this set: its members are known from now on. */
void sim_voters_check_know(struct sim_voters_check *c, const struct sim_voter_set *set);
/* Something may have become durable on this disk. leader_of: the node that led this term, or -1. */
void sim_voters_check_disk(struct sim_voters_check *c, uint32_t disk,
                           int32_t (*leader_of)(void *arg, uint64_t term), void *arg);
/* The disk is about to be replaced, or to go back in time: what it has reported counts on. */
void sim_voters_check_leaves(struct sim_voters_check *c, uint32_t disk);
/* Its vote or its metadata log was damaged while the node was down. */
void sim_voters_check_damaged(struct sim_voters_check *c, uint32_t disk);

/* This disk's node leads this term, by this set. */
void sim_voters_check_elected(struct sim_voters_check *c, uint32_t disk, uint64_t term,
                              const struct sim_voter_set *set);
/* A leader goes from one set to another. committed: its commit index before; own: that is of its
 * own term. */
void sim_voters_check_changed(struct sim_voters_check *c, uint32_t disk,
                              const struct sim_voter_set *from, const struct sim_voter_set *to,
                              uint64_t committed, bool own);
/* A leader commits this entry by this set. */
void sim_voters_check_committed(struct sim_voters_check *c, uint32_t disk,
                                const struct sim_voter_set *set, const struct sim_log_batch *entry);

#endif
