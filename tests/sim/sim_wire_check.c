#include "tests/sim/sim_wire_check.h"

#include <stdlib.h>
#include <string.h>

#include "proto/base/arena.h"
#include "proto/base/map.h"
#include "proto/base/mem.h"
#include "proto/cluster/peer.pb-c.h"
#include "proto/cluster/unpack.h"

#define ITEMS_MAX 32
#define FRAME_ARENA_BYTES (4U << 20)
#define ENVELOPE_FIELD_MAX 2 /* request_id, response_to; what is above is a body */

struct item {
    uint8_t topic_id[16];
    int32_t partition;
    int32_t old_member; /* whose epoch is not the newest; -1 none */
};
/* A request that was not answered yet. */
struct asked {
    int32_t node_id;
    uint64_t epoch, newest; /* as it came, and as was committed then */
    const char *what;
    struct item items[ITEMS_MAX];
    size_t count;
};

struct sim_wire_check {
    struct sim_checks *checks;
    const struct sim_metadata_check *metadata;
    struct kb_map asked; /* (connection, request) -> struct asked */
    uint64_t old;
};

struct sim_wire_check *sim_wire_check_new(struct sim_checks *checks,
                                          const struct sim_metadata_check *metadata)
{
    struct sim_wire_check *c = kb_new(struct sim_wire_check);
    c->checks = checks;
    c->metadata = metadata;
    return c;
}

struct sim_wire_check *sim_wire_check_free(struct sim_wire_check *c)
{
    size_t cursor = 0;
    struct asked *a;
    if (c == NULL)
        return NULL;
    while ((a = kb_map_next(&c->asked, &cursor, NULL)) != NULL)
        free(a);
    kb_map_release(&c->asked);
    free(c);
    return NULL;
}

uint64_t sim_wire_check_old(const struct sim_wire_check *c)
{
    return c->old;
}

static uint64_t newest(const struct sim_wire_check *c, int32_t id)
{
    return sim_metadata_check_broker_epoch(c->metadata, id, NULL);
}

static void take_items(struct sim_wire_check *c, struct asked *a,
                       const Kvorum__AlterPartitionRequest *q)
{
    for (size_t i = 0; i < q->n_items && a->count < ITEMS_MAX; i++) {
        const Kvorum__AlterPartitionRequest__Item *w = q->items[i];
        struct item *item = &a->items[a->count];
        if (w->topic_id.len != sizeof(item->topic_id) || w->n_isr != w->n_isr_broker_epochs)
            continue;
        memcpy(item->topic_id, w->topic_id.data, sizeof(item->topic_id));
        item->partition = w->partition;
        item->old_member = -1;
        for (size_t k = 0; k < w->n_isr; k++) {
            if (newest(c, w->isr[k]) > w->isr_broker_epochs[k])
                item->old_member = w->isr[k];
        }
        c->old += item->old_member >= 0;
        a->count++;
    }
}

static void take_request(struct sim_wire_check *c, uint64_t key, const Kvorum__PeerMessage *m)
{
    struct asked a = {0};
    switch (m->body_case) {
    case KVORUM__PEER_MESSAGE__BODY_HEARTBEAT_REQUEST:
        a.node_id = m->heartbeat_request->node_id;
        a.epoch = m->heartbeat_request->broker_epoch;
        a.what = "heartbeat";
        break;
    case KVORUM__PEER_MESSAGE__BODY_ALTER_PARTITION_REQUEST:
        a.node_id = m->alter_partition_request->node_id;
        a.epoch = m->alter_partition_request->broker_epoch;
        a.what = "AlterPartition";
        take_items(c, &a, m->alter_partition_request);
        break;
    case KVORUM__PEER_MESSAGE__BODY_ELECTION_REQUEST:
        a.node_id = m->election_request->node_id;
        a.epoch = m->election_request->broker_epoch;
        a.what = "request for an election";
        break;
    case KVORUM__PEER_MESSAGE__BODY_PRODUCER_IDS_REQUEST:
        a.node_id = m->producer_ids_request->node_id;
        a.epoch = m->producer_ids_request->broker_epoch;
        a.what = "request for producer ids";
        break;
    default:
        return;
    }
    a.newest = newest(c, a.node_id);
    c->old += a.newest > a.epoch;
    struct asked *kept = kb_new(struct asked);
    *kept = a;
    free(kb_map_put(&c->asked, key, kept));
}

static void judge_items(struct sim_wire_check *c, const struct asked *a,
                        const Kvorum__AlterPartitionResponse *r)
{
    for (size_t i = 0; i < r->n_items; i++) {
        const Kvorum__AlterPartitionResponse__Item *w = r->items[i];
        for (size_t k = 0; k < a->count && w->topic_id.len == 16; k++) {
            const struct item *item = &a->items[k];
            if (item->partition == w->partition &&
                memcmp(item->topic_id, w->topic_id.data, 16) == 0)
                sim_check(c->checks, SIM_CHECK_R17, item->old_member < 0 || w->error != 0,
                          "partition %d: broker %d is taken into the ISR with an old epoch",
                          w->partition, item->old_member);
        }
    }
}

