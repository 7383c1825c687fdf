/* The Raft driver: inputs into the core, effects out of it, in the order raft.h demands. */
#include "broker/node/quorum.h"

/* ---- the log's operations, in order
 * -------------------------------------------------------------- */

static struct quorum_op *op_add(struct node_quorum *q, enum quorum_op_kind kind)
{
    struct quorum_op *op = kb_new(struct quorum_op);
    op->kind = kind;
    op->generation = q->generation;
    TAILQ_INSERT_TAIL(&q->ops, op, entries);
    return op;
}

static void op_free(struct node_quorum *q, struct quorum_op *op)
{
    TAILQ_REMOVE(&q->ops, op, entries);
    (void)kb_block_unref(op->block);
    (void)kb_free(op);
}

static void on_cut(struct log *log, void *user, int result)
{
    struct node_quorum *q = user;
    struct quorum_op *op = TAILQ_FIRST(&q->ops);
    (void)log;
    if (result < 0)
        return; /* on_failed has ended the process */
    q->log_generation = op->generation;
    q->op_running = false;
    op_free(q, op);
    quorum_ops_run(q);
}

/* 0 done, 1 wait, negative: the log refused what the core decided. */
static int op_append(struct node_quorum *q, struct quorum_op *op)
{
    struct log_appended a;
    int r = 0;
    if (op->kind == QUORUM_APPEND_OWN) {
        KB_ASSERT(log_end_offset(q->log) == (int64_t)op->index);
        r = log_append_leader(q->log, op->block, op->position, op->size, (int32_t)op->term, &a);
    } else {
        r = log_append_follower(q->log, op->block, op->position, op->size, INT32_MAX, false, &a);
    }
    if (r == LOG_APPEND_BUSY)
        return 1;
    if (r == LOG_APPEND_NO_SPACE) {
        if (!q->reserve_asked) {
            q->reserve_asked = true;
            kb_log_error("quorum", "event=no_space what=raft_log action=reserve_released");
            log_dir_reserve_release(q->node->dir, NULL, NULL);
        }
        return 1;
    }
    if (r != LOG_APPEND_OK)
        return r < 0 ? r : -KB_EIO;
    if (a.size_taken < op->size) {
        op->position += a.size_taken;
        op->size -= a.size_taken;
        return 1;
    }
    return 0;
}

void quorum_ops_run(struct node_quorum *q)
{
    struct quorum_op *op = NULL;
    while (!q->op_running && (op = TAILQ_FIRST(&q->ops)) != NULL) {
        if (op->kind == QUORUM_TRUNCATE || op->kind == QUORUM_RESET) {
            q->op_running = true;
            if (op->kind == QUORUM_TRUNCATE)
                log_truncate_to(q->log, (int64_t)op->index + 1, on_cut, q);
            else
                log_reset(q->log, (int64_t)op->index + 1, on_cut, q);
            return;
        }
        int r = op_append(q, op);
        if (r == 1)
            return; /* on_space comes back */
        if (r < 0) {
            node_panic_disk(q->node, "the metadata log cannot be written", r);
            return;
        }
        op_free(q, op);
    }
}

/* ---- sending entries
 * -------------------------------------------------------------------------------- */

static void send_report(struct node_quorum *q, uint64_t send_id, uint64_t last)
{
    struct raft_input in = {
        .kind = RAFT_IN_ENTRIES_SENT,
        .send_id = send_id,
        .position = {.index = last},
    };
    quorum_step(q, &in, NULL, NULL);
}

static void send_free(struct quorum_send *s)
{
    TAILQ_REMOVE(&s->quorum->sends, s, entries);
    if (s->reading)
        log_read_cancel(&s->read);
    kb_chain_release(&s->read.records);
    (void)kb_free(s);
}

