/* Links between brokers: dialling, hellos, requests and answers, and the evidence of rule 7.2. */
#include "broker/node/frame.h"
#include "broker/node/node_internal.h"

enum {
    PEER_PROTOCOL = 1,
    CONNECT_TIMEOUT_MS = 1000,
    HELLO_TIMEOUT_MS = 2000,
    PING_MS = 150,
    HELLO_AGAIN_MS = 500,  /* a broker without a vote asks whether the cluster is founded by now */
    SILENT_LINK_MS = 3000, /* a link that owes us an answer this long is half-open */
    REDIAL_FIRST_MS = 20,
    REDIAL_MAX_MS = 250,
    SEND_HIGH_BYTES = 4 << 20,
    FRAME_ARENA_BYTES = 32 << 20,
};

struct node_call {
    node_answer_fn *fn;
    void *arg;
};

static void link_dial(struct node_peer *p, enum node_purpose purpose);

/* ---- peers -------------------------------------------------------------------------------------
 */

struct node_peer *node_peer_find(struct node *n, int32_t id)
{
    return kb_map_get(&n->peers, (uint64_t)(uint32_t)id);
}

static bool is_configured_voter(const struct node *n, int32_t id)
{
    for (size_t i = 0; i < n->config.voters_count; i++) {
        if (n->config.voters[i].id == id)
            return true;
    }
    return false;
}

static void redial_control(void *arg)
{
    link_dial(arg, NODE_CONTROL);
}

static void redial_data(void *arg)
{
    link_dial(arg, NODE_DATA);
}

static void peer_judge_dead(struct node_peer *p, const char *why)
{
    if (p->dead)
        return;
    p->dead = true;
    kb_log_info("link", "event=peer_dead peer=%d why=%s", p->id, why);
    node_watch_peer_dead(p->node, p, why);
    node_peer_evidence(p->node, p);
}

/* Rule 7.2: silence after a closed link; the process is taken for dead when nothing accepted TCP
 * since. */
static void grace_over(void *arg)
{
    struct node_peer *p = arg;
    if (p->closed_ms == 0 || p->accepting)
        return;
    peer_judge_dead(p, "no_answer");
}

static struct node_peer *peer_new(struct node *n, int32_t id)
{
    struct node_peer *p = kb_new(struct node_peer);
    p->node = n;
    p->id = id;
    p->voter = is_configured_voter(n, id);
    p->redial[NODE_CONTROL] = kb_timer_new(n->env, redial_control, p);
    p->redial[NODE_DATA] = kb_timer_new(n->env, redial_data, p);
    p->grace = kb_timer_new(n->env, grace_over, p);
    (void)kb_map_put(&n->peers, (uint64_t)(uint32_t)id, p);
    return p;
}

struct node_peer *node_peer_get(struct node *n, int32_t id, const char *host, uint16_t port)
{
    struct node_peer *p = node_peer_find(n, id);
    if (p == NULL && host == NULL)
        return NULL;
    if (p == NULL)
        p = peer_new(n, id);
    if (host != NULL && (p->host == NULL || strcmp(p->host, host) != 0 || p->port != port)) {
        (void)kb_free(p->host);
        p->host = kb_strdup(host);
        p->port = port;
        if (id != n->config.node_id) {
            for (int purpose = 0; purpose < NODE_PURPOSE_COUNT_; purpose++) {
                if (p->dialled[purpose] == NULL)
                    kb_timer_arm(p->redial[purpose], 0);
            }
        }
    }
    return p;
}

struct node_link *node_peer_link(struct node_peer *p, enum node_purpose purpose)
{
    struct node_link *l = p->dialled[purpose];
    if (l != NULL && l->state == NODE_LINK_OPEN)
        return l;
    l = p->accepted[purpose];
    return l != NULL && l->state == NODE_LINK_OPEN ? l : NULL;
}

/* ---- sending -----------------------------------------------------------------------------------
 */

void node_link_send(struct node_link *l, Kvorum__PeerMessage *m, struct kb_chain *payload)
{
    struct kb_chain chain = {0};
    if (l->conn == NULL || l->state == NODE_LINK_CLOSED || l->node->freeing) {
        if (payload != NULL)
            kb_chain_release(payload);
        return;
    }
    node_frame_write(&chain, m, payload);
    kb_conn_send(l->conn, &chain);
}

