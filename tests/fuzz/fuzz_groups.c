/* Any bytes as what a partition of __consumer_offsets holds: a coordinator loads it, is asked about
 * all it knows, serves a little, and its time passes. The first byte: bit 0 = keys come as they are
 * too. Then records, a byte that chooses:
 *   0  an offset: group, topic (two names of five), partition (a byte), value
 *   1  a group: group, value
 *   2  a key as it is, value
 * A value is its size (2) and bytes; 0xffff deletes. What is loaded twice is the same as what is
 * loaded once, and the newest record of each key gives the same as all of them (G11). */
#include <stdlib.h>
#include <string.h>

#include "coordinator/groups/shard.h"
#include "proto/base/assert.h"
#include "proto/base/err.h"
#include "proto/base/log.h"

enum { RECORDS_MAX = 64, KEY_BYTES_MAX = 64, ARENA_BYTES = 64 << 20, TOMBSTONE = 0xffff };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct input {
    const uint8_t *data;
    size_t size;
};

struct record {
    uint8_t key[KEY_BYTES_MAX];
    size_t key_size;
    struct kb_view value; /* data NULL: deletes */
    bool superseded;      /* a later record has the same key */
};

struct log_of {
    struct record records[RECORDS_MAX];
    size_t count;
    bool raw; /* with keys as they are: two may mean the same */
};

static uint8_t take_byte(struct input *in)
{
    if (in->size == 0)
        return 0;
    in->size--;
    return *in->data++;
}

static struct kb_view take_bytes(struct input *in, size_t size)
{
    size = size < in->size ? size : in->size;
    struct kb_view v = kb_view_of(in->data, size);
    in->data += size;
    in->size -= size;
    return v;
}

static void put_name(struct record *r, uint8_t choice)
{
    static const char *const names[] = {"g", "orders", "t", "u", ""};
    const char *name = names[choice % 5];
    size_t size = strlen(name);
    kb_put_be16(r->key + r->key_size, (uint16_t)size);
    memcpy(r->key + r->key_size + 2, name, size);
    r->key_size += 2 + size;
}

static void take_key(struct input *in, struct record *r, uint8_t kind)
{
    if (kind == 2) {
        struct kb_view key = take_bytes(in, take_byte(in) % KEY_BYTES_MAX);
        if (key.size > 0)
            memcpy(r->key, key.data, key.size);
        r->key_size = key.size;
        return;
    }
    kb_put_be16(r->key, kind == 0 ? 1 : 2);
    r->key_size = 2;
    put_name(r, take_byte(in));
    if (kind == 1)
        return;
    put_name(r, take_byte(in));
    kb_put_be32(r->key + r->key_size, (uint32_t)(int8_t)take_byte(in));
    r->key_size += 4;
}

static bool same_key(const struct record *a, const struct record *b)
{
    return a->key_size == b->key_size && memcmp(a->key, b->key, a->key_size) == 0;
}

static void take_records(struct input *in, struct log_of *log)
{
    while (in->size > 0 && log->count < RECORDS_MAX) {
        struct record *r = &log->records[log->count++];
        uint8_t kind = take_byte(in) % (log->raw ? 3 : 2);
        *r = (struct record){.key_size = 0};
        take_key(in, r, kind);
        size_t size = (size_t)take_byte(in) << 8;
        size |= take_byte(in);
        if (size != TOMBSTONE) {
            r->value = take_bytes(in, size);
            if (r->value.data == NULL)
                r->value.data = (const uint8_t *)"";
        }
    }
    for (size_t i = 0; i < log->count; i++) {
        for (size_t k = i + 1; k < log->count; k++)
            log->records[i].superseded |= same_key(&log->records[i], &log->records[k]);
    }
}

/* A shard with the log in it; compacted: with the newest record of each key alone. */
static struct group_shard *load(const struct log_of *log, bool compacted, bool twice)
{
    struct group_options options;
    group_options_init(&options);
    struct group_shard *s = group_shard_new(&options);
    for (int round = 0; round < (twice ? 2 : 1); round++) {
        for (size_t i = 0; i < log->count; i++) {
            const struct record *r = &log->records[i];
            if (compacted && r->superseded)
                continue;
            int result = group_shard_replay(s, kb_view_of(r->key, r->key_size), r->value);
            KB_ASSERT(result == GROUP_REPLAY_DONE || result == GROUP_REPLAY_IGNORED ||
                      result == -KB_ECORRUPT);
        }
    }
    return s;
}

