#include "tests/fuzz/client_stage.h"

#include <string.h>

#include "broker/api/api.h"
#include "proto/base/assert.h"
#include "proto/base/err.h"
#include "proto/base/mem.h"
#include "proto/kafka/api.h"
#include "proto/kafka/messages_table.h"
#include "tests/fuzz/client_expect.h"
#include "tests/sim/sim_disk.h"
#include "tests/sim/sim_probe.h"

enum {
    ORIGIN_SEED = 7,
    SEED = 8, /* another one, or the broker would live its first incarnation again */
    START_MS = 20000,
    STEP_MS = 50,
    ANSWER_MS = 12000,   /* beyond what the request allows: FORWARD_TIMEOUT_MS and a margin */
    PATIENCE_MS = 60000, /* longer waits are not waited for */
    FRAME_BYTES_MAX = 64 << 20,
};

/* ---- the disk that every run starts from ---- */

static struct {
    struct sim_solo solo;
    struct sim_disk_copy *disk;
    struct words_handles handles;
} origin;

static void origin_send(struct cstage *s, const void *frame, size_t size)
{
    uint8_t head[4];
    kb_put_be32(head, (uint32_t)size);
    cstage_send(s, 0, head, sizeof(head));
    cstage_send(s, 0, frame, size);
    cstage_run(s, 500);
}

/* What a script's words make: requests by API, version counted from the newest, values. */
static void origin_say(struct cstage *s, const uint8_t *script, size_t size)
{
    struct words_input in = {script, size};
    struct kb_buf frame = {0};
    bool written = words_request(&in, &s->handles, ++s->correlation_id, &frame);
    KB_ASSERT(written);
    origin_send(s, frame.data, frame.size);
    kb_buf_release(&frame);
}

static void broker_start(struct sim_solo *solo)
{
    sim_solo_start(solo);
    bool running = sim_solo_run_until(solo, NODE_RUNNING, START_MS);
    KB_ASSERT(running);
}

static void slots_init(struct cstage *s)
{
    for (size_t i = 0; i < CSTAGE_SLOTS; i++)
        s->slots[i].stage = s;
    s->env = sim_env_kb(sim_world_add_env(s->solo.world, "client"));
}

/* CreateTopics version 2: "t" with two partitions, "u" with one. */
static const uint8_t create_topics[] = {
    0, 19, 0, 2, 0, 0, 0, 1,   0, 1, 'f', 0, 0, 0, 2, 0, 1, 't', 0, 0, 0, 2, 0, 1, 0,  0,  0,
    0, 0,  0, 0, 0, 0, 1, 'u', 0, 0, 0,   1, 0, 1, 0, 0, 0, 0,   0, 0, 0, 0, 0, 0, 39, 16, 0};
/* OffsetCommit version 2 of group "g": t-0 is at 1. */
static const uint8_t commit[] = {0,   8,   0,   2,   0, 0, 0,   2,   0,   1,   'f', 0,   1,   'g',
                                 255, 255, 255, 255, 0, 0, 255, 255, 255, 255, 255, 255, 255, 255,
                                 0,   0,   0,   1,   0, 1, 't', 0,   0,   0,   1,   0,   0,   0,
                                 0,   0,   0,   0,   0, 0, 0,   0,   1,   0,   0};
/* FindCoordinator version 0 of group "g": makes __consumer_offsets. */
static const uint8_t find[] = {0, 10, 0, 0, 0, 0, 0, 3, 0, 1, 'f', 0, 1, 'g'};
/* Metadata version 12 of everything: the topic ids. */
static const uint8_t metadata[] = {0, 3, 0, 12, 0, 0, 0, 4, 0, 1, 'f', 0, 0, 0, 0, 0};

static void origin_make(void)
{
    static const uint8_t init_producer[] = {17};
    static const uint8_t produce[] = {0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 8, 3};
    struct cstage s;
    memset(&s, 0, sizeof(s));
    sim_solo_init(&s.solo, ORIGIN_SEED, 1);
    s.solo.apis = api_table(&s.solo.apis_count);
    broker_start(&s.solo);
    slots_init(&s);
    cstage_open(&s, 0);
    origin_send(&s, create_topics, sizeof(create_topics));
    origin_send(&s, find, sizeof(find));
    cstage_run(&s, 1000);
    origin_send(&s, commit, sizeof(commit));
    origin_send(&s, metadata, sizeof(metadata));
    origin_say(&s, init_producer, sizeof(init_producer));
    origin_say(&s, produce, sizeof(produce));
    origin_say(&s, produce, sizeof(produce));
    KB_ASSERT(s.slots[0].conn != NULL && s.slots[0].waiting_count == 0);
    KB_ASSERT(s.handles.end_offset > 0);
    cstage_close(&s, 0);
    cstage_run(&s, STEP_MS);
    sim_solo_kill(&s.solo);
    struct sim_disk *disk = sim_host_disk(s.solo.host);
    sim_disk_crash(disk, SIM_CRASH_KEEP); /* all of it durable: what the copy takes */
    origin.disk = sim_disk_copy_new(disk);
    origin.handles = s.handles;
    origin.solo = s.solo;
}

