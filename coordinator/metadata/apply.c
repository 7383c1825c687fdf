/* Replay: a record is checked completely, then applied. What is checked here is checked again where
 * it is written (the controller asserts nothing less); a record from disk or from the leader that
 * fails is corruption, never a reason to abort half-way. */
#include <stdlib.h>
#include <string.h>

#include "coordinator/metadata/image.h"
#include "coordinator/metadata/image_private.h"
#include "proto/base/arena.h"
#include "proto/base/err.h"
#include "proto/base/mem.h"
#include "proto/cluster/unpack.h"

enum {
    RECORD_ARENA_BYTES = 64 << 20, /* unpacked, unknown fields included */
    TEXT_MAX = 32767,              /* Kafka's longest string */
    LIST_MAX = 1024,               /* endpoints, features, voters, directories */
};

/* ---- cluster, voters, defaults ----------------------------------------------------------------
 */

static bool text_ok(const char *s)
{
    return s != NULL && strlen(s) <= TEXT_MAX;
}

static int apply_cluster(struct meta_image *image, const Kc__ClusterRecord *r,
                         struct meta_delta *delta)
{
    if (!text_ok(r->cluster_id) || r->cluster_id[0] == '\0')
        return -KB_ECORRUPT;
    if (image->cluster_id != NULL)
        return strcmp(image->cluster_id, r->cluster_id) == 0 ? 0 : -KB_ECORRUPT;
    image->cluster_id = kb_strdup(r->cluster_id);
    if (delta != NULL)
        delta->cluster = true;
    return 0;
}

static int check_voter(const Kc__VotersRecord *r, size_t i)
{
    struct kb_uuid directory;
    const Kc__Voter *v = r->voters[i];
    if (!v->has_node_id || v->node_id < 0 || !text_ok(v->host) || !v->has_port || v->port > 65535)
        return -KB_ECORRUPT;
    for (size_t k = 0; k < i; k++) {
        if (r->voters[k]->node_id == v->node_id)
            return -KB_ECORRUPT;
    }
    return kc_uuid_get(v->has_directory_id, &v->directory_id, &directory);
}

static int check_voters(const Kc__VotersRecord *r)
{
    struct kb_uuid directory;
    if (r->n_voters == 0 || r->n_voters > LIST_MAX || r->n_retired > META_RETIRED_MAX)
        return -KB_ECORRUPT;
    for (size_t i = 0; i < r->n_voters; i++) {
        int result = check_voter(r, i);
        if (result < 0)
            return result;
    }
    for (size_t i = 0; i < r->n_retired; i++) {
        const Kc__Voter *v = r->retired[i];
        if (!v->has_node_id || v->node_id < 0 ||
            kc_uuid_get(v->has_directory_id, &v->directory_id, &directory) < 0)
            return -KB_ECORRUPT;
    }
    return 0;
}

static void apply_retired(struct meta_image *image, const Kc__VotersRecord *r)
{
    meta_voters_release(image->retired, image->retired_count);
    image->retired = kb_new_array(struct meta_voter, r->n_retired);
    image->retired_count = r->n_retired;
    for (size_t i = 0; i < r->n_retired; i++) {
        const Kc__Voter *v = r->retired[i];
        image->retired[i].id = v->node_id;
        (void)kc_uuid_get(v->has_directory_id, &v->directory_id, &image->retired[i].directory);
    }
}

static int apply_voters(struct meta_image *image, const Kc__VotersRecord *r,
                        struct meta_delta *delta)
{
    int result = check_voters(r);
    if (result < 0)
        return result;
    apply_retired(image, r);
    meta_voters_release(image->voters, image->voters_count);
    image->voters = kb_new_array(struct meta_voter, r->n_voters);
    image->voters_count = r->n_voters;
    for (size_t i = 0; i < r->n_voters; i++) {
        const Kc__Voter *v = r->voters[i];
        image->voters[i].id = v->node_id;
        (void)kc_uuid_get(v->has_directory_id, &v->directory_id, &image->voters[i].directory);
        image->voters[i].host = kb_strdup(v->host);
        image->voters[i].port = (uint16_t)v->port;
    }
    if (delta != NULL)
        delta->voters = true;
    return 0;
}

