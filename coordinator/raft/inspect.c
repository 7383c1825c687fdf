/* Names and views for people; nothing here changes a core. */
#include "coordinator/raft/core.h"

static const char *name_of(const char *const *names, size_t count, size_t at)
{
    return at < count && names[at] != NULL ? names[at] : "?";
}
#define NAME_OF(names, at) name_of((names), sizeof(names) / sizeof((names)[0]), (size_t)(at))

const char *raft_role_name(enum raft_role role)
{
    static const char *const names[] = {"observer",  "follower", "pre-candidate",
                                        "candidate", "leader",   "resigned"};
    return NAME_OF(names, role);
}

const char *raft_message_kind_name(enum raft_message_kind kind)
{
    static const char *const names[] = {"pre-vote",   "pre-vote-reply", "vote",
                                        "vote-reply", "append",         "append-reply",
                                        "snapshot",   "snapshot-reply", "timeout-now"};
    return NAME_OF(names, kind);
}

const char *raft_input_kind_name(enum raft_input_kind kind)
{
    static const char *const names[] = {"tick",
                                        "message",
                                        "link",
                                        "hard-persisted",
                                        "log-durable",
                                        "propose",
                                        "voters",
                                        "transfer",
                                        "confirm",
                                        "entries-sent",
                                        "snapshot-sent",
                                        "snapshot-taken",
                                        "snapshot-stored",
                                        "snapshot-installed",
                                        "snapshot-failed",
                                        "node-stalled",
                                        "disk-stalled"};
    return NAME_OF(names, kind);
}

const char *raft_answer_name(enum raft_answer answer)
{
    static const char *const names[] = {
        "ok", "not-leader", "busy", "not-ready", "invalid-voters", "unknown-voter", "too-large"};
    return NAME_OF(names, answer);
}

void raft_core_status(const struct raft_core *c, struct raft_status *ret)
{
    *ret = (struct raft_status){.self = c->self,
                                .role = c->role,
                                .term = c->hard.term,
                                .vote = c->hard.vote,
                                .leader = c->leader,
                                .last_index = c->log.last_index,
                                .durable_index = c->durable_index,
                                .commit_index = c->commit_index,
                                .snapshot = c->log.base,
                                .voters = *raft_present_set(c),
                                .barred = c->hard.barred || c->durable_index < c->floor_index,
                                .disk_stalled = c->disk_stalled,
                                .elections = c->elections,
                                .term_start = c->role == RAFT_LEADER ? c->term_start : 0};
}

static struct raft_peer_status status_of(const struct raft_core *c, const struct raft_peer *p)
{
    struct raft_peer_status s = {.node = p->node, .voter = p->voter, .link_state = p->link_state};
    if (c->role != RAFT_LEADER)
        return s;
    s.end_index = p->match_index;
    s.last_ack_ms = p->heard_ms;
    s.last_caught_up_ms = p->caught_up_ms;
    s.barred = p->barred;
    s.fallen = p->floor_index != 0;
    s.snapshot = p->installing;
    return s;
}

static struct raft_peer_status status_of_self(const struct raft_core *c)
{
    return (struct raft_peer_status){.node = c->self,
                                     .voter = c->voter,
                                     .link_state = RAFT_LINK_UP,
                                     .end_index = c->durable_index,
                                     .last_ack_ms = c->now_ms,
                                     .last_caught_up_ms = c->now_ms,
                                     .barred = c->hard.barred};
}

size_t raft_core_peers(const struct raft_core *c, struct raft_peer_status *ret, size_t capacity)
{
    const struct raft_voters *set = raft_present_set(c);
    size_t n = 0;
    for (size_t i = 0; i < set->count; i++, n++) {
        if (n >= capacity)
            continue;
        const struct raft_peer *p = raft_peer_find(c, set->nodes[i]);
        ret[n] = p == NULL ? status_of_self(c) : status_of(c, p);
    }
    for (size_t i = 0; i < c->n_peers; i++) {
        if (c->peers[i]->voter)
            continue;
        if (n < capacity)
            ret[n] = status_of(c, c->peers[i]);
        n++;
    }
    return n;
}

uint64_t raft_core_term_at(const struct raft_core *c, uint64_t index)
{
    return raft_terms_at(&c->log, index);
}
