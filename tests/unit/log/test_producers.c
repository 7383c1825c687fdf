/* Producers write to one partition with retries, gaps, new epochs, transactions; the log is cut,
 * its state is saved and loaded. At each step the state must say what a naive replay of all batches
 * in the log says. */

#include <string.h>

#include "proto/base/crc32c.h"
#include "proto/base/err.h"
#include "proto/base/mem.h"
#include "proto/base/prng.h"
#include "replication/log/producers.h"
#include "tests/unit/unit.h"

static const struct log_producers_config config = {.expiration_ms = 1000, .count_max = 100};

static struct log_producer_batch batch_of(int64_t id, int epoch, int32_t sequence, int32_t count,
                                          int64_t offset)
{
    return (struct log_producer_batch){
        .producer_id = id,
        .producer_epoch = (int16_t)epoch,
        .base_sequence = sequence,
        .last_offset_delta = count - 1,
        .base_offset = offset,
        .max_timestamp = 1000 + offset,
    };
}

static struct log_producer_batch marker_of(int64_t id, int epoch, enum log_marker marker,
                                           int coordinator_epoch, int64_t offset)
{
    struct log_producer_batch b = batch_of(id, epoch, -1, 1, offset);
    b.control = true;
    b.transactional = true;
    b.marker = marker;
    b.coordinator_epoch = coordinator_epoch;
    return b;
}

static enum log_producers_verdict check(const struct log_producers *p, struct log_producer_batch b)
{
    struct log_producers_original original;
    return log_producers_check(p, &b, NULL, &original);
}

static void append(struct log_producers *p, struct log_producer_batch b)
{
    ck_assert_int_eq(check(p, b), LOG_PRODUCERS_OK);
    (void)log_producers_update(p, &b, 0, NULL);
}

START_TEST(check__remembers_ten_batches)
{
    struct log_producers *p = log_producers_new(&config);
    for (int32_t i = 0; i < 120; i += 10)
        append(p, batch_of(1, 0, i, 10, i));
    for (int i = 0; i < 12; i++) {
        struct log_producer_batch b = batch_of(1, 0, i * 10, 10, 0);
        struct log_producers_original original = {-1, -1, -1};
        enum log_producers_verdict v = log_producers_check(p, &b, NULL, &original);
        ck_assert_int_eq(v, i < 2 ? LOG_PRODUCERS_OUT_OF_ORDER : LOG_PRODUCERS_DUPLICATE);
        ck_assert_int_eq(original.base_offset, i < 2 ? -1 : i * 10);
        ck_assert_int_eq(original.last_offset, i < 2 ? -1 : i * 10 + 9);
        ck_assert_int_eq(original.max_timestamp, i < 2 ? -1 : 1000 + i * 10);
    }
    /* Same first sequence, other length: not that batch. */
    ck_assert_int_eq(check(p, batch_of(1, 0, 110, 9, 0)), LOG_PRODUCERS_OUT_OF_ORDER);
    ck_assert_int_eq(check(p, batch_of(1, 0, 121, 1, 0)), LOG_PRODUCERS_OUT_OF_ORDER);
    ck_assert_int_eq(check(p, batch_of(1, 0, 120, 1, 0)), LOG_PRODUCERS_OK);
    log_producers_free(p);
}
END_TEST

START_TEST(check__sequence_wraps)
{
    struct log_producers *p = log_producers_new(&config);
    append(p, batch_of(1, 0, INT32_MAX - 1, 4, 0)); /* MAX-1, MAX, 0, 1 */
    ck_assert_int_eq(check(p, batch_of(1, 0, INT32_MAX - 1, 4, 0)), LOG_PRODUCERS_DUPLICATE);
    ck_assert_int_eq(check(p, batch_of(1, 0, 3, 1, 0)), LOG_PRODUCERS_OUT_OF_ORDER);
    append(p, batch_of(1, 0, 2, 1, 4));
    append(p, batch_of(2, 0, INT32_MAX, 1, 5));
    ck_assert_int_eq(check(p, batch_of(2, 0, 1, 1, 0)), LOG_PRODUCERS_OUT_OF_ORDER);
    append(p, batch_of(2, 0, 0, 1, 6));
    ck_assert_int_eq(check(p, batch_of(2, 0, INT32_MAX, 1, 0)), LOG_PRODUCERS_DUPLICATE);
    log_producers_free(p);
}
END_TEST

