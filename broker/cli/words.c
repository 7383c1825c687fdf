/* What is wrong with a cluster, in sentences: what failed, why, what still works, what to do. */
#include <stdlib.h>

#include "broker/cli/internal.h"

enum { NAMES_MAX = 5 };

static const struct cli_node *find_node(const struct cli_cluster *c, int32_t id)
{
    for (size_t i = 0; i < c->nodes_count; i++) {
        if (c->nodes[i].id == id)
            return &c->nodes[i];
    }
    return NULL;
}

static bool is_up(const struct cli_cluster *c, int32_t id)
{
    const struct cli_node *n = find_node(c, id);
    return n != NULL && n->status != NULL;
}

/* ---- sets of nodes ----------------------------------------------------------------------------
 */

/* Marks nodes by their place in c->nodes. */
static void mark(const struct cli_cluster *c, bool *marks, int32_t id)
{
    for (size_t i = 0; i < c->nodes_count; i++)
        marks[i] |= c->nodes[i].id == id;
}

/* "node 1", "nodes 1 and 2", "nodes 1, 2 and 3"; a choice: "node 1 or node 2". Returns how many. */
static size_t list_nodes(const struct cli_cluster *c, const bool *marks, const char *with,
                         struct kb_buf *ret)
{
    size_t count = 0;
    size_t at = 0;
    for (size_t i = 0; i < c->nodes_count; i++)
        count += marks[i];
    bool choice = strcmp(with, "or") == 0;
    kb_buf_append_str(ret, count == 1 || choice ? "node " : "nodes ");
    for (size_t i = 0; i < c->nodes_count; i++) {
        if (!marks[i])
            continue;
        if (at > 0)
            kb_buf_printf(ret, at + 1 == count ? " %s %s" : ", %.0s%s", with,
                          choice ? "node " : "");
        kb_buf_printf(ret, "%d", c->nodes[i].id);
        at++;
    }
    return count;
}

/* " (down 42 s)" when anybody knows since when. */
static void down_since(const struct cli_cluster *c, const bool *marks, struct kb_buf *ret)
{
    int64_t age_ms = -1;
    for (size_t i = 0; i < c->nodes_count; i++) {
        if (marks[i] && c->nodes[i].status == NULL && c->nodes[i].seen_age_ms > age_ms)
            age_ms = c->nodes[i].seen_age_ms;
    }
    if (age_ms >= 0)
        kb_buf_printf(ret, " (down %.*f s)", age_ms < 10000 ? 1 : 0, (double)age_ms / 1000);
}

/* ---- the quorum -------------------------------------------------------------------------------
 */

/* What partitions with a living leader still do. */
static void still_works(const struct cli_cluster *c, struct kb_buf *ret)
{
    bool *leaders = kb_new_array(bool, c->nodes_count);
    bool any = false;
    int32_t min_isr = 0;
    for (size_t i = 0; i < c->best->n_partitions; i++) {
        const Kvorum__StatusPartition *p = c->best->partitions[i];
        int32_t isr_up = 0;
        if (p->leader < 0 || !is_up(c, p->leader))
            continue;
        mark(c, leaders, p->leader);
        any = true;
        for (size_t k = 0; k < p->n_isr; k++)
            isr_up += is_up(c, p->isr[k]);
        if (isr_up < p->min_isr && p->min_isr > min_isr)
            min_isr = p->min_isr;
    }
    if (any) {
        kb_buf_append_str(ret, " Existing partitions led by ");
        (void)list_nodes(c, leaders, "and", ret);
        kb_buf_append_str(ret, " still serve reads; ");
        if (min_isr > 0)
            kb_buf_printf(ret, "writes with acks=all fail because min.insync.replicas=%d.",
                          min_isr);
        else
            kb_buf_append_str(ret, "writes go on.");
    }
    (void)kb_free(leaders);
}

void cli_words_no_quorum(const struct cli_cluster *c, struct kb_buf *ret)
{
    size_t needed = c->voters / 2 + 1;
    bool *up = kb_new_array(bool, c->nodes_count);
    bool *down = kb_new_array(bool, c->nodes_count);
    for (size_t i = 0; i < c->nodes_count; i++) {
        up[i] = c->nodes[i].voter && c->nodes[i].status != NULL;
        down[i] = c->nodes[i].voter && c->nodes[i].status == NULL;
    }
    if (c->voters == 0) {
        kb_buf_append_str(ret, "metadata changes are stopped: the cluster is not founded yet. "
                               "It is as soon as all of controller.quorum.voters are up.");
    } else if (c->voters_up >= needed) {
        kb_buf_printf(ret,
                      "metadata changes are stopped: no controller is elected, though %zu of %zu "
                      "are up and %zu are needed. An election takes less than 2 s; if this stays, "
                      "check that the nodes reach each other: kvorum quorum status",
                      c->voters_up, c->voters, needed);
    } else {
        kb_buf_printf(ret, "metadata changes are stopped: only %zu of %zu controllers %s up (",
                      c->voters_up, c->voters, c->voters_up == 1 ? "is" : "are");
        (void)list_nodes(c, up, "and", ret);
        kb_buf_printf(ret, "), %zu are needed.", needed);
        still_works(c, ret);
        kb_buf_append_str(ret, " Start ");
        (void)list_nodes(c, down, "or", ret);
        kb_buf_append_str(ret, ".");
    }
    (void)kb_free(up);
    (void)kb_free(down);
}

