#include "tests/fuzz/client_expect.h"

#include <string.h>

#include "proto/base/assert.h"
#include "proto/base/err.h"
#include "proto/cluster/status.pb-c.h"
#include "proto/cluster/unpack.h"
#include "proto/kafka/api.h"
#include "proto/kafka/error.h"
#include "proto/kafka/messages_table.h"

enum {
    REQUEST_BYTES_MAX = 100 << 20, /* socket.request.max.bytes, by default */
    ARENA_BYTES = 64 << 20,
    GROUP_WAIT_MS = 3100, /* initial delay and what a new generation takes beside its timeouts */
};

static const struct kw_message *message_of(int16_t key, enum kw_message_kind kind)
{
    size_t count = 0;
    const struct kw_message *table = kw_message_table(&count);
    for (size_t i = 0; i < count; i++) {
        if (table[i].api_key == key && table[i].kind == kind)
            return &table[i];
    }
    return NULL;
}

/* ---- what is sent ---- */

static uint32_t positive(int32_t v)
{
    return v > 0 ? (uint32_t)v : 0;
}

static uint32_t longer(uint32_t a, uint32_t b)
{
    return a > b ? a : b;
}

static bool has_replica_id(const struct kw_fetch_request *m)
{
    return m->replica_id >= 0 || m->replica_state.replica_id >= 0;
}

/* What the request itself says about its answer. */
static void judge_request(struct cstage *s, const void *message, struct cstage_waiting *ret)
{
    const struct kw_join_group_request *join = message;
    switch (ret->api_key) {
    case KW_API_PRODUCE:
        ret->silent = ((const struct kw_produce_request *)message)->acks == 0;
        ret->may_close = ret->silent; /* as Kafka: how else to say that it was refused */
        ret->wait_ms = positive(((const struct kw_produce_request *)message)->timeout_ms);
        break;
    case KW_API_FETCH:
        ret->must_close = has_replica_id(message);
        ret->wait_ms = positive(((const struct kw_fetch_request *)message)->max_wait_ms);
        break;
    case KW_API_JOIN_GROUP:
        s->group_wait_ms = longer(s->group_wait_ms, positive(join->rebalance_timeout_ms));
        s->group_wait_ms = longer(s->group_wait_ms, positive(join->session_timeout_ms));
        break;
    case KW_API_CREATE_TOPICS:
        ret->wait_ms = positive(((const struct kw_create_topics_request *)message)->timeout_ms);
        break;
    case KW_API_ELECT_LEADERS:
        ret->wait_ms = positive(((const struct kw_elect_leaders_request *)message)->timeout_ms);
        break;
    default:
        break;
    }
}

static bool read_status(struct kw_reader *rd, struct kb_arena *arena)
{
    ProtobufCMessage *m = NULL;
    return kc_unpack(&kvorum__status_request__descriptor, arena,
                     kb_view_of(rd->next, kw_reader_left(rd)), KC_FRAME_BYTES_MAX, &m) == 0;
}

static void judge_body(struct cstage *s, struct kw_reader *rd, struct cstage_waiting *ret)
{
    const struct kw_message *type = message_of(ret->api_key, KW_MESSAGE_REQUEST);
    struct kb_arena arena;
    kb_arena_init(&arena, ARENA_BYTES);
    if (ret->api_key == KW_API_KVORUM_STATUS && ret->version == 0) {
        ret->must_close = !read_status(rd, &arena);
    } else if (type == NULL || ret->version < type->version_min ||
               ret->version > type->version_max) {
        /* ApiVersions alone answers a version that it does not know. */
        ret->must_close = ret->api_key != KW_API_API_VERSIONS;
        ret->version = 0;
    } else {
        void *m = kb_arena_alloc(&arena, type->size);
        ret->must_close = type->read(rd, ret->version, &arena, m) < 0 || kw_reader_finish(rd) < 0;
        if (!ret->must_close)
            judge_request(s, m, ret);
    }
    kb_arena_release(&arena);
}

static void take_frame(struct cstage_slot *slot, const uint8_t *data, size_t size)
{
    struct kw_request_header header;
    struct kw_reader rd;
    if (slot->waiting_count == CSTAGE_WAITING_MAX) {
        slot->mute = true;
        return;
    }
    struct cstage_waiting *w = &slot->waiting[slot->waiting_count++];
    *w = (struct cstage_waiting){.must_close = true};
    kw_reader_init(&rd, data, size);
    if (kw_request_header_read(&rd, &header) >= 0) {
        *w = (struct cstage_waiting){.correlation_id = header.correlation_id,
                                     .api_key = header.api_key,
                                     .version = header.api_version};
        judge_body(slot->stage, &rd, w);
    }
    slot->broken = w->must_close;
}

void expect_sent(struct cstage_slot *slot, const uint8_t *data, size_t size)
{
    size_t at = 0;
    kb_buf_append(&slot->pending, data, size);
    while (!slot->broken && !slot->mute && slot->pending.size - at >= 4) {
        const uint8_t *frame = slot->pending.data + at;
        uint32_t frame_size = kb_get_be32(frame);
        if (frame_size > REQUEST_BYTES_MAX) {
            take_frame(slot, NULL, 0);
            break;
        }
        if (slot->pending.size - at - 4 < frame_size)
            break;
        take_frame(slot, frame + 4, frame_size);
        at += 4 + frame_size;
    }
    memmove(slot->pending.data, slot->pending.data + at, slot->pending.size - at);
    slot->pending.size -= at;
}

/* ---- what comes back ---- */

