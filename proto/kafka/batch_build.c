#include "proto/kafka/batch.h"

#include "proto/base/assert.h"
#include "proto/kafka/record_source.h"

#define NO_TIMESTAMP (-1)
#define VARINT_BYTES_MAX UINT64_C(5)
/* Bytes of a record besides key, value and headers: length, attributes, two deltas, key and value
 * length, header count. */
#define RECORD_OVERHEAD_MAX 41
#define END_TXN_MARKER_VERSION 0

void kw_batch_builder_init(struct kw_batch_builder *b)
{
    *b = (struct kw_batch_builder){.leader_epoch = -1,
                                   .producer_id = -1,
                                   .producer_epoch = -1,
                                   .base_sequence = -1,
                                   .base_timestamp_ = NO_TIMESTAMP,
                                   .max_timestamp_ = NO_TIMESTAMP};
}

void kw_batch_builder_init_like(struct kw_batch_builder *b, const struct kw_batch *head,
                                int64_t delete_horizon_ms)
{
    *b = (struct kw_batch_builder){
        .codec = kw_batch_codec(head),
        .attributes = (int16_t)(head->attributes & ~KW_BATCH_CODEC_MASK),
        .base_offset = head->base_offset,
        .leader_epoch = head->leader_epoch,
        .producer_id = head->producer_id,
        .producer_epoch = head->producer_epoch,
        .base_sequence = head->base_sequence,
        .last_offset_delta_ = head->last_offset_delta,
        .base_timestamp_ = head->base_timestamp,
        .max_timestamp_ = head->max_timestamp,
        .fixed_ = true,
    };
    if (delete_horizon_ms >= 0) {
        b->attributes |= KW_BATCH_HORIZON;
        b->base_timestamp_ = delete_horizon_ms;
    }
}

void kw_batch_builder_release(struct kw_batch_builder *b)
{
    kb_buf_release(&b->records_);
}

int32_t kw_batch_builder_count(const struct kw_batch_builder *b)
{
    return b->record_count_;
}

size_t kw_batch_builder_size(const struct kw_batch_builder *b)
{
    return KW_BATCH_HEAD_BYTES + b->records_.size;
}

static void append_base128(struct kb_buf *out, uint64_t v)
{
    uint8_t bytes[10];
    size_t size = 0;
    while (v > 0x7f) {
        bytes[size++] = (uint8_t)(v | 0x80);
        v >>= 7;
    }
    bytes[size++] = (uint8_t)v;
    kb_buf_append(out, bytes, size);
}

static void append_varlong(struct kb_buf *out, int64_t v)
{
    append_base128(out, ((uint64_t)v << 1) ^ (uint64_t)(v >> 63));
}

static size_t varlong_size(int64_t v)
{
    uint64_t u = ((uint64_t)v << 1) ^ (uint64_t)(v >> 63);
    size_t size = 1;
    while (u > 0x7f) {
        u >>= 7;
        size++;
    }
    return size;
}

/* Varint size and bytes; null as -1. */
static void append_sized(struct kb_buf *out, const void *data, int32_t size)
{
    append_varlong(out, data != NULL ? size : -1);
    if (data != NULL)
        kb_buf_append(out, data, (size_t)size);
}

static size_t sized_size(const void *data, int32_t size)
{
    return data != NULL ? varlong_size(size) + (size_t)size : 1;
}

/* A record whose headers are in wire form already. */
static int add_record(struct kw_batch_builder *b, int64_t timestamp_delta, int32_t offset_delta,
                      struct kw_bytes key, struct kw_bytes value, int32_t header_count,
                      struct kw_bytes headers)
{
    uint64_t room = (uint64_t)RECORD_OVERHEAD_MAX + (uint64_t)key.size + (uint64_t)value.size +
                    (uint64_t)headers.size;
    if (room > KW_BATCH_BYTES_MAX - kw_batch_builder_size(b) || b->record_count_ == INT32_MAX)
        return -KB_ETOOBIG;
    size_t size = 1 + varlong_size(timestamp_delta) + varlong_size(offset_delta) +
                  sized_size(key.data, key.size) + sized_size(value.data, value.size) +
                  varlong_size(header_count) + (size_t)headers.size;
    struct kb_buf *out = &b->records_;
    append_varlong(out, (int64_t)size);
    kb_buf_append(out, "", 1); /* attributes */
    append_varlong(out, timestamp_delta);
    append_varlong(out, offset_delta);
    append_sized(out, key.data, key.size);
    append_sized(out, value.data, value.size);
    append_varlong(out, header_count);
    kb_buf_append(out, headers.data, (size_t)headers.size);
    b->record_count_++;
    return 0;
}

static int64_t wrapping_sub(int64_t a, int64_t b)
{
    return (int64_t)((uint64_t)a - (uint64_t)b);
}

static int add_next(struct kw_batch_builder *b, int64_t timestamp_ms, struct kw_bytes key,
                    struct kw_bytes value, int32_t header_count, struct kw_bytes headers)
{
    KB_ASSERT(!b->fixed_);
    bool first = b->record_count_ == 0;
    int64_t base = first ? timestamp_ms : b->base_timestamp_;
    int r = add_record(b, wrapping_sub(timestamp_ms, base), b->record_count_, key, value,
                       header_count, headers);
    if (r < 0)
        return r;
    b->base_timestamp_ = base;
    b->last_offset_delta_ = b->record_count_ - 1;
    if (first || timestamp_ms > b->max_timestamp_)
        b->max_timestamp_ = timestamp_ms;
    return 0;
}

