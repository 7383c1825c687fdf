/* The files beside a segment: indexes, producer snapshots, leader epochs, metadata snapshots. */
#include <stdlib.h>
#include <unistd.h>

#include "broker/cli/dump.h"
#include "proto/base/crc32c.h"
#include "proto/kafka/batch.h"
#include "replication/log/epochs.h"
#include "replication/log/index.h"
#include "replication/log/producers.h"

#include <fcntl.h>

enum {
    INDEX_BYTES_MAX = 256 << 20,
    SIDE_BYTES_MAX = 256 << 20,
    FRAME_HEAD = 8, /* size, CRC-32C */
};

static void summary(struct cli_dump *d, uint64_t entries)
{
    cli_dump_emit(d,
                  json_pack("{s:s, s:s, s:I, s:I}", "type", "summary", "path", d->path, "entries",
                            (json_int_t)entries, "problems", (json_int_t)d->problems));
}

/* ---- indexes ----------------------------------------------------------------------------------
 */

/* The segment beside it, or -1. */
static int open_segment(const struct cli_dump *d)
{
    const char *dot = strrchr(d->path, '.');
    char *path = kb_asprintf("%.*s.log", (int)(dot - d->path), d->path);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    (void)kb_free(path);
    return fd;
}

/* From here on only zeros: Kafka allocates an active index in advance. A single entry of zeros, at
 * the beginning, is one. */
static bool is_padding(const struct kb_buf *bytes, size_t at, size_t entry_size)
{
    size_t size = bytes->size;
    while (size > at && bytes->data[size - 1] == 0)
        size--;
    return size == at && (at > 0 || bytes->size > entry_size);
}

/* Does the entry point to a batch that ends with its offset? */
static void check_entry(struct cli_dump *d, int segment, uint64_t at, int64_t offset,
                        uint32_t position)
{
    uint8_t head[KW_BATCH_HEAD_BYTES];
    ssize_t n = pread(segment, head, sizeof(head), (off_t)position);
    if (n != (ssize_t)sizeof(head)) {
        cli_dump_problem(d, at, "position %u is behind the end of the segment", position);
        return;
    }
    int64_t last = (int64_t)kb_get_be64(head) + (int32_t)kb_get_be32(head + 23);
    if (head[16] != 2 || last != offset)
        cli_dump_problem(d, at, "at position %u no batch ends with offset %" PRId64, position,
                         offset);
}

void cli_dump_index(struct cli_dump *d)
{
    struct kb_buf bytes = {0};
    int64_t before = -1;
    uint32_t position_before = 0;
    uint64_t entries = 0;
    int segment = open_segment(d);
    if (d->base_offset < 0)
        cli_dump_problem(d, 0, "the name of the file has no base offset");
    if (d->base_offset >= 0 && cli_dump_read_all(d, INDEX_BYTES_MAX, &bytes)) {
        for (size_t at = 0; at + LOG_INDEX_ENTRY_SIZE <= bytes.size; at += LOG_INDEX_ENTRY_SIZE) {
            const uint8_t *p = bytes.data + at;
            int64_t offset = d->base_offset + kb_get_be32(p);
            uint32_t position = kb_get_be32(p + 4);
            if (is_padding(&bytes, at, LOG_INDEX_ENTRY_SIZE))
                break;
            entries++;
            cli_dump_emit(d, json_pack("{s:s, s:I, s:I}", "type", "index_entry", "offset",
                                       (json_int_t)offset, "position", (json_int_t)position));
            if (offset <= before || (before >= 0 && position <= position_before))
                cli_dump_problem(d, at, "the entry of offset %" PRId64 " does not rise", offset);
            if (segment >= 0)
                check_entry(d, segment, at, offset, position);
            before = offset;
            position_before = position;
        }
        if (bytes.size % LOG_INDEX_ENTRY_SIZE != 0)
            cli_dump_problem(d, bytes.size, "the last entry is torn");
    }
    if (segment >= 0)
        (void)close(segment);
    kb_buf_release(&bytes);
    summary(d, entries);
}

