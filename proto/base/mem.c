#include "proto/base/mem.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/assert.h"
#include "proto/base/err.h"

static void out_of_memory(void) __attribute__((noreturn));
static void out_of_memory(void)
{
    kb_panic(__FILE__, __LINE__, "out of memory for bookkeeping");
}

static void *alloc_raw(size_t size_bytes)
{
    void *p = malloc(size_bytes != 0 ? size_bytes : 1);
    if (p == NULL)
        out_of_memory();
    return p;
}

/* glibc's calloc does not look into the thread's cache of freed chunks; large ones come zeroed from
 * the system. */
#define CLEARED_BYTES_MAX 1024

void *kb_alloc(size_t size_bytes)
{
    if (size_bytes <= CLEARED_BYTES_MAX)
        return memset(alloc_raw(size_bytes), 0, size_bytes);
    void *p = calloc(1, size_bytes);
    if (p == NULL)
        out_of_memory();
    return p;
}

void *kb_calloc(size_t count, size_t size_bytes)
{
    void *p = calloc(count != 0 ? count : 1, size_bytes != 0 ? size_bytes : 1);
    if (p == NULL)
        out_of_memory();
    return p;
}

void *kb_realloc(void *p, size_t size_bytes)
{
    p = realloc(p, size_bytes != 0 ? size_bytes : 1);
    if (p == NULL)
        out_of_memory();
    return p;
}

char *kb_strdup(const char *s)
{
    return kb_strndup(s, strlen(s));
}

char *kb_strndup(const char *s, size_t size)
{
    char *copy = alloc_raw(size + 1);
    memcpy(copy, s, size);
    copy[size] = '\0';
    return copy;
}

char *kb_asprintf(const char *format, ...)
{
    va_list args;
    char *text = NULL, small[256];
    va_start(args, format);
    int size = vsnprintf(small, sizeof(small), format, args);
    va_end(args);
    KB_ASSERT(size >= 0);
    if ((size_t)size < sizeof(small))
        return kb_strndup(small, (size_t)size);
    text = alloc_raw((size_t)size + 1);
    va_start(args, format);
    (void)vsnprintf(text, (size_t)size + 1, format, args);
    va_end(args);
    return text;
}

void *kb_memdup(const void *p, size_t size_bytes)
{
    void *copy = alloc_raw(size_bytes);
    if (size_bytes != 0)
        memcpy(copy, p, size_bytes);
    return copy;
}

void *kb_free(void *p)
{
    free(p);
    return NULL;
}

void *kb_array_grow_(void *array, size_t count, size_t *capacity, size_t element_size)
{
    if (count < *capacity)
        return array;
    size_t wanted = *capacity != 0 ? *capacity * 2 : 8;
    if (wanted > SIZE_MAX / element_size)
        out_of_memory();
    array = kb_realloc(array, wanted * element_size);
    *capacity = wanted;
    return array;
}

int kb_budget_take(struct kb_budget *b, size_t size_bytes)
{
    if (size_bytes > b->limit_bytes || b->used_bytes > b->limit_bytes - size_bytes)
        return -KB_ELIMIT;
    b->used_bytes += size_bytes;
    if (b->used_bytes > b->peak_bytes)
        b->peak_bytes = b->used_bytes;
    return 0;
}

void kb_budget_charge(struct kb_budget *b, size_t size_bytes)
{
    b->used_bytes += size_bytes;
    if (b->used_bytes > b->peak_bytes)
        b->peak_bytes = b->used_bytes;
}

void kb_budget_give(struct kb_budget *b, size_t size_bytes)
{
    KB_ASSERT(b->used_bytes >= size_bytes);
    b->used_bytes -= size_bytes;
}
