/* OffsetCommit, OffsetFetch, OffsetDelete. */
#include "coordinator/groups/internal.h"
#include "proto/base/mutant.h"

enum { COMMIT_RECORD_BYTES = 64 }; /* of one record, without its texts, at most */

static bool find_topic(const struct group_shard *s, struct kw_str *name, struct kb_uuid *id,
                       int32_t *ret_partitions)
{
    *ret_partitions = INT32_MAX;
    if (s->options.topic == NULL)
        return name->data != NULL;
    return s->options.topic(s->options.topic_arg, name, id, ret_partitions);
}

/* ---- OffsetCommit
 * ---------------------------------------------------------------------------- */

static enum kw_error check_committer(const struct group *g, int16_t version,
                                     const struct kw_offset_commit_request *req)
{
    int32_t generation = req->generation_id_or_member_epoch;
    if (g == NULL) {
        /* Somebody who manages partitions by himself, or an administrator. */
        if (generation < 0)
            return KW_NONE;
        return version >= 9 ? KW_GROUP_ID_NOT_FOUND : KW_ILLEGAL_GENERATION;
    }
    if (generation < 0 && g->state == GROUP_EMPTY)
        return KW_NONE;
    if (generation < 0 && req->member_id.size == 0 && req->group_instance_id.data == NULL)
        return KW_UNKNOWN_MEMBER_ID;
    enum kw_error error = group_member_check(g, req->member_id, req->group_instance_id);
    if (KB_MUTANT("duplicate-instance-served") && error == KW_FENCED_INSTANCE_ID)
        return KW_NONE;
    if (error != KW_NONE)
        return error;
    if (generation != group_generation(g) && !KB_MUTANT("stale-generation-commits"))
        return KW_ILLEGAL_GENERATION;
    return g->state == GROUP_COMPLETING ? KW_REBALANCE_IN_PROGRESS : KW_NONE;
}

static size_t commit_bytes(const struct kw_offset_commit_request *req)
{
    size_t bytes = 0;
    for (int32_t i = 0; i < req->topics_count; i++) {
        const struct kw_offset_commit_request_topic *t = &req->topics[i];
        size_t each = COMMIT_RECORD_BYTES + (size_t)(req->group_id.size + t->name.size);
        for (int32_t k = 0; k < t->partitions_count; k++)
            bytes += each + (size_t)t->partitions[k].committed_metadata.size;
    }
    return bytes;
}

struct commit {
    struct group_shard *shard;
    struct group *group;
    struct group_now now;
    int16_t version;
    int64_t expire_wall_ms;
    struct group_effects *fx;
};

static enum kw_error commit_partition(struct commit *c, struct kw_str topic,
                                      const struct kb_uuid *id,
                                      const struct kw_offset_commit_request_partition *q)
{
    struct group_offset o = {
        .partition = q->partition_index,
        .leader_epoch = q->committed_leader_epoch,
        .offset = KB_MUTANT("offset-committed-one-further") ? q->committed_offset + 1
                                                            : q->committed_offset,
        .commit_wall_ms = c->now.wall_ms,
        .expire_wall_ms = c->expire_wall_ms,
        .topic_id = *id,
        .metadata = q->committed_metadata.data != NULL ? q->committed_metadata : KW_STR(""),
    };
    if ((uint32_t)o.metadata.size > c->shard->options.offset_metadata_max)
        return KW_OFFSET_METADATA_TOO_LARGE;
    group_record_offset(c->group, topic, &o, c->fx);
    return KW_NONE;
}

static void commit_topic(struct commit *c, const struct kw_offset_commit_request_topic *q,
                         struct kw_offset_commit_response_topic *ret)
{
    struct kw_str name = c->version >= 10 ? kw_str_null() : q->name;
    struct kb_uuid id = q->topic_id;
    int32_t partitions = 0;
    bool known = find_topic(c->shard, &name, &id, &partitions);
    for (int32_t k = 0; k < q->partitions_count; k++) {
        int32_t index = q->partitions[k].partition_index;
        enum kw_error error = KW_UNKNOWN_TOPIC_OR_PARTITION;
        if (!known && c->version >= 10)
            error = KW_UNKNOWN_TOPIC_ID;
        else if (known && index >= 0 && index < partitions)
            error = commit_partition(c, name, &id, &q->partitions[k]);
        ret->partitions[k].error_code = (int16_t)error;
    }
}

