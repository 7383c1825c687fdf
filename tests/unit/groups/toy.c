#include "tests/unit/groups/toy.h"

#include <stdio.h>
#include <stdlib.h>

#include "proto/base/assert.h"

enum { WALL_START_MS = 1000000 };

struct group_now toy_now(struct toy *t)
{
    int64_t wall_ms = WALL_START_MS + (int64_t)t->now_ms + t->wall_off_ms;
    return (struct group_now){t->now_ms, group_clock_read(&t->clock, t->now_ms, wall_ms)};
}

void toy_init(struct toy *t)
{
    *t = (struct toy){0};
    group_options_init(&t->options);
    t->options.seed = 1;
    toy_take_over(t);
}

static void record_release(struct toy_record *r)
{
    free(r->key);
    free(r->value);
}

void toy_release(struct toy *t)
{
    t->shard = group_shard_free(t->shard, KW_NONE, NULL);
    for (size_t i = 0; i < t->log_count; i++)
        record_release(&t->log[i]);
    free(t->log);
}

/* ---- answers
 * --------------------------------------------------------------------------------- */

static void copy(char *to, size_t size, const void *from, int32_t from_size)
{
    KB_ASSERT((size_t)from_size < size);
    if (from_size > 0)
        memcpy(to, from, (size_t)from_size);
    to[from_size] = '\0';
}

static void take_join(struct toy_client *c, const struct kw_join_group_response *r)
{
    if (r->error_code != KW_NONE) {
        if (r->error_code == KW_MEMBER_ID_REQUIRED)
            copy(c->member, sizeof(c->member), r->member_id.data, r->member_id.size);
        return;
    }
    copy(c->member, sizeof(c->member), r->member_id.data, r->member_id.size);
    c->generation = r->generation_id;
    c->leads = kw_str_equal(r->leader, r->member_id);
    c->skip_assignment = r->skip_assignment;
    c->members_count = 0;
    KB_ASSERT(r->members_count <= TOY_MEMBERS_MAX);
    for (int32_t i = 0; i < r->members_count; i++)
        copy(c->members[c->members_count++], sizeof(c->members[0]), r->members[i].member_id.data,
             r->members[i].member_id.size);
}

static void deliver(struct toy *t, struct group_reply *r)
{
    struct toy_client *c = NULL;
    for (size_t i = 0; i < t->clients_count && c == NULL; i++) {
        if (t->clients[i].waiting == r->token)
            c = &t->clients[i];
    }
    KB_ASSERT(c != NULL); /* each token is answered once */
    c->waiting = 0;
    if (r->kind == GROUP_REPLY_JOIN) {
        c->error = (enum kw_error)r->join.error_code;
        take_join(c, &r->join);
    } else {
        c->error = (enum kw_error)r->sync.error_code;
        if (c->error == KW_NONE)
            copy(c->assignment, sizeof(c->assignment), r->sync.assignment.data,
                 r->sync.assignment.size);
    }
    if (t->answered != NULL)
        t->answered(t->arg, c, r->kind);
}

static void log_record(struct toy *t, struct kb_view key, struct kb_view value)
{
    kb_array_reserve(t->log, t->log_count, t->log_capacity);
    struct toy_record *r = &t->log[t->log_count++];
    r->key = kb_memdup(key.data, key.size);
    r->key_size = key.size;
    r->value = value.data != NULL ? kb_memdup(value.data, value.size) : NULL;
    r->value_size = value.size;
    if (t->recorded != NULL)
        t->recorded(t->arg, r);
}

void toy_run(struct toy *t, struct group_effects *fx)
{
    struct group_reply *r = NULL;
    for (size_t i = 0; i < fx->records_count; i++) {
        struct kb_view key;
        struct kb_view value;
        group_effects_record(fx, i, &key, &value);
        log_record(t, key, value);
    }
    if (t->shard != NULL)
        group_effects_replay(t->shard, fx);
    while ((r = TAILQ_FIRST(&fx->replies)) != NULL) {
        TAILQ_REMOVE(&fx->replies, r, entries);
        deliver(t, r);
        (void)group_reply_free(r);
    }
    group_effects_release(fx);
}

