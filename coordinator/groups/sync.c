/* SyncGroup, Heartbeat, LeaveGroup, and clients that went away. */
#include "coordinator/groups/internal.h"
#include "proto/base/mutant.h"

/* ---- SyncGroup
 * ------------------------------------------------------------------------------- */

static void answer_sync(const struct group *g, uint64_t token, struct kw_bytes assignment,
                        struct group_effects *fx)
{
    struct group_reply *r = group_reply_new(fx, GROUP_REPLY_SYNC, token);
    r->sync.protocol_type = group_reply_str(r, g->protocol_type);
    r->sync.protocol_name = group_reply_str(r, g->image->protocol);
    r->sync.assignment = group_reply_bytes(r, assignment);
}

static bool differs(struct kw_str asked, struct kw_str is)
{
    return asked.data != NULL && !kw_str_equal(asked, is);
}

static enum kw_error check_sync(const struct group *g, const struct kw_sync_group_request *req)
{
    enum kw_error error = group_member_check(g, req->member_id, req->group_instance_id);
    if (error != KW_NONE)
        return error;
    if (req->generation_id != group_generation(g) && !KB_MUTANT("stale-generation-syncs"))
        return KW_ILLEGAL_GENERATION;
    if (differs(req->protocol_type, g->protocol_type) ||
        (g->image != NULL && differs(req->protocol_name, g->image->protocol)))
        return KW_INCONSISTENT_GROUP_PROTOCOL;
    return g->state == GROUP_PREPARING ? KW_REBALANCE_IN_PROGRESS : KW_NONE;
}

static size_t assignments_bytes(const struct kw_sync_group_request *req)
{
    size_t bytes = 0;
    for (int32_t i = 0; i < req->assignments_count; i++)
        bytes += (size_t)(req->assignments[i].member_id.size + req->assignments[i].assignment.size);
    return bytes;
}

/* What the leader sends is the generation's; members it left out have nothing. */
static void assign(struct group *g, struct group_now now, const struct kw_sync_group_request *req,
                   struct group_effects *fx)
{
    struct group_member *m = NULL;
    struct group_record_source source = {.assignments = GROUP_ASSIGN_FRESH,
                                         .generation = g->image->generation,
                                         .protocol = g->image->protocol,
                                         .wall_ms = now.wall_ms};
    for (m = g->members; m != NULL; m = m->hh.next)
        m->fresh_assignment = kw_bytes_of("", 0);
    for (int32_t i = 0; i < req->assignments_count; i++) {
        m = group_member_find(g, req->assignments[i].member_id);
        if (m != NULL)
            m->fresh_assignment =
                req->assignments[KB_MUTANT("assignment-of-another") ? 0 : i].assignment;
    }
    group_set_state(g, GROUP_STABLE);
    group_record_metadata(g, &source, fx);
    for (m = g->members; m != NULL; m = m->hh.next) {
        uint64_t token = group_member_unpark(m, GROUP_REPLY_SYNC);
        if (token != 0) {
            answer_sync(g, token, m->fresh_assignment, fx);
            group_member_session_restart(m, now);
        }
        m->fresh_assignment = kw_bytes_of(NULL, 0);
    }
}

static void sync_completing(struct group_member *m, struct group_now now, uint64_t token,
                            const struct kw_sync_group_request *req, struct group_effects *fx)
{
    struct group *g = m->group;
    size_t bytes = assignments_bytes(req);
    group_sync_received(m);
    if (g->leader == m &&
        (bytes > g->shard->options.group_bytes_max || !group_has_room(g->shard, bytes))) {
        /* As Kafka when the record is too large: everybody starts over. */
        group_reply_sync_error(fx, token, KW_UNKNOWN_SERVER_ERROR);
        group_member_session_restart(m, now);
        group_rebalance(g, now, "the assignments are too large", fx);
        return;
    }
    group_member_park(m, GROUP_REPLY_SYNC, token, fx);
    if (g->leader == m)
        assign(g, now, req, fx);
}

void group_shard_sync(struct group_shard *s, struct group_now now,
                      const struct group_caller *caller, const struct kw_sync_group_request *req,
                      struct group_effects *fx)
{
    const struct group *g = group_find(s, req->group_id);
    enum kw_error error = KW_UNKNOWN_MEMBER_ID;
    group_handler_begin(s);
    if (!group_id_valid(req->group_id))
        error = KW_INVALID_GROUP_ID;
    else if (g != NULL)
        error = check_sync(g, req);
    if (error == KW_NONE && s->parked.count >= s->options.parked_max)
        error = KW_COORDINATOR_NOT_AVAILABLE;
    if (error != KW_NONE) {
        group_reply_sync_error(fx, caller->token, error);
        return;
    }
    struct group_member *m = group_member_find(g, req->member_id);
    if (g->state == GROUP_COMPLETING) {
        sync_completing(m, now, caller->token, req, fx);
        return;
    }
    KB_ASSERT(g->state == GROUP_STABLE);
    group_sync_received(m);
    answer_sync(g, caller->token,
                group_image_member(g, KB_MUTANT("assignment-of-leader") ? g->leader->id : m->id)
                    ->assignment,
                fx);
    group_member_session_restart(m, now);
}

