/* Bugs that other systems' replicas had (tests/classic-bugs.md), as stories of whole brokers: real
 * logs with their epoch tables and side files, real links. test_bugs.c of the replicas tells those
 * that need neither. */
#include <string.h>

#include "broker/node/node_internal.h"
#include "tests/unit/node/scenario.h"

enum { PRODUCER = 4711 };

static const struct scenario_record plain = {
    .value = "v", .producer_id = -1, .producer_epoch = -1, .sequence = -1, .acks = -1};

static bool produces(struct scenario *s)
{
    return scenario_produce(s, "v") == KW_NONE;
}

static struct sim_disk *disk_of(struct scenario *s, uint32_t node)
{
    return sim_host_disk(sim_cluster_host(s->cluster, node));
}

static int32_t led_epoch; /* of the last leader the test knew */
static bool led_in_newer_epoch(struct scenario *s)
{
    const struct sim_partition_view *v = sim_client_partition(s->client, 0);
    return v->leader > 0 && v->leader_epoch > led_epoch;
}

/* Wait for a leader of an epoch after the one known last. */
static uint32_t next_leader(struct scenario *s)
{
    scenario_until(s, led_in_newer_epoch, 20000, "a leader of a newer epoch");
    led_epoch = sim_client_partition(s->client, 0)->leader_epoch;
    return (uint32_t)sim_client_partition(s->client, 0)->leader - 1;
}

/* All replicas hold the same bytes. */
static void same_bytes(struct scenario *s)
{
    struct kb_view first;
    ck_assert_int_eq(sim_disk_view(disk_of(s, 0), SCENARIO_LOG, false, &first), 0);
    ck_assert_uint_gt(first.size, 0);
    for (uint32_t i = 1; i < 3; i++) {
        struct kb_view other;
        ck_assert_int_eq(sim_disk_view(disk_of(s, i), SCENARIO_LOG, false, &other), 0);
        ck_assert(kb_view_equal(first, other));
    }
    sim_cluster_compare(s->cluster);
}

/* ---- power fails on two of them ---- */

static void slow_syncs(struct scenario *s, uint32_t node, uint32_t us)
{
    struct sim_disk_settings *d = sim_disk_settings(disk_of(s, node));
    d->sync_us_min = d->sync_us_max = us;
}

static bool isr_of_two(struct scenario *s)
{
    return sim_client_partition(s->client, 0)->isr_count == 2;
}

static uint32_t returned; /* the one that lost its tail */
static bool led_by_returned(struct scenario *s)
{
    const struct sim_partition_view *v = sim_client_partition(s->client, 0);
    return v->leader == (int32_t)returned + 1 && v->leader_epoch > led_epoch;
}

/* KIP-101 B: two lose power with a record that neither has synced. One finds it again, the other
 * does not, leads, and gives its offset to another record. */
