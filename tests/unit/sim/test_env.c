/* A process in the simulated world: timers, lanes, jobs and reads answer as events in order; an end
 * of the process silences them all and leaves nothing behind. */
#include "tests/sim/sim_env.h"

#include "proto/base/err.h"
#include "proto/base/mem.h"
#include "tests/sim/sim_disk.h"
#include "tests/unit/unit.h"

struct story {
    struct kb_buf text;
};

static const char *told(struct story *s)
{
    kb_buf_append(&s->text, "", 1);
    s->text.size--;
    return (const char *)s->text.data;
}

struct ticker {
    struct kb_timer *timer;
    struct story *story;
    const char *word;
};

static void tick(void *arg)
{
    struct ticker *t = arg;
    kb_buf_append_str(&t->story->text, t->word);
    t->timer = kb_timer_free(t->timer);
}

START_TEST(timer__fires_once_in_order_of_time)
{
    struct sim_world *w = sim_world_new(1);
    struct sim_env *e = sim_world_add_env(w, "a");
    struct story s = {0};
    struct ticker late = {.story = &s, .word = "late "}, soon = {.story = &s, .word = "soon "};
    struct ticker never = {.story = &s, .word = "never "};
    uint64_t start_ms = kb_env_now_ms(sim_env_kb(e));
    late.timer = kb_timer_new(sim_env_kb(e), tick, &late);
    soon.timer = kb_timer_new(sim_env_kb(e), tick, &soon);
    never.timer = kb_timer_new(sim_env_kb(e), tick, &never);
    kb_timer_arm(late.timer, 5000);
    kb_timer_arm(soon.timer, 9000);
    kb_timer_arm(soon.timer, 10);
    kb_timer_arm(never.timer, 20);
    kb_timer_cancel(never.timer);
    ck_assert(!kb_timer_armed(never.timer));
    ck_assert(sim_world_run_idle(w, 60000));
    ck_assert_str_eq(told(&s), "soon late ");
    ck_assert_uint_ge(kb_env_now_ms(sim_env_kb(e)), start_ms + 5000);
    ck_assert_uint_eq(sim_env_leaks(e), 1);
    never.timer = kb_timer_free(never.timer);
    ck_assert_uint_eq(sim_env_leaks(e), 0);
    kb_buf_release(&s.text);
    (void)sim_world_free(w);
}
END_TEST

struct write_test {
    struct kb_write w;
    struct story *story;
    int id;
};

static void on_written(struct kb_write *w, int result)
{
    struct write_test *t = (struct write_test *)w;
    kb_buf_printf(&t->story->text, "w%d%s ", t->id, result < 0 ? kb_err_name(result) : "");
}

static void on_durable(struct kb_write *w, int result)
{
    struct write_test *t = (struct write_test *)w;
    kb_buf_printf(&t->story->text, "d%d%s ", t->id, result < 0 ? kb_err_name(result) : "");
}

static void queue_write(struct sim_env *e, struct write_test *t, struct story *s,
                        struct kb_file *file, int id, bool sync)
{
    *t = (struct write_test){.story = s, .id = id};
    t->w.file = file;
    t->w.position = (uint64_t)id * 4;
    t->w.sync = sync;
    t->w.on_written = on_written;
    t->w.on_durable = on_durable;
    kb_chain_add_copy(&t->w.chain, "data", 4);
    kb_lane_write(sim_env_kb(e), KB_LANE_DATA, &t->w);
}

struct job_test {
    struct kb_job job;
    struct story *story;
};

static int job_run(struct kb_job *job, struct kb_fs *fs)
{
    struct kb_fs_stat st;
    int r = kb_fs_stat(fs, "log", &st);
    if (r == 0)
        r = kb_fs_rename(fs, "log", "renamed");
    if (r == 0)
        r = kb_fs_sync_dir(fs, ".");
    return r < 0 ? r : (int)st.size;
}

