#ifndef LOG_IMPL_H
#define LOG_IMPL_H

/* Insides of struct log, shared by the files of this room that act on it. */

#include <sys/queue.h>

#include "proto/base/assert.h"
#include "proto/base/err.h"
#include "proto/base/mem.h"
#include "replication/log/log.h"
#include "replication/log/recover.h"

struct log_segment {
    int64_t base_offset;
    uint64_t size_bytes; /* given to the lane; readers stay below by offsets */
    struct kb_file *file;
    int64_t max_timestamp;
    int64_t max_timestamp_offset;
    int64_t first_timestamp; /* of the first batch; -1: none */
    int64_t made_wall_ms;    /* when this life first saw it */
    /* Bytes below sound_to and from sound_from on were written or checked in this life. All others
     * are checked before they are given out, resident or not (rule 10.4): a read that found damage
     * further on, and readahead, make pages resident that nobody has looked at. */
    uint64_t sound_to, sound_from;
};

/* Something of ours that the world holds: a write, a job, a read. Linked while it does, so that
 * log_free finds it after a crash. */
struct log_work {
    LIST_ENTRY(log_work) link;
    struct log *log;
    void (*release)(struct log_work *work); /* frees it in any state */
};

/* A job; first member of the structs that carry inputs and results. */
struct log_job {
    struct log_work work;
    struct kb_job job;
    void (*finish)(struct log *log, struct log_job *job, int result); /* then it is released */
};

/* A change of the log's files. One runs at a time, in the order asked for. */
struct log_step {
    STAILQ_ENTRY(log_step) link;
    bool quiet; /* starts when no append is under way; whoever queues it keeps new ones out */
    void (*start)(struct log *log, struct log_step *step); /* ends with log_step_done */
    log_done_fn *fn;
    void *user;
    int64_t offset;
    int64_t *bases;
    size_t count;
};

enum log_phase { LOG_OPENING, LOG_OPEN, LOG_CLOSING, LOG_CLOSED };
enum log_space { LOG_SPACE_IDLE, LOG_SPACE_ALLOCATING, LOG_SPACE_FULL };

enum { LOG_HINT_COUNT = 4 };
/* A batch begins there: where a sequential reader goes on. */
struct log_hint {
    int64_t segment_base;
    int64_t offset;
    uint64_t position;
};

struct log_cached;
/* Renamed files that wait for file.delete.delay.ms. */
struct log_doomed {
    STAILQ_ENTRY(log_doomed) link;
    int64_t base_offset;
    uint32_t token; /* of a replaced segment's second name; 0: it was renamed */
    uint64_t due_ms;
};

struct log {
    struct kb_env *env;
    char *dir;
    struct log_config config;
    const struct log_handler *handler;
    void *user;
    struct kb_pool *read_pool;
    struct kb_budget *read_budget;
    log_open_fn *open_fn;
    void *open_user;
    enum kb_lane lane;

    enum log_phase phase;
    int failure;
    bool damaged;     /* appends wait for a cut */
    bool rolling;     /* a roll is queued or under way */
    bool cutting;     /* a cut or reset is */
    bool replacing;   /* closed segments are being swapped */
    bool index_valid; /* false while a cut rebuilds the index */

    int64_t start, end, written, durable;
    struct kb_uuid topic_id;
    int64_t gaps_below;     /* see recover.h */
    bool widening;          /* partition.metadata is being written: gaps reach further */
    int64_t epochs_unsaved; /* where the first epoch begins that is not in the epoch file */
    bool epochs_saving;
    struct kb_timer *epochs_timer;
    int64_t cut_limit;   /* of the cut-limit file; -1: none */
    bool cut_noted;      /* there is a cut-tail file */
    int64_t cut_ceiling; /* no mark persisted before the cut is above it */
    uint32_t generation;
    uint32_t layout; /* changes whenever files are cut, replaced or removed */

    struct log_segment **segments;
    size_t segment_count, segment_capacity;
    struct log_index index; /* of the last segment */
    struct log_epochs epochs;
    struct log_producers *producers;
    struct kb_buf producers_below; /* of a reset under way: what its files get */

    LIST_HEAD(, log_work) works;
    struct kb_timer *close_timer; /* closed but for works that readers still hold */
    int close_result;
    size_t writes_pending;
    STAILQ_HEAD(log_step_list, log_step) steps;
    struct log_step *step; /* under way */

    /* Space ahead of the last segment's end. */
    struct kb_timer *space_timer;
    uint64_t allocated_bytes;
    uint64_t chunk_bytes;
    enum log_space space;
    bool space_wanted; /* an append was refused */

    struct kb_timer *cut_timer; /* a cut that met a full disk */

    /* Weak logs. */
    bool flushing;
    int64_t unflushed_records;
    struct kb_timer *flush_timer;

    STAILQ_HEAD(, log_doomed) doomed;
    struct kb_timer *doom_timer;

    struct log_cache *cache;
    struct log_cached **cached; /* a ring: the last batches, gapless up to the end */
    size_t cached_head, cached_count, cached_capacity;
    struct log_hint hints[LOG_HINT_COUNT];
    unsigned hint_next;
};

static inline struct log_segment *log_active(const struct log *log)
{
    KB_ASSERT(log->segment_count > 0);
    return log->segments[log->segment_count - 1];
}
static inline bool log_is_strong(const struct log *log)
{
    return log->config.flush_messages <= 1;
}
/* Only the roll and cut steps and failures keep appends out. */
static inline bool log_is_open(const struct log *log)
{
    return log->phase == LOG_OPEN;
}

