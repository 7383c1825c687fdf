/* OffsetCommit, OffsetFetch, OffsetDelete. */
#include "broker/api/internal.h"
#include "coordinator/groups/effects.h"
#include "coordinator/groups/shard.h"

API_WRITER(write_commit, kw_offset_commit_response_write, kw_offset_commit_response)
API_WRITER(write_fetch, kw_offset_fetch_response_write, kw_offset_fetch_response)
API_WRITER(write_delete, kw_offset_delete_response_write, kw_offset_delete_response)

/* ---- OffsetCommit
 * ------------------------------------------------------------------------------------------ */

static void fail_commit(struct node_request *rq, enum kw_error error)
{
    struct kw_offset_commit_request req;
    struct kw_offset_commit_response resp;
    API_DECODE(rq, kw_offset_commit_request_read, &req);
    kw_offset_commit_response_init(&resp);
    if (group_commit_refuse(&req, error, &rq->arena, &resp) < 0)
        node_request_reject(rq, "its answer needs too much memory");
    else
        node_request_reply(rq, write_commit, &resp);
}

void api_offset_commit(struct node_request *rq)
{
    struct kw_offset_commit_request req;
    struct kw_offset_commit_response *resp = kb_arena_new(&rq->arena,
                                                          struct kw_offset_commit_response);
    struct group_effects fx;
    struct group_now now;
    enum kw_error error = KW_NONE;
    if (resp == NULL) {
        node_request_reject(rq, "out of memory");
        return;
    }
    API_DECODE(rq, kw_offset_commit_request_read, &req);
    struct node_group *g = node_group_to_write(rq->node, req.group_id, &error);
    if (g == NULL) {
        if (!api_group_wait(rq, req.group_id, error))
            fail_commit(rq, error);
        return;
    }
    kw_offset_commit_response_init(resp);
    node_group_now(g, &now.mono_ms, &now.wall_ms);
    group_effects_init(&fx);
    if (group_shard_commit(node_group_shard(g), now, rq->header.api_version, &req, &rq->arena, resp,
                           &fx) < 0) {
        group_effects_release(&fx);
        node_request_reject(rq, "its answer needs too much memory");
        return;
    }
    node_group_submit(g, &fx, rq, write_commit, resp, fail_commit);
}

/* ---- OffsetFetch
 * --------------------------------------------------------------------------------------------- */

/* *ret: its shard, when it was asked. */
static int fetch_one(struct node_request *rq, const struct kw_offset_fetch_request_group *q,
                     struct kw_offset_fetch_response_group *answer, struct node_group **ret)
{
    enum kw_error error = KW_NONE;
    *ret = node_group_to_write(rq->node, q->group_id, &error);
    kw_offset_fetch_response_group_init(answer);
    answer->group_id = q->group_id;
    answer->error_code = (int16_t)error;
    if (*ret == NULL)
        return 0;
    return group_shard_fetch(node_group_shard(*ret), q, rq->header.api_version >= 10, &rq->arena,
                             answer);
}

/* Versions below 8 ask for one group, in fields of their own. */
static bool old_request(struct node_request *rq, const struct kw_offset_fetch_request *req,
                        struct kw_offset_fetch_request_group *ret)
{
    kw_offset_fetch_request_group_init(ret);
    ret->group_id = req->group_id;
    ret->topics_count = req->topics_count;
    if (req->topics_count < 0)
        return true;
    ret->topics = api_new_array(rq, struct kw_offset_fetch_request_group_topic, req->topics_count);
    for (int32_t i = 0; ret->topics != NULL && i < req->topics_count; i++) {
        ret->topics[i].name = req->topics[i].name;
        ret->topics[i].partition_indexes = req->topics[i].partition_indexes;
        ret->topics[i].partition_indexes_count = req->topics[i].partition_indexes_count;
    }
    return ret->topics != NULL;
}

/* Version 1 has no top-level error: each partition that was asked for carries it. */
static bool old_refusal(struct node_request *rq, const struct kw_offset_fetch_request *req,
                        int16_t error, struct kw_offset_fetch_response *resp)
{
    resp->error_code = rq->header.api_version >= 2 ? error : KW_NONE;
    if (req->topics_count <= 0)
        return true;
    resp->topics = api_new_array(rq, struct kw_offset_fetch_response_topic, req->topics_count);
    for (int32_t i = 0; resp->topics != NULL && i < req->topics_count; i++) {
        int32_t count = req->topics[i].partition_indexes_count;
        struct kw_offset_fetch_response_topic *t = &resp->topics[i];
        t->name = req->topics[i].name;
        t->partitions = api_new_array(rq, struct kw_offset_fetch_response_partition, count);
        if (t->partitions == NULL)
            return false;
        for (int32_t k = 0; k < count; k++) {
            kw_offset_fetch_response_partition_init(&t->partitions[k]);
            t->partitions[k].partition_index = req->topics[i].partition_indexes[k];
            t->partitions[k].committed_offset = -1;
            t->partitions[k].metadata = KW_STR("");
            t->partitions[k].error_code = error;
        }
        t->partitions_count = count;
        resp->topics_count++;
    }
    return resp->topics != NULL;
}

