/* A controller that hands over takes no commands: one that comes to it then waits in its queue, for
 * a bounded time, and is answered. One that was cut off refuses nothing by what it last knew. */
#include "broker/node/node_internal.h"
#include "tests/unit/node/scenario.h"

static void links_of(struct scenario *s, uint32_t i, bool cut)
{
    for (uint32_t k = 0; k < 3; k++) {
        struct sim_host *a = sim_cluster_host(s->cluster, i);
        struct sim_host *b = sim_cluster_host(s->cluster, k);
        if (k == i)
            continue;
        if (cut) {
            sim_net_cut(a, b);
            sim_net_cut(b, a);
        } else {
            sim_net_heal(a, b);
            sim_net_heal(b, a);
        }
    }
}

static void on_answer(void *arg, const void *response)
{
    (void)response; /* an error in words, or the cut: it ends */
    *(bool *)arg = true;
}

static void ask_for_topic(struct scenario *s, int32_t broker, bool *answered)
{
    static struct kw_create_topics_request rq;
    static struct kw_create_topics_request_topic topic;
    kw_create_topics_request_init(&rq);
    kw_create_topics_request_topic_init(&topic);
    rq.timeout_ms = 2000;
    rq.topics = &topic;
    rq.topics_count = 1;
    topic.name = KW_STR("late");
    topic.num_partitions = 1;
    topic.replication_factor = 3;
    scenario_ask(s, broker, KW_API_CREATE_TOPICS, &rq, on_answer, answered);
}

START_TEST(forward__a_controller_in_transfer_does_not_ask_itself_for_ever)
{
    struct scenario s;
    bool answered = false;
    scenario_start(&s, 3);
    int32_t controller = sim_cluster_controller(s.cluster);
    ck_assert_int_ge(controller, 0);
    links_of(&s, (uint32_t)controller, true); /* the transfer cannot end well */
    node_quorum_transfer(sim_cluster_node(s.cluster, (uint32_t)controller));
    ask_for_topic(&s, controller + 1, &answered);
    scenario_run_for(&s, 12000);
    ck_assert(answered);
    links_of(&s, (uint32_t)controller, false);
    scenario_until(&s, scenario_all_running, 20000, "the former controller is back");
    ck_assert_int_eq(scenario_create(&s, "after"), KW_NONE);
    scenario_end(&s);
}
END_TEST

static void on_grown(void *arg, const void *response)
{
    const struct kw_create_partitions_response *rs = response;
    ck_assert(rs != NULL && rs->results_count == 1);
    *(int *)arg = rs->results[0].error_code;
}

static void ask_to_grow(struct scenario *s, int32_t broker, int *error)
{
    struct kw_create_partitions_request rq;
    struct kw_create_partitions_request_topic topic;
    kw_create_partitions_request_init(&rq);
    kw_create_partitions_request_topic_init(&topic);
    rq.timeout_ms = 2000;
    rq.topics = &topic;
    rq.topics_count = 1;
    topic.name = KW_STR("late");
    topic.count = 2;
    topic.assignments_count = -1;
    *error = -1000;
    scenario_ask(s, broker, KW_API_CREATE_PARTITIONS, &rq, on_grown, error);
}

static bool in_office(struct scenario *s, int32_t i)
{
    return node_controller_get(sim_cluster_node(s->cluster, (uint32_t)i)) != NULL;
}

/* Seed 3000857: the successor had made a topic and said so; the controller that was cut off did not
 * know it, and said so too. */
START_TEST(forward__a_controller_that_is_cut_off_refuses_nothing)
{
    struct scenario s;
    bool made = false;
    int error = 0;
    scenario_start(&s, 5);
    int32_t old = sim_cluster_controller(s.cluster);
    int32_t next = -1;
    links_of(&s, (uint32_t)old, true);
    while (next < 0) {
        ck_assert(sim_world_step(s.world));
        for (int32_t i = 0; i < 3; i++)
            next = i != old && in_office(&s, i) ? i : next;
    }
    ask_for_topic(&s, next + 1, &made);
    while (!made)
        ck_assert(sim_world_step(s.world));
    ask_to_grow(&s, old + 1, &error);
    scenario_run_for(&s, 20);
    ck_assert(in_office(&s, old)); /* it does not know of the other yet */
    ck_assert_int_eq(error, -1000);
    scenario_run_for(&s, 1500);
    ck_assert(!in_office(&s, old));
    ck_assert_int_eq(error, -1000);
    links_of(&s, (uint32_t)old, false);
    scenario_until(&s, scenario_all_running, 20000, "the former controller is back");
    scenario_run_for(&s, 1000);
    ck_assert_int_eq(error, KW_NONE); /* the new one was asked */
    ask_to_grow(&s, next + 1, &error);
    scenario_run_for(&s, 100);
    ck_assert_int_eq(error, KW_INVALID_PARTITIONS); /* who is followed may refuse */
    scenario_end(&s);
}
END_TEST

UNIT_MAIN("node_forward", forward__a_controller_in_transfer_does_not_ask_itself_for_ever,
          forward__a_controller_that_is_cut_off_refuses_nothing)
