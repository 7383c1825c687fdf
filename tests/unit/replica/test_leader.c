/* Node 1 leads in epoch 5 with a log of ten records of epoch 3; 2 and 3 ask, report and fall
 * silent. What is recorded, when the HW moves, what is refused. */
#include "tests/unit/replica/toy.h"

static struct toy_node t;
static struct toy_image m;
static struct rep_fetch_answer got;

static void lead(int64_t hw)
{
    toy_node_free(&t);
    toy_node_init(&t, 1, 3, 10, hw);
    t.controller_heard_ms = 1000;
    toy_image_init(&m);
    toy_node_image(&t, &m.image, 1000);
    toy_node_forget(&t);
}

static struct rep_fetch request(int32_t follower, int64_t offset, int32_t last_epoch)
{
    return (struct rep_fetch){
        .follower = follower,
        .broker_epoch = 100 + follower,
        .link = 1,
        .leader_epoch = 5,
        .partition_epoch = m.image.partition_epoch,
        .offset = offset,
        .last_epoch = last_epoch,
        .high_watermark = 0,
        .ends = {offset, offset, 0},
    };
}

static enum rep_fetch_result ask(const struct rep_fetch *f, uint64_t now_ms)
{
    enum rep_fetch_result r = rep_follower_fetch(t.rep, f, now_ms, &got, &t.fx);
    toy_node_do(&t, now_ms);
    return r;
}

/* Follower at offset with everything durable. */
static enum rep_fetch_result at(int32_t follower, int64_t offset, uint64_t now_ms)
{
    struct rep_fetch f = request(follower, offset, offset > 10 ? 5 : 3);
    return ask(&f, now_ms);
}

static void report(int32_t follower, uint64_t link, int32_t leader_epoch, int64_t durable,
                   uint64_t now_ms)
{
    struct rep_fetch f = request(follower, 0, -1);
    f.link = link;
    f.leader_epoch = leader_epoch;
    f.ends = (struct rep_ends){durable, durable, 0};
    rep_follower_durable(t.rep, &f, now_ms, &t.fx);
    toy_node_do(&t, now_ms);
}

static struct rep_inspect_peer peer(int index)
{
    struct rep_inspect seen;
    rep_inspect(t.rep, 1000, &seen);
    return seen.peers[index];
}

START_TEST(hw__is_the_smallest_durable_end_of_the_isr)
{ /* 3.1, P4 */
    lead(0);
    ck_assert_int_eq(at(2, 10, 1001), REP_FETCH_OK);
    ck_assert_int_eq(rep_hw(t.rep), 0); /* 3 is not known in this epoch yet (1.6) */
    ck_assert_int_eq(at(3, 8, 1002), REP_FETCH_OK);
    ck_assert_int_eq(rep_hw(t.rep), 8);
    ck_assert(t.seen & REP_FX_HW);
    ck_assert_int_eq(at(3, 10, 1003), REP_FETCH_OK);
    ck_assert_int_eq(rep_hw(t.rep), 10);
    ck_assert_int_eq(got.high_watermark, 10); /* the very answer carries it */
}
END_TEST

START_TEST(hw__counts_the_leaders_own_durable_end)
{ /* 3.1 */
    lead(0);
    toy_node_append(&t, 2, true, 1001);
    at(2, 12, 1002);
    at(3, 12, 1003);
    ck_assert_int_eq(rep_hw(t.rep), 10);
    toy_node_sync(&t, 1004);
    ck_assert_int_eq(rep_hw(t.rep), 12);
}
END_TEST

START_TEST(hw__weak_topic_counts_written_bytes)
{ /* "durable" reads "written" */
    struct rep_fetch f;
    lead(0);
    m.image.strong = false;
    toy_node_image(&t, &m.image, 1000);
    toy_node_append(&t, 2, true, 1001);
    rep_on_written(t.rep, t.log.generation, 12, 1002, &t.fx);
    toy_node_do(&t, 1002);
    for (int32_t id = 2; id <= 3; id++) {
        f = request(id, 12, 5);
        f.ends.durable = 0;
        ck_assert_int_eq(ask(&f, 1003), REP_FETCH_OK);
    }
    ck_assert_int_eq(rep_hw(t.rep), 12);
    m.image.strong = true; /* turned strong: what is only written counts no more */
    toy_node_image(&t, &m.image, 1004);
    toy_node_append(&t, 1, false, 1005);
    at(2, 13, 1006);
    f = request(3, 13, 5);
    f.ends.durable = 12;
    ask(&f, 1006);
    ck_assert_int_eq(rep_hw(t.rep), 12);
}
END_TEST

