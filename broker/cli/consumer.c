/* A reader of partitions: where to begin, what to ask whom. Answers are in consumer_take.c. */
#include "broker/cli/consumer_private.h"

#include <stdlib.h>

struct cli_consumer *cli_consumer_new(const struct cli_consumer_options *options)
{
    struct cli_consumer *c = kb_new(struct cli_consumer);
    c->options = *options;
    return c;
}

void cli_consumer_clear(struct cli_consumer *c)
{
    for (size_t i = 0; i < c->parts_count; i++)
        (void)kb_free(c->parts[i]);
    c->parts_count = 0;
    c->generation++;
}

struct cli_consumer *cli_consumer_free(struct cli_consumer *c)
{
    if (c == NULL)
        return NULL;
    cli_consumer_clear(c);
    (void)kb_free(c->parts);
    return kb_free(c);
}

void cli_consumer_add(struct cli_consumer *c, size_t topic, int32_t partition,
                      struct cli_start start)
{
    struct consumer_part *p = kb_new(struct consumer_part);
    p->topic = topic;
    p->index = partition;
    p->start = start;
    p->position = start.kind == CLI_START_OFFSET ? start.value : -1;
    /* NOLINTNEXTLINE(bugprone-sizeof-expression): an array of pointers */
    kb_array_reserve(c->parts, c->parts_count, c->parts_capacity);
    c->parts[c->parts_count++] = p;
    cli_wire_poke(c->options.wire);
}

size_t cli_consumer_count(const struct cli_consumer *c)
{
    return c->parts_count;
}

int64_t cli_consumer_position(const struct cli_consumer *c, size_t i, size_t *ret_topic,
                              int32_t *ret_partition)
{
    *ret_topic = c->parts[i]->topic;
    *ret_partition = c->parts[i]->index;
    return c->parts[i]->position;
}

bool cli_consumer_at_end(const struct cli_consumer *c)
{
    for (size_t i = 0; i < c->parts_count; i++) {
        if (!c->parts[i]->at_end && !c->parts[i]->failed)
            return false;
    }
    return true;
}

/* ---- requests ----------------------------------------------------------------------------------
 */

static int64_t timestamp_of(const struct consumer_part *p)
{
    switch (p->start.kind) {
    case CLI_START_END:
    case CLI_START_LAST:
        return -1;
    case CLI_START_TIMESTAMP:
        return p->start.value;
    default:
        return -2;
    }
}

static void ask_offsets(struct cli_consumer *c, int32_t broker, struct consumer_part **list,
                        size_t count, struct kb_arena *a, struct consumer_sent *sent)
{
    struct kw_list_offsets_request rq;
    struct kw_list_offsets_request_topic *t = NULL;
    kw_list_offsets_request_init(&rq);
    rq.replica_id = -1;
    rq.topics = kb_arena_new_array(a, struct kw_list_offsets_request_topic, count);
    for (size_t i = 0; i < count; i++) {
        if (i == 0 || list[i]->topic != list[i - 1]->topic) {
            t = &rq.topics[rq.topics_count++];
            kw_list_offsets_request_topic_init(t);
            t->name = kw_str_of(cli_wire_topic_at(c->options.wire, list[i]->topic)->name);
            t->partitions = kb_arena_new_array(a, struct kw_list_offsets_request_partition,
                                               count - i);
        }
        struct kw_list_offsets_request_partition *w = &t->partitions[t->partitions_count++];
        kw_list_offsets_request_partition_init(w);
        w->partition_index = list[i]->index;
        w->timestamp = timestamp_of(list[i]);
    }
    cli_wire_send(c->options.wire, broker, KW_API_LIST_OFFSETS, &rq, CONSUMER_ANSWER_MS,
                  consumer_on_offsets, sent);
}

