/* The replicas of this broker: their logs are opened, made and removed as the committed image says,
 * and the effects of each replica's state machine are carried out here, in order, one set at a
 * time. */
#include <stdio.h>

#include "broker/node/node_internal.h"

enum { LINE_RUNNING_MAX = 4 };

/* ---- finding, making, freeing
 * ------------------------------------------------------------------------ */

static struct node_partition_key key_of(const struct kb_uuid *topic_id, int32_t index)
{
    struct node_partition_key key;
    memset(&key, 0, sizeof(key));
    memcpy(key.topic_id, topic_id->bytes, sizeof(key.topic_id));
    key.index = index;
    return key;
}

struct node_partition *node_partition_find(struct node *n, const struct kb_uuid *topic_id,
                                           int32_t index)
{
    struct node_partition_key key = key_of(topic_id, index);
    struct node_partition *p = NULL;
    HASH_FIND(hh, n->partitions, &key, sizeof(key), p);
    return p;
}

struct node_partition *node_partition_find_named(struct node *n, struct kw_str topic, int32_t index)
{
    struct node_partition *p = NULL;
    for (p = n->partitions; p != NULL; p = p->hh.next) {
        if (p->index == index && !p->leaving && kw_str_is(topic, p->topic))
            return p;
    }
    return NULL;
}

static struct rep_epoch_offset view_end_offset(void *arg, int32_t epoch)
{
    struct node_partition *p = arg;
    struct log_epoch_end e = log_epoch_end_offset(p->log, epoch);
    return (struct rep_epoch_offset){.epoch = e.epoch, .end_offset = e.end_offset};
}

static int32_t view_epoch_before(void *arg, int64_t offset)
{
    struct node_partition *p = arg;
    if (offset <= log_start_offset(p->log))
        return -1;
    return log_epoch_at(p->log, offset - 1);
}

static int64_t view_first_base(void *arg)
{
    const struct node_partition *p = arg;
    return log_segment_info(p->log, 0).base_offset;
}

static uint64_t view_controller_heard(void *arg)
{
    struct node_partition *p = arg;
    return node_lifecycle_heard_ms(p->node);
}

static uint64_t view_link_heard(void *arg, int32_t follower, uint64_t link)
{
    return node_replicate_heard_ms(arg, follower, link);
}

static struct node_partition *partition_new(struct node *n, const char *topic,
                                            const struct kb_uuid *topic_id, int32_t index)
{
    struct node_partition *p = kb_new(struct node_partition);
    struct rep_config config = {
        .node_id = n->config.node_id,
        .lag_max_ms = n->config.times.replica_lag_max,
        .session_timeout_ms = n->config.times.broker_session,
        .proposal_retry_ms = 200,
    };
    struct rep_view view = {
        .arg = p,
        .end_offset_for_epoch = view_end_offset,
        .first_base = view_first_base,
        .epoch_before = view_epoch_before,
        .controller_heard_ms = view_controller_heard,
        .link_heard_ms = view_link_heard,
    };
    p->node = n;
    p->topic = kb_strdup(topic);
    p->topic_id = *topic_id;
    p->index = index;
    p->key = key_of(topic_id, index);
    p->rep = rep_new(&config, &view);
    if (n->broker_epoch != 0)
        rep_set_broker_epoch(p->rep, (int64_t)n->broker_epoch);
    TAILQ_INIT(&p->produce_waits);
    TAILQ_INIT(&p->retry_waits);
    TAILQ_INIT(&p->refused);
    TAILQ_INIT(&p->delete_waits);
    TAILQ_INIT(&p->fetch_waits);
    TAILQ_INIT(&p->pending_fx);
    HASH_ADD(hh, n->partitions, key, sizeof(p->key), p);
    return p;
}

static void partition_free(struct node_partition *p)
{
    HASH_DEL(p->node->partitions, p);
    if (p->in_line)
        TAILQ_REMOVE(&p->node->line, p, line_entries);
    if (p->node->dir != NULL)
        log_dir_forget(p->node->dir, p); /* a flush of its marks may be on its way */
    node_pending_fx_free(p);
    p->leaving = true; /* also when the node is freed as it stands: links must not point here */
    node_replicate_forget(p);
    node_fetcher_forget(p);
    node_refused_free(p);
    (void)rep_free(p->rep);
    (void)log_free(p->log);
    kb_buf_release(&p->cut_producers);
    (void)kb_free(p->topic);
    (void)kb_free(p);
}

