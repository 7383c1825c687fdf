/* Voter sets as the log carries them (5.7), and the table of other directories with their links. */
#include "coordinator/raft/core.h"

#include <inttypes.h>
#include <string.h>

#include "proto/base/assert.h"
#include "proto/base/log.h"
#include "proto/base/mem.h"
#include "proto/base/mutant.h"

static const char *nodes_problem(const struct raft_node *nodes, size_t count)
{
    if (count == 0)
        return "the voter set is empty";
    if (count > RAFT_VOTERS_MAX)
        return "the voter set has more than 15 members";
    for (size_t i = 0; i < count; i++) {
        if (nodes[i].id < 0)
            return "a voter's node id is negative";
        for (size_t k = 0; k < i; k++)
            if (nodes[k].id == nodes[i].id)
                return "a node id appears twice in the voter set";
    }
    return NULL;
}

const char *raft_voters_problem(const struct raft_node *nodes, size_t count)
{
    const char *problem = nodes_problem(nodes, count);
    if (problem == NULL && count % 2 == 0)
        problem = "the voter set has an even number of members: one more than the next smaller odd "
                  "set, without surviving one more failure";
    return problem;
}

bool raft_set_has(const struct raft_voters *set, struct raft_node node)
{
    for (size_t i = 0; i < set->count; i++)
        if (raft_node_equal(set->nodes[i], node))
            return true;
    return false;
}

struct raft_peer *raft_peer_find(const struct raft_core *c, struct raft_node node)
{
    for (size_t i = 0; i < c->n_peers; i++)
        if (raft_node_equal(c->peers[i]->node, node))
            return c->peers[i];
    return NULL;
}

static struct raft_peer *peer_add(struct raft_core *c, struct raft_node node)
{
    struct raft_peer *p = kb_new(struct raft_peer);
    p->node = node;
    /* NOLINTNEXTLINE(bugprone-sizeof-expression): an array of pointers */
    kb_array_reserve(c->peers, c->n_peers, c->peers_capacity);
    c->peers[c->n_peers++] = p;
    return p;
}

static void peer_remove(struct raft_core *c, size_t at)
{
    (void)kb_free(c->peers[at]);
    memmove(c->peers + at, c->peers + at + 1, (c->n_peers - at - 1) * sizeof(struct raft_peer *));
    c->n_peers--;
}

/* Peers and own standing follow the present set: it rules from its append on. */
static void set_rules(struct raft_core *c)
{
    const struct raft_voters *set = raft_present_set(c);
    for (size_t i = 0; i < set->count; i++) {
        if (raft_node_equal(set->nodes[i], c->self) || raft_peer_find(c, set->nodes[i]) != NULL)
            continue;
        raft_peer_restart(c, peer_add(c, set->nodes[i]));
    }
    for (size_t i = c->n_peers; i-- > 0;) {
        struct raft_peer *p = c->peers[i];
        p->voter = raft_set_has(set, p->node) || KB_MUTANT("raft-observers-vote");
        if (!p->voter && p->link_state != RAFT_LINK_UP)
            peer_remove(c, i);
    }
    c->voter = raft_set_has(set, c->self);
    if (c->role == RAFT_LEADER)
        return; /* a removed leader leads on until that is committed */
    if (c->voter && c->role == RAFT_OBSERVER) {
        raft_set_role(c, RAFT_FOLLOWER, c->leader);
        raft_election_in(c, c->times.silence_ms, c->times.silence_ms + c->times.silence_extra_ms);
    } else if (!c->voter && c->role != RAFT_OBSERVER) {
        raft_set_role(c, RAFT_OBSERVER, c->leader);
    }
}

static void sets_append(struct raft_core *c, const struct raft_voters *set)
{
    kb_array_reserve(c->sets, c->n_sets, c->sets_capacity);
    c->sets[c->n_sets++] = *set;
}

void raft_sets_push(struct raft_core *c, const struct raft_voters *set)
{
    KB_ASSERT(c->n_sets == 0 || set->index > raft_present_set(c)->index);
    sets_append(c, set);
    set_rules(c);
}

void raft_sets_truncate(struct raft_core *c, uint64_t index)
{
    size_t before = c->n_sets;
    while (c->n_sets > 1 && raft_present_set(c)->index > index)
        c->n_sets--;
    if (c->n_sets != before)
        set_rules(c);
}

