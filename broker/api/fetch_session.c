#include "broker/api/fetch_session.h"

#include "proto/base/crc32c.h"

struct api_fetch_sessions {
    struct fetch_session *by_id;
    TAILQ_HEAD(, fetch_session) lru; /* least recently used first */
    size_t count;
    size_t bytes; /* of all of them */
};

enum { PARTITION_BYTES_MORE = 64 }; /* hash table, allocator */

static size_t partition_bytes(const struct fetch_partition *p)
{
    return sizeof(*p) + PARTITION_BYTES_MORE + (p->topic != NULL ? strlen(p->topic) : 0);
}

static size_t kept_bytes_max(const struct node *n)
{
    return (size_t)(n->config.memory_max_bytes / 100 * FETCH_SESSIONS_SHARE_PERCENT);
}

/* Ids are part of the key where the session speaks ids; names are hashed and compared. */
static void make_key(uint8_t key[20], const struct kb_uuid *id, const char *topic, int32_t index)
{
    memset(key, 0, 20);
    if (topic == NULL) {
        memcpy(key, id->bytes, 16);
    } else {
        size_t size = strlen(topic);
        uint32_t a = kb_crc32c(0, topic, size);
        uint32_t b = kb_crc32c(a ^ 0x9e3779b9U, topic, size);
        memcpy(key, &a, 4);
        memcpy(key + 4, &b, 4);
        memcpy(key + 8, &size, sizeof(size));
    }
    memcpy(key + 16, &index, 4);
}

static void sessions_free(struct node *n);

static struct api_fetch_sessions *sessions_of(struct node *n)
{
    if (n->fetch_sessions == NULL) {
        n->fetch_sessions = kb_new(struct api_fetch_sessions);
        TAILQ_INIT(&n->fetch_sessions->lru);
        n->free_fetch_sessions = sessions_free;
    }
    return n->fetch_sessions;
}

static void partition_drop(struct fetch_session *s, struct fetch_partition *p)
{
    /* NOLINTNEXTLINE(clang-analyzer-core.NullDereference): it is in the map */
    HASH_DEL(s->map, p);
    TAILQ_REMOVE(&s->partitions, p, order);
    s->count--;
    s->bytes -= partition_bytes(p);
    (void)kb_free(p->topic);
    (void)kb_free(p);
}

static void session_free(struct node *n, struct fetch_session *s)
{
    kb_budget_give(&n->answer_budget, s->charged_bytes);
    while (!TAILQ_EMPTY(&s->partitions))
        partition_drop(s, TAILQ_FIRST(&s->partitions));
    (void)kb_free(s);
}

static void session_remove(struct node *n, struct fetch_session *s)
{
    struct api_fetch_sessions *t = sessions_of(n);
    HASH_DELETE(hh, t->by_id, s);
    TAILQ_REMOVE(&t->lru, s, lru);
    t->count--;
    t->bytes -= s->bytes;
    s->id = 0;
    if (s->in_use)
        s->dropped = true;
    else
        session_free(n, s);
}

static struct fetch_session *session_new(bool uses_ids)
{
    struct fetch_session *s = kb_new(struct fetch_session);
    s->uses_ids = uses_ids;
    s->in_use = true;
    TAILQ_INIT(&s->partitions);
    return s;
}

/* Room for one more of so many bytes. False: all are at work, or there is not so much. */
static bool make_room(struct node *n, size_t count, size_t bytes)
{
    struct api_fetch_sessions *t = sessions_of(n);
    while (t->count + count > FETCH_SESSIONS_MAX || t->bytes + bytes > kept_bytes_max(n)) {
        struct fetch_session *oldest = NULL;
        TAILQ_FOREACH(oldest, &t->lru, lru)
        {
            if (!oldest->in_use)
                break;
        }
        if (oldest == NULL)
            return false;
        session_remove(n, oldest);
    }
    return true;
}

/* Give it an id and a place in the cache, if there is one. */
static void session_keep(struct node *n, struct fetch_session *s)
{
    struct api_fetch_sessions *t = sessions_of(n);
    struct fetch_session *other = NULL;
    if (s->bytes > kept_bytes_max(n) || !make_room(n, 1, s->bytes))
        return;
    do {
        s->id = (int32_t)(kb_env_random_u64(n->env) & INT32_MAX);
        HASH_FIND(hh, t->by_id, &s->id, sizeof(s->id), other);
    } while (s->id == 0 || other != NULL);
    s->epoch = 1;
    HASH_ADD(hh, t->by_id, id, sizeof(s->id), s);
    TAILQ_INSERT_TAIL(&t->lru, s, lru);
    t->count++;
    t->bytes += s->bytes;
}

/* ---- what a request changes
 * --------------------------------------------------------------------------- */

