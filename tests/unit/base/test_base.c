/* Small things: errors, arenas, uuids, random numbers, rate limits. */
#include <errno.h>
#include <string.h>

#include "proto/base/arena.h"
#include "proto/base/err.h"
#include "proto/base/log.h"
#include "proto/base/prng.h"
#include "proto/base/uuid.h"
#include "tests/unit/unit.h"

START_TEST(err__every_code_has_a_name_and_words)
{
    for (int i = 1; i < KB_ERR_MAX_; i++) {
        ck_assert_str_ne(kb_err_name(-i), "KB_E?");
        ck_assert_str_ne(kb_err_text(i), "unknown error");
    }
    ck_assert_int_eq(kb_err_from_errno(ENOSPC), -KB_ENOSPC);
    ck_assert_int_eq(kb_err_from_errno(12345), -KB_EIO);
}
END_TEST

START_TEST(arena__refuses_above_its_limit_and_stays_refused)
{
    struct kb_arena a;
    kb_arena_init(&a, 10000);
    ck_assert_ptr_nonnull(kb_arena_alloc(&a, 9000));
    ck_assert_ptr_null(kb_arena_alloc(&a, 2000));
    ck_assert_int_eq(a.failed, 1);
    ck_assert_ptr_null(kb_arena_alloc(&a, 1));
    kb_arena_reset(&a);
    ck_assert_ptr_null(kb_arena_calloc(&a, SIZE_MAX / 4, 8));
    kb_arena_reset(&a);
    ck_assert_str_eq(kb_arena_printf(&a, "%d-%s", 7, "x"), "7-x");
    kb_arena_release(&a);
    /* A small first chunk is free, everything else is charged, also above the limit. */
    struct kb_budget budget = {.limit_bytes = 4000};
    kb_arena_init(&a, 100000);
    a.budget = &budget;
    ck_assert_ptr_nonnull(kb_arena_alloc(&a, 500));
    ck_assert_uint_eq(budget.used_bytes, 0);
    ck_assert_ptr_nonnull(kb_arena_alloc(&a, 50000));
    ck_assert_uint_ge(budget.used_bytes, 50000);
    ck_assert(kb_budget_above(&budget, 1));
    kb_arena_reset(&a);
    ck_assert_uint_eq(budget.used_bytes, 0);
    ck_assert_ptr_nonnull(kb_arena_alloc(&a, 50000));
    ck_assert_uint_ge(budget.used_bytes, 50000);
    kb_arena_release(&a);
    ck_assert_uint_eq(budget.used_bytes, 0);
}
END_TEST

START_TEST(uuid__text_is_kafkas)
{
    struct kb_uuid u;
    char text[KB_UUID_TEXT_SIZE];
    ck_assert_int_eq(kb_uuid_parse("MkU3OEVBNTcwNTJENDM2Qg", &u), 0);
    ck_assert_int_eq(memcmp(u.bytes, "2E78EA57052D436B", 16), 0);
    kb_uuid_format(&u, text);
    ck_assert_str_eq(text, "MkU3OEVBNTcwNTJENDM2Qg");
    ck_assert_int_eq(kb_uuid_parse("MkU3OEVBNTcwNTJENDM2Q!", &u), -KB_EINVAL);
    ck_assert_int_eq(kb_uuid_parse("short", &u), -KB_EINVAL);
}
END_TEST

START_TEST(prng__is_repeatable_and_bounded)
{
    struct kb_prng a;
    struct kb_prng b;
    kb_prng_init(&a, 1);
    kb_prng_init(&b, 1);
    for (int i = 0; i < 1000; i++) {
        ck_assert_uint_eq(kb_prng_next(&a), kb_prng_next(&b));
        uint64_t x = kb_prng_range(&a, 5, 9);
        ck_assert_uint_ge(x, 5);
        ck_assert_uint_le(x, 9);
        (void)kb_prng_range(&b, 5, 9);
    }
}
END_TEST

START_TEST(log_rate__counts_what_it_swallowed)
{
    struct kb_log_rate rate = {0};
    uint64_t suppressed = 9;
    ck_assert_int_eq(kb_log_rate_allow(&rate, 100, 1000, &suppressed), 1);
    ck_assert_uint_eq(suppressed, 0);
    ck_assert_int_eq(kb_log_rate_allow(&rate, 200, 1000, &suppressed), 0);
    ck_assert_int_eq(kb_log_rate_allow(&rate, 1100, 1000, &suppressed), 1);
    ck_assert_uint_eq(suppressed, 1);
}
END_TEST

UNIT_MAIN("base", err__every_code_has_a_name_and_words,
          arena__refuses_above_its_limit_and_stays_refused, uuid__text_is_kafkas,
          prng__is_repeatable_and_bounded, log_rate__counts_what_it_swallowed)
