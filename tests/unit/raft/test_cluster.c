/* Clusters of three and five in bad weather, from seeds: loss, delay, repetition, overtaking, kills
 * with and without loss of what was not synced, stops, cuts one-way and non-transitive, snapshots.
 * R1-R11 are judged after every step by the toy cluster; then the weather clears and R14 asks for a
 * leader, a commit and equal logs. `test_raft_cluster FIRST COUNT` runs other seeds. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "proto/base/log.h"
#include "tests/unit/raft/toy.h"
#include "tests/unit/unit.h"

#define TEN_ELECTIONS_MS 13000

static void random_cut(struct toy *t)
{
    int a = (int)kb_prng_below(&t->prng, (uint64_t)t->n_nodes);
    int b = (int)kb_prng_below(&t->prng, (uint64_t)t->n_nodes);
    if (a == b)
        return;
    toy_cut(t, a, b);
    if (kb_prng_below(&t->prng, 2) == 0)
        toy_cut(t, b, a);
}

static void random_links(struct toy *t)
{
    int a = (int)kb_prng_below(&t->prng, (uint64_t)t->n_nodes);
    int b = (int)kb_prng_below(&t->prng, (uint64_t)t->n_nodes);
    if (a == b)
        return;
    if (t->links[a][b].number == 0)
        toy_open_link(t, a, b);
    else
        toy_close_link(t, a, b,
                       kb_prng_below(&t->prng, 2) == 0 ? RAFT_LINK_CLOSED : RAFT_LINK_ACCEPTED);
}

static void random_kill(struct toy *t)
{
    int n = (int)kb_prng_below(&t->prng, (uint64_t)t->n_nodes);
    if (t->nodes[n].alive)
        toy_kill(t, n, kb_prng_below(&t->prng, 3) > 0);
    else
        toy_start(t, n);
}

static void random_disk(struct toy *t)
{
    struct toy_node *node = &t->nodes[kb_prng_below(&t->prng, (uint64_t)t->n_nodes)];
    node->disk_ms_max = kb_prng_below(&t->prng, 4) == 0 ? 400 : 4;
}

/* One voter more or less, at whoever leads (5.7). */
static void random_membership(struct toy *t)
{
    int leader = toy_leader(t);
    if (leader < 0 || t->now_ms < t->nodes[leader].asleep_until_ms)
        return;
    struct raft_status s;
    raft_core_status(t->nodes[leader].core, &s);
    struct raft_voters next = s.voters;
    next.index = 0;
    int n = (int)kb_prng_below(&t->prng, (uint64_t)t->n_nodes);
    size_t at = 0;
    while (at < next.count && !raft_node_equal(next.nodes[at], t->nodes[n].self))
        at++;
    if (at == next.count)
        next.nodes[next.count++] = t->nodes[n].self;
    else if (next.count > 2)
        next.nodes[at] = next.nodes[--next.count];
    (void)toy_propose_voters(t, leader, &next);
}

/* One disk at a time is harmed, and the next one only when a leader has healed the last (5.5). */
static void random_harm(struct toy *t)
{
    int n = (int)kb_prng_below(&t->prng, (uint64_t)t->n_nodes);
    for (int i = 0; i < t->n_nodes; i++) {
        const struct toy_node *node = &t->nodes[i];
        struct raft_status s = {0};
        if (node->alive)
            raft_core_status(node->core, &s);
        if (s.barred || node->disk.hard.barred || node->vote_damaged ||
            node->log_state == RAFT_LOG_DAMAGED)
            return;
    }
    if (t->nodes[n].alive)
        return;
    if (kb_prng_below(&t->prng, 2) == 0)
        toy_damage_log(t, n, kb_prng_range(&t->prng, 1, 20));
    else
        toy_damage_vote(t, n);
}

static void random_work(struct toy *t)
{
    int n = (int)kb_prng_below(&t->prng, (uint64_t)t->n_nodes);
    if (!t->nodes[n].alive || t->now_ms < t->nodes[n].asleep_until_ms)
        return;
    uint64_t what = kb_prng_below(&t->prng, 40);
    if (what == 0)
        toy_take_snapshot(t, n);
    else if (what == 1)
        (void)toy_step(t, n, (struct raft_input){.kind = RAFT_IN_TRANSFER, .node.id = RAFT_NOBODY});
    else if (what == 2)
        (void)toy_step(t, n, (struct raft_input){.kind = RAFT_IN_CONFIRM});
    else if (what == 3 && t->seed % 4 == 1)
        random_membership(t);
    else
        (void)toy_propose(t, n, (uint32_t)kb_prng_range(&t->prng, 1, 4), 1000);
}

static void random_stop(struct toy *t)
{
    int n = (int)kb_prng_below(&t->prng, (uint64_t)t->n_nodes);
    if (t->nodes[n].alive && t->now_ms >= t->nodes[n].asleep_until_ms)
        toy_sleep(t, n, kb_prng_range(&t->prng, 10, 2500));
}

