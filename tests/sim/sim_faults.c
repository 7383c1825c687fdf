#include "tests/sim/sim_faults.h"

#include <stdlib.h>

#include "proto/base/assert.h"
#include "proto/base/mem.h"
#include "tests/sim/sim_disk.h"
#include "tests/sim/sim_faults_private.h"
#include "tests/sim/sim_net.h"

#define LATER_US 200000

static const struct {
    const char *name;
    uint32_t weight; /* how often it is drawn, beside the others */
} faults[SIM_FAULT_MAX_] = {
    [SIM_FAULT_POWER] = {"power", 5},
    [SIM_FAULT_POWER_ALL] = {"power_all", 3},
    [SIM_FAULT_KILL] = {"kill", 3},
    [SIM_FAULT_KILL_ALL] = {"kill_all", 2},
    [SIM_FAULT_FILE_CALL] = {"file_call", 5},
    [SIM_FAULT_KILL_CHASE] = {"kill_chase", 2},
    [SIM_FAULT_FREEZE] = {"freeze", 3},
    [SIM_FAULT_CUT] = {"cut", 4},
    [SIM_FAULT_BRIDGE] = {"bridge", 2},
    [SIM_FAULT_ISOLATE] = {"isolate", 3},
    [SIM_FAULT_VANISH] = {"vanish", 2},
    [SIM_FAULT_LOSS] = {"loss", 3},
    [SIM_FAULT_DELAY] = {"delay", 2},
    [SIM_FAULT_REORDER] = {"reorder", 2},
    [SIM_FAULT_CLOG] = {"clog", 3},
    [SIM_FAULT_RESET] = {"reset", 3},
    [SIM_FAULT_REPEAT] = {"repeat", 2},
    [SIM_FAULT_HALF_OPEN] = {"half_open", 3},
    [SIM_FAULT_STALL] = {"stall", 2},
    [SIM_FAULT_CLOCK] = {"clock", 1},
    [SIM_FAULT_FULL] = {"full", 2},
    [SIM_FAULT_FULL_HARD] = {"full_no_reserve", 2},
    [SIM_FAULT_WRITE_EIO] = {"write_eio", 2},
    [SIM_FAULT_SYNC_EIO] = {"sync_eio", 2},
    [SIM_FAULT_DEATH] = {"disk_death", 2},
    [SIM_FAULT_WIPE] = {"wipe", 0},
    [SIM_FAULT_LOST] = {"disk_lost", 0},
    [SIM_FAULT_ROT] = {"bit_flip", 0},
    [SIM_FAULT_ROLLBACK] = {"rollback", 0},
    [SIM_FAULT_VOTE_ROT] = {"vote_flip", 0},
    [SIM_FAULT_RAFT_ROT] = {"raft_log_flip", 0},
    [SIM_FAULT_SNAPSHOT_ROT] = {"snapshot_flip", 0},
    [SIM_FAULT_IDENTITY_ROT] = {"identity_flip", 0},
    [SIM_FAULT_JOIN_RACE] = {"join_race", 3},
    [SIM_FAULT_OLD_LIFE] = {"old_life", 2},
    [SIM_FAULT_OLD_NEWS] = {"old_news", 2},
};

/* Counted by those who do it: it may come to nothing. */
static bool counts_itself(enum sim_fault fault)
{
    return fault >= SIM_FAULT_WIPE || fault == SIM_FAULT_WRITE_EIO || fault == SIM_FAULT_SYNC_EIO ||
           fault == SIM_FAULT_DEATH;
}

const char *sim_fault_name(enum sim_fault fault)
{
    return (unsigned)fault < SIM_FAULT_MAX_ ? faults[fault].name : "?";
}

/* ---- beginning and ending ---- */

static struct sim_host *any_host(struct episode *e)
{
    struct sim_world *w = e->faults->world;
    return sim_world_host(w, sim_faults_draw(e->faults, 0, sim_world_host_count(w) - 1));
}

static void on_repeat(void *arg);

