/* Who leads, who follows, who takes no part: images come in, roles come out. */
#include <string.h>

#include "proto/base/err.h"
#include "tests/unit/replica/toy.h"
#include "tests/unit/unit.h"

static struct toy_node t;
static struct toy_image m;

static void start(int32_t id, int32_t epoch, int64_t n, int64_t hw)
{
    toy_node_free(&t);
    toy_node_init(&t, id, epoch, n, hw);
    toy_image_init(&m);
}

static enum rep_report standing(void)
{
    int32_t epoch;
    return rep_standing_report(t.rep, &epoch);
}

START_TEST(image__leader_enters_its_epoch_at_once)
{ /* 1.6 */
    start(1, 3, 10, 7);
    toy_node_image(&t, &m.image, 1000);
    ck_assert_int_eq(rep_state(t.rep), REP_LEADER);
    ck_assert(t.seen & REP_FX_ROLE);
    ck_assert(t.seen & REP_FX_ASSIGN_EPOCH);
    ck_assert_int_eq(t.log.epochs[t.log.n_epochs - 1].epoch, 5);
    ck_assert_int_eq(t.log.epochs[t.log.n_epochs - 1].end_offset, 10);
    ck_assert_int_eq(rep_hw(t.rep), 7); /* its own known HW */
}
END_TEST

START_TEST(image__leadership_of_a_former_incarnation_is_void)
{ /* 1.1, 1.2 */
    start(1, 3, 10, 7);
    m.image.leader_broker_epoch = 77;
    toy_node_image(&t, &m.image, 1000);
    ck_assert_int_eq(rep_state(t.rep), REP_IDLE);
    toy_image_elect(&m, 1);
    toy_node_image(&t, &m.image, 1001);
    ck_assert_int_eq(rep_state(t.rep), REP_LEADER);
}
END_TEST

START_TEST(image__nothing_is_led_before_the_registration_is_replayed)
{ /* 1.2 */
    memset(&t.log, 0, sizeof(t.log));
    toy_node_free(&t);
    toy_node_open(&t, 1, REP_LOG_WHOLE, 0, 1);
    toy_image_init(&m);
    toy_node_image(&t, &m.image, 1000);
    ck_assert_int_eq(rep_state(t.rep), REP_IDLE);
}
END_TEST

START_TEST(image__new_epoch_ends_everything_parked)
{ /* 1.5, also to oneself */
    start(1, 3, 10, 10);
    toy_node_image(&t, &m.image, 1000);
    toy_node_forget(&t);
    toy_image_elect(&m, 1);
    toy_node_image(&t, &m.image, 1001);
    ck_assert(t.seen & REP_FX_FAIL_PARKED);
    ck_assert_int_eq(t.fail, REP_FAIL_EPOCH_ENDED);
    ck_assert_int_eq(rep_append_done(t.rep, 5, 3, -1), REP_APPEND_EPOCH_ENDED);
    toy_node_forget(&t);
    toy_image_isr(&m, 3, 0); /* an ISR change alone keeps the epoch (4.7) */
    toy_node_image(&t, &m.image, 1002);
    ck_assert(!(t.seen & REP_FX_FAIL_PARKED));
    ck_assert(!(t.seen & REP_FX_ROLE));
    toy_image_elect(&m, -1);
    toy_node_image(&t, &m.image, 1003);
    ck_assert(t.seen & REP_FX_FAIL_PARKED);
    ck_assert_int_eq(rep_state(t.rep), REP_IDLE);
}
END_TEST

START_TEST(image__follower_is_told_whom_to_ask)
{
    struct rep_fetch_target at;
    start(2, 3, 10, 7);
    toy_node_image(&t, &m.image, 1000);
    ck_assert_int_eq(rep_state(t.rep), REP_FOLLOWER);
    ck_assert(t.seen & REP_FX_FETCH);
    ck_assert(rep_fetch_position(t.rep, &at));
    ck_assert_int_eq(at.leader, 1);
    ck_assert_int_eq(at.fetch.offset, 10);
    ck_assert_int_eq(at.fetch.last_epoch, 3);
    ck_assert_int_eq(at.fetch.broker_epoch, 102);
    ck_assert_int_eq(at.fetch.high_watermark, 7);
}
END_TEST

