/* kvorum topic describe: what clients are told of the partitions, where each replica's log ends,
 * and what was configured. */
#include <stdlib.h>

#include "broker/cli/client.h"

enum { PAGE_PARTITIONS = 2000, PAGES_MAX = 1000 };

/* What is known of one partition, from several sources; those that do not answer leave gaps. */
struct partition {
    const struct kw_metadata_response_partition *meta;
    const struct kw_describe_topic_partitions_response_partition *elr; /* NULL: not told */
    const Kvorum__StatusPartition *status; /* its leader's, or else any replica's; NULL */
    int64_t log_start;                     /* -1: not known */
    int64_t high_watermark;                /* -1: not known */
    int32_t min_isr;                       /* -1: not known */
};
struct topic {
    const struct kw_metadata_response_topic *meta;
    const struct kw_describe_configs_response_result *configs; /* NULL: not told */
    struct partition *partitions;
    size_t count; /* that the filters let through */
};

static struct cli_node *find_node(struct cli_cluster *cluster, int32_t id)
{
    for (size_t i = 0; i < cluster->nodes_count; i++) {
        if (cluster->nodes[i].id == id)
            return &cluster->nodes[i];
    }
    return NULL;
}

static const Kvorum__StatusPartition *status_of(struct cli_cluster *cluster, int32_t node,
                                                struct kw_str topic, int32_t index)
{
    const struct cli_node *n = find_node(cluster, node);
    for (size_t i = 0; n != NULL && n->status != NULL && i < n->status->n_partitions; i++) {
        const Kvorum__StatusPartition *p = n->status->partitions[i];
        if (p->index == index && kw_str_is(topic, p->topic))
            return p->has_log_end ? p : NULL;
    }
    return NULL;
}

/* ---- gathering --------------------------------------------------------------------------------
 */

/* Eligible leaders, a page at a time. Brokers that do not tell leave the pointers NULL. */
static void take_page(struct topic *t,
                      const struct kw_describe_topic_partitions_response_topic *got)
{
    for (size_t i = 0; i < t->count; i++) {
        for (int32_t k = 0; k < got->partitions_count; k++) {
            if (got->partitions[k].partition_index == t->partitions[i].meta->partition_index)
                t->partitions[i].elr = &got->partitions[k];
        }
    }
}

static void gather_elr(struct cli_client *c, struct kb_arena *arena, struct topic *t)
{
    struct kw_describe_topic_partitions_request request;
    struct kw_describe_topic_partitions_request_topic topic;
    struct kw_describe_topic_partitions_request_cursor cursor;
    kw_describe_topic_partitions_request_init(&request);
    kw_describe_topic_partitions_request_topic_init(&topic);
    kw_describe_topic_partitions_request_cursor_init(&cursor);
    topic.name = t->meta->name;
    request.topics = &topic;
    request.topics_count = 1;
    request.response_partition_limit = PAGE_PARTITIONS;
    for (int page = 0; page < PAGES_MAX; page++) {
        struct cli_request r = {.api_key = KW_API_DESCRIBE_TOPIC_PARTITIONS, .request = &request};
        if (cli_client_ask(c, arena, &r) < 0)
            return;
        const struct kw_describe_topic_partitions_response *got = r.response;
        for (int32_t i = 0; i < got->topics_count; i++)
            take_page(t, &got->topics[i]);
        if (got->next_cursor == NULL)
            return;
        cursor.topic_name = got->next_cursor->topic_name;
        cursor.partition_index = got->next_cursor->partition_index;
        request.cursor = &cursor;
    }
}

static void gather_offsets(struct cli_client *c, struct kb_arena *arena, struct topic *t)
{
    struct cli_offset *list = kb_new_array(struct cli_offset, t->count);
    static const int64_t kinds[] = {CLI_EARLIEST, CLI_LATEST};
    for (size_t kind = 0; kind < 2; kind++) {
        for (size_t i = 0; i < t->count; i++)
            list[i] = (struct cli_offset){.topic = t->meta->name,
                                          .partition = t->partitions[i].meta->partition_index,
                                          .timestamp = kinds[kind]};
        cli_offsets_fetch(c, arena, list, t->count, false);
        for (size_t i = 0; i < t->count; i++) {
            if (list[i].result == 0 && kind == 0)
                t->partitions[i].log_start = list[i].offset;
            else if (list[i].result == 0)
                t->partitions[i].high_watermark = list[i].offset;
        }
    }
    (void)kb_free(list);
}

