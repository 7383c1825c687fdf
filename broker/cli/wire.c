/* A Kafka client: connections, versions, calls. Metadata is wire_metadata.c. */
#include "broker/cli/wire_private.h"

#include <errno.h>
#include <stdlib.h>

#include "proto/base/assert.h"
#include "proto/kafka/messages_table.h"

enum {
    RETRY_MS_FIRST = 20,
    RETRY_MS_MAX = 250,
    VERSIONS_TIMEOUT_MS = 2000,
    ANSWER_ARENA_BYTES = 256 << 20,
    CHECK_MS = 50,
};

/* Higher versions name topics by id, or coordinators in lists: nothing this client needs. Lower
 * ones of Metadata cannot say that no topic is to be created. */
static const struct {
    int16_t key, min, max;
} version_limits[] = {
    {KW_API_API_VERSIONS, 0, 0},  {KW_API_PRODUCE, 0, 12},     {KW_API_FETCH, 0, 12},
    {KW_API_METADATA, 4, 12},     {KW_API_LIST_OFFSETS, 0, 9}, {KW_API_FIND_COORDINATOR, 0, 3},
    {KW_API_OFFSET_COMMIT, 0, 9}, {KW_API_OFFSET_FETCH, 0, 7}, {KW_API_JOIN_GROUP, 0, 9},
};

static const struct kw_message *message_of(int16_t api_key, enum kw_message_kind kind)
{
    size_t count = 0;
    const struct kw_message *table = kw_message_table(&count);
    for (size_t i = 0; i < count; i++) {
        if (table[i].api_key == api_key && table[i].kind == kind)
            return &table[i];
    }
    KB_UNREACHABLE();
}

struct wire_peer *wire_peer_find(const struct cli_wire *w, int32_t id)
{
    struct wire_peer *p = NULL;
    LIST_FOREACH(p, &w->peers, entries)
    {
        if (p->id == id)
            return p;
    }
    return NULL;
}

/* ---- calls -------------------------------------------------------------------------------------
 */

static void call_end(struct wire_call *call, int result, const void *response)
{
    if (call->fn != NULL)
        call->fn(call->arg, result, response);
    (void)kb_free(call);
}

/* The connection is gone first, so that whoever is told may send elsewhere at once. */
static void peer_lost(struct wire_peer *p, int result)
{
    struct wire_calls calls = TAILQ_HEAD_INITIALIZER(calls);
    struct wire_call *call = NULL;
    TAILQ_CONCAT(&calls, &p->calls, entries);
    p->conn = cli_conn_free(p->conn);
    p->retry_ms = p->ready || p->retry_ms == 0 ? RETRY_MS_FIRST : p->retry_ms * 2;
    if (p->retry_ms > RETRY_MS_MAX)
        p->retry_ms = RETRY_MS_MAX;
    p->retry_at_ms = cli_now_ms() + p->retry_ms;
    p->ready = false;
    p->result = result;
    while ((call = TAILQ_FIRST(&calls)) != NULL) {
        TAILQ_REMOVE(&calls, call, entries);
        call_end(call, result, NULL);
    }
    cli_wire_poke(p->wire);
    cli_wire_poke_in(p->wire, p->retry_ms);
}

static void on_close(void *arg, int result)
{
    peer_lost(arg, result);
}

static void on_frame(void *arg, const uint8_t *data, size_t size)
{
    struct wire_peer *p = arg;
    struct wire_call *call = TAILQ_FIRST(&p->calls);
    struct kw_reader rd;
    struct kb_arena arena;
    int32_t correlation = -1;
    int r = -EPROTO;
    void *response = NULL;
    kb_arena_init(&arena, ANSWER_ARENA_BYTES);
    kw_reader_init(&rd, data, size);
    if (call != NULL) {
        const struct kw_message *m = message_of(call->api_key, KW_MESSAGE_RESPONSE);
        response = kb_arena_alloc(&arena, m->size);
        r = kw_response_header_read(&rd, call->api_key, call->version, &correlation);
        if (r == 0 && response != NULL)
            r = m->read(&rd, call->version, &arena, response);
    }
    if (r < 0 || response == NULL || correlation != call->correlation_id) {
        kb_arena_release(&arena);
        peer_lost(p, -EPROTO);
        return;
    }
    TAILQ_REMOVE(&p->calls, call, entries);
    p->wire->reached = true;
    call_end(call, 0, response);
    kb_arena_release(&arena);
    cli_wire_poke(p->wire);
}

