/* The small files beside a log's segments: epoch checkpoint, index files, producer snapshot, and a
 * batch as the producer state reads it. The first byte chooses. What is taken must come back the
 * same when it is written and read again. */
#include <string.h>

#include "proto/base/assert.h"
#include "replication/log/epochs.h"
#include "replication/log/index.h"
#include "replication/log/producers.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void epochs(const uint8_t *data, size_t size)
{
    struct log_epochs a = {0};
    struct log_epochs b = {0};
    struct kb_buf text = {0};
    if (log_epochs_parse(data, size, &a) == 0) {
        log_epochs_format(&a, &text);
        KB_ASSERT(log_epochs_parse(text.data, text.size, &b) == 0);
        KB_ASSERT(a.count == b.count);
        for (size_t i = 0; i < a.count; i++)
            KB_ASSERT(log_epochs_at(&b, a.entries[i].start_offset) == a.entries[i].epoch);
    }
    kb_buf_release(&text);
    log_epochs_release(&a);
    log_epochs_release(&b);
}

/* Half of the bytes are the offset index, half the time index. */
static void indexes(const uint8_t *data, size_t size)
{
    uint64_t segment_size = 1u << 20;
    size_t half = size / 2;
    struct kb_buf o = {.data = (uint8_t *)data, .size = half, .capacity = half};
    struct kb_buf t = {
        .data = (uint8_t *)data + half, .size = size - half, .capacity = size - half};
    struct kb_buf o2 = {0};
    struct kb_buf t2 = {0};
    struct log_index a;
    log_index_init(&a, 4096);
    if (log_index_parse(&a, &o, &t, segment_size) == 0) {
        for (uint32_t r = 1; r != 0 && r <= INT32_MAX; r <<= 1)
            KB_ASSERT(log_index_lookup(&a, r) < segment_size);
        (void)log_index_lookup_time(&a, INT64_MAX);
        log_index_format(&a, &o2, &t2);
        KB_ASSERT(log_index_parse(&a, &o2, &t2, segment_size) == 0);
    }
    kb_buf_release(&o2);
    kb_buf_release(&t2);
    log_index_release(&a);
}

static void snapshot(const uint8_t *data, size_t size)
{
    struct log_producers_config config = {.count_max = 1000};
    struct log_producers *p = log_producers_new(&config);
    struct kb_buf bytes = {0};
    if (log_producers_load(p, data, size, INT64_MAX / 2, 1) == 0) {
        size_t count = log_producers_count(p);
        log_producers_serialize(p, &bytes);
        KB_ASSERT(log_producers_load(p, bytes.data, bytes.size, INT64_MAX / 2, 2) == 0);
        KB_ASSERT(log_producers_count(p) == count);
    }
    kb_buf_release(&bytes);
    (void)log_producers_free(p);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct log_producer_batch batch;
    if (size == 0)
        return 0;
    switch (data[0] % 4) {
    case 0:
        epochs(data + 1, size - 1);
        break;
    case 1:
        indexes(data + 1, size - 1);
        break;
    case 2:
        snapshot(data + 1, size - 1);
        break;
    default:
        (void)log_producer_batch_parse(data + 1, size - 1, &batch);
        break;
    }
    return 0;
}
