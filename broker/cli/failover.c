/* The last failover and the replicas out of their ISR, in words: from the events nodes keep. */
#include "broker/cli/failover.h"

#include <string.h>
#include <time.h>

enum {
    LOST_BEFORE_MS = 30000, /* a link lost earlier than that has nothing to do with it */
    MOVED_AFTER_MS = 2000,  /* leaders move in the batch that fences, or soon after it */
    LEAVERS_MAX = 256,
};

static bool is_about(const Kvorum__StatusEvent *e, const char *kind, int32_t node_id)
{
    return e->kind != NULL && strcmp(e->kind, kind) == 0 &&
           (node_id < 0 || (e->has_node_id && e->node_id == node_id));
}

/* The newest of this kind before i that is no older than a limit; count when there is none. */
static size_t find_before(Kvorum__StatusEvent *const *events, size_t count, size_t i,
                          const char *kind, int32_t node_id)
{
    for (size_t k = i; k > 0; k--) {
        if (events[k - 1]->age_ms > events[i]->age_ms + LOST_BEFORE_MS)
            break;
        if (is_about(events[k - 1], kind, node_id))
            return k - 1;
    }
    return count;
}

/* When did it begin: the controlled stop, the lost link, or the silence. Index of the event. */
static size_t find_begin(Kvorum__StatusEvent *const *events, size_t count, size_t fenced,
                         struct cli_failover *f)
{
    size_t back = find_before(events, count, fenced, "unfenced", f->node_id);
    size_t stop = find_before(events, count, fenced, "stopping", f->node_id);
    size_t lost = find_before(events, count, fenced, "link_lost", f->node_id);
    size_t begin = stop < count ? stop : lost;
    if (begin < count && (back == count || begin > back)) {
        f->stopped = begin == stop;
        f->wall_ms = events[begin]->wall_ms;
        f->age_ms = events[begin]->age_ms;
        return begin;
    }
    f->silent = true;
    f->wall_ms = events[fenced]->wall_ms - (int64_t)events[fenced]->silent_ms;
    f->age_ms = events[fenced]->age_ms + events[fenced]->silent_ms;
    for (begin = fenced; begin > 0 && events[begin - 1]->age_ms <= f->age_ms;)
        begin--;
    return begin;
}

static int64_t since(const struct cli_failover *f, const Kvorum__StatusEvent *e)
{
    return f->age_ms > e->age_ms ? (int64_t)(f->age_ms - e->age_ms) : 0;
}

static void take_event(struct cli_failover *f, const Kvorum__StatusEvent *e, bool after_fencing)
{
    if (f->detected_ms < 0 && !f->stopped &&
        (is_about(e, "peer_dead", f->node_id) || is_about(e, "fenced", f->node_id)))
        f->detected_ms = since(f, e);
    if (f->controller_ms < 0 && !after_fencing && is_about(e, "controller", -1) &&
        e->node_id != f->node_id) {
        f->controller_ms = since(f, e);
        f->controller_id = e->node_id;
    }
    if (is_about(e, "leaders_moved", f->node_id) && e->has_other_id) {
        f->leaders_ms = since(f, e);
        f->leaders_moved += e->count;
    }
}

bool cli_failover_find(Kvorum__StatusEvent *const *events, size_t count, struct cli_failover *ret)
{
    struct cli_failover f = {
        .detected_ms = -1, .controller_ms = -1, .leaders_ms = -1, .controller_id = -1};
    size_t fenced = count;
    while (fenced > 0 && !is_about(events[fenced - 1], "fenced", -1))
        fenced--;
    if (fenced == 0)
        return false;
    fenced--;
    f.node_id = events[fenced]->node_id;
    for (size_t i = find_begin(events, count, fenced, &f); i < count; i++) {
        const Kvorum__StatusEvent *e = events[i];
        if (i > fenced && (e->age_ms + MOVED_AFTER_MS < events[fenced]->age_ms ||
                           is_about(e, "unfenced", f.node_id)))
            break;
        take_event(&f, e, i > fenced);
    }
    *ret = f;
    return true;
}

bool cli_failover_of_cluster(const struct cli_cluster *c, struct cli_failover *ret)
{
    bool found = false;
    if (c->best != NULL && cli_failover_find(c->best->events, c->best->n_events, ret))
        return true;
    for (size_t i = 0; i < c->nodes_count; i++) {
        const Kvorum__StatusResponse *s = c->nodes[i].status;
        struct cli_failover f;
        if (s == NULL || !cli_failover_find(s->events, s->n_events, &f) ||
            (found && f.age_ms >= ret->age_ms))
            continue;
        *ret = f;
        found = true;
    }
    return found;
}

static void add_step(struct kb_buf *b, const char *what, int64_t ms)
{
    if (ms >= 0)
        kb_buf_printf(b, " → %s +%.2f s", what, (double)ms / 1000);
}

char *cli_failover_text(const struct cli_failover *f)
{
    struct kb_buf b = {0};
    char at[32] = "?";
    struct tm tm;
    time_t seconds = (time_t)(f->wall_ms / 1000);
    if (localtime_r(&seconds, &tm) != NULL)
        (void)strftime(at, sizeof(at), "%H:%M:%S", &tm);
    kb_buf_printf(&b, "node %d %s %s.%03d", f->node_id,
                  f->stopped  ? "stopped"
                  : f->silent ? "silent since"
                              : "lost",
                  at, (int)(f->wall_ms % 1000));
    add_step(&b, "detected", f->detected_ms <= f->controller_ms ? f->detected_ms : -1);
    add_step(&b, "new controller", f->controller_ms);
    add_step(&b, "detected", f->detected_ms > f->controller_ms ? f->detected_ms : -1);
    if (f->leaders_moved > 0)
        kb_buf_printf(&b, " → %u leader%s moved +%.2f s", f->leaders_moved,
                      f->leaders_moved == 1 ? "" : "s", (double)f->leaders_ms / 1000);
    char *text = kb_strndup((const char *)b.data, b.size);
    kb_buf_release(&b);
    return text;
}

