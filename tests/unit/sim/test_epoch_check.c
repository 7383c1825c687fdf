/* Replicas of one partition on three nodes, as they show themselves after each event. Whoever cuts
 * what it may not, or appends in another's epoch, must be named; whoever does right must not. */
#include "tests/sim/sim_epoch_check.h"

#include "tests/unit/unit.h"

#define ENTRIES_MAX 8

struct log {
    struct sim_replica_view view;
    struct sim_epoch_entry entries[ENTRIES_MAX];
};

struct fixture {
    struct sim_checks checks;
    struct sim_epoch_check *c;
    struct log logs[3];
};

static void setup(struct fixture *f)
{
    memset(f, 0, sizeof(*f));
    f->c = sim_epoch_check_new(&f->checks, 3, 1);
    for (int i = 0; i < 3; i++)
        f->logs[i].view = (struct sim_replica_view){.life = 1, .open = true, .member = true};
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
    f->c = sim_epoch_check_free(f->c);
}

static void step(struct fixture *f, int node)
{
    struct log *l = &f->logs[node];
    l->view.epochs = l->entries;
    sim_epoch_check_step(f->c, (uint32_t)node, 0, &l->view);
}

static void lead(struct fixture *f, int node, int32_t epoch)
{
    for (int i = 0; i < 3; i++)
        f->logs[i].view.leader = i == node && f->logs[i].view.open;
    f->logs[node].view.leader_epoch = epoch;
    step(f, node);
}

static void follow(struct fixture *f, int node, int32_t epoch)
{
    f->logs[node].view.leader = false;
    f->logs[node].view.leader_epoch = epoch;
    step(f, node);
}

/* Batches of one offset each, up to this end. */
static void append(struct fixture *f, int node, int32_t epoch, int64_t end)
{
    struct log *l = &f->logs[node];
    if (l->view.epoch_count == 0 || l->entries[l->view.epoch_count - 1].epoch != epoch)
        l->entries[l->view.epoch_count++] = (struct sim_epoch_entry){epoch, l->view.end};
    l->view.end = end;
    step(f, node);
}

static void cut(struct fixture *f, int node, int64_t end)
{
    struct log *l = &f->logs[node];
    l->view.cutting = true;
    step(f, node);
    l->view.end = end;
    if (l->view.high_watermark > end)
        l->view.high_watermark = end;
    while (l->view.epoch_count > 0 && l->entries[l->view.epoch_count - 1].start >= end)
        l->view.epoch_count--;
    step(f, node);
    l->view.cutting = false;
    step(f, node);
}

static void raise(struct fixture *f, int node, int64_t high_watermark)
{
    f->logs[node].view.high_watermark = high_watermark;
    step(f, node);
}

/* Node 0 has led epoch 1 up to 10, of which 6 are committed and node 1 has 8; node 1 leads epoch 2
 * from there on. */
static void change_leaders(struct fixture *f)
{
    lead(f, 0, 1);
    append(f, 0, 1, 10);
    follow(f, 1, 1);
    append(f, 1, 1, 8);
    raise(f, 0, 6);
    raise(f, 1, 6);
    lead(f, 1, 2);
    append(f, 1, 2, 12);
}

START_TEST(epoch_check__accepts_a_change_of_leaders)
{
    struct fixture f;
    setup(&f);
    change_leaders(&f);
    follow(&f, 0, 2);
    cut(&f, 0, 8);
    append(&f, 0, 2, 12);
    raise(&f, 1, 12);
    raise(&f, 0, 12);
    for (int node = 0; node < 2; node++) {
        sim_epoch_check_batch(f.c, (uint32_t)node, 0, 0, 7, 1);
        sim_epoch_check_batch(f.c, (uint32_t)node, 0, 8, 11, 2);
    }
    sim_epoch_check_batch(f.c, 2, 0, 8, 9, 1); /* as node 0 had it */
    ck_assert_uint_gt(f.checks.check[SIM_CHECK_P6].checks, 0);
    ck_assert_uint_gt(f.checks.check[SIM_CHECK_P8].checks, 0);
    expect(&f, -1);
}
END_TEST

START_TEST(epoch_check__names_a_leader_that_cuts)
{
    struct fixture f;
    setup(&f);
    change_leaders(&f);
    f.logs[1].view.end = 11;
    step(&f, 1);
    expect(&f, SIM_CHECK_P6);
}
END_TEST

START_TEST(epoch_check__names_who_cuts_what_its_leader_has)
{
    struct fixture f;
    setup(&f);
    change_leaders(&f);
    follow(&f, 0, 2);
    cut(&f, 0, 9); /* not far enough yet */
    ck_assert_uint_eq(f.checks.check[SIM_CHECK_P6].failures, 0);
    cut(&f, 0, 7);
    expect(&f, SIM_CHECK_P6);
}
END_TEST

