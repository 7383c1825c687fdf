#include "replication/log/compact_map.h"

#include <string.h>

#include "proto/base/mem.h"

/* ---- SipHash-2-4-128 (Aumasson, Bernstein) ---- */

struct sip {
    uint64_t v0, v1, v2, v3;
};

static inline uint64_t rotate(uint64_t x, unsigned by)
{
    return x << by | x >> (64 - by);
}

static inline void sip_round(struct sip *s)
{
    s->v0 += s->v1;
    s->v1 = rotate(s->v1, 13) ^ s->v0;
    s->v0 = rotate(s->v0, 32);
    s->v2 += s->v3;
    s->v3 = rotate(s->v3, 16) ^ s->v2;
    s->v0 += s->v3;
    s->v3 = rotate(s->v3, 21) ^ s->v0;
    s->v2 += s->v1;
    s->v1 = rotate(s->v1, 17) ^ s->v2;
    s->v2 = rotate(s->v2, 32);
}

static inline void sip_word(struct sip *s, uint64_t word)
{
    s->v3 ^= word;
    sip_round(s);
    sip_round(s);
    s->v0 ^= word;
}

static inline uint64_t sip_finish(struct sip *s)
{
    for (int i = 0; i < 4; i++)
        sip_round(s);
    return s->v0 ^ s->v1 ^ s->v2 ^ s->v3;
}

void compact_hash(const uint64_t seed[2], struct kb_view key, uint64_t ret[2])
{
    struct sip s = {
        .v0 = seed[0] ^ 0x736f6d6570736575ULL,
        .v1 = seed[1] ^ 0x646f72616e646f6dULL ^ 0xee,
        .v2 = seed[0] ^ 0x6c7967656e657261ULL,
        .v3 = seed[1] ^ 0x7465646279746573ULL,
    };
    size_t at = 0;
    uint64_t word = 0;
    for (; key.size - at >= 8; at += 8) {
        memcpy(&word, key.data + at, 8); /* little-endian, as the machine is */
        sip_word(&s, word);
    }
    word = (uint64_t)key.size << 56;
    for (size_t i = 0; at + i < key.size; i++)
        word |= (uint64_t)key.data[at + i] << (8 * i);
    sip_word(&s, word);
    s.v2 ^= 0xee;
    ret[0] = sip_finish(&s);
    s.v1 ^= 0xdd;
    ret[1] = sip_finish(&s);
}

/* ---- the table ---- */

enum { MAP_CAPACITY_MIN = 64 };

static struct compact_slot *slots_new(size_t capacity)
{
    struct compact_slot *slots = kb_new_array(struct compact_slot, capacity);
    for (size_t i = 0; i < capacity; i++)
        slots[i].offset = -1;
    return slots;
}

void compact_map_init(struct compact_map *m, uint64_t bytes_max, const uint64_t seed[2])
{
    size_t max = MAP_CAPACITY_MIN;
    while (max * 2 * sizeof(struct compact_slot) <= bytes_max)
        max *= 2;
    *m = (struct compact_map){
        .seed = {seed[0], seed[1]},
        .capacity = MAP_CAPACITY_MIN,
        .capacity_max = max,
        .slots = slots_new(MAP_CAPACITY_MIN),
    };
}

void compact_map_release(struct compact_map *m)
{
    (void)kb_free(m->slots);
    *m = (struct compact_map){0};
}

static struct compact_slot *slot_of(struct compact_slot *slots, size_t capacity,
                                    const uint64_t hash[2])
{
    size_t i = (size_t)hash[0] & (capacity - 1);
    while (slots[i].offset >= 0 && (slots[i].hash[0] != hash[0] || slots[i].hash[1] != hash[1]))
        i = (i + 1) & (capacity - 1);
    return &slots[i];
}

static void map_grow(struct compact_map *m)
{
    size_t capacity = m->capacity * 2;
    struct compact_slot *slots = slots_new(capacity);
    for (size_t i = 0; i < m->capacity; i++)
        if (m->slots[i].offset >= 0)
            *slot_of(slots, capacity, m->slots[i].hash) = m->slots[i];
    (void)kb_free(m->slots);
    m->slots = slots;
    m->capacity = capacity;
}

bool compact_map_put(struct compact_map *m, struct kb_view key, int64_t offset)
{
    uint64_t hash[2];
    compact_hash(m->seed, key, hash);
    struct compact_slot *s = slot_of(m->slots, m->capacity, hash);
    if (s->offset < 0) {
        if (m->count >= m->capacity / 10 * 9) {
            if (m->capacity == m->capacity_max)
                return false;
            map_grow(m);
            s = slot_of(m->slots, m->capacity, hash);
        }
        m->count++;
        s->hash[0] = hash[0];
        s->hash[1] = hash[1];
    }
    s->offset = offset;
    return true;
}

int64_t compact_map_get(const struct compact_map *m, struct kb_view key)
{
    uint64_t hash[2];
    compact_hash(m->seed, key, hash);
    return slot_of(m->slots, m->capacity, hash)->offset;
}
