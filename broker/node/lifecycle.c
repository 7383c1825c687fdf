/* This broker as the controller's client: registration, heartbeats, ISR proposals, reports,
 * producer ids, stopping. */
#include "broker/node/node_internal.h"

enum {
    RETRY_MS = 100,
    REPORT_RETRY_MS = 500,
    CALL_TIMEOUT_MS = 1500, /* an answer this late is not waited for */
    PROPOSE_RETRY_MS = 50,  /* after a lost proposal; a new controller ends the wait */
    EXIT_AFTER_MS = 1000,   /* after a failed disk: time to hand leaderships over */
    DEAD_LINK_MS = 1000,    /* rule 4.8 */
    STOP_APPLY_MS = 300,    /* for what the controller moved to be replayed here */
    STOP_ALONE_MS = 1000,   /* without a majority nobody can take leaderships over */
    FULL_CLEAR_MS = 2500,   /* more than the second after which logs ask for space again */
    ALTER_ITEMS_MAX = 1000,
};

struct alter_call;

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
    uint64_t heard_ms;  /* last acknowledged heartbeat */
    bool epoch_durable; /* rule 8.4 */
    bool epoch_writing;
    uint64_t epoch_retry_ms; /* after a full disk */
    uint64_t full_ms;        /* a log found no space, last */
    bool want_stop;
    uint64_t stop_deadline_ms;
    uint64_t may_stop_ms; /* the controller has moved what it could; 0 = not yet */
    uint64_t alone_ms;    /* while stopping: no majority of voters is linked since; 0 = it is */
    void (*stopped)(struct node *);
    uint64_t exit_ms;             /* a disk failed: leave then */
    struct kb_timer *flush_timer; /* proposals and reports of this round */
    uint64_t flush_ms;            /* not before: a proposal was lost, e.g. without a controller */
    struct kb_timer *beat_timer;
    LIST_HEAD(, alter_call) alters;
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
static void on_flush_timer(void *arg);

uint64_t node_lifecycle_heard_ms(const struct node *n)
{
    return n->lifecycle->heard_ms;
}

void node_lifecycle_start(struct node *n)
{
    struct node_lifecycle *y = kb_new(struct node_lifecycle);
    y->node = n;
    y->controller = -1;
    LIST_INIT(&y->alters);
    LIST_INIT(&y->ids);
    y->flush_timer = kb_timer_new(n->env, on_flush_timer, y);
    y->beat_timer = kb_timer_new(n->env, on_beat_timer, y);
    n->lifecycle = y;
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
    y->heard_ms = node_now(n);
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
        node_lifecycle_repropose(n);
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
    y->heard_ms = sent_ms; /* evidence is no younger than the question */
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
    n->fenced = b->fenced;
    if (n->state == NODE_JOINING || n->state == NODE_FENCED || n->state == NODE_RUNNING)
        node_set_state(n, b->fenced ? NODE_FENCED : NODE_RUNNING);
}

/* ---- ISR proposals
 * -------------------------------------------------------------------------------------------- */

struct alter_item {
    struct kb_uuid topic_id;
    int32_t index;
    uint64_t proposal_id;
};
struct alter_call {
    struct node *node;
    uint64_t term;
    uint64_t deadline_ms;
    size_t count;
    struct alter_item *items;
    LIST_ENTRY(alter_call) entries;
};

static void alter_answer(struct node *n, const struct alter_item *item,
                         enum rep_proposal_result result)
{
    struct node_partition *p = node_partition_find(n, &item->topic_id, item->index);
    struct rep_effects fx;
    if (p == NULL)
        return;
    rep_proposal_answered(p->rep, item->proposal_id, result, node_now(n), &fx);
    node_partition_run(p, &fx);
}

static enum rep_proposal_result alter_result(int32_t error)
{
    switch (error) {
    case KW_NONE:
        return REP_PROPOSAL_ACCEPTED;
    case KW_FENCED_LEADER_EPOCH:
    case KW_INVALID_UPDATE_VERSION:
    case KW_NEW_LEADER_ELECTED:
    case KW_UNKNOWN_TOPIC_ID:
    case KW_UNKNOWN_TOPIC_OR_PARTITION:
    case KW_STALE_BROKER_EPOCH:
        return REP_PROPOSAL_STALE;
    case KW_INELIGIBLE_REPLICA:
    case KW_INVALID_REQUEST:
        return REP_PROPOSAL_REFUSED;
    default:
        return REP_PROPOSAL_LOST;
    }
}

static void alter_free(struct alter_call *c)
{
    LIST_REMOVE(c, entries);
    (void)kb_free(c->items);
    (void)kb_free(c);
}

