/* Scenario: brokers register, are heard, fall silent, restart, stop; controllers take over. */
#include "tests/unit/metadata/toy.h"
#include "tests/unit/unit.h"

/* 1.3, R17: an incarnation whose link lives is not displaced; one whose link is closed is, at once,
 * and its end and the new one are one batch. */
START_TEST(register__a_living_incarnation_is_not_displaced)
{
    struct toy *t = toy_up(3);
    uint64_t first = t->brokers[2].incarnation;
    (void)toy_topic(t, "a", "2,3,1", NULL);
    ck_assert_int_eq(toy_start(t, 2, NULL), KW_DUPLICATE_BROKER_REGISTRATION);
    ck_assert_uint_eq(meta_image_broker(t->committed, 2)->incarnation, first);
    meta_controller_link(t->c, t->now_ms, 2, META_LINK_CLOSED, 0);
    uint64_t before = t->brokers[2].epoch;
    ck_assert_int_eq(toy_start(t, 2, NULL), KW_NONE);
    const struct meta_broker *b = meta_image_broker(t->committed, 2);
    ck_assert_uint_gt(b->epoch, before);
    ck_assert(b->fenced);
    toy_assert_state(t, "a", 0, "leader 3 isr 3,1 elr - known -");
    (void)toy_free(t);
}
END_TEST

/* A silent incarnation with an open link gives way after the session timeout. */
START_TEST(register__a_silent_incarnation_gives_way)
{
    struct toy *t = toy_up(3);
    ck_assert_int_eq(toy_start(t, 2, NULL), KW_DUPLICATE_BROKER_REGISTRATION);
    t->now_ms += 1500;
    ck_assert_int_eq(toy_start(t, 2, NULL), KW_NONE);
    (void)toy_free(t);
}
END_TEST

/* 1.1, 1.2: a fast restart: leadership of the old incarnation is void, the epoch rises. */
START_TEST(register__fast_restart_of_a_lone_leader)
{
    struct toy *t = toy_up(1);
    (void)toy_topic(t, "a", "1", NULL);
    ck_assert_int_eq(toy_partition(t, "a", 0)->leader_epoch, 0);
    toy_kill(t, 1);
    t->brokers[1].incarnation = ++t->incarnations;
    t->brokers[1].up = false;
    toy_take_over(t, NULL, 0);
    toy_tick(t);
    ck_assert(!meta_controller_scanning(t->c));
    toy_assert_state(t, "a", 0, "leader -1 isr - elr 1 known -");
    struct meta_register_response answer;
    struct meta_log_report log = {
        .topic_id = meta_image_topic(t->committed, "a")->id, .last_epoch = 0, .end_offset = 9};
    struct meta_register_request req = {.broker_id = 1,
                                        .incarnation = t->brokers[1].incarnation,
                                        .directory = t->brokers[1].directory,
                                        .previous_broker_epoch = t->brokers[1].epoch,
                                        .logs = &log,
                                        .logs_count = 1};
    meta_controller_register(t->c, t->now_ms, &req, &t->arena, &t->result, &answer);
    (void)toy_commit(t);
    t->brokers[1].epoch = answer.broker_epoch;
    toy_unfence(t, 1);
    toy_assert_state(t, "a", 0, "leader 1 isr 1 elr - known -");
    ck_assert_int_eq(toy_partition(t, "a", 0)->leader_epoch, 2);
    ck_assert_uint_eq(toy_partition(t, "a", 0)->leader_broker_epoch, answer.broker_epoch);
    (void)toy_free(t);
}
END_TEST

/* 8.3: the same incarnation again: same epoch, nothing is written. */
START_TEST(register__again_keeps_the_epoch)
{
    struct toy *t = toy_up(3);
    struct meta_register_response answer;
    struct meta_endpoint endpoint = {.listener = (char *)(uintptr_t) "PLAINTEXT",
                                     .host = (char *)(uintptr_t) "localhost",
                                     .port = 9094};
    struct meta_register_request req = {.broker_id = 2,
                                        .incarnation = t->brokers[2].incarnation,
                                        .directory = t->brokers[2].directory,
                                        .endpoints = &endpoint,
                                        .endpoints_count = 1};
    meta_controller_register(t->c, t->now_ms, &req, &t->arena, &t->result, &answer);
    ck_assert_int_eq(answer.error, KW_NONE);
    ck_assert_uint_eq(answer.broker_epoch, t->brokers[2].epoch);
    ck_assert_uint_eq(toy_commit(t), 0);
    /* A new address is written, without a new epoch. */
    endpoint.port = 9999;
    meta_controller_register(t->c, t->now_ms, &req, &t->arena, &t->result, &answer);
    ck_assert_uint_eq(toy_commit(t), 1);
    const struct meta_broker *b = meta_image_broker(t->committed, 2);
    ck_assert_uint_eq(b->epoch, t->brokers[2].epoch);
    ck_assert(!b->fenced);
    ck_assert_uint_eq(b->endpoints[0].port, 9999);
    (void)toy_free(t);
}
END_TEST

