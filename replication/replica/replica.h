#ifndef REP_REPLICA_H
#define REP_REPLICA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* One replica of one partition on this broker, as a pure state machine: no clock, files, sockets,
 * threads or chance. Facts come in (metadata, log reports, peer frames, time), effects come out.
 * Rule numbers are those of the replication rules (README.md lists where each lives).
 *
 * Owner: the state loop; not thread-safe. Offsets are int64_t, LEO = log end offset (exclusive),
 * HW = high watermark (exclusive). Times are monotonic ms, never 0. Epoch -1, offset -1, broker
 * epoch -1 and node -1 mean "none".
 *
 * Invariants: log_start <= HW <= LEO; durable <= written <= LEO; a leader's LEO never falls; HW
 * falls only by an unclean truncation of a follower (2.7). */

#define REP_REPLICAS_MAX 64 /* replicas of one partition */
#define REP_NEVER UINT64_MAX

struct rep;

/* ---- what is known when the replica is made -------------------------------------------------- */

struct rep_config {
    int32_t node_id;
    uint64_t lag_max_ms;         /* replica.lag.time.max.ms */
    uint64_t session_timeout_ms; /* broker.session.timeout.ms: 3.6, 3.7 */
    uint64_t proposal_retry_ms;  /* wait after a refused proposal, and between lost ones */
};

struct rep_epoch_offset {
    int32_t epoch;
    int64_t end_offset;
};

/* Questions the replica asks synchronously. All answers must agree with the facts fed in. */
struct rep_view {
    void *arg;
    /* Epoch table of the log: the largest epoch <= `epoch` and where it ends (start of the next
     * higher epoch, or LEO). If all known epochs are higher: {epoch, start of the lowest}. If the
     * table is empty or `epoch` is above the last one known: {-1, -1}. */
    struct rep_epoch_offset (*end_offset_for_epoch)(void *arg, int32_t epoch);
    /* Epoch of the batch that holds offset - 1; -1 if the log holds none there. Entries without
     * records do not count. */
    int32_t (*epoch_before)(void *arg, int64_t offset);
    /* Base offset of the oldest bytes the log still has, at or below its start. May be NULL: its
     * start is always the base of a batch. */
    int64_t (*first_base)(void *arg);
    /* Last acknowledged controller heartbeat (3.7); 0 = never. May be NULL: never cut off. */
    uint64_t (*controller_heard_ms)(void *arg);
    /* Last frame of a follower's data link numbered link; 0 = none or link closed. A frame of a
     * link on which this partition's epoch was checked counts as in-epoch (3.6, 3.7). May be NULL:
     * only rep_follower_* calls count. */
    uint64_t (*link_heard_ms)(void *arg, int32_t follower, uint64_t link);
};

/* ---- committed metadata of the partition ----------------------------------------------------- */

struct rep_image_replica {
    int32_t node_id;
    int64_t broker_epoch; /* of its present registration; -1 = not registered */
    bool in_isr;
    bool in_elr;
    bool fenced;
    bool stopping; /* controlled shutdown */
    bool stalled;  /* disk stall reported (9.4) */
};
struct rep_image {
    int32_t leader; /* -1 = none */
    int64_t leader_broker_epoch;
    int32_t leader_epoch;
    int32_t partition_epoch;
    int32_t last_unclean_epoch; /* leader epoch of the last unclean election; -1 = never */
    int32_t min_isr;            /* effective minimum (3.2), >= 1 */
    bool strong;                /* flush.messages = 1; else "durable" reads "written" */
    bool unsynced; /* turned strong; no record says yet that the ISR has synced all it has (4.4) */
    const struct rep_image_replica *replicas; /* borrowed for the call; preferred order */
    size_t n_replicas;                        /* <= REP_REPLICAS_MAX */
};

/* ---- the log when it was opened ---------------------------------------------------------------
 */

