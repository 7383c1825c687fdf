/* DeleteRecords and OffsetForLeaderEpoch, of partitions led here. */
#include "broker/api/internal.h"

/* ---- OffsetForLeaderEpoch
 * ------------------------------------------------------------------------------- */

API_WRITER(write_epochs, kw_offset_for_leader_epoch_response_write,
           kw_offset_for_leader_epoch_response)

static void epoch_one(struct node_request *rq, const struct meta_topic *t,
                      const struct kw_offset_for_leader_epoch_request_partition *q,
                      struct kw_offset_for_leader_epoch_response_partition *w)
{
    kw_offset_for_leader_epoch_response_partition_init(w);
    w->partition = q->partition;
    if (meta_topic_partition(t, q->partition) == NULL) {
        w->error_code = KW_UNKNOWN_TOPIC_OR_PARTITION;
        return;
    }
    struct node_partition *p = node_partition_find(rq->node, &t->id, q->partition);
    enum kw_error error = p == NULL ? KW_NOT_LEADER_OR_FOLLOWER
                                    : node_partition_check_leader(p, q->current_leader_epoch);
    w->error_code = (int16_t)error;
    if (error != KW_NONE)
        return;
    struct log_epoch_end e = log_epoch_end_offset(p->log, q->leader_epoch);
    w->leader_epoch = e.epoch;
    w->end_offset = e.end_offset;
}

void api_offset_for_leader_epoch(struct node_request *rq)
{
    struct kw_offset_for_leader_epoch_request req;
    struct kw_offset_for_leader_epoch_response resp;
    API_DECODE(rq, kw_offset_for_leader_epoch_request_read, &req);
    kw_offset_for_leader_epoch_response_init(&resp);
    resp.topics = api_new_array(rq, struct kw_offset_for_leader_epoch_response_topic,
                                req.topics_count);
    for (int32_t i = 0; i < req.topics_count; i++) {
        const struct meta_topic *t = api_topic(rq, req.topics[i].topic, NULL);
        int32_t count = req.topics[i].partitions_count;
        struct kw_offset_for_leader_epoch_response_partition *list =
            resp.topics == NULL
                ? NULL
                : api_new_array(rq, struct kw_offset_for_leader_epoch_response_partition, count);
        if (list == NULL) {
            node_request_reject(rq, "its answer needs too much memory");
            return;
        }
        for (int32_t k = 0; k < count; k++)
            epoch_one(rq, t, &req.topics[i].partitions[k], &list[k]);
        resp.topics[i].topic = req.topics[i].topic;
        resp.topics[i].partitions = list;
        resp.topics[i].partitions_count = count;
        resp.topics_count++;
    }
    node_request_reply(rq, write_epochs, &resp);
}

/* ---- DeleteRecords
 * ------------------------------------------------------------------------------------------ */

API_WRITER(write_deleted, kw_delete_records_response_write, kw_delete_records_response)

struct delete_op;
struct delete_item {
    struct node_delete_op del;
    struct delete_op *op;
    struct kw_delete_records_response_partition *answer;
    bool pending;
};
struct delete_op {
    struct node_request *rq;
    struct kw_delete_records_response resp;
    struct delete_item *items;
    size_t count;
    size_t pending;
    bool started;
};

static void delete_finish(struct delete_op *op)
{
    if (op->pending > 0 || !op->started)
        return;
    op->rq->op = NULL;
    op->rq->cancel = NULL;
    node_request_reply(op->rq, write_deleted, &op->resp);
}

static void delete_cancel(struct node_request *rq)
{
    struct delete_op *op = rq->op;
    for (size_t i = 0; i < op->count; i++) {
        if (op->items[i].pending)
            node_delete_cancel(&op->items[i].del);
    }
    node_request_free(rq);
}

