/* The primitives at their limits, and what bends the rules: nulls, tags we do not know, counts
 * that lie, values a version cannot carry, headers of APIs and versions that do not exist. */
#include "proto/kafka/codec.h"

#include "proto/base/mem.h"
#include "proto/kafka/api.h"
#include "proto/kafka/error.h"
#include "proto/kafka/messages.h"
#include "tests/unit/unit.h"

#define ARENA_BYTES 65536

static struct kb_buf take(struct kb_chain *c)
{
    struct kb_buf out = {0};
    for (size_t i = 0; i < c->count; i++)
        kb_buf_append(&out, c->slices[i].block->data + c->slices[i].position, c->slices[i].size);
    kb_chain_release(c);
    return out;
}

START_TEST(varints__round_trip_and_limits)
{
    const int64_t values[] = {0,   1,         -1,        63,        64,        -64,
                              -65, INT32_MAX, INT32_MIN, INT64_MAX, INT64_MIN, 1 << 20};
    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        struct kb_chain chain = {0};
        struct kw_writer w;
        kw_writer_init(&w, &chain);
        kw_put_varlong(&w, values[i]);
        kw_put_varint(&w, (int32_t)values[i]);
        kw_put_uvarint(&w, (uint32_t)values[i]);
        ck_assert_int_eq(kw_writer_finish(&w), 0);
        struct kb_buf bytes = take(&chain);
        struct kw_reader rd;
        kw_reader_init(&rd, bytes.data, bytes.size);
        ck_assert_int_eq(kw_get_varlong(&rd), values[i]);
        ck_assert_int_eq(kw_get_varint(&rd), (int32_t)values[i]);
        ck_assert_uint_eq(kw_get_uvarint(&rd), (uint32_t)values[i]);
        ck_assert_int_eq(kw_reader_finish(&rd), 0);
        kb_buf_release(&bytes);
    }
    const uint8_t too_big[] = {0xff, 0xff, 0xff, 0xff, 0x1f};
    const uint8_t too_long[] = {0x80, 0x80, 0x80, 0x80, 0x80, 0x00};
    const uint8_t too_long_64[] = {0x80, 0x80, 0x80, 0x80, 0x80, 0x80,
                                   0x80, 0x80, 0x80, 0x80, 0x00};
    struct kw_reader rd;
    kw_reader_init(&rd, too_big, sizeof(too_big));
    ck_assert_uint_eq(kw_get_uvarint(&rd), 0);
    ck_assert_int_eq(rd.error, -KB_EINVAL);
    kw_reader_init(&rd, too_long, sizeof(too_long));
    (void)kw_get_varint(&rd);
    ck_assert_int_eq(rd.error, -KB_EINVAL);
    kw_reader_init(&rd, too_long_64, sizeof(too_long_64));
    (void)kw_get_varlong(&rd);
    ck_assert_int_eq(rd.error, -KB_EINVAL);
}
END_TEST

START_TEST(reader__first_error_stays)
{
    const uint8_t bytes[] = {1, 2, 3};
    struct kw_reader rd;
    kw_reader_init(&rd, bytes, sizeof(bytes));
    ck_assert_int_eq(kw_get_int16(&rd), 0x0102);
    ck_assert_int_eq(kw_get_int32(&rd), 0);
    ck_assert_int_eq(rd.error, -KB_EINVAL);
    ck_assert_int_eq(kw_get_int8(&rd), 0);
    kw_reader_fail(&rd, -KB_ENOMEM);
    ck_assert_int_eq(kw_reader_finish(&rd), -KB_EINVAL);
    kw_reader_init(&rd, NULL, 0);
    ck_assert_int_eq(kw_reader_finish(&rd), 0);
}
END_TEST

