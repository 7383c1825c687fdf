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

/* Up to where a process must find the log or say that it is not whole: end, where it ends durably.
 * The former life may have been killed between taking something off the log's end and syncing that:
 * an earlier image has it still, the next life does not see it (seed 4739). That is no loss when
 * the disk says durably what was being cut (rule 2.5): what is seen must reach that far. Nothing
 * is asked of a log that was beginning anew. Once a cut is synced, both images are the same again,
 * and a limit that is still there excuses nothing. */
int64_t sim_recovery_owed(struct sim_disk *disk, const char *dir, int64_t end);
/* Of node's disk, where no process runs. */
void sim_recovery_check(struct sim_checks *checks, uint32_t node, struct sim_disk *disk,
                        const char *dir, sim_recover_fn *fn, void *arg);
/* A process has recovered the log of a partition: it ends here; what was owed, at `was`.
 * told: it says that it is not whole. */
void sim_recovery_check_opened(struct sim_checks *checks, uint32_t node, uint32_t partition,
                               int64_t was, int64_t end, bool told);

#endif
