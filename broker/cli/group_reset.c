/* kvorum group reset: the plan first, and only --yes carries it out. */
#include <errno.h>
#include <stdlib.h>
#include <time.h>

#include "broker/cli/group.h"

enum { COMMIT_CAP = 9 };

/* ---- what does not need a cluster -------------------------------------------------------------
 */

static int64_t clamp(int64_t v, const struct cli_group_row *row)
{
    if (v > row->log_end)
        v = row->log_end;
    return v < row->log_start ? row->log_start : v;
}

int64_t cli_reset_target(enum cli_reset_kind kind, int64_t argument, int64_t found,
                         const struct cli_group_row *row)
{
    int64_t target = 0;
    if (row->log_start < 0 || row->log_end < 0)
        return -1;
    switch (kind) {
    case CLI_RESET_EARLIEST:
        return row->log_start;
    case CLI_RESET_LATEST:
        return row->log_end;
    case CLI_RESET_OFFSET:
        return clamp(argument, row);
    case CLI_RESET_DATETIME:
        return found < 0 ? row->log_end : clamp(found, row);
    case CLI_RESET_SHIFT:
        if (row->committed < 0)
            return -1;
        if (__builtin_add_overflow(row->committed, argument, &target))
            target = argument < 0 ? 0 : INT64_MAX;
        return clamp(target, row);
    }
    return -1;
}

/* Digits at *at as a number; moves on. */
static bool take_digits(const char **at, int count, int *ret)
{
    int v = 0;
    for (int i = 0; i < count; i++) {
        if ((*at)[i] < '0' || (*at)[i] > '9')
            return false;
        v = v * 10 + ((*at)[i] - '0');
    }
    *at += count;
    *ret = v;
    return true;
}

static bool take_char(const char **at, char c)
{
    if (**at != c)
        return false;
    (*at)++;
    return true;
}

/* "", "Z", "+01:00", "-0530" */
static bool take_zone(const char **at, int64_t *ret_ms)
{
    int hours = 0;
    int minutes = 0;
    char sign = **at;
    *ret_ms = 0;
    if (sign == '\0')
        return true;
    (*at)++;
    if (sign == 'Z')
        return **at == '\0';
    if ((sign != '+' && sign != '-') || !take_digits(at, 2, &hours))
        return false;
    (void)take_char(at, ':');
    if (!take_digits(at, 2, &minutes) || **at != '\0' || hours > 14 || minutes > 59)
        return false;
    *ret_ms = (sign == '-' ? -1 : 1) * (hours * 3600000LL + minutes * 60000LL);
    return true;
}

bool cli_parse_datetime(const char *text, int64_t *ret_ms)
{
    struct tm tm = {0};
    struct tm again;
    int millis = 0;
    int64_t zone_ms = 0;
    int digit = 0;
    const char *at = text;
    if (!take_digits(&at, 4, &tm.tm_year) || !take_char(&at, '-') ||
        !take_digits(&at, 2, &tm.tm_mon) || !take_char(&at, '-') ||
        !take_digits(&at, 2, &tm.tm_mday))
        return false;
    if (take_char(&at, 'T') || take_char(&at, ' ')) {
        if (!take_digits(&at, 2, &tm.tm_hour) || !take_char(&at, ':') ||
            !take_digits(&at, 2, &tm.tm_min))
            return false;
        if (take_char(&at, ':') && !take_digits(&at, 2, &tm.tm_sec))
            return false;
        for (int scale = 100;
             (scale == 100 ? take_char(&at, '.') : scale > 0) && take_digits(&at, 1, &digit);
             scale /= 10)
            millis += digit * scale;
    }
    if (!take_zone(&at, &zone_ms))
        return false;
    tm.tm_year -= 1900;
    tm.tm_mon -= 1;
    again = tm;
    time_t seconds = timegm(&again);
    /* timegm makes the 31st of June the 1st of July. */
    if (again.tm_mday != tm.tm_mday || again.tm_mon != tm.tm_mon || again.tm_hour != tm.tm_hour ||
        again.tm_min != tm.tm_min || again.tm_sec != tm.tm_sec)
        return false;
    *ret_ms = (int64_t)seconds * 1000 + millis - zone_ms;
    return true;
}

bool cli_parse_topic(const char *text, cli_partition_fn *fn, void *arg)
{
    const char *colon = strchr(text, ':');
    size_t size = colon != NULL ? (size_t)(colon - text) : strlen(text);
    struct kw_str topic = {text, (int32_t)size};
    if (size == 0)
        return false;
    if (colon == NULL) {
        fn(arg, topic, -1);
        return true;
    }
    for (const char *at = colon + 1;;) {
        char *end = NULL;
        long first = strtol(at, &end, 10);
        long last = first;
        if (end == at || *at < '0' || *at > '9')
            return false;
        if (*end == '-') {
            at = end + 1;
            last = strtol(at, &end, 10);
            if (end == at || *at < '0' || *at > '9')
                return false;
        }
        if (first > last || last >= 1000000)
            return false;
        for (long p = first; p <= last; p++)
            fn(arg, topic, (int32_t)p);
        if (*end == '\0')
            return true;
        if (*end != ',')
            return false;
        at = end + 1;
    }
}

