#ifndef SIM_WORLD_H
#define SIM_WORLD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "proto/base/env.h"
#include "proto/base/prng.h"

/* The simulated world behind env.h: one virtual clock, one queue of events ordered by (time,
 * sequence), one seed. Everything in it — hosts with their disks, processes, the network between
 * them — runs on the caller's thread and repeats exactly when seed and calls repeat.
 *
 * host = a machine: name, disk, clock skew; it outlives its processes (sim_net.h, sim_disk.h).
 * env  = one life of a process on a host (sim_env.h): what a broker or a client sees as kb_env.
 *
 * A unit test of one module needs three lines:
 *     struct sim_world *w = sim_world_new(seed);
 *     struct sim_env *e = sim_world_add_env(w, "node1");
 *     struct kb_env *env = sim_env_kb(e);
 * then drives time with sim_world_run_until or sim_world_run_for. */
struct sim_world;
struct sim_host;
struct sim_env;
struct sim_disk;

struct sim_world *sim_world_new(uint64_t seed);
/* Frees hosts, disks and the envs still there; whoever owns nodes on them frees those first. NULL
 * accepted; returns NULL. */
struct sim_world *sim_world_free(struct sim_world *w);

uint64_t sim_world_seed(const struct sim_world *w);
/* Virtual microseconds since the world began. */
uint64_t sim_world_now_us(const struct sim_world *w);
/* The right time, as hosts without skew have it. */
int64_t sim_world_wall_ms(const struct sim_world *w);
/* Chance for whoever drives the world (fault schedules, workloads). Disk, network and processes
 * have streams of their own, so that asking here does not disturb them. */
struct kb_prng *sim_world_prng(struct sim_world *w);

/* ---- hosts and processes ---- */

/* A new machine with an empty disk. The name is its address and must be unique. */
struct sim_host *sim_world_add_host(struct sim_world *w, const char *name);
/* A new machine and its first process. */
struct sim_env *sim_world_add_env(struct sim_world *w, const char *name);
size_t sim_world_host_count(const struct sim_world *w);
struct sim_host *sim_world_host(const struct sim_world *w, size_t index);

/* ---- running ---- */

/* Deliver the next event; false when there is none. */
bool sim_world_step(struct sim_world *w);
/* Deliver all events of the next duration_ms; the clock then stands at the end of it. */
void sim_world_run_for(struct sim_world *w, uint64_t duration_ms);
/* Step until the predicate holds (true), or limit_ms have passed or nothing is left (false). */
typedef bool sim_predicate_fn(void *arg);
bool sim_world_run_until(struct sim_world *w, sim_predicate_fn *fn, void *arg, uint64_t limit_ms);
/* Same, until *flag is true. */
bool sim_world_run_until_flag(struct sim_world *w, const bool *flag, uint64_t limit_ms);
/* Deliver events until none is left (true) or limit_ms have passed (false). */
bool sim_world_run_idle(struct sim_world *w, uint64_t limit_ms);

/* Call fn once, delay_us from now, outside any process. */
typedef void sim_call_fn(void *arg);
void sim_world_after(struct sim_world *w, uint64_t delay_us, sim_call_fn *fn, void *arg);
/* The process whose event was delivered last; NULL when it was the world's, or is freed. */
struct sim_env *sim_world_last_env(const struct sim_world *w);
/* Called after every delivered event (checkers); NULL = none. */
void sim_world_on_step(struct sim_world *w, sim_call_fn *fn, void *arg);

/* A process ended: killed, lost its host, crashed inside a job or called kb_env_exit. Runs as an
 * event of its own, never inside the process; the callee frees the node, then the env. */
typedef void sim_down_fn(void *arg, struct sim_env *env);
void sim_world_on_down(struct sim_world *w, sim_down_fn *fn, void *arg);

/* ---- trace: the proof that a run repeats ---- */

/* Digest of all events so far, with the bytes they carried. */
uint64_t sim_world_trace_hash(const struct sim_world *w);
uint64_t sim_world_event_count(const struct sim_world *w);
/* Print notes, and with events each event too, to out (NULL = stop). */
void sim_world_trace_to(struct sim_world *w, FILE *out, bool events);
/* A line of the driver's own in the trace and its digest. */
void sim_world_note(struct sim_world *w, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

#endif
