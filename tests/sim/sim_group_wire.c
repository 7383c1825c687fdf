#include "tests/sim/sim_group_wire.h"

#include <string.h>

#include "proto/base/arena.h"
#include "proto/base/assert.h"
#include "tests/sim/sim_group_offsets.h"

static void append(struct kb_buf *to, struct kw_writer *w, struct kb_chain *chain)
{
    int r = kw_writer_finish(w);
    KB_ASSERT(r == 0);
    for (size_t i = 0; i < chain->count; i++)
        kb_buf_append(to, chain->slices[i].block->data + chain->slices[i].position,
                      chain->slices[i].size);
    kb_chain_release(chain);
}

void sim_group_write_subscription(const struct sim_topics *topics, int16_t version,
                                  struct kb_buf *to)
{
    struct kw_consumer_protocol_subscription s;
    struct kw_str names[8];
    struct kb_chain chain = {0};
    struct kw_writer w;
    kw_consumer_protocol_subscription_init(&s);
    s.topics = names;
    for (uint32_t t = 0; t < topics->count; t++)
        names[s.topics_count++] = kw_str_of(topics->topic[t].name);
    kw_writer_init(&w, &chain);
    kw_put_int16(&w, version);
    kw_consumer_protocol_subscription_write(&w, version, &s);
    append(to, &w, &chain);
}

/* Walks partitions by topic: fn is told each topic's indexes. */
static uint32_t indexes_of(const struct sim_topics *topics, uint32_t topic, uint64_t partitions,
                           int32_t *ret)
{
    uint32_t count = 0;
    for (uint32_t p = 0; p < sim_topics_partitions(topics); p++) {
        uint32_t t = 0;
        int32_t index = 0;
        sim_topics_split(topics, p, &t, &index);
        if (t == topic && (partitions >> p & 1) != 0)
            ret[count++] = index;
    }
    return count;
}

static uint32_t first_of(const struct sim_topics *topics, uint32_t topic)
{
    uint32_t first = 0;
    for (uint32_t t = 0; t < topic; t++)
        first += (uint32_t)topics->topic[t].partitions;
    return first;
}

void sim_group_write_assignment(const struct sim_topics *topics, uint64_t partitions,
                                struct kb_buf *to)
{
    struct kw_consumer_protocol_assignment a;
    struct kw_consumer_protocol_assignment_assigned_partition parts[8];
    int32_t indexes[64];
    uint32_t used = 0;
    struct kb_chain chain = {0};
    struct kw_writer w;
    kw_consumer_protocol_assignment_init(&a);
    a.assigned_partitions = parts;
    for (uint32_t t = 0; t < topics->count; t++) {
        uint32_t count = indexes_of(topics, t, partitions, &indexes[used]);
        if (count == 0)
            continue;
        parts[a.assigned_partitions_count++] =
            (struct kw_consumer_protocol_assignment_assigned_partition){
                .topic = kw_str_of(topics->topic[t].name),
                .partitions = &indexes[used],
                .partitions_count = (int32_t)count};
        used += count;
    }
    kw_writer_init(&w, &chain);
    kw_put_int16(&w, 0);
    kw_consumer_protocol_assignment_write(&w, 0, &a);
    append(to, &w, &chain);
}

bool sim_group_read_assignment(const struct sim_topics *topics, struct kw_bytes bytes,
                               uint64_t *ret_partitions)
{
    struct kw_consumer_protocol_assignment a;
    struct kw_reader rd;
    struct kb_arena arena;
    bool ok = true;
    *ret_partitions = 0;
    if (bytes.size == 0)
        return true;
    kb_arena_init(&arena, 1 << 20);
    kw_reader_init(&rd, bytes.data, (size_t)bytes.size);
    int16_t version = kw_get_int16(&rd);
    ok = version == 0 && kw_consumer_protocol_assignment_read(&rd, 0, &arena, &a) == 0;
    for (int32_t i = 0; ok && i < a.assigned_partitions_count; i++) {
        for (uint32_t t = 0; t < topics->count; t++) {
            if (!kw_str_is(a.assigned_partitions[i].topic, topics->topic[t].name))
                continue;
            for (int32_t k = 0; k < a.assigned_partitions[i].partitions_count; k++)
                *ret_partitions |= UINT64_C(1)
                                   << (first_of(topics, t) +
                                       (uint32_t)a.assigned_partitions[i].partitions[k]);
        }
    }
    kb_arena_release(&arena);
    return ok;
}

/* ---- OffsetCommit ---- */

void sim_group_fill_commit(const struct sim_client *c, const struct sim_topics *topics,
                           const struct sim_group_commit *commits, size_t count,
                           struct sim_group_commit_request *ret)
{
    bool by_id = sim_client_version(c, KW_API_OFFSET_COMMIT) >= 10;
    uint32_t used = 0;
    kw_offset_commit_request_init(&ret->rq);
    ret->rq.topics = ret->topics;
    for (uint32_t t = 0; t < topics->count; t++) {
        struct kw_offset_commit_request_topic *rt = &ret->topics[ret->rq.topics_count];
        *rt = (struct kw_offset_commit_request_topic){.name = kw_str_of(topics->topic[t].name),
                                                      .partitions = &ret->partitions[used]};
        if (by_id)
            rt->topic_id = sim_client_topic_id(c, t);
        for (size_t i = 0; i < count; i++) {
            struct kw_offset_commit_request_partition *p = &ret->partitions[used];
            uint32_t topic = 0;
            kw_offset_commit_request_partition_init(p);
            sim_topics_split(topics, commits[i].partition, &topic, &p->partition_index);
            if (topic != t)
                continue;
            sim_group_offsets_text(commits[i].id, ret->metadata[used]);
            p->committed_offset = commits[i].offset;
            p->committed_metadata = kw_str_of(ret->metadata[used]);
            rt->partitions_count++;
            used++;
        }
        ret->rq.topics_count += rt->partitions_count > 0;
    }
}

