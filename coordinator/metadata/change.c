/* One partition's next state, and the record that says so. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "coordinator/metadata/controller_private.h"
#include "proto/base/assert.h"
#include "proto/base/mem.h"
#include "proto/base/mutant.h"
#include "proto/cluster/unpack.h"

struct meta_plan meta_plan_make(struct meta_controller *c, uint64_t now_ms,
                                struct meta_result *result)
{
    return (struct meta_plan){
        .c = c, .result = result, .now_ms = now_ms, .joining = -1, .avoiding = -1};
}

bool meta_plan_full(const struct meta_plan *plan)
{
    return meta_records_bytes(&plan->result->records) >= META_PLAN_BYTES_MAX;
}

int32_t *meta_dead_now(const struct meta_controller *c, uint64_t now_ms, int32_t also,
                       size_t *ret_count)
{
    size_t count = 0;
    int32_t *dead = kb_new_array(int32_t, c->image->brokers_count + 1);
    for (size_t i = 0; i < c->image->brokers_count; i++) {
        const struct meta_broker *b = c->image->brokers[i];
        if (b->id == also || (!b->fenced && meta_session_dead_at(c, b) <= now_ms))
            dead[count++] = b->id;
    }
    *ret_count = count;
    return dead;
}

bool meta_walk(struct meta_plan *plan, int32_t broker_id, meta_visit_fn *visit, void *arg)
{
    const struct meta_image *image = plan->c->image;
    for (size_t i = 0; i < image->topics_count; i++) {
        const struct meta_topic *t = image->topics[i];
        for (size_t k = 0; k < t->partitions_count; k++) {
            if (broker_id >= 0 && meta_partition_replica(t->partitions[k], broker_id) < 0)
                continue;
            if (meta_plan_full(plan))
                return false;
            visit(plan, t->partitions[k], arg);
        }
    }
    return true;
}

void meta_visit_leaderless(struct meta_plan *plan, const struct meta_partition *p, void *arg)
{
    struct meta_change ch;
    if (p->leader >= 0)
        return;
    meta_change_begin(&ch, p);
    meta_elect(&ch, plan);
    (void)meta_change_emit(&ch, plan);
}

bool meta_plan_live(const struct meta_plan *plan, int32_t broker_id)
{
    if (meta_ids_contain(plan->dead, plan->dead_count, broker_id))
        return false;
    const struct meta_broker *b = meta_image_broker(plan->c->image, broker_id);
    return b != NULL && (!b->fenced || broker_id == plan->joining);
}

bool meta_plan_fit(const struct meta_plan *plan, int32_t broker_id)
{
    return meta_plan_live(plan, broker_id) && broker_id != plan->avoiding &&
           !meta_image_broker(plan->c->image, broker_id)->stopping &&
           !meta_session_stalled(plan->c, broker_id);
}

/* ---- sets ---------------------------------------------------------------------------------------
 */

/* In the order of the replicas. */
static size_t ids_ordered(const struct meta_partition *p, const int32_t *ids, size_t count,
                          int32_t *ret)
{
    size_t n = 0;
    for (size_t i = 0; i < p->replicas_count; i++) {
        if (meta_ids_contain(ids, count, p->replicas[i]))
            ret[n++] = p->replicas[i];
    }
    return n;
}

static void ids_add(int32_t *ids, size_t *count, int32_t id)
{
    if (!meta_ids_contain(ids, *count, id)) {
        KB_ASSERT(*count < META_REPLICAS_MAX);
        ids[(*count)++] = id;
    }
}

static void ids_remove(int32_t *ids, size_t *count, int32_t id)
{
    for (size_t i = 0; i < *count; i++) {
        if (ids[i] == id) {
            memmove(&ids[i], &ids[i + 1], (*count - i - 1) * sizeof(ids[0]));
            (*count)--;
            return;
        }
    }
}

static bool ids_equal(const int32_t *a, size_t a_count, const int32_t *b, size_t b_count)
{
    return a_count == b_count && (a_count == 0 || memcmp(a, b, a_count * sizeof(a[0])) == 0);
}

/* ---- steps --------------------------------------------------------------------------------------
 */

void meta_change_begin(struct meta_change *ch, const struct meta_partition *p)
{
    ch->old = p;
    ch->leader = p->leader;
    ch->new_epoch = ch->unclean = ch->touched = false;
    ch->unsynced = p->unsynced;
    ch->isr_count = p->isr_count;
    ch->elr_count = p->elr_count;
    ch->known_count = p->last_known_elr_count;
    memcpy(ch->isr, p->isr, p->isr_count * sizeof(p->isr[0]));
    memcpy(ch->elr, p->elr, p->elr_count * sizeof(p->elr[0]));
    memcpy(ch->known, p->last_known_elr, p->last_known_elr_count * sizeof(p->elr[0]));
    memcpy(ch->directories, p->directories, p->replicas_count * sizeof(p->directories[0]));
}

void meta_change_set_isr(struct meta_change *ch, const struct meta_plan *plan, const int32_t *isr,
                         size_t count)
{
    int32_t next[META_REPLICAS_MAX];
    size_t next_count = ids_ordered(ch->old, isr, count, next);
    size_t min_isr = (size_t)meta_min_isr(plan->c->image, ch->old);
    if (next_count >= min_isr) {
        ch->elr_count = 0;
    } else {
        for (size_t i = 0; i < ch->isr_count; i++) {
            if (!meta_ids_contain(next, next_count, ch->isr[i]) && !KB_MUTANT("elr-forgotten"))
                ids_add(ch->elr, &ch->elr_count, ch->isr[i]);
        }
        for (size_t i = 0; i < next_count && !KB_MUTANT("isr-member-stays-in-elr"); i++)
            ids_remove(ch->elr, &ch->elr_count, next[i]);
    }
    memcpy(ch->isr, next, next_count * sizeof(next[0]));
    ch->isr_count = next_count;
    if (next_count > 0)
        ch->known_count = 0;
    if (!meta_ids_contain(next, next_count, ch->leader))
        ch->leader = -1;
}

