/* The checkers of the quorum, of partition records and of replicas, each shown a world in which one
 * promise is broken: exactly that promise must be named. */
#include "proto/base/mem.h"
#include "proto/cluster/metadata.pb-c.h"
#include "proto/cluster/unpack.h"
#include "tests/sim/sim_raft_check.h"
#include "tests/sim/sim_replica_check.h"
#include "tests/sim/sim_metadata_check.h"
#include "tests/sim/sim_env.h"
#include "tests/unit/unit.h"

#define LOG_PATH "data/__cluster_metadata-0/00000000000000000001.log"

struct vote {
    uint64_t term;
    int32_t for_id;
};
static struct vote votes[3]; /* by disk, as vote_of is asked for them */
static struct sim_disk *vote_disks[3];

static int vote_of(struct sim_disk *disk, uint64_t *ret_term, int32_t *ret_voted_for)
{
    for (int i = 0; i < 3; i++) {
        if (vote_disks[i] == disk) {
            *ret_term = votes[i].term;
            *ret_voted_for = votes[i].for_id;
            return 1;
        }
    }
    return 0;
}

/* The clock, and who heard whom since when. */
static struct {
    uint64_t now_us;
    uint64_t heard_us[3][3], steady_us[3][3]; /* [from][to] */
} net;

static uint64_t now_us(void *arg)
{
    return net.now_us;
}

static uint64_t heard_us(void *arg, uint32_t from, uint32_t to, uint64_t *ret_steady_us)
{
    *ret_steady_us = net.steady_us[from][to];
    return net.heard_us[from][to];
}

/* The two hear each other from now_us = since on. */
static void hear(int a, int b, uint64_t since_us)
{
    net.heard_us[a][b] = net.heard_us[b][a] = net.now_us;
    net.steady_us[a][b] = net.steady_us[b][a] = since_us;
}

/* Three voters, and behind them a broker without a vote. */
enum { BROKER = 3, NODES };

struct fixture {
    struct sim_checks checks;
    struct sim_world *world;
    struct sim_disk *disks[NODES];
    struct kb_buf logs[NODES];
    struct sim_raft_check *raft;
    struct sim_raft_view views[NODES];
};

static void setup(struct fixture *f)
{
    memset(f, 0, sizeof(*f));
    memset(&net, 0, sizeof(net));
    f->world = sim_world_new(1);
    struct sim_raft_options o = {.checks = &f->checks,
                                 .voter_count = BROKER,
                                 .disk_count = NODES,
                                 .first_id = 1,
                                 .log_dir = "data/__cluster_metadata-0",
                                 .vote_of = vote_of,
                                 .now_us = now_us,
                                 .heard_us = heard_us};
    for (int i = 0; i < NODES; i++) {
        char name[8] = {'n', (char)('1' + i)};
        f->disks[i] = sim_host_disk(sim_world_add_host(f->world, name));
        o.disks[i] = f->disks[i];
        f->views[i].life = 1;
        if (i == BROKER)
            continue;
        vote_disks[i] = f->disks[i];
        votes[i] = (struct vote){0, -1};
    }
    f->raft = sim_raft_check_new(&o);
}

static void end(struct fixture *f)
{
    f->raft = sim_raft_check_free(f->raft);
    for (int i = 0; i < NODES; i++)
        kb_buf_release(&f->logs[i]);
    (void)sim_world_free(f->world);
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
    end(f);
}

/* A batch with one no-op record (or the given value) at this index. */
static struct kb_block *entry(int64_t index, int32_t term, struct kb_view value)
{
    struct kw_batch_builder b;
    struct kb_block *block = NULL;
    kw_batch_builder_init(&b);
    b.base_offset = index;
    b.leader_epoch = term;
    ck_assert_int_eq(
        kw_batch_builder_add(&b, 1, kw_bytes_of(NULL, 0), kw_bytes_of(value.data, value.size)), 0);
    ck_assert_int_eq(kw_batch_builder_finish(&b, &block), 0);
    kw_batch_builder_release(&b);
    return block;
}

