#include "proto/base/map.h"

#include <stdlib.h>

#include "proto/base/assert.h"
#include "proto/base/mem.h"

static size_t slot_home(uint64_t key, size_t capacity)
{
    key ^= key >> 33;
    key *= 0xff51afd7ed558ccdULL;
    key ^= key >> 33;
    return (size_t)key & (capacity - 1);
}

static size_t slot_find(const struct kb_map *m, uint64_t key)
{
    size_t i = slot_home(key, m->capacity);
    while (m->slots[i].value != NULL && m->slots[i].key != key)
        i = (i + 1) & (m->capacity - 1);
    return i;
}

void *kb_map_get(const struct kb_map *m, uint64_t key)
{
    return m->capacity != 0 ? m->slots[slot_find(m, key)].value : NULL;
}

static void map_grow(struct kb_map *m)
{
    struct kb_map old = *m;
    m->capacity = old.capacity != 0 ? old.capacity * 2 : 16;
    m->slots = kb_new_array(struct kb_map_slot, m->capacity);
    for (size_t i = 0; i < old.capacity; i++) {
        if (old.slots[i].value != NULL)
            m->slots[slot_find(m, old.slots[i].key)] = old.slots[i];
    }
    free(old.slots);
}

void *kb_map_put(struct kb_map *m, uint64_t key, void *value)
{
    KB_ASSERT(value != NULL);
    if ((m->count + 1) * 4 > m->capacity * 3)
        map_grow(m);
    struct kb_map_slot *s = &m->slots[slot_find(m, key)];
    void *former = s->value;
    if (former == NULL)
        m->count++;
    s->key = key;
    s->value = value;
    return former;
}

void *kb_map_remove(struct kb_map *m, uint64_t key)
{
    if (m->capacity == 0)
        return NULL;
    size_t hole = slot_find(m, key);
    void *former = m->slots[hole].value;
    if (former == NULL)
        return NULL;
    size_t i = hole;
    for (;;) {
        i = (i + 1) & (m->capacity - 1);
        if (m->slots[i].value == NULL)
            break;
        size_t home = slot_home(m->slots[i].key, m->capacity);
        /* Move i into the hole unless its home lies cyclically in (hole, i]. */
        if (((i - home) & (m->capacity - 1)) >= ((i - hole) & (m->capacity - 1))) {
            m->slots[hole] = m->slots[i];
            hole = i;
        }
    }
    m->slots[hole] = (struct kb_map_slot){0};
    m->count--;
    return former;
}

void *kb_map_next(const struct kb_map *m, size_t *cursor, uint64_t *ret_key)
{
    for (size_t i = *cursor; i < m->capacity; i++) {
        if (m->slots[i].value == NULL)
            continue;
        *cursor = i + 1;
        if (ret_key != NULL)
            *ret_key = m->slots[i].key;
        return m->slots[i].value;
    }
    *cursor = m->capacity;
    return NULL;
}

void kb_map_release(struct kb_map *m)
{
    free(m->slots);
    *m = (struct kb_map){0};
}