static void send_finish(struct quorum_send *s, int result)
{
    struct node_quorum *q = s->quorum;
    uint64_t last = 0;
    uint64_t send_id = s->send_id;
    if (result == LOG_READ_OK && s->read.records.size == 0 &&
        (int64_t)s->from_index >= log_written_offset(q->log))
        return; /* not written yet: on_written tries again */
    if (result == LOG_READ_OK && s->read.records.size > 0) {
        /* from_index may lie inside a batch; what travels begins with the whole of it (raft.h). */
        s->header.prev.index = (uint64_t)s->read.first_offset - 1;
        s->header.prev.term = raft_core_term_at(q->core, s->header.prev.index);
        result = s->header.prev.index == 0 || s->header.prev.term != 0 ? result : -KB_ENOENT;
    }
    if (result == LOG_READ_OK && s->read.records.size > 0) {
        last = (uint64_t)s->read.next_offset - 1;
        quorum_send_message(q, &s->header, &s->read.records);
        s->read.records = (struct kb_chain){0};
    }
    send_free(s);
    send_report(q, send_id, last);
}

static void on_send_read(struct log_read *r, int result)
{
    struct quorum_send *s = r->user;
    s->reading = false;
    send_finish(s, result);
}

static void send_try(struct quorum_send *s)
{
    struct node_quorum *q = s->quorum;
    s->read = (struct log_read){
        .offset = (int64_t)s->from_index,
        .bound_offset = (int64_t)s->last_index + 1,
        .max_bytes = NODE_RAFT_APPEND_BYTES,
        .min_one = true,
        .done = on_send_read,
        .user = s,
    };
    int r = log_read(q->log, &s->read);
    if (r == LOG_READ_PENDING)
        s->reading = true;
    else
        send_finish(s, r);
}

/* A send that finishes steps the core, which may start and finish others: look afresh each time. */
static void sends_retry(struct node_quorum *q)
{
    struct quorum_send *s = NULL;
    do {
        TAILQ_FOREACH(s, &q->sends, entries)
        {
            if (!s->reading && (int64_t)s->from_index < log_written_offset(q->log)) {
                send_try(s);
                break;
            }
        }
    } while (s != NULL);
}

static void send_start(struct node_quorum *q, const struct raft_send *fx)
{
    struct quorum_send *s = kb_new(struct quorum_send);
    s->quorum = q;
    s->send_id = fx->send_id;
    s->from_index = fx->from_index;
    s->last_index = fx->last_index;
    s->header = fx->header;
    TAILQ_INSERT_TAIL(&q->sends, s, entries);
}

/* ---- effects
 * ------------------------------------------------------------------------------------------ */

static void run_role(struct node_quorum *q, const struct raft_effects *fx)
{
    struct node *n = q->node;
    bool led = q->role == RAFT_LEADER;
    bool leads = fx->role == RAFT_LEADER;
    q->role = fx->role;
    q->term = fx->term;
    q->leader = fx->leader;
    kb_log_info("raft", "event=role node=%d role=%s term=%llu leader=%d", n->config.node_id,
                raft_role_name(fx->role), (unsigned long long)fx->term, fx->leader.id);
    if (led && (!leads || q->office_term != fx->term)) {
        q->in_office = false;
        q->office_index = 0;
        node_controller_resigned(n);
        quorum_waits_fail(q, true, -KB_ECLOSED);
    }
    if (leads && q->office_term != fx->term) {
        q->office_term = fx->term;
        q->must_open_office = true;
    }
    node_lifecycle_leader(n);
}

static void run_append(struct node_quorum *q, const struct raft_effects *fx,
                       const struct node_message *msg, const struct raft_entry *entries)
{
    const uint8_t *data = msg->payload.data;
    size_t from = 0;
    size_t size = 0;
    struct kw_batches it;
    struct kw_batch b;
    (void)entries;
    kw_batches_init(&it, data, msg->payload.size);
    for (size_t i = 0; i < fx->append_skip + fx->append_count; i++) {
        KB_ASSERT(kw_batches_next(&it, &b) == KW_BATCHES_ONE);
        if (i < fx->append_skip)
            from += b.size;
        else
            size += b.size;
    }
    struct quorum_op *op = op_add(q, QUORUM_APPEND_COPY);
    op->block = kb_block_ref(msg->frame);
    op->position = (size_t)(data - msg->frame->data) + from;
    op->size = size;
}

