/* The frame of the core: building it, one step, roles, hard state, the outbox. */
#include "coordinator/raft/core.h"

#include <inttypes.h>
#include <string.h>

#include "proto/base/assert.h"
#include "proto/base/err.h"
#include "proto/base/log.h"
#include "proto/base/mem.h"
#include "proto/base/mutant.h"

struct raft_times raft_times_default(void)
{
    return (struct raft_times){
        .heartbeat_ms = 150,
        .silence_ms = 1000,
        .silence_extra_ms = 300,
        .link_grace_ms = 150,
        .dead_extra_ms = 30,
        .start_min_ms = 50,
        .start_max_ms = 200,
        .check_quorum_ms = 1500,
        .hold_ms = 200,
        .refused_ms = 50,
        .split_min_ms = 30,
        .split_max_ms = 90,
        .transfer_ms = 1000,
        .disk_stall_ms = 1000,
        .disk_sound_ms = 100,
        .cut_ms = 5000,
        .cut_stand_ms = 1000,
    };
}

/* ---- building ---------------------------------------------------------------------------------
 */

static bool config_sound(const struct raft_core_config *config)
{
    struct raft_position at = config->snapshot;
    for (size_t i = 0; i < config->n_entries; i++) {
        const struct raft_entry *e = &config->entries[i];
        if (e->first != at.index + 1 || e->last < e->first || e->term < at.term || e->term == 0)
            return false;
        at = (struct raft_position){e->last, e->term};
    }
    for (size_t i = 0; i < config->n_voters; i++) {
        const struct raft_voters *v = &config->voters[i];
        if (v->count > RAFT_VOTERS_MAX || (i > 0 && v->index <= v[-1].index))
            return false;
        if (v->index == 0 && raft_voters_problem(v->nodes, v->count) != NULL)
            return false;
    }
    return true;
}

/* What recovery found decides whether this directory votes (5.5). */
static void judge_recovery(struct raft_core *c, const struct raft_core_config *config)
{
    uint64_t last_term = raft_terms_last(&c->log).term;
    bool vote_damaged = config->vote_damaged || c->hard.term < last_term;
    /* A single voter's vote can only have gone to itself. */
    bool alone = c->voter && raft_present_set(c)->count == 1;
    if (c->hard.term < last_term)
        c->hard.term = last_term;
    if (vote_damaged)
        c->hard.vote = raft_nobody();
    if (config->log_state == RAFT_LOG_DAMAGED || (vote_damaged && !alone))
        c->hard.barred = true;
    c->cut = config->log_state == RAFT_LOG_CUT;
    if (c->cut && !alone)
        c->cut_until_ms = c->now_ms + c->times.cut_ms;
    if (vote_damaged || c->hard.barred != config->hard.barred)
        raft_hard_changed(c);
    if (c->hard.barred)
        kb_log_error("raft", "event=barred node=%" PRId32 " log_state=%d vote_damaged=%d",
                     c->self.id, (int)config->log_state, (int)vote_damaged);
}

int raft_core_new(const struct raft_core_config *config, struct raft_core **ret)
{
    static const struct raft_times none;
    if (!config_sound(config))
        return -KB_EINVAL;
    struct raft_core *c = kb_new(struct raft_core);
    c->self = config->self;
    c->times = memcmp(&config->times, &none, sizeof(none)) == 0 ? raft_times_default()
                                                                : config->times;
    kb_prng_init(&c->prng, config->seed);
    c->now_ms = config->now_ms;
    c->tick_ms = config->now_ms;
    c->hard = config->hard;
    c->role = RAFT_OBSERVER;
    c->leader = raft_nobody();
    c->reported_leader = raft_nobody();
    c->reported_role = RAFT_ROLE_MAX_; /* the first step reports the role */
    c->silence_ms = c->times.silence_ms;
    c->last_heard_ms = c->now_ms;
    raft_terms_reset(&c->log, config->snapshot);
    for (size_t i = 0; i < config->n_entries; i++)
        raft_terms_extend(&c->log, config->entries[i].last, config->entries[i].term);
    c->durable_index = c->log.last_index;
    c->commit_index = config->snapshot.index;
    if (config->hard.commit_index > c->commit_index)
        c->commit_index = config->hard.commit_index < c->log.last_index ? config->hard.commit_index
                                                                        : c->log.last_index;
    static const struct raft_voters nobody;
    raft_sets_push(c, config->n_voters > 0 ? &config->voters[0] : &nobody);
    for (size_t i = 1; i < config->n_voters; i++)
        raft_sets_push(c, &config->voters[i]);
    bool founding = config->founding && c->hard.term == 0 && c->log.last_index == 0;
    c->unknown_until_ms = c->now_ms + (founding ? 0 : c->times.hold_ms);
    if (founding)
        raft_election_in(c, c->times.split_min_ms, c->times.split_max_ms);
    else
        raft_election_in(c, c->times.start_min_ms, c->times.start_max_ms);
    if (c->voter && raft_present_set(c)->count == 1)
        c->election_at_ms = c->now_ms;
    judge_recovery(c, config);
    *ret = c;
    return 0;
}

