/* Node 2 follows node 1 in epoch 5 with ten records: six of epoch 2, four of epoch 3; HW 6. Answers
 * of all kinds come in, true ones and others. */
#include "tests/unit/replica/toy.h"

#include <string.h>

static struct toy_node t;
static struct toy_image m;

static void follow(int64_t hw)
{
    toy_node_free(&t);
    memset(&t, 0, sizeof(t));
    for (int i = 0; i < 10; i++)
        toy_log_append(&t.log, i < 6 ? 2 : 3, (uint64_t)i);
    t.log.written = t.log.durable = 10;
    toy_node_open(&t, 2, REP_LOG_WHOLE, hw, 1);
    rep_set_broker_epoch(t.rep, 102);
    toy_image_init(&m);
    toy_node_image(&t, &m.image, 1000);
    toy_node_forget(&t);
}

static struct rep_answer data(int64_t hw, int64_t log_start)
{
    return (struct rep_answer){.kind = REP_ANSWER_DATA,
                               .leader = 1,
                               .leader_epoch = m.image.leader_epoch,
                               .offset = t.log.end,
                               .high_watermark = hw,
                               .log_start = log_start,
                               .epoch_start = -1};
}

static struct rep_answer diverging(int32_t epoch, int64_t end)
{
    struct rep_answer a = data(10, 0);
    a.kind = REP_ANSWER_DIVERGING;
    a.diverging = (struct rep_epoch_offset){epoch, end};
    return a;
}

static struct rep_answer reset(int64_t to)
{
    struct rep_answer a = data(10, 0);
    a.kind = REP_ANSWER_RESET;
    a.reset_offset = to;
    return a;
}

static enum rep_answer_result handle(struct rep_answer a, uint64_t now_ms)
{
    enum rep_answer_result r = rep_answer_begin(t.rep, &a, now_ms, &t.fx);
    toy_node_do(&t, now_ms);
    return r;
}

static void end(struct rep_answer a, uint64_t now_ms)
{
    rep_answer_end(t.rep, &a, now_ms, &t.fx);
    toy_node_do(&t, now_ms);
}

START_TEST(position__comes_from_the_log)
{ /* 2.1, KAFKA-15510: an empty answer changes nothing */
    struct rep_fetch_target at;
    follow(6);
    ck_assert_int_eq(handle(data(6, 0), 1001), REP_ANSWER_TAKE);
    end(data(6, 0), 1001);
    ck_assert(rep_fetch_position(t.rep, &at));
    ck_assert_int_eq(at.fetch.offset, 10);
    ck_assert_int_eq(at.fetch.last_epoch, 3);
    ck_assert_int_eq(at.fetch.partition_epoch, 10);
    ck_assert_int_eq(at.fetch.ends.durable, 10);
    toy_log_assign(&t.log, 4); /* an epoch led without a record is not an epoch of a batch */
    ck_assert(rep_fetch_position(t.rep, &at));
    ck_assert_int_eq(at.fetch.last_epoch, 3);
}
END_TEST

START_TEST(data__hw_is_the_smaller_of_leaders_and_own_end)
{ /* 2.4 */
    follow(6);
    ck_assert_int_eq(handle(data(8, 0), 1001), REP_ANSWER_TAKE);
    ck_assert_int_eq(rep_hw(t.rep), 6); /* not before the batches are in */
    end(data(8, 0), 1001);
    ck_assert_int_eq(rep_hw(t.rep), 8);
    ck_assert(t.seen & REP_FX_HW);
    ck_assert(t.seen & REP_FX_FETCH);
    handle(data(15, 0), 1002);
    end(data(15, 0), 1002);
    ck_assert_int_eq(rep_hw(t.rep), 10);
    handle(data(3, 0), 1003); /* a new leader may know less: ours stays (P5) */
    end(data(3, 0), 1003);
    ck_assert_int_eq(rep_hw(t.rep), 10);
}
END_TEST

