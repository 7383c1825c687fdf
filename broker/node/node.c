/* The life of a node: start, clock, stop; and which module a peer message belongs to. */
#include "broker/node/node_internal.h"

enum {
    TICK_MS = 50,
    STANDSTILL_MS = 250, /* rule 7.3 */
    FOUNDING_BYTES_MAX = 4096,
    /* Of the memory limit; see the README. The others: groups.c 7, retention.c 3, sessions 1. */
    CLIENT_SHARE_PERCENT = 45, /* frames of clients */
    DATA_SHARE_PERCENT = 14,   /* frames of data links */
    READ_SHARE_PERCENT = 8,    /* what clients read that was not in memory, until it is sent */
    ANSWER_SHARE_PERCENT = 14, /* requests in work, and answers until they are sent */
    CACHE_SHARE_PERCENT = 8,   /* newest batches */
};

/* ---- making and freeing
 * -------------------------------------------------------------------------- */

static const struct node_listener_config *find_controller_listener(const struct node *n)
{
    for (size_t i = 0; i < n->config.listeners_count; i++) {
        if (n->config.listeners[i].controller)
            return &n->config.listeners[i];
    }
    return NULL;
}

/* Without configured voters a node is a cluster of its own. */
static void default_voters(struct node *n)
{
    if (n->config.voters_count > 0 || n->config.observer || n->controller_listener == NULL)
        return;
    n->config.voters = kb_realloc(n->config.voters, sizeof(n->config.voters[0]));
    n->config.voters[0] = (struct node_voter_config){
        .id = n->config.node_id,
        .host = kb_strdup(n->controller_listener->advertised_host),
        .port = n->controller_listener->advertised_port,
    };
    n->config.voters_count = 1;
}

struct node *node_new(struct kb_env *env, const struct node_config *config)
{
    struct node *n = kb_new(struct node);
    n->env = env;
    node_config_copy(&n->config, config);
    n->incarnation = kb_env_random_u64(env) | 1;
    n->client_budget.limit_bytes =
        (size_t)(n->config.memory_max_bytes / 100 * CLIENT_SHARE_PERCENT);
    n->data_budget.limit_bytes = (size_t)(n->config.memory_max_bytes / 100 * DATA_SHARE_PERCENT);
    n->read_budget.limit_bytes = (size_t)(n->config.memory_max_bytes / 100 * READ_SHARE_PERCENT);
    n->answer_budget.limit_bytes =
        (size_t)(n->config.memory_max_bytes / 100 * ANSWER_SHARE_PERCENT);
    n->controller_listener = find_controller_listener(n);
    default_voters(n);
    node_static_configs_init(n);
    n->fenced = true;
    node_watch_init(n);
    LIST_INIT(&n->accepted_links);
    TAILQ_INIT(&n->line);
    return n;
}

/* The founding file is read by a job of its own before anything may speak. */
struct founding_job {
    struct kb_job job;
    struct node *node;
    char *path;
    struct kb_buf text;
};

static void founding_job_free(struct founding_job *j)
{
    if (j == NULL)
        return;
    kb_buf_release(&j->text);
    (void)kb_free(j->path);
    (void)kb_free(j);
}

struct node *node_free(struct node *n)
{
    if (n == NULL)
        return NULL;
    struct node_partition *p = NULL;
    n->freeing = true;
    (void)kb_timer_free(n->tick);
    node_links_fail_calls(n);
    if (n->quorum != NULL)
        node_quorum_fail_waits(n);
    for (p = n->partitions; p != NULL; p = p->hh.next)
        node_produce_fail_all(p, REP_FAIL_EPOCH_ENDED);
    node_clients_free(n);
    node_holds_free(n);
    if (n->free_fetch_sessions != NULL)
        n->free_fetch_sessions(n);
    if (n->free_producer_ids != NULL)
        n->free_producer_ids(n);
    (void)kb_free(n->creations);
    node_retention_free(n);
    node_groups_free(n);
    node_fetcher_free(n);
    node_partitions_free(n);
    node_controller_free(n);
    node_lifecycle_free(n);
    node_quorum_free(n);
    node_links_free(n);
    node_watch_free(n);
    node_identity_free(n);
    founding_job_free(n->founding_job);
    (void)log_dir_free(n->dir);
    (void)log_cache_free(n->cache);
    (void)kb_pool_free(n->read_pool);
    (void)kb_free(n->cluster_id);
    (void)kb_free(n->fail_reason);
    (void)kb_free(n->static_configs);
    node_config_release(&n->config);
    return kb_free(n);
}