START_TEST(image__stranger_takes_no_part)
{
    start(9, 3, 0, 0);
    toy_node_image(&t, &m.image, 1000);
    ck_assert_int_eq(rep_state(t.rep), REP_IDLE);
}
END_TEST

START_TEST(image__log_ahead_of_metadata_takes_no_part)
{                       /* 1.8 */
    start(2, 6, 10, 7); /* the log knows epoch 6, the image says 5 */
    toy_node_image(&t, &m.image, 1000);
    ck_assert_int_eq(rep_state(t.rep), REP_HALTED);
    ck_assert_int_eq(t.report, REP_REPORT_METADATA_BACKWARDS);
    ck_assert_int_eq(standing(), REP_REPORT_METADATA_BACKWARDS);
    toy_image_elect(&m, 1); /* epoch 6 */
    toy_node_image(&t, &m.image, 1001);
    ck_assert_int_eq(rep_state(t.rep), REP_FOLLOWER);
    ck_assert_int_eq(standing(), REP_REPORT_NONE);
}
END_TEST

/* One batch at the end, of an epoch that nobody else knows of: a turned bit, fetched anew. */
START_TEST(image__lone_epoch_ahead_of_metadata_is_damage)
{ /* 1.8, 2.8 */
    start(2, 6, 10, 7);
    toy_node_free(&t);
    t.lone_from = 9;
    toy_node_open(&t, 2, REP_LOG_WHOLE, 7, 1);
    t.lone_from = 0;
    /* Before it is registered its image may be an old one. */
    toy_node_image(&t, &m.image, 1000);
    ck_assert_int_eq(rep_state(t.rep), REP_HALTED);
    rep_set_broker_epoch(t.rep, 102);
    toy_node_image(&t, &m.image, 1000);
    ck_assert_int_eq(rep_state(t.rep), REP_WAITING);
    ck_assert_int_eq(standing(), REP_REPORT_DAMAGED);
    ck_assert_int_eq(t.reset_to, -1);
    toy_image_isr(&m, 5, 0); /* out of ISR and ELR */
    toy_node_image(&t, &m.image, 1001);
    ck_assert_int_eq(rep_state(t.rep), REP_FOLLOWER);
    ck_assert_int_eq(standing(), REP_REPORT_NONE);
}
END_TEST

START_TEST(image__older_image_stops_the_replica)
{ /* 1.8 */
    start(1, 3, 10, 7);
    toy_image_elect(&m, 1);
    toy_node_image(&t, &m.image, 1000);
    struct toy_image old;
    toy_image_init(&old);
    toy_node_image(&t, &old.image, 1001);
    ck_assert_int_eq(rep_state(t.rep), REP_HALTED);
    ck_assert_int_eq(t.report, REP_REPORT_METADATA_BACKWARDS);
    ck_assert(t.seen & REP_FX_FAIL_PARKED);
    toy_node_image(&t, &m.image, 1002);
    ck_assert_int_eq(rep_state(t.rep), REP_LEADER);
}
END_TEST

