/* What happens by time: the take-over scan, fencing of all that is dead in one step (rule 4.3),
 * stalled disks (9.4), waiting elections (4.5), preferred leaders. */
#include <stdlib.h>
#include <string.h>

#include "coordinator/metadata/controller_private.h"
#include "proto/base/mem.h"

/* ---- take-over scan (rule 7.4)
 * -------------------------------------------------------------------
 */

static void scan(struct meta_controller *c, uint64_t now_ms)
{
    bool decided = true;
    for (size_t i = 0; i < c->image->brokers_count; i++) {
        const struct meta_broker *b = c->image->brokers[i];
        decided = decided && (b->fenced || meta_session_decided(c, b, now_ms));
    }
    if (!decided && now_ms < c->scan_until_ms)
        return;
    /* Everybody not linked now is absent. */
    for (size_t i = 0; i < c->image->brokers_count; i++) {
        const struct meta_broker *b = c->image->brokers[i];
        struct meta_session *s = meta_session_get(c, b->id);
        if (!b->fenced && !meta_session_lives(c, b, now_ms) && s->link != META_LINK_DEAD &&
            !(s->link == META_LINK_UP && s->incarnation != b->incarnation)) {
            s->link = META_LINK_DEAD;
            s->link_since_ms = now_ms;
        }
    }
    c->scanning = false;
}

/* ---- fencing ------------------------------------------------------------------------------------
 */

static void visit_members(struct meta_plan *plan, const struct meta_partition *p, void *arg)
{
    bool all_live = p->leader >= 0 && meta_plan_live(plan, p->leader);
    for (size_t i = 0; i < p->isr_count && all_live; i++)
        all_live = meta_plan_live(plan, p->isr[i]);
    if (all_live)
        return;
    struct meta_change ch;
    meta_change_begin(&ch, p);
    meta_change_remove_dead(&ch, plan);
    meta_elect(&ch, plan);
    (void)meta_change_emit(&ch, plan);
}

static const char *death_reason(const struct meta_controller *c, const struct meta_broker *b)
{
    const struct meta_session *s = meta_session_find(c, b->id);
    if (s == NULL || s->link == META_LINK_NONE)
        return "never_linked";
    if (s->link == META_LINK_DEAD)
        return "refused_or_absent";
    if (s->incarnation != b->incarnation)
        return "new_incarnation";
    return s->link == META_LINK_CLOSED ? "link_closed" : "silent";
}

static void fence(struct meta_controller *c, uint64_t now_ms, struct meta_result *result)
{
    size_t count = 0;
    int32_t *dead = meta_dead_now(c, now_ms, -1, &count);
    if (count > 0 || c->recheck_all) {
        struct meta_plan plan = meta_plan_make(c, now_ms, result);
        plan.dead = dead;
        plan.dead_count = count;
        bool whole = meta_walk(&plan, -1, visit_members, NULL);
        /* A batch that is full is continued by the next tick; the brokers' state comes last. So is
         * one the log refused: only a walk that found nothing settles it. */
        c->recheck_all = !whole || result->records.count > 0;
        for (size_t i = 0; whole && i < count; i++) {
            const struct meta_broker *b = meta_image_broker(c->image, dead[i]);
            struct meta_session *s = meta_session_get(c, b->id);
            s->fenced_ms = now_ms;
            meta_emit_broker_change(result, b, 1, -1);
            meta_note(result, "event=broker_fenced broker=%d broker_epoch=%llu reason=%s", b->id,
                      (unsigned long long)b->epoch, death_reason(c, b));
        }
    }
    free(dead);
}

/* ---- stalled disks (rule 9.4)
 * --------------------------------------------------------------------
 */

static void visit_stalled(struct meta_plan *plan, const struct meta_partition *p, void *arg)
{
    int32_t sound[META_REPLICAS_MAX];
    size_t count = 0;
    for (size_t i = 0; i < p->isr_count; i++) {
        if (!meta_session_stalled(plan->c, p->isr[i]) && meta_plan_live(plan, p->isr[i]))
            sound[count++] = p->isr[i];
    }
    if (count == 0 || count == p->isr_count)
        return;
    struct meta_change ch;
    meta_change_begin(&ch, p);
    meta_change_set_isr(&ch, plan, sound, count);
    meta_elect(&ch, plan);
    (void)meta_change_emit(&ch, plan);
}

/* The leaders of partitions heed this: a stalled replica does not hold the high watermark back
 * while it may not join (3.1, 4.1). */
static void emit_stalls(struct meta_plan *plan)
{
    const struct meta_image *image = plan->c->image;
    for (size_t i = 0; i < image->brokers_count; i++) {
        const struct meta_broker *b = image->brokers[i];
        const struct meta_session *s = meta_session_find(plan->c, b->id);
        if (s != NULL && s->stall_known && s->incarnation == b->incarnation &&
            s->stalled != b->stalled)
            meta_emit_broker_stall(plan->result, b, s->stalled);
    }
}

