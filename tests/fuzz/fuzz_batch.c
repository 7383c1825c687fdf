/* Any bytes as record batches: walked, read record by record, checked as a producer's, rewritten.
 * The first byte asks for a right CRC, so that damage reaches the records. The streaming check and
 * the iterator must agree on what is well formed. */
#include <stdlib.h>

#include "proto/base/assert.h"
#include "proto/kafka/batch.h"

#define OUTPUT_MAX (UINT64_C(256) * 1024)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must_be(int result, int wanted)
{
    KB_ASSERT(result == wanted);
}

static void seal(uint8_t *data, const struct kw_batch *b)
{
    kw_batch_set_max_timestamp(data, b->size, false, b->max_timestamp ^ 1);
    kw_batch_set_max_timestamp(data, b->size, false, b->max_timestamp);
}

static int read_records(const struct kw_batch *b, bool *ret_in_order)
{
    struct kw_records *it = NULL;
    int r = kw_records_open(b, OUTPUT_MAX, &it);
    if (r < 0)
        return r;
    struct kw_record record;
    int32_t n = 0;
    *ret_in_order = true;
    while ((r = kw_records_next(it, &record)) == 1) {
        *ret_in_order = *ret_in_order && record.offset_delta == n++;
        struct kw_reader rd;
        struct kw_record_header header;
        kw_reader_init(&rd, record.headers.data, (size_t)record.headers.size);
        for (int32_t i = 0; i < record.header_count; i++)
            must_be(kw_record_header_next(&rd, &header), 0);
        must_be(kw_reader_finish(&rd), 0);
        struct kw_control control;
        (void)kw_control_parse(&record, &control);
    }
    (void)kw_records_close(it);
    return r;
}

static void check_one(const struct kw_batch *b)
{
    bool in_order = false;
    int records = read_records(b, &in_order);
    struct kw_batch_rules rules;
    struct kw_batch_verdict verdict;
    kw_batch_rules_init(&rules);
    rules.output_bytes_max = OUTPUT_MAX;
    int r = kw_batch_check(b->data, b->size, &rules, &verdict);
    KB_ASSERT(r == 0 || r == -KB_ENOMEM);
    if (r == 0 && verdict.error == KW_NONE) {
        KB_ASSERT(records == 0);
        KB_ASSERT(in_order == !verdict.renumber);
    }
    if (records != 0)
        return;
    for (int codec = 0; codec < KW_CODEC_COUNT; codec++) {
        struct kb_block *other = NULL;
        struct kw_batch again;
        must_be(kw_batch_recode(b, codec, OUTPUT_MAX, &other), 0);
        must_be(kw_batch_parse(other->data, other->size, &again), KW_BATCH_WHOLE);
        must_be(kw_batch_crc_ok(&again), true);
        must_be(read_records(&again, &in_order), 0);
        KB_ASSERT(in_order);
        other = kb_block_unref(other);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    bool sealed = (data[0] & 1) != 0;
    struct kb_block *block = kb_block_copy(data + 1, size - 1);
    struct kw_batches it;
    struct kw_batch b;
    kw_batches_init(&it, block->data, block->size);
    while (kw_batches_next(&it, &b) == KW_BATCHES_ONE) {
        if (sealed) {
            seal(block->data + (b.data - block->data), &b);
            must_be(kw_batch_parse(b.data, b.size, &b), KW_BATCH_WHOLE);
        }
        check_one(&b);
    }
    (void)kb_block_unref(block);
    return 0;
}