static int apply_defaults(struct meta_image *image, const Kc__DefaultsRecord *r,
                          struct meta_delta *delta)
{
    if (image->founded || !r->has_voter_count || r->voter_count < 1 ||
        r->n_topic_configs > LIST_MAX)
        return -KB_ECORRUPT;
    for (size_t i = 0; i < r->n_topic_configs; i++) {
        if (!text_ok(r->topic_configs[i]->name) || !text_ok(r->topic_configs[i]->value))
            return -KB_ECORRUPT;
    }
    for (size_t i = 0; i < r->n_topic_configs; i++)
        meta_configs_set(&image->founding, r->topic_configs[i]->name, r->topic_configs[i]->value);
    image->founded = true;
    image->founding_voter_count = r->voter_count;
    if (delta != NULL)
        delta->default_configs = true;
    return 0;
}

/* ---- brokers ------------------------------------------------------------------------------------
 */

static int check_endpoints(Kc__Endpoint **endpoints, size_t count)
{
    if (count > LIST_MAX)
        return -KB_ECORRUPT;
    for (size_t i = 0; i < count; i++) {
        const Kc__Endpoint *e = endpoints[i];
        if (!text_ok(e->host) || !e->has_port || e->port > 65535)
            return -KB_ECORRUPT;
        if (e->listener != NULL && !text_ok(e->listener))
            return -KB_ECORRUPT;
    }
    return 0;
}

static int check_broker(const Kc__BrokerRecord *r)
{
    struct kb_uuid directory;
    if (!r->has_broker_id || r->broker_id < 0 || !r->has_incarnation ||
        r->n_directory_ids > LIST_MAX || r->n_directory_ids == 0 || r->n_features > LIST_MAX ||
        (r->rack != NULL && !text_ok(r->rack)) || (r->boot_id != NULL && !text_ok(r->boot_id)) ||
        check_endpoints(r->endpoints, r->n_endpoints) < 0 ||
        check_endpoints(r->peer_endpoints, r->n_peer_endpoints) < 0)
        return -KB_ECORRUPT;
    for (size_t i = 0; i < r->n_features; i++) {
        if (!text_ok(r->features[i]->name))
            return -KB_ECORRUPT;
    }
    for (size_t i = 0; i < r->n_directory_ids; i++) {
        if (kc_uuid_get(true, &r->directory_ids[i], &directory) < 0)
            return -KB_ECORRUPT;
    }
    return 0;
}

static struct meta_endpoint *take_endpoints(struct kb_arena *arena, Kc__Endpoint **from,
                                            size_t count)
{
    struct meta_endpoint *to = kb_arena_new_array(arena, struct meta_endpoint, count);
    for (size_t i = 0; to != NULL && i < count; i++) {
        to[i].listener = from[i]->listener != NULL ? from[i]->listener : kc_str("");
        to[i].host = from[i]->host;
        to[i].port = (uint16_t)from[i]->port;
        to[i].security_protocol = (int16_t)from[i]->security_protocol;
    }
    return to;
}

/* A broker that borrows from the record and the arena. */
static int take_broker(struct kb_arena *arena, const Kc__BrokerRecord *r, struct meta_broker *ret)
{
    *ret = (struct meta_broker){
        .id = r->broker_id,
        .incarnation = r->incarnation,
        .boot_id = r->boot_id != NULL ? r->boot_id : kc_str(""),
        .rack = r->rack,
        .directories_count = r->n_directory_ids,
        .endpoints_count = r->n_endpoints,
        .peer_endpoints_count = r->n_peer_endpoints,
        .features_count = r->n_features,
        .last_unfenced_epoch = r->last_unfenced_epoch,
        .fenced = !r->unfenced,
        .stopping = r->stopping,
        .stalled = r->stalled,
    };
    ret->directories = kb_arena_new_array(arena, struct kb_uuid, r->n_directory_ids);
    ret->endpoints = take_endpoints(arena, r->endpoints, r->n_endpoints);
    ret->peer_endpoints = take_endpoints(arena, r->peer_endpoints, r->n_peer_endpoints);
    ret->features = kb_arena_new_array(arena, struct meta_feature, r->n_features);
    if (arena->failed)
        return -KB_ENOMEM;
    for (size_t i = 0; i < r->n_directory_ids; i++)
        (void)kc_uuid_get(true, &r->directory_ids[i], &ret->directories[i]);
    for (size_t i = 0; i < r->n_features; i++) {
        ret->features[i].name = r->features[i]->name;
        ret->features[i].level_min = (int16_t)r->features[i]->level_min;
        ret->features[i].level_max = (int16_t)r->features[i]->level_max;
    }
    return 0;
}

