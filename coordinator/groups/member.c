/* The live members of a group. */
#include "coordinator/groups/internal.h"
#include "proto/base/mutant.h"

struct group_member *group_member_find(const struct group *g, struct kw_str id)
{
    struct group_member *m = NULL;
    if (id.data != NULL)
        HASH_FIND(hh, g->members, id.data, (size_t)id.size, m);
    return m;
}

struct group_member *group_member_find_static(const struct group *g, struct kw_str instance_id)
{
    struct group_member *m = NULL;
    if (instance_id.data != NULL)
        HASH_FIND(hh_instance, g->statics, instance_id.data, (size_t)instance_id.size, m);
    return m;
}

size_t group_members_count(const struct group *g)
{
    return HASH_COUNT(g->members);
}

enum kw_error group_member_check(const struct group *g, struct kw_str id, struct kw_str instance_id)
{
    if (instance_id.data != NULL) {
        const struct group_member *m = group_member_find_static(g, instance_id);
        if (m == NULL)
            return KW_UNKNOWN_MEMBER_ID;
        if (!kw_str_equal(m->id, id))
            return KW_FENCED_INSTANCE_ID;
    }
    return group_member_find(g, id) != NULL ? KW_NONE : KW_UNKNOWN_MEMBER_ID;
}

/* ---- protocols
 * ------------------------------------------------------------------------------- */

size_t group_protocols_bytes(const struct kw_join_group_request *req)
{
    size_t bytes = 0;
    for (int32_t i = 0; i < req->protocols_count; i++)
        bytes += sizeof(struct group_protocol) + (size_t)req->protocols[i].name.size +
                 (size_t)req->protocols[i].metadata.size;
    return bytes;
}

static void protocols_release(struct group_member *m)
{
    for (size_t i = 0; i < m->protocols_count; i++) {
        group_str_free(&m->protocols[i].name);
        free((void *)m->protocols[i].metadata.data);
    }
    m->group->shard->bytes -= m->protocols_bytes;
    m->group->protocols_bytes -= m->protocols_bytes;
    m->protocols = kb_free(m->protocols);
    m->protocols_count = 0;
    m->protocols_bytes = 0;
}

static void protocols_set(struct group_member *m, const struct kw_join_group_request *req)
{
    protocols_release(m);
    m->protocols = kb_new_array(struct group_protocol, (size_t)req->protocols_count);
    m->protocols_count = (size_t)req->protocols_count;
    for (size_t i = 0; i < m->protocols_count; i++) {
        struct kw_bytes metadata = req->protocols[i].metadata;
        m->protocols[i].name = group_str_dup(req->protocols[i].name);
        m->protocols[i].metadata = kw_bytes_of(kb_memdup(metadata.data, (size_t)metadata.size),
                                               (size_t)metadata.size);
    }
    m->protocols_bytes = group_protocols_bytes(req);
    m->group->shard->bytes += m->protocols_bytes;
    m->group->protocols_bytes += m->protocols_bytes;
}

const struct group_protocol *group_member_protocol(const struct group_member *m, struct kw_str name)
{
    for (size_t i = 0; i < m->protocols_count; i++) {
        if (kw_str_equal(m->protocols[i].name, name))
            return &m->protocols[i];
    }
    return NULL;
}

bool group_member_matches(const struct group_member *m, const struct kw_join_group_request *req)
{
    if (m->protocols_count != (size_t)req->protocols_count)
        return false;
    for (size_t i = 0; i < m->protocols_count; i++) {
        if (!kw_str_equal(m->protocols[i].name, req->protocols[i].name) ||
            !kb_view_equal(kw_bytes_view(m->protocols[i].metadata),
                           kw_bytes_view(req->protocols[i].metadata)))
            return false;
    }
    return true;
}

static bool all_support(const struct group *g, struct kw_str name)
{
    for (const struct group_member *m = g->members; m != NULL; m = m->hh.next) {
        if (group_member_protocol(m, name) == NULL)
            return false;
    }
    return true;
}

bool group_supports(const struct group *g, const struct kw_join_group_request *req)
{
    if (g->state == GROUP_EMPTY)
        return req->protocol_type.size > 0 && req->protocols_count > 0;
    if (!kw_str_equal(g->protocol_type, req->protocol_type))
        return false;
    for (int32_t i = 0; i < req->protocols_count; i++) {
        if (all_support(g, req->protocols[i].name))
            return true;
    }
    return false;
}

/* The first of m's protocols that all members have: its vote. */
static struct kw_str vote_of(const struct group_member *m, const struct group_member *first,
                             const bool *common)
{
    for (size_t i = 0; i < m->protocols_count; i++) {
        for (size_t k = 0; k < first->protocols_count; k++) {
            if (common[k] && kw_str_equal(m->protocols[i].name, first->protocols[k].name))
                return first->protocols[k].name;
        }
    }
    return kw_str_null();
}

