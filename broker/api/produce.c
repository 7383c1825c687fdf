/* Produce: one batch per partition, appended by the node; answered when every partition is. */
#include "broker/api/internal.h"
#include "proto/base/map.h"

struct produce_op;

struct produce_item {
    struct node_append_op append;
    struct produce_op *op;
    struct kw_produce_response_partition *answer;
    enum kw_error error; /* known before it was appended */
    bool pending;
};

struct produce_op {
    struct node_request *rq;
    int16_t acks;
    struct kw_produce_response resp;
    struct produce_item *items;
    size_t count;
    size_t pending;
    bool failed;
    bool started; /* all appends were asked for */
    bool leader_moved;
};

API_WRITER(write_response, kw_produce_response_write, kw_produce_response)

static void add_endpoints(struct node_request *rq, struct kw_produce_response *resp)
{
    size_t count = meta_image_brokers_count(rq->node->image);
    resp->node_endpoints = api_new_array(rq, struct kw_produce_response_node_endpoint, count);
    for (size_t i = 0; resp->node_endpoints != NULL && i < count; i++) {
        const struct meta_broker *b = meta_image_broker_at(rq->node->image, i);
        const struct meta_endpoint *e = api_broker_endpoint(rq, b->id);
        if (e == NULL || b->fenced)
            continue;
        struct kw_produce_response_node_endpoint *w =
            &resp->node_endpoints[resp->node_endpoints_count++];
        w->node_id = b->id;
        w->host = kw_str_of(e->host);
        w->port = e->port;
        w->rack = kw_str_of(b->rack);
    }
}

static void finish(struct produce_op *op)
{
    struct node_request *rq = op->rq;
    if (rq == NULL || op->pending > 0 || !op->started)
        return;
    rq->op = NULL;
    rq->cancel = NULL;
    if (op->acks == 0) {
        if (op->failed)
            node_request_reject(rq, "a batch sent with acks=0 was refused");
        else
            node_request_done(rq);
        return;
    }
    if (op->leader_moved && rq->header.api_version >= 10)
        add_endpoints(rq, &op->resp);
    node_request_reply(rq, write_response, &op->resp);
}

static void set_error(struct produce_op *op, struct kw_produce_response_partition *a,
                      enum kw_error error)
{
    a->error_code = (int16_t)error;
    a->base_offset = -1;
    if (error != KW_NONE)
        op->failed = true;
}

/* v10 and up: where the leader is now, if we know a newer one. */
static void add_leader(struct produce_item *it)
{
    struct node_partition *p = it->append.partition;
    const struct meta_partition *m = meta_image_partition(p->node->image, &p->topic_id, p->index);
    if (m == NULL || m->leader < 0 || node_leader_dead(p->node, m->leader))
        return;
    it->answer->current_leader.leader_id = m->leader;
    it->answer->current_leader.leader_epoch = m->leader_epoch;
    it->op->leader_moved = true;
}

static void add_record_errors(struct produce_op *op, struct kw_produce_response_partition *a,
                              const struct node_append_op *append)
{
    a->record_errors = api_new_array(op->rq, struct kw_produce_response_record_error,
                                     append->bad_records_count);
    for (int32_t i = 0; a->record_errors != NULL && i < append->bad_records_count; i++) {
        a->record_errors[i].batch_index = append->bad_records[i].index;
        a->record_errors[i].batch_index_error_message = kw_str_of(append->bad_records[i].text);
        a->record_errors_count++;
    }
}

static void on_appended(struct node_append_op *append)
{
    struct produce_item *it = (struct produce_item *)append;
    struct produce_op *op = it->op;
    struct kw_produce_response_partition *a = it->answer;
    it->pending = false;
    op->pending--;
    set_error(op, a, append->error);
    if (append->error == KW_NONE) {
        a->base_offset = append->base_offset;
        a->log_append_time_ms = append->log_append_time_ms;
        a->log_start_offset = append->log_start_offset;
    } else {
        a->error_message = kw_str_of(append->error_text);
        if (append->error == KW_NOT_LEADER_OR_FOLLOWER && op->rq->header.api_version >= 10)
            add_leader(it);
    }
    if (append->bad_records_count > 0 && append->error != KW_NONE && op->rq != NULL)
        add_record_errors(op, a, append);
    finish(op);
}

/* The client went away: what was appended stays; nobody waits for it any more. */
static void cancel(struct node_request *rq)
{
    struct produce_op *op = rq->op;
    for (size_t i = 0; i < op->count; i++) {
        if (op->items[i].pending)
            node_append_cancel(&op->items[i].append);
    }
    op->rq = NULL;
    node_request_free(rq);
}

/* ---- one partition
 * ------------------------------------------------------------------------------------ */

/* Before this broker is registered its image may be empty: a replica on its disk is found all the
 * same, and refuses as one that does not lead (and remembers whom it refused). */
static struct node_partition *find_unlisted(struct node *n, struct kw_str name,
                                            const struct kb_uuid *id, int32_t index, bool by_id)
{
    if (n->state != NODE_JOINING)
        return NULL;
    return by_id ? node_partition_find(n, id, index) : node_partition_find_named(n, name, index);
}

