#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/mem.h"
#include "proto/kafka/batch.h"
#include "tests/sim/sim_disk.h"
#include "tests/sim/sim_faults_private.h"
#include "tests/sim/sim_probe.h"

/* Faults of disks. Those that take something from a disk that was there (an empty or older
 * directory, turned bits) have one victim in a run: each record that counts lies on two disks, and
 * a good copy must be left. */

#define NAMES_MAX 32
#define POLL_US 100000
#define WAIT_US_MAX 6000000
#define CATCH_UP_US_MAX 5000000

static struct sim_disk *disk_of(const struct episode *e)
{
    return sim_host_disk(sim_episode_host(e, e->node));
}

static bool is_down(const struct episode *e)
{
    return sim_cluster_env(e->faults->cluster, e->node) == NULL;
}

/* ---- full ---- */

/* Little or nothing is left; without the reserve, giving that up does not help either. */
static void fill(struct episode *e)
{
    struct sim_disk_settings *s = sim_disk_settings(disk_of(e));
    uint64_t used = sim_disk_used_bytes(disk_of(e));
    if (e->fault == SIM_FAULT_FULL)
        s->capacity_bytes = used + sim_faults_draw(e->faults, 1, 24 << 10);
    else
        s->capacity_bytes = 1 + used / 2;
}

/* ---- errors ---- */

/* Once and then never again, a few times, or by chance for as long as it lasts. */
static void let_fail(struct episode *e)
{
    struct sim_disk_settings *s = sim_disk_settings(disk_of(e));
    uint32_t next = (uint32_t)sim_faults_draw(e->faults, 0, 3);
    uint32_t ppm = next == 0 ? (uint32_t)sim_faults_draw(e->faults, 20000, 1000000) : 0;
    e->mark = sim_disk_failures(disk_of(e));
    if (e->fault == SIM_FAULT_WRITE_EIO) {
        s->write_fail_next = next;
        s->write_eio_ppm = ppm;
    } else {
        s->sync_fail_next = next;
        s->sync_eio_ppm = ppm;
    }
}

static void let_work(struct episode *e)
{
    struct sim_disk_settings *s = sim_disk_settings(disk_of(e));
    s->dead = false;
    s->write_fail_next = s->sync_fail_next = 0;
    s->write_eio_ppm = s->sync_eio_ppm = 0;
    if (sim_disk_failures(disk_of(e)) != e->mark)
        sim_faults_happened(e);
}

/* ---- a disk dies, then all lose power ---- */

static void cut_power_of_all(void *arg)
{
    struct episode *e = arg;
    for (uint32_t i = 0; i < sim_cluster_nodes(e->faults->cluster) && !e->ended; i++)
        sim_cluster_kill(e->faults->cluster, i, true);
}

static void die(struct episode *e)
{
    e->mark = sim_disk_failures(disk_of(e));
    sim_disk_settings(disk_of(e))->dead = true;
    sim_world_after(e->faults->world, sim_faults_draw(e->faults, 0, e->duration_us / 2),
                    cut_power_of_all, e);
}

static void start_all(struct episode *e)
{
    uint32_t nodes = sim_cluster_nodes(e->faults->cluster);
    for (uint32_t i = 0; i < nodes; i++)
        sim_cluster_start(e->faults->cluster, (i + e->other) % nodes);
}

/* ---- another disk ---- */

/* A topic that was made while this broker alone was unfenced lies on one disk; nothing was
 * acknowledged there, and with the disk it is offline for good (4.4, 4.5; seed 4508).
 * One that ever lay on two must be on another disk still. */
static bool is_alone(const struct episode *e)
{
    return sim_metadata_check_alone(sim_cluster_metadata(e->faults->cluster), (int32_t)e->node + 1);
}

static void replace(struct episode *e)
{
    if (is_down(e) && !is_alone(e)) { /* no other fault's end has started it */
        sim_faults_happened(e);
        sim_cluster_replace_disk(e->faults->cluster, e->node, NULL);
    }
}

/* ---- bits ---- */

struct names {
    char name[NAMES_MAX][128];
    size_t count;
    bool logs_only;
};

static int add_partition(void *arg, const char *name, enum kb_fs_type type)
{
    struct names *n = arg;
    if (type == KB_FS_DIR && strchr(name, '.') == NULL &&
        strncmp(name, "__cluster_metadata", 18) != 0 && n->count < NAMES_MAX)
        (void)snprintf(n->name[n->count++], sizeof(n->name[0]), "/data/%s", name);
    return 0;
}