START_TEST(hw__stands_still_below_the_minimum)
{ /* 3.1, P4 */
    lead(5);
    toy_image_isr(&m, 1, 6);
    toy_node_image(&t, &m.image, 1001);
    toy_node_append(&t, 3, false, 1002);
    ck_assert_int_eq(rep_hw(t.rep), 5);
    at(2, 13, 1003); /* joining counts for the HW, not for the minimum */
    ck_assert(t.seen & REP_FX_PROPOSE);
    ck_assert_int_eq(rep_hw(t.rep), 5);
    toy_image_isr(&m, 3, 0);
    toy_node_image(&t, &m.image, 1004);
    ck_assert_int_eq(rep_hw(t.rep), 13);
}
END_TEST

START_TEST(hw__shrunk_isr_lets_it_move)
{ /* KAFKA-15021: a removal without a new epoch; 3.3: it counts once replayed */
    lead(0);
    at(2, 10, 1001);
    at(3, 4, 1002);
    ck_assert_int_eq(rep_hw(t.rep), 4);
    toy_node_append(&t, 1, false, 1003);
    at(2, 11, 1004);
    toy_image_isr(&m, 3, 0);
    m.replicas[2].fenced = true;
    toy_node_image(&t, &m.image, 1005);
    ck_assert_int_eq(rep_hw(t.rep), 11);
    ck_assert_int_eq(t.log.end, 11);
}
END_TEST

START_TEST(hw__waits_for_caught_up_joiners)
{ /* 3.1: an eligible replica within the lag time holds it back */
    lead(0);
    toy_image_isr(&m, 3, 0);
    toy_node_image(&t, &m.image, 1000);
    at(2, 10, 1001);
    ck_assert_int_eq(rep_hw(t.rep), 10);
    at(3, 10, 1002);
    toy_node_append(&t, 1, false, 1003);
    at(2, 11, 1004);
    ck_assert_int_eq(rep_hw(t.rep), 10);
    m.replicas[2].fenced = true; /* no longer eligible, but its addition is still proposed (3.3) */
    toy_node_image(&t, &m.image, 1005);
    ck_assert_int_eq(rep_hw(t.rep), 10);
    rep_proposal_answered(t.rep, rep_proposal(t.rep)->id, REP_PROPOSAL_REFUSED, 1006, &t.fx);
    toy_node_do(&t, 1006);
    ck_assert_int_eq(rep_hw(t.rep), 11);
}
END_TEST

START_TEST(hw__joiner_counts_until_the_lag_time)
{ /* 3.1, 4.2 */
    lead(0);
    toy_image_isr(&m, 3, 0);
    toy_node_image(&t, &m.image, 1000);
    at(2, 10, 1001);
    struct rep_fetch f = request(3, 10, 3);
    f.partition_epoch--; /* caught up, but may not be proposed yet */
    ck_assert_int_eq(ask(&f, 1002), REP_FETCH_OK);
    ck_assert_ptr_null(rep_proposal(t.rep));
    toy_node_append(&t, 1, false, 1004);
    at(2, 11, 1005);
    ck_assert_int_eq(rep_hw(t.rep), 10);
    rep_tick(t.rep, 31004, &t.fx);
    toy_node_do(&t, 31004);
    ck_assert_int_eq(rep_hw(t.rep), 10);
    rep_tick(t.rep, 31005, &t.fx);
    toy_node_do(&t, 31005);
    ck_assert_int_eq(rep_hw(t.rep), 11);
}
END_TEST

