#include "proto/base/prng.h"

#include "proto/base/assert.h"

static uint64_t rotate(uint64_t x, int k)
{
    return (x << k) | (x >> (64 - k));
}

/* Seeds the state with splitmix64, as the authors of xoshiro advise. */
void kb_prng_init(struct kb_prng *p, uint64_t seed)
{
    for (int i = 0; i < 4; i++) {
        seed += 0x9e3779b97f4a7c15ULL;
        uint64_t z = seed;
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
        z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
        p->s[i] = z ^ (z >> 31);
    }
}

uint64_t kb_prng_next(struct kb_prng *p)
{
    uint64_t result = rotate(p->s[1] * 5, 7) * 9;
    uint64_t t = p->s[1] << 17;
    p->s[2] ^= p->s[0];
    p->s[3] ^= p->s[1];
    p->s[1] ^= p->s[2];
    p->s[0] ^= p->s[3];
    p->s[2] ^= t;
    p->s[3] = rotate(p->s[3], 45);
    return result;
}

uint64_t kb_prng_below(struct kb_prng *p, uint64_t bound)
{
    KB_ASSERT(bound > 0);
    uint64_t threshold = -bound % bound; /* rejects the biased low part */
    for (;;) {
        uint64_t r = kb_prng_next(p);
        if (r >= threshold)
            return r % bound;
    }
}

uint64_t kb_prng_range(struct kb_prng *p, uint64_t low, uint64_t high)
{
    KB_ASSERT(low <= high);
    if (low == 0 && high == UINT64_MAX)
        return kb_prng_next(p);
    return low + kb_prng_below(p, high - low + 1);
}
