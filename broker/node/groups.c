/* Consumer group shards of the __consumer_offsets partitions led here: loading, appends, and
 * answers that wait for their commit (replication rules 6.3, 6.7). */
#include "broker/node/node_internal.h"
#include "coordinator/groups/clock.h"
#include "coordinator/groups/shard.h"
#include "proto/base/mutant.h"

enum {
    LOAD_BYTES = 1 << 20,
    RELOAD_MS = 200,
    LOAD_AGAIN_MS = 20,
    GROUPS_SHARE_PERCENT = 7, /* of the memory limit: groups and offsets of all shards */
};

/* A plain answer that waits for a commit. */
struct group_answer {
    struct node_request *rq;
    node_body_write_fn *write;
    const void *body; /* in the request's arena */
    node_group_fail_fn *fail;
    node_group_done_fn *done; /* not NULL: told instead of answering */
    TAILQ_ENTRY(group_answer) entries;
};
TAILQ_HEAD(group_answers, group_answer);

/* Records of one command on their way, and everything that rests on them. */
struct group_batch {
    struct node_append_op append;
    struct node_group *group;
    struct kb_block *block;
    bool done;
    uint64_t deadline_ms; /* who waits longer for its commit is told so */
    struct group_replies replies;
    struct group_answers answers;
    TAILQ_ENTRY(group_batch) entries;
};

struct node_group {
    struct node *node;
    struct node_partition *partition;
    struct group_shard *shard;
    bool loading;
    bool load_complete; /* replayed; waits for the high watermark to reach the epoch's start */
    bool failed;        /* an append failed: the shard is freed and loaded anew */
    int64_t load_end;
    struct log_read read;
    bool reading;
    struct node_load load;
    bool copying;
    bool orphan; /* freed while a copy was under way: in the table's orphans */
    LIST_ENTRY(node_group) orphans;
    uint64_t reload_ms;
    TAILQ_HEAD(group_batch_list, group_batch) batches; /* deadlines never fall along it */
    struct kb_map parked;                              /* token -> struct node_request */
    struct kb_timer *timer;
};

struct node_group_table {
    uint64_t next_token;
    LIST_HEAD(, node_group) orphans;
    struct group_memory memory; /* of all shards */
};

static void load_more(struct node_group *g);

static struct node_group_table *table_of(struct node *n)
{
    if (n->groups == NULL) {
        n->groups = kb_new(struct node_group_table);
        n->groups->memory.limit_bytes =
            (size_t)(n->config.memory_max_bytes / 100 * GROUPS_SHARE_PERCENT);
    }
    return n->groups;
}

static struct group_now now_of(struct node_group *g)
{
    return (struct group_now){.mono_ms = node_now(g->node), .wall_ms = node_wall_ms(g->node)};
}

/* ---- answering
 * --------------------------------------------------------------------------------------- */

static void write_join(struct kw_writer *w, int16_t version, const void *body)
{
    struct kw_join_group_response resp = *(const struct kw_join_group_response *)body;
    if (version >= 7 && resp.error_code != KW_NONE)
        resp.protocol_name = kw_str_null();
    kw_join_group_response_write(w, version, &resp);
}

static void write_sync(struct kw_writer *w, int16_t version, const void *body)
{
    kw_sync_group_response_write(w, version, body);
}

static void send_reply(struct node_group *g, struct group_reply *r)
{
    struct node_request *rq = kb_map_remove(&g->parked, r->token);
    if (rq != NULL) {
        rq->op = NULL;
        rq->cancel = NULL;
        if (g->node->freeing)
            node_request_free(rq);
        else if (r->kind == GROUP_REPLY_JOIN)
            node_request_reply(rq, write_join, &r->join);
        else
            node_request_reply(rq, write_sync, &r->sync);
    }
    (void)group_reply_free(r);
}

static void send_replies(struct node_group *g, struct group_replies *replies)
{
    struct group_reply *r = NULL;
    while ((r = TAILQ_FIRST(replies)) != NULL) {
        TAILQ_REMOVE(replies, r, entries);
        send_reply(g, r);
    }
}

