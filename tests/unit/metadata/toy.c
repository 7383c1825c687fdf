#include "tests/unit/metadata/toy.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/mem.h"

/* ---- invariants ---------------------------------------------------------------------------------
 */

static bool contains(const int32_t *ids, size_t count, int32_t id)
{
    return meta_ids_contain(ids, count, id);
}

/* R16 within one state; R17: who leads is registered at the epoch named. */
static void check_partition(const struct meta_image *image, const struct meta_partition *p)
{
    for (size_t i = 0; i < p->isr_count; i++) {
        ck_assert(meta_partition_replica(p, p->isr[i]) >= 0);
        ck_assert(!contains(p->elr, p->elr_count, p->isr[i]));
    }
    for (size_t i = 0; i < p->elr_count; i++)
        ck_assert(meta_partition_replica(p, p->elr[i]) >= 0);
    if (p->isr_count >= (size_t)meta_min_isr(image, p))
        ck_assert_uint_eq(p->elr_count, 0);
    if (p->leader < 0)
        return;
    const struct meta_broker *b = meta_image_broker(image, p->leader);
    ck_assert_ptr_nonnull(b);
    ck_assert(contains(p->isr, p->isr_count, p->leader));
    ck_assert_uint_eq(b->epoch, p->leader_broker_epoch);
}

/* R16 between two states of the partition. */
static void check_step(struct toy *t, const struct meta_partition *a,
                       const struct meta_partition *b)
{
    if (a->partition_epoch == b->partition_epoch) {
        ck_assert_int_eq(a->leader, b->leader);
        ck_assert_int_eq(a->leader_epoch, b->leader_epoch);
        return;
    }
    ck_assert_int_gt(b->partition_epoch, a->partition_epoch);
    ck_assert_int_ge(b->leader_epoch, a->leader_epoch);
    if (a->leader != b->leader || a->leader_broker_epoch != b->leader_broker_epoch)
        ck_assert_int_gt(b->leader_epoch, a->leader_epoch);
    if (b->leader < 0 || b->leader == a->leader)
        return;
    if (t->allow_any && b->last_unclean_epoch == b->leader_epoch)
        return;
    if (t->allow_unclean && b->last_unclean_epoch == b->leader_epoch) {
        /* Rule 4.6: only where acknowledged did not mean synced. */
        ck_assert(!meta_topic_strong(t->committed, b->topic) || a->unsynced);
        ck_assert_uint_eq(a->isr_count + a->elr_count, 0);
        return;
    }
    /* Taken from the ISR, or from the ELR when the ISR had nobody left. */
    if (!contains(a->isr, a->isr_count, b->leader))
        ck_assert_msg(contains(a->elr, a->elr_count, b->leader),
                      "%s-%d: leader %d comes from nowhere", b->topic->name, b->index, b->leader);
}

/* R17: no fenced broker in an ISR once a batch is complete. */
static void check_all(struct toy *t, const struct meta_image *before, const struct meta_image *now)
{
    for (size_t i = 0; i < meta_image_topics_count(now); i++) {
        const struct meta_topic *topic = meta_image_topic_at(now, i);
        const struct meta_topic *was = meta_image_topic_by_id(before, &topic->id);
        for (size_t k = 0; k < topic->partitions_count; k++) {
            const struct meta_partition *p = topic->partitions[k];
            check_partition(now, p);
            for (size_t m = 0; m < p->isr_count; m++)
                ck_assert_msg(meta_image_broker_live(now, p->isr[m]), "%s-%zu: %d is fenced",
                              topic->name, k, p->isr[m]);
            const struct meta_partition *old = meta_topic_partition(was, (int32_t)k);
            if (old != NULL)
                check_step(t, old, p);
        }
    }
    for (size_t i = 0; i < meta_image_brokers_count(now); i++) {
        const struct meta_broker *b = meta_image_broker_at(now, i);
        const struct meta_broker *was = meta_image_broker(before, b->id);
        if (was != NULL)
            ck_assert_uint_ge(b->epoch, was->epoch);
        if (was != NULL && was->incarnation != b->incarnation)
            ck_assert_uint_gt(b->epoch, was->epoch);
    }
    ck_assert_int_ge(meta_image_next_producer_id(now), meta_image_next_producer_id(before));
}

