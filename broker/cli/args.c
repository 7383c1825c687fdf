/* The command line: one table of options for all commands; each command names those it takes. */
#include "broker/cli/args.h"

#include <getopt.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { TIMEOUT_MS = 5000, NEAREST_BYTES_MAX = 63, LONGS_AT = 256 };

enum option_kind {
    SWITCH,
    TEXT,
    NUMBER, /* within min and max */
    MILLIS,
    OUTPUT,
    OFFSET,  /* beginning, end, a number, or -N: the last N */
    ACKS,    /* all, or a number */
    CONFIGS, /* NAME=VALUE, repeated */
    HEADERS, /* the same */
    TOPICS,  /* text, repeated */
};

#define AT(member) offsetof(struct cli_args, member)
static const struct {
    char letter; /* 0: only the long name. The same letter may mean another thing elsewhere. */
    const char *name;
    const char *value; /* NULL: a switch */
    enum option_kind kind;
    size_t at; /* in cli_args */
    int64_t min;
    int64_t max;
    const char *doc;
} options[CLI_OPT_COUNT_] = {
    [CLI_OPT_OUTPUT] = {'o', "output", "table|json|jsonl", OUTPUT, 0, 0, 0, "how to print"},
    [CLI_OPT_NO_HEADERS] = {0, "no-headers", NULL, SWITCH, AT(no_headers), 0, 0,
                            "tables without their first line"},
    [CLI_OPT_NO_COLOR] = {0, "no-color", NULL, SWITCH, AT(no_color), 0, 0,
                          "no colours on a terminal either (NO_COLOR)"},
    [CLI_OPT_HELP] = {'h', "help", NULL, SWITCH, AT(help), 0, 0, "print this page"},
    [CLI_OPT_BOOTSTRAP] = {'b', "bootstrap-server", "LIST", TEXT, AT(bootstrap), 0, 0,
                           "brokers to begin with (KVORUM_BOOTSTRAP, localhost:9092)"},
    [CLI_OPT_TIMEOUT] = {0, "timeout", "TIME", MILLIS, AT(timeout_ms), 0, 0,
                         "give up after that time: 5s, 500ms, 2m (5s)"},
    [CLI_OPT_QUIET] = {'q', "quiet", NULL, SWITCH, AT(quiet), 0, 0,
                       "print nothing, only the exit code counts"},
    [CLI_OPT_LOCAL] = {'L', "local", NULL, SWITCH, AT(local), 0, 0,
                       "only the broker here (KAFKA_LISTENERS), or the first of the list"},
    [CLI_OPT_WATCH] = {'w', "watch", NULL, SWITCH, AT(watch), 0, 0,
                       "again and again; not on a terminal: each time something changed"},
    [CLI_OPT_WAIT] = {0, "wait", NULL, SWITCH, AT(wait), 0, 0,
                      "until all is well, or the time is over"},
    [CLI_OPT_YES] = {'y', "yes", NULL, SWITCH, AT(yes), 0, 0, "do it without asking"},
    [CLI_OPT_PARTITIONS] = {'p', "partitions", "N", NUMBER, AT(partitions), 1, INT32_MAX,
                            "number of partitions"},
    [CLI_OPT_REPLICATION] = {'r', "replication-factor", "N", NUMBER, AT(replication), 1, INT16_MAX,
                             "number of replicas"},
    [CLI_OPT_CONFIG] = {'c', "config", "NAME=VALUE", CONFIGS, 0, 0, 0,
                        "a configuration of the topic; may be repeated"},
    [CLI_OPT_IF_NOT_EXISTS] = {0, "if-not-exists", NULL, SWITCH, AT(if_not_exists), 0, 0,
                               "an existing topic is no error"},
    [CLI_OPT_IF_EXISTS] = {0, "if-exists", NULL, SWITCH, AT(if_exists), 0, 0,
                           "what does not exist is no error"},
    [CLI_OPT_INTERNAL] = {'i', "internal", NULL, SWITCH, AT(internal), 0, 0, "internal topics too"},
    [CLI_OPT_UNDER_REPLICATED] = {0, "under-replicated", NULL, SWITCH, AT(under_replicated), 0, 0,
                                  "only partitions with replicas out of the ISR"},
    [CLI_OPT_UNAVAILABLE] = {0, "unavailable", NULL, SWITCH, AT(unavailable), 0, 0,
                             "only partitions without a leader"},
    [CLI_OPT_UNDER_MIN_ISR] = {0, "under-min-isr", NULL, SWITCH, AT(under_min_isr), 0, 0,
                               "only partitions whose ISR is too small for acks=all"},
    [CLI_OPT_AT_MIN_ISR] = {0, "at-min-isr", NULL, SWITCH, AT(at_min_isr), 0, 0,
                            "only partitions that can lose no more of their ISR"},
    [CLI_OPT_TOPIC] = {0, "topic", "T[:P,…]", TOPICS, 0, 0, 0,
                       "only this topic, or these partitions of it; may be repeated"},
    [CLI_OPT_TO_EARLIEST] = {0, "to-earliest", NULL, SWITCH, AT(to_earliest), 0, 0,
                             "to the first record there is"},
    [CLI_OPT_TO_LATEST] = {0, "to-latest", NULL, SWITCH, AT(to_latest), 0, 0,
                           "to the end: only records to come"},
    [CLI_OPT_TO_OFFSET] = {0, "to-offset", "N", NUMBER, AT(to_offset), 0, INT64_MAX,
                           "to this offset"},
    [CLI_OPT_TO_DATETIME] = {0, "to-datetime", "TIME", TEXT, AT(to_datetime), 0, 0,
                             "to the first record of 2026-01-31T12:00:00[.123][Z|+01:00] or later"},
    [CLI_OPT_SHIFT_BY] = {0, "shift-by", "N", NUMBER, AT(shift_by), INT64_MIN, INT64_MAX,
                          "that many records on, or back when negative"},
    [CLI_OPT_UNCLEAN] = {0, "unclean", NULL, SWITCH, AT(unclean), 0, 0,
                         "let a replica lead that may lack acknowledged records"},
    [CLI_OPT_DEEP] = {0, "deep", NULL, SWITCH, AT(deep), 0, 0, "each record, not only batches"},
    [CLI_OPT_VERIFY] = {0, "verify", NULL, SWITCH, AT(verify), 0, 0,
                        "print only what is wrong; exit code 1 if anything is"},
    [CLI_OPT_PARTITION] = {'P', "partition", "N", NUMBER, AT(partition), 0, INT32_MAX,
                           "only this partition"},
    [CLI_OPT_OFFSET] = {'O', "offset", "beginning|end|N|-N", OFFSET, AT(offset), 0, INT64_MAX,
                        "where to begin; -N: N records before the end"},
    [CLI_OPT_COUNT] = {'n', "count", "N", NUMBER, AT(count), 1, INT64_MAX,
                       "stop after that many records"},
    [CLI_OPT_EXIT] = {'e', "exit", NULL, SWITCH, AT(stop_at_end), 0, 0,
                      "stop at the end of the partitions"},
    [CLI_OPT_FORMAT] = {'f', "format", "TEXT", TEXT, AT(format), 0, 0,
                        "%t topic, %p partition, %o offset, %k key, %v value, %d time, %h"},
    [CLI_OPT_KEY_SEPARATOR] = {'K', "key-separator", "TEXT", TEXT, AT(key_separator), 0, 0,
                               "lines are KEY, this text, VALUE"},
    [CLI_OPT_ACKS] = {'a', "acks", "all|1|0", ACKS, AT(acks), -1, 1,
                      "who must have a record before it counts (all; others: not idempotent)"},
    [CLI_OPT_INTO] = {'p', "partition", "N", NUMBER, AT(partition), 0, INT32_MAX,
                      "into this partition"},
    [CLI_OPT_CODEC] = {0, "codec", "none|gzip|snappy|lz4|zstd", TEXT, AT(codec), 0, 0,
                       "how batches are compressed"},
    [CLI_OPT_HEADER] = {'H', "header", "NAME=VALUE", HEADERS, 0, 0, 0,
                        "a header of every record; may be repeated"},
    [CLI_OPT_FROM_TIMESTAMP] = {0, "from-timestamp", "MS|TIME", TEXT, AT(from_timestamp), 0, 0,
                                "from the first record that is not older"},
    [CLI_OPT_GROUP] = {'G', "group", "NAME", TEXT, AT(group), 0, 0,
                       "share the partitions with the group's other members, commit offsets"},
    [CLI_OPT_SCRIPT] = {0, "script", "kill-leader", TEXT, AT(script), 0, 0,
                        "no screen: do this, judge it, print what came of it"},
    [CLI_OPT_ROUNDS] = {0, "rounds", "N", NUMBER, AT(rounds), 1, 10000, "how often (3)"},
    [CLI_OPT_MAX_FAILOVER] = {0, "max-failover-ms", "N", NUMBER, AT(max_failover_ms), 1, INT32_MAX,
                              "a recovery that takes longer fails the script (500)"},
    [CLI_OPT_KEEP] = {0, "keep", "DIR", TEXT, AT(keep), 0, 0,
                      "data and logs of the nodes go there and stay"},
};

