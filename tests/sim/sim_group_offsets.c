#include "tests/sim/sim_group_offsets.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/assert.h"
#include "proto/base/crc32c.h"
#include "proto/base/mem.h"
#include "proto/kafka/messages.h"

#define NOBODY UINT32_MAX
#define NONE UINT64_MAX /* no commit */
#define NODES_MAX 8
/* A broker's clock may run apart by a thousandth while it comes back from a jump. */
#define EARLY_MS 200

struct commit {
    uint32_t group, partition;
    int32_t generation;
    int64_t offset;
    enum sim_commit_outcome outcome;
    uint64_t asked_us, done_us;
    int64_t position; /* in the coordinator's log; -1 not seen there */
};

struct fetch {
    uint32_t group, partition;
    int64_t offset;
    uint64_t commit; /* or NONE */
    uint64_t asked_us;
};

enum entry_kind { ENTRY_UNSEEN, ENTRY_OFFSET, ENTRY_METADATA, ENTRY_OTHER };
/* A record of the log, by its offset. */
struct entry {
    enum entry_kind kind;
    uint32_t key; /* index into keys */
    uint32_t value_crc;
    bool tombstone;
    uint32_t group, partition;
    uint64_t commit;
    int32_t generation;
    int32_t members;  /* of a group */
    int64_t state_ms; /* it is so since; -1 not told */
    uint64_t seen_us;
    int64_t seen_ms; /* by the right clock */
    bool expired;    /* a tombstone whose time has come */
};

/* A key of the log; in which state the newest record of a final log leaves it. */
struct key {
    uint8_t *bytes;
    size_t size;
    bool there[NODES_MAX];
    uint32_t value_crc[NODES_MAX];
};

struct bits {
    bool *set;
    size_t count, capacity;
};

struct sim_group_offsets {
    struct sim_group_offsets_options options;
    uint32_t partition_count;
    struct commit *commits;
    size_t commit_count, commit_capacity;
    struct fetch *fetches;
    size_t fetch_count, fetch_capacity;
    struct entry *entries;
    size_t entry_count, entry_capacity;
    struct key *keys;
    size_t key_count, key_capacity;
    struct bits *delivered; /* by group and partition */
    int64_t final_next[NODES_MAX];
    uint64_t acked, compacted, expired;
    uint64_t now_us;
    int64_t wall_ms;
};

struct sim_group_offsets *sim_group_offsets_new(const struct sim_group_offsets_options *options)
{
    struct sim_group_offsets *o = kb_new(struct sim_group_offsets);
    o->options = *options;
    o->partition_count = sim_topics_partitions(options->topics);
    o->delivered = kb_new_array(struct bits, (size_t)options->group_count * o->partition_count);
    return o;
}

struct sim_group_offsets *sim_group_offsets_free(struct sim_group_offsets *o)
{
    if (o == NULL)
        return NULL;
    for (size_t i = 0; i < o->key_count; i++)
        free(o->keys[i].bytes);
    for (size_t i = 0; i < (size_t)o->options.group_count * o->partition_count; i++)
        free(o->delivered[i].set);
    free(o->commits);
    free(o->fetches);
    free(o->entries);
    free(o->keys);
    free(o->delivered);
    free(o);
    return NULL;
}

/* ---- members ---- */

uint64_t sim_group_offsets_commit(struct sim_group_offsets *o, uint32_t group, uint32_t partition,
                                  int32_t generation, int64_t offset, uint64_t now_us)
{
    kb_array_reserve(o->commits, o->commit_count, o->commit_capacity);
    o->commits[o->commit_count] = (struct commit){.group = group,
                                                  .partition = partition,
                                                  .generation = generation,
                                                  .offset = offset,
                                                  .asked_us = now_us,
                                                  .position = -1};
    return o->commit_count++;
}

void sim_group_offsets_text(uint64_t id, char text[24])
{
    (void)snprintf(text, 24, "c%llu", (unsigned long long)id);
}

static uint64_t parse_text(const struct sim_group_offsets *o, struct kb_view text)
{
    uint64_t id = 0;
    if (text.size < 2 || text.size > 12 || text.data[0] != 'c')
        return NONE;
    for (size_t i = 1; i < text.size; i++)
        id = id * 10 + (uint64_t)(text.data[i] - '0');
    return id < o->commit_count ? id : NONE;
}

