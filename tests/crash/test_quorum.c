/* The metadata quorum's files after every power cut of small runs with whole brokers: a directory
 * that is formatted, votes, appends, writes snapshots, prunes and stops cleanly. Each disk is met
 * by a whole broker: it starts, its term never falls (R2), it has every entry that it called
 * durable, its snapshot is the old one or the new one, and a vote that counted is still the same.
 */
#include <stdio.h>

#include "broker/node/node_internal.h"
#include "proto/base/err.h"
#include "proto/base/log.h"
#include "tests/crash/crash.h"
#include "tests/crash/crash_main.h"
#include "tests/sim/sim_solo.h"

enum { START_MS = 20000, LIFE_MS = 1500, NODES = 3 };

/* What node 1 has promised, as the others and its own leadership bear witness. */
struct promise {
    bool formatted;
    struct kb_uuid directory;
    char cluster_id[64];
    uint64_t term;
    int32_t vote; /* of that term; RAFT_NOBODY = not known */
    uint64_t commit;
    uint64_t commit_term;
    uint64_t broker_epoch;
};

struct bench {
    struct sim_solo solo[NODES];
    uint32_t voters;
    uint64_t lone_term; /* of later terms votes and entries needed node 1 */
    uint64_t lone_commit;
    bool lone; /* node 2 is down */
    struct crash_trace trace;
    struct promise now;
    struct promise *promises[2000];
    size_t promise_count;
    /* After the run. */
    size_t starts, running, barred;
};

static struct raft_status status_of(const struct sim_solo *s)
{
    struct raft_status status = {.vote = {.id = RAFT_NOBODY}};
    if (s->node != NULL && s->env != NULL && !sim_env_is_down(s->env) &&
        node_quorum_core(s->node) != NULL)
        raft_core_status(node_quorum_core(s->node), &status);
    return status;
}

static void note(struct bench *b)
{
    if (b->promise_count > 0 &&
        memcmp(b->promises[b->promise_count - 1], &b->now, sizeof(b->now)) == 0)
        return;
    ck_assert_uint_lt(b->promise_count, sizeof(b->promises) / sizeof(b->promises[0]));
    b->promises[b->promise_count] = kb_memdup(&b->now, sizeof(b->now));
    crash_trace_note(&b->trace, b->promises[b->promise_count++]);
}

static void on_step(void *arg)
{
    struct bench *b = arg;
    struct raft_status own = status_of(&b->solo[0]);
    const struct node *n = b->solo[0].node;
    for (uint32_t i = 0; i < b->voters; i++) {
        struct raft_status s = status_of(&b->solo[i]);
        bool witness = i == 0 ? b->voters == 1 || b->lone : b->lone;
        if (s.role != RAFT_LEADER || !witness || s.term < b->lone_term)
            continue;
        /* A leader of two, the other of whom is node 1 or it is itself. */
        if (s.term > b->now.term) {
            b->now.term = s.term;
            b->now.vote = (int32_t)i + 1;
        }
        if (s.commit_index > b->now.commit && s.commit_index > b->lone_commit) {
            b->now.commit = s.commit_index;
            b->now.commit_term = s.term;
        }
    }
    if (own.self.id != 0 && n->cluster_id != NULL && node_state(n) == NODE_RUNNING) {
        b->now.formatted = true;
        b->now.directory = n->directory_id;
        (void)snprintf(b->now.cluster_id, sizeof(b->now.cluster_id), "%s", n->cluster_id);
        if (n->broker_epoch > b->now.broker_epoch)
            b->now.broker_epoch = n->broker_epoch;
    }
    note(b);
}

static void no_line(void *arg, enum kb_log_level level, const char *component, const char *text)
{
}

static void bench_init(struct bench *b, uint32_t voters)
{
    *b = (struct bench){.voters = voters, .now = {.vote = RAFT_NOBODY}};
    kb_log_set_sink(no_line, NULL, KB_LOG_ERROR);
    sim_solo_init(&b->solo[0], 5, voters);
    b->solo[0].snapshot_bytes = 600;
    for (uint32_t i = 1; i < voters; i++)
        sim_solo_join(&b->solo[i], &b->solo[0], i + 1);
    crash_trace_begin(&b->trace, sim_host_disk(b->solo[0].host));
    sim_world_on_step(b->solo[0].world, on_step, b);
}

static void bench_release(struct bench *b)
{
    sim_world_on_step(b->solo[0].world, NULL, NULL);
    crash_trace_release(&b->trace);
    for (uint32_t i = b->voters; i > 0; i--)
        sim_solo_release(&b->solo[i - 1]);
    for (size_t i = 0; i < b->promise_count; i++)
        (void)kb_free(b->promises[i]);
}

/* ---- the start ---- */

