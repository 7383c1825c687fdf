#include "replication/replica/internal.h"

#include <string.h>

#include "proto/base/assert.h"
#include "proto/base/err.h"
#include "proto/base/log.h"
#include "proto/base/mem.h"
#include "proto/base/mutant.h"

const char *rep_state_name(enum rep_state state)
{
    static const char *const names[REP_STATE_MAX_] = {
        [REP_IDLE] = "idle",         [REP_LEADER] = "leader",
        [REP_FOLLOWER] = "follower", [REP_TRUNCATING] = "truncating",
        [REP_WAITING] = "waiting",   [REP_HALTED] = "halted",
        [REP_FAILED] = "failed",
    };
    return (unsigned)state < REP_STATE_MAX_ ? names[state] : "?";
}

const char *rep_report_name(enum rep_report report)
{
    switch (report) {
    case REP_REPORT_NONE:
        return "none";
    case REP_REPORT_LOG_FAILED:
        return "log_failed";
    case REP_REPORT_DAMAGED:
        return "damaged";
    case REP_REPORT_MUST_DROP:
        return "must_drop";
    case REP_REPORT_CUT_BELOW_HW:
        return "cut_below_hw";
    case REP_REPORT_METADATA_BACKWARDS:
        return "metadata_backwards";
    }
    return "?";
}

/* ---- effects --------------------------------------------------------------------------------- */

void rep_fx_begin(struct rep_effects *fx)
{
    memset(fx, 0, sizeof(*fx));
    fx->deadline_ms = REP_NEVER;
}

void rep_fx_end(struct rep *r, uint64_t now_ms, struct rep_effects *fx)
{
    KB_ASSERT(!r->log_open || r->log_start <= r->hw);
    KB_ASSERT(!r->log_open || r->hw <= r->log_end);
    KB_ASSERT(r->ends.durable <= r->ends.written);
    KB_ASSERT(r->ends.written <= r->log_end);
    fx->deadline_ms = r->state == REP_LEADER ? rep_leader_deadline(r, now_ms) : REP_NEVER;
}

void rep_set_report(struct rep *r, enum rep_report report, struct rep_effects *fx)
{
    r->report = report;
    if (report == REP_REPORT_NONE)
        return;
    fx->flags |= REP_FX_REPORT;
    fx->report = report;
    fx->report_epoch = r->damaged_at;
    kb_log_debug("replica", "event=report node=%d epoch=%d report=%s", r->config.node_id,
                 r->image.leader_epoch, rep_report_name(report));
}

/* ---- state ----------------------------------------------------------------------------------- */

#define MOVE(state) (1u << (state))

/* From a row to the states it may go to. A new epoch may enter LEADER and FOLLOWER again. A leader
 * never truncates (1.7): it must first be something else. FAILED is for ever (9.3). */
static const uint32_t rep_legal_moves[REP_STATE_MAX_] = {
    [REP_IDLE] = MOVE(REP_LEADER) | MOVE(REP_FOLLOWER) | MOVE(REP_WAITING) | MOVE(REP_HALTED) |
                 MOVE(REP_TRUNCATING) | MOVE(REP_FAILED),
    [REP_LEADER] = MOVE(REP_LEADER) | MOVE(REP_FOLLOWER) | MOVE(REP_IDLE) | MOVE(REP_HALTED) |
                   MOVE(REP_FAILED),
    [REP_FOLLOWER] = MOVE(REP_FOLLOWER) | MOVE(REP_LEADER) | MOVE(REP_IDLE) | MOVE(REP_HALTED) |
                     MOVE(REP_TRUNCATING) | MOVE(REP_WAITING) | MOVE(REP_FAILED),
    [REP_TRUNCATING] = MOVE(REP_IDLE) | MOVE(REP_FAILED),
    [REP_WAITING] = MOVE(REP_IDLE) | MOVE(REP_LEADER) | MOVE(REP_FOLLOWER) | MOVE(REP_HALTED) |
                    MOVE(REP_TRUNCATING) | MOVE(REP_FAILED),
    [REP_HALTED] = MOVE(REP_IDLE) | MOVE(REP_LEADER) | MOVE(REP_FOLLOWER) | MOVE(REP_WAITING) |
                   MOVE(REP_TRUNCATING) | MOVE(REP_FAILED),
    [REP_FAILED] = 0,
};