static void send_call(struct wire_peer *p, int16_t api_key, int16_t version, const void *request,
                      uint64_t timeout_ms, cli_answer_fn *fn, void *arg)
{
    struct kb_chain chain = {0};
    struct kw_writer writer;
    struct kw_request_header header = {.api_key = api_key,
                                       .api_version = version,
                                       .correlation_id = ++p->wire->correlation,
                                       .client_id = KW_STR("kvorum")};
    kw_writer_init(&writer, &chain);
    kw_frame_begin(&writer);
    kw_request_header_write(&writer, &header);
    message_of(api_key, KW_MESSAGE_REQUEST)->write(&writer, version, request);
    kw_frame_end(&writer);
    int r = kw_writer_finish(&writer);
    KB_ASSERT(r == 0);
    cli_conn_send(p->conn, &chain);
    if (fn == NULL)
        return;
    struct wire_call *call = kb_new(struct wire_call);
    call->correlation_id = header.correlation_id;
    call->api_key = api_key;
    call->version = version;
    call->deadline_ms = cli_now_ms() + timeout_ms;
    call->fn = fn;
    call->arg = arg;
    TAILQ_INSERT_TAIL(&p->calls, call, entries);
    cli_timer_arm_sooner(p->wire->options.loop, &p->wire->check, CHECK_MS);
}

void cli_wire_send(struct cli_wire *w, int32_t broker, int16_t api_key, const void *request,
                   uint64_t timeout_ms, cli_answer_fn *fn, void *arg)
{
    struct wire_peer *p = wire_peer_find(w, broker);
    KB_ASSERT(p != NULL && p->ready);
    int16_t version = cli_wire_version(w, broker, api_key);
    KB_ASSERT(version >= 0);
    send_call(p, api_key, version, request, timeout_ms, fn, arg);
}

void cli_wire_forget(struct cli_wire *w, const void *arg)
{
    struct wire_peer *p = NULL;
    struct wire_call *call = NULL;
    LIST_FOREACH(p, &w->peers, entries)
    {
        TAILQ_FOREACH(call, &p->calls, entries)
        {
            if (call->arg == arg)
                call->fn = NULL;
        }
    }
}

size_t cli_wire_unsent(const struct cli_wire *w, int32_t broker)
{
    const struct wire_peer *p = wire_peer_find(w, broker);
    return p != NULL && p->conn != NULL ? cli_conn_unsent(p->conn) : 0;
}

size_t cli_wire_unsent_all(const struct cli_wire *w)
{
    const struct wire_peer *p = NULL;
    size_t bytes = 0;
    LIST_FOREACH(p, &w->peers, entries)
    bytes += p->conn != NULL ? cli_conn_unsent(p->conn) : 0;
    return bytes;
}

/* Answers that are overdue. */
static void on_check(void *arg)
{
    struct cli_wire *w = arg;
    struct wire_peer *p = NULL;
    uint64_t now_ms = cli_now_ms();
    bool waits = false;
    LIST_FOREACH(p, &w->peers, entries)
    {
        struct wire_call *call = NULL;
        bool late = false;
        TAILQ_FOREACH(call, &p->calls, entries)
        late |= call->deadline_ms <= now_ms;
        if (late)
            peer_lost(p, -ETIMEDOUT);
        waits |= !TAILQ_EMPTY(&p->calls);
    }
    if (waits)
        cli_timer_arm_sooner(w->options.loop, &w->check, CHECK_MS);
}

/* ---- connections -------------------------------------------------------------------------------
 */

