/* Appends of clients and of this broker's own coordinators: checks, the append, and who waits for
 * what. */
#include "broker/node/node_internal.h"
#include "proto/base/mutant.h"

static void finish(struct node_append_op *op, enum kw_error error)
{
    op->error = error;
    if (error != KW_NONE && error != KW_NOT_ENOUGH_REPLICAS_AFTER_APPEND &&
        error != KW_REQUEST_TIMED_OUT)
        op->base_offset = -1;
    op->done(op);
}

/* The end for a reason that passes, of a batch that is not in the log or may be cut from it. */
static void refuse(struct node_partition *p, struct node_append_op *op, enum kw_error error)
{
    node_refused_add(p, &op->sequence_, error);
    finish(op, error);
}

static void finish_waiting(struct node_partition *p, struct node_append_op *op, enum kw_error error)
{
    TAILQ_REMOVE(&p->produce_waits, op, waits_);
    op->waiting_ = false;
    if (error == KW_NOT_LEADER_OR_FOLLOWER)
        refuse(p, op, error);
    else
        finish(op, error);
}

/* ---- checks
 * ---------------------------------------------------------------------------------------- */

static enum kw_error check_role(struct node_partition *p, int16_t acks, uint64_t now_ms)
{
    if (p->state != NODE_PARTITION_OPEN)
        return p->state == NODE_PARTITION_FAILED ? KW_KAFKA_STORAGE_ERROR
                                                 : KW_NOT_LEADER_OR_FOLLOWER;
    switch (rep_check_append(p->rep, acks, now_ms)) {
    case REP_APPEND_OK:
        return KW_NONE;
    case REP_APPEND_NOT_LEADER:
    case REP_APPEND_CUT_OFF:
        return KW_NOT_LEADER_OR_FOLLOWER;
    case REP_APPEND_NOT_ENOUGH_REPLICAS:
        return KW_NOT_ENOUGH_REPLICAS;
    }
    return KW_UNKNOWN_SERVER_ERROR;
}

static enum kw_error verdict_error(enum log_producers_verdict v)
{
    switch (v) {
    case LOG_PRODUCERS_OK:
    case LOG_PRODUCERS_DUPLICATE:
        return KW_NONE;
    case LOG_PRODUCERS_OUT_OF_ORDER:
        return KW_OUT_OF_ORDER_SEQUENCE_NUMBER;
    case LOG_PRODUCERS_STALE_EPOCH:
        return KW_INVALID_PRODUCER_EPOCH;
    case LOG_PRODUCERS_TXN_STATE:
        return KW_INVALID_TXN_STATE;
    case LOG_PRODUCERS_FENCED:
        return KW_TRANSACTION_COORDINATOR_FENCED;
    }
    return KW_UNKNOWN_SERVER_ERROR;
}

/* ---- waiting
 * ------------------------------------------------------------------------------------------- */

static void wait_or_finish(struct node_partition *p, struct node_append_op *op)
{
    if (op->acks == 0) {
        finish(op, KW_NONE);
        return;
    }
    switch (rep_append_done(p->rep, op->leader_epoch_, op->last_offset, op->acks)) {
    case REP_APPEND_DONE:
        finish(op, KW_NONE);
        return;
    case REP_APPEND_EPOCH_ENDED:
        refuse(p, op, KW_NOT_LEADER_OR_FOLLOWER);
        return;
    case REP_APPEND_WAIT:
        break;
    }
    op->waiting_ = true;
    op->deadline_ms_ = op->timeout_ms == 0 ? UINT64_MAX : node_now(p->node) + op->timeout_ms;
    TAILQ_INSERT_TAIL(&p->produce_waits, op, waits_);
}

void node_produce_check(struct node_partition *p)
{
    struct node_append_op *op = NULL;
    struct node_append_op *next = NULL;
    TAILQ_FOREACH_SAFE(op, &p->produce_waits, waits_, next)
    {
        enum rep_append_done d = rep_append_done(p->rep, op->leader_epoch_, op->last_offset,
                                                 op->acks);
        if (d == REP_APPEND_DONE)
            finish_waiting(p, op, KW_NONE);
        else if (d == REP_APPEND_EPOCH_ENDED)
            finish_waiting(p, op, KW_NOT_LEADER_OR_FOLLOWER);
    }
}

