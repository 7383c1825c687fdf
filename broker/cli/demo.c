/* kvorum demo: a cluster to watch and to break, in one terminal. */
#include "broker/cli/demo.h"

#include <signal.h>
#include <unistd.h>

enum { LOOK_MS = 50 };

/* The nodes answer and are one cluster. */
static int wait_up(struct demo_nodes *n)
{
    uint64_t until_ms = cli_now_ms() + DEMO_START_MS;
    for (;;) {
        const struct cli_args args = {.bootstrap = n->bootstrap, .quiet = true};
        struct cli_cluster c = {0};
        int r = cli_cluster_gather(&args, false, &c);
        bool up = r == CLI_OK && c.verdict == CLI_HEALTHY && c.nodes_up == DEMO_NODES;
        cli_cluster_release(&c);
        if (up)
            return CLI_OK;
        const struct demo_node *dead = demo_nodes_dead(n);
        if (dead != NULL) {
            demo_node_tell_log(dead);
            return CLI_FAILED;
        }
        if (cli_now_ms() > until_ms) {
            cli_error("the three nodes are no cluster after %d s; their logs are in %s",
                      DEMO_START_MS / 1000, n->dir);
            return CLI_TIMEOUT;
        }
        if (!demo_sleep(LOOK_MS))
            return CLI_INTERRUPTED;
    }
}

static int create_topic(const struct demo_nodes *n)
{
    FILE *null = fopen("/dev/null", "we");
    const struct cli_args args = {.out = null,
                                  .bootstrap = n->bootstrap,
                                  .timeout_ms = DEMO_START_MS,
                                  .partitions = DEMO_PARTITIONS,
                                  .replication = DEMO_NODES,
                                  .operands = {DEMO_TOPIC},
                                  .operands_count = 1};
    int r = null != NULL ? cli_topic_create(&args) : CLI_FAILED;
    if (null != NULL)
        (void)fclose(null);
    return r;
}

static void block_signals(void)
{
    sigset_t set;
    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGINT);
    (void)sigaddset(&set, SIGTERM);
    (void)sigaddset(&set, SIGHUP);
    (void)sigprocmask(SIG_BLOCK, &set, NULL);
}

static int check(const struct cli_args *args)
{
    if (args->script != NULL && strcmp(args->script, "kill-leader") != 0) {
        cli_error("--script: \"%s\" is not kill-leader", args->script);
        return CLI_USAGE;
    }
    if (args->script == NULL && (!isatty(STDIN_FILENO) || !isatty(STDOUT_FILENO))) {
        cli_error("demo needs a terminal; without one: kvorum demo --script kill-leader");
        return CLI_USAGE;
    }
    return CLI_OK;
}

int cli_demo(const struct cli_args *args)
{
    struct demo_nodes nodes = {0};
    struct demo_load *load = NULL;
    int r = check(args);
    if (r != CLI_OK)
        return r;
    block_signals();
    if (!args->quiet)
        cli_error("starting three nodes");
    r = demo_nodes_start(&nodes, args->keep);
    if (r == CLI_OK)
        r = wait_up(&nodes);
    if (r == CLI_OK)
        r = create_topic(&nodes);
    if (r == CLI_OK) {
        load = demo_load_start(nodes.bootstrap);
        r = load != NULL ? CLI_OK : CLI_FAILED;
    }
    if (r == CLI_OK)
        r = args->script != NULL ? demo_script(args, &nodes, load)
                                 : demo_screen(args, &nodes, load);
    (void)demo_load_free(load);
    demo_nodes_stop(&nodes);
    return r;
}
