/* DescribeGroups, ListGroups, DeleteGroups: over all shards led here. */
#include "broker/api/internal.h"
#include "coordinator/groups/effects.h"
#include "coordinator/groups/shard.h"

API_WRITER(write_describe, kw_describe_groups_response_write, kw_describe_groups_response)
API_WRITER(write_list, kw_list_groups_response_write, kw_list_groups_response)
API_WRITER(write_delete, kw_delete_groups_response_write, kw_delete_groups_response)

static void fail_describe(struct node_request *rq, enum kw_error error)
{
    struct kw_describe_groups_request req;
    struct kw_describe_groups_response resp;
    API_DECODE(rq, kw_describe_groups_request_read, &req);
    kw_describe_groups_response_init(&resp);
    resp.groups = api_new_array(rq, struct kw_describe_groups_response_group, req.groups_count);
    for (int32_t i = 0; resp.groups != NULL && i < req.groups_count; i++) {
        kw_describe_groups_response_group_init(&resp.groups[i]);
        resp.groups[i].group_id = req.groups[i];
        resp.groups[i].error_code = (int16_t)error;
        resp.groups_count++;
    }
    node_request_reply(rq, write_describe, &resp);
}

static int describe_part(struct node_request *rq, const struct api_settle *s, int32_t i,
                         struct node_group **ret)
{
    const struct kw_describe_groups_request *req = s->request;
    struct kw_describe_groups_response *resp = s->body;
    struct kw_describe_groups_response_group *w = &resp->groups[i];
    enum kw_error error = KW_NONE;
    *ret = node_group_of(rq->node, req->groups[i], &error);
    kw_describe_groups_response_group_init(w);
    w->group_id = req->groups[i];
    w->error_code = (int16_t)error;
    if (*ret == NULL)
        return 0;
    int r = group_shard_describe(node_group_shard(*ret), rq->header.api_version, req->groups[i],
                                 &rq->arena, w);
    if (req->include_authorized_operations)
        w->authorized_operations = API_GROUP_OPERATIONS;
    return r;
}

void api_describe_groups(struct node_request *rq)
{
    struct kw_describe_groups_request *req = kb_arena_new(&rq->arena,
                                                          struct kw_describe_groups_request);
    struct kw_describe_groups_response *resp = kb_arena_new(&rq->arena,
                                                            struct kw_describe_groups_response);
    if (req == NULL || resp == NULL) {
        node_request_reject(rq, "out of memory");
        return;
    }
    API_DECODE(rq, kw_describe_groups_request_read, req);
    kw_describe_groups_response_init(resp);
    resp->groups_count = req->groups_count;
    resp->groups = api_new_array(rq, struct kw_describe_groups_response_group, req->groups_count);
    if (resp->groups == NULL) {
        node_request_reject(rq, "its answer needs too much memory");
        return;
    }
    struct api_settle s = {.count = req->groups_count,
                           .part = describe_part,
                           .request = req,
                           .body = resp,
                           .write = write_describe,
                           .fail = fail_describe};
    api_settle(rq, &s);
}

/* ---- ListGroups: the shards led here, in the order of their partitions
 * ----------------------------------------------- */

static void fail_list(struct node_request *rq, enum kw_error error)
{
    struct kw_list_groups_response resp;
    kw_list_groups_response_init(&resp);
    /* Clients ask again for this one only. */
    resp.error_code = (int16_t)(error == KW_NOT_COORDINATOR ? KW_COORDINATOR_NOT_AVAILABLE : error);
    node_request_reply(rq, write_list, &resp);
}

static int list_part(struct node_request *rq, const struct api_settle *s, int32_t i,
                     struct node_group **ret)
{
    struct kw_list_groups_response *resp = s->body;
    const struct meta_topic *t = meta_image_topic(rq->node->image, NODE_OFFSETS_TOPIC);
    struct node_partition *p = t != NULL ? node_partition_find(rq->node, &t->id, i) : NULL;
    if (p == NULL || p->group == NULL)
        return 0;
    struct group_shard *shard = node_group_ready_shard(p->group);
    if (shard == NULL) {
        resp->error_code = KW_COORDINATOR_LOAD_IN_PROGRESS;
        return 0;
    }
    *ret = p->group;
    return group_shard_list(shard, s->request, &rq->arena, &resp->groups, &resp->groups_count);
}

void api_list_groups(struct node_request *rq)
{
    struct kw_list_groups_request *req = kb_arena_new(&rq->arena, struct kw_list_groups_request);
    struct kw_list_groups_response *resp = kb_arena_new(&rq->arena, struct kw_list_groups_response);
    const struct meta_topic *t = meta_image_topic(rq->node->image, NODE_OFFSETS_TOPIC);
    if (req == NULL || resp == NULL) {
        node_request_reject(rq, "out of memory");
        return;
    }
    API_DECODE(rq, kw_list_groups_request_read, req);
    kw_list_groups_response_init(resp);
    struct api_settle s = {.count = t != NULL ? (int32_t)t->partitions_count : 0,
                           .part = list_part,
                           .request = req,
                           .body = resp,
                           .write = write_list,
                           .fail = fail_list};
    api_settle(rq, &s);
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

static int delete_part(struct node_request *rq, const struct api_settle *s, int32_t i,
                       struct node_group **ret)
{
    const struct kw_delete_groups_request *req = s->request;
    struct kw_delete_groups_response *resp = s->body;
    struct kw_delete_groups_response_result *w = &resp->results[i];
    struct group_effects fx;
    enum kw_error error = KW_NONE;
    *ret = node_group_to_write(rq->node, req->groups_names[i], &error);
    kw_delete_groups_response_result_init(w);
    w->group_id = req->groups_names[i];
    if (*ret != NULL) {
        group_effects_init(&fx);
        error = group_shard_delete(node_group_shard(*ret), req->groups_names[i], &fx);
        node_group_submit(*ret, &fx, NULL, NULL, NULL, NULL);
    }
    w->error_code = (int16_t)error;
    return 0;
}

void api_delete_groups(struct node_request *rq)
{
    struct kw_delete_groups_request *req = kb_arena_new(&rq->arena,
                                                        struct kw_delete_groups_request);
    struct kw_delete_groups_response *resp = kb_arena_new(&rq->arena,
                                                          struct kw_delete_groups_response);
    if (req == NULL || resp == NULL) {
        node_request_reject(rq, "out of memory");
        return;
    }
    API_DECODE(rq, kw_delete_groups_request_read, req);
    kw_delete_groups_response_init(resp);
    resp->results_count = req->groups_names_count;
    resp->results = api_new_array(rq, struct kw_delete_groups_response_result,
                                  req->groups_names_count);
    if (resp->results == NULL) {
        node_request_reject(rq, "its answer needs too much memory");
        return;
    }
    struct api_settle s = {.count = req->groups_names_count,
                           .part = delete_part,
                           .request = req,
                           .body = resp,
                           .write = write_delete,
                           .fail = fail_deletes};
    api_settle(rq, &s);
}