static void recheck_stalls(struct meta_plan *plan)
{
    bool whole = meta_walk(plan, -1, visit_stalled, NULL);
    if (whole)
        emit_stalls(plan);
    plan->c->recheck_stall = !whole || plan->result->records.count > 0;
}

/* ---- leaders that cannot be reached (rule 4.8)
 * -----------------------------------------------------------
 */

/* Their own wish to shrink comes only after the lag time, and writes stand still until then. */
static void visit_links(struct meta_plan *plan, const struct meta_partition *p, void *arg)
{
    struct meta_change ch;
    if (p->leader < 0 || p->isr_count < 2)
        return;
    meta_change_begin(&ch, p);
    if (meta_elect_for_links(&ch, plan))
        (void)meta_change_emit(&ch, plan);
}

/* ---- waiting elections
 * ---------------------------------------------------------------------------
 */

static void visit_waits(struct meta_plan *plan)
{
    struct meta_controller *c = plan->c;
    size_t kept = 0;
    size_t count = c->waits_count;
    for (size_t i = 0; i < count; i++) {
        struct meta_wait w = c->waits[i];
        const struct meta_partition *p = meta_image_partition(c->image, &w.topic_id, w.partition);
        bool due = plan->now_ms >= w.since_ms + c->config.cut_wait_ms;
        if (p == NULL || p->leader >= 0)
            continue;
        if (!due) {
            c->waits[kept++] = w;
            continue;
        }
        struct meta_change ch;
        meta_change_begin(&ch, p);
        meta_elect(&ch, plan);
        if (meta_change_emit(&ch, plan))
            c->waits[kept++] = w; /* replay takes it out */
    }
    c->waits_count = kept;
}

/* ---- preferred leaders
 * ---------------------------------------------------------------------------
 */

static void visit_preferred(struct meta_plan *plan, const struct meta_partition *p, void *arg)
{
    int32_t preferred = p->replicas[0];
    if (p->leader < 0 || p->leader == preferred || !meta_partition_in_isr(p, preferred) ||
        !meta_plan_fit(plan, preferred) || plan->result->records.count >= META_BALANCE_BATCH)
        return;
    /* It just said that it cannot lead: try again later. */
    const struct meta_session *s = meta_session_find(plan->c, preferred);
    if (s != NULL && s->gave_up_ms != 0 && plan->now_ms < s->gave_up_ms + META_GAVE_UP_MS) {
        plan->c->balance_ms = s->gave_up_ms + META_GAVE_UP_MS;
        return;
    }
    /* Rule 4.8 would take it away again, half a minute later. */
    if (!meta_isr_reaches(plan->c, p, preferred)) {
        plan->c->balance_ms = plan->now_ms + META_GAVE_UP_MS;
        return;
    }
    struct meta_change ch;
    meta_change_begin(&ch, p);
    ch.leader = preferred;
    (void)meta_change_emit(&ch, plan);
}

static void balance(struct meta_controller *c, uint64_t now_ms, struct meta_result *result)
{
    if (!c->config.auto_leader_rebalance)
        return;
    if (c->unbalanced) {
        c->unbalanced = false;
        if (c->balance_ms == META_NEVER)
            c->balance_ms = now_ms + c->config.leader_rebalance_delay_ms;
    }
    if (now_ms < c->balance_ms)
        return;
    c->balance_ms = META_NEVER;
    struct meta_plan plan = meta_plan_make(c, now_ms, result);
    bool whole = meta_walk(&plan, -1, visit_preferred, NULL);
    if (!whole || result->records.count > 0)
        c->balance_ms = now_ms; /* until a walk finds nothing */
}

/* ---- the whole ----------------------------------------------------------------------------------
 */

static void decay_grace(struct meta_controller *c, uint64_t now_ms)
{
    for (size_t i = 0; i < c->sessions_count; i++) {
        struct meta_session *s = c->sessions[i];
        if (s->grace_ms > c->config.link_grace_ms &&
            now_ms >= s->grace_changed_ms + META_GRACE_DECAY_MS) {
            s->grace_ms /= 2;
            if (s->grace_ms < c->config.link_grace_ms)
                s->grace_ms = c->config.link_grace_ms;
            s->grace_changed_ms = now_ms;
        }
    }
}

void meta_controller_tick(struct meta_controller *c, uint64_t now_ms, struct meta_result *result)
{
    if (c->scanning)
        scan(c, now_ms);
    if (c->scanning)
        return;
    decay_grace(c, now_ms);
    /* One concern per batch: each reads the image as replay left it. */
    fence(c, now_ms, result);
    if (result->records.count > 0)
        return;
    struct meta_plan plan = meta_plan_make(c, now_ms, result);
    if (c->recheck_stall)
        recheck_stalls(&plan);
    if (result->records.count > 0)
        return;
    if (c->recheck_links)
        c->recheck_links = !meta_walk(&plan, -1, visit_links, NULL);
    if (result->records.count > 0)
        return;
    if (meta_waits_deadline(c) <= now_ms)
        visit_waits(&plan);
    if (result->records.count > 0)
        return;
    balance(c, now_ms, result);
}