static void send_answer(struct node_group *g, struct group_answer *a, enum kw_error error)
{
    if (g->node->freeing)
        node_request_free(a->rq);
    else if (a->done != NULL)
        a->done(a->rq, error);
    else if (error == KW_NONE)
        node_request_reply(a->rq, a->write, a->body);
    else
        a->fail(a->rq, error);
    (void)kb_free(a);
}

/* Everything that rests on this batch hears of its end, or that it takes too long. */
static void batch_answer(struct group_batch *b, enum kw_error error)
{
    struct node_group *g = b->group;
    struct group_reply *r = NULL;
    struct group_answer *a = NULL;
    if (error != KW_NONE) {
        TAILQ_FOREACH(r, &b->replies, entries)
        {
            kw_join_group_response_init(&r->join);
            kw_sync_group_response_init(&r->sync);
            r->join.error_code = (int16_t)error;
            r->join.generation_id = -1;
            r->sync.error_code = (int16_t)error;
        }
    }
    send_replies(g, &b->replies);
    while ((a = TAILQ_FIRST(&b->answers)) != NULL) {
        TAILQ_REMOVE(&b->answers, a, entries);
        send_answer(g, a, error);
    }
}

static void batch_finish(struct group_batch *b, enum kw_error error)
{
    TAILQ_REMOVE(&b->group->batches, b, entries);
    batch_answer(b, error);
    (void)kb_block_unref(b->block);
    (void)kb_free(b);
}

/* Everything that waits hears the error; the shard is gone (rule 1.5). */
static void shard_drop(struct node_group *g, enum kw_error error)
{
    struct group_effects fx;
    struct group_batch *b = NULL;
    group_effects_init(&fx);
    g->shard = group_shard_free(g->shard, error, &fx);
    send_replies(g, &fx.replies);
    group_effects_release(&fx);
    while ((b = TAILQ_FIRST(&g->batches)) != NULL) {
        if (!b->done)
            node_append_cancel(&b->append);
        batch_finish(b, error);
    }
    if (g->reading)
        log_read_cancel(&g->read);
    g->reading = false;
    g->loading = false;
    g->load_complete = false;
}

/* ---- appends
 * ------------------------------------------------------------------------------------------ */

/* In order: what is committed behind something that is not yet waits for it. */
static void batches_check(struct node_group *g)
{
    struct group_batch *b = NULL;
    while ((b = TAILQ_FIRST(&g->batches)) != NULL && b->done)
        batch_finish(b, KW_NONE);
}

/* Commits do not end: too few replicas, or their disks stand still. */
static bool is_stuck(struct node_group *g)
{
    struct group_batch *b = TAILQ_FIRST(&g->batches);
    return b != NULL && !b->done && b->deadline_ms <= node_now(g->node);
}

/* A client hears of a commit that does not end within offsets.commit.timeout.ms. The batch stays:
 * it is in the log, replayed, and what comes behind it waits for it. */
static void batches_expire(struct node_group *g)
{
    struct group_batch *b = NULL;
    uint64_t now_ms = node_now(g->node);
    TAILQ_FOREACH(b, &g->batches, entries)
    {
        if (b->deadline_ms > now_ms)
            return;
        batch_answer(b, KW_COORDINATOR_NOT_AVAILABLE);
    }
}

static uint64_t batches_deadline(struct node_group *g)
{
    struct group_batch *b = NULL;
    TAILQ_FOREACH(b, &g->batches, entries)
    {
        if (!TAILQ_EMPTY(&b->answers) || !TAILQ_EMPTY(&b->replies))
            return b->deadline_ms;
    }
    return UINT64_MAX;
}

static void on_appended(struct node_append_op *op)
{
    struct group_batch *b = (struct group_batch *)op;
    struct node_group *g = b->group;
    b->done = true;
    if (op->error == KW_NONE) {
        kb_timer_arm(g->timer, 0); /* answers leave as an event of their own */
        return;
    }
    kb_log_warn("groups", "event=append_failed tp=%s-%d error=%s", g->partition->topic,
                g->partition->index, kw_error_name(op->error));
    g->failed = true;
    kb_timer_arm(g->timer, 0);
}

