#include <string.h>

#include "tests/sim/sim_private.h"

/* kb_fs over a simulated disk: each call takes virtual time and may be the one the process dies
 * at, before it has any effect. */

struct kb_fd {
    LIST_ENTRY(kb_fd) link;
    struct sim_env *env;
    struct sim_inode *inode;
    bool writable;
};

static struct sim_fs *fs_from(struct kb_fs *fs)
{
    return (struct sim_fs *)fs;
}

static struct sim_disk *disk_of(struct kb_fs *fs)
{
    return fs_from(fs)->env->host->disk;
}

int sim_fs_count_call(struct sim_env *e)
{
    if (sim_env_gone(e))
        return -KB_ECRASHED;
    if (e->crash_calls == 0 || --e->crash_calls > 0)
        return 0;
    e->doomed = true;
    e->doomed_power = e->crash_power;
    return -KB_ECRASHED;
}

/* One call: its time passes, or the process is gone. */
static int enter(struct kb_fs *kb, uint64_t us)
{
    struct sim_fs *fs = fs_from(kb);
    if (fs->outside)
        return 0;
    fs->elapsed_us += us;
    return sim_fs_count_call(fs->env);
}

static int64_t wall_ms(struct kb_fs *kb)
{
    struct sim_fs *fs = fs_from(kb);
    return fs->env->base.ops->wall_ms(&fs->env->base) + (int64_t)(fs->elapsed_us / 1000);
}

static uint64_t now_ms(struct kb_fs *kb)
{
    struct sim_fs *fs = fs_from(kb);
    return (fs->env->base.ops->now_us(&fs->env->base) + fs->elapsed_us) / 1000;
}

static int fs_open(struct kb_fs *fs, const char *path, int flags, struct kb_fd **ret)
{
    struct sim_inode *inode = NULL;
    int r = enter(fs, 5);
    if (r == 0)
        r = sim_disk_open(disk_of(fs), path, flags, wall_ms(fs), &inode);
    if (r < 0)
        return r;
    struct kb_fd *fd = kb_new(struct kb_fd);
    fd->env = fs_from(fs)->env;
    fd->inode = sim_inode_ref(inode);
    fd->writable = (flags & KB_FS_WRITE) != 0;
    LIST_INSERT_HEAD(&fd->env->fds, fd, link);
    *ret = fd;
    return 0;
}

static void fd_free(struct kb_fd *fd)
{
    LIST_REMOVE(fd, link);
    (void)sim_inode_unref(fd->env->host->disk, fd->inode);
    free(fd);
}

static void fs_close(struct kb_fs *fs, struct kb_fd *fd)
{
    fd_free(fd);
}

static int64_t fs_pread(struct kb_fs *fs, struct kb_fd *fd, void *ret, size_t size,
                        uint64_t position)
{
    struct sim_disk *d = disk_of(fs);
    int r = enter(fs, sim_disk_read_us(d, fs_from(fs)->elapsed_us));
    return r < 0 ? r : sim_inode_read(d, fd->inode, ret, size, position);
}

static int fs_pwrite(struct kb_fs *fs, struct kb_fd *fd, const void *data, size_t size,
                     uint64_t position)
{
    struct sim_disk *d = disk_of(fs);
    int r = enter(fs, sim_disk_write_us(d, fs_from(fs)->elapsed_us));
    if (r == 0 && !fd->writable)
        r = -KB_EPERM;
    return r < 0 ? r : sim_inode_write(d, fd->inode, data, size, position, wall_ms(fs));
}

static int fs_truncate(struct kb_fs *fs, struct kb_fd *fd, uint64_t size)
{
    struct sim_disk *d = disk_of(fs);
    int r = enter(fs, sim_disk_write_us(d, fs_from(fs)->elapsed_us));
    if (r == 0 && !fd->writable)
        r = -KB_EPERM;
    return r < 0 ? r : sim_inode_truncate(d, fd->inode, size, wall_ms(fs));
}

static int fs_allocate(struct kb_fs *fs, struct kb_fd *fd, uint64_t position, uint64_t size)
{
    int r = enter(fs, 20);
    return r < 0 ? r : sim_inode_allocate(disk_of(fs), fd->inode, position + size);
}

static int fs_sync(struct kb_fs *fs, struct kb_fd *fd)
{
    struct sim_disk *d = disk_of(fs);
    int r = enter(fs, sim_disk_sync_us(d, fs_from(fs)->elapsed_us));
    return r < 0 ? r : sim_inode_sync(d, fd->inode);
}

static void fs_drop_cache(struct kb_fs *fs, struct kb_fd *fd)
{
    if (enter(fs, 5) == 0)
        sim_inode_drop_cache(disk_of(fs), fd->inode);
}