/* The part of effects that concerns the log and the vote; messages follow. */
static void run_log(struct node_quorum *q, const struct raft_effects *fx,
                    const struct node_message *msg, const struct raft_entry *entries)
{
    if (fx->hard != NULL)
        quorum_save_hard(q, fx->hard, fx->hard_sequence);
    q->generation = fx->generation;
    if (fx->log_reset) {
        op_add(q, QUORUM_RESET)->index = fx->log_reset_base.index;
    } else if (fx->truncate) {
        op_add(q, QUORUM_TRUNCATE)->index = fx->truncate_after;
    }
    if (fx->append_count > 0)
        run_append(q, fx, msg, entries);
}

static void run_effects(struct node_quorum *q, const struct raft_effects *fx,
                        const struct node_message *msg, const struct raft_entry *entries)
{
    struct raft_message snapshot_message;
    run_log(q, fx, msg, entries);
    for (size_t i = 0; i < fx->n_messages; i++)
        quorum_send_message(q, &fx->messages[i], NULL);
    for (size_t i = 0; i < fx->n_sends; i++)
        send_start(q, &fx->sends[i]);
    for (size_t i = 0; i < fx->n_snapshot_sends; i++)
        quorum_send_chunk(q, &fx->snapshot_sends[i]);
    q->commit = fx->commit_index;
    q->confirmed_round = fx->confirmed_round;
    if (fx->deadline_ms == UINT64_MAX) {
        kb_timer_cancel(q->timer);
    } else {
        uint64_t now_ms = node_now(q->node);
        kb_timer_arm(q->timer, fx->deadline_ms > now_ms ? fx->deadline_ms - now_ms : 0);
    }
    if (fx->role_changed)
        run_role(q, fx);
    if (fx->take_chunk && quorum_message_read(msg->m->raft, &snapshot_message) == 0)
        quorum_take_chunk(q, &snapshot_message, msg->payload);
}

/* A new leader's first entry: the founding records when the log has none at all, else a no-op
 * (rule 11.2). */
static void open_office(struct node_quorum *q)
{
    struct node *n = q->node;
    struct meta_records records = {0};
    struct raft_status status;
    q->must_open_office = false;
    raft_core_status(q->core, &status);
    if (status.last_index == 0)
        node_founding_records(n, &records);
    else
        meta_records_add_no_op(&records);
    int64_t last = node_quorum_propose(n, &records, NULL, NULL);
    if (last > 0)
        q->office_index = (uint64_t)last;
    meta_records_release(&records);
}

/* Everything that follows from a step, until nothing more does. */
static void settle(struct node_quorum *q)
{
    quorum_ops_run(q);
    sends_retry(q);
    if (q->must_open_office && q->role == RAFT_LEADER)
        open_office(q);
    quorum_apply(q);
}

void quorum_step(struct node_quorum *q, struct raft_input *in, const struct node_message *msg,
                 const struct raft_entry *entries)
{
    struct raft_effects fx;
    if (q->core == NULL)
        return;
    in->now_ms = node_now(q->node);
    int r = raft_core_step(q->core, in, &fx);
    if (r < 0 && msg != NULL) {
        kb_log_rate_warn(&q->node->link_rate, in->now_ms, "raft", "event=bad_message peer=%d",
                         msg->peer->id);
        kb_conn_close(msg->link->conn);
    }
    bool appended = fx.append_count > 0;
    run_effects(q, &fx, msg, entries);
    if (appended)
        quorum_pass_voters(q, msg->payload.data, msg->payload.size);
    if (!q->settling) {
        q->settling = true;
        settle(q);
        q->settling = false;
    } else {
        kb_timer_arm(q->apply_timer, 0);
    }
}

