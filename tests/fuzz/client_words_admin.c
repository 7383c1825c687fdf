#include "tests/fuzz/client_words_private.h"

/* ---- groups ---- */

/* What a consumer says of itself: a subscription, or anything. */
static struct kw_bytes subscription(struct words *w)
{
    static const uint8_t usual[] = {0, 0, 0, 0, 0, 1, 0, 1, 't', 0xff, 0xff, 0xff, 0xff};
    return words_byte(w->in) < 0xc0 ? kw_bytes_of(usual, sizeof(usual)) : words_blob(w);
}

void words_join(struct words *w, void *message)
{
    struct kw_join_group_request *m = message;
    m->group_id = words_group(w);
    m->session_timeout_ms = words_flag(w) ? 6000 : words_number32(w);
    m->rebalance_timeout_ms = words_timeout(w);
    m->member_id = words_flag(w) ? KW_STR("") : words_member(w);
    m->group_instance_id = words_instance(w);
    m->protocol_type = TEXT(w, "consumer", "consumer", "connect", "");
    m->reason = TEXT(w, NULL, "why");
    EACH(w, i, m->protocols, false)
    {
        m->protocols[i].name = TEXT(w, "range", "range", "roundrobin", "");
        m->protocols[i].metadata = subscription(w);
    }
}

void words_sync(struct words *w, void *message)
{
    struct kw_sync_group_request *m = message;
    m->group_id = words_group(w);
    m->generation_id = words_generation(w);
    m->member_id = words_member(w);
    m->group_instance_id = words_instance(w);
    m->protocol_type = TEXT(w, "consumer", NULL, "connect");
    m->protocol_name = TEXT(w, "range", NULL, "roundrobin");
    EACH(w, i, m->assignments, false)
    {
        m->assignments[i].member_id = words_member(w);
        m->assignments[i].assignment = words_blob(w);
    }
}

void words_heartbeat(struct words *w, void *message)
{
    struct kw_heartbeat_request *m = message;
    m->group_id = words_group(w);
    m->generation_id = words_generation(w);
    m->member_id = words_member(w);
    m->group_instance_id = words_instance(w);
}

void words_leave(struct words *w, void *message)
{
    struct kw_leave_group_request *m = message;
    m->group_id = words_group(w);
    m->member_id = words_member(w);
    EACH(w, i, m->members, false)
    {
        m->members[i].member_id = words_member(w);
        m->members[i].group_instance_id = words_instance(w);
    }
}

void words_commit(struct words *w, void *message)
{
    struct kw_offset_commit_request *m = message;
    bool simple = words_flag(w);
    m->group_id = words_group(w);
    m->generation_id_or_member_epoch = simple ? -1 : words_generation(w);
    m->member_id = simple ? KW_STR("") : words_member(w);
    m->group_instance_id = words_instance(w);
    m->retention_time_ms = words_flag(w) ? -1 : words_number(w);
    EACH(w, i, m->topics, false)
    {
        m->topics[i].name = words_topic(w);
        m->topics[i].topic_id = words_topic_id(w);
        EACH(w, k, m->topics[i].partitions, false)
        {
            m->topics[i].partitions[k].partition_index = words_partition(w);
            m->topics[i].partitions[k].committed_offset = words_offset(w);
            m->topics[i].partitions[k].committed_leader_epoch = words_epoch(w);
            m->topics[i].partitions[k].committed_metadata = TEXT(w, "", NULL, "meta");
        }
    }
}

void words_fetch_offsets(struct words *w, void *message)
{
    struct kw_offset_fetch_request *m = message;
    m->require_stable = words_flag(w);
    m->group_id = words_group(w);
    EACH(w, i, m->topics, w->version >= 2)
    {
        m->topics[i].name = words_topic(w);
        EACH(w, k, m->topics[i].partition_indexes, false)
        m->topics[i].partition_indexes[k] = words_partition(w);
    }
    EACH(w, i, m->groups, false)
    {
        struct kw_offset_fetch_request_group *g = &m->groups[i];
        g->group_id = words_group(w);
        g->member_epoch = -1;
        EACH(w, k, g->topics, true)
        {
            g->topics[k].name = words_topic(w);
            g->topics[k].topic_id = words_topic_id(w);
            EACH(w, p, g->topics[k].partition_indexes, false)
            g->topics[k].partition_indexes[p] = words_partition(w);
        }
    }
}