void cli_failover_print(const struct cli_args *args, const struct cli_cluster *c)
{
    struct cli_failover f;
    if (!cli_failover_of_cluster(c, &f))
        return;
    char *text = cli_failover_text(&f);
    (void)fprintf(args->out, "last failover: %s\n", text);
    (void)kb_free(text);
}

static json_t *number_or_null(int64_t v)
{
    return v < 0 ? json_null() : json_integer((json_int_t)v);
}

static json_t *failover_json(const struct cli_failover *f)
{
    return json_pack("{s:i, s:b, s:b, s:I, s:I, s:o, s:o, s:o, s:o, s:i}", "node_id", f->node_id,
                     "stopped", f->stopped, "silent", f->silent, "wall_ms", (json_int_t)f->wall_ms,
                     "age_ms", (json_int_t)f->age_ms, "detected_ms", number_or_null(f->detected_ms),
                     "controller_ms", number_or_null(f->controller_ms), "controller_id",
                     number_or_null(f->controller_id), "leaders_moved_ms",
                     number_or_null(f->leaders_ms), "leaders_moved", (int)f->leaders_moved);
}

json_t *cli_last_failover_json(const struct cli_cluster *c)
{
    struct cli_failover f;
    return cli_failover_of_cluster(c, &f) ? failover_json(&f) : json_null();
}

static json_t *event_json(const Kvorum__StatusEvent *e)
{
    json_t *o = json_pack("{s:I, s:s?, s:I, s:I}", "sequence", (json_int_t)e->sequence, "kind",
                          e->kind, "wall_ms", (json_int_t)e->wall_ms, "age_ms",
                          (json_int_t)e->age_ms);
    if (e->has_node_id)
        (void)json_object_set_new(o, "node_id", json_integer(e->node_id));
    if (e->has_other_id)
        (void)json_object_set_new(o, "other_id", json_integer(e->other_id));
    if (e->has_term)
        (void)json_object_set_new(o, "term", json_integer((json_int_t)e->term));
    if (e->has_count)
        (void)json_object_set_new(o, "count", json_integer(e->count));
    if (e->has_silent_ms)
        (void)json_object_set_new(o, "silent_ms", json_integer((json_int_t)e->silent_ms));
    if (e->reason != NULL)
        (void)json_object_set_new(o, "reason", json_string(e->reason));
    if (e->topic != NULL) {
        (void)json_object_set_new(o, "topic", json_string(e->topic));
        (void)json_object_set_new(o, "partition", json_integer(e->partition));
    }
    return o;
}

json_t *cli_events_json(const struct cli_cluster *c)
{
    json_t *list = json_array();
    for (size_t i = 0; i < c->best->n_events; i++)
        (void)json_array_append_new(list, event_json(c->best->events[i]));
    return list;
}

/* ---- who is out of an ISR, and why -------------------------------------------------------------
 */

struct leaver {
    int32_t node_id;
    const char *reason;
    size_t partitions;
    uint64_t age_ms; /* of the latest */
};

static void count_leaver(struct leaver *list, size_t *count, const Kvorum__StatusReplica *r)
{
    for (size_t i = 0; i < *count; i++) {
        if (list[i].node_id != r->node_id || strcmp(list[i].reason, r->left_reason) != 0)
            continue;
        list[i].partitions++;
        if (r->left_age_ms < list[i].age_ms)
            list[i].age_ms = r->left_age_ms;
        return;
    }
    if (*count < LEAVERS_MAX)
        list[(*count)++] = (struct leaver){r->node_id, r->left_reason, 1, r->left_age_ms};
}

/* Only the leader of a partition knows its replicas. */
static size_t find_leavers(const struct cli_cluster *c, struct leaver *list)
{
    size_t count = 0;
    for (size_t n = 0; n < c->nodes_count; n++) {
        const Kvorum__StatusResponse *s = c->nodes[n].status;
        for (size_t i = 0; s != NULL && i < s->n_partitions; i++) {
            const Kvorum__StatusPartition *p = s->partitions[i];
            for (size_t k = 0; k < p->n_peers; k++) {
                if (!p->peers[k]->in_isr && p->peers[k]->left_reason != NULL)
                    count_leaver(list, &count, p->peers[k]);
            }
        }
    }
    return count;
}

void cli_isr_leavers_print(const struct cli_cluster *c, FILE *out)
{
    struct leaver list[LEAVERS_MAX];
    size_t count = find_leavers(c, list);
    for (size_t i = 0; i < count; i++) {
        char age[32];
        cli_age_text((int64_t)list[i].age_ms, age);
        (void)fprintf(out, "node %d left %zu ISR%s %s: %s\n", list[i].node_id, list[i].partitions,
                      list[i].partitions == 1 ? "" : "s", age, list[i].reason);
    }
}

json_t *cli_isr_leavers_json(const struct cli_cluster *c)
{
    struct leaver list[LEAVERS_MAX];
    size_t count = find_leavers(c, list);
    json_t *array = json_array();
    for (size_t i = 0; i < count; i++)
        (void)json_array_append_new(array, json_pack("{s:i, s:s, s:I, s:I}", "node_id",
                                                     list[i].node_id, "reason", list[i].reason,
                                                     "partitions", (json_int_t)list[i].partitions,
                                                     "left_age_ms", (json_int_t)list[i].age_ms));
    return array;
}
