#include "tests/unit/node/scenario.h"

#include <stdlib.h>

#include "proto/base/log.h"
#include "proto/kafka/batch.h"
#include "tests/sim/sim_probe.h"

enum { START_LIMIT_MS = 20000, ANSWER_LIMIT_MS = 30000, STEP_MS = 20 };

static void log_line(void *arg, enum kb_log_level level, const char *component, const char *text)
{
    const struct scenario *s = arg;
    struct sim_env *env = sim_world_last_env(s->world);
    (void)fprintf(stderr, "%10.3f %s %c %s %s\n", (double)sim_world_now_us(s->world) / 1000.0,
                  env != NULL ? sim_host_name(sim_env_host(env)) : "-", "DIWE"[level], component,
                  text);
}

static void no_line(void *arg, enum kb_log_level level, const char *component, const char *text)
{
}

void scenario_run_for(struct scenario *s, uint64_t ms)
{
    sim_world_run_for(s->world, ms);
}

void scenario_until(struct scenario *s, scenario_predicate_fn *fn, uint64_t limit_ms,
                    const char *what)
{
    for (uint64_t ms = 0; ms < limit_ms; ms += STEP_MS) {
        if (fn(s))
            return;
        sim_client_refresh(s->client);
        sim_world_run_for(s->world, STEP_MS);
    }
    sim_cluster_describe(s->cluster, stderr);
    ck_abort_msg("%s: not within %llu ms", what, (unsigned long long)limit_ms);
}

bool scenario_all_running(struct scenario *s)
{
    for (uint32_t i = 0; i < sim_cluster_nodes(s->cluster); i++) {
        if (!sim_cluster_is_running(s->cluster, i))
            return false;
    }
    return true;
}

bool scenario_isr_full(struct scenario *s)
{
    const struct sim_partition_view *v = sim_client_partition(s->client, 0);
    return v->leader >= 0 && v->isr_count == (int32_t)s->nodes;
}

bool scenario_whole(struct scenario *s)
{
    return scenario_all_running(s) && scenario_isr_full(s);
}

int32_t scenario_leader(struct scenario *s)
{
    sim_client_refresh(s->client);
    sim_world_run_for(s->world, 200);
    return sim_client_partition(s->client, 0)->leader;
}

bool scenario_nobody_leads(struct scenario *s)
{
    for (uint32_t i = 0; i < s->nodes; i++) {
        struct sim_leader_view view;
        struct sim_env *env = sim_cluster_env(s->cluster, i);
        if (env != NULL && !sim_env_is_down(env) &&
            sim_probe_leads(sim_cluster_node(s->cluster, i), "orders", 0, &view))
            return false;
    }
    return true;
}

uint32_t scenario_bystander(struct scenario *s)
{
    uint32_t node = 0;
    int32_t leader = scenario_leader(s) - 1;
    while ((int32_t)node == leader || (int32_t)node == sim_cluster_controller(s->cluster))
        node++;
    return node;
}

void scenario_isolate(struct scenario *s, uint32_t node, bool cut)
{
    struct sim_host *h = sim_cluster_host(s->cluster, node);
    for (uint32_t i = 0; i < s->nodes; i++) {
        struct sim_host *other = sim_cluster_host(s->cluster, i);
        if (i == node)
            continue;
        (cut ? sim_net_cut : sim_net_heal)(h, other);
        (cut ? sim_net_cut : sim_net_heal)(other, h);
    }
}

/* ---- requests ---- */

struct call {
    bool done;
    bool lost;
    sim_answer_fn *read;
    void *arg;
};

static void on_answer(void *arg, const void *response)
{
    struct call *c = arg;
    c->done = true;
    c->lost = response == NULL;
    if (response != NULL && c->read != NULL)
        c->read(c->arg, response);
}

bool scenario_call(struct scenario *s, int32_t broker, int16_t api_key, const void *request,
                   sim_answer_fn *read, void *arg)
{
    struct call c = {.read = read, .arg = arg};
    sim_client_call(s->client, broker, api_key, request, on_answer, &c);
    bool ended = sim_world_run_until_flag(s->world, &c.done, ANSWER_LIMIT_MS);
    ck_assert_msg(ended, "no answer to API %d within %d ms", api_key, ANSWER_LIMIT_MS);
    return !c.lost;
}

