#ifndef CLI_LOOP_H
#define CLI_LOOP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

/* One thread that waits for files, timers and signals, for the commands that go on for a while
 * (produce, consume, demo). Everything runs on it; callbacks may add and remove at will. */

struct cli_watch {
    int fd;
    short events; /* of poll(2); may be changed at any time; 0 = only errors */
    void (*fn)(void *arg, short revents);
    void *arg;
    bool added_;
    LIST_ENTRY(cli_watch) entries_;
};
LIST_HEAD(cli_watches, cli_watch);

struct cli_timer {
    void (*fn)(void *arg);
    void *arg;
    uint64_t at_ms_;
    bool armed_;
    LIST_ENTRY(cli_timer) entries_;
};
LIST_HEAD(cli_timers, cli_timer);

struct cli_loop {
    bool stop; /* set by anybody: cli_loop_run returns */
    /* A signal of cli_loop_signals came; NULL: it sets stop and interrupted. */
    void (*on_signal)(void *arg, int number);
    void *arg;
    bool interrupted;
    /* Private. */
    struct cli_watches watches_;
    struct cli_timers timers_;
    struct cli_watch signals_;
    struct cli_watch **polled_; /* during dispatch: those that were polled and are still there */
    size_t polled_count_;
    size_t polled_capacity_;
};

void cli_loop_init(struct cli_loop *l);
void cli_loop_release(struct cli_loop *l);
/* From now on these signals (ending with 0) are events of the loop. */
void cli_loop_signals(struct cli_loop *l, const int *numbers);
void cli_watch_add(struct cli_loop *l, struct cli_watch *w);
void cli_watch_remove(struct cli_loop *l, struct cli_watch *w); /* legal when it is not there */
/* After so many ms, once; again moves it. fn and arg are set by the owner before. */
void cli_timer_arm(struct cli_loop *l, struct cli_timer *t, uint64_t ms);
/* The same, but an earlier time that is armed already stands. */
void cli_timer_arm_sooner(struct cli_loop *l, struct cli_timer *t, uint64_t ms);
void cli_timer_cancel(struct cli_timer *t);
/* Until stop is set. */
void cli_loop_run(struct cli_loop *l);

#endif
