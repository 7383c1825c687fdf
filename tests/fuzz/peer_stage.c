#include "tests/fuzz/peer_stage.h"

#include <string.h>

#include "broker/api/api.h"
#include "broker/node/frame.h"
#include "coordinator/raft/raft.h"
#include "proto/base/assert.h"
#include "proto/base/err.h"
#include "proto/base/mem.h"
#include "proto/kafka/batch.h"
#include "tests/sim/sim_disk.h"
#include "tests/sim/sim_probe.h"

enum {
    ORIGIN_SEED = 7,
    SEED = 8, /* another one, or node 1 would live its first incarnation again */
    START_MS = 20000,
    SETTLE_MS = 1500,
    STEP_MS = 50,
    HEARTBEAT_MS = 300,
    FRAME_BYTES_MAX = 8 << 20,
    ARENA_BYTES = 8 << 20,
    FIRST_ACCEPTED = 4,
    FIRST_PEER = 2,
};

/* ---- the disk that every run starts from ---- */

static struct {
    struct sim_solo nodes[3];
    struct sim_disk_copy *disk; /* of node 1 */
    struct kb_uuid directories[STAGE_PEERS];
    char *cluster_id;
    struct kb_uuid topic_id;
} origin;

/* The value behind key in a file of lines. */
static char *line_value(struct sim_disk *disk, const char *path, const char *key)
{
    struct kb_buf text = {0};
    int r = sim_disk_read(disk, path, &text);
    KB_ASSERT(r == 0);
    kb_buf_append(&text, "\n", 2);
    const char *at = strstr((const char *)text.data, key);
    KB_ASSERT(at != NULL);
    at += strlen(key);
    char *value = kb_strndup(at, strcspn(at, "\n"));
    kb_buf_release(&text);
    return value;
}

static struct kb_uuid line_uuid(struct sim_disk *disk, const char *path, const char *key)
{
    struct kb_uuid id;
    char *text = line_value(disk, path, key);
    int r = kb_uuid_parse(text, &id);
    KB_ASSERT(r == 0);
    (void)kb_free(text);
    return id;
}

static void ignore_frame(struct kb_conn *conn, void *user, struct kb_block *frame)
{
    (void)conn;
    (void)user;
    (void)frame;
}

static void ignore_close(struct kb_conn *conn, void *user, enum kb_close_reason reason)
{
    (void)conn;
    (void)user;
    (void)reason;
}

static void ignore_open(struct kb_conn *conn, void *user)
{
    (void)conn;
    (void)user;
}

/* CreateTopics version 2: "t", three partitions of three replicas. */
static void create_topic(void)
{
    static const uint8_t frame[] = {0,   0, 0, 37, 0, 19, 0, 2,   0, 0, 0,  1,  0, 1,
                                    'f', 0, 0, 0,  1, 0,  1, 't', 0, 0, 0,  3,  0, 3,
                                    0,   0, 0, 0,  0, 0,  0, 0,   0, 0, 39, 16, 0};
    static const struct kb_conn_handler handler = {
        .on_open = ignore_open, .on_frame = ignore_frame, .on_close = ignore_close};
    struct kb_conn_options options = {.frame_bytes_max = FRAME_BYTES_MAX,
                                      .send_high_bytes = FRAME_BYTES_MAX};
    struct sim_env *client = sim_world_add_env(origin.nodes[0].world, "client");
    struct kb_conn *conn = kb_env_connect(sim_env_kb(client), "node1", SIM_SOLO_PORT, 1000,
                                          &options, &handler, NULL);
    struct kb_block *block = kb_block_copy(frame, 4 + kb_get_be32(frame));
    struct kb_chain chain = {0};
    kb_chain_add_block(&chain, block, 0, block->size);
    kb_conn_send(conn, &chain);
    (void)kb_block_unref(block);
    sim_world_run_for(origin.nodes[0].world, SETTLE_MS);
}

