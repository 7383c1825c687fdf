#include "tests/sim/sim_cluster.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/assert.h"
#include "proto/base/err.h"
#include "proto/base/mem.h"
#include "tests/sim/sim_disk.h"
#include "tests/sim/sim_metadata_check.h"
#include "tests/sim/sim_net.h"
#include "tests/sim/sim_peer_check.h"
#include "tests/sim/sim_probe.h"
#include "tests/sim/sim_raft_check.h"
#include "tests/sim/sim_wire_check.h"

#define LOG_DIR "/data"
#define METADATA_DIR LOG_DIR "/__cluster_metadata-0"
#define CONTROLLER_PORT 9093
#define LED_MAX 64
#define RECOVERED_EVERY 3

/* What was last seen of a partition at a node. */
struct led {
    int64_t high_watermark;
    int32_t leader_epoch, partition_epoch; /* committed */
    uint32_t isr;
};

struct member {
    struct sim_cluster *cluster;
    uint32_t index;
    struct sim_host *host;
    struct sim_env *env; /* NULL while down */
    struct node *node;
    uint32_t boots;
    bool no_space;        /* it could not start for want of space */
    uint64_t late_us;     /* when it was first seen too late after a failure of its disk */
    uint64_t syncs;       /* of its disk, when the votes were last looked at */
    uint64_t start_syncs; /* ... and where its logs begin */
    bool replaced;        /* its disk was */
    struct led led[LED_MAX];
    int64_t recovered[LED_MAX]; /* what was durable at its start; -1: looked at, or nothing to be */
    int64_t durable[LED_MAX];   /* reports up to here were looked at, by partition */
};

struct sim_cluster {
    struct sim_world *world;
    struct sim_cluster_options options;
    struct member members[SIM_CLUSTER_NODES_MAX];
    struct sim_raft_check *raft;
    struct sim_replica_check *replicas;
    struct sim_wire_check *wire;
    struct sim_heal_check heal;
    uint64_t whole_at; /* committed index of the answer: */
    bool whole;
    char broken[96];
    struct sim_epoch_check *epochs;
    struct sim_peer_check *peers;
    uint8_t topic_ids[SIM_TOPICS_MAX][16]; /* as a node that holds a partition knows them */
    struct sim_cluster_counts counts;
    sim_node_event_fn *event_fn;
    void *event_arg;
};

static void dir_of(void *arg, uint32_t partition, char *text);

/* ---- nodes ---- */

static struct node_listener_config listener(const char *name, const char *host, uint16_t port,
                                            bool controller)
{
    return (struct node_listener_config){.name = kb_strdup(name),
                                         .host = kb_strdup(""),
                                         .port = port,
                                         .advertised_host = kb_strdup(host),
                                         .advertised_port = port,
                                         .controller = controller};
}

static void configure(const struct member *m, struct node_config *c)
{
    const struct sim_cluster *cluster = m->cluster;
    const char *name = sim_host_name(m->host);
    node_config_init(c);
    c->node_id = (int32_t)m->index + 1;
    c->log_dir = kb_strdup(LOG_DIR);
    c->version = kb_strdup("sim");
    c->boot_id = kb_asprintf("boot-%u-%u", m->index, m->boots);
    c->reserve_bytes = 16 << 10;
    c->snapshot_bytes = 8 << 10; /* snapshots happen in every run */
    c->auto_create_topics = false;
    c->offsets_topic_partitions = 1;
    /* Longer than clocks of two nodes differ, unless they begin right. */
    c->offsets_retention_ms = cluster->options.offsets_retention_ms != 0
                                  ? cluster->options.offsets_retention_ms
                                  : UINT64_C(180) * 60000;
    c->offsets_retention_check_ms = 1000;
    c->cleaner_backoff_ms = 1000;
    c->retention_check_ms = 700;
    c->group_session_min_ms = 500;
    c->memory_max_bytes = 64 << 20;
    c->listeners = kb_new_array(struct node_listener_config, 2);
    c->listeners[0] = listener("PLAINTEXT", name, SIM_CLUSTER_PORT, false);
    c->listeners[1] = listener("CONTROLLER", name, CONTROLLER_PORT, true);
    c->listeners_count = 2;
    c->observer = m->index >= cluster->options.voters;
    c->voters = kb_new_array(struct node_voter_config, cluster->options.voters);
    c->voters_count = cluster->options.voters;
    for (uint32_t i = 0; i < cluster->options.voters; i++)
        c->voters[i] = (struct node_voter_config){
            .id = (int32_t)i + 1, .host = kb_asprintf("node%u", i + 1), .port = CONTROLLER_PORT};
    c->apis = cluster->options.apis;
    c->apis_count = cluster->options.apis_count;
}

/* Its disk has failed a call in this life: it may leave. */
static uint64_t failed_us(const struct member *m)
{
    return sim_disk_failed_us(sim_host_disk(m->host));
}

