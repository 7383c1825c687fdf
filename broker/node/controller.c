/* What only the active controller does: commands of brokers and clients become records, and answers
 * leave once those are committed (replication rules 6.2, 6.3). */
#include "broker/node/node_internal.h"

enum { COMMAND_ARENA_BYTES = 16 << 20 };

struct node_control {
    struct meta_controller *c;
    uint64_t term;
    bool ticking;
};

/* ---- answers
 * -------------------------------------------------------------------------------------- */

void node_reply_send(struct node *n, const struct node_reply *to, Kvorum__PeerMessage *m,
                     struct kb_chain *payload)
{
    if (to->fn != NULL) {
        to->fn(to->arg, m, NULL, (struct kb_view){0});
    } else {
        struct node_peer *p = node_peer_find(n, to->peer_id);
        struct node_link *l = p != NULL ? node_peer_link_by_serial(p, to->link_serial) : NULL;
        if (l != NULL && to->request_id != 0) {
            node_link_answer(l, to->request_id, m, payload);
            return;
        }
    }
    if (payload != NULL)
        kb_chain_release(payload);
}

/* ---- records, commit
 * ---------------------------------------------------------------------------------- */

struct submission {
    node_command_fn *fn;
    void *arg;
    uint64_t index;
    struct kb_buf notes;
};

static void log_notes(struct kb_buf *notes)
{
    char *line = (char *)notes->data;
    if (line == NULL)
        return;
    while (*line != '\0') {
        char *end = strchr(line, '\n');
        if (end == NULL)
            break;
        *end = '\0';
        kb_log_info("controller", "%s", line);
        line = end + 1;
    }
}

static void on_committed(void *arg, int result)
{
    struct submission *s = arg;
    if (result == 0)
        log_notes(&s->notes);
    if (s->fn != NULL)
        s->fn(s->arg, result, s->index);
    kb_buf_release(&s->notes);
    (void)kb_free(s);
}

static int submission_failed(struct submission *s, struct meta_result *result, int r)
{
    kb_buf_release(&s->notes);
    (void)kb_free(s);
    meta_result_release(result);
    return r;
}

static int submit(struct node *n, struct meta_result *result, bool confirm, node_command_fn *fn,
                  void *arg)
{
    struct node_control *ctl = n->control;
    if (ctl == NULL) {
        meta_result_release(result);
        return -KB_EPERM;
    }
    struct submission *s = kb_new(struct submission);
    s->fn = fn;
    s->arg = arg;
    if (result->notes.size > 0) {
        kb_buf_append(&s->notes, result->notes.data, result->notes.size);
        kb_buf_append(&s->notes, "", 1);
    }
    if (result->records.count == 0) {
        int r = 0;
        s->index = node_quorum_applied(n);
        if (confirm)
            r = node_quorum_confirm(n, on_committed, s);
        else
            node_quorum_barrier(n, on_committed, s);
        if (r < 0)
            return submission_failed(s, result, r);
        meta_result_release(result);
        return 0;
    }
    int64_t last = node_quorum_propose(n, &result->records, on_committed, s);
    if (last < 0)
        return submission_failed(s, result, (int)last);
    s->index = (uint64_t)last;
    if (n->control == ctl)
        meta_controller_replay(ctl->c, &result->records, (uint64_t)last - result->records.count + 1,
                               ctl->term);
    meta_result_release(result);
    return 0;
}

int node_controller_submit(struct node *n, struct meta_result *result, node_command_fn *fn,
                           void *arg)
{
    return submit(n, result, false, fn, arg);
}

int node_controller_command(struct node *n, struct meta_result *result, node_command_fn *fn,
                            void *arg)
{
    return submit(n, result, true, fn, arg);
}

struct meta_controller *node_controller_get(struct node *n)
{
    return n->control != NULL ? n->control->c : NULL;
}

/* ---- taking and leaving office
 * -------------------------------------------------------------------------- */

