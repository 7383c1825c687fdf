/* What a batch of records changed: collected while replaying, sorted once at its end. */
#include <stdlib.h>
#include <string.h>

#include "coordinator/metadata/image.h"
#include "coordinator/metadata/image_private.h"
#include "proto/base/mem.h"

void meta_delta_add_topic(struct meta_delta *d, const struct meta_topic *t, unsigned changes)
{
    if (d == NULL)
        return;
    kb_array_reserve(d->topics, d->topics_count, d->topics_capacity);
    struct meta_delta_topic *e = &d->topics[d->topics_count++];
    *e = (struct meta_delta_topic){.id = t->id, .changes = changes};
    strncpy(e->name, t->name, sizeof(e->name) - 1);
}

void meta_delta_add_partition(struct meta_delta *d, const struct meta_partition *now,
                              const struct meta_partition *former)
{
    if (d == NULL)
        return;
    kb_array_reserve(d->partitions, d->partitions_count, d->partitions_capacity);
    struct meta_delta_partition *e = &d->partitions[d->partitions_count++];
    *e = (struct meta_delta_partition){
        .topic_id = now->topic->id,
        .index = now->index,
        .created = former == NULL,
        .former_leader = former != NULL ? former->leader : -1,
        .former_epoch = former != NULL ? former->partition_epoch : -1,
    };
    for (size_t i = 0; former != NULL && i < now->replicas_count; i++) {
        if (meta_partition_in_isr(former, now->replicas[i]))
            e->former_isr |= UINT64_C(1) << i;
    }
}

void meta_delta_add_broker(struct meta_delta *d, int32_t id)
{
    if (d == NULL)
        return;
    kb_array_reserve(d->brokers, d->brokers_count, d->brokers_capacity);
    d->brokers[d->brokers_count++] = id;
}

static int topic_order(const void *a, const void *b)
{
    const struct meta_delta_topic *x = a;
    const struct meta_delta_topic *y = b;
    return kb_uuid_compare(&x->id, &y->id);
}

static int partition_order(const void *a, const void *b)
{
    const struct meta_delta_partition *x = a;
    const struct meta_delta_partition *y = b;
    int order = kb_uuid_compare(&x->topic_id, &y->topic_id);
    return order != 0 ? order : (x->index > y->index) - (x->index < y->index);
}

static int id_order(const void *a, const void *b)
{
    int32_t x = *(const int32_t *)a;
    int32_t y = *(const int32_t *)b;
    return (x > y) - (x < y);
}

static void finish_topics(struct meta_delta *d)
{
    if (d->topics_count == 0)
        return;
    qsort(d->topics, d->topics_count, sizeof(d->topics[0]), topic_order);
    size_t kept = 0;
    for (size_t i = 1; i < d->topics_count; i++) {
        if (topic_order(&d->topics[kept], &d->topics[i]) == 0)
            d->topics[kept].changes |= d->topics[i].changes;
        else
            d->topics[++kept] = d->topics[i];
    }
    d->topics_count = kept + 1;
}

/* One change out of two: what was before is the earlier one's. */
static void merge_partition(struct meta_delta_partition *to, const struct meta_delta_partition *d)
{
    bool created = to->created || d->created;
    if (d->former_epoch < to->former_epoch)
        *to = *d;
    to->created = created;
}

static bool topic_removed(const struct meta_delta *d, const struct kb_uuid *id)
{
    struct meta_delta_topic key = {.id = *id};
    if (d->topics_count == 0)
        return false;
    const struct meta_delta_topic *t = bsearch(&key, d->topics, d->topics_count,
                                               sizeof(d->topics[0]), topic_order);
    return t != NULL && (t->changes & META_TOPIC_REMOVED) != 0;
}

static void finish_partitions(struct meta_delta *d)
{
    if (d->partitions_count == 0)
        return;
    qsort(d->partitions, d->partitions_count, sizeof(d->partitions[0]), partition_order);
    size_t kept = 0;
    for (size_t i = 0; i < d->partitions_count; i++) {
        if (topic_removed(d, &d->partitions[i].topic_id))
            continue;
        if (kept > 0 && partition_order(&d->partitions[kept - 1], &d->partitions[i]) == 0)
            merge_partition(&d->partitions[kept - 1], &d->partitions[i]);
        else
            d->partitions[kept++] = d->partitions[i];
    }
    d->partitions_count = kept;
}

void meta_delta_finish(struct meta_delta *d)
{
    finish_topics(d);
    finish_partitions(d);
    if (d->brokers_count == 0)
        return;
    qsort(d->brokers, d->brokers_count, sizeof(d->brokers[0]), id_order);
    size_t kept = 0;
    for (size_t i = 1; i < d->brokers_count; i++) {
        if (d->brokers[i] != d->brokers[kept])
            d->brokers[++kept] = d->brokers[i];
    }
    d->brokers_count = kept + 1;
}

void meta_delta_clear(struct meta_delta *d)
{
    d->topics_count = 0;
    d->partitions_count = 0;
    d->brokers_count = 0;
    d->cluster = d->voters = d->default_configs = d->broker_configs = d->all = false;
}

void meta_delta_release(struct meta_delta *d)
{
    free(d->topics);
    free(d->partitions);
    free(d->brokers);
    *d = (struct meta_delta){0};
}
