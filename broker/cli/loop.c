/* poll(2), timers and signals for the commands that go on for a while. */
#include "broker/cli/loop.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "broker/cli/internal.h"

enum { WAIT_MS_MAX = 60000 };

void cli_loop_init(struct cli_loop *l)
{
    *l = (struct cli_loop){.signals_ = {.fd = -1}};
    LIST_INIT(&l->watches_);
    LIST_INIT(&l->timers_);
}

void cli_loop_release(struct cli_loop *l)
{
    if (l->signals_.fd >= 0)
        (void)close(l->signals_.fd);
    l->signals_.fd = -1;
    (void)kb_free(l->polled_);
    l->polled_ = NULL;
}

static void on_signals(void *arg, short revents)
{
    struct cli_loop *l = arg;
    struct signalfd_siginfo info;
    (void)revents;
    while (read(l->signals_.fd, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
        if (l->on_signal != NULL) {
            l->on_signal(l->arg, (int)info.ssi_signo);
            continue;
        }
        l->interrupted = true;
        l->stop = true;
    }
}

void cli_loop_signals(struct cli_loop *l, const int *numbers)
{
    sigset_t set;
    (void)sigemptyset(&set);
    for (; *numbers != 0; numbers++)
        (void)sigaddset(&set, *numbers);
    (void)sigprocmask(SIG_BLOCK, &set, NULL);
    l->signals_ = (struct cli_watch){.fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC),
                                     .events = POLLIN,
                                     .fn = on_signals,
                                     .arg = l};
    if (l->signals_.fd < 0)
        abort();
    cli_watch_add(l, &l->signals_);
}

void cli_watch_add(struct cli_loop *l, struct cli_watch *w)
{
    if (w->added_)
        return;
    w->added_ = true;
    LIST_INSERT_HEAD(&l->watches_, w, entries_);
}

void cli_watch_remove(struct cli_loop *l, struct cli_watch *w)
{
    if (!w->added_)
        return;
    w->added_ = false;
    LIST_REMOVE(w, entries_);
    for (size_t i = 0; i < l->polled_count_; i++) {
        if (l->polled_[i] == w)
            l->polled_[i] = NULL;
    }
}

void cli_timer_arm(struct cli_loop *l, struct cli_timer *t, uint64_t ms)
{
    t->at_ms_ = cli_now_ms() + ms;
    if (t->armed_)
        return;
    t->armed_ = true;
    LIST_INSERT_HEAD(&l->timers_, t, entries_);
}

void cli_timer_arm_sooner(struct cli_loop *l, struct cli_timer *t, uint64_t ms)
{
    if (!t->armed_ || t->at_ms_ > cli_now_ms() + ms)
        cli_timer_arm(l, t, ms);
}

void cli_timer_cancel(struct cli_timer *t)
{
    if (!t->armed_)
        return;
    t->armed_ = false;
    LIST_REMOVE(t, entries_);
}

/* The timer that is due, one at a time: each may change the others. */
static bool run_due(struct cli_loop *l)
{
    struct cli_timer *t = NULL;
    struct cli_timer *first = NULL;
    LIST_FOREACH(t, &l->timers_, entries_)
    {
        if (first == NULL || t->at_ms_ < first->at_ms_)
            first = t;
    }
    if (first == NULL || first->at_ms_ > cli_now_ms())
        return false;
    cli_timer_cancel(first);
    first->fn(first->arg);
    return true;
}

static int wait_ms(const struct cli_loop *l)
{
    const struct cli_timer *t = NULL;
    uint64_t now_ms = cli_now_ms();
    uint64_t at_ms = now_ms + WAIT_MS_MAX;
    LIST_FOREACH(t, &l->timers_, entries_)
    {
        if (t->at_ms_ < at_ms)
            at_ms = t->at_ms_;
    }
    return at_ms > now_ms ? (int)(at_ms - now_ms) : 0;
}

static void dispatch(struct cli_loop *l)
{
    struct cli_watch *w = NULL;
    l->polled_count_ = 0;
    LIST_FOREACH(w, &l->watches_, entries_)
    {
        /* NOLINTNEXTLINE(bugprone-sizeof-expression): an array of pointers */
        kb_array_reserve(l->polled_, l->polled_count_, l->polled_capacity_);
        l->polled_[l->polled_count_++] = w;
    }
    struct pollfd *fds = kb_new_array(struct pollfd, l->polled_count_);
    for (size_t i = 0; i < l->polled_count_; i++)
        fds[i] = (struct pollfd){.fd = l->polled_[i]->fd, .events = l->polled_[i]->events};
    int n = poll(fds, l->polled_count_, wait_ms(l));
    for (size_t i = 0; n > 0 && i < l->polled_count_; i++) {
        w = l->polled_[i];
        if (w != NULL && fds[i].revents != 0)
            w->fn(w->arg, fds[i].revents);
    }
    l->polled_count_ = 0;
    (void)kb_free(fds);
}

void cli_loop_run(struct cli_loop *l)
{
    while (!l->stop) {
        dispatch(l);
        /* Timers that arm themselves again without a delay must not starve the files. */
        for (int i = 0; i < 64 && !l->stop && run_due(l); i++)
            continue;
    }
}
