#ifndef CLI_H
#define CLI_H

#include <stdio.h>

/* The admin command: `kvorum NOUN VERB`. It knows clusters only through their wire protocol. */

/* Exit codes, stable for scripts. */
enum cli_exit {
    CLI_OK = 0,
    CLI_FAILED = 1, /* the operation failed, for some item at least */
    CLI_USAGE = 2,
    CLI_NOT_FOUND = 3,
    CLI_NO_NODE = 4, /* not one node could be reached */
    CLI_UNAUTHORIZED = 5,
    CLI_TIMEOUT = 6,
    CLI_UNHEALTHY = 10,
    CLI_INTERRUPTED = 130,
};

/* argv[0] is the noun. Returns the exit code; an unknown noun is told on stderr. */
int cli_main(int argc, char *const *argv);
/* One line per sub-command, for `kvorum help`. */
void cli_print_commands(FILE *out);

#endif
