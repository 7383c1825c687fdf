#include "broker/api/internal.h"

enum {
    CREATIONS_MAX = 64,
    CREATION_FORGET_MS = 100,
    PROOF_WAIT_MS = 50,    /* a leader's sign of life */
    CREATE_WAIT_MS = 1000, /* a topic made on demand is waited for this long */
    CREATE_AGAIN_MS = 50,  /* its creation may have been refused: ask again */
};

char *api_text(struct node_request *rq, struct kw_str s)
{
    return kb_arena_strndup(&rq->arena, s.data != NULL ? s.data : "", (size_t)s.size);
}

struct kw_str api_str(const char *s)
{
    return s != NULL ? kw_str_of(s) : KW_STR("");
}

const struct meta_topic *api_topic(struct node_request *rq, struct kw_str name,
                                   const struct kb_uuid *id)
{
    if (name.data == NULL)
        return meta_image_topic_by_id(rq->node->image, id);
    char *text = api_text(rq, name);
    if (text == NULL || memchr(text, '\0', (size_t)name.size) != NULL)
        return NULL;
    return meta_image_topic(rq->node->image, text);
}

const struct meta_endpoint *api_broker_endpoint(struct node_request *rq, int32_t broker_id)
{
    const struct meta_broker *b = meta_image_broker(rq->node->image, broker_id);
    return b != NULL && rq->listener_name != NULL ? meta_broker_endpoint(b, rq->listener_name)
                                                  : NULL;
}

/* ---- creating a topic because somebody asked for it
 * ------------------------------------------------- */

struct creation {
    char name[META_TOPIC_NAME_MAX + 1];
    uint64_t until_ms;
};
struct api_creations {
    struct creation items[CREATIONS_MAX];
};

static bool creation_begin(struct node *n, const char *topic)
{
    uint64_t now_ms = node_now(n);
    struct creation *free_slot = NULL;
    if (n->creations == NULL)
        n->creations = kb_new(struct api_creations);
    for (size_t i = 0; i < CREATIONS_MAX; i++) {
        struct creation *c = &n->creations->items[i];
        if (c->until_ms > now_ms && strcmp(c->name, topic) == 0)
            return false;
        if (c->until_ms <= now_ms)
            free_slot = c;
    }
    if (free_slot == NULL)
        return false;
    memcpy(free_slot->name, topic, strlen(topic) + 1);
    free_slot->until_ms = now_ms + CREATION_FORGET_MS;
    return true;
}

static void creation_end(struct node *n, const char *topic)
{
    for (size_t i = 0; n->creations != NULL && i < CREATIONS_MAX; i++) {
        if (strcmp(n->creations->items[i].name, topic) == 0)
            n->creations->items[i].until_ms = 0;
    }
}

struct creation_call {
    struct node *node;
    char name[META_TOPIC_NAME_MAX + 1];
};

static void created(struct creation_call *c, bool failed)
{
    if (failed && !c->node->freeing)
        creation_end(c->node, c->name);
    (void)kb_free(c);
}

static void on_created_here(void *arg, struct kb_chain *frame, uint64_t commit_index)
{
    (void)commit_index;
    created(arg, frame == NULL);
}

static void on_created_there(void *arg, const Kvorum__PeerMessage *answer, struct kb_block *frame,
                             struct kb_view payload)
{
    (void)frame;
    (void)payload;
    created(arg, answer == NULL ||
                     answer->body_case != KVORUM__PEER_MESSAGE__BODY_FORWARD_RESPONSE ||
                     answer->forward_response->error != KW_NONE);
}

