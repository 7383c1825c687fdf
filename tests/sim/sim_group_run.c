#include "tests/sim/sim_group_run.h"

#include <stdlib.h>
#include <string.h>

#include "proto/base/assert.h"
#include "proto/base/mem.h"
#include "tests/sim/sim_env.h"
#include "tests/sim/sim_group_log.h"
#include "tests/sim/sim_group_member.h"
#include "tests/sim/sim_group_outsider.h"
#include "tests/sim/sim_probe.h"

#define GROUPS_EVERY 3 /* seeds */
#define TICK_US 200000
#define LOG_EVERY 2 /* ticks */
#define SLOTS 5
#define COMMITS_MIN 40
#define GENERATIONS_MIN 6
#define PROBE_STEP_MS 100
#define HEARD_STEP_MS 20
#define EXPIRY_EVERY 3 /* runs with groups */
#define EXPIRY_MS 8000
#define EXPIRED_MS 3000 /* the coordinator looks each second, and one may just have begun */
#define PROBE_LIMIT_MS 15000
#define CLOCK_JUMP_MS INT64_C(2592000000) /* 30 days */

enum { GROUP_MIXED, GROUP_PLAIN, GROUP_MEMBERLESS, GROUP_COUNT, GROUP_CONSUMING = 2 };
static const char *const group_ids[GROUP_COUNT] = {"mixed", "plain", "memberless"};

/* A member's place, with whoever is there now. */
struct slot {
    uint32_t group, number;
    const char *instance; /* NULL: dynamic */
    struct sim_host *host, *spare;
    struct sim_host *at; /* where the present member lives */
    struct sim_env *env; /* NULL while it is down */
    struct sim_member *member;
    struct sim_env *old_env; /* frozen, then replaced by another with its instance id */
    struct sim_member *old_member;
    uint32_t session_ms, rebalance_ms;
    uint64_t until_us; /* frozen or down until then; 0: neither */
    bool left;
};

struct sim_groups {
    struct sim_world *world;
    struct sim_groups_options options;
    struct kb_prng prng;
    struct sim_group_check *check;
    struct sim_group_offsets *offsets;
    struct sim_group_log *log;
    struct sim_env *outside;
    struct sim_outsider *outsider;
    struct slot slots[SLOTS];
    bool coordinates[SIM_CLUSTER_NODES_MAX];
    bool started, healed, ended;
    uint64_t healed_us;
    uint64_t ticks, troubles;
};

uint64_t sim_groups_retention_ms(uint64_t seed)
{
    return sim_groups_wanted(seed) && seed / GROUPS_EVERY % EXPIRY_EVERY == 0 ? EXPIRY_MS : 0;
}

bool sim_groups_wanted(uint64_t seed)
{
    return seed % GROUPS_EVERY == 1;
}

static uint64_t now_us(const struct sim_groups *g)
{
    return sim_world_now_us(g->world);
}

static uint64_t draw(struct sim_groups *g, uint64_t low, uint64_t high)
{
    return kb_prng_range(&g->prng, low, high);
}

/* ---- members come and go ---- */

static struct sim_member *new_member(struct sim_groups *g, const struct slot *s,
                                     struct sim_env *env)
{
    struct sim_member_options o = {.client = g->options.client,
                                   .checks = g->options.checks,
                                   .check = g->check,
                                   .offsets = g->offsets,
                                   .group = s->group,
                                   .group_id = group_ids[s->group],
                                   .instance = s->instance,
                                   .statics = s->group == GROUP_MIXED,
                                   .number = 100 + s->number,
                                   .session_ms = s->session_ms,
                                   .rebalance_ms = s->rebalance_ms};
    return sim_member_new(sim_env_kb(env), &o);
}

static void slot_start(struct sim_groups *g, struct slot *s)
{
    KB_ASSERT(s->env == NULL);
    s->env = sim_host_start(s->at);
    s->member = new_member(g, s, s->env);
    s->until_us = 0;
    s->left = false;
}

static void end_life(struct sim_env **env, struct sim_member **member, bool power)
{
    if (*env == NULL)
        return;
    if (power)
        sim_env_power_cut(*env);
    else
        sim_env_kill(*env);
    *member = sim_member_free(*member);
    *env = sim_env_free(*env);
}

