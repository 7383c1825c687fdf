#ifndef SIM_START_CHECK_H
#define SIM_START_CHECK_H

#include "tests/sim/sim_checks.h"

/* Where the logs of the run's partitions begin, and what may be gone. P16: a start never falls,
 * never passes the high watermark, and an acknowledged DeleteRecords holds on every later leader.
 * "retention": nothing goes but what somebody asked to delete, or what retention.ms and
 * retention.bytes let go: records are as old as their timestamps say, by the simulator's clock and
 * not by that of a broker. Whatever is not in here must still be there: other checkers ask. */
struct sim_start_check;

#define SIM_START_NODES_MAX 8

struct sim_start_check *sim_start_check_new(struct sim_checks *checks, uint32_t partitions);
/* NULL accepted; returns NULL. */
struct sim_start_check *sim_start_check_free(struct sim_start_check *c);

/* ---- what may go ---- */

/* The topic of this partition has these; -1: keeps for ever. */
void sim_start_check_retention(struct sim_start_check *c, uint32_t partition, int64_t retention_ms,
                               int64_t retention_bytes);
/* These offsets of some log have this timestamp. */
void sim_start_check_batch(struct sim_start_check *c, uint32_t partition, int64_t first,
                           int64_t last, int64_t timestamp);
/* A DeleteRecords is on its way; -1: up to the high watermark. One of a partition at a time. */
#define SIM_START_HIGH_WATERMARK (-1)
void sim_start_check_asked(struct sim_start_check *c, uint32_t partition, int64_t offset);
enum sim_start_answer {
    SIM_START_DELETED,
    SIM_START_REFUSED, /* it did not and will not happen */
    SIM_START_UNKNOWN, /* nobody knows, and it may still happen */
};
/* ... and was answered. newest_epoch: no node knows a newer epoch of its leader. */
void sim_start_check_answered(struct sim_start_check *c, uint32_t partition,
                              enum sim_start_answer answer, int64_t low_watermark,
                              int32_t newest_epoch);
/* Bytes of the largest log of a partition from this offset on. */
typedef uint64_t sim_start_bytes_fn(void *arg, uint32_t partition, int64_t offset);
void sim_start_check_bytes(struct sim_start_check *c, sim_start_bytes_fn *fn, void *arg);
/* All below this may be gone by now. */
int64_t sim_start_check_gone(struct sim_start_check *c, uint32_t partition, int64_t now_ms);
/* All below this is gone by an acknowledged call. */
int64_t sim_start_check_floor(const struct sim_start_check *c, uint32_t partition);

/* ---- nodes ---- */

struct sim_start_view {
    uint64_t life;
    bool member; /* of the ISR as committed, with the disk it always had */
    int64_t start, high_watermark;
};
void sim_start_check_node(struct sim_start_check *c, uint32_t node, uint32_t partition,
                          const struct sim_start_view *v, int64_t now_ms);
/* A member's disk says so. */
void sim_start_check_durable(struct sim_start_check *c, uint32_t node, uint32_t partition,
                             int64_t start);

/* ---- clients ---- */

/* What a client knew when it asked; told in an answer of a leader that says it leads this epoch. */
struct sim_start_asked {
    int32_t leader_epoch; /* -1: it named none */
    int64_t floor;
};
struct sim_start_asked sim_start_check_asking(const struct sim_start_check *c, uint32_t partition,
                                              int32_t leader_epoch);
/* ListOffsets gave this as the first offset. */
void sim_start_check_told(struct sim_start_check *c, uint32_t partition,
                          const struct sim_start_asked *asked, int64_t start, int64_t now_ms);
/* Records came that begin at this offset, or below. */
void sim_start_check_read(struct sim_start_check *c, uint32_t partition,
                          const struct sim_start_asked *asked, int64_t offset);
/* The reader's offset is said to be out of range. */
void sim_start_check_out_of_range(struct sim_start_check *c, uint32_t partition, int64_t offset,
                                  int64_t now_ms);

struct sim_start_counts {
    uint64_t deleted, refused, unknown; /* calls */
    uint64_t moved;                     /* starts that rose without a call that asked for it */
};
struct sim_start_counts sim_start_check_counts(const struct sim_start_check *c);

#endif
