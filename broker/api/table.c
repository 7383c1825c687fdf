#include "broker/api/api.h"

#include "broker/api/internal.h"

/* Versions are those of proto/kafka/api.h; below a schema's minimum only Produce is advertised. */
static struct node_api table[] = {
    {.key = KW_API_PRODUCE, .handle = api_produce},
    {.key = KW_API_FETCH, .handle = api_fetch},
    {.key = KW_API_LIST_OFFSETS, .handle = api_list_offsets},
    {.key = KW_API_METADATA, .handle = api_metadata},
    {.key = KW_API_API_VERSIONS, .handle = api_api_versions},
    {.key = KW_API_CREATE_TOPICS,
     .handle = api_create_topics,
     .forward = true,
     .fail = api_admin_fail},
    {.key = KW_API_DELETE_TOPICS,
     .handle = api_delete_topics,
     .forward = true,
     .fail = api_admin_fail},
    {.key = KW_API_DELETE_RECORDS, .handle = api_delete_records},
    {.key = KW_API_INIT_PRODUCER_ID, .handle = api_init_producer_id},
    {.key = KW_API_OFFSET_FOR_LEADER_EPOCH, .handle = api_offset_for_leader_epoch},
    {.key = KW_API_DESCRIBE_CONFIGS, .handle = api_describe_configs},
    {.key = KW_API_ALTER_CONFIGS,
     .handle = api_alter_configs,
     .forward = true,
     .fail = api_admin_fail},
    {.key = KW_API_CREATE_PARTITIONS,
     .handle = api_create_partitions,
     .forward = true,
     .fail = api_admin_fail},
    {.key = KW_API_ELECT_LEADERS,
     .handle = api_elect_leaders,
     .forward = true,
     .fail = api_admin_fail},
    {.key = KW_API_INCREMENTAL_ALTER_CONFIGS,
     .handle = api_incremental_alter_configs,
     .forward = true,
     .fail = api_admin_fail},
    {.key = KW_API_DESCRIBE_QUORUM, .handle = api_describe_quorum, .forward = true},
    {.key = KW_API_FIND_COORDINATOR, .handle = api_find_coordinator},
    {.key = KW_API_JOIN_GROUP, .handle = api_join_group},
    {.key = KW_API_SYNC_GROUP, .handle = api_sync_group},
    {.key = KW_API_HEARTBEAT, .handle = api_heartbeat},
    {.key = KW_API_LEAVE_GROUP, .handle = api_leave_group},
    {.key = KW_API_OFFSET_COMMIT, .handle = api_offset_commit},
    {.key = KW_API_OFFSET_FETCH, .handle = api_offset_fetch},
    {.key = KW_API_OFFSET_DELETE, .handle = api_offset_delete},
    {.key = KW_API_DESCRIBE_GROUPS, .handle = api_describe_groups},
    {.key = KW_API_LIST_GROUPS, .handle = api_list_groups},
    {.key = KW_API_DELETE_GROUPS, .handle = api_delete_groups},
    {.key = KW_API_DESCRIBE_CLUSTER, .handle = api_describe_cluster},
    {.key = KW_API_KVORUM_STATUS, .handle = api_status},
    {.key = KW_API_DESCRIBE_TOPIC_PARTITIONS, .handle = api_describe_topic_partitions},
};

const struct node_api *api_table(size_t *ret_count)
{
    size_t count = sizeof(table) / sizeof(table[0]);
    for (size_t i = 0; i < count; i++) {
        const struct kw_api *a = kw_api_find(table[i].key);
        if (a == NULL)
            continue; /* our own */
        table[i].version_min = a->version_min;
        table[i].version_max = a->version_max;
    }
    *ret_count = count;
    return table;
}
