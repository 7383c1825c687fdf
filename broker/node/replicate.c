/* The leader's side of replication: long polls of followers, one per data link, and their durable
 * reports.
 *
 * A link remembers what its follower asked of each partition; a request names only what is new or
 * has moved. A poll is answered when a partition has written bytes behind the follower's position,
 * when a high watermark it knows moved, when a partition must be told something (diverging, error),
 * or when its time is up. */
#include "broker/node/node_internal.h"
#include "proto/base/mutant.h"

enum {
    ITEMS_MAX = 4096,              /* partitions in one answer */
    FOLLOWS_MAX = 1 << 17,         /* partitions one follower may ask for */
    PRODUCERS_BYTES_MAX = 1 << 20, /* told of with one reset: some 10,000 */
};

/* One partition as one follower link follows it. */
struct follow {
    struct session *session;
    struct node_partition *partition; /* NULL: unknown here; answered with an error */
    struct kb_uuid topic_id;
    int32_t index;
    struct rep_fetch fetch;
    int64_t sent_hw; /* the follower was told these */
    int64_t sent_start;
    int64_t position; /* up to here has been sent */
    bool fresh;       /* a request that was not judged yet */
    bool ready;       /* in the ready list */
    bool reading;
    struct log_read read;
    TAILQ_ENTRY(follow) ready_entries;
    LIST_ENTRY(follow) of_partition;
    UT_hash_handle hh;
    uint8_t key[20];
};

struct session {
    struct node_link *link;
    struct follow *follows; /* uthash by key */
    TAILQ_HEAD(ready_head, follow) ready;
    uint64_t request_id; /* the poll in work or parked; 0 = none */
    uint64_t next_id;    /* a second one: the follower has news; the first is answered at once */
    uint64_t deadline_ms;
    uint32_t next_wait_ms;
    size_t max_bytes;
    struct kb_timer *timer; /* time is up, or answer soon */
    size_t reads;           /* under way for the answer being built … */
    size_t reads_bytes;     /* … and what they may bring at most */
    /* The answer being built. */
    Kvorum__FetchResponse__Item **items;
    size_t items_count;
    size_t items_capacity;
    struct kb_arena arena;
    struct kb_chain payload;
    bool building;
};

static void session_answer(struct session *s);

static void make_key(uint8_t key[20], const struct kb_uuid *topic_id, int32_t index)
{
    memcpy(key, topic_id->bytes, 16);
    memcpy(key + 16, &index, 4);
}

static void mark_ready(struct follow *f)
{
    if (f->ready)
        return;
    f->ready = true;
    TAILQ_INSERT_TAIL(&f->session->ready, f, ready_entries);
}

static void unmark_ready(struct follow *f)
{
    if (!f->ready)
        return;
    f->ready = false;
    TAILQ_REMOVE(&f->session->ready, f, ready_entries);
}

static void read_begun(struct follow *f)
{
    f->reading = true;
    f->session->reads++;
    f->session->reads_bytes += f->read.max_bytes;
}

static void read_ended(struct follow *f)
{
    f->reading = false;
    f->session->reads--;
    f->session->reads_bytes -= f->read.max_bytes;
}

static void read_cancel(struct follow *f)
{
    if (!f->reading)
        return;
    log_read_cancel(&f->read);
    read_ended(f);
}

static void follow_free(struct follow *f)
{
    read_cancel(f);
    kb_chain_release(&f->read.records);
    unmark_ready(f);
    if (f->partition != NULL)
        LIST_REMOVE(f, of_partition);
    HASH_DEL(f->session->follows, f);
    (void)kb_free(f);
}

/* ---- building an answer
 * ----------------------------------------------------------------------------- */