/* ---- Heartbeat
 * ------------------------------------------------------------------------------- */

enum kw_error group_shard_heartbeat(struct group_shard *s, struct group_now now,
                                    const struct kw_heartbeat_request *req)
{
    const struct group *g = group_find(s, req->group_id);
    group_handler_begin(s);
    if (!group_id_valid(req->group_id))
        return KW_INVALID_GROUP_ID;
    if (g == NULL)
        return KW_UNKNOWN_MEMBER_ID;
    enum kw_error error = group_member_check(g, req->member_id, req->group_instance_id);
    if (KB_MUTANT("duplicate-instance-served") && error == KW_FENCED_INSTANCE_ID)
        return KW_NONE;
    if (error != KW_NONE)
        return error;
    if (req->generation_id != group_generation(g) && !KB_MUTANT("stale-generation-beats"))
        return KW_ILLEGAL_GENERATION;
    group_member_session_restart(group_member_find(g, req->member_id), now);
    return g->state == GROUP_PREPARING ? KW_REBALANCE_IN_PROGRESS : KW_NONE;
}

/* ---- LeaveGroup
 * ------------------------------------------------------------------------------ */

/* *ret_gone: the rest of the group must be told. */
static enum kw_error leave_one(struct group *g, struct kw_str id, struct kw_str instance_id,
                               struct group_effects *fx, bool *ret_gone)
{
    struct group_member *m = NULL;
    struct group_pending *p = group_pending_find(g, id);
    if (id.size == 0) {
        /* An administrator names a static member by its instance. */
        m = group_member_find_static(g, instance_id);
        if (m == NULL)
            return KW_UNKNOWN_MEMBER_ID;
    } else if (p != NULL) {
        group_pending_remove(g, p);
        *ret_gone = true;
        return KW_NONE;
    } else {
        enum kw_error error = group_member_check(g, id, instance_id);
        if (error != KW_NONE)
            return error;
        m = group_member_find(g, id);
    }
    group_member_remove(m, KW_UNKNOWN_MEMBER_ID, fx);
    *ret_gone = true;
    return KW_NONE;
}

static void leave_all(struct group *g, struct group_now now, int16_t version,
                      const struct kw_leave_group_request *req, struct kw_leave_group_response *ret,
                      struct group_effects *fx)
{
    bool gone = false;
    if (version < 3) {
        ret->error_code = (int16_t)(g != NULL
                                        ? leave_one(g, req->member_id, kw_str_null(), fx, &gone)
                                        : KW_UNKNOWN_MEMBER_ID);
    }
    for (int32_t i = 0; i < ret->members_count; i++) {
        const struct kw_leave_group_request_member *q = &req->members[i];
        struct kw_leave_group_response_member *a = &ret->members[i];
        kw_leave_group_response_member_init(a);
        a->member_id = q->member_id;
        a->group_instance_id = q->group_instance_id;
        a->error_code = (int16_t)(g != NULL
                                      ? leave_one(g, q->member_id, q->group_instance_id, fx, &gone)
                                      : KW_UNKNOWN_MEMBER_ID);
    }
    if (gone) {
        group_member_gone(g, now, "members leave", fx);
        group_drop_if_nothing(g);
    }
}

int group_shard_leave(struct group_shard *s, struct group_now now, int16_t version,
                      const struct kw_leave_group_request *req, struct kb_arena *arena,
                      struct kw_leave_group_response *ret, struct group_effects *fx)
{
    group_handler_begin(s);
    kw_leave_group_response_init(ret);
    if (!group_id_valid(req->group_id)) {
        ret->error_code = KW_INVALID_GROUP_ID;
        return 0;
    }
    if (version >= 3) {
        ret->members = kb_arena_new_array(arena, struct kw_leave_group_response_member,
                                          (size_t)req->members_count);
        if (ret->members == NULL)
            return -KB_ENOMEM;
        ret->members_count = req->members_count;
    }
    leave_all(group_find(s, req->group_id), now, version, req, ret, fx);
    return 0;
}

/* ---- a connection closed
 * --------------------------------------------------------------------- */

void group_shard_forget(struct group_shard *s, struct group_now now, uint64_t token,
                        struct group_effects *fx)
{
    struct group_parked *p = kb_map_get(&s->parked, token);
    (void)fx;
    if (p == NULL)
        return;
    struct group_member *m = p->member;
    if (p->kind == GROUP_REPLY_JOIN) {
        /* It has not joined this rebalance after all; it may come back. */
        m->joining = false;
        m->group->joining_count--;
        m->is_new = false;
    }
    (void)group_member_unpark(m, p->kind);
    group_member_session_restart(m, now);
}