START_TEST(strings__null_empty_and_too_long)
{
    for (int flexible = 0; flexible < 2; flexible++) {
        struct kb_chain chain = {0};
        struct kw_writer w;
        kw_writer_init(&w, &chain);
        kw_put_str(&w, flexible, true, kw_str_null());
        kw_put_str(&w, flexible, false, kw_str_null());
        kw_put_str(&w, flexible, true, KW_STR(""));
        kw_put_str(&w, flexible, false, KW_STR("topic"));
        kw_put_bytes(&w, flexible, true, kw_bytes_of(NULL, 0));
        kw_put_bytes(&w, flexible, false, kw_bytes_of("xy", 2));
        ck_assert_int_eq(kw_writer_finish(&w), 0);
        struct kb_buf bytes = take(&chain);
        struct kw_reader rd;
        kw_reader_init(&rd, bytes.data, bytes.size);
        ck_assert_ptr_null(kw_get_str(&rd, flexible, true).data);
        ck_assert(kw_str_is(kw_get_str(&rd, flexible, true), ""));
        ck_assert(kw_str_equal(kw_get_str(&rd, flexible, true), KW_STR("")));
        ck_assert(kw_str_is(kw_get_str(&rd, flexible, false), "topic"));
        ck_assert_ptr_null(kw_get_bytes(&rd, flexible, true).data);
        ck_assert_int_eq(kw_get_bytes(&rd, flexible, false).size, 2);
        ck_assert_int_eq(kw_reader_finish(&rd), 0);
        kw_reader_init(&rd, bytes.data, bytes.size);
        ck_assert_ptr_null(kw_get_str(&rd, flexible, false).data);
        ck_assert_int_eq(rd.error, -KB_EINVAL);
        kb_buf_release(&bytes);
        char *big = kb_alloc(32768);
        kw_writer_init(&w, &chain);
        kw_put_str(&w, flexible, false, (struct kw_str){big, 32768});
        ck_assert_int_eq(kw_writer_finish(&w), -KB_ETOOBIG);
        ck_assert_uint_eq(chain.count, 0);
        (void)kb_free(big);
        kb_chain_release(&chain);
    }
}
END_TEST

START_TEST(counts__are_checked_before_memory_is_taken)
{
    /* Two billion topics in a Metadata request of a few bytes. */
    uint8_t frame[8] = {0x7f, 0xff, 0xff, 0xff};
    struct kb_arena arena;
    struct kw_metadata_request m;
    struct kw_reader rd;
    kb_arena_init(&arena, ARENA_BYTES);
    kw_reader_init(&rd, frame, sizeof(frame));
    ck_assert_int_eq(kw_metadata_request_read(&rd, 0, &arena, &m), -KB_EINVAL);
    ck_assert_uint_eq(arena.used_bytes, 0);
    /* An honest count that the arena refuses. */
    uint8_t *many = kb_alloc(4 + 2 * 10000);
    kb_put_be32(many, 10000);
    kw_reader_init(&rd, many, 4 + 2 * 10000);
    ck_assert_int_eq(kw_metadata_request_read(&rd, 0, &arena, &m), -KB_ENOMEM);
    kb_arena_release(&arena);
    kb_arena_init(&arena, 10000 * sizeof(*m.topics));
    kw_reader_init(&rd, many, 4 + 2 * 10000);
    ck_assert_int_eq(kw_metadata_request_read(&rd, 0, &arena, &m), 0);
    ck_assert_int_eq(m.topics_count, 10000);
    (void)kb_free(many);
    kb_arena_release(&arena);
}
END_TEST

START_TEST(arrays__null_and_empty_differ)
{
    struct kb_arena arena;
    kb_arena_init(&arena, ARENA_BYTES);
    for (int16_t version = 1; version <= 13; version++) {
        for (int32_t count = -1; count <= 0; count++) {
            struct kw_metadata_request m;
            struct kw_metadata_request back;
            kw_metadata_request_init(&m);
            ck_assert(m.allow_auto_topic_creation);
            m.topics_count = count;
            struct kb_chain chain = {0};
            struct kw_writer w;
            kw_writer_init(&w, &chain);
            kw_metadata_request_write(&w, version, &m);
            ck_assert_int_eq(kw_writer_finish(&w), 0);
            struct kb_buf bytes = take(&chain);
            struct kw_reader rd;
            kw_reader_init(&rd, bytes.data, bytes.size);
            ck_assert_int_eq(kw_metadata_request_read(&rd, version, &arena, &back), 0);
            ck_assert_int_eq(back.topics_count, count);
            ck_assert(back.allow_auto_topic_creation);
            kb_buf_release(&bytes);
        }
    }
    kb_arena_release(&arena);
}
END_TEST

START_TEST(tags__unknown_ones_are_skipped)
{
    /* Heartbeat v4 with two unknown tags: 5 (3 bytes) and 9 (none). */
    const uint8_t frame[] = {2, 'g', 0, 0, 0, 7, 2, 'm', 0, 2, 5, 3, 'x', 'y', 'z', 9, 0};
    struct kb_arena arena;
    struct kw_heartbeat_request m;
    struct kw_reader rd;
    kb_arena_init(&arena, ARENA_BYTES);
    kw_reader_init(&rd, frame, sizeof(frame));
    ck_assert_int_eq(kw_heartbeat_request_read(&rd, 4, &arena, &m), 0);
    ck_assert(kw_str_is(m.group_id, "g"));
    ck_assert_int_eq(m.generation_id, 7);
    ck_assert_ptr_null(m.group_instance_id.data);
    for (size_t size = 0; size < sizeof(frame); size++) {
        kw_reader_init(&rd, frame, size);
        ck_assert_int_eq(kw_heartbeat_request_read(&rd, 4, &arena, &m), -KB_EINVAL);
    }
    kb_arena_release(&arena);
}
END_TEST

