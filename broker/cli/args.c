/* The command line: one table of options for all commands; each command names those it takes. */
#include <getopt.h>
#include <stdarg.h>
#include <stdlib.h>

#include "broker/cli/internal.h"

static const struct {
    char letter;
    const char *name;
    const char *value; /* NULL: a switch */
    const char *doc;
} options[] = {
    {'b', "bootstrap-server", "LIST", "brokers to begin with (KVORUM_BOOTSTRAP, localhost:9092)"},
    {'o', "output", "table|json", "how to print"},
    {'h', "help", NULL, "print this page"},
    {'q', "quiet", NULL, "print nothing, only the exit code counts"},
    {'L', "local", NULL, "only the first broker of the list"},
    {'p', "partitions", "N", "number of partitions"},
    {'r', "replication-factor", "N", "number of replicas"},
    {'c', "config", "NAME=VALUE", "a configuration of the topic; may be repeated"},
    {'I', "if-not-exists", NULL, "an existing topic is no error"},
    {'U', "under-replicated", NULL, "only partitions with replicas out of the ISR"},
    {'A', "unavailable", NULL, "only partitions without a leader"},
    {'P', "partition", "N", "only this partition"},
    {'O', "offset", "beginning|end|N", "where to begin"},
    {'n', "count", "N", "stop after that many records"},
    {'e', "exit", NULL, "stop at the end of the partitions"},
    {'f', "format", "TEXT", "%t topic, %p partition, %o offset, %k key, %v value, %d time, %h"},
    {'K', "key-separator", "TEXT", "lines are KEY, this text, VALUE"},
    {'a', "acks", "-1|0|1", "who must have a record before it counts"},
};
#define OPTIONS (sizeof(options) / sizeof(options[0]))

void cli_error(const char *format, ...)
{
    va_list list;
    va_start(list, format);
    (void)fputs("kvorum: ", stderr);
    (void)vfprintf(stderr, format, list);
    (void)fputc('\n', stderr);
    va_end(list);
}

static bool takes(const struct cli_command *command, char letter)
{
    return strchr("boh", letter) != NULL || strchr(command->options, letter) != NULL;
}

static bool parse_number(const char *text, int64_t min, int64_t max, int64_t *ret)
{
    char *end = NULL;
    long long v = strtoll(text, &end, 10);
    if (end == text || *end != '\0' || v < min || v > max)
        return false;
    *ret = v;
    return true;
}

static bool take_number(struct cli_args *a, char letter, const char *text)
{
    int64_t v = 0;
    int64_t min = letter == 'a' ? -1 : letter == 'P' || letter == 'O' ? 0 : 1;
    int64_t max = letter == 'a' ? 1 : letter == 'r' ? INT16_MAX : INT32_MAX;
    if (!parse_number(text, min, letter == 'O' || letter == 'n' ? INT64_MAX : max, &v))
        return false;
    switch (letter) {
    case 'p':
        a->partitions = (int32_t)v;
        break;
    case 'r':
        a->replication = (int32_t)v;
        break;
    case 'P':
        a->partition = (int32_t)v;
        break;
    case 'O':
        a->offset = v;
        break;
    case 'n':
        a->count = v;
        break;
    default:
        a->acks = (int32_t)v;
    }
    return true;
}

static bool take_text(struct cli_args *a, char letter, const char *text)
{
    switch (letter) {
    case 'b':
        a->bootstrap = text;
        return true;
    case 'o':
        a->json = strcmp(text, "json") == 0;
        return a->json || strcmp(text, "table") == 0;
    case 'c':
        if (strchr(text, '=') == NULL || a->configs_count == CLI_CONFIGS_MAX)
            return false;
        a->configs[a->configs_count++] = text;
        return true;
    case 'f':
        a->format = text;
        return true;
    case 'K':
        a->key_separator = text;
        return *text != '\0';
    case 'O':
        a->offset = strcmp(text, "end") == 0 ? -1 : -2;
        return strcmp(text, "end") == 0 || strcmp(text, "beginning") == 0 ||
               take_number(a, letter, text);
    default:
        return take_number(a, letter, text);
    }
}

