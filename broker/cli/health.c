/* kvorum health: a verdict as an exit code. */
#include <poll.h>
#include <stdlib.h>

#include "broker/cli/internal.h"

enum { WAIT_MS = 250 };

static json_t *reasons(const struct cli_cluster *c)
{
    json_t *list = json_array();
    for (size_t i = 0; i < c->nodes_count; i++) {
        const struct cli_node *n = &c->nodes[i];
        if (n->status == NULL)
            (void)json_array_append_new(
                list, json_sprintf("node %d is down: %s", n->id, cli_result_text(n->result)));
        else if (strcmp(cli_node_state(n), "running") != 0)
            (void)json_array_append_new(list,
                                        json_sprintf("node %d is %s", n->id, cli_node_state(n)));
    }
    json_t *problems = cli_words_problems(c);
    (void)json_array_extend(list, problems);
    json_decref(problems);
    if (c->under_replicated > 0)
        (void)json_array_append_new(list, json_sprintf("%zu of %zu partitions are under-replicated",
                                                       c->under_replicated, c->partitions));
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
        json_t *o = cli_cluster_json(c);
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

static int render_health(const struct cli_args *args, FILE *key)
{
    struct cli_cluster c = {0};
    int r = cli_cluster_gather(args, args->local, &c);
    if (r == CLI_OK)
        cli_cluster_key(&c, key);
    if (r == CLI_OK)
        r = args->local ? health_local(args, &c) : health_cluster(args, &c);
    cli_cluster_release(&c);
    return r;
}

/* Ask silently until the answer is yes or the time is over, then once more aloud. */
static void wait_healthy(const struct cli_args *args)
{
    struct cli_args quiet = *args;
    uint64_t deadline_ms = cli_now_ms() + (uint64_t)args->timeout_ms;
    char *text = NULL;
    size_t size = 0;
    FILE *key = open_memstream(&text, &size);
    quiet.quiet = true;
    while (key != NULL && render_health(&quiet, key) != CLI_OK &&
           cli_now_ms() + WAIT_MS < deadline_ms)
        (void)poll(NULL, 0, WAIT_MS);
    if (key != NULL)
        (void)fclose(key);
    free(text);
}

int cli_health(const struct cli_args *args)
{
    if (args->wait)
        wait_healthy(args);
    return cli_show(args, render_health);
}
