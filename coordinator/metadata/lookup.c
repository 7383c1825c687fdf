/* Reading an image: see image.h. */
#include <string.h>

#include "coordinator/metadata/image.h"
#include "coordinator/metadata/image_private.h"
#include "proto/base/assert.h"
#include "proto/base/err.h"

uint64_t meta_image_last_index(const struct meta_image *image)
{
    return image->last_index;
}

uint64_t meta_image_last_term(const struct meta_image *image)
{
    return image->last_term;
}

uint64_t meta_image_digest(const struct meta_image *image)
{
    return image->digest;
}

const char *meta_image_cluster_id(const struct meta_image *image)
{
    return image->cluster_id;
}

size_t meta_image_voters(const struct meta_image *image, const struct meta_voter **ret)
{
    *ret = image->voters;
    return image->voters_count;
}

size_t meta_image_retired(const struct meta_image *image, const struct meta_voter **ret)
{
    *ret = image->retired;
    return image->retired_count;
}

int32_t meta_image_founding_voter_count(const struct meta_image *image)
{
    return image->founding_voter_count;
}

const struct meta_configs *meta_image_founding_configs(const struct meta_image *image)
{
    return &image->founding;
}

const struct meta_configs *meta_image_resource_configs(const struct meta_image *image,
                                                       enum meta_resource type, const char *name)
{
    size_t at = meta_resources_lower_bound(image, (int32_t)type, name);
    if (at == image->resources_count || image->resources[at].type != (int32_t)type ||
        strcmp(image->resources[at].name, name) != 0)
        return NULL;
    return &image->resources[at].configs;
}

int64_t meta_image_next_producer_id(const struct meta_image *image)
{
    return image->next_producer_id;
}

int16_t meta_image_feature_level(const struct meta_image *image, const char *name)
{
    size_t at = meta_features_lower_bound(image, name);
    if (at == image->features_count || strcmp(image->features[at].name, name) != 0)
        return 0;
    return image->features[at].level;
}

size_t meta_image_features_count(const struct meta_image *image)
{
    return image->features_count;
}

const char *meta_image_feature_at(const struct meta_image *image, size_t i, int16_t *ret_level)
{
    KB_ASSERT(i < image->features_count);
    *ret_level = image->features[i].level;
    return image->features[i].name;
}

size_t meta_image_brokers_count(const struct meta_image *image)
{
    return image->brokers_count;
}

const struct meta_broker *meta_image_broker_at(const struct meta_image *image, size_t i)
{
    KB_ASSERT(i < image->brokers_count);
    return image->brokers[i];
}

const struct meta_broker *meta_image_broker(const struct meta_image *image, int32_t id)
{
    size_t at = meta_brokers_lower_bound(image, id);
    return at < image->brokers_count && image->brokers[at]->id == id ? image->brokers[at] : NULL;
}

bool meta_image_broker_live(const struct meta_image *image, int32_t id)
{
    const struct meta_broker *b = meta_image_broker(image, id);
    return b != NULL && !b->fenced;
}

const struct meta_endpoint *meta_broker_endpoint(const struct meta_broker *b, const char *listener)
{
    for (size_t i = 0; i < b->endpoints_count; i++) {
        if (strcmp(b->endpoints[i].listener, listener) == 0)
            return &b->endpoints[i];
    }
    return NULL;
}

size_t meta_image_topics_count(const struct meta_image *image)
{
    return image->topics_count;
}

size_t meta_image_partitions_count(const struct meta_image *image)
{
    return image->partitions_count;
}

const struct meta_topic *meta_image_topic_at(const struct meta_image *image, size_t i)
{
    KB_ASSERT(i < image->topics_count);
    return image->topics[i];
}

const struct meta_topic *meta_image_topic(const struct meta_image *image, const char *name)
{
    size_t at = meta_image_topic_lower_bound(image, name);
    return at < image->topics_count && strcmp(image->topics[at]->name, name) == 0
               ? image->topics[at]
               : NULL;
}

const struct meta_topic *meta_image_topic_by_id(const struct meta_image *image,
                                                const struct kb_uuid *id)
{
    size_t at = meta_topics_id_lower_bound(image, id);
    return at < image->topics_count && kb_uuid_equal(&image->topics_by_id[at]->id, id)
               ? image->topics_by_id[at]
               : NULL;
}

const struct meta_partition *meta_topic_partition(const struct meta_topic *topic, int32_t index)
{
    if (topic == NULL || index < 0 || (size_t)index >= topic->partitions_count)
        return NULL;
    return topic->partitions[index];
}

const struct meta_partition *meta_image_partition(const struct meta_image *image,
                                                  const struct kb_uuid *topic_id, int32_t index)
{
    return meta_topic_partition(meta_image_topic_by_id(image, topic_id), index);
}

const char *meta_configs_get(const struct meta_configs *configs, const char *name)
{
    if (configs == NULL)
        return NULL;
    size_t at = meta_configs_lower_bound(configs, name);
    return at < configs->count && strcmp(configs->entries[at].name, name) == 0
               ? configs->entries[at].value
               : NULL;
}

bool meta_ids_contain(const int32_t *ids, size_t count, int32_t id)
{
    for (size_t i = 0; i < count; i++) {
        if (ids[i] == id)
            return true;
    }
    return false;
}

int meta_partition_replica(const struct meta_partition *p, int32_t broker_id)
{
    for (size_t i = 0; i < p->replicas_count; i++) {
        if (p->replicas[i] == broker_id)
            return (int)i;
    }
    return -1;
}

static bool name_character(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
           c == '_' || c == '-';
}

int meta_topic_name_check(const char *name, size_t size, const char **ret_why)
{
    const char *why = NULL;
    if (size == 0) {
        why = "a topic name cannot be empty";
    } else if (size > META_TOPIC_NAME_MAX) {
        why = "a topic name has at most 249 characters";
    } else if ((size == 1 && name[0] == '.') || (size == 2 && name[0] == '.' && name[1] == '.')) {
        why = "a topic cannot be called \".\" or \"..\"";
    } else {
        for (size_t i = 0; i < size && why == NULL; i++) {
            if (!name_character(name[i]))
                why = "a topic name has only letters, digits, '.', '_' and '-'";
        }
    }
    if (why == NULL)
        return 0;
    if (ret_why != NULL)
        *ret_why = why;
    return -KB_EINVAL;
}

bool meta_topic_name_internal(const char *name)
{
    return strcmp(name, "__consumer_offsets") == 0 || strcmp(name, "__transaction_state") == 0 ||
           strcmp(name, "__share_group_state") == 0;
}