void rep_move(struct rep *r, enum rep_state to, struct rep_effects *fx)
{
    KB_ASSERT((rep_legal_moves[r->state] & MOVE(to)) != 0);
    kb_log_debug("replica", "event=move node=%d epoch=%d from=%s to=%s start=%lld end=%lld hw=%lld",
                 r->config.node_id, r->image.leader_epoch, rep_state_name(r->state),
                 rep_state_name(to), (long long)r->log_start, (long long)r->log_end,
                 (long long)r->hw);
    if (r->state == REP_LEADER)
        rep_isr_settle(r);
    r->state = to;
    fx->flags |= REP_FX_ROLE;
}

/* What image and log allow this replica to be. ret_report: what keeps it from its part. */
static enum rep_state wanted_state(const struct rep *r, enum rep_report *ret_report)
{
    const struct rep_peer *self = rep_peer_find(r, r->config.node_id);
    bool damaged = r->log_state == REP_LOG_DAMAGED;
    bool missing = r->log_state == REP_LOG_MISSING;

    *ret_report = REP_REPORT_NONE;
    if (!r->has_image || !r->log_open)
        return REP_IDLE;
    /* 1.8; what a damaged log says of its epochs proves nothing: a batch's CRC does not cover its.
     */
    if (r->backwards || (!damaged && r->opened_epoch > r->image.leader_epoch)) {
        *ret_report = REP_REPORT_METADATA_BACKWARDS;
        return REP_HALTED;
    }
    if (self == NULL)
        return REP_IDLE;
    if (r->image.leader == r->config.node_id) {
        bool unclean = r->image.last_unclean_epoch == r->image.leader_epoch;
        if ((r->broker_epoch < 0 || r->image.leader_broker_epoch != r->broker_epoch) &&
            !KB_MUTANT("lead-from-before-restart"))
            return REP_IDLE;    /* 1.2 */
        if (damaged && unclean) /* asked for by name: it leads with what lies before the damage */
            return REP_TRUNCATING;
        if (damaged || (missing && !unclean)) {
            *ret_report = REP_REPORT_DAMAGED;
            return REP_HALTED;
        }
        return REP_LEADER;
    }
    if (damaged || missing || r->must_drop) { /* 2.8 */
        bool trusted = self->meta.in_isr || self->meta.in_elr ||
                       (damaged && r->image.partition_epoch <= r->damaged_at);
        if (trusted || r->image.leader < 0) {
            *ret_report = r->must_drop ? REP_REPORT_MUST_DROP : REP_REPORT_DAMAGED;
            return REP_WAITING;
        }
        return damaged ? REP_TRUNCATING : REP_FOLLOWER;
    }
    return r->image.leader < 0 ? REP_IDLE : REP_FOLLOWER;
}

/* 1.5: whatever waited in an epoch that is over, or in a part we no longer play, ends. */
static void end_parked(const struct rep *r, bool new_epoch, enum rep_state to,
                       struct rep_effects *fx)
{
    bool served = r->state == REP_LEADER || r->state == REP_FOLLOWER || r->state == REP_TRUNCATING;
    if (served && (new_epoch || to != r->state) && !KB_MUTANT("ack-across-epochs")) {
        fx->flags |= REP_FX_FAIL_PARKED;
        fx->fail = REP_FAIL_EPOCH_ENDED;
    }
}

void rep_judge_role(struct rep *r, bool new_epoch, uint64_t now_ms, struct rep_effects *fx)
{
    enum rep_report report;
    enum rep_state to;

    if (r->state == REP_FAILED || (r->state == REP_HALTED && !new_epoch))
        return;
    if (r->state == REP_TRUNCATING) { /* the cut is under way; its end judges again */
        end_parked(r, new_epoch, REP_TRUNCATING, fx);
        return;
    }
    if (new_epoch) {
        r->must_drop = false;
        r->leader_start = -1;
        r->start_wanted = -1;
    }
    to = wanted_state(r, &report);
    /* Out of ISR and ELR, as it had asked: the leader says again whether it must begin anew. It may
     * not have to, and be let in again; then the old request must not take it out. */
    if (to == REP_FOLLOWER)
        r->must_drop = false;
    if (to == r->state && !new_epoch) {
        if (to == REP_WAITING && report != r->report)
            rep_set_report(r, report, fx);
        return;
    }
    end_parked(r, new_epoch, to, fx);
    rep_set_report(r, report, fx);
    switch (to) {
    case REP_LEADER:
        rep_move(r, to, fx);
        rep_leader_enter(r, now_ms, fx);
        break;
    case REP_FOLLOWER:
        rep_move(r, to, fx);
        rep_follower_enter(r, fx);
        break;
    case REP_TRUNCATING:
        if (r->image.leader == r->config.node_id)
            rep_cut_damage(r, fx);
        else
            rep_follower_refetch(r, fx);
        break;
    case REP_IDLE:
    case REP_WAITING:
    case REP_HALTED:
        if (r->state != to)
            rep_move(r, to, fx);
        break;
    default:
        KB_UNREACHABLE();
    }
}

