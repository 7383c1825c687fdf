/* Batches of idempotent producers that were refused for a passing reason.
 *
 * A producer has several batches under way. When the first is refused because this broker does not
 * lead (yet), or lacks replicas or space, and a moment later the reason has passed, the next batch
 * finds a gap in the sequences. So it does when the first was appended in an epoch that ended, and
 * did not survive it. That is not what OUT_OF_ORDER_SEQUENCE_NUMBER means to a client:
 * librdkafka takes a new epoch and sends all it has open again, also what is in the log already. So
 * what follows a refused batch is refused with the same error until the batch comes again. */
#include "broker/node/node_internal.h"

enum {
    REMEMBER_MS =
        10000,         /* longer than requests wait in a socket; a client answered sends in order */
    REFUSED_MAX = 128, /* producers per partition; the oldest makes room */
};

struct node_refused {
    struct node_sequence first; /* of the batches refused, that has not come again */
    int32_t last_sequence;      /* where the last one of them begins */
    enum kw_error error;
    uint64_t until_ms;
    TAILQ_ENTRY(node_refused) entries;
};

static void forget(struct node_partition *p, struct node_refused *r)
{
    TAILQ_REMOVE(&p->refused, r, entries);
    p->refused_count--;
    (void)kb_free(r);
}

static struct node_refused *find(struct node_partition *p, const struct node_sequence *s)
{
    struct node_refused *r = NULL;
    TAILQ_FOREACH(r, &p->refused, entries)
    {
        if (r->first.producer_id == s->producer_id && r->first.producer_epoch == s->producer_epoch)
            return r;
    }
    return NULL;
}

/* Whether sequence a lies behind b; sequences wrap at 2^31. */
static bool is_behind(int32_t a, int32_t b)
{
    uint32_t distance = ((uint32_t)a - (uint32_t)b) & INT32_MAX;
    return distance != 0 && distance < (1U << 30);
}

void node_refused_expire(struct node_partition *p, uint64_t now_ms)
{
    struct node_refused *r = NULL;
    while ((r = TAILQ_FIRST(&p->refused)) != NULL && r->until_ms <= now_ms)
        forget(p, r);
}

void node_refused_add(struct node_partition *p, const struct node_sequence *sequence,
                      enum kw_error error)
{
    uint64_t now_ms = node_now(p->node);
    if (sequence->producer_id < 0 || sequence->base_sequence < 0)
        return;
    node_refused_expire(p, now_ms);
    struct node_refused *old = find(p, sequence);
    struct node_refused *r = kb_new(struct node_refused);
    r->first = *sequence;
    r->last_sequence = sequence->base_sequence;
    r->error = error;
    r->until_ms = now_ms + REMEMBER_MS;
    if (old != NULL) {
        if (is_behind(r->first.base_sequence, old->first.base_sequence))
            r->first.base_sequence = old->first.base_sequence;
        if (is_behind(old->last_sequence, r->last_sequence))
            r->last_sequence = old->last_sequence;
        forget(p, old);
    } else if (p->refused_count >= REFUSED_MAX) {
        forget(p, TAILQ_FIRST(&p->refused));
    }
    TAILQ_INSERT_TAIL(&p->refused, r, entries); /* by time */
    p->refused_count++;
}

enum kw_error node_refused_before(struct node_partition *p, const struct node_sequence *sequence)
{
    node_refused_expire(p, node_now(p->node));
    struct node_refused *r = find(p, sequence);
    if (r == NULL || !is_behind(sequence->base_sequence, r->first.base_sequence))
        return KW_NONE;
    if (is_behind(sequence->base_sequence, r->last_sequence))
        r->last_sequence = sequence->base_sequence;
    return r->error;
}

void node_refused_passed(struct node_partition *p, const struct node_sequence *sequence)
{
    struct node_refused *r = find(p, sequence);
    if (r == NULL || is_behind(r->first.base_sequence, sequence->base_sequence))
        return;
    /* Others were refused behind it, and one that was sent before the client heard of that may
     * still come ahead of them (simulator seed 694276). */
    if (is_behind(r->last_sequence, sequence->base_sequence))
        r->first.base_sequence = (int32_t)(((uint32_t)sequence->base_sequence + 1) & INT32_MAX);
    else
        forget(p, r);
}

void node_refused_free(struct node_partition *p)
{
    while (!TAILQ_EMPTY(&p->refused))
        forget(p, TAILQ_FIRST(&p->refused));
}
