#include "proto/kafka/codec.h"

#include "proto/base/assert.h"
#include "proto/base/env.h"

#define BLOCK_BYTES_MIN 512
#define BLOCK_BYTES_MAX 65536

void kw_writer_init(struct kw_writer *w, struct kb_chain *chain)
{
    *w = (struct kw_writer){.chain = chain, .chain_count = chain->count};
}

void kw_writer_init_measure(struct kw_writer *w)
{
    *w = (struct kw_writer){0};
}

void kw_writer_fail(struct kw_writer *w, int negative_error)
{
    KB_ASSERT(negative_error < 0);
    if (w->error == 0)
        w->error = negative_error;
}

/* Move what was filled since the last flush into the chain. */
static void flush(struct kw_writer *w)
{
    if (w->block == NULL)
        return;
    kb_chain_add_block(w->chain, w->block, w->block_start, w->block->size - w->block_start);
    w->block_start = w->block->size;
}

/* Take back the slices this writer added. */
static void rewind_chain(struct kw_writer *w)
{
    struct kb_chain *c = w->chain;
    while (c->count > w->chain_count) {
        struct kb_slice *s = &c->slices[--c->count];
        c->size -= s->size;
        (void)kb_block_unref(s->block);
        (void)kb_file_unref(s->file);
    }
}

int kw_writer_finish(struct kw_writer *w)
{
    if (w->chain != NULL) {
        KB_ASSERT(w->frame == NULL || w->error != 0);
        flush(w);
        w->block = kb_block_unref(w->block);
        if (w->error != 0)
            rewind_chain(w);
    }
    return w->error;
}

/* size bytes in a row to be filled, or NULL when only counting. */
static uint8_t *reserve(struct kw_writer *w, size_t size)
{
    w->size += size;
    if (w->chain == NULL)
        return NULL;
    struct kb_block *b = w->block;
    if (b == NULL || b->capacity - b->size < size) {
        flush(w);
        size_t wanted = b != NULL ? (size_t)b->capacity * 2 : BLOCK_BYTES_MIN;
        if (wanted > BLOCK_BYTES_MAX)
            wanted = BLOCK_BYTES_MAX;
        if (wanted < size)
            wanted = size;
        (void)kb_block_unref(b);
        b = w->block = kb_block_new(wanted);
        w->block_start = 0;
    }
    uint8_t *p = b->data + b->size;
    b->size += (uint32_t)size;
    return p;
}

void kw_frame_begin(struct kw_writer *w)
{
    KB_ASSERT(w->frame == NULL);
    w->frame = reserve(w, 4);
    w->frame_start = w->size;
}

void kw_frame_end(struct kw_writer *w)
{
    KB_ASSERT(w->frame != NULL);
    uint64_t size = w->size - w->frame_start;
    if (size > INT32_MAX)
        kw_writer_fail(w, -KB_ETOOBIG);
    else
        kb_put_be32(w->frame, (uint32_t)size);
    w->frame = NULL;
}

void kw_put_raw(struct kw_writer *w, const void *data, size_t size)
{
    if (size == 0)
        return;
    uint8_t *p = reserve(w, size);
    if (p != NULL)
        memcpy(p, data, size);
}

void kw_put_int8(struct kw_writer *w, int8_t v)
{
    uint8_t *p = reserve(w, 1);
    if (p != NULL)
        *p = (uint8_t)v;
}

void kw_put_bool(struct kw_writer *w, bool v)
{
    kw_put_int8(w, v ? 1 : 0);
}

void kw_put_uint16(struct kw_writer *w, uint16_t v)
{
    uint8_t *p = reserve(w, 2);
    if (p != NULL)
        kb_put_be16(p, v);
}

void kw_put_int16(struct kw_writer *w, int16_t v)
{
    kw_put_uint16(w, (uint16_t)v);
}

void kw_put_int32(struct kw_writer *w, int32_t v)
{
    uint8_t *p = reserve(w, 4);
    if (p != NULL)
        kb_put_be32(p, (uint32_t)v);
}

void kw_put_int64(struct kw_writer *w, int64_t v)
{
    uint8_t *p = reserve(w, 8);
    if (p != NULL)
        kb_put_be64(p, (uint64_t)v);
}

void kw_put_float64(struct kw_writer *w, double v)
{
    int64_t bits = 0;
    memcpy(&bits, &v, sizeof(bits));
    kw_put_int64(w, bits);
}

void kw_put_uuid(struct kw_writer *w, const struct kb_uuid *v)
{
    kw_put_raw(w, v->bytes, sizeof(v->bytes));
}

static void put_base128(struct kw_writer *w, uint64_t v)
{
    uint8_t bytes[10];
    size_t size = 0;
    while (v > 0x7f) {
        bytes[size++] = (uint8_t)(v | 0x80);
        v >>= 7;
    }
    bytes[size++] = (uint8_t)v;
    kw_put_raw(w, bytes, size);
}

void kw_put_uvarint(struct kw_writer *w, uint32_t v)
{
    put_base128(w, v);
}

void kw_put_varint(struct kw_writer *w, int32_t v)
{
    put_base128(w, ((uint32_t)v << 1) ^ (uint32_t)(v >> 31));
}

void kw_put_varlong(struct kw_writer *w, int64_t v)
{
    put_base128(w, ((uint64_t)v << 1) ^ (uint64_t)(v >> 63));
}

void kw_put_str(struct kw_writer *w, bool flexible, bool nullable, struct kw_str v)
{
    bool null = v.data == NULL && nullable;
    if (v.size < 0 || v.size > INT16_MAX) {
        kw_writer_fail(w, -KB_ETOOBIG);
        return;
    }
    if (flexible)
        kw_put_uvarint(w, null ? 0 : (uint32_t)v.size + 1);
    else
        kw_put_int16(w, null ? -1 : (int16_t)v.size);
    if (v.data != NULL)
        kw_put_raw(w, v.data, (size_t)v.size);
}

/* The length in front of bytes; false and a failed writer when it does not fit. */
static bool put_length(struct kw_writer *w, bool flexible, bool null, uint64_t size)
{
    if (size > INT32_MAX) {
        kw_writer_fail(w, -KB_ETOOBIG);
        return false;
    }
    if (flexible)
        kw_put_uvarint(w, null ? 0 : (uint32_t)size + 1);
    else
        kw_put_int32(w, null ? -1 : (int32_t)size);
    return true;
}

void kw_put_bytes(struct kw_writer *w, bool flexible, bool nullable, struct kw_bytes v)
{
    KB_ASSERT(v.size >= 0);
    if (put_length(w, flexible, v.data == NULL && nullable, (uint64_t)v.size) && v.data != NULL)
        kw_put_raw(w, v.data, (size_t)v.size);
}

void kw_put_records(struct kw_writer *w, bool flexible, bool nullable, struct kw_bytes v,
                    const struct kb_chain *chain)
{
    if (chain == NULL) {
        kw_put_bytes(w, flexible, nullable, v);
        return;
    }
    if (!put_length(w, flexible, false, chain->size))
        return;
    w->size += chain->size;
    if (w->chain == NULL)
        return;
    flush(w);
    kb_chain_add_chain(w->chain, chain);
}

int32_t kw_put_count(struct kw_writer *w, bool flexible, bool nullable, int32_t count)
{
    bool null = count < 0 && nullable;
    int32_t n = count < 0 ? 0 : count;
    if (flexible)
        kw_put_uvarint(w, null ? 0 : (uint32_t)n + 1);
    else
        kw_put_int32(w, null ? -1 : n);
    return n;
}
