/* A compacted partition: each promise broken once, which the checker must name alone. */
#include "tests/sim/sim_compact_check.h"

#include "tests/unit/unit.h"

#define RETENTION_MS INT64_C(1000)

struct fixture {
    struct sim_checks checks;
    struct sim_compact_check *c;
    int64_t now_ms;
};

static void setup(struct fixture *f)
{
    memset(f, 0, sizeof(*f));
    f->c = sim_compact_check_new(&f->checks, RETENTION_MS);
    f->now_ms = 100000;
}

static void expect(struct fixture *f, int only)
{
    for (int i = 0; i < SIM_CHECK_MAX_; i++) {
        if (i == only)
            ck_assert_msg(f->checks.check[i].failures > 0, "%s not noticed", sim_check_name(i));
        else
            ck_assert_msg(f->checks.check[i].failures == 0, "%s: %s", sim_check_name(i),
                          f->checks.check[i].first);
    }
    f->c = sim_compact_check_free(f->c);
}

struct record {
    int64_t offset;
    const char *key, *value; /* NULL: a tombstone */
    int64_t horizon_ms;
    int64_t sent_ms; /* 0: right now */
};

/* A node has these below bound; a key NULL ends them. */
static void look(struct fixture *f, uint32_t node, int64_t bound, const struct record *r)
{
    sim_compact_check_begin(f->c, node, bound);
    for (; r->key != NULL; r++) {
        struct sim_compact_record c = {.offset = r->offset,
                                       .key = kb_view_str(r->key),
                                       .value = r->value != NULL ? kb_view_str(r->value)
                                                                 : kb_view_of(NULL, 0),
                                       .sent_ms = r->sent_ms != 0 ? r->sent_ms : f->now_ms,
                                       .horizon_ms = r->horizon_ms != 0 ? r->horizon_ms : -1};
        sim_compact_check_record(f->c, &c, f->now_ms);
    }
    sim_compact_check_end(f->c, f->now_ms);
}

static const struct record whole[] = {{0, "a", "1", 0},  {1, "b", "1", 0}, {2, "a", "2", 0},
                                      {3, "b", NULL, 0}, {4, "c", "1", 0}, {0}};

START_TEST(compaction__that_keeps_what_it_must_is_accepted)
{
    struct fixture f;
    setup(&f);
    look(&f, 0, 5, whole);
    look(&f, 1, 3, (struct record[]){{0, "a", "1", 0}, {1, "b", "1", 0}, {2, "a", "2", 0}, {0}});
    f.now_ms += 10;
    int64_t horizon = f.now_ms + RETENTION_MS;
    look(&f, 0, 5,
         (struct record[]){{2, "a", "2", 0}, {3, "b", NULL, horizon}, {4, "c", "1", 0}, {0}});
    f.now_ms = horizon;
    look(&f, 0, 5, (struct record[]){{2, "a", "2", 0}, {4, "c", "1", 0}, {0}});
    look(&f, SIM_COMPACT_READER, 5, (struct record[]){{2, "a", "2", 0}, {4, "c", "1", 0}, {0}});
    /* A high watermark that is behind: the newer value is there. */
    look(&f, 2, 2, (struct record[]){{1, "b", "1", 0}, {2, "a", "2", 0}, {0}});
    sim_compact_check_final(f.c);
    struct sim_compact_counts n = sim_compact_check_counts(f.c);
    ck_assert_uint_eq(n.records, 5);
    ck_assert_uint_eq(n.tombstones, 1);
    expect(&f, -1);
}
END_TEST

START_TEST(compaction__that_drops_a_last_value_is_named)
{
    struct fixture f;
    setup(&f);
    look(&f, 0, 5, whole);
    look(&f, 0, 5, (struct record[]){{2, "a", "2", 0}, {3, "b", NULL, 0}, {0}});
    expect(&f, SIM_CHECK_P17);
    setup(&f); /* acknowledged, and never seen */
    struct sim_compact_record acked = {
        .offset = 0, .key = kb_view_str("a"), .value = kb_view_str("1"), .horizon_ms = -1};
    sim_compact_check_acked(f.c, &acked, f.now_ms);
    look(&f, 0, 1, (struct record[]){{0}});
    expect(&f, SIM_CHECK_P17);
}
END_TEST

START_TEST(compaction__that_brings_something_back_is_named)
{
    struct fixture f;
    setup(&f);
    look(&f, 0, 5, whole); /* an older value */
    look(&f, 0, 5, (struct record[]){{0, "a", "1", 0}, {3, "b", NULL, 0}, {4, "c", "1", 0}, {0}});
    expect(&f, SIM_CHECK_P17);
    setup(&f); /* what was deleted */
    look(&f, 0, 5, whole);
    f.now_ms += 10 * RETENTION_MS;
    look(&f, 0, 5, (struct record[]){{1, "b", "1", 0}, {2, "a", "2", 0}, {4, "c", "1", 0}, {0}});
    expect(&f, SIM_CHECK_P17);
}
END_TEST

