#include <string.h>

#include "proto/base/crc32c.h"
#include "proto/base/err.h"
#include "proto/base/mem.h"
#include "replication/log/producers_internal.h"

/* Kafka's snapshot, version 1:
 *
 *   0  int16 version | 2 uint32 crc over all from byte 6 | 6 int32 count | count entries of 46
 * bytes: int64 id, int16 epoch, int32 last sequence, int64 last offset, int32 offset delta, int64
 * timestamp, int32 coordinator epoch, int64 first offset of the open transaction
 *
 * then ours:
 *
 *   uint32 magic | per entry: uint8 flags, uint8 n, n earlier batches {int32 last sequence,
 *   int32 delta, int64 last offset, int64 timestamp} | int32 m, m ended transactions whose marker
 *   was not yet below the high watermark {int64 first offset, int64 marker offset} */

enum {
    SNAPSHOT_VERSION = 1,
    SNAPSHOT_CRC_AT = 2,
    SNAPSHOT_BODY_AT = 6,
    SNAPSHOT_ENTRY_SIZE = 46,
    SNAPSHOT_BATCH_SIZE = 24,
    SNAPSHOT_TXN_SIZE = 16,
    SNAPSHOT_FLAG_ANY_SEQUENCE = 1,
};
static const uint32_t snapshot_magic = 0x4b76504d;

/* ---- writing ---- */

static void put16(struct kb_buf *b, uint16_t v)
{
    uint8_t raw[2];
    kb_put_be16(raw, v);
    kb_buf_append(b, raw, sizeof(raw));
}
static void put32(struct kb_buf *b, uint32_t v)
{
    uint8_t raw[4];
    kb_put_be32(raw, v);
    kb_buf_append(b, raw, sizeof(raw));
}
static void put64(struct kb_buf *b, int64_t v)
{
    uint8_t raw[8];
    kb_put_be64(raw, (uint64_t)v);
    kb_buf_append(b, raw, sizeof(raw));
}

static void put_entry(struct kb_buf *b, const struct producer *e)
{
    static const struct producer_batch none = {.last_sequence = -1, .last_offset = -1};
    const struct producer_state *s = &e->state;
    const struct producer_batch *last = s->batch_count == 0 ? &none
                                                            : &s->batches[s->batch_count - 1];
    put64(b, e->id);
    put16(b, (uint16_t)s->epoch);
    put32(b, (uint32_t)last->last_sequence);
    put64(b, last->last_offset);
    put32(b, (uint32_t)last->delta);
    put64(b, s->last_timestamp);
    put32(b, (uint32_t)s->coordinator_epoch);
    put64(b, s->txn_first_offset);
}

static void put_earlier(struct kb_buf *b, const struct producer_state *s)
{
    uint8_t head[2] = {s->any_sequence ? SNAPSHOT_FLAG_ANY_SEQUENCE : 0,
                       s->batch_count == 0 ? 0 : (uint8_t)(s->batch_count - 1)};
    kb_buf_append(b, head, sizeof(head));
    for (size_t i = 0; i < head[1]; i++) {
        put32(b, (uint32_t)s->batches[i].last_sequence);
        put32(b, (uint32_t)s->batches[i].delta);
        put64(b, s->batches[i].last_offset);
        put64(b, s->batches[i].timestamp);
    }
}

void log_producers_serialize(const struct log_producers *p, struct kb_buf *ret)
{
    const struct producer *e = NULL;
    size_t start = ret->size;
    put16(ret, SNAPSHOT_VERSION);
    put32(ret, 0);
    put32(ret, (uint32_t)p->map.count);
    TAILQ_FOREACH(e, &p->list, link)
    put_entry(ret, e);
    put32(ret, snapshot_magic);
    TAILQ_FOREACH(e, &p->list, link)
    put_earlier(ret, &e->state);
    put32(ret, (uint32_t)p->ended_count);
    for (size_t i = 0; i < p->ended_count; i++) {
        put64(ret, p->ended[i].first_offset);
        put64(ret, p->ended[i].marker_offset);
    }
    uint8_t *data = ret->data + start;
    kb_put_be32(data + SNAPSHOT_CRC_AT,
                kb_crc32c(0, data + SNAPSHOT_BODY_AT, ret->size - start - SNAPSHOT_BODY_AT));
}

