#include "coordinator/raft/terms.h"

#include <string.h>

#include "proto/base/assert.h"
#include "proto/base/mem.h"

void raft_terms_extend(struct raft_terms *t, uint64_t last_index, uint64_t term)
{
    KB_ASSERT(last_index > t->last_index);
    KB_ASSERT(term > 0);
    KB_ASSERT(term >= raft_terms_last(t).term);
    if (t->count == 0 || t->runs[t->count - 1].term != term) {
        kb_array_reserve(t->runs, t->count, t->capacity);
        t->runs[t->count++] = (struct raft_run){t->last_index + 1, term};
    }
    t->last_index = last_index;
}

/* The run that holds index, which is inside the log. */
static size_t run_of(const struct raft_terms *t, uint64_t index)
{
    size_t low = 0;
    size_t high = t->count;
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        if (t->runs[middle].first <= index)
            low = middle;
        else
            high = middle;
    }
    return low;
}

uint64_t raft_terms_at(const struct raft_terms *t, uint64_t index)
{
    if (index == t->base.index)
        return t->base.term;
    if (index < t->base.index || index > t->last_index)
        return 0;
    return t->runs[run_of(t, index)].term;
}

struct raft_position raft_terms_last(const struct raft_terms *t)
{
    if (t->count == 0)
        return t->base;
    return (struct raft_position){t->last_index, t->runs[t->count - 1].term};
}

void raft_terms_truncate(struct raft_terms *t, uint64_t index)
{
    KB_ASSERT(index >= t->base.index);
    KB_ASSERT(index <= t->last_index);
    while (t->count > 0 && t->runs[t->count - 1].first > index)
        t->count--;
    t->last_index = index;
}

void raft_terms_prune(struct raft_terms *t, struct raft_position base)
{
    KB_ASSERT(base.index >= t->base.index);
    KB_ASSERT(raft_terms_at(t, base.index) == base.term);
    t->base = base;
    if (base.index >= t->last_index) {
        t->count = 0;
        return;
    }
    size_t keep = run_of(t, base.index + 1);
    memmove(t->runs, t->runs + keep, (t->count - keep) * sizeof(t->runs[0]));
    t->count -= keep;
    t->runs[0].first = base.index + 1;
}

void raft_terms_reset(struct raft_terms *t, struct raft_position base)
{
    t->base = base;
    t->last_index = base.index;
    t->count = 0;
}

struct raft_position raft_terms_meet(const struct raft_terms *t, uint64_t index, uint64_t term)
{
    if (index > t->last_index)
        index = t->last_index;
    if (index > t->base.index) {
        for (size_t i = run_of(t, index) + 1; i-- > 0;) {
            if (t->runs[i].term <= term)
                return (struct raft_position){index, t->runs[i].term};
            index = t->runs[i].first - 1;
        }
    }
    if (index == t->base.index && t->base.term <= term)
        return t->base;
    return (struct raft_position){0, 0};
}

void raft_terms_release(struct raft_terms *t)
{
    t->runs = kb_free(t->runs);
    *t = (struct raft_terms){0};
}