START_TEST(check__epochs)
{
    struct log_producers *p = log_producers_new(&config);
    append(p, batch_of(1, 3, 77, 1, 0)); /* unknown: any sequence */
    ck_assert_int_eq(check(p, batch_of(1, 2, 78, 1, 0)), LOG_PRODUCERS_STALE_EPOCH);
    ck_assert_int_eq(check(p, batch_of(1, 4, 78, 1, 0)), LOG_PRODUCERS_OUT_OF_ORDER);
    append(p, batch_of(1, 4, 0, 1, 1));
    ck_assert_int_eq(check(p, batch_of(1, 3, 77, 1, 0)), LOG_PRODUCERS_STALE_EPOCH);
    ck_assert_int_eq(check(p, batch_of(1, 4, 0, 1, 0)), LOG_PRODUCERS_DUPLICATE);
    struct log_producers_rules rules = {.zero_when_unknown = true};
    struct log_producer_batch b = batch_of(9, 0, 5, 1, 0);
    ck_assert_int_eq(log_producers_check(p, &b, &rules, NULL), LOG_PRODUCERS_OUT_OF_ORDER);
    ck_assert_int_eq(check(p, batch_of(1, 32767, 0, 1, 0)), LOG_PRODUCERS_OK); /* KAFKA-20090 */
    log_producers_free(p);
}
END_TEST

/* P12: what another epoch numbered alike is no duplicate. */
START_TEST(check__new_epoch_forgets_sequences)
{
    struct log_producers *p = log_producers_new(&config);
    for (int i = 0; i < 3; i++)
        append(p, batch_of(1, 0, i, 1, i));
    append(p, batch_of(1, 1, 0, 1, 3));
    ck_assert_int_eq(check(p, batch_of(1, 1, 1, 1, 4)), LOG_PRODUCERS_OK);
    ck_assert_int_eq(check(p, batch_of(1, 1, 0, 1, 4)), LOG_PRODUCERS_DUPLICATE);
    log_producers_free(p);
}
END_TEST

START_TEST(update__transaction_ends_and_last_stable_offset_waits_for_high_watermark)
{
    struct log_producers *p = log_producers_new(&config);
    struct log_producer_batch b = batch_of(1, 0, 0, 5, 10);
    b.transactional = true;
    append(p, b);
    b = batch_of(2, 0, 0, 5, 15);
    b.transactional = true;
    append(p, b);
    ck_assert_int_eq(check(p, batch_of(1, 0, 5, 1, 0)), LOG_PRODUCERS_TXN_STATE);
    ck_assert_int_eq(log_producers_first_unstable(p), 10);
    struct log_producers_ended_txn ended;
    b = marker_of(1, 0, LOG_MARKER_ABORT, 7, 20);
    ck_assert(log_producers_update(p, &b, 0, &ended));
    ck_assert_int_eq(ended.first_offset, 10);
    ck_assert_int_eq(ended.last_offset, 20);
    ck_assert_int_eq(ended.last_stable_offset, 15);
    ck_assert(ended.aborted);
    ck_assert_int_eq(log_producers_first_unstable(p), 10);
    log_producers_settle(p, 20);
    ck_assert_int_eq(log_producers_first_unstable(p), 10);
    log_producers_settle(p, 21);
    ck_assert_int_eq(log_producers_first_unstable(p), 15);
    ck_assert_int_eq(check(p, marker_of(1, 0, LOG_MARKER_COMMIT, 6, 0)), LOG_PRODUCERS_FENCED);
    b = marker_of(2, 0, LOG_MARKER_COMMIT, 7, 21);
    ck_assert(log_producers_update(p, &b, 0, &ended));
    ck_assert(!ended.aborted);
    log_producers_settle(p, 22);
    ck_assert_int_eq(log_producers_first_unstable(p), -1);
    /* A marker without data ends nothing. */
    b = marker_of(3, 0, LOG_MARKER_COMMIT, 7, 22);
    ck_assert(!log_producers_update(p, &b, 0, NULL));
    log_producers_free(p);
}
END_TEST

