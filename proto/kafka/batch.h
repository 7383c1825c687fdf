#ifndef KW_BATCH_H
#define KW_BATCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/bytes.h"
#include "proto/kafka/codec.h"
#include "proto/kafka/compress.h"
#include "proto/kafka/error.h"

/* Record batch v2 (magic 2), the unit in which records travel and are stored:
 *
 *   0 base offset (8)      16 magic (1)              27 base timestamp (8)   53 base sequence (4)
 *   8 length (4), of what  17 CRC-32C of 21.. (4)    35 max timestamp (8)    57 record count (4)
 *     follows it           21 attributes (2)         43 producer id (8)      61 records, maybe
 *  12 leader epoch (4)     23 last offset delta (4)  51 producer epoch (2)      compressed
 *
 * Base offset and leader epoch lie outside the CRC, so a leader sets them in place. */

enum {
    KW_BATCH_HEAD_BYTES = 61,
    KW_BATCH_FRAME_BYTES = 12, /* base offset and length: enough to know the size */
    KW_BATCH_BYTES_MAX = INT32_MAX,
};
enum kw_batch_attributes {
    KW_BATCH_CODEC_MASK = 7,
    KW_BATCH_APPEND_TIME = 8, /* max timestamp is the broker's time, for all records */
    KW_BATCH_TRANSACTIONAL = 16,
    KW_BATCH_CONTROL = 32,
    KW_BATCH_HORIZON = 64, /* base timestamp is the delete horizon (KIP-534) */
};

/* The head of one batch and a view of its bytes. */
struct kw_batch {
    const uint8_t *data;
    size_t size; /* head and records */
    int64_t base_offset;
    int32_t leader_epoch;
    uint32_t crc;
    int16_t attributes;
    int32_t last_offset_delta;
    int64_t base_timestamp;
    int64_t max_timestamp;
    int64_t producer_id;
    int16_t producer_epoch;
    int32_t base_sequence;
    int32_t record_count;
};
static inline int kw_batch_codec(const struct kw_batch *b)
{
    return b->attributes & KW_BATCH_CODEC_MASK;
}
static inline bool kw_batch_is(const struct kw_batch *b, enum kw_batch_attributes flag)
{
    return (b->attributes & flag) != 0;
}
static inline int64_t kw_batch_last_offset(const struct kw_batch *b)
{
    return b->base_offset + b->last_offset_delta;
}

enum kw_batch_parse_result {
    KW_BATCH_WHOLE = 0,
    KW_BATCH_PARTIAL, /* the first bytes of a batch; more are needed */
};
/* Read the head of the batch at data and check what can be checked without the CRC: the length,
 * magic 2, no negative counts or offsets. size may go on behind the batch. A kw_batch_parse_result;
 * -KB_ECORRUPT; -KB_EUNSUPPORTED for another magic. */
int kw_batch_parse(const void *data, size_t size, struct kw_batch *ret);
/* Whole size of the batch whose first KW_BATCH_FRAME_BYTES are given, or -KB_ECORRUPT. */
int64_t kw_batch_size(const void *frame);
bool kw_batch_crc_ok(const struct kw_batch *b);

/* Set in place; the CRC stays right. data is a whole batch. */
void kw_batch_set_offset(uint8_t *data, int64_t base_offset, int32_t leader_epoch);
/* Set timestamp type and max timestamp in place, with a new CRC if that changes anything. */
void kw_batch_set_max_timestamp(uint8_t *data, size_t size, bool append_time, int64_t timestamp);

/* Batches one behind the other, e.g. a Fetch answer or a piece of a segment. Borrows the bytes. */
struct kw_batches {
    const uint8_t *next;
    const uint8_t *end;
};
void kw_batches_init(struct kw_batches *it, const void *data, size_t size);
enum kw_batches_result {
    KW_BATCHES_END = 0, /* all bytes used */
    KW_BATCHES_ONE,     /* *ret is the next batch */
    KW_BATCHES_PARTIAL, /* the rest, at it->next, is the beginning of a batch */
};
/* A kw_batches_result, or what kw_batch_parse gave. CRCs are not checked. */
int kw_batches_next(struct kw_batches *it, struct kw_batch *ret);

