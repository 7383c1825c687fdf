#include <string.h>

#include "broker/node/node.h"
#include "broker/server/server.h"
#include "coordinator/metadata/topic_config.h"
#include "proto/base/mem.h"

/* The broker as the service of a process: configuration to node_config, and the node's life. */

static void copy_listeners(const struct srv_config *c, struct node_config *n)
{
    n->listeners = kb_new_array(struct node_listener_config, c->listeners_count);
    n->listeners_count = c->listeners_count;
    for (size_t i = 0; i < c->listeners_count; i++) {
        const struct srv_listener_setting *l = &c->listeners[i];
        n->listeners[i] = (struct node_listener_config){
            .name = kb_strdup(l->name),
            .host = kb_strdup(l->host),
            .port = l->port,
            .advertised_host = kb_strdup(l->advertised_host),
            .advertised_port = l->advertised_port,
            .controller = l->controller,
        };
    }
    n->voters = kb_new_array(struct node_voter_config, c->voters_count);
    n->voters_count = c->voters_count;
    for (size_t i = 0; i < c->voters_count; i++)
        n->voters[i] = (struct node_voter_config){c->voters[i].id, kb_strdup(c->voters[i].host),
                                                  c->voters[i].port};
}

/* ---- defaults of topics ---- */

static void add_default(struct node_config *n, const char *name, char *value)
{
    size_t size = (n->topic_defaults_count + 1) * sizeof(n->topic_defaults[0]);
    n->topic_defaults = kb_realloc(n->topic_defaults, size);
    n->topic_defaults[n->topic_defaults_count++] = (struct node_topic_default){kb_strdup(name),
                                                                               value};
}

/* A time that Kafka takes under several names; the finest unit wins. A negative one is no limit and
 * stays as it is. */
static void add_time(const struct srv_config *c, struct node_config *n, const char *topic_name,
                     const char *ms_key, const char *minutes_key, const char *hours_key)
{
    const char *key = ms_key;
    int64_t factor = 1;
    if (!srv_config_is_set(c, ms_key)) {
        bool minutes = minutes_key != NULL && srv_config_is_set(c, minutes_key);
        key = minutes ? minutes_key : hours_key;
        factor = minutes ? 60000 : 3600000;
    }
    if (!srv_config_is_set(c, key))
        return;
    int64_t v = srv_config_int(c, key);
    add_default(n, topic_name, kb_asprintf("%lld", (long long)(v < 0 ? v : v * factor)));
}

static void copy_topic_defaults(const struct srv_config *c, struct node_config *n)
{
    size_t count = 0;
    const struct srv_key *keys = srv_keys(&count);
    for (size_t i = 0; i < count; i++) {
        int topic_key = meta_topic_key_find_broker(keys[i].name);
        if (topic_key < 0 || !srv_config_is_set(c, keys[i].name))
            continue;
        const char *name = meta_topic_key_info((enum meta_topic_key)topic_key)->name;
        if (strcmp(name, "retention.ms") != 0 && strcmp(name, "segment.ms") != 0 &&
            strcmp(name, "segment.jitter.ms") != 0)
            add_default(n, name, kb_strdup(srv_config_text(c, keys[i].name)));
    }
    add_time(c, n, "retention.ms", "log.retention.ms", "log.retention.minutes",
             "log.retention.hours");
    add_time(c, n, "segment.ms", "log.roll.ms", NULL, "log.roll.hours");
    add_time(c, n, "segment.jitter.ms", "log.roll.jitter.ms", NULL, "log.roll.jitter.hours");
}

/* ---- what DescribeConfigs shows ---- */

static void copy_lines(const struct srv_config *c, struct node_config *n)
{
    static const int8_t types[] = {
        [SRV_KEY_INT] = META_TYPE_INT,       [SRV_KEY_LONG] = META_TYPE_LONG,
        [SRV_KEY_BOOL] = META_TYPE_BOOLEAN,  [SRV_KEY_DOUBLE] = META_TYPE_DOUBLE,
        [SRV_KEY_STRING] = META_TYPE_STRING, [SRV_KEY_LIST] = META_TYPE_LIST,
    };
    size_t count = 0;
    const struct srv_key *keys = srv_keys(&count);
    n->lines = kb_new_array(struct node_config_line, count);
    n->lines_count = count;
    for (size_t i = 0; i < count; i++) {
        n->lines[i] = (struct node_config_line){.name = keys[i].name,
                                                .default_value = keys[i].default_value,
                                                .doc = keys[i].doc,
                                                .type = types[keys[i].type]};
        if (srv_config_is_set(c, keys[i].name))
            n->lines[i].value = kb_strdup(srv_config_text(c, keys[i].name));
    }
}

/* ---- numbers ---- */

static uint32_t u32(const struct srv_config *c, const char *key)
{
    int64_t v = srv_config_int(c, key);
    return v < 0 ? 0 : v > UINT32_MAX ? UINT32_MAX : (uint32_t)v;
}

/* 0 = the node's own rule, where nothing was set. */
static int32_t i32_if_set(const struct srv_config *c, const char *key)
{
    return srv_config_is_set(c, key) ? (int32_t)srv_config_int(c, key) : 0;
}