/* Ends a. */
static void must_be_equal(struct group_shard *a, const struct group_shard *b)
{
    struct kb_buf one = {0};
    struct kb_buf two = {0};
    group_shard_dump(a, &one);
    group_shard_dump(b, &two);
    KB_ASSERT(one.size == two.size);
    KB_ASSERT(one.size == 0 || memcmp(one.data, two.data, one.size) == 0);
    kb_buf_release(&one);
    kb_buf_release(&two);
    (void)group_shard_free(a, KW_NOT_COORDINATOR, NULL);
}

/* A value that is refused or not ours hides an older one: then the compacted log says less. */
static bool all_taken(const struct log_of *log)
{
    struct group_options options;
    group_options_init(&options);
    struct group_shard *s = group_shard_new(&options);
    bool all = true;
    for (size_t i = 0; i < log->count; i++) {
        const struct record *r = &log->records[i];
        all = all &&
              group_shard_replay(s, kb_view_of(r->key, r->key_size), r->value) == GROUP_REPLAY_DONE;
    }
    (void)group_shard_free(s, KW_NOT_COORDINATOR, NULL);
    return all;
}

/* ---- serving ---- */

static void carry_out(struct group_shard *s, struct group_effects *fx)
{
    group_effects_replay(s, fx);
    group_effects_release(fx);
    group_effects_init(fx);
}

static void ask(struct group_shard *s, struct kw_str id, struct group_effects *fx)
{
    struct kb_arena arena;
    struct kw_describe_groups_response_group about;
    struct kw_offset_fetch_request_group all;
    struct kw_offset_fetch_response_group offsets;
    kb_arena_init(&arena, ARENA_BYTES);
    int r = group_shard_describe(s, 6, id, &arena, &about);
    KB_ASSERT(r == 0);
    kw_offset_fetch_request_group_init(&all);
    all.group_id = id;
    all.topics = NULL;
    r = group_shard_fetch(s, &all, false, &arena, &offsets);
    KB_ASSERT(r == 0);
    group_shard_topic_deleted(s, KW_STR("u"), &(struct kb_uuid){{0}}, fx);
    carry_out(s, fx);
    (void)group_shard_delete(s, id, fx);
    carry_out(s, fx);
    kb_arena_release(&arena);
}

static void join(struct group_shard *s, struct group_now now, struct group_effects *fx)
{
    struct kw_join_group_request_protocol protocol = {KW_STR("range"), kw_bytes_of("x", 1)};
    struct kw_join_group_request q;
    const struct group_caller caller = {1, 9, KW_STR("c"), KW_STR("host")};
    kw_join_group_request_init(&q);
    q.group_id = KW_STR("g");
    q.session_timeout_ms = q.rebalance_timeout_ms = 6000;
    q.protocol_type = KW_STR("consumer");
    q.protocols = &protocol;
    q.protocols_count = 1;
    group_shard_join(s, now, &caller, &q, fx);
    carry_out(s, fx);
}

static void serve(struct group_shard *s)
{
    struct group_effects fx;
    struct group_now now = {1000, 1000000};
    struct kb_arena arena;
    struct kw_list_groups_response_group *groups = NULL;
    struct kw_list_groups_request every;
    int32_t count = 0;
    group_effects_init(&fx);
    group_shard_loaded(s, now, &fx);
    carry_out(s, &fx);
    join(s, now, &fx);
    for (int i = 0; i < 32 && group_shard_deadline(s) != UINT64_MAX; i++) {
        uint64_t due = group_shard_deadline(s);
        uint64_t passed = due > now.mono_ms ? due - now.mono_ms : 0;
        now.mono_ms += passed;
        now.wall_ms += (int64_t)passed;
        group_shard_tick(s, now, &fx);
        carry_out(s, &fx);
    }
    kb_arena_init(&arena, ARENA_BYTES);
    kw_list_groups_request_init(&every);
    int r = group_shard_list(s, &every, &arena, &groups, &count);
    KB_ASSERT(r == 0);
    for (int32_t i = 0; i < count; i++)
        ask(s, groups[i].group_id, &fx);
    kb_arena_release(&arena);
    (void)group_shard_free(s, KW_NOT_COORDINATOR, &fx);
    group_effects_release(&fx);
}

static void log_nothing(void *arg, enum kb_log_level level, const char *component, const char *text)
{
    (void)arg;
    (void)level;
    (void)component;
    (void)text;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in = {data, size};
    struct log_of *log = calloc(1, sizeof(*log));
    if (log == NULL)
        abort();
    kb_log_set_sink(log_nothing, NULL, KB_LOG_ERROR);
    log->raw = (take_byte(&in) & 1) != 0;
    take_records(&in, log);
    struct group_shard *s = load(log, false, false);
    if (!log->raw) {
        must_be_equal(load(log, false, true), s);
        if (all_taken(log))
            must_be_equal(load(log, true, false), s);
    }
    serve(s);
    free(log);
    return 0;
}