enum node_state node_state(const struct node *n)
{
    return n->state;
}

int32_t node_id(const struct node *n)
{
    return n->config.node_id;
}

void node_set_state(struct node *n, enum node_state state)
{
    if (n->state == state)
        return;
    kb_log_info("node", "event=state node=%d from=%s to=%s", n->config.node_id,
                node_state_name(n->state), node_state_name(state));
    n->state = state;
}

void node_panic_disk(struct node *n, const char *what, int err)
{
    kb_log_error("node", "event=disk_failed node=%d what=\"%s\" error=%s", n->config.node_id, what,
                 kb_err_name(err));
    n->state = NODE_FAILED;
    kb_env_exit(n->env, 1, what);
}

/* ---- the clock
 * --------------------------------------------------------------------------------------- */

int64_t node_wall_ms(struct node *n)
{
    return group_clock_read(&n->clock, node_now(n), kb_env_wall_ms(n->env));
}

static void on_tick(void *arg)
{
    struct node *n = arg;
    uint64_t now_ms = node_now(n);
    uint64_t passed_ms = now_ms - n->tick_ms;
    uint64_t gap_ms = passed_ms > STANDSTILL_MS ? passed_ms - TICK_MS : 0;
    if (gap_ms > n->config.times.broker_session)
        gap_ms = n->config.times.broker_session;
    if (passed_ms > STANDSTILL_MS)
        kb_log_warn("node", "event=standstill node=%d ms=%llu", n->config.node_id,
                    (unsigned long long)passed_ms);
    n->tick_ms = now_ms;
    kb_timer_arm(n->tick, TICK_MS);
    node_links_tick(n, now_ms, gap_ms);
    node_quorum_tick(n, now_ms, gap_ms);
    node_controller_tick(n, now_ms, gap_ms);
    node_lifecycle_tick(n, now_ms);
    node_partitions_tick(n, now_ms);
    (void)node_wall_ms(n); /* it drifts by what was said all the while, not at the end only */
    node_clients_tick(n, now_ms);
    node_clients_expire(n, now_ms);
    (void)log_dir_due(n->dir, now_ms);
}

/* ---- start
 * ---------------------------------------------------------------------------------------------- */

static void start_failed(struct node *n, int result, char *reason)
{
    node_started_fn *fn = n->started;
    node_set_state(n, NODE_FAILED);
    (void)kb_free(n->fail_reason);
    n->fail_reason = reason;
    n->started = NULL;
    if (fn != NULL)
        fn(n->started_arg, result, reason);
}

/* Directory, Raft log and founding file are read: open the doors. */
static void open_doors(struct node *n)
{
    char *reason = NULL;
    int r = node_links_start(n, &reason);
    if (r == 0)
        r = node_clients_start(n, &reason);
    if (r < 0) {
        start_failed(n, r, reason);
        return;
    }
    node_set_state(n, NODE_JOINING);
    n->tick_ms = node_now(n);
    n->tick = kb_timer_new(n->env, on_tick, n);
    kb_timer_arm(n->tick, TICK_MS);
    node_lifecycle_start(n);
    if (node_identity_ready(n))
        node_quorum_begin(n);
    else
        node_identity_check(n);
    if (n->started != NULL) {
        node_started_fn *fn = n->started;
        n->started = NULL;
        fn(n->started_arg, 0, NULL);
    }
}

void node_quorum_ready(struct node *n, int result, const char *reason)
{
    if (result < 0) {
        start_failed(n, result, kb_strdup(reason));
        return;
    }
    open_doors(n);
}

static int founding_run(struct kb_job *job, struct kb_fs *fs)
{
    struct founding_job *j = (struct founding_job *)job;
    int r = kb_fs_read_all(fs, j->path, FOUNDING_BYTES_MAX, &j->text);
    if (r == 0)
        kb_buf_append(&j->text, "", 1);
    return r == -KB_ENOENT ? 0 : r;
}

static void founding_done(struct kb_job *job, int result)
{
    struct founding_job *j = (struct founding_job *)job;
    struct node *n = j->node;
    if (result == 0)
        result = node_identity_start(n, (const char *)j->text.data);
    n->founding_job = NULL;
    founding_job_free(j);
    if (result == 0)
        result = node_quorum_start(n);
    if (result < 0)
        start_failed(n, result,
                     kb_asprintf("cannot read the identity in %s: %s", n->config.log_dir,
                                 kb_err_text(result)));
}

