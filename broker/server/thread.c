#include "broker/server/thread.h"

#include <signal.h>

#include "proto/base/err.h"

#define STACK_BYTES ((size_t)1024 * 1024) /* address space, not memory: pages come when touched */

int srv_thread_start(const char *name, void *(*fn)(void *), void *arg, pthread_t *ret)
{
    pthread_attr_t attr;
    sigset_t all;
    sigset_t before;
    if (pthread_attr_init(&attr) != 0)
        return -KB_ENOMEM;
    (void)pthread_attr_setstacksize(&attr, STACK_BYTES);
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    int r = pthread_create(ret, &attr, fn, arg);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    (void)pthread_attr_destroy(&attr);
    if (r != 0)
        return -KB_ENOMEM;
    (void)pthread_setname_np(*ret, name);
    return 0;
}
