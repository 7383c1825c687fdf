#include "tests/sim/sim_run.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "proto/base/assert.h"
#include "proto/base/log.h"
#include "proto/base/mem.h"
#include "proto/kafka/messages.h"
#include "tests/sim/sim_admin.h"
#include "tests/sim/sim_auditor.h"
#include "tests/sim/sim_consumer.h"
#include "tests/sim/sim_group_run.h"
#include "tests/sim/sim_life.h"
#include "tests/sim/sim_net.h"
#include "tests/sim/sim_producer.h"

#define RUN_START_LIMIT_MS 20000
#define RUN_WORK_MS 20000
#define RUN_HEAL_LIMIT_MS 40000
#define RUN_SETTLE_MS 3000
#define RUN_MORE_LIMIT_MS 20000
#define RUN_READ_LIMIT_MS 20000
#define RUN_COMPARE_MS 1000
#define RUN_ACKED_MIN 300
#define RUN_FAULTS_MIN 4
#define RUN_VIRTUAL_MS_MIN 20000
#define RUN_PRODUCERS 4
#define RUN_REPLICAS 3
#define RUN_RENEWS_EVERY 25 /* batches of an idempotent producer, on average */
#define RUN_ADMIN_EVERY 3   /* seeds */
#define RUN_ADMIN_CALLS_MIN 5
#define RUN_AUDIT_LIMIT_MS 1000

struct run {
    const struct sim_run_options *options;
    struct sim_checks checks;
    struct sim_world *world;
    struct sim_topics topics;
    uint32_t partitions;
    struct sim_cluster *cluster;
    struct sim_history *history;
    struct sim_faults *faults;
    struct sim_env *clients[2];
    struct sim_client *admin;
    uint32_t nodes, voters;
    bool asking;
    uint64_t created; /* topics, as a mask */
    struct sim_producer *producers[RUN_PRODUCERS];
    struct sim_consumer *consumers[2];
    struct sim_groups *groups;               /* NULL: a run without */
    struct sim_admin *topics_admin;          /* NULL: a run without */
    bool writing[SIM_CLUSTER_NODES_MAX + 1]; /* asks this broker to change a topic's config */
    uint32_t writes;
    struct sim_audit_check *audit;
    struct sim_auditor *auditor;
    struct sim_life *life; /* what is deleted, expires and is compacted */
    const char *reader;    /* the final reader whose records come in */
    int64_t *ends;         /* per partition: where its log ends, and nothing comes behind it */
    const char *bootstrap[SIM_CLUSTER_NODES_MAX];
    size_t bootstrap_count;
};

static struct sim_client_options client_options(struct run *run)
{
    return (struct sim_client_options){.topics = &run->topics,
                                       .bootstrap = run->bootstrap,
                                       .bootstrap_count = run->bootstrap_count,
                                       .port = SIM_CLUSTER_PORT,
                                       .request_timeout_ms = 3000,
                                       .client_id = "sim"};
}

/* ---- the admin: makes the topics, watches their ISRs ---- */

static void take_created(void *arg, const void *response)
{
    struct run *run = arg;
    const struct kw_create_topics_response *rs = response;
    run->asking = false;
    for (int32_t i = 0; rs != NULL && i < rs->topics_count; i++) {
        int16_t error = rs->topics[i].error_code;
        for (uint32_t t = 0; t < run->topics.count; t++) {
            if (kw_str_is(rs->topics[i].name, run->topics.topic[t].name) &&
                (error == KW_NONE || error == KW_TOPIC_ALREADY_EXISTS))
                run->created |= UINT64_C(1) << t;
        }
    }
}

static void ask_to_create(struct run *run)
{
    struct kw_create_topics_request rq;
    struct kw_create_topics_request_topic topics[8] = {0};
    if (run->asking)
        return;
    kw_create_topics_request_init(&rq);
    rq.timeout_ms = 2000;
    rq.topics = topics;
    for (uint32_t t = 0; t < run->topics.count; t++) {
        if ((run->created & UINT64_C(1) << t) != 0)
            continue;
        struct kw_create_topics_request_topic *topic = &topics[rq.topics_count++];
        topic->name = kw_str_of(run->topics.topic[t].name);
        topic->num_partitions = run->topics.topic[t].partitions;
        topic->replication_factor = RUN_REPLICAS;
        topic->configs = sim_life_configs(run->life, t, &topic->configs_count);
    }
    run->asking = true;
    sim_client_call(run->admin, SIM_ANY_BROKER, KW_API_CREATE_TOPICS, &rq, take_created, run);
}

