/* Bugs that other systems had with idempotent producers (tests/classic-bugs.md), as stories of
 * whole brokers. */
#include "broker/node/node_internal.h"
#include "tests/unit/node/scenario.h"

#define ORDERS "/data/orders-0"

enum { IN_FLIGHT = 5, LOST = -2, NONE_YET = -1 };

struct answer {
    int error;
    int64_t base_offset;
};

static void read_answer(void *arg, const void *response)
{
    const struct kw_produce_response *r = response;
    struct answer *a = arg;
    a->error = r != NULL ? r->responses[0].partition_responses[0].error_code : LOST;
    a->base_offset = r != NULL ? r->responses[0].partition_responses[0].base_offset : -1;
}

static void send(struct scenario *s, int64_t producer_id, int16_t epoch, int32_t sequence,
                 struct answer *ret)
{
    struct scenario_record record = {.value = "v",
                                     .producer_id = producer_id,
                                     .producer_epoch = epoch,
                                     .sequence = sequence,
                                     .acks = -1};
    *ret = (struct answer){.error = NONE_YET};
    scenario_send(s, scenario_leader(s), &record, read_answer, ret);
}

/* Send until it is answered for good, as clients do. */
static struct answer produce(struct scenario *s, int64_t producer_id, int16_t epoch,
                             int32_t sequence)
{
    struct answer a = {.error = LOST};
    for (int i = 0; i < 100; i++) {
        send(s, producer_id, epoch, sequence, &a);
        for (int ms = 0; ms < 6000 && a.error == NONE_YET; ms += 20)
            scenario_run_for(s, 20);
        if (a.error != LOST && a.error != KW_NOT_LEADER_OR_FOLLOWER &&
            a.error != KW_NOT_ENOUGH_REPLICAS && a.error != NONE_YET)
            break;
        sim_client_refresh(s->second);
        scenario_run_for(s, 200);
    }
    return a;
}

static int64_t log_end_of(struct scenario *s, uint32_t node)
{
    return log_end_offset(
        node_partition_find_named(sim_cluster_node(s->cluster, node), KW_STR("orders"), 0)->log);
}

static void bounce(struct scenario *s, uint32_t node)
{
    sim_cluster_kill(s->cluster, node, false);
    scenario_run_for(s, 1000);
    sim_cluster_start(s->cluster, node);
    scenario_run_for(s, 500);
    scenario_until(s, scenario_whole, 30000, "whole again");
}

static void bounce_all(struct scenario *s)
{
    for (uint32_t i = 0; i < 3; i++)
        sim_cluster_kill(s->cluster, i, i == 1);
    scenario_run_for(s, 1000);
    for (uint32_t i = 0; i < 3; i++)
        sim_cluster_start(s->cluster, i);
    scenario_run_for(s, 1000);
    scenario_until(s, scenario_whole, 30000, "whole again");
}

/* Nobody will move the lead now. */
static bool led_by_preferred(struct scenario *s)
{
    int32_t controller = sim_cluster_controller(s->cluster);
    if (controller < 0 || !scenario_whole(s))
        return false;
    struct node *n = sim_cluster_node(s->cluster, (uint32_t)controller);
    const struct meta_partition *p = meta_topic_partition(meta_image_topic(n->image, "orders"), 0);
    return p->leader == p->replicas[0] && sim_client_partition(s->client, 0)->leader == p->leader;
}

/* redpanda #3039: five batches are appended, the connection is reset before any answer. The client
 * sends them again. An answer of OUT_OF_ORDER_SEQUENCE_NUMBER made clients take a new epoch, in
 * which all five were appended a second time. Sent to the same leader, and to its successor. */
START_TEST(redpanda_3039__reset_behind_five_appends)
{
    for (int how = 0; how < 2; how++) {
        struct scenario s;
        struct answer first[IN_FLIGHT];
        scenario_start(&s, 201);
        struct sim_host *c = sim_env_host(s.client_env);
        for (int32_t round = 0; round < 3; round++) {
            scenario_until(&s, led_by_preferred, 120000, "the preferred replica leads");
            ck_assert_int_eq(produce(&s, -1, -1, -1).error, KW_NONE); /* a connection is open */
            uint32_t leader = (uint32_t)scenario_leader(&s) - 1;
            struct sim_host *l = sim_cluster_host(s.cluster, leader);
            int64_t base = log_end_of(&s, leader);
            int32_t at = round * IN_FLIGHT;
            sim_net_cut(l, c);
            for (int32_t i = 0; i < IN_FLIGHT; i++) {
                struct scenario_record record = {
                    .value = "v", .producer_id = 4711, .sequence = at + i, .acks = -1};
                first[i].error = NONE_YET;
                scenario_send(&s, (int32_t)leader + 1, &record, read_answer, &first[i]);
            }
            scenario_run_for(&s, 50);
            ck_assert_int_eq(log_end_of(&s, leader), base + IN_FLIGHT);
            sim_net_half_open(c, l); /* the client hears of it, the answers come to nobody */
            sim_net_heal(l, c);
            scenario_run_for(&s, 50);
            if (how == 1)
                bounce(&s, leader);
            for (int32_t i = 0; i < IN_FLIGHT; i++) {
                ck_assert_int_eq(first[i].error, LOST);
                struct answer a = produce(&s, 4711, 0, at + i);
                ck_assert_int_eq(a.error, KW_NONE);
                ck_assert_int_eq(a.base_offset, base + i);
            }
            leader = (uint32_t)scenario_leader(&s) - 1;
            ck_assert_int_eq(log_end_of(&s, leader), base + IN_FLIGHT);
        }
        scenario_end(&s);
    }
}
END_TEST

