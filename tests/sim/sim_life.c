#include "tests/sim/sim_life.h"

#include <stdio.h>
#include <stdlib.h>

#include "proto/base/mem.h"
#include "proto/base/prng.h"
#include "proto/kafka/messages.h"
#include "tests/sim/sim_deleter.h"
#include "tests/sim/sim_group_run.h"
#include "tests/sim/sim_keyed.h"

#define CONFIGS_MAX 4
#define RETENTION_TOPIC 1
#define DELETED_MIN 1

struct configs {
    struct kw_create_topics_request_config config[CONFIGS_MAX];
    char values[CONFIGS_MAX][24];
    int32_t count;
};

struct sim_life {
    struct sim_checks *checks;
    const struct sim_topics *topics;
    struct sim_world *world;
    struct sim_cluster *cluster;
    struct sim_client_options client;
    bool retention, by_time;
    uint32_t retained; /* partition */
    uint64_t deletes;  /* partitions whose records are deleted, as a mask */
    struct configs configs[8];
    struct sim_start_check *starts;
    struct sim_deleter *deleter;
    bool compacts;
    uint64_t keyed_seed;
    struct sim_keyed *keyed; /* NULL: a run without */
};

/* ---- the plan ---- */

static void set(struct sim_life *l, uint32_t topic, const char *name, uint64_t value)
{
    struct configs *c = &l->configs[topic];
    (void)snprintf(c->values[c->count], sizeof(c->values[0]), "%llu", (unsigned long long)value);
    c->config[c->count].name = kw_str_of(name);
    c->config[c->count].value = kw_str_of(c->values[c->count]);
    c->count++;
}

static void plan_retention(struct sim_life *l, struct kb_prng *prng)
{
    int64_t ms = -1, bytes = -1;
    uint32_t last = sim_topics_partitions(l->topics) - 1; /* of the last topic, which has one */
    l->retention = true;
    l->retained = last;
    set(l, RETENTION_TOPIC, "segment.ms", kb_prng_range(prng, 500, 2500));
    if (kb_prng_range(prng, 0, 2) != 0) {
        l->by_time = true;
        ms = (int64_t)kb_prng_range(prng, 5000, 9000);
        set(l, RETENTION_TOPIC, "retention.ms", (uint64_t)ms);
    }
    if (!l->by_time || kb_prng_range(prng, 0, 2) == 0) {
        bytes = (int64_t)kb_prng_range(prng, 10000, 60000);
        set(l, RETENTION_TOPIC, "retention.bytes", (uint64_t)bytes);
    }
    sim_start_check_retention(l->starts, last, ms, bytes);
}

/* Chance of its own: what else a seed has stays as it is. */
static void plan(struct sim_life *l, uint64_t seed)
{
    struct kb_prng prng;
    kb_prng_init(&prng, seed ^ UINT64_C(0x6c696665));
    uint64_t kind = kb_prng_range(&prng, 0, 5);
    l->compacts = kb_prng_range(&prng, 0, 2) == 0;
    l->keyed_seed = kb_prng_next(&prng);
    if (sim_groups_wanted(seed) || kind < 2)
        return;
    l->starts = sim_start_check_new(l->checks, sim_topics_partitions(l->topics));
    if (kind != 3)
        l->deletes = kb_prng_range(&prng, 1, (UINT64_C(1) << sim_topics_partitions(l->topics)) - 1);
    if (kind == 3 || kind == 4)
        plan_retention(l, &prng);
    if (kb_prng_range(&prng, 0, 1) == 0)
        set(l, 0, "segment.ms", kb_prng_range(&prng, 800, 4000));
}

struct sim_life *sim_life_new(uint64_t seed, struct sim_checks *checks,
                              const struct sim_topics *topics)
{
    struct sim_life *l = kb_new(struct sim_life);
    l->checks = checks;
    l->topics = topics;
    plan(l, seed);
    return l;
}

