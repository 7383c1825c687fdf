/* ApiVersions: what is in the table, and finalized features. A version above ours is answered with
 * v0 and one entry. */
#include "broker/api/internal.h"

API_WRITER(write_response, kw_api_versions_response_write, kw_api_versions_response)

static void write_v0(struct kw_writer *w, int16_t version, const void *body)
{
    (void)version;
    kw_api_versions_response_write(w, 0, body);
}

static void unsupported(struct node_request *rq)
{
    struct kw_api_versions_response resp;
    struct kw_api_versions_response_api_key key = {.api_key = KW_API_API_VERSIONS};
    const struct kw_api *a = kw_api_find(KW_API_API_VERSIONS);
    kw_api_versions_response_init(&resp);
    key.min_version = a->advertised_min;
    key.max_version = a->version_max;
    resp.error_code = KW_UNSUPPORTED_VERSION;
    resp.api_keys = &key;
    resp.api_keys_count = 1;
    node_request_reply(rq, write_v0, &resp);
}

/* KIP-511: letters and digits, with '-' and '.' inside. */
static bool good_name(struct kw_str s)
{
    if (s.size == 0)
        return false;
    for (int32_t i = 0; i < s.size; i++) {
        char c = s.data[i];
        bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        bool inner = (c == '-' || c == '.') && i > 0 && i < s.size - 1;
        if (!plain && !inner)
            return false;
    }
    return true;
}

static void fill_features(struct node_request *rq, struct kw_api_versions_response *resp)
{
    struct node *n = rq->node;
    size_t count = meta_image_features_count(n->image);
    resp->finalized_features = api_new_array(rq, struct kw_api_versions_response_finalized_feature,
                                             count);
    for (size_t i = 0; resp->finalized_features != NULL && i < count; i++) {
        int16_t level = 0;
        resp->finalized_features[i].name = api_str(meta_image_feature_at(n->image, i, &level));
        resp->finalized_features[i].max_version_level = level;
        resp->finalized_features[i].min_version_level = level;
        resp->finalized_features_count++;
    }
    if (count > 0)
        resp->finalized_features_epoch = (int64_t)meta_image_last_index(n->image);
}

void api_api_versions(struct node_request *rq)
{
    struct node *n = rq->node;
    struct kw_api_versions_request req;
    struct kw_api_versions_response resp;
    const struct kw_api *self = kw_api_find(KW_API_API_VERSIONS);
    if (rq->header.api_version < 0 || rq->header.api_version > self->version_max) {
        unsupported(rq);
        return;
    }
    API_DECODE(rq, kw_api_versions_request_read, &req);
    kw_api_versions_response_init(&resp);
    if (rq->header.api_version >= 3 &&
        (!good_name(req.client_software_name) || !good_name(req.client_software_version)))
        resp.error_code = KW_INVALID_REQUEST;
    resp.api_keys = api_new_array(rq, struct kw_api_versions_response_api_key,
                                  n->config.apis_count);
    for (size_t i = 0; resp.api_keys != NULL && i < n->config.apis_count; i++) {
        const struct kw_api *a = kw_api_find(n->config.apis[i].key);
        if (a == NULL)
            continue;
        struct kw_api_versions_response_api_key *k = &resp.api_keys[resp.api_keys_count++];
        k->api_key = a->key;
        k->min_version = a->advertised_min;
        k->max_version = a->version_max;
    }
    fill_features(rq, &resp);
    node_request_reply(rq, write_response, &resp);
}