static void on_apply_timer(void *arg)
{
    struct node_quorum *q = arg;
    if (q->settling)
        return;
    q->settling = true;
    settle(q);
    q->settling = false;
}

static void on_timer(void *arg)
{
    struct raft_input in = {.kind = RAFT_IN_TICK};
    quorum_step(arg, &in, NULL, NULL);
}

/* ---- messages of peers
 * ------------------------------------------------------------------------------------ */

void quorum_pass_voters(struct node_quorum *q, const uint8_t *data, size_t size)
{
    struct kw_batches it;
    struct kw_batch b;
    kw_batches_init(&it, data, size);
    while (kw_batches_next(&it, &b) == KW_BATCHES_ONE) {
        struct raft_voters voters;
        if (!quorum_find_voters(&b, &voters) || voters.index <= q->voters_index)
            continue;
        q->voters_index = voters.index;
        struct raft_input in = {.kind = RAFT_IN_VOTERS, .voters = &voters};
        quorum_step(q, &in, NULL, NULL);
    }
}

/* The batches of an append: whole, in order, each with a good CRC. Count or negative. */
static int check_entries(struct kb_view payload, struct raft_entry *entries)
{
    struct kw_batches it;
    struct kw_batch b;
    int count = 0;
    int r = 0;
    kw_batches_init(&it, payload.data, payload.size);
    while ((r = kw_batches_next(&it, &b)) == KW_BATCHES_ONE) {
        if (count == RAFT_ENTRIES_MAX || !kw_batch_crc_ok(&b) || b.base_offset < 1 ||
            b.leader_epoch < 1)
            return -KB_EINVAL;
        entries[count++] = (struct raft_entry){
            .first = (uint64_t)b.base_offset,
            .last = (uint64_t)kw_batch_last_offset(&b),
            .term = (uint64_t)b.leader_epoch,
        };
    }
    return r == KW_BATCHES_END ? count : -KB_EINVAL;
}

void node_quorum_message(struct node *n, const struct node_message *msg)
{
    struct node_quorum *q = n->quorum;
    struct raft_message m;
    struct quorum_link *l = kb_map_get(&q->links, (uint64_t)(uint32_t)msg->peer->id);
    struct raft_entry *entries = NULL;
    if (q->core == NULL || l == NULL || q->stopping)
        return;
    int r = quorum_message_read(msg->m->raft, &m);
    if (r == 0 && m.kind == RAFT_MSG_APPEND && msg->payload.size > 0) {
        /* A batch is never smaller than its head, and check_entries has the limit. */
        entries = kb_new_array(struct raft_entry, msg->payload.size / KW_BATCH_HEAD_BYTES + 1);
        r = check_entries(msg->payload, entries);
        m.entries = entries;
        m.n_entries = r > 0 ? (size_t)r : 0;
    }
    if (r < 0) {
        kb_log_rate_warn(&n->link_rate, node_now(n), "raft", "event=bad_message peer=%d",
                         msg->peer->id);
        kb_conn_close(msg->link->conn);
    } else {
        struct raft_input in = {
            .kind = RAFT_IN_MESSAGE,
            .node = l->node,
            .link = l->number,
            .message = &m,
        };
        quorum_step(q, &in, msg, entries);
    }
    (void)kb_free(entries);
}

/* ---- links
 * ---------------------------------------------------------------------------------------------------
 */

static void link_input(struct node_quorum *q, struct quorum_link *l)
{
    struct raft_input in = {
        .kind = RAFT_IN_LINK,
        .node = l->node,
        .link = l->number,
        .link_state = l->state,
    };
    quorum_step(q, &in, NULL, NULL);
}

