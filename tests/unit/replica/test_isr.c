/* Node 1 leads; who is in sync is measured on durable ends, changes are proposed one at a time and
 * take effect when an image says so. */
#include "tests/unit/replica/toy.h"

static struct toy_node t;
static struct toy_image m;

static void lead(unsigned isr)
{
    toy_node_free(&t);
    toy_node_init(&t, 1, 3, 10, 10);
    toy_image_init(&m);
    toy_image_isr(&m, isr, 0);
    toy_node_image(&t, &m.image, 1000);
    toy_node_forget(&t);
}

/* Follower at offset of a log that agrees with ours, `durable` of it synced. */
static void at(int32_t follower, int64_t offset, int64_t durable, uint64_t now_ms)
{
    struct rep_fetch_answer got;
    struct rep_fetch f = {
        .follower = follower,
        .broker_epoch = m.replicas[follower - 1].broker_epoch,
        .link = 1,
        .leader_epoch = m.image.leader_epoch,
        .partition_epoch = m.image.partition_epoch,
        .offset = offset,
        .last_epoch = offset > 10 ? 5 : 3,
        .ends = {offset, durable, 0},
    };
    t.controller_heard_ms = now_ms;
    ck_assert_int_eq(rep_follower_fetch(t.rep, &f, now_ms, &got, &t.fx), REP_FETCH_OK);
    toy_node_do(&t, now_ms);
}

static void tick(uint64_t now_ms)
{
    t.controller_heard_ms = now_ms;
    rep_tick(t.rep, now_ms, &t.fx);
    toy_node_do(&t, now_ms);
}

static unsigned proposed(void)
{
    const struct rep_proposal *q = rep_proposal(t.rep);
    unsigned isr = 0;

    for (size_t i = 0; q != NULL && i < q->n_isr; i++)
        isr |= 1u << (q->isr[i].node_id - 1);
    return isr;
}

static void answered(enum rep_proposal_result result, uint64_t now_ms)
{
    rep_proposal_answered(t.rep, rep_proposal(t.rep)->id, result, now_ms, &t.fx);
    toy_node_do(&t, now_ms);
}

static struct rep_inspect_peer peer(int index)
{
    struct rep_inspect seen;
    rep_inspect(t.rep, 1000, &seen);
    return seen.peers[index];
}

START_TEST(lag__is_measured_on_durable_ends)
{ /* 4.2: reading ahead without syncing is lagging */
    lead(7);
    at(2, 10, 10, 1001);
    toy_node_append(&t, 5, false, 2000);
    at(2, 15, 10, 2001);
    at(3, 15, 15, 2001);
    for (uint64_t now = 3000; now <= 32000; now += 1000)
        at(2, 15, 10, now);
    tick(32000);
    ck_assert_uint_eq(proposed(), 0);
    tick(32001);
    ck_assert_uint_eq(proposed(), 5);
    ck_assert(t.seen & REP_FX_PROPOSE);
    ck_assert_int_eq(rep_proposal(t.rep)->leader_epoch, 5);
    ck_assert_int_eq(rep_proposal(t.rep)->partition_epoch, 11);
    ck_assert_int_eq(rep_proposal(t.rep)->isr[1].broker_epoch, 103);
}
END_TEST

START_TEST(lag__a_reached_mark_is_caught_up)
{ /* 4.2: always behind, never by more than the lag time */
    lead(3);
    at(2, 10, 10, 1001);
    for (uint64_t now = 10000; now <= 200000; now += 10000) {
        int64_t end = t.log.end;
        toy_node_append(&t, 3, false, now);
        at(2, end, end, now + 1);
        tick(now + 2);
    }
    ck_assert_uint_eq(proposed(), 0);
    ck_assert_uint_ge(peer(1).caught_up_ms, 180000);
}
END_TEST

START_TEST(lag__idle_partition_never_shrinks)
{
    lead(7);
    at(2, 10, 10, 1001);
    at(3, 10, 10, 1001);
    tick(1000000);
    ck_assert_uint_eq(proposed(), 0);
    toy_node_append(&t, 1, false, 1000001); /* it was caught up until now */
    tick(1000002);
    ck_assert_uint_eq(proposed(), 0);
    tick(1030001);
    ck_assert_uint_eq(proposed(), 0);
    tick(1030002);
    ck_assert_uint_eq(proposed(), 1);
}
END_TEST

