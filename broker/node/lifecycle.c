/* This broker as the controller's client: registration, heartbeats, producer ids, stopping. What
 * its replicas want of the controller is in proposals.c. */
#include "broker/node/node_internal.h"

enum {
    RETRY_MS = 100,
    CALL_TIMEOUT_MS = 1500, /* an answer this late is not waited for */
    EXIT_AFTER_MS = 1000,   /* after a failed disk: time to hand leaderships over */
    DEAD_LINK_MS = 1000,    /* rule 4.8 */
    STOP_APPLY_MS = 300,    /* for what the controller moved to be replayed here */
    STOP_ALONE_MS = 1000,   /* without a majority nobody can take leaderships over */
    FULL_CLEAR_MS = 2500,   /* more than the second after which logs ask for space again */
};

struct node_lifecycle {
    struct node *node;
    int32_t controller; /* whom we registered with; -1 nobody */
    uint64_t controller_term;
    bool registering;
    bool registered;      /* this controller has our registration and reports */
    uint64_t register_ms; /* not before */
    uint64_t office_term; /* of the newest controller that is seen to be in office */
    uint64_t call_id;     /* of the newest register or heartbeat call; older answers are void */
    bool beating;
    uint64_t beat_ms; /* next heartbeat */
    uint64_t beat_sent_ms;
    uint64_t heard_ms;  /* last heartbeat acknowledged to an unfenced broker: others lead nothing */
    bool epoch_durable; /* rule 8.4 */
    bool epoch_writing;
    uint64_t epoch_retry_ms; /* after a full disk */
    uint64_t full_ms;        /* a log found no space, last */
    bool want_stop;
    uint64_t stop_deadline_ms;
    uint64_t may_stop_ms; /* the controller has moved what it could; 0 = not yet */
    uint64_t alone_ms;    /* while stopping: no majority of voters is linked since; 0 = it is */
    void (*stopped)(struct node *);
    uint64_t exit_ms; /* a disk failed: leave then */
    struct kb_timer *beat_timer;
    LIST_HEAD(, ids_call) ids;
    struct kb_log_rate rate;
};

struct call {
    struct node *node;
    uint64_t id;
    uint64_t sent_ms;
};

static void beat(struct node *n);
static void on_beat_timer(void *arg);

uint64_t node_lifecycle_heard_ms(const struct node *n)
{
    return n->lifecycle->heard_ms;
}

void node_lifecycle_start(struct node *n)
{
    struct node_lifecycle *y = kb_new(struct node_lifecycle);
    y->node = n;
    y->controller = -1;
    LIST_INIT(&y->ids);
    y->beat_timer = kb_timer_new(n->env, on_beat_timer, y);
    n->lifecycle = y;
    node_proposals_start(n);
}

/* ---- registration
 * ------------------------------------------------------------------------------------- */

static Kvorum__PeerEndpoint *endpoint_new(struct kb_arena *a, const struct node_listener_config *l)
{
    Kvorum__PeerEndpoint *e = kb_arena_new(a, Kvorum__PeerEndpoint);
    KB_ASSERT(e != NULL);
    kvorum__peer_endpoint__init(e);
    e->listener = l->controller ? (char *)(uintptr_t) "" : l->name;
    e->host = l->advertised_host;
    e->has_port = 1;
    e->port = l->advertised_port;
    return e;
}

static void fill_endpoints(struct node *n, struct kb_arena *a, Kvorum__RegisterRequest *q)
{
    size_t count = n->config.listeners_count;
    q->endpoints = kb_arena_new_array(a, Kvorum__PeerEndpoint *, count);
    q->peer_endpoints = kb_arena_new_array(a, Kvorum__PeerEndpoint *, count);
    for (size_t i = 0; i < count; i++) {
        const struct node_listener_config *l = &n->config.listeners[i];
        if (l->controller)
            q->peer_endpoints[q->n_peer_endpoints++] = endpoint_new(a, l);
        else
            q->endpoints[q->n_endpoints++] = endpoint_new(a, l);
    }
}