struct raft_core *raft_core_free(struct raft_core *c)
{
    if (c == NULL)
        return NULL;
    for (size_t i = 0; i < c->n_peers; i++)
        (void)kb_free(c->peers[i]);
    (void)kb_free(c->peers);
    (void)kb_free(c->sets);
    (void)kb_free(c->outbox);
    (void)kb_free(c->messages);
    (void)kb_free(c->sends);
    (void)kb_free(c->chunks);
    raft_terms_release(&c->log);
    return kb_free(c);
}

/* ---- roles and hard state ---------------------------------------------------------------------
 */

/* Legal moves between roles; a row is from, a column to. Leadership comes only by an election and
 * a leader that leaves never leads that term again (5.4). */
static const uint8_t legal_moves[RAFT_ROLE_MAX_][RAFT_ROLE_MAX_] = {
    [RAFT_OBSERVER] = {[RAFT_OBSERVER] = 1, [RAFT_FOLLOWER] = 1},
    [RAFT_FOLLOWER] =
        {[RAFT_OBSERVER] = 1, [RAFT_FOLLOWER] = 1, [RAFT_PRE_CANDIDATE] = 1, [RAFT_CANDIDATE] = 1},
    [RAFT_PRE_CANDIDATE] =
        {[RAFT_OBSERVER] = 1, [RAFT_FOLLOWER] = 1, [RAFT_PRE_CANDIDATE] = 1, [RAFT_CANDIDATE] = 1},
    [RAFT_CANDIDATE] =
        {[RAFT_OBSERVER] = 1, [RAFT_FOLLOWER] = 1, [RAFT_PRE_CANDIDATE] = 1, [RAFT_LEADER] = 1},
    [RAFT_LEADER] = {[RAFT_OBSERVER] = 1, [RAFT_FOLLOWER] = 1, [RAFT_RESIGNED] = 1},
    [RAFT_RESIGNED] = {[RAFT_OBSERVER] = 1, [RAFT_FOLLOWER] = 1, [RAFT_PRE_CANDIDATE] = 1},
};

void raft_set_role(struct raft_core *c, enum raft_role role, struct raft_node leader)
{
    KB_ASSERT(legal_moves[c->role][role]);
    if (c->role != role)
        kb_log_debug("raft", "event=role node=%" PRId32 " term=%" PRIu64 " from=%s to=%s",
                     c->self.id, c->hard.term, raft_role_name(c->role), raft_role_name(role));
    if (c->role == RAFT_LEADER && role != RAFT_LEADER && c->transferring) {
        c->transferring = false;
        c->fx->transfer_end = role == RAFT_RESIGNED ? RAFT_TRANSFER_FAILED : RAFT_TRANSFER_DONE;
    }
    c->role = role;
    c->leader = leader;
}

void raft_hard_changed(struct raft_core *c)
{
    c->hard.commit_index = raft_applicable(c);
    if (!c->hard_changed)
        c->hard_sequence++;
    c->hard_changed = true;
}