static void copy_times(const struct srv_config *c, struct node_times *t)
{
    t->broker_heartbeat = u32(c, "broker.heartbeat.interval.ms");
    t->broker_session = u32(c, "broker.session.timeout.ms");
    t->raft_silence = u32(c, "controller.quorum.fetch.timeout.ms");
    t->replica_lag_max = u32(c, "replica.lag.time.max.ms");
}

static void copy_numbers(const struct srv_config *c, struct node_config *n)
{
    n->memory_max_bytes = (uint64_t)srv_config_int(c, "kvorum.memory.max.bytes");
    n->request_bytes_max = u32(c, "socket.request.max.bytes");
    n->fetch_bytes_max = u32(c, "fetch.max.bytes");
    n->connections_max = u32(c, "max.connections");
    int64_t idle_ms = srv_config_int(c, "connections.max.idle.ms");
    n->connections_idle_ms = idle_ms > 0 ? (uint64_t)idle_ms : 0;
    n->reserve_bytes = u32(c, "kvorum.reserve.bytes");
    n->snapshot_bytes = (uint64_t)srv_config_int(c,
                                                 "metadata.log.max.record.bytes.between.snapshots");
    n->num_partitions = (int32_t)srv_config_int(c, "num.partitions");
    n->default_replication_factor = i32_if_set(c, "default.replication.factor");
    n->min_insync_replicas = i32_if_set(c, "min.insync.replicas");
    n->auto_create_topics = srv_config_bool(c, "auto.create.topics.enable");
    n->delete_topic_enable = srv_config_bool(c, "delete.topic.enable");
    n->auto_leader_rebalance = srv_config_bool(c, "auto.leader.rebalance.enable");
    n->offsets_topic_partitions = (int32_t)srv_config_int(c, "offsets.topic.num.partitions");
    n->offsets_topic_replication_factor = i32_if_set(c, "offsets.topic.replication.factor");
    n->offsets_retention_ms = (uint64_t)u32(c, "offsets.retention.minutes") * 60000;
    n->offsets_retention_check_ms = u32(c, "offsets.retention.check.interval.ms");
    n->group_commit_timeout_ms = u32(c, "offsets.commit.timeout.ms");
    n->offset_metadata_bytes_max = u32(c, "offset.metadata.max.bytes");
    n->group_initial_delay_ms = u32(c, "group.initial.rebalance.delay.ms");
    n->group_session_min_ms = u32(c, "group.min.session.timeout.ms");
    n->group_session_max_ms = u32(c, "group.max.session.timeout.ms");
    n->group_members_max = u32(c, "group.max.size");
    n->producer_id_expiration_ms = (uint64_t)srv_config_int(c, "producer.id.expiration.ms");
    n->retention_check_ms = u32(c, "log.retention.check.interval.ms");
    n->cleaner_dedupe_bytes = (uint64_t)srv_config_int(c, "log.cleaner.dedupe.buffer.size");
    n->cleaner_backoff_ms = u32(c, "log.cleaner.backoff.ms");
    n->cleaner_enable = srv_config_bool(c, "log.cleaner.enable");
}

static char *copy_or_null(const char *text)
{
    return text != NULL && *text != '\0' ? kb_strdup(text) : NULL;
}

static void replace(char **to, char *text)
{
    (void)kb_free(*to);
    *to = text;
}

void srv_node_config(const struct srv_config *c, struct node_config *ret)
{
    node_config_init(ret);
    ret->node_id = c->node_id;
    ret->observer = c->observer;
    ret->found_without_absent_voters = srv_config_bool(c, "kvorum.found.without.absent.voters");
    replace(&ret->rack, copy_or_null(srv_config_text(c, "broker.rack")));
    replace(&ret->log_dir, kb_strdup(c->log_dir));
    replace(&ret->cluster_id, copy_or_null(srv_config_text(c, "cluster.id")));
    copy_listeners(c, ret);
    copy_times(c, &ret->times);
    copy_numbers(c, ret);
    copy_topic_defaults(c, ret);
    copy_lines(c, ret);
}

/* ---- the service ---- */

static void *service_open(struct kb_env *env, const struct srv_config *config, void *arg)
{
    const struct srv_node_apis *apis = arg;
    struct node_config n;
    srv_node_config(config, &n);
    replace(&n.version, kb_strdup(KVORUM_VERSION));
    if (apis != NULL) {
        n.apis = apis->apis;
        n.apis_count = apis->count;
    }
    struct node *node = node_new(env, &n);
    node_config_release(&n);
    return node;
}

static void service_start(void *service, srv_started_fn *started, void *arg)
{
    node_start(service, started, arg);
}

static void service_stop(void *service, uint64_t timeout_ms, srv_stopped_fn *stopped, void *arg)
{
    node_stop(service, timeout_ms, stopped, arg);
}

static void service_close(void *service)
{
    (void)node_free(service);
}

const struct srv_service srv_node_service = {
    .open = service_open,
    .start = service_start,
    .stop = service_stop,
    .close = service_close,
};