/* Sequences of an aborted transaction used anew must not be taken for the old ones (P12). */
START_TEST(check__abort_forgets_sequences)
{
    struct log_producers *p = log_producers_new(&config);
    struct log_producer_batch b = batch_of(1, 0, 0, 5, 0);
    b.transactional = true;
    append(p, b);
    append(p, marker_of(1, 0, LOG_MARKER_ABORT, 0, 5));
    ck_assert_int_eq(check(p, batch_of(1, 0, 0, 5, 0)), LOG_PRODUCERS_OK);
    ck_assert_int_eq(check(p, batch_of(1, 0, 5, 5, 0)), LOG_PRODUCERS_OK);
    append(p, batch_of(1, 0, 5, 5, 6));
    ck_assert_int_eq(check(p, batch_of(1, 0, 5, 5, 0)), LOG_PRODUCERS_DUPLICATE);
    append(p, marker_of(1, 0, LOG_MARKER_COMMIT, 0, 11));
    ck_assert_int_eq(check(p, batch_of(1, 0, 5, 5, 0)), LOG_PRODUCERS_DUPLICATE);
    log_producers_free(p);
}
END_TEST

START_TEST(check__marker_rules_of_protocol_two)
{
    struct log_producers *p = log_producers_new(&config);
    struct log_producers_rules rules = {.marker_above = true};
    struct log_producer_batch b = batch_of(1, 4, 0, 1, 0);
    b.transactional = true;
    append(p, b);
    struct log_producer_batch m = marker_of(1, 4, LOG_MARKER_COMMIT, 0, 1);
    ck_assert_int_eq(log_producers_check(p, &m, &rules, NULL), LOG_PRODUCERS_STALE_EPOCH);
    m.producer_epoch = 5;
    ck_assert_int_eq(log_producers_check(p, &m, &rules, NULL), LOG_PRODUCERS_OK);
    (void)log_producers_update(p, &m, 0, NULL);
    ck_assert_int_eq(log_producers_check(p, &m, &rules, NULL), LOG_PRODUCERS_OK); /* repeated */
    ck_assert_int_eq(check(p, batch_of(1, 5, 1, 1, 2)), LOG_PRODUCERS_OUT_OF_ORDER);
    ck_assert_int_eq(check(p, batch_of(1, 5, 0, 1, 2)), LOG_PRODUCERS_OK);
    log_producers_free(p);
}
END_TEST

START_TEST(expire__spares_open_transactions_and_the_active)
{
    struct log_producers *p = log_producers_new(&config);
    struct log_producer_batch b = batch_of(1, 0, 0, 1, 0);
    b.transactional = true;
    (void)log_producers_update(p, &b, 0, NULL);
    b = batch_of(2, 0, 0, 1, 1);
    (void)log_producers_update(p, &b, 0, NULL);
    b = batch_of(3, 0, 0, 1, 2);
    (void)log_producers_update(p, &b, 500, NULL);
    ck_assert_uint_eq(log_producers_expire(p, 999), 0);
    ck_assert_uint_eq(log_producers_expire(p, 1000), 1);
    ck_assert_uint_eq(log_producers_count(p), 2);
    ck_assert_int_eq(check(p, batch_of(2, 0, 44, 1, 0)), LOG_PRODUCERS_OK);
    ck_assert_int_eq(check(p, batch_of(3, 0, 44, 1, 0)), LOG_PRODUCERS_OUT_OF_ORDER);
    log_producers_free(p);
}
END_TEST

