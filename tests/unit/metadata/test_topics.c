/* Scenario: an administrator creates, grows, changes and deletes topics; every wrong request gets
 * Kafka's code and a sentence, and changes nothing. */
#include "tests/unit/metadata/toy.h"
#include "tests/unit/unit.h"

#include <stdio.h>
#include <string.h>

struct ask {
    const char *name;
    int32_t partitions;
    int16_t rf;
    const char *config; /* one name, NULL none */
    const char *value;
    bool validate_only;
};

static const struct kw_create_topics_response_topic *create(struct toy *t, struct ask a)
{
    struct kw_create_topics_request_config config = {.name = kw_str_of(a.config),
                                                     .value = kw_str_of(a.value)};
    struct kw_create_topics_request_topic topic;
    struct kw_create_topics_request req;
    struct kw_create_topics_response *resp = kb_arena_new(&t->arena,
                                                          struct kw_create_topics_response);
    kw_create_topics_request_topic_init(&topic);
    topic.name = kw_str_of(a.name);
    topic.num_partitions = a.partitions;
    topic.replication_factor = a.rf;
    topic.configs = &config;
    topic.configs_count = a.config != NULL;
    kw_create_topics_request_init(&req);
    req.topics = &topic;
    req.topics_count = 1;
    req.validate_only = a.validate_only;
    ck_assert_int_eq(meta_controller_create_topics(t->c, &req, &t->arena, &t->result, resp), 0);
    if (resp->topics[0].error_code != KW_NONE) {
        ck_assert_uint_eq(t->result.records.count, 0);
        ck_assert_int_gt(resp->topics[0].error_message.size, 0);
    }
    (void)toy_commit(t);
    return &resp->topics[0];
}

static const char *config_of(const struct kw_create_topics_response_topic *topic, const char *name)
{
    static char text[64];
    for (int32_t i = 0; i < topic->configs_count; i++) {
        if (!kw_str_is(topic->configs[i].name, name))
            continue;
        (void)snprintf(text, sizeof(text), "%.*s/%d", topic->configs[i].value.size,
                       topic->configs[i].value.data, topic->configs[i].config_source);
        return text;
    }
    return "?";
}

START_TEST(create__spreads_leaders_and_replicas)
{
    struct toy *t = toy_up(5);
    int leaders[6] = {0};
    int replicas[6] = {0};
    const struct kw_create_topics_response_topic *r =
        create(t, (struct ask){.name = "even", .partitions = 20, .rf = 3});
    ck_assert_int_eq(r->error_code, KW_NONE);
    ck_assert_int_eq(r->num_partitions, 20);
    ck_assert_int_eq(r->replication_factor, 3);
    const struct meta_topic *topic = meta_image_topic(t->committed, "even");
    ck_assert(kb_uuid_equal(&r->topic_id, &topic->id));
    for (size_t i = 0; i < topic->partitions_count; i++) {
        const struct meta_partition *p = topic->partitions[i];
        ck_assert_uint_eq(p->isr_count, 3);
        leaders[p->leader]++;
        for (size_t k = 0; k < p->replicas_count; k++)
            replicas[p->replicas[k]]++;
    }
    for (int id = 1; id <= 5; id++) {
        ck_assert_int_eq(leaders[id], 4);
        ck_assert_int_eq(replicas[id], 12);
    }
    (void)toy_free(t);
}
END_TEST

START_TEST(create__replicas_go_to_different_racks)
{
    struct toy *t = toy_new(5);
    static const char *const racks[] = {"", "a", "a", "b", "b", "c"};
    for (int id = 1; id <= 5; id++) {
        t->brokers[id].rack = racks[id];
        toy_join(t, id);
    }
    (void)create(t, (struct ask){.name = "racks", .partitions = 12, .rf = 3});
    const struct meta_topic *topic = meta_image_topic(t->committed, "racks");
    for (size_t i = 0; i < topic->partitions_count; i++) {
        unsigned seen = 0;
        for (size_t k = 0; k < 3; k++)
            seen |= 1u << (racks[topic->partitions[i]->replicas[k]][0] - 'a');
        ck_assert_uint_eq(seen, 7);
    }
    (void)toy_free(t);
}
END_TEST

