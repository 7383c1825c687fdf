/* kvorum produce TOPIC: lines of stdin become records. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "broker/cli/partitioner.h"
#include "broker/cli/produce.h"

enum {
    READ_BYTES = 64 << 10,
    LINE_BYTES_MAX = 64 << 20,
    BUFFERED_BYTES_MAX = 32 << 20, /* of records: then stdin waits */
    LINGER_MS = 5,
    DELIVERY_MS = 30000,
    UNSENT_POLL_MS = 2,
    LAST_CALL_MS = 1000, /* after Ctrl-C: what is under way may still be acknowledged */
};

/* What stands between two lines of output. */
struct produce {
    const struct cli_args *args;
    struct cli_loop loop;
    struct cli_wire *wire;
    struct cli_producer *producer;
    size_t topic;
    struct cli_watch input;
    struct cli_timer last_call;
    struct kb_buf line; /* read, but not ended yet */
    struct kw_record_header headers[CLI_CONFIGS_MAX];
    uint64_t began_ms;
    uint64_t lines;
    bool reading; /* the topic is there */
    bool at_end;  /* of stdin */
    bool warned;
    uint64_t failed; /* records */
    int code;
};

static int64_t wall_ms(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_REALTIME, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* ---- outcomes ----------------------------------------------------------------------------------
 */

static void print_acks(struct produce *p, const struct cli_delivery *d)
{
    for (uint32_t i = 0; i < d->count; i++) {
        json_t *o = json_pack("{s:i, s:I, s:s, s:i, s:o}", "schema_version", CLI_SCHEMA_VERSION,
                              "line", (json_int_t)d->tags[i], "topic", p->args->operands[0],
                              "partition", (int)d->partition, "offset",
                              d->base_offset >= 0 ? json_integer((json_int_t)(d->base_offset + i))
                                                  : json_null());
        (void)json_dumpf(o, p->args->out, JSON_COMPACT);
        (void)fputc('\n', p->args->out);
        json_decref(o);
    }
}

static void on_delivery(void *arg, const struct cli_delivery *d)
{
    struct produce *p = arg;
    if (d->error == KW_NONE) {
        if (p->args->json)
            print_acks(p, d);
        return;
    }
    if (p->failed == 0)
        cli_produce_tell(p->args, p->wire, d);
    p->failed += d->count;
    p->code = CLI_FAILED;
}

static void on_retry(void *arg, size_t topic, int32_t partition, int16_t error)
{
    struct produce *p = arg;
    if (p->warned || error != KW_NOT_ENOUGH_REPLICAS || p->args->quiet)
        return;
    p->warned = true;
    cli_error("write to %s-%d waits for in-sync replicas (NOT_ENOUGH_REPLICAS); trying on",
              cli_wire_topic_at(p->wire, topic)->name, partition);
}

/* ---- lines -------------------------------------------------------------------------------------
 */

static int take_line(struct produce *p, const char *text, size_t size)
{
    const char *separator = p->args->key_separator;
    const struct cli_topic *t = cli_wire_topic_at(p->wire, p->topic);
    struct kw_bytes key = {0};
    struct kw_bytes value = kw_bytes_of(text, size);
    const char *at = separator != NULL ? memmem(text, size, separator, strlen(separator)) : NULL;
    int32_t partition = (int32_t)p->args->partition;
    if (at != NULL) {
        size_t key_size = (size_t)(at - text);
        key = kw_bytes_of(text, key_size);
        value = kw_bytes_of(at + strlen(separator), size - key_size - strlen(separator));
    }
    if (partition < 0)
        partition = key.data != NULL
                        ? cli_key_partition(key.data, (size_t)key.size, t->partitions_count)
                        : cli_producer_pick(p->producer, p->topic, t->partitions_count);
    p->lines++;
    int r = cli_producer_add(p->producer, p->topic, partition, wall_ms(), key, value, p->headers,
                             (int32_t)p->args->headers_count, p->lines);
    if (r < 0)
        cli_error("line %" PRIu64 " is too long for a record", p->lines);
    return r;
}

static void end_input(struct produce *p)
{
    cli_watch_remove(&p->loop, &p->input);
    p->at_end = true;
    cli_producer_flush(p->producer);
}

static void fail_input(struct produce *p, int code)
{
    p->code = code;
    end_input(p);
}

static void take_lines(struct produce *p)
{
    size_t used = 0;
    const char *text = (const char *)p->line.data;
    while (used < p->line.size) {
        const char *end = memchr(text + used, '\n', p->line.size - used);
        if (end == NULL)
            break;
        if (take_line(p, text + used, (size_t)(end - text) - used) < 0) {
            fail_input(p, CLI_FAILED);
            return;
        }
        used = (size_t)(end - text) + 1;
    }
    if (used > 0) {
        memmove(p->line.data, p->line.data + used, p->line.size - used);
        p->line.size -= used;
    }
    if (p->line.size > LINE_BYTES_MAX) {
        cli_error("line %" PRIu64 " is longer than %d MB", p->lines + 1, LINE_BYTES_MAX >> 20);
        fail_input(p, CLI_FAILED);
    }
}

static void on_input(void *arg, short revents)
{
    struct produce *p = arg;
    (void)revents;
    kb_buf_reserve(&p->line, READ_BYTES);
    ssize_t n = read(STDIN_FILENO, p->line.data + p->line.size, READ_BYTES);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n < 0) {
        cli_error("cannot read the records from stdin: %s", strerror(errno));
        fail_input(p, CLI_FAILED);
        return;
    }
    p->line.size += (size_t)n;
    if (n > 0) {
        take_lines(p);
    } else {
        if (p->line.size > 0 && take_line(p, (const char *)p->line.data, p->line.size) < 0)
            p->code = CLI_FAILED;
        end_input(p);
    }
    if (cli_producer_bytes(p->producer) > BUFFERED_BYTES_MAX)
        cli_watch_remove(&p->loop, &p->input);
    cli_wire_poke(p->wire);
}

