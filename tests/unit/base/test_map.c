/* The open-addressing map against an array as its slow twin, deletions included. */
#include "proto/base/map.h"
#include "proto/base/prng.h"
#include "tests/unit/unit.h"

#define KEYS 500

START_TEST(map__agrees_with_an_array_under_random_operations)
{
    static int values[KEYS];
    void *twin[KEYS] = {0};
    struct kb_map m = {0};
    struct kb_prng prng;
    kb_prng_init(&prng, 42);
    for (int step = 0; step < 50000; step++) {
        uint64_t key = kb_prng_below(&prng, KEYS);
        switch (kb_prng_below(&prng, 3)) {
        case 0:
            ck_assert_ptr_eq(kb_map_put(&m, key * 977, &values[key]), twin[key]);
            twin[key] = &values[key];
            break;
        case 1:
            ck_assert_ptr_eq(kb_map_remove(&m, key * 977), twin[key]);
            twin[key] = NULL;
            break;
        default:
            ck_assert_ptr_eq(kb_map_get(&m, key * 977), twin[key]);
        }
    }
    size_t expected = 0;
    for (int i = 0; i < KEYS; i++)
        expected += twin[i] != NULL;
    ck_assert_uint_eq(m.count, expected);
    size_t cursor = 0;
    uint64_t key = 0;
    size_t seen = 0;
    while (kb_map_next(&m, &cursor, &key) != NULL) {
        ck_assert_ptr_nonnull(twin[key / 977]);
        seen++;
    }
    ck_assert_uint_eq(seen, expected);
    kb_map_release(&m);
}
END_TEST

UNIT_MAIN("map", map__agrees_with_an_array_under_random_operations)
