#ifndef LOG_COMPACT_H
#define LOG_COMPACT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/env.h"
#include "replication/log/epochs.h"
#include "replication/log/producers.h"

/* Compaction of closed segments: the last value of each key stays. Two layers:
 *   - log_compact_run: the work itself, inside a background job, over files nobody writes any more;
 *     it reads NNN.log and leaves NNN.log.cleaned and
 *     its indexes beside them, synced. Shares nothing with the loop.
 *   - the swap, in three short steps that the log's owner runs (log.h), and what recovery does with
 *     a swap that a crash cut short.
 *
 * What stays (KIP-58, KIP-354, KIP-534): records past the map's end; of each key the newest record;
 * a null value until the batch's delete horizon (set at its first compaction, now +
 * delete.retention.ms, attribute bit 6); transaction markers while data of their transaction is
 * there, then until their horizon. Records of aborted transactions go. Offsets, sequences, epochs
 * and codecs never change. A batch that lost all its records stays as an empty one when it holds
 * the last sequence of a live producer, or is the last of its group: the log's end and the
 * segments' ends never move. */

struct log_compact_segment {
    int64_t base_offset;
    uint64_t size_bytes;
    int64_t first_timestamp; /* of the first batch; -1: none or not known */
    int64_t max_timestamp;   /* -1: none */
};

struct log_compact_config {
    uint64_t delete_retention_ms;
    uint64_t min_compaction_lag_ms;
    uint64_t max_compaction_lag_ms; /* UINT64_MAX: none */
    double min_cleanable_ratio;
    uint64_t segment_bytes; /* neighbours are merged up to this size */
    uint32_t index_interval_bytes;
    uint64_t map_bytes;       /* memory for the key map, 24 bytes a key, 90 % full at most */
    uint32_t batch_bytes_max; /* a batch, packed or not, above this is taken for damage */
};

/* Should this log be compacted now? segments: closed ones in order, whole ones below the high
 * watermark and the last stable offset; end_offset: where they end. first_dirty: the checkpoint, or
 * -1. After a run that changed nothing, or a failed one, ask again only after
 * log.cleaner.backoff.ms. */
struct log_compact_plan {
    int64_t first_dirty;  /* corrected to the segments there are */
    size_t segment_count; /* the first this many may be touched */
    int64_t end_offset;   /* where those end */
    uint64_t clean_bytes, dirty_bytes;
    bool due;     /* enough is dirty, or something waited for the maximal lag */
    double ratio; /* dirty share: the log with the largest goes first */
};
void log_compact_plan(const struct log_compact_segment *segments, size_t count, int64_t end_offset,
                      int64_t first_dirty, const struct log_compact_config *config,
                      int64_t now_wall_ms, struct log_compact_plan *ret);

struct log_compact_input {
    const char *dir; /* the log's directory */
    const struct log_compact_segment *segments;
    size_t segment_count;
    int64_t first_dirty;
    int64_t end_offset; /* where the segments end */
    struct log_compact_config config;
    int64_t now_wall_ms;
    const struct log_producer_last *producers; /* sorted by id */
    size_t producer_count;
    uint64_t hash_seed[2]; /* random */
    /* What proves offsets and epochs (scan.h); NULL: nothing does. */
    const struct log_epochs *epochs;
    int64_t gaps_below;
};

/* Neighbouring segments that one new segment replaces. */
struct log_compact_group {
    size_t first, count; /* into the input's segments */
    int64_t base_offset; /* of the new segment and of the first old one */
    uint64_t old_bytes, new_bytes;
    int64_t last_offset;   /* as before */
    int64_t max_timestamp; /* largest in the new segment; -1: none */
    int64_t max_timestamp_offset;
};
struct log_compact_result {
    struct log_compact_group *groups; /* only those that changed */
    size_t group_count;
    int64_t first_dirty; /* for the checkpoint, once all groups are swapped in */
    uint64_t records_read, records_kept, bytes_read, bytes_written;
    bool map_full;        /* more is dirty than the map could hold: run again */
    int64_t damaged_from; /* with -KB_ECORRUPT: the first offset that cannot be read; -1: none */
    bool disk_failed;     /* with an error: a write, sync or removal failed (9.3), not a read */
};
/* One run per log at a time, swaps included: it first removes what an unfinished one has left.
 * 0, or a negative error; the log is untouched then and the .cleaned files are gone (after
 * -KB_ECRASHED recovery removes them). -KB_ECORRUPT: a batch is not what was
 * written (ret->damaged_from), or its records are malformed. With an error nothing of *ret is set
 * but this and disk_failed. */
int log_compact_run(struct kb_fs *fs, const struct log_compact_input *in,
                    struct log_compact_result *ret);
void log_compact_result_release(struct log_compact_result *r);

/* The swap of one group. Each step is for a job of the data lane, in this order; between them the
 * loop moves its handles (log_replace_segments does all of it):
 *   commit   NNN.log.cleaned (its indexes before it) -> .swap, directory synced: from here recovery
 *            finishes it. Then each old NNN.log gets a second name, log_compact_old_path.
 *   (loop)   kb_file_set_path of the old segments to that name: their readers go on undisturbed.
 *   finish   old indexes and the other old segments go, NNN.log.swap -> NNN.log, directory synced.
 *   (loop)   the new segment takes the old ones' place.
 *   install  the new indexes get their names.
 *   discard  the old bytes go, after file.delete.delay.ms (recovery removes leftovers).
 * abandon, instead of commit: the old segments changed meanwhile. Steps may be repeated. token:
 * unique among the swaps of this life. */
int log_compact_commit(struct kb_fs *fs, const char *dir, const int64_t *old_bases, size_t count,
                       uint32_t token);
int log_compact_finish(struct kb_fs *fs, const char *dir, const int64_t *old_bases, size_t count);
int log_compact_install(struct kb_fs *fs, const char *dir, int64_t base_offset);
int log_compact_discard(struct kb_fs *fs, const char *dir, int64_t base_offset, uint32_t token);
int log_compact_abandon(struct kb_fs *fs, const char *dir, int64_t base_offset);
/* NNN.log.<token>.deleted; a new string. */
char *log_compact_old_path(const char *dir, int64_t base_offset, uint32_t token);
/* First thing in a log's recovery job: finishes a committed swap, removes *.cleaned and *.deleted.
 * A damaged .swap file is dropped if the old segments are still whole. 0, or a file error;
 * -KB_ECORRUPT: they are not, nothing was changed. */
int log_compact_recover(struct kb_fs *fs, const char *dir);

#endif
