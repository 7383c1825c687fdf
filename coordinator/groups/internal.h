#ifndef GROUP_INTERNAL_H
#define GROUP_INTERNAL_H

/* What the files of this room share. A group has two halves: the image, changed by replay alone
 * (image.c), and the live half, changed by handlers and timers (member.c, rebalance.c, join.c,
 * sync.c). In Stable and CompletingRebalance both hold the same members. */

#include <uthash.h>

#include "coordinator/groups/shard.h"
#include "proto/base/assert.h"
#include "proto/base/err.h"
#include "proto/base/log.h"
#include "proto/base/map.h"
#include "proto/base/mem.h"
#include "proto/base/prng.h"

/* ---- image: replicated
 * ------------------------------------------------------------------------------- */

struct group_image_member {
    UT_hash_handle hh; /* by id */
    struct kw_str id;
    struct kw_str instance_id;
    struct kw_str client_id;
    struct kw_str client_host;
    int32_t rebalance_timeout_ms;
    int32_t session_timeout_ms;
    struct kw_bytes subscription;
    struct kw_bytes assignment;
};
struct group_image {
    struct kw_str protocol_type;
    int32_t generation;
    struct kw_str protocol; /* null when nobody is in */
    struct kw_str leader;
    int64_t state_wall_ms;              /* when it entered the state; -1 unknown */
    struct group_image_member *members; /* in the record's order */
    size_t bytes;
};

struct group_offset {
    int32_t partition;
    int32_t leader_epoch;
    int64_t offset;
    int64_t commit_wall_ms;
    int64_t expire_wall_ms; /* -1: by retention */
    struct kb_uuid topic_id;
    struct kw_str metadata;
};
struct group_topic {
    UT_hash_handle hh; /* by name */
    struct kw_str name;
    struct group_offset *offsets; /* by partition */
    size_t count;
    size_t capacity;
};

/* ---- the live half
 * ------------------------------------------------------------------------------------ */

enum group_state {
    GROUP_EMPTY,
    GROUP_PREPARING,  /* members join */
    GROUP_COMPLETING, /* the generation is made; its leader assigns */
    GROUP_STABLE,
    GROUP_STATE_COUNT_
};
const char *group_state_name(enum group_state state); /* Kafka's */

struct group_protocol {
    struct kw_str name;
    struct kw_bytes metadata;
};
struct group_member {
    UT_hash_handle hh;          /* of the group, by id; order of arrival */
    UT_hash_handle hh_instance; /* of static members */
    struct group *group;
    struct kw_str id;
    struct kw_str instance_id; /* null: dynamic */
    struct kw_str client_id;
    struct kw_str client_host;
    int32_t rebalance_timeout_ms;
    int32_t session_timeout_ms;
    struct group_protocol *protocols; /* in order of preference */
    size_t protocols_count;
    size_t protocols_bytes;
    uint64_t join_token; /* parked JoinGroup; 0 = none */
    bool joining;        /* rejoined in this rebalance and waits for its end */
    uint64_t sync_token; /* parked SyncGroup; 0 = none */
    bool is_new;         /* has not been told its generation yet: cannot send heartbeats */
    bool pending_sync;   /* got its JoinGroup answer, has not sent SyncGroup */
    uint64_t session_deadline_ms;
    struct kw_bytes fresh_assignment; /* borrowed, during the leader's SyncGroup only */
};
/* A member id handed out with MEMBER_ID_REQUIRED that has not come back. */
struct group_pending {
    UT_hash_handle hh;
    struct kw_str id;
    uint64_t deadline_ms;
};

struct group {
    UT_hash_handle hh; /* of the shard, by id */
    TAILQ_ENTRY(group) entries;
    struct group_shard *shard;
    struct kw_str id;

    struct group_image *image; /* NULL: no metadata record */
    struct group_topic *topics;
    size_t offsets_count;

    enum group_state state;
    bool initial; /* PREPARING that began in EMPTY: ends by its timer alone */
    bool new_member_added;
    uint32_t initial_delay_ms; /* the step under way */
    uint32_t initial_left_ms;  /* how much it may still be extended */
    struct kw_str protocol_type;
    size_t protocols_bytes; /* of all members */
    struct group_member *members;
    struct group_member *statics;
    struct group_member *leader;
    struct group_pending *pending;
    size_t joining_count;
    uint64_t join_deadline_ms; /* UINT64_MAX: none */
    uint64_t sync_deadline_ms;

    uint64_t deadline_ms; /* nothing is due before; its key in the heap */
    size_t heap_index;    /* SIZE_MAX: not in it */
    uint64_t empty_since_ms;
};
TAILQ_HEAD(group_list, group);

