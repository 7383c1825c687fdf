/* FindCoordinator: the leader of the group's partition of __consumer_offsets. The topic is made on
 * demand and waited for; a leader whose link closed is not named until the controller has decided
 * (rule 10.5). */
#include "broker/api/internal.h"
#include "coordinator/groups/shard.h"

API_WRITER(write_response, kw_find_coordinator_response_write, kw_find_coordinator_response)

struct find_op {
    struct api_wait wait; /* first */
    struct kw_find_coordinator_request req;
    struct api_question question;
    int32_t count;
};

static bool asks_many(const struct find_op *op)
{
    return op->wait.rq->header.api_version >= 4;
}

static struct kw_str key_at(const struct find_op *op, int32_t i)
{
    return asks_many(op) ? op->req.coordinator_keys[i] : op->req.key;
}

/* NULL when there is no offsets topic, or the key is no group. The empty name is a group, too. */
static const struct meta_partition *partition_of(const struct find_op *op, struct kw_str key)
{
    const struct meta_topic *t = meta_image_topic(op->wait.rq->node->image, NODE_OFFSETS_TOPIC);
    if (t == NULL || op->req.key_type != 0)
        return NULL;
    return meta_topic_partition(t, group_partition_for(key, (int32_t)t->partitions_count));
}

static uint64_t wait_until(struct api_wait *w)
{
    struct find_op *op = (struct find_op *)w;
    uint64_t until = 0;
    if (op->req.key_type != 0)
        return 0;
    if (meta_image_topic(op->wait.rq->node->image, NODE_OFFSETS_TOPIC) == NULL)
        return api_creation_until(&op->question, NODE_OFFSETS_TOPIC);
    for (int32_t i = 0; i < op->count; i++) {
        const struct meta_partition *p = partition_of(op, key_at(op, i));
        uint64_t u = p != NULL ? api_leader_until(&op->question, p->leader) : 0;
        until = u > until ? u : until;
    }
    return until;
}

static enum kw_error find_one(struct find_op *op, struct kw_str key,
                              struct kw_find_coordinator_response_coordinator *ret)
{
    struct node_request *rq = op->wait.rq;
    kw_find_coordinator_response_coordinator_init(ret);
    ret->key = key;
    ret->node_id = -1;
    ret->port = -1;
    if (op->req.key_type != 0) {
        ret->error_message = KW_STR("only consumer groups have coordinators here");
        return KW_INVALID_REQUEST;
    }
    const struct meta_partition *p = partition_of(op, key);
    if (p == NULL || p->leader < 0 || node_leader_dead(rq->node, p->leader))
        return KW_COORDINATOR_NOT_AVAILABLE;
    const struct meta_endpoint *e = api_broker_endpoint(rq, p->leader);
    if (e == NULL)
        return KW_COORDINATOR_NOT_AVAILABLE;
    ret->node_id = p->leader;
    ret->host = kw_str_of(e->host);
    ret->port = e->port;
    return KW_NONE;
}

static void answer(struct api_wait *w)
{
    struct find_op *op = (struct find_op *)w;
    struct node_request *rq = w->rq;
    struct kw_find_coordinator_response resp;
    kw_find_coordinator_response_init(&resp);
    struct kw_find_coordinator_response_coordinator *list =
        api_new_array(rq, struct kw_find_coordinator_response_coordinator, op->count);
    if (list == NULL) {
        node_request_reject(rq, "its answer needs too much memory");
        return;
    }
    for (int32_t i = 0; i < op->count; i++)
        list[i].error_code = (int16_t)find_one(op, key_at(op, i), &list[i]);
    if (asks_many(op)) {
        resp.coordinators = list;
        resp.coordinators_count = op->count;
    } else {
        resp.error_code = list[0].error_code;
        resp.error_message = rq->header.api_version >= 1 ? list[0].error_message : kw_str_null();
        resp.node_id = list[0].node_id;
        resp.host = list[0].host;
        resp.port = list[0].port;
    }
    node_request_reply(rq, write_response, &resp);
}

void api_find_coordinator(struct node_request *rq)
{
    struct find_op *op = kb_arena_new(&rq->arena, struct find_op);
    if (op == NULL) {
        node_request_reject(rq, "out of memory");
        return;
    }
    API_DECODE(rq, kw_find_coordinator_request_read, &op->req);
    op->wait.rq = rq;
    op->count = asks_many(op) ? op->req.coordinator_keys_count : 1;
    api_question_init(&op->question, rq->node);
    api_wait_start(&op->wait, rq, wait_until, answer);
}
