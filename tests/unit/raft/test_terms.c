/* Runs of terms against a slow twin: one term per index in a plain array. */
#include "coordinator/raft/terms.h"
#include "proto/base/prng.h"
#include "tests/unit/unit.h"

#define INDEXES_MAX 400

struct twin {
    uint64_t base;
    uint64_t last;
    uint64_t terms[INDEXES_MAX]; /* [index] */
};

static uint64_t twin_at(const struct twin *w, uint64_t index)
{
    return index < w->base || index > w->last ? 0 : w->terms[index];
}

static struct raft_position twin_meet(const struct twin *w, uint64_t index, uint64_t term)
{
    if (index > w->last)
        index = w->last;
    for (uint64_t i = index + 1; i-- > w->base;)
        if (w->terms[i] <= term)
            return (struct raft_position){i, w->terms[i]};
    return (struct raft_position){0, 0};
}

static void compare(const struct raft_terms *t, const struct twin *w, struct kb_prng *prng)
{
    ck_assert_uint_eq(t->last_index, w->last);
    for (uint64_t i = 0; i < w->last + 3; i++)
        ck_assert_uint_eq(raft_terms_at(t, i), twin_at(w, i));
    for (int i = 0; i < 10; i++) {
        uint64_t index = kb_prng_below(prng, w->last + 5);
        uint64_t term = kb_prng_below(prng, 30);
        struct raft_position a = raft_terms_meet(t, index, term);
        struct raft_position b = index < w->base ? (struct raft_position){0, 0}
                                                 : twin_meet(w, index, term);
        ck_assert_uint_eq(a.index, b.index);
        ck_assert_uint_eq(a.term, b.term);
    }
}

static void extend_both(struct raft_terms *t, struct twin *w, struct kb_prng *prng)
{
    uint64_t term = w->terms[w->last] + (kb_prng_below(prng, 3) == 0);
    uint64_t last = w->last + kb_prng_range(prng, 1, 5);
    if (last >= INDEXES_MAX)
        return;
    if (term == 0)
        term = 1;
    raft_terms_extend(t, last, term);
    while (w->last < last)
        w->terms[++w->last] = term;
}

START_TEST(terms__are_those_of_the_slow_twin)
{
    for (uint64_t seed = 1; seed <= 60; seed++) {
        struct kb_prng prng;
        struct raft_terms t = {0};
        struct twin w = {0};
        kb_prng_init(&prng, seed);
        for (int i = 0; i < 120; i++) {
            uint64_t what = kb_prng_below(&prng, 10);
            uint64_t at = w.base + kb_prng_below(&prng, w.last - w.base + 1);
            if (what == 0) {
                raft_terms_truncate(&t, at);
                w.last = at;
            } else if (what == 1) {
                raft_terms_prune(&t, (struct raft_position){at, w.terms[at]});
                w.base = at;
            } else if (what == 2 && w.last + 20 < INDEXES_MAX) {
                struct raft_position base = {w.last + 10, w.terms[w.last] + 1};
                raft_terms_reset(&t, base);
                w.base = base.index;
                w.last = base.index;
                w.terms[base.index] = base.term;
            } else {
                extend_both(&t, &w, &prng);
            }
            compare(&t, &w, &prng);
        }
        raft_terms_release(&t);
    }
}
END_TEST

START_TEST(terms__of_an_empty_log_meet_at_nothing)
{
    struct raft_terms t = {0};
    struct raft_position p = raft_terms_meet(&t, 7, 3);
    ck_assert_uint_eq(p.index, 0);
    ck_assert_uint_eq(raft_terms_at(&t, 0), 0);
    ck_assert_uint_eq(raft_terms_last(&t).index, 0);
    raft_terms_release(&t);
}
END_TEST

UNIT_MAIN("raft_terms", terms__are_those_of_the_slow_twin, terms__of_an_empty_log_meet_at_nothing)