int node_link_call(struct node_link *l, Kvorum__PeerMessage *m, struct kb_chain *payload,
                   node_answer_fn *fn, void *arg)
{
    int r = 0;
    if (l->state != NODE_LINK_OPEN)
        r = -KB_ECLOSED;
    else if (l->calls.count >= NODE_PEER_RPCS_MAX)
        r = -KB_ELIMIT;
    if (r < 0) {
        if (payload != NULL)
            kb_chain_release(payload);
        return r;
    }
    struct node_call *call = kb_new(struct node_call);
    call->fn = fn;
    call->arg = arg;
    m->has_request_id = 1;
    m->request_id = ++l->next_request_id;
    if (l->calls.count == 0)
        l->owed_since_ms = node_now(l->node);
    (void)kb_map_put(&l->calls, m->request_id, call);
    node_link_send(l, m, payload);
    return 0;
}

void node_link_answer(struct node_link *l, uint64_t request_id, Kvorum__PeerMessage *m,
                      struct kb_chain *payload)
{
    m->has_response_to = 1;
    m->response_to = request_id;
    node_link_send(l, m, payload);
}

struct node_link *node_peer_link_by_serial(struct node_peer *p, uint64_t serial)
{
    for (int purpose = 0; purpose < NODE_PURPOSE_COUNT_; purpose++) {
        if (p->dialled[purpose] != NULL && p->dialled[purpose]->serial == serial)
            return p->dialled[purpose];
        if (p->accepted[purpose] != NULL && p->accepted[purpose]->serial == serial)
            return p->accepted[purpose];
    }
    return NULL;
}

void node_link_forget(struct node_link *l, const void *arg)
{
    size_t cursor = 0;
    struct node_call *call = NULL;
    while ((call = kb_map_next(&l->calls, &cursor, NULL)) != NULL) {
        if (call->arg == arg)
            call->fn = NULL;
    }
}

/* ---- the hello ---------------------------------------------------------------------------------
 */

/* A message's strings point into the node; nothing here is freed. */
struct hello {
    Kvorum__PeerMessage message;
    Kvorum__PeerHello body;
    Kvorum__PeerVoter voters[NODE_VOTERS_MAX];
    Kvorum__PeerVoter *voter_list[NODE_VOTERS_MAX];
};

static void hello_fill(struct hello *h, const struct node_link *l)
{
    struct node *n = l->node;
    kvorum__peer_message__init(&h->message);
    kvorum__peer_hello__init(&h->body);
    h->message.body_case = KVORUM__PEER_MESSAGE__BODY_HELLO;
    h->message.hello = &h->body;
    h->body.has_protocol = 1;
    h->body.protocol = PEER_PROTOCOL;
    h->body.cluster_id = n->cluster_id;
    h->body.has_node_id = 1;
    h->body.node_id = n->config.node_id;
    h->body.has_directory_id = 1;
    h->body.directory_id.data = n->directory_id.bytes;
    h->body.directory_id.len = sizeof(n->directory_id.bytes);
    h->body.has_incarnation = 1;
    h->body.incarnation = n->incarnation;
    h->body.has_broker_epoch = 1;
    h->body.broker_epoch = n->broker_epoch;
    h->body.has_purpose = 1;
    h->body.purpose = (uint32_t)l->purpose;
    h->body.has_link_number = 1;
    h->body.link_number = l->number;
    h->body.has_voter = 1;
    h->body.voter = is_configured_voter(n, n->config.node_id);
    h->body.has_founded = 1;
    h->body.founded = node_identity_founded(n);
    size_t count = n->config.voters_count;
    for (size_t i = 0; i < count && i < NODE_VOTERS_MAX; i++) {
        kvorum__peer_voter__init(&h->voters[i]);
        h->voters[i].has_node_id = 1;
        h->voters[i].node_id = n->config.voters[i].id;
        h->voters[i].host = n->config.voters[i].host;
        h->voters[i].has_port = 1;
        h->voters[i].port = n->config.voters[i].port;
        h->voter_list[i] = &h->voters[i];
    }
    h->body.n_voters = count < NODE_VOTERS_MAX ? count : NODE_VOTERS_MAX;
    h->body.voters = h->voter_list;
}

