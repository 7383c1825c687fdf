/* What brokers ask for their partitions: AlterPartition (rules 4.1, 4.8, KIP-841, KIP-903),
 * elections (1.7, 2.6, 9.3), producer ids (R18); and forgetting a broker. */
#include "coordinator/metadata/controller_private.h"
#include "proto/base/assert.h"
#include "proto/base/map.h"
#include "proto/base/mem.h"
#include "proto/base/mutant.h"
#include "proto/kafka/error.h"

static int16_t check_broker(const struct meta_controller *c, int32_t broker_id,
                            uint64_t broker_epoch)
{
    const struct meta_broker *b = meta_image_broker(c->image, broker_id);
    if (b == NULL)
        return KW_BROKER_ID_NOT_REGISTERED;
    return b->epoch == broker_epoch || KB_MUTANT("stale-broker-alters") ? KW_NONE
                                                                        : KW_STALE_BROKER_EPOCH;
}

/* ---- elections for links (rule 4.8)
 * --------------------------------------------------------------
 */

static bool says_dead(const struct meta_controller *c, int32_t broker_id, int32_t leader)
{
    const struct meta_session *s = meta_session_find(c, broker_id);
    return s != NULL && meta_ids_contain(s->dead_links, s->dead_links_count, leader);
}

bool meta_isr_reaches(const struct meta_controller *c, const struct meta_partition *p, int32_t id)
{
    for (size_t i = 0; i < p->isr_count; i++) {
        if (p->isr[i] != id && says_dead(c, p->isr[i], id))
            return false;
    }
    return true;
}

/* Once per 30 s and partition. */
static bool link_election_allowed(struct meta_controller *c, const struct meta_partition *p,
                                  uint64_t now_ms)
{
    size_t kept = 0;
    bool allowed = true;
    for (size_t i = 0; i < c->link_elections_count; i++) {
        struct meta_link_election e = c->link_elections[i];
        if (now_ms >= e.at_ms + c->config.link_election_ms)
            continue;
        if (e.partition == p->index && kb_uuid_equal(&e.topic_id, &p->topic->id))
            allowed = false;
        c->link_elections[kept++] = e;
    }
    c->link_elections_count = kept;
    return allowed;
}

bool meta_elect_for_links(struct meta_change *ch, struct meta_plan *plan)
{
    struct meta_controller *c = plan->c;
    const struct meta_partition *p = ch->old;
    size_t voices = 0;
    int32_t next = -1;
    for (size_t i = 0; i < p->isr_count; i++) {
        if (p->isr[i] == p->leader || !says_dead(c, p->isr[i], p->leader))
            continue;
        voices++;
        if (next < 0 && meta_plan_fit(plan, p->isr[i]))
            next = p->isr[i];
    }
    if (next < 0 || voices * 2 <= p->isr_count || !link_election_allowed(c, p, plan->now_ms))
        return false;
    kb_array_reserve(c->link_elections, c->link_elections_count, c->link_elections_capacity);
    c->link_elections[c->link_elections_count++] = (struct meta_link_election){
        .topic_id = p->topic->id, .partition = p->index, .at_ms = plan->now_ms};
    ch->leader = next;
    meta_note(plan->result,
              "event=leader_unreachable tp=" META_TP " leader=%d members=%zu new_leader=%d",
              META_TP_ARGS(p), p->leader, voices, next);
    return true;
}

/* ---- AlterPartition
 * ------------------------------------------------------------------------------
 */

static int16_t check_item(const struct meta_controller *c, int32_t broker_id,
                          const struct meta_alter_item *item, const struct meta_partition **ret)
{
    const struct meta_topic *t = meta_image_topic_by_id(c->image, &item->topic_id);
    if (t == NULL)
        return KW_UNKNOWN_TOPIC_ID;
    const struct meta_partition *p = meta_topic_partition(t, item->partition);
    if (p == NULL)
        return KW_UNKNOWN_TOPIC_OR_PARTITION;
    *ret = p;
    if (item->leader_epoch < p->leader_epoch)
        return KW_FENCED_LEADER_EPOCH;
    if (item->leader_epoch > p->leader_epoch || item->partition_epoch > p->partition_epoch)
        return KW_NOT_CONTROLLER; /* the asker has seen more than this controller */
    if (p->leader != broker_id)
        return KW_INVALID_REQUEST;
    if (item->partition_epoch < p->partition_epoch)
        return KW_INVALID_UPDATE_VERSION;
    if (item->isr_count == 0 || item->isr_count > p->replicas_count ||
        !meta_ids_contain(item->isr, item->isr_count, broker_id))
        return KW_INVALID_REQUEST;
    for (size_t i = 0; i < item->isr_count; i++) {
        if (meta_partition_replica(p, item->isr[i]) < 0 ||
            meta_ids_contain(item->isr, i, item->isr[i]))
            return KW_INVALID_REQUEST;
    }
    return KW_NONE;
}

