/* Recoveries of a small log, right and wrong ones: who drops what was durable, or finds something
 * else the second time, must be named. */
#include "tests/sim/sim_recovery_check.h"

#include "proto/kafka/batch.h"
#include "tests/sim/sim_env.h"
#include "tests/unit/unit.h"

#define DIR "/data/t-0"
#define LOG DIR "/00000000000000000000.log"

/* What this test's recovery does. */
struct recovery {
    struct sim_recovered finds[2]; /* the first time, and after that */
    uint64_t cuts;                 /* the log's file to this size; 0 = it does not */
    bool leaves;                   /* a file, the second time */
    int times;
    int result;
};

struct fixture {
    struct sim_checks checks;
    struct sim_world *world;
    struct sim_env *env;
    struct sim_disk *disk;
    struct recovery recovery;
    size_t size; /* of one batch */
};

/* A log of so many batches, all durable, of which one lies below the durable mark. */
static void setup(struct fixture *f, int durable)
{
    struct kb_buf log = {0};
    memset(f, 0, sizeof(*f));
    f->world = sim_world_new(1);
    f->env = sim_world_add_env(f->world, "node1");
    f->disk = sim_host_disk(sim_env_host(f->env));
    for (int i = 0; i < durable; i++) {
        struct kw_batch_builder b;
        struct kb_block *block = NULL;
        kw_batch_builder_init(&b);
        b.base_offset = i;
        (void)kw_batch_builder_add(&b, 1, kw_bytes_of(NULL, 0), kw_bytes_of("value", 5));
        ck_assert_int_eq(kw_batch_builder_finish(&b, &block), 0);
        kw_batch_builder_release(&b);
        kb_buf_append(&log, block->data, block->size);
        f->size = block->size;
        (void)kb_block_unref(block);
    }
    sim_disk_put(f->disk, LOG, log.data, log.size);
    kb_buf_release(&log);
    for (int i = 0; i < 2; i++)
        f->recovery.finds[i] =
            (struct sim_recovered){.state = SIM_RECOVERED_WHOLE, .end = durable, .mark = 1};
}

static int recover(void *arg, struct kb_fs *fs, const char *dir, struct sim_recovered *ret)
{
    struct recovery *r = arg;
    struct kb_fd *fd = NULL;
    ck_assert_str_eq(dir, DIR);
    *ret = r->finds[r->times > 0];
    if (r->cuts > 0) {
        ck_assert_int_eq(kb_fs_open(fs, LOG, KB_FS_WRITE, &fd), 0);
        ck_assert_int_eq(kb_fs_truncate(fs, fd, r->cuts), 0);
        ck_assert_int_eq(kb_fs_sync(fs, fd), 0);
        (void)kb_fs_close(fs, fd);
    }
    if (r->leaves && r->times > 0) {
        ck_assert_int_eq(kb_fs_open(fs, DIR "/more", KB_FS_WRITE | KB_FS_CREATE, &fd), 0);
        (void)kb_fs_close(fs, fd);
    }
    r->times++;
    return r->result;
}

static void expect(struct fixture *f, bool ok)
{
    struct kb_view before, after;
    ck_assert_int_eq(sim_disk_view(f->disk, LOG, true, &before), 0);
    sim_recovery_check(&f->checks, 0, f->disk, DIR, recover, &f->recovery);
    ck_assert_int_eq(sim_disk_view(f->disk, LOG, true, &after), 0);
    ck_assert_uint_eq(before.size, after.size); /* it works on a copy */
    ck_assert_uint_gt(f->checks.check[SIM_CHECK_P20].checks, 0);
    for (int i = 0; i < SIM_CHECK_MAX_; i++)
        ck_assert_msg((f->checks.check[i].failures == 0) == (ok || i != SIM_CHECK_P20), "%s: %s",
                      sim_check_name(i), f->checks.check[i].first);
    (void)sim_world_free(f->world);
}

START_TEST(recovery_check__accepts_what_finds_all_twice)
{
    struct fixture f;
    setup(&f, 3);
    expect(&f, true);
    ck_assert_int_eq(f.recovery.times, 2);
}
END_TEST

START_TEST(recovery_check__names_another_second_time)
{
    struct fixture f;
    setup(&f, 3);
    f.recovery.finds[1].state = SIM_RECOVERED_CUT;
    expect(&f, false);
    setup(&f, 3);
    f.recovery.finds[1].last_epoch = 4;
    expect(&f, false);
    setup(&f, 3);
    f.recovery.leaves = true;
    expect(&f, false);
    setup(&f, 3);
    f.recovery.result = -KB_EIO;
    expect(&f, false);
}
END_TEST