START_TEST(data__log_start_follows_the_leader_within_hw_and_disk)
{ /* 10.3 */
    follow(6);
    handle(data(8, 9), 1001);
    end(data(8, 9), 1001);
    ck_assert_int_eq(rep_log_start(t.rep), 8);
    ck_assert_int_eq(t.log.start, 8);
    ck_assert(t.seen & REP_FX_REPORT_DURABLE);
    toy_log_append(&t.log, 5, 10);
    toy_log_append(&t.log, 5, 11);
    rep_on_appended(t.rep, 12, 1002, &t.fx);
    end(data(12, 12), 1002);
    ck_assert_int_eq(rep_hw(t.rep), 12);
    ck_assert_int_eq(rep_log_start(t.rep), 10); /* what lies above may be gone after a crash */
}
END_TEST

/* All that the leader has came in one answer, and no other is due: the start must not wait for one.
 * Seed 125 had a replica that never came back into the ISR, for it began below the leader's start.
 */
START_TEST(data__log_start_follows_when_the_disk_has_it)
{ /* 10.3 */
    follow(6);
    toy_log_append(&t.log, 5, 10);
    toy_log_append(&t.log, 5, 11);
    rep_on_appended(t.rep, 12, 1001, &t.fx);
    end(data(12, 12), 1001);
    ck_assert_int_eq(rep_log_start(t.rep), 10);
    rep_on_durable(t.rep, t.log.generation, 12, 1002, &t.fx);
    ck_assert(t.fx.flags & REP_FX_LOG_START);
    ck_assert_int_eq(t.fx.log_start, 12);
}
END_TEST

START_TEST(batch__must_fit_exactly)
{ /* 2.4, KAFKA-18723 */
    struct rep_answer a;
    follow(6);
    a = data(10, 0);
    ck_assert(rep_answer_batch(t.rep, &a, 10, 3, 10, 3));
    ck_assert(rep_answer_batch(t.rep, &a, 10, 3, 10, 5));
    ck_assert(!rep_answer_batch(t.rep, &a, 10, 3, 11, 3)); /* a gap */
    ck_assert(!rep_answer_batch(t.rep, &a, 10, 3, 9, 3));  /* an overlap */
    ck_assert(!rep_answer_batch(t.rep, &a, 10, 3, 10, 2)); /* epochs never fall (P7) */
    ck_assert(!rep_answer_batch(t.rep, &a, 10, 3, 10, 6)); /* newer than the request */
    a.high_watermark = 20; /* compaction leaves gaps, below the HW only */
    ck_assert(rep_answer_batch(t.rep, &a, 10, 3, 19, 3));
    ck_assert(!rep_answer_batch(t.rep, &a, 10, 3, 20, 3));
    a.epoch_start = 30; /* a leader that has just started may not know yet that it is committed */
    ck_assert(rep_answer_batch(t.rep, &a, 10, 3, 29, 3));
    ck_assert(!rep_answer_batch(t.rep, &a, 10, 3, 30, 3));
    a.leader_epoch = 4;
    ck_assert(!rep_answer_batch(t.rep, &a, 10, 3, 10, 3)); /* another epoch's answer */
}
END_TEST

START_TEST(answer__of_another_epoch_position_or_leader_is_dropped)
{ /* 2.4 */
    struct rep_answer a;
    follow(6);
    a = data(10, 0);
    a.leader_epoch = 4;
    ck_assert_int_eq(handle(a, 1001), REP_ANSWER_DROP);
    a = data(10, 0);
    a.offset = 9;
    ck_assert_int_eq(handle(a, 1001), REP_ANSWER_DROP);
    ck_assert(t.seen & REP_FX_FETCH);
    a = diverging(3, 8);
    a.leader = 3;
    ck_assert_int_eq(handle(a, 1001), REP_ANSWER_DROP);
    ck_assert_int_eq(t.truncated_to, -1);
    toy_image_elect(&m, 2);
    toy_node_image(&t, &m.image, 1002);
    toy_node_forget(&t);
    a = data(10, 0);
    ck_assert_int_eq(handle(a, 1003), REP_ANSWER_DROP);
    end(a, 1003);
    ck_assert_uint_eq(t.seen, 0);
    ck_assert_int_eq(rep_hw(t.rep), 6);
}
END_TEST