static bool old_answer(struct node_request *rq, const struct kw_offset_fetch_request *req,
                       const struct kw_offset_fetch_response_group *g,
                       struct kw_offset_fetch_response *resp)
{
    if (g->error_code != KW_NONE)
        return old_refusal(rq, req, g->error_code, resp);
    resp->topics = api_new_array(rq, struct kw_offset_fetch_response_topic, g->topics_count);
    for (int32_t i = 0; resp->topics != NULL && i < g->topics_count; i++) {
        int32_t count = g->topics[i].partitions_count;
        struct kw_offset_fetch_response_topic *t = &resp->topics[i];
        t->name = g->topics[i].name;
        t->partitions = api_new_array(rq, struct kw_offset_fetch_response_partition, count);
        if (t->partitions == NULL)
            return false;
        for (int32_t k = 0; k < count; k++) {
            const struct kw_offset_fetch_response_group_topic_partition *p =
                &g->topics[i].partitions[k];
            kw_offset_fetch_response_partition_init(&t->partitions[k]);
            t->partitions[k].partition_index = p->partition_index;
            t->partitions[k].committed_offset = p->committed_offset;
            if (rq->header.api_version >= 5)
                t->partitions[k].committed_leader_epoch = p->committed_leader_epoch;
            t->partitions[k].metadata = p->metadata;
            t->partitions[k].error_code = p->error_code;
        }
        t->partitions_count = count;
        resp->topics_count++;
    }
    return resp->topics != NULL;
}

static void fail_fetch(struct node_request *rq, enum kw_error error)
{
    struct kw_offset_fetch_request req;
    struct kw_offset_fetch_response resp;
    bool good = true;
    API_DECODE(rq, kw_offset_fetch_request_read, &req);
    kw_offset_fetch_response_init(&resp);
    if (rq->header.api_version < 8) {
        good = old_refusal(rq, &req, (int16_t)error, &resp);
    } else {
        resp.groups = api_new_array(rq, struct kw_offset_fetch_response_group, req.groups_count);
        for (int32_t i = 0; resp.groups != NULL && i < req.groups_count; i++) {
            kw_offset_fetch_response_group_init(&resp.groups[i]);
            resp.groups[i].group_id = req.groups[i].group_id;
            resp.groups[i].error_code = (int16_t)error;
            resp.groups_count++;
        }
        good = resp.groups != NULL;
    }
    if (good)
        node_request_reply(rq, write_fetch, &resp);
    else
        node_request_reject(rq, "its answer needs too much memory");
}

static int fetch_part(struct node_request *rq, const struct api_settle *s, int32_t i,
                      struct node_group **ret)
{
    const struct kw_offset_fetch_request *req = s->request;
    struct kw_offset_fetch_response *resp = s->body;
    struct kw_offset_fetch_request_group q;
    struct kw_offset_fetch_response_group g;
    if (rq->header.api_version >= 8)
        return fetch_one(rq, &req->groups[i], &resp->groups[i], ret);
    if (!old_request(rq, req, &q) || fetch_one(rq, &q, &g, ret) < 0 ||
        !old_answer(rq, req, &g, resp))
        return -KB_ENOMEM;
    return 0;
}

/* What was read may rest on commits that are not durable yet, and a new coordinator may know newer
 * ones: the answer waits until neither can be (rules 6.3, 6.10). */
static bool fetch_waits(struct node_request *rq, const struct kw_offset_fetch_request *req)
{
    bool many = rq->header.api_version >= 8;
    int32_t count = many ? req->groups_count : 1;
    for (int32_t i = 0; i < count; i++) {
        enum kw_error error = KW_NONE;
        struct kw_str id = many ? req->groups[i].group_id : req->group_id;
        if (node_group_to_write(rq->node, id, &error) == NULL && api_group_wait(rq, id, error))
            return true;
    }
    return false;
}