START_TEST(kip_101_b__both_lose_power_and_one_its_tail)
{
    struct scenario s;
    scenario_start(&s, 101);
    ck_assert(produces(&s));
    led_epoch = sim_client_partition(s.client, 0)->leader_epoch;
    uint32_t leader = (uint32_t)scenario_leader(&s) - 1;
    uint32_t third = (leader + 1) % 3;
    returned = (leader + 2) % 3;
    sim_cluster_kill(s.cluster, third, false);
    scenario_until(&s, isr_of_two, 10000, "two in sync");
    ck_assert(produces(&s));
    slow_syncs(&s, leader, 900000);
    slow_syncs(&s, returned, 900000);
    scenario_send(&s, (int32_t)leader + 1, &plain, NULL, NULL);
    scenario_run_for(&s, 100);
    struct kb_view logs[2];
    ck_assert_int_eq(sim_disk_view(disk_of(&s, leader), SCENARIO_LOG, false, &logs[0]), 0);
    ck_assert_int_eq(sim_disk_view(disk_of(&s, returned), SCENARIO_LOG, false, &logs[1]), 0);
    ck_assert(kb_view_equal(logs[0], logs[1])); /* both have written it */
    sim_disk_set_crash_mode(disk_of(&s, leader), SIM_CRASH_KEEP);
    sim_disk_set_crash_mode(disk_of(&s, returned), SIM_CRASH_DROP);
    sim_cluster_kill(s.cluster, leader, true);
    sim_cluster_kill(s.cluster, returned, true);
    slow_syncs(&s, leader, 100);
    slow_syncs(&s, returned, 100);
    scenario_run_for(&s, 1000);
    sim_cluster_start(s.cluster, returned);
    sim_cluster_start(s.cluster, third);
    /* The client may wait for an answer of a host without power first. */
    scenario_until(&s, led_by_returned, 60000, "it leads");
    scenario_until(&s, isr_of_two, 60000, "the third follows it");
    scenario_until(&s, produces, 60000, "another record");
    ck_assert_int_ge(s.base_offset, 2);
    sim_cluster_start(s.cluster, leader);
    scenario_until(&s, scenario_whole, 60000, "the former leader follows");
    scenario_until(&s, produces, 60000, "one more");
    ck_assert_int_ge(s.base_offset, 3);
    scenario_run_for(&s, 500);
    same_bytes(&s);
    scenario_end(&s);
}
END_TEST

/* ---- epochs ---- */

static void read_epoch_end(void *arg, const void *response)
{
    const struct kw_offset_for_leader_epoch_response *r = response;
    *(struct kw_offset_for_leader_epoch_response_partition *)arg = r->topics[0].partitions[0];
}

/* Where the leader says that an epoch ends. */
static struct rep_epoch_offset epoch_end(struct scenario *s, int32_t epoch)
{
    struct kw_offset_for_leader_epoch_request rq;
    struct kw_offset_for_leader_epoch_request_topic topic;
    struct kw_offset_for_leader_epoch_request_partition partition;
    struct kw_offset_for_leader_epoch_response_partition answer = {.error_code = -1};
    kw_offset_for_leader_epoch_request_init(&rq);
    kw_offset_for_leader_epoch_request_topic_init(&topic);
    kw_offset_for_leader_epoch_request_partition_init(&partition);
    rq.topics = &topic;
    rq.topics_count = 1;
    topic.topic = KW_STR("orders");
    topic.partitions = &partition;
    topic.partitions_count = 1;
    partition.leader_epoch = epoch;
    for (int i = 0; i < 20 && answer.error_code != KW_NONE; i++) /* it may just have moved */
        (void)scenario_call(s, scenario_leader(s), KW_API_OFFSET_FOR_LEADER_EPOCH, &rq,
                            read_epoch_end, &answer);
    ck_assert_int_eq(answer.error_code, KW_NONE);
    return (struct rep_epoch_offset){answer.leader_epoch, answer.end_offset};
}

static int64_t log_end_of(struct scenario *s, uint32_t node)
{
    return log_end_offset(
        node_partition_find_named(sim_cluster_node(s->cluster, node), KW_STR("orders"), 0)->log);
}

static const struct meta_partition *partition_of(struct scenario *s, uint32_t node)
{
    struct node *n = sim_cluster_node(s->cluster, node);
    return meta_topic_partition(meta_image_topic(n->image, "orders"), 0);
}

/* A record is on the leader and on one follower when the leader dies. The other follower, which
 * has not got it, is elected, and gone again before anybody follows it. */