/* ---- connections ---- */

static void slot_clear(struct cstage_slot *slot)
{
    kb_buf_release(&slot->pending);
    *slot = (struct cstage_slot){.stage = slot->stage};
}

static void on_frame(struct kb_conn *conn, void *user, struct kb_block *frame)
{
    struct cstage_slot *slot = user;
    (void)conn;
    expect_answer(slot, kb_view_of(frame->data, frame->size));
}

static void on_close(struct kb_conn *conn, void *user, enum kb_close_reason reason)
{
    struct cstage_slot *slot = user;
    if (slot->conn != conn)
        return; /* closed here, the slot has gone on */
    if (reason != KB_CLOSE_LOCAL)
        expect_close(slot);
    slot_clear(slot);
}

static const struct kb_conn_handler handler = {.on_frame = on_frame, .on_close = on_close};
static const struct kb_conn_options options = {.frame_bytes_max = FRAME_BYTES_MAX,
                                               .send_high_bytes = FRAME_BYTES_MAX};

void cstage_open(struct cstage *s, size_t slot)
{
    struct cstage_slot *c = &s->slots[slot % CSTAGE_SLOTS];
    if (c->conn == NULL)
        c->conn = kb_env_connect(s->env, "node1", SIM_SOLO_PORT, 1000, &options, &handler, c);
}

void cstage_close(struct cstage *s, size_t slot)
{
    struct cstage_slot *c = &s->slots[slot % CSTAGE_SLOTS];
    if (c->conn == NULL)
        return;
    struct kb_conn *conn = c->conn;
    slot_clear(c);
    kb_conn_close(conn);
}

void cstage_send(struct cstage *s, size_t slot, const void *data, size_t size)
{
    struct cstage_slot *c = &s->slots[slot % CSTAGE_SLOTS];
    struct kb_chain chain = {0};
    if (c->conn == NULL || size == 0)
        return;
    struct kb_block *block = kb_block_copy(data, size);
    kb_chain_add_block(&chain, block, 0, block->size);
    (void)kb_block_unref(block);
    expect_sent(c, data, size);
    kb_conn_send(c->conn, &chain);
}

/* ---- the stage ---- */

void cstage_run(struct cstage *s, uint64_t duration_ms)
{
    sim_world_run_for(s->solo.world, duration_ms);
    KB_ASSERT(s->solo.env == NULL || !sim_env_is_down(s->solo.env));
}

void cstage_init(struct cstage *s)
{
    if (origin.disk == NULL)
        origin_make();
    memset(s, 0, sizeof(*s));
    s->handles = origin.handles;
    sim_solo_init(&s->solo, SEED, 1);
    s->solo.apis = origin.solo.apis;
    s->solo.apis_count = origin.solo.apis_count;
    sim_disk_restore(sim_host_disk(s->solo.host), origin.disk);
    broker_start(&s->solo);
    slots_init(s);
    cstage_open(s, 0);
    cstage_run(s, STEP_MS);
    s->handles.leader_epoch = sim_probe_leader_epoch(s->solo.node, "t", 0);
}

/* What is still to come; *ret_ms: how long that may take. */
static bool is_waiting(const struct cstage *s, uint64_t *ret_ms)
{
    bool waits = false;
    *ret_ms = 0;
    for (size_t i = 0; i < CSTAGE_SLOTS; i++) {
        uint64_t ms = 0;
        if (s->slots[i].conn != NULL && expect_wait(&s->slots[i], &ms) && ms <= PATIENCE_MS) {
            waits = true;
            *ret_ms = ms > *ret_ms ? ms : *ret_ms;
        }
    }
    return waits;
}

