/* Where new replicas go: leaders to live brokers with the fewest leaderships, followers to other
 * racks first and then to brokers with the fewest replicas; ties in an order drawn from the
 * controller's seed. Greedy, one replica after the other. */
#include <stdlib.h>
#include <string.h>

#include "coordinator/metadata/admin_private.h"
#include "proto/base/err.h"
#include "proto/base/mem.h"

struct candidate {
    const struct meta_broker *broker;
    size_t rack; /* number of its rack; brokers without one share a rack of their own */
    size_t leaders;
    size_t replicas;
    size_t own_leaders; /* of the topic being placed */
    size_t own_replicas;
    bool live;
    bool chosen; /* for the partition being placed */
};
struct meta_placer {
    struct candidate *candidates; /* in tie-breaking order */
    size_t count;
    size_t live_count;
    size_t *rack_used; /* by rack number: replicas of the partition being placed */
};

static bool same_rack(const struct meta_broker *a, const struct meta_broker *b)
{
    if (a->rack == NULL || b->rack == NULL)
        return a->rack == b->rack;
    return strcmp(a->rack, b->rack) == 0;
}

static void shuffle(struct meta_placer *p, struct kb_prng *prng)
{
    for (size_t i = p->count; i > 1; i--) {
        size_t k = (size_t)kb_prng_below(prng, i);
        struct candidate t = p->candidates[i - 1];
        p->candidates[i - 1] = p->candidates[k];
        p->candidates[k] = t;
    }
}

static struct candidate *candidate_of(struct meta_placer *p, int32_t id)
{
    for (size_t i = 0; i < p->count; i++) {
        if (p->candidates[i].broker->id == id)
            return &p->candidates[i];
    }
    return NULL;
}

static void count_existing(struct meta_placer *p, const struct meta_image *image)
{
    for (size_t i = 0; i < image->topics_count; i++) {
        const struct meta_topic *t = image->topics[i];
        for (size_t k = 0; k < t->partitions_count; k++) {
            const struct meta_partition *q = t->partitions[k];
            for (size_t r = 0; r < q->replicas_count; r++) {
                struct candidate *c = candidate_of(p, q->replicas[r]);
                if (c == NULL)
                    continue;
                c->replicas++;
                c->leaders += r == 0;
            }
        }
    }
}

struct meta_placer *meta_placer_new(struct meta_controller *c)
{
    const struct meta_image *image = c->image;
    struct meta_placer *p = kb_new(struct meta_placer);
    p->count = image->brokers_count;
    p->candidates = kb_new_array(struct candidate, p->count);
    p->rack_used = kb_new_array(size_t, p->count);
    for (size_t i = 0; i < p->count; i++) {
        struct candidate *k = &p->candidates[i];
        k->broker = image->brokers[i];
        k->live = !k->broker->fenced && !k->broker->stopping;
        p->live_count += k->live;
        while (k->rack < i && !same_rack(image->brokers[k->rack], k->broker))
            k->rack++;
    }
    shuffle(p, &c->prng);
    count_existing(p, image);
    return p;
}

struct meta_placer *meta_placer_free(struct meta_placer *p)
{
    if (p == NULL)
        return NULL;
    free(p->candidates);
    free(p->rack_used);
    return kb_free(p);
}

static int by(size_t a, size_t b)
{
    return (a > b) - (a < b);
}

/* Below 0: a is the better leader. */
static int leader_order(const struct candidate *a, const struct candidate *b)
{
    int order = by(b->live, a->live);
    if (order == 0)
        order = by(a->own_leaders, b->own_leaders);
    if (order == 0)
        order = by(a->leaders, b->leaders);
    if (order == 0)
        order = by(a->own_replicas, b->own_replicas);
    return order != 0 ? order : by(a->replicas, b->replicas);
}

static int follower_order(const struct meta_placer *p, const struct candidate *a,
                          const struct candidate *b)
{
    int order = by(b->live, a->live);
    if (order == 0)
        order = by(p->rack_used[a->rack], p->rack_used[b->rack]);
    if (order == 0)
        order = by(a->own_replicas, b->own_replicas);
    return order != 0 ? order : by(a->replicas, b->replicas);
}

static struct candidate *pick(struct meta_placer *p, bool leader)
{
    struct candidate *best = NULL;
    for (size_t i = 0; i < p->count; i++) {
        struct candidate *c = &p->candidates[i];
        if (c->chosen)
            continue;
        if (best == NULL || (leader ? leader_order(c, best) : follower_order(p, c, best)) < 0)
            best = c;
    }
    best->chosen = true;
    best->replicas++;
    best->own_replicas++;
    best->leaders += leader;
    best->own_leaders += leader;
    p->rack_used[best->rack]++;
    return best;
}

int meta_place(struct meta_placer *p, size_t partitions, size_t rf, int32_t *ret)
{
    if (rf > p->count || p->live_count == 0)
        return -KB_ELIMIT;
    for (size_t i = 0; i < p->count; i++)
        p->candidates[i].own_leaders = p->candidates[i].own_replicas = 0;
    for (size_t i = 0; i < partitions; i++) {
        for (size_t k = 0; k < p->count; k++) {
            p->candidates[k].chosen = false;
            p->rack_used[k] = 0;
        }
        for (size_t r = 0; r < rf; r++)
            ret[i * rf + r] = pick(p, r == 0)->broker->id;
    }
    return 0;
}
