/* A data directory through the lives of its broker: first start, clean and unclean stops, a crash
 * at each single file call, a full disk, other people's directories and damaged files. */

#include <string.h>

#include "proto/base/crc32c.h"
#include "proto/base/err.h"
#include "proto/base/mem.h"
#include "replication/log/dir.h"
#include "replication/log/dir_internal.h"
#include "tests/sim/sim_disk.h"
#include "tests/sim/sim_env.h"
#include "tests/sim/sim_world.h"
#include "tests/unit/unit.h"

#define ROOT "/data/kvorum"

/* One broker and what its directory told it. */
struct life {
    struct sim_world *world;
    struct sim_host *host;
    struct sim_env *env;
    struct log_dir *dir;
    struct log_dir_options options;
    bool opened;
    int result;
    char *reason;
    struct log_dir_found found;
    char cluster_id[64];
    size_t log_count;
    char first_log[64];
    struct kb_uuid first_topic;
    int failures;
};

static void on_failed(void *arg, int result, const char *what)
{
    (void)result;
    (void)what;
    ((struct life *)arg)->failures++;
}

static void on_open(void *arg, struct log_dir *dir, int result, const char *reason,
                    const struct log_dir_found *found)
{
    struct life *l = arg;
    (void)dir;
    l->opened = true;
    l->result = result;
    l->reason = kb_free(l->reason);
    if (result < 0) {
        l->reason = kb_strdup(reason);
        return;
    }
    l->found = *found;
    l->log_count = found->log_count;
    l->cluster_id[0] = '\0';
    if (found->cluster_id != NULL)
        snprintf(l->cluster_id, sizeof(l->cluster_id), "%s", found->cluster_id);
    if (found->log_count != 0) {
        snprintf(l->first_log, sizeof(l->first_log), "%s-%d", found->logs[0].topic,
                 found->logs[0].partition);
        l->first_topic = found->logs[0].topic_id;
    }
}

static void life_init(struct life *l, uint64_t seed)
{
    *l = (struct life){.world = sim_world_new(seed)};
    l->env = sim_world_add_env(l->world, "n1");
    l->host = sim_env_host(l->env);
    l->options = (struct log_dir_options){
        .path = ROOT,
        .node_id = 1,
        .boot_id = "boot-a",
        .reserve_bytes = 10000,
        .checkpoint_interval_ms = 1000,
        .on_failed = on_failed,
        .arg = l,
    };
}

static void life_release(struct life *l)
{
    l->dir = log_dir_free(l->dir);
    l->env = sim_env_free(l->env);
    l->world = sim_world_free(l->world);
    l->reason = kb_free(l->reason);
}

/* Ask for the start and wait; false when the process died on the way. */
static bool life_open(struct life *l)
{
    l->opened = false;
    l->dir = log_dir_open(sim_env_kb(l->env), &l->options, on_open, l);
    return sim_world_run_until_flag(l->world, &l->opened, 10000);
}

static void life_end(struct life *l, bool power)
{
    if (!sim_env_is_down(l->env)) {
        if (power)
            sim_env_power_cut(l->env);
        else
            sim_env_kill(l->env);
    }
    l->dir = log_dir_free(l->dir);
    l->env = sim_env_free(l->env);
    l->env = sim_host_start(l->host);
}

struct answer {
    bool came;
    int result;
};
static void on_done(void *arg, int result)
{
    *(struct answer *)arg = (struct answer){true, result};
}
static bool wait_for(struct life *l, struct answer *a)
{
    return sim_world_run_until_flag(l->world, &a->came, 10000);
}

static void put_log(struct life *l, const char *name)
{
    char *path = kb_asprintf(ROOT "/%s/partition.metadata", name);
    static const char text[] = "version: 0\ntopic_id: AAAAAAAAQACAAAAAAAAAAQ\n";
    sim_disk_put(sim_host_disk(l->host), path, text, sizeof(text) - 1);
    kb_free(path);
}

static bool exists(struct life *l, const char *name)
{
    struct kb_fs_stat st;
    char *path = kb_asprintf(ROOT "/%s", name);
    ck_assert_int_eq(kb_fs_stat(sim_env_fs(l->env), path, &st), 0);
    kb_free(path);
    return st.type != KB_FS_NONE;
}

