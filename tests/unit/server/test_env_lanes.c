/* Ordered writes on real files: written before durable, jobs as barriers, adjacent writes merged,
 * failing files, few descriptors. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/uio.h>

#include "tests/unit/server/world.h"
#include "tests/unit/unit.h"

struct write {
    struct kb_write w;
    struct story *story;
    int id;
    int written;
    int durable;
};
/* What happened, in order: "w1 d1 j2 …". */
struct story {
    struct kb_buf text;
    size_t n_done;
};

static void on_written(struct kb_write *kw, int result)
{
    struct write *w = (struct write *)kw;
    w->written = result;
    kb_buf_printf(&w->story->text, "w%d%s ", w->id, result < 0 ? "!" : "");
    if (!kw->sync)
        w->story->n_done++;
}

static void on_durable(struct kb_write *kw, int result)
{
    struct write *w = (struct write *)kw;
    w->durable = result;
    kb_buf_printf(&w->story->text, "d%d%s ", w->id, result < 0 ? "!" : "");
    w->story->n_done++;
}

static struct write *put(struct world *world, struct story *story, struct kb_file *f, int id,
                         uint64_t position, const char *text, bool sync)
{
    struct write *w = kb_new(struct write);
    w->story = story;
    w->id = id;
    w->w = (struct kb_write){.file = f,
                             .position = position,
                             .sync = sync,
                             .on_written = on_written,
                             .on_durable = on_durable};
    kb_chain_add_copy(&w->w.chain, text, strlen(text));
    kb_lane_write(world->env, KB_LANE_DATA, &w->w);
    return w;
}

struct job {
    struct kb_job job;
    struct story *story;
    int id;
    char *path;
    int64_t size_seen;
    int result;
};

static int job_run(struct kb_job *kj, struct kb_fs *fs)
{
    struct job *j = (struct job *)kj;
    struct kb_fs_stat st;
    int r = kb_fs_stat(fs, j->path, &st);
    j->size_seen = (int64_t)st.size;
    return r < 0 ? r : 7;
}

static void job_done(struct kb_job *kj, int result)
{
    struct job *j = (struct job *)kj;
    j->result = result;
    kb_buf_printf(&j->story->text, "j%d ", j->id);
    j->story->n_done++;
}

static void check_story(struct story *s, const char *expected)
{
    ck_assert_uint_gt(s->text.size, 0);
    s->text.data[s->text.size - 1] = '\0';
    ck_assert_str_eq((const char *)s->text.data, expected);
    kb_buf_release(&s->text);
    s->n_done = 0;
}

static void check_content(const char *path, const char *expected)
{
    char text[256] = "";
    FILE *f = fopen(path, "r");
    ck_assert_ptr_nonnull(f);
    size_t n = fread(text, 1, sizeof(text) - 1, f);
    (void)fclose(f);
    ck_assert_uint_eq(n, strlen(expected));
    ck_assert_str_eq(text, expected);
}

START_TEST(lane__reports_written_then_durable_in_order_around_jobs)
{
    struct world w;
    struct story s = {0};
    world_open(&w, NULL);
    char *path_a = world_file(&w, "a", 0);
    char *path_b = world_file(&w, "b", 0);
    struct kb_file *a = kb_file_new(w.env, path_a);
    struct kb_file *b = kb_file_new(w.env, path_b);
    struct job job = {
        .job = {.run = job_run, .done = job_done}, .story = &s, .id = 4, .path = path_a};
    struct write *writes[6];
    writes[0] = put(&w, &s, a, 1, 0, "one ", true);
    writes[1] = put(&w, &s, b, 2, 0, "other", true);
    writes[2] = put(&w, &s, a, 3, 4, "three ", false);
    kb_lane_job(w.env, KB_LANE_DATA, &job.job);
    writes[3] = put(&w, &s, a, 5, 10, "five", true);
    writes[4] = put(&w, &s, a, 6, 0, "ONE", true);
    writes[5] = put(&w, &s, b, 7, 5, "!", true);
    ck_assert_int_eq(srv_env_quiesce(w.srv, 10000), 0);
    check_story(&s, "w1 w2 w3 d1 d2 j4 w5 w6 w7 d5 d6 d7");
    ck_assert_int_eq(job.result, 7);
    ck_assert_int_eq(job.size_seen, 10); /* all before it, nothing after it */
    check_content(path_a, "ONE three five");
    check_content(path_b, "other!");
    ck_assert_uint_eq(kb_lane_stall_ms(w.env, KB_LANE_DATA), 0);
    for (int i = 0; i < 6; i++)
        (void)kb_free(writes[i]);
    (void)kb_file_unref(a);
    (void)kb_file_unref(b);
    (void)kb_free(path_a);
    (void)kb_free(path_b);
    world_close(&w);
}
END_TEST

