/* The toy controller: what replication-rules 1.1, 1.3 and 4.1-4.7 ask of the real one, in memory.
 */
#include "proto/base/assert.h"
#include "tests/unit/replica/model.h"

struct toy_image *model_image(struct model *m)
{
    return &m->images[m->n_images - 1];
}

static struct toy_image *next_image(struct model *m)
{
    KB_ASSERT(m->n_images < MODEL_IMAGES_MAX);
    m->images[m->n_images] = m->images[m->n_images - 1];
    m->n_images++;
    model_image(m)->image.replicas = model_image(m)->replicas;
    return model_image(m);
}

static size_t isr_size(const struct toy_image *im)
{
    size_t n = 0;
    for (int i = 0; i < MODEL_NODES; i++)
        n += im->replicas[i].in_isr;
    return n;
}

/* 4.5: live ISR members in preferred order; if the ISR is empty, live ELR members. */
static int elect(const struct model *m, const struct toy_image *im)
{
    for (int i = 0; i < MODEL_NODES; i++) {
        if (im->replicas[i].in_isr && !m->brokers[i].fenced)
            return i;
    }
    for (int i = 0; i < MODEL_NODES; i++) {
        if (isr_size(im) == 0 && im->replicas[i].in_elr && !m->brokers[i].fenced)
            return i;
    }
    return -1;
}

static void lead(struct model *m, struct toy_image *im, int node)
{
    int32_t id = node < 0 ? -1 : node + 1;
    int64_t broker_epoch = node < 0 ? -1 : m->brokers[node].broker_epoch;

    if (im->image.leader == id && im->image.leader_broker_epoch == broker_epoch)
        return;
    if (node >= 0 && !im->replicas[node].in_isr) { /* from the ELR */
        im->replicas[node].in_isr = true;
        im->replicas[node].in_elr = false;
    }
    im->image.leader = id;
    im->image.leader_broker_epoch = broker_epoch;
    im->image.leader_epoch++;
    m->elections++;
}

/* Close a batch of records: ELR (4.3), leader (4.5), epochs (4.7). was: the ISR before. */
static void settle(struct model *m, struct toy_image *im, const bool *was, unsigned distrusted)
{
    bool enough = isr_size(im) >= (size_t)im->image.min_isr;
    int leader = im->image.leader - 1;

    for (int i = 0; i < MODEL_NODES; i++) {
        struct rep_image_replica *r = &im->replicas[i];
        r->broker_epoch = m->brokers[i].broker_epoch;
        r->fenced = m->brokers[i].fenced;
        r->in_elr = !enough && !r->in_isr && (r->in_elr || was[i]) && !(distrusted >> i & 1);
    }
    if (leader < 0 || !im->replicas[leader].in_isr || m->brokers[leader].fenced ||
        im->image.leader_broker_epoch != m->brokers[leader].broker_epoch)
        leader = elect(m, im);
    lead(m, im, leader);
    if (isr_size(im) >= (size_t)im->image.min_isr) {
        for (int i = 0; i < MODEL_NODES; i++)
            im->replicas[i].in_elr = false;
    }
    im->image.partition_epoch++;
}

/* Take members out: dead ones may go to the ELR, distrusted ones go nowhere. */
static void take_out(struct model *m, struct toy_image *im, unsigned gone, unsigned distrusted)
{
    bool was[MODEL_NODES];

    for (int i = 0; i < MODEL_NODES; i++) {
        was[i] = im->replicas[i].in_isr;
        if ((gone | distrusted) >> i & 1)
            im->replicas[i].in_isr = false;
        if (distrusted >> i & 1)
            im->replicas[i].in_elr = false;
    }
    settle(m, im, was, distrusted);
}

void model_fence(struct model *m, unsigned nodes)
{
    struct toy_image *im = next_image(m);

    for (int i = 0; i < MODEL_NODES; i++) {
        if (nodes >> i & 1)
            m->brokers[i].fenced = true;
    }
    take_out(m, im, nodes, 0);
}

/* 1.3: the old incarnation ends and the new one begins in one batch; 4.4. */
void model_register(struct model *m, int node)
{
    struct toy_image *im = next_image(m);
    unsigned bit = 1u << node;

    m->brokers[node] = (struct model_broker){(int64_t)(1000 + m->n_images), true};
    take_out(m, im, bit, m->nodes[node].damaged ? bit : 0);
}

void model_unfence(struct model *m, int node)
{
    struct toy_image *im = next_image(m);
    m->brokers[node].fenced = false;
    take_out(m, im, 0, 0);
}

void model_move_leader(struct model *m, int node)
{
    struct toy_image *im = next_image(m);
    lead(m, im, node);
    take_out(m, im, 0, 0);
}

static enum rep_proposal_result judge(struct model *m, const struct model_proposal *q)
{
    const struct toy_image *im = model_image(m);

    if (im->image.leader != q->node + 1 || im->image.leader_broker_epoch != q->broker_epoch ||
        im->image.leader_epoch != q->body.leader_epoch ||
        im->image.partition_epoch != q->body.partition_epoch)
        return REP_PROPOSAL_STALE;
    for (size_t i = 0; i < q->body.n_isr; i++) { /* KIP-903, KIP-841 */
        const struct model_broker *b = &m->brokers[q->body.isr[i].node_id - 1];
        if (b->fenced || b->broker_epoch != q->body.isr[i].broker_epoch)
            return REP_PROPOSAL_REFUSED;
    }
    return REP_PROPOSAL_ACCEPTED;
}

static void alter(struct model *m, const struct rep_proposal *body)
{
    struct toy_image *im = next_image(m);
    bool was[MODEL_NODES];

    for (int i = 0; i < MODEL_NODES; i++) {
        was[i] = im->replicas[i].in_isr;
        im->replicas[i].in_isr = false;
    }
    for (size_t i = 0; i < body->n_isr; i++) {
        int node = body->isr[i].node_id - 1;
        im->replicas[node].in_isr = true;
        if (!was[node])
            model_check_join(m, node);
    }
    settle(m, im, was, 0);
}

void model_take_proposal(struct model *m, int slot)
{
    struct model_proposal *q = &m->proposals[slot];
    enum rep_proposal_result result = judge(m, q);

    q->in_flight = kb_prng_below(&m->prng, 4) == 0; /* may come twice */
    if (q->term != m->term)
        return;
    if (result == REP_PROPOSAL_ACCEPTED)
        alter(m, &q->body);
    else
        m->refusals++;
    m->nodes[q->node].reply = (struct model_reply){true, q->term, q->broker_epoch, q->body.id,
                                                   result};
}

void model_take_report(struct model *m, int node)
{
    const struct toy_image *im = model_image(m);
    const struct rep_image_replica *self = &im->replicas[node];
    bool others = false;
    int32_t epoch;

    (void)rep_standing_report(m->nodes[node].toy.rep, &epoch);
    for (int i = 0; i < MODEL_NODES; i++)
        others |= i != node && (im->replicas[i].in_isr || im->replicas[i].in_elr);
    if (others && (self->in_isr || self->in_elr || im->image.partition_epoch <= epoch))
        take_out(m, next_image(m), 0, 1u << node);
}
