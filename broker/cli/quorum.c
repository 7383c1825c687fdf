/* kvorum quorum status, quorum replication: consensus as each node sees it, and as the leader does.
 * The names in JSON are those of kafka-metadata-quorum, in snake_case. */
#include <time.h>

#include "broker/cli/client.h"

#define METADATA_TOPIC "__cluster_metadata"

/* ---- DescribeQuorum, which only a leader answers ----------------------------------------------
 */

/* CLI_OK and *ret in the arena, or the exit code, told on stderr. */
static int describe_quorum(struct cli_client *c, struct kb_arena *arena,
                           const struct kw_describe_quorum_response **ret_whole,
                           const struct kw_describe_quorum_response_partition **ret)
{
    struct kw_describe_quorum_request request;
    struct kw_describe_quorum_request_topic topic;
    struct kw_describe_quorum_request_partition partition;
    struct cli_request r = {.api_key = KW_API_DESCRIBE_QUORUM, .request = &request};
    const char *what = "cannot describe the quorum";
    kw_describe_quorum_request_init(&request);
    kw_describe_quorum_request_topic_init(&topic);
    kw_describe_quorum_request_partition_init(&partition);
    topic.topic_name = KW_STR(METADATA_TOPIC);
    topic.partitions = &partition;
    topic.partitions_count = 1;
    request.topics = &topic;
    request.topics_count = 1;
    int result = cli_admin(c, arena, what, &r);
    if (result != CLI_OK)
        return result;
    const struct kw_describe_quorum_response *got = r.response;
    if (got->error_code != KW_NONE)
        return cli_kafka_fail(what, got->error_code, got->error_message);
    if (got->topics_count != 1 || got->topics[0].partitions_count != 1)
        return cli_kafka_fail(what, KW_UNKNOWN_SERVER_ERROR, kw_str_null());
    if (got->topics[0].partitions[0].error_code != KW_NONE)
        return cli_kafka_fail(what, got->topics[0].partitions[0].error_code,
                              got->topics[0].partitions[0].error_message);
    *ret_whole = got;
    *ret = &got->topics[0].partitions[0];
    return CLI_OK;
}

