/* What a start finds: logs cut at every byte, with zeros or garbage behind them, with flipped bits
 * above and below the durable mark, without their side files, and after power cuts at any file
 * call of a busy log with rolls and truncations. */

#include <stdlib.h>
#include <string.h>

#include "proto/base/err.h"
#include "proto/base/prng.h"
#include "replication/log/producers.h"
#include "tests/unit/log/log_world.h"
#include "tests/unit/unit.h"

#define SEGMENT(base) LW_DIR "/" base ".log"
#define FIRST SEGMENT("00000000000000000000")

static void fill(struct lw *l, int batches)
{
    int32_t epoch = log_last_epoch(l->log) + 1;
    for (int i = 0; i < batches; i++)
        ck_assert_int_eq(lw_append(l, epoch + i / 8, 1 + i % 3, 40, 1000 + 10L * i), 0);
    lw_settle(l);
}

/* Recovery of the same bytes again says the same, and has nothing left to cut (P20). */
static void check_again(struct lw *l, int64_t mark)
{
    int64_t end = l->found.end_offset;
    int32_t epoch = l->found.last_epoch;
    lw_power_cut(l, SIM_CRASH_DROP);
    lw_open(l, false, mark);
    ck_assert_int_eq(l->open_result, 0);
    ck_assert_int_eq(l->found.state, LOG_WHOLE);
    ck_assert_int_eq(l->found.end_offset, end);
    ck_assert_int_eq(l->found.last_epoch, epoch);
}

START_TEST(recover__torn_at_every_byte)
{
    struct lw l;
    lw_init(&l, 1);
    lw_create(&l, 0);
    fill(&l, 4);
    lw_kill(&l);
    struct lw_batch last = l.batches[3];
    for (size_t keep = 0; keep <= last.size; keep++) {
        sim_disk_put(sim_host_disk(l.host), FIRST, l.bytes.data, last.position + keep);
        lw_open(&l, false, last.base_offset);
        /* A rest of zeros is no rest: the first bytes of the head are zero. */
        bool whole = keep == last.size;
        size_t zeros = 0;
        while (zeros < keep && l.bytes.data[last.position + zeros] == 0)
            zeros++;
        whole |= zeros == keep;
        ck_assert_int_eq(l.open_result, 0);
        ck_assert_int_eq(l.found.state, whole ? LOG_WHOLE : LOG_CUT);
        ck_assert_int_eq(l.found.end_offset,
                         keep == last.size ? last.last_offset + 1 : last.base_offset);
        check_again(&l, last.base_offset);
        lw_kill(&l);
    }
    lw_release(&l);
}
END_TEST

START_TEST(recover__zeros_and_garbage_behind_the_end)
{
    struct lw l;
    lw_init(&l, 1);
    lw_create(&l, 0);
    fill(&l, 4);
    int64_t end = log_end_offset(l.log);
    lw_kill(&l);
    for (size_t tail = 1; tail < 1500; tail += 61) {
        for (int garbage = 0; garbage < 2; garbage++) {
            struct kb_buf b = {0};
            kb_buf_append(&b, l.bytes.data, l.bytes.size);
            for (size_t i = 0; i < tail; i++)
                kb_buf_append(&b, garbage ? "\x05" : "\0", 1);
            sim_disk_put(sim_host_disk(l.host), FIRST, b.data, b.size);
            kb_buf_release(&b);
            lw_open(&l, false, end);
            ck_assert_int_eq(l.found.state, garbage ? LOG_CUT : LOG_WHOLE);
            ck_assert_int_eq(l.found.end_offset, end);
            check_again(&l, end);
            lw_check_all(&l);
            lw_kill(&l);
        }
    }
    lw_release(&l);
}
END_TEST

START_TEST(recover__hole_then_valid_batches_is_cut_at_the_hole)
{
    struct lw l;
    lw_init(&l, 1);
    lw_create(&l, 0);
    fill(&l, 6);
    lw_kill(&l);
    struct kb_buf b = {0};
    kb_buf_append(&b, l.bytes.data, l.bytes.size);
    memset(b.data + l.batches[3].position, 0, l.batches[3].size);
    sim_disk_put(sim_host_disk(l.host), FIRST, b.data, b.size);
    kb_buf_release(&b);
    lw_open(&l, false, l.batches[2].base_offset);
    ck_assert_int_eq(l.found.state, LOG_CUT);
    ck_assert_int_eq(l.found.end_offset, l.batches[3].base_offset);
    lw_model_cut(&l, l.batches[3].base_offset);
    lw_check_all(&l);
    lw_release(&l);
}
END_TEST

