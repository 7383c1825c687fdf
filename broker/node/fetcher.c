/* The follower's side of replication: one long poll to each leader broker over all partitions
 * followed there.
 *
 * A request names only partitions whose position moved; the link remembers the rest. When something
 * moves while a poll is parked, a second request overtakes it (the leader answers the first at
 * once), so two are under way at most. */
#include "broker/node/node_internal.h"
#include "proto/base/mutant.h"

enum {
    RETRY_MS = 30, /* after an error for a partition; a new image comes sooner */
    RETRY_MAX_MS = 500,
    CALLS_MAX = 2,
    REQUEST_ITEMS_MAX = 4096,
    BATCH_HEAD_BYTES = 61,
};

struct fetcher;

/* A partition this broker follows, at the broker that leads it. */
struct node_fetcher_entry {
    struct node_partition *partition;
    struct fetcher *fetcher;
    bool due;          /* to be named in the next request; in the fetcher's list of those */
    bool report;       /* durable ends to be reported; in the fetcher's list of those */
    uint64_t retry_ms; /* not before; 0 = now */
    uint32_t backoff_ms;
    /* Records that wait for space in the log. */
    struct kb_block *block;
    size_t position;
    size_t size;
    struct rep_answer answer;
    TAILQ_ENTRY(node_fetcher_entry) entries, due_entries, report_entries;
};

/* A partition that is no longer followed there; the leader is told with the next request. */
struct forgotten {
    struct kb_uuid topic_id;
    int32_t index;
    TAILQ_ENTRY(forgotten) entries;
};

struct fetcher {
    struct node *node;
    struct node_peer *peer;
    TAILQ_HEAD(entry_list, node_fetcher_entry) entries, due, reports;
    TAILQ_HEAD(, forgotten) forgotten;
    int calls;
    struct kb_timer *send_timer; /* soon, or at the next retry */
    uint64_t send_ms;            /* when it fires, if armed */
    struct kb_timer *report_timer;
    bool disk_stalled;                                /* as the leader was last told on this link */
    Kvorum__FetchPartition *items[REQUEST_ITEMS_MAX]; /* of the request that is being made */
};

static void on_answer(void *arg, const Kvorum__PeerMessage *answer, struct kb_block *frame,
                      struct kb_view payload);

/* ---- lists: what a request or report costs depends on what it names, not on all that is followed
 * ---------------------------------------------------------------------- */

static void set_due(struct node_fetcher_entry *e, bool due)
{
    if (due && !e->due)
        TAILQ_INSERT_TAIL(&e->fetcher->due, e, due_entries);
    if (!due && e->due)
        TAILQ_REMOVE(&e->fetcher->due, e, due_entries);
    e->due = due;
}

static void set_report(struct node_fetcher_entry *e, bool report)
{
    if (report && !e->report)
        TAILQ_INSERT_TAIL(&e->fetcher->reports, e, report_entries);
    if (!report && e->report)
        TAILQ_REMOVE(&e->fetcher->reports, e, report_entries);
    e->report = report;
}

/* ---- requests
 * -------------------------------------------------------------------------------------- */

static Kvorum__FetchPartition *fill_partition(struct kb_arena *arena, struct node_fetcher_entry *e)
{
    struct node_partition *p = e->partition;
    struct rep_fetch_target t;
    if (!rep_fetch_position(p->rep, &t) || t.leader != e->fetcher->peer->id)
        return NULL;
    Kvorum__FetchPartition *q = kb_arena_new(arena, Kvorum__FetchPartition);
    KB_ASSERT(q != NULL);
    kvorum__fetch_partition__init(q);
    q->has_topic_id = 1;
    q->topic_id.data = p->topic_id.bytes;
    q->topic_id.len = sizeof(p->topic_id.bytes);
    q->has_partition = 1;
    q->partition = p->index;
    q->has_leader_epoch = 1;
    q->leader_epoch = t.fetch.leader_epoch;
    q->has_fetch_offset = 1;
    q->fetch_offset = t.fetch.offset;
    q->has_last_fetched_epoch = 1;
    q->last_fetched_epoch = t.fetch.last_epoch;
    q->has_high_watermark = 1;
    q->high_watermark = t.fetch.high_watermark;
    q->has_log_start = 1;
    q->log_start = t.fetch.ends.log_start;
    q->has_leader_log_start = 1;
    q->leader_log_start = t.fetch.leader_start;
    q->has_partition_epoch = 1;
    q->partition_epoch = t.fetch.partition_epoch;
    q->has_written = 1;
    q->written = t.fetch.ends.written;
    q->has_durable = 1;
    q->durable = t.fetch.ends.durable;
    return q;
}