/* What of e lies below offset; false: nothing. */
static bool state_below(const struct producer *e, int64_t offset, struct producer_state *ret)
{
    *ret = e->state;
    while (ret->batch_count > 0 && ret->batches[ret->batch_count - 1].last_offset >= offset)
        ret->batch_count--;
    if (ret->batch_count == 0)
        return false;
    if (ret->batch_count < e->state.batch_count)
        ret->last_timestamp = ret->batches[ret->batch_count - 1].timestamp;
    if (ret->txn_first_offset >= offset)
        ret->txn_first_offset = -1;
    return true;
}

static size_t state_size(const struct producer_state *s)
{
    return SNAPSHOT_ENTRY_SIZE + 2 + (size_t)(s->batch_count - 1) * SNAPSHOT_BATCH_SIZE;
}

size_t log_producers_serialize_below(const struct log_producers *p, int64_t offset, size_t size_max,
                                     struct kb_buf *ret)
{
    const struct log_producers_config unlimited = {0};
    struct log_producers *below = log_producers_new(&unlimited);
    struct producer *e = NULL;
    struct producer_state s;
    size_t size = SNAPSHOT_BODY_AT + 4 + 4 + 4;
    TAILQ_FOREACH_REVERSE(e, &p->list, producer_list, link)
    {
        if (!state_below(e, offset, &s))
            continue;
        if (size + state_size(&s) > size_max)
            break;
        size += state_size(&s);
        struct producer *copy = producers_add(below, e->id, e->used_ms);
        copy->state = s;
        TAILQ_REMOVE(&below->list, copy, link);
        TAILQ_INSERT_HEAD(&below->list, copy, link);
    }
    size_t count = below->map.count;
    if (count > 0)
        log_producers_serialize(below, ret);
    (void)log_producers_free(below);
    return count;
}

/* ---- reading ---- */

struct cursor {
    const uint8_t *data;
    size_t size;
    size_t at;
    bool bad; /* sticky */
};

static const uint8_t *take(struct cursor *c, size_t size)
{
    static const uint8_t zeros[SNAPSHOT_ENTRY_SIZE];
    if (c->bad || c->size - c->at < size) {
        c->bad = true;
        return zeros;
    }
    c->at += size;
    return c->data + c->at - size;
}

static void read_entry(struct cursor *c, struct log_producers *p, uint64_t now_ms)
{
    const uint8_t *raw = take(c, SNAPSHOT_ENTRY_SIZE);
    int64_t id = (int64_t)kb_get_be64(raw);
    struct producer_batch last = {
        .last_sequence = (int32_t)kb_get_be32(raw + 10),
        .last_offset = (int64_t)kb_get_be64(raw + 14),
        .delta = (int32_t)kb_get_be32(raw + 22),
        .timestamp = (int64_t)kb_get_be64(raw + 26),
    };
    if (c->bad || id < 0 || last.delta < 0 || producers_find(p, id) != NULL) {
        c->bad = true;
        return;
    }
    struct producer *e = producers_add(p, id, now_ms);
    struct producer_state *s = &e->state;
    s->epoch = (int16_t)kb_get_be16(raw + 8);
    s->last_timestamp = last.timestamp;
    s->coordinator_epoch = (int32_t)kb_get_be32(raw + 34);
    s->txn_first_offset = (int64_t)kb_get_be64(raw + 38);
    if (s->txn_first_offset >= 0)
        producers_open_txn_add(p, s->txn_first_offset, id);
    if (last.last_offset >= 0)
        s->batches[s->batch_count++] = last;
}