static void on_altered(void *arg, const Kvorum__PeerMessage *answer, struct kb_block *frame,
                       struct kb_view payload)
{
    struct alter_call *c = arg;
    struct node *n = c->node;
    const Kvorum__AlterPartitionResponse *r = NULL;
    (void)frame;
    (void)payload;
    if (answer != NULL && answer->body_case == KVORUM__PEER_MESSAGE__BODY_ALTER_PARTITION_RESPONSE)
        r = answer->alter_partition_response;
    bool current = c->term == node_quorum_term(n);
    for (size_t i = 0; i < c->count; i++) {
        enum rep_proposal_result result = REP_PROPOSAL_LOST;
        if (r != NULL && r->error == KW_NONE && current) {
            for (size_t k = 0; k < r->n_items; k++) {
                if (r->items[k]->partition == c->items[i].index &&
                    r->items[k]->topic_id.len == 16 &&
                    memcmp(r->items[k]->topic_id.data, c->items[i].topic_id.bytes, 16) == 0)
                    result = alter_result(r->items[k]->error);
            }
        } else if (r != NULL && r->error == KW_STALE_BROKER_EPOCH) {
            result = REP_PROPOSAL_STALE;
        }
        if (result == REP_PROPOSAL_LOST)
            n->lifecycle->flush_ms = node_now(n) + PROPOSE_RETRY_MS;
        alter_answer(n, &c->items[i], result);
    }
    alter_free(c);
}

static Kvorum__AlterPartitionRequest__Item *
alter_item_new(struct kb_arena *a, struct node_partition *p, const struct rep_proposal *proposal)
{
    Kvorum__AlterPartitionRequest__Item *w = kb_arena_new(a, Kvorum__AlterPartitionRequest__Item);
    KB_ASSERT(w != NULL);
    kvorum__alter_partition_request__item__init(w);
    w->has_topic_id = 1;
    w->topic_id.data = p->topic_id.bytes;
    w->topic_id.len = 16;
    w->has_partition = 1;
    w->partition = p->index;
    w->has_leader_epoch = 1;
    w->leader_epoch = proposal->leader_epoch;
    w->has_partition_epoch = 1;
    w->partition_epoch = proposal->partition_epoch;
    w->isr = kb_arena_new_array(a, int32_t, proposal->n_isr);
    w->isr_broker_epochs = kb_arena_new_array(a, uint64_t, proposal->n_isr);
    KB_ASSERT(w->isr != NULL && w->isr_broker_epochs != NULL);
    for (size_t i = 0; i < proposal->n_isr; i++) {
        w->isr[i] = proposal->isr[i].node_id;
        w->isr_broker_epochs[i] = (uint64_t)proposal->isr[i].broker_epoch;
    }
    w->n_isr = proposal->n_isr;
    w->n_isr_broker_epochs = proposal->n_isr;
    w->has_synced = proposal->synced;
    w->synced = proposal->synced;
    return w;
}

static void flush_proposals(struct node *n)
{
    struct node_lifecycle *y = n->lifecycle;
    Kvorum__PeerMessage m = KVORUM__PEER_MESSAGE__INIT;
    Kvorum__AlterPartitionRequest q = KVORUM__ALTER_PARTITION_REQUEST__INIT;
    struct alter_call *c = kb_new(struct alter_call);
    struct node_partition *p = NULL;
    struct kb_arena arena;
    kb_arena_init(&arena, 64U << 20);
    c->node = n;
    c->term = node_quorum_term(n);
    c->deadline_ms = node_now(n) + CALL_TIMEOUT_MS;
    c->items = kb_new_array(struct alter_item, ALTER_ITEMS_MAX);
    LIST_INSERT_HEAD(&y->alters, c, entries);
    q.items = kb_arena_new_array(&arena, Kvorum__AlterPartitionRequest__Item *, ALTER_ITEMS_MAX);
    for (p = n->partitions; p != NULL && c->count < ALTER_ITEMS_MAX; p = p->hh.next) {
        const struct rep_proposal *proposal = p->propose ? rep_proposal(p->rep) : NULL;
        p->propose = false;
        if (proposal == NULL)
            continue;
        q.items[c->count] = alter_item_new(&arena, p, proposal);
        c->items[c->count].topic_id = p->topic_id;
        c->items[c->count].index = p->index;
        c->items[c->count].proposal_id = proposal->id;
        c->count++;
    }
    q.n_items = c->count;
    q.has_node_id = 1;
    q.node_id = n->config.node_id;
    q.has_broker_epoch = 1;
    q.broker_epoch = n->broker_epoch;
    q.has_term = 1;
    q.term = c->term;
    m.body_case = KVORUM__PEER_MESSAGE__BODY_ALTER_PARTITION_REQUEST;
    m.alter_partition_request = &q;
    if (c->count == 0)
        alter_free(c);
    else if (node_controller_call(n, &m, NULL, on_altered, c) < 0)
        on_altered(c, NULL, NULL, (struct kb_view){0});
    kb_arena_release(&arena);
}

/* ---- reports: a replica cannot go on
 * ------------------------------------------------------------------------------ */

static void on_reported(void *arg, const Kvorum__PeerMessage *answer, struct kb_block *frame,
                        struct kb_view payload)
{
    (void)arg;
    (void)answer;
    (void)frame;
    (void)payload; /* the image says what came of it; until then the report is repeated */
}

