#include "broker/node/frame.h"

#include <string.h>

#include "proto/base/err.h"
#include "proto/cluster/unpack.h"

enum { HEADER_BYTES_MAX = 4 << 20 };

void node_frame_write(struct kb_chain *chain, const Kvorum__PeerMessage *m,
                      struct kb_chain *payload)
{
    size_t header_size = kvorum__peer_message__get_packed_size(m);
    uint64_t payload_size = payload != NULL ? payload->size : 0;
    struct kb_block *b = kb_block_new(8 + header_size);
    kb_put_be32(b->data, (uint32_t)(4 + header_size + payload_size));
    kb_put_be32(b->data + 4, (uint32_t)header_size);
    (void)kvorum__peer_message__pack(m, b->data + 8);
    b->size = (uint32_t)(8 + header_size);
    kb_chain_add_block(chain, b, 0, b->size);
    (void)kb_block_unref(b);
    if (payload != NULL)
        kb_chain_move(chain, payload);
}

int node_frame_read(struct kb_view frame, struct kb_arena *arena, Kvorum__PeerMessage **ret_message,
                    struct kb_view *ret_payload)
{
    ProtobufCMessage *m = NULL;
    if (frame.size < 4)
        return -KB_EINVAL;
    uint32_t header_size = kb_get_be32(frame.data);
    if (header_size > frame.size - 4 || header_size > HEADER_BYTES_MAX)
        return -KB_EINVAL;
    int r = kc_unpack(&kvorum__peer_message__descriptor, arena,
                      kb_view_of(frame.data + 4, header_size), HEADER_BYTES_MAX, &m);
    if (r < 0)
        return r;
    *ret_message = (Kvorum__PeerMessage *)m;
    *ret_payload = kb_view_of(frame.data + 4 + header_size, frame.size - 4 - header_size);
    return 0;
}
