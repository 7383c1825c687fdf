/* Reading whole batches: from the tail cache, from resident pages at once, else read_cold.c. */
#include <stdlib.h>

#include "replication/log/read_parts.h"

#define READ_SENDFILE_MIN (256u << 10) /* from here on a file range is cheaper */
#define READ_RANGE_MAX (4u << 20)
#define READ_PROBE_STEP (64u << 10)
enum { READ_WALK_MAX = 80 };

/* ---- finding batch borders ---- */

static int64_t heads_read_now(struct heads *hs, uint64_t position, void *ret, size_t size)
{
    if (hs->fills_left == 0)
        return -KB_EAGAIN;
    hs->fills_left--;
    return kb_env_read_now(hs->env, hs->file, position, ret, size);
}

int log_heads_at(struct heads *hs, uint64_t position, struct log_head *ret)
{
    if (position < hs->start || position + LOG_HEAD_SIZE > hs->start + hs->size) {
        int64_t n = hs->read(hs, position, hs->window, sizeof(hs->window));
        if (n < 0)
            return (int)n;
        hs->start = position;
        hs->size = (size_t)n;
    }
    size_t at = (size_t)(position - hs->start);
    return log_head_parse(hs->window + at, hs->size - at, ret) ? 0 : -KB_ECORRUPT;
}

int log_heads_find(struct heads *hs, uint64_t position, const struct want *w, struct range *ret)
{
    struct log_head h;
    *ret = (struct range){.first_offset = w->offset, .next_offset = w->offset};
    int r = 0;
    while ((r = log_heads_at(hs, position, &h)) == 0 && h.last_offset < w->offset)
        position += h.size;
    if (r < 0)
        return r;
    ret->position = position;
    if (h.last_offset >= w->bound) {
        ret->blocked = true;
        ret->blocked_base = h.base_offset;
        ret->blocked_last = h.last_offset;
        return 0;
    }
    ret->first_offset = h.base_offset;
    for (;;) {
        bool fits = ret->size + h.size <= w->max_bytes || (ret->size == 0 && w->min_one);
        if (h.last_offset >= w->bound || !fits)
            return 0;
        ret->size += h.size;
        ret->next_offset = h.last_offset + 1;
        if (ret->next_offset >= w->bound || ret->size >= w->max_bytes)
            return 0;
        r = log_heads_at(hs, position + ret->size, &h);
        if (r < 0)
            return r == -KB_ECORRUPT ? 0 : r; /* the segment's end */
    }
}

/* ---- hints ---- */

void log_hints_clear(struct log *log)
{
    for (int i = 0; i < LOG_HINT_COUNT; i++)
        log->hints[i] = (struct log_hint){.segment_base = -1};
}

void log_hint_add(struct log *log, int64_t segment_base, int64_t offset, uint64_t position)
{
    log->hints[log->hint_next++ % LOG_HINT_COUNT] = (struct log_hint){segment_base, offset,
                                                                      position};
}

/* Where to start in this segment; false when only its index file knows. */
static bool start_position(const struct log *log, size_t segment, int64_t offset,
                           uint64_t *ret_position)
{
    const struct log_segment *s = log->segments[segment];
    bool active = segment + 1 == log->segment_count;
    uint64_t position = 0;
    bool found = offset == s->base_offset || active;
    if (active && log->index_valid)
        position = log_index_lookup(&log->index, (uint32_t)(offset - s->base_offset));
    for (int i = 0; i < LOG_HINT_COUNT; i++) {
        const struct log_hint *h = &log->hints[i];
        bool usable = h->segment_base == s->base_offset &&
                      (h->offset == offset || (active && h->offset < offset));
        if (usable && h->position >= position) {
            position = h->position;
            found = true;
        }
    }
    *ret_position = position;
    return found;
}

/* ---- blocks ---- */

/* A budget that nothing is charged to lets one block through, however large the batch is. */
struct kb_block *log_read_block(struct log *log, const struct log_read *r, size_t size)
{
    struct kb_budget *budget = r->budget != NULL ? r->budget : log->read_budget;
    if (log->read_pool == NULL)
        return kb_block_new(size);
    struct kb_block *b = kb_pool_take(log->read_pool, size, budget);
    if (b == NULL && budget != NULL && budget->used_bytes == 0) {
        size_t limit = budget->limit_bytes;
        budget->limit_bytes = SIZE_MAX;
        b = kb_pool_take(log->read_pool, size, budget);
        budget->limit_bytes = limit;
    }
    return b;
}