size_t toy_commit(struct toy *t)
{
    size_t count = t->result.records.count;
    uint64_t first = meta_image_last_index(t->committed) + 1;
    if (count > 0) {
        struct meta_image *before = meta_image_clone(t->committed);
        for (size_t i = 0; i < count; i++)
            ck_assert_int_eq(meta_image_apply(t->committed, first + i, t->term,
                                              meta_records_at(&t->result.records, i), NULL),
                             0);
        meta_controller_replay(t->c, &t->result.records, first, t->term);
        check_all(t, before, t->committed);
        (void)meta_image_free(before);
        ck_assert_uint_eq(meta_image_content_hash(t->committed),
                          meta_image_content_hash(meta_controller_image(t->c)));
        ck_assert_uint_eq(meta_image_digest(t->committed),
                          meta_image_digest(meta_controller_image(t->c)));
    }
    meta_result_clear(&t->result);
    return count;
}

/* ---- life ---------------------------------------------------------------------------------------
 */

struct toy *toy_new(int voters)
{
    struct toy *t = kb_new(struct toy);
    struct meta_voter list[TOY_BROKERS_MAX];
    t->now_ms = 1000000;
    t->term = 1;
    t->incarnations = 100;
    kb_arena_init(&t->arena, 64 << 20);
    for (int id = 1; id <= TOY_BROKERS_MAX; id++) {
        t->brokers[id].directory.bytes[0] = (uint8_t)id;
        t->brokers[id].directory.bytes[15] = 1;
        t->brokers[id].boot_id = "boot-1";
    }
    for (int i = 0; i < voters; i++) {
        list[i].id = i + 1;
        list[i].directory = t->brokers[i + 1].directory;
        list[i].host = (char *)(uintptr_t) "host";
        list[i].port = (uint16_t)(9093 + i);
    }
    meta_controller_config_default(&t->config);
    t->config.node_id = 1;
    t->config.incarnation = t->brokers[1].incarnation = ++t->incarnations;
    t->committed = meta_image_new();
    t->c = meta_controller_new(t->committed, &t->config, 7, t->now_ms, NULL, 0);
    struct meta_founding founding = {
        .cluster_id = "toy-cluster", .voters = list, .voters_count = (size_t)voters};
    meta_records_add_founding(&t->result.records, &founding);
    (void)toy_commit(t);
    toy_tick(t);
    ck_assert(!meta_controller_scanning(t->c));
    return t;
}

struct toy *toy_up(int voters)
{
    struct toy *t = toy_new(voters);
    for (int id = 1; id <= voters; id++)
        toy_join(t, id);
    return t;
}

struct toy *toy_free(struct toy *t)
{
    (void)meta_controller_free(t->c);
    (void)meta_image_free(t->committed);
    meta_result_release(&t->result);
    kb_arena_release(&t->arena);
    return kb_free(t);
}

void toy_tick(struct toy *t)
{
    for (int i = 0; i < 100; i++) {
        meta_controller_tick(t->c, t->now_ms, &t->result);
        if (toy_commit(t) == 0)
            return;
    }
    ck_abort_msg("the tick never comes to rest");
}

void toy_run(struct toy *t, uint64_t ms)
{
    for (uint64_t end = t->now_ms + ms; t->now_ms < end;) {
        t->now_ms += end - t->now_ms < 100 ? end - t->now_ms : 100;
        for (int id = 1; id <= TOY_BROKERS_MAX; id++) {
            if (t->brokers[id].up)
                meta_controller_heard(t->c, t->now_ms, id, t->brokers[id].incarnation);
        }
        toy_tick(t);
    }
    /* At rest nothing is due. */
    toy_tick(t);
    ck_assert_uint_gt(meta_controller_deadline(t->c), t->now_ms);
}

