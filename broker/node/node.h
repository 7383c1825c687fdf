#ifndef NODE_H
#define NODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/env.h"

/* A whole broker as a deterministic machine over env.h. The same object code runs in the server and
 * in the simulator. One state loop owns a node; nothing here is thread-safe. */
struct node;
struct node_request;

/* An address clients or peers use. */
struct node_endpoint {
    char *listener; /* e.g. "PLAINTEXT", "INTERNAL" */
    char *host;
    uint16_t port;
};

struct node_listener_config {
    char *name;
    char *host; /* to bind; "" = all addresses */
    uint16_t port;
    char *advertised_host; /* given to clients (for the controller listener: to peers) */
    uint16_t advertised_port;
    bool controller; /* speaks the peer protocol instead of Kafka's; exactly one */
};

struct node_voter_config {
    int32_t id;
    char *host;
    uint16_t port;
};

/* A default for all topics: a topic configuration name and its value, from the server's properties.
 */
struct node_topic_default {
    char *name;
    char *value;
};

/* One key of this broker's own file, environment and flags, as DescribeConfigs shows it. */
struct node_config_line {
    const char *name;          /* static, as default_value and doc */
    const char *default_value; /* NULL = none */
    const char *doc;
    int8_t type; /* enum meta_config_type */
    char *value; /* NULL = not set: the default */
};

/* Times of replication rule 12, in ms. node_times_default fills it. */
struct node_times {
    uint32_t raft_heartbeat;
    uint32_t raft_silence; /* before a pre-vote; plus 0..raft_silence_spread */
    uint32_t raft_silence_spread;
    uint32_t check_quorum;
    uint32_t broker_heartbeat;
    uint32_t broker_session;
    uint32_t link_grace;
    uint32_t takeover_scan;
    uint32_t disk_stall_raft;
    uint32_t disk_stall_data;
    uint32_t disk_stall_exit;
    uint32_t replica_lag_max;
};
void node_times_default(struct node_times *t);

/* One Kafka API of this broker. The node looks requests up by key, checks the version and calls
 * handle, which answers at once or keeps the request and answers later (node_request_reply). */
struct node_api {
    int16_t key;
    int16_t version_min; /* accepted; ApiVersions advertises what proto/kafka/api.h says */
    int16_t version_max;
    bool forward; /* runs at the active controller; other brokers pass it on */
    void (*handle)(struct node_request *rq);
    /* Answer with this Kafka error: no controller in time. NULL: the connection is closed. */
    void (*fail)(struct node_request *rq, int error, const char *text);
};

struct node_config {
    int32_t node_id;
    char *rack; /* may be NULL */
    char *log_dir;
    char *cluster_id; /* configured; NULL = made at founding */
    char *version;    /* for people */
    char *boot_id;    /* changes when the machine restarts; NULL = unknown */
    bool observer;    /* process.roles=broker */
    bool found_without_absent_voters;
    struct node_listener_config *listeners;
    size_t listeners_count;
    struct node_voter_config *voters; /* empty = a cluster of this node alone */
    size_t voters_count;
    struct node_times times;

    uint64_t memory_max_bytes;    /* kvorum.memory.max.bytes: frames, caches and parked requests */
    uint32_t request_bytes_max;   /* socket.request.max.bytes */
    uint32_t fetch_bytes_max;     /* fetch.max.bytes */
    uint32_t connections_max;     /* client connections; further ones are closed */
    uint64_t connections_idle_ms; /* connections.max.idle.ms; 0 = they may be idle for ever */
    uint32_t reserve_bytes;       /* of the reserve file for Raft on a full disk */
    uint64_t snapshot_bytes;      /* metadata.log.max.record.bytes.between.snapshots */

    /* Founding defaults and cluster behaviour (Kafka's names in srv_config). */
    int32_t num_partitions;
    int32_t default_replication_factor; /* 0 = min(3, brokers) */
    int32_t min_insync_replicas;        /* 0 = by replica count, replication rule 3.2 */
    bool auto_create_topics;
    bool delete_topic_enable;
    bool auto_leader_rebalance;
    int32_t offsets_topic_partitions;
    int32_t offsets_topic_replication_factor; /* 0 = replication rule 11.5 */
    uint64_t offsets_retention_ms;            /* offsets.retention.minutes, in milliseconds */
    uint32_t offsets_retention_check_ms;      /* offsets.retention.check.interval.ms */
    uint32_t offset_metadata_bytes_max;
    uint32_t group_commit_timeout_ms; /* offsets.commit.timeout.ms */
    uint32_t group_initial_delay_ms;
    uint32_t group_session_min_ms;
    uint32_t group_session_max_ms;
    uint32_t group_members_max;
    uint64_t producer_id_expiration_ms;
    uint32_t retention_check_ms; /* log.retention.check.interval.ms */
    uint64_t cleaner_dedupe_bytes;
    uint32_t cleaner_backoff_ms; /* log.cleaner.backoff.ms */
    bool cleaner_enable;
    struct node_topic_default *topic_defaults;
    size_t topic_defaults_count;
    struct node_config_line *lines; /* only to be shown; what counts stands in the other members */
    size_t lines_count;

    /* The APIs, from broker/api; the node keeps the pointer. */
    const struct node_api *apis;
    size_t apis_count;
};
/* Fill with the defaults (one node, no listeners). Strings are heap copies that node_config_release
 * frees. */
void node_config_init(struct node_config *c);
void node_config_release(struct node_config *c);
/* Deep copy. */
void node_config_copy(struct node_config *to, const struct node_config *from);

enum node_state {
    NODE_STARTING, /* reading the directory, recovering logs */
    NODE_JOINING,  /* listening; waiting for a quorum and for its registration */
    NODE_FENCED,   /* registered, catching up */
    NODE_RUNNING,  /* unfenced */
    NODE_STOPPING, /* leaders are moving away */
    NODE_STOPPED,
    NODE_FAILED, /* could not start; see the reason */
    NODE_STATE_MAX_
};
const char *node_state_name(enum node_state s);

/* Nothing happens before node_start. Takes no ownership of env; copies config. */
struct node *node_new(struct kb_env *env, const struct node_config *config);
/* Begin. started runs once: result 0 when the listeners are open (state NODE_JOINING), negative
 * with a sentence for people when the node cannot start (port taken, directory of another cluster,
 * …). */
typedef void node_started_fn(void *arg, int result, const char *reason);
void node_start(struct node *n, node_started_fn *started, void *arg);
/* Controlled stop: move leaders away (bounded by timeout_ms), close all, write the clean marker;
 * then done. */
typedef void node_stopped_fn(void *arg);
void node_stop(struct node *n, uint64_t timeout_ms, node_stopped_fn *done, void *arg);
/* Free everything at once, without a word to the disk: after done, or when the process crashed in
 * the simulator. Every request handed to env (writes, jobs, reads, timers, connections) must have
 * been dropped by env before, or never called back. */
struct node *node_free(struct node *n);

enum node_state node_state(const struct node *n);
/* Why a broker ends by itself (kb_env_exit) though its disk is well: a registration of a former
 * life came late and took the place of its own. It shall be started again. */
#define NODE_SUPERSEDED "this broker was registered a second time; it must start anew"
int32_t node_id(const struct node *n);

#endif