static Kvorum__FetchResponse__Item *add_item(struct session *s, const struct follow *f)
{
    Kvorum__FetchResponse__Item *item = kb_arena_new(&s->arena, Kvorum__FetchResponse__Item);
    KB_ASSERT(item != NULL);
    kvorum__fetch_response__item__init(item);
    /* NOLINTNEXTLINE(bugprone-sizeof-expression): an array of pointers */
    kb_array_reserve(s->items, s->items_count, s->items_capacity);
    s->items[s->items_count++] = item;
    item->has_topic_id = 1;
    item->topic_id.data = kb_arena_memdup(&s->arena, f->topic_id.bytes, 16);
    item->topic_id.len = 16;
    item->has_partition = 1;
    item->partition = f->index;
    item->has_leader_epoch = 1;
    item->leader_epoch = f->fetch.leader_epoch;
    item->has_fetch_offset = 1;
    item->fetch_offset = f->fetch.offset;
    return item;
}

static void add_error(struct session *s, struct follow *f, enum kw_error error)
{
    Kvorum__FetchResponse__Item *item = add_item(s, f);
    item->has_error = 1;
    item->error = error;
}

static enum kw_error fetch_error(enum rep_fetch_result r)
{
    switch (r) {
    case REP_FETCH_NOT_LEADER:
        return KW_NOT_LEADER_OR_FOLLOWER;
    case REP_FETCH_FENCED_EPOCH:
        return KW_FENCED_LEADER_EPOCH;
    case REP_FETCH_UNKNOWN_EPOCH:
        return KW_UNKNOWN_LEADER_EPOCH;
    case REP_FETCH_NOT_REPLICA:
        return KW_REPLICA_NOT_AVAILABLE;
    case REP_FETCH_STALE_BROKER:
        return KW_STALE_BROKER_EPOCH;
    default:
        return KW_UNKNOWN_SERVER_ERROR;
    }
}

/* The follower must begin at `offset`. What lies below it will never be replayed there: the bytes
 * that come along say what is known of the producers of that (10.2). */
static void add_reset(struct session *s, struct follow *f, int64_t offset)
{
    struct node_partition *p = f->partition;
    struct kb_buf producers = {0};
    size_t taken = (size_t)s->payload.size + s->reads_bytes;
    if (log_producers(p->log) != NULL && offset <= rep_hw(p->rep) &&
        !KB_MUTANT("reset-forgets-producers"))
        (void)log_producers_serialize_below(log_producers(p->log), offset, PRODUCERS_BYTES_MAX,
                                            &producers);
    if (taken > 0 && taken + producers.size > s->max_bytes) {
        mark_ready(f); /* no room in this answer: first in the next one */
    } else {
        Kvorum__FetchResponse__Item *item = add_item(s, f);
        item->has_reset_offset = 1;
        item->reset_offset = offset;
        item->has_records_size = 1;
        item->records_size = (uint32_t)producers.size;
        kb_chain_add_copy(&s->payload, producers.data, producers.size);
    }
    kb_buf_release(&producers);
}

static void take_records(struct follow *f, const struct rep_fetch_answer *a)
{
    struct session *s = f->session;
    /* Below the start only the base of the batch that holds it will do. */
    if (f->fetch.offset < a->log_start && f->read.records.size > 0 &&
        f->read.first_offset != f->fetch.offset) {
        kb_chain_release(&f->read.records);
        add_reset(s, f, a->log_start);
        return;
    }
    Kvorum__FetchResponse__Item *item = add_item(s, f);
    item->has_high_watermark = 1;
    item->high_watermark = a->high_watermark;
    item->has_log_start = 1;
    item->log_start = a->log_start;
    item->has_epoch_start = 1;
    item->epoch_start = a->epoch_start;
    item->has_records_size = 1;
    item->records_size = (uint32_t)f->read.records.size;
    f->sent_hw = a->high_watermark;
    f->sent_start = a->log_start;
    f->position = f->read.next_offset;
    kb_chain_move(&s->payload, &f->read.records);
}

static void judge(struct follow *f);
static void read_failed(struct follow *f, int result);

