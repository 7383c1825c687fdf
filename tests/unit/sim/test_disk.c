/* The simulated disk lies as real ones do: what was not synced may be gone, torn or reordered after
 * a power cut; what was synced never is. */
#include "tests/sim/sim_disk.h"

#include "proto/base/err.h"
#include "tests/sim/sim_env.h"
#include "tests/unit/unit.h"

struct fixture {
    struct sim_world *world;
    struct sim_host *host;
    struct sim_disk *disk;
    struct kb_fs *fs;
};

static void setup(struct fixture *f, uint64_t seed)
{
    f->world = sim_world_new(seed);
    struct sim_env *e = sim_world_add_env(f->world, "node1");
    f->host = sim_env_host(e);
    f->disk = sim_host_disk(f->host);
    f->fs = sim_env_fs(e);
}

static void power_cut(struct fixture *f)
{
    struct sim_env *e = sim_host_env(f->host);
    sim_env_power_cut(e);
    (void)sim_env_free(e);
    f->fs = sim_env_fs(sim_host_start(f->host));
}

static struct kb_fd *open_new(struct fixture *f, const char *path)
{
    struct kb_fd *fd = NULL;
    ck_assert_int_eq(kb_fs_open(f->fs, path, KB_FS_WRITE | KB_FS_CREATE, &fd), 0);
    return fd;
}

static void write_file(struct fixture *f, const char *path, const char *text, bool sync)
{
    struct kb_fd *fd = open_new(f, path);
    ck_assert_int_eq(kb_fs_truncate(f->fs, fd, 0), 0);
    ck_assert_int_eq(kb_fs_pwrite(f->fs, fd, text, strlen(text), 0), 0);
    if (sync)
        ck_assert_int_eq(kb_fs_sync(f->fs, fd), 0);
    (void)kb_fs_close(f->fs, fd);
}

static bool holds(struct fixture *f, const char *path, const char *text)
{
    struct kb_view v;
    if (sim_disk_view(f->disk, path, false, &v) < 0)
        return text == NULL;
    return text != NULL && kb_view_equal(v, kb_view_str(text));
}

START_TEST(sync__keeps_bytes_and_sync_dir_the_name)
{
    for (uint64_t seed = 1; seed <= 50; seed++) {
        struct fixture f;
        setup(&f, seed);
        write_file(&f, "a", "synced", true);
        ck_assert_int_eq(kb_fs_sync_dir(f.fs, "/"), 0);
        write_file(&f, "b", "name is not durable", true);
        power_cut(&f);
        ck_assert(holds(&f, "a", "synced"));
        ck_assert(holds(&f, "b", NULL) || holds(&f, "b", "name is not durable"));
        (void)sim_world_free(f.world);
    }
}
END_TEST

START_TEST(crash__drops_everything_unsynced_when_told)
{
    struct fixture f;
    setup(&f, 1);
    write_file(&f, "a", "old", true);
    (void)kb_fs_sync_dir(f.fs, ".");
    write_file(&f, "a", "newer", false);
    write_file(&f, "b", "x", true);
    sim_disk_set_crash_mode(f.disk, SIM_CRASH_DROP);
    power_cut(&f);
    ck_assert(holds(&f, "a", "old"));
    ck_assert(holds(&f, "b", NULL));
    sim_disk_set_crash_mode(f.disk, SIM_CRASH_KEEP);
    write_file(&f, "a", "newer", false);
    write_file(&f, "b", "x", false);
    power_cut(&f);
    ck_assert(holds(&f, "a", "newer"));
    ck_assert(holds(&f, "b", "x"));
    (void)sim_world_free(f.world);
}
END_TEST

/* Each sector after the cut is the old one, the new one, zeros or (rarely) garbage; over many seeds
 * all of holes, prefixes, full and empty results are seen. */
