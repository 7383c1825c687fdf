/* A snapshot is the shortest list of records that makes the image, in one order, between a header
 * and a footer. Reading is replay, except that epochs and indexes are taken as written.
 *
 *   u32 size | u32 CRC32C of the record | record      (big-endian, repeated) */
#include <string.h>

#include "coordinator/metadata/image.h"
#include "coordinator/metadata/image_private.h"
#include "proto/base/arena.h"
#include "proto/base/crc32c.h"
#include "proto/base/err.h"
#include "proto/base/mem.h"
#include "proto/base/mutant.h"
#include "proto/cluster/unpack.h"

enum {
    SNAPSHOT_FORMAT = 1,
    FRAME_HEAD = 8,
    /* Epochs and flags make them a little larger than in the log. */
    RECORD_BYTES_MAX = 2 * META_RECORD_BYTES_MAX,
    RECORD_ARENA_BYTES = 256 << 20,
};

typedef void emit_fn(void *arg, const Kc__Record *record);

/* ---- live objects as records ------------------------------------------------------------------
 */

void meta_partition_record_fill(struct meta_partition_record *r, const struct meta_partition *p,
                                const struct kb_uuid *topic_id, bool with_directories)
{
    kc__record__init(&r->record);
    kc__partition_record__init(&r->partition);
    r->record.kind_case = KC__RECORD__KIND_PARTITION;
    r->record.partition = &r->partition;
    Kc__PartitionRecord *m = &r->partition;
    m->has_topic_id = 1;
    m->topic_id = kc_uuid_field(topic_id);
    m->has_partition = 1;
    m->partition = p->index;
    m->n_replicas = p->replicas_count;
    m->replicas = p->replicas;
    if (with_directories) {
        for (size_t i = 0; i < p->replicas_count; i++)
            r->directories[i] = kc_uuid_field(&p->directories[i]);
        m->n_directory_ids = p->replicas_count;
        m->directory_ids = r->directories;
    }
    m->has_leader = p->leader >= 0;
    m->leader = p->leader;
    m->has_leader_broker_epoch = p->leader >= 0;
    m->leader_broker_epoch = p->leader_broker_epoch;
    m->has_leader_epoch = 1;
    m->leader_epoch = p->leader_epoch;
    m->has_partition_epoch = 1;
    m->partition_epoch = p->partition_epoch;
    m->n_isr = p->isr_count;
    m->isr = p->isr;
    m->n_elr = p->elr_count;
    m->elr = p->elr;
    m->n_last_known_elr = p->last_known_elr_count;
    m->last_known_elr = p->last_known_elr;
    m->has_last_unclean_epoch = p->last_unclean_epoch >= 0;
    m->last_unclean_epoch = p->last_unclean_epoch;
    m->has_unsynced = p->unsynced;
    m->unsynced = p->unsynced;
}

static Kc__Endpoint **endpoint_fields(struct kb_arena *arena, const struct meta_endpoint *from,
                                      size_t count)
{
    Kc__Endpoint **fields = kb_arena_new_array(arena, Kc__Endpoint *, count);
    for (size_t i = 0; i < count; i++) {
        fields[i] = kb_arena_new(arena, Kc__Endpoint);
        kc__endpoint__init(fields[i]);
        fields[i]->listener = from[i].listener;
        fields[i]->host = from[i].host;
        fields[i]->has_port = 1;
        fields[i]->port = from[i].port;
        fields[i]->has_security_protocol = 1;
        fields[i]->security_protocol = from[i].security_protocol;
    }
    return fields;
}