/* A sentence why this hello is not taken, or NULL. */
static const char *hello_refusal(struct node *n, const Kvorum__PeerHello *h)
{
    /* A blank node joins only the cluster it was told to. */
    const char *own = n->cluster_id != NULL ? n->cluster_id : n->config.cluster_id;
    if (!h->has_protocol || h->protocol != PEER_PROTOCOL)
        return "another peer protocol version";
    if (!h->has_node_id || h->node_id < 0 || !h->has_incarnation || !h->has_directory_id ||
        h->directory_id.len != sizeof(n->directory_id.bytes) || !h->has_purpose ||
        h->purpose >= NODE_PURPOSE_COUNT_)
        return "malformed hello";
    if (h->node_id == n->config.node_id)
        return "my own node id";
    if (own != NULL && h->cluster_id != NULL && strcmp(own, h->cluster_id) != 0)
        return "another cluster id";
    return NULL;
}

/* What a valid hello says about its sender, on either side. */
static void peer_learn(struct node_peer *p, struct node_link *l, const Kvorum__PeerHello *h)
{
    uint64_t former = p->incarnation;
    l->peer_id = p->id;
    l->peer_incarnation = h->incarnation;
    l->peer_broker_epoch = h->broker_epoch;
    memcpy(l->peer_directory.bytes, h->directory_id.data, sizeof(l->peer_directory.bytes));
    l->state = NODE_LINK_OPEN;
    l->heard_ms = node_now(l->node);
    p->heard_ms = l->heard_ms;
    if (!p->has_directory || !kb_uuid_equal(&p->directory, &l->peer_directory))
        p->directory_since_ms = p->heard_ms;
    p->directory = l->peer_directory;
    p->has_directory = true;
    p->wants_vote = h->voter;
    p->blank = h->cluster_id == NULL;
    if (former != 0 && former != h->incarnation && !p->dead && p->closed_ms != 0)
        peer_judge_dead(p, "new_incarnation");
    p->incarnation = h->incarnation;
    p->dead = false;
    node_identity_hello(p->node, p, h);
}

/* ---- accepting
 * ----------------------------------------------------------------------------------- */

static void link_close(struct node_link *l)
{
    if (l->conn != NULL)
        kb_conn_close(l->conn);
}

static void refuse(struct node_link *l, const char *why)
{
    struct hello h;
    kb_log_rate_warn(&l->node->link_rate, node_now(l->node), "link",
                     "event=hello_refused peer=%d why=\"%s\"", l->peer_id, why);
    hello_fill(&h, l);
    h.body.refusal = (char *)(uintptr_t)why;
    node_link_send(l, &h.message, NULL);
    kb_conn_close_after_send(l->conn);
}

/* Rules 1.3 and 1.4: which of two links of one broker is served. NULL = the new one. */
static const char *displacement_refusal(struct node_peer *p, const Kvorum__PeerHello *h,
                                        uint64_t now_ms)
{
    struct node_link *control = p->accepted[NODE_CONTROL];
    bool control_lives = control != NULL && control->state == NODE_LINK_OPEN &&
                         now_ms - control->heard_ms < p->node->config.times.broker_session;
    if (control_lives && control->peer_incarnation != h->incarnation)
        return "another incarnation of this node id is connected";
    struct node_link *same = p->accepted[h->purpose];
    if (same != NULL && same->peer_incarnation == h->incarnation && same->number >= h->link_number)
        return "a newer link is open";
    return NULL;
}

static void accept_hello(struct node_link *l, const Kvorum__PeerHello *h)
{
    struct node *n = l->node;
    const char *why = hello_refusal(n, h);
    l->peer_id = h->has_node_id ? h->node_id : -1;
    if (why == NULL && n->peers.count >= NODE_BROKERS_MAX && node_peer_find(n, h->node_id) == NULL)
        why = "too many brokers";
    if (why != NULL) {
        refuse(l, why);
        return;
    }
    struct node_peer *p = node_peer_find(n, h->node_id);
    if (p == NULL)
        p = peer_new(n, h->node_id);
    why = displacement_refusal(p, h, node_now(n));
    if (why != NULL) {
        refuse(l, why);
        return;
    }
    l->purpose = (enum node_purpose)h->purpose;
    l->number = h->link_number;
    struct node_link *former = p->accepted[l->purpose];
    p->accepted[l->purpose] = l;
    if (former != NULL)
        link_close(former); /* what arrives on it from now on is void */
    struct hello answer;
    peer_learn(p, l, h);
    hello_fill(&answer, l);
    node_link_send(l, &answer.message, NULL);
    node_peer_opened(n, p, l);
}

