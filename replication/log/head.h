#ifndef LOG_HEAD_H
#define LOG_HEAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/bytes.h"
#include "proto/base/crc32c.h"

/* What the log needs of a record batch's 61-byte head (magic 2):
 *
 *   0 base offset 8 | 8 length 4 | 12 leader epoch 4 | 16 magic 1 | 17 crc 4 | 21 attributes 2
 *   23 last offset delta 4 | 27 base timestamp 8 | 35 max timestamp 8 | 43 producer … 57 count 4
 */
enum { LOG_HEAD_SIZE = 61, LOG_HEAD_BEFORE_LENGTH = 12, LOG_HEAD_CRC_FROM = 21 };
/* No request is larger (socket.request.max.bytes), so no batch: a bound for lengths from disk. */
#define LOG_BATCH_BYTES_MAX (128u << 20)

struct log_head {
    int64_t base_offset;
    int64_t last_offset;
    uint32_t size; /* of the whole batch */
    int32_t epoch;
    uint32_t crc;
    uint32_t record_count;
    uint16_t attributes;
    int64_t base_timestamp;
    int64_t max_timestamp;
    int64_t producer_id;
};

/* False when the bytes cannot be a batch's head; `available` bytes are there. */
static inline bool log_head_parse(const uint8_t *p, size_t available, struct log_head *ret)
{
    if (available < LOG_HEAD_SIZE || p[16] != 2)
        return false;
    int64_t base = (int64_t)kb_get_be64(p);
    uint32_t length = kb_get_be32(p + 8);
    int32_t delta = (int32_t)kb_get_be32(p + 23);
    if (base < 0 || delta < 0 || base > INT64_MAX - delta - 1 ||
        length < LOG_HEAD_SIZE - LOG_HEAD_BEFORE_LENGTH || length > LOG_BATCH_BYTES_MAX)
        return false;
    *ret = (struct log_head){
        .base_offset = base,
        .last_offset = base + delta,
        .size = length + LOG_HEAD_BEFORE_LENGTH,
        .epoch = (int32_t)kb_get_be32(p + 12),
        .crc = kb_get_be32(p + 17),
        .record_count = kb_get_be32(p + 57),
        .attributes = kb_get_be16(p + 21),
        .base_timestamp = (int64_t)kb_get_be64(p + 27),
        .max_timestamp = (int64_t)kb_get_be64(p + 35),
        .producer_id = (int64_t)kb_get_be64(p + 43),
    };
    return true;
}

/* The whole batch is at p. */
static inline bool log_head_crc_holds(const struct log_head *h, const uint8_t *p)
{
    return kb_crc32c(0, p + LOG_HEAD_CRC_FROM, h->size - LOG_HEAD_CRC_FROM) == h->crc;
}

#endif