static struct kb_block *records_block(struct node_group *g, const struct group_effects *fx)
{
    struct kw_batch_builder builder;
    struct kb_block *block = NULL;
    int r = 0;
    kw_batch_builder_init(&builder);
    for (size_t i = 0; i < fx->records_count && r == 0; i++) {
        struct kb_view key;
        struct kb_view value;
        group_effects_record(fx, i, &key, &value);
        r = kw_batch_builder_add(&builder, kb_env_wall_ms(g->node->env),
                                 kw_bytes_of(key.data, key.size),
                                 (struct kw_bytes){value.data, (int32_t)value.size});
    }
    if (r == 0)
        r = kw_batch_builder_finish(&builder, &block);
    kw_batch_builder_release(&builder);
    return r == 0 ? block : NULL;
}

static void arm_timer(struct node_group *g)
{
    if (g->shard == NULL || g->loading)
        return;
    uint64_t deadline = group_shard_deadline(g->shard);
    uint64_t answers = batches_deadline(g);
    uint64_t now_ms = node_now(g->node);
    struct group_batch *first = TAILQ_FIRST(&g->batches);
    if (is_stuck(g) && deadline < now_ms + RELOAD_MS)
        deadline = now_ms + RELOAD_MS; /* the shard's timers stand still */
    if (answers < deadline)
        deadline = answers;
    if (g->failed || (first != NULL && first->done))
        kb_timer_arm(g->timer, 0);
    else if (deadline != UINT64_MAX)
        kb_timer_arm(g->timer, deadline > now_ms ? deadline - now_ms : 0);
    else
        kb_timer_cancel(g->timer);
}

/* Carry out effects of a handler; a (may be NULL) is its own answer. */
static void submit(struct node_group *g, struct group_effects *fx, struct group_answer *a)
{
    struct group_batch *b = NULL;
    if (fx->records_count == 0) {
        b = TAILQ_LAST(&g->batches, group_batch_list);
        if (b == NULL || KB_MUTANT("group-reads-before-commit")) {
            send_replies(g, &fx->replies);
            if (a != NULL)
                send_answer(g, a, KW_NONE);
        } else {
            TAILQ_CONCAT(&b->replies, &fx->replies, entries);
            if (a != NULL)
                TAILQ_INSERT_TAIL(&b->answers, a, entries);
        }
        group_effects_release(fx);
        return;
    }
    b = kb_new(struct group_batch);
    b->group = g;
    b->deadline_ms = node_now(g->node) + g->node->config.group_commit_timeout_ms;
    TAILQ_INIT(&b->replies);
    TAILQ_INIT(&b->answers);
    TAILQ_CONCAT(&b->replies, &fx->replies, entries);
    if (a != NULL)
        TAILQ_INSERT_TAIL(&b->answers, a, entries);
    TAILQ_INSERT_TAIL(&g->batches, b, entries);
    if (KB_MUTANT("group-answers-before-commit"))
        batch_answer(b, KW_NONE);
    b->block = records_block(g, fx);
    group_effects_replay(g->shard, fx);
    group_effects_release(fx);
    if (b->block == NULL) { /* larger than a batch can be */
        b->append.error = KW_UNKNOWN_SERVER_ERROR;
        on_appended(&b->append);
        return;
    }
    b->append.partition = g->partition;
    b->append.block = b->block;
    b->append.size = b->block->size;
    b->append.acks = -1;
    b->append.internal = true;
    b->append.done = on_appended;
    node_append(&b->append);
}

/* ---- the timer: commits, failures, the shard's own deadlines
 * --------------------------------------------- */

static void start_loading(struct node_group *g);

/* Asked before the shard hears of anything that appends: a refused batch costs the shard. A log
 * that knows its disk to be full refuses (9.3). */