/* 8.4: a directory older than the epoch it was last unfenced under counts as new. */
START_TEST(register__rolled_back_directory_counts_as_new)
{
    struct toy *t = toy_up(3);
    struct toy_start rolled = {.unclean = true, .previous_epoch = 1};
    (void)toy_topic(t, "a", "2,3", NULL);
    toy_kill(t, 2);
    toy_kill(t, 3);
    toy_tick(t);
    ck_assert_int_eq(toy_start(t, 2, &rolled), KW_NONE);
    toy_assert_state(t, "a", 0, "leader -1 isr - elr 3 known 2");
    (void)toy_free(t);
}
END_TEST

/* 4.4: a new directory brings nothing; the partition names it from now on. */
START_TEST(register__new_directory_counts_as_new)
{
    struct toy *t = toy_up(3);
    struct toy_start fresh = {.unclean = true, .new_directory = true};
    (void)toy_topic(t, "a", "2,3", NULL);
    toy_kill(t, 2);
    toy_kill(t, 3);
    toy_tick(t);
    ck_assert_int_eq(toy_start(t, 2, &fresh), KW_NONE);
    toy_assert_state(t, "a", 0, "leader -1 isr - elr 3 known 2");
    ck_assert(kb_uuid_equal(&toy_partition(t, "a", 0)->directories[0], &t->brokers[2].directory));
    (void)toy_free(t);
}
END_TEST

START_TEST(register__refuses_another_cluster)
{
    struct toy *t = toy_up(3);
    struct meta_register_response answer;
    struct meta_register_request req = {.broker_id = 4,
                                        .cluster_id = "other",
                                        .incarnation = 5,
                                        .directory = t->brokers[4].directory};
    meta_controller_register(t->c, t->now_ms, &req, &t->arena, &t->result, &answer);
    ck_assert_int_eq(answer.error, KW_INCONSISTENT_CLUSTER_ID);
    ck_assert_ptr_nonnull(answer.message);
    ck_assert_uint_eq(toy_commit(t), 0);
    (void)toy_free(t);
}
END_TEST

/* 7.6, R17: unfenced only with the present epoch and with the own registration applied. */
START_TEST(heartbeat__unfences_only_who_has_caught_up)
{
    struct toy *t = toy_new(3);
    ck_assert_int_eq(toy_start(t, 2, NULL), KW_NONE);
    struct meta_heartbeat_request r = toy_beat(t, 2);
    r.want_unfence = true;
    r.applied_index = t->brokers[2].epoch - 1;
    ck_assert(toy_heartbeat(t, &r).fenced);
    r.applied_index = t->brokers[2].epoch;
    r.broker_epoch--;
    ck_assert_int_eq(toy_heartbeat(t, &r).error, KW_STALE_BROKER_EPOCH);
    r.broker_epoch++;
    r.incarnation++;
    ck_assert_int_eq(toy_heartbeat(t, &r).error, KW_STALE_BROKER_EPOCH);
    r.incarnation--;
    ck_assert(!toy_heartbeat(t, &r).fenced);
    r = toy_beat(t, 3);
    ck_assert_int_eq(toy_heartbeat(t, &r).error, KW_BROKER_ID_NOT_REGISTERED);
    (void)toy_free(t);
}
END_TEST

