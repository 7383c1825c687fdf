/* Why a record was not acknowledged, or a topic not found, in sentences. */
#include "broker/cli/produce.h"

#include "broker/cli/client.h"

enum { UNKNOWN_TOPIC_MS = 1000, CHECK_MS = 100 };

/* ---- topics ------------------------------------------------------------------------------------
 */

static bool is_final(int16_t error)
{
    return error > 0 && error != KW_UNKNOWN_TOPIC_OR_PARTITION && !kw_error_retriable(error);
}

/* The topic is missing: say so with the most similar name. */
static int offer_similar(struct cli_client *c, struct kb_arena *arena)
{
    const char *name = c->args->operands[0];
    (void)arena;
    int r = cli_refresh_for(c, "cannot find the topic", &name, 1);
    if (r == CLI_OK && cli_need_topic(c, name) == NULL)
        return CLI_NOT_FOUND;
    if (r == CLI_OK)
        cli_error("topic \"%s\" has only just been made. Try again", name);
    return r == CLI_OK ? CLI_FAILED : r;
}

static int tell_topic(const struct cli_args *args, const struct cli_topic *t)
{
    struct cli_args one = *args;
    one.operands[0] = t->name;
    one.operands_count = 1;
    if (t->error == KW_UNKNOWN_TOPIC_OR_PARTITION)
        return cli_with_client(&one, offer_similar);
    cli_error("topic \"%s\" cannot be used: %s (%s)", t->name, kw_error_message(t->error),
              kw_error_name(t->error));
    return is_final(t->error) ? CLI_FAILED : CLI_TIMEOUT;
}

int cli_topic_wait(const struct cli_args *args, struct cli_wire *wire, size_t topic,
                   uint64_t began_ms)
{
    const struct cli_topic *t = cli_wire_topic_at(wire, topic);
    uint64_t now_ms = cli_now_ms();
    bool late = now_ms - began_ms >= (uint64_t)args->timeout_ms;
    if (t->error == KW_NONE && t->partitions_count > 0)
        return CLI_OK;
    /* A node that is behind does not know it yet; after a second it does not exist. */
    if (is_final(t->error) || (t->error == KW_UNKNOWN_TOPIC_OR_PARTITION &&
                               (late || now_ms - t->error_ms >= UNKNOWN_TOPIC_MS)))
        return tell_topic(args, t);
    if (late && !cli_wire_reached(wire)) {
        cli_wire_tell_unreachable(wire);
        return CLI_NO_NODE;
    }
    if (late && t->error > 0)
        return tell_topic(args, t);
    if (late) {
        cli_error("no node told about topic \"%s\" within %.1f s", t->name,
                  (double)args->timeout_ms / 1000);
        return CLI_TIMEOUT;
    }
    cli_wire_refresh(wire);
    cli_wire_poke_in(wire, CHECK_MS);
    return -1;
}

/* ---- records -----------------------------------------------------------------------------------
 */

static bool has_left(const Kvorum__StatusReplica *r)
{
    return !r->in_isr && r->left_reason != NULL;
}

/* "4.1 s and 3.8 s": the items of those that left, one after the other. */
static void list_leavers(const Kvorum__StatusPartition *p, size_t count, bool ages,
                         struct kb_buf *ret)
{
    size_t at = 0;
    for (size_t i = 0; i < p->n_peers; i++) {
        const Kvorum__StatusReplica *r = p->peers[i];
        if (!has_left(r))
            continue;
        if (at > 0)
            kb_buf_append_str(ret, at + 1 == count ? " and " : ", ");
        if (ages)
            kb_buf_printf(ret, "%.1f s", (double)r->left_age_ms / 1000);
        else
            kb_buf_printf(ret, "%d", r->node_id);
        at++;
    }
}

void cli_produce_leavers(const Kvorum__StatusPartition *p, struct kb_buf *ret)
{
    size_t count = 0;
    const char *reason = NULL;
    bool same = true;
    for (size_t i = 0; i < p->n_peers; i++) {
        if (!has_left(p->peers[i]))
            continue;
        same = same && (reason == NULL || strcmp(reason, p->peers[i]->left_reason) == 0);
        reason = p->peers[i]->left_reason;
        count++;
    }
    if (count == 0)
        return;
    kb_buf_append_str(ret, count == 1 ? " Node " : " Nodes ");
    list_leavers(p, count, false, ret);
    kb_buf_append_str(ret, " left the ISR ");
    list_leavers(p, count, true, ret);
    kb_buf_append_str(ret, " ago");
    if (same)
        kb_buf_printf(ret, " (%s)", strcmp(reason, "lagging") == 0 ? "no fetch" : reason);
    kb_buf_append_str(ret, ".");
}

/* What the partition's leader says of it; NULL when it cannot be asked. */
static const Kvorum__StatusPartition *find_partition(const struct cli_cluster *c, const char *topic,
                                                     int32_t index)
{
    for (size_t n = 0; n < c->nodes_count; n++) {
        const Kvorum__StatusResponse *s = c->nodes[n].status;
        for (size_t i = 0; s != NULL && i < s->n_partitions; i++) {
            const Kvorum__StatusPartition *p = s->partitions[i];
            if (p->leader == s->node_id && p->index == index && p->topic != NULL &&
                strcmp(p->topic, topic) == 0)
                return p;
        }
    }
    return NULL;
}

static void tell_replicas(const struct cli_args *args, const struct cli_topic *t,
                          const struct cli_delivery *d, const char *end)
{
    struct cli_args quiet = *args;
    struct cli_cluster c = {.topic = t->name};
    struct kb_buf text = {0};
    quiet.quiet = true;
    const Kvorum__StatusPartition *p = NULL;
    if (cli_cluster_gather(&quiet, false, &c) == CLI_OK)
        p = find_partition(&c, t->name, d->partition);
    if (p != NULL) {
        kb_buf_printf(&text, "%zu in-sync replica%s, %d required (%s).", p->n_isr,
                      p->n_isr == 1 ? "" : "s", p->min_isr, kw_error_name(d->error));
        cli_produce_leavers(p, &text);
    } else {
        kb_buf_printf(&text, "too few in-sync replicas (%s).", kw_error_name(d->error));
    }
    cli_error("write to %s-%d not acknowledged: %.*s %s", t->name, d->partition, (int)text.size,
              (const char *)text.data, end);
    kb_buf_release(&text);
    cli_cluster_release(&c);
}

void cli_produce_tell(const struct cli_args *args, const struct cli_wire *wire,
                      const struct cli_delivery *d)
{
    const struct cli_topic *t = cli_wire_topic_at(wire, d->topic);
    const char *end = d->doubtful
                          ? "It may have been written all the same; sending it again may repeat it."
                          : "The record is not committed; it is safe to retry.";
    if (d->error == KW_NOT_ENOUGH_REPLICAS || d->error == KW_NOT_ENOUGH_REPLICAS_AFTER_APPEND) {
        tell_replicas(args, t, d, end);
        return;
    }
    cli_error("write to %s-%d not acknowledged: %s%s (%s). %s", t->name, d->partition,
              d->text != NULL ? d->text : kw_error_message(d->error),
              d->result < 0 ? ", and its time is over" : "", kw_error_name(d->error), end);
}
