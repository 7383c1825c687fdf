/* The offsets of groups, with one promise broken at a time: the checker must name that promise, and
 * no other. */
#include "tests/sim/sim_group_offsets.h"

#include "proto/kafka/messages.h"
#include "tests/unit/unit.h"

static const struct sim_topics topics = {.topic = {{"t", 2}}, .count = 1};
static const char *const groups[] = {"g", "h"};

struct fixture {
    struct sim_checks checks;
    struct sim_group_offsets *o;
    int64_t ends[2];
    uint64_t now_us;
};

static void setup_keeping(struct fixture *f, uint64_t retention_ms)
{
    struct sim_group_offsets_options options = {.checks = &f->checks,
                                                .retention_ms = retention_ms,
                                                .topics = &topics,
                                                .groups = groups,
                                                .group_count = 2,
                                                .consuming = 1};
    memset(f, 0, sizeof(*f));
    f->o = sim_group_offsets_new(&options);
    f->now_us = 1000;
}

static void setup(struct fixture *f)
{
    setup_keeping(f, 0);
}

static void expect(struct fixture *f, int only)
{
    sim_group_offsets_judge(f->o, f->ends);
    for (int i = 0; i < SIM_CHECK_MAX_; i++) {
        if (i == only)
            ck_assert_uint_gt(f->checks.check[i].failures, 0);
        else
            ck_assert_msg(f->checks.check[i].failures == 0, "%s: %s", sim_check_name(i),
                          f->checks.check[i].first);
    }
    f->o = sim_group_offsets_free(f->o);
}

/* Of group g in partition 1. */
static uint64_t commit(struct fixture *f, int32_t generation, int64_t offset,
                       enum sim_commit_outcome outcome)
{
    uint64_t id = sim_group_offsets_commit(f->o, 0, 1, generation, offset, f->now_us);
    f->now_us += 10;
    if (outcome != SIM_COMMIT_OPEN)
        sim_group_offsets_done(f->o, id, outcome, f->now_us);
    f->now_us += 10;
    return id;
}

static void fetch(struct fixture *f, int64_t offset, uint64_t id)
{
    char text[24];
    sim_group_offsets_text(id, text);
    sim_group_offsets_fetched(f->o, 0, 1, offset, kb_view_str(text), f->now_us);
    f->now_us += 10;
}

/* ---- records as the broker writes them ---- */

static struct kb_buf finish(struct kw_writer *w, struct kb_chain *chain)
{
    struct kb_buf b = {0};
    ck_assert_int_eq(kw_writer_finish(w), 0);
    for (size_t i = 0; i < chain->count; i++)
        kb_buf_append(&b, chain->slices[i].block->data + chain->slices[i].position,
                      chain->slices[i].size);
    kb_chain_release(chain);
    return b;
}

typedef void record_fn(struct sim_group_offsets *o, uint32_t node, int64_t offset,
                       struct kb_view key, struct kb_view value);

static void put(struct fixture *f, record_fn *fn, uint32_t node, int64_t at, struct kb_buf key,
                struct kb_buf *value)
{
    struct kb_view v = {NULL, 0};
    if (value != NULL)
        v = kb_view_of(value->data, value->size);
    fn(f->o, node, at, kb_view_of(key.data, key.size), v);
    kb_buf_release(&key);
    if (value != NULL)
        kb_buf_release(value);
}

static struct kb_buf offset_key(void)
{
    struct kw_offset_commit_key k = {.group = KW_STR("g"), .topic = KW_STR("t"), .partition = 1};
    struct kb_chain chain = {0};
    struct kw_writer w;
    kw_writer_init(&w, &chain);
    kw_put_int16(&w, 1);
    kw_offset_commit_key_write(&w, 0, &k);
    return finish(&w, &chain);
}

static void put_offset(struct fixture *f, record_fn *fn, uint32_t node, int64_t at, uint64_t id,
                       int64_t offset)
{
    struct kw_offset_commit_value v;
    struct kb_chain chain = {0};
    struct kw_writer w;
    char text[24];
    sim_group_offsets_text(id, text);
    kw_offset_commit_value_init(&v);
    v.offset = offset;
    v.metadata = kw_str_of(text);
    kw_writer_init(&w, &chain);
    kw_put_int16(&w, 3);
    kw_offset_commit_value_write(&w, 3, &v);
    struct kb_buf value = finish(&w, &chain);
    put(f, fn, node, at, offset_key(), &value);
}

