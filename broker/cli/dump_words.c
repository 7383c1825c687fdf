/* Records of internal topics in words, from the descriptions that their formats carry. */
#include <stdlib.h>

#include "broker/cli/dump.h"
#include "proto/cluster/metadata.pb-c.h"
#include "proto/kafka/messages_table.h"

enum { RECORD_BYTES_MAX = 16 << 20, ARENA_BYTES = 64 << 20, UUID_BYTES = 16 };

/* ---- protobuf ---------------------------------------------------------------------------------
 */

static json_t *message_json(const ProtobufCMessage *message);

static json_t *bytes_json(const ProtobufCBinaryData *b)
{
    if (b->len == UUID_BYTES) {
        struct kb_uuid u;
        memcpy(u.bytes, b->data, UUID_BYTES);
        return cli_uuid_json(&u);
    }
    return cli_str_json((struct kw_str){(const char *)b->data, (int32_t)b->len});
}

/* One value of a field, where it lies in its struct or array. */
static json_t *value_json(const ProtobufCFieldDescriptor *f, const void *at)
{
    switch (f->type) {
    case PROTOBUF_C_TYPE_BOOL:
        return json_boolean(*(const protobuf_c_boolean *)at);
    case PROTOBUF_C_TYPE_STRING:
        return cli_str_json(kw_str_of(*(const char *const *)at));
    case PROTOBUF_C_TYPE_BYTES:
        return bytes_json(at);
    case PROTOBUF_C_TYPE_MESSAGE:
        return message_json(*(const ProtobufCMessage *const *)at);
    case PROTOBUF_C_TYPE_UINT32:
    case PROTOBUF_C_TYPE_FIXED32:
        return json_integer(*(const uint32_t *)at);
    case PROTOBUF_C_TYPE_INT32:
    case PROTOBUF_C_TYPE_SINT32:
    case PROTOBUF_C_TYPE_SFIXED32:
    case PROTOBUF_C_TYPE_ENUM:
        return json_integer(*(const int32_t *)at);
    case PROTOBUF_C_TYPE_FIXED64: { /* identities: all 64 bits count */
        return json_sprintf("%016" PRIx64, *(const uint64_t *)at);
    }
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_SINT64:
    case PROTOBUF_C_TYPE_SFIXED64:
        return json_integer((json_int_t) * (const int64_t *)at);
    case PROTOBUF_C_TYPE_FLOAT:
        return json_real((double)*(const float *)at);
    case PROTOBUF_C_TYPE_DOUBLE:
        return json_real(*(const double *)at);
    }
    return json_null();
}

static size_t element_size(const ProtobufCFieldDescriptor *f)
{
    switch (f->type) {
    case PROTOBUF_C_TYPE_BOOL:
        return sizeof(protobuf_c_boolean);
    case PROTOBUF_C_TYPE_BYTES:
        return sizeof(ProtobufCBinaryData);
    case PROTOBUF_C_TYPE_UINT32:
    case PROTOBUF_C_TYPE_FIXED32:
    case PROTOBUF_C_TYPE_INT32:
    case PROTOBUF_C_TYPE_SINT32:
    case PROTOBUF_C_TYPE_SFIXED32:
    case PROTOBUF_C_TYPE_ENUM:
    case PROTOBUF_C_TYPE_FLOAT:
        return 4;
    default:
        return 8; /* numbers and pointers */
    }
}

/* Is an optional field there? */
static bool present(const ProtobufCFieldDescriptor *f, const uint8_t *base)
{
    if (f->type == PROTOBUF_C_TYPE_STRING || f->type == PROTOBUF_C_TYPE_MESSAGE)
        return *(void *const *)(base + f->offset) != NULL;
    return *(const protobuf_c_boolean *)(base + f->quantifier_offset) != 0;
}