/* ---- frames
 * ---------------------------------------------------------------------------------------- */

static void take_answer(struct node_link *l, const Kvorum__PeerMessage *m, struct kb_block *frame,
                        struct kb_view payload)
{
    struct node_call *call = kb_map_remove(&l->calls, m->response_to);
    l->owed_since_ms = l->heard_ms;
    if (call == NULL)
        return;
    if (call->fn != NULL)
        call->fn(call->arg, m, frame, payload);
    (void)kb_free(call);
}

static void dialled_hello(struct node_link *l, const Kvorum__PeerHello *h)
{
    struct node_peer *p = node_peer_find(l->node, l->peer_id);
    const char *why = hello_refusal(l->node, h);
    if (why == NULL && h->node_id != l->peer_id)
        why = "another node id answers at this address";
    if (h->refusal != NULL || why != NULL) {
        kb_log_rate_warn(&l->node->link_rate, node_now(l->node), "link",
                         "event=hello_failed peer=%d why=\"%.120s\"", l->peer_id,
                         h->refusal != NULL ? h->refusal : why);
        link_close(l);
        return;
    }
    p->redial_ms[l->purpose] = 0;
    peer_learn(p, l, h);
    if (l->purpose == NODE_CONTROL) {
        p->closed_ms = 0;
        p->refused = false;
        p->accepting = false;
        kb_timer_cancel(p->grace);
    }
    node_peer_opened(l->node, p, l);
}

static void take_message(struct node_link *l, const Kvorum__PeerMessage *m, struct kb_block *frame,
                         struct kb_view payload)
{
    struct node_peer *p = l->peer_id >= 0 ? node_peer_find(l->node, l->peer_id) : NULL;
    if (m->body_case == KVORUM__PEER_MESSAGE__BODY_HELLO) {
        if (l->state == NODE_LINK_OPEN)
            link_close(l);
        else if (l->dialled)
            dialled_hello(l, m->hello);
        else
            accept_hello(l, m->hello);
        return;
    }
    if (l->state != NODE_LINK_OPEN || p == NULL) {
        link_close(l);
        return;
    }
    if (!l->dialled && p->accepted[l->purpose] != l)
        return; /* replaced: void (rule 1.4) */
    if (m->has_response_to) {
        take_answer(l, m, frame, payload);
        return;
    }
    uint64_t id = m->has_request_id ? m->request_id : 0;
    struct node_message message = {
        .reply = {.peer_id = p->id, .link_serial = l->serial, .request_id = id},
        .link = l,
        .peer = p,
        .m = m,
        .request_id = id,
        .frame = frame,
        .payload = payload,
    };
    node_dispatch(l->node, &message);
}

static void on_frame(struct kb_conn *conn, void *user, struct kb_block *frame)
{
    struct node_link *l = user;
    struct kb_arena arena;
    Kvorum__PeerMessage *m = NULL;
    struct kb_view payload = {0};
    kb_arena_init(&arena, FRAME_ARENA_BYTES);
    bool has_check = node_frame_has_check(kb_view_of(frame->data, frame->size));
    int r = node_frame_read(kb_view_of(frame->data, frame->size), &arena, &m, &payload);
    if (r == 0 && l->checks && !has_check)
        r = -KB_ECORRUPT; /* it is there and cannot be seen: a size has changed on the way */
    l->checks = l->checks || has_check;
    if (r < 0) {
        kb_log_rate_warn(&l->node->link_rate, node_now(l->node), "link",
                         "event=bad_peer_frame peer=%d error=%s", l->peer_id, kb_err_name(r));
        kb_conn_close(conn);
    } else {
        l->heard_ms = node_now(l->node);
        struct node_peer *p = l->peer_id >= 0 ? node_peer_find(l->node, l->peer_id) : NULL;
        if (p != NULL && l->purpose == NODE_CONTROL && l->state == NODE_LINK_OPEN) {
            p->heard_ms = l->heard_ms;
            node_controller_heard(l->node, p);
        }
        take_message(l, m, frame, payload);
    }
    kb_arena_release(&arena);
}