static void origin_make(void)
{
    sim_solo_init(&origin.nodes[0], ORIGIN_SEED, 3);
    origin.nodes[0].apis = api_table(&origin.nodes[0].apis_count);
    for (uint32_t i = 1; i < 3; i++)
        sim_solo_join(&origin.nodes[i], &origin.nodes[0], i + 1);
    for (uint32_t i = 0; i < 3; i++)
        sim_solo_start(&origin.nodes[i]);
    for (uint32_t i = 0; i < 3; i++) {
        bool running = sim_solo_run_until(&origin.nodes[i], NODE_RUNNING, START_MS);
        KB_ASSERT(running);
    }
    create_topic();
    for (uint32_t i = 0; i < 3; i++)
        sim_solo_kill(&origin.nodes[i]);
    struct sim_disk *disk = sim_host_disk(origin.nodes[0].host);
    sim_disk_crash(disk, SIM_CRASH_KEEP); /* all of it durable: what the copy takes */
    origin.cluster_id = line_value(disk, SIM_SOLO_DIR "/meta.properties", "cluster.id=");
    origin.topic_id = line_uuid(disk, SIM_SOLO_DIR "/t-0/partition.metadata", "topic_id: ");
    origin.disk = sim_disk_copy_new(disk);
    for (size_t i = 0; i < STAGE_PEERS; i++)
        origin.directories[i] = line_uuid(sim_host_disk(origin.nodes[i + 1].host),
                                          SIM_SOLO_DIR "/meta.properties", "directory.id=");
}

/* ---- sending ---- */

void stage_send(struct stage *s, size_t slot, const void *frame, size_t size)
{
    struct kb_chain chain = {0};
    if (s->slots[slot].conn == NULL)
        return;
    struct kb_block *block = kb_block_new(4 + size);
    kb_put_be32(block->data, (uint32_t)size);
    if (size > 0)
        memcpy(block->data + 4, frame, size);
    block->size = (uint32_t)(4 + size);
    kb_chain_add_block(&chain, block, 0, block->size);
    (void)kb_block_unref(block);
    kb_conn_send(s->slots[slot].conn, &chain);
}

void stage_send_message(struct stage *s, size_t slot, const Kvorum__PeerMessage *m,
                        struct kb_view payload)
{
    struct kb_chain body = {0};
    struct kb_chain chain = {0};
    if (s->slots[slot].conn == NULL)
        return;
    if (payload.size > 0) {
        struct kb_block *block = kb_block_copy(payload.data, payload.size);
        kb_chain_add_block(&body, block, 0, block->size);
        (void)kb_block_unref(block);
    }
    node_frame_write(&chain, m, payload.size > 0 ? &body : NULL);
    kb_conn_send(s->slots[slot].conn, &chain);
}

static void send_hello(struct stage_slot *slot)
{
    struct stage *s = slot->stage;
    struct stage_peer *peer = &s->peers[slot->peer - FIRST_PEER];
    Kvorum__PeerMessage m = KVORUM__PEER_MESSAGE__INIT;
    Kvorum__PeerHello h = KVORUM__PEER_HELLO__INIT;
    m.body_case = KVORUM__PEER_MESSAGE__BODY_HELLO;
    m.hello = &h;
    h.has_protocol = h.has_node_id = h.has_directory_id = h.has_incarnation = 1;
    h.has_broker_epoch = h.has_purpose = h.has_link_number = h.has_voter = h.has_founded = 1;
    h.protocol = 1;
    h.cluster_id = s->cluster_id;
    h.node_id = slot->peer;
    h.directory_id.data = peer->directory.bytes;
    h.directory_id.len = sizeof(peer->directory.bytes);
    h.incarnation = 1000 + (uint64_t)slot->peer;
    h.broker_epoch = peer->broker_epoch;
    h.purpose = slot->purpose;
    h.link_number = ++peer->link_number;
    h.voter = 1;
    h.founded = 1;
    stage_send_message(s, (size_t)(slot - s->slots), &m, (struct kb_view){0});
}