static void take_switch(struct cli_args *a, char letter)
{
    a->help |= letter == 'h';
    a->quiet |= letter == 'q';
    a->local |= letter == 'L';
    a->if_not_exists |= letter == 'I';
    a->under_replicated |= letter == 'U';
    a->unavailable |= letter == 'A';
    a->stop_at_end |= letter == 'e';
}

static int usage(const struct cli_command *command)
{
    const char *verb = command->verb;
    cli_error("see: kvorum %s%s%s --help", command->noun, verb != NULL ? " " : "",
              verb != NULL ? verb : "");
    return CLI_USAGE;
}

static int parse_options(const struct cli_command *command, int argc, char *const *argv,
                         struct cli_args *a)
{
    struct option longs[OPTIONS + 1] = {0};
    char shorts[2 * OPTIONS + 2] = ":";
    size_t at = 1;
    int letter = 0;
    for (size_t i = 0, k = 0; i < OPTIONS; i++) {
        if (!takes(command, options[i].letter))
            continue;
        longs[k++] = (struct option){options[i].name, options[i].value != NULL, NULL,
                                     options[i].letter};
        shorts[at++] = options[i].letter;
        if (options[i].value != NULL)
            shorts[at++] = ':';
    }
    optind = 0; /* start anew */
    while ((letter = getopt_long(argc, argv, shorts, longs, NULL)) != -1) {
        if (letter == '?' || letter == ':') {
            cli_error("%s: %s", argv[optind - 1],
                      letter == ':' ? "a value is missing" : "no such option here");
            return usage(command);
        }
        if (optarg == NULL || strchr("hqLIUAe", letter) != NULL) {
            take_switch(a, (char)letter);
        } else if (!take_text(a, (char)letter, optarg)) {
            cli_error("-%c: \"%s\" is not a value for it", letter, optarg);
            return usage(command);
        }
    }
    return CLI_OK;
}

int cli_args_parse(const struct cli_command *command, int argc, char *const *argv,
                   struct cli_args *ret)
{
    struct cli_args a = {.partitions = -1,
                         .replication = -1,
                         .partition = -1,
                         .offset = -2,
                         .count = -1,
                         .acks = -1,
                         .bootstrap = getenv("KVORUM_BOOTSTRAP")};
    int r = parse_options(command, argc, argv, &a);
    if (r != CLI_OK)
        return r;
    for (int i = optind; i < argc; i++) {
        if (a.operands_count == CLI_OPERANDS_MAX)
            return usage(command);
        a.operands[a.operands_count++] = argv[i];
    }
    if (!a.help &&
        (a.operands_count < command->operands_min || a.operands_count > command->operands_max)) {
        cli_error("%s operand %s", a.operands_count < command->operands_min ? "missing" : "unknown",
                  a.operands_count > command->operands_max ? argv[argc - 1] : "");
        return usage(command);
    }
    if (a.bootstrap == NULL || *a.bootstrap == '\0')
        a.bootstrap = "localhost:9092";
    *ret = a;
    return CLI_OK;
}

void cli_args_help(const struct cli_command *command, FILE *out)
{
    (void)fprintf(out, "usage: kvorum %s%s%s [OPTION…] %s\n%s\n\n", command->noun,
                  command->verb != NULL ? " " : "", command->verb != NULL ? command->verb : "",
                  command->operands, command->doc);
    for (size_t i = 0; i < OPTIONS; i++) {
        char name[64];
        if (!takes(command, options[i].letter))
            continue;
        (void)snprintf(name, sizeof(name), "%s%s%s", options[i].name,
                       options[i].value != NULL ? " " : "",
                       options[i].value != NULL ? options[i].value : "");
        (void)fprintf(out, "  -%c, --%-28s %s\n", options[i].letter, name, options[i].doc);
    }
}
