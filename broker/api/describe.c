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
    resp.endpoint_type = req.endpoint_type;
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

/* Broker resources: the topic defaults this broker's file and the cluster set, by their broker
 * names. */
static int describe_broker(struct node_request *rq,
                           const struct kw_describe_configs_request_resource *resource,
                           bool documentation, struct kw_describe_configs_response_result *ret)
{
    struct node *n = rq->node;
    struct meta_static_configs statics = {.entries = n->static_configs,
                                          .count = n->static_configs_count};
    char own[16];
    (void)snprintf(own, sizeof(own), "%d", n->config.node_id);
    if (resource->resource_name.size > 0 && !kw_str_is(resource->resource_name, own)) {
        ret->error_code = KW_INVALID_REQUEST;
        ret->error_message = KW_STR("configs of a broker are answered by that broker");
        return 0;
    }
    ret->configs = api_new_array(rq, struct kw_describe_configs_response_config,
                                 META_TOPIC_KEY_COUNT_);
    if (ret->configs == NULL)
        return -KB_ENOMEM;
    for (int key = 0; key < META_TOPIC_KEY_COUNT_; key++) {
        struct meta_config_line line;
        const struct meta_topic_key_info *info = meta_topic_key_info((enum meta_topic_key)key);
        struct kw_describe_configs_response_config *w = &ret->configs[ret->configs_count];
        if (info->broker_name == NULL)
            continue;
        meta_config_describe(n->image, NULL, &statics, (enum meta_topic_key)key, &line);
        kw_describe_configs_response_config_init(w);
        w->name = kw_str_of(info->broker_name);
        w->value = kw_str_of(line.value);
        w->read_only = true;
        w->config_source = (int8_t)line.source;
        w->config_type = (int8_t)line.type;
        w->documentation = documentation ? kw_str_of(line.doc) : kw_str_null();
        bool wanted = resource->configuration_keys_count < 0;
        for (int32_t i = 0; i < resource->configuration_keys_count; i++)
            wanted = wanted || kw_str_equal(resource->configuration_keys[i], w->name);
        ret->configs_count += wanted;
    }
    return 0;
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
        return describe_broker(rq, resource, req->include_documentation, ret);
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