START_TEST(lane__thousand_writes_to_many_files_with_few_descriptors)
{
    struct srv_env_options o = {.open_files_max = 8};
    struct world w;
    struct story s = {0};
    struct kb_file *files[50];
    char *paths[50];
    struct write *writes[1000];
    struct srv_env_stats stats;
    world_open(&w, &o);
    for (int i = 0; i < 50; i++) {
        char name[16];
        (void)snprintf(name, sizeof(name), "f%d", i);
        paths[i] = world_file(&w, name, 0);
        files[i] = kb_file_new(w.env, paths[i]);
    }
    for (int turn = 0; turn < 2; turn++) {
        for (int i = 0; i < 500; i++) {
            char text[16];
            (void)snprintf(text, sizeof(text), "%04d", turn * 500 + i);
            uint64_t position = (uint64_t)(i / 50 + turn * 10) * 4;
            writes[turn * 500 + i] = put(&w, &s, files[i % 50], i, position, text, i % 3 != 0);
        }
        ck_assert_int_eq(srv_env_quiesce(w.srv, 20000), 0);
    }
    ck_assert_uint_eq(s.n_done, 1000);
    for (int i = 0; i < 1000; i++) {
        ck_assert_int_eq(writes[i]->written, 0);
        ck_assert_int_eq(writes[i]->durable, 0);
        (void)kb_free(writes[i]);
    }
    for (int i = 0; i < 50; i++) {
        struct stat st;
        ck_assert_int_eq(stat(paths[i], &st), 0);
        ck_assert_int_eq(st.st_size, 80);
        char expected[8];
        char text[8] = "";
        FILE *f = fopen(paths[i], "r");
        (void)snprintf(expected, sizeof(expected), "%04d", 950 + i);
        ck_assert_int_eq(fseek(f, 76, SEEK_SET), 0);
        ck_assert_uint_eq(fread(text, 1, 4, f), 4);
        ck_assert_str_eq(text, expected);
        (void)fclose(f);
        files[i] = kb_file_unref(files[i]);
        (void)kb_free(paths[i]);
    }
    srv_env_stats(w.srv, &stats);
    ck_assert_uint_eq(stats.lane_writes[KB_LANE_DATA], 1000);
    ck_assert_uint_le(stats.lane_syncs[KB_LANE_DATA], 10);
    kb_buf_release(&s.text);
    world_close(&w);
}
END_TEST

START_TEST(lane__failed_file_stays_failed_and_others_go_on)
{
    struct world w;
    struct story s = {0};
    world_open(&w, NULL);
    char *good_path = world_file(&w, "good", 0);
    struct kb_file *full = kb_file_new(w.env, "/dev/full");
    struct kb_file *good = kb_file_new(w.env, good_path);
    struct kb_file *missing = kb_file_new(w.env, "./no/such/file");
    struct write *writes[6];
    writes[0] = put(&w, &s, full, 1, 0, "x", true);
    writes[1] = put(&w, &s, good, 2, 0, "fine", true);
    writes[2] = put(&w, &s, full, 3, 1, "y", true);
    writes[3] = put(&w, &s, missing, 4, 0, "z", false);
    ck_assert_int_eq(srv_env_quiesce(w.srv, 10000), 0);
    ck_assert_int_eq(writes[0]->written, -KB_ENOSPC);
    ck_assert_int_eq(writes[0]->durable, -KB_ENOSPC);
    ck_assert_int_eq(writes[1]->durable, 0);
    ck_assert_int_eq(writes[2]->written, -KB_EIO);
    ck_assert_int_eq(writes[2]->durable, -KB_EIO);
    ck_assert_int_eq(writes[3]->written, -KB_ENOENT);
    writes[4] = put(&w, &s, full, 5, 0, "again", true);
    writes[5] = put(&w, &s, good, 6, 4, "!", true);
    ck_assert_int_eq(srv_env_quiesce(w.srv, 10000), 0);
    ck_assert_int_eq(writes[4]->durable, -KB_EIO);
    ck_assert_int_eq(writes[5]->durable, 0);
    check_story(&s, "w1! w2 w3! w4! d1! d2 d3! w5! w6 d5! d6");
    check_content(good_path, "fine!");
    for (int i = 0; i < 6; i++)
        (void)kb_free(writes[i]);
    (void)kb_file_unref(full);
    (void)kb_file_unref(good);
    (void)kb_file_unref(missing);
    (void)kb_free(good_path);
    world_close(&w);
}
END_TEST

