/* Where events come from: links, the Raft role, and the committed image as it moves. */
#include "broker/node/node_internal.h"

/* A broker as the image said before the batch at hand. */
struct watched_broker {
    int32_t id;
    uint64_t epoch;
    bool fenced;
    bool stopping;
};

struct node_watch {
    struct node_events events;
    struct watched_broker *brokers;
    size_t brokers_count;
    size_t brokers_capacity;
    int32_t controller; /* last told; -1 = none yet */
    uint64_t term;
    bool live; /* this incarnation was registered when the image last changed */
};

void node_watch_init(struct node *n)
{
    n->watch = kb_new(struct node_watch);
    n->watch->controller = -1;
}

void node_watch_free(struct node *n)
{
    if (n->watch == NULL)
        return;
    node_events_release(&n->watch->events);
    (void)kb_free(n->watch->brokers);
    n->watch = kb_free(n->watch);
}

const struct node_events *node_watch_events(const struct node *n)
{
    return &n->watch->events;
}

static struct node_event event_of(struct node *n, enum node_event_kind kind, int32_t node_id)
{
    return (struct node_event){
        .kind = kind,
        .mono_ms = node_now(n),
        .wall_ms = kb_env_wall_ms(n->env),
        .node_id = node_id,
        .other_id = -1,
        .silent_ms = -1,
    };
}

static void tell(struct node *n, enum node_event_kind kind, int32_t node_id, const char *reason)
{
    struct node_event e = event_of(n, kind, node_id);
    e.reason = reason;
    node_events_add(&n->watch->events, &e);
}

/* ---- links and the Raft role -------------------------------------------------------------------
 */

void node_watch_link(struct node *n, struct node_peer *p)
{
    bool open = node_peer_link(p, NODE_CONTROL) != NULL;
    if (n->links_stopped || n->freeing || open != p->link_lost)
        return;
    p->link_lost = !open;
    tell(n, open ? NODE_EVENT_PEER_BACK : NODE_EVENT_LINK_LOST, p->id, NULL);
}

void node_watch_peer_dead(struct node *n, struct node_peer *p, const char *why)
{
    tell(n, NODE_EVENT_PEER_DEAD, p->id, why);
}

void node_watch_controller(struct node *n, int32_t id, uint64_t term)
{
    struct node_watch *w = n->watch;
    if (id < 0 || (w->controller == id && w->term == term))
        return;
    w->controller = id;
    w->term = term;
    struct node_event e = event_of(n, NODE_EVENT_CONTROLLER, id);
    e.term = term;
    node_events_add(&w->events, &e);
}

/* ---- brokers -----------------------------------------------------------------------------------
 */

static struct watched_broker *find_broker(struct node_watch *w, int32_t id)
{
    for (size_t i = 0; i < w->brokers_count; i++) {
        if (w->brokers[i].id == id)
            return &w->brokers[i];
    }
    return NULL;
}

static void tell_fenced(struct node *n, const struct meta_broker *b)
{
    struct node_event e = event_of(n, b->fenced ? NODE_EVENT_FENCED : NODE_EVENT_UNFENCED, b->id);
    struct node_peer *p = node_peer_find(n, b->id);
    if (b->fenced && p != NULL && p->heard_ms != 0 && e.mono_ms >= p->heard_ms)
        e.silent_ms = (int64_t)(e.mono_ms - p->heard_ms);
    node_events_add(&n->watch->events, &e);
}

static void watch_broker(struct node *n, int32_t id, bool live)
{
    struct node_watch *w = n->watch;
    const struct meta_broker *b = meta_image_broker(n->image, id);
    struct watched_broker *old = find_broker(w, id);
    if (b == NULL) {
        if (old != NULL)
            *old = w->brokers[--w->brokers_count];
        return;
    }
    bool registered = old == NULL || old->epoch != b->epoch;
    if (live && registered)
        tell(n, NODE_EVENT_REGISTERED, id, NULL);
    if (live && (registered ? !b->fenced : old->fenced != b->fenced))
        tell_fenced(n, b);
    if (live && b->stopping && (registered || !old->stopping))
        tell(n, NODE_EVENT_STOPPING, id, NULL);
    if (old == NULL) {
        kb_array_reserve(w->brokers, w->brokers_count, w->brokers_capacity);
        old = &w->brokers[w->brokers_count++];
    }
    *old = (struct watched_broker){
        .id = id, .epoch = b->epoch, .fenced = b->fenced, .stopping = b->stopping};
}

