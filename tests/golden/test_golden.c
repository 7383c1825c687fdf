/* Golden bytes: each message of each API and version as Apache Kafka's generated Java classes write
 * it, with the JSON their JsonConverter prints. Ours must read the bytes, print the same JSON,
 * write the same bytes, and refuse them when any part of the end is missing. The record batches of
 * the Java client must hold the records they were made of. How the files are made: README.md. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/arena.h"
#include "proto/base/mem.h"
#include "proto/kafka/api.h"
#include "proto/kafka/batch.h"
#include "proto/kafka/messages_table.h"
#include "tests/unit/unit.h"

#define ARENA_BYTES (UINT64_C(1024) * 1024)
#define OUTPUT_MAX (UINT64_C(1024) * 1024)

static FILE *open_golden(const char *stem)
{
    const char *dir = getenv("KVORUM_GOLDEN_DIR");
    ck_assert_msg(dir != NULL, "KVORUM_GOLDEN_DIR is not set");
    char *path = kb_asprintf("%s/%s.txt", dir, stem);
    FILE *file = fopen(path, "r");
    ck_assert_msg(file != NULL, "cannot open %s", path);
    (void)kb_free(path);
    return file;
}

static int hex_digit(char c)
{
    return c <= '9' ? c - '0' : c - 'a' + 10;
}

/* "-" is no bytes. */
static struct kb_buf from_hex(const char *hex)
{
    struct kb_buf out = {0};
    for (; hex[0] != '\0' && hex[0] != '-'; hex += 2) {
        uint8_t byte = (uint8_t)(hex_digit(hex[0]) << 4 | hex_digit(hex[1]));
        kb_buf_append(&out, &byte, 1);
    }
    return out;
}

static struct kb_buf chain_bytes(const struct kb_chain *c)
{
    struct kb_buf out = {0};
    for (size_t i = 0; i < c->count; i++)
        kb_buf_append(&out, c->slices[i].block->data + c->slices[i].position, c->slices[i].size);
    return out;
}

static int read_message(const struct kw_message *type, int16_t version, const uint8_t *data,
                        size_t size, struct kb_arena *arena, void *ret)
{
    /* A copy of exactly this size, so that a sanitizer sees the smallest step too far. */
    uint8_t *copy = kb_arena_memdup(arena, data, size);
    struct kw_reader rd;
    kw_reader_init(&rd, copy, size);
    int r = type->read(&rd, version, arena, ret);
    return r < 0 ? r : kw_reader_finish(&rd);
}

static void check_written(const struct kw_message *type, int16_t version, const void *m,
                          const struct kb_buf *wanted)
{
    struct kb_chain chain = {0};
    struct kw_writer w;
    kw_writer_init(&w, &chain);
    type->write(&w, version, m);
    ck_assert_msg(kw_writer_finish(&w) == 0, "%s v%d is not written", type->name, version);
    struct kb_buf bytes = chain_bytes(&chain);
    ck_assert_msg(bytes.size == wanted->size, "%s v%d: %zu bytes instead of %zu", type->name,
                  version, bytes.size, wanted->size);
    ck_assert(bytes.size == 0 || memcmp(bytes.data, wanted->data, bytes.size) == 0);
    kb_buf_release(&bytes);
    kb_chain_release(&chain);
}

static void check_line(const struct kw_message *type, int16_t version, const char *hex,
                       const char *json)
{
    struct kb_buf bytes = from_hex(hex);
    struct kb_arena arena;
    kb_arena_init(&arena, ARENA_BYTES);
    void *m = kb_arena_alloc(&arena, type->size);
    int r = read_message(type, version, bytes.data, bytes.size, &arena, m);
    ck_assert_msg(r == 0, "%s v%d is not read: %d", type->name, version, r);
    struct kb_buf dump = {0};
    type->dump(&dump, version, m);
    kb_buf_append(&dump, "", 1);
    ck_assert_str_eq((const char *)dump.data, json);
    check_written(type, version, m, &bytes);
    for (size_t size = 0; size < bytes.size; size++) {
        kb_arena_reset(&arena);
        m = kb_arena_alloc(&arena, type->size);
        r = read_message(type, version, bytes.data, size, &arena, m);
        ck_assert_msg(r < 0, "%s v%d cut at %zu of %zu is read", type->name, version, size,
                      bytes.size);
    }
    kb_buf_release(&dump);
    kb_buf_release(&bytes);
    kb_arena_release(&arena);
}