void sim_group_offsets_done(struct sim_group_offsets *o, uint64_t id,
                            enum sim_commit_outcome outcome, uint64_t now_us)
{
    o->commits[id].outcome = outcome;
    o->commits[id].done_us = now_us;
    o->acked += outcome == SIM_COMMIT_OK;
}

void sim_group_offsets_fetched(struct sim_group_offsets *o, uint32_t group, uint32_t partition,
                               int64_t offset, struct kb_view metadata, uint64_t asked_us)
{
    uint64_t id = offset < 0 ? NONE : parse_text(o, metadata);
    const struct commit *c = id != NONE ? &o->commits[id] : NULL;
    bool known = offset < 0 || (c != NULL && c->group == group && c->partition == partition &&
                                c->offset == offset);
    if (!sim_check(o->options.checks, SIM_CHECK_G1, known,
                   "group %u partition %u: OffsetFetch gives %lld (%.*s), which nobody committed",
                   group, partition, (long long)offset, (int)metadata.size,
                   metadata.data != NULL ? (const char *)metadata.data : ""))
        return;
    kb_array_reserve(o->fetches, o->fetch_count, o->fetch_capacity);
    o->fetches[o->fetch_count++] = (struct fetch){group, partition, offset, id, asked_us};
}

void sim_group_offsets_delivered(struct sim_group_offsets *o, uint32_t group, uint32_t partition,
                                 int64_t offset)
{
    struct bits *b = &o->delivered[(size_t)group * o->partition_count + partition];
    KB_ASSERT(offset >= 0 && offset < 100000000);
    while (b->count <= (size_t)offset) {
        kb_array_reserve(b->set, b->count, b->capacity);
        b->set[b->count++] = false;
    }
    b->set[offset] = true;
}

/* ---- reading records ---- */

static uint32_t group_of(const struct sim_group_offsets *o, struct kw_str id)
{
    for (uint32_t g = 0; g < o->options.group_count; g++) {
        if (kw_str_is(id, o->options.groups[g]))
            return g;
    }
    return NOBODY;
}

static uint32_t partition_of(const struct sim_group_offsets *o, struct kw_str topic, int32_t index)
{
    uint32_t first = 0;
    for (uint32_t t = 0; t < o->options.topics->count; t++) {
        const struct sim_topic *s = &o->options.topics->topic[t];
        if (kw_str_is(topic, s->name) && index >= 0 && index < s->partitions)
            return first + (uint32_t)index;
        first += (uint32_t)s->partitions;
    }
    return NOBODY;
}

static uint32_t key_of(struct sim_group_offsets *o, struct kb_view key)
{
    for (uint32_t i = 0; i < o->key_count; i++) {
        if (kb_view_equal(key, kb_view_of(o->keys[i].bytes, o->keys[i].size)))
            return i;
    }
    kb_array_reserve(o->keys, o->key_count, o->key_capacity);
    o->keys[o->key_count] = (struct key){.bytes = kb_memdup(key.data, key.size), .size = key.size};
    return (uint32_t)o->key_count++;
}

static void read_offset(struct sim_group_offsets *o, struct kw_reader *key, struct kb_view value,
                        struct kb_arena *arena, struct entry *e)
{
    struct kw_offset_commit_key k;
    struct kw_offset_commit_value v;
    struct kw_reader rd;
    if (kw_offset_commit_key_read(key, 0, arena, &k) < 0)
        return;
    e->group = group_of(o, k.group);
    e->partition = partition_of(o, k.topic, k.partition);
    e->kind = e->group != NOBODY && e->partition != NOBODY ? ENTRY_OFFSET : ENTRY_OTHER;
    if (e->tombstone || e->kind == ENTRY_OTHER)
        return;
    kw_reader_init(&rd, value.data, value.size);
    int16_t version = kw_get_int16(&rd);
    if (kw_offset_commit_value_read(&rd, version, arena, &v) == 0)
        e->commit = parse_text(o, kw_str_view(v.metadata));
    sim_check(o->options.checks, SIM_CHECK_G1,
              e->commit != NONE && o->commits[e->commit].group == e->group &&
                  o->commits[e->commit].partition == e->partition &&
                  o->commits[e->commit].offset == v.offset,
              "group %u partition %u: the log holds an offset nobody committed", e->group,
              e->partition);
}

