#include "tests/sim/sim_cluster_private.h"

/* ---- watching ---- */

/* 9.3: after a failed write or sync it hands over and leaves. Looked at twice, for a process that
 * was frozen does so when it goes on. */
static void check_leaves(struct member *m)
{
    uint64_t failed = sim_member_failed_us(m);
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

/* Nothing of a replica has moved: all that check_replica would do was done. */
static bool is_judged(const struct sim_cluster *c, const struct member *m, uint32_t partition,
                      const struct sim_replica_view *view)
{
    int64_t durable = m->durable[partition];
    return sim_epoch_check_knows(c->epochs, m->index, partition, view) &&
           (durable == 0 || (view->open && durable <= view->end)) &&
           (!view->open || m->recovered[partition] < 0);
}

/* A bit that turned before the heal is found when somebody reads it, however late: P21 counts from
 * then, once for each bit that has turned on this disk. */
static void check_damaged(struct sim_cluster *c, struct member *m)
{
    if (c->heal.healed_us == 0)
        return;
    size_t before = m->damaged;
    m->damaged = sim_probe_damaged(m->node);
    if (m->damaged <= before || m->found >= sim_disk_rotten(sim_host_disk(m->host)))
        return;
    m->found++;
    sim_heal_check_found(&c->heal, sim_world_now_us(c->world));
}

/* P6 and P8, whatever has moved. */
static void check_replicas(struct sim_cluster *c, struct member *m)
{
    const struct sim_metadata_check *metadata = sim_raft_check_metadata(c->raft);
    uint32_t count = sim_topics_partitions(c->options.topics);
    for (uint32_t p = 0; p < count; p++) {
        struct sim_replica_view view = {.life = sim_env_life(m->env)};
        struct sim_metadata_partition now;
        uint8_t topic_id[16];
        uint32_t topic = 0;
        int32_t index = 0;
        if (m->replicas.held[p] == NULL)
            continue;
        sim_probe_replica(m->replicas.held[p], topic_id, &view);
        sim_topics_split(c->options.topics, p, &topic, &index);
        bool judged = is_judged(c, m, p, &view) &&
                      memcmp(c->topic_ids[topic], topic_id, sizeof(topic_id)) == 0;
        /* A log whose topic nobody knows (a bit has turned in its id) is another one. */
        if (judged || !sim_metadata_check_find(metadata, topic_id, index, &now))
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
void sim_cluster_on_reported(void *arg, uint32_t node, uint32_t partition, int64_t durable)
{
    struct sim_cluster *c = arg;
    struct member *m = &c->members[node];
    if (durable <= m->durable[partition])
        return;
    m->durable[partition] = durable;
    sim_replica_check_reported(c->replicas, node, partition, durable);
}

int32_t sim_cluster_partition_of(void *arg, struct kb_view topic_id, int32_t index)
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

uint64_t sim_cluster_epoch_of(void *arg, uint32_t at, uint32_t of)
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

void sim_cluster_on_frame(void *arg, const struct sim_frame *frame)
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
    uint32_t count = sim_topics_partitions(c->options.topics);
    for (uint32_t p = 0; p < count; p++) {
        struct sim_leader_view view;
        struct sim_metadata_partition now;
        struct led *led = &m->led[p];
        uint32_t topic = 0;
        int32_t index = 0;
        int64_t epoch_start = 0;
        if (m->replicas.led[p] == NULL)
            continue;
        sim_probe_led(m->replicas.led[p], &view);
        sim_topics_split(c->options.topics, p, &topic, &index);
        const char *name = c->options.topics->topic[topic].name;
        if (!sim_metadata_check_find(metadata, view.topic_id, index, &now) ||
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
        if (m->env == NULL || sim_env_is_down(m->env))
            continue;
        sim_replicas_find(&m->replicas, m->node, c->options.topics);
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

bool sim_member_probe_start(const struct member *m, uint32_t partition, struct sim_start_probe *ret,
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
        if (!sim_member_probe_start(m, p, &probe, &now))
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
        found = sim_member_probe_start(&c->members[i], partition, &probe, &now);
    for (uint32_t i = 0; i < c->options.nodes && found; i++) {
        if (is_member(&c->members[i], &now))
            sim_start_check_durable(c->options.starts, i, partition,
                                    durable_start(c, i, partition));
    }
}

void sim_cluster_on_step(void *arg)
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
        /* A broker without a vote as well: it may be the first to apply. A leader counts durable
         * copies, and while its own disk lags it applies later than others (rule 5.2). */
        if (!sim_env_is_down(env) && sim_probe_raft(m->node, &view)) {
            view.life = sim_env_life(env);
            uint64_t committed = sim_raft_check_committed(c->raft);
            sim_raft_check_step(c->raft, i, &view);
            if (sim_raft_check_committed(c->raft) != committed)
                check_all_led(c);
        }
        sim_replicas_find(&m->replicas, m->node, c->options.topics);
        check_replicas(c, m); /* also the last thing it did */
        check_damaged(c, m);
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

void sim_cluster_dir_of(void *arg, uint32_t partition, char *text)
{
    struct sim_cluster *c = arg;
    uint32_t topic = 0;
    int32_t index = 0;
    sim_topics_split(c->options.topics, partition, &topic, &index);
    (void)snprintf(text, 128, LOG_DIR "/%s-%d", c->options.topics->topic[topic].name, index);
}

int64_t sim_member_high_watermark(const struct member *m, uint32_t partition)
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
            high_watermarks[i] = sim_member_high_watermark(&c->members[i], p);
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
