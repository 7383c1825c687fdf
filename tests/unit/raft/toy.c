/* The toy cluster's nodes: each a driver as broker/node is one, with a disk lane in virtual time.
 */
#include "tests/unit/raft/toy.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "proto/base/assert.h"
#include "proto/base/mem.h"

#define TOY_CHUNKS 3

struct raft_node toy_node_of(int n)
{
    struct raft_node node = {.id = n + 1};
    node.directory.bytes[0] = (uint8_t)(n + 1);
    return node;
}

void toy_say(struct toy *t, const char *format, ...)
{
    char line[512];
    va_list args;
    if (t->tell == NULL)
        return;
    int size = snprintf(line, sizeof(line), "%5" PRIu64 " ", t->now_ms);
    va_start(args, format);
    (void)vsnprintf(line + size, sizeof(line) - (size_t)size, format, args);
    va_end(args);
    t->tell(t->tell_arg, line);
}

void toy_init(struct toy *t, uint64_t seed, int n_nodes, int n_voters)
{
    *t = (struct toy){.seed = seed, .n_nodes = n_nodes, .delay_ms_min = 1, .delay_ms_max = 1};
    KB_ASSERT(n_nodes <= TOY_NODES_MAX);
    kb_prng_init(&t->prng, seed);
    t->now_ms = 1;
    t->founders.count = (size_t)n_voters;
    for (int n = 0; n < n_voters; n++)
        t->founders.nodes[n] = toy_node_of(n);
    for (int n = 0; n < n_nodes; n++) {
        struct toy_node *node = &t->nodes[n];
        node->self = toy_node_of(n);
        node->disk.hard.vote.id = RAFT_NOBODY;
        node->disk_ms_min = 1;
        node->disk_ms_max = 1;
    }
}

static void node_release(struct toy_node *node)
{
    node->core = raft_core_free(node->core);
    node->n_ops = 0;
    node->n_queue = 0;
    node->log.count = 0;
}

void toy_release(struct toy *t)
{
    for (int n = 0; n < t->n_nodes; n++) {
        struct toy_node *node = &t->nodes[n];
        node_release(node);
        (void)kb_free(node->log.batches);
        (void)kb_free(node->disk.log.batches);
        (void)kb_free(node->saved.log.batches);
        (void)kb_free(node->ops);
        (void)kb_free(node->queue);
        (void)kb_free(node->queue_voters);
    }
    while (t->n_mail > 0)
        toy_mail_free(toy_mail_pop(t));
    (void)kb_free(t->mail);
    (void)kb_free(t->facts);
    (void)kb_free(t->committed);
    (void)kb_free(t->leaders);
}

/* ---- the disk ---------------------------------------------------------------------------------
 */

static void op_queue(struct toy *t, struct toy_node *node, const struct toy_op *op)
{
    kb_array_reserve(node->ops, node->n_ops, node->ops_capacity);
    struct toy_op *o = &node->ops[node->n_ops];
    *o = *op;
    o->done_ms = t->now_ms + kb_prng_range(&t->prng, node->disk_ms_min, node->disk_ms_max);
    if (node->n_ops > 0 && o->done_ms < o[-1].done_ms)
        o->done_ms = o[-1].done_ms;
    node->n_ops++;
}

static void op_to_image(struct toy *t, int n, const struct toy_op *op)
{
    struct toy_disk *d = &t->nodes[n].disk;
    switch (op->kind) {
    case TOY_OP_HARD:
        toy_judge_hard(t, n, &op->hard);
        d->hard = op->hard;
        /* Recovery finds the damage again until the bar it led to is on disk. */
        t->nodes[n].vote_damaged = false;
        t->nodes[n].log_state = RAFT_LOG_WHOLE;
        break;
    case TOY_OP_TRUNCATE:
        toy_log_truncate(&d->log, op->index);
        break;
    case TOY_OP_APPEND:
        toy_log_append(&d->log, &op->batch);
        break;
    case TOY_OP_RESET:
        toy_log_reset(&d->log, op->snapshot.at, op->snapshot.digest);
        break;
    case TOY_OP_SNAPSHOT:
        if (op->snapshot.at.index > d->snapshot.at.index)
            d->snapshot = op->snapshot;
        break;
    case TOY_OP_CHUNK:
        break;
    }
}

