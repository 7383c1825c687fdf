/* Scenario: bytes from a peer or from disk are unpacked into an arena. Whatever they are, the
 * answer is a message or an error, memory stays below the arena's limit and nothing is left behind.
 */
#include "tests/unit/unit.h"

#include "proto/base/err.h"
#include "proto/base/prng.h"
#include "proto/cluster/metadata.pb-c.h"
#include "proto/cluster/unpack.h"

static void make_partition(struct kb_buf *buf)
{
    struct kb_uuid id = {{1, 2, 3}};
    ProtobufCBinaryData dirs[2] = {kc_uuid_field(&id), kc_uuid_field(&id)};
    int32_t replicas[2] = {1, 300};
    Kc__PartitionRecord partition = KC__PARTITION_RECORD__INIT;
    partition.has_topic_id = 1;
    partition.topic_id = kc_uuid_field(&id);
    partition.replicas = replicas;
    partition.n_replicas = 2;
    partition.directory_ids = dirs;
    partition.n_directory_ids = 2;
    Kc__Record record = KC__RECORD__INIT;
    record.kind_case = KC__RECORD__KIND_PARTITION;
    record.partition = &partition;
    (void)kc_pack(buf, &record.base);
}

START_TEST(unpack__gives_back_what_was_packed)
{
    struct kb_buf buf = {0};
    make_partition(&buf);
    struct kb_arena arena;
    kb_arena_init(&arena, 64 << 10);
    ProtobufCMessage *message = NULL;
    ck_assert_int_eq(kc_unpack(&kc__record__descriptor, &arena, kb_view_of(buf.data, buf.size),
                               KC_FRAME_BYTES_MAX, &message),
                     0);
    Kc__Record *record = (Kc__Record *)message;
    ck_assert_int_eq(record->kind_case, KC__RECORD__KIND_PARTITION);
    ck_assert_int_eq(record->partition->n_replicas, 2);
    ck_assert_int_eq(record->partition->replicas[1], 300);
    struct kb_uuid id;
    ck_assert_int_eq(
        kc_uuid_get(record->partition->has_topic_id, &record->partition->topic_id, &id), 0);
    ck_assert_int_eq(id.bytes[2], 3);
    kb_arena_release(&arena);
    kb_buf_release(&buf);
}
END_TEST

START_TEST(unpack__empty_message)
{
    struct kb_arena arena;
    kb_arena_init(&arena, 4096);
    ProtobufCMessage *message = NULL;
    ck_assert_int_eq(kc_unpack(&kc__record__descriptor, &arena, kb_view_of(NULL, 0), 10, &message),
                     0);
    ck_assert_int_eq(((Kc__Record *)message)->kind_case, KC__RECORD__KIND__NOT_SET);
    kb_arena_release(&arena);
}
END_TEST

START_TEST(unpack__refuses_above_the_frame_cap)
{
    uint8_t bytes[11] = {0};
    struct kb_arena arena;
    kb_arena_init(&arena, 4096);
    ProtobufCMessage *message = NULL;
    ck_assert_int_eq(
        kc_unpack(&kc__record__descriptor, &arena, kb_view_of(bytes, 11), 10, &message),
        -KB_ETOOBIG);
    kb_arena_release(&arena);
}
END_TEST

/* Two-byte unknown fields cost 29 times their size in memory: the arena's limit stops them. */
START_TEST(unpack__unknown_fields_stay_below_the_budget)
{
    size_t size = 1 << 20;
    uint8_t *bytes = malloc(size);
    for (size_t i = 0; i < size; i += 2) {
        bytes[i] = 15 << 3;
        bytes[i + 1] = 1;
    }
    struct kb_arena arena;
    kb_arena_init(&arena, 256 << 10);
    ProtobufCMessage *message = NULL;
    ck_assert_int_eq(kc_unpack(&kc__record__descriptor, &arena, kb_view_of(bytes, size),
                               KC_FRAME_BYTES_MAX, &message),
                     -KB_ENOMEM);
    ck_assert_uint_le(arena.used_bytes, 256 << 10);
    kb_arena_release(&arena);
    free(bytes);
}
END_TEST

START_TEST(unpack__survives_every_cut_and_flipped_byte)
{
    struct kb_buf buf = {0};
    make_partition(&buf);
    struct kb_prng prng;
    kb_prng_init(&prng, 1);
    struct kb_arena arena;
    kb_arena_init(&arena, 64 << 10);
    for (size_t round = 0; round < 2000; round++) {
        uint8_t *copy = malloc(buf.size);
        memcpy(copy, buf.data, buf.size);
        size_t size = round < buf.size ? round : buf.size;
        if (round >= buf.size)
            copy[kb_prng_below(&prng, buf.size)] ^= (uint8_t)(1u << kb_prng_below(&prng, 8));
        ProtobufCMessage *message = NULL;
        int r = kc_unpack(&kc__record__descriptor, &arena, kb_view_of(copy, size),
                          KC_FRAME_BYTES_MAX, &message);
        ck_assert(r == 0 || r == -KB_ECORRUPT || r == -KB_ENOMEM);
        kb_arena_reset(&arena);
        free(copy);
    }
    kb_arena_release(&arena);
    kb_buf_release(&buf);
}
END_TEST

START_TEST(uuid_get__wants_16_bytes_or_nothing)
{
    uint8_t bytes[17] = {9};
    struct kb_uuid id;
    ProtobufCBinaryData field = {.len = 15, .data = bytes};
    ck_assert_int_eq(kc_uuid_get(true, &field, &id), -KB_ECORRUPT);
    field.len = 17;
    ck_assert_int_eq(kc_uuid_get(true, &field, &id), -KB_ECORRUPT);
    field.len = 16;
    ck_assert_int_eq(kc_uuid_get(true, &field, &id), 0);
    ck_assert_int_eq(id.bytes[0], 9);
    ck_assert_int_eq(kc_uuid_get(false, &field, &id), 0);
    ck_assert(kb_uuid_is_zero(&id));
}
END_TEST

UNIT_MAIN("unpack", unpack__gives_back_what_was_packed, unpack__empty_message,
          unpack__refuses_above_the_frame_cap, unpack__unknown_fields_stay_below_the_budget,
          unpack__survives_every_cut_and_flipped_byte, uuid_get__wants_16_bytes_or_nothing)
