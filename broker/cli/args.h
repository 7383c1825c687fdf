#ifndef CLI_ARGS_H
#define CLI_ARGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "broker/cli/cli.h"

/* The command line: one table of options for all commands (args.c); each command takes some of
 * them. A new option is a name here, a row in args.c and a member of cli_args. */

enum {
    CLI_CONFIGS_MAX = 64,
    CLI_OPERANDS_MAX = 64,
};

enum cli_option {
    /* Taken by every command. */
    CLI_OPT_OUTPUT,
    CLI_OPT_NO_HEADERS,
    CLI_OPT_NO_COLOR,
    CLI_OPT_HELP,
    /* Taken by the commands that talk to a cluster: CLI_ONLINE. */
    CLI_OPT_BOOTSTRAP,
    CLI_OPT_TIMEOUT,
    CLI_OPT_QUIET,
    CLI_OPT_LOCAL,
    CLI_OPT_WATCH,
    CLI_OPT_WAIT,
    CLI_OPT_YES,
    CLI_OPT_PARTITIONS,
    CLI_OPT_REPLICATION,
    CLI_OPT_CONFIG,
    CLI_OPT_IF_NOT_EXISTS,
    CLI_OPT_IF_EXISTS,
    CLI_OPT_INTERNAL,
    CLI_OPT_UNDER_REPLICATED,
    CLI_OPT_UNAVAILABLE,
    CLI_OPT_UNDER_MIN_ISR,
    CLI_OPT_AT_MIN_ISR,
    CLI_OPT_TOPIC,
    CLI_OPT_TO_EARLIEST,
    CLI_OPT_TO_LATEST,
    CLI_OPT_TO_OFFSET,
    CLI_OPT_TO_DATETIME,
    CLI_OPT_SHIFT_BY,
    CLI_OPT_UNCLEAN,
    CLI_OPT_DEEP,
    CLI_OPT_VERIFY,
    /* produce, consume, demo */
    CLI_OPT_PARTITION,
    CLI_OPT_OFFSET,
    CLI_OPT_COUNT,
    CLI_OPT_EXIT,
    CLI_OPT_FORMAT,
    CLI_OPT_KEY_SEPARATOR,
    CLI_OPT_ACKS,
    CLI_OPT_INTO,
    CLI_OPT_CODEC,
    CLI_OPT_HEADER,
    CLI_OPT_FROM_TIMESTAMP,
    CLI_OPT_GROUP,
    CLI_OPT_SCRIPT,
    CLI_OPT_ROUNDS,
    CLI_OPT_MAX_FAILOVER,
    CLI_OPT_KEEP,
    CLI_OPT_COUNT_,
};
_Static_assert(CLI_OPT_COUNT_ <= 64, "options are bits of a word");
#define CLI_BIT(option) (UINT64_C(1) << CLI_OPT_##option)
#define CLI_ALWAYS (CLI_BIT(OUTPUT) | CLI_BIT(NO_HEADERS) | CLI_BIT(NO_COLOR) | CLI_BIT(HELP))
#define CLI_ONLINE (CLI_BIT(BOOTSTRAP) | CLI_BIT(TIMEOUT))

struct cli_args {
    uint64_t given;  /* CLI_BIT of each option on the command line */
    FILE *out;       /* data goes here: stdout, or a buffer while watching */
    bool color;      /* out is a terminal that wants it */
    bool json;       /* json or jsonl */
    bool json_lines; /* one object a line */
    bool no_headers;
    bool no_color;
    bool help;
    const char *bootstrap;
    int64_t timeout_ms; /* of the whole command */
    bool quiet;
    bool local;
    bool watch;
    bool wait;
    bool yes;
    int64_t partitions;  /* -1 = the broker's default */
    int64_t replication; /* -1 = the broker's default */
    bool if_not_exists;
    bool if_exists;
    bool internal;
    bool under_replicated;
    bool unavailable;
    bool under_min_isr;
    bool at_min_isr;
    bool to_earliest;
    bool to_latest;
    int64_t to_offset;
    const char *to_datetime;
    int64_t shift_by;
    bool unclean;
    bool deep;
    bool verify;
    int64_t partition; /* -1 = not given */
    int64_t offset;    /* -2 beginning, -1 end */
    int64_t last;      /* instead of an offset: that many records before the end; 0 = not given */
    int64_t count;     /* -1 = no limit */
    bool stop_at_end;
    const char *format;
    const char *key_separator;
    int64_t acks;
    const char *codec;
    const char *headers[CLI_CONFIGS_MAX]; /* NAME=VALUE */
    size_t headers_count;
    const char *from_timestamp;
    const char *group;
    const char *script;
    int64_t rounds;
    int64_t max_failover_ms;
    const char *keep;
    const char *configs[CLI_CONFIGS_MAX]; /* NAME=VALUE */
    size_t configs_count;
    const char *topics[CLI_OPERANDS_MAX]; /* --topic, may be repeated */
    size_t topics_count;
    const char *operands[CLI_OPERANDS_MAX];
    size_t operands_count;
    char local_address[288]; /* where bootstrap points when the environment told the local broker */
};
#define CLI_GIVEN(args, option) (((args)->given & CLI_BIT(option)) != 0)

struct cli_command {
    const char *noun;
    const char *verb;  /* NULL: the noun is the command */
    const char *alias; /* of the verb; may be NULL */
    int (*run)(const struct cli_args *args);
    uint64_t options;     /* besides CLI_ALWAYS */
    const char *operands; /* for people */
    size_t operands_min;
    size_t operands_max;
    const char *doc;
};

/* Read options and operands of argv[1..]. CLI_OK, or CLI_USAGE with the reason on stderr. */
int cli_args_parse(const struct cli_command *command, int argc, char *const *argv,
                   struct cli_args *ret);
void cli_args_help(const struct cli_command *command, FILE *out);
/* "5s", "500ms", "2m", "5" (seconds). */
bool cli_parse_millis(const char *text, int64_t *ret);
/* A whole decimal number within these bounds. */
bool cli_parse_number(const char *text, int64_t min, int64_t max, int64_t *ret);
/* The command that the words name; NULL when there is none. *ret_words: how many words name it. */
const struct cli_command *cli_command_find(int argc, char *const *argv, int *ret_words);
/* "kvorum: …" on stderr, with a newline. */
void cli_error(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* The most similar of the words that are offered, for "did you mean". Zero-initialise but word. */
struct cli_nearest {
    const char *word;
    const char *best; /* NULL: none was similar */
    size_t distance;
};
void cli_nearest_offer(struct cli_nearest *n, const char *candidate);
/* " Did you mean \"best\"?", or "". Valid until the next call. */
const char *cli_nearest_text(const struct cli_nearest *n);

/* ---- local.c: the broker beside this command ---------------------------------------------------
 */

/* The address of the first client listener with a fixed port, as a broker started with these values
 * of KAFKA_LISTENERS, KAFKA_ADVERTISED_LISTENERS and KAFKA_CONTROLLER_LISTENER_NAMES has it, each
 * of them may be NULL; 127.0.0.1 for one on all addresses. False: they name none. */
bool cli_local_address(const char *listeners, const char *advertised, const char *controllers,
                       char *ret, size_t ret_size);

#endif
