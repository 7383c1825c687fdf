#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "broker/api/api.h"
#include "broker/cli/cli.h"
#include "broker/server/server.h"

/* The one binary: `kvorum server` is the broker, the other sub-commands administer a cluster. */

#ifndef KVORUM_VERSION
#define KVORUM_VERSION "unknown"
#endif

typedef int command_fn(int argc, char *const *argv);

static int run_server(int argc, char *const *argv)
{
    struct srv_node_apis apis;
    apis.apis = api_table(&apis.count);
    return srv_main(argc, argv, environ, &srv_node_service, &apis);
}

static int run_version(int argc, char *const *argv)
{
    (void)argc;
    (void)argv;
    (void)printf("kvorum %s\n", KVORUM_VERSION);
    return 0;
}

static int run_help(int argc, char *const *argv);

static const struct {
    const char *name;
    command_fn *run;
    const char *doc;
} commands[] = {
    {"server", run_server, "run a broker"},
    {"version", run_version, "print the version"},
    {"help", run_help, "print this page"},
};
#define COMMANDS (sizeof(commands) / sizeof(commands[0]))

static int run_help(int argc, char *const *argv)
{
    (void)argc;
    (void)argv;
    (void)printf("usage: kvorum COMMAND …\n\n");
    for (size_t i = 0; i < COMMANDS; i++)
        (void)printf("  %-18s %s\n", commands[i].name, commands[i].doc);
    (void)printf("\n");
    cli_print_commands(stdout);
    return 0;
}

int main(int argc, char **argv)
{
    static char status[] = "status"; /* the command when none is named */
    bool bare = argc < 2;
    if ((bare && !isatty(STDOUT_FILENO)) ||
        (!bare && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)))
        return run_help(argc, argv);
    if (bare || argv[1][0] == '-') {
        argv[0] = status;
        return cli_main(argc, argv);
    }
    for (size_t i = 0; i < COMMANDS; i++) {
        if (strcmp(argv[1], commands[i].name) == 0)
            return commands[i].run(argc - 1, argv + 1);
    }
    return cli_main(argc - 1, argv + 1);
}