static void read_metadata(struct sim_group_offsets *o, struct kw_reader *key, struct kb_view value,
                          struct kb_arena *arena, struct entry *e)
{
    struct kw_group_metadata_key k;
    struct kw_group_metadata_value v;
    struct kw_reader rd;
    if (kw_group_metadata_key_read(key, 0, arena, &k) < 0)
        return;
    e->group = group_of(o, k.group);
    e->kind = e->group != NOBODY ? ENTRY_METADATA : ENTRY_OTHER;
    if (e->tombstone || e->kind == ENTRY_OTHER)
        return;
    kw_reader_init(&rd, value.data, value.size);
    int16_t version = kw_get_int16(&rd);
    if (kw_group_metadata_value_read(&rd, version, arena, &v) == 0) {
        e->generation = v.generation;
        e->members = v.members_count;
        e->state_ms = v.current_state_timestamp;
    }
}

static struct entry read_entry(struct sim_group_offsets *o, struct kb_view key,
                               struct kb_view value)
{
    struct entry e = {.kind = ENTRY_OTHER, .group = NOBODY, .commit = NONE, .generation = -1};
    struct kw_reader rd;
    struct kb_arena arena;
    kb_arena_init(&arena, 1 << 20);
    e.key = key_of(o, key);
    e.tombstone = value.data == NULL;
    e.value_crc = e.tombstone ? 0 : kb_crc32c(0, value.data, value.size);
    kw_reader_init(&rd, key.data, key.size);
    int16_t version = kw_get_int16(&rd);
    if (version == 0 || version == 1)
        read_offset(o, &rd, value, &arena, &e);
    else if (version == 2)
        read_metadata(o, &rd, value, &arena, &e);
    kb_arena_release(&arena);
    return e;
}

void sim_group_offsets_clock(struct sim_group_offsets *o, uint64_t now_us, int64_t wall_ms)
{
    o->now_us = now_us;
    o->wall_ms = wall_ms;
}

void sim_group_offsets_record(struct sim_group_offsets *o, uint32_t node, int64_t offset,
                              struct kb_view key, struct kb_view value)
{
    KB_ASSERT(offset >= 0 && offset < 100000000);
    while (o->entry_count <= (size_t)offset) {
        kb_array_reserve(o->entries, o->entry_count, o->entry_capacity);
        o->entries[o->entry_count++] = (struct entry){.kind = ENTRY_UNSEEN};
    }
    struct entry *e = &o->entries[offset];
    if (e->kind != ENTRY_UNSEEN) {
        uint32_t crc = value.data != NULL ? kb_crc32c(0, value.data, value.size) : 0;
        sim_check(o->options.checks, SIM_CHECK_P2,
                  e->key == key_of(o, key) && e->value_crc == crc &&
                      e->tombstone == (value.data == NULL),
                  "__consumer_offsets offset %lld: node %u holds another record than before",
                  (long long)offset, node + 1);
        return;
    }
    *e = read_entry(o, key, value);
    e->seen_us = o->now_us;
    e->seen_ms = o->wall_ms;
    if (e->commit != NONE)
        o->commits[e->commit].position = offset;
}

void sim_group_offsets_final(struct sim_group_offsets *o, uint32_t node, int64_t offset,
                             struct kb_view key, struct kb_view value)
{
    KB_ASSERT(node < NODES_MAX);
    sim_group_offsets_record(o, node, offset, key, value);
    for (int64_t i = o->final_next[node]; i < offset; i++)
        o->compacted += o->entries[i].kind != ENTRY_UNSEEN;
    o->final_next[node] = offset + 1;
    struct key *k = &o->keys[o->entries[offset].key];
    k->there[node] = !o->entries[offset].tombstone;
    k->value_crc[node] = o->entries[offset].value_crc;
}

void sim_group_offsets_final_end(struct sim_group_offsets *o, uint32_t node, int64_t end_offset)
{
    const struct entry **newest = kb_new_array(const struct entry *, o->key_count + 1);
    for (size_t i = 0; i < o->entry_count && i < (size_t)end_offset; i++) {
        if (o->entries[i].kind != ENTRY_UNSEEN)
            newest[o->entries[i].key] = &o->entries[i];
    }
    for (size_t i = 0; i < o->key_count; i++) {
        const struct key *k = &o->keys[i];
        const struct entry *e = newest[i];
        bool there = e != NULL && !e->tombstone;
        sim_check(o->options.checks, SIM_CHECK_G11,
                  there == k->there[node] && (!there || e->value_crc == k->value_crc[node]),
                  "node %u: its compacted log leaves key %zu of group %d %s", node + 1, i,
                  e != NULL ? (int)e->group : -1, k->there[node] ? "with an old value" : "out");
    }
    free(newest);
}

