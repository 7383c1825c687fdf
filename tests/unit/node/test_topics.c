/* Topics that go while something is under way on them: whoever waits is told, and what was half
 * made goes too. */
#include "broker/node/node_internal.h"
#include "tests/unit/node/scenario.h"

enum { NO_ANSWER = -1, LOST = -2 };

static void read_topics_deleted(void *arg, const void *response)
{
    const struct kw_delete_topics_response *r = response;
    *(int *)arg = r != NULL ? r->responses[0].error_code : LOST;
}

static void delete_topic(struct scenario *s, const char *name)
{
    struct kw_delete_topics_request rq;
    struct kw_delete_topics_request_topic topic;
    struct kw_str text = kw_str_of(name);
    int error = NO_ANSWER;
    kw_delete_topics_request_init(&rq);
    kw_delete_topics_request_topic_init(&topic);
    topic.name = text;
    rq.topics = &topic;
    rq.topics_count = 1;
    rq.topic_names = &text;
    rq.topic_names_count = 1;
    rq.timeout_ms = 2000;
    ck_assert(scenario_call(s, sim_cluster_controller(s->cluster) + 1, KW_API_DELETE_TOPICS, &rq,
                            read_topics_deleted, &error));
    ck_assert_int_eq(error, KW_NONE);
}

/* ---- DeleteRecords that waits for a follower
 * -------------------------------------------------------- */

static void read_records_deleted(void *arg, const void *response)
{
    const struct kw_delete_records_response *r = response;
    *(int *)arg = r != NULL ? r->topics[0].partitions[0].error_code : LOST;
}

static void ask_delete_records(struct scenario *s, int32_t timeout_ms, int *ret_error)
{
    struct kw_delete_records_request rq;
    struct kw_delete_records_request_topic topic;
    struct kw_delete_records_request_partition partition = {.partition_index = 0, .offset = 2};
    kw_delete_records_request_init(&rq);
    kw_delete_records_request_topic_init(&topic);
    topic.name = KW_STR("orders");
    topic.partitions = &partition;
    topic.partitions_count = 1;
    rq.topics = &topic;
    rq.topics_count = 1;
    rq.timeout_ms = timeout_ms;
    *ret_error = NO_ANSWER;
    scenario_ask(s, scenario_leader(s), KW_API_DELETE_RECORDS, &rq, read_records_deleted,
                 ret_error);
}

/* Three records; a follower whose disk stands still, so that its log start is not durable. */
static void setup(struct scenario *s)
{
    scenario_start(s, 41);
    for (int i = 0; i < 3; i++)
        ck_assert_int_eq(scenario_produce(s, "v"), KW_NONE);
    int32_t leader = scenario_leader(s);
    int32_t controller = sim_cluster_controller(s->cluster) + 1;
    int32_t victim = 1;
    while (victim == leader || victim == controller)
        victim++;
    sim_disk_stall(sim_host_disk(sim_cluster_host(s->cluster, (uint32_t)victim - 1)), 20000);
}

START_TEST(delete_records__times_out)
{
    struct scenario s;
    int error = NO_ANSWER;
    setup(&s);
    ask_delete_records(&s, 1000, &error);
    scenario_run_for(&s, 700);
    ck_assert_int_eq(error, NO_ANSWER);
    scenario_run_for(&s, 600);
    ck_assert_int_eq(error, KW_REQUEST_TIMED_OUT);
    scenario_end(&s);
}
END_TEST

START_TEST(delete_records__ends_with_the_topic)
{
    struct scenario s;
    int error = NO_ANSWER;
    setup(&s);
    ask_delete_records(&s, 20000, &error);
    scenario_run_for(&s, 200);
    ck_assert_int_eq(error, NO_ANSWER);
    delete_topic(&s, "orders");
    scenario_run_for(&s, 1000);
    ck_assert_int_eq(error, KW_NOT_LEADER_OR_FOLLOWER);
    scenario_end(&s);
}
END_TEST

UNIT_MAIN("node_topics", delete_records__times_out, delete_records__ends_with_the_topic)
