/* Kafka connections: one request in work per connection, looked up in the API table, answered in
 * order. */
#include <stdio.h>

#include "broker/node/node_internal.h"

enum {
    SEND_HIGH_BYTES = 1 << 20,
    REQUEST_ARENA_BYTES = 64 << 20, /* and an eighth of the memory limit */
    FORWARD_TIMEOUT_MS = 10000,
    FORWARD_RETRY_MS = 50,
    FORWARDS_MAX = 1000,
    EXPIRE_MAX = 64, /* idle connections closed in one go */
};

struct node_client {
    struct node *node;
    struct node_listener *listener;
    struct kb_conn *conn;
    struct node_request *request; /* in work; NULL = idle */
    char host[64];
    uint64_t active_ms;    /* last frame, answer, or look at what is still to be sent */
    uint64_t queued_bytes; /* at that look */
    TAILQ_ENTRY(node_client) entries;
};

/* A request that belongs to the active controller, on its way there and back (rule 6.11). */
struct forward {
    struct node_request *rq; /* NULL: its client is gone */
    struct node *node;
    struct kb_block *answer; /* waits until its index is applied here */
    struct kb_view payload;
    bool sent;
    uint64_t deadline_ms;
    uint64_t retry_ms;
    TAILQ_ENTRY(forward) entries;
};

struct node_client_table {
    struct node *node;
    struct node_listener *listeners;
    size_t listeners_count;
    TAILQ_HEAD(, node_client) clients; /* longest idle first */
    size_t clients_count;
    TAILQ_HEAD(, forward) forwards;
    size_t forwards_count;
    struct kb_timer *forward_timer;
    bool stopped;
    struct kb_log_rate rate;
};

/* ---- answering
 * ----------------------------------------------------------------------------------------- */

struct node_forwarded_answer {
    node_forwarded_fn *fn;
    void *arg;
};

/* Whoever forwarded it hears of its end, with a frame or without. */
static void answer_forwarder(struct node_request *rq, struct kb_chain *frame)
{
    struct node_forwarded_answer *f = rq->forward_;
    if (f == NULL)
        return;
    rq->forward_ = NULL;
    f->fn(f->arg, frame, frame != NULL ? rq->commit_index : 0);
    (void)kb_free(f);
}

void node_request_free(struct node_request *rq)
{
    answer_forwarder(rq, NULL);
    if (rq->client != NULL)
        rq->client->request = NULL;
    (void)kb_block_unref(rq->frame);
    kb_arena_release(&rq->arena);
    (void)kb_free(rq);
}

static void client_active(struct node_client *c)
{
    struct node_client_table *t = c->node->clients;
    c->active_ms = node_now(c->node);
    TAILQ_REMOVE(&t->clients, c, entries);
    TAILQ_INSERT_TAIL(&t->clients, c, entries);
}

static void request_end(struct node_request *rq)
{
    struct node_client *c = rq->client;
    node_request_free(rq);
    if (c != NULL)
        client_active(c);
    /* Who does not read the answers is not asked for more questions: on_drain goes on. */
    if (c != NULL && c->conn != NULL && !c->node->freeing && !kb_conn_congested(c->conn))
        kb_conn_resume(c->conn);
}

static void send_frame(struct node_request *rq, struct kb_chain *frame)
{
    if (rq->forward_ != NULL)
        answer_forwarder(rq, frame);
    else if (rq->client != NULL && rq->client->conn != NULL && !rq->node->freeing)
        kb_conn_send(rq->client->conn, frame);
    kb_chain_release(frame);
    request_end(rq);
}

void node_request_reply(struct node_request *rq, node_body_write_fn *encode, const void *body)
{
    struct kb_chain frame = {0};
    struct kw_writer w;
    kw_writer_init(&w, &frame);
    kw_frame_begin(&w);
    kw_response_header_write(&w, rq->header.api_key, rq->header.api_version,
                             rq->header.correlation_id);
    encode(&w, rq->header.api_version, body);
    kw_frame_end(&w);
    int r = kw_writer_finish(&w);
    if (r < 0) {
        kb_log_error("client", "event=answer_not_encodable api=%d version=%d error=%s",
                     rq->header.api_key, rq->header.api_version, kb_err_name(r));
        node_request_reject(rq, "its answer cannot be encoded");
        return;
    }
    send_frame(rq, &frame);
}

