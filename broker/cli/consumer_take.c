/* What leaders answer a reader of partitions. */
#include "broker/cli/consumer_private.h"

#include <errno.h>

/* ---- both kinds of answers ---------------------------------------------------------------------
 */

static bool is_void(const struct consumer_sent *s, size_t i)
{
    return s->generation != s->consumer->generation || !s->items[i].part->in_flight ||
           s->items[i].part->attempt != s->items[i].attempt;
}

static void settle(struct consumer_part *p)
{
    p->in_flight = false;
    p->attempt++;
    p->unknown_ms = 0;
}

static void retry(struct cli_consumer *c, struct consumer_part *p)
{
    p->in_flight = false;
    p->attempt++;
    p->retry_at_ms = cli_now_ms() + CONSUMER_RETRY_MS;
    cli_wire_refresh(c->options.wire);
}

static void give_up(struct cli_consumer *c, struct consumer_part *p, int16_t error,
                    const char *text)
{
    settle(p);
    p->failed = true;
    c->options.on_error(c->options.arg, p->topic, p->index, error, text);
}

/* An error of the partition: later again, or never. */
static void take_error(struct cli_consumer *c, struct consumer_part *p, int16_t error)
{
    uint64_t now_ms = cli_now_ms();
    if (error == KW_UNKNOWN_TOPIC_OR_PARTITION) {
        if (p->unknown_ms == 0)
            p->unknown_ms = now_ms;
        if (now_ms - p->unknown_ms >= CONSUMER_LOST_MS) {
            give_up(c, p, error, "it does not exist any more");
            return;
        }
        retry(c, p);
    } else if (kw_error_retriable(error) || kw_error_refreshes(error)) {
        retry(c, p);
    } else {
        give_up(c, p, error, kw_error_message(error));
    }
}

/* ---- offsets -----------------------------------------------------------------------------------
 */

static void take_offset(struct cli_consumer *c, struct consumer_part *p, int64_t offset)
{
    settle(p);
    if (p->start.kind == CLI_START_TIMESTAMP && offset < 0) {
        p->start.kind = CLI_START_END; /* no record is that young */
        return;
    }
    p->position = offset;
    if (p->start.kind == CLI_START_LAST) {
        p->position = offset > p->start.value ? offset - p->start.value : 0;
        p->clamp = true;
    }
    cli_wire_poke(c->options.wire);
}

static const struct kw_list_offsets_response_partition *
find_offset(const struct cli_consumer *c, const struct kw_list_offsets_response *r,
            const struct consumer_part *p)
{
    const char *name = cli_wire_topic_at(c->options.wire, p->topic)->name;
    for (int32_t t = 0; t < r->topics_count; t++) {
        for (int32_t i = 0; kw_str_is(r->topics[t].name, name) && i < r->topics[t].partitions_count;
             i++) {
            if (r->topics[t].partitions[i].partition_index == p->index)
                return &r->topics[t].partitions[i];
        }
    }
    return NULL;
}

void consumer_on_offsets(void *arg, int result, const void *response)
{
    struct consumer_sent *s = arg;
    (void)result;
    for (size_t i = 0; i < s->count; i++) {
        if (is_void(s, i))
            continue;
        struct consumer_part *p = s->items[i].part;
        const struct kw_list_offsets_response_partition *a =
            response != NULL ? find_offset(s->consumer, response, p) : NULL;
        if (a == NULL)
            retry(s->consumer, p);
        else if (a->error_code != KW_NONE)
            take_error(s->consumer, p, a->error_code);
        else
            take_offset(s->consumer, p, a->offset);
    }
    (void)kb_free(s);
}

/* ---- records -----------------------------------------------------------------------------------
 */

/* The records of one batch from the position on. 0, or a negative error. */
static int take_batch(struct cli_consumer *c, struct consumer_part *p, const struct kw_batch *b)
{
    struct kw_records *it = NULL;
    struct kw_record record;
    if (!kw_batch_crc_ok(b))
        return -KB_ECORRUPT;
    int r = kw_records_open(b, CONSUMER_OUTPUT_BYTES, &it);
    if (r < 0)
        return r;
    while (!c->stopped && (r = kw_records_next(it, &record)) == 1) {
        struct cli_consumed out = {p->topic, p->index, &record};
        if (record.offset < p->position)
            continue;
        p->position = record.offset + 1;
        p->delivered = true;
        c->stopped = !c->options.on_record(c->options.arg, &out);
    }
    (void)kw_records_close(it);
    return r < 0 ? r : 0;
}

static void take_records(struct cli_consumer *c, struct consumer_part *p,
                         const struct kw_fetch_response_partition *a)
{
    struct kw_batches it;
    struct kw_batch b;
    int r = 0;
    kw_batches_init(&it, a->records.data, (size_t)a->records.size);
    while (!c->stopped && (r = kw_batches_next(&it, &b)) == KW_BATCHES_ONE) {
        int64_t next = kw_batch_last_offset(&b) + 1;
        if (next <= p->position)
            continue;
        r = kw_batch_is(&b, KW_BATCH_CONTROL) ? 0 : take_batch(c, p, &b);
        if (r < 0)
            break;
        if (!c->stopped)
            p->position = next; /* behind what compaction removed, too */
    }
    settle(p);
    if (r < 0) {
        give_up(c, p, KW_CORRUPT_MESSAGE, kb_err_text(r));
        return;
    }
    p->clamp = false;
    p->at_end = p->position >= a->high_watermark;
}

static void out_of_range(struct cli_consumer *c, struct consumer_part *p, int64_t log_start)
{
    int64_t from = p->position;
    bool known = log_start >= 0 && p->position < log_start;
    if (!p->clamp && !(p->delivered && known)) {
        give_up(c, p, KW_OFFSET_OUT_OF_RANGE, "it does not hold that offset");
        return;
    }
    settle(p);
    p->position = -1;
    p->start.kind = CLI_START_BEGINNING;
    if (!p->clamp && c->options.on_gap != NULL)
        c->options.on_gap(c->options.arg, p->topic, p->index, from, log_start);
    p->clamp = false;
    cli_wire_poke(c->options.wire);
}

static const struct kw_fetch_response_partition *find_fetched(const struct cli_consumer *c,
                                                              const struct kw_fetch_response *r,
                                                              const struct consumer_part *p)
{
    const char *name = cli_wire_topic_at(c->options.wire, p->topic)->name;
    for (int32_t t = 0; t < r->responses_count; t++) {
        const struct kw_fetch_response_topic *topic = &r->responses[t];
        for (int32_t i = 0; kw_str_is(topic->topic, name) && i < topic->partitions_count; i++) {
            if (topic->partitions[i].partition_index == p->index)
                return &topic->partitions[i];
        }
    }
    return NULL;
}

void consumer_on_fetch(void *arg, int result, const void *response)
{
    struct consumer_sent *s = arg;
    struct cli_consumer *c = s->consumer;
    const struct kw_fetch_response *r = response;
    (void)result;
    for (size_t i = 0; i < s->count && !c->stopped; i++) {
        if (is_void(s, i))
            continue;
        struct consumer_part *p = s->items[i].part;
        const struct kw_fetch_response_partition *a = r != NULL && r->error_code == KW_NONE
                                                          ? find_fetched(c, r, p)
                                                          : NULL;
        if (a == NULL)
            retry(c, p);
        else if (a->error_code == KW_OFFSET_OUT_OF_RANGE)
            out_of_range(c, p, a->log_start_offset);
        else if (a->error_code != KW_NONE)
            take_error(c, p, a->error_code);
        else
            take_records(c, p, a);
    }
    (void)kb_free(s);
}