static enum kw_error find_partition(struct node_request *rq, struct kw_str name,
                                    const struct kb_uuid *id, int32_t index,
                                    struct node_partition **ret)
{
    struct node *n = rq->node;
    bool by_id = rq->header.api_version >= 13;
    const struct meta_topic *t = api_topic(rq, by_id ? kw_str_null() : name, id);
    if (meta_topic_partition(t, index) == NULL &&
        (*ret = find_unlisted(n, name, id, index, by_id)) != NULL)
        return KW_NONE;
    if (t == NULL)
        return by_id ? KW_UNKNOWN_TOPIC_ID : KW_UNKNOWN_TOPIC_OR_PARTITION;
    if (meta_topic_partition(t, index) == NULL)
        return KW_UNKNOWN_TOPIC_OR_PARTITION;
    if (meta_topic_name_internal(t->name) && !kw_str_is(rq->header.client_id, "__admin_client"))
        return KW_INVALID_TOPIC_EXCEPTION;
    *ret = node_partition_find(n, &t->id, index);
    return *ret != NULL ? KW_NONE : KW_NOT_LEADER_OR_FOLLOWER;
}

/* What can be said before anything is appended. */
static void check_item(struct produce_op *op, struct produce_item *it,
                       const struct kw_produce_request *req, struct kw_str name,
                       const struct kb_uuid *id, const struct kw_produce_request_partition *q)
{
    struct node_request *rq = op->rq;
    it->op = op;
    if (req->acks < -1 || req->acks > 1)
        it->error = KW_INVALID_REQUIRED_ACKS;
    else
        it->error = find_partition(rq, name, id, q->index, &it->append.partition);
    if (it->error == KW_NONE && (q->records.data == NULL || q->records.size == 0))
        it->error = KW_INVALID_RECORD;
    if (it->error != KW_NONE)
        return;
    it->append.block = rq->frame;
    it->append.position = (size_t)(q->records.data - rq->frame->data);
    it->append.size = (size_t)q->records.size;
    it->append.acks = req->acks;
    it->append.timeout_ms = req->timeout_ms > 0 ? (uint32_t)req->timeout_ms : 1;
    it->append.zstd_allowed = rq->header.api_version >= 7;
    it->append.done = on_appended;
}

/* One batch per partition: Apache Kafka writes the last one, drops the others and acknowledges them
 * all. Here nothing of such a partition is written, and each mention is told so. */
static void refuse_repeated(struct produce_op *op)
{
    struct kb_map seen = {0};
    for (size_t i = 0; op->count > 1 && i < op->count; i++) {
        struct produce_item *it = &op->items[i];
        if (it->append.partition == NULL)
            continue;
        struct produce_item *other = kb_map_put(&seen, (uint64_t)(uintptr_t)it->append.partition,
                                                it);
        if (other == NULL)
            continue;
        it->error = other->error = KW_INVALID_REQUEST;
        it->answer->error_message = other->answer->error_message =
            KW_STR("the request holds several batches of this partition: send one at a time");
    }
    kb_map_release(&seen);
}

static void start_item(struct produce_item *it)
{
    if (it->error != KW_NONE) {
        set_error(it->op, it->answer, it->error);
        return;
    }
    it->pending = true;
    it->op->pending++;
    node_append(&it->append);
}

static size_t count_partitions(const struct kw_produce_request *req)
{
    size_t count = 0;
    for (int32_t i = 0; i < req->topic_data_count; i++)
        count += (size_t)req->topic_data[i].partition_data_count;
    return count;
}

static bool prepare(struct produce_op *op, const struct kw_produce_request *req)
{
    struct node_request *rq = op->rq;
    op->count = count_partitions(req);
    op->items = api_new_array(rq, struct produce_item, op->count);
    op->resp.responses = api_new_array(rq, struct kw_produce_response_topic, req->topic_data_count);
    if (op->items == NULL || op->resp.responses == NULL)
        return false;
    op->resp.responses_count = req->topic_data_count;
    for (int32_t i = 0; i < req->topic_data_count; i++) {
        const struct kw_produce_request_topic *q = &req->topic_data[i];
        struct kw_produce_response_topic *t = &op->resp.responses[i];
        kw_produce_response_topic_init(t);
        t->name = q->name;
        t->topic_id = q->topic_id;
        t->partition_responses = api_new_array(rq, struct kw_produce_response_partition,
                                               q->partition_data_count);
        if (t->partition_responses == NULL)
            return false;
        t->partition_responses_count = q->partition_data_count;
        for (int32_t k = 0; k < q->partition_data_count; k++) {
            kw_produce_response_partition_init(&t->partition_responses[k]);
            t->partition_responses[k].index = q->partition_data[k].index;
        }
    }
    return true;
}

void api_produce(struct node_request *rq)
{
    struct kw_produce_request *req = kb_arena_new(&rq->arena, struct kw_produce_request);
    struct produce_op *op = kb_arena_new(&rq->arena, struct produce_op);
    size_t next = 0;
    if (req == NULL || op == NULL) {
        node_request_reject(rq, "out of memory");
        return;
    }
    API_DECODE(rq, kw_produce_request_read, req);
    op->rq = rq;
    op->acks = req->acks;
    kw_produce_response_init(&op->resp);
    if (!prepare(op, req)) {
        node_request_reject(rq, "it needs too much memory");
        return;
    }
    rq->op = op;
    rq->cancel = cancel;
    for (int32_t i = 0; i < req->topic_data_count; i++) {
        const struct kw_produce_request_topic *q = &req->topic_data[i];
        for (int32_t k = 0; k < q->partition_data_count; k++) {
            struct produce_item *it = &op->items[next++];
            it->answer = &op->resp.responses[i].partition_responses[k];
            check_item(op, it, req, q->name, &q->topic_id, &q->partition_data[k]);
        }
    }
    refuse_repeated(op);
    for (size_t i = 0; i < op->count; i++)
        start_item(&op->items[i]);
    op->started = true;
    finish(op);
}