START_TEST(tags__a_known_one_must_fill_its_size)
{
    /* Fetch v12 request: no topics, rack "", then tag 0 (cluster id "c") in a field of 2 or 3. */
    for (uint8_t extra = 0; extra < 2; extra++) {
        uint8_t frame[64] = {0};

        size_t n = 4 + 4 + 4 + 4 + 1 + 4 + 4; /* all fields up to the session epoch are 0 */
        frame[n++] = 1;                       /* topics */
        frame[n++] = 1;                       /* forgotten */
        frame[n++] = 1;                       /* rack */
        frame[n++] = 1;                       /* one tag */
        frame[n++] = 0;
        frame[n++] = (uint8_t)(2 + extra);
        frame[n++] = 2;
        frame[n++] = 'c';
        n += extra;
        struct kb_arena arena;
        struct kw_fetch_request m;
        struct kw_reader rd;
        kb_arena_init(&arena, ARENA_BYTES);
        kw_reader_init(&rd, frame, n);
        int r = kw_fetch_request_read(&rd, 12, &arena, &m);
        ck_assert_int_eq(r, extra == 0 ? 0 : -KB_EINVAL);
        if (extra == 0)
            ck_assert(kw_str_is(m.cluster_id, "c"));
        kb_arena_release(&arena);
    }
}
END_TEST

START_TEST(messages__bytes_behind_the_end_are_refused)
{
    const uint8_t frame[] = {0, 1, 'g', 0, 0, 0, 7, 0, 1, 'm', 0};
    struct kb_arena arena;
    struct kw_heartbeat_request m;
    struct kw_reader rd;
    kb_arena_init(&arena, ARENA_BYTES);
    kw_reader_init(&rd, frame, sizeof(frame) - 1);
    ck_assert_int_eq(kw_heartbeat_request_read(&rd, 0, &arena, &m), 0);
    kw_reader_init(&rd, frame, sizeof(frame));
    ck_assert_int_eq(kw_heartbeat_request_read(&rd, 0, &arena, &m), -KB_EINVAL);
    kw_reader_init(&rd, frame, sizeof(frame) - 1);
    ck_assert_int_eq(kw_heartbeat_request_read(&rd, 5, &arena, &m), -KB_EUNSUPPORTED);
    kb_arena_release(&arena);
}
END_TEST

START_TEST(writer__refuses_what_a_version_cannot_carry)
{
    struct kw_heartbeat_request m;
    kw_heartbeat_request_init(&m);
    m.group_instance_id = KW_STR("static"); /* from version 3, not ignorable */
    struct kb_chain chain = {0};
    kb_chain_add_copy(&chain, "before", 6);
    struct kw_writer w;
    kw_writer_init(&w, &chain);
    kw_heartbeat_request_write(&w, 2, &m);
    ck_assert_int_eq(kw_writer_finish(&w), -KB_EUNSUPPORTED);
    ck_assert_uint_eq(chain.size, 6);
    ck_assert_uint_eq(chain.count, 1);
    kw_writer_init(&w, &chain);
    kw_heartbeat_request_write(&w, 3, &m);
    ck_assert_int_eq(kw_writer_finish(&w), 0);
    kw_writer_init(&w, &chain);
    kw_heartbeat_request_write(&w, 5, &m);
    ck_assert_int_eq(kw_writer_finish(&w), -KB_EUNSUPPORTED);
    kb_chain_release(&chain);
}
END_TEST

