/* Registration (rules 1.3, 4.4, 8.2-8.4): the end of the old incarnation, what its replicas are
 * still worth, and the new incarnation, in one batch. */
#include <stdlib.h>
#include <string.h>

#include "coordinator/metadata/controller_private.h"
#include "proto/base/mem.h"
#include "proto/base/mutant.h"
#include "proto/cluster/unpack.h"
#include "proto/kafka/error.h"

struct registration {
    const struct meta_register_request *req;
    const struct meta_broker *old;  /* NULL: first time */
    struct meta_log_report *given;  /* as received, sorted */
    struct meta_log_report *judged; /* one per replica of this broker */
    size_t judged_count;
    size_t judged_capacity;
    bool rolled_back; /* rule 8.4 */
    bool unclean;     /* weak logs may have lost what was acknowledged (4.4) */
};

static bool text_same(const char *a, const char *b)
{
    return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

/* What the replica is worth, by report, directory and history. */
static struct meta_log_report judge(const struct registration *reg, const struct meta_partition *p,
                                    size_t replica)
{
    const struct meta_register_request *req = reg->req;
    struct meta_log_report key = {.topic_id = p->topic->id,
                                  .partition = p->index,
                                  .last_epoch = -1,
                                  .end_offset = 0,
                                  .state = META_LOG_MISSING};
    const struct meta_log_report *found = NULL;
    bool own = kb_uuid_equal(&p->directories[replica], &req->directory) && !reg->rolled_back;
    if (own && req->logs_count > 0)
        found = bsearch(&key, reg->given, req->logs_count, sizeof(key), meta_report_order);
    if (found != NULL && found->state != META_LOG_MISSING)
        return *found;
    if (own && p->assigned_index > req->creations_synced_index)
        key.state = META_LOG_WHOLE; /* never created: nothing was lost (8.2) */
    return key;
}

/* Rule 4.4. */
static bool worthless(const struct registration *reg, const struct meta_image *image,
                      const struct meta_partition *p, const struct meta_log_report *report)
{
    if ((report->state == META_LOG_DAMAGED || report->state == META_LOG_MISSING) &&
        !KB_MUTANT("empty-disk-stays-in-isr"))
        return true;
    return reg->unclean && (!meta_topic_strong(image, p->topic) || p->unsynced);
}

static void take_judgement(struct registration *reg, struct meta_log_report report)
{
    kb_array_reserve(reg->judged, reg->judged_count, reg->judged_capacity);
    reg->judged[reg->judged_count++] = report;
}

static void visit_replica(struct meta_plan *plan, const struct meta_partition *p, void *arg)
{
    struct registration *reg = arg;
    int32_t id = reg->req->broker_id;
    size_t replica = (size_t)meta_partition_replica(p, id);
    struct meta_log_report report = judge(reg, p, replica);
    take_judgement(reg, report);
    struct meta_change ch;
    meta_change_begin(&ch, p);
    meta_change_remove_dead(&ch, plan);
    if (worthless(reg, plan->c->image, p, &report))
        meta_change_disqualify(&ch, plan, id);
    if (!kb_uuid_equal(&ch.directories[replica], &reg->req->directory)) {
        ch.directories[replica] = reg->req->directory;
        ch.touched = true;
    }
    meta_elect(&ch, plan);
    (void)meta_change_emit(&ch, plan);
}

static struct meta_broker broker_of(const struct meta_register_request *req)
{
    return (struct meta_broker){
        .id = req->broker_id,
        .incarnation = req->incarnation,
        .boot_id = kc_str(req->boot_id != NULL ? req->boot_id : ""),
        .rack = kc_str(req->rack),
        .directories = (struct kb_uuid *)(uintptr_t)&req->directory,
        .directories_count = 1,
        .endpoints = (struct meta_endpoint *)(uintptr_t)req->endpoints,
        .endpoints_count = req->endpoints_count,
        .peer_endpoints = (struct meta_endpoint *)(uintptr_t)req->peer_endpoints,
        .peer_endpoints_count = req->peer_endpoints_count,
        .features = (struct meta_feature *)(uintptr_t)req->features,
        .features_count = req->features_count,
        .fenced = true,
    };
}

static int emit_broker(struct meta_result *result, const struct meta_broker *b,
                       struct kb_arena *arena, bool with_state)
{
    Kc__BrokerRecord broker;
    meta_broker_record_fill(&broker, b, arena, with_state);
    if (arena->failed)
        return -1;
    Kc__Record record = KC__RECORD__INIT;
    record.kind_case = KC__RECORD__KIND_BROKER;
    record.broker = &broker;
    meta_records_add(&result->records, &record);
    return 0;
}

static bool endpoints_same(const struct meta_endpoint *a, size_t a_count,
                           const struct meta_endpoint *b, size_t b_count)
{
    if (a_count != b_count)
        return false;
    for (size_t i = 0; i < a_count; i++) {
        if (strcmp(a[i].listener, b[i].listener) != 0 || strcmp(a[i].host, b[i].host) != 0 ||
            a[i].port != b[i].port || a[i].security_protocol != b[i].security_protocol)
            return false;
    }
    return true;
}

/* Reports of a living incarnation, for a new controller. What was assigned to this incarnation has
 * none and needs none. */
static void take_reports_again(struct registration *reg, const struct meta_image *image)
{
    for (size_t i = 0; i < image->topics_count; i++) {
        const struct meta_topic *t = image->topics[i];
        for (size_t k = 0; k < t->partitions_count; k++) {
            const struct meta_partition *p = t->partitions[k];
            int replica = meta_partition_replica(p, reg->req->broker_id);
            if (replica >= 0 && p->assigned_index <= reg->old->epoch)
                take_judgement(reg, judge(reg, p, (size_t)replica));
        }
    }
}

static void register_again(struct registration *reg, struct meta_plan *plan, struct kb_arena *arena,
                           struct meta_register_response *ret)
{
    const struct meta_register_request *req = reg->req;
    const struct meta_broker *old = reg->old;
    struct meta_session *s = meta_session_get(plan->c, req->broker_id);
    take_reports_again(reg, plan->c->image);
    meta_session_set_reports(s, old->epoch, reg->judged, reg->judged_count);
    if (!meta_walk(plan, req->broker_id, meta_visit_leaderless, NULL))
        plan->c->recheck_all = true;
    struct meta_broker b = broker_of(req);
    if (!text_same(old->rack, b.rack) ||
        !endpoints_same(old->endpoints, old->endpoints_count, b.endpoints, b.endpoints_count) ||
        !endpoints_same(old->peer_endpoints, old->peer_endpoints_count, b.peer_endpoints,
                        b.peer_endpoints_count)) {
        b.epoch = old->epoch;
        b.last_unfenced_epoch = old->last_unfenced_epoch;
        b.fenced = old->fenced;
        b.stopping = old->stopping;
        b.stalled = old->stalled;
        if (emit_broker(plan->result, &b, arena, true) < 0) {
            ret->error = KW_UNKNOWN_SERVER_ERROR;
            return;
        }
    }
    ret->broker_epoch = old->epoch;
}

static void register_new(struct registration *reg, struct meta_plan *plan, struct kb_arena *arena,
                         struct meta_register_response *ret)
{
    const struct meta_register_request *req = reg->req;
    struct meta_result *result = plan->result;
    struct meta_session *s = meta_session_get(plan->c, req->broker_id);
    /* Whoever else is dead now leaves in the same step (rule 4.3). */
    int32_t *dead = meta_dead_now(plan->c, plan->now_ms, req->broker_id, &plan->dead_count);
    plan->dead = dead;
    bool whole = meta_walk(plan, req->broker_id, visit_replica, reg);
    free(dead);
    if (!whole) {
        /* The rest follows: what was written stands by itself (rule 6.5). */
        ret->error = KW_NOT_CONTROLLER;
        ret->message = "the registration is handled in several steps; register again";
        return;
    }
    ret->broker_epoch = plan->c->image->last_index + 1 + result->records.count;
    struct meta_broker b = broker_of(req);
    if (emit_broker(result, &b, arena, false) < 0) {
        ret->error = KW_UNKNOWN_SERVER_ERROR;
        meta_result_clear(result);
        return;
    }
    meta_session_set_reports(s, ret->broker_epoch, reg->judged, reg->judged_count);
    s->stalled = s->stall_known = false;
    s->dead_links_count = 0;
    s->fenced_ms = 0;
    meta_note(result, "event=broker_registered broker=%d broker_epoch=%llu clean=%d rolled_back=%d",
              req->broker_id, (unsigned long long)ret->broker_epoch, req->clean, reg->rolled_back);
}

static int16_t check(struct meta_controller *c, uint64_t now_ms,
                     const struct meta_register_request *req, const struct meta_broker *old,
                     struct kb_arena *arena, const char **ret_message)
{
    const char *cluster_id = meta_image_cluster_id(c->image);
    if (c->scanning) {
        *ret_message = "the new controller still looks who is there; register again";
        return KW_NOT_CONTROLLER;
    }
    if (req->cluster_id != NULL && cluster_id != NULL && strcmp(req->cluster_id, cluster_id) != 0) {
        *ret_message = kb_arena_printf(arena,
                                       "node %d belongs to cluster %.64s, this is cluster %s",
                                       req->broker_id, req->cluster_id, cluster_id);
        return KW_INCONSISTENT_CLUSTER_ID;
    }
    if (req->broker_id < 0 || kb_uuid_is_zero(&req->directory)) {
        *ret_message = "a registration needs a node id and a directory id";
        return KW_INVALID_REGISTRATION;
    }
    if (old != NULL && old->incarnation != req->incarnation && meta_session_lives(c, old, now_ms) &&
        !KB_MUTANT("second-process-displaces-first")) {
        *ret_message = kb_arena_printf(
            arena, "another process with node.id=%d is alive; each node needs an id of its own",
            req->broker_id);
        return KW_DUPLICATE_BROKER_REGISTRATION;
    }
    return KW_NONE;
}

void meta_controller_register(struct meta_controller *c, uint64_t now_ms,
                              const struct meta_register_request *req, struct kb_arena *arena,
                              struct meta_result *result, struct meta_register_response *ret)
{
    struct registration reg = {.req = req, .old = meta_image_broker(c->image, req->broker_id)};
    *ret = (struct meta_register_response){0};
    ret->error = check(c, now_ms, req, reg.old, arena, &ret->message);
    if (ret->error != KW_NONE)
        return;
    /* A registration comes over the control link: it is up. */
    meta_controller_link(c, now_ms, req->broker_id, META_LINK_UP, req->incarnation);
    struct meta_plan plan = meta_plan_make(c, now_ms, result);
    reg.given = kb_new_array(struct meta_log_report, req->logs_count);
    for (size_t i = 0; i < req->logs_count; i++)
        reg.given[i] = req->logs[i];
    qsort(reg.given, req->logs_count, sizeof(reg.given[0]), meta_report_order);
    if (reg.old != NULL && reg.old->incarnation == req->incarnation) {
        register_again(&reg, &plan, arena, ret);
    } else {
        bool same_boot = reg.old != NULL && reg.old->boot_id[0] != '\0' && req->boot_id != NULL &&
                         strcmp(reg.old->boot_id, req->boot_id) == 0;
        reg.unclean = !req->clean && !same_boot;
        reg.rolled_back = reg.old != NULL &&
                          req->previous_broker_epoch < reg.old->last_unfenced_epoch;
        register_new(&reg, &plan, arena, ret);
    }
    free(reg.given);
    free(reg.judged);
}