START_TEST(update__count_is_bounded_longest_idle_goes)
{
    struct log_producers_config small = {.count_max = 3};
    struct log_producers *p = log_producers_new(&small);
    struct log_producer_batch b = batch_of(100, 0, 0, 1, 0);
    b.transactional = true;
    (void)log_producers_update(p, &b, 0, NULL);
    for (int i = 1; i < 50; i++) {
        b = batch_of(i, 0, 0, 1, i);
        (void)log_producers_update(p, &b, 0, NULL);
    }
    ck_assert_uint_eq(log_producers_count(p), 3);
    ck_assert_int_eq(check(p, batch_of(49, 0, 0, 1, 0)), LOG_PRODUCERS_DUPLICATE);
    ck_assert_int_eq(check(p, batch_of(48, 0, 0, 1, 0)), LOG_PRODUCERS_DUPLICATE);
    ck_assert_int_eq(log_producers_first_unstable(p), 0);
    log_producers_free(p);
}
END_TEST

START_TEST(truncate__beyond_the_journal_asks_for_a_snapshot)
{
    struct log_producers *p = log_producers_new(&config);
    for (int i = 0; i < LOG_PRODUCERS_UNDO_MAX + 10; i++)
        append(p, batch_of(1, 0, i, 1, i));
    ck_assert(!log_producers_truncate(p, 9));
    ck_assert_int_eq(log_producers_end_offset(p), LOG_PRODUCERS_UNDO_MAX + 10);
    ck_assert(log_producers_truncate(p, 10));
    ck_assert_int_eq(check(p, batch_of(1, 0, 10, 1, 10)), LOG_PRODUCERS_OK);
    ck_assert_int_eq(check(p, batch_of(1, 0, 9, 1, 10)), LOG_PRODUCERS_DUPLICATE);
    for (int i = 10; i < 20; i++)
        append(p, batch_of(1, 0, i, 1, i));
    log_producers_settle(p, 15);
    ck_assert(!log_producers_truncate(p, 14));
    ck_assert(log_producers_truncate(p, 15));
    ck_assert_int_eq(check(p, batch_of(1, 0, 14, 1, 10)), LOG_PRODUCERS_DUPLICATE);
    ck_assert_int_eq(check(p, batch_of(1, 0, 15, 1, 10)), LOG_PRODUCERS_OK);
    log_producers_free(p);
}
END_TEST

/* ---- snapshots ---- */

/* Bytes by hand after Kafka's ProducerSnapshot schema: one producer, and no part of ours. */
START_TEST(load__reads_kafkas_own_file)
{
    uint8_t raw[6 + 4 + 46] = {0};
    raw[1] = 1;
    raw[9] = 1;                /* one entry */
    raw[10 + 7] = 42;          /* id */
    raw[18 + 1] = 3;           /* epoch */
    raw[20 + 3] = 9;           /* last sequence */
    raw[24 + 7] = 19;          /* last offset */
    raw[32 + 3] = 4;           /* delta */
    raw[36 + 7] = 99;          /* timestamp */
    raw[44 + 3] = 2;           /* coordinator epoch */
    memset(raw + 48, 0xff, 8); /* no transaction */
    kb_put_be32(raw + 2, kb_crc32c(0, raw + 6, sizeof(raw) - 6));
    struct log_producers *p = log_producers_new(&config);
    ck_assert_int_eq(log_producers_load(p, raw, sizeof(raw), 20, 0), 0);
    struct log_producer_batch b = batch_of(42, 3, 5, 5, 0);
    struct log_producers_original original;
    ck_assert_int_eq(log_producers_check(p, &b, NULL, &original), LOG_PRODUCERS_DUPLICATE);
    ck_assert_int_eq(original.base_offset, 15);
    ck_assert_int_eq(original.last_offset, 19);
    ck_assert_int_eq(log_producers_end_offset(p), 20);
    struct log_producer_info info;
    const void *cursor = NULL;
    ck_assert(log_producers_next(p, &cursor, &info));
    ck_assert_int_eq(info.producer_id, 42);
    ck_assert_int_eq(info.coordinator_epoch, 2);
    ck_assert_int_eq(info.last_timestamp, 99);
    ck_assert(!log_producers_next(p, &cursor, &info));
    /* Ours begins with the same bytes but for the checksum. */
    struct kb_buf again = {0};
    log_producers_serialize(p, &again);
    ck_assert_mem_eq(again.data + 6, raw + 6, sizeof(raw) - 6);
    raw[1] = 2;
    ck_assert_int_eq(log_producers_load(p, raw, sizeof(raw), 20, 0), -KB_EUNSUPPORTED);
    kb_buf_release(&again);
    log_producers_free(p);
}
END_TEST

