/* The committed image moved: who has to know. And the questions this room asks the image. */
#include "broker/node/node_internal.h"

/* ---- questions
 * ------------------------------------------------------------------------------------ */

static struct meta_static_configs statics_of(const struct node *n)
{
    return (struct meta_static_configs){.entries = n->static_configs,
                                        .count = n->static_configs_count};
}

void node_static_configs_init(struct node *n)
{
    size_t count = n->config.topic_defaults_count;
    n->static_configs = kb_new_array(struct meta_config_entry, count);
    n->static_configs_count = count;
    for (size_t i = 0; i < count; i++) {
        n->static_configs[i].name = n->config.topic_defaults[i].name;
        n->static_configs[i].value = n->config.topic_defaults[i].value;
    }
}

static void to_log_config(const struct node *n, const struct meta_log_config *c,
                          struct log_config *ret)
{
    log_config_init(ret);
    ret->segment_bytes = (uint32_t)c->segment_bytes;
    ret->segment_ms = c->segment_ms;
    ret->segment_jitter_ms = 0;
    ret->index_interval_bytes = (uint32_t)c->index_interval_bytes;
    ret->segment_index_bytes = (uint32_t)c->segment_index_bytes;
    ret->retention_ms = c->retention_ms;
    ret->retention_bytes = c->retention_bytes;
    ret->cleanup_delete = c->cleanup_delete;
    ret->cleanup_compact = c->cleanup_compact;
    ret->flush_messages = c->flush_messages;
    ret->flush_ms = c->flush_ms;
    ret->file_delete_delay_ms = c->file_delete_delay_ms;
    ret->producer_expiration_ms = (int64_t)n->config.producer_id_expiration_ms;
}

void node_default_log_config(struct node *n, struct log_config *ret)
{
    struct meta_log_config c;
    struct meta_static_configs statics = statics_of(n);
    struct meta_image *empty = meta_image_new();
    meta_log_config(empty, NULL, &statics, &c);
    (void)meta_image_free(empty);
    to_log_config(n, &c, ret);
}

void node_topic_log_config(struct node *n, const struct kb_uuid *topic_id,
                           struct meta_log_config *ret)
{
    struct meta_static_configs statics = statics_of(n);
    meta_log_config(n->image, meta_image_topic_by_id(n->image, topic_id), &statics, ret);
}

void node_partition_log_config(struct node_partition *p, struct log_config *ret)
{
    struct meta_log_config c;
    node_topic_log_config(p->node, &p->topic_id, &c);
    to_log_config(p->node, &c, ret);
}

void node_partition_batch_rules(struct node_partition *p, struct kw_batch_rules *ret)
{
    struct meta_log_config c;
    node_topic_log_config(p->node, &p->topic_id, &c);
    kw_batch_rules_init(ret);
    ret->batch_bytes_max = (size_t)c.max_message_bytes;
    ret->output_bytes_max = p->node->config.request_bytes_max;
    ret->now_ms = kb_env_wall_ms(p->node->env);
    ret->before_ms_max = c.timestamp_before_max_ms;
    ret->after_ms_max = c.timestamp_after_max_ms;
    ret->append_time = c.timestamp_type == META_LOG_APPEND_TIME;
    ret->key_required = c.cleanup_compact;
    ret->zstd_allowed = true;
    p->compression = c.compression;
}

bool node_image_has_topic(struct node *n, const struct kb_uuid *topic_id)
{
    return meta_image_topic_by_id(n->image, topic_id) != NULL;
}

bool node_image_assigns(struct node *n, const struct kb_uuid *topic_id, int32_t index)
{
    const struct meta_partition *p = meta_image_partition(n->image, topic_id, index);
    return p != NULL && meta_partition_replica(p, n->config.node_id) >= 0;
}

void node_image_each_assigned(struct node *n, node_assigned_fn *fn, void *arg)
{
    for (size_t i = 0; i < meta_image_topics_count(n->image); i++) {
        const struct meta_topic *t = meta_image_topic_at(n->image, i);
        for (size_t k = 0; k < t->partitions_count; k++) {
            if (meta_partition_replica(t->partitions[k], n->config.node_id) >= 0)
                fn(arg, t->name, &t->id, t->partitions[k]->index);
        }
    }
}

/* What a follower's own data link says (9.4); the controller has its heartbeats. */
static bool disk_stalled(struct node *n, int32_t id)
{
    struct node_peer *peer = node_peer_find(n, id);
    return peer != NULL && peer->accepted[NODE_DATA] != NULL &&
           peer->accepted[NODE_DATA]->disk_stalled;
}