/* The answer's shape, with one error for all. */
int group_commit_refuse(const struct kw_offset_commit_request *req, enum kw_error error,
                        struct kb_arena *arena, struct kw_offset_commit_response *ret)
{
    kw_offset_commit_response_init(ret);
    ret->topics = kb_arena_new_array(arena, struct kw_offset_commit_response_topic,
                                     (size_t)req->topics_count);
    if (ret->topics == NULL)
        return -KB_ENOMEM;
    ret->topics_count = req->topics_count;
    for (int32_t i = 0; i < req->topics_count; i++) {
        const struct kw_offset_commit_request_topic *q = &req->topics[i];
        struct kw_offset_commit_response_topic *t = &ret->topics[i];
        kw_offset_commit_response_topic_init(t);
        t->name = q->name;
        t->topic_id = q->topic_id;
        t->partitions = kb_arena_new_array(arena, struct kw_offset_commit_response_partition,
                                           (size_t)q->partitions_count);
        if (t->partitions == NULL)
            return -KB_ENOMEM;
        t->partitions_count = q->partitions_count;
        for (int32_t k = 0; k < q->partitions_count; k++) {
            kw_offset_commit_response_partition_init(&t->partitions[k]);
            t->partitions[k].partition_index = q->partitions[k].partition_index;
            t->partitions[k].error_code = (int16_t)error;
        }
    }
    return 0;
}

static enum kw_error check_commit(struct group_shard *s, const struct group *g, int16_t version,
                                  const struct kw_offset_commit_request *req)
{
    size_t bytes = commit_bytes(req);
    if (req->group_id.data == NULL)
        return KW_INVALID_GROUP_ID;
    enum kw_error error = check_committer(g, version, req);
    if (error != KW_NONE)
        return error;
    if (bytes > s->options.commit_bytes_max)
        return KW_INVALID_COMMIT_OFFSET_SIZE;
    if (!group_has_room(s, bytes) || (g == NULL && HASH_COUNT(s->groups) >= s->options.groups_max))
        return KW_COORDINATOR_NOT_AVAILABLE;
    return KW_NONE;
}

int group_shard_commit(struct group_shard *s, struct group_now now, int16_t version,
                       const struct kw_offset_commit_request *req, struct kb_arena *arena,
                       struct kw_offset_commit_response *ret, struct group_effects *fx)
{
    struct group *g = group_find(s, req->group_id);
    struct commit c = {.shard = s, .now = now, .version = version, .fx = fx};
    group_handler_begin(s);
    enum kw_error error = check_commit(s, g, version, req);
    int r = group_commit_refuse(req, error, arena, ret);
    if (r < 0 || error != KW_NONE)
        return r;
    c.group = g != NULL ? g : group_add(s, req->group_id);
    c.expire_wall_ms = version <= 4 && req->retention_time_ms >= 0
                           ? now.wall_ms + req->retention_time_ms
                           : -1;
    if (c.group->state == GROUP_STABLE || c.group->state == GROUP_PREPARING) {
        struct group_member *m = group_member_find(c.group, req->member_id);
        if (m != NULL)
            group_member_session_restart(m, now);
    }
    for (int32_t i = 0; i < req->topics_count; i++)
        commit_topic(&c, &req->topics[i], &ret->topics[i]);
    group_drop_if_nothing(c.group); /* replay makes it again if anything was committed */
    return 0;
}

/* ---- OffsetFetch
 * ----------------------------------------------------------------------------- */

/* An offset of a topic that was deleted and made again under its name is not the new topic's. */
static bool is_of(const struct group_offset *o, const struct kb_uuid *id)
{
    return kb_uuid_is_zero(id) || kb_uuid_is_zero(&o->topic_id) || kb_uuid_equal(&o->topic_id, id);
}

static void fill_offset(const struct group_offset *o,
                        struct kw_offset_fetch_response_group_topic_partition *ret)
{
    ret->committed_offset = -1;
    ret->metadata = KW_STR("");
    if (o == NULL)
        return;
    ret->committed_offset = o->offset;
    ret->committed_leader_epoch = o->leader_epoch;
    ret->metadata = o->metadata;
}