static void wait_for_answers(struct cstage *s)
{
    uint64_t ms = 0;
    uint64_t limit_ms = 0;
    (void)is_waiting(s, &limit_ms);
    limit_ms += ANSWER_MS;
    for (uint64_t waited = 0; is_waiting(s, &ms) && waited < limit_ms; waited += STEP_MS)
        cstage_run(s, STEP_MS);
    KB_ASSERT(!is_waiting(s, &ms));
}

/* ---- the same after a restart ---- */

struct offsets {
    int16_t errors[8];
    int64_t offsets[8];
    size_t count;
};

static void on_offsets(struct kb_conn *conn, void *user, struct kb_block *frame)
{
    struct offsets *ret = user;
    struct kb_arena arena;
    struct kw_reader rd;
    struct kw_list_offsets_response r;
    int32_t correlation_id = 0;
    (void)conn;
    kb_arena_init(&arena, 1 << 20);
    kw_reader_init(&rd, frame->data, frame->size);
    int result = kw_response_header_read(&rd, KW_API_LIST_OFFSETS, 1, &correlation_id);
    KB_ASSERT(result == 0);
    result = kw_list_offsets_response_read(&rd, 1, &arena, &r);
    KB_ASSERT(result == 0);
    for (int32_t i = 0; i < r.topics_count; i++) {
        for (int32_t k = 0; k < r.topics[i].partitions_count && ret->count < 8; k++) {
            ret->errors[ret->count] = r.topics[i].partitions[k].error_code;
            ret->offsets[ret->count++] = r.topics[i].partitions[k].offset;
        }
    }
    kb_arena_release(&arena);
}

static void on_offsets_close(struct kb_conn *conn, void *user, enum kb_close_reason reason)
{
    (void)conn;
    (void)user;
    (void)reason;
}

/* First and next offsets of t-0, t-1 and u-0: ListOffsets version 1. */
static struct offsets ask_offsets(struct cstage *s)
{
    static const struct kb_conn_handler asking = {.on_frame = on_offsets,
                                                  .on_close = on_offsets_close};
    struct offsets ret = {.count = 0};
    for (int64_t timestamp = -2; timestamp < 0; timestamp++) {
        struct kw_list_offsets_request_partition t[] = {{0, -1, timestamp}, {1, -1, timestamp}};
        struct kw_list_offsets_request_topic topics[] = {{KW_STR("t"), t, 2}, {KW_STR("u"), t, 1}};
        const struct kw_list_offsets_request q = {
            .replica_id = -1, .topics = topics, .topics_count = 2};
        const struct kw_request_header head = {KW_API_LIST_OFFSETS, 1, 1, KW_STR("f")};
        struct kb_chain chain = {0};
        struct kw_writer w;
        kw_writer_init(&w, &chain);
        kw_frame_begin(&w);
        kw_request_header_write(&w, &head);
        kw_list_offsets_request_write(&w, 1, &q);
        kw_frame_end(&w);
        int r = kw_writer_finish(&w);
        KB_ASSERT(r == 0);
        size_t before = ret.count;
        struct kb_conn *conn = kb_env_connect(s->env, "node1", SIM_SOLO_PORT, 1000, &options,
                                              &asking, &ret);
        kb_conn_send(conn, &chain);
        for (int i = 0; i < 100 && ret.count == before; i++)
            cstage_run(s, STEP_MS);
        KB_ASSERT(ret.count == before + 3);
        kb_conn_close(conn);
        cstage_run(s, STEP_MS);
    }
    return ret;
}

static void end_life(struct cstage *s)
{
    sim_env_kill(s->solo.env);
    s->solo.node = node_free(s->solo.node);
    KB_ASSERT(sim_env_leaks(s->solo.env) == 0);
    s->solo.env = sim_env_free(s->solo.env);
}

static void check_reopen(struct cstage *s)
{
    struct offsets before = ask_offsets(s);
    end_life(s);
    broker_start(&s->solo);
    struct offsets after = ask_offsets(s);
    KB_ASSERT(memcmp(before.errors, after.errors, sizeof(before.errors)) == 0);
    KB_ASSERT(memcmp(before.offsets, after.offsets, sizeof(before.offsets)) == 0);
}

void cstage_release(struct cstage *s, bool reopen)
{
    wait_for_answers(s);
    for (size_t i = 0; i < CSTAGE_SLOTS; i++)
        cstage_close(s, i);
    cstage_run(s, STEP_MS);
    KB_ASSERT(sim_probe_client_bytes(s->solo.node) == 0);
    if (reopen)
        check_reopen(s);
    end_life(s);
    sim_solo_release(&s->solo);
}
