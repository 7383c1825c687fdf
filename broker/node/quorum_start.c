/* The Raft log's reports, and the start: log, vote, snapshot, voter sets, then the core. */
#include "broker/node/quorum.h"
#include "proto/base/mutant.h"

/* ---- the log's reports
 * ----------------------------------------------------------------------------------------- */

static void on_written(struct log *log, void *user, uint32_t generation, int64_t offset)
{
    struct node_quorum *q = user;
    (void)log;
    (void)generation;
    (void)offset;
    if (q->begun)
        quorum_sends_retry(q);
}

static void on_durable(struct log *log, void *user, uint32_t generation, int64_t offset)
{
    struct node_quorum *q = user;
    (void)generation;
    log_dir_mark_set(q->node->dir, q->dir_log, LOG_DIR_DURABLE, log_durable_mark(log));
    if (offset <= log_start_offset(log))
        return;
    struct raft_input in = {
        .kind = RAFT_IN_LOG_DURABLE,
        .position = {.index = (uint64_t)offset - 1,
                     .term = (uint64_t)log_epoch_at(log, offset - 1)},
        .generation = q->log_generation,
    };
    quorum_step(q, &in, NULL, NULL);
}

static void on_space(struct log *log, void *user)
{
    struct node_quorum *q = user;
    (void)log;
    if (!q->settling)
        quorum_ops_run(q);
    else
        kb_timer_arm(q->apply_timer, 0);
}

static void on_failed(struct log *log, void *user, int error)
{
    struct node_quorum *q = user;
    (void)log;
    node_panic_disk(q->node, "the metadata log failed", error);
}

static const struct log_handler log_handler = {
    .on_written = on_written,
    .on_durable = on_durable,
    .on_space = on_space,
    .on_failed = on_failed,
};

/* ---- start
 * --------------------------------------------------------------------------------------------------------
 */

void node_quorum_found(struct node *n, const struct log_dir_found *found)
{
    struct node_quorum *q = kb_new(struct node_quorum);
    q->node = n;
    n->quorum = q;
    TAILQ_INIT(&q->ops);
    TAILQ_INIT(&q->sends);
    TAILQ_INIT(&q->chunks);
    TAILQ_INIT(&q->jobs);
    TAILQ_INIT(&q->waits);
    q->leader.id = RAFT_NOBODY;
    q->damaged_from = -1;
    q->timer = kb_timer_new(n->env, quorum_on_timer, q);
    q->apply_timer = kb_timer_new(n->env, quorum_on_apply_timer, q);
    n->image = meta_image_new();
    for (size_t i = 0; i < found->log_count; i++) {
        if (strcmp(found->logs[i].topic, NODE_RAFT_TOPIC) == 0 && found->logs[i].partition == 0)
            q->dir_log = found->logs[i].log;
    }
    q->log_found = q->dir_log != NULL;
    if (q->dir_log == NULL)
        q->dir_log = log_dir_log_add(n->dir, NODE_RAFT_TOPIC, 0);
}

static void start_failed(struct node_quorum *q, int result, const char *what)
{
    char *reason = kb_asprintf("cannot read the metadata log in %s: %s (%s)",
                               log_dir_log_path(q->dir_log), what, kb_err_text(result));
    node_quorum_ready(q->node, result, reason);
    (void)kb_free(reason);
}

static struct log_options raft_log_options(struct node_quorum *q)
{
    struct log_options o = {
        .dir = log_dir_log_path(q->dir_log),
        .lane = KB_LANE_RAFT,
        .handler = &log_handler,
        .user = q,
        .cache = q->node->cache,
        .read_pool = q->node->read_pool,
        .clean = q->node->clean_start,
        .remember_cut = KB_MUTANT("raft-cut-forgotten") ? false : true,
        .durable_mark = log_dir_mark_get(q->dir_log, LOG_DIR_DURABLE),
        .start_offset = log_dir_mark_get(q->dir_log, LOG_DIR_START),
        .first_offset = 1,
    };
    o.topic_id.bytes[sizeof(o.topic_id.bytes) - 1] = 1; /* Kafka's for this topic */
    log_config_init(&o.config);
    o.config.segment_bytes = 16U << 20;
    o.config.segment_ms = INT64_MAX;
    o.config.retention_ms = -1;
    o.config.retention_bytes = -1;
    o.config.cleanup_delete = false;
    o.config.flush_messages = 1;
    return o;
}

