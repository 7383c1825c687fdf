#include "tests/unit/log/compact_kit.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/err.h"
#include "proto/base/mem.h"

/* ---- reading ---- */

static void take_bytes(struct kb_buf *to, bool *ret_null, struct kw_bytes from)
{
    *ret_null = from.data == NULL;
    if (from.data != NULL)
        kb_buf_append(to, from.data, (size_t)from.size);
}

static void read_records(struct kit_batch *b)
{
    struct kw_records *it = NULL;
    struct kw_record r;
    size_t capacity = 0;
    if (b->head.record_count == 0)
        return;
    ck_assert_int_eq(kw_records_open(&b->head, 1 << 20, &it), 0);
    int more = 0;
    while ((more = kw_records_next(it, &r)) == 1) {
        kb_array_reserve(b->records, b->count, capacity);
        struct kit_record *k = &b->records[b->count++];
        *k = (struct kit_record){
            .offset = r.offset, .timestamp = r.timestamp, .header_count = r.header_count};
        take_bytes(&k->key, &k->null_key, r.key);
        take_bytes(&k->value, &k->null_value, r.value);
    }
    ck_assert_int_eq(more, 0);
    ck_assert_uint_eq(b->count, (size_t)b->head.record_count);
    (void)kw_records_close(it);
}

static void read_segment(struct sim_disk *d, struct kit_log *l, const char *name)
{
    struct kb_buf file = {0};
    struct kw_batches it;
    struct kw_batch head;
    char *path = kb_asprintf(KIT_DIR "/%s", name);
    ck_assert_int_eq(sim_disk_read(d, path, &file), 0);
    kb_free(path);
    struct log_compact_segment s = {.base_offset = strtoll(name, NULL, 10),
                                    .size_bytes = file.size,
                                    .first_timestamp = -1,
                                    .max_timestamp = -1};
    kw_batches_init(&it, file.data, file.size);
    int more = 0;
    size_t first = l->count;
    while ((more = kw_batches_next(&it, &head)) == KW_BATCHES_ONE) {
        ck_assert(kw_batch_crc_ok(&head));
        ck_assert_int_ge(head.base_offset, l->end_offset);
        ck_assert_int_ge(head.base_offset, s.base_offset);
        l->end_offset = kw_batch_last_offset(&head) + 1;
        kb_array_reserve(l->batches, l->count, l->capacity);
        struct kit_batch *b = &l->batches[l->count++];
        *b = (struct kit_batch){.segment_base = s.base_offset};
        kb_buf_append(&b->raw, head.data, head.size);
        ck_assert_int_eq(kw_batch_parse(b->raw.data, b->raw.size, &b->head), KW_BATCH_WHOLE);
        struct log_producer_batch info;
        ck_assert_int_eq(log_producer_batch_parse(b->raw.data, b->raw.size, &info), 0);
        b->marker = info.marker;
        read_records(b);
        if (head.max_timestamp > s.max_timestamp)
            s.max_timestamp = head.max_timestamp;
    }
    ck_assert_int_eq(more, KW_BATCHES_END);
    if (l->count > first)
        l->batches[l->count - 1].last_of_segment = true;
    kb_array_reserve(l->segments, l->segment_count, l->segment_capacity);
    l->segments[l->segment_count++] = s;
    kb_buf_release(&file);
}

struct names {
    char all[400][32];
    size_t count;
};
static int take_name(void *arg, const char *name, enum kb_fs_type type)
{
    struct names *n = arg;
    size_t size = strlen(name);
    (void)type;
    if (size == 24 && strcmp(name + 20, ".log") == 0)
        snprintf(n->all[n->count++], sizeof(n->all[0]), "%s", name);
    return 0;
}

void kit_read(struct sim_disk *d, struct kit_log *ret)
{
    struct names *n = kb_new(struct names);
    *ret = (struct kit_log){0};
    ck_assert_int_eq(sim_disk_list(d, KIT_DIR, false, take_name, n), 0);
    for (size_t i = 0; i < n->count; i++)
        read_segment(d, ret, n->all[i]);
    kb_free(n);
}

void kit_release(struct kit_log *l)
{
    for (size_t i = 0; i < l->count; i++) {
        struct kit_batch *b = &l->batches[i];
        for (size_t k = 0; k < b->count; k++) {
            kb_buf_release(&b->records[k].key);
            kb_buf_release(&b->records[k].value);
        }
        kb_free(b->records);
        kb_buf_release(&b->raw);
    }
    kb_free(l->batches);
    kb_free(l->segments);
    *l = (struct kit_log){0};
}

bool kit_same(const struct kit_log *a, const struct kit_log *b)
{
    if (a->count != b->count)
        return false;
    for (size_t i = 0; i < a->count; i++)
        if (!kb_view_equal(kb_view_of(a->batches[i].raw.data, a->batches[i].raw.size),
                           kb_view_of(b->batches[i].raw.data, b->batches[i].raw.size)))
            return false;
    return true;
}

/* ---- writing ---- */

void kit_writer_init(struct kit_writer *w, struct sim_disk *d, uint64_t seed)
{
    *w = (struct kit_writer){.disk = d, .key_count = 20, .now_ms = 1000000};
    kb_prng_init(&w->rng, seed);
    for (int i = 0; i < KIT_PRODUCERS; i++)
        w->producers[i].last_data_offset = -1;
}

void kit_writer_release(struct kit_writer *w)
{
    kb_buf_release(&w->segment);
}

