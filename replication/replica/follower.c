#include "proto/base/assert.h"
#include "proto/base/log.h"
#include "proto/base/mutant.h"
#include "replication/replica/internal.h"

/* The follower's part: where to ask (2.1), what to take (2.4), where to cut (2.5-2.8). */

/* Move to TRUNCATING and ask for the cut, or for a log that starts over at `to`. */
static void start_cut(struct rep *r, enum rep_fx_flag how, int64_t to, struct rep_effects *fx)
{
    KB_ASSERT(r->state != REP_LEADER); /* 1.7 */
    rep_move(r, REP_TRUNCATING, fx);
    fx->flags |= how;
    fx->to = to;
    fx->lower_hw = to < r->hw;
    if (fx->lower_hw) /* at once, so that no checkpoint written meanwhile is higher (2.7) */
        r->hw = rep_max(to, r->log_start);
    kb_log_debug("replica", "event=%s node=%d epoch=%d end=%lld hw=%lld to=%lld",
                 how == REP_FX_RESET ? "reset" : "truncate", r->config.node_id,
                 r->image.leader_epoch, (long long)r->log_end, (long long)r->hw, (long long)to);
}

void rep_follower_enter(struct rep *r, struct rep_effects *fx)
{
    if (r->log_state == REP_LOG_MISSING)
        r->log_state = REP_LOG_WHOLE; /* out of ISR and ELR: a new, empty copy */
    fx->flags |= REP_FX_FETCH;
    if (KB_MUTANT("follower-cuts-to-hw") && r->hw < r->log_end)
        start_cut(r, REP_FX_TRUNCATE, r->hw, fx);
}

void rep_follower_refetch(struct rep *r, struct rep_effects *fx)
{
    start_cut(r, REP_FX_RESET, 0, fx);
    fx->set_aside = true;
}

void rep_cut_damage(struct rep *r, struct rep_effects *fx)
{
    start_cut(r, REP_FX_TRUNCATE, r->damaged_from, fx);
}

void rep_follower_note_whole(struct rep *r)
{
    if (r->log_state == REP_LOG_CUT && r->leader_start >= 0 &&
        rep_counted(r, r->ends) >= r->leader_start)
        r->log_state = REP_LOG_WHOLE;
}

void rep_follower_follow_start(struct rep *r, struct rep_effects *fx)
{
    /* Not past what is on disk: a start above the end would come out of a crash. */
    int64_t start = rep_min(rep_min(r->start_wanted, r->hw), rep_counted(r, r->ends));
    if (start > r->log_start) {
        fx->flags |= REP_FX_LOG_START;
        fx->log_start = start;
    }
}

/* Epoch of the last batch, never of an entry without records (KAFKA-15510, 10706). */
static int32_t last_epoch(const struct rep *r)
{
    if (KB_MUTANT("follower-forgets-last-epoch"))
        return -1;
    return r->log_end > r->log_start ? r->view.epoch_before(r->view.arg, r->log_end) : -1;
}

bool rep_fetch_position(const struct rep *r, struct rep_fetch_target *ret)
{
    if (r->state != REP_FOLLOWER)
        return false;
    *ret = (struct rep_fetch_target){
        .leader = r->image.leader,
        .leader_broker_epoch = r->image.leader_broker_epoch,
        .fetch =
            {
                .follower = r->config.node_id,
                .broker_epoch = r->broker_epoch,
                .leader_epoch = r->image.leader_epoch,
                .partition_epoch = r->image.partition_epoch,
                .offset = r->log_end,
                .last_epoch = last_epoch(r),
                .high_watermark = r->hw,
                .leader_start = r->start_wanted,
                .ends = r->ends,
            },
    };
    return true;
}

/* 2.7: only a log that ends before the last unclean election may lose bytes below its HW. */
static bool may_cut_below_hw(const struct rep *r)
{
    return last_epoch(r) < r->image.last_unclean_epoch;
}

/* Where the logs part, as far as this answer tells (KIP-101, KIP-279). */
static int64_t divergence_point(const struct rep *r, struct rep_epoch_offset leader)
{
    struct rep_epoch_offset own = r->view.end_offset_for_epoch(r->view.arg, leader.epoch);

    if (own.epoch < 0)
        return leader.end_offset;
    if (own.epoch < leader.epoch) /* an epoch unknown here: ask again from the end of a lower one */
        return own.end_offset;
    return rep_min(own.end_offset, leader.end_offset);
}

static enum rep_answer_result refuse_cut(struct rep *r, int64_t to, struct rep_effects *fx)
{
    kb_log_debug("replica", "event=cut_refused node=%d epoch=%d hw=%lld to=%lld", r->config.node_id,
                 r->image.leader_epoch, (long long)r->hw, (long long)to);
    fx->flags |= REP_FX_FAIL_PARKED;
    fx->fail = REP_FAIL_EPOCH_ENDED;
    rep_move(r, REP_HALTED, fx);
    rep_set_report(r, REP_REPORT_CUT_BELOW_HW, fx);
    return REP_ANSWER_DONE;
}

