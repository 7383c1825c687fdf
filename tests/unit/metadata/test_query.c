/* Scenario: clients ask what the cluster looks like; answers come from the committed image alone.
 */
#include "tests/unit/metadata/toy.h"
#include "tests/unit/unit.h"

#include <string.h>

static struct meta_query ask(struct toy *t)
{
    return (struct meta_query){
        .image = t->committed, .arena = &t->arena, .listener = "PLAINTEXT", .dead_leader = -1};
}

START_TEST(metadata__brokers_and_leaders)
{
    struct toy *t = toy_up(3);
    struct meta_query q = ask(t);
    struct kw_metadata_response resp;
    struct kw_metadata_response_topic topic;
    (void)toy_topic(t, "a", "3,1", "min.insync.replicas=1");
    kw_metadata_response_init(&resp);
    ck_assert_int_eq(meta_query_metadata_brokers(&q, &resp), 0);
    ck_assert_int_eq(resp.brokers_count, 3);
    ck_assert_int_eq(resp.brokers[1].port, 9094);
    ck_assert(kw_str_is(resp.cluster_id, "toy-cluster"));
    kw_metadata_response_topic_init(&topic);
    ck_assert_int_eq(meta_query_metadata_topic(&q, meta_image_topic(t->committed, "a"), 9, &topic),
                     0);
    ck_assert_int_eq(topic.partitions[0].leader_id, 3);
    ck_assert_int_eq(topic.partitions[0].isr_nodes_count, 2);
    ck_assert_int_eq(topic.partitions[0].offline_replicas_count, 0);
    /* 10.5: a leader whose link closed is not named. */
    q.dead_leader = 3;
    (void)meta_query_metadata_topic(&q, meta_image_topic(t->committed, "a"), 9, &topic);
    ck_assert_int_eq(topic.partitions[0].leader_id, -1);
    ck_assert_int_eq(topic.partitions[0].error_code, KW_LEADER_NOT_AVAILABLE);
    q.dead_leader = -1;
    q.listener = "OTHER";
    (void)meta_query_metadata_topic(&q, meta_image_topic(t->committed, "a"), 9, &topic);
    ck_assert_int_eq(topic.partitions[0].error_code, KW_LISTENER_NOT_FOUND);
    (void)meta_query_metadata_topic(&q, meta_image_topic(t->committed, "a"), 5, &topic);
    ck_assert_int_eq(topic.partitions[0].error_code, KW_LEADER_NOT_AVAILABLE);
    q.listener = "PLAINTEXT";
    toy_kill(t, 3);
    toy_tick(t);
    (void)meta_query_metadata_brokers(&q, &resp);
    ck_assert_int_eq(resp.brokers_count, 2);
    (void)meta_query_metadata_topic(&q, meta_image_topic(t->committed, "a"), 9, &topic);
    ck_assert_int_eq(topic.partitions[0].leader_id, 1);
    ck_assert_int_eq(topic.partitions[0].offline_replicas_count, 1);
    ck_assert_int_eq(topic.partitions[0].offline_replicas[0], 3);
    struct kw_describe_cluster_response cluster;
    kw_describe_cluster_response_init(&cluster);
    ck_assert_int_eq(meta_query_describe_cluster(&q, false, &cluster), 0);
    ck_assert_int_eq(cluster.brokers_count, 2);
    ck_assert_int_eq(meta_query_describe_cluster(&q, true, &cluster), 0);
    ck_assert_int_eq(cluster.brokers_count, 3);
    ck_assert(cluster.brokers[2].is_fenced);
    (void)toy_free(t);
}
END_TEST

/* Walk with a small limit: each partition exactly once, in name order. */
START_TEST(describe_topic_partitions__pages)
{
    struct toy *t = toy_up(3);
    struct meta_query q = ask(t);
    struct kw_describe_topic_partitions_request req;
    struct kw_describe_topic_partitions_request_cursor cursor;
    struct kw_describe_topic_partitions_response resp;
    char seen[64] = "";
    (void)toy_topic(t, "b", "1;2;3", NULL);
    (void)toy_topic(t, "a", "1;2", NULL);
    (void)toy_topic(t, "c", "1", NULL);
    kw_describe_topic_partitions_request_init(&req);
    req.response_partition_limit = 2;
    for (int page = 0; page < 10; page++) {
        ck_assert_int_eq(meta_query_describe_topic_partitions(&q, &req, &resp), 0);
        for (int32_t i = 0; i < resp.topics_count; i++) {
            for (int32_t k = 0; k < resp.topics[i].partitions_count; k++) {
                size_t n = strlen(seen);
                seen[n] = resp.topics[i].name.data[0];
                seen[n + 1] = (char)('0' + resp.topics[i].partitions[k].partition_index);
            }
        }
        if (resp.next_cursor == NULL)
            break;
        cursor.topic_name = resp.next_cursor->topic_name;
        cursor.partition_index = resp.next_cursor->partition_index;
        req.cursor = &cursor;
        ck_assert_int_eq(resp.topics_count > 0, 1);
    }
    ck_assert_str_eq(seen, "a0a1b0b1b2c0");
    /* No limit below one. */
    req.cursor = NULL;
    req.response_partition_limit = 0;
    ck_assert_int_eq(meta_query_describe_topic_partitions(&q, &req, &resp), 0);
    ck_assert_int_eq(resp.topics_count, 1);
    ck_assert_int_eq(resp.topics[0].partitions_count, 1);
    ck_assert_int_eq(resp.next_cursor->partition_index, 1);
    (void)toy_free(t);
}
END_TEST

