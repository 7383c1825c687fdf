/* kvorum topic ls, create, alter, rm. */
#include <stdlib.h>

#include "broker/cli/client.h"

enum { CREATE_CAP = 6, DELETE_BY_NAME_CAP = 5, OPERATION_SET = 0 };

/* What a command did to several topics: a table of them, or JSON. */
struct outcome {
    const struct cli_args *args;
    struct libscols_table *table;
    json_t *list;
    int exit; /* the first failure's */
};

static void outcome_init(struct outcome *o, const struct cli_args *args)
{
    static const char *const columns[] = {"TOPIC", "STATUS", NULL};
    *o = (struct outcome){.args = args, .list = json_array()};
    o->table = cli_table_new(args, columns);
}

static void outcome_add(struct outcome *o, struct kw_str topic, const char *status, int16_t error,
                        const char *message)
{
    json_t *j = json_pack("{s:s%, s:s, s:s?, s:s?}", "topic", topic.data, (size_t)topic.size,
                          "status", status, "error", error != KW_NONE ? kw_error_name(error) : NULL,
                          "message", message);
    (void)json_array_append_new(o->list, j);
    cli_table_row(o->table, "%.*s\t%s", CLI_STR(topic),
                  error != KW_NONE ? kw_error_name(error) : status);
    if (error != KW_NONE && o->exit == CLI_OK)
        o->exit = cli_kafka_exit(error);
    if (error != KW_NONE)
        cli_table_color(o->args, o->table, CLI_RED);
}

static int outcome_print(struct outcome *o)
{
    if (o->args->json) {
        cli_json_print(o->args, json_pack("{s:o}", "topics", o->list));
        cli_table_free(o->table);
    } else {
        cli_table_print(o->table);
        json_decref(o->list);
    }
    return o->exit;
}

/* ---- ls ---------------------------------------------------------------------------------------
 */

struct topic_counts {
    int32_t replicas; /* of its first partition */
    int32_t under_replicated;
    int32_t leaderless;
};

static struct topic_counts count_topic(const struct kw_metadata_response_topic *t)
{
    struct topic_counts n = {0};
    for (int32_t i = 0; i < t->partitions_count; i++) {
        const struct kw_metadata_response_partition *p = &t->partitions[i];
        if (n.replicas == 0)
            n.replicas = p->replica_nodes_count;
        n.under_replicated += p->isr_nodes_count < p->replica_nodes_count;
        n.leaderless += p->leader_id < 0;
    }
    return n;
}

static int by_name(const void *a, const void *b)
{
    const struct kw_metadata_response_topic *x = *(void *const *)a;
    const struct kw_metadata_response_topic *y = *(void *const *)b;
    size_t size = (size_t)(x->name.size < y->name.size ? x->name.size : y->name.size);
    int r = memcmp(x->name.data, y->name.data, size);
    return r != 0 ? r : (x->name.size > y->name.size) - (x->name.size < y->name.size);
}

const struct kw_metadata_response_topic **cli_topics_sorted(const struct cli_client *c,
                                                            bool internal, size_t *ret_count)
{
    size_t n = 0;
    const struct kw_metadata_response_topic **list =
        kb_calloc((size_t)c->metadata->topics_count + 1, sizeof(*list));
    for (int32_t i = 0; i < c->metadata->topics_count; i++) {
        const struct kw_metadata_response_topic *t = &c->metadata->topics[i];
        if (t->name.data != NULL && (internal || !t->is_internal))
            list[n++] = t;
    }
    qsort(list, n, sizeof(*list), by_name);
    *ret_count = n;
    return list;
}

static void list_topics(const struct cli_client *c)
{
    static const char *const columns[] = {"TOPIC",        ">PARTITIONS", ">REPLICAS",
                                          ">UNDER-REPL.", ">LEADERLESS", NULL};
    const struct cli_args *args = c->args;
    struct libscols_table *table = cli_table_new(args, columns);
    json_t *topics = json_array();
    size_t count = 0;
    const struct kw_metadata_response_topic **list = cli_topics_sorted(c, args->internal, &count);
    for (size_t i = 0; i < count; i++) {
        const struct kw_metadata_response_topic *t = list[i];
        struct topic_counts n = count_topic(t);
        cli_table_row(table, "%.*s\t%d\t%d\t%d\t%d", CLI_STR(t->name), t->partitions_count,
                      n.replicas, n.under_replicated, n.leaderless);
        if (n.under_replicated > 0)
            cli_table_color(args, table, n.leaderless > 0 ? CLI_RED : CLI_YELLOW);
        (void)json_array_append_new(
            topics, json_pack("{s:s%, s:o, s:b, s:i, s:i, s:i, s:i}", "name", t->name.data,
                              (size_t)t->name.size, "topic_id", cli_uuid_json(&t->topic_id),
                              "internal", t->is_internal, "partitions", t->partitions_count,
                              "replication_factor", n.replicas, "under_replicated",
                              n.under_replicated, "leaderless", n.leaderless));
    }
    if (args->json) {
        cli_json_print(args, json_pack("{s:O}", "topics", topics));
        cli_table_free(table);
    } else {
        cli_table_print(table);
    }
    json_decref(topics);
    (void)kb_free(list);
}

