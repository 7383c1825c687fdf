/* kvorum config get, set, unset, explain; and what other commands do with configs. */
#include <stdlib.h>

#include "broker/cli/client.h"

enum { TYPE_TOPIC = 2, TYPE_BROKER = 4, OPERATION_SET = 0, OPERATION_DELETE = 1 };
enum { SOURCE_TOPIC = 1, SOURCE_DEFAULT = 5 };

static const char *source_name(int8_t source)
{
    static const char *const names[] = {"UNKNOWN",
                                        "DYNAMIC_TOPIC_CONFIG",
                                        "DYNAMIC_BROKER_CONFIG",
                                        "DYNAMIC_DEFAULT_BROKER_CONFIG",
                                        "STATIC_BROKER_CONFIG",
                                        "DEFAULT_CONFIG",
                                        "DYNAMIC_BROKER_LOGGER_CONFIG",
                                        "DYNAMIC_CLIENT_METRICS_CONFIG",
                                        "DYNAMIC_GROUP_CONFIG"};
    size_t i = source > 0 ? (size_t)source : 0;
    return i < sizeof(names) / sizeof(names[0]) ? names[i] : names[0];
}

/* For people. */
static const char *source_text(int8_t source)
{
    static const char *const texts[] = {"unknown",
                                        "set for the topic",
                                        "set for the broker",
                                        "set for all brokers",
                                        "the broker's server.properties, environment or flags",
                                        "default"};
    size_t i = source > 0 ? (size_t)source : 0;
    return i < sizeof(texts) / sizeof(texts[0]) ? texts[i] : source_name(source);
}

static const char *type_name(int8_t type)
{
    static const char *const names[] = {"unknown", "boolean", "string", "int",   "short",
                                        "long",    "double",  "list",   "class", "password"};
    return type > 0 && type < 10 ? names[type] : names[0];
}

void cli_split_config(const char *text, struct kw_str *ret_name, struct kw_str *ret_value)
{
    const char *equal = strchr(text, '=');
    *ret_name = (struct kw_str){text, (int32_t)(equal - text)};
    *ret_value = kw_str_of(equal + 1);
}

/* What a table shows. */
static struct kw_str shown(const struct kw_describe_configs_response_config *w)
{
    if (w->is_sensitive)
        return KW_STR("(sensitive)");
    return w->value.data != NULL ? w->value : KW_STR("(none)");
}

/* ---- asking -----------------------------------------------------------------------------------
 */

struct resource {
    int8_t type;
    const char *name;
    int32_t node_id; /* who answers */
};

/* All configs of a resource. CLI_OK and *ret in the arena, or the exit code, told on stderr. */
static int describe(struct cli_client *c, struct kb_arena *arena, const struct resource *resource,
                    bool words, const struct kw_describe_configs_response_result **ret)
{
    struct kw_describe_configs_request request;
    struct kw_describe_configs_request_resource want;
    struct cli_request r = {
        .api_key = KW_API_DESCRIBE_CONFIGS, .request = &request, .node_id = resource->node_id};
    char what[320];
    kw_describe_configs_request_init(&request);
    kw_describe_configs_request_resource_init(&want);
    want.resource_type = resource->type;
    want.resource_name = kw_str_of(resource->name);
    want.configuration_keys_count = -1;
    request.resources = &want;
    request.resources_count = 1;
    request.include_synonyms = words;
    (void)snprintf(what, sizeof(what), "cannot read the configs of %s \"%s\"",
                   resource->type == TYPE_TOPIC ? "topic" : "broker", resource->name);
    cli_client_prepare(c, &r, 1);
    request.include_documentation = words && r.version >= 3;
    int result = resource->node_id == CLI_ANY_NODE ? cli_client_ask(c, arena, &r)
                                                   : cli_client_call(c, arena, &r, 1);
    if (result < 0)
        return cli_client_fail(c, what, &r);
    const struct kw_describe_configs_response *got = r.response;
    if (got->results_count != 1)
        return cli_kafka_fail(what, KW_UNKNOWN_SERVER_ERROR, kw_str_null());
    if (got->results[0].error_code != KW_NONE)
        return cli_kafka_fail(what, got->results[0].error_code, got->results[0].error_message);
    *ret = &got->results[0];
    return CLI_OK;
}