/* A replaced process ends, and its host is the spare one. */
static void old_end(struct slot *s)
{
    if (s->old_env == NULL)
        return;
    end_life(&s->old_env, &s->old_member, false);
}

/* The frozen process stays; another one with its instance id starts elsewhere. */
static void duplicate(struct sim_groups *g, struct slot *s)
{
    if (s->old_env != NULL)
        return;
    s->old_env = s->env;
    s->old_member = s->member;
    s->env = NULL;
    s->member = NULL;
    s->at = s->at == s->host ? s->spare : s->host;
    slot_start(g, s);
}

static void trouble(struct sim_groups *g, struct slot *s)
{
    uint64_t dice = draw(g, 0, 9);
    uint64_t ms = draw(g, 0, 2) == 0 ? draw(g, s->session_ms, 2 * (uint64_t)s->session_ms)
                                     : draw(g, 50, s->session_ms);
    g->troubles++;
    s->until_us = now_us(g) + ms * 1000;
    if (dice < 4) {
        sim_world_note(g->world, "member %u %s for %llu ms", s->number + 100,
                       dice == 0 ? "loses power" : "is killed", (unsigned long long)ms);
        end_life(&s->env, &s->member, dice == 0);
    } else if (dice < 7) {
        sim_world_note(g->world, "member %u is frozen for %llu ms", s->number + 100,
                       (unsigned long long)ms);
        sim_env_freeze(s->env);
    } else if (s->instance == NULL) {
        sim_world_note(g->world, "member %u leaves for %llu ms", s->number + 100,
                       (unsigned long long)ms);
        sim_member_leave(s->member);
        s->left = true;
    } else {
        sim_world_note(g->world, "member %u is frozen and replaced", s->number + 100);
        sim_env_freeze(s->env);
        duplicate(g, s);
        s->until_us = s->old_env != NULL ? 0 : s->until_us;
    }
}

/* The trouble is over. */
static void recover(struct sim_groups *g, struct slot *s)
{
    if (s->left && s->env != NULL)
        end_life(&s->env, &s->member, false);
    if (s->env == NULL)
        slot_start(g, s);
    sim_env_thaw(s->env);
    s->until_us = 0;
}

/* Where offsets expire soon a group keeps a member, or its own expire, too. */
static bool may_be_troubled(const struct sim_groups *g, const struct slot *s)
{
    bool others = false;
    if (sim_groups_retention_ms(sim_world_seed(g->world)) == 0)
        return true;
    for (size_t i = 0; i < SLOTS; i++)
        others = others ||
                 (&g->slots[i] != s && g->slots[i].group == s->group && g->slots[i].until_us == 0);
    return others;
}

static void slot_tick(struct sim_groups *g, struct slot *s)
{
    if (s->old_env != NULL && draw(g, 0, 9) == 0)
        sim_env_thaw(s->old_env); /* it goes on as if nothing had happened */
    if (s->old_env != NULL && sim_member_is_out(s->old_member))
        old_end(s);
    if (s->until_us != 0) {
        if (now_us(g) >= s->until_us)
            recover(g, s);
    } else if (sim_member_is_out(s->member)) {
        end_life(&s->env, &s->member, false); /* fenced by a late request of its own instance */
        slot_start(g, s);
    } else if (!g->healed && draw(g, 0, 24) == 0 && may_be_troubled(g, s)) {
        trouble(g, s);
    }
}

static void on_tick(void *arg)
{
    struct sim_groups *g = arg;
    if (g->ended)
        return;
    sim_world_after(g->world, TICK_US, on_tick, g);
    for (size_t i = 0; i < SLOTS && g->started; i++)
        slot_tick(g, &g->slots[i]);
    if (++g->ticks % LOG_EVERY == 0) {
        sim_group_offsets_clock(g->offsets, now_us(g), sim_world_wall_ms(g->world));
        sim_group_log_read(g->log);
    }
}

/* ---- coordinators ---- */