static int copy_text(struct kb_arena *arena, struct kw_str *s)
{
    if (s->data == NULL || s->size == 0)
        return 0;
    s->data = kb_arena_strndup(arena, s->data, (size_t)s->size);
    return s->data != NULL ? 0 : -KB_ENOMEM;
}

static int new_partitions(struct kb_arena *arena, size_t count,
                          struct kw_offset_fetch_response_group_topic *t)
{
    t->partitions = kb_arena_new_array(arena, struct kw_offset_fetch_response_group_topic_partition,
                                       count);
    return t->partitions != NULL ? 0 : -KB_ENOMEM;
}

static int fetch_topic(const struct group_shard *s, const struct group *g,
                       const struct kw_offset_fetch_request_group_topic *q, bool by_id,
                       struct kb_arena *arena, struct kw_offset_fetch_response_group_topic *ret)
{
    struct kw_str name = by_id ? kw_str_null() : q->name;
    struct kb_uuid id = q->topic_id;
    int32_t partitions = 0;
    bool known = find_topic(s, &name, &id, &partitions);
    ret->name = q->name;
    ret->topic_id = q->topic_id;
    if (new_partitions(arena, (size_t)q->partition_indexes_count, ret) < 0)
        return -KB_ENOMEM;
    for (int32_t k = 0; k < q->partition_indexes_count; k++) {
        struct kw_offset_fetch_response_group_topic_partition *p = &ret->partitions[k];
        const struct group_offset *o = NULL;
        kw_offset_fetch_response_group_topic_partition_init(p);
        p->partition_index = q->partition_indexes[k];
        if (g != NULL && name.data != NULL)
            o = group_offset_find(g, name, p->partition_index);
        fill_offset(o != NULL && is_of(o, &id) ? o : NULL, p);
        if (!known && by_id)
            p->error_code = KW_UNKNOWN_TOPIC_ID;
        if (copy_text(arena, &p->metadata) < 0)
            return -KB_ENOMEM;
    }
    ret->partitions_count = q->partition_indexes_count;
    return 0;
}

static int fetch_listed(const struct group_shard *s, const struct group *g,
                        const struct kw_offset_fetch_request_group *req, bool by_id,
                        struct kb_arena *arena, struct kw_offset_fetch_response_group *ret)
{
    ret->topics = kb_arena_new_array(arena, struct kw_offset_fetch_response_group_topic,
                                     (size_t)req->topics_count);
    if (ret->topics == NULL)
        return -KB_ENOMEM;
    for (int32_t i = 0; i < req->topics_count; i++) {
        struct kw_offset_fetch_response_group_topic *t = &ret->topics[ret->topics_count++];
        kw_offset_fetch_response_group_topic_init(t);
        if (fetch_topic(s, g, &req->topics[i], by_id, arena, t) < 0)
            return -KB_ENOMEM;
    }
    return 0;
}

static int fill_all_of_topic(const struct group_topic *from, const struct kb_uuid *id,
                             struct kb_arena *arena,
                             struct kw_offset_fetch_response_group_topic *ret)
{
    if (new_partitions(arena, from->count, ret) < 0)
        return -KB_ENOMEM;
    for (size_t k = 0; k < from->count; k++) {
        struct kw_offset_fetch_response_group_topic_partition *p =
            &ret->partitions[ret->partitions_count];
        if (!is_of(&from->offsets[k], id))
            continue;
        kw_offset_fetch_response_group_topic_partition_init(p);
        p->partition_index = from->offsets[k].partition;
        fill_offset(&from->offsets[k], p);
        if (copy_text(arena, &p->metadata) < 0)
            return -KB_ENOMEM;
        ret->partitions_count++;
    }
    return 0;
}

