#include "tests/sim/sim_faults_private.h"
#include "tests/sim/sim_net.h"

/* Faults of the network. TCP neither repeats nor reorders the bytes of a connection: what comes
 * twice was sent again after a reset, what comes in another order came over two connections. */

static const struct sim_link_settings good_links = {.delay_us_min = 50, .delay_us_max = 400};

void sim_faults_good_links(struct sim_faults *f)
{
    sim_net_set_all(f->world, &good_links);
}

static void cut_one(struct sim_host *from, struct sim_host *to, bool both_ways)
{
    sim_net_cut(from, to);
    if (both_ways)
        sim_net_cut(to, from);
}

static void heal_pair(struct sim_host *a, struct sim_host *b)
{
    sim_net_heal(a, b);
    sim_net_heal(b, a);
}

static void cut_from_all(struct episode *e, bool clients_too)
{
    struct sim_world *w = e->faults->world;
    size_t last = clients_too ? sim_world_host_count(w) : sim_cluster_nodes(e->faults->cluster);
    for (size_t i = 0; i < last; i++) {
        if (sim_world_host(w, i) != sim_episode_host(e, e->node))
            cut_one(sim_episode_host(e, e->node), sim_world_host(w, i), !e->one_way);
    }
}

static void heal_all_of(struct episode *e)
{
    struct sim_world *w = e->faults->world;
    for (size_t i = 0; i < sim_world_host_count(w); i++)
        heal_pair(sim_episode_host(e, e->node), sim_world_host(w, i));
}

/* e->node reaches everybody; the others are two halves, e->mark says who is in which. */
static void bridge(struct episode *e, bool cut)
{
    uint32_t nodes = sim_cluster_nodes(e->faults->cluster);
    for (uint32_t a = 0; a < nodes; a++) {
        for (uint32_t b = a + 1; b < nodes; b++) {
            bool apart = ((e->mark >> a ^ e->mark >> b) & 1) != 0;
            if (a == e->node || b == e->node || !apart)
                continue;
            if (cut)
                cut_one(sim_episode_host(e, a), sim_episode_host(e, b), true);
            else
                heal_pair(sim_episode_host(e, a), sim_episode_host(e, b));
        }
    }
}

static void draw_halves(struct episode *e)
{
    uint32_t nodes = sim_cluster_nodes(e->faults->cluster);
    e->mark = sim_faults_draw(e->faults, 0, (UINT64_C(1) << nodes) - 1);
    e->mark |= UINT64_C(1) << ((e->node + 1) % nodes); /* both have a member */
    e->mark &= ~(UINT64_C(1) << ((e->node + 2) % nodes));
}

static void bad_links(struct episode *e)
{
    struct sim_link_settings s = good_links;
    struct sim_faults *f = e->faults;
    switch (e->fault) {
    case SIM_FAULT_LOSS:
        s.loss_ppm = (uint32_t)sim_faults_draw(f, 20000, 250000);
        s.reset_ppm = (uint32_t)sim_faults_draw(f, 0, 3000);
        break;
    case SIM_FAULT_REPEAT:
        s.reset_ppm = (uint32_t)sim_faults_draw(f, 3000, 40000);
        break;
    case SIM_FAULT_REORDER: /* up to beyond the grace of links and the session */
        s.skew_us_max = (uint32_t)sim_faults_draw(f, 20000, 2000000);
        break;
    default:
        s.delay_us_min = (uint32_t)sim_faults_draw(f, 1000, 40000);
        s.delay_us_max = s.delay_us_min + (uint32_t)sim_faults_draw(f, 0, 80000);
    }
    sim_net_set_all(f->world, &s);
}

/* Some of a node's links, each for a time of its own: they open again in any order. */
static void clog_links(struct episode *e)
{
    struct sim_faults *f = e->faults;
    for (size_t i = 0; i < sim_world_host_count(f->world); i++) {
        struct sim_host *node = sim_episode_host(e, e->node);
        struct sim_host *other = sim_world_host(f->world, i);
        if (other == node)
            continue;
        if (sim_faults_draw(f, 0, 2) != 0)
            sim_net_clog(node, other, sim_faults_draw(f, 10000, e->duration_us));
        if (!e->one_way && sim_faults_draw(f, 0, 2) != 0)
            sim_net_clog(other, node, sim_faults_draw(f, 10000, e->duration_us));
    }
}

bool sim_faults_net_begin(struct episode *e)
{
    switch (e->fault) {
    case SIM_FAULT_CUT:
        cut_one(sim_episode_host(e, e->node), sim_episode_host(e, e->other), !e->one_way);
        return true;
    case SIM_FAULT_BRIDGE:
        draw_halves(e);
        bridge(e, true);
        return true;
    case SIM_FAULT_ISOLATE:
    case SIM_FAULT_VANISH:
        cut_from_all(e, e->fault == SIM_FAULT_VANISH);
        return true;
    case SIM_FAULT_LOSS:
    case SIM_FAULT_DELAY:
    case SIM_FAULT_REPEAT:
    case SIM_FAULT_REORDER:
        bad_links(e);
        return true;
    case SIM_FAULT_CLOG:
        clog_links(e);
        return true;
    default:
        return false;
    }
}

void sim_faults_net_end(struct episode *e)
{
    switch (e->fault) {
    case SIM_FAULT_CUT:
        heal_pair(sim_episode_host(e, e->node), sim_episode_host(e, e->other));
        break;
    case SIM_FAULT_BRIDGE:
        bridge(e, false);
        break;
    case SIM_FAULT_ISOLATE:
    case SIM_FAULT_VANISH:
        heal_all_of(e);
        break;
    case SIM_FAULT_LOSS:
    case SIM_FAULT_DELAY:
    case SIM_FAULT_REPEAT:
    case SIM_FAULT_REORDER:
        sim_faults_good_links(e->faults);
        break;
    default: /* clogs end by themselves */
        break;
    }
}