int cli_topic_configs(struct cli_client *c, struct kb_arena *arena, const char *topic,
                      const struct kw_describe_configs_response_result **ret)
{
    struct resource r = {.type = TYPE_TOPIC, .name = topic, .node_id = CLI_ANY_NODE};
    return describe(c, arena, &r, false, ret);
}

const struct kw_describe_configs_response_config *
cli_config_find(const struct kw_describe_configs_response_result *all, const char *name)
{
    for (int32_t i = 0; i < all->configs_count; i++) {
        if (kw_str_is(all->configs[i].name, name))
            return &all->configs[i];
    }
    return NULL;
}

json_t *cli_config_json(const struct kw_describe_configs_response_config *w)
{
    return json_pack("{s:o, s:o, s:s, s:b, s:b}", "name", cli_str_json(w->name), "value",
                     cli_str_json(w->is_sensitive ? kw_str_null() : w->value), "source",
                     source_name(w->config_source), "read_only", w->read_only, "sensitive",
                     w->is_sensitive);
}

bool cli_config_is_default(const struct kw_describe_configs_response_config *w)
{
    return w->config_source == SOURCE_DEFAULT;
}

const char *cli_config_source(const struct kw_describe_configs_response_config *w)
{
    return source_name(w->config_source);
}

/* " Did you mean …?" among these configs. Valid until the next call. */
static const char *similar(struct kb_arena *arena,
                           const struct kw_describe_configs_response_result *all, const char *key)
{
    struct cli_nearest near = {.word = key};
    for (int32_t i = 0; i < all->configs_count; i++) {
        const char *name = kb_arena_strndup(arena, all->configs[i].name.data,
                                            (size_t)all->configs[i].name.size);
        if (name != NULL)
            cli_nearest_offer(&near, name);
    }
    return cli_nearest_text(&near);
}

/* The first of these names that no topic has, with the most similar that they do have. */
static bool tell_unknown(struct cli_client *c, const char *what, const char *topic,
                         const char *const *entries, size_t count)
{
    const struct kw_describe_configs_response_result *all = NULL;
    struct resource r = {.type = TYPE_TOPIC, .name = topic, .node_id = CLI_ANY_NODE};
    struct kb_arena arena;
    bool told = false;
    kb_arena_init(&arena, CLI_ARENA_BYTES);
    if (describe(c, &arena, &r, false, &all) == CLI_OK) {
        for (size_t i = 0; i < count && !told; i++) {
            char key[128];
            (void)snprintf(key, sizeof(key), "%.*s", (int)strcspn(entries[i], "="), entries[i]);
            told = cli_config_find(all, key) == NULL;
            if (told)
                cli_error("%s: topics have no config \"%s\" (INVALID_CONFIG).%s List: kvorum "
                          "config get topic %s",
                          what, key, similar(&arena, all, key), topic);
        }
    }
    kb_arena_release(&arena);
    return told;
}

void cli_config_fail(struct cli_client *c, const char *what, int16_t error, struct kw_str message)
{
    const struct kw_metadata_response_topic *t = NULL;
    char topic[256];
    bool told = false;
    if (c->metadata == NULL || c->metadata->topics_count == 0)
        (void)cli_client_refresh(c, NULL, -1);
    for (int32_t i = 0; c->metadata != NULL && i < c->metadata->topics_count && t == NULL; i++)
        t = c->metadata->topics[i].error_code == KW_NONE ? &c->metadata->topics[i] : NULL;
    if (t != NULL) {
        (void)snprintf(topic, sizeof(topic), "%.*s", CLI_STR(t->name));
        told = tell_unknown(c, what, topic, c->args->configs, c->args->configs_count);
    }
    if (!told)
        (void)cli_kafka_fail(what, error, message);
}

/* ---- changing ---------------------------------------------------------------------------------
 */

