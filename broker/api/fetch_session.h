#ifndef API_FETCH_SESSION_H
#define API_FETCH_SESSION_H

#include "broker/api/internal.h"

/* Fetch sessions (KIP-227): what a consumer asked for is remembered, requests name only changes,
 * answers leave out what has not changed. A bounded cache, also in bytes; the least recently used
 * session goes first. */

enum {
    FETCH_SESSIONS_MAX = 1000,            /* max.incremental.fetch.session.cache.slots */
    FETCH_SESSION_PARTITIONS_MAX = 10000, /* of one session; larger requests get no session */
    FETCH_SESSIONS_SHARE_PERCENT = 1,     /* of the memory limit: all that are kept */
};

struct fetch_partition {
    struct kb_uuid topic_id;
    char *topic; /* NULL when the session speaks ids */
    int32_t index;
    int32_t current_leader_epoch;
    int32_t last_fetched_epoch;
    int64_t offset;
    int32_t max_bytes;
    /* As last answered. */
    int64_t sent_hw;
    int64_t sent_log_start;
    TAILQ_ENTRY(fetch_partition) order;
    UT_hash_handle hh;
    uint8_t key[20];
};

struct fetch_session {
    int32_t id; /* 0 = only for this request */
    int32_t epoch;
    bool uses_ids;
    bool incremental; /* this request was */
    bool in_use;      /* a request is being answered */
    bool dropped;     /* free it when that one is done */
    size_t count;
    size_t bytes;
    size_t charged_bytes;        /* to the budget of answers: of one that is not kept */
    struct fetch_partition *map; /* of named topics: keyed by position; see key */
    TAILQ_HEAD(, fetch_partition) partitions; /* in answering order */
    TAILQ_ENTRY(fetch_session) lru;
    UT_hash_handle hh;
};

/* The session this request belongs to, updated by it: KW_NONE and *ret (an in-use session: give it
 * back with fetch_session_done), or the top-level error; KW_UNKNOWN_SERVER_ERROR: it asks for more
 * than one request may, and is to be rejected. */
enum kw_error fetch_session_open(struct node_request *rq, const struct kw_fetch_request *req,
                                 struct fetch_session **ret);
void fetch_session_done(struct node *n, struct fetch_session *s);
/* A partition that gave data goes to the end, so that others come first next time. */
void fetch_session_rotate(struct fetch_session *s, struct fetch_partition *p);

#endif
