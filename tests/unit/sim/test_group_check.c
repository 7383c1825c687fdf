/* What members of groups are told, with one promise broken at a time: the checker must name that
 * promise, and no other. */
#include "tests/sim/sim_group_check.h"

#include <stdio.h>

#include "proto/kafka/error.h"
#include "tests/unit/unit.h"

struct fixture {
    struct sim_checks checks;
    struct sim_group_check *c;
    uint64_t now_us;
};

/* Broker 1 coordinates from the start on. */
static void setup(struct fixture *f)
{
    memset(f, 0, sizeof(*f));
    f->c = sim_group_check_new(&f->checks, 50);
    f->now_us = 1000;
    sim_group_check_coordinator(f->c, 1, true, 0);
}

static void expect(struct fixture *f, int only)
{
    for (int i = 0; i < SIM_CHECK_MAX_; i++) {
        if (i == only)
            ck_assert_uint_gt(f->checks.check[i].failures, 0);
        else
            ck_assert_msg(f->checks.check[i].failures == 0, "%s: %s", sim_check_name(i),
                          f->checks.check[i].first);
    }
    f->c = sim_group_check_free(f->c);
}

static struct sim_group_asker asker(struct fixture *f, const char *member, const char *instance,
                                    int32_t generation)
{
    struct sim_group_asker a = {.broker = 1, .generation = generation};
    (void)snprintf(a.member, sizeof(a.member), "%s", member);
    (void)snprintf(a.instance, sizeof(a.instance), "%s", instance);
    a.asked_us = f->now_us;
    f->now_us += 100;
    return a;
}

static void join(struct fixture *f, const char *member, const char *instance, int32_t generation)
{
    struct sim_group_asker a = asker(f, "", instance, -1);
    sim_group_check_answer(f->c, &a, SIM_GROUP_JOIN, KW_NONE, f->now_us);
    sim_group_check_joined(f->c, &a, member, generation, f->now_us);
    f->now_us += 100;
}

static void answer(struct fixture *f, enum sim_group_request request, struct sim_group_asker a,
                   int16_t error)
{
    sim_group_check_answer(f->c, &a, request, error, f->now_us);
    f->now_us += 100;
}

/* The leader gives partition 0 to m1 and 1 to m2. */
static void share(struct fixture *f, int32_t generation)
{
    struct sim_group_asker a = asker(f, "m1", "", generation);
    struct sim_group_share shares[2] = {{.member = "m1", .partitions = 1},
                                        {.member = "m2", .instance = "i2", .partitions = 2}};
    sim_group_check_sent(f->c, &a, shares, 2);
}

static void sync(struct fixture *f, struct sim_group_asker a, uint64_t partitions)
{
    sim_group_check_answer(f->c, &a, SIM_GROUP_SYNC, KW_NONE, f->now_us);
    sim_group_check_synced(f->c, &a, partitions);
    f->now_us += 100;
}

START_TEST(group__of_good_behaviour_is_accepted)
{
    struct fixture f;
    setup(&f);
    join(&f, "m1", "", 1);
    join(&f, "m2", "i2", 1);
    share(&f, 1);
    sync(&f, asker(&f, "m1", "", 1), 1);
    sync(&f, asker(&f, "m2", "i2", 1), 2);
    struct sim_group_asker a = asker(&f, "m1", "", 1);
    answer(&f, SIM_GROUP_COMMIT, a, KW_NONE);
    sim_group_check_committed(f.c, &a, 0);
    join(&f, "m2b", "i2", 1); /* it is another process of the same instance */
    sync(&f, asker(&f, "m2b", "i2", 1), 2);
    answer(&f, SIM_GROUP_COMMIT, asker(&f, "m2", "i2", 1), KW_FENCED_INSTANCE_ID);
    join(&f, "m1", "", 2);
    answer(&f, SIM_GROUP_COMMIT, asker(&f, "m2b", "i2", 1), KW_ILLEGAL_GENERATION);
    answer(&f, SIM_GROUP_HEARTBEAT, asker(&f, "m2b", "i2", 1), KW_REBALANCE_IN_PROGRESS);
    sim_group_check_expelled(f.c, &a, 0, 500, 600000);
    sim_group_check_dead(f.c, &a, 900, 500, true);
    sim_group_check_dead(f.c, &a, 1200, 500, false);
    sim_group_check_returned(f.c, &a, 300, 500, 1);
    sim_group_check_returned(f.c, &a, 600, 500, 3); /* too late to stay */
    ck_assert_int_eq(sim_group_check_generation(f.c, 0), 2);
    for (int i = SIM_CHECK_G2; i <= SIM_CHECK_G7; i++)
        ck_assert_msg(f.checks.check[i].checks > 0, "%s", sim_check_name(i));
    ck_assert_uint_gt(f.checks.check[SIM_CHECK_G12].checks, 0);
    expect(&f, -1);
}
END_TEST