START_TEST(open__formats_once_and_keeps_the_identity)
{
    struct life l;
    life_init(&l, 1);
    ck_assert(life_open(&l));
    ck_assert_int_eq(l.result, 0);
    ck_assert(l.found.fresh && !l.found.clean && !l.found.same_boot && !l.found.reserve_missing);
    ck_assert_int_eq(l.found.broker_epoch, -1);
    ck_assert_uint_eq(l.found.creations_index, 0);
    ck_assert_str_eq(l.cluster_id, "");
    struct kb_uuid id = l.found.directory_id;
    struct answer a = {0};
    log_dir_set_cluster_id(l.dir, "abcdefghijklmnopqrstuv", on_done, &a);
    ck_assert(wait_for(&l, &a));
    life_end(&l, true);
    ck_assert(life_open(&l));
    ck_assert(!l.found.fresh && !l.found.clean);
    ck_assert(kb_uuid_equal(&id, &l.found.directory_id));
    ck_assert_str_eq(l.cluster_id, "abcdefghijklmnopqrstuv");
    life_release(&l);
}
END_TEST

START_TEST(close__marks_clean_once)
{
    struct life l;
    life_init(&l, 2);
    sim_disk_set_crash_mode(sim_host_disk(l.host), SIM_CRASH_DROP);
    ck_assert(life_open(&l));
    struct answer a = {0};
    log_dir_set_broker_epoch(l.dir, 41, on_done, &a);
    ck_assert(wait_for(&l, &a));
    put_log(&l, "orders-3");
    struct log_dir_log *log = log_dir_log_add(l.dir, "orders", 3);
    log_dir_mark_set(l.dir, log, LOG_DIR_HIGH_WATERMARK, 77);
    a.came = false;
    log_dir_close(l.dir, 41, on_done, &a);
    ck_assert(wait_for(&l, &a));
    ck_assert_int_eq(a.result, 0);
    l.dir = log_dir_free(l.dir);
    life_end(&l, true);
    ck_assert(life_open(&l));
    ck_assert(l.found.clean && l.found.same_boot);
    ck_assert_int_eq(l.found.clean_broker_epoch, 41);
    ck_assert_int_eq(l.found.broker_epoch, 41);
    log = log_dir_log_find(l.dir, "orders", 3);
    ck_assert_ptr_nonnull(log);
    ck_assert_str_eq(log_dir_log_path(log), ROOT "/orders-3");
    ck_assert_int_eq(log_dir_mark_get(log, LOG_DIR_HIGH_WATERMARK), 77);
    ck_assert_int_eq(log_dir_mark_get(log, LOG_DIR_START), -1);
    /* The start took the marker: power may fail at once. */
    life_end(&l, true);
    l.options.boot_id = "boot-b";
    ck_assert(life_open(&l));
    ck_assert(!l.found.clean && !l.found.same_boot);
    life_release(&l);
}
END_TEST

/* Row 42: kvorum.state has a copy of meta.properties under its checksum. Whichever bit turns in
 * either of them, the directory is the same one; of both together it is not told what they were. */
START_TEST(open__repairs_each_turned_bit_of_the_identity)
{
    static const char *const files[] = {ROOT "/meta.properties", ROOT "/kvorum.state"};
    struct life l;
    life_init(&l, 8);
    struct sim_disk *disk = sim_host_disk(l.host);
    ck_assert(life_open(&l));
    struct kb_uuid id = l.found.directory_id;
    struct answer a = {0};
    log_dir_set_cluster_id(l.dir, "abcdefghijklmnopqrstuv", on_done, &a);
    ck_assert(wait_for(&l, &a));
    a.came = false;
    log_dir_set_broker_epoch(l.dir, 12, on_done, &a);
    ck_assert(wait_for(&l, &a));
    put_log(&l, "orders-0");
    life_end(&l, false);
    for (size_t f = 0; f < 2; f++) {
        struct kb_buf was = {0};
        ck_assert_int_eq(sim_disk_read(disk, files[f], &was), 0);
        for (size_t bit = 0; bit < was.size * 8; bit++) {
            struct kb_buf now = {0};
            ck_assert_int_eq(sim_disk_flip_bit(disk, files[f], bit / 8, bit % 8), 0);
            ck_assert(life_open(&l));
            ck_assert_msg(l.result == 0, "%s bit %zu: %s", files[f], bit, l.reason);
            ck_assert(kb_uuid_equal(&id, &l.found.directory_id) && !l.found.fresh);
            ck_assert_str_eq(l.cluster_id, "abcdefghijklmnopqrstuv");
            ck_assert(f == 1 || l.found.broker_epoch == 12);
            life_end(&l, true);
            ck_assert_int_eq(sim_disk_read(disk, files[0], &now), 0);
            ck_assert(life_open(&l));
            ck_assert_int_eq(l.result, 0);
            life_end(&l, false);
            sim_disk_put(disk, files[f], was.data, was.size);
            kb_buf_release(&now);
        }
        kb_buf_release(&was);
    }
    life_release(&l);
}
END_TEST

