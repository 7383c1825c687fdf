#include "tests/unit/replica/toy.h"

#include <string.h>

#include "proto/base/assert.h"

/* ---- log ------------------------------------------------------------------------------------- */

void toy_log_assign(struct toy_log *l, int32_t epoch)
{
    if (l->n_epochs > 0 && l->epochs[l->n_epochs - 1].epoch >= epoch)
        return;
    KB_ASSERT(l->n_epochs < TOY_EPOCHS_MAX);
    l->epochs[l->n_epochs++] = (struct rep_epoch_offset){epoch, l->end};
}

void toy_log_append(struct toy_log *l, int32_t epoch, uint64_t value)
{
    KB_ASSERT(l->end < TOY_LOG_MAX);
    /* An epoch led without a record leaves an entry that later batches may be older than. */
    while (l->n_epochs > 0 && l->epochs[l->n_epochs - 1].end_offset >= l->end &&
           l->epochs[l->n_epochs - 1].epoch > epoch)
        l->n_epochs--;
    toy_log_assign(l, epoch);
    l->records[l->end++] = (struct toy_record){epoch, value};
}

void toy_log_cut(struct toy_log *l, int64_t to)
{
    while (l->n_epochs > 0 && l->epochs[l->n_epochs - 1].end_offset >= to)
        l->n_epochs--;
    l->end = to;
    if (l->written > to)
        l->written = to;
    if (l->durable > to)
        l->durable = to;
    l->generation++;
}

void toy_log_recover(struct toy_log *l)
{
    l->n_epochs = 0;
    for (int64_t o = l->start; o < l->end; o++) {
        int64_t end = l->end;
        l->end = o;
        toy_log_assign(l, l->records[o].epoch);
        l->end = end;
    }
    l->written = l->durable = l->end;
}

/* As the log's table: an epoch that ends at or below the start is not known any more. */
static struct rep_epoch_offset view_end_offset(void *arg, int32_t epoch)
{
    const struct toy_log *l = &((struct toy_node *)arg)->log;
    size_t first = 0;
    size_t i;

    while (first + 1 < l->n_epochs && l->epochs[first + 1].end_offset <= l->start)
        first++;
    if (l->n_epochs == 0 || epoch > l->epochs[l->n_epochs - 1].epoch)
        return (struct rep_epoch_offset){-1, -1};
    for (i = l->n_epochs; i > first; i--) {
        if (l->epochs[i - 1].epoch <= epoch)
            break;
    }
    if (i == first) {
        int64_t lowest = l->epochs[first].end_offset;
        return (struct rep_epoch_offset){epoch, lowest < l->start ? l->start : lowest};
    }
    return (struct rep_epoch_offset){l->epochs[i - 1].epoch,
                                     i < l->n_epochs ? l->epochs[i].end_offset : l->end};
}

static int32_t view_epoch_before(void *arg, int64_t offset)
{
    const struct toy_log *l = &((struct toy_node *)arg)->log;
    return offset > l->start && offset <= l->end ? l->records[offset - 1].epoch : -1;
}

static int64_t view_first_base(void *arg)
{
    const struct toy_node *t = arg;
    return t->log.start - t->kept_below;
}

static uint64_t view_controller_heard(void *arg)
{
    return ((struct toy_node *)arg)->controller_heard_ms;
}

static uint64_t view_link_heard(void *arg, int32_t follower, uint64_t link)
{
    (void)follower;
    (void)link;
    return ((struct toy_node *)arg)->link_heard_ms;
}

/* ---- node ------------------------------------------------------------------------------------ */

void toy_node_open(struct toy_node *t, int32_t id, enum rep_log_state state, int64_t hw,
                   uint64_t now_ms)
{
    struct rep_view view = {t,
                            view_end_offset,
                            view_epoch_before,
                            view_first_base,
                            view_controller_heard,
                            view_link_heard};
    struct rep_log_facts facts = {
        .state = state,
        .generation = t->log.generation,
        .log_start = t->log.start,
        .log_end = t->log.end,
        .durable = t->log.durable,
        .high_watermark = hw,
        .last_epoch = t->log.n_epochs > 0 ? t->log.epochs[t->log.n_epochs - 1].epoch : -1,
        .lone_from = t->lone_from,
    };

    t->config.node_id = id;
    t->config.lag_max_ms = t->config.lag_max_ms != 0 ? t->config.lag_max_ms : 30000;
    t->config.session_timeout_ms = 1500;
    t->config.proposal_retry_ms = 500;
    t->truncated_to = t->reset_to = -1;
    t->rep = rep_new(&t->config, &view);
    rep_log_opened(t->rep, &facts, now_ms, &t->fx);
    toy_node_do(t, now_ms);
}

