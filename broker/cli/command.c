/* The table of sub-commands. Help pages come from it. */
#include <locale.h>

#include "broker/cli/internal.h"

#define B(option) CLI_BIT(option)
static const struct cli_command commands[] = {
    {"status", NULL, NULL, cli_status, CLI_ONLINE | B(WATCH), "", 0, 0,
     "what all nodes believe, at one glance"},
    {"health", NULL, NULL, cli_health, CLI_ONLINE | B(LOCAL) | B(QUIET) | B(WATCH) | B(WAIT), "", 0,
     0, "exit code 0 when all is well, 10 when not, 4 when no node answers"},
    {"topic", "ls", "list", cli_topic_ls, CLI_ONLINE | B(INTERNAL), "", 0, 0, "list topics"},
    {"topic", "create", NULL, cli_topic_create,
     CLI_ONLINE | B(PARTITIONS) | B(REPLICATION) | B(CONFIG) | B(IF_NOT_EXISTS), "TOPIC…", 1,
     CLI_OPERANDS_MAX, "create topics"},
    {"topic", "describe", "info", cli_topic_describe,
     CLI_ONLINE | B(WATCH) | B(INTERNAL) | B(UNDER_REPLICATED) | B(UNAVAILABLE) | B(UNDER_MIN_ISR) |
         B(AT_MIN_ISR),
     "[TOPIC…]", 0, CLI_OPERANDS_MAX, "leaders, replicas, offsets and configs of topics"},
    {"topic", "alter", NULL, cli_topic_alter, CLI_ONLINE | B(PARTITIONS) | B(CONFIG), "TOPIC", 1, 1,
     "more partitions, other configs"},
    {"topic", "rm", "delete", cli_topic_rm, CLI_ONLINE | B(YES) | B(IF_EXISTS), "TOPIC…", 1,
     CLI_OPERANDS_MAX, "delete topics with all their records"},
    {"config", "get", "describe", cli_config_get, CLI_ONLINE, "topic NAME|broker ID [KEY…]", 2,
     CLI_OPERANDS_MAX, "configs with where they come from"},
    {"config", "set", NULL, cli_config_set, CLI_ONLINE, "topic NAME KEY=VALUE…", 3,
     CLI_OPERANDS_MAX, "change configs of a topic"},
    {"config", "unset", NULL, cli_config_unset, CLI_ONLINE, "topic NAME KEY…", 3, CLI_OPERANDS_MAX,
     "back to the default"},
    {"config", "explain", NULL, cli_config_explain, CLI_ONLINE, "KEY [topic NAME|broker ID]", 1, 3,
     "value, source, default and meaning of a config"},
    {"group", "ls", "list", cli_group_ls, CLI_ONLINE, "", 0, 0, "list consumer groups"},
    {"group", "describe", "info", cli_group_describe, CLI_ONLINE | B(WATCH), "GROUP…", 1,
     CLI_OPERANDS_MAX, "members, offsets and lag of groups"},
    {"group", "reset", NULL, cli_group_reset,
     CLI_ONLINE | B(YES) | B(TOPIC) | B(TO_EARLIEST) | B(TO_LATEST) | B(TO_OFFSET) |
         B(TO_DATETIME) | B(SHIFT_BY),
     "GROUP", 1, 1, "set the offsets of a group that nobody uses; prints the plan, --yes does it"},
    {"group", "rm", "delete", cli_group_rm, CLI_ONLINE | B(YES), "GROUP…", 1, CLI_OPERANDS_MAX,
     "delete groups with their offsets"},
    {"quorum", "status", NULL, cli_quorum_status, CLI_ONLINE | B(WATCH), "", 0, 0,
     "what each node believes about the metadata log; works without a quorum"},
    {"quorum", "replication", NULL, cli_quorum_replication, CLI_ONLINE, "", 0, 0,
     "what the leader knows of voters and observers"},
    {"leader", "elect", NULL, cli_leader_elect, CLI_ONLINE | B(UNCLEAN) | B(YES), "[TOPIC[:P,…]…]",
     0, CLI_OPERANDS_MAX, "back to the preferred leaders, or --unclean: any that is left"},
    {"log", "dump", NULL, cli_log_dump, B(DEEP) | B(VERIFY), "FILE…", 1, CLI_OPERANDS_MAX,
     "decode segments, indexes and snapshots, offline"},
    {"produce", NULL, NULL, cli_produce,
     CLI_ONLINE | B(KEY_SEPARATOR) | B(INTO) | B(ACKS) | B(CODEC) | B(HEADER) | B(QUIET), "TOPIC",
     1, 1, "write each line of stdin as a record"},
    {"consume", NULL, NULL, cli_consume,
     CLI_ONLINE | B(OFFSET) | B(FROM_TIMESTAMP) | B(COUNT) | B(EXIT) | B(PARTITION) | B(GROUP) |
         B(FORMAT) | B(QUIET),
     "TOPIC…", 1, CLI_OPERANDS_MAX, "print records, alone or as a member of a group"},
    {"demo", NULL, NULL, cli_demo, B(SCRIPT) | B(ROUNDS) | B(MAX_FAILOVER) | B(KEEP) | B(QUIET), "",
     0, 0, "three local brokers with load in this terminal, and keys to kill them"},
};
#define COMMANDS (sizeof(commands) / sizeof(commands[0]))
/* Of broker/main.c. */
static const char *const others[] = {"server", "version", "help"};

