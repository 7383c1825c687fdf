#include "proto/cluster/unpack.h"

#include "proto/base/err.h"

static void *arena_allocate(void *data, size_t size)
{
    return kb_arena_alloc(data, size);
}

static void arena_free(void *data, void *pointer)
{
    /* The arena is freed as a whole. */
}

int kc_unpack(const ProtobufCMessageDescriptor *descriptor, struct kb_arena *arena,
              struct kb_view data, size_t size_max, ProtobufCMessage **ret)
{
    ProtobufCAllocator allocator = {
        .alloc = arena_allocate, .free = arena_free, .allocator_data = arena};
    if (data.size > size_max)
        return -KB_ETOOBIG;
    /* An empty message has no bytes, but memcpy and friends want a pointer. */
    static const uint8_t nothing[1];
    ProtobufCMessage *message = protobuf_c_message_unpack(descriptor, &allocator, data.size,
                                                          data.data != NULL ? data.data : nothing);
    if (message == NULL)
        return arena->failed ? -KB_ENOMEM : -KB_ECORRUPT;
    *ret = message;
    return 0;
}

size_t kc_pack(struct kb_buf *buf, const ProtobufCMessage *message)
{
    size_t size = protobuf_c_message_get_packed_size(message);
    kb_buf_reserve(buf, size);
    if (size > 0)
        protobuf_c_message_pack(message, buf->data + buf->size);
    buf->size += size;
    return size;
}

int kc_uuid_get(bool has, const ProtobufCBinaryData *field, struct kb_uuid *ret)
{
    if (!has || field->len == 0) {
        *ret = (struct kb_uuid){{0}};
        return 0;
    }
    if (field->len != sizeof(ret->bytes))
        return -KB_ECORRUPT;
    memcpy(ret->bytes, field->data, sizeof(ret->bytes));
    return 0;
}