/* Whatever a start cuts off it is the last to have seen: one that dies before it could tell anybody
 * leaves a sound end, and the next must not take that for the whole log. */
START_TEST(recover__a_cut_is_known_until_it_is_forgotten)
{
    static const bool lives[] = {false, true}; /* by a kill, by a power cut */
    for (size_t i = 0; i < 2; i++) {
        struct lw l;
        lw_init(&l, 1);
        l.options.remember_cut = true;
        lw_create(&l, 0);
        fill(&l, 6);
        lw_kill(&l);
        sim_disk_flip_bit(sim_host_disk(l.host), FIRST, l.batches[4].position + 70, 2);
        lw_open(&l, false, 0);
        ck_assert_int_eq(l.found.state, LOG_CUT);
        lw_model_cut(&l, l.batches[4].base_offset);
        for (int again = 0; again < 2; again++) {
            if (lives[i])
                lw_power_cut(&l, SIM_CRASH_DROP);
            else
                lw_kill(&l);
            lw_open(&l, false, 0);
            ck_assert_int_eq(l.found.state, LOG_CUT);
            lw_check_all(&l);
        }
        log_forget_cut(l.log);
        lw_run(&l, 100);
        lw_kill(&l);
        lw_open(&l, false, 0);
        ck_assert_int_eq(l.found.state, LOG_WHOLE);
        lw_release(&l);
    }
}
END_TEST

START_TEST(recover__bad_below_the_mark_is_damage_and_nothing_is_cut)
{
    for (int how = 0; how < 2; how++) {
        struct lw l;
        lw_init(&l, 1);
        lw_create(&l, 0);
        fill(&l, 6);
        int64_t end = log_end_offset(l.log);
        lw_kill(&l);
        if (how == 0) /* a flipped bit */
            sim_disk_flip_bit(sim_host_disk(l.host), FIRST, l.batches[4].position + 70, 2);
        else /* the end is missing, at a batch's border */
            sim_disk_put(sim_host_disk(l.host), FIRST, l.bytes.data, l.batches[4].position);
        struct kb_buf before = {0};
        struct kb_buf after = {0};
        ck_assert_int_eq(sim_disk_read(sim_host_disk(l.host), FIRST, &before), 0);
        lw_open(&l, false, end);
        ck_assert_int_eq(l.found.state, LOG_DAMAGED);
        ck_assert_int_eq(l.found.damaged_from, l.batches[4].base_offset);
        ck_assert_int_eq(log_end_offset(l.log), l.batches[4].base_offset);
        ck_assert_int_eq(sim_disk_read(sim_host_disk(l.host), FIRST, &after), 0);
        ck_assert_uint_eq(before.size, after.size);
        ck_assert_int_eq(memcmp(before.data, after.data, after.size), 0);
        kb_buf_release(&before);
        kb_buf_release(&after);
        lw_model_cut(&l, l.batches[4].base_offset);
        lw_check_all(&l);
        ck_assert_int_eq(lw_append_once(&l, 9, 1, 10, 1), -KB_ECORRUPT);
        /* Out of ISR and ELR by now: drop the rest, go on. */
        log_truncate_to(l.log, l.found.damaged_from, lw_on_done, &l);
        ck_assert_int_eq(lw_wait_done(&l), 0);
        fill(&l, 3);
        lw_check_all(&l);
        /* The old mark is void: the cut is younger. */
        lw_power_cut(&l, SIM_CRASH_DROP);
        lw_open(&l, false, end + 100);
        ck_assert_int_eq(l.found.state, LOG_WHOLE);
        lw_check_all(&l);
        lw_release(&l);
    }
}
END_TEST