/* Fill f->items and return their number. */
static size_t fill_request(struct fetcher *f, struct kb_arena *arena, uint64_t now_ms,
                           uint64_t *ret_retry_ms)
{
    struct node_fetcher_entry *e = NULL;
    struct node_fetcher_entry *next = NULL;
    struct forgotten *g = NULL;
    size_t count = 0;
    *ret_retry_ms = UINT64_MAX;
    while ((g = TAILQ_FIRST(&f->forgotten)) != NULL && count < REQUEST_ITEMS_MAX) {
        Kvorum__FetchPartition *q = kb_arena_new(arena, Kvorum__FetchPartition);
        KB_ASSERT(q != NULL);
        kvorum__fetch_partition__init(q);
        q->has_topic_id = 1;
        q->topic_id.data = kb_arena_memdup(arena, g->topic_id.bytes, 16);
        q->topic_id.len = 16;
        q->has_partition = 1;
        q->partition = g->index;
        q->has_forget = 1;
        q->forget = 1;
        f->items[count++] = q;
        TAILQ_REMOVE(&f->forgotten, g, entries);
        (void)kb_free(g);
    }
    for (e = TAILQ_FIRST(&f->due); e != NULL && count < REQUEST_ITEMS_MAX; e = next) {
        next = TAILQ_NEXT(e, due_entries);
        if (e->block != NULL)
            continue;
        if (e->retry_ms > now_ms) {
            *ret_retry_ms = e->retry_ms < *ret_retry_ms ? e->retry_ms : *ret_retry_ms;
            continue;
        }
        Kvorum__FetchPartition *q = fill_partition(arena, e);
        set_due(e, false);
        e->retry_ms = 0;
        if (q != NULL)
            f->items[count++] = q;
    }
    return count;
}

/* Send when delay_ms have passed, or before: what waits for less does not wait for this. */
static void send_in(struct fetcher *f, uint64_t delay_ms)
{
    uint64_t at_ms = node_now(f->node) + delay_ms;
    if (kb_timer_armed(f->send_timer) && f->send_ms <= at_ms)
        return;
    f->send_ms = at_ms;
    kb_timer_arm(f->send_timer, delay_ms);
}

static void fetcher_send(struct fetcher *f)
{
    struct node *n = f->node;
    struct node_link *l = f->peer->dialled[NODE_DATA];
    uint64_t now_ms = node_now(n);
    uint64_t retry_ms = UINT64_MAX;
    if (l == NULL || l->state != NODE_LINK_OPEN || f->calls >= CALLS_MAX)
        return;
    struct kb_arena arena;
    kb_arena_init(&arena, 8U << 20);
    size_t count = fill_request(f, &arena, now_ms, &retry_ms);
    if (count > 0 || (f->calls == 0 && !TAILQ_EMPTY(&f->entries))) {
        Kvorum__PeerMessage m = KVORUM__PEER_MESSAGE__INIT;
        Kvorum__FetchRequest q = KVORUM__FETCH_REQUEST__INIT;
        m.body_case = KVORUM__PEER_MESSAGE__BODY_FETCH_REQUEST;
        m.fetch_request = &q;
        q.partitions = f->items;
        q.n_partitions = count;
        q.has_max_wait_ms = 1;
        q.max_wait_ms = NODE_FETCH_WAIT_MS;
        q.has_max_bytes = 1;
        q.max_bytes = NODE_FETCH_BYTES;
        q.has_broker_epoch = 1;
        q.broker_epoch = n->broker_epoch;
        if (node_link_call(l, &m, NULL, on_answer, f) == 0)
            f->calls++;
    }
    if (retry_ms != UINT64_MAX)
        send_in(f, retry_ms - now_ms);
    kb_arena_release(&arena);
}

