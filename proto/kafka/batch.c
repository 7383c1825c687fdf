#include "proto/kafka/batch.h"

#include "proto/base/crc32c.h"
#include "proto/kafka/record_source.h"

enum batch_at {
    AT_BASE_OFFSET = 0,
    AT_LENGTH = 8,
    AT_LEADER_EPOCH = 12,
    AT_MAGIC = 16,
    AT_CRC = 17,
    AT_ATTRIBUTES = 21,
    AT_LAST_OFFSET_DELTA = 23,
    AT_BASE_TIMESTAMP = 27,
    AT_MAX_TIMESTAMP = 35,
    AT_PRODUCER_ID = 43,
    AT_PRODUCER_EPOCH = 51,
    AT_BASE_SEQUENCE = 53,
    AT_RECORD_COUNT = 57,
};
_Static_assert(AT_RECORD_COUNT + 4 == KW_BATCH_HEAD_BYTES, "batch head");
#define MAGIC 2

int64_t kw_batch_size(const void *frame)
{
    int32_t length = (int32_t)kb_get_be32((const uint8_t *)frame + AT_LENGTH);
    if (length < KW_BATCH_HEAD_BYTES - KW_BATCH_FRAME_BYTES ||
        length > KW_BATCH_BYTES_MAX - KW_BATCH_FRAME_BYTES)
        return -KB_ECORRUPT;
    return (int64_t)length + KW_BATCH_FRAME_BYTES;
}

static void read_head(const uint8_t *p, size_t size, struct kw_batch *ret)
{
    *ret = (struct kw_batch){
        .data = p,
        .size = size,
        .base_offset = (int64_t)kb_get_be64(p + AT_BASE_OFFSET),
        .leader_epoch = (int32_t)kb_get_be32(p + AT_LEADER_EPOCH),
        .crc = kb_get_be32(p + AT_CRC),
        .attributes = (int16_t)kb_get_be16(p + AT_ATTRIBUTES),
        .last_offset_delta = (int32_t)kb_get_be32(p + AT_LAST_OFFSET_DELTA),
        .base_timestamp = (int64_t)kb_get_be64(p + AT_BASE_TIMESTAMP),
        .max_timestamp = (int64_t)kb_get_be64(p + AT_MAX_TIMESTAMP),
        .producer_id = (int64_t)kb_get_be64(p + AT_PRODUCER_ID),
        .producer_epoch = (int16_t)kb_get_be16(p + AT_PRODUCER_EPOCH),
        .base_sequence = (int32_t)kb_get_be32(p + AT_BASE_SEQUENCE),
        .record_count = (int32_t)kb_get_be32(p + AT_RECORD_COUNT),
    };
}

int kw_batch_parse(const void *data, size_t size, struct kw_batch *ret)
{
    const uint8_t *p = data;
    if (size < KW_BATCH_FRAME_BYTES)
        return KW_BATCH_PARTIAL;
    int64_t whole = kw_batch_size(p);
    if (whole < 0)
        return (int)whole;
    if (size > AT_MAGIC && p[AT_MAGIC] != MAGIC)
        return -KB_EUNSUPPORTED;
    if (size < (size_t)whole)
        return KW_BATCH_PARTIAL;
    struct kw_batch b;
    read_head(p, (size_t)whole, &b);
    if (b.base_offset < 0 || b.last_offset_delta < 0 || b.record_count < 0 ||
        b.base_offset > INT64_MAX - b.last_offset_delta)
        return -KB_ECORRUPT;
    *ret = b;
    return KW_BATCH_WHOLE;
}

bool kw_batch_crc_ok(const struct kw_batch *b)
{
    return kb_crc32c(0, b->data + AT_ATTRIBUTES, b->size - AT_ATTRIBUTES) == b->crc;
}

void kw_batch_set_offset(uint8_t *data, int64_t base_offset, int32_t leader_epoch)
{
    kb_put_be64(data + AT_BASE_OFFSET, (uint64_t)base_offset);
    kb_put_be32(data + AT_LEADER_EPOCH, (uint32_t)leader_epoch);
}

void kw_batch_set_max_timestamp(uint8_t *data, size_t size, bool append_time, int64_t timestamp)
{
    uint16_t old = kb_get_be16(data + AT_ATTRIBUTES);
    uint16_t attributes = (uint16_t)(old & ~KW_BATCH_APPEND_TIME);
    if (append_time)
        attributes |= KW_BATCH_APPEND_TIME;
    if (attributes == old && (int64_t)kb_get_be64(data + AT_MAX_TIMESTAMP) == timestamp)
        return;
    kb_put_be16(data + AT_ATTRIBUTES, attributes);
    kb_put_be64(data + AT_MAX_TIMESTAMP, (uint64_t)timestamp);
    kb_put_be32(data + AT_CRC, kb_crc32c(0, data + AT_ATTRIBUTES, size - AT_ATTRIBUTES));
}

void kw_batch_write_head(uint8_t *p, const struct kw_batch *b)
{
    kw_batch_set_offset(p, b->base_offset, b->leader_epoch);
    kb_put_be32(p + AT_LENGTH, (uint32_t)(b->size - KW_BATCH_FRAME_BYTES));
    p[AT_MAGIC] = MAGIC;
    kb_put_be16(p + AT_ATTRIBUTES, (uint16_t)b->attributes);
    kb_put_be32(p + AT_LAST_OFFSET_DELTA, (uint32_t)b->last_offset_delta);
    kb_put_be64(p + AT_BASE_TIMESTAMP, (uint64_t)b->base_timestamp);
    kb_put_be64(p + AT_MAX_TIMESTAMP, (uint64_t)b->max_timestamp);
    kb_put_be64(p + AT_PRODUCER_ID, (uint64_t)b->producer_id);
    kb_put_be16(p + AT_PRODUCER_EPOCH, (uint16_t)b->producer_epoch);
    kb_put_be32(p + AT_BASE_SEQUENCE, (uint32_t)b->base_sequence);
    kb_put_be32(p + AT_RECORD_COUNT, (uint32_t)b->record_count);
    kb_put_be32(p + AT_CRC, kb_crc32c(0, p + AT_ATTRIBUTES, b->size - AT_ATTRIBUTES));
}

void kw_batches_init(struct kw_batches *it, const void *data, size_t size)
{
    it->next = data;
    it->end = size > 0 ? it->next + size : it->next; /* nothing may come without a pointer */
}

int kw_batches_next(struct kw_batches *it, struct kw_batch *ret)
{
    if (it->next == it->end)
        return KW_BATCHES_END;
    int r = kw_batch_parse(it->next, (size_t)(it->end - it->next), ret);
    if (r < 0)
        return r;
    if (r == KW_BATCH_PARTIAL)
        return KW_BATCHES_PARTIAL;
    it->next += ret->size;
    return KW_BATCHES_ONE;
}

int kw_control_parse(const struct kw_record *record, struct kw_control *ret)
{
    struct kw_reader rd;
    kw_reader_init(&rd, record->key.data, (size_t)record->key.size);
    struct kw_control c = {.coordinator_epoch = -1};
    (void)kw_get_int16(&rd); /* version: later ones only add fields */
    c.type = kw_get_int16(&rd);
    if (kw_reader_ok(&rd) && (c.type == KW_CONTROL_ABORT || c.type == KW_CONTROL_COMMIT)) {
        kw_reader_init(&rd, record->value.data, (size_t)record->value.size);
        (void)kw_get_int16(&rd);
        c.coordinator_epoch = kw_get_int32(&rd);
    }
    if (!kw_reader_ok(&rd))
        return -KB_ECORRUPT;
    *ret = c;
    return 0;
}