START_TEST(lag__member_never_heard_gets_the_time_from_the_epochs_start)
{
    lead(7);
    ck_assert_uint_eq(proposed(), 0);
    at(2, 10, 10, 1001);
    tick(31000);
    ck_assert_uint_eq(proposed(), 0);
    tick(31001);
    ck_assert_uint_eq(proposed(), 3);
}
END_TEST

START_TEST(removal__counts_only_once_replayed)
{ /* 3.3 */
    lead(7);
    at(2, 10, 10, 1001);
    at(3, 10, 10, 1001);
    toy_node_append(&t, 2, false, 2000);
    at(2, 12, 12, 2001);
    tick(32002);
    ck_assert_uint_eq(proposed(), 3);
    answered(REP_PROPOSAL_ACCEPTED, 32003);
    ck_assert_int_eq(rep_hw(t.rep), 10);
    toy_image_isr(&m, 3, 0);
    toy_node_image(&t, &m.image, 32004);
    ck_assert_int_eq(rep_hw(t.rep), 12);
    ck_assert_int_eq(peer(2).left_reason, REP_LEFT_LAGGING);
    ck_assert_uint_eq(peer(2).left_ms, 32004);
}
END_TEST

START_TEST(join__needs_hw_and_epoch_start)
{ /* 4.1, P13 */
    lead(3);
    at(2, 10, 10, 1001);
    toy_node_append(&t, 3, false, 1002);
    at(2, 13, 13, 1003);
    ck_assert_int_eq(rep_hw(t.rep), 13);
    at(3, 12, 12, 1004);
    ck_assert_uint_eq(proposed(), 0);
    at(3, 13, 12, 1005); /* read but not synced */
    ck_assert_uint_eq(proposed(), 0);
    at(3, 13, 13, 1006);
    ck_assert_uint_eq(proposed(), 7);
    ck_assert(peer(2).joining);
}
END_TEST

START_TEST(join__needs_the_epoch_start_while_the_hw_trails)
{ /* 4.1, P13 */
    toy_node_free(&t);
    toy_node_init(&t, 1, 3, 10, 2);
    toy_image_init(&m);
    toy_image_isr(&m, 3, 0);
    toy_node_image(&t, &m.image, 1000);
    at(3, 9, 9, 1001);
    ck_assert_int_eq(rep_hw(t.rep), 2);
    ck_assert_uint_eq(proposed(), 0);
    at(3, 10, 10, 1002);
    ck_assert_uint_eq(proposed(), 7);
}
END_TEST

START_TEST(join__only_eligible_ones)
{ /* 4.1, KIP-841 */
    for (int what = 0; what < 4; what++) {
        lead(3);
        at(2, 10, 10, 1001);
        m.replicas[2].fenced = what == 0;
        m.replicas[2].stopping = what == 1;
        m.replicas[2].stalled = what == 2;
        toy_node_image(&t, &m.image, 1002);
        at(3, 10, 10, 1003);
        ck_assert_uint_eq(proposed(), what == 3 ? 7 : 0);
        m.replicas[2].fenced = m.replicas[2].stopping = m.replicas[2].stalled = false;
        toy_node_image(&t, &m.image, 1004);
        ck_assert_uint_eq(proposed(), 7);
    }
}
END_TEST

START_TEST(join__must_have_spoken_at_this_partition_epoch)
{ /* 2.8: what it held before the last change may be what took it out */
    lead(7);
    at(2, 10, 10, 1001);
    at(3, 10, 10, 1001);
    toy_image_isr(&m, 3, 0);
    toy_node_image(&t, &m.image, 1002);
    ck_assert_uint_eq(proposed(), 0);
    m.image.partition_epoch--; /* a frame sent before it replayed the change */
    at(3, 10, 10, 1003);
    ck_assert_uint_eq(proposed(), 0);
    m.image.partition_epoch++;
    at(3, 10, 10, 1004);
    ck_assert_uint_eq(proposed(), 7);
}
END_TEST