void node_produce_fail_all(struct node_partition *p, enum rep_fail_reason reason)
{
    struct node_append_op *op = NULL;
    enum kw_error error = reason == REP_FAIL_LOG_FAILED || reason == REP_FAIL_DAMAGED
                              ? KW_KAFKA_STORAGE_ERROR
                              : KW_NOT_LEADER_OR_FOLLOWER;
    while ((op = TAILQ_FIRST(&p->produce_waits)) != NULL)
        finish_waiting(p, op, error);
    while ((op = TAILQ_FIRST(&p->retry_waits)) != NULL) {
        TAILQ_REMOVE(&p->retry_waits, op, waits_);
        op->retrying_ = false;
        op->block_ = kb_block_unref(op->block_);
        refuse(p, op, KW_NOT_LEADER_OR_FOLLOWER);
    }
}

void node_produce_expire(struct node_partition *p, uint64_t now_ms)
{
    struct node_append_op *op = NULL;
    struct node_append_op *next = NULL;
    TAILQ_FOREACH_SAFE(op, &p->produce_waits, waits_, next)
    {
        if (op->deadline_ms_ <= now_ms)
            finish_waiting(p, op, KW_REQUEST_TIMED_OUT);
    }
}

/* ---- the append
 * -------------------------------------------------------------------------------------------- */

/* Batch bytes are in op->block_, checked. False: the log was busy and the operation waits for
 * space. */
static bool append_now(struct node_partition *p, struct node_append_op *op)
{
    struct log_appended appended;
    struct rep_effects fx;
    int r = log_append_leader(p->log, op->block_, op->position_, op->size_,
                              rep_leader_epoch(p->rep), &appended);
    switch (r) {
    case LOG_APPEND_OK:
        break;
    case LOG_APPEND_BUSY:
        return false;
    case LOG_APPEND_NO_SPACE:
        node_report_disk_full(p);
        refuse(p, op, KW_KAFKA_STORAGE_ERROR);
        return true;
    case LOG_APPEND_TOO_LARGE:
        finish(op, KW_RECORD_LIST_TOO_LARGE);
        return true;
    default:
        finish(op, KW_KAFKA_STORAGE_ERROR);
        return true;
    }
    op->base_offset = appended.first_offset;
    op->last_offset = appended.last_offset;
    op->leader_epoch_ = rep_leader_epoch(p->rep);
    op->log_start_offset = log_start_offset(p->log);
    p->node->counters.produce_bytes += op->size_;
    p->node->counters.produce_records += (uint64_t)(op->last_offset - op->base_offset + 1);
    rep_on_appended(p->rep, log_end_offset(p->log), node_now(p->node), &fx);
    node_partition_run(p, &fx);
    wait_or_finish(p, op);
    return true;
}

enum { GAP_PATIENCE_MS = 5000 };

/* May a producer be told that sequences are missing? It takes that for data loss: librdkafka takes
 * the next epoch and sends all it has open again, also what is in the log.
 * A leader by an image that is out of date lacks what its successor acknowledged: so every other
 * member of the ISR follows in this epoch, or there is none. And a client that has just learned of
 * a new leader may send what it has made since before what the old one refused. */
static bool may_miss_sequences(struct node_partition *p)
{
    struct rep_inspect i;
    if (node_now(p->node) < p->led_since_ms + GAP_PATIENCE_MS)
        return false;
    rep_inspect(p->rep, node_now(p->node), &i);
    for (size_t k = 0; k < i.n_peers; k++) {
        if (i.peers[k].in_isr && i.peers[k].node_id != p->node->config.node_id &&
            !node_replicate_followed_by(p, i.peers[k].node_id))
            return false;
    }
    return true;
}

/* What is not known of a producer may have gone with its records: then it shall begin anew
 * (KIP-360), and nothing it could send would ever follow what it sent before. */
