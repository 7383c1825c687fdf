/* The invariants of the toy cluster, judged from durable images where they speak of durability. */
#include "tests/unit/raft/toy.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/mem.h"

void toy_fail(const struct toy *t, const char *format, ...)
{
    va_list args;
    fprintf(stderr, "seed %" PRIu64 " at %" PRIu64 " ms, step %" PRIu64 ": ", t->seed, t->now_ms,
            t->steps);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fprintf(stderr, "\n");
    abort();
}

/* R4: equal (index, term) means equal content there and before. Facts are sorted by (term, last).
 */
void toy_judge_append(struct toy *t, int n, const struct toy_batch *b, uint64_t prev_term)
{
    size_t low = 0;
    size_t high = t->n_facts;
    while (low < high) {
        size_t middle = (low + high) / 2;
        const struct raft_entry *e = &t->facts[middle].entry;
        if (e->term < b->entry.term || (e->term == b->entry.term && e->last < b->entry.last))
            low = middle + 1;
        else
            high = middle;
    }
    struct toy_fact *f = &t->facts[low];
    if (low < t->n_facts && f->entry.term == b->entry.term && f->entry.last == b->entry.last) {
        if (f->entry.first != b->entry.first || f->value != b->value || f->prev_term != prev_term)
            toy_fail(t, "R4: n%d holds another batch at %" PRIu64 " of term %" PRIu64, n + 1,
                     b->entry.last, b->entry.term);
        return;
    }
    kb_array_reserve(t->facts, t->n_facts, t->facts_capacity);
    memmove(t->facts + low + 1, t->facts + low, (t->n_facts - low) * sizeof(t->facts[0]));
    t->facts[low] = (struct toy_fact){b->entry, b->value, prev_term};
    t->n_facts++;
}

/* R2: the durable term never falls, and within one term the vote only goes from none to one. */
void toy_judge_hard(struct toy *t, int n, const struct raft_hard_state *next)
{
    const struct raft_hard_state *now = &t->nodes[n].disk.hard;
    if (next->term < now->term)
        toy_fail(t, "R2: n%d's term falls from %" PRIu64 " to %" PRIu64, n + 1, now->term,
                 next->term);
    if (next->term == now->term && now->vote.id != RAFT_NOBODY &&
        !raft_node_equal(next->vote, now->vote))
        toy_fail(t, "R2: n%d changes its vote in term %" PRIu64, n + 1, next->term);
}

/* R2 and 5.1: no answer leaves before what it promises is durable. */
void toy_judge_message(struct toy *t, int n, const struct raft_message *m)
{
    const struct toy_disk *d = &t->nodes[n].disk;
    bool pre = m->kind == RAFT_MSG_PRE_VOTE || m->kind == RAFT_MSG_PRE_VOTE_REPLY;
    if (!pre && d->hard.term < m->term)
        toy_fail(t, "R2: n%d speaks in term %" PRIu64 " before it is durable", n + 1, m->term);
    if (m->kind == RAFT_MSG_VOTE_REPLY && m->granted &&
        (d->hard.term != m->term || !raft_node_equal(d->hard.vote, m->to)))
        toy_fail(t, "R2: n%d's vote leaves before it is durable", n + 1);
    if (m->kind == RAFT_MSG_VOTE &&
        (!raft_node_equal(d->hard.vote, t->nodes[n].self) || d->hard.term != m->term))
        toy_fail(t, "5.1: n%d asks before its own vote is durable", n + 1);
    if (m->kind == RAFT_MSG_APPEND_REPLY && m->match_index > toy_log_last(&d->log) &&
        m->match_index > d->snapshot.at.index)
        toy_fail(t, "5.1: n%d acknowledges %" PRIu64 " and has %" PRIu64 " durable", n + 1,
                 m->match_index, toy_log_last(&d->log));
}

/* R1: one leader per term. R5: it holds everything that was ever committed. */
void toy_judge_leader(struct toy *t, int n)
{
    const struct toy_node *node = &t->nodes[n];
    while (t->n_leaders <= node->term) {
        kb_array_reserve(t->leaders, t->n_leaders, t->leaders_capacity);
        t->leaders[t->n_leaders++] = -1;
    }
    if (t->leaders[node->term] != -1)
        toy_fail(t, "R1: n%d and n%d both led term %" PRIu64, t->leaders[node->term] + 1, n + 1,
                 node->term);
    t->leaders[node->term] = n;
    t->leader_changes++;
    for (size_t i = 0; i < t->n_committed; i++) {
        const struct raft_entry *e = &t->committed[i].entry;
        if (t->committed[i].in_term < node->term && e->last > node->log.base.index &&
            toy_log_term(&node->log, e->last) != e->term)
            toy_fail(t, "R5: n%d leads term %" PRIu64 " without %" PRIu64 " of term %" PRIu64,
                     n + 1, node->term, e->last, e->term);
    }
}

static const struct raft_voters *ruling(const struct toy *t, const struct toy_node *node)
{
    for (size_t i = node->log.count; i-- > 0;)
        if (node->log.batches[i].has_voters)
            return &node->log.batches[i].voters;
    return node->snapshot.at.index > 0 ? &node->snapshot.voters : &t->founders;
}

/* R7: only through an own-term entry. R8: a majority has it on the durable image. */
void toy_judge_commit(struct toy *t, int n)
{
    struct toy_node *node = &t->nodes[n];
    struct raft_status s;
    raft_core_status(node->core, &s);
    if (s.commit_index < node->commit_seen)
        toy_fail(t, "R8: n%d's commit index falls", n + 1);
    bool moved = s.commit_index > node->commit_seen;
    node->commit_seen = s.commit_index;
    if (!moved || s.role != RAFT_LEADER)
        return;
    uint64_t term = raft_core_term_at(node->core, s.commit_index);
    if (term != s.term)
        toy_fail(t, "R7: n%d commits %" PRIu64 " of term %" PRIu64 " in term %" PRIu64, n + 1,
                 s.commit_index, term, s.term);
    const struct raft_voters *set = ruling(t, node);
    size_t holders = 0;
    for (size_t i = 0; i < set->count; i++) {
        const struct toy_disk *d = &t->nodes[set->nodes[i].id - 1].disk;
        if (d->snapshot.at.index >= s.commit_index || d->log.base.index >= s.commit_index ||
            toy_log_term(&d->log, s.commit_index) == term)
            holders++;
    }
    if (holders <= set->count / 2 && !t->lossy_disks)
        toy_fail(t, "R8: n%d commits %" PRIu64 " durable on %zu of %zu", n + 1, s.commit_index,
                 holders, set->count);
}

/* R6: the chain of applied batches is the same everywhere; R10 follows, for a snapshot carries its
 * digest. */
void toy_judge_applied(struct toy *t, int n, const struct toy_batch *b)
{
    const struct toy_node *node = &t->nodes[n];
    size_t low = 0;
    size_t high = t->n_committed;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (t->committed[middle].entry.last < b->entry.last)
            low = middle + 1;
        else
            high = middle;
    }
    if (low < t->n_committed) {
        const struct toy_committed *known = &t->committed[low];
        if (known->entry.last != b->entry.last || known->entry.term != b->entry.term ||
            known->digest != node->digest)
            toy_fail(t, "R6: n%d applies another history at %" PRIu64, n + 1, b->entry.last);
        return;
    }
    struct raft_status status;
    raft_core_status(node->core, &status);
    kb_array_reserve(t->committed, t->n_committed, t->committed_capacity);
    t->committed[t->n_committed++] = (struct toy_committed){b->entry, node->digest, status.term};
}