static enum meta_link link_of(const struct node_peer *p, uint64_t *ret_since_ms)
{
    struct node_peer *peer = (struct node_peer *)(uintptr_t)p;
    *ret_since_ms = p->closed_ms;
    if (p->dead)
        return META_LINK_DEAD;
    if (node_peer_link(peer, NODE_CONTROL) != NULL) {
        *ret_since_ms = p->heard_ms;
        return META_LINK_UP;
    }
    if (p->incarnation == 0)
        return p->refused ? META_LINK_DEAD : META_LINK_NONE;
    return p->accepting ? META_LINK_ACCEPTING : META_LINK_CLOSED;
}

void node_controller_elected(struct node *n)
{
    struct node_control *ctl = kb_new(struct node_control);
    struct meta_controller_config config;
    struct meta_evidence *evidence = kb_new_array(struct meta_evidence, n->peers.count + 1);
    struct node_peer *p = NULL;
    size_t cursor = 0;
    size_t count = 0;
    meta_controller_config_default(&config);
    config.node_id = n->config.node_id;
    config.incarnation = n->incarnation;
    config.session_timeout_ms = n->config.times.broker_session;
    config.link_grace_ms = n->config.times.link_grace;
    config.takeover_scan_ms = n->config.times.takeover_scan;
    config.disk_stall_ms = n->config.times.disk_stall_data;
    config.num_partitions = n->config.num_partitions;
    config.default_replication_factor = n->config.default_replication_factor;
    config.offsets_topic_partitions = n->config.offsets_topic_partitions;
    config.offsets_topic_replication_factor = n->config.offsets_topic_replication_factor;
    config.delete_topic_enable = n->config.delete_topic_enable;
    config.auto_leader_rebalance = n->config.auto_leader_rebalance;
    while ((p = kb_map_next(&n->peers, &cursor, NULL)) != NULL) {
        if (p->id == n->config.node_id)
            continue;
        struct meta_evidence *e = &evidence[count++];
        e->broker_id = p->id;
        e->link = link_of(p, &e->link_since_ms);
        e->incarnation = p->incarnation;
        e->heard_ms = p->heard_ms;
    }
    ctl->term = node_quorum_term(n);
    ctl->c = meta_controller_new(n->image, &config, kb_env_random_u64(n->env), node_now(n),
                                 evidence, count);
    (void)kb_free(evidence);
    n->control = ctl;
    kb_log_info("controller", "event=elected node=%d term=%llu", n->config.node_id,
                (unsigned long long)ctl->term);
    node_lifecycle_leader(n);
}

void node_controller_free(struct node *n)
{
    if (n->control == NULL)
        return;
    (void)meta_controller_free(n->control->c);
    n->control = kb_free(n->control);
}

void node_controller_resigned(struct node *n)
{
    if (n->control != NULL)
        kb_log_info("controller", "event=resigned node=%d", n->config.node_id);
    node_controller_free(n);
}

/* ---- time and links
 * ----------------------------------------------------------------------------------------- */

static void run_ticks(struct node *n)
{
    struct node_control *ctl = n->control;
    if (ctl == NULL || ctl->ticking)
        return;
    ctl->ticking = true;
    for (int i = 0; i < 64 && n->control == ctl; i++) {
        struct meta_result result = {0};
        uint64_t now_ms = node_now(n);
        meta_controller_tick(ctl->c, now_ms, &result);
        bool more = result.records.count > 0;
        if (!more) {
            meta_result_release(&result);
            break;
        }
        if (node_controller_submit(n, &result, NULL, NULL) < 0)
            break;
        if (n->control == ctl && meta_controller_deadline(ctl->c) > now_ms)
            break;
    }
    if (n->control == ctl)
        ctl->ticking = false;
}

void node_controller_tick(struct node *n, uint64_t now_ms, uint64_t gap_ms)
{
    if (n->control == NULL)
        return;
    if (gap_ms > 0)
        meta_controller_stood_still(n->control->c, gap_ms);
    if (meta_controller_deadline(n->control->c) <= now_ms)
        run_ticks(n);
}

