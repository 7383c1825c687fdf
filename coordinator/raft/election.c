/* Losing a leader, pre-vote, vote, and who may take part (5.1, 5.3, 5.5, 5.6, 5.8). */
#include "coordinator/raft/core.h"

#include <inttypes.h>

#include "proto/base/assert.h"
#include "proto/base/log.h"
#include "proto/base/mutant.h"

/* ---- who may take part ------------------------------------------------------------------------
 */

/* Whose log names this directory a voter is for the candidate to judge: it asks and counts only the
 * directories of its own set (R15), and this log may still lack the record that admits it. */
bool raft_may_vote(const struct raft_core *c)
{
    return (!c->hard.barred || KB_MUTANT("raft-damaged-log-votes")) &&
           c->durable_index >= c->floor_index && c->now_ms >= c->cut_until_ms && !c->installing;
}

/* When those whose tails were cut may vote again, a voter that lost nothing stands first: each of
 * them may lack what is committed, and they may be the majority. */
static bool may_stand(const struct raft_core *c)
{
    return raft_may_vote(c) &&
           (c->cut_until_ms == 0 || c->now_ms >= c->cut_until_ms + c->times.cut_stand_ms);
}

static struct raft_position durable_end(const struct raft_core *c)
{
    return (struct raft_position){c->durable_index, raft_terms_at(&c->log, c->durable_index)};
}

static int compare_ends(struct raft_position a, struct raft_position b)
{
    if (a.term != b.term)
        return a.term < b.term ? -1 : 1;
    return a.index < b.index ? -1 : a.index > b.index;
}

/* Has this node itself lost the leader (5.3)? Silence is judged by the last tick, so that a node
 * which stood still does not judge before it has read its input (7.3). */
bool raft_lost_leader(const struct raft_core *c)
{
    if (c->role == RAFT_LEADER)
        return false;
    if (!raft_node_none(c->leader))
        return c->tick_ms >= c->last_heard_ms + c->times.silence_ms;
    return c->tick_ms >= c->unknown_until_ms;
}

void raft_election_in(struct raft_core *c, uint32_t min_ms, uint32_t max_ms)
{
    c->election_at_ms = c->now_ms + kb_prng_range(&c->prng, min_ms, max_ms);
}

/* The leader's process is dead (7.2). */
void raft_leader_lost(struct raft_core *c)
{
    if (c->role != RAFT_FOLLOWER && c->role != RAFT_OBSERVER)
        return;
    raft_set_role(c, c->role, raft_nobody());
    c->yielded = false;
    c->unknown_until_ms = 0;
    raft_election_in(c, 0, c->times.dead_extra_ms);
}

/* ---- standing ---------------------------------------------------------------------------------
 */

static void clear_votes(struct raft_core *c)
{
    for (size_t i = 0; i < c->n_peers; i++)
        c->peers[i]->vote = RAFT_VOTE_NONE;
}

/* Own vote included. */
static bool elected(const struct raft_core *c)
{
    size_t granted = 1;
    for (size_t i = 0; i < c->n_peers; i++)
        if (c->peers[i]->voter && c->peers[i]->vote == RAFT_VOTE_GRANTED)
            granted++;
    return granted >= raft_majority(c) || KB_MUTANT("raft-elected-alone");
}

/* This round cannot be won any more by those who have been asked. */
static bool hopeless(const struct raft_core *c)
{
    size_t possible = 1;
    for (size_t i = 0; i < c->n_peers; i++) {
        const struct raft_peer *p = c->peers[i];
        if (p->voter && (p->vote == RAFT_VOTE_GRANTED ||
                         (p->vote == RAFT_VOTE_NONE && p->link_state == RAFT_LINK_UP)))
            possible++;
    }
    return possible < raft_majority(c);
}

static void ask(struct raft_core *c, const struct raft_peer *p)
{
    bool pre = c->role == RAFT_PRE_CANDIDATE;
    raft_post(c, p,
              &(struct raft_message){.kind = pre ? RAFT_MSG_PRE_VOTE : RAFT_MSG_VOTE,
                                     .term = pre ? c->hard.term + 1 : c->hard.term,
                                     .last = durable_end(c),
                                     .transfer = c->transferred});
}

static void ask_all(struct raft_core *c)
{
    for (size_t i = 0; i < c->n_peers; i++)
        if (c->peers[i]->voter)
            ask(c, c->peers[i]);
}

static uint32_t round_ms(const struct raft_core *c)
{
    return c->times.hold_ms + c->times.refused_ms;
}

static void become_candidate(struct raft_core *c, bool transferred)
{
    c->n_outbox = 0;
    c->hard.term++;
    c->hard.vote = c->self;
    c->verified_index = 0;
    c->round_heard = 0;
    c->transferred = transferred;
    c->elections++;
    raft_hard_changed(c);
    raft_set_role(c, RAFT_CANDIDATE, raft_nobody());
    clear_votes(c);
    c->candidate_hard = c->hard_sequence;
    c->candidate_asked = false;
    c->election_at_ms = RAFT_NEVER; /* starts when the vote is durable */
}

