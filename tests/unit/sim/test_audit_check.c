/* Answers of brokers about their logs: which of them cannot be, by what the broker was and by the
 * log of the end. */
#include "tests/sim/sim_audit_check.h"

#include "proto/kafka/error.h"
#include "tests/unit/unit.h"

struct fixture {
    struct sim_checks checks;
    struct sim_audit_check *c;
    struct sim_audit_question q;
    struct sim_audit_view after;
};

/* A leader of epoch 4, which began at 8; up to 10 is committed, the log ends at 12. */
static void setup(struct fixture *f, enum sim_audit_kind kind)
{
    memset(f, 0, sizeof(*f));
    f->c = sim_audit_check_new(&f->checks);
    f->q = (struct sim_audit_question){.kind = kind, .broker = 1, .current_epoch = 4};
    f->q.before = (struct sim_audit_view){.life = 1,
                                          .open = true,
                                          .leads = true,
                                          .knows_topic = true,
                                          .leader_epoch = 4,
                                          .high_watermark = 10,
                                          .end = 12,
                                          .epoch_start = 8};
    f->after = f->q.before;
    f->after.high_watermark = 11;
    f->after.end = 13;
}

static void end(struct fixture *f, int only)
{
    for (int i = 0; i < SIM_CHECK_MAX_; i++) {
        if (i == only)
            ck_assert_msg(f->checks.check[i].failures > 0, "%s not noticed", sim_check_name(i));
        else
            ck_assert_msg(f->checks.check[i].failures == 0, "%s: %s", sim_check_name(i),
                          f->checks.check[i].first);
    }
    f->c = sim_audit_check_free(f->c);
}

static void answer(struct fixture *f, int16_t error, int64_t offset, int64_t timestamp,
                   int32_t epoch)
{
    const struct sim_audit_answer a = {
        .error = error, .offset = offset, .timestamp = timestamp, .epoch = epoch};
    sim_audit_check_answer(f->c, &f->q, &a, &f->after);
}

/* In the end: offsets 0..12, 0-4 of epoch 1, 5-7 of epoch 2, the rest of epoch 4; times 100, 101 …,
 * but 9 has that of 3 and the last two have the same. */
static void finish(struct fixture *f)
{
    for (int64_t offset = 0; offset < 13; offset++) {
        int64_t timestamp = offset == 9 ? 103 : offset == 12 ? 111 : 100 + offset;
        sim_audit_check_record(f->c, 0, offset, offset < 5 ? 1 : offset < 8 ? 2 : 4, timestamp);
    }
    sim_audit_check_final(f->c);
}

static void expect(enum sim_audit_kind kind, int32_t epoch, int64_t asked_time, int64_t offset,
                   int64_t timestamp, int32_t told_epoch, int only)
{
    struct fixture f;
    setup(&f, kind);
    f.q.epoch = epoch;
    f.q.timestamp = asked_time;
    answer(&f, KW_NONE, offset, timestamp, told_epoch);
    finish(&f);
    end(&f, only);
}

static void expect_epoch(int32_t asked, bool open, int16_t error, int only)
{
    for (int kind = 0; kind < SIM_AUDIT_KIND_MAX_; kind++) {
        struct fixture f;
        setup(&f, (enum sim_audit_kind)kind);
        f.q.current_epoch = asked;
        f.q.before.open = open;
        f.q.before.leads = f.after.leads = false;
        f.after.leader_epoch = 5;
        answer(&f, error, 0, 0, 0);
        end(&f, only);
    }
}

START_TEST(audit_check__wants_other_epochs_refused)
{
    expect_epoch(3, true, KW_FENCED_LEADER_EPOCH, -1);
    expect_epoch(3, true, KW_NONE, SIM_CHECK_P15);
    expect_epoch(3, true, KW_UNKNOWN_LEADER_EPOCH, SIM_CHECK_P15);
    expect_epoch(3, true, KW_NOT_LEADER_OR_FOLLOWER, SIM_CHECK_P15);
    expect_epoch(3, false, KW_NOT_LEADER_OR_FOLLOWER, -1);
    expect_epoch(3, false, KW_NONE, SIM_CHECK_P15);
    expect_epoch(6, true, KW_UNKNOWN_LEADER_EPOCH, -1);
    expect_epoch(6, true, KW_NONE, SIM_CHECK_P15);
    expect_epoch(6, true, KW_FENCED_LEADER_EPOCH, SIM_CHECK_P15);
    for (int32_t asked = 4; asked <= 5; asked++) { /* it moved from the one to the other */
        expect_epoch(asked, true, KW_NONE, -1);
        expect_epoch(asked, true, KW_FENCED_LEADER_EPOCH, -1);
    }
}
END_TEST

