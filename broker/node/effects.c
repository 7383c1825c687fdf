/* Carrying out what a replica's state machine asks for, and feeding it what its log reports. */
#include "broker/node/node_internal.h"
#include "proto/base/mutant.h"

/* Effects that came up while others were being carried out. */
struct node_pending_fx {
    struct rep_effects fx;
    TAILQ_ENTRY(node_pending_fx) entries;
};

/* ---- cutting and resetting
 * ------------------------------------------------------------------------------ */

static void on_truncated(struct log *log, void *user, int result)
{
    struct node_partition *p = user;
    struct rep_effects fx;
    if (result < 0 || p->state != NODE_PARTITION_OPEN)
        return; /* on_failed says so, or it leaves */
    kb_log_info("partition", "event=truncated tp=%s-%d to=%lld", p->topic, p->index,
                (long long)log_end_offset(log));
    rep_on_truncated(p->rep, log_generation(log), log_end_offset(log), node_now(p->node), &fx);
    node_partition_run(p, &fx);
}

static void truncate_now(struct node_partition *p)
{
    log_truncate_to(p->log, p->cut_to, on_truncated, p);
}

static void on_reset(struct log *log, void *user, int result)
{
    struct node_partition *p = user;
    struct rep_effects fx;
    if (result < 0 || p->state != NODE_PARTITION_OPEN)
        return;
    node_partition_start_forget(p);
    rep_on_reset(p->rep, log_generation(log), log_start_offset(log), node_now(p->node), &fx);
    node_partition_run(p, &fx);
}

static void on_set_aside(void *arg, int result)
{
    struct node_partition *p = arg;
    if (result < 0) {
        node_panic_disk(p->node, "cannot set a damaged log aside", result);
        return;
    }
    p->dir_log = NULL;
    node_partition_create_again(p, p->cut_to);
}

static void on_closed_to_reset(struct log *log, void *user, int result)
{
    struct node_partition *p = user;
    (void)result;
    p->log = log_free(log);
    log_dir_set_aside(p->node->dir, p->dir_log, on_set_aside, p);
}

/* Damaged files are evidence: they are renamed, and the log begins again beside them. */
static void reset_now(struct node_partition *p)
{
    if (!p->cut_set_aside) {
        log_reset(p->log, p->cut_to, kb_view_of(p->cut_producers.data, p->cut_producers.size),
                  on_reset, p);
        kb_buf_release(&p->cut_producers);
        return;
    }
    p->resetting = true;
    p->state = NODE_PARTITION_OPENING;
    log_close(p->log, on_closed_to_reset, p);
}

static void on_hw_lowered(void *arg, int result)
{
    struct node_partition *p = arg;
    if (result < 0) { /* a full disk; after anything else the directory ends the process */
        p->cut_retry_ms = node_now(p->node) + NODE_DISK_RETRY_MS;
        return;
    }
    if (p->state != NODE_PARTITION_OPEN)
        return; /* its topic was deleted meanwhile */
    if (p->cut_is_reset)
        reset_now(p);
    else
        truncate_now(p);
}

/* What is fetched anew is as dirty as the leader sends it: taken for clean, it would lose
 * tombstones and keep what they deleted. The mark falls before the first byte goes. */
static void on_cleaner_lowered(void *arg, int result)
{
    struct node_partition *p = arg;
    if (result == 0 && p->cut_lowers_hw)
        log_dir_mark_flush(p->node->dir, LOG_DIR_HIGH_WATERMARK, on_hw_lowered, p);
    else
        on_hw_lowered(p, result);
}

static void lower_marks(struct node_partition *p)
{
    struct node *n = p->node;
    /* Equal: a start may have lowered it, in memory only. */
    bool lowers_cleaner = log_dir_mark_get(p->dir_log, LOG_DIR_CLEANER) >= p->cut_to;
    if (lowers_cleaner)
        log_dir_mark_set(n->dir, p->dir_log, LOG_DIR_CLEANER, p->cut_to);
    if (p->cut_lowers_hw)
        log_dir_mark_set(n->dir, p->dir_log, LOG_DIR_HIGH_WATERMARK, p->cut_to);
    if (lowers_cleaner)
        log_dir_mark_flush(n->dir, LOG_DIR_CLEANER, on_cleaner_lowered, p);
    else
        on_cleaner_lowered(p, 0);
}

