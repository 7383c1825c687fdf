/* Rule 11.3: a voter whose disk was lost comes back blank, catches up as an observer and gets its
 * vote back by itself; its old directory, should it reappear, has none. That a directory has a vote
 * is shown by taking one of the other two voters away: a topic can be made, or it cannot. */
#include "proto/base/log.h"
#include "tests/unit/node/scenario.h"

static bool produces(struct scenario *s)
{
    return scenario_produce(s, "v") == KW_NONE;
}

static bool running_in_sync(struct scenario *s)
{
    return scenario_all_running(s) && scenario_isr_full(s);
}

struct voters {
    int32_t count;                 /* -1 = no leader said */
    struct kb_uuid directories[3]; /* by node; zero = no voter */
};

static void read_quorum(void *arg, const void *response)
{
    const struct kw_describe_quorum_response *r = response;
    struct voters *v = arg;
    if (r->error_code != KW_NONE || r->topics[0].partitions[0].error_code != KW_NONE)
        return;
    v->count = r->topics[0].partitions[0].current_voters_count;
    for (int32_t i = 0; i < v->count; i++) {
        const struct kw_describe_quorum_response_replica_state *state =
            &r->topics[0].partitions[0].current_voters[i];
        if (state->replica_id >= 1 && state->replica_id <= 3)
            v->directories[state->replica_id - 1] = state->replica_directory_id;
    }
}

static struct voters voters(struct scenario *s)
{
    struct kw_describe_quorum_request rq;
    struct kw_describe_quorum_request_topic topic;
    struct kw_describe_quorum_request_partition partition;
    struct voters v = {.count = -1};
    kw_describe_quorum_request_init(&rq);
    kw_describe_quorum_request_topic_init(&topic);
    kw_describe_quorum_request_partition_init(&partition);
    rq.topics = &topic;
    rq.topics_count = 1;
    topic.topic_name = KW_STR("__cluster_metadata");
    topic.partitions = &partition;
    topic.partitions_count = 1;
    int32_t controller = sim_cluster_controller(s->cluster);
    if (controller >= 0)
        (void)scenario_call(s, controller + 1, KW_API_DESCRIBE_QUORUM, &rq, read_quorum, &v);
    return v;
}

/* The test's own memory of who voted before the disk was lost. */
static struct voters before;

static bool three_voters_one_new(struct scenario *s)
{
    struct voters v = voters(s);
    int changed = 0;
    for (int i = 0; i < 3; i++)
        changed += !kb_uuid_equal(&v.directories[i], &before.directories[i]);
    return v.count == 3 && changed == 1;
}

static void lose_disk(struct scenario *s, uint32_t victim)
{
    before = voters(s);
    ck_assert_int_eq(before.count, 3);
    sim_cluster_kill(s->cluster, victim, true);
    scenario_run_for(s, 3000);
    sim_cluster_replace_disk(s->cluster, victim, NULL);
    sim_cluster_start(s->cluster, victim);
}

static uint32_t follower_of_quorum(struct scenario *s)
{
    return sim_cluster_controller(s->cluster) == 0 ? 1 : 0;
}

/* The three have room for one more failure only if the new directory votes. */
static void replaced_voter_counts(uint64_t seed, bool controller)
{
    struct scenario s;
    scenario_start(&s, seed);
    ck_assert(produces(&s));
    uint32_t victim = controller ? (uint32_t)sim_cluster_controller(s.cluster)
                                 : follower_of_quorum(&s);
    lose_disk(&s, victim);
    scenario_until(&s, three_voters_one_new, 20000, "the new directory votes");
    scenario_until(&s, running_in_sync, 20000, "its replicas are whole again");
    scenario_until(&s, produces, 20000, "a record");
    uint32_t other = 3 - victim - (uint32_t)sim_cluster_controller(s.cluster);
    if (sim_cluster_controller(s.cluster) == (int32_t)victim)
        other = (victim + 1) % 3;
    sim_cluster_kill(s.cluster, other, true);
    scenario_run_for(&s, 4000);
    ck_assert_int_eq(scenario_create(&s, "later"), KW_NONE);
    scenario_until(&s, produces, 20000, "two of three serve");
    sim_cluster_start(s.cluster, other);
    scenario_until(&s, running_in_sync, 20000, "three brokers run");
    scenario_end(&s);
}

START_TEST(lost_disk__of_a_follower_gets_its_vote_back)
{
    replaced_voter_counts(11, false);
}
END_TEST