START_TEST(diverging__cuts_to_the_common_end)
{ /* 2.5, KIP-101 */
    follow(6);
    ck_assert_int_eq(handle(diverging(3, 8), 1001), REP_ANSWER_DONE);
    ck_assert_int_eq(t.truncated_to, 8);
    ck_assert(!t.lowered_hw);
    ck_assert_int_eq(rep_log_end(t.rep), 8);
    ck_assert_int_eq(rep_durable_end(t.rep), 8);
    ck_assert_int_eq(rep_state(t.rep), REP_FOLLOWER);
    ck_assert(t.seen & REP_FX_FETCH);
}
END_TEST

START_TEST(diverging__unknown_epoch_is_asked_for_again)
{ /* 2.5, KIP-279: the leader names an epoch we never saw */
    struct rep_fetch_target at;
    follow(2);
    toy_log_append(&t.log, 5, 99); /* 2,2,2,2,2,2,3,3,3,3,5 against a leader with 2 and 4 */
    rep_on_appended(t.rep, 11, 1001, &t.fx);
    handle(diverging(4, 9), 1002);
    ck_assert_int_eq(t.truncated_to, 10); /* where our 3 ends, not the leader's 9 */
    ck_assert(rep_fetch_position(t.rep, &at));
    ck_assert_int_eq(at.fetch.last_epoch, 3);
    handle(diverging(2, 4), 1003);
    ck_assert_int_eq(t.truncated_to, 4);
    ck_assert_int_eq(rep_hw(t.rep), 2);
}
END_TEST

START_TEST(diverging__hw_of_the_answer_is_not_looked_at)
{ /* P6, KAFKA-14704: an uncommitted tail must not become readable before it is cut */
    follow(6);
    t.hold_cuts = true;
    ck_assert_int_eq(handle(diverging(3, 7), 1001), REP_ANSWER_DONE); /* says HW 10 */
    ck_assert_int_eq(rep_hw(t.rep), 6);
    end(data(10, 0), 1001);
    ck_assert_int_eq(rep_hw(t.rep), 6);
    ck_assert_int_eq(handle(data(10, 0), 1002), REP_ANSWER_DROP); /* nothing is taken meanwhile */
    struct rep_fetch_target at;
    ck_assert(!rep_fetch_position(t.rep, &at));
    toy_node_finish_cut(&t, 1003);
    ck_assert_int_eq(rep_hw(t.rep), 6);
    ck_assert_int_eq(rep_state(t.rep), REP_FOLLOWER);
}
END_TEST

START_TEST(diverging__below_the_hw_is_refused_and_reported)
{ /* 2.6, P6 */
    follow(9);
    ck_assert_int_eq(handle(diverging(3, 8), 1001), REP_ANSWER_DONE);
    ck_assert_int_eq(t.truncated_to, -1);
    ck_assert_int_eq(rep_state(t.rep), REP_HALTED);
    ck_assert_int_eq(t.report, REP_REPORT_CUT_BELOW_HW);
    ck_assert_int_eq(rep_log_end(t.rep), 10);
    toy_image_elect(&m, 3); /* another leader may be the right one */
    toy_node_image(&t, &m.image, 1002);
    ck_assert_int_eq(rep_state(t.rep), REP_FOLLOWER);
}
END_TEST

