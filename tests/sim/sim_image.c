#include "tests/sim/sim_image.h"

#include <string.h>

#define SECTOR 512
#define PAGE 4096
#define FILE_BYTES_MAX (UINT64_C(1) << 30) /* a simulated file larger than this is a bug */

struct sim_inode *sim_inode_new(uint64_t id, bool dir)
{
    struct sim_inode *i = kb_new(struct sim_inode);
    i->id = id;
    i->dir = dir;
    i->refs = 1;
    return i;
}

void sim_inode_release(struct sim_inode *i)
{
    KB_ASSERT(i->refs == 0);
    free(i->now.data);
    free(i->durable.data);
    free(i->rot);
    free(i);
}

/* ---- images ---- */

/* Change the size; new bytes are zero. */
static void image_resize(struct sim_image *m, uint64_t size)
{
    KB_ASSERT(size <= FILE_BYTES_MAX);
    if (size > m->capacity) {
        uint64_t capacity = m->capacity != 0 ? m->capacity : SECTOR;
        while (capacity < size)
            capacity *= 2;
        m->data = kb_realloc(m->data, capacity);
        m->capacity = capacity;
    }
    if (size > m->size)
        memset(m->data + m->size, 0, size - m->size);
    m->size = size;
}

static void range_add(struct sim_range *r, uint64_t from, uint64_t to)
{
    if (from >= to)
        return;
    if (r->from >= r->to) {
        *r = (struct sim_range){from, to};
        return;
    }
    r->from = from < r->from ? from : r->from;
    r->to = to > r->to ? to : r->to;
}

