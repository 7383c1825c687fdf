#ifndef NODE_INTERNAL_H
#define NODE_INTERNAL_H

/* What the files of this room share. One struct node holds everything; each module owns the part
 * named after it and is entered through the functions listed under its name. Effects of one module
 * become inputs of another only here: replication/ and coordinator/ never see each other. */

#include <uthash.h>

#include "broker/node/events.h"
#include "broker/node/node.h"
#include "coordinator/groups/clock.h"
#include "coordinator/metadata/controller.h"
#include "coordinator/metadata/image.h"
#include "coordinator/metadata/query.h"
#include "coordinator/metadata/topic_config.h"
#include "coordinator/raft/raft.h"
#include "proto/base/arena.h"
#include "proto/base/assert.h"
#include "proto/base/err.h"
#include "proto/base/log.h"
#include "proto/base/map.h"
#include "proto/base/prng.h"
#include "proto/base/queue.h"
#include "proto/base/uuid.h"
#include "proto/cluster/peer.pb-c.h"
#include "proto/cluster/unpack.h"
#include "proto/kafka/api.h"
#include "proto/kafka/batch.h"
#include "proto/kafka/error.h"
#include "proto/kafka/messages.h"
#include "replication/log/dir.h"
#include "replication/log/log.h"
#include "replication/log/producers.h"
#include "replication/replica/replica.h"

#define NODE_RAFT_TOPIC "__cluster_metadata"
#define NODE_OFFSETS_TOPIC "__consumer_offsets"
#define NODE_FOUNDING_FILE "kvorum.founding"

/* ---- limits ------------------------------------------------------------------------------------
 */
enum {
    NODE_PEER_HEADER_BYTES_MAX = 4 << 20, /* protobuf part of a peer frame */
    NODE_PEER_FRAME_BYTES_MAX = 64 << 20, /* with payload */
    NODE_PEER_RPCS_MAX = 4096,            /* unanswered requests per link */
    NODE_BROKERS_MAX = 256,
    NODE_DISK_RETRY_MS = 1000, /* after a full disk */
    NODE_VOTERS_MAX = 9,
    NODE_FETCH_PARTITION_BYTES = 1 << 20, /* follower fetch: per partition */
    NODE_FETCH_BYTES = 8 << 20,           /* follower fetch: per answer */
    NODE_FETCH_WAIT_MS = 500,
    NODE_RAFT_APPEND_BYTES = 1 << 20,
    NODE_SNAPSHOT_CHUNK_BYTES = 256 << 10,
};

/* ---- link.c: connections between brokers -------------------------------------------------------
 */

enum node_purpose { NODE_CONTROL, NODE_DATA, NODE_PURPOSE_COUNT_ };

struct node_link;
/* The answer to node_link_call: answer NULL when the link closed first. payload is borrowed. */
typedef void node_answer_fn(void *arg, const Kvorum__PeerMessage *answer, struct kb_block *frame,
                            struct kb_view payload);

enum node_link_state { NODE_LINK_CLOSED, NODE_LINK_CONNECTING, NODE_LINK_HELLO, NODE_LINK_OPEN };

/* One connection in one direction of dialling. Both sides may send on it. */
struct node_link {
    struct node *node;
    struct kb_conn *conn;
    enum node_purpose purpose;
    bool dialled;
    enum node_link_state state;
    int32_t peer_id; /* -1 until the hello */
    uint64_t peer_incarnation;
    uint64_t peer_broker_epoch;
    struct kb_uuid peer_directory;
    uint64_t number;
    uint64_t serial; /* never used twice in this process life */
    bool checks;     /* its frames have a check */
    uint64_t opened_ms;
    uint64_t heard_ms; /* last frame */
    uint64_t next_request_id;
    uint64_t owed_since_ms; /* the oldest unanswered call, or the last answer */
    struct kb_map calls;    /* request id -> struct node_call */
    void *fetch_session;    /* replicate.c: what this follower asked for */
    uint64_t polled_ms;     /* this follower's last FetchRequest */
    bool disk_stalled;      /* this follower says so: rule 9.4 */
    LIST_ENTRY(node_link) accepted_links;
};

/* Another broker, known from the configuration or from the image. */
struct node_peer {
    struct node *node;
    int32_t id;
    char *host; /* of its controller listener; may be NULL while unknown */
    uint16_t port;
    bool voter; /* configured or by the log */
    struct node_link *dialled[NODE_PURPOSE_COUNT_];
    struct node_link *accepted[NODE_PURPOSE_COUNT_]; /* the served one: highest number */
    uint64_t accepted_incarnation;
    uint64_t link_number[NODE_PURPOSE_COUNT_]; /* last number we dialled with */
    struct kb_timer *redial[NODE_PURPOSE_COUNT_];
    uint32_t redial_ms[NODE_PURPOSE_COUNT_];
    /* Failure detection of our own control link (rules 7.2, 7.3). */
    uint64_t incarnation; /* as last seen in a hello, 0 = never */
    uint64_t heard_ms;    /* last control frame, either direction of dialling */
    uint64_t closed_ms;   /* our control link closed at, 0 = open or never opened */
    bool refused;         /* the last dial was refused */
    bool accepting;       /* TCP was accepted since the link closed: the process exists */
    bool link_lost;       /* its control links closed, and that was told (watch.c) */
    bool dead;            /* judged dead by 7.2; cleared by a hello */
    bool blank;           /* its hello named no cluster */
    bool founded_hello;   /* we have a hello of this process life for founding */
    struct kb_uuid directory;
    bool has_directory;
    bool wants_vote;             /* configured as a voter, by its hello */
    uint64_t directory_since_ms; /* it is the one that speaks */
    struct kb_timer *grace;
    void *fetcher;         /* fetcher.c: what we follow there */
    uint64_t lost_ms;      /* a link to it closed and nothing is decided yet (10.5); 0 = no */
    uint64_t proof_asked;  /* hold.c: the newest ping that asked for a sign of life … */
    uint64_t proof_link;   /* … and the serial of the link it went out on */
    uint64_t proof_heard;  /* the newest such ping that was answered */
    uint64_t data_open_ms; /* our data link was last seen open; 0 = never */
};

