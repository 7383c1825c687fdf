#ifndef SIM_PROBE_H
#define SIM_PROBE_H

#include <stdio.h>

#include "broker/node/node.h"
#include "tests/sim/sim_audit_check.h"
#include "tests/sim/sim_client.h"
#include "tests/sim/sim_epoch_check.h"
#include "tests/sim/sim_raft_check.h"
#include "tests/sim/sim_recovery_check.h"

/* Looks inside a node; the only file of the simulator that knows its insides. */

/* What the node's Raft core believes (life is left out); false before it has one. */
bool sim_probe_raft(const struct node *n, struct sim_raft_view *ret);
/* It has a vote by its own Raft core. */
bool sim_probe_is_voter(const struct node *n);
/* How many of its replicas are damaged, in their own view. */
size_t sim_probe_damaged(const struct node *n);
/* The replica's high watermark, as far as its log is written; -1 when the node has no such open
 * replica, or a damaged one, which ends where its damage begins (seed 19248). */
int64_t sim_probe_high_watermark(const struct node *n, const char *topic, int32_t partition);
/* A node's replicas by the run's numbers, found in one walk, valid until the node goes on. Which
 * number each place of the node's list had is remembered, for names are compared slowly and the
 * walk comes after every event. Zero-initialise, for one node and one set of topics. */
#define SIM_REPLICAS_MAX 64
struct node_partition;
struct sim_replicas {
    const struct node_partition *held[SIM_REPLICAS_MAX]; /* NULL: has none */
    const struct node_partition *led[SIM_REPLICAS_MAX];
    struct sim_place {
        const struct node_partition *there;
        uint8_t topic_id[16];
        int32_t index;
        int32_t number; /* -1: not of the run */
    } * places;
    size_t count, capacity;
};
void sim_replicas_find(struct sim_replicas *r, const struct node *n,
                       const struct sim_topics *topics);
void sim_replicas_release(struct sim_replicas *r);
/* A replica that is held, as it is now. ret->member is left alone. */
void sim_probe_replica(const struct node_partition *p, uint8_t ret_topic_id[16],
                       struct sim_replica_view *ret);
/* A partition this node leads; false when it does not. */
struct sim_leader_view {
    uint8_t topic_id[16];
    int32_t leader_epoch;
    int64_t high_watermark;
};
void sim_probe_led(const struct node_partition *p, struct sim_leader_view *ret);
bool sim_probe_leads(const struct node *n, const char *topic, int32_t partition,
                     struct sim_leader_view *ret);
/* Where the epoch it leads begins; false when it does not lead, or the topic is one where not only
 * counts what is durable, or not all of it is. */
bool sim_probe_strong(const struct node *n, const char *topic, int32_t partition,
                      int64_t *ret_epoch_start);
/* Where the node's replica begins; false when it has none that is open, or cuts it just now, or
 * failed while it did. */
struct sim_start_probe {
    uint8_t topic_id[16];
    int64_t start, high_watermark;
};
bool sim_probe_start(const struct node *n, const char *topic, int32_t partition,
                     struct sim_start_probe *ret);
/* The epoch its log knows of an offset; -1 when it has no such open log, or not the offset. */
int32_t sim_probe_epoch_at(const struct node *n, const char *topic, int32_t partition,
                           int64_t offset);
/* One number over all that the node's committed image holds, and its index; false without one. */
bool sim_probe_image(const struct node *n, uint64_t *ret_index, uint64_t *ret_image);
/* It leads a partition and has proposed to take this broker into its ISR. */
bool sim_probe_proposes(const struct node *n, int32_t broker);
/* Its incarnation and the epoch it goes by; false while it has none. */
bool sim_probe_broker_epoch(const struct node *n, uint64_t *ret_incarnation, uint64_t *ret_epoch);
/* The leader epoch the node knows of this partition; -1 when it holds no replica. */
int32_t sim_probe_leader_epoch(const struct node *n, const char *topic, int32_t partition);
/* It has just recovered this partition's log, which ends there; told: it was not found whole. False
 * when it has not, or has registered since. */
bool sim_probe_recovered(const struct node *n, const char *topic, int32_t partition,
                         int64_t *ret_end, bool *ret_told);
/* Recover the log in dir by the log's own code, as a start does that was not preceded by a clean
 * stop (sim_recovery_check.h). */
int sim_probe_recover(struct kb_fs *fs, const char *dir, int64_t mark, struct sim_recovered *ret);
/* The durable mark that a data directory has of a log; -1 none. */
int64_t sim_probe_mark(struct sim_disk *disk, const char *data_dir, const char *topic,
                       int32_t partition);
/* Index up to which it has applied the metadata. */
uint64_t sim_probe_applied(const struct node *n);
/* Its replica as an auditor has to know it; what there is not stays as it was. */
void sim_probe_audit(struct node *n, const struct kb_uuid *topic_id, int32_t partition,
                     struct sim_audit_view *ret);
/* The broker epoch of this node id by the node's committed image; 0 none. */
uint64_t sim_probe_epoch_of(const struct node *n, int32_t id);
/* It answers for the groups of this partition of __consumer_offsets. */
bool sim_probe_coordinates(const struct node *n, int32_t partition);
/* ... and may: it leads the partition, whose high watermark has reached the start of its epoch. */
bool sim_probe_may_coordinate(const struct node *n, int32_t partition);
/* What frames of clients hold of the node's memory, beyond what the cache of the logs counts. */
size_t sim_probe_client_bytes(const struct node *n);
/* The ring of recent events is in order and agrees with what the node believes at its end: who is
 * the controller, which brokers are fenced, whose link is open. Otherwise false and the reason. */
bool sim_probe_events(struct node *n, char reason[160]);
/* What the node believes, in lines for people. */
void sim_probe_describe(struct node *n, FILE *out);
/* The durable vote on a node's disk: 1, or 0 when there is none (readable). */
int sim_probe_vote(struct sim_disk *disk, uint64_t *ret_term, int32_t *ret_voted_for);
/* ... whether that directory is barred from voting (rule 5.5), and which directory it is. */
int sim_probe_barred(struct sim_disk *disk, bool *ret);
int sim_probe_directory(struct sim_disk *disk, uint8_t ret[SIM_DIRECTORY_BYTES]);

#endif