static int64_t wall_ms(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_REALTIME, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void age_cell(int64_t at_ms, char text[32])
{
    int64_t age = wall_ms() - at_ms;
    cli_age_text(at_ms < 0 ? -1 : age > 0 ? age : 0, text);
}

struct replication {
    struct libscols_table *table;
    json_t *list;
    int32_t leader;
    int64_t leader_end;
};

static void add_replica(struct replication *to,
                        const struct kw_describe_quorum_response_replica_state *s, bool voter)
{
    char directory[KB_UUID_TEXT_SIZE];
    char fetched[32];
    char caught_up[32];
    const char *status = s->replica_id == to->leader ? "Leader" : voter ? "Follower" : "Observer";
    bool known = s->log_end_offset >= 0;
    int64_t lag = known && to->leader_end > s->log_end_offset ? to->leader_end - s->log_end_offset
                                                              : 0;
    kb_uuid_format(&s->replica_directory_id, directory);
    age_cell(s->last_fetch_timestamp, fetched);
    age_cell(s->last_caught_up_timestamp, caught_up);
    cli_table_row(to->table, "%d\t%s\t%" PRId64 "\t%" PRId64 "\t%s\t%s\t%s", s->replica_id,
                  directory, s->log_end_offset, lag, fetched, caught_up, status);
    (void)json_array_append_new(
        to->list,
        json_pack("{s:i, s:o, s:I, s:I, s:I, s:I, s:s}", "node_id", s->replica_id, "directory_id",
                  cli_uuid_json(&s->replica_directory_id), "log_end_offset",
                  (json_int_t)s->log_end_offset, "lag", (json_int_t)lag, "last_fetch_timestamp",
                  (json_int_t)s->last_fetch_timestamp, "last_caught_up_timestamp",
                  (json_int_t)s->last_caught_up_timestamp, "status", status));
}

static int64_t end_of(const struct kw_describe_quorum_response_partition *p, int32_t id)
{
    for (int32_t i = 0; i < p->current_voters_count; i++) {
        if (p->current_voters[i].replica_id == id)
            return p->current_voters[i].log_end_offset;
    }
    return -1;
}

static int replication(struct cli_client *c, struct kb_arena *arena)
{
    static const char *const columns[] = {">NODE",      "DIRECTORY-ID",   ">LOG-END", ">LAG",
                                          "LAST-FETCH", "LAST-CAUGHT-UP", "STATUS",   NULL};
    const struct kw_describe_quorum_response *whole = NULL;
    const struct kw_describe_quorum_response_partition *p = NULL;
    int r = describe_quorum(c, arena, &whole, &p);
    if (r != CLI_OK || p == NULL)
        return r;
    struct replication to = {.table = cli_table_new(c->args, columns),
                             .list = json_array(),
                             .leader = p->leader_id,
                             .leader_end = end_of(p, p->leader_id)};
    for (int32_t i = 0; i < p->current_voters_count; i++)
        add_replica(&to, &p->current_voters[i], true);
    for (int32_t i = 0; i < p->observers_count; i++)
        add_replica(&to, &p->observers[i], false);
    if (c->args->json) {
        cli_json_print(c->args, json_pack("{s:i, s:i, s:I, s:O}", "leader_id", p->leader_id,
                                          "leader_epoch", p->leader_epoch, "high_watermark",
                                          (json_int_t)p->high_watermark, "replicas", to.list));
        cli_table_free(to.table);
    } else {
        cli_table_print(to.table);
    }
    json_decref(to.list);
    return CLI_OK;
}

int cli_quorum_replication(const struct cli_args *args)
{
    return cli_with_client(args, replication);
}

/* ---- what each node believes ------------------------------------------------------------------
 */

struct summary {
    int32_t leader_id;
    uint64_t leader_epoch;
    uint64_t high_watermark;  /* first index that is not committed */
    int64_t follower_lag;     /* -1: not known */
    int64_t follower_time_ms; /* -1: not known */
};

static struct summary summarize(const struct cli_cluster *c)
{
    struct summary s = {.leader_id = -1, .follower_lag = -1, .follower_time_ms = -1};
    for (size_t i = 0; i < c->nodes_count; i++) {
        const Kvorum__StatusResponse *n = c->nodes[i].status;
        if (n == NULL)
            continue;
        if (n->commit_index + 1 > s.high_watermark)
            s.high_watermark = n->commit_index + 1;
        if (n->term > s.leader_epoch)
            s.leader_epoch = n->term;
        if (!n->in_office || n->node_id != c->controller_id)
            continue;
        s.leader_id = n->node_id;
        s.follower_lag = s.follower_time_ms = 0;
        for (size_t k = 0; k < n->n_peers; k++) {
            const Kvorum__StatusPeer *p = n->peers[k];
            uint64_t end = p->has_end_index ? p->end_index : n->last_index; /* never heard of */
            if (!p->voter)
                continue;
            if (end < n->last_index && (int64_t)(n->last_index - end) > s.follower_lag)
                s.follower_lag = (int64_t)(n->last_index - end);
            if (p->has_caught_up_age_ms && (int64_t)p->caught_up_age_ms > s.follower_time_ms)
                s.follower_time_ms = (int64_t)p->caught_up_age_ms;
        }
    }
    return s;
}

static json_t *member_json(const struct cli_node *n)
{
    return json_pack("{s:i, s:s?, s:s?, s:i}", "node_id", n->id, "directory_id",
                     n->status != NULL ? n->status->directory_id : NULL, "host", n->host, "port",
                     (int)n->port);
}

static json_t *view_json(const struct cli_node *n, uint64_t newest)
{
    const Kvorum__StatusResponse *s = n->status;
    json_t *o = member_json(n);
    (void)json_object_set_new(o, "up", json_boolean(s != NULL));
    (void)json_object_set_new(o, "voter", json_boolean(n->voter));
    if (s == NULL) {
        (void)json_object_set_new(o, "error", json_string(cli_result_text(n->result)));
        return o;
    }
    uint64_t lag = newest > s->last_index ? newest - s->last_index : 0;
    json_t *more = json_pack(
        "{s:s?, s:b, s:I, s:i, s:I, s:I, s:I, s:I, s:s?}", "role", s->role, "is_leader",
        s->in_office, "term", (json_int_t)s->term, "leader_id", s->leader_id, "last_index",
        (json_int_t)s->last_index, "commit_index", (json_int_t)s->commit_index, "applied_index",
        (json_int_t)s->applied_index, "lag", (json_int_t)lag, "version", s->version);
    (void)json_object_update(o, more);
    json_decref(more);
    return o;
}

static uint64_t newest_index(const struct cli_cluster *c)
{
    uint64_t newest = 0;
    for (size_t i = 0; i < c->nodes_count; i++) {
        const Kvorum__StatusResponse *s = c->nodes[i].status;
        if (s != NULL && s->last_index > newest)
            newest = s->last_index;
    }
    return newest;
}

static json_t *known(int64_t v)
{
    return v < 0 ? json_null() : json_integer((json_int_t)v);
}

static void print_json(const struct cli_args *args, const struct cli_cluster *c)
{
    struct summary s = summarize(c);
    json_t *voters = json_array();
    json_t *observers = json_array();
    json_t *nodes = json_array();
    for (size_t i = 0; i < c->nodes_count; i++) {
        const struct cli_node *n = &c->nodes[i];
        if (n->id >= 0)
            (void)json_array_append_new(n->voter ? voters : observers, member_json(n));
        (void)json_array_append_new(nodes, view_json(n, newest_index(c)));
    }
    cli_json_print(
        args, json_pack("{s:s?, s:i, s:I, s:I, s:o, s:o, s:o, s:o, s:o, s:o}", "cluster_id",
                        c->best->cluster_id, "leader_id", s.leader_id, "leader_epoch",
                        (json_int_t)s.leader_epoch, "high_watermark", (json_int_t)s.high_watermark,
                        "max_follower_lag", known(s.follower_lag), "max_follower_lag_time_ms",
                        known(s.follower_time_ms), "current_voters", voters, "current_observers",
                        observers, "nodes", nodes, "problems", cli_words_problems(c)));
}

static void print_view(const struct cli_args *args, struct libscols_table *t,
                       const struct cli_node *n, uint64_t newest)
{
    const Kvorum__StatusResponse *s = n->status;
    char leader[16] = "none";
    if (s == NULL) {
        cli_table_row(t, "%d\tDOWN\t%s\t-\t-\t-\t-\t-\t-\t-\t%s:%u\t%s", n->id,
                      n->voter ? "voter" : "-", n->host != NULL ? n->host : "?", n->port,
                      cli_result_text(n->result));
        cli_table_color(args, t, CLI_RED);
        return;
    }
    if (s->leader_id >= 0)
        (void)snprintf(leader, sizeof(leader), "%d", s->leader_id);
    cli_table_row(t,
                  "%d\t%s\t%s\t%" PRIu64 "\t%s\t%" PRIu64 "\t%" PRIu64 "\t%" PRIu64 "\t%" PRIu64
                  "\t%s\t%s:%u\t%s",
                  n->id, s->role != NULL ? s->role : "-", n->voter ? "voter" : "observer", s->term,
                  leader, s->last_index, s->commit_index, s->applied_index,
                  newest > s->last_index ? newest - s->last_index : 0,
                  s->directory_id != NULL ? s->directory_id : "-", n->host, n->port, "");
}

static void print_table(const struct cli_args *args, const struct cli_cluster *c)
{
    static const char *const columns[] = {
        ">NODE",    "ROLE", "KIND",         ">TERM",   ">LEADER", ">LOG-END", ">COMMIT",
        ">APPLIED", ">LAG", "DIRECTORY-ID", "ADDRESS", "ERROR",   NULL};
    struct summary s = summarize(c);
    struct libscols_table *t = cli_table_new(args, columns);
    (void)fprintf(args->out, "cluster %s  ",
                  c->best->cluster_id != NULL ? c->best->cluster_id : "(not founded)");
    if (s.leader_id >= 0)
        (void)fprintf(args->out,
                      "leader: node %d (term %" PRIu64 ")  max follower lag: %" PRId64
                      " records, %" PRId64 " ms\n",
                      s.leader_id, s.leader_epoch, s.follower_lag, s.follower_time_ms);
    else
        (void)fprintf(args->out, "no leader (highest term %" PRIu64 ")\n", s.leader_epoch);
    for (size_t i = 0; i < c->nodes_count; i++)
        print_view(args, t, &c->nodes[i], newest_index(c));
    cli_table_print(t);
    if (!c->changes) {
        struct kb_buf text = {0};
        cli_words_no_quorum(c, &text);
        (void)fprintf(args->out, "%.*s\n", (int)text.size, (const char *)text.data);
        kb_buf_release(&text);
    }
}

static int render_status(const struct cli_args *args, FILE *key)
{
    return cli_cluster_render(args, key, print_json, print_table);
}

int cli_quorum_status(const struct cli_args *args)
{
    return cli_show(args, render_status);
}
