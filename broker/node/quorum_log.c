/* The Raft log's writes in order, and entries on their way to peers. */
#include "broker/node/quorum.h"

/* ---- the log's operations, in order
 * -------------------------------------------------------------- */

struct quorum_op *quorum_op_add(struct node_quorum *q, enum quorum_op_kind kind)
{
    struct quorum_op *op = kb_new(struct quorum_op);
    op->kind = kind;
    op->generation = q->generation;
    op->hard_term = q->hard_term;
    TAILQ_INSERT_TAIL(&q->ops, op, entries);
    return op;
}

void quorum_op_free(struct node_quorum *q, struct quorum_op *op)
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
    quorum_op_free(q, op);
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
            quorum_no_space(q, "raft_log");
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

/* What is damaged stays, as the proof that it is, until the disk says that this directory may not
 * vote (5.5): a start in between would find a sound shorter log. And until there is something to
 * take its place. */
static bool keep_damage(const struct node_quorum *q, const struct quorum_op *op)
{
    return q->damage_drops &&
           (!q->bar_durable || (op->kind == QUORUM_TRUNCATE && TAILQ_NEXT(op, entries) == NULL));
}

/* Entries of a term that the vote file does not say yet must not be on the disk: a start that finds
 * them takes the vote for lost, and this directory may vote no more (5.5). On its way to a full
 * disk a vote may stay behind for long (seed 4753). */
static bool must_wait(const struct node_quorum *q, const struct quorum_op *op)
{
    return op->hard_term > q->term_saved || keep_damage(q, op);
}

void quorum_ops_run(struct node_quorum *q)
{
    struct quorum_op *op = NULL;
    while (!q->op_running && (op = TAILQ_FIRST(&q->ops)) != NULL && !must_wait(q, op)) {
        q->damage_drops = false;
        if (op->kind == QUORUM_TRUNCATE || op->kind == QUORUM_RESET) {
            q->op_running = true;
            if (op->kind == QUORUM_TRUNCATE)
                log_truncate_to(q->log, (int64_t)op->index + 1, on_cut, q);
            else
                log_reset(q->log, (int64_t)op->index + 1, kb_view_of(NULL, 0), on_cut, q);
            return;
        }
        int r = op_append(q, op);
        if (r == 1)
            return; /* on_space comes back */
        if (r < 0) {
            node_panic_disk(q->node, "the metadata log cannot be written", r);
            return;
        }
        quorum_op_free(q, op);
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

void quorum_send_free(struct quorum_send *s)
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
    /* Replaced meanwhile: what lies in these places now may be another leader's. */
    if (q->role != RAFT_LEADER || q->term != s->header.term)
        result = -KB_ENOENT;
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
    quorum_send_free(s);
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
void quorum_sends_retry(struct node_quorum *q)
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

void quorum_send_start(struct node_quorum *q, const struct raft_send *fx)
{
    struct quorum_send *s = kb_new(struct quorum_send);
    s->quorum = q;
    s->send_id = fx->send_id;
    s->from_index = fx->from_index;
    s->last_index = fx->last_index;
    s->header = fx->header;
    TAILQ_INSERT_TAIL(&q->sends, s, entries);
}