void cli_error(const char *format, ...)
{
    va_list list;
    va_start(list, format);
    (void)fputs("kvorum: ", stderr);
    (void)vfprintf(stderr, format, list);
    (void)fputc('\n', stderr);
    va_end(list);
}

/* ---- similar words ----------------------------------------------------------------------------
 */

static size_t distance_of(const char *a, const char *b)
{
    size_t n = strlen(b);
    size_t row[NEAREST_BYTES_MAX + 1];
    for (size_t k = 0; k <= n; k++)
        row[k] = k;
    for (size_t i = 0; a[i] != '\0'; i++) {
        size_t corner = row[0]; /* of the line above, one to the left */
        row[0] = i + 1;
        for (size_t k = 0; k < n; k++) {
            size_t best = corner + (a[i] != b[k]);
            corner = row[k + 1];
            if (row[k] + 1 < best)
                best = row[k] + 1;
            if (corner + 1 < best)
                best = corner + 1;
            row[k + 1] = best;
        }
    }
    return row[n];
}

void cli_nearest_offer(struct cli_nearest *n, const char *candidate)
{
    size_t size = strlen(n->word);
    if (size > NEAREST_BYTES_MAX || strlen(candidate) > NEAREST_BYTES_MAX || size == 0)
        return;
    size_t distance = distance_of(n->word, candidate);
    if (distance > 2 + size / 8 || distance >= size)
        return;
    if (n->best == NULL || distance < n->distance) {
        n->best = candidate;
        n->distance = distance;
    }
}

