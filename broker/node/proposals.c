/* What the replicas here want of the controller: ISR changes (rule 3.3) and reports that one cannot
 * go on. Those of one round of events travel in one request. */
#include "broker/node/node_internal.h"

enum {
    ANSWER_TIMEOUT_MS = 1500, /* an answer this late is not waited for */
    PROPOSE_RETRY_MS = 50,    /* after a lost proposal; a new controller ends the wait */
    REPORT_RETRY_MS = 500,
    ALTER_ITEMS_MAX = 1000,
    REPORT_ITEMS_MAX = 64,
};

struct alter_item {
    struct kb_uuid topic_id;
    int32_t index;
    uint64_t proposal_id;
};
struct alter_call {
    struct node *node;
    uint64_t term;
    uint64_t deadline_ms;
    size_t count;
    struct alter_item *items;
    LIST_ENTRY(alter_call) entries;
};

struct node_proposals {
    struct node *node;
    struct kb_timer *flush_timer; /* proposals and reports of this round */
    uint64_t flush_ms;            /* not before: a proposal was lost, e.g. without a controller */
    LIST_HEAD(, alter_call) alters;
    struct kb_log_rate rate;
};

/* ---- ISR proposals
 * -------------------------------------------------------------------------------------------- */

static void alter_answer(struct node *n, const struct alter_item *item,
                         enum rep_proposal_result result)
{
    struct node_partition *p = node_partition_find(n, &item->topic_id, item->index);
    struct rep_effects fx;
    if (p == NULL)
        return;
    rep_proposal_answered(p->rep, item->proposal_id, result, node_now(n), &fx);
    node_partition_run(p, &fx);
}

static enum rep_proposal_result alter_result(int32_t error)
{
    switch (error) {
    case KW_NONE:
        return REP_PROPOSAL_ACCEPTED;
    case KW_FENCED_LEADER_EPOCH:
    case KW_INVALID_UPDATE_VERSION:
    case KW_NEW_LEADER_ELECTED:
    case KW_UNKNOWN_TOPIC_ID:
    case KW_UNKNOWN_TOPIC_OR_PARTITION:
    case KW_STALE_BROKER_EPOCH:
        return REP_PROPOSAL_STALE;
    case KW_INELIGIBLE_REPLICA:
    case KW_INVALID_REQUEST:
        return REP_PROPOSAL_REFUSED;
    default:
        return REP_PROPOSAL_LOST;
    }
}

static void alter_free(struct alter_call *c)
{
    LIST_REMOVE(c, entries);
    (void)kb_free(c->items);
    (void)kb_free(c);
}

static void on_altered(void *arg, const Kvorum__PeerMessage *answer, struct kb_block *frame,
                       struct kb_view payload)
{
    struct alter_call *c = arg;
    struct node *n = c->node;
    const Kvorum__AlterPartitionResponse *r = NULL;
    (void)frame;
    (void)payload;
    if (answer != NULL && answer->body_case == KVORUM__PEER_MESSAGE__BODY_ALTER_PARTITION_RESPONSE)
        r = answer->alter_partition_response;
    bool current = c->term == node_quorum_term(n);
    for (size_t i = 0; i < c->count; i++) {
        enum rep_proposal_result result = REP_PROPOSAL_LOST;
        if (r != NULL && r->error == KW_NONE && current) {
            for (size_t k = 0; k < r->n_items; k++) {
                if (r->items[k]->partition == c->items[i].index &&
                    r->items[k]->topic_id.len == 16 &&
                    memcmp(r->items[k]->topic_id.data, c->items[i].topic_id.bytes, 16) == 0)
                    result = alter_result(r->items[k]->error);
            }
        } else if (r != NULL && r->error == KW_STALE_BROKER_EPOCH) {
            result = REP_PROPOSAL_STALE;
        }
        if (result == REP_PROPOSAL_LOST)
            n->proposals->flush_ms = node_now(n) + PROPOSE_RETRY_MS;
        alter_answer(n, &c->items[i], result);
    }
    alter_free(c);
}