static void on_node_event(void *arg, uint32_t node)
{
    struct sim_groups *g = arg;
    const struct node *n = sim_cluster_node(g->options.cluster, node);
    struct sim_env *env = sim_cluster_env(g->options.cluster, node);
    bool up = n != NULL && env != NULL && !sim_env_is_down(env);
    bool coordinates = up && sim_probe_coordinates(n, 0);
    if (coordinates == g->coordinates[node])
        return;
    g->coordinates[node] = coordinates;
    sim_world_note(g->world, "node %u %s", node + 1, coordinates ? "coordinates" : "resigns");
    if (coordinates)
        sim_check(g->options.checks, SIM_CHECK_G2, sim_probe_may_coordinate(n, 0),
                  "node %u coordinates before it leads, or before its epoch is committed",
                  node + 1);
    sim_group_check_coordinator(g->check, (int32_t)node + 1, coordinates, now_us(g));
}

/* ---- life ---- */

static void make_slots(struct sim_groups *g)
{
    static const struct {
        uint32_t group;
        const char *instance;
    } kinds[SLOTS] = {{GROUP_MIXED, NULL},
                      {GROUP_MIXED, "east"},
                      {GROUP_MIXED, "west"},
                      {GROUP_PLAIN, NULL},
                      {GROUP_PLAIN, NULL}};
    for (uint32_t i = 0; i < SLOTS; i++) {
        struct slot *s = &g->slots[i];
        char name[32];
        *s = (struct slot){.group = kinds[i].group, .number = i, .instance = kinds[i].instance};
        (void)snprintf(name, sizeof(name), "member%u", i);
        s->host = s->at = sim_world_add_host(g->world, name);
        if (s->instance != NULL) {
            (void)snprintf(name, sizeof(name), "spare%u", i);
            s->spare = sim_world_add_host(g->world, name);
        }
        s->session_ms = (uint32_t)draw(g, 800, 2000);
        s->rebalance_ms = (uint32_t)draw(g, 2000, 3000);
    }
}

struct sim_groups *sim_groups_new(struct sim_world *w, const struct sim_groups_options *options)
{
    struct sim_groups *g = kb_new(struct sim_groups);
    g->world = w;
    g->options = *options;
    kb_prng_init(&g->prng, sim_world_seed(w) ^ UINT64_C(0x67726f757073));
    struct sim_group_offsets_options oo = {
        .checks = options->checks,
        .topics = options->client.topics,
        .groups = group_ids,
        .group_count = GROUP_COUNT,
        .consuming = GROUP_CONSUMING,
        .retention_ms = sim_groups_retention_ms(sim_world_seed(w))};
    g->check = sim_group_check_new(options->checks, sim_groups_retention_ms(sim_world_seed(w)));
    g->offsets = sim_group_offsets_new(&oo);
    g->log = sim_group_log_new(options->cluster, options->checks, g->offsets);
    g->outside = sim_world_add_env(w, "outside");
    struct sim_outsider_options po = {.client = options->client,
                                      .checks = options->checks,
                                      .check = g->check,
                                      .offsets = g->offsets,
                                      .groups = group_ids,
                                      .group_count = GROUP_COUNT,
                                      .memberless = GROUP_MEMBERLESS,
                                      .brokers = (int32_t)sim_cluster_nodes(options->cluster)};
    g->outsider = sim_outsider_new(sim_env_kb(g->outside), &po);
    make_slots(g);
    sim_cluster_on_event(options->cluster, on_node_event, g);
    sim_world_after(w, TICK_US, on_tick, g);
    return g;
}

void sim_groups_end(struct sim_groups *g)
{
    if (g == NULL || g->ended)
        return;
    g->ended = true;
    sim_cluster_on_event(g->options.cluster, NULL, NULL);
    g->outsider = sim_outsider_free(g->outsider);
    for (size_t i = 0; i < SLOTS; i++) {
        struct slot *s = &g->slots[i];
        old_end(s);
        end_life(&s->env, &s->member, false);
    }
}

struct sim_groups *sim_groups_free(struct sim_groups *g)
{
    if (g == NULL)
        return NULL;
    g->log = sim_group_log_free(g->log);
    g->offsets = sim_group_offsets_free(g->offsets);
    g->check = sim_group_check_free(g->check);
    free(g);
    return NULL;
}

bool sim_groups_prepare(struct sim_groups *g)
{
    return sim_outsider_prepare(g->outsider);
}