START_TEST(join__needs_the_log_start)
{ /* P16: a member with deleted records would bring them back */
    lead(3);
    at(2, 10, 10, 1001);
    t.log.start = 4;
    rep_on_log_start(t.rep, 4, 4, 1002, &t.fx);
    at(3, 10, 10, 1003);
    ck_assert_uint_eq(proposed(), 0);
}
END_TEST

START_TEST(addition__counts_until_replayed_or_refused)
{ /* 3.3 */
    lead(3);
    at(2, 10, 10, 1001);
    at(3, 10, 10, 1002);
    ck_assert_uint_eq(proposed(), 7);
    toy_node_append(&t, 1, false, 1003);
    at(2, 11, 11, 1004);
    tick(40000); /* far beyond the lag time: a proposed member still counts */
    ck_assert_int_eq(rep_hw(t.rep), 10);
    toy_node_forget(&t);
    answered(REP_PROPOSAL_LOST, 40001);
    ck_assert(t.seen & REP_FX_PROPOSE);
    ck_assert_uint_eq(proposed(), 7);
    toy_node_forget(&t);
    answered(REP_PROPOSAL_LOST, 40001); /* not as fast as it can be lost */
    ck_assert(!(t.seen & REP_FX_PROPOSE));
    ck_assert_uint_eq(t.fx.deadline_ms, 40501);
    tick(40501);
    ck_assert(t.seen & REP_FX_PROPOSE);
    ck_assert_uint_eq(proposed(), 7);
    answered(REP_PROPOSAL_STALE, 40502); /* perhaps because the lost one was granted */
    ck_assert_int_eq(rep_hw(t.rep), 10);
    ck_assert_ptr_null(rep_proposal(t.rep));
    tick(90000);
    ck_assert_int_eq(rep_hw(t.rep), 10);
    toy_image_isr(&m, 3, 0);
    toy_node_image(&t, &m.image, 90001);
    ck_assert_int_eq(rep_hw(t.rep), 11);
}
END_TEST

START_TEST(addition__refused_is_asked_for_again_later)
{ /* 3.3 */
    lead(3);
    at(2, 10, 10, 1001);
    at(3, 10, 10, 1002);
    answered(REP_PROPOSAL_REFUSED, 1003);
    ck_assert(!peer(2).joining);
    ck_assert_uint_eq(proposed(), 0);
    ck_assert_uint_le(t.fx.deadline_ms, 1503);
    at(3, 10, 10, 1100);
    ck_assert_uint_eq(proposed(), 0);
    tick(1503);
    ck_assert_uint_eq(proposed(), 7);
}
END_TEST

START_TEST(proposal__one_in_flight)
{ /* 3.3 */
    lead(1);
    m.image.min_isr = 1;
    toy_node_image(&t, &m.image, 1000);
    at(2, 10, 10, 1001);
    ck_assert_uint_eq(proposed(), 3);
    uint64_t id = rep_proposal(t.rep)->id;
    at(3, 10, 10, 1002);
    ck_assert_uint_eq(proposed(), 3);
    rep_proposal_answered(t.rep, id + 7, REP_PROPOSAL_REFUSED, 1003, &t.fx); /* not this one */
    ck_assert_uint_eq(proposed(), 3);
    answered(REP_PROPOSAL_ACCEPTED, 1004);
    at(3, 10, 10, 1005);
    ck_assert_ptr_null(rep_proposal(t.rep));
    toy_image_isr(&m, 3, 0);
    toy_node_image(&t, &m.image, 1006);
    at(3, 10, 10, 1007);
    ck_assert_uint_eq(proposed(), 7);
    ck_assert_uint_ne(rep_proposal(t.rep)->id, id);
}
END_TEST

START_TEST(proposal__ends_with_the_epoch)
{
    lead(3);
    at(2, 10, 10, 1001);
    at(3, 10, 10, 1002);
    uint64_t id = rep_proposal(t.rep)->id;
    toy_image_elect(&m, 1);
    toy_node_image(&t, &m.image, 1003);
    ck_assert_ptr_null(rep_proposal(t.rep));
    rep_proposal_answered(t.rep, id, REP_PROPOSAL_REFUSED, 1004, &t.fx);
    ck_assert_uint_eq(t.fx.flags, 0);
}
END_TEST