/* Create links, listen on the controller listener. 0 or negative with *ret_reason (heap). */
int node_links_start(struct node *n, char **ret_reason);
void node_links_stop(struct node *n); /* closes all */
void node_links_free(struct node *n);
void node_links_fail_calls(struct node *n);
/* The peer with this id, made when host is given and it is new; NULL otherwise. Addresses are
 * updated. */
struct node_peer *node_peer_get(struct node *n, int32_t id, const char *host, uint16_t port);
struct node_peer *node_peer_find(struct node *n, int32_t id);
/* The link to use for a message to this peer: the dialled one if open, else the accepted one; NULL
 * if none. */
struct node_link *node_peer_link(struct node_peer *p, enum node_purpose purpose);
/* Send one message; payload (may be NULL) is taken. Never fails: a closed link drops it. */
void node_link_send(struct node_link *l, Kvorum__PeerMessage *m, struct kb_chain *payload);
/* Send and wait for the answer (or the link's end). -KB_ECLOSED or -KB_ELIMIT at once: fn is not
 * called. */
int node_link_call(struct node_link *l, Kvorum__PeerMessage *m, struct kb_chain *payload,
                   node_answer_fn *fn, void *arg);
/* NULL when that link is gone. */
struct node_link *node_peer_link_by_serial(struct node_peer *p, uint64_t serial);
void node_link_answer(struct node_link *l, uint64_t request_id, Kvorum__PeerMessage *m,
                      struct kb_chain *payload);
/* Silence, pings. gap_ms: the loop stood still that long (rule 7.3): deadlines move by it. */
void node_links_tick(struct node *n, uint64_t now_ms, uint64_t gap_ms);
/* Forget the calls whose arg is this (their fn is not called any more). */
void node_link_forget(struct node_link *l, const void *arg);

struct node_founding_voter {
    int32_t id;
    struct kb_uuid directory_id;
};

/* Where an answer goes: to a link (which may be gone by then), or to this broker itself. */
struct node_reply {
    int32_t peer_id;
    uint64_t link_serial;
    uint64_t request_id;
    node_answer_fn *fn; /* not NULL: a local call */
    void *arg;
};

/* A received message of a kind; request_id 0 = no answer wanted. link is open and is the served
 * one. */
struct node_message {
    struct node_link *link;
    struct node_peer *peer;
    const Kvorum__PeerMessage *m;
    uint64_t request_id;
    struct node_reply reply;
    struct kb_block *frame; /* take a reference to keep payload */
    struct kb_view payload;
};

/* What links report, in node.c: a hello was exchanged; an open link closed; a peer was judged dead
 * (rule 7.2). */
void node_peer_opened(struct node *n, struct node_peer *p, struct node_link *l);
void node_peer_closed(struct node *n, struct node_peer *p, struct node_link *l);
void node_peer_evidence(struct node *n, struct node_peer *p);
/* A message that is neither hello nor answer goes to its module (node.c). */
void node_dispatch(struct node *n, const struct node_message *msg);
void node_links_take_ping(struct node *n, const struct node_message *msg);
/* sequence 0: only a sign of life of ours; else the answer to it is node_leader_proven's. */
void node_link_ping(struct node_link *l, uint64_t sequence);

/* ---- identity.c: founding and joining (rule 11) -------------------------------------------------
 */

/* founding_text: the founding file's content, NULL when there is none. -KB_ECORRUPT when it is
 * damaged. */
int node_identity_start(struct node *n, const char *founding_text);
/* The Raft core may be made: we have founded, belong to a cluster, or met one. When that comes true
 * later, node_quorum_begin() is called from here. */
bool node_identity_ready(const struct node *n);
void node_identity_check(struct node *n);         /* found at once when nobody else is needed */
bool node_identity_founded(const struct node *n); /* a founding voter list is persisted */
void node_identity_hello(struct node *n, struct node_peer *p, const Kvorum__PeerHello *h);
/* The cluster id was replayed: adopt it durably. */
void node_identity_adopt(struct node *n, const char *cluster_id);
/* Founding voters with directory ids, valid once founded. */
size_t node_identity_voters(const struct node *n, const struct node_founding_voter **ret);
void node_identity_free(struct node *n);

/* ---- partition.c, produce.c, read.c: replicas of this broker -----------------------------------
 */

struct node_append_op;
struct node_fetch_wait;

struct node_delete_op;
struct node_pending_fx;
struct node_refused;
struct follow;
struct node_partition_key {
    uint8_t topic_id[16];
    int32_t index;
};
enum node_partition_state {
    NODE_PARTITION_MISSING, /* no log yet */
    NODE_PARTITION_CREATING,
    NODE_PARTITION_CREATED, /* made; the directory's record of creations is being written (8.2) */
    NODE_PARTITION_OPENING, /* creation or recovery under way */
    NODE_PARTITION_OPEN,
    NODE_PARTITION_FAILED, /* its disk failed; serves nothing */
    NODE_PARTITION_CLOSING,
};