void sim_groups_start(struct sim_groups *g)
{
    g->started = true;
    sim_outsider_start(g->outsider);
    for (size_t i = 0; i < SLOTS; i++)
        slot_start(g, &g->slots[i]);
}

void sim_groups_heal(struct sim_groups *g)
{
    g->healed = true;
    g->healed_us = now_us(g);
    for (size_t i = 0; i < SLOTS; i++) {
        if (g->slots[i].old_env != NULL)
            sim_env_thaw(g->slots[i].old_env);
        recover(g, &g->slots[i]);
    }
}

/* ---- whole ---- */

static void take_ends(const struct sim_groups *g, int64_t *ret)
{
    for (uint32_t p = 0; p < sim_topics_partitions(g->options.client.topics); p++) {
        for (uint32_t i = 0; i < sim_cluster_nodes(g->options.cluster); i++) {
            int64_t end = sim_replica_check_end(sim_cluster_replicas(g->options.cluster), i, p);
            ret[p] = end > ret[p] ? end : ret[p];
        }
    }
}

static bool group_whole(struct sim_groups *g, uint32_t group, const int64_t *ends)
{
    uint32_t partitions = sim_topics_partitions(g->options.client.topics);
    uint64_t owned = 0;
    int32_t generation = -1;
    for (size_t i = 0; i < SLOTS; i++) {
        const struct slot *s = &g->slots[i];
        if (s->group != group)
            continue;
        if (s->env == NULL || s->old_env != NULL || s->until_us != 0 ||
            !sim_member_is_running(s->member) || sim_member_contact_us(s->member) < g->healed_us)
            return false;
        struct sim_group_asker a = sim_member_asker(s->member);
        if ((generation >= 0 && generation != a.generation) ||
            (owned & sim_member_partitions(s->member)) != 0)
            return false;
        generation = a.generation;
        owned |= sim_member_partitions(s->member);
        for (uint32_t p = 0; p < partitions; p++) {
            if ((sim_member_partitions(s->member) >> p & 1) != 0 &&
                !sim_member_is_at(s->member, p, ends[p]))
                return false;
        }
    }
    return owned == (UINT64_C(1) << partitions) - 1;
}

bool sim_groups_whole(struct sim_groups *g)
{
    int64_t ends[64] = {0};
    take_ends(g, ends);
    for (uint32_t i = 0; i < GROUP_CONSUMING; i++) {
        if (!group_whole(g, i, ends))
            return false;
    }
    return true;
}

/* ---- probing ---- */

/* The coordinator, too, says that the group is stable and has no other members. */
static bool says_stable(struct sim_groups *g, uint32_t group)
{
    const struct sim_group_listing *l = sim_outsider_listing(g->outsider, group);
    size_t members = 0;
    for (size_t i = 0; i < SLOTS; i++)
        members += g->slots[i].group == group;
    if (l->count == members && strcmp(l->state, "Stable") == 0)
        return true;
    sim_outsider_describe(g->outsider, group);
    return false;
}

static bool wait_whole(struct sim_groups *g, const char *what)
{
    for (uint64_t ms = 0; ms < PROBE_LIMIT_MS; ms += PROBE_STEP_MS) {
        bool whole = sim_groups_whole(g);
        if (!whole || ms == 0)
            sim_outsider_forget(g->outsider); /* what it was told is no news */
        if (whole && says_stable(g, GROUP_MIXED) && says_stable(g, GROUP_PLAIN))
            return sim_check(g->options.checks, SIM_CHECK_LIVE, true, "whole");
        sim_world_run_for(g->world, PROBE_STEP_MS);
    }
    return sim_check(g->options.checks, SIM_CHECK_LIVE, false,
                     "groups are not stable and caught up %d ms after %s; their members say %d, "
                     "their coordinator says %d and %d",
                     PROBE_LIMIT_MS, what, sim_groups_whole(g), says_stable(g, GROUP_MIXED),
                     says_stable(g, GROUP_PLAIN));
}

/* A member's session counts from what its coordinator has heard of it last, or from when that
 * became the coordinator: heartbeats to a new one may have been lost on an old connection (seed
 * 3958). So one is awaited that was sent from now on and answered. */
