/* The node's configuration: defaults, deep copies. */
#include <stdlib.h>

#include "broker/node/node.h"
#include "proto/base/mem.h"

/* Replication rule 12. */
void node_times_default(struct node_times *t)
{
    *t = (struct node_times){
        .raft_heartbeat = 150,
        .raft_silence = 1000,
        .raft_silence_spread = 300,
        .check_quorum = 1500,
        .broker_heartbeat = 300,
        .broker_session = 1500,
        .link_grace = 150,
        .takeover_scan = 300,
        .disk_stall_raft = 1000,
        .disk_stall_data = 3000,
        .disk_stall_exit = 30000,
        .replica_lag_max = 30000,
    };
}

void node_config_init(struct node_config *c)
{
    *c = (struct node_config){
        .node_id = 1,
        .memory_max_bytes = 256U << 20,
        .request_bytes_max = 100U << 20,
        .fetch_bytes_max = 55U << 20,
        .connections_max = 10000,
        .connections_idle_ms = 600000,
        .reserve_bytes = 64U << 20,
        .snapshot_bytes = 20U << 20,
        .num_partitions = 1,
        .auto_create_topics = true,
        .delete_topic_enable = true,
        .auto_leader_rebalance = true,
        .offsets_topic_partitions = 50,
        .offsets_retention_ms = UINT64_C(7) * 24 * 60 * 60000,
        .offsets_retention_check_ms = 600000,
        .offset_metadata_bytes_max = 4096,
        .group_commit_timeout_ms = 5000,
        .group_initial_delay_ms = 100,
        .group_session_min_ms = 6000,
        .group_session_max_ms = 1800000,
        .group_members_max = INT32_MAX,
        .producer_id_expiration_ms = 86400000,
        .retention_check_ms = 300000,
        .cleaner_dedupe_bytes = 16U << 20,
        .cleaner_backoff_ms = 15000,
        .cleaner_enable = true,
    };
    node_times_default(&c->times);
}

void node_config_release(struct node_config *c)
{
    for (size_t i = 0; i < c->listeners_count; i++) {
        free(c->listeners[i].name);
        free(c->listeners[i].host);
        free(c->listeners[i].advertised_host);
    }
    for (size_t i = 0; i < c->voters_count; i++)
        free(c->voters[i].host);
    for (size_t i = 0; i < c->topic_defaults_count; i++) {
        free(c->topic_defaults[i].name);
        free(c->topic_defaults[i].value);
    }
    free(c->listeners);
    free(c->voters);
    free(c->topic_defaults);
    for (size_t i = 0; i < c->lines_count; i++)
        free(c->lines[i].value);
    free(c->lines);
    free(c->rack);
    free(c->log_dir);
    free(c->cluster_id);
    free(c->version);
    free(c->boot_id);
    *c = (struct node_config){0};
}

static char *copy_text(const char *s)
{
    return s != NULL ? kb_strdup(s) : NULL;
}

void node_config_copy(struct node_config *to, const struct node_config *from)
{
    *to = *from;
    to->rack = copy_text(from->rack);
    to->log_dir = copy_text(from->log_dir);
    to->cluster_id = copy_text(from->cluster_id);
    to->version = copy_text(from->version);
    to->boot_id = copy_text(from->boot_id);
    to->listeners = kb_memdup(from->listeners, from->listeners_count * sizeof(*from->listeners));
    for (size_t i = 0; i < to->listeners_count; i++) {
        to->listeners[i].name = copy_text(from->listeners[i].name);
        to->listeners[i].host = copy_text(from->listeners[i].host);
        to->listeners[i].advertised_host = copy_text(from->listeners[i].advertised_host);
    }
    to->voters = kb_memdup(from->voters, from->voters_count * sizeof(*from->voters));
    for (size_t i = 0; i < to->voters_count; i++)
        to->voters[i].host = copy_text(from->voters[i].host);
    to->topic_defaults = kb_memdup(from->topic_defaults,
                                   from->topic_defaults_count * sizeof(*from->topic_defaults));
    for (size_t i = 0; i < to->topic_defaults_count; i++) {
        to->topic_defaults[i].name = copy_text(from->topic_defaults[i].name);
        to->topic_defaults[i].value = copy_text(from->topic_defaults[i].value);
    }
    to->lines = kb_memdup(from->lines, from->lines_count * sizeof(*from->lines));
    for (size_t i = 0; i < to->lines_count; i++)
        to->lines[i].value = copy_text(from->lines[i].value);
}

static const char *const state_names[NODE_STATE_MAX_] = {
    [NODE_STARTING] = "starting", [NODE_JOINING] = "joining",   [NODE_FENCED] = "fenced",
    [NODE_RUNNING] = "running",   [NODE_STOPPING] = "stopping", [NODE_STOPPED] = "stopped",
    [NODE_FAILED] = "failed",
};

const char *node_state_name(enum node_state s)
{
    return (unsigned)s < NODE_STATE_MAX_ ? state_names[s] : "?";
}