struct kw_str group_select_protocol(const struct group *g)
{
    const struct group_member *first = g->members;
    struct kw_str best = kw_str_null();
    size_t best_votes = 0;
    if (first == NULL)
        return best;
    bool *common = kb_new_array(bool, first->protocols_count);
    size_t *votes = kb_new_array(size_t, first->protocols_count);
    for (size_t k = 0; k < first->protocols_count; k++)
        common[k] = all_support(g, first->protocols[k].name);
    for (const struct group_member *m = first; m != NULL; m = m->hh.next) {
        struct kw_str vote = vote_of(m, first, common);
        for (size_t k = 0; k < first->protocols_count; k++) {
            if (!kw_str_equal(first->protocols[k].name, vote))
                continue;
            votes[k]++;
            break;
        }
    }
    for (size_t k = 0; k < first->protocols_count; k++) {
        if (votes[k] > best_votes) {
            best_votes = votes[k];
            best = first->protocols[k].name;
        }
    }
    (void)kb_free(common);
    (void)kb_free(votes);
    return best;
}

int32_t group_rebalance_timeout_ms(const struct group *g)
{
    int32_t most = 0;
    for (const struct group_member *m = g->members; m != NULL; m = m->hh.next)
        most = m->rebalance_timeout_ms > most ? m->rebalance_timeout_ms : most;
    return most;
}

/* ---- coming and going
 * ------------------------------------------------------------------------- */

static size_t member_bytes(const struct group_member *m)
{
    return sizeof(*m) +
           (size_t)(m->id.size + m->instance_id.size + m->client_id.size + m->client_host.size);
}

static void insert(struct group *g, struct group_member *m)
{
    m->group = g;
    HASH_ADD_KEYPTR(hh, g->members, m->id.data, (size_t)m->id.size, m);
    if (m->instance_id.data != NULL)
        HASH_ADD_KEYPTR(hh_instance, g->statics, m->instance_id.data, (size_t)m->instance_id.size,
                        m);
    if (g->leader == NULL)
        g->leader = m;
    g->shard->members_count++;
    g->shard->bytes += member_bytes(m);
}

void group_member_update(struct group_member *m, int16_t version,
                         const struct kw_join_group_request *req)
{
    protocols_set(m, req);
    m->session_timeout_ms = req->session_timeout_ms;
    m->rebalance_timeout_ms = version >= 1 && req->rebalance_timeout_ms >= 0
                                  ? req->rebalance_timeout_ms
                                  : req->session_timeout_ms;
}

struct group_member *group_member_add(struct group *g, struct kw_str id,
                                      const struct group_caller *caller,
                                      const struct kw_join_group_request *req)
{
    struct group_member *m = kb_new(struct group_member);
    m->id = group_str_dup(id);
    m->instance_id = group_str_dup(req->group_instance_id);
    m->client_id = group_str_dup(caller->client_id.data != NULL ? caller->client_id : KW_STR(""));
    m->client_host = group_str_dup(caller->client_host);
    m->is_new = true;
    if (g->members == NULL) {
        group_str_free(&g->protocol_type);
        g->protocol_type = group_str_dup(req->protocol_type);
    }
    insert(g, m);
    group_member_update(m, caller->version, req);
    return m;
}

struct group_member *group_member_load(struct group *g, const struct group_image_member *from)
{
    struct kw_join_group_request_protocol protocol = {.name = g->image->protocol,
                                                      .metadata = from->subscription};
    struct kw_join_group_request req;
    struct group_member *m = kb_new(struct group_member);
    kw_join_group_request_init(&req);
    m->id = group_str_dup(from->id);
    m->instance_id = group_str_dup(from->instance_id);
    m->client_id = group_str_dup(from->client_id);
    m->client_host = group_str_dup(from->client_host);
    insert(g, m);
    req.protocols = &protocol;
    req.protocols_count = g->image->protocol.data != NULL ? 1 : 0;
    protocols_set(m, &req);
    m->session_timeout_ms = from->session_timeout_ms;
    m->rebalance_timeout_ms = from->rebalance_timeout_ms;
    return m;
}

static void answer_parked(struct group_member *m, enum kw_error error, struct group_effects *fx)
{
    uint64_t token = group_member_unpark(m, GROUP_REPLY_JOIN);
    if (token != 0)
        group_reply_join_error(fx, token, m->id, error);
    token = group_member_unpark(m, GROUP_REPLY_SYNC);
    if (token != 0)
        group_reply_sync_error(fx, token, error);
}

