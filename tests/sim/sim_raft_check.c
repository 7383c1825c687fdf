#include "tests/sim/sim_raft_check.h"

#include <stdlib.h>
#include <string.h>

#include "proto/base/assert.h"
#include "proto/base/map.h"
#include "proto/base/mem.h"
#include "tests/sim/sim_metadata_check.h"
#include "tests/sim/sim_net.h"

#define VOTERS_MAX 8

/* Rule 5.4 gives a leader 1.5 s, and as much again after it stood still (7.3). */
#define RESIGN_US 3500000
#define STANDS_STILL_US 250000
/* A pre-vote is answered within a quarter of a second or not at all. */
#define PRE_VOTE_US 1000000
/* Rule 5.3: who heard its leader within a second does not let another stand. */
#define STEADY_US 2000000

/* The entry that ends at some committed index. */
struct committed {
    int64_t first, last;
    int32_t term;
    uint32_t crc;
    uint64_t decided; /* the lowest term whose leader is known to have committed it */
};

struct leader {
    uint32_t voter, life;
    uint64_t committed; /* how far it did, in its term */
};

struct voter {
    struct sim_raft_view view; /* at the last step */
    bool seen, replaced;
    struct sim_log visible, durable;
    uint64_t vote_term;
    int32_t voted_for;
    uint64_t lost_term; /* the same, when it was damaged on the disk */
    int32_t lost_for;
    bool vote_lost;  /* and no leader has brought it up since */
    bool was_barred; /* since then */
    uint64_t leads_since_us;
    uint64_t step_us;     /* of its last event */
    uint64_t outdated_us; /* it ran so long as leader beside one of a later term */
};

struct sim_raft_check {
    struct sim_raft_options options;
    struct voter voters[VOTERS_MAX];
    struct committed *committed; /* in index order */
    size_t committed_count, committed_capacity;
    struct kb_map leaders; /* term -> struct leader */
    struct kb_map entries; /* (index, term) -> crc + 1 */
    struct kb_map digests; /* applied index -> digest | 1 */
    struct kb_map images;  /* applied index -> image | 1 */
    struct sim_metadata_check *metadata;
    struct sim_voters_check *voter_sets; /* NULL: R15 is not judged */
    uint64_t leader_terms;
    uint64_t newest_term; /* that had a leader */
};

struct sim_raft_check *sim_raft_check_new(const struct sim_raft_options *options)
{
    struct sim_raft_check *c = kb_new(struct sim_raft_check);
    KB_ASSERT(options->voter_count <= VOTERS_MAX);
    c->options = *options;
    c->metadata = sim_metadata_check_new(options->checks);
    if (options->directory_of == NULL)
        return c;
    struct sim_voters_options vo = {.checks = options->checks,
                                    .disk_count = options->disk_count != 0 ? options->disk_count
                                                                           : options->voter_count,
                                    .first_id = options->first_id,
                                    .log_dir = options->log_dir,
                                    .directory_of = options->directory_of,
                                    .vote_of = options->vote_of,
                                    .barred_of = options->barred_of};
    memcpy(vo.disks, options->disks, sizeof(vo.disks));
    c->voter_sets = sim_voters_check_new(&vo);
    return c;
}

struct sim_raft_check *sim_raft_check_free(struct sim_raft_check *c)
{
    if (c == NULL)
        return NULL;
    size_t cursor = 0;
    uint64_t key = 0;
    struct leader *l;
    while ((l = kb_map_next(&c->leaders, &cursor, &key)) != NULL)
        free(l);
    for (size_t v = 0; v < VOTERS_MAX; v++) {
        sim_log_release(&c->voters[v].visible);
        sim_log_release(&c->voters[v].durable);
    }
    kb_map_release(&c->leaders);
    kb_map_release(&c->entries);
    kb_map_release(&c->digests);
    kb_map_release(&c->images);
    c->metadata = sim_metadata_check_free(c->metadata);
    c->voter_sets = sim_voters_check_free(c->voter_sets);
    free(c->committed);
    free(c);
    return NULL;
}