struct node_partition {
    struct node *node;
    struct kb_uuid topic_id;
    char *topic;
    int32_t index;
    enum node_partition_state state;
    struct log *log;          /* NULL while opening */
    struct rep *rep;          /* NULL while opening */
    bool assigned;            /* this broker is a replica by the committed image */
    enum log_state log_state; /* what recovery found */
    int64_t reported_end;     /* found end and epoch */
    int32_t reported_epoch;
    int64_t lone_from; /* as recovery found it; 0 for a log that this life made */
    struct log_dir_log *dir_log;
    bool leaving;         /* its topic is gone */
    bool set_aside;       /* leaving: rename, do not delete */
    bool resetting;       /* the log is being made anew after damage */
    bool in_line;         /* in n->line: its log is to be made, or to go, when its turn comes */
    int64_t first_offset; /* of the log to be made */
    TAILQ_ENTRY(node_partition) line_entries;
    uint64_t creation_round;
    uint64_t retry_ms; /* a creation that failed: again then */
    bool no_space;     /* it failed on a full disk */
    uint64_t rep_deadline_ms;
    struct kb_view told_producers; /* by the answer being taken: what a reset begins with */
    int64_t cut_to;                /* a truncation or reset under way */
    struct kb_buf cut_producers;   /* of a reset */
    bool cut_is_reset;
    bool cut_lowers_hw;
    bool cut_set_aside;
    bool start_flushing;
    int64_t start_flushing_to;
    int64_t start_flushed;   /* durable log start */
    uint64_t start_retry_ms; /* a full disk: again then; 0 = no */
    uint64_t cut_retry_ms;
    int32_t last_leader;
    int32_t led_epoch; /* the last one it led; 0 too when none: nobody led before that one */
    uint64_t led_since_ms;
    bool leads_groups;
    int8_t compression; /* of the topic, as last looked up; -1 = producer's */
    bool running;       /* effects are being carried out */
    TAILQ_HEAD(, node_pending_fx) pending_fx;
    bool propose;                             /* rep_proposal is to be sent */
    enum rep_report report;                   /* standing report to the controller */
    uint64_t report_ms;                       /* not before */
    bool hand_over;                           /* the disk is full: ask for another leader once */
    TAILQ_HEAD(, node_append_op) retry_waits; /* appends that wait for space, in order */
    TAILQ_HEAD(, node_refused) refused;       /* refused.c */
    size_t refused_count;
    TAILQ_HEAD(, node_delete_op) delete_waits;
    LIST_HEAD(, follow) follows; /* replicate.c: links that follow this partition */
    struct node_partition_key key;
    TAILQ_HEAD(, node_append_op)
    produce_waits; /* by last offset, acks waiting for durability or HW */
    TAILQ_HEAD(, node_fetch_wait) fetch_waits; /* client fetches parked on this partition */
    struct node_group *group; /* groups.c: shard, when this is a led __consumer_offsets partition */
    struct node_fetcher_entry *fetch_entry; /* fetcher.c */
    UT_hash_handle hh;                      /* by (topic id, index) */
};

/* Open what the directory holds; node_recovered() runs when all of it is open. */
void node_partitions_start(struct node *n, const struct log_dir_found *found);
void node_partitions_refresh_all(struct node *n); /* the committed image changed widely */
void node_partition_refresh(struct node_partition *p);
/* New in the image. */
void node_partitions_adopt(struct node *n, const struct kb_uuid *topic_id, int32_t index);
void node_partition_create_again(struct node_partition *p, int64_t first_offset);
void node_partition_start_moved(struct node_partition *p);
void node_partition_start_forget(struct node_partition *p); /* its log was reset */
void node_pending_fx_free(struct node_partition *p);
void node_creations_record(struct node *n);
extern const struct log_handler node_partition_log_handler;
void node_partitions_tick(struct node *n, uint64_t now_ms);
void node_partitions_close(struct node *n,
                           void (*done)(struct node *)); /* clean: sync and write indexes */
void node_partitions_free(struct node *n);
/* NULL when this broker holds no such replica. */
struct node_partition *node_partition_find(struct node *n, const struct kb_uuid *topic_id,
                                           int32_t index);
/* The same by name, for the time before the image tells ids: looks at all of them. */
struct node_partition *node_partition_find_named(struct node *n, struct kw_str topic,
                                                 int32_t index);
/* What registration reports about each log (rule 8.3); arena-allocated. */
void node_partitions_report(struct node *n, struct kb_arena *arena,
                            Kvorum__PeerLogReport ***ret_items, size_t *ret_count);
/* Run replica effects (role changes, HW moves, proposals, truncations, wake-ups). */
void node_partition_run(struct node_partition *p, const struct rep_effects *fx);
/* What the log holds from this offset on, in this generation, is not what was written (10.4). p may
 * be NULL: it left meanwhile. */
void node_partition_damaged(struct node_partition *p, uint32_t generation, int64_t from);
/* produce.c */
void node_produce_check(struct node_partition *p);
void node_produce_fail_all(struct node_partition *p, enum rep_fail_reason reason);
void node_produce_expire(struct node_partition *p, uint64_t now_ms);
void node_produce_retry(struct node_partition *p);
/* retention.c: retention, compaction, expiry */
void node_retention_tick(struct node *n, uint64_t now_ms);
void node_retention_free(struct node *n);

