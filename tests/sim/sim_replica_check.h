#ifndef SIM_REPLICA_CHECK_H
#define SIM_REPLICA_CHECK_H

#include "tests/sim/sim_checks.h"
#include "tests/sim/sim_epoch_check.h"
#include "tests/sim/sim_logs.h"
#include "tests/sim/sim_start_check.h"

/* Judges the replicas of the run's partitions by what lies on the disks: P2 (one value per epoch
 * and offset on all replicas, for ever), P3 (identical below the smaller high watermark), P4 (who
 * is in the ISR has all below the high watermark), P9 and P22 (an acknowledged batch lies durably
 * on enough disks) and the raw side of P11 and P12. */
struct sim_replica_check;

struct sim_replica_options {
    struct sim_checks *checks;
    struct sim_disk *disks[8]; /* by node, borrowed */
    uint32_t disk_count;
    uint32_t partitions;
    /* Directory of partition p's log; text must hold 128 bytes. */
    void (*dir_of)(void *arg, uint32_t partition, char *text);
    void *arg;
    uint32_t min_insync;            /* durable copies of an acks=all record */
    struct sim_epoch_check *epochs; /* borrowed; is told of batches (P8); may be NULL */
    struct sim_start_check *starts; /* told of all batches; borrowed, may be NULL */
};
struct sim_replica_check *sim_replica_check_new(const struct sim_replica_options *options);
struct sim_replica_check *sim_replica_check_free(struct sim_replica_check *c);

/* A producer was told that its batch (as it sent it) lies at [first, last]. With acks=1 only of a
 * leader that leads on in the same epoch: it has not cut its log since. */
void sim_replica_check_ack(struct sim_replica_check *c, uint32_t partition, int64_t first,
                           int64_t last, int16_t acks, struct kb_view batch);
/* P4: the leader of a partition has this high watermark, and these nodes are its ISR (bit n: node
 * index n): whoever may be elected must hold all that counts as committed. */
void sim_replica_check_hw(struct sim_replica_check *c, uint32_t partition, int64_t high_watermark,
                          uint32_t isr);
/* P13: these nodes have just joined its ISR, in an epoch that began at epoch_start. */
void sim_replica_check_joined(struct sim_replica_check *c, uint32_t partition, int64_t epoch_start,
                              uint32_t joined);
/* P14: this node tells a leader that it has this partition durably up to this end. */
void sim_replica_check_reported(struct sim_replica_check *c, uint32_t node, uint32_t partition,
                                int64_t durable);
/* P7: compare the epochs that a node knows of its offsets with the batches on its disk. epoch_at
 * gives -1 for an offset the node has not. */
void sim_replica_check_epochs(struct sim_replica_check *c, uint32_t node, uint32_t partition,
                              int32_t (*epoch_at)(void *arg, int64_t offset), void *arg);
/* This node's disk was replaced. What was acknowledged may have lain there: it counts as a copy of
 * every record from now on. */
void sim_replica_check_replaced(struct sim_replica_check *c, uint32_t node);
/* The nodes that are to hold this partition, as a mask; all of them at first. */
void sim_replica_check_assign(struct sim_replica_check *c, uint32_t partition, uint32_t nodes);
/* Compare the visible replicas of a partition. high_watermarks by node, none above what the node
 * has written; -1 = not known (down). */
void sim_replica_check_compare(struct sim_replica_check *c, uint32_t partition,
                               const int64_t *high_watermarks);
/* The run is over and healed: durable replicas are identical to their ends. Reports every record of
 * the first holder's log. */
typedef void sim_raw_record_fn(void *arg, uint32_t partition, int64_t offset, struct kb_view value);
void sim_replica_check_final(struct sim_replica_check *c, sim_raw_record_fn *fn, void *arg);
/* The same, with epochs and times, before it is reported; NULL = nobody. */
typedef void sim_scan_fn(void *arg, uint32_t partition, int64_t offset, int32_t epoch,
                         int64_t timestamp);
void sim_replica_check_on_scan(struct sim_replica_check *c, sim_scan_fn *fn, void *arg);
/* Where the segments of a partition's durable log begin at a node; 0 when there is none. */
int64_t sim_replica_check_start(struct sim_replica_check *c, uint32_t node, uint32_t partition);
/* Bytes of the largest visible log of a partition from this offset on. */
uint64_t sim_replica_check_bytes(struct sim_replica_check *c, uint32_t partition, int64_t offset);
/* End of a partition's durable log at a node. */
int64_t sim_replica_check_end(struct sim_replica_check *c, uint32_t node, uint32_t partition);
/* The same at its first holder. */
int64_t sim_replica_check_first_end(struct sim_replica_check *c, uint32_t partition);
/* The durable logs of all its holders end alike. */
bool sim_replica_check_ends_alike(struct sim_replica_check *c, uint32_t partition);

#endif
