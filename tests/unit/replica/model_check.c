/* The invariants of reliability.md §2 that a partition must keep, checked after every step. */
#include "tests/unit/replica/model.h"

static bool same(struct toy_record a, struct toy_record b)
{
    return a.epoch == b.epoch && a.value == b.value;
}

/* P1, P2, P3: below any HW there is one history, the same on every replica, for ever. */
static void check_history(struct model *m, struct model_node *n)
{
    const struct toy_log *l = &n->toy.log;
    int64_t hw = rep_hw(n->toy.rep);

    TOY_CHECK(hw <= l->end);
    for (int64_t o = l->start; o < hw; o++) {
        if (o >= m->n_committed) {
            TOY_CHECK(rep_is_leader(n->toy.rep));
            TOY_CHECK(o == m->n_committed);
            m->committed[m->n_committed++] = l->records[o];
        }
        TOY_CHECK(same(l->records[o], m->committed[o]));
    }
}

/* The disk of each ISR and ELR member holds all that was ever committed: any of them may lead. */
static void check_members(struct model *m)
{
    const struct toy_image *im = model_image(m);

    for (int i = 0; i < MODEL_NODES; i++) {
        const struct toy_log *l = &m->nodes[i].toy.log;
        int64_t held = m->strong ? l->durable : l->written;
        if ((!im->replicas[i].in_isr && !im->replicas[i].in_elr) || m->nodes[i].damaged)
            continue;
        TOY_CHECK(held >= m->n_committed);
        for (int64_t o = l->start; o < m->n_committed; o++)
            TOY_CHECK(same(l->records[o], m->committed[o]));
        TOY_CHECK(l->start >= m->deleted_to); /* P16 */
    }
}

/* P7: epochs never fall along the log, and the table is what a scan gives, entries without records
 * aside. */
static void check_epochs(const struct toy_log *l)
{
    for (int64_t o = l->start + 1; o < l->end; o++)
        TOY_CHECK(l->records[o - 1].epoch <= l->records[o].epoch);
    for (size_t i = 0; i < l->n_epochs; i++) {
        int64_t at = l->epochs[i].end_offset;
        int64_t end = i + 1 < l->n_epochs ? l->epochs[i + 1].end_offset : l->end;
        TOY_CHECK(at <= end);
        for (int64_t o = at > l->start ? at : l->start; o < end; o++)
            TOY_CHECK(l->records[o].epoch == l->epochs[i].epoch);
    }
}

/* P8, R16: one writer per epoch. P14: nobody is believed to hold more than it does. */
static void check_leader(struct model *m, int node)
{
    struct model_node *n = &m->nodes[node];
    struct rep_inspect seen;

    rep_inspect(n->toy.rep, m->now_ms, &seen);
    TOY_CHECK(seen.leader_epoch < MODEL_EPOCHS_MAX);
    if (m->writer_of[seen.leader_epoch] == 0)
        m->writer_of[seen.leader_epoch] = node + 1;
    TOY_CHECK(m->writer_of[seen.leader_epoch] == node + 1);
    for (size_t i = 0; i < seen.n_peers; i++) {
        struct model_node *p = &m->nodes[seen.peers[i].node_id - 1];
        int64_t held = m->strong ? p->toy.log.durable : p->toy.log.written;
        if (p == n || !p->up || !p->registered || seen.peers[i].durable < 0 || p->damaged ||
            rep_leader_epoch(p->toy.rep) != seen.leader_epoch)
            continue;
        if (model_image(m)->replicas[seen.peers[i].node_id - 1].in_isr)
            TOY_CHECK(seen.peers[i].durable <= held);
    }
}

/* P5: what a leader calls the latest offset never falls. */
static void check_latest(struct model *m, int node)
{
    struct model_node *n = &m->nodes[node];
    int64_t latest;

    if (model_image(m)->image.leader != node + 1 ||
        model_image(m)->image.leader_epoch != rep_leader_epoch(n->toy.rep))
        return;
    if (rep_latest(n->toy.rep, REP_READ_UNCOMMITTED, 0, &latest) == REP_READ_OK) {
        TOY_CHECK(latest >= m->latest_served);
        m->latest_served = latest;
    }
    TOY_CHECK(n->toy.log.end >= m->n_committed); /* P1: the leader has it all */
}

void model_check(struct model *m)
{
    for (int i = 0; i < MODEL_NODES; i++) {
        struct model_node *n = &m->nodes[i];
        if (!n->up)
            continue;
        check_epochs(&n->toy.log);
        if (!n->damaged)
            check_history(m, n);
        if (rep_is_leader(n->toy.rep)) {
            check_leader(m, i);
            check_latest(m, i);
        }
    }
    check_members(m);
}

void model_check_join(struct model *m, int node)
{ /* P13 */
    const struct toy_log *l = &m->nodes[node].toy.log;

    m->joins++;
    if (m->nodes[node].damaged) /* found after it spoke; out again before it drops a byte (2.8) */
        return;
    TOY_CHECK((m->strong ? l->durable : l->written) >= m->n_committed);
}
