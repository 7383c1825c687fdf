#ifndef SIM_IMAGE_H
#define SIM_IMAGE_H

#include "tests/sim/sim_private.h"

/* One file or directory of a simulated disk: its two images, and how a power cut merges them. */

struct sim_image {
    uint8_t *data;
    uint64_t size;
    uint64_t capacity;
};

struct sim_inode;
struct sim_name {
    char *text;
    struct sim_inode *inode; /* a reference */
};
/* Sorted by text. */
struct sim_names {
    struct sim_name *names;
    size_t count, capacity;
    uint64_t changes; /* so far */
};

/* Bytes [from, to) may differ between the images; empty when from >= to. */
struct sim_range {
    uint64_t from, to;
};

/* Bits of one byte that turned on the medium. */
struct sim_rot {
    uint64_t position;
    uint8_t mask;
    bool cached; /* the page was read since: memory has it as it is */
};

struct sim_inode {
    uint64_t id;
    bool dir;
    uint32_t refs;
    uint32_t links; /* visible names */
    struct sim_image now, durable;
    uint64_t now_changes, durable_changes; /* of the images so far: equal counts, equal bytes */
    struct sim_range dirty;                /* written and not synced */
    struct sim_range lost;                 /* a failed sync marked them clean all the same */
    uint64_t reserved;                     /* allocated up to here */
    int64_t modified_wall_ms;
    struct sim_names names, durable_names;
    struct sim_rot *rot; /* beside the images, which show the bytes as they were written */
    size_t rot_count, rot_capacity;
    int settle_ops; /* scratch of the power cut */
};

struct sim_inode *sim_inode_new(uint64_t id, bool dir); /* one reference */
/* Free an inode nobody holds; its names are gone already. */
void sim_inode_release(struct sim_inode *i);

/* Change the visible image. */
void sim_inode_put(struct sim_inode *i, const void *data, size_t size, uint64_t position);
void sim_inode_resize(struct sim_inode *i, uint64_t size);
/* Sync: the durable image becomes the visible one, where it is dirty. */
void sim_inode_make_durable(struct sim_inode *i);
/* A failed sync: some of it reached the disk, all of it counts as clean (fsyncgate). */
void sim_inode_sync_failed(struct sim_inode *i, struct kb_prng *prng);
/* Reading from the disk again shows what failed syncs lost. */
void sim_inode_forget_lost(struct sim_inode *i);
/* Power cut: both images become one that the seed composes. */
void sim_inode_settle(struct sim_inode *i, enum sim_crash_mode mode, struct kb_prng *prng);

/* These bits are other ones for whoever reads them, until they are written again. */
void sim_inode_rot_add(struct sim_inode *i, uint64_t position, uint8_t mask);
/* Bytes read from [position, position + size): turn the bits; their pages are in memory now. */
void sim_inode_rot_read(struct sim_inode *i, uint8_t *data, size_t size, uint64_t position);
/* Some of that range has turned and is not in memory: only a read from the disk may show it. */
bool sim_inode_rot_hidden(const struct sim_inode *i, uint64_t position, size_t size);
/* The page cache is gone. */
void sim_inode_rot_uncache(struct sim_inode *i);

/* The inode under a name or NULL, borrowed. */
struct sim_inode *sim_names_get(const struct sim_names *names, const char *text);
/* Takes the reference to i; gives back the former one, or NULL. */
struct sim_inode *sim_names_put(struct sim_names *names, const char *text, struct sim_inode *i);
/* Gives back the reference, or NULL. */
struct sim_inode *sim_names_remove(struct sim_names *names, const char *text);
/* Remove the last one; NULL when none is left (and all memory is freed). */
struct sim_inode *sim_names_pop(struct sim_names *names);
/* Index of the first name greater than text. */
size_t sim_names_after(const struct sim_names *names, const char *text);

#endif
