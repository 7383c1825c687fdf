/* Records and replies of a call. */
#include "coordinator/groups/internal.h"

struct group_record_span {
    size_t key_start;
    size_t key_size;
    size_t value_size;
    bool tombstone;
};

struct group_reply *group_reply_free(struct group_reply *r)
{
    if (r == NULL)
        return NULL;
    kb_arena_release(&r->arena);
    return kb_free(r);
}

void group_replies_free(struct group_replies *replies)
{
    struct group_reply *r = NULL;
    while ((r = TAILQ_FIRST(replies)) != NULL) {
        TAILQ_REMOVE(replies, r, entries);
        (void)group_reply_free(r);
    }
}

void group_effects_init(struct group_effects *fx)
{
    *fx = (struct group_effects){0};
    TAILQ_INIT(&fx->replies);
}

void group_effects_clear(struct group_effects *fx)
{
    group_replies_free(&fx->replies);
    fx->records_count = 0;
    fx->bytes_.size = 0;
}

void group_effects_release(struct group_effects *fx)
{
    group_effects_clear(fx);
    kb_buf_release(&fx->bytes_);
    fx->spans_ = kb_free(fx->spans_);
    fx->spans_capacity_ = 0;
}

void group_effects_record(const struct group_effects *fx, size_t index, struct kb_view *ret_key,
                          struct kb_view *ret_value)
{
    KB_ASSERT(index < fx->records_count);
    const struct group_record_span *span = &fx->spans_[index];
    const uint8_t *key = fx->bytes_.data + span->key_start;
    *ret_key = kb_view_of(key, span->key_size);
    *ret_value = span->tombstone ? kb_view_of(NULL, 0)
                                 : kb_view_of(key + span->key_size, span->value_size);
}

size_t group_effects_bytes(const struct group_effects *fx)
{
    return fx->bytes_.size;
}

void group_effects_add(struct group_effects *fx, struct kb_chain *record, size_t key_size,
                       bool tombstone)
{
    kb_array_reserve(fx->spans_, fx->records_count, fx->spans_capacity_);
    fx->spans_[fx->records_count++] = (struct group_record_span){
        .key_start = fx->bytes_.size,
        .key_size = key_size,
        .value_size = (size_t)record->size - key_size,
        .tombstone = tombstone,
    };
    for (size_t i = 0; i < record->count; i++) {
        const struct kb_slice *s = &record->slices[i];
        kb_buf_append(&fx->bytes_, s->block->data + s->position, (size_t)s->size);
    }
    kb_chain_release(record);
}

/* ---- replies
 * --------------------------------------------------------------------------------- */

struct group_reply *group_reply_new(struct group_effects *fx, enum group_reply_kind kind,
                                    uint64_t token)
{
    struct group_reply *r = kb_new(struct group_reply);
    r->token = token;
    r->kind = kind;
    kb_arena_init(&r->arena, SIZE_MAX / 2);
    kw_join_group_response_init(&r->join);
    kw_sync_group_response_init(&r->sync);
    r->join.leader = KW_STR("");
    r->join.member_id = KW_STR("");
    r->sync.assignment = kw_bytes_of("", 0);
    TAILQ_INSERT_TAIL(&fx->replies, r, entries);
    return r;
}

struct kw_str group_reply_str(struct group_reply *r, struct kw_str s)
{
    if (s.data == NULL)
        return s;
    s.data = kb_arena_strndup(&r->arena, s.data, (size_t)s.size);
    KB_ASSERT(s.data != NULL);
    return s;
}

struct kw_bytes group_reply_bytes(struct group_reply *r, struct kw_bytes b)
{
    if (b.size == 0)
        return kw_bytes_of("", 0);
    b.data = kb_arena_memdup(&r->arena, b.data, (size_t)b.size);
    KB_ASSERT(b.data != NULL);
    return b;
}

void group_reply_join_error(struct group_effects *fx, uint64_t token, struct kw_str member_id,
                            enum kw_error error)
{
    if (fx == NULL)
        return;
    struct group_reply *r = group_reply_new(fx, GROUP_REPLY_JOIN, token);
    r->join.error_code = (int16_t)error;
    r->join.member_id = group_reply_str(r, member_id);
}

void group_reply_sync_error(struct group_effects *fx, uint64_t token, enum kw_error error)
{
    if (fx == NULL)
        return;
    struct group_reply *r = group_reply_new(fx, GROUP_REPLY_SYNC, token);
    r->sync.error_code = (int16_t)error;
}