void node_controller_link(struct node *n, struct node_peer *p)
{
    uint64_t since_ms = 0;
    if (n->control == NULL)
        return;
    enum meta_link link = link_of(p, &since_ms);
    meta_controller_link(n->control->c, node_now(n), p->id, link, p->incarnation);
    run_ticks(n);
}

void node_controller_heard(struct node *n, struct node_peer *p)
{
    if (n->control != NULL)
        meta_controller_heard(n->control->c, node_now(n), p->id, p->incarnation);
}

/* ---- commands of brokers
 * ---------------------------------------------------------------------------------------- */

/* One command under way: its answer waits for the commit. */
struct command {
    struct node *node;
    struct node_reply reply;
    struct kb_arena arena;
    Kvorum__PeerMessage answer;
    union {
        Kvorum__RegisterResponse registered;
        Kvorum__HeartbeatResponse heartbeat;
        Kvorum__AlterPartitionResponse altered;
        Kvorum__ElectionResponse election;
        Kvorum__ProducerIdsResponse ids;
    } body;
    int32_t *error; /* where the top-level error goes */
};

static struct command *command_new(struct node *n, const struct node_message *msg)
{
    struct command *k = kb_new(struct command);
    k->node = n;
    k->reply = msg->reply;
    kb_arena_init(&k->arena, COMMAND_ARENA_BYTES);
    kvorum__peer_message__init(&k->answer);
    return k;
}

static void command_finish(void *arg, int result, uint64_t index)
{
    struct command *k = arg;
    (void)index;
    if (result < 0)
        *k->error = KW_NOT_CONTROLLER;
    node_reply_send(k->node, &k->reply, &k->answer, NULL);
    kb_arena_release(&k->arena);
    (void)kb_free(k);
}

static void command_submit(struct command *k, struct meta_result *result)
{
    int r = node_controller_submit(k->node, result, command_finish, k);
    if (r < 0)
        command_finish(k, r, 0);
}

static struct meta_endpoint *endpoints_of(struct kb_arena *a, Kvorum__PeerEndpoint **list, size_t n)
{
    struct meta_endpoint *out = kb_arena_new_array(a, struct meta_endpoint, n);
    for (size_t i = 0; out != NULL && i < n; i++) {
        out[i].listener = list[i]->listener != NULL ? list[i]->listener : (char *)(uintptr_t) "";
        out[i].host = list[i]->host != NULL ? list[i]->host : (char *)(uintptr_t) "";
        out[i].port = (uint16_t)list[i]->port;
        out[i].security_protocol = (int16_t)list[i]->security_protocol;
    }
    return out;
}

static int uuid_of(const ProtobufCBinaryData *b, struct kb_uuid *ret)
{
    if (b->len != sizeof(ret->bytes))
        return -KB_EINVAL;
    memcpy(ret->bytes, b->data, sizeof(ret->bytes));
    return 0;
}