/* The boot id is not stored before the registration: a start in between must not hide the power
 * cut from the next one. */
START_TEST(open__boot_id_counts_from_the_broker_epoch_on)
{
    struct life l;
    life_init(&l, 3);
    ck_assert(life_open(&l));
    struct answer a = {0};
    log_dir_set_broker_epoch(l.dir, 5, on_done, &a);
    ck_assert(wait_for(&l, &a));
    life_end(&l, true);
    l.options.boot_id = "boot-b";
    ck_assert(life_open(&l));
    ck_assert(!l.found.same_boot);
    life_end(&l, false);
    ck_assert(life_open(&l));
    ck_assert(!l.found.same_boot);
    a.came = false;
    log_dir_set_broker_epoch(l.dir, 6, on_done, &a);
    ck_assert(wait_for(&l, &a));
    life_end(&l, false);
    ck_assert(life_open(&l));
    ck_assert(l.found.same_boot);
    ck_assert_int_eq(l.found.broker_epoch, 6);
    life_release(&l);
}
END_TEST

START_TEST(open__refuses_what_is_not_its_own)
{
    struct life l;
    life_init(&l, 4);
    struct sim_disk *disk = sim_host_disk(l.host);
    ck_assert(life_open(&l));
    struct answer a = {0};
    log_dir_set_cluster_id(l.dir, "cluster-one", on_done, &a);
    ck_assert(wait_for(&l, &a));
    a.came = false;
    log_dir_close(l.dir, 7, on_done, &a);
    ck_assert(wait_for(&l, &a));
    l.dir = log_dir_free(l.dir);
    life_end(&l, true);

    l.options.node_id = 2;
    ck_assert(life_open(&l));
    ck_assert_int_eq(l.result, -KB_EINVAL);
    ck_assert_ptr_nonnull(strstr(l.reason, "node 1"));
    life_end(&l, true);
    l.options.node_id = 1;
    l.options.cluster_id = "cluster-two";
    ck_assert(life_open(&l));
    ck_assert_int_eq(l.result, -KB_EINVAL);
    ck_assert_ptr_nonnull(strstr(l.reason, "cluster-one"));
    life_end(&l, true);
    l.options.cluster_id = "cluster-one";
    ck_assert(life_open(&l));
    ck_assert_int_eq(l.result, 0);
    ck_assert(l.found.clean); /* the refusals took nothing */
    ck_assert_int_eq(l.found.clean_broker_epoch, 7);
    life_end(&l, true);

    /* Without its copy meta.properties cannot be told from what it was. */
    sim_disk_put(disk, ROOT "/kvorum.state", "version=1\n", 10);
    static const char *const bad[] = {"", "version=1\n", "version=1\nnode.id=1\n",
                                      "version=1\nnode.id=x\ndirectory.id=AAAAAAAAQACAAAAAAAAAAQ\n",
                                      "version=1\nnode.id=1\ndirectory.id=AAAAAAAAQACAAA\n"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        sim_disk_put(disk, ROOT "/meta.properties", bad[i], strlen(bad[i]));
        ck_assert(life_open(&l));
        ck_assert_int_eq(l.result, -KB_ECORRUPT);
        life_end(&l, true);
    }
    static const char v2[] = "version=2\n";
    sim_disk_put(disk, ROOT "/meta.properties", v2, sizeof(v2) - 1);
    ck_assert(life_open(&l));
    ck_assert_int_eq(l.result, -KB_EUNSUPPORTED);
    life_end(&l, true);
    put_log(&l, "orders-0");
    ck_assert_int_eq(sim_disk_remove(disk, ROOT "/meta.properties"), 0);
    ck_assert(life_open(&l));
    ck_assert_int_eq(l.result, -KB_ECORRUPT);
    life_release(&l);
}
END_TEST

START_TEST(open__reads_kafkas_meta_properties)
{
    struct life l;
    life_init(&l, 5);
    static const char text[] = "#\n#Mon Nov 23 11:20:11 UTC 2026\r\ncluster.id=kraft\nversion=1\n"
                               "directory.id=AAAAAAAAQACAAAAAAAAAAQ\nnode.id=1\n";
    sim_disk_put(sim_host_disk(l.host), ROOT "/meta.properties", text, sizeof(text) - 1);
    ck_assert(life_open(&l));
    ck_assert_int_eq(l.result, 0);
    ck_assert_str_eq(l.cluster_id, "kraft");
    /* No kvorum.state beside it: nothing is known about what once was here. */
    ck_assert_uint_eq(l.found.creations_index, INT64_MAX);
    life_release(&l);
}
END_TEST

