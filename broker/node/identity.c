/* Founding and joining (rule 11): who the first voters are, by directory id.
 *
 * A blank voter founds only when the hellos of this process life show every configured voter blank
 * and of the same list. It persists that list with the directory ids (kvorum.founding) before its
 * Raft core exists, and so before it can vote. A node that has met a cluster joins it as an
 * observer instead. */
#include <stdio.h>

#include "broker/node/node_internal.h"

enum founding_state { FOUNDING_NONE, FOUNDING_WRITING, FOUNDING_DONE };

/* What a configured voter's hello said in this process life. */
struct voter_hello {
    int32_t id;
    bool seen;
    bool blank;
    bool same_list;
    struct kb_uuid directory_id;
};

struct node_identity {
    struct node *node;
    enum founding_state founding;
    bool joined; /* a hello of a cluster was seen, or we belong to one */
    struct voter_hello hellos[NODE_VOTERS_MAX];
    struct node_founding_voter voters[NODE_VOTERS_MAX];
    size_t voters_count;
    struct kb_log_rate rate;
};

static struct voter_hello *hello_of(struct node_identity *d, int32_t id)
{
    for (size_t i = 0; i < d->node->config.voters_count; i++) {
        if (d->hellos[i].id == id)
            return &d->hellos[i];
    }
    return NULL;
}

/* ---- the founding file: one line "id directory-id" per voter ---- */

static int founding_parse(struct node_identity *d, const char *text)
{
    size_t count = 0;
    int id = 0;
    char uuid[KB_UUID_TEXT_SIZE];
    int used = 0;
    while (sscanf(text, "%d %22s\n%n", &id, uuid, &used) == 2) {
        if (count == NODE_VOTERS_MAX || kb_uuid_parse(uuid, &d->voters[count].directory_id) < 0)
            return -KB_ECORRUPT;
        d->voters[count++].id = id;
        text += used;
    }
    if (*text != '\0' || count == 0)
        return -KB_ECORRUPT;
    d->voters_count = count;
    return 0;
}

static void founding_written(void *arg, int result)
{
    struct node_identity *d = arg;
    if (result < 0)
        return; /* the directory has reported it and ends the process */
    d->founding = FOUNDING_DONE;
    kb_log_info("identity", "event=founding voters=%zu", d->voters_count);
    node_quorum_begin(d->node);
}

static void founding_persist(struct node_identity *d)
{
    struct node *n = d->node;
    struct kb_buf text = {0};
    d->voters_count = n->config.voters_count;
    for (size_t i = 0; i < d->voters_count; i++) {
        char uuid[KB_UUID_TEXT_SIZE];
        d->voters[i].id = d->hellos[i].id;
        d->voters[i].directory_id = d->hellos[i].directory_id;
        kb_uuid_format(&d->voters[i].directory_id, uuid);
        kb_buf_printf(&text, "%d %s\n", d->voters[i].id, uuid);
    }
    d->founding = FOUNDING_WRITING;
    log_dir_write_file(n->dir, NODE_FOUNDING_FILE, text.data, text.size, founding_written, d);
    kb_buf_release(&text);
}

/* ---- decisions ---- */

static void founding_check(struct node_identity *d)
{
    struct node *n = d->node;
    size_t absent = 0;
    if (d->founding != FOUNDING_NONE || d->joined || n->config.observer)
        return;
    for (size_t i = 0; i < n->config.voters_count; i++) {
        const struct voter_hello *h = &d->hellos[i];
        if (!h->seen) {
            absent++;
        } else if (!h->blank) {
            kb_log_rate_warn(
                &d->rate, node_now(n), "identity",
                "event=not_founding why=\"node %d belongs to a cluster, this directory "
                "is blank\"",
                h->id);
            return;
        } else if (!h->same_list) {
            kb_log_rate_warn(&d->rate, node_now(n), "identity",
                             "event=not_founding why=\"node %d has another "
                             "controller.quorum.voters\"",
                             h->id);
            return;
        }
    }
    if (absent > 0 &&
        (!n->config.found_without_absent_voters || absent * 2 >= n->config.voters_count))
        return;
    founding_persist(d);
}

static bool same_voters(const struct node *n, const Kvorum__PeerHello *h)
{
    if (h->n_voters != n->config.voters_count)
        return false;
    for (size_t i = 0; i < h->n_voters; i++) {
        bool found = false;
        for (size_t k = 0; k < n->config.voters_count; k++)
            found = found || n->config.voters[k].id == h->voters[i]->node_id;
        if (!found)
            return false;
    }
    return true;
}

void node_identity_hello(struct node *n, struct node_peer *p, const Kvorum__PeerHello *h)
{
    struct node_identity *d = n->identity;
    if (h->cluster_id != NULL && n->cluster_id == NULL && !d->joined &&
        d->founding == FOUNDING_NONE) {
        d->joined = true;
        kb_log_info("identity", "event=joining cluster=%.40s through=%d", h->cluster_id, p->id);
        node_quorum_begin(n);
        return;
    }
    struct voter_hello *v = hello_of(d, p->id);
    if (v == NULL)
        return;
    v->seen = true;
    v->blank = h->cluster_id == NULL;
    v->same_list = same_voters(n, h);
    v->directory_id = p->directory;
    founding_check(d);
}

bool node_identity_founded(const struct node *n)
{
    return n->identity->founding == FOUNDING_DONE;
}

size_t node_identity_voters(const struct node *n, const struct node_founding_voter **ret)
{
    *ret = n->identity->voters;
    return n->identity->founding == FOUNDING_DONE ? n->identity->voters_count : 0;
}

static void adopted(void *arg, int result)
{
    (void)arg;
    (void)result; /* the directory reports failures itself */
}

void node_identity_adopt(struct node *n, const char *cluster_id)
{
    if (n->cluster_id != NULL)
        return;
    n->cluster_id = kb_strdup(cluster_id);
    n->blank = false;
    n->identity->joined = true;
    log_dir_set_cluster_id(n->dir, cluster_id, adopted, n);
    kb_log_info("identity", "event=cluster cluster=%s", cluster_id);
}

/* ---- start ---- */

int node_identity_start(struct node *n, const char *founding_text)
{
    struct node_identity *d = kb_new(struct node_identity);
    d->node = n;
    n->identity = d;
    for (size_t i = 0; i < n->config.voters_count; i++) {
        d->hellos[i].id = n->config.voters[i].id;
        if (d->hellos[i].id == n->config.node_id) {
            d->hellos[i].seen = true;
            d->hellos[i].blank = n->blank;
            d->hellos[i].same_list = true;
            d->hellos[i].directory_id = n->directory_id;
        }
    }
    if (founding_text != NULL) {
        int r = founding_parse(d, founding_text);
        if (r < 0 && n->blank)
            return r; /* who may have voted in that set must not forget it */
        if (r < 0)
            kb_log_error("identity", "event=founding_damaged"); /* the log's sets rule (11.2) */
        else
            d->founding = FOUNDING_DONE;
    }
    if (!n->blank)
        d->joined = true;
    return 0;
}

bool node_identity_ready(const struct node *n)
{
    return n->identity->joined || n->identity->founding == FOUNDING_DONE;
}

void node_identity_check(struct node *n)
{
    founding_check(n->identity);
}

void node_identity_free(struct node *n)
{
    n->identity = kb_free(n->identity);
}