void scenario_ask(struct scenario *s, int32_t broker, int16_t api_key, const void *request,
                  sim_answer_fn *read, void *arg)
{
    sim_client_call(s->second, broker, api_key, request, read, arg);
}

static void read_created(void *arg, const void *response)
{
    const struct kw_create_topics_response *r = response;
    struct scenario *s = arg;
    s->errors[0] = r->topics[0].error_code;
}

int scenario_create(struct scenario *s, const char *name)
{
    struct kw_create_topics_request rq;
    struct kw_create_topics_request_topic topic;
    kw_create_topics_request_init(&rq);
    kw_create_topics_request_topic_init(&topic);
    rq.timeout_ms = 2000;
    rq.topics = &topic;
    rq.topics_count = 1;
    topic.name = kw_str_of(name);
    topic.num_partitions = 1;
    topic.replication_factor = (int16_t)s->nodes;
    int32_t controller = sim_cluster_controller(s->cluster);
    return scenario_call(s, controller >= 0 ? controller + 1 : SIM_ANY_BROKER, KW_API_CREATE_TOPICS,
                         &rq, read_created, s)
               ? s->errors[0]
               : -1;
}

static bool created(struct scenario *s)
{
    int error = scenario_create(s, "orders");
    return error == KW_NONE || error == KW_TOPIC_ALREADY_EXISTS;
}

static void read_altered(void *arg, const void *response)
{
    const struct kw_incremental_alter_configs_response *r = response;
    struct scenario *s = arg;
    s->errors[0] = r->responses[0].error_code;
}

void scenario_set_config(struct scenario *s, const char *topic, const char *name, const char *value)
{
    struct kw_incremental_alter_configs_request rq;
    struct kw_incremental_alter_configs_request_resource resource;
    struct kw_incremental_alter_configs_request_config config;
    kw_incremental_alter_configs_request_init(&rq);
    kw_incremental_alter_configs_request_resource_init(&resource);
    kw_incremental_alter_configs_request_config_init(&config);
    rq.resources = &resource;
    rq.resources_count = 1;
    resource.resource_type = 2;
    resource.resource_name = kw_str_of(topic);
    resource.configs = &config;
    resource.configs_count = 1;
    config.name = kw_str_of(name);
    config.value = kw_str_of(value);
    s->errors[0] = -1;
    /* A host without power says nothing: asked again, the client takes another one. */
    bool heard = false;
    for (int i = 0; i < 3 && !heard; i++)
        heard = scenario_call(s, SIM_ANY_BROKER, KW_API_INCREMENTAL_ALTER_CONFIGS, &rq,
                              read_altered, s);
    ck_assert(heard);
    ck_assert_int_eq(s->errors[0], KW_NONE);
    scenario_run_for(s, 100); /* everywhere */
}

static void read_produced(void *arg, const void *response)
{
    const struct kw_produce_response *r = response;
    struct scenario *s = arg;
    s->errors[0] = r->responses[0].partition_responses[0].error_code;
    s->base_offset = r->responses[0].partition_responses[0].base_offset;
}

int scenario_produce(struct scenario *s, const char *value)
{
    return scenario_produce_sequence(s, value, -1, -1);
}

static struct kb_block *record_batch(struct scenario *s, const struct scenario_record *record)
{
    struct kw_batch_builder builder;
    struct kb_block *batch = NULL;
    kw_batch_builder_init(&builder);
    builder.producer_id = record->producer_id;
    builder.producer_epoch = record->producer_epoch;
    builder.base_sequence = record->sequence;
    ck_assert_int_eq(kw_batch_builder_add(&builder, kb_env_wall_ms(sim_env_kb(s->client_env)),
                                          kw_bytes_of("k", 1),
                                          kw_bytes_of(record->value, strlen(record->value))),
                     0);
    ck_assert_int_eq(kw_batch_builder_finish(&builder, &batch), 0);
    kw_batch_builder_release(&builder);
    return batch;
}

