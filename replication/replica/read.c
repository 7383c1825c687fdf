#include <string.h>

#include "proto/base/mutant.h"
#include "replication/replica/internal.h"

/* What clients may read, and what people may see. */

enum rep_read_result rep_check_epoch(const struct rep *r, int32_t leader_epoch, bool from_follower)
{
    bool serves = r->state == REP_LEADER || (from_follower && r->state == REP_FOLLOWER);

    if (leader_epoch != -1 && r->has_image && leader_epoch < r->image.leader_epoch &&
        !KB_MUTANT("reader-of-old-epoch-served"))
        return REP_READ_FENCED_EPOCH;
    if (leader_epoch != -1 && (!r->has_image || leader_epoch > r->image.leader_epoch))
        return REP_READ_UNKNOWN_EPOCH;
    return serves ? REP_READ_OK : REP_READ_NOT_LEADER;
}

static int64_t visible_end(const struct rep *r, enum rep_isolation isolation, int64_t last_stable)
{
    if (KB_MUTANT("read-past-hw"))
        return r->log_end;
    return isolation == REP_READ_COMMITTED ? rep_min(last_stable, r->hw) : r->hw;
}

enum rep_read_result rep_latest(const struct rep *r, enum rep_isolation isolation,
                                int64_t last_stable, int64_t *ret_offset)
{
    if (r->state != REP_LEADER)
        return REP_READ_NOT_LEADER;
    if (r->hw < r->epoch_start && !KB_MUTANT("latest-before-epoch-start")) /* 10.1 */
        return REP_READ_NOT_AVAILABLE;
    *ret_offset = KB_MUTANT("latest-is-log-end") ? r->log_end
                                                 : visible_end(r, isolation, last_stable);
    return REP_READ_OK;
}

/* Nothing to read yet: park, unless the reader had better look elsewhere (3.7). */
static enum rep_read_result wait_or_leave(struct rep *r, uint64_t now_ms)
{
    return rep_is_cut_off(r, now_ms) ? REP_READ_NOT_LEADER : REP_READ_WAIT;
}

/* Everybody who could be elected said lately, on a link that is still open, that it follows here in
 * this epoch. A successor takes its word back before it appends. */
static bool all_follow(const struct rep *r, uint64_t now_ms)
{
    if (r->view.link_heard_ms == NULL)
        return true;
    for (size_t i = 0; i < r->n_peers; i++) {
        const struct rep_peer *p = &r->peers[i];
        bool electable = (p->meta.in_isr || p->joining || p->meta.in_elr) && !p->meta.fenced;
        uint64_t heard_ms = 0;
        if (rep_peer_is_self(r, p) || !electable)
            continue;
        if (p->checked >= 0)
            heard_ms = r->view.link_heard_ms(r->view.arg, p->meta.node_id, p->link);
        if (rep_elapsed_ms(now_ms, heard_ms) > r->config.session_timeout_ms / 2)
            return false;
    }
    return true;
}

/* A leader that was replaced and does not know it yet lacks what its successor appended: it may not
 * say that an offset above its end does not exist, nor that the reader's past is another one
 * (10.1). By silence it is replaced after a session; half a one without the controller is too long
 * to be sure. After a closed link it is replaced sooner: there the word of its followers tells. */
static bool may_be_replaced(const struct rep *r, uint64_t now_ms)
{
    uint64_t heard_ms = 0;

    if (r->view.controller_heard_ms == NULL || r->n_peers < 2)
        return false;
    heard_ms = r->view.controller_heard_ms(r->view.arg);
    return rep_elapsed_ms(now_ms, heard_ms) > r->config.session_timeout_ms / 2 ||
           !all_follow(r, now_ms);
}

static enum rep_read_result judge_divergence(const struct rep *r, const struct rep_read *read,
                                             struct rep_read_answer *ret)
{
    struct rep_epoch_offset known;

    if (read->last_epoch < 0)
        return REP_READ_OK;
    known = r->view.end_offset_for_epoch(r->view.arg, read->last_epoch);
    if (known.epoch < 0)
        return REP_READ_OUT_OF_RANGE;
    if (known.epoch < read->last_epoch || known.end_offset < read->offset) {
        ret->diverging = known;
        return REP_READ_DIVERGING;
    }
    return REP_READ_OK;
}

enum rep_read_result rep_consumer_read(struct rep *r, const struct rep_read *read, uint64_t now_ms,
                                       struct rep_read_answer *ret)
{
    enum rep_read_result result = rep_check_epoch(r, read->leader_epoch, read->from_follower);

