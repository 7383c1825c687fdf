/* Bugs that other systems had with disks (tests/classic-bugs.md), as stories of whole brokers. */
#include <string.h>

#include "broker/node/node_internal.h"
#include "tests/unit/node/scenario.h"

enum { FILE_CALLS = 60, START_FILE_CALLS = 150 };

static const struct scenario_record plain = {
    .value = "v", .producer_id = -1, .producer_epoch = -1, .sequence = -1, .acks = -1};

static struct sim_disk *disk_of(struct scenario *s, uint32_t node)
{
    return sim_host_disk(sim_cluster_host(s->cluster, node));
}

static bool produces(struct scenario *s)
{
    return scenario_produce(s, "v") == KW_NONE;
}

static int64_t log_end_of(struct scenario *s, uint32_t node)
{
    return log_end_offset(
        node_partition_find_named(sim_cluster_node(s->cluster, node), KW_STR("orders"), 0)->log);
}

static void same_bytes(struct scenario *s)
{
    struct kb_view first;
    ck_assert_int_eq(sim_disk_view(disk_of(s, 0), SCENARIO_LOG, false, &first), 0);
    ck_assert_uint_gt(first.size, 0);
    for (uint32_t i = 1; i < 3; i++) {
        struct kb_view other;
        ck_assert_int_eq(sim_disk_view(disk_of(s, i), SCENARIO_LOG, false, &other), 0);
        ck_assert(kb_view_equal(first, other));
    }
    sim_cluster_compare(s->cluster);
}

/* etcd #14370: a cluster of one answered before its own disk had the entry. Power fails right
 * behind each answer, and nothing that was not synced is left. */
START_TEST(etcd_14370__one_node_loses_power_behind_each_answer)
{
    struct scenario s;
    scenario_start_nodes(&s, 301, 1);
    sim_disk_set_crash_mode(disk_of(&s, 0), SIM_CRASH_DROP);
    for (int64_t i = 0; i < 10; i++) {
        char name[16];
        (void)snprintf(name, sizeof(name), "topic-%d", (int)i);
        scenario_until(&s, produces, 20000, "a record");
        ck_assert_int_eq(s.base_offset, i);
        sim_cluster_kill(s.cluster, 0, true);
        scenario_run_for(&s, 100);
        sim_cluster_start(s.cluster, 0);
        scenario_until(&s, scenario_whole, 20000, "it is back");
        ck_assert_int_eq(log_end_of(&s, 0), i + 1);
        int created = -1; /* lost: it still speaks over the old connection */
        for (int k = 0; k < 20 && created == -1; k++)
            created = scenario_create(&s, name);
        ck_assert_int_eq(created, KW_NONE);
        sim_cluster_kill(s.cluster, 0, true);
        scenario_run_for(&s, 100);
        sim_cluster_start(s.cluster, 0);
        scenario_until(&s, scenario_whole, 20000, "it is back");
        for (created = -1; created == -1;)
            created = scenario_create(&s, name);
        ck_assert_int_eq(created, KW_TOPIC_ALREADY_EXISTS);
    }
    scenario_end(&s);
}
END_TEST

/* dqlite #190, #283, #309, raft #277: a disk that was full left a file of the wrong length, and the
 * node could never start again, with space or without. Power fails while the disk is full; it
 * starts on the full disk, loses power there as well, and gets space. */
START_TEST(dqlite_190__full_disk_then_power_cut_then_space)
{
    static char value[3001];
    memset(value, 'v', sizeof(value) - 1);
    for (uint64_t room = 0; room <= 16000; room += 1000) {
        struct scenario s;
        scenario_start(&s, 302);
        ck_assert(produces(&s));
        uint32_t full = scenario_bystander(&s);
        struct sim_disk *d = disk_of(&s, full);
        /* The room ends in the middle of records, metadata, a roll or a new log. */
        sim_disk_settings(d)->capacity_bytes = sim_disk_used_bytes(d) + room;
        for (int i = 0; i < 4; i++) {
            char name[16];
            (void)snprintf(name, sizeof(name), "late-%d", i);
            (void)scenario_create(&s, name);
            ck_assert_int_eq(scenario_produce(&s, value), KW_NONE);
        }
        for (int life = 0; life < 2; life++) {
            sim_cluster_kill(s.cluster, full, true);
            scenario_run_for(&s, 2000);
            sim_cluster_start(s.cluster, full);
            scenario_run_for(&s, life == 0 ? 20 + room / 10 : 3000);
        }
        sim_disk_settings(d)->capacity_bytes = 0;
        for (int i = 0; i < 20 && !scenario_all_running(&s); i++) {
            scenario_run_for(&s, 1000);
            sim_cluster_start(s.cluster, full); /* one that found no space has exited */
        }
        scenario_until(&s, scenario_whole, 30000, "the node is back");
        ck_assert(produces(&s));
        same_bytes(&s);
        scenario_end(&s);
    }
}
END_TEST