/* ---- the course of things ----------------------------------------------------------------------
 */

/* Is the topic there? Reading begins when it is. */
static void begin(struct produce *p)
{
    const struct cli_topic *t = cli_wire_topic_at(p->wire, p->topic);
    int code = cli_topic_wait(p->args, p->wire, p->topic, p->began_ms);
    if (code < 0)
        return;
    if (code == CLI_OK && p->args->partition >= t->partitions_count) {
        cli_error("topic \"%s\" has %d partitions, 0 to %d: there is no partition %" PRId64
                  " (UNKNOWN_TOPIC_OR_PARTITION)",
                  t->name, t->partitions_count, t->partitions_count - 1, p->args->partition);
        code = CLI_NOT_FOUND;
    }
    if (code != CLI_OK) {
        p->code = code;
        p->loop.stop = true;
        return;
    }
    p->reading = true;
    cli_watch_add(&p->loop, &p->input);
}

static void on_change(void *arg)
{
    struct produce *p = arg;
    if (!p->reading) {
        begin(p);
        return;
    }
    cli_producer_pump(p->producer);
    if (!p->at_end && cli_producer_bytes(p->producer) <= BUFFERED_BYTES_MAX / 2)
        cli_watch_add(&p->loop, &p->input);
    if (p->at_end && cli_producer_pending(p->producer) == 0) {
        /* With acks=0 the bytes are still ours until the kernel has them. */
        p->loop.stop = cli_wire_unsent_all(p->wire) == 0;
        cli_wire_poke_in(p->wire, UNSENT_POLL_MS);
    }
    if (p->args->json)
        (void)fflush(p->args->out);
}

static void on_last_call(void *arg)
{
    struct produce *p = arg;
    size_t open = cli_producer_pending(p->producer);
    if (open > 0)
        cli_error("interrupted: %zu records are not acknowledged; they may have been written",
                  open);
    p->loop.stop = true;
}

static void on_signal(void *arg, int number)
{
    struct produce *p = arg;
    (void)number;
    bool again = p->loop.interrupted;
    p->loop.interrupted = true;
    if (!p->at_end)
        end_input(p);
    if (again || cli_producer_pending(p->producer) == 0)
        on_last_call(p);
    else
        cli_timer_arm(&p->loop, &p->last_call, LAST_CALL_MS);
}

static int take_options(struct produce *p, struct cli_producer_options *o)
{
    const struct cli_args *args = p->args;
    o->acks = (int16_t)args->acks;
    o->idempotent = args->acks == -1;
    o->codec = args->codec != NULL ? kw_codec_parse(args->codec) : KW_CODEC_NONE;
    o->linger_ms = LINGER_MS;
    o->delivery_timeout_ms = CLI_GIVEN(args, TIMEOUT) ? (uint32_t)args->timeout_ms : DELIVERY_MS;
    if (o->codec < 0) {
        cli_error("--codec: \"%s\" is not none, gzip, snappy, lz4 or zstd", args->codec);
        return CLI_USAGE;
    }
    for (size_t i = 0; i < args->headers_count; i++) {
        const char *equals = strchr(args->headers[i], '=');
        size_t size = (size_t)(equals - args->headers[i]);
        p->headers[i].key = (struct kw_str){args->headers[i], (int32_t)size};
        p->headers[i].value = kw_bytes_of(equals + 1, strlen(equals + 1));
    }
    return CLI_OK;
}

static void start(struct produce *p, struct cli_producer_options *o)
{
    static const int signals[] = {SIGINT, SIGTERM, 0};
    const struct cli_wire_options wo = {.loop = &p->loop,
                                        .bootstrap = p->args->bootstrap,
                                        .connect_timeout_ms = CLI_NODE_TIMEOUT_MS,
                                        .auto_create = true,
                                        .on_change = on_change,
                                        .arg = p};
    p->wire = cli_wire_new(&wo);
    if (p->wire == NULL) {
        p->code = CLI_USAGE;
        return;
    }
    cli_loop_signals(&p->loop, signals);
    o->loop = &p->loop;
    o->wire = p->wire;
    o->on_delivery = on_delivery;
    o->on_retry = on_retry;
    o->arg = p;
    p->producer = cli_producer_new(o);
    p->topic = cli_wire_topic(p->wire, p->args->operands[0]);
    cli_loop_run(&p->loop);
}

int cli_produce(const struct cli_args *args)
{
    struct produce p = {.args = args, .began_ms = cli_now_ms()};
    struct cli_producer_options o = {0};
    int code = take_options(&p, &o);
    if (code != CLI_OK)
        return code;
    cli_loop_init(&p.loop);
    p.loop.on_signal = on_signal;
    p.loop.arg = &p;
    p.input = (struct cli_watch){.fd = STDIN_FILENO, .events = POLLIN, .fn = on_input, .arg = &p};
    p.last_call = (struct cli_timer){.fn = on_last_call, .arg = &p};
    start(&p, &o);
    if (p.failed > 1)
        cli_error("%" PRIu64 " records were not acknowledged", p.failed);
    code = p.loop.interrupted ? CLI_INTERRUPTED : p.code;
    p.failed = 0;
    (void)cli_wire_free(p.wire);
    (void)cli_producer_free(p.producer);
    cli_loop_release(&p.loop);
    kb_buf_release(&p.line);
    return code;
}
