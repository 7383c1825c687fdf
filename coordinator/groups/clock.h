#ifndef GROUP_CLOCK_H
#define GROUP_CLOCK_H

#include <stdint.h>

/* Wall time without jumps (invariant G8): starts at the wall clock's reading and then goes with the
 * monotonic one, drifting towards the wall clock by at most one part in a thousand. Offsets expire
 * by it, so that a wall clock set days ahead expires nothing. Zero-initialise to start. */
struct group_clock {
    int64_t clock_us;
    uint64_t mono_ms;
    int started;
};
/* The time now; never goes back. */
int64_t group_clock_read(struct group_clock *c, uint64_t mono_ms, int64_t wall_ms);

#endif