static void queue_input(struct toy_node *node, const struct raft_input *in)
{
    kb_array_reserve(node->queue_voters, node->n_queue, node->queue_voters_capacity);
    kb_array_reserve(node->queue, node->n_queue, node->queue_capacity);
    node->queue[node->n_queue] = *in;
    if (in->voters != NULL)
        node->queue_voters[node->n_queue] = *in->voters;
    node->n_queue++;
}

static void snapshot_done(struct toy *t, int n, const struct toy_op *op)
{
    struct toy_node *node = &t->nodes[n];
    if (!op->received) {
        if (op->snapshot.at.index <= node->log.base.index)
            return;
        toy_log_prune(&node->log, op->snapshot.at, op->snapshot.digest);
        toy_log_prune(&node->disk.log, op->snapshot.at, op->snapshot.digest);
        node->snapshot = op->snapshot;
        (void)toy_step(
            t, n, (struct raft_input){.kind = RAFT_IN_SNAPSHOT_TAKEN, .position = op->snapshot.at});
        return;
    }
    node->snapshot = op->snapshot;
    (void)toy_step(t, n,
                   (struct raft_input){.kind = RAFT_IN_SNAPSHOT_INSTALLED,
                                       .position = op->snapshot.at,
                                       .voters = &op->snapshot.voters});
    if (node->log.base.index >= op->snapshot.at.index)
        return;
    /* The log went on from it: only its front goes, on disk as soon as it is there. */
    toy_log_prune(&node->log, op->snapshot.at, op->snapshot.digest);
    if (toy_log_term(&node->disk.log, op->snapshot.at.index) == op->snapshot.at.term)
        toy_log_prune(&node->disk.log, op->snapshot.at, op->snapshot.digest);
}

static void op_done(struct toy *t, int n)
{
    struct toy_node *node = &t->nodes[n];
    struct toy_op op = node->ops[0];
    memmove(node->ops, node->ops + 1, --node->n_ops * sizeof(node->ops[0]));
    op_to_image(t, n, &op);
    switch (op.kind) {
    case TOY_OP_HARD:
        (void)toy_step(
            t, n, (struct raft_input){.kind = RAFT_IN_HARD_PERSISTED, .sequence = op.sequence});
        break;
    case TOY_OP_APPEND:
        (void)toy_step(t, n,
                       (struct raft_input){.kind = RAFT_IN_LOG_DURABLE,
                                           .position = {op.batch.entry.last, op.batch.entry.term},
                                           .generation = op.generation});
        break;
    case TOY_OP_SNAPSHOT:
        snapshot_done(t, n, &op);
        break;
    case TOY_OP_CHUNK:
        (void)toy_step(t, n,
                       (struct raft_input){.kind = RAFT_IN_SNAPSHOT_STORED,
                                           .position = op.snapshot.at,
                                           .offset = op.offset});
        break;
    case TOY_OP_TRUNCATE:
    case TOY_OP_RESET:
        break;
    }
}

/* ---- effects ----------------------------------------------------------------------------------
 */

static void append_batch(struct toy *t, int n, const struct toy_batch *b, uint64_t generation)
{
    struct toy_node *node = &t->nodes[n];
    toy_judge_append(t, n, b, toy_log_term(&node->log, b->entry.first - 1));
    toy_log_append(&node->log, b);
    op_queue(t, node,
             &(struct toy_op){.kind = TOY_OP_APPEND, .batch = *b, .generation = generation});
    if (b->has_voters)
        queue_input(node, &(struct raft_input){.kind = RAFT_IN_VOTERS, .voters = &b->voters});
}

