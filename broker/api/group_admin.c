/* DescribeGroups, ListGroups, DeleteGroups: over all shards led here. */
#include "broker/api/internal.h"
#include "coordinator/groups/effects.h"
#include "coordinator/groups/shard.h"

API_WRITER(write_describe, kw_describe_groups_response_write, kw_describe_groups_response)
API_WRITER(write_list, kw_list_groups_response_write, kw_list_groups_response)
API_WRITER(write_delete, kw_delete_groups_response_write, kw_delete_groups_response)

void api_describe_groups(struct node_request *rq)
{
    struct kw_describe_groups_request req;
    struct kw_describe_groups_response resp;
    API_DECODE(rq, kw_describe_groups_request_read, &req);
    kw_describe_groups_response_init(&resp);
    resp.groups = api_new_array(rq, struct kw_describe_groups_response_group, req.groups_count);
    for (int32_t i = 0; i < req.groups_count; i++) {
        enum kw_error error = KW_NONE;
        if (resp.groups == NULL) {
            node_request_reject(rq, "its answer needs too much memory");
            return;
        }
        struct kw_describe_groups_response_group *w = &resp.groups[i];
        struct node_group *g = node_group_of(rq->node, req.groups[i], &error);
        kw_describe_groups_response_group_init(w);
        w->group_id = req.groups[i];
        w->error_code = (int16_t)error;
        if (g != NULL && group_shard_describe(node_group_shard(g), rq->header.api_version,
                                              req.groups[i], &rq->arena, w) < 0) {
            node_request_reject(rq, "its answer needs too much memory");
            return;
        }
        resp.groups_count++;
    }
    node_request_reply(rq, write_describe, &resp);
}

void api_list_groups(struct node_request *rq)
{
    struct node *n = rq->node;
    struct kw_list_groups_request req;
    struct kw_list_groups_response resp;
    struct node_partition *p = NULL;
    API_DECODE(rq, kw_list_groups_request_read, &req);
    kw_list_groups_response_init(&resp);
    for (p = n->partitions; p != NULL; p = p->hh.next) {
        if (p->group == NULL)
            continue;
        struct group_shard *s = node_group_ready_shard(p->group);
        if (s == NULL) {
            resp.error_code = KW_COORDINATOR_LOAD_IN_PROGRESS;
            continue;
        }
        if (group_shard_list(s, &req, &rq->arena, &resp.groups, &resp.groups_count) < 0) {
            node_request_reject(rq, "its answer needs too much memory");
            return;
        }
    }
    node_request_reply(rq, write_list, &resp);
}

/* ---- DeleteGroups: one append per group; the answer waits for all
 * ---------------------------------------------- */

static void fail_deletes(struct node_request *rq, enum kw_error error)
{
    struct kw_delete_groups_request req;
    struct kw_delete_groups_response resp;
    API_DECODE(rq, kw_delete_groups_request_read, &req);
    kw_delete_groups_response_init(&resp);
    resp.results = api_new_array(rq, struct kw_delete_groups_response_result,
                                 req.groups_names_count);
    for (int32_t i = 0; resp.results != NULL && i < req.groups_names_count; i++) {
        resp.results[i].group_id = req.groups_names[i];
        resp.results[i].error_code = (int16_t)error;
        resp.results_count++;
    }
    node_request_reply(rq, write_delete, &resp);
}

void api_delete_groups(struct node_request *rq)
{
    struct kw_delete_groups_request req;
    struct kw_delete_groups_response *resp = kb_arena_new(&rq->arena,
                                                          struct kw_delete_groups_response);
    struct node_group *last = NULL;
    struct group_effects fx;
    if (resp == NULL) {
        node_request_reject(rq, "out of memory");
        return;
    }
    API_DECODE(rq, kw_delete_groups_request_read, &req);
    kw_delete_groups_response_init(resp);
    resp->results = api_new_array(rq, struct kw_delete_groups_response_result,
                                  req.groups_names_count);
    for (int32_t i = 0; resp->results != NULL && i < req.groups_names_count; i++) {
        struct kw_delete_groups_response_result *w = &resp->results[resp->results_count++];
        enum kw_error error = KW_NONE;
        struct node_group *g = node_group_of(rq->node, req.groups_names[i], &error);
        w->group_id = req.groups_names[i];
        if (g != NULL) {
            group_effects_init(&fx);
            error = group_shard_delete(node_group_shard(g), req.groups_names[i], &fx);
            if (error == KW_NONE)
                last = g;
            node_group_submit(g, &fx, NULL, NULL, NULL, NULL);
        }
        w->error_code = (int16_t)error;
    }
    if (last == NULL) {
        node_request_reply(rq, write_delete, resp);
        return;
    }
    group_effects_init(&fx);
    node_group_submit(last, &fx, rq, write_delete, resp, fail_deletes);
}
