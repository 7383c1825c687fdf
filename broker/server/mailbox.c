#include "broker/server/mailbox.h"

#include <event2/event.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "broker/server/timer.h"
#include "proto/base/err.h"
#include "proto/base/mem.h"

static void deliver(evutil_socket_t fd, short what, void *arg)
{
    struct srv_mailbox *m = arg;
    uint64_t value = 0;
    (void)what;
    /* Empty the eventfd before the list: a post after the exchange below signals again. */
    if (read(fd, &value, sizeof(value)) < 0)
        value = 0;
    (void)pthread_mutex_lock(&m->lock);
    struct srv_post *posts = m->posts;
    size_t count = m->count;
    size_t capacity = m->capacity;
    m->posts = m->taken;
    m->capacity = m->taken_capacity;
    m->count = 0;
    (void)pthread_mutex_unlock(&m->lock);
    m->taken = posts;
    m->taken_capacity = capacity;
    for (size_t i = 0; i < count; i++)
        posts[i].fn(m->env, posts[i].ptr, posts[i].result);
}

int srv_mailbox_init(struct srv_mailbox *m, struct event_base *loop, void *env)
{
    *m = (struct srv_mailbox){.event_fd = -1, .env = env};
    (void)pthread_mutex_init(&m->lock, NULL);
    m->event_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (m->event_fd < 0)
        return -KB_ELIMIT;
    m->event = event_new(loop, m->event_fd, EV_READ | EV_PERSIST, deliver, m);
    if (m->event == NULL)
        return -KB_ENOMEM;
    (void)event_priority_set(m->event, SRV_PRIORITY_OWN);
    if (event_add(m->event, NULL) < 0)
        return -KB_ENOMEM;
    return 0;
}

void srv_mailbox_release(struct srv_mailbox *m)
{
    if (m->event != NULL)
        event_free(m->event);
    if (m->event_fd >= 0)
        (void)close(m->event_fd);
    m->posts = kb_free(m->posts);
    m->taken = kb_free(m->taken);
    m->event = NULL;
    m->event_fd = -1;
    (void)pthread_mutex_destroy(&m->lock);
}

void srv_mailbox_drain(struct srv_mailbox *m, void (*fn)(const struct srv_post *post))
{
    for (size_t i = 0; i < m->count; i++)
        fn(&m->posts[i]);
    m->count = 0;
}

void srv_mailbox_post(struct srv_mailbox *m, const struct srv_post *posts, size_t count)
{
    if (count == 0)
        return;
    (void)pthread_mutex_lock(&m->lock);
    bool wake = m->count == 0;
    for (size_t i = 0; i < count; i++) {
        kb_array_reserve(m->posts, m->count, m->capacity);
        m->posts[m->count++] = posts[i];
    }
    /* Signal under the lock: after it the mailbox may be gone. */
    if (wake) {
        uint64_t one = 1;
        ssize_t n = write(m->event_fd, &one, sizeof(one));
        (void)n; /* EAGAIN means the counter is non-zero: the loop will wake anyway */
    }
    (void)pthread_mutex_unlock(&m->lock);
}