void toy_take_over(struct toy *t, const int32_t *linked, size_t count)
{
    struct meta_evidence evidence[TOY_BROKERS_MAX];
    for (size_t i = 0; i < count; i++)
        evidence[i] = (struct meta_evidence){.broker_id = linked[i],
                                             .link = META_LINK_UP,
                                             .link_since_ms = t->now_ms,
                                             .incarnation = t->brokers[linked[i]].incarnation,
                                             .heard_ms = t->now_ms};
    (void)meta_controller_free(t->c);
    t->term++;
    t->config.incarnation = t->brokers[t->config.node_id].incarnation;
    t->c = meta_controller_new(t->committed, &t->config, t->term, t->now_ms, evidence, count);
}

/* ---- brokers ------------------------------------------------------------------------------------
 */

static size_t make_reports(struct toy *t, int32_t id, const struct toy_start *how,
                           struct meta_log_report **ret)
{
    size_t count = 0;
    size_t capacity = 0;
    struct meta_log_report *logs = NULL;
    for (size_t i = 0; i < meta_image_topics_count(t->committed); i++) {
        const struct meta_topic *topic = meta_image_topic_at(t->committed, i);
        for (size_t k = 0; k < topic->partitions_count; k++) {
            if (meta_partition_replica(topic->partitions[k], id) < 0)
                continue;
            kb_array_reserve(logs, count, capacity);
            logs[count++] =
                (struct meta_log_report){.topic_id = topic->id,
                                         .partition = (int32_t)k,
                                         .last_epoch = topic->partitions[k]->leader_epoch,
                                         .end_offset = how->end_offset != 0 ? how->end_offset : 100,
                                         .state = how->state};
        }
    }
    *ret = logs;
    return how->no_logs ? 0 : count;
}

static struct meta_register_request make_request(struct toy *t, int32_t id,
                                                 const struct toy_start *how,
                                                 const struct meta_endpoint *endpoint)
{
    const struct toy_broker *b = &t->brokers[id];
    return (struct meta_register_request){
        .broker_id = id,
        .cluster_id = "toy-cluster",
        .incarnation = b->incarnation,
        .directory = b->directory,
        .previous_broker_epoch = how->previous_epoch != 0 ? how->previous_epoch : b->epoch,
        .boot_id = how->boot_id != NULL ? how->boot_id : b->boot_id,
        .clean = !how->unclean,
        .rack = b->rack,
        .endpoints = endpoint,
        .endpoints_count = 1,
        .creations_synced_index = how->creations_synced != 0 ? how->creations_synced
                                                             : meta_image_last_index(t->committed),
    };
}

static struct meta_endpoint make_endpoint(int32_t id)
{
    return (struct meta_endpoint){.listener = (char *)(uintptr_t) "PLAINTEXT",
                                  .host = (char *)(uintptr_t) "localhost",
                                  .port = (uint16_t)(9092 + id)};
}

void toy_report_again(struct toy *t, int32_t id)
{
    static const struct toy_start plain;
    struct meta_endpoint endpoint = make_endpoint(id);
    struct meta_register_request req = make_request(t, id, &plain, &endpoint);
    struct meta_register_response answer;
    struct meta_log_report *logs = NULL;
    req.logs_count = make_reports(t, id, &plain, &logs);
    req.logs = logs;
    meta_controller_register(t->c, t->now_ms, &req, &t->arena, &t->result, &answer);
    free(logs);
    ck_assert_int_eq(answer.error, KW_NONE);
    ck_assert_uint_eq(answer.broker_epoch, t->brokers[id].epoch);
    (void)toy_commit(t);
}

