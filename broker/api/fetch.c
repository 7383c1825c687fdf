/* Fetch: partitions are read one after the other against the limits; too little data parks the
 * request until a high watermark moves or its time is up. */
#include "broker/api/fetch_session.h"

struct fetch_op;

struct fetch_item {
    struct node_read_op read;
    struct node_fetch_wait wait;
    struct fetch_op *op;
    struct fetch_partition *session;
    bool wanted; /* part of the answer */
    bool moved;  /* the answer names the newest leader */
    int32_t leader_id;
    int32_t leader_epoch;
};

struct fetch_op {
    struct node_request *rq;
    struct kw_fetch_request req;
    struct fetch_session *session;
    struct fetch_item *items;
    size_t count;
    size_t at; /* item being read */
    size_t bytes;
    size_t bytes_max;
    bool any_data;
    bool answer_now; /* an error or a divergence */
    bool reading;    /* a read is under way */
    bool in_loop;
    bool parked;
    bool stale; /* something moved after it was read, while the rest was being read */
    uint64_t deadline_ms;
    struct kb_timer *timer;
};

API_WRITER(write_response, kw_fetch_response_write, kw_fetch_response)

/* ---- the answer
 * -------------------------------------------------------------------------------------- */

static void add_endpoints(struct node_request *rq, struct kw_fetch_response *resp)
{
    size_t count = meta_image_brokers_count(rq->node->image);
    resp->node_endpoints = api_new_array(rq, struct kw_fetch_response_node_endpoint, count);
    for (size_t i = 0; resp->node_endpoints != NULL && i < count; i++) {
        const struct meta_broker *b = meta_image_broker_at(rq->node->image, i);
        const struct meta_endpoint *e = api_broker_endpoint(rq, b->id);
        if (e == NULL || b->fenced)
            continue;
        struct kw_fetch_response_node_endpoint *w =
            &resp->node_endpoints[resp->node_endpoints_count++];
        w->node_id = b->id;
        w->host = kw_str_of(e->host);
        w->port = e->port;
        w->rack = kw_str_of(b->rack);
    }
}

static void fill_partition(struct fetch_item *it, struct kw_fetch_response_partition *w)
{
    const struct fetch_op *op = it->op;
    int16_t version = op->rq->header.api_version;
    kw_fetch_response_partition_init(w);
    w->partition_index = it->session->index;
    w->error_code = (int16_t)it->read.error;
    if (it->read.error == KW_KAFKA_STORAGE_ERROR && version <= 5)
        w->error_code = KW_NOT_LEADER_OR_FOLLOWER;
    w->high_watermark = it->read.high_watermark;
    w->last_stable_offset = it->read.last_stable_offset;
    w->log_start_offset = it->read.log_start_offset;
    if (version >= 12) {
        w->diverging_epoch.epoch = it->read.diverging_epoch;
        w->diverging_epoch.end_offset = it->read.diverging_end_offset;
    }
    if (it->moved && version >= 12) {
        w->current_leader.leader_id = it->leader_id;
        w->current_leader.leader_epoch = it->leader_epoch;
    }
    w->aborted_transactions_count = op->req.isolation_level == 1 ? 0 : -1;
    w->records_chain = &it->read.records;
    it->session->sent_hw = it->read.high_watermark;
    it->session->sent_log_start = it->read.log_start_offset;
}

/* Incremental answers name only what changed. */
static bool is_news(const struct fetch_op *op, const struct fetch_item *it)
{
    return !op->session->incremental || it->read.error != KW_NONE || it->read.records.size > 0 ||
           it->read.diverging_epoch >= 0 || it->read.high_watermark != it->session->sent_hw ||
           it->read.log_start_offset != it->session->sent_log_start;
}

static bool same_topic(const struct kw_fetch_response_topic *t, const struct fetch_partition *p)
{
    return p->topic != NULL ? kw_str_is(t->topic, p->topic)
                            : kb_uuid_equal(&t->topic_id, &p->topic_id);
}

/* Neighbours of one topic share an entry. */
static bool build(struct fetch_op *op, struct kw_fetch_response *resp)
{
    struct node_request *rq = op->rq;
    struct kw_fetch_response_partition *parts =
        api_new_array(rq, struct kw_fetch_response_partition, op->count);
    size_t used = 0;
    resp->responses = api_new_array(rq, struct kw_fetch_response_topic, op->count);
    if (resp->responses == NULL || parts == NULL)
        return false;
    for (size_t i = 0; i < op->count; i++) {
        struct fetch_item *it = &op->items[i];
        struct kw_fetch_response_topic *t = resp->responses_count > 0
                                                ? &resp->responses[resp->responses_count - 1]
                                                : NULL;
        if (!is_news(op, it))
            continue;
        if (t == NULL || !same_topic(t, it->session)) {
            t = &resp->responses[resp->responses_count++];
            KB_ASSERT(t != NULL);
            kw_fetch_response_topic_init(t);
            t->topic_id = it->session->topic_id;
            t->topic = api_str(it->session->topic);
            t->partitions = &parts[used];
        }
        fill_partition(it, &parts[used++]);
        t->partitions_count++;
        if (it->moved && rq->header.api_version >= 16 && resp->node_endpoints_count == 0)
            add_endpoints(rq, resp);
    }
    return true;
}