START_TEST(recover__damage_in_a_closed_segment)
{
    for (int clean = 0; clean < 2; clean++) {
        struct lw l;
        lw_init(&l, 1);
        l.options.config.segment_bytes = 1000;
        lw_create(&l, 0);
        fill(&l, 40);
        ck_assert_uint_gt(log_segment_count(l.log), 4);
        struct log_segment_info second = log_segment_info(l.log, 1);
        int64_t end = log_end_offset(l.log);
        char path[128];
        snprintf(path, sizeof(path), LW_DIR "/%020lld.log", (long long)second.base_offset);
        if (clean)
            lw_close(&l);
        else
            lw_kill(&l);
        if (clean) { /* the end of it is gone */
            struct kb_buf b = {0};
            ck_assert_int_eq(sim_disk_read(sim_host_disk(l.host), path, &b), 0);
            sim_disk_put(sim_host_disk(l.host), path, b.data, b.size - 1);
            kb_buf_release(&b);
        } else {
            sim_disk_flip_bit(sim_host_disk(l.host), path, 75, 0);
        }
        lw_open(&l, clean, clean ? end : 0);
        ck_assert_int_eq(l.open_result, 0);
        ck_assert_int_eq(l.found.state, LOG_DAMAGED);
        ck_assert_int_ge(l.found.damaged_from, second.base_offset);
        ck_assert_int_lt(l.found.damaged_from, second.next_offset);
        int64_t from = l.found.damaged_from;
        lw_model_cut(&l, from);
        lw_check_all(&l);
        log_truncate_to(l.log, from, lw_on_done, &l);
        ck_assert_int_eq(lw_wait_done(&l), 0);
        fill(&l, 12);
        lw_check_all(&l);
        end = log_durable_mark(l.log);
        lw_kill(&l);
        lw_open(&l, false, end);
        ck_assert_int_eq(l.found.state, LOG_WHOLE);
        lw_check_all(&l);
        lw_release(&l);
    }
}
END_TEST

/* The epoch file proves what it proved before the start: a mark that fell would let the next power
 * cut, soon after, make a torn tail of damage. Without the file it waits for another. */
START_TEST(recover__mark_does_not_fall_at_a_start)
{
    struct lw l;
    lw_init(&l, 1);
    lw_create(&l, 0);
    fill(&l, 6);
    lw_run(&l, 5000); /* the epoch file follows */
    int64_t end = log_end_offset(l.log);
    ck_assert_int_eq(log_durable_mark(l.log), end);
    lw_kill(&l);
    lw_open(&l, false, end);
    int64_t mark = log_durable_mark(l.log);
    ck_assert_int_eq(mark, end);
    lw_power_cut(&l, SIM_CRASH_DROP);
    sim_disk_flip_bit(sim_host_disk(l.host), FIRST, l.batches[4].position + 70, 2);
    lw_open(&l, false, mark);
    ck_assert_int_eq(l.found.state, LOG_DAMAGED);
    lw_power_cut(&l, SIM_CRASH_DROP);
    sim_disk_flip_bit(sim_host_disk(l.host), FIRST, l.batches[4].position + 70, 2);
    sim_disk_remove(sim_host_disk(l.host), LW_DIR "/leader-epoch-checkpoint");
    lw_open(&l, false, end);
    ck_assert_int_eq(l.found.state, LOG_WHOLE);
    ck_assert_int_eq(log_durable_mark(l.log), 0);
    lw_run(&l, 5000);
    ck_assert_int_eq(log_durable_mark(l.log), end);
    lw_release(&l);
}
END_TEST

/* ---- side files ---- */

static void producers_expect(struct lw *l)
{
    /* The twin: a state that took in every batch. */
    struct log_producers_config config = {.count_max = 1000};
    struct log_producers *twin = log_producers_new(&config);
    for (size_t i = 0; i < l->batch_count; i++) {
        struct log_producer_batch p;
        ck_assert_int_eq(log_producer_batch_parse(l->bytes.data + l->batches[i].position,
                                                  l->batches[i].size, &p),
                         0);
        (void)log_producers_update(twin, &p, 1, NULL);
        log_producers_advance(twin, l->batches[i].last_offset + 1);
    }
    ck_assert_uint_eq(log_producers_count(log_producers(l->log)), log_producers_count(twin));
    for (size_t i = 0; i < l->batch_count; i++) {
        struct log_producer_batch p;
        struct log_producers_original a = {0};
        struct log_producers_original b = {0};
        (void)log_producer_batch_parse(l->bytes.data + l->batches[i].position, l->batches[i].size,
                                       &p);
        ck_assert_int_eq(log_producers_check(log_producers(l->log), &p, NULL, &a),
                         log_producers_check(twin, &p, NULL, &b));
        ck_assert_int_eq(a.base_offset, b.base_offset);
        ck_assert_int_eq(a.last_offset, b.last_offset);
    }
    (void)log_producers_free(twin);
}

