/* kvorum status. */
#include "broker/cli/failover.h"
#include "broker/cli/internal.h"

const char *cli_node_state(const struct cli_node *n)
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
                          n->id, "state", cli_node_state(n), "role", role_of(c, n), "up", s != NULL,
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

json_t *cli_cluster_json(const struct cli_cluster *c)
{
    return json_pack("{s:s?, s:s, s:i, s:I, s:I, s:I, s:I, s:b, s:{s:I, s:I, s:I, s:I}}",
                     "cluster_id", c->best->cluster_id, "verdict", cli_verdict_name(c->verdict),
                     "controller_id", c->controller_id, "nodes", (json_int_t)c->nodes_count,
                     "nodes_up", (json_int_t)c->nodes_up, "voters", (json_int_t)c->voters,
                     "voters_up", (json_int_t)c->voters_up, "metadata_changes", c->changes,
                     "partitions", "total", (json_int_t)c->partitions, "leaderless",
                     (json_int_t)c->leaderless, "under_replicated", (json_int_t)c->under_replicated,
                     "under_min_isr", (json_int_t)c->under_min_isr);
}

static void print_json(const struct cli_args *args, const struct cli_cluster *c)
{
    json_t *o = cli_cluster_json(c);
    json_t *nodes = json_array();
    for (size_t i = 0; i < c->nodes_count; i++)
        (void)json_array_append_new(nodes, node_json(c, &c->nodes[i]));
    (void)json_object_set_new(o, "node_list", nodes);
    (void)json_object_set_new(o, "problems", cli_words_problems(c));
    (void)json_object_set_new(o, "isr_left", cli_isr_leavers_json(c));
    (void)json_object_set_new(o, "last_failover", cli_last_failover_json(c));
    (void)json_object_set_new(o, "events", cli_events_json(c));
    cli_json_print(args, o);
}

static void print_quorum(const struct cli_args *args, const struct cli_cluster *c)
{
    size_t needed = c->voters / 2 + 1;
    if (c->changes)
        (void)fprintf(args->out, "metadata changes: OK (quorum %zu/%zu, can lose %zu more)\n",
                      c->voters_up, c->voters, c->voters_up - needed);
    else
        (void)fprintf(args->out,
                      "metadata changes: STOPPED (%zu of %zu controllers are up, %zu are needed)\n",
                      c->voters_up, c->voters, needed);
}

static void print_node(const struct cli_args *args, const struct cli_cluster *c,
                       struct libscols_table *t, const struct cli_node *n)
{
    char disk[16] = "-";
    char seen[32] = "now";
    const Kvorum__StatusResponse *s = n->status;
    if (s == NULL) {
        cli_age_text(n->seen_age_ms, seen);
        cli_table_row(t, "%d\tDOWN\t-\t-\t-\t-\t%zu\t%zu/%zu\t-\t%s:%u\t%s (%s)", n->id, n->leaders,
                      n->in_isr, n->assigned, n->host != NULL ? n->host : "?", n->port, seen,
                      cli_result_text(n->result));
        cli_table_color(args, t, CLI_RED);
        return;
    }
    uint64_t newest = c->best->commit_index;
    uint64_t lag = newest > s->applied_index ? newest - s->applied_index : 0;
    cli_bytes_text(s->disk_bytes, disk);
    cli_table_row(t,
                  "%d\t%s\t%s\t%" PRIu64 "\t%" PRIu64 "\t%" PRIu64 "\t%zu\t%zu/%zu\t%s\t%s:%u\t%s",
                  n->id, cli_node_state(n), role_of(c, n), s->term, s->commit_index, lag,
                  n->leaders, n->in_isr, n->assigned, disk, n->host, n->port, seen);
    if (strcmp(cli_node_state(n), "running") != 0)
        cli_table_color(args, t, CLI_YELLOW);
}

/* The last line names the nodes whose replicas lag. */
static void print_counts(const struct cli_args *args, const struct cli_cluster *c)
{
    const char *before = " (node ";
    (void)fprintf(args->out, "under-replicated: %zu", c->under_replicated);
    for (size_t i = 0; i < c->nodes_count; i++) {
        const struct cli_node *n = &c->nodes[i];
        if (n->in_isr == n->assigned && (n->status != NULL || n->assigned == 0))
            continue;
        (void)fprintf(args->out, "%s%d", before, n->id);
        before = ", ";
    }
    (void)fprintf(args->out, "%s   below min ISR: %zu   leaderless: %zu\n",
                  before[0] == ',' ? ")" : "", c->under_min_isr, c->leaderless);
}

static void print_table(const struct cli_args *args, const struct cli_cluster *c)
{
    static const char *const columns[] = {">NODE",   "STATE",   "ROLE",      ">TERM",
                                          ">COMMIT", ">LAG",    ">LEADERS",  ">ISR",
                                          ">DISK",   "ADDRESS", "LAST SEEN", NULL};
    static const char *const words[] = {"● HEALTHY", "● DEGRADED", "● UNAVAILABLE"};
    static const enum cli_color colors[] = {CLI_GREEN, CLI_YELLOW, CLI_RED};
    struct libscols_table *t = cli_table_new(args, columns);
    (void)fprintf(args->out, "cluster %s  ",
                  c->best->cluster_id != NULL ? c->best->cluster_id : "(not founded)");
    cli_print_colored(args, colors[c->verdict], words[c->verdict]);
    (void)fprintf(args->out, "  %zu of %zu nodes up · ", c->nodes_up, c->nodes_count);
    if (c->controller_id >= 0)
        (void)fprintf(args->out, "controller: node %d (term %" PRIu64 ")\n", c->controller_id,
                      c->best->term);
    else
        (void)fprintf(args->out, "no controller\n");
    (void)fprintf(args->out, "partitions with a leader: %zu/%zu · ", c->partitions - c->leaderless,
                  c->partitions);
    print_quorum(args, c);
    for (size_t i = 0; i < c->nodes_count; i++)
        print_node(args, c, t, &c->nodes[i]);
    cli_table_print(t);
    cli_failover_print(args, c);
    print_counts(args, c);
    cli_isr_leavers_print(c, args->out);
    json_t *problems = cli_words_problems(c);
    for (size_t i = 0; i < json_array_size(problems); i++)
        (void)fprintf(args->out, "%s\n", json_string_value(json_array_get(problems, i)));
    json_decref(problems);
}

void cli_cluster_key(const struct cli_cluster *c, FILE *key)
{
    (void)fprintf(key, "%s %d %zu %zu %zu %zu %zu\n", cli_verdict_name(c->verdict),
                  c->controller_id, c->partitions, c->leaderless, c->under_replicated,
                  c->under_min_isr, c->voters_up);
    for (size_t i = 0; i < c->nodes_count; i++) {
        const struct cli_node *n = &c->nodes[i];
        (void)fprintf(key, "%d %s %s %zu %zu %zu %" PRIu64 "\n", n->id, cli_node_state(n),
                      role_of(c, n), n->leaders, n->in_isr, n->assigned,
                      n->status != NULL ? n->status->term : 0);
    }
}

static int render_status(const struct cli_args *args, FILE *key)
{
    return cli_cluster_render(args, key, print_json, print_table);
}

int cli_status(const struct cli_args *args)
{
    return cli_show(args, render_status);
}