START_TEST(diverging__below_the_hw_is_legal_after_an_unclean_election)
{ /* 2.7 */
    follow(9);
    toy_image_elect(&m, 1);
    m.image.last_unclean_epoch = 6;
    toy_node_image(&t, &m.image, 1001);
    t.hold_cuts = true;
    handle(diverging(3, 8), 1002);
    ck_assert_int_eq(t.truncated_to, 8);
    ck_assert(t.lowered_hw);
    ck_assert_int_eq(rep_hw(t.rep), 8); /* before the cut: a checkpoint must not be higher */
    toy_node_finish_cut(&t, 1003);
    ck_assert_int_eq(rep_state(t.rep), REP_FOLLOWER);
}
END_TEST

START_TEST(diverging__below_the_log_start_begins_again)
{ /* 2.7 */
    follow(9);
    t.log.start = 7;
    rep_on_log_start(t.rep, 7, 7, 1001, &t.fx);
    toy_image_elect(&m, 1);
    m.image.last_unclean_epoch = 6;
    toy_node_image(&t, &m.image, 1001);
    handle(diverging(2, 5), 1002);
    ck_assert_int_eq(t.reset_to, 5);
    ck_assert(t.lowered_hw);
    ck_assert_int_eq(rep_hw(t.rep), 5);
    ck_assert_int_eq(rep_log_start(t.rep), 5);
}
END_TEST

START_TEST(diverging__without_progress_is_dropped)
{
    follow(6);
    ck_assert_int_eq(handle(diverging(3, 10), 1001), REP_ANSWER_DROP);
    ck_assert_int_eq(handle(diverging(3, -1), 1001), REP_ANSWER_DROP);
    ck_assert_int_eq(rep_log_end(t.rep), 10);
    ck_assert_int_eq(rep_state(t.rep), REP_FOLLOWER);
}
END_TEST

START_TEST(truncation__reports_of_the_former_generation_are_dropped)
{ /* 2.5, 9.2 */
    follow(6);
    toy_log_append(&t.log, 5, 10);
    toy_log_append(&t.log, 5, 11);
    rep_on_appended(t.rep, 12, 1001, &t.fx);
    uint64_t before = t.log.generation;
    handle(diverging(3, 8), 1002);
    rep_on_durable(t.rep, before, 12, 1003, &t.fx);
    ck_assert_uint_eq(t.fx.flags, 0);
    ck_assert_int_eq(rep_durable_end(t.rep), 8);
    rep_on_durable(t.rep, t.log.generation, 8, 1004, &t.fx);
    ck_assert_int_eq(rep_durable_end(t.rep), 8);
    for (uint64_t i = 0; i < 4; i++)
        toy_log_append(&t.log, 5, 20 + i); /* other records at the old offsets */
    rep_on_appended(t.rep, 12, 1005, &t.fx);
    rep_on_durable(t.rep, before, 12, 1006, &t.fx);
    rep_on_written(t.rep, before, 12, 1006, &t.fx);
    ck_assert_int_eq(rep_durable_end(t.rep), 8);
}
END_TEST

START_TEST(truncation__start_that_becomes_durable_meanwhile_counts)
{ /* 4.1, 10.3: the leader lets nobody join below its start (simulator seed 70017) */
    struct rep_fetch_target at;
    follow(6);
    t.log.start = 4;
    rep_on_log_start(t.rep, 4, 0, 1001, &t.fx);
    t.hold_cuts = true;
    handle(diverging(3, 8), 1002);
    ck_assert_int_eq(rep_state(t.rep), REP_TRUNCATING);
    rep_on_log_start(t.rep, 4, 4, 1003, &t.fx);
    ck_assert_uint_eq(t.fx.flags, 0);
    toy_node_finish_cut(&t, 1004);
    ck_assert(rep_fetch_position(t.rep, &at));
    ck_assert_int_eq(at.fetch.ends.log_start, 4);
}
END_TEST