static int ls(struct cli_client *c, struct kb_arena *arena)
{
    int r = cli_refresh_for(c, "cannot list topics", NULL, 0);
    (void)arena;
    if (r == CLI_OK)
        list_topics(c);
    return r;
}

int cli_topic_ls(const struct cli_args *args)
{
    return cli_with_client(args, ls);
}

/* ---- create -----------------------------------------------------------------------------------
 */

static void fill_create(struct kb_arena *arena, const struct cli_args *args, int32_t timeout_ms,
                        struct kw_create_topics_request *r)
{
    kw_create_topics_request_init(r);
    r->timeout_ms = timeout_ms;
    r->topics = kb_arena_new_array(arena, struct kw_create_topics_request_topic,
                                   args->operands_count);
    for (size_t i = 0; i < args->operands_count; i++) {
        struct kw_create_topics_request_topic *t = &r->topics[r->topics_count++];
        kw_create_topics_request_topic_init(t);
        t->name = kw_str_of(args->operands[i]);
        t->num_partitions = (int32_t)args->partitions;
        t->replication_factor = (int16_t)args->replication;
        t->configs = kb_arena_new_array(arena, struct kw_create_topics_request_config,
                                        args->configs_count);
        for (size_t k = 0; k < args->configs_count; k++) {
            struct kw_create_topics_request_config *w = &t->configs[t->configs_count++];
            kw_create_topics_request_config_init(w);
            cli_split_config(args->configs[k], &w->name, &w->value);
        }
    }
}

static void tell_create(struct cli_client *c, const struct kw_create_topics_response_topic *t)
{
    char what[320];
    (void)snprintf(what, sizeof(what), "cannot create \"%.*s\"", CLI_STR(t->name));
    if (t->error_code == KW_INVALID_REPLICATION_FACTOR && c->args->replication > 0 &&
        cli_client_refresh(c, NULL, 0) == 0 && c->metadata->brokers_count > 0 &&
        c->args->replication > c->metadata->brokers_count)
        cli_error("%s with replication factor %d: the cluster has %d node%s "
                  "(INVALID_REPLICATION_FACTOR). Use --replication-factor %d.",
                  what, (int)c->args->replication, c->metadata->brokers_count,
                  c->metadata->brokers_count == 1 ? "" : "s", c->metadata->brokers_count);
    else if (t->error_code == KW_INVALID_CONFIG)
        cli_config_fail(c, what, t->error_code, t->error_message);
    else
        (void)cli_kafka_fail(what, t->error_code, t->error_message);
}

static int create(struct cli_client *c, struct kb_arena *arena)
{
    struct kw_create_topics_request request;
    struct cli_request r = {
        .api_key = KW_API_CREATE_TOPICS, .version_cap = CREATE_CAP, .request = &request};
    struct outcome o;
    const struct cli_args *args = c->args;
    fill_create(arena, args, cli_server_timeout_ms(c), &request);
    int result = cli_admin(c, arena, "cannot create topics", &r);
    if (result != CLI_OK)
        return result;
    const struct kw_create_topics_response *got = r.response;
    outcome_init(&o, args);
    for (int32_t i = 0; i < got->topics_count; i++) {
        const struct kw_create_topics_response_topic *t = &got->topics[i];
        bool exists = t->error_code == KW_TOPIC_ALREADY_EXISTS;
        char *message = NULL;
        if (t->error_code == KW_NONE || (exists && r.tries > 1)) {
            outcome_add(&o, t->name, "created", KW_NONE, NULL);
        } else if (exists && args->if_not_exists) {
            outcome_add(&o, t->name, "exists", KW_NONE, NULL);
        } else {
            tell_create(c, t);
            if (t->error_message.data != NULL)
                message = kb_strndup(t->error_message.data, (size_t)t->error_message.size);
            outcome_add(&o, t->name, "failed", t->error_code, message);
            (void)kb_free(message);
        }
    }
    return outcome_print(&o);
}

int cli_topic_create(const struct cli_args *args)
{
    return cli_with_client(args, create);
}

/* ---- alter ------------------------------------------------------------------------------------
 */

static int alter_partitions(struct cli_client *c, struct kb_arena *arena)
{
    struct kw_create_partitions_request request;
    struct kw_create_partitions_request_topic topic;
    struct cli_request r = {.api_key = KW_API_CREATE_PARTITIONS, .request = &request};
    char what[320];
    const char *name = c->args->operands[0];
    kw_create_partitions_request_init(&request);
    kw_create_partitions_request_topic_init(&topic);
    topic.name = kw_str_of(name);
    topic.count = (int32_t)c->args->partitions;
    topic.assignments_count = -1;
    request.topics = &topic;
    request.topics_count = 1;
    request.timeout_ms = cli_server_timeout_ms(c);
    (void)snprintf(what, sizeof(what), "cannot change the partitions of \"%s\"", name);
    int result = cli_admin(c, arena, what, &r);
    if (result != CLI_OK)
        return result;
    const struct kw_create_partitions_response *got = r.response;
    if (got->results_count != 1)
        return cli_kafka_fail(what, KW_UNKNOWN_SERVER_ERROR, kw_str_null());
    if (got->results[0].error_code != KW_NONE)
        return cli_kafka_fail(what, got->results[0].error_code, got->results[0].error_message);
    return CLI_OK;
}

