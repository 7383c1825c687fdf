/* DescribeGroups, ListGroups, DeleteGroups, and the dump for tests and people. */
#include "coordinator/groups/internal.h"

#include <stdlib.h>
#include <strings.h>

static int keep(struct kb_arena *arena, struct kw_str *s)
{
    if (s->data == NULL || s->size == 0)
        return 0;
    s->data = kb_arena_strndup(arena, s->data, (size_t)s->size);
    return s->data != NULL ? 0 : -KB_ENOMEM;
}

static int keep_bytes(struct kb_arena *arena, struct kw_bytes *b)
{
    if (b->size == 0) {
        *b = kw_bytes_of("", 0);
        return 0;
    }
    b->data = kb_arena_memdup(arena, b->data, (size_t)b->size);
    return b->data != NULL ? 0 : -KB_ENOMEM;
}

/* ---- DescribeGroups
 * -------------------------------------------------------------------------- */

static int describe_unknown(int16_t version, struct kb_arena *arena,
                            struct kw_describe_groups_response_group *ret)
{
    ret->group_state = KW_STR("Dead");
    if (version < 6)
        return 0;
    char *text = kb_arena_printf(arena, "Group %.*s not found.", ret->group_id.size,
                                 ret->group_id.data);
    if (text == NULL)
        return -KB_ENOMEM;
    ret->error_code = KW_GROUP_ID_NOT_FOUND;
    ret->error_message = kw_str_of(text);
    return 0;
}

static int describe_member(const struct group_member *m, bool stable, struct kb_arena *arena,
                           struct kw_describe_groups_response_member *ret)
{
    const struct group_image_member *im = stable ? group_image_member(m->group, m->id) : NULL;
    kw_describe_groups_response_member_init(ret);
    ret->member_id = m->id;
    ret->group_instance_id = m->instance_id;
    ret->client_id = m->client_id;
    ret->client_host = m->client_host;
    ret->member_metadata = im != NULL ? im->subscription : kw_bytes_of("", 0);
    ret->member_assignment = im != NULL ? im->assignment : kw_bytes_of("", 0);
    return keep(arena, &ret->member_id) | keep(arena, &ret->group_instance_id) |
           keep(arena, &ret->client_id) | keep(arena, &ret->client_host) |
           keep_bytes(arena, &ret->member_metadata) | keep_bytes(arena, &ret->member_assignment);
}

int group_shard_describe(struct group_shard *s, int16_t version, struct kw_str group_id,
                         struct kb_arena *arena, struct kw_describe_groups_response_group *ret)
{
    const struct group *g = group_find(s, group_id);
    group_handler_begin(s);
    kw_describe_groups_response_group_init(ret);
    ret->group_id = group_id;
    if (g == NULL)
        return describe_unknown(version, arena, ret);
    bool stable = g->state == GROUP_STABLE;
    ret->group_state = kw_str_of(group_state_name(g->state));
    ret->protocol_type = g->protocol_type.data != NULL ? g->protocol_type : KW_STR("");
    ret->protocol_data = stable ? g->image->protocol : KW_STR("");
    ret->members = kb_arena_new_array(arena, struct kw_describe_groups_response_member,
                                      group_members_count(g));
    if (ret->members == NULL || keep(arena, &ret->protocol_type) < 0 ||
        keep(arena, &ret->protocol_data) < 0)
        return -KB_ENOMEM;
    for (const struct group_member *m = g->members; m != NULL; m = m->hh.next) {
        if (describe_member(m, stable, arena, &ret->members[ret->members_count++]) < 0)
            return -KB_ENOMEM;
    }
    return 0;
}

/* ---- ListGroups
 * ------------------------------------------------------------------------------ */

static bool passes(const struct kw_str *filter, int32_t count, const char *name)
{
    for (int32_t i = 0; i < count; i++) {
        if ((size_t)filter[i].size == strlen(name) &&
            strncasecmp(filter[i].data, name, strlen(name)) == 0)
            return true;
    }
    return count <= 0;
}

int group_shard_list(struct group_shard *s, const struct kw_list_groups_request *req,
                     struct kb_arena *arena, struct kw_list_groups_response_group **groups,
                     int32_t *count)
{
    const struct group *g = NULL;
    size_t total = (size_t)*count + HASH_COUNT(s->groups);
    struct kw_list_groups_response_group *all =
        kb_arena_new_array(arena, struct kw_list_groups_response_group, total);
    group_handler_begin(s);
    if (all == NULL)
        return -KB_ENOMEM;
    if (*count > 0)
        memcpy(all, *groups, (size_t)*count * sizeof(all[0]));
    *groups = all;
    if (!passes(req->types_filter, req->types_filter_count, "classic"))
        return 0;
    TAILQ_FOREACH(g, &s->list, entries)
    {
        const char *state = group_state_name(g->state);
        struct kw_list_groups_response_group *to = &all[*count];
        if (!passes(req->states_filter, req->states_filter_count, state))
            continue;
        kw_list_groups_response_group_init(to);
        to->group_id = g->id;
        to->protocol_type = g->protocol_type.data != NULL ? g->protocol_type : KW_STR("");
        to->group_state = kw_str_of(state);
        to->group_type = KW_STR("classic");
        if (keep(arena, &to->group_id) < 0 || keep(arena, &to->protocol_type) < 0)
            return -KB_ENOMEM;
        ++*count;
    }
    return 0;
}