/* ---- the command line -------------------------------------------------------------------------
 */

struct reset {
    enum cli_reset_kind kind;
    int64_t argument;
    int64_t time_ms;
};

static int read_kind(const struct cli_args *args, struct reset *ret)
{
    const uint64_t kinds[] = {CLI_BIT(TO_EARLIEST), CLI_BIT(TO_LATEST), CLI_BIT(TO_OFFSET),
                              CLI_BIT(TO_DATETIME), CLI_BIT(SHIFT_BY)};
    size_t count = 0;
    *ret = (struct reset){0};
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        if ((args->given & kinds[i]) != 0) {
            ret->kind = (enum cli_reset_kind)i;
            count++;
        }
    }
    if (count != 1) {
        cli_error("say where to, once: --to-earliest, --to-latest, --to-offset N, --to-datetime "
                  "TIME or --shift-by N");
        return CLI_USAGE;
    }
    ret->argument = ret->kind == CLI_RESET_SHIFT ? args->shift_by : args->to_offset;
    if (ret->kind == CLI_RESET_DATETIME && !cli_parse_datetime(args->to_datetime, &ret->time_ms)) {
        cli_error("\"%s\" is not a time such as 2026-01-31T12:00:00Z", args->to_datetime);
        return CLI_USAGE;
    }
    return CLI_OK;
}

/* ---- which partitions -------------------------------------------------------------------------
 */

struct choice {
    struct cli_client *client;
    struct kb_arena *arena;
    struct cli_group *from; /* with what is committed */
    struct cli_group *to;   /* chosen */
    bool bad;               /* told on stderr */
};

static void choose_row(struct choice *ch, struct kw_str topic, int32_t partition)
{
    /* The name must outlive the metadata. */
    struct kw_str name = {kb_arena_strndup(ch->arena, topic.data, (size_t)topic.size), topic.size};
    int64_t committed = cli_group_row(ch->from, name, partition)->committed;
    cli_group_row(ch->to, name, partition)->committed = committed;
}

static void choose(void *arg, struct kw_str topic, int32_t partition)
{
    struct choice *ch = arg;
    char name[256];
    (void)snprintf(name, sizeof(name), "%.*s", CLI_STR(topic));
    if (ch->bad)
        return;
    const struct kw_metadata_response_topic *t = cli_need_topic(ch->client, name);
    if (t == NULL) {
        ch->bad = true;
        return;
    }
    if (partition >= 0 && cli_client_partition(t, partition) == NULL) {
        cli_error("topic \"%s\" has no partition %d (UNKNOWN_TOPIC_OR_PARTITION): it has %d, from "
                  "0 on",
                  name, partition, t->partitions_count);
        ch->bad = true;
        return;
    }
    for (int32_t i = 0; i < t->partitions_count; i++) {
        if (partition < 0 || t->partitions[i].partition_index == partition)
            choose_row(ch, topic, t->partitions[i].partition_index);
    }
}

static int choose_all(struct choice *ch, const struct cli_args *args)
{
    for (size_t i = 0; i < args->topics_count && !ch->bad; i++) {
        if (!cli_parse_topic(args->topics[i], choose, ch)) {
            cli_error("--topic: \"%s\" is not T[:P,…]", args->topics[i]);
            return CLI_USAGE;
        }
    }
    if (ch->bad)
        return CLI_NOT_FOUND;
    for (size_t i = 0; args->topics_count == 0 && i < ch->from->count; i++) {
        const struct cli_group_row *row = &ch->from->rows[i];
        if (row->committed >= 0)
            cli_group_row(ch->to, row->topic, row->partition)->committed = row->committed;
    }
    if (ch->to->count == 0) {
        cli_error("group \"%s\" has committed nothing yet; name what to set: --topic T",
                  ch->from->name);
        return CLI_NOT_FOUND;
    }
    cli_group_sort(ch->to);
    return CLI_OK;
}

/* ---- the plan ---------------------------------------------------------------------------------
 */

struct plan {
    struct cli_group group; /* the chosen rows */
    int64_t *targets;       /* -1: cannot be told */
    int16_t *errors;        /* of carrying it out */
};

