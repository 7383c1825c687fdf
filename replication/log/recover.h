#ifndef LOG_RECOVER_H
#define LOG_RECOVER_H

#include "replication/log/log.h"
#include "replication/log/scan.h"

/* Recovery and creation of a log's directory, inside jobs. Shares nothing with the loop: inputs are
 * borrowed for the run, outputs owned by this object until taken or released.
 *
 * Files beside the segments: partition.metadata (Kafka's, with a line of ours behind it: from
 * "gaps_below: N" on no offset was ever left out, so that each batch begins where the one before it
 * ends; durable before a compaction or a copy of compacted batches leaves one out. Logs of earlier
 * versions do not say, and anything goes), leader-epoch-checkpoint (Kafka's), and
 * cut-limit, ours: "0\n<kind> <offset>\n". It is made durable before a truncation or reset touches
 * anything. Kind "cut": durable marks above the offset are void, they were persisted before the
 * cut. Kind "reset": the log was being emptied to begin at the offset; recovery finishes that.
 * cut-tail, ours: recovery found something else than zeros behind the last good batch and cut it
 * off. What it was is not known any more, so that the log stays "cut" for every later start, until
 * its owner has seen that nothing committed is missing (log_forget_cut). */

#define LOG_FILE_METADATA "partition.metadata"
#define LOG_FILE_EPOCHS "leader-epoch-checkpoint"
#define LOG_FILE_CUT_LIMIT "cut-limit"
#define LOG_FILE_CUT_TAIL "cut-tail"
#define LOG_FILE_RESET_PRODUCERS "reset-producers"

struct log_segment_facts {
    int64_t base_offset;
    uint64_t size_bytes;
    int64_t max_timestamp; /* -1: none */
    int64_t max_timestamp_offset;
    int64_t first_timestamp; /* newest segment only; -1: none */
};

struct log_recovery {
    /* in */
    const char *dir;
    bool clean;
    int64_t durable_mark;
    int64_t start_offset;
    uint64_t index_interval_bytes;
    bool remember_cut;
    struct log_producers *producers; /* filled; may be NULL */
    /* out */
    struct log_found found;
    struct log_segment_facts *segments;
    size_t segment_count, segment_capacity;
    struct log_index index; /* of the newest segment */
    struct log_epochs epochs;
    int64_t cut_limit;   /* of the cut-limit file; -1: none */
    int64_t gaps_below;  /* of partition.metadata; INT64_MAX: it does not say */
    int32_t epoch_saved; /* the last one in the epoch file; -1: none, or it is not to be trusted */
    bool cut_noted;      /* there is a cut-tail file */
};
/* 0 and found, or an error of the file calls. */
int log_recovery_run(struct kb_fs *fs, struct log_recovery *rc);
void log_recovery_release(struct log_recovery *rc);

/* An empty log in dir. producers: a snapshot of them at first_offset, or empty. -KB_EEXIST: there
 * are segments with bytes. */
int log_create_run(struct kb_fs *fs, const char *dir, int64_t first_offset,
                   const struct kb_uuid *topic_id, uint64_t allocate_bytes,
                   struct kb_view producers);

/* Pieces that truncation shares. */
struct log_bases {
    int64_t *bases; /* ascending */
    size_t count, capacity;
};
void log_bases_release(struct log_bases *b);
/* Files of this suffix in the log's directory. */
int log_bases_list(struct kb_fs *fs, const char *dir, const char *suffix, struct log_bases *ret);
/* Remove segments with base >= from, newest first, with their indexes and snapshots; each removal
 * durable before the next, so that a crash leaves a log without a hole. */
int log_segments_unlink_from(struct kb_fs *fs, const char *dir, int64_t from);
/* A new empty segment file, synced; the directory is not. */
int log_segment_create(struct kb_fs *fs, const char *dir, int64_t base_offset,
                       uint64_t allocate_bytes);
/* Kafka's two lines and ours. */
int log_metadata_save(struct kb_fs *fs, const char *dir, const struct kb_uuid *topic_id,
                      int64_t gaps_below);
int log_epochs_save(struct kb_fs *fs, const char *dir, const struct log_epochs *e);
enum log_cut_kind { LOG_CUT_NONE, LOG_CUT_TO, LOG_CUT_RESET };
int log_cut_limit_save(struct kb_fs *fs, const char *dir, enum log_cut_kind kind, int64_t offset);
/* A full disk is none of its errors: then the next start will not know. */
int log_cut_tail_save(struct kb_fs *fs, const char *dir);
/* Empty the log; producers: a snapshot of them at start_offset, or empty. */
int log_reset_run(struct kb_fs *fs, const char *dir, int64_t start_offset,
                  struct kb_view producers);
/* What a "reset" cut-limit asks for: the rest of a log_reset_run that was cut short. */
int log_reset_finish(struct kb_fs *fs, const char *dir, int64_t start_offset);
/* Load the newest good snapshot at or below offset_max into p, else reset p to floor. *ret_offset:
 * from where batches must follow. */
int log_snapshot_load(struct kb_fs *fs, const char *dir, int64_t offset_max, int64_t floor,
                      struct log_producers *p, int64_t *ret_offset);
int log_snapshot_save(struct kb_fs *fs, const char *dir, int64_t offset, struct kb_view bytes);

#endif