    memset(ret, 0, sizeof(*ret));
    ret->leader_epoch = r->image.leader_epoch;
    ret->high_watermark = r->hw;
    ret->log_start = r->log_start;
    ret->bound = visible_end(r, read->isolation, read->last_stable);
    if (result == REP_READ_OK)
        result = judge_divergence(r, read, ret);
    if ((result == REP_READ_DIVERGING || result == REP_READ_OUT_OF_RANGE) &&
        r->state == REP_LEADER && may_be_replaced(r, now_ms))
        return wait_or_leave(r, now_ms);
    if (result != REP_READ_OK)
        return result;
    if (r->state == REP_FOLLOWER) { /* holds no more than it knows to be committed */
        if (read->offset < r->log_start || read->offset > r->hw)
            return REP_READ_NOT_AVAILABLE;
        return read->offset < ret->bound ? REP_READ_OK : REP_READ_WAIT;
    }
    if (read->offset < r->log_start)
        return REP_READ_OUT_OF_RANGE;
    if (read->offset < ret->bound)
        return REP_READ_OK;
    if (read->offset > r->log_end && r->hw >= r->epoch_start && !may_be_replaced(r, now_ms))
        return REP_READ_OUT_OF_RANGE; /* before that nobody can say so (10.1) */
    return wait_or_leave(r, now_ms);
}

/* ---- inspection ------------------------------------------------------------------------------ */

enum rep_log_state rep_log_state(const struct rep *r)
{
    return r->log_state;
}

enum rep_state rep_state(const struct rep *r)
{
    return r->state;
}
bool rep_is_leader(const struct rep *r)
{
    return r->state == REP_LEADER;
}
enum rep_report rep_standing_report(const struct rep *r, int32_t *ret_report_epoch)
{
    *ret_report_epoch = r->damaged_at;
    return r->report;
}
int32_t rep_leader(const struct rep *r)
{
    return r->image.leader;
}
int32_t rep_leader_epoch(const struct rep *r)
{
    return r->image.leader_epoch;
}
int64_t rep_hw(const struct rep *r)
{
    return r->hw;
}
int64_t rep_log_start(const struct rep *r)
{
    return r->log_start;
}
int64_t rep_log_end(const struct rep *r)
{
    return r->log_end;
}
int64_t rep_durable_end(const struct rep *r)
{
    return rep_counted(r, r->ends);
}

const char *rep_left_reason_name(enum rep_left_reason reason)
{
    switch (reason) {
    case REP_LEFT_NOT:
        return "none";
    case REP_LEFT_LAGGING:
        return "lagging";
    case REP_LEFT_FENCED:
        return "fenced";
    case REP_LEFT_RESTARTED:
        return "restarted";
    case REP_LEFT_STOPPING:
        return "stopping";
    case REP_LEFT_STALLED:
        return "disk_stalled";
    case REP_LEFT_BY_CONTROLLER:
        return "by_controller";
    }
    return "?";
}

static void inspect_peer(const struct rep *r, const struct rep_peer *p,
                         struct rep_inspect_peer *ret)
{
    bool self = rep_peer_is_self(r, p);

    *ret = (struct rep_inspect_peer){
        .node_id = p->meta.node_id,
        .in_isr = p->meta.in_isr,
        .in_elr = p->meta.in_elr,
        .joining = p->joining,
        .log_end = self ? r->log_end : p->checked,
        .durable = rep_peer_counted(r, p),
        .log_start = self ? r->log_start : p->ends.log_start,
        .heard_ms = self ? 0 : rep_peer_heard_ms(r, p),
        .caught_up_ms = p->caught_up_ms,
        .left_reason = p->left_reason,
        .left_ms = p->left_ms,
    };
}

void rep_inspect(struct rep *r, uint64_t now_ms, struct rep_inspect *ret)
{
    memset(ret, 0, sizeof(*ret));
    ret->state = r->state;
    ret->report = r->report;
    ret->leader = r->image.leader;
    ret->leader_epoch = r->image.leader_epoch;
    ret->partition_epoch = r->image.partition_epoch;
    ret->min_isr = r->image.min_isr;
    ret->log_start = r->log_start;
    ret->log_end = r->log_end;
    ret->written = r->ends.written;
    ret->durable = r->ends.durable;
    ret->high_watermark = r->hw;
    ret->epoch_start = r->state == REP_LEADER ? r->epoch_start : -1;
    ret->strong = r->image.strong;
    ret->cut_off = rep_cut_off_now(r, now_ms);
    ret->proposal_in_flight = r->proposal_phase != REP_PROPOSAL_NONE;
    ret->n_peers = r->n_peers;
    for (size_t i = 0; i < r->n_peers; i++)
        inspect_peer(r, &r->peers[i], &ret->peers[i]);
}