static bool word_is(const char *word, const char *name)
{
    return name != NULL && strcmp(word, name) == 0;
}

const struct cli_command *cli_command_find(int argc, char *const *argv, int *ret_words)
{
    for (size_t i = 0; i < COMMANDS; i++) {
        const struct cli_command *c = &commands[i];
        if (argc < 1 || !word_is(argv[0], c->noun))
            continue;
        if (c->verb == NULL) {
            *ret_words = 1;
            return c;
        }
        if (argc > 1 && (word_is(argv[1], c->verb) || word_is(argv[1], c->alias))) {
            *ret_words = 2;
            return c;
        }
    }
    return NULL;
}

static bool knows(const char *noun)
{
    for (size_t i = 0; i < COMMANDS; i++) {
        if (word_is(noun, commands[i].noun))
            return true;
    }
    return false;
}

static void print_command(const struct cli_command *c, FILE *out)
{
    char name[48];
    (void)snprintf(name, sizeof(name), "%s%s%s", c->noun, c->verb != NULL ? " " : "",
                   c->verb != NULL ? c->verb : "");
    (void)fprintf(out, "  %-18s %s\n", name, c->doc);
}

void cli_print_commands(FILE *out)
{
    for (size_t i = 0; i < COMMANDS; i++)
        print_command(&commands[i], out);
}

static int print_verbs(const char *noun, FILE *out, int code)
{
    (void)fprintf(out, "usage: kvorum %s VERB …\n\n", noun);
    for (size_t i = 0; i < COMMANDS; i++) {
        if (word_is(noun, commands[i].noun))
            print_command(&commands[i], out);
    }
    return code;
}

/* No such noun. */
static int refuse_noun(const char *noun)
{
    struct cli_nearest near = {.word = noun};
    for (size_t i = 0; i < COMMANDS; i++)
        cli_nearest_offer(&near, commands[i].noun);
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
        cli_nearest_offer(&near, others[i]);
    cli_error("unknown command \"%s\".%s See: kvorum help", noun, cli_nearest_text(&near));
    return CLI_USAGE;
}

/* The noun alone, or with a verb that it does not have. */
static int refuse_verb(int argc, char *const *argv)
{
    bool help = argc > 1 && (word_is(argv[1], "--help") || word_is(argv[1], "-h"));
    if (argc > 1 && !help) {
        struct cli_nearest near = {.word = argv[1]};
        for (size_t i = 0; i < COMMANDS; i++) {
            if (word_is(argv[0], commands[i].noun))
                cli_nearest_offer(&near, commands[i].verb);
        }
        cli_error("unknown command \"%s %s\".%s", argv[0], argv[1], cli_nearest_text(&near));
    }
    return print_verbs(argv[0], help ? stdout : stderr, help ? CLI_OK : CLI_USAGE);
}

int cli_main(int argc, char *const *argv)
{
    struct cli_args args;
    int words = 0;
    const struct cli_command *c = cli_command_find(argc, argv, &words);
    (void)setlocale(LC_CTYPE, "C.UTF-8"); /* widths of table cells */
    if (c == NULL)
        return knows(argv[0]) ? refuse_verb(argc, argv) : refuse_noun(argv[0]);
    int r = cli_args_parse(c, argc - words + 1, argv + words - 1, &args);
    if (r != CLI_OK)
        return r;
    if (args.help) {
        cli_args_help(c, stdout);
        return CLI_OK;
    }
    r = c->run(&args);
    if (fflush(stdout) != 0 && r == CLI_OK)
        r = CLI_FAILED;
    return r;
}
