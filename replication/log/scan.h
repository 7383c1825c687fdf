#ifndef LOG_SCAN_H
#define LOG_SCAN_H

#include <stdbool.h>
#include <stdint.h>

#include "proto/base/env.h"
#include "replication/log/epochs.h"
#include "replication/log/head.h"
#include "replication/log/index.h"
#include "replication/log/producers.h"

/* Reading a segment file batch by batch inside a job. */

struct log_scan;
/* Called for each good batch with all its bytes; non-zero stops the scan before it and is kept in
 * scan->stopped. */
typedef int log_scan_fn(void *arg, const struct log_head *h, const uint8_t *batch,
                        uint64_t position);

struct log_scan {
    /* in */
    int64_t segment_base;
    uint64_t position;   /* where to begin: a batch's first byte */
    uint64_t limit;      /* read no byte from here on; UINT64_MAX: the file's end */
    int64_t next_offset; /* the first batch's base is at least this (a compacted log has gaps) */
    int64_t stop_offset; /* stop before the batch that holds it or lies behind; INT64_MAX: none */
    int32_t epoch;       /* epochs do not fall below it; -1: any */
    bool check_crc;
    /* What proves base offset and leader epoch, which no CRC covers. A batch that contradicts them,
     * or that the sound one behind it contradicts, is no good one. */
    int64_t
        gaps_below; /* from there on each base is the end of the batch before; INT64_MAX: none */
    int64_t end_offset;             /* no batch reaches beyond it; INT64_MAX: not known */
    const struct log_epochs *known; /* may be NULL */
    int64_t known_below;            /* batches below it have the epochs of `known` */
    log_scan_fn *fn;                /* may be NULL */
    void *arg;
    /* out: position, next_offset and epoch are those behind the last good batch */
    uint64_t file_size;
    bool bad;         /* what lies at position is no good batch, and not the end of the file */
    bool bad_is_zero; /* nothing but zeros there up to the end of the file */
    int64_t run_from; /* base of the first good batch of `epoch` in this scan, and how many */
    size_t run_batches;
    bool known_bad; /* stopped: `known` contradicts batches that agree with each other */
    int stopped;
};
/* Nothing proves anything: gaps are anywhere, ends and epochs not known. */
void log_scan_trust(struct log_scan *s);
/* 0, or an error of the file calls. */
int log_scan_run(struct kb_fs *fs, struct kb_fd *fd, struct log_scan *s);

/* The state of one segment as a scan rebuilds it. */
struct log_rebuild {
    struct log_scan scan;
    struct log_index index;
    struct log_epochs *epochs;       /* entered into; may be NULL */
    struct log_producers *producers; /* updated with batches at or above its end; may be NULL */
    int64_t first_timestamp;         /* of the first batch; -1: none */
    uint64_t now_ms;
};
void log_rebuild_init(struct log_rebuild *b, int64_t segment_base, uint64_t index_interval_bytes);
void log_rebuild_release(struct log_rebuild *b);
int log_rebuild_run(struct kb_fs *fs, struct kb_fd *fd, struct log_rebuild *b);

/* "DIR/00000000000000000042.log"; suffix with its dot. Heap string. */
char *log_segment_path(const char *dir, int64_t base_offset, const char *suffix);
/* True when name is 20 digits and exactly this suffix. */
bool log_segment_name_parse(const char *name, const char *suffix, int64_t *ret_base);

/* Write NNN.index and NNN.timeindex, durable, each whole or not at all: half of one could not be
 * told from that of a shorter segment. */
int log_index_save(struct kb_fs *fs, const char *dir, int64_t base_offset,
                   const struct kb_buf *offsets, const struct kb_buf *times);
/* Read them. -KB_ENOENT or -KB_ECORRUPT: to be rebuilt. */
int log_index_load(struct kb_fs *fs, const char *dir, int64_t base_offset, uint64_t segment_size,
                   struct log_index *ix);
/* An index file carries no checksum. Does the file's batch that ends at this entry of its time
 * index have that timestamp? `position`: where the offset index says to look for it. 1, 0 (one of
 * the index files is damaged), or an error of the file calls. */
int log_index_check_time(struct kb_fs *fs, struct kb_fd *fd, int64_t segment_base,
                         uint64_t position, const struct log_index_time *entry);
#define LOG_INDEX_FILE_BYTES_MAX (256u << 20)

#endif