/* ---- judging ---- */

/* Is commit a certainly before commit b in the coordinator's log? */
static bool is_before(const struct commit *a, const struct commit *b)
{
    if (a->position >= 0 && b->position >= 0)
        return a->position < b->position;
    return a->outcome == SIM_COMMIT_OK && a->done_us <= b->asked_us;
}

/* The newest deletion of an offset whose time was over, seen before at_us; -1 none. */
static int64_t expiry_of(const struct sim_group_offsets *o, uint32_t group, uint32_t partition,
                         uint64_t at_us)
{
    for (size_t i = o->expired > 0 ? o->entry_count : 0; i > 0; i--) {
        const struct entry *e = &o->entries[i - 1];
        if (e->expired && e->kind == ENTRY_OFFSET && e->group == group &&
            e->partition == partition && e->seen_us <= at_us)
            return (int64_t)i - 1;
    }
    return -1;
}

static void judge_fetch(struct sim_group_offsets *o, const struct fetch *f)
{
    const struct commit *given = f->commit != NONE ? &o->commits[f->commit] : NULL;
    int64_t expired = expiry_of(o, f->group, f->partition, UINT64_MAX);
    if (given != NULL && given->position >= 0)
        sim_check(o->options.checks, SIM_CHECK_G11,
                  given->position > expiry_of(o, f->group, f->partition, f->asked_us),
                  "group %u partition %u: OffsetFetch gives %lld (c%lld), which was deleted before",
                  f->group, f->partition, (long long)f->offset, (long long)f->commit);
    for (size_t i = 0; i < o->commit_count; i++) {
        const struct commit *c = &o->commits[i];
        if (c->group != f->group || c->partition != f->partition || c->outcome != SIM_COMMIT_OK ||
            c->done_us > f->asked_us || (given == NULL && c->position < expired))
            continue;
        sim_check(o->options.checks, SIM_CHECK_G1, given != NULL && !is_before(given, c),
                  "group %u partition %u: OffsetFetch gives %lld (c%lld), c%zu of %lld was "
                  "acknowledged before",
                  f->group, f->partition, (long long)f->offset,
                  given != NULL ? (long long)f->commit : -1, i, (long long)c->offset);
    }
}

/* A group, as the log has it so far. */
struct state {
    bool known, in_use;
    int64_t since_ms;
    uint64_t offsets; /* partitions that it has one of */
};

/* G8: what entry i deletes was used by nobody for the retention time. */
static void judge_expiry(struct sim_group_offsets *o, size_t i, const struct state *s)
{
    struct entry *e = &o->entries[i];
    int64_t retention_ms = (int64_t)o->options.retention_ms;
    bool old = retention_ms > 0 && !(s->known && s->in_use);
    /* An empty group that has no offsets goes before, and begins anew. */
    bool nothing_lost = e->kind == ENTRY_METADATA && s->offsets == 0 && !s->in_use;
    if (s->known && s->since_ms >= 0 && e->seen_ms + EARLY_MS < s->since_ms + retention_ms)
        old = false;
    for (size_t k = 0; k < i && old && e->kind == ENTRY_OFFSET; k++) {
        const struct entry *before = &o->entries[k];
        if (before->kind == ENTRY_OFFSET && before->group == e->group &&
            before->partition == e->partition && before->commit != NONE &&
            e->seen_us / 1000 + EARLY_MS <
                o->commits[before->commit].asked_us / 1000 + (uint64_t)retention_ms)
            old = false;
    }
    e->expired = old;
    o->expired += old && e->kind == ENTRY_OFFSET;
    sim_check(o->options.checks, SIM_CHECK_G8, old || nothing_lost,
              "group %u: the log deletes %s at %zu%s", e->group,
              e->kind == ENTRY_OFFSET ? "an offset" : "the group", i,
              s->known && s->in_use ? ", which is in use" : " before its time");
}

