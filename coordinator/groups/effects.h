#ifndef GROUP_EFFECTS_H
#define GROUP_EFFECTS_H

#include <stddef.h>
#include <stdint.h>

#include "proto/base/arena.h"
#include "proto/base/bytes.h"
#include "proto/base/queue.h"
#include "proto/kafka/messages.h"

/* What a shard wants done after a call: records to append as one batch, replies to send once they
 * are committed. Owned by the caller, filled by shard.h's functions, which add to what is there. */

enum group_reply_kind { GROUP_REPLY_JOIN, GROUP_REPLY_SYNC };

/* The answer to one JoinGroup or SyncGroup; everything it points to lies in its arena. */
struct group_reply {
    TAILQ_ENTRY(group_reply) entries;
    uint64_t token;
    enum group_reply_kind kind;
    struct kw_join_group_response join;
    struct kw_sync_group_response sync;
    struct kb_arena arena;
};
TAILQ_HEAD(group_replies, group_reply);
/* NULL accepted; returns NULL. */
struct group_reply *group_reply_free(struct group_reply *r);
void group_replies_free(struct group_replies *replies);

struct group_effects {
    struct group_replies replies; /* may be moved out with TAILQ_CONCAT */
    size_t records_count;
    /* Private. */
    struct kb_buf bytes_;
    struct group_record_span *spans_;
    size_t spans_capacity_;
};
void group_effects_init(struct group_effects *fx);
/* Empty again: records and the replies that were not moved out are freed. */
void group_effects_clear(struct group_effects *fx);
void group_effects_release(struct group_effects *fx);
/* Views into fx, valid until it changes. *ret_value has data NULL for a tombstone. */
void group_effects_record(const struct group_effects *fx, size_t index, struct kb_view *ret_key,
                          struct kb_view *ret_value);
/* Bytes of all keys and values. */
size_t group_effects_bytes(const struct group_effects *fx);

#endif