static void on_log_open(struct log *log, void *user, int result, const struct log_found *found)
{
    struct node_quorum *q = user;
    if (result == 0 && found->state == LOG_MISSING) {
        q->log = log_free(log);
        struct log_options o = raft_log_options(q);
        q->log = log_create(q->node->env, &o, on_log_open, q);
        return;
    }
    if (result < 0) {
        q->log = log_free(log);
        start_failed(q, result, "log");
        return;
    }
    q->log_state = found->state == LOG_CUT       ? RAFT_LOG_CUT
                   : found->state == LOG_DAMAGED ? RAFT_LOG_DAMAGED
                                                 : RAFT_LOG_WHOLE;
    if (found->state == LOG_DAMAGED)
        q->damaged_from = found->damaged_from;
    if (q->log_state != RAFT_LOG_WHOLE)
        kb_log_error("quorum", "event=metadata_log_not_whole state=%s end=%lld",
                     log_state_name(found->state), (long long)found->end_offset);
    quorum_load(q);
}

int node_quorum_start(struct node *n)
{
    struct node_quorum *q = n->quorum;
    struct log_options o = raft_log_options(q);
    q->log = q->log_found ? log_open(n->env, &o, on_log_open, q)
                          : log_create(n->env, &o, on_log_open, q);
    return 0;
}

/* ---- the walk over the log for voters records ---- */

static void scan_more(struct node_quorum *q);

static void voters_add(struct node_quorum *q, const struct raft_voters *v)
{
    kb_array_reserve(q->voters, q->voters_count, q->voters_capacity);
    q->voters[q->voters_count++] = *v;
    if (v->index > q->voters_index)
        q->voters_index = v->index;
}

static void scan_bytes(struct node_quorum *q, const uint8_t *data, size_t size)
{
    struct kw_batches it;
    struct kw_batch b;
    kw_batches_init(&it, data, size);
    while (kw_batches_next(&it, &b) == KW_BATCHES_ONE) {
        struct raft_voters v;
        if (quorum_find_voters(&b, &v))
            voters_add(q, &v);
    }
}

/* A batch that recovery had no reason to read is not what was written. */
static void damage_found(struct node_quorum *q, int64_t offset)
{
    kb_log_error("quorum", "event=metadata_log_not_whole state=damaged end=%lld",
                 (long long)offset);
    q->log_state = RAFT_LOG_DAMAGED;
    q->damaged_from = offset;
    node_quorum_ready(q->node, 0, NULL);
}

static void on_scan_bytes(struct node_load *load, int result)
{
    struct node_quorum *q = load->user;
    bool end = load->bytes.size == 0;
    if (result == 0)
        scan_bytes(q, load->bytes.data, load->bytes.size);
    node_load_release(load);
    if (result < 0 && result != -KB_ECORRUPT) {
        start_failed(q, result, "log");
        return;
    }
    if (result < 0) {
        damage_found(q, q->scan.offset);
        return;
    }
    q->scan.offset = q->scan.next_offset;
    if (end)
        node_quorum_ready(q->node, 0, NULL);
    else
        scan_more(q);
}

static void on_scan(struct log_read *r, int result)
{
    struct node_quorum *q = r->user;
    q->scanning = false;
    if (result == -KB_ECORRUPT) {
        damage_found(q, q->scan.offset);
        return;
    }
    if (result != LOG_READ_OK) {
        start_failed(q, result < 0 ? result : -KB_ECORRUPT, "log");
        return;
    }
    q->load.done = on_scan_bytes;
    q->load.user = q;
    node_load_start(q->node, &q->load, &q->scan.records);
}

static void scan_more(struct node_quorum *q)
{
    q->scan.bound_offset = INT64_MAX;
    q->scan.max_bytes = QUORUM_APPLY_BYTES;
    q->scan.min_one = true;
    q->scan.done = on_scan;
    q->scan.user = q;
    int r = log_read(q->log, &q->scan);
    if (r == LOG_READ_PENDING)
        q->scanning = true;
    else
        on_scan(&q->scan, r);
}

