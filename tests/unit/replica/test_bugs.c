/* The bugs other systems had, as stories of three whole replicas that follow one another. */
#include "tests/unit/replica/toy.h"

#include <string.h>

static struct toy_node n[3];
static struct toy_image m;

static void image(uint64_t now_ms)
{
    for (int i = 0; i < 3; i++) {
        if (n[i].rep != NULL)
            toy_node_image(&n[i], &m.image, now_ms);
    }
}

/* All three hold ten records of epoch 3 and know all of them committed; 1 leads in epoch 5. */
static void start(void)
{
    for (int i = 0; i < 3; i++) {
        toy_node_free(&n[i]);
        toy_node_init(&n[i], i + 1, 3, 10, 10);
    }
    toy_image_init(&m);
    image(1000);
}

static enum rep_fetch_result follow(int follower, int leader, uint64_t now_ms)
{
    return toy_follow(&n[follower - 1], &n[leader - 1], 1, 100, true, now_ms);
}

static void elect(int32_t leader, uint64_t now_ms)
{
    toy_image_elect(&m, leader);
    image(now_ms);
}

/* Node ends; a new incarnation opens what is left on its disk, HW from the checkpoint. */
static void reboot(int32_t id, bool lose_unsynced, int64_t hw, uint64_t now_ms)
{
    struct toy_node *t = &n[id - 1];

    toy_node_free(t);
    if (lose_unsynced)
        toy_log_cut(&t->log, t->log.durable);
    toy_log_recover(&t->log);
    toy_node_open(t, id, REP_LOG_WHOLE, hw, now_ms);
    t->broker_epoch += 100;
    m.replicas[id - 1].broker_epoch = t->broker_epoch;
    rep_set_broker_epoch(t->rep, t->broker_epoch);
}

static void ck_same_logs(void)
{
    for (int i = 1; i < 3; i++) {
        ck_assert_int_eq(n[i].log.end, n[0].log.end);
        for (int64_t o = 0; o < n[0].log.end; o++) {
            ck_assert_uint_eq(n[i].log.records[o].value, n[0].log.records[o].value);
            ck_assert_int_eq(n[i].log.records[o].epoch, n[0].log.records[o].epoch);
        }
    }
}

START_TEST(kip_101_a__restart_does_not_truncate_to_a_stale_hw)
{ /* KAFKA-1211: the follower restarts with HW behind, then leads: nothing may be gone */
    start();
    toy_node_append(&n[0], 2, false, 1001);
    for (uint64_t round = 0; round < 2; round++) { /* take, then ask from there (2.3) */
        follow(2, 1, 1002);
        follow(3, 1, 1002);
    }
    ck_assert_int_eq(rep_hw(n[0].rep), 12);
    ck_assert_int_eq(rep_hw(n[1].rep), 10); /* not told yet */
    reboot(2, true, 9, 1003);
    image(1003); /* it follows 1 again, which dies before it is asked */
    elect(2, 1004);
    ck_assert_int_eq(rep_log_end(n[1].rep), 12);
    ck_assert_int_eq(follow(1, 2, 1005), REP_FETCH_OK); /* its HW 12 proves no loss */
    ck_assert_int_eq(follow(3, 2, 1005), REP_FETCH_OK);
    ck_assert_int_eq(rep_hw(n[1].rep), 12);
    ck_same_logs();
}
END_TEST

START_TEST(kip_101_b__unsynced_tails_converge)
{ /* both lose unsynced bytes, the same offset gets two values, epochs tell them apart */
    start();
    toy_node_append(&n[0], 2, true, 1001);
    n[0].log.written = 12;
    rep_on_written(n[0].rep, n[0].log.generation, 12, 1002, &n[0].fx);
    toy_follow(&n[1], &n[0], 1, 1, false, 1003);
    ck_assert_int_eq(n[1].log.end, 11);
    ck_assert_int_eq(rep_hw(n[0].rep), 10);
    reboot(1, false, 10, 1004); /* kept its tail */
    reboot(2, true, 10, 1004);  /* lost it */
    elect(2, 1005);
    toy_node_append(&n[1], 1, false, 1006);
    ck_assert_int_eq(follow(1, 2, 1007), REP_FETCH_DIVERGING);
    ck_assert_int_eq(n[0].truncated_to, 10);
    follow(1, 2, 1008);
    follow(3, 2, 1008);
    ck_same_logs();
}
END_TEST