START_TEST(create__same_seed_same_places)
{
    struct toy *a = toy_up(5);
    struct toy *b = toy_up(5);
    (void)create(a, (struct ask){.name = "x", .partitions = 7, .rf = 2});
    (void)create(b, (struct ask){.name = "x", .partitions = 7, .rf = 2});
    ck_assert_uint_eq(meta_image_content_hash(a->committed), meta_image_content_hash(b->committed));
    (void)toy_free(a);
    (void)toy_free(b);
}
END_TEST

/* design.md 6, rule 11.5: defaults. */
START_TEST(create__defaults)
{
    struct toy *t = toy_up(3);
    const struct kw_create_topics_response_topic *r =
        create(t, (struct ask){.name = "d", .partitions = -1, .rf = -1});
    ck_assert_int_eq(r->num_partitions, 1);
    ck_assert_int_eq(r->replication_factor, 3);
    ck_assert_str_eq(config_of(r, "min.insync.replicas"), "2/5");
    ck_assert_str_eq(config_of(r, "flush.messages"), "1/5");
    r = create(t, (struct ask){.name = "__consumer_offsets", .partitions = -1, .rf = -1});
    ck_assert_int_eq(r->num_partitions, 50);
    ck_assert_int_eq(r->replication_factor, 3);
    ck_assert_str_eq(config_of(r, "cleanup.policy"), "compact/1");
    (void)toy_free(t);
    t = toy_up(1);
    r = create(t, (struct ask){.name = "d", .partitions = -1, .rf = -1});
    ck_assert_int_eq(r->replication_factor, 1);
    ck_assert_str_eq(config_of(r, "min.insync.replicas"), "1/5");
    r = create(t, (struct ask){.name = "__consumer_offsets", .partitions = -1, .rf = -1});
    ck_assert_int_eq(r->replication_factor, 1);
    (void)toy_free(t);
}
END_TEST

START_TEST(create__refusals)
{
    static const struct {
        struct ask ask;
        int16_t error;
    } cases[] = {
        {{.name = "a", .partitions = 1, .rf = 1}, KW_TOPIC_ALREADY_EXISTS},
        {{.name = "", .partitions = 1, .rf = 1}, KW_INVALID_TOPIC_EXCEPTION},
        {{.name = "no way", .partitions = 1, .rf = 1}, KW_INVALID_TOPIC_EXCEPTION},
        {{.name = "x_y.z", .partitions = 1, .rf = 1}, KW_INVALID_TOPIC_EXCEPTION},
        {{.name = "b", .partitions = 0, .rf = 1}, KW_INVALID_PARTITIONS},
        {{.name = "b", .partitions = -2, .rf = 1}, KW_INVALID_PARTITIONS},
        {{.name = "b", .partitions = 10001, .rf = 1}, KW_INVALID_PARTITIONS},
        {{.name = "b", .partitions = 1, .rf = 0}, KW_INVALID_REPLICATION_FACTOR},
        {{.name = "b", .partitions = 1, .rf = 4}, KW_INVALID_REPLICATION_FACTOR},
        {{.name = "b", .partitions = 1, .rf = 1, .config = "no.such", .value = "1"},
         KW_INVALID_CONFIG},
        {{.name = "b", .partitions = 1, .rf = 1, .config = "retention.ms", .value = "x"},
         KW_INVALID_CONFIG},
        {{.name = "b", .partitions = 1, .rf = 1, .config = "retention.ms", .value = NULL},
         KW_INVALID_CONFIG},
        {{.name = "b", .partitions = 1, .rf = 1, .config = "segment.bytes", .value = "14"},
         KW_INVALID_CONFIG},
    };
    struct toy *t = toy_up(3);
    (void)toy_topic(t, "a", "1", NULL);
    (void)toy_topic(t, "x.y_z", "1", NULL);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        ck_assert_int_eq(create(t, cases[i].ask)->error_code, cases[i].error);
    ck_assert_uint_eq(meta_image_topics_count(t->committed), 2);
    const struct kw_create_topics_response_topic *r =
        create(t, (struct ask){.name = "orders", .partitions = 1, .rf = 4});
    ck_assert(kw_str_is(r->error_message,
                        "cannot create \"orders\" with replication factor 4: the cluster has 3 "
                        "nodes. Use a replication factor of 3."));
    (void)toy_free(t);
}
END_TEST