/* fsyncgate: a sync fails once, the kernel calls the pages clean, the next sync succeeds and means
 * nothing. Who tries again acknowledges what the next power cut takes. Each of the next syncs
 * fails in its turn, at the leader and at a follower. */
START_TEST(fsyncgate__a_failed_sync_is_the_last)
{
    int failed = 0;
    for (int nth = 0; nth < 8; nth++) {
        for (int leading = 0; leading < 2; leading++) {
            struct scenario s;
            scenario_start(&s, 303);
            ck_assert(produces(&s));
            uint32_t victim = leading ? (uint32_t)scenario_leader(&s) - 1 : scenario_bystander(&s);
            struct sim_disk *d = disk_of(&s, victim);
            uint64_t exits = sim_cluster_counts(s.cluster).exits;
            for (int i = 0; i < 5; i++)
                scenario_send(&s, scenario_leader(&s), &plain, NULL, NULL);
            uint64_t until_us = sim_world_now_us(s.world) + 1000000;
            uint64_t before = sim_disk_sync_count(d);
            while (sim_disk_sync_count(d) < before + (uint64_t)nth &&
                   sim_world_now_us(s.world) < until_us)
                ck_assert(sim_world_step(s.world));
            sim_disk_settings(d)->sync_fail_next = 1;
            ck_assert_int_ge(scenario_create(&s, "another"), -1);
            scenario_run_for(&s, SIM_CLUSTER_LEAVE_MS);
            failed += sim_disk_failures(d) > 0;
            ck_assert_uint_eq(sim_cluster_counts(s.cluster).exits,
                              exits + (sim_disk_failures(d) > 0));
            /* What the two others acknowledge counts; the victim's page cache is gone. */
            scenario_until(&s, produces, 20000, "writes go on");
            int64_t acked = s.base_offset + 1;
            sim_disk_set_crash_mode(d, SIM_CRASH_DROP);
            sim_cluster_kill(s.cluster, victim, true);
            scenario_run_for(&s, 500);
            sim_cluster_start(s.cluster, victim);
            scenario_run_for(&s, 500);
            scenario_until(&s, scenario_whole, 30000, "it is back on a sound disk");
            ck_assert_int_ge(log_end_of(&s, victim), acked);
            same_bytes(&s);
            scenario_end(&s);
        }
    }
    ck_assert_int_ge(failed, 12);
}
END_TEST

struct sync_trap {
    struct sim_disk *disk;
    const char *suffix;
    bool sprung;
};

/* A file of that name comes: the sync that follows it fails. */
static void spring(void *arg, const struct sim_disk_change *change)
{
    struct sync_trap *trap = arg;
    size_t size = strlen(trap->suffix);
    if (trap->sprung || change->name == NULL)
        return;
    size_t length = strlen(change->name);
    if (length < size || strcmp(change->name + length - size, trap->suffix) != 0)
        return;
    trap->sprung = true;
    sim_disk_settings(trap->disk)->sync_fail_next = 1;
}

/* The same of files that no acknowledgement waits for: what a compaction writes (seed 644), a
 * snapshot of the metadata (seed 392), segments that retention takes away. A broker that went on
 * kept its leaderships on a disk that loses what was synced. */