START_TEST(image__contradictions_are_refused)
{
    start(2, 3, 10, 7);
    toy_node_image(&t, &m.image, 1000);
    toy_image_isr(&m, 6, 0); /* leader outside the ISR */
    ck_assert_int_eq(rep_apply_image(t.rep, &m.image, 1001, &t.fx), -KB_EINVAL);
    toy_image_isr(&m, 3, 2); /* ISR and ELR overlap */
    ck_assert_int_eq(rep_apply_image(t.rep, &m.image, 1001, &t.fx), -KB_EINVAL);
    toy_image_isr(&m, 7, 0);
    m.image.leader = 2; /* one epoch, two leaders: 1.1 */
    ck_assert_int_eq(rep_apply_image(t.rep, &m.image, 1001, &t.fx), -KB_EINVAL);
    m.image.leader = 1;
    m.image.min_isr = 0;
    ck_assert_int_eq(rep_apply_image(t.rep, &m.image, 1001, &t.fx), -KB_EINVAL);
    m.image.min_isr = 1;
    m.image.n_replicas = REP_REPLICAS_MAX + 1;
    ck_assert_int_eq(rep_apply_image(t.rep, &m.image, 1001, &t.fx), -KB_EINVAL);
    ck_assert_int_eq(rep_state(t.rep), REP_FOLLOWER);
}
END_TEST

START_TEST(failed_log__ends_the_epoch_and_asks_for_an_election)
{ /* 1.7, 9.3 */
    start(1, 3, 10, 10);
    toy_node_image(&t, &m.image, 1000);
    toy_node_append(&t, 1, true, 1001);
    toy_node_forget(&t);
    rep_on_failed(t.rep, 1002, &t.fx);
    toy_node_do(&t, 1002);
    ck_assert_int_eq(rep_state(t.rep), REP_FAILED);
    ck_assert_int_eq(t.fail, REP_FAIL_LOG_FAILED);
    ck_assert_int_eq(t.report, REP_REPORT_LOG_FAILED);
    ck_assert_int_eq(rep_append_done(t.rep, 5, 10, 1), REP_APPEND_EPOCH_ENDED);
    toy_image_elect(&m, 1); /* final: not even a new epoch revives it */
    toy_node_image(&t, &m.image, 1003);
    ck_assert_int_eq(rep_state(t.rep), REP_FAILED);
    rep_on_durable(t.rep, t.log.generation, 11, 1004, &t.fx);
    ck_assert_uint_eq(t.fx.flags, 0);
    rep_on_reset(t.rep, 0, 0, 1005, &t.fx); /* a cut under way went on */
    ck_assert_uint_eq(t.fx.flags, 0);
    ck_assert_int_eq(rep_state(t.rep), REP_FAILED);
}
END_TEST

START_TEST(damaged_log__is_out_before_it_drops_a_byte)
{ /* 2.8, 4.4 */
    start(2, 3, 10, 7);
    toy_node_free(&t);
    toy_node_open(&t, 2, REP_LOG_DAMAGED, 7, 1);
    rep_set_broker_epoch(t.rep, 102);
    ck_assert_int_eq(t.report, REP_REPORT_DAMAGED);
    toy_node_image(&t, &m.image, 1000);
    ck_assert_int_eq(rep_state(t.rep), REP_WAITING);
    toy_image_isr(&m, 1, 2); /* into the ELR is not out */
    toy_node_image(&t, &m.image, 1001);
    ck_assert_int_eq(rep_state(t.rep), REP_WAITING);
    ck_assert_int_eq(t.reset_to, -1);
    toy_image_isr(&m, 5, 0);
    toy_node_image(&t, &m.image, 1002);
    ck_assert_int_eq(t.reset_to, 0);
    ck_assert(t.set_aside);
    ck_assert_int_eq(rep_state(t.rep), REP_FOLLOWER);
    ck_assert_int_eq(rep_log_end(t.rep), 0);
    ck_assert_int_eq(rep_hw(t.rep), 0);
    ck_assert_int_eq(standing(), REP_REPORT_NONE);
}
END_TEST