START_TEST(writer__records_go_by_reference)
{
    struct kb_block *block = kb_block_copy("0123456789", 10);
    struct kb_chain records = {0};
    kb_chain_add_block(&records, block, 2, 5);
    struct kw_fetch_response_partition partition;
    struct kw_fetch_response_topic topic;
    struct kw_fetch_response m;
    kw_fetch_response_partition_init(&partition);
    kw_fetch_response_topic_init(&topic);
    kw_fetch_response_init(&m);
    partition.records_chain = &records;
    topic.partitions = &partition;
    topic.partitions_count = 1;
    m.responses = &topic;
    m.responses_count = 1;
    for (int16_t version = 4; version <= 18; version++) {
        struct kb_chain chain = {0};
        struct kw_writer w;
        kw_writer_init(&w, &chain);
        kw_frame_begin(&w);
        kw_response_header_write(&w, KW_API_FETCH, version, 99);
        kw_fetch_response_write(&w, version, &m);
        kw_frame_end(&w);
        ck_assert_int_eq(kw_writer_finish(&w), 0);
        ck_assert_uint_eq(block->refs, 3);
        struct kb_buf bytes = take(&chain);
        ck_assert_uint_eq(block->refs, 2);
        ck_assert_uint_eq(kb_get_be32(bytes.data), bytes.size - 4);
        struct kb_arena arena;
        struct kw_reader rd;
        struct kw_fetch_response back;
        int32_t correlation_id = 0;
        kb_arena_init(&arena, ARENA_BYTES);
        kw_reader_init(&rd, bytes.data + 4, bytes.size - 4);
        ck_assert_int_eq(kw_response_header_read(&rd, KW_API_FETCH, version, &correlation_id), 0);
        ck_assert_int_eq(correlation_id, 99);
        ck_assert_int_eq(kw_fetch_response_read(&rd, version, &arena, &back), 0);
        struct kw_bytes got = back.responses[0].partitions[0].records;
        ck_assert_int_eq(got.size, 5);
        ck_assert_mem_eq(got.data, "23456", 5);
        kb_arena_release(&arena);
        kb_buf_release(&bytes);
    }
    kb_chain_release(&records);
    (void)kb_block_unref(block);
}
END_TEST

START_TEST(writer__large_messages_span_blocks)
{
    int32_t count = 20000;
    struct kw_metadata_response_broker *brokers = kb_new_array(struct kw_metadata_response_broker,
                                                               (size_t)count);
    for (int32_t i = 0; i < count; i++) {
        kw_metadata_response_broker_init(&brokers[i]);
        brokers[i].node_id = i;
        brokers[i].host = KW_STR("broker.example");
    }
    struct kw_metadata_response m;
    kw_metadata_response_init(&m);
    m.brokers = brokers;
    m.brokers_count = count;
    struct kb_chain chain = {0};
    struct kw_writer w;
    kw_writer_init(&w, &chain);
    kw_frame_begin(&w);
    kw_metadata_response_write(&w, 9, &m);
    kw_frame_end(&w);
    ck_assert_int_eq(kw_writer_finish(&w), 0);
    ck_assert_uint_gt(chain.count, 1);
    struct kb_buf bytes = take(&chain);
    struct kb_arena arena;
    struct kw_reader rd;
    kb_arena_init(&arena, UINT64_C(16) * 1024 * 1024);
    kw_reader_init(&rd, bytes.data + 4, bytes.size - 4);
    struct kw_metadata_response back;
    ck_assert_int_eq(kw_metadata_response_read(&rd, 9, &arena, &back), 0);
    ck_assert_int_eq(back.brokers_count, count);
    ck_assert_int_eq(back.brokers[count - 1].node_id, count - 1);
    ck_assert(kw_str_is(back.brokers[count - 1].host, "broker.example"));
    kb_arena_release(&arena);
    kb_buf_release(&bytes);
    (void)kb_free(brokers);
}
END_TEST

static int read_header(const uint8_t *data, size_t size, struct kw_request_header *ret,
                       size_t *ret_left)
{
    struct kw_reader rd;
    kw_reader_init(&rd, data, size);
    int r = kw_request_header_read(&rd, ret);
    *ret_left = kw_reader_left(&rd);
    return r;
}

START_TEST(request_header__fits_api_and_version)
{
    uint8_t frame[] = {0, 18, 0, 2, 0, 0, 0, 5, 0, 1, 'c', 0};
    struct kw_request_header h;
    size_t left = 0;
    ck_assert_int_eq(read_header(frame, sizeof(frame), &h, &left), KW_HEADER_OK);
    ck_assert_int_eq(h.api_key, KW_API_API_VERSIONS);
    ck_assert_int_eq(h.correlation_id, 5);
    ck_assert(kw_str_is(h.client_id, "c"));
    ck_assert_uint_eq(left, 1); /* not flexible: the byte is the body's */
    frame[3] = 3;
    ck_assert_int_eq(read_header(frame, sizeof(frame), &h, &left), KW_HEADER_OK);
    ck_assert_uint_eq(left, 0);
    frame[3] = 77;
    ck_assert_int_eq(read_header(frame, sizeof(frame), &h, &left), KW_HEADER_UNSUPPORTED_VERSION);
    ck_assert_int_eq(h.correlation_id, 5);
    frame[2] = 0xff;
    ck_assert_int_eq(read_header(frame, sizeof(frame), &h, &left), KW_HEADER_UNSUPPORTED_VERSION);
    frame[2] = 0;
    frame[0] = 125; /* 32018 */
    ck_assert_int_eq(read_header(frame, sizeof(frame), &h, &left), KW_HEADER_UNKNOWN_API);
    frame[0] = 0;
    frame[8] = frame[9] = 0xff;                                      /* null client id */
    ck_assert_int_eq(read_header(frame, 10, &h, &left), -KB_EINVAL); /* v3 and no tags */
    frame[3] = 0;
    ck_assert_int_eq(read_header(frame, 10, &h, &left), KW_HEADER_OK);
    ck_assert_ptr_null(h.client_id.data);
}
END_TEST

