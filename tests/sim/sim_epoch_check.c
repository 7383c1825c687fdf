#include "tests/sim/sim_epoch_check.h"

#include <stdlib.h>

#include "proto/base/mem.h"

/* Where the epochs of a log begin. */
struct epochs {
    struct sim_epoch_entry *entries;
    size_t count, capacity;
};

/* An epoch that somebody led. */
struct led {
    bool known;
    uint32_t node, life;
    int64_t start, end; /* what was appended in it */
    int64_t high_watermark;
    struct epochs before; /* of the log it began with */
};

/* What was last seen of a replica. */
struct replica {
    struct sim_replica_view view; /* epochs points nowhere */
    struct epochs epochs;
    bool seen;
    bool excused;      /* damaged at some time since its log was last seen open */
    int32_t cut_epoch; /* in which it decided to cut */
};

struct partition {
    struct led *led; /* by leader epoch */
    size_t count, capacity;
};

struct sim_epoch_check {
    struct sim_checks *checks;
    uint32_t nodes, partitions;
    struct replica *replicas; /* [node * partitions + partition] */
    struct partition *partition;
};

struct sim_epoch_check *sim_epoch_check_new(struct sim_checks *checks, uint32_t nodes,
                                            uint32_t partitions)
{
    struct sim_epoch_check *c = kb_new(struct sim_epoch_check);
    c->checks = checks;
    c->nodes = nodes;
    c->partitions = partitions;
    c->replicas = kb_new_array(struct replica, (size_t)nodes * partitions);
    c->partition = kb_new_array(struct partition, partitions);
    return c;
}

struct sim_epoch_check *sim_epoch_check_free(struct sim_epoch_check *c)
{
    if (c == NULL)
        return NULL;
    for (size_t i = 0; i < (size_t)c->nodes * c->partitions; i++)
        free(c->replicas[i].epochs.entries);
    for (uint32_t p = 0; p < c->partitions; p++) {
        for (size_t e = 0; e < c->partition[p].count; e++)
            free(c->partition[p].led[e].before.entries);
        free(c->partition[p].led);
    }
    free(c->replicas);
    free(c->partition);
    free(c);
    return NULL;
}

/* ---- epochs ---- */

static void take_epochs(struct epochs *to, const struct sim_epoch_entry *entries, size_t count)
{
    to->count = 0;
    for (size_t i = 0; i < count; i++) {
        kb_array_reserve(to->entries, to->count, to->capacity);
        to->entries[to->count++] = entries[i];
    }
}

static bool same_entry(const struct sim_epoch_entry *a, const struct sim_epoch_entry *b)
{
    return a->epoch == b->epoch && a->start == b->start;
}

/* Mostly nothing changed. Entries come and go at the ends only. */
static bool same_epochs(const struct epochs *e, const struct sim_replica_view *v)
{
    size_t n = e->count;
    return n == v->epoch_count && (n == 0 || (same_entry(&e->entries[0], &v->epochs[0]) &&
                                              same_entry(&e->entries[n - 1], &v->epochs[n - 1])));
}

static int32_t epoch_at(const struct epochs *e, int64_t offset)
{
    size_t i = e->count;
    while (i > 0 && e->entries[i - 1].start > offset)
        i--;
    return i > 0 ? e->entries[i - 1].epoch : -1;
}

static struct led *led_of(struct sim_epoch_check *c, uint32_t partition, int32_t epoch)
{
    struct partition *p = &c->partition[partition];
    return epoch >= 0 && (size_t)epoch < p->count && p->led[epoch].known ? &p->led[epoch] : NULL;
}

static struct led *led_add(struct sim_epoch_check *c, uint32_t partition, int32_t epoch)
{
    struct partition *p = &c->partition[partition];
    while (p->count <= (size_t)epoch) {
        kb_array_reserve(p->led, p->count, p->capacity);
        p->led[p->count++] = (struct led){0};
    }
    p->led[epoch].known = true;
    return &p->led[epoch];
}

/* The epoch of what the leader of this one has there; -1 nothing. */
static int32_t led_epoch_at(const struct led *l, int32_t epoch, int64_t offset)
{
    if (offset >= l->end)
        return -1;
    return offset >= l->start ? epoch : epoch_at(&l->before, offset);
}

