/* Consumer groups of the judge: several groups with several members each read the judge's topic all
 * the time and commit what they have read, and their history is checked as it happens.
 *
 * Every member is a thread with a consumer of its own; all shared state is behind one lock. What is
 * counted as wrong, per group:
 *   back       a member was given an older offset than one whose commit was confirmed before,
 *              or a broker denied that the offset it reads on from exists
 *   stale      a commit was confirmed for a partition that had gone to another member before it was
 * sent reordered  a member read offsets of one assignment out of order changed    an offset held
 * another record than any reader saw there before missing    an acknowledged record that the group
 * never read (counted at the end) */
#ifndef TESTS_CLUSTER_JUDGE_GROUPS_H
#define TESTS_CLUSTER_JUDGE_GROUPS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct groups;

struct groups_options {
    const char *bootstrap;
    const char *topic;
    int partitions;
    int groups;            /* every third one is cooperative */
    int members;           /* of each group */
    char *const *settings; /* key=value, for every consumer */
    size_t settings_count;
};

/* Start all members. The strings are borrowed for ever. Ends the process where librdkafka refuses.
 */
struct groups *groups_start(const struct groups_options *options);
/* The first member of each group leaves it and joins again: a rebalance for all. */
void groups_rejoin(struct groups *g);
/* A reader outside the groups saw this record there; whether it is the one others saw. */
bool groups_note(struct groups *g, int partition, int64_t offset, uint32_t number);
/* How many groups have committed something. */
int groups_active(struct groups *g);
/* Whether every group has read the partition up to its end, and committed it. */
bool groups_reached(struct groups *g, int partition, int64_t end_offset);
/* Say on standard error which groups have not, and how far they came. */
void groups_tell(struct groups *g, int partition, int64_t end_offset);
/* How many of the acknowledged numbers group never saw. */
uint64_t groups_missing(struct groups *g, int group, int partition, const uint8_t *acked,
                        uint32_t count);
/* Print one JSON object for a group, without a line end. */
void groups_print(struct groups *g, int group, uint64_t missing);

#endif
