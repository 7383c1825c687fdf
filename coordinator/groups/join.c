/* JoinGroup. */
#include "coordinator/groups/internal.h"
#include "proto/base/mutant.h"

/* One call: who asks, for what. */
struct join {
    struct group_shard *shard;
    struct group *group;
    struct group_now now;
    const struct group_caller *caller;
    const struct kw_join_group_request *req;
    struct group_effects *fx;
};

static void refuse(struct join *j, struct kw_str member_id, enum kw_error error)
{
    group_reply_join_error(j->fx, j->caller->token, member_id, error);
}

static bool is_static(const struct join *j)
{
    return j->req->group_instance_id.data != NULL;
}

/* CLIENT-uuid, or INSTANCE-uuid. Released by the caller. */
static struct kw_str new_member_id(struct join *j)
{
    struct kw_str prefix = is_static(j) ? j->req->group_instance_id : j->caller->client_id;
    struct kb_uuid u;
    uint8_t random[16];
    uint64_t a = kb_prng_next(&j->shard->prng);
    uint64_t b = kb_prng_next(&j->shard->prng);
    memcpy(random, &a, 8);
    memcpy(random + 8, &b, 8);
    kb_uuid_from_random(&u, random);
    const uint8_t *x = u.bytes;
    int size = prefix.data != NULL ? prefix.size : 0;
    char *text = kb_asprintf(
        "%.*s-%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x",
        size < 1000 ? size : 1000, prefix.data != NULL ? prefix.data : "", x[0], x[1], x[2], x[3],
        x[4], x[5], x[6], x[7], x[8], x[9], x[10], x[11], x[12], x[13], x[14], x[15]);
    return kw_str_of(text);
}

/* ---- room
 * ------------------------------------------------------------------------------------ */

static bool accepts(const struct join *j)
{
    const struct group *g = j->group;
    const struct group_member *m = group_member_find(g, j->req->member_id);
    uint32_t max = j->shard->options.members_max;
    switch (g->state) {
    case GROUP_EMPTY:
        return true;
    case GROUP_PREPARING:
        return (m != NULL && m->joining) || g->joining_count < max;
    case GROUP_COMPLETING:
    case GROUP_STABLE:
        return m != NULL || group_members_count(g) < max ||
               group_member_find_static(g, j->req->group_instance_id) != NULL;
    case GROUP_STATE_COUNT_:
        break;
    }
    return false;
}

static enum kw_error check_room(const struct join *j)
{
    struct group_shard *s = j->shard;
    const struct group_member *m = group_member_find(j->group, j->req->member_id);
    size_t bytes = group_protocols_bytes(j->req);
    size_t others = j->group->protocols_bytes - (m != NULL ? m->protocols_bytes : 0);
    if (!accepts(j) || bytes > s->options.group_bytes_max ||
        others > s->options.group_bytes_max - bytes)
        return KW_GROUP_MAX_SIZE_REACHED;
    /* Protocols are kept twice: of the live member and of the image. */
    if (!group_has_room(s, 2 * bytes + 1024) ||
        s->parked.count + s->pending_count >= s->options.parked_max)
        return KW_COORDINATOR_NOT_AVAILABLE;
    return KW_NONE;
}

/* Kafka's way with a group that is full: whoever was on its way in is out. */
static void turn_away(struct join *j, enum kw_error error)
{
    struct group *g = j->group;
    struct group_pending *p = group_pending_find(g, j->req->member_id);
    struct group_member *m = group_member_find(g, j->req->member_id);
    refuse(j, j->req->member_id, error);
    if (error != KW_GROUP_MAX_SIZE_REACHED)
        return;
    if (p != NULL)
        group_pending_remove(g, p);
    if (m != NULL)
        group_member_remove(m, KW_UNKNOWN_MEMBER_ID, j->fx);
    if (p != NULL || m != NULL)
        group_member_gone(g, j->now, "the group is full", j->fx);
}

/* ---- coming in
 * ------------------------------------------------------------------------------- */

static void wait_for_generation(struct join *j, struct group_member *m, const char *reason)
{
    group_member_park(m, GROUP_REPLY_JOIN, j->caller->token, j->fx);
    group_rebalance(j->group, j->now, reason, j->fx);
    group_settle(j->group, j->now, j->fx);
}

static void add_member(struct join *j, struct kw_str member_id)
{
    struct group *g = j->group;
    struct group_pending *p = group_pending_find(g, member_id);
    struct group_member *m = group_member_add(g, member_id, j->caller, j->req);
    if (p != NULL)
        group_pending_remove(g, p);
    if (g->state == GROUP_PREPARING && g->initial)
        g->new_member_added = true;
    group_member_session_restart(m, j->now);
    wait_for_generation(j, m, "a member joins");
}

static void rejoin(struct join *j, struct group_member *m, const char *reason)
{
    group_member_update(m, j->caller->version, j->req);
    wait_for_generation(j, m, reason);
}

/* The generation goes on: tell the member what it is. */
static void answer_present(struct join *j, struct group_member *m, bool with_members)
{
    m->is_new = false;
    (void)group_answer_join(m, j->caller->token, group_generation(j->group),
                            j->group->image->protocol, with_members, j->fx);
    group_member_session_restart(m, j->now);
}

/* ---- a static member that comes back without its id (KIP-345)
 * --------------------------------- */