START_TEST(crash__tears_at_sectors)
{
    enum { SECTORS = 8 };
    int full = 0, none = 0, hole = 0;
    for (uint64_t seed = 1; seed <= 400; seed++) {
        struct fixture f;
        uint8_t data[SECTORS * 512];
        setup(&f, seed);
        sim_disk_put(f.disk, "log", "", 0);
        memset(data, 'n', sizeof(data));
        struct kb_fd *fd = open_new(&f, "log");
        ck_assert_int_eq(kb_fs_pwrite(f.fs, fd, data, sizeof(data), 0), 0);
        sim_disk_set_crash_mode(f.disk, SIM_CRASH_TORN);
        power_cut(&f);
        struct kb_view v;
        ck_assert_int_eq(sim_disk_view(f.disk, "log", false, &v), 0);
        ck_assert_uint_le(v.size, sizeof(data));
        bool lost = false, after_hole = false;
        for (size_t at = 0; at < v.size; at += 512) {
            if (v.data[at] != 'n')
                lost = true;
            else if (lost)
                after_hole = true;
        }
        full += v.size == sizeof(data) && !lost;
        none += v.size == 0;
        hole += after_hole;
        (void)sim_world_free(f.world);
    }
    ck_assert_int_gt(full, 10);
    ck_assert_int_gt(none, 10);
    ck_assert_int_gt(hole, 10);
}
END_TEST

START_TEST(rename__is_old_or_new_after_a_cut)
{
    int old = 0, new = 0;
    for (uint64_t seed = 1; seed <= 100; seed++) {
        struct fixture f;
        setup(&f, seed);
        ck_assert_int_eq(kb_fs_mkdirs(f.fs, "/data/dir"), 0);
        ck_assert_int_eq(kb_fs_replace(f.fs, "/data/dir/vote", "one", 3), 0);
        write_file(&f, "/data/dir/vote.tmp", "two", true);
        ck_assert_int_eq(kb_fs_rename(f.fs, "/data/dir/vote.tmp", "/data/dir/vote"), 0);
        power_cut(&f);
        old += holds(&f, "/data/dir/vote", "one");
        new += holds(&f, "/data/dir/vote", "two");
        ck_assert_int_eq(kb_fs_replace(f.fs, "/data/dir/vote", "three", 5), 0);
        power_cut(&f);
        ck_assert(holds(&f, "/data/dir/vote", "three"));
        (void)sim_world_free(f.world);
    }
    ck_assert_int_eq(old + new, 100);
    ck_assert_int_gt(old, 10);
    ck_assert_int_gt(new, 10);
}
END_TEST

START_TEST(link__is_a_second_name_for_the_same_bytes)
{
    struct fixture f;
    setup(&f, 1);
    sim_disk_set_crash_mode(f.disk, SIM_CRASH_DROP);
    sim_disk_put(f.disk, "/d/a", "old", 3);
    sim_disk_put(f.disk, "/d/new", "new", 3);
    uint64_t used = sim_disk_used_bytes(f.disk);
    ck_assert_int_eq(kb_fs_link(f.fs, "/d/a", "/d/b"), 0);
    ck_assert_int_eq(kb_fs_link(f.fs, "/d/a", "/d/b"), -KB_EEXIST);
    ck_assert_int_eq(kb_fs_link(f.fs, "/d/none", "/d/c"), -KB_ENOENT);
    ck_assert_uint_eq(sim_disk_used_bytes(f.disk), used);
    ck_assert_int_eq(kb_fs_rename(f.fs, "/d/new", "/d/a"), 0);
    ck_assert(holds(&f, "/d/a", "new") && holds(&f, "/d/b", "old"));
    power_cut(&f);
    ck_assert(holds(&f, "/d/a", "old") && holds(&f, "/d/b", NULL));
    ck_assert_int_eq(kb_fs_link(f.fs, "/d/a", "/d/b"), 0);
    ck_assert_int_eq(kb_fs_sync_dir(f.fs, "/d"), 0);
    ck_assert_int_eq(kb_fs_unlink(f.fs, "/d/a"), 0);
    power_cut(&f);
    ck_assert(holds(&f, "/d/a", "old") && holds(&f, "/d/b", "old"));
    (void)sim_world_free(f.world);
}
END_TEST

START_TEST(unlink__may_be_undone_until_the_directory_is_synced)
{
    int back = 0;
    for (uint64_t seed = 1; seed <= 50; seed++) {
        struct fixture f;
        setup(&f, seed);
        sim_disk_put(f.disk, "x", "bytes", 5);
        ck_assert_int_eq(kb_fs_unlink(f.fs, "x"), 0);
        ck_assert(holds(&f, "x", NULL));
        power_cut(&f);
        back += holds(&f, "x", "bytes");
        (void)sim_world_free(f.world);
    }
    ck_assert_int_gt(back, 5);
    ck_assert_int_lt(back, 50);
}
END_TEST