/* Is this the topic the partition belongs to, as this version names it? */
static bool names_topic(const struct sim_client *c, const struct sim_topics *topics, uint32_t topic,
                        bool by_id, struct kw_str name, const struct kb_uuid *id)
{
    struct kb_uuid own = sim_client_topic_id(c, topic);
    return by_id ? kb_uuid_equal(&own, id) : kw_str_is(name, topics->topic[topic].name);
}

int16_t sim_group_commit_error(const struct sim_client *c, const struct sim_topics *topics,
                               uint32_t partition, const struct kw_offset_commit_response *rs)
{
    bool by_id = sim_client_version(c, KW_API_OFFSET_COMMIT) >= 10;
    uint32_t topic = 0;
    int32_t index = 0;
    sim_topics_split(topics, partition, &topic, &index);
    for (int32_t i = 0; i < rs->topics_count; i++) {
        const struct kw_offset_commit_response_topic *t = &rs->topics[i];
        for (int32_t k = 0; k < t->partitions_count; k++) {
            if (t->partitions[k].partition_index == index &&
                names_topic(c, topics, topic, by_id, t->name, &t->topic_id))
                return t->partitions[k].error_code;
        }
    }
    return KW_UNKNOWN_SERVER_ERROR;
}

/* ---- OffsetFetch ---- */

void sim_group_fill_fetch(const struct sim_client *c, const struct sim_topics *topics,
                          const char *group_id, uint64_t partitions,
                          struct sim_group_fetch_request *ret)
{
    int16_t version = sim_client_version(c, KW_API_OFFSET_FETCH);
    uint32_t used = 0;
    kw_offset_fetch_request_init(&ret->rq);
    kw_offset_fetch_request_group_init(&ret->group);
    ret->group.group_id = kw_str_of(group_id);
    ret->group.topics = ret->topics;
    for (uint32_t t = 0; t < topics->count; t++) {
        uint32_t count = indexes_of(topics, t, partitions, &ret->indexes[used]);
        if (count == 0)
            continue;
        ret->old_topics[ret->group.topics_count] =
            (struct kw_offset_fetch_request_topic){.name = kw_str_of(topics->topic[t].name),
                                                   .partition_indexes = &ret->indexes[used],
                                                   .partition_indexes_count = (int32_t)count};
        ret->topics[ret->group.topics_count++] =
            (struct kw_offset_fetch_request_group_topic){.name = kw_str_of(topics->topic[t].name),
                                                         .topic_id = sim_client_topic_id(c, t),
                                                         .partition_indexes = &ret->indexes[used],
                                                         .partition_indexes_count = (int32_t)count};
        used += count;
    }
    ret->rq.require_stable = version >= 7;
    if (version >= 8) {
        ret->rq.groups = &ret->group;
        ret->rq.groups_count = 1;
        return;
    }
    ret->rq.group_id = kw_str_of(group_id);
    ret->rq.topics = ret->old_topics;
    ret->rq.topics_count = ret->group.topics_count;
}

static int16_t fetched_old(const struct sim_topics *topics, uint32_t topic, int32_t index,
                           const struct kw_offset_fetch_response *rs, int64_t *ret_offset,
                           struct kw_str *ret_metadata)
{
    if (rs->error_code != KW_NONE)
        return rs->error_code;
    for (int32_t i = 0; i < rs->topics_count; i++) {
        const struct kw_offset_fetch_response_topic *t = &rs->topics[i];
        for (int32_t k = 0; k < t->partitions_count; k++) {
            if (t->partitions[k].partition_index != index ||
                !kw_str_is(t->name, topics->topic[topic].name))
                continue;
            *ret_offset = t->partitions[k].committed_offset;
            *ret_metadata = t->partitions[k].metadata;
            return t->partitions[k].error_code;
        }
    }
    return KW_UNKNOWN_SERVER_ERROR;
}

int16_t sim_group_fetched(const struct sim_client *c, const struct sim_topics *topics,
                          uint32_t partition, const struct kw_offset_fetch_response *rs,
                          int64_t *ret_offset, struct kw_str *ret_metadata)
{
    int16_t version = sim_client_version(c, KW_API_OFFSET_FETCH);
    uint32_t topic = 0;
    int32_t index = 0;
    sim_topics_split(topics, partition, &topic, &index);
    if (version < 8)
        return fetched_old(topics, topic, index, rs, ret_offset, ret_metadata);
    if (rs->groups_count != 1)
        return KW_UNKNOWN_SERVER_ERROR;
    const struct kw_offset_fetch_response_group *g = &rs->groups[0];
    if (g->error_code != KW_NONE)
        return g->error_code;
    for (int32_t i = 0; i < g->topics_count; i++) {
        const struct kw_offset_fetch_response_group_topic *t = &g->topics[i];
        for (int32_t k = 0; k < t->partitions_count; k++) {
            if (t->partitions[k].partition_index != index ||
                !names_topic(c, topics, topic, version >= 10, t->name, &t->topic_id))
                continue;
            *ret_offset = t->partitions[k].committed_offset;
            *ret_metadata = t->partitions[k].metadata;
            return t->partitions[k].error_code;
        }
    }
    return KW_UNKNOWN_SERVER_ERROR;
}