int16_t toy_start(struct toy *t, int32_t id, const struct toy_start *how)
{
    static const struct toy_start plain;
    struct toy_broker *b = &t->brokers[id];
    struct meta_register_response answer;
    struct meta_endpoint endpoint = make_endpoint(id);
    how = how != NULL ? how : &plain;
    if (id != t->config.node_id || b->up || b->epoch != 0)
        b->incarnation = ++t->incarnations;
    if (how->new_directory) {
        b->directory.bytes[14]++;
        b->epoch = 0;
    }
    struct meta_log_report *logs = NULL;
    struct meta_register_request req = make_request(t, id, how, &endpoint);
    req.logs_count = make_reports(t, id, how, &logs);
    req.logs = logs;
    meta_controller_link(t->c, t->now_ms, id, META_LINK_UP, b->incarnation);
    meta_controller_register(t->c, t->now_ms, &req, &t->arena, &t->result, &answer);
    free(logs);
    if (answer.error == KW_NONE) {
        (void)toy_commit(t);
        ck_assert_uint_eq(meta_image_broker(t->committed, id)->epoch, answer.broker_epoch);
        b->epoch = answer.broker_epoch;
        b->boot_id = req.boot_id;
        b->up = true;
    }
    meta_result_clear(&t->result);
    return answer.error;
}

struct meta_heartbeat_request toy_beat(struct toy *t, int32_t id)
{
    return (struct meta_heartbeat_request){.broker_id = id,
                                           .incarnation = t->brokers[id].incarnation,
                                           .broker_epoch = t->brokers[id].epoch,
                                           .applied_index = meta_image_last_index(t->committed)};
}

struct meta_heartbeat_response toy_heartbeat(struct toy *t, const struct meta_heartbeat_request *r)
{
    struct meta_heartbeat_response answer;
    meta_controller_heartbeat(t->c, t->now_ms, r, &t->result, &answer);
    (void)toy_commit(t);
    return answer;
}

void toy_unfence(struct toy *t, int32_t id)
{
    struct meta_heartbeat_request r = toy_beat(t, id);
    r.want_unfence = true;
    struct meta_heartbeat_response answer = toy_heartbeat(t, &r);
    ck_assert_int_eq(answer.error, KW_NONE);
    ck_assert(!answer.fenced);
    ck_assert(meta_image_broker_live(t->committed, id));
}

void toy_join(struct toy *t, int32_t id)
{
    ck_assert_int_eq(toy_start(t, id, NULL), KW_NONE);
    toy_unfence(t, id);
}

void toy_kill(struct toy *t, int32_t id)
{
    t->brokers[id].up = false;
    meta_controller_link(t->c, t->now_ms, id, META_LINK_CLOSED, 0);
    meta_controller_link(t->c, t->now_ms, id, META_LINK_DEAD, 0);
}

/* ---- topics -------------------------------------------------------------------------------------
 */

static size_t parse_configs(struct kb_arena *arena, const char *text,
                            struct kw_create_topics_request_config *ret)
{
    size_t count = 0;
    char *copy = text != NULL ? kb_arena_strndup(arena, text, strlen(text)) : NULL;
    char *save = NULL;
    for (char *at = copy != NULL ? strtok_r(copy, ",", &save) : NULL; at != NULL;
         at = strtok_r(NULL, ",", &save)) {
        char *equals = strchr(at, '=');
        *equals = '\0';
        ret[count].name = kw_str_of(at);
        ret[count].value = kw_str_of(equals + 1);
        count++;
    }
    return count;
}

const struct meta_topic *toy_topic(struct toy *t, const char *name, const char *assignment,
                                   const char *configs)
{
    struct kw_create_topics_request_assignment assignments[16];
    struct kw_create_topics_request_config items[16];
    struct kw_create_topics_request_topic topic;
    struct kw_create_topics_request req;
    struct kw_create_topics_response resp;
    kw_create_topics_request_topic_init(&topic);
    topic.name = kw_str_of(name);
    topic.num_partitions = -1;
    topic.replication_factor = -1;
    topic.assignments = assignments;
    topic.configs = items;
    topic.configs_count = (int32_t)parse_configs(&t->arena, configs, items);
    for (const char *at = assignment; *at != '\0'; topic.assignments_count++) {
        struct kw_create_topics_request_assignment *a = &assignments[topic.assignments_count];
        a->partition_index = topic.assignments_count;
        a->broker_ids = kb_arena_new_array(&t->arena, int32_t, META_REPLICAS_MAX);
        a->broker_ids_count = 0;
        while (*at != '\0' && *at != ';') {
            a->broker_ids[a->broker_ids_count++] = *at - '0';
            at += at[1] == ',' ? 2 : 1;
        }
        at += *at == ';';
    }
    kw_create_topics_request_init(&req);
    req.topics = &topic;
    req.topics_count = 1;
    ck_assert_int_eq(meta_controller_create_topics(t->c, &req, &t->arena, &t->result, &resp), 0);
    ck_assert_msg(resp.topics[0].error_code == KW_NONE, "%.*s", resp.topics[0].error_message.size,
                  resp.topics[0].error_message.data);
    (void)toy_commit(t);
    return meta_image_topic(t->committed, name);
}

