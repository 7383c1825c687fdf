#ifndef SIM_DISK_PRIVATE_H
#define SIM_DISK_PRIVATE_H

#include "tests/sim/sim_image.h"

/* Insides of a simulated disk, shared by sim_disk.c (calls on the visible image) and
 * sim_disk_cut.c (power cuts, looking, meddling). */

#define SIM_PATH_PARTS_MAX 32

enum sim_dir_op_kind { SIM_DIR_LINK, SIM_DIR_UNLINK, SIM_DIR_RENAME };

/* A change of a directory that no sync has made durable yet. */
struct sim_dir_op {
    enum sim_dir_op_kind kind;
    struct sim_inode *dir; /* LINK and RENAME: where the name appears */
    char *name;
    struct sim_inode *inode;
    struct sim_inode *from_dir; /* RENAME: where it disappears */
    char *from_name;
};

struct sim_disk {
    struct sim_world *world;
    struct kb_prng prng;
    struct sim_disk_settings settings;
    enum sim_crash_mode crash_mode;
    uint64_t stalled_until_us;
    uint64_t used_bytes;
    uint64_t syncs;
    uint64_t failures,
        failed_us; /* calls answered with -KB_EIO; the first since it was forgotten */
    uint64_t inode_ids;
    uint64_t rotten; /* bits that turned at rest */
    struct sim_inode *root;
    struct sim_dir_op *ops; /* in the order they were made */
    size_t op_count, op_capacity;
    char *foreign_lock; /* path, or NULL */
    sim_disk_witness_fn *witness;
    void *witness_arg;
};

struct sim_path {
    char *text;
    const char *parts[SIM_PATH_PARTS_MAX];
    size_t count;
};

void sim_path_parse(struct sim_path *p, const char *text); /* free p->text afterwards */
/* What the first count parts of a path lead to in one image, or NULL; borrowed. */
struct sim_inode *sim_disk_walk(struct sim_disk *d, const struct sim_path *p, size_t count,
                                bool durable);
struct sim_inode *sim_disk_find_in(struct sim_disk *d, const char *text, bool durable);
/* The directory that holds the last part, or NULL; path "/" has none. */
struct sim_inode *sim_disk_parent(struct sim_disk *d, const struct sim_path *p);

/* Space a file is charged: its size, or what was allocated. */
uint64_t sim_inode_charge(const struct sim_inode *i);
/* A file changed whose charge was `before`. */
void sim_disk_recharge(struct sim_disk *d, struct sim_inode *i, uint64_t before);
/* A visible name comes (1) or goes (-1): space is charged while any name shows it. */
void sim_disk_links_change(struct sim_disk *d, struct sim_inode *i, int by);
/* Set a visible name, replacing another file. */
void sim_disk_name_set(struct sim_disk *d, struct sim_inode *dir, const char *name,
                       struct sim_inode *i);

/* Carry one change over to the durable image. */
void sim_disk_op_apply(struct sim_disk *d, const struct sim_dir_op *op);
void sim_disk_ops_clear(struct sim_disk *d);
/* Make a directory's pending changes durable. */
void sim_disk_commit_dir(struct sim_disk *d, struct sim_inode *dir);

#endif
