/* Sequences of idempotent producers whose batches are refused for a reason that passes. */
#include "broker/node/node_internal.h"
#include "tests/unit/node/scenario.h"

enum { PRODUCER = 4711 };

static uint32_t bystander(struct scenario *s)
{
    int32_t leader = scenario_leader(s);
    int32_t controller = sim_cluster_controller(s->cluster) + 1;
    for (int32_t id = 1; id <= 3; id++) {
        if (id != leader && id != controller)
            return (uint32_t)id - 1;
    }
    return 0;
}

static int send(struct scenario *s, int32_t sequence)
{
    return scenario_produce_sequence(s, "v", PRODUCER, sequence);
}

static bool refuses(struct scenario *s)
{
    return scenario_produce(s, "v") == KW_NOT_ENOUGH_REPLICAS;
}

/* What came behind a refused batch found a gap: librdkafka takes OUT_OF_ORDER_SEQUENCE_NUMBER for
 * a reason to begin a new epoch, in which it repeats records that are in the log. Seen as two
 * duplicated records after a power cut of all three brokers. */
START_TEST(batch_behind_a_refused_one__refused_likewise)
{
    struct scenario s;
    scenario_start(&s, 31);
    ck_assert_int_eq(send(&s, 0), KW_NONE);
    scenario_set_config(&s, "orders", "min.insync.replicas", "3");
    sim_cluster_kill(s.cluster, bystander(&s), true);
    scenario_until(&s, refuses, 10000, "writes are refused with two of three in sync");
    ck_assert_int_eq(send(&s, 1), KW_NOT_ENOUGH_REPLICAS);
    ck_assert_int_eq(send(&s, 2), KW_NOT_ENOUGH_REPLICAS);
    scenario_set_config(&s, "orders", "min.insync.replicas", "1");
    ck_assert_int_eq(send(&s, 3), KW_NOT_ENOUGH_REPLICAS);
    ck_assert_int_eq(send(&s, 0), KW_NONE); /* in the log since long: the gap is still there */
    ck_assert_int_eq(send(&s, 3), KW_NOT_ENOUGH_REPLICAS);
    ck_assert_int_eq(send(&s, 1), KW_NONE);
    ck_assert_int_eq(send(&s, 3), KW_NOT_ENOUGH_REPLICAS); /* 2 has not come again */
    ck_assert_int_eq(send(&s, 2), KW_NONE);
    ck_assert_int_eq(send(&s, 4), KW_NOT_ENOUGH_REPLICAS);
    ck_assert_int_eq(send(&s, 3), KW_NONE);
    ck_assert_int_eq(send(&s, 4), KW_NONE);
    ck_assert_int_eq(send(&s, 6), KW_OUT_OF_ORDER_SEQUENCE_NUMBER); /* nothing was refused here */
    scenario_end(&s);
}
END_TEST

/* A refused batch that never comes again explains gaps for ten seconds, no longer. */
START_TEST(refused_batch__forgotten_after_ten_seconds)
{
    struct scenario s;
    scenario_start(&s, 32);
    scenario_set_config(&s, "orders", "min.insync.replicas", "3");
    sim_cluster_kill(s.cluster, bystander(&s), true);
    scenario_until(&s, refuses, 10000, "writes are refused with two of three in sync");
    ck_assert_int_eq(send(&s, 0), KW_NOT_ENOUGH_REPLICAS);
    scenario_set_config(&s, "orders", "min.insync.replicas", "1");
    ck_assert_int_eq(send(&s, 1), KW_NOT_ENOUGH_REPLICAS);
    scenario_run_for(&s, 10000);
    ck_assert_int_eq(send(&s, 1), KW_OUT_OF_ORDER_SEQUENCE_NUMBER);
    ck_assert_int_eq(send(&s, 0), KW_NONE);
    scenario_end(&s);
}
END_TEST

static int32_t killed;

static bool another_leads(struct scenario *s)
{
    return scenario_leader(s) > 0 && scenario_leader(s) != killed;
}

/* librdkafka, told of a new leader, may send what it has made since before what the old one
 * refused. Seen as a duplicated record after leaders were cut off from their peers. */
START_TEST(new_leader__is_patient_with_gaps)
{
    struct scenario s;
    scenario_start(&s, 33);
    ck_assert_int_eq(send(&s, 0), KW_NONE);
    killed = scenario_leader(&s);
    sim_cluster_kill(s.cluster, (uint32_t)killed - 1, false);
    scenario_until(&s, another_leads, 10000, "another broker leads");
    ck_assert_int_eq(send(&s, 2), KW_NOT_LEADER_OR_FOLLOWER);
    ck_assert_int_eq(send(&s, 1), KW_NONE);
    ck_assert_int_eq(send(&s, 2), KW_NONE);
    scenario_run_for(&s, 5000);
    ck_assert_int_eq(send(&s, 4), KW_OUT_OF_ORDER_SEQUENCE_NUMBER);
    scenario_end(&s);
}
END_TEST

UNIT_MAIN("node_sequences", batch_behind_a_refused_one__refused_likewise,
          refused_batch__forgotten_after_ten_seconds, new_leader__is_patient_with_gaps)
