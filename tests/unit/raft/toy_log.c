/* Logs of the toy cluster: arrays of batches. */
#include "tests/unit/raft/toy.h"

#include <string.h>

#include "proto/base/assert.h"
#include "proto/base/mem.h"

uint64_t toy_digest(uint64_t before, const struct toy_batch *b)
{
    uint64_t h = before ^ (b->value * 0x9e3779b97f4a7c15ULL);
    h ^= b->entry.last + (b->entry.term << 40);
    h *= 0xff51afd7ed558ccdULL;
    return h ^ (h >> 33);
}

uint64_t toy_log_last(const struct toy_log *l)
{
    return l->count > 0 ? l->batches[l->count - 1].entry.last : l->base.index;
}

uint64_t toy_log_term(const struct toy_log *l, uint64_t index)
{
    if (index == l->base.index)
        return l->base.term;
    const struct toy_batch *b = toy_log_find(l, index);
    return b != NULL ? b->entry.term : 0;
}

const struct toy_batch *toy_log_find(const struct toy_log *l, uint64_t index)
{
    size_t low = 0;
    size_t high = l->count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (l->batches[middle].entry.last < index)
            low = middle + 1;
        else
            high = middle;
    }
    if (low == l->count || l->batches[low].entry.first > index)
        return NULL;
    return &l->batches[low];
}

void toy_log_append(struct toy_log *l, const struct toy_batch *b)
{
    KB_ASSERT(b->entry.first == toy_log_last(l) + 1);
    kb_array_reserve(l->batches, l->count, l->capacity);
    l->batches[l->count++] = *b;
}

void toy_log_truncate(struct toy_log *l, uint64_t index)
{
    while (l->count > 0 && l->batches[l->count - 1].entry.last > index) {
        KB_ASSERT(l->batches[l->count - 1].entry.first > index);
        l->count--;
    }
}

void toy_log_prune(struct toy_log *l, struct raft_position at, uint64_t digest)
{
    size_t drop = 0;
    while (drop < l->count && l->batches[drop].entry.last <= at.index)
        drop++;
    KB_ASSERT(drop == l->count || l->batches[drop].entry.first == at.index + 1);
    memmove(l->batches, l->batches + drop, (l->count - drop) * sizeof(l->batches[0]));
    l->count -= drop;
    l->base = at;
    l->base_digest = digest;
}

void toy_log_reset(struct toy_log *l, struct raft_position at, uint64_t digest)
{
    l->count = 0;
    l->base = at;
    l->base_digest = digest;
}

void toy_log_copy(struct toy_log *to, const struct toy_log *from)
{
    to->count = 0;
    to->base = from->base;
    to->base_digest = from->base_digest;
    for (size_t i = 0; i < from->count; i++)
        toy_log_append(to, &from->batches[i]);
}
