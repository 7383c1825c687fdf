/* A producer: what waits, and what became of it. Requests are made in producer_send.c. */
#include <errno.h>
#include <stdlib.h>

#include "broker/cli/producer_private.h"

#include "proto/base/assert.h"

static struct producer_part *part_of(struct cli_producer *p, size_t topic, int32_t index)
{
    for (size_t i = 0; i < p->parts_count; i++) {
        if (p->parts[i]->topic == topic && p->parts[i]->index == index)
            return p->parts[i];
    }
    struct producer_part *part = kb_new(struct producer_part);
    part->topic = topic;
    part->index = index;
    part->producer_id = -1;
    TAILQ_INIT(&part->batches);
    /* NOLINTNEXTLINE(bugprone-sizeof-expression): an array of pointers */
    kb_array_reserve(p->parts, p->parts_count, p->parts_capacity);
    p->parts[p->parts_count++] = part;
    return part;
}

static struct producer_batch *batch_free(struct producer_batch *b)
{
    kw_batch_builder_release(&b->builder);
    (void)kb_block_unref(b->block);
    (void)kb_free(b->tags);
    return kb_free(b);
}

struct cli_producer *cli_producer_new(const struct cli_producer_options *options)
{
    struct cli_producer *p = kb_new(struct cli_producer);
    KB_ASSERT(!options->idempotent || options->acks == -1);
    p->options = *options;
    p->producer_id = -1;
    p->sticky = -1;
    return p;
}

struct cli_producer *cli_producer_free(struct cli_producer *p)
{
    if (p == NULL)
        return NULL;
    for (size_t i = 0; i < p->parts_count; i++) {
        struct producer_batch *b = NULL;
        while ((b = TAILQ_FIRST(&p->parts[i]->batches)) != NULL) {
            TAILQ_REMOVE(&p->parts[i]->batches, b, entries);
            (void)batch_free(b);
        }
        (void)kb_free(p->parts[i]);
    }
    (void)kb_free(p->parts);
    return kb_free(p);
}

size_t cli_producer_pending(const struct cli_producer *p)
{
    return p->pending;
}

size_t cli_producer_bytes(const struct cli_producer *p)
{
    return p->bytes;
}

void cli_producer_flush(struct cli_producer *p)
{
    p->flushing = true;
    cli_wire_poke(p->options.wire);
}

/* ---- adding ------------------------------------------------------------------------------------
 */

int32_t cli_producer_pick(struct cli_producer *p, size_t topic, int32_t partitions_count)
{
    if (p->sticky_used && p->sticky >= 0 && p->sticky < partitions_count)
        return p->sticky;
    if (p->sticky < 0)
        p->sticky = (int32_t)(cli_now_ms() % (uint64_t)partitions_count);
    for (int32_t i = 0; i < partitions_count; i++) {
        p->sticky = (p->sticky + 1) % partitions_count;
        if (cli_wire_partition(p->options.wire, topic, p->sticky).leader >= 0)
            break;
    }
    p->sticky_used = true;
    return p->sticky;
}

static struct producer_batch *batch_to_add(struct cli_producer *p, struct producer_part *part,
                                           size_t size)
{
    struct producer_batch *b = TAILQ_LAST(&part->batches, producer_batches);
    if (b != NULL && b->block == NULL && b->bytes + size <= PRODUCER_BATCH_BYTES)
        return b;
    if (b != NULL && part->index == p->sticky)
        p->sticky_used = false;
    b = kb_new(struct producer_batch);
    kw_batch_builder_init(&b->builder);
    b->builder.codec = p->options.codec;
    b->made_ms = cli_now_ms();
    TAILQ_INSERT_TAIL(&part->batches, b, entries);
    cli_wire_poke_in(p->options.wire, p->options.linger_ms);
    return b;
}

int cli_producer_add(struct cli_producer *p, size_t topic, int32_t partition, int64_t timestamp_ms,
                     struct kw_bytes key, struct kw_bytes value,
                     const struct kw_record_header *headers, int32_t headers_count, uint64_t tag)
{
    struct producer_part *part = part_of(p, topic, partition);
    size_t size = (size_t)key.size + (size_t)value.size + 32;
    for (int32_t i = 0; i < headers_count; i++)
        size += (size_t)headers[i].key.size + (size_t)headers[i].value.size + 8;
    struct producer_batch *b = batch_to_add(p, part, size);
    int r = kw_batch_builder_add_headers(&b->builder, timestamp_ms, key, value, headers,
                                         headers_count);
    if (r < 0) {
        if (b->tags_count == 0) {
            TAILQ_REMOVE(&part->batches, b, entries);
            (void)batch_free(b);
        }
        return r;
    }
    kb_array_reserve(b->tags, b->tags_count, b->tags_capacity);
    b->tags[b->tags_count++] = tag;
    b->bytes += size;
    p->bytes += size;
    p->pending++;
    if (b->bytes >= PRODUCER_BATCH_BYTES / 2)
        cli_wire_poke(p->options.wire);
    return 0;
}

/* ---- outcomes ----------------------------------------------------------------------------------
 */

/* The first batch is over. Whatever was not acknowledged leaves a gap in the sequences: what
 * follows gets a producer id of its own. */
