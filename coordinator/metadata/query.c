#include "coordinator/metadata/query.h"

#include <string.h>

#include "proto/base/err.h"
#include "proto/kafka/error.h"

/* ---- brokers ------------------------------------------------------------------------------------
 */

int meta_query_metadata_brokers(const struct meta_query *q, struct kw_metadata_response *ret)
{
    size_t count = meta_image_brokers_count(q->image);
    ret->brokers = kb_arena_new_array(q->arena, struct kw_metadata_response_broker, count);
    if (ret->brokers == NULL)
        return -KB_ENOMEM;
    ret->brokers_count = 0;
    for (size_t i = 0; i < count; i++) {
        const struct meta_broker *b = meta_image_broker_at(q->image, i);
        const struct meta_endpoint *e = meta_broker_endpoint(b, q->listener);
        if (b->fenced || e == NULL)
            continue;
        struct kw_metadata_response_broker *out = &ret->brokers[ret->brokers_count++];
        kw_metadata_response_broker_init(out);
        out->node_id = b->id;
        out->host = kw_str_of(e->host);
        out->port = e->port;
        out->rack = kw_str_of(b->rack);
    }
    ret->cluster_id = kw_str_of(meta_image_cluster_id(q->image));
    return 0;
}

int meta_query_describe_cluster(const struct meta_query *q, bool include_fenced,
                                struct kw_describe_cluster_response *ret)
{
    size_t count = meta_image_brokers_count(q->image);
    ret->brokers = kb_arena_new_array(q->arena, struct kw_describe_cluster_response_broker, count);
    if (ret->brokers == NULL)
        return -KB_ENOMEM;
    ret->brokers_count = 0;
    for (size_t i = 0; i < count; i++) {
        const struct meta_broker *b = meta_image_broker_at(q->image, i);
        const struct meta_endpoint *e = meta_broker_endpoint(b, q->listener);
        if ((b->fenced && !include_fenced) || e == NULL)
            continue;
        struct kw_describe_cluster_response_broker *out = &ret->brokers[ret->brokers_count++];
        kw_describe_cluster_response_broker_init(out);
        out->broker_id = b->id;
        out->host = kw_str_of(e->host);
        out->port = e->port;
        out->rack = kw_str_of(b->rack);
        out->is_fenced = b->fenced;
    }
    const char *cluster_id = meta_image_cluster_id(q->image);
    ret->cluster_id = kw_str_of(cluster_id != NULL ? cluster_id : "");
    return 0;
}

/* ---- partitions ---------------------------------------------------------------------------------
 */

/* The leader as clients may know it: -1 and an error when it cannot be named. */
static int16_t leader_of(const struct meta_query *q, const struct meta_partition *p,
                         int16_t version, int32_t *ret_leader)
{
    const struct meta_broker *b = p->leader >= 0 ? meta_image_broker(q->image, p->leader) : NULL;
    *ret_leader = -1;
    if (b == NULL || p->leader == q->dead_leader)
        return KW_LEADER_NOT_AVAILABLE;
    if (meta_broker_endpoint(b, q->listener) == NULL)
        return version >= 6 ? KW_LISTENER_NOT_FOUND : KW_LEADER_NOT_AVAILABLE;
    *ret_leader = p->leader;
    return KW_NONE;
}

static int32_t *ids_copy(struct kb_arena *arena, const int32_t *ids, size_t count)
{
    return kb_arena_memdup(arena, count > 0 ? (const void *)ids : "", count * sizeof(int32_t));
}

/* Replicas whose broker is fenced, gone or without the listener. */
static int32_t *offline_ids(const struct meta_query *q, const struct meta_partition *p,
                            int32_t *ret_count)
{
    int32_t *ids = kb_arena_new_array(q->arena, int32_t, p->replicas_count);
    *ret_count = 0;
    for (size_t i = 0; ids != NULL && i < p->replicas_count; i++) {
        const struct meta_broker *b = meta_image_broker(q->image, p->replicas[i]);
        if (b == NULL || b->fenced || meta_broker_endpoint(b, q->listener) == NULL)
            ids[(*ret_count)++] = p->replicas[i];
    }
    return ids;
}

