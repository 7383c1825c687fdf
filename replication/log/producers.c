#include "replication/log/producers.h"

#include <stdlib.h>
#include <string.h>

#include "proto/base/assert.h"
#include "proto/base/mem.h"
#include "proto/base/mutant.h"
#include "replication/log/producers_internal.h"

int32_t log_producer_sequence_add(int32_t base_sequence, int32_t delta)
{
    return (int32_t)(((uint32_t)base_sequence + (uint32_t)delta) & INT32_MAX);
}

/* ---- life ---- */

struct log_producers *log_producers_new(const struct log_producers_config *config)
{
    struct log_producers *p = kb_new(struct log_producers);
    p->config = *config;
    TAILQ_INIT(&p->list);
    return p;
}

void log_producers_set_config(struct log_producers *p, const struct log_producers_config *config)
{
    p->config = *config;
}

void log_producers_reset(struct log_producers *p, int64_t offset)
{
    struct producer *e = NULL;
    while ((e = TAILQ_FIRST(&p->list)) != NULL) {
        TAILQ_REMOVE(&p->list, e, link);
        (void)kb_free(e);
    }
    kb_map_release(&p->map);
    p->map = (struct kb_map){0};
    p->open_count = 0;
    p->ended_count = 0;
    p->undo_first = p->undo_end = 0;
    p->undo_floor = offset;
    p->end_offset = offset;
}

struct log_producers *log_producers_free(struct log_producers *p)
{
    if (p == NULL)
        return NULL;
    log_producers_reset(p, 0);
    (void)kb_free(p->open);
    (void)kb_free(p->ended);
    (void)kb_free(p->undo);
    return kb_free(p);
}

size_t log_producers_count(const struct log_producers *p)
{
    return p->map.count;
}

int64_t log_producers_end_offset(const struct log_producers *p)
{
    return p->end_offset;
}

/* ---- the table ---- */

struct producer *producers_find(const struct log_producers *p, int64_t id)
{
    return kb_map_get(&p->map, (uint64_t)id);
}

static void producers_remove(struct log_producers *p, struct producer *e)
{
    TAILQ_REMOVE(&p->list, e, link);
    (void)kb_map_remove(&p->map, (uint64_t)e->id);
    (void)kb_free(e);
}

/* A producer with an open transaction is never forgotten (T12): the table may grow past its limit
 * by those. */
static void producers_make_room(struct log_producers *p)
{
    struct producer *e = TAILQ_FIRST(&p->list);
    while (e != NULL && p->map.count >= p->config.count_max && p->config.count_max != 0) {
        struct producer *next = TAILQ_NEXT(e, link);
        if (e->state.txn_first_offset < 0)
            producers_remove(p, e);
        e = next;
    }
}

struct producer *producers_add(struct log_producers *p, int64_t id, uint64_t now_ms)
{
    producers_make_room(p);
    struct producer *e = kb_new(struct producer);
    e->id = id;
    e->used_ms = now_ms;
    e->state.epoch = LOG_PRODUCER_NO_EPOCH;
    e->state.coordinator_epoch = -1;
    e->state.txn_first_offset = -1;
    e->state.last_timestamp = -1;
    TAILQ_INSERT_TAIL(&p->list, e, link);
    (void)kb_map_put(&p->map, (uint64_t)id, e);
    return e;
}

size_t log_producers_expire(struct log_producers *p, uint64_t now_ms)
{
    size_t gone = 0;
    if (p->config.expiration_ms == 0)
        return 0;
    struct producer *e = TAILQ_FIRST(&p->list);
    while (e != NULL && now_ms - e->used_ms >= p->config.expiration_ms && now_ms >= e->used_ms) {
        struct producer *next = TAILQ_NEXT(e, link);
        if (e->state.txn_first_offset < 0) {
            producers_remove(p, e);
            gone++;
        }
        e = next;
    }
    return gone;
}

/* ---- judging a batch ---- */

static int32_t batch_base_sequence(const struct producer_batch *b)
{
    return log_producer_sequence_add(b->last_sequence, (int32_t)(0U - (uint32_t)b->delta));
}

/* The remembered batch with the same sequences, or NULL. */
static const struct producer_batch *find_duplicate(const struct producer_state *s,
                                                   const struct log_producer_batch *b)
{
    for (size_t i = 0; i < s->batch_count; i++) {
        const struct producer_batch *old = &s->batches[i];
        if (!KB_MUTANT("duplicate-unseen") && old->last_sequence >= 0 &&
            old->delta == b->last_offset_delta && batch_base_sequence(old) == b->base_sequence)
            return old;
    }
    return NULL;
}

