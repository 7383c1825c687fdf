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
    int16_t version;
    size_t count;
    struct kw_delete_topics_request_topic *asked; /* of every version */
    const enum meta_mention *by_name;
    const enum meta_mention *by_id;
    struct kb_map mentioned; /* topics, by address; the deletion itself: more than once */
};

static bool is_by_id(const struct kw_delete_topics_request_topic *q)
{
    return !kb_uuid_is_zero(&q->topic_id);
}

static const struct meta_topic *find_asked(const struct deletion *d, size_t i)
{
    const struct kw_delete_topics_request_topic *q = &d->asked[i];
    return is_by_id(q) ? meta_image_topic_by_id(d->c->image, &q->topic_id)
                       : meta_find_topic(d->c->image, q->name);
}

/* A topic mentioned by its name and by its id, or by an id given twice, is mentioned twice too. */
static void find_mentioned(struct deletion *d)
{
    for (size_t i = 0; i < d->count; i++) {
        const struct meta_topic *t = find_asked(d, i);
        bool both = is_by_id(&d->asked[i]) && d->asked[i].name.data != NULL;
        if (t == NULL || both || d->by_name[i] != META_MENTION_ONCE)
            continue;
        uint64_t key = (uint64_t)(uintptr_t)t;
        if (kb_map_put(&d->mentioned, key, &d->asked[i]) != NULL ||
            d->by_id[i] != META_MENTION_ONCE)
            (void)kb_map_put(&d->mentioned, key, d);
    }
}

static struct meta_verdict find_doomed(struct deletion *d, size_t i, const struct meta_topic **ret)
{
    const struct kw_delete_topics_request_topic *q = &d->asked[i];
    bool by_id = is_by_id(q);
    if (!d->c->config.delete_topic_enable)
        return meta_refuse(d->arena,
                           d->version >= 3 ? KW_TOPIC_DELETION_DISABLED : KW_INVALID_REQUEST,
                           "topics cannot be deleted here: delete.topic.enable is false");
    if (by_id == (q->name.data != NULL))
        return meta_refuse(d->arena, KW_INVALID_REQUEST, "give the name of a topic or its id, %s",
                           by_id ? "not both" : "not neither");
    if (d->by_name[i] != META_MENTION_ONCE || d->by_id[i] != META_MENTION_ONCE)
        return meta_refuse(d->arena, KW_INVALID_REQUEST, "the request names this topic twice");
    *ret = find_asked(d, i);
    if (*ret == NULL && by_id)
        return meta_refuse(d->arena, KW_UNKNOWN_TOPIC_ID, "no topic has this id");
    if (*ret == NULL)
        return meta_unknown_topic(d->arena, q->name);
    if (kb_map_get(&d->mentioned, (uint64_t)(uintptr_t)*ret) == d)
        return meta_refuse(d->arena, KW_INVALID_REQUEST,
                           "the request gives both the name and the id of this topic");
    return meta_fine();
}

static void delete_one(struct deletion *d, size_t i, struct kw_delete_topics_response_topic *ret)
{
    const struct meta_topic *t = NULL;
    kw_delete_topics_response_topic_init(ret);
    struct meta_verdict v = find_doomed(d, i, &t);
    ret->name = d->asked[i].name;
    ret->topic_id = d->asked[i].topic_id;
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

/* The topics in one form, and how often each is mentioned. */
static int deletion_begin(struct deletion *d, const struct kw_delete_topics_request *req)
{
    bool states = d->version >= 6;
    int32_t count = states ? req->topics_count : req->topic_names_count;
    d->count = count > 0 ? (size_t)count : 0;
    d->asked = kb_arena_new_array(d->arena, struct kw_delete_topics_request_topic, d->count);
    struct kw_str *names = kb_arena_new_array(d->arena, struct kw_str, d->count);
    struct kw_str *ids = kb_arena_new_array(d->arena, struct kw_str, d->count);
    if (d->asked == NULL || names == NULL || ids == NULL)
        return -KB_ENOMEM;
    for (size_t i = 0; i < d->count; i++) {
        struct kw_delete_topics_request_topic *q = &d->asked[i];
        kw_delete_topics_request_topic_init(q);
        if (states)
            *q = req->topics[i];
        else
            q->name = req->topic_names[i];
        bool by_id = is_by_id(q);
        names[i] = by_id ? kw_str_null() : q->name;
        ids[i] = by_id && q->name.data == NULL
                     ? (struct kw_str){(const char *)q->topic_id.bytes, sizeof(q->topic_id.bytes)}
                     : kw_str_null();
    }
    d->by_name = meta_mentions(d->arena, names, d->count);
    d->by_id = meta_mentions(d->arena, ids, d->count);
    return d->by_name != NULL && d->by_id != NULL ? 0 : -KB_ENOMEM;
}

int meta_controller_delete_topics(struct meta_controller *c, int16_t version,
                                  const struct kw_delete_topics_request *req,
                                  struct kb_arena *arena, struct meta_result *result,
                                  struct kw_delete_topics_response *ret)
{
    struct deletion d = {.c = c, .arena = arena, .result = result, .version = version};
    kw_delete_topics_response_init(ret);
    if (deletion_begin(&d, req) < 0)
        return -KB_ENOMEM;
    ret->responses = kb_arena_new_array(arena, struct kw_delete_topics_response_topic, d.count);
    if (ret->responses == NULL)
        return -KB_ENOMEM;
    find_mentioned(&d);
    for (size_t i = 0; i < d.count && !arena->failed; i++) {
        if (d.by_name[i] != META_MENTION_AGAIN && d.by_id[i] != META_MENTION_AGAIN)
            delete_one(&d, i, &ret->responses[ret->responses_count++]); /* answered once */
    }
    kb_map_release(&d.mentioned);
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

static size_t create_partitions_of(struct growth *g, enum meta_mention mention, size_t made_before,
                                   bool validate_only, struct meta_result *result,
                                   struct kw_create_partitions_response_result *ret)
{
    struct meta_verdict v;
    g->topic = meta_find_topic(g->c->image, g->req->name);
    if (mention != META_MENTION_ONCE)
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
    struct kw_str *names = kb_arena_new_array(arena, struct kw_str, count);
    for (size_t i = 0; names != NULL && i < count; i++)
        names[i] = req->topics[i].name;
    const enum meta_mention *mentions = names != NULL ? meta_mentions(arena, names, count) : NULL;
    kw_create_partitions_response_init(ret);
    ret->results = kb_arena_new_array(arena, struct kw_create_partitions_response_result, count);
    if (ret->results == NULL || mentions == NULL)
        return -KB_ENOMEM;
    struct meta_placer *placer = meta_placer_new(c);
    for (size_t i = 0; i < count && !arena->failed; i++) {
        struct growth g = {.c = c, .arena = arena, .placer = placer, .req = &req->topics[i]};
        if (mentions[i] == META_MENTION_AGAIN)
            continue; /* answered once */
        struct kw_create_partitions_response_result *w = &ret->results[ret->results_count++];
        kw_create_partitions_response_result_init(w);
        made += create_partitions_of(&g, mentions[i], made, req->validate_only, result, w);
    }
    (void)meta_placer_free(placer);
    return arena->failed ? -KB_ENOMEM : 0;
}