START_TEST(fetch__checks_come_in_order)
{ /* 2.2, P15 */
    lead(0);
    struct rep_fetch f = request(2, 10, 3);
    f.leader_epoch = 4;
    ck_assert_int_eq(ask(&f, 1001), REP_FETCH_FENCED_EPOCH);
    f.leader_epoch = 6;
    ck_assert_int_eq(ask(&f, 1001), REP_FETCH_UNKNOWN_EPOCH);
    f = request(9, 10, 3);
    ck_assert_int_eq(ask(&f, 1001), REP_FETCH_NOT_REPLICA);
    f = request(2, 10, 3);
    f.broker_epoch = 77; /* R17, KIP-903 */
    ck_assert_int_eq(ask(&f, 1001), REP_FETCH_STALE_BROKER);
    f = request(1, 10, 3);
    ck_assert_int_eq(ask(&f, 1001), REP_FETCH_INVALID);
    f = request(2, 10, 6);
    ck_assert_int_eq(ask(&f, 1001), REP_FETCH_INVALID);
    f = request(2, -1, -1);
    ck_assert_int_eq(ask(&f, 1001), REP_FETCH_INVALID);
    ck_assert_int_eq(peer(1).log_end, -1); /* none of them was recorded */
    toy_image_elect(&m, 2);
    toy_node_image(&t, &m.image, 1002);
    f.leader_epoch = 6;
    ck_assert_int_eq(ask(&f, 1003), REP_FETCH_NOT_LEADER);
}
END_TEST

START_TEST(fetch__replaced_link_is_void)
{ /* 1.4 */
    lead(0);
    struct rep_fetch f = request(2, 8, 3);
    f.link = 4;
    ck_assert_int_eq(ask(&f, 1001), REP_FETCH_OK);
    f.link = 3;
    f.offset = 10;
    ck_assert_int_eq(ask(&f, 1002), REP_FETCH_STALE_LINK);
    ck_assert_int_eq(peer(1).log_end, 8);
}
END_TEST

START_TEST(fetch__diverging_request_records_nothing)
{ /* 2.2, P14 */
    lead(0);
    struct rep_fetch f = request(2, 12, 4); /* epoch 4 is unknown here */
    ck_assert_int_eq(ask(&f, 1001), REP_FETCH_DIVERGING);
    ck_assert_int_eq(got.diverging.epoch, 3);
    ck_assert_int_eq(got.diverging.end_offset, 10);
    f = request(2, 12, 3); /* more of epoch 3 than there ever was */
    ck_assert_int_eq(ask(&f, 1001), REP_FETCH_DIVERGING);
    ck_assert_int_eq(got.diverging.end_offset, 10);
    report(2, 1, 5, 12, 1002);
    ck_assert_int_eq(peer(1).log_end, -1);
    ck_assert_int_eq(peer(1).durable, -1);
    ck_assert_int_eq(rep_hw(t.rep), 0);
}
END_TEST

START_TEST(fetch__bound_is_what_is_written)
{ /* design §4: followers may read what is not synced yet */
    lead(0);
    toy_node_append(&t, 4, true, 1001);
    at(2, 10, 1002);
    ck_assert_int_eq(got.bound, 10);
    rep_on_written(t.rep, t.log.generation, 13, 1003, &t.fx);
    ck_assert(t.fx.flags & REP_FX_WAKE_FOLLOWERS);
    at(2, 10, 1004);
    ck_assert_int_eq(got.bound, 13);
    rep_on_written(t.rep, t.log.generation + 1, 14, 1005, &t.fx); /* another generation (2.5) */
    at(2, 10, 1006);
    ck_assert_int_eq(got.bound, 13);
}
END_TEST

START_TEST(log_start__never_falls)
{ /* P16 */
    lead(10);
    t.log.start = 6;
    rep_on_log_start(t.rep, 6, 6, 1001, &t.fx);
    rep_on_log_start(t.rep, 4, 4, 1002, &t.fx);
    ck_assert_int_eq(rep_log_start(t.rep), 6);
    ck_assert_int_eq(at(2, 5, 1003), REP_FETCH_RESET);
    ck_assert_int_eq(got.reset_offset, 6);
}
END_TEST

START_TEST(fetch__below_the_log_start_begins_again)
{
    lead(10);
    t.log.start = 6;
    rep_on_log_start(t.rep, 6, 6, 1001, &t.fx);
    ck_assert_int_eq(at(2, 5, 1002), REP_FETCH_RESET);
    ck_assert_int_eq(got.reset_offset, 6);
    struct rep_fetch f = request(2, 14, -1); /* empty log that starts beyond our end */
    ck_assert_int_eq(ask(&f, 1003), REP_FETCH_RESET);
    ck_assert_int_eq(got.reset_offset, 10);
}
END_TEST

