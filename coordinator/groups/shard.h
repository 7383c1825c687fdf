#ifndef GROUP_SHARD_H
#define GROUP_SHARD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "coordinator/groups/effects.h"
#include "proto/base/arena.h"
#include "proto/base/bytes.h"
#include "proto/base/uuid.h"
#include "proto/kafka/error.h"
#include "proto/kafka/messages.h"

/* The classic consumer groups and offsets of one led partition of __consumer_offsets. Pure: no
 * clock, I/O, threads or rand. One owner; not thread-safe.
 *
 * Command -> records -> replay. A handler never changes what is replicated; it gives records. The
 * caller, before it calls the shard again, in this order:
 *   1. appends the records of the effects to the partition's log as ONE batch,
 *   2. calls group_shard_replay for each of them, in order (group_effects_replay does it),
 *   3. keeps the replies of the effects, and whatever the handler answered, until that batch is
 *      committed - or, without records, until everything replayed before is (rule 6.3).
 * When an append fails or the lead is lost, the shard is freed: it has replayed what may not be in
 * the log. group_shard_free answers everything that is parked.
 *
 * Replicated: group metadata (generation, members, assignments) and offsets. Not replicated (6.8):
 * sessions, member ids handed out, parked requests, the rebalance under way. After a load each
 * member has its full session; a generation without assignments loads as rebalancing (6.9).
 *
 * Strings and bytes of requests are borrowed for the call. Member metadata and assignments are
 * opaque and handed on as they came. */
struct group_shard;

/* Both clocks; wall_ms is free of jumps (clock.h). */
struct group_now {
    uint64_t mono_ms;
    int64_t wall_ms;
};

/* Find the topic by *name, or by *id when name is null; fill in the other and the number of its
 * partitions. The name is valid until the handler returns. False: there is no such topic. */
typedef bool group_topic_fn(void *arg, struct kw_str *name, struct kb_uuid *id,
                            int32_t *ret_partitions);

/* What all shards of a broker hold together, and the limit; the caller's, outlives the shards. */
struct group_memory {
    size_t used_bytes;
    size_t limit_bytes;
};

struct group_options {
    uint32_t session_min_ms;      /* group.min.session.timeout.ms */
    uint32_t session_max_ms;      /* group.max.session.timeout.ms */
    uint32_t initial_delay_ms;    /* group.initial.rebalance.delay.ms */
    uint32_t new_member_join_ms;  /* a parked JoinGroup of a new member is given up after this */
    uint32_t members_max;         /* group.max.size */
    uint64_t offset_retention_ms; /* offsets.retention.minutes */
    uint64_t expiry_interval_ms;  /* offsets.retention.check.interval.ms */
    uint32_t offset_metadata_max; /* offset.metadata.max.bytes */
    uint64_t seed;                /* for member ids: random for each shard */
    group_topic_fn *topic;        /* NULL: every topic exists */
    void *topic_arg;
    /* Limits on what clients can make us keep. */
    size_t group_bytes_max;      /* protocols or assignments of one group: GROUP_MAX_SIZE_REACHED */
    size_t shard_bytes_max;      /* of all groups and offsets: COORDINATOR_NOT_AVAILABLE */
    struct group_memory *memory; /* the same over all shards; NULL: no such limit */
    size_t commit_bytes_max;     /* records of one OffsetCommit: INVALID_COMMIT_OFFSET_SIZE */
    uint32_t groups_max;
    uint32_t parked_max;    /* parked requests and member ids handed out */
    uint32_t protocols_max; /* of one JoinGroup */
};
/* Kafka's defaults, but an initial delay of 100 ms; seed 0, no topic lookup. */
void group_options_init(struct group_options *o);

/* An empty shard that takes only replay until group_shard_loaded. Copies options. */
struct group_shard *group_shard_new(const struct group_options *options);
/* Free. Everything parked is answered with error in fx->replies (fx NULL: without an answer). NULL
 * accepted; returns NULL. */
struct group_shard *group_shard_free(struct group_shard *s, enum kw_error error,
                                     struct group_effects *fx);

enum group_replay_result {
    GROUP_REPLAY_DONE = 0,
    GROUP_REPLAY_IGNORED, /* a key or value of a version that is not ours */
};
/* Apply one record: a pure function of the shard's replicated state and the record. value.data
 * NULL deletes. A group_replay_result, or -KB_ECORRUPT (nothing changed). */
int group_shard_replay(struct group_shard *s, struct kb_view key, struct kb_view value);
/* The log is replayed up to its end: sessions start, timers run, handlers may be called. */
void group_shard_loaded(struct group_shard *s, struct group_now now, struct group_effects *fx);
/* Replay the records of fx in order (step 2 above). */
void group_effects_replay(struct group_shard *s, const struct group_effects *fx);

