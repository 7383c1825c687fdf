#include "broker/api/api.h"

#include "broker/api/internal.h"

/* Versions are those of proto/kafka/api.h; below a schema's minimum only Produce is advertised. */
static struct node_api table[] = {
    {.key = KW_API_PRODUCE, .handle = api_produce},
    {.key = KW_API_FETCH, .handle = api_fetch},
    {.key = KW_API_LIST_OFFSETS, .handle = api_list_offsets},
    {.key = KW_API_METADATA, .handle = api_metadata},
    {.key = KW_API_API_VERSIONS, .handle = api_api_versions},
};

const struct node_api *api_table(size_t *ret_count)
{
    size_t count = sizeof(table) / sizeof(table[0]);
    for (size_t i = 0; i < count; i++) {
        const struct kw_api *a = kw_api_find(table[i].key);
        if (a == NULL)
            continue; /* our own */
        table[i].version_min = a->version_min;
        table[i].version_max = a->version_max;
    }
    *ret_count = count;
    return table;
}
