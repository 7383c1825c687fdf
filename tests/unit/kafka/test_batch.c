/* Record batches as producers, logs and coordinators make them: built with every codec, read back
 * record by record, checked by the rules of a topic, and damaged in every way a wire can. */
#include "proto/kafka/batch.h"

#include <stdio.h>

#include "proto/base/prng.h"
#include "tests/unit/unit.h"

#define OUTPUT_MAX (UINT64_C(8) * 1024 * 1024)
#define T0 INT64_C(1700000000000)

static struct kw_bytes text(const char *s)
{
    return kw_bytes_of(s, strlen(s));
}

/* n records key-i -> a value of i bytes, with a header on every third. */
static struct kb_block *make_batch(int codec, int n)
{
    struct kw_batch_builder b;
    kw_batch_builder_init(&b);
    b.codec = codec;
    b.producer_id = 7;
    b.producer_epoch = 1;
    b.base_sequence = 100;
    char key[32];
    char *value = malloc((size_t)n + 1);
    memset(value, 'v', (size_t)n + 1);
    const struct kw_record_header header = {KW_STR("h"), {NULL, 0}};
    for (int i = 0; i < n; i++) {
        (void)snprintf(key, sizeof(key), "key-%d", i);
        int r = kw_batch_builder_add_headers(&b, T0 + i, text(key), kw_bytes_of(value, (size_t)i),
                                             &header, i % 3 == 0 ? 1 : 0);
        ck_assert_int_eq(r, 0);
    }
    struct kb_block *block = NULL;
    ck_assert_int_eq(kw_batch_builder_finish(&b, &block), 0);
    kw_batch_builder_release(&b);
    free(value);
    return block;
}

static struct kw_batch_rules rules_now(void)
{
    struct kw_batch_rules rules;
    kw_batch_rules_init(&rules);
    rules.now_ms = T0;
    rules.output_bytes_max = OUTPUT_MAX;
    return rules;
}

static void reseal(struct kb_block *block)
{
    struct kw_batch b;
    ck_assert_int_eq(kw_batch_parse(block->data, block->size, &b), KW_BATCH_WHOLE);
    kw_batch_set_max_timestamp(block->data, block->size, false, b.max_timestamp - 1);
    kw_batch_set_max_timestamp(block->data, block->size, false, b.max_timestamp);
}

START_TEST(batch__every_codec_gives_the_records_back)
{
    for (int codec = 0; codec < KW_CODEC_COUNT; codec++) {
        struct kb_block *block = make_batch(codec, 500);
        struct kw_batch b;
        ck_assert_int_eq(kw_batch_parse(block->data, block->size, &b), KW_BATCH_WHOLE);
        ck_assert(kw_batch_crc_ok(&b));
        ck_assert_int_eq(kw_batch_codec(&b), codec);
        ck_assert_int_eq(b.record_count, 500);
        ck_assert_int_eq(b.last_offset_delta, 499);
        ck_assert_int_eq(b.max_timestamp, T0 + 499);
        kw_batch_set_offset(block->data, 1000, 3);
        ck_assert_int_eq(kw_batch_parse(block->data, block->size, &b), KW_BATCH_WHOLE);
        ck_assert(kw_batch_crc_ok(&b));
        ck_assert_int_eq(b.leader_epoch, 3);
        struct kw_records *it = NULL;
        ck_assert_int_eq(kw_records_open(&b, OUTPUT_MAX, &it), 0);
        struct kw_record record;
        int n = 0;
        int r = 0;
        while ((r = kw_records_next(it, &record)) == 1) {
            char key[32];
            (void)snprintf(key, sizeof(key), "key-%d", n);
            ck_assert_int_eq(record.offset, 1000 + n);
            ck_assert_int_eq(record.timestamp, T0 + n);
            ck_assert(kb_view_equal(kw_bytes_view(record.key), kb_view_str(key)));
            ck_assert_int_eq(record.value.size, n);
            ck_assert_int_eq(record.header_count, n % 3 == 0 ? 1 : 0);
            if (record.header_count == 1) {
                struct kw_reader rd;
                struct kw_record_header h;
                kw_reader_init(&rd, record.headers.data, (size_t)record.headers.size);
                ck_assert_int_eq(kw_record_header_next(&rd, &h), 0);
                ck_assert(kw_str_is(h.key, "h"));
                ck_assert_ptr_null(h.value.data);
                ck_assert_int_eq(kw_reader_finish(&rd), 0);
            }
            n++;
        }
        ck_assert_int_eq(r, 0);
        ck_assert_int_eq(n, 500);
        (void)kw_records_close(it);
        (void)kb_block_unref(block);
    }
}
END_TEST