START_TEST(create__validate_only_changes_nothing)
{
    struct toy *t = toy_up(3);
    uint64_t index = meta_image_last_index(t->committed);
    const struct kw_create_topics_response_topic *r =
        create(t, (struct ask){.name = "v", .partitions = 3, .rf = 2, .validate_only = true});
    ck_assert_int_eq(r->error_code, KW_NONE);
    ck_assert_int_eq(r->num_partitions, 3);
    ck_assert_uint_eq(meta_image_last_index(t->committed), index);
    (void)toy_free(t);
}
END_TEST

/* Several topics in one request: twice the same name, names alike, one good one. */
START_TEST(create__several_in_one_request)
{
    struct toy *t = toy_up(3);
    static const char *const names[] = {"dup", "good.one", "dup", "good_one"};
    static const int16_t errors[] = {KW_INVALID_REQUEST, KW_NONE, KW_INVALID_TOPIC_EXCEPTION};
    struct kw_create_topics_request_topic topics[4];
    struct kw_create_topics_request req;
    struct kw_create_topics_response resp;
    for (int i = 0; i < 4; i++) {
        kw_create_topics_request_topic_init(&topics[i]);
        topics[i].name = kw_str_of(names[i]);
        topics[i].num_partitions = topics[i].replication_factor = 1;
    }
    kw_create_topics_request_init(&req);
    req.topics = topics;
    req.topics_count = 4;
    ck_assert_int_eq(meta_controller_create_topics(t->c, &req, &t->arena, &t->result, &resp), 0);
    ck_assert_int_eq(resp.topics_count, 3); /* one answer per name */
    for (int i = 0; i < 3; i++)
        ck_assert_int_eq(resp.topics[i].error_code, errors[i]);
    ck_assert_uint_eq(toy_commit(t), 2);
    /* A small arena refuses as a whole. */
    struct kb_arena small;
    kb_arena_init(&small, 600);
    ck_assert_int_eq(meta_controller_create_topics(t->c, &req, &small, &t->result, &resp),
                     -KB_ENOMEM);
    meta_result_clear(&t->result);
    kb_arena_release(&small);
    (void)toy_free(t);
}
END_TEST

static int16_t create_assigned(struct toy *t, const int32_t *indexes, const int32_t *brokers,
                               size_t count, size_t rf)
{
    struct kw_create_topics_request_assignment a[4];
    struct kw_create_topics_request_topic topic;
    struct kw_create_topics_request req;
    struct kw_create_topics_response resp;
    kw_create_topics_request_topic_init(&topic);
    for (size_t i = 0; i < count; i++)
        a[i] = (struct kw_create_topics_request_assignment){
            .partition_index = indexes[i],
            .broker_ids = (int32_t *)(uintptr_t)&brokers[i * rf],
            .broker_ids_count = (int32_t)rf};
    topic.name = KW_STR("assigned");
    topic.num_partitions = topic.replication_factor = -1;
    topic.assignments = a;
    topic.assignments_count = (int32_t)count;
    kw_create_topics_request_init(&req);
    req.topics = &topic;
    req.topics_count = 1;
    ck_assert_int_eq(meta_controller_create_topics(t->c, &req, &t->arena, &t->result, &resp), 0);
    (void)toy_commit(t);
    return resp.topics[0].error_code;
}

