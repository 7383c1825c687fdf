#include <string.h>

#include "proto/base/assert.h"
#include "proto/base/log.h"
#include "proto/base/mem.h"
#include "proto/base/mutant.h"
#include "replication/replica/internal.h"

/* Who keeps up (4.2), who may join (4.1), and the proposals that follow (3.3). */

bool rep_peer_eligible(const struct rep_peer *p)
{
    return p->meta.broker_epoch >= 0 && !p->meta.fenced && !p->meta.stopping && !p->meta.stalled;
}

/* ---- keeping up ------------------------------------------------------------------------------ */

static void set_mark(struct rep_peer *p, int64_t offset, uint64_t now_ms)
{
    p->mark_offset = offset;
    p->mark_ms = now_ms;
}

uint64_t rep_peer_lag_ms(const struct rep *r, const struct rep_peer *p, uint64_t now_ms)
{
    if (rep_peer_counted(r, p) >= r->log_end)
        return 0;
    return p->caught_up_ms == 0 ? REP_NEVER : rep_elapsed_ms(now_ms, p->caught_up_ms);
}

void rep_isr_enter(struct rep *r, uint64_t now_ms)
{
    for (size_t i = 0; i < r->n_peers; i++) {
        struct rep_peer *p = &r->peers[i];
        rep_peer_forget(p); /* 1.6 */
        if (p->meta.in_isr)
            rep_isr_joined(r, p, now_ms);
        p->heard_ms = p->meta.in_isr || p->meta.in_elr ? now_ms : 0; /* 3.6 */
    }
}

void rep_isr_joined(const struct rep *r, struct rep_peer *p, uint64_t now_ms)
{
    p->caught_up_ms = now_ms; /* lag is counted from the joining: no in and out at once */
    set_mark(p, r->log_end, now_ms);
}

void rep_isr_peer_moved(const struct rep *r, struct rep_peer *p, uint64_t now_ms)
{
    int64_t counted = rep_peer_counted(r, p);

    if (counted < 0)
        return;
    if (counted >= r->log_end) {
        p->caught_up_ms = now_ms;
        set_mark(p, r->log_end, now_ms);
    } else if (p->mark_ms == 0) {
        set_mark(p, r->log_end, now_ms);
    } else if (counted >= p->mark_offset) {
        if (p->mark_ms > p->caught_up_ms)
            p->caught_up_ms = p->mark_ms;
        set_mark(p, r->log_end, now_ms);
    }
}

void rep_isr_appended(struct rep *r, int64_t old_end, uint64_t now_ms)
{
    if (r->log_end == old_end)
        return;
    for (size_t i = 0; i < r->n_peers; i++) {
        struct rep_peer *p = &r->peers[i];
        if (!rep_peer_is_self(r, p) && rep_peer_counted(r, p) >= old_end) {
            p->caught_up_ms = now_ms;
            set_mark(p, r->log_end, now_ms);
        }
    }
}

/* ---- proposals ------------------------------------------------------------------------------- */

static bool must_leave(const struct rep *r, const struct rep_peer *p, uint64_t now_ms)
{
    return p->meta.in_isr && !rep_peer_is_self(r, p) &&
           rep_peer_lag_ms(r, p, now_ms) > r->config.lag_max_ms;
}

static bool may_join(const struct rep *r, const struct rep_peer *p)
{
    int64_t counted = rep_peer_counted(r, p);

    if (p->meta.in_isr || rep_peer_is_self(r, p) || p->checked < 0 || !rep_peer_eligible(p) ||
        KB_MUTANT("isr-never-grows"))
        return false;
    /* What it held before the last change may be what that change took it out for (2.8). */
    if (p->partition_epoch < r->image.partition_epoch && !KB_MUTANT("join-by-old-report"))
        return false;
    if (p->ends.log_start < r->ends.log_start) /* it would bring deleted records back (P16) */
        return false;
    return counted >= (KB_MUTANT("join-below-hw") ? 0 : r->hw) &&
           counted >= (KB_MUTANT("join-below-epoch-start") ? 0 : r->epoch_start); /* 4.1, P13 */
}

static void send_out(struct rep *r, uint64_t now_ms, struct rep_effects *fx)
{
    r->proposal_phase = REP_PROPOSAL_SENT;
    r->proposed_ms = now_ms;
    fx->flags |= REP_FX_PROPOSE;
}

/* 4.4: what the members had when the topic turned strong is on their disks; what came later is
 * synced before it counts. */
static bool all_synced(const struct rep *r)
{
    if (r->sync_mark < 0)
        return false;
    for (size_t i = 0; i < r->n_peers; i++) {
        const struct rep_peer *p = &r->peers[i];
        int64_t durable = rep_peer_is_self(r, p) ? r->ends.durable : p->ends.durable;
        if (p->meta.in_isr && durable < r->sync_mark)
            return false;
    }
    return true;
}

static void note_sync_mark(struct rep *r)
{
    if (!r->image.strong || !r->image.unsynced)
        r->sync_mark = -1;
    else if (r->sync_mark < 0)
        r->sync_mark = r->log_end;
}

