#include "coordinator/metadata/image.h"

#include <stdlib.h>
#include <string.h>

#include "coordinator/metadata/image_private.h"
#include "proto/base/err.h"
#include "proto/base/mem.h"

struct meta_image *meta_image_new(void)
{
    return kb_new(struct meta_image);
}

/* ---- parts ----------------------------------------------------------------------------------- */

static void endpoints_free(struct meta_endpoint *endpoints, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        free(endpoints[i].listener);
        free(endpoints[i].host);
    }
    free(endpoints);
}

static struct meta_endpoint *endpoints_copy(const struct meta_endpoint *from, size_t count)
{
    struct meta_endpoint *to = kb_new_array(struct meta_endpoint, count);
    for (size_t i = 0; i < count; i++) {
        to[i] = from[i];
        to[i].listener = kb_strdup(from[i].listener);
        to[i].host = kb_strdup(from[i].host);
    }
    return to;
}

struct meta_broker *meta_broker_copy(const struct meta_broker *from)
{
    struct meta_broker *b = kb_memdup(from, sizeof(*from));
    b->boot_id = kb_strdup(from->boot_id);
    b->rack = from->rack != NULL ? kb_strdup(from->rack) : NULL;
    b->directories = kb_new_array(struct kb_uuid, from->directories_count);
    for (size_t i = 0; i < from->directories_count; i++)
        b->directories[i] = from->directories[i];
    b->endpoints = endpoints_copy(from->endpoints, from->endpoints_count);
    b->peer_endpoints = endpoints_copy(from->peer_endpoints, from->peer_endpoints_count);
    b->features = kb_new_array(struct meta_feature, from->features_count);
    for (size_t i = 0; i < from->features_count; i++) {
        b->features[i] = from->features[i];
        b->features[i].name = kb_strdup(from->features[i].name);
    }
    return b;
}

struct meta_broker *meta_broker_free(struct meta_broker *b)
{
    if (b == NULL)
        return NULL;
    free(b->boot_id);
    free(b->rack);
    free(b->directories);
    endpoints_free(b->endpoints, b->endpoints_count);
    endpoints_free(b->peer_endpoints, b->peer_endpoints_count);
    for (size_t i = 0; i < b->features_count; i++)
        free(b->features[i].name);
    free(b->features);
    return kb_free(b);
}

static int32_t *ids_place(uint8_t **at, const int32_t *ids, size_t count)
{
    int32_t *to = (int32_t *)(void *)*at;
    if (count > 0)
        memcpy(to, ids, count * sizeof(*ids));
    *at += count * sizeof(*ids);
    return to;
}

struct meta_partition *meta_partition_pack(const struct meta_partition *spec)
{
    size_t ids = spec->replicas_count + spec->isr_count + spec->elr_count +
                 spec->last_known_elr_count;
    size_t size = sizeof(*spec) + ids * sizeof(int32_t) + spec->replicas_count * 16;
    struct meta_partition *p = kb_alloc(size);
    *p = *spec;
    uint8_t *at = (uint8_t *)(p + 1);
    p->replicas = ids_place(&at, spec->replicas, spec->replicas_count);
    p->isr = ids_place(&at, spec->isr, spec->isr_count);
    p->elr = ids_place(&at, spec->elr, spec->elr_count);
    p->last_known_elr = ids_place(&at, spec->last_known_elr, spec->last_known_elr_count);
    p->directories = (struct kb_uuid *)(void *)at;
    memcpy(at, spec->directories, spec->replicas_count * sizeof(struct kb_uuid));
    return p;
}

struct meta_topic *meta_topic_free(struct meta_topic *t)
{
    if (t == NULL)
        return NULL;
    for (size_t i = 0; i < t->partitions_count; i++)
        free(t->partitions[i]);
    free(t->partitions);
    meta_configs_release(&t->configs);
    free(t->name);
    return kb_free(t);
}

static struct meta_topic *topic_copy(const struct meta_topic *from)
{
    struct meta_topic *t = kb_new(struct meta_topic);
    t->id = from->id;
    t->name = kb_strdup(from->name);
    t->created_index = from->created_index;
    t->partitions_count = t->partitions_capacity = from->partitions_count;
    t->partitions = kb_new_array(struct meta_partition *, from->partitions_count);
    for (size_t i = 0; i < from->partitions_count; i++) {
        t->partitions[i] = meta_partition_pack(from->partitions[i]);
        t->partitions[i]->topic = t;
    }
    meta_configs_copy(&t->configs, &from->configs);
    return t;
}

void meta_configs_copy(struct meta_configs *to, const struct meta_configs *from)
{
    to->count = to->capacity = from->count;
    to->entries = kb_new_array(struct meta_config_entry, from->count);
    for (size_t i = 0; i < from->count; i++) {
        to->entries[i].name = kb_strdup(from->entries[i].name);
        to->entries[i].value = kb_strdup(from->entries[i].value);
    }
}

void meta_configs_release(struct meta_configs *configs)
{
    for (size_t i = 0; i < configs->count; i++) {
        free(configs->entries[i].name);
        free(configs->entries[i].value);
    }
    free(configs->entries);
    *configs = (struct meta_configs){0};
}

