/* What the demo's cluster says of itself, and how long partitions were away. */
#include <signal.h>
#include <stdlib.h>
#include <time.h>

#include "broker/cli/demo.h"

static void take_leaders(const struct cli_cluster *c, struct demo_view *ret)
{
    for (size_t i = 0; i < c->best->n_partitions; i++) {
        const Kvorum__StatusPartition *p = c->best->partitions[i];
        if (p->topic != NULL && strcmp(p->topic, DEMO_TOPIC) == 0 && p->index >= 0 &&
            p->index < DEMO_PARTITIONS)
            ret->leaders[p->index] = p->leader;
    }
}

void demo_look(const struct demo_nodes *n, struct demo_view *ret)
{
    const struct cli_args args = {.bootstrap = n->bootstrap, .quiet = true};
    struct cli_cluster c = {0};
    *ret = (struct demo_view){.controller = -1};
    for (int p = 0; p < DEMO_PARTITIONS; p++)
        ret->leaders[p] = -1;
    if (cli_cluster_gather(&args, false, &c) == CLI_OK) {
        ret->reached = true;
        ret->controller = c.controller_id;
        take_leaders(&c, ret);
        ret->whole = c.verdict == CLI_HEALTHY && c.nodes_up == DEMO_NODES;
        for (int p = 0; p < DEMO_PARTITIONS; p++)
            ret->whole = ret->whole && ret->leaders[p] >= 0;
    }
    cli_cluster_release(&c);
}

int32_t demo_busiest(const struct demo_view *v)
{
    int32_t best = -1;
    size_t most = 0;
    for (int32_t id = 1; id <= DEMO_NODES; id++) {
        size_t count = 0;
        for (int p = 0; p < DEMO_PARTITIONS; p++)
            count += v->leaders[p] == id;
        if (count > most) {
            most = count;
            best = id;
        }
    }
    return best;
}

size_t demo_ask(struct demo_load *l, const struct demo_view *v, int32_t victim)
{
    size_t count = 0;
    uint64_t now_ms = cli_now_ms();
    for (int p = 0; p < DEMO_PARTITIONS; p++) {
        bool led = v->leaders[p] == victim;
        atomic_store(&l->partitions[p].killed_ms, 0);
        atomic_store(&l->partitions[p].recovered_ms, 0);
        atomic_store(&l->partitions[p].victim, victim);
        atomic_store(&l->partitions[p].killed_ms, led ? now_ms : 0);
        count += led;
    }
    return count;
}

static int by_value(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a;
    uint64_t y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

size_t demo_answers(const struct demo_load *l, uint64_t ms[DEMO_PARTITIONS])
{
    size_t count = 0;
    for (int p = 0; p < DEMO_PARTITIONS; p++) {
        uint64_t killed_ms = atomic_load(&l->partitions[p].killed_ms);
        uint64_t recovered_ms = atomic_load(&l->partitions[p].recovered_ms);
        if (killed_ms != 0 && recovered_ms >= killed_ms)
            ms[count++] = recovered_ms - killed_ms;
    }
    qsort(ms, count, sizeof(ms[0]), by_value);
    return count;
}

uint64_t demo_percentile(const uint64_t *sorted, size_t count, unsigned percent)
{
    if (count == 0)
        return 0;
    size_t rank = (count * percent + 99) / 100;
    return sorted[rank > 0 ? rank - 1 : 0];
}

bool demo_sleep(uint64_t ms)
{
    const struct timespec t = {.tv_sec = (time_t)(ms / 1000),
                               .tv_nsec = (long)(ms % 1000) * 1000000};
    sigset_t signals;
    (void)sigemptyset(&signals);
    (void)sigaddset(&signals, SIGINT);
    (void)sigaddset(&signals, SIGTERM);
    (void)sigaddset(&signals, SIGHUP);
    return sigtimedwait(&signals, NULL, &t) < 0;
}
