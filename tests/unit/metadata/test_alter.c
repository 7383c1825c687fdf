/* Scenario: leaders ask for ISR changes; old epochs, fenced, restarted and unknown brokers never
 * get in (rule 4.1, KIP-841, KIP-903). */
#include "tests/unit/metadata/toy.h"
#include "tests/unit/unit.h"

static int16_t alter(struct toy *t, const struct meta_alter_item *item, int32_t broker)
{
    struct meta_alter_result *out = NULL;
    int16_t error = meta_controller_alter_partitions(
        t->c, t->now_ms, broker, t->brokers[broker].epoch, item, 1, &t->arena, &t->result, &out);
    (void)toy_commit(t);
    return error != KW_NONE ? error : out[0].error;
}

START_TEST(alter__shrinks_and_grows)
{
    struct toy *t = toy_up(3);
    int32_t two[] = {1, 2};
    int32_t all[] = {3, 2, 1};
    (void)toy_topic(t, "a", "1,2,3", NULL);
    ck_assert_int_eq(toy_alter(t, "a", 0, two, 2), KW_NONE);
    toy_assert_state(t, "a", 0, "leader 1 isr 1,2 elr - known -");
    ck_assert_int_eq(toy_alter(t, "a", 0, two, 1), KW_NONE);
    toy_assert_state(t, "a", 0, "leader 1 isr 1 elr 2 known -");
    ck_assert_int_eq(toy_alter(t, "a", 0, all, 3), KW_NONE);
    toy_assert_state(t, "a", 0, "leader 1 isr 1,2,3 elr - known -");
    /* 4.7: ISR changes alone keep the leader epoch. */
    ck_assert_int_eq(toy_partition(t, "a", 0)->leader_epoch, 0);
    ck_assert_int_eq(toy_partition(t, "a", 0)->partition_epoch, 3);
    /* Nothing to change: no record, the same epochs. */
    ck_assert_int_eq(toy_alter(t, "a", 0, all, 3), KW_NONE);
    ck_assert_int_eq(toy_partition(t, "a", 0)->partition_epoch, 3);
    (void)toy_free(t);
}
END_TEST

START_TEST(alter__checks_every_epoch)
{
    struct toy *t = toy_up(3);
    (void)toy_topic(t, "a", "1,2,3", NULL);
    int32_t isr[] = {1, 2};
    uint64_t epochs[] = {t->brokers[1].epoch, t->brokers[2].epoch};
    toy_kill(t, 3);
    toy_tick(t);
    const struct meta_alter_item good = {.topic_id = toy_partition(t, "a", 0)->topic->id,
                                         .leader_epoch = 0,
                                         .partition_epoch = 1,
                                         .isr = isr,
                                         .isr_broker_epochs = epochs,
                                         .isr_count = 2};
    struct meta_alter_item item = good;
    item.topic_id.bytes[3] ^= 1;
    ck_assert_int_eq(alter(t, &item, 1), KW_UNKNOWN_TOPIC_ID);
    item = good;
    item.partition = 1;
    ck_assert_int_eq(alter(t, &item, 1), KW_UNKNOWN_TOPIC_OR_PARTITION);
    item = good;
    item.leader_epoch = -1;
    ck_assert_int_eq(alter(t, &item, 1), KW_FENCED_LEADER_EPOCH);
    item.leader_epoch = 1;
    ck_assert_int_eq(alter(t, &item, 1), KW_NOT_CONTROLLER);
    item = good;
    item.partition_epoch = 0;
    ck_assert_int_eq(alter(t, &item, 1), KW_INVALID_UPDATE_VERSION);
    item.partition_epoch = 2;
    ck_assert_int_eq(alter(t, &item, 1), KW_NOT_CONTROLLER);
    ck_assert_int_eq(alter(t, &good, 2), KW_INVALID_REQUEST); /* not the leader */
    item = good;
    item.isr_count = 0;
    ck_assert_int_eq(alter(t, &item, 1), KW_INVALID_REQUEST);
    isr[0] = 2;
    ck_assert_int_eq(alter(t, &good, 1), KW_INVALID_REQUEST); /* without the leader */
    isr[0] = 1;
    isr[1] = 1;
    ck_assert_int_eq(alter(t, &good, 1), KW_INVALID_REQUEST); /* twice */
    isr[1] = 4;
    ck_assert_int_eq(alter(t, &good, 1), KW_INVALID_REQUEST); /* no replica */
    t->brokers[1].epoch--;
    ck_assert_int_eq(alter(t, &good, 1), KW_STALE_BROKER_EPOCH);
    toy_assert_state(t, "a", 0, "leader 1 isr 1,2 elr - known -");
    (void)toy_free(t);
}
END_TEST

