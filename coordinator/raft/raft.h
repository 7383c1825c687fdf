#ifndef RAFT_RAFT_H
#define RAFT_RAFT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/uuid.h"

/* The consensus core of the metadata log, pure: no clock, I/O, threads or chance but its seed. One
 * node owns one core; not thread-safe. The driver (broker/node) owns the log's bytes, the vote and
 * snapshot files, the links and the clock.
 *
 * Indexes count metadata records from 1; 0 means none. The replicated unit is an entry: one record
 * batch that covers [first..last] with one term (log offset = index, leader epoch = term); every
 * index the core hands out is the end of an entry. Terms start at 1.
 *
 * One step = one input. Its effects are done in this order: hard, log_reset, truncate, append,
 * messages, sends, apply. Nothing in `messages` waits for anything: the core itself holds a message
 * back until the term, vote and entries it speaks of were reported durable (rule 5.1). Hard states
 * and log writes go through one lane, in this order, so that no entry is ever durable before its
 * term. Time passes only with RAFT_IN_TICK; other inputs do not judge silence (7.3).
 * Rules cited as n.m are those of the replication rules; R1-R15 the invariants. */

#define RAFT_VOTERS_MAX 15
/* Voters and observers that one leader feeds. */
#define RAFT_PEERS_MAX 512
/* Entries in one append message: above what 1 MiB of the smallest batches holds. */
#define RAFT_ENTRIES_MAX 16384
/* Rules 6.2 and 6.5. */
#define RAFT_UNCOMMITTED_ENTRIES_MAX 1000
#define RAFT_UNCOMMITTED_BYTES_MAX (4U << 20)
#define RAFT_ENTRY_BYTES_MAX (8U << 20)

#define RAFT_NOBODY (-1)

/* A log directory of a node: the identity that votes (5.5). id RAFT_NOBODY = none. */
struct raft_node {
    int32_t id;
    struct kb_uuid directory;
};
static inline bool raft_node_equal(struct raft_node a, struct raft_node b)
{
    return a.id == b.id && kb_uuid_equal(&a.directory, &b.directory);
}

/* No cluster gets there (ten elections a second for three years). Terms are leader epochs of the
 * log's batches, which are int32; what claims a higher one is damaged, or no voter. */
#define RAFT_TERM_MAX (UINT64_C(1) << 30)

struct raft_position {
    uint64_t index;
    uint64_t term;
};
struct raft_entry {
    uint64_t first;
    uint64_t last;
    uint64_t term;
};

/* What a voter file holds. commit_index is a lower bound, good for a faster start only. A directory
 * without such a file and with an empty log starts from {.vote.id = RAFT_NOBODY}. */
struct raft_hard_state {
    uint64_t term;
    struct raft_node vote; /* vote.id RAFT_NOBODY = none in this term */
    uint64_t commit_index;
    bool barred; /* found damaged and not yet brought up by a leader: may not vote (5.5) */
};

/* A voter set and the index of the record that carries it; 0 for the set persisted at founding. */
struct raft_voters {
    uint64_t index;
    size_t count;
    struct raft_node nodes[RAFT_VOTERS_MAX];
};

/* Rule 12, in ms. */
struct raft_times {
    uint32_t heartbeat_ms;
    uint32_t silence_ms; /* controller.quorum.fetch.timeout.ms */
    uint32_t silence_extra_ms;
    uint32_t link_grace_ms;
    uint32_t dead_extra_ms;
    uint32_t start_min_ms;
    uint32_t start_max_ms;
    uint32_t check_quorum_ms;
    uint32_t hold_ms;
    uint32_t refused_ms;
    uint32_t split_min_ms;
    uint32_t split_max_ms;
    uint32_t transfer_ms;
    uint32_t disk_stall_ms;
    uint32_t disk_sound_ms;
    uint32_t cut_ms;       /* a cut tail does not vote for so long, */
    uint32_t cut_stand_ms; /* and for so long after that only for others */
};
struct raft_times raft_times_default(void);

/* What recovery found (8.2, 5.5). Of a damaged log the driver presents the good part before the
 * damage. */
enum raft_log_state { RAFT_LOG_WHOLE, RAFT_LOG_CUT, RAFT_LOG_DAMAGED };