START_TEST(batch__raw_snappy_of_librdkafka_is_read)
{
    /* One raw block: uvarint plain size, then a literal element of that many bytes. */
    struct kb_block *plain = make_batch(KW_CODEC_NONE, 1);
    size_t payload = plain->size - KW_BATCH_HEAD_BYTES;
    ck_assert_uint_lt(payload, 60);
    struct kb_block *raw = kb_block_new(plain->size + 2);
    raw->size = (uint32_t)plain->size + 2;
    memcpy(raw->data, plain->data, KW_BATCH_HEAD_BYTES);
    raw->data[KW_BATCH_HEAD_BYTES] = (uint8_t)payload;
    raw->data[KW_BATCH_HEAD_BYTES + 1] = (uint8_t)((payload - 1) << 2);
    memcpy(raw->data + KW_BATCH_HEAD_BYTES + 2, plain->data + KW_BATCH_HEAD_BYTES, payload);
    kb_put_be32(raw->data + 8, raw->size - KW_BATCH_FRAME_BYTES);
    raw->data[22] = KW_CODEC_SNAPPY;
    reseal(raw);
    struct kw_batch_rules rules = rules_now();
    struct kw_batch_verdict v;
    ck_assert_int_eq(kw_batch_check(raw->data, raw->size, &rules, &v), 0);
    ck_assert_int_eq(v.error, KW_NONE);
    (void)kb_block_unref(plain);
    (void)kb_block_unref(raw);
}
END_TEST

START_TEST(batch_parse__tells_partial_from_broken)
{
    struct kb_block *block = make_batch(KW_CODEC_NONE, 3);
    struct kw_batch b;
    for (size_t size = 0; size < block->size; size++)
        ck_assert_int_eq(kw_batch_parse(block->data, size, &b), KW_BATCH_PARTIAL);
    block->data[16] = 1;
    ck_assert_int_eq(kw_batch_parse(block->data, block->size, &b), -KB_EUNSUPPORTED);
    block->data[16] = 2;
    kb_put_be32(block->data + 8, 48);
    ck_assert_int_eq(kw_batch_parse(block->data, block->size, &b), -KB_ECORRUPT);
    kb_put_be32(block->data + 8, UINT32_MAX);
    ck_assert_int_eq(kw_batch_parse(block->data, block->size, &b), -KB_ECORRUPT);
    (void)kb_block_unref(block);
}
END_TEST

START_TEST(batches__walks_to_the_cut)
{
    struct kb_block *one = make_batch(KW_CODEC_NONE, 2);
    struct kb_block *two = make_batch(KW_CODEC_LZ4, 40);
    struct kb_buf all = {0};
    kb_buf_append(&all, one->data, one->size);
    kb_buf_append(&all, two->data, two->size);
    for (size_t size = 0; size <= all.size; size++) {
        struct kw_batches it;
        struct kw_batch b;
        kw_batches_init(&it, all.data, size);
        int n = 0;
        int r = 0;
        while ((r = kw_batches_next(&it, &b)) == KW_BATCHES_ONE)
            n++;
        bool boundary = size == 0 || size == one->size || size == all.size;
        ck_assert_int_eq(r, boundary ? KW_BATCHES_END : KW_BATCHES_PARTIAL);
        ck_assert_int_eq(n, size == all.size ? 2 : (size >= one->size ? 1 : 0));
    }
    kb_buf_release(&all);
    (void)kb_block_unref(one);
    (void)kb_block_unref(two);
}
END_TEST

