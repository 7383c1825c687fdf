/* Admin commands that run at the active controller: decode, let the controller decide, answer when
 * its records are committed. */
#include "broker/api/internal.h"

/* A command's answer waits for the commit; everything lives in the request's arena. */
struct admin_op {
    struct node_request *rq;
    node_body_write_fn *write;
    void *resp;
};

API_WRITER(write_create_topics, kw_create_topics_response_write, kw_create_topics_response)
API_WRITER(write_delete_topics, kw_delete_topics_response_write, kw_delete_topics_response)
API_WRITER(write_create_partitions, kw_create_partitions_response_write,
           kw_create_partitions_response)
API_WRITER(write_alter_configs, kw_alter_configs_response_write, kw_alter_configs_response)
API_WRITER(write_incremental, kw_incremental_alter_configs_response_write,
           kw_incremental_alter_configs_response)
API_WRITER(write_elect_leaders, kw_elect_leaders_response_write, kw_elect_leaders_response)

static void on_command(void *arg, int result, uint64_t index)
{
    struct admin_op *op = arg;
    struct node_request *rq = op->rq;
    rq->op = NULL;
    if (rq->node->freeing) {
        node_request_free(rq);
        return;
    }
    if (result < 0) {
        node_request_dispatch(rq); /* leadership was lost first: it goes to the new controller */
        return;
    }
    rq->commit_index = index;
    node_request_reply(rq, op->write, op->resp);
}

/* handled: what the controller's function returned. */
static void submit(struct node_request *rq, int handled, struct meta_result *result,
                   node_body_write_fn *write, void *resp)
{
    struct admin_op *op = kb_arena_new(&rq->arena, struct admin_op);
    if (handled < 0 || op == NULL) {
        meta_result_release(result);
        node_request_reject(rq, "it needs too much memory");
        return;
    }
    op->rq = rq;
    op->write = write;
    op->resp = resp;
    int r = node_controller_command(rq->node, result, on_command, op);
    if (r < 0)
        node_request_retry_later(rq);
}

/* Decode into an arena copy of the request, make the response, find the controller; rejects by
 * itself. */
