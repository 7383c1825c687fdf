/* The course of a group member's life. */
#include "broker/cli/consume_private.h"

#include <errno.h>

#include "proto/base/assert.h"

void membership_set_state(struct cli_membership *g, enum membership_state state)
{
    g->state = state;
    g->retry_at_ms = 0;
    cli_wire_poke(g->options.wire);
}

void membership_retry(struct cli_membership *g, enum membership_state state)
{
    g->state = state;
    g->retry_at_ms = cli_now_ms() + GROUP_RETRY_MS;
    cli_wire_poke_in(g->options.wire, GROUP_RETRY_MS);
}

void membership_release_members(struct cli_membership *g)
{
    for (size_t i = 0; i < g->members_count; i++) {
        (void)kb_free(g->members[i].id);
        (void)kb_free(g->members[i].topics);
    }
    g->members = kb_free(g->members);
    g->members_count = 0;
}

struct cli_membership *cli_membership_new(const struct cli_membership_options *options)
{
    struct cli_membership *g = kb_new(struct cli_membership);
    g->options = *options;
    g->coordinator = -1;
    g->member_id = kb_strdup("");
    g->generation = -1;
    return g;
}

struct cli_membership *cli_membership_free(struct cli_membership *g)
{
    if (g == NULL)
        return NULL;
    membership_release_members(g);
    (void)kb_free(g->parts);
    (void)kb_free(g->member_id);
    (void)kb_free(g->protocol);
    return kb_free(g);
}

bool cli_membership_is_stable(const struct cli_membership *g)
{
    return g->state == GROUP_STABLE && !g->rejoin;
}

bool cli_membership_is_closed(const struct cli_membership *g)
{
    return g->state == GROUP_CLOSED;
}

bool membership_ready(struct cli_membership *g)
{
    return g->coordinator >= 0 && cli_wire_ready(g->options.wire, g->coordinator);
}

/* The partitions belong to others now. */
static void revoke(struct cli_membership *g)
{
    g->parts_count = 0;
    cli_consumer_clear(g->options.consumer);
}

static void set_member_id(struct cli_membership *g, const char *id)
{
    (void)kb_free(g->member_id);
    g->member_id = kb_strdup(id);
}

static void lose_coordinator(struct cli_membership *g)
{
    g->coordinator = -1;
    if (g->state != GROUP_STABLE && g->state != GROUP_LEAVING)
        membership_retry(g, GROUP_FINDING);
}

bool membership_take_error(struct cli_membership *g, int result, int16_t error)
{
    if (result == 0 && error == KW_NONE)
        return false;
    if (result < 0 || error == KW_NOT_COORDINATOR || error == KW_COORDINATOR_NOT_AVAILABLE) {
        lose_coordinator(g);
        return true;
    }
    if (g->state == GROUP_LEAVING)
        return true;
    switch (error) {
    case KW_UNKNOWN_MEMBER_ID:
        set_member_id(g, "");
        break;
    case KW_ILLEGAL_GENERATION:
        break;
    case KW_REBALANCE_IN_PROGRESS:
        if (g->state == GROUP_STABLE) {
            g->rejoin = true; /* what was read is committed first */
            return true;
        }
        membership_retry(g, GROUP_JOINING);
        return true;
    case KW_COORDINATOR_LOAD_IN_PROGRESS:
        membership_retry(g, g->state);
        return true;
    default:
        if (kw_error_retriable(error)) {
            membership_retry(g, g->state);
            return true;
        }
        g->options.on_error(g->options.arg, error, kw_error_message(error));
        membership_set_state(g, GROUP_CLOSED);
        return true;
    }
    revoke(g); /* no member any more: others may read them already */
    g->rejoin = false;
    g->generation = -1;
    membership_retry(g, GROUP_JOINING);
    return true;
}

/* ---- the coordinator ---------------------------------------------------------------------------
 */

static void on_coordinator(void *arg, int result, const void *response)
{
    struct cli_membership *g = arg;
    const struct kw_find_coordinator_response *r = response;
    g->calling = false;
    if (result < 0 || r->error_code != KW_NONE) {
        if (result == 0 && !kw_error_retriable(r->error_code)) {
            g->options.on_error(g->options.arg, r->error_code, kw_error_message(r->error_code));
            membership_set_state(g, GROUP_CLOSED);
            return;
        }
        membership_retry(g, g->state);
        return;
    }
    g->coordinator = cli_wire_coordinator_id(r->node_id);
    cli_wire_learn_broker(g->options.wire, g->coordinator, r->host, r->port);
    if (g->state == GROUP_FINDING)
        membership_set_state(g, GROUP_JOINING);
}

static void find_coordinator(struct cli_membership *g)
{
    struct kw_find_coordinator_request rq;
    int32_t broker = cli_wire_any(g->options.wire);
    if (g->calling || broker == -1)
        return;
    kw_find_coordinator_request_init(&rq);
    rq.key = kw_str_of(g->options.name);
    g->calling = true;
    cli_wire_send(g->options.wire, broker, KW_API_FIND_COORDINATOR, &rq, GROUP_ANSWER_MS,
                  on_coordinator, g);
}

