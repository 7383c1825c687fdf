/* What all nodes believe, gathered side by side and without a quorum. */
#include <errno.h>
#include <stdlib.h>

#include "broker/cli/client.h"

enum { ARENA_BYTES = 512 << 20, NODES_MAX = 512 };

const char *cli_verdict_name(enum cli_verdict v)
{
    static const char *const names[] = {"healthy", "degraded", "unavailable"};
    return names[v];
}

void cli_status_frame(bool partitions, const char *topic, struct kb_buf *ret)
{
    Kvorum__StatusRequest q = KVORUM__STATUS_REQUEST__INIT;
    uint8_t head[4 + 10] = {0};
    struct kb_buf body = {0};
    q.has_partitions = true;
    q.partitions = partitions;
    q.topic = (char *)(uintptr_t)topic;
    q.has_events = true;
    q.events = partitions;
    (void)kc_pack(&body, (const ProtobufCMessage *)&q);
    kb_put_be32(head, (uint32_t)(sizeof(head) - 4 + body.size));
    kb_put_be16(head + 4, KW_API_KVORUM_STATUS);
    kb_put_be16(head + 12, UINT16_MAX); /* no client id */
    kb_buf_append(ret, head, sizeof(head));
    kb_buf_append(ret, body.data, body.size);
    kb_buf_release(&body);
}

/* ---- asking -----------------------------------------------------------------------------------
 */

static void ask(struct cli_cluster *c, const char *host, uint16_t port)
{
    struct kb_buf frame = {0};
    for (size_t i = 0; i < c->calls_.count; i++) {
        if (c->calls_.calls[i]->port == port && strcmp(c->calls_.calls[i]->host, host) == 0)
            return;
    }
    if (c->calls_.count >= NODES_MAX)
        return;
    cli_status_frame(!c->local_, c->topic, &frame);
    (void)cli_calls_add(&c->calls_, host, port, -1, &frame);
}

static struct cli_node *find_node(struct cli_cluster *c, int32_t id)
{
    for (size_t i = 0; i < c->nodes_count; i++) {
        if (c->nodes[i].id == id)
            return &c->nodes[i];
    }
    return NULL;
}

static struct cli_node *get_node(struct cli_cluster *c, int32_t id)
{
    struct cli_node *n = find_node(c, id);
    if (n != NULL)
        return n;
    kb_array_reserve(c->nodes, c->nodes_count, c->nodes_capacity);
    n = &c->nodes[c->nodes_count++];
    *n = (struct cli_node){.id = id, .result = -ENOTCONN, .seen_age_ms = -1};
    return n;
}

static void set_address(struct cli_node *n, const char *host, uint16_t port)
{
    (void)kb_free(n->host);
    n->host = kb_strdup(host);
    n->port = port;
}

/* The listener by which its teller was reached is the one that works from here. */
static const char *listener_of(const Kvorum__StatusResponse *s, uint16_t port)
{
    for (size_t i = 0; i < s->n_brokers; i++) {
        for (size_t k = 0; s->brokers[i]->node_id == s->node_id && k < s->brokers[i]->n_endpoints;
             k++) {
            if (s->brokers[i]->endpoints[k]->port == port)
                return s->brokers[i]->endpoints[k]->listener;
        }
    }
    return NULL;
}

static void learn_broker(struct cli_cluster *c, const Kvorum__StatusBroker *b, const char *listener)
{
    const Kvorum__StatusEndpoint *e = NULL;
    struct cli_node *n = get_node(c, b->node_id);
    for (size_t i = 0; i < b->n_endpoints; i++) {
        if (e == NULL || (listener != NULL && b->endpoints[i]->listener != NULL &&
                          strcmp(b->endpoints[i]->listener, listener) == 0))
            e = b->endpoints[i];
    }
    if (e == NULL || e->host == NULL || n->status != NULL)
        return;
    if (n->host == NULL)
        set_address(n, e->host, (uint16_t)e->port);
    ask(c, e->host, (uint16_t)e->port);
}

/* With the words that are needed: a broker of ours always gives them, another program may not. */
static bool is_whole(const Kvorum__StatusResponse *s)
{
    bool whole = s->state != NULL;
    for (size_t i = 0; i < s->n_partitions; i++)
        whole = whole && s->partitions[i]->topic != NULL;
    return whole;
}

