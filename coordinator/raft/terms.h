#ifndef RAFT_TERMS_H
#define RAFT_TERMS_H

#include <stddef.h>
#include <stdint.h>

#include "coordinator/raft/raft.h"

/* Terms of the metadata log, without payloads: one run per stretch of equal terms. Owned by one
 * raft_core; not thread-safe. Indexes start at 1, 0 means none. Zero-initialise to start.
 * Invariants: base.index <= last_index; runs have rising first indexes and terms, the first run
 * starts at base.index + 1. Memory is bounded by the number of terms since the snapshot. */
struct raft_run {
    uint64_t first;
    uint64_t term;
};
struct raft_terms {
    struct raft_position base; /* the snapshot the log starts behind */
    uint64_t last_index;
    struct raft_run *runs;
    size_t count;
    size_t capacity;
};

/* Grow to last_index with entries of this term. last_index must be above the present one and term
 * not below the present last term. */
void raft_terms_extend(struct raft_terms *t, uint64_t last_index, uint64_t term);
/* Term of an index in the log, or of the base; 0 = outside. */
uint64_t raft_terms_at(const struct raft_terms *t, uint64_t index);
struct raft_position raft_terms_last(const struct raft_terms *t);
/* Drop all behind index (base.index <= index <= last_index). */
void raft_terms_truncate(struct raft_terms *t, uint64_t index);
/* The log starts behind this position now; it must be inside the log, with that term. */
void raft_terms_prune(struct raft_terms *t, struct raft_position base);
/* Empty, behind base. */
void raft_terms_reset(struct raft_terms *t, struct raft_position base);
/* The last position at or before index whose term is not above term: where two logs may still
 * agree. 0,0 when that would be before the base. */
struct raft_position raft_terms_meet(const struct raft_terms *t, uint64_t index, uint64_t term);
void raft_terms_release(struct raft_terms *t);

#endif
