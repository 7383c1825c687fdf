/* Becoming a member: JoinGroup, the assignment when it leads, SyncGroup. */
#include <errno.h>
#include <stdlib.h>

#include "broker/cli/assign.h"
#include "broker/cli/consume_private.h"

enum { ARENA_BYTES = 64 << 20, TOPIC_BYTES_MAX = 256, SUBSCRIPTION_VERSION = 0 };

static const char *const protocols[] = {"range", "roundrobin"};
enum { PROTOCOLS = 2 };

/* The bytes of a message behind its int16 version. */
static struct kw_bytes with_version(struct kb_arena *a, struct kb_chain *chain)
{
    uint8_t *data = kb_arena_alloc(a, chain->size);
    size_t size = 0;
    for (size_t i = 0; i < chain->count; i++) {
        memcpy(data + size, chain->slices[i].block->data + chain->slices[i].position,
               chain->slices[i].size);
        size += chain->slices[i].size;
    }
    kb_chain_release(chain);
    return kw_bytes_of(data, size);
}

static struct kw_bytes subscription(const struct cli_membership *g, struct kb_arena *a)
{
    struct kw_consumer_protocol_subscription s;
    struct kb_chain chain = {0};
    struct kw_writer w;
    kw_consumer_protocol_subscription_init(&s);
    s.topics = kb_arena_new_array(a, struct kw_str, g->options.topics_count);
    for (size_t i = 0; i < g->options.topics_count; i++)
        s.topics[s.topics_count++] =
            kw_str_of(cli_wire_topic_at(g->options.wire, g->options.topics[i])->name);
    kw_writer_init(&w, &chain);
    kw_put_int16(&w, SUBSCRIPTION_VERSION);
    kw_consumer_protocol_subscription_write(&w, SUBSCRIPTION_VERSION, &s);
    if (kw_writer_finish(&w) < 0)
        abort();
    return with_version(a, &chain);
}

/* ---- JoinGroup ---------------------------------------------------------------------------------
 */

static bool take_member(struct cli_membership *g, const struct kw_join_group_response_member *from,
                        struct kb_arena *a)
{
    struct kw_consumer_protocol_subscription s;
    struct kw_reader rd;
    struct membership_member *m = &g->members[g->members_count];
    kw_reader_init(&rd, from->metadata.data, (size_t)from->metadata.size);
    int16_t version = kw_get_int16(&rd);
    if (!kw_reader_ok(&rd) || version < 0 ||
        kw_consumer_protocol_subscription_read(&rd, version > 3 ? 3 : version, a, &s) < 0)
        return false;
    m->id = kb_strndup(from->member_id.data, (size_t)from->member_id.size);
    m->topics = kb_new_array(size_t, (size_t)s.topics_count);
    g->members_count++;
    for (int32_t i = 0; i < s.topics_count; i++) {
        char name[TOPIC_BYTES_MAX];
        if (s.topics[i].size <= 0 || s.topics[i].size >= TOPIC_BYTES_MAX)
            continue;
        (void)snprintf(name, sizeof(name), "%.*s", s.topics[i].size, s.topics[i].data);
        m->topics[m->topics_count++] = cli_wire_topic(g->options.wire, name);
    }
    return true;
}

static int by_id(const void *a, const void *b)
{
    return strcmp(((const struct membership_member *)a)->id,
                  ((const struct membership_member *)b)->id);
}

static bool take_members(struct cli_membership *g, const struct kw_join_group_response *r)
{
    struct kb_arena arena;
    bool ok = true;
    membership_release_members(g);
    g->members = kb_new_array(struct membership_member, (size_t)r->members_count);
    kb_arena_init(&arena, ARENA_BYTES);
    for (int32_t i = 0; i < r->members_count && ok; i++)
        ok = take_member(g, &r->members[i], &arena);
    kb_arena_release(&arena);
    qsort(g->members, g->members_count, sizeof(g->members[0]), by_id);
    return ok;
}

static void sync_group(struct cli_membership *g,
                       struct kw_sync_group_request_assignment *assignments, int32_t count);

static void take_id(struct cli_membership *g, struct kw_str id)
{
    (void)kb_free(g->member_id);
    g->member_id = kb_strndup(id.data, (size_t)id.size);
}

static void on_joined(void *arg, int result, const void *response)
{
    struct cli_membership *g = arg;
    const struct kw_join_group_response *r = response;
    g->calling = false;
    if (g->state != GROUP_JOINING) {
        if (result == 0 && r->error_code == KW_NONE) /* leaving: under the new name */
            take_id(g, r->member_id);
        return;
    }
    if (result == 0 && r->error_code == KW_MEMBER_ID_REQUIRED) {
        take_id(g, r->member_id);
        membership_set_state(g, GROUP_JOINING);
        return;
    }
    if (membership_take_error(g, result, result == 0 ? r->error_code : (int16_t)KW_NONE))
        return;
    take_id(g, r->member_id);
    g->generation = r->generation_id;
    (void)kb_free(g->protocol);
    g->protocol = kb_strndup(r->protocol_name.data, (size_t)r->protocol_name.size);
    if (!kw_str_equal(r->leader, r->member_id)) {
        sync_group(g, NULL, 0);
        return;
    }
    if (!take_members(g, r)) {
        g->options.on_error(g->options.arg, KW_INCONSISTENT_GROUP_PROTOCOL,
                            "another member's subscription cannot be read");
        membership_set_state(g, GROUP_CLOSED);
        return;
    }
    cli_wire_refresh(g->options.wire);
    membership_set_state(g, GROUP_ASSIGNING);
}

