/* Groups as their coordinators know them. */
#include <errno.h>
#include <stdlib.h>

#include "broker/cli/group.h"

enum { DESCRIBE_CAP = 6, OFFSETS_CAP = 7, LIST_CAP = 5 };
enum { DEAD_WAIT_MS = 2000 }; /* until the controller has fenced a dead broker */

static int compare_str(struct kw_str a, struct kw_str b)
{
    size_t size = (size_t)(a.size < b.size ? a.size : b.size);
    int r = size > 0 ? memcmp(a.data, b.data, size) : 0;
    return r != 0 ? r : (a.size > b.size) - (a.size < b.size);
}

/* ---- rows -------------------------------------------------------------------------------------
 */

struct cli_group_row *cli_group_row(struct cli_group *g, struct kw_str topic, int32_t partition)
{
    for (size_t i = 0; i < g->count; i++) {
        if (g->rows[i].partition == partition && kw_str_equal(g->rows[i].topic, topic))
            return &g->rows[i];
    }
    kb_array_reserve(g->rows, g->count, g->capacity);
    g->rows[g->count] = (struct cli_group_row){
        .topic = topic, .partition = partition, .committed = -1, .log_start = -1, .log_end = -1};
    return &g->rows[g->count++];
}

static int by_partition(const void *a, const void *b)
{
    const struct cli_group_row *x = a;
    const struct cli_group_row *y = b;
    int r = compare_str(x->topic, y->topic);
    return r != 0 ? r : (x->partition > y->partition) - (x->partition < y->partition);
}

void cli_group_sort(struct cli_group *g)
{
    if (g->count > 0)
        qsort(g->rows, g->count, sizeof(g->rows[0]), by_partition);
}

void cli_group_release(struct cli_group *g)
{
    g->rows = kb_free(g->rows);
    g->count = g->capacity = 0;
}

void cli_group_ends(struct cli_client *c, struct kb_arena *arena, struct cli_group *g, bool patient)
{
    static const int64_t kinds[] = {CLI_EARLIEST, CLI_LATEST};
    struct cli_offset *list = kb_new_array(struct cli_offset, g->count);
    for (size_t kind = 0; kind < 2; kind++) {
        for (size_t i = 0; i < g->count; i++)
            list[i] = (struct cli_offset){.topic = g->rows[i].topic,
                                          .partition = g->rows[i].partition,
                                          .timestamp = kinds[kind]};
        cli_offsets_fetch(c, arena, list, g->count, patient);
        for (size_t i = 0; i < g->count; i++) {
            if (list[i].result == 0 && kind == 0)
                g->rows[i].log_start = list[i].offset;
            else if (list[i].result == 0)
                g->rows[i].log_end = list[i].offset;
        }
    }
    (void)kb_free(list);
}

/* ---- one group --------------------------------------------------------------------------------
 */

/* The consumer protocol's assignment; others' bytes are their own business. */
static void take_assignment(struct cli_group *g, struct kb_arena *arena,
                            const struct kw_describe_groups_response_member *m)
{
    struct kw_consumer_protocol_assignment a;
    struct kw_reader rd;
    kw_reader_init(&rd, m->member_assignment.data, (size_t)m->member_assignment.size);
    int16_t version = kw_get_int16(&rd);
    if (!kw_reader_ok(&rd) || version < 0)
        return;
    if (version > 3)
        version = 3;
    kw_consumer_protocol_assignment_init(&a);
    if (kw_consumer_protocol_assignment_read(&rd, version, arena, &a) < 0)
        return;
    for (int32_t i = 0; i < a.assigned_partitions_count; i++) {
        for (int32_t k = 0; k < a.assigned_partitions[i].partitions_count; k++)
            cli_group_row(g, a.assigned_partitions[i].topic, a.assigned_partitions[i].partitions[k])
                ->member = m;
    }
}