void raft_adopt_term(struct raft_core *c, uint64_t term)
{
    KB_ASSERT(term > c->hard.term);
    c->hard.term = term;
    if (!KB_MUTANT("raft-vote-kept-over-terms"))
        c->hard.vote = raft_nobody();
    c->n_outbox = 0;
    c->verified_index = 0;
    c->round_heard = 0;
    c->transferred = false;
    if (!c->installing)
        c->incoming = (struct raft_position){0, 0};
    raft_hard_changed(c);
    raft_set_role(c, c->voter ? RAFT_FOLLOWER : RAFT_OBSERVER, raft_nobody());
    if (c->election_at_ms == RAFT_NEVER)
        raft_election_in(c, c->times.split_min_ms, c->times.split_max_ms);
}

void raft_write_started(struct raft_core *c)
{
    if (c->log_write_since_ms == 0)
        c->log_write_since_ms = c->now_ms;
}

static void write_finished(struct raft_core *c, uint64_t *since_ms, bool more)
{
    if (*since_ms == 0)
        return;
    uint64_t took_ms = c->now_ms - *since_ms;
    *since_ms = more ? c->now_ms : 0;
    if (c->disk_stalled && took_ms <= c->times.disk_sound_ms)
        c->disk_stalled = false;
}

uint64_t raft_applicable(const struct raft_core *c)
{
    return c->commit_index < c->durable_index ? c->commit_index : c->durable_index;
}

void raft_commit_to(struct raft_core *c, uint64_t index)
{
    KB_ASSERT(index <= c->log.last_index);
    if (index > c->commit_index || KB_MUTANT("raft-commit-falls"))
        c->commit_index = index;
}

void raft_cut_healed(struct raft_core *c)
{
    c->cut_until_ms = 0;
    c->fx->cut_healed = c->fx->cut_healed || c->cut;
    c->cut = false;
}

/* ---- the outbox -------------------------------------------------------------------------------
 */

void raft_post(struct raft_core *c, const struct raft_peer *p, const struct raft_message *m)
{
    if (p->link_state != RAFT_LINK_UP)
        return;
    kb_array_reserve(c->outbox, c->n_outbox, c->outbox_capacity);
    struct raft_out *o = &c->outbox[c->n_outbox++];
    o->message = *m;
    o->message.to = p->node;
    o->after_hard = KB_MUTANT("raft-answer-before-vote-durable") ? 0 : c->hard_sequence;
}

/* Move what may leave to the effects; the rest waits for its hard state (5.1). */
static void outbox_flush(struct raft_core *c)
{
    size_t kept = 0;
    size_t n = 0;
    for (size_t i = 0; i < c->n_outbox; i++) {
        if (c->outbox[i].after_hard > c->hard_durable) {
            c->outbox[kept++] = c->outbox[i];
            continue;
        }
        kb_array_reserve(c->messages, n, c->messages_capacity);
        c->messages[n++] = c->outbox[i].message;
    }
    c->n_outbox = kept;
    c->fx->messages = c->messages;
    c->fx->n_messages = n;
}

/* ---- one step ---------------------------------------------------------------------------------
 */

static bool message_sound(const struct raft_message *m)
{
    if (m->kind >= RAFT_MSG_MAX_ || m->n_entries > RAFT_ENTRIES_MAX)
        return false;
    bool refusal = m->kind == RAFT_MSG_PRE_VOTE_REPLY || m->kind == RAFT_MSG_VOTE_REPLY;
    if (m->term == 0 && !refusal) /* only a voter that saw no election yet */
        return false;
    uint64_t at = m->prev.index;
    uint64_t term = m->prev.term;
    for (size_t i = 0; i < m->n_entries; i++) {
        const struct raft_entry *e = &m->entries[i];
        if (e->first != at + 1 || e->last < e->first || e->term < term || e->term > m->term)
            return false;
        at = e->last;
        term = e->term;
    }
    return m->prev.term <= m->term && (m->prev.index == 0) == (m->prev.term == 0);
}