const struct meta_partition *toy_partition(struct toy *t, const char *topic, int32_t index)
{
    const struct meta_partition *p = meta_topic_partition(meta_image_topic(t->committed, topic),
                                                          index);
    ck_assert_ptr_nonnull(p);
    return p;
}

int16_t toy_alter(struct toy *t, const char *topic, int32_t index, const int32_t *isr, size_t count)
{
    const struct meta_partition *p = toy_partition(t, topic, index);
    uint64_t epochs[META_REPLICAS_MAX];
    struct meta_alter_result *out = NULL;
    for (size_t i = 0; i < count; i++) {
        const struct meta_broker *b = meta_image_broker(t->committed, isr[i]);
        epochs[i] = b != NULL ? b->epoch : 0;
    }
    struct meta_alter_item item = {.topic_id = p->topic->id,
                                   .partition = index,
                                   .leader_epoch = p->leader_epoch,
                                   .partition_epoch = p->partition_epoch,
                                   .isr = isr,
                                   .isr_broker_epochs = epochs,
                                   .isr_count = count};
    int16_t error = meta_controller_alter_partitions(
        t->c, t->now_ms, p->leader, p->leader_broker_epoch, &item, 1, &t->arena, &t->result, &out);
    ck_assert_int_eq(error, KW_NONE);
    (void)toy_commit(t);
    if (out[0].error == KW_NONE) {
        ck_assert_int_eq(out[0].partition_epoch, toy_partition(t, topic, index)->partition_epoch);
        ck_assert_int_eq(out[0].leader_epoch, toy_partition(t, topic, index)->leader_epoch);
    }
    return out[0].error;
}

int16_t toy_set_config(struct toy *t, const char *topic, const char *name, const char *value)
{
    struct kw_incremental_alter_configs_request_config config = {
        .name = kw_str_of(name), .value = kw_str_of(value), .config_operation = value == NULL};
    struct kw_incremental_alter_configs_request_resource resource = {
        .resource_type = topic != NULL ? META_RESOURCE_TOPIC : META_RESOURCE_BROKER,
        .resource_name = kw_str_of(topic != NULL ? topic : ""),
        .configs = &config,
        .configs_count = 1};
    struct kw_incremental_alter_configs_request req;
    struct kw_incremental_alter_configs_response resp;
    kw_incremental_alter_configs_request_init(&req);
    req.resources = &resource;
    req.resources_count = 1;
    ck_assert_int_eq(
        meta_controller_incremental_alter_configs(t->c, &req, &t->arena, &t->result, &resp), 0);
    (void)toy_commit(t);
    return resp.responses[0].error_code;
}

static void append_ids(char *text, size_t size, const char *label, const int32_t *ids, size_t count)
{
    size_t used = strlen(text);
    used += (size_t)snprintf(text + used, size - used, " %s ", label);
    for (size_t i = 0; i < count; i++)
        used += (size_t)snprintf(text + used, size - used, "%s%d", i > 0 ? "," : "", ids[i]);
    if (count == 0)
        (void)snprintf(text + used, size - used, "-");
}

const char *toy_state(struct toy *t, const char *topic, int32_t index)
{
    const struct meta_partition *p = toy_partition(t, topic, index);
    char *text = kb_arena_alloc(&t->arena, 256);
    (void)snprintf(text, 256, "leader %d", p->leader);
    append_ids(text, 256, "isr", p->isr, p->isr_count);
    append_ids(text, 256, "elr", p->elr, p->elr_count);
    append_ids(text, 256, "known", p->last_known_elr, p->last_known_elr_count);
    return text;
}
