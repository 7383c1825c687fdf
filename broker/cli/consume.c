/* kvorum consume TOPIC…: prints records, alone or as a member of a group. */
#include <signal.h>
#include <stdlib.h>

#include "broker/cli/format.h"
#include "broker/cli/group.h"
#include "broker/cli/consume_group.h"
#include "broker/cli/produce.h"

enum { OUT_BYTES = 256 << 10 };

struct consume {
    const struct cli_args *args;
    struct cli_loop loop;
    struct cli_wire *wire;
    struct cli_consumer *consumer;
    struct cli_membership *group; /* NULL without -G */
    struct cli_format *format;
    struct cli_start start;
    size_t topics[CLI_OPERANDS_MAX];
    uint64_t began_ms;
    int64_t left; /* records to print; -1 = no limit */
    size_t failed;
    bool begun; /* the topics are there */
    bool ending;
    int code;
};

/* ---- records -----------------------------------------------------------------------------------
 */

static bool on_record(void *arg, const struct cli_consumed *r)
{
    struct consume *c = arg;
    const char *topic = cli_wire_topic_at(c->wire, r->topic)->name;
    if (c->args->json)
        cli_record_json_print(topic, r->partition, r->record, c->args->out);
    else
        cli_format_print(c->format, topic, r->partition, r->record, c->args->out);
    if (c->left > 0)
        c->left--;
    return c->left != 0;
}

static void on_error(void *arg, size_t topic, int32_t partition, int16_t error, const char *text)
{
    struct consume *c = arg;
    cli_error("cannot read %s-%d: %s (%s)", cli_wire_topic_at(c->wire, topic)->name, partition,
              text, kw_error_name(error));
    c->failed++;
    c->code = CLI_FAILED;
}

static void on_gap(void *arg, size_t topic, int32_t partition, int64_t from, int64_t offset)
{
    struct consume *c = arg;
    cli_error("%s-%d: records %" PRId64 " to %" PRId64 " were removed before they were read",
              cli_wire_topic_at(c->wire, topic)->name, partition, from, offset - 1);
}

static void flush(void *arg)
{
    struct consume *c = arg;
    (void)fflush(c->args->out);
}

static void on_group_error(void *arg, int16_t error, const char *text)
{
    struct consume *c = arg;
    cli_error("cannot be a member of group \"%s\": %s (%s)", c->args->group, text,
              kw_error_name(error));
    c->code = CLI_FAILED;
    c->loop.stop = true;
}

static void on_assigned(void *arg, size_t count, int32_t generation)
{
    struct consume *c = arg;
    if (!c->args->quiet)
        cli_error("group \"%s\": generation %d, %zu partition%s", c->args->group, generation, count,
                  count == 1 ? "" : "s");
}

/* ---- the course of things ----------------------------------------------------------------------
 */

static void add_partitions(struct consume *c)
{
    for (size_t i = 0; i < c->args->operands_count; i++) {
        const struct cli_topic *t = cli_wire_topic_at(c->wire, c->topics[i]);
        for (int32_t p = 0; p < t->partitions_count; p++) {
            if (c->args->partition < 0 || c->args->partition == p)
                cli_consumer_add(c->consumer, c->topics[i], p, c->start);
        }
    }
}

/* Are all topics there? Reading begins when they are. */
static void begin(struct consume *c)
{
    int code = CLI_OK;
    for (size_t i = 0; i < c->args->operands_count && code == CLI_OK; i++) {
        const struct cli_topic *t = cli_wire_topic_at(c->wire, c->topics[i]);
        code = cli_topic_wait(c->args, c->wire, c->topics[i], c->began_ms);
        if (code == CLI_OK && c->args->partition >= t->partitions_count) {
            cli_error("topic \"%s\" has %d partitions, 0 to %d: there is no partition %" PRId64
                      " (UNKNOWN_TOPIC_OR_PARTITION)",
                      t->name, t->partitions_count, t->partitions_count - 1, c->args->partition);
            code = CLI_NOT_FOUND;
        }
    }
    if (code < 0)
        return;
    if (code != CLI_OK) {
        c->code = code;
        c->loop.stop = true;
        return;
    }
    c->begun = true;
    if (c->group == NULL)
        add_partitions(c);
}

static void end(struct consume *c)
{
    c->ending = true;
    if (c->group == NULL)
        c->loop.stop = true;
    else
        cli_membership_close(c->group);
}