void meta_broker_record_fill(Kc__BrokerRecord *m, const struct meta_broker *b,
                             struct kb_arena *arena, bool with_state)
{
    kc__broker_record__init(m);
    m->has_broker_id = 1;
    m->broker_id = b->id;
    m->has_incarnation = 1;
    m->incarnation = b->incarnation;
    m->boot_id = b->boot_id;
    m->rack = b->rack;
    m->n_directory_ids = b->directories_count;
    m->directory_ids = kb_arena_new_array(arena, ProtobufCBinaryData, b->directories_count);
    for (size_t i = 0; i < b->directories_count; i++)
        m->directory_ids[i] = kc_uuid_field(&b->directories[i]);
    m->n_endpoints = b->endpoints_count;
    m->endpoints = endpoint_fields(arena, b->endpoints, b->endpoints_count);
    m->n_peer_endpoints = b->peer_endpoints_count;
    m->peer_endpoints = endpoint_fields(arena, b->peer_endpoints, b->peer_endpoints_count);
    m->n_features = b->features_count;
    m->features = kb_arena_new_array(arena, Kc__FeatureRange *, b->features_count);
    for (size_t i = 0; i < b->features_count; i++) {
        m->features[i] = kb_arena_new(arena, Kc__FeatureRange);
        kc__feature_range__init(m->features[i]);
        m->features[i]->name = b->features[i].name;
        m->features[i]->has_level_min = 1;
        m->features[i]->level_min = b->features[i].level_min;
        m->features[i]->has_level_max = 1;
        m->features[i]->level_max = b->features[i].level_max;
    }
    if (with_state) {
        m->has_epoch = 1;
        m->epoch = b->epoch;
        m->has_last_unfenced_epoch = 1;
        m->last_unfenced_epoch = b->last_unfenced_epoch;
        m->has_unfenced = 1;
        m->unfenced = !b->fenced;
        m->has_stopping = 1;
        m->stopping = b->stopping;
        m->has_stalled = b->stalled;
        m->stalled = b->stalled;
    }
}

static void emit_cluster(const struct meta_image *image, struct kb_arena *arena, emit_fn *emit,
                         void *arg)
{
    Kc__Record record = KC__RECORD__INIT;
    if (image->cluster_id != NULL) {
        Kc__ClusterRecord cluster = KC__CLUSTER_RECORD__INIT;
        cluster.cluster_id = image->cluster_id;
        record.kind_case = KC__RECORD__KIND_CLUSTER;
        record.cluster = &cluster;
        emit(arg, &record);
    }
    if (image->voters_count > 0) {
        Kc__VotersRecord set = KC__VOTERS_RECORD__INIT;
        set.n_voters = image->voters_count;
        set.voters = kb_arena_new_array(arena, Kc__Voter *, image->voters_count);
        for (size_t i = 0; i < image->voters_count; i++) {
            Kc__Voter *v = set.voters[i] = kb_arena_new(arena, Kc__Voter);
            kc__voter__init(v);
            v->has_node_id = 1;
            v->node_id = image->voters[i].id;
            v->has_directory_id = 1;
            v->directory_id = kc_uuid_field(&image->voters[i].directory);
            v->host = image->voters[i].host;
            v->has_port = 1;
            v->port = image->voters[i].port;
        }
        set.n_retired = image->retired_count;
        set.retired = kb_arena_new_array(arena, Kc__Voter *, image->retired_count);
        for (size_t i = 0; i < image->retired_count; i++) {
            Kc__Voter *v = set.retired[i] = kb_arena_new(arena, Kc__Voter);
            kc__voter__init(v);
            v->has_node_id = 1;
            v->node_id = image->retired[i].id;
            v->has_directory_id = 1;
            v->directory_id = kc_uuid_field(&image->retired[i].directory);
        }
        record.kind_case = KC__RECORD__KIND_VOTERS;
        record.voters = &set;
        emit(arg, &record);
    }
    if (image->founded) {
        Kc__DefaultsRecord defaults = KC__DEFAULTS_RECORD__INIT;
        defaults.has_voter_count = 1;
        defaults.voter_count = image->founding_voter_count;
        defaults.n_topic_configs = image->founding.count;
        defaults.topic_configs = kb_arena_new_array(arena, Kc__ConfigEntry *,
                                                    image->founding.count);
        for (size_t i = 0; i < image->founding.count; i++) {
            Kc__ConfigEntry *e = defaults.topic_configs[i] = kb_arena_new(arena, Kc__ConfigEntry);
            kc__config_entry__init(e);
            e->name = image->founding.entries[i].name;
            e->value = image->founding.entries[i].value;
        }
        record.kind_case = KC__RECORD__KIND_DEFAULTS;
        record.defaults = &defaults;
        emit(arg, &record);
    }
}

static void emit_features(const struct meta_image *image, emit_fn *emit, void *arg)
{
    for (size_t i = 0; i < image->features_count; i++) {
        Kc__FeatureRecord feature = KC__FEATURE_RECORD__INIT;
        feature.name = image->features[i].name;
        feature.has_level = 1;
        feature.level = image->features[i].level;
        Kc__Record record = KC__RECORD__INIT;
        record.kind_case = KC__RECORD__KIND_FEATURE;
        record.feature = &feature;
        emit(arg, &record);
    }
}

