/* Rule 9.3 with whole brokers: a full disk is a state. Whoever has it leaves ISRs, leaderships and
 * the controller's office while others have space, keeps its process, and is whole again when space
 * returns. scenario_end requires that nothing acknowledged was lost. */
#include <string.h>

#include "tests/unit/node/scenario.h"

enum { SEEDS = 5, VALUE_BYTES = 2000, NO_STALL_MS = 12000 };

static char value[VALUE_BYTES + 1];

static void setup(struct scenario *s, uint64_t seed)
{
    memset(value, 'v', VALUE_BYTES);
    scenario_start(s, seed);
}

/* Every byte that is not taken yet; again, when something was given up meanwhile. */
static void fill(struct scenario *s, uint32_t i)
{
    struct sim_disk *d = sim_host_disk(sim_cluster_host(s->cluster, i));
    uint64_t used = sim_disk_used_bytes(d);
    sim_disk_settings(d)->capacity_bytes = used > 0 ? used : 1;
}

static void relieve(struct scenario *s, uint32_t i)
{
    sim_disk_settings(sim_host_disk(sim_cluster_host(s->cluster, i)))->capacity_bytes = 0;
}

static bool running_in_sync(struct scenario *s)
{
    return scenario_all_running(s) && scenario_isr_full(s);
}

static uint32_t leader_index(struct scenario *s)
{
    int32_t leader = scenario_leader(s);
    ck_assert_int_gt(leader, 0);
    return (uint32_t)leader - 1;
}

/* 3.1, 4.1: a full follower must hold nobody back, neither as a member of the ISR nor, out of it,
 * as one that could join. */
START_TEST(follower__full_holds_no_write_back)
{
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct scenario s;
        setup(&s, seed);
        uint32_t full = (leader_index(&s) + 1) % 3;
        fill(&s, full);
        uint64_t began_us = sim_world_now_us(s.world);
        for (int i = 0; i < 40; i++)
            ck_assert_int_eq(scenario_produce(&s, value), KW_NONE);
        ck_assert_uint_lt((sim_world_now_us(s.world) - began_us) / 1000, NO_STALL_MS);
        ck_assert(!scenario_isr_full(&s));
        ck_assert(scenario_all_running(&s));
        relieve(&s, full);
        scenario_until(&s, running_in_sync, 30000, "the follower is back in the ISR");
        scenario_end(&s);
    }
}
END_TEST

static uint32_t old_leader;

static bool led_by_another(struct scenario *s)
{
    int32_t leader = scenario_leader(s);
    return leader > 0 && (uint32_t)leader - 1 != old_leader;
}

START_TEST(leader__full_refuses_and_hands_over)
{
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct scenario s;
        int error = KW_NONE;
        setup(&s, seed);
        old_leader = leader_index(&s);
        fill(&s, old_leader);
        for (int i = 0; i < 60 && error == KW_NONE; i++)
            error = scenario_produce(&s, value);
        /* It may have handed over before it had to refuse. */
        ck_assert(error == KW_KAFKA_STORAGE_ERROR || error == KW_NOT_LEADER_OR_FOLLOWER);
        scenario_until(&s, led_by_another, 10000, "another broker leads");
        ck_assert_int_eq(scenario_produce(&s, value), KW_NONE);
        for (int i = 0; i < 20; i++) {
            scenario_run_for(&s, 500);
            ck_assert(led_by_another(&s)); /* balancing does not bring it back */
        }
        ck_assert(scenario_all_running(&s));
        relieve(&s, old_leader);
        scenario_until(&s, running_in_sync, 30000, "all replicas are in sync again");
        scenario_end(&s);
    }
}
END_TEST

/* 5.8: what its log has no room for nobody else can read, so no transfer ends well: it resigns. Its
 * vote of the next term finds no space either and waits. Twice: the reserve is there again. */
START_TEST(controller__full_makes_way)
{
    for (uint64_t seed = 1; seed <= 2; seed++) {
        struct scenario s;
        setup(&s, seed);
        int number = 0;
        for (int round = 0; round < 2; round++) {
            int32_t old = sim_cluster_controller(s.cluster);
            ck_assert_int_ge(old, 0);
            for (int i = 0; i < 400 && sim_cluster_controller(s.cluster) == old; i++) {
                char name[32];
                (void)snprintf(name, sizeof(name), "filler-%d", number++);
                fill(&s, (uint32_t)old);
                (void)scenario_create(&s, name);
            }
            ck_assert_int_ne(sim_cluster_controller(s.cluster), old);
            scenario_run_for(&s, 3000);
            fill(&s, (uint32_t)old);
            ck_assert_int_eq(scenario_create(&s, round == 0 ? "after-0" : "after-1"), KW_NONE);
            scenario_run_for(&s, 3000);
            relieve(&s, (uint32_t)old);
            scenario_until(&s, running_in_sync, 60000, "the former controller is back");
            scenario_run_for(&s, 6000); /* the reserve is looked for every 5 s */
        }
        scenario_end(&s);
    }
}
END_TEST

/* What a creation left behind on a full disk is no log: the next life sets it aside and makes it.
 */
START_TEST(restart__on_a_full_disk_then_space)
{
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct scenario s;
        setup(&s, seed);
        uint32_t full = (leader_index(&s) + 1) % 3;
        for (int i = 0; i < 4; i++) {
            char name[32];
            (void)snprintf(name, sizeof(name), "late-%d", i);
            fill(&s, full);
            (void)scenario_create(&s, name);
        }
        scenario_run_for(&s, 1500);
        sim_cluster_kill(s.cluster, full, false);
        scenario_run_for(&s, 3000);
        fill(&s, full);
        sim_cluster_start(s.cluster, full);
        scenario_run_for(&s, 5000);
        relieve(&s, full);
        scenario_until(&s, running_in_sync, 60000, "the node is back");
        ck_assert_int_eq(scenario_produce(&s, value), KW_NONE);
        scenario_end(&s);
    }
}
END_TEST

UNIT_MAIN("node_full_disk", follower__full_holds_no_write_back, leader__full_refuses_and_hands_over,
          controller__full_makes_way, restart__on_a_full_disk_then_space)
