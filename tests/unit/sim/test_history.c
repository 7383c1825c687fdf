/* A checker that never fails shows nothing: each promise is broken on purpose here, and the history
 * must name it. */
#include "tests/sim/sim_history.h"

#include "tests/unit/unit.h"

struct fixture {
    struct sim_checks checks;
    struct sim_history *h;
};

static void setup(struct fixture *f)
{
    memset(&f->checks, 0, sizeof(f->checks));
    f->h = sim_history_new(&f->checks, 2);
}

static uint64_t send_one(struct fixture *f, uint32_t order, bool idempotent)
{
    struct sim_sent s = {.producer = 0, .partition = 0, .order = order, .acks = -1};
    s.producer_id = idempotent ? 77 : -1;
    s.sequence = (int32_t)order;
    return sim_history_send(f->h, &s);
}

/* The final log of partition 0 holds these ids; partition 1 is empty. */
static void finish(struct fixture *f, const uint64_t *ids, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct kb_buf v = {0};
        sim_history_value(ids[i], &v);
        sim_history_final(f->h, "reader", 0, (int64_t)i, kb_view_of(v.data, v.size));
        kb_buf_release(&v);
    }
    sim_history_final_end(f->h, "reader", 0, (int64_t)count);
    sim_history_final_end(f->h, "reader", 1, 0);
    sim_history_judge(f->h);
}

static void read_one(struct fixture *f, int64_t offset, uint64_t id)
{
    struct kb_buf v = {0};
    sim_history_value(id, &v);
    sim_history_read(f->h, 1, 0, offset, kb_view_of(v.data, v.size));
    kb_buf_release(&v);
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
    f->h = sim_history_free(f->h);
}

START_TEST(judge__accepts_a_run_without_faults)
{
    struct fixture f;
    setup(&f);
    for (uint32_t i = 0; i < 3; i++)
        sim_history_done(f.h, send_one(&f, i, true), SIM_OK, i);
    (void)send_one(&f, 3, true); /* open for ever: may be there or not */
    read_one(&f, 1, 1);
    finish(&f, (uint64_t[]){0, 1, 2}, 3);
    ck_assert_uint_eq(sim_history_acked(f.h), 3);
    expect(&f, -1);
}
END_TEST

START_TEST(judge__names_a_lost_record)
{
    struct fixture f;
    setup(&f);
    sim_history_done(f.h, send_one(&f, 0, false), SIM_INFO, -1);
    sim_history_done(f.h, send_one(&f, 1, false), SIM_OK, 7);
    finish(&f, (uint64_t[]){0}, 1);
    ck_assert_uint_eq(f.checks.check[SIM_CHECK_P1].failures, 1);
    f.h = sim_history_free(f.h);
}
END_TEST

START_TEST(judge__names_a_duplicate)
{
    struct fixture f;
    setup(&f);
    sim_history_done(f.h, send_one(&f, 0, true), SIM_INFO, -1);
    finish(&f, (uint64_t[]){0, 0}, 2);
    expect(&f, SIM_CHECK_P12);
}
END_TEST

START_TEST(judge__names_a_reordering_and_a_gap)
{
    struct fixture f;
    setup(&f);
    for (uint32_t i = 0; i < 2; i++)
        (void)send_one(&f, i, true);
    finish(&f, (uint64_t[]){1, 0}, 2);
    expect(&f, SIM_CHECK_P11);
    setup(&f);
    for (uint32_t i = 0; i < 3; i++)
        (void)send_one(&f, i, true);
    finish(&f, (uint64_t[]){0, 2}, 2);
    expect(&f, SIM_CHECK_P11);
}
END_TEST

START_TEST(judge__names_an_acknowledgement_at_the_wrong_offset)
{
    struct fixture f;
    setup(&f);
    (void)send_one(&f, 0, true);
    sim_history_done(f.h, send_one(&f, 1, true), SIM_OK, 0);
    finish(&f, (uint64_t[]){0, 1}, 2);
    ck_assert_uint_gt(f.checks.check[SIM_CHECK_P12].failures, 0);
    ck_assert_uint_gt(f.checks.check[SIM_CHECK_P10].failures, 0);
    f.h = sim_history_free(f.h);
}
END_TEST

START_TEST(read__names_a_record_that_changed_or_vanished)
{
    struct fixture f;
    setup(&f);
    (void)send_one(&f, 0, false);
    (void)send_one(&f, 1, false);
    read_one(&f, 0, 0);
    read_one(&f, 0, 1);
    ck_assert_uint_eq(f.checks.check[SIM_CHECK_P2].failures, 1);
    f.h = sim_history_free(f.h);
    setup(&f);
    (void)send_one(&f, 0, false);
    read_one(&f, 0, 0);
    finish(&f, NULL, 0);
    expect(&f, SIM_CHECK_P10);
}
END_TEST