static void on_started(void *arg, int result, const char *reason)
{
    struct member *m = arg;
    const char *why = reason != NULL ? reason : "?";
    /* A start may need space: then the process exits cleanly and comes back later (row 29). */
    m->no_space = result == -KB_ENOSPC &&
                  sim_disk_settings(sim_host_disk(m->host))->capacity_bytes != 0;
    sim_check(m->cluster->options.checks, SIM_CHECK_RUN,
              result == 0 || m->no_space || failed_us(m) != 0, "%s cannot start: %s",
              sim_host_name(m->host), why);
    if (result < 0)
        kb_env_exit(sim_env_kb(m->env), 1, why); /* as the server does */
}

struct recovering {
    struct sim_disk *disk;
    const char *topic;
    int32_t index;
};

static int recover(void *arg, struct kb_fs *fs, const char *dir, struct sim_recovered *ret)
{
    const struct recovering *r = arg;
    return sim_probe_recover(fs, dir, sim_probe_mark(r->disk, LOG_DIR, r->topic, r->index), ret);
}

/* P20, before it starts: of one partition each RECOVERED_EVERY-th time, for it is no small work. */
static void check_recovery(struct sim_cluster *c, struct member *m)
{
    uint32_t count = sim_topics_partitions(c->options.topics);
    uint32_t chosen = (uint32_t)(c->counts.starts / RECOVERED_EVERY) % count;
    char dir[128];
    struct recovering r = {.disk = sim_host_disk(m->host)};
    for (uint32_t p = 0; p < count; p++)
        m->recovered[p] = sim_replica_check_end(c->replicas, m->index, p);
    if (c->counts.starts % RECOVERED_EVERY != 0 || m->recovered[chosen] == 0)
        return;
    uint32_t topic = 0;
    sim_topics_split(c->options.topics, chosen, &topic, &r.index);
    r.topic = c->options.topics->topic[topic].name;
    dir_of(c, chosen, dir);
    sim_recovery_check(c->options.checks, m->index, r.disk, dir, recover, &r);
}

void sim_cluster_start(struct sim_cluster *c, uint32_t i)
{
    struct member *m = &c->members[i];
    struct node_config config;
    if (m->env != NULL)
        return;
    c->counts.starts++;
    sim_world_note(c->world, "start %s", sim_host_name(m->host));
    sim_disk_forget_failures(sim_host_disk(m->host));
    m->late_us = 0;
    m->no_space = false;
    memset(m->durable, 0, sizeof(m->durable));
    check_recovery(c, m);
    if (c->options.right_clocks)
        sim_host_set_clock_skew(m->host, 0);
    m->env = sim_host_start(m->host);
    configure(m, &config);
    m->node = node_new(sim_env_kb(m->env), &config);
    node_config_release(&config);
    node_start(m->node, on_started, m);
}

static void member_free(struct member *m)
{
    if (m->env == NULL)
        return;
    m->node = node_free(m->node);
    sim_check(m->cluster->options.checks, SIM_CHECK_RUN, sim_env_leaks(m->env) == 0,
              "%s leaves %zu timers, files or listeners behind", sim_host_name(m->host),
              sim_env_leaks(m->env));
    m->env = sim_env_free(m->env);
}

static void on_down(void *arg, struct sim_env *env)
{
    struct sim_cluster *c = arg;
    for (uint32_t i = 0; i < c->options.nodes; i++) {
        struct member *m = &c->members[i];
        if (m->env != env)
            continue;
        c->counts.crashes += sim_env_exit_status(env) < 0;
        if (sim_env_exit_status(env) >= 0) {
            c->counts.exits++;
            sim_check(c->options.checks, SIM_CHECK_RUN, failed_us(m) != 0 || m->no_space,
                      "%s exits by itself: %s", sim_host_name(m->host), sim_env_exit_reason(env));
        }
        member_free(m);
        if (c->event_fn != NULL)
            c->event_fn(c->event_arg, i);
        return;
    }
}

void sim_cluster_kill(struct sim_cluster *c, uint32_t i, bool power)
{
    struct member *m = &c->members[i];
    if (m->env == NULL)
        return;
    sim_world_note(c->world, "%s %s", power ? "power cut" : "kill", sim_host_name(m->host));
    if (power) {
        c->counts.power_cuts++;
        m->boots++;
        sim_env_power_cut(m->env);
    } else {
        c->counts.kills++;
        sim_env_kill(m->env);
    }
}

void sim_cluster_replace_disk(struct sim_cluster *c, uint32_t i, const struct sim_disk_copy *copy)
{
    struct member *m = &c->members[i];
    KB_ASSERT(m->env == NULL);
    sim_world_note(c->world, "%s %s", copy != NULL ? "old disk" : "new disk",
                   sim_host_name(m->host));
    sim_raft_check_leaves(c->raft, i);
    if (copy != NULL)
        sim_disk_restore(sim_host_disk(m->host), copy);
    else
        sim_disk_wipe(sim_host_disk(m->host));
    if (i < c->options.voters)
        sim_raft_check_replaced(c->raft, i);
    sim_replica_check_replaced(c->replicas, i);
    m->replaced = true;
}

