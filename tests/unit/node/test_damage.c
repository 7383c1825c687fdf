/* Fault row 42 with whole brokers: a bit turns in the metadata log, its vote, its snapshot or
 * meta.properties of one voter. It says so, does not vote until a leader has brought it up, and is
 * a whole member again by itself (rule 5.5). scenario_end requires that nothing acknowledged was
 * lost. And a cut of the metadata log is known until it is made good. */
#include <string.h>

#include "broker/node/node_internal.h"
#include "tests/unit/node/scenario.h"

#define RAFT_DIR "/data/__cluster_metadata-0"

enum { HEAL_MS = 30000 };

static uint32_t victim;

static struct sim_disk *disk_of(struct scenario *s)
{
    return sim_host_disk(sim_cluster_host(s->cluster, victim));
}

/* It is down when this returns. */
static void end_life(struct scenario *s, uint32_t i, bool power)
{
    sim_cluster_kill(s->cluster, i, power);
    scenario_run_for(s, 10);
}

static struct raft_status status_of(struct scenario *s)
{
    struct raft_status status = {0};
    struct node *n = sim_cluster_node(s->cluster, victim);
    if (n != NULL && node_quorum_core(n) != NULL)
        raft_core_status(node_quorum_core(n), &status);
    return status;
}

struct find {
    const char *suffix;
    char path[128];
};

static int find_entry(void *arg, const char *name, enum kb_fs_type type)
{
    struct find *f = arg;
    size_t size = strlen(name);
    size_t suffix = strlen(f->suffix);
    if (type == KB_FS_FILE && size > suffix && strcmp(name + size - suffix, f->suffix) == 0)
        (void)snprintf(f->path, sizeof(f->path), RAFT_DIR "/%s", name);
    return 0;
}

static bool has_snapshot(struct scenario *s)
{
    struct find f = {.suffix = ".checkpoint"};
    (void)sim_disk_list(disk_of(s), RAFT_DIR, false, find_entry, &f);
    return f.path[0] != '\0';
}

/* The last file in name order. */
static const char *file_of(struct scenario *s, struct find *f, const char *suffix)
{
    *f = (struct find){.suffix = suffix};
    (void)sim_disk_list(disk_of(s), RAFT_DIR, false, find_entry, f);
    ck_assert_msg(f->path[0] != '\0', "no file %s", suffix);
    return f->path;
}

static void begin(struct scenario *s, uint64_t seed)
{
    scenario_start(s, seed);
    int32_t controller = sim_cluster_controller(s->cluster);
    ck_assert_int_ge(controller, 0);
    victim = ((uint32_t)controller + 1) % 3;
    for (int i = 0; i < 12; i++) {
        char name[32];
        (void)snprintf(name, sizeof(name), "topic-%d", i);
        ck_assert_int_eq(scenario_create(s, name), KW_NONE);
    }
    ck_assert_int_eq(scenario_produce(s, "before"), KW_NONE);
    scenario_run_for(s, 7000); /* epochs are in their file, marks are persisted */
}

static bool voting_again(struct scenario *s)
{
    return scenario_all_running(s) && sim_cluster_is_member(s->cluster, victim) &&
           !status_of(s).barred && scenario_isr_full(s);
}

static bool barred(struct scenario *s)
{
    return status_of(s).barred;
}

static bool core_there(struct scenario *s)
{
    return status_of(s).self.id != 0;
}

/* The others are gone, so nobody can heal it and its bar is to be seen; then they come back. */
static void must_not_vote_until_healed(struct scenario *s)
{
    for (uint32_t i = 0; i < 3; i++)
        if (i != victim)
            end_life(s, i, false);
    sim_cluster_start(s->cluster, victim);
    scenario_until(s, barred, 5000, "the damaged voter is barred");
    scenario_run_for(s, 8000);
    ck_assert(barred(s));
    /* One more is no majority without it. */
    sim_cluster_start(s->cluster, (victim + 1) % 3);
    scenario_run_for(s, 8000);
    ck_assert(barred(s));
    ck_assert_int_lt(sim_cluster_controller(s->cluster), 0);
    /* It dies in between: the bar stays. */
    end_life(s, victim, true);
    sim_cluster_start(s->cluster, victim);
    scenario_until(s, barred, 5000, "the damaged voter is still barred");
    sim_cluster_start(s->cluster, (victim + 2) % 3);
    scenario_until(s, voting_again, HEAL_MS, "the damaged voter is a member again");
    ck_assert_int_eq(scenario_produce(s, "after"), KW_NONE);
    /* With its vote alone against a dead leader. */
    int32_t controller = sim_cluster_controller(s->cluster);
    ck_assert_int_ge(controller, 0);
    end_life(s, (uint32_t)controller, false);
    scenario_run_for(s, 5000);
    ck_assert_int_ge(sim_cluster_controller(s->cluster), 0);
    sim_cluster_start(s->cluster, (uint32_t)controller);
    scenario_until(s, voting_again, HEAL_MS, "all are members");
}