/* One step of a fault that strikes several times. */
static void strike(struct episode *e)
{
    struct sim_cluster *c = e->faults->cluster;
    struct sim_world *w = e->faults->world;
    int32_t controller;
    if (e->ended || e->steps == 0)
        return;
    e->steps--;
    switch (e->fault) {
    case SIM_FAULT_KILL_ALL:
        sim_cluster_kill(c, e->steps, e->power);
        break;
    case SIM_FAULT_KILL_CHASE:
        controller = sim_cluster_controller(c);
        for (uint32_t i = 0; i < sim_cluster_nodes(c); i++)
            sim_cluster_start(c, i);
        if (controller >= 0)
            sim_cluster_kill(c, (uint32_t)controller, e->power);
        break;
    case SIM_FAULT_RESET:
        sim_net_reset(sim_episode_host(e, e->node), any_host(e));
        break;
    case SIM_FAULT_HALF_OPEN: /* at the one end or at the other */
        if (e->one_way)
            sim_net_half_open(any_host(e), sim_episode_host(e, e->node));
        else
            sim_net_half_open(sim_episode_host(e, e->node), any_host(e));
        break;
    default:
        KB_UNREACHABLE();
    }
    uint64_t gap_us = e->fault == SIM_FAULT_KILL_ALL ? sim_faults_draw(e->faults, 0, 40000)
                                                     : sim_faults_draw(e->faults, 100000, 900000);
    if (e->steps > 0)
        sim_world_after(w, gap_us, on_repeat, e);
}

static void on_repeat(void *arg)
{
    strike(arg);
}

/* By up to an hour; every third time by up to a minute, which is easily taken for no jump. */
static void jump_clock(struct episode *e)
{
    int64_t skew_ms = (int64_t)sim_faults_draw(e->faults, 0, 7200000) - 3600000;
    sim_host_set_clock_skew(sim_episode_host(e, e->node),
                            skew_ms % 3 == 0 ? skew_ms / 60 : skew_ms);
}

static void fault_begin(struct episode *e)
{
    struct sim_cluster *c = e->faults->cluster;
    struct sim_env *env = sim_cluster_env(c, e->node);
    if (sim_faults_net_begin(e) || sim_faults_disk_begin(e) || sim_faults_race_begin(e) ||
        sim_faults_late_begin(e))
        return;
    switch (e->fault) {
    case SIM_FAULT_POWER:
    case SIM_FAULT_KILL:
        sim_cluster_kill(c, e->node, e->fault != SIM_FAULT_KILL);
        break;
    case SIM_FAULT_POWER_ALL:
        for (uint32_t i = 0; i < sim_cluster_nodes(c); i++)
            sim_cluster_kill(c, i, true);
        break;
    case SIM_FAULT_FILE_CALL:
        if (env != NULL)
            sim_env_crash_after(env, sim_faults_draw(e->faults, 1, 60), e->power);
        break;
    case SIM_FAULT_KILL_ALL:
        e->steps = sim_cluster_nodes(c);
        strike(e);
        break;
    case SIM_FAULT_KILL_CHASE:
    case SIM_FAULT_RESET:
    case SIM_FAULT_HALF_OPEN:
        e->steps = (uint32_t)sim_faults_draw(e->faults, 2, 5);
        strike(e);
        break;
    case SIM_FAULT_FREEZE:
        if (env != NULL)
            sim_env_freeze(env);
        break;
    case SIM_FAULT_CLOCK:
        jump_clock(e);
        break;
    default:
        KB_UNREACHABLE();
    }
}

static void fault_end(struct episode *e)
{
    struct sim_cluster *c = e->faults->cluster;
    struct sim_env *env = sim_cluster_env(c, e->node);
    sim_faults_net_end(e);
    sim_faults_disk_end(e);
    sim_faults_race_end(e);
    sim_faults_late_end(e);
    switch (e->fault) {
    case SIM_FAULT_POWER:
    case SIM_FAULT_KILL:
        sim_cluster_start(c, e->node);
        break;
    case SIM_FAULT_FILE_CALL:
        if (env != NULL)
            sim_env_crash_after(env, 0, false);
        sim_cluster_start(c, e->node);
        break;
    case SIM_FAULT_POWER_ALL:
    case SIM_FAULT_KILL_ALL:
    case SIM_FAULT_KILL_CHASE: /* from a random one on */
        for (uint32_t i = 0; i < sim_cluster_nodes(c); i++)
            sim_cluster_start(c, (i + e->node) % sim_cluster_nodes(c));
        break;
    case SIM_FAULT_FREEZE:
        if (env != NULL)
            sim_env_thaw(env);
        break;
    case SIM_FAULT_CLOCK:
        sim_host_set_clock_skew(sim_episode_host(e, e->node), 0);
        break;
    default:
        break;
    }
}