static void on_read(struct log_read *r, int result)
{
    struct follow *f = r->user;
    struct session *s = f->session;
    read_ended(f);
    if (result == LOG_READ_OK && f->read.records.size == 0) {
        mark_ready(f); /* its next batch is larger than what was left: first in the next answer */
    } else if (result == LOG_READ_OK) {
        judge(f);
    } else {
        kb_chain_release(&f->read.records);
        read_failed(f, result);
    }
    if (s->reads == 0)
        session_answer(s);
}

/* Bytes that fail their checksum are never an end of the log (10.4): this replica stops. */
static void read_failed(struct follow *f, int result)
{
    struct node_partition *p = f->partition;
    add_error(f->session, f, KW_UNKNOWN_SERVER_ERROR);
    if (result == -KB_ECORRUPT && p != NULL && p->state == NODE_PARTITION_OPEN)
        node_partition_damaged(p, log_generation(p->log), f->read.offset);
}

/* Start reading what the follower may have. */
static void read_for(struct follow *f, const struct rep_fetch_answer *a)
{
    struct session *s = f->session;
    struct node_partition *p = f->partition;
    size_t taken = (size_t)s->payload.size + s->reads_bytes;
    size_t left = taken < s->max_bytes ? s->max_bytes - taken : 0;
    int64_t from = f->fetch.offset;
    if (left == 0 && taken > 0) {
        mark_ready(f); /* no room in this answer: first in the next one */
        return;
    }
    f->read = (struct log_read){
        .offset = from < log_start_offset(p->log) ? log_start_offset(p->log) : from,
        .bound_offset = a->bound,
        .max_bytes = left < NODE_FETCH_PARTITION_BYTES ? left : NODE_FETCH_PARTITION_BYTES,
        .min_one = taken == 0,
        .done = on_read,
        .user = f,
    };
    int r = log_read(p->log, &f->read);
    if (r == LOG_READ_PENDING) {
        read_begun(f);
        return;
    }
    if (r == LOG_READ_OK) {
        if (f->read.records.size == 0 && taken > 0)
            mark_ready(f); /* its next batch is larger than what is left */
        take_records(f, a);
    } else {
        read_failed(f, r);
    }
}

/* Ask the replica about this follower's position (again, after a read) and say what it answers. */
static void judge(struct follow *f)
{
    struct session *s = f->session;
    struct node_partition *p = f->partition;
    struct rep_fetch_answer answer;
    struct rep_effects fx;
    bool have_bytes = f->read.records.size > 0;
    if (p == NULL || p->state != NODE_PARTITION_OPEN) {
        kb_chain_release(&f->read.records);
        add_error(s, f, KW_NOT_LEADER_OR_FOLLOWER);
        return;
    }
    /* Only what came in just now says anything about the follower. */
    bool fresh = f->fresh;
    enum rep_fetch_result r = fresh ? rep_follower_fetch(p->rep, &f->fetch, node_now(p->node),
                                                         &answer, &fx)
                                    : rep_follower_again(p->rep, &f->fetch, &answer);
    f->fresh = false;
    switch (r) {
    case REP_FETCH_OK:
        if (have_bytes)
            take_records(f, &answer);
        else if (f->fetch.offset < answer.bound)
            read_for(f, &answer);
        else if (answer.high_watermark != f->sent_hw || answer.log_start != f->sent_start)
            take_records(f, &answer);
        break;
    case REP_FETCH_DIVERGING: {
        Kvorum__FetchResponse__Item *item = add_item(s, f);
        item->has_diverging_epoch = 1;
        item->diverging_epoch = answer.diverging.epoch;
        item->has_diverging_end = 1;
        item->diverging_end = answer.diverging.end_offset;
        break;
    }
    case REP_FETCH_RESET:
        add_reset(s, f, answer.reset_offset);
        break;
    case REP_FETCH_STALE_LINK:
        break;
    case REP_FETCH_INVALID:
        kb_log_rate_warn(&p->node->link_rate, node_now(p->node), "replicate",
                         "event=bad_fetch tp=%s-%d follower=%d", p->topic, p->index,
                         f->fetch.follower);
        add_error(s, f, KW_INVALID_REQUEST);
        break;
    default:
        add_error(s, f, fetch_error(r));
        break;
    }
    if (!(r == REP_FETCH_OK && have_bytes))
        kb_chain_release(&f->read.records);
    if (fresh)
        node_partition_run(p, &fx);
}

