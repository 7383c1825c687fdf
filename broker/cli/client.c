/* A Kafka client: connections by node, versions, calls side by side. */
#include "broker/cli/client.h"

#include <errno.h>
#include <poll.h>
#include <unistd.h>

#include "proto/kafka/messages_table.h"

enum { LINKS_MAX = 512, REFRESH_TRIES_MAX = 3 };

/* ---- links ------------------------------------------------------------------------------------
 */

static size_t add_link(struct cli_client *c, const char *host, uint16_t port, int32_t id)
{
    size_t at = c->links_count_;
    kb_array_reserve(c->links_, c->links_count_, c->links_capacity_);
    c->links_[c->links_count_++] = (struct cli_link){
        .host = kb_strdup(host), .port = port, .id = id, .fd = -1, .result = -ENOTCONN};
    return at;
}

int cli_client_init(struct cli_client *c, const struct cli_args *args)
{
    const char *at = args->bootstrap;
    *c = (struct cli_client){.args = args};
    c->deadline_ms = cli_now_ms() + (uint64_t)args->timeout_ms;
    kb_arena_init(&c->metadata_arena_, CLI_ARENA_BYTES);
    while (*at != '\0') {
        size_t size = strcspn(at, ",");
        char *host = NULL;
        uint16_t port = 0;
        if (cli_address_parse(at, size, &host, &port) < 0) {
            cli_error("\"%.*s\" is not HOST:PORT", (int)size, at);
            return CLI_USAGE;
        }
        if (c->links_count_ < LINKS_MAX)
            (void)add_link(c, host, port, -1);
        (void)kb_free(host);
        at += size + (at[size] == ',');
    }
    if (c->links_count_ == 0) {
        cli_error("the list of brokers is empty");
        return CLI_USAGE;
    }
    return CLI_OK;
}

static void close_link(struct cli_link *l, int result)
{
    if (l->fd >= 0)
        (void)close(l->fd);
    l->fd = -1;
    l->result = result;
}

void cli_client_release(struct cli_client *c)
{
    for (size_t i = 0; i < c->links_count_; i++) {
        close_link(&c->links_[i], -ENOTCONN);
        (void)kb_free(c->links_[i].host);
    }
    (void)kb_free(c->links_);
    kb_arena_release(&c->metadata_arena_);
    *c = (struct cli_client){0};
}

static size_t find_link(const struct cli_client *c, int32_t id)
{
    size_t i = 0;
    while (i < c->links_count_ && c->links_[i].id != id)
        i++;
    return i;
}

/* ---- frames -----------------------------------------------------------------------------------
 */

static const struct kw_message *message_of(int16_t api_key, enum kw_message_kind kind)
{
    size_t count = 0;
    const struct kw_message *all = kw_message_table(&count);
    for (size_t i = 0; i < count; i++) {
        if (all[i].api_key == api_key && all[i].kind == kind)
            return &all[i];
    }
    return NULL;
}

static int encode(int16_t api_key, int16_t version, const void *request, struct kb_buf *ret)
{
    struct kw_request_header header = {.api_key = api_key,
                                       .api_version = version,
                                       .correlation_id = api_key,
                                       .client_id = KW_STR("kvorum-cli")};
    struct kb_chain chain = {0};
    struct kw_writer w;
    kw_writer_init(&w, &chain);
    kw_frame_begin(&w);
    kw_request_header_write(&w, &header);
    message_of(api_key, KW_MESSAGE_REQUEST)->write(&w, version, request);
    kw_frame_end(&w);
    if (kw_writer_finish(&w) < 0) {
        kb_chain_release(&chain);
        return -EPROTONOSUPPORT;
    }
    for (size_t i = 0; i < chain.count; i++)
        kb_buf_append(ret, chain.slices[i].block->data + chain.slices[i].position,
                      chain.slices[i].size);
    kb_chain_release(&chain);
    return 0;
}

/* in: a whole frame. The response's strings point into a copy in the arena. */
static int decode(int16_t api_key, int16_t version, const struct kb_buf *in, struct kb_arena *arena,
                  void **ret_response)
{
    const struct kw_message *m = message_of(api_key, KW_MESSAGE_RESPONSE);
    uint8_t *frame = kb_arena_memdup(arena, in->data + 4, in->size - 4);
    void *response = kb_arena_alloc(arena, m->size);
    struct kw_reader rd;
    int32_t correlation_id = 0;
    if (frame == NULL || response == NULL)
        return -ENOMEM;
    kw_reader_init(&rd, frame, in->size - 4);
    if (kw_response_header_read(&rd, api_key, version, &correlation_id) < 0 ||
        correlation_id != api_key)
        return -EPROTO;
    m->init(response);
    if (m->read(&rd, version, arena, response) < 0)
        return arena->failed ? -ENOMEM : -EPROTO;
    *ret_response = response;
    return 0;
}