static void take_register(struct node *n, const struct node_message *msg)
{
    const Kvorum__RegisterRequest *q = msg->m->register_request;
    struct command *k = command_new(n, msg);
    struct meta_result result = {0};
    struct meta_register_response answer = {0};
    struct meta_register_request req = {
        .broker_id = q->node_id,
        .cluster_id = q->cluster_id,
        .incarnation = q->incarnation,
        .previous_broker_epoch = q->previous_broker_epoch,
        .boot_id = q->boot_id,
        .clean = q->clean,
        .rack = q->rack,
        .endpoints_count = q->n_endpoints,
        .peer_endpoints_count = q->n_peer_endpoints,
        .logs_count = 0,
        .creations_synced_index = q->creations_synced_index,
    };
    k->answer.body_case = KVORUM__PEER_MESSAGE__BODY_REGISTER_RESPONSE;
    k->answer.register_response = &k->body.registered;
    kvorum__register_response__init(&k->body.registered);
    k->body.registered.has_error = 1;
    k->error = &k->body.registered.error;
    req.endpoints = endpoints_of(&k->arena, q->endpoints, q->n_endpoints);
    req.peer_endpoints = endpoints_of(&k->arena, q->peer_endpoints, q->n_peer_endpoints);
    struct meta_log_report *logs = kb_arena_new_array(&k->arena, struct meta_log_report, q->n_logs);
    for (size_t i = 0; logs != NULL && i < q->n_logs; i++) {
        struct meta_log_report *l = &logs[req.logs_count];
        if (uuid_of(&q->logs[i]->topic_id, &l->topic_id) < 0)
            continue;
        l->partition = q->logs[i]->partition;
        l->last_epoch = q->logs[i]->last_epoch;
        l->end_offset = q->logs[i]->durable_end;
        l->state = q->logs[i]->state <= META_LOG_MISSING ? (enum meta_log_state)q->logs[i]->state
                                                         : META_LOG_DAMAGED;
        req.logs_count++;
    }
    req.logs = logs;
    if (k->arena.failed || uuid_of(&q->directory_id, &req.directory) < 0) {
        k->body.registered.error = KW_INVALID_REQUEST;
        command_finish(k, 0, 0);
        return;
    }
    meta_controller_register(n->control->c, node_now(n), &req, &k->arena, &result, &answer);
    k->body.registered.error = answer.error;
    k->body.registered.message =
        answer.message != NULL ? kb_arena_strndup(&k->arena, answer.message, strlen(answer.message))
                               : NULL;
    k->body.registered.has_broker_epoch = 1;
    k->body.registered.broker_epoch = answer.broker_epoch;
    command_submit(k, &result);
    run_ticks(n);
}

static void take_heartbeat(struct node *n, const struct node_message *msg)
{
    const Kvorum__HeartbeatRequest *q = msg->m->heartbeat_request;
    struct command *k = command_new(n, msg);
    struct meta_result result = {0};
    struct meta_heartbeat_response answer = {0};
    struct meta_heartbeat_request req = {
        .broker_id = q->node_id,
        .incarnation = q->incarnation,
        .broker_epoch = q->broker_epoch,
        .applied_index = q->applied_index,
        .want_unfence = q->want_unfence,
        .want_stop = q->want_stop,
        .disk_stall_ms = q->disk_stall_ms,
        .disk_full = q->disk_full,
        .dead_links = q->dead_links,
        .dead_links_count = q->n_dead_links,
    };
    k->answer.body_case = KVORUM__PEER_MESSAGE__BODY_HEARTBEAT_RESPONSE;
    k->answer.heartbeat_response = &k->body.heartbeat;
    kvorum__heartbeat_response__init(&k->body.heartbeat);
    k->body.heartbeat.has_error = 1;
    k->error = &k->body.heartbeat.error;
    meta_controller_heartbeat(n->control->c, node_now(n), &req, &result, &answer);
    k->body.heartbeat.error = answer.error;
    k->body.heartbeat.has_fenced = 1;
    k->body.heartbeat.fenced = answer.fenced;
    k->body.heartbeat.has_may_stop = 1;
    k->body.heartbeat.may_stop = answer.may_stop;
    k->body.heartbeat.has_round = 1;
    k->body.heartbeat.round = q->round;
    command_submit(k, &result);
    run_ticks(n);
}