static struct kb_block *creation_frame(const char *topic)
{
    struct kw_create_topics_request req;
    struct kw_create_topics_request_topic item;
    struct kw_request_header header = {
        .api_key = KW_API_CREATE_TOPICS, .api_version = 5, .client_id = KW_STR("kvorum")};
    struct kb_chain chain = {0};
    struct kw_writer w;
    kw_create_topics_request_init(&req);
    kw_create_topics_request_topic_init(&item);
    item.name = kw_str_of(topic);
    item.num_partitions = -1;
    item.replication_factor = -1;
    req.topics = &item;
    req.topics_count = 1;
    req.timeout_ms = 30000;
    kw_writer_init(&w, &chain);
    kw_request_header_write(&w, &header);
    kw_create_topics_request_write(&w, header.api_version, &req);
    int r = kw_writer_finish(&w);
    KB_ASSERT(r == 0 && chain.count == 1);
    struct kb_block *b = kb_block_copy(chain.slices[0].block->data + chain.slices[0].position,
                                       (size_t)chain.slices[0].size);
    kb_chain_release(&chain);
    return b;
}

void api_auto_create(struct node *n, const char *topic)
{
    if (strlen(topic) > META_TOPIC_NAME_MAX || !creation_begin(n, topic))
        return;
    struct creation_call *c = kb_new(struct creation_call);
    struct kb_block *frame = creation_frame(topic);
    c->node = n;
    memcpy(c->name, topic, strlen(topic) + 1);
    if (node_quorum_is_leader(n)) {
        node_clients_forwarded(n, frame, kb_view_of(frame->data, frame->size), "", NULL,
                               on_created_here, c);
    } else {
        Kvorum__PeerMessage m = KVORUM__PEER_MESSAGE__INIT;
        Kvorum__ForwardRequest q = KVORUM__FORWARD_REQUEST__INIT;
        struct kb_chain payload = {0};
        m.body_case = KVORUM__PEER_MESSAGE__BODY_FORWARD_REQUEST;
        m.forward_request = &q;
        kb_chain_add_block(&payload, frame, 0, frame->size);
        if (node_controller_call(n, &m, &payload, on_created_there, c) < 0)
            created(c, true);
    }
    (void)kb_block_unref(frame);
}

/* ---- answers that name leaders
 * ---------------------------------------------------------------------- */

void api_question_init(struct api_question *q, struct node *n)
{
    *q = (struct api_question){
        .node = n, .started_ms = node_now(n), .proof_since = n->proof_sequence};
}

uint64_t api_leader_until(const struct api_question *q, int32_t leader)
{
    uint64_t until_ms = 0;
    if (leader < 0)
        return 0;
    if (node_leader_held(q->node, leader, &until_ms))
        return until_ms;
    until_ms = q->started_ms + PROOF_WAIT_MS;
    return node_now(q->node) < until_ms && node_leader_unproven(q->node, leader, q->proof_since)
               ? until_ms
               : 0;
}

uint64_t api_creation_until(const struct api_question *q, const char *topic)
{
    uint64_t now_ms = node_now(q->node);
    if (now_ms >= q->started_ms + CREATE_WAIT_MS)
        return 0;
    api_auto_create(q->node, topic);
    return now_ms + CREATE_AGAIN_MS;
}

/* ---- answers that wait
 * ------------------------------------------------------------------------------ */

static void cancel_wait(struct node_request *rq)
{
    struct api_wait *w = rq->op;
    node_hold_remove(&w->hold);
    node_request_free(rq);
}

static void try_answer(struct api_wait *w)
{
    uint64_t until_ms = w->until(w);
    if (until_ms == 0 || w->rq->node->state == NODE_STOPPING) {
        w->answer(w);
        return;
    }
    w->hold.deadline_ms = until_ms;
    node_hold_add(w->rq->node, &w->hold);
}

static void on_hold(struct node_hold *h)
{
    try_answer((struct api_wait *)h);
}

void api_wait_start(struct api_wait *w, struct node_request *rq,
                    uint64_t (*until)(struct api_wait *), void (*answer)(struct api_wait *))
{
    w->rq = rq;
    w->until = until;
    w->answer = answer;
    w->hold.fn = on_hold;
    rq->op = w;
    rq->cancel = cancel_wait;
    try_answer(w);
}
