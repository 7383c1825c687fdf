#ifndef LOG_LOG_H
#define LOG_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/bytes.h"
#include "proto/base/env.h"
#include "proto/base/uuid.h"

/* The partition log on disk: record batches in segment files, Kafka's format. Also the Raft log.
 *
 * One struct log belongs to the state loop of one broker; every function here runs there. Disk work
 * goes through env.h (lane writes, lane jobs, reads), so results arrive as later events.
 *
 * Offsets are exclusive ends: start <= durable <= written <= end. `end` counts what has been given
 * an offset, `written` what a reader may be given, `durable` what a power cut leaves. A
 * *generation* is one stretch between truncations; reports of an older generation are never
 * delivered.
 *
 * Failure: the first write or sync that fails after an offset was given is final (rule 9.3):
 * on_failed once, then every append answers -KB_EIO and no report follows. Reads go on. */

struct log;
struct log_cache;
struct log_producers; /* producers.h */

/* ---- configuration --------------------------------------------------------------------------- */

#define LOG_FLUSH_NEVER INT64_MAX

/* Topic settings, Kafka's names and units; -1 where Kafka says none. */
struct log_config {
    uint32_t segment_bytes;
    int64_t segment_ms;
    int64_t segment_jitter_ms; /* already drawn for this log */
    uint32_t index_interval_bytes;
    uint32_t segment_index_bytes;
    int64_t retention_ms;
    int64_t retention_bytes;
    bool cleanup_delete;    /* cleanup.policy has delete: retention applies */
    bool cleanup_compact;   /* cleanup.policy has compact */
    int64_t flush_messages; /* 1: strong, every append is synced */
    int64_t flush_ms;
    int64_t file_delete_delay_ms;
    int64_t producer_expiration_ms;
};
/* Kafka's defaults, except flush_messages = 1. */
void log_config_init(struct log_config *c);

/* Recently appended batches of all logs of a broker: the very blocks they arrived in, so a block's
 * budget stays charged while it is cached (batches that fill less than half of their block are
 * copied). Oldest out first. Must outlive the logs that use it. */
struct log_cache *log_cache_new(size_t limit_bytes);
struct log_cache *log_cache_free(struct log_cache *c);
size_t log_cache_bytes(const struct log_cache *c);

struct log_handler {
    /* Bytes below `offset` can be read. Each may be NULL. */
    void (*on_written)(struct log *log, void *user, uint32_t generation, int64_t offset);
    /* Bytes below `offset` survive a power cut. */
    void (*on_durable)(struct log *log, void *user, uint32_t generation, int64_t offset);
    /* After LOG_APPEND_BUSY or LOG_APPEND_NO_SPACE: try again now, to be taken or to hear that the
     * disk is full. */
    void (*on_space)(struct log *log, void *user);
    /* Final. */
    void (*on_failed)(struct log *log, void *user, int error);
};

struct log_options {
    const char *dir; /* full path of the log's own directory; copied */
    enum kb_lane lane;
    struct log_config config;
    const struct log_handler *handler; /* borrowed for the log's life */
    void *user;
    struct log_cache *cache;       /* may be NULL: no tail cache */
    struct kb_pool *read_pool;     /* blocks for reads; may be NULL */
    struct kb_budget *read_budget; /* charged for those; may be NULL; used with a pool only */
    bool producers;                /* keep idempotent producer state (not for the Raft log) */
    /* log_open only: what the data directory's checkpoints say. */
    bool clean;           /* the clean marker was there: indexes and ends are trusted */
    bool remember_cut;    /* a cut that recovery makes is known to later starts, too */
    int64_t durable_mark; /* F of rule 8.2; 0 = unknown */
    int64_t start_offset; /* checkpoint; the log's is never below the first segment. 0 = none */
    /* log_create only. */
    int64_t first_offset;
    struct kb_view producers_below; /* as of log_reset; borrowed for the call */
    struct kb_uuid topic_id;        /* zero: no partition.metadata is written */
};

/* ---- opening, closing ------------------------------------------------------------------------ */

enum log_state {
    LOG_WHOLE,   /* everything is there, or only zeros lay behind the end */
    LOG_CUT,     /* bytes behind the last good batch were dropped, at or above the durable mark, at
                  * this start or (remember_cut) at one since the last log_forget_cut */
    LOG_DAMAGED, /* bad below the mark or in an older segment: nothing was cut, see damaged_from */
    LOG_MISSING, /* no directory or no segment in it: log_create makes one */
};
const char *log_state_name(enum log_state state);