static void log_effects(struct toy *t, int n, const struct raft_effects *fx,
                        const struct toy_mail *mail)
{
    struct toy_node *node = &t->nodes[n];
    if (fx->hard != NULL)
        op_queue(t, node,
                 &(struct toy_op){
                     .kind = TOY_OP_HARD, .hard = *fx->hard, .sequence = fx->hard_sequence});
    if (fx->log_reset) {
        KB_ASSERT(fx->log_reset_base.index == node->snapshot.at.index);
        toy_log_reset(&node->log, fx->log_reset_base, node->snapshot.digest);
        op_queue(t, node, &(struct toy_op){.kind = TOY_OP_RESET, .snapshot = node->snapshot});
        toy_say(t, "n%d starts its log anew behind %" PRIu64, n + 1, fx->log_reset_base.index);
    }
    if (fx->truncate) {
        toy_say(t, "n%d truncates from %" PRIu64 " to %" PRIu64, n + 1, toy_log_last(&node->log),
                fx->truncate_after);
        toy_log_truncate(&node->log, fx->truncate_after);
        op_queue(t, node, &(struct toy_op){.kind = TOY_OP_TRUNCATE, .index = fx->truncate_after});
    }
    for (size_t i = 0; i < fx->append_count; i++)
        append_batch(t, n, &mail->batches[fx->append_skip + i], fx->generation);
}

static void send_effects(struct toy *t, int n, const struct raft_effects *fx)
{
    struct toy_node *node = &t->nodes[n];
    for (size_t i = 0; i < fx->n_messages; i++)
        toy_send(t, n, &fx->messages[i], false, NULL, NULL);
    for (size_t i = 0; i < fx->n_sends; i++) {
        const struct raft_send *s = &fx->sends[i];
        struct raft_message m = s->header;
        struct raft_entry entries[TOY_BATCH_RECORDS_MAX];
        struct toy_batch batches[TOY_BATCH_RECORDS_MAX];
        uint64_t next = s->from_index;
        const struct toy_batch *b;
        while (m.n_entries < TOY_BATCH_RECORDS_MAX && next <= s->last_index &&
               (b = toy_log_find(&node->log, next)) != NULL) {
            batches[m.n_entries] = *b;
            entries[m.n_entries++] = b->entry;
            next = b->entry.last + 1;
        }
        if (m.n_entries > 0) {
            m.prev.index = entries[0].first - 1;
            m.prev.term = raft_core_term_at(node->core, m.prev.index);
        }
        m.entries = entries;
        if (m.n_entries > 0)
            toy_send(t, n, &m, true, batches, NULL);
        queue_input(node, &(struct raft_input){.kind = RAFT_IN_ENTRIES_SENT,
                                               .send_id = s->send_id,
                                               .position = {m.n_entries > 0 ? next - 1 : 0, 0}});
    }
    for (size_t i = 0; i < fx->n_snapshot_sends; i++) {
        struct raft_message m = fx->snapshot_sends[i].header;
        if (m.snapshot.index != node->snapshot.at.index)
            m.position = 0;
        m.snapshot = node->snapshot.at;
        m.done = m.position + 1 == TOY_CHUNKS;
        toy_send(t, n, &m, true, NULL, &node->snapshot);
        queue_input(node, &(struct raft_input){.kind = RAFT_IN_SNAPSHOT_SENT,
                                               .send_id = fx->snapshot_sends[i].send_id});
    }
}

static void apply_effects(struct toy *t, int n, const struct raft_effects *fx)
{
    struct toy_node *node = &t->nodes[n];
    if (node->applied_index < node->log.base.index) {
        KB_ASSERT(node->log.base.index == node->snapshot.at.index);
        node->applied_index = node->snapshot.at.index;
        node->digest = node->snapshot.digest;
    }
    if (fx->commit_index <= node->applied_index)
        return;
    while (node->applied_index < fx->commit_index) {
        const struct toy_batch *b = toy_log_find(&node->log, node->applied_index + 1);
        KB_ASSERT(b != NULL);
        node->digest = toy_digest(node->digest, b);
        toy_judge_applied(t, n, b);
        node->applied_index = b->entry.last;
    }
}

/* At the end of a millisecond, so that a story has one line for it. */
static void tell_applied(struct toy *t)
{
    for (int n = 0; n < t->n_nodes; n++) {
        struct toy_node *node = &t->nodes[n];
        if (!node->alive || node->applied_index == node->applied_told)
            continue;
        node->applied_told = node->applied_index;
        toy_say(t, "n%d applies up to %" PRIu64, n + 1, node->applied_index);
    }
}