/* ---- connecting -------------------------------------------------------------------------------
 */

struct opening {
    struct cli_client *client;
    struct cli_calls calls;
    bool race; /* the first is enough */
};

static void keep_versions(struct cli_link *l, const struct kw_api_versions_response *r)
{
    for (size_t i = 0; i < CLI_API_KEYS; i++)
        l->version_max[i] = -1;
    for (int32_t i = 0; i < r->api_keys_count; i++) {
        int16_t key = r->api_keys[i].api_key;
        if (key < 0 || key >= CLI_API_KEYS)
            continue;
        l->version_min[key] = r->api_keys[i].min_version;
        l->version_max[key] = r->api_keys[i].max_version;
    }
}

static void on_open(void *arg, struct cli_call *call)
{
    struct opening *o = arg;
    struct cli_link *l = &o->client->links_[(size_t)call->tag];
    struct kb_arena arena;
    void *response = NULL;
    int result = call->result;
    kb_arena_init(&arena, 1 << 20);
    if (result == 0)
        result = decode(KW_API_API_VERSIONS, 0, &call->in, &arena, &response);
    const struct kw_api_versions_response *r = response;
    if (result == 0 && r->error_code != KW_NONE)
        result = -EPROTO;
    l->result = result;
    if (result == 0) {
        keep_versions(l, r);
        l->fd = call->fd;
        call->fd = -1;
        o->calls.stop |= o->race;
    }
    kb_arena_release(&arena);
}

static void begin_open(struct opening *o, size_t link)
{
    struct kw_api_versions_request request;
    struct kb_buf frame = {0};
    const struct cli_link *l = &o->client->links_[link];
    kw_api_versions_request_init(&request);
    (void)encode(KW_API_API_VERSIONS, 0, &request, &frame);
    cli_calls_add(&o->calls, l->host, l->port, -1, &frame)->tag = link;
}

static void finish_open(struct opening *o)
{
    uint64_t deadline_ms = cli_now_ms() + CLI_NODE_TIMEOUT_MS;
    if (deadline_ms > o->client->deadline_ms)
        deadline_ms = o->client->deadline_ms;
    cli_calls_run(&o->calls, deadline_ms, on_open, o);
    cli_calls_release(&o->calls);
}

/* The first open link, the one used before if possible; the count of links when there is none. */
static size_t open_link(const struct cli_client *c)
{
    size_t i = 0;
    if (c->any_ < c->links_count_ && c->links_[c->any_].fd >= 0)
        return c->any_;
    while (i < c->links_count_ && c->links_[i].fd < 0)
        i++;
    return i;
}

/* The same; when there is none, all are tried at once and the first one wins. */
static size_t any_link(struct cli_client *c)
{
    struct opening o = {.client = c, .race = true};
    size_t link = open_link(c);
    if (link == c->links_count_) {
        for (size_t i = 0; i < c->links_count_; i++)
            begin_open(&o, i);
        finish_open(&o);
        link = open_link(c);
    }
    if (link < c->links_count_)
        c->any_ = link;
    return link;
}

static void choose_version(struct cli_client *c, struct cli_request *r)
{
    const struct cli_link *l = &c->links_[r->link_];
    const struct kw_api *api = kw_api_find(r->api_key);
    int16_t min = api->version_min;
    int16_t max = api->version_max;
    if (l->fd < 0) {
        r->result = l->result;
        return;
    }
    if (r->version_cap != 0 && max > r->version_cap)
        max = r->version_cap;
    if (min < l->version_min[r->api_key])
        min = l->version_min[r->api_key];
    if (max > l->version_max[r->api_key])
        max = l->version_max[r->api_key];
    r->version = max;
    r->result = min > max ? -EPROTONOSUPPORT : 0;
}