static int apply_broker(struct meta_image *image, uint64_t index, const Kc__BrokerRecord *r,
                        struct meta_delta *delta)
{
    struct kb_arena arena;
    struct meta_broker spec;
    if (check_broker(r) < 0)
        return -KB_ECORRUPT;
    size_t at = meta_brokers_lower_bound(image, r->broker_id);
    struct meta_broker *old = at < image->brokers_count && image->brokers[at]->id == r->broker_id
                                  ? image->brokers[at]
                                  : NULL;
    uint64_t epoch = r->has_epoch ? r->epoch : index;
    if (epoch == 0 || epoch > index || (old != NULL && epoch < old->epoch))
        return -KB_ECORRUPT;
    kb_arena_init(&arena, RECORD_ARENA_BYTES);
    int result = take_broker(&arena, r, &spec);
    if (result == 0) {
        spec.epoch = epoch;
        if (!r->has_last_unfenced_epoch && old != NULL)
            spec.last_unfenced_epoch = old->last_unfenced_epoch;
        if (old == NULL)
            /* NOLINTNEXTLINE(bugprone-sizeof-expression): an array of pointers */
            meta_array_insert(image->brokers, at, image->brokers_count, image->brokers_capacity);
        image->brokers[at] = meta_broker_copy(&spec);
        (void)meta_broker_free(old);
        meta_delta_add_broker(delta, r->broker_id);
    }
    kb_arena_release(&arena);
    return result;
}

/* The registered broker with exactly this epoch. */
static struct meta_broker *broker_at_epoch(struct meta_image *image, bool has_id, int32_t id,
                                           bool has_epoch, uint64_t epoch, size_t *ret_at)
{
    size_t at = meta_brokers_lower_bound(image, id);
    if (!has_id || !has_epoch || at == image->brokers_count || image->brokers[at]->id != id ||
        image->brokers[at]->epoch != epoch)
        return NULL;
    *ret_at = at;
    return image->brokers[at];
}

static int apply_broker_change(struct meta_image *image, const Kc__BrokerChangeRecord *r,
                               struct meta_delta *delta)
{
    size_t at = 0;
    struct meta_broker *b = broker_at_epoch(image, r->has_broker_id, r->broker_id,
                                            r->has_broker_epoch, r->broker_epoch, &at);
    if (b == NULL)
        return -KB_ECORRUPT;
    if (r->has_fenced) {
        b->fenced = r->fenced;
        if (!r->fenced)
            b->last_unfenced_epoch = b->epoch;
    }
    if (r->has_stopping)
        b->stopping = r->stopping;
    if (r->has_stalled)
        b->stalled = r->stalled;
    meta_delta_add_broker(delta, b->id);
    return 0;
}

static int apply_broker_remove(struct meta_image *image, const Kc__BrokerRemoveRecord *r,
                               struct meta_delta *delta)
{
    size_t at = 0;
    struct meta_broker *b = broker_at_epoch(image, r->has_broker_id, r->broker_id,
                                            r->has_broker_epoch, r->broker_epoch, &at);
    if (b == NULL)
        return -KB_ECORRUPT;
    meta_delta_add_broker(delta, b->id);
    (void)meta_broker_free(b);
    /* NOLINTNEXTLINE(bugprone-sizeof-expression): an array of pointers */
    meta_array_remove(image->brokers, at, image->brokers_count);
    return 0;
}

/* ---- topics -----------------------------------------------------------------------------------
 */

static int apply_topic(struct meta_image *image, uint64_t index, const Kc__TopicRecord *r,
                       bool snapshot, struct meta_delta *delta)
{
    struct kb_uuid id;
    if (kc_uuid_get(r->has_topic_id, &r->topic_id, &id) < 0 || kb_uuid_is_zero(&id) ||
        r->name == NULL || meta_topic_name_check(r->name, strlen(r->name), NULL) < 0)
        return -KB_ECORRUPT;
    size_t at = meta_image_topic_lower_bound(image, r->name);
    size_t at_id = meta_topics_id_lower_bound(image, &id);
    if ((at < image->topics_count && strcmp(image->topics[at]->name, r->name) == 0) ||
        (at_id < image->topics_count && kb_uuid_equal(&image->topics_by_id[at_id]->id, &id)))
        return -KB_ECORRUPT;
    struct meta_topic *t = kb_new(struct meta_topic);
    t->id = id;
    t->name = kb_strdup(r->name);
    t->created_index = snapshot ? r->created_index : index;
    size_t count = image->topics_count;
    /* NOLINTNEXTLINE(bugprone-sizeof-expression): an array of pointers */
    meta_array_insert(image->topics_by_id, at_id, count, image->topics_by_id_capacity);
    image->topics_by_id[at_id] = t;
    /* NOLINTNEXTLINE(bugprone-sizeof-expression): an array of pointers */
    meta_array_insert(image->topics, at, image->topics_count, image->topics_capacity);
    image->topics[at] = t;
    meta_delta_add_topic(delta, t, META_TOPIC_CREATED);
    return 0;
}

