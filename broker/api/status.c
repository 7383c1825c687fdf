/* Status: what this node believes, without asking anybody. Private, api key 32000. */
#include "broker/api/internal.h"

#include "proto/cluster/status.pb-c.h"

enum { STATUS_PARTITIONS_MAX = 20000 };

struct status_build {
    struct node_request *rq;
    struct node *n;
    struct kb_arena *arena;
    uint64_t now_ms;
    const char *topic;
    bool list;
    bool events;
    bool refused; /* the arena is full */
    Kvorum__StatusResponse resp;
};

#define SET(message, field, v)                                                                     \
    do {                                                                                           \
        (message)->has_##field = true;                                                             \
        (message)->field = (v);                                                                    \
    } while (0)

static void write_response(struct kw_writer *w, int16_t version, const void *body)
{
    struct kb_buf bytes = {0};
    (void)version;
    (void)kc_pack(&bytes, body);
    kw_put_raw(w, bytes.data, bytes.size);
    kb_buf_release(&bytes);
}

static uint64_t age(const struct status_build *b, uint64_t at_ms)
{
    return b->now_ms > at_ms ? b->now_ms - at_ms : 0;
}

static void *array(struct status_build *b, size_t count, size_t element_size)
{
    void *p = kb_arena_calloc(b->arena, count, element_size);
    if (p == NULL)
        b->refused = true;
    return p;
}

/* ---- brokers and peers ------------------------------------------------------------------------
 */

static Kvorum__StatusBroker *make_broker(struct status_build *b, const struct meta_broker *from)
{
    Kvorum__StatusBroker *w = array(b, 1, sizeof(*w));
    if (w == NULL)
        return NULL;
    kvorum__status_broker__init(w);
    SET(w, node_id, from->id);
    SET(w, fenced, from->fenced);
    SET(w, stopping, from->stopping);
    SET(w, epoch, from->epoch);
    w->rack = from->rack;
    w->endpoints = array(b, from->endpoints_count, sizeof(w->endpoints[0]));
    for (size_t i = 0; !b->refused && i < from->endpoints_count; i++) {
        Kvorum__StatusEndpoint *e = array(b, 1, sizeof(*e));
        if (e == NULL)
            return NULL;
        kvorum__status_endpoint__init(e);
        e->listener = from->endpoints[i].listener;
        e->host = from->endpoints[i].host;
        SET(e, port, from->endpoints[i].port);
        w->endpoints[w->n_endpoints++] = e;
    }
    return w;
}

static void fill_brokers(struct status_build *b)
{
    size_t count = meta_image_brokers_count(b->n->image);
    b->resp.brokers = array(b, count, sizeof(b->resp.brokers[0]));
    for (size_t i = 0; !b->refused && i < count; i++)
        b->resp.brokers[b->resp.n_brokers++] = make_broker(b, meta_image_broker_at(b->n->image, i));
}

static bool link_open(struct node_peer *p, enum node_purpose purpose)
{
    return node_peer_link(p, purpose) != NULL;
}

static Kvorum__StatusPeer *make_peer(struct status_build *b, struct node_peer *p,
                                     const struct raft_peer_status *known)
{
    Kvorum__StatusPeer *w = array(b, 1, sizeof(*w));
    if (w == NULL)
        return NULL;
    kvorum__status_peer__init(w);
    SET(w, node_id, p->id);
    w->host = p->host;
    SET(w, port, p->port);
    SET(w, voter, p->voter);
    SET(w, control_open, link_open(p, NODE_CONTROL));
    SET(w, data_open, link_open(p, NODE_DATA));
    SET(w, dead, p->dead);
    if (p->heard_ms != 0)
        SET(w, heard_age_ms, age(b, p->heard_ms));
    if (known != NULL && known->last_ack_ms != 0) {
        SET(w, end_index, known->end_index);
        if (known->last_caught_up_ms != 0)
            SET(w, caught_up_age_ms, age(b, known->last_caught_up_ms));
    }
    return w;
}

