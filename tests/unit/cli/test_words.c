/* What is wrong with a cluster, in sentences: partitions without a leader name the nodes to start,
 * a missing quorum says what still works. */
#include "broker/cli/internal.h"
#include "tests/unit/unit.h"

enum { PARTITIONS = 24 };

/* Three nodes, as status would have gathered them. */
struct world {
    struct cli_cluster c;
    struct cli_node nodes[3];
    Kvorum__StatusResponse up;
    Kvorum__StatusResponse best;
    Kvorum__StatusPartition partitions[PARTITIONS];
    Kvorum__StatusPartition *list[PARTITIONS];
    int32_t all[3];
};

static void world_init(struct world *w, size_t partitions)
{
    memset(w, 0, sizeof(*w));
    kvorum__status_response__init(&w->up);
    kvorum__status_response__init(&w->best);
    for (int i = 0; i < 3; i++) {
        w->all[i] = i + 1;
        w->nodes[i] =
            (struct cli_node){.id = i + 1, .voter = true, .status = &w->up, .seen_age_ms = -1};
    }
    for (size_t i = 0; i < partitions; i++) {
        Kvorum__StatusPartition *p = w->list[i] = &w->partitions[i];
        kvorum__status_partition__init(p);
        p->topic = i < 8 ? (char *)(uintptr_t) "payments" : (char *)(uintptr_t) "orders";
        p->index = (int32_t)(i < 8 ? i : i - 8);
        p->leader = 1 + (int32_t)(i % 3);
        p->min_isr = 2;
        p->replicas = p->isr = w->all;
        p->n_replicas = p->n_isr = 3;
    }
    w->best.partitions = w->list;
    w->best.n_partitions = partitions;
    w->c = (struct cli_cluster){.nodes = w->nodes,
                                .nodes_count = 3,
                                .best = &w->best,
                                .controller_id = 3,
                                .changes = true,
                                .voters = 3,
                                .voters_up = 3,
                                .nodes_up = 3,
                                .partitions = partitions};
}

static void node_down(struct world *w, int id, int64_t age_ms)
{
    w->nodes[id - 1].status = NULL;
    w->nodes[id - 1].seen_age_ms = age_ms;
    w->c.voters_up--;
    w->c.changes = w->c.voters_up >= 2;
}

static void check(const struct world *w, size_t count, size_t at, const char *expected)
{
    json_t *list = cli_words_problems(&w->c);
    ck_assert_uint_eq(json_array_size(list), count);
    if (count > 0)
        ck_assert_str_eq(json_string_value(json_array_get(list, at)), expected);
    json_decref(list);
}

START_TEST(problems__none)
{
    struct world w;
    world_init(&w, PARTITIONS);
    check(&w, 0, 0, NULL);
}
END_TEST

START_TEST(problems__no_leader)
{
    struct world w;
    world_init(&w, PARTITIONS);
    node_down(&w, 1, 42000);
    for (size_t i = 0; i < PARTITIONS; i++)
        w.partitions[i].leader = 2 + (int32_t)(i % 2);
    int32_t one[] = {1};
    static const int lost[] = {0, 4, 7};
    for (size_t i = 0; i < 3; i++) {
        w.partitions[lost[i]].leader = -1;
        w.partitions[lost[i]].isr = one;
        w.partitions[lost[i]].n_isr = 1;
    }
    check(&w, 1, 0,
          "3 of 24 partitions have no leader: payments-0, payments-4, payments-7. All their "
          "in-sync replicas were on node 1 (down 42 s). Start node 1, or accept data loss: kvorum "
          "leader elect --unclean payments");
}
END_TEST

START_TEST(problems__no_quorum)
{
    struct world w;
    world_init(&w, 0);
    node_down(&w, 1, 5000);
    node_down(&w, 2, 4000);
    w.c.controller_id = -1;
    check(&w, 1, 0,
          "metadata changes are stopped: only 1 of 3 controllers is up (node 3), 2 are needed. "
          "Start node 1 or node 2.");
    world_init(&w, 3);
    node_down(&w, 1, 5000);
    node_down(&w, 2, 4000);
    w.c.controller_id = -1;
    check(&w, 3, 0,
          "metadata changes are stopped: only 1 of 3 controllers is up (node 3), 2 are needed. "
          "Existing partitions led by node 3 still serve reads; writes with acks=all fail because "
          "min.insync.replicas=2. Start node 1 or node 2.");
    check(&w, 3, 1,
          "2 of 3 partitions have no leader: payments-0, payments-1. They were led by nodes 1 and "
          "2 (down 5.0 s). No controller can elect new leaders.");
    check(&w, 3, 2,
          "1 of 3 partitions is below min.insync.replicas: payments-2. Writes with acks=all to "
          "them fail (NOT_ENOUGH_REPLICAS), reads go on. Start node 1 or node 2.");
}
END_TEST

START_TEST(problems__an_election_is_under_way)
{
    struct world w;
    world_init(&w, 0);
    w.c.controller_id = -1;
    w.c.changes = false;
    json_t *list = cli_words_problems(&w.c);
    ck_assert_ptr_nonnull(
        strstr(json_string_value(json_array_get(list, 0)), "no controller is elected"));
    json_decref(list);
}
END_TEST

UNIT_MAIN("cli_words", problems__none, problems__no_leader, problems__no_quorum,
          problems__an_election_is_under_way)
