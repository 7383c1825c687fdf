#ifndef TESTS_GROUPS_TOY_H
#define TESTS_GROUPS_TOY_H

#include "coordinator/groups/clock.h"
#include "coordinator/groups/shard.h"

/* The caller of one shard, in virtual time: keeps its log, replays at once, hands replies to the
 * clients that wait, and judges after every step:
 *   - replaying the log, and the compacted log, gives the live shard's replicated state (G11),
 *   - generations never fall (G3). */

enum { TOY_CLIENTS_MAX = 32, TOY_MEMBERS_MAX = 64, TOY_TEXT_MAX = 64 };

struct toy_record {
    uint8_t *key;
    size_t key_size;
    uint8_t *value; /* NULL: tombstone */
    size_t value_size;
};

/* A consumer, as a client library sees itself. */
struct toy_client {
    char name[TOY_TEXT_MAX];
    char group[TOY_TEXT_MAX];
    char member[256];
    char instance[TOY_TEXT_MAX]; /* "" = dynamic */
    char type[TOY_TEXT_MAX];
    char protocols[256]; /* name:metadata,name:metadata */
    int16_t version;
    int32_t session_ms;
    int32_t rebalance_ms;
    int32_t generation;
    bool leads;
    bool skip_assignment;
    char assignment[256];
    uint64_t waiting;    /* token, 0 = not parked */
    enum kw_error error; /* of the last answer */
    size_t members_count;
    char members[TOY_MEMBERS_MAX][256];
};

struct toy {
    struct group_options options;
    struct group_shard *shard;
    struct group_clock clock;
    uint64_t now_ms;
    int64_t wall_off_ms; /* wall = 1,000,000 + now + off */
    struct toy_record *log;
    size_t log_count;
    size_t log_capacity;
    struct toy_client clients[TOY_CLIENTS_MAX];
    size_t clients_count;
    uint64_t token;
    /* Told about each answer; may be NULL. */
    void (*answered)(void *arg, struct toy_client *c, enum group_reply_kind kind);
    /* Told about each record when it is replayed; may be NULL. */
    void (*recorded)(void *arg, const struct toy_record *r);
    void *arg;
};

void toy_init(struct toy *t);
void toy_release(struct toy *t);
struct group_now toy_now(struct toy *t);
/* Carry out effects: log, replay, answer; released. */
void toy_run(struct toy *t, struct group_effects *fx);
/* Let time pass, timers included. */
void toy_wait(struct toy *t, uint64_t ms);
/* Another coordinator takes over: a new shard from the log; who waits gets NOT_COORDINATOR. */
void toy_take_over(struct toy *t);
/* Keep the newest record of each key. */
void toy_compact(struct toy *t);
void toy_judge(struct toy *t);

struct toy_client *toy_client(struct toy *t, const char *name);
void toy_join(struct toy *t, struct toy_client *c);
/* give: "member=text,…", or NULL: a leader gives p0, p1, … in the order of the members. */
void toy_sync(struct toy *t, struct toy_client *c, const char *give);
enum kw_error toy_heartbeat(struct toy *t, struct toy_client *c);
enum kw_error toy_leave(struct toy *t, struct toy_client *c);
/* The connection closes. */
void toy_crash(struct toy *t, struct toy_client *c);
/* One partition of topic t; as the member, or with c->generation -1 and no member id. */
enum kw_error toy_commit(struct toy *t, struct toy_client *c, const char *topic, int32_t partition,
                         int64_t offset, const char *metadata);
/* -1: none. */
int64_t toy_fetch(struct toy *t, const char *group, const char *topic, int32_t partition);

#endif
