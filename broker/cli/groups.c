/* kvorum group ls, describe, rm. */
#include <stdlib.h>

#include "broker/cli/group.h"

/* ---- ls ---------------------------------------------------------------------------------------
 */

static int ls(struct cli_client *c, struct kb_arena *arena)
{
    static const char *const columns[] = {"GROUP", "STATE", "PROTOCOL", ">COORDINATOR", NULL};
    struct cli_listed_group *list = NULL;
    size_t count = 0;
    int r = cli_groups_list(c, arena, &list, &count);
    if (r != CLI_OK && count == 0)
        return r;
    struct libscols_table *t = cli_table_new(c->args, columns);
    json_t *groups = json_array();
    for (size_t i = 0; i < count; i++) {
        const struct kw_list_groups_response_group *g = list[i].group;
        cli_table_row(t, "%.*s\t%.*s\t%.*s\t%d", CLI_STR(g->group_id), CLI_STR(g->group_state),
                      CLI_STR(g->protocol_type), list[i].node_id);
        (void)json_array_append_new(
            groups, json_pack("{s:o, s:o, s:o, s:i}", "group", cli_str_json(g->group_id), "state",
                              cli_str_json(g->group_state), "protocol_type",
                              cli_str_json(g->protocol_type), "coordinator_id", list[i].node_id));
    }
    if (c->args->json) {
        cli_json_print(c->args, json_pack("{s:O}", "groups", groups));
        cli_table_free(t);
    } else {
        cli_table_print(t);
    }
    json_decref(groups);
    return r;
}

int cli_group_ls(const struct cli_args *args)
{
    return cli_with_client(args, ls);
}

/* ---- describe ---------------------------------------------------------------------------------
 */

static int64_t lag_of(const struct cli_group_row *row)
{
    if (row->committed < 0 || row->log_end < 0)
        return -1;
    return row->log_end > row->committed ? row->log_end - row->committed : 0;
}

static int64_t total_lag(const struct cli_group *g)
{
    int64_t sum = 0;
    for (size_t i = 0; i < g->count; i++) {
        int64_t lag = lag_of(&g->rows[i]);
        sum += lag > 0 ? lag : 0;
    }
    return sum;
}

/* "120\t", or "-\t" for what is not known. */
static void number_cell(struct kb_buf *row, int64_t v)
{
    if (v < 0)
        kb_buf_append_str(row, "-\t");
    else
        kb_buf_printf(row, "%" PRId64 "\t", v);
}

static void print_members(const struct cli_args *args, const struct cli_group *g)
{
    static const char *const columns[] = {"MEMBER", "CLIENT-ID", "HOST", NULL};
    struct libscols_table *t = NULL;
    for (int32_t i = 0; i < g->about->members_count; i++) {
        const struct kw_describe_groups_response_member *m = &g->about->members[i];
        bool assigned = false;
        for (size_t k = 0; k < g->count; k++)
            assigned = assigned || g->rows[k].member == m;
        if (assigned)
            continue; /* stands in the table of partitions */
        if (t == NULL) {
            (void)fprintf(args->out, "members without partitions:\n");
            t = cli_table_new(args, columns);
        }
        cli_table_row(t, "%.*s\t%.*s\t%.*s", CLI_STR(m->member_id), CLI_STR(m->client_id),
                      CLI_STR(m->client_host));
    }
    if (t != NULL)
        cli_table_print(t);
}

