/* Offsets whose time is over, and those of deleted topics. Work is sliced: a pass over all groups
 * takes as many ticks as it needs. */
#include "coordinator/groups/internal.h"
#include "proto/base/mutant.h"

enum { SLICE_OFFSETS_MAX = 2000, SLICE_GROUPS_MAX = 200 };

/* From when on the retention time counts. */
enum base {
    BASE_NEVER,  /* the group is in use */
    BASE_STATE,  /* since it became empty */
    BASE_COMMIT, /* each offset since its commit */
};

static enum base base_of(const struct group *g)
{
    if (g->image == NULL && g->members == NULL)
        return BASE_COMMIT; /* a consumer that manages its partitions by itself */
    if (g->state == GROUP_EMPTY)
        return g->image != NULL && g->image->state_wall_ms >= 0 ? BASE_STATE : BASE_COMMIT;
    return g->state == GROUP_STABLE && group_is_consumer(g) ? BASE_COMMIT : BASE_NEVER;
}

static bool expired(const struct group *g, const struct group_offset *o, enum base base,
                    int64_t wall_ms)
{
    int64_t since = base == BASE_STATE ? g->image->state_wall_ms : o->commit_wall_ms;
    int64_t until = 0;
    if (o->expire_wall_ms >= 0)
        return wall_ms >= o->expire_wall_ms;
    if (__builtin_add_overflow(since, (int64_t)g->shard->options.offset_retention_ms, &until))
        return false;
    /* What was committed after the group became empty counts from then. */
    if (base == BASE_STATE && o->commit_wall_ms > since &&
        __builtin_add_overflow(o->commit_wall_ms, (int64_t)g->shard->options.offset_retention_ms,
                               &until))
        return false;
    return wall_ms >= until;
}

/* The topic these offsets were committed for: it exists, and under which id (zero: unknown). */
struct present {
    bool exists;
    struct kb_uuid id;
};

static struct present present_topic(const struct group_shard *s, struct kw_str name)
{
    struct present p = {.exists = true};
    int32_t partitions = 0;
    if (s->options.topic != NULL)
        p.exists = s->options.topic(s->options.topic_arg, &name, &p.id, &partitions);
    return p;
}

static bool orphaned(const struct present *p, const struct group_offset *o)
{
    return !p->exists || (!kb_uuid_is_zero(&p->id) && !kb_uuid_is_zero(&o->topic_id) &&
                          !kb_uuid_equal(&p->id, &o->topic_id));
}

/* Returns how many are left. */
static size_t expire_offsets(struct group *g, enum base base, int64_t wall_ms,
                             struct group_effects *fx)
{
    struct group_subscriptions subs;
    size_t left = g->offsets_count;
    group_subscriptions_init(&subs, g);
    for (const struct group_topic *t = g->topics; t != NULL; t = t->hh.next) {
        struct present present = present_topic(g->shard, t->name);
        bool kept = base == BASE_NEVER ||
                    (g->state != GROUP_EMPTY && group_subscriptions_have(&subs, t->name) &&
                     !KB_MUTANT("offsets-expire-in-use"));
        for (size_t i = 0; i < t->count; i++) {
            if (!orphaned(&present, &t->offsets[i]) &&
                (kept || !expired(g, &t->offsets[i], base, wall_ms)))
                continue;
            group_record_offset_tombstone(g, t->name, t->offsets[i].partition, fx);
            left--;
        }
    }
    group_subscriptions_release(&subs);
    return left;
}

/* An empty group without offsets goes too, when it was so for one interval. */
static void expire_group(struct group *g, struct group_now now, struct group_effects *fx)
{
    size_t left = expire_offsets(g, base_of(g), now.wall_ms, fx);
    if (left == 0 && g->image != NULL && g->state == GROUP_EMPTY && g->pending == NULL &&
        now.mono_ms - g->empty_since_ms >= g->shard->options.expiry_interval_ms) {
        kb_log_info("groups", "event=group_expired group=%.*s", g->id.size, g->id.data);
        group_record_metadata_tombstone(g, fx);
    }
}

void group_expiry_tick(struct group_shard *s, struct group_now now, struct group_effects *fx)
{
    struct group *g = s->expiry_next;
    size_t seen = 0;
    KB_ASSERT(s->owed_records == 0); /* both halves of each group tell the same state */
    if (s->expiry_deadline_ms > now.mono_ms)
        return;
    if (g == NULL)
        g = TAILQ_FIRST(&s->list);
    for (int i = 0; g != NULL && i < SLICE_GROUPS_MAX && seen < SLICE_OFFSETS_MAX; i++) {
        seen += g->offsets_count;
        expire_group(g, now, fx);
        g = TAILQ_NEXT(g, entries);
    }
    s->expiry_next = g;
    s->expiry_deadline_ms = g != NULL ? now.mono_ms : now.mono_ms + s->options.expiry_interval_ms;
}

void group_shard_topics_changed(struct group_shard *s, struct group_now now)
{
    group_handler_begin(s);
    s->expiry_next = NULL;
    s->expiry_deadline_ms = now.mono_ms;
}

void group_shard_topic_deleted(struct group_shard *s, struct kw_str name, const struct kb_uuid *id,
                               struct group_effects *fx)
{
    struct group *g = NULL;
    group_handler_begin(s);
    TAILQ_FOREACH(g, &s->list, entries)
    {
        const struct group_topic *t = group_topic_find(g, name);
        for (size_t i = 0; t != NULL && i < t->count; i++) {
            const struct group_offset *o = &t->offsets[i];
            if (kb_uuid_is_zero(id) || kb_uuid_is_zero(&o->topic_id) ||
                kb_uuid_equal(&o->topic_id, id))
                group_record_offset_tombstone(g, t->name, o->partition, fx);
        }
    }
}
