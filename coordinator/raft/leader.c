/* The leader: rounds, commit, check-quorum, proposals, transfer (5.2, 5.4, 5.7, 5.8, 6.2). */
#include "coordinator/raft/core.h"

#include <inttypes.h>

#include "proto/base/assert.h"
#include "proto/base/log.h"
#include "proto/base/mutant.h"

void raft_become_leader(struct raft_core *c)
{
    KB_ASSERT(c->hard_durable >= c->candidate_hard);
    KB_ASSERT(raft_node_equal(c->hard.vote, c->self));
    raft_set_role(c, RAFT_LEADER, c->self);
    c->election_at_ms = RAFT_NEVER;
    c->yielded = false;
    c->transferred = false;
    c->incoming = (struct raft_position){0, 0};
    c->incoming_busy = false;
    c->term_start = 0;
    c->round = 0;
    c->confirmed_round = 0;
    c->uncommitted_head = 0;
    c->n_uncommitted = 0;
    c->uncommitted_bytes = 0;
    c->transferring = false;
    for (size_t i = 0; i < c->n_peers; i++) {
        struct raft_peer *p = c->peers[i];
        p->acked_index = 0;
        p->acked_round = 0;
        p->answered_round = 0;
        p->heard_ms = 0;
        p->caught_up_ms = 0;
        p->mark_ms = 0;
        p->floor_index = 0;
        p->held.active = false;
        raft_peer_restart(c, p);
        p->last_ack_ms = c->now_ms;
    }
    if (KB_MUTANT("raft-leader-cuts-its-log"))
        raft_terms_truncate(&c->log, c->commit_index);
    raft_round_begin(c);
    raft_leader_advance(c);
}

void raft_resign(struct raft_core *c, const char *why)
{
    kb_log_debug("raft", "event=resigned node=%" PRId32 " term=%" PRIu64 " why=\"%s\"", c->self.id,
                 c->hard.term, why);
    raft_set_role(c, c->voter ? RAFT_RESIGNED : RAFT_OBSERVER, raft_nobody());
    raft_election_in(c, c->times.start_min_ms, c->times.start_max_ms);
}

void raft_round_begin(struct raft_core *c)
{
    c->round++;
    c->heartbeat_at_ms = c->now_ms + c->times.heartbeat_ms;
    for (size_t i = 0; i < c->n_peers; i++)
        c->peers[i]->beat = true;
}

/* ---- what a majority has ----------------------------------------------------------------------
 */

static uint64_t match_of(const struct raft_peer *p)
{
    return p->match_index;
}
static uint64_t round_of(const struct raft_peer *p)
{
    return p->answered_round;
}
static uint64_t ack_ms_of(const struct raft_peer *p)
{
    return p->last_ack_ms;
}

static void forget_committed(struct raft_core *c)
{
    while (c->n_uncommitted > 0) {
        const struct raft_uncommitted *u = &c->uncommitted[c->uncommitted_head];
        if (u->last > c->commit_index)
            return;
        c->uncommitted_bytes -= u->size_bytes;
        c->uncommitted_head = (c->uncommitted_head + 1) % RAFT_UNCOMMITTED_ENTRIES_MAX;
        c->n_uncommitted--;
    }
}

static void advance_commit(struct raft_core *c)
{
    uint64_t index = raft_quorum_value(
        c, KB_MUTANT("raft-leader-counts-unsynced") ? c->log.last_index : c->durable_index,
        match_of);
    /* Only through an entry of the own term (5.2, Raft section 5.4.2). */
    if (index <= c->commit_index ||
        (raft_terms_at(&c->log, index) != c->hard.term && !KB_MUTANT("raft-commit-older-term")))
        return;
    raft_commit_to(c, index);
    raft_cut_healed(c);
    forget_committed(c);
    for (size_t i = 0; i < c->n_peers; i++)
        c->peers[i]->beat = true;
}

/* A barred directory is cleared with the commit index of a leader that a majority without it
 * confirmed after its return (5.5). */
static void clear_barred(struct raft_core *c)
{
    if (c->term_start == 0 || c->commit_index < c->term_start)
        return;
    for (size_t i = 0; i < c->n_peers; i++) {
        struct raft_peer *p = c->peers[i];
        if (!p->barred || p->clear_index != 0 || c->confirmed_round < p->barred_round)
            continue;
        p->clear_index = c->commit_index;
        p->beat = true;
    }
}

static bool may_lead(const struct raft_core *c, const struct raft_peer *p)
{
    return p->voter && !p->barred && p->floor_index == 0;
}

/* Tell the voter that has everything, and was heard last, to stand at once. */
static bool hand_over(struct raft_core *c, struct raft_node to)
{
    const struct raft_peer *best = NULL;
    for (size_t i = 0; i < c->n_peers; i++) {
        const struct raft_peer *p = c->peers[i];
        if (!may_lead(c, p) || p->link_state != RAFT_LINK_UP ||
            p->match_index != c->log.last_index ||
            (!raft_node_none(to) && !raft_node_equal(p->node, to)))
            continue;
        if (best == NULL || p->last_ack_ms > best->last_ack_ms)
            best = p;
    }
    if (best == NULL)
        return false;
    raft_post(c, best, &(struct raft_message){.kind = RAFT_MSG_TIMEOUT_NOW, .term = c->hard.term});
    return true;
}