/* What the request's arena does not free. */
static void op_release(struct fetch_op *op)
{
    for (size_t i = 0; i < op->count; i++) {
        node_read_cancel(&op->items[i].read);
        node_fetch_wait_remove(&op->items[i].wait);
        kb_chain_release(&op->items[i].read.records);
    }
    op->timer = kb_timer_free(op->timer);
    if (op->session != NULL)
        fetch_session_done(op->rq->node, op->session);
    op->session = NULL;
    op->count = 0;
}

static void rotate_and_detach(struct fetch_op *op, struct kb_chain *chains)
{
    for (size_t i = 0; i < op->count; i++) {
        if (op->items[i].read.records.size > 0)
            fetch_session_rotate(op->session, op->items[i].session);
        chains[i] = op->items[i].read.records;
        op->items[i].read.records = (struct kb_chain){0};
    }
}

static void repoint(struct kw_fetch_response *resp, struct fetch_op *op, struct kb_chain *chains)
{
    for (int32_t i = 0; i < resp->responses_count; i++) {
        for (int32_t k = 0; k < resp->responses[i].partitions_count; k++) {
            struct kw_fetch_response_partition *w = &resp->responses[i].partitions[k];
            struct fetch_item *it =
                (struct fetch_item *)((char *)(uintptr_t)w->records_chain -
                                      offsetof(struct fetch_item, read.records));
            w->records_chain = &chains[it - op->items];
        }
    }
}

static void answer(struct fetch_op *op)
{
    struct node_request *rq = op->rq;
    struct kw_fetch_response resp;
    size_t count = op->count;
    kw_fetch_response_init(&resp);
    resp.session_id = op->session->id;
    if (!build(op, &resp)) {
        op_release(op);
        node_request_reject(rq, "its answer needs too much memory");
        return;
    }
    struct kb_chain *chains = kb_new_array(struct kb_chain, count);
    repoint(&resp, op, chains);
    rotate_and_detach(op, chains);
    rq->op = NULL;
    rq->cancel = NULL;
    for (size_t i = 0; i < count; i++)
        node_fetch_wait_remove(&op->items[i].wait);
    /* Topic names belong to the session: encode before it is given back. */
    struct fetch_session *session = op->session;
    struct node *n = rq->node;
    op->session = NULL;
    op->timer = kb_timer_free(op->timer);
    node_request_reply(rq, write_response, &resp);
    fetch_session_done(n, session);
    for (size_t i = 0; i < count; i++)
        kb_chain_release(&chains[i]);
    (void)kb_free(chains);
}

/* ---- reading
 * ------------------------------------------------------------------------------------------- */

static void run(struct fetch_op *op);

static void park(struct fetch_op *op)
{
    struct node *n = op->rq->node;
    uint64_t now_ms = node_now(n);
    op->parked = true;
    kb_timer_arm(op->timer, op->stale || op->deadline_ms <= now_ms ? 0 : op->deadline_ms - now_ms);
}

static void round_over(struct fetch_op *op)
{
    uint64_t now_ms = node_now(op->rq->node);
    bool enough = op->bytes >= (size_t)(op->req.min_bytes > 0 ? op->req.min_bytes : 0);
    bool news = false;
    for (size_t i = 0; i < op->count && op->session->incremental; i++)
        news = news || op->items[i].read.records.size > 0;
    (void)news;
    if (enough || op->answer_now || op->count == 0 || op->req.max_wait_ms <= 0 ||
        now_ms >= op->deadline_ms || op->rq->node->state == NODE_STOPPING)
        answer(op);
    else
        park(op);
}

static void item_done(struct fetch_item *it)
{
    struct fetch_op *op = it->op;
    op->bytes += it->read.records.size;
    op->any_data = op->any_data || it->read.records.size > 0;
    if (it->read.error != KW_NONE || it->read.diverging_epoch >= 0)
        op->answer_now = true;
    op->at++;
}

static void on_read(struct node_read_op *read)
{
    struct fetch_item *it = (struct fetch_item *)read;
    struct fetch_op *op = it->op;
    op->reading = false;
    item_done(it);
    if (!op->in_loop)
        run(op);
}

static void name_leader(struct fetch_item *it)
{
    struct node_partition *p = it->read.partition;
    struct node *n = it->op->rq->node;
    const struct meta_topic *t = it->session->topic != NULL
                                     ? meta_image_topic(n->image, it->session->topic)
                                     : meta_image_topic_by_id(n->image, &it->session->topic_id);
    const struct meta_partition *m = meta_topic_partition(t, it->session->index);
    (void)p;
    if (m == NULL || m->leader < 0 || node_leader_dead(n, m->leader))
        return;
    it->moved = true;
    it->leader_id = m->leader;
    it->leader_epoch = m->leader_epoch;
}