START_TEST(reset__member_waits_to_be_out)
{ /* 2.8 */
    follow(6);
    ck_assert_int_eq(handle(reset(50), 1001), REP_ANSWER_DONE);
    ck_assert_int_eq(rep_state(t.rep), REP_WAITING);
    ck_assert_int_eq(t.report, REP_REPORT_MUST_DROP);
    ck_assert_int_eq(t.reset_to, -1);
    toy_image_isr(&m, 5, 0);
    toy_node_image(&t, &m.image, 1002);
    ck_assert_int_eq(rep_state(t.rep), REP_FOLLOWER);
    handle(reset(50), 1003);
    ck_assert_int_eq(t.reset_to, 50);
    ck_assert(!t.set_aside);
    ck_assert_int_eq(rep_hw(t.rep), 50); /* KAFKA-9491 */
    ck_assert_int_eq(rep_log_start(t.rep), 50);
    ck_assert_int_eq(rep_durable_end(t.rep), 50);
}
END_TEST

/* Out, it is told that it may go on after all, and is let in again: once asked is enough
 * (simulator seed 6272, where it asked for ever). */
START_TEST(reset__member_let_in_again_stays)
{
    follow(6);
    (void)handle(reset(50), 1001);
    ck_assert_int_eq(t.report, REP_REPORT_MUST_DROP);
    toy_image_isr(&m, 5, 0);
    toy_node_image(&t, &m.image, 1002);
    ck_assert_int_eq(rep_state(t.rep), REP_FOLLOWER);
    t.report = REP_REPORT_NONE;
    toy_image_isr(&m, 7, 0);
    toy_node_image(&t, &m.image, 1003);
    ck_assert_int_eq(rep_state(t.rep), REP_FOLLOWER);
    ck_assert_int_eq(t.report, REP_REPORT_NONE);
}
END_TEST

START_TEST(reset__empty_log_drops_nothing)
{ /* 2.8 */
    toy_node_free(&t);
    toy_node_init(&t, 2, 3, 0, 0);
    toy_image_init(&m);
    toy_node_image(&t, &m.image, 1000);
    handle(reset(50), 1001);
    ck_assert_int_eq(t.reset_to, 50);
    ck_assert_int_eq(rep_state(t.rep), REP_FOLLOWER);
}
END_TEST

/* Node 2, out of the ISR, was told to begin at 50. */
static void begin_empty_at_50(bool in_isr)
{
    toy_node_free(&t);
    toy_node_init(&t, 2, 3, 0, 0);
    toy_image_init(&m);
    m.replicas[1].in_isr = in_isr;
    toy_node_image(&t, &m.image, 1000);
    handle(reset(50), 1001);
    ck_assert_int_eq(t.log.end, 50);
}

START_TEST(batch__that_holds_the_start_is_taken_from_its_base)
{ /* else a replica behind DeleteRecords never comes back */
    begin_empty_at_50(false);
    struct rep_answer a = data(60, 50);
    ck_assert(!rep_answer_batch(t.rep, &a, 50, -1, 48, 3));
    ck_assert(!rep_answer_straddles(t.rep, &a, 50, 1002, &t.fx));
    ck_assert(rep_answer_straddles(t.rep, &a, 48, 1002, &t.fx));
    toy_node_do(&t, 1002);
    ck_assert_int_eq(t.reset_to, 48);
    ck_assert_int_eq(t.log.end, 48);
    ck_assert_int_eq(rep_hw(t.rep), 48);
    a = data(60, 50);
    ck_assert(rep_answer_batch(t.rep, &a, 48, -1, 48, 3));
    toy_log_append(&t.log, 3, 1);
    rep_on_appended(t.rep, t.log.end, 1003, &t.fx);
    ck_assert(!rep_answer_straddles(t.rep, &a, 47, 1004, &t.fx)); /* no more: it holds records */
    begin_empty_at_50(true);
    a = data(60, 50);
    ck_assert(!rep_answer_straddles(t.rep, &a, 48, 1002, &t.fx)); /* it counts (2.8) */
}
END_TEST

