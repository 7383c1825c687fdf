/* The one binary: `kvorum server` is the broker, everything else the admin command. */
#include <stdio.h>
#include <string.h>

#include "broker/api/api.h"
#include "broker/server/server.h"

extern char **environ;

int main(int argc, char **argv)
{
    if (argc >= 2 && strcmp(argv[1], "server") == 0) {
        struct srv_node_apis apis;
        apis.apis = api_table(&apis.count);
        return srv_main(argc - 1, argv + 1, environ, &srv_node_service, &apis);
    }
    if (argc >= 2 && strcmp(argv[1], "--version") == 0) {
        (void)printf("kvorum %s\n", KVORUM_VERSION);
        return 0;
    }
    (void)fprintf(stderr, "usage: kvorum server [--config FILE] [--set key=value]…\n");
    return 2;
}