static void finds(struct fixture *f, enum sim_recovered_state state, int64_t end)
{
    for (int i = 0; i < 2; i++) {
        f->recovery.finds[i].state = state;
        f->recovery.finds[i].end = end;
    }
}

/* In this batch. */
static void turn_bit(struct fixture *f, size_t batch)
{
    ck_assert_int_eq(sim_disk_rot_bit(f->disk, LOG, (batch + 1) * f->size - 1, 5), 0);
}

START_TEST(recovery_check__names_what_is_dropped_silently)
{
    struct fixture f;
    setup(&f, 3);
    finds(&f, SIM_RECOVERED_WHOLE, 2);
    f.recovery.cuts = 2 * f.size;
    expect(&f, false);
    setup(&f, 3); /* it says so, but the bytes are sound */
    finds(&f, SIM_RECOVERED_CUT, 2);
    f.recovery.cuts = 2 * f.size;
    expect(&f, false);
    setup(&f, 3); /* they are not, above the mark, and it says so */
    turn_bit(&f, 2);
    finds(&f, SIM_RECOVERED_CUT, 2);
    f.recovery.cuts = 2 * f.size;
    expect(&f, true);
    setup(&f, 3); /* it does not */
    turn_bit(&f, 2);
    finds(&f, SIM_RECOVERED_WHOLE, 2);
    f.recovery.cuts = 2 * f.size;
    expect(&f, false);
    setup(&f, 3); /* below the mark that is damage */
    turn_bit(&f, 2);
    finds(&f, SIM_RECOVERED_CUT, 2);
    f.recovery.cuts = 2 * f.size;
    f.recovery.finds[0].mark = f.recovery.finds[1].mark = 3;
    expect(&f, false);
    setup(&f, 3); /* it says all is there, and it is not */
    f.recovery.cuts = 2 * f.size;
    expect(&f, false);
}
END_TEST

/* The first batch stays where it is, the others get segments of their own. */
static void split(struct fixture *f, int batches)
{
    struct kb_buf log = {0};
    struct kb_view v;
    ck_assert_int_eq(sim_disk_view(f->disk, LOG, true, &v), 0);
    kb_buf_append(&log, v.data, v.size);
    for (int i = 0; i < batches; i++) {
        char path[64];
        (void)snprintf(path, sizeof(path), DIR "/%020d.log", i);
        sim_disk_put(f->disk, path, log.data + (size_t)i * f->size, f->size);
    }
    kb_buf_release(&log);
}

/* What the process sees, and no power cut would leave so: the directory is not synced. */
static void take_away(struct fixture *f, int segment)
{
    char from[64], to[80];
    (void)snprintf(from, sizeof(from), DIR "/%020d.log", segment);
    (void)snprintf(to, sizeof(to), "%s.deleted", from);
    ck_assert_int_eq(kb_fs_rename(sim_env_fs(f->env), from, to), 0);
}

START_TEST(recovery_check__asks_nothing_of_the_oldest_segments_once_they_are_taken_away)
{
    struct fixture f;
    setup(&f, 3);
    split(&f, 3);
    take_away(&f, 0);
    expect(&f, true);
    setup(&f, 3); /* of the others it does */
    split(&f, 3);
    take_away(&f, 0);
    finds(&f, SIM_RECOVERED_CUT, 2);
    expect(&f, false);
    setup(&f, 3); /* and nobody takes from the middle */
    split(&f, 3);
    take_away(&f, 1);
    expect(&f, false);
    setup(&f, 3); /* or all */
    split(&f, 3);
    for (int i = 0; i < 3; i++)
        take_away(&f, i);
    expect(&f, false);
}
END_TEST

static void limit(struct fixture *f, const char *text)
{
    sim_disk_put(f->disk, DIR "/cut-limit", text, strlen(text));
}

