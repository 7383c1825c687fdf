#include "coordinator/groups/clock.h"

#include "proto/base/mutant.h"

int64_t group_clock_read(struct group_clock *c, uint64_t mono_ms, int64_t wall_ms)
{
    if (!c->started || KB_MUTANT("expiry-by-wall-clock")) {
        *c = (struct group_clock){.clock_us = wall_ms * 1000, .mono_ms = mono_ms, .started = 1};
        return wall_ms;
    }
    if (mono_ms > c->mono_ms) {
        int64_t elapsed_ms = (int64_t)(mono_ms - c->mono_ms);
        int64_t off_us = wall_ms * 1000 - (c->clock_us + elapsed_ms * 1000);
        int64_t drift_us = elapsed_ms; /* one part in a thousand */
        c->clock_us += elapsed_ms * 1000;
        c->clock_us += off_us > drift_us ? drift_us : off_us < -drift_us ? -drift_us : off_us;
        c->mono_ms = mono_ms;
    }
    return c->clock_us / 1000;
}