enum rep_log_state { REP_LOG_WHOLE, REP_LOG_CUT, REP_LOG_DAMAGED, REP_LOG_MISSING };
struct rep_log_facts {
    enum rep_log_state state; /* 8.2 */
    uint64_t generation;
    int64_t log_start;      /* first readable offset */
    int64_t log_end;        /* LEO */
    int64_t durable;        /* durable end in this life; usually 0 or log_end once synced (8.1) */
    int64_t high_watermark; /* checkpoint; clamped to [log_start, log_end] (3.4) */
    int32_t last_epoch;     /* highest epoch in the epoch table; -1 = none */
    /* Base of the log's last batch, when that alone is of last_epoch and nothing proves it: the
     * epoch file does not know it yet, or a bit has turned (1.8). <= 0 = otherwise. */
    int64_t lone_from;
};

/* ---- states ----------------------------------------------------------------------------------
 */

enum rep_state {
    REP_IDLE,       /* takes no part: no image or log yet, not a replica, no leader, or the
                       leadership is void because of a restart (1.2) */
    REP_LEADER,     /* leads in rep_leader_epoch */
    REP_FOLLOWER,   /* fetches from rep_leader */
    REP_TRUNCATING, /* follower that waits for rep_on_truncated or rep_on_reset */
    REP_WAITING,    /* must drop bytes it is trusted for: waits until a record later than its report
                       has it out of ISR and ELR (2.8) */
    REP_HALTED,     /* refuses to take part in this leader epoch; said so by a report */
    REP_FAILED,     /* the log failed: final (9.3) */
    REP_STATE_MAX_
};
const char *rep_state_name(enum rep_state state);

/* ---- effects ---------------------------------------------------------------------------------
 * Each call that takes fx overwrites it. The node carries the set flags out in the order of their
 * bits, lowest first, before the next event of this replica. Facts that carrying out produces
 * (rep_on_truncated, …) go in by calls with an effects struct of their own. */

enum rep_fx_flag {
    REP_FX_FAIL_PARKED = 1u << 0, /* end all that waits in the old epoch: see fail (1.5, 3.7) */
    REP_FX_ROLE = 1u << 1, /* state, leader or leader epoch changed: stop the old fetch, adopt
                              the new role */
    REP_FX_ASSIGN_EPOCH = 1u << 2, /* enter epoch_start into the log's epoch table (1.6) */
    REP_FX_TRUNCATE = 1u << 3,  /* cut the log to `to`, then rep_on_truncated. With lower_hw: the HW
                                   checkpoint is lowered durably before the cut (2.7) */
    REP_FX_RESET = 1u << 4,     /* empty the log so that it starts at `to` (set_aside: keep the old
                                   files aside, they are evidence), then rep_on_reset; lower_hw as
                                   above */
    REP_FX_LOG_START = 1u << 5, /* follower: raise the log start to log_start */
    REP_FX_HW = 1u << 6,        /* HW moved to high_watermark: answer acks=all, consumers, parked
                                   follower polls (3.4) */
    REP_FX_DURABLE = 1u << 7,   /* the leader's own counted durable end moved: answer acks=1 */
    REP_FX_LOW_WATERMARK = 1u << 8,   /* ask rep_delete_done for parked DeleteRecords */
    REP_FX_WAKE_FOLLOWERS = 1u << 9,  /* more written bytes for followers */
    REP_FX_FETCH = 1u << 10,          /* follower: send a request for rep_fetch_position (again) */
    REP_FX_REPORT_DURABLE = 1u << 11, /* follower: send rep_fetch_position as a report (2.3) */
    REP_FX_PROPOSE = 1u << 12,        /* send rep_proposal to the controller */
    REP_FX_REPORT = 1u << 13,         /* tell the controller `report`, until an image changes it */
};