static void append_to(struct fixture *f, int node, int64_t index, int32_t term)
{
    struct kb_buf value = {0};
    Kc__Record record = KC__RECORD__INIT;
    Kc__NoOpRecord no_op = KC__NO_OP_RECORD__INIT;
    record.kind_case = KC__RECORD__KIND_NO_OP;
    record.no_op = &no_op;
    (void)kc_pack(&value, &record.base);
    struct kb_block *b = entry(index, term, kb_view_of(value.data, value.size));
    kb_buf_append(&f->logs[node], b->data, b->size);
    sim_disk_put(f->disks[node], LOG_PATH, f->logs[node].data, f->logs[node].size);
    (void)kb_block_unref(b);
    kb_buf_release(&value);
    f->views[node].last_index = (uint64_t)index;
}

static void step(struct fixture *f, int node)
{
    sim_raft_check_step(f->raft, (uint32_t)node, &f->views[node]);
}

static void elect(struct fixture *f, int node, uint64_t term)
{
    for (int i = 0; i < 3; i++)
        votes[i] = (struct vote){term, node + 1};
    f->views[node].leader = true;
    f->views[node].term = term;
    step(f, node);
}

static void commit(struct fixture *f, int node, uint64_t index)
{
    f->views[node].commit_index = index;
    f->views[node].leader_commit = index;
    step(f, node);
}

START_TEST(raft_check__accepts_an_orderly_quorum)
{
    struct fixture f;
    setup(&f);
    elect(&f, 0, 1);
    for (int i = 0; i < 3; i++)
        append_to(&f, i, 1, 1);
    step(&f, 0);
    commit(&f, 0, 1);
    commit(&f, 1, 1);
    f.views[0].leader = false;
    step(&f, 0);
    elect(&f, 1, 2);
    for (int i = 0; i < 3; i++)
        append_to(&f, i, 2, 2);
    step(&f, 1);
    commit(&f, 1, 2);
    ck_assert_uint_eq(sim_raft_check_committed(f.raft), 2);
    ck_assert_uint_eq(sim_raft_check_leaders(f.raft), 2);
    for (int id = SIM_CHECK_R1; id <= SIM_CHECK_R8; id++) {
        if (id != SIM_CHECK_R6)
            ck_assert_msg(f.checks.check[id].checks > 0, "%s unseen", sim_check_name(id));
    }
    expect(&f, -1);
}
END_TEST

START_TEST(raft_check__names_two_leaders_and_lost_votes)
{
    struct fixture f;
    setup(&f);
    elect(&f, 0, 1);
    f.views[1].leader = true;
    f.views[1].term = 1;
    step(&f, 1);
    expect(&f, SIM_CHECK_R1);
    setup(&f);
    votes[0] = (struct vote){1, 1};
    f.views[0].leader = true;
    f.views[0].term = 1;
    step(&f, 0); /* with its own vote alone */
    expect(&f, SIM_CHECK_R2);
    setup(&f);
    votes[2] = (struct vote){4, 1};
    sim_raft_check_votes(f.raft, 2);
    votes[2] = (struct vote){4, 2};
    sim_raft_check_votes(f.raft, 2);
    expect(&f, SIM_CHECK_R2);
}
END_TEST

START_TEST(raft_check__names_what_a_leader_must_not_do)
{
    struct fixture f;
    setup(&f);
    elect(&f, 0, 1);
    append_to(&f, 0, 1, 1);
    step(&f, 0);
    f.views[0].last_index = 0;
    step(&f, 0);
    expect(&f, SIM_CHECK_R3);
    setup(&f); /* an entry of an older term, counted by itself */
    for (int i = 0; i < 3; i++)
        append_to(&f, i, 1, 1);
    elect(&f, 0, 2);
    commit(&f, 0, 1);
    expect(&f, SIM_CHECK_R7);
    setup(&f); /* on one disk only */
    elect(&f, 0, 1);
    append_to(&f, 0, 1, 1);
    step(&f, 0);
    commit(&f, 0, 1);
    expect(&f, SIM_CHECK_R8);
    setup(&f);
    elect(&f, 0, 1);
    for (int i = 0; i < 3; i++)
        append_to(&f, i, 1, 1);
    step(&f, 0);
    commit(&f, 0, 1);
    commit(&f, 0, 0);
    expect(&f, SIM_CHECK_R8);
}
END_TEST

