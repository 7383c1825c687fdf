/* kvorum demo --script kill-leader: kills the busiest leader again and again and judges. */
#include <signal.h>
#include <stdlib.h>

#include "broker/cli/demo.h"

enum { POLL_MS = 20, LOOK_MS = 100, STEADY_MS = 300 };

struct round {
    int32_t killed;
    bool controller;
    size_t partitions;
    uint64_t p50_ms;
    uint64_t max_ms;
};

struct script {
    const struct cli_args *args;
    struct demo_nodes *nodes;
    struct demo_load *load;
    struct round *rounds;
    size_t rounds_count;
    uint64_t *samples; /* ms, of all rounds */
    size_t samples_count;
};

/* Something that ends the script: CLI_OK = nothing did. */
static int look_around(struct script *s)
{
    const struct demo_node *dead = demo_nodes_dead(s->nodes);
    if (dead != NULL) {
        demo_node_tell_log(dead);
        return CLI_FAILED;
    }
    if (demo_load_has_died(s->load)) {
        cli_error("the load has failed");
        return CLI_FAILED;
    }
    return CLI_OK;
}

/* All nodes up, all ISRs full, all partitions written. */
static int wait_whole(struct script *s, struct demo_view *ret)
{
    uint64_t until_ms = cli_now_ms() + DEMO_SETTLE_MS;
    for (;;) {
        int r = look_around(s);
        if (r != CLI_OK)
            return r;
        demo_look(s->nodes, ret);
        if (ret->whole && demo_load_is_steady(s->load, STEADY_MS))
            return CLI_OK;
        if (cli_now_ms() > until_ms) {
            cli_error("the cluster is not whole again after %d s", DEMO_SETTLE_MS / 1000);
            return CLI_FAILED;
        }
        if (!demo_sleep(LOOK_MS))
            return CLI_INTERRUPTED;
    }
}

/* Until every partition of the victim was acknowledged by another node. */
static int wait_recovered(struct script *s, size_t partitions)
{
    uint64_t until_ms = cli_now_ms() + DEMO_RECOVER_MS;
    uint64_t ms[DEMO_PARTITIONS];
    while (demo_answers(s->load, ms) < partitions) {
        int r = look_around(s);
        if (r != CLI_OK)
            return r;
        if (cli_now_ms() > until_ms) {
            cli_error("%zu of %zu partitions have not recovered after %d s",
                      partitions - demo_answers(s->load, ms), partitions, DEMO_RECOVER_MS / 1000);
            return CLI_FAILED;
        }
        if (!demo_sleep(POLL_MS))
            return CLI_INTERRUPTED;
    }
    return CLI_OK;
}

static int run_round(struct script *s)
{
    struct demo_view v;
    int r = wait_whole(s, &v);
    if (r != CLI_OK)
        return r;
    int32_t victim = demo_busiest(&v);
    struct demo_node *node = &s->nodes->nodes[victim - 1];
    size_t partitions = demo_ask(s->load, &v, victim);
    demo_node_kill(node);
    r = wait_recovered(s, partitions);
    if (r != CLI_OK)
        return r;
    uint64_t *ms = &s->samples[s->samples_count];
    size_t count = demo_answers(s->load, ms);
    struct round *round = &s->rounds[s->rounds_count++];
    *round = (struct round){.killed = victim,
                            .controller = v.controller == victim,
                            .partitions = partitions,
                            .p50_ms = demo_percentile(ms, count, 50),
                            .max_ms = ms[count - 1]};
    s->samples_count += count;
    if (!s->args->quiet)
        cli_error("round %zu: killed node %d%s, %zu partitions back after %" PRIu64
                  " ms (p50) to %" PRIu64 " ms",
                  s->rounds_count, victim, round->controller ? " (the controller)" : "", partitions,
                  round->p50_ms, round->max_ms);
    demo_node_start(s->nodes, node);
    return CLI_OK;
}

