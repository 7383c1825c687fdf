/* Scenario: three brokers die, come back, lose or keep their logs; the controller decides who
 * leads. Each case names the replication rule it checks. */
#include "tests/unit/metadata/toy.h"
#include "tests/unit/unit.h"

/* 4.3, 4.7: fencing and the new leader are one batch; the ISR shrinks, epochs rise. */
START_TEST(fence__moves_leaders_in_one_batch)
{
    struct toy *t = toy_up(3);
    (void)toy_topic(t, "a", "1,2,3;2,3,1;3,1,2", NULL);
    uint64_t before = meta_image_last_index(t->committed);
    int32_t epoch = toy_partition(t, "a", 1)->leader_epoch;
    toy_kill(t, 2);
    meta_controller_tick(t->c, t->now_ms, &t->result);
    ck_assert_uint_eq(toy_commit(t), 4);
    ck_assert_uint_eq(meta_image_last_index(t->committed), before + 4);
    ck_assert(!meta_image_broker_live(t->committed, 2));
    toy_assert_state(t, "a", 0, "leader 1 isr 1,3 elr - known -");
    toy_assert_state(t, "a", 1, "leader 3 isr 3,1 elr - known -");
    ck_assert_int_eq(toy_partition(t, "a", 1)->leader_epoch, epoch + 1);
    ck_assert_int_eq(toy_partition(t, "a", 0)->leader_epoch, 0);
    ck_assert_int_eq(toy_partition(t, "a", 0)->partition_epoch, 1);
    (void)toy_free(t);
}
END_TEST

/* 4.3: below the minimum the members that leave stay eligible. */
START_TEST(fence__below_the_minimum_keeps_members_eligible)
{
    struct toy *t = toy_up(3);
    (void)toy_topic(t, "a", "2,3,1", NULL);
    toy_kill(t, 2);
    toy_tick(t);
    toy_assert_state(t, "a", 0, "leader 3 isr 3,1 elr - known -");
    toy_kill(t, 3);
    toy_tick(t);
    toy_assert_state(t, "a", 0, "leader 1 isr 1 elr 3 known -");
    (void)toy_free(t);
}
END_TEST

/* 4.3: all that are dead at that moment go in one step, never one by one: the whole ISR stays
 * eligible when nobody is left. */
START_TEST(fence__two_at_once_both_stay_eligible)
{
    struct toy *t = toy_up(3);
    (void)toy_topic(t, "a", "2,3", "min.insync.replicas=1");
    toy_kill(t, 2);
    toy_kill(t, 3);
    toy_tick(t);
    toy_assert_state(t, "a", 0, "leader -1 isr - elr 2,3 known -");
    /* 4.5: either may lead when it is back. */
    toy_join(t, 3);
    toy_assert_state(t, "a", 0, "leader 3 isr 3 elr - known -");
    (void)toy_free(t);
}
END_TEST

/* With a minimum of 1 a member that left before is not eligible: the survivor went on alone. */
START_TEST(fence__one_by_one_only_the_last_stays_eligible)
{
    struct toy *t = toy_up(3);
    (void)toy_topic(t, "a", "2,3", "min.insync.replicas=1");
    toy_kill(t, 2);
    toy_tick(t);
    toy_kill(t, 3);
    toy_tick(t);
    toy_assert_state(t, "a", 0, "leader -1 isr - elr 3 known -");
    toy_join(t, 2);
    toy_assert_state(t, "a", 0, "leader -1 isr - elr 3 known -");
    toy_join(t, 3);
    toy_assert_state(t, "a", 0, "leader 3 isr 3 elr - known -");
    (void)toy_free(t);
}
END_TEST

/* 4.5: only cut logs are live: wait for the other members, 10 s at most, then the longest. */
START_TEST(elect__cut_logs_wait_for_the_others)
{
    struct toy *t = toy_up(3);
    struct toy_start cut = {.unclean = true, .state = META_LOG_CUT, .end_offset = 50};
    (void)toy_topic(t, "a", "2,3", NULL);
    toy_kill(t, 2);
    toy_kill(t, 3);
    toy_tick(t);
    ck_assert_int_eq(toy_start(t, 2, &cut), KW_NONE);
    toy_unfence(t, 2);
    toy_assert_state(t, "a", 0, "leader -1 isr - elr 2,3 known -");
    toy_run(t, 9900);
    toy_assert_state(t, "a", 0, "leader -1 isr - elr 2,3 known -");
    toy_run(t, 200);
    toy_assert_state(t, "a", 0, "leader 2 isr 2 elr - known -");
    (void)toy_free(t);
}
END_TEST

