#include "proto/kafka/api.h"
#include "proto/kafka/codec.h"

static bool is_flexible(const struct kw_api *api, int16_t version)
{
    return api != NULL && api->flexible_from >= 0 && version >= api->flexible_from;
}

int kw_request_header_read(struct kw_reader *rd, struct kw_request_header *ret)
{
    struct kw_request_header h = {0};
    h.api_key = kw_get_int16(rd);
    h.api_version = kw_get_int16(rd);
    h.correlation_id = kw_get_int32(rd);
    h.client_id = kw_get_str(rd, false, true);
    const struct kw_api *api = kw_api_find(h.api_key);
    if (is_flexible(api, h.api_version))
        kw_skip_tags(rd);
    if (!kw_reader_ok(rd))
        return rd->error;
    *ret = h;
    if (api == NULL)
        return KW_HEADER_UNKNOWN_API;
    if (h.api_version < api->version_min || h.api_version > api->version_max)
        return KW_HEADER_UNSUPPORTED_VERSION;
    return KW_HEADER_OK;
}

void kw_request_header_write(struct kw_writer *w, const struct kw_request_header *header)
{
    kw_put_int16(w, header->api_key);
    kw_put_int16(w, header->api_version);
    kw_put_int32(w, header->correlation_id);
    kw_put_str(w, false, true, header->client_id);
    if (is_flexible(kw_api_find(header->api_key), header->api_version))
        kw_put_uvarint(w, 0);
}

static bool response_has_tags(int16_t api_key, int16_t version)
{
    return api_key != KW_API_API_VERSIONS && is_flexible(kw_api_find(api_key), version);
}

void kw_response_header_write(struct kw_writer *w, int16_t api_key, int16_t version,
                              int32_t correlation_id)
{
    kw_put_int32(w, correlation_id);
    if (response_has_tags(api_key, version))
        kw_put_uvarint(w, 0);
}

int kw_response_header_read(struct kw_reader *rd, int16_t api_key, int16_t version,
                            int32_t *ret_correlation_id)
{
    int32_t correlation_id = kw_get_int32(rd);
    if (response_has_tags(api_key, version))
        kw_skip_tags(rd);
    if (!kw_reader_ok(rd))
        return rd->error;
    *ret_correlation_id = correlation_id;
    return 0;
}
