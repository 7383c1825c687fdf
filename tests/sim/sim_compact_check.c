#include "tests/sim/sim_compact_check.h"

#include <stdlib.h>
#include <string.h>

#include "proto/base/assert.h"
#include "proto/base/crc32c.h"
#include "proto/base/mem.h"

#define NOBODY UINT32_MAX
/* A broker's clock may run apart by a thousandth while it comes back from a jump. */
#define EARLY_MS 100
/* From its horizon on a tombstone waits for a roll, for the cleaner's round and for its turn. */
#define OVERDUE_MS 4000

/* A committed record, by its offset. */
struct original {
    bool known, tombstone;
    uint32_t key, value_crc;
    int64_t born_ms; /* committed and cleaned at this time at the earliest */
    int64_t plain_ms[SIM_COMPACT_NODES_MAX]; /* last seen there before it was cleaned; 0 never */
    int64_t horizon_ms; /* the earliest at which it may go, seen anywhere; 0 none */
    uint32_t held;      /* nodes that had it, a bit each */
    uint32_t seen;      /* the same, though their disks were replaced since */
    bool went_unseen;   /* from a node that was never seen with it, after its time */
};

struct key {
    uint8_t *bytes;
    size_t size;
    int64_t found; /* its last record in this look; -1 none */
    bool missed;   /* a node was away while a tombstone of it came and went */
};

struct sim_compact_check {
    struct sim_checks *checks;
    int64_t delete_retention_ms;
    struct original *originals;
    size_t count, capacity;
    struct key *keys;
    size_t key_count, key_capacity;
    uint32_t node; /* the look under way */
    int64_t bound, last;
    uint64_t found, found_tombstones;
    uint64_t overdue[SIM_COMPACT_NODES_MAX];
    struct sim_compact_counts counts;
};

struct sim_compact_check *sim_compact_check_new(struct sim_checks *checks,
                                                int64_t delete_retention_ms)
{
    struct sim_compact_check *c = kb_new(struct sim_compact_check);
    c->checks = checks;
    c->delete_retention_ms = delete_retention_ms;
    return c;
}

struct sim_compact_check *sim_compact_check_free(struct sim_compact_check *c)
{
    if (c == NULL)
        return NULL;
    for (size_t i = 0; i < c->key_count; i++)
        free(c->keys[i].bytes);
    free(c->keys);
    free(c->originals);
    free(c);
    return NULL;
}

static const char *who(uint32_t node)
{
    static const char *const names[] = {"node 1", "node 2", "node 3", "node 4",  "node 5",
                                        "node 6", "node 7", "node 8", "a reader"};
    return names[node];
}

/* ---- what is committed ---- */

static uint32_t key_of(struct sim_compact_check *c, struct kb_view key)
{
    for (uint32_t i = 0; i < c->key_count; i++) {
        if (kb_view_equal(key, kb_view_of(c->keys[i].bytes, c->keys[i].size)))
            return i;
    }
    kb_array_reserve(c->keys, c->key_count, c->key_capacity);
    c->keys[c->key_count] =
        (struct key){.bytes = kb_memdup(key.data, key.size), .size = key.size, .found = -1};
    return (uint32_t)c->key_count++;
}

static uint32_t value_crc(const struct sim_compact_record *r)
{
    return r->value.data != NULL ? kb_crc32c(0, r->value.data, r->value.size) : 0;
}

/* What is committed there, which this record must be. */
static struct original *original(struct sim_compact_check *c, const struct sim_compact_record *r,
                                 const char *name, int64_t now_ms)
{
    uint32_t key = key_of(c, r->key);
    KB_ASSERT(r->offset >= 0 && r->offset < 100000000);
    while (c->count <= (size_t)r->offset) {
        kb_array_reserve(c->originals, c->count, c->capacity);
        memset(&c->originals[c->count++], 0, sizeof(c->originals[0]));
    }
    struct original *o = &c->originals[r->offset];
    if (!o->known) {
        *o = (struct original){.known = true,
                               .tombstone = r->value.data == NULL,
                               .key = key,
                               .value_crc = value_crc(r),
                               .born_ms = r->sent_ms < now_ms ? r->sent_ms : now_ms};
        c->counts.records++;
        c->counts.tombstones += o->tombstone;
        return o;
    }
    sim_check(c->checks, SIM_CHECK_P17,
              o->key == key && o->tombstone == (r->value.data == NULL) &&
                  o->value_crc == value_crc(r),
              "compacted offset %lld: %s has another record than the one committed there",
              (long long)r->offset, name);
    return o;
}

void sim_compact_check_acked(struct sim_compact_check *c, const struct sim_compact_record *r,
                             int64_t now_ms)
{
    (void)original(c, r, "its producer", now_ms);
}

/* ---- looks ---- */

void sim_compact_check_begin(struct sim_compact_check *c, uint32_t node, int64_t bound)
{
    KB_ASSERT(node <= SIM_COMPACT_READER);
    c->node = node;
    c->bound = bound;
    c->last = -1;
    c->found = c->found_tombstones = 0;
    for (size_t i = 0; i < c->key_count; i++)
        c->keys[i].found = -1;
    if (node < SIM_COMPACT_NODES_MAX)
        c->overdue[node] = 0;
}