static void job_done(struct kb_job *job, int result)
{
    struct job_test *t = (struct job_test *)job;
    kb_buf_printf(&t->story->text, "job:%d ", result);
}

START_TEST(lane__reports_written_then_durable_and_keeps_order_with_jobs)
{
    struct sim_world *w = sim_world_new(7);
    struct sim_env *e = sim_world_add_env(w, "a");
    struct story s = {0};
    struct write_test t[4];
    struct job_test j = {.job = {.run = job_run, .done = job_done}, .story = &s};
    sim_disk_put(sim_host_disk(sim_env_host(e)), "log", "", 0);
    struct kb_file *f = kb_file_new(sim_env_kb(e), "log");
    queue_write(e, &t[0], &s, f, 0, true);
    queue_write(e, &t[1], &s, f, 1, false);
    kb_lane_job(sim_env_kb(e), KB_LANE_DATA, &j.job);
    queue_write(e, &t[2], &s, f, 2, true);
    ck_assert_str_eq(told(&s), "");
    ck_assert(sim_world_run_idle(w, 60000));
    /* The last write finds no file of that name any more. */
    ck_assert_str_eq(told(&s), "w0 w1 d0 job:8 w2KB_ENOENT d2KB_ENOENT ");
    (void)kb_file_unref(f);
    ck_assert_uint_eq(sim_env_leaks(e), 0);
    kb_buf_release(&s.text);
    (void)sim_world_free(w);
}
END_TEST

START_TEST(lane__fails_a_file_for_good_after_a_failed_sync)
{
    struct sim_world *w = sim_world_new(7);
    struct sim_env *e = sim_world_add_env(w, "a");
    struct sim_disk *d = sim_host_disk(sim_env_host(e));
    struct story s = {0};
    struct write_test t[2];
    sim_disk_put(d, "log", "", 0);
    struct kb_file *f = kb_file_new(sim_env_kb(e), "log");
    sim_disk_settings(d)->sync_fail_next = 1;
    queue_write(e, &t[0], &s, f, 0, true);
    ck_assert(sim_world_run_idle(w, 60000));
    queue_write(e, &t[1], &s, f, 1, true);
    ck_assert(sim_world_run_idle(w, 60000));
    ck_assert_str_eq(told(&s), "w0 d0KB_EIO w1KB_EIO d1KB_EIO ");
    (void)kb_file_unref(f);
    kb_buf_release(&s.text);
    (void)sim_world_free(w);
}
END_TEST

/* All calls of a job wait for the same end of a stall, not each for its length (seeds 2010, 72830).
 */
START_TEST(lane__job_of_many_calls_waits_for_one_stall)
{
    struct sim_world *w = sim_world_new(7);
    struct sim_env *e = sim_world_add_env(w, "a");
    struct sim_disk *d = sim_host_disk(sim_env_host(e));
    struct story s = {0};
    struct job_test j = {.job = {.run = job_run, .done = job_done}, .story = &s};
    sim_disk_put(d, "log", "12345678", 8);
    sim_disk_stall(d, 1000);
    kb_lane_job(sim_env_kb(e), KB_LANE_DATA, &j.job);
    sim_world_run_for(w, 900);
    sim_disk_stall(d, 3000); /* until 3900: the job begins at 1000 */
    sim_world_run_for(w, 2900);
    ck_assert_str_eq(told(&s), "");
    sim_world_run_for(w, 300);
    ck_assert_str_eq(told(&s), "job:8 ");
    kb_buf_release(&s.text);
    (void)sim_world_free(w);
}
END_TEST