static void on_registered(void *arg, const Kvorum__PeerMessage *answer, struct kb_block *frame,
                          struct kb_view payload)
{
    struct call *c = arg;
    struct node *n = c->node;
    struct node_lifecycle *y = n->lifecycle;
    bool current = c->id == y->call_id;
    (void)frame;
    (void)payload;
    (void)kb_free(c);
    if (!current)
        return;
    y->registering = false;
    y->register_ms = node_now(n) + RETRY_MS;
    if (answer == NULL || answer->body_case != KVORUM__PEER_MESSAGE__BODY_REGISTER_RESPONSE)
        return;
    const Kvorum__RegisterResponse *r = answer->register_response;
    if (r->error != KW_NONE) {
        if (r->error != KW_NOT_CONTROLLER)
            kb_log_rate_warn(&y->rate, node_now(n), "lifecycle",
                             "event=registration_refused error=%s why=\"%.200s\"",
                             kw_error_name((enum kw_error)r->error),
                             r->message != NULL ? r->message : "");
        return;
    }
    y->registered = true;
    kb_log_info("lifecycle", "event=registered node=%d controller=%d epoch=%llu", n->config.node_id,
                y->controller, (unsigned long long)r->broker_epoch);
    beat(n);
}

static void send_registration(struct node *n)
{
    struct node_lifecycle *y = n->lifecycle;
    Kvorum__PeerMessage m = KVORUM__PEER_MESSAGE__INIT;
    Kvorum__RegisterRequest q = KVORUM__REGISTER_REQUEST__INIT;
    struct kb_arena arena;
    kb_arena_init(&arena, 64U << 20);
    m.body_case = KVORUM__PEER_MESSAGE__BODY_REGISTER_REQUEST;
    m.register_request = &q;
    q.has_node_id = 1;
    q.node_id = n->config.node_id;
    q.cluster_id = n->cluster_id;
    q.has_incarnation = 1;
    q.incarnation = n->incarnation;
    q.has_directory_id = 1;
    q.directory_id.data = n->directory_id.bytes;
    q.directory_id.len = sizeof(n->directory_id.bytes);
    q.has_previous_broker_epoch = 1;
    q.previous_broker_epoch = n->previous_broker_epoch > 0 ? (uint64_t)n->previous_broker_epoch : 0;
    q.boot_id = n->config.boot_id;
    q.has_clean = 1;
    q.clean = n->clean_start;
    q.rack = n->config.rack;
    q.has_creations_synced_index = 1;
    q.creations_synced_index = n->creations_index;
    fill_endpoints(n, &arena, &q);
    node_partitions_report(n, &arena, &q.logs, &q.n_logs);
    struct call *c = kb_new(struct call);
    c->node = n;
    c->id = ++y->call_id;
    y->registering = true;
    y->beat_sent_ms = node_now(n);
    if (node_controller_call(n, &m, NULL, on_registered, c) < 0) {
        y->registering = false;
        y->register_ms = node_now(n) + RETRY_MS;
        (void)kb_free(c);
    }
    kb_arena_release(&arena);
}

static bool can_register(struct node *n)
{
    struct node_lifecycle *y = n->lifecycle;
    return y != NULL && n->recovered && y->controller >= 0 && !y->registered && !y->registering &&
           node_quorum_core(n) != NULL && node_now(n) >= y->register_ms &&
           n->state != NODE_STOPPED && y->exit_ms == 0;
}

static void register_if_due(struct node *n)
{
    if (can_register(n))
        send_registration(n);
}

/* The leader changed, took office, or its link opened: it must hear from us (8.3). */
void node_lifecycle_leader(struct node *n)
{
    struct node_lifecycle *y = n->lifecycle;
    if (y == NULL)
        return;
    int32_t leader = node_quorum_leader_id(n);
    uint64_t term = node_quorum_term(n);
    if (leader != y->controller || term != y->controller_term) {
        y->controller = leader;
        y->controller_term = term;
        y->registered = false;
        y->registering = false;
        y->call_id++;
        y->register_ms = 0;
        node_propose_again(n);
    }
    register_if_due(n);
}