START_TEST(batch_check__accepts_each_codec)
{
    for (int codec = 0; codec < KW_CODEC_COUNT; codec++) {
        struct kb_block *block = make_batch(codec, 100);
        struct kw_batch_rules rules = rules_now();
        struct kw_batch_verdict v;
        ck_assert_int_eq(kw_batch_check(block->data, block->size, &rules, &v), 0);
        ck_assert_int_eq(v.error, KW_NONE);
        ck_assert_int_eq(v.max_timestamp, T0 + 99);
        ck_assert_int_eq(v.log_append_time_ms, -1);
        uint32_t crc = v.batch.crc;
        kw_batch_settle(block->data, block->size, &rules, &v);
        ck_assert_uint_eq(kb_get_be32(block->data + 17), crc);
        rules.append_time = true;
        rules.now_ms = T0 + 5;
        ck_assert_int_eq(kw_batch_check(block->data, block->size, &rules, &v), 0);
        ck_assert_int_eq(v.log_append_time_ms, T0 + 5);
        kw_batch_settle(block->data, block->size, &rules, &v);
        struct kw_batch b;
        ck_assert_int_eq(kw_batch_parse(block->data, block->size, &b), KW_BATCH_WHOLE);
        ck_assert(kw_batch_crc_ok(&b));
        ck_assert(kw_batch_is(&b, KW_BATCH_APPEND_TIME));
        ck_assert_int_eq(b.max_timestamp, T0 + 5);
        (void)kb_block_unref(block);
    }
}
END_TEST

static void expect(struct kb_block *block, const struct kw_batch_rules *rules, int error,
                   int bad_record)
{
    struct kw_batch_verdict v;
    ck_assert_int_eq(kw_batch_check(block->data, block->size, rules, &v), 0);
    ck_assert_int_eq(v.error, error);
    ck_assert_int_eq(v.bad_record, bad_record);
    ck_assert(error == KW_NONE ? v.text == NULL : v.text != NULL);
}

START_TEST(batch_check__refuses_a_bad_head)
{
    struct kw_batch_rules rules = rules_now();
    struct kb_block *block = make_batch(KW_CODEC_NONE, 3);
    block->data[30] ^= 1;
    expect(block, &rules, KW_CORRUPT_MESSAGE, -1);
    block->data[30] ^= 1;
    expect(block, &rules, KW_NONE, -1);
    kw_batch_set_offset(block->data, 5, 0);
    expect(block, &rules, KW_INVALID_RECORD, -1);
    kw_batch_set_offset(block->data, 0, 0);
    rules.batch_bytes_max = block->size - 1;
    expect(block, &rules, KW_MESSAGE_TOO_LARGE, -1);
    rules.batch_bytes_max = block->size;
    expect(block, &rules, KW_NONE, -1);
    block->data[22] |= KW_BATCH_CONTROL;
    reseal(block);
    expect(block, &rules, KW_INVALID_RECORD, -1);
    block->data[22] = 6; /* no such codec */
    reseal(block);
    expect(block, &rules, KW_UNSUPPORTED_COMPRESSION_TYPE, -1);
    block->data[22] = 0;
    kb_put_be32(block->data + 23, 3); /* last offset delta */
    reseal(block);
    expect(block, &rules, KW_INVALID_RECORD, -1);
    kb_put_be32(block->data + 23, 2);
    kb_put_be32(block->data + 53, UINT32_MAX); /* base sequence */
    reseal(block);
    expect(block, &rules, KW_INVALID_RECORD, -1);
    kb_put_be32(block->data + 53, 0);
    kw_batch_set_max_timestamp(block->data, block->size, true, T0);
    expect(block, &rules, KW_INVALID_TIMESTAMP, -1);
    (void)kb_block_unref(block);
    block = make_batch(KW_CODEC_ZSTD, 3);
    rules = rules_now();
    rules.zstd_allowed = false;
    expect(block, &rules, KW_UNSUPPORTED_COMPRESSION_TYPE, -1);
    (void)kb_block_unref(block);
}
END_TEST