enum rep_fail_reason {
    REP_FAIL_EPOCH_ENDED, /* NOT_LEADER_OR_FOLLOWER / NOT_COORDINATOR */
    REP_FAIL_CUT_OFF,     /* the same codes; leadership goes on (3.7) */
    REP_FAIL_LOG_FAILED,  /* KAFKA_STORAGE_ERROR or NOT_LEADER_OR_FOLLOWER; outcome unknown (1.7) */
    REP_FAIL_DAMAGED,     /* likewise */
};
enum rep_report {
    REP_REPORT_NONE,
    REP_REPORT_LOG_FAILED,         /* leader or follower: elect another (1.7) */
    REP_REPORT_DAMAGED,            /* committed records are lost here: take me out of ISR and ELR,
                                      elect another (2.6, 2.8). Answered by a record also if I am
                                      in neither, see report_epoch */
    REP_REPORT_MUST_DROP,          /* take me out of ISR and ELR, I must refetch (2.8) */
    REP_REPORT_CUT_BELOW_HW,       /* the leader asked for a cut below my HW; refused (2.6) */
    REP_REPORT_METADATA_BACKWARDS, /* my log or image is ahead of the committed one (1.8) */
};
const char *rep_report_name(enum rep_report report);

struct rep_effects {
    uint32_t flags; /* of enum rep_fx_flag */
    enum rep_fail_reason fail;
    struct rep_epoch_offset epoch_start; /* end_offset is the first offset of the epoch */
    int64_t to;
    bool lower_hw;
    bool set_aside;
    int64_t log_start;
    int64_t high_watermark;
    enum rep_report report;
    int32_t
        report_epoch; /* the controller raises the partition epoch above this one even if nothing
                         else changes: proposals that rest on what I held must fail (2.8) */
    uint64_t deadline_ms; /* always set: call rep_tick then; REP_NEVER = not needed */
};

/* ---- life ------------------------------------------------------------------------------------
 */

/* view is copied. Ends the process when memory is gone. */
struct rep *rep_new(const struct rep_config *config, const struct rep_view *view);
/* NULL accepted; returns NULL. */
struct rep *rep_free(struct rep *r);

/* The registration of this incarnation was replayed: only from now on may this replica lead (1.2).
 * Once per life of the process; before the image that rests on it. */
void rep_set_broker_epoch(struct rep *r, int64_t broker_epoch);

/* New committed metadata, also when only a broker's fenced/stopping/stalled or the minimum changed.
 * Feed it only once this incarnation's registration is replayed: an older image is "backwards"
 * (1.8). 0, or -KB_EINVAL for an image that contradicts itself (leader outside the ISR, more than
 * REP_REPLICAS_MAX replicas, min_isr < 1): nothing changed. */
int rep_apply_image(struct rep *r, const struct rep_image *image, uint64_t now_ms,
                    struct rep_effects *fx);

/* Passing of time: call at or after deadline_ms; early calls are harmless. */
void rep_tick(struct rep *r, uint64_t now_ms, struct rep_effects *fx);

/* ---- facts from the log ---------------------------------------------------------------------- */

/* The log was opened; once, and before any other fact. */
void rep_log_opened(struct rep *r, const struct rep_log_facts *facts, uint64_t now_ms,
                    struct rep_effects *fx);
/* The log has given offsets up to log_end (leader append, or follower append of an answer). */
void rep_on_appended(struct rep *r, int64_t log_end, uint64_t now_ms, struct rep_effects *fx);
/* Reports of older generations are dropped (2.5). Offsets are exclusive ends. */
void rep_on_written(struct rep *r, uint64_t generation, int64_t offset, uint64_t now_ms,
                    struct rep_effects *fx);
void rep_on_durable(struct rep *r, uint64_t generation, int64_t offset, uint64_t now_ms,
                    struct rep_effects *fx);
/* The cut asked for is queued: the log accepts appends at log_end and syncs the cut before them.
 * Reports of the former generation are void from here on, so once the cut is synced the log reports
 * written and durable log_end under the new one. */
void rep_on_truncated(struct rep *r, uint64_t generation, int64_t log_end, uint64_t now_ms,
                      struct rep_effects *fx);