void node_lifecycle_link(struct node *n, struct node_peer *peer)
{
    struct node_lifecycle *y = n->lifecycle;
    if (y == NULL || peer->id != y->controller)
        return;
    if (node_peer_link(peer, NODE_CONTROL) == NULL) {
        y->registering = false;
        y->beating = false;
        y->call_id++;
        return;
    }
    y->register_ms = 0;
    register_if_due(n);
    if (y->registered)
        beat(n);
}

void node_recovered(struct node *n)
{
    kb_log_info("node", "event=recovered node=%d partitions=%u ms=%llu", n->config.node_id,
                (unsigned)HASH_COUNT(n->partitions),
                (unsigned long long)(node_now(n) - n->started_ms));
    register_if_due(n);
}

/* ---- heartbeats
 * ------------------------------------------------------------------------------------------ */

static void stop_finish(struct node *n)
{
    struct node_lifecycle *y = n->lifecycle;
    void (*fn)(struct node *) = y->stopped;
    if (fn == NULL)
        return;
    y->stopped = NULL;
    node_quorum_transfer(n);
    fn(n);
}

static bool leads_any(const struct node *n)
{
    for (const struct node_partition *p = n->partitions; p != NULL; p = p->hh.next) {
        if (p->state == NODE_PARTITION_OPEN && rep_is_leader(p->rep))
            return true;
    }
    return false;
}

/* The answer may overtake the records it rests on. Whoever writes here should hear who leads now
 * before we go; what nobody else can lead stays here. */
static void stop_when_moved(struct node *n, uint64_t now_ms)
{
    if (!leads_any(n) || now_ms - n->lifecycle->may_stop_ms >= STOP_APPLY_MS)
        stop_finish(n);
}

/* Evidence is no younger than the question, and what the controller in this process answers no
 * younger than its majority: without one the others have elected another by the time it resigns,
 * and a session counted only from then on would be a second one (3.7). */
static void note_heard(struct node *n, uint64_t sent_ms)
{
    uint64_t heard_ms = sent_ms;
    if (node_quorum_is_leader(n)) {
        uint64_t majority_ms = raft_core_majority_ms(node_quorum_core(n), sent_ms);
        heard_ms = majority_ms < sent_ms ? majority_ms : sent_ms;
    }
    if (heard_ms > n->lifecycle->heard_ms)
        n->lifecycle->heard_ms = heard_ms;
}

static void on_beat_answer(void *arg, const Kvorum__PeerMessage *answer, struct kb_block *frame,
                           struct kb_view payload)
{
    struct call *c = arg;
    struct node *n = c->node;
    struct node_lifecycle *y = n->lifecycle;
    bool current = c->id == y->call_id;
    uint64_t sent_ms = c->sent_ms;
    (void)frame;
    (void)payload;
    (void)kb_free(c);
    if (!current)
        return;
    y->beating = false;
    if (answer == NULL || answer->body_case != KVORUM__PEER_MESSAGE__BODY_HEARTBEAT_RESPONSE)
        return;
    const Kvorum__HeartbeatResponse *r = answer->heartbeat_response;
    if (r->error == KW_NOT_CONTROLLER)
        return;
    if (r->error != KW_NONE) {
        kb_log_rate_warn(&y->rate, node_now(n), "lifecycle", "event=heartbeat_refused error=%s",
                         kw_error_name((enum kw_error)r->error));
        y->registered = false;
        y->register_ms = 0;
        register_if_due(n);
        return;
    }
    if (!r->fenced)
        note_heard(n, sent_ms);
    if (y->want_stop && r->may_stop && y->may_stop_ms == 0) {
        y->may_stop_ms = node_now(n);
        stop_when_moved(n, y->may_stop_ms);
    }
}

static size_t dead_links(struct node *n, int32_t *ids, uint64_t now_ms)
{
    size_t cursor = 0;
    size_t count = 0;
    struct node_peer *p = NULL;
    while ((p = kb_map_next(&n->peers, &cursor, NULL)) != NULL && count < NODE_BROKERS_MAX) {
        const struct node_link *l = p->dialled[NODE_DATA];
        bool open = l != NULL && l->state == NODE_LINK_OPEN;
        if (p->id == n->config.node_id)
            continue;
        if (open)
            p->data_open_ms = now_ms;
        else if (p->data_open_ms != 0 && now_ms - p->data_open_ms >= DEAD_LINK_MS)
            ids[count++] = p->id;
    }
    return count;
}

