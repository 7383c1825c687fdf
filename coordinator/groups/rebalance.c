/* The states of a group and its timers. */
#include "coordinator/groups/internal.h"
#include "proto/base/mutant.h"

enum { RETRY_MS_MIN = 1000 };

const char *group_state_name(enum group_state state)
{
    static const char *const names[] = {"Empty", "PreparingRebalance", "CompletingRebalance",
                                        "Stable"};
    return (unsigned)state < GROUP_STATE_COUNT_ ? names[state] : "Dead";
}

void group_set_state(struct group *g, enum group_state to)
{
    static const bool legal[GROUP_STATE_COUNT_][GROUP_STATE_COUNT_] = {
        [GROUP_EMPTY] = {[GROUP_PREPARING] = true, [GROUP_STABLE] = true /* by a load */},
        [GROUP_PREPARING] = {[GROUP_COMPLETING] = true, [GROUP_EMPTY] = true},
        [GROUP_COMPLETING] = {[GROUP_STABLE] = true, [GROUP_PREPARING] = true},
        [GROUP_STABLE] = {[GROUP_PREPARING] = true},
    };
    KB_ASSERT(legal[g->state][to]);
    kb_log_debug("groups", "event=state group=%.*s from=%s to=%s generation=%d", g->id.size,
                 g->id.data, group_state_name(g->state), group_state_name(to), group_generation(g));
    g->state = to;
}

/* ---- the join phase begins
 * ------------------------------------------------------------------- */

/* Whoever waits for an assignment of this generation will not get one. */
static void cancel_syncs(struct group *g, struct group_now now, struct group_effects *fx)
{
    for (struct group_member *m = g->members; m != NULL; m = m->hh.next) {
        uint64_t token = group_member_unpark(m, GROUP_REPLY_SYNC);
        m->pending_sync = false;
        if (token == 0)
            continue;
        group_reply_sync_error(fx, token, KW_REBALANCE_IN_PROGRESS);
        group_member_session_restart(m, now);
    }
    g->sync_deadline_ms = UINT64_MAX;
}

static void join_timer(struct group *g, uint64_t deadline_ms)
{
    g->join_deadline_ms = deadline_ms;
    group_heap_want(g, deadline_ms);
}

void group_rebalance(struct group *g, struct group_now now, const char *reason,
                     struct group_effects *fx)
{
    uint32_t delay_ms = g->shard->options.initial_delay_ms;
    uint32_t timeout_ms = (uint32_t)group_rebalance_timeout_ms(g);
    if (g->state == GROUP_PREPARING)
        return;
    kb_log_debug("groups", "event=rebalance group=%.*s generation=%d members=%zu reason=\"%s\"",
                 g->id.size, g->id.data, group_generation(g), group_members_count(g), reason);
    cancel_syncs(g, now, fx);
    g->initial = g->state == GROUP_EMPTY;
    group_set_state(g, GROUP_PREPARING);
    g->new_member_added = false;
    if (g->initial) {
        g->initial_delay_ms = delay_ms;
        g->initial_left_ms = timeout_ms > delay_ms ? timeout_ms - delay_ms : 0;
        join_timer(g, now.mono_ms + delay_ms);
    } else {
        join_timer(g, now.mono_ms + timeout_ms);
    }
}

/* ---- the join phase ends
 * --------------------------------------------------------------------- */

static void fill_members(const struct group *g, struct kw_str protocol, struct group_reply *r)
{
    size_t count = group_members_count(g);
    r->join.members = kb_arena_new_array(&r->arena, struct kw_join_group_response_member, count);
    KB_ASSERT(r->join.members != NULL);
    for (const struct group_member *m = g->members; m != NULL; m = m->hh.next) {
        const struct group_protocol *p = group_member_protocol(m, protocol);
        struct kw_join_group_response_member *to = &r->join.members[r->join.members_count++];
        kw_join_group_response_member_init(to);
        to->member_id = group_reply_str(r, m->id);
        to->group_instance_id = group_reply_str(r, m->instance_id);
        to->metadata = group_reply_bytes(r, p != NULL ? p->metadata : kw_bytes_of("", 0));
    }
}

