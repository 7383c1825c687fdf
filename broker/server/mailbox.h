#ifndef SRV_MAILBOX_H
#define SRV_MAILBOX_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct event;
struct event_base;

/* Results from helper threads to the loop: a locked list and one eventfd. The loop is woken at most
 * once for all that gathers between two of its rounds. */
struct srv_post {
    void (*fn)(void *env, void *ptr, int64_t result); /* runs on the loop */
    void *ptr;
    int64_t result;
};
struct srv_mailbox {
    pthread_mutex_t lock;
    struct srv_post *posts; /* under lock */
    size_t count;
    size_t capacity;
    struct srv_post *taken; /* the loop's */
    size_t taken_capacity;
    int event_fd;
    struct event *event;
    void *env;
};
/* 0 or negative; the mailbox may be released in either case. */
int srv_mailbox_init(struct srv_mailbox *m, struct event_base *loop, void *env);
void srv_mailbox_release(struct srv_mailbox *m);
/* Hand every waiting post to fn instead of delivering it; for the end, without threads. */
void srv_mailbox_drain(struct srv_mailbox *m, void (*fn)(const struct srv_post *post));
/* From any thread. */
void srv_mailbox_post(struct srv_mailbox *m, const struct srv_post *posts, size_t count);

#endif