/* ---- records --------------------------------------------------------------------------------- */

struct kw_record {
    int64_t offset;
    int64_t timestamp; /* the batch's max timestamp where that counts for all */
    int32_t offset_delta;
    struct kw_bytes key;   /* data NULL = null */
    struct kw_bytes value; /* data NULL = null */
    int32_t header_count;
    struct kw_bytes headers; /* as they are in the record; see kw_record_header_next */
};
struct kw_record_header {
    struct kw_str key;
    struct kw_bytes value; /* data NULL = null */
};
/* The records of one batch, compressed or not. Borrows the batch. */
struct kw_records;
/* 0, -KB_EUNSUPPORTED (codec), -KB_ENOMEM. output_bytes_max bounds what decompression may give and
 * what is allocated. */
int kw_records_open(const struct kw_batch *b, uint64_t output_bytes_max, struct kw_records **ret);
struct kw_records *kw_records_close(struct kw_records *it);
/* 1 and *ret, whose bytes are valid until the next call; 0 behind the last record; -KB_ECORRUPT for
 * malformed records, a wrong count or bytes left over; -KB_ETOOBIG; -KB_ENOMEM. */
int kw_records_next(struct kw_records *it, struct kw_record *ret);
/* Headers of a record: start with kw_reader_init(rd, headers.data, headers.size) and call
 * header_count times. 0 or -KB_EINVAL. */
int kw_record_header_next(struct kw_reader *rd, struct kw_record_header *ret);

/* What a control batch's record says. */
enum kw_control_type {
    KW_CONTROL_ABORT = 0,
    KW_CONTROL_COMMIT = 1,
    KW_CONTROL_LEADER_CHANGE = 2,
};
struct kw_control {
    int16_t type;              /* a kw_control_type or another, to be ignored */
    int32_t coordinator_epoch; /* of ABORT and COMMIT; else -1 */
};
/* 0 or -KB_ECORRUPT. */
int kw_control_parse(const struct kw_record *record, struct kw_control *ret);

/* ---- checking what a producer sent ----------------------------------------------------------- */

struct kw_batch_rules {
    size_t batch_bytes_max;    /* max.message.bytes */
    uint64_t output_bytes_max; /* of a compressed batch */
    int64_t now_ms;            /* wall clock */
    int64_t before_ms_max;     /* message.timestamp.before.max.ms; INT64_MAX = any */
    int64_t after_ms_max;      /* message.timestamp.after.max.ms; INT64_MAX = any */
    bool append_time;          /* message.timestamp.type=LogAppendTime */
    bool key_required;         /* compacted topic */
    bool zstd_allowed;         /* Produce v7 and up */
};
/* Kafka's defaults: no limits but 1048588 bytes and 100 MB of output; now_ms must be set. */
void kw_batch_rules_init(struct kw_batch_rules *rules);

enum {
    KW_BATCH_BAD_RECORDS_MAX = 16,         /* named one by one */
    KW_BATCH_RENUMBER_BYTES_MAX = 4 << 20, /* of records, when a batch must be written anew */
};
struct kw_bad_record {
    int32_t index; /* in the batch */
    const char *text;
};
struct kw_batch_verdict {
    enum kw_error error; /* KW_NONE = may be appended */
    int32_t bad_record;  /* index of the first record to blame, -1 = the batch */
    const char *text;    /* why, static; NULL with KW_NONE */
    struct kw_bad_record bad_records[KW_BATCH_BAD_RECORDS_MAX];
    int32_t bad_records_count;
    bool renumber; /* some client numbers its records oddly: to be written anew with recode */
    struct kw_batch batch;      /* filled when the head could be parsed */
    int64_t log_append_time_ms; /* for the answer: now_ms with append_time, else -1 */
    int64_t max_timestamp;      /* over the records, or now_ms with append_time */
};
/* Is data exactly one batch that a producer may append? Everything Kafka's ProduceRequest and
 * LogValidator check. Compressed batches are decoded once as a stream. 0, also when the batch is
 * refused; -KB_ENOMEM when a decoder could not be made. */
