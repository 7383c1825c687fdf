/* Where logs begin: each promise broken once, which the checker must name alone. */
#include "tests/sim/sim_start_check.h"

#include "tests/unit/unit.h"

#define NOW 1000000

struct fixture {
    struct sim_checks checks;
    struct sim_start_check *c;
};

static void setup(struct fixture *f)
{
    memset(f, 0, sizeof(*f));
    f->c = sim_start_check_new(&f->checks, 2);
}

static void expect(struct fixture *f, int only)
{
    for (int i = 0; i < SIM_CHECK_MAX_; i++) {
        if (i == only)
            ck_assert_msg(f->checks.check[i].failures > 0, "%s not noticed", sim_check_name(i));
        else
            ck_assert_msg(f->checks.check[i].failures == 0, "%s: %s", sim_check_name(i),
                          f->checks.check[i].first);
    }
    f->c = sim_start_check_free(f->c);
}

static void see(struct fixture *f, uint32_t node, bool member, int64_t start, int64_t hw)
{
    struct sim_start_view v = {.life = 1, .member = member, .start = start, .high_watermark = hw};
    sim_start_check_node(f->c, node, 0, &v, NOW);
}

/* Answered with success in epoch 3. */
static void delete_up_to(struct fixture *f, int64_t offset, int64_t low_watermark)
{
    sim_start_check_asked(f->c, 0, offset);
    sim_start_check_answered(f->c, 0, SIM_START_DELETED, low_watermark, 3);
}

static void told(struct fixture *f, int32_t epoch, int64_t start)
{
    struct sim_start_asked asked = sim_start_check_asking(f->c, 0, epoch);
    sim_start_check_told(f->c, 0, &asked, start, NOW);
}

static uint64_t bytes_from(void *arg, uint32_t partition, int64_t offset)
{
    return (uint64_t)(100 - offset) * 10; /* ten bytes each, up to 100 */
}

START_TEST(starts__that_follow_the_answers_are_accepted)
{
    struct fixture f;
    setup(&f);
    see(&f, 0, true, 0, 20);
    sim_start_check_asked(f.c, 0, 5);
    see(&f, 0, true, 5, 20); /* before the answer */
    sim_start_check_answered(f.c, 0, SIM_START_DELETED, 5, 3);
    for (uint32_t n = 0; n < 3; n++) {
        see(&f, n, n < 2, n < 2 ? 5 : 0, 20); /* who is no member may lag */
        if (n < 2)
            sim_start_check_durable(f.c, n, 0, 5);
    }
    told(&f, 3, 5);
    told(&f, 2, 0); /* a leader of old that nobody listens to */
    struct sim_start_asked before = sim_start_check_asking(f.c, 0, 3);
    sim_start_check_read(f.c, 0, &before, 5);
    sim_start_check_out_of_range(f.c, 0, 4, NOW);
    sim_start_check_asked(f.c, 0, 30);
    sim_start_check_answered(f.c, 0, SIM_START_REFUSED, -1, 3);
    sim_start_check_asked(f.c, 0, SIM_START_HIGH_WATERMARK);
    sim_start_check_answered(f.c, 0, SIM_START_UNKNOWN, -1, 3);
    see(&f, 0, true, 20, 20); /* it happened after all */
    ck_assert_int_eq(sim_start_check_gone(f.c, 0, NOW), 20);
    ck_assert_int_eq(sim_start_check_gone(f.c, 1, NOW), 0);
    ck_assert_int_eq(sim_start_check_floor(f.c, 0), 5);
    expect(&f, -1);
}
END_TEST

START_TEST(start__above_the_high_watermark_is_named)
{
    struct fixture f;
    setup(&f);
    delete_up_to(&f, 9, 9);
    see(&f, 0, true, 9, 8);
    expect(&f, SIM_CHECK_P16);
    setup(&f); /* more was asked for than there is, and less was deleted */
    delete_up_to(&f, 9, 8);
    expect(&f, SIM_CHECK_P16);
}
END_TEST

START_TEST(start__that_falls_is_named)
{
    struct fixture f;
    setup(&f);
    sim_start_check_asked(f.c, 0, 5); /* nobody knows, so any start up to there will do */
    sim_start_check_answered(f.c, 0, SIM_START_UNKNOWN, -1, 1);
    see(&f, 0, true, 5, 9);
    see(&f, 0, true, 4, 9);
    expect(&f, SIM_CHECK_P16);
}
END_TEST

