#ifndef META_CONTROLLER_H
#define META_CONTROLLER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "coordinator/metadata/image.h"
#include "coordinator/metadata/records.h"
#include "proto/base/arena.h"

/* The active controller: decides who leads what. Pure: time and chance come in, records go out.
 *
 * It holds the speculative image (rule 6.2) and soft state that is not replicated (sessions, links,
 * recovery reports, stall ages). A handler reads both and returns records and an answer; it never
 * changes the image. The caller (broker/node), on the state loop, for each command:
 *   1. runs the handler with an empty meta_result and an arena;
 *   2. result.records.count > 0: appends them to Raft as ONE batch. Refused: drop result and
 * answer, give the client a retriable error; the controller is as before;
 *   3. meta_controller_replay() with the index the log gave them, before any other command;
 *   4. sends the answer when everything replayed so far is committed (rule 6.3); logs the notes.
 * On losing leadership it frees the controller; committed state was never touched.
 *
 * While the take-over scan runs (rule 7.4, meta_controller_scanning) registrations are answered
 * with KW_NOT_CONTROLLER: retry. Errors are Kafka codes (proto/kafka/error.h); messages are
 * sentences for people and live in the arena, the request or static storage; NULL = none. */

struct meta_controller;

struct meta_controller_config {
    int32_t node_id;             /* the own node: its link is always up */
    uint64_t incarnation;        /* of the own process, not 0 */
    uint32_t session_timeout_ms; /* 1,500 */
    uint32_t link_grace_ms;      /* 150 */
    uint32_t takeover_scan_ms;   /* 300 */
    uint32_t disk_stall_ms;      /* 3,000: rule 9.4 */
    uint32_t cut_wait_ms;        /* 10,000: rule 4.5 */
    uint32_t link_election_ms;   /* 30,000: rule 4.8, once per partition */
    int32_t num_partitions;
    int32_t default_replication_factor;       /* 0 = 3, or the number of brokers if fewer */
    int32_t offsets_topic_partitions;         /* 50 */
    int32_t offsets_topic_replication_factor; /* 0 = rule 11.5 */
    bool delete_topic_enable;
    bool auto_leader_rebalance;
    uint32_t leader_rebalance_delay_ms; /* after a preferred leader came back to the ISR: 2,000 */
};
/* The defaults above. */
void meta_controller_config_default(struct meta_controller_config *config);

/* What a node knows of another broker's control link (rule 7.2). */
enum meta_link {
    META_LINK_NONE,      /* never linked in this life */
    META_LINK_UP,        /* hello exchanged, incarnation known */
    META_LINK_CLOSED,    /* closed, nothing answers yet */
    META_LINK_ACCEPTING, /* closed, but TCP was accepted since: the process exists */
    META_LINK_DEAD,      /* refused */
};
/* Evidence a node gathered before it was elected (rule 7.4). */
struct meta_evidence {
    int32_t broker_id;
    enum meta_link link;
    uint64_t link_since_ms; /* when the link took this state */
    uint64_t incarnation;   /* of the last hello, 0 = none */
    uint64_t heard_ms;      /* last frame of the control link, 0 = never */
};

/* committed: the image when the first own-term entry is applied, all older entries included;
 * cloned. seed: for placement and ids, made afresh for each controller. The own node is always up.
 */
struct meta_controller *meta_controller_new(const struct meta_image *committed,
                                            const struct meta_controller_config *config,
                                            uint64_t seed, uint64_t now_ms,
                                            const struct meta_evidence *evidence, size_t count);
/* NULL accepted; returns NULL. */
struct meta_controller *meta_controller_free(struct meta_controller *c);
/* The speculative image. */
const struct meta_image *meta_controller_image(const struct meta_controller *c);

struct meta_result {
    struct meta_records records; /* none: nothing to append */
    struct kb_buf notes;         /* logfmt lines ("event=… …\n") to log loudly once committed */
};
void meta_result_clear(struct meta_result *r);
void meta_result_release(struct meta_result *r);

/* Replay a batch that was appended: records first_index .. first_index + count - 1. Also for
 * records the node itself appends (no-op, voters, founding). A record that does not apply is a bug.
 */
void meta_controller_replay(struct meta_controller *c, const struct meta_records *records,
                            uint64_t first_index, uint64_t term);

/* ---- time and links (soft state) ---------------------------------------------------------------
 */

/* The control link of a broker changed its state. incarnation: of the hello, for META_LINK_UP. An
 * UP with another incarnation than the registered one says that the registered one is dead. */
void meta_controller_link(struct meta_controller *c, uint64_t now_ms, int32_t broker_id,
                          enum meta_link link, uint64_t incarnation);