int cli_config_alter(struct cli_client *c, struct kb_arena *arena, const char *topic,
                     const char *const *entries, size_t count, int8_t operation)
{
    struct kw_incremental_alter_configs_request request;
    struct kw_incremental_alter_configs_request_resource resource;
    struct cli_request r = {.api_key = KW_API_INCREMENTAL_ALTER_CONFIGS, .request = &request};
    char what[320];
    kw_incremental_alter_configs_request_init(&request);
    kw_incremental_alter_configs_request_resource_init(&resource);
    request.resources = &resource;
    request.resources_count = 1;
    resource.resource_type = TYPE_TOPIC;
    resource.resource_name = kw_str_of(topic);
    resource.configs = kb_arena_new_array(arena, struct kw_incremental_alter_configs_request_config,
                                          count);
    for (size_t i = 0; i < count; i++) {
        struct kw_incremental_alter_configs_request_config *w =
            &resource.configs[resource.configs_count++];
        kw_incremental_alter_configs_request_config_init(w);
        w->config_operation = operation;
        w->name = kw_str_of(entries[i]);
        w->value = kw_str_null();
        if (operation == OPERATION_SET)
            cli_split_config(entries[i], &w->name, &w->value);
    }
    (void)snprintf(what, sizeof(what), "cannot change the configs of \"%s\"", topic);
    int result = cli_admin(c, arena, what, &r);
    if (result != CLI_OK)
        return result;
    const struct kw_incremental_alter_configs_response *got = r.response;
    if (got->responses_count != 1)
        return cli_kafka_fail(what, KW_UNKNOWN_SERVER_ERROR, kw_str_null());
    if (got->responses[0].error_code == KW_NONE)
        return CLI_OK;
    if (got->responses[0].error_code == KW_INVALID_CONFIG &&
        tell_unknown(c, what, topic, entries, count))
        return CLI_FAILED;
    return cli_kafka_fail(what, got->responses[0].error_code, got->responses[0].error_message);
}

/* ---- the words of a command line --------------------------------------------------------------
 */

/* operands[at], operands[at + 1]: "topic NAME" or "broker ID". CLI_OK, or the exit code. */
static int read_resource(struct cli_client *c, size_t at, struct resource *ret)
{
    const char *kind = c->args->operands[at];
    const char *name = c->args->operands[at + 1];
    int64_t id = 0;
    if (strcmp(kind, "topic") == 0) {
        *ret = (struct resource){.type = TYPE_TOPIC, .name = name, .node_id = CLI_ANY_NODE};
        int r = cli_refresh_for(c, "cannot find the topic", &name, 1);
        return r != CLI_OK ? r : cli_need_topic(c, name) != NULL ? CLI_OK : CLI_NOT_FOUND;
    }
    if (strcmp(kind, "broker") != 0) {
        cli_error("\"%s\" has no configs: say topic NAME or broker ID", kind);
        return CLI_USAGE;
    }
    if (!cli_parse_number(name, 0, INT32_MAX, &id)) {
        cli_error("\"%s\" is not the id of a broker", name);
        return CLI_USAGE;
    }
    *ret = (struct resource){.type = TYPE_BROKER, .name = name, .node_id = (int32_t)id};
    int r = cli_refresh_for(c, "cannot find the broker", NULL, 0);
    if (r != CLI_OK)
        return r;
    if (!cli_client_knows(c, (int32_t)id)) {
        cli_error("broker %s is not in the cluster or is down (BROKER_NOT_AVAILABLE). See: kvorum "
                  "status",
                  name);
        return CLI_NOT_FOUND;
    }
    return CLI_OK;
}

static const char *kind_of(const struct resource *r)
{
    return r->type == TYPE_TOPIC ? "topic" : "broker";
}

/* ---- get --------------------------------------------------------------------------------------
 */

static int by_name(const void *a, const void *b)
{
    const struct kw_describe_configs_response_config *x = a;
    const struct kw_describe_configs_response_config *y = b;
    size_t size = (size_t)(x->name.size < y->name.size ? x->name.size : y->name.size);
    int r = memcmp(x->name.data, y->name.data, size);
    return r != 0 ? r : (x->name.size > y->name.size) - (x->name.size < y->name.size);
}

static bool wanted(const struct cli_args *args, size_t at, struct kw_str name)
{
    bool found = args->operands_count == at;
    for (size_t i = at; i < args->operands_count; i++)
        found = found || kw_str_is(name, args->operands[i]);
    return found;
}