/* The log in its order: generations rise, and each offset was committed in the generation that it
 * follows. */
static void judge_log(struct sim_group_offsets *o)
{
    int32_t generations[SIM_GROUPS_MAX] = {-1, -1, -1, -1};
    struct state states[SIM_GROUPS_MAX] = {{0}};
    for (size_t i = 0; i < o->entry_count; i++) {
        const struct entry *e = &o->entries[i];
        if (e->kind != ENTRY_OFFSET && e->kind != ENTRY_METADATA)
            continue;
        int32_t *generation = &generations[e->group];
        if (e->tombstone) {
            judge_expiry(o, i, &states[e->group]);
            if (e->kind == ENTRY_METADATA)
                *generation = -1;
            else
                states[e->group].offsets &= ~(UINT64_C(1) << e->partition);
            continue;
        }
        if (e->kind == ENTRY_OFFSET)
            states[e->group].offsets |= UINT64_C(1) << e->partition;
        if (e->kind == ENTRY_METADATA) {
            states[e->group] = (struct state){true, e->members > 0, e->state_ms,
                                              states[e->group].offsets};
            sim_check(o->options.checks, SIM_CHECK_G3, e->generation >= *generation,
                      "group %u: the log goes from generation %d to %d at %zu", e->group,
                      *generation, e->generation, i);
            *generation = e->generation;
        } else if (e->commit != NONE && o->commits[e->commit].generation >= 0) {
            sim_check(
                o->options.checks, SIM_CHECK_G5, o->commits[e->commit].generation >= *generation,
                "group %u: c%llu of generation %d is in the log behind generation %d", e->group,
                (unsigned long long)e->commit, o->commits[e->commit].generation, *generation);
        }
    }
}

static void judge_refused(struct sim_group_offsets *o)
{
    for (size_t i = 0; i < o->commit_count; i++) {
        const struct commit *c = &o->commits[i];
        if (c->outcome == SIM_COMMIT_STALE)
            sim_check(o->options.checks, SIM_CHECK_G5, c->position < 0,
                      "group %u partition %u: c%zu was refused and is in the log at %lld", c->group,
                      c->partition, i, (long long)c->position);
    }
}

static void judge_delivered(struct sim_group_offsets *o, const int64_t *ends)
{
    for (uint32_t g = 0; g < o->options.consuming; g++) {
        for (uint32_t p = 0; p < o->partition_count; p++) {
            const struct bits *b = &o->delivered[(size_t)g * o->partition_count + p];
            for (int64_t i = 0; i < ends[p]; i++)
                sim_check(o->options.checks, SIM_CHECK_G10, (size_t)i < b->count && b->set[i],
                          "group %u partition %u: nobody was given offset %lld of %lld", g, p,
                          (long long)i, (long long)ends[p]);
        }
    }
}

void sim_group_offsets_judge(struct sim_group_offsets *o, const int64_t *ends)
{
    judge_log(o);
    for (size_t i = 0; i < o->fetch_count; i++)
        judge_fetch(o, &o->fetches[i]);
    judge_refused(o);
    judge_delivered(o, ends);
}

void sim_group_offsets_gone(struct sim_group_offsets *o, uint32_t group, uint64_t since_us)
{
    for (size_t i = 0; i < o->fetch_count; i++) {
        const struct fetch *f = &o->fetches[i];
        if (f->group == group && f->asked_us >= since_us)
            sim_check(o->options.checks, SIM_CHECK_G8, f->offset < 0,
                      "group %u partition %u: offset %lld stays though nobody uses it", group,
                      f->partition, (long long)f->offset);
    }
}

uint64_t sim_group_offsets_newest_us(const struct sim_group_offsets *o, uint32_t group)
{
    uint64_t newest_us = 0;
    for (size_t i = 0; i < o->commit_count; i++) {
        if (o->commits[i].group == group && o->commits[i].asked_us > newest_us)
            newest_us = o->commits[i].asked_us;
    }
    return newest_us;
}

uint64_t sim_group_offsets_expired(const struct sim_group_offsets *o)
{
    return o->expired;
}

uint64_t sim_group_offsets_acked(const struct sim_group_offsets *o)
{
    return o->acked;
}

uint64_t sim_group_offsets_compacted(const struct sim_group_offsets *o)
{
    return o->compacted;
}