/* One batch for one partition. done runs exactly once, maybe before node_append returns. */
/* Which batch of an idempotent producer; producer_id -1: of another. */
struct node_sequence {
    int64_t producer_id;
    int16_t producer_epoch;
    int32_t base_sequence;
};
struct node_append_op {
    struct node_partition *partition; /* set by the caller */
    struct kb_block *block; /* borrowed for the call; holds exactly one batch at position */
    size_t position;
    size_t size;
    int16_t acks; /* -1, 0, 1 */
    uint32_t timeout_ms;
    bool internal;     /* written by this broker itself (groups): batch is trusted */
    bool zstd_allowed; /* Produce v7 and up */
    void (*done)(struct node_append_op *op);
    /* Results. */
    enum kw_error error;
    const char *error_text; /* static or NULL */
    int64_t base_offset;    /* -1 on error */
    int64_t last_offset;
    int64_t log_append_time_ms;
    int64_t log_start_offset;
    struct kw_bad_record bad_records[KW_BATCH_BAD_RECORDS_MAX];
    int32_t bad_records_count;
    /* Private. */
    int32_t leader_epoch_;
    bool waiting_;
    bool retrying_;
    uint64_t deadline_ms_;
    struct kb_block *block_;
    size_t position_;
    size_t size_;
    struct node_sequence sequence_;
    TAILQ_ENTRY(node_append_op) waits_;
};
void node_append(struct node_append_op *op);

/* ---- refused.c: idempotent producers whose batch was refused for a passing reason
 * ------------------ */

void node_refused_add(struct node_partition *p, const struct node_sequence *sequence,
                      enum kw_error error);
/* The error of an earlier batch of this producer that was refused here; KW_NONE: there is none. */
enum kw_error node_refused_before(struct node_partition *p, const struct node_sequence *sequence);
/* This batch is in the log: what was refused up to it has come again. */
void node_refused_passed(struct node_partition *p, const struct node_sequence *sequence);
void node_refused_expire(struct node_partition *p, uint64_t now_ms);
void node_refused_free(struct node_partition *p);

/* The caller goes away (connection closed): done will not run any more; the data stays. */
void node_append_cancel(struct node_append_op *op);

/* One client read. done runs exactly once, maybe before node_read returns. */
struct node_read_op {
    struct node_partition *partition;
    int64_t offset;
    uint32_t max_bytes;
    bool min_one;                 /* a first batch above max_bytes is returned whole */
    int32_t current_leader_epoch; /* -1 = unchecked */
    int32_t last_fetched_epoch;   /* -1 = unchecked */
    void (*done)(struct node_read_op *op);
    enum kw_error error;
    struct kb_chain records; /* taken over by the caller */
    int64_t high_watermark;
    int64_t last_stable_offset;
    int64_t log_start_offset;
    int32_t diverging_epoch; /* -1 = none */
    int64_t diverging_end_offset;
    /* Private. */
    struct log_read log_read;
    bool pending_;
};
void node_read(struct node_read_op *op);
/* The caller goes away: done will not run any more. Records not taken over are the caller's still.
 */
void node_read_cancel(struct node_read_op *op);

/* DeleteRecords of one partition (rule 10.3). done runs exactly once, maybe before
 * node_delete_records returns. */
struct node_delete_op {
    struct node_partition *partition;
    int64_t offset; /* -1 = the high watermark */
    uint32_t timeout_ms;
    void (*done)(struct node_delete_op *op);
    enum kw_error error;
    int64_t low_watermark; /* -1 on error */
    int32_t leader_epoch_;
    bool waiting_;
    uint64_t deadline_ms_;
    TAILQ_ENTRY(node_delete_op) waits_;
};
void node_delete_records(struct node_delete_op *op);
void node_delete_cancel(struct node_delete_op *op);
void node_deletes_check(struct node_partition *p);    /* done, or too late */
void node_deletes_fail_all(struct node_partition *p); /* the epoch ended (1.5) */

/* A parked client fetch: fn runs (as a new event) when the partition's HW, leader, epoch or start
 * changed; once per registration. */
struct node_fetch_wait {
    struct node_partition *partition;
    void (*fn)(struct node_fetch_wait *w);
    bool registered;
    TAILQ_ENTRY(node_fetch_wait) entries;
};
void node_fetch_wait_add(struct node_partition *p, struct node_fetch_wait *w);
void node_fetch_wait_remove(struct node_fetch_wait *w);
void node_partition_wake(struct node_partition *p); /* calls all waits */

/* Leader checks and bounds for ListOffsets, OffsetForLeaderEpoch, DeleteRecords: KW_NONE or the
 * error to answer. */
enum kw_error node_partition_check_leader(struct node_partition *p, int32_t current_leader_epoch);

/* ---- replicate.c: leader side of peer fetches; fetcher.c: follower side -------------------------
 */

void node_replicate_fetch(struct node *n, const struct node_message *msg);   /* FetchRequest */
void node_replicate_durable(struct node *n, const struct node_message *msg); /* DurableReport */
void node_replicate_link_closed(struct node *n, struct node_link *l);
void node_replicate_link_free(struct node_link *l);
/* The node's newest word on this partition is that it follows us in the present epoch. */
bool node_replicate_followed_by(const struct node_partition *p, int32_t node_id);
/* When it last said so: each poll repeats what its link remembers. 0: not on this link (a number),
 * not in the present epoch, or in another life than the image's (3.7). */