void sim_compact_check_record(struct sim_compact_check *c, const struct sim_compact_record *r,
                              int64_t now_ms)
{
    sim_check(c->checks, SIM_CHECK_P17, r->offset > c->last,
              "compacted offset %lld comes behind %lld at %s", (long long)r->offset,
              (long long)c->last, who(c->node));
    c->last = r->offset;
    uint32_t key = key_of(c, r->key); /* may move the keys */
    c->keys[key].found = r->offset;
    if (r->offset >= c->bound)
        return;
    struct original *o = original(c, r, who(c->node), now_ms);
    c->found++;
    c->found_tombstones += o->tombstone;
    o->held |= UINT32_C(1) << c->node;
    o->seen |= UINT32_C(1) << c->node;
    if (!o->tombstone || c->node == SIM_COMPACT_READER)
        return;
    if (r->horizon_ms >= 0 && (o->horizon_ms == 0 || r->horizon_ms < o->horizon_ms))
        o->horizon_ms = r->horizon_ms;
    if (r->horizon_ms < 0)
        o->plain_ms[c->node] = now_ms;
    else
        c->overdue[c->node] += r->horizon_ms + OVERDUE_MS < now_ms;
}

/* Some replica may have cleaned it long enough ago; others may have copied what that one left. It
 * may have done so as soon as the record was committed, before its producer was told and before
 * anybody looked (seed 4000078: half a second before). */
static bool may_be_gone(const struct sim_compact_check *c, struct original *o, int64_t now_ms)
{
    /* A node that nobody looked at while it had it may have cleaned it as soon as it was committed,
     * and was down since (seed 1520): the looks at other nodes say nothing of that. */
    bool unseen = c->node != SIM_COMPACT_READER && (o->seen >> c->node & 1) == 0;
    if (unseen && now_ms + EARLY_MS >= o->born_ms + c->delete_retention_ms)
        o->went_unseen = true;
    if (o->went_unseen)
        return true;
    int64_t cleaned_ms = o->born_ms;
    bool seen = false;
    for (uint32_t n = 0; n < SIM_COMPACT_NODES_MAX; n++) {
        if (o->plain_ms[n] == 0)
            continue;
        cleaned_ms = seen && cleaned_ms < o->plain_ms[n] ? cleaned_ms : o->plain_ms[n];
        seen = true;
    }
    /* Where it was cleaned before anybody looked, the time it was given there counts. */
    if (o->horizon_ms + EARLY_MS >= o->born_ms + c->delete_retention_ms &&
        now_ms + EARLY_MS >= o->horizon_ms)
        return true;
    return now_ms + EARLY_MS >= cleaned_ms + c->delete_retention_ms;
}

/* Who is away for longer than deletions are kept never hears of one, and keeps what it deleted; so
 * do those who copy its log when it leads. Kafka's replicas do the same: delete.retention.ms is the
 * longest that one may be away. */
static bool was_away(const struct sim_compact_check *c, struct original *newest, struct key *k,
                     int64_t now_ms)
{
    if (!newest->tombstone || !may_be_gone(c, newest, now_ms))
        return false;
    if (c->node == SIM_COMPACT_READER)
        return k->missed;
    if ((newest->held >> c->node & 1) != 0 && !k->missed)
        return false;
    k->missed = true;
    return true;
}

static void judge_key(struct sim_compact_check *c, struct original *newest, int64_t offset,
                      int64_t now_ms)
{
    struct key *k = &c->keys[newest->key];
    if (k->found >= offset) {
        sim_check(c->checks, SIM_CHECK_P17, true, "there");
    } else if (k->found >= 0) {
        sim_check(
            c->checks, SIM_CHECK_P17, was_away(c, newest, k, now_ms),
            "key %.*s ends at offset %lld at %s; the %s of %lld is gone, and what it replaced "
            "is back",
            (int)k->size, (const char *)k->bytes, (long long)k->found, who(c->node),
            newest->tombstone ? "tombstone" : "value", (long long)offset);
    } else if (newest->tombstone) {
        sim_check(c->checks, SIM_CHECK_P17, may_be_gone(c, newest, now_ms),
                  "the tombstone of key %.*s at offset %lld is gone from %s before its time",
                  (int)k->size, (const char *)k->bytes, (long long)offset, who(c->node));
    } else {
        sim_check(c->checks, SIM_CHECK_P17, false,
                  "the last value of key %.*s, at offset %lld, is gone from %s", (int)k->size,
                  (const char *)k->bytes, (long long)offset, who(c->node));
    }
}

void sim_compact_check_replaced(struct sim_compact_check *c, uint32_t node)
{
    for (size_t o = 0; o < c->count; o++)
        c->originals[o].held &= ~(UINT32_C(1) << node);
}

void sim_compact_check_end(struct sim_compact_check *c, int64_t now_ms)
{
    int64_t *newest = kb_new_array(int64_t, c->key_count + 1);
    uint64_t below = 0, tombstones = 0;
    for (size_t i = 0; i < c->key_count; i++)
        newest[i] = -1;
    for (size_t o = 0; o < c->count && (int64_t)o < c->bound; o++) {
        if (!c->originals[o].known)
            continue;
        newest[c->originals[o].key] = (int64_t)o;
        below++;
        tombstones += c->originals[o].tombstone;
    }
    for (size_t i = 0; i < c->key_count; i++) {
        if (newest[i] >= 0)
            judge_key(c, &c->originals[newest[i]], newest[i], now_ms);
    }
    c->counts.cleaned = below - c->found;
    c->counts.expired = tombstones - c->found_tombstones;
    free(newest);
}

uint64_t sim_compact_check_overdue(const struct sim_compact_check *c, uint32_t node)
{
    return c->overdue[node];
}

void sim_compact_check_final(struct sim_compact_check *c)
{
    for (uint32_t n = 0; n < SIM_COMPACT_NODES_MAX; n++)
        sim_check(c->checks, SIM_CHECK_P17, c->overdue[n] == 0,
                  "%llu tombstones stay at node %u though their time is over",
                  (unsigned long long)c->overdue[n], n + 1);
}

struct sim_compact_counts sim_compact_check_counts(const struct sim_compact_check *c)
{
    return c->counts;
}
