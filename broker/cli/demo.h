#ifndef CLI_DEMO_H
#define CLI_DEMO_H

#include <stdatomic.h>
#include <sys/types.h>

#include "broker/cli/internal.h"

/* kvorum demo: three brokers of this machine as child processes, a verified load, and somebody who
 * kills them: a person at the keyboard (demo_screen.c) or a script (demo_script.c). The parent
 * holds processes and files; the load is a child of its own and tells through shared memory. */

enum {
    DEMO_NODES = 3,
    DEMO_PARTITIONS = 12,
    DEMO_START_MS = 30000,
    DEMO_RECOVER_MS = 30000,
    DEMO_SETTLE_MS = 60000,
};
#define DEMO_TOPIC "demo"

/* ---- demo_nodes.c ------------------------------------------------------------------------------
 */

struct demo_node {
    int32_t id;
    uint16_t port;
    uint16_t controller_port;
    char *config;
    char *log;
    pid_t pid; /* 0 = not running */
    bool paused;
};
struct demo_nodes {
    char *dir;
    bool keep;
    struct demo_node nodes[DEMO_NODES];
    char *bootstrap;
    pid_t janitor; /* removes dir when we are gone, however that happens */
    int janitor_fd;
};
/* Directories, ports, configurations, and all three processes. CLI_OK, or told on stderr. */
int demo_nodes_start(struct demo_nodes *n, const char *keep);
/* Ends the processes (with keep: in order) and removes what is not kept. */
void demo_nodes_stop(struct demo_nodes *n);
void demo_node_start(struct demo_nodes *n, struct demo_node *node);
void demo_node_kill(struct demo_node *node);
void demo_node_pause(struct demo_node *node, bool paused);
/* Notice those that ended by themselves. NULL: none did. */
struct demo_node *demo_nodes_dead(struct demo_nodes *n);
void demo_node_tell_log(const struct demo_node *node); /* its last lines, on stderr */

/* ---- demo_load.c -------------------------------------------------------------------------------
 */

enum demo_load_state { DEMO_LOAD_STARTING, DEMO_LOAD_RUNNING, DEMO_LOAD_DONE, DEMO_LOAD_FAILED };
/* What the load and its parent tell each other. */
struct demo_load {
    _Atomic int state; /* enum demo_load_state */
    _Atomic bool stop; /* by the parent: write no more, read the rest, then end */
    _Atomic uint64_t acked;
    _Atomic uint64_t read;
    _Atomic uint64_t lost;
    _Atomic uint64_t duplicated;
    struct {
        _Atomic uint64_t acked_ms; /* the last acknowledgement, monotonic */
        /* By the parent: the node that led it went away then; 0 = no question is open. */
        _Atomic uint64_t killed_ms;
        _Atomic int32_t victim;
        /* By the load: another node acknowledged the next record; 0 = not yet. */
        _Atomic uint64_t recovered_ms;
    } partitions[DEMO_PARTITIONS];
    pid_t pid; /* of the load */
};
/* NULL when there is no memory or no process, told on stderr. */
struct demo_load *demo_load_start(const char *bootstrap);
/* End it at once. NULL accepted; returns NULL. */
struct demo_load *demo_load_free(struct demo_load *l);
/* Every partition was written within the last ms. */
bool demo_load_is_steady(const struct demo_load *l, uint64_t ms);
/* Has the load's process ended without being done? */
bool demo_load_has_died(struct demo_load *l);

/* ---- demo_watch.c: what the cluster says -------------------------------------------------------
 */

struct demo_view {
    bool reached;
    bool whole;         /* all nodes run, every ISR is full, and the topic is there */
    int32_t controller; /* -1 = none */
    int32_t leaders[DEMO_PARTITIONS];
};
void demo_look(const struct demo_nodes *n, struct demo_view *ret);
/* The node that leads most partitions; -1 when nobody leads any. */
int32_t demo_busiest(const struct demo_view *v);
/* Ask the load when the partitions of this node recover; call right before it goes. How many. */
size_t demo_ask(struct demo_load *l, const struct demo_view *v, int32_t victim);
/* ms from then to the next acknowledgement, of those that recovered; sorted. */
size_t demo_answers(const struct demo_load *l, uint64_t ms[DEMO_PARTITIONS]);
/* Nearest rank; 0 for none. percent 0..100, values sorted. */
uint64_t demo_percentile(const uint64_t *sorted, size_t count, unsigned percent);
/* Sleep, but not through a signal of those demo.c blocks. False: one came. */
bool demo_sleep(uint64_t ms);

/* ---- */

int demo_script(const struct cli_args *args, struct demo_nodes *n, struct demo_load *l);
int demo_screen(const struct cli_args *args, struct demo_nodes *n, struct demo_load *l);

#endif