static void send_record(struct scenario *s, struct sim_client *client, int32_t broker,
                        const struct scenario_record *record, sim_answer_fn *read, void *arg)
{
    struct kw_produce_request rq;
    struct kw_produce_request_topic topic;
    struct kw_produce_request_partition partition;
    struct kb_block *batch = record_batch(s, record);
    kw_produce_request_init(&rq);
    kw_produce_request_topic_init(&topic);
    kw_produce_request_partition_init(&partition);
    rq.acks = record->acks;
    rq.timeout_ms = 5000;
    rq.topic_data = &topic;
    rq.topic_data_count = 1;
    topic.name = KW_STR("orders");
    topic.topic_id = sim_client_topic_id(s->client, 0);
    topic.partition_data = &partition;
    topic.partition_data_count = 1;
    partition.records = kw_bytes_of(batch->data, batch->size);
    sim_client_call(client, broker, KW_API_PRODUCE, &rq, read, arg);
    (void)kb_block_unref(batch);
}

void scenario_send(struct scenario *s, int32_t broker, const struct scenario_record *record,
                   sim_answer_fn *read, void *arg)
{
    send_record(s, s->second, broker, record, read, arg);
}

int scenario_produce_sequence(struct scenario *s, const char *value, int64_t producer_id,
                              int32_t sequence)
{
    struct scenario_record record = {.value = value,
                                     .producer_id = producer_id,
                                     .producer_epoch = producer_id >= 0 ? 0 : -1,
                                     .sequence = sequence,
                                     .acks = -1};
    struct call c = {.read = read_produced, .arg = s};
    send_record(s, s->client, scenario_leader(s), &record, on_answer, &c);
    ck_assert(sim_world_run_until_flag(s->world, &c.done, ANSWER_LIMIT_MS));
    return c.lost ? -1 : s->errors[0];
}

/* ---- life ---- */

static struct sim_client *client_new(struct scenario *s)
{
    struct sim_client_options o = {.topics = &s->topics,
                                   .bootstrap = s->bootstrap,
                                   .bootstrap_count = s->nodes,
                                   .port = SIM_CLUSTER_PORT,
                                   .request_timeout_ms = 15000,
                                   .client_id = "scenario"};
    struct sim_client *c = sim_client_new(sim_env_kb(s->client_env), &o);
    sim_client_set_version(c, KW_API_FIND_COORDINATOR, 3);
    sim_client_set_version(c, KW_API_OFFSET_COMMIT, 8);
    sim_client_set_version(c, KW_API_OFFSET_FETCH, 8);
    sim_client_set_version(c, KW_API_PRODUCE, 9);
    sim_client_set_version(c, KW_API_DESCRIBE_QUORUM, 2);
    sim_client_set_version(c, KW_API_ELECT_LEADERS, 2);
    return c;
}

void scenario_start(struct scenario *s, uint64_t seed)
{
    scenario_start_nodes(s, seed, 3);
}

void scenario_start_nodes(struct scenario *s, uint64_t seed, uint32_t nodes)
{
    struct sim_cluster_options o = {.checks = &s->checks, .topics = &s->topics, .nodes = nodes};
    *s = (struct scenario){.bootstrap = {"node1", "node2", "node3"}, .nodes = nodes};
    s->topics = (struct sim_topics){.topic = {{"orders", 1}}, .count = 1};
    s->world = sim_world_new(seed);
    if (getenv("KVORUM_SCENARIO_LOG") != NULL)
        kb_log_set_sink(log_line, s, KB_LOG_INFO);
    else
        kb_log_set_sink(no_line, NULL, KB_LOG_ERROR);
    o.apis = api_table(&o.apis_count);
    s->cluster = sim_cluster_new(s->world, &o);
    s->client_env = sim_world_add_env(s->world, "client1");
    s->client = client_new(s);
    s->second = client_new(s);
    scenario_until(s, scenario_all_running, START_LIMIT_MS, "the brokers run");
    scenario_until(s, created, START_LIMIT_MS, "the topic is made");
    scenario_until(s, scenario_isr_full, START_LIMIT_MS, "its replicas are in sync");
    /* The second client learns where the brokers are. */
    sim_client_refresh(s->second);
    scenario_run_for(s, 500);
}

void scenario_end(struct scenario *s)
{
    s->client = sim_client_free(s->client);
    s->second = sim_client_free(s->second);
    s->cluster = sim_cluster_free(s->cluster);
    s->world = sim_world_free(s->world);
    kb_log_set_sink(NULL, NULL, KB_LOG_ERROR);
    for (int i = 0; i < SIM_CHECK_MAX_; i++)
        ck_assert_msg(s->checks.check[i].failures == 0, "%s: %s",
                      sim_check_name((enum sim_check_id)i), s->checks.check[i].first);
}