/* ---- time
 * ------------------------------------------------------------------------------------ */

void toy_wait(struct toy *t, uint64_t ms)
{
    uint64_t until = t->now_ms + ms;
    int rounds = 0;
    while (group_shard_deadline(t->shard) <= until) {
        struct group_effects fx;
        uint64_t d = group_shard_deadline(t->shard);
        rounds = d > t->now_ms ? 0 : rounds + 1;
        KB_ASSERT(rounds < 1000); /* a timer that never goes off */
        if (d > t->now_ms)
            t->now_ms = d;
        group_effects_init(&fx);
        group_shard_tick(t->shard, toy_now(t), &fx);
        toy_run(t, &fx);
    }
    t->now_ms = until;
}

static struct group_shard *replayed(struct toy *t)
{
    struct group_shard *s = group_shard_new(&t->options);
    for (size_t i = 0; i < t->log_count; i++) {
        const struct toy_record *r = &t->log[i];
        int result = group_shard_replay(s, kb_view_of(r->key, r->key_size),
                                        kb_view_of(r->value, r->value_size));
        KB_ASSERT(result == GROUP_REPLAY_DONE);
    }
    return s;
}

void toy_take_over(struct toy *t)
{
    struct group_effects fx;
    group_effects_init(&fx);
    t->shard = group_shard_free(t->shard, KW_NOT_COORDINATOR, &fx);
    toy_run(t, &fx);
    t->options.seed++;
    t->shard = replayed(t);
    group_effects_init(&fx);
    group_shard_loaded(t->shard, toy_now(t), &fx);
    toy_run(t, &fx);
}

static bool superseded(const struct toy *t, size_t index)
{
    const struct toy_record *r = &t->log[index];
    for (size_t i = index + 1; i < t->log_count; i++) {
        if (t->log[i].key_size == r->key_size && memcmp(t->log[i].key, r->key, r->key_size) == 0)
            return true;
    }
    return r->value == NULL;
}

void toy_compact(struct toy *t)
{
    size_t kept = 0;
    for (size_t i = 0; i < t->log_count; i++) {
        if (superseded(t, i))
            record_release(&t->log[i]);
        else
            t->log[kept++] = t->log[i];
    }
    t->log_count = kept;
}

void toy_judge(struct toy *t)
{
    struct kb_buf live = {0};
    struct kb_buf loaded = {0};
    struct group_shard *s = replayed(t);
    group_shard_dump(t->shard, &live);
    group_shard_dump(s, &loaded);
    KB_ASSERT(live.size == loaded.size);
    KB_ASSERT(live.size == 0 || memcmp(live.data, loaded.data, live.size) == 0);
    s = group_shard_free(s, KW_NONE, NULL);
    kb_buf_release(&live);
    kb_buf_release(&loaded);
}

/* ---- clients
 * --------------------------------------------------------------------------------- */

struct toy_client *toy_client(struct toy *t, const char *name)
{
    for (size_t i = 0; i < t->clients_count; i++) {
        if (strcmp(t->clients[i].name, name) == 0)
            return &t->clients[i];
    }
    KB_ASSERT(t->clients_count < TOY_CLIENTS_MAX);
    struct toy_client *c = &t->clients[t->clients_count++];
    *c = (struct toy_client){
        .group = "g",
        .type = "consumer",
        .protocols = "range:x",
        .version = 9,
        .session_ms = 10000,
        .rebalance_ms = 60000,
        .generation = -1,
    };
    (void)snprintf(c->name, sizeof(c->name), "%s", name);
    return c;
}

static struct kw_str instance_of(const struct toy_client *c)
{
    return c->instance[0] != '\0' ? kw_str_of(c->instance) : kw_str_null();
}

