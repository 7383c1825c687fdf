#ifndef LOG_READ_PARTS_H
#define LOG_READ_PARTS_H

/* Between read.c (what is at hand) and read_cold.c (what must be fetched). */

#include "replication/log/impl.h"

#define READ_WINDOW_BYTES (16u << 10)
#define READ_BLOCK_MAX (1u << 20) /* bytes brought into memory by one read */

/* Heads of the batches of one segment file, through a window. */
struct heads {
    int64_t (*read)(struct heads *hs, uint64_t position, void *ret, size_t size);
    struct kb_env *env; /* on the loop: resident pages only */
    struct kb_file *file;
    struct kb_fs *fs; /* in a job */
    struct kb_fd *fd;
    unsigned fills_left; /* on the loop: how often it may go on */
    uint64_t start;
    size_t size;
    uint8_t window[READ_WINDOW_BYTES];
};
/* 0, -KB_ECORRUPT when no batch begins there, or another error. */
int log_heads_at(struct heads *hs, uint64_t position, struct log_head *ret);

struct want {
    int64_t offset;
    int64_t bound;
    size_t max_bytes; /* of this answer */
    bool min_one;
};
struct range {
    uint64_t position;
    uint64_t size; /* 0: nothing below the bound, or the first batch does not fit */
    int64_t first_offset, next_offset;
    bool blocked; /* empty: this batch, the first one wanted, reaches the bound */
    int64_t blocked_base, blocked_last;
};
/* The wanted batches, looked for from `position` (a batch's start at or before the offset). */
int log_heads_find(struct heads *hs, uint64_t position, const struct want *w, struct range *ret);

/* NULL: the budget refuses. */
struct kb_block *log_read_block(struct log *log, const struct log_read *r, size_t size);
/* One more try of a read whose log changed, or that needs a larger block (0: default). Results as
 * log_read. */
int log_read_try(struct log *log, struct log_read *r, unsigned tries, size_t block_bytes);

/* These whole batches, next to others that are, were checked. */
void log_segment_is_sound(struct log_segment *s, uint64_t position, uint64_t size);

/* Fetch from the disk, checking CRCs (rule 10.4). known: position is a batch's start at or shortly
 * before the offset; else the index file is asked. LOG_READ_PENDING or -KB_ELIMIT. */
struct cold_read {
    size_t segment;
    bool known;
    uint64_t position;
    unsigned tries;
    size_t block_bytes;
};
int log_read_cold(struct log *log, struct log_read *r, const struct want *w,
                  const struct cold_read *c);

#endif