/* The log is empty and starts at log_start; a new log may count its generations anew. Says nothing
 * of a replica that has failed: its old log may have done so while it was set aside. */
void rep_on_reset(struct rep *r, uint64_t generation, int64_t log_start, uint64_t now_ms,
                  struct rep_effects *fx);
/* The log start rose (retention, DeleteRecords, REP_FX_LOG_START); durable_start is the part of it
 * that survives a power cut. */
void rep_on_log_start(struct rep *r, int64_t log_start, int64_t durable_start, uint64_t now_ms,
                      struct rep_effects *fx);
/* A write or sync failed or is doubtful after an offset was given (1.7, 9.3). Final. */
void rep_on_failed(struct rep *r, uint64_t now_ms, struct rep_effects *fx);
/* Bytes fail their checksum (10.4); what lies below `from` is not known to be bad. */
void rep_on_damaged(struct rep *r, int64_t from, uint64_t now_ms, struct rep_effects *fx);

/* ---- leader: appends -------------------------------------------------------------------------
 */

enum rep_append_result {
    REP_APPEND_OK,
    REP_APPEND_NOT_LEADER,
    REP_APPEND_CUT_OFF,             /* 3.7: answered as NOT_LEADER_OR_FOLLOWER */
    REP_APPEND_NOT_ENOUGH_REPLICAS, /* acks=all only (3.6) */
};
/* May a batch be appended now? acks: -1 = all, 0, 1. */
enum rep_append_result rep_check_append(struct rep *r, int acks, uint64_t now_ms);

enum rep_append_done { REP_APPEND_DONE, REP_APPEND_WAIT, REP_APPEND_EPOCH_ENDED };
/* Is the append that ended with last_offset, accepted in leader_epoch, to be acknowledged? Also for
 * duplicates (3.5). Ask on REP_FX_HW (acks -1) and REP_FX_DURABLE (acks 1). */
enum rep_append_done rep_append_done(const struct rep *r, int32_t leader_epoch, int64_t last_offset,
                                     int acks);

/* ---- leader: followers -----------------------------------------------------------------------
 */

/* What of a log is on disk. Both ends travel: the leader counts the one its own image asks for. */
struct rep_ends {
    int64_t written;
    int64_t durable;
    int64_t log_start; /* the start that survives a power cut */
};
/* A follower's request for one partition, as it came in. */
struct rep_fetch {
    int32_t follower;
    int64_t broker_epoch; /* of the sender, by its link's hello */
    uint64_t link;        /* number of the link; higher = newer (1.4) */
    int32_t leader_epoch;
    int32_t partition_epoch; /* of its image: only what it sends at the leader's own partition epoch
                                lets it join (2.8: it may have dropped bytes since) */
    int64_t offset;          /* its LEO */
    int32_t last_epoch;      /* of the batch before it; -1 = its log is empty */
    int64_t high_watermark;
    int64_t leader_start; /* where the leader's log begins, as it heard last; -1 = not yet */
    struct rep_ends ends;
    uint64_t came_ms; /* when it came in, if it is judged later than that; 0 = now (3.7) */
};
enum rep_fetch_result {
    REP_FETCH_OK,            /* answer offset..bound, or park it if offset >= bound and the follower
                                was told this high_watermark and log_start already */
    REP_FETCH_DIVERGING,     /* answer diverging, no data, no HW (KAFKA-14704) */
    REP_FETCH_RESET,         /* the follower must restart its log at reset_offset */
    REP_FETCH_NOT_LEADER,    /* this replica does not lead, or stopped because of damage */
    REP_FETCH_FENCED_EPOCH,  /* the request's epoch is older (P15) */
    REP_FETCH_UNKNOWN_EPOCH, /* the request's epoch is newer than the image here */
    REP_FETCH_NOT_REPLICA,   /* the sender is no replica in this image */
    REP_FETCH_STALE_BROKER,  /* the sender's broker epoch is not the image's: it retries */
    REP_FETCH_STALE_LINK,    /* arrived on a replaced link: void, no answer */
    REP_FETCH_INVALID,       /* contradicts itself: close the link */
};
struct rep_fetch_answer {
    int32_t leader_epoch;
    int64_t high_watermark; /* OK */
    int64_t log_start;      /* OK */
    int64_t bound;          /* OK: followers may read up to here (written) */
    int64_t epoch_start;    /* OK: first offset of the epoch */
    struct rep_epoch_offset diverging;
    int64_t reset_offset;
};
/* Judge a follower's request; only OK records anything (2.2). */
enum rep_fetch_result rep_follower_fetch(struct rep *r, const struct rep_fetch *fetch,
                                         uint64_t now_ms, struct rep_fetch_answer *ret,
                                         struct rep_effects *fx);