static void read_earlier(struct cursor *c, struct producer_state *s)
{
    const uint8_t *head = take(c, 2);
    size_t count = head[1];
    if (c->bad || count + s->batch_count > LOG_PRODUCER_BATCHES ||
        (count != 0 && s->batch_count == 0)) {
        c->bad = true;
        return;
    }
    s->any_sequence = (head[0] & SNAPSHOT_FLAG_ANY_SEQUENCE) != 0;
    s->batches[count] = s->batches[0];
    for (size_t i = 0; i < count; i++) {
        const uint8_t *raw = take(c, SNAPSHOT_BATCH_SIZE);
        s->batches[i] = (struct producer_batch){
            .last_sequence = (int32_t)kb_get_be32(raw),
            .delta = (int32_t)kb_get_be32(raw + 4),
            .last_offset = (int64_t)kb_get_be64(raw + 8),
            .timestamp = (int64_t)kb_get_be64(raw + 16),
        };
    }
    s->batch_count = (uint8_t)(s->batch_count + count);
}

static void read_own_part(struct cursor *c, struct log_producers *p)
{
    struct producer *e = NULL;
    TAILQ_FOREACH(e, &p->list, link)
    read_earlier(c, &e->state);
    uint32_t count = kb_get_be32(take(c, 4));
    if (c->bad || count > (c->size - c->at) / SNAPSHOT_TXN_SIZE) {
        c->bad = true;
        return;
    }
    for (uint32_t i = 0; i < count; i++) {
        const uint8_t *raw = take(c, SNAPSHOT_TXN_SIZE);
        producers_ended_txn_add(p, (int64_t)kb_get_be64(raw), (int64_t)kb_get_be64(raw + 8));
    }
}

static int read_body(struct cursor *c, struct log_producers *p, uint64_t now_ms)
{
    uint32_t count = kb_get_be32(take(c, 4));
    if (c->bad || count > (c->size - c->at) / SNAPSHOT_ENTRY_SIZE)
        return -KB_ECORRUPT;
    for (uint32_t i = 0; i < count && !c->bad; i++)
        read_entry(c, p, now_ms);
    /* A snapshot that Kafka wrote ends here. */
    if (!c->bad && c->size - c->at >= 4 && kb_get_be32(c->data + c->at) == snapshot_magic) {
        c->at += 4;
        read_own_part(c, p);
    }
    return c->bad ? -KB_ECORRUPT : 0;
}

int log_producers_load(struct log_producers *p, const uint8_t *data, size_t size, int64_t offset,
                       uint64_t now_ms)
{
    if (size < SNAPSHOT_BODY_AT + 4)
        return -KB_ECORRUPT;
    if (kb_get_be16(data) != SNAPSHOT_VERSION)
        return -KB_EUNSUPPORTED;
    if (kb_get_be32(data + SNAPSHOT_CRC_AT) !=
        kb_crc32c(0, data + SNAPSHOT_BODY_AT, size - SNAPSHOT_BODY_AT))
        return -KB_ECORRUPT;
    /* The limit on the count is for live producers; it is kept from the next new one on. */
    struct log_producers_config unlimited = p->config;
    unlimited.count_max = 0;
    struct log_producers *fresh = log_producers_new(&unlimited);
    struct cursor c = {.data = data, .size = size, .at = SNAPSHOT_BODY_AT};
    int r = read_body(&c, fresh, now_ms);
    if (r < 0) {
        (void)log_producers_free(fresh);
        return r;
    }
    log_producers_reset(p, offset);
    /* Exchange what the table holds; both keep their own allocations. */
    TAILQ_CONCAT(&p->list, &fresh->list, link);
    struct kb_map map = p->map;
    p->map = fresh->map;
    fresh->map = map;
    for (size_t i = 0; i < fresh->open_count; i++)
        producers_open_txn_add(p, fresh->open[i].first_offset, fresh->open[i].producer_id);
    for (size_t i = 0; i < fresh->ended_count; i++)
        producers_ended_txn_add(p, fresh->ended[i].first_offset, fresh->ended[i].marker_offset);
    (void)log_producers_free(fresh);
    return 0;
}

/* ---- reading a batch ---- */

