/* The replicated half of a group. Only replay comes here. */
#include "coordinator/groups/internal.h"
#include "proto/base/mutant.h"

enum { OFFSET_OVERHEAD_BYTES = sizeof(struct group_offset) };

static struct kw_bytes bytes_dup(struct kw_bytes b)
{
    return b.size > 0 ? kw_bytes_of(kb_memdup(b.data, (size_t)b.size), (size_t)b.size)
                      : kw_bytes_of(NULL, 0);
}

/* ---- metadata
 * -------------------------------------------------------------------------------- */

static void member_free(struct group_image *im, struct group_image_member *m)
{
    HASH_DEL(im->members, m);
    group_str_free(&m->id);
    group_str_free(&m->instance_id);
    group_str_free(&m->client_id);
    group_str_free(&m->client_host);
    free((void *)m->subscription.data);
    free((void *)m->assignment.data);
    (void)kb_free(m);
}

static void add_member(struct group_image *im, const struct kw_group_metadata_value_member *from)
{
    struct group_image_member *m = NULL;
    HASH_FIND(hh, im->members, from->member_id.data, (size_t)from->member_id.size, m);
    if (m != NULL)
        return;
    m = kb_new(struct group_image_member);
    m->id = group_str_dup(from->member_id);
    m->instance_id = group_str_dup(from->group_instance_id);
    m->client_id = group_str_dup(from->client_id);
    m->client_host = group_str_dup(from->client_host);
    m->session_timeout_ms = from->session_timeout;
    m->rebalance_timeout_ms = from->rebalance_timeout >= 0 ? from->rebalance_timeout
                                                           : from->session_timeout;
    m->subscription = bytes_dup(from->subscription);
    m->assignment = bytes_dup(from->assignment);
    HASH_ADD_KEYPTR(hh, im->members, m->id.data, (size_t)m->id.size, m);
    im->bytes += sizeof(*m) +
                 (size_t)(m->id.size + m->instance_id.size + m->client_id.size +
                          m->client_host.size + m->subscription.size) +
                 (size_t)m->assignment.size;
}

void group_image_remove(struct group *g)
{
    struct group_image *im = g->image;
    if (im == NULL)
        return;
    g->shard->bytes -= im->bytes;
    while (im->members != NULL)
        member_free(im, im->members);
    group_str_free(&im->protocol_type);
    group_str_free(&im->protocol);
    group_str_free(&im->leader);
    g->image = kb_free(im);
}

void group_image_replace(struct group *g, const struct kw_group_metadata_value *value)
{
    struct group_image *im = kb_new(struct group_image);
    im->protocol_type = group_str_dup(value->protocol_type);
    im->generation = KB_MUTANT("generation-lost-at-load") && !g->shard->loaded ? 0
                                                                               : value->generation;
    im->protocol = group_str_dup(value->protocol);
    im->leader = group_str_dup(value->leader);
    im->state_wall_ms = value->current_state_timestamp;
    im->bytes = sizeof(*im);
    for (int32_t i = 0; i < value->members_count; i++)
        add_member(im, &value->members[i]);
    group_image_remove(g);
    g->image = im;
    g->shard->bytes += im->bytes;
}

const struct group_image_member *group_image_member(const struct group *g, struct kw_str id)
{
    struct group_image_member *m = NULL;
    if (g->image != NULL && id.data != NULL)
        HASH_FIND(hh, g->image->members, id.data, (size_t)id.size, m);
    return m;
}

/* ---- offsets
 * --------------------------------------------------------------------------------- */

const struct group_topic *group_topic_find(const struct group *g, struct kw_str topic)
{
    struct group_topic *t = NULL;
    if (topic.data != NULL)
        HASH_FIND(hh, g->topics, topic.data, (size_t)topic.size, t);
    return t;
}

/* Where the partition is, or would be. */
static size_t position_of(const struct group_topic *t, int32_t partition)
{
    size_t low = 0;
    size_t high = t->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (t->offsets[middle].partition < partition)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

const struct group_offset *group_offset_find(const struct group *g, struct kw_str topic,
                                             int32_t partition)
{
    const struct group_topic *t = group_topic_find(g, topic);
    if (t == NULL)
        return NULL;
    size_t i = position_of(t, partition);
    return i < t->count && t->offsets[i].partition == partition ? &t->offsets[i] : NULL;
}

static struct group_topic *topic_add(struct group *g, struct kw_str name)
{
    struct group_topic *t = (struct group_topic *)group_topic_find(g, name);
    if (t != NULL)
        return t;
    t = kb_new(struct group_topic);
    t->name = group_str_dup(name);
    HASH_ADD_KEYPTR(hh, g->topics, t->name.data, (size_t)t->name.size, t);
    g->shard->bytes += sizeof(*t) + (size_t)t->name.size;
    return t;
}

static void topic_free(struct group *g, struct group_topic *t)
{
    HASH_DEL(g->topics, t);
    g->shard->bytes -= sizeof(*t) + (size_t)t->name.size;
    group_str_free(&t->name);
    (void)kb_free(t->offsets);
    (void)kb_free(t);
}

void group_offset_put(struct group *g, struct kw_str topic, int32_t partition,
                      const struct kw_offset_commit_value *value)
{
    struct group_topic *t = topic_add(g, topic);
    size_t i = position_of(t, partition);
    if (i == t->count || t->offsets[i].partition != partition) {
        kb_array_reserve(t->offsets, t->count, t->capacity);
        memmove(&t->offsets[i + 1], &t->offsets[i], (t->count - i) * sizeof(t->offsets[0]));
        t->count++;
        g->offsets_count++;
        g->shard->offsets_count++;
        g->shard->bytes += OFFSET_OVERHEAD_BYTES;
    } else {
        g->shard->bytes -= (size_t)t->offsets[i].metadata.size;
        group_str_free(&t->offsets[i].metadata);
    }
    t->offsets[i] = (struct group_offset){
        .partition = partition,
        .leader_epoch = value->leader_epoch,
        .offset = value->offset,
        .commit_wall_ms = value->commit_timestamp,
        .expire_wall_ms = value->expire_timestamp,
        .topic_id = value->topic_id,
        .metadata = group_str_dup(value->metadata),
    };
    g->shard->bytes += (size_t)value->metadata.size;
}

void group_offset_remove(struct group *g, struct kw_str topic, int32_t partition)
{
    struct group_topic *t = (struct group_topic *)group_topic_find(g, topic);
    size_t i = t != NULL ? position_of(t, partition) : 0;
    if (t == NULL || i == t->count || t->offsets[i].partition != partition)
        return;
    g->shard->bytes -= OFFSET_OVERHEAD_BYTES + (size_t)t->offsets[i].metadata.size;
    group_str_free(&t->offsets[i].metadata);
    t->count--;
    memmove(&t->offsets[i], &t->offsets[i + 1], (t->count - i) * sizeof(t->offsets[0]));
    g->offsets_count--;
    g->shard->offsets_count--;
    if (t->count == 0)
        topic_free(g, t);
}

void group_image_release(struct group *g)
{
    group_image_remove(g);
    while (g->topics != NULL) {
        const struct group_topic *t = g->topics;
        group_offset_remove(g, t->name, t->offsets[t->count - 1].partition);
    }
}