START_TEST(batch_check__needs_exactly_one_batch)
{
    struct kw_batch_rules rules = rules_now();
    struct kb_block *one = make_batch(KW_CODEC_NONE, 3);
    struct kb_block *two = kb_block_new(2 * (size_t)one->size);
    memcpy(two->data, one->data, one->size);
    memcpy(two->data + one->size, one->data, one->size);
    two->size = one->size * 2;
    expect(two, &rules, KW_INVALID_RECORD, -1);
    for (two->size = 0; two->size < one->size; two->size++)
        expect(two, &rules, KW_INVALID_RECORD, -1);
    (void)kb_block_unref(one);
    (void)kb_block_unref(two);
}
END_TEST

START_TEST(batch_check__names_the_bad_record)
{
    for (int codec = 0; codec < KW_CODEC_COUNT; codec++) {
        struct kw_batch_builder b;
        kw_batch_builder_init(&b);
        b.codec = codec;
        ck_assert_int_eq(kw_batch_builder_add(&b, T0, text("a"), text("1")), 0);
        ck_assert_int_eq(kw_batch_builder_add(&b, T0 + 60000, kw_bytes_of(NULL, 0), text("2")), 0);
        struct kb_block *block = NULL;
        ck_assert_int_eq(kw_batch_builder_finish(&b, &block), 0);
        kw_batch_builder_release(&b);
        struct kw_batch_rules rules = rules_now();
        expect(block, &rules, KW_NONE, -1);
        rules.key_required = true;
        expect(block, &rules, KW_INVALID_RECORD, 1);
        rules.key_required = false;
        rules.after_ms_max = 59999;
        expect(block, &rules, KW_INVALID_TIMESTAMP, 1);
        rules.after_ms_max = 60000;
        rules.now_ms = T0 + 1000;
        rules.before_ms_max = 999;
        expect(block, &rules, KW_INVALID_TIMESTAMP, 0);
        (void)kb_block_unref(block);
    }
}
END_TEST

START_TEST(batch_check__names_all_bad_records_up_to_a_bound)
{
    struct kw_batch_rules rules = rules_now();
    struct kw_batch_builder b;
    struct kw_batch_verdict v;
    struct kb_block *block = NULL;
    rules.key_required = true;
    rules.after_ms_max = 1000;
    kw_batch_builder_init(&b);
    for (int i = 0; i < 40; i++)
        ck_assert_int_eq(kw_batch_builder_add(&b, i == 3 ? T0 + 60000 : T0,
                                              i % 2 != 0 ? text("k") : kw_bytes_of(NULL, 0),
                                              text("v")),
                         0);
    ck_assert_int_eq(kw_batch_builder_finish(&b, &block), 0);
    kw_batch_builder_release(&b);
    ck_assert_int_eq(kw_batch_check(block->data, block->size, &rules, &v), 0);
    ck_assert_int_eq(v.error, KW_INVALID_TIMESTAMP);
    ck_assert_int_eq(v.bad_record, 0);
    ck_assert_int_eq(v.bad_records_count, KW_BATCH_BAD_RECORDS_MAX);
    ck_assert_int_eq(v.bad_records[1].index, 2);
    ck_assert_int_eq(v.bad_records[2].index, 3);
    ck_assert_ptr_nonnull(strstr(v.bad_records[2].text, "timestamp"));
    (void)kb_block_unref(block);
}
END_TEST

/* The same batch with its records packed as they are. */
static struct kb_block *odd_copy(const struct kb_block *plain, int codec)
{
    const uint8_t *records = plain->data + KW_BATCH_HEAD_BYTES;
    size_t size = plain->size - KW_BATCH_HEAD_BYTES;
    struct kb_buf packed = {0};
    if (codec == KW_CODEC_NONE)
        kb_buf_append(&packed, records, size);
    else
        ck_assert_int_eq(kw_compress(codec, records, size, &packed), 0);
    struct kb_block *block = kb_block_new(KW_BATCH_HEAD_BYTES + packed.size);
    memcpy(block->data, plain->data, KW_BATCH_HEAD_BYTES);
    memcpy(block->data + KW_BATCH_HEAD_BYTES, packed.data, packed.size);
    block->size = KW_BATCH_HEAD_BYTES + packed.size;
    kb_put_be32(block->data + 8, (uint32_t)(block->size - KW_BATCH_FRAME_BYTES));
    block->data[22] = (uint8_t)codec;
    reseal(block);
    kb_buf_release(&packed);
    return block;
}

