/* Answers that rest on several group shards, or wait for one that is being loaded. */
#include "broker/api/internal.h"

static void settle_next(struct node_request *rq, enum kw_error error)
{
    struct api_settle *s = rq->op;
    if (error != KW_NONE) {
        rq->op = NULL;
        s->fail(rq, error);
        return;
    }
    while (s->next_ < s->count) {
        struct node_group *g = NULL;
        if (s->part(rq, s, s->next_++, &g) < 0) {
            rq->op = NULL;
            node_request_reject(rq, "its answer needs too much memory");
            return;
        }
        if (g != NULL && node_group_settle(g, s->prove, rq, settle_next))
            return;
    }
    rq->op = NULL;
    node_request_reply(rq, s->write, s->body);
}

void api_settle(struct node_request *rq, const struct api_settle *what)
{
    struct api_settle *s = kb_arena_memdup(&rq->arena, what, sizeof(*what));
    if (s == NULL) {
        node_request_reject(rq, "its answer needs too much memory");
        return;
    }
    rq->op = s;
    settle_next(rq, KW_NONE);
}

/* ---- a shard that is being loaded
 * ------------------------------------------------------------------ */

enum { LOAD_WAIT_MS = 1000 };

struct load_wait {
    struct node_hold hold;
    struct node_request *rq;
    struct kw_str group_id; /* in the request's frame */
};

static void cancel_wait(struct node_request *rq)
{
    struct load_wait *w = rq->op;
    node_hold_remove(&w->hold);
    node_request_free(rq);
}

/* Holds run whenever something moves: the request is decoded again only when this did. */
static void look_again(struct node_hold *h)
{
    struct load_wait *w = (struct load_wait *)h;
    struct node_request *rq = w->rq;
    enum kw_error error = KW_NONE;
    (void)node_group_of(rq->node, w->group_id, &error);
    if (error == KW_COORDINATOR_LOAD_IN_PROGRESS && node_now(rq->node) < h->deadline_ms &&
        rq->node->state != NODE_STOPPING) {
        node_hold_add(rq->node, h);
        return;
    }
    rq->op = NULL;
    rq->cancel = NULL;
    node_request_dispatch(rq);
}

bool api_group_wait(struct node_request *rq, struct kw_str group_id, enum kw_error error)
{
    uint64_t until_ms = rq->received_us / 1000 + LOAD_WAIT_MS;
    if (error != KW_COORDINATOR_LOAD_IN_PROGRESS || node_now(rq->node) >= until_ms ||
        rq->node->state == NODE_STOPPING)
        return false;
    struct load_wait *w = kb_arena_new(&rq->arena, struct load_wait);
    if (w == NULL)
        return false;
    w->rq = rq;
    w->group_id = group_id;
    w->hold.fn = look_again;
    w->hold.deadline_ms = until_ms;
    rq->op = w;
    rq->cancel = cancel_wait;
    node_hold_add(rq->node, &w->hold);
    return true;
}