static void role_effects(struct toy *t, int n, const struct raft_effects *fx)
{
    struct toy_node *node = &t->nodes[n];
    if (fx->transfer_end != RAFT_TRANSFER_NONE)
        toy_say(t, "n%d transfer %s", n + 1,
                fx->transfer_end == RAFT_TRANSFER_DONE ? "done" : "failed");
    if (!fx->role_changed)
        return;
    bool elected = fx->role == RAFT_LEADER && node->role != RAFT_LEADER;
    node->role = fx->role;
    node->term = fx->term;
    node->leader = fx->leader;
    if (fx->leader.id == RAFT_NOBODY || fx->role == RAFT_LEADER)
        toy_say(t, "n%d %s term=%" PRIu64, n + 1, raft_role_name(fx->role), fx->term);
    else
        toy_say(t, "n%d %s term=%" PRIu64 " of n%d", n + 1, raft_role_name(fx->role), fx->term,
                fx->leader.id);
    if (!elected)
        return;
    toy_judge_leader(t, n);
    node->became_leader_ms = t->now_ms;
    queue_input(node,
                &(struct raft_input){.kind = RAFT_IN_PROPOSE, .n_records = 1, .size_bytes = 16});
}

static int step_once(struct toy *t, int n, struct raft_input *in, const struct toy_mail *mail)
{
    struct toy_node *node = &t->nodes[n];
    struct raft_effects fx;
    in->now_ms = t->now_ms;
    bool pre_vote = in->kind == RAFT_IN_MESSAGE && in->message->kind == RAFT_MSG_PRE_VOTE;
    t->steps++;
    int r = raft_core_step(node->core, in, &fx);
    if (r < 0)
        toy_fail(t, "n%d refuses input %s %s: %d", n + 1, raft_input_kind_name(in->kind),
                 in->message != NULL ? raft_message_kind_name(in->message->kind) : "", r);
    if (pre_vote && fx.hard != NULL)
        toy_fail(t, "R11: a pre-vote changes n%d's durable state", n + 1);
    log_effects(t, n, &fx, mail);
    if (in->kind == RAFT_IN_PROPOSE && r == 0) {
        struct toy_batch b = {.entry = fx.proposed, .value = ++t->values};
        if (in->voters != NULL) {
            b.has_voters = true;
            b.voters = *in->voters;
            b.voters.index = fx.proposed.first + in->voters->index;
        }
        toy_judge_append(t, n, &b, toy_log_term(&node->log, b.entry.first - 1));
        toy_log_append(&node->log, &b);
        op_queue(t, node,
                 &(struct toy_op){.kind = TOY_OP_APPEND, .batch = b, .generation = fx.generation});
    }
    if (fx.take_chunk) {
        bool last = mail->message.done;
        op_queue(t, node,
                 &(struct toy_op){.kind = last ? TOY_OP_SNAPSHOT : TOY_OP_CHUNK,
                                  .received = true,
                                  .offset = mail->message.position + 1,
                                  .snapshot = mail->snapshot});
    }
    node->deadline_ms = fx.deadline_ms;
    send_effects(t, n, &fx);
    apply_effects(t, n, &fx);
    role_effects(t, n, &fx);
    toy_judge_commit(t, n);
    return r;
}

/* Voters inputs must follow their append at once, so the queue is worked off first. */
static int step_with(struct toy *t, int n, struct raft_input in, const struct toy_mail *mail)
{
    struct toy_node *node = &t->nodes[n];
    int r = step_once(t, n, &in, mail);
    while (node->n_queue > 0) {
        struct raft_input next = node->queue[0];
        struct raft_voters voters = node->queue_voters[0];
        node->n_queue--;
        memmove(node->queue, node->queue + 1, node->n_queue * sizeof(node->queue[0]));
        memmove(node->queue_voters, node->queue_voters + 1,
                node->n_queue * sizeof(node->queue_voters[0]));
        if (next.voters != NULL)
            next.voters = &voters;
        (void)step_once(t, n, &next, NULL);
    }
    return r;
}

int toy_step(struct toy *t, int n, struct raft_input in)
{
    return step_with(t, n, in, NULL);
}

/* ---- starting and killing ---------------------------------------------------------------------
 */