/* The same question again for a request that is parked or was being read for: what to answer now.
 * Records nothing, because nothing came from the follower since (its ends of then are old, and it
 * may be dead). */
enum rep_fetch_result rep_follower_again(const struct rep *r, const struct rep_fetch *fetch,
                                         struct rep_fetch_answer *ret);
/* A durable report of a follower (2.3): a frame with the fields of a request, of which offset,
 * last_epoch and high_watermark are not looked at. Counted as far as positions on that link and
 * epoch were checked; silently dropped if stale. */
void rep_follower_durable(struct rep *r, const struct rep_fetch *report, uint64_t now_ms,
                          struct rep_effects *fx);

/* ---- leader: ISR proposals --------------------------------------------------------------------
 * One in flight. The reply changes no ISR: only replayed images do (3.3). The request must carry
 * the controller's term it was meant for, and a controller of another term refuses it as LOST. */

struct rep_isr_member {
    int32_t node_id;
    int64_t broker_epoch;
};
struct rep_proposal {
    uint64_t id; /* echoes in rep_proposal_result */
    int32_t leader_epoch;
    int32_t partition_epoch;
    struct rep_isr_member isr[REP_REPLICAS_MAX];
    size_t n_isr;
    bool synced; /* the ISR as it is, and each member has on disk what it had when the topic turned
                    strong (4.4) */
};
/* The proposal in flight, or NULL. Valid until the next call that takes fx. */
const struct rep_proposal *rep_proposal(const struct rep *r);
enum rep_proposal_result {
    REP_PROPOSAL_ACCEPTED, /* committed: the image will say so */
    REP_PROPOSAL_STALE,    /* the controller knows a higher partition or leader epoch, or does not
                              take this leader for one: the image will say so. Additions count on */
    REP_PROPOSAL_REFUSED,  /* at this very partition epoch, by the controller in office, on the
                              newest link to it (e.g. INELIGIBLE_REPLICA): additions count no more */
    REP_PROPOSAL_LOST,     /* no answer, or the controller changed: same proposal again, at once but
                              not more often than every proposal_retry_ms */
};
void rep_proposal_answered(struct rep *r, uint64_t id, enum rep_proposal_result result,
                           uint64_t now_ms, struct rep_effects *fx);

/* ---- leader: DeleteRecords (10.3) ------------------------------------------------------------
 */

enum rep_delete_result {
    REP_DELETE_OK,
    REP_DELETE_NOT_LEADER,
    REP_DELETE_OUT_OF_RANGE, /* above the HW */
    REP_DELETE_NOT_ENOUGH_REPLICAS,
};
/* May the log start be raised to offset (-1 = the HW)? *ret_offset is what to raise it to. */
enum rep_delete_result rep_check_delete(struct rep *r, int64_t offset, uint64_t now_ms,
                                        int64_t *ret_offset);
/* Whether the whole maximal ISR has that start durably; ask on REP_FX_LOW_WATERMARK. */
enum rep_append_done rep_delete_done(const struct rep *r, int32_t leader_epoch, int64_t offset);
/* Smallest durable log start over the maximal ISR; -1 if not leader or not yet known. */
int64_t rep_low_watermark(const struct rep *r);