static void send_answer(struct session *s)
{
    Kvorum__PeerMessage m = KVORUM__PEER_MESSAGE__INIT;
    Kvorum__FetchResponse body = KVORUM__FETCH_RESPONSE__INIT;
    m.body_case = KVORUM__PEER_MESSAGE__BODY_FETCH_RESPONSE;
    m.fetch_response = &body;
    body.items = s->items;
    body.n_items = s->items_count;
    uint64_t id = s->request_id;
    s->request_id = 0;
    node_link_answer(s->link, id, &m, &s->payload);
    s->payload = (struct kb_chain){0};
    s->items_count = 0;
    kb_arena_reset(&s->arena);
    if (s->next_id != 0) {
        s->request_id = s->next_id;
        s->next_id = 0;
        s->deadline_ms = node_now(s->link->node) + s->next_wait_ms;
        kb_timer_arm(s->timer, 0);
    }
}

/* Something is ready and a poll is parked: judge all that is ready, then answer once the reads are
 * in. */
static void session_answer(struct session *s)
{
    struct follow *f = NULL;
    uint64_t now_ms = node_now(s->link->node);
    if (s->request_id == 0 || s->reads > 0 || s->building)
        return;
    if (s->items_count > 0) { /* the reads are in; what became ready meanwhile comes next */
        kb_timer_cancel(s->timer);
        send_answer(s);
        return;
    }
    s->building = true;
    struct ready_head batch = TAILQ_HEAD_INITIALIZER(batch);
    TAILQ_CONCAT(&batch, &s->ready, ready_entries);
    while ((f = TAILQ_FIRST(&batch)) != NULL) {
        TAILQ_REMOVE(&batch, f, ready_entries);
        f->ready = false;
        if (s->items_count >= ITEMS_MAX)
            mark_ready(f);
        else if (!f->reading)
            judge(f);
    }
    s->building = false;
    if (s->reads > 0)
        return;
    if (s->items_count > 0 || now_ms >= s->deadline_ms) {
        kb_timer_cancel(s->timer);
        send_answer(s);
    } else {
        kb_timer_arm(s->timer, s->deadline_ms - now_ms);
    }
}

static void on_timer(void *arg)
{
    session_answer(arg);
}

/* ---- requests
 * --------------------------------------------------------------------------------------------- */

static struct session *session_of(struct node_link *l)
{
    struct session *s = l->fetch_session;
    if (s != NULL)
        return s;
    s = kb_new(struct session);
    s->link = l;
    TAILQ_INIT(&s->ready);
    kb_arena_init(&s->arena, 4U << 20);
    s->timer = kb_timer_new(l->node->env, on_timer, s);
    l->fetch_session = s;
    return s;
}

static struct follow *follow_of(struct session *s, const struct kb_uuid *topic_id, int32_t index)
{
    struct follow *f = NULL;
    uint8_t key[20];
    make_key(key, topic_id, index);
    HASH_FIND(hh, s->follows, key, sizeof(key), f);
    return f;
}

static struct follow *follow_new(struct session *s, const struct kb_uuid *topic_id, int32_t index)
{
    struct follow *f = kb_new(struct follow);
    f->session = s;
    f->topic_id = *topic_id;
    f->index = index;
    f->sent_start = -1;
    make_key(f->key, topic_id, index);
    HASH_ADD(hh, s->follows, key, sizeof(f->key), f);
    return f;
}

