/* Any bytes as what brokers answer to the commands of `kvorum`, which run whole, without a network
 * (answers_world.h). The first byte chooses the command, the second how: bit 0 = -o json, bit 1 =
 * the list of versions is made of the bytes too. Then one answer after the other, a byte that
 * chooses:
 *   0  size(2) body, behind the right header
 *   1  what a broker of a small cluster would answer
 *   2  the same, with a count and as many edits: position (2), value
 *   3  size(2) bytes instead of a frame, then the end of the connection
 * Behind the end of the input comes what a broker would answer, for a while, then Ctrl-C. A command
 * must end, with an exit code, and close and free all it holds. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "broker/cli/cli.h"
#include "proto/base/arena.h"
#include "proto/base/assert.h"
#include "proto/cluster/status.pb-c.h"
#include "proto/kafka/api.h"
#include "proto/kafka/batch.h"
#include "proto/kafka/messages.h"
#include "proto/kafka/messages_table.h"
#include "tests/fuzz/answers_world.h"

enum { ANSWERS_MAX = 300, EDITS_MAX = 8, WORDS_MAX = 12, ARENA_BYTES = 1 << 20, APIS_MAX = 64 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *const commands[] = {
    "status",
    "health",
    "topic ls",
    "topic describe",
    "topic describe t",
    "topic create x -p 2",
    "topic alter t -p 3 -c retention.ms=5",
    "topic rm t --yes",
    "config get topic t",
    "config set topic t retention.ms=5",
    "config explain retention.ms topic t",
    "group ls",
    "group describe g",
    "group reset g --to-earliest --yes",
    "group reset g --to-datetime 2026-01-01 --topic t:0 --yes",
    "group rm g --yes",
    "quorum status",
    "quorum replication",
    "leader elect",
    "leader elect t:0 --unclean --yes",
    "consume t -e",
    "consume t -o -2 --count 3 -f %t-%p-%o-%k-%v-%h",
    "consume t --group g --count 2",
    "produce t --acks all",
    "produce t --codec gzip --key-separator :",
    "status --watch",
};
#define COMMANDS (sizeof(commands) / sizeof(commands[0]))

struct script {
    const uint8_t *data;
    size_t size;
    bool versions; /* of ApiVersions too */
    int answers;
};

static uint8_t take_byte(struct script *in)
{
    if (in->size == 0)
        return 0;
    in->size--;
    return *in->data++;
}

static struct kb_view take_bytes(struct script *in)
{
    size_t size = (size_t)take_byte(in) << 8;
    size |= take_byte(in);
    size = size < in->size ? size : in->size;
    struct kb_view v = kb_view_of(in->data, size);
    in->data += size;
    in->size -= size;
    return v;
}

/* ---- a small cluster: brokers 1 and 2, topic "t" of two partitions, group "g" ---- */

static void tell_versions(struct kw_api_versions_response *r)
{
    static struct kw_api_versions_response_api_key keys[APIS_MAX];
    size_t count = 0;
    const struct kw_api *apis = kw_api_table(&count);
    KB_ASSERT(count <= APIS_MAX);
    r->api_keys = keys;
    r->api_keys_count = (int32_t)count;
    for (size_t i = 0; i < count; i++)
        keys[i] = (struct kw_api_versions_response_api_key){apis[i].key, apis[i].advertised_min,
                                                            apis[i].version_max};
}

static void tell_metadata(struct kw_metadata_response *r)
{
    static int32_t nodes[] = {1, 2};
    static struct kw_metadata_response_broker brokers[2];
    static struct kw_metadata_response_partition partitions[2];
    static struct kw_metadata_response_topic topic;
    for (int i = 0; i < 2; i++) {
        kw_metadata_response_broker_init(&brokers[i]);
        kw_metadata_response_partition_init(&partitions[i]);
        brokers[i].node_id = i + 1;
        brokers[i].host = KW_STR("host");
        brokers[i].port = 9092 + i;
        partitions[i].partition_index = i;
        partitions[i].leader_id = i + 1;
        partitions[i].replica_nodes = partitions[i].isr_nodes = nodes;
        partitions[i].replica_nodes_count = partitions[i].isr_nodes_count = 2;
    }
    kw_metadata_response_topic_init(&topic);
    topic.name = KW_STR("t");
    memset(topic.topic_id.bytes, 'T', sizeof(topic.topic_id.bytes));
    topic.partitions = partitions;
    topic.partitions_count = 2;
    r->brokers = brokers;
    r->brokers_count = 2;
    r->cluster_id = KW_STR("cluster");
    r->controller_id = 1;
    r->topics = &topic;
    r->topics_count = 1;
}

