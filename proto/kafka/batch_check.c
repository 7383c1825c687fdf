#include "proto/kafka/batch.h"

#include "proto/base/assert.h"
#include "proto/kafka/record_source.h"

#define DEFAULT_BATCH_BYTES_MAX 1048588
#define DEFAULT_OUTPUT_BYTES_MAX (UINT64_C(100) * 1024 * 1024)
#define NO_TIMESTAMP (-1)

void kw_batch_rules_init(struct kw_batch_rules *rules)
{
    *rules = (struct kw_batch_rules){
        .batch_bytes_max = DEFAULT_BATCH_BYTES_MAX,
        .output_bytes_max = DEFAULT_OUTPUT_BYTES_MAX,
        .before_ms_max = INT64_MAX,
        .after_ms_max = INT64_MAX,
        .zstd_allowed = true,
    };
}

static int refuse(struct kw_batch_verdict *v, enum kw_error error, int32_t record, const char *text)
{
    v->error = error;
    v->bad_record = record;
    v->text = text;
    v->bad_records_count = record >= 0 ? 1 : 0;
    v->bad_records[0] = (struct kw_bad_record){record, text};
    return 0;
}

/* Skip a varint size and that many bytes. Gives the size, -1 for null; fails the source for a
 * negative size that is not an allowed null, or one above what the record has left. */
static int32_t skip_sized(struct kw_source *s, uint64_t record_end, bool nullable, bool *ret_bad)
{
    int32_t size = kw_source_varint(s);
    if (size < (nullable ? -1 : 0) ||
        (size > 0 && kw_source_position(s) + (uint64_t)size > record_end)) {
        *ret_bad = true;
        return -1;
    }
    if (size > 0)
        kw_source_skip(s, (uint64_t)size);
    return size;
}

struct record_facts {
    int64_t timestamp_delta;
    int32_t offset_delta;
    bool has_key;
};

/* Read one record without keeping it. True when it is well formed. */
static bool scan_record(struct kw_source *s, struct record_facts *ret)
{
    int32_t size = kw_source_varint(s);
    if (s->error != 0 || size < 0)
        return false;
    uint64_t record_end = kw_source_position(s) + (uint64_t)size;
    bool bad = false;
    (void)kw_source_byte(s); /* attributes: unused */
    ret->timestamp_delta = kw_source_varlong(s);
    ret->offset_delta = kw_source_varint(s);
    ret->has_key = skip_sized(s, record_end, true, &bad) >= 0;
    if (!bad)
        (void)skip_sized(s, record_end, true, &bad);
    int32_t header_count = bad ? 0 : kw_source_varint(s);
    if (header_count < 0)
        return false;
    for (int32_t i = 0; i < header_count && !bad && s->error == 0; i++) {
        (void)skip_sized(s, record_end, false, &bad);
        if (!bad)
            (void)skip_sized(s, record_end, true, &bad);
    }
    return !bad && s->error == 0 && kw_source_position(s) == record_end;
}

static bool timestamp_allowed(const struct kw_batch_rules *rules, int64_t timestamp)
{
    if (rules->append_time || timestamp == NO_TIMESTAMP)
        return true;
    __int128 age = (__int128)rules->now_ms - timestamp;
    return age <= rules->before_ms_max && -age <= rules->after_ms_max;
}

/* The verdict on a source that broke off, or on a record that is not one. */
static int refuse_source(struct kw_batch_verdict *v, const struct kw_source *s, int32_t index)
{
    switch (s->error) {
    case -KB_ENOMEM:
        return s->error;
    case -KB_ETOOBIG:
        return refuse(v, KW_MESSAGE_TOO_LARGE, -1, "The batch is too large when decompressed");
    case -KB_ECORRUPT:
        return refuse(v, KW_CORRUPT_MESSAGE, -1, "The compressed records are damaged");
    default:
        return refuse(v, KW_INVALID_RECORD, index, "The record is malformed");
    }
}

/* Such a record does not stop the walk: the producer hears of all of them at once. */
static void blame(struct kw_batch_verdict *v, enum kw_error error, int32_t index, const char *text)
{
    if (v->bad_records_count < KW_BATCH_BAD_RECORDS_MAX)
        v->bad_records[v->bad_records_count++] = (struct kw_bad_record){index, text};
    if (v->error == KW_NONE) {
        v->bad_record = index;
        v->text = text;
    } else {
        v->text = "Several records are refused; the record errors name the first of them";
    }
    if (v->error != KW_INVALID_TIMESTAMP) /* it outweighs the others, as in Kafka */
        v->error = error;
}

