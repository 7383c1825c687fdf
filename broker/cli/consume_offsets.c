/* What the group has read: OffsetFetch and OffsetCommit. */
#include <stdlib.h>

#include "broker/cli/consume_private.h"

enum { ARENA_BYTES = 64 << 20 };

static int by_place(const void *a, const void *b)
{
    const struct membership_part *x = a;
    const struct membership_part *y = b;
    if (x->topic != y->topic)
        return x->topic < y->topic ? -1 : 1;
    return (x->index > y->index) - (x->index < y->index);
}

/* ---- where it left off -------------------------------------------------------------------------
 */

static const struct kw_offset_fetch_response_partition *
find_offset(const struct cli_membership *g, const struct kw_offset_fetch_response *r,
            const struct membership_part *p)
{
    const char *name = cli_wire_topic_at(g->options.wire, p->topic)->name;
    for (int32_t t = 0; t < r->topics_count; t++) {
        for (int32_t i = 0; kw_str_is(r->topics[t].name, name) && i < r->topics[t].partitions_count;
             i++) {
            if (r->topics[t].partitions[i].partition_index == p->index)
                return &r->topics[t].partitions[i];
        }
    }
    return NULL;
}

/* The first error among the answers. */
static int16_t error_of(const struct cli_membership *g, const struct kw_offset_fetch_response *r)
{
    for (size_t i = 0; r->error_code == KW_NONE && i < g->parts_count; i++) {
        const struct kw_offset_fetch_response_partition *a = find_offset(g, r, &g->parts[i]);
        if (a == NULL || a->error_code != KW_NONE)
            return a != NULL ? a->error_code : (int16_t)KW_UNSTABLE_OFFSET_COMMIT;
    }
    return r->error_code;
}

static void begin_reading(struct cli_membership *g)
{
    for (size_t i = 0; i < g->parts_count; i++) {
        struct membership_part *p = &g->parts[i];
        struct cli_start at = {CLI_START_OFFSET, p->committed};
        cli_consumer_add(g->options.consumer, p->topic, p->index,
                         p->committed >= 0 ? at : g->options.start);
    }
    g->commit_at_ms = cli_now_ms() + GROUP_COMMIT_MS;
    g->options.on_assigned(g->options.arg, g->parts_count, g->generation);
    membership_set_state(g, GROUP_STABLE);
}

static void on_offsets(void *arg, int result, const void *response)
{
    struct cli_membership *g = arg;
    const struct kw_offset_fetch_response *r = response;
    g->calling = false;
    if (g->state != GROUP_FETCHING ||
        membership_take_error(g, result, result == 0 ? error_of(g, r) : (int16_t)KW_NONE))
        return;
    for (size_t i = 0; i < g->parts_count; i++)
        g->parts[i].committed = find_offset(g, r, &g->parts[i])->committed_offset;
    begin_reading(g);
}

void membership_fetch_offsets(struct cli_membership *g)
{
    struct kw_offset_fetch_request rq;
    struct kw_offset_fetch_request_topic *t = NULL;
    struct kb_arena arena;
    if (g->parts_count == 0) {
        begin_reading(g);
        return;
    }
    if (g->calling || !membership_ready(g))
        return;
    qsort(g->parts, g->parts_count, sizeof(g->parts[0]), by_place);
    kb_arena_init(&arena, ARENA_BYTES);
    kw_offset_fetch_request_init(&rq);
    rq.group_id = kw_str_of(g->options.name);
    rq.require_stable = cli_wire_version(g->options.wire, g->coordinator, KW_API_OFFSET_FETCH) >= 7;
    rq.topics = kb_arena_new_array(&arena, struct kw_offset_fetch_request_topic, g->parts_count);
    for (size_t i = 0; i < g->parts_count; i++) {
        if (i == 0 || g->parts[i].topic != g->parts[i - 1].topic) {
            t = &rq.topics[rq.topics_count++];
            t->name = kw_str_of(cli_wire_topic_at(g->options.wire, g->parts[i].topic)->name);
            t->partition_indexes = kb_arena_new_array(&arena, int32_t, g->parts_count - i);
        }
        t->partition_indexes[t->partition_indexes_count++] = g->parts[i].index;
    }
    g->calling = true;
    cli_wire_send(g->options.wire, g->coordinator, KW_API_OFFSET_FETCH, &rq, GROUP_ANSWER_MS,
                  on_offsets, g);
    kb_arena_release(&arena);
}

/* ---- how far it has come -----------------------------------------------------------------------
 */

/* A commit under way. */
struct commit {
    struct cli_membership *group;
    int32_t generation;
    size_t count;
    struct membership_part parts[];
};

