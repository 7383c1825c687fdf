#ifndef SIM_COMPACT_CHECK_H
#define SIM_COMPACT_CHECK_H

#include "proto/base/bytes.h"
#include "tests/sim/sim_checks.h"

/* One compacted partition: P17. Replicas are cleaned each by itself, so they need not be alike;
 * each must leave of every key the newest record that was committed, where it was and as it was.
 * Deletions (tombstones) stay for delete.retention.ms after they were cleaned first, go afterwards,
 * and what was deleted never comes back. */
struct sim_compact_check;

#define SIM_COMPACT_NODES_MAX 8
#define SIM_COMPACT_READER SIM_COMPACT_NODES_MAX /* a client instead of a node */

struct sim_compact_check *sim_compact_check_new(struct sim_checks *checks,
                                                int64_t delete_retention_ms);
/* NULL accepted; returns NULL. */
struct sim_compact_check *sim_compact_check_free(struct sim_compact_check *c);

struct sim_compact_record {
    int64_t offset;
    struct kb_view key, value; /* value.data NULL: a tombstone */
    int64_t sent_ms;           /* its timestamp: no cleaner saw it before that */
    int64_t horizon_ms;        /* its batch was cleaned: it may go from then on; -1 not cleaned */
};
/* Acknowledged: it is committed. */
void sim_compact_check_acked(struct sim_compact_check *c, const struct sim_compact_record *r,
                             int64_t now_ms);
/* A look at all that a node (or a reader from the start on) has, in order; what lies below bound is
 * committed. */
void sim_compact_check_begin(struct sim_compact_check *c, uint32_t node, int64_t bound);
void sim_compact_check_record(struct sim_compact_check *c, const struct sim_compact_record *r,
                              int64_t now_ms);
void sim_compact_check_end(struct sim_compact_check *c, int64_t now_ms);
/* Its disk is an older one, or an empty one: what it held before, it may hold no more. */
void sim_compact_check_replaced(struct sim_compact_check *c, uint32_t node);
/* Tombstones of the last look at a node that may be gone for this long already. */
uint64_t sim_compact_check_overdue(const struct sim_compact_check *c, uint32_t node);
/* Nothing hinders the cleaner: none may be left at any node. */
void sim_compact_check_final(struct sim_compact_check *c);

struct sim_compact_counts {
    uint64_t records, tombstones; /* committed */
    uint64_t cleaned; /* committed records that the last look at node 0.. did not find */
    uint64_t expired; /* ... and tombstones */
};
struct sim_compact_counts sim_compact_check_counts(const struct sim_compact_check *c);

#endif