static bool can_append(struct node_group *g)
{
    return !log_is_full(g->partition->log) &&
           rep_check_append(g->partition->rep, -1, node_now(g->node)) == REP_APPEND_OK;
}

static void on_timer(void *arg)
{
    struct node_group *g = arg;
    if (g->failed) {
        g->failed = false;
        shard_drop(g, KW_NOT_COORDINATOR);
        g->reload_ms = node_now(g->node) + RELOAD_MS;
        kb_timer_arm(g->timer, RELOAD_MS);
        return;
    }
    if (g->shard == NULL && !g->loading) {
        if (!g->copying && node_now(g->node) >= g->reload_ms)
            start_loading(g);
        else
            kb_timer_arm(g->timer, RELOAD_MS);
        return;
    }
    batches_check(g);
    batches_expire(g);
    if (g->loading) {
        if (!g->load_complete && !g->reading && !g->copying)
            load_more(g);
        return;
    }
    struct group_now now = now_of(g);
    if (group_shard_deadline(g->shard) <= now.mono_ms) {
        if (!can_append(g) || is_stuck(g)) {
            uint64_t answers = batches_deadline(g);
            bool sooner = answers < now.mono_ms + RELOAD_MS;
            kb_timer_arm(g->timer, sooner ? answers - now.mono_ms : RELOAD_MS);
            return;
        }
        struct group_effects fx;
        group_effects_init(&fx);
        group_shard_tick(g->shard, now, &fx);
        submit(g, &fx, NULL);
    }
    if (!g->failed)
        arm_timer(g);
}

/* ---- loading (rule 6.7)
 * --------------------------------------------------------------------------------------- */

static void load_finish(struct node_group *g)
{
    struct group_effects fx;
    if (!g->load_complete ||
        (rep_hw(g->partition->rep) < g->load_end && !KB_MUTANT("group-loaded-before-commit")))
        return; /* node_groups_committed comes back */
    g->loading = false;
    g->load_complete = false;
    group_effects_init(&fx);
    group_shard_loaded(g->shard, now_of(g), &fx);
    kb_log_info("groups", "event=loaded tp=%s-%d end=%lld", g->partition->topic,
                g->partition->index, (long long)g->load_end);
    submit(g, &fx, NULL);
    arm_timer(g);
    node_holds_run(g->node);
}

static int replay_batch(struct node_group *g, const struct kw_batch *b)
{
    struct kw_records *it = NULL;
    struct kw_record record;
    if (kw_batch_is(b, KW_BATCH_CONTROL) || kw_batch_last_offset(b) >= g->load_end)
        return 0;
    int r = kw_records_open(b, g->node->config.request_bytes_max, &it);
    if (r < 0)
        return r;
    while ((r = kw_records_next(it, &record)) == 1) {
        int replayed = group_shard_replay(g->shard, kw_bytes_view(record.key),
                                          kw_bytes_view(record.value));
        if (replayed < 0)
            kb_log_warn("groups", "event=record_ignored tp=%s-%d offset=%lld error=%s",
                        g->partition->topic, g->partition->index, (long long)record.offset,
                        kb_err_name(replayed));
    }
    (void)kw_records_close(it);
    return r;
}

static void on_bytes(struct node_load *load, int result)
{
    struct node_group *g = load->user;
    struct kw_batches it;
    struct kw_batch b;
    bool nothing = load->bytes.size == 0; /* the tail is not written yet */
    g->copying = false;
    if (g->orphan) {
        LIST_REMOVE(g, orphans);
        node_load_release(load);
        (void)kb_free(g);
        return;
    }
    if (result == 0 && g->shard != NULL && g->loading) {
        kw_batches_init(&it, load->bytes.data, load->bytes.size);
        while (result == 0 && kw_batches_next(&it, &b) == KW_BATCHES_ONE)
            result = kw_batch_crc_ok(&b) ? replay_batch(g, &b) : -KB_ECORRUPT;
    }
    node_load_release(load);
    if (g->shard == NULL || !g->loading)
        return; /* leadership was lost meanwhile */
    if (result < 0) {
        kb_log_error("groups", "event=load_failed tp=%s-%d error=%s", g->partition->topic,
                     g->partition->index, kb_err_name(result));
        g->failed = true;
        kb_timer_arm(g->timer, 0);
        return;
    }
    g->read.offset = g->read.next_offset;
    if (g->read.offset >= g->load_end) {
        g->load_complete = true;
        load_finish(g);
    } else if (nothing) {
        kb_timer_arm(g->timer, LOAD_AGAIN_MS);
    } else {
        load_more(g);
    }
}