static void fill_partition(const struct meta_query *q, const struct meta_partition *p,
                           int16_t version, struct kw_metadata_response_partition *out)
{
    kw_metadata_response_partition_init(out);
    out->error_code = leader_of(q, p, version, &out->leader_id);
    out->partition_index = p->index;
    out->leader_epoch = p->leader_epoch;
    out->replica_nodes = ids_copy(q->arena, p->replicas, p->replicas_count);
    out->replica_nodes_count = (int32_t)p->replicas_count;
    out->isr_nodes = ids_copy(q->arena, p->isr, p->isr_count);
    out->isr_nodes_count = (int32_t)p->isr_count;
    out->offline_replicas = offline_ids(q, p, &out->offline_replicas_count);
}

int meta_query_metadata_topic(const struct meta_query *q, const struct meta_topic *topic,
                              int16_t version, struct kw_metadata_response_topic *ret)
{
    ret->error_code = KW_NONE;
    ret->name = kw_str_of(topic->name);
    ret->topic_id = topic->id;
    ret->is_internal = meta_topic_name_internal(topic->name);
    ret->partitions = kb_arena_new_array(q->arena, struct kw_metadata_response_partition,
                                         topic->partitions_count);
    if (ret->partitions == NULL)
        return -KB_ENOMEM;
    ret->partitions_count = (int32_t)topic->partitions_count;
    for (size_t i = 0; i < topic->partitions_count; i++)
        fill_partition(q, topic->partitions[i], version, &ret->partitions[i]);
    return q->arena->failed ? -KB_ENOMEM : 0;
}

/* ---- DescribeTopicPartitions --------------------------------------------------------------------
 */

enum { PARTITION_LIMIT_MAX = 2000 }; /* max.request.partition.size.limit */

static void describe_partition(const struct meta_query *q, const struct meta_partition *p,
                               struct kw_describe_topic_partitions_response_partition *out)
{
    kw_describe_topic_partitions_response_partition_init(out);
    out->error_code = leader_of(q, p, INT16_MAX, &out->leader_id);
    out->partition_index = p->index;
    out->leader_epoch = p->leader_epoch;
    out->replica_nodes = ids_copy(q->arena, p->replicas, p->replicas_count);
    out->replica_nodes_count = (int32_t)p->replicas_count;
    out->isr_nodes = ids_copy(q->arena, p->isr, p->isr_count);
    out->isr_nodes_count = (int32_t)p->isr_count;
    out->eligible_leader_replicas = ids_copy(q->arena, p->elr, p->elr_count);
    out->eligible_leader_replicas_count = (int32_t)p->elr_count;
    out->last_known_elr = ids_copy(q->arena, p->last_known_elr, p->last_known_elr_count);
    out->last_known_elr_count = (int32_t)p->last_known_elr_count;
    out->offline_replicas = offline_ids(q, p, &out->offline_replicas_count);
}

struct describe {
    const struct meta_query *q;
    struct kw_describe_topic_partitions_response *ret;
    int32_t left; /* partitions that still fit */
};

static int set_cursor(struct describe *d, struct kw_str name, int32_t partition)
{
    d->ret->next_cursor = kb_arena_new(d->q->arena,
                                       struct kw_describe_topic_partitions_response_next_cursor);
    if (d->ret->next_cursor == NULL)
        return -KB_ENOMEM;
    d->ret->next_cursor->topic_name = name;
    d->ret->next_cursor->partition_index = partition;
    return 0;
}

/* 0 to go on, 1 when the answer is full, negative on failure. */
static int describe_topic(struct describe *d, const struct meta_topic *t, int32_t first)
{
    struct kb_arena *arena = d->q->arena;
    if (d->left == 0)
        return set_cursor(d, kw_str_of(t->name), first) < 0 ? -KB_ENOMEM : 1;
    struct kw_describe_topic_partitions_response_topic *out =
        &d->ret->topics[d->ret->topics_count++];
    kw_describe_topic_partitions_response_topic_init(out);
    out->name = kw_str_of(t->name);
    out->topic_id = t->id;
    out->is_internal = meta_topic_name_internal(t->name);
    out->topic_authorized_operations = META_TOPIC_OPERATIONS;
    int32_t total = (int32_t)t->partitions_count;
    int32_t count = first < total ? total - first : 0;
    bool whole = count <= d->left;
    count = whole ? count : d->left;
    out->partitions = kb_arena_new_array(
        arena, struct kw_describe_topic_partitions_response_partition, (size_t)count);
    if (out->partitions == NULL)
        return -KB_ENOMEM;
    out->partitions_count = count;
    for (int32_t i = 0; i < count; i++)
        describe_partition(d->q, t->partitions[first + i], &out->partitions[i]);
    d->left -= count;
    if (arena->failed)
        return -KB_ENOMEM;
    if (whole)
        return 0;
    return set_cursor(d, out->name, first + count) < 0 ? -KB_ENOMEM : 1;
}

