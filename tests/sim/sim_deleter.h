#ifndef SIM_DELETER_H
#define SIM_DELETER_H

#include "tests/sim/sim_client.h"
#include "tests/sim/sim_start_check.h"

/* A client that deletes records of some of the run's partitions while things go wrong: up to some
 * offset, up to the high watermark, at times beyond it, which must be refused; and asks where the
 * partitions begin. Its checker hears what was answered. */
struct sim_deleter;

struct sim_deleter_options {
    struct sim_client_options client;
    struct sim_start_check *starts; /* borrowed */
    uint64_t partitions;            /* whose records it deletes, as a mask */
    /* The highest high watermark of a partition; -1 not known. */
    int64_t (*high_watermark)(void *arg, uint32_t partition);
    /* The newest epoch of its leader. */
    int32_t (*newest_epoch)(void *arg, uint32_t partition);
    /* A call was answered with success: all that must be true at once. */
    void (*deleted)(void *arg, uint32_t partition);
    void *arg;
};
struct sim_deleter *sim_deleter_new(struct kb_env *env, const struct sim_deleter_options *options);
/* NULL accepted; returns NULL. */
struct sim_deleter *sim_deleter_free(struct sim_deleter *d);
/* No more calls. */
void sim_deleter_stop(struct sim_deleter *d);

#endif
