/* Replicas whose disks stand still, are damaged, or had not been synced: what the controller's
 * records make of them, across all three brokers. */
#include "broker/node/node_internal.h"
#include "tests/unit/node/scenario.h"

#define LOG_FILE "/data/orders-0/00000000000000000000.log"

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

static bool running_in_sync(struct scenario *s)
{
    return scenario_all_running(s) && scenario_isr_full(s);
}

static bool produces(struct scenario *s)
{
    return scenario_produce(s, "v") == KW_NONE;
}

/* 9.4: writes wait three seconds for a disk that stands still, not until it lags (30 s), and the
 * replica comes back by itself. */
START_TEST(stalled_disk__holds_writes_for_three_seconds)
{
    struct scenario s;
    scenario_start(&s, 21);
    ck_assert(produces(&s));
    uint32_t victim = bystander(&s);
    sim_disk_stall(sim_host_disk(sim_cluster_host(s.cluster, victim)), 15000);
    uint64_t start_us = sim_world_now_us(s.world);
    scenario_until(&s, produces, 8000, "a write without the stalled replica");
    ck_assert_uint_lt(sim_world_now_us(s.world) - start_us, 6000000);
    ck_assert_uint_ge(sim_world_now_us(s.world) - start_us, 2000000);
    ck_assert(produces(&s));
    scenario_until(&s, running_in_sync, 30000, "the replica is in sync again");
    ck_assert(produces(&s));
    scenario_end(&s);
}
END_TEST

static void flip(struct scenario *s, uint32_t node, uint64_t position)
{
    struct sim_disk *d = sim_host_disk(sim_cluster_host(s->cluster, node));
    ck_assert_int_eq(sim_disk_flip_bit(d, LOG_FILE, position, 3), 0);
}

static void read_elected(void *arg, const void *response)
{
    const struct kw_elect_leaders_response *r = response;
    struct scenario *s = arg;
    s->errors[0] = r->error_code;
    if (r->error_code == KW_NONE && r->replica_election_results_count == 1)
        s->errors[0] = r->replica_election_results[0].partition_result[0].error_code;
}

static int elect_uncleanly(struct scenario *s)
{
    struct kw_elect_leaders_request rq;
    struct kw_elect_leaders_request_topic_partition topic;
    int32_t index = 0;
    kw_elect_leaders_request_init(&rq);
    kw_elect_leaders_request_topic_partition_init(&topic);
    rq.election_type = 1;
    rq.timeout_ms = 2000;
    rq.topic_partitions = &topic;
    rq.topic_partitions_count = 1;
    topic.topic = KW_STR("orders");
    topic.partitions = &index;
    topic.partitions_count = 1;
    s->errors[0] = -1;
    s->checks.unclean_asked = true;
    (void)scenario_call(s, sim_cluster_controller(s->cluster) + 1, KW_API_ELECT_LEADERS, &rq,
                        read_elected, s);
    return s->errors[0];
}

/* Row 43: the same damage everywhere. Nobody leads until somebody asks for it by name; then what
 * lies before the damage is kept, and the others follow. */
START_TEST(damage_everywhere__led_again_by_name_up_to_the_damage)
{
    struct scenario s;
    struct kb_view log;
    scenario_start(&s, 22);
    for (int i = 0; i < 3; i++)
        ck_assert(produces(&s));
    ck_assert_int_eq(s.base_offset, 2);
    scenario_run_for(&s, 4000); /* the durable mark is written down */
    for (uint32_t i = 0; i < 3; i++)
        sim_cluster_kill(s.cluster, i, false);
    scenario_run_for(&s, 500);
    ck_assert_int_eq(
        sim_disk_view(sim_host_disk(sim_cluster_host(s.cluster, 0)), LOG_FILE, false, &log), 0);
    uint64_t first = kb_get_be32(log.data + 8) + 12;
    for (uint32_t i = 0; i < 3; i++)
        flip(&s, i, first + 64); /* in the second batch */
    for (uint32_t i = 0; i < 3; i++)
        sim_cluster_start(s.cluster, i);
    scenario_until(&s, scenario_all_running, 20000, "three brokers run");
    scenario_run_for(&s, 3000);
    ck_assert_int_eq(scenario_leader(&s), -1);
    ck_assert_int_eq(elect_uncleanly(&s), KW_NONE);
    scenario_until(&s, running_in_sync, 20000, "all replicas follow");
    ck_assert(produces(&s));
    ck_assert_int_eq(s.base_offset, 1);
    scenario_end(&s);
}
END_TEST