static void take_out(struct group_member *m)
{
    struct group *g = m->group;
    g->shard->bytes -= member_bytes(m);
    g->shard->members_count--;
    HASH_DEL(g->members, m);
    if (m->instance_id.data != NULL)
        HASH_DELETE(hh_instance, g->statics, m);
}

void group_member_remove(struct group_member *m, enum kw_error error, struct group_effects *fx)
{
    struct group *g = m->group;
    answer_parked(m, error, fx);
    if (m->joining)
        g->joining_count--;
    take_out(m);
    if (g->leader == m)
        g->leader = g->members;
    protocols_release(m);
    group_str_free(&m->id);
    group_str_free(&m->instance_id);
    group_str_free(&m->client_id);
    group_str_free(&m->client_host);
    (void)kb_free(m);
}

void group_member_replace(struct group_member *m, struct kw_str new_id,
                          const struct group_caller *caller, struct group_effects *fx)
{
    struct group *g = m->group;
    bool leads = g->leader == m;
    answer_parked(m, KW_FENCED_INSTANCE_ID, fx);
    take_out(m);
    group_str_free(&m->id);
    group_str_free(&m->client_id);
    group_str_free(&m->client_host);
    m->id = group_str_dup(new_id);
    m->client_id = group_str_dup(caller->client_id.data != NULL ? caller->client_id : KW_STR(""));
    m->client_host = group_str_dup(caller->client_host);
    if (leads)
        g->leader = m;
    insert(g, m);
}

/* ---- waiting
 * --------------------------------------------------------------------------------- */

bool group_member_waits(const struct group_member *m)
{
    return !m->is_new && (m->join_token != 0 || m->sync_token != 0);
}

void group_member_session_restart(struct group_member *m, struct group_now now)
{
    uint32_t ms = m->is_new ? m->group->shard->options.new_member_join_ms
                            : (uint32_t)m->session_timeout_ms;
    m->session_deadline_ms = now.mono_ms + (KB_MUTANT("session-cut-short") ? ms / 4 : ms);
    group_heap_want(m->group, m->session_deadline_ms);
}

void group_member_park(struct group_member *m, enum group_reply_kind kind, uint64_t token,
                       struct group_effects *fx)
{
    struct group *g = m->group;
    struct group_parked *p = kb_new(struct group_parked);
    uint64_t former = group_member_unpark(m, kind);
    if (former != 0 && kind == GROUP_REPLY_JOIN)
        group_reply_join_error(fx, former, m->id, KW_REBALANCE_IN_PROGRESS);
    else if (former != 0)
        group_reply_sync_error(fx, former, KW_REBALANCE_IN_PROGRESS);
    p->member = m;
    p->kind = kind;
    struct group_parked *taken = kb_map_put(&g->shard->parked, token, p);
    KB_ASSERT(taken == NULL);
    if (kind == GROUP_REPLY_SYNC) {
        m->sync_token = token;
        return;
    }
    m->join_token = token;
    if (!m->joining)
        g->joining_count++;
    m->joining = true;
}

uint64_t group_member_unpark(struct group_member *m, enum group_reply_kind kind)
{
    uint64_t *slot = kind == GROUP_REPLY_JOIN ? &m->join_token : &m->sync_token;
    uint64_t token = *slot;
    *slot = 0;
    if (token != 0)
        (void)kb_free(kb_map_remove(&m->group->shard->parked, token));
    return token;
}

/* ---- member ids handed out
 * ------------------------------------------------------------------- */

struct group_pending *group_pending_find(const struct group *g, struct kw_str id)
{
    struct group_pending *p = NULL;
    if (id.data != NULL)
        HASH_FIND(hh, g->pending, id.data, (size_t)id.size, p);
    return p;
}

void group_pending_add(struct group *g, struct kw_str id, uint64_t deadline_ms)
{
    struct group_pending *p = kb_new(struct group_pending);
    p->id = group_str_dup(id);
    p->deadline_ms = deadline_ms;
    HASH_ADD_KEYPTR(hh, g->pending, p->id.data, (size_t)p->id.size, p);
    g->shard->pending_count++;
    g->shard->bytes += sizeof(*p) + (size_t)p->id.size;
    group_heap_want(g, deadline_ms);
}

void group_pending_remove(struct group *g, struct group_pending *p)
{
    HASH_DEL(g->pending, p);
    g->shard->pending_count--;
    g->shard->bytes -= sizeof(*p) + (size_t)p->id.size;
    group_str_free(&p->id);
    (void)kb_free(p);
}

void group_live_release(struct group *g, enum kw_error error, struct group_effects *fx)
{
    while (g->members != NULL)
        group_member_remove(g->members, error, fx);
    while (g->pending != NULL)
        group_pending_remove(g, g->pending);
}