START_TEST(open__damaged_state_is_read_carefully)
{
    for (uint64_t bit = 0; bit < 40; bit++) {
        struct life l;
        life_init(&l, 6);
        ck_assert(life_open(&l));
        struct answer a = {0};
        log_dir_set_broker_epoch(l.dir, 5, on_done, &a);
        ck_assert(wait_for(&l, &a));
        a.came = false;
        log_dir_set_creations(l.dir, 9, on_done, &a);
        ck_assert(wait_for(&l, &a));
        life_end(&l, true);
        ck_assert_int_eq(
            sim_disk_flip_bit(sim_host_disk(l.host), ROOT "/kvorum.state", bit, bit % 7), 0);
        ck_assert(life_open(&l));
        ck_assert_int_eq(l.result, 0);
        ck_assert_int_eq(l.found.broker_epoch, -1);
        ck_assert_uint_eq(l.found.creations_index, INT64_MAX);
        ck_assert(!l.found.same_boot);
        /* What is written from here on can be read again. */
        a.came = false;
        log_dir_set_broker_epoch(l.dir, 6, on_done, &a);
        ck_assert(wait_for(&l, &a));
        life_end(&l, true);
        ck_assert(life_open(&l));
        ck_assert_int_eq(l.found.broker_epoch, 6);
        ck_assert_uint_eq(l.found.creations_index, INT64_MAX);
        life_release(&l);
    }
}
END_TEST

START_TEST(due__checkpoints_what_changed_each_second)
{
    struct life l;
    life_init(&l, 7);
    ck_assert(life_open(&l));
    struct kb_env *env = sim_env_kb(l.env);
    put_log(&l, "orders-0");
    put_log(&l, "orders-1");
    struct log_dir_log *a = log_dir_log_add(l.dir, "orders", 0);
    struct log_dir_log *b = log_dir_log_add(l.dir, "orders", 1);
    ck_assert_uint_eq(log_dir_due(l.dir, kb_env_now_ms(env)), UINT64_MAX);
    uint64_t syncs = sim_disk_sync_count(sim_host_disk(l.host));
    for (int i = 0; i < 500; i++) {
        log_dir_mark_set(l.dir, a, LOG_DIR_HIGH_WATERMARK, i);
        log_dir_mark_set(l.dir, b, LOG_DIR_DURABLE, INT64_C(2) * i);
        (void)log_dir_due(l.dir, kb_env_now_ms(env));
        sim_world_run_for(l.world, 10);
    }
    syncs = sim_disk_sync_count(sim_host_disk(l.host)) - syncs;
    ck_assert_uint_ge(syncs, 8);
    ck_assert_uint_le(syncs, 24);
    life_end(&l, true);
    ck_assert(life_open(&l));
    ck_assert_uint_eq(l.log_count, 2);
    a = log_dir_log_find(l.dir, "orders", 0);
    b = log_dir_log_find(l.dir, "orders", 1);
    ck_assert_int_ge(log_dir_mark_get(a, LOG_DIR_HIGH_WATERMARK), 380);
    ck_assert_int_ge(log_dir_mark_get(b, LOG_DIR_DURABLE), 760);
    ck_assert_int_eq(log_dir_mark_get(a, LOG_DIR_DURABLE), -1);
    life_release(&l);
}
END_TEST

START_TEST(flush__many_share_a_write)
{
    struct life l;
    life_init(&l, 8);
    ck_assert(life_open(&l));
    put_log(&l, "orders-0");
    struct log_dir_log *log = log_dir_log_add(l.dir, "orders", 0);
    struct answer answers[50] = {0};
    uint64_t syncs = sim_disk_sync_count(sim_host_disk(l.host));
    for (int i = 0; i < 50; i++) {
        log_dir_mark_set(l.dir, log, LOG_DIR_START, i);
        log_dir_mark_flush(l.dir, LOG_DIR_START, on_done, &answers[i]);
    }
    for (int i = 0; i < 50; i++)
        ck_assert(wait_for(&l, &answers[i]) && answers[i].result == 0);
    ck_assert_uint_le(sim_disk_sync_count(sim_host_disk(l.host)) - syncs, 4);
    /* Nothing to write: answered all the same, later. */
    struct answer a = {0};
    log_dir_mark_flush(l.dir, LOG_DIR_START, on_done, &a);
    ck_assert(!a.came);
    ck_assert(wait_for(&l, &a));
    life_end(&l, true);
    ck_assert(life_open(&l));
    log = log_dir_log_find(l.dir, "orders", 0);
    ck_assert_int_eq(log_dir_mark_get(log, LOG_DIR_START), 49);
    life_release(&l);
}
END_TEST