enum {
    BATCH_LENGTH_AT = 8,
    BATCH_MAGIC_AT = 16,
    BATCH_ATTRIBUTES_AT = 21,
    BATCH_LAST_DELTA_AT = 23,
    BATCH_MAX_TIMESTAMP_AT = 35,
    BATCH_PRODUCER_ID_AT = 43,
    BATCH_PRODUCER_EPOCH_AT = 51,
    BATCH_SEQUENCE_AT = 53,
    BATCH_COUNT_AT = 57,
    BATCH_HEAD_SIZE = 61,
    BATCH_CODEC_MASK = 7,
    BATCH_TRANSACTIONAL = 1 << 4,
    BATCH_CONTROL = 1 << 5,
};

/* Zigzag varint, up to 64 bits. */
static int64_t take_varint(struct cursor *c)
{
    uint64_t v = 0;
    for (unsigned shift = 0; shift < 70; shift += 7) {
        uint8_t byte = *take(c, 1);
        v |= (uint64_t)(byte & 0x7f) << (shift > 63 ? 63 : shift);
        if ((byte & 0x80) == 0)
            return (int64_t)(v >> 1) ^ -(int64_t)(v & 1);
    }
    c->bad = true;
    return 0;
}

/* First record of a control batch: key = int16 version, int16 type (0 abort, 1 commit, others are
 * not ours); value of an end of transaction = int16 version, int32 coordinator epoch. */
static int parse_marker(struct cursor *c, struct log_producer_batch *ret)
{
    (void)take_varint(c); /* record length */
    (void)take(c, 1);     /* attributes */
    (void)take_varint(c); /* timestamp delta */
    (void)take_varint(c); /* offset delta */
    int64_t key_size = take_varint(c);
    if (c->bad || key_size < 4 || (uint64_t)key_size > c->size - c->at)
        return -KB_ECORRUPT;
    uint16_t type = kb_get_be16(c->data + c->at + 2);
    c->at += (size_t)key_size;
    if (type > 1)
        return 0;
    int64_t value_size = take_varint(c);
    if (c->bad || value_size < 6 || (uint64_t)value_size > c->size - c->at)
        return -KB_ECORRUPT;
    ret->coordinator_epoch = (int32_t)kb_get_be32(c->data + c->at + 2);
    ret->marker = type == 0 ? LOG_MARKER_ABORT : LOG_MARKER_COMMIT;
    return 0;
}

int log_producer_batch_parse(const uint8_t *data, size_t size, struct log_producer_batch *ret)
{
    if (size < BATCH_HEAD_SIZE || data[BATCH_MAGIC_AT] != 2)
        return -KB_ECORRUPT;
    uint64_t whole = (uint64_t)kb_get_be32(data + BATCH_LENGTH_AT) + 12;
    if (whole < BATCH_HEAD_SIZE || whole > size)
        return -KB_ECORRUPT;
    uint16_t attributes = kb_get_be16(data + BATCH_ATTRIBUTES_AT);
    struct log_producer_batch b = {
        .producer_id = (int64_t)kb_get_be64(data + BATCH_PRODUCER_ID_AT),
        .producer_epoch = (int16_t)kb_get_be16(data + BATCH_PRODUCER_EPOCH_AT),
        .base_sequence = (int32_t)kb_get_be32(data + BATCH_SEQUENCE_AT),
        .last_offset_delta = (int32_t)kb_get_be32(data + BATCH_LAST_DELTA_AT),
        .base_offset = (int64_t)kb_get_be64(data),
        .max_timestamp = (int64_t)kb_get_be64(data + BATCH_MAX_TIMESTAMP_AT),
        .transactional = (attributes & BATCH_TRANSACTIONAL) != 0,
        .control = (attributes & BATCH_CONTROL) != 0,
    };
    if (b.last_offset_delta < 0)
        return -KB_ECORRUPT;
    if (b.control && b.producer_id >= 0 && kb_get_be32(data + BATCH_COUNT_AT) != 0) {
        if ((attributes & BATCH_CODEC_MASK) != 0)
            return -KB_ECORRUPT;
        struct cursor c = {.data = data, .size = (size_t)whole, .at = BATCH_HEAD_SIZE};
        int r = parse_marker(&c, &b);
        if (r < 0)
            return r;
    }
    *ret = b;
    return 0;
}