START_TEST(raft_check__names_a_leader_without_committed_entries)
{
    struct fixture f;
    setup(&f);
    elect(&f, 0, 1);
    append_to(&f, 0, 1, 1);
    append_to(&f, 1, 1, 1);
    step(&f, 0);
    commit(&f, 0, 1);
    elect(&f, 2, 2);
    expect(&f, SIM_CHECK_R5);
}
END_TEST

/* What the leader of term 1 left is committed through an entry of term 3. Who is elected in term 2
 * by votes that came late need not have it (seed 53852), unless the leader of term 1 committed it,
 * whenever that is seen; who is elected in term 4 must. */
START_TEST(raft_check__knows_in_which_term_an_entry_was_committed)
{
    enum { NOT, BEFORE, BEHIND, AFTER }; /* BEHIND: its own disk lags, so it may not apply it */
    static const struct {
        int in_term_1;
        uint64_t late;
        bool bad;
    } cases[] = {
        {NOT, 2, false}, {NOT, 4, true}, {BEFORE, 2, true}, {BEHIND, 2, true}, {AFTER, 2, true}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct fixture f;
        setup(&f);
        elect(&f, 1, 1);
        append_to(&f, 0, 1, 1);
        append_to(&f, 1, 1, 1);
        step(&f, 1);
        if (cases[i].in_term_1 == BEFORE)
            commit(&f, 1, 1);
        if (cases[i].in_term_1 == BEHIND) {
            f.views[1].leader_commit = 1;
            step(&f, 1);
        }
        elect(&f, 0, 3);
        append_to(&f, 0, 2, 3);
        append_to(&f, 1, 2, 3);
        step(&f, 0);
        commit(&f, 0, 2);
        if (cases[i].in_term_1 == AFTER)
            commit(&f, 1, 1);
        ck_assert_uint_eq(sim_raft_check_committed(f.raft), 2);
        for (int n = 0; n < 3 && cases[i].late > 3; n++)
            votes[n] = (struct vote){cases[i].late, 3};
        f.views[2].leader = true; /* its voters have voted in term 3 since */
        f.views[2].term = cases[i].late;
        step(&f, 2);
        expect(&f, cases[i].bad ? SIM_CHECK_R5 : -1);
    }
}
END_TEST

/* Its leader fell in the event in which it committed: nobody is seen to commit it as leader. */
START_TEST(raft_check__counts_an_entry_from_its_own_term_when_no_leader_is_seen_to_commit_it)
{
    struct fixture f;
    setup(&f);
    elect(&f, 0, 1);
    append_to(&f, 0, 1, 1);
    append_to(&f, 1, 1, 1);
    step(&f, 0);
    f.views[0].leader = false;
    commit(&f, 0, 1);
    elect(&f, 2, 2);
    expect(&f, SIM_CHECK_R5);
}
END_TEST

/* The leader counts two copies while its own disk lags, and a broker applies before any voter: from
 * then on the entry is committed (simulator seed 3000125). */
START_TEST(raft_check__hears_of_commits_from_those_without_a_vote)
{
    for (int bad = 0; bad < 2; bad++) {
        struct fixture f;
        setup(&f);
        elect(&f, 0, 1);
        append_to(&f, 1, 1, 1);
        append_to(&f, 2, 1, 1);
        append_to(&f, BROKER, 1, 1);
        f.views[0].last_index = f.views[0].leader_commit = 1;
        step(&f, 0);
        ck_assert_uint_eq(sim_raft_check_committed(f.raft), 0);
        commit(&f, BROKER, 1);
        ck_assert_uint_eq(sim_raft_check_committed(f.raft), 1);
        if (bad == 0)
            append_to(&f, 0, 1, 1);
        elect(&f, 0, 2); /* with it, or without */
        expect(&f, bad > 0 ? SIM_CHECK_R5 : -1);
    }
}
END_TEST