static void print_group(const struct cli_client *c, const struct cli_group *g)
{
    static const char *const columns[] = {"TOPIC",  ">PARTITION", ">COMMITTED", ">LOG-END", ">LAG",
                                          "MEMBER", "CLIENT-ID",  "HOST",       NULL};
    const struct cli_args *args = c->args;
    const struct kw_describe_groups_response_group *a = g->about;
    (void)fprintf(args->out, "group %s  ", g->name);
    (void)fprintf(args->out, "state %.*s  coordinator %s\n", CLI_STR(a->group_state),
                  cli_client_name(c, g->coordinator));
    (void)fprintf(args->out, "protocol %.*s%s%.*s  members %d  total lag %" PRId64 "\n",
                  CLI_STR(a->protocol_type), a->protocol_data.size > 0 ? "/" : "",
                  CLI_STR(a->protocol_data), a->members_count, total_lag(g));
    struct libscols_table *t = cli_table_new(args, columns);
    for (size_t i = 0; i < g->count; i++) {
        const struct cli_group_row *row = &g->rows[i];
        const struct kw_describe_groups_response_member *m = row->member;
        struct kb_buf text = {0};
        kb_buf_printf(&text, "%.*s\t%d\t", CLI_STR(row->topic), row->partition);
        number_cell(&text, row->committed);
        number_cell(&text, row->log_end);
        number_cell(&text, lag_of(row));
        if (m != NULL)
            kb_buf_printf(&text, "%.*s\t%.*s\t%.*s", CLI_STR(m->member_id), CLI_STR(m->client_id),
                          CLI_STR(m->client_host));
        else
            kb_buf_append_str(&text, "-\t-\t-");
        cli_table_row(t, "%.*s", (int)text.size, (const char *)text.data);
        kb_buf_release(&text);
    }
    cli_table_print(t);
    print_members(args, g);
}

static json_t *known(int64_t v)
{
    return v < 0 ? json_null() : json_integer((json_int_t)v);
}

static json_t *members_json(const struct cli_group *g)
{
    json_t *list = json_array();
    for (int32_t i = 0; i < g->about->members_count; i++) {
        const struct kw_describe_groups_response_member *m = &g->about->members[i];
        (void)json_array_append_new(
            list, json_pack("{s:o, s:o, s:o, s:o}", "member_id", cli_str_json(m->member_id),
                            "instance_id", cli_str_json(m->group_instance_id), "client_id",
                            cli_str_json(m->client_id), "host", cli_str_json(m->client_host)));
    }
    return list;
}

static json_t *group_json(const struct cli_group *g)
{
    json_t *rows = json_array();
    for (size_t i = 0; i < g->count; i++) {
        const struct cli_group_row *row = &g->rows[i];
        const struct kw_describe_groups_response_member *m = row->member;
        (void)json_array_append_new(
            rows,
            json_pack("{s:o, s:i, s:o, s:o, s:o, s:o, s:o, s:o}", "topic", cli_str_json(row->topic),
                      "partition", row->partition, "committed", known(row->committed), "log_start",
                      known(row->log_start), "log_end", known(row->log_end), "lag",
                      known(lag_of(row)), "metadata", cli_str_json(row->metadata), "member_id",
                      m != NULL ? cli_str_json(m->member_id) : json_null()));
    }
    return json_pack("{s:s, s:o, s:i, s:o, s:o, s:I, s:o, s:o}", "group", g->name, "state",
                     cli_str_json(g->about->group_state), "coordinator_id", g->coordinator,
                     "protocol_type", cli_str_json(g->about->protocol_type), "protocol",
                     cli_str_json(g->about->protocol_data), "total_lag", (json_int_t)total_lag(g),
                     "members", members_json(g), "partitions", rows);
}

/* Lag is what a watcher waits for, so it belongs to the key. */
static void key_of(const struct cli_group *g, FILE *key)
{
    (void)fprintf(key, "%s %.*s %d %d\n", g->name, CLI_STR(g->about->group_state), g->coordinator,
                  g->about->members_count);
    for (size_t i = 0; i < g->count; i++) {
        const struct cli_group_row *row = &g->rows[i];
        (void)fprintf(key, "%.*s %d %" PRId64 " %" PRId64 " %.*s\n", CLI_STR(row->topic),
                      row->partition, row->committed, row->log_end,
                      row->member != NULL ? row->member->member_id.size : 0,
                      row->member != NULL ? row->member->member_id.data : "");
    }
}

static int describe_one(struct cli_client *c, struct kb_arena *arena, const char *name,
                        json_t *list, FILE *key)
{
    struct cli_group g;
    int r = cli_group_load(c, arena, name, &g);
    if (r != CLI_OK)
        return r;
    if (g.about == NULL) {
        cli_group_release(&g);
        return cli_group_missing(c, arena, name);
    }
    if (g.count > 0)
        (void)cli_client_refresh(c, NULL, -1); /* leaders, for the ends of the logs */
    cli_group_ends(c, arena, &g, false);
    (void)json_array_append_new(list, group_json(&g));
    if (!c->args->json)
        print_group(c, &g);
    key_of(&g, key);
    cli_group_release(&g);
    return CLI_OK;
}