static bool wait_heard(struct sim_groups *g, const struct slot *s)
{
    uint64_t since_us = now_us(g);
    for (uint64_t ms = 0; ms < PROBE_LIMIT_MS; ms += HEARD_STEP_MS) {
        if (sim_member_contact_us(s->member) > since_us && sim_member_is_running(s->member))
            return sim_check(g->options.checks, SIM_CHECK_LIVE, true, "heard");
        sim_world_run_for(g->world, HEARD_STEP_MS);
    }
    return sim_check(g->options.checks, SIM_CHECK_LIVE, false,
                     "no coordinator hears member %u for %d ms", s->number + 100, PROBE_LIMIT_MS);
}

/* G12: the process ends and the next one comes, within the session. */
static void probe_return(struct sim_groups *g)
{
    struct slot *s = &g->slots[1];
    if (!wait_heard(g, s))
        return;
    struct sim_group_asker before = sim_member_asker(s->member);
    uint64_t gone_us = sim_member_contact_us(s->member);
    end_life(&s->env, &s->member, false);
    s->until_us = UINT64_MAX;
    sim_world_run_for(g->world, s->session_ms / 4);
    slot_start(g, s);
    while (!sim_member_is_running(s->member) &&
           now_us(g) < gone_us + s->session_ms * UINT64_C(1000))
        sim_world_run_for(g->world, HEARD_STEP_MS);
    if (sim_member_is_running(s->member))
        sim_group_check_returned(g->check, &before, (now_us(g) - gone_us) / 1000, s->session_ms,
                                 sim_member_asker(s->member).generation);
    if (wait_whole(g, "a static member returned"))
        sim_group_check_returned(g->check, &before, (now_us(g) - gone_us) / 1000, UINT32_MAX,
                                 sim_group_check_generation(g->check, s->group));
}

static bool lists(const struct sim_group_listing *l, const char *member)
{
    for (size_t i = 0; i < l->count; i++) {
        if (strcmp(l->members[i], member) == 0)
            return true;
    }
    return false;
}

static void set_clocks(struct sim_groups *g, int64_t skew_ms)
{
    for (uint32_t i = 0; i < sim_cluster_nodes(g->options.cluster); i++)
        sim_host_set_clock_skew(sim_cluster_host(g->options.cluster, i), skew_ms);
}

/* G7, G8: a member dies while all wall clocks are a month ahead. */
static void probe_death(struct sim_groups *g)
{
    struct slot *s = &g->slots[3];
    struct sim_group_asker dead = sim_member_asker(s->member);
    uint64_t contact_us = sim_member_contact_us(s->member), died_us = now_us(g);
    uint64_t limit_us = died_us + 3 * (uint64_t)s->session_ms * 1000;
    end_life(&s->env, &s->member, true);
    s->until_us = UINT64_MAX;
    sim_outsider_forget(g->outsider);
    set_clocks(g, CLOCK_JUMP_MS);
    for (bool listed = true; listed && now_us(g) < limit_us;) {
        const struct sim_group_listing *l = sim_outsider_listing(g->outsider, s->group);
        sim_outsider_describe(g->outsider, s->group);
        if (l->asked_us > died_us) {
            listed = lists(l, dead.member);
            dead.broker = l->broker;
            sim_group_check_dead(g->check, &dead, (l->asked_us - died_us) / 1000, s->session_ms,
                                 listed);
            if (!listed)
                sim_group_check_expelled(g->check, &dead, contact_us, s->session_ms, now_us(g));
        }
        sim_world_run_for(g->world, PROBE_STEP_MS / 2);
    }
    set_clocks(g, 0);
    s->until_us = now_us(g);
}

static void probe_offsets(struct sim_groups *g)
{
    bool done = false;
    sim_outsider_forget(g->outsider);
    for (uint64_t ms = 0; ms < PROBE_LIMIT_MS && !done; ms += PROBE_STEP_MS) {
        done = sim_outsider_fetch_all(g->outsider);
        sim_world_run_for(g->world, PROBE_STEP_MS);
    }
    sim_check(g->options.checks, SIM_CHECK_LIVE, done, "no coordinator tells the offsets");
}

