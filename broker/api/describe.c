/* Read-only questions about the cluster, answered from the committed image by any broker. */
#include <stdio.h>

#include "broker/api/internal.h"

API_WRITER(write_configs, kw_describe_configs_response_write, kw_describe_configs_response)
API_WRITER(write_cluster, kw_describe_cluster_response_write, kw_describe_cluster_response)
API_WRITER(write_partitions, kw_describe_topic_partitions_response_write,
           kw_describe_topic_partitions_response)

static struct meta_query query_of(struct node_request *rq)
{
    return (struct meta_query){
        .image = rq->node->image,
        .arena = &rq->arena,
        .listener = rq->listener_name,
        .dead_leader = -1,
    };
}

void api_describe_cluster(struct node_request *rq)
{
    struct kw_describe_cluster_request req;
    struct kw_describe_cluster_response resp;
    struct meta_query q = query_of(rq);
    API_DECODE(rq, kw_describe_cluster_request_read, &req);
    kw_describe_cluster_response_init(&resp);
    resp.endpoint_type = 1; /* brokers */
    resp.cluster_id = api_str(rq->node->cluster_id);
    if (req.endpoint_type != 1) {
        resp.error_code = req.endpoint_type == 2 ? KW_MISMATCHED_ENDPOINT_TYPE
                                                 : KW_UNSUPPORTED_ENDPOINT_TYPE;
        resp.error_message = KW_STR("this listener serves brokers, not controllers");
    } else if (meta_query_describe_cluster(&q, req.include_fenced_brokers, &resp) < 0) {
        node_request_reject(rq, "its answer needs too much memory");
        return;
    } else {
        resp.controller_id = node_quorum_leader_id(rq->node);
        if (req.include_cluster_authorized_operations)
            resp.cluster_authorized_operations = API_CLUSTER_OPERATIONS;
    }
    node_request_reply(rq, write_cluster, &resp);
}

void api_describe_topic_partitions(struct node_request *rq)
{
    struct kw_describe_topic_partitions_request req;
    struct kw_describe_topic_partitions_response resp;
    struct meta_query q = query_of(rq);
    API_DECODE(rq, kw_describe_topic_partitions_request_read, &req);
    kw_describe_topic_partitions_response_init(&resp);
    if (meta_query_describe_topic_partitions(&q, &req, &resp) < 0) {
        node_request_reject(rq, "its answer needs too much memory");
        return;
    }
    node_request_reply(rq, write_partitions, &resp);
}

/* ---- configs
 * ------------------------------------------------------------------------------------------- */

/* levels: highest first, the one that counts at [0]. -KB_ENOMEM when the arena refuses. */
static int set_levels(struct node_request *rq, const struct kw_describe_configs_request *req,
                      const struct meta_config_synonym *levels, size_t count,
                      struct kw_describe_configs_response_config *w)
{
    w->read_only = true;
    w->value = kw_str_of(levels[0].value);
    w->config_source = (int8_t)levels[0].source;
    if (!req->include_documentation)
        w->documentation = kw_str_null();
    if (!req->include_synonyms)
        return 0;
    w->synonyms = api_new_array(rq, struct kw_describe_configs_response_synonym, (int32_t)count);
    if (w->synonyms == NULL)
        return -KB_ENOMEM;
    for (size_t i = 0; i < count; i++) {
        struct kw_describe_configs_response_synonym *s = &w->synonyms[w->synonyms_count];
        if (levels[i].value == NULL)
            continue;
        kw_describe_configs_response_synonym_init(s);
        s->name = kw_str_of(levels[i].name);
        s->value = kw_str_of(levels[i].value);
        s->source = (int8_t)levels[i].source;
        w->synonyms_count++;
    }
    return 0;
}

static bool key_wanted(const struct kw_describe_configs_request_resource *resource,
                       const char *name)
{
    bool wanted = resource->configuration_keys_count < 0;
    for (int32_t i = 0; i < resource->configuration_keys_count && !wanted; i++)
        wanted = kw_str_is(resource->configuration_keys[i], name);
    return wanted;
}

