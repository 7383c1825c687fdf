/* ListOffsets: ends, starts and lookups by time, of partitions led here. */
#include "broker/api/internal.h"

enum {
    LATEST = -1,
    EARLIEST = -2,
    MAX_TIMESTAMP = -3,
    EARLIEST_LOCAL = -4,
    LATEST_TIERED = -5,
    EARLIEST_PENDING_UPLOAD = -6,
};

struct list_op;

struct list_item {
    struct log_time_query query;
    struct list_op *op;
    struct kw_list_offsets_response_partition *answer;
    bool pending;
};

struct list_op {
    struct node_request *rq;
    struct kw_list_offsets_response resp;
    struct list_item *items;
    size_t count;
    size_t pending;
    bool started;
};

API_WRITER(write_response, kw_list_offsets_response_write, kw_list_offsets_response)

/* Versions below 4 have no place for the epoch. */
static void drop_epochs(struct kw_list_offsets_response *resp)
{
    for (int32_t i = 0; i < resp->topics_count; i++) {
        for (int32_t k = 0; k < resp->topics[i].partitions_count; k++)
            resp->topics[i].partitions[k].leader_epoch = -1;
    }
}

static void finish(struct list_op *op)
{
    if (op->pending > 0 || !op->started)
        return;
    op->rq->op = NULL;
    op->rq->cancel = NULL;
    if (op->rq->header.api_version < 4)
        drop_epochs(&op->resp);
    node_request_reply(op->rq, write_response, &op->resp);
}

static void cancel(struct node_request *rq)
{
    struct list_op *op = rq->op;
    for (size_t i = 0; i < op->count; i++) {
        if (op->items[i].pending)
            log_time_cancel(&op->items[i].query);
    }
    node_request_free(rq);
}

static void on_time(struct log_time_query *q, int result)
{
    struct list_item *it = (struct list_item *)q;
    it->pending = false;
    it->op->pending--;
    if (result < 0) {
        it->answer->error_code = KW_KAFKA_STORAGE_ERROR;
    } else {
        it->answer->timestamp = q->found.timestamp;
        it->answer->offset = q->found.offset;
        if (q->found.offset >= 0)
            it->answer->leader_epoch = q->found.leader_epoch;
    }
    finish(it->op);
}

static bool timestamp_known(int64_t timestamp, int16_t version)
{
    switch (timestamp) {
    case LATEST:
    case EARLIEST:
        return true;
    case MAX_TIMESTAMP:
        return version >= 7;
    case EARLIEST_LOCAL:
        return version >= 8;
    case LATEST_TIERED:
        return version >= 9;
    case EARLIEST_PENDING_UPLOAD:
        return version >= 11;
    default:
        return timestamp >= 0;
    }
}

static enum kw_error latest_error(enum rep_read_result r, int16_t version)
{
    if (r == REP_READ_OK)
        return KW_NONE;
    if (r == REP_READ_NOT_AVAILABLE)
        return version >= 5 ? KW_OFFSET_NOT_AVAILABLE : KW_LEADER_NOT_AVAILABLE;
    return KW_NOT_LEADER_OR_FOLLOWER;
}

static void look_up(struct list_item *it, struct node_partition *p, int64_t timestamp,
                    int64_t bound)
{
    it->query = (struct log_time_query){
        .timestamp = timestamp == MAX_TIMESTAMP ? LOG_TIME_MAX : timestamp,
        .bound_offset = bound,
        .done = on_time,
    };
    it->pending = true;
    it->op->pending++;
    log_offset_for_time(p->log, &it->query);
}