static struct quorum_link *link_of(struct node_quorum *q, struct node_peer *p)
{
    struct quorum_link *l = kb_map_get(&q->links, (uint64_t)(uint32_t)p->id);
    if (l == NULL) {
        l = kb_new(struct quorum_link);
        l->id = p->id;
        (void)kb_map_put(&q->links, (uint64_t)(uint32_t)p->id, l);
    }
    return l;
}

void node_quorum_link_open(struct node *n, struct node_peer *p)
{
    struct node_quorum *q = n->quorum;
    struct quorum_link *l = link_of(q, p);
    struct raft_node node = {.id = p->id, .directory = p->directory};
    if (l->state == RAFT_LINK_UP && raft_node_equal(l->node, node) &&
        l->incarnation == p->incarnation)
        return; /* the second of the pair's two links */
    if (l->state == RAFT_LINK_UP && !raft_node_equal(l->node, node)) {
        l->state = RAFT_LINK_DEAD;
        link_input(q, l);
    }
    l->node = node;
    l->incarnation = p->incarnation;
    l->number = ++q->link_counter;
    l->state = RAFT_LINK_UP;
    link_input(q, l);
}

void node_quorum_link_closed(struct node *n, struct node_peer *p, struct node_link *closed)
{
    struct node_quorum *q = n->quorum;
    struct quorum_link *l = link_of(q, p);
    if (l->state != RAFT_LINK_UP)
        return;
    if (node_peer_link(p, NODE_CONTROL) != NULL && !closed->dialled)
        return; /* our own link still carries messages */
    l->state = p->accepting ? RAFT_LINK_ACCEPTED : RAFT_LINK_CLOSED;
    link_input(q, l);
    if (node_peer_link(p, NODE_CONTROL) != NULL) {
        l->number = ++q->link_counter;
        l->state = RAFT_LINK_UP;
        link_input(q, l);
    }
}

void node_quorum_peer_accepting(struct node *n, struct node_peer *p)
{
    struct quorum_link *l = link_of(n->quorum, p);
    if (l->state != RAFT_LINK_CLOSED)
        return;
    l->state = RAFT_LINK_ACCEPTED;
    link_input(n->quorum, l);
}

void node_quorum_peer_dead(struct node *n, struct node_peer *p)
{
    struct quorum_link *l = link_of(n->quorum, p);
    if (l->state == RAFT_LINK_DEAD || l->state == RAFT_LINK_NONE)
        return;
    l->state = RAFT_LINK_DEAD;
    link_input(n->quorum, l);
}

/* ---- the log's reports
 * ----------------------------------------------------------------------------------------- */

static void on_written(struct log *log, void *user, uint32_t generation, int64_t offset)
{
    struct node_quorum *q = user;
    (void)log;
    (void)generation;
    (void)offset;
    if (q->begun)
        sends_retry(q);
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
    q->timer = kb_timer_new(n->env, on_timer, q);
    q->apply_timer = kb_timer_new(n->env, on_apply_timer, q);
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
        .durable_mark = log_dir_mark_get(q->dir_log, LOG_DIR_DURABLE),
        .start_offset = log_dir_mark_get(q->dir_log, LOG_DIR_START),
        .first_offset = 1,
    };
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