/* R4: remember what each (index, term) was when it was first seen on any disk. */
static void know_entries(struct sim_raft_check *c, uint32_t voter, const struct sim_log *l)
{
    for (size_t i = l->fresh; i < l->count; i++) {
        const struct sim_log_batch *b = &l->batches[i];
        uint64_t key = (uint64_t)(uint32_t)b->epoch << 40 ^ (uint64_t)b->last;
        uintptr_t before = (uintptr_t)kb_map_get(&c->entries, key);
        sim_check(c->options.checks, SIM_CHECK_R4, before == 0 || before == (uintptr_t)b->crc + 1,
                  "voter %u: entry %lld of term %d has other bytes than elsewhere", voter + 1,
                  (long long)b->last, b->epoch);
        (void)kb_map_put(&c->entries, key, (void *)((uintptr_t)b->crc + 1));
    }
}

static struct sim_log *refresh(struct sim_raft_check *c, uint32_t voter, bool durable)
{
    struct voter *v = &c->voters[voter];
    struct sim_log *l = durable ? &v->durable : &v->visible;
    sim_log_refresh(l, c->options.disks[voter], c->options.log_dir, durable);
    know_entries(c, voter, l);
    return l;
}

/* The entry is in the log, or a snapshot stands for it (R6 compares the images). */
static bool has_entry(const struct sim_log *l, const struct committed *e)
{
    if (e->last <= l->snapshot)
        return true;
    const struct sim_log_batch *b = sim_log_find(l, e->last);
    return b != NULL && b->last == e->last && b->epoch == e->term && b->crc == e->crc;
}

/* ---- votes ---- */

static void check_votes_of(struct sim_raft_check *c, uint32_t voter)
{
    struct voter *v = &c->voters[voter];
    uint64_t term = 0;
    int32_t voted_for = -1;
    if (c->options.vote_of == NULL ||
        c->options.vote_of(c->options.disks[voter], &term, &voted_for) != 1)
        return;
    if (v->vote_lost) { /* R15 judges what it does until then */
        bool barred = false;
        (void)c->options.barred_of(c->options.disks[voter], &barred);
        v->vote_lost = barred || !v->was_barred;
        v->was_barred = v->was_barred || barred;
        v->vote_term = term;
        v->voted_for = voted_for;
        return;
    }
    if (term == v->vote_term && voted_for == v->voted_for)
        return;
    sim_check(c->options.checks, SIM_CHECK_R2, term >= v->vote_term,
              "voter %u: durable term falls from %llu to %llu", voter + 1,
              (unsigned long long)v->vote_term, (unsigned long long)term);
    sim_check(c->options.checks, SIM_CHECK_R2,
              term != v->vote_term || v->voted_for < 0 || v->voted_for == voted_for,
              "voter %u: durable vote in term %llu changes from %d to %d", voter + 1,
              (unsigned long long)term, v->voted_for, voted_for);
    v->vote_term = term;
    v->voted_for = voted_for;
}

static int32_t leader_of(void *arg, uint64_t term)
{
    const struct sim_raft_check *c = arg;
    const struct leader *l = kb_map_get(&c->leaders, term);
    return l != NULL ? c->options.first_id + (int32_t)l->voter : -1;
}

void sim_raft_check_votes(struct sim_raft_check *c, uint32_t node)
{
    if (node < c->options.voter_count)
        check_votes_of(c, node);
    if (c->voter_sets != NULL)
        sim_voters_check_disk(c->voter_sets, node, leader_of, c);
}

void sim_raft_check_leaves(struct sim_raft_check *c, uint32_t node)
{
    if (c->voter_sets != NULL)
        sim_voters_check_leaves(c->voter_sets, node);
}

void sim_raft_check_damaged(struct sim_raft_check *c, uint32_t node)
{
    struct voter *v = &c->voters[node];
    if (c->voter_sets == NULL)
        return;
    v->vote_lost = true;
    v->was_barred = false;
    v->lost_term = v->vote_term;
    v->lost_for = v->voted_for;
    sim_voters_check_damaged(c->voter_sets, node);
}

void sim_raft_check_replaced(struct sim_raft_check *c, uint32_t voter)
{
    c->voters[voter].vote_term = 0;
    c->voters[voter].voted_for = -1;
    c->voters[voter].replaced = true;
}

