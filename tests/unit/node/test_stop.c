/* Controlled stops of whole brokers: one after the other, and all at once, when the last ones have
 * nobody left to move their leaders to. */
#include "broker/api/api.h"
#include "proto/base/log.h"
#include "tests/sim/sim_cluster.h"
#include "tests/unit/unit.h"

enum { NODES = 3, STOP_TIMEOUT_MS = 30000 };

struct stage {
    struct sim_world *world;
    struct sim_checks checks;
    struct sim_topics topics;
    struct sim_cluster *cluster;
    bool stopped[NODES];
};

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
    kb_log_set_sink(NULL, NULL, KB_LOG_ERROR);
    *s = (struct stage){.world = sim_world_new(seed), .topics = {.count = 0}};
    struct sim_cluster_options co = {.checks = &s->checks, .topics = &s->topics, .nodes = NODES};
    co.apis = api_table(&co.apis_count);
    s->cluster = sim_cluster_new(s->world, &co);
    ck_assert(sim_world_run_until(s->world, all_run, s, 20000));
}

static void stage_release(struct stage *s)
{
    s->cluster = sim_cluster_free(s->cluster);
    s->world = sim_world_free(s->world);
}

static void on_stopped(void *arg)
{
    *(bool *)arg = true;
}

static bool all_stopped(const struct stage *s)
{
    return s->stopped[0] && s->stopped[1] && s->stopped[2];
}

START_TEST(stop__of_all_at_once_does_not_wait_for_a_quorum)
{
    struct stage s;
    for (uint64_t seed = 1; seed <= 10; seed++) {
        stage_init(&s, seed);
        for (uint32_t i = 0; i < NODES; i++)
            node_stop(sim_cluster_node(s.cluster, i), STOP_TIMEOUT_MS, on_stopped, &s.stopped[i]);
        uint64_t began_us = sim_world_now_us(s.world);
        bool ended[NODES] = {false};
        while (!all_stopped(&s)) {
            sim_world_run_for(s.world, 20);
            ck_assert_uint_le((sim_world_now_us(s.world) - began_us) / 1000, 8000);
            for (uint32_t i = 0; i < NODES; i++) {
                if (s.stopped[i] && !ended[i])
                    sim_cluster_kill(s.cluster, i, false); /* its process ends, as in the server */
                ended[i] = s.stopped[i];
            }
        }
        stage_release(&s);
    }
}
END_TEST

UNIT_MAIN("node_stop", stop__of_all_at_once_does_not_wait_for_a_quorum)