START_TEST(raft_check__names_what_those_without_a_vote_must_not_do)
{
    struct fixture f;
    setup(&f); /* another entry than was committed */
    elect(&f, 0, 1);
    append_to(&f, 0, 1, 1);
    append_to(&f, 1, 1, 1);
    step(&f, 0);
    commit(&f, 0, 1);
    append_to(&f, BROKER, 1, 2);
    commit(&f, BROKER, 1);
    expect(&f, SIM_CHECK_R5);
    setup(&f); /* a copy that does not count */
    elect(&f, 0, 1);
    append_to(&f, 0, 1, 1);
    append_to(&f, BROKER, 1, 1);
    step(&f, 0);
    commit(&f, 0, 1);
    expect(&f, SIM_CHECK_R8);
}
END_TEST

START_TEST(raft_check__names_images_that_differ)
{
    struct fixture f;
    setup(&f);
    for (int i = 0; i < 2; i++) {
        f.views[i].applied_index = 5;
        f.views[i].applied_digest = i == 0 ? 1000 : 2000;
        step(&f, i);
    }
    expect(&f, SIM_CHECK_R6);
}
END_TEST

START_TEST(raft_check__names_images_of_other_content)
{
    struct fixture f;
    setup(&f);
    sim_raft_check_image(f.raft, 0, 5, 1000);
    sim_raft_check_image(f.raft, 1, 6, 2000);
    ck_assert_uint_eq(f.checks.check[SIM_CHECK_R10].failures, 0);
    sim_raft_check_image(f.raft, 1, 5, 2000);
    expect(&f, SIM_CHECK_R10);
}
END_TEST

static void stand(struct fixture *f, int node)
{
    f->views[node].candidacies++;
    f->views[node].term++;
    step(f, node);
}

START_TEST(raft_check__names_who_stands_unheard)
{
    struct fixture f;
    setup(&f);
    step(&f, 0);
    net.now_us = 5000000;
    hear(0, 1, 1);
    stand(&f, 0);
    net.now_us += 900000;
    stand(&f, 0);
    ck_assert_uint_eq(f.checks.check[SIM_CHECK_R11].checks, 2);
    ck_assert_uint_eq(f.checks.check[SIM_CHECK_R11].failures, 0);
    net.now_us += 900000;
    f.views[0].transferred = true;
    stand(&f, 0); /* the leader told it to, and more need not be heard */
    ck_assert_uint_eq(f.checks.check[SIM_CHECK_R11].failures, 0);
    f.views[0].transferred = false;
    stand(&f, 0);
    expect(&f, SIM_CHECK_R11);
}
END_TEST

/* Events of voter 0, every 100 ms. */
static void run_on(struct fixture *f, uint64_t ms)
{
    for (uint64_t i = 0; i < ms / 100; i++) {
        net.now_us += 100000;
        step(f, 0);
    }
}

START_TEST(raft_check__names_a_leader_that_does_not_resign)
{
    struct fixture f;
    setup(&f);
    elect(&f, 0, 1);
    run_on(&f, 1000);
    elect(&f, 1, 2);
    run_on(&f, 3000);
    net.now_us += 10000000; /* it stood still: its time begins anew */
    run_on(&f, 3000);
    ck_assert_uint_eq(f.checks.check[SIM_CHECK_R12].failures, 0);
    run_on(&f, 1000);
    expect(&f, SIM_CHECK_R12);
}
END_TEST

START_TEST(raft_check__names_who_displaces_a_leader)
{
    for (int sound = 0; sound < 2; sound++) {
        struct fixture f;
        setup(&f);
        elect(&f, 0, 1);
        net.now_us = 5000000;
        hear(0, 2, sound ? 1000000 : 4000000);
        elect(&f, 1, 2);
        expect(&f, sound ? SIM_CHECK_R13 : -1);
    }
}
END_TEST

/* Who is elected has forgotten that the leader asked it to stand, as the product does: the
 * candidate tells it, and tells it of its own term only. */
START_TEST(raft_check__lets_a_leader_hand_over)
{
    for (uint64_t term = 2; term <= 3; term++) {
        struct fixture f;
        setup(&f);
        elect(&f, 0, 1);
        net.now_us = 5000000;
        hear(0, 2, 1000000);
        f.views[1].term = 1;
        f.views[1].transferred = true;
        stand(&f, 1);
        f.views[1].transferred = false;
        elect(&f, 1, term);
        expect(&f, term == 2 ? -1 : SIM_CHECK_R13);
    }
}
END_TEST