/* Some clients number the records inside a compressed batch from elsewhere (LogValidator). */
START_TEST(batch_check__odd_record_offsets_are_written_anew)
{
    static const uint8_t odd[] = {
        16, 0, 0, 10, 2, 'a', 2, '1', 0, /* size 8, offset delta 5 */
    };
    struct kw_batch_rules rules = rules_now();
    for (int codec = 0; codec < KW_CODEC_COUNT; codec++) {
        struct kw_batch_builder b;
        struct kw_batch_verdict v;
        struct kb_block *plain = NULL;
        struct kb_block *sent = NULL;
        struct kb_block *stored = NULL;
        kw_batch_builder_init(&b);
        for (int i = 0; i < 3; i++)
            ck_assert_int_eq(kw_batch_builder_add(&b, T0, text("a"), text("1")), 0);
        ck_assert_int_eq(kw_batch_builder_finish(&b, &plain), 0);
        ck_assert_uint_eq(plain->size, KW_BATCH_HEAD_BYTES + 3 * sizeof(odd));
        memcpy(plain->data + KW_BATCH_HEAD_BYTES + sizeof(odd), odd, sizeof(odd));
        reseal(plain);
        sent = odd_copy(plain, codec);
        kw_batch_builder_release(&b);
        ck_assert_int_eq(kw_batch_check(sent->data, sent->size, &rules, &v), 0);
        ck_assert_int_eq(v.error, KW_NONE);
        ck_assert(v.renumber);
        ck_assert_int_eq(kw_batch_recode(&v.batch, codec, OUTPUT_MAX, &stored), 0);
        ck_assert_int_eq(kw_batch_check(stored->data, stored->size, &rules, &v), 0);
        ck_assert_int_eq(v.error, KW_NONE);
        ck_assert(!v.renumber);
        ck_assert_int_eq(kw_batch_codec(&v.batch), codec);
        ck_assert_int_eq(v.batch.record_count, 3);
        (void)kb_block_unref(plain);
        (void)kb_block_unref(sent);
        (void)kb_block_unref(stored);
    }
}
END_TEST

START_TEST(batch_check__bounds_the_output)
{
    for (int codec = KW_CODEC_GZIP; codec < KW_CODEC_COUNT; codec++) {
        struct kb_block *block = make_batch(codec, 1000); /* half a megabyte of v */
        struct kw_batch_rules rules = rules_now();
        rules.output_bytes_max = 100000;
        expect(block, &rules, KW_MESSAGE_TOO_LARGE, -1);
        (void)kb_block_unref(block);
    }
}
END_TEST

START_TEST(batch_check__a_payload_cut_anywhere_is_refused)
{
    for (int codec = 0; codec < KW_CODEC_COUNT; codec++) {
        struct kb_block *block = make_batch(codec, 20);
        uint32_t whole = block->size;
        for (block->size = KW_BATCH_HEAD_BYTES; block->size < whole; block->size++) {
            kb_put_be32(block->data + 8, block->size - KW_BATCH_FRAME_BYTES);
            reseal(block);
            struct kw_batch_rules rules = rules_now();
            struct kw_batch_verdict v;
            ck_assert_int_eq(kw_batch_check(block->data, block->size, &rules, &v), 0);
            /* The checksums behind gzip, lz4 end mark and zstd may be all that is missing. */
            ck_assert_msg(v.error == KW_CORRUPT_MESSAGE || v.error == KW_INVALID_RECORD,
                          "codec %d cut at %u of %u: %d", codec, block->size, whole, v.error);
        }
        (void)kb_block_unref(block);
    }
}
END_TEST