static size_t split_protocols(char *text, struct kw_join_group_request_protocol *ret, size_t max)
{
    size_t count = 0;
    char *save = NULL;
    for (char *p = strtok_r(text, ",", &save); p != NULL && count < max;
         p = strtok_r(NULL, ",", &save)) {
        char *colon = strchr(p, ':');
        KB_ASSERT(colon != NULL);
        *colon = '\0';
        ret[count].name = kw_str_of(p);
        ret[count++].metadata = kw_bytes_of(colon + 1, strlen(colon + 1));
    }
    return count;
}

static struct group_caller caller_of(struct toy *t, struct toy_client *c)
{
    KB_ASSERT(c->waiting == 0);
    c->waiting = ++t->token;
    return (struct group_caller){.token = c->waiting,
                                 .version = c->version,
                                 .client_id = kw_str_of(c->name),
                                 .client_host = KW_STR("/127.0.0.1")};
}

void toy_join(struct toy *t, struct toy_client *c)
{
    struct kw_join_group_request_protocol protocols[8];
    struct kw_join_group_request req;
    struct group_effects fx;
    char text[sizeof(c->protocols)];
    memcpy(text, c->protocols, sizeof(text));
    kw_join_group_request_init(&req);
    req.group_id = kw_str_of(c->group);
    req.member_id = kw_str_of(c->member);
    req.group_instance_id = instance_of(c);
    req.session_timeout_ms = c->session_ms;
    req.rebalance_timeout_ms = c->rebalance_ms;
    req.protocol_type = kw_str_of(c->type);
    req.protocols = protocols;
    req.protocols_count = (int32_t)split_protocols(text, protocols, 8);
    struct group_caller caller = caller_of(t, c);
    group_effects_init(&fx);
    group_shard_join(t->shard, toy_now(t), &caller, &req, &fx);
    toy_run(t, &fx);
}

/* "a=b,c=d" into assignments; or p0, p1, … for the members. */
static size_t assignments_of(const struct toy_client *c, char *give, char (*texts)[32],
                             struct kw_sync_group_request_assignment *ret)
{
    size_t count = 0;
    char *save = NULL;
    if (give == NULL) {
        for (; c->leads && !c->skip_assignment && count < c->members_count; count++) {
            (void)snprintf(texts[count], sizeof(texts[0]), "p%zu", count);
            ret[count].member_id = kw_str_of(c->members[count]);
            ret[count].assignment = kw_bytes_of(texts[count], strlen(texts[count]));
        }
        return count;
    }
    for (char *p = strtok_r(give, ",", &save); p != NULL && count < TOY_MEMBERS_MAX;
         p = strtok_r(NULL, ",", &save)) {
        char *equals = strchr(p, '=');
        KB_ASSERT(equals != NULL);
        *equals = '\0';
        ret[count].member_id = kw_str_of(p);
        ret[count++].assignment = kw_bytes_of(equals + 1, strlen(equals + 1));
    }
    return count;
}

void toy_sync(struct toy *t, struct toy_client *c, const char *give)
{
    struct kw_sync_group_request_assignment assignments[TOY_MEMBERS_MAX];
    struct kw_sync_group_request req;
    struct group_effects fx;
    char texts[TOY_MEMBERS_MAX][32];
    char *copied = give != NULL ? kb_strdup(give) : NULL;
    kw_sync_group_request_init(&req);
    req.group_id = kw_str_of(c->group);
    req.member_id = kw_str_of(c->member);
    req.group_instance_id = instance_of(c);
    req.generation_id = c->generation;
    req.assignments = assignments;
    req.assignments_count = (int32_t)assignments_of(c, copied, texts, assignments);
    struct group_caller caller = caller_of(t, c);
    caller.version = 5;
    group_effects_init(&fx);
    group_shard_sync(t->shard, toy_now(t), &caller, &req, &fx);
    toy_run(t, &fx);
    free(copied);
}