static void read_founding(struct node *n)
{
    struct founding_job *j = kb_new(struct founding_job);
    j->job.run = founding_run;
    j->job.done = founding_done;
    j->node = n;
    j->path = kb_asprintf("%s/" NODE_FOUNDING_FILE, n->config.log_dir);
    n->founding_job = j;
    kb_lane_job(n->env, KB_LANE_RAFT, &j->job);
}

static void on_dir_open(void *arg, struct log_dir *dir, int result, const char *reason,
                        const struct log_dir_found *found)
{
    struct node *n = arg;
    if (result < 0) {
        n->dir = log_dir_free(dir);
        start_failed(n, result, kb_strdup(reason));
        return;
    }
    n->directory_id = found->directory_id;
    n->previous_broker_epoch = found->broker_epoch;
    n->clean_start = found->clean;
    n->same_boot = found->same_boot;
    n->fresh_directory = found->fresh;
    n->creations_index = found->creations_index;
    n->blank = found->cluster_id == NULL;
    if (found->cluster_id != NULL)
        n->cluster_id = kb_strdup(found->cluster_id);
    node_partitions_start(n, found);
    node_quorum_found(n, found);
    read_founding(n);
}

static void on_dir_failed(void *arg, int result, const char *what)
{
    node_panic_disk(arg, what, result);
}

void node_start(struct node *n, node_started_fn *started, void *arg)
{
    n->started = started;
    n->started_arg = arg;
    n->started_ms = node_now(n);
    (void)node_wall_ms(n); /* what it says now is believed, not what it says after recovery */
    n->cache = log_cache_new((size_t)(n->config.memory_max_bytes / 100 * CACHE_SHARE_PERCENT));
    n->read_pool = kb_pool_new(4U << 20);
    if (n->controller_listener == NULL) {
        start_failed(n, -KB_EINVAL, kb_strdup("no controller listener is configured"));
        return;
    }
    struct log_dir_options options = {
        .path = n->config.log_dir,
        .node_id = n->config.node_id,
        .cluster_id = n->config.cluster_id,
        .boot_id = n->config.boot_id,
        .reserve_bytes = n->config.reserve_bytes,
        .checkpoint_interval_ms = 1000,
        .on_failed = on_dir_failed,
        .arg = n,
    };
    n->dir = log_dir_open(n->env, &options, on_dir_open, n);
}

/* ---- stop
 * -------------------------------------------------------------------------------------------------
 */

static void stop_marked(void *arg, int result)
{
    struct node *n = arg;
    if (result < 0)
        kb_log_error("node", "event=clean_marker_failed error=%s", kb_err_name(result));
    node_set_state(n, NODE_STOPPED);
    if (n->stopped != NULL)
        n->stopped(n->stopped_arg);
}

static void stop_quorum_closed(struct node *n)
{
    log_dir_close(n->dir, (int64_t)n->broker_epoch, stop_marked, n);
}

static void stop_partitions_closed(struct node *n)
{
    node_links_stop(n);
    node_quorum_close(n, stop_quorum_closed);
}

static void stop_handed_over(struct node *n)
{
    node_clients_stop(n);
    node_partitions_close(n, stop_partitions_closed);
}

void node_stop(struct node *n, uint64_t timeout_ms, node_stopped_fn *done, void *arg)
{
    n->stopped = done;
    n->stopped_arg = arg;
    if (n->state != NODE_JOINING && n->state != NODE_FENCED && n->state != NODE_RUNNING) {
        node_set_state(n, NODE_STOPPED);
        done(arg);
        return;
    }
    node_set_state(n, NODE_STOPPING);
    node_lifecycle_stop(n, timeout_ms, stop_handed_over);
}

/* ---- what links report
 * --------------------------------------------------------------------------------------- */

void node_peer_opened(struct node *n, struct node_peer *p, struct node_link *l)
{
    if (l->purpose == NODE_DATA) {
        if (l->dialled) {
            p->lost_ms = 0;
            node_fetcher_link_open(n, p);
        }
        return;
    }
    node_watch_link(n, p);
    node_quorum_link_open(n, p);
    node_controller_link(n, p);
    node_lifecycle_link(n, p);
}

