/* The Raft driver: inputs into the core, effects out of it, in the order raft.h demands. */
#include "broker/node/quorum.h"

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
    node_watch_controller(n, fx->leader.id, fx->term);
    node_lifecycle_leader(n);
}

static void run_append(struct node_quorum *q, const struct raft_effects *fx,
                       const struct node_message *msg, const struct raft_entry *entries)
{
    KB_ASSERT(msg != NULL); /* what is appended came with it */
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
    struct quorum_op *op = quorum_op_add(q, QUORUM_APPEND_COPY);
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
        quorum_op_add(q, QUORUM_RESET)->index = fx->log_reset_base.index;
        if (q->voters_index > fx->log_reset_base.index)
            q->voters_index = fx->log_reset_base.index;
    } else if (fx->truncate) {
        quorum_op_add(q, QUORUM_TRUNCATE)->index = fx->truncate_after;
        /* A voters record behind the cut is gone; another one may come in its place. */
        if (q->voters_index > fx->truncate_after)
            q->voters_index = fx->truncate_after;
    }
    if (fx->append_count > 0)
        run_append(q, fx, msg, entries);
}

static void run_effects(struct node_quorum *q, const struct raft_effects *fx,
                        const struct node_message *msg, const struct raft_entry *entries)
{
    struct raft_message snapshot_message;
    run_log(q, fx, msg, entries);
    if (fx->cut_healed)
        log_forget_cut(q->log);
    for (size_t i = 0; i < fx->n_messages; i++)
        quorum_send_message(q, &fx->messages[i], NULL);
    for (size_t i = 0; i < fx->n_sends; i++)
        quorum_send_start(q, &fx->sends[i]);
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
    if (fx->take_chunk && msg != NULL && quorum_message_read(msg->m->raft, &snapshot_message) == 0)
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
    quorum_sends_retry(q);
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
    if (appended && msg != NULL)
        quorum_pass_voters(q, msg->payload.data, msg->payload.size);
    if (!q->settling) {
        q->settling = true;
        settle(q);
        q->settling = false;
    } else {
        kb_timer_arm(q->apply_timer, 0);
    }
}

void quorum_on_apply_timer(void *arg)
{
    struct node_quorum *q = arg;
    if (q->settling)
        return;
    q->settling = true;
    settle(q);
    q->settling = false;
}

void quorum_on_timer(void *arg)
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

void quorum_link_input(struct node_quorum *q, struct quorum_link *l)
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
        quorum_link_input(q, l);
    }
    l->node = node;
    l->incarnation = p->incarnation;
    l->number = ++q->link_counter;
    l->state = RAFT_LINK_UP;
    quorum_link_input(q, l);
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
    quorum_link_input(q, l);
    if (node_peer_link(p, NODE_CONTROL) != NULL) {
        l->number = ++q->link_counter;
        l->state = RAFT_LINK_UP;
        quorum_link_input(q, l);
    }
}

void node_quorum_peer_accepting(struct node *n, struct node_peer *p)
{
    struct quorum_link *l = link_of(n->quorum, p);
    if (l->state != RAFT_LINK_CLOSED)
        return;
    l->state = RAFT_LINK_ACCEPTED;
    quorum_link_input(n->quorum, l);
}

void node_quorum_peer_dead(struct node *n, struct node_peer *p)
{
    struct quorum_link *l = link_of(n->quorum, p);
    if (l->state == RAFT_LINK_DEAD || l->state == RAFT_LINK_NONE)
        return;
    l->state = RAFT_LINK_DEAD;
    quorum_link_input(n->quorum, l);
}

/* ---- leading
 * ---------------------------------------------------------------------------------------------------------
 */

/* A membership change in a batch that has no offsets yet: its index counts from 0 (rule 5.7). */
static bool find_own_voters(const struct kb_block *block, struct raft_voters *ret)
{
    struct kw_batches it;
    struct kw_batch b;
    kw_batches_init(&it, block->data, block->size);
    return kw_batches_next(&it, &b) == KW_BATCHES_ONE && quorum_find_voters(&b, ret);
}

int64_t node_quorum_propose(struct node *n, const struct meta_records *records,
                            node_committed_fn *fn, void *arg)
{
    struct node_quorum *q = n->quorum;
    struct kw_batch_builder builder;
    struct kb_block *block = NULL;
    struct raft_effects fx;
    struct raft_voters voters;
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
    if (r < 0 || block == NULL)
        return r;
    struct raft_input in = {
        .kind = RAFT_IN_PROPOSE,
        .now_ms = node_now(n),
        .n_records = (uint32_t)records->count,
        .size_bytes = block->size,
        .voters = find_own_voters(block, &voters) ? &voters : NULL,
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
    struct quorum_op *op = quorum_op_add(q, QUORUM_APPEND_OWN);
    op->block = block;
    op->size = block->size;
    op->term = e.term;
    op->index = e.first;
    q->proposed = e.last;
    run_effects(q, &fx, NULL, NULL);
    if (fn != NULL)
        node_quorum_wait(n, e.last, e.term, UINT64_MAX, fn, arg);
    if (in.voters != NULL)
        q->voters_index = e.first + voters.index; /* the core has taken it with the proposal */
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

int node_quorum_confirm(struct node *n, node_committed_fn *fn, void *arg)
{
    struct node_quorum *q = n->quorum;
    struct raft_input in = {.kind = RAFT_IN_CONFIRM, .now_ms = node_now(n)};
    struct raft_effects fx;
    if (q->core == NULL || q->role != RAFT_LEADER || q->stopping)
        return -KB_EPERM;
    int r = raft_core_step(q->core, &in, &fx);
    if (r == RAFT_OK)
        quorum_wait_round(q, q->proposed > q->applied ? q->proposed : q->applied, fx.round, fn,
                          arg);
    run_effects(q, &fx, NULL, NULL);
    return r == RAFT_OK ? 0 : -KB_EPERM;
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
    quorum_space_tick(q, now_ms);
    quorum_waits_check(q);
    quorum_snapshot_if_due(q);
    node_voters_tick(n, now_ms);
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
        quorum_op_free(q, TAILQ_FIRST(&q->ops));
    while (!TAILQ_EMPTY(&q->sends))
        quorum_send_free(TAILQ_FIRST(&q->sends));
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
