#ifndef RAFT_CORE_H
#define RAFT_CORE_H

#include "coordinator/raft/raft.h"
#include "coordinator/raft/terms.h"
#include "proto/base/prng.h"

/* The inside of raft_core, shared by the files of this folder only. */

#define RAFT_NEVER UINT64_MAX
/* Appends on the way to one peer, and ms without progress after which they count as lost. */
#define RAFT_INFLIGHT_MAX 16
#define RAFT_LOST_APPEND_MS 600
#define RAFT_LOST_CHUNK_MS 2000

enum raft_vote { RAFT_VOTE_NONE, RAFT_VOTE_GRANTED, RAFT_VOTE_REFUSED };

/* A request for a (pre-)vote that waits for this node to lose its leader (5.3). */
struct raft_held {
    bool active;
    enum raft_message_kind kind;
    uint64_t term;
    struct raft_position last;
    uint64_t until_ms;
};

/* Another directory: a voter of the present set, or whoever is linked. */
struct raft_peer {
    struct raft_node node;
    bool voter;
    enum raft_link_state link_state;
    uint64_t link;
    uint64_t link_since_ms;
    struct raft_held held;
    enum raft_vote vote; /* in the present (pre-)election */

    /* Leader only; void in other roles. */
    uint64_t next_index;
    uint64_t match_index;    /* durable and checked, as heard on the present link */
    uint64_t end_index;      /* checked, durable or not */
    uint64_t acked_index;    /* highest match ever heard in this term, over all links (5.6) */
    uint64_t acked_round;    /* rounds above it began after acked_index was heard */
    uint64_t answered_round; /* highest round answered */
    uint64_t last_ack_ms;    /* for check-quorum; moved by stalls */
    uint64_t heard_ms;       /* for people; 0 = not in this term */
    uint64_t caught_up_ms;
    uint64_t mark_index; /* the leader's end at mark_ms: reached = caught up as of then */
    uint64_t mark_ms;
    uint64_t send_id;      /* the driver's unfinished send; 0 = none */
    bool send_void;        /* the place to go on from was changed meanwhile */
    uint64_t retry_at_ms;  /* the driver could not send: not before this */
    uint64_t progress_ms;  /* something was sent or got on */
    uint64_t clear_index;  /* 5.5 */
    uint64_t barred_round; /* 5.5: the first round begun after it said it is barred */
    uint64_t floor_index;  /* 5.6; 0 = sound */
    uint64_t inflight[RAFT_INFLIGHT_MAX]; /* last indexes sent, rising */
    size_t n_inflight;
    bool probing; /* where the logs meet is not known: one append at a time */
    bool barred;
    bool beat; /* owed an empty append before the step ends */
    bool installing;
    struct raft_position snapshot;
    uint64_t snapshot_position;
    bool chunk_out;
};

struct raft_out {
    struct raft_message message;
    uint64_t after_hard; /* leaves when this hard state is durable */
};

struct raft_uncommitted {
    uint64_t last;
    uint32_t size_bytes;
};

/* Fields stand by purpose, not by size: there is one of these per broker. */
struct raft_core { /* NOLINT(clang-analyzer-optin.performance.Padding) */
    struct raft_node self;
    struct raft_times times;
    struct kb_prng prng;
    uint64_t now_ms;
    uint64_t tick_ms; /* time of the last tick: silence is judged by it */

    struct raft_hard_state hard;
    struct raft_hard_state hard_out; /* the copy the driver was given */
    uint64_t hard_sequence;          /* given to the driver */
    uint64_t hard_durable;           /* reported */
    bool hard_changed;

    struct raft_terms log;
    uint64_t durable_index;
    uint64_t generation;
    uint64_t cut_index; /* where the log was last cut or begun anew; for whoever looks on */
    uint64_t commit_index;
    uint64_t reported_commit; /* in effects so far */

    struct raft_voters *sets; /* index order; the last one rules */
    size_t n_sets;
    size_t sets_capacity;
    bool voter; /* self is in the present set */