static void on_send_timer(void *arg)
{
    fetcher_send(arg);
}

/* ---- durable reports (rule 2.3)
 * ---------------------------------------------------------------------- */

static void on_report_timer(void *arg)
{
    struct fetcher *f = arg;
    struct node_link *l = f->peer->dialled[NODE_DATA];
    struct node_fetcher_entry *e = NULL;
    struct kb_arena arena;
    size_t count = 0;
    size_t total = 0;
    if (l == NULL || l->state != NODE_LINK_OPEN)
        return;
    TAILQ_FOREACH(e, &f->reports, report_entries)
    total++;
    kb_arena_init(&arena, 64U << 20);
    Kvorum__DurableReport__Item **items = kb_arena_new_array(&arena, Kvorum__DurableReport__Item *,
                                                             total);
    while ((e = TAILQ_FIRST(&f->reports)) != NULL) {
        struct rep_fetch_target t;
        set_report(e, false);
        if (!rep_fetch_position(e->partition->rep, &t) || t.leader != f->peer->id)
            continue;
        Kvorum__DurableReport__Item *item = kb_arena_new(&arena, Kvorum__DurableReport__Item);
        KB_ASSERT(items != NULL && item != NULL);
        kvorum__durable_report__item__init(item);
        item->has_topic_id = 1;
        item->topic_id.data = e->partition->topic_id.bytes;
        item->topic_id.len = 16;
        item->has_partition = 1;
        item->partition = e->partition->index;
        item->has_leader_epoch = 1;
        item->leader_epoch = t.fetch.leader_epoch;
        item->has_written = 1;
        item->written = t.fetch.ends.written;
        item->has_durable = 1;
        item->durable = KB_MUTANT("report-written-as-durable") ? t.fetch.ends.written
                                                               : t.fetch.ends.durable;
        item->has_log_start = 1;
        item->log_start = t.fetch.ends.log_start;
        item->has_partition_epoch = 1;
        item->partition_epoch = t.fetch.partition_epoch;
        items[count++] = item;
    }
    if (count > 0 || f->disk_stalled != f->node->disk_stalled) {
        Kvorum__PeerMessage m = KVORUM__PEER_MESSAGE__INIT;
        Kvorum__DurableReport body = KVORUM__DURABLE_REPORT__INIT;
        m.body_case = KVORUM__PEER_MESSAGE__BODY_DURABLE_REPORT;
        m.durable_report = &body;
        body.items = items;
        body.n_items = count;
        body.has_disk_stalled = 1;
        body.disk_stalled = f->node->disk_stalled;
        f->disk_stalled = f->node->disk_stalled;
        node_link_send(l, &m, NULL);
    }
    kb_arena_release(&arena);
}

/* A replica out of the ISR that kept up so far still holds the high watermark back (3.1): leaders
 * must hear that it may not join. */
void node_fetcher_disk(struct node *n)
{
    size_t cursor = 0;
    struct node_peer *peer = NULL;
    while ((peer = kb_map_next(&n->peers, &cursor, NULL)) != NULL) {
        struct fetcher *f = peer->fetcher;
        if (f != NULL && !kb_timer_armed(f->report_timer))
            kb_timer_arm(f->report_timer, 0);
    }
}

void node_fetcher_durable(struct node_partition *p)
{
    struct node_fetcher_entry *e = p->fetch_entry;
    if (e == NULL)
        return;
    set_report(e, true); /* it may be set since the link was closed */
    if (!kb_timer_armed(e->fetcher->report_timer))
        kb_timer_arm(e->fetcher->report_timer, 0);
}

