/* DeleteTopics and CreatePartitions. */
#include <stdlib.h>

#include "coordinator/metadata/admin_private.h"
#include "proto/base/assert.h"
#include "proto/base/err.h"
#include "proto/base/map.h"
#include "proto/cluster/unpack.h"

/* ---- DeleteTopics -------------------------------------------------------------------------------
 */

struct deletion {
    struct meta_controller *c;
    struct kb_arena *arena;
    struct meta_result *result;
    struct kb_map seen; /* topics already taken, by address */
};

static struct meta_verdict find_doomed(struct deletion *d, struct kw_str name,
                                       const struct kb_uuid *id, const struct meta_topic **ret)
{
    bool by_id = !kb_uuid_is_zero(id);
    if (by_id && name.data != NULL)
        return meta_refuse(d->arena, KW_INVALID_REQUEST, "name a topic or give its id, not both");
    *ret = by_id ? meta_image_topic_by_id(d->c->image, id) : meta_find_topic(d->c->image, name);
    if (*ret == NULL && by_id)
        return meta_refuse(d->arena, KW_UNKNOWN_TOPIC_ID, "no topic has this id");
    if (*ret == NULL)
        return meta_unknown_topic(d->arena, name);
    if (!d->c->config.delete_topic_enable)
        return meta_refuse(d->arena, KW_TOPIC_DELETION_DISABLED,
                           "topics cannot be deleted here: delete.topic.enable is false");
    if (kb_map_put(&d->seen, (uint64_t)(uintptr_t)*ret, d) != NULL)
        return meta_refuse(d->arena, KW_INVALID_REQUEST, "the request names this topic twice");
    return meta_fine();
}

static void delete_one(struct deletion *d, struct kw_str name, const struct kb_uuid *id,
                       struct kw_delete_topics_response_topic *ret)
{
    const struct meta_topic *t = NULL;
    kw_delete_topics_response_topic_init(ret);
    struct meta_verdict v = find_doomed(d, name, id, &t);
    ret->name = name;
    ret->topic_id = *id;
    ret->error_code = v.error;
    ret->error_message = v.message;
    if (v.error != KW_NONE)
        return;
    KB_ASSERT(t != NULL);
    /* The image may be replayed before the answer is written: copy. */
    ret->name = kw_str_of(kb_arena_printf(d->arena, "%s", t->name));
    ret->topic_id = t->id;
    Kc__TopicRemoveRecord gone = KC__TOPIC_REMOVE_RECORD__INIT;
    gone.has_topic_id = 1;
    gone.topic_id = kc_uuid_field(&t->id);
    Kc__Record record = KC__RECORD__INIT;
    record.kind_case = KC__RECORD__KIND_TOPIC_REMOVE;
    record.topic_remove = &gone;
    meta_records_add(&d->result->records, &record);
}

int meta_controller_delete_topics(struct meta_controller *c, int16_t version,
                                  const struct kw_delete_topics_request *req,
                                  struct kb_arena *arena, struct meta_result *result,
                                  struct kw_delete_topics_response *ret)
{
    static const struct kb_uuid none;
    int32_t asked = version >= 6 ? req->topics_count : req->topic_names_count;
    size_t count = asked > 0 ? (size_t)asked : 0;
    struct deletion d = {.c = c, .arena = arena, .result = result};
    kw_delete_topics_response_init(ret);
    ret->responses = kb_arena_new_array(arena, struct kw_delete_topics_response_topic, count);
    if (ret->responses == NULL)
        return -KB_ENOMEM;
    ret->responses_count = (int32_t)count;
    for (size_t i = 0; i < count && !arena->failed; i++) {
        if (version >= 6)
            delete_one(&d, req->topics[i].name, &req->topics[i].topic_id, &ret->responses[i]);
        else
            delete_one(&d, req->topic_names[i], &none, &ret->responses[i]);
    }
    kb_map_release(&d.seen);
    return arena->failed ? -KB_ENOMEM : 0;
}

/* ---- CreatePartitions ---------------------------------------------------------------------------
 */

struct growth {
    struct meta_controller *c;
    struct kb_arena *arena;
    struct meta_placer *placer;
    const struct kw_create_partitions_request_topic *req;
    const struct meta_topic *topic;
    size_t more;
    size_t rf;
    int32_t *replicas; /* more * rf */
};

static struct meta_verdict check_growth(struct growth *g)
{
    const struct meta_topic *t = g->topic;
    if (g->req->count <= (int32_t)t->partitions_count)
        return meta_refuse(g->arena, KW_INVALID_PARTITIONS,
                           "topic \"%s\" has %zu partitions already; the number can only grow",
                           t->name, t->partitions_count);
    if (g->req->count > META_PARTITIONS_MAX)
        return meta_refuse(g->arena, KW_INVALID_PARTITIONS, "a topic has at most %d partitions",
                           META_PARTITIONS_MAX);
    g->more = (size_t)g->req->count - t->partitions_count;
    g->rf = t->partitions[0]->replicas_count;
    if (g->req->assignments_count >= 0 && (size_t)g->req->assignments_count != g->more)
        return meta_refuse(g->arena, KW_INVALID_REPLICA_ASSIGNMENT,
                           "%zu partitions are new, but %d assignments are given", g->more,
                           g->req->assignments_count);
    return meta_fine();
}