/* The bit that was flipped may be one of a batch's leader epoch. */
START_TEST(damaged_log__is_fetched_anew_whatever_epoch_it_names)
{ /* 1.8, 2.8 */
    start(2, 131072, 10, 7);
    toy_node_free(&t);
    toy_node_open(&t, 2, REP_LOG_DAMAGED, 7, 1);
    rep_set_broker_epoch(t.rep, 102);
    toy_node_image(&t, &m.image, 1000);
    ck_assert_int_eq(rep_state(t.rep), REP_WAITING);
    ck_assert_int_eq(standing(), REP_REPORT_DAMAGED);
    toy_image_isr(&m, 5, 0);
    toy_node_image(&t, &m.image, 1001);
    ck_assert_int_eq(t.reset_to, 0);
    ck_assert(t.set_aside);
    ck_assert_int_eq(rep_state(t.rep), REP_FOLLOWER);
    ck_assert_int_eq(standing(), REP_REPORT_NONE);
}
END_TEST

START_TEST(damaged_log__found_in_service_waits_for_a_later_record)
{ /* 2.8, 10.4: the leader still trusts the position of before; see README "joining" */
    start(2, 3, 10, 7);
    toy_image_isr(&m, 5, 0);
    toy_node_image(&t, &m.image, 1000);
    ck_assert_int_eq(rep_state(t.rep), REP_FOLLOWER);
    rep_on_damaged(t.rep, 4, 1001, &t.fx);
    toy_node_do(&t, 1001);
    ck_assert_int_eq(rep_state(t.rep), REP_WAITING);
    ck_assert_int_eq(t.fx.report_epoch, 11);
    ck_assert_int_eq(t.reset_to, -1);
    m.replicas[2].fenced = true; /* an image of the same partition epoch is no answer */
    toy_node_image(&t, &m.image, 1002);
    ck_assert_int_eq(t.reset_to, -1);
    toy_image_isr(&m, 5, 0);
    toy_node_image(&t, &m.image, 1003);
    ck_assert_int_eq(t.reset_to, 0);
    ck_assert_int_eq(rep_state(t.rep), REP_FOLLOWER);
}
END_TEST

START_TEST(damaged_log__leader_steps_down)
{ /* 10.4, row 40 */
    start(1, 3, 10, 10);
    toy_node_image(&t, &m.image, 1000);
    toy_node_forget(&t);
    rep_on_damaged(t.rep, 4, 1001, &t.fx);
    toy_node_do(&t, 1001);
    ck_assert_int_eq(rep_state(t.rep), REP_HALTED);
    ck_assert_int_eq(t.fail, REP_FAIL_DAMAGED);
    ck_assert_int_eq(t.report, REP_REPORT_DAMAGED);
    m.replicas[0].in_isr = false;
    toy_image_elect(&m, 2);
    toy_node_image(&t, &m.image, 1002);
    ck_assert_int_eq(t.reset_to, 0);
    ck_assert_int_eq(rep_state(t.rep), REP_FOLLOWER);
}
END_TEST

START_TEST(damaged_log__elected_uncleanly_is_cut_at_the_damage)
{ /* 4.6, 2.7: by name only; what lies before the damage is all that is left */
    start(1, 3, 10, 7);
    toy_node_free(&t);
    toy_log_cut(&t.log, 6); /* what recovery presents of a damaged log ends at the damage */
    toy_node_open(&t, 1, REP_LOG_DAMAGED, 7, 1);
    rep_set_broker_epoch(t.rep, 101);
    toy_node_image(&t, &m.image, 1000);
    ck_assert_int_eq(rep_state(t.rep), REP_HALTED); /* elected, but not uncleanly */
    toy_image_elect(&m, 1);
    m.image.last_unclean_epoch = m.image.leader_epoch;
    toy_node_image(&t, &m.image, 1001);
    ck_assert_int_eq(t.truncated_to, 6);
    ck_assert_int_eq(t.reset_to, -1);
    ck_assert_int_eq(rep_state(t.rep), REP_LEADER);
    ck_assert_int_eq(rep_log_end(t.rep), 6);
    ck_assert_int_eq(rep_hw(t.rep), 6);
    ck_assert_int_eq(rep_log_state(t.rep), REP_LOG_WHOLE);
    ck_assert_int_eq(standing(), REP_REPORT_NONE);
}
END_TEST

