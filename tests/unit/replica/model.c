/* The world around three replicas: what may happen in a step, and how effects become messages. */
#include "tests/unit/replica/model.h"

#include <string.h>

#include "proto/base/assert.h"

static bool chance(struct model *m, uint64_t one_in)
{
    return kb_prng_below(&m->prng, one_in) == 0;
}

static int64_t between(struct model *m, int64_t low, int64_t high)
{
    return (int64_t)kb_prng_range(&m->prng, (uint64_t)low, (uint64_t)high);
}

/* ---- effects --------------------------------------------------------------------------------- */

static void queue_proposal(struct model *m, int node)
{
    const struct rep_proposal *body = rep_proposal(m->nodes[node].toy.rep);
    if (body != NULL)
        m->proposals[node] = (struct model_proposal){true, m->nodes[node].term, node,
                                                     m->nodes[node].toy.broker_epoch, *body};
}

/* The node has carried out what concerns its log; the rest becomes messages. */
static void after(struct model *m, int node)
{
    struct model_node *n = &m->nodes[node];
    uint32_t seen = n->toy.seen;
    int32_t epoch;

    n->toy.seen = 0;
    if (seen & REP_FX_TRUNCATE)
        m->truncations++;
    if (seen & REP_FX_RESET)
        m->resets++;
    if (seen & REP_FX_ROLE)
        n->asking = false;
    if (seen & REP_FX_FETCH)
        n->wants_fetch = true;
    if (seen & REP_FX_REPORT_DURABLE)
        n->wants_report = true;
    if (seen & REP_FX_PROPOSE)
        queue_proposal(m, node);
    n->wants_controller = rep_standing_report(n->toy.rep, &epoch) != REP_REPORT_NONE;
    if (!n->toy.hold_cuts && (seen & REP_FX_RESET))
        n->damaged = false;
}

static void do_and_after(struct model *m, int node)
{
    toy_node_do(&m->nodes[node].toy, m->now_ms);
    after(m, node);
}

static void act_finish_cut(struct model *m, int node)
{
    struct model_node *n = &m->nodes[node];

    if (rep_state(n->toy.rep) != REP_TRUNCATING)
        return;
    n->toy.hold_cuts = false;
    if (n->toy.reset_to >= 0)
        n->damaged = false;
    if (n->hw_checkpoint > rep_hw(n->toy.rep))
        n->hw_checkpoint = rep_hw(n->toy.rep);
    toy_node_finish_cut(&n->toy, m->now_ms);
    after(m, node);
    n->toy.hold_cuts = chance(m, 2);
}

/* ---- links ----------------------------------------------------------------------------------- */

static void cut_link(struct model *m, int node)
{
    m->to_leader[node].count = 0;
    m->from_leader[node].count = 0;
    m->nodes[node].link++;
    m->nodes[node].asking = false;
}

static struct model_message pop(struct model_queue *q)
{
    struct model_message first = q->messages[0];
    memmove(&q->messages[0], &q->messages[1], (--q->count) * sizeof(q->messages[0]));
    return first;
}

static void act_speak(struct model *m, int node)
{
    struct model_node *n = &m->nodes[node];
    struct model_queue *q = &m->to_leader[node];
    struct rep_fetch_target at;
    bool fetch = n->wants_fetch || !n->asking;

    if (!rep_fetch_position(n->toy.rep, &at) || q->count == MODEL_QUEUE_MAX)
        return;
    if (m->asked[node] != at.leader - 1)
        cut_link(m, node);
    if (!fetch && !n->wants_report)
        return;
    m->asked[node] = at.leader - 1;
    at.fetch.link = n->link;
    q->messages[q->count++] = (struct model_message){.kind = fetch ? MODEL_FETCH : MODEL_DURABLE,
                                                     .fetch = at.fetch};
    if (fetch) {
        n->asking = true;
        n->wants_fetch = false;
    } else {
        n->wants_report = false;
    }
}

static void answer(struct model *m, int leader, int node, const struct model_message *request)
{
    struct model_node *n = &m->nodes[leader];
    struct model_message a = {.kind = MODEL_ANSWER, .fetch = request->fetch};

    a.verdict = rep_follower_fetch(n->toy.rep, &request->fetch, m->now_ms, &a.got, &n->toy.fx);
    do_and_after(m, leader);
    if (a.verdict == REP_FETCH_STALE_LINK)
        return;
    TOY_CHECK(a.verdict != REP_FETCH_INVALID);
    for (int64_t o = request->fetch.offset;
         a.verdict == REP_FETCH_OK && o < a.got.bound && a.n_batch < MODEL_BATCH_MAX; o++)
        a.batch[a.n_batch++] = n->toy.log.records[o];
    if (m->from_leader[node].count < MODEL_QUEUE_MAX)
        m->from_leader[node].messages[m->from_leader[node].count++] = a;
}