static void take_alter(struct node *n, const struct node_message *msg)
{
    const Kvorum__AlterPartitionRequest *q = msg->m->alter_partition_request;
    struct command *k = command_new(n, msg);
    struct meta_result result = {0};
    struct meta_alter_result *answers = NULL;
    struct meta_alter_item *items = kb_arena_new_array(&k->arena, struct meta_alter_item,
                                                       q->n_items);
    size_t count = 0;
    k->answer.body_case = KVORUM__PEER_MESSAGE__BODY_ALTER_PARTITION_RESPONSE;
    k->answer.alter_partition_response = &k->body.altered;
    kvorum__alter_partition_response__init(&k->body.altered);
    k->body.altered.has_error = 1;
    k->error = &k->body.altered.error;
    for (size_t i = 0; items != NULL && i < q->n_items; i++) {
        const Kvorum__AlterPartitionRequest__Item *w = q->items[i];
        if (uuid_of(&w->topic_id, &items[count].topic_id) < 0 || w->n_isr != w->n_isr_broker_epochs)
            continue;
        items[count].partition = w->partition;
        items[count].leader_epoch = w->leader_epoch;
        items[count].partition_epoch = w->partition_epoch;
        items[count].isr = w->isr;
        items[count].isr_broker_epochs = w->isr_broker_epochs;
        items[count].isr_count = w->n_isr;
        items[count].synced = w->synced;
        count++;
    }
    if (items == NULL || q->term != n->control->term) {
        k->body.altered.error = KW_NOT_CONTROLLER;
        command_finish(k, 0, 0);
        return;
    }
    k->body.altered.error = meta_controller_alter_partitions(n->control->c, node_now(n), q->node_id,
                                                             q->broker_epoch, items, count,
                                                             &k->arena, &result, &answers);
    Kvorum__AlterPartitionResponse__Item **list =
        kb_arena_new_array(&k->arena, Kvorum__AlterPartitionResponse__Item *, count);
    for (size_t i = 0; k->body.altered.error == KW_NONE && list != NULL && i < count; i++) {
        list[i] = kb_arena_new(&k->arena, Kvorum__AlterPartitionResponse__Item);
        if (list[i] == NULL)
            break;
        kvorum__alter_partition_response__item__init(list[i]);
        list[i]->has_topic_id = 1;
        list[i]->topic_id.data = answers[i].topic_id.bytes;
        list[i]->topic_id.len = 16;
        list[i]->has_partition = 1;
        list[i]->partition = answers[i].partition;
        list[i]->has_error = 1;
        list[i]->error = answers[i].error;
        list[i]->has_leader_epoch = 1;
        list[i]->leader_epoch = answers[i].leader_epoch;
        list[i]->has_partition_epoch = 1;
        list[i]->partition_epoch = answers[i].partition_epoch;
        k->body.altered.n_items = i + 1;
    }
    k->body.altered.items = list;
    command_submit(k, &result);
}

static void take_election(struct node *n, const struct node_message *msg)
{
    const Kvorum__ElectionRequest *q = msg->m->election_request;
    struct command *k = command_new(n, msg);
    struct meta_result result = {0};
    struct meta_election_item *items = kb_arena_new_array(&k->arena, struct meta_election_item,
                                                          q->n_items);
    size_t count = 0;
    k->answer.body_case = KVORUM__PEER_MESSAGE__BODY_ELECTION_RESPONSE;
    k->answer.election_response = &k->body.election;
    kvorum__election_response__init(&k->body.election);
    k->body.election.has_error = 1;
    k->error = &k->body.election.error;
    for (size_t i = 0; items != NULL && i < q->n_items; i++) {
        if (uuid_of(&q->items[i]->topic_id, &items[count].topic_id) < 0)
            continue;
        items[count].partition = q->items[i]->partition;
        items[count].leader_epoch = q->items[i]->leader_epoch;
        items[count].damaged = q->items[i]->damaged;
        items[count].partition_epoch = q->items[i]->has_partition_epoch
                                           ? q->items[i]->partition_epoch
                                           : -1;
        count++;
    }
    k->body.election.error = meta_controller_ask_election(n->control->c, node_now(n), q->node_id,
                                                          q->broker_epoch, items, count, &result);
    command_submit(k, &result);
}

static void take_producer_ids(struct node *n, const struct node_message *msg)
{
    const Kvorum__ProducerIdsRequest *q = msg->m->producer_ids_request;
    struct command *k = command_new(n, msg);
    struct meta_result result = {0};
    k->answer.body_case = KVORUM__PEER_MESSAGE__BODY_PRODUCER_IDS_RESPONSE;
    k->answer.producer_ids_response = &k->body.ids;
    kvorum__producer_ids_response__init(&k->body.ids);
    k->body.ids.has_error = 1;
    k->error = &k->body.ids.error;
    k->body.ids.has_first = 1;
    k->body.ids.has_count = 1;
    k->body.ids.error = meta_controller_producer_ids(n->control->c, q->node_id, q->broker_epoch,
                                                     &result, &k->body.ids.first,
                                                     &k->body.ids.count);
    command_submit(k, &result);
}