int kw_batch_builder_add(struct kw_batch_builder *b, int64_t timestamp_ms, struct kw_bytes key,
                         struct kw_bytes value)
{
    return add_next(b, timestamp_ms, key, value, 0, (struct kw_bytes){NULL, 0});
}

int kw_batch_builder_add_headers(struct kw_batch_builder *b, int64_t timestamp_ms,
                                 struct kw_bytes key, struct kw_bytes value,
                                 const struct kw_record_header *headers, int32_t header_count)
{
    uint64_t size = 0;
    for (int32_t i = 0; i < header_count; i++)
        size += (uint64_t)headers[i].key.size + (uint64_t)headers[i].value.size +
                2 * VARINT_BYTES_MAX;
    if (size > KW_BATCH_BYTES_MAX)
        return -KB_ETOOBIG;
    struct kb_buf wire = {0};
    for (int32_t i = 0; i < header_count; i++) {
        KB_ASSERT(headers[i].key.data != NULL);
        append_sized(&wire, headers[i].key.data, headers[i].key.size);
        append_sized(&wire, headers[i].value.data, headers[i].value.size);
    }
    int r = add_next(b, timestamp_ms, key, value, header_count,
                     (struct kw_bytes){wire.data, (int32_t)wire.size});
    kb_buf_release(&wire);
    return r;
}

int kw_batch_builder_keep(struct kw_batch_builder *b, const struct kw_record *record)
{
    KB_ASSERT(b->fixed_);
    int r = add_record(b, wrapping_sub(record->timestamp, b->base_timestamp_), record->offset_delta,
                       record->key, record->value, record->header_count, record->headers);
    if (r < 0)
        return r;
    bool append_time = (b->attributes & KW_BATCH_APPEND_TIME) != 0;
    if (!append_time && (b->record_count_ == 1 || record->timestamp > b->max_timestamp_))
        b->max_timestamp_ = record->timestamp;
    return 0;
}

int kw_batch_builder_finish(struct kw_batch_builder *b, struct kb_block **ret)
{
    if (b->record_count_ == 0 && !b->fixed_)
        return -KB_EINVAL;
    struct kb_buf packed = {0};
    const struct kb_buf *payload = &b->records_;
    if (b->codec != KW_CODEC_NONE && b->record_count_ > 0) {
        int r = kw_compress(b->codec, b->records_.data, b->records_.size, &packed);
        if (r < 0)
            return r;
        payload = &packed;
    }
    size_t size = KW_BATCH_HEAD_BYTES + payload->size;
    struct kb_block *block = kb_block_new(size);
    block->size = (uint32_t)size;
    if (payload->size != 0)
        memcpy(block->data + KW_BATCH_HEAD_BYTES, payload->data, payload->size);
    const struct kw_batch head = {
        .size = size,
        .base_offset = b->base_offset,
        .leader_epoch = b->leader_epoch,
        .attributes = (int16_t)(b->attributes | b->codec),
        .last_offset_delta = b->last_offset_delta_,
        .base_timestamp = b->base_timestamp_,
        .max_timestamp = b->max_timestamp_,
        .producer_id = b->producer_id,
        .producer_epoch = b->producer_epoch,
        .base_sequence = b->base_sequence,
        .record_count = b->record_count_,
    };
    kw_batch_write_head(block->data, &head);
    kb_buf_release(&packed);
    b->records_.size = 0;
    b->record_count_ = 0;
    *ret = block;
    return 0;
}

int kw_batch_recode(const struct kw_batch *b, int codec, uint64_t output_bytes_max,
                    struct kb_block **ret)
{
    struct kw_records *records = NULL;
    int r = kw_records_open(b, output_bytes_max, &records);
    if (r < 0)
        return r;
    struct kw_batch_builder builder;
    kw_batch_builder_init_like(&builder, b, -1);
    builder.codec = codec;
    struct kw_record record;
    int32_t number = 0;
    while ((r = kw_records_next(records, &record)) > 0) {
        record.offset = b->base_offset + number;
        record.offset_delta = number++;
        r = kw_batch_builder_keep(&builder, &record);
        if (r < 0)
            break;
    }
    if (r == 0)
        r = kw_batch_builder_finish(&builder, ret);
    kw_batch_builder_release(&builder);
    (void)kw_records_close(records);
    return r;
}

struct kb_block *kw_batch_new_marker(enum kw_control_type type, int32_t coordinator_epoch,
                                     int64_t producer_id, int16_t producer_epoch,
                                     int64_t timestamp_ms)
{
    KB_ASSERT(type == KW_CONTROL_ABORT || type == KW_CONTROL_COMMIT);
    uint8_t key[4];
    uint8_t value[6];
    kb_put_be16(key, 0);
    kb_put_be16(key + 2, (uint16_t)type);
    kb_put_be16(value, END_TXN_MARKER_VERSION);
    kb_put_be32(value + 2, (uint32_t)coordinator_epoch);
    struct kw_batch_builder b;
    kw_batch_builder_init(&b);
    b.attributes = KW_BATCH_CONTROL | KW_BATCH_TRANSACTIONAL;
    b.producer_id = producer_id;
    b.producer_epoch = producer_epoch;
    struct kb_block *block = NULL;
    int r = kw_batch_builder_add(&b, timestamp_ms, kw_bytes_of(key, sizeof(key)),
                                 kw_bytes_of(value, sizeof(value)));
    KB_ASSERT(r == 0);
    r = kw_batch_builder_finish(&b, &block);
    KB_ASSERT(r == 0);
    kw_batch_builder_release(&b);
    return block;
}