static bool isrs_full(struct run *run)
{
    for (uint32_t p = 0; p < run->partitions; p++) {
        const struct sim_partition_view *v = sim_client_partition(run->admin, p);
        if (v->leader < 0 || v->isr_count != RUN_REPLICAS)
            return false;
    }
    return true;
}

/* One whose disk has failed is about to leave, and will then be started again. */
static bool nodes_running(struct run *run)
{
    for (uint32_t i = 0; i < sim_cluster_nodes(run->cluster); i++) {
        if (!sim_cluster_is_member(run->cluster, i) ||
            sim_disk_failed_us(sim_host_disk(sim_cluster_host(run->cluster, i))) != 0)
            return false;
    }
    return true;
}

/* ---- setting up ---- */

static void log_line(void *arg, enum kb_log_level level, const char *component, const char *text)
{
    const struct run *run = arg;
    struct sim_env *env = sim_world_last_env(run->world);
    (void)fprintf(
        run->options->story, "%10.3f %s %c %s %s\n", (double)sim_world_now_us(run->world) / 1000.0,
        env != NULL ? sim_host_name(sim_env_host(env)) : "-", "DIWE"[level], component, text);
}

static void on_failure(void *arg, enum sim_check_id id, const char *text)
{
    struct run *run = arg;
    sim_world_note(run->world, "VIOLATION %s: %s", sim_check_name(id), text);
}

/* Three nodes mostly; five voters, or three voters and two brokers, in every sixth seed each. */
static void draw_shape(const struct run *run, struct sim_cluster_options *ret)
{
    struct kb_prng prng;
    kb_prng_init(&prng, run->options->seed ^ UINT64_C(0x5a5a5a5a5a5a5a5a));
    uint64_t shape = kb_prng_range(&prng, 0, 5);
    ret->nodes = shape < 2 ? 5 : 3;
    ret->voters = shape == 0 ? 5 : 3;
}

static void make_world(struct run *run)
{
    static const char *const hosts[] = {"node1", "node2", "node3", "node4", "node5"};
    struct kb_prng *prng;
    run->world = sim_world_new(run->options->seed);
    run->checks.on_failure = on_failure;
    run->checks.arg = run;
    if (run->options->story != NULL) {
        sim_world_trace_to(run->world, run->options->story, run->options->trace);
        kb_log_set_sink(log_line, run, run->options->trace ? KB_LOG_DEBUG : KB_LOG_INFO);
    }
    prng = sim_world_prng(run->world);
    run->topics = (struct sim_topics){.topic = {{"orders", 1}, {"audit", 1}}, .count = 2};
    run->topics.topic[0].partitions = (int32_t)kb_prng_range(prng, 1, 3);
    run->partitions = sim_topics_partitions(&run->topics);
    memcpy(run->bootstrap, hosts, sizeof(hosts));
    struct sim_cluster_options co = {.checks = &run->checks,
                                     .topics = &run->topics,
                                     .apis = run->options->apis,
                                     .apis_count = run->options->apis_count};
    draw_shape(run, &co);
    run->life = sim_life_new(run->options->seed, &run->checks, &run->topics);
    co.starts = sim_life_starts(run->life);
    co.offsets_retention_ms = sim_groups_retention_ms(run->options->seed);
    co.right_clocks = sim_life_right_clocks(run->life) || co.offsets_retention_ms != 0;
    run->nodes = co.nodes;
    run->voters = co.voters;
    run->bootstrap_count = co.nodes;
    run->cluster = sim_cluster_new(run->world, &co);
    run->clients[0] = sim_world_add_env(run->world, "client1");
    run->clients[1] = sim_world_add_env(run->world, "client2");
    run->history = sim_history_new(&run->checks, run->partitions);
    run->audit = sim_audit_check_new(&run->checks);
    struct sim_client_options options = client_options(run);
    run->admin = sim_client_new(sim_env_kb(run->clients[0]), &options);
    struct sim_groups_options go = {
        .client = options, .checks = &run->checks, .cluster = run->cluster};
    if (sim_groups_wanted(run->options->seed))
        run->groups = sim_groups_new(run->world, &go);
    sim_life_begin(run->life, run->world, run->cluster, &options);
}

