#include "tests/sim/sim_disk.h"
#include "tests/sim/sim_faults_private.h"
#include "tests/sim/sim_net.h"

/* Faults by which a leader and a follower know of different epochs, or of different lives (P15).
 *
 * e->node is a follower, e->other a leader, e->mark the controller: three nodes. */

#define POLL_US 5000
#define LASTS_US 6000000

static void late_step(void *arg);

static void again(struct episode *e, uint64_t in_us)
{
    sim_world_after(e->faults->world, in_us, late_step, e);
}

/* Some node leads that is not the controller, and a third one may follow it. False: it comes to
 * nothing. */
static bool cast(struct episode *e)
{
    struct sim_cluster *c = e->faults->cluster;
    uint32_t count = sim_cluster_partitions(c), nodes = sim_cluster_nodes(c);
    int32_t controller = sim_cluster_controller(c), leader = -1;
    for (uint32_t n = 0; n < count && (leader < 0 || leader == controller); n++)
        leader = sim_cluster_leader(c, (e->other + n) % count);
    if (nodes < 3 || controller < 0 || leader < 0 || leader == controller)
        return false;
    e->mark = (uint64_t)controller;
    e->other = (uint32_t)leader;
    while (e->node == e->other || e->node == e->mark)
        e->node = (e->node + 1) % nodes;
    return sim_cluster_is_running(c, e->node) && sim_cluster_is_running(c, e->other);
}

/* ---- what a follower asked for arrives when its next life has registered ---- */

enum { LIFE_NONE, LIFE_ASKS, LIFE_DIED, LIFE_RETURNS };

static void begin_life(struct episode *e)
{
    sim_net_cut(sim_episode_host(e, e->node), sim_episode_host(e, e->other));
    e->steps = LIFE_ASKS;
    again(e, sim_faults_draw(e->faults, 20000, 300000));
}

static void life_step(struct episode *e)
{
    struct sim_cluster *c = e->faults->cluster;
    uint32_t us = 0;
    switch (e->steps) {
    case LIFE_ASKS: /* its requests are on their way, and wait */
        e->ends[0] = (int64_t)sim_cluster_broker_epoch(c, e->other, e->node);
        sim_cluster_kill(c, e->node, false);
        e->steps = LIFE_DIED;
        us = (uint32_t)sim_faults_draw(e->faults, 1000, 30000);
        break;
    case LIFE_DIED:
        sim_cluster_start(c, e->node);
        e->steps = LIFE_RETURNS;
        us = POLL_US;
        break;
    default:
        us = POLL_US;
        if ((int64_t)sim_cluster_broker_epoch(c, e->other, e->node) > e->ends[0]) {
            sim_faults_happened(e);
            sim_net_heal(sim_episode_host(e, e->node), sim_episode_host(e, e->other));
            us = 0;
        }
        break;
    }
    if (us > 0)
        again(e, us);
}

/* ---- a leader loses the lead and gets it back, and a follower hears nothing of that ---- */

enum { NEWS_NONE, NEWS_LEADS, NEWS_LOST, NEWS_BACK };

static struct sim_disk_settings *leaders_disk(const struct episode *e)
{
    return sim_disk_settings(sim_host_disk(sim_episode_host(e, e->other)));
}

/* It has no space, so that it hands over (9.3). */
static void begin_news(struct episode *e)
{
    struct sim_cluster *c = e->faults->cluster;
    e->steps = NEWS_LEADS;
    for (uint32_t p = 0; p < sim_cluster_partitions(c); p++)
        e->ends[p] = sim_cluster_leader(c, p) == (int32_t)e->other ? NEWS_LEADS : NEWS_BACK;
    sim_net_cut(sim_episode_host(e, (uint32_t)e->mark), sim_episode_host(e, e->node));
    leaders_disk(e)->capacity_bytes =
        sim_disk_used_bytes(sim_host_disk(sim_episode_host(e, e->other))) + 1;
    again(e, POLL_US);
}

static void news_step(struct episode *e)
{
    struct sim_cluster *c = e->faults->cluster;
    for (uint32_t p = 0; p < sim_cluster_partitions(c); p++) {
        bool leads = sim_cluster_leader(c, p) == (int32_t)e->other;
        if (e->ends[p] == NEWS_LEADS && !leads) {
            leaders_disk(e)->capacity_bytes = 0;
            e->ends[p] = NEWS_LOST;
        } else if (e->ends[p] == NEWS_LOST && leads) {
            e->ends[p] = NEWS_BACK;
            sim_faults_happened(e);
        }
    }
    again(e, POLL_US);
}

static void end_news(struct episode *e)
{
    leaders_disk(e)->capacity_bytes = 0;
    sim_net_heal(sim_episode_host(e, (uint32_t)e->mark), sim_episode_host(e, e->node));
}

/* ---- both ---- */

static void late_step(void *arg)
{
    struct episode *e = arg;
    if (e->ended)
        return;
    if (e->fault == SIM_FAULT_OLD_LIFE)
        life_step(e);
    else
        news_step(e);
}

bool sim_faults_late_begin(struct episode *e)
{
    if (e->fault != SIM_FAULT_OLD_LIFE && e->fault != SIM_FAULT_OLD_NEWS)
        return false;
    e->duration_us = LASTS_US;
    e->steps = LIFE_NONE;
    if (!cast(e))
        return true;
    if (e->fault == SIM_FAULT_OLD_LIFE)
        begin_life(e);
    else
        begin_news(e);
    return true;
}

void sim_faults_late_end(struct episode *e)
{
    bool late = e->fault == SIM_FAULT_OLD_LIFE || e->fault == SIM_FAULT_OLD_NEWS;
    if (!late || e->steps == 0)
        return;
    if (e->fault == SIM_FAULT_OLD_NEWS) {
        end_news(e);
        return;
    }
    sim_net_heal(sim_episode_host(e, e->node), sim_episode_host(e, e->other));
    sim_cluster_start(e->faults->cluster, e->node);
}