static bool take_partition(struct fetch_session *s, struct node_request *rq,
                           const struct kw_fetch_request_topic *t,
                           const struct kw_fetch_request_partition *q)
{
    struct fetch_partition *p = NULL;
    uint8_t key[20];
    char *topic = s->uses_ids ? NULL : api_text(rq, t->topic);
    make_key(key, &t->topic_id, topic, q->partition);
    HASH_FIND(hh, s->map, key, sizeof(key), p);
    if (p == NULL) {
        p = kb_new(struct fetch_partition);
        p->topic_id = t->topic_id;
        p->topic = topic != NULL ? kb_strdup(topic) : NULL;
        p->index = q->partition;
        p->sent_hw = -1;
        p->sent_log_start = -1;
        memcpy(p->key, key, sizeof(key));
        HASH_ADD(hh, s->map, key, sizeof(p->key), p);
        TAILQ_INSERT_TAIL(&s->partitions, p, order);
        s->count++;
        s->bytes += partition_bytes(p);
    }
    /* Unlike ListOffsets and OffsetForLeaderEpoch, here every negative epoch means none. */
    p->current_leader_epoch = q->current_leader_epoch >= 0 ? q->current_leader_epoch : -1;
    p->last_fetched_epoch = q->last_fetched_epoch >= 0 ? q->last_fetched_epoch : -1;
    p->offset = q->fetch_offset;
    p->max_bytes = q->partition_max_bytes;
    return s->bytes <= rq->arena.limit_bytes;
}

/* False when it is too much for one request. */
static bool take_all(struct fetch_session *s, struct node_request *rq,
                     const struct kw_fetch_request *req)
{
    for (int32_t i = 0; i < req->topics_count; i++) {
        for (int32_t k = 0; k < req->topics[i].partitions_count; k++)
            if (!take_partition(s, rq, &req->topics[i], &req->topics[i].partitions[k]))
                return false;
    }
    return true;
}

static void forget(struct fetch_session *s, struct node_request *rq,
                   const struct kw_fetch_request *req)
{
    for (int32_t i = 0; i < req->forgotten_topics_data_count; i++) {
        const struct kw_fetch_request_forgotten_topic *t = &req->forgotten_topics_data[i];
        for (int32_t k = 0; k < t->partitions_count; k++) {
            struct fetch_partition *p = NULL;
            uint8_t key[20];
            make_key(key, &t->topic_id, s->uses_ids ? NULL : api_text(rq, t->topic),
                     t->partitions[k]);
            HASH_FIND(hh, s->map, key, sizeof(key), p);
            if (p != NULL)
                partition_drop(s, p);
        }
    }
}

static enum kw_error continue_session(struct node_request *rq, const struct kw_fetch_request *req,
                                      struct fetch_session **ret)
{
    struct node *n = rq->node;
    struct api_fetch_sessions *t = sessions_of(n);
    struct fetch_session *s = NULL;
    HASH_FIND(hh, t->by_id, &req->session_id, sizeof(req->session_id), s);
    if (s == NULL || s->in_use)
        return KW_FETCH_SESSION_ID_NOT_FOUND;
    if (s->uses_ids != (rq->header.api_version >= 13))
        return KW_FETCH_SESSION_TOPIC_ID_ERROR;
    if (s->epoch != req->session_epoch)
        return KW_INVALID_FETCH_SESSION_EPOCH;
    s->epoch = s->epoch == INT32_MAX ? 1 : s->epoch + 1;
    size_t before = s->bytes;
    forget(s, rq, req);
    bool good = take_all(s, rq, req) && s->count <= FETCH_SESSION_PARTITIONS_MAX;
    t->bytes = t->bytes - before + s->bytes;
    s->in_use = true; /* and stays when room is made */
    good = good && s->bytes <= kept_bytes_max(n) && make_room(n, 0, 0);
    s->in_use = good;
    if (!good) { /* it has grown too large to be remembered: the next request names all */
        session_remove(n, s);
        return KW_FETCH_SESSION_ID_NOT_FOUND;
    }
    TAILQ_REMOVE(&t->lru, s, lru);
    TAILQ_INSERT_TAIL(&t->lru, s, lru);
    s->incremental = true;
    *ret = s;
    return KW_NONE;
}

enum kw_error fetch_session_open(struct node_request *rq, const struct kw_fetch_request *req,
                                 struct fetch_session **ret)
{
    struct node *n = rq->node;
    struct fetch_session *old = NULL;
    if (req->session_epoch > 0)
        return continue_session(rq, req, ret);
    if (req->session_id != 0) {
        HASH_FIND(hh, sessions_of(n)->by_id, &req->session_id, sizeof(req->session_id), old);
        if (old != NULL)
            session_remove(n, old);
    }
    struct fetch_session *s = session_new(rq->header.api_version >= 13);
    if (!take_all(s, rq, req)) {
        session_free(n, s);
        return KW_UNKNOWN_SERVER_ERROR;
    }
    if (rq->header.api_version >= 7 && req->session_epoch == 0 && s->count > 0 &&
        s->count <= FETCH_SESSION_PARTITIONS_MAX)
        session_keep(n, s);
    if (s->id == 0) {
        s->charged_bytes = s->bytes;
        kb_budget_charge(&n->answer_budget, s->bytes);
    }
    *ret = s;
    return KW_NONE;
}

void fetch_session_done(struct node *n, struct fetch_session *s)
{
    s->in_use = false;
    s->incremental = false;
    if (s->id == 0)
        session_free(n, s);
}

void fetch_session_rotate(struct fetch_session *s, struct fetch_partition *p)
{
    TAILQ_REMOVE(&s->partitions, p, order);
    TAILQ_INSERT_TAIL(&s->partitions, p, order);
}

static void sessions_free(struct node *n)
{
    struct fetch_session *s = NULL;
    struct fetch_session *next = NULL;
    if (n->fetch_sessions == NULL)
        return;
    HASH_ITER(hh, n->fetch_sessions->by_id, s, next)
    {
        HASH_DELETE(hh, n->fetch_sessions->by_id, s);
        session_free(n, s);
    }
    n->fetch_sessions = kb_free(n->fetch_sessions);
}