START_TEST(lane__write_cut_short_by_a_limit_fails_from_there_on)
{
    struct world w;
    struct story s = {0};
    struct rlimit limit = {.rlim_cur = 10, .rlim_max = RLIM_INFINITY};
    struct rlimit before;
    world_open(&w, NULL);
    char *path = world_file(&w, "f", 0);
    struct kb_file *f = kb_file_new(w.env, path);
    (void)signal(SIGXFSZ, SIG_IGN);
    ck_assert_int_eq(getrlimit(RLIMIT_FSIZE, &before), 0);
    limit.rlim_max = before.rlim_max;
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
    struct write *writes[3];
    writes[0] = put(&w, &s, f, 1, 0, "12345678", true);
    writes[1] = put(&w, &s, f, 2, 8, "abcdef", true); /* adjacent: one call for both */
    writes[2] = put(&w, &s, f, 3, 2, "x", true);
    ck_assert_int_eq(srv_env_quiesce(w.srv, 10000), 0);
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &before), 0);
    ck_assert_int_eq(writes[0]->durable, 0);
    ck_assert_int_eq(writes[1]->durable, -KB_ETOOBIG);
    ck_assert_int_eq(writes[2]->durable, -KB_EIO);
    check_story(&s, "w1 w2! w3! d1 d2! d3!");
    for (int i = 0; i < 3; i++)
        (void)kb_free(writes[i]);
    (void)kb_file_unref(f);
    (void)kb_free(path);
    world_close(&w);
}
END_TEST

START_TEST(file__set_path_follows_a_rename)
{
    struct world w;
    struct story s = {0};
    world_open(&w, NULL);
    char *old_path = world_file(&w, "old", 0);
    char *new_path = world_path(&w, "new");
    struct kb_file *f = kb_file_new(w.env, old_path);
    struct write *a = put(&w, &s, f, 1, 0, "before ", true);
    ck_assert_int_eq(srv_env_quiesce(w.srv, 10000), 0);
    ck_assert_int_eq(rename(old_path, new_path), 0);
    kb_file_set_path(f, new_path);
    ck_assert_str_eq(kb_file_path(f), new_path);
    struct write *b = put(&w, &s, f, 2, 7, "after", true);
    ck_assert_int_eq(srv_env_quiesce(w.srv, 10000), 0);
    check_content(new_path, "before after");
    kb_buf_release(&s.text);
    (void)kb_free(a);
    (void)kb_free(b);
    (void)kb_file_unref(f);
    (void)kb_free(old_path);
    (void)kb_free(new_path);
    world_close(&w);
}
END_TEST

struct reading {
    struct kb_read r;
    int64_t result;
    bool done;
};
static void on_read(struct kb_read *r, int64_t result)
{
    ((struct reading *)r)->result = result;
    ((struct reading *)r)->done = true;
}

/* Some file systems have no reads that never wait (overlayfs on some kernels). */
static bool can_read_now(const char *path)
{
    char byte;
    struct iovec iov = {&byte, 1};
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ck_assert_int_ge(fd, 0);
    bool can = preadv2(fd, &iov, 1, 0, RWF_NOWAIT) >= 0 || errno != EOPNOTSUPP;
    (void)close(fd);
    return can;
}

START_TEST(read__by_a_reader_and_at_once)
{
    struct world w;
    uint8_t buffer[300];
    world_open(&w, NULL);
    char *path = world_file(&w, "f", 1000);
    struct kb_file *f = kb_file_new(w.env, path);
    ck_assert_int_eq(kb_env_read_now(w.env, f, 0, buffer, 10), -KB_EAGAIN); /* not open yet */
    struct reading r = {
        .r = {.file = f, .position = 800, .buffer = buffer, .size = 300, .done = on_read}};
    kb_env_read(w.env, &r.r);
    world_until(&w, &r.done);
    ck_assert_int_eq(r.result, 200);
    ck_assert_uint_eq(buffer[199], world_byte(999));
    if (can_read_now(path)) {
        ck_assert_int_eq(kb_env_read_now(w.env, f, 990, buffer, 300), 10);
        ck_assert_uint_eq(buffer[9], world_byte(999));
        ck_assert_int_eq(kb_env_read_now(w.env, f, 2000, buffer, 300), 0);
    } else {
        ck_assert_int_eq(kb_env_read_now(w.env, f, 990, buffer, 300), -KB_EAGAIN);
    }
    (void)kb_file_unref(f);
    struct kb_file *missing = kb_file_new(w.env, "./no/such/file");
    r = (struct reading){.r = {.file = missing, .buffer = buffer, .size = 1, .done = on_read}};
    kb_env_read(w.env, &r.r);
    world_until(&w, &r.done);
    ck_assert_int_eq(r.result, -KB_ENOENT);
    (void)kb_file_unref(missing);
    (void)kb_free(path);
    world_close(&w);
}
END_TEST

