#ifndef KB_PRNG_H
#define KB_PRNG_H

#include <stdint.h>

/* xoshiro256**: seeded, repeatable, not for secrets. */
struct kb_prng {
    uint64_t s[4];
};
void kb_prng_init(struct kb_prng *p, uint64_t seed);
uint64_t kb_prng_next(struct kb_prng *p);
/* Uniform in [0, bound); bound > 0. */
uint64_t kb_prng_below(struct kb_prng *p, uint64_t bound);
/* Uniform in [low, high], both included. */
uint64_t kb_prng_range(struct kb_prng *p, uint64_t low, uint64_t high);

#endif