/* ---- closing
 * ---------------------------------------------------------------------------------------- */

static void fail_calls(struct node_link *l)
{
    struct kb_map calls = l->calls;
    size_t cursor = 0;
    struct node_call *call = NULL;
    l->calls = (struct kb_map){0};
    while ((call = kb_map_next(&calls, &cursor, NULL)) != NULL) {
        if (call->fn != NULL)
            call->fn(call->arg, NULL, NULL, (struct kb_view){0});
        (void)kb_free(call);
    }
    kb_map_release(&calls);
}

/* Our own control link closed: the only evidence there is (rule 7.2). */
static void control_evidence(struct node_peer *p, enum kb_close_reason reason, bool was_open)
{
    struct node *n = p->node;
    if (reason == KB_CLOSE_REFUSED) {
        p->refused = true;
        if (p->incarnation != 0 && p->closed_ms != 0)
            peer_judge_dead(p, "refused");
        return;
    }
    if (was_open && reason == KB_CLOSE_PEER) {
        p->closed_ms = node_now(n);
        p->accepting = false;
        kb_timer_arm(p->grace, n->config.times.link_grace);
    }
}

static void link_free(struct node_link *l)
{
    kb_map_release(&l->calls);
    (void)kb_free(l);
}

static void on_close(struct kb_conn *conn, void *user, enum kb_close_reason reason)
{
    struct node_link *l = user;
    struct node *n = l->node;
    struct node_peer *p = l->peer_id >= 0 ? node_peer_find(n, l->peer_id) : NULL;
    bool was_open = l->state == NODE_LINK_OPEN;
    l->state = NODE_LINK_CLOSED;
    l->conn = NULL;
    if (l->dialled) {
        KB_ASSERT(p != NULL);
        p->dialled[l->purpose] = NULL;
        if (!n->links_stopped) {
            uint32_t delay = was_open ? 0 : p->redial_ms[l->purpose];
            p->redial_ms[l->purpose] = delay == 0 ? REDIAL_FIRST_MS
                                                  : (delay * 2 > REDIAL_MAX_MS ? REDIAL_MAX_MS
                                                                               : delay * 2);
            kb_timer_arm(p->redial[l->purpose], delay);
        }
        if (l->purpose == NODE_CONTROL)
            control_evidence(p, reason, was_open);
    } else {
        LIST_REMOVE(l, accepted_links);
        if (p != NULL && p->accepted[l->purpose] == l)
            p->accepted[l->purpose] = NULL;
    }
    if (was_open)
        kb_log_debug("link", "event=link_closed peer=%d purpose=%d dialled=%d reason=%s",
                     l->peer_id, (int)l->purpose, (int)l->dialled, kb_close_reason_name(reason));
    fail_calls(l);
    if (was_open && p != NULL)
        node_peer_closed(n, p, l);
    link_free(l);
}

static void on_open(struct kb_conn *conn, void *user)
{
    struct node_link *l = user;
    struct node_peer *p = node_peer_find(l->node, l->peer_id);
    struct hello h;
    l->state = NODE_LINK_HELLO;
    l->opened_ms = node_now(l->node);
    if (l->purpose == NODE_CONTROL) {
        p->accepting = true;
        node_quorum_peer_accepting(l->node, p);
    }
    hello_fill(&h, l);
    node_link_send(l, &h.message, NULL);
}

static const struct kb_conn_handler link_handler = {
    .on_open = on_open,
    .on_frame = on_frame,
    .on_close = on_close,
};

static struct kb_conn_options link_options(struct node *n, enum node_purpose purpose)
{
    return (struct kb_conn_options){
        .frame_bytes_max = NODE_PEER_FRAME_BYTES_MAX,
        .send_high_bytes = SEND_HIGH_BYTES,
        .budget = purpose == NODE_DATA ? &n->data_budget : NULL,
        .control = purpose == NODE_CONTROL,
    };
}

