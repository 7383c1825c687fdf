/* The table of sub-commands. Help pages come from it. */
#include "broker/cli/internal.h"

static const struct cli_command commands[] = {
    {"status", NULL, NULL, cli_status, "", "", 0, 0, "what all nodes believe, at one glance"},
    {"health", NULL, NULL, cli_health, "Lq", "", 0, 0,
     "exit code 0 when all is well, 10 when not, 4 when no node answers"},
};
#define COMMANDS (sizeof(commands) / sizeof(commands[0]))

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

bool cli_knows(const char *noun)
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
    (void)fprintf(out, "  %-16s %s\n", name, c->doc);
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

int cli_main(int argc, char *const *argv)
{
    struct cli_args args;
    int words = 0;
    const struct cli_command *c = cli_command_find(argc, argv, &words);
    if (c == NULL) {
        bool help = argc > 1 && (word_is(argv[1], "--help") || word_is(argv[1], "-h"));
        if (argc > 1 && !help)
            cli_error("unknown command %s %s", argv[0], argv[1]);
        return print_verbs(argv[0], help ? stdout : stderr, help ? CLI_OK : CLI_USAGE);
    }
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