struct leaver {
    struct life *l;
    struct answer *other;
    bool came;
};

static void on_done_forget(void *arg, int result)
{
    struct leaver *v = arg;
    v->came = result == 0;
    log_dir_forget(v->l->dir, v->other);
}

/* A topic is deleted while flushes of its marks are on their way: in the queue, being told, or an
 * operation of their own. */
START_TEST(forget__is_told_nothing_any_more)
{
    struct life l;
    life_init(&l, 8);
    ck_assert(life_open(&l));
    put_log(&l, "orders-0");
    struct log_dir_log *log = log_dir_log_add(l.dir, "orders", 0);
    struct answer queued = {0};
    struct answer told = {0};
    struct answer stays = {0};
    struct answer alone = {0};
    struct leaver leaver = {.l = &l, .other = &told};
    log_dir_mark_set(l.dir, log, LOG_DIR_START, 1);
    log_dir_mark_flush(l.dir, LOG_DIR_START, on_done, &stays);
    log_dir_mark_set(l.dir, log, LOG_DIR_START, 2); /* the next checkpoint's */
    log_dir_mark_flush(l.dir, LOG_DIR_START, on_done_forget, &leaver);
    log_dir_mark_flush(l.dir, LOG_DIR_START, on_done, &told);
    log_dir_mark_flush(l.dir, LOG_DIR_START, on_done, &queued);
    log_dir_mark_flush(l.dir, LOG_DIR_HIGH_WATERMARK, on_done, &alone); /* nothing to write */
    log_dir_forget(l.dir, &queued);
    log_dir_forget(l.dir, &alone);
    ck_assert(sim_world_run_until_flag(l.world, &leaver.came, 10000));
    sim_world_run_for(l.world, 1000);
    ck_assert(stays.came);
    ck_assert(!told.came && !queued.came && !alone.came);
    life_release(&l);
}
END_TEST

START_TEST(open__garbled_checkpoints_count_as_none)
{
    static const char *const texts[] = {"",
                                        "0\n",
                                        "1\n0\n",
                                        "0\n1\n",
                                        "0\n2\norders 0 5\n",
                                        "0\n1\norders 0 5\nmore 0 1\n",
                                        "0\n1\norders 0 -5\n",
                                        "0\n1\norders 0\n",
                                        "0\n1\norders 0 99999999999999999999\n"};
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        struct life l;
        life_init(&l, 9);
        ck_assert(life_open(&l));
        put_log(&l, "orders-0");
        life_end(&l, true);
        sim_disk_put(sim_host_disk(l.host), ROOT "/replication-offset-checkpoint", texts[i],
                     strlen(texts[i]));
        ck_assert(life_open(&l));
        ck_assert_int_eq(l.result, 0);
        struct log_dir_log *log = log_dir_log_find(l.dir, "orders", 0);
        ck_assert_int_eq(log_dir_mark_get(log, LOG_DIR_HIGH_WATERMARK), -1);
        life_release(&l);
    }
}
END_TEST

START_TEST(open__lists_logs_and_sweeps_the_deleted)
{
    struct life l;
    life_init(&l, 10);
    ck_assert(life_open(&l));
    life_end(&l, true);
    put_log(&l, "a-b-7");
    put_log(&l, "x-1.0123-delete");
    put_log(&l, "y-1.0123-stray");
    put_log(&l, "z-01");
    put_log(&l, "no number-");
    ck_assert(life_open(&l));
    ck_assert_uint_eq(l.log_count, 1);
    ck_assert_str_eq(l.first_log, "a-b-7");
    char text[KB_UUID_TEXT_SIZE];
    kb_uuid_format(&l.first_topic, text);
    ck_assert_str_eq(text, "AAAAAAAAQACAAAAAAAAAAQ");
    ck_assert(!exists(&l, "x-1.0123-delete"));
    ck_assert(exists(&l, "y-1.0123-stray"));
    life_release(&l);
}
END_TEST

/* An upgrade, a way back and another upgrade (row 53): the earlier version leaves offsets out of
 * logs without saying so, and writes kvorum.state without what this one has there. */
