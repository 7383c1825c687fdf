/* ElectLeaders: preferred leaders, and unclean elections, which need their partitions named. */
#include <stdlib.h>

#include "coordinator/metadata/admin_private.h"
#include "proto/base/err.h"
#include "proto/base/map.h"

enum { ELECT_PREFERRED = 0, ELECT_UNCLEAN = 1 };

struct election {
    struct meta_plan plan;
    struct kb_arena *arena;
    int8_t type;
    struct kb_map seen; /* verdicts (arena) on partitions already taken, by address */
};

static struct meta_verdict elect_preferred(struct election *e, const struct meta_partition *p)
{
    int32_t preferred = p->replicas[0];
    struct meta_change ch;
    if (p->leader == preferred)
        return meta_refuse(e->arena, KW_ELECTION_NOT_NEEDED, "broker %d leads already", preferred);
    meta_change_begin(&ch, p);
    if (!meta_plan_fit(&e->plan, preferred))
        return meta_refuse(e->arena, KW_PREFERRED_LEADER_NOT_AVAILABLE,
                           "broker %d, the preferred leader, is not running", preferred);
    if (meta_partition_in_isr(p, preferred)) {
        ch.leader = preferred;
    } else {
        meta_elect(&ch, &e->plan);
        if (ch.leader != preferred)
            return meta_refuse(e->arena, KW_PREFERRED_LEADER_NOT_AVAILABLE,
                               "broker %d, the preferred leader, is not in sync", preferred);
    }
    (void)meta_change_emit(&ch, &e->plan);
    return meta_fine();
}

static struct meta_verdict elect_unclean(struct election *e, const struct meta_partition *p)
{
    struct meta_change ch;
    if (p->leader >= 0 && meta_plan_live(&e->plan, p->leader))
        return meta_refuse(e->arena, KW_ELECTION_NOT_NEEDED, "broker %d leads it", p->leader);
    meta_change_begin(&ch, p);
    if (!meta_elect_unclean(&ch, &e->plan))
        return meta_refuse(e->arena, KW_ELIGIBLE_LEADERS_NOT_AVAILABLE,
                           "none of its replicas is running");
    (void)meta_change_emit(&ch, &e->plan);
    return meta_fine();
}

static struct meta_verdict elect_one(struct election *e, const struct meta_partition *p)
{
    struct meta_verdict *v = kb_map_get(&e->seen, (uint64_t)(uintptr_t)p);
    if (v != NULL)
        return *v; /* named again: elected once, answered as before */
    v = kb_arena_new(e->arena, struct meta_verdict);
    if (v == NULL || meta_plan_full(&e->plan))
        return meta_refuse(e->arena, KW_POLICY_VIOLATION, "the request is too large; send several");
    *v = e->type == ELECT_PREFERRED ? elect_preferred(e, p) : elect_unclean(e, p);
    (void)kb_map_put(&e->seen, (uint64_t)(uintptr_t)p, v);
    return *v;
}

static void answer(struct kw_elect_leaders_response_partition *ret, int32_t partition,
                   struct meta_verdict v)
{
    kw_elect_leaders_response_partition_init(ret);
    ret->partition_id = partition;
    ret->error_code = v.error;
    ret->error_message = v.message;
}

static void elect_named(struct election *e,
                        const struct kw_elect_leaders_request_topic_partition *req,
                        struct kw_elect_leaders_response_topic *ret)
{
    size_t count = req->partitions_count > 0 ? (size_t)req->partitions_count : 0;
    const struct meta_topic *t = meta_find_topic(e->plan.c->image, req->topic);
    kw_elect_leaders_response_topic_init(ret);
    ret->topic = req->topic;
    ret->partition_result = kb_arena_new_array(e->arena, struct kw_elect_leaders_response_partition,
                                               count);
    if (ret->partition_result == NULL)
        return;
    ret->partition_result_count = (int32_t)count;
    for (size_t i = 0; i < count; i++) {
        const struct meta_partition *p = meta_topic_partition(t, req->partitions[i]);
        struct meta_verdict v;
        if (t == NULL)
            v = meta_unknown_topic(e->arena, req->topic);
        else if (p == NULL)
            v = meta_refuse(e->arena, KW_UNKNOWN_TOPIC_OR_PARTITION,
                            "topic \"%s\" has no partition %d", t->name, req->partitions[i]);
        else
            v = elect_one(e, p);
        answer(&ret->partition_result[i], req->partitions[i], v);
    }
}