static void emit_configs(const struct meta_configs *configs, int32_t type, const char *resource,
                         emit_fn *emit, void *arg)
{
    for (size_t i = 0; i < configs->count; i++) {
        Kc__ConfigRecord config = KC__CONFIG_RECORD__INIT;
        config.has_resource_type = 1;
        config.resource_type = type;
        config.resource_name = kc_str(resource);
        config.name = configs->entries[i].name;
        config.value = configs->entries[i].value;
        Kc__Record record = KC__RECORD__INIT;
        record.kind_case = KC__RECORD__KIND_CONFIG;
        record.config = &config;
        emit(arg, &record);
    }
}

static void emit_topic(const struct meta_topic *t, emit_fn *emit, void *arg)
{
    Kc__TopicRecord topic = KC__TOPIC_RECORD__INIT;
    topic.has_topic_id = 1;
    topic.topic_id = kc_uuid_field(&t->id);
    topic.name = t->name;
    topic.has_created_index = 1;
    topic.created_index = t->created_index;
    Kc__Record record = KC__RECORD__INIT;
    record.kind_case = KC__RECORD__KIND_TOPIC;
    record.topic = &topic;
    emit(arg, &record);
    for (size_t i = 0; i < t->partitions_count; i++) {
        struct meta_partition_record r;
        meta_partition_record_fill(&r, t->partitions[i], &t->id, true);
        r.partition.has_assigned_index = 1;
        r.partition.assigned_index = t->partitions[i]->assigned_index;
        emit(arg, &r.record);
    }
    emit_configs(&t->configs, META_RESOURCE_TOPIC, t->name, emit, arg);
}

static void emit_all(const struct meta_image *image, emit_fn *emit, void *arg)
{
    struct kb_arena arena;
    kb_arena_init(&arena, RECORD_ARENA_BYTES);
    emit_cluster(image, &arena, emit, arg);
    emit_features(image, emit, arg);
    for (size_t i = 0; i < image->brokers_count; i++) {
        Kc__BrokerRecord broker;
        meta_broker_record_fill(&broker, image->brokers[i], &arena, true);
        Kc__Record record = KC__RECORD__INIT;
        record.kind_case = KC__RECORD__KIND_BROKER;
        record.broker = &broker;
        emit(arg, &record);
        kb_arena_reset(&arena);
    }
    for (size_t i = 0; i < image->topics_count; i++)
        emit_topic(image->topics[i], emit, arg);
    for (size_t i = 0; i < image->resources_count; i++)
        emit_configs(&image->resources[i].configs, image->resources[i].type,
                     image->resources[i].name, emit, arg);
    if (image->next_producer_id > 0 && !KB_MUTANT("snapshot-forgets-producer-ids")) {
        Kc__ProducerIdsRecord ids = KC__PRODUCER_IDS_RECORD__INIT;
        ids.has_next_id = 1;
        ids.next_id = image->next_producer_id;
        Kc__Record record = KC__RECORD__INIT;
        record.kind_case = KC__RECORD__KIND_PRODUCER_IDS;
        record.producer_ids = &ids;
        emit(arg, &record);
    }
    kb_arena_release(&arena);
}

/* ---- writing ----------------------------------------------------------------------------------
 */

struct writer {
    struct kb_buf *out;
    uint64_t count;
};

static void write_record(void *arg, const Kc__Record *record)
{
    struct writer *w = arg;
    uint8_t head[FRAME_HEAD] = {0};
    size_t at = w->out->size;
    kb_buf_append(w->out, head, sizeof(head));
    size_t size = kc_pack(w->out, &record->base);
    uint8_t *frame = w->out->data + at;
    kb_put_be32(frame, (uint32_t)size);
    kb_put_be32(frame + 4, kb_crc32c(0, frame + FRAME_HEAD, size));
    w->count++;
}