void sim_cluster_damage_vote(struct sim_cluster *c, uint32_t i)
{
    KB_ASSERT(c->members[i].env == NULL);
    sim_raft_check_damaged(c->raft, i);
}

/* ---- watching ---- */

/* 9.3: after a failed write or sync it hands over and leaves. Looked at twice, for a process that
 * was frozen does so when it goes on. */
static void check_leaves(struct member *m)
{
    uint64_t failed = failed_us(m);
    uint64_t now = sim_world_now_us(m->cluster->world);
    if (failed == 0 || now < failed + SIM_CLUSTER_LEAVE_MS * UINT64_C(1000))
        return;
    if (m->late_us == 0)
        m->late_us = now;
    if (now < m->late_us + 500000)
        return;
    m->late_us = UINT64_MAX / 2; /* told once */
    sim_check(m->cluster->options.checks, SIM_CHECK_RUN, false,
              "%s still runs %llu ms after its disk failed", sim_host_name(m->host),
              (unsigned long long)(now - failed) / 1000);
}

/* P20, when its log is first open. */
static void check_recovered(struct sim_cluster *c, struct member *m, uint32_t partition,
                            const char *topic, int32_t index)
{
    int64_t end = 0;
    bool told = false;
    if (sim_probe_recovered(m->node, topic, index, &end, &told))
        sim_recovery_check_opened(c->options.checks, m->index, partition, m->recovered[partition],
                                  end, told);
    m->recovered[partition] = -1;
}

/* P6 and P8, whatever has moved. */
static void check_replicas(struct sim_cluster *c, struct member *m)
{
    const struct sim_metadata_check *metadata = sim_raft_check_metadata(c->raft);
    for (uint32_t p = 0; p < sim_topics_partitions(c->options.topics); p++) {
        struct sim_replica_view view = {.life = sim_env_life(m->env)};
        struct sim_metadata_partition now;
        uint8_t topic_id[16];
        uint32_t topic = 0;
        int32_t index = 0;
        sim_topics_split(c->options.topics, p, &topic, &index);
        /* A log whose topic nobody knows (a bit has turned in its id) is another one. */
        if (!sim_probe_replica(m->node, c->options.topics->topic[topic].name, index, topic_id,
                               &view) ||
            !sim_metadata_check_find(metadata, topic_id, index, &now))
            continue;
        memcpy(c->topic_ids[topic], topic_id, sizeof(topic_id));
        if (!view.open || m->durable[p] > view.end)
            m->durable[p] = 0;
        if (view.open && m->recovered[p] >= 0)
            check_recovered(c, m, p, c->options.topics->topic[topic].name, index);
        view.member = ((now.isr | now.elr) >> (m->index + 1) & 1) != 0;
        sim_epoch_check_step(c->epochs, m->index, p, &view);
    }
}

/* P14, whenever a node says more than before. */
static void on_reported(void *arg, uint32_t node, uint32_t partition, int64_t durable)
{
    struct sim_cluster *c = arg;
    struct member *m = &c->members[node];
    if (durable <= m->durable[partition])
        return;
    m->durable[partition] = durable;
    sim_replica_check_reported(c->replicas, node, partition, durable);
}

static int32_t partition_of(void *arg, struct kb_view topic_id, int32_t index)
{
    const struct sim_cluster *c = arg;
    int32_t first = 0;
    for (uint32_t t = 0; t < c->options.topics->count; t++) {
        int32_t count = c->options.topics->topic[t].partitions;
        if (memcmp(c->topic_ids[t], topic_id.data, sizeof(c->topic_ids[t])) == 0)
            return index >= 0 && index < count ? first + index : -1;
        first += count;
    }
    return -1;
}

static uint64_t broker_epoch(void *arg, uint32_t at, uint32_t of)
{
    const struct member *m = &((const struct sim_cluster *)arg)->members[at];
    return m->node != NULL ? sim_probe_epoch_of(m->node, (int32_t)of + 1) : 0;
}

static const struct member *member_at(const struct sim_cluster *c, const struct sim_host *host)
{
    for (uint32_t i = 0; i < c->options.nodes; i++) {
        if (c->members[i].host == host)
            return &c->members[i];
    }
    return NULL;
}

/* One end of a connection between two members. */
static uint64_t end_of(const struct sim_frame *frame, const struct member *at,
                       const struct member *other)
{
    return frame->conn * 2 + (at->index > other->index);
}

static void on_frame(void *arg, const struct sim_frame *frame)
{
    struct sim_cluster *c = arg;
    const struct member *from = member_at(c, frame->from), *to = member_at(c, frame->to);
    if (from == NULL || to == NULL || frame->port != CONTROLLER_PORT)
        return;
    if (!frame->sent)
        sim_wire_check_frame(c->wire, end_of(frame, to, from), end_of(frame, from, to),
                             frame->head);
    sim_peer_check_frame(c->peers, from->index, to->index, frame->conn, frame->sent, frame->head);
}