void node_request_done(struct node_request *rq)
{
    request_end(rq);
}

void node_request_reject(struct node_request *rq, const char *why)
{
    struct node *n = rq->node;
    struct node_client *c = rq->client;
    n->counters.requests_rejected++;
    kb_log_rate_warn(&n->clients->rate, node_now(n), "client",
                     "event=request_rejected host=%s api=%d version=%d why=\"%s\"", rq->client_host,
                     rq->header.api_key, rq->header.api_version, why);
    node_request_free(rq);
    if (c != NULL && c->conn != NULL && !n->freeing)
        kb_conn_close(c->conn);
}

static const struct node_api *find_api(const struct node *n, int16_t key)
{
    for (size_t i = 0; i < n->config.apis_count; i++) {
        if (n->config.apis[i].key == key)
            return &n->config.apis[i];
    }
    return NULL;
}

/* ---- forwarding to the controller
 * ------------------------------------------------------------------------ */

static void forward_free(struct forward *f)
{
    struct node_client_table *t = f->node->clients;
    TAILQ_REMOVE(&t->forwards, f, entries);
    t->forwards_count--;
    node_quorum_forget(f->node, f);
    (void)kb_block_unref(f->answer);
    (void)kb_free(f);
}

static void forward_cancel(struct node_request *rq)
{
    struct forward *f = rq->op;
    f->rq = NULL; /* an answer under way is dropped when it comes */
    if (!f->sent)
        forward_free(f);
    node_request_free(rq);
}

/* The controller's answer is a whole response frame: only the correlation id is ours already. */
static void forward_deliver(void *arg, int result)
{
    struct forward *f = arg;
    struct node_request *rq = f->rq;
    struct kb_chain frame = {0};
    if (rq != NULL && result == 0 && f->answer != NULL) {
        kb_chain_add_block(&frame, f->answer, (size_t)(f->payload.data - f->answer->data),
                           f->payload.size);
        f->rq = NULL;
        forward_free(f);
        rq->op = NULL;
        send_frame(rq, &frame);
        return;
    }
    f->rq = NULL;
    forward_free(f);
    if (rq == NULL)
        return;
    rq->op = NULL;
    rq->cancel = NULL;
    const struct node_api *api = find_api(rq->node, rq->header.api_key);
    if (api->fail != NULL && !rq->node->freeing)
        api->fail(rq, KW_REQUEST_TIMED_OUT,
                  "metadata changes are stopped: no majority of the controllers is up. Partitions "
                  "that have a leader still serve");
    else
        node_request_reject(rq, "no controller answered in time");
}

static void forward_try(struct forward *f);

static void on_forward_answer(void *arg, const Kvorum__PeerMessage *answer, struct kb_block *frame,
                              struct kb_view payload)
{
    struct forward *f = arg;
    struct node *n = f->node;
    f->sent = false;
    if (n->freeing)
        return;
    if (f->rq == NULL) {
        forward_free(f);
        return;
    }
    bool good = answer != NULL &&
                answer->body_case == KVORUM__PEER_MESSAGE__BODY_FORWARD_RESPONSE &&
                answer->forward_response->error == KW_NONE && payload.size > 4;
    if (!good) {
        f->retry_ms = node_now(n) + FORWARD_RETRY_MS;
        kb_timer_arm(n->clients->forward_timer, FORWARD_RETRY_MS);
        return;
    }
    f->answer = kb_block_ref(frame);
    f->payload = payload;
    node_quorum_wait_applied(n, answer->forward_response->index, FORWARD_TIMEOUT_MS,
                             forward_deliver, f);
}