START_TEST(kip_279__fast_double_failover)
{ /* KAFKA-6361: A leads 5, B leads 6, A again 7, records in each, one round of following only */
    start();
    toy_node_append(&n[0], 3, false, 1001);
    elect(2, 1002);
    toy_node_append(&n[1], 2, false, 1003);
    elect(1, 1004);
    toy_node_append(&n[0], 1, false, 1005);
    ck_assert_int_eq(follow(2, 1, 1006), REP_FETCH_DIVERGING); /* epoch 6 is unknown to A */
    for (uint64_t round = 0; round < 3; round++) {
        follow(2, 1, 1007);
        follow(3, 1, 1008);
    }
    ck_same_logs();
    ck_assert_int_eq(rep_hw(n[0].rep), 14);
}
END_TEST

START_TEST(kafka_10706__empty_epochs_converge)
{ /* epochs led without a record on both sides */
    start();
    elect(2, 1001);
    elect(1, 1002);
    elect(2, 1003);
    elect(1, 1004);
    toy_node_append(&n[0], 1, false, 1005);
    for (uint64_t round = 0; round < 3; round++) {
        ck_assert_int_eq(follow(2, 1, 1006 + round), REP_FETCH_OK);
        ck_assert_int_eq(follow(3, 1, 1006 + round), REP_FETCH_OK);
    }
    ck_same_logs();
    elect(2, 1010);
    ck_assert_int_eq(follow(1, 2, 1011), REP_FETCH_OK);
}
END_TEST

START_TEST(kafka_14704__uncommitted_tail_is_never_readable)
{ /* the returning ex-leader is read from while it learns of its divergence */
    struct rep_read read = {
        .offset = 10, .leader_epoch = -1, .last_epoch = -1, .from_follower = true};
    struct rep_read_answer got;
    start();
    toy_node_append(&n[0], 2, false, 1001); /* nobody fetched it */
    elect(2, 1002);
    toy_node_append(&n[1], 2, false, 1003);
    follow(3, 2, 1004);
    follow(3, 2, 1004);
    ck_assert_int_eq(rep_hw(n[1].rep), 10); /* node 1 is in the ISR still */
    toy_image_isr(&m, 6, 0);
    image(1004);
    ck_assert_int_eq(rep_hw(n[1].rep), 12); /* as long as the tail of node 1 */
    n[0].hold_cuts = true;
    follow(1, 2, 1005); /* diverging */
    ck_assert_int_eq(rep_consumer_read(n[0].rep, &read, 1005, &got), REP_READ_NOT_LEADER);
    ck_assert_int_eq(rep_hw(n[0].rep), 10);
    toy_node_finish_cut(&n[0], 1006);
    n[0].hold_cuts = false;
    ck_assert_int_eq(rep_consumer_read(n[0].rep, &read, 1006, &got), REP_READ_WAIT);
    follow(1, 2, 1007);
    follow(1, 2, 1008);
    ck_same_logs();
}
END_TEST

START_TEST(kafka_15510__idle_follower_notices_divergence)
{ /* empty answers first, then a leader whose log differs */
    start();
    toy_node_append(&n[0], 1, false, 1001);
    toy_follow(&n[1], &n[0], 1, 100, true, 1002);
    for (uint64_t i = 0; i < 3; i++)
        toy_follow(&n[1], &n[0], 1, 100, true, 1003 + i);
    elect(3, 1010); /* 3 has not got record 10 */
    toy_node_append(&n[2], 1, false, 1011);
    ck_assert_int_eq(follow(2, 3, 1012), REP_FETCH_DIVERGING);
    follow(2, 3, 1013);
    ck_assert_int_eq(follow(1, 3, 1013), REP_FETCH_DIVERGING);
    follow(1, 3, 1014);
    ck_same_logs();
}
END_TEST

START_TEST(kafka_9491__reset_follower_may_lead)
{ /* behind DeleteRecords, starts over at the new log start, is elected */
    int64_t offset;
    start();
    reboot(3, true, 0, 1001);
    toy_log_cut(&n[2].log, 0);
    toy_node_free(&n[2]);
    toy_node_open(&n[2], 3, REP_LOG_WHOLE, 0, 1001);
    rep_set_broker_epoch(n[2].rep, n[2].broker_epoch);
    toy_image_isr(&m, 3, 0);
    image(1002);
    n[0].log.start = 10;
    rep_on_log_start(n[0].rep, 10, 10, 1003, &n[0].fx);
    ck_assert_int_eq(follow(3, 1, 1004), REP_FETCH_RESET);
    ck_assert_int_eq(follow(3, 1, 1005), REP_FETCH_OK);
    ck_assert_int_eq(rep_hw(n[2].rep), 10);
    ck_assert_ptr_nonnull(rep_proposal(n[0].rep));
    toy_image_isr(&m, 7, 0);
    image(1006);
    elect(3, 1007);
    ck_assert_int_eq(rep_latest(n[2].rep, REP_READ_UNCOMMITTED, 0, &offset), REP_READ_OK);
    ck_assert_int_eq(offset, 10);
}
END_TEST