static void add_record(struct kw_batch_builder *b, int64_t timestamp, const char *key,
                       const char *value)
{
    struct kw_record_header h = {.key = {"h", 1}, .value = {(const uint8_t *)"v", 1}};
    struct kw_bytes k = {(const uint8_t *)key, key == NULL ? 0 : (int32_t)strlen(key)};
    struct kw_bytes v = {(const uint8_t *)value, value == NULL ? 0 : (int32_t)strlen(value)};
    ck_assert_int_eq(kw_batch_builder_add_headers(b, timestamp, k, v, &h, (int32_t)(timestamp % 2)),
                     0);
}

static void put_block(struct kit_writer *w, struct kb_block *block)
{
    struct kw_batch head;
    kw_batch_set_offset(block->data, w->next_offset, 3);
    ck_assert_int_eq(kw_batch_parse(block->data, block->size, &head), KW_BATCH_WHOLE);
    kb_buf_append(&w->segment, block->data, block->size);
    w->next_offset = kw_batch_last_offset(&head) + 1;
    kb_block_unref(block);
}

static void put_built(struct kit_writer *w, struct kw_batch_builder *b)
{
    struct kb_block *block = NULL;
    ck_assert_int_eq(kw_batch_builder_finish(b, &block), 0);
    put_block(w, block);
    kw_batch_builder_release(b);
}

static void as_producer(struct kit_writer *w, struct kw_batch_builder *b, int id, int32_t count)
{
    struct kit_producer *p = &w->producers[id];
    b->producer_id = id;
    b->producer_epoch = p->epoch;
    b->base_sequence = p->next_sequence;
    p->next_sequence += count;
    p->last_data_offset = w->next_offset + count - 1;
    if (p->in_txn)
        b->attributes |= KW_BATCH_TRANSACTIONAL;
}

void kit_write_batch(struct kit_writer *w)
{
    struct kw_batch_builder b;
    char key[16];
    char value[60];
    int32_t count = 1 + (int32_t)kb_prng_below(&w->rng, 6);
    int id = (int)kb_prng_below(&w->rng, KIT_PRODUCERS + 2);
    kw_batch_builder_init(&b);
    b.codec = (int)kb_prng_below(&w->rng, 12);
    if (b.codec >= KW_CODEC_COUNT)
        b.codec = KW_CODEC_NONE;
    if (kb_prng_below(&w->rng, 8) == 0)
        b.attributes |= KW_BATCH_APPEND_TIME;
    if (id < KIT_PRODUCERS) {
        if (w->transactions && id < 2)
            w->producers[id].in_txn = true;
        as_producer(w, &b, id, count);
    }
    for (int32_t i = 0; i < count; i++) {
        snprintf(key, sizeof(key), "k%d", (int)kb_prng_below(&w->rng, w->key_count));
        snprintf(value, sizeof(value), "v%lld-%.*s", (long long)w->next_offset + i,
                 (int)kb_prng_below(&w->rng, 30), "abcdefghijklmnopqrstuvwxyzabcdefg");
        bool gone = kb_prng_below(&w->rng, 5) == 0;
        bool no_key = kb_prng_below(&w->rng, 40) == 0;
        add_record(&b, w->now_ms + i, no_key ? NULL : key, gone ? NULL : value);
    }
    put_built(w, &b);
    w->now_ms += 10;
    for (int i = 0; i < 2 && w->transactions; i++)
        if (kb_prng_below(&w->rng, 4) == 0)
            kit_write_marker(w, i, kb_prng_below(&w->rng, 2) == 0);
}

void kit_write_record(struct kit_writer *w, const char *key, const char *value)
{
    struct kw_batch_builder b;
    kw_batch_builder_init(&b);
    add_record(&b, w->now_ms, key, value);
    put_built(w, &b);
}

void kit_write_txn_record(struct kit_writer *w, int producer, const char *key, const char *value)
{
    struct kw_batch_builder b;
    kw_batch_builder_init(&b);
    w->producers[producer].in_txn = true;
    as_producer(w, &b, producer, 1);
    add_record(&b, w->now_ms, key, value);
    put_built(w, &b);
}

void kit_write_marker(struct kit_writer *w, int producer, bool commit)
{
    struct kit_producer *p = &w->producers[producer];
    if (!p->in_txn)
        return;
    put_block(w, kw_batch_new_marker(commit ? KW_CONTROL_COMMIT : KW_CONTROL_ABORT, 0, producer,
                                     p->epoch, w->now_ms));
    p->in_txn = false;
    if (!commit) /* as log_producers has it: the marker is the last word of this producer */
        p->last_data_offset = -1;
}

void kit_end_txns(struct kit_writer *w)
{
    for (int i = 0; i < KIT_PRODUCERS; i++)
        kit_write_marker(w, i, true);
}

void kit_roll(struct kit_writer *w)
{
    char path[80];
    if (w->segment.size == 0)
        return;
    snprintf(path, sizeof(path), KIT_DIR "/%020lld.log", (long long)w->segment_base);
    sim_disk_put(w->disk, path, w->segment.data, w->segment.size);
    snprintf(path, sizeof(path), KIT_DIR "/%020lld.index", (long long)w->segment_base);
    sim_disk_put(w->disk, path, "old index", 9);
    w->segment.size = 0;
    w->segment_base = w->next_offset;
}

struct log_producer_last *kit_producers(const struct kit_writer *w, size_t *ret_count)
{
    struct log_producer_last *all = kb_new_array(struct log_producer_last, KIT_PRODUCERS);
    *ret_count = KIT_PRODUCERS;
    for (int i = 0; i < KIT_PRODUCERS; i++)
        all[i] = (struct log_producer_last){.producer_id = i,
                                            .last_data_offset = w->producers[i].last_data_offset,
                                            .epoch = w->producers[i].epoch};
    return all;
}
