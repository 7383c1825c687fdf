#ifndef CLI_FAILOVER_H
#define CLI_FAILOVER_H

#include "broker/cli/internal.h"

/* What happened lately, told from the events the nodes keep. */

struct cli_failover {
    int32_t node_id; /* who went away */
    bool stopped;    /* it had asked for its controlled stop */
    bool silent;     /* no link closed: nothing was heard of it any more */
    int64_t wall_ms; /* when it went, by the clock of the node that tells */
    uint64_t age_ms; /* since then */
    /* Since then; -1 = did not happen, or was not needed. */
    int64_t detected_ms;
    int64_t controller_ms;
    int64_t leaders_ms; /* the last of them */
    int32_t controller_id;
    uint32_t leaders_moved;
};

/* The last one within these events (oldest first). False when there was none. */
bool cli_failover_find(Kvorum__StatusEvent *const *events, size_t count, struct cli_failover *ret);
/* The last one any node tells of, the best view first. */
bool cli_failover_of_cluster(const struct cli_cluster *c, struct cli_failover *ret);
/* "node 1 lost 12:04:11.302 → detected +0.02 s → …", heap. */
char *cli_failover_text(const struct cli_failover *f);
/* Its line, if there was one. */
void cli_failover_print(const struct cli_args *args, const struct cli_cluster *c);
json_t *cli_last_failover_json(const struct cli_cluster *c); /* or null */
/* All events of the best view. */
json_t *cli_events_json(const struct cli_cluster *c);

/* Replicas out of their ISR, node by node, with the reason their leaders know. Prints nothing when
 * there are none. */
void cli_isr_leavers_print(const struct cli_cluster *c, FILE *out);
json_t *cli_isr_leavers_json(const struct cli_cluster *c);

#endif