static void fill_peers(struct status_build *b)
{
    const struct raft_core *core = node_quorum_core(b->n);
    struct raft_peer_status *known = NULL;
    size_t known_count = core != NULL ? raft_core_peers(core, NULL, 0) : 0;
    size_t cursor = 0;
    size_t count = 0;
    uint64_t key = 0;
    struct node_peer *p = NULL;
    known = array(b, known_count, sizeof(*known));
    if (core != NULL && known != NULL)
        known_count = raft_core_peers(core, known, known_count);
    while (kb_map_next(&b->n->peers, &cursor, &key) != NULL)
        count++;
    b->resp.peers = array(b, count, sizeof(b->resp.peers[0]));
    cursor = 0;
    while (!b->refused && (p = kb_map_next(&b->n->peers, &cursor, &key)) != NULL) {
        const struct raft_peer_status *k = NULL;
        for (size_t i = 0; i < known_count; i++) {
            if (known[i].node.id == p->id)
                k = &known[i];
        }
        if (p->id != b->n->config.node_id)
            b->resp.peers[b->resp.n_peers++] = make_peer(b, p, k);
    }
}

/* ---- partitions -------------------------------------------------------------------------------
 */

static Kvorum__StatusReplica *make_replica(struct status_build *b,
                                           const struct rep_inspect_peer *from)
{
    Kvorum__StatusReplica *w = array(b, 1, sizeof(*w));
    if (w == NULL)
        return NULL;
    kvorum__status_replica__init(w);
    SET(w, node_id, from->node_id);
    SET(w, in_isr, from->in_isr);
    SET(w, in_elr, from->in_elr);
    SET(w, log_end, from->log_end);
    SET(w, durable, from->durable);
    if (from->heard_ms != 0)
        SET(w, heard_age_ms, age(b, from->heard_ms));
    if (from->caught_up_ms != 0)
        SET(w, caught_up_age_ms, age(b, from->caught_up_ms));
    if (from->left_reason != REP_LEFT_NOT) {
        w->left_reason = kc_str(rep_left_reason_name(from->left_reason));
        SET(w, left_age_ms, age(b, from->left_ms));
    }
    return w;
}

static void fill_local(struct status_build *b, Kvorum__StatusPartition *w,
                       struct node_partition *local)
{
    struct rep_inspect in;
    rep_inspect(local->rep, b->now_ms, &in);
    w->state = kc_str(rep_state_name(in.state));
    SET(w, log_start, in.log_start);
    SET(w, log_end, in.log_end);
    SET(w, durable, in.durable);
    SET(w, high_watermark, in.high_watermark);
    SET(w, size_bytes, log_size_bytes(local->log));
    if (in.state != REP_LEADER)
        return;
    w->peers = array(b, in.n_peers, sizeof(w->peers[0]));
    for (size_t i = 0; !b->refused && i < in.n_peers; i++)
        w->peers[w->n_peers++] = make_replica(b, &in.peers[i]);
}

static void list_partition(struct status_build *b, const struct meta_partition *p,
                           struct node_partition *local)
{
    if (b->resp.n_partitions >= STATUS_PARTITIONS_MAX) {
        SET(&b->resp, partitions_cut, true);
        return;
    }
    Kvorum__StatusPartition *w = array(b, 1, sizeof(*w));
    if (w == NULL)
        return;
    kvorum__status_partition__init(w);
    w->topic = p->topic->name;
    SET(w, index, p->index);
    SET(w, leader, p->leader);
    SET(w, leader_epoch, p->leader_epoch);
    SET(w, partition_epoch, p->partition_epoch);
    SET(w, min_isr, meta_min_isr(b->n->image, p));
    w->replicas = p->replicas;
    w->n_replicas = p->replicas_count;
    w->isr = p->isr;
    w->n_isr = p->isr_count;
    w->elr = p->elr;
    w->n_elr = p->elr_count;
    if (local != NULL && local->rep != NULL && local->log != NULL)
        fill_local(b, w, local);
    b->resp.partitions[b->resp.n_partitions++] = w;
}