static enum log_producers_verdict check_marker(const struct producer_state *s,
                                               const struct log_producer_batch *b,
                                               const struct log_producers_rules *rules)
{
    bool stale = b->producer_epoch < s->epoch;
    /* A repeated marker of a transaction that ended is answered like the first (KAFKA-19999). */
    if (rules->marker_above && b->producer_epoch == s->epoch && s->txn_first_offset >= 0)
        stale = true;
    if (stale)
        return LOG_PRODUCERS_STALE_EPOCH;
    return b->coordinator_epoch < s->coordinator_epoch ? LOG_PRODUCERS_FENCED : LOG_PRODUCERS_OK;
}

static bool sequence_fits(const struct producer_state *s, const struct log_producer_batch *b)
{
    if (b->base_sequence < 0 || s->epoch == LOG_PRODUCER_NO_EPOCH)
        return true;
    if (b->producer_epoch != s->epoch)
        return b->base_sequence == 0;
    if (s->batch_count == 0)
        return s->any_sequence || b->base_sequence == 0;
    int32_t last = s->batches[s->batch_count - 1].last_sequence;
    return b->base_sequence == (last < 0 ? 0 : log_producer_sequence_add(last, 1));
}

enum log_producers_verdict log_producers_check(const struct log_producers *p,
                                               const struct log_producer_batch *b,
                                               const struct log_producers_rules *rules,
                                               struct log_producers_original *ret_original)
{
    static const struct log_producers_rules no_rules = {0};
    if (b->producer_id < 0)
        return LOG_PRODUCERS_OK;
    if (rules == NULL)
        rules = &no_rules;
    const struct producer *e = producers_find(p, b->producer_id);
    if (e == NULL) {
        bool refused = rules->zero_when_unknown && !b->control && b->base_sequence > 0;
        return refused ? LOG_PRODUCERS_OUT_OF_ORDER : LOG_PRODUCERS_OK;
    }
    const struct producer_state *s = &e->state;
    if (b->control)
        return b->marker == LOG_MARKER_NONE ? LOG_PRODUCERS_OK : check_marker(s, b, rules);
    if (b->producer_epoch < s->epoch)
        return LOG_PRODUCERS_STALE_EPOCH;
    if (b->producer_epoch == s->epoch && b->base_sequence >= 0) {
        const struct producer_batch *old = find_duplicate(s, b);
        if (old != NULL) {
            *ret_original = (struct log_producers_original){
                .base_offset = KB_MUTANT("duplicate-gets-last-offset")
                                   ? old->last_offset
                                   : old->last_offset - old->delta,
                .last_offset = old->last_offset,
                .max_timestamp = old->timestamp,
            };
            return LOG_PRODUCERS_DUPLICATE;
        }
    }
    if (!sequence_fits(s, b) && !KB_MUTANT("sequence-unchecked"))
        return LOG_PRODUCERS_OUT_OF_ORDER;
    if (s->txn_first_offset >= 0 && !b->transactional)
        return LOG_PRODUCERS_TXN_STATE;
    return LOG_PRODUCERS_OK;
}

/* ---- transactions ---- */

void producers_open_txn_add(struct log_producers *p, int64_t first_offset, int64_t producer_id)
{
    kb_array_reserve(p->open, p->open_count, p->open_capacity);
    size_t at = p->open_count;
    while (at > 0 && p->open[at - 1].first_offset > first_offset)
        at--;
    memmove(&p->open[at + 1], &p->open[at], (p->open_count - at) * sizeof(*p->open));
    p->open[at] = (struct open_txn){first_offset, producer_id};
    p->open_count++;
}

static void open_txn_remove(struct log_producers *p, int64_t first_offset)
{
    size_t at = 0;
    while (at < p->open_count && p->open[at].first_offset != first_offset)
        at++;
    KB_ASSERT(at < p->open_count);
    p->open_count--;
    memmove(&p->open[at], &p->open[at + 1], (p->open_count - at) * sizeof(*p->open));
}

void producers_ended_txn_add(struct log_producers *p, int64_t first_offset, int64_t marker_offset)
{
    kb_array_reserve(p->ended, p->ended_count, p->ended_capacity);
    p->ended[p->ended_count++] = (struct ended_txn){first_offset, marker_offset};
}

int64_t log_producers_first_unstable(const struct log_producers *p)
{
    int64_t first = p->open_count != 0 ? p->open[0].first_offset : -1;
    for (size_t i = 0; i < p->ended_count; i++)
        if (first < 0 || p->ended[i].first_offset < first)
            first = p->ended[i].first_offset;
    return first;
}

/* ---- taking a batch in ---- */