static void on_deleted(struct node_delete_op *del)
{
    struct delete_item *it = (struct delete_item *)del;
    it->pending = false;
    it->op->pending--;
    it->answer->error_code = (int16_t)del->error;
    it->answer->low_watermark = del->low_watermark;
    delete_finish(it->op);
}

static enum kw_error delete_one(struct delete_item *it, const struct meta_topic *t,
                                const struct kw_delete_records_request_partition *q,
                                int32_t timeout_ms)
{
    struct node_request *rq = it->op->rq;
    struct meta_log_config config;
    if (meta_topic_partition(t, q->partition_index) == NULL)
        return KW_UNKNOWN_TOPIC_OR_PARTITION;
    if (meta_topic_name_internal(t->name))
        return KW_INVALID_TOPIC_EXCEPTION;
    node_topic_log_config(rq->node, &t->id, &config);
    if (!config.cleanup_delete)
        return KW_POLICY_VIOLATION;
    struct node_partition *p = node_partition_find(rq->node, &t->id, q->partition_index);
    if (p == NULL)
        return KW_NOT_LEADER_OR_FOLLOWER;
    if (q->offset < -1)
        return KW_OFFSET_OUT_OF_RANGE;
    it->del.partition = p;
    it->del.offset = q->offset;
    it->del.timeout_ms = timeout_ms > 0 ? (uint32_t)timeout_ms : 1;
    it->del.done = on_deleted;
    it->pending = true;
    it->op->pending++;
    node_delete_records(&it->del);
    return (enum kw_error)it->answer->error_code;
}

static bool delete_prepare(struct delete_op *op, const struct kw_delete_records_request *req)
{
    struct node_request *rq = op->rq;
    size_t total = 0;
    for (int32_t i = 0; i < req->topics_count; i++)
        total += (size_t)req->topics[i].partitions_count;
    op->items = api_new_array(rq, struct delete_item, total);
    op->resp.topics = api_new_array(rq, struct kw_delete_records_response_topic, req->topics_count);
    if (op->items == NULL || op->resp.topics == NULL)
        return false;
    op->resp.topics_count = req->topics_count;
    for (int32_t i = 0; i < req->topics_count; i++) {
        struct kw_delete_records_response_topic *w = &op->resp.topics[i];
        int32_t count = req->topics[i].partitions_count;
        w->name = req->topics[i].name;
        w->partitions = api_new_array(rq, struct kw_delete_records_response_partition, count);
        if (w->partitions == NULL)
            return false;
        w->partitions_count = count;
        for (int32_t k = 0; k < count; k++) {
            w->partitions[k].partition_index = req->topics[i].partitions[k].partition_index;
            w->partitions[k].low_watermark = -1;
        }
    }
    return true;
}

void api_delete_records(struct node_request *rq)
{
    struct kw_delete_records_request *req = kb_arena_new(&rq->arena,
                                                         struct kw_delete_records_request);
    struct delete_op *op = kb_arena_new(&rq->arena, struct delete_op);
    if (req == NULL || op == NULL) {
        node_request_reject(rq, "out of memory");
        return;
    }
    API_DECODE(rq, kw_delete_records_request_read, req);
    op->rq = rq;
    kw_delete_records_response_init(&op->resp);
    if (!delete_prepare(op, req)) {
        node_request_reject(rq, "it needs too much memory");
        return;
    }
    rq->op = op;
    rq->cancel = delete_cancel;
    for (int32_t i = 0; i < req->topics_count; i++) {
        const struct meta_topic *t = api_topic(rq, req->topics[i].name, NULL);
        for (int32_t k = 0; k < req->topics[i].partitions_count; k++) {
            struct delete_item *it = &op->items[op->count++];
            it->op = op;
            it->answer = &op->resp.topics[i].partitions[k];
            it->answer->error_code = (int16_t)delete_one(it, t, &req->topics[i].partitions[k],
                                                         req->timeout_ms);
        }
    }
    op->started = true;
    delete_finish(op);
}