struct log_found {
    enum log_state state;
    int64_t start_offset;
    int64_t end_offset;   /* also the durable end: recovery has synced */
    int64_t damaged_from; /* first offset lost; -1 unless LOG_DAMAGED (then also end_offset) */
    int32_t last_epoch;   /* of the last batch, or assigned; -1 when empty */
    /* Base of the last batch, when that alone is of last_epoch and lies above the mark: nothing but
     * itself bears witness of the epoch. 0: otherwise. */
    int64_t lone_from;
    struct kb_uuid topic_id; /* of partition.metadata; zero when it has none */
};
/* result 0: *found is valid until it returns. Negative: the directory cannot be read (-KB_EIO …);
 * free the log. */
typedef void log_open_fn(struct log *log, void *user, int result, const struct log_found *found);

/* Start recovery as a background job; the callback follows. Until then only log_free is legal.
 * Recovery is idempotent (P20). An unclean log is synced and its cached pages dropped before it is
 * read (8.1).
 *
 * A log found LOG_DAMAGED serves reads below damaged_from and refuses appends with -KB_ECORRUPT
 * until log_truncate_to(<= damaged_from) or log_reset, which the caller may ask for once the
 * replica is out of ISR and ELR (2.8). A log found LOG_MISSING can only be freed. */
struct log *log_open(struct kb_env *env, const struct log_options *options, log_open_fn *fn,
                     void *user);
/* A new empty log whose first record will get first_offset. Directory, files and parent directory
 * are synced before the callback (9.1). An empty or half-made directory is completed; -KB_EEXIST
 * when a segment with bytes in it is there. */
struct log *log_create(struct kb_env *env, const struct log_options *options, log_open_fn *fn,
                       void *user);

typedef void log_done_fn(struct log *log, void *user, int result);
/* Clean stop: everything written is synced, indexes, epochs and producer snapshot are written, and
 * reads under way have been answered. The log takes nothing more; free it in or after the callback.
 * Legal once it is open. */
void log_close(struct log *log, log_done_fn *fn, void *user);
/* Free everything now; NULL accepted; returns NULL. Legal when nothing is under way (after the
 * callback of close, or of a failed open) or when the env delivers no events any more
 * (crash). */
struct log *log_free(struct log *log);

/* ---- facts ----------------------------------------------------------------------------------- */

int64_t log_start_offset(const struct log *log);
int64_t log_end_offset(const struct log *log);
int64_t log_written_offset(const struct log *log);
int64_t log_durable_offset(const struct log *log);
uint32_t log_generation(const struct log *log);
uint64_t log_size_bytes(const struct log *log);
const char *log_dir_path(const struct log *log);
/* 0, or the error that ended the log. */
int log_failure(const struct log *log);
/* The disk was full when space was last asked for; asked for again each second. */
bool log_is_full(const struct log *log);
/* What a data directory may persist as durable mark F. Marks persisted before a truncation or reset
 * need not be lowered: a file in the log's directory says that they are void, until this one is
 * beyond them again. */
int64_t log_durable_mark(const struct log *log);
/* From here on no offset was ever left out: each batch begins where the one before it ends.
 * INT64_MAX: not known. */
int64_t log_gaps_below(const struct log *log);
/* A copy of the table of epochs, for jobs that prove batches by it; the caller releases it. */
struct log_epochs;
void log_epochs_take(const struct log *log, struct log_epochs *ret);
/* Optional: the data directory made a mark durable that it took by log_durable_mark at this
 * generation, so the file may go earlier. */
void log_durable_mark_saved(struct log *log, uint32_t generation);
/* Nothing that was committed is missing behind an earlier cut: the log is whole again. */
void log_forget_cut(struct log *log);
/* NULL unless options.producers. Follows the log by itself: append, truncation, recovery. */
struct log_producers *log_producers(struct log *log);
const struct log_config *log_get_config(const struct log *log);
/* Takes effect for the next append, roll or pass. Turning strong syncs what is not synced yet. */
void log_set_config(struct log *log, const struct log_config *config);

/* ---- appending ------------------------------------------------------------------------------- */