struct group_reply *group_answer_join(const struct group_member *m, uint64_t token,
                                      int32_t generation, struct kw_str protocol, bool with_members,
                                      struct group_effects *fx)
{
    struct group *g = m->group;
    struct group_reply *r = group_reply_new(fx, GROUP_REPLY_JOIN, token);
    r->join.generation_id = generation;
    r->join.protocol_type = group_reply_str(r, g->protocol_type);
    r->join.protocol_name = group_reply_str(r, protocol);
    r->join.leader = group_reply_str(r, g->leader != NULL ? g->leader->id : KW_STR(""));
    r->join.member_id = group_reply_str(r, m->id);
    if (with_members)
        fill_members(g, protocol, r);
    return r;
}

/* Dynamic members that did not rejoin are out; static ones stay until their session ends. */
static void drop_absent(struct group *g, struct group_effects *fx)
{
    struct group_member *m = NULL;
    struct group_member *next = NULL;
    HASH_ITER(hh, g->members, m, next)
    {
        if (!m->joining && m->instance_id.data == NULL)
            group_member_remove(m, KW_UNKNOWN_MEMBER_ID, fx);
    }
}

static bool elect_leader(struct group *g)
{
    struct group_member *m = g->members;
    if (g->leader != NULL && g->leader->joining)
        return true;
    while (m != NULL && !m->joining)
        m = m->hh.next;
    if (m != NULL)
        g->leader = m;
    return m != NULL;
}

static void become_empty(struct group *g, struct group_now now, struct group_effects *fx)
{
    struct group_record_source source = {.assignments = GROUP_ASSIGN_NONE,
                                         .generation = group_generation(g) + 1,
                                         .wall_ms = now.wall_ms};
    g->empty_since_ms = now.mono_ms;
    group_set_state(g, GROUP_EMPTY);
    if (g->image != NULL)
        group_record_metadata(g, &source, fx);
}

static void begin_generation(struct group *g, struct group_now now, struct group_effects *fx)
{
    struct kw_str protocol = group_select_protocol(g);
    struct group_record_source source = {
        .assignments = GROUP_ASSIGN_NONE,
        .generation = KB_MUTANT("generation-stays") ? group_generation(g) : group_generation(g) + 1,
        .protocol = protocol,
        .wall_ms = now.wall_ms};
    if (protocol.data == NULL)
        source.protocol = protocol = KW_STR("");
    group_set_state(g, GROUP_COMPLETING);
    group_record_metadata(g, &source, fx);
    for (struct group_member *m = g->members; m != NULL; m = m->hh.next) {
        uint64_t token = group_member_unpark(m, GROUP_REPLY_JOIN);
        m->joining = false;
        if (token == 0)
            continue; /* a static member that is away */
        (void)group_answer_join(m, token, source.generation, protocol, m == g->leader, fx);
        m->is_new = false;
        m->pending_sync = true;
        group_member_session_restart(m, now);
    }
    g->joining_count = 0;
    g->sync_deadline_ms = now.mono_ms + (uint32_t)group_rebalance_timeout_ms(g);
    group_heap_want(g, g->sync_deadline_ms);
}

static void complete_join(struct group *g, struct group_now now, struct group_effects *fx)
{
    drop_absent(g, fx);
    if (g->members != NULL && !elect_leader(g)) {
        /* Only absent static members are left: wait until they come or their sessions end. */
        int32_t timeout_ms = group_rebalance_timeout_ms(g);
        g->initial = false;
        join_timer(g,
                   now.mono_ms + (timeout_ms > RETRY_MS_MIN ? (uint32_t)timeout_ms : RETRY_MS_MIN));
        return;
    }
    g->join_deadline_ms = UINT64_MAX;
    g->initial = false;
    if (g->members == NULL)
        become_empty(g, now, fx);
    else
        begin_generation(g, now, fx);
}

void group_settle(struct group *g, struct group_now now, struct group_effects *fx)
{
    if (g->state != GROUP_PREPARING || g->initial)
        return;
    if (g->joining_count == group_members_count(g) && g->pending == NULL)
        complete_join(g, now, fx);
}

void group_member_gone(struct group *g, struct group_now now, const char *reason,
                       struct group_effects *fx)
{
    if (g->state == GROUP_STABLE || g->state == GROUP_COMPLETING)
        group_rebalance(g, now, reason, fx);
    group_settle(g, now, fx);
}

void group_sync_received(struct group_member *m)
{
    struct group *g = m->group;
    m->pending_sync = false;
    for (m = g->members; m != NULL; m = m->hh.next) {
        if (m->pending_sync)
            return;
    }
    g->sync_deadline_ms = UINT64_MAX;
}

/* ---- timers
 * ---------------------------------------------------------------------------------- */

