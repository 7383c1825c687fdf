#include "replication/log/index.h"

#include <stdlib.h>

#include "proto/base/err.h"

void log_index_init(struct log_index *ix, uint64_t interval_bytes)
{
    *ix = (struct log_index){.interval_bytes = interval_bytes, .max_timestamp = -1};
}

void log_index_release(struct log_index *ix)
{
    free(ix->offsets);
    free(ix->times);
    *ix = (struct log_index){.interval_bytes = ix->interval_bytes, .max_timestamp = -1};
}

/* The last entry of each array stays: it bounds the scan, and carries the largest timestamp. */
static void index_thin_offsets(struct log_index *ix)
{
    size_t kept = 0;
    for (size_t i = 1; i < ix->offset_count; i += 2)
        ix->offsets[kept++] = ix->offsets[i];
    ix->offset_count = kept;
    ix->interval_bytes = ix->interval_bytes != 0 ? ix->interval_bytes * 2 : 1;
}

static void index_thin_times(struct log_index *ix)
{
    size_t kept = 0;
    for (size_t i = 1; i < ix->time_count; i += 2)
        ix->times[kept++] = ix->times[i];
    ix->time_count = kept;
}

static void index_push_time(struct log_index *ix)
{
    if (ix->max_timestamp < 0)
        return;
    if (ix->time_count != 0 && ix->times[ix->time_count - 1].timestamp >= ix->max_timestamp)
        return;
    if (ix->time_count == LOG_INDEX_ENTRIES_MAX)
        index_thin_times(ix);
    kb_array_reserve(ix->times, ix->time_count, ix->time_capacity);
    ix->times[ix->time_count++] = (struct log_index_time){ix->max_timestamp,
                                                          ix->max_timestamp_relative};
}

void log_index_add(struct log_index *ix, uint32_t relative_last, uint32_t position, uint32_t size,
                   int64_t max_timestamp)
{
    if (max_timestamp > ix->max_timestamp) {
        ix->max_timestamp = max_timestamp;
        ix->max_timestamp_relative = relative_last;
    }
    if (ix->since_bytes > ix->interval_bytes) {
        if (ix->offset_count == LOG_INDEX_ENTRIES_MAX)
            index_thin_offsets(ix);
        kb_array_reserve(ix->offsets, ix->offset_count, ix->offset_capacity);
        ix->offsets[ix->offset_count++] = (struct log_index_entry){relative_last, position};
        index_push_time(ix);
        ix->since_bytes = 0;
    }
    ix->since_bytes += size;
}

uint32_t log_index_lookup(const struct log_index *ix, uint32_t relative_offset)
{
    size_t low = 0; /* entries below low are <= the offset, those from high on are above */
    size_t high = ix->offset_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (ix->offsets[middle].relative_offset <= relative_offset)
            low = middle + 1;
        else
            high = middle;
    }
    return low == 0 ? 0 : ix->offsets[low - 1].position;
}

struct log_index_time log_index_lookup_time(const struct log_index *ix, int64_t timestamp)
{
    size_t low = 0;
    size_t high = ix->time_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (ix->times[middle].timestamp <= timestamp)
            low = middle + 1;
        else
            high = middle;
    }
    return low == 0 ? (struct log_index_time){-1, 0} : ix->times[low - 1];
}

void log_index_format(const struct log_index *ix, struct kb_buf *ret_offsets,
                      struct kb_buf *ret_times)
{
    for (size_t i = 0; i < ix->offset_count; i++) {
        uint8_t e[LOG_INDEX_ENTRY_SIZE];
        kb_put_be32(e, ix->offsets[i].relative_offset);
        kb_put_be32(e + 4, ix->offsets[i].position);
        kb_buf_append(ret_offsets, e, sizeof(e));
    }
    uint8_t t[LOG_INDEX_TIME_SIZE];
    int64_t last = -1;
    for (size_t i = 0; i < ix->time_count; i++) {
        last = ix->times[i].timestamp;
        kb_put_be64(t, (uint64_t)last);
        kb_put_be32(t + 8, ix->times[i].relative_offset);
        kb_buf_append(ret_times, t, sizeof(t));
    }
    if (ix->max_timestamp > last) {
        kb_put_be64(t, (uint64_t)ix->max_timestamp);
        kb_put_be32(t + 8, ix->max_timestamp_relative);
        kb_buf_append(ret_times, t, sizeof(t));
    }
}

static int index_parse_offsets(struct log_index *ix, const struct kb_buf *b, uint64_t segment_size)
{
    if (b->size % LOG_INDEX_ENTRY_SIZE != 0)
        return -KB_ECORRUPT;
    for (size_t at = 0; at < b->size; at += LOG_INDEX_ENTRY_SIZE) {
        struct log_index_entry e = {kb_get_be32(b->data + at), kb_get_be32(b->data + at + 4)};
        const struct log_index_entry *before = ix->offset_count != 0
                                                   ? &ix->offsets[ix->offset_count - 1]
                                                   : NULL;
        if (e.position >= segment_size || e.relative_offset > INT32_MAX ||
            (before != NULL &&
             (e.relative_offset <= before->relative_offset || e.position <= before->position)))
            return -KB_ECORRUPT;
        if (ix->offset_count == LOG_INDEX_ENTRIES_MAX)
            index_thin_offsets(ix);
        kb_array_reserve(ix->offsets, ix->offset_count, ix->offset_capacity);
        ix->offsets[ix->offset_count++] = e;
    }
    return 0;
}

static int index_parse_times(struct log_index *ix, const struct kb_buf *b)
{
    if (b->size % LOG_INDEX_TIME_SIZE != 0)
        return -KB_ECORRUPT;
    for (size_t at = 0; at < b->size; at += LOG_INDEX_TIME_SIZE) {
        struct log_index_time t = {(int64_t)kb_get_be64(b->data + at),
                                   kb_get_be32(b->data + at + 8)};
        if (t.timestamp <= ix->max_timestamp || t.relative_offset > INT32_MAX ||
            (at != 0 && t.relative_offset <= ix->max_timestamp_relative))
            return -KB_ECORRUPT;
        ix->max_timestamp = t.timestamp;
        ix->max_timestamp_relative = t.relative_offset;
        index_push_time(ix);
    }
    return 0;
}

int log_index_parse(struct log_index *ix, const struct kb_buf *offsets, const struct kb_buf *times,
                    uint64_t segment_size)
{
    struct log_index fresh;
    log_index_init(&fresh, ix->interval_bytes);
    int r = index_parse_offsets(&fresh, offsets, segment_size);
    if (r == 0)
        r = index_parse_times(&fresh, times);
    if (r < 0) {
        log_index_release(&fresh);
        return r;
    }
    log_index_release(ix);
    *ix = fresh;
    return 0;
}