START_TEST(fsyncgate__syncs_nobody_waits_for_count)
{
    static const char *const suffixes[] = {".log.cleaned", ".checkpoint.tmp", ".log.deleted"};
    for (size_t kind = 0; kind < sizeof(suffixes) / sizeof(suffixes[0]); kind++) {
        struct scenario s;
        scenario_start(&s, 305 + kind);
        uint32_t victim = scenario_bystander(&s);
        struct sync_trap trap = {.disk = disk_of(&s, victim), .suffix = suffixes[kind]};
        scenario_set_config(&s, "orders", "segment.ms", "500");
        for (int i = 0; i < 6; i++) {
            ck_assert(produces(&s));
            scenario_run_for(&s, 400);
        }
        sim_disk_set_witness(trap.disk, spring, &trap);
        if (kind == 0)
            scenario_set_config(&s, "orders", "cleanup.policy", "compact");
        if (kind == 2)
            scenario_set_config(&s, "orders", "retention.ms", "1000");
        for (int i = 0; i < 400 && !trap.sprung; i++) {
            if (kind == 1)
                scenario_set_config(&s, "orders", "max.message.bytes", i % 2 ? "2000" : "3000");
            scenario_run_for(&s, 20);
        }
        ck_assert(trap.sprung);
        sim_disk_set_witness(trap.disk, NULL, NULL);
        scenario_run_for(&s, SIM_CLUSTER_LEAVE_MS);
        ck_assert_uint_eq(sim_disk_failures(trap.disk), 1);
        ck_assert_uint_eq(sim_cluster_counts(s.cluster).exits, 1);
        sim_cluster_start(s.cluster, victim);
        scenario_until(&s, scenario_whole, 30000, "it is back on a sound disk");
        scenario_end(&s);
    }
}
END_TEST

/* ---- damage ---- */

/* Power fails, and a bit of the second record turns, below the durable mark. */
static void turn_a_bit(struct scenario *s, uint32_t victim)
{
    struct kb_view log;
    sim_cluster_kill(s->cluster, victim, true);
    scenario_run_for(s, 1000);
    ck_assert_int_eq(sim_disk_view(disk_of(s, victim), SCENARIO_LOG, false, &log), 0);
    uint64_t first = kb_get_be32(log.data + 8) + 12;
    ck_assert_int_eq(sim_disk_flip_bit(disk_of(s, victim), SCENARIO_LOG, first + 64, 3), 0);
}

/* LogSegment.recover: any bad batch was taken for a torn tail: the log was cut there, later
 * segments were deleted, and the replica counted as sound. Here it cuts nothing before it is out of
 * ISR and ELR, and then fetches everything anew. */
START_TEST(log_segment_recover__damage_is_no_torn_tail)
{
    struct kb_view log;
    struct scenario s;
    scenario_start(&s, 304);
    uint32_t victim = scenario_bystander(&s);
    for (int i = 0; i < 4; i++)
        ck_assert(produces(&s));
    scenario_run_for(&s, 4000); /* the durable mark is written down */
    turn_a_bit(&s, victim);
    uint32_t controller = (uint32_t)sim_cluster_controller(s.cluster);
    ck_assert_int_eq(sim_disk_view(disk_of(&s, victim), SCENARIO_LOG, false, &log), 0);
    uint64_t size = log.size;
    for (uint32_t i = 0; i < 3; i++) /* nobody tells it to start over yet */
        if (i != controller && i != victim)
            sim_cluster_kill(s.cluster, i, false);
    sim_cluster_start(s.cluster, victim);
    bool out = false;
    for (int i = 0; i < 3000; i++) {
        struct node *n = sim_cluster_node(s.cluster, controller);
        const struct meta_partition *p = meta_topic_partition(meta_image_topic(n->image, "orders"),
                                                              0);
        out = out || (!meta_partition_in_isr(p, (int32_t)victim + 1) &&
                      !meta_partition_in_elr(p, (int32_t)victim + 1));
        int r = sim_disk_view(disk_of(&s, victim), SCENARIO_LOG, false, &log);
        ck_assert(out || (r == 0 && log.size == size));
        scenario_run_for(&s, 1);
    }
    ck_assert(out);
    for (uint32_t i = 0; i < 3; i++)
        sim_cluster_start(s.cluster, i);
    scenario_run_for(&s, 500);
    scenario_until(&s, scenario_whole, 30000, "whole again");
    ck_assert_int_eq(log_end_of(&s, victim), 4);
    same_bytes(&s);
    scenario_end(&s);
}
END_TEST

static bool isr_of_two(struct scenario *s)
{
    return sim_client_partition(s->client, 0)->isr_count == 2;
}

/* NATS 2025: a bit flipped on one node of a minority; that node was elected, and the others deleted
 * what it did not have. Here it and the leader alone hold what was acknowledged, and the leader is
 * away: the damaged one leads nothing, however long, with somebody there who would follow it. */