void membership_join(struct cli_membership *g)
{
    struct kw_join_group_request rq;
    struct kw_join_group_request_protocol list[PROTOCOLS];
    struct kb_arena arena;
    if (g->calling || !membership_ready(g))
        return;
    kb_arena_init(&arena, ARENA_BYTES);
    kw_join_group_request_init(&rq);
    rq.group_id = kw_str_of(g->options.name);
    rq.session_timeout_ms = GROUP_SESSION_MS;
    rq.rebalance_timeout_ms = GROUP_REBALANCE_MS;
    rq.member_id = kw_str_of(g->member_id);
    rq.protocol_type = KW_STR("consumer");
    rq.protocols = list;
    rq.protocols_count = PROTOCOLS;
    for (int i = 0; i < PROTOCOLS; i++) {
        kw_join_group_request_protocol_init(&list[i]);
        list[i].name = kw_str_of(protocols[i]);
        list[i].metadata = subscription(g, &arena);
    }
    g->calling = true;
    cli_wire_send(g->options.wire, g->coordinator, KW_API_JOIN_GROUP, &rq,
                  GROUP_REBALANCE_MS + GROUP_ANSWER_MS, on_joined, g);
    kb_arena_release(&arena);
}

/* ---- the assignment ----------------------------------------------------------------------------
 */

/* All topics of all members, in order of their names. */
struct topics {
    struct cli_assign_topic *list;
    size_t *ids; /* of the wire */
    size_t count;
    int32_t **owners;
};

struct named {
    const char *name;
    size_t id;
};

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct named *)a)->name, ((const struct named *)b)->name);
}

static void collect_topics(const struct cli_membership *g, struct kb_arena *a, struct topics *ret)
{
    size_t max = 0;
    size_t count = 0;
    for (size_t m = 0; m < g->members_count; m++)
        max += g->members[m].topics_count;
    struct named *all = kb_arena_new_array(a, struct named, max);
    for (size_t m = 0; m < g->members_count; m++) {
        for (size_t i = 0; i < g->members[m].topics_count; i++) {
            size_t id = g->members[m].topics[i];
            all[count++] = (struct named){cli_wire_topic_at(g->options.wire, id)->name, id};
        }
    }
    qsort(all, count, sizeof(all[0]), by_name);
    *ret = (struct topics){.list = kb_arena_new_array(a, struct cli_assign_topic, count),
                           .ids = kb_arena_new_array(a, size_t, count),
                           .owners = kb_arena_new_array(a, int32_t *, count)};
    for (size_t i = 0; i < count; i++) {
        if (i > 0 && all[i].id == all[i - 1].id)
            continue;
        const struct cli_topic *t = cli_wire_topic_at(g->options.wire, all[i].id);
        size_t n = ret->count++;
        ret->list[n] = (struct cli_assign_topic){t->name, t->partitions_count};
        ret->ids[n] = all[i].id;
        ret->owners[n] = kb_arena_new_array(a, int32_t, (size_t)t->partitions_count);
    }
}

static struct cli_assign_member *collect_members(const struct cli_membership *g, struct kb_arena *a,
                                                 const struct topics *topics)
{
    struct cli_assign_member *list = kb_arena_new_array(a, struct cli_assign_member,
                                                        g->members_count);
    for (size_t m = 0; m < g->members_count; m++) {
        bool *wants = kb_arena_new_array(a, bool, topics->count);
        for (size_t t = 0; t < topics->count; t++) {
            for (size_t i = 0; i < g->members[m].topics_count; i++)
                wants[t] |= g->members[m].topics[i] == topics->ids[t];
        }
        list[m] = (struct cli_assign_member){g->members[m].id, wants};
    }
    return list;
}

static struct kw_bytes assignment_of(size_t member, const struct topics *topics, struct kb_arena *a)
{
    struct kw_consumer_protocol_assignment s;
    struct kb_chain chain = {0};
    struct kw_writer w;
    kw_consumer_protocol_assignment_init(&s);
    s.assigned_partitions = kb_arena_new_array(
        a, struct kw_consumer_protocol_assignment_assigned_partition, topics->count);
    for (size_t t = 0; t < topics->count; t++) {
        struct kw_consumer_protocol_assignment_assigned_partition *p =
            &s.assigned_partitions[s.assigned_partitions_count];
        p->topic = kw_str_of(topics->list[t].name);
        p->partitions = kb_arena_new_array(a, int32_t, (size_t)topics->list[t].partitions);
        p->partitions_count = 0;
        for (int32_t i = 0; i < topics->list[t].partitions; i++) {
            if (topics->owners[t][i] == (int32_t)member)
                p->partitions[p->partitions_count++] = i;
        }
        s.assigned_partitions_count += p->partitions_count > 0;
    }
    kw_writer_init(&w, &chain);
    kw_put_int16(&w, SUBSCRIPTION_VERSION);
    kw_consumer_protocol_assignment_write(&w, SUBSCRIPTION_VERSION, &s);
    if (kw_writer_finish(&w) < 0)
        abort();
    return with_version(a, &chain);
}