/* R2: who leads was given durable votes by a majority; a voter may have moved on since. */
static void check_votes_for(struct sim_raft_check *c, uint32_t leader, uint64_t term)
{
    uint32_t votes = 0;
    if (c->options.vote_of == NULL)
        return;
    for (uint32_t n = 0; n < c->options.voter_count; n++) {
        sim_raft_check_votes(c, n);
        const struct voter *v = &c->voters[n];
        int32_t id = c->options.first_id + (int32_t)leader;
        votes += v->vote_term > term || (v->vote_term == term && v->voted_for == id) ||
                 v->lost_term > term || (v->lost_term == term && v->lost_for == id);
    }
    sim_check(c->options.checks, SIM_CHECK_R2, votes > c->options.voter_count / 2,
              "voter %u leads term %llu with %u durable votes", leader + 1,
              (unsigned long long)term, votes);
}

/* ---- whom the network lets them hear ---- */

static uint64_t heard_us(const struct sim_raft_check *c, uint32_t from, uint32_t to,
                         uint64_t *ret_steady_us)
{
    *ret_steady_us = 0;
    return c->options.heard_us(c->options.arg, from, to, ret_steady_us);
}

/* R11: its pre-votes came from a majority, so it has just heard one. A transfer needs none. */
static void check_candidacy(struct sim_raft_check *c, uint32_t voter,
                            const struct sim_raft_view *view, uint64_t now_us)
{
    uint32_t heard = 1;
    uint64_t steady = 0;
    for (uint32_t n = 0; n < c->options.voter_count; n++) {
        uint64_t at = n != voter ? heard_us(c, n, voter, &steady) : 0;
        heard += at != 0 && now_us - at <= PRE_VOTE_US;
    }
    sim_check(c->options.checks, SIM_CHECK_R11,
              view->transferred || heard > c->options.voter_count / 2,
              "voter %u raises its term to %llu and hears %u voters, itself included", voter + 1,
              (unsigned long long)view->term, heard);
}

static bool steady_between(const struct sim_raft_check *c, uint32_t from, uint32_t to,
                           uint64_t now_us)
{
    uint64_t since = 0;
    uint64_t at = heard_us(c, from, to, &since);
    return at != 0 && now_us - at <= SIM_STEADY_GAP_US && now_us >= since + STEADY_US;
}

/* R13: no leader that a majority, itself included, hears and is heard by is displaced, unless it
 * asked for that. Whether it did is told by the candidate of this term that the voter was until
 * now: a leader does not know it any more. */
static void check_displaced(struct sim_raft_check *c, uint32_t voter,
                            const struct sim_raft_view *before, const struct sim_raft_view *view,
                            uint64_t now_us)
{
    bool asked_for = before != NULL && before->term == view->term && before->transferred;
    for (uint32_t old = 0; old < c->options.voter_count; old++) {
        const struct voter *v = &c->voters[old];
        uint32_t steady = 1;
        if (old == voter || !v->seen || !v->view.leader || v->view.term >= view->term)
            continue;
        for (uint32_t n = 0; n < c->options.voter_count; n++)
            steady += n != old && steady_between(c, old, n, now_us) &&
                      steady_between(c, n, old, now_us);
        bool sound = now_us >= v->leads_since_us + STEADY_US && steady > c->options.voter_count / 2;
        sim_check(c->options.checks, SIM_CHECK_R13, !sound || asked_for,
                  "voter %u is elected in term %llu beside voter %u, whom %u voters hear",
                  voter + 1, (unsigned long long)view->term, old + 1, steady);
    }
}

/* R12: a leader that runs on beside its successor resigns in time. */
static void check_outdated(struct sim_raft_check *c, uint32_t voter,
                           const struct sim_raft_view *view, uint64_t now_us)
{
    struct voter *v = &c->voters[voter];
    uint64_t since_us = now_us - v->step_us;
    bool outdated = view->leader && view->term < c->newest_term;
    v->step_us = now_us;
    v->outdated_us = outdated && since_us < STANDS_STILL_US ? v->outdated_us + since_us : 0;
    if (outdated)
        sim_check(c->options.checks, SIM_CHECK_R12, v->outdated_us <= RESIGN_US,
                  "voter %u leads term %llu on, %llu ms after one was elected in term %llu",
                  voter + 1, (unsigned long long)view->term,
                  (unsigned long long)v->outdated_us / 1000, (unsigned long long)c->newest_term);
}

