/* Client reads of one partition: the replica's bounds, then the log's bytes. */
#include "broker/node/node_internal.h"

static enum kw_error read_error(enum rep_read_result r)
{
    switch (r) {
    case REP_READ_OK:
    case REP_READ_WAIT:
    case REP_READ_DIVERGING:
        return KW_NONE;
    case REP_READ_OUT_OF_RANGE:
        return KW_OFFSET_OUT_OF_RANGE;
    case REP_READ_NOT_AVAILABLE:
        return KW_OFFSET_NOT_AVAILABLE;
    case REP_READ_NOT_LEADER:
        return KW_NOT_LEADER_OR_FOLLOWER;
    case REP_READ_FENCED_EPOCH:
        return KW_FENCED_LEADER_EPOCH;
    case REP_READ_UNKNOWN_EPOCH:
        return KW_UNKNOWN_LEADER_EPOCH;
    }
    return KW_UNKNOWN_SERVER_ERROR;
}

static void finish(struct node_read_op *op, enum kw_error error)
{
    op->error = error;
    op->done(op);
}

static void log_result(struct node_read_op *op, int result)
{
    struct node_partition *p = op->partition;
    op->records = op->log_read.records;
    op->log_read.records = (struct kb_chain){0};
    if (p->state !=
        NODE_PARTITION_OPEN) { /* it leaves, or begins anew: whatever was found is of before */
        kb_chain_release(&op->records);
        finish(op, KW_NOT_LEADER_OR_FOLLOWER);
        return;
    }
    switch (result) {
    case LOG_READ_OK:
        p->node->counters.fetch_bytes += op->records.size;
        finish(op, KW_NONE);
        return;
    case LOG_READ_OUT_OF_RANGE: /* retention passed by meanwhile */
        finish(op, KW_OFFSET_OUT_OF_RANGE);
        return;
    case -KB_ELIMIT:
        finish(op, KW_NONE); /* nothing now; the client asks again */
        return;
    case -KB_ECORRUPT:
        node_partition_damaged(p, log_generation(p->log), op->log_read.offset);
        finish(op, KW_KAFKA_STORAGE_ERROR);
        return;
    default:
        finish(op, KW_KAFKA_STORAGE_ERROR);
        return;
    }
}

static void on_log_read(struct log_read *r, int result)
{
    struct node_read_op *op = r->user;
    op->pending_ = false;
    log_result(op, result);
}

void node_read(struct node_read_op *op)
{
    struct node_partition *p = op->partition;
    struct rep_read_answer answer;
    op->records = (struct kb_chain){0};
    op->high_watermark = -1;
    op->last_stable_offset = -1;
    op->log_start_offset = -1;
    op->diverging_epoch = -1;
    op->diverging_end_offset = -1;
    op->pending_ = false;
    if (p->state != NODE_PARTITION_OPEN) {
        finish(op, p->state == NODE_PARTITION_FAILED ? KW_KAFKA_STORAGE_ERROR
                                                     : KW_NOT_LEADER_OR_FOLLOWER);
        return;
    }
    struct rep_read read = {
        .offset = op->offset,
        .leader_epoch = op->current_leader_epoch,
        .last_epoch = op->last_fetched_epoch,
        .isolation = REP_READ_UNCOMMITTED,
        .last_stable = rep_hw(p->rep),
    };
    enum rep_read_result r = rep_consumer_read(p->rep, &read, node_now(p->node), &answer);
    if (r != REP_READ_NOT_LEADER) {
        op->high_watermark = answer.high_watermark;
        op->last_stable_offset = answer.high_watermark;
        op->log_start_offset = answer.log_start;
    }
    if (r == REP_READ_DIVERGING) {
        op->diverging_epoch = answer.diverging.epoch;
        op->diverging_end_offset = answer.diverging.end_offset;
    }
    if (r != REP_READ_OK) {
        finish(op, read_error(r));
        return;
    }
    op->log_read = (struct log_read){
        .offset = op->offset,
        .bound_offset = answer.bound,
        .max_bytes = op->max_bytes,
        .min_one = op->min_one,
        .budget = &p->node->read_budget,
        .as_files = kb_budget_above(&p->node->answer_budget, 4),
        .done = on_log_read,
        .user = op,
    };
    int result = log_read(p->log, &op->log_read);
    if (result == LOG_READ_PENDING)
        op->pending_ = true;
    else
        log_result(op, result);
}