enum log_append_result {
    LOG_APPEND_OK = 0,
    LOG_APPEND_NO_SPACE,  /* the disk is full; nothing changed; on_space when it came back */
    LOG_APPEND_BUSY,      /* allocation, roll or truncation under way; nothing changed; on_space */
    LOG_APPEND_TOO_LARGE, /* a batch is larger than a segment may be */
    LOG_APPEND_REFUSED, /* follower: base is not the end, epoch falls or is above the limit, CRC or
                           framing bad, trailing bytes; nothing of it or behind it was taken */
};
struct log_appended {
    int64_t first_offset;
    int64_t last_offset;
    size_t size_taken; /* bytes of the input taken; whole batches */
};
/* Append one batch, validated by the caller, that fills [position, position + size) of block. Base
 * offset and leader epoch are set in place (the caller must be the only user of those bytes); the
 * block is referenced, not copied. Assigns the epoch when it is new. Negative: failed log, or
 * -KB_ECORRUPT (damaged). */
int log_append_leader(struct log *log, struct kb_block *block, size_t position, size_t size,
                      int32_t leader_epoch, struct log_appended *ret);
enum log_append_flags {
    LOG_APPEND_CHECK_CRC = 1,
    LOG_APPEND_GAPS = 2, /* a base above the end is fine: the leader's log is or was compacted. The
                            first one is answered with BUSY until the disk says so */
};
/* Append whole batches as they are (rule 2.4): each base is the end, epochs do not fall and are at
 * most epoch_max, CRCs hold. Takes as many as it can: LOG_APPEND_OK with size_taken < size when the
 * rest must wait for on_space (ask again with the rest: LOG_APPEND_BUSY or _NO_SPACE) or is bad
 * (ask again: LOG_APPEND_REFUSED). Another result only when nothing was taken. */
int log_append_follower(struct log *log, struct kb_block *block, size_t position, size_t size,
                        int32_t epoch_max, uint32_t flags, struct log_appended *ret);
/* Sync what is written (weak logs); on_durable follows if that moved it. */
void log_flush(struct log *log);

/* ---- reading --------------------------------------------------------------------------------- */

enum log_read_result {
    LOG_READ_OK = 0,
    LOG_READ_PENDING,      /* done() follows with the result */
    LOG_READ_OUT_OF_RANGE, /* offset below start or above end */
};
struct log_read {
    /* Set by the caller. */
    int64_t offset;
    int64_t bound_offset; /* batches whose last offset is at or above it are left out; the written
                             offset bounds in any case */
    size_t max_bytes;
    bool min_one;             /* the first batch is given even if it is larger than max_bytes */
    struct kb_budget *budget; /* charged for bytes brought into memory, until the chain's last
                                 reference goes; NULL = the log's */
    bool as_files; /* memory is short: the answer is file ranges only, which keep none of it */
    void (*done)(struct log_read *r, int result);
    void *user;
    /* The answer: whole batches, the first holds `offset`. Empty when nothing lies below the bound
     * or the first does not fit. The caller owns the chain. */
    struct kb_chain records;
    int64_t first_offset; /* base of the first batch; `offset` when empty */
    int64_t next_offset;  /* behind the last batch; `offset` when empty */
    struct log_read_op *op_;
};
/* LOG_READ_OK: the answer is in r now and done is not called. LOG_READ_PENDING: done comes later
 * with one of the other results or a negative one; r must stay until then. Negative: -KB_ELIMIT
 * (read budget spent, retry), -KB_ECORRUPT (rule 10.4: damage), -KB_EIO. */
int log_read(struct log *log, struct log_read *r);
/* A pending read is forgotten; r is the caller's again. */
void log_read_cancel(struct log_read *r);

/* ---- leader epochs --------------------------------------------------------------------------- */

struct log_epoch_end {
    int32_t epoch;      /* -1: undefined */
    int64_t end_offset; /* -1: undefined */
};
/* A new leader enters (epoch, end) at once, records or not (1.6). Ignored unless above the last. */
void log_epoch_assign(struct log *log, int32_t epoch);
/* OffsetForLeaderEpoch: the largest epoch <= asked and the start of the next; the current one gives
 * the log end; older than all gives (asked, first start); newer than all or -1 gives (-1, -1). */
