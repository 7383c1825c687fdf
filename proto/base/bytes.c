#include "proto/base/bytes.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "proto/base/assert.h"
#include "proto/base/env.h"

/* ---- kb_buf ---- */

void kb_buf_reserve(struct kb_buf *b, size_t more)
{
    if (b->capacity - b->size >= more)
        return;
    size_t wanted = b->capacity != 0 ? b->capacity : 64;
    while (wanted - b->size < more)
        wanted *= 2;
    b->data = kb_realloc(b->data, wanted);
    b->capacity = wanted;
}

void kb_buf_append(struct kb_buf *b, const void *data, size_t size)
{
    if (size == 0)
        return;
    kb_buf_reserve(b, size);
    memcpy(b->data + b->size, data, size);
    b->size += size;
}

void kb_buf_append_str(struct kb_buf *b, const char *s)
{
    kb_buf_append(b, s, strlen(s));
}

void kb_buf_printf(struct kb_buf *b, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int size = vsnprintf(NULL, 0, format, args);
    va_end(args);
    KB_ASSERT(size >= 0);
    kb_buf_reserve(b, (size_t)size + 1);
    va_start(args, format);
    (void)vsnprintf((char *)b->data + b->size, (size_t)size + 1, format, args);
    va_end(args);
    b->size += (size_t)size;
}

void kb_buf_release(struct kb_buf *b)
{
    free(b->data);
    *b = (struct kb_buf){0};
}

/* ---- kb_block and kb_pool ---- */

#define POOL_CLASS_MIN_BITS 9  /* 512 B */
#define POOL_CLASS_MAX_BITS 21 /* 2 MiB; larger blocks are not kept */
#define POOL_CLASSES (POOL_CLASS_MAX_BITS - POOL_CLASS_MIN_BITS + 1)

struct kb_pool {
    size_t keep_bytes;
    size_t kept_bytes;
    size_t live_blocks;
    struct kb_block *free_lists[POOL_CLASSES]; /* linked through data's first bytes */
};

static struct kb_block *block_alloc(size_t capacity)
{
    KB_ASSERT(capacity <= UINT32_MAX);
    struct kb_block *b = malloc(sizeof(*b) + capacity);
    if (b == NULL)
        return NULL;
    *b = (struct kb_block){.refs = 1, .capacity = (uint32_t)capacity};
    b->data = (uint8_t *)(b + 1);
    return b;
}

struct kb_block *kb_block_new(size_t capacity)
{
    struct kb_block *b = block_alloc(capacity);
    if (b == NULL)
        kb_panic(__FILE__, __LINE__, "out of memory for a block");
    return b;
}

struct kb_block *kb_block_copy(const void *data, size_t size)
{
    struct kb_block *b = kb_block_new(size);
    if (size != 0)
        memcpy(b->data, data, size);
    b->size = (uint32_t)size;
    return b;
}

struct kb_block *kb_block_ref(struct kb_block *b)
{
    KB_ASSERT(b->refs > 0);
    b->refs++;
    return b;
}

static int pool_class(size_t capacity)
{
    int bits = POOL_CLASS_MIN_BITS;
    while (bits <= POOL_CLASS_MAX_BITS && ((size_t)1 << bits) < capacity)
        bits++;
    return bits - POOL_CLASS_MIN_BITS;
}

struct kb_block *kb_block_unref(struct kb_block *b)
{
    if (b == NULL)
        return NULL;
    KB_ASSERT(b->refs > 0);
    if (--b->refs > 0)
        return NULL;
    if (b->budget != NULL)
        kb_budget_give(b->budget, b->capacity);
    struct kb_pool *pool = b->pool;
    if (pool != NULL) {
        pool->live_blocks--;
        int class = pool_class(b->capacity);
        if (class < POOL_CLASSES && pool->kept_bytes + b->capacity <= pool->keep_bytes) {
            /* NOLINTNEXTLINE(bugprone-sizeof-expression): the link, a pointer */
            memcpy(b->data, &pool->free_lists[class], sizeof(b));
            pool->free_lists[class] = b;
            pool->kept_bytes += b->capacity;
            return NULL;
        }
    }
    free(b);
    return NULL;
}

struct kb_pool *kb_pool_new(size_t keep_bytes)
{
    struct kb_pool *p = kb_new(struct kb_pool);
    p->keep_bytes = keep_bytes;
    return p;
}