static Kvorum__AlterPartitionRequest__Item *
alter_item_new(struct kb_arena *a, struct node_partition *p, const struct rep_proposal *proposal)
{
    Kvorum__AlterPartitionRequest__Item *w = kb_arena_new(a, Kvorum__AlterPartitionRequest__Item);
    KB_ASSERT(w != NULL);
    kvorum__alter_partition_request__item__init(w);
    w->has_topic_id = 1;
    w->topic_id.data = p->topic_id.bytes;
    w->topic_id.len = 16;
    w->has_partition = 1;
    w->partition = p->index;
    w->has_leader_epoch = 1;
    w->leader_epoch = proposal->leader_epoch;
    w->has_partition_epoch = 1;
    w->partition_epoch = proposal->partition_epoch;
    w->isr = kb_arena_new_array(a, int32_t, proposal->n_isr);
    w->isr_broker_epochs = kb_arena_new_array(a, uint64_t, proposal->n_isr);
    KB_ASSERT(w->isr != NULL && w->isr_broker_epochs != NULL);
    for (size_t i = 0; i < proposal->n_isr; i++) {
        w->isr[i] = proposal->isr[i].node_id;
        w->isr_broker_epochs[i] = (uint64_t)proposal->isr[i].broker_epoch;
    }
    w->n_isr = proposal->n_isr;
    w->n_isr_broker_epochs = proposal->n_isr;
    w->has_synced = proposal->synced;
    w->synced = proposal->synced;
    return w;
}

static void flush_proposals(struct node *n)
{
    struct node_proposals *y = n->proposals;
    Kvorum__PeerMessage m = KVORUM__PEER_MESSAGE__INIT;
    Kvorum__AlterPartitionRequest q = KVORUM__ALTER_PARTITION_REQUEST__INIT;
    struct alter_call *c = kb_new(struct alter_call);
    struct node_partition *p = NULL;
    struct kb_arena arena;
    kb_arena_init(&arena, 64U << 20);
    c->node = n;
    c->term = node_quorum_term(n);
    c->deadline_ms = node_now(n) + ANSWER_TIMEOUT_MS;
    c->items = kb_new_array(struct alter_item, ALTER_ITEMS_MAX);
    LIST_INSERT_HEAD(&y->alters, c, entries);
    q.items = kb_arena_new_array(&arena, Kvorum__AlterPartitionRequest__Item *, ALTER_ITEMS_MAX);
    for (p = n->partitions; p != NULL && c->count < ALTER_ITEMS_MAX; p = p->hh.next) {
        const struct rep_proposal *proposal = p->propose ? rep_proposal(p->rep) : NULL;
        p->propose = false;
        if (proposal == NULL)
            continue;
        q.items[c->count] = alter_item_new(&arena, p, proposal);
        c->items[c->count].topic_id = p->topic_id;
        c->items[c->count].index = p->index;
        c->items[c->count].proposal_id = proposal->id;
        c->count++;
    }
    q.n_items = c->count;
    q.has_node_id = 1;
    q.node_id = n->config.node_id;
    q.has_broker_epoch = 1;
    q.broker_epoch = n->broker_epoch;
    q.has_term = 1;
    q.term = c->term;
    m.body_case = KVORUM__PEER_MESSAGE__BODY_ALTER_PARTITION_REQUEST;
    m.alter_partition_request = &q;
    if (c->count == 0)
        alter_free(c);
    else if (node_controller_call(n, &m, NULL, on_altered, c) < 0)
        on_altered(c, NULL, NULL, (struct kb_view){0});
    kb_arena_release(&arena);
}

/* ---- reports: a replica cannot go on
 * ------------------------------------------------------------------------------ */

static void on_reported(void *arg, const Kvorum__PeerMessage *answer, struct kb_block *frame,
                        struct kb_view payload)
{
    (void)arg;
    (void)answer;
    (void)frame;
    (void)payload; /* the image says what came of it; until then the report is repeated */
}

/* A replica that refused a cut below its HW is not one: it may hold the only good copy (2.6). */
static bool report_is_damage(enum rep_report r)
{
    return r == REP_REPORT_DAMAGED || r == REP_REPORT_MUST_DROP;
}