static void make_proposal(struct rep *r, uint64_t now_ms, struct rep_effects *fx)
{
    struct rep_proposal *q = r->proposal;

    if (q == NULL)
        q = r->proposal = kb_new(struct rep_proposal);
    q->id = ++r->proposal_id;
    q->leader_epoch = r->image.leader_epoch;
    q->partition_epoch = r->image.partition_epoch;
    q->n_isr = 0;
    q->synced = false;
    for (size_t i = 0; i < r->n_peers; i++) {
        const struct rep_peer *p = &r->peers[i];
        if ((p->meta.in_isr && !p->leaving) || p->joining)
            q->isr[q->n_isr++] = (struct rep_isr_member){p->meta.node_id, p->meta.broker_epoch};
    }
    send_out(r, now_ms, fx);
    kb_log_debug("replica", "event=propose_isr node=%d epoch=%d partition_epoch=%d members=%zu",
                 r->config.node_id, q->leader_epoch, q->partition_epoch, q->n_isr);
}

void rep_isr_review(struct rep *r, uint64_t now_ms, struct rep_effects *fx)
{
    size_t leaving = 0;
    size_t joining = 0;

    note_sync_mark(r);
    if (now_ms < r->propose_after_ms)
        return;
    if (r->proposal_phase == REP_PROPOSAL_RESEND)
        send_out(r, now_ms, fx);
    if (r->proposal_phase != REP_PROPOSAL_NONE)
        return;
    for (size_t i = 0; i < r->n_peers; i++) {
        r->peers[i].leaving = must_leave(r, &r->peers[i], now_ms);
        leaving += r->peers[i].leaving;
    }
    for (size_t i = 0; i < r->n_peers && leaving == 0; i++) {
        r->peers[i].joining = may_join(r, &r->peers[i]);
        joining += r->peers[i].joining;
    }
    if (leaving + joining > 0) {
        make_proposal(r, now_ms, fx);
    } else if (all_synced(r)) {
        make_proposal(r, now_ms, fx);
        r->proposal->synced = true;
    }
}

void rep_isr_settle(struct rep *r)
{
    for (size_t i = 0; i < r->n_peers; i++) {
        r->peers[i].joining = false;
        r->peers[i].leaving = false;
    }
    r->proposal_phase = REP_PROPOSAL_NONE;
    r->propose_after_ms = 0;
}

const struct rep_proposal *rep_proposal(const struct rep *r)
{
    bool out = r->proposal_phase == REP_PROPOSAL_SENT || r->proposal_phase == REP_PROPOSAL_RESEND;
    return out ? r->proposal : NULL;
}

void rep_proposal_answered(struct rep *r, uint64_t id, enum rep_proposal_result result,
                           uint64_t now_ms, struct rep_effects *fx)
{
    rep_fx_begin(fx);
    if (r->proposal_phase == REP_PROPOSAL_SENT && id == r->proposal->id) {
        switch (result) {
        case REP_PROPOSAL_ACCEPTED:
        case REP_PROPOSAL_STALE: /* it may be this very proposal that raised the epoch */
            r->proposal_phase = REP_PROPOSAL_AWAITS;
            break;
        case REP_PROPOSAL_REFUSED:
            rep_isr_settle(r);
            r->propose_after_ms = now_ms + r->config.proposal_retry_ms;
            rep_leader_react(r, now_ms, fx);
            break;
        case REP_PROPOSAL_LOST:
            r->proposal_phase = REP_PROPOSAL_RESEND;
            r->propose_after_ms = r->proposed_ms + r->config.proposal_retry_ms;
            rep_leader_react(r, now_ms, fx);
            break;
        }
    }
    rep_fx_end(r, now_ms, fx);
}

uint64_t rep_isr_deadline(const struct rep *r, uint64_t now_ms)
{
    uint64_t deadline = REP_NEVER;

    if (r->proposal_phase == REP_PROPOSAL_RESEND)
        deadline = r->propose_after_ms > now_ms ? r->propose_after_ms : now_ms;
    if (r->propose_after_ms > now_ms && all_synced(r) && r->propose_after_ms < deadline)
        deadline = r->propose_after_ms;
    for (size_t i = 0; i < r->n_peers; i++) {
        const struct rep_peer *p = &r->peers[i];
        uint64_t lag = rep_peer_is_self(r, p) ? 0 : rep_peer_lag_ms(r, p, now_ms);
        uint64_t at;
        if (lag == 0 || p->caught_up_ms == 0) {
            at = REP_NEVER;
        } else {
            at = p->caught_up_ms + r->config.lag_max_ms + 1;
        }
        if (at <= now_ms) /* due already: waits for the proposal in flight */
            at = r->propose_after_ms > now_ms ? r->propose_after_ms : REP_NEVER;
        if (at < deadline)
            deadline = at;
        if (r->propose_after_ms > now_ms && may_join(r, p) && r->propose_after_ms < deadline)
            deadline = r->propose_after_ms;
    }
    return deadline;
}