/* Tell the checkers who holds what. */
static void assign(struct run *run)
{
    for (uint32_t p = 0; p < run->partitions; p++)
        sim_replica_check_assign(sim_cluster_replicas(run->cluster), p,
                                 sim_client_partition(run->admin, p)->replicas);
}

static bool start(struct run *run)
{
    uint64_t all = (UINT64_C(1) << run->topics.count) - 1;
    for (uint64_t ms = 0; ms < RUN_START_LIMIT_MS; ms += 100) {
        if (run->created == all && nodes_running(run) && isrs_full(run) &&
            (run->groups == NULL || sim_groups_prepare(run->groups)) &&
            sim_life_prepare(run->life)) {
            assign(run);
            return true;
        }
        if (run->created != all)
            ask_to_create(run);
        else
            sim_client_refresh(run->admin);
        sim_world_run_for(run->world, 100);
    }
    return sim_check(&run->checks, SIM_CHECK_LIVE, false,
                     "no cluster with topics after %d ms (running %d, created %llx)",
                     RUN_START_LIMIT_MS, nodes_running(run), (unsigned long long)run->created);
}

/* ---- clients at work ---- */

static void on_ack(void *arg, const struct sim_ack *ack)
{
    struct run *run = arg;
    if (ack->acks == 1 &&
        !sim_cluster_leads(run->cluster, ack->partition, ack->broker, ack->leader_epoch))
        return; /* a change of leader may have dropped it while the answer was on its way */
    sim_replica_check_ack(sim_cluster_replicas(run->cluster), ack->partition, ack->first_offset,
                          ack->last_offset, ack->acks, ack->batch);
}

/* R18, and R7: what a client is told of an id is committed. */
static void on_identity(void *arg, int64_t producer_id, int16_t producer_epoch)
{
    struct run *run = arg;
    int64_t given = sim_metadata_check_producer_ids(sim_cluster_metadata(run->cluster));
    sim_history_identity(run->history, producer_id);
    sim_check(&run->checks, SIM_CHECK_R18, producer_id < given && producer_epoch == 0,
              "a client is given producer id %lld epoch %d, and ids below %lld are committed",
              (long long)producer_id, producer_epoch, (long long)given);
}

static void on_topic_id(void *arg, const struct kb_uuid *id)
{
    struct run *run = arg;
    sim_check(&run->checks, SIM_CHECK_R18,
              sim_metadata_check_topic(sim_cluster_metadata(run->cluster), id->bytes),
              "a client is told of a topic whose id is not committed");
}

static bool is_behind(void *arg, uint32_t partition, int32_t broker)
{
    const struct run *run = arg;
    return sim_cluster_is_behind(run->cluster, partition, broker);
}

struct reader_arg {
    struct run *run;
    uint32_t number;
};

static void on_record(void *arg, uint32_t partition, int64_t offset, struct kb_view value)
{
    struct reader_arg *r = arg;
    sim_history_read(r->run->history, r->number, partition, offset, value);
}

static void start_clients(struct run *run, struct reader_arg *readers)
{
    static const struct {
        int16_t acks;
        bool idempotent;
        uint32_t client;
    } kinds[RUN_PRODUCERS] = {{-1, true, 0}, {-1, true, 1}, {1, false, 1}, {0, false, 0}};
    for (uint32_t i = 0; i < RUN_PRODUCERS; i++) {
        struct sim_producer_options po = {.client = client_options(run),
                                          .history = run->history,
                                          .checks = &run->checks,
                                          .number = i,
                                          .acks = kinds[i].acks,
                                          .idempotent = kinds[i].idempotent,
                                          .interval_ms_min = 20,
                                          .interval_ms_max = 120,
                                          .records_max = 3,
                                          .renews_every = RUN_RENEWS_EVERY,
                                          .on_identity = on_identity,
                                          .on_ack = on_ack,
                                          .on_ack_arg = run,
                                          .is_behind = is_behind};
        if (!kinds[i].idempotent)
            po.interval_ms_max *= 4;
        run->producers[i] = sim_producer_new(sim_env_kb(run->clients[kinds[i].client]), &po);
    }
    for (uint32_t i = 0; i < 2; i++) {
        readers[i] = (struct reader_arg){run, i + 1};
        struct sim_consumer_options co = {.client = client_options(run),
                                          .checks = &run->checks,
                                          .number = i + 1,
                                          .max_wait_ms = 200,
                                          .starts = sim_life_starts(run->life),
                                          .on_record = on_record,
                                          .arg = &readers[i]};
        run->consumers[i] = sim_consumer_new(sim_env_kb(run->clients[i]), &co);
    }
}