int meta_refuse_elections(const struct kw_elect_leaders_request *req, struct kb_arena *arena,
                          int16_t error, const char *text, struct kw_elect_leaders_response *ret)
{
    struct meta_verdict v = {error, kw_str_of(text)};
    bool named = req->topic_partitions != NULL && req->topic_partitions_count > 0;
    size_t topics = named ? (size_t)req->topic_partitions_count : 0;
    kw_elect_leaders_response_init(ret);
    ret->error_code = error;
    ret->replica_election_results =
        kb_arena_new_array(arena, struct kw_elect_leaders_response_topic, topics);
    if (ret->replica_election_results == NULL)
        return -KB_ENOMEM;
    for (size_t i = 0; i < topics; i++) {
        const struct kw_elect_leaders_request_topic_partition *q = &req->topic_partitions[i];
        struct kw_elect_leaders_response_topic *w = &ret->replica_election_results[i];
        kw_elect_leaders_response_topic_init(w);
        w->topic = q->topic;
        w->partition_result = kb_arena_new_array(arena, struct kw_elect_leaders_response_partition,
                                                 (size_t)q->partitions_count);
        if (w->partition_result == NULL)
            return -KB_ENOMEM;
        for (int32_t k = 0; k < q->partitions_count; k++)
            answer(&w->partition_result[w->partition_result_count++], q->partitions[k], v);
        ret->replica_election_results_count++;
    }
    return 0;
}

/* All partitions; those that need nothing are left out of the answer. */
static int elect_everywhere(struct election *e, struct kw_elect_leaders_response *ret)
{
    const struct meta_image *image = e->plan.c->image;
    ret->replica_election_results =
        kb_arena_new_array(e->arena, struct kw_elect_leaders_response_topic, image->topics_count);
    if (ret->replica_election_results == NULL)
        return -KB_ENOMEM;
    for (size_t i = 0; i < image->topics_count; i++) {
        const struct meta_topic *t = image->topics[i];
        struct kw_elect_leaders_response_topic out;
        kw_elect_leaders_response_topic_init(&out);
        out.topic = kw_str_of(t->name);
        out.partition_result = kb_arena_new_array(
            e->arena, struct kw_elect_leaders_response_partition, t->partitions_count);
        if (out.partition_result == NULL)
            return -KB_ENOMEM;
        for (size_t k = 0; k < t->partitions_count; k++) {
            const struct meta_partition *p = t->partitions[k];
            if (p->leader == p->replicas[0])
                continue;
            answer(&out.partition_result[out.partition_result_count++], p->index, elect_one(e, p));
        }
        if (out.partition_result_count > 0)
            ret->replica_election_results[ret->replica_election_results_count++] = out;
    }
    return 0;
}

int meta_controller_elect_leaders(struct meta_controller *c, uint64_t now_ms, int16_t version,
                                  const struct kw_elect_leaders_request *req,
                                  struct kb_arena *arena, struct meta_result *result,
                                  struct kw_elect_leaders_response *ret)
{
    struct election e = {.plan = meta_plan_make(c, now_ms, result),
                         .arena = arena,
                         .type = version >= 1 ? req->election_type : ELECT_PREFERRED};
    int r = 0;
    kw_elect_leaders_response_init(ret);
    bool all = req->topic_partitions == NULL || req->topic_partitions_count < 0;
    if ((e.type != ELECT_PREFERRED && e.type != ELECT_UNCLEAN) ||
        (all && e.type == ELECT_UNCLEAN)) {
        /* Losing data needs the partitions' names (R16). */
        return meta_refuse_elections(req, arena, KW_INVALID_REQUEST,
                                     all ? "an unclean election needs its partitions named"
                                         : "the type of election is not known",
                                     ret);
    }
    if (all) {
        r = elect_everywhere(&e, ret);
    } else {
        size_t count = (size_t)req->topic_partitions_count;
        ret->replica_election_results =
            kb_arena_new_array(arena, struct kw_elect_leaders_response_topic, count);
        ret->replica_election_results_count = ret->replica_election_results != NULL ? (int32_t)count
                                                                                    : 0;
        for (size_t i = 0; i < count && !arena->failed; i++)
            elect_named(&e, &req->topic_partitions[i], &ret->replica_election_results[i]);
    }
    kb_map_release(&e.seen);
    return r < 0 || arena->failed ? -KB_ENOMEM : 0;
}
