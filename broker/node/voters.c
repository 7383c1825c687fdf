/* Replacing a voter that lost its directory (rules 11.3, 5.7). A node that comes back blank joins
 * as an observer. When its old directory is silent and the new one holds all that is committed, the
 * leader takes the old one out of the voter set, and once that is committed it puts the new one in:
 * two directories of one id are never in the set together, so they cannot be part of two disjoint
 * majorities. A leader that dies in between leaves an even set and the retired directory in the
 * image; its successor goes on from there. A retired directory that comes back stays an observer.
 */
#include <inttypes.h>

#include "broker/node/quorum.h"
#include "proto/base/mutant.h"

struct replacement {
    struct meta_voter voters[RAFT_VOTERS_MAX];
    size_t voters_count;
    struct meta_voter retired[META_RETIRED_MAX];
    size_t retired_count;
};

static bool is_retired(const struct node *n, int32_t id, const struct kb_uuid *directory)
{
    const struct meta_voter *retired = NULL;
    size_t count = meta_image_retired(n->image, &retired);
    for (size_t i = 0; i < count; i++) {
        if (retired[i].id == id && kb_uuid_equal(&retired[i].directory, directory))
            return true;
    }
    return false;
}

/* Linked for a session, configured as a voter, and it has all that is committed. */
static bool is_candidate(struct node *n, struct node_peer *p, uint64_t commit_index)
{
    struct raft_peer_status peers[NODE_BROKERS_MAX];
    struct node_link *l = p != NULL ? node_peer_link(p, NODE_CONTROL) : NULL;
    if (l == NULL || !p->wants_vote || p->directory_since_ms == 0 ||
        node_now(n) - p->directory_since_ms < n->config.times.broker_session)
        return false;
    if (is_retired(n, p->id, &p->directory)) {
        char text[KB_UUID_TEXT_SIZE];
        kb_uuid_format(&p->directory, text);
        kb_log_rate_warn(&n->quorum->voters_rate, node_now(n), "quorum",
                         "event=retired_directory node=%d directory=%s why=\"it was a voter and "
                         "was replaced; it has no vote any more\"",
                         p->id, text);
        return false;
    }
    size_t count = raft_core_peers(n->quorum->core, peers, NODE_BROKERS_MAX);
    struct raft_node node = {.id = p->id, .directory = p->directory};
    for (size_t i = 0; i < count && i < NODE_BROKERS_MAX; i++) {
        if (raft_node_equal(peers[i].node, node))
            return peers[i].link_state == RAFT_LINK_UP && !peers[i].barred && !peers[i].snapshot &&
                   peers[i].end_index >= commit_index;
    }
    return false;
}

static void replacement_init(struct replacement *r, const struct node *n)
{
    const struct meta_voter *voters = NULL;
    const struct meta_voter *retired = NULL;
    r->voters_count = meta_image_voters(n->image, &voters);
    r->retired_count = meta_image_retired(n->image, &retired);
    KB_ASSERT(r->voters_count <= RAFT_VOTERS_MAX && r->retired_count <= META_RETIRED_MAX);
    memcpy(r->voters, voters, r->voters_count * sizeof(voters[0]));
    if (r->retired_count > 0)
        memcpy(r->retired, retired, r->retired_count * sizeof(retired[0]));
}

static void propose(struct node *n, const struct replacement *r)
{
    struct meta_result result = {0};
    meta_records_add_voters(&result.records, r->voters, r->voters_count, r->retired,
                            r->retired_count);
    if (node_controller_submit(n, &result, NULL, NULL) == 0)
        n->quorum->voters_changed = n->quorum->proposed;
}

/* In the order of ids. */
static void put_in(struct replacement *r, const struct node_peer *p)
{
    size_t at = 0;
    while (at < r->voters_count && r->voters[at].id < p->id)
        at++;
    memmove(r->voters + at + 1, r->voters + at, (r->voters_count - at) * sizeof(r->voters[0]));
    r->voters[at] = (struct meta_voter){
        .id = p->id, .directory = p->directory, .host = p->host, .port = p->port};
    r->voters_count++;
}

/* The voter at this place has another directory now: out with the old one. */
static void retire(struct node *n, size_t at, const struct node_peer *p)
{
    struct replacement r;
    char old_text[KB_UUID_TEXT_SIZE];
    char new_text[KB_UUID_TEXT_SIZE];
    replacement_init(&r, n);
    kb_uuid_format(&r.voters[at].directory, old_text);
    kb_uuid_format(&p->directory, new_text);
    if (r.retired_count == META_RETIRED_MAX)
        memmove(r.retired, r.retired + 1, --r.retired_count * sizeof(r.retired[0]));
    r.retired[r.retired_count++] = (struct meta_voter){.id = r.voters[at].id,
                                                       .directory = r.voters[at].directory};
    memmove(r.voters + at, r.voters + at + 1, (--r.voters_count - at) * sizeof(r.voters[0]));
    if (KB_MUTANT("raft-two-changes-at-once"))
        put_in(&r, p);
    kb_log_warn("quorum",
                "event=voter_lost_its_directory node=%d old_directory=%s new_directory=%s "
                "action=\"the old one loses its vote, then the new one gets it\"",
                p->id, old_text, new_text);
    propose(n, &r);
}

static void admit(struct node *n, const struct node_peer *p)
{
    struct replacement r;
    char text[KB_UUID_TEXT_SIZE];
    replacement_init(&r, n);
    if (r.voters_count == RAFT_VOTERS_MAX)
        return;
    put_in(&r, p);
    kb_uuid_format(&p->directory, text);
    kb_log_warn("quorum", "event=voter_admitted node=%d directory=%s voters=%zu", p->id, text,
                r.voters_count);
    propose(n, &r);
}

/* An even set is the first half of a replacement. */
static bool finish_replacement(struct node *n, uint64_t commit_index)
{
    const struct meta_voter *voters = NULL;
    const struct meta_voter *retired = NULL;
    size_t count = meta_image_voters(n->image, &voters);
    size_t retired_count = meta_image_retired(n->image, &retired);
    if (count % 2 != 0 || retired_count == 0)
        return false;
    struct node_peer *p = node_peer_find(n, retired[retired_count - 1].id);
    for (size_t i = 0; p != NULL && i < count; i++) {
        if (voters[i].id == p->id)
            return false;
    }
    if (p != NULL && p->host != NULL && is_candidate(n, p, commit_index))
        admit(n, p);
    return true;
}

void node_voters_tick(struct node *n, uint64_t now_ms)
{
    struct node_quorum *q = n->quorum;
    const struct meta_voter *voters = NULL;
    struct raft_status status;
    (void)now_ms;
    if (!q->in_office || n->control == NULL || q->applied < q->voters_changed)
        return;
    raft_core_status(q->core, &status);
    if (status.voters.index > q->applied) /* the image shows the present set */
        return;
    if (finish_replacement(n, status.commit_index))
        return;
    size_t count = meta_image_voters(n->image, &voters);
    for (size_t i = 0; i < count; i++) {
        struct node_peer *p = node_peer_find(n, voters[i].id);
        if (voters[i].id == n->config.node_id || p == NULL || p->host == NULL ||
            !p->has_directory || kb_uuid_equal(&p->directory, &voters[i].directory) ||
            !is_candidate(n, p, status.commit_index))
            continue;
        retire(n, i, p);
        return;
    }
}
