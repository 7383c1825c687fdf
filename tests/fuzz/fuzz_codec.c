/* Any bytes as any message: api key (2), kind (1), version (1), body. Data messages have their
 * place among the data messages instead of a key. What can be read must be writable, and what was
 * written must be read and written again as the same bytes. */
#include <stdlib.h>

#include "proto/base/arena.h"
#include "proto/base/assert.h"
#include "proto/kafka/messages_table.h"

#define ARENA_BYTES (UINT64_C(4) * 1024 * 1024)
#define HEAD_BYTES 4

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct kw_message *find_message(int16_t key, uint8_t kind)
{
    size_t count = 0;
    const struct kw_message *table = kw_message_table(&count);
    int16_t data_index = 0;
    for (size_t i = 0; i < count; i++) {
        int16_t own = table[i].kind == KW_MESSAGE_DATA ? data_index++ : table[i].api_key;
        if (table[i].kind == kind && own == key)
            return &table[i];
    }
    return NULL;
}

static struct kb_buf write_message(const struct kw_message *type, int16_t version, const void *m)
{
    struct kb_chain chain = {0};
    struct kw_writer w;
    kw_writer_init(&w, &chain);
    type->write(&w, version, m);
    int r = kw_writer_finish(&w);
    KB_ASSERT(r == 0);
    struct kb_buf out = {0};
    for (size_t i = 0; i < chain.count; i++)
        kb_buf_append(&out, chain.slices[i].block->data + chain.slices[i].position,
                      chain.slices[i].size);
    kb_chain_release(&chain);
    return out;
}

static void check_twice(const struct kw_message *type, int16_t version, struct kb_arena *arena,
                        const void *m)
{
    struct kb_buf first = write_message(type, version, m);
    struct kw_reader rd;
    void *back = kb_arena_alloc(arena, type->size);
    if (back != NULL) {
        kw_reader_init(&rd, first.data, first.size);
        int r = type->read(&rd, version, arena, back);
        KB_ASSERT(r == 0 || r == -KB_ENOMEM);
        if (r == 0) {
            struct kb_buf second = write_message(type, version, back);
            KB_ASSERT(first.size == second.size);
            KB_ASSERT(first.size == 0 || memcmp(first.data, second.data, first.size) == 0);
            kb_buf_release(&second);
        }
    }
    kb_buf_release(&first);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < HEAD_BYTES)
        return 0;
    const struct kw_message *type = find_message((int16_t)kb_get_be16(data), data[2]);
    int16_t version = data[3];
    if (type == NULL)
        return 0;
    struct kb_arena arena;
    kb_arena_init(&arena, ARENA_BYTES);
    void *m = kb_arena_alloc(&arena, type->size);
    struct kw_reader rd;
    kw_reader_init(&rd, data + HEAD_BYTES, size - HEAD_BYTES);
    if (type->read(&rd, version, &arena, m) == 0) {
        struct kb_buf dump = {0};
        type->dump(&dump, version, m);
        kb_buf_release(&dump);
        check_twice(type, version, &arena, m);
    }
    kb_arena_release(&arena);
    return 0;
}