/* ---- leaders ---- */

static void step_leader(struct sim_epoch_check *c, uint32_t node, uint32_t partition,
                        const struct sim_replica_view *before, const struct sim_replica_view *view)
{
    bool went_on = before != NULL && before->open && before->leader &&
                   before->leader_epoch == view->leader_epoch;
    struct led *l = led_of(c, partition, view->leader_epoch);
    if (l == NULL) {
        l = led_add(c, partition, view->leader_epoch);
        l->node = node;
        l->life = view->life;
        l->start = l->end = view->end;
        l->high_watermark = view->high_watermark;
        take_epochs(&l->before, view->epochs, view->epoch_count);
        return;
    }
    if (went_on)
        sim_check(c->checks, SIM_CHECK_P6, view->end >= before->end,
                  "partition %u: node %u, leader of epoch %d, cuts its log from %lld to %lld",
                  partition, node + 1, view->leader_epoch, (long long)before->end,
                  (long long)view->end);
    if (went_on && view->end > before->end)
        sim_check(c->checks, SIM_CHECK_P8, l->node == node && l->life == view->life,
                  "partition %u: node %u (life %u) and node %u (life %u) append in epoch %d",
                  partition, l->node + 1, l->life, node + 1, view->life, view->leader_epoch);
    if (l->node != node || l->life != view->life)
        return;
    l->end = view->end > l->end ? view->end : l->end;
    if (view->high_watermark > l->high_watermark)
        l->high_watermark = view->high_watermark;
}

/* It leads no more: what it raised its high watermark to last, others may have heard of (3.4). */
static void step_former_leader(struct sim_epoch_check *c, uint32_t node, uint32_t partition,
                               const struct sim_replica_view *before,
                               const struct sim_replica_view *view)
{
    struct led *l = led_of(c, partition, before->leader_epoch);
    if (l != NULL && l->node == node && l->life == view->life &&
        view->high_watermark > l->high_watermark)
        l->high_watermark = view->high_watermark;
}

void sim_epoch_check_batch(struct sim_epoch_check *c, uint32_t node, uint32_t partition,
                           int64_t first, int64_t last, int32_t epoch)
{
    const struct led *l = led_of(c, partition, epoch);
    sim_check(c->checks, SIM_CHECK_P8, l != NULL && first >= l->start && last < l->end,
              "partition %u: node %u holds %lld-%lld of epoch %d, whose leader did not append it",
              partition, node + 1, (long long)first, (long long)last, epoch);
}

/* ---- followers ---- */

/* What fell off first must be something that the leader has not. */
static void check_cut(struct sim_epoch_check *c, uint32_t node, uint32_t partition,
                      const struct replica *r, const struct sim_replica_view *view)
{
    const struct led *l = led_of(c, partition, r->cut_epoch);
    if (l == NULL || view->start != r->view.start)
        return; /* its leader was not seen to lead yet; or it begins elsewhere */
    int32_t own = epoch_at(&r->epochs, view->end);
    int32_t others = led_epoch_at(l, r->cut_epoch, view->end);
    sim_check(c->checks, SIM_CHECK_P6, own != others,
              "partition %u: node %u cuts from %lld to %lld, and the leader of epoch %d has what "
              "lies there, too, in epoch %d",
              partition, node + 1, (long long)r->view.end, (long long)view->end, r->cut_epoch,
              others);
}

/* It is no further than its leader was, and agrees with it up to there. Who led until this event
 * may have raised it in its own epoch: a broker that was cut off replays many records in one event,
 * and one of them takes a silent member out of the ISR (3.1) before another names the next leader.
 * That one may trail with its high watermark (10.1), but it began with all that was committed. */