/* P4 and P13, whenever the leader's high watermark or the committed ISR has moved. */
static void check_led(struct sim_cluster *c, struct member *m)
{
    const struct sim_metadata_check *metadata = sim_raft_check_metadata(c->raft);
    for (uint32_t p = 0; p < sim_topics_partitions(c->options.topics); p++) {
        struct sim_leader_view view;
        struct sim_metadata_partition now;
        struct led *led = &m->led[p];
        uint32_t topic = 0;
        int32_t index = 0;
        int64_t epoch_start = 0;
        sim_topics_split(c->options.topics, p, &topic, &index);
        const char *name = c->options.topics->topic[topic].name;
        if (!sim_probe_leads(m->node, name, index, &view) ||
            !sim_metadata_check_find(metadata, view.topic_id, index, &now) ||
            now.leader != (int32_t)m->index + 1 || now.leader_epoch != view.leader_epoch ||
            (led->high_watermark == view.high_watermark &&
             led->partition_epoch == now.partition_epoch) ||
            !sim_probe_strong(m->node, name, index, &epoch_start))
            continue;
        if (led->leader_epoch == now.leader_epoch)
            sim_replica_check_joined(c->replicas, p, epoch_start, (now.isr & ~led->isr) >> 1);
        *led = (struct led){view.high_watermark, now.leader_epoch, now.partition_epoch, now.isr};
        sim_replica_check_hw(c->replicas, p, view.high_watermark, now.isr >> 1);
    }
}

/* Another node may have seen a commit that takes somebody into the ISR before the leader does. */
static void check_all_led(struct sim_cluster *c)
{
    for (uint32_t i = 0; i < c->options.nodes; i++) {
        struct member *m = &c->members[i];
        if (m->env != NULL && !sim_env_is_down(m->env))
            check_led(c, m);
    }
}

/* R14 and P21, once the faults are over. */
static void check_heal(struct sim_cluster *c)
{
    uint64_t committed = sim_raft_check_committed(c->raft);
    if (c->heal.healed_us == 0)
        return;
    if (committed != c->whole_at) { /* nothing else changes it */
        c->whole_at = committed;
        c->whole = sim_metadata_check_whole(sim_raft_check_metadata(c->raft), c->broken);
    }
    bool leader = c->heal.judged_quorum || sim_cluster_controller(c) >= 0;
    sim_heal_check_step(&c->heal, sim_world_now_us(c->world), leader, committed,
                        c->whole ? NULL : c->broken);
}

/* ---- where logs begin ---- */

/* The ISR of a partition as committed. */
static bool committed(const struct sim_cluster *c, const uint8_t topic_id[16], int32_t index,
                      struct sim_metadata_partition *ret)
{
    return sim_metadata_check_find(sim_raft_check_metadata(c->raft), topic_id, index, ret);
}

static bool probe_start(const struct member *m, uint32_t partition, struct sim_start_probe *ret,
                        struct sim_metadata_partition *ret_committed)
{
    const struct sim_cluster *c = m->cluster;
    uint32_t topic = 0;
    int32_t index = 0;
    sim_topics_split(c->options.topics, partition, &topic, &index);
    return m->env != NULL && !sim_env_is_down(m->env) &&
           sim_probe_start(m->node, c->options.topics->topic[topic].name, index, ret) &&
           committed(c, ret->topic_id, index, ret_committed);
}

static bool is_member(const struct member *m, const struct sim_metadata_partition *committed)
{
    return (committed->isr >> (m->index + 1) & 1) != 0 && !m->replaced;
}

static int64_t clock_ms(const struct sim_cluster *c)
{
    return sim_world_wall_ms(c->world);
}

static void check_starts(struct sim_cluster *c, struct member *m)
{
    for (uint32_t p = 0; p < sim_topics_partitions(c->options.topics); p++) {
        struct sim_start_probe probe;
        struct sim_metadata_partition now;
        if (!probe_start(m, p, &probe, &now))
            continue;
        struct sim_start_view view = {.life = sim_env_life(m->env),
                                      /* One that is not back yet may hold a damaged log. */
                                      .member = is_member(m, &now) &&
                                                node_state(m->node) == NODE_RUNNING,
                                      .start = probe.start,
                                      .high_watermark = probe.high_watermark};
        sim_start_check_node(c->options.starts, m->index, p, &view, clock_ms(c));
    }
}

/* By the checkpoint on its disk, or by its first segment if that begins later. */
static int64_t durable_start(struct sim_cluster *c, uint32_t node, uint32_t partition)
{
    char name[64], text[4096];
    uint32_t topic = 0;
    int32_t index = 0;
    struct kb_view v;
    int64_t start = sim_replica_check_start(c->replicas, node, partition);
    sim_topics_split(c->options.topics, partition, &topic, &index);
    (void)snprintf(name, sizeof(name), "\n%s %d ", c->options.topics->topic[topic].name, index);
    if (sim_disk_view(sim_host_disk(c->members[node].host), LOG_DIR "/log-start-offset-checkpoint",
                      true, &v) < 0 ||
        v.size >= sizeof(text))
        return start;
    memcpy(text, v.data, v.size);
    text[v.size] = '\0';
    const char *line = strstr(text, name);
    int64_t told = line != NULL ? strtoll(line + strlen(name), NULL, 10) : 0;
    return told > start ? told : start;
}

