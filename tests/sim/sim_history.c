#include "tests/sim/sim_history.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/assert.h"
#include "proto/base/mem.h"

#define NOTHING (-1) /* an offset whose value nobody has seen */

/* Value ids by offset. */
struct offsets {
    int64_t *ids;
    size_t count, capacity;
};

struct partition {
    struct offsets seen;  /* acknowledged with acks=all, or read */
    struct offsets final; /* by the first final reader */
    int64_t final_end;    /* -1: no final reader has finished */
    int64_t final_start;  /* of the first final reader */
};

struct sim_history {
    struct sim_checks *checks;
    struct partition *partitions;
    uint32_t partition_count;
    struct sim_sent *sent;
    size_t sent_count, sent_capacity;
    uint64_t acked, reads;
    int64_t *identities; /* producer ids that were given */
    size_t identities_count, identities_capacity;
};

static int64_t offsets_get(const struct offsets *o, int64_t offset)
{
    return offset >= 0 && (size_t)offset < o->count ? o->ids[offset] : NOTHING;
}

static void offsets_set(struct offsets *o, int64_t offset, int64_t id)
{
    KB_ASSERT(offset >= 0 && offset < 100000000);
    while (o->count <= (size_t)offset) {
        kb_array_reserve(o->ids, o->count, o->capacity);
        o->ids[o->count++] = NOTHING;
    }
    o->ids[offset] = id;
}

struct sim_history *sim_history_new(struct sim_checks *checks, uint32_t partitions)
{
    struct sim_history *h = kb_new(struct sim_history);
    h->checks = checks;
    h->partitions = kb_new_array(struct partition, partitions);
    h->partition_count = partitions;
    for (uint32_t p = 0; p < partitions; p++)
        h->partitions[p].final_end = -1;
    return h;
}

struct sim_history *sim_history_free(struct sim_history *h)
{
    if (h == NULL)
        return NULL;
    for (uint32_t p = 0; p < h->partition_count; p++) {
        free(h->partitions[p].seen.ids);
        free(h->partitions[p].final.ids);
    }
    free(h->partitions);
    free(h->sent);
    free(h->identities);
    free(h);
    return NULL;
}

/* ---- values ---- */

static size_t padding_of(uint64_t id)
{
    return (size_t)(id * 7919 % 160) + (id % 97 == 0 ? 3000 : 0);
}

/* The padding of record id is the alphabet over and over, from letter id % 26 on: a piece of this.
 */
static const char alphabet[] = "abcdefghijklmnopqrstuvwxyz";
#define LETTERS 26

void sim_history_value(uint64_t id, struct kb_buf *value)
{
    kb_buf_printf(value, "v%llu.", (unsigned long long)id);
    size_t padding = padding_of(id);
    size_t from = (size_t)(id % LETTERS);
    while (padding > 0) {
        size_t piece = padding < LETTERS - from ? padding : LETTERS - from;
        kb_buf_append(value, &alphabet[from], piece);
        padding -= piece;
        from = 0;
    }
}

int64_t sim_history_parse(struct kb_view value)
{
    int64_t id = 0;
    size_t at = 1;
    if (value.size < 3 || value.data[0] != 'v')
        return -1;
    for (; at < value.size && value.data[at] >= '0' && value.data[at] <= '9' && at < 16; at++)
        id = id * 10 + (value.data[at] - '0');
    if (at == 1 || at >= value.size || value.data[at] != '.')
        return -1;
    size_t left = padding_of((uint64_t)id);
    size_t from = (size_t)((uint64_t)id % LETTERS);
    if (++at + left != value.size || (value.data[1] == '0' && at > 3))
        return -1;
    while (left > 0) {
        size_t piece = left < LETTERS - from ? left : LETTERS - from;
        if (memcmp(value.data + at, &alphabet[from], piece) != 0)
            return -1;
        at += piece;
        left -= piece;
        from = 0;
    }
    return id;
}

/* ---- sending ---- */

void sim_history_identity(struct sim_history *h, int64_t producer_id)
{
    bool given = false;
    for (size_t i = 0; i < h->identities_count; i++)
        given = given || h->identities[i] == producer_id;
    sim_check(h->checks, SIM_CHECK_R18, !given, "producer id %lld is given twice",
              (long long)producer_id);
    kb_array_reserve(h->identities, h->identities_count, h->identities_capacity);
    h->identities[h->identities_count++] = producer_id;
}

uint64_t sim_history_send(struct sim_history *h, const struct sim_sent *sent)
{
    kb_array_reserve(h->sent, h->sent_count, h->sent_capacity);
    h->sent[h->sent_count] = *sent;
    h->sent[h->sent_count].outcome = SIM_OPEN;
    h->sent[h->sent_count].offset = -1;
    return h->sent_count++;
}