void meta_configs_set(struct meta_configs *configs, const char *name, const char *value)
{
    size_t at = meta_configs_lower_bound(configs, name);
    bool there = at < configs->count && strcmp(configs->entries[at].name, name) == 0;
    if (there) {
        free(configs->entries[at].value);
        if (value != NULL) {
            configs->entries[at].value = kb_strdup(value);
        } else {
            free(configs->entries[at].name);
            meta_array_remove(configs->entries, at, configs->count);
        }
    } else if (value != NULL) {
        meta_array_insert(configs->entries, at, configs->count, configs->capacity);
        configs->entries[at].name = kb_strdup(name);
        configs->entries[at].value = kb_strdup(value);
    }
}

void meta_voters_release(struct meta_voter *voters, size_t count)
{
    for (size_t i = 0; i < count; i++)
        free(voters[i].host);
    free(voters);
}

/* ---- the whole ------------------------------------------------------------------------------- */

struct meta_image *meta_image_free(struct meta_image *image)
{
    if (image == NULL)
        return NULL;
    free(image->cluster_id);
    meta_voters_release(image->voters, image->voters_count);
    meta_voters_release(image->retired, image->retired_count);
    meta_configs_release(&image->founding);
    for (size_t i = 0; i < image->brokers_count; i++)
        (void)meta_broker_free(image->brokers[i]);
    free(image->brokers);
    for (size_t i = 0; i < image->topics_count; i++)
        (void)meta_topic_free(image->topics[i]);
    free(image->topics);
    free(image->topics_by_id);
    for (size_t i = 0; i < image->resources_count; i++) {
        free(image->resources[i].name);
        meta_configs_release(&image->resources[i].configs);
    }
    free(image->resources);
    for (size_t i = 0; i < image->features_count; i++)
        free(image->features[i].name);
    free(image->features);
    return kb_free(image);
}

static void clone_topics(struct meta_image *to, const struct meta_image *from)
{
    to->topics = kb_new_array(struct meta_topic *, from->topics_count);
    to->topics_by_id = kb_new_array(struct meta_topic *, from->topics_count);
    to->topics_capacity = to->topics_by_id_capacity = from->topics_count;
    for (size_t i = 0; i < from->topics_count; i++)
        to->topics[i] = topic_copy(from->topics[i]);
    to->topics_count = from->topics_count;
    for (size_t i = 0; i < from->topics_count; i++) {
        size_t at = meta_image_topic_lower_bound(from, from->topics_by_id[i]->name);
        to->topics_by_id[i] = to->topics[at];
    }
}

struct meta_image *meta_image_clone(const struct meta_image *image)
{
    struct meta_image *to = kb_memdup(image, sizeof(*image));
    to->cluster_id = image->cluster_id != NULL ? kb_strdup(image->cluster_id) : NULL;
    to->voters = kb_new_array(struct meta_voter, image->voters_count);
    for (size_t i = 0; i < image->voters_count; i++) {
        to->voters[i] = image->voters[i];
        to->voters[i].host = kb_strdup(image->voters[i].host);
    }
    to->retired = kb_memdup(image->retired, image->retired_count * sizeof(to->retired[0]));
    meta_configs_copy(&to->founding, &image->founding);
    to->brokers = kb_new_array(struct meta_broker *, image->brokers_count);
    to->brokers_capacity = image->brokers_count;
    for (size_t i = 0; i < image->brokers_count; i++)
        to->brokers[i] = meta_broker_copy(image->brokers[i]);
    clone_topics(to, image);
    to->resources = kb_new_array(struct meta_resource_configs, image->resources_count);
    to->resources_capacity = image->resources_count;
    for (size_t i = 0; i < image->resources_count; i++) {
        to->resources[i].type = image->resources[i].type;
        to->resources[i].name = kb_strdup(image->resources[i].name);
        meta_configs_copy(&to->resources[i].configs, &image->resources[i].configs);
    }
    to->features = kb_new_array(struct meta_feature_level, image->features_count);
    to->features_capacity = image->features_count;
    for (size_t i = 0; i < image->features_count; i++) {
        to->features[i].level = image->features[i].level;
        to->features[i].name = kb_strdup(image->features[i].name);
    }
    return to;
}

/* ---- positions ------------------------------------------------------------------------------- */

size_t meta_brokers_lower_bound(const struct meta_image *image, int32_t id)
{
    size_t low = 0;
    size_t high = image->brokers_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (image->brokers[middle]->id < id)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

size_t meta_image_topic_lower_bound(const struct meta_image *image, const char *name)
{
    size_t low = 0;
    size_t high = image->topics_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (strcmp(image->topics[middle]->name, name) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

size_t meta_topics_id_lower_bound(const struct meta_image *image, const struct kb_uuid *id)
{
    size_t low = 0;
    size_t high = image->topics_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (kb_uuid_compare(&image->topics_by_id[middle]->id, id) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

size_t meta_configs_lower_bound(const struct meta_configs *configs, const char *name)
{
    size_t at = 0;
    while (at < configs->count && strcmp(configs->entries[at].name, name) < 0)
        at++;
    return at;
}

size_t meta_resources_lower_bound(const struct meta_image *image, int32_t type, const char *name)
{
    size_t low = 0;
    size_t high = image->resources_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const struct meta_resource_configs *r = &image->resources[middle];
        int order = r->type != type ? (r->type < type ? -1 : 1) : strcmp(r->name, name);
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

size_t meta_features_lower_bound(const struct meta_image *image, const char *name)
{
    size_t at = 0;
    while (at < image->features_count && strcmp(image->features[at].name, name) < 0)
        at++;
    return at;
}
