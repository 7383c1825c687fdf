/* Any bytes as what two brokers send to a third: a whole node hears them (tests/fuzz/peer_stage.h).
 * The first byte: bit 0 = the peers have manners, bit 1 = CRCs of payloads are made right. Then one
 * step after the other, a byte that chooses and its operands:
 *   0 slot hsize(2) header psize(2) payload   a message; 16 times 'T' stand for the topic's id,
 *                                             epochs of 7777 for the present ones
 *   1 slot hsize(2) header psize(2) payload   the same as answer to the node's newest request there
 *   2 slot size(2) frame                      a frame as it is
 *   3 time                                    wait, in 10 ms
 *   4 slot                                    dial with a hello, 5 without, 6 close; slot bit 7:
 *                                             a data link
 * The node must live, give back all it holds, and read what itself has written. */
#include <stdlib.h>
#include <string.h>

#include "broker/node/frame.h"
#include "coordinator/raft/raft.h"
#include "proto/base/assert.h"
#include "proto/base/err.h"
#include "proto/base/log.h"
#include "proto/kafka/batch.h"
#include "tests/fuzz/peer_stage.h"
#include "tests/sim/sim_probe.h"

enum { STEPS_MAX = 24, ARENA_BYTES = 32 << 20, UUID_BYTES = 16, PRESENT = 7777 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct input {
    const uint8_t *data;
    size_t size;
    bool seal;
};

static uint8_t take_byte(struct input *in)
{
    if (in->size == 0)
        return 0;
    in->size--;
    return *in->data++;
}

static struct kb_view take_bytes(struct input *in)
{
    size_t size = (size_t)take_byte(in) << 8;
    size |= take_byte(in);
    if (size > in->size)
        size = in->size;
    struct kb_view v = kb_view_of(in->data, size);
    in->data += size;
    in->size -= size;
    return v;
}

static void put_topic_id(uint8_t *data, size_t size, const struct kb_uuid *id)
{
    static const char mark[] = "TTTTTTTTTTTTTTTT";
    uint8_t *at = NULL;
    while (size >= UUID_BYTES && (at = memmem(data, size, mark, UUID_BYTES)) != NULL) {
        memcpy(at, id->bytes, UUID_BYTES);
        size -= (size_t)(at + UUID_BYTES - data);
        data = at + UUID_BYTES;
    }
}

static void put_leader_epoch(const struct stage *s, int32_t partition, int32_t *epoch)
{
    if (*epoch == PRESENT)
        *epoch = sim_probe_leader_epoch(s->solo.node, "t", partition);
}

static void put_broker_epoch(const struct stage *s, size_t slot, uint64_t *epoch)
{
    if (*epoch == PRESENT)
        *epoch = s->peers[(size_t)s->slots[slot].peer - 2].broker_epoch;
}

static void put_epochs(const struct stage *s, size_t slot, Kvorum__PeerMessage *m)
{
    switch (m->body_case) {
    case KVORUM__PEER_MESSAGE__BODY_FETCH_REQUEST:
        put_broker_epoch(s, slot, &m->fetch_request->broker_epoch);
        for (size_t i = 0; i < m->fetch_request->n_partitions; i++)
            put_leader_epoch(s, m->fetch_request->partitions[i]->partition,
                             &m->fetch_request->partitions[i]->leader_epoch);
        break;
    case KVORUM__PEER_MESSAGE__BODY_FETCH_RESPONSE:
        for (size_t i = 0; i < m->fetch_response->n_items; i++)
            put_leader_epoch(s, m->fetch_response->items[i]->partition,
                             &m->fetch_response->items[i]->leader_epoch);
        break;
    case KVORUM__PEER_MESSAGE__BODY_DURABLE_REPORT:
        for (size_t i = 0; i < m->durable_report->n_items; i++)
            put_leader_epoch(s, m->durable_report->items[i]->partition,
                             &m->durable_report->items[i]->leader_epoch);
        break;
    case KVORUM__PEER_MESSAGE__BODY_ALTER_PARTITION_REQUEST:
        put_broker_epoch(s, slot, &m->alter_partition_request->broker_epoch);
        for (size_t i = 0; i < m->alter_partition_request->n_items; i++)
            put_leader_epoch(s, m->alter_partition_request->items[i]->partition,
                             &m->alter_partition_request->items[i]->leader_epoch);
        break;
    case KVORUM__PEER_MESSAGE__BODY_ELECTION_REQUEST:
        put_broker_epoch(s, slot, &m->election_request->broker_epoch);
        break;
    case KVORUM__PEER_MESSAGE__BODY_HEARTBEAT_REQUEST:
        put_broker_epoch(s, slot, &m->heartbeat_request->broker_epoch);
        break;
    case KVORUM__PEER_MESSAGE__BODY_PRODUCER_IDS_REQUEST:
        put_broker_epoch(s, slot, &m->producer_ids_request->broker_epoch);
        break;
    default:
        break;
    }
}

static void make_crcs_right(uint8_t *data, size_t size)
{
    struct kw_batches it;
    struct kw_batch b;
    kw_batches_init(&it, data, size);
    while (kw_batches_next(&it, &b) == KW_BATCHES_ONE) {
        uint8_t *at = data + (b.data - data);
        kw_batch_set_max_timestamp(at, b.size, false, b.max_timestamp ^ 1);
        kw_batch_set_max_timestamp(at, b.size, false, b.max_timestamp);
    }
}

/* A second leader of a term, or one without the committed entries, breaks Raft itself: the core
 * ends the process by design (R3, R9), so no such thing is said here. */
static bool breaks_raft(const struct stage *s, const Kvorum__PeerMessage *m)
{
    struct sim_raft_view view;
    if (m->body_case != KVORUM__PEER_MESSAGE__BODY_RAFT || !sim_probe_raft(s->solo.node, &view))
        return false;
    const Kvorum__RaftMessage *r = m->raft;
    if (r->kind == RAFT_MSG_APPEND)
        return r->term <= view.term || r->prev_index < view.last_index ||
               r->commit_index > r->prev_index;
    return r->kind == RAFT_MSG_SNAPSHOT;
}

static void say(struct stage *s, struct input *in, bool answer)
{
    size_t slot = take_byte(in) % STAGE_SLOTS;
    struct kb_view header = take_bytes(in);
    struct kb_view payload = take_bytes(in);
    const struct stage_slot *c = &s->slots[slot];
    struct kb_arena arena;
    Kvorum__PeerMessage *m = NULL;
    struct kb_view none = {0};
    struct kb_buf frame = {0};
    uint8_t head[4];
    kb_put_be32(head, (uint32_t)header.size);
    kb_buf_append(&frame, head, sizeof(head));
    kb_buf_append(&frame, header.data, header.size);
    put_topic_id(frame.data + sizeof(head), header.size, &s->topic_id);
    kb_arena_init(&arena, ARENA_BYTES);
    if (node_frame_read(kb_view_of(frame.data, frame.size), &arena, &m, &none) == 0 &&
        !breaks_raft(s, m)) {
        struct kb_buf body = {0};
        kb_buf_append(&body, payload.data, payload.size);
        if (in->seal)
            make_crcs_right(body.data, body.size);
        if (answer && c->asked_count > 0) {
            m->has_response_to = 1;
            m->response_to = c->asked[c->asked_count - 1];
        }
        put_epochs(s, slot, m);
        stage_send_message(s, slot, m, kb_view_of(body.data, body.size));
        kb_buf_release(&body);
    }
    kb_arena_release(&arena);
    kb_buf_release(&frame);
}

static void send_raw(struct stage *s, struct input *in)
{
    size_t slot = take_byte(in) % STAGE_SLOTS;
    struct kb_view frame = take_bytes(in);
    struct kb_arena arena;
    Kvorum__PeerMessage *m = NULL;
    struct kb_view payload = {0};
    kb_arena_init(&arena, ARENA_BYTES);
    if (node_frame_read(frame, &arena, &m, &payload) < 0 || !breaks_raft(s, m))
        stage_send(s, slot, frame.data, frame.size);
    kb_arena_release(&arena);
}

static void step(struct stage *s, struct input *in)
{
    uint8_t kind = take_byte(in) % 7;
    uint8_t operand = 0;
    switch (kind) {
    case 0:
    case 1:
        say(s, in, kind == 1);
        break;
    case 2:
        send_raw(s, in);
        break;
    case 3:
        stage_run(s, (uint64_t)take_byte(in) * 10);
        return;
    case 4:
    case 5:
        operand = take_byte(in);
        stage_dial(s, operand % STAGE_SLOTS, operand >> 7, kind == 4);
        break;
    default:
        stage_close(s, take_byte(in) % STAGE_SLOTS);
        break;
    }
    stage_run(s, 2);
}

static void log_nothing(void *arg, enum kb_log_level level, const char *component, const char *text)
{
    (void)arg;
    (void)level;
    (void)component;
    (void)text;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in = {data, size, false};
    struct stage stage;
    if (getenv("KVORUM_FUZZ_LOG") == NULL)
        kb_log_set_sink(log_nothing, NULL, KB_LOG_ERROR);
    uint8_t mode = take_byte(&in);
    in.seal = (mode & 2) != 0;
    stage_init(&stage, (mode & 1) != 0);
    for (int i = 0; i < STEPS_MAX && in.size > 0; i++)
        step(&stage, &in);
    stage_run(&stage, 300);
    stage_release(&stage);
    return 0;
}