static void forward_try(struct forward *f)
{
    struct node *n = f->node;
    Kvorum__PeerMessage m = KVORUM__PEER_MESSAGE__INIT;
    Kvorum__ForwardRequest q = KVORUM__FORWARD_REQUEST__INIT;
    struct kb_chain payload = {0};
    if (node_quorum_is_leader(n) && node_controller_get(n) != NULL) {
        struct node_request *rq = f->rq;
        f->rq = NULL;
        forward_free(f);
        rq->op = NULL;
        rq->cancel = NULL;
        node_request_dispatch(rq);
        return;
    }
    m.body_case = KVORUM__PEER_MESSAGE__BODY_FORWARD_REQUEST;
    m.forward_request = &q;
    q.client_host = f->rq->client_host;
    q.listener = (char *)(uintptr_t)f->rq->listener_name;
    kb_chain_add_block(&payload, f->rq->frame, 0, f->rq->frame->size);
    f->sent = true;
    if (node_quorum_leader_id(n) == n->config.node_id ||
        node_controller_call(n, &m, &payload, on_forward_answer, f) < 0) {
        kb_chain_release(&payload);
        f->sent = false;
        f->retry_ms = node_now(n) + FORWARD_RETRY_MS;
        kb_timer_arm(n->clients->forward_timer, FORWARD_RETRY_MS);
    }
}

static void on_forward_timer(void *arg)
{
    struct node_client_table *t = arg;
    struct forward *f = NULL;
    struct forward *next = NULL;
    uint64_t now_ms = node_now(t->node);
    TAILQ_FOREACH_SAFE(f, &t->forwards, entries, next)
    {
        if (f->sent || f->answer != NULL || f->rq == NULL)
            continue;
        if (now_ms >= f->deadline_ms)
            forward_deliver(f, -KB_ETIMEDOUT);
        else if (now_ms >= f->retry_ms)
            forward_try(f);
    }
}

static void forward_start(struct node_request *rq)
{
    struct node *n = rq->node;
    struct node_client_table *t = n->clients;
    if (t->forwards_count >= FORWARDS_MAX) {
        node_request_reject(rq, "too many requests wait for the controller");
        return;
    }
    struct forward *f = kb_new(struct forward);
    f->node = n;
    f->rq = rq;
    f->deadline_ms = rq->received_us / 1000 + FORWARD_TIMEOUT_MS;
    rq->op = f;
    rq->cancel = forward_cancel;
    TAILQ_INSERT_TAIL(&t->forwards, f, entries);
    t->forwards_count++;
    if (node_quorum_is_leader(n) && node_controller_get(n) != NULL) {
        /* Our own controller has just refused it: in transfer, or too much is uncommitted. */
        f->retry_ms = node_now(n) + FORWARD_RETRY_MS;
        kb_timer_arm(t->forward_timer, FORWARD_RETRY_MS);
    } else {
        forward_try(f);
    }
}

/* ---- dispatch
 * --------------------------------------------------------------------------------------------------
 */

void node_request_retry_later(struct node_request *rq)
{
    rq->op = NULL;
    rq->cancel = NULL;
    if (rq->forward_ == NULL)
        forward_start(rq);
    else
        node_request_free(rq); /* it was forwarded to us: the sender looks for the leader */
}

void node_request_dispatch(struct node_request *rq)
{
    struct node *n = rq->node;
    const struct node_api *api = find_api(n, rq->header.api_key);
    if (api == NULL) {
        node_request_reject(rq, "unknown api key");
        return;
    }
    bool listed = rq->header.api_version >= api->version_min &&
                  rq->header.api_version <= api->version_max;
    if (!listed && api->key != KW_API_API_VERSIONS) {
        node_request_reject(rq, "unsupported version");
        return;
    }
    if (api->forward && !node_quorum_is_leader(n)) {
        node_request_retry_later(rq);
        return;
    }
    api->handle(rq);
}