void api_offset_fetch(struct node_request *rq)
{
    struct kw_offset_fetch_request *req = kb_arena_new(&rq->arena, struct kw_offset_fetch_request);
    struct kw_offset_fetch_response *resp = kb_arena_new(&rq->arena,
                                                         struct kw_offset_fetch_response);
    if (req == NULL || resp == NULL) {
        node_request_reject(rq, "out of memory");
        return;
    }
    API_DECODE(rq, kw_offset_fetch_request_read, req);
    if (fetch_waits(rq, req))
        return;
    kw_offset_fetch_response_init(resp);
    if (rq->header.api_version >= 8) {
        resp->groups_count = req->groups_count;
        resp->groups = api_new_array(rq, struct kw_offset_fetch_response_group, req->groups_count);
        if (resp->groups == NULL) {
            node_request_reject(rq, "its answer needs too much memory");
            return;
        }
    }
    struct api_settle s = {.count = rq->header.api_version >= 8 ? req->groups_count : 1,
                           .prove = true,
                           .part = fetch_part,
                           .request = req,
                           .body = resp,
                           .write = write_fetch,
                           .fail = fail_fetch};
    api_settle(rq, &s);
}

/* ---- OffsetDelete
 * ---------------------------------------------------------------------------------------------- */

static void fail_delete(struct node_request *rq, enum kw_error error)
{
    struct kw_offset_delete_response resp;
    kw_offset_delete_response_init(&resp);
    resp.error_code = (int16_t)error;
    node_request_reply(rq, write_delete, &resp);
}

/* The request without partitions that do not exist: their offsets are not the group's to delete.
 * Topics keep their places. -KB_ENOMEM. */
static int take_known(struct node_request *rq, const struct kw_offset_delete_request *req,
                      struct kw_offset_delete_request *ret)
{
    *ret = *req;
    ret->topics = api_new_array(rq, struct kw_offset_delete_request_topic, req->topics_count);
    if (ret->topics == NULL)
        return -KB_ENOMEM;
    for (int32_t i = 0; i < req->topics_count; i++) {
        const struct kw_offset_delete_request_topic *q = &req->topics[i];
        const struct meta_topic *t = api_topic(rq, q->name, NULL);
        struct kw_offset_delete_request_topic *w = &ret->topics[i];
        w->name = q->name;
        w->partitions = api_new_array(rq, struct kw_offset_delete_request_partition,
                                      q->partitions_count);
        if (w->partitions == NULL)
            return -KB_ENOMEM;
        for (int32_t k = 0; k < q->partitions_count; k++) {
            if (meta_topic_partition(t, q->partitions[k].partition_index) != NULL)
                w->partitions[w->partitions_count++] = q->partitions[k];
        }
    }
    return 0;
}

/* The group's answers at their places, and those of partitions it was not asked about. */
static int add_unknown(struct node_request *rq, const struct kw_offset_delete_request *req,
                       const struct kw_offset_delete_request *known,
                       struct kw_offset_delete_response *resp)
{
    for (int32_t i = 0; i < resp->topics_count; i++) {
        const struct kw_offset_delete_request_topic *q = &req->topics[i];
        const struct kw_offset_delete_response_partition *answered = resp->topics[i].partitions;
        struct kw_offset_delete_response_partition *list =
            api_new_array(rq, struct kw_offset_delete_response_partition, q->partitions_count);
        int32_t next = 0;
        if (list == NULL)
            return -KB_ENOMEM;
        for (int32_t k = 0; k < q->partitions_count; k++) {
            int32_t index = q->partitions[k].partition_index;
            if (next < known->topics[i].partitions_count &&
                known->topics[i].partitions[next].partition_index == index) {
                list[k] = answered[next++];
                continue;
            }
            kw_offset_delete_response_partition_init(&list[k]);
            list[k].partition_index = index;
            list[k].error_code = KW_UNKNOWN_TOPIC_OR_PARTITION;
        }
        resp->topics[i].partitions = list;
        resp->topics[i].partitions_count = q->partitions_count;
    }
    return 0;
}

void api_offset_delete(struct node_request *rq)
{
    struct kw_offset_delete_request req;
    struct kw_offset_delete_request known;
    struct kw_offset_delete_response *resp = kb_arena_new(&rq->arena,
                                                          struct kw_offset_delete_response);
    struct group_effects fx;
    enum kw_error error = KW_NONE;
    if (resp == NULL) {
        node_request_reject(rq, "out of memory");
        return;
    }
    API_DECODE(rq, kw_offset_delete_request_read, &req);
    if (req.group_id.size == 0) {
        fail_delete(rq, KW_INVALID_GROUP_ID);
        return;
    }
    struct node_group *g = node_group_to_write(rq->node, req.group_id, &error);
    if (g == NULL) {
        if (!api_group_wait(rq, req.group_id, error))
            fail_delete(rq, error);
        return;
    }
    kw_offset_delete_response_init(resp);
    group_effects_init(&fx);
    if (take_known(rq, &req, &known) < 0 ||
        group_shard_delete_offsets(node_group_shard(g), &known, &rq->arena, resp, &fx) < 0 ||
        add_unknown(rq, &req, &known, resp) < 0) {
        group_effects_release(&fx);
        node_request_reject(rq, "its answer needs too much memory");
        return;
    }
    node_group_submit(g, &fx, rq, write_delete, resp, fail_delete);
}
