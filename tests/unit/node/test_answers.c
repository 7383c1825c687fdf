/* Answers as Apache Kafka 4 gives them, where a client can tell: whole brokers, the versions of the
 * requests chosen. */
#include "broker/node/node_internal.h"
#include "tests/unit/node/scenario.h"

struct answer {
    int count;
    int32_t first;
    int32_t second;
    int64_t third;
    bool null_text;
};

static struct answer call_at(struct scenario *s, int32_t broker, int16_t key, int16_t version,
                             const void *request, sim_answer_fn *read)
{
    struct answer a = {0};
    sim_client_set_version(s->client, key, version);
    ck_assert(scenario_call(s, broker, key, request, read, &a));
    ck_assert_int_eq(a.count, 1);
    return a;
}

static struct answer call(struct scenario *s, int16_t key, int16_t version, const void *request,
                          sim_answer_fn *read)
{
    return call_at(s, 1, key, version, request, read);
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

/* ---- Metadata and DescribeCluster ---- */

static void read_metadata(void *arg, const void *response)
{
    const struct kw_metadata_response *r = response;
    struct answer *a = arg;
    a->count++;
    a->first = r->topics_count;
    a->second = r->topics[0].error_code;
}

static void read_operations(void *arg, const void *response)
{
    const struct kw_metadata_response *r = response;
    struct answer *a = arg;
    a->count++;
    a->first = r->cluster_authorized_operations;
    a->second = r->topics[0].topic_authorized_operations;
}

static void read_cluster(void *arg, const void *response)
{
    const struct kw_describe_cluster_response *r = response;
    struct answer *a = arg;
    a->count++;
    a->first = r->cluster_authorized_operations;
    a->second = (uint8_t)r->endpoint_type;
}

START_TEST(metadata__operations_ids_and_repeated_names)
{
    struct scenario s;
    struct kw_metadata_request rq;
    struct kw_metadata_request_topic topics[2];
    struct answer a;
    scenario_start(&s, 6);
    kw_metadata_request_init(&rq);
    for (int i = 0; i < 2; i++) {
        kw_metadata_request_topic_init(&topics[i]);
        topics[i].name = KW_STR("orders");
    }
    rq.topics = topics;
    rq.topics_count = 2;
    a = call(&s, KW_API_METADATA, 9, &rq, read_metadata);
    ck_assert_int_eq(a.first, 1);
    ck_assert_int_eq(a.second, KW_NONE);
    a = call(&s, KW_API_METADATA, 9, &rq, read_operations);
    ck_assert_int_eq(a.first, INT32_MIN);
    ck_assert_int_eq(a.second, INT32_MIN);
    rq.include_cluster_authorized_operations = true;
    rq.include_topic_authorized_operations = true;
    a = call(&s, KW_API_METADATA, 9, &rq, read_operations);
    ck_assert_int_eq(a.first, 8096);
    ck_assert_int_eq(a.second, 3576);
    rq.include_cluster_authorized_operations = false;
    topics[0].topic_id.bytes[15] = 1; /* the version has the field, but no lookup by it */
    a = call(&s, KW_API_METADATA, 10, &rq, read_metadata);
    ck_assert_int_eq(a.first, 2);
    ck_assert_int_eq(a.second, KW_INVALID_REQUEST);
    scenario_end(&s);
}
END_TEST

START_TEST(describe_cluster__operations_and_endpoint_type)
{
    struct scenario s;
    struct kw_describe_cluster_request rq;
    scenario_start(&s, 7);
    kw_describe_cluster_request_init(&rq);
    rq.include_cluster_authorized_operations = true;
    ck_assert_int_eq(call(&s, KW_API_DESCRIBE_CLUSTER, 1, &rq, read_cluster).first, 8096);
    rq.endpoint_type = 2;
    ck_assert_int_eq(call(&s, KW_API_DESCRIBE_CLUSTER, 1, &rq, read_cluster).second, 1);
    scenario_end(&s);
}
END_TEST

/* ---- groups: what is wrong with the request is said before who coordinates ---- */

static void read_heartbeat(void *arg, const void *response)
{
    struct answer *a = arg;
    a->count++;
    a->first = ((const struct kw_heartbeat_response *)response)->error_code;
}

static void read_leave(void *arg, const void *response)
{
    struct answer *a = arg;
    a->count++;
    a->first = ((const struct kw_leave_group_response *)response)->error_code;
}

static void read_sync(void *arg, const void *response)
{
    struct answer *a = arg;
    a->count++;
    a->first = ((const struct kw_sync_group_response *)response)->error_code;
}

static void read_delete(void *arg, const void *response)
{
    struct answer *a = arg;
    a->count++;
    a->first = ((const struct kw_offset_delete_response *)response)->error_code;
}

static void read_join(void *arg, const void *response)
{
    const struct kw_join_group_response *r = response;
    struct answer *a = arg;
    a->count++;
    a->first = r->error_code;
    a->null_text = r->protocol_name.data == NULL;
}

START_TEST(groups__bad_requests)
{
    struct scenario s;
    struct kw_heartbeat_request heartbeat;
    struct kw_leave_group_request leave;
    struct kw_sync_group_request sync;
    struct kw_offset_delete_request delete;
    struct kw_join_group_request join;
    scenario_start(&s, 8);
    kw_heartbeat_request_init(&heartbeat);
    kw_leave_group_request_init(&leave);
    kw_sync_group_request_init(&sync);
    kw_offset_delete_request_init(&delete);
    kw_join_group_request_init(&join);
    ck_assert_int_eq(call(&s, KW_API_HEARTBEAT, 4, &heartbeat, read_heartbeat).first,
                     KW_INVALID_GROUP_ID);
    ck_assert_int_eq(call(&s, KW_API_LEAVE_GROUP, 5, &leave, read_leave).first,
                     KW_INVALID_GROUP_ID);
    ck_assert_int_eq(call(&s, KW_API_SYNC_GROUP, 4, &sync, read_sync).first, KW_INVALID_GROUP_ID);
    ck_assert_int_eq(call(&s, KW_API_OFFSET_DELETE, 0, &delete, read_delete).first,
                     KW_INVALID_GROUP_ID);
    /* From version 5 on the type and the protocol belong to the request. */
    sync.group_id = KW_STR("g");
    sync.protocol_type = kw_str_null();
    sync.protocol_name = kw_str_null();
    ck_assert_int_eq(call(&s, KW_API_SYNC_GROUP, 5, &sync, read_sync).first,
                     KW_INCONSISTENT_GROUP_PROTOCOL);
    struct answer a = call(&s, KW_API_JOIN_GROUP, 9, &join, read_join);
    ck_assert_int_eq(a.first, KW_INVALID_GROUP_ID);
    ck_assert(a.null_text);
    a = call(&s, KW_API_JOIN_GROUP, 6, &join, read_join);
    ck_assert_int_eq(a.first, KW_INVALID_GROUP_ID);
    ck_assert(!a.null_text);
    scenario_end(&s);
}
END_TEST

/* ---- admin commands without time: refused as a whole, and nothing is done ---- */

static void read_created(void *arg, const void *response)
{
    const struct kw_create_topics_response *r = response;
    struct answer *a = arg;
    a->count++;
    a->first = r->topics[0].error_code;
    a->null_text = r->topics[0].error_message.data == NULL;
}

static void read_topics_deleted(void *arg, const void *response)
{
    const struct kw_delete_topics_response *r = response;
    struct answer *a = arg;
    a->count++;
    a->first = r->responses[0].error_code;
}

static void read_partitions_created(void *arg, const void *response)
{
    const struct kw_create_partitions_response *r = response;
    struct answer *a = arg;
    a->count++;
    a->first = r->results[0].error_code;
}

static void read_elected(void *arg, const void *response)
{
    const struct kw_elect_leaders_response *r = response;
    struct answer *a = arg;
    a->count++;
    a->first = r->replica_election_results[0].partition_result[0].error_code;
    a->second = r->error_code;
}

static int32_t count_topic_partitions(struct scenario *s, const char *name)
{
    struct node *n = sim_cluster_node(s->cluster, (uint32_t)sim_cluster_controller(s->cluster));
    const struct meta_topic *t = meta_image_topic(n->image, name);
    return t != NULL ? (int32_t)t->partitions_count : 0;
}

static void refuse_without_time(struct scenario *s, int32_t timeout_ms)
{
    struct kw_create_topics_request create;
    struct kw_create_topics_request_topic topic;
    struct kw_delete_topics_request delete;
    struct kw_create_partitions_request grow;
    struct kw_create_partitions_request_topic more;
    struct kw_elect_leaders_request elect;
    struct kw_elect_leaders_request_topic_partition named;
    struct kw_str orders = KW_STR("orders");
    int32_t zero = 0;
    kw_create_topics_request_init(&create);
    kw_create_topics_request_topic_init(&topic);
    topic.name = KW_STR("new");
    topic.num_partitions = topic.replication_factor = 1;
    create.topics = &topic;
    create.topics_count = 1;
    kw_delete_topics_request_init(&delete);
    delete.topic_names = &orders;
    delete.topic_names_count = 1;
    kw_create_partitions_request_init(&grow);
    kw_create_partitions_request_topic_init(&more);
    more.name = orders;
    more.count = 2;
    more.assignments_count = -1;
    grow.topics = &more;
    grow.topics_count = 1;
    kw_elect_leaders_request_init(&elect);
    kw_elect_leaders_request_topic_partition_init(&named);
    named.topic = orders;
    named.partitions = &zero;
    named.partitions_count = 1;
    elect.topic_partitions = &named;
    elect.topic_partitions_count = 1;
    create.timeout_ms = delete.timeout_ms = grow.timeout_ms = elect.timeout_ms = timeout_ms;

    struct answer a = call(s, KW_API_CREATE_TOPICS, 7, &create, read_created);
    ck_assert_int_eq(a.first, KW_REQUEST_TIMED_OUT);
    ck_assert(a.null_text);
    a = call(s, KW_API_DELETE_TOPICS, 5, &delete, read_topics_deleted);
    ck_assert_int_eq(a.first, KW_REQUEST_TIMED_OUT);
    a = call(s, KW_API_CREATE_PARTITIONS, 3, &grow, read_partitions_created);
    ck_assert_int_eq(a.first, KW_REQUEST_TIMED_OUT);
    a = call(s, KW_API_ELECT_LEADERS, 2, &elect, read_elected);
    ck_assert_int_eq(a.first, KW_REQUEST_TIMED_OUT);
    ck_assert_int_eq(a.second, KW_REQUEST_TIMED_OUT);
    a = call(s, KW_API_ELECT_LEADERS, 0, &elect, read_elected);
    ck_assert_int_eq(a.first, KW_REQUEST_TIMED_OUT);
    scenario_run_for(s, 500);
    ck_assert_int_eq(count_topic_partitions(s, "new"), 0);
    ck_assert_int_eq(count_topic_partitions(s, "orders"), 1);
}

START_TEST(admin__without_time)
{
    struct scenario s;
    scenario_start(&s, 10);
    refuse_without_time(&s, -1);
    refuse_without_time(&s, 0);
    scenario_end(&s);
}
END_TEST

/* ---- epochs below -1: older than any to ListOffsets and OffsetForLeaderEpoch, none to Fetch ----
 */

static void read_listed(void *arg, const void *response)
{
    const struct kw_list_offsets_response *r = response;
    struct answer *a = arg;
    a->count++;
    a->first = r->topics[0].partitions[0].error_code;
}

static void read_epoch(void *arg, const void *response)
{
    const struct kw_offset_for_leader_epoch_response *r = response;
    struct answer *a = arg;
    a->count++;
    a->first = r->topics[0].partitions[0].error_code;
    a->second = r->topics[0].partitions[0].leader_epoch;
    a->third = r->topics[0].partitions[0].end_offset;
}

static void read_fetched(void *arg, const void *response)
{
    const struct kw_fetch_response *r = response;
    struct answer *a = arg;
    a->count++;
    a->first = r->responses[0].partitions[0].error_code;
    a->second = (int32_t)r->responses[0].partitions[0].high_watermark;
    a->third = r->responses[0].partitions[0].log_start_offset;
}

static struct answer list_with(struct scenario *s, int32_t epoch)
{
    struct kw_list_offsets_request rq;
    struct kw_list_offsets_request_topic topic;
    struct kw_list_offsets_request_partition partition;
    kw_list_offsets_request_init(&rq);
    kw_list_offsets_request_topic_init(&topic);
    kw_list_offsets_request_partition_init(&partition);
    partition.current_leader_epoch = epoch;
    partition.timestamp = -1;
    topic.name = KW_STR("orders");
    topic.partitions = &partition;
    topic.partitions_count = 1;
    rq.replica_id = -1;
    rq.topics = &topic;
    rq.topics_count = 1;
    return call_at(s, scenario_leader(s), KW_API_LIST_OFFSETS, 7, &rq, read_listed);
}

static struct answer epoch_with(struct scenario *s, int32_t epoch, int32_t asked)
{
    struct kw_offset_for_leader_epoch_request rq;
    struct kw_offset_for_leader_epoch_request_topic topic;
    struct kw_offset_for_leader_epoch_request_partition partition;
    kw_offset_for_leader_epoch_request_init(&rq);
    kw_offset_for_leader_epoch_request_topic_init(&topic);
    kw_offset_for_leader_epoch_request_partition_init(&partition);
    partition.current_leader_epoch = epoch;
    partition.leader_epoch = asked;
    topic.topic = KW_STR("orders");
    topic.partitions = &partition;
    topic.partitions_count = 1;
    rq.topics = &topic;
    rq.topics_count = 1;
    return call_at(s, scenario_leader(s), KW_API_OFFSET_FOR_LEADER_EPOCH, 4, &rq, read_epoch);
}

static struct answer fetch_with(struct scenario *s, int32_t epoch, int32_t last_epoch)
{
    struct kw_fetch_request rq;
    struct kw_fetch_request_topic topic;
    struct kw_fetch_request_partition partition;
    kw_fetch_request_init(&rq);
    kw_fetch_request_topic_init(&topic);
    kw_fetch_request_partition_init(&partition);
    partition.current_leader_epoch = epoch;
    partition.last_fetched_epoch = last_epoch;
    partition.partition_max_bytes = 1 << 20;
    topic.topic = KW_STR("orders");
    topic.partitions = &partition;
    topic.partitions_count = 1;
    rq.topics = &topic;
    rq.topics_count = 1;
    rq.max_bytes = 1 << 20;
    return call_at(s, scenario_leader(s), KW_API_FETCH, 12, &rq, read_fetched);
}

START_TEST(epochs__below_minus_one)
{
    static const int32_t epochs[] = {-2, -100, INT32_MIN};
    struct scenario s;
    scenario_start(&s, 11);
    ck_assert_int_eq(scenario_produce(&s, "v"), KW_NONE);
    ck_assert_int_eq(list_with(&s, -1).first, KW_NONE);
    ck_assert_int_eq(epoch_with(&s, -1, -1).third, -1);
    for (size_t i = 0; i < sizeof(epochs) / sizeof(epochs[0]); i++) {
        ck_assert_int_eq(list_with(&s, epochs[i]).first, KW_FENCED_LEADER_EPOCH);
        ck_assert_int_eq(epoch_with(&s, epochs[i], 0).first, KW_FENCED_LEADER_EPOCH);
        struct answer a = epoch_with(&s, -1, epochs[i]);
        ck_assert_int_eq(a.first, KW_NONE);
        ck_assert_int_eq(a.second, epochs[i]);
        ck_assert_int_eq(a.third, 0);
        a = fetch_with(&s, epochs[i], epochs[i]);
        ck_assert_int_eq(a.first, KW_NONE);
        ck_assert_int_eq(a.second, 1);
        ck_assert_int_eq(a.third, 0);
    }
    scenario_end(&s);
}
END_TEST

static void read_coordinator(void *arg, const void *response)
{
    const struct kw_find_coordinator_response *r = response;
    *(int32_t *)arg = r->error_code == KW_NONE ? r->node_id : -1;
}

static void read_described(void *arg, const void *response)
{
    const struct kw_describe_groups_response *r = response;
    struct answer *a = arg;
    a->count++;
    a->first = r->groups[0].error_code;
    a->second = r->groups[0].authorized_operations;
}

static int32_t coordinator_of(struct scenario *s, struct kw_str group)
{
    struct kw_find_coordinator_request find;
    int32_t id = -1;
    kw_find_coordinator_request_init(&find);
    find.key = group;
    (void)scenario_call(s, 1, KW_API_FIND_COORDINATOR, &find, read_coordinator, &id);
    return id;
}

static bool described(struct scenario *s)
{
    struct kw_describe_groups_request rq;
    struct kw_str group = KW_STR("g");
    struct answer a = {0};
    int32_t coordinator = coordinator_of(s, group);
    if (coordinator < 0)
        return false;
    kw_describe_groups_request_init(&rq);
    rq.groups = &group;
    rq.groups_count = 1;
    rq.include_authorized_operations = true;
    sim_client_set_version(s->client, KW_API_DESCRIBE_GROUPS, 5);
    (void)scenario_call(s, coordinator, KW_API_DESCRIBE_GROUPS, &rq, read_described, &a);
    return a.count == 1 && a.first == KW_NONE && a.second == 3400;
}

START_TEST(coordinator__operations_and_refused_joins)
{
    struct scenario s;
    struct kw_join_group_request join;
    struct answer a = {0};
    scenario_start(&s, 9);
    scenario_until(&s, described, 20000, "the group is described with operations");
    kw_join_group_request_init(&join);
    join.group_id = KW_STR("g");
    join.session_timeout_ms = 1;
    sim_client_set_version(s.client, KW_API_JOIN_GROUP, 9);
    ck_assert(scenario_call(&s, coordinator_of(&s, join.group_id), KW_API_JOIN_GROUP, &join,
                            read_join, &a));
    ck_assert_int_eq(a.first, KW_INVALID_SESSION_TIMEOUT);
    ck_assert(a.null_text);
    scenario_end(&s);
}
END_TEST

/* ---- OffsetDelete: partitions that do not exist are told from those without an offset ---- */

static void read_committed(void *arg, const void *response)
{
    const struct kw_offset_commit_response *r = response;
    struct answer *a = arg;
    a->count++;
    a->first = r->topics[0].partitions[0].error_code;
}

static bool committed(struct scenario *s)
{
    struct kw_offset_commit_request rq;
    struct kw_offset_commit_request_topic topic;
    struct kw_offset_commit_request_partition partition;
    int32_t coordinator = coordinator_of(s, KW_STR("g"));
    struct answer a = {0};
    kw_offset_commit_request_init(&rq);
    kw_offset_commit_request_topic_init(&topic);
    kw_offset_commit_request_partition_init(&partition);
    partition.committed_offset = 1;
    topic.name = KW_STR("orders");
    topic.partitions = &partition;
    topic.partitions_count = 1;
    rq.group_id = KW_STR("g");
    rq.topics = &topic;
    rq.topics_count = 1;
    sim_client_set_version(s->client, KW_API_OFFSET_COMMIT, 8);
    if (coordinator >= 0)
        (void)scenario_call(s, coordinator, KW_API_OFFSET_COMMIT, &rq, read_committed, &a);
    return a.count == 1 && a.first == KW_NONE;
}

static void read_offsets_deleted(void *arg, const void *response)
{
    const struct kw_offset_delete_response *r = response;
    struct scenario *s = arg;
    ck_assert_int_eq(r->error_code, KW_NONE);
    ck_assert_int_eq(r->topics_count, 2);
    ck_assert_int_eq(r->topics[0].partitions_count, 1);
    ck_assert_int_eq(r->topics[1].partitions_count, 3);
    s->errors[0] = r->topics[0].partitions[0].error_code;
    for (int i = 0; i < 3; i++) {
        ck_assert_int_eq(r->topics[1].partitions[i].partition_index, i == 1 ? 0 : 7 - i);
        s->errors[1 + i] = r->topics[1].partitions[i].error_code;
    }
}

START_TEST(offset_delete__unknown_partitions)
{
    struct scenario s;
    struct kw_offset_delete_request rq;
    struct kw_offset_delete_request_topic topics[2];
    struct kw_offset_delete_request_partition none = {.partition_index = 0};
    struct kw_offset_delete_request_partition some[3] = {
        {.partition_index = 7}, {.partition_index = 0}, {.partition_index = 5}};
    scenario_start(&s, 12);
    sim_client_set_version(s.client, KW_API_FIND_COORDINATOR, 3);
    scenario_until(&s, committed, 20000, "an offset is committed");
    kw_offset_delete_request_init(&rq);
    topics[0] = (struct kw_offset_delete_request_topic){
        .name = KW_STR("nosuch"), .partitions = &none, .partitions_count = 1};
    topics[1] = (struct kw_offset_delete_request_topic){
        .name = KW_STR("orders"), .partitions = some, .partitions_count = 3};
    rq.group_id = KW_STR("g");
    rq.topics = topics;
    rq.topics_count = 2;
    ck_assert(scenario_call(&s, coordinator_of(&s, rq.group_id), KW_API_OFFSET_DELETE, &rq,
                            read_offsets_deleted, &s));
    ck_assert_int_eq(s.errors[0], KW_UNKNOWN_TOPIC_OR_PARTITION);
    ck_assert_int_eq(s.errors[1], KW_UNKNOWN_TOPIC_OR_PARTITION);
    ck_assert_int_eq(s.errors[2], KW_NONE);
    ck_assert_int_eq(s.errors[3], KW_UNKNOWN_TOPIC_OR_PARTITION);
    scenario_end(&s);
}
END_TEST

/* The empty name is a group like others: simple consumers without a name commit to it. */
static bool empty_group_found(struct scenario *s)
{
    return coordinator_of(s, KW_STR("")) >= 0;
}

START_TEST(find_coordinator__of_the_empty_group)
{
    struct scenario s;
    scenario_start(&s, 13);
    for (int16_t version = 0; version <= 3; version++) {
        sim_client_set_version(s.client, KW_API_FIND_COORDINATOR, version);
        scenario_until(&s, empty_group_found, 10000, "the empty group has a coordinator");
    }
    scenario_end(&s);
}
END_TEST

/* ---- Produce: one batch per partition and request ---- */

static void read_produced(void *arg, const void *response)
{
    const struct kw_produce_response *r = response;
    struct scenario *s = arg;
    int n = 0;
    for (int32_t i = 0; i < r->responses_count; i++) {
        for (int32_t k = 0; k < r->responses[i].partition_responses_count; k++)
            s->errors[n++] = r->responses[i].partition_responses[k].error_code;
    }
    ck_assert_int_eq(n, 4);
}

static struct kb_block *make_batch(struct scenario *s)
{
    struct kw_batch_builder builder;
    struct kb_block *batch = NULL;
    kw_batch_builder_init(&builder);
    ck_assert_int_eq(kw_batch_builder_add(&builder, kb_env_wall_ms(sim_env_kb(s->client_env)),
                                          kw_bytes_of("k", 1), kw_bytes_of("v", 1)),
                     0);
    ck_assert_int_eq(kw_batch_builder_finish(&builder, &batch), 0);
    kw_batch_builder_release(&builder);
    return batch;
}

/* Another topic that the leader of orders leads. */
static void create_beside(struct scenario *s, char *name, size_t size)
{
    const struct node *n = sim_cluster_node(s->cluster,
                                            (uint32_t)sim_cluster_controller(s->cluster));
    const struct meta_topic *t;
    int i = 0;
    do {
        ck_assert_int_lt(i, 10);
        (void)snprintf(name, size, "other%d", i++);
        ck_assert_int_eq(scenario_create(s, name), KW_NONE);
        t = meta_image_topic(n->image, name);
        ck_assert_ptr_nonnull(t);
    } while (meta_topic_partition(t, 0)->leader != scenario_leader(s));
}

/* "orders" three times (once without a batch), another topic once. */
START_TEST(produce__partition_named_twice)
{
    struct scenario s;
    struct kw_produce_request rq;
    struct kw_produce_request_topic topics[3];
    struct kw_produce_request_partition parts[4];
    static const int counts[3] = {1, 1, 2};
    char other[16];
    scenario_start(&s, 14);
    create_beside(&s, other, sizeof(other));
    struct kb_block *batch = make_batch(&s);
    kw_produce_request_init(&rq);
    for (int i = 0; i < 4; i++) {
        kw_produce_request_partition_init(&parts[i]);
        parts[i].records = kw_bytes_of(batch->data, batch->size);
    }
    parts[3].records = kw_bytes_of(NULL, 0);
    for (int i = 0, next = 0; i < 3; next += counts[i++]) {
        kw_produce_request_topic_init(&topics[i]);
        topics[i].name = kw_str_of(i == 1 ? other : "orders");
        topics[i].partition_data = &parts[next];
        topics[i].partition_data_count = counts[i];
    }
    rq.acks = -1;
    rq.timeout_ms = 5000;
    rq.topic_data = topics;
    rq.topic_data_count = 3;
    sim_client_set_version(s.client, KW_API_PRODUCE, 9);
    ck_assert(scenario_call(&s, scenario_leader(&s), KW_API_PRODUCE, &rq, read_produced, &s));
    ck_assert_int_eq(s.errors[0], KW_INVALID_REQUEST);
    ck_assert_int_eq(s.errors[1], KW_NONE);
    ck_assert_int_eq(s.errors[2], KW_INVALID_REQUEST);
    ck_assert_int_eq(s.errors[3], KW_INVALID_REQUEST);
    (void)kb_block_unref(batch);
    ck_assert_int_eq(scenario_produce(&s, "first"), KW_NONE);
    ck_assert_int_eq(s.base_offset, 0);
    scenario_end(&s);
}
END_TEST

UNIT_MAIN("node_answers", describe_quorum__all_versions,
          metadata__operations_ids_and_repeated_names,
          describe_cluster__operations_and_endpoint_type, groups__bad_requests, admin__without_time,
          epochs__below_minus_one, coordinator__operations_and_refused_joins,
          offset_delete__unknown_partitions, find_coordinator__of_the_empty_group,
          produce__partition_named_twice)