/* 7.2: refused = dead now; closed = after the grace; accepting = after the session; silent too. */
START_TEST(link__decides_when_a_broker_is_dead)
{
    struct toy *t = toy_up(3);
    uint64_t start = t->now_ms;
    meta_controller_link(t->c, start, 2, META_LINK_CLOSED, 0);
    ck_assert_uint_eq(meta_controller_deadline(t->c), 0); /* leaders were moved about: balance */
    toy_tick(t);
    ck_assert_uint_eq(meta_controller_deadline(t->c), start + 150);
    t->now_ms = start + 149;
    toy_tick(t);
    ck_assert(meta_image_broker_live(t->committed, 2));
    t->now_ms = start + 150;
    toy_tick(t);
    ck_assert(!meta_image_broker_live(t->committed, 2));

    meta_controller_link(t->c, t->now_ms, 3, META_LINK_CLOSED, 0);
    meta_controller_link(t->c, t->now_ms, 3, META_LINK_ACCEPTING, 0);
    t->now_ms = start + 1499;
    toy_tick(t);
    ck_assert(meta_image_broker_live(t->committed, 3));
    t->now_ms = start + 1500;
    toy_tick(t);
    ck_assert(!meta_image_broker_live(t->committed, 3));
    /* The own node is never dead. */
    t->now_ms += 100000;
    toy_tick(t);
    ck_assert(meta_image_broker_live(t->committed, 1));
    (void)toy_free(t);
}
END_TEST

START_TEST(link__refused_is_dead_at_once)
{
    struct toy *t = toy_up(3);
    toy_kill(t, 2);
    toy_tick(t);
    ck_assert(!meta_image_broker_live(t->committed, 2));
    (void)toy_free(t);
}
END_TEST

/* 7.2: a hello of another incarnation while the link is closed: the old one is dead now. */
START_TEST(link__another_incarnation_ends_the_old_one)
{
    struct toy *t = toy_up(3);
    meta_controller_link(t->c, t->now_ms, 2, META_LINK_CLOSED, 0);
    meta_controller_link(t->c, t->now_ms, 2, META_LINK_UP, 4711);
    toy_tick(t);
    ck_assert(!meta_image_broker_live(t->committed, 2));
    (void)toy_free(t);
}
END_TEST

/* 7.3: a controller that stood still gives the gap to everybody. */
START_TEST(stood_still__moves_deadlines)
{
    struct toy *t = toy_up(3);
    t->now_ms += 1400;
    meta_controller_stood_still(t->c, 1200);
    t->now_ms += 1200;
    toy_tick(t);
    ck_assert(meta_image_broker_live(t->committed, 2));
    t->now_ms += 200;
    toy_tick(t);
    ck_assert(!meta_image_broker_live(t->committed, 2));
    (void)toy_free(t);
}
END_TEST

/* 7.5: one that returns in the same incarnation within 5 s gets twice the grace. */
START_TEST(grace__doubles_for_who_was_not_dead)
{
    struct toy *t = toy_up(3);
    toy_tick(t);
    meta_controller_link(t->c, t->now_ms, 2, META_LINK_CLOSED, 0);
    t->now_ms += 150;
    toy_tick(t);
    ck_assert(!meta_image_broker_live(t->committed, 2));
    toy_unfence(t, 2);
    toy_run(t, 3000);
    struct meta_heartbeat_request r = toy_beat(t, 2);
    (void)toy_heartbeat(t, &r);
    meta_controller_link(t->c, t->now_ms, 2, META_LINK_CLOSED, 0);
    t->now_ms += 299;
    toy_tick(t);
    ck_assert(meta_image_broker_live(t->committed, 2));
    t->now_ms += 1;
    toy_tick(t);
    ck_assert(!meta_image_broker_live(t->committed, 2));
    (void)toy_free(t);
}
END_TEST

/* 7.4: a new controller waits until each is linked or dead, 300 ms at most, then fences the absent
 * in one step, and only then takes registrations. */
START_TEST(take_over__fences_the_absent_in_one_step)
{
    struct toy *t = toy_up(3);
    (void)toy_topic(t, "a", "2,3", "min.insync.replicas=1");
    toy_take_over(t, NULL, 0);
    toy_tick(t);
    ck_assert(meta_controller_scanning(t->c));
    ck_assert_int_eq(toy_start(t, 2, NULL), KW_NOT_CONTROLLER);
    /* That was a hello of a new incarnation: 2 is dead. 3 never answers. */
    t->now_ms += 299;
    toy_tick(t);
    ck_assert(meta_controller_scanning(t->c));
    t->now_ms += 1;
    toy_tick(t);
    ck_assert(!meta_controller_scanning(t->c));
    toy_assert_state(t, "a", 0, "leader -1 isr - elr 2,3 known -");
    ck_assert_int_eq(toy_start(t, 2, NULL), KW_NONE);
    toy_unfence(t, 2);
    toy_assert_state(t, "a", 0, "leader 2 isr 2 elr - known -");
    (void)toy_free(t);
}
END_TEST