/* The topic defaults that this broker's file and the cluster set, by their broker names. */
static int describe_topic_default(struct node_request *rq,
                                  const struct kw_describe_configs_request *req,
                                  enum meta_topic_key key,
                                  struct kw_describe_configs_response_config *w)
{
    struct node *n = rq->node;
    struct meta_static_configs statics = {.entries = n->static_configs,
                                          .count = n->static_configs_count};
    struct meta_config_line line;
    meta_config_describe(n->image, NULL, &statics, key, &line);
    kw_describe_configs_response_config_init(w);
    w->name = kw_str_of(meta_topic_key_info(key)->broker_name);
    w->config_type = (int8_t)line.type;
    w->documentation = kw_str_of(line.doc);
    return set_levels(rq, req, line.synonyms, line.synonyms_count, w);
}

/* Any other key of server.properties. */
static int describe_own_key(struct node_request *rq, const struct kw_describe_configs_request *req,
                            const struct node_config_line *line,
                            struct kw_describe_configs_response_config *w)
{
    const struct meta_config_synonym levels[] = {
        {line->name, line->value, META_SOURCE_STATIC},
        {line->name, line->default_value, META_SOURCE_DEFAULT},
    };
    size_t first = line->value != NULL ? 0 : 1;
    kw_describe_configs_response_config_init(w);
    w->name = kw_str_of(line->name);
    w->config_type = line->type;
    w->documentation = kw_str_of(line->doc);
    return set_levels(rq, req, levels + first, 2 - first, w);
}

static int describe_broker(struct node_request *rq, const struct kw_describe_configs_request *req,
                           const struct kw_describe_configs_request_resource *resource,
                           struct kw_describe_configs_response_result *ret)
{
    struct node *n = rq->node;
    char own[16];
    int r = 0;
    (void)snprintf(own, sizeof(own), "%d", n->config.node_id);
    if (resource->resource_name.size > 0 && !kw_str_is(resource->resource_name, own)) {
        ret->error_code = KW_INVALID_REQUEST;
        ret->error_message = KW_STR("configs of a broker are answered by that broker");
        return 0;
    }
    ret->configs = api_new_array(rq, struct kw_describe_configs_response_config,
                                 META_TOPIC_KEY_COUNT_ + (int32_t)n->config.lines_count);
    if (ret->configs == NULL)
        return -KB_ENOMEM;
    for (int key = 0; key < META_TOPIC_KEY_COUNT_ && r == 0; key++) {
        const char *name = meta_topic_key_info((enum meta_topic_key)key)->broker_name;
        if (name != NULL && key_wanted(resource, name))
            r = describe_topic_default(rq, req, (enum meta_topic_key)key,
                                       &ret->configs[ret->configs_count++]);
    }
    for (size_t i = 0; i < n->config.lines_count && r == 0; i++) {
        const struct node_config_line *line = &n->config.lines[i];
        if (meta_topic_key_find_broker(line->name) < 0 && key_wanted(resource, line->name))
            r = describe_own_key(rq, req, line, &ret->configs[ret->configs_count++]);
    }
    return r;
}

static int describe_one(struct node_request *rq, const struct kw_describe_configs_request *req,
                        const struct kw_describe_configs_request_resource *resource,
                        struct kw_describe_configs_response_result *ret)
{
    struct meta_query q = query_of(rq);
    struct meta_static_configs statics = {.entries = rq->node->static_configs,
                                          .count = rq->node->static_configs_count};
    kw_describe_configs_response_result_init(ret);
    ret->resource_type = resource->resource_type;
    ret->resource_name = resource->resource_name;
    switch (resource->resource_type) {
    case META_RESOURCE_TOPIC:
        return meta_query_describe_topic_configs(&q, &statics, resource, req->include_synonyms,
                                                 req->include_documentation, ret);
    case META_RESOURCE_BROKER:
        return describe_broker(rq, req, resource, ret);
    default:
        ret->error_code = KW_INVALID_REQUEST;
        ret->error_message = KW_STR("only topics and brokers have configs here");
        return 0;
    }
}

void api_describe_configs(struct node_request *rq)
{
    struct kw_describe_configs_request req;
    struct kw_describe_configs_response resp;
    API_DECODE(rq, kw_describe_configs_request_read, &req);
    kw_describe_configs_response_init(&resp);
    resp.results = api_new_array(rq, struct kw_describe_configs_response_result,
                                 req.resources_count);
    for (int32_t i = 0; i < req.resources_count; i++) {
        if (resp.results == NULL ||
            describe_one(rq, &req, &req.resources[i], &resp.results[i]) < 0) {
            node_request_reject(rq, "its answer needs too much memory");
            return;
        }
        resp.results_count++;
    }
    node_request_reply(rq, write_configs, &resp);
}