int kw_batch_check(const void *data, size_t size, const struct kw_batch_rules *rules,
                   struct kw_batch_verdict *ret);
/* Bring an accepted batch into the form that is stored: timestamp type and max timestamp. */
void kw_batch_settle(uint8_t *data, size_t size, const struct kw_batch_rules *rules,
                     const struct kw_batch_verdict *verdict);
/* The same batch with this codec (compression.type of a topic) and its records numbered 0, 1, 2, …
 * 0 and a new block with the caller's reference, or the failure of kw_records_next. */
int kw_batch_recode(const struct kw_batch *b, int codec, uint64_t output_bytes_max,
                    struct kb_block **ret);

/* ---- building -------------------------------------------------------------------------------- */

/* Collects records into one batch. Zero-initialise or kw_batch_builder_init; set the public fields
 * before the first record. */
struct kw_batch_builder {
    int codec;
    int16_t attributes; /* flags other than the codec: KW_BATCH_TRANSACTIONAL, … */
    int64_t base_offset;
    int32_t leader_epoch;
    int64_t producer_id;
    int16_t producer_epoch;
    int32_t base_sequence;
    /* Private. */
    int32_t record_count_;
    int32_t last_offset_delta_;
    int64_t base_timestamp_;
    int64_t max_timestamp_;
    bool fixed_; /* base timestamp and last offset delta come from another batch */
    struct kb_buf records_;
};
/* No codec, no producer (-1), leader epoch -1, base offset 0. */
void kw_batch_builder_init(struct kw_batch_builder *b);
/* Start from another batch's head, to keep some of its records: offsets, sequences and timestamps
 * stay, and a batch without records may be finished. delete_horizon_ms >= 0 sets the horizon. */
void kw_batch_builder_init_like(struct kw_batch_builder *b, const struct kw_batch *head,
                                int64_t delete_horizon_ms);
void kw_batch_builder_release(struct kw_batch_builder *b);
int32_t kw_batch_builder_count(const struct kw_batch_builder *b);
/* Bytes of the batch if it were finished now, before compression. */
size_t kw_batch_builder_size(const struct kw_batch_builder *b);
/* Add the next record. key or value with data NULL is null. -KB_ETOOBIG when the batch would pass
 * KW_BATCH_BYTES_MAX, and nothing was added. */
int kw_batch_builder_add(struct kw_batch_builder *b, int64_t timestamp_ms, struct kw_bytes key,
                         struct kw_bytes value);
int kw_batch_builder_add_headers(struct kw_batch_builder *b, int64_t timestamp_ms,
                                 struct kw_bytes key, struct kw_bytes value,
                                 const struct kw_record_header *headers, int32_t header_count);
/* After kw_batch_builder_init_like: add a record of that batch under its own offset. */
int kw_batch_builder_keep(struct kw_batch_builder *b, const struct kw_record *record);
/* Make the batch: a new block with the caller's reference, that holds exactly the batch. The
 * builder is empty and can take the next batch with the same fields. -KB_EINVAL when there is no
 * record; -KB_EUNSUPPORTED for an unknown codec. */
int kw_batch_builder_finish(struct kw_batch_builder *b, struct kb_block **ret);
/* A control batch with one end-of-transaction marker. */
struct kb_block *kw_batch_new_marker(enum kw_control_type type, int32_t coordinator_epoch,
                                     int64_t producer_id, int16_t producer_epoch,
                                     int64_t timestamp_ms);

#endif
