#include "broker/node/frame.h"

#include <string.h>

#include "proto/base/crc32c.h"
#include "proto/base/err.h"
#include "proto/cluster/unpack.h"

enum {
    HEADER_BYTES_MAX = 4 << 20,
    SIZES_BYTES = 8,
    CHECK_BYTES = 6, /* tag and value of the field "check" of PeerMessage, which comes last */
};

static const uint8_t check_tag[2] = {0x85, 0x7d}; /* 2000, fixed32 */

/* Of both sizes as they travel, and of the message without this field. */
static uint32_t check_of(uint32_t size, uint32_t header_size, const uint8_t *header)
{
    uint8_t sizes[SIZES_BYTES];
    kb_put_be32(sizes, size);
    kb_put_be32(sizes + 4, header_size);
    uint32_t crc = kb_crc32c(0, sizes, sizeof(sizes));
    return kb_crc32c(crc, header, header_size - CHECK_BYTES);
}

static bool has_check(const uint8_t *header, uint32_t header_size)
{
    return header_size >= CHECK_BYTES &&
           memcmp(header + header_size - CHECK_BYTES, check_tag, sizeof(check_tag)) == 0;
}

void node_frame_write(struct kb_chain *chain, const Kvorum__PeerMessage *m,
                      struct kb_chain *payload)
{
    uint32_t header_size = (uint32_t)kvorum__peer_message__get_packed_size(m) + CHECK_BYTES;
    uint64_t payload_size = payload != NULL ? payload->size : 0;
    uint32_t size = (uint32_t)(4 + header_size + payload_size);
    struct kb_block *b = kb_block_new(SIZES_BYTES + header_size);
    uint8_t *header = b->data + SIZES_BYTES;
    uint8_t *check = header + header_size - CHECK_BYTES;
    kb_put_be32(b->data, size);
    kb_put_be32(b->data + 4, header_size);
    (void)kvorum__peer_message__pack(m, header);
    memcpy(check, check_tag, sizeof(check_tag));
    kb_put_be32(check + sizeof(check_tag), check_of(size, header_size, header));
    b->size = SIZES_BYTES + header_size;
    kb_chain_add_block(chain, b, 0, b->size);
    (void)kb_block_unref(b);
    if (payload != NULL)
        kb_chain_move(chain, payload);
}

bool node_frame_has_check(struct kb_view frame)
{
    return frame.size >= 4 && kb_get_be32(frame.data) <= frame.size - 4 &&
           has_check(frame.data + 4, kb_get_be32(frame.data));
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
    const uint8_t *header = frame.data + 4;
    uint32_t message_size = header_size;
    if (has_check(header, header_size)) { /* brokers that know of none send none */
        message_size -= CHECK_BYTES;
        if (kb_get_be32(header + message_size + sizeof(check_tag)) !=
            check_of((uint32_t)frame.size, header_size, header))
            return -KB_ECORRUPT;
    }
    int r = kc_unpack(&kvorum__peer_message__descriptor, arena, kb_view_of(header, message_size),
                      HEADER_BYTES_MAX, &m);
    if (r < 0)
        return r;
    *ret_message = (Kvorum__PeerMessage *)m;
    *ret_payload = kb_view_of(frame.data + 4 + header_size, frame.size - 4 - header_size);
    return 0;
}
