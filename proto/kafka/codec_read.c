#include "proto/kafka/codec.h"

#include "proto/base/assert.h"

void kw_reader_init(struct kw_reader *rd, const void *data, size_t size)
{
    static const uint8_t nothing[1];
    const uint8_t *start = data != NULL ? data : nothing;
    *rd = (struct kw_reader){.next = start, .end = start + size};
}

void kw_reader_fail(struct kw_reader *rd, int negative_error)
{
    KB_ASSERT(negative_error < 0);
    if (rd->error == 0)
        rd->error = negative_error;
    rd->next = rd->end;
}

int kw_reader_finish(struct kw_reader *rd)
{
    if (rd->error == 0 && rd->next != rd->end)
        kw_reader_fail(rd, -KB_EINVAL);
    return rd->error;
}

const uint8_t *kw_get_raw(struct kw_reader *rd, size_t size)
{
    if (rd->error != 0)
        return NULL;
    if (kw_reader_left(rd) < size) {
        kw_reader_fail(rd, -KB_EINVAL);
        return NULL;
    }
    const uint8_t *p = rd->next;
    rd->next += size;
    return p;
}

int8_t kw_get_int8(struct kw_reader *rd)
{
    const uint8_t *p = kw_get_raw(rd, 1);
    return p != NULL ? (int8_t)*p : 0;
}

bool kw_get_bool(struct kw_reader *rd)
{
    return kw_get_int8(rd) != 0;
}

uint16_t kw_get_uint16(struct kw_reader *rd)
{
    const uint8_t *p = kw_get_raw(rd, 2);
    return p != NULL ? kb_get_be16(p) : 0;
}

int16_t kw_get_int16(struct kw_reader *rd)
{
    return (int16_t)kw_get_uint16(rd);
}

int32_t kw_get_int32(struct kw_reader *rd)
{
    const uint8_t *p = kw_get_raw(rd, 4);
    return p != NULL ? (int32_t)kb_get_be32(p) : 0;
}

int64_t kw_get_int64(struct kw_reader *rd)
{
    const uint8_t *p = kw_get_raw(rd, 8);
    return p != NULL ? (int64_t)kb_get_be64(p) : 0;
}

double kw_get_float64(struct kw_reader *rd)
{
    int64_t bits = kw_get_int64(rd);
    double v = 0;
    memcpy(&v, &bits, sizeof(v));
    return v;
}

struct kb_uuid kw_get_uuid(struct kw_reader *rd)
{
    struct kb_uuid v = {{0}};
    const uint8_t *p = kw_get_raw(rd, sizeof(v.bytes));
    if (p != NULL)
        memcpy(v.bytes, p, sizeof(v.bytes));
    return v;
}

/* Seven bits a byte, lowest first; what does not fit bits_max fails the reader. */
static uint64_t get_base128(struct kw_reader *rd, unsigned bits_max)
{
    uint64_t v = 0;
    for (unsigned shift = 0; shift < bits_max; shift += 7) {
        const uint8_t *p = kw_get_raw(rd, 1);
        if (p == NULL)
            return 0;
        uint64_t part = *p & 0x7f;
        if (bits_max - shift < 7 && part >> (bits_max - shift) != 0)
            break;
        v |= part << shift;
        if ((*p & 0x80) == 0)
            return v;
    }
    kw_reader_fail(rd, -KB_EINVAL);
    return 0;
}

uint32_t kw_get_uvarint(struct kw_reader *rd)
{
    return (uint32_t)get_base128(rd, 32);
}

int32_t kw_get_varint(struct kw_reader *rd)
{
    uint32_t v = (uint32_t)get_base128(rd, 32);
    return (int32_t)((v >> 1) ^ (0U - (v & 1)));
}

int64_t kw_get_varlong(struct kw_reader *rd)
{
    uint64_t v = get_base128(rd, 64);
    return (int64_t)((v >> 1) ^ (UINT64_C(0) - (v & 1)));
}

/* The length or count in front of a value: -1 for null, which must be allowed. Never more than
 * the bytes left. */
static int32_t check_length(struct kw_reader *rd, int64_t length, bool nullable)
{
    if (rd->error != 0)
        return -1;
    if (length == -1 && nullable)
        return -1;
    if (length < 0 || (uint64_t)length > kw_reader_left(rd)) {
        kw_reader_fail(rd, -KB_EINVAL);
        return -1;
    }
    return (int32_t)length;
}

struct kw_str kw_get_str(struct kw_reader *rd, bool flexible, bool nullable)
{
    int64_t length = flexible ? (int64_t)kw_get_uvarint(rd) - 1 : kw_get_int16(rd);
    if (length > INT16_MAX)
        kw_reader_fail(rd, -KB_EINVAL);
    int32_t size = check_length(rd, length, nullable);
    if (size < 0)
        return kw_str_null();
    return (struct kw_str){(const char *)kw_get_raw(rd, (size_t)size), size};
}

struct kw_bytes kw_get_bytes(struct kw_reader *rd, bool flexible, bool nullable)
{
    int64_t length = flexible ? (int64_t)kw_get_uvarint(rd) - 1 : kw_get_int32(rd);
    int32_t size = check_length(rd, length, nullable);
    if (size < 0)
        return (struct kw_bytes){NULL, 0};
    return (struct kw_bytes){kw_get_raw(rd, (size_t)size), size};
}

int32_t kw_get_count(struct kw_reader *rd, bool flexible, bool nullable, size_t element_size_min)
{
    int64_t length = flexible ? (int64_t)kw_get_uvarint(rd) - 1 : kw_get_int32(rd);
    int32_t count = check_length(rd, length, nullable);
    if (count > 0 && (size_t)count > kw_reader_left(rd) / element_size_min) {
        kw_reader_fail(rd, -KB_EINVAL);
        return -1;
    }
    return count;
}

uint32_t kw_get_tag(struct kw_reader *rd, struct kw_reader *ret_field)
{
    uint32_t tag = kw_get_uvarint(rd);
    uint32_t size = kw_get_uvarint(rd);
    const uint8_t *p = kw_get_raw(rd, size);
    kw_reader_init(ret_field, p, p != NULL ? size : 0);
    ret_field->error = rd->error;
    return tag;
}

void kw_end_tag(struct kw_reader *rd, struct kw_reader *field)
{
    int r = kw_reader_finish(field);
    if (r < 0)
        kw_reader_fail(rd, r);
}

void kw_skip_tags(struct kw_reader *rd)
{
    uint32_t count = kw_get_uvarint(rd);
    for (uint32_t i = 0; i < count && kw_reader_ok(rd); i++) {
        struct kw_reader field;
        (void)kw_get_tag(rd, &field);
    }
}

void *kw_reader_alloc(struct kw_reader *rd, struct kb_arena *arena, int32_t count,
                      size_t element_size)
{
    if (count <= 0 || rd->error != 0)
        return NULL;
    void *p = kb_arena_calloc(arena, (size_t)count, element_size);
    if (p == NULL)
        kw_reader_fail(rd, -KB_ENOMEM);
    return p;
}