void toy_node_init(struct toy_node *t, int32_t id, int32_t epoch, int64_t n, int64_t hw)
{
    memset(t, 0, sizeof(*t));
    for (int64_t i = 0; i < n; i++)
        toy_log_append(&t->log, epoch, (uint64_t)i);
    t->log.written = t->log.durable = n;
    toy_node_open(t, id, REP_LOG_WHOLE, hw, 1);
    t->broker_epoch = 100 + id;
    rep_set_broker_epoch(t->rep, t->broker_epoch);
}

void toy_node_free(struct toy_node *t)
{
    t->rep = rep_free(t->rep);
}

void toy_node_forget(struct toy_node *t)
{
    t->seen = 0;
    t->report = REP_REPORT_NONE;
    t->truncated_to = t->reset_to = -1;
    t->lowered_hw = t->set_aside = false;
}

void toy_node_finish_cut(struct toy_node *t, uint64_t now_ms)
{
    if (t->reset_to >= 0) {
        t->log.generation++;
        t->log.n_epochs = 0;
        t->log.start = t->log.end = t->log.written = t->log.durable = t->reset_to;
        rep_on_reset(t->rep, t->log.generation, t->reset_to, now_ms, &t->fx);
    } else {
        toy_log_cut(&t->log, t->truncated_to);
        rep_on_truncated(t->rep, t->log.generation, t->log.end, now_ms, &t->fx);
    }
    toy_node_do(t, now_ms);
    /* What was on its way to the disk under the old generation is reported under the new one. */
    rep_on_durable(t->rep, t->log.generation, t->log.durable, now_ms, &t->fx);
    toy_node_do(t, now_ms);
}

void toy_node_do(struct toy_node *t, uint64_t now_ms)
{
    struct rep_effects fx = t->fx;

    t->seen |= fx.flags;
    if (fx.flags & REP_FX_FAIL_PARKED)
        t->fail = fx.fail;
    if (fx.flags & REP_FX_REPORT)
        t->report = fx.report;
    if (fx.flags & REP_FX_ASSIGN_EPOCH) {
        TOY_CHECK(fx.epoch_start.end_offset == t->log.end);
        toy_log_assign(&t->log, fx.epoch_start.epoch);
    }
    if (fx.flags & REP_FX_LOG_START) {
        struct rep_effects inner;
        t->log.start = fx.log_start;
        rep_on_log_start(t->rep, fx.log_start, fx.log_start, now_ms, &inner);
        t->seen |= inner.flags;
    }
    if (fx.flags & (REP_FX_TRUNCATE | REP_FX_RESET)) {
        t->truncated_to = fx.flags & REP_FX_TRUNCATE ? fx.to : -1;
        t->reset_to = fx.flags & REP_FX_RESET ? fx.to : -1;
        t->lowered_hw = fx.lower_hw;
        t->set_aside = fx.set_aside;
        if (!t->hold_cuts)
            toy_node_finish_cut(t, now_ms);
    }
}

void toy_node_image(struct toy_node *t, const struct rep_image *image, uint64_t now_ms)
{
    TOY_CHECK(rep_apply_image(t->rep, image, now_ms, &t->fx) == 0);
    toy_node_do(t, now_ms);
}

void toy_node_sync(struct toy_node *t, uint64_t now_ms)
{
    t->log.written = t->log.durable = t->log.end;
    rep_on_written(t->rep, t->log.generation, t->log.written, now_ms, &t->fx);
    toy_node_do(t, now_ms);
    rep_on_durable(t->rep, t->log.generation, t->log.durable, now_ms, &t->fx);
    toy_node_do(t, now_ms);
}

void toy_node_append(struct toy_node *t, int n, bool lazy, uint64_t now_ms)
{
    for (int i = 0; i < n; i++) {
        uint64_t value = (uint64_t)t->config.node_id << 32 | (uint64_t)t->log.end;
        toy_log_append(&t->log, rep_leader_epoch(t->rep), value);
    }
    rep_on_appended(t->rep, t->log.end, now_ms, &t->fx);
    toy_node_do(t, now_ms);
    if (!lazy)
        toy_node_sync(t, now_ms);
}