static enum kw_error start_item(struct list_item *it, const struct meta_topic *t,
                                const struct kw_list_offsets_request_partition *q)
{
    struct node_request *rq = it->op->rq;
    struct kw_list_offsets_response_partition *a = it->answer;
    int64_t latest = -1;
    if (meta_topic_partition(t, q->partition_index) == NULL)
        return KW_UNKNOWN_TOPIC_OR_PARTITION;
    if (!timestamp_known(q->timestamp, rq->header.api_version))
        return KW_UNSUPPORTED_VERSION;
    struct node_partition *p = node_partition_find(rq->node, &t->id, q->partition_index);
    if (p == NULL)
        return KW_NOT_LEADER_OR_FOLLOWER;
    enum kw_error error = node_partition_check_leader(p, q->current_leader_epoch);
    if (error != KW_NONE)
        return error;
    a->leader_epoch = rep_leader_epoch(p->rep);
    if (q->timestamp == EARLIEST || q->timestamp == EARLIEST_LOCAL) {
        a->offset = rep_log_start(p->rep);
        a->leader_epoch = log_epoch_at(p->log, a->offset);
        return KW_NONE;
    }
    if (q->timestamp == LATEST_TIERED || q->timestamp == EARLIEST_PENDING_UPLOAD) {
        a->offset = -1;
        a->leader_epoch = -1;
        return KW_NONE;
    }
    error = latest_error(rep_latest(p->rep, REP_READ_UNCOMMITTED, rep_hw(p->rep), &latest),
                         rq->header.api_version);
    if (error != KW_NONE)
        return error;
    if (q->timestamp == LATEST) {
        a->offset = latest;
        return KW_NONE;
    }
    a->leader_epoch = -1;
    look_up(it, p, q->timestamp, latest);
    return KW_NONE;
}

static bool is_repeated(const struct kw_list_offsets_request *req, int32_t topic, int32_t at)
{
    for (int32_t i = 0; i <= topic; i++) {
        int32_t end = i == topic ? at : req->topics[i].partitions_count;
        if (i != topic) {
            struct kw_str a = req->topics[i].name;
            if (!kw_str_equal(a, req->topics[topic].name))
                continue;
        }
        for (int32_t k = 0; k < end; k++) {
            if (req->topics[i].partitions[k].partition_index ==
                req->topics[topic].partitions[at].partition_index)
                return true;
        }
    }
    return false;
}

static bool prepare(struct list_op *op, const struct kw_list_offsets_request *req)
{
    struct node_request *rq = op->rq;
    size_t total = 0;
    for (int32_t i = 0; i < req->topics_count; i++)
        total += (size_t)req->topics[i].partitions_count;
    op->items = api_new_array(rq, struct list_item, total);
    op->resp.topics = api_new_array(rq, struct kw_list_offsets_response_topic, req->topics_count);
    if (op->items == NULL || op->resp.topics == NULL)
        return false;
    op->resp.topics_count = req->topics_count;
    for (int32_t i = 0; i < req->topics_count; i++) {
        struct kw_list_offsets_response_topic *t = &op->resp.topics[i];
        int32_t count = req->topics[i].partitions_count;
        t->name = req->topics[i].name;
        t->partitions = api_new_array(rq, struct kw_list_offsets_response_partition, count);
        if (t->partitions == NULL)
            return false;
        t->partitions_count = count;
        for (int32_t k = 0; k < count; k++) {
            kw_list_offsets_response_partition_init(&t->partitions[k]);
            t->partitions[k].partition_index = req->topics[i].partitions[k].partition_index;
        }
    }
    return true;
}

void api_list_offsets(struct node_request *rq)
{
    struct kw_list_offsets_request *req = kb_arena_new(&rq->arena, struct kw_list_offsets_request);
    struct list_op *op = kb_arena_new(&rq->arena, struct list_op);
    if (req == NULL || op == NULL) {
        node_request_reject(rq, "out of memory");
        return;
    }
    API_DECODE(rq, kw_list_offsets_request_read, req);
    op->rq = rq;
    kw_list_offsets_response_init(&op->resp);
    if (!prepare(op, req)) {
        node_request_reject(rq, "it needs too much memory");
        return;
    }
    rq->op = op;
    rq->cancel = cancel;
    for (int32_t i = 0; i < req->topics_count; i++) {
        const struct meta_topic *t = api_topic(rq, req->topics[i].name, NULL);
        for (int32_t k = 0; k < req->topics[i].partitions_count; k++) {
            struct list_item *it = &op->items[op->count++];
            it->op = op;
            it->answer = &op->resp.topics[i].partitions[k];
            enum kw_error error = is_repeated(req, i, k)
                                      ? KW_INVALID_REQUEST
                                      : start_item(it, t, &req->topics[i].partitions[k]);
            it->answer->error_code = (int16_t)error;
        }
    }
    op->started = true;
    finish(op);
}