static struct kb_buf metadata_key(void)
{
    struct kw_group_metadata_key k = {.group = KW_STR("g")};
    struct kb_chain chain = {0};
    struct kw_writer w;
    kw_writer_init(&w, &chain);
    kw_put_int16(&w, 2);
    kw_group_metadata_key_write(&w, 0, &k);
    return finish(&w, &chain);
}

static int32_t group_members; /* of the next record about the group */

static void put_metadata(struct fixture *f, record_fn *fn, uint32_t node, int64_t at,
                         int32_t generation)
{
    struct kw_group_metadata_value v;
    struct kw_group_metadata_value_member members[1] = {{.member_id = KW_STR("m")}};
    struct kb_chain chain = {0};
    struct kw_writer w;
    kw_group_metadata_value_init(&v);
    v.protocol_type = KW_STR("consumer");
    v.generation = generation;
    v.protocol = v.leader = kw_str_null();
    v.members = members;
    v.members_count = group_members;
    kw_writer_init(&w, &chain);
    kw_put_int16(&w, 3);
    kw_group_metadata_value_write(&w, 3, &v);
    struct kb_buf value = finish(&w, &chain);
    put(f, fn, node, at, metadata_key(), &value);
}

static void put_generation(struct fixture *f, int64_t at, int32_t generation)
{
    put_metadata(f, sim_group_offsets_record, 0, at, generation);
}

static void record(struct fixture *f, int64_t at, uint64_t id, int64_t offset)
{
    put_offset(f, sim_group_offsets_record, 0, at, id, offset);
}

START_TEST(offsets__in_order_are_accepted)
{
    struct fixture f;
    setup(&f);
    fetch(&f, -1, 0);
    put_generation(&f, 0, 1);
    uint64_t a = commit(&f, 1, 5, SIM_COMMIT_OK);
    fetch(&f, 5, a);
    uint64_t b = commit(&f, 1, 7, SIM_COMMIT_OPEN); /* its answer was lost */
    uint64_t c = commit(&f, 1, 6, SIM_COMMIT_OK);
    (void)commit(&f, 0, 9, SIM_COMMIT_STALE);
    record(&f, 1, a, 5);
    record(&f, 2, c, 6);
    record(&f, 3, b, 7); /* it came late */
    put_generation(&f, 4, 2);
    fetch(&f, 7, b);
    for (int64_t i = 0; i < 3; i++)
        sim_group_offsets_delivered(f.o, 0, 0, i);
    f.ends[0] = 3;
    for (uint32_t n = 0; n < 2; n++) {
        if (n == 0)
            put_offset(&f, sim_group_offsets_final, n, 2, c, 6);
        put_offset(&f, sim_group_offsets_final, n, 3, b, 7);
        put_metadata(&f, sim_group_offsets_final, n, 4, 2);
        sim_group_offsets_final_end(f.o, n, 5);
    }
    ck_assert_uint_gt(sim_group_offsets_compacted(f.o), 0);
    ck_assert_uint_eq(sim_group_offsets_acked(f.o), 2);
    ck_assert_uint_eq(f.checks.check[SIM_CHECK_G11].checks, 4);
    expect(&f, -1);
}
END_TEST

START_TEST(fetch__that_forgets_an_acknowledged_commit_is_named)
{
    struct fixture f;
    setup(&f);
    (void)commit(&f, 1, 5, SIM_COMMIT_OK);
    fetch(&f, -1, 0);
    expect(&f, SIM_CHECK_G1);
    setup(&f); /* by the order of the log */
    uint64_t a = commit(&f, 1, 5, SIM_COMMIT_OPEN);
    uint64_t b = commit(&f, 1, 6, SIM_COMMIT_OK);
    record(&f, 0, a, 5);
    record(&f, 1, b, 6);
    fetch(&f, 5, a);
    expect(&f, SIM_CHECK_G1);
    setup(&f); /* by the order of the answers, when compaction was quicker */
    a = commit(&f, 1, 5, SIM_COMMIT_OK);
    (void)commit(&f, 1, 6, SIM_COMMIT_OK);
    fetch(&f, 5, a);
    expect(&f, SIM_CHECK_G1);
    setup(&f); /* asked before the acknowledgement: either is right */
    a = commit(&f, 1, 5, SIM_COMMIT_OK);
    uint64_t asked_us = f.now_us;
    (void)commit(&f, 1, 6, SIM_COMMIT_OK);
    f.now_us = asked_us;
    fetch(&f, 5, a);
    expect(&f, -1);
}
END_TEST

