#ifndef SIM_RECOVERY_CHECK_H
#define SIM_RECOVERY_CHECK_H

#include "proto/base/env.h"
#include "tests/sim/sim_checks.h"
#include "tests/sim/sim_disk.h"

/* P20: the directory of a log, as a dying process or its host has left it, is copied to a world of
 * its own and recovered there twice. The second recovery must find and leave what the first did;
 * and neither may drop silently what is durable. */

enum sim_recovered_state {
    SIM_RECOVERED_WHOLE,
    SIM_RECOVERED_CUT,
    SIM_RECOVERED_DAMAGED,
    SIM_RECOVERED_MISSING,
};
struct sim_recovered {
    enum sim_recovered_state state;
    int64_t start, end;
    int32_t last_epoch;
    int64_t mark; /* durable mark that it went by: what is bad below it is damage */
};
/* Recover the log in dir; 0, or an error that ends it. */
typedef int sim_recover_fn(void *arg, struct kb_fs *fs, const char *dir, struct sim_recovered *ret);

/* Of node's disk, where no process runs. */
void sim_recovery_check(struct sim_checks *checks, uint32_t node, struct sim_disk *disk,
                        const char *dir, sim_recover_fn *fn, void *arg);
/* A process has recovered the log of a partition: it ends here; as it lay there durably, at `was`.
 * told: it says that it is not whole. */
void sim_recovery_check_opened(struct sim_checks *checks, uint32_t node, uint32_t partition,
                               int64_t was, int64_t end, bool told);

#endif