static int fs_calls(struct kb_job *job, struct kb_fs *fs)
{
    struct job *j = (struct job *)job;
    char *sub = kb_asprintf("%s/x/y", j->path);
    char *file = kb_asprintf("%s/x/y/file", j->path);
    struct kb_buf content = {0};
    struct kb_fd *fd = NULL;
    struct kb_fs_stat st;
    uint64_t free_bytes = 0;
    bool ok = kb_fs_mkdirs(fs, sub) == 0 && kb_fs_replace(fs, file, "hello", 5) == 0 &&
              kb_fs_replace(fs, file, "hello!", 6) == 0 &&
              kb_fs_read_all(fs, file, 5, &content) == -KB_ETOOBIG &&
              kb_fs_read_all(fs, file, 6, &content) == 0 && content.size == 6 &&
              memcmp(content.data, "hello!", 6) == 0;
    ok = ok &&
         kb_fs_open(fs, file, KB_FS_WRITE | KB_FS_CREATE | KB_FS_EXCLUSIVE, &fd) == -KB_EEXIST;
    ok = ok && kb_fs_open(fs, file, KB_FS_WRITE, &fd) == 0 && kb_fs_truncate(fs, fd, 3) == 0 &&
         kb_fs_size(fs, fd) == 3 && kb_fs_sync(fs, fd) == 0;
    int allocated = ok ? kb_fs_allocate(fs, fd, 0, 4096) : -1;
    ok = ok && (allocated == 0 || allocated == -KB_EUNSUPPORTED) && kb_fs_size(fs, fd) == 3;
    fd = kb_fs_close(fs, fd);
    ok = ok && kb_fs_stat(fs, file, &st) == 0 && st.type == KB_FS_FILE && st.size == 3 &&
         kb_fs_stat(fs, sub, &st) == 0 && st.type == KB_FS_DIR &&
         kb_fs_unlink(fs, "./no/such") == -KB_ENOENT && kb_fs_mkdir(fs, sub) == -KB_EEXIST &&
         kb_fs_free_bytes(fs, sub, &free_bytes) == 0 && free_bytes > 0 && kb_fs_now_ms(fs) > 0 &&
         kb_fs_wall_ms(fs) > 1600000000000;
    char *twin = kb_asprintf("%s/x/y/twin", j->path);
    ok = ok && kb_fs_link(fs, file, twin) == 0 && kb_fs_link(fs, file, twin) == -KB_EEXIST &&
         kb_fs_unlink(fs, file) == 0 && kb_fs_stat(fs, twin, &st) == 0 && st.size == 3 &&
         kb_fs_link(fs, file, twin) == -KB_ENOENT;
    (void)kb_free(twin);
    kb_buf_release(&content);
    char *top = kb_asprintf("%s/x", j->path);
    ok = ok && kb_fs_remove_tree(fs, top) == 0 && kb_fs_stat(fs, top, &st) == 0 &&
         st.type == KB_FS_NONE;
    (void)kb_free(top);
    (void)kb_free(sub);
    (void)kb_free(file);
    return ok ? 1 : -KB_EINVAL;
}

START_TEST(fs__calls_do_what_they_say)
{
    struct world w;
    struct story s = {0};
    world_open(&w, NULL);
    struct job j = {
        .job = {.run = fs_calls, .done = job_done}, .story = &s, .id = 1, .path = w.dir};
    kb_env_job(w.env, &j.job);
    ck_assert_int_eq(srv_env_quiesce(w.srv, 10000), 0);
    ck_assert_int_eq(j.result, 1);
    kb_buf_release(&s.text);
    world_close(&w);
}
END_TEST

UNIT_MAIN("env_lanes", lane__reports_written_then_durable_in_order_around_jobs,
          lane__thousand_writes_to_many_files_with_few_descriptors,
          lane__failed_file_stays_failed_and_others_go_on,
          lane__write_cut_short_by_a_limit_fails_from_there_on, file__set_path_follows_a_rename,
          read__by_a_reader_and_at_once, fs__calls_do_what_they_say)