START_TEST(create__manual_assignments_are_checked)
{
    struct toy *t = toy_up(3);
    int32_t order[] = {1, 0};
    int32_t gap[] = {0, 2};
    int32_t good[] = {1, 2, 3, 1};
    int32_t twice[] = {1, 1, 3, 1};
    int32_t unknown[] = {1, 9, 3, 1};
    ck_assert_int_eq(create_assigned(t, gap, good, 2, 2), KW_INVALID_REPLICA_ASSIGNMENT);
    ck_assert_int_eq(create_assigned(t, order, twice, 2, 2), KW_INVALID_REPLICA_ASSIGNMENT);
    ck_assert_int_eq(create_assigned(t, order, unknown, 2, 2), KW_INVALID_REPLICA_ASSIGNMENT);
    ck_assert_int_eq(create_assigned(t, order, good, 2, 0), KW_INVALID_REPLICA_ASSIGNMENT);
    toy_kill(t, 2);
    toy_tick(t);
    int32_t fenced[] = {2};
    ck_assert_int_eq(create_assigned(t, order + 1, fenced, 1, 1), KW_INVALID_REPLICA_ASSIGNMENT);
    ck_assert_int_eq(create_assigned(t, order, good, 2, 2), KW_NONE);
    toy_assert_state(t, "assigned", 0, "leader 3 isr 3,1 elr - known -");
    toy_assert_state(t, "assigned", 1, "leader 1 isr 1 elr - known -");
    (void)toy_free(t);
}
END_TEST

/* assignments: -1 = placed by the controller. */
static int16_t grow_to(struct toy *t, const char *name, int32_t count, int32_t assignments)
{
    struct kw_create_partitions_request_topic topic;
    struct kw_create_partitions_request req;
    struct kw_create_partitions_response resp;
    kw_create_partitions_request_topic_init(&topic);
    topic.name = kw_str_of(name);
    topic.count = count;
    topic.assignments_count = assignments;
    kw_create_partitions_request_init(&req);
    req.topics = &topic;
    req.topics_count = 1;
    ck_assert_int_eq(meta_controller_create_partitions(t->c, &req, &t->arena, &t->result, &resp),
                     0);
    (void)toy_commit(t);
    return resp.results[0].error_code;
}

static int16_t grow(struct toy *t, const char *name, int32_t count)
{
    return grow_to(t, name, count, -1);
}

START_TEST(create_partitions__only_grows)
{
    struct toy *t = toy_up(3);
    (void)toy_topic(t, "a", "1,2;2,3", NULL);
    ck_assert_int_eq(grow(t, "nope", 3), KW_UNKNOWN_TOPIC_OR_PARTITION);
    ck_assert_int_eq(grow(t, "a", 2), KW_INVALID_PARTITIONS);
    ck_assert_int_eq(grow(t, "a", 10001), KW_INVALID_PARTITIONS);
    ck_assert_int_eq(grow_to(t, "a", 3, 0), KW_INVALID_REPLICA_ASSIGNMENT); /* an empty list */
    ck_assert_int_eq(grow(t, "a", 5), KW_NONE);
    const struct meta_topic *topic = meta_image_topic(t->committed, "a");
    ck_assert_uint_eq(topic->partitions_count, 5);
    ck_assert_uint_eq(topic->partitions[4]->replicas_count, 2);
    (void)toy_free(t);
}
END_TEST