static struct kb_block *records(void)
{
    struct kw_batch_builder b;
    struct kb_block *block = NULL;
    kw_batch_builder_init(&b);
    for (int i = 0; i < 3; i++)
        (void)kw_batch_builder_add(&b, 1000, kw_bytes_of("key", 3), kw_bytes_of("value", 5));
    int r = kw_batch_builder_finish(&b, &block);
    KB_ASSERT(r == 0);
    kw_batch_builder_release(&b);
    return block;
}

static void tell_records(struct kw_fetch_response *r)
{
    static struct kb_block *block;
    static struct kw_fetch_response_partition partition;
    static struct kw_fetch_response_topic topic;
    if (block == NULL)
        block = records();
    kw_fetch_response_topic_init(&topic);
    kw_fetch_response_partition_init(&partition);
    topic.topic = KW_STR("t");
    memset(topic.topic_id.bytes, 'T', sizeof(topic.topic_id.bytes));
    topic.partitions = &partition;
    topic.partitions_count = 1;
    partition.high_watermark = partition.last_stable_offset = 3;
    partition.records = kw_bytes_of(block->data, block->size);
    r->responses = &topic;
    r->responses_count = 1;
}

static void tell_offsets(struct kw_list_offsets_response *r)
{
    static struct kw_list_offsets_response_partition partitions[2];
    static struct kw_list_offsets_response_topic topic;
    for (int i = 0; i < 2; i++) {
        kw_list_offsets_response_partition_init(&partitions[i]);
        partitions[i].partition_index = i;
        partitions[i].offset = 3;
    }
    kw_list_offsets_response_topic_init(&topic);
    topic.name = KW_STR("t");
    topic.partitions = partitions;
    topic.partitions_count = 2;
    r->topics = &topic;
    r->topics_count = 1;
}

static void tell_coordinator(int16_t version, struct kw_find_coordinator_response *r)
{
    static struct kw_find_coordinator_response_coordinator c;
    kw_find_coordinator_response_coordinator_init(&c);
    c.key = KW_STR("g");
    c.node_id = r->node_id = 1;
    c.host = r->host = KW_STR("host");
    c.port = r->port = 9092;
    if (version < 4)
        return;
    kw_find_coordinator_response_init(r);
    r->coordinators = &c;
    r->coordinators_count = 1;
}

static void tell_group(struct kw_describe_groups_response *r)
{
    static struct kw_describe_groups_response_member member;
    static struct kw_describe_groups_response_group group;
    kw_describe_groups_response_member_init(&member);
    kw_describe_groups_response_group_init(&group);
    member.member_id = KW_STR("m");
    member.client_id = KW_STR("c");
    member.client_host = KW_STR("/h");
    member.member_metadata = kw_bytes_of("\0\0\0\0\0\1\0\1t\xff\xff\xff\xff", 13);
    member.member_assignment = kw_bytes_of("\0\0\0\0\0\1\0\1t\0\0\0\1\0\0\0\0\xff\xff\xff\xff", 21);
    group.group_id = KW_STR("g");
    group.group_state = KW_STR("Stable");
    group.protocol_type = KW_STR("consumer");
    group.protocol_data = KW_STR("range");
    group.members = &member;
    group.members_count = 1;
    r->groups = &group;
    r->groups_count = 1;
}

static void tell_join(struct kw_join_group_response *r)
{
    static struct kw_join_group_response_member member;
    kw_join_group_response_member_init(&member);
    member.member_id = KW_STR("m");
    member.metadata = kw_bytes_of("\0\0\0\0\0\1\0\1t\xff\xff\xff\xff", 13);
    r->generation_id = 1;
    r->protocol_type = KW_STR("consumer");
    r->protocol_name = KW_STR("range");
    r->leader = r->member_id = KW_STR("m");
    r->members = &member;
    r->members_count = 1;
}

static void tell_sync(struct kw_sync_group_response *r)
{
    r->assignment = kw_bytes_of("\0\0\0\0\0\1\0\1t\0\0\0\1\0\0\0\0\xff\xff\xff\xff", 21);
}

static void tell(int16_t api_key, int16_t version, void *message)
{
    switch (api_key) {
    case KW_API_API_VERSIONS:
        tell_versions(message);
        break;
    case KW_API_METADATA:
        tell_metadata(message);
        break;
    case KW_API_FETCH:
        tell_records(message);
        break;
    case KW_API_LIST_OFFSETS:
        tell_offsets(message);
        break;
    case KW_API_FIND_COORDINATOR:
        tell_coordinator(version, message);
        break;
    case KW_API_DESCRIBE_GROUPS:
        tell_group(message);
        break;
    case KW_API_JOIN_GROUP:
        tell_join(message);
        break;
    case KW_API_SYNC_GROUP:
        tell_sync(message);
        break;
    default:
        break;
    }
}