/* ---- beating -----------------------------------------------------------------------------------
 */

static void on_beat(void *arg, int result, const void *response)
{
    struct cli_membership *g = arg;
    const struct kw_heartbeat_response *r = response;
    g->beating = false;
    (void)membership_take_error(g, result, result == 0 ? r->error_code : (int16_t)KW_NONE);
}

static void beat(struct cli_membership *g, uint64_t now_ms)
{
    struct kw_heartbeat_request rq;
    if (g->beating || !membership_ready(g))
        return;
    if (now_ms < g->beat_at_ms) {
        cli_wire_poke_in(g->options.wire, g->beat_at_ms - now_ms);
        return;
    }
    kw_heartbeat_request_init(&rq);
    rq.group_id = kw_str_of(g->options.name);
    rq.generation_id = g->generation;
    rq.member_id = kw_str_of(g->member_id);
    g->beating = true;
    g->beat_at_ms = now_ms + GROUP_BEAT_MS;
    cli_wire_poke_in(g->options.wire, GROUP_BEAT_MS);
    cli_wire_send(g->options.wire, g->coordinator, KW_API_HEARTBEAT, &rq, GROUP_ANSWER_MS, on_beat,
                  g);
}

/* ---- leaving -----------------------------------------------------------------------------------
 */

static void on_left(void *arg, int result, const void *response)
{
    struct cli_membership *g = arg;
    (void)result;
    (void)response;
    membership_set_state(g, GROUP_CLOSED);
}

void cli_membership_close(struct cli_membership *g)
{
    if (g->state == GROUP_CLOSED || g->state == GROUP_LEAVING)
        return;
    g->close_by_ms = cli_now_ms() + GROUP_COMMIT_MS;
    membership_set_state(g, *g->member_id == '\0' ? GROUP_CLOSED : GROUP_LEAVING);
}

static void leave(struct cli_membership *g, uint64_t now_ms)
{
    struct kw_leave_group_request rq;
    struct kw_leave_group_request_member member;
    if (now_ms >= g->close_by_ms) {
        membership_set_state(g, GROUP_CLOSED); /* its session ends by itself */
        return;
    }
    cli_wire_poke_in(g->options.wire, g->close_by_ms - now_ms);
    if (g->coordinator < 0)
        find_coordinator(g);
    if (g->leave_sent || !membership_ready(g) || !membership_commit(g))
        return;
    kw_leave_group_request_init(&rq);
    kw_leave_group_request_member_init(&member);
    rq.group_id = kw_str_of(g->options.name);
    if (cli_wire_version(g->options.wire, g->coordinator, KW_API_LEAVE_GROUP) >= 3) {
        member.member_id = kw_str_of(g->member_id);
        rq.members = &member;
        rq.members_count = 1;
    } else {
        rq.member_id = kw_str_of(g->member_id);
    }
    g->leave_sent = true;
    cli_wire_send(g->options.wire, g->coordinator, KW_API_LEAVE_GROUP, &rq, GROUP_ANSWER_MS,
                  on_left, g);
}

/* ---- the pump ----------------------------------------------------------------------------------
 */

static void pump_stable(struct cli_membership *g, uint64_t now_ms)
{
    if (g->coordinator < 0)
        find_coordinator(g);
    beat(g, now_ms);
    if (g->rejoin) {
        if (!membership_commit(g))
            return;
        g->rejoin = false;
        revoke(g);
        membership_set_state(g, GROUP_JOINING);
        return;
    }
    if (now_ms < g->commit_at_ms) {
        cli_wire_poke_in(g->options.wire, g->commit_at_ms - now_ms);
        return;
    }
    g->commit_at_ms = now_ms + GROUP_COMMIT_MS;
    cli_wire_poke_in(g->options.wire, GROUP_COMMIT_MS);
    (void)membership_commit(g);
}

void cli_membership_pump(struct cli_membership *g)
{
    uint64_t now_ms = cli_now_ms();
    if (g->retry_at_ms > now_ms) {
        cli_wire_poke_in(g->options.wire, g->retry_at_ms - now_ms);
        return;
    }
    switch (g->state) {
    case GROUP_FINDING:
        find_coordinator(g);
        break;
    case GROUP_JOINING:
        if (g->coordinator < 0)
            find_coordinator(g);
        else
            membership_join(g);
        break;
    case GROUP_ASSIGNING:
        membership_assign(g);
        break;
    case GROUP_SYNCING:
        break; /* its answer moves it on */
    case GROUP_FETCHING:
        beat(g, now_ms);
        membership_fetch_offsets(g);
        break;
    case GROUP_STABLE:
        pump_stable(g, now_ms);
        break;
    case GROUP_LEAVING:
        leave(g, now_ms);
        break;
    case GROUP_CLOSED:
        break;
    }
}
