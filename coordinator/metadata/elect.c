/* Election (rules 4.5-4.7). From the ISR; if it is empty, from the ELR, whole logs at once, cut
 * ones after waiting for the others; a weak topic that lost all its members uncleanly from the last
 * known ones; nobody else, unless asked for by name. */
#include <strings.h>

#include "coordinator/metadata/controller_private.h"
#include "proto/base/mem.h"
#include "proto/base/mutant.h"

static bool report_larger(const struct meta_log_report *a, const struct meta_log_report *b)
{
    return a->last_epoch != b->last_epoch ? a->last_epoch > b->last_epoch
                                          : a->end_offset > b->end_offset;
}

/* ---- waiting (rule 4.5) ------------------------------------------------------------------------
 */

static struct meta_wait *wait_of(struct meta_controller *c, const struct meta_partition *p)
{
    for (size_t i = 0; i < c->waits_count; i++) {
        if (c->waits[i].partition == p->index &&
            kb_uuid_equal(&c->waits[i].topic_id, &p->topic->id))
            return &c->waits[i];
    }
    return NULL;
}

/* Whether the members that are here may be chosen from without the others. */
static bool waited_enough(struct meta_plan *plan, const struct meta_partition *p)
{
    struct meta_controller *c = plan->c;
    struct meta_wait *w = wait_of(c, p);
    if (w == NULL) {
        kb_array_reserve(c->waits, c->waits_count, c->waits_capacity);
        w = &c->waits[c->waits_count++];
        *w = (struct meta_wait){
            .topic_id = p->topic->id, .partition = p->index, .since_ms = plan->now_ms};
    }
    return plan->now_ms >= w->since_ms + c->config.cut_wait_ms;
}

uint64_t meta_waits_deadline(const struct meta_controller *c)
{
    uint64_t deadline = META_NEVER;
    for (size_t i = 0; i < c->waits_count; i++) {
        uint64_t at = c->waits[i].since_ms + c->config.cut_wait_ms;
        deadline = at < deadline ? at : deadline;
    }
    return deadline;
}

/* ---- choosing
 * ------------------------------------------------------------------------------------
 */

/* Preferred order, fit ones before merely live ones. */
static int32_t first_of(const struct meta_change *ch, const struct meta_plan *plan,
                        const int32_t *ids, size_t count)
{
    int32_t live = -1;
    for (size_t i = 0; i < ch->old->replicas_count; i++) {
        int32_t id = ch->old->replicas[i];
        if (!meta_ids_contain(ids, count, id) || !meta_plan_live(plan, id))
            continue;
        if (meta_plan_fit(plan, id))
            return id;
        if (live < 0)
            live = id;
    }
    return live;
}

static int32_t from_elr(struct meta_change *ch, struct meta_plan *plan)
{
    int32_t whole[META_REPLICAS_MAX];
    size_t whole_count = 0;
    int32_t best = -1;
    const struct meta_log_report *best_report = NULL;
    bool all_here = true;
    for (size_t i = 0; i < ch->old->replicas_count; i++) {
        int32_t id = ch->old->replicas[i];
        if (!meta_ids_contain(ch->elr, ch->elr_count, id))
            continue;
        const struct meta_log_report *r = meta_session_report(plan->c, ch->old, id);
        if (!meta_plan_live(plan, id) || r == NULL) {
            all_here = false;
        } else if (r->state == META_LOG_WHOLE) {
            whole[whole_count++] = id;
        } else if (r->state == META_LOG_CUT &&
                   (best_report == NULL || report_larger(r, best_report))) {
            best = id;
            best_report = r;
        }
    }
    if (whole_count > 0)
        return first_of(ch, plan, whole, whole_count);
    if (best >= 0 && (all_here || waited_enough(plan, ch->old)))
        return best;
    return -1;
}