static void weather(struct toy *t)
{
    switch (kb_prng_below(&t->prng, 12)) {
    case 0:
    case 1:
        random_cut(t);
        break;
    case 2:
    case 10:
        toy_heal(t);
        break;
    case 3:
        random_links(t);
        break;
    case 4:
    case 5:
        random_kill(t);
        if (t->seed % 4 == 2)
            random_harm(t);
        break;
    case 6:
        random_disk(t);
        break;
    case 7:
        random_stop(t);
        break;
    case 8:
        t->loss_per_mille = (uint32_t)kb_prng_below(&t->prng, 300);
        t->twice_per_mille = (uint32_t)kb_prng_below(&t->prng, 200);
        break;
    case 9:
        t->delay_ms_max = kb_prng_range(&t->prng, 1, 120);
        break;
    default:
        t->loss_per_mille = 0;
        break;
    }
}

/* R14: a leader and a committed write, within ten election timeouts; R4 and R6 over all. */
static void clear_weather(struct toy *t)
{
    t->loss_per_mille = 0;
    t->twice_per_mille = 0;
    t->delay_ms_max = 2;
    for (int n = 0; n < t->n_nodes; n++) {
        t->nodes[n].disk_ms_max = 2;
        if (!t->nodes[n].alive)
            toy_start(t, n);
    }
    toy_heal(t);
    toy_run(t, 2600); /* the longest stop is over */
    int leader = toy_run_to_leader(t, TEN_ELECTIONS_MS);
    if (leader < 0)
        toy_fail(t, "R14: nobody leads %d ms after the weather cleared", TEN_ELECTIONS_MS);
    int r = toy_propose(t, leader, 1, 1000);
    toy_run(t, 3000);
    leader = toy_leader(t);
    if (leader < 0 || (r != RAFT_OK && r != RAFT_BUSY))
        toy_fail(t, "R14: no committed write, %s", raft_answer_name((enum raft_answer)r));
    for (int n = 0; n < t->n_nodes; n++) {
        const struct toy_node *node = &t->nodes[n];
        if (node->log.base.index == 0 && node->log.count == 0)
            continue; /* removed before it heard of anything */
        if (node->applied_index != t->nodes[leader].applied_index ||
            node->digest != t->nodes[leader].digest)
            toy_fail(t, "R14: n%d stands at %" PRIu64 ", the leader n%d at %" PRIu64, n + 1,
                     node->applied_index, leader + 1, t->nodes[leader].applied_index);
    }
}

static void run_seed(uint64_t seed, void (*tell)(void *, const char *))
{
    struct toy t;
    int n_voters = seed % 3 == 0 ? 5 : 3;
    toy_init(&t, seed, n_voters + (seed % 5 == 0), n_voters);
    t.tell = tell;
    t.tell_messages = tell != NULL;
    t.delay_ms_max = kb_prng_range(&t.prng, 1, 30);
    for (int n = 0; n < t.n_nodes; n++)
        toy_start(&t, n);
    uint64_t calm = kb_prng_range(&t.prng, 2, 30);
    for (int i = 0; i < 800; i++) {
        toy_run(&t, kb_prng_range(&t.prng, 1, 100));
        for (uint64_t work = kb_prng_below(&t.prng, 4); work > 0; work--)
            random_work(&t);
        if (kb_prng_below(&t.prng, calm) == 0)
            weather(&t);
    }
    clear_weather(&t);
    if (tell != NULL)
        printf("seed %" PRIu64 ": %" PRIu64 " steps, %zu entries committed, %" PRIu64 " leaders\n",
               seed, t.steps, t.n_committed, t.leader_changes);
    toy_release(&t);
}

START_TEST(cluster__keeps_its_invariants_in_any_weather)
{
    for (uint64_t seed = 1; seed <= 150; seed++)
        run_seed(seed, NULL);
}
END_TEST

/* Harmed disks are loud on purpose. */
static void swallow(void *arg, enum kb_log_level level, const char *component, const char *text)
{
}

static void tell(void *arg, const char *line)
{
    printf("%s\n", line);
}

int main(int argc, char **argv)
{
    kb_log_set_sink(swallow, NULL, KB_LOG_ERROR);
    if (argc > 1) {
        uint64_t first = strtoull(argv[1], NULL, 10);
        uint64_t count = argc > 2 ? strtoull(argv[2], NULL, 10) : 1;
        for (uint64_t seed = first; seed < first + count; seed++)
            run_seed(seed, argc > 2 ? NULL : tell);
        return 0;
    }
    Suite *suite = suite_create("raft_cluster");
    TCase *tcase = tcase_create("raft_cluster");
    tcase_set_timeout(tcase, 120);
    tcase_add_test(tcase, cluster__keeps_its_invariants_in_any_weather);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
