/* The leader's copying to one peer: where to go on, what is on its way, what came back. */
#include "coordinator/raft/core.h"

#include <inttypes.h>
#include <string.h>

#include "proto/base/assert.h"
#include "proto/base/err.h"
#include "proto/base/log.h"
#include "proto/base/mem.h"

/* A new link or a new term: nothing that was on its way counts. What the peer holds is asked anew,
 * because it may have lost it (5.6). */
void raft_peer_restart(struct raft_core *c, struct raft_peer *p)
{
    p->next_index = (p->acked_index > 0 ? p->acked_index : c->log.last_index) + 1;
    p->match_index = 0;
    p->end_index = 0;
    p->probing = true;
    p->n_inflight = 0;
    p->send_id = 0;
    p->retry_at_ms = 0;
    p->barred = false;
    p->barred_round = 0;
    p->clear_index = 0;
    p->installing = false;
    p->chunk_out = false;
    p->progress_ms = c->now_ms;
    if (p->last_ack_ms == 0)
        p->last_ack_ms = c->now_ms;
}

static struct raft_position position_at(const struct raft_core *c, uint64_t index)
{
    return (struct raft_position){index, raft_terms_at(&c->log, index)};
}

static struct raft_message header_to(const struct raft_core *c, const struct raft_peer *p,
                                     enum raft_message_kind kind)
{
    return (struct raft_message){.kind = kind,
                                 .to = p->node,
                                 .term = c->hard.term,
                                 .round = c->round,
                                 .commit_index = c->commit_index,
                                 .clear_index = p->clear_index,
                                 .floor_index = p->floor_index};
}

/* Not an entry, only "I lead": what lies before it is surely equal, or it asks for the whole log.
 * It never names a position inside an entry, which next_index - 1 may be while the logs are
 * compared. */
static void send_empty(struct raft_core *c, const struct raft_peer *p)
{
    struct raft_message m = header_to(c, p, RAFT_MSG_APPEND);
    bool ask = p->probing && !p->installing && p->next_index > c->log.last_index;
    uint64_t prev = ask ? c->log.last_index : p->match_index;
    if (prev >= c->log.base.index)
        m.prev = position_at(c, prev);
    raft_post(c, p, &m);
}

static void send_entries(struct raft_core *c, struct raft_peer *p)
{
    struct raft_message m = header_to(c, p, RAFT_MSG_APPEND);
    m.prev = position_at(c, p->next_index - 1);
    p->send_id = ++c->next_send_id;
    p->send_void = false;
    p->beat = false;
    kb_array_reserve(c->sends, c->n_sends, c->sends_capacity);
    c->sends[c->n_sends++] = (struct raft_send){.send_id = p->send_id,
                                                .from_index = p->next_index,
                                                .last_index = c->log.last_index,
                                                .header = m};
}

static void send_chunk(struct raft_core *c, struct raft_peer *p)
{
    struct raft_message m = header_to(c, p, RAFT_MSG_SNAPSHOT);
    m.snapshot = p->snapshot;
    m.position = p->snapshot_position;
    p->send_id = ++c->next_send_id;
    p->chunk_out = true;
    p->progress_ms = c->now_ms;
    kb_array_reserve(c->chunks, c->n_chunks, c->chunks_capacity);
    c->chunks[c->n_chunks++] = (struct raft_snapshot_send){.send_id = p->send_id, .header = m};
}

static void feed(struct raft_core *c, struct raft_peer *p)
{
    if (p->link_state != RAFT_LINK_UP) {
        p->beat = false;
        return;
    }
    bool behind = p->next_index <= c->log.last_index;
    if (!p->installing && behind && p->next_index <= c->log.base.index) {
        p->installing = true;
        p->snapshot = c->log.base;
        p->snapshot_position = 0;
        p->chunk_out = false;
        p->n_inflight = 0;
    }
    bool free = p->send_id == 0 && c->now_ms >= p->retry_at_ms;
    size_t window = p->probing ? 1 : RAFT_INFLIGHT_MAX;
    if (p->installing) {
        if (free && !p->chunk_out)
            send_chunk(c, p);
    } else if (free && behind && p->n_inflight < window) {
        send_entries(c, p);
    }
    if (p->beat) {
        p->beat = false;
        send_empty(c, p);
    }
}