/* A replica on a full disk keeps its ISR from moving on; it is out of it while others have space.
 */
static bool disk_is_full(const struct node *n)
{
    const struct node_partition *p = NULL;
    for (p = n->partitions; p != NULL; p = p->hh.next) {
        if (p->no_space || (p->log != NULL && log_is_full(p->log)))
            return true;
    }
    return false;
}

/* Space that comes and goes in small pieces is none: FULL_CLEAR_MS without a refusal. */
static void note_full(struct node *n, bool full, uint64_t stall_ms)
{
    uint64_t now_ms = node_now(n);
    if (full)
        n->lifecycle->full_ms = now_ms;
    full = full || (n->disk_full && now_ms - n->lifecycle->full_ms < FULL_CLEAR_MS);
    bool stalled = full || stall_ms >= n->config.times.disk_stall_data;
    if (full != n->disk_full && full)
        kb_log_warn("node", "event=disk_full node=%d action=\"leave the ISRs, serve reads\"",
                    n->config.node_id);
    else if (full != n->disk_full)
        kb_log_info("node", "event=disk_has_space node=%d", n->config.node_id);
    n->disk_full = full;
    if (stalled != n->disk_stalled) {
        n->disk_stalled = stalled;
        node_fetcher_disk(n);
    }
}

static void beat(struct node *n)
{
    struct node_lifecycle *y = n->lifecycle;
    Kvorum__PeerMessage m = KVORUM__PEER_MESSAGE__INIT;
    Kvorum__HeartbeatRequest q = KVORUM__HEARTBEAT_REQUEST__INIT;
    int32_t dead[NODE_BROKERS_MAX];
    uint64_t now_ms = node_now(n);
    uint64_t stall_ms = kb_lane_stall_ms(n->env, KB_LANE_DATA);
    note_full(n, disk_is_full(n), stall_ms);
    kb_timer_arm(y->beat_timer, n->config.times.broker_heartbeat);
    if (!y->registered || n->broker_epoch == 0 || y->beating)
        return;
    m.body_case = KVORUM__PEER_MESSAGE__BODY_HEARTBEAT_REQUEST;
    m.heartbeat_request = &q;
    q.has_node_id = 1;
    q.node_id = n->config.node_id;
    q.has_incarnation = 1;
    q.incarnation = n->incarnation;
    q.has_broker_epoch = 1;
    q.broker_epoch = n->broker_epoch;
    q.has_applied_index = 1;
    q.applied_index = node_quorum_applied(n);
    q.has_want_unfence = 1;
    q.want_unfence = y->epoch_durable && !y->want_stop && y->exit_ms == 0;
    q.has_want_stop = 1;
    q.want_stop = y->want_stop;
    q.has_disk_stall_ms = 1;
    q.disk_stall_ms = stall_ms;
    q.has_disk_full = 1;
    q.disk_full = n->disk_full;
    q.dead_links = dead;
    q.n_dead_links = dead_links(n, dead, now_ms);
    struct call *c = kb_new(struct call);
    c->node = n;
    c->id = ++y->call_id;
    c->sent_ms = now_ms;
    y->beating = true;
    y->beat_sent_ms = now_ms;
    if (node_controller_call(n, &m, NULL, on_beat_answer, c) < 0) {
        y->beating = false;
        (void)kb_free(c);
    }
}

static void on_beat_timer(void *arg)
{
    struct node_lifecycle *y = arg;
    beat(y->node);
}

/* ---- what the committed image says of this broker
 * --------------------------------------------------------- */

static void on_epoch_durable(void *arg, int result)
{
    struct node *n = arg;
    n->lifecycle->epoch_writing = false;
    n->lifecycle->epoch_retry_ms = node_now(n) + NODE_DISK_RETRY_MS;
    if (result < 0)
        return;
    n->lifecycle->epoch_durable = true;
    n->lifecycle->beating = false;
    beat(n);
}

/* The first batch committed in a controller's term: it is in office from now on, and a registration
 * that it refused as too early need not wait longer. Our own controller has founding records of its
 * own to commit first: it is asked at each batch. */