void node_peer_closed(struct node *n, struct node_peer *p, struct node_link *l)
{
    if (l->purpose == NODE_DATA) {
        if (l->dialled) {
            node_fetcher_link_closed(n, p);
            node_clients_peer_dead(n, p->id);
        } else {
            node_replicate_link_closed(n, l);
        }
        return;
    }
    node_watch_link(n, p);
    node_quorum_link_closed(n, p, l);
    node_controller_link(n, p);
    node_lifecycle_link(n, p);
}

void node_peer_evidence(struct node *n, struct node_peer *p)
{
    node_quorum_peer_dead(n, p);
    node_controller_link(n, p);
    node_clients_peer_dead(n, p->id);
}

/* Followers ask on the data link they have dialled; everything else goes over control links, but a
 * ping between brokers that have none (hold.c). */
static bool on_its_link(const struct node_message *msg)
{
    const struct node_link *l = msg->link;
    switch (msg->m->body_case) {
    case KVORUM__PEER_MESSAGE__BODY_FETCH_REQUEST:
    case KVORUM__PEER_MESSAGE__BODY_DURABLE_REPORT:
        return l->purpose == NODE_DATA && !l->dialled;
    case KVORUM__PEER_MESSAGE__BODY_PING:
        return true;
    default:
        return l->purpose == NODE_CONTROL;
    }
}

/* Rule 1.4: who asks the controller is who said hello on this link, in that life of its process. */
static bool is_of_its_sender(const struct node_message *msg)
{
    const struct node_link *l = msg->link;
    const Kvorum__PeerMessage *m = msg->m;
    switch (m->body_case) {
    case KVORUM__PEER_MESSAGE__BODY_REGISTER_REQUEST:
        return m->register_request->node_id == l->peer_id &&
               m->register_request->incarnation == l->peer_incarnation;
    case KVORUM__PEER_MESSAGE__BODY_HEARTBEAT_REQUEST:
        return m->heartbeat_request->node_id == l->peer_id &&
               m->heartbeat_request->incarnation == l->peer_incarnation;
    case KVORUM__PEER_MESSAGE__BODY_ALTER_PARTITION_REQUEST:
        return m->alter_partition_request->node_id == l->peer_id;
    case KVORUM__PEER_MESSAGE__BODY_ELECTION_REQUEST:
        return m->election_request->node_id == l->peer_id;
    case KVORUM__PEER_MESSAGE__BODY_PRODUCER_IDS_REQUEST:
        return m->producer_ids_request->node_id == l->peer_id;
    default:
        return true;
    }
}

static void refuse_message(struct node *n, const struct node_message *msg, const char *why)
{
    kb_log_rate_warn(&n->link_rate, node_now(n), "link", "event=%s peer=%d body=%d", why,
                     msg->peer->id, (int)msg->m->body_case);
    kb_conn_close(msg->link->conn);
}

void node_dispatch(struct node *n, const struct node_message *msg)
{
    if (!on_its_link(msg)) {
        refuse_message(n, msg, "message_on_wrong_link");
        return;
    }
    if (!is_of_its_sender(msg)) {
        refuse_message(n, msg, "message_of_another_node");
        return;
    }
    switch (msg->m->body_case) {
    case KVORUM__PEER_MESSAGE__BODY_PING:
        node_links_take_ping(n, msg);
        break;
    case KVORUM__PEER_MESSAGE__BODY_RAFT:
        node_quorum_message(n, msg);
        break;
    case KVORUM__PEER_MESSAGE__BODY_REGISTER_REQUEST:
    case KVORUM__PEER_MESSAGE__BODY_HEARTBEAT_REQUEST:
    case KVORUM__PEER_MESSAGE__BODY_ALTER_PARTITION_REQUEST:
    case KVORUM__PEER_MESSAGE__BODY_ELECTION_REQUEST:
    case KVORUM__PEER_MESSAGE__BODY_PRODUCER_IDS_REQUEST:
    case KVORUM__PEER_MESSAGE__BODY_FORWARD_REQUEST:
        node_controller_message(n, msg);
        break;
    case KVORUM__PEER_MESSAGE__BODY_FETCH_REQUEST:
        node_replicate_fetch(n, msg);
        break;
    case KVORUM__PEER_MESSAGE__BODY_DURABLE_REPORT:
        node_replicate_durable(n, msg);
        break;
    default:
        refuse_message(n, msg, "unexpected_message");
    }
}