START_TEST(deleted_past__a_tail_that_ends_at_the_new_start_is_dropped)
{ /* seed 449: the leader deleted up to where the former one's own records end. Its epochs below
     are not known any more, and the two values of one offset were never compared */
    start();
    toy_node_append(&n[0], 2, false, 1001); /* nobody took these */
    toy_image_isr(&m, 6, 0);
    elect(2, 1002);
    toy_node_append(&n[1], 2, false, 1003);
    for (uint64_t round = 0; round < 2; round++)
        follow(3, 2, 1004);
    ck_assert_int_eq(rep_hw(n[1].rep), 12);
    n[1].log.start = 12;
    rep_on_log_start(n[1].rep, 12, 12, 1005, &n[1].fx);
    ck_assert_int_eq(follow(3, 2, 1006), REP_FETCH_OK);
    ck_assert_int_eq(follow(1, 2, 1006), REP_FETCH_RESET);
    ck_assert_int_eq(n[0].reset_to, 12);
    ck_assert_int_eq(rep_log_start(n[0].rep), 12);
    toy_node_append(&n[1], 1, false, 1007);
    ck_assert_int_eq(follow(1, 2, 1008), REP_FETCH_OK);
    ck_assert_int_eq(n[0].log.end, 13);
    ck_assert_uint_eq(n[0].log.records[12].value, n[1].log.records[12].value);
}
END_TEST

START_TEST(kip_320__zombie_fetcher_is_fenced)
{ /* a follower of the old epoch must not slip into the ISR of the new one */
    struct rep_fetch_target at;
    struct rep_fetch_answer got;
    start();
    ck_assert(rep_fetch_position(n[1].rep, &at)); /* sent in epoch 5, delayed */
    toy_image_isr(&m, 5, 0);
    elect(1, 1001);
    at.fetch.link = 1;
    ck_assert_int_eq(rep_follower_fetch(n[0].rep, &at.fetch, 1002, &got, &n[0].fx),
                     REP_FETCH_FENCED_EPOCH);
    ck_assert_uint_eq(n[0].fx.flags & REP_FX_PROPOSE, 0);
}
END_TEST

START_TEST(kip_903__rebooted_follower_is_not_added_by_an_old_proposal)
{ /* it came back with an empty disk while the proposal was on its way */
    start();
    toy_image_isr(&m, 3, 0);
    image(1001);
    follow(2, 1, 1002);
    follow(3, 1, 1002);
    ck_assert_int_eq(rep_proposal(n[0].rep)->isr[2].broker_epoch, 103);
    toy_log_cut(&n[2].log, 0);
    reboot(3, true, 0, 1003);
    m.image.partition_epoch++;
    image(1004); /* the registration is replayed: the proposal's 103 is not its epoch any more */
    ck_assert_ptr_null(rep_proposal(n[0].rep));
    rep_tick(n[0].rep, 1005, &n[0].fx);
    ck_assert_ptr_null(rep_proposal(n[0].rep));
    toy_node_append(&n[0], 1, false, 1006);
    follow(2, 1, 1007);
    follow(2, 1, 1007);
    ck_assert_int_eq(rep_hw(n[0].rep), 11); /* and it does not hold the HW back */
    toy_follow(&n[2], &n[0], 1, 5, true, 1008);
    ck_assert_ptr_null(rep_proposal(n[0].rep)); /* still short of the HW */
    follow(3, 1, 1009);
    follow(3, 1, 1009);
    ck_assert_int_eq(rep_proposal(n[0].rep)->isr[2].broker_epoch, 203);
}
END_TEST

START_TEST(kip_841__stopping_follower_is_not_added)
{ /* controlled shutdown races with catching up */
    start();
    toy_image_isr(&m, 3, 0);
    m.replicas[2].stopping = true;
    image(1001);
    follow(2, 1, 1002);
    follow(3, 1, 1002);
    ck_assert_ptr_null(rep_proposal(n[0].rep));
}
END_TEST