static int64_t fs_size(struct kb_fs *fs, struct kb_fd *fd)
{
    int r = enter(fs, 1);
    return r < 0 ? r : (int64_t)sim_inode_size(fd->inode);
}

static int fs_stat(struct kb_fs *fs, const char *path, struct kb_fs_stat *ret)
{
    int r = enter(fs, 2);
    if (r < 0)
        return r;
    *ret = (struct kb_fs_stat){.type = KB_FS_NONE};
    struct sim_inode *i = sim_disk_find(disk_of(fs), path);
    if (i == NULL)
        return 0;
    ret->type = sim_inode_is_dir(i) ? KB_FS_DIR : KB_FS_FILE;
    ret->size = sim_inode_size(i);
    ret->modified_wall_ms = sim_inode_modified(i);
    return 0;
}

static int fs_rename(struct kb_fs *fs, const char *from, const char *to)
{
    int r = enter(fs, 20);
    return r < 0 ? r : sim_disk_rename(disk_of(fs), from, to);
}

static int fs_link(struct kb_fs *fs, const char *from, const char *to)
{
    int r = enter(fs, 20);
    return r < 0 ? r : sim_disk_link(disk_of(fs), from, to);
}

static int fs_unlink(struct kb_fs *fs, const char *path)
{
    int r = enter(fs, 20);
    return r < 0 ? r : sim_disk_unlink(disk_of(fs), path);
}

static int fs_mkdir(struct kb_fs *fs, const char *path)
{
    int r = enter(fs, 20);
    return r < 0 ? r : sim_disk_mkdir(disk_of(fs), path, wall_ms(fs));
}

static int fs_rmdir(struct kb_fs *fs, const char *path)
{
    int r = enter(fs, 20);
    return r < 0 ? r : sim_disk_rmdir(disk_of(fs), path);
}

static int fs_sync_dir(struct kb_fs *fs, const char *path)
{
    struct sim_disk *d = disk_of(fs);
    int r = enter(fs, sim_disk_sync_us(d, fs_from(fs)->elapsed_us));
    return r < 0 ? r : sim_disk_sync_dir(d, path);
}

static int fs_list(struct kb_fs *fs, const char *path, kb_fs_list_fn *fn, void *arg)
{
    int r = enter(fs, 10);
    return r < 0 ? r : sim_disk_list(disk_of(fs), path, false, fn, arg);
}

/* One process per host: only a lock held elsewhere (sim_disk_lock_elsewhere) can refuse. */
static int fs_lock(struct kb_fs *fs, const char *path)
{
    struct sim_inode *inode = NULL;
    int r = enter(fs, 5);
    if (r == 0 && sim_disk_is_locked_elsewhere(disk_of(fs), path))
        r = -KB_EBUSY;
    if (r == 0)
        r = sim_disk_open(disk_of(fs), path, KB_FS_WRITE | KB_FS_CREATE, wall_ms(fs), &inode);
    return r;
}

static void fs_unlock(struct kb_fs *fs, const char *path)
{
    (void)enter(fs, 1);
}

static int fs_free_bytes(struct kb_fs *fs, const char *path, uint64_t *ret)
{
    int r = enter(fs, 2);
    if (r == 0)
        *ret = sim_disk_free_bytes(disk_of(fs));
    return r;
}

static const struct kb_fs_ops fs_ops = {
    .open = fs_open,
    .close = fs_close,
    .pread = fs_pread,
    .pwrite = fs_pwrite,
    .truncate = fs_truncate,
    .allocate = fs_allocate,
    .sync = fs_sync,
    .drop_cache = fs_drop_cache,
    .size = fs_size,
    .stat = fs_stat,
    .rename = fs_rename,
    .link = fs_link,
    .unlink = fs_unlink,
    .mkdir = fs_mkdir,
    .rmdir = fs_rmdir,
    .sync_dir = fs_sync_dir,
    .list = fs_list,
    .lock = fs_lock,
    .unlock = fs_unlock,
    .free_bytes = fs_free_bytes,
    .wall_ms = wall_ms,
    .now_ms = now_ms,
};

void sim_fs_init(struct sim_fs *fs, struct sim_env *e, bool outside)
{
    *fs = (struct sim_fs){.base.ops = &fs_ops, .env = e, .outside = outside};
}

void sim_fs_drop(struct sim_env *e)
{
    struct kb_fd *fd = NULL;
    while ((fd = LIST_FIRST(&e->fds)) != NULL)
        fd_free(fd); /* NOLINT(clang-analyzer-unix.Malloc): it takes the first out of the list */
}