uint64_t node_replicate_heard_ms(const struct node_partition *p, int32_t node_id, uint64_t link);
void node_replicate_forget(struct node_partition *p); /* role changed, or it leaves */
void node_replicate_wake(
    struct node_partition *p); /* data written or HW moved: answer parked polls */
void node_fetcher_assign(struct node_partition *p); /* follow where the replica says */
void node_fetcher_kick(struct node_partition *p);
void node_fetcher_space(struct node_partition *p); /* the log takes appends again */
void node_fetcher_forget(struct node_partition *p);
void node_fetcher_link_open(struct node *n, struct node_peer *peer);
void node_fetcher_link_closed(struct node *n, struct node_peer *peer);
void node_fetcher_disk(struct node *n);              /* n->disk_stalled changed: tell the leaders */
void node_fetcher_durable(struct node_partition *p); /* the log's durable end or generation moved */
void node_fetcher_free(struct node *n);

/* ---- quorum.c, snapshot.c: the Raft driver ------------------------------------------------------
 */

/* 1. What the directory holds of the Raft log. 2. Open log, vote file and newest snapshot;
 * node_quorum_ready() follows (node.c). 3. Make the core and take part: once, when the identity is
 * settled. */
void node_quorum_found(struct node *n, const struct log_dir_found *found);
int node_quorum_start(struct node *n);
void node_quorum_ready(struct node *n, int result, const char *reason); /* node.c */
void node_quorum_begin(struct node *n);
void node_quorum_message(struct node *n, const struct node_message *msg); /* all Raft bodies */
void node_quorum_link_open(struct node *n, struct node_peer *peer);
void node_quorum_link_closed(struct node *n, struct node_peer *p, struct node_link *closed);
void node_quorum_peer_dead(struct node *n, struct node_peer *peer); /* rule 7.2 */
void node_quorum_tick(struct node *n, uint64_t now_ms, uint64_t gap_ms);
/* Stop: hand leadership over if we have it, close the log cleanly. */
void node_quorum_close(struct node *n, void (*done)(struct node *));
void node_quorum_free(struct node *n);
/* Leader only: append one batch of metadata records; fn runs when it is committed and applied here
 * (result 0), or when leadership was lost first (-KB_ECLOSED). Returns the last index, or negative
 * (-KB_EAGAIN: too much uncommitted; -KB_EPERM: not the leader). */
typedef void node_committed_fn(void *arg, int result);
int64_t node_quorum_propose(struct node *n, const struct meta_records *records,
                            node_committed_fn *fn, void *arg);
/* fn runs when everything proposed so far is committed (read-only answers, rule 6.3). */
void node_quorum_barrier(struct node *n, node_committed_fn *fn, void *arg);
/* The same, and when a majority has followed later than now: nobody else led when the answer was
 * made. -KB_EPERM: not the leader, fn is not called. */
int node_quorum_confirm(struct node *n, node_committed_fn *fn, void *arg);
/* fn runs when index is applied here, or with -KB_ETIMEDOUT. */
void node_quorum_wait_applied(struct node *n, uint64_t index, uint64_t timeout_ms,
                              node_committed_fn *fn, void *arg);
/* General form: term 0 = only the index counts; else fn gets -KB_ECLOSED when the leadership of
 * term ends first. */
void node_quorum_wait(struct node *n, uint64_t index, uint64_t term, uint64_t deadline_ms,
                      node_committed_fn *fn, void *arg);
/* Forget the waits with this arg. */
void node_quorum_forget(struct node *n, const void *arg);
void node_quorum_fail_waits(struct node *n); /* node_free: everybody who waits hears -KB_ECLOSED */
void node_quorum_transfer(struct node *n);   /* hand Raft leadership to any voter; best effort */
const struct raft_core *node_quorum_core(const struct node *n); /* NULL before it takes part */
uint64_t node_quorum_term(const struct node *n);
void node_quorum_peer_accepting(struct node *n, struct node_peer *peer);
/* Leader in office, its first own-term entry applied (rules 6.2, R7). */
bool node_quorum_is_leader(const struct node *n);
int32_t node_quorum_leader_id(const struct node *n); /* -1 unknown */
uint64_t node_quorum_applied(const struct node *n);

/* voters.c: a voter whose directory was lost is replaced by the one it has now (rule 11.3). */
void node_voters_tick(struct node *n, uint64_t now_ms);

/* ---- controller.c: what only the active controller does -----------------------------------------
 */

void node_controller_elected(
    struct node *n); /* first own-term entry applied: make the speculative image */
void node_controller_resigned(struct node *n);
void node_controller_message(
    struct node *n, const struct node_message *msg); /* Register, Heartbeat, AlterPartition, … */
void node_controller_link(struct node *n,
                          struct node_peer *peer); /* its control link opened, closed, died */
void node_controller_tick(struct node *n, uint64_t now_ms, uint64_t gap_ms);
void node_controller_free(struct node *n);
/* Take a handler's result (released in any case), append its records as one batch, and when that is
 * committed and applied (without records: when all before is) call fn with result 0, or -KB_ECLOSED
 * when leadership was lost first. Negative at once: nothing was appended and fn is not called. */
typedef void node_command_fn(void *arg, int result, uint64_t index);
int node_controller_submit(struct node *n, struct meta_result *result, node_command_fn *fn,
                           void *arg);
/* The same for a client's command: without records it says what is so, and a controller that was
 * cut off and has a successor does not know. fn then runs when a majority has followed since. */
int node_controller_command(struct node *n, struct meta_result *result, node_command_fn *fn,
                            void *arg);
