/* The classic group APIs: find the shard, let it decide, answer what is committed. */
#include "broker/api/internal.h"
#include "coordinator/groups/effects.h"
#include "coordinator/groups/shard.h"

API_WRITER(write_join, kw_join_group_response_write, kw_join_group_response)
API_WRITER(write_sync, kw_sync_group_response_write, kw_sync_group_response)
API_WRITER(write_heartbeat, kw_heartbeat_response_write, kw_heartbeat_response)
API_WRITER(write_leave, kw_leave_group_response_write, kw_leave_group_response)

static struct group_now now_of(struct node_group *g)
{
    struct group_now now;
    node_group_now(g, &now.mono_ms, &now.wall_ms);
    return now;
}

/* ---- membership
 * ------------------------------------------------------------------------------------------- */

static void fail_join(struct node_request *rq, enum kw_error error)
{
    struct kw_join_group_response resp;
    kw_join_group_response_init(&resp);
    resp.error_code = (int16_t)error;
    resp.generation_id = -1;
    if (rq->header.api_version >= 7)
        resp.protocol_name = kw_str_null();
    node_request_reply(rq, write_join, &resp);
}

void api_join_group(struct node_request *rq)
{
    struct kw_join_group_request *req = kb_arena_new(&rq->arena, struct kw_join_group_request);
    enum kw_error error = KW_NONE;
    if (req == NULL) {
        node_request_reject(rq, "out of memory");
        return;
    }
    API_DECODE(rq, kw_join_group_request_read, req);
    struct node_group *g = node_group_to_write(rq->node, req->group_id, &error);
    if (g != NULL)
        node_group_join(g, rq, req);
    else if (req->group_id.size == 0)
        fail_join(rq, KW_INVALID_GROUP_ID);
    else if (!api_group_wait(rq, req->group_id, error))
        fail_join(rq, error);
}

static void fail_sync(struct node_request *rq, enum kw_error error)
{
    struct kw_sync_group_response resp;
    kw_sync_group_response_init(&resp);
    resp.error_code = (int16_t)error;
    node_request_reply(rq, write_sync, &resp);
}

void api_sync_group(struct node_request *rq)
{
    struct kw_sync_group_request *req = kb_arena_new(&rq->arena, struct kw_sync_group_request);
    enum kw_error error = KW_NONE;
    if (req == NULL) {
        node_request_reject(rq, "out of memory");
        return;
    }
    API_DECODE(rq, kw_sync_group_request_read, req);
    bool named = req->protocol_type.data != NULL && req->protocol_name.data != NULL;
    struct node_group *g = node_group_to_write(rq->node, req->group_id, &error);
    if (req->group_id.size == 0)
        fail_sync(rq, KW_INVALID_GROUP_ID);
    else if (rq->header.api_version >= 5 && !named)
        fail_sync(rq, KW_INCONSISTENT_GROUP_PROTOCOL);
    else if (g != NULL)
        node_group_sync(g, rq, req);
    else if (!api_group_wait(rq, req->group_id, error))
        fail_sync(rq, error);
}

static void fail_heartbeat(struct node_request *rq, enum kw_error error)
{
    struct kw_heartbeat_response resp;
    kw_heartbeat_response_init(&resp);
    resp.error_code = (int16_t)error;
    node_request_reply(rq, write_heartbeat, &resp);
}

/* "Your generation is the present one" and "it is not" both rest on what was replayed (6.3). */
void api_heartbeat(struct node_request *rq)
{
    struct kw_heartbeat_request req;
    struct kw_heartbeat_response *resp = kb_arena_new(&rq->arena, struct kw_heartbeat_response);
    struct group_effects fx;
    enum kw_error error = KW_NONE;
    if (resp == NULL) {
        node_request_reject(rq, "out of memory");
        return;
    }
    API_DECODE(rq, kw_heartbeat_request_read, &req);
    if (req.group_id.size == 0) {
        fail_heartbeat(rq, KW_INVALID_GROUP_ID);
        return;
    }
    struct node_group *g = node_group_of(rq->node, req.group_id, &error);
    if (g == NULL) {
        /* While the group is loaded a member keeps its place. */
        fail_heartbeat(rq, error == KW_COORDINATOR_LOAD_IN_PROGRESS ? KW_NONE : error);
        return;
    }
    kw_heartbeat_response_init(resp);
    resp->error_code = (int16_t)group_shard_heartbeat(node_group_shard(g), now_of(g), &req);
    group_effects_init(&fx);
    node_group_submit(g, &fx, rq, write_heartbeat, resp, fail_heartbeat);
}

static void fail_leave(struct node_request *rq, enum kw_error error)
{
    struct kw_leave_group_response resp;
    kw_leave_group_response_init(&resp);
    resp.error_code = (int16_t)error;
    node_request_reply(rq, write_leave, &resp);
}

void api_leave_group(struct node_request *rq)
{
    struct kw_leave_group_request req;
    struct kw_leave_group_response *resp = kb_arena_new(&rq->arena, struct kw_leave_group_response);
    struct group_effects fx;
    enum kw_error error = KW_NONE;
    if (resp == NULL) {
        node_request_reject(rq, "out of memory");
        return;
    }
    API_DECODE(rq, kw_leave_group_request_read, &req);
    if (req.group_id.size == 0) {
        fail_leave(rq, KW_INVALID_GROUP_ID);
        return;
    }
    struct node_group *g = node_group_to_write(rq->node, req.group_id, &error);
    if (g == NULL) {
        if (!api_group_wait(rq, req.group_id, error))
            fail_leave(rq, error);
        return;
    }
    kw_leave_group_response_init(resp);
    group_effects_init(&fx);
    if (group_shard_leave(node_group_shard(g), now_of(g), rq->header.api_version, &req, &rq->arena,
                          resp, &fx) < 0) {
        group_effects_release(&fx);
        node_request_reject(rq, "its answer needs too much memory");
        return;
    }
    node_group_submit(g, &fx, rq, write_leave, resp, fail_leave);
}