struct kb_pool *kb_pool_free(struct kb_pool *p)
{
    if (p == NULL)
        return NULL;
    KB_ASSERT(p->live_blocks == 0);
    for (int i = 0; i < POOL_CLASSES; i++) {
        struct kb_block *b = p->free_lists[i];
        while (b != NULL) {
            struct kb_block *next = NULL;
            /* NOLINTNEXTLINE(bugprone-sizeof-expression): the link, a pointer */
            memcpy(&next, b->data, sizeof(next));
            free(b);
            b = next;
        }
    }
    free(p);
    return NULL;
}

size_t kb_pool_cost(size_t capacity)
{
    int class = pool_class(capacity);
    return class < POOL_CLASSES ? (size_t)1 << (class + POOL_CLASS_MIN_BITS) : capacity;
}

struct kb_block *kb_pool_take(struct kb_pool *p, size_t capacity, struct kb_budget *budget)
{
    int class = pool_class(capacity);
    size_t rounded = kb_pool_cost(capacity);
    if (rounded > UINT32_MAX)
        return NULL;
    if (budget != NULL && kb_budget_take(budget, rounded) < 0)
        return NULL;
    struct kb_block *b = class < POOL_CLASSES ? p->free_lists[class] : NULL;
    if (b != NULL) {
        /* NOLINTNEXTLINE(bugprone-sizeof-expression): the link, a pointer */
        memcpy(&p->free_lists[class], b->data, sizeof(b));
        p->kept_bytes -= b->capacity;
        b->refs = 1;
        b->size = 0;
    } else {
        b = block_alloc(rounded);
        if (b == NULL) {
            if (budget != NULL)
                kb_budget_give(budget, rounded);
            return NULL;
        }
    }
    b->pool = p;
    b->budget = budget;
    p->live_blocks++;
    return b;
}

/* ---- kb_chain ---- */

static struct kb_slice *chain_push(struct kb_chain *c)
{
    kb_array_reserve(c->slices, c->count, c->capacity);
    c->slices[c->count] = (struct kb_slice){0};
    return &c->slices[c->count++];
}

void kb_chain_add_block(struct kb_chain *c, struct kb_block *b, size_t position, size_t size)
{
    KB_ASSERT(position + size <= b->size);
    if (size == 0)
        return;
    struct kb_slice *s = chain_push(c);
    s->block = kb_block_ref(b);
    s->position = position;
    s->size = size;
    c->size += size;
}

void kb_chain_add_file(struct kb_chain *c, struct kb_file *f, uint64_t position, uint64_t size)
{
    if (size == 0)
        return;
    struct kb_slice *s = chain_push(c);
    s->file = kb_file_ref(f);
    s->file_generation = kb_file_generation(f);
    s->position = position;
    s->size = size;
    c->size += size;
}

/* Bytes are packed into the last slice's block when the chain alone holds it and has room. */
void kb_chain_add_copy(struct kb_chain *c, const void *data, size_t size)
{
    if (size == 0)
        return;
    struct kb_slice *last = c->count > 0 ? &c->slices[c->count - 1] : NULL;
    if (last != NULL && last->block != NULL && last->block->refs == 1 &&
        last->block->pool == NULL && last->position + last->size == last->block->size &&
        last->block->capacity - last->block->size >= size) {
        memcpy(last->block->data + last->block->size, data, size);
        last->block->size += (uint32_t)size;
        last->size += size;
        c->size += size;
        return;
    }
    struct kb_block *b = kb_block_new(size < 256 ? 256 : size);
    memcpy(b->data, data, size);
    b->size = (uint32_t)size;
    kb_chain_add_block(c, b, 0, size);
    (void)kb_block_unref(b);
}

void kb_chain_move(struct kb_chain *to, struct kb_chain *from)
{
    if (to->count == 0) {
        free(to->slices);
        *to = *from;
    } else {
        for (size_t i = 0; i < from->count; i++) {
            struct kb_slice *s = chain_push(to);
            *s = from->slices[i];
        }
        to->size += from->size;
        free(from->slices);
    }
    *from = (struct kb_chain){0};
}

void kb_chain_add_chain(struct kb_chain *to, const struct kb_chain *from)
{
    for (size_t i = 0; i < from->count; i++) {
        struct kb_slice *s = chain_push(to);
        *s = from->slices[i];
        if (s->block != NULL)
            (void)kb_block_ref(s->block);
        if (s->file != NULL)
            (void)kb_file_ref(s->file);
    }
    to->size += from->size;
}

void kb_chain_release(struct kb_chain *c)
{
    for (size_t i = 0; i < c->count; i++) {
        (void)kb_block_unref(c->slices[i].block);
        (void)kb_file_unref(c->slices[i].file);
    }
    free(c->slices);
    *c = (struct kb_chain){0};
}