enum kw_error toy_heartbeat(struct toy *t, struct toy_client *c)
{
    struct kw_heartbeat_request req;
    kw_heartbeat_request_init(&req);
    req.group_id = kw_str_of(c->group);
    req.member_id = kw_str_of(c->member);
    req.group_instance_id = instance_of(c);
    req.generation_id = c->generation;
    return group_shard_heartbeat(t->shard, toy_now(t), &req);
}

enum kw_error toy_leave(struct toy *t, struct toy_client *c)
{
    struct kw_leave_group_request_member member = {.member_id = kw_str_of(c->member),
                                                   .group_instance_id = instance_of(c)};
    struct kw_leave_group_request req;
    struct kw_leave_group_response resp;
    struct group_effects fx;
    struct kb_arena arena;
    kb_arena_init(&arena, 1 << 20);
    kw_leave_group_request_init(&req);
    req.group_id = kw_str_of(c->group);
    req.members = &member;
    req.members_count = 1;
    group_effects_init(&fx);
    int r = group_shard_leave(t->shard, toy_now(t), 5, &req, &arena, &resp, &fx);
    KB_ASSERT(r == 0);
    enum kw_error error = (enum kw_error)resp.error_code;
    if (error == KW_NONE)
        error = (enum kw_error)resp.members[0].error_code;
    kb_arena_release(&arena);
    toy_run(t, &fx);
    return error;
}

void toy_crash(struct toy *t, struct toy_client *c)
{
    struct group_effects fx;
    if (c->waiting == 0)
        return;
    group_effects_init(&fx);
    group_shard_forget(t->shard, toy_now(t), c->waiting, &fx);
    c->waiting = 0;
    toy_run(t, &fx);
}

enum kw_error toy_commit(struct toy *t, struct toy_client *c, const char *topic, int32_t partition,
                         int64_t offset, const char *metadata)
{
    struct kw_offset_commit_request_partition p;
    struct kw_offset_commit_request_topic q = {
        .name = kw_str_of(topic), .partitions = &p, .partitions_count = 1};
    struct kw_offset_commit_request req;
    struct kw_offset_commit_response resp;
    struct group_effects fx;
    struct kb_arena arena;
    kb_arena_init(&arena, 1 << 20);
    kw_offset_commit_request_init(&req);
    kw_offset_commit_request_partition_init(&p);
    p.partition_index = partition;
    p.committed_offset = offset;
    p.committed_metadata = kw_str_of(metadata);
    req.group_id = kw_str_of(c->group);
    req.member_id = kw_str_of(c->member);
    req.group_instance_id = instance_of(c);
    req.generation_id_or_member_epoch = c->generation;
    req.topics = &q;
    req.topics_count = 1;
    group_effects_init(&fx);
    int r = group_shard_commit(t->shard, toy_now(t), 9, &req, &arena, &resp, &fx);
    KB_ASSERT(r == 0);
    enum kw_error error = (enum kw_error)resp.topics[0].partitions[0].error_code;
    kb_arena_release(&arena);
    toy_run(t, &fx);
    return error;
}

int64_t toy_fetch(struct toy *t, const char *group, const char *topic, int32_t partition)
{
    struct kw_offset_fetch_request_group_topic q = {
        .name = kw_str_of(topic), .partition_indexes = &partition, .partition_indexes_count = 1};
    struct kw_offset_fetch_request_group req;
    struct kw_offset_fetch_response_group resp;
    struct kb_arena arena;
    kb_arena_init(&arena, 1 << 20);
    kw_offset_fetch_request_group_init(&req);
    req.group_id = kw_str_of(group);
    req.topics = &q;
    req.topics_count = 1;
    int r = group_shard_fetch(t->shard, &req, false, &arena, &resp);
    KB_ASSERT(r == 0);
    int64_t offset = resp.topics[0].partitions[0].committed_offset;
    kb_arena_release(&arena);
    return offset;
}