/* Rule 2.7: a high watermark that falls does so durably before the first byte goes. */
static void run_cut(struct node_partition *p, const struct rep_effects *fx, bool is_reset)
{
    p->cut_to = fx->to;
    p->cut_is_reset = is_reset;
    p->cut_set_aside = is_reset && fx->set_aside;
    p->cut_producers.size = 0;
    if (is_reset)
        kb_buf_append(&p->cut_producers, p->told_producers.data, p->told_producers.size);
    if (is_reset)
        kb_log_warn("partition", "event=reset tp=%s-%d to=%lld set_aside=%d", p->topic, p->index,
                    (long long)fx->to, (int)fx->set_aside);
    p->cut_lowers_hw = fx->lower_hw;
    lower_marks(p);
}

/* The log began anew, maybe below a start that was durable before: that one says nothing of this
 * log, nor does one being flushed. */
void node_partition_start_forget(struct node_partition *p)
{
    p->start_flushed = 0;
    p->start_flushing_to = 0;
}

/* ---- the log's start
 * ------------------------------------------------------------------------------------------ */

static void on_start_durable(void *arg, int result)
{
    struct node_partition *p = arg;
    struct rep_effects fx;
    p->start_flushing = false;
    if (result < 0)
        p->start_retry_ms = node_now(p->node) + NODE_DISK_RETRY_MS;
    else
        p->start_flushed = p->start_flushing_to;
    if (result < 0 || p->state != NODE_PARTITION_OPEN)
        return;
    rep_on_log_start(p->rep, log_start_offset(p->log), p->start_flushed, node_now(p->node), &fx);
    node_partition_run(p, &fx);
    if (p->start_flushed < log_start_offset(p->log))
        node_partition_start_moved(p);
}

/* The start rose (DeleteRecords, retention, the leader's start): what lies below is out of reach at
 * once, so nobody is told of it any more; make it durable, then count it (10.3). */
void node_partition_start_moved(struct node_partition *p)
{
    struct node *n = p->node;
    struct rep_effects fx;
    int64_t start = log_start_offset(p->log);
    log_dir_mark_set(n->dir, p->dir_log, LOG_DIR_START, start);
    rep_on_log_start(p->rep, start, p->start_flushed, node_now(n), &fx);
    if (!p->start_flushing) {
        p->start_flushing = true;
        p->start_flushing_to = start;
        log_dir_mark_flush(n->dir, LOG_DIR_START, on_start_durable, p);
    }
    node_partition_run(p, &fx);
}

/* ---- effects, in the order of their bits
 * -------------------------------------------------------------------- */

/* An earlier start cut the log: is what lay there known not to be missed? A leader's log is the one
 * that counts. A follower whose log has reached the present epoch has all of the former ones, and
 * of this one all that its leader calls committed, if that ends below its own end. */
static void forget_cut(struct node_partition *p)
{
    int64_t end = log_end_offset(p->log);
    bool reached = log_last_epoch(p->log) == rep_leader_epoch(p->rep) &&
                   log_durable_offset(p->log) == end && rep_hw(p->rep) < end;
    if (rep_is_leader(p->rep) || (rep_state(p->rep) == REP_FOLLOWER && reached))
        log_forget_cut(p->log);
}

static void run_role(struct node_partition *p)
{
    bool leads = rep_is_leader(p->rep);
    if (p->leaving)
        leads = false;
    if (leads && rep_leader_epoch(p->rep) != p->led_epoch) {
        p->led_epoch = rep_leader_epoch(p->rep);
        p->led_since_ms = node_now(p->node);
    }
    node_fetcher_assign(p);
    node_replicate_forget(p);
    if (p->leads_groups != leads && strcmp(p->topic, NODE_OFFSETS_TOPIC) == 0) {
        p->leads_groups = leads;
        node_groups_leader(p, leads);
    }
    node_partition_wake(p);
    if (rep_leader(p->rep) != p->last_leader) {
        /* A log that a crash left half made, or that is damaged, is not open. */
        int64_t end = p->log != NULL ? log_end_offset(p->log) : -1;
        p->last_leader = rep_leader(p->rep);
        p->node->counters.elections_seen++;
        kb_log_info("partition", "event=role tp=%s-%d state=%s leader=%d epoch=%d end=%lld hw=%lld",
                    p->topic, p->index, rep_state_name(rep_state(p->rep)), p->last_leader,
                    rep_leader_epoch(p->rep), (long long)end, (long long)rep_hw(p->rep));
    }
}