START_TEST(open__after_an_earlier_version_believes_no_gaps)
{
    static const char metadata[] = "version: 0\ntopic_id: AAAAAAAAQACAAAAAAAAAAQ\ngaps_below: 5\n";
    static const char state[] = "version=1\nbroker.epoch=7\nboot.id=b\ncreations.index=3\n";
    for (int earlier = 0; earlier < 2; earlier++) {
        struct life l;
        struct kb_view v;
        char text[sizeof(state) + 16];
        life_init(&l, 14);
        ck_assert(life_open(&l));
        life_end(&l, true);
        put_log(&l, "orders-0");
        sim_disk_put(sim_host_disk(l.host), ROOT "/orders-0/partition.metadata", metadata,
                     sizeof(metadata) - 1);
        int size = snprintf(text, sizeof(text), "%scrc=%08x\n", state,
                            kb_crc32c(0, state, sizeof(state) - 1));
        if (earlier)
            sim_disk_put(sim_host_disk(l.host), ROOT "/kvorum.state", text, (size_t)size);
        ck_assert(life_open(&l));
        ck_assert_int_eq(
            sim_disk_view(sim_host_disk(l.host), ROOT "/orders-0/partition.metadata", true, &v), 0);
        ck_assert_int_eq(memmem(v.data, v.size, "gaps_below", 10) == NULL, earlier);
        ck_assert_ptr_nonnull(memmem(v.data, v.size, "topic_id: AAAAAAAAQACAAAAAAAAAAQ", 32));
        life_release(&l);
    }
}
END_TEST

static int count_entry(void *arg, const char *name, enum kb_fs_type type)
{
    size_t *counts = arg;
    (void)type;
    counts[0] += strstr(name, "-stray") != NULL;
    counts[1] += strstr(name, "-delete") != NULL;
    return 0;
}

/* 8.1 for names: a life makes a log's directory and is killed before it has synced the one above;
 * the next one finds it there and builds on it, so it must survive the power cut that follows. */
START_TEST(open__makes_durable_what_a_killed_life_has_made)
{
    struct life l;
    life_init(&l, 31);
    sim_disk_set_crash_mode(sim_host_disk(l.host), SIM_CRASH_DROP);
    ck_assert(life_open(&l) && l.result == 0);
    ck_assert_int_eq(kb_fs_mkdir(sim_env_fs(l.env), ROOT "/made-0"), 0);
    life_end(&l, false);
    ck_assert(life_open(&l) && l.result == 0);
    life_end(&l, true);
    ck_assert(life_open(&l) && l.result == 0);
    ck_assert(exists(&l, "made-0"));
    life_release(&l);
}
END_TEST

/* ... and the directory itself likewise. */
START_TEST(open__makes_its_own_name_durable)
{
    struct life l;
    life_init(&l, 32);
    sim_disk_set_crash_mode(sim_host_disk(l.host), SIM_CRASH_DROP);
    ck_assert_int_eq(kb_fs_mkdir(sim_env_fs(l.env), "/data"), 0);
    ck_assert_int_eq(kb_fs_sync_dir(sim_env_fs(l.env), "/"), 0);
    ck_assert_int_eq(kb_fs_mkdir(sim_env_fs(l.env), ROOT), 0);
    life_end(&l, false);
    ck_assert(life_open(&l) && l.result == 0);
    life_end(&l, true);
    ck_assert(exists(&l, "meta.properties"));
    life_release(&l);
}
END_TEST

START_TEST(set_aside__keeps_and_delete__removes)
{
    struct life l;
    life_init(&l, 11);
    ck_assert(life_open(&l));
    put_log(&l, "keep-0");
    put_log(&l, "drop-0");
    struct answer a = {0};
    struct answer b = {0};
    log_dir_set_aside(l.dir, log_dir_log_add(l.dir, "keep", 0), on_done, &a);
    log_dir_delete(l.dir, log_dir_log_add(l.dir, "drop", 0), on_done, &b);
    ck_assert_ptr_null(log_dir_log_find(l.dir, "drop", 0));
    ck_assert(log_dir_is_leaving(l.dir, "keep", 0) && log_dir_is_leaving(l.dir, "drop", 0));
    ck_assert(!log_dir_is_leaving(l.dir, "keep", 1));
    ck_assert(wait_for(&l, &a) && a.result == 0);
    ck_assert(wait_for(&l, &b) && b.result == 0);
    ck_assert(!log_dir_is_leaving(l.dir, "keep", 0) && !log_dir_is_leaving(l.dir, "drop", 0));
    ck_assert(!exists(&l, "keep-0") && !exists(&l, "drop-0"));
    sim_world_run_for(l.world, 1000);
    size_t counts[2] = {0};
    ck_assert_int_eq(kb_fs_list(sim_env_fs(l.env), ROOT, count_entry, counts), 0);
    ck_assert_uint_eq(counts[0], 1);
    ck_assert_uint_eq(counts[1], 0);
    life_release(&l);
}
END_TEST