void raft_feed_all(struct raft_core *c)
{
    for (size_t i = 0; i < c->n_peers; i++)
        feed(c, c->peers[i]);
}

/* Links lose nothing while they live; should it happen all the same, go back and ask. */
void raft_feed_tick(struct raft_core *c)
{
    for (size_t i = 0; i < c->n_peers; i++) {
        struct raft_peer *p = c->peers[i];
        if (p->link_state != RAFT_LINK_UP)
            continue;
        if (p->chunk_out && p->send_id == 0 && c->now_ms >= p->progress_ms + RAFT_LOST_CHUNK_MS)
            p->chunk_out = false;
        if (p->n_inflight == 0 || c->now_ms < p->progress_ms + RAFT_LOST_APPEND_MS ||
            p->last_ack_ms < p->progress_ms || p->end_index >= p->inflight[p->n_inflight - 1])
            continue;
        p->probing = true;
        p->next_index = p->end_index + 1;
        p->n_inflight = 0;
        p->send_void = true;
        p->progress_ms = c->now_ms;
    }
}

/* ---- the driver's reports ---------------------------------------------------------------------
 */

static struct raft_peer *peer_of_send(struct raft_core *c, uint64_t send_id)
{
    if (c->role != RAFT_LEADER || send_id == 0)
        return NULL;
    for (size_t i = 0; i < c->n_peers; i++)
        if (c->peers[i]->send_id == send_id)
            return c->peers[i];
    return NULL;
}

void raft_on_entries_sent(struct raft_core *c, uint64_t send_id, uint64_t last_index)
{
    struct raft_peer *p = peer_of_send(c, send_id);
    if (p == NULL)
        return;
    KB_ASSERT(last_index <= c->log.last_index);
    p->send_id = 0;
    if (last_index == 0) {
        p->retry_at_ms = c->now_ms + c->times.heartbeat_ms;
        return;
    }
    if (p->send_void)
        return;
    KB_ASSERT(p->n_inflight < RAFT_INFLIGHT_MAX);
    if (last_index > p->match_index)
        p->inflight[p->n_inflight++] = last_index;
    if (last_index >= p->next_index)
        p->next_index = last_index + 1;
    p->progress_ms = c->now_ms;
}

void raft_on_snapshot_sent(struct raft_core *c, uint64_t send_id)
{
    struct raft_peer *p = peer_of_send(c, send_id);
    if (p == NULL)
        return;
    p->send_id = 0;
    p->progress_ms = c->now_ms;
}

/* ---- answers ----------------------------------------------------------------------------------
 */

/* Common to all answers to a leader: 1 when it concerns this term's leader, 0 when it is void. */
static int answered(struct raft_core *c, struct raft_peer *p, const struct raft_message *m)
{
    if (m->term > c->hard.term) {
        if (p->voter || c->role != RAFT_LEADER)
            raft_adopt_term(c, m->term);
        return 0;
    }
    if (c->role != RAFT_LEADER || m->term < c->hard.term)
        return 0;
    if (m->round > c->round)
        return -KB_EINVAL;
    p->last_ack_ms = c->now_ms;
    p->heard_ms = c->now_ms;
    if (m->round > p->answered_round)
        p->answered_round = m->round;
    return 1;
}

static void note_acked(struct raft_core *c, struct raft_peer *p, uint64_t match)
{
    if (match > p->match_index)
        p->match_index = match;
    if (match > p->acked_index) {
        p->acked_index = match;
        p->acked_round = c->round;
    }
    if (p->floor_index != 0 && p->match_index >= p->floor_index) {
        p->floor_index = 0;
        kb_log_warn("raft", "event=fallen_healed peer=%" PRId32, p->node.id);
    }
    size_t done = 0;
    while (done < p->n_inflight && p->inflight[done] <= p->match_index)
        done++;
    memmove(p->inflight, p->inflight + done, (p->n_inflight - done) * sizeof(p->inflight[0]));
    p->n_inflight -= done;
    if (p->mark_ms != 0 && p->match_index >= p->mark_index)
        p->caught_up_ms = p->mark_ms;
    if (p->match_index == c->log.last_index)
        p->caught_up_ms = c->now_ms;
    if (p->mark_ms == 0 || p->match_index >= p->mark_index) {
        p->mark_index = c->log.last_index;
        p->mark_ms = c->now_ms;
    }
}