START_TEST(kill__keeps_the_page_cache_until_the_next_power_cut)
{
    struct fixture f;
    setup(&f, 3);
    sim_disk_put(f.disk, "x", "", 0);
    write_file(&f, "x", "cached", false);
    struct sim_env *e = sim_host_env(f.host);
    sim_env_kill(e);
    (void)sim_env_free(e);
    f.fs = sim_env_fs(sim_host_start(f.host));
    ck_assert(holds(&f, "x", "cached"));
    sim_disk_set_crash_mode(f.disk, SIM_CRASH_DROP);
    power_cut(&f);
    ck_assert(holds(&f, "x", ""));
    (void)sim_world_free(f.world);
}
END_TEST

/* fsyncgate: after a failed sync the page cache looks fine, a second sync succeeds, the bytes are
 * not on the disk; dropping the cache shows it. */
START_TEST(sync__failed_once_loses_bytes_behind_the_cache)
{
    int lost = 0;
    for (uint64_t seed = 1; seed <= 50; seed++) {
        struct fixture f;
        setup(&f, seed);
        sim_disk_put(f.disk, "x", "....", 4);
        struct kb_fd *fd = open_new(&f, "x");
        ck_assert_int_eq(kb_fs_pwrite(f.fs, fd, "data", 4, 0), 0);
        sim_disk_settings(f.disk)->sync_fail_next = 1;
        ck_assert_int_eq(kb_fs_sync(f.fs, fd), -KB_EIO);
        ck_assert_int_eq(kb_fs_sync(f.fs, fd), 0);
        ck_assert(holds(&f, "x", "data"));
        kb_fs_drop_cache(f.fs, fd);
        lost += holds(&f, "x", "....");
        (void)kb_fs_close(f.fs, fd);
        (void)sim_world_free(f.world);
    }
    ck_assert_int_gt(lost, 5);
}
END_TEST

START_TEST(dead__refuses_everything_until_it_is_healed)
{
    struct fixture f;
    char byte;
    struct kb_fd *fd = NULL;
    setup(&f, 5);
    write_file(&f, "x", "data", true);
    ck_assert(!sim_disk_is_failing(f.disk) && sim_disk_failed_us(f.disk) == 0);
    sim_world_run_for(f.world, 7);
    sim_disk_settings(f.disk)->dead = true;
    ck_assert(sim_disk_is_failing(f.disk));
    ck_assert_int_eq(kb_fs_open(f.fs, "y", KB_FS_WRITE | KB_FS_CREATE, &fd), -KB_EIO);
    ck_assert_int_eq(kb_fs_rename(f.fs, "x", "y"), -KB_EIO);
    ck_assert_int_eq(kb_fs_unlink(f.fs, "x"), -KB_EIO);
    ck_assert_int_eq(kb_fs_mkdir(f.fs, "z"), -KB_EIO);
    ck_assert_int_eq(kb_fs_open(f.fs, "x", KB_FS_WRITE, &fd), 0);
    ck_assert_int_eq(kb_fs_pread(f.fs, fd, &byte, 1, 0), -KB_EIO);
    ck_assert_int_eq(kb_fs_sync(f.fs, fd), -KB_EIO);
    ck_assert_int_eq(kb_fs_allocate(f.fs, fd, 0, 8192), -KB_EIO);
    ck_assert_uint_eq(sim_disk_failures(f.disk), 7);
    ck_assert_uint_eq(sim_disk_failed_us(f.disk), 7000);
    (void)kb_fs_close(f.fs, fd);
    sim_disk_settings(f.disk)->dead = false;
    sim_disk_forget_failures(f.disk);
    ck_assert(holds(&f, "x", "data") && sim_disk_failed_us(f.disk) == 0);
    (void)sim_world_free(f.world);
}
END_TEST

/* A turned bit is seen by whoever reads from the disk, never by those who look into memory first;
 * writing the byte again ends it, and the images do not show it. */