static struct node_link *link_new(struct node *n, enum node_purpose purpose, bool dialled)
{
    struct node_link *l = kb_new(struct node_link);
    l->node = n;
    l->serial = ++n->link_serial;
    l->purpose = purpose;
    l->dialled = dialled;
    l->peer_id = -1;
    l->opened_ms = node_now(n);
    l->heard_ms = l->opened_ms;
    return l;
}

static void link_dial(struct node_peer *p, enum node_purpose purpose)
{
    struct node *n = p->node;
    if (n->links_stopped || p->id == n->config.node_id || p->host == NULL ||
        p->dialled[purpose] != NULL)
        return;
    if (purpose == NODE_CONTROL && !p->voter)
        return;
    struct node_link *l = link_new(n, purpose, true);
    struct kb_conn_options options = link_options(n, purpose);
    l->peer_id = p->id;
    l->number = ++p->link_number[purpose];
    l->state = NODE_LINK_CONNECTING;
    p->dialled[purpose] = l;
    l->conn = kb_env_connect(n->env, p->host, p->port, CONNECT_TIMEOUT_MS, &options, &link_handler,
                             l);
}

static void on_accept(struct kb_conn *conn, const char *peer_host, uint16_t peer_port, void *arg)
{
    struct node *n = arg;
    (void)peer_host;
    (void)peer_port;
    if (n->links_stopped) {
        kb_conn_close(conn);
        return;
    }
    struct node_link *l = link_new(n, NODE_CONTROL, false);
    l->state = NODE_LINK_HELLO;
    l->conn = conn;
    LIST_INSERT_HEAD(&n->accepted_links, l, accepted_links);
    kb_conn_set_handler(conn, &link_handler, l);
}

/* ---- the clock
 * ------------------------------------------------------------------------------------- */

void node_link_ping(struct node_link *l, uint64_t sequence)
{
    Kvorum__PeerMessage m = KVORUM__PEER_MESSAGE__INIT;
    Kvorum__Ping body = KVORUM__PING__INIT;
    m.body_case = KVORUM__PEER_MESSAGE__BODY_PING;
    m.ping = &body;
    body.has_sequence = sequence != 0;
    body.sequence = sequence;
    body.has_leader_id = 1;
    body.leader_id = node_quorum_leader_id(l->node);
    node_link_send(l, &m, NULL);
}

void node_links_take_ping(struct node *n, const struct node_message *msg)
{
    Kvorum__PeerMessage m = KVORUM__PEER_MESSAGE__INIT;
    Kvorum__Ping body = KVORUM__PING__INIT;
    if (msg->m->ping->answer) {
        if (msg->m->ping->has_sequence)
            node_leader_proven(n, msg->peer, msg->m->ping->sequence);
        return;
    }
    m.body_case = KVORUM__PEER_MESSAGE__BODY_PING;
    m.ping = &body;
    body.has_answer = 1;
    body.answer = 1;
    body.has_sequence = msg->m->ping->has_sequence;
    body.sequence = msg->m->ping->sequence;
    body.has_leader_id = 1;
    body.leader_id = node_quorum_leader_id(n);
    node_link_send(msg->link, &m, NULL);
}

static void link_check(struct node_link *l, uint64_t now_ms)
{
    if (l->conn == NULL || l->state == NODE_LINK_CLOSED || l->state == NODE_LINK_CONNECTING)
        return;
    if (l->state == NODE_LINK_HELLO) {
        if (now_ms - l->opened_ms > HELLO_TIMEOUT_MS)
            link_close(l);
        return;
    }
    /* Only a hello tells of a cluster, and who waits for one takes no part in its founding. */
    if (l->dialled && l->node->config.observer && !node_identity_ready(l->node) &&
        now_ms - l->opened_ms > HELLO_AGAIN_MS) {
        link_close(l);
        return;
    }
    uint64_t since = l->heard_ms > l->owed_since_ms ? l->heard_ms : l->owed_since_ms;
    bool owes = l->purpose == NODE_CONTROL || l->calls.count > 0;
    if (owes && now_ms > since && now_ms - since > SILENT_LINK_MS)
        link_close(l);
}

