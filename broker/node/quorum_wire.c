/* Raft messages on the wire. */
#include "broker/node/quorum.h"

#define PUT(field, value)                                                                          \
    do {                                                                                           \
        w.has_##field = 1;                                                                         \
        w.field = (value);                                                                         \
    } while (0)

void quorum_send_message(struct node_quorum *q, const struct raft_message *m,
                         struct kb_chain *payload)
{
    struct node_peer *p = node_peer_find(q->node, m->to.id);
    struct node_link *l = p != NULL ? node_peer_link(p, NODE_CONTROL) : NULL;
    Kvorum__PeerMessage frame = KVORUM__PEER_MESSAGE__INIT;
    Kvorum__RaftMessage w = KVORUM__RAFT_MESSAGE__INIT;
    if (l == NULL || !kb_uuid_equal(&l->peer_directory, &m->to.directory)) {
        if (payload != NULL)
            kb_chain_release(payload);
        return;
    }
    PUT(kind, (uint32_t)m->kind);
    PUT(term, m->term);
    PUT(last_index, m->last.index);
    PUT(last_term, m->last.term);
    PUT(transfer, m->transfer);
    PUT(granted, m->granted);
    PUT(round, m->round);
    PUT(prev_index, m->prev.index);
    PUT(prev_term, m->prev.term);
    PUT(commit_index, m->commit_index);
    PUT(clear_index, m->clear_index);
    PUT(floor_index, m->floor_index);
    PUT(rejected, m->rejected);
    PUT(match_index, m->match_index);
    PUT(end_index, m->end_index);
    PUT(durable_index, m->durable_index);
    PUT(hint_index, m->hint.index);
    PUT(hint_term, m->hint.term);
    PUT(barred, m->barred);
    PUT(snapshot_index, m->snapshot.index);
    PUT(snapshot_term, m->snapshot.term);
    PUT(position, m->position);
    PUT(done, m->done);
    frame.body_case = KVORUM__PEER_MESSAGE__BODY_RAFT;
    frame.raft = &w;
    node_link_send(l, &frame, payload);
}

int quorum_message_read(const Kvorum__RaftMessage *w, struct raft_message *ret)
{
    if (w->kind >= RAFT_MSG_MAX_ || w->term > RAFT_TERM_MAX || w->last_term > RAFT_TERM_MAX ||
        w->prev_term > RAFT_TERM_MAX || w->hint_term > RAFT_TERM_MAX ||
        w->snapshot_term > RAFT_TERM_MAX)
        return -KB_EINVAL;
    *ret = (struct raft_message){
        .kind = (enum raft_message_kind)w->kind,
        .term = w->term,
        .last = {.index = w->last_index, .term = w->last_term},
        .transfer = w->transfer,
        .granted = w->granted,
        .round = w->round,
        .prev = {.index = w->prev_index, .term = w->prev_term},
        .commit_index = w->commit_index,
        .clear_index = w->clear_index,
        .floor_index = w->floor_index,
        .rejected = w->rejected,
        .match_index = w->match_index,
        .end_index = w->end_index,
        .durable_index = w->durable_index,
        .hint = {.index = w->hint_index, .term = w->hint_term},
        .barred = w->barred,
        .snapshot = {.index = w->snapshot_index, .term = w->snapshot_term},
        .position = w->position,
        .done = w->done,
    };
    return 0;
}