static int apply_topic_remove(struct meta_image *image, const Kc__TopicRemoveRecord *r,
                              struct meta_delta *delta)
{
    struct kb_uuid id;
    if (kc_uuid_get(r->has_topic_id, &r->topic_id, &id) < 0)
        return -KB_ECORRUPT;
    size_t at_id = meta_topics_id_lower_bound(image, &id);
    if (at_id == image->topics_count || !kb_uuid_equal(&image->topics_by_id[at_id]->id, &id))
        return -KB_ECORRUPT;
    struct meta_topic *t = image->topics_by_id[at_id];
    size_t at = meta_image_topic_lower_bound(image, t->name);
    size_t count = image->topics_count;
    /* NOLINTNEXTLINE(bugprone-sizeof-expression): an array of pointers */
    meta_array_remove(image->topics_by_id, at_id, count);
    /* NOLINTNEXTLINE(bugprone-sizeof-expression): an array of pointers */
    meta_array_remove(image->topics, at, image->topics_count);
    image->partitions_count -= t->partitions_count;
    meta_delta_add_topic(delta, t, META_TOPIC_REMOVED);
    (void)meta_topic_free(t);
    return 0;
}

/* ---- partitions -------------------------------------------------------------------------------
 */

/* Each id once, each a replica. */
static bool ids_within(const int32_t *ids, size_t count, const Kc__PartitionRecord *r)
{
    for (size_t i = 0; i < count; i++) {
        if (!meta_ids_contain(r->replicas, r->n_replicas, ids[i]) ||
            meta_ids_contain(ids, i, ids[i]))
            return false;
    }
    return true;
}

/* R16 within one record. */
static bool partition_consistent(const Kc__PartitionRecord *r)
{
    bool has_leader = r->has_leader && r->leader >= 0;
    if (!r->has_partition || r->partition < 0 || r->n_replicas == 0 ||
        r->n_replicas > META_REPLICAS_MAX ||
        (r->n_directory_ids != 0 && r->n_directory_ids != r->n_replicas))
        return false;
    for (size_t i = 0; i < r->n_replicas; i++) {
        if (r->replicas[i] < 0 || meta_ids_contain(r->replicas, i, r->replicas[i]))
            return false;
    }
    if (!ids_within(r->isr, r->n_isr, r) || !ids_within(r->elr, r->n_elr, r) ||
        !ids_within(r->last_known_elr, r->n_last_known_elr, r))
        return false;
    for (size_t i = 0; i < r->n_elr; i++) {
        if (meta_ids_contain(r->isr, r->n_isr, r->elr[i]))
            return false;
    }
    if (has_leader && !meta_ids_contain(r->isr, r->n_isr, r->leader))
        return false;
    return has_leader == (r->leader_broker_epoch != 0) && r->leader_epoch >= 0 &&
           r->partition_epoch >= 0 && r->last_unclean_epoch <= r->leader_epoch;
}

static bool same_replicas(const struct meta_partition *p, const Kc__PartitionRecord *r)
{
    return p->replicas_count == r->n_replicas &&
           memcmp(p->replicas, r->replicas, r->n_replicas * sizeof(int32_t)) == 0;
}

/* R16 from one record to the next, rule 1.1. */
static bool partition_follows(const struct meta_partition *old, const Kc__PartitionRecord *r)
{
    int32_t leader = r->has_leader ? r->leader : -1;
    bool moved = leader != old->leader || r->leader_broker_epoch != old->leader_broker_epoch;
    return r->partition_epoch > old->partition_epoch && r->leader_epoch >= old->leader_epoch &&
           (!moved || r->leader_epoch > old->leader_epoch) &&
           (r->has_last_unclean_epoch ? r->last_unclean_epoch : -1) >= old->last_unclean_epoch;
}

