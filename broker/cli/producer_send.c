/* A producer's requests: one per broker, with one batch of each partition that has one due. */
#include <errno.h>
#include <stdlib.h>

#include "broker/cli/producer_private.h"

enum { ID_RETRY_MS = 50, ID_TIMEOUT_MS = 5000 };

/* One request under way. */
struct sent {
    struct cli_producer *producer;
    size_t count;
    struct {
        struct producer_part *part;
        uint64_t attempt;
    } items[];
};

/* ---- producer ids ------------------------------------------------------------------------------
 */

static void on_id(void *arg, int result, const void *response)
{
    struct cli_producer *p = arg;
    const struct kw_init_producer_id_response *r = response;
    p->asking_id = false;
    if (result == 0 && r->error_code == KW_NONE) {
        p->producer_id = r->producer_id;
        p->producer_epoch = r->producer_epoch;
        return;
    }
    p->ask_at_ms = cli_now_ms() + ID_RETRY_MS;
    cli_wire_poke_in(p->options.wire, ID_RETRY_MS);
}

static void ask_id(struct cli_producer *p)
{
    struct kw_init_producer_id_request rq;
    int32_t broker = cli_wire_any(p->options.wire);
    uint64_t now_ms = cli_now_ms();
    if (!p->asking_id && now_ms < p->ask_at_ms) /* whoever poked sooner took the later poke away */
        cli_wire_poke_in(p->options.wire, p->ask_at_ms - now_ms);
    if (p->asking_id || broker == -1 || now_ms < p->ask_at_ms)
        return;
    kw_init_producer_id_request_init(&rq);
    rq.transactional_id = kw_str_null();
    rq.transaction_timeout_ms = INT32_MAX;
    if (cli_wire_version(p->options.wire, broker, KW_API_INIT_PRODUCER_ID) < 0)
        return;
    p->asking_id = true;
    cli_wire_send(p->options.wire, broker, KW_API_INIT_PRODUCER_ID, &rq, ID_TIMEOUT_MS, on_id, p);
}

static bool has_id(struct cli_producer *p, struct producer_part *part)
{
    if (!p->options.idempotent || part->producer_id >= 0)
        return true;
    if (p->producer_id < 0) {
        ask_id(p);
        return false;
    }
    part->producer_id = p->producer_id;
    part->producer_epoch = p->producer_epoch;
    part->next_sequence = 0;
    return true;
}

/* ---- answers -----------------------------------------------------------------------------------
 */

static const struct kw_produce_response_partition *find_answer(const struct cli_producer *p,
                                                               const struct kw_produce_response *r,
                                                               const struct producer_part *part)
{
    const char *name = cli_wire_topic_at(p->options.wire, part->topic)->name;
    for (int32_t t = 0; t < r->responses_count; t++) {
        const struct kw_produce_response_topic *topic = &r->responses[t];
        for (int32_t i = 0; kw_str_is(topic->name, name) && i < topic->partition_responses_count;
             i++) {
            if (topic->partition_responses[i].index == part->index)
                return &topic->partition_responses[i];
        }
    }
    return NULL;
}

static void on_answer(void *arg, int result, const void *response)
{
    struct sent *s = arg;
    for (size_t i = 0; i < s->count; i++) {
        struct producer_part *part = s->items[i].part;
        if (!part->in_flight || part->attempt != s->items[i].attempt)
            continue; /* over by now, or sent again */
        const struct kw_produce_response_partition *a =
            response != NULL ? find_answer(s->producer, response, part) : NULL;
        if (a == NULL) {
            producer_part_answered(s->producer, part, result < 0 ? result : -EPROTO, 0, -1, NULL);
            continue;
        }
        char *text = a->error_message.data != NULL
                         ? kb_strndup(a->error_message.data, (size_t)a->error_message.size)
                         : NULL;
        producer_part_answered(s->producer, part, 0, a->error_code, a->base_offset, text);
        (void)kb_free(text);
    }
    (void)kb_free(s);
}

/* ---- requests ----------------------------------------------------------------------------------
 */

static void seal(struct cli_producer *p, struct producer_part *part)
{
    struct producer_batch *b = TAILQ_FIRST(&part->batches);
    if (b->block != NULL)
        return;
    b->builder.producer_id = part->producer_id;
    b->builder.producer_epoch = part->producer_id >= 0 ? part->producer_epoch : -1;
    b->builder.base_sequence = part->producer_id >= 0 ? part->next_sequence : -1;
    if (kw_batch_builder_finish(&b->builder, &b->block) < 0)
        abort();                /* never empty, and the codec is known */
    if (part->producer_id >= 0) /* wraps as Kafka's does */
        part->next_sequence = (int32_t)(((uint32_t)part->next_sequence + b->tags_count) &
                                        0x7fffffffU);
    if (part->index == p->sticky)
        p->sticky_used = false;
}

