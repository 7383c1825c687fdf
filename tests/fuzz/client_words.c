#include "tests/fuzz/client_words_private.h"

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

uint8_t words_pick(struct words *w, size_t count)
{
    return (uint8_t)(words_byte(w->in) % count);
}

bool words_flag(struct words *w)
{
    return (words_byte(w->in) & 1) != 0;
}

/* Any number, small ones and the ends of the types more often than others. */
int64_t words_number(struct words *w)
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

int32_t words_number32(struct words *w)
{
    return (int32_t)words_number(w);
}

/* A wait, short more often than not. */
int32_t words_timeout(struct words *w)
{
    static const int32_t usual[] = {0, 100, 500, 1000, 3000, 6000};
    uint8_t b = words_byte(w->in);
    return b < 0xf0 ? usual[b % 6] : words_number32(w);
}

/* Sizes 0xf0 and up: text from the input itself. */
struct kw_str words_text(struct words *w, const char *const *usual, size_t count)
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

struct kw_str words_topic(struct words *w)
{
    return TEXT(w, "t", "u", "t", "new", "__consumer_offsets", "", "a/b", "__cluster_metadata", ".",
                "t");
}

struct kw_str words_group(struct words *w)
{
    return TEXT(w, "g", "g", "h", "", "g");
}

struct kw_str words_member(struct words *w)
{
    uint8_t b = words_byte(w->in);
    if (b < 0xc0)
        return kw_str_of(w->h->members[b % WORDS_MEMBERS]);
    return b < 0xe0 ? KW_STR("") : TEXT(w, "stranger", "");
}

struct kw_str words_instance(struct words *w)
{
    return TEXT(w, NULL, NULL, NULL, "one", "two", "");
}

struct kb_uuid words_topic_id(struct words *w)
{
    struct kb_uuid id = {{0}};
    uint8_t b = words_byte(w->in);
    if (b < 0xf0)
        return w->h->topic_ids[b % WORDS_TOPIC_IDS];
    memset(id.bytes, b & 1 ? b : 0, sizeof(id.bytes));
    return id;
}

int32_t words_partition(struct words *w)
{
    uint8_t b = words_byte(w->in);
    return b < 0xe0 ? b % 3 : words_number32(w);
}

int32_t words_epoch(struct words *w)
{
    uint8_t b = words_byte(w->in);
    if (b < 0x60)
        return -1;
    return b < 0xc0 ? w->h->leader_epoch : words_number32(w);
}

int32_t words_generation(struct words *w)
{
    uint8_t b = words_byte(w->in);
    if (b < 0xa0)
        return w->h->generation;
    return b < 0xc0 ? -1 : words_number32(w);
}

int64_t words_offset(struct words *w)
{
    uint8_t b = words_byte(w->in);
    if (b < 0x40)
        return 0;
    return b < 0x60 ? w->h->end_offset : words_number(w);
}

/* count elements of an array, zeroed; -1 (null) is one of the choices when it may be. */
void *words_array(struct words *w, size_t element_size, bool nullable, int32_t *ret_count)
{
    uint8_t b = words_byte(w->in);
    *ret_count = b < 0xff ? 1 : nullable ? -1 : 0;
    if (b == 0xff)
        return NULL;
    if (b >= 0xa0)
        *ret_count = b % (ELEMENTS_MAX + 1);
    return kb_arena_calloc(&w->arena, (size_t)*ret_count + 1, element_size);
}