void node_partitions_free(struct node *n)
{
    struct node_partition *p = NULL;
    struct node_partition *next = NULL;
    HASH_ITER(hh, n->partitions, p, next)
    {
        partition_free(p);
    }
}

/* ---- opening what the directory holds
 * ------------------------------------------------------------------- */

static struct log_options log_options_for(struct node_partition *p, const struct log_config *config)
{
    struct node *n = p->node;
    return (struct log_options){
        .dir = log_dir_log_path(p->dir_log),
        .lane = KB_LANE_DATA,
        .config = *config,
        .handler = &node_partition_log_handler,
        .user = p,
        .cache = n->cache,
        .read_pool = n->read_pool,
        .producers = true,
        .clean = n->clean_start,
        .remember_cut = true,
        .durable_mark = log_dir_mark_get(p->dir_log, LOG_DIR_DURABLE),
        .start_offset = log_dir_mark_get(p->dir_log, LOG_DIR_START),
        .topic_id = p->topic_id,
    };
}

static enum log_state log_state_of(enum rep_log_state s)
{
    switch (s) {
    case REP_LOG_WHOLE:
        return LOG_WHOLE;
    case REP_LOG_CUT:
        return LOG_CUT;
    case REP_LOG_MISSING:
        return LOG_MISSING;
    case REP_LOG_DAMAGED:
        break;
    }
    return LOG_DAMAGED;
}

static enum rep_log_state rep_state_of(enum log_state s)
{
    switch (s) {
    case LOG_WHOLE:
        return REP_LOG_WHOLE;
    case LOG_CUT:
        return REP_LOG_CUT;
    case LOG_DAMAGED:
        return REP_LOG_DAMAGED;
    case LOG_MISSING:
        return REP_LOG_MISSING;
    }
    return REP_LOG_DAMAGED;
}

static void partition_leave(struct node_partition *p, bool set_aside);
static void line_join(struct node_partition *p);
static void line_done(struct node *n);

/* What the image said while the log was being made: another state, or that the topic is gone. May
 * free p when it has no log. */
static void settle(struct node_partition *p)
{
    struct node *n = p->node;
    if (n->broker_epoch != 0 && !node_image_assigns(n, &p->topic_id, p->index))
        partition_leave(p, !p->assigned && !node_image_has_topic(n, &p->topic_id));
    else
        node_partition_refresh(p);
}

/* Tell the replica about its log and hand it the newest image. */
static void partition_opened(struct node_partition *p)
{
    struct node *n = p->node;
    struct rep_effects fx;
    int64_t hw = log_dir_mark_get(p->dir_log, LOG_DIR_HIGH_WATERMARK);
    struct rep_log_facts facts = {
        .state = rep_state_of(p->log_state),
        .generation = log_generation(p->log),
        .log_start = log_start_offset(p->log),
        .log_end = log_end_offset(p->log),
        .durable = log_durable_offset(p->log),
        .high_watermark = hw < 0 ? 0 : hw,
        .last_epoch = log_last_epoch(p->log),
        .lone_from = p->lone_from,
    };
    p->state = NODE_PARTITION_OPEN;
    /* What a start has cut off was not cleaned where it comes again. */
    if (log_dir_mark_get(p->dir_log, LOG_DIR_CLEANER) > facts.log_end)
        log_dir_mark_set(n->dir, p->dir_log, LOG_DIR_CLEANER, facts.log_end);
    rep_log_opened(p->rep, &facts, node_now(n), &fx);
    node_partition_run(p, &fx);
    settle(p);
}

static void recovery_done(struct node *n)
{
    if (--n->partitions_opening == 0 && !n->recovered) {
        n->recovered = true;
        node_recovered(n);
    }
}