static enum rep_answer_result drop(struct rep_effects *fx)
{
    fx->flags |= REP_FX_FETCH;
    return REP_ANSWER_DROP;
}

static enum rep_answer_result handle_diverging(struct rep *r, const struct rep_answer *a,
                                               struct rep_effects *fx)
{
    int64_t to = divergence_point(r, a->diverging);

    if (KB_MUTANT("hw-raised-before-cut"))
        r->hw = rep_max(r->hw, rep_min(a->high_watermark, r->log_end));
    if (to < 0 || to >= r->log_end)
        return drop(fx); /* no progress: the leader contradicts itself */
    if (to < r->hw && !may_cut_below_hw(r) && !KB_MUTANT("cut-below-hw"))
        return refuse_cut(r, to, fx); /* 2.6 */
    start_cut(r, to < r->log_start ? REP_FX_RESET : REP_FX_TRUNCATE, to, fx);
    return REP_ANSWER_DONE;
}

static enum rep_answer_result handle_reset(struct rep *r, const struct rep_answer *a,
                                           struct rep_effects *fx)
{
    const struct rep_peer *self = rep_peer_find(r, r->config.node_id);
    bool has_bytes = r->log_end > r->log_start;
    int64_t to = a->reset_offset;

    /* At our end: the leader's log begins there, and cannot tell whether ours agrees below. */
    if (to < 0 || (to == r->log_end && !has_bytes) || (to < r->log_end && has_bytes))
        return drop(fx);
    if (to < r->hw && !may_cut_below_hw(r))
        return refuse_cut(r, to, fx);
    if (has_bytes && self != NULL && (self->meta.in_isr || self->meta.in_elr)) { /* 2.8 */
        r->must_drop = true;
        rep_move(r, REP_WAITING, fx);
        rep_set_report(r, REP_REPORT_MUST_DROP, fx);
        return REP_ANSWER_DONE;
    }
    start_cut(r, REP_FX_RESET, to, fx);
    return REP_ANSWER_DONE;
}

enum rep_answer_result rep_answer_begin(struct rep *r, const struct rep_answer *answer,
                                        uint64_t now_ms, struct rep_effects *fx)
{
    enum rep_answer_result result = REP_ANSWER_DROP;

    rep_fx_begin(fx);
    if (r->state == REP_FOLLOWER) {
        if (answer->leader != r->image.leader || answer->leader_epoch != r->image.leader_epoch ||
            answer->offset != r->log_end)
            result = drop(fx);
        else if (answer->kind == REP_ANSWER_DIVERGING)
            result = handle_diverging(r, answer, fx);
        else if (answer->kind == REP_ANSWER_RESET)
            result = handle_reset(r, answer, fx);
        else
            result = REP_ANSWER_TAKE;
    }
    rep_fx_end(r, now_ms, fx);
    return result;
}

bool rep_answer_batch(const struct rep *r, const struct rep_answer *answer, int64_t expected_base,
                      int32_t last_epoch, int64_t base_offset, int32_t batch_epoch)
{
    /* Compaction leaves out only what is committed. A leader that has just started may not know
     * that it is: of what lies before its epoch its log is the one that counts (else nobody could
     * cross the gap, and its high watermark would never learn of it). */
    int64_t gaps_below = rep_max(answer->high_watermark, answer->epoch_start);
    bool in_place = base_offset == expected_base ||
                    (base_offset > expected_base && base_offset < gaps_below);
    return r->state == REP_FOLLOWER && answer->leader_epoch == r->image.leader_epoch && in_place &&
           last_epoch <= batch_epoch && batch_epoch <= answer->leader_epoch; /* 2.4, KAFKA-18723 */
}

bool rep_answer_straddles(struct rep *r, const struct rep_answer *answer, int64_t base_offset,
                          uint64_t now_ms, struct rep_effects *fx)
{
    const struct rep_peer *self = rep_peer_find(r, r->config.node_id);
    bool counts = self != NULL && (self->meta.in_isr || self->meta.in_elr);
    bool straddles = r->state == REP_FOLLOWER && answer->leader_epoch == r->image.leader_epoch &&
                     !counts && r->log_end == r->log_start && base_offset >= 0 &&
                     base_offset < r->log_end;

    rep_fx_begin(fx);
    if (straddles)
        start_cut(r, REP_FX_RESET, base_offset, fx);
    rep_fx_end(r, now_ms, fx);
    return straddles;
}

void rep_answer_end(struct rep *r, const struct rep_answer *answer, uint64_t now_ms,
                    struct rep_effects *fx)
{
    rep_fx_begin(fx);
    if (r->state == REP_FOLLOWER && answer->leader_epoch == r->image.leader_epoch) {
        int64_t hw = rep_min(answer->high_watermark, r->log_end);
        r->leader_start = answer->epoch_start;
        rep_follower_note_whole(r);
        if (hw > r->hw) {
            r->hw = hw;
            fx->flags |= REP_FX_HW;
            fx->high_watermark = hw;
        }
        r->start_wanted = answer->log_start;
        rep_follower_follow_start(r, fx);
        fx->flags |= REP_FX_FETCH;
    }
    rep_fx_end(r, now_ms, fx);
}
