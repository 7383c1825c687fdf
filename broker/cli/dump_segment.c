/* A segment: its batches, and what is in them. */
#include "broker/cli/dump.h"
#include "proto/kafka/batch.h"

enum {
    BATCH_BYTES_MAX = 128 << 20,
    OUTPUT_BYTES_MAX = 1 << 30, /* of one compressed batch */
};

struct segment {
    struct cli_dump *dump;
    uint64_t position; /* of the batch at hand */
    int64_t next;      /* offset that the next batch may begin with; -1: any */
    int32_t epoch;     /* of the batch before */
    uint64_t batches;
    uint64_t records;
    int64_t first; /* -1: no batch yet */
};

static const char *codec_name(int codec)
{
    static const char *const names[] = {"none", "gzip", "snappy", "lz4", "zstd"};
    return codec >= 0 && codec < 5 ? names[codec] : "unknown";
}

/* ---- records ----------------------------------------------------------------------------------
 */

static json_t *bytes_json(struct kw_bytes b)
{
    return cli_str_json((struct kw_str){(const char *)b.data, b.size});
}

static json_t *headers_json(const struct kw_record *record)
{
    struct kw_reader rd;
    json_t *list = json_array();
    kw_reader_init(&rd, record->headers.data, (size_t)record->headers.size);
    for (int32_t i = 0; i < record->header_count; i++) {
        struct kw_record_header h;
        if (kw_record_header_next(&rd, &h) < 0)
            break;
        (void)json_array_append_new(list,
                                    json_pack("[o, o]", cli_str_json(h.key), bytes_json(h.value)));
    }
    return list;
}

static json_t *control_json(const struct kw_record *record)
{
    static const char *const names[] = {"abort", "commit", "leader_change"};
    struct kw_control c;
    if (kw_control_parse(record, &c) < 0)
        return json_string("malformed");
    if (c.type >= 0 && c.type <= 2)
        return json_string(names[c.type]);
    return json_sprintf("type %d", c.type);
}

static json_t *record_json(const struct cli_dump *d, const struct kw_batch *b,
                           const struct kw_record *r)
{
    json_t *line = json_pack("{s:s, s:I, s:I}", "type", "record", "offset", (json_int_t)r->offset,
                             "timestamp", (json_int_t)r->timestamp);
    json_t *words = NULL;
    if (kw_batch_is(b, KW_BATCH_CONTROL)) {
        (void)json_object_set_new(line, "control", control_json(r));
        return line;
    }
    if (strcmp(d->directory, "__cluster_metadata-0") == 0)
        words = cli_dump_metadata_record(kw_bytes_view(r->value));
    else if (strncmp(d->directory, "__consumer_offsets-", 19) == 0)
        words = cli_dump_group_record(r->key, r->value);
    if (words != NULL) {
        (void)json_object_update(line, words);
        json_decref(words);
        return line;
    }
    (void)json_object_set_new(line, "key", bytes_json(r->key));
    /* A tombstone shows, unlike a missing key. */
    if (r->value.data == NULL && !d->args->json)
        (void)json_object_set_new(line, "tombstone", json_true());
    else
        (void)json_object_set_new(line, "value", bytes_json(r->value));
    if (r->header_count > 0)
        (void)json_object_set_new(line, "headers", headers_json(r));
    return line;
}

static void walk_records(struct segment *s, const struct kw_batch *b)
{
    struct cli_dump *d = s->dump;
    struct kw_records *it = NULL;
    struct kw_record record;
    int32_t count = 0;
    int r = kw_records_open(b, OUTPUT_BYTES_MAX, &it);
    while (r == 0 && (r = kw_records_next(it, &record)) > 0) {
        r = 0;
        count++;
        if (d->args->deep)
            cli_dump_emit(d, record_json(d, b, &record));
    }
    if (r < 0)
        cli_dump_problem(d, s->position, "record %d of the batch at offset %" PRId64 ": %s", count,
                         b->base_offset, kb_err_text(r));
    (void)kw_records_close(it);
}

/* ---- batches ----------------------------------------------------------------------------------
 */