static void find_times(struct cli_client *c, struct kb_arena *arena, const struct reset *reset,
                       const struct cli_group *g, struct cli_offset *found)
{
    for (size_t i = 0; i < g->count; i++)
        found[i] = (struct cli_offset){.topic = g->rows[i].topic,
                                       .partition = g->rows[i].partition,
                                       .timestamp = reset->time_ms,
                                       .offset = -1};
    if (reset->kind == CLI_RESET_DATETIME)
        cli_offsets_fetch(c, arena, found, g->count, true);
}

static int make_plan(struct cli_client *c, struct kb_arena *arena, const struct reset *reset,
                     struct plan *p)
{
    struct cli_offset *found = kb_new_array(struct cli_offset, p->group.count);
    int r = CLI_OK;
    cli_group_ends(c, arena, &p->group, true);
    find_times(c, arena, reset, &p->group, found);
    p->targets = kb_new_array(int64_t, p->group.count);
    p->errors = kb_new_array(int16_t, p->group.count);
    for (size_t i = 0; i < p->group.count; i++) {
        const struct cli_group_row *row = &p->group.rows[i];
        p->targets[i] = found[i].result == 0
                            ? cli_reset_target(reset->kind, reset->argument, found[i].offset, row)
                            : -1;
        if (p->targets[i] >= 0)
            continue;
        if (row->log_end < 0 || found[i].result != 0)
            cli_error("%.*s-%d: its leader does not answer, so its bounds are unknown "
                      "(LEADER_NOT_AVAILABLE)",
                      CLI_STR(row->topic), row->partition);
        else
            cli_error("%.*s-%d: nothing is committed to shift from", CLI_STR(row->topic),
                      row->partition);
        r = CLI_FAILED;
    }
    (void)kb_free(found);
    return r;
}

static void print_plan(const struct cli_args *args, const struct plan *p, bool applied)
{
    static const char *const columns[] = {"TOPIC", ">PARTITION", ">FROM", ">TO", "STATUS", NULL};
    struct libscols_table *t = cli_table_new(args, columns);
    json_t *list = json_array();
    for (size_t i = 0; i < p->group.count; i++) {
        const struct cli_group_row *row = &p->group.rows[i];
        const char *status = p->targets[i] < 0         ? "not possible"
                             : !applied                ? "planned"
                             : p->errors[i] == KW_NONE ? "done"
                                                       : kw_error_name(p->errors[i]);
        char from[24] = "-";
        char to[24] = "-";
        if (row->committed >= 0)
            (void)snprintf(from, sizeof(from), "%" PRId64, row->committed);
        if (p->targets[i] >= 0)
            (void)snprintf(to, sizeof(to), "%" PRId64, p->targets[i]);
        cli_table_row(t, "%.*s\t%d\t%s\t%s\t%s", CLI_STR(row->topic), row->partition, from, to,
                      status);
        json_t *o = json_pack("{s:o, s:i, s:I, s:I, s:s}", "topic", cli_str_json(row->topic),
                              "partition", row->partition, "log_start", (json_int_t)row->log_start,
                              "log_end", (json_int_t)row->log_end, "status", status);
        (void)json_object_set_new(o, "from",
                                  row->committed < 0 ? json_null() : json_integer(row->committed));
        (void)json_object_set_new(o, "to",
                                  p->targets[i] < 0 ? json_null() : json_integer(p->targets[i]));
        (void)json_array_append_new(list, o);
    }
    if (args->json) {
        cli_json_print(args, json_pack("{s:s, s:b, s:O}", "group", p->group.name, "applied",
                                       applied, "partitions", list));
        cli_table_free(t);
    } else {
        cli_table_print(t);
    }
    json_decref(list);
}

/* ---- carrying it out --------------------------------------------------------------------------
 */

static struct kw_offset_commit_request *make_commit(struct kb_arena *arena, const struct plan *p)
{
    struct kw_offset_commit_request *r = kb_arena_new(arena, struct kw_offset_commit_request);
    struct kw_offset_commit_request_partition *w =
        kb_arena_new_array(arena, struct kw_offset_commit_request_partition, p->group.count);
    if (r == NULL || w == NULL)
        return NULL;
    kw_offset_commit_request_init(r);
    r->group_id = kw_str_of(p->group.name);
    r->topics = kb_arena_new_array(arena, struct kw_offset_commit_request_topic, p->group.count);
    for (size_t i = 0; r->topics != NULL && i < p->group.count; i++) {
        const struct cli_group_row *row = &p->group.rows[i];
        struct kw_offset_commit_request_topic *t = &r->topics[r->topics_count - 1];
        if (r->topics_count == 0 || !kw_str_equal(t->name, row->topic)) {
            t = &r->topics[r->topics_count++];
            kw_offset_commit_request_topic_init(t);
            t->name = row->topic;
            t->partitions = &w[i];
        }
        kw_offset_commit_request_partition_init(&w[i]);
        w[i].partition_index = row->partition;
        w[i].committed_offset = p->targets[i];
        w[i].committed_metadata = KW_STR("");
        t->partitions_count++;
    }
    return r->topics != NULL ? r : NULL;
}