/* ---- answers
 * -------------------------------------------------------------------------------------------- */

static void entry_due(struct node_fetcher_entry *e, uint32_t delay_ms)
{
    set_due(e, true);
    e->retry_ms = delay_ms == 0 ? 0 : node_now(e->fetcher->node) + delay_ms;
    send_in(e->fetcher, delay_ms);
}

static void entry_retry(struct node_fetcher_entry *e)
{
    e->backoff_ms = e->backoff_ms == 0 ? RETRY_MS : e->backoff_ms * 2;
    if (e->backoff_ms > RETRY_MAX_MS)
        e->backoff_ms = RETRY_MAX_MS;
    entry_due(e, e->backoff_ms);
}

/* How many leading bytes of the records the replica takes (rule 2.4). */
static size_t acceptable(struct node_partition *p, const struct rep_answer *a, const uint8_t *data,
                         size_t size)
{
    int64_t expected = rep_log_end(p->rep);
    struct rep_fetch_target t;
    if (!rep_fetch_position(p->rep, &t))
        return 0;
    int32_t epoch = t.fetch.last_epoch; /* of a batch: an epoch led without records binds nobody */
    size_t at = 0;
    while (size - at >= BATCH_HEAD_BYTES) {
        const uint8_t *b = data + at;
        int64_t base = (int64_t)kb_get_be64(b);
        uint64_t total = (uint64_t)kb_get_be32(b + 8) + 12;
        int32_t batch_epoch = (int32_t)kb_get_be32(b + 12);
        int32_t delta = (int32_t)kb_get_be32(b + 23);
        if (total > size - at || total < BATCH_HEAD_BYTES || delta < 0)
            break;
        if (!rep_answer_batch(p->rep, a, expected, epoch, base, batch_epoch))
            break;
        expected = base + delta + 1;
        epoch = batch_epoch;
        at += (size_t)total;
    }
    return at;
}

/* Append what waits in the entry. True when all of it is in (or was dropped). */
static bool entry_append(struct node_fetcher_entry *e)
{
    struct node_partition *p = e->partition;
    struct node *n = p->node;
    while (e->size > 0) {
        struct log_appended appended = {0};
        struct rep_effects fx;
        int r = log_append_follower(p->log, e->block, e->position, e->size, e->answer.leader_epoch,
                                    LOG_APPEND_CHECK_CRC | LOG_APPEND_GAPS, &appended);
        if (r == LOG_APPEND_BUSY || r == LOG_APPEND_NO_SPACE)
            return false;
        if (r != LOG_APPEND_OK) {
            kb_log_rate_warn(&n->link_rate, node_now(n), "fetcher",
                             "event=records_refused tp=%s-%d result=%d", p->topic, p->index, r);
            break;
        }
        e->position += appended.size_taken;
        e->size -= appended.size_taken;
        rep_on_appended(p->rep, log_end_offset(p->log), node_now(n), &fx);
        node_partition_run(p, &fx);
        if (p->fetch_entry != e)
            return true;
    }
    return true;
}

static void entry_drop_records(struct node_fetcher_entry *e)
{
    e->block = kb_block_unref(e->block);
    e->size = 0;
}

static void entry_finish(struct node_fetcher_entry *e)
{
    struct node_partition *p = e->partition;
    struct rep_effects fx;
    struct rep_answer answer = e->answer;
    entry_drop_records(e);
    rep_answer_end(p->rep, &answer, node_now(p->node), &fx);
    node_partition_run(p, &fx);
}

void node_fetcher_space(struct node_partition *p)
{
    struct node_fetcher_entry *e = p->fetch_entry;
    if (e == NULL || e->block == NULL)
        return;
    if (entry_append(e) && p->fetch_entry == e)
        entry_finish(e);
}

/* A log that begins inside of a batch begins again at the batch's base, where no other producers
 * are known than at its start. */