static int on_message(struct raft_core *c, const struct raft_input *in)
{
    struct raft_peer *p = raft_peer_find(c, in->node);
    if (p == NULL || p->link_state != RAFT_LINK_UP || p->link != in->link)
        return 0; /* a replaced link: void (1.4) */
    if (!message_sound(in->message))
        return -KB_EINVAL;
    switch (in->message->kind) {
    case RAFT_MSG_PRE_VOTE:
    case RAFT_MSG_VOTE:
        raft_on_vote_request(c, p, in->message);
        return 0;
    case RAFT_MSG_PRE_VOTE_REPLY:
    case RAFT_MSG_VOTE_REPLY:
        raft_on_vote_reply(c, p, in->message);
        return 0;
    case RAFT_MSG_APPEND:
        return raft_on_append(c, p, in->message);
    case RAFT_MSG_APPEND_REPLY:
        return raft_on_append_reply(c, p, in->message);
    case RAFT_MSG_SNAPSHOT:
        return raft_on_snapshot(c, p, in->message);
    case RAFT_MSG_SNAPSHOT_REPLY:
        return raft_on_snapshot_reply(c, p, in->message);
    case RAFT_MSG_TIMEOUT_NOW:
        raft_on_timeout_now(c, p, in->message);
        return 0;
    case RAFT_MSG_MAX_:
        break;
    }
    KB_UNREACHABLE();
}

static void on_hard_persisted(struct raft_core *c, uint64_t sequence)
{
    KB_ASSERT(sequence <= c->hard_sequence);
    if (sequence <= c->hard_durable)
        return;
    c->hard_durable = sequence;
    write_finished(c, &c->hard_write_since_ms, sequence < c->hard_sequence);
    raft_election_hard_durable(c);
}

static void on_log_durable(struct raft_core *c, const struct raft_input *in)
{
    if (in->generation != c->generation || in->position.index <= c->durable_index)
        return;
    KB_ASSERT(raft_terms_at(&c->log, in->position.index) == in->position.term);
    c->durable_index = in->position.index;
    write_finished(c, &c->log_write_since_ms, c->durable_index < c->log.last_index);
    if (c->role == RAFT_LEADER)
        raft_leader_advance(c);
    else
        raft_follower_durable(c);
}

/* Nothing was heard while this node stood still, which proves nothing about others (7.3). */
static void on_node_stalled(struct raft_core *c, uint64_t gap_ms)
{
    if (gap_ms > c->times.check_quorum_ms)
        gap_ms = c->times.check_quorum_ms;
    c->last_heard_ms += gap_ms;
    c->unknown_until_ms += gap_ms;
    if (c->election_at_ms != RAFT_NEVER)
        c->election_at_ms += gap_ms;
    c->transfer_until_ms += gap_ms;
    for (size_t i = 0; i < c->n_peers; i++) {
        c->peers[i]->last_ack_ms += gap_ms;
        c->peers[i]->link_since_ms += gap_ms;
        c->peers[i]->progress_ms += gap_ms;
    }
}

static void judge_disk(struct raft_core *c)
{
    uint64_t since = c->log_write_since_ms;
    if (c->hard_write_since_ms != 0 && (since == 0 || c->hard_write_since_ms < since))
        since = c->hard_write_since_ms;
    if (since != 0 && c->now_ms >= since + c->times.disk_stall_ms && !c->disk_stalled) {
        c->disk_stalled = true;
        kb_log_warn("raft", "event=disk_stalled node=%" PRId32 " age_ms=%" PRIu64, c->self.id,
                    c->now_ms - since);
    }
}

static uint64_t disk_deadline(const struct raft_core *c)
{
    uint64_t at = RAFT_NEVER;
    if (c->disk_stalled)
        return at;
    if (c->log_write_since_ms != 0)
        at = c->log_write_since_ms + c->times.disk_stall_ms;
    if (c->hard_write_since_ms != 0 && c->hard_write_since_ms + c->times.disk_stall_ms < at)
        at = c->hard_write_since_ms + c->times.disk_stall_ms;
    return at;
}

static void on_tick(struct raft_core *c)
{
    c->tick_ms = c->now_ms;
    judge_disk(c);
    if (c->role == RAFT_LEADER)
        raft_leader_tick(c);
    else
        raft_election_tick(c);
    raft_decide_held(c);
}