static void ask_records(struct cli_consumer *c, int32_t broker, struct consumer_part **list,
                        size_t count, struct kb_arena *a, struct consumer_sent *sent)
{
    struct kw_fetch_request rq;
    struct kw_fetch_request_topic *t = NULL;
    kw_fetch_request_init(&rq);
    rq.max_wait_ms = CONSUMER_WAIT_MS;
    rq.min_bytes = 1;
    rq.max_bytes = CONSUMER_FETCH_BYTES;
    rq.topics = kb_arena_new_array(a, struct kw_fetch_request_topic, count);
    for (size_t i = 0; i < count; i++) {
        struct cli_topic_partition v = cli_wire_partition(c->options.wire, list[i]->topic,
                                                          list[i]->index);
        if (i == 0 || list[i]->topic != list[i - 1]->topic) {
            t = &rq.topics[rq.topics_count++];
            kw_fetch_request_topic_init(t);
            t->topic = kw_str_of(cli_wire_topic_at(c->options.wire, list[i]->topic)->name);
            t->partitions = kb_arena_new_array(a, struct kw_fetch_request_partition, count - i);
        }
        struct kw_fetch_request_partition *w = &t->partitions[t->partitions_count++];
        kw_fetch_request_partition_init(w);
        w->partition = list[i]->index;
        w->current_leader_epoch = v.leader_epoch;
        w->fetch_offset = list[i]->position;
        w->partition_max_bytes = CONSUMER_PARTITION_BYTES;
    }
    cli_wire_send(c->options.wire, broker, KW_API_FETCH, &rq, CONSUMER_ANSWER_MS, consumer_on_fetch,
                  sent);
}

static int by_topic(const void *a, const void *b)
{
    const struct consumer_part *x = *(struct consumer_part *const *)a;
    const struct consumer_part *y = *(struct consumer_part *const *)b;
    return (x->topic > y->topic) - (x->topic < y->topic);
}

static void send_to(struct cli_consumer *c, int32_t broker, bool records,
                    struct consumer_part **list, size_t count)
{
    struct kb_arena arena;
    struct consumer_sent *s = kb_alloc(sizeof(*s) + count * sizeof(s->items[0]));
    qsort(list, count, sizeof(*list), by_topic);
    s->consumer = c;
    s->generation = c->generation;
    s->count = count;
    for (size_t i = 0; i < count; i++) {
        list[i]->in_flight = true;
        list[i]->broker = broker;
        list[i]->sent_ms = cli_now_ms();
        s->items[i].part = list[i];
        s->items[i].attempt = list[i]->attempt;
    }
    kb_arena_init(&arena, (size_t)64 << 20);
    if (records)
        ask_records(c, broker, list, count, &arena, s);
    else
        ask_offsets(c, broker, list, count, &arena, s);
    kb_arena_release(&arena);
}

/* ---- the pump ----------------------------------------------------------------------------------
 */

/* Where it can be asked now; -1: nowhere yet. */
static int32_t leader_of(struct cli_consumer *c, struct consumer_part *p, uint64_t now_ms)
{
    struct cli_wire *w = c->options.wire;
    struct cli_topic_partition v = cli_wire_partition(w, p->topic, p->index);
    if (p->in_flight && v.leader >= 0 && v.leader != p->broker) {
        p->in_flight = false; /* what the former leader still says is void */
        p->attempt++;
    }
    if (p->in_flight) {
        if (now_ms - p->sent_ms > CONSUMER_SLOW_MS)
            cli_wire_refresh(w);
        cli_wire_poke_in(w, CONSUMER_SLOW_MS);
        return -1;
    }
    if (p->failed)
        return -1;
    if (p->retry_at_ms > now_ms) {
        cli_wire_poke_in(w, p->retry_at_ms - now_ms);
        return -1;
    }
    if (v.leader < 0 || !cli_wire_ready(w, v.leader)) {
        cli_wire_refresh(w);
        return -1;
    }
    return v.leader;
}

void cli_consumer_pump(struct cli_consumer *c)
{
    size_t n = c->parts_count;
    struct consumer_part **list = kb_calloc(n + 1, sizeof(*list));
    int32_t *leaders = kb_new_array(int32_t, n + 1);
    uint64_t now_ms = cli_now_ms();
    for (size_t i = 0; i < n; i++)
        leaders[i] = c->stopped ? -1 : leader_of(c, c->parts[i], now_ms);
    c->first = n > 0 ? (c->first + 1) % n : 0;
    for (size_t i = 0; i < n; i++) {
        size_t first = (c->first + i) % n;
        int32_t broker = leaders[first];
        bool records = c->parts[first]->position >= 0;
        size_t count = 0;
        for (size_t k = 0; broker >= 0 && k < n; k++) {
            size_t at = (first + k) % n;
            if (leaders[at] != broker || (c->parts[at]->position >= 0) != records)
                continue;
            list[count++] = c->parts[at];
            leaders[at] = -1;
        }
        if (count > 0)
            send_to(c, broker, records, list, count);
    }
    (void)kb_free(leaders);
    (void)kb_free(list);
}