START_TEST(answer__before_the_load_or_after_the_resignation_is_named)
{
    struct fixture f;
    setup(&f);
    struct sim_group_asker a = asker(&f, "m1", "", 1);
    a.broker = 2;
    answer(&f, SIM_GROUP_HEARTBEAT, a, KW_NONE); /* keeps its place while broker 2 loads */
    answer(&f, SIM_GROUP_FETCH, a, KW_COORDINATOR_LOAD_IN_PROGRESS);
    ck_assert(!sim_group_check_heard(f.c, &a, f.now_us));
    answer(&f, SIM_GROUP_FETCH, a, KW_NONE);
    ck_assert_uint_eq(f.checks.check[SIM_CHECK_G2].failures, 1);
    answer(&f, SIM_GROUP_HEARTBEAT, a, KW_UNKNOWN_MEMBER_ID);
    ck_assert_uint_eq(f.checks.check[SIM_CHECK_G2].failures, 2);
    expect(&f, SIM_CHECK_G2);
    setup(&f);
    a = asker(&f, "m1", "", 1);
    sim_group_check_coordinator(f.c, 1, false, f.now_us);
    answer(&f, SIM_GROUP_COMMIT, a, KW_NONE); /* asked before it resigned */
    expect(&f, -1);
    setup(&f);
    sim_group_check_coordinator(f.c, 1, false, f.now_us++);
    answer(&f, SIM_GROUP_COMMIT, asker(&f, "m1", "", 1), KW_NONE);
    expect(&f, SIM_CHECK_G2);
}
END_TEST

START_TEST(generation__that_falls_is_named)
{
    struct fixture f;
    setup(&f);
    join(&f, "m1", "", 3);
    join(&f, "m2", "", 2);
    expect(&f, SIM_CHECK_G3);
}
END_TEST

/* Nothing holds an empty group without offsets: it may have been deleted (seed 82102). */
START_TEST(generation__begins_anew_without_offsets)
{
    static const uint64_t pause_us[] = {0, 40000, 50000};
    for (size_t i = 0; i < 3; i++) {
        struct fixture f;
        setup(&f);
        join(&f, "m1", "", 1);
        join(&f, "m1", "", 2);
        if (i > 0)
            answer(&f, SIM_GROUP_COMMIT, asker(&f, "m1", "", 2), KW_NONE);
        f.now_us += pause_us[i];
        join(&f, "m2", "", 1);
        if (i != 1)
            answer(&f, SIM_GROUP_HEARTBEAT, asker(&f, "m2", "", 1), KW_NONE);
        expect(&f, i == 1 ? SIM_CHECK_G3 : -1);
    }
}
END_TEST

/* Its first generation may be its former life's only one (seed 48064). */
START_TEST(generation__of_a_new_life_has_its_own_owners)
{
    for (int life = 0; life < 2; life++) {
        struct fixture f;
        setup(&f);
        struct sim_group_share share[1] = {{.member = "m1", .partitions = 1}};
        join(&f, "m1", "", 1);
        struct sim_group_asker a = asker(&f, "m1", "", 1);
        sim_group_check_sent(f.c, &a, share, 1);
        sync(&f, a, 1);
        f.now_us += 1000000;
        if (life == 0) /* an offset: it lives on */
            answer(&f, SIM_GROUP_COMMIT, asker(&f, "m1", "", 1), KW_NONE);
        join(&f, "m2", "", 1);
        a = asker(&f, "m2", "", 1);
        (void)snprintf(share[0].member, sizeof(share[0].member), "m2");
        sim_group_check_sent(f.c, &a, share, 1);
        sync(&f, a, 1);
        expect(&f, life == 0 ? SIM_CHECK_G4 : -1);
    }
}
END_TEST

