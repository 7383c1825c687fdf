#include "tests/sim/sim_peer_check.h"

#include <stdlib.h>
#include <string.h>

#include "proto/base/assert.h"
#include "proto/base/map.h"
#include "proto/base/mem.h"

/* The peer protocol's numbers, of peer.proto. A follower has two requests under way at most. */
enum { BODY_FETCH = 40, BODY_FETCHED = 41, BODY_DURABLE = 42 };
enum { ASKED_MAX = 4, PARTITIONS_MAX = 64 };

/* What a follower asked of one partition and has not been superseded before an answer. */
struct asked {
    uint32_t count;
    struct request {
        int64_t offset;
        int32_t epoch;
        bool former; /* by a life that had ended, as the leader knew */
    } requests[ASKED_MAX];
};

struct link {
    struct asked asked[PARTITIONS_MAX];
};

struct sim_peer_check {
    struct sim_peer_options options;
    struct kb_map links; /* connection -> struct link */
};

struct sim_peer_check *sim_peer_check_new(const struct sim_peer_options *options)
{
    struct sim_peer_check *c = kb_new(struct sim_peer_check);
    KB_ASSERT(options->partitions <= PARTITIONS_MAX);
    c->options = *options;
    return c;
}

struct sim_peer_check *sim_peer_check_free(struct sim_peer_check *c)
{
    if (c == NULL)
        return NULL;
    size_t cursor = 0;
    struct link *l;
    while ((l = kb_map_next(&c->links, &cursor, NULL)) != NULL)
        free(l);
    kb_map_release(&c->links);
    free(c);
    return NULL;
}

/* ---- protobuf, as far as it is needed ---- */

struct field {
    uint32_t number;
    uint64_t value;       /* varints */
    struct kb_view bytes; /* strings and messages */
};

static bool take_varint(struct kb_view *v, uint64_t *ret)
{
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 64 && v->size > 0; shift += 7) {
        uint8_t byte = v->data[0];
        *v = kb_view_of(v->data + 1, v->size - 1);
        value |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80) {
            *ret = value;
            return true;
        }
    }
    return false;
}

/* The next field; false at the end, or at what these messages do not have. */
static bool take_field(struct kb_view *v, struct field *ret)
{
    uint64_t key = 0, size = 0;
    if (v->size == 0 || !take_varint(v, &key))
        return false;
    *ret = (struct field){.number = (uint32_t)(key >> 3)};
    if ((key & 7) == 0)
        return take_varint(v, &ret->value);
    if ((key & 7) != 2 || !take_varint(v, &size) || size > v->size)
        return false;
    ret->bytes = kb_view_of(v->data, size);
    *v = kb_view_of(v->data + size, v->size - size);
    return true;
}

/* ---- one partition of a message ---- */

struct item {
    int32_t partition; /* of the run; -1 */
    uint64_t has;      /* bit n: field n is there */
    uint64_t value[16];
};

/* Partition and leader epoch have other numbers in each message. */
static struct item read_item(const struct sim_peer_check *c, struct kb_view v)
{
    struct item item = {.partition = -1};
    struct field f;
    struct kb_view topic_id = {0};
    while (take_field(&v, &f)) {
        if (f.number == 1)
            topic_id = f.bytes;
        if (f.number >= 16)
            continue;
        item.has |= UINT64_C(1) << f.number;
        item.value[f.number] = f.value;
    }
    if (topic_id.size == 16)
        item.partition = c->options.partition_of(c->options.arg, topic_id, (int32_t)item.value[2]);
    return item;
}

static bool has(const struct item *item, uint32_t number)
{
    return (item->has >> number & 1) != 0;
}

static void reported(struct sim_peer_check *c, uint32_t node, const struct item *item,
                     uint32_t durable)
{
    if (item->partition >= 0 && has(item, durable))
        c->options.on_reported(c->options.arg, node, (uint32_t)item->partition,
                               (int64_t)item->value[durable]);
}

/* ---- messages ---- */

enum {
    FETCH_EPOCH = 3,
    FETCH_OFFSET = 4,
    FETCH_FORGET = 8,
    FETCH_DURABLE = 10,
    REPORT_DURABLE = 5
};
enum { FETCHED_ERROR = 3, FETCHED_EPOCH = 4, FETCHED_OFFSET = 10 };
enum { REQUEST_ITEM = 1, REQUEST_BROKER_EPOCH = 4 };