static void gather_status(struct cli_cluster *cluster, struct topic *t)
{
    int32_t configured = -1;
    const struct kw_describe_configs_response_config *w = NULL;
    if (t->configs != NULL)
        w = cli_config_find(t->configs, "min.insync.replicas");
    if (w != NULL && w->value.size > 0 && w->value.size < 10)
        configured = (int32_t)strtol(w->value.data, NULL, 10);
    for (size_t i = 0; i < t->count; i++) {
        struct partition *p = &t->partitions[i];
        const struct kw_metadata_response_partition *m = p->meta;
        p->status = status_of(cluster, m->leader_id, t->meta->name, m->partition_index);
        for (int32_t k = 0; p->status == NULL && k < m->replica_nodes_count; k++)
            p->status = status_of(cluster, m->replica_nodes[k], t->meta->name, m->partition_index);
        p->min_isr = p->status != NULL ? p->status->min_isr : configured;
        if (p->min_isr > m->replica_nodes_count)
            p->min_isr = m->replica_nodes_count;
    }
}

static int by_index(const void *a, const void *b)
{
    int32_t x = ((const struct partition *)a)->meta->partition_index;
    int32_t y = ((const struct partition *)b)->meta->partition_index;
    return (x > y) - (x < y);
}

static bool passes(const struct cli_args *a, const struct partition *p)
{
    const struct kw_metadata_response_partition *m = p->meta;
    bool any = a->under_replicated || a->unavailable || a->under_min_isr || a->at_min_isr;
    return !any || (a->under_replicated && m->isr_nodes_count < m->replica_nodes_count) ||
           (a->unavailable && m->leader_id < 0) ||
           (a->under_min_isr && m->isr_nodes_count < p->min_isr) ||
           (a->at_min_isr && m->isr_nodes_count == p->min_isr);
}

/* Everything about one topic; partitions that the filters hold back are left out. */
static void gather_topic(struct cli_client *c, struct kb_arena *arena, struct cli_cluster *cluster,
                         struct topic *t)
{
    char *name = kb_strndup(t->meta->name.data, (size_t)t->meta->name.size);
    size_t kept = 0;
    t->count = (size_t)t->meta->partitions_count;
    t->partitions = kb_new_array(struct partition, t->count);
    for (size_t i = 0; i < t->count; i++)
        t->partitions[i] = (struct partition){
            .meta = &t->meta->partitions[i], .log_start = -1, .high_watermark = -1, .min_isr = -1};
    qsort(t->partitions, t->count, sizeof(t->partitions[0]), by_index);
    (void)cli_topic_configs(c, arena, name, &t->configs);
    (void)kb_free(name);
    gather_status(cluster, t);
    for (size_t i = 0; i < t->count; i++) {
        if (passes(c->args, &t->partitions[i]))
            t->partitions[kept++] = t->partitions[i];
    }
    t->count = kept;
    gather_elr(c, arena, t);
    gather_offsets(c, arena, t);
}

/* ---- one replica ------------------------------------------------------------------------------
 */

struct replica {
    int64_t log_end; /* -1: not known */
    int64_t durable; /* -1: not known */
    int64_t lag;     /* -1: not known */
    const char *left_reason;
};

static struct replica replica_of(struct cli_cluster *cluster, const struct topic *t,
                                 const struct partition *p, int32_t node)
{
    struct replica r = {-1, -1, -1, NULL};
    const Kvorum__StatusPartition *leader = status_of(cluster, p->meta->leader_id, t->meta->name,
                                                      p->meta->partition_index);
    const Kvorum__StatusPartition *own = leader;
    if (node != p->meta->leader_id || leader == NULL)
        own = status_of(cluster, node, t->meta->name, p->meta->partition_index);
    for (size_t i = 0; leader != NULL && i < leader->n_peers; i++) {
        const Kvorum__StatusReplica *peer = leader->peers[i];
        if (peer->node_id != node)
            continue;
        r.log_end = peer->log_end;
        r.durable = peer->durable;
        r.left_reason = peer->left_reason;
    }
    if (own != NULL) { /* its own word is the newest */
        r.log_end = own->log_end;
        r.durable = own->durable;
    }
    if (leader != NULL && r.log_end >= 0)
        r.lag = leader->log_end > r.log_end ? leader->log_end - r.log_end : 0;
    return r;
}