static void check_network(struct sim_raft_check *c, uint32_t voter,
                          const struct sim_raft_view *before, const struct sim_raft_view *view)
{
    uint64_t now_us = c->options.now_us(c->options.arg);
    bool was_leader = before != NULL && before->leader && before->term == view->term;
    if (before == NULL)
        c->voters[voter].outdated_us = 0;
    check_outdated(c, voter, view, now_us);
    if (before != NULL && view->candidacies > before->candidacies)
        check_candidacy(c, voter, view, now_us);
    if (!view->leader || was_leader)
        return;
    c->voters[voter].leads_since_us = now_us;
    check_displaced(c, voter, before, view, now_us);
}

/* ---- leaders ---- */

static void check_leader(struct sim_raft_check *c, uint32_t voter, const struct sim_raft_view *view)
{
    struct leader *l = kb_map_get(&c->leaders, view->term);
    if (l != NULL) {
        sim_check(c->options.checks, SIM_CHECK_R1, l->voter == voter && l->life == view->life,
                  "term %llu is led by voter %u (life %u) and by voter %u (life %u)",
                  (unsigned long long)view->term, l->voter + 1, l->life, voter + 1, view->life);
        return;
    }
    l = kb_new(struct leader);
    *l = (struct leader){.voter = voter, .life = view->life};
    (void)kb_map_put(&c->leaders, view->term, l);
    c->leader_terms++;
    c->newest_term = view->term > c->newest_term ? view->term : c->newest_term;
    sim_check(c->options.checks, SIM_CHECK_R1, true, "first leader of its term");
    check_votes_for(c, voter, view->term);
    if (c->voter_sets != NULL)
        sim_voters_check_elected(c->voter_sets, voter, view->term, &view->set);
    const struct sim_log *log = refresh(c, voter, false);
    for (size_t i = 0; i < c->committed_count; i++) {
        if (c->committed[i].decided >= view->term)
            continue; /* it is late: a later term has begun elsewhere */
        sim_check(c->options.checks, SIM_CHECK_R5, has_entry(log, &c->committed[i]),
                  "voter %u leads term %llu without the committed entry %lld of term %d", voter + 1,
                  (unsigned long long)view->term, (long long)c->committed[i].last,
                  c->committed[i].term);
    }
}

/* ---- commit ---- */

/* R5 binds the leaders of later terms than that in which an entry was committed, which may itself
 * be later than the entry's own: a leader commits what former ones left through an entry of its
 * term. One of a term between the two, whose votes came late, need not have it (seed 53852). An
 * entry of which no leader was seen to commit it counts from its own term. */
static uint64_t decided_in(const struct sim_raft_check *c, const struct sim_log_batch *b)
{
    uint64_t decided = 0;
    size_t cursor = 0;
    uint64_t term = 0;
    const struct leader *l;
    while ((l = kb_map_next(&c->leaders, &cursor, &term)) != NULL) {
        if (l->committed >= (uint64_t)b->last && (decided == 0 || term < decided))
            decided = term;
    }
    return decided != 0 ? decided : (uint64_t)b->epoch;
}

/* The leader of this term commits up to this index. One whose answers come late may have done so
 * before the leader of a later term, whose commit was seen first. */
static void note_leader_commit(struct sim_raft_check *c, uint64_t term, uint64_t index)
{
    struct leader *l = kb_map_get(&c->leaders, term);
    if (l == NULL || l->committed >= index)
        return;
    l->committed = index;
    for (size_t i = c->committed_count; i-- > 0;) {
        struct committed *e = &c->committed[i];
        if ((uint64_t)e->last <= index && e->decided > term)
            e->decided = term;
    }
}

