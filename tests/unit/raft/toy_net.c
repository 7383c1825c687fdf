/* The toy network: per pair and direction two queues in order (control and bulk), which lose, delay
 * and repeat; across them, and across pairs, anything may overtake anything. */
#include "tests/unit/raft/toy.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "proto/base/assert.h"
#include "proto/base/mem.h"

static bool before(const struct toy_mail *a, const struct toy_mail *b)
{
    return a->at_ms != b->at_ms ? a->at_ms < b->at_ms : a->order < b->order;
}

void toy_mail_push(struct toy *t, struct toy_mail *m)
{
    if (m->order == 0)
        m->order = ++t->mail_order;
    kb_array_reserve(t->mail, t->n_mail, t->mail_capacity);
    size_t i = t->n_mail++;
    for (; i > 0 && before(m, t->mail[(i - 1) / 2]); i = (i - 1) / 2)
        t->mail[i] = t->mail[(i - 1) / 2];
    t->mail[i] = m;
}

struct toy_mail *toy_mail_pop(struct toy *t)
{
    struct toy_mail *top = t->mail[0];
    struct toy_mail *m = t->mail[--t->n_mail];
    size_t i = 0;
    for (;;) {
        size_t child = 2 * i + 1;
        if (child >= t->n_mail)
            break;
        if (child + 1 < t->n_mail && before(t->mail[child + 1], t->mail[child]))
            child++;
        if (!before(t->mail[child], m))
            break;
        t->mail[i] = t->mail[child];
        i = child;
    }
    if (t->n_mail > 0)
        t->mail[i] = m;
    return top;
}

void toy_mail_free(struct toy_mail *m)
{
    (void)kb_free(m->batches);
    (void)kb_free(m);
}

static struct toy_mail *letter(const struct raft_message *m, struct toy_batch *batches,
                               const struct toy_snapshot *snapshot)
{
    struct toy_mail *mail = kb_new(struct toy_mail);
    mail->message = *m;
    if (m->n_entries > 0)
        mail->batches = kb_memdup(batches, m->n_entries * sizeof(batches[0]));
    if (snapshot != NULL)
        mail->snapshot = *snapshot;
    return mail;
}

static void describe(const struct raft_message *m, char *ret, size_t size)
{
    ret[0] = '\0';
    if (m->kind == RAFT_MSG_APPEND && m->n_entries > 0)
        (void)snprintf(ret, size, " %" PRIu64 "..%" PRIu64, m->entries[0].first,
                       m->entries[m->n_entries - 1].last);
    else if (m->kind == RAFT_MSG_APPEND)
        (void)snprintf(ret, size, " prev=%" PRIu64 " commit=%" PRIu64 "%s%s", m->prev.index,
                       m->commit_index, m->clear_index != 0 ? " clears" : "",
                       m->floor_index != 0 ? " floor" : "");
    else if (m->kind == RAFT_MSG_APPEND_REPLY)
        (void)snprintf(ret, size, " match=%" PRIu64 " end=%" PRIu64 "%s", m->match_index,
                       m->end_index, m->barred ? " barred" : "");
    else if (m->kind == RAFT_MSG_SNAPSHOT || m->kind == RAFT_MSG_SNAPSHOT_REPLY)
        (void)snprintf(ret, size, " %" PRIu64 " chunk=%" PRIu64 "%s", m->snapshot.index,
                       m->position, m->done ? " done" : "");
}

void toy_send(struct toy *t, int from, const struct raft_message *m, bool bulk,
              struct toy_batch *batches, const struct toy_snapshot *snapshot)
{
    int to = m->to.id - 1;
    struct toy_link *link = &t->links[from][to];
    toy_judge_message(t, from, m);
    if (link->number == 0)
        return;
    bool lost = link->cut || kb_prng_below(&t->prng, 1000) < t->loss_per_mille;
    char details[80];
    describe(m, details, sizeof(details));
    if (t->tell_messages)
        toy_say(t, "n%d -> n%d %s term=%" PRIu64 "%s%s%s%s", from + 1, to + 1,
                raft_message_kind_name(m->kind), m->term, details, m->granted ? " granted" : "",
                m->rejected ? " rejected" : "", lost ? " (lost)" : "");
    if (lost)
        return;
    int copies = kb_prng_below(&t->prng, 1000) < t->twice_per_mille ? 2 : 1;
    for (int i = 0; i < copies; i++) {
        struct toy_mail *mail = letter(m, batches, snapshot);
        uint64_t at = t->now_ms + kb_prng_range(&t->prng, t->delay_ms_min, t->delay_ms_max);
        if (at < link->last_ms[bulk])
            at = link->last_ms[bulk];
        link->last_ms[bulk] = at;
        mail->at_ms = at;
        mail->from = from;
        mail->to = to;
        mail->link = link->number;
        toy_mail_push(t, mail);
    }
}

void toy_link_event(struct toy *t, int n, int about, enum raft_link_state state, uint64_t link,
                    uint64_t delay_ms)
{
    struct toy_mail *mail = kb_new(struct toy_mail);
    mail->at_ms = t->now_ms + delay_ms;
    mail->from = about;
    mail->to = n;
    mail->link = link;
    mail->link_event = true;
    mail->link_state = state;
    toy_mail_push(t, mail);
}

void toy_open_link(struct toy *t, int a, int b)
{
    if (!t->nodes[a].alive || !t->nodes[b].alive)
        return;
    uint64_t number = ++t->link_numbers;
    for (int i = 0; i < 2; i++) {
        int from = i == 0 ? a : b;
        int to = i == 0 ? b : a;
        t->links[from][to].number = number;
        toy_link_event(t, from, to, RAFT_LINK_UP, number, t->delay_ms_min);
        for (int bulk = 0; bulk < 2; bulk++)
            t->links[from][to].last_ms[bulk] = t->now_ms + t->delay_ms_min;
    }
}

void toy_close_link(struct toy *t, int a, int b, enum raft_link_state after)
{
    for (int i = 0; i < 2; i++) {
        int self = i == 0 ? a : b;
        int peer = i == 0 ? b : a;
        t->links[self][peer].number = 0;
        if (!t->nodes[self].alive)
            continue;
        toy_link_event(t, self, peer, RAFT_LINK_CLOSED, 0, t->delay_ms_min);
        if (after != RAFT_LINK_CLOSED)
            toy_link_event(t, self, peer, after, 0, t->delay_ms_min + t->delay_ms_max);
    }
}

void toy_cut(struct toy *t, int a, int b)
{
    t->links[a][b].cut = true;
}

void toy_heal(struct toy *t)
{
    for (int a = 0; a < t->n_nodes; a++)
        for (int b = 0; b < t->n_nodes; b++)
            t->links[a][b].cut = false;
    for (int a = 0; a < t->n_nodes; a++)
        for (int b = 0; b < a; b++)
            if (t->links[a][b].number == 0)
                toy_open_link(t, a, b);
}