static void write_status(struct kw_writer *w)
{
    Kvorum__StatusResponse r = KVORUM__STATUS_RESPONSE__INIT;
    uint8_t bytes[64];
    r.has_node_id = 1;
    r.node_id = 1;
    r.cluster_id = (char *)(uintptr_t) "cluster";
    KB_ASSERT(kvorum__status_response__get_packed_size(&r) <= sizeof(bytes));
    kw_put_raw(w, bytes, kvorum__status_response__pack(&r, bytes));
}

/* ---- answering ---- */

static void write_usual(struct kw_writer *w, const struct kw_request_header *h)
{
    size_t count = 0;
    const struct kw_message *table = kw_message_table(&count);
    for (size_t i = 0; i < count; i++) {
        if (table[i].api_key != h->api_key || table[i].kind != KW_MESSAGE_RESPONSE)
            continue;
        void *m = calloc(1, table[i].size);
        if (m == NULL)
            abort();
        table[i].init(m);
        tell(h->api_key, h->api_version, m);
        table[i].write(w, h->api_version, m);
        free(m);
    }
    if (h->api_key == KW_API_KVORUM_STATUS)
        write_status(w);
}

/* A frame with the body, or with what a broker would answer; with its size. */
static void make_frame(const struct kw_request_header *h, const struct kb_view *body,
                       struct kb_buf *ret)
{
    struct kb_chain chain = {0};
    struct kw_writer w;
    kw_writer_init(&w, &chain);
    kw_frame_begin(&w);
    kw_response_header_write(&w, h->api_key, h->api_version, h->correlation_id);
    if (body != NULL)
        kw_put_raw(&w, body->data, body->size);
    else
        write_usual(&w, h);
    kw_frame_end(&w);
    (void)kw_writer_finish(&w); /* nothing, where that version cannot say it */
    for (size_t i = 0; i < chain.count; i++)
        kb_buf_append(ret, chain.slices[i].block->data + chain.slices[i].position,
                      chain.slices[i].size);
    kb_chain_release(&chain);
}

static void edit(struct script *in, struct kb_buf *b, size_t from)
{
    int edits = 1 + take_byte(in) % EDITS_MAX;
    for (int i = 0; i < edits && b->size > from; i++) {
        size_t at = (size_t)take_byte(in) << 8;
        at = from + (at | take_byte(in)) % (b->size - from);
        b->data[at] = take_byte(in);
    }
}

static bool on_request(void *arg, struct kb_view frame, struct kb_buf *answer)
{
    struct script *in = arg;
    struct kw_request_header h;
    struct kw_reader rd;
    struct kb_view bytes;
    size_t before = answer->size;
    kw_reader_init(&rd, frame.data, frame.size);
    int r = kw_request_header_read(&rd, &h);
    KB_ASSERT(r >= 0); /* what a command sends is well-formed */
    if (++in->answers > ANSWERS_MAX) {
        aw_interrupt();
        return false;
    }
    bool usual = in->size == 0 || (h.api_key == KW_API_API_VERSIONS && !in->versions);
    switch (usual ? 1 : take_byte(in) % 4) {
    case 0:
        bytes = take_bytes(in);
        make_frame(&h, &bytes, answer);
        break;
    case 1:
        make_frame(&h, NULL, answer);
        break;
    case 2:
        make_frame(&h, NULL, answer);
        edit(in, answer, before + 8 < answer->size ? before + 8 : before);
        break;
    default:
        bytes = take_bytes(in);
        kb_buf_append(answer, bytes.data, bytes.size);
        return false;
    }
    return true;
}

static void run(const char *command, bool json)
{
    char *argv[WORDS_MAX + 1] = {NULL};
    char *text = strdup(command);
    char *rest = NULL;
    int argc = 0;
    if (text == NULL)
        abort();
    for (char *w = strtok_r(text, " ", &rest); w != NULL; w = strtok_r(NULL, " ", &rest))
        argv[argc++] = w;
    if (json) {
        argv[argc++] = (char *)(uintptr_t) "-o";
        argv[argc++] = (char *)(uintptr_t) "json";
    }
    int r = cli_main(argc, argv);
    KB_ASSERT(r >= 0 && r < 256);
    free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char lines[] = "a:1\nb:2\n\nc\n";
    static FILE *silence;
    struct script in = {.data = data, .size = size};
    if (silence == NULL && (silence = freopen("/dev/null", "w", stdout)) == NULL)
        abort();
    const char *command = commands[take_byte(&in) % COMMANDS];
    uint8_t how = take_byte(&in);
    in.versions = (how & 2) != 0;
    aw_begin(on_request, &in, kb_view_of((const uint8_t *)lines, sizeof(lines) - 1));
    run(command, (how & 1) != 0);
    aw_end();
    return 0;
}