/* Own vote is durable: it counts, and the others may be asked (5.1). */
void raft_election_hard_durable(struct raft_core *c)
{
    if (c->disk_probe && !c->disk_stalled && c->hard_durable == c->hard_sequence) {
        c->disk_probe = false;
        if (c->role != RAFT_LEADER && c->election_at_ms != RAFT_NEVER)
            c->election_at_ms = c->now_ms;
    }
    if (c->role != RAFT_CANDIDATE || c->candidate_asked || c->hard_durable < c->candidate_hard)
        return;
    c->candidate_asked = true;
    if (!KB_MUTANT("raft-candidate-waits-for-ever"))
        c->election_at_ms = c->now_ms + round_ms(c);
    if (elected(c))
        raft_become_leader(c);
    else
        ask_all(c);
}

static void become_pre_candidate(struct raft_core *c)
{
    raft_set_role(c, RAFT_PRE_CANDIDATE, raft_nobody());
    c->transferred = false;
    clear_votes(c);
    c->election_at_ms = c->now_ms + round_ms(c);
    if (elected(c) || KB_MUTANT("raft-no-pre-vote")) {
        become_candidate(c, false);
        return;
    }
    ask_all(c);
}

/* A stalled disk stands again once a sync took less than disk_sound_ms. With no leader nothing else
 * is written, so the hard state is written once more as a probe (5.8). */
static void probe_disk(struct raft_core *c)
{
    if (c->hard_durable == c->hard_sequence && c->hard_write_since_ms == 0) {
        c->disk_probe = true;
        raft_hard_changed(c);
    }
    c->election_at_ms = c->now_ms + c->times.disk_sound_ms;
}

static void leader_link_tick(struct raft_core *c)
{
    if (raft_node_none(c->leader))
        return;
    struct raft_peer *p = raft_peer_find(c, c->leader);
    if (p == NULL || p->link_state != RAFT_LINK_CLOSED ||
        c->now_ms < p->link_since_ms + c->times.link_grace_ms)
        return;
    p->link_state = RAFT_LINK_DEAD;
    raft_leader_lost(c);
}

void raft_election_tick(struct raft_core *c)
{
    leader_link_tick(c);
    if (!c->voter || c->now_ms < c->election_at_ms)
        return;
    if (!may_stand(c)) {
        raft_election_in(c, c->times.refused_ms, c->times.refused_ms);
        return;
    }
    if (c->disk_stalled) {
        probe_disk(c);
        return;
    }
    if (c->role == RAFT_CANDIDATE)
        kb_log_debug("raft", "event=election_lost node=%" PRId32 " term=%" PRIu64, c->self.id,
                     c->hard.term);
    become_pre_candidate(c);
}

uint64_t raft_election_deadline(const struct raft_core *c)
{
    uint64_t at = c->voter ? c->election_at_ms : RAFT_NEVER;
    const struct raft_peer *leader = raft_node_none(c->leader) ? NULL
                                                               : raft_peer_find(c, c->leader);
    if (leader != NULL && leader->link_state == RAFT_LINK_CLOSED &&
        leader->link_since_ms + c->times.link_grace_ms < at)
        at = leader->link_since_ms + c->times.link_grace_ms;
    for (size_t i = 0; i < c->n_peers; i++)
        if (c->peers[i]->held.active && c->peers[i]->held.until_ms < at)
            at = c->peers[i]->held.until_ms;
    return at;
}

/* A link came up in the middle of an election: this voter has not been asked on it. */
void raft_election_linked(struct raft_core *c, struct raft_peer *p)
{
    if (!p->voter || p->vote == RAFT_VOTE_GRANTED)
        return;
    if (c->role == RAFT_PRE_CANDIDATE || (c->role == RAFT_CANDIDATE && c->candidate_asked))
        ask(c, p);
}

void raft_on_vote_reply(struct raft_core *c, struct raft_peer *p, const struct raft_message *m)
{
    bool pre = m->kind == RAFT_MSG_PRE_VOTE_REPLY;
    if (!m->granted && m->term > c->hard.term) {
        raft_adopt_term(c, m->term);
        raft_election_in(c, c->times.refused_ms, c->times.refused_ms);
        return;
    }
    if (c->role != (pre ? RAFT_PRE_CANDIDATE : RAFT_CANDIDATE) || !p->voter)
        return;
    if (m->granted && m->term != (pre ? c->hard.term + 1 : c->hard.term))
        return; /* to an earlier question */
    if (!pre && !c->candidate_asked)
        return;
    if (p->vote != RAFT_VOTE_GRANTED)
        p->vote = m->granted ? RAFT_VOTE_GRANTED : RAFT_VOTE_REFUSED;
    if (elected(c)) {
        if (pre)
            become_candidate(c, false);
        else
            raft_become_leader(c);
    } else if (hopeless(c)) {
        if (pre)
            raft_election_in(c, c->times.refused_ms, c->times.refused_ms);
        else
            raft_election_in(c, c->times.split_min_ms, c->times.split_max_ms);
        clear_votes(c);
    }
}