START_TEST(fetch__of_an_empty_log_may_begin_at_the_batch_of_the_start)
{ /* only whole batches are sent, and the one that holds the start begins below it */
    lead(10);
    t.log.start = 6;
    t.kept_below = 2;
    rep_on_log_start(t.rep, 6, 6, 1001, &t.fx);
    struct rep_fetch f = request(2, 5, -1);
    ck_assert_int_eq(ask(&f, 1002), REP_FETCH_OK);
    ck_assert_int_eq(got.log_start, 6);
    ck_assert_int_eq(at(2, 5, 1003), REP_FETCH_RESET); /* what it has there may diverge */
    f = request(2, 3, -1);                             /* its files are gone here */
    ck_assert_int_eq(ask(&f, 1004), REP_FETCH_RESET);
    t.log.start = 10;
    t.kept_below = 6;
    rep_on_log_start(t.rep, 10, 10, 1006, &t.fx);
    f = request(2, 5, -1); /* nothing is left to send */
    ck_assert_int_eq(ask(&f, 1007), REP_FETCH_RESET);
}
END_TEST

START_TEST(fetch__at_the_log_start_from_an_epoch_unknown_above_begins_again)
{ /* P2: it may hold other records than those that were deleted here */
    lead(10);
    toy_image_isr(&m, 5, 0);
    toy_node_image(&t, &m.image, 1001);
    t.log.start = 6;
    rep_on_log_start(t.rep, 6, 6, 1002, &t.fx);
    ck_assert_int_eq(at(2, 6, 1003),
                     REP_FETCH_OK); /* epoch 3 goes on above: one leader's records */
    struct rep_fetch f = request(2, 6, 2);
    ck_assert_int_eq(rep_follower_again(t.rep, &f, &got), REP_FETCH_RESET);
    ck_assert_int_eq(got.reset_offset, 6);
    ck_assert_int_eq(ask(&f, 1004), REP_FETCH_RESET);
    ck_assert_int_eq(got.reset_offset, 6);
    f = request(2, 8, 2); /* first it cuts what diverges above */
    ck_assert_int_eq(ask(&f, 1005), REP_FETCH_DIVERGING);
    ck_assert_int_eq(got.diverging.end_offset, 6);
    f = request(2, 6, -1); /* then it holds nothing */
    ck_assert_int_eq(ask(&f, 1006), REP_FETCH_OK);
    t.log.start = 10;
    rep_on_log_start(t.rep, 10, 10, 1007, &t.fx);
    ck_assert_int_eq(at(2, 10, 1008), REP_FETCH_RESET);
}
END_TEST

START_TEST(fetch__of_a_member_at_the_log_start_goes_on)
{ /* it holds all that was committed, and the start never passes that */
    for (unsigned elr = 0; elr <= 2; elr += 2) {
        lead(10);
        toy_image_isr(&m, 7 & ~elr, elr);
        toy_node_image(&t, &m.image, 1001);
        t.log.start = 10;
        rep_on_log_start(t.rep, 10, 10, 1002, &t.fx);
        struct rep_fetch f = request(2, 10, 2);
        ck_assert_int_eq(ask(&f, 1003), REP_FETCH_OK);
        ck_assert_int_eq(rep_follower_again(t.rep, &f, &got), REP_FETCH_OK);
    }
}
END_TEST

START_TEST(durable__counts_up_to_the_checked_position_only)
{ /* 2.3, P14 */
    lead(0);
    struct rep_fetch f = request(2, 6, 3);
    f.ends.durable = 2;
    ask(&f, 1001);
    ck_assert_int_eq(peer(1).durable, 2);
    report(2, 1, 5, 9, 1002);
    ck_assert_int_eq(peer(1).durable, 6); /* and 9 is not kept for later */
    f = request(2, 10, 3);
    f.ends.durable = 6;
    ask(&f, 1003);
    ck_assert_int_eq(peer(1).durable, 6);
    report(2, 2, 5, 10, 1004); /* no position was checked on that link */
    report(2, 1, 4, 10, 1004); /* another epoch */
    ck_assert_int_eq(peer(1).durable, 6);
    report(2, 1, 5, 10, 1005);
    ck_assert_int_eq(peer(1).durable, 10);
}
END_TEST

START_TEST(again__judges_without_recording)
{ /* a parked request is no sign of life, and its ends are those of then */
    lead(0);
    struct rep_fetch f = request(2, 10, 3);
    f.ends.durable = 6;
    ask(&f, 1001);
    report(2, 1, 5, 10, 1002);
    toy_node_append(&t, 2, false, 1003);
    ck_assert_int_eq(rep_follower_again(t.rep, &f, &got), REP_FETCH_OK);
    ck_assert_int_eq(got.bound, 12);
    ck_assert_int_eq(peer(1).durable, 10);
    ck_assert_uint_eq(peer(1).heard_ms, 1002);
    toy_image_elect(&m, 1);
    toy_node_image(&t, &m.image, 1004);
    ck_assert_int_eq(rep_follower_again(t.rep, &f, &got), REP_FETCH_FENCED_EPOCH);
}
END_TEST