static enum kw_error sequence_error(struct node_partition *p, const struct log_producer_batch *b,
                                    struct node_append_op *op)
{
    struct log_producer_info known = {.epoch = -1, .last_sequence = -1};
    bool is_known = log_producers_get(log_producers(p->log), b->producer_id, &known);
    op->log_start_offset = log_start_offset(p->log);
    kb_log_rate_warn(
        &p->node->sequence_rate, node_now(p->node), "produce",
        "event=out_of_order tp=%s-%d producer=%lld epoch=%d sequence=%d known_epoch=%d "
        "last_sequence=%d",
        p->topic, p->index, (long long)b->producer_id, b->producer_epoch, b->base_sequence,
        known.epoch, known.last_sequence);
    return is_known || op->log_start_offset == 0 ? KW_OUT_OF_ORDER_SEQUENCE_NUMBER
                                                 : KW_UNKNOWN_PRODUCER_ID;
}

/* Sequence check just before the append: earlier batches of the same producer may have waited for
 * space. */
static bool check_sequence(struct node_partition *p, struct node_append_op *op)
{
    /* A producer never seen here starts at 0 (T12): after its first batch was refused for a passing
     * reason, the next one of its pipeline must not open the sequence. */
    static const struct log_producers_rules rules = {.zero_when_unknown = true};
    struct log_producer_batch b;
    struct log_producers_original original;
    int r = log_producer_batch_parse(op->block_->data + op->position_, op->size_, &b);
    if (r < 0) {
        finish(op, KW_CORRUPT_MESSAGE);
        return false;
    }
    if (b.producer_id < 0)
        return true;
    enum log_producers_verdict v = log_producers_check(log_producers(p->log), &b, &rules,
                                                       &original);
    if (v == LOG_PRODUCERS_OUT_OF_ORDER) {
        enum kw_error before = node_refused_before(p, &op->sequence_);
        if (before == KW_NONE)
            before = may_miss_sequences(p) ? sequence_error(p, &b, op) : KW_NOT_LEADER_OR_FOLLOWER;
        finish(op, before);
        return false;
    }
    if (v != LOG_PRODUCERS_OK && v != LOG_PRODUCERS_DUPLICATE) {
        finish(op, verdict_error(v));
        return false;
    }
    node_refused_passed(p, &op->sequence_);
    if (v == LOG_PRODUCERS_OK)
        return true;
    /* Rule 3.5: a duplicate waits exactly as its original would. */
    op->base_offset = original.base_offset;
    op->last_offset = original.last_offset;
    op->leader_epoch_ = rep_leader_epoch(p->rep);
    op->log_start_offset = log_start_offset(p->log);
    if (KB_MUTANT("duplicate-answered-at-once"))
        op->acks = 0;
    wait_or_finish(p, op);
    return false;
}

static bool try_append(struct node_partition *p, struct node_append_op *op)
{
    enum kw_error error = check_role(p, op->acks, node_now(p->node));
    if (error != KW_NONE) {
        refuse(p, op, error);
        return true;
    }
    if (!check_sequence(p, op))
        return true;
    return append_now(p, op);
}

void node_produce_retry(struct node_partition *p)
{
    struct node_append_op *op = NULL;
    while ((op = TAILQ_FIRST(&p->retry_waits)) != NULL) {
        struct kb_block *block = op->block_;
        TAILQ_REMOVE(&p->retry_waits, op, waits_);
        op->retrying_ = false;
        if (!try_append(p, op)) {
            op->retrying_ = true;
            TAILQ_INSERT_HEAD(&p->retry_waits, op, waits_);
            return;
        }
        (void)kb_block_unref(block);
    }
}

/* The topic stores with another codec than the producer used, or the producer numbers its records
 * oddly (LogValidator): a rewritten batch. */