void cli_client_prepare(struct cli_client *c, struct cli_request *requests, size_t count)
{
    struct opening o = {.client = c};
    for (size_t i = 0; i < count; i++) {
        struct cli_request *r = &requests[i];
        r->done_ = false;
        r->response = NULL;
        r->result = 0;
        r->link_ = r->node_id == CLI_ANY_NODE ? any_link(c) : find_link(c, r->node_id);
        if (r->link_ == c->links_count_) {
            r->result = -ENOTCONN;
            continue;
        }
        bool asked = c->links_[r->link_].fd >= 0;
        for (size_t k = 0; k < i && !asked; k++)
            asked = requests[k].result == 0 && requests[k].link_ == r->link_;
        if (!asked)
            begin_open(&o, r->link_);
    }
    finish_open(&o);
    for (size_t i = 0; i < count; i++) {
        if (requests[i].result == 0)
            choose_version(c, &requests[i]);
    }
}

/* ---- calls ------------------------------------------------------------------------------------
 */

static void finish_call(struct cli_client *c, struct kb_arena *arena, struct cli_request *r,
                        struct cli_call *call)
{
    struct cli_link *l = &c->links_[r->link_];
    r->done_ = true;
    r->result = call->result;
    if (r->result == 0)
        r->result = decode(r->api_key, r->version, &call->in, arena, &r->response);
    if (r->result < 0) {
        close_link(l, r->result);
        return;
    }
    l->fd = call->fd;
    call->fd = -1;
}

/* At most one request for each link. Returns how many were sent. */
static size_t call_round(struct cli_client *c, struct kb_arena *arena, struct cli_request *requests,
                         size_t count)
{
    struct cli_calls calls = {0};
    for (size_t i = 0; i < count; i++) {
        struct cli_request *r = &requests[i];
        struct kb_buf frame = {0};
        if (r->done_ || r->result < 0)
            continue;
        struct cli_link *l = &c->links_[r->link_];
        bool busy = false;
        for (size_t k = 0; k < calls.count && !busy; k++)
            busy = requests[calls.calls[k]->tag].link_ == r->link_;
        if (busy)
            continue;
        r->result = l->fd >= 0 ? encode(r->api_key, r->version, r->request, &frame) : l->result;
        if (r->result < 0) {
            kb_buf_release(&frame);
            continue;
        }
        cli_calls_add(&calls, l->host, l->port, l->fd, &frame)->tag = i;
        l->fd = -1;
    }
    cli_calls_run(&calls, c->deadline_ms, NULL, NULL);
    for (size_t i = 0; i < calls.count; i++)
        finish_call(c, arena, &requests[calls.calls[i]->tag], calls.calls[i]);
    size_t sent = calls.count;
    cli_calls_release(&calls);
    return sent;
}

int cli_client_call(struct cli_client *c, struct kb_arena *arena, struct cli_request *requests,
                    size_t count)
{
    cli_client_prepare(c, requests, count);
    while (call_round(c, arena, requests, count) > 0)
        ;
    for (size_t i = 0; i < count; i++) {
        if (requests[i].result < 0)
            return requests[i].result;
    }
    return 0;
}

int cli_client_ask(struct cli_client *c, struct kb_arena *arena, struct cli_request *request)
{
    int r = 0;
    request->node_id = CLI_ANY_NODE;
    request->tries = 0;
    /* Each failure closes a link; when none can be opened any more, that is the answer. */
    do {
        request->tries++;
        r = cli_client_call(c, arena, request, 1);
    } while (r < 0 && r != -EPROTONOSUPPORT && r != -ENOMEM && r != -ENOTCONN &&
             cli_client_pause(c));
    return r;
}

bool cli_client_pause(struct cli_client *c)
{
    uint64_t now_ms = cli_now_ms();
    if (now_ms + CLI_RETRY_MS >= c->deadline_ms)
        return false;
    (void)poll(NULL, 0, CLI_RETRY_MS);
    return true;
}

bool cli_retriable(int result)
{
    if (result < 0)
        return result != -EPROTONOSUPPORT && result != -ENOMEM && result != -EPROTO;
    return kw_error_retriable((int16_t)result);
}

/* ---- metadata ---------------------------------------------------------------------------------
 */

static void learn_broker(struct cli_client *c, int32_t id, struct kw_str host_text, int32_t port)
{
    size_t at = find_link(c, id);
    char *host = kb_strndup(host_text.data, (size_t)host_text.size);
    struct cli_link *l = at < c->links_count_ ? &c->links_[at] : NULL;
    if (l != NULL && (strcmp(l->host, host) != 0 || l->port != (uint16_t)port)) {
        close_link(l, -ENOTCONN); /* it moved */
        (void)kb_free(l->host);
        l->host = kb_strdup(host);
        l->port = (uint16_t)port;
    } else if (l == NULL && id >= 0 && at < LINKS_MAX) {
        /* The bootstrap list often has the very address. */
        for (at = 0; at < c->links_count_; at++) {
            l = &c->links_[at];
            if (l->id < 0 && l->port == port && strcmp(l->host, host) == 0)
                break;
        }
        if (at == c->links_count_)
            (void)add_link(c, host, (uint16_t)port, id);
        c->links_[at].id = id;
    }
    (void)kb_free(host);
}

