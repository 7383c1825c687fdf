#ifndef KB_BYTES_H
#define KB_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "proto/base/mem.h"

/* Borrowed bytes. data NULL means "null" where a protocol knows the difference, size is then 0. */
struct kb_view {
    const uint8_t *data;
    size_t size;
};
static inline struct kb_view kb_view_of(const void *data, size_t size)
{
    return (struct kb_view){data, size};
}
static inline struct kb_view kb_view_str(const char *s)
{
    return (struct kb_view){(const uint8_t *)s, strlen(s)};
}
static inline bool kb_view_equal(struct kb_view a, struct kb_view b)
{
    return a.size == b.size && (a.size == 0 || memcmp(a.data, b.data, a.size) == 0);
}

/* Owned growable bytes; ends the process when memory is gone. Zero-initialise to start. */
struct kb_buf {
    uint8_t *data;
    size_t size;
    size_t capacity;
};
void kb_buf_reserve(struct kb_buf *b, size_t more);
void kb_buf_append(struct kb_buf *b, const void *data, size_t size);
void kb_buf_append_str(struct kb_buf *b, const char *s);
void kb_buf_printf(struct kb_buf *b, const char *format, ...) __attribute__((format(printf, 2, 3)));
void kb_buf_release(struct kb_buf *b);

/* A block of memory counted by its users. Owned by the state loop: only that thread changes the
 * count; other threads may read the bytes while the loop holds a reference for them. Its bytes do
 * not change once it is shared. */
struct kb_pool;
struct kb_block {
    uint32_t refs;
    uint32_t size;     /* bytes in use */
    uint32_t capacity; /* bytes that fit */
    struct kb_pool *pool;
    struct kb_budget *budget; /* given back when the last reference goes; may be NULL */
    uint8_t *data;
};
/* New block with one reference, size 0. Ends the process when memory is gone. */
struct kb_block *kb_block_new(size_t capacity);
struct kb_block *kb_block_copy(const void *data, size_t size);
struct kb_block *kb_block_ref(struct kb_block *b);
/* Drop one reference (NULL accepted); always returns NULL. */
struct kb_block *kb_block_unref(struct kb_block *b);

/* Size-class free lists whose pages stay warm. One thread owns a pool; blocks must be gone before
 * kb_pool_free. At most keep_bytes stay in the free lists. */
struct kb_pool *kb_pool_new(size_t keep_bytes);
struct kb_pool *kb_pool_free(struct kb_pool *p);
/* A block of at least capacity bytes, charged to budget (may be NULL). NULL when the budget
 * refuses. */
struct kb_block *kb_pool_take(struct kb_pool *p, size_t capacity, struct kb_budget *budget);
/* What it charges for so many. */
size_t kb_pool_cost(size_t capacity);

/* A counted handle on a file range's file; defined by env.h. */
struct kb_file;

/* One piece of an answer: bytes of a block, or a range of a file. */
struct kb_slice {
    struct kb_block *block;   /* NULL for a file range; holds a reference otherwise */
    struct kb_file *file;     /* NULL for a block; holds a reference otherwise */
    uint32_t file_generation; /* of the file when the slice was made; see kb_file_bump */
    uint64_t position;        /* first byte, in the block or in the file */
    uint64_t size;
};

/* Pieces in order, to be sent or written. Zero-initialise to start. Owns a reference per slice. */
struct kb_chain {
    struct kb_slice *slices;
    size_t count;
    size_t capacity;
    uint64_t size; /* sum over the slices */
};
/* Append bytes of a block (takes a new reference of its own). */
void kb_chain_add_block(struct kb_chain *c, struct kb_block *b, size_t position, size_t size);
/* Append a file range (takes a new reference of its own). */
void kb_chain_add_file(struct kb_chain *c, struct kb_file *f, uint64_t position, uint64_t size);
/* Append a copy of some bytes, packed into the last own block where it fits. */
void kb_chain_add_copy(struct kb_chain *c, const void *data, size_t size);
/* Move all slices of `from` to the end of `to`; `from` is empty afterwards. */
void kb_chain_move(struct kb_chain *to, struct kb_chain *from);
/* Append references to all slices of `from`; `from` is as before. */
void kb_chain_add_chain(struct kb_chain *to, const struct kb_chain *from);
void kb_chain_release(struct kb_chain *c);

/* Big-endian and little-endian access at any alignment. */
static inline uint16_t kb_get_be16(const void *p)
{
    const uint8_t *b = p;
    return (uint16_t)(b[0] << 8 | b[1]);
}
static inline uint32_t kb_get_be32(const void *p)
{
    const uint8_t *b = p;
    return (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3];
}
static inline uint64_t kb_get_be64(const void *p)
{
    return (uint64_t)kb_get_be32(p) << 32 | kb_get_be32((const uint8_t *)p + 4);
}
static inline void kb_put_be16(void *p, uint16_t v)
{
    uint8_t *b = p;
    b[0] = (uint8_t)(v >> 8);
    b[1] = (uint8_t)v;
}
static inline void kb_put_be32(void *p, uint32_t v)
{
    kb_put_be16(p, (uint16_t)(v >> 16));
    kb_put_be16((uint8_t *)p + 2, (uint16_t)v);
}
static inline void kb_put_be64(void *p, uint64_t v)
{
    kb_put_be32(p, (uint32_t)(v >> 32));
    kb_put_be32((uint8_t *)p + 4, (uint32_t)v);
}

#endif