START_TEST(nats_2025__damaged_minority_is_not_elected)
{
    struct scenario s;
    scenario_start(&s, 305);
    uint32_t other = scenario_bystander(&s);
    uint32_t leader = (uint32_t)scenario_leader(&s) - 1;
    uint32_t victim = 3 - other - leader;
    sim_cluster_kill(s.cluster, other, false);
    scenario_until(&s, isr_of_two, 10000, "two in sync");
    for (int i = 0; i < 4; i++)
        ck_assert(produces(&s));
    scenario_run_for(&s, 4000);
    turn_a_bit(&s, victim);
    sim_cluster_kill(s.cluster, leader, false);
    sim_cluster_start(s.cluster, victim);
    sim_cluster_start(s.cluster, other);
    for (int i = 0; i < 200; i++) {
        scenario_run_for(&s, 100);
        ck_assert(scenario_nobody_leads(&s));
    }
    sim_cluster_start(s.cluster, leader);
    scenario_run_for(&s, 500);
    scenario_until(&s, scenario_whole, 30000, "whole again");
    for (uint32_t i = 0; i < 3; i++)
        ck_assert_int_eq(log_end_of(&s, i), 4);
    same_bytes(&s);
    scenario_end(&s);
}
END_TEST

/* Where the last batch of these bytes begins. */
static size_t last_batch(struct kb_view log)
{
    size_t at = 0;
    for (;;) {
        size_t next = at + kb_get_be32(log.data + at + 8) + 12;
        if (next >= log.size)
            return at;
        at = next;
    }
}

#define METADATA_DIR "/data/__cluster_metadata-0"

static int newer_segment(void *arg, const char *name, enum kb_fs_type type)
{
    const char *dot = strrchr(name, '.');
    (void)type;
    if (dot != NULL && strcmp(dot, ".log") == 0) /* sorted */
        (void)snprintf(arg, 128, METADATA_DIR "/%s", name);
    return 0;
}

/* etcd #5230, #6515, #6378: a log that ended in half a record, in zeros or in blocks that were
 * somebody else's could not be read any more, and its node never started again. Here the metadata
 * log of a voter is cut at every byte of its last entry, with nothing, zeros or old bytes behind.
 */
START_TEST(etcd_5230__metadata_log_torn_at_every_byte)
{
    struct scenario s;
    size_t last = 1;
    scenario_start(&s, 308);
    uint32_t victim = scenario_bystander(&s);
    struct sim_disk *d = disk_of(&s, victim);
    for (size_t keep = 0; keep < last; keep++) {
        struct kb_buf bytes = {0};
        struct kb_view log;
        char path[128] = "";
        scenario_until(&s, scenario_whole, 30000, "whole");
        sim_cluster_kill(s.cluster, victim, false);
        scenario_run_for(&s, 200);
        (void)sim_disk_list(d, METADATA_DIR, false, newer_segment, path);
        ck_assert_int_eq(sim_disk_view(d, path, false, &log), 0);
        ck_assert_uint_gt(log.size, 0);
        size_t begins = last_batch(log);
        last = log.size - begins > last ? log.size - begins : last;
        kb_buf_append(&bytes, log.data, begins + keep < log.size ? begins + keep : log.size);
        for (int i = 0; i < 700 && keep % 3 > 0; i++)
            kb_buf_append(&bytes, keep % 3 == 1 ? "" : (const char *)log.data + i % 100, 1);
        sim_disk_put(d, path, bytes.data, bytes.size);
        kb_buf_release(&bytes);
        sim_cluster_start(s.cluster, victim);
        scenario_run_for(&s, 300);
    }
    ck_assert_uint_gt(last, 100);
    scenario_until(&s, scenario_whole, 30000, "whole");
    ck_assert_int_eq(scenario_create(&s, "after"), KW_NONE);
    ck_assert(sim_cluster_is_voter(s.cluster, victim));
    sim_cluster_compare(s.cluster);
    scenario_end(&s);
}
END_TEST

/* ---- crashes at each file call ---- */

static void crash_and_return(struct scenario *s, uint32_t victim)
{
    if (sim_cluster_env(s->cluster, victim) != NULL) {
        sim_env_crash_after(sim_cluster_env(s->cluster, victim), 0, false);
        sim_cluster_kill(s->cluster, victim, true);
    }
    scenario_run_for(s, 500);
    sim_cluster_start(s->cluster, victim);
    scenario_run_for(s, 500);
    scenario_until(s, scenario_whole, 30000, "whole again");
}