void words_delete_offsets(struct words *w, void *message)
{
    struct kw_offset_delete_request *m = message;
    m->group_id = words_group(w);
    EACH(w, i, m->topics, false)
    {
        m->topics[i].name = words_topic(w);
        EACH(w, k, m->topics[i].partitions, false)
        m->topics[i].partitions[k].partition_index = words_partition(w);
    }
}

void words_describe_groups(struct words *w, void *message)
{
    struct kw_describe_groups_request *m = message;
    m->include_authorized_operations = words_flag(w);
    EACH(w, i, m->groups, false)
    m->groups[i] = words_group(w);
}

void words_list_groups(struct words *w, void *message)
{
    struct kw_list_groups_request *m = message;
    EACH(w, i, m->states_filter, false)
    m->states_filter[i] = TEXT(w, "Stable", "Empty", "Dead", "no");
    EACH(w, i, m->types_filter, false)
    m->types_filter[i] = TEXT(w, "classic", "consumer", "");
}

void words_delete_groups(struct words *w, void *message)
{
    struct kw_delete_groups_request *m = message;
    EACH(w, i, m->groups_names, false)
    m->groups_names[i] = words_group(w);
}

void words_find_coordinator(struct words *w, void *message)
{
    struct kw_find_coordinator_request *m = message;
    m->key = words_group(w);
    m->key_type = (int8_t)(words_flag(w) ? 0 : words_number32(w));
    EACH(w, i, m->coordinator_keys, false)
    m->coordinator_keys[i] = words_group(w);
}

/* ---- administration ---- */

static struct kw_str config_name(struct words *w)
{
    return TEXT(w, "cleanup.policy", "retention.ms", "segment.bytes", "max.message.bytes",
                "min.insync.replicas", "compression.type", "message.timestamp.type",
                "flush.messages", "retention.bytes", "delete.retention.ms", "no.such.config", "",
                "min.cleanable.dirty.ratio", "segment.ms", "index.interval.bytes",
                "message.timestamp.before.max.ms", "unclean.leader.election.enable");
}

static struct kw_str config_value(struct words *w)
{
    return TEXT(w, "1", "compact", "delete", "compact,delete", "-1", NULL, "", "1048576", "zstd",
                "LogAppendTime", "gzip", "uncompressed", "9223372036854775807", "0.5", "1000",
                "lz4", "snappy", "producer", "true", "9999999999999999999999");
}

void words_create_topics(struct words *w, void *message)
{
    struct kw_create_topics_request *m = message;
    m->timeout_ms = words_timeout(w);
    m->validate_only = words_flag(w);
    EACH(w, i, m->topics, false)
    {
        struct kw_create_topics_request_topic *t = &m->topics[i];
        bool assigned = words_byte(w->in) >= 0xc0;
        t->name = words_topic(w);
        t->num_partitions = assigned ? -1 : words_flag(w) ? 1 : words_number32(w);
        t->replication_factor = (int16_t)(assigned ? -1 : words_flag(w) ? 1 : words_number(w));
        if (assigned) {
            EACH(w, k, t->assignments, false)
            {
                t->assignments[k].partition_index = words_partition(w);
                EACH(w, b, t->assignments[k].broker_ids, false)
                t->assignments[k].broker_ids[b] = words_flag(w) ? 1 : words_number32(w);
            }
        }
        EACH(w, k, t->configs, false)
        {
            t->configs[k].name = config_name(w);
            t->configs[k].value = config_value(w);
        }
    }
}

void words_delete_topics(struct words *w, void *message)
{
    struct kw_delete_topics_request *m = message;
    m->timeout_ms = words_timeout(w);
    EACH(w, i, m->topics, false)
    {
        bool by_id = words_flag(w);
        m->topics[i].name = by_id ? kw_str_null() : words_topic(w);
        m->topics[i].topic_id = by_id ? words_topic_id(w) : (struct kb_uuid){{0}};
    }
    EACH(w, i, m->topic_names, false)
    m->topic_names[i] = words_topic(w);
}

void words_create_partitions(struct words *w, void *message)
{
    struct kw_create_partitions_request *m = message;
    m->timeout_ms = words_timeout(w);
    m->validate_only = words_flag(w);
    EACH(w, i, m->topics, false)
    {
        m->topics[i].name = words_topic(w);
        m->topics[i].count = words_number32(w);
        m->topics[i].assignments_count = -1;
        if (words_flag(w))
            continue;
        EACH(w, k, m->topics[i].assignments, true)
        {
            EACH(w, b, m->topics[i].assignments[k].broker_ids, false)
            m->topics[i].assignments[k].broker_ids[b] = words_flag(w) ? 1 : words_number32(w);
        }
    }
}