struct copy {
    struct sim_disk *from, *to;
    struct kb_fs *fs;
    const char *path;
};

static int copy_entry(void *arg, const char *name, enum kb_fs_type type)
{
    const struct copy *c = arg;
    char *path = kb_asprintf("%s/%s", c->path, name);
    if (type == KB_FS_DIR) {
        struct copy inner = {c->from, c->to, c->fs, path};
        ck_assert_int_eq(kb_fs_mkdirs(c->fs, path), 0);
        (void)sim_disk_list(c->from, path, false, copy_entry, &inner);
    } else {
        struct kb_view v;
        ck_assert_int_eq(sim_disk_view(c->from, path, false, &v), 0);
        sim_disk_put(c->to, path, v.data, v.size);
    }
    (void)kb_free(path);
    return 0;
}

#define REQUIRE(s, condition, ...)                                                                 \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            (void)fprintf(stderr, "prefix %zu: ", (s)->prefix);                                    \
            (void)fprintf(stderr, __VA_ARGS__);                                                    \
            (void)fprintf(stderr, "\n");                                                           \
            ck_abort_msg("prefix %zu: %s", (s)->prefix, #condition);                               \
        }                                                                                          \
    } while (0)

static void check_node(const struct crash_state *s, const struct sim_solo *solo, bool alone)
{
    const struct promise *p = s->promise;
    struct raft_status status = status_of(solo);
    const struct node *n = solo->node;
    if (p == NULL)
        return;
    REQUIRE(s, status.term >= p->term, "term %llu, promised %llu", (unsigned long long)status.term,
            (unsigned long long)p->term);
    REQUIRE(s,
            alone || status.term != p->term || p->vote == RAFT_NOBODY || status.vote.id == p->vote,
            "vote %d in term %llu, promised %d", status.vote.id, (unsigned long long)status.term,
            p->vote);
    REQUIRE(s, !status.barred, "barred");
    REQUIRE(s, status.last_index >= p->commit, "log ends at %llu, %llu was committed",
            (unsigned long long)status.last_index, (unsigned long long)p->commit);
    if (p->commit > status.snapshot.index) {
        uint64_t term = raft_core_term_at(node_quorum_core(n), p->commit);
        REQUIRE(s, term <= p->commit_term && term > 0, "entry %llu has term %llu, not %llu",
                (unsigned long long)p->commit, (unsigned long long)term,
                (unsigned long long)p->commit_term);
    }
    if (p->formatted) {
        REQUIRE(s, kb_uuid_equal(&n->directory_id, &p->directory), "another directory id");
        REQUIRE(s, n->cluster_id != NULL && strcmp(n->cluster_id, p->cluster_id) == 0,
                "another cluster");
        REQUIRE(s, !alone || n->broker_epoch > p->broker_epoch, "broker epoch %lld after %lld",
                (long long)n->broker_epoch, (long long)p->broker_epoch);
    }
}

static bool has_core(void *arg)
{
    const struct sim_solo *s = arg;
    return status_of(s).self.id != 0 || sim_env_is_down(s->env);
}

static void visit(void *arg, const struct crash_state *s)
{
    struct bench *b = arg;
    const struct promise *p = s->promise;
    struct sim_solo solo;
    sim_solo_init(&solo, 9, b->voters);
    solo.snapshot_bytes = 600;
    struct sim_env *tool = sim_host_start(solo.host);
    struct copy c = {sim_host_disk(sim_env_host(s->env)), sim_host_disk(solo.host),
                     sim_env_fs(tool), ""};
    (void)sim_disk_list(c.from, "", false, copy_entry, &c);
    sim_disk_crash(c.to, SIM_CRASH_KEEP);
    (void)sim_env_free(tool);
    for (int life = 0; life < 2; life++) {
        sim_disk_set_crash_mode(sim_host_disk(solo.host), SIM_CRASH_DROP);
        sim_solo_start(&solo);
        b->starts++;
        bool known = p != NULL && p->formatted;
        if (b->voters == 1) {
            bool running = sim_solo_run_until(&solo, NODE_RUNNING, START_MS);
            REQUIRE(s, running, "the broker does not run, life %d", life);
            b->running++;
            check_node(s, &solo, true);
        } else {
            /* Alone it knows what it knew, and is no majority. Blank, it waits for the others. */
            bool there = sim_world_run_until(solo.world, has_core, &solo, 1000);
            REQUIRE(s, !sim_env_is_down(solo.env), "the broker ended: %s",
                    sim_env_exit_reason(solo.env));
            REQUIRE(s, there || !known, "no core");
            if (there)
                check_node(s, &solo, false);
        }
        if (!sim_env_is_down(solo.env))
            sim_env_power_cut(solo.env);
        sim_solo_kill(&solo);
    }
    sim_solo_release(&solo);
}