static void durable_reports(struct sim_peer_check *c, uint32_t from, struct kb_view body,
                            uint32_t number)
{
    struct field f;
    while (take_field(&body, &f)) {
        if (f.number != REQUEST_ITEM || f.bytes.size == 0)
            continue;
        struct item item = read_item(c, f.bytes);
        reported(c, from, &item, number);
    }
}

static void ask(struct link *l, const struct item *item, bool former)
{
    struct asked *a = &l->asked[item->partition];
    if (a->count == ASKED_MAX)
        memmove(&a->requests[0], &a->requests[1], --a->count * sizeof(a->requests[0]));
    a->requests[a->count++] = (struct request){.offset = (int64_t)item->value[FETCH_OFFSET],
                                               .epoch = (int32_t)item->value[FETCH_EPOCH],
                                               .former = former};
}

/* A leader gets a request. */
static void asked_for(struct sim_peer_check *c, uint32_t from, uint32_t to, uint64_t conn,
                      struct kb_view body)
{
    struct link *l = kb_map_get(&c->links, conn);
    uint64_t epoch = 0;
    struct field f;
    if (l == NULL) {
        l = kb_new(struct link);
        (void)kb_map_put(&c->links, conn, l);
    }
    for (struct kb_view v = body; take_field(&v, &f);)
        epoch = f.number == REQUEST_BROKER_EPOCH ? f.value : epoch;
    bool former = epoch < c->options.broker_epoch(c->options.arg, to, from);
    while (take_field(&body, &f)) {
        if (f.number != REQUEST_ITEM || f.bytes.size == 0)
            continue;
        struct item item = read_item(c, f.bytes);
        if (item.partition >= 0 && !has(&item, FETCH_FORGET))
            ask(l, &item, former);
    }
}

/* An answer names the offset of the request that it is for; of the same offset it may be for any.
 */
static void check_served(struct sim_peer_check *c, uint32_t from, uint32_t to, struct link *l,
                         const struct item *item)
{
    const struct asked *a = &l->asked[item->partition];
    int32_t epoch = (int32_t)item->value[FETCHED_EPOCH], last = -1;
    bool asked = false, named = false, present = false;
    for (uint32_t i = 0; i < a->count; i++) {
        const struct request *r = &a->requests[i];
        if (has(item, FETCHED_OFFSET) && r->offset != (int64_t)item->value[FETCHED_OFFSET])
            continue;
        asked = true;
        named = named || r->epoch == epoch;
        present = present || !r->former;
        last = r->epoch;
    }
    if (!asked)
        return;
    sim_check(c->options.checks, SIM_CHECK_P15, named,
              "partition %d: node %u serves node %u in epoch %d, which asked for epoch %d",
              item->partition, from + 1, to + 1, epoch, last);
    sim_check(c->options.checks, SIM_CHECK_P15, present,
              "partition %d: node %u serves a former life of node %u in epoch %d", item->partition,
              from + 1, to + 1, epoch);
}

/* A leader answers: what it says without an error is an answer to something that was asked. */
static void served(struct sim_peer_check *c, uint32_t from, uint32_t to, uint64_t conn,
                   struct kb_view body)
{
    struct link *l = kb_map_get(&c->links, conn);
    struct field f;
    if (l == NULL)
        return;
    while (take_field(&body, &f)) {
        if (f.number != REQUEST_ITEM || f.bytes.size == 0)
            continue;
        struct item item = read_item(c, f.bytes);
        if (item.partition >= 0 && (int32_t)item.value[FETCHED_ERROR] == 0)
            check_served(c, from, to, l, &item);
    }
    for (uint32_t p = 0; p < c->options.partitions; p++) {
        struct asked *a = &l->asked[p];
        if (a->count > 1) {
            a->requests[0] = a->requests[a->count - 1];
            a->count = 1;
        }
    }
}

void sim_peer_check_frame(struct sim_peer_check *c, uint32_t from, uint32_t to, uint64_t conn,
                          bool sent, struct kb_view frame)
{
    struct field f = {0};
    if (frame.size < 4 || kb_get_be32(frame.data) > frame.size - 4)
        return;
    struct kb_view m = kb_view_of(frame.data + 4, kb_get_be32(frame.data));
    while (take_field(&m, &f) && f.number < 3)
        ; /* of which request */
    if (f.number == BODY_FETCH && sent)
        durable_reports(c, from, f.bytes, FETCH_DURABLE);
    else if (f.number == BODY_DURABLE && sent)
        durable_reports(c, from, f.bytes, REPORT_DURABLE);
    else if (f.number == BODY_FETCH)
        asked_for(c, from, to, conn, f.bytes);
    else if (f.number == BODY_FETCHED && sent)
        served(c, from, to, conn, f.bytes);
}
