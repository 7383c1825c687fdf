/* Answers as Apache Kafka 4 gives them, where a client can tell: whole brokers, the versions of the
 * requests chosen. */
#include "tests/unit/node/scenario.h"

struct answer {
    int count;
    int32_t first;
    int32_t second;
};

static struct answer call(struct scenario *s, int16_t key, int16_t version, const void *request,
                          sim_answer_fn *read)
{
    struct answer a = {0};
    sim_client_set_version(s->client, key, version);
    ck_assert(scenario_call(s, 1, key, request, read, &a));
    ck_assert_int_eq(a.count, 1);
    return a;
}

/* ---- DescribeQuorum: versions 0 and 1 have no directories ---- */

static void read_quorum(void *arg, const void *response)
{
    const struct kw_describe_quorum_response *r = response;
    struct answer *a = arg;
    a->count++;
    a->first = r->topics[0].partitions[0].error_code;
    a->second = r->topics[0].partitions[0].current_voters_count;
}

START_TEST(describe_quorum__all_versions)
{
    struct scenario s;
    struct kw_describe_quorum_request rq;
    struct kw_describe_quorum_request_topic topic;
    struct kw_describe_quorum_request_partition partition;
    scenario_start(&s, 5);
    kw_describe_quorum_request_init(&rq);
    kw_describe_quorum_request_topic_init(&topic);
    kw_describe_quorum_request_partition_init(&partition);
    topic.topic_name = KW_STR("__cluster_metadata");
    topic.partitions = &partition;
    topic.partitions_count = 1;
    rq.topics = &topic;
    rq.topics_count = 1;
    for (int16_t version = 0; version <= 2; version++) {
        struct answer a = call(&s, KW_API_DESCRIBE_QUORUM, version, &rq, read_quorum);
        ck_assert_int_eq(a.first, KW_NONE);
        ck_assert_int_eq(a.second, 3);
    }
    scenario_end(&s);
}
END_TEST

UNIT_MAIN("node_answers", describe_quorum__all_versions)