/* ---- life ------------------------------------------------------------------------------------ */

struct rep *rep_new(const struct rep_config *config, const struct rep_view *view)
{
    struct rep *r = kb_new(struct rep);
    r->config = *config;
    r->view = *view;
    r->state = REP_IDLE;
    r->broker_epoch = -1;
    r->opened_epoch = -1;
    r->damaged_at = -1;
    r->low_watermark = -1;
    r->sync_mark = -1;
    r->leader_start = -1;
    r->image.leader = -1;
    r->image.leader_epoch = -1;
    r->image.partition_epoch = -1;
    r->image.last_unclean_epoch = -1;
    return r;
}

struct rep *rep_free(struct rep *r)
{
    if (r != NULL) {
        kb_free(r->peers);
        kb_free(r->proposal);
    }
    return kb_free(r);
}

void rep_set_broker_epoch(struct rep *r, int64_t broker_epoch)
{
    KB_ASSERT(broker_epoch >= 0);
    KB_ASSERT(r->broker_epoch < 0 || r->broker_epoch == broker_epoch);
    r->broker_epoch = broker_epoch;
}

/* 1.8: a log ahead of the metadata proves that those went backwards, but for one batch at its end
 * whose epoch nothing else bears witness of: that is more likely a turned bit, which no CRC covers,
 * and damage. What this broker knew in its former life its image has once it is registered. */
static bool judge_lone_epoch(struct rep *r, uint64_t now_ms, struct rep_effects *fx)
{
    int64_t from = r->lone_from;
    if (from <= 0 || !r->log_open || !r->has_image || r->backwards || r->broker_epoch < 0 ||
        r->opened_epoch <= r->image.leader_epoch ||
        (r->log_state != REP_LOG_WHOLE && r->log_state != REP_LOG_CUT))
        return false;
    r->lone_from = 0;
    r->opened_epoch = -1;
    rep_become_damaged(r, from, now_ms, fx);
    return true;
}

int rep_apply_image(struct rep *r, const struct rep_image *image, uint64_t now_ms,
                    struct rep_effects *fx)
{
    bool first = !r->has_image;
    bool new_epoch = first || image->leader_epoch != r->image.leader_epoch;
    bool speak_up = !first && (image->strong != r->image.strong ||
                               image->partition_epoch != r->image.partition_epoch);
    int err = rep_image_check(image);

    rep_fx_begin(fx);
    if (err == 0 && !new_epoch &&
        (image->leader != r->image.leader ||
         image->leader_broker_epoch != r->image.leader_broker_epoch))
        err = -KB_EINVAL; /* 1.1: one epoch, two leaders */
    if (err < 0) {
        rep_fx_end(r, now_ms, fx);
        return err;
    }
    if (!first && (image->leader_epoch < r->image.leader_epoch ||
                   image->partition_epoch < r->image.partition_epoch)) { /* 1.8 */
        new_epoch = !r->backwards;
        r->backwards = true;
    } else {
        new_epoch = new_epoch || r->backwards;
        r->backwards = false;
        rep_image_adopt(r, image, now_ms);
    }
    if (judge_lone_epoch(r, now_ms, fx))
        new_epoch = true; /* it may have halted before it was registered */
    rep_judge_role(r, new_epoch, now_ms, fx);
    if (r->state == REP_LEADER)
        rep_leader_react(r, now_ms, fx);
    if (r->state == REP_FOLLOWER && speak_up)
        fx->flags |= REP_FX_REPORT_DURABLE;
    rep_fx_end(r, now_ms, fx);
    return 0;
}

void rep_tick(struct rep *r, uint64_t now_ms, struct rep_effects *fx)
{
    rep_fx_begin(fx);
    if (r->state == REP_LEADER) {
        rep_leader_tick(r, now_ms, fx);
        rep_leader_react(r, now_ms, fx);
    }
    rep_fx_end(r, now_ms, fx);
}

/* ---- facts from the log ---------------------------------------------------------------------- */