START_TEST(rot__is_read_from_the_disk_until_it_is_written_again)
{
    struct fixture f;
    char text[5] = "";
    setup(&f, 5);
    sim_disk_settings(f.disk)->cold_ppm = 0;
    sim_disk_put(f.disk, "x", "data", 4);
    struct kb_file *file = kb_file_new(sim_env_kb(sim_host_env(f.host)), "x");
    struct kb_env *env = sim_env_kb(sim_host_env(f.host));
    ck_assert_int_eq(kb_env_read_now(env, file, 0, text, 4), 4);
    ck_assert_int_eq(sim_disk_rot_bit(f.disk, "x", 4, 0), -KB_ENOENT);
    ck_assert_uint_eq(sim_disk_rotten(f.disk), 0);
    ck_assert_int_eq(sim_disk_rot_bit(f.disk, "x", 1, 0), 0);
    ck_assert_uint_eq(sim_disk_rotten(f.disk), 1);
    ck_assert_int_eq(kb_env_read_now(env, file, 2, text, 1), -KB_EAGAIN); /* the same page */
    ck_assert(holds(&f, "x", "data"));
    struct kb_fd *fd = open_new(&f, "x");
    ck_assert_int_eq(kb_fs_pread(f.fs, fd, text, 2, 0), 2);
    ck_assert_str_eq(text, "d`ta");
    ck_assert_int_eq(kb_env_read_now(env, file, 0, text, 4), 4); /* in memory, as it is */
    ck_assert_str_eq(text, "d`ta");
    kb_fs_drop_cache(f.fs, fd);
    ck_assert_int_eq(kb_env_read_now(env, file, 0, text, 4), -KB_EAGAIN);
    ck_assert_int_eq(kb_fs_pwrite(f.fs, fd, "A", 1, 1), 0);
    ck_assert_int_eq(kb_env_read_now(env, file, 0, text, 4), 4);
    ck_assert_str_eq(text, "dAta");
    (void)kb_fs_close(f.fs, fd);
    (void)kb_file_unref(file);
    (void)sim_world_free(f.world);
}
END_TEST

START_TEST(capacity__refuses_and_recovers)
{
    struct fixture f;
    static const char block[4096];
    setup(&f, 5);
    sim_disk_settings(f.disk)->capacity_bytes = 10000;
    struct kb_fd *fd = open_new(&f, "x");
    ck_assert_int_eq(kb_fs_allocate(f.fs, fd, 0, 8192), 0);
    ck_assert_int_eq(kb_fs_size(f.fs, fd), 0);
    ck_assert_int_eq(kb_fs_allocate(f.fs, fd, 8192, 4096), -KB_ENOSPC);
    ck_assert_int_eq(kb_fs_pwrite(f.fs, fd, block, 4096, 0), 0);
    ck_assert_int_eq(kb_fs_pwrite(f.fs, fd, block, 4096, 4096), 0);
    ck_assert_int_eq(kb_fs_pwrite(f.fs, fd, block, 4096, 8192), -KB_ENOSPC);
    ck_assert_int_le(kb_fs_size(f.fs, fd), 10000);
    (void)kb_fs_close(f.fs, fd);
    ck_assert_int_eq(kb_fs_unlink(f.fs, "x"), 0);
    ck_assert_uint_eq(sim_disk_used_bytes(f.disk), 0);
    write_file(&f, "y", "fits again", true);
    (void)sim_world_free(f.world);
}
END_TEST

START_TEST(copy__restores_an_older_directory)
{
    struct fixture f;
    setup(&f, 5);
    sim_disk_put(f.disk, "d/x", "old", 3);
    struct sim_disk_copy *copy = sim_disk_copy_new(f.disk);
    sim_disk_put(f.disk, "d/x", "new", 3);
    sim_disk_put(f.disk, "d/y", "new", 3);
    sim_disk_restore(f.disk, copy);
    ck_assert(holds(&f, "d/x", "old"));
    ck_assert(holds(&f, "d/y", NULL));
    ck_assert_uint_eq(sim_disk_used_bytes(f.disk), 3);
    (void)sim_disk_copy_free(copy);
    (void)sim_world_free(f.world);
}
END_TEST

UNIT_MAIN("sim_disk", dead__refuses_everything_until_it_is_healed,
          rot__is_read_from_the_disk_until_it_is_written_again,
          sync__keeps_bytes_and_sync_dir_the_name, crash__drops_everything_unsynced_when_told,
          crash__tears_at_sectors, rename__is_old_or_new_after_a_cut,
          link__is_a_second_name_for_the_same_bytes,
          unlink__may_be_undone_until_the_directory_is_synced,
          kill__keeps_the_page_cache_until_the_next_power_cut,
          sync__failed_once_loses_bytes_behind_the_cache, capacity__refuses_and_recovers,
          copy__restores_an_older_directory)