static void on_read(struct log_read *r, int result)
{
    struct node_group *g = r->user;
    g->reading = false;
    if (result != LOG_READ_OK) {
        struct node_partition *p = g->partition;
        g->failed = true;
        kb_timer_arm(g->timer, RELOAD_MS);
        if (result == -KB_ECORRUPT) /* ends the lead, and g with it */
            node_partition_damaged(p, log_generation(p->log), r->offset);
        return;
    }
    g->copying = true;
    g->load.done = on_bytes;
    g->load.user = g;
    node_load_start(g->node, &g->load, &r->records);
}

static void load_more(struct node_group *g)
{
    g->read.bound_offset = g->load_end;
    g->read.max_bytes = LOAD_BYTES;
    g->read.min_one = true;
    g->read.done = on_read;
    g->read.user = g;
    int r = log_read(g->partition->log, &g->read);
    if (r == LOG_READ_PENDING)
        g->reading = true;
    else
        on_read(&g->read, r);
}

static bool find_topic(void *arg, struct kw_str *name, struct kb_uuid *id, int32_t *ret_partitions)
{
    struct node *n = arg;
    char text[META_TOPIC_NAME_MAX + 1];
    const struct meta_topic *t = NULL;
    if (name->data == NULL) {
        t = meta_image_topic_by_id(n->image, id);
    } else if (name->size <= META_TOPIC_NAME_MAX) {
        memcpy(text, name->data, (size_t)name->size);
        text[name->size] = '\0';
        t = meta_image_topic(n->image, text);
    }
    if (t == NULL)
        return false;
    *name = kw_str_of(t->name);
    *id = t->id;
    *ret_partitions = (int32_t)t->partitions_count;
    return true;
}

static void start_loading(struct node_group *g)
{
    struct node *n = g->node;
    struct group_options o;
    group_options_init(&o);
    o.memory = &table_of(n)->memory;
    o.shard_bytes_max = o.memory->limit_bytes;
    o.session_min_ms = n->config.group_session_min_ms;
    o.session_max_ms = n->config.group_session_max_ms;
    o.initial_delay_ms = n->config.group_initial_delay_ms;
    o.members_max = n->config.group_members_max;
    o.offset_retention_ms = n->config.offsets_retention_ms;
    o.expiry_interval_ms = n->config.offsets_retention_check_ms;
    o.offset_metadata_max = n->config.offset_metadata_bytes_max;
    o.seed = kb_env_random_u64(n->env);
    o.topic = find_topic;
    o.topic_arg = n;
    g->shard = group_shard_new(&o);
    g->loading = true;
    g->load_complete = false;
    g->load_end = KB_MUTANT("group-loaded-to-hw") ? rep_hw(g->partition->rep)
                                                  : log_end_offset(g->partition->log);
    g->read.offset = log_start_offset(g->partition->log);
    if (g->read.offset >= g->load_end) {
        g->load_complete = true;
        load_finish(g);
        return;
    }
    load_more(g);
}

/* ---- the partition's role
 * ---------------------------------------------------------------------------------------- */

static void group_free(struct node_group *g)
{
    size_t cursor = 0;
    struct node_request *rq = NULL;
    shard_drop(g, KW_NOT_COORDINATOR);
    while ((rq = kb_map_next(&g->parked, &cursor, NULL)) != NULL) {
        rq->cancel = NULL;
        node_request_free(rq);
    }
    kb_map_release(&g->parked);
    (void)kb_timer_free(g->timer);
    if (g->copying && !g->node->freeing) {
        g->orphan = true; /* the read under way ends in on_bytes */
        LIST_INSERT_HEAD(&g->node->groups->orphans, g, orphans);
        return;
    }
    node_load_release(&g->load);
    (void)kb_free(g);
}

