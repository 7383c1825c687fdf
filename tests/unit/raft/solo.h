#ifndef TESTS_RAFT_SOLO_H
#define TESTS_RAFT_SOLO_H

#include <string.h>

#include "coordinator/raft/raft.h"
#include "tests/unit/unit.h"

/* One core, stepped by hand: node 1 of three voters, all linked, nothing durable by itself. */
struct solo {
    struct raft_core *core;
    struct raft_effects fx;
    uint64_t now_ms;
    uint64_t hard_sequence; /* of the last hard state asked for */
};

static inline struct raft_node solo_node(int32_t id)
{
    struct raft_node n = {.id = id};
    n.directory.bytes[0] = (uint8_t)id;
    return n;
}

static inline struct raft_core_config solo_config(const struct raft_voters *voters)
{
    return (struct raft_core_config){.self = solo_node(1),
                                     .seed = 1,
                                     .now_ms = 1000,
                                     .hard.vote.id = RAFT_NOBODY,
                                     .voters = voters,
                                     .n_voters = 1};
}

static inline struct raft_voters solo_voters(size_t count)
{
    struct raft_voters v = {.count = count};
    for (size_t i = 0; i < count; i++)
        v.nodes[i] = solo_node((int32_t)i + 1);
    return v;
}

static inline int solo_step(struct solo *s, struct raft_input in)
{
    in.now_ms = s->now_ms;
    int r = raft_core_step(s->core, &in, &s->fx);
    if (s->fx.hard != NULL)
        s->hard_sequence = s->fx.hard_sequence;
    return r;
}

static inline void solo_tick(struct solo *s, uint64_t later_ms)
{
    s->now_ms += later_ms;
    (void)solo_step(s, (struct raft_input){.kind = RAFT_IN_TICK});
}

static inline void solo_persist(struct solo *s)
{
    (void)solo_step(
        s, (struct raft_input){.kind = RAFT_IN_HARD_PERSISTED, .sequence = s->hard_sequence});
}

static inline void solo_link(struct solo *s, int32_t peer, enum raft_link_state state)
{
    (void)solo_step(s, (struct raft_input){.kind = RAFT_IN_LINK,
                                           .node = solo_node(peer),
                                           .link = (uint64_t)peer,
                                           .link_state = state});
}

static inline int solo_hear(struct solo *s, int32_t from, struct raft_message m)
{
    return solo_step(s, (struct raft_input){.kind = RAFT_IN_MESSAGE,
                                            .node = solo_node(from),
                                            .link = (uint64_t)from,
                                            .message = &m});
}

static inline void solo_durable(struct solo *s, uint64_t index, uint64_t term)
{
    (void)solo_step(s, (struct raft_input){.kind = RAFT_IN_LOG_DURABLE,
                                           .position = {index, term},
                                           .generation = s->fx.generation});
}

static inline void solo_start(struct solo *s, const struct raft_core_config *config)
{
    *s = (struct solo){.now_ms = config->now_ms};
    ck_assert_int_eq(raft_core_new(config, &s->core), 0);
    (void)solo_step(s, (struct raft_input){.kind = RAFT_IN_TICK});
    solo_link(s, 2, RAFT_LINK_UP);
    solo_link(s, 3, RAFT_LINK_UP);
}

static inline void solo_start_plain(struct solo *s)
{
    struct raft_voters voters = solo_voters(3);
    struct raft_core_config config = solo_config(&voters);
    solo_start(s, &config);
}

static inline void solo_free(struct solo *s)
{
    s->core = raft_core_free(s->core);
}

/* The first message of a kind in the last effects; NULL = none. */
static inline const struct raft_message *solo_sent(const struct solo *s,
                                                   enum raft_message_kind kind)
{
    for (size_t i = 0; i < s->fx.n_messages; i++)
        if (s->fx.messages[i].kind == kind)
            return &s->fx.messages[i];
    return NULL;
}

/* Win term 1: node 2 grants. */
static inline void solo_lead(struct solo *s)
{
    while (s->fx.role != RAFT_PRE_CANDIDATE)
        solo_tick(s, 10);
    uint64_t term = s->fx.term + 1;
    (void)solo_hear(
        s, 2,
        (struct raft_message){.kind = RAFT_MSG_PRE_VOTE_REPLY, .term = term, .granted = true});
    solo_persist(s);
    (void)solo_hear(
        s, 2, (struct raft_message){.kind = RAFT_MSG_VOTE_REPLY, .term = term, .granted = true});
    ck_assert_int_eq(s->fx.role, RAFT_LEADER);
}

/* Follow node 2 in a term, with an append of entries behind prev. */
static inline int solo_follow(struct solo *s, uint64_t term, struct raft_position prev,
                              const struct raft_entry *entries, size_t n_entries, uint64_t commit)
{
    return solo_hear(s, 2,
                     (struct raft_message){.kind = RAFT_MSG_APPEND,
                                           .term = term,
                                           .round = 1,
                                           .prev = prev,
                                           .entries = entries,
                                           .n_entries = n_entries,
                                           .commit_index = commit});
}

#endif
