/* How long clusters are without a leader, over many seeds: kill -9 with refused redials, a frozen
 * leader, a cold start (budgets of rule 12 and design 5); and that nobody is displaced for nothing
 * (R13). */
#include "proto/base/log.h"
#include "tests/unit/raft/toy.h"
#include "tests/unit/unit.h"

#define SEEDS 200

static void start_all(struct toy *t, uint64_t seed, int n)
{
    toy_init(t, seed, n, n);
    for (int i = 0; i < n; i++)
        toy_start(t, i);
}

static uint64_t time_to_leader(struct toy *t, uint64_t limit_ms)
{
    uint64_t start_ms = t->now_ms;
    while (toy_leader(t) < 0 && t->now_ms < start_ms + limit_ms)
        toy_run(t, 1);
    return t->now_ms - start_ms;
}

START_TEST(cold_start__elects_within_half_a_second)
{
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct toy t;
        start_all(&t, seed, seed % 2 == 0 ? 3 : 5);
        ck_assert_uint_le(time_to_leader(&t, 2000), 500);
        toy_release(&t);
    }
}
END_TEST

START_TEST(kill__elects_within_60_ms)
{
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct toy t;
        start_all(&t, seed, 3);
        int leader = toy_run_to_leader(&t, 3000);
        toy_run(&t, 500 + seed);
        toy_kill(&t, leader, false);
        ck_assert_uint_le(time_to_leader(&t, 2000), 60);
        toy_release(&t);
    }
}
END_TEST

START_TEST(kill__elects_in_median_60_ms_of_five)
{
    size_t quick = 0;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct toy t;
        start_all(&t, seed, 5);
        int leader = toy_run_to_leader(&t, 3000);
        toy_run(&t, 500 + seed);
        toy_kill(&t, leader, false);
        uint64_t took_ms = time_to_leader(&t, 2000);
        quick += took_ms <= 60;
        ck_assert_uint_le(took_ms, 250);
        toy_release(&t);
    }
    ck_assert_uint_ge(quick, SEEDS * 9 / 10);
}
END_TEST

START_TEST(freeze__elects_within_1400_ms)
{
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct toy t;
        start_all(&t, seed, 3);
        int leader = toy_run_to_leader(&t, 3000);
        toy_run(&t, 500 + seed);
        uint64_t term = t.nodes[leader].term;
        toy_sleep(&t, leader, 10000);
        uint64_t start_ms = t.now_ms;
        while (t.nodes[toy_leader(&t)].term == term && t.now_ms < start_ms + 3000)
            toy_run(&t, 1);
        ck_assert_uint_le(t.now_ms - start_ms, 1400);
        toy_release(&t);
    }
}
END_TEST

START_TEST(leader__with_a_majority_is_not_displaced)
{
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct toy t;
        start_all(&t, seed, 3);
        t.delay_ms_max = 10;
        int leader = toy_run_to_leader(&t, 3000);
        toy_run(&t, 1000);
        uint64_t term = t.nodes[leader].term;
        int other = (leader + 1) % 3;
        for (int i = 0; i < 20; i++) { /* one follower is cut, flaps, restarts, freezes */
            switch (kb_prng_below(&t.prng, 4)) {
            case 0:
                toy_cut(&t, leader, other);
                break;
            case 1:
                toy_close_link(&t, leader, other, RAFT_LINK_CLOSED);
                break;
            case 2:
                toy_kill(&t, other, true);
                toy_start(&t, other);
                break;
            default:
                toy_sleep(&t, other, 1500);
                break;
            }
            toy_run(&t, kb_prng_range(&t.prng, 10, 3000));
            toy_heal(&t);
        }
        ck_assert_int_eq(t.nodes[leader].role, RAFT_LEADER);
        ck_assert_uint_eq(t.nodes[leader].term, term);
        toy_release(&t);
    }
}
END_TEST

/* Two of three have lost what was committed, one has it all: when they may vote again, it leads,
 * and not one of them (5.5; sim seed 103090). */
START_TEST(cut_logs__of_a_majority_do_not_lead)
{
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct toy t;
        start_all(&t, seed, 3);
        int leader = toy_run_to_leader(&t, 3000);
        for (int i = 0; i < 10; i++) {
            (void)toy_propose(&t, leader, 1, 100);
            toy_run(&t, 50);
        }
        int whole = (int)(seed % 3);
        for (int i = 0; i < 3; i++)
            toy_kill(&t, i, false);
        for (int i = 0; i < 3; i++) {
            if (i != whole)
                toy_cut_log(&t, i, 3);
        }
        for (int i = 0; i < 3; i++)
            toy_start(&t, i);
        uint64_t took_ms = time_to_leader(&t, 10000);
        ck_assert_uint_ge(took_ms, 5000);
        ck_assert_uint_le(took_ms, 5500);
        ck_assert_int_eq(toy_leader(&t), whole);
        toy_release(&t);
    }
}
END_TEST

UNIT_MAIN("raft_elections", cold_start__elects_within_half_a_second, kill__elects_within_60_ms,
          kill__elects_in_median_60_ms_of_five, freeze__elects_within_1400_ms,
          leader__with_a_majority_is_not_displaced, cut_logs__of_a_majority_do_not_lead)
