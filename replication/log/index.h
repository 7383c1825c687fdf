#ifndef LOG_INDEX_H
#define LOG_INDEX_H

#include <stddef.h>
#include <stdint.h>

#include "proto/base/bytes.h"

/* Sparse offset and time index of one segment, in memory, in the form of Kafka's .index (relative
 * last offset of a batch, its position) and .timeindex (largest timestamp so far, relative last
 * offset of its batch). Pure; owned by one segment or one job. At most LOG_INDEX_ENTRIES_MAX
 * entries each: when full, every second one goes and the interval doubles, so a full 1 GiB segment
 * costs 64 + 128 KiB of memory and at most a scan of about 256 KiB. */

enum { LOG_INDEX_ENTRIES_MAX = 8192, LOG_INDEX_ENTRY_SIZE = 8, LOG_INDEX_TIME_SIZE = 12 };

struct log_index_entry {
    uint32_t relative_offset;
    uint32_t position;
};
struct log_index_time {
    int64_t timestamp;
    uint32_t relative_offset;
};
struct log_index {
    struct log_index_entry *offsets;
    size_t offset_count, offset_capacity;
    struct log_index_time *times;
    size_t time_count, time_capacity;
    uint64_t interval_bytes; /* grows when entries are thinned */
    uint64_t since_bytes;    /* since the last entry */
    int64_t max_timestamp;   /* -1: none */
    uint32_t max_timestamp_relative;
};
void log_index_init(struct log_index *ix, uint64_t interval_bytes);
void log_index_release(struct log_index *ix);
/* A batch was appended at position; offsets are relative to the segment's base. */
void log_index_add(struct log_index *ix, uint32_t relative_last, uint32_t position, uint32_t size,
                   int64_t max_timestamp);
/* Where to start looking for the batch that holds the offset: a batch's position, at or before. */
uint32_t log_index_lookup(const struct log_index *ix, uint32_t relative_offset);
/* The entry from whose batch on to look for the first timestamp >= this; {-1, 0}: from the start.
 */
struct log_index_time log_index_lookup_time(const struct log_index *ix, int64_t timestamp);
/* File contents. The time index gets the segment's largest timestamp as its last entry. */
void log_index_format(const struct log_index *ix, struct kb_buf *ret_offsets,
                      struct kb_buf *ret_times);
/* Read both files' contents for a segment of segment_size bytes. 0, or -KB_ECORRUPT (sizes,
 * order or positions are wrong) with *ix as before. */
int log_index_parse(struct log_index *ix, const struct kb_buf *offsets, const struct kb_buf *times,
                    uint64_t segment_size);

#endif