/* As the driver does at a start: the snapshot is there, the log may not have followed yet. */
static void recover(struct toy_node *node)
{
    struct toy_disk *d = &node->disk;
    if (d->snapshot.at.index > d->log.base.index) {
        if (toy_log_term(&d->log, d->snapshot.at.index) == d->snapshot.at.term)
            toy_log_prune(&d->log, d->snapshot.at, d->snapshot.digest);
        else
            toy_log_reset(&d->log, d->snapshot.at, d->snapshot.digest);
    }
    toy_log_copy(&node->log, &d->log);
    node->snapshot = d->snapshot;
}

static struct raft_core *core_of(struct toy *t, struct toy_node *node)
{
    struct raft_voters sets[64] = {node->snapshot.at.index > 0 ? node->snapshot.voters
                                                               : t->founders};
    struct raft_entry *entries = kb_new_array(struct raft_entry, node->log.count);
    size_t n_sets = 1;
    for (size_t i = 0; i < node->log.count; i++) {
        entries[i] = node->log.batches[i].entry;
        if (node->log.batches[i].has_voters && n_sets < 64)
            sets[n_sets++] = node->log.batches[i].voters;
    }
    struct raft_core_config config = {.self = node->self,
                                      .seed = t->seed * 1000 + node->life * 10U +
                                              (uint64_t)node->self.id,
                                      .now_ms = t->now_ms,
                                      .hard = node->disk.hard,
                                      .vote_damaged = node->vote_damaged,
                                      .log_state = node->log_state,
                                      .founding = t->founding,
                                      .snapshot = node->snapshot.at,
                                      .entries = entries,
                                      .n_entries = node->log.count,
                                      .voters = sets,
                                      .n_voters = n_sets};
    struct raft_core *core = NULL;
    int r = raft_core_new(&config, &core);
    if (r < 0)
        toy_fail(t, "n%d cannot start: %d", node->self.id, r);
    (void)kb_free(entries);
    return core;
}

void toy_start(struct toy *t, int n)
{
    struct toy_node *node = &t->nodes[n];
    KB_ASSERT(!node->alive);
    node->alive = true;
    node->life++;
    recover(node);
    node->applied_index = node->snapshot.at.index;
    node->applied_told = node->applied_index;
    node->digest = node->snapshot.digest;
    node->commit_seen = 0;
    node->role = RAFT_OBSERVER;
    node->core = core_of(t, node);
    if (node->log_state == RAFT_LOG_CUT)
        node->log_state = RAFT_LOG_WHOLE;
    toy_say(t, "n%d starts with %" PRIu64 " entries' end, term=%" PRIu64, n + 1,
            toy_log_last(&node->log), node->disk.hard.term);
    (void)toy_step(t, n, (struct raft_input){.kind = RAFT_IN_TICK});
    for (int peer = 0; peer < t->n_nodes; peer++)
        if (peer != n && t->nodes[peer].alive) {
            toy_link_event(t, peer, n, RAFT_LINK_DEAD, TOY_BY_HELLO, t->delay_ms_min);
            toy_open_link(t, n, peer);
        }
}

void toy_kill(struct toy *t, int n, bool power)
{
    struct toy_node *node = &t->nodes[n];
    KB_ASSERT(node->alive);
    toy_say(t, "n%d %s", n + 1, power ? "loses power" : "is killed");
    size_t survive = power ? kb_prng_below(&t->prng, node->n_ops + 1) : node->n_ops;
    for (size_t i = 0; i < survive; i++)
        op_to_image(t, n, &node->ops[i]);
    node->alive = false;
    node_release(node);
    for (int peer = 0; peer < t->n_nodes; peer++)
        if (peer != n && t->links[n][peer].number != 0)
            toy_close_link(t, n, peer, RAFT_LINK_DEAD);
}

void toy_sleep(struct toy *t, int n, uint64_t ms)
{
    t->nodes[n].slept_from_ms = t->now_ms;
    t->nodes[n].asleep_until_ms = t->now_ms + ms;
    toy_say(t, "n%d is stopped for %" PRIu64 " ms", n + 1, ms);
}

void toy_damage_log(struct toy *t, int n, size_t batches)
{
    struct toy_node *node = &t->nodes[n];
    KB_ASSERT(!node->alive);
    while (batches-- > 0 && node->disk.log.count > 0)
        node->disk.log.count--;
    node->log_state = RAFT_LOG_DAMAGED;
    t->lossy_disks = true;
    toy_say(t, "n%d's log is damaged behind %" PRIu64, n + 1, toy_log_last(&node->disk.log));
}