/* ---- manners ---- */

static uint64_t last_index_of(const Kvorum__RaftMessage *m, struct kb_view payload)
{
    uint64_t last = m->prev_index;
    struct kw_batches it;
    struct kw_batch b;
    kw_batches_init(&it, payload.data, payload.size);
    while (kw_batches_next(&it, &b) == KW_BATCHES_ONE)
        last = (uint64_t)kw_batch_last_offset(&b);
    return last;
}

static void answer_raft(struct stage_slot *slot, const Kvorum__RaftMessage *q,
                        struct kb_view payload)
{
    Kvorum__PeerMessage m = KVORUM__PEER_MESSAGE__INIT;
    Kvorum__RaftMessage a = KVORUM__RAFT_MESSAGE__INIT;
    m.body_case = KVORUM__PEER_MESSAGE__BODY_RAFT;
    m.raft = &a;
    a.has_kind = a.has_term = 1;
    a.term = q->term;
    if (q->kind == RAFT_MSG_PRE_VOTE || q->kind == RAFT_MSG_VOTE) {
        a.kind = q->kind + 1;
        a.has_granted = a.granted = 1;
    } else if (q->kind == RAFT_MSG_APPEND) {
        a.kind = RAFT_MSG_APPEND_REPLY;
        a.has_round = a.has_match_index = a.has_end_index = a.has_durable_index = 1;
        a.round = q->round;
        a.match_index = a.end_index = a.durable_index = last_index_of(q, payload);
    } else {
        return;
    }
    stage_send_message(slot->stage, (size_t)(slot - slot->stage->slots), &m, (struct kb_view){0});
}

static void send_register(struct stage *s, size_t slot)
{
    struct stage_peer *peer = &s->peers[s->slots[slot].peer - FIRST_PEER];
    Kvorum__PeerMessage m = KVORUM__PEER_MESSAGE__INIT;
    Kvorum__RegisterRequest q = KVORUM__REGISTER_REQUEST__INIT;
    m.has_request_id = 1;
    m.request_id = 1;
    m.body_case = KVORUM__PEER_MESSAGE__BODY_REGISTER_REQUEST;
    m.register_request = &q;
    q.has_node_id = q.has_incarnation = q.has_directory_id = q.has_clean = 1;
    q.node_id = s->slots[slot].peer;
    q.incarnation = 1000 + (uint64_t)q.node_id;
    q.directory_id.data = peer->directory.bytes;
    q.directory_id.len = sizeof(peer->directory.bytes);
    q.boot_id = (char *)(uintptr_t) "boot";
    q.cluster_id = s->cluster_id;
    stage_send_message(s, slot, &m, (struct kb_view){0});
    peer->registering = true;
}

static void send_heartbeat(struct stage *s, size_t slot, uint64_t applied_index)
{
    struct stage_peer *peer = &s->peers[s->slots[slot].peer - FIRST_PEER];
    Kvorum__PeerMessage m = KVORUM__PEER_MESSAGE__INIT;
    Kvorum__HeartbeatRequest q = KVORUM__HEARTBEAT_REQUEST__INIT;
    m.has_request_id = 1;
    m.request_id = 2;
    m.body_case = KVORUM__PEER_MESSAGE__BODY_HEARTBEAT_REQUEST;
    m.heartbeat_request = &q;
    q.has_node_id = q.has_incarnation = q.has_broker_epoch = 1;
    q.has_applied_index = q.has_want_unfence = 1;
    q.node_id = s->slots[slot].peer;
    q.incarnation = 1000 + (uint64_t)q.node_id;
    q.broker_epoch = peer->broker_epoch;
    q.applied_index = applied_index;
    q.want_unfence = 1;
    stage_send_message(s, slot, &m, (struct kb_view){0});
}

