/* Who leads which partition, and where the brokers are. */
#include "broker/cli/wire_private.h"

enum { ASK_MS_MIN = 50, ASK_TIMEOUT_MS = 1000, HOST_BYTES_MAX = 256 };

size_t cli_wire_topic(struct cli_wire *w, const char *name)
{
    for (size_t i = 0; i < w->topics_count; i++) {
        if (strcmp(w->topics[i].name, name) == 0)
            return i;
    }
    kb_array_reserve(w->topics, w->topics_count, w->topics_capacity);
    w->topics[w->topics_count] = (struct cli_topic){.name = kb_strdup(name), .error = -1};
    cli_wire_refresh(w);
    return w->topics_count++;
}

const struct cli_topic *cli_wire_topic_at(const struct cli_wire *w, size_t topic)
{
    return &w->topics[topic];
}

struct cli_topic_partition cli_wire_partition(const struct cli_wire *w, size_t topic,
                                              int32_t partition)
{
    const struct cli_topic *t = &w->topics[topic];
    if (partition < 0 || partition >= t->partitions_count)
        return (struct cli_topic_partition){.error = t->error, .leader = -1, .leader_epoch = -1};
    return t->partitions[partition];
}

uint64_t cli_wire_metadata_age_ms(const struct cli_wire *w)
{
    return w->refreshed_ms == 0 ? UINT64_MAX : cli_now_ms() - w->refreshed_ms;
}

void cli_wire_learn_broker(struct cli_wire *w, int32_t id, struct kw_str host, int32_t port)
{
    char text[HOST_BYTES_MAX];
    if (id < 0 || host.size <= 0 || host.size >= HOST_BYTES_MAX || port <= 0 || port > UINT16_MAX)
        return;
    (void)snprintf(text, sizeof(text), "%.*s", host.size, host.data);
    (void)wire_peer_add(w, id, text, (uint16_t)port);
}

static void take_partition(struct cli_wire *w, struct cli_topic *t,
                           const struct kw_metadata_response_partition *from)
{
    if (from->partition_index < 0 || from->partition_index >= t->partitions_count)
        return;
    struct cli_topic_partition *p = &t->partitions[from->partition_index];
    /* A broker that is behind may still name a former leader: newer news stand. */
    if (from->leader_epoch >= 0 && from->leader_epoch < p->leader_epoch)
        return;
    *p = (struct cli_topic_partition){
        .error = from->error_code,
        .leader = wire_peer_find(w, from->leader_id) != NULL ? from->leader_id : -1,
        .leader_epoch = from->leader_epoch,
        .isr_count = from->isr_nodes_count,
        .replicas_count = from->replica_nodes_count,
    };
}

static void take_topic(struct cli_wire *w, const struct kw_metadata_response_topic *from)
{
    struct cli_topic *t = NULL;
    for (size_t i = 0; i < w->topics_count && t == NULL; i++) {
        if (kw_str_is(from->name, w->topics[i].name))
            t = &w->topics[i];
    }
    if (t == NULL)
        return;
    if (t->error != from->error_code)
        t->error_ms = cli_now_ms();
    t->error = from->error_code;
    if (from->error_code != KW_NONE)
        return; /* a broker that does not know it yet; what is known stands */
    if (from->partitions_count > t->partitions_count) {
        int32_t count = from->partitions_count;
        t->partitions = kb_realloc(t->partitions, (size_t)count * sizeof(t->partitions[0]));
        for (int32_t i = t->partitions_count; i < count; i++)
            t->partitions[i] = (struct cli_topic_partition){.leader = -1, .leader_epoch = -1};
        t->partitions_count = count;
    }
    for (int32_t i = 0; i < from->partitions_count; i++)
        take_partition(w, t, &from->partitions[i]);
}

static void on_metadata(void *arg, int result, const void *response)
{
    struct cli_wire *w = arg;
    const struct kw_metadata_response *r = response;
    w->refreshing = false;
    if (result < 0) {
        w->refresh_wanted = true;
        return;
    }
    w->refreshed_ms = cli_now_ms();
    for (int32_t i = 0; i < r->brokers_count; i++)
        cli_wire_learn_broker(w, r->brokers[i].node_id, r->brokers[i].host, r->brokers[i].port);
    for (int32_t i = 0; i < r->topics_count; i++)
        take_topic(w, &r->topics[i]);
}

void cli_wire_refresh(struct cli_wire *w)
{
    if (w->refresh_wanted)
        return; /* it is on its way; asking again and again must not keep the loop busy */
    w->refresh_wanted = true;
    if (!w->refreshing)
        cli_wire_poke(w);
}

void wire_metadata_pump(struct cli_wire *w)
{
    struct kw_metadata_request rq;
    uint64_t now_ms = cli_now_ms();
    if (!w->refresh_wanted || w->refreshing)
        return;
    if (w->asked_ms + ASK_MS_MIN > now_ms) {
        cli_wire_poke_in(w, w->asked_ms + ASK_MS_MIN - now_ms);
        return;
    }
    int32_t broker = cli_wire_any(w);
    if (broker == -1)
        return; /* a connection that comes up pokes */
    struct kw_metadata_request_topic *topics = kb_new_array(struct kw_metadata_request_topic,
                                                            w->topics_count);
    kw_metadata_request_init(&rq);
    rq.allow_auto_topic_creation = w->options.auto_create;
    rq.topics = topics;
    rq.topics_count = (int32_t)w->topics_count;
    for (size_t i = 0; i < w->topics_count; i++) {
        kw_metadata_request_topic_init(&topics[i]);
        topics[i].name = kw_str_of(w->topics[i].name);
    }
    w->refreshing = true;
    w->refresh_wanted = false;
    w->asked_ms = now_ms;
    wire_peer_find(w, broker)->asked = ++w->asked;
    cli_wire_send(w, broker, KW_API_METADATA, &rq, ASK_TIMEOUT_MS, on_metadata, w);
    (void)kb_free(topics);
}

void wire_metadata_free(struct cli_wire *w)
{
    for (size_t i = 0; i < w->topics_count; i++) {
        (void)kb_free(w->topics[i].name);
        (void)kb_free(w->topics[i].partitions);
    }
    (void)kb_free(w->topics);
}
