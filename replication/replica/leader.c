#include <string.h>

#include "proto/base/assert.h"
#include "proto/base/log.h"
#include "proto/base/mutant.h"
#include "replication/replica/internal.h"

/* The leader's part: judging followers (2.2, 2.3, 2.6), the high watermark (3.1), when to refuse
 * (3.6, 3.7), DeleteRecords (10.3). */

void rep_leader_enter(struct rep *r, uint64_t now_ms, struct rep_effects *fx)
{
    r->log_state = REP_LOG_WHOLE; /* missing and elected uncleanly: the empty log is the log now */
    r->epoch_start = r->log_end;
    r->epoch_start_ms = now_ms;
    r->low_watermark = -1;
    r->sync_mark = -1;
    r->cut_off = false;
    r->propose_after_ms = 0;
    rep_isr_enter(r, now_ms);
    fx->flags |= REP_FX_ASSIGN_EPOCH;
    fx->epoch_start = (struct rep_epoch_offset){r->image.leader_epoch, r->epoch_start};
}

/* ---- high watermark -------------------------------------------------------------------------- */

static bool in_maximal_isr(const struct rep_peer *p)
{
    return (p->meta.in_isr && !KB_MUTANT("hw-without-isr")) ||
           (p->joining && !KB_MUTANT("hw-without-joiners"));
}

/* Whose durable end holds the HW back (3.1). */
static bool holds_hw(const struct rep *r, const struct rep_peer *p, uint64_t now_ms)
{
    if (in_maximal_isr(p) || rep_peer_is_self(r, p))
        return true;
    return p->checked >= 0 && rep_peer_eligible(p) && !KB_MUTANT("hw-without-joiners") &&
           rep_peer_lag_ms(r, p, now_ms) <= r->config.lag_max_ms;
}

static void raise_hw(struct rep *r, int64_t to, struct rep_effects *fx)
{
    KB_ASSERT(to <= r->log_end);
    if (!KB_MUTANT("hw-with-one-replica"))
        KB_ASSERT(rep_isr_size(r) >= (size_t)r->image.min_isr); /* P4 */
    for (size_t i = 0; i < r->n_peers; i++) {
        const struct rep_peer *p = &r->peers[i];
        KB_ASSERT(!in_maximal_isr(p) || to <= rep_peer_counted(r, p)); /* P4 */
    }
    r->hw = to;
    fx->flags |= REP_FX_HW;
    fx->high_watermark = to;
}

static void review_hw(struct rep *r, uint64_t now_ms, struct rep_effects *fx)
{
    int64_t lowest = INT64_MAX;

    if (rep_isr_size(r) < (size_t)r->image.min_isr && !KB_MUTANT("hw-with-one-replica"))
        return;
    for (size_t i = 0; i < r->n_peers; i++) {
        const struct rep_peer *p = &r->peers[i];
        if (holds_hw(r, p, now_ms))
            lowest = rep_min(lowest, rep_peer_counted(r, p));
    }
    if (lowest > r->hw)
        raise_hw(r, lowest, fx);
}

int64_t rep_low_watermark(const struct rep *r)
{
    int64_t lowest = r->ends.log_start;

    if (r->state != REP_LEADER)
        return -1;
    for (size_t i = 0; i < r->n_peers; i++) {
        const struct rep_peer *p = &r->peers[i];
        if (in_maximal_isr(p) && !rep_peer_is_self(r, p))
            lowest = rep_min(lowest, p->ends.log_start);
    }
    return lowest;
}

void rep_leader_react(struct rep *r, uint64_t now_ms, struct rep_effects *fx)
{
    int64_t low;

    KB_ASSERT(r->state == REP_LEADER);
    review_hw(r, now_ms, fx);
    rep_isr_review(r, now_ms, fx);
    low = rep_low_watermark(r);
    if (low != r->low_watermark) {
        r->low_watermark = low;
        fx->flags |= REP_FX_LOW_WATERMARK;
    }
}

/* ---- who is heard ---------------------------------------------------------------------------- */

uint64_t rep_peer_heard_ms(const struct rep *r, const struct rep_peer *p)
{
    uint64_t heard = p->heard_ms;

    if (r->view.link_heard_ms != NULL && p->checked >= 0) {
        uint64_t link = r->view.link_heard_ms(r->view.arg, p->meta.node_id, p->link);
        if (link > heard)
            heard = link;
    }
    return heard;
}

