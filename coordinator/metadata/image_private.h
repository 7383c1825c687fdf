#ifndef META_IMAGE_PRIVATE_H
#define META_IMAGE_PRIVATE_H

#include "coordinator/metadata/image.h"
#include "proto/base/arena.h"
#include "proto/cluster/metadata.pb-c.h"

/* What image.c, apply.c and snapshot.c share: the containers. Arrays are sorted by their key, so
 * that every walk has one order on all nodes (rule 6.4). */

struct meta_resource_configs {
    int32_t type;
    char *name;
    struct meta_configs configs;
};
struct meta_feature_level {
    char *name;
    int16_t level;
};
struct meta_image {
    uint64_t last_index;
    uint64_t last_term;
    uint64_t digest;
    char *cluster_id; /* NULL before founding */
    struct meta_voter *voters;
    size_t voters_count;
    struct meta_voter *retired;
    size_t retired_count;
    bool founded; /* the defaults were written */
    int32_t founding_voter_count;
    struct meta_configs founding;
    struct meta_broker **brokers; /* by id */
    size_t brokers_count;
    size_t brokers_capacity;
    struct meta_topic **topics; /* by name */
    struct meta_topic **topics_by_id;
    size_t topics_count;
    size_t topics_capacity;
    size_t topics_by_id_capacity;
    size_t partitions_count;
    struct meta_resource_configs *resources; /* by type, name */
    size_t resources_count;
    size_t resources_capacity;
    struct meta_feature_level *features; /* by name */
    size_t features_count;
    size_t features_capacity;
    int64_t next_producer_id;
};

/* Position of the first element >= key. */
size_t meta_brokers_lower_bound(const struct meta_image *image, int32_t id);
size_t meta_topics_id_lower_bound(const struct meta_image *image, const struct kb_uuid *id);
size_t meta_configs_lower_bound(const struct meta_configs *configs, const char *name);
size_t meta_resources_lower_bound(const struct meta_image *image, int32_t type, const char *name);
size_t meta_features_lower_bound(const struct meta_image *image, const char *name);

/* One heap block that holds the struct and copies of all its arrays. */
struct meta_partition *meta_partition_pack(const struct meta_partition *spec);
struct meta_broker *meta_broker_copy(const struct meta_broker *from);
struct meta_broker *meta_broker_free(struct meta_broker *b);
struct meta_topic *meta_topic_free(struct meta_topic *t);
/* value NULL removes. */
void meta_configs_set(struct meta_configs *configs, const char *name, const char *value);
void meta_configs_copy(struct meta_configs *to, const struct meta_configs *from);
void meta_configs_release(struct meta_configs *configs);
void meta_voters_release(struct meta_voter *voters, size_t count);

/* Makes room in a sorted array at `at`; the slot is uninitialised. */
#define meta_array_insert(array, at, count, capacity)                                              \
    (kb_array_reserve((array), (count), (capacity)),                                               \
     memmove(&(array)[(at) + 1], &(array)[at], ((count) - (at)) * sizeof((array)[0])),             \
     (void)(count)++)
#define meta_array_remove(array, at, count)                                                        \
    ((count)--,                                                                                    \
     (void)memmove(&(array)[at], &(array)[(at) + 1], ((count) - (at)) * sizeof((array)[0])))

/* Replay of an unpacked record. snapshot: explicit epochs and indexes are taken as they are. */
int meta_image_apply_unpacked(struct meta_image *image, uint64_t index, const Kc__Record *record,
                              bool snapshot, struct meta_delta *delta);

/* delta.c */
void meta_delta_add_topic(struct meta_delta *d, const struct meta_topic *t, unsigned changes);
/* former: before the change; NULL = created. */
void meta_delta_add_partition(struct meta_delta *d, const struct meta_partition *now,
                              const struct meta_partition *former);
void meta_delta_add_broker(struct meta_delta *d, int32_t id);

/* snapshot.c: pack a live object as the record that makes it. The structs borrow. */
struct meta_partition_record {
    Kc__Record record;
    Kc__PartitionRecord partition;
    ProtobufCBinaryData directories[META_REPLICAS_MAX];
};
void meta_partition_record_fill(struct meta_partition_record *r, const struct meta_partition *p,
                                const struct kb_uuid *topic_id, bool with_directories);
/* Arrays come from the arena; with_state: epochs and flags too (snapshots, a living incarnation).
 */
void meta_broker_record_fill(Kc__BrokerRecord *m, const struct meta_broker *b,
                             struct kb_arena *arena, bool with_state);

#endif