static const struct meta_partition *partition_of(struct scenario *s)
{
    struct node *n = sim_cluster_node(s->cluster, (uint32_t)sim_cluster_controller(s->cluster));
    return meta_topic_partition(meta_image_topic(n->image, "orders"), 0);
}

static bool is_synced(struct scenario *s)
{
    return !partition_of(s)->unsynced;
}

/* 4.4: records acknowledged while the topic was weak are on all disks before it counts as strong.
 */
START_TEST(turned_strong__counts_once_everything_is_synced)
{
    struct scenario s;
    scenario_start(&s, 23);
    scenario_set_config(&s, "orders", "flush.messages", "1000000");
    ck_assert(produces(&s));
    uint32_t victim = bystander(&s);
    sim_disk_stall(sim_host_disk(sim_cluster_host(s.cluster, victim)), 2000);
    scenario_set_config(&s, "orders", "flush.messages", "1");
    ck_assert(!is_synced(&s));
    scenario_run_for(&s, 500);
    ck_assert(!is_synced(&s));
    scenario_until(&s, is_synced, 10000, "a record says that all is synced");
    for (uint32_t i = 0; i < 3; i++) {
        struct kb_view log;
        struct sim_disk *d = sim_host_disk(sim_cluster_host(s.cluster, i));
        ck_assert_int_eq(sim_disk_view(d, LOG_FILE, true, &log), 0);
        ck_assert_uint_ge(log.size, 61);
        ck_assert_uint_eq(log.data[16], 2); /* the magic byte: the batch is on the disk */
    }
    ck_assert(produces(&s));
    scenario_end(&s);
}
END_TEST

/* 8.5: a log of a topic nobody knows holds the path of one that is assigned. The new log is made
 * only once the old one's directory has another name, on whichever lane that is. */
START_TEST(unknown_log__makes_way_for_the_assigned_one)
{
    static const char metadata[] = "version: 0\ntopic_id: AAAAAAAAAAAAAAAAAAAAAQ\n";
    for (uint64_t seed = 31; seed < 36; seed++) {
        struct scenario s;
        scenario_start(&s, seed);
        ck_assert(produces(&s));
        uint32_t victim = bystander(&s);
        struct sim_host *h = sim_cluster_host(s.cluster, victim);
        sim_cluster_kill(s.cluster, victim, true);
        scenario_run_for(&s, 10);
        sim_disk_put(sim_host_disk(h), "/data/orders-0/partition.metadata", metadata,
                     sizeof(metadata) - 1);
        ck_assert_int_eq(sim_disk_remove(sim_host_disk(h), LOG_FILE), 0); /* half made */
        sim_cluster_start(s.cluster, victim);
        scenario_run_for(&s, 3000);
        scenario_until(&s, running_in_sync, 30000, "the replica is in sync again");
        ck_assert_uint_eq(sim_cluster_counts(s.cluster).exits, 0);
        ck_assert(produces(&s));
        scenario_end(&s);
    }
}
END_TEST

/* 9.3: whichever sync of a start fails, the process ends; a second try might succeed and mean
 * nothing. It comes back by itself when the disk is sound. */
START_TEST(failed_sync__in_a_start_ends_the_process)
{
    uint32_t failed = 0;
    for (uint64_t nth = 0; nth < 16; nth++) {
        struct scenario s;
        scenario_start(&s, 41);
        ck_assert(produces(&s));
        uint32_t victim = bystander(&s);
        struct sim_disk *d = sim_host_disk(sim_cluster_host(s.cluster, victim));
        sim_cluster_kill(s.cluster, victim, true);
        scenario_run_for(&s, 10);
        uint64_t before = sim_disk_sync_count(d);
        uint64_t exits = sim_cluster_counts(s.cluster).exits;
        sim_cluster_start(s.cluster, victim);
        while (sim_disk_sync_count(d) < before + nth)
            (void)sim_world_step(s.world);
        sim_disk_settings(d)->sync_fail_next = 1;
        scenario_run_for(&s, SIM_CLUSTER_LEAVE_MS + 2000); /* the cluster's check is the test */
        if (sim_disk_failures(d) > 0) {
            failed++;
            ck_assert_uint_eq(sim_cluster_counts(s.cluster).exits, exits + 1);
            sim_cluster_start(s.cluster, victim);
        }
        scenario_until(&s, running_in_sync, 30000, "the replica is in sync again");
        scenario_end(&s);
    }
    ck_assert_uint_ge(failed, 10);
}
END_TEST