START_TEST(recovery_check__asks_nothing_of_the_newest_segments_that_a_cut_took_away)
{
    struct fixture f;
    struct kb_fd *fd = NULL;
    setup(&f, 3);
    split(&f, 3);
    limit(&f, "0\ncut 1\n");
    take_away(&f, 2);
    finds(&f, SIM_RECOVERED_WHOLE, 2);
    expect(&f, true);
    setup(&f, 3); /* nobody said that they were to go */
    split(&f, 3);
    take_away(&f, 2);
    finds(&f, SIM_RECOVERED_WHOLE, 2);
    expect(&f, false);
    setup(&f, 3); /* not durably */
    split(&f, 3);
    ck_assert_int_eq(
        kb_fs_open(sim_env_fs(f.env), DIR "/cut-limit", KB_FS_WRITE | KB_FS_CREATE, &fd), 0);
    ck_assert_int_eq(kb_fs_pwrite(sim_env_fs(f.env), fd, "0\ncut 1\n", 8, 0), 0);
    (void)kb_fs_close(sim_env_fs(f.env), fd);
    take_away(&f, 2);
    finds(&f, SIM_RECOVERED_WHOLE, 2);
    expect(&f, false);
    setup(&f, 3); /* more went than was said */
    split(&f, 3);
    limit(&f, "0\ncut 2\n");
    take_away(&f, 1);
    take_away(&f, 2);
    finds(&f, SIM_RECOVERED_WHOLE, 1);
    expect(&f, false);
    setup(&f, 3); /* what is still there must be found */
    split(&f, 3);
    limit(&f, "0\ncut 1\n");
    finds(&f, SIM_RECOVERED_WHOLE, 2);
    expect(&f, false);
    setup(&f, 3); /* also behind the cut, where it has not gone on */
    split(&f, 3);
    limit(&f, "0\ncut 0\n");
    take_away(&f, 2);
    finds(&f, SIM_RECOVERED_WHOLE, 1);
    expect(&f, false);
}
END_TEST

START_TEST(recovery_owed__is_nothing_of_a_log_that_begins_anew)
{
    struct fixture f;
    setup(&f, 3);
    ck_assert_int_eq(sim_recovery_owed(f.disk, DIR, 3), 3);
    limit(&f, "0\ncut 7\n");
    ck_assert_int_eq(sim_recovery_owed(f.disk, DIR, 3), 3);
    limit(&f, "0\nreset 7\n");
    ck_assert_int_eq(sim_recovery_owed(f.disk, DIR, 3), 0);
    (void)sim_world_free(f.world);
}
END_TEST

START_TEST(recovery_check__wants_damage_left_alone)
{
    struct fixture f;
    setup(&f, 3);
    turn_bit(&f, 1);
    finds(&f, SIM_RECOVERED_DAMAGED, 1);
    expect(&f, true);
    setup(&f, 3);
    turn_bit(&f, 1);
    finds(&f, SIM_RECOVERED_DAMAGED, 1);
    f.recovery.cuts = 2 * f.size;
    expect(&f, false);
}
END_TEST

START_TEST(recovery_check__names_who_starts_with_less_and_says_nothing)
{
    struct sim_checks checks = {0};
    sim_recovery_check_opened(&checks, 0, 0, 5, 5, false);
    sim_recovery_check_opened(&checks, 0, 0, 5, 7, false);
    sim_recovery_check_opened(&checks, 0, 0, 5, 3, true);
    ck_assert_uint_eq(checks.check[SIM_CHECK_P20].checks, 3);
    ck_assert_uint_eq(sim_checks_failures(&checks), 0);
    sim_recovery_check_opened(&checks, 0, 0, 5, 4, false);
    ck_assert_uint_eq(checks.check[SIM_CHECK_P20].failures, 1);
}
END_TEST

/* The bits that have turned go with the files. */
START_TEST(copy_dir__takes_turned_bits_along)
{
    struct fixture f;
    setup(&f, 1);
    struct sim_env *env = sim_world_add_env(f.world, "node2");
    struct sim_disk *to = sim_host_disk(sim_env_host(env));
    struct kb_buf read = {0};
    struct kb_view bytes;
    ck_assert_int_eq(sim_disk_rot_bit(f.disk, LOG, 20, 3), 0);
    sim_disk_copy_dir(to, f.disk, DIR);
    ck_assert_int_eq(sim_disk_view(f.disk, LOG, false, &bytes), 0);
    ck_assert_int_eq(kb_fs_read_all(sim_env_fs(env), LOG, 1 << 20, &read), 0);
    ck_assert_uint_eq(read.size, bytes.size);
    for (size_t i = 0; i < read.size; i++)
        ck_assert_int_eq(read.data[i], bytes.data[i] ^ (i == 20 ? 8 : 0));
    kb_buf_release(&read);
    (void)sim_world_free(f.world);
}
END_TEST

UNIT_MAIN("sim_recovery_check", recovery_check__accepts_what_finds_all_twice,
          recovery_check__names_another_second_time, recovery_check__names_what_is_dropped_silently,
          recovery_check__asks_nothing_of_the_oldest_segments_once_they_are_taken_away,
          recovery_check__asks_nothing_of_the_newest_segments_that_a_cut_took_away,
          recovery_owed__is_nothing_of_a_log_that_begins_anew,
          recovery_check__wants_damage_left_alone,
          recovery_check__names_who_starts_with_less_and_says_nothing,
          copy_dir__takes_turned_bits_along)