static void take_partition(struct session *s, const Kvorum__FetchPartition *q)
{
    struct node *n = s->link->node;
    struct kb_uuid topic_id;
    if (!q->has_topic_id || q->topic_id.len != 16)
        return;
    memcpy(topic_id.bytes, q->topic_id.data, 16);
    struct follow *f = follow_of(s, &topic_id, q->partition);
    if (q->forget) {
        if (f != NULL)
            follow_free(f);
        return;
    }
    if (f == NULL)
        f = follow_new(s, &topic_id, q->partition);
    if (f->partition == NULL) {
        f->partition = node_partition_find(n, &topic_id, q->partition);
        if (f->partition != NULL)
            LIST_INSERT_HEAD(&f->partition->follows, f, of_partition);
    }
    read_cancel(f);
    f->fetch = (struct rep_fetch){
        .follower = s->link->peer_id,
        .broker_epoch = (int64_t)s->link->peer_broker_epoch,
        .link = s->link->number,
        .leader_epoch = q->leader_epoch,
        .offset = q->fetch_offset,
        .last_epoch = q->last_fetched_epoch,
        .high_watermark = q->high_watermark,
        .partition_epoch = q->partition_epoch,
        .ends = {.written = q->written, .durable = q->durable, .log_start = q->log_start},
        .came_ms = node_now(n),
    };
    f->sent_hw = q->high_watermark;
    if (q->has_leader_log_start) /* what was sent may have been dropped (seed 7622) */
        f->sent_start = q->leader_log_start;
    f->position = q->fetch_offset;
    f->fresh = true;
    mark_ready(f);
}

void node_replicate_fetch(struct node *n, const struct node_message *msg)
{
    const Kvorum__FetchRequest *q = msg->m->fetch_request;
    struct session *s = session_of(msg->link);
    if (s->next_id != 0 || msg->request_id == 0 ||
        HASH_COUNT(s->follows) + q->n_partitions > FOLLOWS_MAX) {
        kb_log_rate_warn(&n->link_rate, node_now(n), "replicate", "event=%s follower=%d",
                         s->next_id != 0 ? "too_many_polls" : "bad_poll", msg->peer->id);
        kb_conn_close(msg->link->conn);
        return;
    }
    if (q->has_broker_epoch)
        msg->link->peer_broker_epoch = q->broker_epoch;
    for (size_t i = 0; i < q->n_partitions; i++)
        take_partition(s, q->partitions[i]);
    msg->link->polled_ms = node_now(n);
    uint32_t wait_ms = q->max_wait_ms < NODE_FETCH_WAIT_MS ? q->max_wait_ms : NODE_FETCH_WAIT_MS;
    s->max_bytes = q->max_bytes < NODE_FETCH_BYTES ? q->max_bytes : NODE_FETCH_BYTES;
    if (s->request_id != 0) {
        s->next_id = msg->request_id;
        s->next_wait_ms = wait_ms;
        s->deadline_ms = node_now(n);
    } else {
        s->request_id = msg->request_id;
        s->deadline_ms = node_now(n) + wait_ms;
    }
    session_answer(s);
}

bool node_replicate_followed_by(const struct node_partition *p, int32_t node_id)
{
    const struct follow *f = NULL;
    LIST_FOREACH(f, &p->follows, of_partition)
    {
        if (f->fetch.follower == node_id && f->fetch.leader_epoch == rep_leader_epoch(p->rep))
            return true;
    }
    return false;
}

uint64_t node_replicate_heard_ms(const struct node_partition *p, int32_t node_id, uint64_t link)
{
    const struct meta_broker *b = meta_image_broker(p->node->image, node_id);
    const struct follow *f = NULL;
    LIST_FOREACH(f, &p->follows, of_partition)
    {
        const struct node_link *l = f->session->link;
        if (f->fetch.follower == node_id && l->number == link && l->state == NODE_LINK_OPEN &&
            f->fetch.leader_epoch == rep_leader_epoch(p->rep) && b != NULL &&
            f->fetch.broker_epoch == (int64_t)b->epoch)
            return l->polled_ms;
    }
    return 0;
}