struct log_epoch_end log_epoch_end_offset(const struct log *log, int32_t epoch);
/* Of the newest entry; -1 when there is none. */
int32_t log_last_epoch(const struct log *log);
/* Where the newest entry starts; -1 when there is none. */
int64_t log_last_epoch_start(const struct log *log);
/* Epoch the log has at offset (its batch's, or the epoch assigned from there on); -1 unknown. */
int32_t log_epoch_at(const struct log *log, int64_t offset);

/* ---- cutting --------------------------------------------------------------------------------- */

/* Follower only. Drop every batch that holds offset or lies behind it (rule 2.5): at once a new
 * generation, end <= offset and queued file ranges void; then cut, synced, epochs and producers
 * rolled back; then fn with result 0 and log_end_offset settled (below `offset` if that lay inside
 * a batch). Meanwhile appends answer LOG_APPEND_BUSY. One truncation or reset at a time. Persisted
 * marks above the cut are harmless (see log_durable_mark). A failure is also final (on_failed). */
void log_truncate_to(struct log *log, int64_t offset, log_done_fn *fn, void *user);
/* Drop everything and begin again, empty, at start_offset. producers: what is known of those whose
 * batches lie below it (log_producers_serialize_below; copied), or empty; one that is malformed is
 * left out. Otherwise as log_truncate_to. */
void log_reset(struct log *log, int64_t start_offset, struct kb_view producers, log_done_fn *fn,
               void *user);
/* Records below offset are no longer readable; whole segments below it are removed. Never lowers,
 * never passes the end. The caller has made it durable first when it must not come back
 * (DeleteRecords). */
void log_set_start_offset(struct log *log, int64_t offset);

/* ---- housekeeping ---------------------------------------------------------------------------- */

/* One retention pass: closed segments below `bound` (HW) that are too old (retention.ms against
 * wall_ms) or too many (retention.bytes), or lie below the start offset, are renamed .deleted and
 * removed after file.delete.delay.ms; an active segment whose time is up is rolled. Start moves up.
 * Returns how many segments went. wall_ms is the caller's: clamp jumps before. */
int log_clean_by_retention(struct log *log, int64_t wall_ms, int64_t bound);
/* Roll the active segment unless it is empty; fn (may be NULL) when done. */
void log_roll(struct log *log, log_done_fn *fn, void *user);

struct log_segment_info {
    int64_t base_offset;
    int64_t next_offset; /* base of the next segment, or log end */
    uint64_t size_bytes;
    int64_t first_timestamp; /* of the first batch; -1: none, or not known */
    int64_t max_timestamp;   /* -1: none */
    bool active;
};
size_t log_segment_count(const struct log *log);
struct log_segment_info log_segment_info(const struct log *log, size_t index);

enum log_replace_result {
    LOG_REPLACE_OK = 0,
    LOG_REPLACE_STALE, /* a segment is gone or active, or a truncation came between: the .cleaned
                          files are removed, nothing else changed */
};
/* Compaction: swap in BASE.log.cleaned, BASE being bases[0], with its .index.cleaned and
 * .timeindex.cleaned, all synced by the caller's job, for the neighbouring closed segments `bases`;
 * the new segment ends where the last old one ended. Crash-safe (compact.h). Who reads an old
 * segment goes on undisturbed; its bytes go after file.delete.delay.ms. The caller has seen that
 * the generation is still the one of its list. fn gets a log_replace_result, or a negative error
 * that is final for the log. */
void log_replace_segments(struct log *log, const int64_t *bases, size_t count, log_done_fn *fn,
                          void *user);

/* ---- time ------------------------------------------------------------------------------------ */

struct log_time_offset {
    int64_t timestamp; /* -1: not found */
    int64_t offset;    /* -1: not found */
    int32_t leader_epoch;
};
struct log_time_query {
    int64_t timestamp; /* first record with a timestamp >= this; LOG_TIME_MAX: the record with the
                          largest one (the first of equals) */
    int64_t bound_offset; /* only records below it count */
    void (*done)(struct log_time_query *q, int result);
    void *user;
    struct log_time_offset found;
    struct log_time_op *op_;
};
#define LOG_TIME_MAX INT64_MIN
/* done follows, always later; q must stay until then. */
void log_offset_for_time(struct log *log, struct log_time_query *q);
void log_time_cancel(struct log_time_query *q);

#endif
