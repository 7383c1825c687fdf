#include <string.h>

#include "tests/sim/sim_disk_private.h"

/* What a power cut leaves, and what tests do to a disk behind its processes. */

/* ---- power cut ---- */

/* Visible names become the durable ones, all the way down; file contents settle as mode says. */
static void settle_tree(struct sim_disk *d, struct sim_inode *dir, enum sim_crash_mode mode)
{
    struct sim_inode *old;
    while ((old = sim_names_pop(&dir->names)) != NULL) {
        sim_disk_links_change(d, old, -1);
        (void)sim_inode_unref(d, old);
    }
    for (size_t n = 0; n < dir->durable_names.count; n++) {
        struct sim_name *name = &dir->durable_names.names[n];
        struct sim_inode *i = name->inode;
        if (i->dir) {
            settle_tree(d, i, mode);
        } else {
            sim_inode_settle(i, mode, &d->prng);
            i->reserved = 0;
        }
        sim_disk_name_set(d, dir, name->text, i);
    }
}

/* Keep, of each directory's pending changes, a prefix. */
static void settle_ops(struct sim_disk *d, enum sim_crash_mode mode)
{
    for (size_t i = 0; i < d->op_count; i++) {
        struct sim_inode *dir = d->ops[i].dir;
        if (dir->settle_ops == 0) { /* first of this directory: 1 = all lost, 2 = some, 3 = all */
            dir->settle_ops = mode == SIM_CRASH_DROP   ? 1
                              : mode == SIM_CRASH_KEEP ? 3
                                                       : 1 + (int)kb_prng_below(&d->prng, 3);
        }
        if (dir->settle_ops == 2 && kb_prng_below(&d->prng, 3) == 0)
            dir->settle_ops = 1;
        if (dir->settle_ops != 1)
            sim_disk_op_apply(d, &d->ops[i]);
    }
    for (size_t i = 0; i < d->op_count; i++)
        d->ops[i].dir->settle_ops = 0;
    sim_disk_ops_clear(d);
}

void sim_disk_crash(struct sim_disk *d, enum sim_crash_mode mode)
{
    settle_ops(d, mode);
    settle_tree(d, d->root, mode);
    d->stalled_until_us = 0;
}

void sim_disk_power_cut(struct sim_disk *d)
{
    sim_disk_crash(d, d->crash_mode);
}

/* ---- looking and meddling ---- */

static struct kb_view bytes_of(const struct sim_inode *i, bool durable)
{
    const struct sim_image *image = durable ? &i->durable : &i->now;
    return kb_view_of(image->data, image->size);
}

int sim_disk_view(struct sim_disk *d, const char *path, bool durable, struct kb_view *ret)
{
    struct sim_inode *i = sim_disk_find_in(d, path, durable);
    if (i == NULL || i->dir)
        return -KB_ENOENT;
    *ret = bytes_of(i, durable);
    return 0;
}

static int read_image(struct sim_disk *d, const char *path, bool durable, struct kb_buf *ret)
{
    struct kb_view view;
    int r = sim_disk_view(d, path, durable, &view);
    if (r < 0)
        return r;
    *ret = (struct kb_buf){0};
    kb_buf_append(ret, view.data, view.size);
    return 0;
}

int sim_disk_read(struct sim_disk *d, const char *path, struct kb_buf *ret)
{
    return read_image(d, path, false, ret);
}

int sim_disk_read_durable(struct sim_disk *d, const char *path, struct kb_buf *ret)
{
    return read_image(d, path, true, ret);
}