/* Vote file and snapshot are read: the committed image begins with the snapshot's. */
void quorum_loaded(struct node_quorum *q, int result, const char *what)
{
    if (result < 0) {
        start_failed(q, result, what);
        return;
    }
    int64_t start = log_start_offset(q->log);
    if (q->snapshot.index + 1 < (uint64_t)start) {
        /* What the log begins behind is lost, so nothing in it can be applied: all of it comes
         * anew from a leader, and until then this directory does not vote. */
        kb_log_error("quorum", "event=metadata_state_lost snapshot=%llu log_start=%lld",
                     (unsigned long long)q->snapshot.index, (long long)start);
        q->log_state = RAFT_LOG_DAMAGED;
        q->damaged_from = (int64_t)q->snapshot.index + 1;
        q->damage_drops = true;
        quorum_op_add(q, QUORUM_RESET)->index = q->snapshot.index;
        node_quorum_ready(q->node, 0, NULL);
        return;
    }
    if (q->snapshot.index + 1 > (uint64_t)start &&
        q->snapshot.index < (uint64_t)log_end_offset(q->log))
        start = (int64_t)q->snapshot.index + 1;
    q->scan.offset = start;
    int32_t epoch = log_epoch_at(q->log, (int64_t)q->snapshot.index);
    bool holds = q->snapshot.index + 1 <= (uint64_t)log_start_offset(q->log) ||
                 epoch == (int32_t)q->snapshot.term;
    if (q->snapshot.index > 0 &&
        (q->snapshot.index >= (uint64_t)log_end_offset(q->log) || !holds)) {
        /* The log ends before the snapshot, or is another one there: a crash during an install. It
         * begins anew behind it. */
        q->generation = 0;
        q->damage_drops = q->log_state == RAFT_LOG_DAMAGED;
        quorum_op_add(q, QUORUM_RESET)->index = q->snapshot.index;
        q->scan.offset = (int64_t)q->snapshot.index + 1;
        quorum_ops_run(q);
        node_quorum_ready(q->node, 0, NULL);
        return;
    }
    scan_more(q);
}

/* ---- taking part ---- */

static size_t known_entries(struct node_quorum *q, struct raft_entry **ret)
{
    size_t count = 0;
    size_t capacity = 0;
    struct raft_entry *entries = NULL;
    int64_t at = (int64_t)q->snapshot.index + 1;
    int64_t end = log_end_offset(q->log);
    if (q->damaged_from >= 0 && q->damaged_from < end)
        end = q->damaged_from;
    while (at < end) {
        int32_t epoch = log_epoch_at(q->log, at);
        struct log_epoch_end e = log_epoch_end_offset(q->log, epoch);
        if (e.end_offset <= at)
            break;
        kb_array_reserve(entries, count, capacity);
        if (e.end_offset > end)
            e.end_offset = end;
        entries[count++] = (struct raft_entry){
            .first = (uint64_t)at,
            .last = (uint64_t)e.end_offset - 1,
            .term = (uint64_t)epoch,
        };
        at = e.end_offset;
    }
    *ret = entries;
    return count;
}

static void add_founding_voters(struct node_quorum *q)
{
    const struct node_founding_voter *list = NULL;
    size_t count = node_identity_voters(q->node, &list);
    struct raft_voters v = {0};
    if (count == 0 || q->voters_count > 0)
        return;
    v.count = count;
    for (size_t i = 0; i < count; i++)
        v.nodes[i] = (struct raft_node){.id = list[i].id, .directory = list[i].directory_id};
    voters_add(q, &v);
}

void node_quorum_begin(struct node *n)
{
    struct node_quorum *q = n->quorum;
    struct raft_entry *entries = NULL;
    const struct node_times *t = &n->config.times;
    if (q->begun || q->stopping)
        return;
    q->begun = true;
    add_founding_voters(q);
    if (q->log_state == RAFT_LOG_DAMAGED && TAILQ_EMPTY(&q->ops)) {
        q->damage_drops = true;
        quorum_op_add(q, QUORUM_TRUNCATE)->index = (uint64_t)q->damaged_from - 1;
    }
    struct raft_core_config config = {
        .self = {.id = n->config.node_id, .directory = n->directory_id},
        .seed = kb_env_random_u64(n->env),
        .now_ms = node_now(n),
        .times = raft_times_default(),
        .hard = q->hard,
        .vote_damaged = q->vote_damaged || (q->vote_missing && log_end_offset(q->log) > 1),
        .log_state = q->log_state,
        .founding = n->blank && node_identity_founded(n),
        .snapshot = q->snapshot,
        .voters = q->voters,
        .n_voters = q->voters_count,
    };
    config.times.heartbeat_ms = t->raft_heartbeat;
    config.times.silence_ms = t->raft_silence;
    config.times.silence_extra_ms = t->raft_silence_spread;
    config.times.check_quorum_ms = t->check_quorum;
    config.times.link_grace_ms = t->link_grace;
    config.n_entries = known_entries(q, &entries);
    config.entries = entries;
    int r = raft_core_new(&config, &q->core);
    (void)kb_free(entries);
    if (r < 0) {
        node_panic_disk(n, "the metadata log contradicts itself", r);
        return;
    }
    q->applied = q->snapshot.index;
    struct raft_input tick = {.kind = RAFT_IN_TICK};
    quorum_step(q, &tick, NULL, NULL);
    size_t cursor = 0;
    struct quorum_link *l = NULL;
    while ((l = kb_map_next(&q->links, &cursor, NULL)) != NULL) {
        if (l->state == RAFT_LINK_UP)
            quorum_link_input(q, l);
    }
}