static void on_answer(void *arg, struct cli_call *call)
{
    struct cli_cluster *c = arg;
    ProtobufCMessage *message = NULL;
    if (call->result < 0)
        return;
    if (call->in.size < 8 ||
        kc_unpack(&kvorum__status_response__descriptor, &c->arena_,
                  kb_view_of(call->in.data + 8, call->in.size - 8), CLI_ANSWER_BYTES_MAX,
                  &message) < 0 ||
        !is_whole((const Kvorum__StatusResponse *)message)) {
        call->result = -EPROTO;
        return;
    }
    const Kvorum__StatusResponse *s = (const Kvorum__StatusResponse *)message;
    struct cli_node *n = get_node(c, s->node_id);
    if (n->status == NULL) {
        n->status = s;
        n->result = 0;
        set_address(n, call->host, call->port);
    }
    const char *listener = listener_of(s, call->port);
    for (size_t i = 0; !c->local_ && i < s->n_brokers; i++)
        learn_broker(c, s->brokers[i], listener);
}

/* ---- judging ----------------------------------------------------------------------------------
 */

static void pick_best(struct cli_cluster *c)
{
    uint64_t term = 0;
    c->controller_id = -1;
    for (size_t i = 0; i < c->nodes_count; i++) {
        const Kvorum__StatusResponse *s = c->nodes[i].status;
        if (s == NULL)
            continue;
        c->nodes_up++;
        if (s->in_office && s->term >= term) {
            c->controller_id = s->node_id;
            c->best = s;
            term = s->term;
        } else if (c->controller_id < 0 &&
                   (c->best == NULL || s->applied_index > c->best->applied_index)) {
            c->best = s;
        }
    }
}

static void merge_peers(struct cli_cluster *c)
{
    for (size_t i = 0; i < c->nodes_count; i++) {
        const Kvorum__StatusResponse *s = c->nodes[i].status;
        for (size_t k = 0; s != NULL && k < s->n_peers; k++) {
            const Kvorum__StatusPeer *p = s->peers[k];
            /* Who only knocked, such as a broker of another cluster, is none of its nodes. */
            struct cli_node *n = p->voter ? get_node(c, p->node_id) : find_node(c, p->node_id);
            if (n == NULL)
                continue;
            if (n->host == NULL && p->host != NULL)
                set_address(n, p->host, (uint16_t)p->port);
            n->voter |= p->voter;
            if (p->has_heard_age_ms &&
                (n->seen_age_ms < 0 || (int64_t)p->heard_age_ms < n->seen_age_ms))
                n->seen_age_ms = (int64_t)p->heard_age_ms;
        }
    }
}

static void judge_partition(struct cli_cluster *c, const Kvorum__StatusPartition *p)
{
    struct cli_node *leader = p->leader >= 0 ? find_node(c, p->leader) : NULL;
    size_t isr_up = 0;
    c->partitions++;
    c->leaderless += leader == NULL || leader->status == NULL;
    if (leader != NULL)
        leader->leaders++; /* not touched below: nodes that are added move the others */
    for (size_t i = 0; i < p->n_replicas; i++)
        get_node(c, p->replicas[i])->assigned++;
    for (size_t i = 0; i < p->n_isr; i++) {
        struct cli_node *n = get_node(c, p->isr[i]);
        n->in_isr++;
        isr_up += n->status != NULL;
    }
    c->under_replicated += isr_up < p->n_replicas;
    c->under_min_isr += (int32_t)isr_up < p->min_isr;
}

static void judge(struct cli_cluster *c)
{
    bool all_up = true;
    for (size_t i = 0; i < c->best->n_brokers; i++) {
        struct cli_node *n = get_node(c, c->best->brokers[i]->node_id);
        n->registered = true;
        n->fenced = c->best->brokers[i]->fenced;
    }
    for (size_t i = 0; i < c->best->n_voters; i++)
        get_node(c, c->best->voters[i])->voter = true;
    for (size_t i = 0; i < c->best->n_partitions; i++)
        judge_partition(c, c->best->partitions[i]);
    for (size_t i = 0; i < c->nodes_count; i++) {
        const struct cli_node *n = &c->nodes[i];
        c->voters += n->voter;
        c->voters_up += n->voter && n->status != NULL;
        all_up = all_up && n->status != NULL && strcmp(n->status->state, "running") == 0 &&
                 !n->fenced;
    }
    c->changes = c->controller_id >= 0 && c->voters_up > c->voters / 2;
    if (c->leaderless > 0 || c->under_min_isr > 0 || !c->changes)
        c->verdict = CLI_UNAVAILABLE;
    else if (!all_up || c->under_replicated > 0)
        c->verdict = CLI_DEGRADED;
    else
        c->verdict = CLI_HEALTHY;
}