void sim_history_set_sequence(struct sim_history *h, uint64_t id, int64_t producer_id,
                              int16_t producer_epoch, int32_t sequence)
{
    struct sim_sent *s = &h->sent[id];
    s->producer_id = producer_id;
    s->producer_epoch = producer_epoch;
    s->sequence = sequence;
}

/* Somebody was told that this offset holds this record. */
static void see(struct sim_history *h, uint32_t partition, int64_t offset, int64_t id,
                const char *who)
{
    struct offsets *seen = &h->partitions[partition].seen;
    int64_t before = offsets_get(seen, offset);
    sim_check(h->checks, SIM_CHECK_P2, before == NOTHING || before == id,
              "partition %u offset %lld was v%lld, %s was told v%lld", partition, (long long)offset,
              (long long)before, who, (long long)id);
    offsets_set(seen, offset, id);
}

void sim_history_done(struct sim_history *h, uint64_t id, enum sim_outcome outcome, int64_t offset)
{
    struct sim_sent *s = &h->sent[id];
    KB_ASSERT(s->outcome == SIM_OPEN);
    s->outcome = outcome;
    if (outcome != SIM_OK)
        return;
    s->offset = offset;
    if (s->acks != 0)
        h->acked++;
    if (s->acks == -1)
        see(h, s->partition, offset, (int64_t)id, "its producer");
}

void sim_history_read(struct sim_history *h, uint32_t consumer, uint32_t partition, int64_t offset,
                      struct kb_view value)
{
    char who[32];
    int64_t id = sim_history_parse(value);
    (void)snprintf(who, sizeof(who), "consumer %u", consumer);
    h->reads++;
    bool known = id >= 0 && (size_t)id < h->sent_count && h->sent[id].partition == partition;
    const struct sim_sent *sent = id >= 0 ? sim_history_get(h, (uint64_t)id) : NULL;
    if (sim_check(
            h->checks, SIM_CHECK_P2, known,
            "partition %u offset %lld: %s read %s sent there: %.*s (producer %d partition %d)",
            partition, (long long)offset, who, sent != NULL ? "what was not" : "what nobody",
            value.size < 40 ? (int)value.size : 40, (const char *)value.data,
            sent != NULL ? (int)sent->producer : -1, sent != NULL ? (int)sent->partition : -1))
        see(h, partition, offset, id, who);
}

/* ---- the end ---- */

void sim_history_final(struct sim_history *h, const char *reader, uint32_t partition,
                       int64_t offset, struct kb_view value)
{
    struct partition *p = &h->partitions[partition];
    int64_t id = sim_history_parse(value);
    bool known = id >= 0 && (size_t)id < h->sent_count && h->sent[id].partition == partition;
    if (!sim_check(h->checks, SIM_CHECK_P2, known,
                   "partition %u offset %lld: %s finds a record nobody sent there", partition,
                   (long long)offset, reader))
        return;
    if (p->final_end < 0) {
        offsets_set(&p->final, offset, id);
        return;
    }
    if (offset < p->final_start) { /* what is gone for readers may still lie on a disk */
        see(h, partition, offset, id, reader);
        return;
    }
    int64_t first = offsets_get(&p->final, offset);
    sim_check(h->checks, SIM_CHECK_P2, first == id,
              "partition %u offset %lld: %s finds v%lld, the first reader found v%lld", partition,
              (long long)offset, reader, (long long)id, (long long)first);
}

void sim_history_final_start(struct sim_history *h, uint32_t partition, int64_t start_offset)
{
    struct partition *p = &h->partitions[partition];
    if (p->final_end < 0)
        p->final_start = start_offset;
}

void sim_history_final_end(struct sim_history *h, const char *reader, uint32_t partition,
                           int64_t end_offset)
{
    struct partition *p = &h->partitions[partition];
    if (p->final_end < 0)
        p->final_end = end_offset;
    sim_check(h->checks, SIM_CHECK_P2, p->final_end == end_offset,
              "partition %u: %s finds end %lld, the first reader found %lld", partition, reader,
              (long long)end_offset, (long long)p->final_end);
}

/* Where each record is in the final logs, or was before it was deleted: offset, or -1; twice is a
 * P12. */
static int64_t *locate(struct sim_history *h)
{
    int64_t *where = kb_new_array(int64_t, h->sent_count + 1);
    for (size_t i = 0; i < h->sent_count; i++)
        where[i] = -1;
    for (uint32_t p = 0; p < h->partition_count; p++) {
        const struct partition *part = &h->partitions[p];
        size_t start = (size_t)part->final_start, end = part->final.count;
        for (size_t o = 0; o < (end > start ? end : start); o++) {
            int64_t id = offsets_get(o < start ? &part->seen : &part->final, (int64_t)o);
            if (id == NOTHING)
                continue;
            if (h->sent[id].producer_id >= 0)
                /* Sent again when it was deleted already, it is a new record: nobody knows it. */
                sim_check(h->checks, SIM_CHECK_P12, where[id] < 0 || where[id] < part->final_start,
                          "partition %u: v%lld of an idempotent producer at %lld and %zu", p,
                          (long long)id, (long long)where[id], o);
            where[id] = (int64_t)o;
        }
    }
    return where;
}