/* What produce and consume ask without asking first whether it is there; every Kafka has them. */
static const int16_t apis_needed[] = {
    KW_API_PRODUCE,       KW_API_FETCH,        KW_API_LIST_OFFSETS,     KW_API_METADATA,
    KW_API_OFFSET_COMMIT, KW_API_OFFSET_FETCH, KW_API_FIND_COORDINATOR, KW_API_JOIN_GROUP,
    KW_API_HEARTBEAT,     KW_API_LEAVE_GROUP,  KW_API_SYNC_GROUP};

static bool speaks_enough(const struct wire_peer *p)
{
    for (size_t i = 0; i < sizeof(apis_needed) / sizeof(apis_needed[0]); i++) {
        if (cli_wire_version(p->wire, p->id, apis_needed[i]) < 0)
            return false;
    }
    return true;
}

static void on_versions(void *arg, int result, const void *response)
{
    struct wire_peer *p = arg;
    const struct kw_api_versions_response *r = response;
    if (result < 0)
        return;
    p->versions_count = 0;
    for (int32_t i = 0; i < r->api_keys_count && p->versions_count < WIRE_APIS_MAX; i++)
        p->versions[p->versions_count++] = (struct wire_version){
            r->api_keys[i].api_key, r->api_keys[i].min_version, r->api_keys[i].max_version};
    if (!speaks_enough(p)) {
        peer_lost(p, -EPROTO);
        return;
    }
    p->ready = true;
    p->retry_ms = 0;
    p->result = 0;
}

static void on_open(void *arg)
{
    struct wire_peer *p = arg;
    struct kw_api_versions_request rq;
    kw_api_versions_request_init(&rq);
    send_call(p, KW_API_API_VERSIONS, 0, &rq, VERSIONS_TIMEOUT_MS, on_versions, p);
}

static const struct cli_conn_handler conn_handler = {
    .on_open = on_open, .on_frame = on_frame, .on_close = on_close};

static void peer_connect(struct wire_peer *p)
{
    uint64_t now_ms = cli_now_ms();
    if (p->conn == NULL && now_ms < p->retry_at_ms)
        cli_wire_poke_in(p->wire, p->retry_at_ms - now_ms);
    if (p->conn != NULL || now_ms < p->retry_at_ms)
        return;
    p->conn = cli_conn_new(p->wire->options.loop, p->host, p->port,
                           p->wire->options.connect_timeout_ms, &conn_handler, p);
}

bool cli_wire_ready(struct cli_wire *w, int32_t broker)
{
    struct wire_peer *p = wire_peer_find(w, broker);
    if (p == NULL)
        return false;
    if (!p->ready)
        peer_connect(p);
    return p->ready;
}

static bool is_idler(const struct wire_peer *a, const struct wire_peer *b)
{
    bool busy_a = !TAILQ_EMPTY(&a->calls);
    bool busy_b = !TAILQ_EMPTY(&b->calls);
    return busy_a != busy_b ? busy_b : a->asked < b->asked;
}

int32_t cli_wire_any(struct cli_wire *w)
{
    struct wire_peer *p = NULL;
    const struct wire_peer *best = NULL;
    LIST_FOREACH(p, &w->peers, entries)
    {
        /* One with nothing under way first: answers come in order, and a fetch waits. */
        if (p->ready && (best == NULL || is_idler(p, best)))
            best = p;
    }
    if (best == NULL) {
        LIST_FOREACH(p, &w->peers, entries)
        peer_connect(p);
        return -1;
    }
    return best->id;
}

int16_t cli_wire_version(const struct cli_wire *w, int32_t broker, int16_t api_key)
{
    const struct wire_peer *p = wire_peer_find(w, broker);
    const struct kw_api *api = kw_api_find(api_key);
    KB_ASSERT(api != NULL);
    int16_t min = api->version_min;
    int16_t max = api->version_max;
    for (size_t i = 0; i < sizeof(version_limits) / sizeof(version_limits[0]); i++) {
        if (version_limits[i].key != api_key)
            continue;
        min = version_limits[i].min > min ? version_limits[i].min : min;
        max = version_limits[i].max < max ? version_limits[i].max : max;
    }
    for (size_t i = 0; p != NULL && i < p->versions_count; i++) {
        const struct wire_version *v = &p->versions[i];
        if (v->key != api_key)
            continue;
        max = v->max < max ? v->max : max;
        return max >= v->min && max >= min ? max : -1;
    }
    return -1;
}