struct kw_bytes words_blob(struct words *w)
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
    int count = 1 + words_pick(w, RECORDS_MAX);
    kw_batch_builder_init(&b);
    b.codec = shape % KW_CODEC_COUNT;
    if ((shape & 0x08) != 0) {
        b.producer_id = w->h->producer_id;
        b.producer_epoch = w->h->producer_epoch;
        b.base_sequence = w->h->sequence;
        w->h->sequence += count;
    }
    if ((shape & 0x70) == 0x70) {
        b.base_sequence = words_number32(w);
        b.producer_epoch = (int16_t)words_number(w);
        b.attributes = (int16_t)(words_byte(w->in) & 0xf0);
        b.base_offset = words_number(w);
        b.leader_epoch = words_number32(w);
    }
    for (int i = 0; i < count; i++) {
        struct kw_bytes value = (shape & 0x80) != 0 ? words_blob(w) : kw_bytes_of("value", 5);
        struct kw_bytes key = i % 2 == 0 ? kw_bytes_of(NULL, 0) : kw_bytes_of("key", 3);
        int64_t timestamp = (shape & 0x40) != 0 ? words_number(w) : 1000;
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
    if (kw_batch_parse(b.data, (size_t)b.size, &parsed) == KW_BATCH_WHOLE && words_flag(w)) {
        kw_batch_set_max_timestamp(data, parsed.size, false, parsed.max_timestamp ^ 1);
        kw_batch_set_max_timestamp(data, parsed.size, false, parsed.max_timestamp);
    }
    return b;
}

static struct kw_bytes records(struct words *w)
{
    uint8_t b = words_byte(w->in);
    if (b >= 0xf0)
        return words_blob(w);
    struct kw_bytes one = batch(w);
    return b >= 0xc0 && one.size > 0 ? damaged(w, one) : one;
}

static void produce(struct words *w, void *message)
{
    static const int16_t acks[] = {-1, 1, -1, 0, 2, -1};
    struct kw_produce_request *m = message;
    m->transactional_id = TEXT(w, NULL, NULL, NULL, "tx");
    m->acks = acks[words_pick(w, 6)];
    m->timeout_ms = words_timeout(w);
    EACH(w, i, m->topic_data, false)
    {
        m->topic_data[i].name = words_topic(w);
        m->topic_data[i].topic_id = words_topic_id(w);
        EACH(w, k, m->topic_data[i].partition_data, false)
        {
            m->topic_data[i].partition_data[k].index = words_partition(w);
            m->topic_data[i].partition_data[k].records = records(w);
        }
    }
}

static void fetch_partition(struct words *w, struct kw_fetch_request_partition *p)
{
    p->partition = words_partition(w);
    p->current_leader_epoch = words_epoch(w);
    p->fetch_offset = words_offset(w);
    p->last_fetched_epoch = words_epoch(w);
    p->log_start_offset = -1;
    p->partition_max_bytes = words_flag(w) ? 1 << 20 : words_number32(w);
}

static void fetch(struct words *w, void *message)
{
    struct kw_fetch_request *m = message;
    bool session = words_flag(w);
    m->max_wait_ms = words_timeout(w);
    m->min_bytes = words_flag(w) ? 1 : words_number32(w);
    m->max_bytes = words_flag(w) ? 1 << 20 : words_number32(w);
    m->isolation_level = (int8_t)words_pick(w, 3);
    m->session_id = session ? w->h->session_id : 0;
    m->session_epoch = session ? w->h->session_epoch : words_pick(w, 2) - 1;
    EACH(w, i, m->topics, false)
    {
        m->topics[i].topic = words_topic(w);
        m->topics[i].topic_id = words_topic_id(w);
        EACH(w, k, m->topics[i].partitions, false)
        fetch_partition(w, &m->topics[i].partitions[k]);
    }
    if (session && words_flag(w)) {
        EACH(w, i, m->forgotten_topics_data, false)
        {
            m->forgotten_topics_data[i].topic = words_topic(w);
            m->forgotten_topics_data[i].topic_id = words_topic_id(w);
            EACH(w, k, m->forgotten_topics_data[i].partitions, false)
            m->forgotten_topics_data[i].partitions[k] = words_partition(w);
        }
    }
    m->rack_id = TEXT(w, "", "rack");
}