START_TEST(elect__the_longest_of_cut_logs_when_all_are_back)
{
    struct toy *t = toy_up(3);
    struct toy_start cut = {.unclean = true, .state = META_LOG_CUT, .end_offset = 50};
    (void)toy_topic(t, "a", "2,3", NULL);
    toy_kill(t, 2);
    toy_kill(t, 3);
    toy_tick(t);
    ck_assert_int_eq(toy_start(t, 2, &cut), KW_NONE);
    toy_unfence(t, 2);
    cut.end_offset = 60;
    ck_assert_int_eq(toy_start(t, 3, &cut), KW_NONE);
    toy_unfence(t, 3);
    toy_assert_state(t, "a", 0, "leader 3 isr 3 elr - known -");
    (void)toy_free(t);
}
END_TEST

START_TEST(elect__a_whole_log_leads_at_once)
{
    struct toy *t = toy_up(3);
    struct toy_start cut = {.unclean = true, .state = META_LOG_CUT, .end_offset = 500};
    (void)toy_topic(t, "a", "2,3", NULL);
    toy_kill(t, 2);
    toy_kill(t, 3);
    toy_tick(t);
    ck_assert_int_eq(toy_start(t, 2, &cut), KW_NONE);
    toy_unfence(t, 2);
    toy_join(t, 3);
    toy_assert_state(t, "a", 0, "leader 3 isr 3 elr - known -");
    (void)toy_free(t);
}
END_TEST

/* 4.4: damaged and missing logs are out of ISR and ELR, in the registration batch. */
START_TEST(register__damaged_log_is_not_eligible)
{
    struct toy *t = toy_up(3);
    struct toy_start damaged = {.unclean = true, .state = META_LOG_DAMAGED};
    (void)toy_topic(t, "a", "2,3", NULL);
    toy_kill(t, 2);
    toy_kill(t, 3);
    toy_tick(t);
    ck_assert_int_eq(toy_start(t, 2, &damaged), KW_NONE);
    toy_assert_state(t, "a", 0, "leader -1 isr - elr 3 known 2");
    toy_unfence(t, 2);
    toy_assert_state(t, "a", 0, "leader -1 isr - elr 3 known 2");
    toy_join(t, 3);
    toy_assert_state(t, "a", 0, "leader 3 isr 3 elr - known -");
    (void)toy_free(t);
}
END_TEST

/* 4.4 with 1.3: a fast restart with a lost log, as the last member: offline and loud, not empty. */
START_TEST(register__last_member_without_its_log_leads_nothing)
{
    struct toy *t = toy_up(3);
    struct toy_start lost = {.unclean = true, .no_logs = true};
    (void)toy_topic(t, "a", "2", NULL);
    toy_kill(t, 2);
    ck_assert_int_eq(toy_start(t, 2, &lost), KW_NONE);
    toy_unfence(t, 2);
    toy_assert_state(t, "a", 0, "leader -1 isr - elr - known 2");
    toy_run(t, 20000);
    toy_assert_state(t, "a", 0, "leader -1 isr - elr - known 2");
    (void)toy_free(t);
}
END_TEST

/* 8.2: a log that was assigned after the last synced creation was never written: whole and empty.
 */
START_TEST(register__unsynced_creation_is_whole_and_empty)
{
    struct toy *t = toy_up(3);
    struct toy_start early = {.unclean = true, .no_logs = true};
    early.creations_synced = meta_image_last_index(t->committed);
    (void)toy_topic(t, "a", "2", NULL);
    toy_kill(t, 2);
    ck_assert_int_eq(toy_start(t, 2, &early), KW_NONE);
    toy_unfence(t, 2);
    toy_assert_state(t, "a", 0, "leader 2 isr 2 elr - known -");
    (void)toy_free(t);
}
END_TEST

