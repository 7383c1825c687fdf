#ifndef KC_UNPACK_H
#define KC_UNPACK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <protobuf-c/protobuf-c.h>

#include "proto/base/arena.h"
#include "proto/base/bytes.h"
#include "proto/base/uuid.h"

/* Checked wrappers over protobuf-c, for bytes from peers and from disk. protobuf-c has no recursion
 * limit (our messages do not recurse), keeps unknown fields (up to 29 times the input) and does not
 * check enum ranges: frames are capped first and everything is allocated from an arena with a byte
 * limit, so nothing needs freeing message by message. */

#define KC_FRAME_BYTES_MAX (4u << 20) /* control frames between nodes */

/* Unpack one message. *ret lives in the arena and points only into it, not into data.
 * 0; -KB_ETOOBIG above size_max; -KB_ENOMEM when the arena's limit refuses; -KB_ECORRUPT when the
 * bytes are no such message. The arena may hold leftovers after a failure. */
int kc_unpack(const ProtobufCMessageDescriptor *descriptor, struct kb_arena *arena,
              struct kb_view data, size_t size_max, ProtobufCMessage **ret);

/* Append the packed message; returns its size. The message was made by us and is well formed. */
size_t kc_pack(struct kb_buf *buf, const ProtobufCMessage *message);

/* A uuid field: 0, or -KB_ECORRUPT unless it has 16 bytes; an absent or empty one is all zero. */
int kc_uuid_get(bool has, const ProtobufCBinaryData *field, struct kb_uuid *ret);
/* A field that borrows the uuid's bytes, for packing. */
static inline ProtobufCBinaryData kc_uuid_field(const struct kb_uuid *u)
{
    return (ProtobufCBinaryData){.len = 16, .data = (uint8_t *)(uintptr_t)u->bytes};
}
static inline struct kb_view kc_view(const ProtobufCBinaryData *field)
{
    return kb_view_of(field->data, field->len);
}
/* A borrowed string for packing: protobuf-c wants char *. */
static inline char *kc_str(const char *s)
{
    return (char *)(uintptr_t)s;
}

#endif
