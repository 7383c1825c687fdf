#ifndef SIM_FAULTS_PRIVATE_H
#define SIM_FAULTS_PRIVATE_H

#include "proto/base/prng.h"
#include "tests/sim/sim_faults.h"

/* Insides of the faults: sim_faults.c plans and begins, sim_faults_net.c and sim_faults_disk.c do.
 */

#define EPISODES_MAX 24
#define EPISODE_ENDS_MAX 16

struct episode {
    struct sim_faults *faults;
    enum sim_fault fault;
    uint32_t node, other;
    uint64_t start_us, duration_us;
    bool one_way, power;
    bool begun, ended;
    uint32_t steps; /* left of a fault that repeats */
    uint64_t mark;  /* what a counter was when it began */
    struct sim_disk_copy *copy;
    int64_t ends[EPISODE_ENDS_MAX]; /* of partitions */
    uint32_t ends_count;
};

struct sim_faults {
    struct sim_world *world;
    struct sim_cluster *cluster;
    struct kb_prng prng;
    struct episode episodes[EPISODES_MAX];
    size_t count;
    uint32_t weights[SIM_FAULT_MAX_]; /* how often each is drawn in this run; 0 = off */
    uint64_t begun[SIM_FAULT_MAX_];
    uint32_t active; /* episodes under way */
    bool quiet;      /* none begins: a disk that went back in time catches up */
    bool healed;
};

static inline uint64_t sim_faults_draw(struct sim_faults *f, uint64_t min, uint64_t max)
{
    return kb_prng_range(&f->prng, min, max);
}

static inline struct sim_host *sim_episode_host(const struct episode *e, uint32_t node)
{
    return sim_cluster_host(e->faults->cluster, node);
}

/* One more of these has happened. */
static inline void sim_faults_happened(struct episode *e)
{
    e->faults->begun[e->fault]++;
}

/* Faults of the network; false: this one is none. */
bool sim_faults_net_begin(struct episode *e);
void sim_faults_net_end(struct episode *e);
/* Faults of disks; false: this one is none. */
bool sim_faults_disk_begin(struct episode *e);
void sim_faults_disk_end(struct episode *e);
/* What strikes at a moment of the brokers' own; false: this one is none. */
bool sim_faults_race_begin(struct episode *e);
void sim_faults_race_end(struct episode *e);
/* What comes too late; false: this one is none. */
bool sim_faults_late_begin(struct episode *e);
void sim_faults_late_end(struct episode *e);
/* Links as they are without faults. */
void sim_faults_good_links(struct sim_faults *f);

#endif
