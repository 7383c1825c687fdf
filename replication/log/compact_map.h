#ifndef LOG_COMPACT_MAP_H
#define LOG_COMPACT_MAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/bytes.h"

/* Newest offset of each key, in bounded memory: open addressing over 128-bit keyed hashes, 24 bytes
 * a slot, at most 9 of 10 in use. Keys that share a hash would be taken for one: with a secret seed
 * nobody can make them, and by chance it takes 2^64 keys. Grows by doubling up to its limit. */
struct compact_slot {
    uint64_t hash[2];
    int64_t offset; /* -1: free */
};
struct compact_map {
    uint64_t seed[2];
    struct compact_slot *slots;
    size_t capacity; /* a power of two */
    size_t capacity_max;
    size_t count;
};
void compact_map_init(struct compact_map *m, uint64_t bytes_max, const uint64_t seed[2]);
void compact_map_release(struct compact_map *m);
/* Set key's offset. False when key is new and the map is full: nothing changed. */
bool compact_map_put(struct compact_map *m, struct kb_view key, int64_t offset);
/* -1 when the key is unknown. */
int64_t compact_map_get(const struct compact_map *m, struct kb_view key);

/* SipHash-2-4 with 128 bits of output. */
void compact_hash(const uint64_t seed[2], struct kb_view key, uint64_t ret[2]);

#endif