static void start_admin(struct run *run)
{
    struct sim_admin_options ao = {.client = client_options(run),
                                   .checks = &run->checks,
                                   .on_topic_id = on_topic_id,
                                   .arg = run,
                                   .brokers = (int32_t)sim_cluster_nodes(run->cluster)};
    run->topics_admin = sim_admin_new(sim_env_kb(sim_world_add_env(run->world, "admin")), &ao);
}

static struct kb_uuid any_topic(void *arg, uint64_t chance)
{
    return sim_cluster_any_topic(((struct run *)arg)->cluster, chance);
}

static void look(void *arg, int32_t broker, const struct kb_uuid *topic_id, int32_t partition,
                 struct sim_audit_view *ret)
{
    sim_cluster_look(((struct run *)arg)->cluster, (uint32_t)broker - 1, topic_id, partition, ret);
}

/* It asks with the client that made the topics, which has nothing else to do. */
static void start_auditor(struct run *run)
{
    struct sim_auditor_options ao = {.client = run->admin,
                                     .topics = &run->topics,
                                     .check = run->audit,
                                     .brokers = (int32_t)sim_cluster_nodes(run->cluster),
                                     .any_topic = any_topic,
                                     .look = look,
                                     .arg = run};
    sim_client_set_timeout(run->admin, RUN_AUDIT_LIMIT_MS);
    run->auditor = sim_auditor_new(&ao);
}

static void on_scanned(void *arg, uint32_t partition, int64_t offset, int32_t epoch,
                       int64_t timestamp)
{
    sim_audit_check_record(((struct run *)arg)->audit, partition, offset, epoch, timestamp);
}

static void work(struct run *run)
{
    start_auditor(run);
    if (run->groups != NULL)
        sim_groups_start(run->groups);
    if (run->options->seed % RUN_ADMIN_EVERY == 2)
        start_admin(run);
    sim_life_start(run->life);
    run->faults = sim_faults_new(run->world, run->cluster, 500, RUN_WORK_MS);
    for (uint64_t ms = 0; ms < RUN_WORK_MS; ms += RUN_COMPARE_MS) {
        sim_world_run_for(run->world, RUN_COMPARE_MS);
        sim_cluster_compare(run->cluster);
        sim_life_look(run->life);
    }
}

/* ---- the end ---- */

static bool producers_idle(struct run *run)
{
    for (uint32_t i = 0; i < RUN_PRODUCERS; i++) {
        if (!sim_producer_is_idle(run->producers[i]))
            return false;
    }
    return true;
}

/* Durable logs end alike, and both consumers are there. */
static bool all_caught_up(struct run *run)
{
    struct sim_replica_check *replicas = sim_cluster_replicas(run->cluster);
    for (uint32_t p = 0; p < run->partitions; p++) {
        int64_t end = sim_replica_check_first_end(replicas, p);
        if (!sim_replica_check_ends_alike(replicas, p))
            return false;
        for (uint32_t i = 0; i < 2; i++) {
            if (sim_consumer_position(run->consumers[i], p) != end)
                return false;
        }
    }
    return true;
}

static bool groups_whole(struct run *run)
{
    return run->groups == NULL || sim_groups_whole(run->groups);
}

/* ---- a write that the quorum must commit (R14) ---- */

static void take_written(void *arg, const void *response)
{
    *(bool *)arg = false;
}

/* Each broker is asked, for any of them may take its time to find the controller. */
static void ask_to_write(struct run *run)
{
    struct kw_incremental_alter_configs_request rq;
    struct kw_incremental_alter_configs_request_resource resource = {
        .resource_type = 2, .resource_name = kw_str_of(run->topics.topic[0].name)};
    struct kw_incremental_alter_configs_request_config config = {.name = kw_str_of("retention.ms")};
    kw_incremental_alter_configs_request_init(&rq);
    rq.resources = &resource;
    rq.resources_count = 1;
    resource.configs = &config;
    resource.configs_count = 1;
    for (uint32_t i = 1; i <= run->nodes; i++) {
        char value[24];
        if (run->writing[i])
            continue;
        (void)snprintf(value, sizeof(value), "%u", 604800000U + ++run->writes);
        config.value = kw_str_of(value);
        run->writing[i] = true;
        sim_client_call(run->admin, (int32_t)i, KW_API_INCREMENTAL_ALTER_CONFIGS, &rq, take_written,
                        &run->writing[i]);
    }
}