/* The iterator keeps records, the check streams past them: they must agree on what is a record. */
START_TEST(batch_check__agrees_with_the_iterator_on_damage)
{
    struct kb_prng prng;
    kb_prng_init(&prng, 42);
    for (int codec = 0; codec < KW_CODEC_COUNT; codec++) {
        for (int round = 0; round < 2000; round++) {
            struct kb_block *block = make_batch(codec, 12);
            size_t at = KW_BATCH_HEAD_BYTES +
                        kb_prng_below(&prng, block->size - KW_BATCH_HEAD_BYTES);
            block->data[at] ^= (uint8_t)(1 + kb_prng_below(&prng, 255));
            reseal(block);
            struct kw_batch b;
            ck_assert_int_eq(kw_batch_parse(block->data, block->size, &b), KW_BATCH_WHOLE);
            struct kw_records *it = NULL;
            ck_assert_int_eq(kw_records_open(&b, OUTPUT_MAX, &it), 0);
            struct kw_record record;
            int r = 0;
            int n = 0;
            bool in_order = true;
            while ((r = kw_records_next(it, &record)) == 1)
                in_order = in_order && record.offset_delta == n++;
            (void)kw_records_close(it);
            struct kw_batch_rules rules = rules_now();
            struct kw_batch_verdict v;
            ck_assert_int_eq(kw_batch_check(block->data, block->size, &rules, &v), 0);
            ck_assert_int_eq(v.error == KW_NONE, r == 0);
            ck_assert(v.error != KW_NONE || v.renumber == !in_order);
            (void)kb_block_unref(block);
        }
    }
}
END_TEST

START_TEST(batch_builder__keeps_some_records_of_another_batch)
{
    struct kb_block *block = make_batch(KW_CODEC_GZIP, 10);
    kw_batch_set_offset(block->data, 70, 2);
    struct kw_batch b;
    ck_assert_int_eq(kw_batch_parse(block->data, block->size, &b), KW_BATCH_WHOLE);
    for (int keep = 0; keep <= 10; keep += 5) {
        struct kw_batch_builder builder;
        kw_batch_builder_init_like(&builder, &b, keep == 5 ? T0 + 1000 : -1);
        struct kw_records *it = NULL;
        ck_assert_int_eq(kw_records_open(&b, OUTPUT_MAX, &it), 0);
        struct kw_record record;
        while (kw_records_next(it, &record) == 1)
            if (record.offset_delta % 10 >= 10 - keep)
                ck_assert_int_eq(kw_batch_builder_keep(&builder, &record), 0);
        (void)kw_records_close(it);
        struct kb_block *kept = NULL;
        ck_assert_int_eq(kw_batch_builder_finish(&builder, &kept), 0);
        kw_batch_builder_release(&builder);
        struct kw_batch k;
        ck_assert_int_eq(kw_batch_parse(kept->data, kept->size, &k), KW_BATCH_WHOLE);
        ck_assert(kw_batch_crc_ok(&k));
        ck_assert_int_eq(k.record_count, keep);
        ck_assert_int_eq(k.base_offset, 70);
        ck_assert_int_eq(k.last_offset_delta, 9);
        ck_assert_int_eq(k.base_sequence, 100);
        ck_assert_int_eq(k.max_timestamp, T0 + 9);
        ck_assert_int_eq(kw_batch_is(&k, KW_BATCH_HORIZON), keep == 5);
        ck_assert_int_eq(kw_records_open(&k, OUTPUT_MAX, &it), 0);
        int64_t offset = 70 + 10 - keep;
        while (kw_records_next(it, &record) == 1) {
            ck_assert_int_eq(record.offset, offset);
            ck_assert_int_eq(record.timestamp, T0 + offset - 70);
            offset++;
        }
        ck_assert_int_eq(offset, 80);
        (void)kw_records_close(it);
        (void)kb_block_unref(kept);
    }
    (void)kb_block_unref(block);
}
END_TEST