START_TEST(reserve__gives_space_back_and_takes_it_again)
{
    struct life l;
    life_init(&l, 12);
    struct sim_disk_settings *s = sim_disk_settings(sim_host_disk(l.host));
    l.options.reserve_bytes = 100000;
    s->no_allocate = true;
    s->capacity_bytes = 110000;
    ck_assert(life_open(&l));
    ck_assert(log_dir_reserve_present(l.dir));
    struct answer a = {0};
    uint8_t *junk = kb_alloc(50000);
    log_dir_write_file(l.dir, "junk", junk, 50000, on_done, &a);
    ck_assert(wait_for(&l, &a));
    ck_assert_int_eq(a.result, -KB_ENOSPC);
    a.came = false;
    log_dir_reserve_release(l.dir, on_done, &a);
    ck_assert(wait_for(&l, &a) && a.result == 0);
    ck_assert(!log_dir_reserve_present(l.dir));
    a.came = false;
    log_dir_write_file(l.dir, "junk", junk, 50000, on_done, &a);
    ck_assert(wait_for(&l, &a) && a.result == 0);
    a.came = false;
    log_dir_reserve_restore(l.dir, on_done, &a);
    ck_assert(wait_for(&l, &a));
    ck_assert_int_eq(a.result, -KB_ENOSPC);
    s->capacity_bytes = 1000000;
    a.came = false;
    log_dir_reserve_restore(l.dir, on_done, &a);
    ck_assert(wait_for(&l, &a) && a.result == 0);
    ck_assert(log_dir_reserve_present(l.dir));
    ck_assert_int_eq(l.failures, 0);
    kb_free(junk);
    life_release(&l);
}
END_TEST

START_TEST(failure__is_final_and_leaves_no_marker)
{
    struct life l;
    life_init(&l, 13);
    ck_assert(life_open(&l));
    put_log(&l, "orders-0");
    struct log_dir_log *log = log_dir_log_add(l.dir, "orders", 0);
    sim_disk_settings(sim_host_disk(l.host))->sync_fail_next = 1;
    struct answer a = {0};
    log_dir_mark_set(l.dir, log, LOG_DIR_START, 5);
    log_dir_mark_flush(l.dir, LOG_DIR_START, on_done, &a);
    ck_assert(wait_for(&l, &a));
    ck_assert_int_eq(a.result, -KB_EIO);
    ck_assert_int_eq(l.failures, 1);
    a.came = false;
    log_dir_set_broker_epoch(l.dir, 9, on_done, &a);
    ck_assert(wait_for(&l, &a));
    ck_assert_int_eq(a.result, -KB_EIO);
    a.came = false;
    log_dir_close(l.dir, 9, on_done, &a);
    ck_assert(wait_for(&l, &a));
    ck_assert_int_eq(a.result, -KB_EIO);
    ck_assert(!exists(&l, ".kafka_cleanshutdown"));
    ck_assert_int_eq(l.failures, 1);
    life_release(&l);
}
END_TEST

START_TEST(close__waits_for_what_is_under_way)
{
    struct life l;
    life_init(&l, 15);
    ck_assert(life_open(&l));
    sim_disk_settings(sim_host_disk(l.host))->sync_fail_next = 1;
    struct answer a = {0};
    struct answer b = {0};
    log_dir_set_broker_epoch(l.dir, 9, on_done, &a);
    log_dir_close(l.dir, 9, on_done, &b);
    ck_assert(wait_for(&l, &b));
    ck_assert(a.came);
    ck_assert_int_eq(b.result, -KB_EIO);
    ck_assert(!exists(&l, ".kafka_cleanshutdown"));
    life_release(&l);
}
END_TEST

/* A lock that is held elsewhere. */
static int lock_busy(struct kb_fs *fs, const char *path)
{
    (void)fs;
    (void)path;
    return -KB_EBUSY;
}

START_TEST(open__says_who_is_in_the_way)
{
    struct life l;
    life_init(&l, 14);
    struct kb_fs *fs = sim_env_fs(l.env);
    const struct kb_fs_ops *ops = fs->ops;
    struct kb_fs_ops busy = *ops;
    busy.lock = lock_busy;
    fs->ops = &busy;
    struct dir_start s = {.path = kb_strdup(ROOT), .node_id = 1};
    ck_assert_int_eq(dir_start_run(&s, fs), -KB_EBUSY);
    ck_assert_ptr_nonnull(strstr(s.reason, "another broker"));
    fs->ops = ops;
    dir_start_release(&s);
    life_release(&l);
}
END_TEST

/* ---- a crash at each file call ---- */