/* What a run must have shown. */
static bool did_enough(const struct run *run)
{
    return sim_history_acked(run->history) >= RUN_ACKED_MIN && sim_life_did_enough(run->life) &&
           (run->groups == NULL || sim_groups_did_enough(run->groups)) &&
           (run->topics_admin == NULL ||
            sim_admin_counts(run->topics_admin).ok >= RUN_ADMIN_CALLS_MIN);
}

/* Faults that left clients little time are over: clients go on until the run has shown something.
 */
static void work_more(struct run *run)
{
    for (uint64_t ms = 0; ms < RUN_MORE_LIMIT_MS && !did_enough(run); ms += 200) {
        for (uint32_t i = 0; i < sim_cluster_nodes(run->cluster); i++)
            sim_cluster_start(run->cluster, i);
        if (sim_cluster_heal(run->cluster)->quorum_us == 0)
            ask_to_write(run);
        sim_world_run_for(run->world, 200);
    }
}

/* Faults off: within a bounded time everything is whole, and one more record per partition is
 * acknowledged (R14, P21). */
static bool heal(struct run *run)
{
    bool pushed = false;
    sim_faults_heal(run->faults);
    sim_cluster_healed(run->cluster);
    work_more(run); /* members come and go until then */
    if (run->groups != NULL)
        sim_groups_heal(run->groups);
    if (run->topics_admin != NULL)
        sim_admin_stop(run->topics_admin);
    sim_life_heal(run->life);
    for (uint32_t i = 0; i < RUN_PRODUCERS; i++)
        sim_producer_stop(run->producers[i]);
    for (uint64_t ms = 0; ms < RUN_HEAL_LIMIT_MS; ms += 200) {
        for (uint32_t i = 0; i < sim_cluster_nodes(run->cluster); i++)
            sim_cluster_start(run->cluster, i);
        if (sim_cluster_heal(run->cluster)->quorum_us == 0)
            ask_to_write(run);
        if (nodes_running(run) && isrs_full(run) && producers_idle(run) &&
            sim_cluster_heal(run->cluster)->quorum_us != 0) {
            if (pushed && all_caught_up(run) && groups_whole(run))
                return sim_check(&run->checks, SIM_CHECK_LIVE, true, "healed");
            for (uint32_t p = 0; p < run->partitions && !pushed; p++)
                sim_producer_push(run->producers[0], p);
            pushed = true;
        }
        sim_client_refresh(run->admin);
        sim_world_run_for(run->world, 200);
    }
    if (run->options->story != NULL) {
        sim_cluster_describe(run->cluster, run->options->story);
        if (run->groups != NULL)
            sim_groups_describe(run->groups, run->options->story);
    }
    return sim_check(&run->checks, SIM_CHECK_LIVE, false,
                     "not whole %d ms after healing: running %d, isrs full %d, producers idle %d, "
                     "replicas and readers at the end %d, groups %d",
                     RUN_HEAL_LIMIT_MS, nodes_running(run), isrs_full(run), producers_idle(run),
                     all_caught_up(run), groups_whole(run));
}

static void on_final(void *arg, uint32_t partition, int64_t offset, struct kb_view value)
{
    struct run *run = arg;
    sim_history_final(run->history, run->reader, partition, offset, value);
}

static void final_ends(struct run *run, const struct sim_consumer *consumer)
{
    for (uint32_t p = 0; p < run->partitions; p++) {
        if (consumer != NULL)
            sim_history_final_start(run->history, p, sim_consumer_began(consumer, p));
        int64_t end = consumer != NULL
                          ? sim_consumer_position(consumer, p)
                          : sim_replica_check_first_end(sim_cluster_replicas(run->cluster), p);
        sim_history_final_end(run->history, run->reader, p, end);
    }
}

/* A new consumer reads everything from offset 0, to the ends of before: a replica whose turned bit
 * it finds (10.4) copies its log anew meanwhile, and ends early until it has done so (seed 11628).
 */
