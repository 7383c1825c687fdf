/* A node is freed as it stands, in whatever it was doing: under the address sanitizer nothing is
 * left behind and nothing is touched again. */
#include "broker/node/node_internal.h"
#include "tests/sim/sim_solo.h"
#include "tests/unit/node/scenario.h"

enum { STARTS = 60, LIVES = 24 };

/* From the first file call to the broker that runs. */
START_TEST(free__while_it_starts)
{
    for (uint64_t i = 0; i < STARTS; i++) {
        struct sim_solo solo;
        kb_log_set_sink(NULL, NULL, KB_LOG_ERROR);
        sim_solo_init(&solo, i + 1, i % 3 == 0 ? 3 : 1);
        sim_solo_start(&solo);
        sim_world_run_for(solo.world, i);
        sim_solo_kill(&solo);
        sim_solo_start(&solo); /* on what the first life left */
        sim_world_run_for(solo.world, 2 * i);
        sim_solo_release(&solo);
    }
}
END_TEST

static void on_any(void *arg, const void *response)
{
    *(int *)arg += response != NULL;
}

static void ask_join(struct scenario *s, int *answers)
{
    struct kw_join_group_request rq;
    struct kw_join_group_request_protocol protocol;
    kw_join_group_request_init(&rq);
    kw_join_group_request_protocol_init(&protocol);
    rq.group_id = KW_STR("g");
    rq.session_timeout_ms = 10000;
    rq.rebalance_timeout_ms = 10000;
    rq.protocol_type = KW_STR("consumer");
    rq.protocols = &protocol;
    rq.protocols_count = 1;
    protocol.name = KW_STR("range");
    sim_client_set_version(s->second, KW_API_JOIN_GROUP, 3);
    for (int32_t b = 1; b <= 3; b++)
        scenario_ask(s, b, KW_API_JOIN_GROUP, &rq, on_any, answers);
}

static void ask_topics(struct scenario *s, int *answers)
{
    struct kw_create_topics_request rq;
    struct kw_create_topics_request_topic topic;
    struct kw_metadata_request mq;
    struct kw_metadata_request_topic wanted;
    kw_create_topics_request_init(&rq);
    kw_create_topics_request_topic_init(&topic);
    kw_metadata_request_init(&mq);
    kw_metadata_request_topic_init(&wanted);
    rq.timeout_ms = 5000;
    rq.topics = &topic;
    rq.topics_count = 1;
    topic.name = KW_STR("more");
    topic.num_partitions = 3;
    topic.replication_factor = 3;
    mq.topics = &wanted;
    mq.topics_count = 1;
    mq.allow_auto_topic_creation = true;
    wanted.name = KW_STR("on-demand");
    for (int32_t b = 1; b <= 3; b++) {
        scenario_ask(s, b, KW_API_CREATE_TOPICS, &rq, on_any, answers);
        scenario_ask(s, b, KW_API_METADATA, &mq, on_any, answers);
    }
}

static void ask_ids(struct scenario *s, int *answers)
{
    struct kw_init_producer_id_request rq;
    struct kw_find_coordinator_request fq;
    kw_init_producer_id_request_init(&rq);
    kw_find_coordinator_request_init(&fq);
    rq.transactional_id = kw_str_null();
    fq.key = KW_STR("g");
    for (int32_t b = 1; b <= 3; b++) {
        scenario_ask(s, b, KW_API_INIT_PRODUCER_ID, &rq, on_any, answers);
        scenario_ask(s, b, KW_API_FIND_COORDINATOR, &fq, on_any, answers);
    }
}

/* Requests are parked, forwarded or wait for a commit; groups are loaded, topics made. */
START_TEST(free__with_all_that_waits)
{
    for (uint64_t i = 0; i < LIVES; i++) {
        struct scenario s;
        int answers = 0;
        scenario_start(&s, 50 + i);
        if (i % 2 == 1) {
            ask_ids(&s, &answers);
            scenario_run_for(&s, 1500);
        }
        ask_join(&s, &answers);
        ask_topics(&s, &answers);
        if (i % 3 == 2)
            sim_env_freeze(sim_cluster_env(s.cluster, (uint32_t)(i / 3) % 3));
        ask_ids(&s, &answers);
        scenario_run_for(&s, i * i / 3);
        for (uint32_t b = 0; b < 3; b++)
            sim_cluster_kill(s.cluster, b, false);
        scenario_end(&s);
    }
}
END_TEST

UNIT_MAIN("node_ends", free__while_it_starts, free__with_all_that_waits)
