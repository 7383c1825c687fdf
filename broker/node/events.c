/* The ring of recent events. */
#include "broker/node/events.h"

#include <string.h>

#include "proto/base/assert.h"
#include "proto/base/mem.h"

enum { MERGE_LOOKS_MAX = 32 };

const char *node_event_kind_name(enum node_event_kind kind)
{
    static const char *const names[NODE_EVENT_KINDS_] = {
        [NODE_EVENT_LINK_LOST] = "link_lost",         [NODE_EVENT_PEER_DEAD] = "peer_dead",
        [NODE_EVENT_PEER_BACK] = "peer_back",         [NODE_EVENT_CONTROLLER] = "controller",
        [NODE_EVENT_REGISTERED] = "registered",       [NODE_EVENT_FENCED] = "fenced",
        [NODE_EVENT_UNFENCED] = "unfenced",           [NODE_EVENT_STOPPING] = "stopping",
        [NODE_EVENT_LEADERS_MOVED] = "leaders_moved", [NODE_EVENT_ISR_LEFT] = "isr_left",
        [NODE_EVENT_ISR_JOINED] = "isr_joined",
    };
    KB_ASSERT(kind < NODE_EVENT_KINDS_);
    return names[kind];
}

static struct node_event *slot(struct node_events *e, uint64_t sequence)
{
    return &e->ring[sequence % NODE_EVENTS_MAX];
}

size_t node_events_count(const struct node_events *e)
{
    return e->last < NODE_EVENTS_MAX ? (size_t)e->last : NODE_EVENTS_MAX;
}

const struct node_event *node_events_at(const struct node_events *e, size_t i)
{
    KB_ASSERT(i < node_events_count(e));
    return &e->ring[(e->last - node_events_count(e) + 1 + i) % NODE_EVENTS_MAX];
}

static bool same_kind(const struct node_event *a, const struct node_event *b)
{
    return a->kind == b->kind && a->node_id == b->node_id && a->other_id == b->other_id &&
           a->term == b->term && a->reason == b->reason;
}

/* The recent event this one is counted into; NULL: it stands for itself. */
static struct node_event *find_recent(struct node_events *e, const struct node_event *event)
{
    size_t count = node_events_count(e);
    if (event->count == 0)
        return NULL;
    for (size_t i = 0; i < count && i < MERGE_LOOKS_MAX; i++) {
        struct node_event *old = slot(e, e->last - i);
        if (event->mono_ms - old->mono_ms > NODE_EVENTS_MERGE_MS)
            return NULL;
        if (same_kind(old, event))
            return old;
    }
    return NULL;
}

void node_events_add(struct node_events *e, const struct node_event *event)
{
    struct node_event *at = find_recent(e, event);
    if (at != NULL) {
        at->count += event->count;
        return;
    }
    at = slot(e, ++e->last);
    (void)kb_free(at->topic);
    *at = *event;
    at->sequence = e->last;
    at->topic = event->topic != NULL ? kb_strdup(event->topic) : NULL;
}

void node_events_release(struct node_events *e)
{
    for (size_t i = 0; i < NODE_EVENTS_MAX; i++)
        e->ring[i].topic = kb_free(e->ring[i].topic);
    e->last = 0;
}