static void on_recovered(struct log *log, void *user, int result, const struct log_found *found)
{
    struct node_partition *p = user;
    struct node *n = p->node;
    if (result < 0) {
        kb_log_error("partition", "event=recovery_failed tp=%s-%d error=%s", p->topic, p->index,
                     kb_err_name(result));
        p->log = log_free(log);
        p->state = NODE_PARTITION_FAILED;
        p->log_state = LOG_DAMAGED;
        recovery_done(n);
        if (result != -KB_ENOSPC) /* a sync that failed once may succeed and mean nothing (9.3) */
            node_lifecycle_disk_failed(n, result);
        return;
    }
    p->log_state = found->state;
    p->reported_end = found->end_offset;
    p->reported_epoch = found->last_epoch;
    p->lone_from = found->lone_from;
    if (found->state == LOG_MISSING) {
        p->log = log_free(log);
        p->state = NODE_PARTITION_MISSING;
    } else {
        kb_log_at_(found->state == LOG_WHOLE ? KB_LOG_DEBUG : KB_LOG_WARN, "partition",
                   "event=recovered tp=%s-%d state=%s start=%lld end=%lld epoch=%d", p->topic,
                   p->index, log_state_name(found->state), (long long)found->start_offset,
                   (long long)found->end_offset, found->last_epoch);
        partition_opened(p);
    }
    recovery_done(n);
}

void node_partitions_start(struct node *n, const struct log_dir_found *found)
{
    struct log_config config;
    node_default_log_config(n, &config);
    n->partitions_opening = 1; /* ourselves, until the loop is through */
    for (size_t i = 0; i < found->log_count; i++) {
        const struct log_dir_found_log *f = &found->logs[i];
        if (strcmp(f->topic, NODE_RAFT_TOPIC) == 0 && f->partition == 0)
            continue;
        struct node_partition *p = partition_new(n, f->topic, &f->topic_id, f->partition);
        p->dir_log = f->log;
        p->state = NODE_PARTITION_OPENING;
        n->partitions_opening++;
        struct log_options options = log_options_for(p, &config);
        p->log = log_open(n->env, &options, on_recovered, p);
    }
    recovery_done(n);
}

/* ---- making logs
 * ------------------------------------------------------------------------------------------ */

/* New logs count as durable only after the directory has recorded up to which Raft index it made
 * them (8.2): one such record serves all that are waiting. */
static void creations_recorded(void *arg, int result)
{
    struct node *n = arg;
    struct node_partition *p = NULL;
    struct node_partition *next = NULL;
    n->creations_writing = false;
    if (result < 0) {
        n->creations_retry_ms = node_now(n) + NODE_DISK_RETRY_MS;
        return;
    }
    HASH_ITER(hh, n->partitions, p, next)
    {
        if (p->state == NODE_PARTITION_CREATED && p->creation_round <= n->creations_round)
            partition_opened(p);
    }
    node_creations_record(n);
}

void node_creations_record(struct node *n)
{
    struct node_partition *p = NULL;
    bool waiting = false;
    if (n->creations_writing || n->partitions_creating > 0)
        return;
    for (p = n->partitions; p != NULL; p = p->hh.next) {
        if (p->state == NODE_PARTITION_CREATED) {
            waiting = true;
            p->creation_round = n->creations_round + 1;
        }
    }
    if (!waiting)
        return;
    n->creations_round++;
    n->creations_writing = true;
    log_dir_set_creations(n->dir, node_quorum_applied(n), creations_recorded, n);
}

static void on_created(struct log *log, void *user, int result, const struct log_found *found)
{
    struct node_partition *p = user;
    struct node *n = p->node;
    n->partitions_creating--;
    line_done(n);
    p->no_space = result == -KB_ENOSPC;
    if (result < 0) {
        kb_log_rate_warn(&n->create_rate, node_now(n), "partition",
                         "event=create_failed tp=%s-%d error=%s action=\"again each second\"",
                         p->topic, p->index, kb_err_name(result));
        if (result != -KB_ENOSPC)
            node_lifecycle_disk_failed(n, result);
        p->log = log_free(log);
        p->state = NODE_PARTITION_MISSING;
        p->retry_ms = node_now(n) + NODE_DISK_RETRY_MS; /* e.g. a full disk: again later */
        settle(p);
        node_creations_record(n);
        return;
    }
    p->log_state = LOG_WHOLE;
    if (p->resetting) {
        struct rep_effects fx;
        p->resetting = false;
        kb_buf_release(&p->cut_producers);
        p->state = NODE_PARTITION_OPEN;
        node_partition_start_forget(p);
        rep_on_reset(p->rep, log_generation(log), log_start_offset(log), node_now(n), &fx);
        node_partition_run(p, &fx);
        settle(p);
    } else {
        p->state = NODE_PARTITION_CREATED;
    }
    node_creations_record(n);
}