START_TEST(load__refuses_every_changed_or_cut_byte)
{
    struct log_producers *p = log_producers_new(&config);
    struct kb_buf good = {0};
    for (int i = 0; i < 12; i++)
        append(p, batch_of(i % 3, 0, i / 3, 1, i));
    log_producers_serialize(p, &good);
    for (size_t i = 0; i < good.size; i++) {
        ck_assert_int_lt(log_producers_load(p, good.data, i, 12, 0), 0);
        good.data[i] ^= 0x10;
        ck_assert_int_lt(log_producers_load(p, good.data, good.size, 12, 0), 0);
        /* Even with a matching checksum nothing may crash. */
        kb_put_be32(good.data + 2, kb_crc32c(0, good.data + 6, good.size - 6));
        struct log_producers *other = log_producers_new(&config);
        (void)log_producers_load(other, good.data, good.size, 12, 0);
        log_producers_free(other);
        good.data[i] ^= 0x10;
        kb_put_be32(good.data + 2, kb_crc32c(0, good.data + 6, good.size - 6));
    }
    ck_assert_uint_eq(log_producers_count(p), 3);
    ck_assert_int_eq(log_producers_load(p, good.data, good.size, 12, 0), 0);
    kb_buf_release(&good);
    log_producers_free(p);
}
END_TEST

/* ---- the naive twin ---- */

struct twin {
    struct log_producer_batch batches[4000];
    size_t count;
};
struct twin_state {
    bool known, any;
    int epoch;
    int coordinator_epoch;
    int64_t txn_first;
    const struct log_producer_batch *last[LOG_PRODUCER_BATCHES]; /* newest first */
};

static struct twin_state twin_replay(const struct twin *t, int64_t id)
{
    struct twin_state s = {.epoch = -1, .coordinator_epoch = -1, .txn_first = -1};
    for (size_t i = 0; i < t->count; i++) {
        const struct log_producer_batch *b = &t->batches[i];
        if (b->producer_id != id)
            continue;
        bool new_epoch = b->producer_epoch != s.epoch;
        bool aborted = b->marker == LOG_MARKER_ABORT;
        if (new_epoch || aborted) {
            memset(s.last, 0, sizeof(s.last));
            s.any = aborted && (!new_epoch || !s.known);
        }
        s.known = true;
        s.epoch = b->producer_epoch;
        if (b->control) {
            s.coordinator_epoch = b->coordinator_epoch;
            s.txn_first = -1;
            continue;
        }
        for (size_t k = LOG_PRODUCER_BATCHES - 1; k > 0; k--)
            s.last[k] = s.last[k - 1];
        s.last[0] = b;
        s.any = false;
        if (b->transactional && s.txn_first < 0)
            s.txn_first = b->base_offset;
    }
    return s;
}

static int64_t plus(int64_t sequence, int64_t n)
{
    return (sequence + n) % 2147483648LL;
}

static enum log_producers_verdict
twin_check(const struct twin *t, const struct log_producer_batch *b, int64_t *ret_offset)
{
    struct twin_state s = twin_replay(t, b->producer_id);
    if (!s.known)
        return LOG_PRODUCERS_OK;
    if (b->producer_epoch < s.epoch)
        return LOG_PRODUCERS_STALE_EPOCH;
    if (b->control)
        return b->coordinator_epoch < s.coordinator_epoch ? LOG_PRODUCERS_FENCED : LOG_PRODUCERS_OK;
    for (int i = 0; i < LOG_PRODUCER_BATCHES && b->producer_epoch == s.epoch; i++)
        if (s.last[i] != NULL && s.last[i]->base_sequence == b->base_sequence &&
            s.last[i]->last_offset_delta == b->last_offset_delta) {
            *ret_offset = s.last[i]->base_offset;
            return LOG_PRODUCERS_DUPLICATE;
        }
    int64_t want = 0;
    if (b->producer_epoch == s.epoch && s.last[0] != NULL)
        want = plus(s.last[0]->base_sequence, s.last[0]->last_offset_delta + 1);
    bool free_choice = b->producer_epoch == s.epoch && s.last[0] == NULL && s.any;
    if (b->base_sequence != want && !free_choice)
        return LOG_PRODUCERS_OUT_OF_ORDER;
    return s.txn_first >= 0 && !b->transactional ? LOG_PRODUCERS_TXN_STATE : LOG_PRODUCERS_OK;
}

