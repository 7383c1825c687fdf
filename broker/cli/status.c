/* kvorum status and kvorum health. */
#include "broker/cli/internal.h"

static const char *state_of(const struct cli_node *n)
{
    if (n->status == NULL)
        return "DOWN";
    return n->fenced && strcmp(n->status->state, "running") == 0 ? "fenced" : n->status->state;
}

static const char *role_of(const struct cli_cluster *c, const struct cli_node *n)
{
    if (n->status == NULL || n->status->role == NULL)
        return "-";
    return n->id == c->controller_id ? "controller" : n->status->role;
}

static json_t *node_json(const struct cli_cluster *c, const struct cli_node *n)
{
    const Kvorum__StatusResponse *s = n->status;
    json_t *o = json_pack("{s:i, s:s, s:s, s:b, s:b, s:b, s:I, s:I, s:I, s:s?, s:i}", "node_id",
                          n->id, "state", state_of(n), "role", role_of(c, n), "up", s != NULL,
                          "voter", n->voter, "fenced", n->fenced, "leaders", (json_int_t)n->leaders,
                          "in_isr", (json_int_t)n->in_isr, "assigned", (json_int_t)n->assigned,
                          "host", n->host, "port", (int)n->port);
    if (s == NULL) {
        (void)json_object_set_new(o, "error", json_string(cli_result_text(n->result)));
        if (n->seen_age_ms >= 0)
            (void)json_object_set_new(o, "seen_age_ms", json_integer(n->seen_age_ms));
        return o;
    }
    json_t *more = json_pack("{s:I, s:I, s:I, s:I, s:i, s:I, s:I, s:s?, s:s?}", "term",
                             (json_int_t)s->term, "commit_index", (json_int_t)s->commit_index,
                             "applied_index", (json_int_t)s->applied_index, "last_index",
                             (json_int_t)s->last_index, "leader_id", s->leader_id, "uptime_ms",
                             (json_int_t)s->uptime_ms, "disk_bytes", (json_int_t)s->disk_bytes,
                             "version", s->version, "directory_id", s->directory_id);
    json_t *counters = json_object();
    for (size_t i = 0; i < s->n_counters; i++)
        (void)json_object_set_new(counters, s->counters[i]->name,
                                  json_integer((json_int_t)s->counters[i]->value));
    (void)json_object_set_new(more, "counters", counters);
    (void)json_object_update(o, more);
    json_decref(more);
    return o;
}

static json_t *summary_json(const struct cli_cluster *c)
{
    return json_pack(
        "{s:s?, s:s, s:i, s:I, s:I, s:I, s:I, s:b, s:{s:I, s:I, s:I, s:I}}", "cluster_id",
        c->best->cluster_id, "verdict", cli_verdict_name(c->verdict), "controller_id",
        c->controller_id, "nodes", (json_int_t)c->nodes_count, "nodes_up", (json_int_t)c->nodes_up,
        "voters", (json_int_t)c->voters, "voters_up", (json_int_t)c->voters_up, "metadata_changes",
        c->controller_id >= 0, "partitions", "total", (json_int_t)c->partitions, "leaderless",
        (json_int_t)c->leaderless, "under_replicated", (json_int_t)c->under_replicated,
        "under_min_isr", (json_int_t)c->under_min_isr);
}

static void print_json(const struct cli_args *args, const struct cli_cluster *c)
{
    json_t *o = summary_json(c);
    json_t *nodes = json_array();
    for (size_t i = 0; i < c->nodes_count; i++)
        (void)json_array_append_new(nodes, node_json(c, &c->nodes[i]));
    (void)json_object_set_new(o, "node_list", nodes);
    cli_json_print(args, o);
}

static void print_quorum(const struct cli_args *args, const struct cli_cluster *c)
{
    size_t needed = c->voters / 2 + 1;
    if (c->controller_id >= 0 && c->voters_up >= needed)
        (void)fprintf(args->out, "metadata changes: OK (quorum %zu/%zu, can lose %zu more)\n",
                      c->voters_up, c->voters, c->voters_up - needed);
    else
        (void)fprintf(args->out,
                      "metadata changes: STOPPED (%zu of %zu controllers are up, %zu are needed)\n",
                      c->voters_up, c->voters, needed);
}

static void print_node(const struct cli_cluster *c, struct libscols_table *t,
                       const struct cli_node *n)
{
    char disk[16] = "-";
    char seen[32] = "now";
    const Kvorum__StatusResponse *s = n->status;
    if (s == NULL) {
        cli_age_text(n->seen_age_ms, seen);
        cli_table_row(t, "%d\tDOWN\t-\t-\t-\t-\t%zu\t%zu/%zu\t-\t%s:%u\t%s (%s)", n->id, n->leaders,
                      n->in_isr, n->assigned, n->host != NULL ? n->host : "?", n->port, seen,
                      cli_result_text(n->result));
        return;
    }
    uint64_t newest = c->best->commit_index;
    uint64_t lag = newest > s->applied_index ? newest - s->applied_index : 0;
    cli_bytes_text(s->disk_bytes, disk);
    cli_table_row(t,
                  "%d\t%s\t%s\t%" PRIu64 "\t%" PRIu64 "\t%" PRIu64 "\t%zu\t%zu/%zu\t%s\t%s:%u\t%s",
                  n->id, state_of(n), role_of(c, n), s->term, s->commit_index, lag, n->leaders,
                  n->in_isr, n->assigned, disk, n->host, n->port, seen);
}