void words_delete_records(struct words *w, void *message)
{
    struct kw_delete_records_request *m = message;
    m->timeout_ms = words_timeout(w);
    EACH(w, i, m->topics, false)
    {
        m->topics[i].name = words_topic(w);
        EACH(w, k, m->topics[i].partitions, false)
        {
            m->topics[i].partitions[k].partition_index = words_partition(w);
            m->topics[i].partitions[k].offset = words_offset(w);
        }
    }
}

void words_elect(struct words *w, void *message)
{
    struct kw_elect_leaders_request *m = message;
    m->election_type = (int8_t)words_pick(w, 3);
    m->timeout_ms = words_timeout(w);
    EACH(w, i, m->topic_partitions, true)
    {
        m->topic_partitions[i].topic = words_topic(w);
        EACH(w, k, m->topic_partitions[i].partitions, false)
        m->topic_partitions[i].partitions[k] = words_partition(w);
    }
}

static int8_t resource_type(struct words *w)
{
    static const int8_t usual[] = {2, 2, 4, 2, 8, 32, 0, -1};
    return usual[words_pick(w, 8)];
}

static struct kw_str resource(struct words *w)
{
    return TEXT(w, "t", "u", "1", "", "no", "new", "__consumer_offsets");
}

void words_describe_configs(struct words *w, void *message)
{
    struct kw_describe_configs_request *m = message;
    m->include_synonyms = words_flag(w);
    m->include_documentation = words_flag(w);
    EACH(w, i, m->resources, false)
    {
        m->resources[i].resource_type = resource_type(w);
        m->resources[i].resource_name = resource(w);
        EACH(w, k, m->resources[i].configuration_keys, true)
        m->resources[i].configuration_keys[k] = config_name(w);
    }
}

void words_alter_configs(struct words *w, void *message)
{
    struct kw_alter_configs_request *m = message;
    m->validate_only = words_flag(w);
    EACH(w, i, m->resources, false)
    {
        m->resources[i].resource_type = resource_type(w);
        m->resources[i].resource_name = resource(w);
        EACH(w, k, m->resources[i].configs, false)
        {
            m->resources[i].configs[k].name = config_name(w);
            m->resources[i].configs[k].value = config_value(w);
        }
    }
}

void words_incremental_configs(struct words *w, void *message)
{
    struct kw_incremental_alter_configs_request *m = message;
    m->validate_only = words_flag(w);
    EACH(w, i, m->resources, false)
    {
        m->resources[i].resource_type = resource_type(w);
        m->resources[i].resource_name = resource(w);
        EACH(w, k, m->resources[i].configs, false)
        {
            m->resources[i].configs[k].name = config_name(w);
            m->resources[i].configs[k].config_operation = (int8_t)(words_pick(w, 5) - 0);
            m->resources[i].configs[k].value = config_value(w);
        }
    }
}

void words_describe_cluster(struct words *w, void *message)
{
    struct kw_describe_cluster_request *m = message;
    m->include_cluster_authorized_operations = words_flag(w);
    m->endpoint_type = w->version >= 1 ? (int8_t)words_pick(w, 4) : 1;
    m->include_fenced_brokers = w->version >= 2 && words_flag(w);
}

void words_describe_quorum(struct words *w, void *message)
{
    struct kw_describe_quorum_request *m = message;
    EACH(w, i, m->topics, false)
    {
        m->topics[i].topic_name = TEXT(w, "__cluster_metadata", "t", "");
        EACH(w, k, m->topics[i].partitions, false)
        m->topics[i].partitions[k].partition_index = words_partition(w);
    }
}

void words_describe_topic_partitions(struct words *w, void *message)
{
    struct kw_describe_topic_partitions_request *m = message;
    EACH(w, i, m->topics, false)
    m->topics[i].name = words_topic(w);
    m->response_partition_limit = words_flag(w) ? 2000 : words_number32(w);
    if (!words_flag(w))
        return;
    m->cursor = kb_arena_new(&w->arena, struct kw_describe_topic_partitions_request_cursor);
    m->cursor->topic_name = words_topic(w);
    m->cursor->partition_index = words_partition(w);
}
