/* Leader epochs: what OffsetForLeaderEpoch answers, what truncation and a raised start leave, the
 * checkpoint's text, and a slow twin over random histories. */

#include <stdlib.h>
#include <string.h>

#include "proto/base/err.h"
#include "proto/base/prng.h"
#include "replication/log/epochs.h"
#include "replication/log/log.h"
#include "tests/unit/unit.h"

static void expect(const struct log_epochs *e, int32_t asked, int64_t start, int64_t end,
                   int32_t epoch, int64_t offset)
{
    struct log_epoch_end r = log_epochs_end_offset(e, asked, start, end);
    ck_assert_int_eq(r.epoch, epoch);
    ck_assert_int_eq(r.end_offset, offset);
}

START_TEST(end_offset__as_kafka)
{
    struct log_epochs e = {0};
    expect(&e, 3, 0, 0, -1, -1);
    ck_assert(log_epochs_assign(&e, 2, 10));
    ck_assert(log_epochs_assign(&e, 5, 20));
    ck_assert(log_epochs_assign(&e, 7, 30));
    ck_assert(!log_epochs_assign(&e, 7, 35));
    ck_assert(!log_epochs_assign(&e, 6, 35));
    expect(&e, 7, 10, 40, 7, 40); /* the current one: log end */
    expect(&e, 5, 10, 40, 5, 30); /* start of the next */
    expect(&e, 6, 10, 40, 5, 30); /* between: the largest below */
    expect(&e, 2, 10, 40, 2, 20);
    expect(&e, 1, 10, 40, 1, 10);  /* older than all: asked epoch, first start */
    expect(&e, 8, 10, 40, -1, -1); /* newer than all */
    expect(&e, -1, 10, 40, -1, -1);
    expect(&e, 2, 25, 40, 2, 25); /* below the log start nothing is known */
    expect(&e, 5, 25, 40, 5, 30);
    ck_assert_int_eq(log_epochs_at(&e, 9), -1);
    ck_assert_int_eq(log_epochs_at(&e, 10), 2);
    ck_assert_int_eq(log_epochs_at(&e, 29), 5);
    ck_assert_int_eq(log_epochs_at(&e, 100), 7);
    log_epochs_release(&e);
}
END_TEST

START_TEST(assign__an_empty_epoch_is_replaced)
{
    struct log_epochs e = {0};
    ck_assert(log_epochs_assign(&e, 1, 0));
    ck_assert(log_epochs_assign(&e, 2, 10));
    ck_assert(log_epochs_assign(&e, 3, 10));
    ck_assert_uint_eq(e.count, 2);
    expect(&e, 2, 0, 15, 1, 10);
    log_epochs_release(&e);
}
END_TEST

START_TEST(truncate_end__drops_every_entry_behind_the_cut)
{
    /* KAFKA-10706: consecutive empty epochs must all go. */
    struct log_epochs e = {0};
    ck_assert(log_epochs_assign(&e, 1, 0));
    ck_assert(log_epochs_assign(&e, 2, 10));
    ck_assert(log_epochs_assign(&e, 4, 11));
    ck_assert(log_epochs_assign(&e, 9, 12));
    log_epochs_truncate_end(&e, 10);
    ck_assert_uint_eq(e.count, 1);
    ck_assert_int_eq(log_epochs_last(&e), 1);
    log_epochs_truncate_end(&e, 0);
    ck_assert_int_eq(log_epochs_last(&e), -1);
    log_epochs_release(&e);
}
END_TEST

START_TEST(truncate_start__keeps_the_one_in_force)
{
    struct log_epochs e = {0};
    ck_assert(log_epochs_assign(&e, 1, 0));
    ck_assert(log_epochs_assign(&e, 2, 10));
    ck_assert(log_epochs_assign(&e, 3, 20));
    log_epochs_truncate_start(&e, 15);
    ck_assert_uint_eq(e.count, 2);
    ck_assert_int_eq(e.entries[0].epoch, 2);
    ck_assert_int_eq(e.entries[0].start_offset, 15);
    log_epochs_release(&e);
}
END_TEST