/* What its former life told, but was heard only now, is nothing to the new one (seed 101515). */
/* While somebody is in it, it is no other: who asks again for its first generation is only late
 * (seed 48943). */
START_TEST(generation__of_a_group_that_lives_is_no_new_one)
{
    for (int empty = 0; empty < 2; empty++) {
        struct fixture f;
        setup(&f);
        struct sim_group_share share[1] = {{.member = "m1", .partitions = 1}};
        join(&f, "m1", "", 1);
        struct sim_group_asker a = asker(&f, "m1", "", 1);
        sim_group_check_sent(f.c, &a, share, 1);
        answer(&f, SIM_GROUP_HEARTBEAT, asker(&f, "m1", "", 1), KW_NONE);
        f.now_us += empty ? 1000000 : 500000;
        join(&f, "m2", "", 1);
        sync(&f, asker(&f, "m1", "", 1), 1);
        expect(&f, empty ? SIM_CHECK_G6 : -1);
    }
}
END_TEST

START_TEST(generation__of_the_former_life_may_be_heard_late)
{
    for (int late = 0; late < 2; late++) {
        struct fixture f;
        setup(&f);
        join(&f, "m1", "", 1);
        struct sim_group_asker a = asker(&f, "m3", "", -1);
        join(&f, "m2", "", 1); /* a stranger: anew */
        if (!late)
            a = asker(&f, "m3", "", -1);
        sim_group_check_joined(f.c, &a, "m3", 2, f.now_us++);
        answer(&f, SIM_GROUP_HEARTBEAT, asker(&f, "m2", "", 1), KW_NONE);
        expect(&f, late ? -1 : SIM_CHECK_G5);
    }
}
END_TEST

START_TEST(partition__with_two_owners_is_named)
{
    struct fixture f;
    setup(&f);
    struct sim_group_asker a = asker(&f, "m1", "", 1);
    struct sim_group_share both[2] = {{.member = "m1", .partitions = 3},
                                      {.member = "m2", .partitions = 2}};
    sim_group_check_sent(f.c, &a, both, 2);
    sync(&f, asker(&f, "m1", "", 1), 3);
    sync(&f, asker(&f, "m2", "", 1), 2);
    expect(&f, SIM_CHECK_G4);
    setup(&f);
    a = asker(&f, "m1", "", 1);
    sim_group_check_committed(f.c, &a, 0);
    a = asker(&f, "m2", "", 1);
    sim_group_check_committed(f.c, &a, 0);
    expect(&f, SIM_CHECK_G4);
}
END_TEST

START_TEST(stale_generation__that_is_accepted_is_named)
{
    static const enum sim_group_request requests[] = {SIM_GROUP_COMMIT, SIM_GROUP_SYNC,
                                                      SIM_GROUP_HEARTBEAT};
    for (size_t i = 0; i < 3; i++) {
        struct fixture f;
        setup(&f);
        join(&f, "m1", "", 1);
        join(&f, "m2", "", 2);
        answer(&f, requests[i], asker(&f, "m1", "", 1), KW_NONE);
        expect(&f, SIM_CHECK_G5);
    }
}
END_TEST

START_TEST(stale_generation__told_elsewhere_binds_only_commits)
{
    struct fixture f;
    setup(&f);
    join(&f, "m1", "", 1);
    sim_group_check_coordinator(f.c, 2, true, f.now_us);
    struct sim_group_asker a = asker(&f, "", "", -1);
    a.broker = 2;
    sim_group_check_joined(f.c, &a, "m2", 2, f.now_us);
    f.now_us += 100;
    answer(&f, SIM_GROUP_HEARTBEAT, asker(&f, "m1", "", 1), KW_NONE);
    ck_assert_uint_eq(f.checks.check[SIM_CHECK_G5].failures, 0);
    answer(&f, SIM_GROUP_COMMIT, asker(&f, "m1", "", 1), KW_NONE);
    expect(&f, SIM_CHECK_G5);
}
END_TEST