/* Timers. Call at or after group_shard_deadline; work is sliced: the next deadline may be now. */
void group_shard_tick(struct group_shard *s, struct group_now now, struct group_effects *fx);
/* Monotonic; UINT64_MAX = none. */
uint64_t group_shard_deadline(const struct group_shard *s);

/* ---- membership ------------------------------------------------------------------------------ */

/* Who asks. token is not 0 and is unique among parked requests. */
struct group_caller {
    uint64_t token;
    int16_t version; /* of the API */
    struct kw_str client_id;
    struct kw_str client_host;
};
/* The answer comes in fx->replies of this or of a later call, exactly once per token. */
void group_shard_join(struct group_shard *s, struct group_now now,
                      const struct group_caller *caller, const struct kw_join_group_request *req,
                      struct group_effects *fx);
void group_shard_sync(struct group_shard *s, struct group_now now,
                      const struct group_caller *caller, const struct kw_sync_group_request *req,
                      struct group_effects *fx);
/* Nobody waits for this token any more (its connection closed). The member stays, with its session
 * counting from now. No reply will come. */
void group_shard_forget(struct group_shard *s, struct group_now now, uint64_t token,
                        struct group_effects *fx);
enum kw_error group_shard_heartbeat(struct group_shard *s, struct group_now now,
                                    const struct kw_heartbeat_request *req);
/* Fills *ret for req's version. 0, or -KB_ENOMEM when the arena refused: nothing happened. */
int group_shard_leave(struct group_shard *s, struct group_now now, int16_t version,
                      const struct kw_leave_group_request *req, struct kb_arena *arena,
                      struct kw_leave_group_response *ret, struct group_effects *fx);

/* ---- offsets --------------------------------------------------------------------------------- */

/* Fills *ret; topics by name or, from v10, by id. 0, or -KB_ENOMEM: nothing happened. */
int group_shard_commit(struct group_shard *s, struct group_now now, int16_t version,
                       const struct kw_offset_commit_request *req, struct kb_arena *arena,
                       struct kw_offset_commit_response *ret, struct group_effects *fx);
/* The answer that gives each partition of req this error. 0 or -KB_ENOMEM. */
int group_commit_refuse(const struct kw_offset_commit_request *req, enum kw_error error,
                        struct kb_arena *arena, struct kw_offset_commit_response *ret);
/* One group of OffsetFetch v8 and up (older requests ask the same for their one group); topics
 * NULL: all offsets of the group. by_id: v10, topics are named by id. 0 or -KB_ENOMEM. */
int group_shard_fetch(struct group_shard *s, const struct kw_offset_fetch_request_group *req,
                      bool by_id, struct kb_arena *arena,
                      struct kw_offset_fetch_response_group *ret);
int group_shard_delete_offsets(struct group_shard *s, const struct kw_offset_delete_request *req,
                               struct kb_arena *arena, struct kw_offset_delete_response *ret,
                               struct group_effects *fx);
/* A record that changes nothing (it deletes the metadata of the group "", which cannot exist): its
 * commit proves that this coordinator still led after it was appended (rule 6.10). */
void group_shard_prove(struct group_shard *s, struct group_effects *fx);
/* The topic is gone: its offsets go too, in all groups. id zero: whatever its id. What was deleted
 * while nobody coordinated is found by the pass over the offsets that a load begins with. */
void group_shard_topic_deleted(struct group_shard *s, struct kw_str name, const struct kb_uuid *id,
                               struct group_effects *fx);
/* The same later, when records cannot be appended now: a pass over all offsets begins at the next
 * tick, which is due now. */
void group_shard_topics_changed(struct group_shard *s, struct group_now now);

/* ---- administration -------------------------------------------------------------------------- */

int group_shard_describe(struct group_shard *s, int16_t version, struct kw_str group_id,
                         struct kb_arena *arena, struct kw_describe_groups_response_group *ret);
/* Appends to *groups (an arena array of *count elements) what the filters let through. */
int group_shard_list(struct group_shard *s, const struct kw_list_groups_request *req,
                     struct kb_arena *arena, struct kw_list_groups_response_group **groups,
                     int32_t *count);
/* KW_NONE: the group and its offsets go with the records of fx. */
enum kw_error group_shard_delete(struct group_shard *s, struct kw_str group_id,
                                 struct group_effects *fx);

/* ---- inspection ------------------------------------------------------------------------------ */

struct group_shard_stats {
    size_t groups;
    size_t members;
    size_t offsets;
    size_t parked;
    size_t bytes;
};
void group_shard_stats(const struct group_shard *s, struct group_shard_stats *ret);
/* The replicated state as text, groups in order of their ids, for tests and `log dump`. */
void group_shard_dump(const struct group_shard *s, struct kb_buf *ret);

/* The partition of __consumer_offsets a group belongs to: abs(String.hashCode) mod count, as Java
 * computes it over UTF-16 units. partitions > 0. */
int32_t group_partition_for(struct kw_str group_id, int32_t partitions);

#endif