static struct membership_part *find_part(struct cli_membership *g, size_t topic, int32_t index)
{
    for (size_t i = 0; i < g->parts_count; i++) {
        if (g->parts[i].topic == topic && g->parts[i].index == index)
            return &g->parts[i];
    }
    return NULL;
}

static int16_t commit_error(const struct kw_offset_commit_response *r)
{
    for (int32_t t = 0; t < r->topics_count; t++) {
        for (int32_t i = 0; i < r->topics[t].partitions_count; i++) {
            if (r->topics[t].partitions[i].error_code != KW_NONE)
                return r->topics[t].partitions[i].error_code;
        }
    }
    return KW_NONE;
}

static void on_committed(void *arg, int result, const void *response)
{
    struct commit *c = arg;
    struct cli_membership *g = c->group;
    int16_t error = result == 0 ? commit_error(response) : (int16_t)KW_NONE;
    g->committing = false;
    if (result == 0 && error == KW_NONE) {
        for (size_t i = 0; i < c->count; i++) {
            struct membership_part *p = find_part(g, c->parts[i].topic, c->parts[i].index);
            if (p != NULL && c->generation == g->generation)
                p->committed = c->parts[i].committed;
        }
    } else if (error == KW_UNKNOWN_MEMBER_ID || error == KW_ILLEGAL_GENERATION ||
               (error == KW_REBALANCE_IN_PROGRESS && g->rejoin)) {
        for (size_t i = 0; i < g->parts_count; i++)
            g->parts[i].committed = INT64_MAX; /* not ours to commit any more */
        if (error != KW_REBALANCE_IN_PROGRESS)
            (void)membership_take_error(g, result, error);
    } else {
        (void)membership_take_error(g, result, error);
    }
    cli_wire_poke(g->options.wire);
    (void)kb_free(c);
}

/* Partitions that were read further than was committed. */
static struct commit *collect(struct cli_membership *g)
{
    size_t n = cli_consumer_count(g->options.consumer);
    struct commit *c = kb_alloc(sizeof(*c) + n * sizeof(c->parts[0]));
    c->group = g;
    c->generation = g->generation;
    for (size_t i = 0; i < n; i++) {
        struct membership_part at = {0};
        at.committed = cli_consumer_position(g->options.consumer, i, &at.topic, &at.index);
        const struct membership_part *p = find_part(g, at.topic, at.index);
        if (p != NULL && at.committed > p->committed)
            c->parts[c->count++] = at;
    }
    qsort(c->parts, c->count, sizeof(c->parts[0]), by_place);
    return c;
}

static void send_commit(struct cli_membership *g, struct commit *c)
{
    struct kw_offset_commit_request rq;
    struct kw_offset_commit_request_topic *t = NULL;
    struct kb_arena arena;
    kb_arena_init(&arena, ARENA_BYTES);
    kw_offset_commit_request_init(&rq);
    rq.group_id = kw_str_of(g->options.name);
    rq.generation_id_or_member_epoch = g->generation;
    rq.member_id = kw_str_of(g->member_id);
    rq.topics = kb_arena_new_array(&arena, struct kw_offset_commit_request_topic, c->count);
    for (size_t i = 0; i < c->count; i++) {
        if (i == 0 || c->parts[i].topic != c->parts[i - 1].topic) {
            t = &rq.topics[rq.topics_count++];
            kw_offset_commit_request_topic_init(t);
            t->name = kw_str_of(cli_wire_topic_at(g->options.wire, c->parts[i].topic)->name);
            t->partitions = kb_arena_new_array(&arena, struct kw_offset_commit_request_partition,
                                               c->count - i);
        }
        struct kw_offset_commit_request_partition *w = &t->partitions[t->partitions_count++];
        kw_offset_commit_request_partition_init(w);
        w->partition_index = c->parts[i].index;
        w->committed_offset = c->parts[i].committed;
        w->committed_metadata = KW_STR("");
    }
    g->committing = true;
    cli_wire_send(g->options.wire, g->coordinator, KW_API_OFFSET_COMMIT, &rq, GROUP_ANSWER_MS,
                  on_committed, c);
    kb_arena_release(&arena);
}

bool membership_commit(struct cli_membership *g)
{
    if (g->committing)
        return false;
    struct commit *c = collect(g);
    if (c->count == 0) {
        (void)kb_free(c);
        return true;
    }
    if (!membership_ready(g)) {
        (void)kb_free(c);
        return false;
    }
    if (g->options.before_commit != NULL)
        g->options.before_commit(g->options.arg);
    send_commit(g, c);
    return false;
}