static void create_now(struct node_partition *p)
{
    struct node *n = p->node;
    struct log_config config;
    node_partition_log_config(p, &config);
    struct log_options options = log_options_for(p, &config);
    options.first_offset = p->first_offset;
    options.producers_below = kb_view_of(p->cut_producers.data, p->cut_producers.size);
    options.clean = false;
    p->log = log_create(n->env, &options, on_created, p);
}

static void partition_create(struct node_partition *p, int64_t first_offset)
{
    struct node *n = p->node;
    if (p->dir_log == NULL)
        p->dir_log = log_dir_log_add(n->dir, p->topic, p->index);
    p->first_offset = first_offset;
    p->state = NODE_PARTITION_CREATING;
    n->partitions_creating++;
    line_join(p);
}

/* ---- removing logs
 * ------------------------------------------------------------------------------------------ */

/* 9.3 holds also where nobody needs the bytes any more: a disk that fails once is not trusted. */
static void disk_result(struct node *n, int result)
{
    if (result == -KB_EIO)
        node_lifecycle_disk_failed(n, result);
}

static void on_gone(void *arg, int result)
{
    struct node *n = arg;
    if (result < 0)
        kb_log_warn("partition", "event=delete_failed error=%s", kb_err_name(result));
    disk_result(n, result);
    n->partitions_leaving--;
    n->refresh_soon = true; /* a new topic of the same name may have waited for the path */
    line_done(n);
}

static void on_closed_to_leave(struct log *log, void *user, int result)
{
    struct node_partition *p = user;
    struct node *n = p->node;
    disk_result(n, result);
    p->log = log_free(log);
    if (p->set_aside)
        log_dir_set_aside(n->dir, p->dir_log, on_gone, n);
    else
        log_dir_delete(n->dir, p->dir_log, on_gone, n);
    partition_free(p);
}

/* The topic is gone (delete), or the directory holds a log that no known topic owns (set
 * aside, 8.5). */
static void partition_leave(struct node_partition *p, bool set_aside)
{
    struct node *n = p->node;
    struct rep_effects fx = {.flags = REP_FX_FAIL_PARKED | REP_FX_ROLE,
                             .fail = REP_FAIL_EPOCH_ENDED,
                             .deadline_ms = REP_NEVER};
    if (p->state == NODE_PARTITION_CLOSING || p->state == NODE_PARTITION_OPENING ||
        p->state == NODE_PARTITION_CREATING)
        return; /* asked again when it is open */
    kb_log_info("partition", "event=leave tp=%s-%d set_aside=%d", p->topic, p->index,
                (int)set_aside);
    p->assigned = false;
    p->set_aside = set_aside;
    p->leaving = true;
    node_partition_run(p, &fx);
    p->state = NODE_PARTITION_CLOSING;
    n->partitions_leaving++;
    if (p->log != NULL || p->dir_log != NULL) {
        line_join(p);
        return;
    }
    n->partitions_leaving--;
    partition_free(p);
}

static void leave_now(struct node_partition *p)
{
    struct node *n = p->node;
    if (p->log != NULL) {
        log_close(p->log, on_closed_to_leave, p);
        return;
    }
    if (p->set_aside)
        log_dir_set_aside(n->dir, p->dir_log, on_gone, n);
    else
        log_dir_delete(n->dir, p->dir_log, on_gone, n);
    partition_free(p);
}

/* ---- one after the other
 * ------------------------------------------------------------------------------------------ */

/* Each holds up its disk's lane for some milliseconds: thousands at once would hold up what clients
 * wait for, until it looked like a stall (9.4). */
static void line_go_on(struct node *n)
{
    struct node_partition *p = NULL;
    while (n->line_running < LINE_RUNNING_MAX && (p = TAILQ_FIRST(&n->line)) != NULL) {
        TAILQ_REMOVE(&n->line, p, line_entries);
        p->in_line = false;
        n->line_running++;
        if (p->leaving)
            leave_now(p);
        else
            create_now(p);
    }
}

static void line_join(struct node_partition *p)
{
    TAILQ_INSERT_TAIL(&p->node->line, p, line_entries);
    p->in_line = true;
    line_go_on(p->node);
}

static void line_done(struct node *n)
{
    n->line_running--;
    if (n->partitions_closed == NULL &&
        !n->freeing) /* it stops: the rest waits for the next start */
        line_go_on(n);
}

/* ---- the committed image
 * ---------------------------------------------------------------------------------------- */

