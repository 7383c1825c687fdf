/* Murmur2, 32 bits, in the form of Kafka's Java client. */
#include "broker/cli/partitioner.h"

enum { MULTIPLIER = 0x5bd1e995, SHIFT = 24 };
#define SEED 0x9747b28cU

static uint32_t word_at(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

uint32_t cli_murmur2(const void *data, size_t size)
{
    const uint8_t *p = data;
    uint32_t h = SEED ^ (uint32_t)size;
    size_t left = size;
    for (; left >= 4; left -= 4, p += 4) {
        uint32_t k = word_at(p) * (uint32_t)MULTIPLIER;
        k = (k ^ (k >> SHIFT)) * (uint32_t)MULTIPLIER;
        h = h * (uint32_t)MULTIPLIER ^ k;
    }
    if (left == 3)
        h ^= (uint32_t)p[2] << 16;
    if (left >= 2)
        h ^= (uint32_t)p[1] << 8;
    if (left >= 1)
        h = (h ^ p[0]) * (uint32_t)MULTIPLIER;
    h = (h ^ (h >> 13)) * (uint32_t)MULTIPLIER;
    return h ^ (h >> 15);
}

int32_t cli_key_partition(const void *key, size_t size, int32_t count)
{
    return (int32_t)(cli_murmur2(key, size) & 0x7fffffffU) % count;
}
