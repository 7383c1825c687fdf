/* Groups by deadline: a binary heap whose keys are lower bounds, so that a heartbeat, which only
 * moves a deadline back, need not touch it. */
#include "coordinator/groups/internal.h"

static void place(struct group_timer_heap *h, size_t i, struct group *g)
{
    h->items[i] = g;
    g->heap_index = i;
}

static void sift_up(struct group_timer_heap *h, size_t i, struct group *g)
{
    while (i > 0 && h->items[(i - 1) / 2]->deadline_ms > g->deadline_ms) {
        place(h, i, h->items[(i - 1) / 2]);
        i = (i - 1) / 2;
    }
    place(h, i, g);
}

static void sift_down(struct group_timer_heap *h, size_t i, struct group *g)
{
    for (;;) {
        size_t child = 2 * i + 1;
        if (child >= h->count)
            break;
        if (child + 1 < h->count && h->items[child + 1]->deadline_ms < h->items[child]->deadline_ms)
            child++;
        if (h->items[child]->deadline_ms >= g->deadline_ms)
            break;
        place(h, i, h->items[child]);
        i = child;
    }
    place(h, i, g);
}

static void take_out(struct group_timer_heap *h, struct group *g)
{
    size_t i = g->heap_index;
    struct group *last = h->items[--h->count];
    g->heap_index = SIZE_MAX;
    if (last == g)
        return;
    place(h, i, last);
    sift_down(h, i, last);
    sift_up(h, last->heap_index, last);
}

void group_heap_set(struct group *g, uint64_t deadline_ms)
{
    struct group_timer_heap *h = &g->shard->heap;
    if (g->heap_index != SIZE_MAX)
        take_out(h, g);
    g->deadline_ms = deadline_ms;
    if (deadline_ms == UINT64_MAX)
        return;
    kb_array_reserve(h->items, h->count, h->capacity);
    sift_up(h, h->count++, g);
}

void group_heap_want(struct group *g, uint64_t deadline_ms)
{
    if (deadline_ms < g->deadline_ms)
        group_heap_set(g, deadline_ms);
}

struct group *group_heap_first(const struct group_shard *s)
{
    return s->heap.count > 0 ? s->heap.items[0] : NULL;
}

void group_heap_release(struct group_shard *s)
{
    s->heap.items = kb_free(s->heap.items);
    s->heap.count = 0;
    s->heap.capacity = 0;
}
