/* Bugs that other systems' quorums had (tests/classic-bugs.md), as stories of whole brokers.
 * tests/transcript/raft tells those of the Raft core alone. */
#include "broker/node/quorum.h"
#include "tests/unit/node/scenario.h"

static struct raft_status status_of(struct scenario *s, uint32_t node)
{
    struct raft_status status;
    raft_core_status(sim_cluster_node(s->cluster, node)->quorum->core, &status);
    return status;
}

/* It has read its vote and log. */
static void until_it_speaks(struct scenario *s, uint32_t node)
{
    const struct node_quorum *q = NULL;
    do {
        ck_assert(sim_world_step(s->world));
        q = sim_cluster_node(s->cluster, node)->quorum;
    } while (q == NULL || q->core == NULL);
}

static struct sim_disk *disk_of(struct scenario *s, uint32_t node)
{
    return sim_host_disk(sim_cluster_host(s->cluster, node));
}

static uint64_t crashes(struct scenario *s)
{
    struct sim_cluster_counts c = sim_cluster_counts(s->cluster);
    return c.crashes - c.kills - c.power_cuts;
}

static bool produces(struct scenario *s)
{
    return scenario_produce(s, "v") == KW_NONE;
}

/* robustmq #2039: votes lay in the page cache only: a voter that lost power voted a second time in
 * the same term. Here it loses power at the moment its vote has made a leader, and all that was not
 * synced. */
START_TEST(robustmq_2039__vote_outlives_a_power_cut)
{
    for (uint64_t seed = 401; seed <= 405; seed++) {
        struct scenario s;
        scenario_start(&s, seed);
        uint32_t old = (uint32_t)sim_cluster_controller(s.cluster);
        sim_cluster_kill(s.cluster, old, false);
        do {
            ck_assert(sim_world_step(s.world));
        } while (sim_cluster_controller(s.cluster) < 0);
        uint32_t elected = (uint32_t)sim_cluster_controller(s.cluster);
        uint32_t voter = 3 - old - elected;
        struct raft_status leader = status_of(&s, elected);
        ck_assert_int_eq(status_of(&s, voter).vote.id, (int32_t)elected + 1);
        sim_disk_set_crash_mode(disk_of(&s, voter), SIM_CRASH_DROP);
        sim_cluster_kill(s.cluster, voter, true);
        scenario_isolate(&s, elected, true); /* nobody reminds it */
        scenario_run_for(&s, 5);
        sim_cluster_start(s.cluster, voter);
        until_it_speaks(&s, voter);
        struct raft_status returned = status_of(&s, voter);
        ck_assert_uint_eq(returned.term, leader.term);
        ck_assert_int_eq(returned.vote.id, (int32_t)elected + 1);
        sim_cluster_start(s.cluster, old);
        scenario_run_for(&s, 3000);
        scenario_isolate(&s, elected, false);
        scenario_until(&s, scenario_whole, 30000, "whole again");
        scenario_until(&s, produces, 20000, "a record");
        scenario_end(&s);
    }
}
END_TEST

static size_t voters_at(struct scenario *s, uint32_t node)
{
    const struct meta_voter *voters = NULL;
    return meta_image_voters(sim_cluster_node(s->cluster, node)->image, &voters);
}

static bool three_voters(struct scenario *s)
{
    int32_t controller = sim_cluster_controller(s->cluster);
    return controller >= 0 && voters_at(s, (uint32_t)controller) == 3 && scenario_whole(s);
}

static void no_answer(void *arg, const void *response)
{
    (void)arg;
    (void)response; /* lost, or refused: it may have happened or not */
}

static void ask_for_topic(struct scenario *s, int32_t broker, const char *name)
{
    struct kw_create_topics_request rq;
    struct kw_create_topics_request_topic topic;
    kw_create_topics_request_init(&rq);
    kw_create_topics_request_topic_init(&topic);
    rq.timeout_ms = 2000;
    rq.topics = &topic;
    rq.topics_count = 1;
    topic.name = kw_str_of(name);
    topic.num_partitions = 1;
    topic.replication_factor = 3;
    scenario_ask(s, broker, KW_API_CREATE_TOPICS, &rq, no_answer, NULL);
}

