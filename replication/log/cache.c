/* The tail cache: the newest batches of each log in memory, oldest out first over all logs. */
#include <stdlib.h>

#include "replication/log/impl.h"

struct log_cached {
    TAILQ_ENTRY(log_cached) age;
    struct log *log;
    struct kb_block *block;
    uint32_t position;
    uint32_t size;
    int64_t base_offset;
    int64_t last_offset;
    size_t cost;
};
struct log_cache {
    size_t limit_bytes;
    size_t bytes;
    TAILQ_HEAD(, log_cached) ages; /* oldest first */
};

struct log_cache *log_cache_new(size_t limit_bytes)
{
    struct log_cache *c = kb_new(struct log_cache);
    c->limit_bytes = limit_bytes;
    TAILQ_INIT(&c->ages);
    return c;
}

struct log_cache *log_cache_free(struct log_cache *c)
{
    KB_ASSERT(c == NULL || TAILQ_EMPTY(&c->ages));
    free(c);
    return NULL;
}

size_t log_cache_bytes(const struct log_cache *c)
{
    return c->bytes;
}

static struct log_cached *cached_at(const struct log *log, size_t i)
{
    return log->cached[(log->cached_head + i) & (log->cached_capacity - 1)];
}

static void cached_free(struct log_cached *e)
{
    struct log_cache *c = e->log->cache;
    TAILQ_REMOVE(&c->ages, e, age);
    c->bytes -= e->cost;
    (void)kb_block_unref(e->block);
    free(e);
}

static void pop_first(struct log *log)
{
    cached_free(cached_at(log, 0));
    log->cached_head = (log->cached_head + 1) & (log->cached_capacity - 1);
    log->cached_count--;
}

static void push_last(struct log *log, struct log_cached *e)
{
    if (log->cached_count == log->cached_capacity) {
        size_t capacity = log->cached_capacity != 0 ? log->cached_capacity * 2 : 8;
        struct log_cached **ring = kb_new_array(struct log_cached *, capacity);
        for (size_t i = 0; i < log->cached_count; i++)
            ring[i] = cached_at(log, i);
        free(log->cached);
        log->cached = ring;
        log->cached_head = 0;
        log->cached_capacity = capacity;
    }
    log->cached[(log->cached_head + log->cached_count) & (log->cached_capacity - 1)] = e;
    log->cached_count++;
}

void log_cache_add(struct log *log, struct kb_block *block, size_t position,
                   const struct log_head *h)
{
    struct log_cache *c = log->cache;
    if (c == NULL)
        return;
    /* A small batch must not keep a large frame alive. */
    bool copy = (size_t)h->size * 2 < block->capacity;
    size_t cost = (copy ? h->size : block->capacity) + sizeof(struct log_cached) +
                  sizeof(struct kb_block);
    if (cost > c->limit_bytes / 4) {
        log_cache_cut(log, 0); /* what is cached must reach up to the end */
        return;
    }
    struct log_cached *e = kb_new(struct log_cached);
    *e = (struct log_cached){.log = log,
                             .size = h->size,
                             .base_offset = h->base_offset,
                             .last_offset = h->last_offset,
                             .cost = cost};
    if (copy) {
        e->block = kb_block_copy(block->data + position, h->size);
    } else {
        e->block = kb_block_ref(block);
        e->position = (uint32_t)position;
    }
    push_last(log, e);
    TAILQ_INSERT_TAIL(&c->ages, e, age);
    c->bytes += cost;
    while (c->bytes > c->limit_bytes)
        pop_first(TAILQ_FIRST(&c->ages)->log);
}

void log_cache_cut(struct log *log, int64_t offset)
{
    while (log->cached_count != 0) {
        struct log_cached *e = cached_at(log, log->cached_count - 1);
        if (e->last_offset < offset)
            break;
        log->cached_count--;
        cached_free(e);
    }
}

void log_cache_drop(struct log *log)
{
    log_cache_cut(log, 0);
    free(log->cached);
    log->cached = NULL;
    log->cached_capacity = log->cached_head = 0;
}

bool log_cache_read(struct log *log, struct log_read *r, int64_t bound)
{
    if (log->cached_count == 0 || r->offset < cached_at(log, 0)->base_offset)
        return false;
    size_t low = 0; /* below low: last < offset */
    size_t high = log->cached_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (cached_at(log, middle)->last_offset < r->offset)
            low = middle + 1;
        else
            high = middle;
    }
    struct kb_block *run = NULL; /* neighbours in one block become one slice */
    size_t run_from = 0;
    size_t run_size = 0;
    for (size_t i = low; i < log->cached_count; i++) {
        const struct log_cached *e = cached_at(log, i);
        bool fits = r->records.size + run_size + e->size <= r->max_bytes ||
                    (i == low && r->min_one);
        if (e->last_offset >= bound || !fits)
            break;
        if (run != e->block || run_from + run_size != e->position) {
            if (run != NULL)
                kb_chain_add_block(&r->records, run, run_from, run_size);
            run = e->block;
            run_from = e->position;
            run_size = 0;
        }
        run_size += e->size;
        if (i == low)
            r->first_offset = e->base_offset;
        r->next_offset = e->last_offset + 1;
    }
    if (run != NULL)
        kb_chain_add_block(&r->records, run, run_from, run_size);
    return true;
}