START_TEST(lost_disk__of_the_controller_gets_its_vote_back)
{
    replaced_voter_counts(12, true);
}
END_TEST

/* The leader dies when the set is even: its successor finishes what it began. */
START_TEST(lost_disk__controller_dies_half_way)
{
    struct scenario s;
    scenario_start(&s, 13);
    uint32_t victim = follower_of_quorum(&s);
    lose_disk(&s, victim);
    for (int i = 0; i < 5000 && voters(&s).count != 2; i++)
        scenario_run_for(&s, 1);
    ck_assert_int_eq(voters(&s).count, 2);
    uint32_t leader = (uint32_t)sim_cluster_controller(s.cluster);
    sim_cluster_kill(s.cluster, leader, false);
    scenario_run_for(&s, 1000);
    ck_assert_int_eq(sim_cluster_controller(s.cluster), -1); /* two voters, one of them away */
    sim_cluster_start(s.cluster, leader);
    scenario_until(&s, three_voters_one_new, 20000, "the set is odd again");
    scenario_until(&s, running_in_sync, 20000, "three brokers run");
    scenario_end(&s);
}
END_TEST

START_TEST(old_directory__has_no_standing)
{
    struct scenario s;
    scenario_start(&s, 14);
    uint32_t victim = follower_of_quorum(&s);
    before = voters(&s);
    sim_cluster_kill(s.cluster, victim, true);
    struct sim_disk_copy *copy =
        sim_disk_copy_new(sim_host_disk(sim_cluster_host(s.cluster, victim)));
    scenario_run_for(&s, 3000);
    sim_cluster_replace_disk(s.cluster, victim, NULL);
    sim_cluster_start(s.cluster, victim);
    scenario_until(&s, three_voters_one_new, 20000, "the new directory votes");
    scenario_until(&s, running_in_sync, 20000, "its replicas are whole again");
    ck_assert(produces(&s));
    sim_cluster_kill(s.cluster, victim, true);
    scenario_run_for(&s, 3000);
    sim_cluster_replace_disk(s.cluster, victim, copy);
    (void)sim_disk_copy_free(copy);
    sim_cluster_start(s.cluster, victim);
    scenario_until(&s, running_in_sync, 20000, "as a broker it is welcome");
    scenario_run_for(&s, 5000);
    ck_assert(three_voters_one_new(&s)); /* its successor, which is away */
    /* One of the two that have votes goes: nothing can be decided. */
    uint32_t other = 3 - victim - (uint32_t)sim_cluster_controller(s.cluster);
    sim_cluster_kill(s.cluster, other, true);
    scenario_run_for(&s, 5000);
    ck_assert_int_eq(sim_cluster_controller(s.cluster), -1);
    sim_cluster_start(s.cluster, other);
    scenario_until(&s, running_in_sync, 20000, "three brokers run");
    scenario_end(&s);
}
END_TEST

static void no_line(void *arg, enum kb_log_level level, const char *component, const char *text)
{
}

/* 11.1: brokers without a vote dial the voters before there is a cluster. What the voters found
 * later they are told by a new hello. */
START_TEST(broker_only__joins_a_cluster_founded_after_it_was_linked)
{
    struct sim_checks checks = {0};
    struct sim_topics topics = {.topic = {{"orders", 1}}, .count = 1};
    struct sim_world *w = sim_world_new(61);
    struct sim_cluster_options o = {.checks = &checks, .topics = &topics, .nodes = 5, .voters = 3};
    o.apis = api_table(&o.apis_count);
    kb_log_set_sink(no_line, NULL, KB_LOG_ERROR);
    struct sim_cluster *c = sim_cluster_new(w, &o);
    sim_world_run_for(w, 5000);
    for (uint32_t i = 0; i < 5; i++) {
        ck_assert(sim_cluster_is_running(c, i));
        ck_assert(sim_cluster_is_voter(c, i) == (i < 3));
    }
    (void)sim_cluster_free(c);
    (void)sim_world_free(w);
    ck_assert_uint_eq(sim_checks_failures(&checks), 0);
}
END_TEST

UNIT_MAIN("node_voters", broker_only__joins_a_cluster_founded_after_it_was_linked,
          lost_disk__of_a_follower_gets_its_vote_back,
          lost_disk__of_the_controller_gets_its_vote_back, lost_disk__controller_dies_half_way,
          old_directory__has_no_standing)