void raft_on_timeout_now(struct raft_core *c, struct raft_peer *p, const struct raft_message *m)
{
    if (c->role != RAFT_FOLLOWER || m->term != c->hard.term || !raft_node_equal(p->node, c->leader))
        return;
    if (!raft_may_vote(c) || c->disk_stalled)
        return; /* the leader's transfer runs out */
    become_candidate(c, true);
}

/* ---- answering --------------------------------------------------------------------------------
 */

static void answer(struct raft_core *c, const struct raft_peer *p, const struct raft_held *q,
                   bool granted)
{
    bool pre = q->kind == RAFT_MSG_PRE_VOTE;
    raft_post(c, p,
              &(struct raft_message){.kind = pre ? RAFT_MSG_PRE_VOTE_REPLY : RAFT_MSG_VOTE_REPLY,
                                     .term = pre && granted ? q->term : c->hard.term,
                                     .granted = granted});
}

/* Everything but the 5.3 test. */
static bool electable(const struct raft_core *c, const struct raft_peer *p,
                      const struct raft_held *q)
{
    if (!raft_may_vote(c) || q->term < c->hard.term)
        return false;
    if (q->term == c->hard.term && !raft_node_none(c->hard.vote) &&
        !raft_node_equal(c->hard.vote, p->node) && !KB_MUTANT("raft-vote-twice"))
        return false;
    return compare_ends(q->last, durable_end(c)) >= 0 || KB_MUTANT("raft-vote-for-short-log");
}

/* Two that ask at the same moment would split the vote. Once per lost leader the lesser one gives
 * way; only once, because the other may be the one that cannot win. */
static void give_way(struct raft_core *c, const struct raft_peer *p, const struct raft_held *q)
{
    if (c->yielded || (c->role != RAFT_PRE_CANDIDATE && c->role != RAFT_FOLLOWER))
        return;
    int order = compare_ends(q->last, durable_end(c));
    bool lesser = order > 0 || (order == 0 && p->node.id < c->self.id);
    if (c->role == RAFT_PRE_CANDIDATE && !lesser)
        return;
    c->yielded = true;
    if (c->role == RAFT_PRE_CANDIDATE)
        raft_set_role(c, RAFT_FOLLOWER, raft_nobody());
    raft_election_in(c, c->times.split_min_ms, c->times.split_max_ms);
}

static void decide_pre_vote(struct raft_core *c, const struct raft_peer *p,
                            const struct raft_held *q)
{
    bool granted = electable(c, p, q);
    answer(c, p, q, granted);
    if (granted)
        give_way(c, p, q);
}

static void decide_vote(struct raft_core *c, const struct raft_peer *p, const struct raft_held *q)
{
    if (q->term > c->hard.term && raft_may_vote(c)) {
        raft_adopt_term(c, q->term);
        c->yielded = false;
        /* A better log than the candidate's should be quick to ask itself. */
        raft_election_in(c, c->times.split_min_ms, c->times.split_max_ms);
    }
    bool granted = electable(c, p, q) && q->term == c->hard.term && raft_node_none(c->leader);
    if (granted) {
        if (raft_node_none(c->hard.vote)) {
            c->hard.vote = p->node;
            raft_hard_changed(c);
        }
        if (c->role == RAFT_FOLLOWER)
            raft_election_in(c, c->times.hold_ms + c->times.split_min_ms,
                             c->times.hold_ms + c->times.split_max_ms);
    }
    answer(c, p, q, granted);
}

static void decide(struct raft_core *c, const struct raft_peer *p, const struct raft_held *q)
{
    if (q->kind == RAFT_MSG_PRE_VOTE)
        decide_pre_vote(c, p, q);
    else
        decide_vote(c, p, q);
}

void raft_on_vote_request(struct raft_core *c, struct raft_peer *p, const struct raft_message *m)
{
    struct raft_held q = {.active = true,
                          .kind = m->kind,
                          .term = m->term,
                          .last = m->last,
                          .until_ms = c->now_ms + c->times.hold_ms};
    p->held.active = false;
    bool asked_by_leader = m->kind == RAFT_MSG_VOTE && m->transfer;
    bool vain = q.term < c->hard.term || !raft_may_vote(c) ||
                compare_ends(q.last, durable_end(c)) < 0;
    if (asked_by_leader || raft_lost_leader(c) || KB_MUTANT("raft-vote-beside-leader")) {
        decide(c, p, &q);
    } else if (c->role == RAFT_LEADER || vain) {
        answer(c, p, &q, false);
        p->beat = c->role == RAFT_LEADER;
    } else {
        p->held = q;
    }
}

void raft_decide_held(struct raft_core *c)
{
    for (size_t i = 0; i < c->n_peers; i++) {
        struct raft_peer *p = c->peers[i];
        if (!p->held.active)
            continue;
        if (raft_lost_leader(c)) {
            p->held.active = false;
            decide(c, p, &p->held);
        } else if (c->now_ms >= p->held.until_ms) {
            p->held.active = false;
            answer(c, p, &p->held, false);
        }
    }
}