START_TEST(epoch_check__names_who_cuts_below_its_high_watermark)
{
    for (int member = 0; member < 2; member++) {
        for (int damaged = 0; damaged < 2; damaged++) {
            struct fixture f;
            setup(&f);
            change_leaders(&f);
            follow(&f, 0, 2);
            f.logs[0].view.member = member != 0;
            f.logs[0].view.damaged = damaged != 0;
            step(&f, 0);
            f.logs[0].view.open = false; /* its log is made anew */
            step(&f, 0);
            f.logs[0].view.open = true;
            f.logs[0].view.damaged = false;
            f.logs[0].view.end = f.logs[0].view.high_watermark = 0;
            f.logs[0].view.epoch_count = 0;
            step(&f, 0);
            expect(&f, member == 0 && damaged != 0 ? -1 : SIM_CHECK_P6);
        }
    }
}
END_TEST

START_TEST(epoch_check__names_a_high_watermark_above_what_agrees)
{
    struct fixture f;
    setup(&f);
    change_leaders(&f);
    raise(&f, 1, 9);
    follow(&f, 0, 2);
    raise(&f, 0, 8); /* up to there they agree */
    ck_assert_uint_eq(f.checks.check[SIM_CHECK_P6].failures, 0);
    raise(&f, 0, 9); /* before it has cut */
    expect(&f, SIM_CHECK_P6);
    setup(&f);
    change_leaders(&f);
    follow(&f, 0, 2);
    raise(&f, 0, 7); /* the leader has 6 */
    expect(&f, SIM_CHECK_P6);
}
END_TEST

/* Of one event: node 0 replays that a silent member left the ISR, which commits what node 1 has,
 * and that node 1 leads now, whose own high watermark is still at 6. */
START_TEST(epoch_check__judges_the_last_rise_of_a_former_leader)
{
    for (int64_t high_watermark = 7; high_watermark <= 9; high_watermark++) {
        struct fixture f;
        setup(&f);
        change_leaders(&f);
        follow(&f, 2, 1);
        append(&f, 2, 1, 8);
        f.logs[0].view.high_watermark = high_watermark;
        follow(&f, 0, 2);
        if (high_watermark > 8) { /* node 1 began with 8 */
            expect(&f, SIM_CHECK_P6);
            continue;
        }
        raise(&f, 2, high_watermark); /* heard from node 0, in epoch 1 still */
        ck_assert_uint_eq(f.checks.check[SIM_CHECK_P6].failures, 0);
        cut(&f, 0, 8);
        raise(&f, 0, high_watermark + 1); /* once it follows, its leader counts */
        expect(&f, SIM_CHECK_P6);
    }
}
END_TEST

START_TEST(epoch_check__names_two_who_append_in_one_epoch)
{
    struct fixture f;
    for (int same_node = 0; same_node < 2; same_node++) {
        int second = same_node ? 0 : 1;
        setup(&f);
        lead(&f, 0, 1);
        append(&f, 0, 1, 2);
        f.logs[0].view.leader = false;
        step(&f, 0);
        f.logs[second].view.life = 2;
        lead(&f, second, 1);
        ck_assert_uint_eq(f.checks.check[SIM_CHECK_P8].failures,
                          0); /* so far it has done nothing */
        append(&f, second, 1, same_node ? 3 : 1);
        expect(&f, SIM_CHECK_P8);
    }
}
END_TEST

START_TEST(epoch_check__names_batches_nobody_appended)
{
    static const struct {
        int64_t first, last;
        int32_t epoch;
    } bad[] = {{8, 12, 2}, {7, 7, 2}, {10, 10, 1}, {3, 3, 5}};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct fixture f;
        setup(&f);
        change_leaders(&f);
        sim_epoch_check_batch(f.c, 2, 0, bad[i].first, bad[i].last, bad[i].epoch);
        expect(&f, SIM_CHECK_P8);
    }
}
END_TEST

UNIT_MAIN("sim_epoch_check", epoch_check__accepts_a_change_of_leaders,
          epoch_check__names_a_leader_that_cuts, epoch_check__names_who_cuts_what_its_leader_has,
          epoch_check__names_who_cuts_below_its_high_watermark,
          epoch_check__names_a_high_watermark_above_what_agrees,
          epoch_check__judges_the_last_rise_of_a_former_leader,
          epoch_check__names_two_who_append_in_one_epoch,
          epoch_check__names_batches_nobody_appended)