static int describe_unknown(struct describe *d, struct kw_str name)
{
    struct kw_describe_topic_partitions_response_topic *out =
        &d->ret->topics[d->ret->topics_count++];
    bool good = meta_topic_name_check(name.data, (size_t)name.size, NULL) == 0;
    kw_describe_topic_partitions_response_topic_init(out);
    out->name = name;
    out->topic_authorized_operations = META_TOPIC_OPERATIONS;
    out->error_code = good ? KW_UNKNOWN_TOPIC_OR_PARTITION : KW_INVALID_TOPIC_EXCEPTION;
    return 0;
}

static int name_order(struct kw_str a, struct kw_str b)
{
    size_t shared = (size_t)(a.size < b.size ? a.size : b.size);
    int order = shared > 0 ? memcmp(a.data, b.data, shared) : 0;
    return order != 0 ? order : (a.size > b.size) - (a.size < b.size);
}

static void sort_names(struct kw_str *names, size_t count)
{
    /* Heap sort: bounded whatever the client sends. */
    for (size_t end = count, start = count / 2; end > 1;) {
        if (start > 0) {
            start--;
        } else {
            end--;
            struct kw_str t = names[0];
            names[0] = names[end];
            names[end] = t;
        }
        for (size_t root = start; root * 2 + 1 < end;) {
            size_t child = root * 2 + 1;
            if (child + 1 < end && name_order(names[child], names[child + 1]) < 0)
                child++;
            if (name_order(names[root], names[child]) >= 0)
                break;
            struct kw_str t = names[root];
            names[root] = names[child];
            names[child] = t;
            root = child;
        }
    }
}

static const struct meta_topic *find_topic(const struct meta_image *image, struct kw_str name)
{
    char text[META_TOPIC_NAME_MAX + 1];
    if (meta_topic_name_check(name.data, (size_t)name.size, NULL) < 0)
        return NULL;
    memcpy(text, name.data, (size_t)name.size);
    text[name.size] = '\0';
    return meta_image_topic(image, text);
}

/* In name order from the cursor on, as Kafka answers them. */
static int describe_named(struct describe *d,
                          const struct kw_describe_topic_partitions_request *req)
{
    size_t count = (size_t)req->topics_count;
    struct kw_str *names = kb_arena_new_array(d->q->arena, struct kw_str, count);
    d->ret->topics = kb_arena_new_array(d->q->arena,
                                        struct kw_describe_topic_partitions_response_topic, count);
    if (d->q->arena->failed)
        return -KB_ENOMEM;
    for (size_t i = 0; i < count; i++)
        names[i] = req->topics[i].name;
    sort_names(names, count);
    int r = 0;
    for (size_t i = 0; i < count && r == 0; i++) {
        if (i > 0 && name_order(names[i], names[i - 1]) == 0)
            continue;
        int order = req->cursor != NULL ? name_order(names[i], req->cursor->topic_name) : 1;
        if (order < 0)
            continue;
        int32_t first = order == 0 ? req->cursor->partition_index : 0;
        const struct meta_topic *t = find_topic(d->q->image, names[i]);
        r = t != NULL ? describe_topic(d, t, first < 0 ? 0 : first) : describe_unknown(d, names[i]);
    }
    return r < 0 ? r : 0;
}

static int describe_all(struct describe *d, const struct kw_describe_topic_partitions_request *req)
{
    size_t count = meta_image_topics_count(d->q->image);
    d->ret->topics = kb_arena_new_array(d->q->arena,
                                        struct kw_describe_topic_partitions_response_topic, count);
    if (d->ret->topics == NULL)
        return -KB_ENOMEM;
    int r = 0;
    for (size_t i = 0; i < count && r == 0; i++) {
        const struct meta_topic *t = meta_image_topic_at(d->q->image, i);
        int order = req->cursor != NULL ? name_order(kw_str_of(t->name), req->cursor->topic_name)
                                        : 1;
        if (order < 0)
            continue;
        int32_t first = order == 0 ? req->cursor->partition_index : 0;
        r = describe_topic(d, t, first < 0 ? 0 : first);
    }
    return r < 0 ? r : 0;
}