static void on_change(void *arg)
{
    struct consume *c = arg;
    if (!c->begun)
        begin(c);
    if (!c->begun || c->loop.stop)
        return;
    if (c->group != NULL)
        cli_membership_pump(c->group);
    cli_consumer_pump(c->consumer);
    flush(c);
    if (c->group != NULL && cli_membership_is_closed(c->group)) {
        c->loop.stop = true;
        return;
    }
    bool stable = c->group == NULL || cli_membership_is_stable(c->group);
    bool at_end = stable && c->args->stop_at_end && cli_consumer_at_end(c->consumer);
    bool broken = stable && c->failed > 0 && c->failed == cli_consumer_count(c->consumer);
    if (!c->ending && (c->left == 0 || at_end || broken))
        end(c);
}

static void on_signal(void *arg, int number)
{
    struct consume *c = arg;
    (void)number;
    if (c->loop.interrupted || !c->begun)
        c->loop.stop = true; /* the second time it does not wait for the group */
    c->loop.interrupted = true;
    end(c);
}

/* ---- options -----------------------------------------------------------------------------------
 */

static int take_start(struct consume *c)
{
    const struct cli_args *args = c->args;
    if (args->from_timestamp != NULL) {
        c->start.kind = CLI_START_TIMESTAMP;
        if (!cli_parse_number(args->from_timestamp, 0, INT64_MAX, &c->start.value) &&
            !cli_parse_datetime(args->from_timestamp, &c->start.value)) {
            cli_error("--from-timestamp: \"%s\" is neither ms nor a time like "
                      "2026-01-31T12:00:00Z",
                      args->from_timestamp);
            return CLI_USAGE;
        }
    } else if (args->last > 0) {
        c->start = (struct cli_start){CLI_START_LAST, args->last};
    } else if (args->offset >= 0) {
        c->start = (struct cli_start){CLI_START_OFFSET, args->offset};
    } else {
        c->start.kind = args->offset == -1 ? CLI_START_END : CLI_START_BEGINNING;
    }
    return CLI_OK;
}

static int take_options(struct consume *c)
{
    const struct cli_args *args = c->args;
    if (args->group != NULL && args->partition >= 0) {
        cli_error("--group gives out the partitions itself: --partition does not go with it");
        return CLI_USAGE;
    }
    if (CLI_GIVEN(args, OFFSET) && args->from_timestamp != NULL) {
        cli_error("--offset and --from-timestamp exclude each other");
        return CLI_USAGE;
    }
    c->format = cli_format_new(args->format != NULL ? args->format : "%v\\n");
    return c->format == NULL ? CLI_USAGE : take_start(c);
}

static void start(struct consume *c)
{
    static const int signals[] = {SIGINT, SIGTERM, 0};
    const struct cli_wire_options wo = {.loop = &c->loop,
                                        .bootstrap = c->args->bootstrap,
                                        .connect_timeout_ms = CLI_NODE_TIMEOUT_MS,
                                        .on_change = on_change,
                                        .arg = c};
    c->wire = cli_wire_new(&wo);
    if (c->wire == NULL) {
        c->code = CLI_USAGE;
        return;
    }
    for (size_t i = 0; i < c->args->operands_count; i++)
        c->topics[i] = cli_wire_topic(c->wire, c->args->operands[i]);
    const struct cli_consumer_options co = {.loop = &c->loop,
                                            .wire = c->wire,
                                            .on_record = on_record,
                                            .on_error = on_error,
                                            .on_gap = on_gap,
                                            .arg = c};
    c->consumer = cli_consumer_new(&co);
    const struct cli_membership_options go = {.loop = &c->loop,
                                              .wire = c->wire,
                                              .consumer = c->consumer,
                                              .name = c->args->group,
                                              .topics = c->topics,
                                              .topics_count = c->args->operands_count,
                                              .start = c->start,
                                              .on_error = on_group_error,
                                              .on_assigned = on_assigned,
                                              .before_commit = flush,
                                              .arg = c};
    if (c->args->group != NULL)
        c->group = cli_membership_new(&go);
    cli_loop_signals(&c->loop, signals);
    cli_loop_run(&c->loop);
}

int cli_consume(const struct cli_args *args)
{
    struct consume c = {.args = args, .began_ms = cli_now_ms(), .left = args->count};
    int code = take_options(&c);
    if (code == CLI_OK) {
        (void)setvbuf(args->out, NULL, _IOFBF, OUT_BYTES);
        cli_loop_init(&c.loop);
        c.loop.on_signal = on_signal;
        c.loop.arg = &c;
        start(&c);
        code = c.loop.interrupted ? CLI_INTERRUPTED : c.code;
        (void)cli_wire_free(c.wire);
        (void)cli_membership_free(c.group);
        (void)cli_consumer_free(c.consumer);
        cli_loop_release(&c.loop);
    }
    (void)cli_format_free(c.format);
    return code;
}