/* ---- partition records ---- */

struct state {
    int32_t leader, leader_epoch, partition_epoch;
    int32_t isr[3], isr_count, elr[3], elr_count;
};

static void put_partition(struct sim_metadata_check *c, int64_t index, const struct state *s)
{
    static uint8_t id[16] = {1};
    int32_t replicas[] = {1, 2, 3};
    struct kb_buf value = {0};
    Kc__Record record = KC__RECORD__INIT;
    Kc__PartitionRecord p = KC__PARTITION_RECORD__INIT;
    record.kind_case = KC__RECORD__KIND_PARTITION;
    record.partition = &p;
    p.has_topic_id = p.has_partition = p.has_leader_epoch = p.has_partition_epoch = true;
    p.topic_id = (ProtobufCBinaryData){.len = 16, .data = id};
    p.has_leader = s->leader >= 0;
    p.leader = s->leader;
    p.has_leader_broker_epoch = true;
    p.leader_broker_epoch = 7;
    p.leader_epoch = s->leader_epoch;
    p.partition_epoch = s->partition_epoch;
    p.replicas = replicas;
    p.n_replicas = 3;
    p.isr = (int32_t *)(uintptr_t)s->isr;
    p.n_isr = (size_t)s->isr_count;
    p.elr = (int32_t *)(uintptr_t)s->elr;
    p.n_elr = (size_t)s->elr_count;
    (void)kc_pack(&value, &record.base);
    struct kb_block *b = entry(index, 1, kb_view_of(value.data, value.size));
    sim_metadata_check_batch(c, kb_view_of(b->data, b->size));
    (void)kb_block_unref(b);
    kb_buf_release(&value);
}

static uint64_t failures_after(const struct state *states, size_t count)
{
    struct sim_checks checks = {0};
    struct sim_metadata_check *c = sim_metadata_check_new(&checks);
    for (size_t i = 0; i < count; i++)
        put_partition(c, (int64_t)i + 1, &states[i]);
    (void)sim_metadata_check_free(c);
    ck_assert_uint_gt(checks.check[SIM_CHECK_R16].checks, 0);
    return checks.check[SIM_CHECK_R16].failures;
}

START_TEST(metadata_check__knows_legal_moves)
{
    const struct state good[] = {
        {1, 0, 0, {1, 2, 3}, 3, {0}, 0}, /* created */
        {2, 1, 1, {2, 3}, 2, {0}, 0},    /* 1 died: elected from the ISR */
        {2, 1, 2, {2}, 1, {3}, 1},       /* below the minimum: 3 is eligible */
        {-1, 2, 3, {0}, 0, {2, 3}, 2},   /* nobody lives */
        {3, 3, 4, {3}, 1, {2}, 1},       /* from the ELR */
        {3, 3, 5, {1, 2, 3}, 3, {0}, 0}, /* all back */
    };
    ck_assert_uint_eq(failures_after(good, 6), 0);
}
END_TEST