void sim_cluster_check_durable_starts(struct sim_cluster *c, uint32_t partition)
{
    struct sim_start_probe probe;
    struct sim_metadata_partition now;
    bool found = false;
    for (uint32_t i = 0; i < c->options.nodes && !found; i++)
        found = probe_start(&c->members[i], partition, &probe, &now);
    for (uint32_t i = 0; i < c->options.nodes && found; i++) {
        if (is_member(&c->members[i], &now))
            sim_start_check_durable(c->options.starts, i, partition,
                                    durable_start(c, i, partition));
    }
}

static void on_step(void *arg)
{
    struct sim_cluster *c = arg;
    struct sim_env *env = sim_world_last_env(c->world);
    check_heal(c);
    for (uint32_t i = 0; i < c->options.nodes; i++) {
        struct member *m = &c->members[i];
        struct sim_raft_view view;
        if (m->env == NULL || m->env != env)
            continue;
        uint64_t syncs = sim_disk_sync_count(sim_host_disk(m->host));
        if (syncs != m->syncs) {
            m->syncs = syncs;
            sim_raft_check_votes(c->raft, i);
        }
        if (!sim_env_is_down(env))
            check_leaves(m);
        if (i < c->options.voters && !sim_env_is_down(env) && sim_probe_raft(m->node, &view)) {
            view.life = sim_env_life(env);
            uint64_t committed = sim_raft_check_committed(c->raft);
            sim_raft_check_step(c->raft, i, &view);
            if (sim_raft_check_committed(c->raft) != committed)
                check_all_led(c);
        }
        check_replicas(c, m); /* also the last thing it did */
        if (!sim_env_is_down(env))
            check_led(c, m);
        if (c->options.starts != NULL && syncs != m->start_syncs) {
            m->start_syncs = syncs;
            check_starts(c, m);
        }
        if (c->event_fn != NULL)
            c->event_fn(c->event_arg, i);
        return;
    }
}

static void dir_of(void *arg, uint32_t partition, char *text)
{
    struct sim_cluster *c = arg;
    uint32_t topic = 0;
    int32_t index = 0;
    sim_topics_split(c->options.topics, partition, &topic, &index);
    (void)snprintf(text, 128, LOG_DIR "/%s-%d", c->options.topics->topic[topic].name, index);
}

static int64_t high_watermark(const struct member *m, uint32_t partition)
{
    const struct sim_topics *topics = m->cluster->options.topics;
    uint32_t topic = 0;
    int32_t index = 0;
    sim_topics_split(topics, partition, &topic, &index);
    if (m->env == NULL || m->node == NULL)
        return -1;
    return sim_probe_high_watermark(m->node, topics->topic[topic].name, index);
}

struct asked {
    const struct node *node;
    const char *topic;
    int32_t index;
};

static int32_t epoch_at(void *arg, int64_t offset)
{
    const struct asked *a = arg;
    return sim_probe_epoch_at(a->node, a->topic, a->index, offset);
}

static void compare_epochs(struct sim_cluster *c, uint32_t partition)
{
    struct asked asked = {0};
    uint32_t topic = 0;
    sim_topics_split(c->options.topics, partition, &topic, &asked.index);
    asked.topic = c->options.topics->topic[topic].name;
    for (uint32_t i = 0; i < c->options.nodes; i++) {
        asked.node = c->members[i].node;
        if (c->members[i].env != NULL && !sim_env_is_down(c->members[i].env))
            sim_replica_check_epochs(c->replicas, i, partition, epoch_at, &asked);
    }
}

/* R10: images of one index hold the same, however they came about. */
static void compare_images(struct sim_cluster *c)
{
    for (uint32_t i = 0; i < c->options.nodes; i++) {
        const struct member *m = &c->members[i];
        uint64_t index = 0, image = 0;
        if (m->env != NULL && !sim_env_is_down(m->env) && sim_probe_image(m->node, &index, &image))
            sim_raft_check_image(c->raft, i, index, image);
    }
}

/* R18: what a process takes for its epoch is that of its registration. */
static void compare_broker_epochs(struct sim_cluster *c)
{
    const struct sim_metadata_check *metadata = sim_raft_check_metadata(c->raft);
    for (uint32_t i = 0; i < c->options.nodes; i++) {
        const struct member *m = &c->members[i];
        uint64_t incarnation = 0, epoch = 0, registered = 0;
        if (m->env == NULL || sim_env_is_down(m->env) ||
            !sim_probe_broker_epoch(m->node, &incarnation, &epoch))
            continue;
        uint64_t given = sim_metadata_check_broker_epoch(metadata, (int32_t)i + 1, &registered);
        sim_check(c->options.checks, SIM_CHECK_R18, registered != incarnation || given == epoch,
                  "node %u takes %llu for its epoch, and was given %llu", i + 1,
                  (unsigned long long)epoch, (unsigned long long)given);
    }
}