struct meta_controller *node_controller_get(struct node *n); /* NULL out of office */
void node_controller_heard(struct node *n, struct node_peer *p);
void node_reply_send(struct node *n, const struct node_reply *to, Kvorum__PeerMessage *m,
                     struct kb_chain *payload);
/* Call the active controller, which may be this node. -KB_ECLOSED or -KB_ELIMIT: fn is not called.
 */
int node_controller_call(struct node *n, Kvorum__PeerMessage *m, struct kb_chain *payload,
                         node_answer_fn *fn, void *arg);

/* ---- lifecycle.c: this broker as the controller's client
 * ------------------------------------------ */

void node_lifecycle_start(struct node *n);
void node_lifecycle_free(struct node *n);
void node_recovered(struct node *n); /* all logs are open: registration may go out */
void node_lifecycle_applied(struct node *n);
void node_lifecycle_committed(struct node *n); /* a batch was applied */
void node_lifecycle_leader(struct node *n);    /* Raft leader or its office changed */
/* When the last heartbeat was sent that was acknowledged and found this broker unfenced. A fenced
 * one has lost its leaderships, also those of which it does not know that yet (3.7). */
uint64_t node_lifecycle_heard_ms(const struct node *n);
void node_lifecycle_link(
    struct node *n, struct node_peer *peer); /* a control link opened or closed, leader changed */
void node_lifecycle_tick(struct node *n, uint64_t now_ms);
void node_lifecycle_stop(struct node *n, uint64_t timeout_ms, void (*done)(struct node *));
void node_lifecycle_disk_failed(struct node *n, int error);
/* A block of producer ids; fn(first, count) or count 0 on failure. */
typedef void node_producer_ids_fn(void *arg, int64_t first, int32_t count);
void node_lifecycle_producer_ids(struct node *n, node_producer_ids_fn *fn, void *arg);

/* ---- proposals.c: what the replicas here want of the controller
 * ------------------------------------ */

void node_proposals_start(struct node *n);
void node_proposals_free(struct node *n);
/* registered: the controller knows us, so standing reports may go out (again). */
void node_proposals_tick(struct node *n, uint64_t now_ms, bool registered);
/* Its replica's proposal (rep_proposal) goes out with this round's others. */
void node_propose(struct node_partition *p);
/* A new controller: what was proposed to the old one is proposed again. */
void node_propose_again(struct node *n);
void node_report(struct node_partition *p, enum rep_report report);
/* Its log finds no space: another leader is wanted, not more often than it may be asked for. */
void node_report_disk_full(struct node_partition *p);

/* ---- client.c: Kafka connections
 * ------------------------------------------------------------------ */

struct node_client; /* a connection */

struct node_request {
    struct node *node;
    struct node_client
        *client; /* NULL: the connection is gone, or the request was forwarded to us */
    struct node_listener *listener; /* it came in on; NULL when forwarded: see listener_name */
    const char *listener_name;
    char client_host[64];
    struct kw_request_header header;
    struct kb_block *frame; /* the whole frame; owned reference */
    struct kb_view body;    /* behind the header */
    struct kb_arena arena;  /* decoded request, continuation */
    uint64_t received_us;
    void *op; /* the API's continuation */
    void (*cancel)(struct node_request
                       *rq); /* the connection closed: drop what waits, then node_request_free */
    void *forward_;          /* where a forwarded request is answered */
    uint64_t commit_index;   /* set by admin handlers: the answer rests on it (6.11) */
};
/* Send the answer and free the request. The response body is written by encode(writer, version,
 * body); header and size are added here. */
typedef void node_body_write_fn(struct kw_writer *w, int16_t version, const void *body);
void node_request_reply(struct node_request *rq, node_body_write_fn *encode, const void *body);
/* No answer (acks=0), next request may come. */
void node_request_done(struct node_request *rq);
/* Look the API up and run it (client.c). */
void node_request_dispatch(struct node_request *rq);
/* The active controller cannot take it now, or lost its office: send it on, or back to where it
 * came from. */
void node_request_retry_later(struct node_request *rq);
/* Malformed or not allowed: close the connection, free the request; counted and logged
 * (rate-limited). */
void node_request_reject(struct node_request *rq, const char *why);
void node_request_free(struct node_request *rq);

int node_clients_start(struct node *n, char **ret_reason);
/* A link to this broker closed: its leaderships are in doubt (hold.c). */
void node_clients_peer_dead(struct node *n, int32_t id);
void node_clients_applied(struct node *n, const struct meta_delta *delta);
void node_clients_tick(struct node *n, uint64_t now_ms);
void node_clients_expire(struct node *n, uint64_t now_ms);
void node_clients_stop(struct node *n);
void node_clients_free(struct node *n);
/* Handle a Kafka frame that another broker forwarded; answer goes to fn as a whole response frame.
 */
typedef void node_forwarded_fn(void *arg, struct kb_chain *frame, uint64_t commit_index);
void node_clients_forwarded(struct node *n, struct kb_block *frame, struct kb_view body,
                            const char *client_host, const char *listener, node_forwarded_fn *fn,
                            void *arg);

struct node_listener {
    struct node *node;
    const struct node_listener_config *config;
    struct kb_listener *listener;
};

/* ---- groups.c: consumer group shards
 * ---------------------------------------------------------------- */