START_TEST(reset__backwards_is_refused)
{ /* 2.6 */
    follow(6);
    ck_assert_int_eq(handle(reset(4), 1001), REP_ANSWER_DROP); /* that is for a divergence to say */
    toy_node_free(&t);
    toy_node_init(&t, 2, 3, 0, 0);
    toy_image_init(&m);
    toy_node_image(&t, &m.image, 1000);
    handle(reset(50), 1001);
    handle(reset(20), 1002);
    ck_assert_int_eq(t.reset_to, 50);
    ck_assert_int_eq(rep_state(t.rep), REP_HALTED);
    ck_assert_int_eq(t.report, REP_REPORT_CUT_BELOW_HW);
}
END_TEST

START_TEST(reset__to_the_own_end_drops_what_nobody_can_compare)
{ /* the leader's log begins there */
    follow(6);
    ck_assert_int_eq(handle(reset(10), 1001), REP_ANSWER_DONE); /* a member: 2.8 */
    ck_assert_int_eq(rep_state(t.rep), REP_WAITING);
    ck_assert_int_eq(t.reset_to, -1);
    toy_image_isr(&m, 5, 0);
    toy_node_image(&t, &m.image, 1002);
    ck_assert_int_eq(handle(reset(10), 1003), REP_ANSWER_DONE);
    ck_assert_int_eq(t.reset_to, 10);
    ck_assert_int_eq(rep_log_start(t.rep), 10);
    ck_assert_int_eq(rep_hw(t.rep), 10);
    toy_node_forget(&t);
    ck_assert_int_eq(handle(reset(10), 1004), REP_ANSWER_DROP); /* nothing is left to drop */
    ck_assert_int_eq(t.reset_to, -1);
}
END_TEST

START_TEST(durable__is_reported_when_it_moves)
{ /* 2.3 */
    struct rep_fetch_target at;
    follow(6);
    toy_log_append(&t.log, 5, 10);
    rep_on_appended(t.rep, 11, 1001, &t.fx);
    rep_on_written(t.rep, t.log.generation, 11, 1002, &t.fx);
    ck_assert(!(t.fx.flags & REP_FX_REPORT_DURABLE)); /* strong: written is nothing */
    rep_on_durable(t.rep, t.log.generation, 11, 1003, &t.fx);
    ck_assert(t.fx.flags & REP_FX_REPORT_DURABLE);
    rep_fetch_position(t.rep, &at);
    ck_assert_int_eq(at.fetch.ends.durable, 11);
    m.image.strong = false;
    toy_node_image(&t, &m.image, 1004);
    ck_assert(t.fx.flags & REP_FX_REPORT_DURABLE);
    toy_log_append(&t.log, 5, 11);
    rep_on_appended(t.rep, 12, 1005, &t.fx);
    rep_on_written(t.rep, t.log.generation, 12, 1006, &t.fx);
    ck_assert(t.fx.flags & REP_FX_REPORT_DURABLE);
}
END_TEST

UNIT_MAIN("replica follower", position__comes_from_the_log,
          data__hw_is_the_smaller_of_leaders_and_own_end,
          data__log_start_follows_the_leader_within_hw_and_disk,
          data__log_start_follows_when_the_disk_has_it, batch__must_fit_exactly,
          answer__of_another_epoch_position_or_leader_is_dropped, diverging__cuts_to_the_common_end,
          diverging__unknown_epoch_is_asked_for_again, diverging__hw_of_the_answer_is_not_looked_at,
          diverging__below_the_hw_is_refused_and_reported,
          diverging__below_the_hw_is_legal_after_an_unclean_election,
          diverging__below_the_log_start_begins_again, diverging__without_progress_is_dropped,
          truncation__reports_of_the_former_generation_are_dropped,
          truncation__start_that_becomes_durable_meanwhile_counts, reset__member_waits_to_be_out,
          reset__member_let_in_again_stays, reset__empty_log_drops_nothing,
          batch__that_holds_the_start_is_taken_from_its_base, reset__backwards_is_refused,
          reset__to_the_own_end_drops_what_nobody_can_compare, durable__is_reported_when_it_moves)