struct group_parked {
    struct group_member *member;
    enum group_reply_kind kind;
};

struct group_shard {
    struct group_options options;
    struct kb_prng prng;
    struct group *groups; /* by id */
    struct group_list list;
    struct group_timer_heap {
        struct group **items;
        size_t count;
        size_t capacity;
    } heap;
    struct kb_map parked; /* token -> struct group_parked */
    size_t members_count;
    size_t offsets_count;
    size_t pending_count;
    size_t bytes;
    size_t charged_bytes; /* of options.memory */
    bool loaded;
    struct group *expiry_next; /* where the pass over the offsets goes on; NULL: none under way */
    uint64_t expiry_deadline_ms;
    size_t owed_records; /* records given out and not replayed yet */
};

/* ---- shard.c
 * --------------------------------------------------------------------------------------- */

struct group *group_find(struct group_shard *s, struct kw_str id);
/* NULL at the limit of groups. */
struct group *group_find_or_add(struct group_shard *s, struct kw_str id);
struct group *group_add(struct group_shard *s, struct kw_str id);
/* Free the group if nothing is known of it: no record, no offsets, no members, no pending ids. */
void group_drop_if_nothing(struct group *g);
/* Every handler begins with it. */
void group_handler_begin(struct group_shard *s);
/* Is there room for this many bytes more? */
bool group_has_room(struct group_shard *s, size_t bytes);
/* Bring the memory that all shards share up to date with this one. */
void group_charge(struct group_shard *s);
struct kw_str group_str_dup(struct kw_str s);
void group_str_free(struct kw_str *s);
bool group_id_valid(struct kw_str id); /* neither null nor empty */

/* ---- heap.c: groups by deadline
 * -------------------------------------------------------------------- */

/* Move a group's deadline forward if this is earlier. */
void group_heap_want(struct group *g, uint64_t deadline_ms);
void group_heap_set(struct group *g, uint64_t deadline_ms); /* UINT64_MAX takes it out */
struct group *group_heap_first(const struct group_shard *s);
void group_heap_release(struct group_shard *s);

/* ---- effects.c
 * ------------------------------------------------------------------------------------- */

/* Takes the chain: key, then value. */
void group_effects_add(struct group_effects *fx, struct kb_chain *record, size_t key_size,
                       bool tombstone);
struct group_reply *group_reply_new(struct group_effects *fx, enum group_reply_kind kind,
                                    uint64_t token);
struct kw_str group_reply_str(struct group_reply *r, struct kw_str s);
struct kw_bytes group_reply_bytes(struct group_reply *r, struct kw_bytes b);
/* fx NULL: nobody is answered. */
void group_reply_join_error(struct group_effects *fx, uint64_t token, struct kw_str member_id,
                            enum kw_error error);
void group_reply_sync_error(struct group_effects *fx, uint64_t token, enum kw_error error);

/* ---- records.c
 * ------------------------------------------------------------------------------------- */

enum group_assignments {
    GROUP_ASSIGN_NONE,  /* a generation begins */
    GROUP_ASSIGN_IMAGE, /* as they are, but for one member whose id changed */
    GROUP_ASSIGN_FRESH, /* what the leader's SyncGroup says */
};
/* The group's record, made from its live members. */
struct group_record_source {
    enum group_assignments assignments;
    struct kw_str replaced_id; /* IMAGE: this former id ... */
    struct kw_str new_id;      /* ... is now this one */
    int32_t generation;
    struct kw_str protocol;
    int64_t wall_ms;
};
void group_record_metadata(struct group *g, const struct group_record_source *source,
                           struct group_effects *fx);
void group_record_metadata_tombstone(struct group *g, struct group_effects *fx);
void group_record_offset(struct group *g, struct kw_str topic, const struct group_offset *o,
                         struct group_effects *fx);
void group_record_offset_tombstone(struct group *g, struct kw_str topic, int32_t partition,
                                   struct group_effects *fx);
/* Tombstones for all offsets of the group. */
void group_record_offsets_tombstones(struct group *g, struct group_effects *fx);

/* ---- image.c
 * --------------------------------------------------------------------------------------- */

void group_image_replace(struct group *g, const struct kw_group_metadata_value *value);
void group_image_remove(struct group *g);
void group_offset_put(struct group *g, struct kw_str topic, int32_t partition,
                      const struct kw_offset_commit_value *value);
void group_offset_remove(struct group *g, struct kw_str topic, int32_t partition);
const struct group_topic *group_topic_find(const struct group *g, struct kw_str topic);
const struct group_offset *group_offset_find(const struct group *g, struct kw_str topic,
                                             int32_t partition);