static enum kw_error find_partition(struct fetch_item *it)
{
    struct node *n = it->op->rq->node;
    const struct fetch_partition *s = it->session;
    const struct meta_topic *t = s->topic != NULL ? meta_image_topic(n->image, s->topic)
                                                  : meta_image_topic_by_id(n->image, &s->topic_id);
    if (t == NULL && s->topic == NULL)
        return KW_UNKNOWN_TOPIC_ID;
    if (meta_topic_partition(t, s->index) == NULL)
        return KW_UNKNOWN_TOPIC_OR_PARTITION;
    it->read.partition = node_partition_find(n, &t->id, s->index);
    if (it->read.partition == NULL)
        return KW_NOT_LEADER_OR_FOLLOWER;
    /* Before it is read: other partitions may take long, and this one may move or go meanwhile. */
    node_fetch_wait_add(it->read.partition, &it->wait);
    return KW_NONE;
}

static void start_read(struct fetch_item *it)
{
    struct fetch_op *op = it->op;
    size_t left = op->bytes < op->bytes_max ? op->bytes_max - op->bytes : 0;
    size_t max = it->session->max_bytes > 0 ? (size_t)it->session->max_bytes : 0;
    kb_chain_release(&it->read.records);
    it->read = (struct node_read_op){
        .offset = it->session->offset,
        .max_bytes = (uint32_t)(max < left ? max : left),
        .min_one = !op->any_data,
        .current_leader_epoch = it->session->current_leader_epoch,
        .last_fetched_epoch = it->session->last_fetched_epoch,
        .done = on_read,
        .high_watermark = -1,
        .last_stable_offset = -1,
        .log_start_offset = -1,
        .diverging_epoch = -1,
        .diverging_end_offset = -1,
    };
    it->moved = false;
    enum kw_error error = find_partition(it);
    if (error != KW_NONE) {
        it->read.error = error;
        op->reading = false;
        item_done(it);
    } else {
        op->reading = true;
        node_read(&it->read);
    }
    if (!op->reading &&
        (it->read.error == KW_NOT_LEADER_OR_FOLLOWER || it->read.error == KW_FENCED_LEADER_EPOCH))
        name_leader(it);
}

static void run(struct fetch_op *op)
{
    op->in_loop = true;
    while (op->at < op->count && !op->reading)
        start_read(&op->items[op->at]);
    op->in_loop = false;
    if (!op->reading)
        round_over(op);
}

/* Something moved, or the time is up: look again. */
static void on_timer(void *arg)
{
    struct fetch_op *op = arg;
    if (!op->parked)
        return;
    op->parked = false;
    op->stale = false;
    for (size_t i = 0; i < op->count; i++)
        node_fetch_wait_remove(&op->items[i].wait);
    op->at = 0;
    op->bytes = 0;
    op->any_data = false;
    op->answer_now = false;
    run(op);
}

static void on_wake(struct node_fetch_wait *w)
{
    struct fetch_item *it = (struct fetch_item *)((char *)w - offsetof(struct fetch_item, wait));
    it->op->stale = true;
    if (it->op->parked)
        kb_timer_arm(it->op->timer, 0);
}

static void cancel(struct node_request *rq)
{
    op_release(rq->op);
    node_request_free(rq);
}

static void top_error(struct node_request *rq, enum kw_error error)
{
    struct kw_fetch_response resp;
    kw_fetch_response_init(&resp);
    resp.error_code = (int16_t)error;
    node_request_reply(rq, write_response, &resp);
}

void api_fetch(struct node_request *rq)
{
    struct node *n = rq->node;
    struct fetch_op *op = kb_arena_new(&rq->arena, struct fetch_op);
    struct fetch_partition *p = NULL;
    if (op == NULL) {
        node_request_reject(rq, "out of memory");
        return;
    }
    API_DECODE(rq, kw_fetch_request_read, &op->req);
    if (op->req.replica_id >= 0 || op->req.replica_state.replica_id >= 0) {
        node_request_reject(rq, "replicas fetch over the controller listener");
        return;
    }
    enum kw_error error = fetch_session_open(rq, &op->req, &op->session);
    if (error == KW_UNKNOWN_SERVER_ERROR) {
        node_request_reject(rq, "it needs too much memory");
        return;
    }
    if (error != KW_NONE) {
        top_error(rq, error);
        return;
    }
    op->rq = rq;
    op->items = api_new_array(rq, struct fetch_item, op->session->count);
    if (op->items == NULL) {
        op_release(op);
        node_request_reject(rq, "it needs too much memory");
        return;
    }
    TAILQ_FOREACH(p, &op->session->partitions, order)
    {
        struct fetch_item *it = &op->items[op->count++];
        it->op = op;
        it->session = p;
        it->wait.fn = on_wake;
    }
    uint32_t wait_ms = op->req.max_wait_ms > 0 ? (uint32_t)op->req.max_wait_ms : 0;
    op->deadline_ms = node_now(n) + wait_ms;
    op->bytes_max = op->req.max_bytes > 0 ? (size_t)op->req.max_bytes : 0;
    if (op->bytes_max > n->config.fetch_bytes_max)
        op->bytes_max = n->config.fetch_bytes_max;
    op->timer = kb_timer_new(n->env, on_timer, op);
    rq->op = op;
    rq->cancel = cancel;
    run(op);
}