/* Rule 4.6: all last known members are back, none lost its log. */
static int32_t from_last_known(const struct meta_change *ch, const struct meta_plan *plan)
{
    const struct meta_controller *c = plan->c;
    int32_t best = -1;
    const struct meta_log_report *best_report = NULL;
    if (meta_topic_strong(c->image, ch->old->topic) && !ch->unsynced)
        return -1;
    for (size_t i = 0; i < ch->known_count; i++) {
        const struct meta_log_report *r = meta_session_report(c, ch->old, ch->known[i]);
        if (!meta_plan_live(plan, ch->known[i]) || r == NULL ||
            (r->state != META_LOG_WHOLE && r->state != META_LOG_CUT))
            return -1;
        if (best_report == NULL || report_larger(r, best_report)) {
            best = ch->known[i];
            best_report = r;
        }
    }
    return best;
}

static void install_unclean(struct meta_change *ch, struct meta_plan *plan, int32_t id,
                            const char *why)
{
    ch->isr_count = 0;
    ch->elr_count = 0;
    meta_change_set_isr(ch, plan, &id, 1);
    ch->elr_count = 0;
    ch->leader = id;
    ch->unclean = true;
    ch->new_epoch = true;
    meta_note(plan->result,
              "event=unclean_election tp=" META_TP " leader=%d reason=%s "
              "possible_loss=true",
              META_TP_ARGS(ch->old), id, why);
}

/* unclean.leader.election.enable set on the topic itself names it; a default of all topics does not
 * (R16). While an eligible member is live it is waited for. */
static bool unclean_wanted(const struct meta_change *ch, const struct meta_plan *plan)
{
    const struct meta_topic *t = ch->old->topic;
    const char *name = meta_topic_key_info(META_UNCLEAN_LEADER_ELECTION)->name;
    const char *value = meta_configs_get(&t->configs, name);
    if (value == NULL || strcasecmp(value, "true") != 0)
        return false;
    for (size_t i = 0; i < ch->elr_count; i++) {
        if (meta_plan_live(plan, ch->elr[i]))
            return false;
    }
    return true;
}

/* Any live replica, the longest log that is known. */
static int32_t from_anywhere(const struct meta_change *ch, const struct meta_plan *plan)
{
    int32_t best = -1;
    const struct meta_log_report *best_report = NULL;
    for (size_t i = 0; i < ch->old->replicas_count; i++) {
        int32_t id = ch->old->replicas[i];
        if (!meta_plan_live(plan, id))
            continue;
        const struct meta_log_report *r = meta_session_report(plan->c, ch->old, id);
        if (best < 0 || (r != NULL && (best_report == NULL || report_larger(r, best_report)))) {
            best = id;
            best_report = r;
        }
    }
    return best;
}

void meta_elect(struct meta_change *ch, struct meta_plan *plan)
{
    if (ch->leader >= 0 && meta_plan_live(plan, ch->leader) && ch->leader != plan->avoiding)
        return;
    if (ch->isr_count > 0) {
        int32_t id = KB_MUTANT("elect-out-of-replicas")
                         ? from_anywhere(ch, plan)
                         : first_of(ch, plan, ch->isr, ch->isr_count);
        ch->leader = id;
        return;
    }
    ch->leader = -1;
    int32_t id = from_elr(ch, plan);
    if (id >= 0) {
        meta_change_set_isr(ch, plan, &id, 1);
        ch->leader = id;
    } else if (ch->elr_count == 0 && ch->known_count > 0) {
        id = from_last_known(ch, plan);
        if (id >= 0)
            install_unclean(ch, plan, id, "all_members_stopped_uncleanly");
    }
    if (ch->leader < 0 && (unclean_wanted(ch, plan) || KB_MUTANT("elect-unclean"))) {
        id = from_anywhere(ch, plan);
        if (id >= 0)
            install_unclean(ch, plan, id, "topic_config");
    }
}

bool meta_elect_unclean(struct meta_change *ch, struct meta_plan *plan)
{
    meta_elect(ch, plan);
    if (ch->leader >= 0)
        return true;
    int32_t best = from_anywhere(ch, plan);
    if (best < 0)
        return false;
    install_unclean(ch, plan, best, "asked_for_by_name");
    return true;
}