/* Entries up to this index are committed, as this voter has them. */
static void take_committed(struct sim_raft_check *c, uint32_t voter, uint64_t index)
{
    const struct sim_log *l = refresh(c, voter, false);
    for (size_t i = 0; i < l->count && (uint64_t)l->batches[i].last <= index; i++) {
        const struct sim_log_batch *b = &l->batches[i];
        int64_t known_to = c->committed_count > 0 ? c->committed[c->committed_count - 1].last : 0;
        if (b->last <= known_to)
            continue;
        kb_array_reserve(c->committed, c->committed_count, c->committed_capacity);
        c->committed[c->committed_count++] = (struct committed){.first = b->first,
                                                                .last = b->last,
                                                                .term = b->epoch,
                                                                .crc = b->crc,
                                                                .decided = decided_in(c, b)};
        sim_metadata_check_batch(
            c->metadata, sim_log_bytes(b, c->options.disks[voter], c->options.log_dir, false));
    }
    /* R6 and R4 for what others had committed before: the last one stands for the chain. */
    for (size_t i = c->committed_count; i-- > 0;) {
        if ((uint64_t)c->committed[i].last > index)
            continue;
        sim_check(c->options.checks, SIM_CHECK_R5, has_entry(l, &c->committed[i]),
                  "voter %u commits %llu with another entry at %lld than was committed", voter + 1,
                  (unsigned long long)index, (long long)c->committed[i].last);
        break;
    }
}

/* R7, R8: what a leader commits is of its own term, and lies durably on a majority. */
static void check_leader_commit(struct sim_raft_check *c, uint32_t voter,
                                const struct sim_raft_view *view)
{
    uint32_t copies = 0;
    note_leader_commit(c, view->term, view->leader_commit);
    const struct sim_log_batch *b = sim_log_find(refresh(c, voter, false),
                                                 (int64_t)view->leader_commit);
    if (b == NULL)
        return; /* a snapshot was taken at once */
    struct committed e = {.first = b->first, .last = b->last, .term = b->epoch, .crc = b->crc};
    sim_check(c->options.checks, SIM_CHECK_R7, (uint64_t)e.term == view->term,
              "voter %u, leader of term %llu, commits %llu through an entry of term %d", voter + 1,
              (unsigned long long)view->term, (unsigned long long)view->leader_commit, e.term);
    for (uint32_t n = 0; n < c->options.voter_count; n++)
        copies += c->voters[n].replaced || has_entry(refresh(c, n, true), &e);
    sim_check(c->options.checks, SIM_CHECK_R8, copies > c->options.voter_count / 2,
              "voter %u commits %llu, which lies durably on %u disks", voter + 1,
              (unsigned long long)view->leader_commit, copies);
    if (c->voter_sets != NULL)
        sim_voters_check_committed(c->voter_sets, voter, &view->set, b);
}

/* R9: its log may be cut, but not below what it knew to be committed. */
static void check_cut(struct sim_raft_check *c, uint32_t voter, const struct sim_raft_view *before,
                      const struct sim_raft_view *view)
{
    if (view->cuts == before->cuts && view->last_index >= before->last_index)
        return;
    uint64_t end = view->cut_index < view->last_index ? view->cut_index : view->last_index;
    sim_check(c->options.checks, SIM_CHECK_R9, end >= before->commit_index,
              "voter %u cuts its log from %llu to %llu, and knew that %llu is committed", voter + 1,
              (unsigned long long)before->last_index, (unsigned long long)end,
              (unsigned long long)before->commit_index);
}

static bool same_set(const struct sim_voter_set *a, const struct sim_voter_set *b)
{
    return a->index == b->index && a->count == b->count &&
           memcmp(a->voters, b->voters, a->count * sizeof(a->voters[0])) == 0;
}

/* R15: what sets it goes by. Its own change of them is seen before anything of it is written. */
static void check_set(struct sim_raft_check *c, uint32_t voter, const struct sim_raft_view *before,
                      const struct sim_raft_view *view)
{
    if (c->voter_sets == NULL || (before != NULL && same_set(&before->set, &view->set)))
        return;
    sim_voters_check_know(c->voter_sets, &view->set);
    if (before == NULL || !before->leader || !view->leader || before->term != view->term)
        return;
    const struct sim_log_batch *b = sim_log_find(refresh(c, voter, false),
                                                 (int64_t)before->leader_commit);
    bool own = b == NULL || (uint64_t)b->epoch == view->term;
    sim_voters_check_changed(c->voter_sets, voter, &before->set, &view->set, before->leader_commit,
                             own);
}