void sim_cluster_compare(struct sim_cluster *c)
{
    compare_images(c);
    compare_broker_epochs(c);
    for (uint32_t p = 0; p < sim_topics_partitions(c->options.topics); p++) {
        int64_t high_watermarks[SIM_CLUSTER_NODES_MAX];
        for (uint32_t i = 0; i < c->options.nodes; i++)
            high_watermarks[i] = high_watermark(&c->members[i], p);
        sim_replica_check_compare(c->replicas, p, high_watermarks);
        if (c->options.starts != NULL)
            sim_cluster_check_durable_starts(c, p);
        compare_epochs(c, p);
    }
}

void sim_cluster_check_events(struct sim_cluster *c)
{
    for (uint32_t i = 0; i < c->options.nodes; i++) {
        const struct member *m = &c->members[i];
        char reason[160] = "";
        if (m->env == NULL || sim_env_is_down(m->env))
            continue;
        bool ok = sim_probe_events(m->node, reason);
        sim_check(c->options.checks, SIM_CHECK_RUN, ok, "events of node %u: %s", i + 1, reason);
    }
}

bool sim_cluster_leads(const struct sim_cluster *c, uint32_t partition, int32_t broker,
                       int32_t leader_epoch)
{
    const struct member *m = &c->members[broker - 1];
    struct sim_leader_view view;
    uint32_t topic = 0;
    int32_t index = 0;
    sim_topics_split(c->options.topics, partition, &topic, &index);
    return m->env != NULL && !sim_env_is_down(m->env) &&
           sim_probe_leads(m->node, c->options.topics->topic[topic].name, index, &view) &&
           view.leader_epoch == leader_epoch;
}

bool sim_cluster_is_behind_in(const struct sim_cluster *c, const char *topic, int32_t index,
                              int32_t broker)
{
    int32_t own = -1, newest = -1;
    for (uint32_t i = 0; i < c->options.nodes; i++) {
        const struct member *m = &c->members[i];
        if (m->env == NULL || sim_env_is_down(m->env))
            continue;
        int32_t epoch = sim_probe_leader_epoch(m->node, topic, index);
        newest = epoch > newest ? epoch : newest;
        if ((int32_t)i + 1 == broker)
            own = epoch;
    }
    return own < newest || own < 0;
}

bool sim_cluster_is_behind(const struct sim_cluster *c, uint32_t partition, int32_t broker)
{
    uint32_t topic = 0;
    int32_t index = 0;
    sim_topics_split(c->options.topics, partition, &topic, &index);
    return sim_cluster_is_behind_in(c, c->options.topics->topic[topic].name, index, broker);
}

int32_t sim_cluster_newest_epoch(const struct sim_cluster *c, uint32_t partition)
{
    int32_t newest = -1;
    uint32_t topic = 0;
    int32_t index = 0;
    sim_topics_split(c->options.topics, partition, &topic, &index);
    for (uint32_t i = 0; i < c->options.nodes; i++) {
        const struct member *m = &c->members[i];
        struct sim_start_probe probe;
        struct sim_metadata_partition now;
        if (!probe_start(m, partition, &probe, &now))
            continue;
        int32_t known = sim_probe_leader_epoch(m->node, c->options.topics->topic[topic].name,
                                               index);
        newest = known > newest ? known : newest;
        newest = now.leader_epoch > newest ? now.leader_epoch : newest;
    }
    return newest;
}

bool sim_cluster_is_running(const struct sim_cluster *c, uint32_t i)
{
    const struct member *m = &c->members[i];
    return m->env != NULL && !sim_env_is_down(m->env) && node_state(m->node) == NODE_RUNNING;
}

bool sim_cluster_is_voter(const struct sim_cluster *c, uint32_t i)
{
    return sim_cluster_is_running(c, i) && sim_probe_is_voter(c->members[i].node);
}

bool sim_cluster_is_member(const struct sim_cluster *c, uint32_t i)
{
    return i < c->options.voters ? sim_cluster_is_voter(c, i) : sim_cluster_is_running(c, i);
}

bool sim_cluster_is_registered(const struct sim_cluster *c, uint32_t i)
{
    const struct member *m = &c->members[i];
    uint64_t incarnation = 0, epoch = 0;
    return m->env != NULL && !sim_env_is_down(m->env) &&
           sim_probe_broker_epoch(m->node, &incarnation, &epoch);
}

bool sim_cluster_proposes(const struct sim_cluster *c, uint32_t i, uint32_t joiner)
{
    const struct member *m = &c->members[i];
    return m->env != NULL && !sim_env_is_down(m->env) &&
           sim_probe_proposes(m->node, (int32_t)joiner + 1);
}

