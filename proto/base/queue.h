#ifndef KB_QUEUE_H
#define KB_QUEUE_H

#include <sys/queue.h>

/* glibc's <sys/queue.h> lacks the forms that allow the current element to be removed. */
#ifndef TAILQ_FOREACH_SAFE
#define TAILQ_FOREACH_SAFE(var, head, field, next_var)                                             \
    for ((var) = TAILQ_FIRST(head); (var) != NULL && ((next_var) = TAILQ_NEXT(var, field), 1);     \
         (var) = (next_var))
#endif
#ifndef LIST_FOREACH_SAFE
#define LIST_FOREACH_SAFE(var, head, field, next_var)                                              \
    for ((var) = LIST_FIRST(head); (var) != NULL && ((next_var) = LIST_NEXT(var, field), 1);       \
         (var) = (next_var))
#endif

#endif