START_TEST(take_over__goes_on_at_once_when_all_are_linked)
{
    struct toy *t = toy_up(3);
    int32_t linked[] = {2, 3};
    (void)toy_topic(t, "a", "2,3,1", NULL);
    toy_take_over(t, linked, 2);
    meta_controller_tick(t->c, t->now_ms, &t->result);
    ck_assert_uint_eq(toy_commit(t), 0);
    ck_assert(!meta_controller_scanning(t->c));
    (void)toy_free(t);
}
END_TEST

/* 7.4: silence counts from the own last evidence, before the election. */
START_TEST(take_over__silence_counts_from_before)
{
    struct toy *t = toy_up(3);
    struct meta_evidence evidence[2] = {{.broker_id = 2,
                                         .link = META_LINK_UP,
                                         .link_since_ms = 1,
                                         .incarnation = t->brokers[2].incarnation,
                                         .heard_ms = t->now_ms - 1400},
                                        {.broker_id = 3,
                                         .link = META_LINK_UP,
                                         .link_since_ms = 1,
                                         .incarnation = t->brokers[3].incarnation,
                                         .heard_ms = t->now_ms}};
    (void)meta_controller_free(t->c);
    t->c = meta_controller_new(t->committed, &t->config, 1, t->now_ms, evidence, 2);
    toy_tick(t);
    t->now_ms += 100;
    toy_tick(t);
    ck_assert(!meta_image_broker_live(t->committed, 2));
    ck_assert(meta_image_broker_live(t->committed, 3));
    (void)toy_free(t);
}
END_TEST

/* 4.5 after a take-over: a leaderless partition waits for the reports of its members. */
START_TEST(take_over__election_waits_for_reports)
{
    struct toy *t = toy_up(3);
    int32_t linked[] = {2, 3};
    (void)toy_topic(t, "a", "2,3", NULL);
    toy_kill(t, 2);
    toy_kill(t, 3);
    toy_tick(t);
    struct toy_start cut = {.unclean = true, .state = META_LOG_CUT};
    ck_assert_int_eq(toy_start(t, 2, &cut), KW_NONE);
    toy_unfence(t, 2);
    toy_take_over(t, linked, 1);
    toy_run(t, 11000);
    toy_assert_state(t, "a", 0, "leader -1 isr - elr 2,3 known -");
    struct meta_log_report log = {.topic_id = toy_partition(t, "a", 0)->topic->id,
                                  .last_epoch = 0,
                                  .end_offset = 5,
                                  .state = META_LOG_CUT};
    struct meta_register_response answer;
    struct meta_register_request req = {.broker_id = 2,
                                        .incarnation = t->brokers[2].incarnation,
                                        .directory = t->brokers[2].directory,
                                        .logs = &log,
                                        .logs_count = 1};
    meta_controller_register(t->c, t->now_ms, &req, &t->arena, &t->result, &answer);
    (void)toy_commit(t);
    ck_assert_int_eq(answer.error, KW_NONE);
    toy_run(t, 10100);
    toy_assert_state(t, "a", 0, "leader 2 isr 2 elr - known -");
    (void)toy_free(t);
}
END_TEST

/* Controlled stop: leaders move first; the stopping broker joins no ISR any more (R17). */
START_TEST(stop__leaders_move_first)
{
    struct toy *t = toy_up(3);
    (void)toy_topic(t, "a", "2,3,1", NULL);
    (void)toy_topic(t, "alone", "2", NULL);
    struct meta_heartbeat_request r = toy_beat(t, 2);
    r.want_stop = true;
    struct meta_heartbeat_response answer = toy_heartbeat(t, &r);
    ck_assert(answer.may_stop);
    toy_assert_state(t, "a", 0, "leader 3 isr 3,1 elr - known -");
    toy_assert_state(t, "alone", 0, "leader 2 isr 2 elr - known -");
    ck_assert(meta_image_broker(t->committed, 2)->stopping);
    int32_t all[] = {2, 3, 1};
    ck_assert_int_eq(toy_alter(t, "a", 0, all, 3), KW_INELIGIBLE_REPLICA);
    toy_run(t, 5000);
    toy_assert_state(t, "a", 0, "leader 3 isr 3,1 elr - known -");
    toy_kill(t, 2);
    toy_tick(t);
    toy_join(t, 2);
    ck_assert(!meta_image_broker(t->committed, 2)->stopping);
    ck_assert_int_eq(toy_alter(t, "a", 0, all, 3), KW_NONE);
    (void)toy_free(t);
}
END_TEST