static void check_commit(struct sim_raft_check *c, uint32_t voter,
                         const struct sim_raft_view *before, const struct sim_raft_view *view)
{
    if (before != NULL && view->commit_index == before->commit_index)
        return;
    sim_check(c->options.checks, SIM_CHECK_R8,
              before == NULL || view->commit_index > before->commit_index,
              "voter %u: commit falls from %llu to %llu", voter + 1,
              (unsigned long long)(before != NULL ? before->commit_index : 0),
              (unsigned long long)view->commit_index);
    if (view->commit_index == 0)
        return;
    take_committed(c, voter, view->commit_index);
}

static void check_digest(struct sim_raft_check *c, uint32_t voter, const struct sim_raft_view *view)
{
    uintptr_t digest = (uintptr_t)(view->applied_digest | 1);
    uintptr_t other = (uintptr_t)kb_map_get(&c->digests, view->applied_index);
    if (view->applied_index == 0)
        return;
    sim_check(c->options.checks, SIM_CHECK_R6, other == 0 || other == digest,
              "voter %u: the image at %llu differs from another voter's", voter + 1,
              (unsigned long long)view->applied_index);
    (void)kb_map_put(&c->digests, view->applied_index, (void *)digest);
}

static bool same_view(const struct sim_raft_view *a, const struct sim_raft_view *b)
{
    return a->life == b->life && a->leader == b->leader && a->term == b->term &&
           a->last_index == b->last_index && a->commit_index == b->commit_index &&
           a->leader_commit == b->leader_commit && a->applied_index == b->applied_index &&
           a->applied_digest == b->applied_digest && a->candidacies == b->candidacies &&
           a->transferred == b->transferred && a->cuts == b->cuts && same_set(&a->set, &b->set);
}

void sim_raft_check_step(struct sim_raft_check *c, uint32_t voter, const struct sim_raft_view *view)
{
    struct voter *v = &c->voters[voter];
    const struct sim_raft_view *before = v->seen && v->view.life == view->life ? &v->view : NULL;
    if (c->options.now_us != NULL)
        check_network(c, voter, before, view);
    if (before != NULL && same_view(before, view))
        return;
    check_set(c, voter, before, view);
    if (before != NULL)
        check_cut(c, voter, before, view);
    if (view->leader && (before == NULL || !before->leader || before->term != view->term))
        check_leader(c, voter, view);
    if (view->leader && before != NULL && before->leader && before->term == view->term)
        sim_check(c->options.checks, SIM_CHECK_R3, view->last_index >= before->last_index,
                  "voter %u, leader of term %llu, cuts its log from %llu to %llu", voter + 1,
                  (unsigned long long)view->term, (unsigned long long)before->last_index,
                  (unsigned long long)view->last_index);
    /* At the step of an election the commit is the former leader's. */
    if (view->leader && before != NULL && before->leader && before->term == view->term &&
        view->leader_commit != before->leader_commit)
        check_leader_commit(c, voter, view);
    check_commit(c, voter, before, view);
    if (before == NULL || before->applied_index != view->applied_index)
        check_digest(c, voter, view);
    v->view = *view;
    v->seen = true;
}

void sim_raft_check_image(struct sim_raft_check *c, uint32_t voter, uint64_t applied_index,
                          uint64_t image)
{
    uintptr_t other = (uintptr_t)kb_map_get(&c->images, applied_index);
    if (applied_index == 0)
        return;
    sim_check(c->options.checks, SIM_CHECK_R10, other == 0 || other == (uintptr_t)(image | 1),
              "voter %u: the image at %llu holds something else than another one did", voter + 1,
              (unsigned long long)applied_index);
    (void)kb_map_put(&c->images, applied_index, (void *)(uintptr_t)(image | 1));
}

struct sim_metadata_check *sim_raft_check_metadata(const struct sim_raft_check *c)
{
    return c->metadata;
}

uint64_t sim_raft_check_committed(const struct sim_raft_check *c)
{
    return c->committed_count > 0 ? (uint64_t)c->committed[c->committed_count - 1].last : 0;
}

uint64_t sim_raft_check_leaders(const struct sim_raft_check *c)
{
    return c->leader_terms;
}

uint64_t sim_raft_check_elections(const struct sim_raft_check *c)
{
    return sim_metadata_check_elections(c->metadata);
}