/* ---- partitions --------------------------------------------------------------------------------
 */

/* Why a replica left: its leader knows best; the others see what the image says of its broker. */
static const char *reason_left(struct node *n, const struct meta_partition *p, int32_t id)
{
    const struct meta_broker *b = meta_image_broker(n->image, id);
    struct node_partition *local = node_partition_find(n, &p->topic->id, p->index);
    if (p->leader == n->config.node_id && local != NULL && local->rep != NULL) {
        struct rep_inspect in;
        rep_inspect(local->rep, node_now(n), &in);
        for (size_t i = 0; i < in.n_peers; i++) {
            if (in.peers[i].node_id == id && in.peers[i].left_reason != REP_LEFT_NOT)
                return rep_left_reason_name(in.peers[i].left_reason);
        }
    }
    if (b == NULL || b->fenced)
        return "fenced";
    return b->stopping ? "stopping" : "by_leader";
}

static void tell_partition(struct node *n, const struct meta_partition *p,
                           enum node_event_kind kind, int32_t id, const char *reason)
{
    struct node_event e = event_of(n, kind, id);
    e.other_id = kind == NODE_EVENT_LEADERS_MOVED ? p->leader : -1;
    e.count = 1;
    e.reason = reason;
    e.topic = p->topic->name;
    e.partition = p->index;
    node_events_add(&n->watch->events, &e);
}

static void watch_partition(struct node *n, const struct meta_delta_partition *d)
{
    const struct meta_partition *p = meta_image_partition(n->image, &d->topic_id, d->index);
    if (p == NULL || d->created)
        return;
    if (p->leader != d->former_leader)
        tell_partition(n, p, NODE_EVENT_LEADERS_MOVED, d->former_leader, NULL);
    for (size_t i = 0; i < p->replicas_count; i++) {
        bool was = (d->former_isr & (UINT64_C(1) << i)) != 0;
        bool is = meta_partition_in_isr(p, p->replicas[i]);
        if (was && !is)
            tell_partition(n, p, NODE_EVENT_ISR_LEFT, p->replicas[i],
                           reason_left(n, p, p->replicas[i]));
        if (is && !was)
            tell_partition(n, p, NODE_EVENT_ISR_JOINED, p->replicas[i], NULL);
        if (p->leader == n->config.node_id) {
            n->counters.isr_shrinks += was && !is;
            n->counters.isr_expands += is && !was;
        }
    }
}

/* A snapshot came in: what it skipped is told by what it left. */
static void watch_all(struct node *n, bool live)
{
    struct node_watch *w = n->watch;
    for (size_t i = w->brokers_count; i > 0; i--)
        watch_broker(n, w->brokers[i - 1].id, live);
    for (size_t i = 0; i < meta_image_brokers_count(n->image); i++)
        watch_broker(n, meta_image_broker_at(n->image, i)->id, live);
}

/* What is replayed before this incarnation is registered is history: its times are unknown. */
void node_watch_applied(struct node *n, const struct meta_delta *delta)
{
    bool live = n->broker_epoch != 0;
    bool was_live = n->watch->live;
    n->watch->live = live;
    if (delta->all) {
        watch_all(n, was_live);
        return;
    }
    for (size_t i = 0; i < delta->brokers_count; i++)
        watch_broker(n, delta->brokers[i], live);
    for (size_t i = 0; live && i < delta->partitions_count; i++)
        watch_partition(n, &delta->partitions[i]);
}
