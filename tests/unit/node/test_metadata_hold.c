/* Rule 10.5 as a client meets it. Three whole brokers; the links between them take 5 ms, those of
 * the client a tenth of one. A leader is killed, and the client, which heard of it first, asks
 * another broker at once, before that broker can know: the answer must not name the dead leader. */
#include "broker/api/api.h"
#include "proto/base/log.h"
#include "proto/kafka/messages.h"
#include "tests/sim/sim_client.h"
#include "tests/sim/sim_cluster.h"
#include "tests/sim/sim_net.h"
#include "tests/unit/unit.h"

enum { NODES = 3, PARTITIONS = 3, ASKED = 2 };

struct stage {
    struct sim_world *world;
    struct sim_checks checks;
    struct sim_topics topics;
    struct sim_cluster *cluster;
    struct sim_client *client;
    bool created;
    bool answered;
    bool denied;
    int32_t leaders[PARTITIONS];
    bool brokers[NODES + 1];
};

static void take_created(void *arg, const void *response)
{
    struct stage *s = arg;
    const struct kw_create_topics_response *rs = response;
    s->answered = true;
    s->created = rs != NULL && rs->topics_count == 1 && rs->topics[0].error_code == KW_NONE;
}

static void create_topic(struct stage *s)
{
    struct kw_create_topics_request rq;
    struct kw_create_topics_request_topic topic;
    kw_create_topics_request_init(&rq);
    kw_create_topics_request_topic_init(&topic);
    topic.name = KW_STR("orders");
    topic.num_partitions = PARTITIONS;
    topic.replication_factor = NODES;
    rq.topics = &topic;
    rq.topics_count = 1;
    rq.timeout_ms = 2000;
    for (int tries = 0; tries < 20 && !s->created; tries++) {
        s->answered = false;
        sim_client_call(s->client, SIM_ANY_BROKER, KW_API_CREATE_TOPICS, &rq, take_created, s);
        (void)sim_world_run_until_flag(s->world, &s->answered, 5000);
        sim_world_run_for(s->world, 200);
    }
    ck_assert(s->created);
    sim_client_refresh(s->client); /* it knows the brokers' addresses from now on */
    sim_world_run_for(s->world, 1000);
}

static void take_metadata(void *arg, const void *response)
{
    struct stage *s = arg;
    const struct kw_metadata_response *rs = response;
    ck_assert_ptr_nonnull(rs);
    ck_assert_int_eq(rs->topics_count, 1);
    ck_assert_int_eq(rs->topics[0].partitions_count, PARTITIONS);
    for (int32_t i = 0; i < PARTITIONS; i++)
        s->leaders[rs->topics[0].partitions[i].partition_index] =
            rs->topics[0].partitions[i].leader_id;
    for (int32_t i = 0; i < rs->brokers_count; i++)
        s->brokers[rs->brokers[i].node_id] = true;
    s->answered = true;
}

/* Returns how long the answer took. */
static uint64_t ask(struct stage *s, int32_t broker)
{
    struct kw_metadata_request rq;
    struct kw_metadata_request_topic topic;
    uint64_t began_us = sim_world_now_us(s->world);
    kw_metadata_request_init(&rq);
    kw_metadata_request_topic_init(&topic);
    topic.name = KW_STR("orders");
    rq.topics = &topic;
    rq.topics_count = 1;
    s->answered = false;
    sim_client_call(s->client, broker, KW_API_METADATA, &rq, take_metadata, s);
    ck_assert(sim_world_run_until_flag(s->world, &s->answered, 3000));
    return (sim_world_now_us(s->world) - began_us) / 1000;
}

static bool all_run(void *arg)
{
    struct stage *s = arg;
    for (uint32_t i = 0; i < NODES; i++) {
        if (!sim_cluster_is_running(s->cluster, i))
            return false;
    }
    return true;
}