void node_groups_leader(struct node_partition *p, bool leading)
{
    struct node *n = p->node;
    struct node_group *g = p->group;
    if (g != NULL) {
        p->group = NULL;
        group_free(g);
    }
    if (!leading && !KB_MUTANT("group-served-after-resigning"))
        return;
    g = kb_new(struct node_group);
    g->node = n;
    g->partition = p;
    TAILQ_INIT(&g->batches);
    g->timer = kb_timer_new(n->env, on_timer, g);
    p->group = g;
    start_loading(g);
}

void node_groups_committed(struct node_partition *p)
{
    struct node_group *g = p->group;
    if (g->loading && g->load_complete)
        load_finish(g);
}

void node_groups_free(struct node *n)
{
    struct node_partition *p = NULL;
    struct node_group *g = NULL;
    for (p = n->partitions; p != NULL; p = p->hh.next) {
        if (p->group == NULL)
            continue;
        group_free(p->group);
        p->group = NULL;
    }
    while (n->groups != NULL && (g = LIST_FIRST(&n->groups->orphans)) != NULL) {
        LIST_REMOVE(g, orphans);
        node_load_release(&g->load);
        (void)kb_free(g);
    }
    n->groups = kb_free(n->groups);
}

void node_groups_topic_deleted(struct node *n, const char *topic, const struct kb_uuid *topic_id)
{
    struct node_partition *p = NULL;
    for (p = n->partitions; p != NULL; p = p->hh.next) {
        struct node_group *g = p->group;
        struct group_effects fx;
        if (g == NULL || g->shard == NULL || g->loading)
            continue;
        if (!can_append(g) || is_stuck(g)) {
            group_shard_topics_changed(g->shard, now_of(g));
            arm_timer(g);
            continue;
        }
        group_effects_init(&fx);
        group_shard_topic_deleted(g->shard, kw_str_of(topic), topic_id, &fx);
        submit(g, &fx, NULL);
    }
}

/* ---- for the APIs
 * ---------------------------------------------------------------------------------------------------
 */

struct node_group *node_group_of(struct node *n, struct kw_str group_id, enum kw_error *ret_error)
{
    const struct meta_topic *t = meta_image_topic(n->image, NODE_OFFSETS_TOPIC);
    if (t == NULL) {
        *ret_error = KW_COORDINATOR_NOT_AVAILABLE;
        return NULL;
    }
    int32_t index = group_partition_for(group_id, (int32_t)t->partitions_count);
    struct node_partition *p = node_partition_find(n, &t->id, index);
    struct node_group *g = p != NULL ? p->group : NULL;
    if (g == NULL) {
        /* Named already, but its log is still being made or opened. */
        const struct meta_partition *mp = meta_topic_partition(t, index);
        bool coming = mp != NULL && mp->leader == n->config.node_id && n->broker_epoch != 0 &&
                      mp->leader_broker_epoch == n->broker_epoch;
        *ret_error = coming ? KW_COORDINATOR_LOAD_IN_PROGRESS : KW_NOT_COORDINATOR;
        return NULL;
    }
    if (rep_is_cut_off(p->rep, node_now(n)) && !KB_MUTANT("group-served-while-cut-off")) {
        *ret_error = KW_NOT_COORDINATOR;
        return NULL;
    }
    *ret_error = g->loading || g->shard == NULL || g->failed ? KW_COORDINATOR_LOAD_IN_PROGRESS
                                                             : KW_NONE;
    return *ret_error == KW_NONE ? g : NULL;
}

