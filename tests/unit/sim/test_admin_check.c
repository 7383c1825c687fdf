/* Answers to admin calls that cannot all be true: the checker must say so, and only then. */
#include "tests/sim/sim_admin_check.h"

#include "proto/kafka/error.h"
#include "tests/unit/unit.h"

struct fixture {
    struct sim_checks checks;
    struct sim_admin_check *c;
};

static void setup(struct fixture *f)
{
    memset(f, 0, sizeof(*f));
    f->c = sim_admin_check_new(&f->checks);
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
    f->c = sim_admin_check_free(f->c);
}

static void create(struct fixture *f, int32_t partitions, int16_t error)
{
    sim_admin_check_done(f->c, 0, SIM_ADMIN_CREATE, partitions, error, false);
}

static void grow(struct fixture *f, int32_t partitions, int16_t error)
{
    sim_admin_check_done(f->c, 0, SIM_ADMIN_GROW, partitions, error, false);
}

static void delete_topic(struct fixture *f, int16_t error)
{
    sim_admin_check_done(f->c, 0, SIM_ADMIN_DELETE, 0, error, false);
}

START_TEST(answers__that_agree_are_accepted)
{
    struct fixture f;
    setup(&f);
    create(&f, 2, KW_NONE);
    create(&f, 1, KW_TOPIC_ALREADY_EXISTS);
    grow(&f, 2, KW_INVALID_PARTITIONS);
    grow(&f, 3, SIM_ADMIN_LOST);
    sim_admin_check_final(f.c, 0, 2);
    sim_admin_check_final(f.c, 0, 3);
    delete_topic(&f, KW_NONE);
    delete_topic(&f, KW_UNKNOWN_TOPIC_OR_PARTITION);
    sim_admin_check_final(f.c, 0, 0);
    create(&f, 1, KW_NOT_CONTROLLER);
    create(&f, 2, KW_TOPIC_ALREADY_EXISTS); /* the first one happened after all */
    sim_admin_check_final(f.c, 0, 1);
    sim_admin_check_final(f.c, 1, 0);
    struct sim_admin_counts n = sim_admin_check_counts(f.c);
    ck_assert_uint_eq(n.ok, 2);
    ck_assert_uint_eq(n.failed, 4);
    ck_assert_uint_eq(n.info, 2);
    for (int64_t end = 0; end < 3; end++)
        sim_admin_check_listed(f.c, 0, end);
    expect(&f, -1);
}
END_TEST

/* What an earlier attempt of the same call did is found by the next one. */
START_TEST(repeated_call__may_find_its_own_work)
{
    struct fixture f;
    setup(&f);
    sim_admin_check_done(f.c, 0, SIM_ADMIN_CREATE, 2, KW_TOPIC_ALREADY_EXISTS, true);
    sim_admin_check_final(f.c, 0, 2);
    expect(&f, -1);
    setup(&f);
    sim_admin_check_done(f.c, 0, SIM_ADMIN_CREATE, 2, KW_TOPIC_ALREADY_EXISTS, false);
    expect(&f, SIM_CHECK_ADMIN);
}
END_TEST

START_TEST(final__that_contradicts_the_answers_is_named)
{
    struct fixture f;
    setup(&f); /* created, and not there */
    create(&f, 2, KW_NONE);
    sim_admin_check_final(f.c, 0, 0);
    expect(&f, SIM_CHECK_ADMIN);
    setup(&f); /* half-created */
    create(&f, 2, KW_NONE);
    sim_admin_check_final(f.c, 0, 1);
    expect(&f, SIM_CHECK_ADMIN);
    setup(&f); /* deleted, and there */
    create(&f, 2, KW_NONE);
    delete_topic(&f, KW_NONE);
    sim_admin_check_final(f.c, 0, 2);
    expect(&f, SIM_CHECK_ADMIN);
    setup(&f); /* refused, and there */
    create(&f, 2, KW_INVALID_REPLICATION_FACTOR);
    sim_admin_check_final(f.c, 0, 2);
    expect(&f, SIM_CHECK_ADMIN);
}
END_TEST

START_TEST(answer__that_contradicts_another_is_named)
{
    struct fixture f;
    setup(&f);
    create(&f, 2, KW_TOPIC_ALREADY_EXISTS);
    expect(&f, SIM_CHECK_ADMIN);
    setup(&f);
    create(&f, 2, KW_NONE);
    create(&f, 2, KW_NONE);
    expect(&f, SIM_CHECK_ADMIN);
    setup(&f);
    create(&f, 2, KW_NONE);
    grow(&f, 3, KW_UNKNOWN_TOPIC_OR_PARTITION);
    expect(&f, SIM_CHECK_ADMIN);
}
END_TEST

START_TEST(end__that_falls_is_named)
{
    struct fixture f;
    setup(&f);
    sim_admin_check_listed(f.c, 1, 7);
    sim_admin_check_listed(f.c, 0, 3);
    ck_assert_uint_eq(f.checks.check[SIM_CHECK_P5].failures, 0);
    sim_admin_check_listed(f.c, 1, 6);
    expect(&f, SIM_CHECK_P5);
}
END_TEST

UNIT_MAIN("sim_admin_check", repeated_call__may_find_its_own_work, answers__that_agree_are_accepted,
          final__that_contradicts_the_answers_is_named, answer__that_contradicts_another_is_named,
          end__that_falls_is_named)