void meta_change_remove_dead(struct meta_change *ch, const struct meta_plan *plan)
{
    int32_t live[META_REPLICAS_MAX];
    size_t count = 0;
    for (size_t i = 0; i < ch->isr_count; i++) {
        if (meta_plan_live(plan, ch->isr[i]))
            live[count++] = ch->isr[i];
    }
    if (count < ch->isr_count)
        meta_change_set_isr(ch, plan, live, count);
}

void meta_change_disqualify(struct meta_change *ch, const struct meta_plan *plan, int32_t broker_id)
{
    bool member = meta_ids_contain(ch->isr, ch->isr_count, broker_id) ||
                  meta_ids_contain(ch->elr, ch->elr_count, broker_id);
    if (!member)
        return;
    int32_t isr[META_REPLICAS_MAX];
    size_t count = ch->isr_count;
    memcpy(isr, ch->isr, count * sizeof(isr[0]));
    ids_remove(isr, &count, broker_id);
    if (count < ch->isr_count)
        meta_change_set_isr(ch, plan, isr, count);
    ids_remove(ch->elr, &ch->elr_count, broker_id);
    if (ch->isr_count == 0)
        ids_add(ch->known, &ch->known_count, broker_id);
}

/* ---- records ------------------------------------------------------------------------------------
 */

static uint64_t leader_broker_epoch(const struct meta_change *ch, const struct meta_plan *plan)
{
    if (ch->leader < 0)
        return 0;
    const struct meta_broker *b = meta_image_broker(plan->c->image, ch->leader);
    KB_ASSERT(b != NULL);
    return b->epoch;
}

bool meta_change_emit(struct meta_change *ch, struct meta_plan *plan)
{
    const struct meta_partition *p = ch->old;
    int32_t isr[META_REPLICAS_MAX];
    int32_t elr[META_REPLICAS_MAX];
    int32_t known[META_REPLICAS_MAX];
    struct meta_partition next = *p;
    next.isr = isr;
    next.elr = elr;
    next.last_known_elr = known;
    next.directories = ch->directories;
    next.isr_count = ids_ordered(p, ch->isr, ch->isr_count, isr);
    next.elr_count = ids_ordered(p, ch->elr, ch->elr_count, elr);
    next.last_known_elr_count = ids_ordered(p, ch->known, ch->known_count, known);
    next.leader = ch->leader;
    next.leader_broker_epoch = leader_broker_epoch(ch, plan);
    next.unsynced = ch->unsynced;
    bool moved = next.leader != p->leader || next.leader_broker_epoch != p->leader_broker_epoch ||
                 ch->new_epoch;
    if (!moved && !ch->touched && ids_equal(isr, next.isr_count, p->isr, p->isr_count) &&
        ids_equal(elr, next.elr_count, p->elr, p->elr_count) &&
        ids_equal(known, next.last_known_elr_count, p->last_known_elr, p->last_known_elr_count))
        return false;
    if (!KB_MUTANT("partition-epoch-stays"))
        next.partition_epoch++;
    if (moved && !KB_MUTANT("leader-epoch-stays"))
        next.leader_epoch++;
    if (ch->unclean)
        next.last_unclean_epoch = next.leader_epoch;
    struct meta_partition_record r;
    meta_partition_record_fill(&r, &next, &p->topic->id, ch->touched);
    meta_records_add(&plan->result->records, &r.record);
    if (next.leader < 0 && p->leader >= 0)
        meta_note(plan->result,
                  "event=partition_offline tp=" META_TP " reason=no_eligible_replica_is_live",
                  META_TP_ARGS(p));
    return true;
}

void meta_emit_broker_change(struct meta_result *result, const struct meta_broker *b, int fenced,
                             int stopping)
{
    Kc__BrokerChangeRecord change = KC__BROKER_CHANGE_RECORD__INIT;
    change.has_broker_id = 1;
    change.broker_id = b->id;
    change.has_broker_epoch = 1;
    change.broker_epoch = b->epoch;
    change.has_fenced = fenced >= 0;
    change.fenced = fenced > 0;
    change.has_stopping = stopping >= 0;
    change.stopping = stopping > 0;
    Kc__Record record = KC__RECORD__INIT;
    record.kind_case = KC__RECORD__KIND_BROKER_CHANGE;
    record.broker_change = &change;
    meta_records_add(&result->records, &record);
}

void meta_emit_broker_stall(struct meta_result *result, const struct meta_broker *b, bool stalled)
{
    Kc__BrokerChangeRecord change = KC__BROKER_CHANGE_RECORD__INIT;
    change.has_broker_id = 1;
    change.broker_id = b->id;
    change.has_broker_epoch = 1;
    change.broker_epoch = b->epoch;
    change.has_stalled = 1;
    change.stalled = stalled;
    Kc__Record record = KC__RECORD__INIT;
    record.kind_case = KC__RECORD__KIND_BROKER_CHANGE;
    record.broker_change = &change;
    meta_records_add(&result->records, &record);
    meta_note(result, "event=broker_disk_%s broker=%d broker_epoch=%llu",
              stalled ? "stalls" : "syncs_again", b->id, (unsigned long long)b->epoch);
}

void meta_note(struct meta_result *result, const char *format, ...)
{
    char line[512];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(line, sizeof(line), format, args);
    va_end(args);
    kb_buf_append_str(&result->notes, line);
    kb_buf_append_str(&result->notes, "\n");
}