void group_image_release(struct group *g); /* metadata and offsets */
static inline int32_t group_generation(const struct group *g)
{
    return g->image != NULL ? g->image->generation : 0;
}
const struct group_image_member *group_image_member(const struct group *g, struct kw_str id);

/* ---- member.c
 * -------------------------------------------------------------------------------------- */

struct group_member *group_member_find(const struct group *g, struct kw_str id);
struct group_member *group_member_find_static(const struct group *g, struct kw_str instance_id);
struct group_member *group_member_add(struct group *g, struct kw_str id,
                                      const struct group_caller *caller,
                                      const struct kw_join_group_request *req);
struct group_member *group_member_load(struct group *g, const struct group_image_member *from);
/* What a (re)join brings: protocols and timeouts. */
void group_member_update(struct group_member *m, int16_t version,
                         const struct kw_join_group_request *req);
/* Parked requests of the member are answered with error. */
void group_member_remove(struct group_member *m, enum kw_error error, struct group_effects *fx);
/* The same static member under a new id; whoever waits under the old one is fenced. */
void group_member_replace(struct group_member *m, struct kw_str new_id,
                          const struct group_caller *caller, struct group_effects *fx);
/* Same protocols in the same order with the same metadata. */
bool group_member_matches(const struct group_member *m, const struct kw_join_group_request *req);
const struct group_protocol *group_member_protocol(const struct group_member *m,
                                                   struct kw_str name);
void group_member_session_restart(struct group_member *m, struct group_now now);
/* The member is alive as long as it waits for us. */
bool group_member_waits(const struct group_member *m);
void group_member_park(struct group_member *m, enum group_reply_kind kind, uint64_t token,
                       struct group_effects *fx);
uint64_t group_member_unpark(struct group_member *m, enum group_reply_kind kind);
/* UNKNOWN_MEMBER_ID, FENCED_INSTANCE_ID or KW_NONE. */
enum kw_error group_member_check(const struct group *g, struct kw_str id,
                                 struct kw_str instance_id);
size_t group_members_count(const struct group *g);
int32_t group_rebalance_timeout_ms(const struct group *g);
/* The protocol all members support that most members like best; null when there is none. */
struct kw_str group_select_protocol(const struct group *g);
bool group_supports(const struct group *g, const struct kw_join_group_request *req);
size_t group_protocols_bytes(const struct kw_join_group_request *req);
struct group_pending *group_pending_find(const struct group *g, struct kw_str id);
void group_pending_add(struct group *g, struct kw_str id, uint64_t deadline_ms);
void group_pending_remove(struct group *g, struct group_pending *p);
void group_live_release(struct group *g, enum kw_error error, struct group_effects *fx);

/* ---- rebalance.c
 * ----------------------------------------------------------------------------------- */

/* Begin a rebalance, unless one has begun. */
void group_rebalance(struct group *g, struct group_now now, const char *reason,
                     struct group_effects *fx);
/* The end of each handler that touched the members: end the join phase if everybody is there. */
void group_settle(struct group *g, struct group_now now, struct group_effects *fx);
/* A member is gone: the others must share anew. */
void group_member_gone(struct group *g, struct group_now now, const char *reason,
                       struct group_effects *fx);
void group_set_state(struct group *g, enum group_state to);
/* Whatever is due by now. */
void group_timers_run(struct group *g, struct group_now now, struct group_effects *fx);
/* After a load. */
void group_start(struct group *g, struct group_now now, struct group_effects *fx);
/* All that want to sync have done so. */
void group_sync_received(struct group_member *m);
/* A successful JoinGroup answer. with_members: it leads and gets the list. */
struct group_reply *group_answer_join(const struct group_member *m, uint64_t token,
                                      int32_t generation, struct kw_str protocol, bool with_members,
                                      struct group_effects *fx);

/* ---- expire.c
 * -------------------------------------------------------------------------------------- */

void group_expiry_tick(struct group_shard *s, struct group_now now, struct group_effects *fx);

/* ---- subscription.c
 * -------------------------------------------------------------------------------- */

/* The topics that the last generation consumes, by the consumer protocol's subscriptions. */
struct group_subscriptions {
    struct group_subscribed_topic *topics; /* uthash */
    bool known;
    bool assume; /* the answer while not known */
};
void group_subscriptions_init(struct group_subscriptions *subs, const struct group *g);
bool group_subscriptions_have(const struct group_subscriptions *subs, struct kw_str topic);
void group_subscriptions_release(struct group_subscriptions *subs);
bool group_is_consumer(const struct group *g); /* its protocol type is "consumer" */

#endif