/* 0, a negative errno or a Kafka error. */
static int describe(struct cli_client *c, struct kb_arena *arena, struct cli_group *g,
                    struct cli_request *r)
{
    struct kw_describe_groups_request request;
    struct kw_str name = kw_str_of(g->name);
    kw_describe_groups_request_init(&request);
    request.groups = &name;
    request.groups_count = 1;
    *r = (struct cli_request){.api_key = KW_API_DESCRIBE_GROUPS,
                              .version_cap = DESCRIBE_CAP,
                              .node_id = g->coordinator,
                              .request = &request};
    int result = cli_client_call(c, arena, r, 1);
    if (result < 0)
        return result;
    const struct kw_describe_groups_response *got = r->response;
    if (got->groups_count != 1)
        return KW_UNKNOWN_SERVER_ERROR;
    g->about = &got->groups[0];
    if (g->about->error_code == KW_GROUP_ID_NOT_FOUND || kw_str_is(g->about->group_state, "Dead")) {
        g->about = NULL;
        return 0;
    }
    if (g->about->error_code != KW_NONE)
        return g->about->error_code;
    for (int32_t i = 0;
         kw_str_is(g->about->protocol_type, "consumer") && i < g->about->members_count; i++)
        take_assignment(g, arena, &g->about->members[i]);
    return 0;
}

static int fetch_offsets(struct cli_client *c, struct kb_arena *arena, struct cli_group *g,
                         struct cli_request *r)
{
    struct kw_offset_fetch_request request;
    kw_offset_fetch_request_init(&request);
    request.group_id = kw_str_of(g->name);
    request.topics_count = -1;
    *r = (struct cli_request){.api_key = KW_API_OFFSET_FETCH,
                              .version_cap = OFFSETS_CAP,
                              .node_id = g->coordinator,
                              .request = &request};
    int result = cli_client_call(c, arena, r, 1);
    if (result < 0)
        return result;
    const struct kw_offset_fetch_response *got = r->response;
    if (got->error_code == KW_GROUP_ID_NOT_FOUND)
        return 0;
    if (got->error_code != KW_NONE)
        return got->error_code;
    for (int32_t i = 0; i < got->topics_count; i++) {
        for (int32_t k = 0; k < got->topics[i].partitions_count; k++) {
            const struct kw_offset_fetch_response_partition *p = &got->topics[i].partitions[k];
            struct cli_group_row *row = cli_group_row(g, got->topics[i].name, p->partition_index);
            row->committed = p->error_code == KW_NONE ? p->committed_offset : -1;
            row->metadata = p->metadata;
        }
    }
    return 0;
}

int cli_group_load(struct cli_client *c, struct kb_arena *arena, const char *name,
                   struct cli_group *ret)
{
    struct cli_request r = {.node_id = CLI_ANY_NODE, .api_key = KW_API_FIND_COORDINATOR};
    char what[320];
    int result = 0;
    *ret = (struct cli_group){.name = name, .coordinator = CLI_ANY_NODE};
    do {
        cli_group_release(ret);
        ret->about = NULL;
        r = (struct cli_request){.node_id = CLI_ANY_NODE, .api_key = KW_API_FIND_COORDINATOR};
        result = r.result = cli_client_coordinator(c, name, &ret->coordinator);
        if (result == 0)
            result = describe(c, arena, ret, &r);
        if (result == 0)
            result = fetch_offsets(c, arena, ret, &r);
    } while (result != 0 && cli_retriable(result) && r.node_id != CLI_ANY_NODE &&
             cli_client_pause(c));
    (void)snprintf(what, sizeof(what), "cannot describe group \"%s\"", name);
    if (result == 0) {
        cli_group_sort(ret);
        return CLI_OK;
    }
    cli_group_release(ret);
    if (result > 0)
        return cli_kafka_fail(what, (int16_t)result, kw_str_null());
    return cli_client_fail(c, what, &r);
}

/* ---- all groups -------------------------------------------------------------------------------
 */

