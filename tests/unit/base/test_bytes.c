/* Blocks, pools and chains: counts, budgets, packing. */
#include "proto/base/bytes.h"
#include "proto/base/err.h"
#include "tests/unit/unit.h"

START_TEST(block__budget_is_given_back_with_the_last_reference)
{
    struct kb_budget budget = {.limit_bytes = 4096};
    struct kb_pool *pool = kb_pool_new(1 << 20);
    struct kb_block *b = kb_pool_take(pool, 3000, &budget);
    ck_assert_ptr_nonnull(b);
    ck_assert_uint_eq(budget.used_bytes, 4096);
    ck_assert_ptr_null(kb_pool_take(pool, 1, &budget));
    (void)kb_block_ref(b);
    (void)kb_block_unref(b);
    ck_assert_uint_eq(budget.used_bytes, 4096);
    (void)kb_block_unref(b);
    ck_assert_uint_eq(budget.used_bytes, 0);
    ck_assert_uint_eq(budget.peak_bytes, 4096);
    struct kb_block *again = kb_pool_take(pool, 4000, &budget);
    ck_assert_ptr_eq(again, b); /* pages are reused */
    (void)kb_block_unref(again);
    (void)kb_pool_free(pool);
}
END_TEST

START_TEST(chain__copies_pack_and_blocks_are_shared)
{
    struct kb_chain c = {0};
    kb_chain_add_copy(&c, "abc", 3);
    kb_chain_add_copy(&c, "def", 3);
    ck_assert_uint_eq(c.count, 1);
    struct kb_block *b = kb_block_copy("0123456789", 10);
    kb_chain_add_block(&c, b, 2, 5);
    ck_assert_uint_eq(b->refs, 2);
    kb_chain_add_copy(&c, "g", 1);
    ck_assert_uint_eq(c.count, 3);
    ck_assert_uint_eq(c.size, 12);
    struct kb_chain other = {0};
    kb_chain_add_chain(&other, &c);
    ck_assert_uint_eq(b->refs, 3);
    kb_chain_move(&other, &c);
    ck_assert_uint_eq(c.count, 0);
    ck_assert_uint_eq(other.size, 24);
    kb_chain_release(&other);
    ck_assert_uint_eq(b->refs, 1);
    (void)kb_block_unref(b);
}
END_TEST

UNIT_MAIN("bytes", block__budget_is_given_back_with_the_last_reference,
          chain__copies_pack_and_blocks_are_shared)
