#include "tests/sim/sim_cluster_private.h"

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
uint64_t sim_member_failed_us(const struct member *m)
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
              result == 0 || m->no_space || sim_member_failed_us(m) != 0, "%s cannot start: %s",
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
    if (count == 0)
        return;
    uint32_t chosen = (uint32_t)(c->counts.starts / RECOVERED_EVERY) % count;
    char dir[128];
    struct recovering r = {.disk = sim_host_disk(m->host)};
    for (uint32_t p = 0; p < count; p++) {
        sim_cluster_dir_of(c, p, dir);
        m->recovered[p] = sim_recovery_owed(r.disk, dir,
                                            sim_replica_check_end(c->replicas, m->index, p));
    }
    if (c->counts.starts % RECOVERED_EVERY != 0 || m->recovered[chosen] == 0)
        return;
    uint32_t topic = 0;
    sim_topics_split(c->options.topics, chosen, &topic, &r.index);
    r.topic = c->options.topics->topic[topic].name;
    sim_cluster_dir_of(c, chosen, dir);
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
            bool superseded = strcmp(sim_env_exit_reason(env), NODE_SUPERSEDED) == 0;
            sim_check(c->options.checks, SIM_CHECK_RUN,
                      sim_member_failed_us(m) != 0 || m->no_space || superseded,
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

/* ---- the heal ---- */

void sim_cluster_healed(struct sim_cluster *c)
{
    for (uint32_t i = 0; i < sim_cluster_nodes(c); i++) {
        struct member *m = &c->members[i];
        m->damaged = m->env != NULL && !sim_env_is_down(m->env) ? sim_probe_damaged(m->node) : 0;
    }
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
                                     .dir_of = sim_cluster_dir_of,
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
                                  .partition_of = sim_cluster_partition_of,
                                  .on_reported = sim_cluster_on_reported,
                                  .broker_epoch = sim_cluster_epoch_of,
                                  .arg = c};
    c->peers = sim_peer_check_new(&eo);
    sim_net_on_frame(w, sim_cluster_on_frame, c);
    if (options->starts != NULL)
        sim_start_check_bytes(options->starts, log_bytes, c);
    sim_world_on_down(w, on_down, c);
    sim_world_on_step(w, sim_cluster_on_step, c);
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
        sim_replicas_release(&c->members[i].replicas);
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