static void count_partition(struct status_build *b, const struct meta_partition *p,
                            const struct node_partition *local)
{
    Kvorum__StatusResponse *r = &b->resp;
    int32_t self = b->n->config.node_id;
    r->partitions_total++;
    r->partitions_leaderless += p->leader < 0;
    r->partitions_under_replicated += p->isr_count < p->replicas_count;
    r->partitions_under_min_isr += (int32_t)p->isr_count < meta_min_isr(b->n->image, p);
    r->partitions_led += p->leader == self;
    r->partitions_assigned += meta_partition_replica(p, self) >= 0;
    r->partitions_in_isr += meta_partition_in_isr(p, self);
    if (local != NULL && local->log != NULL)
        r->disk_bytes += log_size_bytes(local->log);
}

static void fill_partitions(struct status_build *b)
{
    const struct meta_image *image = b->n->image;
    size_t total = meta_image_partitions_count(image);
    Kvorum__StatusResponse *r = &b->resp;
    r->has_partitions_total = r->has_partitions_leaderless = true;
    r->has_partitions_under_replicated = r->has_partitions_under_min_isr = true;
    r->has_partitions_led = r->has_partitions_assigned = r->has_partitions_in_isr = true;
    r->has_disk_bytes = true;
    if (total > STATUS_PARTITIONS_MAX)
        total = STATUS_PARTITIONS_MAX;
    r->partitions = b->list ? array(b, total, sizeof(r->partitions[0])) : NULL;
    for (size_t t = 0; !b->refused && t < meta_image_topics_count(image); t++) {
        const struct meta_topic *topic = meta_image_topic_at(image, t);
        bool wanted = b->topic == NULL || strcmp(b->topic, topic->name) == 0;
        for (size_t i = 0; !b->refused && i < topic->partitions_count; i++) {
            const struct meta_partition *p = topic->partitions[i];
            struct node_partition *local = node_partition_find(b->n, &topic->id, p->index);
            count_partition(b, p, local);
            if (b->list && wanted)
                list_partition(b, p, local);
        }
    }
}

/* ---- the node itself --------------------------------------------------------------------------
 */

static void fill_raft(struct status_build *b)
{
    const struct raft_core *core = node_quorum_core(b->n);
    Kvorum__StatusResponse *r = &b->resp;
    struct raft_status s;
    SET(r, leader_id, -1);
    SET(r, applied_index, node_quorum_applied(b->n));
    if (core == NULL)
        return; /* takes no part yet */
    raft_core_status(core, &s);
    r->role = kc_str(raft_role_name(s.role));
    SET(r, term, s.term);
    SET(r, leader_id, node_quorum_leader_id(b->n));
    SET(r, commit_index, s.commit_index);
    SET(r, last_index, s.last_index);
    SET(r, in_office, node_quorum_is_leader(b->n));
}

static void fill_voters(struct status_build *b)
{
    const struct meta_voter *voters = NULL;
    size_t count = meta_image_voters(b->n->image, &voters);
    b->resp.voters = array(b, count, sizeof(b->resp.voters[0]));
    for (size_t i = 0; b->resp.voters != NULL && i < count; i++)
        b->resp.voters[b->resp.n_voters++] = voters[i].id;
}

static void fill_counters(struct status_build *b)
{
    const struct node_counters *c = &b->n->counters;
    const struct {
        const char *name;
        uint64_t value;
    } all[] = {
        {"requests", c->requests},
        {"requests_rejected", c->requests_rejected},
        {"produce_bytes", c->produce_bytes},
        {"produce_records", c->produce_records},
        {"fetch_bytes", c->fetch_bytes},
        {"isr_shrinks", c->isr_shrinks},
        {"isr_expands", c->isr_expands},
        {"elections_seen", c->elections_seen},
        {"client_memory_bytes", b->n->client_budget.used_bytes},
        {"client_memory_limit_bytes", b->n->client_budget.limit_bytes},
        {"data_memory_bytes", b->n->data_budget.used_bytes},
        {"data_memory_limit_bytes", b->n->data_budget.limit_bytes},
    };
    size_t count = sizeof(all) / sizeof(all[0]);
    b->resp.counters = array(b, count, sizeof(b->resp.counters[0]));
    for (size_t i = 0; !b->refused && i < count; i++) {
        Kvorum__StatusCounter *w = array(b, 1, sizeof(*w));
        if (w == NULL)
            return;
        kvorum__status_counter__init(w);
        w->name = kc_str(all[i].name);
        SET(w, value, all[i].value);
        b->resp.counters[b->resp.n_counters++] = w;
    }
}

