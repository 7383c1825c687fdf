/* Which partition of __consumer_offsets a group belongs to. */
#include "coordinator/groups/shard.h"

/* The next code point of UTF-8; a malformed byte reads as U+FFFD, as Java decodes it. */
static uint32_t next_code_point(const uint8_t **p, const uint8_t *end)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    uint8_t first = *(*p)++;
    if (first < 0x80)
        return first;
    int size = first >= 0xf0 && first < 0xf8 ? 4 : first >= 0xe0 ? 3 : first >= 0xc0 ? 2 : 0;
    if (size == 0 || first >= 0xf8 || end - *p < size - 1)
        return 0xfffd;
    uint32_t code = first & (0x7fU >> size);
    for (int i = 0; i < size - 1; i++) {
        if (((*p)[i] & 0xc0) != 0x80)
            return 0xfffd;
        code = code << 6 | ((*p)[i] & 0x3fU);
    }
    if (code < least[size] || code > 0x10ffff || (code >= 0xd800 && code < 0xe000))
        return 0xfffd;
    *p += size - 1;
    return code;
}

int32_t group_partition_for(struct kw_str group_id, int32_t partitions)
{
    const uint8_t *p = (const uint8_t *)group_id.data;
    const uint8_t *end = p + group_id.size;
    uint32_t hash = 0;
    while (p < end) {
        uint32_t code = next_code_point(&p, end);
        if (code >= 0x10000) {
            hash = hash * 31 + (0xd800 + ((code - 0x10000) >> 10));
            hash = hash * 31 + (0xdc00 + ((code - 0x10000) & 0x3ff));
        } else {
            hash = hash * 31 + code;
        }
    }
    if (hash == 0x80000000U)
        return 0;
    int32_t value = (int32_t)hash;
    return (value < 0 ? -value : value) % partitions;
}