static void take_disk_state(struct node *n, struct node_link *l, bool stalled)
{
    struct node_partition *p = NULL;
    if (l->disk_stalled == stalled)
        return;
    l->disk_stalled = stalled;
    for (p = n->partitions; p != NULL; p = p->hh.next) {
        if (p->state == NODE_PARTITION_OPEN && rep_is_leader(p->rep))
            node_partition_refresh(p);
    }
}

void node_replicate_durable(struct node *n, const struct node_message *msg)
{
    const Kvorum__DurableReport *q = msg->m->durable_report;
    if (q->has_disk_stalled)
        take_disk_state(n, msg->link, q->disk_stalled);
    for (size_t i = 0; i < q->n_items; i++) {
        const Kvorum__DurableReport__Item *item = q->items[i];
        struct kb_uuid topic_id;
        struct rep_effects fx;
        if (!item->has_topic_id || item->topic_id.len != 16)
            continue;
        memcpy(topic_id.bytes, item->topic_id.data, 16);
        struct node_partition *p = node_partition_find(n, &topic_id, item->partition);
        if (p == NULL || p->state != NODE_PARTITION_OPEN)
            continue;
        struct rep_fetch report = {
            .follower = msg->peer->id,
            .broker_epoch = (int64_t)msg->link->peer_broker_epoch,
            .link = msg->link->number,
            .leader_epoch = item->leader_epoch,
            .partition_epoch = item->partition_epoch,
            .ends = {.written = item->written,
                     .durable = item->durable,
                     .log_start = item->log_start},
        };
        /* The last request may be judged again, or has not been judged yet: by then this is known.
         */
        struct session *s = msg->link->fetch_session;
        struct follow *f = s != NULL ? follow_of(s, &topic_id, item->partition) : NULL;
        if (f != NULL && f->fetch.leader_epoch == report.leader_epoch)
            f->fetch.ends = report.ends;
        rep_follower_durable(p->rep, &report, node_now(n), &fx);
        node_partition_run(p, &fx);
    }
}

void node_replicate_wake(struct node_partition *p)
{
    struct follow *f = NULL;
    LIST_FOREACH(f, &p->follows, of_partition)
    {
        mark_ready(f);
        /* One answer for all that moves in this round. */
        if (f->session->request_id != 0)
            kb_timer_arm(f->session->timer, 0);
    }
}

/* ---- ends
 * ---------------------------------------------------------------------------------------------------
 */

void node_replicate_forget(struct node_partition *p)
{
    struct follow *f = NULL;
    struct follow *next = NULL;
    for (f = LIST_FIRST(&p->follows); f != NULL; f = next) {
        next = LIST_NEXT(f, of_partition);
        if (p->leaving || p->state == NODE_PARTITION_CLOSING) {
            read_cancel(f);
            LIST_REMOVE(f, of_partition);
            f->partition = NULL;
        }
        /* The role changed: whoever follows here is told so. */
        mark_ready(f);
        if (f->session->request_id != 0)
            kb_timer_arm(f->session->timer, 0);
    }
}

void node_replicate_link_free(struct node_link *l)
{
    struct session *s = l->fetch_session;
    struct follow *f = NULL;
    struct follow *next = NULL;
    if (s == NULL)
        return;
    HASH_ITER(hh, s->follows, f, next)
    {
        follow_free(f);
    }
    (void)kb_timer_free(s->timer);
    (void)kb_free(s->items);
    kb_chain_release(&s->payload);
    kb_arena_release(&s->arena);
    l->fetch_session = kb_free(s);
}

void node_replicate_link_closed(struct node *n, struct node_link *l)
{
    node_replicate_link_free(l);
    if (!n->links_stopped) /* the next one says so anew, or else it is over */
        take_disk_state(n, l, false);
}
