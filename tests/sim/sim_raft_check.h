#ifndef SIM_RAFT_CHECK_H
#define SIM_RAFT_CHECK_H

#include "tests/sim/sim_checks.h"
#include "tests/sim/sim_logs.h"
#include "tests/sim/sim_voters_check.h"

/* Judges the metadata quorum (R1–R13, R15) and the records it commits (R16–R18), after every event
 * of a voter or of a broker without a vote, by what it believes, what lies on all disks and whom
 * the network let it hear. */
struct sim_raft_check;

struct sim_raft_options {
    struct sim_checks *checks;
    struct sim_disk *disks[8]; /* by voter, then brokers without a vote, borrowed */
    uint32_t voter_count;
    uint32_t disk_count; /* 0: only voters have one */
    int32_t first_id;    /* voter v has node id first_id + v */
    const char *log_dir; /* of the metadata log */
    /* Read the durable vote: 1 and filled, or 0 when there is none. */
    int (*vote_of)(struct sim_disk *disk, uint64_t *ret_term, int32_t *ret_voted_for);
    /* Read the durable directory id, and whether the vote is barred, likewise. NULL: R15 is not
     * judged. */
    int (*directory_of)(struct sim_disk *disk, uint8_t ret[SIM_DIRECTORY_BYTES]);
    int (*barred_of)(struct sim_disk *disk, bool *ret);
    /* The run's clock, and when the process of voter `to` last heard voter `from`, 0 = never, and
     * since when without a gap. NULL: R11 to R13 are not judged. */
    uint64_t (*now_us)(void *arg);
    uint64_t (*heard_us)(void *arg, uint32_t from, uint32_t to, uint64_t *ret_steady_us);
    void *arg;
};

/* What one voter, or broker without a vote, believes now. */
struct sim_raft_view {
    uint32_t life; /* of its process */
    bool leader;
    uint64_t term;
    uint64_t last_index;
    uint64_t commit_index;  /* min(commit, own durable): what it may apply */
    uint64_t leader_commit; /* as it counts it, its own disk may lag */
    uint64_t applied_index;
    uint64_t applied_digest;
    uint64_t candidacies; /* of this process, with a term of its own each */
    bool transferred;     /* candidate because the leader asked for it; false once elected */
    uint64_t cuts;        /* of its log, in this life */
    uint64_t cut_index;   /* where the last one left its end */
    struct sim_voter_set set;
};

struct sim_raft_check *sim_raft_check_new(const struct sim_raft_options *options);
struct sim_raft_check *sim_raft_check_free(struct sim_raft_check *c);
/* After an event of this voter's process. Those without a vote have numbers behind the voters':
 * their commits are commits, their copies count for nothing. */
void sim_raft_check_step(struct sim_raft_check *c, uint32_t voter,
                         const struct sim_raft_view *view);
/* The durable votes, after any event that may have written; R15 looks at those without a vote, too.
 */
void sim_raft_check_votes(struct sim_raft_check *c, uint32_t node);
/* R15: before a node's disk is replaced, and when its vote or log was damaged while it was down. */
void sim_raft_check_leaves(struct sim_raft_check *c, uint32_t node);
void sim_raft_check_damaged(struct sim_raft_check *c, uint32_t node);
/* The image a voter has at its applied index, as one number over all of it. */
void sim_raft_check_image(struct sim_raft_check *c, uint32_t voter, uint64_t applied_index,
                          uint64_t image);
/* The committed partition records. */
struct sim_metadata_check *sim_raft_check_metadata(const struct sim_raft_check *c);
/* Another directory is this voter's now: what its former one had promised does not bind it, and it
 * counts as a copy of every entry, since a leader may count what the former one had reported. */
void sim_raft_check_replaced(struct sim_raft_check *c, uint32_t voter);
uint64_t sim_raft_check_committed(const struct sim_raft_check *c);
uint64_t sim_raft_check_elections(const struct sim_raft_check *c); /* of partition leaders */
uint64_t sim_raft_check_leaders(const struct sim_raft_check *c);   /* terms that had a leader */

#endif
