/* Any bytes as a frame of a peer: refused, or a message that is written and read again the same. A
 * message of the consensus core also goes through its own wire form. */
#include <string.h>

#include "broker/node/frame.h"
#include "broker/node/quorum.h"
#include "proto/base/assert.h"

enum { ARENA_BYTES = 32 << 20 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct kb_buf pack(const Kvorum__PeerMessage *m)
{
    struct kb_buf out = {0};
    kb_buf_reserve(&out, kvorum__peer_message__get_packed_size(m) + 1);
    out.size = kvorum__peer_message__pack(m, out.data);
    return out;
}

static void check_again(const Kvorum__PeerMessage *m, struct kb_arena *arena)
{
    struct kb_chain chain = {0};
    struct kb_view payload = {0};
    Kvorum__PeerMessage *back = NULL;
    node_frame_write(&chain, m, NULL);
    KB_ASSERT(chain.count == 1);
    const struct kb_slice *s = &chain.slices[0];
    const uint8_t *frame = s->block->data + s->position;
    KB_ASSERT(kb_get_be32(frame) == s->size - 4);
    /* What was read may have come in a shorter form: only the second time it must fit and agree. */
    if (node_frame_read(kb_view_of(frame + 4, s->size - 4), arena, &back, &payload) == 0) {
        struct kb_buf first = pack(m);
        struct kb_buf second = pack(back);
        KB_ASSERT(payload.size == 0);
        KB_ASSERT(first.size == second.size);
        KB_ASSERT(memcmp(first.data, second.data, first.size) == 0);
        kb_buf_release(&first);
        kb_buf_release(&second);
    }
    kb_chain_release(&chain);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct kb_arena arena;
    struct kb_view payload = {0};
    Kvorum__PeerMessage *m = NULL;
    kb_arena_init(&arena, ARENA_BYTES);
    if (node_frame_read(kb_view_of(data, size), &arena, &m, &payload) == 0) {
        KB_ASSERT(payload.size <= size);
        KB_ASSERT(payload.size == 0 || payload.data + payload.size == data + size);
        struct raft_message raft;
        if (m->body_case == KVORUM__PEER_MESSAGE__BODY_RAFT &&
            quorum_message_read(m->raft, &raft) == 0)
            KB_ASSERT(raft.kind < RAFT_MSG_MAX_);
        check_again(m, &arena);
    }
    kb_arena_release(&arena);
    return 0;
}
