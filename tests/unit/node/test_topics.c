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
    struct kw_str text = kw_str_of(name);
    int error = NO_ANSWER;
    kw_delete_topics_request_init(&rq);
    rq.topic_names = &text;
    rq.topic_names_count = 1;
    rq.timeout_ms = 2000;
    sim_client_set_version(s->client, KW_API_DELETE_TOPICS, 5);
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

/* ---- a fetch that reads one partition slowly while the other one goes
 * ------------------------------------- */

static void read_fetched(void *arg, const void *response)
{
    const struct kw_fetch_response *r = response;
    *(int *)arg = r != NULL ? r->error_code : LOST;
}

static int32_t leader_of(struct scenario *s, const char *topic)
{
    struct node *n = sim_cluster_node(s->cluster, (uint32_t)sim_cluster_controller(s->cluster));
    const struct meta_topic *t = meta_image_topic(n->image, topic);
    return t != NULL ? meta_topic_partition(t, 0)->leader : -1;
}

static bool running_in_sync(struct scenario *s)
{
    return scenario_all_running(s) && scenario_isr_full(s);
}

/* Nothing is in memory any more. */
static void restart_all(struct scenario *s)
{
    for (uint32_t i = 0; i < 3; i++)
        sim_cluster_kill(s->cluster, i, false);
    scenario_run_for(s, 500);
    for (uint32_t i = 0; i < 3; i++)
        sim_cluster_start(s->cluster, i);
    scenario_until(s, running_in_sync, 30000, "the brokers are back");
    scenario_run_for(s, 1000);
}

static void ask_fetch(struct scenario *s, const char *other, int *ret_error)
{
    struct kw_fetch_request rq;
    struct kw_fetch_request_topic topics[2];
    struct kw_fetch_request_partition parts[2];
    kw_fetch_request_init(&rq);
    for (int i = 0; i < 2; i++) {
        kw_fetch_request_topic_init(&topics[i]);
        kw_fetch_request_partition_init(&parts[i]);
        topics[i].topic = kw_str_of(i == 0 ? other : "orders");
        topics[i].partitions = &parts[i];
        topics[i].partitions_count = 1;
        parts[i].current_leader_epoch = -1;
        parts[i].last_fetched_epoch = -1;
        parts[i].partition_max_bytes = 1 << 20;
    }
    rq.topics = topics;
    rq.topics_count = 2;
    rq.rack_id = KW_STR("");
    rq.max_bytes = 8 << 20;
    rq.min_bytes = 1 << 20;
    rq.max_wait_ms = 8000;
    *ret_error = NO_ANSWER;
    sim_client_set_version(s->second, KW_API_FETCH, 11);
    scenario_ask(s, leader_of(s, "orders"), KW_API_FETCH, &rq, read_fetched, ret_error);
}

START_TEST(fetch__hears_of_a_topic_that_goes_while_another_is_read)
{
    struct scenario s;
    char name[16];
    int error = NO_ANSWER;
    int i = 0;
    scenario_start(&s, 42);
    ck_assert_int_eq(scenario_produce(&s, "v"), KW_NONE);
    for (i = 0; i < 6; i++) {
        (void)snprintf(name, sizeof(name), "gone%d", i);
        ck_assert_int_eq(scenario_create(&s, name), KW_NONE);
    }
    restart_all(&s);
    int32_t leader = leader_of(&s, "orders");
    do
        (void)snprintf(name, sizeof(name), "gone%d", --i);
    while (leader_of(&s, name) != leader);
    struct sim_disk_settings *d =
        sim_disk_settings(sim_host_disk(sim_cluster_host(s.cluster, (uint32_t)leader - 1)));
    d->cold_ppm = 1000000;
    d->read_us_min = d->read_us_max = 3000000;
    ask_fetch(&s, name, &error);
    scenario_run_for(&s, 500);
    ck_assert_int_eq(error, NO_ANSWER);
    delete_topic(&s, name);
    scenario_run_for(&s, 1500);
    ck_assert_int_eq(error, NO_ANSWER); /* orders is being read */
    d->cold_ppm = 0;
    scenario_run_for(&s, 2000);
    ck_assert_int_eq(error, KW_NONE); /* at once, not after max_wait */
    scenario_end(&s);
}
END_TEST