/* 10.3: a log that begins anew below a start that once was durable counts none of it as durable. */
START_TEST(reset__forgets_the_durable_start)
{
    struct scenario s;
    struct rep_effects fx;
    scenario_start(&s, 24);
    for (int i = 0; i < 10; i++)
        ck_assert(produces(&s));
    scenario_run_for(&s, 1500);
    uint32_t victim = bystander(&s);
    struct node *n = sim_cluster_node(s.cluster, victim);
    const struct meta_topic *t = meta_image_topic(n->image, "orders");
    struct node_partition *p = node_partition_find(n, &t->id, 0);
    log_set_start_offset(p->log, 8); /* its own retention, ahead of the leader's */
    node_partition_start_moved(p);
    scenario_run_for(&s, 1500);
    ck_assert_int_eq(p->start_flushed, 8);
    rep_on_damaged(p->rep, 9, node_now(n), &fx);
    node_partition_run(p, &fx);
    scenario_run_for(&s, 200);
    scenario_until(&s, running_in_sync, 20000, "the replica is in sync again");
    ck_assert_int_eq(log_start_offset(p->log), 0);
    ck_assert_int_eq(log_end_offset(p->log), 10);
    ck_assert_int_eq(p->start_flushed, 0);
    scenario_end(&s);
}
END_TEST

static void read_start(void *arg, const void *response)
{
    const struct kw_list_offsets_response *r = response;
    if (r != NULL && r->topics[0].partitions[0].error_code == KW_NONE)
        *(int64_t *)arg = r->topics[0].partitions[0].offset;
}

/* P18: what lies below the start is out of reach at once, so no older start is told while one waits
 * for the disk. */
START_TEST(start__that_waits_for_the_disk_is_told)
{
    struct scenario s;
    struct kw_list_offsets_request rq;
    struct kw_list_offsets_request_topic topic;
    struct kw_list_offsets_request_partition partition;
    int64_t told = -1;
    scenario_start(&s, 25);
    for (int i = 0; i < 10; i++)
        ck_assert(produces(&s));
    scenario_run_for(&s, 1500);
    int32_t leader = scenario_leader(&s);
    struct node *n = sim_cluster_node(s.cluster, (uint32_t)leader - 1);
    const struct meta_topic *t = meta_image_topic(n->image, "orders");
    struct node_partition *p = node_partition_find(n, &t->id, 0);
    sim_disk_stall(sim_host_disk(sim_cluster_host(s.cluster, (uint32_t)leader - 1)), 800);
    for (int64_t start = 4; start <= 8; start += 4) { /* retention */
        log_set_start_offset(p->log, start);
        node_partition_start_moved(p);
    }
    kw_list_offsets_request_init(&rq);
    kw_list_offsets_request_topic_init(&topic);
    kw_list_offsets_request_partition_init(&partition);
    partition.timestamp = -2;
    topic.name = KW_STR("orders");
    topic.partitions = &partition;
    topic.partitions_count = 1;
    rq.replica_id = -1;
    rq.topics = &topic;
    rq.topics_count = 1;
    ck_assert(scenario_call(&s, leader, KW_API_LIST_OFFSETS, &rq, read_start, &told));
    ck_assert_int_lt(p->start_flushed, 4);
    ck_assert_int_eq(told, 8);
    scenario_run_for(&s, 3000);
    ck_assert_int_eq(p->start_flushed, 8);
    scenario_end(&s);
}
END_TEST

/* ---- what a follower heard ---- */

struct late_start {
    struct scenario *s;
    uint32_t leader, follower;
    uint64_t waits_us; /* since when records wait in the follower */
    bool moved;
};

static struct node_partition *orders(struct scenario *s, uint32_t node)
{
    struct node *n = sim_cluster_node(s->cluster, node);
    const struct meta_topic *t = meta_image_topic(n->image, "orders");
    return t != NULL ? node_partition_find(n, &t->id, 0) : NULL;
}