static void reset_below_batch(struct node_partition *p, const struct rep_effects *fx)
{
    struct kb_buf producers = {0};
    if (log_producers(p->log) != NULL)
        (void)log_producers_serialize_below(log_producers(p->log), log_start_offset(p->log),
                                            SIZE_MAX, &producers);
    p->told_producers = kb_view_of(producers.data, producers.size);
    node_partition_run(p, fx);
    p->told_producers = kb_view_of(NULL, 0);
    kb_buf_release(&producers);
}

static void take_item(struct fetcher *f, const Kvorum__FetchResponse__Item *item,
                      struct kb_block *frame, struct kb_view records)
{
    struct node *n = f->node;
    struct kb_uuid topic_id;
    struct rep_effects fx;
    if (!item->has_topic_id || item->topic_id.len != 16)
        return;
    memcpy(topic_id.bytes, item->topic_id.data, 16);
    struct node_partition *p = node_partition_find(n, &topic_id, item->partition);
    struct node_fetcher_entry *e = p != NULL ? p->fetch_entry : NULL;
    if (e == NULL || e->fetcher != f || e->block != NULL || p->state != NODE_PARTITION_OPEN)
        return;
    if (item->error != KW_NONE) {
        entry_retry(e);
        return;
    }
    e->backoff_ms = 0;
    e->answer = (struct rep_answer){
        .kind = item->has_diverging_end  ? REP_ANSWER_DIVERGING
                : item->has_reset_offset ? REP_ANSWER_RESET
                                         : REP_ANSWER_DATA,
        .leader = f->peer->id,
        .leader_epoch = item->leader_epoch,
        .offset = item->fetch_offset,
        .high_watermark = item->high_watermark,
        .log_start = item->log_start,
        .epoch_start = item->has_epoch_start ? item->epoch_start : -1,
        .diverging = {.epoch = item->diverging_epoch, .end_offset = item->diverging_end},
        .reset_offset = item->reset_offset,
    };
    enum rep_answer_result r = rep_answer_begin(p->rep, &e->answer, node_now(n), &fx);
    if (e->answer.kind == REP_ANSWER_RESET)
        p->told_producers = records;
    node_partition_run(p, &fx);
    p->told_producers = kb_view_of(NULL, 0);
    if (r != REP_ANSWER_TAKE || p->fetch_entry != e)
        return;
    size_t size = acceptable(p, &e->answer, records.data, records.size);
    if (size == 0 && records.size >= BATCH_HEAD_BYTES &&
        rep_answer_straddles(p->rep, &e->answer, (int64_t)kb_get_be64(records.data), node_now(n),
                             &fx)) {
        reset_below_batch(p, &fx);
        return;
    }
    if (size > 0) {
        e->block = kb_block_ref(frame);
        e->position = (size_t)(records.data - frame->data);
        e->size = size;
        if (!entry_append(e) || p->fetch_entry != e)
            return; /* the rest waits for space */
    }
    entry_finish(e);
}

static void on_answer(void *arg, const Kvorum__PeerMessage *answer, struct kb_block *frame,
                      struct kb_view payload)
{
    struct fetcher *f = arg;
    size_t at = 0;
    f->calls--;
    if (answer == NULL)
        return; /* the link closed; everything is asked for again when it opens */
    if (answer->body_case != KVORUM__PEER_MESSAGE__BODY_FETCH_RESPONSE)
        return;
    const Kvorum__FetchResponse *body = answer->fetch_response;
    for (size_t i = 0; i < body->n_items; i++) {
        size_t size = body->items[i]->records_size;
        if (size > payload.size - at)
            break;
        take_item(f, body->items[i], frame, kb_view_of(payload.data + at, size));
        at += size;
    }
    fetcher_send(f);
}

/* ---- who is followed where
 * ------------------------------------------------------------------------------------ */

static struct fetcher *fetcher_of(struct node *n, struct node_peer *peer)
{
    struct fetcher *f = peer->fetcher;
    if (f != NULL)
        return f;
    f = kb_new(struct fetcher);
    f->node = n;
    f->peer = peer;
    TAILQ_INIT(&f->entries);
    TAILQ_INIT(&f->due);
    TAILQ_INIT(&f->reports);
    TAILQ_INIT(&f->forgotten);
    f->send_timer = kb_timer_new(n->env, on_send_timer, f);
    f->report_timer = kb_timer_new(n->env, on_report_timer, f);
    peer->fetcher = f;
    return f;
}