static int64_t twin_end(const struct twin *t)
{
    if (t->count == 0)
        return 0;
    const struct log_producer_batch *b = &t->batches[t->count - 1];
    return b->base_offset + b->last_offset_delta + 1;
}

static struct log_producer_batch random_batch(struct kb_prng *rng, const struct twin *t)
{
    int64_t id = (int64_t)kb_prng_below(rng, 4);
    struct twin_state s = twin_replay(t, id);
    int epoch = s.epoch < 0 ? 0 : s.epoch;
    uint64_t luck = kb_prng_below(rng, 20);
    if (luck == 0)
        epoch++;
    if (luck == 1 && epoch > 0)
        epoch--;
    if (luck < 5)
        return marker_of(id, epoch, luck % 2 ? LOG_MARKER_ABORT : LOG_MARKER_COMMIT,
                         (int)kb_prng_below(rng, 2) + (int)(t->count / 200), twin_end(t));
    int64_t want = s.last[0] == NULL || epoch != s.epoch
                       ? 0
                       : plus(s.last[0]->base_sequence, s.last[0]->last_offset_delta + 1);
    if (luck == 5)
        want = plus(want, 1);
    if (luck == 6 && s.last[0] == NULL)
        want = INT32_MAX - 2;
    struct log_producer_batch b = batch_of(id, epoch, (int32_t)want,
                                           (int32_t)kb_prng_below(rng, 5) + 1, twin_end(t));
    if (luck >= 7 && luck < 10) {
        const struct log_producer_batch *old = s.last[kb_prng_below(rng, 5)];
        if (old != NULL) {
            b.base_sequence = old->base_sequence;
            b.last_offset_delta = old->last_offset_delta;
        }
    }
    b.transactional = s.txn_first >= 0 ? kb_prng_below(rng, 9) != 0 : kb_prng_below(rng, 3) == 0;
    return b;
}

static void compare(const struct log_producers *p, const struct twin *t, int64_t settled)
{
    int64_t first = -1;
    for (int64_t id = 0; id < 4; id++) {
        struct twin_state s = twin_replay(t, id);
        if (s.txn_first >= 0 && (first < 0 || s.txn_first < first))
            first = s.txn_first;
    }
    /* Ended ones whose marker is not settled hold it too. */
    int64_t open[4] = {-1, -1, -1, -1};
    for (size_t i = 0; i < t->count; i++) {
        const struct log_producer_batch *b = &t->batches[i];
        int64_t *o = &open[b->producer_id];
        if (!b->control && b->transactional && *o < 0)
            *o = b->base_offset;
        if (b->control) {
            if (b->base_offset >= settled && *o >= 0 && (first < 0 || *o < first))
                first = *o;
            *o = -1;
        }
    }
    ck_assert_int_eq(log_producers_first_unstable(p), first);
    ck_assert_int_eq(log_producers_end_offset(p), twin_end(t));
}

static void save_and_load(struct log_producers **p)
{
    struct kb_buf bytes = {0};
    log_producers_serialize(*p, &bytes);
    struct log_producers *fresh = log_producers_new(&config);
    ck_assert_int_eq(
        log_producers_load(fresh, bytes.data, bytes.size, log_producers_end_offset(*p), 0), 0);
    struct kb_buf again = {0};
    log_producers_serialize(fresh, &again);
    ck_assert_uint_eq(again.size, bytes.size);
    ck_assert_mem_eq(again.data, bytes.data, bytes.size);
    log_producers_free(*p);
    *p = fresh;
    kb_buf_release(&bytes);
    kb_buf_release(&again);
}