static json_t *message_json(const ProtobufCMessage *message)
{
    const uint8_t *base = (const uint8_t *)message;
    json_t *o = json_object();
    for (unsigned i = 0; i < message->descriptor->n_fields; i++) {
        const ProtobufCFieldDescriptor *f = &message->descriptor->fields[i];
        if (f->label == PROTOBUF_C_LABEL_REPEATED) {
            size_t count = *(const size_t *)(base + f->quantifier_offset);
            const uint8_t *elements = *(const uint8_t *const *)(base + f->offset);
            json_t *list = json_array();
            for (size_t k = 0; k < count; k++)
                (void)json_array_append_new(list, value_json(f, elements + k * element_size(f)));
            if (count > 0)
                (void)json_object_set(o, f->name, list);
            json_decref(list);
        } else if (present(f, base)) {
            (void)json_object_set_new(o, f->name, value_json(f, base + f->offset));
        }
    }
    return o;
}

json_t *cli_dump_metadata_record(struct kb_view bytes)
{
    ProtobufCMessage *message = NULL;
    struct kb_arena arena;
    json_t *line = NULL;
    kb_arena_init(&arena, ARENA_BYTES);
    if (kc_unpack(&kc__record__descriptor, &arena, bytes, RECORD_BYTES_MAX, &message) == 0) {
        const Kc__Record *record = (const Kc__Record *)message;
        const ProtobufCFieldDescriptor *f = protobuf_c_message_descriptor_get_field(
            &kc__record__descriptor, (unsigned)record->kind_case);
        if (record->kind_case != KC__RECORD__KIND__NOT_SET && f != NULL) {
            json_t *fields = value_json(f, (const uint8_t *)message + f->offset);
            line = json_pack("{s:s}", "kind", f->name);
            (void)json_object_update(line, fields);
            json_decref(fields);
        }
    }
    kb_arena_release(&arena);
    return line;
}

/* ---- __consumer_offsets -----------------------------------------------------------------------
 */

/* An int16 version, then the message. JSON null when it cannot be read. */
static json_t *versioned_json(const char *name, struct kw_bytes bytes, bool key)
{
    const struct kw_message *m = kw_message_find(name);
    struct kw_reader rd;
    struct kb_arena arena;
    struct kb_buf text = {0};
    json_t *o = NULL;
    kw_reader_init(&rd, bytes.data, (size_t)(bytes.size > 0 ? bytes.size : 0));
    int16_t version = kw_get_int16(&rd);
    if (key)
        version = 0; /* there it tells what kind of key follows */
    kb_arena_init(&arena, ARENA_BYTES);
    void *message = m != NULL ? kb_arena_alloc(&arena, m->size) : NULL;
    if (message != NULL && version >= m->version_min && version <= m->version_max) {
        m->init(message);
        if (m->read(&rd, version, &arena, message) == 0) {
            m->dump(&text, version, message);
            o = json_loadb((const char *)text.data, text.size, 0, NULL);
        }
    }
    kb_buf_release(&text);
    kb_arena_release(&arena);
    return o != NULL ? o : json_null();
}

json_t *cli_dump_group_record(struct kw_bytes key, struct kw_bytes value)
{
    struct kw_reader rd;
    kw_reader_init(&rd, key.data, (size_t)(key.size > 0 ? key.size : 0));
    int16_t kind = kw_get_int16(&rd);
    if (!kw_reader_ok(&rd) || kind < 0 || kind > 2)
        return NULL;
    bool offset = kind < 2; /* 0 and 1: a committed offset, 2: a group */
    json_t *line = json_pack("{s:s}", "kind", offset ? "offset_commit" : "group_metadata");
    json_t *fields = versioned_json(offset ? "OffsetCommitKey" : "GroupMetadataKey", key, true);
    (void)json_object_update(line, fields);
    json_decref(fields);
    if (value.data == NULL)
        (void)json_object_set_new(line, "tombstone", json_true());
    else
        (void)json_object_set_new(
            line, "value",
            versioned_json(offset ? "OffsetCommitValue" : "GroupMetadataValue", value, false));
    return line;
}
