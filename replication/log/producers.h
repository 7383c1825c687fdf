#ifndef LOG_PRODUCERS_H
#define LOG_PRODUCERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/bytes.h"

/* Producer state of one partition log: for each idempotent producer id its epoch and its last
 * LOG_PRODUCER_BATCHES batches, open transactions, and what is needed to roll all of it back.
 * A pure function of the batches in the log (replication rule 10.2): leader and followers call
 * log_producers_update for every batch that enters the log, in offset order; only a leader calls
 * log_producers_check before. Owned by one log, not thread-safe, no I/O: snapshots are bytes that
 * the log writes and reads as NNN.snapshot.
 *
 * Time is the monotonic clock (ms) of the caller; a load counts as activity, so a restart or a
 * jump of the wall clock never forgets a producer early. */

/* Kafka remembers 5, as many as a client has in flight. But of five in flight the first may be
 * answered REQUEST_TIMED_OUT and the next ones with success; the client then sends new batches
 * beside the retry of the first, which must still be known as a duplicate. */
enum { LOG_PRODUCER_BATCHES = 10 };

struct log_producers;

struct log_producers_config {
    uint64_t expiration_ms; /* producer.id.expiration.ms; 0 = never */
    size_t count_max; /* above it the longest idle producer without an open transaction goes */
};

enum log_marker { LOG_MARKER_NONE, LOG_MARKER_ABORT, LOG_MARKER_COMMIT };

/* What producer state needs of one record batch. */
struct log_producer_batch {
    int64_t producer_id; /* negative: not idempotent, nothing is kept */
    int16_t producer_epoch;
    int32_t base_sequence; /* -1: no sequence (a coordinator's own append, a marker) */
    int32_t last_offset_delta;
    int64_t base_offset; /* set before update; ignored by check */
    int64_t max_timestamp;
    bool transactional;
    bool control;
    enum log_marker marker; /* with control: end of a transaction; NONE: another control record */
    int32_t coordinator_epoch; /* with marker */
};
/* Read it from the bytes of one whole v2 batch. 0, or -KB_ECORRUPT when size is below the batch's
 * or a control record is malformed. CRC is not checked. An empty control batch (all of its
 * transaction was compacted away) has marker NONE. */
int log_producer_batch_parse(const uint8_t *data, size_t size, struct log_producer_batch *ret);
/* Last sequence of a batch: wraps from 2147483647 to 0. */
int32_t log_producer_sequence_add(int32_t base_sequence, int32_t delta);

struct log_producers *log_producers_new(const struct log_producers_config *config);
struct log_producers *log_producers_free(struct log_producers *p); /* NULL accepted */
void log_producers_set_config(struct log_producers *p, const struct log_producers_config *config);
/* Forget all; end offset becomes `offset`. */
void log_producers_reset(struct log_producers *p, int64_t offset);
size_t log_producers_count(const struct log_producers *p);
/* One past the last offset taken in (or skipped to). */
int64_t log_producers_end_offset(const struct log_producers *p);

enum log_producers_verdict {
    LOG_PRODUCERS_OK = 0,
    LOG_PRODUCERS_DUPLICATE,    /* one of the last batches again: answer its offsets */
    LOG_PRODUCERS_OUT_OF_ORDER, /* OUT_OF_ORDER_SEQUENCE_NUMBER */
    LOG_PRODUCERS_STALE_EPOCH,  /* INVALID_PRODUCER_EPOCH */
    LOG_PRODUCERS_TXN_STATE,    /* INVALID_TXN_STATE: plain batch inside an open transaction */
    LOG_PRODUCERS_FENCED,       /* TRANSACTION_COORDINATOR_FENCED: marker of an old coordinator */
};
struct log_producers_original {
    int64_t base_offset, last_offset;
    int64_t max_timestamp;
};
struct log_producers_rules {
    bool zero_when_unknown; /* transaction protocol 2: an unknown producer starts at sequence 0 */
    bool marker_above;      /* transaction protocol 2: a marker's epoch is above the producer's */
};
/* May this batch be appended now? Changes nothing. *ret_original is set for DUPLICATE only. rules
 * NULL = none. Several batches of one producer in one append are checked and updated in turn. */
