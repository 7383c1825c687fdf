#ifndef SRV_THREAD_H
#define SRV_THREAD_H

#include <pthread.h>

/* Start a helper thread with a small stack and all signals blocked (they belong to the loop).
 * 0 or -KB_ENOMEM. name: at most 15 characters, for /proc and debuggers. */
int srv_thread_start(const char *name, void *(*fn)(void *), void *arg, pthread_t *ret);

#endif