/* ---- partitions -------------------------------------------------------------------------------
 */

enum trouble { NO_LEADER, LEADER_DOWN, UNDER_MIN_ISR, TROUBLES_ };

static enum trouble trouble_of(const struct cli_cluster *c, const Kvorum__StatusPartition *p)
{
    int32_t isr_up = 0;
    if (p->leader < 0)
        return NO_LEADER;
    if (!is_up(c, p->leader))
        return LEADER_DOWN;
    for (size_t i = 0; i < p->n_isr; i++)
        isr_up += is_up(c, p->isr[i]);
    return isr_up < p->min_isr ? UNDER_MIN_ISR : TROUBLES_;
}

struct gathered {
    size_t count;
    struct kb_buf names;
    struct kb_buf topics; /* of --unclean */
    const char *topic;    /* last of topics */
    bool *nodes;          /* to blame */
};

static void blame(const struct cli_cluster *c, enum trouble t, const Kvorum__StatusPartition *p,
                  struct gathered *g)
{
    if (t == LEADER_DOWN)
        mark(c, g->nodes, p->leader);
    for (size_t i = 0; t == NO_LEADER && i < p->n_isr; i++)
        mark(c, g->nodes, p->isr[i]);
    for (size_t i = 0; t == NO_LEADER && i < p->n_elr; i++)
        mark(c, g->nodes, p->elr[i]);
    for (size_t i = 0; t == UNDER_MIN_ISR && i < p->n_replicas; i++) {
        if (!is_up(c, p->replicas[i]))
            mark(c, g->nodes, p->replicas[i]);
    }
}

static void gather(const struct cli_cluster *c, enum trouble t, struct gathered *g)
{
    *g = (struct gathered){.nodes = kb_new_array(bool, c->nodes_count)};
    for (size_t i = 0; i < c->best->n_partitions; i++) {
        const Kvorum__StatusPartition *p = c->best->partitions[i];
        if (trouble_of(c, p) != t)
            continue;
        if (g->count < NAMES_MAX)
            kb_buf_printf(&g->names, "%s%s-%d", g->count > 0 ? ", " : "", p->topic, p->index);
        if (g->topic == NULL || strcmp(g->topic, p->topic) != 0) {
            g->topic = p->topic;
            kb_buf_printf(&g->topics, " %s", p->topic);
        }
        g->count++;
        blame(c, t, p, g);
    }
    if (g->count > NAMES_MAX)
        kb_buf_printf(&g->names, " and %zu more", g->count - NAMES_MAX);
}

static void tell(const struct cli_cluster *c, enum trouble t, const struct gathered *g,
                 struct kb_buf *ret)
{
    const char *are = g->count == 1 ? "is" : "are";
    const char *have = g->count == 1 ? "has" : "have";
    const char *their = g->count == 1 ? "its" : "their";
    kb_buf_printf(ret, "%zu of %zu partitions ", g->count, c->partitions);
    if (t == UNDER_MIN_ISR)
        kb_buf_printf(ret, "%s below min.insync.replicas: ", are);
    else
        kb_buf_printf(ret, "%s no leader: ", have);
    kb_buf_append(ret, g->names.data, g->names.size);
    switch (t) {
    case NO_LEADER:
        kb_buf_printf(ret, ". All %s in-sync replicas were on ", their);
        (void)list_nodes(c, g->nodes, "and", ret);
        down_since(c, g->nodes, ret);
        kb_buf_append_str(ret, ". Start ");
        (void)list_nodes(c, g->nodes, "or", ret);
        kb_buf_append_str(ret, ", or accept data loss: kvorum leader elect --unclean");
        kb_buf_append(ret, g->topics.data, g->topics.size);
        break;
    case LEADER_DOWN:
        kb_buf_append_str(ret, ". They were led by ");
        (void)list_nodes(c, g->nodes, "and", ret);
        down_since(c, g->nodes, ret);
        kb_buf_append_str(ret, c->controller_id >= 0 ? ". New leaders are being elected."
                                                     : ". No controller can elect new leaders.");
        break;
    default:
        kb_buf_append_str(ret, ". Writes with acks=all to them fail (NOT_ENOUGH_REPLICAS), reads "
                               "go on.");
        if (memchr(g->nodes, true, c->nodes_count) != NULL) {
            kb_buf_append_str(ret, " Start ");
            (void)list_nodes(c, g->nodes, "or", ret);
            kb_buf_append_str(ret, ".");
        }
    }
}

json_t *cli_words_problems(const struct cli_cluster *c)
{
    json_t *list = json_array();
    struct kb_buf text = {0};
    if (!c->changes) {
        cli_words_no_quorum(c, &text);
        (void)json_array_append_new(list, json_stringn((const char *)text.data, text.size));
    }
    for (int t = 0; t < TROUBLES_; t++) {
        struct gathered g;
        gather(c, (enum trouble)t, &g);
        text.size = 0;
        if (g.count > 0) {
            tell(c, (enum trouble)t, &g, &text);
            (void)json_array_append_new(list, json_stringn((const char *)text.data, text.size));
        }
        kb_buf_release(&g.names);
        kb_buf_release(&g.topics);
        (void)kb_free(g.nodes);
    }
    kb_buf_release(&text);
    return list;
}
