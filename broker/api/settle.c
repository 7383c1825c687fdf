/* Answers that rest on several group shards. */
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