START_TEST(response_header__of_api_versions_never_has_tags)
{
    for (int16_t version = 0; version <= 4; version++) {
        struct kb_chain chain = {0};
        struct kw_writer w;
        kw_writer_init(&w, &chain);
        kw_response_header_write(&w, KW_API_API_VERSIONS, version, 1);
        ck_assert_int_eq(kw_writer_finish(&w), 0);
        ck_assert_uint_eq(chain.size, 4);
        kb_chain_release(&chain);
    }
    struct kw_request_header header = {KW_API_METADATA, 9, 4, KW_STR("me")};
    struct kb_chain chain = {0};
    struct kw_writer w;
    kw_writer_init(&w, &chain);
    kw_request_header_write(&w, &header);
    ck_assert_int_eq(kw_writer_finish(&w), 0);
    struct kb_buf bytes = take(&chain);
    size_t left = 0;
    struct kw_request_header back;
    ck_assert_int_eq(read_header(bytes.data, bytes.size, &back, &left), KW_HEADER_OK);
    ck_assert_uint_eq(left, 0);
    kb_buf_release(&bytes);
}
END_TEST

START_TEST(api_table__is_in_order_and_complete)
{
    size_t count = 0;
    const struct kw_api *table = kw_api_table(&count);
    ck_assert_uint_ge(count, 29);
    for (size_t i = 0; i < count; i++) {
        ck_assert(i == 0 || table[i - 1].key < table[i].key);
        ck_assert_ptr_eq(kw_api_find(table[i].key), &table[i]);
        ck_assert_int_le(table[i].version_min, table[i].version_max);
    }
    const struct kw_api *produce = kw_api_find(KW_API_PRODUCE);
    ck_assert_int_eq(produce->advertised_min, 0);
    ck_assert_int_eq(produce->version_min, 3);
    ck_assert_int_eq(kw_api_find(KW_API_OFFSET_DELETE)->flexible_from, -1);
    ck_assert_int_eq(kw_api_find(KW_API_INIT_PRODUCER_ID)->version_max, 5);
    ck_assert_ptr_null(kw_api_find(KW_API_KVORUM_STATUS));
}
END_TEST

START_TEST(errors__have_names_and_texts)
{
    ck_assert_str_eq(kw_error_name(KW_NONE), "NONE");
    ck_assert_str_eq(kw_error_name(KW_UNKNOWN_SERVER_ERROR), "UNKNOWN_SERVER_ERROR");
    ck_assert_str_eq(kw_error_name(KW_NOT_COORDINATOR), "NOT_COORDINATOR");
    ck_assert(kw_error_retriable(KW_NOT_LEADER_OR_FOLLOWER));
    ck_assert(kw_error_refreshes(KW_NOT_LEADER_OR_FOLLOWER));
    ck_assert(!kw_error_retriable(KW_MESSAGE_TOO_LARGE));
    ck_assert_str_eq(kw_error_name(-2), "UNKNOWN_ERROR_CODE");
    ck_assert_str_eq(kw_error_name(INT16_MAX), "UNKNOWN_ERROR_CODE");
    for (int16_t code = -1; code < 134; code++)
        ck_assert_msg(strcmp(kw_error_name(code), "UNKNOWN_ERROR_CODE") != 0, "%d", code);
}
END_TEST

UNIT_MAIN("codec", varints__round_trip_and_limits, reader__first_error_stays,
          strings__null_empty_and_too_long, counts__are_checked_before_memory_is_taken,
          arrays__null_and_empty_differ, tags__unknown_ones_are_skipped,
          tags__a_known_one_must_fill_its_size, messages__bytes_behind_the_end_are_refused,
          writer__refuses_what_a_version_cannot_carry, writer__records_go_by_reference,
          writer__large_messages_span_blocks, request_header__fits_api_and_version,
          response_header__of_api_versions_never_has_tags, api_table__is_in_order_and_complete,
          errors__have_names_and_texts)