/* Epochs from the model. */
static void epochs_expect(struct lw *l)
{
    for (size_t i = 0; i < l->batch_count; i++) {
        if (l->batches[i].base_offset < log_start_offset(l->log))
            continue;
        ck_assert_int_eq(log_epoch_at(l->log, l->batches[i].base_offset), l->batches[i].epoch);
        ck_assert_int_eq(log_epoch_at(l->log, l->batches[i].last_offset), l->batches[i].epoch);
    }
    if (l->batch_count != 0 && log_end_offset(l->log) > log_start_offset(l->log))
        ck_assert_int_eq(log_last_epoch(l->log), l->batches[l->batch_count - 1].epoch);
}

struct meddle {
    struct lw *l;
    int how; /* 0 remove, 1 garble, 2 empty */
    struct kb_prng prng;
    int count;
};

static int meddle_entry(void *arg, const char *name, enum kb_fs_type type)
{
    struct meddle *m = arg;
    const char *dot = strrchr(name, '.');
    if (dot != NULL && strcmp(dot, ".log") == 0)
        return 0;
    if (strcmp(name, "partition.metadata") == 0)
        return 0;
    char path[256];
    snprintf(path, sizeof(path), LW_DIR "/%s", name);
    struct sim_disk *d = sim_host_disk(m->l->host);
    struct kb_buf b = {0};
    ck_assert_int_eq(sim_disk_read(d, path, &b), 0);
    for (size_t i = 0; i < b.size; i++)
        b.data[i] = (uint8_t)kb_prng_next(&m->prng);
    if (m->how == 0)
        sim_disk_remove(d, path);
    else
        sim_disk_put(d, path, b.data, m->how == 1 ? b.size : 0);
    kb_buf_release(&b);
    m->count++;
    return 1; /* the listing is stale now */
}

struct names {
    char name[64][64];
    size_t count;
};

static int name_entry(void *arg, const char *name, enum kb_fs_type type)
{
    struct names *n = arg;
    if (n->count < 64)
        snprintf(n->name[n->count++], 64, "%s", name);
    return 0;
}

START_TEST(recover__side_files_are_rebuilt)
{
    for (int clean = 0; clean < 2; clean++) {
        for (int how = 0; how < 3; how++) {
            struct lw l;
            lw_init(&l, 7);
            l.options.config.segment_bytes = 1500;
            l.options.config.index_interval_bytes = 100;
            lw_create(&l, 0);
            fill(&l, 40);
            int64_t end = log_end_offset(l.log);
            if (clean)
                lw_close(&l);
            else
                lw_kill(&l);
            struct names n = {.count = 0};
            sim_disk_list(sim_host_disk(l.host), LW_DIR, false, name_entry, &n);
            struct meddle m = {&l, how, {{0}}, 0};
            kb_prng_init(&m.prng, 3);
            for (size_t i = 0; i < n.count; i++)
                (void)meddle_entry(&m, n.name[i], KB_FS_FILE);
            ck_assert_int_gt(m.count, 5);
            lw_open(&l, clean, end);
            ck_assert_int_eq(l.open_result, 0);
            ck_assert_int_eq(l.found.state, LOG_WHOLE);
            ck_assert_int_eq(l.found.end_offset, end);
            epochs_expect(&l);
            producers_expect(&l);
            lw_check_all(&l);
            lw_release(&l);
        }
    }
}
END_TEST

/* ---- any crash ---- */

struct busy {
    struct lw l;
    struct kb_prng *prng;
    int64_t mark;       /* what the data directory has persisted */
    int64_t cut_offset; /* of a cut under way; INT64_MAX: none */
    bool cut_done;
    int64_t timestamp;
};

static void busy_cut_done(struct log *log, void *user, int result)
{
    struct busy *b = user;
    if (result < 0)
        return;
    lw_model_cut(&b->l, b->cut_offset);
    b->cut_offset = INT64_MAX;
}