static int by_topic(const void *a, const void *b)
{
    const struct producer_part *x = *(struct producer_part *const *)a;
    const struct producer_part *y = *(struct producer_part *const *)b;
    if (x->topic != y->topic)
        return x->topic < y->topic ? -1 : 1;
    return (x->index > y->index) - (x->index < y->index);
}

static void fill_request(struct cli_producer *p, struct producer_part **list, size_t count,
                         struct kb_arena *a, struct kw_produce_request *rq)
{
    struct kw_produce_request_topic *t = NULL;
    kw_produce_request_init(rq);
    rq->acks = p->options.acks;
    rq->timeout_ms = PRODUCER_ANSWER_MS / 2;
    rq->topic_data = kb_arena_new_array(a, struct kw_produce_request_topic, count);
    for (size_t i = 0; i < count; i++) {
        struct producer_batch *b = TAILQ_FIRST(&list[i]->batches);
        if (i == 0 || list[i]->topic != list[i - 1]->topic) {
            t = &rq->topic_data[rq->topic_data_count++];
            kw_produce_request_topic_init(t);
            t->name = kw_str_of(cli_wire_topic_at(p->options.wire, list[i]->topic)->name);
            t->partition_data = kb_arena_new_array(a, struct kw_produce_request_partition,
                                                   count - i);
        }
        struct kw_produce_request_partition *w = &t->partition_data[t->partition_data_count++];
        kw_produce_request_partition_init(w);
        w->index = list[i]->index;
        w->records = kw_bytes_of(b->block->data, b->block->size);
    }
}

/* The partitions' first batches to one broker. */
static void send_to(struct cli_producer *p, int32_t broker, struct producer_part **list,
                    size_t count)
{
    struct kb_arena arena;
    struct kw_produce_request rq;
    struct sent *s = kb_alloc(sizeof(*s) + count * sizeof(s->items[0]));
    uint64_t now_ms = cli_now_ms();
    bool answered = p->options.acks != 0;
    /* NOLINTNEXTLINE(bugprone-sizeof-expression): an array of pointers */
    qsort(list, count, sizeof(*list), by_topic);
    s->producer = p;
    s->count = count;
    for (size_t i = 0; i < count; i++) {
        seal(p, list[i]);
        list[i]->in_flight = true;
        list[i]->broker = broker;
        TAILQ_FIRST(&list[i]->batches)->sent_ms = now_ms;
        s->items[i].part = list[i];
        s->items[i].attempt = list[i]->attempt;
    }
    kb_arena_init(&arena, (size_t)64 << 20);
    fill_request(p, list, count, &arena, &rq);
    cli_wire_send(p->options.wire, broker, KW_API_PRODUCE, &rq, PRODUCER_ANSWER_MS,
                  answered ? on_answer : NULL, s);
    kb_arena_release(&arena);
    if (answered)
        return;
    for (size_t i = 0; i < count; i++)
        producer_part_answered(p, list[i], 0, KW_NONE, -1, NULL);
    (void)kb_free(s);
}

/* Its leader, when it can be sent to now; -1: not yet, and something was done about it. */
static int32_t leader_of(struct cli_producer *p, const struct producer_part *part)
{
    struct cli_wire *w = p->options.wire;
    struct cli_topic_partition v = cli_wire_partition(w, part->topic, part->index);
    if (v.leader < 0) {
        cli_wire_refresh(w);
        return -1;
    }
    if (!cli_wire_ready(w, v.leader)) {
        cli_wire_refresh(w); /* it may be dead */
        return -1;
    }
    return cli_wire_unsent(w, v.leader) < PRODUCER_UNSENT_BYTES ? v.leader : -1;
}

void producer_send_all(struct cli_producer *p)
{
    /* NOLINTNEXTLINE(bugprone-sizeof-expression): an array of pointers */
    struct producer_part **list = kb_calloc(p->parts_count + 1, sizeof(*list));
    int32_t *leaders = kb_new_array(int32_t, p->parts_count + 1);
    uint64_t wait_ms = UINT64_MAX;
    uint64_t now_ms = cli_now_ms();
    for (size_t i = 0; i < p->parts_count; i++) {
        leaders[i] = -1;
        if (producer_part_due(p, p->parts[i], now_ms, &wait_ms) && has_id(p, p->parts[i]))
            leaders[i] = leader_of(p, p->parts[i]);
    }
    for (size_t i = 0; i < p->parts_count; i++) {
        int32_t broker = leaders[i];
        size_t count = 0;
        size_t bytes = 0;
        for (size_t k = i; broker >= 0 && k < p->parts_count; k++) {
            if (leaders[k] != broker || bytes > PRODUCER_REQUEST_BYTES)
                continue;
            bytes += TAILQ_FIRST(&p->parts[k]->batches)->bytes;
            list[count++] = p->parts[k];
            leaders[k] = -1;
        }
        if (count > 0)
            send_to(p, broker, list, count);
    }
    if (wait_ms != UINT64_MAX)
        cli_wire_poke_in(p->options.wire, wait_ms);
    (void)kb_free(leaders);
    (void)kb_free(list);
}
