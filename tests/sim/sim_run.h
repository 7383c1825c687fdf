#ifndef SIM_RUN_H
#define SIM_RUN_H

#include <stdio.h>

#include "broker/node/node.h"
#include "tests/sim/sim_checks.h"
#include "tests/sim/sim_faults.h"

/* One seed, one run: three or five brokers are founded, clients write and read for twenty seconds
 * of virtual time while things go wrong, then the faults end, and within a bounded time everything
 * must be whole again: leaders, full ISRs, every acknowledged record at its place on every replica.
 */

struct sim_run_options {
    uint64_t seed;
    const struct node_api *apis; /* borrowed */
    size_t apis_count;
    FILE *story; /* faults and the brokers' own log lines; NULL = nothing is told */
    bool trace;  /* every event, and debug lines, too */
};

/* Plain data: it travels through a pipe. */
struct sim_result {
    uint64_t seed;
    bool ok;
    uint64_t hash, events;
    uint64_t virtual_ms, cpu_ms;
    uint64_t sent, acked, reads;
    uint64_t frames, retransmissions, resets, blocked;
    uint64_t leader_terms, elections, committed, starts, crashes, exits, old_requests;
    uint32_t nodes, voters;
    uint64_t quorum_healed_ms, whole_ms; /* from the heal on (R14, P21) */
    uint64_t faults[SIM_FAULT_MAX_];
    uint64_t checks[SIM_CHECK_MAX_];
    uint64_t failures[SIM_CHECK_MAX_];
    char failure[400]; /* the first one in words: "P1: …" */
};
void sim_run(const struct sim_run_options *options, struct sim_result *ret);

#endif