START_TEST(metadata_check__names_illegal_moves)
{
    const struct state first = {1, 3, 3, {1, 2}, 2, {0}, 0};
    const struct state bad[] = {
        {1, 3, 3, {1, 2, 3}, 3, {0}, 0}, /* partition epoch stands still */
        {2, 3, 4, {1, 2}, 2, {0}, 0},    /* another leader in the same epoch */
        {1, 2, 4, {1, 2}, 2, {0}, 0},    /* leader epoch falls */
        {3, 4, 4, {3}, 1, {0}, 0},       /* from outside ISR and ELR */
        {1, 3, 4, {2}, 1, {0}, 0},       /* leader outside the ISR */
        {1, 3, 4, {1, 5}, 2, {0}, 0},    /* not a replica */
        {1, 3, 4, {1, 2}, 2, {2}, 1},    /* in ISR and ELR */
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        ck_assert_msg(failures_after((struct state[]){first, bad[i]}, 2) > 0, "case %zu", i);
}
END_TEST

/* ---- replicas ---- */

static void dir_of(void *arg, uint32_t partition, char *text)
{
    (void)snprintf(text, 128, "data/t-%u", partition);
}

static void raw_record(void *arg, uint32_t partition, int64_t offset, struct kb_view value)
{
    (*(int *)arg)++;
}

static struct kb_block *data_batch(int64_t offset, int32_t epoch, const char *text, int64_t pid,
                                   int32_t sequence)
{
    struct kw_batch_builder b;
    struct kb_block *block = NULL;
    kw_batch_builder_init(&b);
    b.base_offset = offset;
    b.leader_epoch = epoch;
    b.producer_id = pid;
    b.producer_epoch = pid >= 0 ? 0 : -1;
    b.base_sequence = sequence;
    (void)kw_batch_builder_add(&b, 1, kw_bytes_of(NULL, 0), kw_bytes_of(text, strlen(text)));
    ck_assert_int_eq(kw_batch_builder_finish(&b, &block), 0);
    kw_batch_builder_release(&b);
    return block;
}

static void put_data(struct fixture *f, int node, struct kb_block *b)
{
    kb_buf_append(&f->logs[node], b->data, b->size);
    sim_disk_put(f->disks[node], "data/t-0/00000000000000000000.log", f->logs[node].data,
                 f->logs[node].size);
}

static struct sim_replica_check *replicas_new(struct fixture *f)
{
    struct sim_replica_options o = {
        .checks = &f->checks, .disk_count = 3, .partitions = 1, .dir_of = dir_of, .min_insync = 2};
    memcpy(o.disks, f->disks, sizeof(f->disks));
    return sim_replica_check_new(&o);
}

START_TEST(replica_check__accepts_equal_replicas_and_names_the_rest)
{
    struct fixture f;
    setup(&f);
    struct sim_replica_check *c = replicas_new(&f);
    struct kb_block *a = data_batch(0, 1, "first", 9, 0), *b = data_batch(1, 1, "second", 9, 1);
    struct kb_block *other = data_batch(1, 2, "other", -1, -1);
    int raw = 0;
    for (int i = 0; i < 3; i++)
        put_data(&f, i, a);
    put_data(&f, 0, b);
    put_data(&f, 1, b);
    sim_replica_check_ack(c, 0, 1, 1, -1, kb_view_of(b->data, b->size));
    ck_assert_uint_eq(f.checks.check[SIM_CHECK_P9].failures, 0);
    sim_replica_check_compare(c, 0, (int64_t[]){2, 2, 1});
    ck_assert_uint_eq(f.checks.check[SIM_CHECK_P3].failures, 0);
    ck_assert_uint_gt(f.checks.check[SIM_CHECK_P3].checks, 0);
    put_data(&f, 2, other);
    sim_replica_check_compare(c, 0, (int64_t[]){2, 2, 1});
    ck_assert_uint_eq(f.checks.check[SIM_CHECK_P3].failures, 0);
    sim_replica_check_compare(c, 0, (int64_t[]){2, 2, 2});
    ck_assert_uint_gt(f.checks.check[SIM_CHECK_P3].failures, 0);
    sim_replica_check_ack(c, 0, 1, 1, -1, kb_view_of(other->data, other->size));
    ck_assert_uint_eq(f.checks.check[SIM_CHECK_P9].failures, 1);
    sim_replica_check_ack(c, 0, 1, 1, 1, kb_view_of(b->data, b->size));
    ck_assert_uint_eq(f.checks.check[SIM_CHECK_P22].failures, 0);
    sim_replica_check_ack(c, 0, 2, 2, 1, kb_view_of(b->data, b->size));
    ck_assert_uint_eq(f.checks.check[SIM_CHECK_P22].failures, 1);
    sim_replica_check_final(c, raw_record, &raw);
    ck_assert_int_eq(raw, 2);
    ck_assert_uint_eq(f.checks.check[SIM_CHECK_P2].failures, 0);
    ck_assert_uint_eq(f.checks.check[SIM_CHECK_P12].failures, 0);
    (void)sim_replica_check_free(c);
    (void)kb_block_unref(a);
    (void)kb_block_unref(b);
    (void)kb_block_unref(other);
    end(&f);
}
END_TEST

START_TEST(replica_check__names_one_epoch_and_offset_with_two_values)
{
    struct fixture f;
    setup(&f);
    struct sim_replica_check *c = replicas_new(&f);
    struct kb_block *a = data_batch(0, 1, "one", -1, -1), *b = data_batch(0, 1, "two", -1, -1);
    put_data(&f, 0, a);
    put_data(&f, 1, b);
    sim_replica_check_compare(c, 0, (int64_t[]){0, 0, 0});
    ck_assert_uint_eq(f.checks.check[SIM_CHECK_P2].failures, 1);
    (void)sim_replica_check_free(c);
    (void)kb_block_unref(a);
    (void)kb_block_unref(b);
    end(&f);
}
END_TEST

START_TEST(replica_check__names_members_that_lack_what_is_committed)
{
    struct fixture f;
    setup(&f);
    struct sim_replica_check *c = replicas_new(&f);
    struct kb_block *a = data_batch(0, 1, "one", -1, -1);
    put_data(&f, 0, a);
    put_data(&f, 1, a);
    sim_replica_check_hw(c, 0, 1, 3);
    sim_replica_check_hw(c, 0, 0, 7);
    ck_assert_uint_eq(f.checks.check[SIM_CHECK_P4].checks, 5);
    ck_assert_uint_eq(f.checks.check[SIM_CHECK_P4].failures, 0);
    sim_replica_check_hw(c, 0, 1, 7);
    ck_assert_uint_eq(f.checks.check[SIM_CHECK_P4].failures, 1);
    sim_replica_check_replaced(c, 2);
    sim_replica_check_hw(c, 0, 1, 7);
    ck_assert_uint_eq(f.checks.check[SIM_CHECK_P4].failures, 1);
    (void)sim_replica_check_free(c);
    (void)kb_block_unref(a);
    expect(&f, SIM_CHECK_P4);
}
END_TEST

START_TEST(replica_check__names_who_reports_what_is_not_durable)
{
    struct fixture f;
    setup(&f);
    struct sim_replica_check *c = replicas_new(&f);
    struct kb_block *a = data_batch(0, 1, "one", -1, -1);
    sim_replica_check_reported(c, 1, 0, 0); /* it has no log yet */
    put_data(&f, 1, a);
    sim_replica_check_reported(c, 1, 0, 1);
    ck_assert_uint_eq(f.checks.check[SIM_CHECK_P14].checks, 2);
    ck_assert_uint_eq(f.checks.check[SIM_CHECK_P14].failures, 0);
    sim_disk_put(f.disks[2], "data/t-0/00000000000000000040.log", "", 0);
    sim_replica_check_reported(c, 2, 0, 40); /* emptied, to begin there */
    ck_assert_uint_eq(f.checks.check[SIM_CHECK_P14].failures, 0);
    sim_replica_check_reported(c, 1, 0, 2);
    (void)sim_replica_check_free(c);
    (void)kb_block_unref(a);
    expect(&f, SIM_CHECK_P14);
}
END_TEST

static int32_t epoch_two(void *arg, int64_t offset)
{
    return offset == 0 ? -1 : 2;
}

START_TEST(replica_check__names_who_joins_too_early_and_wrong_epochs)
{
    struct fixture f;
    setup(&f);
    struct sim_replica_check *c = replicas_new(&f);
    struct kb_block *a = data_batch(0, 1, "one", -1, -1), *b = data_batch(1, 1, "two", -1, -1);
    put_data(&f, 1, a);
    sim_replica_check_joined(c, 0, 1, 2);
    sim_replica_check_epochs(c, 1, 0, epoch_two, NULL);
    ck_assert_uint_eq(f.checks.check[SIM_CHECK_P7].checks, 0); /* it says that it has none */
    ck_assert_uint_eq(f.checks.check[SIM_CHECK_P13].failures, 0);
    sim_replica_check_joined(c, 0, 2, 2);
    ck_assert_uint_eq(f.checks.check[SIM_CHECK_P13].failures, 1);
    put_data(&f, 1, b);
    sim_replica_check_epochs(c, 1, 0, epoch_two, NULL);
    ck_assert_uint_eq(f.checks.check[SIM_CHECK_P7].failures, 1);
    (void)sim_replica_check_free(c);
    (void)kb_block_unref(a);
    (void)kb_block_unref(b);
    end(&f);
}
END_TEST

START_TEST(replica_check__names_repeated_and_missing_sequences)
{
    for (int missing = 0; missing < 2; missing++) {
        struct fixture f;
        int raw = 0;
        setup(&f);
        struct sim_replica_check *c = replicas_new(&f);
        struct kb_block *a = data_batch(0, 1, "one", 9, 0);
        struct kb_block *b = data_batch(1, 1, "two", 9, missing ? 2 : 0);
        for (int i = 0; i < 3; i++) {
            put_data(&f, i, a);
            put_data(&f, i, b);
        }
        sim_replica_check_final(c, raw_record, &raw);
        ck_assert_uint_eq(f.checks.check[SIM_CHECK_P11].failures, missing ? 1 : 0);
        ck_assert_uint_eq(f.checks.check[SIM_CHECK_P12].failures, missing ? 0 : 1);
        (void)sim_replica_check_free(c);
        (void)kb_block_unref(a);
        (void)kb_block_unref(b);
        end(&f);
    }
}
END_TEST

/* Only who is to hold a partition counts: copies elsewhere do not, and one that is missing there
 * does. */
START_TEST(replica_check__looks_at_those_who_hold_the_partition)
{
    struct fixture f;
    int raw = 0;
    setup(&f);
    struct sim_replica_check *c = replicas_new(&f);
    struct kb_block *a = data_batch(0, 1, "one", -1, -1);
    put_data(&f, 1, a);
    put_data(&f, 2, a);
    ck_assert(!sim_replica_check_ends_alike(c, 0));
    sim_replica_check_assign(c, 0, 1U << 1 | 1U << 2);
    ck_assert(sim_replica_check_ends_alike(c, 0));
    ck_assert_int_eq(sim_replica_check_first_end(c, 0), 1);
    sim_replica_check_ack(c, 0, 0, 0, -1, kb_view_of(a->data, a->size));
    sim_replica_check_final(c, raw_record, &raw);
    ck_assert_int_eq(raw, 1);
    ck_assert_uint_eq(sim_checks_failures(&f.checks), 0);
    sim_replica_check_assign(c, 0, 1U << 0 | 1U << 1);
    ck_assert(!sim_replica_check_ends_alike(c, 0));
    sim_replica_check_ack(c, 0, 0, 0, -1, kb_view_of(a->data, a->size));
    ck_assert_uint_eq(f.checks.check[SIM_CHECK_P9].failures, 1);
    sim_replica_check_final(c, raw_record, &raw);
    ck_assert_uint_eq(f.checks.check[SIM_CHECK_P3].failures, 1);
    (void)sim_replica_check_free(c);
    (void)kb_block_unref(a);
    end(&f);
}
END_TEST

UNIT_MAIN("sim_checks", replica_check__looks_at_those_who_hold_the_partition,
          raft_check__accepts_an_orderly_quorum, raft_check__names_two_leaders_and_lost_votes,
          raft_check__names_what_a_leader_must_not_do,
          raft_check__names_a_leader_without_committed_entries,
          raft_check__knows_in_which_term_an_entry_was_committed,
          raft_check__counts_an_entry_from_its_own_term_when_no_leader_is_seen_to_commit_it,
          raft_check__hears_of_commits_from_those_without_a_vote,
          raft_check__names_what_those_without_a_vote_must_not_do,
          raft_check__names_images_that_differ, raft_check__names_images_of_other_content,
          raft_check__names_who_stands_unheard, raft_check__names_a_leader_that_does_not_resign,
          raft_check__names_who_displaces_a_leader, raft_check__lets_a_leader_hand_over,
          metadata_check__knows_legal_moves, metadata_check__names_illegal_moves,
          replica_check__accepts_equal_replicas_and_names_the_rest,
          replica_check__names_one_epoch_and_offset_with_two_values,
          replica_check__names_members_that_lack_what_is_committed,
          replica_check__names_who_reports_what_is_not_durable,
          replica_check__names_who_joins_too_early_and_wrong_epochs,
          replica_check__names_repeated_and_missing_sequences)
