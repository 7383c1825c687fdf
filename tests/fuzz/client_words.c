#include "tests/fuzz/client_words.h"

#include <string.h>

#include "proto/base/assert.h"
#include "proto/kafka/api.h"
#include "proto/kafka/batch.h"
#include "proto/kafka/messages_table.h"

enum {
    ARENA_BYTES = 1 << 20,
    ELEMENTS_MAX = 3,
    WORD_BYTES_MAX = 300,
    RECORDS_MAX = 6,
    MEMBER_ID_BYTES = 38, /* "f-" and a UUID with dashes */
};

struct words {
    struct words_input *in;
    struct words_handles *h;
    struct kb_arena arena;
    int16_t version;
};

uint8_t words_byte(struct words_input *in)
{
    if (in->size == 0)
        return 0;
    in->size--;
    return *in->data++;
}

struct kb_view words_bytes(struct words_input *in)
{
    size_t size = (size_t)words_byte(in) << 8;
    size |= words_byte(in);
    size = size < in->size ? size : in->size;
    struct kb_view v = kb_view_of(in->data, size);
    in->data += size;
    in->size -= size;
    return v;
}

/* ---- values ---- */

static uint8_t pick(struct words *w, size_t count)
{
    return (uint8_t)(words_byte(w->in) % count);
}

static bool flag(struct words *w)
{
    return (words_byte(w->in) & 1) != 0;
}

/* Any number, small ones and the ends of the types more often than others. */
static int64_t number(struct words *w)
{
    static const int64_t ends[] = {-1,        INT16_MAX, INT16_MIN, INT32_MAX,     INT32_MIN,
                                   INT64_MAX, INT64_MIN, -2,        INT64_MAX - 1, 1000000};
    uint8_t b = words_byte(w->in);
    int64_t v = 0;
    if (b < 0xc0)
        return b;
    if (b < 0xf0)
        return ends[b % (sizeof(ends) / sizeof(ends[0]))];
    for (int i = 0; i < 8; i++)
        v = (int64_t)((uint64_t)v << 8 | words_byte(w->in));
    return v;
}

static int32_t number32(struct words *w)
{
    return (int32_t)number(w);
}

/* A wait, short more often than not. */
static int32_t timeout(struct words *w)
{
    static const int32_t usual[] = {0, 100, 500, 1000, 3000, 6000};
    uint8_t b = words_byte(w->in);
    return b < 0xf0 ? usual[b % 6] : number32(w);
}

/* Sizes 0xf0 and up: text from the input itself. */
static struct kw_str text(struct words *w, const char *const *usual, size_t count)
{
    uint8_t b = words_byte(w->in);
    if (b < 0xf0)
        return kw_str_of(usual[b % count]);
    size_t size = b < 0xff ? (size_t)(b - 0xf0) : WORD_BYTES_MAX;
    size = size < w->in->size ? size : w->in->size;
    struct kw_str s = {(const char *)w->in->data, (int32_t)size};
    w->in->data += size;
    w->in->size -= size;
    return s;
}
#define TEXT(w, ...)                                                                               \
    text(w, (const char *const[]){__VA_ARGS__},                                                    \
         sizeof((const char *const[]){__VA_ARGS__}) / sizeof(const char *))

static struct kw_str topic(struct words *w)
{
    return TEXT(w, "t", "u", "t", "new", "__consumer_offsets", "", "a/b", "__cluster_metadata", ".",
                "t");
}

static struct kw_str group(struct words *w)
{
    return TEXT(w, "g", "g", "h", "", "g");
}

static struct kw_str member(struct words *w)
{
    uint8_t b = words_byte(w->in);
    if (b < 0xc0)
        return kw_str_of(w->h->members[b % WORDS_MEMBERS]);
    return b < 0xe0 ? KW_STR("") : TEXT(w, "stranger", "");
}

static struct kw_str instance(struct words *w)
{
    return TEXT(w, NULL, NULL, NULL, "one", "two", "");
}

static struct kb_uuid topic_id(struct words *w)
{
    struct kb_uuid id = {{0}};
    uint8_t b = words_byte(w->in);
    if (b < 0xf0)
        return w->h->topic_ids[b % WORDS_TOPIC_IDS];
    memset(id.bytes, b & 1 ? b : 0, sizeof(id.bytes));
    return id;
}

static int32_t partition(struct words *w)
{
    uint8_t b = words_byte(w->in);
    return b < 0xe0 ? b % 3 : number32(w);
}