/* ---- DeleteGroups
 * ---------------------------------------------------------------------------- */

enum kw_error group_shard_delete(struct group_shard *s, struct kw_str group_id,
                                 struct group_effects *fx)
{
    struct group *g = group_find(s, group_id);
    group_handler_begin(s);
    if (g == NULL)
        return KW_GROUP_ID_NOT_FOUND;
    if (g->state != GROUP_EMPTY)
        return KW_NON_EMPTY_GROUP;
    while (g->pending != NULL)
        group_pending_remove(g, g->pending);
    group_record_offsets_tombstones(g, fx);
    if (g->image != NULL)
        group_record_metadata_tombstone(g, fx);
    group_drop_if_nothing(g);
    return KW_NONE;
}

/* ---- dump
 * ------------------------------------------------------------------------------------ */

static void put_hex(struct kb_buf *b, const char *name, struct kw_bytes v)
{
    kb_buf_printf(b, " %s=", name);
    for (int32_t i = 0; i < v.size; i++)
        kb_buf_printf(b, "%02x", v.data[i]);
}

static void put_text(struct kb_buf *b, const char *name, struct kw_str v)
{
    if (v.data == NULL)
        kb_buf_printf(b, " %s=null", name);
    else
        kb_buf_printf(b, " %s=\"%.*s\"", name, v.size, v.data);
}

static void dump_image(const struct group_image *im, struct kb_buf *b)
{
    kb_buf_printf(b, " generation=%d since=%lld", im->generation, (long long)im->state_wall_ms);
    put_text(b, "type", im->protocol_type);
    put_text(b, "protocol", im->protocol);
    put_text(b, "leader", im->leader);
    kb_buf_append_str(b, "\n");
    for (const struct group_image_member *m = im->members; m != NULL; m = m->hh.next) {
        kb_buf_append_str(b, "  member");
        put_text(b, "id", m->id);
        put_text(b, "instance", m->instance_id);
        put_text(b, "client", m->client_id);
        put_text(b, "host", m->client_host);
        kb_buf_printf(b, " session=%d rebalance=%d", m->session_timeout_ms,
                      m->rebalance_timeout_ms);
        put_hex(b, "subscription", m->subscription);
        put_hex(b, "assignment", m->assignment);
        kb_buf_append_str(b, "\n");
    }
}

static int compare_names(struct kw_str a, struct kw_str b)
{
    int32_t size = a.size < b.size ? a.size : b.size;
    int c = memcmp(a.data, b.data, (size_t)size);
    return c != 0 ? c : a.size - b.size;
}

static int compare_topics(const void *a, const void *b)
{
    const struct group_topic *const *x = a;
    const struct group_topic *const *y = b;
    return compare_names((*x)->name, (*y)->name);
}

static int compare_groups(const void *a, const void *b)
{
    const struct group *const *x = a;
    const struct group *const *y = b;
    return compare_names((*x)->id, (*y)->id);
}

static void dump_offsets(const struct group *g, struct kb_buf *b)
{
    size_t count = HASH_COUNT(g->topics);
    const struct group_topic **topics = kb_new_array(const struct group_topic *, count);
    size_t n = 0;
    for (const struct group_topic *t = g->topics; t != NULL; t = t->hh.next)
        topics[n++] = t;
    qsort(topics, n, sizeof(topics[0]), compare_topics);
    for (size_t i = 0; i < n; i++) {
        for (size_t k = 0; k < topics[i]->count; k++) {
            const struct group_offset *o = &topics[i]->offsets[k];
            kb_buf_printf(b, "  offset %.*s-%d=%lld epoch=%d commit=%lld expire=%lld",
                          topics[i]->name.size, topics[i]->name.data, o->partition,
                          (long long)o->offset, o->leader_epoch, (long long)o->commit_wall_ms,
                          (long long)o->expire_wall_ms);
            put_text(b, "metadata", o->metadata);
            kb_buf_append_str(b, "\n");
        }
    }
    (void)kb_free(topics);
}

void group_shard_dump(const struct group_shard *s, struct kb_buf *ret)
{
    const struct group *g = NULL;
    size_t n = 0;
    const struct group **groups = kb_new_array(const struct group *, HASH_COUNT(s->groups));
    TAILQ_FOREACH(g, &s->list, entries)
    {
        if (g->image != NULL || g->offsets_count > 0)
            groups[n++] = g;
    }
    qsort(groups, n, sizeof(groups[0]), compare_groups);
    for (size_t i = 0; i < n; i++) {
        kb_buf_printf(ret, "group \"%.*s\"", groups[i]->id.size, groups[i]->id.data);
        if (groups[i]->image != NULL)
            dump_image(groups[i]->image, ret);
        else
            kb_buf_append_str(ret, "\n");
        dump_offsets(groups[i], ret);
    }
    (void)kb_free(groups);
}