START_TEST(compaction__that_changes_offsets_or_bytes_is_named)
{
    struct fixture f;
    setup(&f);
    look(&f, 0, 5, whole);
    look(&f, 0, 5, (struct record[]){{1, "a", "2", 0}, {3, "b", NULL, 0}, {4, "c", "1", 0}, {0}});
    expect(&f, SIM_CHECK_P17);
    setup(&f);
    look(&f, 0, 5, whole);
    look(&f, 1, 5, (struct record[]){{2, "a", "3", 0}, {3, "b", NULL, 0}, {4, "c", "1", 0}, {0}});
    expect(&f, SIM_CHECK_P17);
}
END_TEST

START_TEST(tombstone__that_goes_early_or_never_is_named)
{
    struct fixture f;
    setup(&f);
    look(&f, 0, 5, whole);
    f.now_ms += RETENTION_MS / 2;
    look(&f, 0, 5, (struct record[]){{2, "a", "2", 0}, {4, "c", "1", 0}, {0}});
    expect(&f, SIM_CHECK_P17);
    setup(&f);
    look(&f, 0, 5, whole);
    int64_t horizon = f.now_ms + RETENTION_MS;
    f.now_ms += 10 * RETENTION_MS;
    look(&f, 0, 5,
         (struct record[]){{2, "a", "2", 0}, {3, "b", NULL, horizon}, {4, "c", "1", 0}, {0}});
    ck_assert_uint_eq(sim_compact_check_overdue(f.c, 0), 1);
    sim_compact_check_final(f.c);
    expect(&f, SIM_CHECK_P17);
}
END_TEST

/* Node 2 cleaned it and was down before anybody looked; node 1, looked at since, still has it. */
START_TEST(tombstone__that_one_node_cleaned_unseen_may_go_there)
{
    static const struct record without[] = {{2, "a", "2", 0}, {4, "c", "1", 0}, {0}};
    for (int early = 0; early < 2; early++) {
        struct fixture f;
        setup(&f);
        look(&f, 0, 5, whole);
        f.now_ms += early ? RETENTION_MS / 2 : RETENTION_MS;
        look(&f, 0, 5, whole);
        look(&f, 1, 5, without);
        expect(&f, early ? SIM_CHECK_P17 : -1);
    }
    struct fixture f;
    setup(&f); /* it was seen there */
    look(&f, 0, 5, whole);
    f.now_ms += RETENTION_MS;
    look(&f, 0, 5, whole);
    look(&f, 1, 5, whole);
    sim_compact_check_replaced(f.c, 1);
    f.now_ms += RETENTION_MS / 2;
    look(&f, 1, 5, without);
    expect(&f, SIM_CHECK_P17);
}
END_TEST

/* Seed 4000078: node 0 cleaned it before anybody saw it; node 1, which was away, got it later. */
static void cleaned_unseen(int64_t sent_ms, int64_t gone_ms, int only)
{
    struct fixture f;
    setup(&f);
    int64_t horizon = f.now_ms + RETENTION_MS - 500;
    look(&f, 0, 4, (struct record[]){{2, "a", "2", 0}, {3, "b", NULL, horizon, sent_ms}, {0}});
    f.now_ms = gone_ms;
    look(&f, 1, 4, (struct record[]){{2, "a", "2", 0}, {3, "b", NULL, 0}, {0}});
    look(&f, 0, 4, (struct record[]){{2, "a", "2", 0}, {0}});
    expect(&f, only);
}

START_TEST(tombstone__cleaned_before_it_was_seen_goes_by_its_own_time)
{
    cleaned_unseen(99500, 100500, -1);
    cleaned_unseen(99500, 100300, SIM_CHECK_P17); /* before its horizon */
    cleaned_unseen(99900, 100500, SIM_CHECK_P17); /* the horizon was too early */
}
END_TEST

UNIT_MAIN("sim_compact_check", compaction__that_keeps_what_it_must_is_accepted,
          compaction__that_drops_a_last_value_is_named,
          compaction__that_brings_something_back_is_named,
          compaction__that_changes_offsets_or_bytes_is_named,
          tombstone__that_goes_early_or_never_is_named,
          tombstone__that_one_node_cleaned_unseen_may_go_there,
          tombstone__cleaned_before_it_was_seen_goes_by_its_own_time)