struct raft_core_config {
    struct raft_node self;
    uint64_t seed;
    uint64_t now_ms;
    struct raft_times times; /* all zero = raft_times_default() */
    /* Durable state, recovered and synced in this life (8.1). */
    struct raft_hard_state hard;
    bool vote_damaged; /* the vote file is unreadable, or missing beside a log that is not empty */
    enum raft_log_state log_state;
    /* This process life founds the cluster: nothing is known and there can be no leader, so
     * pre-votes are granted at once and the first one goes out early. */
    bool founding;
    struct raft_position snapshot; /* the log starts behind it; 0,0 = none */
    /* The log, in order and without gaps from snapshot.index + 1. Neighbours of one term may be
     * merged into one element. Borrowed. */
    const struct raft_entry *entries;
    size_t n_entries;
    /* Voter sets in index order: that of the snapshot or of founding first, then one per voters
     * record in the log. None = an observer that has not heard of any yet. Borrowed. */
    const struct raft_voters *voters;
    size_t n_voters;
};

/* ---- messages: the wire mapping is the driver's ------------------------------------------------
 */

enum raft_message_kind {
    RAFT_MSG_PRE_VOTE,       /* term (the one asked for), last */
    RAFT_MSG_PRE_VOTE_REPLY, /* term (granted: the one asked for; else the voter's), granted */
    RAFT_MSG_VOTE,           /* term, last, transfer */
    RAFT_MSG_VOTE_REPLY,     /* term, granted */
    RAFT_MSG_APPEND,       /* term, round, prev, commit_index, clear_index, floor_index, entries */
    RAFT_MSG_APPEND_REPLY, /* term, round, rejected, match_index, end_index, durable_index, hint,
                              barred */
    RAFT_MSG_SNAPSHOT,     /* term, round, snapshot, position, done; the chunk is its payload */
    RAFT_MSG_SNAPSHOT_REPLY, /* term, round, snapshot, position, done */
    RAFT_MSG_TIMEOUT_NOW,    /* term */
    RAFT_MSG_MAX_
};
const char *raft_message_kind_name(enum raft_message_kind kind);

struct raft_message {
    enum raft_message_kind kind;
    struct raft_node to; /* outgoing messages only; not on the wire */
    uint64_t term;
    struct raft_position last; /* the candidate's durable end */
    bool transfer;             /* asked by the leader itself: no 5.3 test */
    bool granted;
    uint64_t round; /* the leader's heartbeat round; replies echo the highest one they answer */
    struct raft_position prev;
    uint64_t commit_index;
    uint64_t clear_index; /* 5.5: a barred directory may vote again once durable up to here */
    uint64_t floor_index; /* 5.6: refuse votes until durable up to here */
    /* Appends: the batches that are the payload. The sending driver sets it from what it read, the
     * receiving one from what it checked. Borrowed. */
    const struct raft_entry *entries;
    size_t n_entries;
    bool rejected;
    uint64_t match_index;   /* durable and checked against this leader */
    uint64_t end_index;     /* checked against this leader, durable or not */
    uint64_t durable_index; /* of the log, checked or not */
    struct raft_position hint;
    bool barred; /* 5.5: do not count this directory yet */
    struct raft_position snapshot;
    uint64_t position; /* SNAPSHOT: of the chunk; SNAPSHOT_REPLY: bytes stored from the start */
    bool done;         /* SNAPSHOT: the last chunk; SNAPSHOT_REPLY: installed */
};

/* ---- inputs ------------------------------------------------------------------------------------
 */

enum raft_link_state {
    RAFT_LINK_NONE,     /* never linked */
    RAFT_LINK_UP,       /* hello exchanged; carries messages */
    RAFT_LINK_CLOSED,   /* closed and nothing known yet: dead after link_grace_ms */
    RAFT_LINK_ACCEPTED, /* closed, but the process still accepts: silence decides (7.2) */
    RAFT_LINK_DEAD,     /* refused, or a hello of another incarnation */
};