/* KAFKA-17608: a controller resigned right behind a control record and reverted to an offset of
 * which it had no snapshot in memory: it crashed. Here a control record changes the voters (a disk
 * was lost), commands follow it, and the controller is cut off at that moment or a little later. */
START_TEST(kafka_17608__controller_resigns_behind_a_control_record)
{
    for (uint32_t later_us = 0; later_us < 5000; later_us += 250) {
        struct scenario s;
        scenario_start(&s, 411);
        uint32_t controller = (uint32_t)sim_cluster_controller(s.cluster);
        uint32_t victim = (controller + 1) % 3;
        sim_cluster_kill(s.cluster, victim, true);
        scenario_run_for(&s, 3000);
        sim_cluster_replace_disk(s.cluster, victim, NULL);
        sim_cluster_start(s.cluster, victim);
        uint64_t limit_us = sim_world_now_us(s.world) + 20000000;
        while (voters_at(&s, controller) != 2) {
            ck_assert(sim_world_step(s.world));
            ck_assert_uint_lt(sim_world_now_us(s.world), limit_us);
        }
        ask_for_topic(&s, (int32_t)controller + 1, "behind-it");
        uint64_t at_us = sim_world_now_us(s.world) + later_us;
        while (sim_world_now_us(s.world) < at_us)
            ck_assert(sim_world_step(s.world));
        scenario_isolate(&s, controller, true);
        ask_for_topic(&s, (int32_t)controller + 1, "never-committed");
        scenario_run_for(&s, 3000);
        ck_assert_int_ne(status_of(&s, controller).role, RAFT_LEADER);
        ck_assert_ptr_null(sim_cluster_node(s.cluster, controller)->control);
        scenario_isolate(&s, controller, false);
        scenario_until(&s, three_voters, 30000, "three voters again");
        ck_assert_int_eq(scenario_create(&s, "after"), KW_NONE);
        scenario_until(&s, produces, 20000, "a record");
        scenario_run_for(&s, 1000);
        ck_assert_uint_eq(crashes(&s), 0);
        sim_cluster_compare(s.cluster); /* equal images */
        scenario_end(&s);
    }
}
END_TEST

/* KAFKA-12181: a voter came back with less than it had acknowledged; its leader took the offset
 * that fell for a bug of its own and died of it. Wiped, it is another directory; here it has an
 * older copy of its disk, and what it does not hold any more is not counted on it. */
START_TEST(kafka_12181__voter_returns_with_less)
{
    for (uint64_t seed = 421; seed <= 425; seed++) {
        struct scenario s;
        char name[16];
        scenario_start(&s, seed);
        uint32_t leader = (uint32_t)sim_cluster_controller(s.cluster);
        uint32_t victim = scenario_bystander(&s);
        struct sim_disk_copy *copy = sim_disk_copy_new(disk_of(&s, victim));
        for (int i = 0; i < 20; i++) {
            (void)snprintf(name, sizeof(name), "topic-%d", i);
            ck_assert_int_eq(scenario_create(&s, name), KW_NONE);
        }
        uint64_t term = status_of(&s, leader).term;
        uint64_t had = status_of(&s, victim).durable_index;
        sim_cluster_kill(s.cluster, victim, true);
        scenario_run_for(&s, 100);
        sim_cluster_replace_disk(s.cluster, victim, copy);
        (void)sim_disk_copy_free(copy);
        sim_cluster_start(s.cluster, victim);
        until_it_speaks(&s, victim);
        ck_assert_uint_lt(status_of(&s, victim).durable_index, had);
        scenario_run_for(&s, 300);
        scenario_until(&s, scenario_whole, 30000, "whole again");
        ck_assert_uint_ge(status_of(&s, victim).durable_index, had);
        ck_assert_uint_eq(status_of(&s, leader).term, term);
        ck_assert_int_eq(sim_cluster_controller(s.cluster), (int32_t)leader);
        ck_assert_int_eq(scenario_create(&s, "after"), KW_NONE);
        ck_assert_uint_eq(crashes(&s), 0);
        sim_cluster_compare(s.cluster);
        scenario_end(&s);
    }
}
END_TEST

UNIT_MAIN("node_bugs_quorum", robustmq_2039__vote_outlives_a_power_cut,
          kafka_17608__controller_resigns_behind_a_control_record,
          kafka_12181__voter_returns_with_less)