static void end(struct episode *e)
{
    if (e->ended)
        return;
    e->ended = true;
    e->faults->active -= e->fault != SIM_FAULT_ROLLBACK;
    sim_world_note(e->faults->world, "end of %s at node %u", faults[e->fault].name, e->node + 1);
    fault_end(e);
}

static void on_end(void *arg)
{
    end(arg);
}

static void on_begin(void *arg)
{
    struct episode *e = arg;
    struct sim_faults *f = e->faults;
    if (f->healed)
        return;
    if (f->quiet) {
        sim_world_after(f->world, LATER_US, on_begin, e);
        return;
    }
    e->begun = true;
    if (!counts_itself(e->fault))
        sim_faults_happened(e);
    sim_world_note(f->world, "fault %s at node %u, other %u%s%s for %llu ms", faults[e->fault].name,
                   e->node + 1, e->other + 1, e->one_way ? ", one way" : "",
                   e->power ? ", power" : "", (unsigned long long)e->duration_us / 1000);
    fault_begin(e);
    if (e->fault == SIM_FAULT_ROLLBACK) /* it has a course of its own */
        return;
    f->active++;
    sim_world_after(f->world, e->duration_us, on_end, e);
}

/* ---- planning ---- */

/* Which faults this run has, and how often: each is off, as usual or often. A stream of its own. */
static void draw_weights(struct sim_faults *f)
{
    static const uint32_t factors[] = {0, 0, 1, 2, 6};
    struct kb_prng prng;
    kb_prng_init(&prng, sim_world_seed(f->world) * UINT64_C(0x9e3779b97f4a7c15));
    for (int i = 0; i < SIM_FAULT_MAX_; i++)
        f->weights[i] = faults[i].weight * factors[kb_prng_range(&prng, 0, 4)];
    f->weights[SIM_FAULT_KILL] += 1; /* never all off */
}

static enum sim_fault draw_fault(struct sim_faults *f)
{
    uint32_t total = 0;
    for (int i = 0; i < SIM_FAULT_MAX_; i++)
        total += f->weights[i];
    uint64_t at = sim_faults_draw(f, 0, total - 1);
    for (int i = 0; i < SIM_FAULT_MAX_; i++) {
        if (at < f->weights[i])
            return (enum sim_fault)i;
        at -= f->weights[i];
    }
    KB_UNREACHABLE();
}

/* What one disk loses in this run, if any does: each record that counts lies on two. Chance of its
 * own: the other faults of a seed stay what they are. */
static void plan_victim(struct sim_faults *f, uint64_t start_us, uint64_t end_us)
{
    static const enum sim_fault kinds[] = {
        SIM_FAULT_WIPE,     SIM_FAULT_WIPE,     SIM_FAULT_LOST,         SIM_FAULT_ROT,
        SIM_FAULT_ROT,      SIM_FAULT_ROT,      SIM_FAULT_ROLLBACK,     SIM_FAULT_ROLLBACK,
        SIM_FAULT_VOTE_ROT, SIM_FAULT_RAFT_ROT, SIM_FAULT_SNAPSHOT_ROT, SIM_FAULT_IDENTITY_ROT,
    };
    struct kb_prng prng;
    kb_prng_init(&prng, sim_world_seed(f->world));
    uint64_t kind = kb_prng_range(&prng, 0, 15);
    if (kind >= sizeof(kinds) / sizeof(kinds[0]) || f->count == EPISODES_MAX)
        return;
    struct episode *e = &f->episodes[f->count++];
    *e = (struct episode){.faults = f, .fault = kinds[kind]};
    e->start_us = kb_prng_range(&prng, start_us, end_us - 2000000);
    e->duration_us = kb_prng_range(&prng, 100000, 1900000);
    if (e->fault == SIM_FAULT_ROLLBACK) { /* behind what every run must have */
        uint64_t middle_us = (start_us + end_us) / 2;
        e->start_us = kb_prng_range(&prng, start_us, middle_us);
        e->duration_us = middle_us - e->start_us + kb_prng_range(&prng, 0, middle_us / 4);
    }
    if (e->fault == SIM_FAULT_SNAPSHOT_ROT) /* when there is one */
        e->start_us = kb_prng_range(&prng, end_us - end_us / 3, end_us - 2000000);
    bool of_voter = e->fault >= SIM_FAULT_VOTE_ROT;
    e->node = (uint32_t)kb_prng_range(
        &prng, 0, (of_voter ? sim_cluster_voters(f->cluster) : sim_cluster_nodes(f->cluster)) - 1);
    sim_world_after(f->world, e->start_us, on_begin, e);
}