/* The oldest entry makes room when the journal is full; what it undid needs a snapshot then. */
static void undo_drop_first(struct log_producers *p)
{
    int64_t floor = p->undo[p->undo_first].last_offset + 1;
    if (floor > p->undo_floor)
        p->undo_floor = floor;
    p->undo_first++;
    if (p->undo_first == p->undo_end)
        p->undo_first = p->undo_end = 0;
}

static void undo_push(struct log_producers *p, const struct producer *e, int64_t last_offset,
                      bool created)
{
    if (p->undo_end - p->undo_first == LOG_PRODUCERS_UNDO_MAX)
        undo_drop_first(p);
    if (p->undo_end == p->undo_capacity && p->undo_first > p->undo_capacity / 2) {
        size_t count = p->undo_end - p->undo_first;
        memmove(p->undo, p->undo + p->undo_first, count * sizeof(*p->undo));
        p->undo_first = 0;
        p->undo_end = count;
    }
    kb_array_reserve(p->undo, p->undo_end, p->undo_capacity);
    p->undo[p->undo_end++] = (struct producer_undo){
        .last_offset = last_offset,
        .producer_id = e->id,
        .created = created,
        .state = e->state,
    };
}

void producer_state_clear_batches(struct producer_state *s)
{
    s->batch_count = 0;
    s->any_sequence = false;
}

static void add_batch(struct producer_state *s, const struct log_producer_batch *b)
{
    if (s->batch_count == LOG_PRODUCER_BATCHES) {
        memmove(&s->batches[0], &s->batches[1], sizeof(s->batches) - sizeof(s->batches[0]));
        s->batch_count--;
    }
    s->batches[s->batch_count++] = (struct producer_batch){
        .last_sequence = b->base_sequence < 0
                             ? -1
                             : log_producer_sequence_add(b->base_sequence, b->last_offset_delta),
        .delta = b->last_offset_delta,
        .last_offset = b->base_offset + b->last_offset_delta,
        .timestamp = b->max_timestamp,
    };
    s->any_sequence = false;
}

static bool end_txn(struct log_producers *p, struct producer *e, const struct log_producer_batch *b,
                    struct log_producers_ended_txn *ret_ended)
{
    struct producer_state *s = &e->state;
    if (b->marker == LOG_MARKER_NONE)
        return false;
    bool aborted = b->marker == LOG_MARKER_ABORT;
    if (b->producer_epoch != s->epoch) {
        /* The first thing known of this producer may be an abort whose data was compacted away. */
        bool unknown = s->epoch == LOG_PRODUCER_NO_EPOCH;
        producer_state_clear_batches(s);
        s->any_sequence = aborted && unknown;
        s->epoch = b->producer_epoch;
    } else if (aborted) {
        /* Sequences of aborted batches may be used anew: they must not count as duplicates (P12).
         */
        producer_state_clear_batches(s);
        s->any_sequence = true;
    }
    s->coordinator_epoch = b->coordinator_epoch;
    if (s->txn_first_offset < 0)
        return false;
    int64_t first = s->txn_first_offset;
    int64_t last = b->base_offset + b->last_offset_delta;
    s->txn_first_offset = -1;
    open_txn_remove(p, first);
    producers_ended_txn_add(p, first, last);
    if (ret_ended != NULL)
        *ret_ended = (struct log_producers_ended_txn){
            .producer_id = e->id,
            .first_offset = first,
            .last_offset = last,
            .last_stable_offset = p->open_count != 0 ? p->open[0].first_offset : last + 1,
            .aborted = aborted,
        };
    return true;
}

static void add_data(struct log_producers *p, struct producer *e,
                     const struct log_producer_batch *b)
{
    struct producer_state *s = &e->state;
    if (b->producer_epoch != s->epoch) {
        if (!KB_MUTANT("sequence-kept-over-epochs"))
            producer_state_clear_batches(s);
        s->epoch = b->producer_epoch;
    }
    add_batch(s, b);
    if (b->transactional && s->txn_first_offset < 0) {
        s->txn_first_offset = b->base_offset;
        producers_open_txn_add(p, b->base_offset, e->id);
    }
}

void log_producers_advance(struct log_producers *p, int64_t end_offset)
{
    if (end_offset > p->end_offset)
        p->end_offset = end_offset;
}