static void read_all(struct run *run, const char *name)
{
    struct sim_env *env = sim_world_add_env(run->world, name);
    struct sim_consumer_options co = {.client = client_options(run),
                                      .checks = &run->checks,
                                      .number = 9,
                                      .max_wait_ms = 50,
                                      .starts = sim_life_starts(run->life),
                                      .on_record = on_final,
                                      .arg = run};
    struct sim_consumer *consumer = sim_consumer_new(sim_env_kb(env), &co);
    bool done = false;
    run->reader = name;
    for (uint64_t ms = 0; ms < RUN_READ_LIMIT_MS && !done; ms += 50) {
        sim_world_run_for(run->world, 50);
        done = true;
        for (uint32_t p = 0; p < run->partitions; p++)
            done = done && sim_consumer_position(consumer, p) >= run->ends[p];
    }
    sim_check(&run->checks, SIM_CHECK_LIVE, done, "%s has not read everything in %d ms", name,
              RUN_READ_LIMIT_MS);
    final_ends(run, consumer);
    (void)sim_consumer_free(consumer);
}

/* What was given up by its producer may still be on its way: let it arrive before anybody counts.
 */
static void settle(struct run *run)
{
    sim_auditor_stop(run->auditor);
    for (uint32_t i = 0; i < RUN_PRODUCERS; i++)
        run->producers[i] = sim_producer_free(run->producers[i]);
    sim_world_run_for(run->world, RUN_SETTLE_MS);
    for (uint64_t ms = 0; ms < RUN_SETTLE_MS && !all_caught_up(run); ms += 100)
        sim_world_run_for(run->world, 100);
    sim_check(&run->checks, SIM_CHECK_LIVE, all_caught_up(run),
              "replicas or readers fall behind without producers");
    run->ends = kb_new_array(int64_t, run->partitions);
    for (uint32_t p = 0; p < run->partitions; p++)
        run->ends[p] = sim_replica_check_first_end(sim_cluster_replicas(run->cluster), p);
}

static bool is_whole(struct run *run)
{
    return sim_cluster_heal(run->cluster)->was_whole && all_caught_up(run);
}

/* What readers found damaged has been copied again before disks are compared. */
static void await_copies(struct run *run)
{
    for (uint64_t ms = 0; ms < RUN_SETTLE_MS && !is_whole(run); ms += 50)
        sim_world_run_for(run->world, 50);
    sim_check(&run->checks, SIM_CHECK_LIVE, is_whole(run),
              "replicas are not whole %d ms after everything was read", RUN_SETTLE_MS);
}

static void judge_admin(struct run *run)
{
    bool done = false;
    for (uint64_t ms = 0; ms < RUN_READ_LIMIT_MS && !done; ms += 50) {
        done = sim_admin_judge(run->topics_admin);
        sim_world_run_for(run->world, 50);
    }
    sim_check(&run->checks, SIM_CHECK_LIVE, done, "topics are not whole in %d ms",
              RUN_READ_LIMIT_MS);
    struct sim_admin_counts counts = sim_admin_counts(run->topics_admin);
    sim_check(&run->checks, SIM_CHECK_RUN, counts.ok >= RUN_ADMIN_CALLS_MIN,
              "only %llu admin calls succeeded", (unsigned long long)counts.ok);
    sim_world_note(run->world, "admin calls: %llu ok, %llu refused, %llu lost",
                   (unsigned long long)counts.ok, (unsigned long long)counts.failed,
                   (unsigned long long)counts.info);
}

static void judge(struct run *run)
{
    if (run->groups != NULL)
        sim_groups_probe(run->groups);
    settle(run);
    if (run->groups != NULL)
        sim_groups_judge(run->groups);
    if (run->topics_admin != NULL)
        judge_admin(run);
    sim_life_judge(run->life);
    read_all(run, "reader1");
    read_all(run, "reader2");
    await_copies(run);
    sim_cluster_compare(run->cluster);
    sim_cluster_check_events(run->cluster);
    sim_cluster_check_whole(run->cluster);
    run->reader = "the first replica's disk";
    sim_replica_check_on_scan(sim_cluster_replicas(run->cluster), on_scanned, run);
    sim_replica_check_final(sim_cluster_replicas(run->cluster), on_final, run);
    final_ends(run, NULL);
    for (uint32_t p = 0; p < run->partitions; p++)
        sim_audit_check_end(run->audit, p, run->ends[p]);
    sim_audit_check_final(run->audit);
    sim_history_judge(run->history);
    uint64_t acked = sim_history_acked(run->history);
    const struct sim_faults *f = run->faults;
    sim_check(&run->checks, SIM_CHECK_RUN, acked >= RUN_ACKED_MIN, "only %llu records acknowledged",
              (unsigned long long)acked);
    uint64_t virtual_ms = sim_world_now_us(run->world) / 1000;
    sim_check(&run->checks, SIM_CHECK_RUN, virtual_ms >= RUN_VIRTUAL_MS_MIN, "only %llu ms",
              (unsigned long long)virtual_ms);
    sim_check(&run->checks, SIM_CHECK_RUN,
              sim_faults_total(f) >= RUN_FAULTS_MIN && sim_faults_count(f, SIM_FAULT_POWER) > 0,
              "only %llu faults", (unsigned long long)sim_faults_total(f));
}

