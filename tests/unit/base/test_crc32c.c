/* CRC-32C: known values, chaining, and the fast version against its slow twin. */
#include "proto/base/crc32c.h"
#include "proto/base/prng.h"
#include "tests/unit/unit.h"

START_TEST(crc32c__known_values)
{
    ck_assert_uint_eq(kb_crc32c(0, "123456789", 9), 0xe3069283);
    ck_assert_uint_eq(kb_crc32c_table(0, "123456789", 9), 0xe3069283);
    ck_assert_uint_eq(kb_crc32c(0, "", 0), 0);
}
END_TEST

START_TEST(crc32c__fast_equals_table_at_all_sizes_and_alignments)
{
    static uint8_t bytes[6000];
    struct kb_prng prng;
    kb_prng_init(&prng, 7);
    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (uint8_t)kb_prng_next(&prng);
    for (size_t size = 0; size < 5000; size += 1 + size / 40) {
        for (size_t at = 0; at < 9; at++) {
            ck_assert_uint_eq(kb_crc32c(5, bytes + at, size), kb_crc32c_table(5, bytes + at, size));
        }
    }
}
END_TEST

START_TEST(crc32c__chains)
{
    uint32_t whole = kb_crc32c(0, "hello, broker", 13);
    ck_assert_uint_eq(kb_crc32c(kb_crc32c(0, "hello", 5), ", broker", 8), whole);
}
END_TEST

UNIT_MAIN("crc32c", crc32c__known_values, crc32c__fast_equals_table_at_all_sizes_and_alignments,
          crc32c__chains)