uint64_t sim_cluster_commit_index(const struct sim_cluster *c, uint32_t i)
{
    const struct member *m = &c->members[i];
    struct sim_raft_view view;
    if (m->env == NULL || sim_env_is_down(m->env) || !sim_probe_raft(m->node, &view))
        return 0;
    return view.commit_index;
}

bool sim_cluster_holds(const struct sim_cluster *c, uint32_t i, uint32_t partition)
{
    return high_watermark(&c->members[i], partition) >= 0;
}

uint32_t sim_cluster_partitions(const struct sim_cluster *c)
{
    return sim_topics_partitions(c->options.topics);
}

int64_t sim_cluster_high_watermark(const struct sim_cluster *c, uint32_t partition)
{
    int64_t highest = -1;
    for (uint32_t i = 0; i < c->options.nodes; i++) {
        int64_t hw = high_watermark(&c->members[i], partition);
        highest = hw > highest ? hw : highest;
    }
    return highest;
}

int32_t sim_cluster_controller(const struct sim_cluster *c)
{
    int32_t found = -1;
    uint64_t term = 0;
    for (uint32_t i = 0; i < c->options.nodes; i++) {
        struct sim_raft_view view;
        const struct member *m = &c->members[i];
        if (m->env == NULL || sim_env_is_down(m->env) || !sim_probe_raft(m->node, &view))
            continue;
        if (view.leader && view.term >= term) {
            term = view.term;
            found = (int32_t)i;
        }
    }
    return found;
}

uint64_t sim_cluster_broker_epoch(const struct sim_cluster *c, uint32_t at, uint32_t of)
{
    const struct member *m = &c->members[at];
    return m->node != NULL ? sim_probe_epoch_of(m->node, (int32_t)of + 1) : 0;
}

int32_t sim_cluster_leader(const struct sim_cluster *c, uint32_t partition)
{
    struct sim_metadata_partition now;
    uint32_t topic = 0;
    int32_t index = 0;
    sim_topics_split(c->options.topics, partition, &topic, &index);
    if (!sim_metadata_check_find(sim_raft_check_metadata(c->raft), c->topic_ids[topic], index,
                                 &now) ||
        now.leader < 1)
        return -1;
    return now.leader - 1;
}

struct kb_uuid sim_cluster_any_topic(const struct sim_cluster *c, uint64_t chance)
{
    struct kb_uuid id = {{0}};
    const uint8_t *found = sim_metadata_check_any_topic(sim_raft_check_metadata(c->raft), chance);
    if (found != NULL)
        memcpy(id.bytes, found, sizeof(id.bytes));
    return id;
}

void sim_cluster_look(const struct sim_cluster *c, uint32_t i, const struct kb_uuid *topic_id,
                      int32_t partition, struct sim_audit_view *ret)
{
    const struct member *m = &c->members[i];
    *ret = (struct sim_audit_view){.leader_epoch = -1};
    if (m->env == NULL || sim_env_is_down(m->env))
        return;
    ret->life = sim_env_life(m->env);
    ret->knows_topic = sim_metadata_check_has_topic(sim_raft_check_metadata(c->raft),
                                                    topic_id->bytes, sim_probe_applied(m->node));
    sim_probe_audit(m->node, topic_id, partition, ret);
}

void sim_cluster_describe(struct sim_cluster *c, FILE *out)
{
    for (uint32_t i = 0; i < c->options.nodes; i++) {
        const struct member *m = &c->members[i];
        if (m->env == NULL || sim_env_is_down(m->env))
            (void)fprintf(out, "node %u: down\n", i + 1);
        else
            sim_probe_describe(m->node, out);
    }
}

/* ---- the heal ---- */

void sim_cluster_healed(struct sim_cluster *c)
{
    sim_heal_check_begin(&c->heal, c->options.checks, sim_world_now_us(c->world),
                         sim_raft_check_committed(c->raft));
}

const struct sim_heal_check *sim_cluster_heal(const struct sim_cluster *c)
{
    return &c->heal;
}

void sim_cluster_check_whole(struct sim_cluster *c)
{
    char text[96];
    bool whole = sim_metadata_check_whole(sim_raft_check_metadata(c->raft), text);
    sim_heal_check_end(&c->heal, whole ? NULL : text);
}

const struct sim_metadata_check *sim_cluster_metadata(const struct sim_cluster *c)
{
    return sim_raft_check_metadata(c->raft);
}

/* ---- life ---- */

static uint64_t now_us(void *arg)
{
    return sim_world_now_us(((struct sim_cluster *)arg)->world);
}

static uint64_t log_bytes(void *arg, uint32_t partition, int64_t offset)
{
    return sim_replica_check_bytes(((struct sim_cluster *)arg)->replicas, partition, offset);
}