static int render_describe(const struct cli_args *args, FILE *key)
{
    struct cli_client c;
    struct kb_arena arena;
    json_t *list = json_array();
    int r = cli_client_init(&c, args);
    int first = CLI_OK;
    kb_arena_init(&arena, CLI_ARENA_BYTES);
    for (size_t i = 0; r == CLI_OK && i < args->operands_count; i++) {
        if (i > 0 && !args->json)
            (void)fputc('\n', args->out);
        int one = describe_one(&c, &arena, args->operands[i], list, key);
        first = first == CLI_OK ? one : first;
    }
    if (r == CLI_OK && args->json && json_array_size(list) > 0)
        cli_json_print(args, json_pack("{s:O}", "groups", list));
    json_decref(list);
    kb_arena_release(&arena);
    cli_client_release(&c);
    return r != CLI_OK ? r : first;
}

int cli_group_describe(const struct cli_args *args)
{
    return cli_show(args, render_describe);
}

/* ---- rm ---------------------------------------------------------------------------------------
 */

static int rm_one(struct cli_client *c, struct kb_arena *arena, const char *name,
                  const char **ret_status)
{
    struct kw_delete_groups_request request;
    struct kw_str id = kw_str_of(name);
    char what[320];
    int result = 0;
    struct cli_request r = {.api_key = KW_API_DELETE_GROUPS, .request = &request};
    kw_delete_groups_request_init(&request);
    request.groups_names = &id;
    request.groups_names_count = 1;
    (void)snprintf(what, sizeof(what), "cannot delete group \"%s\"", name);
    *ret_status = "failed";
    do {
        r.node_id = CLI_ANY_NODE;
        result = r.result = cli_client_coordinator(c, name, &r.node_id);
        if (result != 0)
            break;
        result = cli_client_call(c, arena, &r, 1);
        const struct kw_delete_groups_response *got = r.response;
        if (result == 0)
            result = got->results_count == 1 ? got->results[0].error_code : KW_UNKNOWN_SERVER_ERROR;
    } while (result != 0 && cli_retriable(result) && cli_client_pause(c));
    if (result < 0)
        return cli_client_fail(c, what, &r);
    if (result == KW_GROUP_ID_NOT_FOUND)
        return cli_group_missing(c, arena, name);
    if (result == KW_NON_EMPTY_GROUP) {
        cli_error("%s: it has members (NON_EMPTY_GROUP). Stop its consumers first; who they are: "
                  "kvorum group describe %s",
                  what, name);
        return CLI_FAILED;
    }
    if (result != 0)
        return cli_kafka_fail(what, (int16_t)result, kw_str_null());
    *ret_status = "deleted";
    return CLI_OK;
}

static int rm(struct cli_client *c, struct kb_arena *arena)
{
    static const char *const columns[] = {"GROUP", "STATUS", NULL};
    const struct cli_args *args = c->args;
    struct libscols_table *t = cli_table_new(args, columns);
    json_t *list = json_array();
    int first = CLI_OK;
    c->deadline_ms = cli_now_ms() + (uint64_t)args->timeout_ms; /* the question took its time */
    for (size_t i = 0; i < args->operands_count; i++) {
        const char *status = NULL;
        int one = rm_one(c, arena, args->operands[i], &status);
        first = first == CLI_OK ? one : first;
        cli_table_row(t, "%s\t%s", args->operands[i], status);
        (void)json_array_append_new(
            list, json_pack("{s:s, s:s}", "group", args->operands[i], "status", status));
    }
    if (args->json) {
        cli_json_print(args, json_pack("{s:O}", "groups", list));
        cli_table_free(t);
    } else {
        cli_table_print(t);
    }
    json_decref(list);
    return first;
}

int cli_group_rm(const struct cli_args *args)
{
    struct kb_buf text = {0};
    kb_buf_append_str(&text, "This deletes");
    for (size_t i = 0; i < args->operands_count; i++)
        kb_buf_printf(&text, "%s \"%s\"", i > 0 ? "," : "", args->operands[i]);
    kb_buf_append_str(&text, " with the committed offsets.");
    kb_buf_append(&text, "", 1);
    int r = cli_confirm(args, (const char *)text.data);
    kb_buf_release(&text);
    return r == CLI_OK ? cli_with_client(args, rm) : r;
}