void meta_snapshot_write(const struct meta_image *image, struct kb_buf *out)
{
    struct writer w = {.out = out};
    Kc__SnapshotHeader header = KC__SNAPSHOT_HEADER__INIT;
    header.has_format = header.has_last_index = header.has_last_term = header.has_digest = 1;
    header.format = SNAPSHOT_FORMAT;
    header.last_index = image->last_index;
    header.last_term = image->last_term;
    header.digest = image->digest;
    Kc__Record record = KC__RECORD__INIT;
    record.kind_case = KC__RECORD__KIND_SNAPSHOT_HEADER;
    record.snapshot_header = &header;
    write_record(&w, &record);
    emit_all(image, write_record, &w);
    Kc__SnapshotFooter footer = KC__SNAPSHOT_FOOTER__INIT;
    footer.has_record_count = 1;
    footer.record_count = w.count - 1;
    record.kind_case = KC__RECORD__KIND_SNAPSHOT_FOOTER;
    record.snapshot_footer = &footer;
    write_record(&w, &record);
}

struct hasher {
    struct kb_buf scratch;
    uint64_t hash;
};

static void hash_record(void *arg, const Kc__Record *record)
{
    struct hasher *h = arg;
    h->scratch.size = 0;
    (void)kc_pack(&h->scratch, &record->base);
    for (size_t i = 0; i < h->scratch.size; i++)
        h->hash = (h->hash ^ h->scratch.data[i]) * 0x100000001b3ULL;
    h->hash = (h->hash ^ h->scratch.size) * 0x100000001b3ULL;
}

uint64_t meta_image_content_hash(const struct meta_image *image)
{
    struct hasher h = {.hash = 0xcbf29ce484222325ULL};
    emit_all(image, hash_record, &h);
    kb_buf_release(&h.scratch);
    return h.hash;
}

/* ---- reading ----------------------------------------------------------------------------------
 */

struct reader {
    struct kb_view rest;
    struct kb_arena arena;
    const Kc__Record *record; /* the last one read; lives in the arena */
};

static int read_record(struct reader *rd)
{
    ProtobufCMessage *message = NULL;
    kb_arena_reset(&rd->arena);
    if (rd->rest.size < FRAME_HEAD)
        return -KB_ECORRUPT;
    uint32_t size = kb_get_be32(rd->rest.data);
    uint32_t crc = kb_get_be32(rd->rest.data + 4);
    if (size > rd->rest.size - FRAME_HEAD)
        return -KB_ECORRUPT;
    struct kb_view body = kb_view_of(rd->rest.data + FRAME_HEAD, size);
    if (kb_crc32c(0, body.data, body.size) != crc)
        return -KB_ECORRUPT;
    int r = kc_unpack(&kc__record__descriptor, &rd->arena, body, RECORD_BYTES_MAX, &message);
    if (r < 0)
        return r;
    rd->rest = kb_view_of(body.data + size, rd->rest.size - FRAME_HEAD - size);
    rd->record = (const Kc__Record *)message;
    return 0;
}

static int read_header(struct reader *rd, struct meta_image *image)
{
    int r = read_record(rd);
    if (r < 0)
        return r;
    if (rd->record->kind_case != KC__RECORD__KIND_SNAPSHOT_HEADER)
        return -KB_ECORRUPT;
    const Kc__SnapshotHeader *header = rd->record->snapshot_header;
    if (header->format != SNAPSHOT_FORMAT)
        return -KB_EUNSUPPORTED;
    image->last_index = header->last_index;
    image->last_term = header->last_term;
    image->digest = header->digest;
    return 0;
}

static int read_body(struct reader *rd, struct meta_image *image)
{
    for (uint64_t count = 0;; count++) {
        int r = read_record(rd);
        if (r < 0)
            return r;
        if (rd->record->kind_case == KC__RECORD__KIND_SNAPSHOT_FOOTER)
            return rd->record->snapshot_footer->record_count == count && rd->rest.size == 0
                       ? 0
                       : -KB_ECORRUPT;
        r = meta_image_apply_unpacked(image, image->last_index, rd->record, true, NULL);
        if (r < 0)
            return r;
    }
}

int meta_snapshot_read(struct kb_view bytes, struct meta_image **ret)
{
    struct reader rd = {.rest = bytes};
    kb_arena_init(&rd.arena, RECORD_ARENA_BYTES);
    struct meta_image *image = meta_image_new();
    int r = read_header(&rd, image);
    if (r == 0)
        r = read_body(&rd, image);
    kb_arena_release(&rd.arena);
    if (r < 0) {
        (void)meta_image_free(image);
        return r;
    }
    *ret = image;
    return 0;
}