static void carry_out(struct node_partition *p, const struct rep_effects *fx)
{
    uint32_t flags = fx->flags;
    p->rep_deadline_ms = fx->deadline_ms;
    if (flags & REP_FX_FAIL_PARKED) {
        node_produce_fail_all(p, fx->fail);
        node_deletes_fail_all(p);
        if (fx->fail != REP_FAIL_CUT_OFF && p->leads_groups) {
            p->leads_groups = false;
            node_groups_leader(p, false);
        }
    }
    if (flags & REP_FX_ROLE)
        run_role(p);
    if (p->log == NULL)
        return;
    if ((flags & REP_FX_ASSIGN_EPOCH) != 0 && !KB_MUTANT("epoch-not-entered"))
        log_epoch_assign(p->log, fx->epoch_start.epoch);
    if (flags & REP_FX_TRUNCATE)
        run_cut(p, fx, false);
    if (flags & REP_FX_RESET)
        run_cut(p, fx, true);
    if (flags & REP_FX_LOG_START) {
        log_set_start_offset(p->log, fx->log_start);
        node_partition_start_moved(p);
    }
    if (flags & REP_FX_HW) {
        forget_cut(p);
        log_dir_mark_set(p->node->dir, p->dir_log, LOG_DIR_HIGH_WATERMARK, fx->high_watermark);
        if (log_producers(p->log) != NULL)
            log_producers_settle(log_producers(p->log), fx->high_watermark);
        node_produce_check(p);
        if (p->group != NULL)
            node_groups_committed(p);
        node_partition_wake(p);
        node_replicate_wake(p);
    }
    if (flags & REP_FX_DURABLE)
        node_produce_check(p);
    if (flags & REP_FX_LOW_WATERMARK)
        node_deletes_check(p);
    if (flags & REP_FX_WAKE_FOLLOWERS)
        node_replicate_wake(p);
    if (flags & REP_FX_FETCH)
        node_fetcher_kick(p);
    if (flags & REP_FX_REPORT_DURABLE)
        node_fetcher_durable(p);
    if (flags & REP_FX_PROPOSE)
        node_propose(p);
    if (flags & REP_FX_REPORT)
        node_report(p, fx->report);
}

/* Carrying out may bring up new effects (an answer that appends): those wait until the present set
 * is done. */
void node_partition_run(struct node_partition *p, const struct rep_effects *fx)
{
    struct node_pending_fx *next = NULL;
    if (p->running) {
        next = kb_new(struct node_pending_fx);
        next->fx = *fx;
        TAILQ_INSERT_TAIL(&p->pending_fx, next, entries);
        return;
    }
    p->running = true;
    carry_out(p, fx);
    while ((next = TAILQ_FIRST(&p->pending_fx)) != NULL) {
        TAILQ_REMOVE(&p->pending_fx, next, entries);
        carry_out(p, &next->fx);
        (void)kb_free(next);
    }
    p->running = false;
}

void node_partition_damaged(struct node_partition *p, uint32_t generation, int64_t from)
{
    struct rep_effects fx;
    if (p == NULL || p->state != NODE_PARTITION_OPEN || p->log == NULL ||
        log_generation(p->log) != generation)
        return;
    kb_log_error("partition", "event=damaged tp=%s-%d from=%lld", p->topic, p->index,
                 (long long)from);
    rep_on_damaged(p->rep, from, node_now(p->node), &fx);
    node_partition_run(p, &fx);
}

/* ---- the log's reports
 * -------------------------------------------------------------------------------------------- */

static void on_written(struct log *log, void *user, uint32_t generation, int64_t offset)
{
    struct node_partition *p = user;
    struct rep_effects fx;
    (void)log;
    if (p->state != NODE_PARTITION_OPEN)
        return;
    rep_on_written(p->rep, generation, offset, node_now(p->node), &fx);
    node_partition_run(p, &fx);
}

static void on_durable(struct log *log, void *user, uint32_t generation, int64_t offset)
{
    struct node_partition *p = user;
    struct rep_effects fx;
    if (p->state != NODE_PARTITION_OPEN)
        return;
    log_dir_mark_set(p->node->dir, p->dir_log, LOG_DIR_DURABLE, log_durable_mark(log));
    rep_on_durable(p->rep, generation, offset, node_now(p->node), &fx);
    node_partition_run(p, &fx);
}