static void act_leader_hears(struct model *m, int node)
{
    struct model_queue *q = &m->to_leader[node];
    int leader = m->asked[node];
    struct model_message msg;

    if (q->count == 0 || !m->nodes[leader].up || !m->nodes[leader].registered)
        return;
    msg = pop(q);
    if (msg.kind == MODEL_FETCH) {
        answer(m, leader, node, &msg);
        return;
    }
    rep_follower_durable(m->nodes[leader].toy.rep, &msg.fetch, m->now_ms, &m->nodes[leader].toy.fx);
    do_and_after(m, leader);
}

static void take_data(struct model *m, int node, const struct model_message *msg,
                      const struct rep_answer *a)
{
    struct toy_node *t = &m->nodes[node].toy;
    struct rep_fetch_target at;

    TOY_CHECK(rep_fetch_position(t->rep, &at));
    for (int i = 0; i < msg->n_batch; i++) {
        struct toy_record rec = msg->batch[i];
        TOY_CHECK(
            rep_answer_batch(t->rep, a, t->log.end, at.fetch.last_epoch, a->offset + i, rec.epoch));
        toy_log_append(&t->log, rec.epoch, rec.value);
    }
    rep_on_appended(t->rep, t->log.end, m->now_ms, &t->fx);
    do_and_after(m, node);
    rep_answer_end(t->rep, a, m->now_ms, &t->fx);
    do_and_after(m, node);
}

static void act_follower_hears(struct model *m, int node)
{
    struct model_queue *q = &m->from_leader[node];
    struct model_node *n = &m->nodes[node];
    struct model_message msg;
    int32_t epoch;

    if (q->count == 0)
        return;
    msg = pop(q);
    n->asking = false;
    if (msg.verdict != REP_FETCH_OK && msg.verdict != REP_FETCH_DIVERGING &&
        msg.verdict != REP_FETCH_RESET)
        return;
    struct rep_answer a = {
        .kind = msg.verdict == REP_FETCH_DIVERGING ? REP_ANSWER_DIVERGING
                : msg.verdict == REP_FETCH_RESET   ? REP_ANSWER_RESET
                                                   : REP_ANSWER_DATA,
        .leader = m->asked[node] + 1,
        .leader_epoch = msg.fetch.leader_epoch,
        .offset = msg.fetch.offset,
        .high_watermark = msg.got.high_watermark,
        .log_start = msg.got.log_start,
        .epoch_start = msg.got.epoch_start,
        .diverging = msg.got.diverging,
        .reset_offset = msg.got.reset_offset,
    };
    enum rep_answer_result r = rep_answer_begin(n->toy.rep, &a, m->now_ms, &n->toy.fx);
    do_and_after(m, node);
    TOY_CHECK(rep_standing_report(n->toy.rep, &epoch) != REP_REPORT_CUT_BELOW_HW);
    if (r == REP_ANSWER_TAKE)
        take_data(m, node, &msg, &a);
}

/* ---- nodes ----------------------------------------------------------------------------------- */

static void act_apply_image(struct model *m, int node)
{
    struct model_node *n = &m->nodes[node];

    if (!n->registered || n->applied >= m->n_images)
        return;
    toy_node_image(&n->toy, &m->images[n->applied++].image, m->now_ms);
    after(m, node);
}

static void act_append(struct model *m, int node)
{
    struct toy_node *t = &m->nodes[node].toy;
    int acks = chance(m, 2) ? -1 : 1;

    if (rep_check_append(t->rep, acks, m->now_ms) != REP_APPEND_OK || t->log.end > 600)
        return;
    for (int64_t n = between(m, 1, 3); n > 0; n--)
        toy_log_append(&t->log, rep_leader_epoch(t->rep), ++m->values);
    rep_on_appended(t->rep, t->log.end, m->now_ms, &t->fx);
    do_and_after(m, node);
}

static void act_disk(struct model *m, int node)
{
    struct toy_node *t = &m->nodes[node].toy;
    uint64_t generation = t->log.generation;

    if (rep_state(t->rep) == REP_TRUNCATING)
        return;
    t->log.written = between(m, t->log.written, t->log.end);
    rep_on_written(t->rep, generation, t->log.written, m->now_ms, &t->fx);
    do_and_after(m, node);
    t->log.durable = between(m, t->log.durable, t->log.written);
    rep_on_durable(t->rep, generation, t->log.durable, m->now_ms, &t->fx);
    do_and_after(m, node);
}