/* A stopping leader that was alone hands over, with its next heartbeat, when somebody is in sync.
 */
START_TEST(stop__hands_over_when_somebody_joins)
{
    struct toy *t = toy_up(3);
    int32_t one[] = {2};
    int32_t both[] = {2, 3};
    (void)toy_topic(t, "a", "2,3", NULL);
    ck_assert_int_eq(toy_alter(t, "a", 0, one, 1), KW_NONE);
    struct meta_heartbeat_request r = toy_beat(t, 2);
    r.want_stop = true;
    (void)toy_heartbeat(t, &r);
    toy_assert_state(t, "a", 0, "leader 2 isr 2 elr - known -");
    ck_assert_int_eq(toy_alter(t, "a", 0, both, 2), KW_NONE);
    toy_assert_state(t, "a", 0, "leader 2 isr 2,3 elr - known -");
    r.applied_index = meta_image_last_index(t->committed);
    ck_assert(toy_heartbeat(t, &r).may_stop);
    toy_assert_state(t, "a", 0, "leader 3 isr 3 elr - known -");
    (void)toy_free(t);
}
END_TEST

/* R18: blocks of producer ids are never issued twice, over controllers too. */
START_TEST(producer_ids__never_twice)
{
    struct toy *t = toy_up(3);
    int64_t first = -1;
    int32_t count = 0;
    for (int64_t i = 0; i < 3; i++) {
        ck_assert_int_eq(
            meta_controller_producer_ids(t->c, 2, t->brokers[2].epoch, &t->result, &first, &count),
            KW_NONE);
        (void)toy_commit(t);
        ck_assert_int_eq(first, i * 1000);
        ck_assert_int_eq(count, 1000);
        toy_take_over(t, NULL, 0);
    }
    ck_assert_int_eq(meta_controller_producer_ids(t->c, 2, 1, &t->result, &first, &count),
                     KW_STALE_BROKER_EPOCH);
    (void)toy_free(t);
}
END_TEST

START_TEST(unregister__only_the_fenced_without_replicas)
{
    struct toy *t = toy_up(3);
    const char *why = NULL;
    ck_assert_int_eq(meta_controller_unregister_broker(t->c, 3, &t->arena, &t->result, &why),
                     KW_INVALID_REQUEST);
    (void)toy_topic(t, "a", "3", NULL);
    toy_kill(t, 3);
    toy_tick(t);
    ck_assert_int_eq(meta_controller_unregister_broker(t->c, 3, &t->arena, &t->result, &why),
                     KW_INVALID_REQUEST);
    toy_kill(t, 2);
    toy_tick(t);
    ck_assert_int_eq(meta_controller_unregister_broker(t->c, 2, &t->arena, &t->result, &why),
                     KW_NONE);
    (void)toy_commit(t);
    ck_assert_ptr_null(meta_image_broker(t->committed, 2));
    ck_assert_int_eq(meta_controller_unregister_broker(t->c, 2, &t->arena, &t->result, &why),
                     KW_BROKER_ID_NOT_REGISTERED);
    (void)toy_free(t);
}
END_TEST

UNIT_MAIN("brokers", register__a_living_incarnation_is_not_displaced,
          register__a_silent_incarnation_gives_way, register__fast_restart_of_a_lone_leader,
          register__again_keeps_the_epoch, register__rolled_back_directory_counts_as_new,
          register__new_directory_counts_as_new, register__refuses_another_cluster,
          heartbeat__unfences_only_who_has_caught_up, link__decides_when_a_broker_is_dead,
          link__refused_is_dead_at_once, link__another_incarnation_ends_the_old_one,
          stood_still__moves_deadlines, grace__doubles_for_who_was_not_dead,
          take_over__fences_the_absent_in_one_step, take_over__goes_on_at_once_when_all_are_linked,
          take_over__silence_counts_from_before, take_over__election_waits_for_reports,
          stop__leaders_move_first, stop__hands_over_when_somebody_joins, producer_ids__never_twice,
          unregister__only_the_fenced_without_replicas)