/* ---- printing ---------------------------------------------------------------------------------
 */

static void list_ids(struct kb_buf *out, const int32_t *ids, int32_t count)
{
    for (int32_t i = 0; i < count; i++)
        kb_buf_printf(out, "%s%d", i > 0 ? "," : "", ids[i]);
    if (count <= 0)
        kb_buf_append_str(out, "-");
}

/* Columns that are there only when some row needs them. */
struct columns {
    bool elr;
    bool offline;
    bool ends;
    bool left;
};

static void log_ends_text(struct cli_cluster *cluster, const struct topic *t,
                          const struct partition *p, struct kb_buf *out)
{
    for (int32_t i = 0; i < p->meta->replica_nodes_count; i++) {
        struct replica r = replica_of(cluster, t, p, p->meta->replica_nodes[i]);
        kb_buf_printf(out, "%s%d:", i > 0 ? " " : "", p->meta->replica_nodes[i]);
        if (r.log_end < 0)
            kb_buf_append_str(out, "?");
        else
            kb_buf_printf(out, "%" PRId64, r.log_end);
        if (r.lag > 0)
            kb_buf_printf(out, "(-%" PRId64 ")", r.lag);
    }
}

/* "3: fenced 0.9 s ago" for each replica that left. False: none did. */
static bool left_text(struct cli_cluster *cluster, const struct topic *t, const struct partition *p,
                      struct kb_buf *out)
{
    const Kvorum__StatusPartition *leader = status_of(cluster, p->meta->leader_id, t->meta->name,
                                                      p->meta->partition_index);
    bool any = false;
    for (size_t i = 0; leader != NULL && i < leader->n_peers; i++) {
        const Kvorum__StatusReplica *peer = leader->peers[i];
        char age[32];
        if (peer->left_reason == NULL || peer->in_isr)
            continue;
        cli_age_text(peer->has_left_age_ms ? (int64_t)peer->left_age_ms : -1, age);
        kb_buf_printf(out, "%s%d: %s %s", any ? ", " : "", peer->node_id, peer->left_reason, age);
        any = true;
    }
    return any;
}

static struct columns needed(struct cli_cluster *cluster, const struct topic *t)
{
    struct columns n = {0};
    for (size_t i = 0; i < t->count; i++) {
        const struct partition *p = &t->partitions[i];
        struct kb_buf left = {0};
        n.elr |= p->elr != NULL && p->elr->eligible_leader_replicas_count > 0;
        n.offline |= p->meta->offline_replicas_count > 0;
        n.ends |= p->status != NULL;
        n.left |= left_text(cluster, t, p, &left);
        kb_buf_release(&left);
    }
    return n;
}

static void number_text(int64_t v, struct kb_buf *out)
{
    if (v < 0)
        kb_buf_append_str(out, "\t-");
    else
        kb_buf_printf(out, "\t%" PRId64, v);
}

static void print_partition(const struct cli_args *args, struct cli_cluster *cluster,
                            const struct topic *t, const struct partition *p,
                            const struct columns *with, struct libscols_table *table)
{
    struct kb_buf row = {0};
    const struct kw_metadata_response_partition *m = p->meta;
    kb_buf_printf(&row, "%d\t", m->partition_index);
    kb_buf_printf(&row, m->leader_id >= 0 ? "%d" : "none", m->leader_id);
    kb_buf_printf(&row, "\t%d\t", m->leader_epoch);
    list_ids(&row, m->replica_nodes, m->replica_nodes_count);
    kb_buf_append_str(&row, "\t");
    list_ids(&row, m->isr_nodes, m->isr_nodes_count);
    if (with->elr)
        kb_buf_append_str(&row, "\t");
    if (with->elr && p->elr != NULL)
        list_ids(&row, p->elr->eligible_leader_replicas, p->elr->eligible_leader_replicas_count);
    if (with->offline) {
        kb_buf_append_str(&row, "\t");
        list_ids(&row, m->offline_replicas, m->offline_replicas_count);
    }
    number_text(p->log_start, &row);
    number_text(p->high_watermark, &row);
    if (with->ends) {
        kb_buf_append_str(&row, "\t");
        log_ends_text(cluster, t, p, &row);
    }
    if (with->left) {
        kb_buf_append_str(&row, "\t");
        (void)left_text(cluster, t, p, &row);
    }
    cli_table_row(table, "%.*s", (int)row.size, (const char *)row.data);
    if (m->leader_id < 0 || m->isr_nodes_count < p->min_isr)
        cli_table_color(args, table, CLI_RED);
    else if (m->isr_nodes_count < m->replica_nodes_count)
        cli_table_color(args, table, CLI_YELLOW);
    kb_buf_release(&row);
}