START_TEST(assignment__that_no_leader_sent_is_named)
{
    struct fixture f;
    setup(&f);
    share(&f, 1);
    sync(&f, asker(&f, "m2b", "i2", 1), 2);
    ck_assert_uint_eq(f.checks.check[SIM_CHECK_G6].failures, 0);
    sync(&f, asker(&f, "m1", "", 1), 0);
    ck_assert_uint_eq(f.checks.check[SIM_CHECK_G6].failures, 1);
    sync(&f, asker(&f, "m1", "", 2), 1);
    ck_assert_uint_eq(f.checks.check[SIM_CHECK_G6].failures, 2);
    expect(&f, SIM_CHECK_G6);
}
END_TEST

START_TEST(session__that_ends_too_early_or_never_is_named)
{
    struct fixture f;
    setup(&f);
    struct sim_group_asker a = asker(&f, "m1", "", 1);
    sim_group_check_expelled(f.c, &a, 1000000, 500, 1499000);
    expect(&f, SIM_CHECK_G7);
    setup(&f);
    a = asker(&f, "m1", "", 1);
    sim_group_check_dead(f.c, &a, 1000, 500, true);
    expect(&f, SIM_CHECK_G7);
}
END_TEST

START_TEST(static_member__that_is_not_known_again_or_not_fenced_is_named)
{
    struct fixture f;
    setup(&f);
    struct sim_group_asker a = asker(&f, "m1", "i1", 4);
    sim_group_check_returned(f.c, &a, 300, 500, 5);
    expect(&f, SIM_CHECK_G12);
    setup(&f);
    join(&f, "old", "i1", 1);
    answer(&f, SIM_GROUP_COMMIT, asker(&f, "old", "i1", 1), KW_NONE);
    join(&f, "new", "i1", 1);
    ck_assert_uint_eq(f.checks.check[SIM_CHECK_G12].failures, 0);
    answer(&f, SIM_GROUP_COMMIT, asker(&f, "old", "i1", 1), KW_NONE);
    expect(&f, SIM_CHECK_G12);
    setup(&f);
    join(&f, "old", "i1", 1);
    join(&f, "new", "i1", 1);
    answer(&f, SIM_GROUP_HEARTBEAT, asker(&f, "old", "i1", 1), KW_NONE);
    expect(&f, SIM_CHECK_G12);
}
END_TEST

/* Broker 1 lost its shard between question and answer, and has perhaps loaded it since. */
START_TEST(static_member__is_not_judged_by_a_heartbeat_read_while_loading)
{
    for (int loaded = 0; loaded < 2; loaded++) {
        struct fixture f;
        setup(&f);
        join(&f, "old", "i1", 1);
        join(&f, "new", "i1", 1);
        struct sim_group_asker a = asker(&f, "old", "i1", 1);
        sim_group_check_coordinator(f.c, 1, false, f.now_us++);
        if (loaded)
            sim_group_check_coordinator(f.c, 1, true, f.now_us++);
        answer(&f, SIM_GROUP_HEARTBEAT, a, KW_NONE);
        ck_assert_uint_eq(f.checks.check[SIM_CHECK_G12].failures, 0);
        answer(&f, SIM_GROUP_SYNC, a, KW_NONE); /* it could not be answered meanwhile */
        expect(&f, SIM_CHECK_G12);
    }
}
END_TEST

UNIT_MAIN("sim_group_check", group__of_good_behaviour_is_accepted,
          answer__before_the_load_or_after_the_resignation_is_named,
          generation__that_falls_is_named, generation__begins_anew_without_offsets,
          generation__of_a_new_life_has_its_own_owners,
          generation__of_a_group_that_lives_is_no_new_one,
          generation__of_the_former_life_may_be_heard_late, partition__with_two_owners_is_named,
          stale_generation__that_is_accepted_is_named,
          stale_generation__told_elsewhere_binds_only_commits,
          assignment__that_no_leader_sent_is_named, session__that_ends_too_early_or_never_is_named,
          static_member__that_is_not_known_again_or_not_fenced_is_named,
          static_member__is_not_judged_by_a_heartbeat_read_while_loading)