static int check_records(struct kw_source *s, const struct kw_batch_rules *rules,
                         struct kw_batch_verdict *v)
{
    const struct kw_batch *b = &v->batch;
    v->max_timestamp = NO_TIMESTAMP;
    for (int32_t i = 0; i < b->record_count; i++) {
        struct record_facts facts;
        if (!scan_record(s, &facts))
            return refuse_source(v, s, i);
        v->renumber |= facts.offset_delta != i;
        if (rules->key_required && !facts.has_key)
            blame(v, KW_INVALID_RECORD, i, "A compacted topic cannot take a record without a key");
        int64_t timestamp =
            (int64_t)((uint64_t)b->base_timestamp + (uint64_t)facts.timestamp_delta);
        if (!timestamp_allowed(rules, timestamp))
            blame(v, KW_INVALID_TIMESTAMP, i,
                  "The record's timestamp is outside the range the topic allows");
        if (timestamp > v->max_timestamp)
            v->max_timestamp = timestamp;
    }
    if (kw_source_more(s))
        return refuse(v, KW_INVALID_RECORD, -1, "There are more records than the batch declares");
    if (s->error != 0)
        return refuse_source(v, s, -1);
    if (v->error == KW_NONE && v->renumber && kw_source_position(s) > KW_BATCH_RENUMBER_BYTES_MAX)
        return refuse(v, KW_INVALID_RECORD, -1,
                      "Record offsets do not count up by one, and the batch is too large to be "
                      "written anew");
    if (rules->append_time)
        v->max_timestamp = rules->now_ms;
    return 0;
}

/* ProduceRequest.validateRecords: one batch, of this magic, with a codec we take. */
static int check_shape(const void *data, size_t size, const struct kw_batch_rules *rules,
                       struct kw_batch_verdict *v)
{
    int r = kw_batch_parse(data, size, &v->batch);
    if (r == -KB_EUNSUPPORTED)
        return refuse(v, KW_INVALID_RECORD, -1, "Only record batches with magic 2 are accepted");
    if (r != KW_BATCH_WHOLE)
        return refuse(v, KW_INVALID_RECORD, -1, "The record batch is malformed or cut off");
    if (v->batch.size != size)
        return refuse(v, KW_INVALID_RECORD, -1,
                      "A Produce request carries exactly one batch per partition");
    if (kw_batch_codec(&v->batch) >= KW_CODEC_COUNT)
        return refuse(v, KW_UNSUPPORTED_COMPRESSION_TYPE, -1, "Unknown compression codec");
    if (kw_batch_codec(&v->batch) == KW_CODEC_ZSTD && !rules->zstd_allowed)
        return refuse(v, KW_UNSUPPORTED_COMPRESSION_TYPE, -1,
                      "Produce requests below version 7 cannot carry zstd");
    return 0;
}

/* UnifiedLog.analyzeAndValidateRecords and LogValidator.validateBatch. */
static int check_head(const struct kw_batch_rules *rules, struct kw_batch_verdict *v)
{
    const struct kw_batch *b = &v->batch;
    if (b->base_offset != 0)
        return refuse(v, KW_INVALID_RECORD, -1, "The base offset of a new batch must be 0");
    if (b->size > rules->batch_bytes_max)
        return refuse(v, KW_MESSAGE_TOO_LARGE, -1, "The batch is larger than max.message.bytes");
    if (!kw_batch_crc_ok(b))
        return refuse(v, KW_CORRUPT_MESSAGE, -1, "The batch's CRC is wrong");
    if (b->record_count == 0 || b->record_count - 1 != b->last_offset_delta)
        return refuse(v, KW_INVALID_RECORD, -1,
                      "The record count does not fit the batch's offsets");
    if (kw_batch_is(b, KW_BATCH_CONTROL))
        return refuse(v, KW_INVALID_RECORD, -1, "Clients cannot write control batches");
    if (b->producer_id != -1 && b->base_sequence < 0)
        return refuse(v, KW_INVALID_RECORD, -1, "A producer id needs a sequence number");
    if (kw_batch_is(b, KW_BATCH_TRANSACTIONAL) && b->producer_id == -1)
        return refuse(v, KW_INVALID_RECORD, -1, "A transactional batch needs a producer id");
    if (kw_batch_is(b, KW_BATCH_APPEND_TIME))
        return refuse(v, KW_INVALID_TIMESTAMP, -1,
                      "Producers must not set the timestamp type to LogAppendTime");
    return 0;
}

int kw_batch_check(const void *data, size_t size, const struct kw_batch_rules *rules,
                   struct kw_batch_verdict *ret)
{
    *ret = (struct kw_batch_verdict){.error = KW_NONE,
                                     .bad_record = -1,
                                     .log_append_time_ms = -1,
                                     .max_timestamp = NO_TIMESTAMP};
    int r = check_shape(data, size, rules, ret);
    if (r < 0 || ret->error != KW_NONE)
        return r;
    r = check_head(rules, ret);
    if (r < 0 || ret->error != KW_NONE)
        return r;
    struct kw_source source;
    r = kw_source_open(&source, &ret->batch, rules->output_bytes_max);
    if (r < 0)
        return r;
    r = check_records(&source, rules, ret);
    kw_source_close(&source);
    if (r == 0 && ret->error == KW_NONE && rules->append_time)
        ret->log_append_time_ms = rules->now_ms;
    return r;
}

void kw_batch_settle(uint8_t *data, size_t size, const struct kw_batch_rules *rules,
                     const struct kw_batch_verdict *verdict)
{
    KB_ASSERT(verdict->error == KW_NONE);
    kw_batch_set_max_timestamp(data, size, rules->append_time, verdict->max_timestamp);
}