void cli_dump_time_index(struct cli_dump *d)
{
    struct kb_buf bytes = {0};
    int64_t before = INT64_MIN;
    int64_t offset_before = -1;
    uint64_t entries = 0;
    if (d->base_offset < 0)
        cli_dump_problem(d, 0, "the name of the file has no base offset");
    if (d->base_offset >= 0 && cli_dump_read_all(d, INDEX_BYTES_MAX, &bytes)) {
        for (size_t at = 0; at + LOG_INDEX_TIME_SIZE <= bytes.size; at += LOG_INDEX_TIME_SIZE) {
            const uint8_t *p = bytes.data + at;
            int64_t timestamp = (int64_t)kb_get_be64(p);
            int64_t offset = d->base_offset + kb_get_be32(p + 8);
            if (is_padding(&bytes, at, LOG_INDEX_TIME_SIZE))
                break;
            entries++;
            cli_dump_emit(d, json_pack("{s:s, s:I, s:I}", "type", "time_entry", "timestamp",
                                       (json_int_t)timestamp, "offset", (json_int_t)offset));
            if (timestamp < before || offset < offset_before)
                cli_dump_problem(d, at, "the entry of offset %" PRId64 " does not rise", offset);
            before = timestamp;
            offset_before = offset;
        }
        if (bytes.size % LOG_INDEX_TIME_SIZE != 0)
            cli_dump_problem(d, bytes.size, "the last entry is torn");
    }
    kb_buf_release(&bytes);
    summary(d, entries);
}

/* ---- producers, epochs ------------------------------------------------------------------------
 */

void cli_dump_producers(struct cli_dump *d)
{
    const struct log_producers_config config = {.count_max = SIZE_MAX};
    struct log_producers *p = log_producers_new(&config);
    struct log_producer_info info;
    struct kb_buf bytes = {0};
    const void *cursor = NULL;
    uint64_t entries = 0;
    if (cli_dump_read_all(d, SIDE_BYTES_MAX, &bytes)) {
        int r = log_producers_load(p, bytes.data, bytes.size,
                                   d->base_offset >= 0 ? d->base_offset : 0, 0);
        if (r < 0)
            cli_dump_problem(d, 0, "no producer snapshot: %s", kb_err_text(r));
        while (r == 0 && log_producers_next(p, &cursor, &info)) {
            entries++;
            cli_dump_emit(d,
                          json_pack("{s:s, s:I, s:i, s:i, s:I, s:i, s:I}", "type", "producer",
                                    "producer_id", (json_int_t)info.producer_id, "producer_epoch",
                                    info.epoch, "last_sequence", info.last_sequence,
                                    "last_timestamp", (json_int_t)info.last_timestamp,
                                    "coordinator_epoch", info.coordinator_epoch, "txn_first_offset",
                                    (json_int_t)info.txn_first_offset));
        }
    }
    (void)log_producers_free(p);
    kb_buf_release(&bytes);
    summary(d, entries);
}

void cli_dump_epochs(struct cli_dump *d)
{
    struct log_epochs epochs = {0};
    struct kb_buf bytes = {0};
    if (cli_dump_read_all(d, SIDE_BYTES_MAX, &bytes)) {
        int r = log_epochs_parse(bytes.data, bytes.size, &epochs);
        if (r < 0)
            cli_dump_problem(d, 0, "no list of leader epochs: %s", kb_err_text(r));
        for (size_t i = 0; i < epochs.count; i++)
            cli_dump_emit(d, json_pack("{s:s, s:i, s:I}", "type", "leader_epoch", "epoch",
                                       epochs.entries[i].epoch, "start_offset",
                                       (json_int_t)epochs.entries[i].start_offset));
    }
    summary(d, epochs.count);
    log_epochs_release(&epochs);
    kb_buf_release(&bytes);
}

/* ---- snapshots of the metadata ----------------------------------------------------------------
 */

/* u32 size | u32 CRC-32C | record, again and again. */
void cli_dump_metadata_snapshot(struct cli_dump *d)
{
    struct kb_buf bytes = {0};
    uint64_t entries = 0;
    size_t at = 0;
    bool good = cli_dump_read_all(d, SIDE_BYTES_MAX, &bytes);
    while (good && at < bytes.size) {
        size_t left = bytes.size - at;
        size_t size = left >= FRAME_HEAD ? kb_get_be32(bytes.data + at) : 0;
        if (left < FRAME_HEAD || size > left - FRAME_HEAD) {
            cli_dump_problem(d, at, "a torn record: %zu bytes are left", left);
            break;
        }
        const uint8_t *body = bytes.data + at + FRAME_HEAD;
        json_t *words = cli_dump_metadata_record(kb_view_of(body, size));
        if (kb_crc32c(0, body, size) != kb_get_be32(bytes.data + at + 4))
            cli_dump_problem(d, at, "the CRC of the record is wrong");
        else if (words == NULL)
            cli_dump_problem(d, at, "no metadata record");
        if (words != NULL) {
            json_t *line = json_pack("{s:s}", "type", "record");
            (void)json_object_update(line, words);
            json_decref(words);
            cli_dump_emit(d, line);
        }
        entries++;
        at += FRAME_HEAD + size;
    }
    kb_buf_release(&bytes);
    summary(d, entries);
}