/* ---- forwarded client requests
 * ---------------------------------------------------------------------------------- */

struct forwarded {
    struct node *node;
    struct node_reply reply;
};

static void on_forwarded(void *arg, struct kb_chain *frame, uint64_t commit_index)
{
    struct forwarded *f = arg;
    Kvorum__PeerMessage m = KVORUM__PEER_MESSAGE__INIT;
    Kvorum__ForwardResponse body = KVORUM__FORWARD_RESPONSE__INIT;
    m.body_case = KVORUM__PEER_MESSAGE__BODY_FORWARD_RESPONSE;
    m.forward_response = &body;
    body.has_error = 1;
    body.error = frame != NULL ? KW_NONE : KW_NOT_CONTROLLER;
    body.has_index = 1;
    body.index = commit_index;
    node_reply_send(f->node, &f->reply, &m, frame);
    (void)kb_free(f);
}

static void take_forward(struct node *n, const struct node_message *msg)
{
    struct forwarded *f = kb_new(struct forwarded);
    f->node = n;
    f->reply = msg->reply;
    node_clients_forwarded(n, msg->frame, msg->payload, msg->m->forward_request->client_host,
                           msg->m->forward_request->listener, on_forwarded, f);
}

/* A command that reaches a node out of office: the sender looks for the leader. */
static void refuse(struct node *n, const struct node_message *msg)
{
    Kvorum__PeerMessage m = KVORUM__PEER_MESSAGE__INIT;
    Kvorum__ElectionResponse body = KVORUM__ELECTION_RESPONSE__INIT;
    m.body_case = KVORUM__PEER_MESSAGE__BODY_ELECTION_RESPONSE;
    m.election_response = &body;
    body.has_error = 1;
    body.error = KW_NOT_CONTROLLER;
    node_reply_send(n, &msg->reply, &m, NULL);
}

void node_controller_message(struct node *n, const struct node_message *msg)
{
    if (n->control == NULL) {
        refuse(n, msg);
        return;
    }
    switch (msg->m->body_case) {
    case KVORUM__PEER_MESSAGE__BODY_REGISTER_REQUEST:
        take_register(n, msg);
        break;
    case KVORUM__PEER_MESSAGE__BODY_HEARTBEAT_REQUEST:
        take_heartbeat(n, msg);
        break;
    case KVORUM__PEER_MESSAGE__BODY_ALTER_PARTITION_REQUEST:
        take_alter(n, msg);
        break;
    case KVORUM__PEER_MESSAGE__BODY_ELECTION_REQUEST:
        take_election(n, msg);
        break;
    case KVORUM__PEER_MESSAGE__BODY_PRODUCER_IDS_REQUEST:
        take_producer_ids(n, msg);
        break;
    case KVORUM__PEER_MESSAGE__BODY_FORWARD_REQUEST:
        take_forward(n, msg);
        break;
    default:
        KB_UNREACHABLE();
    }
}

/* A call of this broker to the active controller, which may be itself. 0, or -KB_ECLOSED: fn is not
 * called. */
int node_controller_call(struct node *n, Kvorum__PeerMessage *m, struct kb_chain *payload,
                         node_answer_fn *fn, void *arg)
{
    int32_t leader = node_quorum_leader_id(n);
    if (leader == n->config.node_id) {
        struct node_message msg = {.m = m, .reply = {.peer_id = leader, .fn = fn, .arg = arg}};
        if (payload != NULL)
            kb_chain_release(payload);
        if (n->control == NULL)
            return -KB_ECLOSED;
        node_controller_message(n, &msg);
        return 0;
    }
    struct node_peer *p = leader >= 0 ? node_peer_find(n, leader) : NULL;
    struct node_link *l = p != NULL ? node_peer_link(p, NODE_CONTROL) : NULL;
    if (l == NULL) {
        if (payload != NULL)
            kb_chain_release(payload);
        return -KB_ECLOSED;
    }
    return node_link_call(l, m, payload, fn, arg);
}
