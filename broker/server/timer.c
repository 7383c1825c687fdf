#include "broker/server/timer.h"

#include <event2/event.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "proto/base/assert.h"
#include "proto/base/err.h"
#include "proto/base/mem.h"

#define NOT_IN_HEAP SIZE_MAX
#define IN_SOON (SIZE_MAX - 1)

struct srv_timer {
    struct kb_timer base;
    struct srv_timers *timers;
    kb_timer_fn *fn;
    void *arg;
    uint64_t deadline_us;
    uint64_t seq;
    size_t index; /* in the heap, or one of the above */
    TAILQ_ENTRY(srv_timer) soon_link;
};

uint64_t srv_now_us(void)
{
    struct timespec ts;
    int r = clock_gettime(CLOCK_BOOTTIME, &ts);
    KB_ASSERT(r == 0);
    uint64_t us = (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
    return us != 0 ? us : 1;
}

static bool before(const struct srv_timer *a, const struct srv_timer *b)
{
    return a->deadline_us != b->deadline_us ? a->deadline_us < b->deadline_us : a->seq < b->seq;
}

static void place(struct srv_timers *t, struct srv_timer *timer, size_t index)
{
    t->heap[index] = timer;
    timer->index = index;
}

static void sift_up(struct srv_timers *t, struct srv_timer *timer, size_t index)
{
    while (index > 0 && before(timer, t->heap[(index - 1) / 2])) {
        place(t, t->heap[(index - 1) / 2], index);
        index = (index - 1) / 2;
    }
    place(t, timer, index);
}

static void sift_down(struct srv_timers *t, struct srv_timer *timer, size_t index)
{
    for (;;) {
        size_t child = 2 * index + 1;
        if (child >= t->count)
            break;
        if (child + 1 < t->count && before(t->heap[child + 1], t->heap[child]))
            child++;
        if (!before(t->heap[child], timer))
            break;
        place(t, t->heap[child], index);
        index = child;
    }
    place(t, timer, index);
}

static void heap_remove(struct srv_timers *t, struct srv_timer *timer)
{
    size_t index = timer->index;
    KB_ASSERT(index < t->count && t->heap[index] == timer);
    timer->index = NOT_IN_HEAP;
    struct srv_timer *last = t->heap[--t->count];
    if (last == timer)
        return;
    sift_up(t, last, index);
    sift_down(t, last, last->index);
}

/* Set the timerfd when the first deadline is earlier than what it waits for. A later first deadline
 * leaves it alone: it then fires once for nothing, which is cheaper than a call per cancelled
 * timer. */
static void program(struct srv_timers *t)
{
    if (t->count == 0 || t->heap[0]->deadline_us >= t->programmed_us)
        return;
    uint64_t us = t->heap[0]->deadline_us;
    struct itimerspec spec = {
        .it_value = {.tv_sec = (time_t)(us / 1000000), .tv_nsec = (long)(us % 1000000) * 1000}};
    int r = timerfd_settime(t->fd, TFD_TIMER_ABSTIME, &spec, NULL);
    KB_ASSERT(r == 0);
    t->programmed_us = us;
}

static void on_timerfd(evutil_socket_t fd, short what, void *arg)
{
    struct srv_timers *t = arg;
    uint64_t expirations = 0;
    (void)what;
    ssize_t n = read(fd, &expirations, sizeof(expirations));
    (void)n;
    t->programmed_us = UINT64_MAX;
    event_active(t->run_event, EV_TIMEOUT, 0);
}

static void unlink_timer(struct srv_timers *t, struct srv_timer *timer)
{
    if (timer->index == IN_SOON)
        TAILQ_REMOVE(&t->soon, timer, soon_link);
    else if (timer->index != NOT_IN_HEAP)
        heap_remove(t, timer);
    timer->index = NOT_IN_HEAP;
}

/* The next one that is due and was armed before seq_end: of the heap or of those due at once. */
static struct srv_timer *next_due(struct srv_timers *t, uint64_t now_us, uint64_t seq_end)
{
    struct srv_timer *soon = TAILQ_FIRST(&t->soon);
    struct srv_timer *first = t->count > 0 && t->heap[0]->deadline_us <= now_us ? t->heap[0] : NULL;
    if (first == NULL || (soon != NULL && before(soon, first)))
        first = soon;
    return first != NULL && first->seq < seq_end ? first : NULL;
}

/* Timers that are due and were armed before this round; those armed by its callbacks wait for the
 * next one, behind the I/O of that round. */
static void run_due(evutil_socket_t fd, short what, void *arg)
{
    struct srv_timers *t = arg;
    struct srv_timer *timer = NULL;
    uint64_t now_us = srv_now_us();
    uint64_t seq_end = t->next_seq;
    (void)fd;
    (void)what;
    while ((timer = next_due(t, now_us, seq_end)) != NULL) {
        unlink_timer(t, timer);
        timer->fn(timer->arg);
    }
    program(t);
}

bool srv_timers_run_soon(struct srv_timers *t)
{
    if (!TAILQ_EMPTY(&t->soon))
        run_due(-1, 0, t);
    return !TAILQ_EMPTY(&t->soon);
}

int srv_timers_init(struct srv_timers *t, struct event_base *loop)
{
    *t = (struct srv_timers){.fd = -1, .programmed_us = UINT64_MAX};
    TAILQ_INIT(&t->soon);
    t->fd = timerfd_create(CLOCK_BOOTTIME, TFD_NONBLOCK | TFD_CLOEXEC);
    if (t->fd < 0)
        return -KB_ELIMIT;
    t->fd_event = event_new(loop, t->fd, EV_READ | EV_PERSIST, on_timerfd, t);
    t->run_event = event_new(loop, -1, 0, run_due, t);
    if (t->fd_event == NULL || t->run_event == NULL)
        return -KB_ENOMEM;
    (void)event_priority_set(t->fd_event, SRV_PRIORITY_OWN);
    (void)event_priority_set(t->run_event, SRV_PRIORITY_OWN);
    if (event_add(t->fd_event, NULL) < 0)
        return -KB_ENOMEM;
    return 0;
}

void srv_timers_release(struct srv_timers *t)
{
    for (size_t i = 0; i < t->count; i++)
        (void)kb_free(t->heap[i]);
    struct srv_timer *timer = NULL;
    while ((timer = TAILQ_FIRST(&t->soon)) != NULL) {
        TAILQ_REMOVE(&t->soon, timer, soon_link);
        (void)kb_free(timer);
    }
    t->heap = kb_free(t->heap);
    t->count = 0;
    if (t->fd_event != NULL)
        event_free(t->fd_event);
    if (t->run_event != NULL)
        event_free(t->run_event);
    if (t->fd >= 0)
        (void)close(t->fd);
    t->fd_event = t->run_event = NULL;
    t->fd = -1;
}

struct kb_timer *srv_timer_new(struct srv_timers *timers, struct kb_env *env, kb_timer_fn *fn,
                               void *arg)
{
    struct srv_timer *timer = kb_new(struct srv_timer);
    *timer = (struct srv_timer){
        .base = {.env = env}, .timers = timers, .fn = fn, .arg = arg, .index = NOT_IN_HEAP};
    return &timer->base;
}

void srv_timer_arm(struct kb_timer *kt, uint64_t delay_ms)
{
    struct srv_timer *timer = (struct srv_timer *)kt;
    struct srv_timers *t = timer->timers;
    unlink_timer(t, timer);
    uint64_t now_us = srv_now_us();
    if (delay_ms == 0) {
        timer->index = IN_SOON;
        timer->deadline_us = now_us;
        timer->seq = t->next_seq++;
        TAILQ_INSERT_TAIL(&t->soon, timer, soon_link);
        return;
    }
    uint64_t delay_max_ms = (UINT64_MAX / 4 - now_us) / 1000; /* beyond = never */
    timer->deadline_us = now_us + (delay_ms < delay_max_ms ? delay_ms : delay_max_ms) * 1000;
    timer->seq = t->next_seq++;
    kb_array_reserve(t->heap, t->count, t->capacity); /* NOLINT(bugprone-sizeof-expression) */
    t->count++;
    sift_up(t, timer, t->count - 1);
    program(t);
}

void srv_timer_cancel(struct kb_timer *kt)
{
    struct srv_timer *timer = (struct srv_timer *)kt;
    unlink_timer(timer->timers, timer);
}

bool srv_timer_armed(const struct kb_timer *kt)
{
    return ((const struct srv_timer *)kt)->index != NOT_IN_HEAP;
}

void srv_timer_free(struct kb_timer *kt)
{
    srv_timer_cancel(kt);
    (void)kb_free(kt);
}