void raft_leader_advance(struct raft_core *c)
{
    advance_commit(c);
    uint64_t round = raft_quorum_value(c, c->round, round_of);
    if (round > c->confirmed_round)
        c->confirmed_round = round;
    clear_barred(c);
    if (!c->voter && raft_present_set(c)->index <= c->commit_index) {
        raft_feed_all(c); /* the commit index goes out first */
        (void)hand_over(c, raft_nobody());
        raft_resign(c, "removed from the voter set");
    }
}

/* ---- time -------------------------------------------------------------------------------------
 */

static uint64_t quorum_deadline(const struct raft_core *c)
{
    if (KB_MUTANT("raft-no-check-quorum"))
        return RAFT_NEVER;
    return raft_quorum_value(c, c->now_ms, ack_ms_of) + c->times.check_quorum_ms;
}

uint64_t raft_core_majority_ms(const struct raft_core *c, uint64_t now_ms)
{
    return c->role == RAFT_LEADER ? raft_quorum_value(c, now_ms, ack_ms_of) : 0;
}

/* False: resigned. What a full disk keeps from the log cannot be read from it either, so nobody
 * ever has all of it and no transfer ends well: the others, who have less, choose among themselves.
 */
static bool transfer_tick(struct raft_core *c)
{
    if (c->transferring && c->now_ms >= c->transfer_until_ms) {
        c->transferring = false;
        c->fx->transfer_end = RAFT_TRANSFER_FAILED;
        if (c->disk_stalled) {
            raft_resign(c, "its disk takes nothing, and nobody has the whole log");
            return false;
        }
    }
    if (c->disk_stalled && !c->transferring)
        (void)raft_transfer(c, raft_nobody());
    return true;
}

void raft_leader_tick(struct raft_core *c)
{
    if (c->now_ms >= quorum_deadline(c)) {
        raft_resign(c, "no majority answers");
        return;
    }
    if (!transfer_tick(c))
        return;
    raft_feed_tick(c);
    if (c->now_ms >= c->heartbeat_at_ms) {
        raft_round_begin(c);
        raft_leader_advance(c);
    }
}

uint64_t raft_leader_deadline(const struct raft_core *c)
{
    uint64_t at = c->heartbeat_at_ms;
    uint64_t quorum = quorum_deadline(c);
    if (quorum < at)
        at = quorum;
    if (c->transferring && c->transfer_until_ms < at)
        at = c->transfer_until_ms;
    return at;
}

/* ---- requests of the driver -------------------------------------------------------------------
 */

enum raft_answer raft_confirm(struct raft_core *c)
{
    if (c->role != RAFT_LEADER)
        return RAFT_NOT_LEADER;
    raft_round_begin(c);
    c->fx->round = c->round;
    raft_leader_advance(c);
    return RAFT_OK;
}

static enum raft_answer may_propose(const struct raft_core *c, const struct raft_input *in)
{
    if (c->role != RAFT_LEADER)
        return RAFT_NOT_LEADER;
    if (in->size_bytes > RAFT_ENTRY_BYTES_MAX)
        return RAFT_TOO_LARGE;
    if (c->transferring || c->n_uncommitted >= RAFT_UNCOMMITTED_ENTRIES_MAX)
        return RAFT_BUSY;
    /* One entry above the limit is let through when it is alone. */
    if (c->uncommitted_bytes > 0 &&
        c->uncommitted_bytes + in->size_bytes > RAFT_UNCOMMITTED_BYTES_MAX)
        return RAFT_BUSY;
    if (in->voters != NULL)
        return raft_sets_check_change(c, in->voters);
    return RAFT_OK;
}

enum raft_answer raft_propose(struct raft_core *c, const struct raft_input *in)
{
    enum raft_answer answer = may_propose(c, in);
    if (answer != RAFT_OK)
        return answer;
    KB_ASSERT(in->n_records > 0);
    uint64_t first = c->log.last_index + 1;
    uint64_t last = c->log.last_index + in->n_records;
    raft_terms_extend(&c->log, last, c->hard.term);
    raft_write_started(c);
    if (c->term_start == 0)
        c->term_start = first;
    size_t at = (c->uncommitted_head + c->n_uncommitted) % RAFT_UNCOMMITTED_ENTRIES_MAX;
    c->uncommitted[at] = (struct raft_uncommitted){last, in->size_bytes};
    c->n_uncommitted++;
    c->uncommitted_bytes += in->size_bytes;
    c->fx->proposed = (struct raft_entry){first, last, c->hard.term};
    if (in->voters != NULL) {
        struct raft_voters set = *in->voters;
        KB_ASSERT(set.index < in->n_records);
        set.index += first;
        raft_sets_push(c, &set);
    }
    return RAFT_OK;
}

enum raft_answer raft_transfer(struct raft_core *c, struct raft_node to)
{
    if (c->role != RAFT_LEADER)
        return RAFT_NOT_LEADER;
    if (c->transferring)
        return RAFT_BUSY;
    bool possible = false;
    for (size_t i = 0; i < c->n_peers; i++) {
        const struct raft_peer *p = c->peers[i];
        if (may_lead(c, p) && (raft_node_none(to) || raft_node_equal(p->node, to)))
            possible = true;
    }
    if (!possible)
        return RAFT_UNKNOWN_VOTER;
    c->transferring = true;
    c->transfer_asked = false;
    c->transfer_to = to;
    c->transfer_until_ms = c->now_ms + c->times.transfer_ms;
    return RAFT_OK;
}

/* Proposals are refused meanwhile; whoever has the whole log durable is told to stand (5.8). */
void raft_transfer_drive(struct raft_core *c)
{
    if (c->transferring && !c->transfer_asked)
        c->transfer_asked = hand_over(c, c->transfer_to);
}