void toy_cut_log(struct toy *t, int n, size_t batches)
{
    toy_damage_log(t, n, batches);
    t->nodes[n].log_state = RAFT_LOG_CUT;
}

static void disk_copy(struct toy_disk *to, const struct toy_disk *from)
{
    to->hard = from->hard;
    to->snapshot = from->snapshot;
    toy_log_copy(&to->log, &from->log);
}

void toy_save_disk(struct toy *t, int n)
{
    disk_copy(&t->nodes[n].saved, &t->nodes[n].disk);
}

void toy_restore_disk(struct toy *t, int n)
{
    KB_ASSERT(!t->nodes[n].alive);
    disk_copy(&t->nodes[n].disk, &t->nodes[n].saved);
    t->lossy_disks = true;
    toy_say(t, "n%d's disk is rolled back to %" PRIu64, n + 1, toy_log_last(&t->nodes[n].disk.log));
}

void toy_damage_vote(struct toy *t, int n)
{
    struct toy_node *node = &t->nodes[n];
    KB_ASSERT(!node->alive);
    node->disk.hard = (struct raft_hard_state){.vote.id = RAFT_NOBODY};
    node->vote_damaged = true;
    t->lossy_disks = true;
    toy_say(t, "n%d's vote is damaged", n + 1);
}

void toy_wipe(struct toy *t, int n)
{
    struct toy_node *node = &t->nodes[n];
    KB_ASSERT(!node->alive);
    node->disk.log.count = 0;
    node->disk.log.base = (struct raft_position){0, 0};
    node->disk.log.base_digest = 0;
    node->disk.snapshot = (struct toy_snapshot){0};
    node->disk.hard = (struct raft_hard_state){.vote.id = RAFT_NOBODY};
    node->self.directory.bytes[1]++;
    t->lossy_disks = true;
    toy_say(t, "n%d's directory is wiped", n + 1);
}

/* ---- time -------------------------------------------------------------------------------------
 */

static bool awake(const struct toy *t, const struct toy_node *node)
{
    return node->alive && t->now_ms >= node->asleep_until_ms;
}

static void deliver(struct toy *t, struct toy_mail *mail)
{
    struct toy_node *node = &t->nodes[mail->to];
    struct raft_node from = t->nodes[mail->from].self;
    if (!node->alive)
        return;
    if (mail->link_event) {
        /* A breaking link that has been replaced already is no news. */
        uint64_t number = t->links[mail->to][mail->from].number;
        if (mail->link != TOY_BY_HELLO && mail->link != number)
            return;
        (void)step_with(t, mail->to,
                        (struct raft_input){.kind = RAFT_IN_LINK,
                                            .node = from,
                                            .link = mail->link,
                                            .link_state = mail->link_state},
                        mail);
        return;
    }
    struct raft_entry entries[TOY_BATCH_RECORDS_MAX];
    for (size_t i = 0; i < mail->message.n_entries; i++)
        entries[i] = mail->batches[i].entry;
    mail->message.entries = entries;
    (void)step_with(
        t, mail->to,
        (struct raft_input){
            .kind = RAFT_IN_MESSAGE, .node = from, .link = mail->link, .message = &mail->message},
        mail);
}

/* Mail for a stopped process waits in its sockets. */
static uint64_t mail_time(const struct toy *t)
{
    return t->n_mail > 0 ? t->mail[0]->at_ms : UINT64_MAX;
}

static void postpone(struct toy *t)
{
    struct toy_mail *m = toy_mail_pop(t);
    struct toy_node *node = &t->nodes[m->to];
    if (node->alive && t->now_ms < node->asleep_until_ms) {
        m->at_ms = node->asleep_until_ms;
        toy_mail_push(t, m);
        return;
    }
    deliver(t, m);
    toy_mail_free(m);
}