/* KIP-841, KIP-903: fenced, restarted, unknown. */
START_TEST(alter__ineligible_replicas)
{
    struct toy *t = toy_up(3);
    int32_t all[] = {1, 2, 3};
    uint64_t old_epoch = t->brokers[3].epoch;
    (void)toy_topic(t, "a", "1,2,3", NULL);
    toy_kill(t, 3);
    toy_tick(t);
    ck_assert_int_eq(toy_alter(t, "a", 0, all, 3), KW_INELIGIBLE_REPLICA);
    ck_assert_int_eq(toy_start(t, 3, NULL), KW_NONE);
    ck_assert_int_eq(toy_alter(t, "a", 0, all, 3), KW_INELIGIBLE_REPLICA);
    toy_unfence(t, 3);
    /* The leader still speaks of the incarnation before. */
    uint64_t epochs[] = {t->brokers[1].epoch, t->brokers[2].epoch, old_epoch};
    struct meta_alter_item item = {.topic_id = toy_partition(t, "a", 0)->topic->id,
                                   .partition_epoch = 1,
                                   .isr = all,
                                   .isr_broker_epochs = epochs,
                                   .isr_count = 3};
    ck_assert_int_eq(alter(t, &item, 1), KW_INELIGIBLE_REPLICA);
    ck_assert_int_eq(toy_alter(t, "a", 0, all, 3), KW_NONE);
    (void)toy_free(t);
}
END_TEST

/* One record per partition and batch. */
START_TEST(alter__the_second_of_two_changes_waits)
{
    struct toy *t = toy_up(3);
    int32_t isr[] = {1, 2};
    uint64_t epochs[] = {t->brokers[1].epoch, t->brokers[2].epoch};
    struct meta_alter_result *out = NULL;
    const struct meta_topic *a = toy_topic(t, "a", "1,2,3", NULL);
    struct meta_alter_item items[2] = {
        {.topic_id = a->id, .isr = isr, .isr_broker_epochs = epochs, .isr_count = 2},
        {.topic_id = a->id, .isr = isr, .isr_broker_epochs = epochs, .isr_count = 1}};
    ck_assert_int_eq(meta_controller_alter_partitions(t->c, t->now_ms, 1, epochs[0], items, 2,
                                                      &t->arena, &t->result, &out),
                     KW_NONE);
    ck_assert_uint_eq(toy_commit(t), 1);
    ck_assert_int_eq(out[0].error, KW_NONE);
    ck_assert_int_eq(out[1].error, KW_REQUEST_TIMED_OUT);
    (void)toy_free(t);
}
END_TEST