/* ---- clients: reading ------------------------------------------------------------------------
 */

enum rep_isolation { REP_READ_UNCOMMITTED, REP_READ_COMMITTED };
enum rep_read_result {
    REP_READ_OK,
    REP_READ_WAIT,          /* OK so far, nothing below the bound yet: park */
    REP_READ_DIVERGING,     /* KIP-595 field diverging_epoch */
    REP_READ_OUT_OF_RANGE,  /* OFFSET_OUT_OF_RANGE */
    REP_READ_NOT_AVAILABLE, /* OFFSET_NOT_AVAILABLE (10.1) */
    REP_READ_NOT_LEADER,    /* NOT_LEADER_OR_FOLLOWER; also a wait while cut off (3.7) */
    REP_READ_FENCED_EPOCH,  /* FENCED_LEADER_EPOCH */
    REP_READ_UNKNOWN_EPOCH, /* UNKNOWN_LEADER_EPOCH */
};
struct rep_read {
    int64_t offset;
    int32_t leader_epoch; /* current_leader_epoch of the request; -1 = not checked */
    int32_t last_epoch;   /* last_fetched_epoch; -1 = not checked */
    enum rep_isolation isolation;
    int64_t last_stable; /* LSO of the log */
    bool from_follower;  /* the reader accepts a follower's answer (KIP-392) */
};
struct rep_read_answer {
    int32_t leader_epoch;
    int64_t high_watermark;
    int64_t log_start;
    int64_t bound; /* nothing at or above it may be read */
    struct rep_epoch_offset diverging;
};
/* ret is filled for every result but NOT_LEADER. */
enum rep_read_result rep_consumer_read(struct rep *r, const struct rep_read *read, uint64_t now_ms,
                                       struct rep_read_answer *ret);
/* Only the epoch and leadership checks (ListOffsets, OffsetForLeaderEpoch): OK, NOT_LEADER,
 * FENCED_EPOCH, UNKNOWN_EPOCH. Epoch -1 is not checked; one below it is older than any. */
enum rep_read_result rep_check_epoch(const struct rep *r, int32_t leader_epoch, bool from_follower);
/* Where clients may read to (ListOffsets latest). OK; NOT_AVAILABLE while the HW is below the
 * epoch's start (10.1); NOT_LEADER. */
enum rep_read_result rep_latest(const struct rep *r, enum rep_isolation isolation,
                                int64_t last_stable, int64_t *ret_offset);

/* ---- follower --------------------------------------------------------------------------------
 */

struct rep_fetch_target {
    int32_t leader;
    int64_t leader_broker_epoch;
    struct rep_fetch fetch; /* follower, broker_epoch set; link is the node's to fill */
};
/* What to ask for, from the log as it is now (2.1). False: nothing to fetch. */
bool rep_fetch_position(const struct rep *r, struct rep_fetch_target *ret);

enum rep_answer_kind { REP_ANSWER_DATA, REP_ANSWER_DIVERGING, REP_ANSWER_RESET };
struct rep_answer {
    enum rep_answer_kind kind;
    int32_t leader;       /* who answered */
    int32_t leader_epoch; /* of the request */
    int64_t offset;       /* of the request */
    int64_t high_watermark;
    int64_t log_start;
    int64_t epoch_start; /* of the leader; -1 = not told */
    struct rep_epoch_offset diverging;
    int64_t reset_offset;
};
enum rep_answer_result {
    REP_ANSWER_TAKE, /* data: check and append its batches, then rep_answer_end */
    REP_ANSWER_DONE, /* handled; effects say the rest */
    REP_ANSWER_DROP, /* not for the present epoch and position: ask again if REP_FX_FETCH */
};
/* Begin handling an answer; its HW is not looked at before batches are in or bytes are cut. */
enum rep_answer_result rep_answer_begin(struct rep *r, const struct rep_answer *answer,
                                        uint64_t now_ms, struct rep_effects *fx);
