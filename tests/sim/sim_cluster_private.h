#ifndef SIM_CLUSTER_PRIVATE_H
#define SIM_CLUSTER_PRIVATE_H

/* Between the files of the cluster: sim_cluster.c (nodes, their lives), sim_cluster_watch.c (what
 * is looked at after every event and now and then), sim_cluster_ask.c (questions). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/assert.h"
#include "proto/base/err.h"
#include "proto/base/mem.h"
#include "tests/sim/sim_cluster.h"
#include "tests/sim/sim_disk.h"
#include "tests/sim/sim_metadata_check.h"
#include "tests/sim/sim_net.h"
#include "tests/sim/sim_peer_check.h"
#include "tests/sim/sim_probe.h"
#include "tests/sim/sim_raft_check.h"
#include "tests/sim/sim_wire_check.h"

#define LOG_DIR "/data"
#define METADATA_DIR LOG_DIR "/__cluster_metadata-0"
#define CONTROLLER_PORT 9093
#define LED_MAX SIM_REPLICAS_MAX
#define RECOVERED_EVERY 3

/* What was last seen of a partition at a node. */
struct led {
    int64_t high_watermark;
    int32_t leader_epoch, partition_epoch; /* committed */
    uint32_t isr;
};

struct member {
    struct sim_cluster *cluster;
    uint32_t index;
    struct sim_host *host;
    struct sim_env *env; /* NULL while down */
    struct node *node;
    uint32_t boots;
    bool no_space;                /* it could not start for want of space */
    uint64_t late_us;             /* when it was first seen too late after a failure of its disk */
    uint64_t syncs;               /* of its disk, when the votes were last looked at */
    uint64_t start_syncs;         /* ... and where its logs begin */
    bool replaced;                /* its disk was */
    size_t damaged;               /* of its replicas, in their own view, at the last look */
    uint64_t found;               /* replicas that were found damaged once the faults were over */
    struct sim_replicas replicas; /* at the last look */
    struct led led[LED_MAX];
    int64_t recovered[LED_MAX]; /* what was durable at its start; -1: looked at, or nothing to be */
    int64_t durable[LED_MAX];   /* reports up to here were looked at, by partition */
};

struct sim_cluster {
    struct sim_world *world;
    struct sim_cluster_options options;
    struct member members[SIM_CLUSTER_NODES_MAX];
    struct sim_raft_check *raft;
    struct sim_replica_check *replicas;
    struct sim_wire_check *wire;
    struct sim_heal_check heal;
    uint64_t whole_at; /* committed index of the answer: */
    bool whole;
    char broken[96];
    struct sim_epoch_check *epochs;
    struct sim_peer_check *peers;
    uint8_t topic_ids[SIM_TOPICS_MAX][16]; /* as a node that holds a partition knows them */
    struct sim_cluster_counts counts;
    sim_node_event_fn *event_fn;
    void *event_arg;
};

/* When the first call of its disk failed in this life; 0 none. */
uint64_t sim_member_failed_us(const struct member *m);
/* -1 without such a replica. */
int64_t sim_member_high_watermark(const struct member *m, uint32_t partition);
/* Where its replica begins, and the partition as committed; false without an open replica. */
bool sim_member_probe_start(const struct member *m, uint32_t partition, struct sim_start_probe *ret,
                            struct sim_metadata_partition *ret_committed);

/* ---- sim_cluster_watch.c: callbacks, with the cluster as arg ---- */

void sim_cluster_dir_of(void *arg, uint32_t partition, char *text);
void sim_cluster_on_step(void *arg);
void sim_cluster_on_frame(void *arg, const struct sim_frame *frame);
/* A node told a leader that it has the partition durably up to here (P14). */
void sim_cluster_on_reported(void *arg, uint32_t node, uint32_t partition, int64_t durable);
/* The run's number of a partition; -1: none of them. */
int32_t sim_cluster_partition_of(void *arg, struct kb_view topic_id, int32_t index);
/* The broker epoch of node `of` by the metadata that `at` has applied; 0 none. */
uint64_t sim_cluster_epoch_of(void *arg, uint32_t at, uint32_t of);

#endif