static void read_answer(struct log *log, struct log_read *r, const struct log_segment *s,
                        const struct range *g)
{
    r->first_offset = g->first_offset;
    r->next_offset = g->next_offset;
    log_hint_add(log, s->base_offset, g->next_offset, g->position + g->size);
}

/* ---- at once ---- */

static bool range_is_resident(struct log *log, struct kb_file *file, const struct range *g)
{
    uint8_t byte;
    for (uint64_t at = 0; at < g->size; at += READ_PROBE_STEP) {
        if (kb_env_read_now(log->env, file, g->position + at, &byte, 1) != 1)
            return false;
    }
    return kb_env_read_now(log->env, file, g->position + g->size - 1, &byte, 1) == 1;
}

static bool range_is_sound(const struct log_segment *s, const struct range *g)
{
    return g->position + g->size <= s->sound_to || g->position >= s->sound_from;
}

void log_segment_is_sound(struct log_segment *s, uint64_t position, uint64_t size)
{
    if (position <= s->sound_to && position + size > s->sound_to)
        s->sound_to = position + size;
    if (position < s->sound_from && position + size >= s->sound_from)
        s->sound_from = position;
    if (s->sound_to >= s->sound_from)
        s->sound_from = 0;
}

/* LOG_READ_OK, -KB_EAGAIN (a job must do it), -KB_ELIMIT, or another error for the job to find. */
static int read_resident(struct log *log, struct log_read *r, size_t segment, const struct want *w,
                         uint64_t position)
{
    struct log_segment *s = log->segments[segment];
    struct heads hs = {
        .read = heads_read_now, .env = log->env, .file = s->file, .fills_left = READ_WALK_MAX};
    struct range g;
    int e = log_heads_find(&hs, position, w, &g);
    if (e < 0)
        return e;
    if (g.size == 0)
        return log_proof_blocked(log, s, w->offset, &g) ? LOG_READ_OK : -KB_EAGAIN;
    if (!range_is_sound(s, &g))
        return -KB_EAGAIN;
    if (g.size >= READ_SENDFILE_MIN || r->as_files) {
        if (!range_is_resident(log, s->file, &g))
            return -KB_EAGAIN;
        kb_chain_add_file(&r->records, s->file, g.position, g.size);
        read_answer(log, r, s, &g);
        return LOG_READ_OK;
    }
    struct kb_block *b = log_read_block(log, r, (size_t)g.size);
    if (b == NULL)
        return -KB_ELIMIT;
    int64_t n = (int64_t)g.size;
    if (g.position >= hs.start && g.position + g.size <= hs.start + hs.size)
        memcpy(b->data, hs.window + (g.position - hs.start), (size_t)g.size);
    else
        n = kb_env_read_now(log->env, s->file, g.position, b->data, (size_t)g.size);
    if (n == (int64_t)g.size) {
        b->size = (uint32_t)g.size;
        kb_chain_add_block(&r->records, b, 0, (size_t)g.size);
        read_answer(log, r, s, &g);
    }
    (void)kb_block_unref(b);
    return n == (int64_t)g.size ? LOG_READ_OK : -KB_EAGAIN;
}

/* ---- the call ---- */

int log_read_try(struct log *log, struct log_read *r, unsigned tries, size_t block_bytes)
{
    if (log->phase != LOG_OPEN && log->phase != LOG_CLOSING)
        return -KB_ECLOSED;
    r->first_offset = r->next_offset = r->offset;
    if (r->offset < log->start || r->offset > log->end)
        return LOG_READ_OUT_OF_RANGE;
    int64_t bound = r->bound_offset < log->written ? r->bound_offset : log->written;
    if (r->offset >= bound || log->segment_count == 0)
        return LOG_READ_OK;
    if (!r->as_files && log_cache_read(log, r, bound))
        return LOG_READ_OK;
    size_t segment = log_segment_find(log, r->offset);
    struct want w = {r->offset, bound, r->max_bytes, r->min_one};
    if (w.max_bytes > READ_RANGE_MAX)
        w.max_bytes = READ_RANGE_MAX;
    uint64_t position = 0;
    bool known = start_position(log, segment, r->offset, &position);
    if (known && tries == 0) {
        int e = read_resident(log, r, segment, &w, position);
        if (e == LOG_READ_OK || e == -KB_ELIMIT)
            return e;
    }
    struct cold_read c = {segment, known, position, tries, block_bytes};
    return log_read_cold(log, r, &w, &c);
}

int log_read(struct log *log, struct log_read *r)
{
    r->records = (struct kb_chain){0};
    r->op_ = NULL;
    return log_read_try(log, r, 0, 0);
}