static void read_records_deleted(void *arg, const void *response)
{
    const struct kw_delete_records_response *r = response;
    *(int *)arg = r->topics[0].partitions[0].error_code;
}

static void delete_records(struct scenario *s)
{
    struct kw_delete_records_request rq;
    struct kw_delete_records_request_topic topic;
    struct kw_delete_records_request_partition partition = {.partition_index = 0, .offset = -1};
    int error = NONE_YET;
    kw_delete_records_request_init(&rq);
    kw_delete_records_request_topic_init(&topic);
    topic.name = KW_STR("orders");
    topic.partitions = &partition;
    topic.partitions_count = 1;
    rq.topics = &topic;
    rq.topics_count = 1;
    rq.timeout_ms = 10000;
    ck_assert(scenario_call(s, scenario_leader(s), KW_API_DELETE_RECORDS, &rq, read_records_deleted,
                            &error));
    ck_assert_int_eq(error, KW_NONE);
}

static bool first_segment_is_gone(struct scenario *s)
{
    struct kb_view log;
    for (uint32_t i = 0; i < 3; i++) {
        if (sim_disk_view(sim_host_disk(sim_cluster_host(s->cluster, i)), SCENARIO_LOG, false,
                          &log) == 0)
            return false;
    }
    return true;
}

static int keep_path(void *arg, const char *name, enum kb_fs_type type)
{
    struct kb_buf *paths = arg;
    (void)type;
    kb_buf_printf(paths, "%s/%s\n", ORDERS, name);
    return 0;
}

/* A broker loses the log: it is no member then, and begins where the leader's log begins. */
static void begin_anew(struct scenario *s, uint32_t node)
{
    struct sim_disk *d = sim_host_disk(sim_cluster_host(s->cluster, node));
    struct kb_buf paths = {0};
    sim_cluster_kill(s->cluster, node, true);
    scenario_run_for(s, 1000);
    ck_assert_int_eq(sim_disk_list(d, ORDERS, false, keep_path, &paths), 0);
    kb_buf_append(&paths, "", 1);
    char *rest = NULL;
    for (char *path = strtok_r((char *)paths.data, "\n", &rest); path != NULL;
         path = strtok_r(NULL, "\n", &rest))
        ck_assert_int_eq(sim_disk_remove(d, path), 0);
    kb_buf_release(&paths);
    sim_cluster_start(s->cluster, node);
    scenario_run_for(s, 500);
    scenario_until(s, scenario_whole, 60000, "whole again");
}

/* What is known of the producers: 1 is idle since its fifth record, 2 has taken a new epoch. */
static void check_producers(struct scenario *s)
{
    struct answer a = produce(s, 1, 0, 4); /* sent again */
    ck_assert_int_eq(a.error, KW_NONE);
    ck_assert_int_eq(a.base_offset, 4);
    ck_assert_int_eq(produce(s, 1, 0, 7).error, KW_OUT_OF_ORDER_SEQUENCE_NUMBER);
    ck_assert_int_eq(produce(s, 2, 0, 1).error, KW_INVALID_PRODUCER_EPOCH); /* a zombie */
}

/* KAFKA-7190, KIP-360, KIP-854: what a broker knows of producers was what their records in the log
 * told, so it was gone with the records: idle producers got UNKNOWN_PRODUCER_ID, older epochs were
 * taken again. Here all records of two producers are deleted; then leaders change and all brokers
 * start anew. */
START_TEST(kafka_7190__producers_outlive_their_records)
{
    struct scenario s;
    scenario_start(&s, 202);
    scenario_set_config(&s, "orders", "segment.ms", "1000");
    for (int32_t i = 0; i < 5; i++)
        ck_assert_int_eq(produce(&s, 1, 0, i).error, KW_NONE);
    ck_assert_int_eq(produce(&s, 2, 0, 0).error, KW_NONE);
    ck_assert_int_eq(produce(&s, 2, 1, 0).error, KW_NONE);
    scenario_run_for(&s, 2000);
    ck_assert_int_eq(scenario_produce(&s, "in a segment of its own"), KW_NONE);
    scenario_run_for(&s, 2000);
    delete_records(&s);
    scenario_until(&s, first_segment_is_gone, 120000, "the first segment is gone");
    check_producers(&s);
    bounce(&s, (uint32_t)scenario_leader(&s) - 1);
    check_producers(&s);
    bounce_all(&s);
    check_producers(&s);
    ck_assert_int_eq(produce(&s, 3, 0, 1).error, KW_UNKNOWN_PRODUCER_ID); /* never seen */
    /* Replicas that begin anew behind the deleted records are told of their producers. */
    for (uint32_t i = 0; i < 3; i++) {
        begin_anew(&s, i);
        bounce(&s, (i + 1) % 3);
        bounce(&s, (i + 2) % 3);
        check_producers(&s);
    }
    ck_assert_int_eq(produce(&s, 1, 0, 5).error, KW_NONE);
    ck_assert_int_eq(produce(&s, 2, 1, 1).error, KW_NONE);
    scenario_end(&s);
}
END_TEST

UNIT_MAIN("node_bugs_producers", redpanda_3039__reset_behind_five_appends,
          kafka_7190__producers_outlive_their_records)
