#ifndef SIM_EPOCH_CHECK_H
#define SIM_EPOCH_CHECK_H

#include <stddef.h>

#include "tests/sim/sim_checks.h"

/* Judges what replicas do with their logs, by what each believes after every event and by the log
 * that each leader had when its epoch began: P6 (a leader never cuts, a follower only where it
 * parts from its leader, never below its high watermark, and before that rises) and P8 (one broker
 * appends in an epoch). Equal (epoch, offset) is an equal batch (P2), so epochs stand for batches.
 */
struct sim_epoch_check;

struct sim_epoch_entry {
    int32_t epoch;
    int64_t start; /* first offset of it */
};
/* One replica now. */
struct sim_replica_view {
    uint32_t life; /* of its process */
    bool open;     /* the log is; without it only life, damaged and member are known */
    bool leader;
    bool cutting; /* it has decided to cut or empty its log, and has not finished */
    bool damaged; /* it knows that it holds less than it should, and begins anew */
    bool member;  /* of ISR or ELR by the newest committed record */
    int32_t leader_epoch;
    int64_t start, end, high_watermark;
    const struct sim_epoch_entry *epochs; /* of its log, borrowed for the call */
    size_t epoch_count;
};

struct sim_epoch_check *sim_epoch_check_new(struct sim_checks *checks, uint32_t nodes,
                                            uint32_t partitions);
/* NULL accepted; returns NULL. */
struct sim_epoch_check *sim_epoch_check_free(struct sim_epoch_check *c);
/* After an event of this node. */
void sim_epoch_check_step(struct sim_epoch_check *c, uint32_t node, uint32_t partition,
                          const struct sim_replica_view *view);
/* It is as it was when it was last judged; whether it is a member does not count. */
bool sim_epoch_check_knows(const struct sim_epoch_check *c, uint32_t node, uint32_t partition,
                           const struct sim_replica_view *view);
/* A batch was found on this node's disk (P8). */
void sim_epoch_check_batch(struct sim_epoch_check *c, uint32_t node, uint32_t partition,
                           int64_t first, int64_t last, int32_t epoch);

#endif