START_TEST(new_epoch__forgets_positions)
{ /* 1.6, 2.3: a tail of an older epoch is not a copy of a newer one */
    lead(0);
    at(2, 10, 1001);
    toy_image_elect(&m, 1);
    toy_node_image(&t, &m.image, 1002);
    ck_assert_int_eq(peer(1).log_end, -1);
    report(2, 1, 6, 10, 1003);
    ck_assert_int_eq(peer(1).durable, -1);
}
END_TEST

START_TEST(rebooted_follower__is_forgotten)
{ /* KIP-903, R17 */
    lead(0);
    at(2, 10, 1001);
    m.replicas[1].broker_epoch = 200;
    toy_node_image(&t, &m.image, 1002);
    ck_assert_int_eq(peer(1).durable, -1);
    struct rep_fetch f = request(2, 10, 3);
    ck_assert_int_eq(ask(&f, 1003), REP_FETCH_STALE_BROKER);
    f.broker_epoch = 200;
    ck_assert_int_eq(ask(&f, 1003), REP_FETCH_OK);
}
END_TEST

START_TEST(position_that_falls__takes_the_durable_end_along)
{
    lead(0);
    at(2, 10, 1001);
    at(2, 4, 1002);
    ck_assert_int_eq(peer(1).durable, 4);
}
END_TEST

START_TEST(follower_with_higher_hw__proves_the_leader_damaged)
{ /* 2.6, rows 40, 47 */
    lead(4);
    struct rep_fetch f = request(2, 14, 3);
    f.high_watermark = 10; /* not above the epoch's start: it may have known more than we did */
    ck_assert_int_eq(ask(&f, 1001), REP_FETCH_DIVERGING);
    ck_assert_int_eq(rep_state(t.rep), REP_LEADER);
    f.high_watermark = 11;
    ck_assert_int_eq(ask(&f, 1002), REP_FETCH_NOT_LEADER);
    ck_assert_int_eq(rep_state(t.rep), REP_HALTED);
    ck_assert_int_eq(t.report, REP_REPORT_DAMAGED);
    ck_assert_int_eq(t.fail, REP_FAIL_DAMAGED);
    ck_assert_int_eq(rep_check_append(t.rep, 1, 1003), REP_APPEND_NOT_LEADER);
}
END_TEST

START_TEST(follower_with_higher_hw__proves_nothing_after_an_unclean_election)
{ /* 2.6, 2.7 */
    lead(4);
    toy_image_elect(&m, 1);
    m.image.last_unclean_epoch = 6;
    toy_node_image(&t, &m.image, 1001);
    struct rep_fetch f = request(2, 14, 3);
    f.leader_epoch = 6;
    f.high_watermark = 14;
    ck_assert_int_eq(ask(&f, 1002), REP_FETCH_DIVERGING);
    ck_assert_int_eq(rep_state(t.rep), REP_LEADER);
}
END_TEST

START_TEST(append__acks_all_needs_the_minimum)
{ /* 3.6, P9 */
    lead(0);
    ck_assert_int_eq(rep_check_append(t.rep, -1, 1001), REP_APPEND_OK);
    toy_image_isr(&m, 1, 6);
    toy_node_image(&t, &m.image, 1002);
    ck_assert_int_eq(rep_check_append(t.rep, -1, 1003), REP_APPEND_NOT_ENOUGH_REPLICAS);
    ck_assert_int_eq(rep_check_append(t.rep, 1, 1003), REP_APPEND_OK);
    ck_assert_int_eq(rep_check_append(t.rep, 0, 1003), REP_APPEND_OK);
}
END_TEST