/* ---- a topic that goes while its log is being made
 * -------------------------------------------------- */

static bool all_open(struct scenario *s, const char *topic)
{
    for (uint32_t i = 0; i < 3; i++) {
        struct node *n = sim_cluster_node(s->cluster, i);
        const struct meta_topic *t = meta_image_topic(n->image, topic);
        struct node_partition *p = t != NULL ? node_partition_find(n, &t->id, 0) : NULL;
        if (p == NULL || p->state != NODE_PARTITION_OPEN)
            return false;
    }
    return true;
}

static bool reborn_is_open(struct scenario *s)
{
    return all_open(s, "reborn");
}

static size_t count_partitions(struct scenario *s)
{
    size_t count = 0;
    for (uint32_t i = 0; i < 3; i++)
        count += HASH_COUNT(sim_cluster_node(s->cluster, i)->partitions);
    return count;
}

START_TEST(creation__of_a_topic_that_is_gone_by_then_makes_room)
{
    for (int again = 0; again < 2; again++) {
        struct scenario s;
        scenario_start(&s, 43);
        int32_t controller = sim_cluster_controller(s.cluster);
        for (uint32_t i = 0; i < 3; i++)
            if ((int32_t)i != controller)
                sim_disk_settings(sim_host_disk(sim_cluster_host(s.cluster, i)))->sync_us_min =
                    sim_disk_settings(sim_host_disk(sim_cluster_host(s.cluster, i)))->sync_us_max =
                        100000;
        ck_assert_int_eq(scenario_create(&s, "reborn"), KW_NONE);
        delete_topic(&s, "reborn");
        if (again) {
            ck_assert_int_eq(scenario_create(&s, "reborn"), KW_NONE);
            scenario_until(&s, reborn_is_open, 10000, "all replicas of the new topic are open");
        }
        scenario_run_for(&s, 5000);
        ck_assert_uint_eq(count_partitions(&s), again ? 6 : 3);
        scenario_end(&s);
    }
}
END_TEST

/* ---- a follower that lacks much of many partitions
 * ------------------------------------------------- */

enum { LARGE_TOPICS = 30, LARGE_BYTES = 900 << 10 };

static void read_produced(void *arg, const void *response)
{
    const struct kw_produce_response *r = response;
    *(int *)arg = r != NULL ? r->responses[0].partition_responses[0].error_code : LOST;
}

static int produce_large(struct scenario *s, const char *topic)
{
    struct kw_produce_request rq;
    struct kw_produce_request_topic t;
    struct kw_produce_request_partition partition;
    struct kw_batch_builder builder;
    struct kb_block *batch = NULL;
    char *value = kb_new_array(char, LARGE_BYTES);
    int error = NO_ANSWER;
    kw_batch_builder_init(&builder);
    ck_assert_int_eq(kw_batch_builder_add(&builder, kb_env_wall_ms(sim_env_kb(s->client_env)),
                                          kw_bytes_of("k", 1), kw_bytes_of(value, LARGE_BYTES)),
                     0);
    ck_assert_int_eq(kw_batch_builder_finish(&builder, &batch), 0);
    kw_batch_builder_release(&builder);
    (void)kb_free(value);
    kw_produce_request_init(&rq);
    kw_produce_request_topic_init(&t);
    kw_produce_request_partition_init(&partition);
    rq.acks = -1;
    rq.timeout_ms = 5000;
    rq.topic_data = &t;
    rq.topic_data_count = 1;
    t.name = kw_str_of(topic);
    t.partition_data = &partition;
    t.partition_data_count = 1;
    partition.records = kw_bytes_of(batch->data, batch->size);
    (void)scenario_call(s, leader_of(s, topic), KW_API_PRODUCE, &rq, read_produced, &error);
    (void)kb_block_unref(batch);
    return error;
}