void node_links_tick(struct node *n, uint64_t now_ms, uint64_t gap_ms)
{
    size_t cursor = 0;
    struct node_peer *p = NULL;
    struct node_link *l = NULL;
    bool pings = now_ms - n->pinged_ms >= PING_MS;
    while ((p = kb_map_next(&n->peers, &cursor, NULL)) != NULL) {
        if (gap_ms > 0 && p->heard_ms != 0)
            p->heard_ms += gap_ms;
        for (int purpose = 0; purpose < NODE_PURPOSE_COUNT_; purpose++) {
            l = p->dialled[purpose];
            if (l == NULL)
                continue;
            l->heard_ms += gap_ms;
            link_check(l, now_ms);
            if (pings && purpose == NODE_CONTROL && l->state == NODE_LINK_OPEN)
                node_link_ping(l, 0);
        }
    }
    LIST_FOREACH(l, &n->accepted_links, accepted_links)
    {
        l->heard_ms += gap_ms;
        if (l->polled_ms != 0)
            l->polled_ms += gap_ms;
        link_check(l, now_ms);
    }
    if (pings)
        n->pinged_ms = now_ms;
}

/* ---- start and stop
 * --------------------------------------------------------------------------------- */

int node_links_start(struct node *n, char **ret_reason)
{
    const struct node_listener_config *c = n->controller_listener;
    struct kb_conn_options options = link_options(n, NODE_CONTROL);
    int r = kb_env_listen(n->env, c->host, c->port, &options, on_accept, n, &n->peer_listener);
    if (r < 0) {
        *ret_reason = kb_asprintf("cannot listen on %s:%u for %s: %s", c->host, c->port, c->name,
                                  kb_err_text(r));
        return r;
    }
    for (size_t i = 0; i < n->config.voters_count; i++) {
        const struct node_voter_config *v = &n->config.voters[i];
        if (v->id != n->config.node_id)
            (void)node_peer_get(n, v->id, v->host, v->port);
    }
    return 0;
}

void node_links_stop(struct node *n)
{
    size_t cursor = 0;
    struct node_peer *p = NULL;
    struct node_link *l = NULL;
    n->links_stopped = true;
    n->peer_listener = kb_listener_close(n->peer_listener);
    while ((p = kb_map_next(&n->peers, &cursor, NULL)) != NULL) {
        for (int purpose = 0; purpose < NODE_PURPOSE_COUNT_; purpose++) {
            kb_timer_cancel(p->redial[purpose]);
            if (p->dialled[purpose] != NULL)
                link_close(p->dialled[purpose]);
        }
        kb_timer_cancel(p->grace);
    }
    LIST_FOREACH(l, &n->accepted_links, accepted_links)
    link_close(l);
}

/* Every call under way hears that there will be no answer; nothing is sent any more (node.freeing).
 */
void node_links_fail_calls(struct node *n)
{
    size_t cursor = 0;
    struct node_peer *p = NULL;
    struct node_link *l = NULL;
    while ((p = kb_map_next(&n->peers, &cursor, NULL)) != NULL) {
        for (int purpose = 0; purpose < NODE_PURPOSE_COUNT_; purpose++) {
            if (p->dialled[purpose] != NULL)
                fail_calls(p->dialled[purpose]);
        }
    }
    LIST_FOREACH(l, &n->accepted_links, accepted_links)
    fail_calls(l);
}

static void drop_link(struct node_link *l)
{
    node_replicate_link_free(l);
    link_free(l);
}

void node_links_free(struct node *n)
{
    size_t cursor = 0;
    struct node_peer *p = NULL;
    struct node_link *l = NULL;
    while ((l = LIST_FIRST(&n->accepted_links)) != NULL) {
        LIST_REMOVE(l, accepted_links);
        drop_link(l);
    }
    while ((p = kb_map_next(&n->peers, &cursor, NULL)) != NULL) {
        for (int purpose = 0; purpose < NODE_PURPOSE_COUNT_; purpose++) {
            if (p->dialled[purpose] != NULL)
                drop_link(p->dialled[purpose]);
            (void)kb_timer_free(p->redial[purpose]);
        }
        (void)kb_timer_free(p->grace);
        (void)kb_free(p->host);
        (void)kb_free(p);
    }
    kb_map_release(&n->peers);
    (void)kb_listener_close(n->peer_listener);
}