/* ---- log.c ---- */

struct log_segment *log_segment_new(struct log *log, const struct log_segment_facts *facts);
struct log_segment *log_segment_free(struct log_segment *s); /* the file stays */
void log_segments_push(struct log *log, struct log_segment *s);
/* Drop [first, first + count) of the list; the segments are the caller's. */
void log_segments_splice(struct log *log, size_t first, size_t count);
/* Index of the segment that holds offset (the last one with base <= offset; 0 at least). */
size_t log_segment_find(const struct log *log, int64_t offset);
void log_fail(struct log *log, int error);
/* How a job ended that nobody waits for, one that removes files: it may find nothing or no space,
 * but a disk that failed is not trusted (9.3). */
void log_removed(struct log *log, int result);

void log_work_add(struct log *log, struct log_work *work);
void log_work_remove(struct log_work *work);
/* The job struct is the caller's heap block whose first member is j; release frees it. */
void log_job_lane(struct log *log, struct log_job *j,
                  int (*run)(struct kb_job *job, struct kb_fs *fs),
                  void (*finish)(struct log *, struct log_job *, int),
                  void (*release)(struct log_work *));
void log_job_background(struct log *log, struct log_job *j,
                        int (*run)(struct kb_job *job, struct kb_fs *fs),
                        void (*finish)(struct log *, struct log_job *, int),
                        void (*release)(struct log_work *));
#define LOG_JOB_OF(job_ptr) ((struct log_job *)((char *)(job_ptr)-offsetof(struct log_job, job)))

struct log_step *log_step_new(void (*start)(struct log *, struct log_step *), bool quiet,
                              log_done_fn *fn, void *user);
void log_step_queue(struct log *log, struct log_step *step);
/* The step under way ended: its fn is called, the next may start. */
void log_step_done(struct log *log, int result);
void log_steps_run(struct log *log);

/* ---- cut.c ---- */

/* The durable mark moved: has it passed all marks of before the last cut? */
void log_cut_limit_check(struct log *log);

/* ---- space.c ---- */

/* May size more bytes be written to the last segment? A log_append_result. */
enum log_append_result log_space_take(struct log *log, uint64_t size);
/* The last segment changed: nothing is reserved but what is said. */
void log_space_reset(struct log *log, uint64_t allocated_bytes);
/* A job met a full disk: appends are refused until it looks better. */
void log_space_full(struct log *log);
/* Appends are possible again, or it is known that the disk is full: tell who was refused. */
void log_space_offer(struct log *log);
enum { LOG_CHUNK_MIN = 16 << 10, LOG_CHUNK_MAX = 4 << 20, LOG_SPACE_RETRY_MS = 1000 };

/* ---- roll.c ---- */

void log_roll_start(struct log *log, log_done_fn *fn, void *user);
/* Without producers yet; with the log's settings. */
struct log_producers *log_producers_make(const struct log *log);
/* The producers of a log that begins at offset; below: a snapshot of them, or empty. *ret: the same
 * again, or nothing when it is malformed. */
void log_producers_begin(const struct log *log, struct log_producers *p, int64_t offset,
                         struct kb_view below, struct kb_buf *ret);

/* ---- cache.c ---- */

/* A batch was appended at the end. */
void log_cache_add(struct log *log, struct kb_block *block, size_t position,
                   const struct log_head *h);
/* Batches that hold offset or lie behind it go. */
void log_cache_cut(struct log *log, int64_t offset);
/* Fill r from memory: true when its offset is cached (the answer may be empty). bound and r as in
 * log_read, bound being at most the written offset. */
bool log_cache_read(struct log *log, struct log_read *r, int64_t bound);
void log_cache_drop(struct log *log);

/* ---- read.c ---- */

void log_hint_add(struct log *log, int64_t segment_base, int64_t offset, uint64_t position);
void log_hints_clear(struct log *log);

/* ---- proof.c ---- */

/* The log is open; saved: the last epoch in its epoch file, -1 none. */
void log_proof_begin(struct log *log, int32_t saved);
/* An epoch was entered that begins at offset: the file follows in a while. */
void log_proof_epoch(struct log *log, int64_t offset);
/* A cut has saved the epochs. */
void log_proof_cut(struct log *log);
/* A batch that leaves a gap is to be appended. True: it may be; else LOG_APPEND_BUSY until the disk
 * says that gaps reach to `below`. */
bool log_proof_gap(struct log *log, int64_t base_offset, int64_t below);
struct range;
/* Base offsets and epochs of the sound batches at p, which are the range; `available` bytes are
 * there. segment NULL: its files were replaced meanwhile. offset: what was asked for. Ends the
 * range before the first batch that cannot be what was written; -KB_ECORRUPT when that is its
 * first. */
int log_proof_range(const struct log *log, const struct log_segment *segment, const uint8_t *p,
                    size_t available, int64_t offset, struct range *g);
/* An empty range: can the batch that reaches the bound be what was written there? */
bool log_proof_blocked(const struct log *log, const struct log_segment *segment, int64_t offset,
                       const struct range *g);

/* ---- clean.c ---- */

/* These files carry .deleted now; unlink them later. token: see struct log_doomed. */
void log_doom(struct log *log, int64_t base_offset, uint32_t token);
/* Remove whole segments below the start offset. Returns how many. */
size_t log_clean_below_start(struct log *log);

#endif