static void act_crash(struct model *m, int node)
{
    struct model_node *n = &m->nodes[node];
    int64_t kept = m->strong ? n->toy.log.durable : n->toy.log.written;

    n->up = n->registered = false;
    toy_node_free(&n->toy);
    toy_log_cut(&n->toy.log, between(m, kept, n->toy.log.end)); /* a torn tail */
    toy_log_recover(&n->toy.log);
    for (int i = 0; i < MODEL_NODES; i++) {
        if (i == node || m->asked[i] == node)
            cut_link(m, i);
    }
    n->reply.in_flight = false;
    n->asking = n->wants_fetch = n->wants_report = n->wants_controller = false;
}

static void act_start(struct model *m, int node)
{
    struct model_node *n = &m->nodes[node];

    n->up = true;
    n->toy.seen = 0;
    n->toy.hold_cuts = chance(m, 2);
    toy_node_open(&n->toy, node + 1, n->damaged ? REP_LOG_DAMAGED : REP_LOG_WHOLE, n->hw_checkpoint,
                  m->now_ms);
    after(m, node);
}

/* The node registers, and its loop replays up to its own registration. */
static void act_register(struct model *m, int node)
{
    struct model_node *n = &m->nodes[node];

    model_register(m, node);
    n->registered = true;
    n->registration = n->applied = m->n_images - 1;
    n->term = m->term;
    n->toy.broker_epoch = m->brokers[node].broker_epoch;
    rep_set_broker_epoch(n->toy.rep, n->toy.broker_epoch);
}

static void act_damage(struct model *m, int node)
{
    const struct toy_image *im = model_image(m);
    bool others = false;

    for (int i = 0; i < MODEL_NODES; i++) {
        if (m->nodes[i].damaged)
            return; /* one disk at a time */
        others |= i != node && (im->replicas[i].in_isr || im->replicas[i].in_elr);
    }
    if (!others || rep_state(m->nodes[node].toy.rep) == REP_TRUNCATING)
        return;
    m->nodes[node].damaged = true;
    rep_on_damaged(m->nodes[node].toy.rep, 0, m->now_ms, &m->nodes[node].toy.fx);
    do_and_after(m, node);
}

static void act_delete(struct model *m, int node)
{
    struct toy_node *t = &m->nodes[node].toy;
    int64_t to = between(m, 0, rep_hw(t->rep));

    if (rep_check_delete(t->rep, to, m->now_ms, &to) == REP_DELETE_OK && to > t->log.start) {
        t->log.start = to;
        rep_on_log_start(t->rep, to, to, m->now_ms, &t->fx);
        do_and_after(m, node);
    }
    if (rep_is_leader(t->rep) && t->log.start > m->deleted_to &&
        rep_delete_done(t->rep, rep_leader_epoch(t->rep), t->log.start) == REP_APPEND_DONE)
        m->deleted_to = t->log.start;
}

static void act_controller_reply(struct model *m, int node)
{
    struct model_node *n = &m->nodes[node];
    struct model_reply reply = n->reply;

    if (n->term != m->term) { /* the new controller is found */
        n->term = m->term;
        if (rep_proposal(n->toy.rep) != NULL) {
            rep_proposal_answered(n->toy.rep, rep_proposal(n->toy.rep)->id, REP_PROPOSAL_LOST,
                                  m->now_ms, &n->toy.fx);
            do_and_after(m, node);
        }
        return;
    }
    n->reply.in_flight = false;
    if (!reply.in_flight || reply.term != n->term || reply.broker_epoch != n->toy.broker_epoch)
        return;
    rep_proposal_answered(n->toy.rep, reply.id, reply.result, m->now_ms, &n->toy.fx);
    do_and_after(m, node);
}

/* ---- steps ----------------------------------------------------------------------------------- */

static void disturb(struct model *m, int node)
{
    struct model_node *n = &m->nodes[node];
    const struct toy_image *im = model_image(m);

    switch (kb_prng_below(&m->prng, 8)) {
    case 0:
        if (n->up)
            act_crash(m, node);
        break;
    case 1:
        if (!m->brokers[node].fenced)
            model_fence(m, 1u << node);
        break;
    case 2:
        m->term++;
        break;
    case 3:
        if (im->replicas[node].in_isr && !m->brokers[node].fenced)
            model_move_leader(m, node);
        break;
    case 4:
        if (n->up && chance(m, 3))
            act_damage(m, node);
        break;
    case 5:
        if (chance(m, 6)) { /* power cut of all at once (row 6) */
            for (int i = 0; i < MODEL_NODES; i++) {
                if (m->nodes[i].up)
                    act_crash(m, i);
            }
            model_fence(m, 7);
        }
        break;
    default:
        cut_link(m, node);
    }
}