int sim_disk_list(struct sim_disk *d, const char *path, bool durable, kb_fs_list_fn *fn, void *arg)
{
    struct sim_inode *dir = sim_disk_find_in(d, path, durable);
    if (dir == NULL || !dir->dir)
        return -KB_ENOENT;
    /* By name and not by index: fn may remove what it is shown. */
    char *last = NULL;
    int r = 0;
    for (;;) {
        struct sim_names *names = durable ? &dir->durable_names : &dir->names;
        size_t n = last == NULL ? 0 : sim_names_after(names, last);
        if (n >= names->count || r != 0)
            break;
        (void)kb_free(last);
        last = kb_strdup(names->names[n].text);
        r = fn(arg, last, names->names[n].inode->dir ? KB_FS_DIR : KB_FS_FILE);
    }
    (void)kb_free(last);
    return r;
}

static const struct sim_names *names_of(const struct sim_dir *dir)
{
    return dir->durable ? &dir->inode->durable_names : &dir->inode->names;
}

bool sim_disk_dir(struct sim_disk *d, const char *path, bool durable, struct sim_dir *ret)
{
    *ret = (struct sim_dir){.inode = sim_disk_find_in(d, path, durable), .durable = durable};
    return ret->inode != NULL && ret->inode->dir;
}

size_t sim_dir_count(const struct sim_dir *dir)
{
    return names_of(dir)->count;
}

struct sim_dir_entry sim_dir_at(const struct sim_dir *dir, size_t index)
{
    const struct sim_name *name = &names_of(dir)->names[index];
    return (struct sim_dir_entry){
        .name = name->text, .dir = name->inode->dir, .bytes = bytes_of(name->inode, dir->durable)};
}

bool sim_dir_view(const struct sim_dir *dir, const char *name, struct kb_view *ret)
{
    const struct sim_inode *i = sim_names_get(names_of(dir), name);
    if (i == NULL || i->dir)
        return false;
    *ret = bytes_of(i, dir->durable);
    return true;
}

/* Counts only rise, so with the same names a sum stays the same only when none has changed. */
struct sim_dir_stamp sim_dir_stamp(const struct sim_dir *dir)
{
    const struct sim_names *names = names_of(dir);
    struct sim_dir_stamp stamp = {.inode = dir->inode->id, .names = names->changes};
    for (size_t n = 0; n < names->count; n++) {
        const struct sim_inode *i = names->names[n].inode;
        stamp.files += dir->durable ? i->durable_changes : i->now_changes;
    }
    return stamp;
}

bool sim_dir_stamp_same(const struct sim_dir_stamp *a, const struct sim_dir_stamp *b)
{
    return a->inode == b->inode && a->names == b->names && a->files == b->files;
}

void sim_disk_put(struct sim_disk *d, const char *path, const void *data, size_t size)
{
    struct sim_path p;
    sim_path_parse(&p, path);
    KB_ASSERT(p.count > 0);
    struct kb_buf at = {0};
    for (size_t n = 0; n + 1 < p.count; n++) {
        kb_buf_printf(&at, "/%s", p.parts[n]);
        int r = sim_disk_mkdir(d, (const char *)at.data, 0);
        KB_ASSERT(r == 0 || r == -KB_EEXIST);
        sim_disk_commit_dir(d, sim_disk_walk(d, &p, n, false));
    }
    kb_buf_release(&at);
    struct sim_inode *i = NULL;
    int r = sim_disk_open(d, path, KB_FS_WRITE | KB_FS_CREATE | KB_FS_TRUNCATE, 0, &i);
    KB_ASSERT(r == 0);
    uint64_t before = sim_inode_charge(i);
    if (size > 0)
        sim_inode_put(i, data, size, 0);
    sim_disk_recharge(d, i, before);
    sim_inode_make_durable(i);
    sim_disk_commit_dir(d, sim_disk_parent(d, &p));
    (void)kb_free(p.text);
}

int sim_disk_flip_bit(struct sim_disk *d, const char *path, uint64_t position, unsigned bit)
{
    struct sim_inode *i = sim_disk_find(d, path);
    if (i == NULL || i->dir || position >= i->now.size)
        return -KB_ENOENT;
    i->now_changes++;
    i->durable_changes++;
    i->now.data[position] ^= (uint8_t)(1U << (bit % 8));
    if (position < i->durable.size)
        i->durable.data[position] = i->now.data[position];
    return 0;
}