void node_groups_leader(struct node_partition *p, bool leading); /* load or free the shard */
void node_groups_committed(struct node_partition *p);            /* HW moved */
void node_groups_free(struct node *n);
void node_groups_topic_deleted(struct node *n, const char *topic, const struct kb_uuid *topic_id);

/* The shard that coordinates a group, ready to be asked; NULL and the error to answer otherwise:
 * COORDINATOR_NOT_AVAILABLE (no offsets topic yet), NOT_COORDINATOR, COORDINATOR_LOAD_IN_PROGRESS.
 */
struct group_shard;
struct group_effects;
struct node_group *node_group_of(struct node *n, struct kw_str group_id, enum kw_error *ret_error);
/* The same for what may append: COORDINATOR_NOT_AVAILABLE while too few replicas are there (3.6).
 */
struct node_group *node_group_to_write(struct node *n, struct kw_str group_id,
                                       enum kw_error *ret_error);
struct group_shard *node_group_shard(struct node_group *g);
/* NULL while it is loading. */
struct group_shard *node_group_ready_shard(struct node_group *g);
void node_group_now(struct node_group *g, uint64_t *ret_mono_ms, int64_t *ret_wall_ms);
/* The request is answered by the shard, now or later. */
void node_group_join(struct node_group *g, struct node_request *rq,
                     const struct kw_join_group_request *req);
void node_group_sync(struct node_group *g, struct node_request *rq,
                     const struct kw_sync_group_request *req);
/* Carry a handler's effects out (fx is released) and answer with body (in the request's arena) once
 * they are committed, or through fail when they cannot be. */
typedef void node_group_fail_fn(struct node_request *rq, enum kw_error error);
void node_group_submit(struct node_group *g, struct group_effects *fx, struct node_request *rq,
                       node_body_write_fn *write, const void *body, node_group_fail_fn *fail);
/* done runs when all that the shard has replayed is committed (6.3), or with the error to answer.
 * prove: and this broker was its coordinator later than now (6.10), shown by the commit of a batch
 * that changes nothing; found by node_group_to_write. done never runs before this returns; false:
 * there is nothing to wait for, and it will not run. */
typedef void node_group_done_fn(struct node_request *rq, enum kw_error error);
bool node_group_settle(struct node_group *g, bool prove, struct node_request *rq,
                       node_group_done_fn *done);

/* ---- apply.c: the committed image moves
 * --------------------------------------------------------------- */

/* Questions this room asks the image. */
void node_static_configs_init(struct node *n);
void node_default_log_config(struct node *n, struct log_config *ret);
void node_topic_log_config(struct node *n, const struct kb_uuid *topic_id,
                           struct meta_log_config *ret);
void node_partition_log_config(struct node_partition *p, struct log_config *ret);
void node_partition_batch_rules(struct node_partition *p, struct kw_batch_rules *ret);
bool node_image_has_topic(struct node *n, const struct kb_uuid *topic_id);
bool node_image_assigns(struct node *n, const struct kb_uuid *topic_id, int32_t index);
typedef void node_assigned_fn(void *arg, const char *topic, const struct kb_uuid *topic_id,
                              int32_t index);
void node_image_each_assigned(struct node *n, node_assigned_fn *fn, void *arg);
/* Fill ret and replicas[REP_REPLICAS_MAX] from the image; false when it has no such partition. */
bool node_image_partition(struct node *n, const struct kb_uuid *topic_id, int32_t index,
                          struct rep_image *ret, struct rep_image_replica *replicas);
void node_founding_records(struct node *n, struct meta_records *ret);

/* Called by quorum.c for each committed batch in order, after the image has replayed it. */
void node_applied(struct node *n, const struct meta_delta *delta);

/* ---- watch.c: what happened lately, for people (events.h) -------------------------------------
 */

struct node_watch;
void node_watch_init(struct node *n);
void node_watch_free(struct node *n);
void node_watch_link(struct node *n, struct node_peer *p); /* a control link opened or closed */
void node_watch_peer_dead(struct node *n, struct node_peer *p, const char *why); /* static */
void node_watch_controller(struct node *n, int32_t id, uint64_t term);
void node_watch_applied(struct node *n, const struct meta_delta *delta);
const struct node_events *node_watch_events(const struct node *n);

/* ---- hold.c: answers that wait for the controller's decision (rule 10.5) ----------------------
 */

struct node_hold_table;
/* fn runs once when the image moved or the deadline passed, in an event of its own; it may register
 * again. */
struct node_hold {
    void (*fn)(struct node_hold *h);
    uint64_t deadline_ms;
    struct node *node;
    bool registered;
    TAILQ_ENTRY(node_hold) entries;
};
void node_hold_add(struct node *n, struct node_hold *h);
void node_hold_remove(struct node_hold *h);
void node_holds_run(struct node *n); /* something they may wait for has come: they run soon */
/* Our link to this leader closed and the controller may still replace it: do not name it before
 * *ret_until_ms. */
bool node_leader_held(struct node *n, int32_t leader, uint64_t *ret_until_ms);
/* This leader lives or lived after the node's proof_sequence was since: it answered a ping that was
 * sent later. If not, one is on its way: holds run again when it is answered. false also for
 * ourselves, and when no link to it is open (then the two others here decide). A client can hear
 * of a leader's end before we do; its question must not be answered from before that end. */
bool node_leader_unproven(struct node *n, int32_t leader, uint64_t since);
void node_leader_proven(struct node *n, struct node_peer *p, uint64_t sequence);
/* Its link closed and its process is dead by rule 7.2: answer LEADER_NOT_AVAILABLE. */
bool node_leader_dead(struct node *n, int32_t leader);
void node_holds_free(struct node *n);