START_TEST(lane__shows_the_age_of_a_stalled_write)
{
    struct sim_world *w = sim_world_new(7);
    struct sim_env *e = sim_world_add_env(w, "a");
    struct sim_disk *d = sim_host_disk(sim_env_host(e));
    struct story s = {0};
    struct write_test t;
    sim_disk_put(d, "log", "", 0);
    struct kb_file *f = kb_file_new(sim_env_kb(e), "log");
    sim_disk_stall(d, 4000);
    queue_write(e, &t, &s, f, 0, true);
    sim_world_run_for(w, 3000);
    ck_assert_uint_eq(kb_lane_stall_ms(sim_env_kb(e), KB_LANE_DATA), 3000);
    ck_assert_uint_eq(kb_lane_stall_ms(sim_env_kb(e), KB_LANE_RAFT), 0);
    ck_assert_str_eq(told(&s), "");
    ck_assert(sim_world_run_idle(w, 60000));
    ck_assert_str_eq(told(&s), "w0 d0 ");
    ck_assert_uint_eq(kb_lane_stall_ms(sim_env_kb(e), KB_LANE_DATA), 0);
    (void)kb_file_unref(f);
    kb_buf_release(&s.text);
    (void)sim_world_free(w);
}
END_TEST

static void count_down(void *arg, struct sim_env *e)
{
    (*(int *)arg)++;
    (void)sim_env_free(e);
}

/* Die at each file call in turn: nothing is heard afterwards, and what the calls before it did is
 * all there is. */
START_TEST(crash_after__strikes_at_every_file_call)
{
    for (uint64_t call = 1; call <= 8; call++) {
        struct sim_world *w = sim_world_new(call);
        struct sim_env *e = sim_world_add_env(w, "a");
        struct sim_host *h = sim_env_host(e);
        struct story s = {0};
        struct write_test t[2];
        struct job_test j = {.job = {.run = job_run, .done = job_done}, .story = &s};
        int downs = 0;
        sim_world_on_down(w, count_down, &downs);
        sim_disk_put(sim_host_disk(h), "log", "", 0);
        struct kb_file *f = kb_file_new(sim_env_kb(e), "log");
        queue_write(e, &t[0], &s, f, 0, true);
        kb_lane_job(sim_env_kb(e), KB_LANE_DATA, &j.job);
        sim_env_crash_after(e, call, true);
        ck_assert(sim_world_run_idle(w, 1000)); /* f goes with the env */
        /* calls: write, sync, stat, rename, sync of the directory */
        static const char *const expected[] = {"", "w0 ", "w0 d0 ", "w0 d0 ", "w0 d0 "};
        ck_assert_int_eq(downs, call <= 5 ? 1 : 0);
        ck_assert_str_eq(told(&s), call <= 5 ? expected[call - 1] : "w0 d0 job:4 ");
        if (call > 2) {
            struct kb_view v;
            int r = sim_disk_view(sim_host_disk(h), call > 5 ? "renamed" : "log", true, &v);
            if (call > 5 || call < 5)
                ck_assert_int_eq(r, 0);
        }
        kb_buf_release(&s.text);
        (void)sim_world_free(w);
    }
}
END_TEST

START_TEST(exit__silences_the_process)
{
    struct sim_world *w = sim_world_new(1);
    struct sim_env *e = sim_world_add_env(w, "a");
    struct story s = {0};
    struct ticker t = {.story = &s, .word = "tick"};
    t.timer = kb_timer_new(sim_env_kb(e), tick, &t);
    kb_timer_arm(t.timer, 10);
    kb_env_exit(sim_env_kb(e), 3, "no way on");
    ck_assert(sim_env_is_down(e));
    ck_assert_int_eq(sim_env_exit_status(e), 3);
    ck_assert_str_eq(sim_env_exit_reason(e), "no way on");
    sim_world_run_for(w, 1000);
    ck_assert_ptr_eq(s.text.data, NULL);
    t.timer = kb_timer_free(t.timer);
    (void)sim_world_free(w);
}
END_TEST