/* ALICE: 60 bugs of 11 systems in what a crash leaves between two file calls: directories not
 * synced, appends half done, renames before their data. A broker dies before each of its next file
 * calls, among them appends, the quorum's log and votes, new logs, rolls, snapshots, checkpoints.
 */
START_TEST(alice__power_fails_before_each_file_call)
{
    static const enum sim_crash_mode modes[] = {SIM_CRASH_DROP, SIM_CRASH_TORN, SIM_CRASH_KEEP};
    int died = 0;
    for (uint64_t nth = 1; nth <= FILE_CALLS; nth++) {
        struct scenario s;
        scenario_start(&s, 306);
        scenario_set_config(&s, "orders", "segment.ms", "1000");
        ck_assert(produces(&s));
        scenario_run_for(&s, 1500);
        uint32_t victim = nth % 2 == 0 ? scenario_bystander(&s)
                                       : (uint32_t)sim_cluster_controller(s.cluster);
        sim_disk_set_crash_mode(disk_of(&s, victim), modes[nth % 3]);
        sim_env_crash_after(sim_cluster_env(s.cluster, victim), nth, true);
        for (int i = 0; i < 3; i++) {
            char name[16];
            (void)snprintf(name, sizeof(name), "more-%d", i);
            (void)scenario_create(&s, name);
            scenario_until(&s, produces, 20000, "a record");
            scenario_run_for(&s, 1100);
        }
        int64_t acked = s.base_offset + 1;
        died += sim_cluster_env(s.cluster, victim) == NULL;
        crash_and_return(&s, victim);
        for (uint32_t i = 0; i < 3; i++)
            ck_assert_int_ge(log_end_of(&s, i), acked);
        sim_cluster_compare(s.cluster);
        scenario_end(&s);
    }
    ck_assert_int_ge(died, FILE_CALLS / 2);
}
END_TEST

/* KAFKA-10101, KAFKA-16541: the recovery point moved past what was not synced; a checkpoint was
 * renamed before its bytes were synced. A start after kill -9 finds bytes that only the page cache
 * holds, and loses power before each of its file calls. */
START_TEST(kafka_10101__power_fails_before_each_file_call_of_a_start)
{
    int died = 0;
    /* Each of those that a start takes now, and some more. */
    for (uint64_t nth = 1; nth <= START_FILE_CALLS; nth += nth < 90 ? 1 : 10) {
        struct scenario s;
        scenario_start(&s, 307);
        ck_assert(produces(&s));
        uint32_t victim = scenario_bystander(&s);
        struct sim_disk *d = disk_of(&s, victim);
        sim_disk_settings(d)->sync_us_min = sim_disk_settings(d)->sync_us_max = 800000;
        scenario_send(&s, scenario_leader(&s), &plain, NULL, NULL);
        scenario_run_for(&s, 50);
        ck_assert_int_eq(log_end_of(&s, victim), 2);
        sim_cluster_kill(s.cluster, victim, false); /* the record is in its page cache only */
        sim_disk_settings(d)->sync_us_min = sim_disk_settings(d)->sync_us_max = 100;
        scenario_run_for(&s, 10);
        sim_cluster_start(s.cluster, victim);
        sim_disk_set_crash_mode(d, nth % 2 == 0 ? SIM_CRASH_DROP : SIM_CRASH_TORN);
        sim_env_crash_after(sim_cluster_env(s.cluster, victim), nth, true);
        scenario_run_for(&s, 1000);
        died += sim_cluster_env(s.cluster, victim) == NULL;
        crash_and_return(&s, victim);
        ck_assert_int_eq(log_end_of(&s, victim), 2);
        same_bytes(&s);
        scenario_end(&s);
    }
    ck_assert_int_ge(died, START_FILE_CALLS / 4);
    ck_assert_int_lt(died, 96); /* some starts got through, and lost power then */
}
END_TEST

UNIT_MAIN("node_bugs_disks", etcd_14370__one_node_loses_power_behind_each_answer,
          dqlite_190__full_disk_then_power_cut_then_space, fsyncgate__a_failed_sync_is_the_last,
          fsyncgate__syncs_nobody_waits_for_count, log_segment_recover__damage_is_no_torn_tail,
          nats_2025__damaged_minority_is_not_elected, etcd_5230__metadata_log_torn_at_every_byte,
          alice__power_fails_before_each_file_call,
          kafka_10101__power_fails_before_each_file_call_of_a_start)
