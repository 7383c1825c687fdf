#ifndef KB_MAP_H
#define KB_MAP_H

#include <stddef.h>
#include <stdint.h>

/* Open-addressing map from a 64-bit key to a non-NULL pointer (not owned). Iteration order is the
 * table's and depends on insertion history only, never on addresses. Zero-initialise to start. */
struct kb_map_slot {
    uint64_t key;
    void *value; /* NULL = empty */
};
struct kb_map {
    struct kb_map_slot *slots;
    size_t count;
    size_t capacity; /* a power of two, or 0 */
};
void *kb_map_get(const struct kb_map *m, uint64_t key);
/* Set or replace; returns the former value or NULL. */
void *kb_map_put(struct kb_map *m, uint64_t key, void *value);
/* Remove; returns the former value or NULL. */
void *kb_map_remove(struct kb_map *m, uint64_t key);
/* Start with *cursor = 0; NULL at the end. The map must not change meanwhile. */
void *kb_map_next(const struct kb_map *m, size_t *cursor, uint64_t *ret_key);
void kb_map_release(struct kb_map *m);

#endif