static void run_twin(uint64_t seed)
{
    struct kb_prng rng;
    kb_prng_init(&rng, seed);
    struct twin *t = kb_new(struct twin);
    struct log_producers *p = log_producers_new(&config);
    int64_t settled = 0;
    size_t verdicts[6] = {0};
    for (int step = 0; step < 1500; step++) {
        struct log_producer_batch b = random_batch(&rng, t);
        struct log_producers_original original = {-1, -1, -1};
        int64_t offset = -1;
        enum log_producers_verdict v = log_producers_check(p, &b, NULL, &original);
        ck_assert_int_eq(v, twin_check(t, &b, &offset));
        ck_assert_int_eq(original.base_offset, offset);
        verdicts[v]++;
        if (v == LOG_PRODUCERS_OK) {
            (void)log_producers_update(p, &b, 0, NULL);
            t->batches[t->count++] = b;
        }
        if (kb_prng_below(&rng, 10) == 0) {
            settled += (int64_t)kb_prng_below(&rng, (uint64_t)(twin_end(t) - settled) + 1);
            log_producers_settle(p, settled);
        }
        if (kb_prng_below(&rng, 25) == 0) {
            size_t keep = t->count - kb_prng_below(&rng, (t->count < 30 ? t->count : 30) + 1);
            int64_t to = keep == 0 ? 0
                                   : t->batches[keep - 1].base_offset +
                                         t->batches[keep - 1].last_offset_delta + 1;
            if (to >= settled && log_producers_truncate(p, to))
                t->count = keep;
        }
        if (kb_prng_below(&rng, 40) == 0)
            save_and_load(&p);
        compare(p, t, settled);
    }
    for (int v = 0; v < 6; v++)
        ck_assert_uint_gt(verdicts[v], 0);
    log_producers_free(p);
    kb_free(t);
}

START_TEST(check__equals_naive_replay)
{
    for (uint64_t seed = 1; seed <= 8; seed++)
        run_twin(seed);
}
END_TEST

/* ---- what a log that begins later is told ---- */

static void assert_equal(const struct log_producers *a, const struct log_producers *b)
{
    struct kb_buf left = {0}, right = {0};
    log_producers_serialize(a, &left);
    log_producers_serialize(b, &right);
    ck_assert_uint_eq(left.size, right.size);
    ck_assert_mem_eq(left.data, right.data, left.size);
    kb_buf_release(&left);
    kb_buf_release(&right);
}

/* Told what lies below an offset, and then the batches from there on: as if it had had all. */
START_TEST(serialize_below__and_the_rest_is_all)
{
    struct twin *t = kb_new(struct twin);
    struct log_producers *p = log_producers_new(&config);
    struct kb_prng rng;
    int epochs[6] = {0};
    int32_t sequences[6] = {0};
    kb_prng_init(&rng, 5);
    for (int i = 0; i < 600; i++) {
        size_t id = kb_prng_below(&rng, i < 300 ? 6 : 3); /* half of them fall silent */
        int32_t count = 1 + (int32_t)kb_prng_below(&rng, 4);
        if (kb_prng_below(&rng, 20) == 0) {
            epochs[id]++;
            sequences[id] = 0;
        }
        struct log_producer_batch b = batch_of((int64_t)id, epochs[id], sequences[id], count,
                                               twin_end(t));
        sequences[id] += count;
        append(p, b);
        t->batches[t->count++] = b;
        if (i % 7 != 0)
            continue;
        size_t from = kb_prng_below(&rng, t->count);
        int64_t offset = t->batches[from].base_offset;
        struct kb_buf below = {0};
        struct log_producers *told = log_producers_new(&config);
        size_t known = log_producers_serialize_below(p, offset, SIZE_MAX, &below);
        log_producers_reset(told, offset);
        if (known > 0)
            ck_assert_int_eq(log_producers_load(told, below.data, below.size, offset, 0), 0);
        ck_assert_uint_eq(log_producers_count(told), known);
        for (size_t k = from; k < t->count; k++)
            (void)log_producers_update(told, &t->batches[k], 0, NULL);
        assert_equal(told, p);
        kb_buf_release(&below);
        (void)log_producers_free(told);
    }
    (void)log_producers_free(p);
    kb_free(t);
}
END_TEST