/* The leader's log begins later from a moment on at which the follower has the first record, the
 * others of the same answer wait for a segment, and it polls already for what comes next. */
static void move_start(void *arg, uint32_t node)
{
    struct late_start *w = arg;
    const struct node_partition *p = orders(w->s, w->follower);
    uint64_t now_us = sim_world_now_us(w->s->world);
    if (w->moved || p == NULL || p->log == NULL || log_end_offset(p->log) == 4)
        return;
    if (w->waits_us == 0) {
        sim_disk_stall(sim_host_disk(sim_cluster_host(w->s->cluster, w->follower)), 1000);
        w->waits_us = now_us;
    }
    if (now_us < w->waits_us + 300000)
        return;
    struct node_partition *led = orders(w->s, w->leader);
    log_set_start_offset(led->log, 3);
    node_partition_start_moved(led);
    w->moved = true;
}

/* Asked of the replicas first: what a client heard may be old. */
static bool all_start_late(struct scenario *s)
{
    for (uint32_t i = 0; i < 3; i++) {
        const struct node_partition *p = orders(s, i);
        if (p == NULL || p->log == NULL || log_end_offset(p->log) != 12 ||
            log_start_offset(p->log) != 3)
            return false;
    }
    return scenario_leader(s) > 0 && running_in_sync(s);
}

/* 4.1: a follower may join only with the leader's start. It does not take what comes while records
 * wait for a new segment; the leader hears that, and tells it again (simulator seed 7622). */
START_TEST(start__told_to_a_busy_follower_is_told_again)
{
    struct scenario s;
    scenario_start(&s, 26);
    scenario_set_config(&s, "orders", "segment.ms", "100");
    struct late_start w = {.s = &s, .follower = bystander(&s)};
    for (int i = 0; i < 4; i++)
        ck_assert(produces(&s));
    scenario_run_for(&s, 500);
    scenario_isolate(&s, w.follower, true);
    for (int i = 0; i < 8; i++) {
        scenario_until(&s, produces, 20000, "the others take records");
        scenario_run_for(&s, 1500);
    }
    w.leader = (uint32_t)scenario_leader(&s) - 1;
    ck_assert(!scenario_isr_full(&s));
    sim_cluster_on_event(s.cluster, move_start, &w);
    scenario_isolate(&s, w.follower, false);
    scenario_until(&s, all_start_late, 20000, "the replica begins where its leader does");
    ck_assert(w.moved);
    sim_cluster_on_event(s.cluster, NULL, NULL);
    scenario_end(&s);
}
END_TEST

static void read_epoch_end(void *arg, const void *response)
{
    const struct kw_offset_for_leader_epoch_response *r = response;
    *(struct kw_offset_for_leader_epoch_response_partition *)arg = r->topics[0].partitions[0];
}

static bool has_led_twice(struct scenario *s)
{
    sim_client_refresh(s->client);
    scenario_run_for(s, 100);
    const struct sim_partition_view *v = sim_client_partition(s->client, 0);
    return v->leader > 0 && v->leader_epoch > 0;
}

/* 1.6, P19: an epoch begins with its leader, not with its first record. */
START_TEST(epoch__without_records_is_known)
{
    struct scenario s;
    struct kw_offset_for_leader_epoch_request rq;
    struct kw_offset_for_leader_epoch_request_topic topic;
    struct kw_offset_for_leader_epoch_request_partition partition;
    struct kw_offset_for_leader_epoch_response_partition answer = {.error_code = -1};
    scenario_start(&s, 27);
    ck_assert(produces(&s));
    sim_cluster_kill(s.cluster, (uint32_t)scenario_leader(&s) - 1, false);
    scenario_until(&s, has_led_twice, 20000, "another leader");
    const struct sim_partition_view *v = sim_client_partition(s.client, 0);
    kw_offset_for_leader_epoch_request_init(&rq);
    kw_offset_for_leader_epoch_request_topic_init(&topic);
    kw_offset_for_leader_epoch_request_partition_init(&partition);
    rq.topics = &topic;
    rq.topics_count = 1;
    topic.topic = KW_STR("orders");
    topic.partitions = &partition;
    topic.partitions_count = 1;
    partition.leader_epoch = v->leader_epoch;
    ck_assert(
        scenario_call(&s, v->leader, KW_API_OFFSET_FOR_LEADER_EPOCH, &rq, read_epoch_end, &answer));
    ck_assert_int_eq(answer.error_code, KW_NONE);
    ck_assert_int_eq(answer.leader_epoch, partition.leader_epoch);
    ck_assert_int_eq(answer.end_offset, 1);
    scenario_end(&s);
}
END_TEST