static void stage_init(struct stage *s, uint64_t seed)
{
    static const char *const hosts[] = {"node1", "node2", "node3"};
    kb_log_set_sink(NULL, NULL, KB_LOG_ERROR);
    *s = (struct stage){.world = sim_world_new(seed),
                        .topics = {.topic = {{"orders", PARTITIONS}}, .count = 1}};
    struct sim_cluster_options co = {.checks = &s->checks, .topics = &s->topics, .nodes = NODES};
    co.apis = api_table(&co.apis_count);
    s->cluster = sim_cluster_new(s->world, &co);
    struct sim_env *env = sim_world_add_env(s->world, "client");
    struct sim_client_options options = {.topics = &s->topics,
                                         .bootstrap = hosts,
                                         .bootstrap_count = NODES,
                                         .port = SIM_CLUSTER_PORT,
                                         .request_timeout_ms = 3000,
                                         .client_id = "hold"};
    s->client = sim_client_new(sim_env_kb(env), &options);
    for (uint32_t i = 0; i < NODES; i++) {
        struct sim_host *host = sim_cluster_host(s->cluster, i);
        struct sim_link_settings quick = {.delay_us_min = 100, .delay_us_max = 100};
        struct sim_link_settings slow = {.delay_us_min = 5000, .delay_us_max = 5000};
        *sim_net_link(sim_env_host(env), host) = quick;
        *sim_net_link(host, sim_env_host(env)) = quick;
        for (uint32_t k = 0; k < NODES; k++) {
            if (k != i)
                *sim_net_link(host, sim_cluster_host(s->cluster, k)) = slow;
        }
    }
    ck_assert(sim_world_run_until(s->world, all_run, s, 20000));
    create_topic(s);
}

static void stage_release(struct stage *s)
{
    s->client = sim_client_free(s->client);
    s->cluster = sim_cluster_free(s->cluster);
    s->world = sim_world_free(s->world);
}

START_TEST(metadata__does_not_name_a_leader_that_died_before_the_question)
{
    struct stage s;
    for (uint64_t seed = 1; seed <= 5; seed++) {
        stage_init(&s, seed);
        (void)ask(&s, ASKED); /* its connection is open */
        int32_t victim = -1;
        for (int i = 0; i < PARTITIONS; i++) {
            if (s.leaders[i] != ASKED)
                victim = s.leaders[i];
        }
        ck_assert_int_gt(victim, 0);
        sim_cluster_kill(s.cluster, (uint32_t)victim - 1, false);
        (void)ask(&s, ASKED);
        for (int i = 0; i < PARTITIONS; i++)
            ck_assert_int_ne(s.leaders[i], victim);
        stage_release(&s);
    }
}
END_TEST

START_TEST(metadata__waits_for_a_silent_leader_only_shortly)
{
    struct stage s;
    stage_init(&s, 7);
    (void)ask(&s, ASKED);
    int32_t victim = s.leaders[0] != ASKED ? s.leaders[0] : s.leaders[1];
    ck_assert_uint_le(ask(&s, ASKED), 20); /* a ping and its answer */
    sim_net_cut(sim_cluster_host(s.cluster, (uint32_t)victim - 1),
                sim_cluster_host(s.cluster, ASKED - 1));
    uint64_t took_ms = ask(&s, ASKED);
    ck_assert_uint_ge(took_ms, 40);
    ck_assert_uint_le(took_ms, 150);
    ck_assert(s.leaders[0] == victim || s.leaders[1] == victim);
    stage_release(&s);
}
END_TEST

static void take_anything(void *arg, const void *response)
{
    struct stage *s = arg;
    const struct kw_metadata_response *rs = response;
    s->answered = true;
    s->denied = rs != NULL && rs->topics[0].partitions_count != PARTITIONS;
    s->created = rs != NULL;
}

/* All are killed and start again: a broker is up before it has replayed what it knew, and is asked
 * all the time by a client that knows the topic. */
START_TEST(metadata__does_not_deny_a_topic_before_it_has_caught_up)
{
    struct stage s;
    for (uint64_t seed = 1; seed <= 5; seed++) {
        stage_init(&s, seed);
        (void)ask(&s, ASKED);
        for (uint32_t i = 0; i < NODES; i++)
            sim_cluster_kill(s.cluster, i, false);
        sim_world_run_for(s.world, 100);
        for (uint32_t i = 0; i < NODES; i++)
            sim_cluster_start(s.cluster, i);
        struct kw_metadata_request rq;
        struct kw_metadata_request_topic topic;
        kw_metadata_request_init(&rq);
        kw_metadata_request_topic_init(&topic);
        topic.name = KW_STR("orders");
        rq.topics = &topic;
        rq.topics_count = 1;
        rq.allow_auto_topic_creation = false;
        s.created = false;
        for (int tries = 0; tries < 1000 && !s.created; tries++) {
            s.answered = false;
            sim_client_call(s.client, ASKED, KW_API_METADATA, &rq, take_anything, &s);
            (void)sim_world_run_until_flag(s.world, &s.answered, 8000);
            ck_assert(!s.denied);
            sim_world_run_for(s.world, 2);
        }
        ck_assert(s.created);
        stage_release(&s);
    }
}
END_TEST

UNIT_MAIN("node_metadata_hold", metadata__does_not_deny_a_topic_before_it_has_caught_up,
          metadata__does_not_name_a_leader_that_died_before_the_question,
          metadata__waits_for_a_silent_leader_only_shortly)