void node_read_cancel(struct node_read_op *op)
{
    if (op->pending_)
        log_read_cancel(&op->log_read);
    op->pending_ = false;
}

enum kw_error node_partition_check_leader(struct node_partition *p, int32_t current_leader_epoch)
{
    if (p->state != NODE_PARTITION_OPEN)
        return p->state == NODE_PARTITION_FAILED ? KW_KAFKA_STORAGE_ERROR
                                                 : KW_NOT_LEADER_OR_FOLLOWER;
    return read_error(rep_check_epoch(p->rep, current_leader_epoch, false));
}

/* ---- parked fetches
 * ------------------------------------------------------------------------------------ */

void node_fetch_wait_add(struct node_partition *p, struct node_fetch_wait *w)
{
    KB_ASSERT(!w->registered);
    w->partition = p;
    w->registered = true;
    TAILQ_INSERT_TAIL(&p->fetch_waits, w, entries);
}

void node_fetch_wait_remove(struct node_fetch_wait *w)
{
    if (!w->registered)
        return;
    TAILQ_REMOVE(&w->partition->fetch_waits, w, entries);
    w->registered = false;
}

void node_partition_wake(struct node_partition *p)
{
    struct node_fetch_wait *w = NULL;
    while ((w = TAILQ_FIRST(&p->fetch_waits)) != NULL) {
        node_fetch_wait_remove(w);
        w->fn(w);
    }
}

/* ---- DeleteRecords (rule 10.3)
 * ----------------------------------------------------------------------------- */

static void delete_finish(struct node_delete_op *op, enum kw_error error)
{
    op->error = error;
    op->low_watermark = error == KW_NONE ? rep_low_watermark(op->partition->rep) : -1;
    op->done(op);
}

void node_delete_records(struct node_delete_op *op)
{
    struct node_partition *p = op->partition;
    int64_t to = 0;
    op->waiting_ = false;
    if (p->state != NODE_PARTITION_OPEN) {
        delete_finish(op, KW_NOT_LEADER_OR_FOLLOWER);
        return;
    }
    switch (rep_check_delete(p->rep, op->offset, node_now(p->node), &to)) {
    case REP_DELETE_OK:
        break;
    case REP_DELETE_NOT_LEADER:
        delete_finish(op, KW_NOT_LEADER_OR_FOLLOWER);
        return;
    case REP_DELETE_OUT_OF_RANGE:
        delete_finish(op, KW_OFFSET_OUT_OF_RANGE);
        return;
    case REP_DELETE_NOT_ENOUGH_REPLICAS:
        delete_finish(op, KW_NOT_ENOUGH_REPLICAS);
        return;
    }
    op->offset = to;
    op->leader_epoch_ = rep_leader_epoch(p->rep);
    op->deadline_ms_ = node_now(p->node) + op->timeout_ms;
    op->waiting_ = true;
    TAILQ_INSERT_TAIL(&p->delete_waits, op, waits_);
    log_set_start_offset(p->log, to);
    node_partition_start_moved(p);
    node_deletes_check(p);
}

void node_deletes_check(struct node_partition *p)
{
    struct node_delete_op *op = NULL;
    struct node_delete_op *next = NULL;
    uint64_t now_ms = node_now(p->node);
    TAILQ_FOREACH_SAFE(op, &p->delete_waits, waits_, next)
    {
        enum rep_append_done d = rep_delete_done(p->rep, op->leader_epoch_, op->offset);
        if (d == REP_APPEND_WAIT && now_ms < op->deadline_ms_)
            continue;
        TAILQ_REMOVE(&p->delete_waits, op, waits_);
        op->waiting_ = false;
        delete_finish(op, d == REP_APPEND_DONE   ? KW_NONE
                          : d == REP_APPEND_WAIT ? KW_REQUEST_TIMED_OUT
                                                 : KW_NOT_LEADER_OR_FOLLOWER);
    }
}

void node_deletes_fail_all(struct node_partition *p)
{
    struct node_delete_op *op = NULL;
    while ((op = TAILQ_FIRST(&p->delete_waits)) != NULL) {
        TAILQ_REMOVE(&p->delete_waits, op, waits_);
        op->waiting_ = false;
        delete_finish(op, KW_NOT_LEADER_OR_FOLLOWER);
    }
}

void node_delete_cancel(struct node_delete_op *op)
{
    if (op->waiting_)
        TAILQ_REMOVE(&op->partition->delete_waits, op, waits_);
    op->waiting_ = false;
}