void node_lifecycle_committed(struct node *n)
{
    struct node_lifecycle *y = n->lifecycle;
    if (y == NULL || y->controller < 0 || y->registered ||
        (n->control == NULL && y->office_term == y->controller_term))
        return;
    y->office_term = y->controller_term;
    y->register_ms = 0;
    register_if_due(n);
}

static void epoch_write(struct node *n)
{
    n->lifecycle->epoch_writing = true;
    log_dir_set_broker_epoch(n->dir, (int64_t)n->broker_epoch, on_epoch_durable, n);
}

void node_lifecycle_applied(struct node *n)
{
    const struct meta_broker *b = meta_image_broker(n->image, n->config.node_id);
    struct node_partition *p = NULL;
    if (b == NULL || b->incarnation != n->incarnation)
        return;
    if (n->broker_epoch == 0) {
        n->broker_epoch = b->epoch;
        for (p = n->partitions; p != NULL; p = p->hh.next)
            rep_set_broker_epoch(p->rep, (int64_t)b->epoch);
        epoch_write(n);
        node_partitions_refresh_all(n);
        beat(n);
    }
    if (n->broker_epoch != b->epoch) {
        /* A registration of a former life came late, when the controller did not hear from us, and
         * then ours again, as a new one. One life has one epoch (8.4): the next one will be heard.
         */
        kb_log_error("lifecycle", "event=superseded node=%d epoch=%llu registered=%llu action=exit",
                     n->config.node_id, (unsigned long long)n->broker_epoch,
                     (unsigned long long)b->epoch);
        kb_env_exit(n->env, 1, NODE_SUPERSEDED);
        return;
    }
    n->fenced = b->fenced;
    n->caught_up = n->caught_up || !b->fenced;
    if (n->state == NODE_JOINING || n->state == NODE_FENCED || n->state == NODE_RUNNING)
        node_set_state(n, b->fenced ? NODE_FENCED : NODE_RUNNING);
}

/* ---- disks
 */

void node_lifecycle_disk_failed(struct node *n, int error)
{
    struct node_lifecycle *y = n->lifecycle;
    if (y == NULL) { /* nothing was handed to us yet */
        node_panic_disk(n, "a log failed while it was being opened", error);
        return;
    }
    if (y->exit_ms != 0)
        return;
    kb_log_error("node", "event=disk_failed node=%d error=%s action=\"hand over and leave\"",
                 n->config.node_id, kb_err_name(error));
    y->exit_ms = node_now(n) + EXIT_AFTER_MS;
    y->want_stop = true;
    y->beating = false;
    beat(n);
}

/* ---- producer ids
 * ------------------------------------------------------------------------------------------------
 */

struct ids_call {
    struct node *node;
    node_producer_ids_fn *fn;
    void *arg;
    uint64_t deadline_ms;
    bool sent;
    LIST_ENTRY(ids_call) entries;
};

static void ids_finish(struct ids_call *c, int64_t first, int32_t count)
{
    node_producer_ids_fn *fn = c->fn;
    LIST_REMOVE(c, entries);
    if (fn != NULL)
        fn(c->arg, first, count);
    (void)kb_free(c);
}

static void on_ids(void *arg, const Kvorum__PeerMessage *answer, struct kb_block *frame,
                   struct kb_view payload)
{
    struct ids_call *c = arg;
    (void)frame;
    (void)payload;
    if (answer != NULL && answer->body_case == KVORUM__PEER_MESSAGE__BODY_PRODUCER_IDS_RESPONSE &&
        answer->producer_ids_response->error == KW_NONE)
        ids_finish(c, answer->producer_ids_response->first, answer->producer_ids_response->count);
    else
        ids_finish(c, -1, 0);
}