/* Rule 4.1 but for the offsets, which only the leader knows. */
static bool eligible(const struct meta_plan *plan, const struct meta_partition *p, int32_t id,
                     uint64_t broker_epoch)
{
    const struct meta_broker *b = meta_image_broker(plan->c->image, id);
    if (b == NULL || (b->epoch != broker_epoch && !KB_MUTANT("stale-member-joins-isr")) ||
        (b->fenced && !KB_MUTANT("unfit-member-joins-isr")))
        return false;
    /* Members stay; a stopping or stalled one does not come in. */
    return meta_partition_in_isr(p, id) || meta_plan_fit(plan, id) ||
           KB_MUTANT("unfit-member-joins-isr");
}

static int16_t alter_one(struct meta_plan *plan, const struct meta_partition *p,
                         const struct meta_alter_item *item, struct meta_alter_result *ret)
{
    for (size_t i = 0; i < item->isr_count; i++) {
        if (!eligible(plan, p, item->isr[i], item->isr_broker_epochs[i]))
            return KW_INELIGIBLE_REPLICA;
    }
    bool shrinks = false;
    for (size_t i = 0; i < p->isr_count; i++)
        shrinks |= !meta_ids_contain(item->isr, item->isr_count, p->isr[i]);
    struct meta_change ch;
    meta_change_begin(&ch, p);
    if (!shrinks || !meta_elect_for_links(&ch, plan)) {
        meta_change_set_isr(&ch, plan, item->isr, item->isr_count);
        if (p->unsynced && item->synced) {
            ch.unsynced = false;
            ch.touched = true;
        }
    }
    bool moved = ch.leader != p->leader;
    if (meta_change_emit(&ch, plan)) {
        ret->partition_epoch++;
        ret->leader_epoch += moved;
    }
    return moved ? KW_NEW_LEADER_ELECTED : KW_NONE;
}

int16_t meta_controller_alter_partitions(struct meta_controller *c, uint64_t now_ms,
                                         int32_t broker_id, uint64_t broker_epoch,
                                         const struct meta_alter_item *items, size_t count,
                                         struct kb_arena *arena, struct meta_result *result,
                                         struct meta_alter_result **ret_items)
{
    *ret_items = NULL;
    int16_t error = check_broker(c, broker_id, broker_epoch);
    if (error != KW_NONE)
        return error;
    struct meta_alter_result *out = kb_arena_new_array(arena, struct meta_alter_result, count);
    if (out == NULL)
        return KW_UNKNOWN_SERVER_ERROR;
    struct kb_map seen = {0};
    struct meta_plan plan = meta_plan_make(c, now_ms, result);
    for (size_t i = 0; i < count; i++) {
        const struct meta_partition *p = NULL;
        out[i] = (struct meta_alter_result){.topic_id = items[i].topic_id,
                                            .partition = items[i].partition,
                                            .leader_epoch = -1,
                                            .partition_epoch = -1};
        out[i].error = check_item(c, broker_id, &items[i], &p);
        if (p != NULL) {
            out[i].leader_epoch = p->leader_epoch;
            out[i].partition_epoch = p->partition_epoch;
        }
        if (out[i].error != KW_NONE)
            continue;
        KB_ASSERT(p != NULL);
        if (meta_plan_full(&plan) || kb_map_put(&seen, (uint64_t)(uintptr_t)p, out) != NULL) {
            out[i].error = KW_REQUEST_TIMED_OUT; /* not looked at: ask again */
            continue;
        }
        out[i].error = alter_one(&plan, p, &items[i], &out[i]);
    }
    kb_map_release(&seen);
    *ret_items = out;
    return KW_NONE;
}

/* ---- elections asked for by a replica
 * ------------------------------------------------------------
 */

static void give_up(struct meta_plan *plan, const struct meta_partition *p, int32_t broker_id,
                    const struct meta_election_item *item)
{
    bool damaged = item->damaged;
    struct meta_change ch;
    meta_change_begin(&ch, p);
    if (damaged) {
        meta_change_disqualify(&ch, plan, broker_id);
        if (p->partition_epoch <= item->partition_epoch)
            ch.touched = true;
        bool news = meta_session_mark(plan->c, p, broker_id, META_LOG_DAMAGED) ||
                    meta_partition_in_isr(p, broker_id) || meta_partition_in_elr(p, broker_id);
        if (news) /* it says so again and again until it is told to start over */
            meta_note(plan->result, "event=replica_damaged tp=" META_TP " broker=%d",
                      META_TP_ARGS(p), broker_id);
    }
    if (ch.leader == broker_id || ch.leader < 0) {
        plan->avoiding = broker_id;
        meta_elect(&ch, plan);
        plan->avoiding = -1;
    }
    /* Nobody else: its own next epoch, the old one has ended (rule 1.7). */
    if (!damaged && p->leader == broker_id && ch.leader == broker_id)
        ch.new_epoch = true;
    (void)meta_change_emit(&ch, plan);
}

