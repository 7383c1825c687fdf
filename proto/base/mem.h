#ifndef KB_MEM_H
#define KB_MEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Small bookkeeping: ends the process when memory is gone (a restart is a tested path). Allocations
 * whose size a peer decides go through an arena or a budget, which may refuse. */
void *kb_alloc(size_t size_bytes);                /* zeroed; size 0 gives a valid pointer */
void *kb_realloc(void *p, size_t size_bytes);     /* new part is not zeroed */
void *kb_calloc(size_t count, size_t size_bytes); /* overflow ends the process */
char *kb_strdup(const char *s);
char *kb_strndup(const char *s, size_t size);
/* printf into a new heap string. */
char *kb_asprintf(const char *format, ...) __attribute__((format(printf, 1, 2)));
void *kb_memdup(const void *p, size_t size_bytes);
/* free(p) and return NULL, so that `x = kb_free(x)` clears the pointer. */
void *kb_free(void *p);

#define kb_new(type) ((type *)kb_alloc(sizeof(type)))
#define kb_new_array(type, count) ((type *)kb_calloc((count), sizeof(type)))

/* Make room for one more element in a growing array: doubles *capacity (elements) when count
 * has reached it. Single evaluation is the caller's duty for `array`. */
#define kb_array_reserve(array, count, capacity)                                                   \
    ((array) = kb_array_grow_((array), (count), &(capacity), sizeof(*(array))))
void *kb_array_grow_(void *array, size_t count, size_t *capacity, size_t element_size);

/* A counted limit on bytes that peers can make us keep. One thread owns it. */
struct kb_budget {
    size_t limit_bytes;
    size_t used_bytes;
    size_t peak_bytes;
};
/* 0 and charged, or -KB_ELIMIT and nothing charged. */
int kb_budget_take(struct kb_budget *b, size_t size_bytes);
void kb_budget_give(struct kb_budget *b, size_t size_bytes);
/* Charged also above the limit: for what exists already. Who makes more looks at used_bytes first.
 */
void kb_budget_charge(struct kb_budget *b, size_t size_bytes);
/* More than one part in `parts` of it is used. */
static inline bool kb_budget_above(const struct kb_budget *b, size_t parts)
{
    return b->used_bytes > b->limit_bytes / parts;
}

#endif