static struct meta_verdict take_assignments(struct growth *g)
{
    for (size_t i = 0; i < g->more; i++) {
        const struct kw_create_partitions_request_assignment *a = &g->req->assignments[i];
        struct meta_verdict v = meta_check_assignment(g->c, g->arena,
                                                      (int32_t)(g->topic->partitions_count + i),
                                                      a->broker_ids, a->broker_ids_count);
        if (v.error != KW_NONE)
            return v;
        if ((size_t)a->broker_ids_count != g->rf)
            return meta_refuse(g->arena, KW_INVALID_REPLICA_ASSIGNMENT,
                               "all partitions of \"%s\" need %zu replicas", g->topic->name, g->rf);
        memcpy(&g->replicas[i * g->rf], a->broker_ids, g->rf * sizeof(int32_t));
    }
    return meta_fine();
}

static struct meta_verdict grow_one(struct growth *g, size_t made_before)
{
    struct meta_verdict v = check_growth(g);
    if (v.error != KW_NONE)
        return v;
    if (made_before + g->more > META_REQUEST_PARTITIONS_MAX)
        return meta_refuse(g->arena, KW_POLICY_VIOLATION,
                           "one request can create %d partitions; send several",
                           META_REQUEST_PARTITIONS_MAX);
    g->replicas = kb_arena_new_array(g->arena, int32_t, g->more * g->rf);
    if (g->replicas == NULL)
        return meta_refuse(g->arena, KW_POLICY_VIOLATION, "the request is too large");
    if (g->req->assignments_count > 0)
        return take_assignments(g);
    if (meta_place(g->placer, g->more, g->rf, g->replicas) < 0)
        return meta_refuse(g->arena, KW_INVALID_REPLICATION_FACTOR,
                           "\"%s\" has %zu replicas per partition, and not that many nodes are "
                           "there",
                           g->topic->name, g->rf);
    return meta_fine();
}

static size_t create_partitions_of(struct growth *g, struct meta_names *seen, size_t made_before,
                                   bool validate_only, struct meta_result *result,
                                   struct kw_create_partitions_response_result *ret)
{
    struct meta_verdict v;
    g->topic = meta_find_topic(g->c->image, g->req->name);
    if (!meta_names_add(seen, g->req->name))
        v = meta_refuse(g->arena, KW_INVALID_REQUEST, "the request names this topic twice");
    else if (g->topic == NULL)
        v = meta_unknown_topic(g->arena, g->req->name);
    else
        v = grow_one(g, made_before);
    ret->name = g->req->name;
    if (v.error == KW_NONE && !validate_only) {
        size_t before = result->records.count;
        for (size_t i = 0; i < g->more; i++)
            meta_emit_new_partition(g->c, result, &g->topic->id,
                                    (int32_t)(g->topic->partitions_count + i),
                                    &g->replicas[i * g->rf], g->rf);
        if (meta_records_bytes(&result->records) > META_PLAN_BYTES_MAX) {
            meta_records_truncate(&result->records, before);
            v = meta_refuse(g->arena, KW_POLICY_VIOLATION,
                            "the request is too large; send several");
        }
    }
    ret->error_code = v.error;
    ret->error_message = v.message;
    return v.error == KW_NONE ? g->more : 0;
}

int meta_controller_create_partitions(struct meta_controller *c,
                                      const struct kw_create_partitions_request *req,
                                      struct kb_arena *arena, struct meta_result *result,
                                      struct kw_create_partitions_response *ret)
{
    size_t count = req->topics_count > 0 ? (size_t)req->topics_count : 0;
    size_t made = 0;
    struct meta_names seen = {0};
    kw_create_partitions_response_init(ret);
    ret->results = kb_arena_new_array(arena, struct kw_create_partitions_response_result, count);
    if (ret->results == NULL)
        return -KB_ENOMEM;
    ret->results_count = (int32_t)count;
    struct meta_placer *placer = meta_placer_new(c);
    for (size_t i = 0; i < count && !arena->failed; i++) {
        struct growth g = {.c = c, .arena = arena, .placer = placer, .req = &req->topics[i]};
        kw_create_partitions_response_result_init(&ret->results[i]);
        made += create_partitions_of(&g, &seen, made, req->validate_only, result, &ret->results[i]);
    }
    (void)meta_placer_free(placer);
    meta_names_release(&seen);
    return arena->failed ? -KB_ENOMEM : 0;
}