START_TEST(damaged_log__found_in_service_and_elected_uncleanly)
{ /* as above; the reader knows what is not bad, and the HW is lowered before the cut */
    start(1, 3, 10, 10);
    toy_node_image(&t, &m.image, 1000);
    rep_on_damaged(t.rep, 8, 1001, &t.fx);
    toy_node_do(&t, 1001);
    rep_on_damaged(t.rep, 4, 1002, &t.fx); /* another reader, before it */
    toy_node_do(&t, 1002);
    ck_assert_int_eq(rep_state(t.rep), REP_HALTED);
    toy_image_elect(&m, 1);
    m.image.last_unclean_epoch = m.image.leader_epoch;
    t.hold_cuts = true;
    toy_node_image(&t, &m.image, 1003);
    ck_assert_int_eq(rep_state(t.rep), REP_TRUNCATING);
    ck_assert_int_eq(t.truncated_to, 4);
    ck_assert(t.lowered_hw);
    toy_node_finish_cut(&t, 1004);
    ck_assert_int_eq(rep_state(t.rep), REP_LEADER);
    ck_assert_int_eq(rep_log_end(t.rep), 4);
    ck_assert_int_eq(rep_hw(t.rep), 4);
}
END_TEST

START_TEST(cut_log__is_whole_when_it_holds_what_its_leader_began_with)
{ /* 4.5: until then a cut log is the last to be elected */
    static struct toy_node leader;
    toy_node_init(&leader, 1, 3, 10, 7);
    start(2, 3, 5, 5);
    toy_node_free(&t);
    toy_node_open(&t, 2, REP_LOG_CUT, 5, 1);
    rep_set_broker_epoch(t.rep, 102);
    toy_node_image(&leader, &m.image, 1000);
    toy_node_image(&t, &m.image, 1000);
    ck_assert_int_eq(rep_log_state(t.rep), REP_LOG_CUT);
    (void)toy_follow(&t, &leader, 1, 3, true, 1001);
    ck_assert_int_eq(rep_log_end(t.rep), 8);
    ck_assert_int_eq(rep_log_state(t.rep), REP_LOG_CUT); /* the leader began with 10 */
    (void)toy_follow(&t, &leader, 1, 10, false, 1002);
    ck_assert_int_eq(rep_log_end(t.rep), 10);
    ck_assert_int_eq(rep_log_state(t.rep), REP_LOG_CUT); /* not on disk yet */
    toy_node_sync(&t, 1003);
    ck_assert_int_eq(rep_log_state(t.rep), REP_LOG_WHOLE);
    toy_node_free(&leader);
}
END_TEST

START_TEST(missing_log__does_not_lead_unless_elected_uncleanly)
{ /* 4.4, 8.2 */
    memset(&t.log, 0, sizeof(t.log));
    toy_node_free(&t);
    toy_node_open(&t, 1, REP_LOG_MISSING, 0, 1);
    rep_set_broker_epoch(t.rep, 101);
    toy_image_init(&m);
    toy_node_image(&t, &m.image, 1000);
    ck_assert_int_eq(rep_state(t.rep), REP_HALTED);
    ck_assert_int_eq(t.report, REP_REPORT_DAMAGED);
    toy_image_elect(&m, 1);
    m.image.last_unclean_epoch = m.image.leader_epoch;
    toy_node_image(&t, &m.image, 1001);
    ck_assert_int_eq(rep_state(t.rep), REP_LEADER);
}
END_TEST