bool node_image_partition(struct node *n, const struct kb_uuid *topic_id, int32_t index,
                          struct rep_image *ret, struct rep_image_replica *replicas)
{
    const struct meta_partition *p = meta_image_partition(n->image, topic_id, index);
    if (p == NULL || p->replicas_count > REP_REPLICAS_MAX)
        return false;
    for (size_t i = 0; i < p->replicas_count; i++) {
        const struct meta_broker *b = meta_image_broker(n->image, p->replicas[i]);
        replicas[i] = (struct rep_image_replica){
            .node_id = p->replicas[i],
            .broker_epoch = b != NULL ? (int64_t)b->epoch : -1,
            .in_isr = meta_partition_in_isr(p, p->replicas[i]),
            .in_elr = meta_partition_in_elr(p, p->replicas[i]),
            .fenced = b == NULL || b->fenced,
            .stopping = b != NULL && b->stopping,
            .stalled = (b != NULL && b->stalled) || disk_stalled(n, p->replicas[i]),
        };
    }
    *ret = (struct rep_image){
        .leader = p->leader,
        .leader_broker_epoch = p->leader >= 0 ? (int64_t)p->leader_broker_epoch : -1,
        .leader_epoch = p->leader_epoch,
        .partition_epoch = p->partition_epoch,
        .last_unclean_epoch = p->last_unclean_epoch,
        .min_isr = meta_min_isr(n->image, p),
        .strong = meta_topic_strong(n->image, p->topic),
        .unsynced = p->unsynced,
        .replicas = replicas,
        .n_replicas = p->replicas_count,
    };
    return true;
}

/* Rule 11.2: what the first leader of a new cluster writes first. */
void node_founding_records(struct node *n, struct meta_records *ret)
{
    const struct node_founding_voter *list = NULL;
    size_t count = node_identity_voters(n, &list);
    struct meta_voter *voters = kb_new_array(struct meta_voter, count);
    char made[KB_UUID_TEXT_SIZE];
    struct kb_uuid id;
    uint8_t random[16];
    kb_env_random(n->env, random, sizeof(random));
    kb_uuid_from_random(&id, random);
    kb_uuid_format(&id, made);
    for (size_t i = 0; i < count; i++) {
        voters[i].id = list[i].id;
        voters[i].directory = list[i].directory_id;
        voters[i].host = n->controller_listener->advertised_host;
        voters[i].port = n->controller_listener->advertised_port;
        for (size_t k = 0; k < n->config.voters_count; k++) {
            if (n->config.voters[k].id != list[i].id)
                continue;
            voters[i].host = n->config.voters[k].host;
            voters[i].port = n->config.voters[k].port;
        }
    }
    struct meta_founding f = {
        .cluster_id = n->config.cluster_id != NULL ? n->config.cluster_id : made,
        .voters = voters,
        .voters_count = count,
        .topic_configs = n->static_configs,
        .topic_configs_count = n->static_configs_count,
    };
    meta_records_add_founding(ret, &f);
    (void)kb_free(voters);
}

/* ---- news
 * -----------------------------------------------------------------------------------------------
 */

static void update_peers(struct node *n)
{
    const struct meta_voter *voters = NULL;
    size_t count = meta_image_voters(n->image, &voters);
    for (size_t i = 0; i < count; i++) {
        if (voters[i].id == n->config.node_id)
            continue;
        struct node_peer *p = node_peer_get(n, voters[i].id, voters[i].host, voters[i].port);
        p->voter = true;
    }
    for (size_t i = 0; i < meta_image_brokers_count(n->image); i++) {
        const struct meta_broker *b = meta_image_broker_at(n->image, i);
        if (b->id == n->config.node_id || b->peer_endpoints_count == 0)
            continue;
        (void)node_peer_get(n, b->id, b->peer_endpoints[0].host, b->peer_endpoints[0].port);
    }
}

static void refresh_changed(struct node *n, const struct meta_delta *delta)
{
    for (size_t i = 0; i < delta->partitions_count; i++) {
        const struct meta_delta_partition *d = &delta->partitions[i];
        struct node_partition *p = node_partition_find(n, &d->topic_id, d->index);
        if (p != NULL)
            node_partition_refresh(p);
        if (d->created)
            node_partitions_adopt(n, &d->topic_id, d->index);
    }
}

static void tell_groups(struct node *n, const struct meta_delta *delta)
{
    for (size_t i = 0; i < delta->topics_count; i++) {
        if (delta->topics[i].changes & META_TOPIC_REMOVED)
            node_groups_topic_deleted(n, delta->topics[i].name, &delta->topics[i].id);
    }
}

void node_applied(struct node *n, const struct meta_delta *delta)
{
    bool wide = delta->all || delta->brokers_count > 0 || delta->default_configs ||
                delta->topics_count > 0;
    if (delta->cluster || (delta->all && meta_image_cluster_id(n->image) != NULL))
        node_identity_adopt(n, meta_image_cluster_id(n->image));
    if (delta->all || delta->voters || delta->brokers_count > 0)
        update_peers(n);
    if (delta->all || delta->brokers_count > 0)
        node_lifecycle_applied(n);
    if (wide)
        node_partitions_refresh_all(n);
    else
        refresh_changed(n, delta);
    tell_groups(n, delta);
    node_clients_applied(n, delta);
    node_lifecycle_committed(n);
    node_watch_applied(n, delta);
}