/* The first error, which is retried when it can be; each partition's is kept. */
static int take_commit(struct plan *p, const struct kw_offset_commit_response *got)
{
    int first = KW_NONE;
    size_t at = 0;
    for (int32_t i = 0; i < got->topics_count; i++) {
        for (int32_t k = 0; k < got->topics[i].partitions_count && at < p->group.count; k++) {
            p->errors[at] = got->topics[i].partitions[k].error_code;
            if (first == KW_NONE)
                first = p->errors[at];
            at++;
        }
    }
    return at == p->group.count ? first : KW_UNKNOWN_SERVER_ERROR;
}

static int carry_out(struct cli_client *c, struct kb_arena *arena, struct plan *p)
{
    struct cli_request r = {.api_key = KW_API_OFFSET_COMMIT, .version_cap = COMMIT_CAP};
    char what[320];
    int result = 0;
    r.request = make_commit(arena, p);
    (void)snprintf(what, sizeof(what), "cannot reset group \"%s\"", p->group.name);
    do {
        r.node_id = CLI_ANY_NODE;
        result = r.result = r.request == NULL
                                ? -ENOMEM
                                : cli_client_coordinator(c, p->group.name, &r.node_id);
        if (result != 0)
            break;
        result = cli_client_call(c, arena, &r, 1);
        if (result == 0)
            result = take_commit(p, r.response);
    } while (result != 0 && cli_retriable(result) && cli_client_pause(c));
    if (result < 0)
        return cli_client_fail(c, what, &r);
    print_plan(c->args, p, true);
    if (result == KW_UNKNOWN_MEMBER_ID || result == KW_ILLEGAL_GENERATION ||
        result == KW_REBALANCE_IN_PROGRESS) {
        cli_error("%s: a consumer has joined meanwhile (%s). Stop it first", what,
                  kw_error_name((int16_t)result));
        return CLI_FAILED;
    }
    return result == KW_NONE ? CLI_OK : cli_kafka_fail(what, (int16_t)result, kw_str_null());
}

/* A group with members owns its offsets: CLI_FAILED and why. */
static int refuse_active(const struct cli_group *g)
{
    const struct kw_describe_groups_response_group *a = g->about;
    struct kb_buf who = {0};
    if (a == NULL || (a->members_count == 0 && kw_str_is(a->group_state, "Empty")))
        return CLI_OK;
    for (int32_t i = 0; i < a->members_count && i < 5; i++)
        kb_buf_printf(&who, "%s%.*s at %.*s", i > 0 ? ", " : ": ", CLI_STR(a->members[i].client_id),
                      CLI_STR(a->members[i].client_host));
    cli_error("group \"%s\" is in use (NON_EMPTY_GROUP): state %.*s, %d member%s%.*s%s. They would "
              "overwrite the new offsets; stop them, then reset",
              g->name, CLI_STR(a->group_state), a->members_count, a->members_count == 1 ? "" : "s",
              (int)who.size, (const char *)who.data, a->members_count > 5 ? ", …" : "");
    kb_buf_release(&who);
    return CLI_FAILED;
}

static int reset_group(struct cli_client *c, struct kb_arena *arena)
{
    const struct cli_args *args = c->args;
    struct reset reset;
    struct cli_group g = {0};
    struct plan p = {.group = {.name = args->operands[0]}};
    struct choice choice = {.client = c, .arena = arena, .from = &g, .to = &p.group};
    int r = read_kind(args, &reset);
    if (r == CLI_OK)
        r = cli_group_load(c, arena, args->operands[0], &g);
    if (r == CLI_OK && g.about == NULL && args->topics_count == 0)
        r = cli_group_missing(c, arena, args->operands[0]);
    if (r == CLI_OK)
        r = refuse_active(&g);
    if (r == CLI_OK)
        r = cli_refresh_for(c, "cannot reset", NULL, 0);
    if (r == CLI_OK)
        r = choose_all(&choice, args);
    if (r == CLI_OK) {
        r = make_plan(c, arena, &reset, &p);
        if (r != CLI_OK || !args->yes)
            print_plan(args, &p, false);
        if (r == CLI_OK && !args->yes)
            (void)fprintf(stderr, "this is only the plan; --yes carries it out\n");
        else if (r == CLI_OK)
            r = carry_out(c, arena, &p);
    }
    (void)kb_free(p.targets);
    (void)kb_free(p.errors);
    cli_group_release(&p.group);
    cli_group_release(&g);
    return r;
}

int cli_group_reset(const struct cli_args *args)
{
    return cli_with_client(args, reset_group);
}