int16_t meta_controller_ask_election(struct meta_controller *c, uint64_t now_ms, int32_t broker_id,
                                     uint64_t broker_epoch, const struct meta_election_item *items,
                                     size_t count, struct meta_result *result)
{
    int16_t error = check_broker(c, broker_id, broker_epoch);
    if (error != KW_NONE)
        return error;
    struct kb_map seen = {0};
    meta_session_get(c, broker_id)->gave_up_ms = now_ms;
    struct meta_plan plan = meta_plan_make(c, now_ms, result);
    for (size_t i = 0; i < count && !meta_plan_full(&plan); i++) {
        const struct meta_partition *p = meta_image_partition(c->image, &items[i].topic_id,
                                                              items[i].partition);
        if (p == NULL || p->leader_epoch != items[i].leader_epoch ||
            meta_partition_replica(p, broker_id) < 0 ||
            (p->leader != broker_id && !items[i].damaged) ||
            kb_map_put(&seen, (uint64_t)(uintptr_t)p, &plan) != NULL)
            continue;
        give_up(&plan, p, broker_id, &items[i]);
    }
    kb_map_release(&seen);
    return KW_NONE;
}

/* ---- producer ids, forgetting a broker
 * -----------------------------------------------------------
 */

int16_t meta_controller_producer_ids(struct meta_controller *c, int32_t broker_id,
                                     uint64_t broker_epoch, struct meta_result *result,
                                     int64_t *ret_first, int32_t *ret_count)
{
    int16_t error = check_broker(c, broker_id, broker_epoch);
    if (error != KW_NONE)
        return error;
    int64_t first = c->image->next_producer_id;
    if (first > INT64_MAX - META_PRODUCER_ID_BLOCK)
        return KW_UNKNOWN_SERVER_ERROR;
    Kc__ProducerIdsRecord ids = KC__PRODUCER_IDS_RECORD__INIT;
    ids.has_broker_id = 1;
    ids.broker_id = broker_id;
    ids.has_broker_epoch = 1;
    ids.broker_epoch = broker_epoch;
    ids.has_next_id = 1;
    ids.next_id = KB_MUTANT("producer-ids-twice") ? first : first + META_PRODUCER_ID_BLOCK;
    Kc__Record record = KC__RECORD__INIT;
    record.kind_case = KC__RECORD__KIND_PRODUCER_IDS;
    record.producer_ids = &ids;
    meta_records_add(&result->records, &record);
    *ret_first = first;
    *ret_count = META_PRODUCER_ID_BLOCK;
    return KW_NONE;
}

static bool holds_replica(const struct meta_image *image, int32_t broker_id)
{
    for (size_t i = 0; i < image->topics_count; i++) {
        const struct meta_topic *t = image->topics[i];
        for (size_t k = 0; k < t->partitions_count; k++) {
            if (meta_partition_replica(t->partitions[k], broker_id) >= 0)
                return true;
        }
    }
    return false;
}

int16_t meta_controller_unregister_broker(struct meta_controller *c, int32_t broker_id,
                                          struct kb_arena *arena, struct meta_result *result,
                                          const char **ret_message)
{
    const struct meta_broker *b = meta_image_broker(c->image, broker_id);
    *ret_message = NULL;
    if (b == NULL) {
        *ret_message = kb_arena_printf(arena, "no broker %d is registered", broker_id);
        return KW_BROKER_ID_NOT_REGISTERED;
    }
    if (!b->fenced || holds_replica(c->image, broker_id)) {
        *ret_message = kb_arena_printf(arena, "broker %d %s; it cannot be unregistered", broker_id,
                                       b->fenced ? "holds replicas" : "is running: stop it first");
        return KW_INVALID_REQUEST;
    }
    Kc__BrokerRemoveRecord gone = KC__BROKER_REMOVE_RECORD__INIT;
    gone.has_broker_id = 1;
    gone.broker_id = b->id;
    gone.has_broker_epoch = 1;
    gone.broker_epoch = b->epoch;
    Kc__Record record = KC__RECORD__INIT;
    record.kind_case = KC__RECORD__KIND_BROKER_REMOVE;
    record.broker_remove = &gone;
    meta_records_add(&result->records, &record);
    return KW_NONE;
}