static int add_file(void *arg, const char *name, enum kb_fs_type type)
{
    struct names *n = arg;
    const char *dot = strrchr(name, '.');
    bool is_log = dot != NULL && strcmp(dot, ".log") == 0;
    if (type == KB_FS_FILE && (is_log || !n->logs_only) && n->count < NAMES_MAX)
        (void)snprintf(n->name[n->count++], sizeof(n->name[0]), "%s", name);
    return 0;
}

/* Above the durable mark, which is some seconds behind, damage looks like a torn tail, as rule 8.2
 * has it: what was acknowledged last would be cut off, and its replica may lead. */
static bool is_above_mark(struct sim_disk *disk, const char *dir, struct kb_view log,
                          uint64_t position)
{
    char topic[256];
    const char *name = strrchr(dir, '/') + 1;
    const char *dash = strrchr(name, '-');
    uint64_t at = 0;
    struct kw_batch b;
    if (dash == NULL)
        return false;
    (void)snprintf(topic, sizeof(topic), "%.*s", (int)(dash - name), name);
    int64_t mark = sim_probe_mark(disk, "/data", topic, (int32_t)strtol(dash + 1, NULL, 10));
    while (kw_batch_parse(log.data + at, log.size - at, &b) == KW_BATCH_WHOLE) {
        at += b.size;
        if (position < at)
            return kw_batch_last_offset(&b) >= mark;
    }
    return true; /* behind the last one */
}

/* One bit in some file of some partition. */
static void turn_bit(struct episode *e)
{
    struct sim_faults *f = e->faults;
    struct names dirs = {0}, files = {.logs_only = sim_faults_draw(f, 0, 2) != 0};
    struct kb_view bytes;
    char path[300];
    (void)sim_disk_list(disk_of(e), "/data", false, add_partition, &dirs);
    if (dirs.count == 0)
        return;
    const char *dir = dirs.name[sim_faults_draw(f, 0, dirs.count - 1)];
    (void)sim_disk_list(disk_of(e), dir, false, add_file, &files);
    if (files.count == 0)
        return;
    (void)snprintf(path, sizeof(path), "%s/%s", dir,
                   files.name[sim_faults_draw(f, 0, files.count - 1)]);
    if (sim_disk_view(disk_of(e), path, false, &bytes) < 0 || bytes.size == 0)
        return;
    uint64_t position = sim_faults_draw(f, 0, bytes.size - 1);
    if (strstr(path, ".log") != NULL && is_above_mark(disk_of(e), dir, bytes, position))
        return;
    if (sim_disk_rot_bit(disk_of(e), path, position, (unsigned)sim_faults_draw(f, 0, 7)) < 0)
        return;
    sim_world_note(f->world, "bit turned in %s of node %u at %llu of %llu", path, e->node + 1,
                   (unsigned long long)position, (unsigned long long)bytes.size);
    sim_faults_happened(e);
}

static void turn_bits(struct episode *e)
{
    if (!is_down(e))
        return; /* only what no process has in memory */
    for (uint64_t n = sim_faults_draw(e->faults, 1, 4); n > 0; n--)
        turn_bit(e);
}

/* ---- bits of the metadata (fault row 42) ---- */

#define RAFT_DIR "/data/__cluster_metadata-0"

struct one_name {
    const char *suffix;
    char name[128]; /* the last one that has it */
};

static int take_name(void *arg, const char *name, enum kb_fs_type type)
{
    struct one_name *n = arg;
    size_t size = strlen(name), suffix = strlen(n->suffix);
    if (type == KB_FS_FILE && size >= suffix && strcmp(name + size - suffix, n->suffix) == 0)
        (void)snprintf(n->name, sizeof(n->name), "%s", name);
    return 0;
}

/* Where its files are; false: it has none. */
static bool metadata_file(struct episode *e, char path[300])
{
    struct one_name n = {.suffix = e->fault == SIM_FAULT_VOTE_ROT   ? "quorum-state"
                                   : e->fault == SIM_FAULT_RAFT_ROT ? ".log"
                                                                    : ".checkpoint"};
    if (e->fault == SIM_FAULT_IDENTITY_ROT) {
        (void)snprintf(path, 300, "/data/meta.properties");
        return true;
    }
    (void)sim_disk_list(disk_of(e), RAFT_DIR, false, take_name, &n);
    (void)snprintf(path, 300, RAFT_DIR "/%s", n.name);
    return n.name[0] != '\0';
}

/* The vote's checksum is text: in another case it is the same. */
static uint64_t vote_size(struct kb_view text)
{
    uint64_t size = text.size;
    while (size > 0 && text.data[size - 1] != '=')
        size--;
    return size;
}