/* Take up to limit records from the leader's log, as a follower does. */
static void take_batches(struct toy_node *f, const struct toy_node *leader,
                         const struct rep_fetch_answer *got, const struct rep_answer *answer,
                         int limit, uint64_t now_ms)
{
    struct rep_fetch_target at;
    TOY_CHECK(rep_fetch_position(f->rep, &at));
    int32_t last = at.fetch.last_epoch;

    for (int64_t o = at.fetch.offset; o < got->bound && limit > 0; o++, limit--) {
        struct toy_record rec = leader->log.records[o];
        TOY_CHECK(rep_answer_batch(f->rep, answer, f->log.end, last, o, rec.epoch));
        toy_log_append(&f->log, rec.epoch, rec.value);
        last = rec.epoch;
    }
    rep_on_appended(f->rep, f->log.end, now_ms, &f->fx);
    toy_node_do(f, now_ms);
}

static void report_durable(struct toy_node *f, struct toy_node *leader, uint64_t link,
                           uint64_t now_ms)
{
    struct rep_fetch_target at;

    toy_node_sync(f, now_ms);
    if (!rep_fetch_position(f->rep, &at))
        return;
    at.fetch.link = link;
    rep_follower_durable(leader->rep, &at.fetch, now_ms, &leader->fx);
    toy_node_do(leader, now_ms);
}

enum rep_fetch_result toy_follow(struct toy_node *follower, struct toy_node *leader, uint64_t link,
                                 int limit, bool durable, uint64_t now_ms)
{
    struct rep_fetch_target at;
    struct rep_fetch_answer got;
    enum rep_fetch_result verdict;
    struct rep_answer answer;

    TOY_CHECK(rep_fetch_position(follower->rep, &at));
    at.fetch.link = link;
    verdict = rep_follower_fetch(leader->rep, &at.fetch, now_ms, &got, &leader->fx);
    toy_node_do(leader, now_ms);
    if (verdict != REP_FETCH_OK && verdict != REP_FETCH_DIVERGING && verdict != REP_FETCH_RESET)
        return verdict;
    answer = (struct rep_answer){
        .kind = verdict == REP_FETCH_DIVERGING ? REP_ANSWER_DIVERGING
                : verdict == REP_FETCH_RESET   ? REP_ANSWER_RESET
                                               : REP_ANSWER_DATA,
        .leader = leader->config.node_id,
        .leader_epoch = at.fetch.leader_epoch,
        .offset = at.fetch.offset,
        /* Kafka's leaders tell theirs in every answer: it must not be looked at before a cut. */
        .high_watermark = verdict == REP_FETCH_OK ? got.high_watermark : rep_hw(leader->rep),
        .log_start = got.log_start,
        .epoch_start = got.epoch_start,
        .diverging = got.diverging,
        .reset_offset = got.reset_offset,
    };
    enum rep_answer_result r = rep_answer_begin(follower->rep, &answer, now_ms, &follower->fx);
    toy_node_do(follower, now_ms);
    if (r == REP_ANSWER_TAKE) {
        take_batches(follower, leader, &got, &answer, limit, now_ms);
        rep_answer_end(follower->rep, &answer, now_ms, &follower->fx);
        toy_node_do(follower, now_ms);
    }
    if (durable)
        report_durable(follower, leader, link, now_ms);
    return verdict;
}

/* ---- images ---------------------------------------------------------------------------------- */

void toy_image_init(struct toy_image *m)
{
    memset(m, 0, sizeof(*m));
    for (int i = 0; i < 3; i++) {
        m->replicas[i].node_id = i + 1;
        m->replicas[i].broker_epoch = 101 + i;
        m->replicas[i].in_isr = true;
    }
    m->image = (struct rep_image){
        .leader = 1,
        .leader_broker_epoch = 101,
        .leader_epoch = 5,
        .partition_epoch = 10,
        .last_unclean_epoch = -1,
        .min_isr = 2,
        .strong = true,
        .replicas = m->replicas,
        .n_replicas = 3,
    };
}

void toy_image_isr(struct toy_image *m, unsigned isr, unsigned elr)
{
    for (unsigned i = 0; i < 3; i++) {
        m->replicas[i].in_isr = (isr >> i & 1) != 0;
        m->replicas[i].in_elr = (elr >> i & 1) != 0;
    }
    m->image.partition_epoch++;
}

void toy_image_elect(struct toy_image *m, int32_t leader)
{
    m->image.leader = leader;
    m->image.leader_broker_epoch = leader < 0 ? -1 : m->replicas[leader - 1].broker_epoch;
    m->image.leader_epoch++;
    m->image.partition_epoch++;
}