enum raft_input_kind {
    RAFT_IN_TICK,               /* at deadline_ms or any time */
    RAFT_IN_MESSAGE,            /* node (sender, from the link's hello), link, message */
    RAFT_IN_LINK,               /* node, link_state, and for UP: link, a number never used before */
    RAFT_IN_HARD_PERSISTED,     /* sequence */
    RAFT_IN_LOG_DURABLE,        /* position (index, term), generation: all up to it is synced */
    RAFT_IN_PROPOSE,            /* n_records, size_bytes; voters when it is a membership change,
                                   voters->index then says which record of the batch, from 0 */
    RAFT_IN_VOTERS,             /* voters: follow the step whose append held that record at once */
    RAFT_IN_TRANSFER,           /* node; id RAFT_NOBODY = any voter */
    RAFT_IN_CONFIRM,            /* start a round that proves leadership (6.10); ret_fx->round */
    RAFT_IN_ENTRIES_SENT,       /* send_id, position.index = last index sent; 0 = could not */
    RAFT_IN_SNAPSHOT_SENT,      /* send_id */
    RAFT_IN_SNAPSHOT_TAKEN,     /* position: own snapshot durable; the log before it may go */
    RAFT_IN_SNAPSHOT_STORED,    /* position of the snapshot, offset = bytes stored so far */
    RAFT_IN_SNAPSHOT_INSTALLED, /* position, voters: complete, checked and durable */
    RAFT_IN_SNAPSHOT_FAILED,    /* position: what was received is no good; start over */
    RAFT_IN_NODE_STALLED,       /* gap_ms: the loop stood still; all waiting input was fed (7.3) */
    RAFT_IN_DISK_STALLED,       /* a Raft write is unfinished for too long (5.8) */
    RAFT_IN_MAX_
};
const char *raft_input_kind_name(enum raft_input_kind kind);

struct raft_input {
    enum raft_input_kind kind;
    uint64_t now_ms; /* never falls */
    struct raft_node node;
    uint64_t link;
    enum raft_link_state link_state;
    const struct raft_message *message;
    uint64_t sequence;
    struct raft_position position;
    uint64_t generation;
    uint32_t n_records;
    uint32_t size_bytes;
    const struct raft_voters *voters;
    uint64_t send_id;
    uint64_t offset;
    uint64_t gap_ms;
};

/* ---- effects -----------------------------------------------------------------------------------
 */

enum raft_role {
    RAFT_OBSERVER, /* not in its log's voter set: copies, never stands */
    RAFT_FOLLOWER,
    RAFT_PRE_CANDIDATE,
    RAFT_CANDIDATE,
    RAFT_LEADER,
    RAFT_RESIGNED, /* led this term, never again (5.4) */
    RAFT_ROLE_MAX_
};
const char *raft_role_name(enum raft_role role);

/* Read batches from the one that holds from_index on (up to last_index, to RAFT_ENTRIES_MAX and to
 * the driver's own byte limit, at least one), send them behind `header` with header.entries set and
 * header.prev = the position before the first of them (raft_core_term_at; from_index may lie inside
 * a batch while the logs are being compared), report RAFT_IN_ENTRIES_SENT. They may wait until they
 * are written, need not be synced (5.2). When the log does not reach back that far any more, report
 * that nothing could be sent. */
struct raft_send {
    uint64_t send_id;
    uint64_t from_index;
    uint64_t last_index;
    struct raft_message header; /* header.to is the peer */
};
/* Send one chunk of the newest snapshot at `header.position`, report RAFT_IN_SNAPSHOT_SENT. When
 * header.snapshot is not the newest one any more, send that one from position 0 and say so in the
 * header. */
struct raft_snapshot_send {
    uint64_t send_id;
    struct raft_message header;
};

enum raft_transfer_end { RAFT_TRANSFER_NONE, RAFT_TRANSFER_FAILED, RAFT_TRANSFER_DONE };

/* All pointers are valid until the next step. */
struct raft_effects {
    /* Write durably, then report RAFT_IN_HARD_PERSISTED with hard_sequence. A later one replaces an
     * earlier one that has not been started. NULL = nothing. */
    const struct raft_hard_state *hard;
    uint64_t hard_sequence;
    /* Drop the whole log; it starts anew behind log_reset_base. */
    bool log_reset;
    struct raft_position log_reset_base;
    /* Drop everything behind this index, durably before anything is written there (2.5). */
    bool truncate;
    uint64_t truncate_after;
    /* Goes up with each reset and truncation; durable reports name the one their append had. */
    uint64_t generation;
    /* RAFT_IN_MESSAGE: entries [append_skip, append_skip + append_count) of the message go to the
     * log. */
    size_t append_skip;
    size_t append_count;
    /* RAFT_IN_PROPOSE that answered 0: append the batch with this range and term. */
    struct raft_entry proposed;
    const struct raft_message *messages;
    size_t n_messages;
    const struct raft_send *sends;
    size_t n_sends;
    const struct raft_snapshot_send *snapshot_sends;
    size_t n_snapshot_sends;
    /* RAFT_IN_MESSAGE of kind SNAPSHOT: keep this chunk. At position 0 start afresh. Then report
     * RAFT_IN_SNAPSHOT_STORED, or after the last one RAFT_IN_SNAPSHOT_INSTALLED or _FAILED. */
    bool take_chunk;
    /* Something of role, term or leader differs from the step before. A new leader proposes its
     * no-op entry at once; it is in office when commit_index has passed that (R7). */
    bool role_changed;
    enum raft_role role;
    uint64_t term;
    struct raft_node leader;
    /* Apply up to here: min(commit, own durable). Never falls (R8). */
    uint64_t commit_index;
    /* The log was found cut (5.5), and now nothing that was committed is missing in it: the driver
     * may forget. Once. */
    bool cut_healed;
    /* RAFT_IN_CONFIRM: the round started. confirmed_round >= it: a majority followed after that. */
    uint64_t round;
    uint64_t confirmed_round;
    enum raft_transfer_end transfer_end;
    /* Feed RAFT_IN_TICK no later than this. UINT64_MAX = no need. */
    uint64_t deadline_ms;
};