static void turn_metadata_bit(struct episode *e)
{
    struct sim_faults *f = e->faults;
    struct kb_view bytes;
    char path[300];
    if (!is_down(e) || !metadata_file(e, path) ||
        sim_disk_view(disk_of(e), path, false, &bytes) < 0 || bytes.size == 0)
        return;
    uint64_t size = e->fault == SIM_FAULT_VOTE_ROT ? vote_size(bytes) : bytes.size;
    uint64_t position = sim_faults_draw(f, 0, size - 1);
    unsigned bit = (unsigned)sim_faults_draw(f, 0, 7);
    sim_world_note(f->world, "bit turned in %s of node %u at %llu of %llu", path, e->node + 1,
                   (unsigned long long)position, (unsigned long long)bytes.size);
    sim_faults_happened(e);
    /* Who it is says its directory, and checkers read that, too. */
    if (e->fault == SIM_FAULT_IDENTITY_ROT)
        (void)sim_disk_flip_bit(disk_of(e), path, position, bit);
    else
        (void)sim_disk_rot_bit(disk_of(e), path, position, bit);
    if (e->fault == SIM_FAULT_VOTE_ROT)
        sim_cluster_damage_vote(f->cluster, e->node);
}

static void start_others(void *arg)
{
    struct episode *e = arg;
    if (!e->faults->healed)
        start_all(e);
}

/* Half the time nobody leads when it comes back, so that its vote is asked for at once. */
static void elect_beside(struct episode *e)
{
    struct sim_cluster *c = e->faults->cluster;
    int32_t controller = sim_cluster_controller(c);
    if (controller < 0 || sim_faults_draw(e->faults, 0, 1) == 0)
        return;
    sim_cluster_kill(c, (uint32_t)controller, false);
    sim_cluster_start(c, e->node);
    sim_world_after(e->faults->world, sim_faults_draw(e->faults, 100000, 1000000), start_others, e);
}

/* ---- back in time ---- */

/* A directory that goes back is found only while another holder lives (8.4), so that nothing else
 * goes wrong from then on until it has what it had. */
enum { STEP_COPIED, STEP_DOWN, STEP_CATCHING_UP };

static void back_step(void *arg);

/* Nobody lags behind in the metadata: of three voters two hold each entry without the one that goes
 * back (seed 3560). */
static bool all_well(struct episode *e)
{
    struct sim_cluster *c = e->faults->cluster;
    uint64_t committed = 0;
    if (e->faults->active > 0)
        return false;
    for (uint32_t i = 0; i < sim_cluster_nodes(c); i++) {
        sim_cluster_start(c, i); /* one whose disk had failed may be down */
        if (!sim_cluster_is_member(c, i))
            return false;
        if (sim_cluster_commit_index(c, i) > committed)
            committed = sim_cluster_commit_index(c, i);
    }
    for (uint32_t i = 0; i < sim_cluster_nodes(c); i++) {
        if (sim_cluster_commit_index(c, i) < committed)
            return false;
    }
    return true;
}

/* It has all that was committed when it went down. */
static bool caught_up(struct episode *e)
{
    struct sim_cluster *c = e->faults->cluster;
    if (!sim_cluster_is_member(c, e->node) || sim_cluster_commit_index(c, e->node) < e->mark)
        return false;
    for (uint32_t p = 0; p < e->ends_count; p++) {
        if (sim_cluster_holds(c, e->node, p) &&
            sim_replica_check_end(sim_cluster_replicas(c), e->node, p) < e->ends[p])
            return false;
    }
    return true;
}

static void remember_ends(struct episode *e)
{
    struct sim_cluster *c = e->faults->cluster;
    e->mark = 0;
    e->ends_count = sim_cluster_partitions(c) < EPISODE_ENDS_MAX ? sim_cluster_partitions(c)
                                                                 : EPISODE_ENDS_MAX;
    for (uint32_t i = 0; i < sim_cluster_nodes(c); i++) {
        uint64_t commit = sim_cluster_commit_index(c, i);
        e->mark = commit > e->mark ? commit : e->mark;
    }
    for (uint32_t p = 0; p < e->ends_count; p++)
        e->ends[p] = sim_cluster_high_watermark(c, p);
}

static void back_go_down(struct episode *e)
{
    struct sim_faults *f = e->faults;
    remember_ends(e);
    sim_cluster_kill(f->cluster, e->node, true);
    e->steps = STEP_DOWN;
    sim_world_after(f->world, sim_faults_draw(f, 20000, 2000000), back_step, e);
}