/* Metadata of every topic came, or says that there is none. */
static bool knows_topics(const struct cli_membership *g)
{
    for (size_t m = 0; m < g->members_count; m++) {
        for (size_t i = 0; i < g->members[m].topics_count; i++) {
            if (cli_wire_topic_at(g->options.wire, g->members[m].topics[i])->error == -1)
                return false;
        }
    }
    return true;
}

void membership_assign(struct cli_membership *g)
{
    struct kb_arena arena;
    struct topics topics;
    if (!knows_topics(g)) {
        cli_wire_refresh(g->options.wire);
        return;
    }
    kb_arena_init(&arena, ARENA_BYTES);
    collect_topics(g, &arena, &topics);
    struct cli_assign_member *members = collect_members(g, &arena, &topics);
    if (strcmp(g->protocol, "roundrobin") == 0)
        cli_assign_round_robin(topics.list, topics.count, members, g->members_count, topics.owners);
    else
        cli_assign_range(topics.list, topics.count, members, g->members_count, topics.owners);
    struct kw_sync_group_request_assignment *list =
        kb_arena_new_array(&arena, struct kw_sync_group_request_assignment, g->members_count);
    for (size_t m = 0; m < g->members_count; m++) {
        list[m].member_id = kw_str_of(g->members[m].id);
        list[m].assignment = assignment_of(m, &topics, &arena);
    }
    sync_group(g, list, (int32_t)g->members_count);
    kb_arena_release(&arena);
    membership_release_members(g);
}

/* ---- SyncGroup ---------------------------------------------------------------------------------
 */

static bool take_assignment(struct cli_membership *g, struct kw_bytes bytes)
{
    struct kw_consumer_protocol_assignment s;
    struct kw_reader rd;
    struct kb_arena arena;
    g->parts_count = 0;
    if (bytes.size == 0)
        return true;
    kb_arena_init(&arena, ARENA_BYTES);
    kw_reader_init(&rd, bytes.data, (size_t)bytes.size);
    int16_t version = kw_get_int16(&rd);
    bool ok = kw_reader_ok(&rd) && version >= 0 &&
              kw_consumer_protocol_assignment_read(&rd, version > 3 ? 3 : version, &arena, &s) == 0;
    for (int32_t t = 0; ok && t < s.assigned_partitions_count; t++) {
        char name[TOPIC_BYTES_MAX];
        struct kw_str topic = s.assigned_partitions[t].topic;
        (void)snprintf(name, sizeof(name), "%.*s", topic.size, topic.data);
        size_t id = cli_wire_topic(g->options.wire, name);
        for (int32_t i = 0; i < s.assigned_partitions[t].partitions_count; i++) {
            kb_array_reserve(g->parts, g->parts_count, g->parts_capacity);
            g->parts[g->parts_count++] =
                (struct membership_part){id, s.assigned_partitions[t].partitions[i], -1};
        }
    }
    kb_arena_release(&arena);
    return ok;
}

static void on_synced(void *arg, int result, const void *response)
{
    struct cli_membership *g = arg;
    const struct kw_sync_group_response *r = response;
    g->calling = false;
    if (g->state != GROUP_SYNCING ||
        membership_take_error(g, result, result == 0 ? r->error_code : (int16_t)KW_NONE))
        return;
    if (!take_assignment(g, r->assignment)) {
        g->options.on_error(g->options.arg, KW_INCONSISTENT_GROUP_PROTOCOL,
                            "the assignment cannot be read");
        membership_set_state(g, GROUP_CLOSED);
        return;
    }
    g->beat_at_ms = cli_now_ms() + GROUP_BEAT_MS;
    membership_set_state(g, GROUP_FETCHING);
}

static void sync_group(struct cli_membership *g,
                       struct kw_sync_group_request_assignment *assignments, int32_t count)
{
    struct kw_sync_group_request rq;
    if (!membership_ready(g)) {
        membership_retry(g, GROUP_JOINING);
        return;
    }
    kw_sync_group_request_init(&rq);
    rq.group_id = kw_str_of(g->options.name);
    rq.generation_id = g->generation;
    rq.member_id = kw_str_of(g->member_id);
    if (cli_wire_version(g->options.wire, g->coordinator, KW_API_SYNC_GROUP) >= 5) {
        rq.protocol_type = KW_STR("consumer");
        rq.protocol_name = kw_str_of(g->protocol);
    }
    rq.assignments = assignments;
    rq.assignments_count = count;
    membership_set_state(g, GROUP_SYNCING);
    g->calling = true;
    cli_wire_send(g->options.wire, g->coordinator, KW_API_SYNC_GROUP, &rq,
                  GROUP_REBALANCE_MS + GROUP_ANSWER_MS, on_synced, g);
}