int cli_client_refresh(struct cli_client *c, const char *const *topics, int32_t count)
{
    struct kw_metadata_request request;
    struct cli_request r = {.api_key = KW_API_METADATA, .request = &request};
    kb_arena_reset(&c->metadata_arena_);
    c->metadata = NULL;
    kw_metadata_request_init(&request);
    request.allow_auto_topic_creation = false;
    request.topics_count = count;
    request.topics = kb_arena_new_array(&c->metadata_arena_, struct kw_metadata_request_topic,
                                        (size_t)(count > 0 ? count : 0));
    for (int32_t i = 0; i < count; i++) {
        kw_metadata_request_topic_init(&request.topics[i]);
        request.topics[i].name = kw_str_of(topics[i]);
    }
    int result = cli_client_ask(c, &c->metadata_arena_, &r);
    if (result < 0)
        return result;
    c->metadata = r.response;
    for (int32_t i = 0; i < c->metadata->brokers_count; i++) {
        const struct kw_metadata_response_broker *b = &c->metadata->brokers[i];
        learn_broker(c, b->node_id, b->host, b->port);
    }
    return 0;
}

const struct kw_metadata_response_topic *cli_client_topic(const struct cli_client *c,
                                                          struct kw_str name)
{
    for (int32_t i = 0; c->metadata != NULL && i < c->metadata->topics_count; i++) {
        if (kw_str_equal(c->metadata->topics[i].name, name))
            return &c->metadata->topics[i];
    }
    return NULL;
}

const struct kw_metadata_response_partition *
cli_client_partition(const struct kw_metadata_response_topic *topic, int32_t index)
{
    for (int32_t i = 0; topic != NULL && i < topic->partitions_count; i++) {
        if (topic->partitions[i].partition_index == index)
            return &topic->partitions[i];
    }
    return NULL;
}

static int find_coordinator(struct cli_client *c, const char *group, struct kb_arena *arena,
                            int32_t *ret_id)
{
    struct kw_find_coordinator_request request;
    struct cli_request r = {
        .api_key = KW_API_FIND_COORDINATOR, .request = &request, .version_cap = 3};
    kw_find_coordinator_request_init(&request);
    request.key = kw_str_of(group);
    int result = cli_client_ask(c, arena, &r);
    if (result < 0)
        return result;
    const struct kw_find_coordinator_response *got = r.response;
    *ret_id = got->node_id;
    if (got->error_code == KW_NONE)
        learn_broker(c, got->node_id, got->host, got->port);
    return got->error_code;
}

int cli_client_coordinator(struct cli_client *c, const char *group, int32_t *ret_id)
{
    int result = 0;
    do {
        struct kb_arena arena;
        kb_arena_init(&arena, CLI_ARENA_BYTES);
        result = find_coordinator(c, group, &arena, ret_id);
        kb_arena_release(&arena);
    } while (result > 0 && cli_retriable(result) && cli_client_pause(c));
    return result;
}

bool cli_client_knows(const struct cli_client *c, int32_t node_id)
{
    return node_id >= 0 && find_link(c, node_id) < c->links_count_;
}

int cli_refresh_for(struct cli_client *c, const char *what, const char *const *names, size_t count)
{
    for (int tries = 0;; tries++) {
        struct cli_request failed = {.node_id = CLI_ANY_NODE, .api_key = KW_API_METADATA};
        bool missing = false;
        failed.result = cli_client_refresh(c, NULL, -1);
        if (failed.result < 0)
            return cli_client_fail(c, what, &failed);
        for (size_t i = 0; i < count; i++)
            missing = missing || cli_client_topic(c, kw_str_of(names[i])) == NULL;
        if (!missing || tries >= REFRESH_TRIES_MAX || !cli_client_pause(c))
            return CLI_OK;
    }
}

int cli_with_client(const struct cli_args *args, cli_client_fn *run)
{
    struct cli_client c;
    struct kb_arena arena;
    int r = cli_client_init(&c, args);
    kb_arena_init(&arena, CLI_ARENA_BYTES);
    if (r == CLI_OK)
        r = run(&c, &arena);
    kb_arena_release(&arena);
    cli_client_release(&c);
    return r;
}