START_TEST(fetch__of_what_nobody_committed_is_named)
{
    struct fixture f;
    setup(&f);
    uint64_t a = commit(&f, 1, 5, SIM_COMMIT_OK);
    fetch(&f, 6, a);
    ck_assert_uint_eq(f.checks.check[SIM_CHECK_G1].failures, 1);
    sim_group_offsets_fetched(f.o, 1, 1, 5, kb_view_str("c0"), f.now_us);
    ck_assert_uint_eq(f.checks.check[SIM_CHECK_G1].failures, 2);
    sim_group_offsets_fetched(f.o, 0, 1, 5, kb_view_str("garbage"), f.now_us);
    ck_assert_uint_eq(f.checks.check[SIM_CHECK_G1].failures, 3);
    expect(&f, SIM_CHECK_G1);
}
END_TEST

START_TEST(log__whose_generation_falls_is_named)
{
    struct fixture f;
    setup(&f);
    put_generation(&f, 0, 4);
    put_generation(&f, 1, 3);
    expect(&f, SIM_CHECK_G3);
}
END_TEST

START_TEST(log__with_a_stale_or_refused_commit_is_named)
{
    struct fixture f;
    setup(&f);
    uint64_t a = commit(&f, 1, 5, SIM_COMMIT_OPEN);
    put_generation(&f, 0, 1);
    put_generation(&f, 1, 2);
    record(&f, 2, a, 5);
    expect(&f, SIM_CHECK_G5);
    setup(&f);
    a = commit(&f, 1, 5, SIM_COMMIT_STALE);
    put_generation(&f, 0, 1);
    record(&f, 1, a, 5);
    expect(&f, SIM_CHECK_G5);
}
END_TEST

START_TEST(log__that_deletes_offsets_is_named)
{
    struct fixture f;
    setup(&f);
    put(&f, sim_group_offsets_record, 0, 0, offset_key(), NULL);
    expect(&f, SIM_CHECK_G8);
    setup(&f);
    uint64_t a = commit(&f, -1, 5, SIM_COMMIT_OK);
    record(&f, 0, a, 5);
    put(&f, sim_group_offsets_record, 0, 1, metadata_key(), NULL);
    expect(&f, SIM_CHECK_G8);
}
END_TEST

/* As seed 1141 once did: its only member was gone for an interval, and nothing was committed. */
START_TEST(log__an_empty_group_without_offsets_may_go_and_begin_anew)
{
    struct fixture f;
    setup(&f);
    put_generation(&f, 0, 3);
    put(&f, sim_group_offsets_record, 0, 1, metadata_key(), NULL);
    put_generation(&f, 2, 1);
    expect(&f, -1);
}
END_TEST

#define KEPT_MS 1000

/* The tombstone of the offset, seen when so much time has passed. */
static void expire_after(struct fixture *f, int64_t at, uint64_t ms)
{
    f->now_us += ms * 1000;
    sim_group_offsets_clock(f->o, f->now_us, (int64_t)(f->now_us / 1000));
    put(f, sim_group_offsets_record, 0, at, offset_key(), NULL);
}

START_TEST(expiry__of_what_nobody_uses_is_accepted)
{
    struct fixture f;
    setup_keeping(&f, KEPT_MS);
    uint64_t a = commit(&f, -1, 5, SIM_COMMIT_OK);
    record(&f, 0, a, 5);
    fetch(&f, 5, a);
    expire_after(&f, 1, KEPT_MS);
    fetch(&f, -1, a);
    uint64_t since_us = f.now_us - 10;
    sim_group_offsets_gone(f.o, 0, since_us);
    put_generation(&f, 2, 1); /* nobody is in it */
    f.now_us += KEPT_MS * 1000;
    a = commit(&f, -1, 6, SIM_COMMIT_OK);
    record(&f, 3, a, 6);
    expire_after(&f, 4, KEPT_MS);
    sim_group_offsets_judge(f.o, f.ends);
    ck_assert_uint_eq(sim_group_offsets_expired(f.o), 2);
    expect(&f, -1);
}
END_TEST