static int dispatch(struct raft_core *c, const struct raft_input *in)
{
    switch (in->kind) {
    case RAFT_IN_TICK:
        on_tick(c);
        return 0;
    case RAFT_IN_MESSAGE:
        return on_message(c, in);
    case RAFT_IN_LINK:
        raft_link_changed(c, in);
        raft_decide_held(c);
        return 0;
    case RAFT_IN_HARD_PERSISTED:
        on_hard_persisted(c, in->sequence);
        return 0;
    case RAFT_IN_LOG_DURABLE:
        on_log_durable(c, in);
        return 0;
    case RAFT_IN_PROPOSE:
        return (int)raft_propose(c, in);
    case RAFT_IN_VOTERS:
        KB_ASSERT(in->voters->index <= c->log.last_index);
        raft_sets_push(c, in->voters);
        return 0;
    case RAFT_IN_TRANSFER:
        return (int)raft_transfer(c, in->node);
    case RAFT_IN_CONFIRM:
        return (int)raft_confirm(c);
    case RAFT_IN_ENTRIES_SENT:
        raft_on_entries_sent(c, in->send_id, in->position.index);
        return 0;
    case RAFT_IN_SNAPSHOT_SENT:
        raft_on_snapshot_sent(c, in->send_id);
        return 0;
    case RAFT_IN_SNAPSHOT_TAKEN:
        raft_snapshot_taken(c, in->position);
        return 0;
    case RAFT_IN_SNAPSHOT_STORED:
        raft_snapshot_stored(c, in->position, in->offset);
        return 0;
    case RAFT_IN_SNAPSHOT_INSTALLED:
        raft_snapshot_installed(c, in);
        return 0;
    case RAFT_IN_SNAPSHOT_FAILED:
        raft_snapshot_failed(c, in->position);
        return 0;
    case RAFT_IN_NODE_STALLED:
        on_node_stalled(c, in->gap_ms);
        return 0;
    case RAFT_IN_DISK_STALLED:
        c->disk_stalled = true;
        return 0;
    case RAFT_IN_MAX_:
        break;
    }
    KB_UNREACHABLE();
}

static uint64_t deadline(const struct raft_core *c)
{
    uint64_t at = c->role == RAFT_LEADER ? raft_leader_deadline(c) : raft_election_deadline(c);
    uint64_t disk = disk_deadline(c);
    return disk < at ? disk : at;
}

static void fill_effects(struct raft_core *c, struct raft_effects *fx)
{
    if (c->hard_changed) {
        c->hard_changed = false;
        c->hard_out = c->hard;
        fx->hard = &c->hard_out;
        fx->hard_sequence = c->hard_sequence;
        if (c->hard_write_since_ms == 0)
            c->hard_write_since_ms = c->now_ms;
    }
    outbox_flush(c);
    fx->sends = c->sends;
    fx->n_sends = c->n_sends;
    fx->snapshot_sends = c->chunks;
    fx->n_snapshot_sends = c->n_chunks;
    fx->generation = c->generation;
    fx->role = c->role;
    fx->term = c->hard.term;
    fx->leader = c->leader;
    fx->role_changed = c->role != c->reported_role || c->hard.term != c->reported_term ||
                       !raft_node_equal(c->leader, c->reported_leader);
    c->reported_role = c->role;
    c->reported_term = c->hard.term;
    c->reported_leader = c->leader;
    if (raft_applicable(c) > c->reported_commit)
        c->reported_commit = raft_applicable(c);
    fx->commit_index = c->reported_commit;
    fx->confirmed_round = c->role == RAFT_LEADER ? c->confirmed_round : 0;
    fx->deadline_ms = deadline(c);
}

int raft_core_step(struct raft_core *c, const struct raft_input *in, struct raft_effects *ret_fx)
{
    *ret_fx = (struct raft_effects){0};
    KB_ASSERT(in->now_ms >= c->now_ms);
    c->now_ms = in->now_ms;
    c->fx = ret_fx;
    c->n_sends = 0;
    c->n_chunks = 0;
    int r = dispatch(c, in);
    if (c->role == RAFT_LEADER) {
        raft_transfer_drive(c);
        raft_feed_all(c);
    }
    fill_effects(c, ret_fx);
    c->fx = NULL;
    return r;
}