START_TEST(audit_check__wants_the_present_epoch_served)
{
    struct fixture f;
    setup(&f, SIM_AUDIT_FETCH);
    answer(&f, KW_NOT_LEADER_OR_FOLLOWER, 0, 0, 0); /* it may have been cut off */
    answer(&f, KW_NONE, 0, 0, 0);
    ck_assert_uint_eq(f.checks.check[SIM_CHECK_P15].checks, 2);
    ck_assert_uint_eq(f.checks.check[SIM_CHECK_P15].failures, 0);
    answer(&f, KW_FENCED_LEADER_EPOCH, 0, 0, 0);
    end(&f, SIM_CHECK_P15);
}
END_TEST

START_TEST(audit_check__wants_unknown_topics_refused)
{
    static const struct {
        bool before, after;
        int16_t error;
        int only;
    } cases[] = {{false, false, KW_UNKNOWN_TOPIC_ID, -1},
                 {false, false, KW_NONE, SIM_CHECK_P15},
                 {false, false, KW_NOT_LEADER_OR_FOLLOWER, SIM_CHECK_P15},
                 {true, true, KW_NONE, -1},
                 {true, true, KW_UNKNOWN_TOPIC_ID, SIM_CHECK_P15},
                 {true, false, KW_NONE, -1},
                 {false, true, KW_UNKNOWN_TOPIC_ID, -1}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct fixture f;
        setup(&f, SIM_AUDIT_FETCH);
        f.q.by_id = f.q.other_topic = true;
        f.q.before.knows_topic = cases[i].before;
        f.after.knows_topic = cases[i].after;
        answer(&f, cases[i].error, 0, 0, 0);
        end(&f, cases[i].only);
    }
}
END_TEST

START_TEST(audit_check__concludes_nothing_over_a_restart)
{
    struct fixture f;
    setup(&f, SIM_AUDIT_LATEST);
    f.q.current_epoch = 3;
    f.after.life = 2;
    answer(&f, KW_NONE, 700, 0, 0);
    end(&f, -1);
}
END_TEST

START_TEST(audit_check__knows_the_ends)
{
    expect(SIM_AUDIT_LATEST, 0, -1, 10, -1, 4, -1);
    expect(SIM_AUDIT_LATEST, 0, -1, 11, -1, 4, -1);
    expect(SIM_AUDIT_LATEST, 0, -1, 9, -1, 4, SIM_CHECK_P18);
    expect(SIM_AUDIT_LATEST, 0, -1, 12, -1, 4, SIM_CHECK_P18);
    expect(SIM_AUDIT_EARLIEST, 0, -2, 0, -1, 1, -1);
    expect(SIM_AUDIT_EARLIEST, 0, -2, 1, -1, 1, SIM_CHECK_P18);
    struct fixture f;
    setup(&f, SIM_AUDIT_LATEST); /* it was below its epoch's start all the time */
    f.q.before.high_watermark = f.after.high_watermark = 7;
    answer(&f, KW_OFFSET_NOT_AVAILABLE, -1, -1, -1);
    ck_assert_uint_eq(f.checks.check[SIM_CHECK_P18].failures, 0);
    answer(&f, KW_NONE, 7, -1, 4);
    end(&f, SIM_CHECK_P18);
    setup(&f, SIM_AUDIT_LATEST); /* it told what is not there in the end */
    f.after.high_watermark = 14;
    answer(&f, KW_NONE, 14, -1, 4);
    ck_assert_uint_eq(f.checks.check[SIM_CHECK_P18].failures, 0);
    finish(&f);
    end(&f, SIM_CHECK_P18);
}
END_TEST