static uint32_t lead_an_empty_epoch(struct scenario *s)
{
    const struct meta_partition *p = partition_of(s, 0);
    uint32_t leader = (uint32_t)p->leader - 1;
    uint32_t next = (uint32_t)p->replicas[p->replicas[0] == p->leader ? 1 : 0] - 1;
    int32_t epoch = p->leader_epoch;
    struct sim_host *a = sim_cluster_host(s->cluster, leader);
    struct sim_host *b = sim_cluster_host(s->cluster, next);
    int64_t end = log_end_of(s, next);
    sim_net_cut(a, b);
    sim_net_cut(b, a);
    scenario_send(s, (int32_t)leader + 1, &plain, NULL, NULL);
    scenario_run_for(s, 60);
    ck_assert_int_eq(log_end_of(s, 3 - leader - next), end + 1);
    ck_assert_int_eq(log_end_of(s, next), end);
    sim_cluster_kill(s->cluster, leader, false);
    sim_net_heal_all(s->world);
    while (!sim_cluster_leads(s->cluster, 0, (int32_t)next + 1, epoch + 1))
        ck_assert(sim_world_step(s->world));
    scenario_isolate(s, next, true);
    scenario_run_for(s, 100);
    sim_cluster_start(s->cluster, leader);
    led_epoch = epoch + 1;
    ck_assert_uint_ne(next_leader(s), next); /* after the silence */
    scenario_isolate(s, next, false);
    return next;
}

static void bounce(struct scenario *s, uint32_t node)
{
    sim_cluster_kill(s->cluster, node, false);
    scenario_run_for(s, 1000);
    sim_cluster_start(s->cluster, node);
    scenario_run_for(s, 500);
    scenario_until(s, scenario_whole, 30000, "whole again");
}

/* KAFKA-10706: a follower has led epochs without a record, one after the other. It is told to cut
 * where its log ends, or not to cut at all: nothing to do, but for the entries of its epoch table,
 * which the records of older epochs that it takes next do not belong to. */
START_TEST(kafka_10706__empty_epochs_leave_the_table)
{
    struct scenario s;
    scenario_start(&s, 102);
    ck_assert(produces(&s));
    for (int i = 0; i < 3; i++) {
        uint32_t was = lead_an_empty_epoch(&s);
        scenario_until(&s, scenario_whole, 30000, "all follow one leader");
        ck_assert_int_eq(log_end_of(&s, was), i + 2);
        same_bytes(&s);
        /* It leads, and tells where the first epoch ends. */
        while (scenario_leader(&s) != (int32_t)was + 1)
            bounce(&s, (uint32_t)scenario_leader(&s) - 1);
        ck_assert_int_eq(epoch_end(&s, 0).end_offset, 2);
    }
    scenario_end(&s);
}
END_TEST

static void on_stopped(void *arg)
{
    ++*(int *)arg;
}

/* Every broker comes back without its epoch file, or with one that has no entries. */
static void spoil_epoch_files(struct scenario *s, bool clean, int how)
{
    int stopped = 0;
    for (uint32_t i = 0; i < 3 && clean; i++)
        node_stop(sim_cluster_node(s->cluster, i), 10000, on_stopped, &stopped);
    for (int i = 0; i < 200 && clean && stopped < 3; i++)
        scenario_run_for(s, 100);
    ck_assert_int_eq(stopped, clean ? 3 : 0);
    for (uint32_t i = 0; i < 3; i++)
        sim_cluster_kill(s->cluster, i, !clean);
    scenario_run_for(s, 500);
    for (uint32_t i = 0; i < 3; i++) {
        sim_disk_put(disk_of(s, i), "/data/orders-0/leader-epoch-checkpoint", "0\n0\n", 4);
        if (how == 0)
            (void)sim_disk_remove(disk_of(s, i), "/data/orders-0/leader-epoch-checkpoint");
        sim_cluster_start(s->cluster, i);
    }
    scenario_run_for(s, 500);
    scenario_until(s, scenario_whole, 30000, "whole again");
}

/* KAFKA-7897: a log whose epoch file is gone was taken for one without epochs, and cut by the high
 * watermark or to nothing. Here the same log has the same epochs with the file and without it. */