static void end_clients(struct run *run)
{
    for (uint32_t i = 0; i < RUN_PRODUCERS; i++)
        run->producers[i] = sim_producer_free(run->producers[i]);
    for (uint32_t i = 0; i < 2; i++)
        run->consumers[i] = sim_consumer_free(run->consumers[i]);
    run->auditor = sim_auditor_free(run->auditor);
    run->admin = sim_client_free(run->admin);
    run->topics_admin = sim_admin_free(run->topics_admin);
    sim_life_end(run->life);
    sim_groups_end(run->groups);
}

static void fill_result(struct run *run, struct sim_result *ret)
{
    struct sim_net_counts net = sim_net_counts(run->world);
    struct sim_cluster_counts counts = sim_cluster_counts(run->cluster);
    ret->seed = run->options->seed;
    ret->hash = sim_world_trace_hash(run->world);
    ret->events = sim_world_event_count(run->world);
    ret->virtual_ms = sim_world_now_us(run->world) / 1000;
    ret->sent = sim_history_sent(run->history);
    ret->acked = sim_history_acked(run->history);
    ret->reads = sim_history_reads(run->history);
    ret->frames = net.frames;
    ret->retransmissions = net.retransmissions;
    ret->resets = net.resets;
    ret->blocked = net.blocked;
    ret->leader_terms = counts.leader_terms;
    ret->committed = counts.committed;
    ret->starts = counts.starts;
    ret->nodes = run->nodes;
    ret->voters = run->voters;
    ret->elections = counts.elections;
    ret->crashes = counts.crashes;
    ret->exits = counts.exits;
    ret->old_requests = counts.old_requests;
    ret->quorum_healed_ms = sim_cluster_heal(run->cluster)->quorum_us / 1000;
    ret->whole_ms = sim_cluster_heal(run->cluster)->whole_us / 1000;
    for (int i = 0; i < SIM_FAULT_MAX_ && run->faults != NULL; i++)
        ret->faults[i] = sim_faults_count(run->faults, (enum sim_fault)i);
}

static void fill_checks(const struct run *run, struct sim_result *ret)
{
    for (int i = 0; i < SIM_CHECK_MAX_; i++) {
        const struct sim_check *c = &run->checks.check[i];
        ret->checks[i] = c->checks;
        ret->failures[i] = c->failures;
        if (c->failures > 0 && ret->failure[0] == '\0')
            (void)snprintf(ret->failure, sizeof(ret->failure), "%s: %s",
                           sim_check_name((enum sim_check_id)i), c->first);
    }
    ret->ok = sim_checks_failures(&run->checks) == 0;
}

static uint64_t cpu_ms(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

void sim_run(const struct sim_run_options *options, struct sim_result *ret)
{
    struct run run = {.options = options};
    struct reader_arg readers[2];
    uint64_t cpu_start = cpu_ms();
    memset(ret, 0, sizeof(*ret));
    make_world(&run);
    if (start(&run)) {
        start_clients(&run, readers);
        work(&run);
        if (heal(&run))
            judge(&run);
    }
    end_clients(&run);
    fill_result(&run, ret);
    run.cluster = sim_cluster_free(run.cluster);
    run.history = sim_history_free(run.history);
    run.audit = sim_audit_check_free(run.audit);
    run.world = sim_world_free(run.world);
    run.faults = sim_faults_free(run.faults);
    run.groups = sim_groups_free(run.groups);
    run.life = sim_life_free(run.life);
    free(run.ends);
    fill_checks(&run, ret);
    if (options->story != NULL)
        kb_log_set_sink(NULL, NULL, KB_LOG_ERROR);
    ret->cpu_ms = cpu_ms() - cpu_start;
}