/* Each eighth of the log in turn, and each part of a batch's head. */
START_TEST(log__damage_anywhere_is_repaired)
{
    for (uint64_t seed = 1; seed <= 6; seed++) {
        struct scenario s;
        struct find f;
        struct kb_view v;
        begin(&s, seed);
        end_life(&s, victim, seed % 2 == 0);
        const char *path = file_of(&s, &f, ".log");
        ck_assert_int_eq(sim_disk_view(disk_of(&s), path, false, &v), 0);
        ck_assert_uint_gt(v.size, 1000);
        ck_assert_int_eq(sim_disk_flip_bit(disk_of(&s), path, v.size * (2 + seed) / 9, 3), 0);
        must_not_vote_until_healed(&s);
        scenario_end(&s);
    }
}
END_TEST

START_TEST(vote__damaged_does_not_vote)
{
    struct scenario s;
    begin(&s, 11);
    end_life(&s, victim, false);
    ck_assert_int_eq(sim_disk_flip_bit(disk_of(&s), RAFT_DIR "/quorum-state", 21, 0), 0);
    sim_cluster_damage_vote(s.cluster, victim);
    must_not_vote_until_healed(&s);
    scenario_end(&s);
}
END_TEST

START_TEST(snapshot__damaged_is_fetched_anew)
{
    struct scenario s;
    struct find f;
    begin(&s, 12);
    for (int i = 0; i < 100 && !has_snapshot(&s); i++) {
        char name[32];
        (void)snprintf(name, sizeof(name), "more-%d", i);
        ck_assert_int_eq(scenario_create(&s, name), KW_NONE);
    }
    scenario_run_for(&s, 1000);
    end_life(&s, victim, false);
    ck_assert_int_eq(sim_disk_flip_bit(disk_of(&s), file_of(&s, &f, ".checkpoint"), 200, 5), 0);
    must_not_vote_until_healed(&s);
    scenario_end(&s);
}
END_TEST

/* Every byte of it in turn is too much for a cluster (test_dir does that): one per line. */
START_TEST(meta_properties__damaged_is_repaired)
{
    static const char *const lines[] = {"#", "cluster.id=", "directory.id=", "node.id="};
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        struct scenario s;
        struct kb_view v;
        begin(&s, 13);
        end_life(&s, victim, false);
        ck_assert_int_eq(sim_disk_view(disk_of(&s), "/data/meta.properties", false, &v), 0);
        const uint8_t *at = memmem(v.data, v.size, lines[i], strlen(lines[i]));
        ck_assert_ptr_nonnull(at);
        size_t position = (size_t)(at - v.data) + strlen(lines[i]);
        ck_assert_int_eq(sim_disk_flip_bit(disk_of(&s), "/data/meta.properties", position, 1), 0);
        sim_cluster_start(s.cluster, victim);
        scenario_until(&s, voting_again, HEAL_MS, "the damaged directory is the same member");
        ck_assert_int_eq(scenario_produce(&s, "after"), KW_NONE);
        scenario_end(&s);
    }
}
END_TEST

static bool cut_noted(struct scenario *s)
{
    struct kb_view v;
    return sim_disk_view(disk_of(s), RAFT_DIR "/cut-tail", false, &v) == 0;
}

static bool cut_forgotten(struct scenario *s)
{
    return voting_again(s) && !cut_noted(s);
}

/* A start that cuts the log and dies leaves a sound end: the next one must wait as long for those
 * whose logs are whole. */
START_TEST(log__a_cut_is_known_until_it_is_made_good)
{
    struct scenario s;
    struct find f;
    struct kb_view v;
    begin(&s, 14);
    /* Nothing of what comes is below a persisted mark. */
    ck_assert_int_eq(scenario_create(&s, "late"), KW_NONE);
    for (uint32_t i = 0; i < 3; i++)
        end_life(&s, i, true);
    const char *path = file_of(&s, &f, ".log");
    ck_assert_int_eq(sim_disk_view(disk_of(&s), path, false, &v), 0);
    ck_assert_int_eq(sim_disk_flip_bit(disk_of(&s), path, v.size - 5, 2), 0);
    for (int life = 0; life < 3; life++) {
        sim_cluster_start(s.cluster, victim);
        scenario_until(&s, core_there, 5000, "the node's core");
        ck_assert(cut_noted(&s));
        ck_assert(!barred(&s));
        end_life(&s, victim, life == 1);
    }
    for (uint32_t i = 0; i < 3; i++)
        sim_cluster_start(s.cluster, i);
    scenario_until(&s, cut_forgotten, HEAL_MS, "the cut is made good");
    /* The client's connections are from before. */
    int error = -1;
    for (int i = 0; i < 10 && error != KW_NONE; i++)
        error = scenario_produce(&s, "after");
    ck_assert_int_eq(error, KW_NONE);
    scenario_end(&s);
}
END_TEST

UNIT_MAIN("node_damage", log__damage_anywhere_is_repaired, vote__damaged_does_not_vote,
          snapshot__damaged_is_fetched_anew, meta_properties__damaged_is_repaired,
          log__a_cut_is_known_until_it_is_made_good)