START_TEST(expiry__too_early_or_in_use_is_named)
{
    struct fixture f;
    setup_keeping(&f, KEPT_MS);
    record(&f, 0, commit(&f, -1, 5, SIM_COMMIT_OK), 5);
    expire_after(&f, 1, KEPT_MS / 2);
    expect(&f, SIM_CHECK_G8);
    setup_keeping(&f, KEPT_MS);
    group_members = 1;
    put_generation(&f, 0, 1);
    group_members = 0;
    record(&f, 1, commit(&f, 1, 5, SIM_COMMIT_OK), 5);
    expire_after(&f, 2, 10 * KEPT_MS);
    expect(&f, SIM_CHECK_G8);
}
END_TEST

START_TEST(expiry__that_never_comes_or_does_not_last_is_named)
{
    struct fixture f;
    setup_keeping(&f, KEPT_MS);
    uint64_t a = commit(&f, -1, 5, SIM_COMMIT_OK);
    record(&f, 0, a, 5);
    f.now_us += KEPT_MS * 10000;
    fetch(&f, 5, a);
    sim_group_offsets_gone(f.o, 0, f.now_us - 10);
    expect(&f, SIM_CHECK_G8);
    setup_keeping(&f, KEPT_MS);
    a = commit(&f, -1, 5, SIM_COMMIT_OK);
    record(&f, 0, a, 5);
    expire_after(&f, 1, KEPT_MS);
    f.now_us += 10;
    fetch(&f, 5, a);
    expect(&f, SIM_CHECK_G11);
}
END_TEST

START_TEST(record__nobody_worked_on_is_named)
{
    struct fixture f;
    setup(&f);
    sim_group_offsets_delivered(f.o, 0, 1, 0);
    sim_group_offsets_delivered(f.o, 0, 1, 2);
    f.ends[1] = 3;
    expect(&f, SIM_CHECK_G10);
}
END_TEST

START_TEST(compaction__that_changes_what_counts_is_named)
{
    struct fixture f;
    setup(&f);
    uint64_t a = commit(&f, 1, 5, SIM_COMMIT_OK);
    uint64_t b = commit(&f, 1, 6, SIM_COMMIT_OK);
    record(&f, 0, a, 5);
    record(&f, 1, b, 6);
    put_offset(&f, sim_group_offsets_final, 0, 1, b, 6);
    sim_group_offsets_final_end(f.o, 0, 2);
    ck_assert_uint_eq(f.checks.check[SIM_CHECK_G11].failures, 0);
    put_offset(&f, sim_group_offsets_final, 1, 0, a, 5);
    sim_group_offsets_final_end(f.o, 1, 2);
    ck_assert_uint_eq(f.checks.check[SIM_CHECK_G11].failures, 1);
    sim_group_offsets_final_end(f.o, 2, 2);
    ck_assert_uint_eq(f.checks.check[SIM_CHECK_G11].failures, 2);
    expect(&f, SIM_CHECK_G11);
}
END_TEST

START_TEST(nodes__with_different_records_are_named)
{
    struct fixture f;
    setup(&f);
    uint64_t a = commit(&f, 1, 5, SIM_COMMIT_OK);
    uint64_t b = commit(&f, 1, 6, SIM_COMMIT_OK);
    record(&f, 0, a, 5);
    put_offset(&f, sim_group_offsets_record, 1, 0, b, 6);
    expect(&f, SIM_CHECK_P2);
}
END_TEST

UNIT_MAIN("sim_group_offsets", offsets__in_order_are_accepted,
          fetch__that_forgets_an_acknowledged_commit_is_named,
          fetch__of_what_nobody_committed_is_named, log__whose_generation_falls_is_named,
          log__with_a_stale_or_refused_commit_is_named, log__that_deletes_offsets_is_named,
          log__an_empty_group_without_offsets_may_go_and_begin_anew,
          expiry__of_what_nobody_uses_is_accepted, expiry__too_early_or_in_use_is_named,
          expiry__that_never_comes_or_does_not_last_is_named, record__nobody_worked_on_is_named,
          compaction__that_changes_what_counts_is_named, nodes__with_different_records_are_named)
