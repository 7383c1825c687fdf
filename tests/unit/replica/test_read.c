/* What clients are told: a leader in epoch 5 with ten records of epoch 3 and a HW that may trail,
 * and a follower that serves readers near it. */
#include "tests/unit/replica/toy.h"

static struct toy_node t;
static struct toy_image m;
static struct rep_read_answer got;

static void start(int32_t id, int64_t hw)
{
    toy_node_free(&t);
    toy_node_init(&t, id, 3, 10, hw);
    t.controller_heard_ms = 1000;
    toy_image_init(&m);
    toy_node_image(&t, &m.image, 1000);
}

/* Replica id follows in this epoch, from the start of the log. */
static void follow(int32_t id, uint64_t now_ms)
{
    struct rep_fetch_answer answer;
    struct rep_fetch f = {.follower = id,
                          .broker_epoch = 100 + id,
                          .link = 1,
                          .leader_epoch = 5,
                          .last_epoch = -1,
                          .partition_epoch = 10};
    ck_assert_int_eq(rep_follower_fetch(t.rep, &f, now_ms, &answer, &t.fx), REP_FETCH_OK);
    t.link_heard_ms = now_ms;
}

static void start_followed(int64_t hw)
{
    start(1, hw);
    follow(2, 1000);
    follow(3, 1000);
}

static enum rep_read_result read_at(int64_t offset, uint64_t now_ms)
{
    struct rep_read read = {.offset = offset,
                            .leader_epoch = -1,
                            .last_epoch = -1,
                            .last_stable = 4,
                            .from_follower = t.config.node_id == 2};
    return rep_consumer_read(t.rep, &read, now_ms, &got);
}

START_TEST(read__ends_at_the_hw)
{ /* P10 */
    start(1, 6);
    ck_assert_int_eq(read_at(0, 1001), REP_READ_OK);
    ck_assert_int_eq(got.bound, 6);
    ck_assert_int_eq(got.high_watermark, 6);
    ck_assert_int_eq(read_at(5, 1001), REP_READ_OK);
    ck_assert_int_eq(read_at(6, 1001), REP_READ_WAIT);
}
END_TEST

START_TEST(read__committed_ends_at_the_last_stable_offset)
{
    struct rep_read read = {.offset = 4,
                            .leader_epoch = 5,
                            .last_epoch = -1,
                            .isolation = REP_READ_COMMITTED,
                            .last_stable = 4};
    start(1, 6);
    ck_assert_int_eq(rep_consumer_read(t.rep, &read, 1001, &got), REP_READ_WAIT);
    ck_assert_int_eq(got.bound, 4);
    read.last_stable = 9; /* never above the HW */
    ck_assert_int_eq(rep_consumer_read(t.rep, &read, 1001, &got), REP_READ_OK);
    ck_assert_int_eq(got.bound, 6);
}
END_TEST

START_TEST(read__new_leader_never_says_out_of_range)
{ /* 10.1, P5 */
    int64_t offset;
    start(1, 6);
    ck_assert_int_eq(read_at(8, 1001), REP_READ_WAIT);
    ck_assert_int_eq(read_at(12, 1001), REP_READ_WAIT);
    ck_assert_int_eq(rep_latest(t.rep, REP_READ_UNCOMMITTED, 4, &offset), REP_READ_NOT_AVAILABLE);
    start_followed(10); /* HW at the epoch's start */
    ck_assert_int_eq(read_at(12, 1001), REP_READ_OUT_OF_RANGE);
    ck_assert_int_eq(rep_latest(t.rep, REP_READ_UNCOMMITTED, 4, &offset), REP_READ_OK);
    ck_assert_int_eq(offset, 10);
    ck_assert_int_eq(rep_latest(t.rep, REP_READ_COMMITTED, 4, &offset), REP_READ_OK);
    ck_assert_int_eq(offset, 4);
}
END_TEST