static void on_space(struct log *log, void *user)
{
    (void)log;
    node_produce_retry(user);
    node_fetcher_space(user);
}

static void on_failed(struct log *log, void *user, int error)
{
    struct node_partition *p = user;
    struct rep_effects fx;
    (void)log;
    kb_log_error("partition", "event=log_failed tp=%s-%d error=%s", p->topic, p->index,
                 kb_err_name(error));
    rep_on_failed(p->rep, node_now(p->node), &fx);
    node_partition_run(p, &fx);
    node_lifecycle_disk_failed(p->node, error); /* hand over, then leave (9.3) */
}

const struct log_handler node_partition_log_handler = {
    .on_written = on_written,
    .on_durable = on_durable,
    .on_space = on_space,
    .on_failed = on_failed,
};

/* ---- the clock
 * --------------------------------------------------------------------------------------------------------
 */

static void partition_tick(struct node_partition *p, uint64_t now_ms)
{
    struct rep_effects fx;
    if (p->state == NODE_PARTITION_MISSING && p->assigned && p->retry_ms != 0 &&
        now_ms >= p->retry_ms) {
        p->retry_ms = 0;
        kb_buf_release(&p->cut_producers); /* of a later start */
        node_partition_create_again(p, 0);
        return;
    }
    if (p->state != NODE_PARTITION_OPEN)
        return;
    node_produce_expire(p, now_ms);
    node_refused_expire(p, now_ms);
    node_deletes_check(p);
    if (p->cut_retry_ms != 0 && now_ms >= p->cut_retry_ms) {
        p->cut_retry_ms = 0;
        log_dir_mark_flush(p->node->dir, LOG_DIR_CLEANER, on_cleaner_lowered, p);
    }
    if (p->start_retry_ms != 0 && now_ms >= p->start_retry_ms) {
        p->start_retry_ms = 0;
        node_partition_start_moved(p);
    }
    if (p->rep_deadline_ms <= now_ms) {
        rep_tick(p->rep, now_ms, &fx);
        node_partition_run(p, &fx);
    }
}

void node_partitions_tick(struct node *n, uint64_t now_ms)
{
    struct node_partition *p = NULL;
    struct node_partition *next = NULL;
    if (n->creations_retry_ms != 0 && now_ms >= n->creations_retry_ms) {
        n->creations_retry_ms = 0;
        node_creations_record(n);
    }
    if (n->refresh_soon && n->partitions_closed == NULL) {
        n->refresh_soon = false;
        node_partitions_refresh_all(n);
    }
    HASH_ITER(hh, n->partitions, p, next)
    {
        partition_tick(p, now_ms);
    }
    node_retention_tick(n, now_ms);
}

/* ---- closing
 * ------------------------------------------------------------------------------------------------------------
 */

static void on_closed(struct log *log, void *user, int result)
{
    struct node_partition *p = user;
    struct node *n = p->node;
    if (result == 0) {
        log_dir_mark_set(n->dir, p->dir_log, LOG_DIR_DURABLE, log_end_offset(log));
        log_dir_mark_set(n->dir, p->dir_log, LOG_DIR_HIGH_WATERMARK, rep_hw(p->rep));
    } else {
        n->close_failed = true;
    }
    if (--n->partitions_closing == 0)
        n->partitions_closed(n);
}

void node_partitions_close(struct node *n, void (*done)(struct node *))
{
    struct node_partition *p = NULL;
    n->partitions_closed = done;
    n->partitions_closing = 1;
    for (p = n->partitions; p != NULL; p = p->hh.next) {
        if (p->state == NODE_PARTITION_CLOSING)
            continue;
        bool open = p->state == NODE_PARTITION_OPEN || p->state == NODE_PARTITION_CREATED;
        p->state = NODE_PARTITION_CLOSING;
        node_produce_fail_all(p, REP_FAIL_EPOCH_ENDED);
        node_deletes_fail_all(p);
        node_partition_wake(p);
        if (p->log == NULL || !open || log_failure(p->log) != 0)
            continue;
        n->partitions_closing++;
        log_close(p->log, on_closed, p);
    }
    if (--n->partitions_closing == 0)
        done(n);
}

void node_pending_fx_free(struct node_partition *p)
{
    struct node_pending_fx *f = NULL;
    while ((f = TAILQ_FIRST(&p->pending_fx)) != NULL) {
        TAILQ_REMOVE(&p->pending_fx, f, entries);
        (void)kb_free(f);
    }
}
