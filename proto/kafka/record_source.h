#ifndef KW_RECORD_SOURCE_H
#define KW_RECORD_SOURCE_H

#include "proto/kafka/batch.h"

/* Private to this room: the plain bytes of a batch's records, one after the other, whether they
 * are compressed or not. Has a sticky error: -KB_EINVAL where the bytes end too early or a varint
 * is malformed, else what the decoder said. */

#define KW_SOURCE_BUFFER_BYTES 16384

struct kw_source {
    const uint8_t *next; /* bytes at hand */
    const uint8_t *end;
    uint64_t taken;             /* bytes given out so far, not counting those at hand */
    struct kw_decoder *decoder; /* NULL: all bytes are at hand */
    uint8_t *buffer;
    int error;
};
/* 0 or -KB_ENOMEM, -KB_EUNSUPPORTED. Borrows the batch. */
int kw_source_open(struct kw_source *s, const struct kw_batch *b, uint64_t output_bytes_max);
void kw_source_close(struct kw_source *s);
/* At least one byte at hand? Decodes more if needed. False at the end or after an error. */
bool kw_source_more(struct kw_source *s);
uint8_t kw_source_byte(struct kw_source *s);
void kw_source_skip_slow(struct kw_source *s, uint64_t size);
/* Up to bits_max bits, seven a byte; not zigzag. */
uint64_t kw_source_base128(struct kw_source *s, unsigned bits_max);

/* The common cases of one byte and of bytes at hand are inline: they run for each record. */
static inline void kw_source_skip(struct kw_source *s, uint64_t size)
{
    if ((uint64_t)(s->end - s->next) >= size)
        s->next += size;
    else
        kw_source_skip_slow(s, size);
}
static inline uint64_t kw_source_unsigned(struct kw_source *s, unsigned bits_max)
{
    if (s->next != s->end && *s->next < 0x80)
        return *s->next++;
    return kw_source_base128(s, bits_max);
}
static inline int32_t kw_source_varint(struct kw_source *s)
{
    uint32_t v = (uint32_t)kw_source_unsigned(s, 32);
    return (int32_t)((v >> 1) ^ (0U - (v & 1)));
}
static inline int64_t kw_source_varlong(struct kw_source *s)
{
    uint64_t v = kw_source_unsigned(s, 64);
    return (int64_t)((v >> 1) ^ (UINT64_C(0) - (v & 1)));
}
/* Bytes given out so far. */
static inline uint64_t kw_source_position(const struct kw_source *s)
{
    return s->taken - (uint64_t)(s->end - s->next);
}

/* Write the head of a batch over the 61 bytes at p; b->size bytes at p are the whole batch, whose
 * CRC is computed. */
void kw_batch_write_head(uint8_t *p, const struct kw_batch *b);

#endif