static void take_answer(struct sim_wire_check *c, uint64_t key, const Kvorum__PeerMessage *m)
{
    struct asked *a = kb_map_remove(&c->asked, key);
    int32_t error = 0;
    if (a == NULL)
        return;
    if (m->body_case == KVORUM__PEER_MESSAGE__BODY_HEARTBEAT_RESPONSE)
        error = m->heartbeat_response->error;
    else if (m->body_case == KVORUM__PEER_MESSAGE__BODY_ALTER_PARTITION_RESPONSE)
        error = m->alter_partition_response->error;
    else if (m->body_case == KVORUM__PEER_MESSAGE__BODY_ELECTION_RESPONSE)
        error = m->election_response->error;
    else if (m->body_case == KVORUM__PEER_MESSAGE__BODY_PRODUCER_IDS_RESPONSE)
        error = m->producer_ids_response->error;
    sim_check(c->checks, SIM_CHECK_R17, a->newest <= a->epoch || error != 0,
              "a %s of broker %d with epoch %llu is answered, and it had epoch %llu", a->what,
              a->node_id, (unsigned long long)a->epoch, (unsigned long long)a->newest);
    if (error == 0 && m->body_case == KVORUM__PEER_MESSAGE__BODY_ALTER_PARTITION_RESPONSE)
        judge_items(c, a, m->alter_partition_response);
    free(a);
}

/* Both ends name a request alike: by the end that it came to. */
static uint64_t key_of(uint64_t conn, uint64_t request)
{
    return conn << 32 ^ (request & UINT32_MAX);
}

/* What a frame is, read off its first fields: those of a message come in the order of their
 * numbers.
 */
struct envelope {
    bool is_answer, is_request;
    uint64_t response_to;
    uint32_t body; /* its number; 0 none */
};

static bool read_varint(struct kb_view *v, uint64_t *ret)
{
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 64 && v->size > 0; shift += 7) {
        uint8_t byte = v->data[0];
        *v = kb_view_of(v->data + 1, v->size - 1);
        value |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80) {
            *ret = value;
            return true;
        }
    }
    return false;
}

static struct envelope read_envelope(struct kb_view v)
{
    struct envelope e = {0};
    uint64_t key = 0, value = 0;
    while (e.body == 0 && read_varint(&v, &key)) {
        if (key >> 3 > ENVELOPE_FIELD_MAX)
            e.body = (uint32_t)(key >> 3);
        else if (!read_varint(&v, &value))
            break;
        else if (key >> 3 == 2)
            e = (struct envelope){.is_answer = true, .response_to = value};
        else
            e.is_request = true;
    }
    return e;
}

static bool is_asked(uint32_t body)
{
    return body == KVORUM__PEER_MESSAGE__BODY_HEARTBEAT_REQUEST ||
           body == KVORUM__PEER_MESSAGE__BODY_ALTER_PARTITION_REQUEST ||
           body == KVORUM__PEER_MESSAGE__BODY_ELECTION_REQUEST ||
           body == KVORUM__PEER_MESSAGE__BODY_PRODUCER_IDS_REQUEST;
}

/* Most frames carry records or votes, and are not taken apart here. */
static bool is_wanted(const struct sim_wire_check *c, uint64_t other, struct kb_view message)
{
    struct envelope e = read_envelope(message);
    if (e.is_answer)
        return kb_map_get(&c->asked, key_of(other, e.response_to)) != NULL;
    return e.is_request && is_asked(e.body);
}

void sim_wire_check_frame(struct sim_wire_check *c, uint64_t conn, uint64_t other,
                          struct kb_view frame)
{
    struct kb_arena arena;
    ProtobufCMessage *message = NULL;
    uint32_t size = frame.size >= 4 ? kb_get_be32(frame.data) : 0;
    if (frame.size < 4 || size > frame.size - 4)
        return;
    struct kb_view bytes = kb_view_of(frame.data + 4, size);
    if (!is_wanted(c, other, bytes))
        return;
    kb_arena_init(&arena, FRAME_ARENA_BYTES);
    if (kc_unpack(&kvorum__peer_message__descriptor, &arena, bytes, size, &message) == 0) {
        const Kvorum__PeerMessage *m = (const Kvorum__PeerMessage *)message;
        if (m->has_response_to)
            take_answer(c, key_of(other, m->response_to), m);
        else if (m->has_request_id)
            take_request(c, key_of(conn, m->request_id), m);
    }
    kb_arena_release(&arena);
}
