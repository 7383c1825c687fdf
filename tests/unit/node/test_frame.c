/* Peer frames: any bit that flips on the way is found, and a frame of a broker that sends no check
 * is taken. */
#include "broker/node/frame.h"
#include "proto/base/err.h"
#include "tests/unit/unit.h"

static void fill(Kvorum__PeerMessage *m, Kvorum__Ping *ping)
{
    kvorum__peer_message__init(m);
    kvorum__ping__init(ping);
    m->has_request_id = 1;
    m->request_id = 77;
    m->body_case = KVORUM__PEER_MESSAGE__BODY_PING;
    m->ping = ping;
}

static int read_size(const uint8_t *frame, size_t size, uint64_t *ret_id)
{
    struct kb_arena arena;
    struct kb_view payload;
    Kvorum__PeerMessage *m = NULL;
    kb_arena_init(&arena, 1 << 20);
    int r = node_frame_read(kb_view_of(frame, size), &arena, &m, &payload);
    if (r == 0)
        *ret_id = m->request_id;
    kb_arena_release(&arena);
    return r;
}

START_TEST(frame__with_a_flipped_bit_is_refused)
{
    Kvorum__PeerMessage m;
    Kvorum__Ping ping;
    struct kb_chain chain = {0};
    uint64_t id = 0;
    fill(&m, &ping);
    node_frame_write(&chain, &m, NULL);
    const struct kb_slice *s = &chain.slices[0];
    size_t size = s->size - 4;
    uint8_t *frame = s->block->data + s->position + 4;
    ck_assert_int_eq(read_size(frame, size, &id), 0);
    ck_assert_uint_eq(id, 77);
    for (size_t i = 0; i < size * 8; i++) {
        frame[i / 8] ^= (uint8_t)(1U << i % 8);
        int r = read_size(frame, size, &id);
        /* Where it hides the check, the link knows that there must be one. */
        ck_assert(r < 0 || !node_frame_has_check(kb_view_of(frame, size)));
        frame[i / 8] ^= (uint8_t)(1U << i % 8);
    }
    ck_assert_int_eq(read_size(frame, size - 1, &id), -KB_EINVAL);
    kb_chain_release(&chain);
}
END_TEST

START_TEST(frame__without_a_check_is_taken)
{
    Kvorum__PeerMessage m;
    Kvorum__Ping ping;
    uint8_t frame[64];
    uint64_t id = 0;
    fill(&m, &ping);
    size_t size = kvorum__peer_message__pack(&m, frame + 4);
    kb_put_be32(frame, (uint32_t)size);
    ck_assert_int_eq(read_size(frame, size + 4, &id), 0);
    ck_assert_uint_eq(id, 77);
}
END_TEST

UNIT_MAIN("node_frame", frame__with_a_flipped_bit_is_refused, frame__without_a_check_is_taken)
