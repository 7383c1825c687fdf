/* A controller that hands over takes no commands: one that comes to it then waits in its queue, for
 * a bounded time, and is answered. */
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

UNIT_MAIN("node_forward", forward__a_controller_in_transfer_does_not_ask_itself_for_ever)