START_TEST(kafka_7897__log_without_its_epoch_file)
{
    struct rep_epoch_offset ends[8];
    struct scenario s;
    scenario_start(&s, 103);
    for (int i = 0; i < 4; i++) {
        ck_assert(produces(&s));
        bounce(&s, (uint32_t)scenario_leader(&s) - 1);
    }
    ck_assert(produces(&s));
    int32_t last = sim_client_partition(s.client, 0)->leader_epoch;
    ck_assert_int_ge(last, 4);
    for (int32_t i = 0; i < 4; i++)
        ends[i] = epoch_end(&s, i);
    for (int how = 0; how < 4; how++) {
        spoil_epoch_files(&s, how >= 2, how % 2);
        for (uint32_t i = 0; i < 3; i++)
            ck_assert_int_eq(log_end_of(&s, i), 5);
        for (int32_t i = 0; i < 4; i++) {
            struct rep_epoch_offset end = epoch_end(&s, i);
            ck_assert_int_eq(end.epoch, ends[i].epoch);
            ck_assert_int_eq(end.end_offset, ends[i].end_offset);
        }
    }
    same_bytes(&s);
    scenario_end(&s);
}
END_TEST

static uint32_t emptied;
static bool is_out(struct scenario *s)
{
    return !meta_partition_in_isr(partition_of(s, (uint32_t)sim_cluster_controller(s->cluster)),
                                  (int32_t)emptied + 1);
}

static bool is_unfenced(struct scenario *s)
{
    struct node *n = sim_cluster_node(s->cluster, (uint32_t)sim_cluster_controller(s->cluster));
    const struct meta_broker *b = meta_image_broker(n->image, (int32_t)emptied + 1);
    return !b->fenced && sim_cluster_is_running(s->cluster, emptied);
}

/* KIP-903: the leader asks to take a follower into the ISR. The request is late; meanwhile the
 * follower has come back with an empty disk. */
START_TEST(kip_903__delayed_request_adds_nobody_whose_disk_was_emptied)
{
    struct scenario s;
    scenario_start(&s, 104);
    ck_assert(produces(&s));
    while (scenario_leader(&s) == sim_cluster_controller(s.cluster) + 1)
        bounce(&s, (uint32_t)scenario_leader(&s) - 1);
    uint32_t leader = (uint32_t)scenario_leader(&s) - 1;
    uint32_t controller = (uint32_t)sim_cluster_controller(s.cluster);
    emptied = 3 - leader - controller;
    sim_cluster_kill(s.cluster, emptied, false);
    scenario_until(&s, is_out, 10000, "it is out of the ISR");
    ck_assert(produces(&s));
    sim_cluster_start(s.cluster, emptied);
    struct node_partition *p = node_partition_find_named(sim_cluster_node(s.cluster, leader),
                                                         KW_STR("orders"), 0);
    while (rep_proposal(p->rep) == NULL)
        ck_assert(sim_world_step(s.world));
    sim_net_clog(sim_cluster_host(s.cluster, leader), sim_cluster_host(s.cluster, controller),
                 1200000);
    uint64_t asked_us = sim_world_now_us(s.world);
    sim_cluster_kill(s.cluster, emptied, true);
    scenario_run_for(&s, 10);
    ck_assert_int_eq(sim_disk_remove(disk_of(&s, emptied), SCENARIO_LOG), 0);
    sim_cluster_start(s.cluster, emptied);
    while (!is_unfenced(&s)) {
        ck_assert(is_out(&s));
        ck_assert_uint_lt(sim_world_now_us(s.world), asked_us + 1200000);
        scenario_run_for(&s, 1);
    }
    /* Its new replica must not be followed up on before the request arrives. */
    scenario_until(&s, scenario_whole, 30000, "the new replica is in sync");
    ck_assert_uint_gt(sim_world_now_us(s.world), asked_us + 1200000);
    ck_assert(produces(&s));
    same_bytes(&s);
    scenario_end(&s);
}
END_TEST

static void read_elected(void *arg, const void *response)
{
    const struct kw_elect_leaders_response *r = response;
    *(int *)arg = r->error_code;
}