void node_fetcher_forget(struct node_partition *p)
{
    struct node_fetcher_entry *e = p->fetch_entry;
    if (e == NULL)
        return;
    struct forgotten *g = kb_new(struct forgotten);
    g->topic_id = p->topic_id;
    g->index = p->index;
    TAILQ_INSERT_TAIL(&e->fetcher->forgotten, g, entries);
    set_due(e, false);
    set_report(e, false);
    TAILQ_REMOVE(&e->fetcher->entries, e, entries);
    send_in(e->fetcher, 0); /* it must not think that it is still followed */
    entry_drop_records(e);
    p->fetch_entry = kb_free(e);
}

void node_fetcher_assign(struct node_partition *p)
{
    struct node *n = p->node;
    struct rep_fetch_target t;
    bool follows = !p->leaving && rep_fetch_position(p->rep, &t);
    struct node_peer *peer = follows ? node_peer_find(n, t.leader) : NULL;
    struct node_fetcher_entry *e = p->fetch_entry;
    if (e != NULL && (peer == NULL || e->fetcher != peer->fetcher)) {
        node_fetcher_forget(p);
        e = NULL;
    }
    if (peer == NULL)
        return;
    if (e == NULL) {
        e = kb_new(struct node_fetcher_entry);
        e->partition = p;
        e->fetcher = fetcher_of(n, peer);
        TAILQ_INSERT_TAIL(&e->fetcher->entries, e, entries);
        p->fetch_entry = e;
    } else {
        entry_drop_records(e); /* of the old epoch */
    }
    e->backoff_ms = 0;
    entry_due(e, 0);
}

/* The position moved, or the replica wants to ask again. */
void node_fetcher_kick(struct node_partition *p)
{
    if (p->fetch_entry == NULL)
        node_fetcher_assign(p);
    else if (p->fetch_entry->block == NULL && p->fetch_entry->backoff_ms == 0)
        entry_due(p->fetch_entry, 0);
}

void node_fetcher_link_open(struct node *n, struct node_peer *peer)
{
    struct fetcher *f = fetcher_of(n, peer);
    struct node_fetcher_entry *e = NULL;
    struct forgotten *g = NULL;
    f->calls = 0;
    f->disk_stalled = false; /* a new link knows nothing */
    while ((g = TAILQ_FIRST(&f->forgotten)) != NULL) {
        TAILQ_REMOVE(&f->forgotten, g, entries);
        (void)kb_free(g);
    }
    TAILQ_FOREACH(e, &f->entries, entries)
    {
        set_due(e, true);
        set_report(e, true);
        e->retry_ms = 0;
    }
    fetcher_send(f);
    kb_timer_arm(f->report_timer, 0);
}

void node_fetcher_link_closed(struct node *n, struct node_peer *peer)
{
    (void)n;
    if (peer->fetcher != NULL)
        ((struct fetcher *)peer->fetcher)->calls = 0;
}

void node_fetcher_free(struct node *n)
{
    size_t cursor = 0;
    struct node_peer *peer = NULL;
    struct node_partition *p = NULL;
    for (p = n->partitions; p != NULL; p = p->hh.next)
        node_fetcher_forget(p);
    while ((peer = kb_map_next(&n->peers, &cursor, NULL)) != NULL) {
        struct fetcher *f = peer->fetcher;
        struct forgotten *g = NULL;
        if (f == NULL)
            continue;
        while ((g = TAILQ_FIRST(&f->forgotten)) != NULL) {
            TAILQ_REMOVE(&f->forgotten, g, entries);
            (void)kb_free(g);
        }
        (void)kb_timer_free(f->send_timer);
        (void)kb_timer_free(f->report_timer);
        peer->fetcher = kb_free(f);
    }
}