static int take_directories(const Kc__PartitionRecord *r, const struct meta_partition *old,
                            struct kb_uuid directories[META_REPLICAS_MAX])
{
    if (r->n_directory_ids == 0) {
        if (old == NULL || !same_replicas(old, r))
            return -KB_ECORRUPT;
        memcpy(directories, old->directories, r->n_replicas * sizeof(struct kb_uuid));
        return 0;
    }
    for (size_t i = 0; i < r->n_directory_ids; i++) {
        if (kc_uuid_get(true, &r->directory_ids[i], &directories[i]) < 0)
            return -KB_ECORRUPT;
    }
    return 0;
}

static int apply_partition(struct meta_image *image, uint64_t index, const Kc__PartitionRecord *r,
                           bool snapshot, struct meta_delta *delta)
{
    struct kb_uuid id;
    struct kb_uuid directories[META_REPLICAS_MAX];
    if (kc_uuid_get(r->has_topic_id, &r->topic_id, &id) < 0 || !partition_consistent(r))
        return -KB_ECORRUPT;
    struct meta_topic *t = (struct meta_topic *)meta_image_topic_by_id(image, &id);
    if (t == NULL || (size_t)r->partition > t->partitions_count ||
        r->partition >= META_PARTITIONS_MAX)
        return -KB_ECORRUPT;
    struct meta_partition *old = (size_t)r->partition < t->partitions_count
                                     ? t->partitions[r->partition]
                                     : NULL;
    if ((old != NULL && !partition_follows(old, r)) || take_directories(r, old, directories) < 0)
        return -KB_ECORRUPT;
    struct meta_partition spec = {
        .topic = t,
        .index = r->partition,
        .leader = r->has_leader && r->leader >= 0 ? r->leader : -1,
        .leader_broker_epoch = r->leader_broker_epoch,
        .leader_epoch = r->leader_epoch,
        .partition_epoch = r->partition_epoch,
        .last_unclean_epoch = r->has_last_unclean_epoch ? r->last_unclean_epoch : -1,
        .unsynced = r->unsynced,
        .assigned_index = old != NULL && same_replicas(old, r) ? old->assigned_index : index,
        .replicas = r->replicas,
        .directories = directories,
        .replicas_count = r->n_replicas,
        .isr = r->isr,
        .isr_count = r->n_isr,
        .elr = r->elr,
        .elr_count = r->n_elr,
        .last_known_elr = r->last_known_elr,
        .last_known_elr_count = r->n_last_known_elr,
    };
    if (snapshot)
        spec.assigned_index = r->assigned_index;
    if (old == NULL) {
        /* NOLINTNEXTLINE(bugprone-sizeof-expression): an array of pointers */
        kb_array_reserve(t->partitions, t->partitions_count, t->partitions_capacity);
        t->partitions_count++;
        image->partitions_count++;
    }
    t->partitions[r->partition] = meta_partition_pack(&spec);
    meta_delta_add_partition(delta, t->partitions[r->partition], old);
    free(old);
    return 0;
}

/* ---- configs, ids, features
 * ----------------------------------------------------------------------
 */

static int apply_config(struct meta_image *image, const Kc__ConfigRecord *r,
                        struct meta_delta *delta)
{
    if (!r->has_resource_type || !text_ok(r->resource_name) || !text_ok(r->name) ||
        (r->value != NULL && !text_ok(r->value)))
        return -KB_ECORRUPT;
    if (r->resource_type == META_RESOURCE_TOPIC) {
        struct meta_topic *t = (struct meta_topic *)meta_image_topic(image, r->resource_name);
        if (t == NULL)
            return -KB_ECORRUPT;
        meta_configs_set(&t->configs, r->name, r->value);
        meta_delta_add_topic(delta, t, META_TOPIC_CONFIG);
        return 0;
    }
    size_t at = meta_resources_lower_bound(image, r->resource_type, r->resource_name);
    bool there = at < image->resources_count && image->resources[at].type == r->resource_type &&
                 strcmp(image->resources[at].name, r->resource_name) == 0;
    if (!there) {
        meta_array_insert(image->resources, at, image->resources_count, image->resources_capacity);
        image->resources[at] = (struct meta_resource_configs){.type = r->resource_type,
                                                              .name = kb_strdup(r->resource_name)};
    }
    meta_configs_set(&image->resources[at].configs, r->name, r->value);
    if (image->resources[at].configs.count == 0) {
        free(image->resources[at].name);
        meta_configs_release(&image->resources[at].configs);
        meta_array_remove(image->resources, at, image->resources_count);
    }
    if (delta != NULL) {
        bool all = r->resource_type == META_RESOURCE_BROKER && r->resource_name[0] == '\0';
        delta->default_configs |= all;
        delta->broker_configs |= !all;
    }
    return 0;
}

