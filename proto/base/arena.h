#ifndef KB_ARENA_H
#define KB_ARENA_H

#include <stddef.h>
#include <stdint.h>

#include "proto/base/bytes.h"

/* Bump allocator for one request or job: everything is freed at once. limit_bytes bounds what a
 * peer can make us allocate. Not thread-safe. */
struct kb_arena_chunk;
struct kb_arena {
    struct kb_arena_chunk *chunks;
    size_t chunk_used; /* of the first of them */
    size_t used_bytes;
    size_t limit_bytes;
    int failed; /* sticky: an allocation was refused */
    struct kb_budget
        *budget; /* set after init: charged for all but a small first chunk; may be NULL */
};
void kb_arena_init(struct kb_arena *a, size_t limit_bytes);
/* Zeroed, 16-byte aligned. NULL when the limit would be passed or memory is gone (failed is set).
 */
void *kb_arena_alloc(struct kb_arena *a, size_t size_bytes);
void *kb_arena_calloc(struct kb_arena *a, size_t count, size_t size_bytes);
/* Copies; NULL on refusal. The string copy ends with a NUL. */
void *kb_arena_memdup(struct kb_arena *a, const void *data, size_t size);
char *kb_arena_strndup(struct kb_arena *a, const char *s, size_t size);
char *kb_arena_printf(struct kb_arena *a, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* Free everything; the arena can be used again with the same limit. */
void kb_arena_reset(struct kb_arena *a);
void kb_arena_release(struct kb_arena *a);

#define kb_arena_new(arena, type) ((type *)kb_arena_alloc((arena), sizeof(type)))
#define kb_arena_new_array(arena, type, count)                                                     \
    ((type *)kb_arena_calloc((arena), (count), sizeof(type)))

#endif