/* G8: what nobody uses goes in time, whoever coordinates; what is used stays, however old it is. */
static void probe_expiry(struct sim_groups *g)
{
    uint64_t retention_ms = sim_groups_retention_ms(sim_world_seed(g->world));
    uint64_t until_us = sim_group_offsets_newest_us(g->offsets, GROUP_MEMBERLESS) +
                        (retention_ms + EXPIRED_MS) * 1000;
    if (retention_ms == 0)
        return;
    for (uint32_t i = 0; i < sim_cluster_nodes(g->options.cluster) && draw(g, 0, 1) == 0; i++) {
        if (!g->coordinates[i])
            continue;
        sim_cluster_kill(g->options.cluster, i, true);
        sim_cluster_healed(g->options.cluster); /* it heals anew */
        sim_world_run_for(g->world, PROBE_STEP_MS);
        sim_cluster_start(g->options.cluster, i);
        break;
    }
    while (now_us(g) < until_us)
        sim_world_run_for(g->world, PROBE_STEP_MS);
    (void)wait_whole(g, "offsets expired");
    uint64_t since_us = now_us(g);
    probe_offsets(g);
    sim_group_offsets_gone(g->offsets, GROUP_MEMBERLESS, since_us);
}

void sim_groups_probe(struct sim_groups *g)
{
    sim_outsider_stop(g->outsider);
    if (!wait_whole(g, "the faults ended"))
        return;
    probe_return(g);
    probe_death(g);
    probe_offsets(g);
    if (wait_whole(g, "a member died"))
        probe_expiry(g);
}

bool sim_groups_did_enough(struct sim_groups *g)
{
    struct sim_groups_counts c = sim_groups_counts(g);
    return c.commits >= COMMITS_MIN && c.generations >= GENERATIONS_MIN;
}

void sim_groups_judge(struct sim_groups *g)
{
    int64_t ends[64] = {0};
    (void)wait_whole(g, "the last record");
    probe_offsets(g);
    sim_group_offsets_clock(g->offsets, now_us(g), sim_world_wall_ms(g->world));
    sim_group_log_final(g->log);
    take_ends(g, ends);
    sim_group_offsets_judge(g->offsets, ends);
    struct sim_groups_counts c = sim_groups_counts(g);
    sim_world_note(g->world,
                   "groups: %llu commits, %llu generations, %llu troubles, %llu compacted",
                   (unsigned long long)c.commits, (unsigned long long)c.generations,
                   (unsigned long long)c.troubles, (unsigned long long)c.compacted);
    sim_check(g->options.checks, SIM_CHECK_RUN, sim_groups_did_enough(g) && c.compacted > 0,
              "groups did too little: %llu commits, %llu generations, %llu records compacted",
              (unsigned long long)c.commits, (unsigned long long)c.generations,
              (unsigned long long)c.compacted);
}

void sim_groups_describe(struct sim_groups *g, FILE *out)
{
    for (size_t i = 0; i < SLOTS; i++) {
        const struct slot *s = &g->slots[i];
        struct sim_group_asker a = {.broker = -1, .generation = -1};
        if (s->member != NULL)
            a = sim_member_asker(s->member);
        (void)fprintf(out, "member %u of %s: %s%s%s %s generation=%d coordinator=%d owns=%llx\n",
                      s->number + 100, group_ids[s->group],
                      s->member == NULL                  ? "down"
                      : sim_member_is_running(s->member) ? "running"
                                                         : "not running",
                      s->old_env != NULL ? " replaced" : "", s->until_us != 0 ? " troubled" : "",
                      a.member, a.generation, a.broker,
                      s->member != NULL ? (unsigned long long)sim_member_partitions(s->member) : 0);
    }
}

struct sim_groups_counts sim_groups_counts(const struct sim_groups *g)
{
    struct sim_groups_counts c = {.commits = sim_group_offsets_acked(g->offsets),
                                  .compacted = sim_group_offsets_compacted(g->offsets),
                                  .troubles = g->troubles};
    for (uint32_t i = 0; i < GROUP_CONSUMING; i++)
        c.generations += (uint64_t)(sim_group_check_generation(g->check, i) + 1);
    return c;
}