static void flush_reports(struct node *n, uint64_t now_ms)
{
    Kvorum__PeerMessage m = KVORUM__PEER_MESSAGE__INIT;
    Kvorum__ElectionRequest q = KVORUM__ELECTION_REQUEST__INIT;
    Kvorum__ElectionRequest__Item *items[REPORT_ITEMS_MAX];
    Kvorum__ElectionRequest__Item store[REPORT_ITEMS_MAX];
    struct node_partition *p = NULL;
    size_t count = 0;
    for (p = n->partitions; p != NULL && count < REPORT_ITEMS_MAX; p = p->hh.next) {
        int32_t report_epoch;
        p->report = rep_standing_report(p->rep, &report_epoch);
        if ((p->report == REP_REPORT_NONE && !p->hand_over) || p->report_ms > now_ms)
            continue;
        p->report_ms = now_ms + REPORT_RETRY_MS;
        Kvorum__ElectionRequest__Item *w = &store[count];
        kvorum__election_request__item__init(w);
        w->has_topic_id = 1;
        w->topic_id.data = p->topic_id.bytes;
        w->topic_id.len = 16;
        w->has_partition = 1;
        w->partition = p->index;
        w->has_leader_epoch = 1;
        w->leader_epoch = rep_leader_epoch(p->rep);
        w->has_damaged = 1;
        w->damaged = report_is_damage(p->report);
        w->has_partition_epoch = 1;
        w->partition_epoch = report_epoch;
        items[count++] = w;
        p->hand_over = false;
    }
    if (count == 0)
        return;
    q.items = items;
    q.n_items = count;
    q.has_node_id = 1;
    q.node_id = n->config.node_id;
    q.has_broker_epoch = 1;
    q.broker_epoch = n->broker_epoch;
    m.body_case = KVORUM__PEER_MESSAGE__BODY_ELECTION_REQUEST;
    m.election_request = &q;
    (void)node_controller_call(n, &m, NULL, on_reported, n);
}

static void on_flush_timer(void *arg)
{
    struct node_proposals *y = arg;
    flush_proposals(y->node);
    flush_reports(y->node, node_now(y->node));
}

static void flush_soon(struct node *n)
{
    uint64_t now = node_now(n);
    if (n->proposals == NULL)
        return; /* logs are still being opened: a standing report goes out once registered */
    uint64_t from = n->proposals->flush_ms;
    if (!kb_timer_armed(n->proposals->flush_timer))
        kb_timer_arm(n->proposals->flush_timer, from > now ? from - now : 0);
}

void node_propose(struct node_partition *p)
{
    p->propose = true;
    flush_soon(p->node);
}

void node_propose_again(struct node *n)
{
    struct node_proposals *y = n->proposals;
    struct alter_call *c = NULL;
    LIST_FOREACH(c, &y->alters, entries)
    c->deadline_ms = 0;
    y->flush_ms = 0;
    if (kb_timer_armed(y->flush_timer))
        kb_timer_arm(y->flush_timer, 0);
}

void node_report(struct node_partition *p, enum rep_report report)
{
    if (report != REP_REPORT_NONE && report != p->report)
        kb_log_error("partition", "event=report tp=%s-%d what=%s", p->topic, p->index,
                     rep_report_name(report));
    p->report = report;
    p->report_ms = 0;
    if (report != REP_REPORT_NONE)
        flush_soon(p->node);
}

void node_report_disk_full(struct node_partition *p)
{
    kb_log_rate_warn(&p->node->proposals->rate, node_now(p->node), "partition",
                     "event=disk_full tp=%s-%d action=hand_over", p->topic, p->index);
    if (p->hand_over || p->report_ms > node_now(p->node))
        return;
    p->hand_over = true;
    flush_soon(p->node);
}

/* ---- life
 */

static void expire_alters(struct node *n, uint64_t now_ms)
{
    struct alter_call *c = NULL;
    LIST_FOREACH(c, &n->proposals->alters, entries)
    {
        if (c->deadline_ms > now_ms || c->count == 0)
            continue;
        for (size_t i = 0; i < c->count; i++)
            alter_answer(n, &c->items[i], REP_PROPOSAL_LOST);
        c->count = 0; /* a late answer finds nothing to say */
    }
}

void node_proposals_tick(struct node *n, uint64_t now_ms, bool registered)
{
    expire_alters(n, now_ms);
    if (registered)
        flush_reports(n, now_ms);
}

void node_proposals_start(struct node *n)
{
    struct node_proposals *y = kb_new(struct node_proposals);
    y->node = n;
    LIST_INIT(&y->alters);
    y->flush_timer = kb_timer_new(n->env, on_flush_timer, y);
    n->proposals = y;
}

void node_proposals_free(struct node *n)
{
    struct node_proposals *y = n->proposals;
    if (y == NULL)
        return;
    while (!LIST_EMPTY(&y->alters))
        alter_free(LIST_FIRST(&y->alters));
    (void)kb_timer_free(y->flush_timer);
    n->proposals = kb_free(y);
}