START_TEST(read__between_hw_and_end_waits)
{
    start_followed(10);
    toy_node_append(&t, 3, false, 1001);
    ck_assert_int_eq(read_at(12, 1002), REP_READ_WAIT);
    ck_assert_int_eq(read_at(13, 1002), REP_READ_WAIT);
    ck_assert_int_eq(read_at(14, 1002), REP_READ_OUT_OF_RANGE);
}
END_TEST

START_TEST(read__below_the_log_start_is_out_of_range)
{
    start(1, 10);
    t.log.start = 3;
    rep_on_log_start(t.rep, 3, 3, 1001, &t.fx);
    ck_assert_int_eq(read_at(2, 1002), REP_READ_OUT_OF_RANGE);
    ck_assert_int_eq(got.log_start, 3);
}
END_TEST

START_TEST(read__epochs_are_checked_first)
{ /* P15, KIP-320 */
    struct rep_read read = {.offset = 0, .leader_epoch = 4, .last_epoch = -1};
    start(1, 10);
    ck_assert_int_eq(rep_consumer_read(t.rep, &read, 1001, &got), REP_READ_FENCED_EPOCH);
    read.leader_epoch = 6;
    ck_assert_int_eq(rep_consumer_read(t.rep, &read, 1001, &got), REP_READ_UNKNOWN_EPOCH);
    ck_assert_int_eq(rep_check_epoch(t.rep, 5, false), REP_READ_OK);
    ck_assert_int_eq(rep_check_epoch(t.rep, -1, false), REP_READ_OK);
    ck_assert_int_eq(rep_check_epoch(t.rep, -2, false), REP_READ_FENCED_EPOCH);
    ck_assert_int_eq(rep_check_epoch(t.rep, INT32_MIN, false), REP_READ_FENCED_EPOCH);
    toy_image_elect(&m, 3);
    toy_node_image(&t, &m.image, 1002);
    ck_assert_int_eq(rep_check_epoch(t.rep, -1, false), REP_READ_NOT_LEADER);
    ck_assert_int_eq(rep_check_epoch(t.rep, -1, true), REP_READ_OK);
    ck_assert_int_eq(rep_check_epoch(t.rep, 5, true), REP_READ_FENCED_EPOCH);
}
END_TEST

START_TEST(read__past_a_truncation_is_told)
{ /* KIP-320: the reader was at 12 of epoch 4, which this log never had */
    struct rep_read read = {.offset = 12, .leader_epoch = 5, .last_epoch = 4};
    start_followed(10);
    ck_assert_int_eq(rep_consumer_read(t.rep, &read, 1001, &got), REP_READ_DIVERGING);
    ck_assert_int_eq(got.diverging.epoch, 3);
    ck_assert_int_eq(got.diverging.end_offset, 10);
    read.last_epoch = 3;
    read.offset = 10;
    ck_assert_int_eq(rep_consumer_read(t.rep, &read, 1001, &got), REP_READ_WAIT);
    read.last_epoch = 7; /* above all that is known */
    ck_assert_int_eq(rep_consumer_read(t.rep, &read, 1001, &got), REP_READ_OUT_OF_RANGE);
}
END_TEST

/* 10.1: a leader that was replaced and does not know it lacks what its successor appended. Whoever
 * read there must not hear that its offset does not exist. */
START_TEST(read__beyond_the_end_wants_a_controller_that_was_heard)
{
    struct rep_read read = {.offset = 12, .leader_epoch = 5, .last_epoch = 7};
    start_followed(10);
    ck_assert_int_eq(read_at(12, 1750), REP_READ_OUT_OF_RANGE);
    ck_assert_int_eq(read_at(12, 1751), REP_READ_WAIT);
    ck_assert_int_eq(rep_consumer_read(t.rep, &read, 1751, &got), REP_READ_WAIT);
    read.last_epoch = 4;
    ck_assert_int_eq(rep_consumer_read(t.rep, &read, 1751, &got), REP_READ_WAIT);
    ck_assert_int_eq(read_at(12, 5000), REP_READ_NOT_LEADER); /* cut off */
    t.controller_heard_ms = 4900;
    ck_assert_int_eq(read_at(12, 5000), REP_READ_WAIT);
    t.link_heard_ms = 4900; /* the followers as well */
    ck_assert_int_eq(read_at(12, 5000), REP_READ_OUT_OF_RANGE);
}
END_TEST

