#ifndef META_IMAGE_H
#define META_IMAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/bytes.h"
#include "proto/base/uuid.h"

/* The cluster image: what all records of the metadata log up to one index say (rule 6.6). It
 * changes only by replay, and replay is a pure function of image and record (6.4). Owned by one
 * thread.
 *
 * Invariants kept by replay, whatever the bytes (a record that breaks them is -KB_ECORRUPT and
 * changes nothing): leader ∈ ISR ⊆ replicas, ELR ⊆ replicas, ISR ∩ ELR = ∅, leader and partition
 * epochs never fall, partition epoch rises with every change, broker epochs and producer ids only
 * rise, topic names and ids are unique (R16, R18).
 *
 * The structs below are read-only for everybody else and valid until the next apply. Orders are
 * fixed: brokers by id, topics by name (bytes), partitions by number, configs by name. Counts fit
 * the limits below. Node id -1 = none. */

enum {
    META_REPLICAS_MAX = 64,
    META_PARTITIONS_MAX = 10000, /* of one topic */
    META_TOPIC_NAME_MAX = 249,
    META_RECORD_BYTES_MAX = 1 << 20,
    META_BATCH_BYTES_MAX = 8 << 20, /* rule 6.5 */
};

struct meta_endpoint {
    char *listener; /* "" for peer endpoints */
    char *host;
    uint16_t port;
    int16_t security_protocol; /* Kafka's: 0 PLAINTEXT … */
};
struct meta_feature {
    char *name;
    int16_t level_min;
    int16_t level_max;
};
struct meta_broker {
    int32_t id;
    uint64_t epoch;               /* index of this registration */
    uint64_t last_unfenced_epoch; /* 0 = never unfenced (in the directories it now has) */
    uint64_t incarnation;
    char *boot_id; /* "" unknown */
    char *rack;    /* NULL = none */
    struct kb_uuid *directories;
    size_t directories_count;
    struct meta_endpoint *endpoints; /* for clients */
    size_t endpoints_count;
    struct meta_endpoint *peer_endpoints;
    size_t peer_endpoints_count;
    struct meta_feature *features;
    size_t features_count;
    bool fenced;
    bool stopping;
    bool stalled; /* its disk does not sync (9.4) */
};

struct meta_topic;
struct meta_partition {
    const struct meta_topic *topic;
    int32_t index;
    int32_t leader;               /* -1 = none */
    uint64_t leader_broker_epoch; /* 0 when there is none */
    int32_t leader_epoch;
    int32_t partition_epoch;
    int32_t last_unclean_epoch; /* leader epoch of the last unclean election, -1 = never */
    bool unsynced; /* turned strong; counts as weak in 4.4 until its members have synced */
    uint64_t assigned_index;     /* of the record that set the replicas */
    int32_t *replicas;           /* preferred order */
    struct kb_uuid *directories; /* per replica */
    size_t replicas_count;
    int32_t *isr; /* in the order of replicas */
    size_t isr_count;
    int32_t *elr;
    size_t elr_count;
    int32_t *last_known_elr; /* eligible members that lost it (4.4) while nobody was left (4.6) */
    size_t last_known_elr_count;
};
struct meta_config_entry {
    char *name;
    char *value;
};
struct meta_configs {
    struct meta_config_entry *entries; /* by name */
    size_t count;
    size_t capacity;
};
struct meta_topic {
    struct kb_uuid id;
    char *name;
    uint64_t created_index;
    struct meta_partition **partitions;
    size_t partitions_count;
    size_t partitions_capacity;
    struct meta_configs configs; /* set on the topic */
};
struct meta_voter {
    int32_t id;
    struct kb_uuid directory;
    char *host; /* NULL: a retired one */
    uint16_t port;
};
#define META_RETIRED_MAX 64 /* older ones are forgotten */

/* Kafka's config resource types. */
enum meta_resource { META_RESOURCE_TOPIC = 2, META_RESOURCE_BROKER = 4, META_RESOURCE_GROUP = 32 };

struct meta_image;

struct meta_image *meta_image_new(void);
/* NULL accepted; returns NULL. */
struct meta_image *meta_image_free(struct meta_image *image);
/* A deep copy that shares nothing (rule 6.2; also for writing a snapshot in a job). */
struct meta_image *meta_image_clone(const struct meta_image *image);

/* ---- replay ---------------------------------------------------------------------------------- */

/* What some applied records changed, so that a node can react once per batch. Sets are sorted and
 * without duplicates after meta_delta_finish. Zero-initialise to start. */
enum meta_topic_change {
    META_TOPIC_CREATED = 1,
    META_TOPIC_REMOVED = 2,
    META_TOPIC_CONFIG = 4,
};
struct meta_delta_topic {
    struct kb_uuid id;
    char name[META_TOPIC_NAME_MAX + 1];
    unsigned changes; /* enum meta_topic_change; 0 = only partitions changed */
};
struct meta_delta_partition {
    struct kb_uuid topic_id;
    int32_t index;
    bool created;
    /* What the image said before; of a created one nothing. */
    int32_t former_leader; /* -1 = none */
    int32_t former_epoch;  /* of the partition; -1 = created */
    uint64_t former_isr;   /* bit i: replicas[i] of its record was in the ISR */
};
struct meta_delta {
    struct meta_delta_topic *topics;
    size_t topics_count;
    size_t topics_capacity;
    struct meta_delta_partition *partitions; /* created or changed; of removed topics none */
    size_t partitions_count;
    size_t partitions_capacity;
    int32_t *brokers; /* registered, changed or removed: looks the broker up */
    size_t brokers_count;
    size_t brokers_capacity;
    bool cluster;         /* the cluster id was set */
    bool voters;          /* the voter set changed */
    bool default_configs; /* founding or cluster-wide dynamic defaults: every topic is concerned */
    bool broker_configs;  /* dynamic configs of a broker or of groups */
    bool all;             /* a snapshot replaced the image: everything may differ */
};
void meta_delta_finish(struct meta_delta *delta);
void meta_delta_clear(struct meta_delta *delta);
void meta_delta_release(struct meta_delta *delta);

