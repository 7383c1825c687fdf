/* ListOffsets: each question goes to the leader of its partition. */
#include <errno.h>
#include <stdlib.h>

#include "broker/cli/client.h"

static int32_t leader_of(const struct cli_client *c, const struct cli_offset *o)
{
    const struct kw_metadata_response_partition *p =
        cli_client_partition(cli_client_topic(c, o->topic), o->partition);
    return p != NULL ? p->leader_id : -1;
}

/* Still without an answer? */
static bool open_of(const struct cli_offset *o)
{
    return o->result == -EINPROGRESS;
}

/* The open questions to this leader, as one request in the arena. */
static struct kw_list_offsets_request *make_request(struct kb_arena *arena, struct cli_offset *list,
                                                    const int32_t *leaders, size_t count,
                                                    int32_t leader)
{
    struct kw_list_offsets_request *r = kb_arena_new(arena, struct kw_list_offsets_request);
    if (r == NULL)
        return NULL;
    kw_list_offsets_request_init(r);
    r->replica_id = -1;
    r->topics = kb_arena_new_array(arena, struct kw_list_offsets_request_topic, count);
    struct kw_list_offsets_request_partition *p =
        kb_arena_new_array(arena, struct kw_list_offsets_request_partition, count);
    for (size_t i = 0; r->topics != NULL && p != NULL && i < count; i++) {
        struct kw_list_offsets_request_topic *t = &r->topics[r->topics_count - 1];
        if (!open_of(&list[i]) || leaders[i] != leader)
            continue;
        if (r->topics_count == 0 || !kw_str_equal(t->name, list[i].topic)) {
            t = &r->topics[r->topics_count++];
            kw_list_offsets_request_topic_init(t);
            t->name = list[i].topic;
            t->partitions = p;
        }
        kw_list_offsets_request_partition_init(p);
        p->partition_index = list[i].partition;
        p->timestamp = list[i].timestamp;
        t->partitions_count++;
        p++;
    }
    return arena->failed ? NULL : r;
}

static const struct kw_list_offsets_response_partition *
find_answer(const struct kw_list_offsets_response *r, const struct cli_offset *o)
{
    for (int32_t i = 0; i < r->topics_count; i++) {
        const struct kw_list_offsets_response_topic *t = &r->topics[i];
        for (int32_t k = 0; kw_str_equal(t->name, o->topic) && k < t->partitions_count; k++) {
            if (t->partitions[k].partition_index == o->partition)
                return &t->partitions[k];
        }
    }
    return NULL;
}

static void take_answers(struct cli_offset *list, const int32_t *leaders, size_t count,
                         const struct cli_request *r)
{
    for (size_t i = 0; i < count; i++) {
        struct cli_offset *o = &list[i];
        const struct kw_list_offsets_response_partition *p = NULL;
        if (!open_of(o) || leaders[i] != r->node_id)
            continue;
        if (r->result == 0)
            p = find_answer(r->response, o);
        o->result = r->result < 0 ? r->result : p == NULL ? -EPROTO : p->error_code;
        if (o->result == 0)
            o->offset = p->offset;
    }
}

static void fetch_once(struct cli_client *c, struct kb_arena *arena, struct cli_offset *list,
                       size_t count)
{
    int32_t *leaders = kb_new_array(int32_t, count);
    struct cli_request *requests = kb_new_array(struct cli_request, count);
    size_t n = 0;
    for (size_t i = 0; i < count; i++)
        leaders[i] = open_of(&list[i]) ? leader_of(c, &list[i]) : -1;
    for (size_t i = 0; i < count; i++) {
        bool known = false;
        if (leaders[i] < 0)
            continue;
        for (size_t k = 0; k < n; k++)
            known = known || requests[k].node_id == leaders[i];
        if (known)
            continue;
        const void *request = make_request(arena, list, leaders, count, leaders[i]);
        if (request == NULL)
            break;
        requests[n++] = (struct cli_request){
            .node_id = leaders[i], .api_key = KW_API_LIST_OFFSETS, .request = request};
    }
    (void)cli_client_call(c, arena, requests, n);
    for (size_t k = 0; k < n; k++)
        take_answers(list, leaders, count, &requests[k]);
    for (size_t i = 0; i < count; i++) {
        if (open_of(&list[i]))
            list[i].result = KW_LEADER_NOT_AVAILABLE;
    }
    (void)kb_free(requests);
    (void)kb_free(leaders);
}

void cli_offsets_fetch(struct cli_client *c, struct kb_arena *arena, struct cli_offset *list,
                       size_t count, bool patient)
{
    bool again = false;
    for (size_t i = 0; i < count; i++)
        list[i].result = -EINPROGRESS;
    do {
        fetch_once(c, arena, list, count);
        again = false;
        for (size_t i = 0; patient && i < count; i++)
            again = again || (list[i].result != 0 && cli_retriable(list[i].result));
        again = again && cli_client_pause(c) && cli_client_refresh(c, NULL, -1) == 0;
        for (size_t i = 0; again && i < count; i++) {
            if (list[i].result != 0 && cli_retriable(list[i].result))
                list[i].result = -EINPROGRESS;
        }
    } while (again);
}
