/* A shard: its groups, their timers, what is parked. */
#include "coordinator/groups/internal.h"

enum { TICK_GROUPS_MAX = 64 }; /* groups whose timers run in one call */

void group_options_init(struct group_options *o)
{
    *o = (struct group_options){
        .session_min_ms = 6000,
        .session_max_ms = 1800000,
        .initial_delay_ms = 100,
        .new_member_join_ms = 300000,
        .members_max = INT32_MAX,
        .offset_retention_ms = 7ULL * 24 * 3600 * 1000,
        .expiry_interval_ms = 600000,
        .offset_metadata_max = 4096,
        .group_bytes_max = 8U << 20,
        .shard_bytes_max = 256U << 20,
        .commit_bytes_max = 16U << 20,
        .groups_max = 100000,
        .parked_max = 20000,
        .protocols_max = 100,
    };
}

struct group_shard *group_shard_new(const struct group_options *options)
{
    struct group_shard *s = kb_new(struct group_shard);
    s->options = *options;
    kb_prng_init(&s->prng, options->seed);
    TAILQ_INIT(&s->list);
    s->expiry_deadline_ms = UINT64_MAX;
    return s;
}

struct kw_str group_str_dup(struct kw_str s)
{
    if (s.data != NULL)
        s.data = kb_strndup(s.data, (size_t)s.size);
    return s;
}

void group_str_free(struct kw_str *s)
{
    free((void *)s->data);
    *s = kw_str_null();
}

bool group_id_valid(struct kw_str id)
{
    return id.data != NULL && id.size > 0;
}

/* ---- groups
 * ---------------------------------------------------------------------------------- */

struct group *group_find(struct group_shard *s, struct kw_str id)
{
    struct group *g = NULL;
    if (id.data != NULL)
        HASH_FIND(hh, s->groups, id.data, (size_t)id.size, g);
    return g;
}

struct group *group_add(struct group_shard *s, struct kw_str id)
{
    struct group *g = group_find(s, id);
    if (g != NULL)
        return g;
    g = kb_new(struct group);
    g->shard = s;
    g->id = group_str_dup(id);
    g->state = GROUP_EMPTY;
    g->join_deadline_ms = UINT64_MAX;
    g->sync_deadline_ms = UINT64_MAX;
    g->deadline_ms = UINT64_MAX;
    g->heap_index = SIZE_MAX;
    HASH_ADD_KEYPTR(hh, s->groups, g->id.data, (size_t)g->id.size, g);
    TAILQ_INSERT_TAIL(&s->list, g, entries);
    s->bytes += sizeof(*g) + (size_t)g->id.size;
    return g;
}

struct group *group_find_or_add(struct group_shard *s, struct kw_str id)
{
    struct group *g = group_find(s, id);
    if (g == NULL && HASH_COUNT(s->groups) >= s->options.groups_max)
        return NULL;
    return g != NULL ? g : group_add(s, id);
}

static void group_free(struct group *g, enum kw_error error, struct group_effects *fx)
{
    struct group_shard *s = g->shard;
    group_live_release(g, error, fx);
    group_image_release(g);
    group_heap_set(g, UINT64_MAX);
    if (s->expiry_next == g)
        s->expiry_next = TAILQ_NEXT(g, entries);
    HASH_DEL(s->groups, g);
    TAILQ_REMOVE(&s->list, g, entries);
    s->bytes -= sizeof(*g) + (size_t)g->id.size;
    group_str_free(&g->protocol_type);
    group_str_free(&g->id);
    (void)kb_free(g);
}

void group_drop_if_nothing(struct group *g)
{
    if (g->image == NULL && g->offsets_count == 0 && g->members == NULL && g->pending == NULL &&
        g->state == GROUP_EMPTY)
        group_free(g, KW_NONE, NULL);
}

struct group_shard *group_shard_free(struct group_shard *s, enum kw_error error,
                                     struct group_effects *fx)
{
    if (s == NULL)
        return NULL;
    while (!TAILQ_EMPTY(&s->list))
        group_free(TAILQ_FIRST(&s->list), error, fx);
    KB_ASSERT(s->parked.count == 0);
    KB_ASSERT(s->bytes == 0);
    group_charge(s);
    kb_map_release(&s->parked);
    group_heap_release(s);
    return kb_free(s);
}

void group_handler_begin(struct group_shard *s)
{
    KB_ASSERT(s->loaded);
    KB_ASSERT(s->owed_records == 0); /* the last call's records were not replayed */
    group_charge(s);
}

void group_charge(struct group_shard *s)
{
    struct group_memory *m = s->options.memory;
    if (m == NULL)
        return;
    KB_ASSERT(m->used_bytes >= s->charged_bytes);
    m->used_bytes = m->used_bytes - s->charged_bytes + s->bytes;
    s->charged_bytes = s->bytes;
}

bool group_has_room(struct group_shard *s, size_t bytes)
{
    const struct group_memory *m = s->options.memory;
    size_t limit = s->options.shard_bytes_max;
    group_charge(s);
    if (m != NULL && (m->used_bytes >= m->limit_bytes || bytes >= m->limit_bytes - m->used_bytes))
        return false;
    return s->bytes < limit && bytes < limit - s->bytes;
}

/* ---- time
 * ------------------------------------------------------------------------------------ */

void group_shard_loaded(struct group_shard *s, struct group_now now, struct group_effects *fx)
{
    struct group *g = NULL;
    KB_ASSERT(!s->loaded);
    s->loaded = true;
    s->owed_records = 0;
    /* Topics may have been deleted while nobody coordinated: the first pass is due at once. */
    s->expiry_deadline_ms = now.mono_ms;
    if (s->options.topic == NULL)
        s->expiry_deadline_ms += s->options.expiry_interval_ms;
    TAILQ_FOREACH(g, &s->list, entries)
    {
        group_start(g, now, fx);
    }
    group_charge(s);
}

void group_shard_tick(struct group_shard *s, struct group_now now, struct group_effects *fx)
{
    struct group *g = NULL;
    group_handler_begin(s);
    /* Before the timers: a group that these make empty tells since when only after replay. */
    group_expiry_tick(s, now, fx);
    for (int i = 0; i < TICK_GROUPS_MAX; i++) {
        g = group_heap_first(s);
        if (g == NULL || g->deadline_ms > now.mono_ms)
            break;
        group_timers_run(g, now, fx);
        group_drop_if_nothing(g);
    }
}

uint64_t group_shard_deadline(const struct group_shard *s)
{
    const struct group *g = group_heap_first(s);
    uint64_t d = g != NULL ? g->deadline_ms : UINT64_MAX;
    return d < s->expiry_deadline_ms ? d : s->expiry_deadline_ms;
}

void group_shard_stats(const struct group_shard *s, struct group_shard_stats *ret)
{
    *ret = (struct group_shard_stats){
        .groups = HASH_COUNT(s->groups),
        .members = s->members_count,
        .offsets = s->offsets_count,
        .parked = s->parked.count,
        .bytes = s->bytes,
    };
}
