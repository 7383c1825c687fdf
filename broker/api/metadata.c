/* Metadata: from the committed image. Unknown topics may be created; a leader whose link closed is
 * not named until the controller has decided (rule 10.5). */
#include "broker/api/internal.h"
#include "proto/base/assert.h"

enum {
    IMAGE_WAIT_MS = 5000, /* a node that has not joined yet */
};

struct metadata_op {
    struct api_wait wait; /* first */
    struct kw_metadata_request req;
    struct api_question question;
    bool all;
    struct kb_map named; /* topics answered, while an answer is made */
};

API_WRITER(write_response, kw_metadata_response_write, kw_metadata_response)

/* The latest time until which some leader of this topic must not be named; 0 = answer. */
static uint64_t held_until(struct metadata_op *op, const struct meta_topic *t)
{
    uint64_t until = 0;
    for (size_t i = 0; i < t->partitions_count; i++) {
        uint64_t u = api_leader_until(&op->question, t->partitions[i]->leader);
        until = u > until ? u : until;
    }
    return until;
}

static bool may_create(const struct metadata_op *op, const char *name)
{
    struct node *n = op->wait.rq->node;
    return !op->all && n->config.auto_create_topics && op->req.allow_auto_topic_creation &&
           meta_topic_name_check(name, strlen(name), NULL) == 0;
}

/* Whether something is asked for that a node which has not caught up since its start cannot deny:
 * clients take "no such topic" for the truth and drop what they have of it. */
static bool asks_too_much(const struct metadata_op *op)
{
    struct node *n = op->wait.rq->node;
    if (n->caught_up)
        return false;
    if (op->all || meta_image_brokers_count(n->image) == 0)
        return true;
    for (int32_t i = 0; i < op->req.topics_count; i++) {
        const struct kw_metadata_request_topic *q = &op->req.topics[i];
        if (api_topic(op->wait.rq, q->name, &q->topic_id) == NULL)
            return true;
    }
    return false;
}

/* When all that is asked for can be answered: 0; else the time to look again at the latest. */
static uint64_t wait_until(struct api_wait *w)
{
    struct metadata_op *op = (struct metadata_op *)w;
    struct node *n = op->wait.rq->node;
    uint64_t now_ms = node_now(n);
    uint64_t until = 0;
    if (asks_too_much(op) && now_ms < op->question.started_ms + IMAGE_WAIT_MS)
        return op->question.started_ms + IMAGE_WAIT_MS;
    if (meta_image_brokers_count(n->image) == 0)
        return 0;
    if (op->all) {
        for (size_t i = 0; i < meta_image_topics_count(n->image); i++) {
            uint64_t u = held_until(op, meta_image_topic_at(n->image, i));
            until = u > until ? u : until;
        }
        return until;
    }
    for (int32_t i = 0; i < op->req.topics_count; i++) {
        const struct kw_metadata_request_topic *q = &op->req.topics[i];
        const struct meta_topic *t = api_topic(op->wait.rq, q->name, &q->topic_id);
        uint64_t u = 0;
        if (t != NULL) {
            u = held_until(op, t);
        } else if (q->name.data != NULL) {
            char *name = api_text(op->wait.rq, q->name);
            if (name != NULL && may_create(op, name))
                u = api_creation_until(&op->question, name);
        }
        until = u > until ? u : until;
    }
    return until;
}

/* Rule 10.5: a dead leader is -1 with LEADER_NOT_AVAILABLE. */
static void hide_dead_leaders(struct node *n, struct kw_metadata_response_topic *t)
{
    for (int32_t i = 0; i < t->partitions_count; i++) {
        struct kw_metadata_response_partition *p = &t->partitions[i];
        if (p->leader_id < 0 || !node_leader_dead(n, p->leader_id))
            continue;
        p->leader_id = -1;
        p->error_code = KW_LEADER_NOT_AVAILABLE;
    }
}

static int fill_topic(struct metadata_op *op, const struct meta_query *q,
                      const struct meta_topic *topic, struct kw_metadata_response_topic *ret)
{
    kw_metadata_response_topic_init(ret);
    int r = meta_query_metadata_topic(q, topic, op->wait.rq->header.api_version, ret);
    if (r == 0)
        hide_dead_leaders(op->wait.rq->node, ret);
    return r;
}

static void fill_unknown(struct metadata_op *op, const struct kw_metadata_request_topic *q,
                         struct kw_metadata_response_topic *ret)
{
    KB_ASSERT(q != NULL); /* all that are known are known */
    kw_metadata_response_topic_init(ret);
    ret->name = q->name;
    ret->topic_id = q->topic_id;
    if (!op->wait.rq->node->caught_up) { /* asked again, and not forgotten */
        ret->error_code = KW_LEADER_NOT_AVAILABLE;
        if (q->name.data == NULL && op->wait.rq->header.api_version < 12)
            ret->name = KW_STR("");
        return;
    }
    if (q->name.data == NULL) {
        ret->error_code = KW_UNKNOWN_TOPIC_ID;
        if (op->wait.rq->header.api_version < 12)
            ret->name = KW_STR("");
        return;
    }
    char *name = api_text(op->wait.rq, q->name);
    ret->is_internal = name != NULL && meta_topic_name_internal(name);
    ret->error_code = meta_topic_name_check(q->name.data, (size_t)q->name.size, NULL) == 0
                          ? KW_UNKNOWN_TOPIC_OR_PARTITION
                          : KW_INVALID_TOPIC_EXCEPTION;
}

