#ifndef SIM_ENV_H
#define SIM_ENV_H

#include <stdbool.h>
#include <stdint.h>

#include "tests/sim/sim_world.h"

/* One process life on a host. It ends by sim_env_kill, sim_env_power_cut, a crash planned with
 * sim_env_crash_after, or kb_env_exit. From then on it is *down*: no callback is delivered any
 * more, every env call is accepted without effect, file calls answer -KB_ECRASHED. Its owner then
 *   1. frees the node: kb_timer_free, kb_conn_close, kb_file_unref and the rest still work; chains
 *      of unfinished kb_writes have been released, the request structs are the node's to free;
 *   2. calls sim_env_free, which frees connections nobody will hear of again;
 *   3. may start the next life with sim_host_start. */

struct kb_env *sim_env_kb(struct sim_env *e);
struct sim_env *sim_env_of(struct kb_env *env);
struct sim_host *sim_env_host(struct sim_env *e);
struct sim_world *sim_env_world(struct sim_env *e);
/* Number of this life on its host, from 1. */
uint32_t sim_env_life(const struct sim_env *e);
bool sim_env_is_down(const struct sim_env *e);
/* Set by kb_env_exit; -1 before, and after other ends. */
int sim_env_exit_status(const struct sim_env *e);
const char *sim_env_exit_reason(const struct sim_env *e);
/* Timers, listeners and files the node did not give back; 0 before sim_env_free is what a node
 * without leaks reaches. */
size_t sim_env_leaks(const struct sim_env *e);
/* Frees a process, running or down (a running one is killed first, without on_down). Not from
 * inside its own callbacks. NULL accepted; returns NULL. */
struct sim_env *sim_env_free(struct sim_env *e);

/* The synchronous file calls for the test itself: at once, no virtual time, no planned crash. */
struct kb_fs *sim_env_fs(struct sim_env *e);

/* ---- ends and troubles ---- */

/* kill -9: the page cache (the disk's unsynced state) survives, the kernel ends the connections. */
void sim_env_kill(struct sim_env *e);
/* The host loses power: unsynced bytes are at the seed's mercy, connections stay silently half
 * open at the other ends, and the host answers nothing until sim_host_start. */
void sim_env_power_cut(struct sim_env *e);
/* Die at the n-th file call from now (1 = the next), made by a job or a lane, before it has any
 * effect. power: as a power cut, else as a kill. 0 takes the plan back. */
void sim_env_crash_after(struct sim_env *e, uint64_t file_calls, bool power);
/* SIGSTOP and SIGCONT: the kernel still accepts connections and bytes; events wait in order. */
void sim_env_freeze(struct sim_env *e);
void sim_env_thaw(struct sim_env *e);
bool sim_env_is_frozen(const struct sim_env *e);

/* ---- hosts ---- */

const char *sim_host_name(const struct sim_host *h);
struct sim_disk *sim_host_disk(struct sim_host *h);
/* The process running there, or NULL. */
struct sim_env *sim_host_env(struct sim_host *h);
/* Start the next process; there must be none running. Switches the host on. */
struct sim_env *sim_host_start(struct sim_host *h);
/* Wall clock minus true time, ms; may be set at any moment. */
void sim_host_set_clock_skew(struct sim_host *h, int64_t skew_ms);

#endif