START_TEST(describe_topic_partitions__named_topics)
{
    struct toy *t = toy_up(3);
    struct meta_query q = ask(t);
    struct kw_describe_topic_partitions_request_topic names[] = {
        {KW_STR("z")}, {KW_STR("a")}, {KW_STR("no such")}, {KW_STR("a")}};
    struct kw_describe_topic_partitions_request req;
    struct kw_describe_topic_partitions_response resp;
    (void)toy_topic(t, "a", "2,3,1", NULL);
    toy_kill(t, 2);
    toy_tick(t);
    toy_kill(t, 3);
    toy_tick(t);
    kw_describe_topic_partitions_request_init(&req);
    req.topics = names;
    req.topics_count = 4;
    ck_assert_int_eq(meta_query_describe_topic_partitions(&q, &req, &resp), 0);
    ck_assert_int_eq(resp.topics_count, 3);
    ck_assert_int_eq(resp.topics[0].error_code, KW_NONE);
    ck_assert_int_eq(resp.topics[0].partitions[0].eligible_leader_replicas_count, 1);
    ck_assert_int_eq(resp.topics[0].partitions[0].eligible_leader_replicas[0], 3);
    ck_assert_int_eq(resp.topics[1].error_code, KW_INVALID_TOPIC_EXCEPTION);
    ck_assert_int_eq(resp.topics[2].error_code, KW_UNKNOWN_TOPIC_OR_PARTITION);
    for (int i = 0; i < 3; i++)
        ck_assert_int_eq(resp.topics[i].topic_authorized_operations, META_TOPIC_OPERATIONS);
    ck_assert_ptr_null(resp.next_cursor);
    (void)toy_free(t);
}
END_TEST

START_TEST(describe_configs__topic)
{
    struct toy *t = toy_up(3);
    struct meta_query q = ask(t);
    struct kw_str keys[] = {KW_STR("retention.ms"), KW_STR("nonsense")};
    struct kw_describe_configs_request_resource resource = {.resource_type = 2,
                                                            .resource_name = KW_STR("a")};
    struct kw_describe_configs_response_result r;
    ck_assert_int_eq(meta_query_describe_topic_configs(&q, NULL, &resource, true, true, &r), 0);
    ck_assert_int_eq(r.error_code, KW_UNKNOWN_TOPIC_OR_PARTITION);
    resource.resource_name = KW_STR("no name");
    ck_assert_int_eq(meta_query_describe_topic_configs(&q, NULL, &resource, true, true, &r), 0);
    ck_assert_int_eq(r.error_code, KW_INVALID_TOPIC_EXCEPTION);
    resource.resource_name = KW_STR("a");
    (void)toy_topic(t, "a", "1,2,3", "retention.ms=5");
    ck_assert_int_eq(meta_query_describe_topic_configs(&q, NULL, &resource, true, true, &r), 0);
    ck_assert_int_eq(r.configs_count, META_TOPIC_KEY_COUNT_);
    resource.configuration_keys = keys;
    resource.configuration_keys_count = 2;
    ck_assert_int_eq(meta_query_describe_topic_configs(&q, NULL, &resource, true, true, &r), 0);
    ck_assert_int_eq(r.configs_count, 1);
    ck_assert(kw_str_is(r.configs[0].value, "5"));
    ck_assert_int_eq(r.configs[0].config_source, META_SOURCE_TOPIC);
    ck_assert_int_eq(r.configs[0].synonyms_count, 2);
    ck_assert_int_gt(r.configs[0].documentation.size, 0);
    ck_assert_int_eq(meta_query_describe_topic_configs(&q, NULL, &resource, false, false, &r), 0);
    ck_assert_int_eq(r.configs[0].synonyms_count, 0);
    ck_assert_ptr_null(r.configs[0].documentation.data);
    (void)toy_free(t);
}
END_TEST

UNIT_MAIN("query", metadata__brokers_and_leaders, describe_topic_partitions__pages,
          describe_topic_partitions__named_topics, describe_configs__topic)
