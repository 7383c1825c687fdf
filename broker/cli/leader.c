/* kvorum leader elect. */
#include <stdlib.h>

#include "broker/cli/group.h"

enum { PREFERRED = 0, UNCLEAN = 1 };

struct chosen {
    struct kb_arena *arena;
    const struct cli_client *client;
    struct kw_elect_leaders_request *request;
    size_t capacity; /* of request->topic_partitions */
    bool bad;        /* told on stderr */
};

static void add_partition(struct chosen *ch, struct kw_str topic, int32_t partition)
{
    struct kw_elect_leaders_request *r = ch->request;
    struct kw_elect_leaders_request_topic_partition *t = NULL;
    for (int32_t i = 0; i < r->topic_partitions_count && t == NULL; i++) {
        if (kw_str_equal(r->topic_partitions[i].topic, topic))
            t = &r->topic_partitions[i];
    }
    if (t == NULL) {
        const struct kw_metadata_response_topic *m = cli_client_topic(ch->client, topic);
        t = &r->topic_partitions[r->topic_partitions_count++];
        kw_elect_leaders_request_topic_partition_init(t);
        t->topic = topic;
        t->partitions = kb_arena_new_array(ch->arena, int32_t, (size_t)m->partitions_count);
    }
    for (int32_t i = 0; i < t->partitions_count; i++) {
        if (t->partitions[i] == partition)
            return;
    }
    t->partitions[t->partitions_count++] = partition;
}

static void choose(void *arg, struct kw_str topic, int32_t partition)
{
    struct chosen *ch = arg;
    char *name = kb_arena_strndup(ch->arena, topic.data, (size_t)topic.size);
    if (ch->bad || name == NULL)
        return;
    const struct kw_metadata_response_topic *t = cli_need_topic(ch->client, name);
    if (t == NULL || (partition >= 0 && cli_client_partition(t, partition) == NULL)) {
        if (t != NULL)
            cli_error("topic \"%s\" has no partition %d (UNKNOWN_TOPIC_OR_PARTITION): it has %d",
                      name, partition, t->partitions_count);
        ch->bad = true;
        return;
    }
    for (int32_t i = 0; i < t->partitions_count; i++) {
        if (partition < 0 || t->partitions[i].partition_index == partition)
            add_partition(ch, kw_str_of(name), t->partitions[i].partition_index);
    }
}

static int choose_all(struct cli_client *c, struct kb_arena *arena,
                      struct kw_elect_leaders_request *request)
{
    const struct cli_args *args = c->args;
    struct chosen ch = {.arena = arena, .client = c, .request = request};
    if (args->operands_count == 0) {
        request->topic_partitions_count = -1;
        return CLI_OK;
    }
    request->topic_partitions = kb_arena_new_array(
        arena, struct kw_elect_leaders_request_topic_partition, args->operands_count);
    for (size_t i = 0; i < args->operands_count && !ch.bad; i++) {
        if (!cli_parse_topic(args->operands[i], choose, &ch)) {
            cli_error("\"%s\" is not TOPIC[:P,…]", args->operands[i]);
            return CLI_USAGE;
        }
    }
    return ch.bad ? CLI_NOT_FOUND : CLI_OK;
}

static int32_t leader_now(const struct cli_client *c, struct kw_str topic, int32_t partition)
{
    const struct kw_metadata_response_partition *p =
        cli_client_partition(cli_client_topic(c, topic), partition);
    return p != NULL ? p->leader_id : -1;
}

static void tell_failure(struct kw_str topic, const struct kw_elect_leaders_response_partition *p)
{
    char what[320];
    (void)snprintf(what, sizeof(what), "%.*s-%d: no leader was elected", CLI_STR(topic),
                   p->partition_id);
    (void)cli_kafka_fail(what, p->error_code, p->error_message);
}

static int print_results(struct cli_client *c, const struct kw_elect_leaders_response *got)
{
    static const char *const columns[] = {"TOPIC", ">PARTITION", ">LEADER", "STATUS", NULL};
    const struct cli_args *args = c->args;
    struct libscols_table *t = cli_table_new(args, columns);
    json_t *list = json_array();
    int r = CLI_OK;
    for (int32_t i = 0; i < got->replica_election_results_count; i++) {
        const struct kw_elect_leaders_response_topic *topic = &got->replica_election_results[i];
        for (int32_t k = 0; k < topic->partition_result_count; k++) {
            const struct kw_elect_leaders_response_partition *p = &topic->partition_result[k];
            bool idle = p->error_code == KW_ELECTION_NOT_NEEDED;
            bool failed = p->error_code != KW_NONE && !idle;
            const char *status = idle     ? "not needed"
                                 : failed ? kw_error_name(p->error_code)
                                          : "elected";
            int32_t leader = leader_now(c, topic->topic, p->partition_id);
            if (failed)
                tell_failure(topic->topic, p);
            if (failed && r == CLI_OK)
                r = CLI_FAILED;
            if (idle && args->operands_count == 0)
                continue; /* nearly all of them */
            cli_table_row(t, "%.*s\t%d\t%d\t%s", CLI_STR(topic->topic), p->partition_id, leader,
                          status);
            (void)json_array_append_new(
                list, json_pack("{s:o, s:i, s:i, s:s}", "topic", cli_str_json(topic->topic),
                                "partition", p->partition_id, "leader", leader, "status", status));
        }
    }
    if (args->json) {
        cli_json_print(args, json_pack("{s:O}", "partitions", list));
        cli_table_free(t);
    } else if (json_array_size(list) == 0) {
        (void)fprintf(args->out, "no election is needed\n");
        cli_table_free(t);
    } else {
        cli_table_print(t);
    }
    json_decref(list);
    return r;
}

static int elect(struct cli_client *c, struct kb_arena *arena)
{
    struct kw_elect_leaders_request request;
    struct cli_request r = {.api_key = KW_API_ELECT_LEADERS, .request = &request};
    kw_elect_leaders_request_init(&request);
    request.election_type = c->args->unclean ? UNCLEAN : PREFERRED;
    int result = cli_refresh_for(c, "cannot elect leaders", NULL, 0);
    if (result == CLI_OK)
        result = choose_all(c, arena, &request);
    if (result == CLI_OK && c->args->unclean)
        result = cli_confirm(c->args,
                             "An unclean election may lose acknowledged records for good.");
    if (result != CLI_OK)
        return result;
    c->deadline_ms = cli_now_ms() + (uint64_t)c->args->timeout_ms; /* the question took its time */
    request.timeout_ms = cli_server_timeout_ms(c);
    result = cli_admin(c, arena, "cannot elect leaders", &r);
    if (result != CLI_OK)
        return result;
    const struct kw_elect_leaders_response *got = r.response;
    if (got->error_code != KW_NONE)
        return cli_kafka_fail("cannot elect leaders", got->error_code, kw_str_null());
    (void)cli_client_pause(c); /* until the nodes have heard of it */
    (void)cli_client_refresh(c, NULL, -1);
    return print_results(c, got);
}

int cli_leader_elect(const struct cli_args *args)
{
    return cli_with_client(args, elect);
}