START_TEST(create_partitions__repeated)
{
    struct toy *t = toy_up(3);
    struct kw_create_partitions_request_topic topics[3];
    struct kw_create_partitions_request req;
    struct kw_create_partitions_response resp;
    static const char *const names[] = {"a", "b", "a"};
    (void)toy_topic(t, "a", "1,2", NULL);
    (void)toy_topic(t, "b", "1,2", NULL);
    for (int i = 0; i < 3; i++) {
        kw_create_partitions_request_topic_init(&topics[i]);
        topics[i].name = kw_str_of(names[i]);
        topics[i].count = 2 + i;
        topics[i].assignments_count = -1;
    }
    kw_create_partitions_request_init(&req);
    req.topics = topics;
    req.topics_count = 3;
    ck_assert_int_eq(meta_controller_create_partitions(t->c, &req, &t->arena, &t->result, &resp),
                     0);
    (void)toy_commit(t);
    ck_assert_int_eq(resp.results_count, 2);
    ck_assert_int_eq(resp.results[0].error_code, KW_INVALID_REQUEST);
    ck_assert_int_eq(resp.results[1].error_code, KW_NONE);
    ck_assert_uint_eq(meta_image_topic(t->committed, "a")->partitions_count, 1);
    ck_assert_uint_eq(meta_image_topic(t->committed, "b")->partitions_count, 3);
    (void)toy_free(t);
}
END_TEST

static int16_t drop(struct toy *t, const char *name, const struct kb_uuid *id)
{
    struct kw_delete_topics_request_topic topic;
    struct kw_delete_topics_request req;
    struct kw_delete_topics_response resp;
    kw_delete_topics_request_topic_init(&topic);
    topic.name = kw_str_of(name);
    if (id != NULL)
        topic.topic_id = *id;
    kw_delete_topics_request_init(&req);
    req.topics = &topic;
    req.topics_count = 1;
    ck_assert_int_eq(meta_controller_delete_topics(t->c, 6, &req, &t->arena, &t->result, &resp), 0);
    (void)toy_commit(t);
    return resp.responses[0].error_code;
}

START_TEST(delete__by_name_or_id)
{
    struct toy *t = toy_up(3);
    struct kb_uuid a = toy_topic(t, "a", "1,2", "retention.ms=1")->id;
    struct kb_uuid none = {{7}};
    (void)toy_topic(t, "b", "1,2", NULL);
    ck_assert_int_eq(drop(t, "c", NULL), KW_UNKNOWN_TOPIC_OR_PARTITION);
    ck_assert_int_eq(drop(t, NULL, &none), KW_UNKNOWN_TOPIC_ID);
    ck_assert_int_eq(drop(t, "a", &a), KW_INVALID_REQUEST);
    ck_assert_int_eq(drop(t, NULL, &a), KW_NONE);
    ck_assert_int_eq(drop(t, "b", NULL), KW_NONE);
    ck_assert_uint_eq(meta_image_topics_count(t->committed), 0);
    /* R18: the name comes back with another id and without its old configs. */
    const struct meta_topic *again = toy_topic(t, "a", "1,2", NULL);
    ck_assert(!kb_uuid_equal(&again->id, &a));
    ck_assert_uint_eq(again->configs.count, 0);
    (void)toy_free(t);
}
END_TEST

/* What is mentioned twice stays, however it is mentioned; the other topics go. */
static struct kw_delete_topics_response drop_many(struct toy *t, int16_t version,
                                                  struct kw_delete_topics_request *req)
{
    struct kw_delete_topics_response resp;
    ck_assert_int_eq(
        meta_controller_delete_topics(t->c, version, req, &t->arena, &t->result, &resp), 0);
    (void)toy_commit(t);
    return resp;
}

