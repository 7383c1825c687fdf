#ifndef SIM_GROUP_OFFSETS_H
#define SIM_GROUP_OFFSETS_H

#include "proto/base/bytes.h"
#include "tests/sim/sim_client.h"
#include "tests/sim/sim_group_check.h"

/* The offsets of the run's groups: every commit with what its sender heard, every OffsetFetch, the
 * committed records of __consumer_offsets as they lay on disks (read without the broker's groups),
 * and what the members delivered. Each commit carries its number as metadata, so that the log gives
 * all of them one order. Judges G1, G8, G10, G11 and the durable side of G3 and G5. */
struct sim_group_offsets;

struct sim_group_offsets_options {
    struct sim_checks *checks;       /* borrowed */
    const struct sim_topics *topics; /* borrowed */
    const char *const *groups;       /* their ids, borrowed */
    uint32_t group_count;
    uint32_t consuming;    /* the first of them have members, which must deliver everything */
    uint64_t retention_ms; /* of offsets that nobody uses; 0: longer than any run */
};
struct sim_group_offsets *sim_group_offsets_new(const struct sim_group_offsets_options *options);
/* NULL accepted; returns NULL. */
struct sim_group_offsets *sim_group_offsets_free(struct sim_group_offsets *o);

/* ---- members ---- */

enum sim_commit_outcome {
    SIM_COMMIT_OPEN,  /* nothing heard, or nobody knows */
    SIM_COMMIT_OK,    /* acknowledged */
    SIM_COMMIT_STALE, /* refused: generation, member or instance is not the present one */
};
/* A commit goes out; its number. generation -1: from outside the group. */
uint64_t sim_group_offsets_commit(struct sim_group_offsets *o, uint32_t group, uint32_t partition,
                                  int32_t generation, int64_t offset, uint64_t now_us);
/* The metadata of commit id: "c<id>". */
void sim_group_offsets_text(uint64_t id, char text[24]);
void sim_group_offsets_done(struct sim_group_offsets *o, uint64_t id,
                            enum sim_commit_outcome outcome, uint64_t now_us);
/* An OffsetFetch asked at asked_us was answered: offset -1 = none. */
void sim_group_offsets_fetched(struct sim_group_offsets *o, uint32_t group, uint32_t partition,
                               int64_t offset, struct kb_view metadata, uint64_t asked_us);
/* A member of the group has worked on this record. */
void sim_group_offsets_delivered(struct sim_group_offsets *o, uint32_t group, uint32_t partition,
                                 int64_t offset);

/* ---- the log ---- */

/* What is seen in the log from now on is seen at this time. */
void sim_group_offsets_clock(struct sim_group_offsets *o, uint64_t now_us, int64_t wall_ms);
/* A committed record of a node's log. value.data NULL: a tombstone. */
void sim_group_offsets_record(struct sim_group_offsets *o, uint32_t node, int64_t offset,
                              struct kb_view key, struct kb_view value);
/* The final log of a node: all that is there, in order, then its end. What was compacted away must
 * not count (G11). */
void sim_group_offsets_final(struct sim_group_offsets *o, uint32_t node, int64_t offset,
                             struct kb_view key, struct kb_view value);
void sim_group_offsets_final_end(struct sim_group_offsets *o, uint32_t node, int64_t end_offset);

/* The time of this group's offsets is long over: whoever asked from here on was told of none (G8).
 */
void sim_group_offsets_gone(struct sim_group_offsets *o, uint32_t group, uint64_t since_us);
/* When the newest commit of a group was asked for. */
uint64_t sim_group_offsets_newest_us(const struct sim_group_offsets *o, uint32_t group);
/* Offsets that the log deletes because their time was over. */
uint64_t sim_group_offsets_expired(const struct sim_group_offsets *o);
/* All is in; the run's partitions end there (by number). */
void sim_group_offsets_judge(struct sim_group_offsets *o, const int64_t *ends);

uint64_t sim_group_offsets_acked(const struct sim_group_offsets *o);
/* Records that were seen in the log and are not in the final log of some node. */
uint64_t sim_group_offsets_compacted(const struct sim_group_offsets *o);

#endif