START_TEST(missing_log__follows_once_out_and_may_lead_later)
{ /* 2.8, 8.2 */
    memset(&t.log, 0, sizeof(t.log));
    toy_node_free(&t);
    toy_node_open(&t, 2, REP_LOG_MISSING, 0, 1);
    rep_set_broker_epoch(t.rep, 102);
    toy_image_init(&m);
    toy_node_image(&t, &m.image, 1000);
    ck_assert_int_eq(rep_state(t.rep), REP_WAITING);
    toy_image_isr(&m, 5, 0);
    toy_node_image(&t, &m.image, 1001);
    ck_assert_int_eq(rep_state(t.rep), REP_FOLLOWER);
    toy_image_isr(&m, 7, 0);
    toy_node_image(&t, &m.image, 1002);
    toy_image_elect(&m, 2);
    toy_node_image(&t, &m.image, 1003);
    ck_assert_int_eq(rep_state(t.rep), REP_LEADER);
}
END_TEST

START_TEST(truncation__a_new_image_waits_for_its_end)
{ /* 1.7: what is being cut does not lead */
    struct rep_answer a = {.kind = REP_ANSWER_DIVERGING,
                           .leader = 1,
                           .leader_epoch = 5,
                           .offset = 10,
                           .diverging = {3, 8}};
    start(2, 3, 10, 7);
    toy_node_image(&t, &m.image, 1000);
    t.hold_cuts = true;
    ck_assert_int_eq(rep_answer_begin(t.rep, &a, 1001, &t.fx), REP_ANSWER_DONE);
    toy_node_do(&t, 1001);
    ck_assert_int_eq(rep_state(t.rep), REP_TRUNCATING);
    toy_image_elect(&m, 2);
    toy_node_image(&t, &m.image, 1002);
    ck_assert_int_eq(rep_state(t.rep), REP_TRUNCATING);
    toy_node_finish_cut(&t, 1003);
    t.hold_cuts = false;
    ck_assert_int_eq(rep_state(t.rep), REP_LEADER);
    ck_assert_int_eq(t.log.epochs[t.log.n_epochs - 1].end_offset, 8);
}
END_TEST

START_TEST(single_replica__is_its_own_quorum)
{
    start(1, 3, 10, 4);
    m.image.n_replicas = 1;
    m.image.min_isr = 1;
    toy_node_image(&t, &m.image, 1000);
    ck_assert_int_eq(rep_hw(t.rep), 10); /* all of it is durable */
    toy_node_append(&t, 2, true, 1001);
    ck_assert_int_eq(rep_hw(t.rep), 10);
    toy_node_sync(&t, 1002);
    ck_assert_int_eq(rep_hw(t.rep), 12);
    ck_assert_int_eq(rep_append_done(t.rep, 5, 11, -1), REP_APPEND_DONE);
    ck_assert_uint_eq(t.fx.deadline_ms, REP_NEVER);
}
END_TEST

UNIT_MAIN("replica roles", image__leader_enters_its_epoch_at_once,
          image__leadership_of_a_former_incarnation_is_void,
          image__nothing_is_led_before_the_registration_is_replayed,
          image__new_epoch_ends_everything_parked, image__follower_is_told_whom_to_ask,
          image__stranger_takes_no_part, image__log_ahead_of_metadata_takes_no_part,
          image__lone_epoch_ahead_of_metadata_is_damage, image__older_image_stops_the_replica,
          image__contradictions_are_refused, failed_log__ends_the_epoch_and_asks_for_an_election,
          damaged_log__is_out_before_it_drops_a_byte,
          damaged_log__is_fetched_anew_whatever_epoch_it_names,
          damaged_log__found_in_service_waits_for_a_later_record, damaged_log__leader_steps_down,
          damaged_log__elected_uncleanly_is_cut_at_the_damage,
          damaged_log__found_in_service_and_elected_uncleanly,
          cut_log__is_whole_when_it_holds_what_its_leader_began_with,
          missing_log__does_not_lead_unless_elected_uncleanly,
          missing_log__follows_once_out_and_may_lead_later,
          truncation__a_new_image_waits_for_its_end, single_replica__is_its_own_quorum)