/* Any frame came in over the control link (rule 7.1). */
void meta_controller_heard(struct meta_controller *c, uint64_t now_ms, int32_t broker_id,
                           uint64_t incarnation);
/* This process stood still for gap_ms: sessions get the gap on top (rule 7.3). */
void meta_controller_stood_still(struct meta_controller *c, uint64_t gap_ms);
/* When meta_controller_tick has something to do at the latest; UINT64_MAX = nothing. */
uint64_t meta_controller_deadline(const struct meta_controller *c);
/* Take-over scan, fencing of all that is dead now in one step (4.3), waiting elections (4.5, 4.6),
 * stalled disks (9.4), preferred leaders. Call after link events and at the deadline; again at once
 * while it gives records and the deadline is not in the future. */
void meta_controller_tick(struct meta_controller *c, uint64_t now_ms, struct meta_result *result);
bool meta_controller_scanning(const struct meta_controller *c);
/* Has the broker an open session (linked or heard within its session)? For status pages. */
bool meta_controller_broker_heard(const struct meta_controller *c, int32_t broker_id,
                                  uint64_t *ret_heard_ms);

/* ---- brokers ------------------------------------------------------------------------------------
 */

/* State of a log after recovery (rule 8.2); same numbers as in the peer protocol. A replica that
 * has since led, or caught up with its leader, is reported WHOLE. */
enum meta_log_state {
    META_LOG_WHOLE = 0,
    META_LOG_CUT = 1,
    META_LOG_DAMAGED = 2,
    META_LOG_MISSING = 3
};
struct meta_log_report {
    struct kb_uuid topic_id;
    int32_t partition;
    int32_t last_epoch; /* -1 = empty log */
    int64_t end_offset; /* durable end (weak topics: log end) */
    enum meta_log_state state;
};
struct meta_register_request {
    int32_t broker_id;
    const char *cluster_id; /* NULL = not known yet */
    uint64_t incarnation;
    struct kb_uuid directory;
    uint64_t previous_broker_epoch; /* durable in the directory, 0 = none (8.4) */
    const char *boot_id;            /* NULL unknown */
    bool clean;                     /* stopped cleanly in previous_broker_epoch (8.5) */
    const char *rack;               /* NULL = none */
    const struct meta_endpoint *endpoints;
    size_t endpoints_count;
    const struct meta_endpoint *peer_endpoints;
    size_t peer_endpoints_count;
    const struct meta_feature *features;
    size_t features_count;
    const struct meta_log_report *logs; /* a replica without a report has no log */
    size_t logs_count;
    uint64_t creations_synced_index; /* rule 8.2 */
};
struct meta_register_response {
    int16_t error;
    const char *message;
    uint64_t broker_epoch; /* valid without error */
};
/* Rules 1.3, 4.4, 8.3, 8.4. The same incarnation again: its epoch again, reports are taken. */
void meta_controller_register(struct meta_controller *c, uint64_t now_ms,
                              const struct meta_register_request *req, struct kb_arena *arena,
                              struct meta_result *result, struct meta_register_response *ret);

struct meta_heartbeat_request {
    int32_t broker_id;
    uint64_t incarnation;
    uint64_t broker_epoch;
    uint64_t applied_index; /* durably applied */
    bool want_unfence;
    bool want_stop;
    uint64_t disk_stall_ms;    /* age of the oldest unfinished sync of partition data */
    bool disk_full;            /* a log found no space: treated as stalled at once */
    const int32_t *dead_links; /* brokers whose data link has been down for 1 s (4.8) */
    size_t dead_links_count;
};
struct meta_heartbeat_response {
    int16_t error; /* KW_STALE_BROKER_EPOCH, KW_BROKER_ID_NOT_REGISTERED: register again */
    bool fenced;
    bool may_stop; /* after want_stop: nothing is led that could be led elsewhere */
};
/* Unfencing (7.6) and what it makes electable, or a controlled stop, comes as records. */
void meta_controller_heartbeat(struct meta_controller *c, uint64_t now_ms,
                               const struct meta_heartbeat_request *req, struct meta_result *result,
                               struct meta_heartbeat_response *ret);

/* ---- partitions ---------------------------------------------------------------------------------
 */