static uint64_t min_u64(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* Bytes [from, to) are new ones. */
static void rot_drop(struct sim_inode *i, uint64_t from, uint64_t to)
{
    size_t kept = 0;
    for (size_t n = 0; n < i->rot_count; n++) {
        if (i->rot[n].position < from || i->rot[n].position >= to)
            i->rot[kept++] = i->rot[n];
    }
    i->rot_count = kept;
}

void sim_inode_resize(struct sim_inode *i, uint64_t size)
{
    uint64_t before = i->now.size;
    i->now_changes++;
    rot_drop(i, size, UINT64_MAX);
    image_resize(&i->now, size);
    range_add(&i->dirty, before, size);
}

void sim_inode_put(struct sim_inode *i, const void *data, size_t size, uint64_t position)
{
    if (position + size > i->now.size)
        sim_inode_resize(i, position + size);
    i->now_changes++;
    memcpy(i->now.data + position, data, size);
    range_add(&i->dirty, position, position + size);
    rot_drop(i, position, position + size);
}

/* Copy [from, to) of the visible image into m, as far as both reach. */
static void copy_range(const struct sim_inode *i, struct sim_image *m, uint64_t from, uint64_t to)
{
    to = min_u64(to, min_u64(i->now.size, m->size));
    if (from < to)
        memcpy(m->data + from, i->now.data + from, to - from);
}

void sim_inode_make_durable(struct sim_inode *i)
{
    if (i->dirty.from < i->dirty.to || i->durable.size != i->now.size)
        i->durable_changes++;
    image_resize(&i->durable, i->now.size);
    copy_range(i, &i->durable, i->dirty.from, i->dirty.to);
    i->dirty = (struct sim_range){0};
}

void sim_inode_sync_failed(struct sim_inode *i, struct kb_prng *prng)
{
    i->durable_changes++;
    for (uint64_t at = i->dirty.from / SECTOR * SECTOR; at < i->dirty.to; at += SECTOR) {
        if (kb_prng_below(prng, 2) == 0)
            copy_range(i, &i->durable, at, at + SECTOR);
    }
    range_add(&i->lost, i->dirty.from, i->dirty.to);
    i->dirty = (struct sim_range){0};
}

void sim_inode_forget_lost(struct sim_inode *i)
{
    uint64_t to = min_u64(i->lost.to, i->now.size);
    i->now_changes++;
    for (uint64_t at = i->lost.from; at < to; at++) {
        if (at >= i->dirty.from && at < i->dirty.to)
            continue;
        i->now.data[at] = at < i->durable.size ? i->durable.data[at] : 0;
    }
    i->lost = (struct sim_range){0};
}

/* ---- bits that turn ---- */

void sim_inode_rot_add(struct sim_inode *i, uint64_t position, uint8_t mask)
{
    kb_array_reserve(i->rot, i->rot_count, i->rot_capacity);
    i->rot[i->rot_count++] = (struct sim_rot){.position = position, .mask = mask};
}

static bool rot_in_pages_of(const struct sim_rot *r, uint64_t position, size_t size)
{
    return size > 0 && r->position / PAGE >= position / PAGE &&
           r->position / PAGE <= (position + size - 1) / PAGE;
}

void sim_inode_rot_read(struct sim_inode *i, uint8_t *data, size_t size, uint64_t position)
{
    for (size_t n = 0; n < i->rot_count; n++) {
        struct sim_rot *r = &i->rot[n];
        if (rot_in_pages_of(r, position, size))
            r->cached = true;
        if (r->position >= position && r->position < position + size)
            data[r->position - position] ^= r->mask;
    }
}

bool sim_inode_rot_hidden(const struct sim_inode *i, uint64_t position, size_t size)
{
    for (size_t n = 0; n < i->rot_count; n++) {
        if (!i->rot[n].cached && rot_in_pages_of(&i->rot[n], position, size))
            return true;
    }
    return false;
}

void sim_inode_rot_uncache(struct sim_inode *i)
{
    for (size_t n = 0; n < i->rot_count; n++)
        i->rot[n].cached = false;
}

/* ---- power cut ---- */

/* Sizes are data too: the old one, the new one, or a sector boundary between them. */
static uint64_t torn_size(const struct sim_inode *i, struct kb_prng *prng)
{
    uint64_t low = min_u64(i->now.size, i->durable.size);
    uint64_t high = i->now.size > i->durable.size ? i->now.size : i->durable.size;
    switch (kb_prng_below(prng, 3)) {
    case 0:
        return i->durable.size;
    case 1:
        return i->now.size;
    default: {
        uint64_t size = (low + kb_prng_below(prng, high - low + 1)) / SECTOR * SECTOR;
        return size < low ? low : size; /* a synced size does not fall */
    }
    }
}

/* A sector that was never persisted shows the old bytes, zeros behind the old end, and rarely what
 * some former file left on these blocks. */
static void stale_sector(struct sim_image *m, uint64_t at, uint64_t old_size, struct kb_prng *prng)
{
    if (at < old_size || kb_prng_below(prng, 16) != 0)
        return;
    for (uint64_t b = at; b < at + SECTOR && b < m->size; b++)
        m->data[b] = (uint8_t)kb_prng_next(prng);
}

static void settle_torn(struct sim_inode *i, struct sim_range r, struct kb_prng *prng)
{
    uint64_t old_size = i->durable.size;
    image_resize(&i->durable, torn_size(i, prng));
    /* In order up to some sector, and beyond it by chance: all, half or none. */
    uint64_t first = r.from / SECTOR;
    uint64_t sectors = (r.to + SECTOR - 1) / SECTOR - first;
    uint64_t in_order = first + kb_prng_below(prng, sectors + 1);
    uint64_t chance = kb_prng_below(prng, 3);
    for (uint64_t s = first; s < first + sectors; s++) {
        uint64_t at = s * SECTOR;
        if (at >= i->durable.size)
            break;
        bool kept = s < in_order || (chance > 0 && kb_prng_below(prng, 2) < chance);
        if (kept)
            copy_range(i, &i->durable, at < r.from ? r.from : at, min_u64(at + SECTOR, r.to));
        else
            stale_sector(&i->durable, at, old_size, prng);
    }
}

void sim_inode_settle(struct sim_inode *i, enum sim_crash_mode mode, struct kb_prng *prng)
{
    i->now_changes++;
    i->durable_changes++;
    sim_inode_forget_lost(i);
    bool changed = i->dirty.from < i->dirty.to || i->now.size != i->durable.size;
    if (changed) {
        if (mode == SIM_CRASH_SEEDED)
            mode = SIM_CRASH_DROP + (enum sim_crash_mode)kb_prng_below(prng, 3);
        if (mode == SIM_CRASH_KEEP)
            sim_inode_make_durable(i);
        else if (mode == SIM_CRASH_TORN)
            settle_torn(i, i->dirty, prng);
    }
    image_resize(&i->now, 0);
    image_resize(&i->now, i->durable.size);
    if (i->durable.size > 0)
        memcpy(i->now.data, i->durable.data, i->durable.size);
    i->dirty = (struct sim_range){0};
    i->lost = (struct sim_range){0};
    rot_drop(i, i->now.size, UINT64_MAX);
    sim_inode_rot_uncache(i);
}

/* ---- names ---- */

/* First index whose text is not below (or with past: is above) the given one. */
static size_t names_bound(const struct sim_names *names, const char *text, bool past)
{
    size_t low = 0, high = names->count;
    while (low < high) {
        size_t mid = (low + high) / 2;
        int c = strcmp(names->names[mid].text, text);
        if (c < 0 || (past && c == 0))
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

size_t sim_names_after(const struct sim_names *names, const char *text)
{
    return names_bound(names, text, true);
}

struct sim_inode *sim_names_get(const struct sim_names *names, const char *text)
{
    size_t n = names_bound(names, text, false);
    if (n < names->count && strcmp(names->names[n].text, text) == 0)
        return names->names[n].inode;
    return NULL;
}

struct sim_inode *sim_names_put(struct sim_names *names, const char *text, struct sim_inode *i)
{
    size_t n = names_bound(names, text, false);
    names->changes++;
    if (n < names->count && strcmp(names->names[n].text, text) == 0) {
        struct sim_inode *old = names->names[n].inode;
        names->names[n].inode = i;
        return old;
    }
    kb_array_reserve(names->names, names->count, names->capacity);
    memmove(&names->names[n + 1], &names->names[n], (names->count - n) * sizeof(names->names[0]));
    names->names[n] = (struct sim_name){.text = kb_strdup(text), .inode = i};
    names->count++;
    return NULL;
}

struct sim_inode *sim_names_remove(struct sim_names *names, const char *text)
{
    size_t n = names_bound(names, text, false);
    if (n >= names->count || strcmp(names->names[n].text, text) != 0)
        return NULL;
    struct sim_inode *old = names->names[n].inode;
    names->changes++;
    (void)kb_free(names->names[n].text);
    names->count--;
    memmove(&names->names[n], &names->names[n + 1], (names->count - n) * sizeof(names->names[0]));
    return old;
}

struct sim_inode *sim_names_pop(struct sim_names *names)
{
    if (names->count == 0) {
        names->names = kb_free(names->names);
        names->capacity = 0;
        return NULL;
    }
    struct sim_name *last = &names->names[--names->count];
    names->changes++;
    (void)kb_free(last->text);
    return last->inode;
}