static void print_table(const struct cli_args *args, const struct cli_cluster *c)
{
    static const char *const columns[] = {">NODE",   "STATE",   "ROLE",      ">TERM",
                                          ">COMMIT", ">LAG",    ">LEADERS",  ">ISR",
                                          ">DISK",   "ADDRESS", "LAST SEEN", NULL};
    static const char *const words[] = {"HEALTHY", "DEGRADED", "UNAVAILABLE"};
    struct libscols_table *t = cli_table_new(args, columns);
    (void)fprintf(args->out, "cluster %s  %s  %zu of %zu nodes up · ",
                  c->best->cluster_id != NULL ? c->best->cluster_id : "(not founded)",
                  words[c->verdict], c->nodes_up, c->nodes_count);
    if (c->controller_id >= 0)
        (void)fprintf(args->out, "controller: node %d (term %" PRIu64 ")\n", c->controller_id,
                      c->best->term);
    else
        (void)fprintf(args->out, "no controller\n");
    (void)fprintf(args->out, "partitions with a leader: %zu/%zu · ", c->partitions - c->leaderless,
                  c->partitions);
    print_quorum(args, c);
    for (size_t i = 0; i < c->nodes_count; i++)
        print_node(c, t, &c->nodes[i]);
    cli_table_print(t);
    (void)fprintf(args->out, "under-replicated: %zu   below min ISR: %zu   leaderless: %zu\n",
                  c->under_replicated, c->under_min_isr, c->leaderless);
}

int cli_status(const struct cli_args *args)
{
    struct cli_cluster c = {0};
    int r = cli_cluster_gather(args, false, &c);
    if (r == CLI_OK && args->json)
        print_json(args, &c);
    else if (r == CLI_OK)
        print_table(args, &c);
    cli_cluster_release(&c);
    return r;
}

/* ---- health -----------------------------------------------------------------------------------
 */

static json_t *reasons(const struct cli_cluster *c)
{
    json_t *list = json_array();
    if (c->controller_id < 0)
        (void)json_array_append_new(
            list, json_sprintf("metadata changes are stopped: %zu of %zu controllers are up",
                               c->voters_up, c->voters));
    for (size_t i = 0; i < c->nodes_count; i++) {
        const struct cli_node *n = &c->nodes[i];
        if (n->status == NULL)
            (void)json_array_append_new(
                list, json_sprintf("node %d is down: %s", n->id, cli_result_text(n->result)));
        else if (strcmp(state_of(n), "running") != 0)
            (void)json_array_append_new(list, json_sprintf("node %d is %s", n->id, state_of(n)));
    }
    if (c->leaderless > 0)
        (void)json_array_append_new(list,
                                    json_sprintf("%zu partitions have no leader", c->leaderless));
    if (c->under_min_isr > 0)
        (void)json_array_append_new(
            list, json_sprintf("%zu partitions are below their min ISR", c->under_min_isr));
    if (c->under_replicated > 0)
        (void)json_array_append_new(
            list, json_sprintf("%zu partitions are under-replicated", c->under_replicated));
    return list;
}

static int health_local(const struct cli_args *args, const struct cli_cluster *c)
{
    const Kvorum__StatusResponse *s = c->best;
    bool healthy = strcmp(s->state, "running") == 0;
    if (args->json && !args->quiet)
        cli_json_print(args, json_pack("{s:b, s:i, s:s}", "healthy", healthy, "node_id", s->node_id,
                                       "state", s->state));
    else if (!args->quiet)
        (void)fprintf(args->out, "%s: node %d is %s\n", healthy ? "healthy" : "unhealthy",
                      s->node_id, s->state);
    return healthy ? CLI_OK : CLI_UNHEALTHY;
}

static int health_cluster(const struct cli_args *args, const struct cli_cluster *c)
{
    json_t *why = reasons(c);
    if (args->json && !args->quiet) {
        json_t *o = summary_json(c);
        (void)json_object_set_new(o, "healthy", json_boolean(c->verdict == CLI_HEALTHY));
        (void)json_object_set(o, "reasons", why);
        cli_json_print(args, o);
    } else if (!args->quiet) {
        (void)fprintf(args->out, "%s\n", cli_verdict_name(c->verdict));
        for (size_t i = 0; i < json_array_size(why); i++)
            (void)fprintf(args->out, "  %s\n", json_string_value(json_array_get(why, i)));
    }
    json_decref(why);
    return c->verdict == CLI_HEALTHY ? CLI_OK : CLI_UNHEALTHY;
}

int cli_health(const struct cli_args *args)
{
    struct cli_cluster c = {0};
    int r = cli_cluster_gather(args, args->local, &c);
    if (r == CLI_OK)
        r = args->local ? health_local(args, &c) : health_cluster(args, &c);
    cli_cluster_release(&c);
    return r;
}