/* A replica that refused a cut below its HW is not one: it may hold the only good copy (2.6). */
static bool report_is_damage(enum rep_report r)
{
    return r == REP_REPORT_DAMAGED || r == REP_REPORT_MUST_DROP;
}

static void flush_reports(struct node *n, uint64_t now_ms)
{
    Kvorum__PeerMessage m = KVORUM__PEER_MESSAGE__INIT;
    Kvorum__ElectionRequest q = KVORUM__ELECTION_REQUEST__INIT;
    Kvorum__ElectionRequest__Item *items[64];
    Kvorum__ElectionRequest__Item store[64];
    struct node_partition *p = NULL;
    size_t count = 0;
    for (p = n->partitions; p != NULL && count < 64; p = p->hh.next) {
        int32_t report_epoch;
        p->report = rep_standing_report(p->rep, &report_epoch);
        if ((p->report == REP_REPORT_NONE && !p->hand_over) || p->report_ms > now_ms)
            continue;
        p->report_ms = now_ms + REPORT_RETRY_MS;
        Kvorum__ElectionRequest__Item *w = &store[count];
        kvorum__election_request__item__init(w);
        w->has_topic_id = 1;
        w->topic_id.data = p->topic_id.bytes;
        w->topic_id.len = 16;
        w->has_partition = 1;
        w->partition = p->index;
        w->has_leader_epoch = 1;
        w->leader_epoch = rep_leader_epoch(p->rep);
        w->has_damaged = 1;
        w->damaged = report_is_damage(p->report);
        w->has_partition_epoch = 1;
        w->partition_epoch = report_epoch;
        items[count++] = w;
        p->hand_over = false;
    }
    if (count == 0)
        return;
    q.items = items;
    q.n_items = count;
    q.has_node_id = 1;
    q.node_id = n->config.node_id;
    q.has_broker_epoch = 1;
    q.broker_epoch = n->broker_epoch;
    m.body_case = KVORUM__PEER_MESSAGE__BODY_ELECTION_REQUEST;
    m.election_request = &q;
    (void)node_controller_call(n, &m, NULL, on_reported, n);
}

static void on_flush_timer(void *arg)
{
    struct node_lifecycle *y = arg;
    flush_proposals(y->node);
    flush_reports(y->node, node_now(y->node));
}

static void flush_soon(struct node *n)
{
    uint64_t now = node_now(n);
    if (n->lifecycle == NULL)
        return; /* logs are still being opened: a standing report goes out once registered */
    uint64_t from = n->lifecycle->flush_ms;
    if (!kb_timer_armed(n->lifecycle->flush_timer))
        kb_timer_arm(n->lifecycle->flush_timer, from > now ? from - now : 0);
}

void node_lifecycle_propose(struct node_partition *p)
{
    p->propose = true;
    flush_soon(p->node);
}

/* A new controller: what was proposed to the old one is proposed again. */
void node_lifecycle_repropose(struct node *n)
{
    struct node_lifecycle *y = n->lifecycle;
    struct alter_call *c = NULL;
    LIST_FOREACH(c, &y->alters, entries)
    c->deadline_ms = 0;
    y->flush_ms = 0;
    if (kb_timer_armed(y->flush_timer))
        kb_timer_arm(y->flush_timer, 0);
}

void node_lifecycle_report(struct node_partition *p, enum rep_report report)
{
    if (report != REP_REPORT_NONE && report != p->report)
        kb_log_error("partition", "event=report tp=%s-%d what=%s", p->topic, p->index,
                     rep_report_name(report));
    p->report = report;
    p->report_ms = 0;
    if (report != REP_REPORT_NONE)
        flush_soon(p->node);
}

void node_lifecycle_disk_full(struct node_partition *p)
{
    kb_log_rate_warn(&p->node->lifecycle->rate, node_now(p->node), "partition",
                     "event=disk_full tp=%s-%d action=hand_over", p->topic, p->index);
    if (p->hand_over || p->report_ms > node_now(p->node))
        return;
    p->hand_over = true;
    flush_soon(p->node);
}

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

static void expire_alters(struct node *n, uint64_t now_ms)
{
    struct alter_call *c = NULL;
    LIST_FOREACH(c, &n->lifecycle->alters, entries)
    {
        if (c->deadline_ms > now_ms || c->count == 0)
            continue;
        for (size_t i = 0; i < c->count; i++)
            alter_answer(n, &c->items[i], REP_PROPOSAL_LOST);
        c->count = 0; /* a late answer finds nothing to say */
    }
}

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
    expire_alters(n, now_ms);
    if (y->registered)
        flush_reports(n, now_ms);
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
    while (!LIST_EMPTY(&y->alters))
        alter_free(LIST_FIRST(&y->alters));
    while ((c = LIST_FIRST(&y->ids)) != NULL) {
        LIST_REMOVE(c, entries);
        (void)kb_free(c);
    }
    (void)kb_timer_free(y->flush_timer);
    (void)kb_timer_free(y->beat_timer);
    n->lifecycle = kb_free(y);
}