/* What a broker does on its own: register with the controller, then send heartbeats. */
static void be_a_broker(struct stage *s, size_t slot)
{
    struct stage_peer *peer = &s->peers[s->slots[slot].peer - FIRST_PEER];
    struct sim_raft_view view;
    uint64_t now_ms = sim_world_now_us(s->solo.world) / 1000;
    if (!s->slots[slot].open || !sim_probe_raft(s->solo.node, &view) || !view.leader)
        return;
    if (peer->broker_epoch == 0 && !peer->registering) {
        send_register(s, slot);
    } else if (peer->broker_epoch != 0 && now_ms >= peer->heartbeat_ms + HEARTBEAT_MS) {
        peer->heartbeat_ms = now_ms;
        send_heartbeat(s, slot, view.last_index);
    }
}

/* ---- what node 1 sends ---- */

static void remember(struct stage_slot *slot, uint64_t request_id)
{
    if (slot->asked_count == STAGE_ASKED_MAX)
        memmove(slot->asked, slot->asked + 1, sizeof(slot->asked[0]) * --slot->asked_count);
    slot->asked[slot->asked_count++] = request_id;
}

static void take(struct stage_slot *slot, const Kvorum__PeerMessage *m, struct kb_view payload)
{
    struct stage *s = slot->stage;
    if (m->body_case == KVORUM__PEER_MESSAGE__BODY_HELLO) {
        if (slot - s->slots >= FIRST_ACCEPTED) {
            slot->purpose = m->hello->purpose;
            send_hello(slot);
        }
        slot->open = m->hello->refusal == NULL;
    }
    if (m->has_request_id)
        remember(slot, m->request_id);
    if (!s->manners)
        return;
    if (m->body_case == KVORUM__PEER_MESSAGE__BODY_RAFT)
        answer_raft(slot, m->raft, payload);
    if (m->body_case == KVORUM__PEER_MESSAGE__BODY_REGISTER_RESPONSE &&
        m->register_response->error == 0)
        s->peers[slot->peer - FIRST_PEER].broker_epoch = m->register_response->broker_epoch;
}

static void on_frame(struct kb_conn *conn, void *user, struct kb_block *frame)
{
    struct kb_arena arena;
    Kvorum__PeerMessage *m = NULL;
    struct kb_view payload = {0};
    (void)conn;
    kb_arena_init(&arena, ARENA_BYTES);
    /* What a node sends, a node can read. */
    int r = node_frame_read(kb_view_of(frame->data, frame->size), &arena, &m, &payload);
    KB_ASSERT(r == 0);
    take(user, m, payload);
    kb_arena_release(&arena);
}

static void on_open(struct kb_conn *conn, void *user)
{
    (void)conn;
    (void)user;
}

static void on_close(struct kb_conn *conn, void *user, enum kb_close_reason reason)
{
    struct stage_slot *slot = user;
    (void)reason;
    if (slot->conn == conn) {
        slot->conn = NULL;
        slot->open = false;
        slot->asked_count = 0;
    }
}

static const struct kb_conn_handler handler = {
    .on_open = on_open, .on_frame = on_frame, .on_close = on_close};
static const struct kb_conn_options options = {.frame_bytes_max = FRAME_BYTES_MAX,
                                               .send_high_bytes = FRAME_BYTES_MAX};

struct acceptor {
    struct stage *stage;
    int peer;
};
static struct acceptor acceptors[STAGE_PEERS];

static void on_accept(struct kb_conn *conn, const char *host, uint16_t port, void *arg)
{
    const struct acceptor *a = arg;
    (void)host;
    (void)port;
    for (size_t i = FIRST_ACCEPTED; i < STAGE_SLOTS; i++) {
        struct stage_slot *slot = &a->stage->slots[i];
        if (slot->conn != NULL)
            continue;
        slot->peer = a->peer;
        slot->conn = conn;
        kb_conn_set_handler(conn, &handler, slot);
        return;
    }
    kb_conn_close(conn);
}