static void print_configs(const struct cli_args *args, const struct topic *t)
{
    for (int32_t i = 0; t->configs != NULL && i < t->configs->configs_count; i++) {
        const struct kw_describe_configs_response_config *w = &t->configs->configs[i];
        if (!cli_config_is_default(w))
            (void)fprintf(args->out, "  %.*s = %.*s  (%s)\n", CLI_STR(w->name), CLI_STR(w->value),
                          cli_config_source(w));
    }
}

static void print_topic(const struct cli_args *args, struct cli_cluster *cluster,
                        const struct topic *t)
{
    struct columns with = needed(cluster, t);
    const char *names[16];
    size_t n = 0;
    char id[KB_UUID_TEXT_SIZE];
    kb_uuid_format(&t->meta->topic_id, id);
    (void)fprintf(args->out, "topic %.*s  %d partitions", CLI_STR(t->meta->name),
                  t->meta->partitions_count);
    if (t->meta->partitions_count > 0)
        (void)fprintf(args->out, " of %d replicas", t->meta->partitions[0].replica_nodes_count);
    if (t->count > 0 && t->partitions[0].min_isr > 0)
        (void)fprintf(args->out, "  min ISR %d", t->partitions[0].min_isr);
    (void)fprintf(args->out, "  id %s%s\n", id, t->meta->is_internal ? "  internal" : "");
    print_configs(args, t);
    names[n++] = ">PARTITION";
    names[n++] = ">LEADER";
    names[n++] = ">EPOCH";
    names[n++] = "REPLICAS";
    names[n++] = "ISR";
    if (with.elr)
        names[n++] = "ELR";
    if (with.offline)
        names[n++] = "OFFLINE";
    names[n++] = ">LOG-START";
    names[n++] = ">HIGH-WATERMARK";
    if (with.ends)
        names[n++] = "LOG-END(LAG)";
    if (with.left)
        names[n++] = "LEFT-ISR";
    names[n] = NULL;
    struct libscols_table *table = cli_table_new(args, names);
    for (size_t i = 0; i < t->count; i++)
        print_partition(args, cluster, t, &t->partitions[i], &with, table);
    cli_table_print(table);
}

static json_t *ids_json(const int32_t *ids, int32_t count)
{
    json_t *list = json_array();
    for (int32_t i = 0; i < count; i++)
        (void)json_array_append_new(list, json_integer(ids[i]));
    return list;
}

static json_t *known_json(int64_t v)
{
    return v < 0 ? json_null() : json_integer((json_int_t)v);
}

static json_t *partition_json(struct cli_cluster *cluster, const struct topic *t,
                              const struct partition *p)
{
    const struct kw_metadata_response_partition *m = p->meta;
    json_t *ends = json_array();
    for (int32_t i = 0; i < m->replica_nodes_count; i++) {
        struct replica r = replica_of(cluster, t, p, m->replica_nodes[i]);
        (void)json_array_append_new(
            ends, json_pack("{s:i, s:o, s:o, s:o, s:s?}", "node_id", m->replica_nodes[i], "log_end",
                            known_json(r.log_end), "durable", known_json(r.durable), "lag",
                            known_json(r.lag), "left_reason", r.left_reason));
    }
    json_t *o = json_pack("{s:i, s:i, s:i, s:o, s:o, s:o}", "partition", m->partition_index,
                          "leader", m->leader_id, "leader_epoch", m->leader_epoch, "replicas",
                          ids_json(m->replica_nodes, m->replica_nodes_count), "isr",
                          ids_json(m->isr_nodes, m->isr_nodes_count), "offline",
                          ids_json(m->offline_replicas, m->offline_replicas_count));
    json_t *elr = json_null();
    if (p->elr != NULL)
        elr = ids_json(p->elr->eligible_leader_replicas, p->elr->eligible_leader_replicas_count);
    (void)json_object_set_new(o, "elr", elr);
    (void)json_object_set_new(o, "min_isr", known_json(p->min_isr));
    (void)json_object_set_new(o, "log_start", known_json(p->log_start));
    (void)json_object_set_new(o, "high_watermark", known_json(p->high_watermark));
    (void)json_object_set_new(o, "log_ends", ends);
    return o;
}