int sim_disk_rot_bit(struct sim_disk *d, const char *path, uint64_t position, unsigned bit)
{
    struct sim_inode *i = sim_disk_find(d, path);
    if (i == NULL || i->dir || position >= i->now.size)
        return -KB_ENOENT;
    sim_inode_rot_add(i, position, (uint8_t)(1U << (bit % 8)));
    d->rotten++;
    return 0;
}

uint64_t sim_disk_rotten(const struct sim_disk *d)
{
    return d->rotten;
}

void sim_disk_copy_dir(struct sim_disk *to, struct sim_disk *from, const char *path)
{
    const struct sim_inode *dir = sim_disk_find(from, path);
    for (size_t n = 0; dir != NULL && n < dir->names.count; n++) {
        const struct sim_inode *file = dir->names.names[n].inode;
        if (file->dir)
            continue;
        char *name = kb_asprintf("%s/%s", path, dir->names.names[n].text);
        sim_disk_put(to, name, file->now.data, file->now.size);
        for (size_t i = 0; i < file->rot_count; i++)
            sim_inode_rot_add(sim_disk_find(to, name), file->rot[i].position, file->rot[i].mask);
        (void)kb_free(name);
    }
}

int sim_disk_remove(struct sim_disk *d, const char *path)
{
    struct sim_path p;
    int r = sim_disk_unlink(d, path);
    if (r < 0)
        return r;
    sim_path_parse(&p, path);
    sim_disk_commit_dir(d, sim_disk_parent(d, &p));
    (void)kb_free(p.text);
    return 0;
}

void sim_disk_lock_elsewhere(struct sim_disk *d, const char *path)
{
    d->foreign_lock = kb_free(d->foreign_lock);
    if (path != NULL)
        d->foreign_lock = kb_strdup(path);
}

bool sim_disk_is_locked_elsewhere(const struct sim_disk *d, const char *path)
{
    return d->foreign_lock != NULL && strcmp(d->foreign_lock, path) == 0;
}

void sim_disk_wipe(struct sim_disk *d)
{
    sim_disk_ops_clear(d);
    (void)sim_inode_unref(d, d->root);
    d->root = sim_inode_new(++d->inode_ids, true);
    KB_ASSERT(d->used_bytes == 0);
}

struct sim_disk_copy {
    struct sim_inode *root; /* durable images only */
};

static struct sim_inode *copy_tree(struct sim_disk *d, const struct sim_inode *from)
{
    struct sim_inode *to = sim_inode_new(++d->inode_ids, from->dir);
    to->modified_wall_ms = from->modified_wall_ms;
    if (!from->dir) {
        if (from->durable.size > 0)
            sim_inode_put(to, from->durable.data, from->durable.size, 0);
        sim_inode_make_durable(to);
    }
    for (size_t n = 0; n < from->durable_names.count; n++) {
        const struct sim_name *name = &from->durable_names.names[n];
        (void)sim_names_put(&to->durable_names, name->text, copy_tree(d, name->inode));
    }
    return to;
}

struct sim_disk_copy *sim_disk_copy_new(struct sim_disk *d)
{
    struct sim_disk_copy *copy = kb_new(struct sim_disk_copy);
    copy->root = copy_tree(d, d->root);
    return copy;
}

void sim_disk_restore(struct sim_disk *d, const struct sim_disk_copy *copy)
{
    sim_disk_wipe(d);
    (void)sim_inode_unref(d, d->root);
    d->root = copy_tree(d, copy->root);
    settle_tree(d, d->root, SIM_CRASH_KEEP);
}

/* The copy's inodes have no visible names and so no charge on any disk. */
struct sim_disk_copy *sim_disk_copy_free(struct sim_disk_copy *copy)
{
    if (copy == NULL)
        return NULL;
    (void)sim_inode_unref(NULL, copy->root);
    free(copy);
    return NULL;
}