bool log_producers_update(struct log_producers *p, const struct log_producer_batch *b,
                          uint64_t now_ms, struct log_producers_ended_txn *ret_ended)
{
    int64_t last_offset = b->base_offset + b->last_offset_delta;
    KB_ASSERT(b->base_offset >= p->end_offset);
    p->end_offset = last_offset + 1;
    if (b->producer_id < 0 || (b->control && b->marker == LOG_MARKER_NONE))
        return false;
    struct producer *e = producers_find(p, b->producer_id);
    if (e != NULL && b->producer_epoch < e->state.epoch)
        return false; /* no leader appends this; what is known of the newer epoch must stay */
    bool created = e == NULL;
    if (created)
        e = producers_add(p, b->producer_id, now_ms);
    undo_push(p, e, last_offset, created);
    if (b->max_timestamp > e->state.last_timestamp)
        e->state.last_timestamp = b->max_timestamp;
    e->used_ms = now_ms;
    TAILQ_REMOVE(&p->list, e, link);
    TAILQ_INSERT_TAIL(&p->list, e, link);
    if (b->control)
        return end_txn(p, e, b, ret_ended);
    add_data(p, e, b);
    return false;
}

/* ---- rolling back ---- */

static void undo_one(struct log_producers *p, const struct producer_undo *u)
{
    struct producer *e = producers_find(p, u->producer_id);
    if (e != NULL && e->state.txn_first_offset >= 0)
        open_txn_remove(p, e->state.txn_first_offset);
    if (u->created) {
        if (e != NULL)
            producers_remove(p, e);
        return;
    }
    if (e == NULL) { /* forgotten since: it is back as it was */
        e = producers_add(p, u->producer_id, 0);
        TAILQ_REMOVE(&p->list, e, link);
        TAILQ_INSERT_HEAD(&p->list, e, link);
    }
    e->state = u->state;
    if (e->state.txn_first_offset >= 0)
        producers_open_txn_add(p, e->state.txn_first_offset, e->id);
}

bool log_producers_truncate(struct log_producers *p, int64_t offset)
{
    if (offset >= p->end_offset)
        return true;
    if (offset < p->undo_floor)
        return false;
    while (!KB_MUTANT("producers-not-rolled-back") && p->undo_end > p->undo_first &&
           p->undo[p->undo_end - 1].last_offset >= offset)
        undo_one(p, &p->undo[--p->undo_end]);
    if (p->undo_first == p->undo_end)
        p->undo_first = p->undo_end = 0;
    while (p->ended_count > 0 && p->ended[p->ended_count - 1].marker_offset >= offset)
        p->ended_count--;
    p->end_offset = offset;
    return true;
}

void log_producers_settle(struct log_producers *p, int64_t high_watermark)
{
    while (p->undo_first < p->undo_end && p->undo[p->undo_first].last_offset < high_watermark)
        undo_drop_first(p);
    size_t gone = 0;
    while (gone < p->ended_count && p->ended[gone].marker_offset < high_watermark)
        gone++;
    if (gone != 0) {
        p->ended_count -= gone;
        memmove(p->ended, p->ended + gone, p->ended_count * sizeof(*p->ended));
    }
}

/* ---- listings ---- */

static int compare_last(const void *a, const void *b)
{
    int64_t x = ((const struct log_producer_last *)a)->producer_id;
    int64_t y = ((const struct log_producer_last *)b)->producer_id;
    return (x > y) - (x < y);
}

struct log_producer_last *log_producers_last(const struct log_producers *p, size_t *ret_count)
{
    size_t count = 0;
    struct log_producer_last *all = kb_new_array(struct log_producer_last, p->map.count);
    const struct producer *e = NULL;
    TAILQ_FOREACH(e, &p->list, link)
    {
        const struct producer_state *s = &e->state;
        int64_t offset = s->batch_count == 0 ? -1 : s->batches[s->batch_count - 1].last_offset;
        all[count++] = (struct log_producer_last){
            .producer_id = e->id, .last_data_offset = offset, .epoch = s->epoch};
    }
    qsort(all, count, sizeof(*all), compare_last);
    *ret_count = count;
    return all;
}

static void describe(const struct producer *e, struct log_producer_info *ret)
{
    const struct producer_state *s = &e->state;
    *ret = (struct log_producer_info){
        .producer_id = e->id,
        .epoch = s->epoch,
        .last_sequence = s->batch_count == 0 ? -1 : s->batches[s->batch_count - 1].last_sequence,
        .last_timestamp = s->last_timestamp,
        .coordinator_epoch = s->coordinator_epoch,
        .txn_first_offset = s->txn_first_offset,
    };
}

bool log_producers_next(const struct log_producers *p, const void **cursor,
                        struct log_producer_info *ret)
{
    const struct producer *e = *cursor;
    e = e == NULL ? TAILQ_FIRST(&p->list) : TAILQ_NEXT(e, link);
    if (e == NULL)
        return false;
    describe(e, ret);
    *cursor = e;
    return true;
}

bool log_producers_get(const struct log_producers *p, int64_t producer_id,
                       struct log_producer_info *ret)
{
    const struct producer *e = producers_find(p, producer_id);
    if (e != NULL)
        describe(e, ret);
    return e != NULL;
}
