#ifndef SRV_TIMER_H
#define SRV_TIMER_H

#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "proto/base/env.h"

struct event;
struct event_base;
struct srv_timer;

/* Of libevent: what is active of the first is run before any of the second. */
enum srv_priority {
    SRV_PRIORITY_OWN,     /* timers, results of threads, control links */
    SRV_PRIORITY_CLIENTS, /* all other connections */
    SRV_PRIORITIES,
};

TAILQ_HEAD(srv_timer_list, srv_timer);

/* Timers in one heap over one timerfd on CLOCK_BOOTTIME, the clock kb_env_now_ms reads: libevent's
 * own timers use a coarse clock that stands still while the machine sleeps. Those that are due at
 * once have a list of their own: work that was put off, done at the end of the round.
 * The loop owns it. */
struct srv_timers {
    struct srv_timer **heap; /* by (deadline, order of arming) */
    size_t count;
    size_t capacity;
    uint64_t next_seq;
    uint64_t programmed_us; /* what the timerfd is set to; UINT64_MAX = not at all */
    int fd;
    struct event *fd_event;
    struct event *run_event; /* activated by fd_event, so that it runs behind waiting I/O */
    struct srv_timer_list soon;
};
int srv_timers_init(struct srv_timers *t, struct event_base *loop);
/* Frees timers that are still armed, too; others belong to their holders. */
void srv_timers_release(struct srv_timers *t);

/* Those that are due at once and were armed before this call. True when there are others now. */
bool srv_timers_run_soon(struct srv_timers *t);

struct kb_timer *srv_timer_new(struct srv_timers *timers, struct kb_env *env, kb_timer_fn *fn,
                               void *arg);
void srv_timer_arm(struct kb_timer *kt, uint64_t delay_ms);
void srv_timer_cancel(struct kb_timer *kt);
bool srv_timer_armed(const struct kb_timer *kt);
void srv_timer_free(struct kb_timer *kt);

/* CLOCK_BOOTTIME in microseconds, never 0. Any thread. */
uint64_t srv_now_us(void);

#endif