/* Replay one record. index is one above the last applied one; term does not fall. delta may be
 * NULL; it grows. Records of one batch are applied one after the other, and the image may be looked
 * at only after the last of them (rule 6.5).
 * 0; -KB_ECORRUPT, -KB_ETOOBIG or -KB_EUNSUPPORTED (a kind this build does not know) and image and
 * delta are as before: such a node must not go on. */
int meta_image_apply(struct meta_image *image, uint64_t index, uint64_t term, struct kb_view record,
                     struct meta_delta *delta);
/* Index and term of the last applied record; 0 = none. */
uint64_t meta_image_last_index(const struct meta_image *image);
uint64_t meta_image_last_term(const struct meta_image *image);
/* Chain over all applied (index, term, record): equal on all nodes at equal index (R6). */
uint64_t meta_image_digest(const struct meta_image *image);
/* Hash of the content, whatever way led to it (R10). Walks everything. */
uint64_t meta_image_content_hash(const struct meta_image *image);

/* ---- snapshots -------------------------------------------------------------------------------
 * A stream of records: { u32 size, u32 CRC32C of the record, record }, big-endian; the first is the
 * header with the last (index, term) and the digest, the last the footer with the count. Equal
 * images give equal bytes. */
void meta_snapshot_write(const struct meta_image *image, struct kb_buf *out);
/* 0, -KB_ECORRUPT, -KB_ETOOBIG or -KB_EUNSUPPORTED. */
int meta_snapshot_read(struct kb_view bytes, struct meta_image **ret);

/* ---- looking things up ------------------------------------------------------------------------
 */

const char *meta_image_cluster_id(const struct meta_image *image); /* NULL before founding */
size_t meta_image_voters(const struct meta_image *image, const struct meta_voter **ret);
/* Directories that were voters and were replaced (rule 11.3), oldest first. */
size_t meta_image_retired(const struct meta_image *image, const struct meta_voter **ret);
/* Voters at founding (rule 11.5); 0 before it. */
int32_t meta_image_founding_voter_count(const struct meta_image *image);
/* Topic-level defaults fixed at founding (rule 3.2). */
const struct meta_configs *meta_image_founding_configs(const struct meta_image *image);
/* Dynamic configs of a resource that is no topic; NULL when it has none. Broker "" = all brokers.
 */
const struct meta_configs *meta_image_resource_configs(const struct meta_image *image,
                                                       enum meta_resource type, const char *name);
int64_t meta_image_next_producer_id(const struct meta_image *image);
/* Finalized level, 0 = not finalized. */
int16_t meta_image_feature_level(const struct meta_image *image, const char *name);
size_t meta_image_features_count(const struct meta_image *image);
/* The i-th finalized feature in name order; i < count. */
const char *meta_image_feature_at(const struct meta_image *image, size_t i, int16_t *ret_level);

size_t meta_image_brokers_count(const struct meta_image *image);
const struct meta_broker *meta_image_broker_at(const struct meta_image *image, size_t i);
const struct meta_broker *meta_image_broker(const struct meta_image *image, int32_t id);

size_t meta_image_topics_count(const struct meta_image *image);
size_t meta_image_partitions_count(const struct meta_image *image); /* over all topics */
const struct meta_topic *meta_image_topic_at(const struct meta_image *image, size_t i);
const struct meta_topic *meta_image_topic(const struct meta_image *image, const char *name);
/* Position of the first topic whose name is >= name (for paged answers). */
size_t meta_image_topic_lower_bound(const struct meta_image *image, const char *name);
const struct meta_topic *meta_image_topic_by_id(const struct meta_image *image,
                                                const struct kb_uuid *id);
/* NULL when topic is NULL or has no such partition. */
const struct meta_partition *meta_topic_partition(const struct meta_topic *topic, int32_t index);
const struct meta_partition *meta_image_partition(const struct meta_image *image,
                                                  const struct kb_uuid *topic_id, int32_t index);

/* NULL when not set. */
const char *meta_configs_get(const struct meta_configs *configs, const char *name);

/* Membership in a list of node ids. */
bool meta_ids_contain(const int32_t *ids, size_t count, int32_t id);
/* Position of a broker in the replicas, -1 = none. */
int meta_partition_replica(const struct meta_partition *p, int32_t broker_id);
static inline bool meta_partition_in_isr(const struct meta_partition *p, int32_t broker_id)
{
    return meta_ids_contain(p->isr, p->isr_count, broker_id);
}
static inline bool meta_partition_in_elr(const struct meta_partition *p, int32_t broker_id)
{
    return meta_ids_contain(p->elr, p->elr_count, broker_id);
}
/* The broker is registered and not fenced. */
bool meta_image_broker_live(const struct meta_image *image, int32_t id);
/* The client endpoint with this listener name, NULL = none. */
const struct meta_endpoint *meta_broker_endpoint(const struct meta_broker *b, const char *listener);

/* Kafka's rules for topic names: 0, or -KB_EINVAL and a static sentence in *ret_why (may be NULL).
 */
int meta_topic_name_check(const char *name, size_t size, const char **ret_why);
/* __consumer_offsets, __transaction_state, __share_group_state. */
bool meta_topic_name_internal(const char *name);

#endif