/* ---- the stage ---- */

void stage_dial(struct stage *s, size_t slot, uint32_t purpose, bool hello)
{
    struct stage_slot *c = &s->slots[slot % FIRST_ACCEPTED];
    if (c->conn != NULL)
        return;
    c->purpose = purpose;
    c->conn = kb_env_connect(s->peers[c->peer - FIRST_PEER].env, "node1", SIM_SOLO_PEER_PORT, 1000,
                             &options, &handler, c);
    if (hello)
        send_hello(c);
}

void stage_close(struct stage *s, size_t slot)
{
    if (s->slots[slot].conn != NULL)
        kb_conn_close(s->slots[slot].conn);
}

void stage_run(struct stage *s, uint64_t duration_ms)
{
    for (uint64_t ms = 0; ms < duration_ms; ms += STEP_MS) {
        uint64_t left = duration_ms - ms;
        sim_world_run_for(s->solo.world, left < STEP_MS ? left : STEP_MS);
        for (size_t i = 0; s->manners && i < STAGE_PEERS; i++)
            be_a_broker(s, i);
    }
}

static bool is_controller(void *arg)
{
    const struct stage *s = arg;
    struct sim_raft_view view;
    return sim_probe_raft(s->solo.node, &view) && view.leader;
}

void stage_init(struct stage *s, bool manners)
{
    if (origin.disk == NULL)
        origin_make();
    memset(s, 0, sizeof(*s));
    s->manners = manners;
    s->cluster_id = origin.cluster_id;
    s->topic_id = origin.topic_id;
    sim_solo_init(&s->solo, SEED, 3);
    s->solo.apis = origin.nodes[0].apis;
    s->solo.apis_count = origin.nodes[0].apis_count;
    sim_disk_restore(sim_host_disk(s->solo.host), origin.disk);
    for (size_t i = 0; i < STAGE_SLOTS; i++)
        s->slots[i] = (struct stage_slot){.stage = s, .peer = FIRST_PEER + (int)(i % STAGE_PEERS)};
    for (size_t i = 0; i < STAGE_PEERS; i++) {
        const char *names[] = {"node2", "node3"};
        s->peers[i].env = sim_env_kb(sim_world_add_env(s->solo.world, names[i]));
        s->peers[i].directory = origin.directories[i];
        acceptors[i] = (struct acceptor){s, FIRST_PEER + (int)i};
        int r = kb_env_listen(s->peers[i].env, "", SIM_SOLO_PEER_PORT, &options, on_accept,
                              &acceptors[i], &s->peers[i].listener);
        KB_ASSERT(r == 0);
    }
    sim_solo_start(&s->solo);
    stage_run(s, STEP_MS);
    if (!manners)
        return;
    for (size_t i = 0; i < FIRST_ACCEPTED; i++)
        stage_dial(s, i, (uint32_t)(i / STAGE_PEERS), true);
    for (uint64_t ms = 0; ms < START_MS && !is_controller(s); ms += STEP_MS)
        stage_run(s, STEP_MS);
    stage_run(s, SETTLE_MS);
}

void stage_release(struct stage *s)
{
    KB_ASSERT(!sim_env_is_down(s->solo.env));
    for (size_t i = 0; i < STAGE_SLOTS; i++)
        stage_close(s, i);
    for (size_t i = 0; i < STAGE_PEERS; i++)
        s->peers[i].listener = kb_listener_close(s->peers[i].listener);
    stage_run(s, STEP_MS);
    KB_ASSERT(!sim_env_is_down(s->solo.env));
    sim_env_kill(s->solo.env);
    s->solo.node = node_free(s->solo.node);
    KB_ASSERT(sim_env_leaks(s->solo.env) == 0);
    s->solo.env = sim_env_free(s->solo.env);
    sim_solo_release(&s->solo);
}