#define BEGIN(name)                                                                                \
    struct kw_##name##_request *req = kb_arena_new(&rq->arena, struct kw_##name##_request);        \
    struct kw_##name##_response *resp = kb_arena_new(&rq->arena, struct kw_##name##_response);     \
    struct meta_controller *c = node_controller_get(rq->node);                                     \
    struct meta_result result = {0};                                                               \
    if (req == NULL || resp == NULL) {                                                             \
        node_request_reject(rq, "out of memory");                                                  \
        return;                                                                                    \
    }                                                                                              \
    API_DECODE(rq, kw_##name##_request_read, req);                                                 \
    kw_##name##_response_init(resp);                                                               \
    if (c == NULL) {                                                                               \
        node_request_retry_later(rq);                                                              \
        return;                                                                                    \
    }

/* A client that gives no time cannot be told that something was done: nothing is. */
static bool out_of_time(struct node_request *rq, int32_t timeout_ms)
{
    if (timeout_ms > 0)
        return false;
    api_admin_fail(rq, KW_REQUEST_TIMED_OUT, NULL);
    return true;
}

void api_create_topics(struct node_request *rq)
{
    BEGIN(create_topics)
    if (out_of_time(rq, req->timeout_ms))
        return;
    int r = meta_controller_create_topics(c, req, &rq->arena, &result, resp);
    submit(rq, r, &result, write_create_topics, resp);
}

void api_delete_topics(struct node_request *rq)
{
    BEGIN(delete_topics)
    if (out_of_time(rq, req->timeout_ms))
        return;
    int r = meta_controller_delete_topics(c, rq->header.api_version, req, &rq->arena, &result,
                                          resp);
    submit(rq, r, &result, write_delete_topics, resp);
}

void api_create_partitions(struct node_request *rq)
{
    BEGIN(create_partitions)
    if (out_of_time(rq, req->timeout_ms))
        return;
    int r = meta_controller_create_partitions(c, req, &rq->arena, &result, resp);
    submit(rq, r, &result, write_create_partitions, resp);
}

void api_alter_configs(struct node_request *rq)
{
    BEGIN(alter_configs)
    int r = meta_controller_alter_configs(c, req, &rq->arena, &result, resp);
    submit(rq, r, &result, write_alter_configs, resp);
}

void api_incremental_alter_configs(struct node_request *rq)
{
    BEGIN(incremental_alter_configs)
    int r = meta_controller_incremental_alter_configs(c, req, &rq->arena, &result, resp);
    submit(rq, r, &result, write_incremental, resp);
}

void api_elect_leaders(struct node_request *rq)
{
    BEGIN(elect_leaders)
    if (out_of_time(rq, req->timeout_ms))
        return;
    int r = meta_controller_elect_leaders(c, node_now(rq->node), rq->header.api_version, req,
                                          &rq->arena, &result, resp);
    submit(rq, r, &result, write_elect_leaders, resp);
}

/* ---- no controller in time
 * ----------------------------------------------------------------------------- */

static void fail_create_topics(struct node_request *rq, enum kw_error error, const char *text)
{
    struct kw_create_topics_request req;
    struct kw_create_topics_response resp;
    API_DECODE(rq, kw_create_topics_request_read, &req);
    kw_create_topics_response_init(&resp);
    resp.topics = api_new_array(rq, struct kw_create_topics_response_topic, req.topics_count);
    for (int32_t i = 0; resp.topics != NULL && i < req.topics_count; i++) {
        kw_create_topics_response_topic_init(&resp.topics[i]);
        resp.topics[i].name = req.topics[i].name;
        resp.topics[i].error_code = (int16_t)error;
        resp.topics[i].error_message = kw_str_of(text);
        resp.topics_count++;
    }
    node_request_reply(rq, write_create_topics, &resp);
}

static void fail_delete_topics(struct node_request *rq, enum kw_error error, const char *text)
{
    struct kw_delete_topics_request req;
    struct kw_delete_topics_response resp;
    API_DECODE(rq, kw_delete_topics_request_read, &req);
    bool named = rq->header.api_version < 6;
    int32_t count = named ? req.topic_names_count : req.topics_count;
    kw_delete_topics_response_init(&resp);
    resp.responses = api_new_array(rq, struct kw_delete_topics_response_topic, count);
    for (int32_t i = 0; resp.responses != NULL && i < count; i++) {
        kw_delete_topics_response_topic_init(&resp.responses[i]);
        resp.responses[i].name = named ? req.topic_names[i] : req.topics[i].name;
        if (!named)
            resp.responses[i].topic_id = req.topics[i].topic_id;
        resp.responses[i].error_code = (int16_t)error;
        resp.responses[i].error_message = kw_str_of(text);
        resp.responses_count++;
    }
    node_request_reply(rq, write_delete_topics, &resp);
}

static void fail_create_partitions(struct node_request *rq, enum kw_error error, const char *text)
{
    struct kw_create_partitions_request req;
    struct kw_create_partitions_response resp;
    API_DECODE(rq, kw_create_partitions_request_read, &req);
    kw_create_partitions_response_init(&resp);
    resp.results = api_new_array(rq, struct kw_create_partitions_response_result, req.topics_count);
    for (int32_t i = 0; resp.results != NULL && i < req.topics_count; i++) {
        kw_create_partitions_response_result_init(&resp.results[i]);
        resp.results[i].name = req.topics[i].name;
        resp.results[i].error_code = (int16_t)error;
        resp.results[i].error_message = kw_str_of(text);
        resp.results_count++;
    }
    node_request_reply(rq, write_create_partitions, &resp);
}

static void fail_alter_configs(struct node_request *rq, enum kw_error error, const char *text)
{
    struct kw_alter_configs_request req;
    struct kw_alter_configs_response resp;
    API_DECODE(rq, kw_alter_configs_request_read, &req);
    kw_alter_configs_response_init(&resp);
    resp.responses = api_new_array(rq, struct kw_alter_configs_response_topic, req.resources_count);
    for (int32_t i = 0; resp.responses != NULL && i < req.resources_count; i++) {
        kw_alter_configs_response_topic_init(&resp.responses[i]);
        resp.responses[i].resource_type = req.resources[i].resource_type;
        resp.responses[i].resource_name = req.resources[i].resource_name;
        resp.responses[i].error_code = (int16_t)error;
        resp.responses[i].error_message = kw_str_of(text);
        resp.responses_count++;
    }
    node_request_reply(rq, write_alter_configs, &resp);
}

static void fail_incremental(struct node_request *rq, enum kw_error error, const char *text)
{
    struct kw_incremental_alter_configs_request req;
    struct kw_incremental_alter_configs_response resp;
    API_DECODE(rq, kw_incremental_alter_configs_request_read, &req);
    kw_incremental_alter_configs_response_init(&resp);
    resp.responses = api_new_array(rq, struct kw_incremental_alter_configs_response_topic,
                                   req.resources_count);
    for (int32_t i = 0; resp.responses != NULL && i < req.resources_count; i++) {
        kw_incremental_alter_configs_response_topic_init(&resp.responses[i]);
        resp.responses[i].resource_type = req.resources[i].resource_type;
        resp.responses[i].resource_name = req.resources[i].resource_name;
        resp.responses[i].error_code = (int16_t)error;
        resp.responses[i].error_message = kw_str_of(text);
        resp.responses_count++;
    }
    node_request_reply(rq, write_incremental, &resp);
}

static void fail_elect_leaders(struct node_request *rq, enum kw_error error, const char *text)
{
    struct kw_elect_leaders_request req;
    struct kw_elect_leaders_response resp;
    API_DECODE(rq, kw_elect_leaders_request_read, &req);
    if (meta_refuse_elections(&req, &rq->arena, (int16_t)error, text, &resp) < 0) {
        node_request_reject(rq, "its answer needs too much memory");
        return;
    }
    if (rq->header.api_version < 1)
        resp.error_code = KW_NONE; /* has no place for it */
    node_request_reply(rq, write_elect_leaders, &resp);
}

void api_admin_fail(struct node_request *rq, int error, const char *text)
{
    enum kw_error e = (enum kw_error)error;
    switch (rq->header.api_key) {
    case KW_API_CREATE_TOPICS:
        fail_create_topics(rq, e, text);
        break;
    case KW_API_DELETE_TOPICS:
        fail_delete_topics(rq, e, text);
        break;
    case KW_API_CREATE_PARTITIONS:
        fail_create_partitions(rq, e, text);
        break;
    case KW_API_ALTER_CONFIGS:
        fail_alter_configs(rq, e, text);
        break;
    case KW_API_INCREMENTAL_ALTER_CONFIGS:
        fail_incremental(rq, e, text);
        break;
    case KW_API_ELECT_LEADERS:
        fail_elect_leaders(rq, e, text);
        break;
    default:
        node_request_reject(rq, text);
        break;
    }
}