/* What was promised before the crash. */
struct promises {
    bool opened, epoch, creations, start_mark, closed;
    struct kb_uuid id;
};

static void live_a_life(struct life *l, int64_t round, struct promises *p)
{
    struct answer a = {0};
    if (!life_open(l) || l->result != 0)
        return;
    p->opened = true;
    p->id = l->found.directory_id;
    log_dir_set_broker_epoch(l->dir, round, on_done, &a);
    if (!wait_for(l, &a))
        return;
    p->epoch = true;
    put_log(l, "orders-0");
    struct log_dir_log *log = log_dir_log_add(l->dir, "orders", 0);
    a.came = false;
    log_dir_set_creations(l->dir, (uint64_t)round, on_done, &a);
    if (!wait_for(l, &a))
        return;
    p->creations = true;
    log_dir_mark_set(l->dir, log, LOG_DIR_START, round);
    a.came = false;
    log_dir_mark_flush(l->dir, LOG_DIR_START, on_done, &a);
    if (!wait_for(l, &a))
        return;
    p->start_mark = true;
    log_dir_mark_set(l->dir, log, LOG_DIR_HIGH_WATERMARK, round);
    log_dir_mark_set(l->dir, log, LOG_DIR_DURABLE, round);
    a.came = false;
    log_dir_close(l->dir, round, on_done, &a);
    p->closed = wait_for(l, &a);
}

static void check_promises(struct life *l, int64_t round, const struct promises *p)
{
    const struct log_dir_found *f = &l->found;
    ck_assert_int_eq(l->result, 0);
    ck_assert(!p->opened || kb_uuid_equal(&p->id, &f->directory_id));
    ck_assert(!p->epoch || f->broker_epoch == round);
    ck_assert(!p->creations || f->creations_index == (uint64_t)round);
    ck_assert(!p->closed || f->clean);
    if (p->start_mark)
        ck_assert_int_eq(log_dir_mark_get(log_dir_log_find(l->dir, "orders", 0), LOG_DIR_START),
                         round);
    if (f->clean && p->epoch) { /* clean means: nothing of it is missing */
        struct log_dir_log *log = log_dir_log_find(l->dir, "orders", 0);
        ck_assert_int_eq(f->clean_broker_epoch, round);
        ck_assert_int_eq(log_dir_mark_get(log, LOG_DIR_HIGH_WATERMARK), round);
        ck_assert_int_eq(log_dir_mark_get(log, LOG_DIR_DURABLE), round);
    }
}

START_TEST(life__survives_a_crash_at_each_file_call)
{
    for (int power = 0; power < 2; power++) {
        bool through = false;
        for (uint64_t call = 1; !through; call++) {
            ck_assert_uint_lt(call, 400);
            struct life l;
            life_init(&l, 100 + call);
            struct promises p = {0};
            /* A first, whole life in every second run: the crash then meets an old directory. */
            if (call % 2 == 0) {
                live_a_life(&l, 1, &p);
                ck_assert(p.closed);
                life_end(&l, true);
                p.closed = false; /* the next start takes the marker */
            }
            sim_env_crash_after(l.env, (call + 1) / 2, power == 1);
            struct promises q = {.opened = p.opened, .id = p.id};
            live_a_life(&l, 2, &q);
            through = q.closed && call % 2 == 0;
            life_end(&l, power == 1);
            ck_assert(life_open(&l));
            check_promises(&l, 2, &q);
            if (!q.epoch && p.epoch) /* the older promise holds, or the newer word is in already */
                ck_assert(l.found.broker_epoch == 1 || l.found.broker_epoch == 2);
            life_release(&l);
        }
    }
}
END_TEST

UNIT_MAIN("dir", open__repairs_each_turned_bit_of_the_identity,
          open__formats_once_and_keeps_the_identity, close__marks_clean_once,
          open__boot_id_counts_from_the_broker_epoch_on, open__refuses_what_is_not_its_own,
          open__reads_kafkas_meta_properties, open__damaged_state_is_read_carefully,
          due__checkpoints_what_changed_each_second, flush__many_share_a_write,
          forget__is_told_nothing_any_more, open__garbled_checkpoints_count_as_none,
          open__lists_logs_and_sweeps_the_deleted, open__after_an_earlier_version_believes_no_gaps,
          open__makes_durable_what_a_killed_life_has_made, open__makes_its_own_name_durable,
          set_aside__keeps_and_delete__removes, reserve__gives_space_back_and_takes_it_again,
          failure__is_final_and_leaves_no_marker, close__waits_for_what_is_under_way,
          open__says_who_is_in_the_way, life__survives_a_crash_at_each_file_call)