static void list_offsets(struct words *w, void *message)
{
    struct kw_list_offsets_request *m = message;
    m->replica_id = -1;
    m->isolation_level = (int8_t)words_pick(w, 3);
    m->timeout_ms = words_timeout(w);
    EACH(w, i, m->topics, false)
    {
        m->topics[i].name = words_topic(w);
        EACH(w, k, m->topics[i].partitions, false)
        {
            m->topics[i].partitions[k].partition_index = words_partition(w);
            m->topics[i].partitions[k].current_leader_epoch = words_epoch(w);
            m->topics[i].partitions[k].timestamp = words_flag(w) ? -1 - words_pick(w, 6)
                                                                 : words_number(w);
        }
    }
}

static void metadata(struct words *w, void *message)
{
    struct kw_metadata_request *m = message;
    m->allow_auto_topic_creation = words_flag(w);
    m->include_topic_authorized_operations = words_flag(w);
    EACH(w, i, m->topics, true)
    {
        m->topics[i].name = words_topic(w);
        m->topics[i].topic_id = words_topic_id(w);
        if (m->topics[i].name.size == 0)
            m->topics[i].name = kw_str_null();
    }
}

static void epochs(struct words *w, void *message)
{
    struct kw_offset_for_leader_epoch_request *m = message;
    EACH(w, i, m->topics, false)
    {
        m->topics[i].topic = words_topic(w);
        EACH(w, k, m->topics[i].partitions, false)
        {
            m->topics[i].partitions[k].partition = words_partition(w);
            m->topics[i].partitions[k].current_leader_epoch = words_epoch(w);
            m->topics[i].partitions[k].leader_epoch = words_epoch(w);
        }
    }
}

static void init_producer(struct words *w, void *message)
{
    struct kw_init_producer_id_request *m = message;
    bool again = words_flag(w);
    m->transactional_id = TEXT(w, NULL, NULL, NULL, "", "tx");
    m->transaction_timeout_ms = words_timeout(w);
    m->producer_id = again ? w->h->producer_id : -1;
    m->producer_epoch = again ? w->h->producer_epoch : -1;
}

static void api_versions(struct words *w, void *message)
{
    struct kw_api_versions_request *m = message;
    m->client_software_name = TEXT(w, "fuzz", "", "-");
    m->client_software_version = TEXT(w, "1", "", " ");
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
    {KW_API_OFFSET_COMMIT, words_commit},
    {KW_API_OFFSET_FETCH, words_fetch_offsets},
    {KW_API_FIND_COORDINATOR, words_find_coordinator},
    {KW_API_JOIN_GROUP, words_join},
    {KW_API_HEARTBEAT, words_heartbeat},
    {KW_API_LEAVE_GROUP, words_leave},
    {KW_API_SYNC_GROUP, words_sync},
    {KW_API_DESCRIBE_GROUPS, words_describe_groups},
    {KW_API_LIST_GROUPS, words_list_groups},
    {KW_API_API_VERSIONS, api_versions},
    {KW_API_CREATE_TOPICS, words_create_topics},
    {KW_API_DELETE_TOPICS, words_delete_topics},
    {KW_API_DELETE_RECORDS, words_delete_records},
    {KW_API_INIT_PRODUCER_ID, init_producer},
    {KW_API_OFFSET_FOR_LEADER_EPOCH, epochs},
    {KW_API_DESCRIBE_CONFIGS, words_describe_configs},
    {KW_API_ALTER_CONFIGS, words_alter_configs},
    {KW_API_CREATE_PARTITIONS, words_create_partitions},
    {KW_API_DELETE_GROUPS, words_delete_groups},
    {KW_API_ELECT_LEADERS, words_elect},
    {KW_API_INCREMENTAL_ALTER_CONFIGS, words_incremental_configs},
    {KW_API_OFFSET_DELETE, words_delete_offsets},
    {KW_API_DESCRIBE_QUORUM, words_describe_quorum},
    {KW_API_DESCRIBE_CLUSTER, words_describe_cluster},
    {KW_API_DESCRIBE_TOPIC_PARTITIONS, words_describe_topic_partitions},
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
