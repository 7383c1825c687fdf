#ifndef SRV_WORKER_H
#define SRV_WORKER_H

#include <pthread.h>

#include "broker/server/file.h"
#include "broker/server/mailbox.h"
#include "proto/base/env.h"

/* Unordered helpers: threads that take background jobs, and threads that read cold file ranges and
 * close descriptors. */
#define SRV_WORKER_THREADS_MAX 16

struct srv_workers {
    struct srv_files *files;
    struct srv_mailbox *mailbox;
    pthread_mutex_t lock;
    pthread_cond_t filled;
    struct kb_job *jobs; /* all under lock; a pool has jobs or reads */
    struct kb_job **jobs_end;
    struct kb_read *reads;
    struct kb_read **reads_end;
    int *close_fds;
    size_t close_count;
    size_t close_capacity;
    bool stopping;
    pthread_t threads[SRV_WORKER_THREADS_MAX];
    unsigned n_threads;
};
/* 0 or negative; release either way. */
int srv_workers_init(struct srv_workers *w, const char *name, unsigned n_threads,
                     struct srv_files *files, struct srv_mailbox *mailbox);
/* Finish what is queued and end the threads. */
void srv_workers_stop(struct srv_workers *w);
void srv_workers_release(struct srv_workers *w);
/* Results arrive as srv_worker_job_done and srv_worker_read_done on the loop. */
void srv_workers_job(struct srv_workers *w, struct kb_job *job);
/* A read whose buffer is NULL only brings the range into the page cache. */
void srv_workers_read(struct srv_workers *w, struct kb_read *r);
void srv_workers_close_fd(struct srv_workers *w, int fd);

/* The loop's side (env.c). */
void srv_worker_job_done(void *env, void *job, int64_t result);
void srv_worker_read_done(void *env, void *ptr, int64_t result);

#endif