START_TEST(checkpoint__round_trip_and_refusals)
{
    struct log_epochs e = {0};
    struct log_epochs back = {0};
    struct kb_buf b = {0};
    ck_assert(log_epochs_assign(&e, 1, 0));
    ck_assert(log_epochs_assign(&e, 2147483647, 9223372036854775806));
    log_epochs_format(&e, &b);
    const char *text = "0\n2\n1 0\n2147483647 9223372036854775806";
    ck_assert_uint_eq(b.size, strlen(text) + 32 + 1); /* the checksum is white space */
    ck_assert_int_eq(memcmp(b.data, text, strlen(text)), 0);
    ck_assert_uint_eq(strspn((const char *)b.data + strlen(text), " \t"), 32);
    ck_assert_int_eq(b.data[b.size - 1], '\n');
    for (size_t bit = 0; bit < b.size * 8; bit++) {
        b.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
        ck_assert_int_eq(log_epochs_parse(b.data, b.size, &back), -KB_ECORRUPT);
        b.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    /* As Kafka writes it. */
    ck_assert_int_eq(log_epochs_parse("0\n1\n7 3\n", 8, &back), 0);
    ck_assert_int_eq(back.entries[0].start_offset, 3);
    ck_assert_int_eq(log_epochs_parse(b.data, b.size, &back), 0);
    ck_assert_uint_eq(back.count, 2);
    for (int i = 0; i < 2; i++) {
        ck_assert_int_eq(back.entries[i].epoch, e.entries[i].epoch);
        ck_assert_int_eq(back.entries[i].start_offset, e.entries[i].start_offset);
    }
    for (size_t cut = 0; cut < b.size; cut++)
        ck_assert_int_eq(log_epochs_parse(b.data, cut, &back), -KB_ECORRUPT);
    static const char *const bad[] = {"1\n0\n",
                                      "0\n1\n1 0\nx",
                                      "0\n2\n2 0\n1 5\n",
                                      "0\n2\n1 5\n2 5\n",
                                      "0\n1\n-1 0\n",
                                      "0\n1\n1 9223372036854775808\n",
                                      "0\n99999999\n1 0\n"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        ck_assert_int_eq(log_epochs_parse(bad[i], strlen(bad[i]), &back), -KB_ECORRUPT);
    ck_assert_uint_eq(back.count, 2); /* as it was */
    ck_assert_int_eq(log_epochs_parse("0\n0\n", 4, &back), 0);
    ck_assert_uint_eq(back.count, 0);
    kb_buf_release(&b);
    log_epochs_release(&e);
    log_epochs_release(&back);
}
END_TEST

/* The twin: the epoch of each single offset. */
START_TEST(end_offset__agrees_with_a_plain_array)
{
    struct kb_prng p;
    kb_prng_init(&p, 5);
    for (int round = 0; round < 300; round++) {
        int32_t epochs[200];
        struct log_epochs e = {0};
        int64_t end = 0;
        int32_t epoch = 0;
        for (int step = 0; step < 60; step++) {
            uint64_t dice = kb_prng_below(&p, 10);
            if (dice == 0) {
                end = (int64_t)kb_prng_below(&p, (uint64_t)end + 1);
                log_epochs_truncate_end(&e, end);
                epoch = end > 0 ? epochs[end - 1] : 0;
            } else if (end < 199) {
                epoch += (int32_t)kb_prng_below(&p, 3) / 2;
                epochs[end] = epoch;
                (void)log_epochs_assign(&e, epoch, end);
                end++;
            }
        }
        for (int32_t asked = 0; asked < 30 && end > 0; asked++) {
            int32_t found = -1;
            int64_t found_end = -1;
            for (int64_t o = 0; o < end; o++) {
                if (epochs[o] <= asked) {
                    found = epochs[o];
                    found_end = o + 1;
                }
            }
            if (found < 0) {
                found = asked;
                found_end = 0;
            } else if (asked > epochs[end - 1]) {
                found = -1;
                found_end = -1;
            }
            expect(&e, asked, 0, end, found, found_end);
        }
        log_epochs_release(&e);
    }
}
END_TEST

UNIT_MAIN("log_epochs", end_offset__as_kafka, assign__an_empty_epoch_is_replaced,
          truncate_end__drops_every_entry_behind_the_cut, truncate_start__keeps_the_one_in_force,
          checkpoint__round_trip_and_refusals, end_offset__agrees_with_a_plain_array)