void node_lifecycle_producer_ids(struct node *n, node_producer_ids_fn *fn, void *arg)
{
    Kvorum__PeerMessage m = KVORUM__PEER_MESSAGE__INIT;
    Kvorum__ProducerIdsRequest q = KVORUM__PRODUCER_IDS_REQUEST__INIT;
    struct ids_call *c = kb_new(struct ids_call);
    c->node = n;
    c->fn = fn;
    c->arg = arg;
    LIST_INSERT_HEAD(&n->lifecycle->ids, c, entries);
    m.body_case = KVORUM__PEER_MESSAGE__BODY_PRODUCER_IDS_REQUEST;
    m.producer_ids_request = &q;
    q.has_node_id = 1;
    q.node_id = n->config.node_id;
    q.has_broker_epoch = 1;
    q.broker_epoch = n->broker_epoch;
    if (node_controller_call(n, &m, NULL, on_ids, c) < 0)
        ids_finish(c, -1, 0);
}

/* ---- clock, stop
 * ----------------------------------------------------------------------------------------------------
 */

static bool majority_linked(struct node *n)
{
    size_t cursor = 0;
    size_t voters = n->config.voters_count;
    size_t linked = 0;
    struct node_peer *p = NULL;
    for (size_t i = 0; i < voters; i++)
        linked += n->config.voters[i].id == n->config.node_id;
    while ((p = kb_map_next(&n->peers, &cursor, NULL)) != NULL)
        linked += p->voter && !p->dead && node_peer_link(p, NODE_CONTROL) != NULL;
    return voters == 0 || linked > voters / 2;
}

/* Stopping: until leaders were moved, the time is over, or there is nobody left to move them. */
static void stop_check(struct node *n, uint64_t now_ms)
{
    struct node_lifecycle *y = n->lifecycle;
    if (y->may_stop_ms != 0) {
        stop_when_moved(n, now_ms);
        return;
    }
    if (majority_linked(n))
        y->alone_ms = 0;
    else if (y->alone_ms == 0)
        y->alone_ms = now_ms;
    if (y->alone_ms != 0 && now_ms - y->alone_ms >= STOP_ALONE_MS)
        kb_log_info("node",
                    "event=stop_alone node=%d why=\"no majority of voters is left to move "
                    "leaders\"",
                    n->config.node_id);
    else if (now_ms >= y->stop_deadline_ms)
        kb_log_warn("node", "event=stop_deadline why=\"leaders could not be moved in time\"");
    else
        return;
    stop_finish(n);
}

void node_lifecycle_tick(struct node *n, uint64_t now_ms)
{
    struct node_lifecycle *y = n->lifecycle;
    if (y == NULL)
        return;
    if (y->exit_ms != 0 && now_ms >= y->exit_ms) {
        node_panic_disk(n, "a disk failed; leaderships were handed over", -KB_EIO);
        return;
    }
    if (kb_lane_stall_ms(n->env, KB_LANE_DATA) >= n->config.times.disk_stall_exit) {
        node_panic_disk(n, "a sync has been unfinished for too long", -KB_ETIMEDOUT);
        return;
    }
    if ((y->registering || y->beating) && now_ms > y->beat_sent_ms + CALL_TIMEOUT_MS) {
        y->registering = false;
        y->beating = false;
        y->call_id++;
    }
    if (n->broker_epoch != 0 && !y->epoch_durable && !y->epoch_writing &&
        now_ms >= y->epoch_retry_ms)
        epoch_write(n);
    register_if_due(n);
    node_proposals_tick(n, now_ms, y->registered);
    if (y->stopped != NULL)
        stop_check(n, now_ms);
}

void node_lifecycle_stop(struct node *n, uint64_t timeout_ms, void (*done)(struct node *))
{
    struct node_lifecycle *y = n->lifecycle;
    y->stopped = done;
    y->stop_deadline_ms = node_now(n) + timeout_ms;
    y->want_stop = true;
    if (n->broker_epoch == 0 || !y->registered) {
        stop_finish(n);
        return;
    }
    y->beating = false;
    beat(n);
}

void node_lifecycle_free(struct node *n)
{
    struct node_lifecycle *y = n->lifecycle;
    struct ids_call *c = NULL;
    if (y == NULL)
        return;
    while ((c = LIST_FIRST(&y->ids)) != NULL) {
        LIST_REMOVE(c, entries);
        (void)kb_free(c);
    }
    (void)kb_timer_free(y->beat_timer);
    n->lifecycle = kb_free(y);
    node_proposals_free(n);
}