/* Write no more, read the rest. */
static int wait_read(struct script *s)
{
    uint64_t until_ms = cli_now_ms() + DEMO_SETTLE_MS;
    atomic_store(&s->load->stop, true);
    while (atomic_load(&s->load->state) != DEMO_LOAD_DONE) {
        int r = look_around(s);
        if (r != CLI_OK)
            return r;
        if (cli_now_ms() > until_ms) {
            cli_error("not everything was read back after %d s", DEMO_SETTLE_MS / 1000);
            return CLI_FAILED;
        }
        if (!demo_sleep(POLL_MS))
            return CLI_INTERRUPTED;
    }
    return CLI_OK;
}

/* ---- the outcome -------------------------------------------------------------------------------
 */

static int by_value(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a;
    uint64_t y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static json_t *outcome(const struct script *s)
{
    json_t *rounds = json_array();
    size_t n = s->samples_count;
    for (size_t i = 0; i < s->rounds_count; i++) {
        const struct round *r = &s->rounds[i];
        (void)json_array_append_new(rounds, json_pack("{s:i, s:b, s:I, s:{s:I, s:I}}", "killed",
                                                      (int)r->killed, "controller", r->controller,
                                                      "partitions", (json_int_t)r->partitions,
                                                      "failover_ms", "p50", (json_int_t)r->p50_ms,
                                                      "max", (json_int_t)r->max_ms));
    }
    qsort(s->samples, n, sizeof(s->samples[0]), by_value);
    return json_pack("{s:o, s:I, s:I, s:I, s:I, s:{s:I, s:I, s:I, s:I}}", "rounds", rounds,
                     "records_acked", (json_int_t)atomic_load(&s->load->acked), "records_read",
                     (json_int_t)atomic_load(&s->load->read), "lost",
                     (json_int_t)atomic_load(&s->load->lost), "duplicated",
                     (json_int_t)atomic_load(&s->load->duplicated), "failover_ms", "p50",
                     (json_int_t)demo_percentile(s->samples, n, 50), "p99",
                     (json_int_t)demo_percentile(s->samples, n, 99), "max",
                     (json_int_t)demo_percentile(s->samples, n, 100), "samples", (json_int_t)n);
}

static int judge(const struct script *s)
{
    uint64_t lost = atomic_load(&s->load->lost);
    uint64_t duplicated = atomic_load(&s->load->duplicated);
    json_t *o = outcome(s);
    uint64_t max_ms = demo_percentile(s->samples, s->samples_count, 100);
    if (s->args->json)
        cli_json_print(s->args, o);
    else
        (void)fprintf(s->args->out,
                      "%zu rounds: %" PRIu64 " records acknowledged, %" PRIu64 " read, %" PRIu64
                      " lost, %" PRIu64 " duplicated; failover p50 %" PRIu64 " ms, p99 %" PRIu64
                      " ms, max %" PRIu64 " ms\n",
                      s->rounds_count, atomic_load(&s->load->acked), atomic_load(&s->load->read),
                      lost, duplicated, demo_percentile(s->samples, s->samples_count, 50),
                      demo_percentile(s->samples, s->samples_count, 99), max_ms);
    if (!s->args->json)
        json_decref(o);
    if (lost > 0 || duplicated > 0) {
        cli_error("%" PRIu64 " acknowledged records are lost, %" PRIu64 " were read twice", lost,
                  duplicated);
        return CLI_FAILED;
    }
    if (max_ms >= (uint64_t)s->args->max_failover_ms) {
        cli_error("a partition was away for %" PRIu64 " ms, %" PRId64 " are the limit", max_ms,
                  s->args->max_failover_ms);
        return CLI_FAILED;
    }
    return CLI_OK;
}

int demo_script(const struct cli_args *args, struct demo_nodes *n, struct demo_load *l)
{
    size_t count = (size_t)args->rounds;
    struct script s = {.args = args,
                       .nodes = n,
                       .load = l,
                       .rounds = kb_new_array(struct round, count),
                       .samples = kb_new_array(uint64_t, count * DEMO_PARTITIONS)};
    int r = CLI_OK;
    for (size_t i = 0; i < count && r == CLI_OK; i++)
        r = run_round(&s);
    struct demo_view v;
    if (r == CLI_OK)
        r = wait_whole(&s, &v);
    if (r == CLI_OK)
        r = wait_read(&s);
    if (r == CLI_OK)
        r = judge(&s);
    (void)kb_free(s.rounds);
    (void)kb_free(s.samples);
    return r;
}