/* Four records, of which the first reader finds those from 2 on. */
static void finish_from_two(struct fixture *f, uint64_t last)
{
    struct kb_buf v = {0};
    sim_history_final_start(f->h, 0, 2);
    for (int64_t i = 2; i < 4; i++) {
        sim_history_value(i == 3 ? last : (uint64_t)i, &v);
        sim_history_final(f->h, "reader", 0, i, kb_view_of(v.data, v.size));
        v.size = 0;
    }
    sim_history_final_end(f->h, "reader", 0, 4);
    sim_history_final_end(f->h, "reader", 1, 0);
    sim_history_value(1, &v); /* a disk still has it */
    sim_history_final(f->h, "a disk", 0, 1, kb_view_of(v.data, v.size));
    kb_buf_release(&v);
    sim_history_judge(f->h);
}

START_TEST(judge__asks_for_what_was_not_deleted_only)
{
    struct fixture f;
    setup(&f);
    for (uint32_t i = 0; i < 4; i++)
        sim_history_done(f.h, send_one(&f, i, true), SIM_OK, i);
    read_one(&f, 0, 0);
    finish_from_two(&f, 3);
    expect(&f, -1);
    setup(&f); /* what nobody saw may have been where records were deleted ... */
    (void)send_one(&f, 0, true);
    for (uint32_t i = 1; i < 4; i++)
        sim_history_done(f.h, send_one(&f, i, true), SIM_OK, i);
    finish_from_two(&f, 3);
    expect(&f, -1);
    setup(&f); /* ... but not behind what is left */
    for (uint32_t i = 0; i < 5; i++)
        sim_history_done(f.h, send_one(&f, i, true), i == 3 ? SIM_INFO : SIM_OK, i == 4 ? 3 : i);
    finish_from_two(&f, 4);
    expect(&f, SIM_CHECK_P11);
    setup(&f);
    for (uint32_t i = 0; i < 2; i++)
        sim_history_done(f.h, send_one(&f, i, false), SIM_OK, i);
    (void)send_one(&f, 2, false);
    (void)send_one(&f, 3, false);
    sim_history_done(f.h, send_one(&f, 4, false), SIM_OK, 7); /* above the start, and lost */
    finish_from_two(&f, 3);
    ck_assert_uint_eq(f.checks.check[SIM_CHECK_P1].failures, 1);
    f.h = sim_history_free(f.h);
    setup(&f);
    for (uint32_t i = 0; i < 4; i++)
        (void)send_one(&f, i, false);
    read_one(&f, 1, 0); /* what the disk has below the start is another value */
    finish_from_two(&f, 3);
    expect(&f, SIM_CHECK_P2);
}
END_TEST

START_TEST(read__names_foreign_bytes)
{
    struct fixture f;
    setup(&f);
    (void)send_one(&f, 0, false);
    sim_history_read(f.h, 1, 0, 0, kb_view_str("v0.x"));
    sim_history_read(f.h, 1, 0, 1, kb_view_str("garbage"));
    sim_history_read(f.h, 1, 0, 2, kb_view_str("v99.zzz"));
    ck_assert_uint_eq(f.checks.check[SIM_CHECK_P2].failures, 3);
    f.h = sim_history_free(f.h);
}
END_TEST

START_TEST(final__names_readers_that_disagree)
{
    struct fixture f;
    setup(&f);
    (void)send_one(&f, 0, false);
    (void)send_one(&f, 1, false);
    finish(&f, (uint64_t[]){0, 1}, 2);
    struct kb_buf v = {0};
    sim_history_value(1, &v);
    sim_history_final(f.h, "second", 0, 0, kb_view_of(v.data, v.size));
    ck_assert_uint_eq(f.checks.check[SIM_CHECK_P2].failures, 1);
    sim_history_final_end(f.h, "second", 0, 1);
    ck_assert_uint_eq(f.checks.check[SIM_CHECK_P2].failures, 2);
    kb_buf_release(&v);
    f.h = sim_history_free(f.h);
}
END_TEST

START_TEST(refused__must_not_appear)
{
    struct fixture f;
    setup(&f);
    sim_history_done(f.h, send_one(&f, 0, false), SIM_FAIL, -1);
    finish(&f, (uint64_t[]){0}, 1);
    expect(&f, SIM_CHECK_P12);
}
END_TEST

START_TEST(judge__names_an_id_given_twice)
{
    struct fixture f;
    setup(&f);
    sim_history_identity(f.h, 1000);
    sim_history_identity(f.h, 2000);
    ck_assert_uint_eq(f.checks.check[SIM_CHECK_R18].checks, 2);
    ck_assert_uint_eq(f.checks.check[SIM_CHECK_R18].failures, 0);
    sim_history_identity(f.h, 1000);
    expect(&f, SIM_CHECK_R18);
}
END_TEST

UNIT_MAIN("sim_history", judge__names_an_id_given_twice, judge__accepts_a_run_without_faults,
          judge__names_a_lost_record, judge__names_a_duplicate, judge__names_a_reordering_and_a_gap,
          judge__names_an_acknowledgement_at_the_wrong_offset,
          read__names_a_record_that_changed_or_vanished, judge__asks_for_what_was_not_deleted_only,
          read__names_foreign_bytes, final__names_readers_that_disagree, refused__must_not_appear)