/* In a stable group nobody else notices: the new id takes the old one's place in the record. */
static void replace_stable(struct join *j, struct group_member *m, struct kw_str old_id,
                           struct kw_str old_leader)
{
    struct group *g = j->group;
    const struct group_image *im = g->image;
    bool leads = g->leader == m;
    struct group_record_source source = {.assignments = GROUP_ASSIGN_IMAGE,
                                         .replaced_id = old_id,
                                         .new_id = m->id,
                                         .generation = im->generation,
                                         .protocol = im->protocol,
                                         .wall_ms = im->state_wall_ms};
    group_record_metadata(g, &source, j->fx);
    struct group_reply *r = group_answer_join(m, j->caller->token, im->generation, im->protocol,
                                              leads && j->caller->version >= 9, j->fx);
    if (j->caller->version >= 9)
        r->join.skip_assignment = leads;
    else
        r->join.leader = group_reply_str(r, old_leader); /* so that it does not assign */
}

static void replace_static(struct join *j, struct group_member *m, struct kw_str new_id)
{
    struct group *g = j->group;
    struct kw_str old_id = group_str_dup(m->id);
    struct kw_str old_leader = group_str_dup(g->leader->id);
    struct kw_str protocol;
    group_member_replace(m, new_id, j->caller, j->fx);
    group_member_update(m, j->caller->version, j->req);
    m->is_new = false;
    m->pending_sync = false;
    group_member_session_restart(m, j->now);
    protocol = group_select_protocol(g);
    if (g->state == GROUP_STABLE && kw_str_equal(protocol, g->image->protocol) &&
        !KB_MUTANT("static-member-rebalances"))
        replace_stable(j, m, old_id, old_leader);
    else
        wait_for_generation(j, m, "a static member came back");
    group_str_free(&old_id);
    group_str_free(&old_leader);
}

/* ---- the two ways to ask
 * --------------------------------------------------------------------- */

static void join_without_id(struct join *j)
{
    struct group *g = j->group;
    struct group_member *known = group_member_find_static(g, j->req->group_instance_id);
    struct kw_str id = new_member_id(j);
    if (known != NULL) {
        replace_static(j, known, id);
    } else if (!is_static(j) && j->caller->version >= 4) {
        group_pending_add(g, id, j->now.mono_ms + (uint32_t)j->req->session_timeout_ms);
        refuse(j, id, KW_MEMBER_ID_REQUIRED);
    } else {
        add_member(j, id);
    }
    group_str_free(&id);
}

static void join_with_id(struct join *j)
{
    struct group *g = j->group;
    struct kw_str id = j->req->member_id;
    struct group_member *m = group_member_find(g, id);
    enum kw_error error = group_member_check(g, id, j->req->group_instance_id);
    bool same = m != NULL && group_member_matches(m, j->req);
    if (group_pending_find(g, id) != NULL && !is_static(j)) {
        add_member(j, id);
        return;
    }
    if (error != KW_NONE) {
        refuse(j, id, error);
        return;
    }
    switch (g->state) {
    case GROUP_PREPARING:
        rejoin(j, m, "a member joins again");
        return;
    case GROUP_COMPLETING:
        /* It did not get the answer: the same again. */
        if (same)
            answer_present(j, m, g->leader == m);
        else
            rejoin(j, m, "a member's metadata changed");
        return;
    case GROUP_STABLE:
        /* A leader that joins wants new assignments. */
        if (same && g->leader != m)
            answer_present(j, m, false);
        else
            rejoin(j, m, g->leader == m ? "the leader joins again" : "a member's metadata changed");
        return;
    case GROUP_EMPTY:
    case GROUP_STATE_COUNT_:
        break;
    }
    refuse(j, id, KW_UNKNOWN_MEMBER_ID);
}

static enum kw_error check_request(const struct join *j)
{
    const struct group_options *o = &j->shard->options;
    int32_t session_ms = j->req->session_timeout_ms;
    if (!group_id_valid(j->req->group_id))
        return KW_INVALID_GROUP_ID;
    if (session_ms < 0 || (uint32_t)session_ms < o->session_min_ms ||
        (uint32_t)session_ms > o->session_max_ms)
        return KW_INVALID_SESSION_TIMEOUT;
    if (j->req->protocols_count > (int32_t)o->protocols_max)
        return KW_INCONSISTENT_GROUP_PROTOCOL;
    if (group_find(j->shard, j->req->group_id) == NULL && j->req->member_id.size > 0)
        return KW_UNKNOWN_MEMBER_ID;
    return KW_NONE;
}

void group_shard_join(struct group_shard *s, struct group_now now,
                      const struct group_caller *caller, const struct kw_join_group_request *req,
                      struct group_effects *fx)
{
    struct join j = {.shard = s, .now = now, .caller = caller, .req = req, .fx = fx};
    group_handler_begin(s);
    enum kw_error error = check_request(&j);
    if (error == KW_NONE) {
        j.group = group_find_or_add(s, req->group_id);
        error = j.group == NULL ? KW_COORDINATOR_NOT_AVAILABLE : KW_NONE;
    }
    if (error != KW_NONE) {
        refuse(&j, req->member_id, error);
        return;
    }
    error = check_room(&j);
    if (error != KW_NONE)
        turn_away(&j, error);
    else if (!group_supports(j.group, req))
        refuse(&j, req->member_id, KW_INCONSISTENT_GROUP_PROTOCOL);
    else if (req->member_id.size == 0)
        join_without_id(&j);
    else
        join_with_id(&j);
    group_drop_if_nothing(j.group);
}