/* Versions 10 and 11 have a field for topic ids, but a topic cannot be asked for by one. */
static void refuse_ids(struct node_request *rq, const struct kw_metadata_request *req)
{
    struct kw_metadata_response resp;
    kw_metadata_response_init(&resp);
    resp.topics = api_new_array(rq, struct kw_metadata_response_topic, req->topics_count);
    if (resp.topics == NULL) {
        node_request_reject(rq, "its answer needs too much memory");
        return;
    }
    for (int32_t i = 0; i < req->topics_count; i++) {
        struct kw_metadata_response_topic *t = &resp.topics[resp.topics_count++];
        kw_metadata_response_topic_init(t);
        t->error_code = KW_INVALID_REQUEST;
        t->name = req->topics[i].name.data != NULL ? req->topics[i].name : KW_STR("");
        t->topic_id = req->topics[i].topic_id;
    }
    node_request_reply(rq, write_response, &resp);
}

static int fill_topics(struct metadata_op *op, const struct meta_query *q,
                       struct kw_metadata_response *resp)
{
    struct node *n = op->wait.rq->node;
    size_t count = op->all ? meta_image_topics_count(n->image) : (size_t)op->req.topics_count;
    resp->topics = api_new_array(op->wait.rq, struct kw_metadata_response_topic, count);
    if (resp->topics == NULL)
        return -KB_ENOMEM;
    for (size_t i = 0; i < count; i++) {
        struct kw_metadata_response_topic *t = &resp->topics[resp->topics_count++];
        const struct kw_metadata_request_topic *asked = op->all ? NULL : &op->req.topics[i];
        const struct meta_topic *topic = op->all ? meta_image_topic_at(n->image, i)
                                                 : api_topic(op->wait.rq, asked->name,
                                                             &asked->topic_id);
        if (topic == NULL) {
            KB_ASSERT(asked != NULL); /* those of the image are there */
            fill_unknown(op, asked, t);
        } else if (!op->all && kb_map_put(&op->named, (uint64_t)(uintptr_t)topic, t) != NULL) {
            resp->topics_count--; /* named before: answered once, like Kafka */
            continue;
        } else if (fill_topic(op, q, topic, t) < 0) {
            return -KB_ENOMEM;
        }
        if (op->req.include_topic_authorized_operations)
            t->topic_authorized_operations = META_TOPIC_OPERATIONS;
    }
    return 0;
}

/* Any live broker may be named: each forwards what only the controller can do. Ourselves, if we are
 * live. */
static int32_t controller_id(struct node_request *rq, const struct kw_metadata_response *resp)
{
    int32_t leader = node_quorum_leader_id(rq->node);
    for (int32_t i = 0; i < resp->brokers_count; i++) {
        if (resp->brokers[i].node_id == leader)
            return leader;
    }
    return resp->brokers_count > 0 ? resp->brokers[0].node_id : -1;
}

static void answer(struct api_wait *w)
{
    struct metadata_op *op = (struct metadata_op *)w;
    struct node_request *rq = w->rq;
    struct node *n = rq->node;
    struct kw_metadata_response resp;
    struct meta_query q = {
        .image = n->image,
        .arena = &rq->arena,
        .listener = rq->listener_name,
        .dead_leader = -1,
    };
    kw_metadata_response_init(&resp);
    bool good = meta_query_metadata_brokers(&q, &resp) == 0 && fill_topics(op, &q, &resp) == 0;
    kb_map_release(&op->named);
    if (!good) {
        node_request_reject(rq, "its answer needs too much memory");
        return;
    }
    if (op->req.include_cluster_authorized_operations)
        resp.cluster_authorized_operations = API_CLUSTER_OPERATIONS;
    resp.cluster_id = kw_str_of(n->cluster_id);
    resp.controller_id = controller_id(rq, &resp);
    node_request_reply(rq, write_response, &resp);
}

void api_metadata(struct node_request *rq)
{
    struct metadata_op *op = kb_arena_new(&rq->arena, struct metadata_op);
    if (op == NULL) {
        node_request_reject(rq, "out of memory");
        return;
    }
    API_DECODE(rq, kw_metadata_request_read, &op->req);
    for (int32_t i = 0; i < op->req.topics_count; i++) {
        bool has_id = !kb_uuid_is_zero(&op->req.topics[i].topic_id);
        if (rq->header.api_version < 12 && (op->req.topics[i].name.data == NULL || has_id)) {
            refuse_ids(rq, &op->req);
            return;
        }
    }
    op->wait.rq = rq;
    api_question_init(&op->question, rq->node);
    op->all = op->req.topics_count < 0 ||
              (rq->header.api_version == 0 && op->req.topics_count == 0);
    api_wait_start(&op->wait, rq, wait_until, answer);
}
