#ifndef SIM_CLUSTER_H
#define SIM_CLUSTER_H

#include "broker/node/node.h"
#include "tests/sim/sim_audit_check.h"
#include "tests/sim/sim_checks.h"
#include "tests/sim/sim_client.h"
#include "tests/sim/sim_disk.h"
#include "tests/sim/sim_env.h"
#include "tests/sim/sim_heal_check.h"
#include "tests/sim/sim_metadata_check.h"
#include "tests/sim/sim_replica_check.h"

/* Whole brokers in a simulated world: hosts node1.. with one node each, started, ended and started
 * again on the same disks, and watched by the checkers of quorum and replicas after every event. */
struct sim_cluster;

#define SIM_CLUSTER_NODES_MAX 5
#define SIM_CLUSTER_PORT 9092
#define SIM_CLUSTER_LEAVE_MS UINT64_C(2500)

struct sim_cluster_options {
    struct sim_checks *checks;       /* borrowed */
    const struct sim_topics *topics; /* borrowed; what the clients work on */
    uint32_t nodes;
    uint32_t voters;             /* the first ones; 0 = all, the others are brokers only */
    const struct node_api *apis; /* borrowed */
    size_t apis_count;
    struct sim_start_check *starts; /* told of all that begins and goes; borrowed, NULL: nobody */
    bool right_clocks;              /* a host's clock is right when its broker starts */
    uint64_t offsets_retention_ms;  /* 0: longer than any run */
};
/* Makes the hosts and starts all nodes. A node whose disk fails a call may end by itself, and must
 * within SIM_CLUSTER_LEAVE_MS of the first write or sync that failed (9.3). */
struct sim_cluster *sim_cluster_new(struct sim_world *w, const struct sim_cluster_options *options);
/* Ends and frees every node. NULL accepted; returns NULL. */
struct sim_cluster *sim_cluster_free(struct sim_cluster *c);

/* fn is called after each event of a node, and when it went down; NULL = nobody. */
typedef void sim_node_event_fn(void *arg, uint32_t node);
void sim_cluster_on_event(struct sim_cluster *c, sim_node_event_fn *fn, void *arg);

uint32_t sim_cluster_nodes(const struct sim_cluster *c);
uint32_t sim_cluster_voters(const struct sim_cluster *c); /* the first ones */
struct sim_host *sim_cluster_host(const struct sim_cluster *c, uint32_t i);
/* The running process; NULL while it is down. */
struct sim_env *sim_cluster_env(const struct sim_cluster *c, uint32_t i);
/* The running broker; NULL while it is down. */
struct node *sim_cluster_node(const struct sim_cluster *c, uint32_t i);
/* Start it if it is down. */
void sim_cluster_start(struct sim_cluster *c, uint32_t i);
/* kill -9, or the host's power; nothing when it is down already. */
void sim_cluster_kill(struct sim_cluster *c, uint32_t i, bool power);
/* It has another directory from now on: empty, or an older copy of one. It must be down. */
void sim_cluster_replace_disk(struct sim_cluster *c, uint32_t i, const struct sim_disk_copy *copy);
/* Its vote was damaged on the disk: it must not vote before a leader has brought it up (R15). It
 * must be down. */
void sim_cluster_damage_vote(struct sim_cluster *c, uint32_t i);
/* Every running node's ring of events agrees with what it believes now. */
void sim_cluster_check_events(struct sim_cluster *c);
/* The node says it is unfenced and running. */
bool sim_cluster_is_running(const struct sim_cluster *c, uint32_t i);
/* Its disk was, by an empty or an older one. */
bool sim_cluster_was_replaced(const struct sim_cluster *c, uint32_t i);
/* ... and that it has a vote. */
bool sim_cluster_is_voter(const struct sim_cluster *c, uint32_t i);
/* It is all it is meant to be: running, with a vote if it is to have one. */
bool sim_cluster_is_member(const struct sim_cluster *c, uint32_t i);
/* It has been registered in this life, unfenced or not. */
bool sim_cluster_is_registered(const struct sim_cluster *c, uint32_t i);
/* Node i leads a partition and has asked the controller to let node `joiner` into its ISR. */
bool sim_cluster_proposes(const struct sim_cluster *c, uint32_t i, uint32_t joiner);
/* What the node knows to be committed of the metadata; 0 while it is down. */
uint64_t sim_cluster_commit_index(const struct sim_cluster *c, uint32_t i);
/* The node has an open replica of this partition. */
bool sim_cluster_holds(const struct sim_cluster *c, uint32_t i, uint32_t partition);
uint32_t sim_cluster_partitions(const struct sim_cluster *c);
/* The highest one that any node knows; -1 none does. */
int64_t sim_cluster_high_watermark(const struct sim_cluster *c, uint32_t partition);
/* Node that leads the metadata quorum by its own belief; -1 none. */
int32_t sim_cluster_controller(const struct sim_cluster *c);

/* This broker leads the partition in this epoch now. */
bool sim_cluster_leads(const struct sim_cluster *c, uint32_t partition, int32_t broker,
                       int32_t leader_epoch);
/* Another node knows a newer leader epoch of this partition than this broker, or it is down. */
bool sim_cluster_is_behind(const struct sim_cluster *c, uint32_t partition, int32_t broker);
/* For an auditor: a node and its replica of a partition now, and a topic id of any time. */
void sim_cluster_look(const struct sim_cluster *c, uint32_t i, const struct kb_uuid *topic_id,
                      int32_t partition, struct sim_audit_view *ret);
struct kb_uuid sim_cluster_any_topic(const struct sim_cluster *c, uint64_t chance);
/* The newest epoch of a partition's leader that is committed or known to a node; -1 none. */
int32_t sim_cluster_newest_epoch(const struct sim_cluster *c, uint32_t partition);
/* Every member of the committed ISR has durably what was deleted (P16). */
void sim_cluster_check_durable_starts(struct sim_cluster *c, uint32_t partition);
/* ... the same of a partition that is not the run's. */
bool sim_cluster_is_behind_in(const struct sim_cluster *c, const char *topic, int32_t index,
                              int32_t broker);
/* The node that leads the partition by the newest committed record; -1 none. */
int32_t sim_cluster_leader(const struct sim_cluster *c, uint32_t partition);
/* The broker epoch of node `of` by the metadata that `at` has applied; 0 none, or it is down. */
uint64_t sim_cluster_broker_epoch(const struct sim_cluster *c, uint32_t at, uint32_t of);
/* What every node believes, for people. */
void sim_cluster_describe(struct sim_cluster *c, FILE *out);
/* Compare the replicas below their high watermarks now (P3). */
void sim_cluster_compare(struct sim_cluster *c);
struct sim_replica_check *sim_cluster_replicas(struct sim_cluster *c);

/* The faults have just ended: R14 and P21 are judged from now on. */
void sim_cluster_healed(struct sim_cluster *c);
const struct sim_heal_check *sim_cluster_heal(const struct sim_cluster *c);
/* The run ends: every partition is whole now (P21). */
void sim_cluster_check_whole(struct sim_cluster *c);
/* What the quorum has committed. */
const struct sim_metadata_check *sim_cluster_metadata(const struct sim_cluster *c);

struct sim_cluster_counts {
    uint64_t starts, kills, power_cuts;
    uint64_t crashes, exits; /* how processes ended: not by themselves, or so */
    uint64_t old_requests;   /* with broker epochs that were not the newest (R17) */
    uint64_t leader_terms, elections, committed; /* elections: of partition leaders */
};
struct sim_cluster_counts sim_cluster_counts(const struct sim_cluster *c);

#endif