/* Its control link closed, and a successor leads a moment later: the controller was heard just now,
 * but one of those who may be elected follows no more, or never did in this epoch. */
START_TEST(read__beyond_the_end_wants_all_who_may_be_elected)
{
    struct rep_read read = {.offset = 12, .leader_epoch = 5, .last_epoch = 4};
    start(1, 10);
    follow(2, 1000);
    ck_assert_int_eq(read_at(12, 1100), REP_READ_WAIT);
    ck_assert_int_eq(rep_consumer_read(t.rep, &read, 1100, &got), REP_READ_WAIT);
    follow(3, 1100);
    ck_assert_int_eq(read_at(12, 1101), REP_READ_OUT_OF_RANGE);
    ck_assert_int_eq(rep_consumer_read(t.rep, &read, 1101, &got), REP_READ_DIVERGING);
    t.link_heard_ms = 0; /* taken back, or the link closed */
    ck_assert_int_eq(read_at(12, 1102), REP_READ_WAIT);
    ck_assert_int_eq(rep_consumer_read(t.rep, &read, 1102, &got), REP_READ_WAIT);
    m.replicas[1].fenced = m.replicas[2].fenced = true;
    toy_image_isr(&m, 1, 6);
    m.image.partition_epoch++;
    toy_node_image(&t, &m.image, 1103); /* nobody is left to be elected */
    ck_assert_int_eq(read_at(12, 1104), REP_READ_OUT_OF_RANGE);
}
END_TEST

START_TEST(read__cut_off_leader_serves_but_does_not_park)
{ /* 3.7 */
    start(1, 6);
    ck_assert_int_eq(read_at(3, 5000), REP_READ_OK);
    ck_assert_int_eq(read_at(6, 5000), REP_READ_NOT_LEADER);
}
END_TEST

START_TEST(read__from_a_follower_ends_at_what_it_knows)
{ /* 10.1, KIP-392 */
    start(2, 6);
    ck_assert_int_eq(read_at(3, 1001), REP_READ_OK);
    ck_assert_int_eq(got.bound, 6);
    ck_assert_int_eq(read_at(6, 1001), REP_READ_WAIT);
    ck_assert_int_eq(read_at(7, 1001), REP_READ_NOT_AVAILABLE);
    struct rep_read read = {.offset = 3, .leader_epoch = -1, .last_epoch = -1};
    ck_assert_int_eq(rep_consumer_read(t.rep, &read, 1001, &got), REP_READ_NOT_LEADER);
}
END_TEST

START_TEST(names__are_all_there)
{
    for (int s = 0; s < REP_STATE_MAX_; s++)
        ck_assert_str_ne(rep_state_name((enum rep_state)s), "?");
    for (int r = 0; r <= REP_REPORT_METADATA_BACKWARDS; r++)
        ck_assert_str_ne(rep_report_name((enum rep_report)r), "?");
    ck_assert_str_eq(rep_state_name(REP_STATE_MAX_), "?");
}
END_TEST

UNIT_MAIN("replica read", read__ends_at_the_hw, read__committed_ends_at_the_last_stable_offset,
          read__new_leader_never_says_out_of_range, read__between_hw_and_end_waits,
          read__below_the_log_start_is_out_of_range, read__epochs_are_checked_first,
          read__past_a_truncation_is_told, read__beyond_the_end_wants_a_controller_that_was_heard,
          read__beyond_the_end_wants_all_who_may_be_elected,
          read__cut_off_leader_serves_but_does_not_park,
          read__from_a_follower_ends_at_what_it_knows, names__are_all_there)
