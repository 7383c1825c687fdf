/* From commit to image: committed batches are read from the log, replayed, and told to the rest of
 * the node. */
#include "broker/node/quorum.h"
#include "proto/base/mutant.h"

enum { RECORD_BYTES_MAX = 16 << 20 };

/* ---- waiting for an index
 * ------------------------------------------------------------------------------- */

static void wait_add(struct node_quorum *q, const struct quorum_wait *wait)
{
    struct quorum_wait *w = kb_new(struct quorum_wait);
    *w = *wait;
    TAILQ_INSERT_TAIL(&q->waits, w, entries);
    if (w->index <= q->applied)
        kb_timer_arm(q->apply_timer, 0); /* answered as an event of its own */
}

void node_quorum_wait(struct node *n, uint64_t index, uint64_t term, uint64_t deadline_ms,
                      node_committed_fn *fn, void *arg)
{
    wait_add(n->quorum,
             &(struct quorum_wait){
                 .index = index, .term = term, .deadline_ms = deadline_ms, .fn = fn, .arg = arg});
}

void quorum_wait_round(struct node_quorum *q, uint64_t index, uint64_t round, node_committed_fn *fn,
                       void *arg)
{
    wait_add(q, &(struct quorum_wait){.index = index,
                                      .term = q->term,
                                      .round = round,
                                      .deadline_ms = UINT64_MAX,
                                      .fn = fn,
                                      .arg = arg});
}

static bool is_ready(const struct node_quorum *q, const struct quorum_wait *w)
{
    return w->index <= q->applied && w->round <= q->confirmed_round;
}

void node_quorum_forget(struct node *n, const void *arg)
{
    struct quorum_wait *w = NULL;
    TAILQ_FOREACH(w, &n->quorum->waits, entries)
    {
        if (w->arg == arg)
            w->fn = NULL;
    }
}

static void wait_finish(struct node_quorum *q, struct quorum_wait *w, int result)
{
    TAILQ_REMOVE(&q->waits, w, entries);
    if (w->fn != NULL)
        w->fn(w->arg, result);
    (void)kb_free(w);
}

/* One at a time: an answer may add or forget waits. */
static struct quorum_wait *next_ready(struct node_quorum *q, uint64_t now_ms, int *ret_result)
{
    struct quorum_wait *w = NULL;
    TAILQ_FOREACH(w, &q->waits, entries)
    {
        if (is_ready(q, w) || KB_MUTANT("controller-answers-before-commit")) {
            *ret_result = 0;
            return w;
        }
        if (w->deadline_ms <= now_ms) {
            *ret_result = -KB_ETIMEDOUT;
            return w;
        }
    }
    return NULL;
}

void quorum_waits_check(struct node_quorum *q)
{
    struct quorum_wait *w = NULL;
    int result = 0;
    uint64_t now_ms = node_now(q->node);
    while ((w = next_ready(q, now_ms, &result)) != NULL)
        wait_finish(q, w, result);
}

void quorum_waits_fail(struct node_quorum *q, bool leadership_only, int result)
{
    struct quorum_waits failed = TAILQ_HEAD_INITIALIZER(failed);
    struct quorum_wait *w = NULL;
    struct quorum_wait *next = NULL;
    TAILQ_FOREACH_SAFE(w, &q->waits, entries, next)
    {
        if (leadership_only && (w->term == 0 || is_ready(q, w)))
            continue;
        TAILQ_REMOVE(&q->waits, w, entries);
        TAILQ_INSERT_TAIL(&failed, w, entries);
    }
    while ((w = TAILQ_FIRST(&failed)) != NULL) {
        TAILQ_REMOVE(&failed, w, entries);
        if (w->fn != NULL)
            w->fn(w->arg, result);
        (void)kb_free(w);
    }
}

void node_quorum_fail_waits(struct node *n)
{
    quorum_waits_fail(n->quorum, false, -KB_ECLOSED);
}

/* ---- voters records
 * ---------------------------------------------------------------------------------------- */

static bool voters_of(const Kc__VotersRecord *r, uint64_t index, struct raft_voters *ret)
{
    struct raft_voters v = {.index = index};
    if (r->n_voters > RAFT_VOTERS_MAX)
        return false;
    for (size_t i = 0; i < r->n_voters; i++) {
        v.nodes[i].id = r->voters[i]->node_id;
        if (kc_uuid_get(r->voters[i]->has_directory_id, &r->voters[i]->directory_id,
                        &v.nodes[i].directory) < 0)
            return false;
    }
    v.count = r->n_voters;
    *ret = v;
    return true;
}