START_TEST(append__acks_all_needs_members_that_are_heard)
{ /* 3.6: without a controller the ISR cannot shrink */
    lead(0);
    ck_assert_int_eq(rep_check_append(t.rep, -1, 2500), REP_APPEND_OK); /* epoch's start is heard */
    t.controller_heard_ms = 2501;
    ck_assert_int_eq(rep_check_append(t.rep, -1, 2501), REP_APPEND_NOT_ENOUGH_REPLICAS);
    ck_assert_int_eq(rep_check_append(t.rep, 1, 2501), REP_APPEND_OK);
    at(3, 10, 2502);
    ck_assert_int_eq(rep_check_append(t.rep, -1, 2503), REP_APPEND_OK);
    t.link_heard_ms = 9000; /* keep-alives of the link count where the epoch was checked on it */
    t.controller_heard_ms = 9000;
    ck_assert_int_eq(rep_check_append(t.rep, -1, 9100), REP_APPEND_OK);
}
END_TEST

START_TEST(append__acknowledged_by_hw_or_own_disk)
{ /* 3.5, P9, P22 */
    lead(10);
    at(2, 10, 1001);
    at(3, 10, 1001);
    toy_node_append(&t, 2, true, 1002);
    ck_assert_int_eq(rep_append_done(t.rep, 5, 11, 0), REP_APPEND_DONE);
    ck_assert_int_eq(rep_append_done(t.rep, 5, 11, 1), REP_APPEND_WAIT);
    toy_node_sync(&t, 1003);
    ck_assert(t.seen & REP_FX_DURABLE);
    ck_assert_int_eq(rep_append_done(t.rep, 5, 11, 1), REP_APPEND_DONE);
    ck_assert_int_eq(rep_append_done(t.rep, 5, 11, -1), REP_APPEND_WAIT);
    at(2, 12, 1004);
    at(3, 11, 1004);
    ck_assert_int_eq(rep_append_done(t.rep, 5, 10, -1), REP_APPEND_DONE);
    ck_assert_int_eq(rep_append_done(t.rep, 5, 11, -1), REP_APPEND_WAIT);
    at(3, 12, 1005);
    ck_assert_int_eq(rep_append_done(t.rep, 5, 11, -1), REP_APPEND_DONE);
    ck_assert_int_eq(rep_append_done(t.rep, 4, 11, -1), REP_APPEND_EPOCH_ENDED);
}
END_TEST

START_TEST(cut_off__needs_silence_of_controller_and_members)
{ /* 3.7, rows 16, 20 */
    lead(0);
    ck_assert(!rep_is_cut_off(t.rep, 2500));
    ck_assert(rep_is_cut_off(t.rep, 2501));
    ck_assert_int_eq(rep_check_append(t.rep, 1, 2501), REP_APPEND_CUT_OFF);
    ck_assert_int_eq(rep_check_append(t.rep, 0, 2501), REP_APPEND_CUT_OFF);
    at(2, 10, 2600);
    ck_assert(rep_is_cut_off(t.rep, 2601)); /* every other member must be heard */
    at(3, 10, 2602);
    ck_assert(!rep_is_cut_off(t.rep, 2603));
    t.controller_heard_ms = 6000; /* or the controller */
    ck_assert(!rep_is_cut_off(t.rep, 7500));
    ck_assert(rep_is_cut_off(t.rep, 7501));
}
END_TEST

START_TEST(cut_off__a_request_judged_late_is_no_younger)
{ /* 3.7: it waited for a disk, meanwhile its sender may have died */
    lead(0);
    at(2, 10, 1100);
    struct rep_fetch f = request(3, 10, 3);
    f.came_ms = 1200;
    ck_assert_int_eq(ask(&f, 9000), REP_FETCH_OK);
    ck_assert_uint_eq(peer(2).heard_ms, 1200);
    ck_assert(rep_is_cut_off(t.rep, 9001));
}
END_TEST

START_TEST(cut_off__ends_what_is_parked_once)
{ /* 3.7 */
    lead(0);
    at(2, 10, 1100);
    at(3, 10, 1100);
    rep_tick(t.rep, 1101, &t.fx);
    ck_assert_uint_eq(t.fx.deadline_ms, 2601);
    rep_tick(t.rep, 2601, &t.fx);
    ck_assert(t.fx.flags & REP_FX_FAIL_PARKED);
    ck_assert_int_eq(t.fx.fail, REP_FAIL_CUT_OFF);
    ck_assert_int_eq(rep_state(t.rep), REP_LEADER);
    rep_tick(t.rep, 2700, &t.fx);
    ck_assert(!(t.fx.flags & REP_FX_FAIL_PARKED));
    t.controller_heard_ms = 2800;
    ck_assert_int_eq(rep_check_append(t.rep, 1, 2801), REP_APPEND_OK);
    rep_tick(t.rep, 4301, &t.fx); /* the next time ends it again */
    ck_assert(t.fx.flags & REP_FX_FAIL_PARKED);
}
END_TEST