static uint64_t max_u64(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

/* Disk and timers of a node: when is the next of them, and is it the disk? */
static uint64_t node_time(const struct toy_node *node, bool *ret_disk)
{
    uint64_t disk = node->n_ops > 0 && !node->disk_stuck ? node->ops[0].done_ms : UINT64_MAX;
    *ret_disk = disk <= node->deadline_ms;
    uint64_t at = *ret_disk ? disk : node->deadline_ms;
    return at == UINT64_MAX ? at : max_u64(at, node->asleep_until_ms);
}

static void wake(struct toy *t, int n)
{
    struct toy_node *node = &t->nodes[n];
    if (node->slept_from_ms == 0 || !awake(t, node))
        return;
    uint64_t gap_ms = node->asleep_until_ms - node->slept_from_ms;
    node->slept_from_ms = 0;
    toy_say(t, "n%d goes on", n + 1);
    (void)toy_step(t, n, (struct raft_input){.kind = RAFT_IN_NODE_STALLED, .gap_ms = gap_ms});
}

void toy_run_until(struct toy *t, uint64_t ms)
{
    for (;;) {
        uint64_t at = mail_time(t);
        int who = -1;
        bool disk = false;
        for (int n = 0; n < t->n_nodes; n++) {
            bool its_disk;
            if (!t->nodes[n].alive)
                continue;
            uint64_t its = node_time(&t->nodes[n], &its_disk);
            if (its < at) {
                at = its;
                who = n;
                disk = its_disk;
            }
        }
        if (at > t->now_ms)
            tell_applied(t);
        if (at > ms)
            break;
        t->now_ms = max_u64(t->now_ms, at);
        if (who < 0) {
            postpone(t);
        } else if (disk) {
            op_done(t, who);
        } else {
            wake(t, who);
            (void)toy_step(t, who, (struct raft_input){.kind = RAFT_IN_TICK});
            struct toy_node *node = &t->nodes[who];
            if (node->deadline_ms <= t->now_ms)
                toy_fail(t, "n%d's deadline %" PRIu64 " stands still", who + 1, node->deadline_ms);
        }
    }
    t->now_ms = max_u64(t->now_ms, ms);
}

void toy_run(struct toy *t, uint64_t ms)
{
    toy_run_until(t, t->now_ms + ms);
}

int toy_leader(const struct toy *t)
{
    int best = -1;
    for (int n = 0; n < t->n_nodes; n++)
        if (t->nodes[n].alive && t->nodes[n].role == RAFT_LEADER &&
            (best < 0 || t->nodes[n].term > t->nodes[best].term))
            best = n;
    return best;
}

int toy_run_to_leader(struct toy *t, uint64_t ms)
{
    uint64_t end = t->now_ms + ms;
    while (t->now_ms < end) {
        int n = toy_leader(t);
        if (n >= 0) {
            struct raft_status s;
            raft_core_status(t->nodes[n].core, &s);
            if (s.term_start != 0 && s.commit_index >= s.term_start)
                return n;
        }
        toy_run(t, 1);
    }
    return -1;
}

/* ---- requests ---------------------------------------------------------------------------------
 */

int toy_propose(struct toy *t, int n, uint32_t n_records, uint32_t size_bytes)
{
    return toy_step(t, n,
                    (struct raft_input){
                        .kind = RAFT_IN_PROPOSE, .n_records = n_records, .size_bytes = size_bytes});
}

int toy_propose_voters(struct toy *t, int n, const struct raft_voters *voters)
{
    return toy_step(
        t, n,
        (struct raft_input){
            .kind = RAFT_IN_PROPOSE, .n_records = 1, .size_bytes = 64, .voters = voters});
}

void toy_take_snapshot(struct toy *t, int n)
{
    struct toy_node *node = &t->nodes[n];
    struct raft_position at = {node->applied_index,
                               raft_core_term_at(node->core, node->applied_index)};
    if (node->applied_index <= node->snapshot.at.index)
        return;
    struct toy_snapshot s = {.at = at, .digest = node->digest};
    s.voters = node->snapshot.at.index > 0 ? node->snapshot.voters : t->founders;
    for (size_t i = 0; i < node->log.count; i++)
        if (node->log.batches[i].has_voters && node->log.batches[i].entry.last <= at.index)
            s.voters = node->log.batches[i].voters;
    toy_say(t, "n%d takes a snapshot at %" PRIu64, n + 1, at.index);
    op_queue(t, node, &(struct toy_op){.kind = TOY_OP_SNAPSHOT, .snapshot = s});
}
