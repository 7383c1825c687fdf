#include <string.h>

#include "proto/base/err.h"
#include "proto/base/mem.h"
#include "replication/replica/internal.h"

/* The committed metadata as this replica holds it. */

int rep_image_check(const struct rep_image *image)
{
    bool leader_in_isr = image->leader < 0;

    if (image->n_replicas > REP_REPLICAS_MAX || image->min_isr < 1 || image->leader_epoch < 0)
        return -KB_EINVAL;
    for (size_t i = 0; i < image->n_replicas; i++) {
        const struct rep_image_replica *m = &image->replicas[i];
        if (m->node_id < 0 || (m->in_isr && m->in_elr))
            return -KB_EINVAL;
        if (m->node_id == image->leader)
            leader_in_isr = m->in_isr;
    }
    return leader_in_isr ? 0 : -KB_EINVAL;
}

struct rep_peer *rep_peer_find(const struct rep *r, int32_t node_id)
{
    for (size_t i = 0; i < r->n_peers; i++) {
        if (r->peers[i].meta.node_id == node_id)
            return &r->peers[i];
    }
    return NULL;
}

void rep_peer_forget(struct rep_peer *p)
{
    p->checked = -1;
    p->partition_epoch = -1;
    p->ends = (struct rep_ends){-1, -1, -1};
    p->mark_ms = 0;
    p->caught_up_ms = 0;
}

size_t rep_isr_size(const struct rep *r)
{
    size_t n = 0;
    for (size_t i = 0; i < r->n_peers; i++)
        n += r->peers[i].meta.in_isr;
    return n;
}

static enum rep_left_reason reason_left(const struct rep_peer *was,
                                        const struct rep_image_replica *is)
{
    if (was->leaving)
        return REP_LEFT_LAGGING;
    if (is->broker_epoch != was->meta.broker_epoch)
        return REP_LEFT_RESTARTED;
    if (is->fenced)
        return REP_LEFT_FENCED;
    if (is->stopping)
        return REP_LEFT_STOPPING;
    return is->stalled ? REP_LEFT_STALLED : REP_LEFT_BY_CONTROLLER;
}

/* What is known of a replica, carried over from the former image. */
static struct rep_peer carry_over(const struct rep *r, const struct rep_image_replica *is,
                                  uint64_t now_ms)
{
    const struct rep_peer *was = rep_peer_find(r, is->node_id);
    struct rep_peer p = {.meta = *is};

    if (was == NULL) {
        rep_peer_forget(&p);
        if (is->in_isr)
            rep_isr_joined(r, &p, now_ms);
        return p;
    }
    p = *was;
    p.meta = *is;
    if (was->meta.in_isr && !is->in_isr) {
        p.left_reason = reason_left(was, is);
        p.left_ms = now_ms;
    }
    if (is->broker_epoch != was->meta.broker_epoch) { /* KIP-903: another life, other bytes */
        uint64_t caught_up_ms = p.caught_up_ms;
        rep_peer_forget(&p);
        p.link = 0;
        p.caught_up_ms = is->in_isr ? caught_up_ms : 0;
    }
    if (is->in_isr) {
        p.left_reason = REP_LEFT_NOT;
        if (!was->meta.in_isr)
            rep_isr_joined(r, &p, now_ms);
    }
    return p;
}

void rep_image_adopt(struct rep *r, const struct rep_image *image, uint64_t now_ms)
{
    struct rep_peer *peers = kb_new_array(struct rep_peer, image->n_replicas);

    for (size_t i = 0; i < image->n_replicas; i++)
        peers[i] = carry_over(r, &image->replicas[i], now_ms);
    kb_free(r->peers);
    r->peers = peers;
    r->n_peers = image->n_replicas;
    if (image->partition_epoch > r->image.partition_epoch ||
        image->leader_epoch > r->image.leader_epoch)
        rep_isr_settle(r); /* 3.3: now the image says it all */
    r->image = *image;
    r->image.replicas = NULL;
    r->has_image = true;
}