START_TEST(delete__repeated)
{
    struct toy *t = toy_up(3);
    struct kb_uuid a = toy_topic(t, "a", "1,2", NULL)->id;
    struct kb_uuid b = toy_topic(t, "b", "1,2", NULL)->id;
    (void)toy_topic(t, "c", "1,2", NULL);
    struct kw_str names[] = {KW_STR("a"), KW_STR("c"), KW_STR("a"), KW_STR("a")};
    struct kw_delete_topics_request by_name = {.topic_names = names, .topic_names_count = 4};
    struct kw_delete_topics_response r = drop_many(t, 5, &by_name);
    ck_assert_int_eq(r.responses_count, 2);
    ck_assert_int_eq(r.responses[0].error_code, KW_INVALID_REQUEST);
    ck_assert_int_eq(r.responses[1].error_code, KW_NONE);
    ck_assert_ptr_null(meta_image_topic(t->committed, "c"));

    struct kw_delete_topics_request_topic states[5] = {
        {.topic_id = b}, {.name = KW_STR("a")}, {.topic_id = a}, {.topic_id = b}, {.name = {0}}};
    struct kw_delete_topics_request by_state = {.topics = states, .topics_count = 5};
    r = drop_many(t, 6, &by_state);
    ck_assert_int_eq(r.responses_count, 4);
    for (int i = 0; i < 4; i++)
        ck_assert_int_eq(r.responses[i].error_code, KW_INVALID_REQUEST);
    ck_assert_uint_eq(meta_image_topics_count(t->committed), 2);
    /* An id given twice also keeps the topic that is named once. */
    states[2] = (struct kw_delete_topics_request_topic){.name = KW_STR("b")};
    by_state.topics_count = 4;
    r = drop_many(t, 6, &by_state);
    ck_assert_int_eq(r.responses_count, 3);
    ck_assert_int_eq(r.responses[1].error_code, KW_NONE); /* a */
    ck_assert_int_eq(r.responses[2].error_code, KW_INVALID_REQUEST);
    ck_assert_ptr_nonnull(meta_image_topic(t->committed, "b"));
    (void)toy_free(t);
}
END_TEST

START_TEST(delete__disabled)
{
    struct toy *t = toy_up(3);
    (void)toy_topic(t, "a", "1,2", NULL);
    t->config.delete_topic_enable = false;
    int32_t linked[] = {2, 3};
    toy_take_over(t, linked, 2);
    ck_assert_int_eq(drop(t, "a", NULL), KW_TOPIC_DELETION_DISABLED);
    (void)toy_free(t);
}
END_TEST

static int16_t elect(struct toy *t, int8_t type, const char *topic, int32_t partition)
{
    struct kw_elect_leaders_request_topic_partition named = {
        .topic = kw_str_of(topic), .partitions = &partition, .partitions_count = 1};
    struct kw_elect_leaders_request req;
    struct kw_elect_leaders_response resp;
    kw_elect_leaders_request_init(&req);
    req.election_type = type;
    req.topic_partitions = topic != NULL ? &named : NULL;
    req.topic_partitions_count = topic != NULL ? 1 : -1;
    ck_assert_int_eq(
        meta_controller_elect_leaders(t->c, t->now_ms, 2, &req, &t->arena, &t->result, &resp), 0);
    if (t->result.notes.size > 0)
        t->allow_any = true;
    (void)toy_commit(t);
    if (topic == NULL)
        return resp.error_code;
    return resp.replica_election_results[0].partition_result[0].error_code;
}

START_TEST(elect_leaders__preferred)
{
    struct toy *t = toy_up(3);
    t->config.auto_leader_rebalance = false;
    (void)toy_topic(t, "a", "2,3,1", NULL);
    ck_assert_int_eq(elect(t, 0, "a", 0), KW_ELECTION_NOT_NEEDED);
    ck_assert_int_eq(elect(t, 0, "a", 1), KW_UNKNOWN_TOPIC_OR_PARTITION);
    ck_assert_int_eq(elect(t, 0, "b", 0), KW_UNKNOWN_TOPIC_OR_PARTITION);
    ck_assert_int_eq(elect(t, 7, "a", 0), KW_INVALID_REQUEST); /* the partition's own */
    toy_kill(t, 2);
    toy_tick(t);
    ck_assert_int_eq(elect(t, 0, "a", 0), KW_PREFERRED_LEADER_NOT_AVAILABLE);
    toy_join(t, 2);
    ck_assert_int_eq(elect(t, 0, "a", 0), KW_PREFERRED_LEADER_NOT_AVAILABLE);
    int32_t all[] = {1, 2, 3};
    ck_assert_int_eq(toy_alter(t, "a", 0, all, 3), KW_NONE);
    ck_assert_int_eq(elect(t, 0, NULL, 0), KW_NONE);
    toy_assert_state(t, "a", 0, "leader 2 isr 2,3,1 elr - known -");
    (void)toy_free(t);
}
END_TEST