static void finish(struct cli_producer *p, struct producer_part *part, int result, int16_t error,
                   int64_t base_offset, const char *text)
{
    struct producer_batch *b = TAILQ_FIRST(&part->batches);
    struct cli_delivery d = {
        .topic = part->topic,
        .partition = part->index,
        .broker = result == 0 ? part->broker : -1,
        .base_offset = base_offset,
        .count = (uint32_t)b->tags_count,
        .tags = b->tags,
        .error = error,
        .result = result,
        .doubtful = b->doubtful,
        .text = text,
    };
    TAILQ_REMOVE(&part->batches, b, entries);
    p->pending -= b->tags_count;
    p->bytes -= b->bytes;
    part->in_flight = false;
    part->attempt++;
    part->retry_at_ms = 0;
    if (error != KW_NONE && b->block != NULL && part->producer_id >= 0) {
        if (part->producer_id == p->producer_id)
            p->producer_id = -1;
        part->producer_id = -1;
    }
    p->options.on_delivery(p->options.arg, &d);
    (void)batch_free(b);
}

/* It may have been written: no answer, or one that does not tell. */
static bool leaves_open(int result, int16_t error)
{
    return result < 0 || error == KW_REQUEST_TIMED_OUT || error == KW_NETWORK_EXCEPTION ||
           error == KW_NOT_ENOUGH_REPLICAS_AFTER_APPEND || error == KW_UNKNOWN_SERVER_ERROR;
}

void producer_part_answered(struct cli_producer *p, struct producer_part *part, int result,
                            int16_t error, int64_t base_offset, const char *text)
{
    struct producer_batch *b = TAILQ_FIRST(&part->batches);
    bool idempotent = part->producer_id >= 0;
    if (result == 0 &&
        (error == KW_NONE || (error == KW_DUPLICATE_SEQUENCE_NUMBER && idempotent))) {
        finish(p, part, 0, KW_NONE, base_offset, NULL);
        return;
    }
    b->doubtful |= leaves_open(result, error);
    if (result == 0 && !kw_error_retriable(error)) {
        finish(p, part, 0, error, -1, text);
        return;
    }
    b->error = result == 0 ? error : (int16_t)KW_NETWORK_EXCEPTION;
    part->in_flight = false;
    part->attempt++;
    part->retry_at_ms = cli_now_ms() + PRODUCER_RETRY_MS;
    cli_wire_poke_in(p->options.wire, PRODUCER_RETRY_MS);
    cli_wire_refresh(p->options.wire);
    if (p->options.on_retry != NULL)
        p->options.on_retry(p->options.arg, part->topic, part->index, b->error);
}

bool producer_part_due(const struct cli_producer *p, const struct producer_part *part,
                       uint64_t now_ms, uint64_t *ret_wait_ms)
{
    const struct producer_batch *b = TAILQ_FIRST(&part->batches);
    uint64_t at_ms = part->retry_at_ms;
    if (b == NULL || part->in_flight)
        return false;
    bool open = b->block == NULL && TAILQ_NEXT(b, entries) == NULL &&
                b->bytes < PRODUCER_BATCH_BYTES / 2;
    if (open && !p->flushing && b->made_ms + p->options.linger_ms > at_ms)
        at_ms = b->made_ms + p->options.linger_ms;
    if (at_ms <= now_ms)
        return true;
    if (at_ms - now_ms < *ret_wait_ms)
        *ret_wait_ms = at_ms - now_ms;
    return false;
}

static void expire(struct cli_producer *p, uint64_t now_ms)
{
    uint64_t limit_ms = p->options.delivery_timeout_ms;
    for (size_t i = 0; limit_ms > 0 && i < p->parts_count; i++) {
        struct producer_part *part = p->parts[i];
        struct producer_batch *b = NULL;
        while ((b = TAILQ_FIRST(&part->batches)) != NULL && b->made_ms + limit_ms <= now_ms) {
            b->doubtful |= part->in_flight;
            finish(p, part, -ETIMEDOUT, b->error != KW_NONE ? b->error : KW_REQUEST_TIMED_OUT, -1,
                   NULL);
        }
        if (b != NULL)
            cli_wire_poke_in(p->options.wire, b->made_ms + limit_ms - now_ms);
    }
}

/* A leader that takes long may not be the leader any more, and cannot say so. With sequences it is
 * safe to ask the new one; its answer counts. */
static void follow_leaders(struct cli_producer *p, uint64_t now_ms)
{
    for (size_t i = 0; i < p->parts_count; i++) {
        struct producer_part *part = p->parts[i];
        struct producer_batch *b = TAILQ_FIRST(&part->batches);
        if (!part->in_flight || b == NULL)
            continue;
        struct cli_topic_partition v = cli_wire_partition(p->options.wire, part->topic,
                                                          part->index);
        if (p->options.idempotent && v.leader >= 0 && v.leader != part->broker) {
            b->doubtful = true;
            part->in_flight = false;
            part->attempt++;
        } else if (now_ms - b->sent_ms >= PRODUCER_SLOW_MS) {
            cli_wire_refresh(p->options.wire);
            cli_wire_poke_in(p->options.wire, PRODUCER_SLOW_MS);
        } else {
            cli_wire_poke_in(p->options.wire, PRODUCER_SLOW_MS);
        }
    }
}

void cli_producer_pump(struct cli_producer *p)
{
    uint64_t now_ms = cli_now_ms();
    expire(p, now_ms);
    follow_leaders(p, now_ms);
    producer_send_all(p);
}