static void back_return(struct episode *e)
{
    sim_faults_happened(e);
    sim_cluster_replace_disk(e->faults->cluster, e->node, e->copy);
    sim_cluster_start(e->faults->cluster, e->node);
    e->copy = sim_disk_copy_free(e->copy);
    e->steps = STEP_CATCHING_UP;
    e->start_us = sim_world_now_us(e->faults->world);
}

static void end_back(struct episode *e)
{
    e->ended = true;
    e->copy = sim_disk_copy_free(e->copy);
    e->faults->quiet = false;
}

static void back_step(void *arg)
{
    struct episode *e = arg;
    struct sim_faults *f = e->faults;
    uint64_t now_us = sim_world_now_us(f->world);
    if (e->ended)
        return;
    if (e->steps == STEP_COPIED && !f->quiet) {
        f->quiet = true;
        e->start_us = now_us;
    }
    if (e->steps == STEP_COPIED && all_well(e)) {
        back_go_down(e);
        return;
    }
    if (e->steps == STEP_COPIED && now_us - e->start_us > WAIT_US_MAX) {
        end_back(e); /* it does not become well by itself: something else may be going on */
        return;
    }
    if (e->steps == STEP_DOWN)
        back_return(e);
    if (e->steps == STEP_CATCHING_UP && (caught_up(e) || now_us - e->start_us > CATCH_UP_US_MAX)) {
        sim_world_note(f->world, "node %u has caught up", e->node + 1);
        end_back(e);
        return;
    }
    sim_world_after(f->world, POLL_US, back_step, e);
}

static void back_begin(struct episode *e)
{
    e->copy = sim_disk_copy_new(disk_of(e));
    e->steps = STEP_COPIED;
    sim_world_after(e->faults->world, e->duration_us, back_step, e);
}

/* The run is over: what began comes to its end, with everybody else whole. */
static void back_end(struct episode *e)
{
    if (e->steps == STEP_DOWN)
        back_return(e);
    e->copy = sim_disk_copy_free(e->copy);
    e->faults->quiet = false;
}

/* ---- beginning and ending ---- */

bool sim_faults_disk_begin(struct episode *e)
{
    switch (e->fault) {
    case SIM_FAULT_STALL:
        sim_disk_stall(disk_of(e), e->duration_us / 1000);
        return true;
    case SIM_FAULT_FULL:
    case SIM_FAULT_FULL_HARD:
        fill(e);
        return true;
    case SIM_FAULT_WRITE_EIO:
    case SIM_FAULT_SYNC_EIO:
        let_fail(e);
        return true;
    case SIM_FAULT_DEATH:
    case SIM_FAULT_LOST:
        die(e);
        return true;
    case SIM_FAULT_WIPE:
    case SIM_FAULT_ROT:
    case SIM_FAULT_VOTE_ROT:
    case SIM_FAULT_RAFT_ROT:
    case SIM_FAULT_SNAPSHOT_ROT:
    case SIM_FAULT_IDENTITY_ROT:
        sim_cluster_kill(e->faults->cluster, e->node, true);
        return true;
    case SIM_FAULT_ROLLBACK:
        back_begin(e);
        return true;
    default:
        return false;
    }
}

void sim_faults_disk_end(struct episode *e)
{
    switch (e->fault) {
    case SIM_FAULT_FULL:
    case SIM_FAULT_FULL_HARD:
        sim_disk_settings(disk_of(e))->capacity_bytes = 0;
        break;
    case SIM_FAULT_WRITE_EIO:
    case SIM_FAULT_SYNC_EIO:
        let_work(e);
        break;
    case SIM_FAULT_DEATH:
        let_work(e);
        start_all(e);
        break;
    case SIM_FAULT_LOST:
        sim_disk_settings(disk_of(e))->dead = false;
        replace(e);
        start_all(e);
        break;
    case SIM_FAULT_WIPE:
        replace(e);
        break;
    case SIM_FAULT_ROT:
        turn_bits(e);
        break;
    case SIM_FAULT_VOTE_ROT:
    case SIM_FAULT_RAFT_ROT:
    case SIM_FAULT_SNAPSHOT_ROT:
    case SIM_FAULT_IDENTITY_ROT:
        turn_metadata_bit(e);
        elect_beside(e);
        break;
    case SIM_FAULT_ROLLBACK:
        back_end(e);
        return;
    default:
        return;
    }
    sim_cluster_start(e->faults->cluster, e->node);
}