/* Positive answers of raft_core_step to PROPOSE, TRANSFER and CONFIRM. Nothing was done. */
enum raft_answer {
    RAFT_OK = 0,
    RAFT_NOT_LEADER,
    RAFT_BUSY,           /* too much uncommitted, a transfer or another membership change: retry */
    RAFT_NOT_READY,      /* no entry of this term is committed yet, or the new voter lags: retry */
    RAFT_INVALID_VOTERS, /* more than one voter differs, or raft_voters_problem */
    RAFT_UNKNOWN_VOTER,  /* transfer to somebody who is no voter, or who may not lead */
    RAFT_TOO_LARGE,      /* above RAFT_ENTRY_BYTES_MAX: split it (6.5) */
};
const char *raft_answer_name(enum raft_answer answer);

/* ---- the core ----------------------------------------------------------------------------------
 */

struct raft_core;

/* Why this voter set cannot be configured (even, empty, too large, repeated ids), as a sentence in
 * static storage; NULL = it is good. Even sets exist only between two membership changes (5.7). */
const char *raft_voters_problem(const struct raft_node *nodes, size_t count);

/* 0, or -KB_EINVAL: a voter set of index 0 has a problem, the sets are out of order, or the entries
 * have gaps or falling terms. A log with terms above hard.term counts as a damaged vote. Copies
 * what it needs. Step it with RAFT_IN_TICK first. */
int raft_core_new(const struct raft_core_config *config, struct raft_core **ret);
/* NULL accepted; returns NULL. */
struct raft_core *raft_core_free(struct raft_core *c);

/* One input. 0, a raft_answer, or -KB_EINVAL for a malformed message of a peer (close its link).
 * *ret_fx is always filled. Aborts when asked to break an invariant (R3, R9). */
int raft_core_step(struct raft_core *c, const struct raft_input *in, struct raft_effects *ret_fx);

/* ---- inspection (DescribeQuorum, kvorum status) ------------------------------------------------
 */

struct raft_peer_status {
    struct raft_node node;
    enum raft_link_state link_state;
    uint64_t end_index;         /* durable and checked; the leader's own durable end for itself */
    uint64_t last_ack_ms;       /* 0 = none; the "last fetch" of DescribeQuorum */
    uint64_t last_caught_up_ms; /* 0 = never */
    bool voter;
    bool barred;   /* its log or vote is damaged (5.5) */
    bool fallen;   /* it lost durable entries (5.6) */
    bool snapshot; /* a snapshot is on its way to it */
};
struct raft_status {
    struct raft_node self;
    enum raft_role role;
    uint64_t term;
    struct raft_node vote;
    struct raft_node leader;
    uint64_t last_index;
    uint64_t durable_index;
    uint64_t commit_index; /* may be above durable_index */
    struct raft_position snapshot;
    struct raft_voters voters;
    bool barred;         /* may not vote (5.5, 5.6) */
    bool disk_stalled;   /* does not stand (5.8) */
    uint64_t elections;  /* times this core became a candidate */
    uint64_t term_start; /* leader: index of the first entry of its term, 0 = none yet */
};
void raft_core_status(const struct raft_core *c, struct raft_status *ret);
/* Fill up to capacity peers: the voters in set order (self included), then linked observers. Only a
 * leader knows ends and times. Returns how many there are. */
size_t raft_core_peers(const struct raft_core *c, struct raft_peer_status *ret, size_t capacity);
/* When a leader last had the answers of a majority, its own being from now_ms; 0 without the lead.
 */
uint64_t raft_core_majority_ms(const struct raft_core *c, uint64_t now_ms);
/* Term of an index inside the log or of the snapshot itself; 0 = unknown. */
uint64_t raft_core_term_at(const struct raft_core *c, uint64_t index);

#endif