/* 4.4: a weak topic after an unclean stop is not eligible, unless the machine stayed up. */
START_TEST(register__weak_topic_after_an_unclean_stop)
{
    struct toy *t = toy_up(3);
    struct toy_start crash = {.unclean = true, .boot_id = "boot-2"};
    (void)toy_topic(t, "weak", "2,3", "flush.messages=1000");
    (void)toy_topic(t, "strong", "2,3", NULL);
    toy_kill(t, 2);
    toy_kill(t, 3);
    toy_tick(t);
    ck_assert_int_eq(toy_start(t, 2, &crash), KW_NONE);
    toy_assert_state(t, "weak", 0, "leader -1 isr - elr 3 known 2");
    toy_assert_state(t, "strong", 0, "leader -1 isr - elr 2,3 known -");
    struct toy_start killed = {.unclean = true}; /* same boot: the page cache survived */
    ck_assert_int_eq(toy_start(t, 3, &killed), KW_NONE);
    toy_unfence(t, 3);
    toy_assert_state(t, "weak", 0, "leader 3 isr 3 elr - known -");
    (void)toy_free(t);
}
END_TEST

/* 4.6: all members of a weak topic stopped uncleanly: the longest when all are back, recorded. */
START_TEST(elect__weak_topic_that_lost_all_members)
{
    struct toy *t = toy_up(3);
    struct toy_start crash = {.unclean = true, .boot_id = "boot-2", .end_offset = 70};
    (void)toy_topic(t, "weak", "2,3", "flush.messages=1000");
    toy_kill(t, 2);
    toy_kill(t, 3);
    toy_tick(t);
    ck_assert_int_eq(toy_start(t, 2, &crash), KW_NONE);
    toy_unfence(t, 2);
    toy_assert_state(t, "weak", 0, "leader -1 isr - elr 3 known 2");
    crash.end_offset = 90;
    ck_assert_int_eq(toy_start(t, 3, &crash), KW_NONE);
    toy_assert_state(t, "weak", 0, "leader -1 isr - elr - known 2,3");
    t->allow_unclean = true;
    toy_unfence(t, 3);
    toy_assert_state(t, "weak", 0, "leader 3 isr 3 elr - known -");
    const struct meta_partition *p = toy_partition(t, "weak", 0);
    ck_assert_int_eq(p->last_unclean_epoch, p->leader_epoch);
    (void)toy_free(t);
}
END_TEST

/* 3.2: a changed minimum clears the ELRs it governs in the same batch, but never the last hope. */
START_TEST(min_isr__change_clears_the_elr)
{
    struct toy *t = toy_up(3);
    (void)toy_topic(t, "a", "1,2,3", NULL);
    (void)toy_topic(t, "b", "2,3", NULL);
    toy_kill(t, 2);
    toy_tick(t);
    toy_kill(t, 3);
    toy_tick(t);
    toy_assert_state(t, "a", 0, "leader 1 isr 1 elr 3 known -");
    ck_assert_int_eq(toy_set_config(t, "a", "min.insync.replicas", "1"), KW_NONE);
    toy_assert_state(t, "a", 0, "leader 1 isr 1 elr - known -");
    (void)toy_free(t);
}
END_TEST

START_TEST(min_isr__cluster_default_governs_topics_without_their_own)
{
    struct toy *t = toy_up(3);
    (void)toy_topic(t, "a", "1,2,3", NULL);
    (void)toy_topic(t, "own", "1,2,3", "min.insync.replicas=2");
    int32_t two[] = {1};
    ck_assert_int_eq(toy_alter(t, "a", 0, two, 1), KW_NONE);
    ck_assert_int_eq(toy_alter(t, "own", 0, two, 1), KW_NONE);
    toy_assert_state(t, "a", 0, "leader 1 isr 1 elr 2,3 known -");
    ck_assert_int_eq(toy_set_config(t, NULL, "min.insync.replicas", "1"), KW_NONE);
    toy_assert_state(t, "a", 0, "leader 1 isr 1 elr - known -");
    toy_assert_state(t, "own", 0, "leader 1 isr 1 elr 2,3 known -");
    (void)toy_free(t);
}
END_TEST

/* 4.4: a topic turned strong counts as weak until its members are known to have synced. */
START_TEST(flush_messages__turned_strong_is_unsynced_first)
{
    struct toy *t = toy_up(3);
    (void)toy_topic(t, "a", "2,3", "flush.messages=1000");
    ck_assert(!toy_partition(t, "a", 0)->unsynced);
    ck_assert_int_eq(toy_set_config(t, "a", "flush.messages", NULL), KW_NONE);
    ck_assert(toy_partition(t, "a", 0)->unsynced);
    const struct meta_partition *p = toy_partition(t, "a", 0);
    int32_t isr[] = {2, 3};
    uint64_t epochs[] = {t->brokers[2].epoch, t->brokers[3].epoch};
    struct meta_alter_item item = {.topic_id = p->topic->id,
                                   .leader_epoch = p->leader_epoch,
                                   .partition_epoch = p->partition_epoch,
                                   .isr = isr,
                                   .isr_broker_epochs = epochs,
                                   .isr_count = 2,
                                   .synced = true};
    struct meta_alter_result *out = NULL;
    ck_assert_int_eq(meta_controller_alter_partitions(t->c, t->now_ms, 2, epochs[0], &item, 1,
                                                      &t->arena, &t->result, &out),
                     KW_NONE);
    ck_assert_int_eq(out[0].error, KW_NONE);
    (void)toy_commit(t);
    ck_assert(!toy_partition(t, "a", 0)->unsynced);
    (void)toy_free(t);
}
END_TEST