static json_t *batch_json(const struct segment *s, const struct kw_batch *b, bool crc_ok)
{
    json_t *line = json_pack(
        "{s:s, s:I, s:I, s:I, s:I, s:i, s:i, s:s, s:s, s:I, s:I, s:s}", "type", "batch",
        "base_offset", (json_int_t)b->base_offset, "last_offset",
        (json_int_t)kw_batch_last_offset(b), "position", (json_int_t)s->position, "size",
        (json_int_t)b->size, "leader_epoch", b->leader_epoch, "count", b->record_count, "crc",
        crc_ok ? "ok" : "bad", "codec", codec_name(kw_batch_codec(b)), "base_timestamp",
        (json_int_t)b->base_timestamp, "max_timestamp", (json_int_t)b->max_timestamp,
        "timestamp_type", kw_batch_is(b, KW_BATCH_APPEND_TIME) ? "LogAppendTime" : "CreateTime");
    if (b->producer_id >= 0) {
        (void)json_object_set_new(line, "producer_id", json_integer(b->producer_id));
        (void)json_object_set_new(line, "producer_epoch", json_integer(b->producer_epoch));
        (void)json_object_set_new(line, "base_sequence", json_integer(b->base_sequence));
    }
    if (kw_batch_is(b, KW_BATCH_TRANSACTIONAL))
        (void)json_object_set_new(line, "transactional", json_true());
    if (kw_batch_is(b, KW_BATCH_CONTROL))
        (void)json_object_set_new(line, "control", json_true());
    if (kw_batch_is(b, KW_BATCH_HORIZON))
        (void)json_object_set_new(line, "delete_horizon", json_true());
    return line;
}

static void check_order(struct segment *s, const struct kw_batch *b)
{
    struct cli_dump *d = s->dump;
    if (s->next >= 0 && b->base_offset < s->next)
        cli_dump_problem(d, s->position, "offset %" PRId64 " comes again, %" PRId64 " was expected",
                         b->base_offset, s->next);
    if (d->base_offset >= 0 && b->base_offset < d->base_offset)
        cli_dump_problem(d, s->position,
                         "offset %" PRId64 " is below the %" PRId64 " of the file's name",
                         b->base_offset, d->base_offset);
    if (b->leader_epoch < s->epoch)
        cli_dump_problem(d, s->position, "leader epoch %d comes after %d", b->leader_epoch,
                         s->epoch);
    s->epoch = b->leader_epoch;
    s->next = kw_batch_last_offset(b) + 1;
    if (s->first < 0)
        s->first = b->base_offset;
}

/* The batch at s->position, whose bytes are data. False: what follows cannot be found. */
static bool take_batch(struct segment *s, const uint8_t *data, size_t size)
{
    struct cli_dump *d = s->dump;
    struct kw_batch b;
    int r = kw_batch_parse(data, size, &b);
    if (r != KW_BATCH_WHOLE) {
        cli_dump_problem(d, s->position, "no record batch: %s",
                         r == -KB_EUNSUPPORTED ? "its format is older than magic 2"
                                               : "its head contradicts itself");
        return false;
    }
    bool crc_ok = kw_batch_crc_ok(&b);
    check_order(s, &b);
    cli_dump_emit(d, batch_json(s, &b, crc_ok));
    if (!crc_ok)
        cli_dump_problem(d, s->position, "the CRC of the batch at offset %" PRId64 " is wrong",
                         b.base_offset);
    else if (d->args->deep || d->args->verify)
        walk_records(s, &b);
    s->batches++;
    s->records += b.record_count > 0 ? (uint64_t)b.record_count : 0;
    return true;
}

void cli_dump_segment(struct cli_dump *d)
{
    struct segment s = {.dump = d, .next = -1, .first = -1, .epoch = -1};
    struct kb_buf bytes = {0};
    bool good = true;
    while (good && s.position < d->size) {
        uint8_t frame[KW_BATCH_FRAME_BYTES];
        uint64_t left = d->size - s.position;
        int64_t size = 0;
        if (left < sizeof(frame)) {
            cli_dump_problem(d, s.position, "%" PRIu64 " bytes are left: a torn batch", left);
            break;
        }
        good = cli_dump_read(d, s.position, frame, sizeof(frame));
        size = good ? kw_batch_size(frame) : 0;
        if (good && (size < 0 || size > BATCH_BYTES_MAX)) {
            cli_dump_problem(d, s.position, "no record batch: its length is impossible");
            break;
        }
        if (good && (uint64_t)size > left) {
            cli_dump_problem(d, s.position,
                             "a torn batch: %" PRIu64 " of its %" PRId64 " bytes are there", left,
                             size);
            break;
        }
        bytes.size = 0;
        kb_buf_reserve(&bytes, (size_t)size + 1);
        good = good && cli_dump_read(d, s.position, bytes.data, (size_t)size) &&
               take_batch(&s, bytes.data, (size_t)size);
        s.position += (uint64_t)size;
    }
    kb_buf_release(&bytes);
    cli_dump_emit(d, json_pack("{s:s, s:s, s:I, s:I, s:I, s:I, s:I}", "type", "summary", "path",
                               d->path, "batches", (json_int_t)s.batches, "records",
                               (json_int_t)s.records, "first_offset", (json_int_t)s.first,
                               "next_offset", (json_int_t)s.next, "problems",
                               (json_int_t)d->problems));
}