/* Rule 3.6: what cannot be appended is refused before the shard hears of it. */
struct node_group *node_group_to_write(struct node *n, struct kw_str group_id,
                                       enum kw_error *ret_error)
{
    struct node_group *g = node_group_of(n, group_id, ret_error);
    if (g == NULL || (can_append(g) && !is_stuck(g)))
        return g;
    *ret_error = KW_COORDINATOR_NOT_AVAILABLE;
    return NULL;
}

struct group_shard *node_group_shard(struct node_group *g)
{
    return g->shard;
}

struct group_shard *node_group_ready_shard(struct node_group *g)
{
    return g->loading || g->failed ? NULL : g->shard;
}

void node_group_now(struct node_group *g, uint64_t *ret_mono_ms, int64_t *ret_wall_ms)
{
    struct group_now now = now_of(g);
    *ret_mono_ms = now.mono_ms;
    *ret_wall_ms = now.wall_ms;
}

/* ---- JoinGroup and SyncGroup park ---- */

struct group_park {
    struct node_group *group;
    uint64_t token;
};

static void park_cancel(struct node_request *rq)
{
    struct group_park *k = rq->op;
    struct node_group *g = k->group;
    struct group_effects fx;
    (void)kb_map_remove(&g->parked, k->token);
    if (g->shard != NULL && !g->loading && !g->node->freeing) {
        group_effects_init(&fx);
        group_shard_forget(g->shard, now_of(g), k->token, &fx);
        submit(g, &fx, NULL);
        arm_timer(g);
    }
    node_request_free(rq);
}

static bool park(struct node_group *g, struct node_request *rq, struct group_caller *ret)
{
    struct node *n = g->node;
    struct group_park *k = kb_arena_new(&rq->arena, struct group_park);
    if (k == NULL)
        return false;
    k->group = g;
    k->token = ++table_of(n)->next_token;
    rq->op = k;
    rq->cancel = park_cancel;
    (void)kb_map_put(&g->parked, k->token, rq);
    *ret = (struct group_caller){
        .token = k->token,
        .version = rq->header.api_version,
        .client_id = rq->header.client_id.data != NULL ? rq->header.client_id : KW_STR(""),
        .client_host = kw_str_of(rq->client_host),
    };
    return true;
}

void node_group_join(struct node_group *g, struct node_request *rq,
                     const struct kw_join_group_request *req)
{
    struct group_caller caller;
    struct group_effects fx;
    if (!park(g, rq, &caller)) {
        node_request_reject(rq, "out of memory");
        return;
    }
    group_effects_init(&fx);
    group_shard_join(g->shard, now_of(g), &caller, req, &fx);
    submit(g, &fx, NULL);
    arm_timer(g);
}

void node_group_sync(struct node_group *g, struct node_request *rq,
                     const struct kw_sync_group_request *req)
{
    struct group_caller caller;
    struct group_effects fx;
    if (!park(g, rq, &caller)) {
        node_request_reject(rq, "out of memory");
        return;
    }
    group_effects_init(&fx);
    group_shard_sync(g->shard, now_of(g), &caller, req, &fx);
    submit(g, &fx, NULL);
    arm_timer(g);
}

void node_group_submit(struct node_group *g, struct group_effects *fx, struct node_request *rq,
                       node_body_write_fn *write, const void *body, node_group_fail_fn *fail)
{
    struct group_answer *a = NULL;
    if (rq != NULL) {
        a = kb_new(struct group_answer);
        a->rq = rq;
        a->write = write;
        a->body = body;
        a->fail = fail;
    }
    submit(g, fx, a);
    if (!g->failed)
        arm_timer(g);
}

bool node_group_settle(struct node_group *g, bool prove, struct node_request *rq,
                       node_group_done_fn *done)
{
    struct group_answer *a = NULL;
    struct group_effects fx;
    if (!prove && TAILQ_EMPTY(&g->batches))
        return false;
    a = kb_new(struct group_answer);
    a->rq = rq;
    a->done = done;
    group_effects_init(&fx);
    if (prove)
        group_shard_prove(g->shard, &fx);
    submit(g, &fx, a);
    if (!g->failed)
        arm_timer(g);
    return true;
}