static struct node_request *request_new(struct node *n, struct kb_block *frame,
                                        struct kb_view bytes, const char *host,
                                        const char *listener)
{
    struct node_request *rq = kb_new(struct node_request);
    struct kw_reader rd;
    rq->node = n;
    rq->frame = kb_block_ref(frame);
    rq->listener_name = listener;
    rq->received_us = kb_env_now_us(n->env);
    (void)snprintf(rq->client_host, sizeof(rq->client_host), "%s", host != NULL ? host : "");
    uint64_t arena_bytes = n->config.memory_max_bytes / 8;
    kb_arena_init(&rq->arena,
                  arena_bytes < REQUEST_ARENA_BYTES ? (size_t)arena_bytes : REQUEST_ARENA_BYTES);
    rq->arena.budget = &n->answer_budget;
    kw_reader_init(&rd, bytes.data, bytes.size);
    if (kw_request_header_read(&rd, &rq->header) < 0)
        rq->header.api_key = -1;
    rq->body = kb_view_of(rd.next, kw_reader_left(&rd));
    n->counters.requests++;
    return rq;
}

static void on_frame(struct kb_conn *conn, void *user, struct kb_block *frame)
{
    struct node_client *c = user;
    KB_ASSERT(c->request == NULL);
    client_active(c);
    struct node_request *rq = request_new(c->node, frame, kb_view_of(frame->data, frame->size),
                                          c->host, c->listener->config->name);
    rq->client = c;
    rq->listener = c->listener;
    c->request = rq;
    kb_conn_pause(conn);
    if (rq->header.api_key < 0)
        node_request_reject(rq, "malformed request header");
    else
        node_request_dispatch(rq);
}

void node_clients_forwarded(struct node *n, struct kb_block *frame, struct kb_view body,
                            const char *client_host, const char *listener, node_forwarded_fn *fn,
                            void *arg)
{
    struct node_forwarded_answer *f = kb_new(struct node_forwarded_answer);
    const char *name = NULL;
    f->fn = fn;
    f->arg = arg;
    for (size_t i = 0; i < n->config.listeners_count; i++) {
        if (listener != NULL && strcmp(n->config.listeners[i].name, listener) == 0)
            name = n->config.listeners[i].name;
    }
    struct node_request *rq = request_new(n, frame, body, client_host, name);
    const struct node_api *api = find_api(n, rq->header.api_key);
    rq->forward_ = f;
    if (api == NULL || !api->forward)
        node_request_reject(rq, "not a request for the controller");
    else
        node_request_dispatch(rq);
}

/* ---- connections
 * ---------------------------------------------------------------------------------------------------
 */

static void client_free(struct node_client *c)
{
    TAILQ_REMOVE(&c->node->clients->clients, c, entries);
    c->node->clients->clients_count--;
    (void)kb_free(c);
}

static void on_close(struct kb_conn *conn, void *user, enum kb_close_reason reason)
{
    struct node_client *c = user;
    struct node *n = c->node;
    struct node_request *rq = c->request;
    (void)conn;
    if (reason == KB_CLOSE_BAD_FRAME) {
        n->counters.requests_rejected++;
        kb_log_rate_warn(&n->clients->rate, node_now(n), "client",
                         "event=bad_frame host=%s why=\"size out of bounds\"", c->host);
    }
    c->conn = NULL;
    c->request = NULL;
    client_free(c);
    if (rq == NULL)
        return;
    rq->client = NULL;
    if (rq->cancel != NULL)
        rq->cancel(rq);
    /* Otherwise its handler will answer into the void and free it. */
}

static void on_drain(struct kb_conn *conn, void *user)
{
    struct node_client *c = user;
    if (c->request == NULL)
        kb_conn_resume(conn);
}

static const struct kb_conn_handler client_handler = {
    .on_frame = on_frame,
    .on_drain = on_drain,
    .on_close = on_close,
};