/* A broker that was cut off while another came back learns of it by a snapshot, in which that
 * is no record any more: its ring of events must not go on calling the other one fenced. */
START_TEST(snapshot__tells_what_it_skipped)
{
    struct scenario s;
    scenario_start(&s, 51);
    uint32_t away = bystander(&s);
    int32_t controller = sim_cluster_controller(s.cluster);
    uint32_t other = 3 - away - (uint32_t)controller;
    sim_cluster_kill(s.cluster, other, true);
    scenario_run_for(&s, 3000);
    for (uint32_t i = 0; i < 3; i++) {
        sim_net_cut(sim_cluster_host(s.cluster, away), sim_cluster_host(s.cluster, i));
        sim_net_cut(sim_cluster_host(s.cluster, i), sim_cluster_host(s.cluster, away));
    }
    sim_cluster_start(s.cluster, other);
    scenario_run_for(&s, 5000);
    for (int i = 0; i < 60; i++) {
        char name[16];
        (void)snprintf(name, sizeof(name), "filler-%d", i);
        (void)scenario_create(&s, name);
    }
    sim_net_heal_all(s.world);
    scenario_until(&s, scenario_all_running, 30000, "all run again");
    scenario_run_for(&s, 3000);
    sim_cluster_check_events(s.cluster);
    scenario_end(&s);
}
END_TEST

static void read_nothing(void *arg, const void *response)
{
    (void)arg;
    (void)response;
}

static const struct log *leaders_log(struct scenario *s)
{
    uint32_t leader = (uint32_t)scenario_leader(s) - 1;
    return node_partition_find_named(sim_cluster_node(s->cluster, leader), KW_STR("orders"), 0)
        ->log;
}

static bool is_cleaned(struct scenario *s)
{
    return log_gaps_below(leaders_log(s)) > 0;
}

/* What is not committed is not the last value of its key: a cleaner that took it for that would
 * lose a committed one, once the log is cut (P17). */
START_TEST(compaction__stops_at_the_high_watermark)
{
    struct scenario s;
    struct scenario_record record = {
        .value = "v", .producer_id = -1, .producer_epoch = -1, .sequence = -1, .acks = 1};
    scenario_start(&s, 309);
    ck_assert_int_eq(scenario_produce(&s, "v"), KW_NONE);
    scenario_set_config(&s, "orders", "min.insync.replicas", "3"); /* two of them commit nothing */
    scenario_set_config(&s, "orders", "segment.ms", "500");
    scenario_set_config(&s, "orders", "cleanup.policy", "compact");
    uint32_t bystander = scenario_bystander(&s);
    sim_cluster_kill(s.cluster, bystander, true);
    for (int i = 0; i < 12; i++) {
        scenario_send(&s, scenario_leader(&s), &record, read_nothing, NULL);
        scenario_run_for(&s, 400);
    }
    scenario_run_for(&s, 5000);
    ck_assert(!is_cleaned(&s));
    ck_assert_uint_gt(log_segment_count(leaders_log(&s)), 3);
    sim_cluster_start(s.cluster, bystander);
    scenario_until(&s, scenario_whole, 30000, "whole again");
    scenario_until(&s, is_cleaned, 30000, "what is committed now is cleaned");
    scenario_end(&s);
}
END_TEST

UNIT_MAIN("node_replicas", snapshot__tells_what_it_skipped,
          failed_sync__in_a_start_ends_the_process, unknown_log__makes_way_for_the_assigned_one,
          stalled_disk__holds_writes_for_three_seconds,
          damage_everywhere__led_again_by_name_up_to_the_damage,
          turned_strong__counts_once_everything_is_synced, reset__forgets_the_durable_start,
          start__that_waits_for_the_disk_is_told, start__told_to_a_busy_follower_is_told_again,
          epoch__without_records_is_known, compaction__stops_at_the_high_watermark)