static enum kw_error recode(struct node_partition *p, const struct kw_batch_verdict *verdict,
                            const struct kw_batch_rules *rules, struct kb_block **ret_owned)
{
    int codec = p->compression >= 0 ? p->compression : kw_batch_codec(&verdict->batch);
    int r = kw_batch_recode(&verdict->batch, codec, rules->output_bytes_max, ret_owned);
    if (r < 0)
        return KW_CORRUPT_MESSAGE;
    if ((*ret_owned)->size > rules->batch_bytes_max) {
        *ret_owned = kb_block_unref(*ret_owned);
        return KW_MESSAGE_TOO_LARGE;
    }
    return KW_NONE;
}

/* What LogValidator checks, and the changes a topic asks for. *ret_owned is a rewritten batch or
 * NULL. */
static enum kw_error check_batch(struct node_partition *p, struct node_append_op *op,
                                 struct kb_block **ret_owned)
{
    struct kw_batch_rules rules;
    struct kw_batch_verdict verdict;
    uint8_t *data = op->block->data + op->position;
    node_partition_batch_rules(p, &rules);
    rules.zstd_allowed = op->zstd_allowed;
    if (kw_batch_check(data, op->size, &rules, &verdict) < 0)
        return KW_UNKNOWN_SERVER_ERROR;
    op->bad_records_count = verdict.bad_records_count;
    memcpy(op->bad_records, verdict.bad_records,
           (size_t)verdict.bad_records_count * sizeof(op->bad_records[0]));
    op->error_text = verdict.text;
    op->log_append_time_ms = verdict.log_append_time_ms;
    if (verdict.error != KW_NONE)
        return verdict.error;
    if (kw_batch_is(&verdict.batch, KW_BATCH_TRANSACTIONAL)) {
        op->error_text = "transactions are not supported";
        return KW_INVALID_TXN_STATE;
    }
    kw_batch_settle(data, op->size, &rules, &verdict);
    if (verdict.renumber ||
        (p->compression >= 0 && p->compression != kw_batch_codec(&verdict.batch)))
        return recode(p, &verdict, &rules, ret_owned);
    return KW_NONE;
}

static struct node_sequence sequence_of(const struct node_append_op *op)
{
    struct log_producer_batch b;
    /* What cannot be read here is refused by check_batch. */
    if (op->internal || log_producer_batch_parse(op->block->data + op->position, op->size, &b) < 0)
        return (struct node_sequence){.producer_id = -1};
    return (struct node_sequence){b.producer_id, b.producer_epoch, b.base_sequence};
}

void node_append(struct node_append_op *op)
{
    struct node_partition *p = op->partition;
    struct kb_block *owned = NULL;
    op->base_offset = -1;
    op->last_offset = -1;
    op->bad_records_count = 0;
    op->error_text = NULL;
    op->log_append_time_ms = -1;
    op->log_start_offset = -1;
    op->waiting_ = false;
    op->retrying_ = false;
    op->sequence_ = sequence_of(op);
    enum kw_error error = check_role(p, op->acks, node_now(p->node));
    if (error != KW_NONE) {
        refuse(p, op, error);
        return;
    }
    if (!op->internal)
        error = check_batch(p, op, &owned);
    if (error != KW_NONE) {
        finish(op, error);
        return;
    }
    op->block_ = owned != NULL ? owned : op->block;
    op->position_ = owned != NULL ? 0 : op->position;
    op->size_ = owned != NULL ? owned->size : op->size;
    bool must_wait = !TAILQ_EMPTY(&p->retry_waits); /* order is kept */
    if (must_wait || !try_append(p, op)) {
        op->retrying_ = true;
        (void)kb_block_ref(op->block_);
        TAILQ_INSERT_TAIL(&p->retry_waits, op, waits_);
    }
    (void)kb_block_unref(owned);
}

void node_append_cancel(struct node_append_op *op)
{
    struct node_partition *p = op->partition;
    if (op->waiting_)
        TAILQ_REMOVE(&p->produce_waits, op, waits_);
    if (op->retrying_) {
        TAILQ_REMOVE(&p->retry_waits, op, waits_);
        op->block_ = kb_block_unref(op->block_);
    }
    op->waiting_ = false;
    op->retrying_ = false;
}