    struct raft_peer **peers;
    size_t n_peers;
    size_t peers_capacity;

    enum raft_role role;
    struct raft_node leader;
    uint64_t elections;
    uint64_t election_at_ms;   /* next (pre-)vote of this node, or end of the present one */
    uint64_t unknown_until_ms; /* after a start: the leader is not known to be lost before this */
    bool cut;                  /* found cut, and perhaps something committed is missing */
    uint64_t cut_until_ms;     /* 5.5: a cut tail does not vote before this; 0 = not cut */
    uint64_t floor_index;      /* 5.6: no vote while durable_index is below */
    uint64_t floor_term;
    bool yielded;            /* gave way once since the leader was lost */
    bool transferred;        /* candidate by TIMEOUT_NOW */
    uint64_t candidate_hard; /* own vote counts when this hard state is durable */
    bool candidate_asked;

    /* Follower. */
    uint64_t verified_index; /* agrees with the present leader's log */
    uint64_t last_heard_ms;
    uint64_t silence_ms;  /* drawn for the present leader */
    uint64_t round_heard; /* highest round of the present leader */
    uint64_t clear_index; /* 5.5, said by the leader of clear_term */
    uint64_t clear_term;
    struct raft_position incoming; /* snapshot being received; 0,0 = none */
    uint64_t incoming_position;
    bool incoming_busy; /* the driver has a chunk in hand */
    bool installing;    /* the driver has the whole snapshot in hand */

    /* Leader. */
    uint64_t term_start;
    uint64_t heartbeat_at_ms;
    uint64_t round;
    uint64_t confirmed_round;
    uint64_t next_send_id;
    struct raft_uncommitted uncommitted[RAFT_UNCOMMITTED_ENTRIES_MAX];
    size_t uncommitted_head;
    size_t n_uncommitted;
    uint64_t uncommitted_bytes;
    bool transferring;
    bool transfer_asked;
    struct raft_node transfer_to;
    uint64_t transfer_until_ms;

    /* Disk health (5.8). */
    uint64_t log_write_since_ms; /* 0 = nothing unsynced */
    uint64_t hard_write_since_ms;
    bool disk_stalled;
    bool disk_probe;

    /* Out. */
    struct raft_out *outbox;
    size_t n_outbox;
    size_t outbox_capacity;
    struct raft_message *messages;
    size_t messages_capacity;
    struct raft_send *sends;
    size_t n_sends;
    size_t sends_capacity;
    struct raft_snapshot_send *chunks;
    size_t n_chunks;
    size_t chunks_capacity;
    struct raft_effects *fx; /* of the step under way */
    enum raft_role reported_role;
    uint64_t reported_term;
    struct raft_node reported_leader;
};

static inline const struct raft_voters *raft_present_set(const struct raft_core *c)
{
    return &c->sets[c->n_sets - 1];
}
static inline size_t raft_majority(const struct raft_core *c)
{
    return raft_present_set(c)->count / 2 + 1;
}
static inline bool raft_node_none(struct raft_node n)
{
    return n.id == RAFT_NOBODY;
}
static inline struct raft_node raft_nobody(void)
{
    return (struct raft_node){.id = RAFT_NOBODY};
}

/* ---- voters.c: sets and peers ---- */
bool raft_set_has(const struct raft_voters *set, struct raft_node node);
struct raft_peer *raft_peer_find(const struct raft_core *c, struct raft_node node);
/* Take a set over; its index is above the present set's. */
void raft_sets_push(struct raft_core *c, const struct raft_voters *set);
/* Forget sets of records behind index. */
void raft_sets_truncate(struct raft_core *c, uint64_t index);
/* Keep the set that rules at index as the first one. */
void raft_sets_prune(struct raft_core *c, uint64_t index);
void raft_sets_reset(struct raft_core *c, const struct raft_voters *set);
/* May this set follow the present one? RAFT_OK or why not (5.7). */
enum raft_answer raft_sets_check_change(const struct raft_core *c, const struct raft_voters *set);
void raft_link_changed(struct raft_core *c, const struct raft_input *in);
/* The value that a majority of the present set has reached, own included; sound voters only. */
uint64_t raft_quorum_value(const struct raft_core *c, uint64_t own,
                           uint64_t (*of)(const struct raft_peer *));

