/* Heartbeats: sessions, unfencing (rule 7.6), controlled stop. */
#include <stdlib.h>

#include "coordinator/metadata/controller_private.h"
#include "proto/base/mem.h"
#include "proto/base/mutant.h"
#include "proto/kafka/error.h"

static void take_soft_state(struct meta_controller *c, struct meta_session *s,
                            const struct meta_broker *b, const struct meta_heartbeat_request *req)
{
    bool stalled = req->disk_full || req->disk_stall_ms >= c->config.disk_stall_ms;
    if (stalled != s->stalled || stalled != b->stalled) {
        c->recheck_stall = true;
        c->unbalanced = true;
    }
    s->stalled = stalled;
    s->stall_known = true;
    c->recheck_links |= req->dead_links_count > 0;
    free(s->dead_links);
    s->dead_links = kb_new_array(int32_t, req->dead_links_count);
    s->dead_links_count = req->dead_links_count;
    for (size_t i = 0; i < req->dead_links_count; i++)
        s->dead_links[i] = req->dead_links[i];
}

/* Rule 7.5: it was not dead after all. */
static void widen_grace(struct meta_controller *c, struct meta_session *s, uint64_t now_ms)
{
    if (s->fenced_ms == 0)
        return;
    if (now_ms < s->fenced_ms + META_RETURN_MS) {
        s->grace_ms *= 2;
        if (s->grace_ms > c->config.session_timeout_ms)
            s->grace_ms = c->config.session_timeout_ms;
        s->grace_changed_ms = now_ms;
    }
    s->fenced_ms = 0;
}

static void unfence(struct meta_plan *plan, const struct meta_broker *b)
{
    plan->joining = b->id;
    if (!KB_MUTANT("leaderless-stay-so") && !meta_walk(plan, b->id, meta_visit_leaderless, NULL))
        plan->c->recheck_all = true; /* the next ticks elect the rest */
    meta_emit_broker_change(plan->result, b, 0, -1);
    meta_note(plan->result, "event=broker_unfenced broker=%d broker_epoch=%llu", b->id,
              (unsigned long long)b->epoch);
}

/* The stopping broker leaves every ISR that others are in, and with it the lead. */
static void visit_stopping(struct meta_plan *plan, const struct meta_partition *p, void *arg)
{
    int32_t broker_id = *(const int32_t *)arg;
    int32_t others[META_REPLICAS_MAX];
    size_t count = 0;
    if (!meta_partition_in_isr(p, broker_id))
        return;
    for (size_t i = 0; i < p->isr_count; i++) {
        if (p->isr[i] != broker_id && meta_plan_live(plan, p->isr[i]))
            others[count++] = p->isr[i];
    }
    if (count == 0)
        return;
    struct meta_change ch;
    meta_change_begin(&ch, p);
    meta_change_set_isr(&ch, plan, others, count);
    meta_elect(&ch, plan);
    (void)meta_change_emit(&ch, plan);
}

static bool stop(struct meta_plan *plan, const struct meta_broker *b)
{
    plan->avoiding = b->id;
    int32_t id = b->id;
    bool whole = meta_walk(plan, id, visit_stopping, &id);
    if (whole && !b->stopping) {
        meta_emit_broker_change(plan->result, b, -1, 1);
        meta_note(plan->result, "event=broker_stopping broker=%d broker_epoch=%llu", b->id,
                  (unsigned long long)b->epoch);
    }
    return whole;
}

void meta_controller_heartbeat(struct meta_controller *c, uint64_t now_ms,
                               const struct meta_heartbeat_request *req, struct meta_result *result,
                               struct meta_heartbeat_response *ret)
{
    const struct meta_broker *b = meta_image_broker(c->image, req->broker_id);
    *ret = (struct meta_heartbeat_response){.fenced = true};
    if (b == NULL) {
        ret->error = KW_BROKER_ID_NOT_REGISTERED;
        return;
    }
    if ((b->epoch != req->broker_epoch || b->incarnation != req->incarnation) &&
        !KB_MUTANT("stale-heartbeat-counts")) {
        ret->error = KW_STALE_BROKER_EPOCH;
        return;
    }
    struct meta_session *s = meta_session_get(c, req->broker_id);
    meta_controller_link(c, now_ms, req->broker_id, META_LINK_UP, req->incarnation);
    take_soft_state(c, s, b, req);
    ret->fenced = b->fenced;
    if (c->scanning)
        return;
    struct meta_plan plan = meta_plan_make(c, now_ms, result);
    if (req->want_stop) {
        ret->may_stop = stop(&plan, b);
    } else if (b->fenced) {
        widen_grace(c, s, now_ms);
        if (req->want_unfence && s->reported_epoch == b->epoch && req->applied_index >= b->epoch) {
            unfence(&plan, b);
            ret->fenced = false;
        }
    }
}
