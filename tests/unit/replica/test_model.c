/* Three replicas under random crashes with loss of unsynced tails, delays, broken links, elections,
 * damage and a forgetful controller. After each step the invariants of model_check.c hold; then
 * everything heals and the partition must become whole. REP_MODEL_SEEDS=n and REP_MODEL_FIRST=s
 * run more, REP_MODEL_TRACE=1 tells each move. */
#include <stdio.h>
#include <stdlib.h>

#include "proto/base/log.h"
#include "proto/base/mem.h"
#include "tests/unit/replica/model.h"
#include "tests/unit/unit.h"

#define STEPS 6000

static uint64_t setting(const char *name, uint64_t normal)
{
    const char *value = getenv(name);
    return value != NULL ? strtoull(value, NULL, 10) : normal;
}

/* What a run that does not heal looks like. */
static void describe(const struct model *m)
{
    const struct toy_image *im = &m->images[m->n_images - 1];

    printf("images %zu leader %d epoch %d partition epoch %d committed %lld\n", m->n_images,
           im->image.leader, im->image.leader_epoch, im->image.partition_epoch,
           (long long)m->n_committed);
    for (int i = 0; i < MODEL_NODES; i++) {
        const struct model_node *n = &m->nodes[i];
        const struct toy_log *l = &n->toy.log;
        int32_t epoch;
        printf("node %d up %d registered %d fenced %d isr %d elr %d applied %zu damaged %d", i + 1,
               n->up, n->registered, m->brokers[i].fenced, im->replicas[i].in_isr,
               im->replicas[i].in_elr, n->applied, n->damaged);
        if (n->up)
            printf(" %s %s hw %lld", rep_state_name(rep_state(n->toy.rep)),
                   rep_report_name(rep_standing_report(n->toy.rep, &epoch)),
                   (long long)rep_hw(n->toy.rep));
        printf(" log %lld..%lld written %lld durable %lld\n", (long long)l->start,
               (long long)l->end, (long long)l->written, (long long)l->durable);
    }
}

static void run_seeds(bool strong)
{
    uint64_t first = setting("REP_MODEL_FIRST", 1);
    uint64_t count = setting("REP_MODEL_SEEDS", 25);
    size_t elections = 0, joins = 0, truncations = 0, resets = 0, refusals = 0;
    int64_t committed = 0;
    struct model *m = kb_new(struct model);

    for (uint64_t seed = first; seed < first + count; seed++) {
        if (getenv("REP_MODEL_TRACE") != NULL)
            kb_log_set_level(KB_LOG_DEBUG);
        if (getenv("REP_MODEL_FIRST") != NULL)
            fprintf(stderr, "seed %llu %s\n", (unsigned long long)seed, strong ? "strong" : "weak");
        model_init(m, seed, strong);
        for (int i = 0; i < STEPS; i++)
            model_step(m);
        if (!model_heal(m, 2000)) {
            describe(m);
            ck_abort_msg("seed %llu does not heal", (unsigned long long)seed);
        }
        elections += m->elections;
        joins += m->joins;
        truncations += m->truncations;
        resets += m->resets;
        refusals += m->refusals;
        committed += m->n_committed;
        model_free(m);
    }
    kb_free(m);
    printf("elections %zu joins %zu truncations %zu resets %zu refusals %zu committed %lld\n",
           elections, joins, truncations, resets, refusals, (long long)committed);
    if (count >= 25) { /* a run that does nothing proves nothing */
        ck_assert_uint_gt(elections, count);
        ck_assert_uint_gt(joins, count);
        ck_assert_uint_gt(truncations, 0);
        ck_assert_uint_gt(resets, 0);
        ck_assert_uint_gt(refusals, 0);
        ck_assert_int_gt(committed, (int64_t)count * 20);
    }
}

START_TEST(model__strong_topic_keeps_the_invariants)
{
    run_seeds(true);
}
END_TEST

START_TEST(model__weak_topic_keeps_them_under_process_kills)
{
    run_seeds(false);
}
END_TEST

UNIT_MAIN("replica model", model__strong_topic_keeps_the_invariants,
          model__weak_topic_keeps_them_under_process_kills)