static int apply_producer_ids(struct meta_image *image, const Kc__ProducerIdsRecord *r)
{
    if (!r->has_next_id || r->next_id <= image->next_producer_id)
        return -KB_ECORRUPT;
    image->next_producer_id = r->next_id;
    return 0;
}

static int apply_feature(struct meta_image *image, const Kc__FeatureRecord *r)
{
    if (!text_ok(r->name) || !r->has_level || r->level < 0 || r->level > INT16_MAX)
        return -KB_ECORRUPT;
    size_t at = meta_features_lower_bound(image, r->name);
    bool there = at < image->features_count && strcmp(image->features[at].name, r->name) == 0;
    if (there && r->level == 0) {
        free(image->features[at].name);
        meta_array_remove(image->features, at, image->features_count);
    } else if (there) {
        image->features[at].level = (int16_t)r->level;
    } else if (r->level != 0) {
        meta_array_insert(image->features, at, image->features_count, image->features_capacity);
        image->features[at] = (struct meta_feature_level){.name = kb_strdup(r->name),
                                                          .level = (int16_t)r->level};
    }
    return 0;
}

/* ---- the record --------------------------------------------------------------------------------
 */

int meta_image_apply_unpacked(struct meta_image *image, uint64_t index, const Kc__Record *record,
                              bool snapshot, struct meta_delta *delta)
{
    switch (record->kind_case) {
    case KC__RECORD__KIND_NO_OP:
        return 0;
    case KC__RECORD__KIND_CLUSTER:
        return apply_cluster(image, record->cluster, delta);
    case KC__RECORD__KIND_VOTERS:
        return apply_voters(image, record->voters, delta);
    case KC__RECORD__KIND_DEFAULTS:
        return apply_defaults(image, record->defaults, delta);
    case KC__RECORD__KIND_BROKER:
        return apply_broker(image, index, record->broker, delta);
    case KC__RECORD__KIND_BROKER_CHANGE:
        return apply_broker_change(image, record->broker_change, delta);
    case KC__RECORD__KIND_BROKER_REMOVE:
        return apply_broker_remove(image, record->broker_remove, delta);
    case KC__RECORD__KIND_TOPIC:
        return apply_topic(image, index, record->topic, snapshot, delta);
    case KC__RECORD__KIND_TOPIC_REMOVE:
        return apply_topic_remove(image, record->topic_remove, delta);
    case KC__RECORD__KIND_PARTITION:
        return apply_partition(image, index, record->partition, snapshot, delta);
    case KC__RECORD__KIND_CONFIG:
        return apply_config(image, record->config, delta);
    case KC__RECORD__KIND_PRODUCER_IDS:
        return apply_producer_ids(image, record->producer_ids);
    case KC__RECORD__KIND_FEATURE:
        return apply_feature(image, record->feature);
    default:
        /* Set by a newer build, or a snapshot's frame inside the log. */
        return -KB_EUNSUPPORTED;
    }
}

static uint64_t mix(uint64_t h)
{
    h ^= h >> 33;
    h *= 0xff51afd7ed558ccdULL;
    h ^= h >> 33;
    h *= 0xc4ceb9fe1a85ec53ULL;
    return h ^ h >> 33;
}

static uint64_t digest_next(uint64_t digest, uint64_t index, uint64_t term, struct kb_view record)
{
    uint64_t h = 0xcbf29ce484222325ULL; /* FNV-1a */
    for (size_t i = 0; i < record.size; i++)
        h = (h ^ record.data[i]) * 0x100000001b3ULL;
    return mix(mix(mix(digest ^ h) ^ index) ^ term);
}

int meta_image_apply(struct meta_image *image, uint64_t index, uint64_t term, struct kb_view record,
                     struct meta_delta *delta)
{
    struct kb_arena arena;
    ProtobufCMessage *message = NULL;
    if (index != image->last_index + 1 || term < image->last_term)
        return -KB_ECORRUPT;
    kb_arena_init(&arena, RECORD_ARENA_BYTES);
    int r = kc_unpack(&kc__record__descriptor, &arena, record, META_RECORD_BYTES_MAX, &message);
    if (r == 0)
        r = meta_image_apply_unpacked(image, index, (const Kc__Record *)message, false, delta);
    kb_arena_release(&arena);
    if (r < 0)
        return r;
    image->last_index = index;
    image->last_term = term;
    image->digest = digest_next(image->digest, index, term, record);
    return 0;
}