static void walk(struct bench *b, const char *name, const struct crash_limits *limits)
{
    struct crash_counts counts;
    size_t snapshots = 0;
    size_t votes = 0;
    for (size_t k = 0; k < b->trace.count; k++) {
        const struct crash_change *c = &b->trace.changes[k];
        bool renamed = c->kind == SIM_CHANGE_RENAME;
        snapshots += renamed && strstr(c->name, ".checkpoint") != NULL;
        votes += renamed && strcmp(c->name, "quorum-state") == 0;
    }
    ck_assert_uint_gt(snapshots, 1);
    ck_assert_uint_gt(votes, 1);
    sim_world_on_step(b->solo[0].world, NULL, NULL);
    crash_trace_end(&b->trace);
    ck_assert_uint_gt(b->now.commit, 0);
    ck_assert_uint_gt(b->now.term, 1);
    crash_walk(&b->trace, limits, visit, b, &counts);
    crash_counts_print(name, &counts, b->trace.count);
    printf("%-28s term %llu, %llu entries, %zu starts of a broker\n", "",
           (unsigned long long)b->now.term, (unsigned long long)b->now.commit, b->starts);
}

static void life(struct bench *b, bool power)
{
    sim_solo_start(&b->solo[0]);
    ck_assert(sim_solo_run_until(&b->solo[0], NODE_RUNNING, START_MS));
    sim_world_run_for(b->solo[0].world, LIFE_MS);
    if (power) {
        sim_disk_set_crash_mode(sim_host_disk(b->solo[0].host), SIM_CRASH_KEEP);
        sim_env_power_cut(b->solo[0].env);
    }
    sim_solo_kill(&b->solo[0]);
}

static void on_stopped(void *arg)
{
    *(bool *)arg = true;
}

/* Each life adds a term, a registration and its consequences, so that snapshots are due. */
START_TEST(single__lives_snapshots_and_a_clean_stop)
{
    static const struct crash_limits limits = {
        .images = 40, .states = 60, .no_kills = true, .stride = 4};
    struct bench b;
    bool stopped = false;
    bench_init(&b, 1);
    for (int i = 0; i < 3; i++)
        life(&b, false);
    sim_solo_start(&b.solo[0]);
    ck_assert(sim_solo_run_until(&b.solo[0], NODE_RUNNING, START_MS));
    sim_world_run_for(b.solo[0].world, LIFE_MS);
    node_stop(b.solo[0].node, 5000, on_stopped, &stopped);
    ck_assert(sim_world_run_until_flag(b.solo[0].world, &stopped, START_MS));
    sim_solo_kill(&b.solo[0]);
    walk(&b, "one broker, four lives", &limits);
    bench_release(&b);
}
END_TEST

static bool two_run(void *arg)
{
    struct bench *b = arg;
    for (uint32_t i = 0; i < 3; i += 2)
        if (b->solo[i].node == NULL || node_state(b->solo[i].node) != NODE_RUNNING)
            return false;
    return true;
}

/* With one of three gone, each vote and each entry of the other one counts. */
START_TEST(voter__what_it_gave_to_others_stays)
{
    static const struct crash_limits limits = {
        .images = 40, .states = 60, .no_kills = true, .stride = 4};
    struct bench b;
    bench_init(&b, 3);
    for (uint32_t i = 0; i < 3; i++)
        sim_solo_start(&b.solo[i]);
    for (uint32_t i = 0; i < 3; i++)
        ck_assert(sim_solo_run_until(&b.solo[i], NODE_RUNNING, START_MS));
    sim_solo_kill(&b.solo[1]);
    for (uint32_t i = 0; i < 3; i++) {
        struct raft_status s = status_of(&b.solo[i]);
        b.lone_term = s.term >= b.lone_term ? s.term + 1 : b.lone_term;
        b.lone_commit = s.last_index > b.lone_commit ? s.last_index : b.lone_commit;
    }
    b.lone = true;
    for (int i = 0; i < 3; i++) {
        uint32_t who = i == 1 ? 0 : 2;
        sim_solo_kill(&b.solo[who]);
        sim_world_run_for(b.solo[0].world, 300);
        sim_solo_start(&b.solo[who]);
        ck_assert(sim_world_run_until(b.solo[0].world, two_run, &b, START_MS));
        sim_world_run_for(b.solo[0].world, LIFE_MS);
    }
    sim_solo_kill(&b.solo[0]);
    walk(&b, "one voter of three", &limits);
    bench_release(&b);
}
END_TEST

CRASH_MAIN("crash_quorum", single__lives_snapshots_and_a_clean_stop,
           voter__what_it_gave_to_others_stays)