START_TEST(start__that_forgets_an_acknowledged_call_is_named)
{
    struct fixture f;
    setup(&f);
    delete_up_to(&f, 5, 5);
    see(&f, 1, true, 4, 9);
    expect(&f, SIM_CHECK_P16);
    setup(&f);
    delete_up_to(&f, 5, 5);
    sim_start_check_durable(f.c, 1, 0, 4);
    expect(&f, SIM_CHECK_P16);
    setup(&f);
    delete_up_to(&f, 5, 5);
    told(&f, 4, 4);
    expect(&f, SIM_CHECK_P16);
    setup(&f);
    delete_up_to(&f, 5, 5);
    struct sim_start_asked asked = sim_start_check_asking(f.c, 0, 3);
    sim_start_check_read(f.c, 0, &asked, 4);
    expect(&f, SIM_CHECK_P16);
}
END_TEST

START_TEST(retention__of_what_is_not_old_is_named)
{
    struct fixture f;
    setup(&f);
    sim_start_check_retention(f.c, 0, 1000, -1);
    sim_start_check_batch(f.c, 0, 0, 4, NOW - 2000);
    sim_start_check_batch(f.c, 0, 5, 9, NOW - 500);
    see(&f, 0, true, 5, 10);
    ck_assert_uint_eq(sim_start_check_counts(f.c).moved, 1);
    ck_assert_uint_eq(f.checks.check[SIM_CHECK_RETENTION].failures, 0);
    see(&f, 0, true, 10, 10);
    expect(&f, SIM_CHECK_RETENTION);
    setup(&f);
    sim_start_check_retention(f.c, 0, 1000, -1);
    sim_start_check_batch(f.c, 0, 0, 4, NOW - 500);
    told(&f, 1, 5);
    expect(&f, SIM_CHECK_RETENTION);
}
END_TEST

/* A log that begins behind what was deleted has in its first segment nothing that is younger. */
START_TEST(retention__goes_on_behind_what_was_deleted)
{
    struct fixture f;
    setup(&f);
    sim_start_check_retention(f.c, 0, 1000, -1);
    sim_start_check_batch(f.c, 0, 0, 4, NOW - 500);
    sim_start_check_batch(f.c, 0, 5, 6, NOW - 2000);
    sim_start_check_batch(f.c, 0, 7, 9, NOW - 500);
    ck_assert_int_eq(sim_start_check_gone(f.c, 0, NOW), 0);
    delete_up_to(&f, 5, 5);
    see(&f, 0, true, 7, 10);
    ck_assert_uint_eq(f.checks.check[SIM_CHECK_RETENTION].failures, 0);
    see(&f, 0, true, 8, 10);
    expect(&f, SIM_CHECK_RETENTION);
    setup(&f); /* nor does a call that is refused let go of what is old behind it */
    sim_start_check_retention(f.c, 0, 1000, -1);
    sim_start_check_batch(f.c, 0, 0, 4, NOW - 500);
    sim_start_check_batch(f.c, 0, 5, 6, NOW - 2000);
    sim_start_check_asked(f.c, 0, 5);
    ck_assert_int_eq(sim_start_check_gone(f.c, 0, NOW), 7);
    sim_start_check_answered(f.c, 0, SIM_START_REFUSED, -1, 1);
    see(&f, 0, true, 7, 10);
    expect(&f, SIM_CHECK_RETENTION);
}
END_TEST

START_TEST(retention__of_more_than_is_too_much_is_named)
{
    struct fixture f;
    setup(&f);
    sim_start_check_retention(f.c, 0, -1, 500);
    sim_start_check_bytes(f.c, bytes_from, NULL);
    see(&f, 0, true, 50, 100);
    ck_assert_uint_eq(f.checks.check[SIM_CHECK_RETENTION].failures, 0);
    see(&f, 0, true, 51, 100);
    expect(&f, SIM_CHECK_RETENTION);
}
END_TEST

START_TEST(loss__is_no_deletion)
{
    struct fixture f;
    setup(&f);
    see(&f, 0, true, 1, 9);
    expect(&f, SIM_CHECK_RETENTION);
    setup(&f);
    sim_start_check_asked(f.c, 0, 7);
    sim_start_check_answered(f.c, 0, SIM_START_REFUSED, -1, 1);
    sim_start_check_out_of_range(f.c, 0, 6, NOW);
    expect(&f, SIM_CHECK_RETENTION);
}
END_TEST

UNIT_MAIN("sim_start_check", starts__that_follow_the_answers_are_accepted,
          start__above_the_high_watermark_is_named, start__that_falls_is_named,
          start__that_forgets_an_acknowledged_call_is_named, retention__of_what_is_not_old_is_named,
          retention__goes_on_behind_what_was_deleted, retention__of_more_than_is_too_much_is_named,
          loss__is_no_deletion)