static Kvorum__StatusEvent *make_event(struct status_build *b, const struct node_event *from)
{
    Kvorum__StatusEvent *w = array(b, 1, sizeof(*w));
    if (w == NULL)
        return NULL;
    kvorum__status_event__init(w);
    SET(w, sequence, from->sequence);
    w->kind = kc_str(node_event_kind_name(from->kind));
    SET(w, age_ms, age(b, from->mono_ms));
    SET(w, wall_ms, from->wall_ms);
    if (from->node_id >= 0)
        SET(w, node_id, from->node_id);
    if (from->other_id >= 0)
        SET(w, other_id, from->other_id);
    if (from->term > 0)
        SET(w, term, from->term);
    if (from->count > 0)
        SET(w, count, from->count);
    if (from->silent_ms >= 0)
        SET(w, silent_ms, (uint64_t)from->silent_ms);
    w->reason = from->reason != NULL ? kc_str(from->reason) : NULL;
    if (from->topic == NULL)
        return w;
    w->topic = from->topic;
    SET(w, partition, from->partition);
    return w;
}

static void fill_events(struct status_build *b)
{
    const struct node_events *events = node_watch_events(b->n);
    size_t count = b->events ? node_events_count(events) : 0;
    b->resp.events = array(b, count, sizeof(b->resp.events[0]));
    for (size_t i = 0; !b->refused && i < count; i++)
        b->resp.events[b->resp.n_events++] = make_event(b, node_events_at(events, i));
}

static void fill_self(struct status_build *b)
{
    struct node *n = b->n;
    Kvorum__StatusResponse *r = &b->resp;
    char *directory = kb_arena_alloc(b->arena, KB_UUID_TEXT_SIZE);
    if (directory != NULL)
        kb_uuid_format(&n->directory_id, directory);
    else
        b->refused = true;
    SET(r, node_id, n->config.node_id);
    r->state = kc_str(node_state_name(n->state));
    r->version = n->config.version;
    SET(r, uptime_ms, age(b, n->started_ms));
    r->cluster_id = n->cluster_id;
    r->directory_id = directory;
    SET(r, incarnation, n->incarnation);
    SET(r, wall_ms, kb_env_wall_ms(n->env));
}

void api_status(struct node_request *rq)
{
    struct status_build b = {.rq = rq, .n = rq->node, .arena = &rq->arena};
    ProtobufCMessage *message = NULL;
    const Kvorum__StatusRequest *req = NULL;
    if (kc_unpack(&kvorum__status_request__descriptor, b.arena, rq->body, KC_FRAME_BYTES_MAX,
                  &message) < 0) {
        node_request_reject(rq, "malformed body");
        return;
    }
    req = (const Kvorum__StatusRequest *)message;
    b.now_ms = node_now(rq->node);
    b.list = req->has_partitions && req->partitions;
    b.events = req->has_events && req->events;
    b.topic = req->topic;
    kvorum__status_response__init(&b.resp);
    fill_self(&b);
    fill_raft(&b);
    fill_voters(&b);
    fill_peers(&b);
    fill_brokers(&b);
    fill_partitions(&b);
    fill_counters(&b);
    fill_events(&b);
    if (b.refused)
        node_request_reject(rq, "its answer needs too much memory");
    else
        node_request_reply(rq, write_response, &b.resp);
}
