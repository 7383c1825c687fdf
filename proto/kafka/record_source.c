#include "proto/kafka/record_source.h"

#include <stdlib.h>

int kw_source_open(struct kw_source *s, const struct kw_batch *b, uint64_t output_bytes_max)
{
    const uint8_t *payload = b->data + KW_BATCH_HEAD_BYTES;
    size_t size = b->size - KW_BATCH_HEAD_BYTES;
    *s = (struct kw_source){0};
    if (kw_batch_codec(b) == KW_CODEC_NONE || size == 0) {
        s->next = payload;
        s->end = payload + size;
        s->taken = size;
        return 0;
    }
    s->buffer = malloc(KW_SOURCE_BUFFER_BYTES);
    if (s->buffer == NULL)
        return -KB_ENOMEM;
    s->next = s->end = s->buffer;
    int r = kw_decoder_new(kw_batch_codec(b), payload, size, output_bytes_max, &s->decoder);
    if (r < 0)
        kw_source_close(s);
    return r;
}

void kw_source_close(struct kw_source *s)
{
    s->decoder = kw_decoder_free(s->decoder);
    free(s->buffer);
    *s = (struct kw_source){0};
}

static void fail(struct kw_source *s, int negative_error)
{
    if (s->error == 0)
        s->error = negative_error;
    s->taken -= (uint64_t)(s->end - s->next);
    s->next = s->end;
}

bool kw_source_more(struct kw_source *s)
{
    if (s->next != s->end)
        return true;
    if (s->decoder == NULL || s->error != 0)
        return false;
    size_t size = 0;
    int r = kw_decoder_read(s->decoder, s->buffer, KW_SOURCE_BUFFER_BYTES, &size);
    if (r < 0) {
        fail(s, r);
        return false;
    }
    s->next = s->buffer;
    s->end = s->buffer + size;
    s->taken += size;
    return size != 0;
}

uint8_t kw_source_byte(struct kw_source *s)
{
    if (!kw_source_more(s)) {
        fail(s, -KB_EINVAL);
        return 0;
    }
    return *s->next++;
}

void kw_source_skip_slow(struct kw_source *s, uint64_t size)
{
    while (size > 0) {
        if (!kw_source_more(s)) {
            fail(s, -KB_EINVAL);
            return;
        }
        uint64_t part = (uint64_t)(s->end - s->next);
        if (part > size)
            part = size;
        s->next += part;
        size -= part;
    }
}

uint64_t kw_source_base128(struct kw_source *s, unsigned bits_max)
{
    uint64_t v = 0;
    for (unsigned shift = 0; shift < bits_max; shift += 7) {
        uint8_t byte = s->next != s->end ? *s->next++ : kw_source_byte(s);
        uint64_t part = byte & 0x7f;
        if (bits_max - shift < 7 && part >> (bits_max - shift) != 0)
            break;
        v |= part << shift;
        if ((byte & 0x80) == 0)
            return v;
    }
    fail(s, -KB_EINVAL);
    return 0;
}