static void judge_record(struct sim_history *h, uint64_t id, int64_t where)
{
    const struct sim_sent *s = &h->sent[id];
    if (s->outcome == SIM_FAIL)
        sim_check(h->checks, SIM_CHECK_P12, where < 0,
                  "partition %u: v%llu was refused and is at %lld", s->partition,
                  (unsigned long long)id, (long long)where);
    if (s->outcome != SIM_OK || s->acks != -1)
        return;
    int64_t start = h->partitions[s->partition].final_start;
    if (where < 0 && s->offset < start)
        return;
    sim_check(h->checks, SIM_CHECK_P1, where >= 0,
              "partition %u: v%llu acknowledged at %lld is not in the final log", s->partition,
              (unsigned long long)id, (long long)s->offset);
    if (where >= 0)
        sim_check(h->checks, SIM_CHECK_P12, where == s->offset,
                  "partition %u: v%llu acknowledged at %lld is at %lld", s->partition,
                  (unsigned long long)id, (long long)s->offset, (long long)where);
}

static void judge_seen(struct sim_history *h, uint32_t p)
{
    const struct partition *part = &h->partitions[p];
    for (size_t o = (size_t)part->final_start; o < part->seen.count; o++) {
        int64_t id = part->seen.ids[o];
        if (id == NOTHING)
            continue;
        sim_check(h->checks, SIM_CHECK_P10, offsets_get(&part->final, (int64_t)o) == id,
                  "partition %u offset %zu was v%lld and is v%lld in the final log", p, o,
                  (long long)id, (long long)offsets_get(&part->final, (int64_t)o));
    }
    for (int64_t o = part->final_start; o < part->final_end; o++)
        sim_check(h->checks, SIM_CHECK_P2, offsets_get(&part->final, o) != NOTHING,
                  "partition %u offset %lld is missing in the final log", p, (long long)o);
}

/* An idempotent producer's records in one partition: positions rise with `order`, and nothing is
 * missing before one that is there. Records are sent in order, so a walk over the ids suffices. */
static void judge_order(struct sim_history *h, const int64_t *where)
{
    struct last {
        int64_t id, offset, missing;
    };
    struct last *lasts = NULL;
    size_t count = 0, capacity = 0;
    for (size_t id = 0; id < h->sent_count; id++) {
        const struct sim_sent *s = &h->sent[id];
        if (s->producer_id < 0)
            continue;
        size_t slot = (size_t)s->producer * h->partition_count + s->partition;
        while (count <= slot) {
            kb_array_reserve(lasts, count, capacity);
            lasts[count++] = (struct last){-1, -1, -1};
        }
        struct last *l = &lasts[slot];
        if (where[id] < 0) {
            /* Behind nothing that is left it may be deleted, and was where nobody has seen it. */
            if (l->offset >= h->partitions[s->partition].final_start ||
                h->partitions[s->partition].final_start == 0)
                l->missing = l->missing < 0 ? (int64_t)id : l->missing;
            continue;
        }
        sim_check(h->checks, SIM_CHECK_P11, l->missing < 0,
                  "partition %u producer %u: v%zu is there, the earlier v%lld is not", s->partition,
                  s->producer, id, (long long)l->missing);
        sim_check(h->checks, SIM_CHECK_P11, where[id] > l->offset,
                  "partition %u producer %u: v%zu at %lld, the earlier v%lld at %lld", s->partition,
                  s->producer, id, (long long)where[id], (long long)l->id, (long long)l->offset);
        l->id = (int64_t)id;
        l->offset = where[id];
    }
    free(lasts);
}

void sim_history_judge(struct sim_history *h)
{
    int64_t *where = locate(h);
    for (size_t id = 0; id < h->sent_count; id++)
        judge_record(h, id, where[id]);
    for (uint32_t p = 0; p < h->partition_count; p++)
        judge_seen(h, p);
    judge_order(h, where);
    free(where);
}

uint64_t sim_history_sent(const struct sim_history *h)
{
    return h->sent_count;
}

uint64_t sim_history_acked(const struct sim_history *h)
{
    return h->acked;
}

uint64_t sim_history_reads(const struct sim_history *h)
{
    return h->reads;
}

const struct sim_sent *sim_history_get(const struct sim_history *h, uint64_t id)
{
    return id < h->sent_count ? &h->sent[id] : NULL;
}