int meta_query_describe_topic_partitions(const struct meta_query *q,
                                         const struct kw_describe_topic_partitions_request *req,
                                         struct kw_describe_topic_partitions_response *ret)
{
    int32_t limit = req->response_partition_limit;
    struct describe d = {.q = q,
                         .ret = ret,
                         .left = limit < 1                     ? 1
                                 : limit > PARTITION_LIMIT_MAX ? PARTITION_LIMIT_MAX
                                                               : limit};
    kw_describe_topic_partitions_response_init(ret);
    return req->topics_count > 0 ? describe_named(&d, req) : describe_all(&d, req);
}

/* ---- DescribeConfigs
 * ----------------------------------------------------------------------------- */

static bool key_wanted(const struct kw_describe_configs_request_resource *resource,
                       const char *name)
{
    if (resource->configuration_keys == NULL || resource->configuration_keys_count <= 0)
        return true;
    for (int32_t i = 0; i < resource->configuration_keys_count; i++) {
        if (kw_str_is(resource->configuration_keys[i], name))
            return true;
    }
    return false;
}

static int fill_config(const struct meta_query *q, const struct meta_config_line *line,
                       bool synonyms, bool documentation,
                       struct kw_describe_configs_response_config *out)
{
    kw_describe_configs_response_config_init(out);
    out->name = kw_str_of(line->name);
    out->value = kw_str_of(line->value);
    out->config_source = (int8_t)line->source;
    out->config_type = (int8_t)line->type;
    out->documentation = documentation ? kw_str_of(line->doc) : kw_str_null();
    if (!synonyms)
        return 0;
    out->synonyms = kb_arena_new_array(q->arena, struct kw_describe_configs_response_synonym,
                                       line->synonyms_count);
    if (out->synonyms == NULL)
        return -KB_ENOMEM;
    out->synonyms_count = (int32_t)line->synonyms_count;
    for (size_t i = 0; i < line->synonyms_count; i++) {
        out->synonyms[i].name = kw_str_of(line->synonyms[i].name);
        out->synonyms[i].value = kw_str_of(line->synonyms[i].value);
        out->synonyms[i].source = (int8_t)line->synonyms[i].source;
    }
    return 0;
}

int meta_query_describe_topic_configs(const struct meta_query *q,
                                      const struct meta_static_configs *statics,
                                      const struct kw_describe_configs_request_resource *resource,
                                      bool synonyms, bool documentation,
                                      struct kw_describe_configs_response_result *ret)
{
    const struct meta_topic *t = find_topic(q->image, resource->resource_name);
    kw_describe_configs_response_result_init(ret);
    ret->resource_type = resource->resource_type;
    ret->resource_name = resource->resource_name;
    if (t == NULL) {
        bool good = meta_topic_name_check(resource->resource_name.data,
                                          (size_t)resource->resource_name.size, NULL) == 0;
        ret->error_code = good ? KW_UNKNOWN_TOPIC_OR_PARTITION : KW_INVALID_TOPIC_EXCEPTION;
        ret->error_message = good ? KW_STR("no topic has this name")
                                  : KW_STR("no topic can have this name");
        return 0;
    }
    ret->configs = kb_arena_new_array(q->arena, struct kw_describe_configs_response_config,
                                      META_TOPIC_KEY_COUNT_);
    if (ret->configs == NULL)
        return -KB_ENOMEM;
    for (int i = 0; i < META_TOPIC_KEY_COUNT_; i++) {
        struct meta_config_line line;
        if (!key_wanted(resource, meta_topic_key_info((enum meta_topic_key)i)->name))
            continue;
        meta_config_describe(q->image, t, statics, (enum meta_topic_key)i, &line);
        if (fill_config(q, &line, synonyms, documentation, &ret->configs[ret->configs_count++]) < 0)
            return -KB_ENOMEM;
    }
    return 0;
}