static uint64_t heard_us(void *arg, uint32_t from, uint32_t to, uint64_t *ret_steady_us)
{
    const struct sim_cluster *c = arg;
    const struct sim_host *a = c->members[from].host, *b = c->members[to].host;
    *ret_steady_us = sim_net_steady_us(a, b);
    return sim_net_heard_us(a, b);
}

struct sim_cluster *sim_cluster_new(struct sim_world *w, const struct sim_cluster_options *options)
{
    struct sim_cluster *c = kb_new(struct sim_cluster);
    uint32_t voters = options->voters != 0 ? options->voters : options->nodes;
    struct sim_raft_options ro = {.checks = options->checks,
                                  .voter_count = voters,
                                  .first_id = 1,
                                  .log_dir = METADATA_DIR,
                                  .vote_of = sim_probe_vote,
                                  .disk_count = options->nodes,
                                  .directory_of = sim_probe_directory,
                                  .barred_of = sim_probe_barred,
                                  .now_us = now_us,
                                  .heard_us = heard_us,
                                  .arg = c};
    struct sim_replica_options po = {.checks = options->checks,
                                     .disk_count = options->nodes,
                                     .partitions = sim_topics_partitions(options->topics),
                                     .dir_of = dir_of,
                                     .arg = c,
                                     .min_insync = options->nodes >= 3 ? 2 : 1,
                                     .starts = options->starts};
    KB_ASSERT(options->nodes <= SIM_CLUSTER_NODES_MAX);
    KB_ASSERT(sim_topics_partitions(options->topics) <= LED_MAX);
    c->world = w;
    c->options = *options;
    c->options.voters = voters;
    for (uint32_t i = 0; i < options->nodes; i++) {
        struct member *m = &c->members[i];
        char name[16];
        (void)snprintf(name, sizeof(name), "node%u", i + 1);
        m->cluster = c;
        m->index = i;
        m->host = sim_world_add_host(w, name);
        ro.disks[i] = po.disks[i] = sim_host_disk(m->host);
    }
    c->raft = sim_raft_check_new(&ro);
    c->epochs = sim_epoch_check_new(options->checks, options->nodes, po.partitions);
    po.epochs = c->epochs;
    c->replicas = sim_replica_check_new(&po);
    c->wire = sim_wire_check_new(options->checks, sim_raft_check_metadata(c->raft));
    struct sim_peer_options eo = {.checks = options->checks,
                                  .partitions = po.partitions,
                                  .partition_of = partition_of,
                                  .on_reported = on_reported,
                                  .broker_epoch = broker_epoch,
                                  .arg = c};
    c->peers = sim_peer_check_new(&eo);
    sim_net_on_frame(w, on_frame, c);
    if (options->starts != NULL)
        sim_start_check_bytes(options->starts, log_bytes, c);
    sim_world_on_down(w, on_down, c);
    sim_world_on_step(w, on_step, c);
    for (uint32_t i = 0; i < options->nodes; i++)
        sim_cluster_start(c, i);
    return c;
}

struct sim_cluster *sim_cluster_free(struct sim_cluster *c)
{
    if (c == NULL)
        return NULL;
    sim_net_on_frame(c->world, NULL, NULL);
    sim_world_on_down(c->world, NULL, NULL);
    sim_world_on_step(c->world, NULL, NULL);
    for (uint32_t i = 0; i < c->options.nodes; i++) {
        if (c->members[i].env != NULL)
            sim_env_kill(c->members[i].env);
        member_free(&c->members[i]);
    }
    c->wire = sim_wire_check_free(c->wire);
    c->raft = sim_raft_check_free(c->raft);
    c->replicas = sim_replica_check_free(c->replicas);
    c->epochs = sim_epoch_check_free(c->epochs);
    c->peers = sim_peer_check_free(c->peers);
    free(c);
    return NULL;
}

void sim_cluster_on_event(struct sim_cluster *c, sim_node_event_fn *fn, void *arg)
{
    c->event_fn = fn;
    c->event_arg = arg;
}

uint32_t sim_cluster_nodes(const struct sim_cluster *c)
{
    return c->options.nodes;
}

uint32_t sim_cluster_voters(const struct sim_cluster *c)
{
    return c->options.voters;
}

struct sim_host *sim_cluster_host(const struct sim_cluster *c, uint32_t i)
{
    return c->members[i].host;
}

struct node *sim_cluster_node(const struct sim_cluster *c, uint32_t i)
{
    return c->members[i].node;
}

struct sim_env *sim_cluster_env(const struct sim_cluster *c, uint32_t i)
{
    return c->members[i].env;
}

struct sim_replica_check *sim_cluster_replicas(struct sim_cluster *c)
{
    return c->replicas;
}

struct sim_cluster_counts sim_cluster_counts(const struct sim_cluster *c)
{
    struct sim_cluster_counts counts = c->counts;
    counts.old_requests = sim_wire_check_old(c->wire);
    counts.leader_terms = sim_raft_check_leaders(c->raft);
    counts.elections = sim_raft_check_elections(c->raft);
    counts.committed = sim_raft_check_committed(c->raft);
    return counts;
}