static int by_id(const void *a, const void *b)
{
    int32_t x = ((const struct cli_node *)a)->id;
    int32_t y = ((const struct cli_node *)b)->id;
    return (x > y) - (x < y);
}

static void take_failures(struct cli_cluster *c)
{
    for (size_t i = 0; i < c->calls_.count; i++) {
        const struct cli_call *call = c->calls_.calls[i];
        for (size_t k = 0; call->result < 0 && k < c->nodes_count; k++) {
            struct cli_node *n = &c->nodes[k];
            if (n->status == NULL && n->host != NULL && n->port == call->port &&
                strcmp(n->host, call->host) == 0)
                n->result = call->result;
        }
    }
}

/* Some other cluster: it speaks Kafka's protocol but closes the connection at our own request. */
static bool tell_foreign(const struct cli_args *args, const struct cli_cluster *c)
{
    struct cli_client client;
    const struct cli_call *closed = NULL;
    bool foreign = false;
    for (size_t i = 0; i < c->calls_.count && closed == NULL; i++) {
        int result = c->calls_.calls[i]->result;
        closed = result == -ECONNRESET || result == -EPROTO ? c->calls_.calls[i] : NULL;
    }
    if (closed != NULL && cli_client_init(&client, args) == CLI_OK) {
        foreign = cli_client_refresh(&client, NULL, 0) == 0;
        cli_client_release(&client);
    }
    if (foreign)
        cli_error("%s:%u is no Kvorum broker: it speaks Kafka's protocol, but nodes of it do not "
                  "tell what they believe. The commands topic, group, config, leader and quorum "
                  "replication work with it",
                  closed->host, closed->port);
    return foreign;
}

static int tell_unreachable(const struct cli_args *args, const struct cli_cluster *c)
{
    struct kb_buf text = {0};
    if (tell_foreign(args, c))
        return CLI_FAILED;
    for (size_t i = 0; i < c->calls_.count; i++) {
        const struct cli_call *call = c->calls_.calls[i];
        kb_buf_printf(&text, "%s%s:%u %s", i > 0 ? ", " : "", call->host, call->port,
                      cli_result_text(call->result));
    }
    cli_error("cannot reach any node: %.*s. Is the cluster up?", (int)text.size,
              (const char *)text.data);
    kb_buf_release(&text);
    return CLI_NO_NODE;
}

int cli_cluster_gather(const struct cli_args *args, bool local, struct cli_cluster *ret)
{
    struct cli_cluster *c = ret;
    const char *at = args->bootstrap;
    c->local_ = local;
    kb_arena_init(&c->arena_, ARENA_BYTES);
    while (*at != '\0') {
        size_t size = strcspn(at, ",");
        char *host = NULL;
        uint16_t port = 0;
        if (cli_address_parse(at, size, &host, &port) < 0) {
            cli_error("\"%.*s\" is not HOST:PORT", (int)size, at);
            return CLI_USAGE;
        }
        ask(c, host, port);
        (void)kb_free(host);
        if (local)
            break;
        at += size + (at[size] == ',');
    }
    cli_calls_run(&c->calls_, cli_now_ms() + CLI_NODE_TIMEOUT_MS, on_answer, c);
    pick_best(c);
    if (c->best == NULL) {
        return args->quiet ? CLI_NO_NODE : tell_unreachable(args, c);
    }
    merge_peers(c);
    judge(c);
    take_failures(c);
    qsort(c->nodes, c->nodes_count, sizeof(c->nodes[0]), by_id);
    return CLI_OK;
}

void cli_cluster_release(struct cli_cluster *c)
{
    for (size_t i = 0; i < c->nodes_count; i++)
        (void)kb_free(c->nodes[i].host);
    (void)kb_free(c->nodes);
    cli_calls_release(&c->calls_);
    kb_arena_release(&c->arena_);
}

int cli_cluster_render(const struct cli_args *args, FILE *key, cli_cluster_print_fn *json,
                       cli_cluster_print_fn *table)
{
    struct cli_cluster c = {0};
    int r = cli_cluster_gather(args, false, &c);
    if (r == CLI_OK) {
        (args->json ? json : table)(args, &c);
        cli_cluster_key(&c, key);
    }
    cli_cluster_release(&c);
    return r;
}