START_TEST(last_replica_standing__does_not_truncate_the_others)
{ /* KIP-966: ISR = {1}, it loses its log and leads again all the same */
    start();
    reboot(1, true, 0, 1001);
    toy_log_cut(&n[0].log, 4); /* rolled back: record 4..9 are gone */
    toy_node_free(&n[0]);
    toy_node_open(&n[0], 1, REP_LOG_WHOLE, 4, 1001);
    rep_set_broker_epoch(n[0].rep, n[0].broker_epoch);
    m.image.min_isr = 1;
    toy_image_isr(&m, 1, 6);
    elect(1, 1002);
    ck_assert(rep_is_leader(n[0].rep));
    ck_assert_int_eq(follow(2, 1, 1003), REP_FETCH_NOT_LEADER); /* its HW 10 proves the loss */
    ck_assert_int_eq(rep_state(n[0].rep), REP_HALTED);
    ck_assert_int_eq(n[0].report, REP_REPORT_DAMAGED);
    ck_assert_int_eq(n[1].log.end, 10);
    m.image.min_isr = 2;
    toy_image_isr(&m, 2, 4);
    elect(2, 1004);
    ck_assert_int_eq(n[0].reset_to, 0); /* out of ISR and ELR: starts over from a good copy */
    follow(1, 2, 1005);
    follow(3, 2, 1005);
    ck_same_logs();
}
END_TEST

START_TEST(kafka_15021__shrink_without_epoch_bump)
{ /* appends go on while the ISR shrinks; HW by 3.1 before and after */
    start();
    toy_node_append(&n[0], 1, false, 1001);
    follow(2, 1, 1002);
    ck_assert_int_eq(rep_hw(n[0].rep), 10);
    toy_image_isr(&m, 3, 0);
    toy_node_image(&n[1], &m.image, 1003); /* the follower hears of it first: no harm */
    follow(2, 1, 1004);
    ck_assert_int_eq(rep_hw(n[0].rep), 10);
    toy_node_append(&n[0], 1, false, 1005);
    toy_node_image(&n[0], &m.image, 1006);
    ck_assert_int_eq(rep_hw(n[0].rep), 11);
    follow(2, 1, 1007);
    follow(2, 1, 1007);
    ck_assert_int_eq(rep_hw(n[0].rep), 12);
}
END_TEST

START_TEST(kafka_18723__batch_of_a_newer_epoch_is_not_appended)
{ /* the leader changed between the request and what was read for it */
    struct rep_fetch_target at;
    struct rep_answer a = {.leader = 1, .leader_epoch = 5, .offset = 10, .high_watermark = 10};
    start();
    ck_assert(rep_fetch_position(n[1].rep, &at));
    ck_assert(rep_answer_batch(n[1].rep, &a, 10, at.fetch.last_epoch, 10, 5));
    ck_assert(!rep_answer_batch(n[1].rep, &a, 10, at.fetch.last_epoch, 10, 6));
}
END_TEST

START_TEST(unclean_election__others_follow_below_their_hw)
{ /* 2.7: asked for by name; the loss is carried out on every replica, once */
    start();
    toy_log_cut(&n[2].log, 6);
    toy_node_free(&n[2]);
    toy_node_open(&n[2], 3, REP_LOG_WHOLE, 6, 1001);
    rep_set_broker_epoch(n[2].rep, 103);
    toy_image_isr(&m, 4, 0);
    toy_image_elect(&m, 3);
    m.image.last_unclean_epoch = m.image.leader_epoch;
    m.image.min_isr = 1;
    image(1002);
    toy_node_append(&n[2], 1, false, 1003);
    for (int32_t id = 1; id <= 2; id++) {
        ck_assert_int_eq(follow(id, 3, 1004), REP_FETCH_DIVERGING);
        ck_assert_int_eq(n[id - 1].truncated_to, 6);
        ck_assert(n[id - 1].lowered_hw);
        follow(id, 3, 1005);
    }
    ck_same_logs();
}
END_TEST

UNIT_MAIN("replica bugs", kip_101_a__restart_does_not_truncate_to_a_stale_hw,
          kip_101_b__unsynced_tails_converge, kip_279__fast_double_failover,
          kafka_10706__empty_epochs_converge, kafka_14704__uncommitted_tail_is_never_readable,
          kafka_15510__idle_follower_notices_divergence, kafka_9491__reset_follower_may_lead,
          deleted_past__a_tail_that_ends_at_the_new_start_is_dropped,
          kip_320__zombie_fetcher_is_fenced,
          kip_903__rebooted_follower_is_not_added_by_an_old_proposal,
          kip_841__stopping_follower_is_not_added,
          last_replica_standing__does_not_truncate_the_others,
          kafka_15021__shrink_without_epoch_bump,
          kafka_18723__batch_of_a_newer_epoch_is_not_appended,
          unclean_election__others_follow_below_their_hw)