static void expire_pending(struct group *g, uint64_t now_ms)
{
    struct group_pending *p = NULL;
    struct group_pending *next = NULL;
    HASH_ITER(hh, g->pending, p, next)
    {
        if (p->deadline_ms <= now_ms)
            group_pending_remove(g, p);
    }
}

static void expire_sessions(struct group *g, struct group_now now, struct group_effects *fx)
{
    struct group_member *m = NULL;
    struct group_member *next = NULL;
    size_t gone = 0;
    HASH_ITER(hh, g->members, m, next)
    {
        if (group_member_waits(m) || m->session_deadline_ms > now.mono_ms ||
            KB_MUTANT("dead-member-stays"))
            continue;
        kb_log_info("groups", "event=member_expired group=%.*s member=%.*s session_ms=%d",
                    g->id.size, g->id.data, m->id.size, m->id.data, m->session_timeout_ms);
        group_member_remove(m, KW_UNKNOWN_MEMBER_ID, fx);
        gone++;
    }
    if (gone > 0)
        group_member_gone(g, now, "a member's session ended", fx);
}

/* Members that were told the generation and never asked for their assignment. */
static void expire_syncs(struct group *g, struct group_now now, struct group_effects *fx)
{
    struct group_member *m = NULL;
    struct group_member *next = NULL;
    size_t gone = 0;
    g->sync_deadline_ms = UINT64_MAX;
    HASH_ITER(hh, g->members, m, next)
    {
        if (!m->pending_sync)
            continue;
        group_member_remove(m, KW_UNKNOWN_MEMBER_ID, fx);
        gone++;
    }
    if (gone > 0)
        group_member_gone(g, now, "members did not sync", fx);
}

static void end_initial(struct group *g, struct group_now now, struct group_effects *fx)
{
    uint32_t delay_ms = g->shard->options.initial_delay_ms;
    if (!g->new_member_added || g->initial_left_ms == 0) {
        complete_join(g, now, fx);
        return;
    }
    g->new_member_added = false;
    uint32_t next_ms = delay_ms < g->initial_left_ms ? delay_ms : g->initial_left_ms;
    g->initial_left_ms -= next_ms;
    g->initial_delay_ms = next_ms;
    join_timer(g, now.mono_ms + next_ms);
}

static uint64_t next_deadline(const struct group *g)
{
    uint64_t d = g->sync_deadline_ms;
    if (g->state == GROUP_PREPARING && g->join_deadline_ms < d)
        d = g->join_deadline_ms;
    for (const struct group_pending *p = g->pending; p != NULL; p = p->hh.next)
        d = p->deadline_ms < d ? p->deadline_ms : d;
    for (const struct group_member *m = g->members; m != NULL; m = m->hh.next) {
        if (!group_member_waits(m) && m->session_deadline_ms < d)
            d = m->session_deadline_ms;
    }
    return d;
}

void group_timers_run(struct group *g, struct group_now now, struct group_effects *fx)
{
    expire_pending(g, now.mono_ms);
    expire_sessions(g, now, fx);
    if (g->sync_deadline_ms <= now.mono_ms)
        expire_syncs(g, now, fx);
    if (g->state == GROUP_PREPARING && g->join_deadline_ms <= now.mono_ms) {
        if (g->initial)
            end_initial(g, now, fx);
        else
            complete_join(g, now, fx);
    }
    group_settle(g, now, fx);
    group_heap_set(g, next_deadline(g));
}

/* ---- after a load
 * ---------------------------------------------------------------------------- */

static bool has_assignments(const struct group_image *im)
{
    for (const struct group_image_member *m = im->members; m != NULL; m = m->hh.next) {
        if (m->assignment.size > 0)
            return true;
    }
    return false;
}

void group_start(struct group *g, struct group_now now, struct group_effects *fx)
{
    const struct group_image_member *im = NULL;
    g->empty_since_ms = now.mono_ms;
    if (g->image == NULL)
        return;
    g->protocol_type = group_str_dup(g->image->protocol_type);
    if (g->image->members == NULL)
        return;
    for (im = g->image->members; im != NULL; im = im->hh.next) {
        struct group_member *m = group_member_load(g, im);
        group_member_session_restart(m, now);
        if (kw_str_equal(m->id, g->image->leader))
            g->leader = m;
    }
    group_set_state(g, GROUP_STABLE);
    if (!has_assignments(g->image) || group_members_count(g) > g->shard->options.members_max)
        group_rebalance(g, now, "its generation has no assignments", fx);
}
