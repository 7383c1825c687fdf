/* Consumers join, sync, beat, commit, crash, leave and come back at random, and coordinators take
 * over from each other. Judged all along: the log replays to the live state, also compacted (G11);
 * generations never fall (G3); in one generation nobody shares an assignment (G4); stale callers
 * are refused (G5); everybody has what the leader sent (G6); a member that beats stays, one that is
 * silent goes (G7); a committed offset is fetched (G1). */
#include <stdio.h>

#include "proto/base/log.h"
#include "proto/base/prng.h"
#include "tests/unit/groups/toy.h"
#include "tests/unit/unit.h"

enum { CLIENTS = 6, STEPS = 400, SEEDS = 40 };

struct world {
    struct toy toy;
    struct kb_prng prng;
    struct toy_client *clients[CLIENTS];
    bool synced[CLIENTS]; /* holds an assignment of its generation */
    int32_t generation_max;
    int64_t committed[3];
    uint64_t stable_count;
};

static size_t index_of(struct world *w, const struct toy_client *c)
{
    size_t i = 0;
    while (w->clients[i] != c)
        i++;
    return i;
}

static void answered(void *arg, struct toy_client *c, enum group_reply_kind kind)
{
    struct world *w = arg;
    size_t me = index_of(w, c);
    w->synced[me] = false;
    if (c->error == KW_UNKNOWN_MEMBER_ID && c->instance[0] == '\0')
        c->member[0] = '\0';
    if (c->error == KW_UNKNOWN_MEMBER_ID || c->error == KW_FENCED_INSTANCE_ID)
        c->member[0] = '\0';
    if (c->error != KW_NONE)
        return;
    if (kind == GROUP_REPLY_JOIN) {
        ck_assert_int_ge(c->generation, w->generation_max);
        w->generation_max = c->generation;
        return;
    }
    w->synced[me] = true;
    w->stable_count++;
    for (size_t i = 0; i < CLIENTS; i++) {
        if (i == me || !w->synced[i] || w->clients[i]->generation != c->generation ||
            c->assignment[0] == '\0')
            continue;
        if (strcmp(w->clients[i]->member, c->member) != 0)
            ck_assert_str_ne(w->clients[i]->assignment, c->assignment);
    }
}

static void heartbeat(struct world *w, struct toy_client *c)
{
    enum kw_error e = toy_heartbeat(&w->toy, c);
    if (c->generation < w->generation_max)
        ck_assert_int_ne(e, KW_NONE);
    if (e == KW_UNKNOWN_MEMBER_ID || e == KW_FENCED_INSTANCE_ID)
        c->member[0] = '\0';
    if (e != KW_NONE)
        c->error = e;
}

static void commit(struct world *w, struct toy_client *c)
{
    int32_t partition = (int32_t)kb_prng_below(&w->prng, 3);
    int64_t offset = (int64_t)kb_prng_below(&w->prng, 1000);
    enum kw_error e = toy_commit(&w->toy, c, "t", partition, offset, "");
    if (c->generation >= 0 && c->generation < w->generation_max)
        ck_assert_int_ne(e, KW_NONE);
    if (e == KW_NONE)
        w->committed[partition] = offset;
    for (int32_t i = 0; i < 3; i++)
        ck_assert_int_eq(toy_fetch(&w->toy, "g", "t", i), w->committed[i]);
}

/* What a client does next on its way into the group. */
static void proceed(struct world *w, struct toy_client *c)
{
    bool in = c->error == KW_NONE && c->generation == w->generation_max && c->member[0] != '\0';
    if (c->waiting != 0)
        return;
    if (in && !w->synced[index_of(w, c)])
        toy_sync(&w->toy, c, NULL);
    else if (in)
        heartbeat(w, c);
    else
        toy_join(&w->toy, c);
}

static void step(struct world *w)
{
    struct toy_client *c = w->clients[kb_prng_below(&w->prng, CLIENTS)];
    uint64_t dice = kb_prng_below(&w->prng, 100);
    if (dice < 55) {
        proceed(w, c);
    } else if (dice < 65 && c->waiting == 0) {
        commit(w, c);
    } else if (dice < 69) {
        toy_crash(&w->toy, c);
        w->synced[index_of(w, c)] = false;
        if (kb_prng_below(&w->prng, 2) == 0)
            c->member[0] = '\0';
        c->error = KW_UNKNOWN_MEMBER_ID;
    } else if (dice < 72 && c->waiting == 0) {
        (void)toy_leave(&w->toy, c);
        w->synced[index_of(w, c)] = false;
        c->member[0] = '\0';
        c->error = KW_UNKNOWN_MEMBER_ID;
    } else if (dice < 73) {
        toy_take_over(&w->toy);
    } else if (dice < 74) {
        toy_compact(&w->toy);
    } else if (dice < 75) {
        (void)snprintf(c->protocols, sizeof(c->protocols), "range:%d",
                       (int)kb_prng_below(&w->prng, 9));
        c->error = KW_REBALANCE_IN_PROGRESS;
    } else {
        toy_wait(&w->toy, kb_prng_below(&w->prng, dice < 77 ? 12000 : 300));
    }
    toy_judge(&w->toy);
}

/* Everybody behaves for a while: the group must become stable with all of them. */
static void calm_down(struct world *w)
{
    bool all = false;
    for (int round = 0; round < 400 && !all; round++) {
        all = true;
        for (size_t i = 0; i < CLIENTS; i++) {
            proceed(w, w->clients[i]);
            all = all && w->synced[i] && w->clients[i]->error == KW_NONE &&
                  w->clients[i]->generation == w->generation_max;
        }
        toy_wait(&w->toy, 500);
    }
    ck_assert(all);
}

static void play(uint64_t seed)
{
    struct world *w = kb_new(struct world);
    char name[8];
    toy_init(&w->toy);
    w->toy.answered = answered;
    w->toy.arg = w;
    kb_prng_init(&w->prng, seed);
    for (size_t i = 0; i < 3; i++)
        w->committed[i] = -1;
    for (size_t i = 0; i < CLIENTS; i++) {
        (void)snprintf(name, sizeof(name), "c%zu", i);
        w->clients[i] = toy_client(&w->toy, name);
        w->clients[i]->version = (int16_t)(i == 2 ? 3 : 9);
        if (i >= 4)
            (void)snprintf(w->clients[i]->instance, sizeof(w->clients[i]->instance), "i%zu", i);
    }
    for (int i = 0; i < STEPS; i++)
        step(w);
    calm_down(w);
    ck_assert_uint_gt(w->stable_count, 0);
    toy_judge(&w->toy);
    toy_release(&w->toy);
    (void)kb_free(w);
}

START_TEST(group__random_members_keep_the_rules)
{
    kb_log_set_level(KB_LOG_ERROR);
    play((uint64_t)_i + 1);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("groups_random");
    TCase *tcase = tcase_create("groups_random");
    tcase_set_timeout(tcase, 60);
    tcase_add_loop_test(tcase, group__random_members_keep_the_rules, 0, SEEDS);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