static void on_accept(struct kb_conn *conn, const char *peer_host, uint16_t peer_port, void *arg)
{
    struct node_listener *l = arg;
    struct node_client_table *t = l->node->clients;
    (void)peer_port;
    if (t->stopped || t->clients_count >= l->node->config.connections_max) {
        kb_log_rate_warn(&t->rate, node_now(l->node), "client",
                         "event=connection_refused host=%s open=%zu", peer_host, t->clients_count);
        kb_conn_close(conn);
        return;
    }
    struct node_client *c = kb_new(struct node_client);
    c->node = l->node;
    c->listener = l;
    c->conn = conn;
    (void)snprintf(c->host, sizeof(c->host), "%s", peer_host);
    c->active_ms = node_now(l->node);
    TAILQ_INSERT_TAIL(&t->clients, c, entries);
    t->clients_count++;
    kb_conn_set_handler(conn, &client_handler, c);
}

/* connections.max.idle.ms. Who waits for an answer, or still reads one, is not idle. */
void node_clients_expire(struct node *n, uint64_t now_ms)
{
    struct node_client_table *t = n->clients;
    struct node_client *c = NULL;
    for (int i = 0; t != NULL && n->config.connections_idle_ms > 0 && i < EXPIRE_MAX; i++) {
        c = TAILQ_FIRST(&t->clients);
        if (c == NULL || now_ms < c->active_ms + n->config.connections_idle_ms)
            return;
        uint64_t queued = c->conn != NULL ? kb_conn_queued_bytes(c->conn) : 0;
        bool reads = queued > 0 && queued != c->queued_bytes;
        c->queued_bytes = queued;
        client_active(c);
        if (c->request == NULL && !reads && c->conn != NULL)
            kb_conn_close(c->conn);
    }
}

int node_clients_start(struct node *n, char **ret_reason)
{
    struct node_client_table *t = kb_new(struct node_client_table);
    t->node = n;
    TAILQ_INIT(&t->clients);
    TAILQ_INIT(&t->forwards);
    n->clients = t;
    t->forward_timer = kb_timer_new(n->env, on_forward_timer, t);
    t->listeners = kb_new_array(struct node_listener, n->config.listeners_count);
    for (size_t i = 0; i < n->config.listeners_count; i++) {
        const struct node_listener_config *config = &n->config.listeners[i];
        struct kb_conn_options options = {
            .frame_bytes_max = n->config.request_bytes_max,
            .send_high_bytes = SEND_HIGH_BYTES,
            .budget = &n->client_budget,
            .answers = &n->answer_budget,
        };
        if (config->controller)
            continue;
        struct node_listener *l = &t->listeners[t->listeners_count++];
        l->node = n;
        l->config = config;
        int r = kb_env_listen(n->env, config->host, config->port, &options, on_accept, l,
                              &l->listener);
        if (r < 0) {
            *ret_reason = kb_asprintf("cannot listen on %s:%u for %s: %s", config->host,
                                      config->port, config->name, kb_err_text(r));
            return r;
        }
    }
    return 0;
}

void node_clients_stop(struct node *n)
{
    struct node_client_table *t = n->clients;
    struct node_client *c = NULL;
    t->stopped = true;
    for (size_t i = 0; i < t->listeners_count; i++)
        t->listeners[i].listener = kb_listener_close(t->listeners[i].listener);
    TAILQ_FOREACH(c, &t->clients, entries)
    {
        if (c->conn != NULL)
            kb_conn_close_after_send(c->conn);
    }
}

void node_clients_free(struct node *n)
{
    struct node_client_table *t = n->clients;
    struct node_client *c = NULL;
    if (t == NULL)
        return;
    while ((c = TAILQ_FIRST(&t->clients)) != NULL) {
        struct node_request *rq = c->request;
        c->conn = NULL;
        c->request = NULL;
        client_free(c);
        if (rq == NULL)
            continue;
        rq->client = NULL;
        if (rq->cancel != NULL)
            rq->cancel(rq);
    }
    while (!TAILQ_EMPTY(&t->forwards))
        forward_free(TAILQ_FIRST(&t->forwards));
    for (size_t i = 0; i < t->listeners_count; i++)
        (void)kb_listener_close(t->listeners[i].listener);
    (void)kb_timer_free(t->forward_timer);
    (void)kb_free(t->listeners);
    n->clients = kb_free(t);
}
