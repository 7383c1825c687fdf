#ifndef SRV_ENV_H
#define SRV_ENV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/env.h"

/* The real world behind proto/base/env.h: libevent, sockets, threads, files. One srv_env is one
 * state loop with its helper threads; the thread that calls srv_env_run is the loop. Everything
 * here is called on that thread unless a function says otherwise. */
struct srv_env;
struct event_base;

struct srv_env_options {
    size_t pool_keep_bytes;  /* frame buffers kept warm; 0 = 4 MiB */
    size_t open_files_max;   /* descriptors the file cache may hold; 0 = a share of RLIMIT_NOFILE */
    size_t conns_max;        /* accepted connections without the control flag; 0 = another share */
    unsigned reader_threads; /* cold reads; 0 = 2 */
    unsigned job_threads;    /* background jobs; 0 = 2 */
    bool never_read_now;     /* for tests: as on a file system without reads that never wait */
    /* What kb_env_exit does; NULL = flush the log and _exit. For tests. */
    void (*exit_fn)(void *arg, int status, const char *reason);
    void *exit_arg;
};

/* 0, or negative when descriptors, threads or memory are missing; nothing is left behind then.
 * options may be NULL. Ignores SIGPIPE for the whole process. */
int srv_env_new(const struct srv_env_options *options, struct srv_env **ret);
/* No callback comes any more: the threads end after what they were given, results not yet delivered
 * are forgotten, chains of unfinished kb_writes are released. The node can then be freed
 * (kb_timer_free, kb_conn_close, kb_file_unref and the like still work), and after it the env. */
void srv_env_halt(struct srv_env *e);
/* Halts, then frees everything, connections and listeners that are still there included. NULL
 * accepted; returns NULL. */
struct srv_env *srv_env_free(struct srv_env *e);

struct kb_env *srv_env_base(struct srv_env *e);
/* For events of the process around the broker, such as signals. */
struct event_base *srv_env_loop(struct srv_env *e);
/* Look a host name up and call back on the loop: 0, -KB_EUNREACHABLE when it has no address,
 * or -KB_ECLOSED when the env is freed first. */
typedef void srv_env_resolved_fn(void *arg, int result);
void srv_env_resolve(struct srv_env *e, const char *host, srv_env_resolved_fn *fn, void *arg);

/* Run events until srv_env_stop. */
void srv_env_run(struct srv_env *e);
/* srv_env_run returns when the running callbacks have; may be called before it as well. */
void srv_env_stop(struct srv_env *e);
/* Run one round: wait for events (at most wait_ms; 0 = do not wait), deliver them. */
void srv_env_round(struct srv_env *e, uint64_t wait_ms);
/* Run rounds until no write, job or read is unfinished. 0, or -KB_ETIMEDOUT after limit_ms. */
int srv_env_quiesce(struct srv_env *e, uint64_t limit_ms);

/* Figures for metrics and tests. */
struct srv_env_stats {
    size_t connections;
    size_t open_files;
    size_t reading_stopped; /* connections waiting for their budget */
    uint64_t bytes_read;
    uint64_t bytes_sent;
    uint64_t rounds;
    uint64_t cold_reads; /* ranges a reader thread had to fetch */
    uint64_t sendfile_bytes;
    uint64_t lane_syncs[KB_LANE_COUNT_]; /* sync rounds */
    uint64_t lane_writes[KB_LANE_COUNT_];
};
void srv_env_stats(struct srv_env *e, struct srv_env_stats *ret);

#endif
