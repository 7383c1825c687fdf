/* InitProducerId: ids for idempotent producers, handed out from blocks of the controller. */
#include "broker/api/internal.h"

API_WRITER(write_response, kw_init_producer_id_response_write, kw_init_producer_id_response)

/* A request that waits for a block. */
struct ids_op {
    struct node_request *rq;
    TAILQ_ENTRY(ids_op) entries;
};
struct api_producer_ids {
    int64_t next;
    int32_t left;
    bool asking;
    TAILQ_HEAD(, ids_op) waits;
};

static void answer(struct node_request *rq, enum kw_error error, int64_t id, int16_t epoch)
{
    struct kw_init_producer_id_response resp;
    kw_init_producer_id_response_init(&resp);
    resp.error_code = (int16_t)error;
    resp.producer_id = id;
    resp.producer_epoch = epoch;
    rq->op = NULL;
    rq->cancel = NULL;
    node_request_reply(rq, write_response, &resp);
}

static void ids_free(struct node *n)
{
    n->producer_ids = kb_free(n->producer_ids);
}

static struct api_producer_ids *ids_of(struct node *n)
{
    if (n->producer_ids == NULL) {
        n->producer_ids = kb_new(struct api_producer_ids);
        TAILQ_INIT(&n->producer_ids->waits);
        n->free_producer_ids = ids_free;
    }
    return n->producer_ids;
}

static void ask(struct node *n);

static void serve(struct node *n)
{
    struct api_producer_ids *t = ids_of(n);
    struct ids_op *op = NULL;
    while (t->left > 0 && (op = TAILQ_FIRST(&t->waits)) != NULL) {
        TAILQ_REMOVE(&t->waits, op, entries);
        t->left--;
        answer(op->rq, KW_NONE, t->next++, 0);
    }
    if (!TAILQ_EMPTY(&t->waits))
        ask(n);
}

static void on_block(void *arg, int64_t first, int32_t count)
{
    struct node *n = arg;
    struct api_producer_ids *t = n->producer_ids;
    struct ids_op *op = NULL;
    t->asking = false;
    if (n->freeing)
        return;
    if (count > 0) {
        t->next = first;
        t->left = count;
        serve(n);
        return;
    }
    while ((op = TAILQ_FIRST(&t->waits)) != NULL) {
        TAILQ_REMOVE(&t->waits, op, entries);
        answer(op->rq, KW_COORDINATOR_LOAD_IN_PROGRESS, -1, -1); /* retriable: no controller now */
    }
}

static void ask(struct node *n)
{
    if (n->producer_ids->asking)
        return;
    n->producer_ids->asking = true;
    node_lifecycle_producer_ids(n, on_block, n);
}

static void cancel(struct node_request *rq)
{
    struct ids_op *op = rq->op;
    TAILQ_REMOVE(&rq->node->producer_ids->waits, op, entries);
    node_request_free(rq);
}

void api_init_producer_id(struct node_request *rq)
{
    struct node *n = rq->node;
    struct kw_init_producer_id_request req;
    struct ids_op *op = kb_arena_new(&rq->arena, struct ids_op);
    if (op == NULL) {
        node_request_reject(rq, "out of memory");
        return;
    }
    API_DECODE(rq, kw_init_producer_id_request_read, &req);
    if (req.transactional_id.data != NULL) {
        answer(rq, KW_INVALID_REQUEST, -1, -1);
        return;
    }
    if ((req.producer_id == -1) != (req.producer_epoch == -1)) {
        answer(rq, KW_INVALID_REQUEST, -1, -1);
        return;
    }
    op->rq = rq;
    rq->op = op;
    rq->cancel = cancel;
    TAILQ_INSERT_TAIL(&ids_of(n)->waits, op, entries);
    serve(n);
}