/* ---- core.c: roles, hard state, messages ---- */
void raft_hard_changed(struct raft_core *c);
/* Take a higher term over: follower without a leader; held messages of lower terms are void. */
void raft_adopt_term(struct raft_core *c, uint64_t term);
void raft_set_role(struct raft_core *c, enum raft_role role, struct raft_node leader);
/* Queue a message to a linked peer; message.to is filled in here. */
void raft_post(struct raft_core *c, const struct raft_peer *p, const struct raft_message *m);
void raft_write_started(struct raft_core *c);
/* Raise the commit index; reports what may be applied. */
void raft_commit_to(struct raft_core *c, uint64_t index);
/* A log that was found cut has all that is committed again. */
void raft_cut_healed(struct raft_core *c);
uint64_t raft_applicable(const struct raft_core *c);

/* ---- election.c ---- */
/* This directory's vote may count (5.5, 5.6). */
bool raft_may_vote(const struct raft_core *c);
bool raft_lost_leader(const struct raft_core *c);
void raft_election_in(struct raft_core *c, uint32_t min_ms, uint32_t max_ms);
void raft_leader_lost(struct raft_core *c);
void raft_election_tick(struct raft_core *c);
uint64_t raft_election_deadline(const struct raft_core *c);
void raft_election_hard_durable(struct raft_core *c);
void raft_election_linked(struct raft_core *c, struct raft_peer *p);
void raft_on_vote_request(struct raft_core *c, struct raft_peer *p, const struct raft_message *m);
void raft_on_vote_reply(struct raft_core *c, struct raft_peer *p, const struct raft_message *m);
void raft_on_timeout_now(struct raft_core *c, struct raft_peer *p, const struct raft_message *m);
/* Requests that waited and can be decided now. */
void raft_decide_held(struct raft_core *c);

/* ---- leader.c ---- */
void raft_become_leader(struct raft_core *c);
void raft_leader_tick(struct raft_core *c);
uint64_t raft_leader_deadline(const struct raft_core *c);
enum raft_answer raft_propose(struct raft_core *c, const struct raft_input *in);
enum raft_answer raft_transfer(struct raft_core *c, struct raft_node to);
enum raft_answer raft_confirm(struct raft_core *c);
void raft_transfer_drive(struct raft_core *c);
/* Own or a peer's durable end moved: commit, confirm, transfer. */
void raft_leader_advance(struct raft_core *c);
void raft_round_begin(struct raft_core *c);
void raft_resign(struct raft_core *c, const char *why);

/* ---- feed.c: the leader's copying to one peer ---- */
void raft_peer_restart(struct raft_core *c, struct raft_peer *p);
int raft_on_append_reply(struct raft_core *c, struct raft_peer *p, const struct raft_message *m);
int raft_on_snapshot_reply(struct raft_core *c, struct raft_peer *p, const struct raft_message *m);
void raft_on_entries_sent(struct raft_core *c, uint64_t send_id, uint64_t last_index);
void raft_on_snapshot_sent(struct raft_core *c, uint64_t send_id);
/* Ask for all sends that are possible, then pay the empty appends that are owed. */
void raft_feed_all(struct raft_core *c);
void raft_feed_tick(struct raft_core *c);

/* ---- follower.c ---- */
int raft_on_append(struct raft_core *c, struct raft_peer *p, const struct raft_message *m);
int raft_on_snapshot(struct raft_core *c, struct raft_peer *p, const struct raft_message *m);
void raft_follower_durable(struct raft_core *c);
void raft_snapshot_taken(struct raft_core *c, struct raft_position position);
void raft_snapshot_stored(struct raft_core *c, struct raft_position position, uint64_t offset);
void raft_snapshot_installed(struct raft_core *c, const struct raft_input *in);
void raft_snapshot_failed(struct raft_core *c, struct raft_position position);

#endif