static void print_configs(const struct cli_args *args, const struct resource *resource,
                          const struct kw_describe_configs_response_result *all)
{
    static const char *const columns[] = {"KEY", "VALUE", "SOURCE", NULL};
    struct libscols_table *t = cli_table_new(args, columns);
    json_t *list = json_array();
    for (int32_t i = 0; i < all->configs_count; i++) {
        const struct kw_describe_configs_response_config *w = &all->configs[i];
        if (!wanted(args, 2, w->name))
            continue;
        (void)json_array_append_new(list, cli_config_json(w));
        struct kw_str value = shown(w);
        cli_table_row(t, "%.*s\t%.*s\t%s", CLI_STR(w->name), CLI_STR(value),
                      source_name(w->config_source));
    }
    if (args->json) {
        cli_json_print(args, json_pack("{s:s, s:s, s:O}", "resource_type", kind_of(resource),
                                       "resource_name", resource->name, "configs", list));
        cli_table_free(t);
    } else {
        cli_table_print(t);
    }
    json_decref(list);
}

static int get(struct cli_client *c, struct kb_arena *arena)
{
    const struct kw_describe_configs_response_result *all = NULL;
    struct resource resource;
    int r = read_resource(c, 0, &resource);
    if (r == CLI_OK)
        r = describe(c, arena, &resource, false, &all);
    for (size_t i = 2; r == CLI_OK && i < c->args->operands_count; i++) {
        const char *key = c->args->operands[i];
        if (cli_config_find(all, key) != NULL)
            continue;
        cli_error("%s \"%s\" has no config \"%s\".%s", kind_of(&resource), resource.name, key,
                  similar(arena, all, key));
        r = CLI_NOT_FOUND;
    }
    if (r != CLI_OK)
        return r;
    qsort(all->configs, (size_t)all->configs_count, sizeof(all->configs[0]), by_name);
    print_configs(c->args, &resource, all);
    return CLI_OK;
}

int cli_config_get(const struct cli_args *args)
{
    return cli_with_client(args, get);
}

/* ---- set, unset -------------------------------------------------------------------------------
 */

static int change(struct cli_client *c, struct kb_arena *arena, int8_t operation)
{
    const struct cli_args *args = c->args;
    struct resource resource;
    int r = read_resource(c, 0, &resource);
    if (r == CLI_OK && resource.type != TYPE_TOPIC) {
        cli_error("the configs of a broker come from its server.properties, environment and flags; "
                  "only those of topics can be changed here");
        r = CLI_USAGE;
    }
    for (size_t i = 2; r == CLI_OK && i < args->operands_count; i++) {
        bool equal = strchr(args->operands[i], '=') > args->operands[i];
        if (equal != (operation == OPERATION_SET)) {
            cli_error("\"%s\" is not %s", args->operands[i],
                      operation == OPERATION_SET ? "KEY=VALUE" : "a KEY alone");
            r = CLI_USAGE;
        }
    }
    if (r == CLI_OK)
        r = cli_config_alter(c, arena, resource.name, args->operands + 2, args->operands_count - 2,
                             operation);
    if (r != CLI_OK)
        return r;
    json_t *list = json_array();
    for (size_t i = 2; i < args->operands_count; i++) {
        const char *entry = args->operands[i];
        (void)json_array_append_new(list, json_stringn(entry, strcspn(entry, "=")));
        if (!args->json)
            (void)fprintf(args->out, "%s: %s %s\n", resource.name,
                          operation == OPERATION_SET ? "set" : "unset", entry);
    }
    if (args->json)
        cli_json_print(args, json_pack("{s:s, s:s, s:s, s:O}", "resource_type", "topic",
                                       "resource_name", resource.name, "status",
                                       operation == OPERATION_SET ? "set" : "unset", "keys", list));
    json_decref(list);
    return CLI_OK;
}

static int set(struct cli_client *c, struct kb_arena *arena)
{
    return change(c, arena, OPERATION_SET);
}

static int unset(struct cli_client *c, struct kb_arena *arena)
{
    return change(c, arena, OPERATION_DELETE);
}

int cli_config_set(const struct cli_args *args)
{
    return cli_with_client(args, set);
}

int cli_config_unset(const struct cli_args *args)
{
    return cli_with_client(args, unset);
}

/* ---- explain ----------------------------------------------------------------------------------
 */