/* ---- load.c: the bytes of a chain in one piece ----------------------------------------------- */

/* File ranges are read without blocking the loop. done runs once, maybe before node_load_start
 * returns. */
struct node_load {
    void (*done)(struct node_load *load, int result);
    void *user;
    struct kb_buf bytes;
    /* Private. */
    struct node *node_;
    struct kb_chain chain_;
    size_t next_;
    struct kb_read read_;
    bool reading_;
};
/* Takes the chain. */
void node_load_start(struct node *n, struct node_load *load, struct kb_chain *chain);
/* Free what it holds. Legal in done; not while a read is under way unless env delivers nothing any
 * more. */
void node_load_release(struct node_load *load);

/* ---- node
 * ------------------------------------------------------------------------------------------------
 */

struct node_identity;
struct node_quorum;
struct node_control;
struct node_lifecycle;
struct node_proposals;
struct node_client_table;
struct node_group_table;
struct api_creations;
struct api_producer_ids;
struct api_fetch_sessions;
struct node_retention;

/* Counters for status and metrics. */
struct node_counters {
    uint64_t requests;
    uint64_t requests_rejected;
    uint64_t produce_bytes;
    uint64_t produce_records;
    uint64_t fetch_bytes;
    uint64_t isr_shrinks;
    uint64_t isr_expands;
    uint64_t elections_seen;
};

struct node {
    struct kb_env *env;
    struct node_config config;
    enum node_state state;
    char *fail_reason;
    uint64_t incarnation;
    uint64_t started_ms;
    struct group_clock clock; /* read by node_wall_ms */

    struct log_dir *dir; /* identity, lock, checkpoints */
    struct kb_uuid directory_id;
    char *cluster_id; /* NULL = blank */
    bool blank;
    void *founding_job;
    int64_t previous_broker_epoch; /* what the directory said at the start; -1 = none */
    bool clean_start;
    bool same_boot;
    bool fresh_directory;
    uint64_t creations_index;
    struct log_cache *cache; /* tail cache of all logs */
    struct kb_pool *read_pool;

    struct kb_budget client_budget; /* client frames */
    struct kb_budget data_budget;   /* data-link frames */
    struct kb_budget read_budget;   /* what clients' reads brought into memory */
    struct kb_budget answer_budget; /* requests in work, answers until they are sent */

    /* links */
    struct kb_map peers; /* id -> struct node_peer */
    LIST_HEAD(, node_link) accepted_links;
    struct kb_listener *peer_listener;
    bool links_stopped;
    uint64_t pinged_ms;
    struct kb_log_rate link_rate;
    struct node_identity *identity;
    const struct node_listener_config *controller_listener;

    struct meta_image *image; /* committed */
    uint64_t broker_epoch;    /* of this incarnation, as replayed; 0 = not registered */
    bool fenced;

    struct node_partition *partitions; /* uthash by key */
    size_t partitions_opening;
    bool caught_up; /* has once replayed its own registration and was unfenced: no longer older than
                       what its clients know */
    bool recovered;
    size_t partitions_creating;
    TAILQ_HEAD(, node_partition) line; /* logs to be made or to go: a few at a time */
    size_t line_running;
    bool refresh_soon; /* a path was freed: node_partitions_refresh_all at the next tick */
    struct kb_log_rate create_rate;
    struct kb_log_rate sequence_rate;
    bool creations_writing;
    uint64_t creations_retry_ms; /* a full disk: again then; 0 = no */
    bool disk_full;              /* some log found no space */
    bool disk_stalled;           /* full, or a sync hangs (9.4): as leaders were told */
    uint64_t creations_round;
    size_t partitions_leaving;
    size_t partitions_closing;
    void (*partitions_closed)(struct node *);
    bool close_failed;
    struct meta_config_entry *static_configs; /* borrows from config */
    size_t static_configs_count;
    bool freeing; /* node_free runs: nothing is sent any more */
    uint64_t link_serial;

    struct node_quorum *quorum;
    struct node_control *control; /* non-NULL while active controller */
    struct node_lifecycle *lifecycle;
    struct node_proposals *proposals;
    struct node_client_table *clients;
    struct node_group_table *groups;
    struct node_hold_table *holds;
    uint64_t proof_sequence;                   /* of the last ping that asked for a sign of life */
    struct api_creations *creations;           /* broker/api's: topics being created on demand */
    struct api_fetch_sessions *fetch_sessions; /* broker/api's */
    void (*free_fetch_sessions)(struct node *n);
    struct api_producer_ids *producer_ids; /* broker/api's */
    void (*free_producer_ids)(struct node *n);
    struct node_retention *retention;
    struct node_watch *watch;
    struct node_counters counters;

    struct kb_timer *tick; /* every 50 ms: lag checks, sessions, retention */
    uint64_t tick_ms;      /* last run, to see standstills (rule 7.3) */
    node_started_fn *started;
    void *started_arg;
    node_stopped_fn *stopped;
    void *stopped_arg;
};

void node_set_state(struct node *n, enum node_state state);
/* Cannot go on: log, then leave the process (rule 9.3). */
void node_panic_disk(struct node *n, const char *what, int err);
static inline uint64_t node_now(struct node *n)
{
    return kb_env_now_ms(n->env);
}
/* The wall clock without its jumps, whatever it says once the node has started: by it records and
 * offsets grow old (fault row 48). */
int64_t node_wall_ms(struct node *n);

#endif