/* R16: set on the topic itself, unclean election is asked for by name; as a default it is not. */
START_TEST(elect__unclean_by_topic_config)
{
    struct toy *t = toy_up(3);
    (void)toy_topic(t, "a", "2,3", "min.insync.replicas=1,flush.messages=5");
    ck_assert_int_eq(toy_set_config(t, NULL, "unclean.leader.election.enable", "true"), KW_NONE);
    toy_kill(t, 2);
    toy_tick(t);
    toy_kill(t, 3);
    toy_tick(t);
    toy_join(t, 2);
    toy_tick(t);
    toy_assert_state(t, "a", 0, "leader -1 isr - elr 3 known -");
    ck_assert_int_eq(toy_set_config(t, "a", "unclean.leader.election.enable", "true"), KW_NONE);
    t->allow_any = true;
    toy_tick(t);
    toy_assert_state(t, "a", 0, "leader 2 isr 2 elr - known -");
    ck_assert_int_eq(toy_partition(t, "a", 0)->last_unclean_epoch,
                     toy_partition(t, "a", 0)->leader_epoch);
    (void)toy_free(t);
}
END_TEST

/* The preferred leader gets its partitions back soon after it is in sync again. */
START_TEST(balance__preferred_leader_returns)
{
    struct toy *t = toy_up(3);
    (void)toy_topic(t, "a", "2,3,1", NULL);
    toy_kill(t, 2);
    toy_tick(t);
    toy_join(t, 2);
    toy_assert_state(t, "a", 0, "leader 3 isr 3,1 elr - known -");
    int32_t all[] = {2, 3, 1};
    ck_assert_int_eq(toy_alter(t, "a", 0, all, 3), KW_NONE);
    toy_assert_state(t, "a", 0, "leader 3 isr 2,3,1 elr - known -");
    toy_run(t, 2200);
    toy_assert_state(t, "a", 0, "leader 2 isr 2,3,1 elr - known -");
    (void)toy_free(t);
}
END_TEST

/* 9.4: a stalled disk leaves ISRs and leaderships while a sound member is live. */
START_TEST(stall__sound_members_take_over)
{
    struct toy *t = toy_up(3);
    (void)toy_topic(t, "a", "2,3,1", NULL);
    (void)toy_topic(t, "alone", "2", NULL);
    struct meta_heartbeat_request r = toy_beat(t, 2);
    r.disk_stall_ms = 3500;
    (void)toy_heartbeat(t, &r);
    toy_tick(t);
    toy_assert_state(t, "a", 0, "leader 3 isr 3,1 elr - known -");
    toy_assert_state(t, "alone", 0, "leader 2 isr 2 elr - known -");
    ck_assert(meta_image_broker(t->committed, 2)->stalled); /* leaders do not wait for it (3.1) */
    /* 4.1: and it does not come in before it syncs again. */
    int32_t all[] = {2, 3, 1};
    ck_assert_int_eq(toy_alter(t, "a", 0, all, 3), KW_INELIGIBLE_REPLICA);
    r.disk_stall_ms = 0;
    (void)toy_heartbeat(t, &r);
    toy_tick(t);
    ck_assert(!meta_image_broker(t->committed, 2)->stalled);
    ck_assert_int_eq(toy_alter(t, "a", 0, all, 3), KW_NONE);
    /* 9.3: a full one at once. */
    r.disk_full = true;
    (void)toy_heartbeat(t, &r);
    toy_tick(t);
    toy_assert_state(t, "a", 0, "leader 3 isr 3,1 elr - known -");
    ck_assert_int_eq(toy_alter(t, "a", 0, all, 3), KW_INELIGIBLE_REPLICA);
    (void)toy_free(t);
}
END_TEST