const char *cli_nearest_text(const struct cli_nearest *n)
{
    static char text[NEAREST_BYTES_MAX + 32];
    text[0] = '\0';
    if (n->best != NULL)
        (void)snprintf(text, sizeof(text), " Did you mean \"%s\"?", n->best);
    return text;
}

/* ---- values -----------------------------------------------------------------------------------
 */

bool cli_parse_number(const char *text, int64_t min, int64_t max, int64_t *ret)
{
    char *end = NULL;
    long long v = strtoll(text, &end, 10);
    bool written = (text[0] >= '0' && text[0] <= '9') ||
                   ((text[0] == '-' || text[0] == '+') && text[1] >= '0' && text[1] <= '9');
    /* The outermost numbers are what strtoll gives for anything that is too large. */
    if (!written || *end != '\0' || v < min || v > max || v == INT64_MAX || v == INT64_MIN)
        return false;
    *ret = v;
    return true;
}

bool cli_parse_millis(const char *text, int64_t *ret)
{
    static const struct {
        const char *unit;
        int64_t ms;
    } units[] = {{"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}, {"", 1000}};
    size_t digits = strspn(text, "0123456789");
    char number[16] = {0};
    int64_t v = 0;
    if (digits == 0 || digits > 9)
        return false;
    memcpy(number, text, digits);
    for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
        if (strcmp(text + digits, units[i].unit) == 0 &&
            cli_parse_number(number, 1, INT32_MAX, &v)) {
            *ret = v * units[i].ms;
            return true;
        }
    }
    return false;
}

static bool take_output(struct cli_args *a, const char *text)
{
    a->json_lines = strcmp(text, "jsonl") == 0;
    a->json = a->json_lines || strcmp(text, "json") == 0;
    return a->json || strcmp(text, "table") == 0;
}

static bool take_offset(struct cli_args *a, const char *text)
{
    a->offset = strcmp(text, "end") == 0 ? -1 : -2;
    a->last = 0;
    if (text[0] == '-')
        return cli_parse_number(text + 1, 1, INT64_MAX, &a->last);
    return strcmp(text, "end") == 0 || strcmp(text, "beginning") == 0 ||
           cli_parse_number(text, 0, INT64_MAX, &a->offset);
}

static bool take_pair(const char **list, size_t *count, const char *text)
{
    if (strchr(text, '=') == NULL || text[0] == '=' || *count == CLI_CONFIGS_MAX)
        return false;
    list[(*count)++] = text;
    return true;
}

static bool take(struct cli_args *a, enum cli_option o, const char *text)
{
    void *at = (char *)a + options[o].at;
    switch (options[o].kind) {
    case SWITCH:
        *(bool *)at = true;
        return true;
    case TEXT:
        *(const char **)at = text;
        return *text != '\0';
    case NUMBER:
        return cli_parse_number(text, options[o].min, options[o].max, (int64_t *)at);
    case MILLIS:
        return cli_parse_millis(text, (int64_t *)at);
    case OUTPUT:
        return take_output(a, text);
    case OFFSET:
        return take_offset(a, text);
    case ACKS:
        a->acks = -1;
        return strcmp(text, "all") == 0 || cli_parse_number(text, -1, 1, &a->acks);
    case CONFIGS:
        return take_pair(a->configs, &a->configs_count, text);
    case HEADERS:
        return take_pair(a->headers, &a->headers_count, text);
    case TOPICS:
        if (*text == '\0' || a->topics_count == CLI_OPERANDS_MAX)
            return false;
        a->topics[a->topics_count++] = text;
        return true;
    }
    return false;
}

/* ---- the whole line ---------------------------------------------------------------------------
 */

static uint64_t taken_by(const struct cli_command *command)
{
    return command->options | CLI_ALWAYS;
}

static int usage(const struct cli_command *command)
{
    const char *verb = command->verb;
    cli_error("see: kvorum %s%s%s --help", command->noun, verb != NULL ? " " : "",
              verb != NULL ? verb : "");
    return CLI_USAGE;
}

static int refuse_option(const struct cli_command *command, const char *word, bool no_value)
{
    struct cli_nearest near = {0};
    char name[64];
    (void)snprintf(name, sizeof(name), "%.*s", (int)strcspn(word, "="), word);
    near.word = name + strspn(name, "-");
    if (no_value) {
        cli_error("option %s needs a value", name);
        return usage(command);
    }
    for (size_t i = 0; i < CLI_OPT_COUNT_ && strncmp(word, "--", 2) == 0; i++) {
        if ((taken_by(command) >> i & 1) != 0)
            cli_nearest_offer(&near, options[i].name);
    }
    if (near.best != NULL)
        cli_error("no such option here: %s. Did you mean --%s?", word, near.best);
    else
        cli_error("no such option here: %s", word);
    return usage(command);
}

static int parse_options(const struct cli_command *command, int argc, char *const *argv,
                         struct cli_args *a)
{
    struct option longs[CLI_OPT_COUNT_ + 1] = {0};
    char shorts[2 * CLI_OPT_COUNT_ + 2] = ":";
    size_t at = 1;
    int got = 0;
    for (size_t i = 0, k = 0; i < CLI_OPT_COUNT_; i++) {
        if ((taken_by(command) >> i & 1) == 0)
            continue;
        longs[k++] = (struct option){options[i].name, options[i].value != NULL, NULL,
                                     LONGS_AT + (int)i};
        if (options[i].letter == 0)
            continue;
        shorts[at++] = options[i].letter;
        if (options[i].value != NULL)
            shorts[at++] = ':';
    }
    optind = 0; /* start anew */
    while ((got = getopt_long(argc, argv, shorts, longs, NULL)) != -1) {
        size_t o = got >= LONGS_AT ? (size_t)(got - LONGS_AT) : 0;
        char letter[3] = {'-', (char)optopt, '\0'};
        bool is_letter = optopt > 0 && optopt < LONGS_AT;
        if (got == '?' || got == ':')
            return refuse_option(command, is_letter ? letter : argv[optind - 1], got == ':');
        while (got < LONGS_AT && (options[o].letter != got || (taken_by(command) >> o & 1) == 0))
            o++;
        a->given |= UINT64_C(1) << o;
        if (!take(a, (enum cli_option)o, optarg)) {
            cli_error("--%s: \"%s\" is not %s", options[o].name, optarg, options[o].value);
            return usage(command);
        }
    }
    return CLI_OK;
}

int cli_args_parse(const struct cli_command *command, int argc, char *const *argv,
                   struct cli_args *ret)
{
    struct cli_args a = {.out = stdout,
                         .partitions = -1,
                         .replication = -1,
                         .partition = -1,
                         .offset = -2,
                         .count = -1,
                         .acks = -1,
                         .rounds = 3,
                         .max_failover_ms = 500,
                         .timeout_ms = TIMEOUT_MS,
                         .bootstrap = getenv("KVORUM_BOOTSTRAP")};
    const char *no_color = getenv("NO_COLOR");
    const char *term = getenv("TERM");
    int r = parse_options(command, argc, argv, &a);
    if (r != CLI_OK)
        return r;
    for (int i = optind; i < argc; i++) {
        if (a.operands_count == CLI_OPERANDS_MAX) {
            cli_error("more than %d operands", CLI_OPERANDS_MAX);
            return usage(command);
        }
        a.operands[a.operands_count++] = argv[i];
    }
    if (!a.help && a.operands_count < command->operands_min) {
        cli_error("something is missing: kvorum %s%s%s %s", command->noun,
                  command->verb != NULL ? " " : "", command->verb != NULL ? command->verb : "",
                  command->operands);
        return usage(command);
    }
    if (!a.help && a.operands_count > command->operands_max) {
        cli_error("one word too many: %s", a.operands[command->operands_max]);
        return usage(command);
    }
    if (a.bootstrap == NULL || *a.bootstrap == '\0')
        a.bootstrap = "localhost:9092";
    a.color = isatty(STDOUT_FILENO) && !a.no_color && (no_color == NULL || *no_color == '\0') &&
              term != NULL && strcmp(term, "dumb") != 0;
    *ret = a;
    /* The broker here has its own say where it is; the list may begin with another one. */
    if (a.local && !CLI_GIVEN(&a, BOOTSTRAP) &&
        cli_local_address(getenv("KAFKA_LISTENERS"), getenv("KAFKA_ADVERTISED_LISTENERS"),
                          getenv("KAFKA_CONTROLLER_LISTENER_NAMES"), ret->local_address,
                          sizeof(ret->local_address)))
        ret->bootstrap = ret->local_address;
    return CLI_OK;
}

void cli_args_help(const struct cli_command *command, FILE *out)
{
    (void)fprintf(out, "usage: kvorum %s%s%s [OPTION…] %s\n%s\n\n", command->noun,
                  command->verb != NULL ? " " : "", command->verb != NULL ? command->verb : "",
                  command->operands, command->doc);
    for (size_t i = 0; i < CLI_OPT_COUNT_; i++) {
        char name[64];
        char letter[5] = "    ";
        if ((taken_by(command) >> i & 1) == 0)
            continue;
        if (options[i].letter != 0)
            (void)snprintf(letter, sizeof(letter), "-%c, ", options[i].letter);
        (void)snprintf(name, sizeof(name), "%s%s%s", options[i].name,
                       options[i].value != NULL ? " " : "",
                       options[i].value != NULL ? options[i].value : "");
        (void)fprintf(out, "  %s--%-28s %s\n", letter, name, options[i].doc);
    }
}
