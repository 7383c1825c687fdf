/* What a compaction has to do, and the map of keys that it does it by. */

#include <stdio.h>
#include <string.h>

#include "replication/log/compact.h"
#include "replication/log/compact_map.h"
#include "tests/unit/unit.h"

START_TEST(plan__ratio_lags_and_odd_checkpoints)
{
    struct log_compact_segment s[] = {
        {0, 100, 1000, 1500}, {10, 100, 2000, 2500}, {20, 200, 3000, 3500}};
    struct log_compact_config c = {.max_compaction_lag_ms = UINT64_MAX, .min_cleanable_ratio = 0.5};
    struct log_compact_plan p;
    log_compact_plan(s, 3, 30, -1, &c, 10000, &p);
    ck_assert(p.due && p.first_dirty == 0 && p.dirty_bytes == 400 && p.end_offset == 30);
    log_compact_plan(s, 3, 30, 20, &c, 10000, &p);
    ck_assert(p.due && p.clean_bytes == 200 && p.dirty_bytes == 200);
    c.min_cleanable_ratio = 0.51;
    log_compact_plan(s, 3, 30, 20, &c, 10000, &p);
    ck_assert(!p.due);
    c.max_compaction_lag_ms = 7000;
    log_compact_plan(s, 3, 30, 20, &c, 10000, &p);
    ck_assert(!p.due);
    log_compact_plan(s, 3, 30, 20, &c, 10001, &p);
    ck_assert(p.due);
    log_compact_plan(s, 3, 30, 30, &c, 99999, &p);
    ck_assert(!p.due && p.dirty_bytes == 0);
    log_compact_plan(s, 3, 30, 31, &c, 10001, &p); /* beyond the log: begin anew */
    ck_assert(p.due && p.first_dirty == 0);
    c.min_compaction_lag_ms = 7000;
    log_compact_plan(s, 3, 30, 0, &c, 10001, &p);
    ck_assert(p.segment_count == 2 && p.end_offset == 20 && p.dirty_bytes == 200);
    log_compact_plan(s, 3, 30, 0, &c, 1000, &p); /* stamps from the future */
    ck_assert(p.segment_count == 0 && p.end_offset == 0 && !p.due);
    log_compact_plan(s, 0, 5, 3, &c, 1000, &p);
    ck_assert(!p.due && p.first_dirty == 5);
}
END_TEST

START_TEST(map__newest_offset_of_each_key_until_full)
{
    struct compact_map m;
    const uint64_t seed[2] = {3, 4};
    char key[20];
    compact_map_init(&m, 24 * 1024, seed);
    int fits = 0;
    for (;; fits++) {
        snprintf(key, sizeof(key), "key-%d", fits);
        if (!compact_map_put(&m, kb_view_str(key), fits))
            break;
    }
    ck_assert_int_ge(fits, 1024 * 8 / 10);
    ck_assert_int_lt(fits, 1024);
    for (int i = 0; i < fits; i++) {
        snprintf(key, sizeof(key), "key-%d", i);
        ck_assert_int_eq(compact_map_get(&m, kb_view_str(key)), i);
        ck_assert(compact_map_put(&m, kb_view_str(key), 5000 + i)); /* known keys always fit */
        ck_assert_int_eq(compact_map_get(&m, kb_view_str(key)), 5000 + i);
    }
    ck_assert_int_eq(compact_map_get(&m, kb_view_str("unknown")), -1);
    ck_assert(compact_map_put(&m, kb_view_str("key-0"), 1));
    compact_map_release(&m);
}
END_TEST

/* First vectors of the authors' SipHash-2-4-128: key 00..0f, input of 0, 1 and 15 bytes. */
START_TEST(hash__known_vectors)
{
    uint8_t key[16];
    uint8_t input[16];
    uint64_t seed[2];
    for (int i = 0; i < 16; i++)
        key[i] = input[i] = (uint8_t)i;
    memcpy(seed, key, sizeof(seed));
    static const uint8_t zero[16] = {0xa3, 0x81, 0x7f, 0x04, 0xba, 0x25, 0xa8, 0xe6,
                                     0x6d, 0xf6, 0x72, 0x14, 0xc7, 0x55, 0x02, 0x93};
    static const uint8_t one[16] = {0xda, 0x87, 0xc1, 0xd8, 0x6b, 0x99, 0xaf, 0x44,
                                    0x34, 0x76, 0x59, 0x11, 0x9b, 0x22, 0xfc, 0x45};
    uint64_t out[2];
    compact_hash(seed, kb_view_of(input, 0), out);
    ck_assert_mem_eq(out, zero, 16);
    compact_hash(seed, kb_view_of(input, 1), out);
    ck_assert_mem_eq(out, one, 16);
}
END_TEST

UNIT_MAIN("compact_plan", plan__ratio_lags_and_odd_checkpoints,
          map__newest_offset_of_each_key_until_full, hash__known_vectors)