struct wire_peer *wire_peer_add(struct cli_wire *w, int32_t id, const char *host, uint16_t port)
{
    struct wire_peer *p = wire_peer_find(w, id);
    if (p != NULL && strcmp(p->host, host) == 0 && p->port == port)
        return p;
    if (p == NULL) {
        p = kb_new(struct wire_peer);
        p->wire = w;
        p->id = id;
        TAILQ_INIT(&p->calls);
        LIST_INSERT_HEAD(&w->peers, p, entries);
    } else if (p->conn != NULL) {
        peer_lost(p, -ECONNRESET); /* it has moved */
    }
    (void)kb_free(p->host);
    p->host = kb_strdup(host);
    p->port = port;
    p->retry_at_ms = 0;
    return p;
}

bool cli_wire_reached(const struct cli_wire *w)
{
    return w->reached;
}

void cli_wire_tell_unreachable(const struct cli_wire *w)
{
    struct kb_buf text = {0};
    const struct wire_peer *p = NULL;
    LIST_FOREACH(p, &w->peers, entries)
    {
        kb_buf_printf(&text, "%s%s:%u %s", text.size > 0 ? ", " : "", p->host, p->port,
                      cli_result_text(p->result != 0 ? p->result : -ETIMEDOUT));
    }
    cli_error("cannot reach any node: %.*s. Is the cluster up?", (int)text.size,
              (const char *)text.data);
    kb_buf_release(&text);
}

/* ---- life --------------------------------------------------------------------------------------
 */

static void on_poke(void *arg)
{
    struct cli_wire *w = arg;
    wire_metadata_pump(w);
    w->options.on_change(w->options.arg);
}

void cli_wire_poke(struct cli_wire *w)
{
    cli_timer_arm(w->options.loop, &w->poke, 0);
}

void cli_wire_poke_in(struct cli_wire *w, uint64_t ms)
{
    cli_timer_arm_sooner(w->options.loop, &w->poke, ms);
}

struct cli_wire *cli_wire_new(const struct cli_wire_options *options)
{
    struct cli_wire *w = kb_new(struct cli_wire);
    const char *at = options->bootstrap;
    int32_t id = WIRE_BOOTSTRAP_ID;
    w->options = *options;
    w->poke = (struct cli_timer){.fn = on_poke, .arg = w};
    w->check = (struct cli_timer){.fn = on_check, .arg = w};
    LIST_INIT(&w->peers);
    while (*at != '\0') {
        size_t size = strcspn(at, ",");
        char *host = NULL;
        uint16_t port = 0;
        if (cli_address_parse(at, size, &host, &port) < 0) {
            cli_error("\"%.*s\" is not HOST:PORT", (int)size, at);
            return cli_wire_free(w);
        }
        (void)wire_peer_add(w, id--, host, port);
        (void)kb_free(host);
        at += size + (at[size] == ',');
    }
    cli_wire_poke(w);
    return w;
}

struct cli_wire *cli_wire_free(struct cli_wire *w)
{
    struct wire_peer *p = NULL;
    struct wire_call *call = NULL;
    if (w == NULL)
        return NULL;
    while ((p = LIST_FIRST(&w->peers)) != NULL) {
        LIST_REMOVE(p, entries);
        while ((call = TAILQ_FIRST(&p->calls)) != NULL) {
            TAILQ_REMOVE(&p->calls, call, entries);
            call_end(call, -ECANCELED, NULL);
        }
        (void)cli_conn_free(p->conn);
        (void)kb_free(p->host);
        (void)kb_free(p);
    }
    cli_timer_cancel(&w->poke);
    cli_timer_cancel(&w->check);
    wire_metadata_free(w);
    return kb_free(w);
}