static json_t *explain_json(const struct resource *resource,
                            const struct kw_describe_configs_response_config *w)
{
    json_t *o = cli_config_json(w);
    json_t *synonyms = json_array();
    (void)json_object_set_new(o, "type", json_string(type_name(w->config_type)));
    (void)json_object_set_new(o, "documentation", cli_str_json(w->documentation));
    (void)json_object_set_new(o, "resource_type", json_string(kind_of(resource)));
    (void)json_object_set_new(o, "resource_name", json_string(resource->name));
    (void)json_object_set_new(o, "default", json_null());
    for (int32_t i = 0; i < w->synonyms_count; i++) {
        const struct kw_describe_configs_response_synonym *s = &w->synonyms[i];
        (void)json_array_append_new(
            synonyms, json_pack("{s:o, s:o, s:s}", "name", cli_str_json(s->name), "value",
                                cli_str_json(s->value), "source", source_name(s->source)));
        if (s->source == SOURCE_DEFAULT)
            (void)json_object_set_new(o, "default", cli_str_json(s->value));
    }
    if (w->synonyms_count == 0 && w->config_source == SOURCE_DEFAULT)
        (void)json_object_set_new(o, "default", cli_str_json(w->value));
    (void)json_object_set_new(o, "synonyms", synonyms);
    return o;
}

static void print_explained(const struct cli_args *args, const struct resource *resource,
                            const struct kw_describe_configs_response_config *w)
{
    json_t *o = explain_json(resource, w);
    const char *fallback = json_string_value(json_object_get(o, "default"));
    if (args->json) {
        cli_json_print(args, o);
        return;
    }
    struct kw_str value = shown(w);
    (void)fprintf(args->out, "%.*s = %.*s\n", CLI_STR(w->name), CLI_STR(value));
    (void)fprintf(args->out, "  for      %s %s\n", kind_of(resource), resource->name);
    (void)fprintf(args->out, "  source   %s (%s)\n", source_text(w->config_source),
                  source_name(w->config_source));
    (void)fprintf(args->out, "  default  %s\n", fallback != NULL ? fallback : "-");
    (void)fprintf(args->out, "  type     %s\n", type_name(w->config_type));
    if (w->documentation.size > 0)
        (void)fprintf(args->out, "  doc      %.*s\n", CLI_STR(w->documentation));
    for (int32_t i = 0; i < w->synonyms_count; i++) {
        const struct kw_describe_configs_response_synonym *s = &w->synonyms[i];
        (void)fprintf(args->out, "  %s  %.*s=%.*s (%s)\n", i == 0 ? "order  " : "       ",
                      CLI_STR(s->name), CLI_STR(s->value), source_name(s->source));
    }
    json_decref(o);
}

/* Without a resource: the broker with the lowest id that Metadata names. */
static int any_broker(struct cli_client *c, struct kb_arena *arena, struct resource *ret)
{
    int r = cli_refresh_for(c, "cannot find a broker", NULL, 0);
    int32_t id = INT32_MAX;
    for (int32_t i = 0; r == CLI_OK && i < c->metadata->brokers_count; i++) {
        if (c->metadata->brokers[i].node_id < id)
            id = c->metadata->brokers[i].node_id;
    }
    *ret = (struct resource){.type = TYPE_BROKER, .node_id = id};
    ret->name = kb_arena_printf(arena, "%d", id);
    return r;
}

static int explain(struct cli_client *c, struct kb_arena *arena)
{
    const struct kw_describe_configs_response_result *all = NULL;
    const struct cli_args *args = c->args;
    const char *key = args->operands[0];
    struct resource resource;
    if (args->operands_count == 2) {
        cli_error("say topic NAME or broker ID");
        return CLI_USAGE;
    }
    int r = args->operands_count == 3 ? read_resource(c, 1, &resource)
                                      : any_broker(c, arena, &resource);
    if (r == CLI_OK)
        r = describe(c, arena, &resource, true, &all);
    if (r != CLI_OK)
        return r;
    const struct kw_describe_configs_response_config *w = cli_config_find(all, key);
    if (w == NULL) {
        char other[160] = "";
        if (resource.type == TYPE_BROKER)
            (void)snprintf(other, sizeof(other),
                           " Of a topic: kvorum config explain %.60s topic NAME", key);
        cli_error("%s %s has no config \"%s\".%s%s", kind_of(&resource), resource.name, key,
                  similar(arena, all, key), other);
        return CLI_NOT_FOUND;
    }
    print_explained(args, &resource, w);
    return CLI_OK;
}

int cli_config_explain(const struct cli_args *args)
{
    return cli_with_client(args, explain);
}