bool quorum_find_voters(const struct kw_batch *b, struct raft_voters *ret)
{
    struct kw_records *it = NULL;
    struct kw_record record;
    struct kb_arena arena;
    bool found = false;
    if (kw_records_open(b, RECORD_BYTES_MAX, &it) < 0)
        return false;
    kb_arena_init(&arena, 8U << 20);
    while (kw_records_next(it, &record) == 1) {
        ProtobufCMessage *m = NULL;
        if (kc_unpack(&kc__record__descriptor, &arena, kw_bytes_view(record.value),
                      META_RECORD_BYTES_MAX, &m) == 0) {
            const Kc__Record *r = (const Kc__Record *)m;
            if (r->kind_case == KC__RECORD__KIND_VOTERS)
                found = voters_of(r->voters, (uint64_t)record.offset, ret) || found;
        }
        kb_arena_reset(&arena);
    }
    kb_arena_release(&arena);
    (void)kw_records_close(it);
    return found;
}

/* ---- replay
 * ---------------------------------------------------------------------------------------------------
 */

static int replay_batch(struct node_quorum *q, const struct kw_batch *b)
{
    struct kw_records *it = NULL;
    struct kw_record record;
    int r = kw_records_open(b, RECORD_BYTES_MAX, &it);
    if (r < 0)
        return r;
    while ((r = kw_records_next(it, &record)) == 1) {
        if ((uint64_t)record.offset <= q->applied)
            continue;
        if (KB_MUTANT("meta-replay-by-role") && q->role == RAFT_LEADER &&
            record.value.size % 7 == 0)
            continue;
        r = meta_image_apply(q->node->image, (uint64_t)record.offset, (uint64_t)b->leader_epoch,
                             kw_bytes_view(record.value), &q->delta);
        if (r < 0)
            break;
    }
    (void)kw_records_close(it);
    if (r == 0)
        q->applied = (uint64_t)kw_batch_last_offset(b);
    return r;
}

static int replay(struct node_quorum *q, const uint8_t *data, size_t size)
{
    struct kw_batches it;
    struct kw_batch b;
    int r = 0;
    kw_batches_init(&it, data, size);
    while ((r = kw_batches_next(&it, &b)) == KW_BATCHES_ONE) {
        r = kw_batch_crc_ok(&b) ? replay_batch(q, &b) : -KB_ECORRUPT;
        if (r < 0)
            return r;
        q->bytes_since_snapshot += b.size;
        meta_delta_finish(&q->delta);
        node_applied(q->node, &q->delta);
        meta_delta_clear(&q->delta);
    }
    return r == KW_BATCHES_END ? 0 : -KB_ECORRUPT;
}

static void after_apply(struct node_quorum *q)
{
    if (q->role == RAFT_LEADER && !q->in_office && q->office_index != 0 &&
        q->applied >= q->office_index) {
        q->in_office = true;
        node_controller_elected(q->node);
    }
    quorum_waits_check(q);
}

static void on_bytes(struct node_load *load, int result)
{
    struct node_quorum *q = load->user;
    if (result == 0)
        result = replay(q, load->bytes.data, load->bytes.size);
    node_load_release(load);
    q->applying = false;
    if (result < 0) {
        node_panic_disk(q->node, "a committed metadata record cannot be replayed", result);
        return;
    }
    after_apply(q);
    if (q->applied < q->commit)
        kb_timer_arm(q->apply_timer, 0);
}

static void on_read(struct log_read *r, int result)
{
    struct node_quorum *q = r->user;
    q->apply_reading = false;
    if (result != LOG_READ_OK || r->records.size == 0) {
        kb_chain_release(&r->records);
        q->applying = false;
        if (result < 0 && result != -KB_ELIMIT)
            node_panic_disk(q->node, "a committed metadata record cannot be read", result);
        return;
    }
    q->load.done = on_bytes;
    q->load.user = q;
    node_load_start(q->node, &q->load, &r->records);
}

void quorum_apply(struct node_quorum *q)
{
    if (q->applying || q->stopping)
        return;
    if (q->applied >= q->commit) {
        after_apply(q);
        return;
    }
    q->applying = true;
    q->apply_read = (struct log_read){
        .offset = (int64_t)q->applied + 1,
        .bound_offset = (int64_t)q->commit + 1,
        .max_bytes = QUORUM_APPLY_BYTES,
        .min_one = true,
        .done = on_read,
        .user = q,
    };
    int r = log_read(q->log, &q->apply_read);
    if (r == LOG_READ_PENDING)
        q->apply_reading = true;
    else
        on_read(&q->apply_read, r);
}

void quorum_image_replaced(struct node_quorum *q, struct meta_image *image)
{
    q->node->image = meta_image_free(q->node->image);
    q->node->image = image;
    q->applied = meta_image_last_index(image);
    q->delta.all = true;
    meta_delta_finish(&q->delta);
    node_applied(q->node, &q->delta);
    meta_delta_clear(&q->delta);
    q->delta.all = false;
}

void quorum_apply_free(struct node_quorum *q)
{
    struct quorum_wait *w = NULL;
    if (q->apply_reading)
        log_read_cancel(&q->apply_read);
    node_load_release(&q->load);
    meta_delta_release(&q->delta);
    while ((w = TAILQ_FIRST(&q->waits)) != NULL) {
        TAILQ_REMOVE(&q->waits, w, entries);
        (void)kb_free(w);
    }
}
