/* The sparse indexes against a list of all batches: small ones, ones that are thinned many times,
 * and index files that are garbled. */

#include <stdlib.h>
#include <string.h>

#include "proto/base/err.h"
#include "proto/base/prng.h"
#include "replication/log/index.h"
#include "tests/unit/unit.h"

struct plain {
    uint32_t last, position, size;
    int64_t max_timestamp;
};

static void build(struct log_index *ix, struct plain *all, size_t count, uint32_t size_max,
                  struct kb_prng *p)
{
    uint32_t offset = 0;
    uint32_t position = 0;
    for (size_t i = 0; i < count; i++) {
        uint32_t size = 61 + (uint32_t)kb_prng_below(p, size_max);
        offset += 1 + (uint32_t)kb_prng_below(p, 5);
        int64_t timestamp = (int64_t)(1000UL + i * 3 + kb_prng_below(p, 30));
        all[i] = (struct plain){offset, position, size, timestamp};
        log_index_add(ix, offset, position, size, timestamp);
        position += size;
    }
}

/* A lookup may be early, never late, and not earlier than the interval allows. */
static void check(const struct log_index *ix, const struct plain *all, size_t count)
{
    for (size_t i = 0; i < count; i += 1 + count / 500) {
        uint32_t at = log_index_lookup(ix, all[i].last);
        ck_assert_uint_le(at, all[i].position);
        ck_assert_uint_le(all[i].position - at, ix->interval_bytes * 2 + 3UL * 4096);
        size_t k = 0;
        int64_t wanted = all[i].max_timestamp;
        while (all[k].max_timestamp < wanted)
            k++; /* the first batch that reaches it */
        struct log_index_time entry = log_index_lookup_time(ix, wanted);
        uint32_t from = log_index_lookup(ix, entry.relative_offset);
        ck_assert_uint_le(from, all[k].position);
    }
    ck_assert_uint_eq(log_index_lookup(ix, 0), 0);
    ck_assert_int_eq(log_index_lookup_time(ix, 0).timestamp, -1);
    ck_assert_uint_eq(log_index_lookup_time(ix, 0).relative_offset, 0);
}

static void round_trip(const struct log_index *ix, uint64_t size)
{
    struct kb_buf o = {0};
    struct kb_buf t = {0};
    struct kb_buf o2 = {0};
    struct kb_buf t2 = {0};
    struct log_index back;
    log_index_init(&back, 4096);
    log_index_format(ix, &o, &t);
    ck_assert_int_eq(log_index_parse(&back, &o, &t, size), 0);
    ck_assert_int_eq(back.max_timestamp, ix->max_timestamp);
    ck_assert_uint_eq(back.max_timestamp_relative, ix->max_timestamp_relative);
    log_index_format(&back, &o2, &t2);
    ck_assert_uint_eq(o.size, o2.size);
    ck_assert_int_eq(memcmp(o.data, o2.data, o.size), 0);
    ck_assert_uint_eq(t.size, t2.size);
    /* Wrong sizes, orders and positions are refused, and change nothing. */
    o.size -= 3;
    ck_assert_int_eq(log_index_parse(&back, &o, &t, size), -KB_ECORRUPT);
    o.size += 3;
    ck_assert_int_eq(log_index_parse(&back, &o, &t, kb_get_be32(o.data + o.size - 4)),
                     -KB_ECORRUPT);
    memcpy(o.data, o.data + LOG_INDEX_ENTRY_SIZE, LOG_INDEX_ENTRY_SIZE);
    ck_assert_int_eq(log_index_parse(&back, &o, &t, size), -KB_ECORRUPT);
    memset(t.data, 0x7f, 8);
    ck_assert_int_eq(log_index_parse(&back, &o2, &t, size), -KB_ECORRUPT);
    ck_assert_int_eq(back.max_timestamp, ix->max_timestamp);
    kb_buf_release(&o);
    kb_buf_release(&t);
    kb_buf_release(&o2);
    kb_buf_release(&t2);
    log_index_release(&back);
}

START_TEST(lookup__agrees_with_a_plain_list)
{
    struct kb_prng p;
    kb_prng_init(&p, 1);
    static const size_t counts[] = {40, 3000, 200000};
    for (size_t i = 0; i < 3; i++) {
        struct log_index ix;
        struct plain *all = calloc(counts[i], sizeof(*all));
        log_index_init(&ix, i == 2 ? 100 : 500);
        build(&ix, all, counts[i], 300, &p);
        ck_assert_uint_le(ix.offset_count, LOG_INDEX_ENTRIES_MAX);
        ck_assert_uint_le(ix.time_count, LOG_INDEX_ENTRIES_MAX);
        check(&ix, all, counts[i]);
        round_trip(&ix, all[counts[i] - 1].position + 1);
        log_index_release(&ix);
        free(all);
    }
}
END_TEST

START_TEST(add__without_timestamps_leaves_the_time_index_empty)
{
    struct log_index ix;
    struct kb_buf o = {0};
    struct kb_buf t = {0};
    log_index_init(&ix, 0);
    for (uint32_t i = 0; i < 10; i++)
        log_index_add(&ix, i, i * 100, 100, -1);
    log_index_format(&ix, &o, &t);
    ck_assert_uint_eq(o.size, 9UL * LOG_INDEX_ENTRY_SIZE);
    ck_assert_uint_eq(t.size, 0);
    kb_buf_release(&o);
    log_index_release(&ix);
}
END_TEST

UNIT_MAIN("log_index", lookup__agrees_with_a_plain_list,
          add__without_timestamps_leaves_the_time_index_empty)
