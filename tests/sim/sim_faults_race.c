#include "tests/sim/sim_faults_private.h"
#include "tests/sim/sim_net.h"

/* Faults that wait for a moment of the brokers' own, which chance alone hardly meets. */

#define POLL_US 300
#define LASTS_US 2500000

/* ---- who wants to join dies, and comes back, before the controller hears of the wish ----
 *
 * e->node is the replica, e->other a leader that is not the controller, e->mark the controller. The
 * replica leaves its ISRs by a restart. Once it is registered anew, what its leader sends to the
 * controller is held back; when the wish is under way, the replica dies once more. It returns at
 * once, with another epoch, or when the wish has arrived, so that it is still fenced then. */
enum { STEP_LEAVES, STEP_RETURNS, STEP_JOINS, STEP_DIED };

static void race_step(void *arg);

static void again(struct episode *e, uint64_t in_us)
{
    sim_world_after(e->faults->world, in_us, race_step, e);
}

/* Three that are not the same; false: it comes to nothing. */
static bool cast(struct episode *e)
{
    struct sim_cluster *c = e->faults->cluster;
    uint32_t nodes = sim_cluster_nodes(c);
    int32_t controller = sim_cluster_controller(c);
    if (controller < 0 || nodes < 3)
        return false;
    e->mark = (uint64_t)controller;
    while (e->node == e->mark)
        e->node = (e->node + 1) % nodes;
    while (e->other == e->mark || e->other == e->node)
        e->other = (e->other + 1) % nodes;
    return sim_cluster_env(c, e->node) != NULL && sim_cluster_env(c, e->other) != NULL;
}

static void leave(struct episode *e)
{
    if (!cast(e))
        return;
    sim_cluster_kill(e->faults->cluster, e->node, false);
    e->steps = STEP_RETURNS;
    again(e, sim_faults_draw(e->faults, 10000, 200000));
}

static void hold_back(struct episode *e)
{
    struct sim_cluster *c = e->faults->cluster;
    sim_cluster_start(c, e->node);
    if (sim_cluster_is_registered(c, e->node)) {
        e->start_us = sim_world_now_us(e->faults->world);
        e->duration_us = sim_faults_draw(e->faults, 400000, 1200000);
        sim_net_clog(sim_cluster_host(c, e->other), sim_cluster_host(c, (uint32_t)e->mark),
                     e->duration_us);
        e->steps = STEP_JOINS;
    }
    again(e, POLL_US);
}

static void die_in_between(struct episode *e)
{
    struct sim_cluster *c = e->faults->cluster;
    uint64_t until_us = e->start_us + e->duration_us, now_us = sim_world_now_us(e->faults->world);
    if (now_us >= until_us)
        return; /* nobody wished anything */
    if (!sim_cluster_proposes(c, e->other, e->node)) {
        again(e, POLL_US);
        return;
    }
    sim_faults_happened(e);
    sim_cluster_kill(c, e->node, e->power);
    e->steps = STEP_DIED;
    again(e, e->one_way ? until_us - now_us + 50000 : sim_faults_draw(e->faults, 1000, 50000));
}

static void race_step(void *arg)
{
    struct episode *e = arg;
    if (e->ended)
        return;
    if (e->steps == STEP_RETURNS)
        hold_back(e);
    else if (e->steps == STEP_JOINS)
        die_in_between(e);
    else if (e->steps == STEP_DIED)
        sim_cluster_start(e->faults->cluster, e->node);
}

bool sim_faults_race_begin(struct episode *e)
{
    if (e->fault != SIM_FAULT_JOIN_RACE)
        return false;
    e->duration_us = LASTS_US;
    leave(e);
    return true;
}

void sim_faults_race_end(struct episode *e)
{
    if (e->fault == SIM_FAULT_JOIN_RACE)
        sim_cluster_start(e->faults->cluster, e->node);
}
