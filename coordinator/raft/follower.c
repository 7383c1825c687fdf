/* Following a leader: appends, truncation, snapshots, and coming back from damage (5.5, 5.6). */
#include "coordinator/raft/core.h"

#include <inttypes.h>

#include "proto/base/assert.h"
#include "proto/base/err.h"
#include "proto/base/log.h"
#include "proto/base/mutant.h"

/* ---- answers ----------------------------------------------------------------------------------
 */

static uint64_t min_u64(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static void reply_to(struct raft_core *c, const struct raft_peer *p, struct raft_position hint,
                     bool rejected)
{
    raft_post(
        c, p,
        &(struct raft_message){.kind = RAFT_MSG_APPEND_REPLY,
                               .term = c->hard.term,
                               .round = c->round_heard,
                               .rejected = rejected,
                               .match_index = KB_MUTANT("raft-follower-acks-unsynced")
                                                  ? c->verified_index
                                                  : min_u64(c->durable_index, c->verified_index),
                               .end_index = c->verified_index,
                               .durable_index = c->durable_index,
                               .hint = hint,
                               .barred = c->hard.barred});
}

static struct raft_peer *leader_peer(const struct raft_core *c)
{
    return raft_node_none(c->leader) ? NULL : raft_peer_find(c, c->leader);
}

static void reply_to_leader(struct raft_core *c)
{
    const struct raft_peer *p = leader_peer(c);
    if (p != NULL)
        reply_to(c, p, (struct raft_position){0, 0}, false);
}

static void snapshot_reply(struct raft_core *c, struct raft_position snapshot, bool done)
{
    const struct raft_peer *p = leader_peer(c);
    if (p == NULL)
        return;
    raft_post(c, p,
              &(struct raft_message){.kind = RAFT_MSG_SNAPSHOT_REPLY,
                                     .term = c->hard.term,
                                     .round = c->round_heard,
                                     .snapshot = snapshot,
                                     .position = done ? 0 : c->incoming_position,
                                     .done = done,
                                     .barred = c->hard.barred});
}

/* ---- the leader is there ----------------------------------------------------------------------
 */

/* 1: the sender leads this node's term now. 0: an old term, answered. -KB_EINVAL: a second leader
 * of one term, which cannot be (R1). */
static int follow(struct raft_core *c, struct raft_peer *p, const struct raft_message *m)
{
    if (m->term < c->hard.term && !KB_MUTANT("raft-follow-old-leader")) {
        reply_to(c, p, (struct raft_position){0, 0}, true);
        return 0;
    }
    if (m->term > c->hard.term)
        raft_adopt_term(c, m->term);
    if (c->role == RAFT_LEADER || c->role == RAFT_RESIGNED ||
        (!raft_node_none(c->leader) && !raft_node_equal(c->leader, p->node))) {
        kb_log_error("raft", "event=second_leader term=%" PRIu64 " peer=%" PRId32, m->term,
                     p->node.id);
        return -KB_EINVAL;
    }
    if (raft_node_none(c->leader)) {
        raft_set_role(c, c->voter ? RAFT_FOLLOWER : RAFT_OBSERVER, p->node);
        c->silence_ms = kb_prng_range(&c->prng, c->times.silence_ms,
                                      c->times.silence_ms + c->times.silence_extra_ms);
        c->yielded = false;
        c->unknown_until_ms = 0;
    }
    c->last_heard_ms = c->now_ms;
    c->election_at_ms = c->now_ms + c->silence_ms;
    if (m->round > c->round_heard)
        c->round_heard = m->round;
    return 1;
}

/* Brought up by a leader: a barred directory votes again, and this term it voted for that leader;
 * a cut tail is made good (5.5). */
static void judge_healed(struct raft_core *c)
{
    uint64_t have = min_u64(c->durable_index, c->verified_index);
    if (c->hard.barred && c->clear_index != 0 && c->clear_term == c->hard.term &&
        have >= c->clear_index && !raft_node_none(c->leader)) {
        c->hard.barred = false;
        if (raft_node_none(c->hard.vote))
            c->hard.vote = c->leader;
        raft_hard_changed(c);
        kb_log_warn("raft", "event=barred_healed node=%" PRId32 " index=%" PRIu64, c->self.id,
                    have);
    }
    if (have < c->commit_index || raft_terms_at(&c->log, c->commit_index) != c->hard.term)
        return; /* not all that was ever committed, as far as is known */
    raft_cut_healed(c);
    if (c->hard.term > c->floor_term)
        c->floor_index = 0;
}

void raft_follower_durable(struct raft_core *c)
{
    judge_healed(c);
    if (!c->installing)
        reply_to_leader(c);
}

/* ---- appends ----------------------------------------------------------------------------------
 */

static void truncate_after(struct raft_core *c, uint64_t index)
{
    KB_ASSERT(c->role != RAFT_LEADER); /* R3 */
    if (!KB_MUTANT("raft-cut-below-commit"))
        KB_ASSERT(index >= c->commit_index); /* R9 */
    raft_terms_truncate(&c->log, index);
    c->durable_index = min_u64(c->durable_index, index);
    c->verified_index = min_u64(c->verified_index, index);
    c->generation++;
    c->cut_index = index;
    if (c->durable_index == c->log.last_index)
        c->log_write_since_ms = 0;
    c->fx->truncate = true;
    c->fx->truncate_after = index;
    raft_sets_truncate(c, index);
}

/* The first entry of the message that the log does not hold; -KB_EINVAL when one begins or ends
 * inside another of the same term. */
static int first_new(const struct raft_core *c, const struct raft_message *m, size_t *ret)
{
    size_t i = 0;
    while (i < m->n_entries) {
        const struct raft_entry *e = &m->entries[i];
        if (e->last > c->log.base.index && raft_terms_at(&c->log, e->last) != e->term)
            break;
        i++;
    }
    *ret = i;
    if (i == m->n_entries)
        return 0;
    const struct raft_entry *e = &m->entries[i];
    if (e->first <= c->log.base.index || raft_terms_at(&c->log, e->first) == e->term)
        return -KB_EINVAL;
    return 0;
}

static int take_entries(struct raft_core *c, const struct raft_message *m)
{
    size_t skip;
    int r = first_new(c, m, &skip);
    if (r < 0)
        return r;
    if (skip < m->n_entries) {
        if (m->entries[skip].first <= c->log.last_index && !KB_MUTANT("raft-conflict-not-cut"))
            truncate_after(c, m->entries[skip].first - 1);
        for (size_t i = skip; i < m->n_entries; i++)
            raft_terms_extend(&c->log, m->entries[i].last, m->entries[i].term);
        raft_write_started(c);
        c->fx->append_skip = skip;
        c->fx->append_count = m->n_entries - skip;
    }
    uint64_t end = m->n_entries > 0 ? m->entries[m->n_entries - 1].last : m->prev.index;
    if (end > c->verified_index)
        c->verified_index = end;
    return 0;
}

/* The logs meet at the append's predecessor. What lies before the own snapshot is committed, so the
 * leader has it as well. */
static bool meets(const struct raft_core *c, struct raft_position prev)
{
    return prev.index < c->log.base.index || raft_terms_at(&c->log, prev.index) == prev.term ||
           KB_MUTANT("raft-append-without-meeting");
}

int raft_on_append(struct raft_core *c, struct raft_peer *p, const struct raft_message *m)
{
    int r = follow(c, p, m);
    if (r <= 0)
        return r;
    if (m->clear_index != 0) {
        c->clear_index = m->clear_index;
        c->clear_term = m->term;
    }
    if (m->floor_index > c->floor_index) {
        c->floor_index = m->floor_index;
        c->floor_term = m->term;
    }
    if (c->installing) { /* a sign of life, no more */
        reply_to_leader(c);
        return 0;
    }
    if (KB_MUTANT("raft-cut-below-commit") && m->n_entries == 0 && c->verified_index == 0 &&
        c->commit_index > c->log.base.index + 1)
        truncate_after(c, c->commit_index - 1);
    if (m->prev.index > c->log.last_index || !meets(c, m->prev)) {
        struct raft_position hint = m->prev.index > c->log.last_index
                                        ? raft_terms_last(&c->log)
                                        : raft_terms_meet(&c->log, m->prev.index, m->prev.term);
        reply_to(c, p, hint, true);
        return 0;
    }
    r = take_entries(c, m);
    if (r < 0)
        return r;
    raft_commit_to(c, min_u64(m->commit_index, c->verified_index));
    judge_healed(c);
    if (c->fx->append_count == 0)
        reply_to_leader(c); /* else when it is durable */
    return 0;
}

/* ---- snapshots --------------------------------------------------------------------------------
 */

static bool position_equal(struct raft_position a, struct raft_position b)
{
    return a.index == b.index && a.term == b.term;
}

int raft_on_snapshot(struct raft_core *c, struct raft_peer *p, const struct raft_message *m)
{
    int r = follow(c, p, m);
    if (r <= 0)
        return r;
    if (m->snapshot.index == 0 || m->snapshot.term == 0 || m->snapshot.term > m->term)
        return -KB_EINVAL;
    if (c->incoming_busy || c->installing)
        return 0; /* the leader asks again */
    if (m->snapshot.index <= raft_applicable(c)) {
        if (m->snapshot.index > c->verified_index)
            c->verified_index = m->snapshot.index;
        snapshot_reply(c, m->snapshot, true);
        return 0;
    }
    if (m->position == 0 || !position_equal(c->incoming, m->snapshot)) {
        c->incoming = m->snapshot;
        c->incoming_position = 0;
    }
    if (m->position != c->incoming_position) {
        snapshot_reply(c, m->snapshot, false);
        return 0;
    }
    c->incoming_busy = true;
    c->installing = m->done;
    c->fx->take_chunk = true;
    return 0;
}

void raft_snapshot_stored(struct raft_core *c, struct raft_position position, uint64_t offset)
{
    c->incoming_busy = false;
    if (!position_equal(c->incoming, position))
        return; /* another leader's */
    c->incoming_position = offset;
    snapshot_reply(c, position, false);
}

static void incoming_over(struct raft_core *c)
{
    c->incoming = (struct raft_position){0, 0};
    c->incoming_position = 0;
    c->incoming_busy = false;
    c->installing = false;
}

void raft_snapshot_failed(struct raft_core *c, struct raft_position position)
{
    c->incoming_busy = false;
    if (!position_equal(c->incoming, position))
        return;
    incoming_over(c);
    snapshot_reply(c, position, false);
}

void raft_snapshot_installed(struct raft_core *c, const struct raft_input *in)
{
    KB_ASSERT(c->role != RAFT_LEADER); /* R10 */
    incoming_over(c);
    if (in->position.index > c->log.base.index) {
        if (raft_terms_at(&c->log, in->position.index) == in->position.term) {
            raft_terms_prune(&c->log, in->position);
            raft_sets_prune(c, in->position.index);
        } else {
            KB_ASSERT(in->position.index > c->commit_index); /* R9 */
            raft_terms_reset(&c->log, in->position);
            c->durable_index = in->position.index;
            c->log_write_since_ms = 0;
            c->generation++;
            c->cut_index = in->position.index;
            c->fx->log_reset = true;
            c->fx->log_reset_base = in->position;
            if (in->voters != NULL)
                raft_sets_reset(c, in->voters);
        }
        if (c->durable_index < in->position.index)
            c->durable_index = in->position.index;
        if (c->verified_index < in->position.index)
            c->verified_index = in->position.index;
        raft_commit_to(c, in->position.index);
    }
    judge_healed(c);
    snapshot_reply(c, in->position, true);
}

void raft_snapshot_taken(struct raft_core *c, struct raft_position position)
{
    KB_ASSERT(position.index <= raft_applicable(c));
    if (position.index <= c->log.base.index)
        return;
    raft_terms_prune(&c->log, position);
    raft_sets_prune(c, position.index);
}