/* 3.7. *ret_at: when it would begin if nothing more is heard; REP_NEVER without other members. */
static bool silent_since(const struct rep *r, uint64_t now_ms, uint64_t *ret_at)
{
    uint64_t oldest = REP_NEVER;
    uint64_t heard;

    *ret_at = REP_NEVER;
    if (r->view.controller_heard_ms == NULL)
        return false;
    for (size_t i = 0; i < r->n_peers; i++) {
        const struct rep_peer *p = &r->peers[i];
        if (rep_peer_is_self(r, p) || (!in_maximal_isr(p) && !p->meta.in_elr))
            continue;
        heard = rep_peer_heard_ms(r, p);
        if (heard < oldest)
            oldest = heard;
    }
    if (oldest == REP_NEVER)
        return false;
    heard = r->view.controller_heard_ms(r->view.arg);
    if (oldest > heard)
        heard = oldest;
    if (r->epoch_start_ms > heard)
        heard = r->epoch_start_ms;
    *ret_at = heard + r->config.session_timeout_ms + 1;
    return rep_elapsed_ms(now_ms, heard) > r->config.session_timeout_ms;
}

bool rep_cut_off_now(const struct rep *r, uint64_t now_ms)
{
    uint64_t at;
    return r->state == REP_LEADER && silent_since(r, now_ms, &at);
}

bool rep_is_cut_off(struct rep *r, uint64_t now_ms)
{
    bool cut_off = rep_cut_off_now(r, now_ms);
    if (!cut_off)
        r->cut_off = false; /* what is accepted from now on is ended again at the next edge */
    return cut_off;
}

void rep_leader_tick(struct rep *r, uint64_t now_ms, struct rep_effects *fx)
{
    bool was = r->cut_off;

    r->cut_off = rep_cut_off_now(r, now_ms);
    if (r->cut_off && !was) {
        fx->flags |= REP_FX_FAIL_PARKED;
        fx->fail = REP_FAIL_CUT_OFF;
        kb_log_debug("replica", "event=cut_off node=%d epoch=%d", r->config.node_id,
                     r->image.leader_epoch);
    }
}

uint64_t rep_leader_deadline(const struct rep *r, uint64_t now_ms)
{
    uint64_t deadline = rep_isr_deadline(r, now_ms);
    uint64_t at;

    (void)silent_since(r, now_ms, &at);
    if (at <= now_ms)
        at = r->cut_off ? now_ms + r->config.session_timeout_ms : now_ms + 1;
    return at < deadline ? at : deadline;
}

/* ---- appends --------------------------------------------------------------------------------- */

static size_t heard_members(const struct rep *r, uint64_t now_ms)
{
    size_t n = 0;

    for (size_t i = 0; i < r->n_peers; i++) {
        const struct rep_peer *p = &r->peers[i];
        if (p->meta.in_isr &&
            (rep_peer_is_self(r, p) ||
             rep_elapsed_ms(now_ms, rep_peer_heard_ms(r, p)) <= r->config.session_timeout_ms))
            n++;
    }
    return n;
}

enum rep_append_result rep_check_append(struct rep *r, int acks, uint64_t now_ms)
{
    if (r->state != REP_LEADER)
        return REP_APPEND_NOT_LEADER;
    if (rep_is_cut_off(r, now_ms))
        return REP_APPEND_CUT_OFF;
    if (acks == -1 && !KB_MUTANT("append-below-min-isr") &&
        (rep_isr_size(r) < (size_t)r->image.min_isr ||
         heard_members(r, now_ms) < (size_t)r->image.min_isr))
        return REP_APPEND_NOT_ENOUGH_REPLICAS;
    return REP_APPEND_OK;
}

enum rep_append_done rep_append_done(const struct rep *r, int32_t leader_epoch, int64_t last_offset,
                                     int acks)
{
    bool done;

    if (r->state != REP_LEADER ||
        (leader_epoch != r->image.leader_epoch && !KB_MUTANT("ack-across-epochs")))
        return REP_APPEND_EPOCH_ENDED; /* 1.5 */
    if (acks == 0)
        return REP_APPEND_DONE;
    if (acks == 1 || KB_MUTANT("acks-all-like-acks-1"))
        done = rep_counted(r, r->ends) > last_offset || KB_MUTANT("acks-1-at-once");
    else
        done = r->hw > last_offset && rep_isr_size(r) >= (size_t)r->image.min_isr;
    return done ? REP_APPEND_DONE : REP_APPEND_WAIT;
}

/* ---- followers ------------------------------------------------------------------------------- */