START_TEST(inspection__says_why_a_member_left)
{
    static const enum rep_left_reason reasons[] = {REP_LEFT_FENCED, REP_LEFT_STOPPING,
                                                   REP_LEFT_STALLED, REP_LEFT_RESTARTED,
                                                   REP_LEFT_BY_CONTROLLER};
    for (int what = 0; what < 5; what++) {
        lead(7);
        m.replicas[1].fenced = what == 0;
        m.replicas[1].stopping = what == 1;
        m.replicas[1].stalled = what == 2;
        m.replicas[1].broker_epoch += what == 3;
        toy_image_isr(&m, 5, 0);
        toy_node_image(&t, &m.image, 2000);
        ck_assert_int_eq(peer(1).left_reason, reasons[what]);
        ck_assert_str_ne(rep_left_reason_name(peer(1).left_reason), "?");
        toy_image_isr(&m, 7, 0);
        toy_node_image(&t, &m.image, 2001);
        ck_assert_int_eq(peer(1).left_reason, REP_LEFT_NOT);
    }
}
END_TEST

/* 4.4: the record that calls a topic turned strong synced waits for every member's disk. */
START_TEST(turned_strong__is_synced_when_every_member_is)
{
    lead(7);
    m.image.strong = false;
    toy_node_image(&t, &m.image, 1000);
    at(2, 10, 4, 1001);
    at(3, 10, 10, 1001);
    ck_assert_uint_eq(proposed(), 0);
    m.image.strong = m.image.unsynced = true;
    m.image.partition_epoch++;
    toy_node_image(&t, &m.image, 1002);
    toy_node_append(&t, 2, false, 1003); /* later ones count when they are synced anyhow */
    at(3, 10, 10, 1004);
    ck_assert_uint_eq(proposed(), 0);
    at(2, 10, 10, 1005);
    ck_assert_uint_eq(proposed(), 7);
    ck_assert(rep_proposal(t.rep)->synced);
    answered(REP_PROPOSAL_REFUSED, 1006);
    ck_assert_uint_eq(proposed(), 0);
    tick(1506);
    ck_assert(rep_proposal(t.rep)->synced);
    answered(REP_PROPOSAL_ACCEPTED, 1507);
    m.image.unsynced = false;
    m.image.partition_epoch++;
    toy_node_image(&t, &m.image, 1508);
    at(2, 12, 12, 1509);
    ck_assert_uint_eq(proposed(), 0);
}
END_TEST

/* 9.4, 3.1: out of the ISR for its disk, it does not hold the high watermark back. */
START_TEST(stalled__does_not_hold_the_high_watermark)
{
    lead(7);
    at(2, 10, 10, 1001);
    at(3, 10, 10, 1001);
    toy_node_append(&t, 2, false, 1002);
    at(2, 12, 12, 1003);
    at(3, 12, 10, 1003); /* written, not synced */
    ck_assert_int_eq(rep_hw(t.rep), 10);
    toy_image_isr(&m, 3, 0);
    toy_node_image(&t, &m.image, 4000);
    ck_assert_int_eq(rep_hw(t.rep), 10); /* it might be about to join */
    m.replicas[2].stalled = true;
    toy_node_image(&t, &m.image, 4001);
    ck_assert_int_eq(rep_hw(t.rep), 12);
}
END_TEST

UNIT_MAIN("replica isr", turned_strong__is_synced_when_every_member_is,
          stalled__does_not_hold_the_high_watermark, lag__is_measured_on_durable_ends,
          lag__a_reached_mark_is_caught_up, lag__idle_partition_never_shrinks,
          lag__member_never_heard_gets_the_time_from_the_epochs_start,
          removal__counts_only_once_replayed, join__needs_hw_and_epoch_start,
          join__needs_the_epoch_start_while_the_hw_trails, join__only_eligible_ones,
          join__must_have_spoken_at_this_partition_epoch, join__needs_the_log_start,
          addition__counts_until_replayed_or_refused, addition__refused_is_asked_for_again_later,
          proposal__one_in_flight, proposal__ends_with_the_epoch,
          inspection__says_why_a_member_left)