void rep_log_opened(struct rep *r, const struct rep_log_facts *facts, uint64_t now_ms,
                    struct rep_effects *fx)
{
    int64_t start = rep_min(facts->log_start, facts->log_end);
    int64_t durable = rep_min(facts->durable, facts->log_end);

    KB_ASSERT(!r->log_open);
    rep_fx_begin(fx);
    r->log_open = true;
    r->log_state = facts->state;
    r->generation = facts->generation;
    r->log_start = start;
    r->log_end = facts->log_end;
    r->ends = (struct rep_ends){facts->log_end, durable, start};
    r->hw = rep_max(start, rep_min(facts->high_watermark, facts->log_end)); /* 3.4 */
    r->opened_epoch = facts->last_epoch;
    r->lone_from = facts->lone_from;
    r->damaged_from = r->log_end;
    if (facts->state == REP_LOG_DAMAGED || facts->state == REP_LOG_MISSING)
        rep_set_report(r, REP_REPORT_DAMAGED, fx);
    (void)judge_lone_epoch(r, now_ms, fx);
    rep_judge_role(r, true, now_ms, fx);
    if (r->state == REP_LEADER)
        rep_leader_react(r, now_ms, fx);
    rep_fx_end(r, now_ms, fx);
}

void rep_on_appended(struct rep *r, int64_t log_end, uint64_t now_ms, struct rep_effects *fx)
{
    int64_t old_end = r->log_end;

    KB_ASSERT(log_end >= r->log_end); /* P6 */
    KB_ASSERT(r->state == REP_LEADER || r->state == REP_FOLLOWER);
    rep_fx_begin(fx);
    r->log_end = log_end;
    if (r->state == REP_LEADER)
        rep_isr_appended(r, old_end, now_ms);
    rep_fx_end(r, now_ms, fx);
}

/* The log's written or durable end is now `ends`. */
static void ends_moved(struct rep *r, struct rep_ends ends, uint64_t now_ms, struct rep_effects *fx)
{
    struct rep_ends old = r->ends;
    bool counted = rep_counted(r, ends) > rep_counted(r, old);

    r->ends = ends;
    if (r->state == REP_LEADER) {
        if (ends.written > old.written)
            fx->flags |= REP_FX_WAKE_FOLLOWERS;
        if (counted) {
            fx->flags |= REP_FX_DURABLE;
            rep_leader_react(r, now_ms, fx);
        }
    } else if (r->state == REP_FOLLOWER && counted) {
        fx->flags |= REP_FX_REPORT_DURABLE;
        rep_follower_note_whole(r);
        rep_follower_follow_start(r, fx); /* no further answer may be due */
    }
}

void rep_on_written(struct rep *r, uint64_t generation, int64_t offset, uint64_t now_ms,
                    struct rep_effects *fx)
{
    rep_fx_begin(fx);
    if (generation == r->generation && r->state != REP_FAILED) { /* 2.5 */
        struct rep_ends ends = r->ends;
        KB_ASSERT(offset <= r->log_end);
        ends.written = rep_max(ends.written, offset);
        ends_moved(r, ends, now_ms, fx);
    }
    rep_fx_end(r, now_ms, fx);
}

void rep_on_durable(struct rep *r, uint64_t generation, int64_t offset, uint64_t now_ms,
                    struct rep_effects *fx)
{
    rep_fx_begin(fx);
    if (generation == r->generation && r->state != REP_FAILED) { /* 2.5 */
        struct rep_ends ends = r->ends;
        KB_ASSERT(offset <= r->log_end);
        ends.durable = rep_max(ends.durable, offset);
        ends.written = rep_max(ends.written, ends.durable);
        ends_moved(r, ends, now_ms, fx);
    }
    rep_fx_end(r, now_ms, fx);
}

/* The cut is in; back to the part the newest image gives. */
static void truncation_done(struct rep *r, uint64_t now_ms, struct rep_effects *fx)
{
    rep_move(r, REP_IDLE, fx);
    rep_judge_role(r, true, now_ms, fx);
    if (r->state == REP_LEADER)
        rep_leader_react(r, now_ms, fx);
}