static int32_t epoch(struct words *w)
{
    uint8_t b = words_byte(w->in);
    if (b < 0x60)
        return -1;
    return b < 0xc0 ? w->h->leader_epoch : number32(w);
}

static int32_t generation(struct words *w)
{
    uint8_t b = words_byte(w->in);
    if (b < 0xa0)
        return w->h->generation;
    return b < 0xc0 ? -1 : number32(w);
}

static int64_t offset(struct words *w)
{
    uint8_t b = words_byte(w->in);
    if (b < 0x40)
        return 0;
    return b < 0x60 ? w->h->end_offset : number(w);
}

/* count elements of an array, zeroed; -1 (null) is one of the choices when it may be. */
static void *array(struct words *w, size_t element_size, bool nullable, int32_t *ret_count)
{
    uint8_t b = words_byte(w->in);
    *ret_count = b < 0xff ? 1 : nullable ? -1 : 0;
    if (b == 0xff)
        return NULL;
    if (b >= 0xa0)
        *ret_count = b % (ELEMENTS_MAX + 1);
    return kb_arena_calloc(&w->arena, (size_t)*ret_count + 1, element_size);
}
#define ARRAY(w, field, nullable)                                                                  \
    (field = array(w, sizeof(*(field)), nullable, &field##_count), field##_count)
#define EACH(w, i, field, nullable)                                                                \
    for (int32_t i = 0, i##_end = ARRAY(w, field, nullable); i < i##_end; i++)

static struct kw_bytes blob(struct words *w)
{
    struct kb_view v = words_bytes(w->in);
    return kw_bytes_of(v.data, v.size);
}

/* ---- data ---- */

static struct kw_bytes keep(struct words *w, const void *data, size_t size)
{
    return kw_bytes_of(kb_arena_memdup(&w->arena, data, size), size);
}

/* A batch with right CRC, of this producer or of none; now and then something is wrong inside. */
static struct kw_bytes batch(struct words *w)
{
    struct kw_batch_builder b;
    struct kb_block *block = NULL;
    uint8_t shape = words_byte(w->in);
    int count = 1 + pick(w, RECORDS_MAX);
    kw_batch_builder_init(&b);
    b.codec = shape % KW_CODEC_COUNT;
    if ((shape & 0x08) != 0) {
        b.producer_id = w->h->producer_id;
        b.producer_epoch = w->h->producer_epoch;
        b.base_sequence = w->h->sequence;
        w->h->sequence += count;
    }
    if ((shape & 0x70) == 0x70) {
        b.base_sequence = number32(w);
        b.producer_epoch = (int16_t)number(w);
        b.attributes = (int16_t)(words_byte(w->in) & 0xf0);
        b.base_offset = number(w);
        b.leader_epoch = number32(w);
    }
    for (int i = 0; i < count; i++) {
        struct kw_bytes value = (shape & 0x80) != 0 ? blob(w) : kw_bytes_of("value", 5);
        struct kw_bytes key = i % 2 == 0 ? kw_bytes_of(NULL, 0) : kw_bytes_of("key", 3);
        int64_t timestamp = (shape & 0x40) != 0 ? number(w) : 1000;
        if (kw_batch_builder_add(&b, timestamp, key, value) < 0)
            break;
    }
    struct kw_bytes bytes = {NULL, 0};
    if (kw_batch_builder_finish(&b, &block) == 0) {
        bytes = keep(w, block->data, block->size);
        (void)kb_block_unref(block);
    }
    kw_batch_builder_release(&b);
    return bytes;
}

static struct kw_bytes damaged(struct words *w, struct kw_bytes b)
{
    uint8_t *data = (uint8_t *)(uintptr_t)b.data;
    struct kw_batch parsed;
    size_t at = words_byte(w->in) % ((size_t)b.size + 1);
    if (at == (size_t)b.size)
        return b;
    data[at] = words_byte(w->in);
    if (kw_batch_parse(b.data, (size_t)b.size, &parsed) == KW_BATCH_WHOLE && flag(w)) {
        kw_batch_set_max_timestamp(data, parsed.size, false, parsed.max_timestamp ^ 1);
        kw_batch_set_max_timestamp(data, parsed.size, false, parsed.max_timestamp);
    }
    return b;
}

static struct kw_bytes records(struct words *w)
{
    uint8_t b = words_byte(w->in);
    if (b >= 0xf0)
        return blob(w);
    struct kw_bytes one = batch(w);
    return b >= 0xc0 && one.size > 0 ? damaged(w, one) : one;
}

static void produce(struct words *w, void *message)
{
    static const int16_t acks[] = {-1, 1, -1, 0, 2, -1};
    struct kw_produce_request *m = message;
    m->transactional_id = TEXT(w, NULL, NULL, NULL, "tx");
    m->acks = acks[pick(w, 6)];
    m->timeout_ms = timeout(w);
    EACH(w, i, m->topic_data, false)
    {
        m->topic_data[i].name = topic(w);
        m->topic_data[i].topic_id = topic_id(w);
        EACH(w, k, m->topic_data[i].partition_data, false)
        {
            m->topic_data[i].partition_data[k].index = partition(w);
            m->topic_data[i].partition_data[k].records = records(w);
        }
    }
}

static void fetch_partition(struct words *w, struct kw_fetch_request_partition *p)
{
    p->partition = partition(w);
    p->current_leader_epoch = epoch(w);
    p->fetch_offset = offset(w);
    p->last_fetched_epoch = epoch(w);
    p->log_start_offset = -1;
    p->partition_max_bytes = flag(w) ? 1 << 20 : number32(w);
}

static void fetch(struct words *w, void *message)
{
    struct kw_fetch_request *m = message;
    bool session = flag(w);
    m->max_wait_ms = timeout(w);
    m->min_bytes = flag(w) ? 1 : number32(w);
    m->max_bytes = flag(w) ? 1 << 20 : number32(w);
    m->isolation_level = (int8_t)pick(w, 3);
    m->session_id = session ? w->h->session_id : 0;
    m->session_epoch = session ? w->h->session_epoch : pick(w, 2) - 1;
    EACH(w, i, m->topics, false)
    {
        m->topics[i].topic = topic(w);
        m->topics[i].topic_id = topic_id(w);
        EACH(w, k, m->topics[i].partitions, false)
        fetch_partition(w, &m->topics[i].partitions[k]);
    }
    if (session && flag(w)) {
        EACH(w, i, m->forgotten_topics_data, false)
        {
            m->forgotten_topics_data[i].topic = topic(w);
            m->forgotten_topics_data[i].topic_id = topic_id(w);
            EACH(w, k, m->forgotten_topics_data[i].partitions, false)
            m->forgotten_topics_data[i].partitions[k] = partition(w);
        }
    }
    m->rack_id = TEXT(w, "", "rack");
}

static void list_offsets(struct words *w, void *message)
{
    struct kw_list_offsets_request *m = message;
    m->replica_id = -1;
    m->isolation_level = (int8_t)pick(w, 3);
    m->timeout_ms = timeout(w);
    EACH(w, i, m->topics, false)
    {
        m->topics[i].name = topic(w);
        EACH(w, k, m->topics[i].partitions, false)
        {
            m->topics[i].partitions[k].partition_index = partition(w);
            m->topics[i].partitions[k].current_leader_epoch = epoch(w);
            m->topics[i].partitions[k].timestamp = flag(w) ? -1 - pick(w, 6) : number(w);
        }
    }
}

static void metadata(struct words *w, void *message)
{
    struct kw_metadata_request *m = message;
    m->allow_auto_topic_creation = flag(w);
    m->include_topic_authorized_operations = flag(w);
    EACH(w, i, m->topics, true)
    {
        m->topics[i].name = topic(w);
        m->topics[i].topic_id = topic_id(w);
        if (m->topics[i].name.size == 0)
            m->topics[i].name = kw_str_null();
    }
}

static void epochs(struct words *w, void *message)
{
    struct kw_offset_for_leader_epoch_request *m = message;
    EACH(w, i, m->topics, false)
    {
        m->topics[i].topic = topic(w);
        EACH(w, k, m->topics[i].partitions, false)
        {
            m->topics[i].partitions[k].partition = partition(w);
            m->topics[i].partitions[k].current_leader_epoch = epoch(w);
            m->topics[i].partitions[k].leader_epoch = epoch(w);
        }
    }
}

static void init_producer(struct words *w, void *message)
{
    struct kw_init_producer_id_request *m = message;
    bool again = flag(w);
    m->transactional_id = TEXT(w, NULL, NULL, NULL, "", "tx");
    m->transaction_timeout_ms = timeout(w);
    m->producer_id = again ? w->h->producer_id : -1;
    m->producer_epoch = again ? w->h->producer_epoch : -1;
}

static void api_versions(struct words *w, void *message)
{
    struct kw_api_versions_request *m = message;
    m->client_software_name = TEXT(w, "fuzz", "", "-");
    m->client_software_version = TEXT(w, "1", "", " ");
}

/* ---- groups ---- */

/* What a consumer says of itself: a subscription, or anything. */
static struct kw_bytes subscription(struct words *w)
{
    static const uint8_t usual[] = {0, 0, 0, 0, 0, 1, 0, 1, 't', 0xff, 0xff, 0xff, 0xff};
    return words_byte(w->in) < 0xc0 ? kw_bytes_of(usual, sizeof(usual)) : blob(w);
}

static void join(struct words *w, void *message)
{
    struct kw_join_group_request *m = message;
    m->group_id = group(w);
    m->session_timeout_ms = flag(w) ? 6000 : number32(w);
    m->rebalance_timeout_ms = timeout(w);
    m->member_id = flag(w) ? KW_STR("") : member(w);
    m->group_instance_id = instance(w);
    m->protocol_type = TEXT(w, "consumer", "consumer", "connect", "");
    m->reason = TEXT(w, NULL, "why");
    EACH(w, i, m->protocols, false)
    {
        m->protocols[i].name = TEXT(w, "range", "range", "roundrobin", "");
        m->protocols[i].metadata = subscription(w);
    }
}

static void sync(struct words *w, void *message)
{
    struct kw_sync_group_request *m = message;
    m->group_id = group(w);
    m->generation_id = generation(w);
    m->member_id = member(w);
    m->group_instance_id = instance(w);
    m->protocol_type = TEXT(w, "consumer", NULL, "connect");
    m->protocol_name = TEXT(w, "range", NULL, "roundrobin");
    EACH(w, i, m->assignments, false)
    {
        m->assignments[i].member_id = member(w);
        m->assignments[i].assignment = blob(w);
    }
}

static void heartbeat(struct words *w, void *message)
{
    struct kw_heartbeat_request *m = message;
    m->group_id = group(w);
    m->generation_id = generation(w);
    m->member_id = member(w);
    m->group_instance_id = instance(w);
}

static void leave(struct words *w, void *message)
{
    struct kw_leave_group_request *m = message;
    m->group_id = group(w);
    m->member_id = member(w);
    EACH(w, i, m->members, false)
    {
        m->members[i].member_id = member(w);
        m->members[i].group_instance_id = instance(w);
    }
}

static void commit(struct words *w, void *message)
{
    struct kw_offset_commit_request *m = message;
    bool simple = flag(w);
    m->group_id = group(w);
    m->generation_id_or_member_epoch = simple ? -1 : generation(w);
    m->member_id = simple ? KW_STR("") : member(w);
    m->group_instance_id = instance(w);
    m->retention_time_ms = flag(w) ? -1 : number(w);
    EACH(w, i, m->topics, false)
    {
        m->topics[i].name = topic(w);
        m->topics[i].topic_id = topic_id(w);
        EACH(w, k, m->topics[i].partitions, false)
        {
            m->topics[i].partitions[k].partition_index = partition(w);
            m->topics[i].partitions[k].committed_offset = offset(w);
            m->topics[i].partitions[k].committed_leader_epoch = epoch(w);
            m->topics[i].partitions[k].committed_metadata = TEXT(w, "", NULL, "meta");
        }
    }
}

static void fetch_offsets(struct words *w, void *message)
{
    struct kw_offset_fetch_request *m = message;
    m->require_stable = flag(w);
    m->group_id = group(w);
    EACH(w, i, m->topics, w->version >= 2)
    {
        m->topics[i].name = topic(w);
        EACH(w, k, m->topics[i].partition_indexes, false)
        m->topics[i].partition_indexes[k] = partition(w);
    }
    EACH(w, i, m->groups, false)
    {
        struct kw_offset_fetch_request_group *g = &m->groups[i];
        g->group_id = group(w);
        g->member_epoch = -1;
        EACH(w, k, g->topics, true)
        {
            g->topics[k].name = topic(w);
            g->topics[k].topic_id = topic_id(w);
            EACH(w, p, g->topics[k].partition_indexes, false)
            g->topics[k].partition_indexes[p] = partition(w);
        }
    }
}

static void delete_offsets(struct words *w, void *message)
{
    struct kw_offset_delete_request *m = message;
    m->group_id = group(w);
    EACH(w, i, m->topics, false)
    {
        m->topics[i].name = topic(w);
        EACH(w, k, m->topics[i].partitions, false)
        m->topics[i].partitions[k].partition_index = partition(w);
    }
}

static void describe_groups(struct words *w, void *message)
{
    struct kw_describe_groups_request *m = message;
    m->include_authorized_operations = flag(w);
    EACH(w, i, m->groups, false)
    m->groups[i] = group(w);
}

static void list_groups(struct words *w, void *message)
{
    struct kw_list_groups_request *m = message;
    EACH(w, i, m->states_filter, false)
    m->states_filter[i] = TEXT(w, "Stable", "Empty", "Dead", "no");
    EACH(w, i, m->types_filter, false)
    m->types_filter[i] = TEXT(w, "classic", "consumer", "");
}

static void delete_groups(struct words *w, void *message)
{
    struct kw_delete_groups_request *m = message;
    EACH(w, i, m->groups_names, false)
    m->groups_names[i] = group(w);
}

static void find_coordinator(struct words *w, void *message)
{
    struct kw_find_coordinator_request *m = message;
    m->key = group(w);
    m->key_type = (int8_t)(flag(w) ? 0 : number32(w));
    EACH(w, i, m->coordinator_keys, false)
    m->coordinator_keys[i] = group(w);
}

/* ---- administration ---- */

static struct kw_str config_name(struct words *w)
{
    return TEXT(w, "cleanup.policy", "retention.ms", "segment.bytes", "max.message.bytes",
                "min.insync.replicas", "compression.type", "message.timestamp.type",
                "flush.messages", "retention.bytes", "delete.retention.ms", "no.such.config", "",
                "min.cleanable.dirty.ratio", "segment.ms", "index.interval.bytes",
                "message.timestamp.before.max.ms", "unclean.leader.election.enable");
}

static struct kw_str config_value(struct words *w)
{
    return TEXT(w, "1", "compact", "delete", "compact,delete", "-1", NULL, "", "1048576", "zstd",
                "LogAppendTime", "gzip", "uncompressed", "9223372036854775807", "0.5", "1000",
                "lz4", "snappy", "producer", "true", "9999999999999999999999");
}

static void create_topics(struct words *w, void *message)
{
    struct kw_create_topics_request *m = message;
    m->timeout_ms = timeout(w);
    m->validate_only = flag(w);
    EACH(w, i, m->topics, false)
    {
        struct kw_create_topics_request_topic *t = &m->topics[i];
        bool assigned = words_byte(w->in) >= 0xc0;
        t->name = topic(w);
        t->num_partitions = assigned ? -1 : flag(w) ? 1 : number32(w);
        t->replication_factor = (int16_t)(assigned ? -1 : flag(w) ? 1 : number(w));
        if (assigned) {
            EACH(w, k, t->assignments, false)
            {
                t->assignments[k].partition_index = partition(w);
                EACH(w, b, t->assignments[k].broker_ids, false)
                t->assignments[k].broker_ids[b] = flag(w) ? 1 : number32(w);
            }
        }
        EACH(w, k, t->configs, false)
        {
            t->configs[k].name = config_name(w);
            t->configs[k].value = config_value(w);
        }
    }
}

static void delete_topics(struct words *w, void *message)
{
    struct kw_delete_topics_request *m = message;
    m->timeout_ms = timeout(w);
    EACH(w, i, m->topics, false)
    {
        bool by_id = flag(w);
        m->topics[i].name = by_id ? kw_str_null() : topic(w);
        m->topics[i].topic_id = by_id ? topic_id(w) : (struct kb_uuid){{0}};
    }
    EACH(w, i, m->topic_names, false)
    m->topic_names[i] = topic(w);
}

static void create_partitions(struct words *w, void *message)
{
    struct kw_create_partitions_request *m = message;
    m->timeout_ms = timeout(w);
    m->validate_only = flag(w);
    EACH(w, i, m->topics, false)
    {
        m->topics[i].name = topic(w);
        m->topics[i].count = number32(w);
        m->topics[i].assignments_count = -1;
        if (flag(w))
            continue;
        EACH(w, k, m->topics[i].assignments, true)
        {
            EACH(w, b, m->topics[i].assignments[k].broker_ids, false)
            m->topics[i].assignments[k].broker_ids[b] = flag(w) ? 1 : number32(w);
        }
    }
}

static void delete_records(struct words *w, void *message)
{
    struct kw_delete_records_request *m = message;
    m->timeout_ms = timeout(w);
    EACH(w, i, m->topics, false)
    {
        m->topics[i].name = topic(w);
        EACH(w, k, m->topics[i].partitions, false)
        {
            m->topics[i].partitions[k].partition_index = partition(w);
            m->topics[i].partitions[k].offset = offset(w);
        }
    }
}

static void elect(struct words *w, void *message)
{
    struct kw_elect_leaders_request *m = message;
    m->election_type = (int8_t)pick(w, 3);
    m->timeout_ms = timeout(w);
    EACH(w, i, m->topic_partitions, true)
    {
        m->topic_partitions[i].topic = topic(w);
        EACH(w, k, m->topic_partitions[i].partitions, false)
        m->topic_partitions[i].partitions[k] = partition(w);
    }
}

static int8_t resource_type(struct words *w)
{
    static const int8_t usual[] = {2, 2, 4, 2, 8, 32, 0, -1};
    return usual[pick(w, 8)];
}

static struct kw_str resource(struct words *w)
{
    return TEXT(w, "t", "u", "1", "", "no", "new", "__consumer_offsets");
}

static void describe_configs(struct words *w, void *message)
{
    struct kw_describe_configs_request *m = message;
    m->include_synonyms = flag(w);
    m->include_documentation = flag(w);
    EACH(w, i, m->resources, false)
    {
        m->resources[i].resource_type = resource_type(w);
        m->resources[i].resource_name = resource(w);
        EACH(w, k, m->resources[i].configuration_keys, true)
        m->resources[i].configuration_keys[k] = config_name(w);
    }
}

static void alter_configs(struct words *w, void *message)
{
    struct kw_alter_configs_request *m = message;
    m->validate_only = flag(w);
    EACH(w, i, m->resources, false)
    {
        m->resources[i].resource_type = resource_type(w);
        m->resources[i].resource_name = resource(w);
        EACH(w, k, m->resources[i].configs, false)
        {
            m->resources[i].configs[k].name = config_name(w);
            m->resources[i].configs[k].value = config_value(w);
        }
    }
}

static void incremental_configs(struct words *w, void *message)
{
    struct kw_incremental_alter_configs_request *m = message;
    m->validate_only = flag(w);
    EACH(w, i, m->resources, false)
    {
        m->resources[i].resource_type = resource_type(w);
        m->resources[i].resource_name = resource(w);
        EACH(w, k, m->resources[i].configs, false)
        {
            m->resources[i].configs[k].name = config_name(w);
            m->resources[i].configs[k].config_operation = (int8_t)(pick(w, 5) - 0);
            m->resources[i].configs[k].value = config_value(w);
        }
    }
}

static void describe_cluster(struct words *w, void *message)
{
    struct kw_describe_cluster_request *m = message;
    m->include_cluster_authorized_operations = flag(w);
    m->endpoint_type = w->version >= 1 ? (int8_t)pick(w, 4) : 1;
    m->include_fenced_brokers = w->version >= 2 && flag(w);
}

static void describe_quorum(struct words *w, void *message)
{
    struct kw_describe_quorum_request *m = message;
    EACH(w, i, m->topics, false)
    {
        m->topics[i].topic_name = TEXT(w, "__cluster_metadata", "t", "");
        EACH(w, k, m->topics[i].partitions, false)
        m->topics[i].partitions[k].partition_index = partition(w);
    }
}

static void describe_topic_partitions(struct words *w, void *message)
{
    struct kw_describe_topic_partitions_request *m = message;
    EACH(w, i, m->topics, false)
    m->topics[i].name = topic(w);
    m->response_partition_limit = flag(w) ? 2000 : number32(w);
    if (!flag(w))
        return;
    m->cursor = kb_arena_new(&w->arena, struct kw_describe_topic_partitions_request_cursor);
    m->cursor->topic_name = topic(w);
    m->cursor->partition_index = partition(w);
}

/* ---- all of them ---- */

static const struct {
    int16_t key;
    void (*fill)(struct words *w, void *message);
} words_table[] = {
    {KW_API_PRODUCE, produce},
    {KW_API_FETCH, fetch},
    {KW_API_LIST_OFFSETS, list_offsets},
    {KW_API_METADATA, metadata},
    {KW_API_OFFSET_COMMIT, commit},
    {KW_API_OFFSET_FETCH, fetch_offsets},
    {KW_API_FIND_COORDINATOR, find_coordinator},
    {KW_API_JOIN_GROUP, join},
    {KW_API_HEARTBEAT, heartbeat},
    {KW_API_LEAVE_GROUP, leave},
    {KW_API_SYNC_GROUP, sync},
    {KW_API_DESCRIBE_GROUPS, describe_groups},
    {KW_API_LIST_GROUPS, list_groups},
    {KW_API_API_VERSIONS, api_versions},
    {KW_API_CREATE_TOPICS, create_topics},
    {KW_API_DELETE_TOPICS, delete_topics},
    {KW_API_DELETE_RECORDS, delete_records},
    {KW_API_INIT_PRODUCER_ID, init_producer},
    {KW_API_OFFSET_FOR_LEADER_EPOCH, epochs},
    {KW_API_DESCRIBE_CONFIGS, describe_configs},
    {KW_API_ALTER_CONFIGS, alter_configs},
    {KW_API_CREATE_PARTITIONS, create_partitions},
    {KW_API_DELETE_GROUPS, delete_groups},
    {KW_API_ELECT_LEADERS, elect},
    {KW_API_INCREMENTAL_ALTER_CONFIGS, incremental_configs},
    {KW_API_OFFSET_DELETE, delete_offsets},
    {KW_API_DESCRIBE_QUORUM, describe_quorum},
    {KW_API_DESCRIBE_CLUSTER, describe_cluster},
    {KW_API_DESCRIBE_TOPIC_PARTITIONS, describe_topic_partitions},
};

static const struct kw_message *request_of(int16_t key)
{
    size_t count = 0;
    const struct kw_message *table = kw_message_table(&count);
    for (size_t i = 0; i < count; i++) {
        if (table[i].api_key == key && table[i].kind == KW_MESSAGE_REQUEST)
            return &table[i];
    }
    return NULL;
}

bool words_request(struct words_input *in, struct words_handles *h, int32_t correlation_id,
                   struct kb_buf *ret)
{
    struct words w = {.in = in, .h = h};
    struct kb_chain chain = {0};
    struct kw_writer out;
    size_t index = words_byte(in) % (sizeof(words_table) / sizeof(words_table[0]));
    const struct kw_message *type = request_of(words_table[index].key);
    KB_ASSERT(type != NULL);
    int versions = type->version_max - type->version_min + 1;
    w.version = (int16_t)(type->version_max - words_byte(in) % versions);
    kb_arena_init(&w.arena, ARENA_BYTES);
    void *m = kb_arena_alloc(&w.arena, type->size);
    type->init(m);
    words_table[index].fill(&w, m);
    const struct kw_request_header header = {words_table[index].key, w.version, correlation_id,
                                             KW_STR("f")};
    kw_writer_init(&out, &chain);
    kw_request_header_write(&out, &header);
    type->write(&out, w.version, m);
    int r = kw_writer_finish(&out);
    for (size_t i = 0; r == 0 && i < chain.count; i++)
        kb_buf_append(ret, chain.slices[i].block->data + chain.slices[i].position,
                      chain.slices[i].size);
    kb_chain_release(&chain);
    kb_arena_release(&w.arena);
    return r == 0;
}

static void put(uint8_t *data, size_t size, const char *mark, const void *value, size_t n)
{
    uint8_t *at = NULL;
    while (size >= n && (at = memmem(data, size, mark, n)) != NULL) {
        memcpy(at, value, n);
        size -= (size_t)(at + n - data);
        data = at + n;
    }
}

void words_put_handles(const struct words_handles *h, uint8_t *data, size_t size)
{
    uint8_t be[8];
    put(data, size, "TTTTTTTTTTTTTTTT", h->topic_ids[0].bytes, sizeof(h->topic_ids[0].bytes));
    if (strlen(h->members[0]) == MEMBER_ID_BYTES)
        put(data, size, "MMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMM", h->members[0], MEMBER_ID_BYTES);
    kb_put_be64(be, (uint64_t)h->producer_id);
    put(data, size, "PPPPPPPP", be, 8);
    kb_put_be32(be, (uint32_t)h->generation);
    put(data, size, "GGGG", be, 4);
    kb_put_be32(be, (uint32_t)h->leader_epoch);
    put(data, size, "EEEE", be, 4);
}