/* 4.8: most members say they cannot reach the leader that wants to drop them: one of them leads. */
START_TEST(alter__unreachable_leader_is_replaced_once)
{
    struct toy *t = toy_up(3);
    int32_t one[] = {1};
    int32_t leader = 1;
    (void)toy_topic(t, "a", "1,2,3", NULL);
    for (int32_t id = 2; id <= 3; id++) {
        struct meta_heartbeat_request r = toy_beat(t, id);
        r.dead_links = &leader;
        r.dead_links_count = 1;
        (void)toy_heartbeat(t, &r);
    }
    ck_assert_int_eq(toy_alter(t, "a", 0, one, 1), KW_NEW_LEADER_ELECTED);
    toy_assert_state(t, "a", 0, "leader 2 isr 1,2,3 elr - known -");
    /* 2 says the same of 1 and 3: not again within 30 s. */
    leader = 2;
    int32_t ids[] = {1, 3};
    for (int i = 0; i < 2; i++) {
        struct meta_heartbeat_request r = toy_beat(t, ids[i]);
        r.dead_links = &leader;
        r.dead_links_count = 1;
        (void)toy_heartbeat(t, &r);
    }
    int32_t two[] = {2};
    ck_assert_int_eq(toy_alter(t, "a", 0, two, 1), KW_NONE);
    toy_assert_state(t, "a", 0, "leader 2 isr 2 elr 1,3 known -");
    (void)toy_free(t);
}
END_TEST

/* 4.8: the leader need not ask for anything; its wish to shrink would come after the lag time. */
START_TEST(tick__unreachable_leader_is_replaced)
{
    struct toy *t = toy_up(3);
    int32_t leader = 1;
    (void)toy_topic(t, "a", "1,2,3", NULL);
    (void)toy_topic(t, "b", "1,2", NULL);
    for (int32_t id = 2; id <= 3; id++) {
        struct meta_heartbeat_request r = toy_beat(t, id);
        r.dead_links = &leader;
        r.dead_links_count = 1;
        (void)toy_heartbeat(t, &r);
        toy_tick(t);
        toy_assert_state(t, "a", 0,
                         id == 2 ? "leader 1 isr 1,2,3 elr - known -"
                                 : "leader 2 isr 1,2,3 elr - known -");
    }
    /* One of two is no majority of them. */
    toy_assert_state(t, "b", 0, "leader 1 isr 1,2 elr - known -");
    (void)toy_free(t);
}
END_TEST

/* It does not get its partition back while they still cannot reach it, though it is the preferred
 * one and in sync; and does once they can. */
START_TEST(balance__unreachable_leader_does_not_return)
{
    struct toy *t = toy_up(3);
    int32_t leader = 1;
    (void)toy_topic(t, "a", "1,2,3", NULL);
    for (int round = 0; round < 20; round++) {
        for (int32_t id = 1; id <= 3; id++) {
            struct meta_heartbeat_request r = toy_beat(t, id);
            r.dead_links = &leader;
            r.dead_links_count = id > 1;
            (void)toy_heartbeat(t, &r);
        }
        toy_tick(t);
        toy_assert_state(t, "a", 0, "leader 2 isr 1,2,3 elr - known -");
        t->now_ms += 300;
    }
    for (int round = 0; round < 200; round++) {
        for (int32_t id = 1; id <= 3; id++) {
            struct meta_heartbeat_request r = toy_beat(t, id);
            (void)toy_heartbeat(t, &r);
        }
        toy_tick(t);
        t->now_ms += 300;
    }
    toy_assert_state(t, "a", 0, "leader 1 isr 1,2,3 elr - known -");
    (void)toy_free(t);
}
END_TEST

START_TEST(alter__one_complaint_of_three_changes_nothing)
{
    struct toy *t = toy_up(3);
    int32_t two[] = {1, 3};
    int32_t leader = 1;
    (void)toy_topic(t, "a", "1,2,3", NULL);
    struct meta_heartbeat_request r = toy_beat(t, 2);
    r.dead_links = &leader;
    r.dead_links_count = 1;
    (void)toy_heartbeat(t, &r);
    ck_assert_int_eq(toy_alter(t, "a", 0, two, 2), KW_NONE);
    toy_assert_state(t, "a", 0, "leader 1 isr 1,3 elr - known -");
    (void)toy_free(t);
}
END_TEST

UNIT_MAIN("alter", alter__shrinks_and_grows, alter__checks_every_epoch, alter__ineligible_replicas,
          alter__the_second_of_two_changes_waits, alter__unreachable_leader_is_replaced_once,
          tick__unreachable_leader_is_replaced, balance__unreachable_leader_does_not_return,
          alter__one_complaint_of_three_changes_nothing)