/* Returns the versions seen of each message as bits, by its place in the table. */
static void check_file(const char *stem, uint32_t *seen)
{
    size_t count = 0;
    const struct kw_message *table = kw_message_table(&count);
    FILE *file = open_golden(stem);
    char *line = NULL;
    size_t capacity = 0;
    while (getline(&line, &capacity, file) > 0) {
        char *rest = NULL;
        const char *name = strtok_r(line, " ", &rest);
        const char *version = strtok_r(NULL, " ", &rest);
        const char *hex = strtok_r(NULL, " ", &rest);
        const char *json = strtok_r(NULL, "\n", &rest);
        const struct kw_message *type = kw_message_find(name);
        ck_assert_msg(type != NULL && json != NULL, "%s in %s.txt", name, stem);
        int16_t v = (int16_t)strtol(version, NULL, 10);
        check_line(type, v, hex, json);
        seen[type - table] |= 1U << v;
    }
    free(line);
    (void)fclose(file);
}

/* "FetchRequest" is in fetch.txt. */
static char *stem_of(const struct kw_message *type)
{
    struct kb_buf out = {0};
    size_t size = strlen(type->name);
    size -= type->kind == KW_MESSAGE_REQUEST ? strlen("Request") : strlen("Response");
    for (size_t i = 0; i < size; i++) {
        char c = type->name[i];
        if (c >= 'A' && c <= 'Z' && i > 0)
            kb_buf_append_str(&out, "_");
        kb_buf_printf(&out, "%c", c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
    }
    kb_buf_append(&out, "", 1);
    return (char *)out.data;
}

START_TEST(golden__every_message_and_version)
{
    size_t count = 0;
    const struct kw_message *table = kw_message_table(&count);
    uint32_t *seen = kb_new_array(uint32_t, count);
    for (size_t i = 0; i < count; i++) {
        if (table[i].kind != KW_MESSAGE_REQUEST)
            continue;
        char *stem = stem_of(&table[i]);
        check_file(stem, seen);
        (void)kb_free(stem);
    }
    check_file("consumer_protocol", seen);
    check_file("group_records", seen);
    for (size_t i = 0; i < count; i++)
        for (int v = table[i].version_min; v <= table[i].version_max; v++)
            ck_assert_msg((seen[i] >> v & 1) != 0, "no bytes of %s v%d", table[i].name, v);
    (void)kb_free(seen);
}
END_TEST

/* The records that make/Golden.java put into each batch. */
static void check_records(const struct kw_batch *b)
{
    struct kw_records *it = NULL;
    ck_assert_int_eq(kw_records_open(b, OUTPUT_MAX, &it), 0);
    struct kw_record record;
    for (int i = 0; i < 40; i++) {
        char key[16];
        (void)snprintf(key, sizeof(key), "key-%d", i);
        ck_assert_int_eq(kw_records_next(it, &record), 1);
        ck_assert_int_eq(record.offset, i);
        ck_assert_int_eq(record.timestamp, INT64_C(1700000000000) + i);
        if (i % 7 == 0)
            ck_assert_ptr_null(record.key.data);
        else
            ck_assert(kb_view_equal(kw_bytes_view(record.key), kb_view_str(key)));
        ck_assert_int_eq(record.value.size, i);
        for (int32_t k = 0; k < record.value.size; k++)
            ck_assert_int_eq(record.value.data[k], 'v');
        ck_assert_int_eq(record.header_count, i % 3 == 0 ? 2 : 0);
    }
    ck_assert_int_eq(kw_records_next(it, &record), 0);
    (void)kw_records_close(it);
}

static void check_batch(int codec, struct kb_buf *bytes)
{
    struct kw_batch_rules rules;
    struct kw_batch_verdict verdict;
    kw_batch_rules_init(&rules);
    ck_assert_int_eq(kw_batch_check(bytes->data, bytes->size, &rules, &verdict), 0);
    ck_assert_int_eq(verdict.error, KW_NONE);
    ck_assert_int_eq(kw_batch_codec(&verdict.batch), codec);
    ck_assert_int_eq(verdict.batch.producer_id, 77);
    ck_assert_int_eq(verdict.batch.producer_epoch, 5);
    ck_assert_int_eq(verdict.batch.base_sequence, 9);
    ck_assert_int_eq(verdict.max_timestamp, verdict.batch.max_timestamp);
    check_records(&verdict.batch);
}

/* Ours from Java's uncompressed batch must be Java's, byte for byte. */
static void check_rebuilt(const struct kb_buf *bytes)
{
    struct kw_batch b;
    struct kb_block *block = NULL;
    ck_assert_int_eq(kw_batch_parse(bytes->data, bytes->size, &b), KW_BATCH_WHOLE);
    ck_assert_int_eq(kw_batch_recode(&b, KW_CODEC_NONE, OUTPUT_MAX, &block), 0);
    ck_assert_uint_eq(block->size, bytes->size);
    ck_assert_mem_eq(block->data, bytes->data, bytes->size);
    (void)kb_block_unref(block);
}

START_TEST(golden__record_batches)
{
    FILE *file = open_golden("record_batches");
    char *line = NULL;
    size_t capacity = 0;
    int codecs = 0;
    bool marker = false;
    while (getline(&line, &capacity, file) > 0) {
        char *rest = NULL;
        const char *name = strtok_r(line, " ", &rest);
        struct kb_buf bytes = from_hex(strtok_r(NULL, "\n", &rest));
        int codec = kw_codec_parse(name);
        if (codec >= 0) {
            check_batch(codec, &bytes);
            codecs++;
        } else {
            struct kb_block *ours = kw_batch_new_marker(KW_CONTROL_COMMIT, 9, 44, 3,
                                                        INT64_C(1700000000000));
            ck_assert_uint_eq(ours->size, bytes.size);
            ck_assert_mem_eq(ours->data, bytes.data, bytes.size);
            (void)kb_block_unref(ours);
            marker = true;
        }
        if (codec == KW_CODEC_NONE)
            check_rebuilt(&bytes);
        kb_buf_release(&bytes);
    }
    ck_assert_int_eq(codecs, KW_CODEC_COUNT);
    ck_assert(marker);
    free(line);
    (void)fclose(file);
}
END_TEST

/* The records that make/librdkafka_batches.py sent: no null keys, one header each. */
static void check_librdkafka(const struct kw_batch *b)
{
    struct kw_records *it = NULL;
    ck_assert_int_eq(kw_records_open(b, OUTPUT_MAX, &it), 0);
    struct kw_record record;
    for (int i = 0; i < 40; i++) {
        char key[16];
        (void)snprintf(key, sizeof(key), "key-%d", i);
        ck_assert_int_eq(kw_records_next(it, &record), 1);
        ck_assert_int_eq(record.offset, i);
        ck_assert(kb_view_equal(kw_bytes_view(record.key), kb_view_str(key)));
        ck_assert_int_eq(record.value.data == NULL, i == 0);
        ck_assert_int_eq(record.value.size, i);
        ck_assert_int_eq(record.header_count, 1);
    }
    ck_assert_int_eq(kw_records_next(it, &record), 0);
    (void)kw_records_close(it);
}

START_TEST(golden__batches_of_librdkafka)
{
    FILE *file = open_golden("librdkafka_batches");
    char *line = NULL;
    size_t capacity = 0;
    int codecs = 0;
    while (getline(&line, &capacity, file) > 0) {
        char *rest = NULL;
        int codec = kw_codec_parse(strtok_r(line, " ", &rest));
        struct kb_buf bytes = from_hex(strtok_r(NULL, "\n", &rest));
        struct kw_batch_rules rules;
        struct kw_batch_verdict verdict;
        kw_batch_rules_init(&rules);
        ck_assert_int_eq(kw_batch_check(bytes.data, bytes.size, &rules, &verdict), 0);
        ck_assert_int_eq(verdict.error, KW_NONE);
        ck_assert_int_eq(kw_batch_codec(&verdict.batch), codec);
        check_librdkafka(&verdict.batch);
        codecs++;
        kb_buf_release(&bytes);
    }
    ck_assert_int_eq(codecs, KW_CODEC_COUNT);
    free(line);
    (void)fclose(file);
}
END_TEST

UNIT_MAIN("golden", golden__every_message_and_version, golden__record_batches,
          golden__batches_of_librdkafka)