static int by_name(const void *a, const void *b)
{
    const struct cli_listed_group *x = a;
    const struct cli_listed_group *y = b;
    return compare_str(x->group->group_id, y->group->group_id);
}

static int list_once(struct cli_client *c, struct kb_arena *arena, struct cli_request *requests,
                     size_t count, struct cli_request *ret_failed)
{
    int result = cli_client_call(c, arena, requests, count);
    for (size_t i = 0; i < count; i++) {
        const struct kw_list_groups_response *got = requests[i].response;
        int one = requests[i].result < 0 ? requests[i].result : got->error_code;
        if (one != 0) {
            *ret_failed = requests[i];
            result = one;
        }
    }
    return result;
}

int cli_groups_list(struct cli_client *c, struct kb_arena *arena, struct cli_listed_group **ret,
                    size_t *ret_count)
{
    struct kw_list_groups_request request;
    struct cli_request failed = {.node_id = CLI_ANY_NODE, .api_key = KW_API_LIST_GROUPS};
    struct cli_request *requests = NULL;
    uint64_t began_ms = cli_now_ms();
    size_t brokers = 0;
    size_t total = 0;
    int result = 0;
    *ret_count = 0;
    kw_list_groups_request_init(&request);
    do {
        int refreshed = cli_refresh_for(c, "cannot list groups", NULL, 0);
        if (refreshed != CLI_OK)
            return refreshed;
        brokers = (size_t)c->metadata->brokers_count;
        requests = kb_arena_new_array(arena, struct cli_request, brokers);
        for (size_t i = 0; requests != NULL && i < brokers; i++)
            requests[i] = (struct cli_request){.node_id = c->metadata->brokers[i].node_id,
                                               .api_key = KW_API_LIST_GROUPS,
                                               .version_cap = LIST_CAP,
                                               .request = &request};
        brokers = requests == NULL ? 0 : brokers;
        result = requests == NULL ? -ENOMEM : list_once(c, arena, requests, brokers, &failed);
    } while (result != 0 && cli_retriable(result) &&
             (result > 0 || cli_now_ms() < began_ms + DEAD_WAIT_MS) && cli_client_pause(c));
    int r = CLI_OK;
    if (result > 0)
        r = cli_kafka_fail("cannot list all groups", (int16_t)result, kw_str_null());
    else if (result < 0)
        r = cli_client_fail(c, "cannot list all groups", &failed);
    for (size_t i = 0; i < brokers; i++) {
        const struct kw_list_groups_response *got = requests[i].response;
        total += got != NULL ? (size_t)got->groups_count : 0;
    }
    *ret = kb_arena_new_array(arena, struct cli_listed_group, total + 1);
    for (size_t i = 0; *ret != NULL && i < brokers; i++) {
        const struct kw_list_groups_response *got = requests[i].response;
        for (int32_t k = 0; got != NULL && k < got->groups_count; k++)
            (*ret)[(*ret_count)++] = (struct cli_listed_group){&got->groups[k],
                                                               requests[i].node_id};
    }
    if (*ret_count > 0)
        qsort(*ret, *ret_count, sizeof(**ret), by_name);
    return r;
}

int cli_group_missing(struct cli_client *c, struct kb_arena *arena, const char *name)
{
    struct cli_nearest near = {.word = name};
    struct cli_listed_group *list = NULL;
    size_t count = 0;
    if (cli_groups_list(c, arena, &list, &count) == CLI_OK) {
        for (size_t i = 0; i < count; i++) {
            struct kw_str id = list[i].group->group_id;
            const char *other = kb_arena_strndup(arena, id.data, (size_t)id.size);
            if (other != NULL)
                cli_nearest_offer(&near, other);
        }
    }
    cli_error("group \"%s\" does not exist (GROUP_ID_NOT_FOUND).%s List: kvorum group ls", name,
              cli_nearest_text(&near));
    return CLI_NOT_FOUND;
}