static uint64_t queued_for(struct scenario *s, int32_t from, int32_t to)
{
    struct node *n = sim_cluster_node(s->cluster, (uint32_t)from - 1);
    struct node_peer *p = n != NULL ? node_peer_find(n, to) : NULL;
    struct node_link *l = p != NULL ? p->accepted[NODE_DATA] : NULL;
    return l != NULL && l->conn != NULL ? kb_conn_queued_bytes(l->conn) : 0;
}

/* Reads from a disk count against the answer's limit while they are under way. */
START_TEST(follower__far_behind_in_many_partitions_gets_bounded_answers)
{
    struct scenario s;
    char name[16];
    uint64_t largest = 0;
    scenario_start(&s, 44);
    for (int i = 0; i < LARGE_TOPICS; i++) {
        (void)snprintf(name, sizeof(name), "large%d", i);
        ck_assert_int_eq(scenario_create(&s, name), KW_NONE);
    }
    scenario_run_for(&s, 1000);
    int32_t behind = 1;
    while (behind == sim_cluster_controller(s.cluster) + 1)
        behind++;
    sim_cluster_kill(s.cluster, (uint32_t)behind - 1, false);
    scenario_run_for(&s, 3000);
    for (int i = 0; i < LARGE_TOPICS; i++) {
        (void)snprintf(name, sizeof(name), "large%d", i);
        ck_assert_int_eq(produce_large(&s, name), KW_NONE);
    }
    for (uint32_t i = 0; i < 3; i++) /* nothing in memory any more */
        sim_cluster_kill(s.cluster, i, false);
    scenario_run_for(&s, 500);
    for (uint32_t i = 0; i < 3; i++)
        if ((int32_t)i + 1 != behind)
            sim_cluster_start(s.cluster, i);
    scenario_run_for(&s, 10000);
    for (uint32_t i = 0; i < 3; i++) {
        struct sim_disk_settings *d =
            sim_disk_settings(sim_host_disk(sim_cluster_host(s.cluster, i)));
        d->cold_ppm = 1000000;
        d->read_us_min = d->read_us_max = 20000;
    }
    sim_cluster_start(s.cluster, (uint32_t)behind - 1);
    for (int ms = 0; ms < 4000; ms++) {
        scenario_run_for(&s, 1);
        for (int32_t from = 1; from <= 3; from++) {
            uint64_t queued = from != behind ? queued_for(&s, from, behind) : 0;
            largest = queued > largest ? queued : largest;
        }
    }
    ck_assert_uint_gt(largest, LARGE_BYTES);
    ck_assert_uint_le(largest, (8 << 20) + (1 << 20));
    scenario_until(&s, running_in_sync, 30000, "the follower has it all");
    scenario_end(&s);
}
END_TEST

/* R7: what is not committed was not done, as far as anybody is told. */
START_TEST(create__without_a_quorum_is_no_success)
{
    struct scenario s;
    scenario_start(&s, 31);
    int32_t controller = sim_cluster_controller(s.cluster);
    for (int32_t i = 0; i < 3; i++) {
        if (i != controller)
            sim_env_freeze(sim_cluster_env(s.cluster, (uint32_t)i));
    }
    ck_assert_int_ne(scenario_create(&s, "late"), KW_NONE);
    for (int32_t i = 0; i < 3; i++) {
        if (i != controller)
            sim_env_thaw(sim_cluster_env(s.cluster, (uint32_t)i));
    }
    scenario_until(&s, scenario_all_running, 30000, "the brokers are back");
    scenario_end(&s);
}
END_TEST

UNIT_MAIN("node_topics", create__without_a_quorum_is_no_success, delete_records__times_out,
          delete_records__ends_with_the_topic,
          fetch__hears_of_a_topic_that_goes_while_another_is_read,
          creation__of_a_topic_that_is_gone_by_then_makes_room,
          follower__far_behind_in_many_partitions_gets_bounded_answers)