/* May this batch be appended next (2.4)? Its CRC was checked by the caller (10.4). Its base is the
 * LEO, or lies above it where compaction took whole batches away: that happens below the HW only,
 * so below the leader's or, which may have forgotten it, below where its epoch starts. If false the
 * rest of the answer is dropped. Call rep_on_appended for what was taken before asking for the next
 * one, or pass the expected base and the epoch of batches taken but not yet appended; the first
 * last_epoch is rep_fetch_position's. */
bool rep_answer_batch(const struct rep *r, const struct rep_answer *answer, int64_t expected_base,
                      int32_t last_epoch, int64_t base_offset, int32_t batch_epoch);
/* The first batch of the answer, when rep_answer_batch refuses it: an empty log outside ISR and ELR
 * that was told to begin inside this batch (the leader's start may lie there) begins anew at its
 * base, as Kafka's followers do. True: the effects say so, the answer is spent. */
bool rep_answer_straddles(struct rep *r, const struct rep_answer *answer, int64_t base_offset,
                          uint64_t now_ms, struct rep_effects *fx);
/* All taken batches are appended (rep_on_appended was called): HW = min(leader's, LEO), log start
 * follows; asks for more. */
void rep_answer_end(struct rep *r, const struct rep_answer *answer, uint64_t now_ms,
                    struct rep_effects *fx);

/* ---- inspection ------------------------------------------------------------------------------
 */

enum rep_state rep_state(const struct rep *r);
/* What the log is worth by now: a cut one is whole again when it has led, or holds durably all
 * that its leader began its epoch with (4.5). */
enum rep_log_state rep_log_state(const struct rep *r);
bool rep_is_leader(const struct rep *r);
/* What the controller must know; sent again to each new controller. NONE most of the time. */
enum rep_report rep_standing_report(const struct rep *r, int32_t *ret_report_epoch);
bool rep_is_cut_off(struct rep *r, uint64_t now_ms);
int32_t rep_leader(const struct rep *r);       /* by the image; -1 = none */
int32_t rep_leader_epoch(const struct rep *r); /* by the image; -1 = no image */
int64_t rep_hw(const struct rep *r);
int64_t rep_log_start(const struct rep *r);
int64_t rep_log_end(const struct rep *r);
int64_t rep_durable_end(const struct rep *r); /* counted: written for weak topics */

enum rep_left_reason {
    REP_LEFT_NOT,     /* it is in the ISR, or was never seen there */
    REP_LEFT_LAGGING, /* this leader proposed it */
    REP_LEFT_FENCED,
    REP_LEFT_RESTARTED, /* its broker epoch changed */
    REP_LEFT_STOPPING,
    REP_LEFT_STALLED,
    REP_LEFT_BY_CONTROLLER, /* none of the above */
};
const char *rep_left_reason_name(enum rep_left_reason reason);

struct rep_inspect_peer {
    int32_t node_id;
    bool in_isr, in_elr, joining; /* joining: proposed, counts already */
    int64_t log_end, durable;     /* checked in this epoch; -1 = none yet */
    int64_t log_start;
    uint64_t heard_ms, caught_up_ms; /* 0 = never */
    enum rep_left_reason left_reason;
    uint64_t left_ms;
};
struct rep_inspect {
    enum rep_state state;
    enum rep_report report; /* standing report to the controller */
    int32_t leader, leader_epoch, partition_epoch, min_isr;
    int64_t log_start, log_end, written, durable, high_watermark, epoch_start;
    bool strong, cut_off, proposal_in_flight;
    size_t n_peers; /* all replicas of the image, this one included */
    struct rep_inspect_peer peers[REP_REPLICAS_MAX];
};
void rep_inspect(struct rep *r, uint64_t now_ms, struct rep_inspect *ret);

#endif