/* What this directory acknowledged durably in this term is gone: a rolled-back disk. The answer
 * belongs to a round begun after the acknowledgement was heard, so it is no late one (5.6). */
static void judge_fall(struct raft_core *c, struct raft_peer *p, const struct raft_message *m)
{
    if (m->round <= p->acked_round || m->durable_index >= p->acked_index)
        return;
    if (p->floor_index == 0)
        kb_log_error(
            "raft", "event=durable_end_fell peer=%" PRId32 " acknowledged=%" PRIu64 " now=%" PRIu64,
            p->node.id, p->acked_index, m->durable_index);
    p->floor_index = p->acked_index;
    p->match_index = 0;
    p->end_index = 0;
    p->n_inflight = 0;
    p->send_void = true;
    p->probing = true;
    if (p->next_index > m->durable_index + 1)
        p->next_index = m->durable_index + 1;
}

static void judge_barred(struct raft_core *c, struct raft_peer *p, const struct raft_message *m)
{
    if (!m->barred) {
        p->barred = false;
        p->barred_round = 0;
        p->clear_index = 0;
        return;
    }
    p->barred = true;
    if (p->barred_round == 0) {
        raft_round_begin(c);
        p->barred_round = c->round;
    }
}

static void go_back(struct raft_core *c, struct raft_peer *p, struct raft_position hint)
{
    uint64_t next = raft_terms_meet(&c->log, hint.index, hint.term).index + 1;
    if (next <= p->match_index)
        next = p->match_index + 1;
    if (p->probing && next >= p->next_index)
        return; /* a late refusal */
    p->next_index = next;
    p->probing = true;
    p->n_inflight = 0;
    p->send_void = true;
}

int raft_on_append_reply(struct raft_core *c, struct raft_peer *p, const struct raft_message *m)
{
    int r = answered(c, p, m);
    if (r <= 0)
        return r;
    if (m->match_index > m->end_index || m->end_index > c->log.last_index)
        return -KB_EINVAL;
    judge_barred(c, p, m);
    judge_fall(c, p, m);
    if (m->rejected) {
        if (!p->installing)
            go_back(c, p, m->hint);
    } else {
        if (m->end_index > p->end_index) {
            p->end_index = m->end_index;
            p->progress_ms = c->now_ms;
        }
        if (p->probing && m->end_index + 1 >= p->next_index) {
            p->probing = false;
            p->next_index = m->end_index + 1;
        }
        note_acked(c, p, m->match_index);
    }
    raft_leader_advance(c);
    return 0;
}

int raft_on_snapshot_reply(struct raft_core *c, struct raft_peer *p, const struct raft_message *m)
{
    int r = answered(c, p, m);
    if (r <= 0)
        return r;
    if (m->snapshot.index > c->commit_index)
        return -KB_EINVAL;
    if (m->done) {
        note_acked(c, p, m->snapshot.index);
        if (p->installing) {
            p->installing = false;
            p->chunk_out = false;
            p->n_inflight = 0;
            p->probing = true;
            p->send_void = true;
            p->next_index = m->snapshot.index + 1;
        }
    } else if (p->installing) {
        /* It may speak of another leader's snapshot, or the driver sent a newer one than asked. */
        bool known = m->snapshot.index == p->snapshot.index ||
                     m->snapshot.index == c->log.base.index;
        p->snapshot = known ? m->snapshot : c->log.base;
        p->snapshot_position = known ? m->position : 0;
        p->chunk_out = false;
        p->progress_ms = c->now_ms;
    }
    raft_leader_advance(c);
    return 0;
}