static void busy_step(struct busy *b)
{
    struct lw *l = &b->l;
    uint64_t dice = kb_prng_below(b->prng, 100);
    if (dice < 60) {
        int32_t epoch = log_last_epoch(l->log);
        epoch = epoch < 0 ? 0 : epoch + (kb_prng_below(b->prng, 10) == 0);
        b->timestamp += 4 + (int64_t)kb_prng_below(b->prng, 20);
        (void)lw_append_once(l, epoch, (int)kb_prng_range(b->prng, 1, 4),
                             kb_prng_range(b->prng, 1, 300), b->timestamp);
    } else if (dice < 70) {
        b->mark = log_durable_mark(l->log);
        if (kb_prng_below(b->prng, 2) == 0)
            log_durable_mark_saved(l->log, log_generation(l->log));
    } else if (dice < 74 && b->cut_offset == INT64_MAX && l->batch_count > 3) {
        size_t back = (size_t)kb_prng_below(b->prng, 8);
        size_t i = l->batch_count > back ? l->batch_count - 1 - back : 0;
        if (l->batches[i].base_offset >= log_start_offset(l->log)) {
            b->cut_offset = l->batches[i].base_offset;
            log_truncate_to(l->log, b->cut_offset, busy_cut_done, b);
        }
    } else if (dice < 76) {
        log_roll(l->log, NULL, NULL);
    } else if (dice < 78) {
        log_set_start_offset(l->log, log_start_offset(l->log) + 2);
    }
    sim_world_run_for(l->world, kb_prng_below(b->prng, 4));
}

static void busy_life(struct busy *b, bool power)
{
    struct lw *l = &b->l;
    b->cut_offset = INT64_MAX;
    sim_env_crash_after(l->env, kb_prng_range(b->prng, 1, 250), power);
    for (int i = 0; i < 400 && !sim_env_is_down(l->env) && l->failures == 0; i++)
        busy_step(b);
    ck_assert_uint_eq(l->failures, 0);
    int64_t safe = log_durable_offset(l->log);
    if (!sim_env_is_down(l->env))
        sim_env_power_cut(l->env);
    int64_t start = log_start_offset(l->log);
    lw_restart(l);
    l->options.start_offset = start;
    lw_open(l, false, b->mark);
    ck_assert_int_eq(l->open_result, 0);
    ck_assert(l->found.state == LOG_WHOLE || l->found.state == LOG_CUT);
    ck_assert_int_ge(l->found.end_offset, safe);
    lw_model_cut(l, l->found.end_offset);
    if (l->found.end_offset > 0 && l->batch_count != 0)
        ck_assert_int_eq(l->batches[l->batch_count - 1].last_offset + 1, l->found.end_offset);
    lw_check_all(l);
    int64_t end = l->found.end_offset;
    int64_t first = log_segment_info(l->log, 0).base_offset;
    if (first == 0) { /* else what the twin needs is gone */
        producers_expect(l);
        epochs_expect(l);
    }
    lw_power_cut(l, SIM_CRASH_DROP);
    lw_open(l, false, b->mark);
    ck_assert_int_eq(l->found.state, LOG_WHOLE);
    ck_assert_int_eq(l->found.end_offset, end);
    lw_check_all(l);
}

START_TEST(recover__after_a_crash_at_any_file_call)
{
    for (uint64_t seed = 1; seed <= 60; seed++) {
        struct busy b = {0};
        lw_init(&b.l, seed);
        b.prng = sim_world_prng(b.l.world);
        sim_disk_set_crash_mode(sim_host_disk(b.l.host), SIM_CRASH_SEEDED);
        b.l.options.config.segment_bytes = 2500;
        b.l.options.config.index_interval_bytes = 200;
        b.l.options.config.file_delete_delay_ms = 20;
        lw_create(&b.l, 0);
        for (int life = 0; life < 4; life++) {
            sim_disk_set_crash_mode(sim_host_disk(b.l.host), SIM_CRASH_SEEDED);
            busy_life(&b, seed % 4 != 0);
        }
        lw_release(&b.l);
    }
}
END_TEST

UNIT_MAIN("log_recover", recover__torn_at_every_byte, recover__zeros_and_garbage_behind_the_end,
          recover__hole_then_valid_batches_is_cut_at_the_hole,
          recover__a_cut_is_known_until_it_is_forgotten,
          recover__bad_below_the_mark_is_damage_and_nothing_is_cut,
          recover__mark_does_not_fall_at_a_start, recover__damage_in_a_closed_segment,
          recover__side_files_are_rebuilt, recover__after_a_crash_at_any_file_call)
