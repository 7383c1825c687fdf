#ifndef SIM_HEAL_CHECK_H
#define SIM_HEAL_CHECK_H

#include <stdbool.h>
#include <stdint.h>

#include "tests/sim/sim_checks.h"

/* What has to happen when all faults have ended. R14: within 10 election timeouts there is a leader
 * of the quorum, and something that was not committed at the heal is. P21: every partition has its
 * leader and its whole ISR by SIM_HEAL_WHOLE_MS, and keeps them, but for a replica whose turned bit
 * is found only then: it has as long from there. */

/* Ten times the silence after which a voter stands, without what is drawn on top of it. */
#define SIM_HEAL_QUORUM_MS UINT64_C(10000)
#define SIM_HEAL_WHOLE_MS UINT64_C(10000)

struct sim_heal_check {
    struct sim_checks *checks; /* borrowed */
    uint64_t healed_us;        /* 0: not yet */
    uint64_t committed;        /* then */
    uint64_t found_us;         /* when a turned bit was found in what was whole; 0: none */
    bool judged_quorum, failed_whole, was_whole;
    uint64_t quorum_us; /* from the heal to leader and write; 0: not yet */
    uint64_t whole_us;  /* from the heal to when it was last made whole; 0: not yet */
};
/* The faults end now; committed: the highest index that any voter knows to be. */
void sim_heal_check_begin(struct sim_heal_check *h, struct sim_checks *checks, uint64_t now_us,
                          uint64_t committed);
/* After every event. leader: some voter leads. broken: the partition that is not whole, in words;
 * NULL = all are. Nothing before the heal. */
void sim_heal_check_step(struct sim_heal_check *h, uint64_t now_us, bool leader, uint64_t committed,
                         const char *broken);
/* A replica on a disk with a turned bit has just found it. Whatever is not whole yet is not
 * excused. */
void sim_heal_check_found(struct sim_heal_check *h, uint64_t now_us);
/* The run ends. */
void sim_heal_check_end(struct sim_heal_check *h, const char *broken);

#endif