/* Who asks, and in which epoch (first half of 2.2). */
static enum rep_fetch_result judge_sender(const struct rep *r, const struct rep_fetch *f,
                                          const struct rep_peer *p)
{
    if (r->has_image && f->leader_epoch < r->image.leader_epoch &&
        !KB_MUTANT("follower-of-old-epoch-served"))
        return REP_FETCH_FENCED_EPOCH;
    if (!r->has_image ||
        (f->leader_epoch > r->image.leader_epoch && !KB_MUTANT("follower-of-newer-epoch-served")))
        return REP_FETCH_UNKNOWN_EPOCH;
    if (r->state != REP_LEADER)
        return REP_FETCH_NOT_LEADER;
    if (p == NULL)
        return REP_FETCH_NOT_REPLICA;
    if (rep_peer_is_self(r, p))
        return REP_FETCH_INVALID;
    if (f->broker_epoch != p->meta.broker_epoch && !KB_MUTANT("follower-of-old-life-served"))
        return REP_FETCH_STALE_BROKER;
    return f->link < p->link && !KB_MUTANT("replaced-link-served") ? REP_FETCH_STALE_LINK
                                                                   : REP_FETCH_OK;
}

/* 2.6: in a clean epoch nobody holds a HW above what the leader started with and committed since.
 * A follower from before the last unclean election proves nothing. */
static bool proves_loss(const struct rep *r, const struct rep_fetch *f)
{
    return f->last_epoch >= r->image.last_unclean_epoch && f->high_watermark > r->epoch_start &&
           f->high_watermark > r->hw;
}

/* Nothing of an empty log can diverge. Below our start it may ask for what is still in our files:
 * the batch that holds the start may begin there, and only whole batches are sent. */
static bool may_begin_below_start(const struct rep *r, const struct rep_fetch *f)
{
    return f->last_epoch < 0 && r->log_start < r->log_end && r->view.first_base != NULL &&
           f->offset >= r->view.first_base(r->view.arg);
}

/* It ends where our log begins, and its last epoch has nothing above: whether its last records are
 * those that were deleted here or others, our log does not tell. A member holds all that was
 * committed, and our start never passes that. */
static bool may_differ_below_start(const struct rep *r, const struct rep_fetch *f,
                                   const struct rep_peer *p, struct rep_epoch_offset known)
{
    return f->offset == r->log_start && known.end_offset <= r->log_start && !p->meta.in_isr &&
           !p->meta.in_elr && !p->joining && !KB_MUTANT("deleted-past-not-compared");
}

/* Second half of 2.2: does its log agree with ours up to its end? */
static enum rep_fetch_result judge_position(const struct rep *r, const struct rep_fetch *f,
                                            const struct rep_peer *p, struct rep_fetch_answer *ret)
{
    struct rep_epoch_offset known;

    if (f->offset < 0 || f->last_epoch > f->leader_epoch)
        return REP_FETCH_INVALID;
    if (f->offset < r->log_start && !may_begin_below_start(r, f)) {
        ret->reset_offset = r->log_start;
        return REP_FETCH_RESET;
    }
    if (f->last_epoch < 0) { /* nothing there that could diverge */
        ret->reset_offset = r->log_end;
        return f->offset > r->log_end ? REP_FETCH_RESET : REP_FETCH_OK;
    }
    known = r->view.end_offset_for_epoch(r->view.arg, f->last_epoch);
    if ((known.epoch < f->last_epoch || known.end_offset < f->offset) &&
        !KB_MUTANT("divergence-unseen")) {
        ret->diverging = known;
        return REP_FETCH_DIVERGING;
    }
    if (may_differ_below_start(r, f, p, known)) { /* all it has is deleted here */
        ret->reset_offset = r->log_start;
        return REP_FETCH_RESET;
    }
    return REP_FETCH_OK;
}