static json_t *topic_json(struct cli_cluster *cluster, const struct topic *t)
{
    json_t *partitions = json_array();
    json_t *configs = json_array();
    for (size_t i = 0; i < t->count; i++)
        (void)json_array_append_new(partitions, partition_json(cluster, t, &t->partitions[i]));
    for (int32_t i = 0; t->configs != NULL && i < t->configs->configs_count; i++)
        (void)json_array_append_new(configs, cli_config_json(&t->configs->configs[i]));
    return json_pack("{s:o, s:o, s:b, s:o, s:o}", "name", cli_str_json(t->meta->name), "topic_id",
                     cli_uuid_json(&t->meta->topic_id), "internal", t->meta->is_internal,
                     "partitions", partitions, "configs", configs);
}

/* ---- the command ------------------------------------------------------------------------------
 */

static void key_of(const struct topic *t, FILE *key)
{
    for (size_t i = 0; i < t->count; i++) {
        const struct kw_metadata_response_partition *m = t->partitions[i].meta;
        struct kb_buf text = {0};
        list_ids(&text, m->isr_nodes, m->isr_nodes_count);
        (void)fprintf(key, "%.*s %d %d %d %.*s\n", CLI_STR(t->meta->name), m->partition_index,
                      m->leader_id, m->leader_epoch, (int)text.size, (const char *)text.data);
        kb_buf_release(&text);
    }
}

static int check_names(const struct cli_client *c)
{
    int r = CLI_OK;
    for (size_t i = 0; i < c->args->operands_count; i++) {
        if (cli_need_topic(c, c->args->operands[i]) == NULL)
            r = CLI_NOT_FOUND;
    }
    return r;
}

static bool named(const struct cli_args *args, struct kw_str name)
{
    bool found = args->operands_count == 0;
    for (size_t i = 0; i < args->operands_count; i++)
        found = found || kw_str_is(name, args->operands[i]);
    return found;
}

static void describe(struct cli_client *c, struct kb_arena *arena, struct cli_cluster *cluster,
                     FILE *key)
{
    const struct cli_args *args = c->args;
    size_t count = 0;
    size_t printed = 0;
    json_t *list = json_array();
    bool filtered = args->under_replicated || args->unavailable || args->under_min_isr ||
                    args->at_min_isr;
    const struct kw_metadata_response_topic **topics =
        cli_topics_sorted(c, args->internal || args->operands_count > 0 || filtered, &count);
    for (size_t i = 0; i < count; i++) {
        struct topic t = {.meta = topics[i]};
        if (!named(args, t.meta->name))
            continue;
        gather_topic(c, arena, cluster, &t);
        if (t.count > 0 || !filtered) {
            (void)json_array_append_new(list, topic_json(cluster, &t));
            if (!args->json && printed++ > 0)
                (void)fputc('\n', args->out);
            if (!args->json)
                print_topic(args, cluster, &t);
        }
        key_of(&t, key);
        (void)kb_free(t.partitions);
    }
    if (args->json)
        cli_json_print(args, json_pack("{s:O}", "topics", list));
    json_decref(list);
    (void)kb_free(topics);
}

static int render(const struct cli_args *args, FILE *key)
{
    struct cli_client c;
    struct kb_arena arena;
    struct cli_cluster cluster = {0};
    struct cli_args quiet = *args;
    int r = cli_client_init(&c, args);
    kb_arena_init(&arena, CLI_ARENA_BYTES);
    if (r == CLI_OK)
        r = cli_refresh_for(&c, "cannot describe", args->operands, args->operands_count);
    if (r == CLI_OK)
        r = check_names(&c);
    if (r == CLI_OK) {
        quiet.quiet = true;
        if (args->operands_count == 1)
            cluster.topic = args->operands[0];
        (void)cli_cluster_gather(&quiet, false, &cluster); /* Apache Kafka does not answer it */
        describe(&c, &arena, &cluster, key);
    }
    cli_cluster_release(&cluster);
    kb_arena_release(&arena);
    cli_client_release(&c);
    return r;
}

int cli_topic_describe(const struct cli_args *args)
{
    return cli_show(args, render);
}
