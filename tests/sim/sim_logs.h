#ifndef SIM_LOGS_H
#define SIM_LOGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/kafka/batch.h"
#include "tests/sim/sim_disk.h"

/* A partition log as it lies on a simulated disk, read without the broker's code: the batches of
 * its *.log files in order. Kept up to date cheaply: what was read before is not read again while
 * the last batch read is still where it was, and nothing at all while the directory stays as it is.
 * A log is refreshed from one directory of one disk. */

struct sim_log_batch {
    int64_t first, last; /* offsets */
    int32_t epoch;
    uint32_t crc; /* over all bytes of the batch, head included */
    uint32_t size;
    int64_t producer_id;
    int16_t producer_epoch;
    int32_t sequence;
    int32_t record_count;
    int64_t max_timestamp;
    uint64_t position; /* in its segment */
    char segment[32];  /* file name */
};
/* Zero-initialise to start. */
struct sim_log {
    struct sim_log_batch *batches;
    size_t count, capacity;
    size_t fresh;     /* batches before this index were known before the last refresh */
    int64_t snapshot; /* offset up to which a *.checkpoint file stands for the log; -1 none */
    int64_t base;     /* of the newest segment; 0 none */
    int64_t first_base, last_base; /* of the first and the last segment; -1 none */
    struct sim_dir_stamp stamp;    /* of the directory when it was read */
};

/* Read the visible or durable image of the log in this directory. A missing directory is an empty
 * log; a batch that is torn or does not fit ends it. */
void sim_log_refresh(struct sim_log *l, struct sim_disk *d, const char *path, bool durable);
void sim_log_release(struct sim_log *l);
/* The batch that holds this offset; NULL when there is none. */
const struct sim_log_batch *sim_log_find(const struct sim_log *l, int64_t offset);
/* Behind the last batch, or where a segment without one begins; 0 for a log without segments. */
int64_t sim_log_end(const struct sim_log *l);
/* The bytes of a batch, borrowed until the disk changes; size 0 when they are gone. */
struct kb_view sim_log_bytes(const struct sim_log_batch *b, struct sim_disk *d, const char *dir,
                             bool durable);

#endif
