#include "proto/kafka/batch.h"

#include <stdlib.h>

#include "proto/kafka/record_source.h"

#define SCRATCH_BYTES_MIN 1024

struct kw_records {
    struct kw_batch batch;
    struct kw_source source;
    int32_t records_left;
    uint8_t *scratch; /* one record, where the source comes in pieces */
    size_t scratch_capacity;
};

int kw_records_open(const struct kw_batch *b, uint64_t output_bytes_max, struct kw_records **ret)
{
    struct kw_records *it = calloc(1, sizeof(*it));
    if (it == NULL)
        return -KB_ENOMEM;
    int r = kw_source_open(&it->source, b, output_bytes_max);
    if (r < 0) {
        free(it);
        return r;
    }
    it->batch = *b;
    it->records_left = b->record_count;
    *ret = it;
    return 0;
}

struct kw_records *kw_records_close(struct kw_records *it)
{
    if (it == NULL)
        return NULL;
    kw_source_close(&it->source);
    free(it->scratch);
    free(it);
    return NULL;
}

/* Room for one more byte than size in scratch. Doubles, so a false length costs no more than the
 * bytes that really come. */
static int grow_scratch(struct kw_records *it, size_t size)
{
    if (it->scratch_capacity > size)
        return 0;
    size_t capacity = it->scratch_capacity != 0 ? it->scratch_capacity * 2 : SCRATCH_BYTES_MIN;
    uint8_t *scratch = realloc(it->scratch, capacity);
    if (scratch == NULL)
        return -KB_ENOMEM;
    it->scratch = scratch;
    it->scratch_capacity = capacity;
    return 0;
}

/* The next size bytes in a row: in place where they lie so, else copied to scratch. */
static int take_bytes(struct kw_records *it, size_t size, const uint8_t **ret)
{
    struct kw_source *s = &it->source;
    if ((size_t)(s->end - s->next) >= size) {
        *ret = s->next;
        s->next += size;
        return 0;
    }
    size_t filled = 0;
    while (filled < size) {
        int r = grow_scratch(it, filled);
        if (r < 0)
            return r;
        if (!kw_source_more(s))
            return s->error != 0 ? s->error : -KB_ECORRUPT;
        size_t part = (size_t)(s->end - s->next);
        if (part > size - filled)
            part = size - filled;
        if (part > it->scratch_capacity - filled)
            part = it->scratch_capacity - filled;
        memcpy(it->scratch + filled, s->next, part);
        s->next += part;
        filled += part;
    }
    *ret = it->scratch;
    return 0;
}

/* Varint size and that many bytes; -1 is null where allowed. */
static struct kw_bytes get_sized(struct kw_reader *rd, bool nullable)
{
    int32_t size = kw_get_varint(rd);
    if (size < 0) {
        if (size != -1 || !nullable)
            kw_reader_fail(rd, -KB_EINVAL);
        return (struct kw_bytes){NULL, 0};
    }
    const uint8_t *data = kw_get_raw(rd, (size_t)size);
    return (struct kw_bytes){data, data != NULL ? size : 0};
}

int kw_record_header_next(struct kw_reader *rd, struct kw_record_header *ret)
{
    struct kw_bytes key = get_sized(rd, false);
    ret->key = (struct kw_str){(const char *)key.data, key.size};
    ret->value = get_sized(rd, true);
    return rd->error;
}

static int64_t wrapping_add(int64_t a, int64_t b)
{
    return (int64_t)((uint64_t)a + (uint64_t)b);
}

/* One record without its length. */
static int parse_record(const struct kw_batch *b, const uint8_t *data, size_t size,
                        struct kw_record *ret)
{
    struct kw_reader rd;
    kw_reader_init(&rd, data, size);
    (void)kw_get_int8(&rd); /* attributes: unused */
    int64_t timestamp_delta = kw_get_varlong(&rd);
    ret->offset_delta = kw_get_varint(&rd);
    ret->key = get_sized(&rd, true);
    ret->value = get_sized(&rd, true);
    ret->header_count = kw_get_varint(&rd);
    ret->headers = (struct kw_bytes){rd.next, (int32_t)kw_reader_left(&rd)};
    if (ret->header_count < 0)
        return -KB_ECORRUPT;
    struct kw_record_header header;
    for (int32_t i = 0; i < ret->header_count && kw_reader_ok(&rd); i++)
        (void)kw_record_header_next(&rd, &header);
    if (kw_reader_finish(&rd) < 0)
        return -KB_ECORRUPT;
    ret->offset = wrapping_add(b->base_offset, ret->offset_delta);
    ret->timestamp = kw_batch_is(b, KW_BATCH_APPEND_TIME)
                         ? b->max_timestamp
                         : wrapping_add(b->base_timestamp, timestamp_delta);
    return 0;
}

int kw_records_next(struct kw_records *it, struct kw_record *ret)
{
    struct kw_source *s = &it->source;
    if (it->records_left == 0) {
        if (kw_source_more(s))
            return -KB_ECORRUPT;
        return s->error == -KB_EINVAL ? -KB_ECORRUPT : s->error;
    }
    int32_t size = kw_source_varint(s);
    if (s->error != 0)
        return s->error == -KB_EINVAL ? -KB_ECORRUPT : s->error;
    if (size < 0)
        return -KB_ECORRUPT;
    const uint8_t *data = NULL;
    int r = take_bytes(it, (size_t)size, &data);
    if (r < 0)
        return r;
    r = parse_record(&it->batch, data, (size_t)size, ret);
    if (r < 0)
        return r;
    it->records_left--;
    return 1;
}