/* Make or update one partition that the image assigns to this broker. */
static void partition_assigned(struct node *n, const char *topic, const struct kb_uuid *topic_id,
                               int32_t index)
{
    struct node_partition *p = node_partition_find(n, topic_id, index);
    if (p == NULL) {
        if (log_dir_log_find(n->dir, topic, index) != NULL ||
            log_dir_is_leaving(n->dir, topic, index))
            return; /* a former topic's log still holds the path; it leaves first */
        p = partition_new(n, topic, topic_id, index);
        p->state = NODE_PARTITION_MISSING;
    }
    p->assigned = true;
    if (p->state == NODE_PARTITION_MISSING)
        partition_create(p, 0);
    else
        node_partition_refresh(p);
}

struct assign_walk {
    struct node *n;
};

static void assign_one(void *arg, const char *topic, const struct kb_uuid *topic_id, int32_t index)
{
    struct assign_walk *w = arg;
    partition_assigned(w->n, topic, topic_id, index);
}

void node_partitions_refresh_all(struct node *n)
{
    struct node_partition *p = NULL;
    struct node_partition *next = NULL;
    struct assign_walk walk = {.n = n};
    if (n->broker_epoch == 0)
        return;
    HASH_ITER(hh, n->partitions, p, next)
    {
        bool known = node_image_has_topic(n, &p->topic_id);
        if (!node_image_assigns(n, &p->topic_id, p->index))
            partition_leave(p, !known && !p->assigned);
    }
    node_image_each_assigned(n, assign_one, &walk);
}

/* Hand the replica what the image says now. */
void node_partition_refresh(struct node_partition *p)
{
    struct node *n = p->node;
    struct rep_effects fx;
    struct rep_image image;
    struct rep_image_replica replicas[REP_REPLICAS_MAX];
    if (p->state != NODE_PARTITION_OPEN || n->broker_epoch == 0 || p->leaving)
        return;
    if (!node_image_partition(n, &p->topic_id, p->index, &image, replicas))
        return;
    struct log_config config;
    node_partition_log_config(p, &config);
    log_set_config(p->log, &config);
    int r = rep_apply_image(p->rep, &image, node_now(n), &fx);
    if (r < 0) {
        kb_log_error("partition", "event=bad_image tp=%s-%d error=%s", p->topic, p->index,
                     kb_err_name(r));
        return;
    }
    node_partition_run(p, &fx);
}

void node_partitions_adopt(struct node *n, const struct kb_uuid *topic_id, int32_t index)
{
    const struct meta_topic *t = meta_image_topic_by_id(n->image, topic_id);
    if (n->broker_epoch != 0 && t != NULL && node_image_assigns(n, topic_id, index))
        partition_assigned(n, t->name, topic_id, index);
}

void node_partition_create_again(struct node_partition *p, int64_t first_offset)
{
    partition_create(p, first_offset);
}

void node_partitions_report(struct node *n, struct kb_arena *arena,
                            Kvorum__PeerLogReport ***ret_items, size_t *ret_count)
{
    size_t total = HASH_COUNT(n->partitions);
    struct node_partition *p = NULL;
    Kvorum__PeerLogReport **items = kb_arena_new_array(arena, Kvorum__PeerLogReport *, total);
    size_t count = 0;
    KB_ASSERT(items != NULL);
    for (p = n->partitions; p != NULL; p = p->hh.next) {
        Kvorum__PeerLogReport *r = kb_arena_new(arena, Kvorum__PeerLogReport);
        KB_ASSERT(r != NULL);
        kvorum__peer_log_report__init(r);
        r->has_topic_id = 1;
        r->topic_id.data = p->topic_id.bytes;
        r->topic_id.len = 16;
        r->has_partition = 1;
        r->partition = p->index;
        r->has_state = 1;
        r->has_last_epoch = 1;
        r->has_durable_end = 1;
        if (p->log != NULL && p->state == NODE_PARTITION_OPEN) {
            r->state = (uint32_t)log_state_of(rep_log_state(p->rep));
            r->last_epoch = log_last_epoch(p->log);
            r->durable_end = log_durable_offset(p->log);
        } else {
            r->state = p->state == NODE_PARTITION_FAILED ? (uint32_t)LOG_DAMAGED
                                                         : (uint32_t)LOG_MISSING;
            r->last_epoch = -1;
        }
        items[count++] = r;
    }
    *ret_items = items;
    *ret_count = count;
}