static uint64_t later(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

/* A frame of the follower passed: as much of it as was checked counts (2.3). */
static void record_frame(struct rep *r, struct rep_peer *p, const struct rep_fetch *f,
                         uint64_t now_ms, struct rep_effects *fx)
{
    struct rep_ends ends = f->ends;

    p->heard_ms = later(p->heard_ms, f->came_ms != 0 ? f->came_ms : now_ms);
    p->partition_epoch = f->partition_epoch;
    p->ends.written = rep_min(rep_max(ends.written, 0), p->checked);
    p->ends.durable = KB_MUTANT("count-beyond-checked")
                          ? ends.durable
                          : rep_min(rep_max(ends.durable, 0), p->checked);
    p->ends.log_start = rep_min(rep_max(ends.log_start, 0), p->checked);
    rep_isr_peer_moved(r, p, now_ms);
    rep_leader_react(r, now_ms, fx);
}

static void fill_answer(const struct rep *r, struct rep_fetch_answer *ret)
{
    ret->high_watermark = r->hw;
    ret->log_start = r->log_start;
    ret->bound = r->ends.written;
    ret->epoch_start = r->epoch_start;
}

enum rep_fetch_result rep_follower_fetch(struct rep *r, const struct rep_fetch *fetch,
                                         uint64_t now_ms, struct rep_fetch_answer *ret,
                                         struct rep_effects *fx)
{
    struct rep_peer *p = rep_peer_find(r, fetch->follower);
    enum rep_fetch_result result = judge_sender(r, fetch, p);

    rep_fx_begin(fx);
    memset(ret, 0, sizeof(*ret));
    ret->leader_epoch = r->image.leader_epoch;
    if (result == REP_FETCH_OK && proves_loss(r, fetch)) {
        kb_log_debug("replica", "event=loss_proved node=%d epoch=%d follower=%d hw=%lld start=%lld",
                     r->config.node_id, r->image.leader_epoch, fetch->follower,
                     (long long)fetch->high_watermark, (long long)r->epoch_start);
        rep_become_damaged(r, r->log_end, now_ms, fx);
        result = REP_FETCH_NOT_LEADER;
    }
    if (result == REP_FETCH_OK)
        result = judge_position(r, fetch, p, ret);
    if (result == REP_FETCH_OK) {
        p->link = fetch->link;
        p->checked = fetch->offset;
        record_frame(r, p, fetch, now_ms, fx);
        fill_answer(r, ret);
    } else if (result == REP_FETCH_RESET || result == REP_FETCH_DIVERGING) {
        /* What it reports before it has begun anew is no reason to let it in: it would ask to be
         * taken out again, for ever (2.8). */
        p->checked = -1;
    }
    rep_fx_end(r, now_ms, fx);
    return result;
}

enum rep_fetch_result rep_follower_again(const struct rep *r, const struct rep_fetch *fetch,
                                         struct rep_fetch_answer *ret)
{
    const struct rep_peer *p = rep_peer_find(r, fetch->follower);
    enum rep_fetch_result result = judge_sender(r, fetch, p);

    memset(ret, 0, sizeof(*ret));
    ret->leader_epoch = r->image.leader_epoch;
    if (result == REP_FETCH_OK)
        result = judge_position(r, fetch, p, ret);
    if (result == REP_FETCH_OK)
        fill_answer(r, ret);
    return result;
}

void rep_follower_durable(struct rep *r, const struct rep_fetch *report, uint64_t now_ms,
                          struct rep_effects *fx)
{
    struct rep_peer *p = rep_peer_find(r, report->follower);

    rep_fx_begin(fx);
    if (judge_sender(r, report, p) == REP_FETCH_OK && report->link == p->link && p->checked >= 0)
        record_frame(r, p, report, now_ms, fx);
    rep_fx_end(r, now_ms, fx);
}

/* ---- DeleteRecords --------------------------------------------------------------------------- */

enum rep_delete_result rep_check_delete(struct rep *r, int64_t offset, uint64_t now_ms,
                                        int64_t *ret_offset)
{
    if (r->state != REP_LEADER || rep_is_cut_off(r, now_ms))
        return REP_DELETE_NOT_LEADER;
    if (offset < -1 || (offset > r->hw && !KB_MUTANT("delete-past-hw")))
        return REP_DELETE_OUT_OF_RANGE;
    if (rep_check_append(r, -1, now_ms) != REP_APPEND_OK)
        return REP_DELETE_NOT_ENOUGH_REPLICAS; /* an ELR member would miss it */
    *ret_offset = offset == -1 ? r->hw : offset;
    return REP_DELETE_OK;
}

enum rep_append_done rep_delete_done(const struct rep *r, int32_t leader_epoch, int64_t offset)
{
    if (r->state != REP_LEADER || leader_epoch != r->image.leader_epoch)
        return REP_APPEND_EPOCH_ENDED;
    if (rep_isr_size(r) < (size_t)r->image.min_isr ||
        (rep_low_watermark(r) < offset && !KB_MUTANT("delete-answered-before-replicas")))
        return REP_APPEND_WAIT;
    return REP_APPEND_DONE;
}
