/* Rule 10.5: a leader whose link closed is not named until the controller has decided, and one of
 * which nothing was heard since the question came is asked for a sign of life first. */
#include "broker/node/node_internal.h"

enum { HOLD_MS = 400 };

struct node_hold_table {
    TAILQ_HEAD(node_holds, node_hold) holds;
    struct kb_timer *timer; /* armed: they run in the next event */
};

bool node_leader_held(struct node *n, int32_t leader, uint64_t *ret_until_ms)
{
    struct node_peer *p = node_peer_find(n, leader);
    if (p == NULL || p->lost_ms == 0)
        return false;
    *ret_until_ms = p->lost_ms + HOLD_MS;
    return node_now(n) < *ret_until_ms;
}

bool node_leader_dead(struct node *n, int32_t leader)
{
    struct node_peer *p = node_peer_find(n, leader);
    return p != NULL && p->lost_ms != 0 && p->dead;
}

static void run_one(struct node_hold *h)
{
    node_hold_remove(h);
    h->fn(h);
}

void node_hold_remove(struct node_hold *h)
{
    if (!h->registered)
        return;
    h->registered = false;
    TAILQ_REMOVE(&h->node->holds->holds, h, entries);
}

/* Each hold looks at the world again and may register anew: one round only. */
static void run_all(struct node *n, uint64_t now_ms)
{
    struct node_hold *h = NULL;
    struct node_holds due;
    struct node_hold *next = NULL;
    if (n->holds == NULL)
        return;
    TAILQ_INIT(&due);
    TAILQ_FOREACH_SAFE(h, &n->holds->holds, entries, next)
    {
        if (h->deadline_ms > now_ms)
            continue;
        TAILQ_REMOVE(&n->holds->holds, h, entries);
        TAILQ_INSERT_TAIL(&due, h, entries);
    }
    TAILQ_CONCAT(&n->holds->holds, &due, entries);
    size_t count = 0;
    TAILQ_FOREACH(h, &n->holds->holds, entries)
    count += h->deadline_ms <= now_ms;
    while (count-- > 0) {
        TAILQ_FOREACH(h, &n->holds->holds, entries)
        {
            if (h->deadline_ms <= now_ms)
                break;
        }
        if (h == NULL)
            break;
        run_one(h);
    }
}

static void on_timer(void *arg)
{
    run_all(arg, UINT64_MAX);
}

void node_hold_add(struct node *n, struct node_hold *h)
{
    if (n->holds == NULL) {
        n->holds = kb_new(struct node_hold_table);
        TAILQ_INIT(&n->holds->holds);
        n->holds->timer = kb_timer_new(n->env, on_timer, n);
    }
    h->node = n;
    h->registered = true;
    TAILQ_INSERT_TAIL(&n->holds->holds, h, entries);
}

/* Never at once: what moved may be one of many committed records that are replayed in a row. A
 * broker that was away would answer from the middle of them, as the coordinator that the next one
 * says it is not (simulator seed 16609). */
void node_holds_run(struct node *n)
{
    if (n->holds != NULL && !TAILQ_EMPTY(&n->holds->holds))
        kb_timer_arm(n->holds->timer, 0);
}

void node_clients_applied(struct node *n, const struct meta_delta *delta)
{
    size_t cursor = 0;
    struct node_peer *p = NULL;
    (void)delta;
    while ((p = kb_map_next(&n->peers, &cursor, NULL)) != NULL) {
        if (p->lost_ms != 0 && !meta_image_broker_live(n->image, p->id))
            p->lost_ms = 0; /* decided: it leads nothing any more */
    }
    node_holds_run(n);
}

void node_clients_tick(struct node *n, uint64_t now_ms)
{
    run_all(n, now_ms);
}

void node_clients_peer_dead(struct node *n, int32_t id)
{
    struct node_peer *p = node_peer_find(n, id);
    if (p != NULL && p->lost_ms == 0 && meta_image_broker_live(n->image, id))
        p->lost_ms = node_now(n);
}

bool node_leader_unproven(struct node *n, int32_t leader, uint64_t since)
{
    struct node_peer *p = node_peer_find(n, leader);
    if (p == NULL || leader == n->config.node_id || p->proof_heard > since)
        return false;
    struct node_link *l = node_peer_link(p, NODE_CONTROL);
    if (l == NULL)
        l = node_peer_link(p, NODE_DATA);
    if (l == NULL)
        return false;
    if (p->proof_asked <= p->proof_heard || p->proof_link != l->serial) {
        p->proof_asked = ++n->proof_sequence;
        p->proof_link = l->serial;
        node_link_ping(l, p->proof_asked);
    }
    return true;
}

void node_leader_proven(struct node *n, struct node_peer *p, uint64_t sequence)
{
    if (sequence <= p->proof_heard || sequence > p->proof_asked)
        return; /* of an earlier life of this process */
    p->proof_heard = sequence;
    node_holds_run(n);
}

void node_holds_free(struct node *n)
{
    if (n->holds != NULL)
        (void)kb_timer_free(n->holds->timer);
    n->holds = kb_free(n->holds);
}