/* Somebody asks for an unclean election, by name. */
static int elect_uncleanly(struct scenario *s)
{
    struct kw_elect_leaders_request rq;
    struct kw_elect_leaders_request_topic_partition topic;
    int32_t index = 0;
    int error = -1;
    kw_elect_leaders_request_init(&rq);
    kw_elect_leaders_request_topic_partition_init(&topic);
    rq.election_type = 1;
    rq.timeout_ms = 2000;
    rq.topic_partitions = &topic;
    rq.topic_partitions_count = 1;
    topic.topic = KW_STR("orders");
    topic.partitions = &index;
    topic.partitions_count = 1;
    s->checks.unclean_asked = true;
    (void)scenario_call(s, sim_cluster_controller(s->cluster) + 1, KW_API_ELECT_LEADERS, &rq,
                        read_elected, &error);
    return error;
}

static bool isr_of_one(struct scenario *s)
{
    static char value[2001];
    memset(value, 'v', sizeof(value) - 1);
    (void)scenario_produce(s, value);
    return sim_client_partition(s->client, 0)->isr_count == 1;
}

/* It comes back without its log, or with the first record only. */
static void lose_log(struct scenario *s, uint32_t node, bool all)
{
    struct kb_view log;
    ck_assert_int_eq(sim_disk_view(disk_of(s, node), SCENARIO_LOG, false, &log), 0);
    if (all)
        ck_assert_int_eq(sim_disk_remove(disk_of(s, node), SCENARIO_LOG), 0);
    else
        sim_disk_put(disk_of(s, node), SCENARIO_LOG, log.data, kb_get_be32(log.data + 8) + 12);
}

/* KIP-966: the ISR is down to one replica, which loses its log or the end of it and is elected all
 * the same, being the only member; the others cut theirs. Here it leads nothing: the partition is
 * offline until it is asked for by name, and what the others hold stays. */
static void last_replica_standing(bool all)
{
    struct scenario s;
    scenario_start(&s, 105);
    scenario_set_config(&s, "orders", "min.insync.replicas", "1");
    for (int i = 0; i < 3; i++)
        ck_assert(produces(&s));
    uint32_t last = (uint32_t)scenario_leader(&s) - 1;
    uint32_t dead = (last + 1) % 3;
    uint32_t full = (last + 2) % 3;
    sim_cluster_kill(s.cluster, dead, false);
    scenario_until(&s, isr_of_two, 10000, "two in sync");
    sim_disk_settings(disk_of(&s, full))->capacity_bytes = sim_disk_used_bytes(disk_of(&s, full));
    scenario_until(&s, isr_of_one, 60000, "one in sync");
    ck_assert(produces(&s));
    int64_t end = log_end_of(&s, full);
    ck_assert_int_ge(end, 3);
    scenario_run_for(&s, 4000); /* the durable mark is written down */
    sim_cluster_kill(s.cluster, last, true);
    scenario_run_for(&s, 10);
    lose_log(&s, last, all);
    sim_disk_settings(disk_of(&s, full))->capacity_bytes = 0;
    sim_cluster_start(s.cluster, dead);
    scenario_run_for(&s, 3000);
    sim_cluster_start(s.cluster, last);
    scenario_until(&s, scenario_all_running, 20000, "three brokers run");
    for (int i = 0; i < 150; i++) {
        scenario_run_for(&s, 100);
        ck_assert(scenario_nobody_leads(&s));
    }
    ck_assert_int_ge(log_end_of(&s, full), end);
    ck_assert_int_ge(log_end_of(&s, dead), 3);
    ck_assert_int_eq(elect_uncleanly(&s), KW_NONE);
    scenario_until(&s, scenario_whole, 30000, "all follow whoever was asked for");
    ck_assert(produces(&s));
    ck_assert_int_ge(s.base_offset, 3);
    same_bytes(&s);
    scenario_end(&s);
}

START_TEST(kip_966__last_replica_standing_lost_its_log)
{
    last_replica_standing(true);
    last_replica_standing(false);
}
END_TEST

UNIT_MAIN("node_bugs_replicas", kip_101_b__both_lose_power_and_one_its_tail,
          kafka_10706__empty_epochs_leave_the_table, kafka_7897__log_without_its_epoch_file,
          kip_903__delayed_request_adds_nobody_whose_disk_was_emptied,
          kip_966__last_replica_standing_lost_its_log)