START_TEST(audit_check__knows_the_times)
{
    expect(SIM_AUDIT_TIME, 0, 103, 3, 103, 1, -1);
    expect(SIM_AUDIT_TIME, 0, 103, 9, 103, 4, SIM_CHECK_P18);
    expect(SIM_AUDIT_TIME, 0, 103, 3, 104, 1, SIM_CHECK_P18);
    expect(SIM_AUDIT_TIME, 0, 103, -1, -1, -1, SIM_CHECK_P18);
    expect(SIM_AUDIT_TIME, 0, 110, 10, 110, 4, -1); /* it was committed while it looked */
    expect(SIM_AUDIT_TIME, 0, 110, -1, -1, -1, -1);
    expect(SIM_AUDIT_TIME, 0, 111, 11, 111, 4, SIM_CHECK_P18);
    expect(SIM_AUDIT_TIME, 0, 111, -1, -1, -1, -1);
    expect(SIM_AUDIT_TIME, 0, 500, -1, -1, -1, -1);
    expect(SIM_AUDIT_TIME, 0, 500, 40, 500, 4, SIM_CHECK_P18);
    expect(SIM_AUDIT_MAX_TIME, 0, -3, 8, 108, 4, -1);
    expect(SIM_AUDIT_MAX_TIME, 0, -3, 10, 110, 4, -1);
    expect(SIM_AUDIT_MAX_TIME, 0, -3, 7, 107, 4, SIM_CHECK_P18);
    expect(SIM_AUDIT_MAX_TIME, 0, -3, 11, 111, 4, SIM_CHECK_P18);
    expect(SIM_AUDIT_MAX_TIME, 0, -3, 8, 109, 4, SIM_CHECK_P18);
    expect(SIM_AUDIT_MAX_TIME, 0, -3, -1, -1, -1, SIM_CHECK_P18);
}
END_TEST

START_TEST(audit_check__knows_where_epochs_end)
{
    expect(SIM_AUDIT_EPOCH_END, 0, 0, 0, 0, 0, -1); /* older than all */
    expect(SIM_AUDIT_EPOCH_END, 1, 0, 5, 0, 1, -1);
    expect(SIM_AUDIT_EPOCH_END, 1, 0, 8, 0, 1, SIM_CHECK_P19);
    expect(SIM_AUDIT_EPOCH_END, 1, 0, 12, 0, 1, SIM_CHECK_P19);
    expect(SIM_AUDIT_EPOCH_END, 2, 0, 8, 0, 2, -1);
    expect(SIM_AUDIT_EPOCH_END, 3, 0, 8, 0, 2, -1);
    expect(SIM_AUDIT_EPOCH_END, 2, 0, 8, 0, 3, SIM_CHECK_P19);
    expect(SIM_AUDIT_EPOCH_END, 4, 0, 13, 0, 4, -1);
    expect(SIM_AUDIT_EPOCH_END, 4, 0, 11, 0, 4, SIM_CHECK_P19);
    expect(SIM_AUDIT_EPOCH_END, 5, 0, -1, 0, -1, -1);
    expect(SIM_AUDIT_EPOCH_END, 5, 0, 13, 0, 4, SIM_CHECK_P19);
}
END_TEST

/* Retention has left nothing of what was told (seed 94259). */
START_TEST(audit_check__knows_the_end_of_an_empty_log)
{
    for (int64_t log_end = 10; log_end <= 12; log_end++) {
        struct fixture f;
        setup(&f, SIM_AUDIT_LATEST);
        answer(&f, KW_NONE, 11, 0, 0);
        sim_audit_check_end(f.c, 0, log_end);
        sim_audit_check_final(f.c);
        end(&f, log_end < 11 ? SIM_CHECK_P18 : -1);
    }
}
END_TEST

UNIT_MAIN("sim_audit_check", audit_check__wants_other_epochs_refused,
          audit_check__wants_the_present_epoch_served, audit_check__wants_unknown_topics_refused,
          audit_check__concludes_nothing_over_a_restart, audit_check__knows_the_ends,
          audit_check__knows_the_times, audit_check__knows_where_epochs_end,
          audit_check__knows_the_end_of_an_empty_log)