static void check_rise(struct sim_epoch_check *c, uint32_t node, uint32_t partition,
                       const struct sim_replica_view *before, const struct sim_replica_view *view)
{
    const struct led *l = led_of(c, partition, view->leader_epoch);
    const struct epochs now = {.entries = (struct sim_epoch_entry *)(uintptr_t)view->epochs,
                               .count = view->epoch_count};
    int64_t hw = view->high_watermark;
    bool deposed = before->leader && before->leader_epoch != view->leader_epoch;
    if (l == NULL || (deposed && c->checks->unclean_asked)) /* 2.7: it may have begun with less */
        return;
    int64_t most = deposed && l->start > l->high_watermark ? l->start : l->high_watermark;
    sim_check(c->checks, SIM_CHECK_P6, hw <= most,
              "partition %u: node %u has a high watermark of %lld, its leader in epoch %d %lld",
              partition, node + 1, (long long)hw, view->leader_epoch, (long long)most);
    if (hw <= view->start)
        return; /* nothing lies there: it begins behind what was deleted */
    int32_t own = epoch_at(&now, hw - 1);
    int32_t others = led_epoch_at(l, view->leader_epoch, hw - 1);
    sim_check(c->checks, SIM_CHECK_P6, own == others,
              "partition %u: node %u raises its high watermark to %lld, behind a batch of epoch %d "
              "where the leader of epoch %d has one of %d",
              partition, node + 1, (long long)hw, own, view->leader_epoch, others);
}

static void step_follower(struct sim_epoch_check *c, uint32_t node, uint32_t partition,
                          const struct replica *r, const struct sim_replica_view *view)
{
    const struct sim_replica_view *before = &r->view;
    /* Who has lost something begins anew, once nobody counts on it (2.8). So does who holds nothing
     * and learns that its leader's start lies inside a batch: at the batch. */
    bool empty = before->open && before->start == before->end;
    bool excused = (r->excused || before->damaged || empty) && !view->member;
    excused = excused || c->checks->unclean_asked; /* 2.7 */
    if (view->high_watermark < before->high_watermark)
        sim_check(c->checks, SIM_CHECK_P6, excused,
                  "partition %u: node %u cuts below its high watermark of %lld, to %lld%s",
                  partition, node + 1, (long long)before->high_watermark,
                  (long long)view->high_watermark, view->member ? ", as a member" : "");
    if (view->end < before->end && !excused)
        check_cut(c, node, partition, r, view);
    if (view->high_watermark > before->high_watermark && !view->leader)
        check_rise(c, node, partition, before, view);
}

static bool is_news(const struct sim_replica_view *a, const struct sim_replica_view *b)
{
    return a->life != b->life || a->open != b->open || a->leader != b->leader ||
           a->cutting != b->cutting || a->damaged != b->damaged ||
           a->leader_epoch != b->leader_epoch || a->start != b->start || a->end != b->end ||
           a->high_watermark != b->high_watermark;
}

bool sim_epoch_check_knows(const struct sim_epoch_check *c, uint32_t node, uint32_t partition,
                           const struct sim_replica_view *view)
{
    const struct replica *r = &c->replicas[(size_t)node * c->partitions + partition];
    return r->seen && !is_news(&r->view, view);
}

void sim_epoch_check_step(struct sim_epoch_check *c, uint32_t node, uint32_t partition,
                          const struct sim_replica_view *view)
{
    struct replica *r = &c->replicas[(size_t)node * c->partitions + partition];
    if (sim_epoch_check_knows(c, node, partition, view))
        return;
    bool same_life = r->seen && r->view.life == view->life;
    r->excused = same_life && (r->excused || view->damaged);
    if (!view->open) {
        if (!same_life) { /* what it was before its start says nothing */
            r->view = *view;
            r->seen = true;
        }
        return;
    }
    if (view->cutting && !(same_life && r->view.cutting))
        r->cut_epoch = view->leader_epoch;
    bool known = same_life && r->view.open;
    if (known && r->view.leader && !view->leader)
        step_former_leader(c, node, partition, &r->view, view);
    if (known && !(view->leader && r->view.leader))
        step_follower(c, node, partition, r, view);
    if (view->leader)
        step_leader(c, node, partition, known ? &r->view : NULL, view);
    r->excused = view->damaged;
    r->view = *view;
    r->view.epochs = NULL;
    r->seen = true;
    if (!same_epochs(&r->epochs, view))
        take_epochs(&r->epochs, view->epochs, view->epoch_count);
}