static void act_up(struct model *m, int node, uint64_t what)
{
    struct model_node *n = &m->nodes[node];

    switch (what) {
    case 0:
        act_apply_image(m, node);
        break;
    case 1:
        act_speak(m, node);
        break;
    case 2:
        act_leader_hears(m, node);
        break;
    case 3:
        act_follower_hears(m, node);
        break;
    case 4:
        act_disk(m, node);
        break;
    case 5:
        act_append(m, node);
        break;
    case 6:
        rep_tick(n->toy.rep, m->now_ms, &n->toy.fx);
        do_and_after(m, node);
        break;
    case 7:
        act_finish_cut(m, node);
        break;
    case 8:
        act_controller_reply(m, node);
        break;
    case 9:
        n->toy.controller_heard_ms = m->now_ms;
        n->hw_checkpoint = rep_hw(n->toy.rep);
        break;
    default:
        act_delete(m, node);
    }
}

/* What the controller does about a node that is down, new, or has something to say. */
static void act_controller(struct model *m, int node)
{
    struct model_node *n = &m->nodes[node];

    if (!n->up) {
        if (!m->brokers[node].fenced)
            model_fence(m, 1u << node);
    } else if (!n->registered) {
        act_register(m, node);
    } else if (m->brokers[node].fenced && n->applied > n->registration) {
        model_unfence(m, node);
    } else if (m->proposals[node].in_flight) {
        model_take_proposal(m, node);
    } else if (n->wants_controller && !m->brokers[node].fenced) {
        model_take_report(m, node);
    }
}

void model_step(struct model *m)
{
    int node = (int)kb_prng_below(&m->prng, MODEL_NODES);
    uint64_t what = kb_prng_below(&m->prng, 200);
    bool calm = kb_prng_below(&m->prng, m->storm) != 0;

    m->now_ms += kb_prng_below(&m->prng, 40);
    if (m->n_images >= MODEL_IMAGES_MAX - 16)
        return;
    if (!calm)
        disturb(m, node);
    else if (what < 30)
        act_controller(m, node);
    else if (!m->nodes[node].up && what < 40)
        act_start(m, node);
    else if (m->nodes[node].up)
        act_up(m, node, what == 199 ? 10 : what % 10);
    model_check(m);
}

static bool whole(struct model *m)
{
    const struct toy_image *im = model_image(m);
    const struct model_node *leader;

    if (im->image.leader < 0)
        return false;
    leader = &m->nodes[im->image.leader - 1];
    for (int i = 0; i < MODEL_NODES; i++) {
        const struct model_node *n = &m->nodes[i];
        if (!n->up || !im->replicas[i].in_isr || n->toy.log.end != leader->toy.log.end ||
            rep_hw(n->toy.rep) != n->toy.log.end || rep_leader_epoch(n->toy.rep) < 0)
            return false;
    }
    return rep_is_leader(leader->toy.rep);
}

bool model_heal(struct model *m, int rounds)
{
    for (int round = 0; round < rounds; round++) {
        m->now_ms += 20;
        for (int node = 0; node < MODEL_NODES; node++) {
            if (!m->nodes[node].up)
                act_start(m, node);
            for (uint64_t what = 0; what < 10; what++) {
                if (m->n_images >= MODEL_IMAGES_MAX - 16)
                    return false;
                if (what != 5)
                    act_up(m, node, what);
                act_controller(m, node);
                model_check(m);
            }
        }
        if (whole(m))
            return true;
    }
    return false;
}

void model_init(struct model *m, uint64_t seed, bool strong)
{
    memset(m, 0, sizeof(*m));
    kb_prng_init(&m->prng, seed);
    m->now_ms = 1000;
    m->strong = strong;
    m->storm = (uint64_t)between(m, 20, 300);
    m->term = 1;
    m->n_images = 1;
    toy_image_init(&m->images[0]);
    m->images[0].image.strong = strong;
    for (int i = 0; i < MODEL_NODES; i++) {
        m->nodes[i].toy.config.lag_max_ms = 3000;
        m->nodes[i].link = 1;
        m->brokers[i].broker_epoch = 101 + i;
        act_start(m, i);
        act_register(m, i);
    }
}

void model_free(struct model *m)
{
    for (int i = 0; i < MODEL_NODES; i++)
        toy_node_free(&m->nodes[i].toy);
}