struct sim_life *sim_life_free(struct sim_life *l)
{
    if (l == NULL)
        return NULL;
    l->starts = sim_start_check_free(l->starts);
    l->keyed = sim_keyed_free(l->keyed);
    free(l);
    return NULL;
}

struct sim_start_check *sim_life_starts(const struct sim_life *l)
{
    return l->starts;
}

bool sim_life_right_clocks(const struct sim_life *l)
{
    return l->retention || l->compacts;
}

struct kw_create_topics_request_config *sim_life_configs(struct sim_life *l, uint32_t t,
                                                         int32_t *ret_count)
{
    *ret_count = l->configs[t].count;
    return l->configs[t].count > 0 ? l->configs[t].config : NULL;
}

/* ---- at work ---- */

void sim_life_begin(struct sim_life *l, struct sim_world *w, struct sim_cluster *c,
                    const struct sim_client_options *client)
{
    l->world = w;
    l->cluster = c;
    l->client = *client;
    struct sim_keyed_options o = {
        .client = *client, .checks = l->checks, .world = w, .cluster = c, .seed = l->keyed_seed};
    if (l->compacts)
        l->keyed = sim_keyed_new(&o);
}

bool sim_life_prepare(struct sim_life *l)
{
    return l->keyed == NULL || sim_keyed_prepare(l->keyed);
}

static int64_t high_watermark(void *arg, uint32_t partition)
{
    return sim_cluster_high_watermark(((struct sim_life *)arg)->cluster, partition);
}

static int32_t newest_epoch(void *arg, uint32_t partition)
{
    return sim_cluster_newest_epoch(((struct sim_life *)arg)->cluster, partition);
}

static void deleted(void *arg, uint32_t partition)
{
    sim_cluster_check_durable_starts(((struct sim_life *)arg)->cluster, partition);
}

void sim_life_start(struct sim_life *l)
{
    struct sim_deleter_options o = {.client = l->client,
                                    .starts = l->starts,
                                    .partitions = l->deletes,
                                    .high_watermark = high_watermark,
                                    .newest_epoch = newest_epoch,
                                    .deleted = deleted,
                                    .arg = l};
    if (l->deletes != 0)
        l->deleter = sim_deleter_new(sim_env_kb(sim_world_add_env(l->world, "deleter")), &o);
    if (l->keyed != NULL)
        sim_keyed_start(l->keyed);
}

void sim_life_look(struct sim_life *l)
{
    if (l->keyed != NULL)
        sim_keyed_look(l->keyed);
}

void sim_life_heal(struct sim_life *l)
{
    if (l->deleter != NULL)
        sim_deleter_stop(l->deleter);
}

bool sim_life_did_enough(const struct sim_life *l)
{
    return l->deletes == 0 || sim_start_check_counts(l->starts).deleted >= DELETED_MIN;
}

void sim_life_judge(struct sim_life *l)
{
    if (l->keyed != NULL)
        sim_keyed_judge(l->keyed);
    if (l->starts == NULL)
        return;
    struct sim_start_counts c = sim_start_check_counts(l->starts);
    sim_world_note(l->world,
                   "life: %llu deleted, %llu refused, %llu unknown, %llu starts moved by retention",
                   (unsigned long long)c.deleted, (unsigned long long)c.refused,
                   (unsigned long long)c.unknown, (unsigned long long)c.moved);
    sim_check(l->checks, SIM_CHECK_RUN, l->deletes == 0 || c.deleted >= DELETED_MIN,
              "only %llu DeleteRecords succeeded", (unsigned long long)c.deleted);
    sim_check(l->checks, SIM_CHECK_RUN,
              !l->by_time || (l->deletes >> l->retained & 1) != 0 || c.moved > 0,
              "retention deleted nothing");
}

void sim_life_end(struct sim_life *l)
{
    l->deleter = sim_deleter_free(l->deleter);
    if (l->keyed != NULL)
        sim_keyed_end(l->keyed);
}
