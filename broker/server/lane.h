#ifndef SRV_LANE_H
#define SRV_LANE_H

#include <pthread.h>

#include "broker/server/file.h"
#include "broker/server/mailbox.h"
#include "broker/server/sync.h"
#include "proto/base/env.h"

/* One ordered lane of writes and barrier jobs with its own thread. The loop stages requests and
 * hands them over once per round; the thread takes all that waits, writes (adjacent writes of one
 * file become one pwritev; at most 16 MB and what exceeds it), reports written, syncs each dirty
 * file once, reports durable. No timer: rounds grow by themselves while a sync runs. */
struct srv_lane_entry {
    void *request; /* kb_write or kb_job */
    uint64_t since_us;
    bool is_job;
};
struct srv_lane_queue {
    struct srv_lane_entry *entries;
    size_t count;
    size_t capacity;
};
struct srv_lane {
    struct srv_files *files;
    struct srv_mailbox *mailbox;
    struct srv_lane_queue staged; /* the loop's */
    pthread_mutex_t lock;
    pthread_cond_t filled;
    struct srv_lane_queue inbox;  /* under lock */
    struct srv_lane_queue active; /* the thread's; replaced and cleared under lock */
    size_t active_done;           /* under lock: entries before this one are finished */
    uint64_t progress_us;         /* under lock: when that last moved */
    bool stopping;                /* under lock */
    bool started;
    pthread_t thread;
    uint64_t n_writes; /* under lock */
    uint64_t n_syncs;
    struct srv_sync sync; /* the thread's, with what follows */
    struct srv_lane_item *items;
    size_t items_capacity;
    struct srv_lane_dirty *dirty;
    size_t dirty_capacity;
    struct srv_sync_file *sync_files;
    size_t sync_files_capacity;
    struct iovec *iov;
    size_t iov_capacity;
    struct srv_post *posts;
    size_t posts_capacity;
    struct kb_job **ahead;
    size_t ahead_capacity;
};

/* What the loop does with results; set by the owner of the lane. */
typedef void srv_lane_result_fn(void *env, void *request, int64_t result);
struct srv_lane_callbacks {
    srv_lane_result_fn *written;  /* a write with sync: durable follows */
    srv_lane_result_fn *finished; /* a write without sync: nothing follows */
    srv_lane_result_fn *durable;
    srv_lane_result_fn *job_done;
};

/* 0 or negative; release either way. */
int srv_lane_init(struct srv_lane *l, const char *name, struct srv_files *files,
                  struct srv_mailbox *mailbox);
/* Finish what was handed over and end the thread. */
void srv_lane_stop(struct srv_lane *l);
void srv_lane_release(struct srv_lane *l);
/* Loop: queue a request; it starts with the next srv_lane_submit. */
void srv_lane_stage(struct srv_lane *l, void *request, bool is_job);
void srv_lane_submit(struct srv_lane *l);
/* How long the oldest write has been waiting without anything in this lane coming to an end. */
uint64_t srv_lane_stall_ms(struct srv_lane *l);
void srv_lane_figures(struct srv_lane *l, uint64_t *ret_writes, uint64_t *ret_syncs);

/* The loop's side of the results (env.c). */
extern const struct srv_lane_callbacks srv_lane_callbacks;

#endif