/* A partition named twice is elected once; both mentions are answered alike. */
START_TEST(elect_leaders__repeated)
{
    struct toy *t = toy_up(3);
    int32_t zeros[2] = {0, 0};
    int32_t all[] = {1, 2, 3};
    struct kw_elect_leaders_request_topic_partition named = {
        .topic = KW_STR("a"), .partitions = zeros, .partitions_count = 2};
    struct kw_elect_leaders_request req;
    struct kw_elect_leaders_response resp;
    t->config.auto_leader_rebalance = false;
    (void)toy_topic(t, "a", "2,3,1", NULL);
    kw_elect_leaders_request_init(&req);
    req.topic_partitions = &named;
    req.topic_partitions_count = 1;
    for (int needed = 0; needed < 2; needed++) {
        if (needed) {
            toy_kill(t, 2);
            toy_tick(t);
            toy_join(t, 2);
            ck_assert_int_eq(toy_alter(t, "a", 0, all, 3), KW_NONE);
        }
        ck_assert_int_eq(
            meta_controller_elect_leaders(t->c, t->now_ms, 2, &req, &t->arena, &t->result, &resp),
            0);
        ck_assert_uint_eq(toy_commit(t), needed ? 1 : 0);
        for (int i = 0; i < 2; i++)
            ck_assert_int_eq(resp.replica_election_results[0].partition_result[i].error_code,
                             needed ? KW_NONE : KW_ELECTION_NOT_NEEDED);
    }
    toy_assert_state(t, "a", 0, "leader 2 isr 2,3,1 elr - known -");
    (void)toy_free(t);
}
END_TEST

/* R16: losing acknowledged records needs the partition's name. */
START_TEST(elect_leaders__unclean_by_name_only)
{
    struct toy *t = toy_up(3);
    (void)toy_topic(t, "a", "2,3", "min.insync.replicas=1");
    toy_kill(t, 2);
    toy_tick(t);
    ck_assert_int_eq(elect(t, 1, "a", 0), KW_ELECTION_NOT_NEEDED);
    toy_kill(t, 3);
    toy_tick(t);
    ck_assert_int_eq(elect(t, 1, "a", 0), KW_ELIGIBLE_LEADERS_NOT_AVAILABLE);
    toy_join(t, 2);
    toy_assert_state(t, "a", 0, "leader -1 isr - elr 3 known -");
    ck_assert_int_eq(elect(t, 1, NULL, 0), KW_INVALID_REQUEST);
    const struct meta_partition *p = toy_partition(t, "a", 0);
    int32_t epoch = p->leader_epoch;
    ck_assert_int_eq(elect(t, 1, "a", 0), KW_NONE);
    toy_assert_state(t, "a", 0, "leader 2 isr 2 elr - known -");
    ck_assert_int_eq(toy_partition(t, "a", 0)->leader_epoch, epoch + 1);
    ck_assert_int_eq(toy_partition(t, "a", 0)->last_unclean_epoch, epoch + 1);
    (void)toy_free(t);
}
END_TEST

UNIT_MAIN("topics", create__spreads_leaders_and_replicas, create__replicas_go_to_different_racks,
          create__same_seed_same_places, create__defaults, create__refusals,
          create__validate_only_changes_nothing, create__several_in_one_request,
          create__manual_assignments_are_checked, create_partitions__only_grows,
          create_partitions__repeated, delete__by_name_or_id, delete__repeated, delete__disabled,
          elect_leaders__preferred, elect_leaders__repeated, elect_leaders__unclean_by_name_only)