void raft_sets_prune(struct raft_core *c, uint64_t index)
{
    size_t drop = 0;
    while (drop + 1 < c->n_sets && c->sets[drop + 1].index <= index)
        drop++;
    memmove(c->sets, c->sets + drop, (c->n_sets - drop) * sizeof(c->sets[0]));
    c->n_sets -= drop;
}

void raft_sets_reset(struct raft_core *c, const struct raft_voters *set)
{
    c->n_sets = 0;
    sets_append(c, set);
    set_rules(c);
}

enum raft_answer raft_sets_check_change(const struct raft_core *c, const struct raft_voters *set)
{
    const struct raft_voters *now = raft_present_set(c);
    size_t differences = 0;
    const struct raft_peer *joiner = NULL;
    if (nodes_problem(set->nodes, set->count) != NULL)
        return RAFT_INVALID_VOTERS;
    for (size_t i = 0; i < now->count; i++)
        if (!raft_set_has(set, now->nodes[i]))
            differences++;
    for (size_t i = 0; i < set->count; i++) {
        if (raft_set_has(now, set->nodes[i]))
            continue;
        differences++;
        joiner = raft_peer_find(c, set->nodes[i]);
        if (joiner == NULL || joiner->link_state != RAFT_LINK_UP || joiner->barred ||
            joiner->match_index < c->commit_index)
            return differences > 1 ? RAFT_INVALID_VOTERS : RAFT_NOT_READY;
    }
    if (differences > 1 && !KB_MUTANT("raft-two-changes-at-once"))
        return RAFT_INVALID_VOTERS;
    /* One at a time, and only after an entry of this term is committed (R15). */
    if (now->index > c->commit_index && !KB_MUTANT("raft-two-changes-at-once"))
        return RAFT_BUSY;
    if (differences == 1 && !KB_MUTANT("raft-change-before-own-commit") &&
        (c->term_start == 0 || c->commit_index < c->term_start))
        return RAFT_NOT_READY;
    return RAFT_OK;
}

uint64_t raft_quorum_value(const struct raft_core *c, uint64_t own,
                           uint64_t (*of)(const struct raft_peer *))
{
    uint64_t values[RAFT_VOTERS_MAX] = {0};
    size_t count = 0;
    if (c->voter)
        values[count++] = own;
    for (size_t i = 0; i < c->n_peers; i++) {
        const struct raft_peer *p = c->peers[i];
        if (p->voter && !p->barred && p->floor_index == 0)
            values[count++] = of(p);
    }
    KB_ASSERT(count <= RAFT_VOTERS_MAX);
    for (size_t i = 1; i < count; i++) { /* falling order */
        uint64_t v = values[i];
        size_t k = i;
        for (; k > 0 && values[k - 1] < v; k--)
            values[k] = values[k - 1];
        values[k] = v;
    }
    size_t majority = raft_majority(c);
    return count >= majority ? values[KB_MUTANT("raft-one-is-majority") ? 0 : majority - 1] : 0;
}

static void link_up(struct raft_core *c, struct raft_peer *p, uint64_t link)
{
    p->link_state = RAFT_LINK_UP;
    p->link = link;
    p->link_since_ms = c->now_ms;
    p->held.active = false;
    if (c->role == RAFT_LEADER) {
        raft_peer_restart(c, p);
        p->beat = true;
    } else {
        raft_election_linked(c, p);
    }
}

void raft_link_changed(struct raft_core *c, const struct raft_input *in)
{
    struct raft_peer *p = raft_peer_find(c, in->node);
    if (p == NULL && in->link_state == RAFT_LINK_UP) {
        if (c->n_peers >= RAFT_PEERS_MAX) {
            kb_log_warn("raft", "event=peer_refused peer=%" PRId32 " peers=%zu", in->node.id,
                        c->n_peers);
            return;
        }
        p = peer_add(c, in->node);
    }
    if (p == NULL)
        return;
    if (in->link_state == RAFT_LINK_UP) {
        link_up(c, p, in->link);
        return;
    }
    p->link_state = in->link_state;
    p->link_since_ms = c->now_ms;
    p->held.active = false;
    p->beat = false;
    bool leader = raft_node_equal(p->node, c->leader);
    if (leader && in->link_state == RAFT_LINK_DEAD)
        raft_leader_lost(c);
    if (p->voter || (leader && in->link_state == RAFT_LINK_CLOSED))
        return;
    for (size_t i = 0; i < c->n_peers; i++) {
        if (c->peers[i] == p) {
            peer_remove(c, i);
            return;
        }
    }
}