static int fetch_all(const struct group_shard *s, const struct group *g, bool by_id,
                     struct kb_arena *arena, struct kw_offset_fetch_response_group *ret)
{
    if (g == NULL)
        return 0;
    ret->topics = kb_arena_new_array(arena, struct kw_offset_fetch_response_group_topic,
                                     HASH_COUNT(g->topics));
    if (ret->topics == NULL)
        return -KB_ENOMEM;
    for (const struct group_topic *from = g->topics; from != NULL; from = from->hh.next) {
        struct kw_offset_fetch_response_group_topic *t = &ret->topics[ret->topics_count];
        int32_t partitions = 0;
        kw_offset_fetch_response_group_topic_init(t);
        t->name = from->name;
        if (!find_topic(s, &t->name, &t->topic_id, &partitions) && by_id)
            continue;
        t->name = from->name;
        if (fill_all_of_topic(from, &t->topic_id, arena, t) < 0 || copy_text(arena, &t->name) < 0)
            return -KB_ENOMEM;
        if (t->partitions_count > 0)
            ret->topics_count++;
    }
    return 0;
}

int group_shard_fetch(struct group_shard *s, const struct kw_offset_fetch_request_group *req,
                      bool by_id, struct kb_arena *arena,
                      struct kw_offset_fetch_response_group *ret)
{
    const struct group *g = group_find(s, req->group_id);
    group_handler_begin(s);
    kw_offset_fetch_response_group_init(ret);
    ret->group_id = req->group_id;
    return req->topics_count < 0 ? fetch_all(s, g, by_id, arena, ret)
                                 : fetch_listed(s, g, req, by_id, arena, ret);
}

/* ---- OffsetDelete
 * ---------------------------------------------------------------------------- */

static enum kw_error check_delete(const struct group *g)
{
    if (g == NULL)
        return KW_GROUP_ID_NOT_FOUND;
    if (g->state != GROUP_EMPTY && !group_is_consumer(g))
        return KW_NON_EMPTY_GROUP;
    return KW_NONE;
}

static int delete_topic(struct group *g, const struct kw_offset_delete_request_topic *q,
                        bool subscribed, struct kb_arena *arena,
                        struct kw_offset_delete_response_topic *ret)
{
    kw_offset_delete_response_topic_init(ret);
    ret->name = q->name;
    ret->partitions = kb_arena_new_array(arena, struct kw_offset_delete_response_partition,
                                         (size_t)q->partitions_count);
    if (ret->partitions == NULL)
        return -KB_ENOMEM;
    ret->partitions_count = q->partitions_count;
    for (int32_t k = 0; k < q->partitions_count; k++) {
        kw_offset_delete_response_partition_init(&ret->partitions[k]);
        ret->partitions[k].partition_index = q->partitions[k].partition_index;
        ret->partitions[k].error_code = subscribed ? KW_GROUP_SUBSCRIBED_TO_TOPIC : KW_NONE;
    }
    return 0;
}

static void delete_records(struct group *g, const struct kw_offset_delete_response *resp,
                           struct group_effects *fx)
{
    for (int32_t i = 0; i < resp->topics_count; i++) {
        const struct kw_offset_delete_response_topic *t = &resp->topics[i];
        for (int32_t k = 0; k < t->partitions_count; k++) {
            int32_t index = t->partitions[k].partition_index;
            if (t->partitions[k].error_code == KW_NONE &&
                group_offset_find(g, t->name, index) != NULL)
                group_record_offset_tombstone(g, t->name, index, fx);
        }
    }
}

int group_shard_delete_offsets(struct group_shard *s, const struct kw_offset_delete_request *req,
                               struct kb_arena *arena, struct kw_offset_delete_response *ret,
                               struct group_effects *fx)
{
    struct group *g = group_find(s, req->group_id);
    struct group_subscriptions subs;
    int r = 0;
    group_handler_begin(s);
    kw_offset_delete_response_init(ret);
    ret->error_code = (int16_t)check_delete(g);
    if (ret->error_code != KW_NONE)
        return 0;
    ret->topics = kb_arena_new_array(arena, struct kw_offset_delete_response_topic,
                                     (size_t)req->topics_count);
    if (ret->topics == NULL)
        return -KB_ENOMEM;
    group_subscriptions_init(&subs, g);
    for (int32_t i = 0; i < req->topics_count && r == 0; i++) {
        bool subscribed = group_subscriptions_have(&subs, req->topics[i].name);
        r = delete_topic(g, &req->topics[i], subscribed, arena, &ret->topics[ret->topics_count++]);
    }
    group_subscriptions_release(&subs);
    if (r == 0)
        delete_records(g, ret, fx);
    return r;
}
