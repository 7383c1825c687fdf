#include "proto/base/arena.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Most requests need one small chunk, with its head small enough for malloc's cache of the thread;
 * large ones are given back to the system as a whole. */
#define CHUNK_BYTES_MIN 1008
#define CHUNK_BYTES_MAX ((size_t)256 * 1024)
#define ALIGNMENT 16

struct kb_arena_chunk {
    struct kb_arena_chunk *next;
    size_t capacity;
    uint8_t data[];
};
_Static_assert(sizeof(struct kb_arena_chunk) % ALIGNMENT == 0, "data is aligned");

void kb_arena_init(struct kb_arena *a, size_t limit_bytes)
{
    *a = (struct kb_arena){.limit_bytes = limit_bytes};
}

static bool is_charged(const struct kb_arena *a, const struct kb_arena_chunk *c)
{
    return a->budget != NULL && (c->next != NULL || c->capacity > CHUNK_BYTES_MIN);
}

void *kb_arena_alloc(struct kb_arena *a, size_t size_bytes)
{
    if (size_bytes > a->limit_bytes || a->failed) {
        a->failed = 1;
        return NULL;
    }
    size_t size = (size_bytes + ALIGNMENT - 1) & ~(size_t)(ALIGNMENT - 1);
    if (size == 0)
        size = ALIGNMENT;
    struct kb_arena_chunk *c = a->chunks;
    if (c == NULL || c->capacity - a->chunk_used < size) {
        size_t capacity = a->used_bytes < CHUNK_BYTES_MIN   ? CHUNK_BYTES_MIN
                          : a->used_bytes < CHUNK_BYTES_MAX ? a->used_bytes
                                                            : CHUNK_BYTES_MAX;
        capacity = (capacity + ALIGNMENT - 1) & ~(size_t)(ALIGNMENT - 1);
        if (capacity < size)
            capacity = size;
        if (size >
            a->limit_bytes - (a->used_bytes < a->limit_bytes ? a->used_bytes : a->limit_bytes)) {
            a->failed = 1;
            return NULL;
        }
        c = malloc(sizeof(*c) + capacity);
        if (c == NULL) {
            a->failed = 1;
            return NULL;
        }
        c->capacity = capacity;
        c->next = a->chunks;
        if (is_charged(a, c))
            kb_budget_charge(a->budget, capacity);
        a->chunks = c;
        a->chunk_used = 0;
    }
    if (a->used_bytes + size > a->limit_bytes) {
        a->failed = 1;
        return NULL;
    }
    void *p = c->data + a->chunk_used;
    a->chunk_used += size;
    a->used_bytes += size;
    return memset(p, 0, size);
}

void *kb_arena_calloc(struct kb_arena *a, size_t count, size_t size_bytes)
{
    if (size_bytes != 0 && count > a->limit_bytes / size_bytes) {
        a->failed = 1;
        return NULL;
    }
    return kb_arena_alloc(a, count * size_bytes);
}

void *kb_arena_memdup(struct kb_arena *a, const void *data, size_t size)
{
    void *p = kb_arena_alloc(a, size);
    if (p != NULL && size != 0)
        memcpy(p, data, size);
    return p;
}

char *kb_arena_strndup(struct kb_arena *a, const char *s, size_t size)
{
    char *p = kb_arena_alloc(a, size + 1);
    if (p != NULL && size != 0)
        memcpy(p, s, size);
    return p;
}

char *kb_arena_printf(struct kb_arena *a, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int size = vsnprintf(NULL, 0, format, args);
    va_end(args);
    if (size < 0)
        return NULL;
    char *text = kb_arena_alloc(a, (size_t)size + 1);
    if (text == NULL)
        return NULL;
    va_start(args, format);
    (void)vsnprintf(text, (size_t)size + 1, format, args);
    va_end(args);
    return text;
}

void kb_arena_reset(struct kb_arena *a)
{
    struct kb_arena_chunk *c = a->chunks;
    while (c != NULL) {
        struct kb_arena_chunk *next = c->next;
        if (is_charged(a, c))
            kb_budget_give(a->budget, c->capacity);
        free(c);
        c = next;
    }
    a->chunks = NULL;
    a->chunk_used = 0;
    a->used_bytes = 0;
    a->failed = 0;
}

void kb_arena_release(struct kb_arena *a)
{
    kb_arena_reset(a);
}