static void take_member(struct words_handles *h, struct kw_str id)
{
    char text[WORDS_MEMBER_BYTES] = "";
    if (id.size <= 0 || id.size >= WORDS_MEMBER_BYTES)
        return;
    memcpy(text, id.data, (size_t)id.size);
    if (strcmp(text, h->members[0]) == 0)
        return;
    memmove(h->members[1], h->members[0], sizeof(h->members[0]) * (WORDS_MEMBERS - 1));
    memcpy(h->members[0], text, sizeof(text));
}

static void take_topic(struct words_handles *h, const struct kb_uuid *id)
{
    if (kb_uuid_is_zero(id))
        return;
    for (size_t i = 0; i < WORDS_TOPIC_IDS; i++) {
        if (memcmp(&h->topic_ids[i], id, sizeof(*id)) == 0)
            return;
    }
    memmove(&h->topic_ids[1], &h->topic_ids[0], sizeof(*id) * (WORDS_TOPIC_IDS - 1));
    h->topic_ids[0] = *id;
}

static void take_produced(struct words_handles *h, const struct kw_produce_response *r)
{
    for (int32_t i = 0; i < r->responses_count; i++) {
        for (int32_t k = 0; k < r->responses[i].partition_responses_count; k++) {
            if (r->responses[i].partition_responses[k].error_code == KW_NONE)
                h->end_offset = r->responses[i].partition_responses[k].base_offset + 1;
        }
    }
}

static void take_handles(struct words_handles *h, int16_t api_key, const void *message)
{
    const struct kw_join_group_response *join = message;
    const struct kw_init_producer_id_response *producer = message;
    const struct kw_metadata_response *metadata = message;
    const struct kw_fetch_response *fetch = message;
    const struct kw_create_topics_response *created = message;
    switch (api_key) {
    case KW_API_JOIN_GROUP:
        take_member(h, join->member_id);
        if (join->error_code == KW_NONE)
            h->generation = join->generation_id;
        break;
    case KW_API_INIT_PRODUCER_ID:
        if (producer->error_code != KW_NONE)
            break;
        h->producer_id = producer->producer_id;
        h->producer_epoch = producer->producer_epoch;
        h->sequence = 0;
        break;
    case KW_API_METADATA:
        for (int32_t i = metadata->topics_count - 1; i >= 0; i--) {
            if (!metadata->topics[i].is_internal)
                take_topic(h, &metadata->topics[i].topic_id);
        }
        break;
    case KW_API_CREATE_TOPICS:
        for (int32_t i = 0; i < created->topics_count; i++)
            take_topic(h, &created->topics[i].topic_id);
        break;
    case KW_API_FETCH:
        if (fetch->session_id == 0 || fetch->error_code != KW_NONE)
            break;
        h->session_epoch = fetch->session_id == h->session_id ? h->session_epoch + 1 : 1;
        h->session_id = fetch->session_id;
        break;
    case KW_API_PRODUCE:
        take_produced(h, message);
        break;
    default:
        break;
    }
}

static void read_answer(struct words_handles *h, const struct cstage_waiting *w,
                        struct kw_reader *rd)
{
    const struct kw_message *type = message_of(w->api_key, KW_MESSAGE_RESPONSE);
    ProtobufCMessage *status = NULL;
    struct kb_arena arena;
    kb_arena_init(&arena, SIZE_MAX / 2);
    if (w->api_key == KW_API_KVORUM_STATUS) {
        int r = kc_unpack(&kvorum__status_response__descriptor, &arena,
                          kb_view_of(rd->next, kw_reader_left(rd)), SIZE_MAX, &status);
        KB_ASSERT(r == 0);
    } else {
        void *m = kb_arena_alloc(&arena, type->size);
        int r = type->read(rd, w->version, &arena, m);
        KB_ASSERT(r == 0);
        r = kw_reader_finish(rd);
        KB_ASSERT(r == 0);
        take_handles(h, w->api_key, m);
    }
    kb_arena_release(&arena);
}

static void drop_first(struct cstage_slot *slot)
{
    slot->waiting_count--;
    memmove(&slot->waiting[0], &slot->waiting[1], sizeof(slot->waiting[0]) * slot->waiting_count);
}

void expect_answer(struct cstage_slot *slot, struct kb_view frame)
{
    struct kw_reader rd;
    int32_t correlation_id = 0;
    while (slot->waiting_count > 0 && slot->waiting[0].silent)
        drop_first(slot);
    if (slot->waiting_count == 0 && slot->mute)
        return;
    KB_ASSERT(slot->waiting_count > 0);
    const struct cstage_waiting w = slot->waiting[0];
    KB_ASSERT(!w.must_close);
    kw_reader_init(&rd, frame.data, frame.size);
    int r = kw_response_header_read(&rd, w.api_key, w.version, &correlation_id);
    KB_ASSERT(r == 0);
    KB_ASSERT(correlation_id == w.correlation_id);
    read_answer(&slot->stage->handles, &w, &rd);
    drop_first(slot);
}

void expect_close(const struct cstage_slot *slot)
{
    size_t i = 0;
    if (slot->mute)
        return;
    while (i < slot->waiting_count && slot->waiting[i].silent && !slot->waiting[i].may_close)
        i++;
    KB_ASSERT(i < slot->waiting_count);
    KB_ASSERT(slot->waiting[i].must_close || slot->waiting[i].may_close);
}

bool expect_wait(const struct cstage_slot *slot, uint64_t *ret_ms)
{
    bool waits = false;
    *ret_ms = 0;
    for (size_t i = 0; i < slot->waiting_count && !slot->mute; i++) {
        const struct cstage_waiting *w = &slot->waiting[i];
        bool group = w->api_key == KW_API_JOIN_GROUP || w->api_key == KW_API_SYNC_GROUP;
        waits = waits || !w->silent;
        *ret_ms += group ? 3 * ((uint64_t)slot->stage->group_wait_ms + GROUP_WAIT_MS) : w->wait_ms;
    }
    return waits;
}