void rep_on_truncated(struct rep *r, uint64_t generation, int64_t log_end, uint64_t now_ms,
                      struct rep_effects *fx)
{
    KB_ASSERT(r->state == REP_TRUNCATING); /* 1.7, P6 */
    KB_ASSERT(generation != r->generation);
    KB_ASSERT(log_end <= r->log_end);
    KB_ASSERT(log_end >= r->log_start);
    rep_fx_begin(fx);
    r->generation = generation;
    r->log_end = log_end;
    r->ends.written = rep_min(r->ends.written, log_end);
    r->ends.durable = rep_min(r->ends.durable, log_end);
    /* Cuts are at or above the HW (2.6) or lowered it (2.7). If the batch cut at began below it,
     * the HW came from a spoilt checkpoint: no batch is ever half committed. */
    r->hw = rep_min(r->hw, log_end);
    if (r->log_state == REP_LOG_DAMAGED)
        r->log_state = REP_LOG_WHOLE; /* cut at the damage to lead */
    truncation_done(r, now_ms, fx);
    rep_fx_end(r, now_ms, fx);
}

void rep_on_reset(struct rep *r, uint64_t generation, int64_t log_start, uint64_t now_ms,
                  struct rep_effects *fx)
{
    rep_fx_begin(fx);
    if (r->state == REP_FAILED)
        return;
    KB_ASSERT(r->state == REP_TRUNCATING);
    r->generation = generation;
    r->log_state = REP_LOG_WHOLE;
    r->must_drop = false;
    r->log_start = log_start;
    r->log_end = log_start;
    r->ends = (struct rep_ends){log_start, log_start, log_start};
    r->opened_epoch = -1;
    r->hw = log_start; /* KAFKA-9491 */
    truncation_done(r, now_ms, fx);
    rep_fx_end(r, now_ms, fx);
}

void rep_on_log_start(struct rep *r, int64_t log_start, int64_t durable_start, uint64_t now_ms,
                      struct rep_effects *fx)
{
    bool serves = r->state != REP_FAILED && r->state != REP_TRUNCATING;
    bool durable_moved = r->state != REP_FAILED && durable_start > r->ends.log_start;
    rep_fx_begin(fx);
    if (serves) {
        KB_ASSERT(log_start <= r->hw); /* P16 */
        if (log_start > r->log_start && r->state == REP_LEADER)
            fx->flags |= REP_FX_WAKE_FOLLOWERS;
        r->log_start = KB_MUTANT("log-start-falls") ? log_start : rep_max(r->log_start, log_start);
    }
    /* It may become durable while the log is being cut, and nobody says so again. */
    if (durable_moved) {
        r->ends.log_start = rep_min(durable_start, r->log_start);
        if (r->state == REP_FOLLOWER)
            fx->flags |= REP_FX_REPORT_DURABLE;
    }
    if (r->state == REP_LEADER)
        rep_leader_react(r, now_ms, fx);
    rep_fx_end(r, now_ms, fx);
}

/* Stop serving for a reason of our own, not of the image. */
static void stop_serving(struct rep *r, enum rep_state to, enum rep_fail_reason fail,
                         enum rep_report report, struct rep_effects *fx)
{
    if (r->state == REP_LEADER || r->state == REP_FOLLOWER) {
        fx->flags |= REP_FX_FAIL_PARKED;
        fx->fail = fail;
    }
    if (r->state != to)
        rep_move(r, to, fx);
    rep_set_report(r, report, fx);
}

void rep_on_failed(struct rep *r, uint64_t now_ms, struct rep_effects *fx)
{
    rep_fx_begin(fx);
    if (r->state != REP_FAILED)
        stop_serving(r, REP_FAILED, REP_FAIL_LOG_FAILED, REP_REPORT_LOG_FAILED, fx);
    rep_fx_end(r, now_ms, fx);
}

void rep_become_damaged(struct rep *r, int64_t from, uint64_t now_ms, struct rep_effects *fx)
{
    r->log_state = REP_LOG_DAMAGED;
    r->damaged_from = rep_max(from, r->log_start);
    r->damaged_at = r->image.partition_epoch;
    if (r->state == REP_LEADER) {
        stop_serving(r, REP_HALTED, REP_FAIL_DAMAGED, REP_REPORT_DAMAGED, fx);
        return;
    }
    rep_set_report(r, REP_REPORT_DAMAGED, fx);
    rep_judge_role(r, false, now_ms, fx);
}

void rep_on_damaged(struct rep *r, int64_t from, uint64_t now_ms, struct rep_effects *fx)
{
    rep_fx_begin(fx);
    if (r->log_state == REP_LOG_DAMAGED)
        r->damaged_from = rep_min(r->damaged_from, rep_max(from, r->log_start));
    else if (r->state != REP_FAILED && r->state != REP_TRUNCATING)
        rep_become_damaged(r, from, now_ms, fx);
    rep_fx_end(r, now_ms, fx);
}