START_TEST(serialize_below__the_longest_idle_are_left_out)
{
    struct log_producers *p = log_producers_new(&config);
    struct kb_buf bytes = {0};
    for (int i = 0; i < 50; i++)
        append(p, batch_of(i, 0, 0, 1, i));
    ck_assert_uint_eq(log_producers_serialize_below(p, 0, 1 << 20, &bytes), 0);
    ck_assert_uint_eq(bytes.size, 0);
    ck_assert_uint_eq(log_producers_serialize_below(p, 40, 1 << 20, &bytes), 40);
    bytes.size = 0;
    size_t some = log_producers_serialize_below(p, 40, 500, &bytes);
    ck_assert_uint_gt(some, 5);
    ck_assert_uint_lt(some, 40);
    ck_assert_uint_le(bytes.size, 500);
    struct log_producers *told = log_producers_new(&config);
    ck_assert_int_eq(log_producers_load(told, bytes.data, bytes.size, 40, 0), 0);
    struct log_producer_info info;
    for (int i = 0; i < 50; i++)
        ck_assert_int_eq(log_producers_get(told, i, &info), i < 40 && i >= 40 - (int)some);
    (void)log_producers_free(told);
    (void)log_producers_free(p);
    kb_buf_release(&bytes);
}
END_TEST

/* ---- bytes ---- */

START_TEST(batch_parse__marker_and_limits)
{
    uint8_t raw[61 + 18] = {0};
    kb_put_be64(raw, 500);
    kb_put_be32(raw + 8, sizeof(raw) - 12);
    raw[16] = 2;
    kb_put_be16(raw + 21, 0x30);
    kb_put_be64(raw + 43, 77);
    kb_put_be16(raw + 51, 4);
    kb_put_be32(raw + 53, UINT32_MAX);
    kb_put_be32(raw + 57, 1);
    /* length 16, attributes, deltas, key 4 {0, 1}, value 6 {0, 9}, no headers */
    static const uint8_t record[18] = {32, 0, 0, 0, 8, 0, 0, 0, 1, 12, 0, 0, 0, 0, 0, 9, 0, 0};
    memcpy(raw + 61, record, sizeof(record));
    struct log_producer_batch b;
    ck_assert_int_eq(log_producer_batch_parse(raw, sizeof(raw), &b), 0);
    ck_assert_int_eq(b.marker, LOG_MARKER_COMMIT);
    ck_assert_int_eq(b.coordinator_epoch, 9);
    ck_assert_int_eq(b.producer_id, 77);
    ck_assert_int_eq(b.base_offset, 500);
    ck_assert_int_eq(b.base_sequence, -1);
    ck_assert(b.control && b.transactional);
    for (size_t size = 0; size < sizeof(raw); size++)
        ck_assert_int_eq(log_producer_batch_parse(raw, size, &b), -KB_ECORRUPT);
    raw[61 + 4] = 200; /* a key that claims more than there is */
    ck_assert_int_eq(log_producer_batch_parse(raw, sizeof(raw), &b), -KB_ECORRUPT);
    kb_put_be32(raw + 57, 0);
    ck_assert_int_eq(log_producer_batch_parse(raw, sizeof(raw), &b), 0);
    ck_assert_int_eq(b.marker, LOG_MARKER_NONE);
}
END_TEST

UNIT_MAIN("producers", check__remembers_ten_batches, check__sequence_wraps, check__epochs,
          check__new_epoch_forgets_sequences,
          update__transaction_ends_and_last_stable_offset_waits_for_high_watermark,
          check__abort_forgets_sequences, check__marker_rules_of_protocol_two,
          expire__spares_open_transactions_and_the_active,
          update__count_is_bounded_longest_idle_goes,
          truncate__beyond_the_journal_asks_for_a_snapshot, load__reads_kafkas_own_file,
          load__refuses_every_changed_or_cut_byte, check__equals_naive_replay,
          serialize_below__and_the_rest_is_all, serialize_below__the_longest_idle_are_left_out,
          batch_parse__marker_and_limits)