enum log_producers_verdict log_producers_check(const struct log_producers *p,
                                               const struct log_producer_batch *b,
                                               const struct log_producers_rules *rules,
                                               struct log_producers_original *ret_original);

struct log_producers_ended_txn {
    int64_t producer_id;
    int64_t first_offset, last_offset; /* last: the marker's */
    int64_t last_stable_offset;        /* once the marker is below the high watermark */
    bool aborted;
};
/* Take in a batch that is in the log now. base_offset must be at least the end offset (the gaps of
 * a compacted log are fine). Answers true and sets *ret_ended (NULL accepted) when the batch ended
 * a transaction that had data here. */
bool log_producers_update(struct log_producers *p, const struct log_producer_batch *b,
                          uint64_t now_ms, struct log_producers_ended_txn *ret_ended);
/* The log's end moved without producer batches (plain batches, a gap). */
void log_producers_advance(struct log_producers *p, int64_t end_offset);

/* Roll back so that only what lies below `offset` counts. True: done. False: the undo journal does
 * not reach that far back; the state is unchanged, and the caller loads the newest snapshot at or
 * below offset (or resets to the log start) and updates with the batches from there to offset. */
bool log_producers_truncate(struct log_producers *p, int64_t offset);
/* Nothing below the high watermark will be rolled back: trims the undo journal and the list of
 * ended transactions. Call when it moves; cheap. The newest LOG_PRODUCERS_UNDO_MAX changes are all
 * that is ever kept. */
enum { LOG_PRODUCERS_UNDO_MAX = 1024 };
void log_producers_settle(struct log_producers *p, int64_t high_watermark);
/* Forget idle producers without an open transaction. Returns how many went. */
size_t log_producers_expire(struct log_producers *p, uint64_t now_ms);

/* First offset of the oldest transaction that is open, or whose marker is at or above the high
 * watermark last given to settle; -1 when none. The last stable offset is the smaller of this and
 * the high watermark. */
int64_t log_producers_first_unstable(const struct log_producers *p);

/* For compaction: the batches that hold the last sequence (or epoch) of each producer. Sorted by
 * producer id. Caller frees with kb_free. */
struct log_producer_last {
    int64_t producer_id;
    int64_t last_data_offset; /* last offset of its newest data batch; -1: none in this epoch */
    int16_t epoch;            /* then the marker that carries this epoch is kept */
};
struct log_producer_last *log_producers_last(const struct log_producers *p, size_t *ret_count);

/* For DescribeProducers: one per producer, oldest activity first. Start with *cursor = NULL. */
struct log_producer_info {
    int64_t producer_id;
    int16_t epoch;
    int32_t last_sequence; /* -1: none */
    int64_t last_timestamp;
    int32_t coordinator_epoch;
    int64_t txn_first_offset; /* -1: none */
};
bool log_producers_next(const struct log_producers *p, const void **cursor,
                        struct log_producer_info *ret);
/* Of one producer; false: it is not known. */
bool log_producers_get(const struct log_producers *p, int64_t producer_id,
                       struct log_producer_info *ret);

/* Snapshots in Kafka's format, version 1 (kafka-dump-log reads them): int16 version, uint32 CRC-32C
 * over the rest, array of {id, epoch, last sequence, last offset, offset delta, timestamp,
 * coordinator epoch, first offset of the open transaction}. Behind the array, where Kafka's reader
 * does not look, follows our own part: the earlier batches and a flag per producer, so that a
 * snapshot and the tail of the log give exactly the state of a full replay. A file of Kafka's own,
 * without that part, is read too. */
void log_producers_serialize(const struct log_producers *p, struct kb_buf *ret);
/* A snapshot for a log that begins at `offset`, at or below the high watermark: of each producer
 * the batches that end below it. Who replays the batches from there on then knows as much as this
 * state. At most size_max bytes: the longest idle producers are left out. Appends nothing when no
 * producer is left, and answers how many there are. */
size_t log_producers_serialize_below(const struct log_producers *p, int64_t offset, size_t size_max,
                                     struct kb_buf *ret);
/* Replace the state by a snapshot taken at `offset`. 0, or -KB_ECORRUPT / -KB_EUNSUPPORTED and the
 * state is as before. */
int log_producers_load(struct log_producers *p, const uint8_t *data, size_t size, int64_t offset,
                       uint64_t now_ms);

#endif