static void on_scan_bytes(struct node_load *load, int result)
{
    struct node_quorum *q = load->user;
    bool end = load->bytes.size == 0;
    if (result == 0)
        scan_bytes(q, load->bytes.data, load->bytes.size);
    node_load_release(load);
    if (result < 0) {
        start_failed(q, result, "log");
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

/* Vote file and snapshot are read: the snapshot's image is the committed one for now. */
void quorum_loaded(struct node_quorum *q, int result, const char *what)
{
    if (result < 0) {
        start_failed(q, result, what);
        return;
    }
    int64_t start = log_start_offset(q->log);
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
        op_add(q, QUORUM_RESET)->index = q->snapshot.index;
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
    while (at < end) {
        int32_t epoch = log_epoch_at(q->log, at);
        struct log_epoch_end e = log_epoch_end_offset(q->log, epoch);
        if (e.end_offset <= at)
            break;
        kb_array_reserve(entries, count, capacity);
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
    struct raft_core_config config = {
        .self = {.id = n->config.node_id, .directory = n->directory_id},
        .seed = kb_env_random_u64(n->env),
        .now_ms = node_now(n),
        .times = raft_times_default(),
        .hard = q->hard,
        .vote_damaged = q->vote_damaged || (q->vote_missing && log_end_offset(q->log) > 1),
        .log_state = q->log_state,
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
            link_input(q, l);
    }
}

/* ---- leading
 * ---------------------------------------------------------------------------------------------------------
 */

int64_t node_quorum_propose(struct node *n, const struct meta_records *records,
                            node_committed_fn *fn, void *arg)
{
    struct node_quorum *q = n->quorum;
    struct kw_batch_builder builder;
    struct kb_block *block = NULL;
    struct raft_effects fx;
    if (q->core == NULL || q->role != RAFT_LEADER || q->stopping)
        return -KB_EPERM;
    kw_batch_builder_init(&builder);
    int r = 0;
    for (size_t i = 0; i < records->count && r == 0; i++) {
        struct kb_view v = meta_records_at(records, i);
        r = kw_batch_builder_add(&builder, kb_env_wall_ms(n->env), kw_bytes_of(NULL, 0),
                                 kw_bytes_of(v.data, v.size));
    }
    if (r == 0)
        r = kw_batch_builder_finish(&builder, &block);
    kw_batch_builder_release(&builder);
    if (r < 0)
        return r;
    struct raft_input in = {
        .kind = RAFT_IN_PROPOSE,
        .now_ms = node_now(n),
        .n_records = (uint32_t)records->count,
        .size_bytes = block->size,
    };
    r = raft_core_step(q->core, &in, &fx);
    if (r != RAFT_OK) {
        run_effects(q, &fx, NULL, NULL);
        (void)kb_block_unref(block);
        return r == RAFT_TOO_LARGE ? -KB_ETOOBIG : r == RAFT_NOT_LEADER ? -KB_EPERM : -KB_EAGAIN;
    }
    struct raft_entry e = fx.proposed;
    kw_batch_set_offset(block->data, (int64_t)e.first, (int32_t)e.term);
    q->generation = fx.generation;
    struct quorum_op *op = op_add(q, QUORUM_APPEND_OWN);
    op->block = block;
    op->size = block->size;
    op->term = e.term;
    op->index = e.first;
    q->proposed = e.last;
    run_effects(q, &fx, NULL, NULL);
    if (fn != NULL)
        node_quorum_wait(n, e.last, e.term, UINT64_MAX, fn, arg);
    quorum_pass_voters(q, block->data, block->size);
    kb_timer_arm(q->apply_timer, 0);
    if (!q->settling)
        quorum_ops_run(q);
    return (int64_t)e.last;
}

void node_quorum_barrier(struct node *n, node_committed_fn *fn, void *arg)
{
    struct node_quorum *q = n->quorum;
    node_quorum_wait(n, q->proposed > q->applied ? q->proposed : q->applied, q->term, UINT64_MAX,
                     fn, arg);
}

void node_quorum_wait_applied(struct node *n, uint64_t index, uint64_t timeout_ms,
                              node_committed_fn *fn, void *arg)
{
    node_quorum_wait(n, index, 0, node_now(n) + timeout_ms, fn, arg);
}

bool node_quorum_is_leader(const struct node *n)
{
    return n->quorum != NULL && n->quorum->in_office;
}

int32_t node_quorum_leader_id(const struct node *n)
{
    return n->quorum != NULL ? n->quorum->leader.id : -1;
}

uint64_t node_quorum_applied(const struct node *n)
{
    return n->quorum->applied;
}

const struct raft_core *node_quorum_core(const struct node *n)
{
    return n->quorum != NULL ? n->quorum->core : NULL;
}

uint64_t node_quorum_term(const struct node *n)
{
    return n->quorum != NULL ? n->quorum->term : 0;
}

/* ---- clock, stop
 * ------------------------------------------------------------------------------------------------------
 */

void node_quorum_tick(struct node *n, uint64_t now_ms, uint64_t gap_ms)
{
    struct node_quorum *q = n->quorum;
    if (q->core == NULL)
        return;
    if (gap_ms > 0) {
        struct raft_input in = {.kind = RAFT_IN_NODE_STALLED, .gap_ms = gap_ms};
        quorum_step(q, &in, NULL, NULL);
    }
    uint64_t stall_ms = kb_lane_stall_ms(n->env, KB_LANE_RAFT);
    if (stall_ms >= n->config.times.disk_stall_exit) {
        node_panic_disk(n, "a write of the metadata log has been unfinished for too long",
                        -KB_ETIMEDOUT);
        return;
    }
    if (stall_ms >= n->config.times.disk_stall_raft && !q->stall_told) {
        struct raft_input in = {.kind = RAFT_IN_DISK_STALLED};
        q->stall_told = true;
        kb_log_warn("quorum", "event=disk_stall lane=raft ms=%llu", (unsigned long long)stall_ms);
        quorum_step(q, &in, NULL, NULL);
    } else if (stall_ms == 0) {
        q->stall_told = false;
    }
    quorum_waits_check(q);
    quorum_snapshot_if_due(q);
    if (q->closed != NULL && (q->role != RAFT_LEADER || now_ms >= q->close_deadline_ms))
        quorum_close_now(q);
}

static void on_log_closed(struct log *log, void *user, int result)
{
    struct node_quorum *q = user;
    void (*closed)(struct node *) = q->closed;
    if (result == 0)
        log_dir_mark_set(q->node->dir, q->dir_log, LOG_DIR_DURABLE, log_end_offset(log));
    q->closed = NULL;
    closed(q->node);
}

void quorum_close_now(struct node_quorum *q)
{
    if (q->stopping)
        return;
    q->stopping = true;
    kb_timer_cancel(q->timer);
    quorum_waits_fail(q, false, -KB_ECLOSED);
    log_close(q->log, on_log_closed, q);
}

void node_quorum_transfer(struct node *n)
{
    struct node_quorum *q = n->quorum;
    if (q->core == NULL || q->role != RAFT_LEADER)
        return;
    struct raft_input in = {.kind = RAFT_IN_TRANSFER, .node = {.id = RAFT_NOBODY}};
    quorum_step(q, &in, NULL, NULL);
}

void node_quorum_close(struct node *n, void (*done)(struct node *))
{
    n->quorum->closed = done;
    quorum_close_now(n->quorum);
}

void node_quorum_free(struct node *n)
{
    struct node_quorum *q = n->quorum;
    size_t cursor = 0;
    void *l = NULL;
    if (q == NULL)
        return;
    while (!TAILQ_EMPTY(&q->ops))
        op_free(q, TAILQ_FIRST(&q->ops));
    while (!TAILQ_EMPTY(&q->sends))
        send_free(TAILQ_FIRST(&q->sends));
    if (q->scanning)
        log_read_cancel(&q->scan);
    quorum_apply_free(q);
    quorum_files_free(q);
    while ((l = kb_map_next(&q->links, &cursor, NULL)) != NULL)
        (void)kb_free(l);
    kb_map_release(&q->links);
    (void)raft_core_free(q->core);
    (void)log_free(q->log);
    (void)kb_timer_free(q->timer);
    (void)kb_timer_free(q->apply_timer);
    (void)kb_free(q->voters);
    n->image = meta_image_free(n->image);
    n->quorum = kb_free(q);
}