static int alter(struct cli_client *c, struct kb_arena *arena)
{
    const struct cli_args *args = c->args;
    struct outcome o;
    int r = cli_refresh_for(c, "cannot alter", args->operands, 1);
    if (r == CLI_OK && cli_need_topic(c, args->operands[0]) == NULL)
        r = CLI_NOT_FOUND;
    if (r == CLI_OK && args->configs_count > 0)
        r = cli_config_alter(c, arena, args->operands[0], args->configs, args->configs_count,
                             OPERATION_SET);
    if (r == CLI_OK && args->partitions > 0)
        r = alter_partitions(c, arena);
    if (r != CLI_OK)
        return r;
    outcome_init(&o, args);
    outcome_add(&o, kw_str_of(args->operands[0]), "altered", KW_NONE, NULL);
    return outcome_print(&o);
}

int cli_topic_alter(const struct cli_args *args)
{
    if (args->partitions < 0 && args->configs_count == 0) {
        cli_error("nothing to change: give --partitions N or --config NAME=VALUE");
        return CLI_USAGE;
    }
    return cli_with_client(args, alter);
}

/* ---- rm ---------------------------------------------------------------------------------------
 */

/* CLI_OK when all of them exist (or need not). */
static int check_names(const struct cli_client *c)
{
    int r = CLI_OK;
    for (size_t i = 0; i < c->args->operands_count; i++) {
        const char *name = c->args->operands[i];
        if (c->args->if_exists && cli_client_topic(c, kw_str_of(name)) == NULL)
            continue;
        if (cli_need_topic(c, name) == NULL)
            r = CLI_NOT_FOUND;
    }
    return r;
}

static int ask_delete(const struct cli_client *c)
{
    struct kb_buf text = {0};
    const struct cli_args *args = c->args;
    kb_buf_append_str(&text, "This deletes ");
    for (size_t i = 0; i < args->operands_count; i++) {
        const struct kw_metadata_response_topic *t = cli_client_topic(c,
                                                                      kw_str_of(args->operands[i]));
        kb_buf_printf(&text, "%s\"%s\" (%d partitions)", i > 0 ? ", " : "", args->operands[i],
                      t != NULL ? t->partitions_count : 0);
    }
    kb_buf_append_str(&text, " with all records.");
    kb_buf_append(&text, "", 1);
    int r = cli_confirm(args, (const char *)text.data);
    kb_buf_release(&text);
    return r;
}

static int delete_topics(struct cli_client *c, struct kb_arena *arena)
{
    struct kw_delete_topics_request request;
    struct cli_request r = {
        .api_key = KW_API_DELETE_TOPICS, .version_cap = DELETE_BY_NAME_CAP, .request = &request};
    const struct cli_args *args = c->args;
    struct outcome o;
    c->deadline_ms = cli_now_ms() + (uint64_t)args->timeout_ms; /* the question took its time */
    kw_delete_topics_request_init(&request);
    request.timeout_ms = cli_server_timeout_ms(c);
    request.topic_names = kb_arena_new_array(arena, struct kw_str, args->operands_count);
    for (size_t i = 0; i < args->operands_count; i++)
        request.topic_names[request.topic_names_count++] = kw_str_of(args->operands[i]);
    int result = cli_admin(c, arena, "cannot delete topics", &r);
    if (result != CLI_OK)
        return result;
    const struct kw_delete_topics_response *got = r.response;
    outcome_init(&o, args);
    for (int32_t i = 0; i < got->responses_count; i++) {
        const struct kw_delete_topics_response_topic *t = &got->responses[i];
        bool gone = t->error_code == KW_UNKNOWN_TOPIC_OR_PARTITION;
        char what[320];
        if (t->error_code == KW_NONE || (gone && r.tries > 1)) {
            outcome_add(&o, t->name, "deleted", KW_NONE, NULL);
        } else if (gone && args->if_exists) {
            outcome_add(&o, t->name, "absent", KW_NONE, NULL);
        } else {
            (void)snprintf(what, sizeof(what), "cannot delete \"%.*s\"", CLI_STR(t->name));
            (void)cli_kafka_fail(what, t->error_code, t->error_message);
            outcome_add(&o, t->name, "failed", t->error_code, NULL);
        }
    }
    return outcome_print(&o);
}

static int rm(struct cli_client *c, struct kb_arena *arena)
{
    int r = cli_refresh_for(c, "cannot delete", c->args->operands, c->args->operands_count);
    if (r == CLI_OK)
        r = check_names(c);
    if (r == CLI_OK)
        r = ask_delete(c);
    if (r == CLI_OK)
        r = delete_topics(c, arena);
    return r;
}

int cli_topic_rm(const struct cli_args *args)
{
    return cli_with_client(args, rm);
}