static void plan(struct sim_faults *f, enum sim_fault fault, uint64_t start_us, uint64_t end_us)
{
    struct episode *e = &f->episodes[f->count++];
    uint32_t nodes = sim_cluster_nodes(f->cluster);
    uint64_t longest = end_us - start_us;
    uint64_t cap = sim_faults_draw(f, 0, 3) == 0 ? 5000000
                                                 : 1500000; /* mostly short, at times long */
    *e = (struct episode){.faults = f, .fault = fault, .start_us = start_us};
    e->node = (uint32_t)sim_faults_draw(f, 0, nodes - 1);
    e->other = (e->node + (uint32_t)sim_faults_draw(f, 1, nodes > 1 ? nodes - 1 : 1)) % nodes;
    e->one_way = sim_faults_draw(f, 0, 2) == 0;
    e->power = sim_faults_draw(f, 0, 1) == 0;
    e->duration_us = sim_faults_draw(f, 20000, longest < cap ? longest : cap);
    sim_world_after(f->world, start_us, on_begin, e);
}

struct sim_faults *sim_faults_new(struct sim_world *w, struct sim_cluster *c, uint64_t start_ms,
                                  uint64_t end_ms)
{
    struct sim_faults *f = kb_new(struct sim_faults);
    f->world = w;
    f->cluster = c;
    kb_prng_init(&f->prng, kb_prng_next(sim_world_prng(w)));
    draw_weights(f);
    uint64_t start_us = start_ms * 1000, end_us = end_ms * 1000 - 100000;
    /* The three that every run must have come somewhere in the first half. */
    enum sim_fault must[] = {SIM_FAULT_POWER,
                             sim_faults_draw(f, 0, 1) == 0 ? SIM_FAULT_CUT : SIM_FAULT_ISOLATE,
                             sim_faults_draw(f, 0, 1) == 0 ? SIM_FAULT_LOSS : SIM_FAULT_DELAY};
    for (size_t i = 0; i < 3; i++)
        plan(f, must[i], sim_faults_draw(f, start_us, (start_us + end_us) / 2), end_us);
    uint64_t at = start_us + sim_faults_draw(f, 0, 2000000);
    while (at + 100000 < end_us && f->count < EPISODES_MAX) {
        plan(f, draw_fault(f), at, end_us);
        at += sim_faults_draw(f, 200000, 3500000);
    }
    plan_victim(f, start_us, end_us);
    return f;
}

void sim_faults_heal(struct sim_faults *f)
{
    f->healed = true;
    for (size_t i = 0; i < f->count; i++) {
        if (f->episodes[i].begun)
            end(&f->episodes[i]);
    }
    sim_faults_good_links(f);
    sim_net_heal_all(f->world);
    for (uint32_t i = 0; i < sim_cluster_nodes(f->cluster); i++) {
        struct sim_env *env = sim_cluster_env(f->cluster, i);
        if (env != NULL) {
            sim_env_crash_after(env, 0, false);
            sim_env_thaw(env);
        }
        sim_cluster_start(f->cluster, i);
    }
}

struct sim_faults *sim_faults_free(struct sim_faults *f)
{
    free(f);
    return NULL;
}

uint64_t sim_faults_count(const struct sim_faults *f, enum sim_fault fault)
{
    return f->begun[fault];
}

uint64_t sim_faults_total(const struct sim_faults *f)
{
    uint64_t total = 0;
    for (int i = 0; i < SIM_FAULT_MAX_; i++)
        total += f->begun[i];
    return total;
}