START_TEST(batch_recode__changes_only_the_codec)
{
    for (int from = 0; from < KW_CODEC_COUNT; from++) {
        for (int to = 0; to < KW_CODEC_COUNT; to++) {
            struct kb_block *block = make_batch(from, 30);
            struct kw_batch b;
            ck_assert_int_eq(kw_batch_parse(block->data, block->size, &b), KW_BATCH_WHOLE);
            struct kb_block *other = NULL;
            struct kb_block *back = NULL;
            ck_assert_int_eq(kw_batch_recode(&b, to, OUTPUT_MAX, &other), 0);
            struct kw_batch_rules rules = rules_now();
            expect(other, &rules, KW_NONE, -1);
            ck_assert_int_eq(kw_batch_parse(other->data, other->size, &b), KW_BATCH_WHOLE);
            ck_assert_int_eq(kw_batch_codec(&b), to);
            ck_assert_int_eq(kw_batch_recode(&b, from, OUTPUT_MAX, &back), 0);
            ck_assert_uint_eq(back->size, block->size);
            ck_assert_mem_eq(back->data, block->data, block->size);
            (void)kb_block_unref(block);
            (void)kb_block_unref(other);
            (void)kb_block_unref(back);
        }
    }
}
END_TEST

START_TEST(batch_marker__is_a_control_batch)
{
    struct kb_block *block = kw_batch_new_marker(KW_CONTROL_COMMIT, 9, 44, 3, T0);
    struct kw_batch b;
    ck_assert_int_eq(kw_batch_parse(block->data, block->size, &b), KW_BATCH_WHOLE);
    ck_assert(kw_batch_is(&b, KW_BATCH_CONTROL));
    ck_assert(kw_batch_is(&b, KW_BATCH_TRANSACTIONAL));
    ck_assert_int_eq(b.producer_id, 44);
    struct kw_records *it = NULL;
    ck_assert_int_eq(kw_records_open(&b, OUTPUT_MAX, &it), 0);
    struct kw_record record;
    struct kw_control control;
    ck_assert_int_eq(kw_records_next(it, &record), 1);
    ck_assert_int_eq(kw_control_parse(&record, &control), 0);
    ck_assert_int_eq(control.type, KW_CONTROL_COMMIT);
    ck_assert_int_eq(control.coordinator_epoch, 9);
    ck_assert_int_eq(kw_records_next(it, &record), 0);
    (void)kw_records_close(it);
    struct kw_batch_rules rules = rules_now();
    expect(block, &rules, KW_INVALID_RECORD, -1);
    (void)kb_block_unref(block);
}
END_TEST

START_TEST(batch_builder__refuses_an_empty_batch)
{
    struct kw_batch_builder b;
    kw_batch_builder_init(&b);
    struct kb_block *block = NULL;
    ck_assert_int_eq(kw_batch_builder_finish(&b, &block), -KB_EINVAL);
    b.codec = 9;
    ck_assert_int_eq(kw_batch_builder_add(&b, T0, text("k"), text("v")), 0);
    ck_assert_int_eq(kw_batch_builder_finish(&b, &block), -KB_EUNSUPPORTED);
    kw_batch_builder_release(&b);
}
END_TEST

UNIT_MAIN("batch", batch__every_codec_gives_the_records_back,
          batch__raw_snappy_of_librdkafka_is_read, batch_parse__tells_partial_from_broken,
          batches__walks_to_the_cut, batch_check__accepts_each_codec,
          batch_check__refuses_a_bad_head, batch_check__needs_exactly_one_batch,
          batch_check__names_the_bad_record, batch_check__names_all_bad_records_up_to_a_bound,
          batch_check__odd_record_offsets_are_written_anew, batch_check__bounds_the_output,
          batch_check__a_payload_cut_anywhere_is_refused,
          batch_check__agrees_with_the_iterator_on_damage,
          batch_builder__keeps_some_records_of_another_batch, batch_recode__changes_only_the_codec,
          batch_marker__is_a_control_batch, batch_builder__refuses_an_empty_batch)