struct meta_alter_item {
    struct kb_uuid topic_id;
    int32_t partition;
    int32_t leader_epoch;
    int32_t partition_epoch;
    const int32_t *isr;
    const uint64_t *isr_broker_epochs; /* same count */
    size_t isr_count;
    bool synced; /* a topic turned strong: each ISR member has synced all it has (4.4) */
};
struct meta_alter_result {
    struct kb_uuid topic_id;
    int32_t partition;
    int16_t error;
    int32_t leader_epoch; /* as after these records */
    int32_t partition_epoch;
};
/* AlterPartition of a leader (4.1, KIP-841, KIP-903, 4.8). Returns the top-level error; ret_items
 * has one entry per item (arena). Errors as Kafka: UNKNOWN_TOPIC_ID, UNKNOWN_TOPIC_OR_PARTITION,
 * INVALID_REQUEST, FENCED_LEADER_EPOCH, INVALID_UPDATE_VERSION, INELIGIBLE_REPLICA,
 * NEW_LEADER_ELECTED, NOT_CONTROLLER (this controller is behind), STALE_BROKER_EPOCH; and
 * REQUEST_TIMED_OUT for an item that was not looked at (ask again). */
int16_t meta_controller_alter_partitions(struct meta_controller *c, uint64_t now_ms,
                                         int32_t broker_id, uint64_t broker_epoch,
                                         const struct meta_alter_item *items, size_t count,
                                         struct kb_arena *arena, struct meta_result *result,
                                         struct meta_alter_result **ret_items);

struct meta_election_item {
    struct kb_uuid topic_id;
    int32_t partition;
    int32_t leader_epoch;
    bool damaged;            /* also leave ISR and ELR (2.6, 2.8); followers may say so too */
    int32_t partition_epoch; /* damaged: rise above this one even if it is in neither, so that a
                                proposal that rests on what it held fails (2.8); -1 = no need */
};
/* A replica cannot go on: a leader whose write failed (1.7) or that has no space (9.3) gives up its
 * epoch, a damaged one leaves ISR and ELR. Items of another leader epoch are skipped. */
int16_t meta_controller_ask_election(struct meta_controller *c, uint64_t now_ms, int32_t broker_id,
                                     uint64_t broker_epoch, const struct meta_election_item *items,
                                     size_t count, struct meta_result *result);

/* A block of 1,000 producer ids (R18). Returns the error. */
int16_t meta_controller_producer_ids(struct meta_controller *c, int32_t broker_id,
                                     uint64_t broker_epoch, struct meta_result *result,
                                     int64_t *ret_first, int32_t *ret_count);

/* ---- admin commands: decoded Kafka request in, Kafka response (arena) out ----------------------
 * 0, or -KB_ENOMEM when the arena refuses: result is then void. Authorization is the caller's. */

struct kw_create_topics_request;
struct kw_create_topics_response;
struct kw_delete_topics_request;
struct kw_delete_topics_response;
struct kw_create_partitions_request;
struct kw_create_partitions_response;
struct kw_alter_configs_request;
struct kw_alter_configs_response;
struct kw_incremental_alter_configs_request;
struct kw_incremental_alter_configs_response;
struct kw_elect_leaders_request;
struct kw_elect_leaders_response;

int meta_controller_create_topics(struct meta_controller *c,
                                  const struct kw_create_topics_request *req,
                                  struct kb_arena *arena, struct meta_result *result,
                                  struct kw_create_topics_response *ret);
int meta_controller_delete_topics(struct meta_controller *c, int16_t version,
                                  const struct kw_delete_topics_request *req,
                                  struct kb_arena *arena, struct meta_result *result,
                                  struct kw_delete_topics_response *ret);
int meta_controller_create_partitions(struct meta_controller *c,
                                      const struct kw_create_partitions_request *req,
                                      struct kb_arena *arena, struct meta_result *result,
                                      struct kw_create_partitions_response *ret);
int meta_controller_alter_configs(struct meta_controller *c,
                                  const struct kw_alter_configs_request *req,
                                  struct kb_arena *arena, struct meta_result *result,
                                  struct kw_alter_configs_response *ret);
int meta_controller_incremental_alter_configs(
    struct meta_controller *c, const struct kw_incremental_alter_configs_request *req,
    struct kb_arena *arena, struct meta_result *result,
    struct kw_incremental_alter_configs_response *ret);
int meta_controller_elect_leaders(struct meta_controller *c, uint64_t now_ms, int16_t version,
                                  const struct kw_elect_leaders_request *req,
                                  struct kb_arena *arena, struct meta_result *result,
                                  struct kw_elect_leaders_response *ret);
/* The answer that refuses the request and each partition it names (version 0 has no other place
 * for an error); text may be NULL. 0 or -KB_ENOMEM. */
int meta_refuse_elections(const struct kw_elect_leaders_request *req, struct kb_arena *arena,
                          int16_t error, const char *text, struct kw_elect_leaders_response *ret);
/* A fenced broker that holds no replica is forgotten. Returns the error. */
int16_t meta_controller_unregister_broker(struct meta_controller *c, int32_t broker_id,
                                          struct kb_arena *arena, struct meta_result *result,
                                          const char **ret_message);

#endif