/* 1.7, 9.3: a leader gives up its epoch; alone it goes on in its next one. */
START_TEST(ask_election__ends_the_epoch)
{
    struct toy *t = toy_up(3);
    const struct meta_topic *many = toy_topic(t, "a", "2,3,1", NULL);
    const struct meta_topic *alone = toy_topic(t, "alone", "2", NULL);
    struct meta_election_item items[] = {
        {.topic_id = many->id, .leader_epoch = 0},
        {.topic_id = alone->id, .leader_epoch = 0},
        {.topic_id = alone->id, .leader_epoch = 0},
    };
    ck_assert_int_eq(
        meta_controller_ask_election(t->c, t->now_ms, 2, t->brokers[2].epoch, items, 3, &t->result),
        KW_NONE);
    (void)toy_commit(t);
    toy_assert_state(t, "a", 0, "leader 3 isr 2,3,1 elr - known -");
    toy_assert_state(t, "alone", 0, "leader 2 isr 2 elr - known -");
    ck_assert_int_eq(toy_partition(t, "alone", 0)->leader_epoch, 1);
    /* It does not get the first one back at once. */
    toy_run(t, 10000);
    toy_assert_state(t, "a", 0, "leader 3 isr 2,3,1 elr - known -");
    toy_run(t, 60000);
    toy_assert_state(t, "a", 0, "leader 2 isr 2,3,1 elr - known -");
    (void)toy_free(t);
}
END_TEST

/* 2.6, 2.8: a damaged replica leaves ISR and ELR, leader or not. */
START_TEST(ask_election__damaged_leaves_isr_and_elr)
{
    struct toy *t = toy_up(3);
    (void)toy_topic(t, "a", "2,3,1", NULL);
    const struct meta_topic *topic = meta_image_topic(t->committed, "a");
    struct meta_election_item item = {.topic_id = topic->id, .damaged = true};
    ck_assert_int_eq(
        meta_controller_ask_election(t->c, t->now_ms, 3, t->brokers[3].epoch, &item, 1, &t->result),
        KW_NONE);
    (void)toy_commit(t);
    toy_assert_state(t, "a", 0, "leader 2 isr 2,1 elr - known -");
    /* Out already, it still gets a record later than its report, once. */
    item.partition_epoch = toy_partition(t, "a", 0)->partition_epoch;
    for (int i = 0; i < 2; i++) {
        ck_assert_int_eq(meta_controller_ask_election(t->c, t->now_ms, 3, t->brokers[3].epoch,
                                                      &item, 1, &t->result),
                         KW_NONE);
        ck_assert_uint_eq(toy_commit(t), i == 0 ? 1 : 0);
    }
    ck_assert_int_eq(toy_partition(t, "a", 0)->partition_epoch, item.partition_epoch + 1);
    toy_assert_state(t, "a", 0, "leader 2 isr 2,1 elr - known -");
    item.partition_epoch = -1;
    ck_assert_int_eq(
        meta_controller_ask_election(t->c, t->now_ms, 2, t->brokers[2].epoch, &item, 1, &t->result),
        KW_NONE);
    (void)toy_commit(t);
    toy_assert_state(t, "a", 0, "leader 1 isr 1 elr - known -");
    item.leader_epoch = 1;
    ck_assert_int_eq(
        meta_controller_ask_election(t->c, t->now_ms, 1, t->brokers[1].epoch, &item, 1, &t->result),
        KW_NONE);
    (void)toy_commit(t);
    toy_assert_state(t, "a", 0, "leader -1 isr - elr - known 1");
    (void)toy_free(t);
}
END_TEST

UNIT_MAIN("elections", fence__moves_leaders_in_one_batch,
          fence__below_the_minimum_keeps_members_eligible, fence__two_at_once_both_stay_eligible,
          fence__one_by_one_only_the_last_stays_eligible, elect__cut_logs_wait_for_the_others,
          elect__the_longest_of_cut_logs_when_all_are_back, elect__a_whole_log_leads_at_once,
          register__damaged_log_is_not_eligible,
          register__last_member_without_its_log_leads_nothing,
          register__unsynced_creation_is_whole_and_empty,
          register__weak_topic_after_an_unclean_stop, elect__weak_topic_that_lost_all_members,
          min_isr__change_clears_the_elr, min_isr__cluster_default_governs_topics_without_their_own,
          flush_messages__turned_strong_is_unsynced_first, balance__preferred_leader_returns,
          elect__unclean_by_topic_config, stall__sound_members_take_over,
          ask_election__ends_the_epoch, ask_election__damaged_leaves_isr_and_elr)
