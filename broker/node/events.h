#ifndef NODE_EVENTS_H
#define NODE_EVENTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What happened lately, as this node saw it: the last NODE_EVENTS_MAX events, for people who look
 * at a failover afterwards. Owned by one node, on its loop; time comes in. Nothing rests on it.
 * Events of many partitions within NODE_EVENTS_MERGE_MS become one with a count. */

enum { NODE_EVENTS_MAX = 256, NODE_EVENTS_MERGE_MS = 100 };

enum node_event_kind {
    NODE_EVENT_LINK_LOST,     /* the last control link between us and the node closed */
    NODE_EVENT_PEER_DEAD,     /* rule 7.2 took its process for dead; reason: the evidence */
    NODE_EVENT_PEER_BACK,     /* a hello of a node whose link was lost */
    NODE_EVENT_CONTROLLER,    /* the node leads the metadata log in term */
    NODE_EVENT_REGISTERED,    /* a new incarnation of the node */
    NODE_EVENT_FENCED,        /* silent_ms: since we heard of it */
    NODE_EVENT_UNFENCED,      /* */
    NODE_EVENT_STOPPING,      /* it asked for its controlled stop */
    NODE_EVENT_LEADERS_MOVED, /* count partitions led by node are led by other now */
    NODE_EVENT_ISR_LEFT,      /* the node left count ISRs; reason */
    NODE_EVENT_ISR_JOINED,    /* the node joined count ISRs */
    NODE_EVENT_KINDS_,
};
const char *node_event_kind_name(enum node_event_kind kind);

struct node_event {
    uint64_t sequence; /* from 1, without gaps */
    enum node_event_kind kind;
    uint64_t mono_ms;
    int64_t wall_ms;
    int32_t node_id;    /* whom it is about; -1 = nobody (leaders that were missing) */
    int32_t other_id;   /* the new leader; -1 = none */
    uint64_t term;      /* of a controller; else 0 */
    uint32_t count;     /* partitions; 0 where none are concerned */
    int64_t silent_ms;  /* -1 = unknown */
    const char *reason; /* static; NULL = none */
    char *topic;        /* of the first partition; NULL = none. The ring owns its copy. */
    int32_t partition;
};

struct node_events {
    struct node_event ring[NODE_EVENTS_MAX];
    uint64_t last; /* sequence of the newest; 0 = empty */
};

/* Add one (borrowed; its sequence is ignored), or count it into a recent one of the same kind,
 * nodes, term and reason, if it concerns partitions. */
void node_events_add(struct node_events *e, const struct node_event *event);
size_t node_events_count(const struct node_events *e);
/* The i-th, oldest first; i < count. */
const struct node_event *node_events_at(const struct node_events *e, size_t i);
void node_events_release(struct node_events *e);

#endif