START_TEST(cut_off__never_without_other_members)
{ /* 3.7 */
    lead(0);
    toy_image_isr(&m, 1, 0);
    m.image.min_isr = 1;
    toy_node_image(&t, &m.image, 1001);
    ck_assert(!rep_is_cut_off(t.rep, 100000));
    toy_image_isr(&m, 1, 4); /* an ELR member is one */
    toy_node_image(&t, &m.image, 1002);
    ck_assert(rep_is_cut_off(t.rep, 100000));
}
END_TEST

START_TEST(delete__waits_for_the_whole_isr)
{ /* 10.3, P16 */
    int64_t to;
    struct rep_fetch f;
    lead(8);
    at(2, 10, 1001);
    ck_assert_int_eq(rep_check_delete(t.rep, 9, 1001, &to), REP_DELETE_OUT_OF_RANGE);
    ck_assert_int_eq(rep_check_delete(t.rep, -1, 1001, &to), REP_DELETE_OK);
    ck_assert_int_eq(to, 8);
    t.log.start = 6;
    rep_on_log_start(t.rep, 6, 0, 1002, &t.fx);
    ck_assert(t.fx.flags & REP_FX_WAKE_FOLLOWERS);
    for (int32_t id = 2; id <= 3; id++) {
        f = request(id, 10, 3);
        f.ends.log_start = 6;
        ask(&f, 1003);
    }
    ck_assert_int_eq(rep_delete_done(t.rep, 5, 6), REP_APPEND_WAIT); /* our own is not durable */
    rep_on_log_start(t.rep, 6, 6, 1004, &t.fx);
    ck_assert(t.fx.flags & REP_FX_LOW_WATERMARK);
    ck_assert_int_eq(rep_delete_done(t.rep, 5, 6), REP_APPEND_DONE);
    ck_assert_int_eq(rep_low_watermark(t.rep), 6);
    toy_image_isr(&m, 1, 6); /* below the minimum: an ELR member would miss it */
    toy_node_image(&t, &m.image, 1005);
    ck_assert_int_eq(rep_check_delete(t.rep, 7, 1006, &to), REP_DELETE_NOT_ENOUGH_REPLICAS);
    ck_assert_int_eq(rep_delete_done(t.rep, 5, 6), REP_APPEND_WAIT);
    toy_image_elect(&m, -1);
    toy_node_image(&t, &m.image, 1007);
    ck_assert_int_eq(rep_check_delete(t.rep, 7, 1008, &to), REP_DELETE_NOT_LEADER);
    ck_assert_int_eq(rep_delete_done(t.rep, 5, 6), REP_APPEND_EPOCH_ENDED);
}
END_TEST

UNIT_MAIN("replica leader", cut_off__a_request_judged_late_is_no_younger,
          hw__is_the_smallest_durable_end_of_the_isr, hw__counts_the_leaders_own_durable_end,
          hw__weak_topic_counts_written_bytes, hw__stands_still_below_the_minimum,
          hw__shrunk_isr_lets_it_move, hw__waits_for_caught_up_joiners,
          hw__joiner_counts_until_the_lag_time, fetch__checks_come_in_order,
          fetch__replaced_link_is_void, fetch__diverging_request_records_nothing,
          fetch__bound_is_what_is_written, log_start__never_falls,
          fetch__below_the_log_start_begins_again,
          fetch__of_an_empty_log_may_begin_at_the_batch_of_the_start,
          fetch__at_the_log_start_from_an_epoch_unknown_above_begins_again,
          fetch__of_a_member_at_the_log_start_goes_on,
          durable__counts_up_to_the_checked_position_only, again__judges_without_recording,
          new_epoch__forgets_positions, rebooted_follower__is_forgotten,
          position_that_falls__takes_the_durable_end_along,
          follower_with_higher_hw__proves_the_leader_damaged,
          follower_with_higher_hw__proves_nothing_after_an_unclean_election,
          append__acks_all_needs_the_minimum, append__acks_all_needs_members_that_are_heard,
          append__acknowledged_by_hw_or_own_disk, cut_off__needs_silence_of_controller_and_members,
          cut_off__ends_what_is_parked_once, cut_off__never_without_other_members,
          delete__waits_for_the_whole_isr)