START_TEST(freeze__keeps_events_in_order_until_thaw)
{
    struct sim_world *w = sim_world_new(1);
    struct sim_env *e = sim_world_add_env(w, "a");
    struct story s = {0};
    struct ticker a = {.story = &s, .word = "a"}, b = {.story = &s, .word = "b"};
    a.timer = kb_timer_new(sim_env_kb(e), tick, &a);
    b.timer = kb_timer_new(sim_env_kb(e), tick, &b);
    kb_timer_arm(a.timer, 10);
    kb_timer_arm(b.timer, 20);
    sim_env_freeze(e);
    sim_world_run_for(w, 1000);
    ck_assert_str_eq(told(&s), "");
    ck_assert(kb_timer_armed(a.timer));
    sim_env_thaw(e);
    sim_world_run_for(w, 1);
    ck_assert_str_eq(told(&s), "ab");
    kb_buf_release(&s.text);
    (void)sim_world_free(w);
}
END_TEST

struct read_test {
    struct kb_read r;
    int64_t result;
    bool done;
};

static void read_done(struct kb_read *r, int64_t result)
{
    struct read_test *t = (struct read_test *)r;
    t->result = result;
    t->done = true;
}

START_TEST(read__answers_later_and_read_now_may_refuse)
{
    struct sim_world *w = sim_world_new(1);
    struct sim_env *e = sim_world_add_env(w, "a");
    struct sim_disk *d = sim_host_disk(sim_env_host(e));
    char bytes[8];
    sim_disk_put(d, "x", "0123456789", 10);
    struct kb_file *f = kb_file_new(sim_env_kb(e), "x");
    sim_disk_settings(d)->cold_ppm = 1000000;
    ck_assert_int_eq(kb_env_read_now(sim_env_kb(e), f, 2, bytes, 8), -KB_EAGAIN);
    sim_disk_settings(d)->cold_ppm = 0;
    ck_assert_int_eq(kb_env_read_now(sim_env_kb(e), f, 6, bytes, 8), 4);
    struct read_test t = {.r = {.file = f, .position = 2, .buffer = bytes, .size = 8}};
    t.r.done = read_done;
    kb_env_read(sim_env_kb(e), &t.r);
    ck_assert(!t.done);
    ck_assert(sim_world_run_until_flag(w, &t.done, 1000));
    ck_assert_int_eq(t.result, 8);
    ck_assert_mem_eq(bytes, "23456789", 8);
    (void)kb_file_unref(f);
    (void)sim_world_free(w);
}
END_TEST

static uint64_t run_something(uint64_t seed)
{
    struct sim_world *w = sim_world_new(seed);
    struct sim_env *e = sim_world_add_env(w, "a");
    struct story s = {0};
    struct write_test t[8];
    sim_disk_put(sim_host_disk(sim_env_host(e)), "log", "", 0);
    struct kb_file *f = kb_file_new(sim_env_kb(e), "log");
    for (int i = 0; i < 8; i++) {
        queue_write(e, &t[i], &s, f, i, kb_env_random_u64(sim_env_kb(e)) % 2 == 0);
        sim_world_run_for(w, 1);
    }
    (void)sim_world_run_idle(w, 1000);
    uint64_t hash = sim_world_trace_hash(w);
    (void)kb_file_unref(f);
    kb_buf_release(&s.text);
    (void)sim_world_free(w);
    return hash;
}

START_TEST(trace_hash__repeats_for_a_seed_and_differs_between_seeds)
{
    ck_assert_uint_eq(run_something(11), run_something(11));
    ck_assert_uint_ne(run_something(11), run_something(12));
}
END_TEST

UNIT_MAIN("sim_env", timer__fires_once_in_order_of_time,
          lane__reports_written_then_durable_and_keeps_order_with_jobs,
          lane__fails_a_file_for_good_after_a_failed_sync,
          lane__job_of_many_calls_waits_for_one_stall, lane__shows_the_age_of_a_stalled_write,
          crash_after__strikes_at_every_file_call, exit__silences_the_process,
          freeze__keeps_events_in_order_until_thaw, read__answers_later_and_read_now_may_refuse,
          trace_hash__repeats_for_a_seed_and_differs_between_seeds)
