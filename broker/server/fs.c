#include "broker/server/fs.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#include "broker/server/file.h"
#include "broker/server/sync.h"
#include "broker/server/timer.h"
#include "proto/base/err.h"
#include "proto/base/mem.h"

struct kb_fd {
    int fd;
};

static int result_of(int r)
{
    return r < 0 ? kb_err_from_errno(errno) : 0;
}

static int fs_open(struct kb_fs *fs, const char *path, int flags, struct kb_fd **ret)
{
    int sys = O_CLOEXEC | ((flags & KB_FS_WRITE) != 0 ? O_RDWR : O_RDONLY);
    (void)fs;
    if ((flags & KB_FS_CREATE) != 0)
        sys |= O_CREAT;
    if ((flags & KB_FS_EXCLUSIVE) != 0)
        sys |= O_EXCL;
    if ((flags & KB_FS_TRUNCATE) != 0)
        sys |= O_TRUNC;
    int fd = open(path, sys, 0644);
    if (fd < 0)
        return kb_err_from_errno(errno);
    struct kb_fd *f = kb_new(struct kb_fd);
    f->fd = fd;
    *ret = f;
    return 0;
}

static void fs_close(struct kb_fs *fs, struct kb_fd *fd)
{
    (void)fs;
    (void)close(fd->fd);
    (void)kb_free(fd);
}

static int64_t fs_pread(struct kb_fs *fs, struct kb_fd *fd, void *ret, size_t size,
                        uint64_t position)
{
    size_t done = 0;
    (void)fs;
    while (done < size) {
        ssize_t n = pread(fd->fd, (uint8_t *)ret + done, size - done, (off_t)(position + done));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return kb_err_from_errno(errno);
        if (n == 0)
            break;
        done += (size_t)n;
    }
    return (int64_t)done;
}

static int fs_pwrite(struct kb_fs *fs, struct kb_fd *fd, const void *data, size_t size,
                     uint64_t position)
{
    size_t done = 0;
    (void)fs;
    while (done < size) {
        ssize_t n = pwrite(fd->fd, (const uint8_t *)data + done, size - done,
                           (off_t)(position + done));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return kb_err_from_errno(errno);
        if (n == 0)
            return -KB_EIO;
        done += (size_t)n;
    }
    return 0;
}

static int fs_truncate(struct kb_fs *fs, struct kb_fd *fd, uint64_t size)
{
    (void)fs;
    return result_of(ftruncate(fd->fd, (off_t)size));
}

static int fs_allocate(struct kb_fs *fs, struct kb_fd *fd, uint64_t position, uint64_t size)
{
    int r;
    (void)fs;
    do {
        r = fallocate(fd->fd, FALLOC_FL_KEEP_SIZE, (off_t)position, (off_t)size);
    } while (r < 0 && errno == EINTR);
    return result_of(r);
}

static int fs_sync(struct kb_fs *fs, struct kb_fd *fd)
{
    (void)fs;
    return srv_sync_fd(fd->fd);
}

static void fs_drop_cache(struct kb_fs *fs, struct kb_fd *fd)
{
    (void)fs;
    (void)posix_fadvise(fd->fd, 0, 0, POSIX_FADV_DONTNEED);
}

static int64_t fs_size(struct kb_fs *fs, struct kb_fd *fd)
{
    struct stat st;
    (void)fs;
    return fstat(fd->fd, &st) < 0 ? kb_err_from_errno(errno) : st.st_size;
}

static int fs_stat(struct kb_fs *fs, const char *path, struct kb_fs_stat *ret)
{
    struct stat st;
    (void)fs;
    if (stat(path, &st) < 0) {
        if (errno != ENOENT && errno != ENOTDIR)
            return kb_err_from_errno(errno);
        *ret = (struct kb_fs_stat){.type = KB_FS_NONE};
        return 0;
    }
    *ret = (struct kb_fs_stat){
        .type = S_ISDIR(st.st_mode) ? KB_FS_DIR : KB_FS_FILE,
        .size = (uint64_t)st.st_size,
        .modified_wall_ms = (int64_t)st.st_mtim.tv_sec * 1000 +
                            (int64_t)st.st_mtim.tv_nsec / 1000000,
    };
    return 0;
}

static int fs_rename(struct kb_fs *fs, const char *from, const char *to)
{
    (void)fs;
    return result_of(rename(from, to));
}

static int fs_link(struct kb_fs *fs, const char *from, const char *to)
{
    (void)fs;
    if (link(from, to) == 0)
        return 0;
    /* EPERM: the file system has no links; EMLINK: no more for this file. */
    bool cannot = errno == EPERM || errno == EMLINK || errno == EOPNOTSUPP;
    return cannot ? -KB_EUNSUPPORTED : kb_err_from_errno(errno);
}

static int fs_unlink(struct kb_fs *fs, const char *path)
{
    (void)fs;
    return result_of(unlink(path));
}

static int fs_mkdir(struct kb_fs *fs, const char *path)
{
    (void)fs;
    return result_of(mkdir(path, 0755));
}

static int fs_rmdir(struct kb_fs *fs, const char *path)
{
    (void)fs;
    return result_of(rmdir(path));
}

static int fs_sync_dir(struct kb_fs *fs, const char *path)
{
    (void)fs;
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return kb_err_from_errno(errno);
    int r = result_of(fsync(fd));
    (void)close(fd);
    return r;
}

/* ---- list ---- */

struct entry {
    char *name;
    enum kb_fs_type type;
};
struct entries {
    struct entry *items;
    size_t count;
    size_t capacity;
};

static int compare_entries(const void *a, const void *b)
{
    return strcmp(((const struct entry *)a)->name, ((const struct entry *)b)->name);
}

static enum kb_fs_type type_of(int dir_fd, const struct dirent *d)
{
    struct stat st;
    if (d->d_type == DT_DIR)
        return KB_FS_DIR;
    if (d->d_type != DT_UNKNOWN && d->d_type != DT_LNK)
        return KB_FS_FILE;
    if (fstatat(dir_fd, d->d_name, &st, 0) < 0)
        return KB_FS_FILE;
    return S_ISDIR(st.st_mode) ? KB_FS_DIR : KB_FS_FILE;
}

static int read_entries(const char *path, struct entries *es)
{
    DIR *dir = opendir(path);
    int r = 0;
    if (dir == NULL)
        return kb_err_from_errno(errno);
    for (;;) {
        errno = 0;
        const struct dirent *d = readdir(dir);
        if (d == NULL) {
            r = errno != 0 ? kb_err_from_errno(errno) : 0;
            break;
        }
        if (strcmp(d->d_name, ".") == 0 || strcmp(d->d_name, "..") == 0)
            continue;
        kb_array_reserve(es->items, es->count, es->capacity);
        es->items[es->count++] = (struct entry){kb_strdup(d->d_name), type_of(dirfd(dir), d)};
    }
    (void)closedir(dir);
    return r;
}

static int fs_list(struct kb_fs *fs, const char *path, kb_fs_list_fn *fn, void *arg)
{
    struct entries es = {0};
    (void)fs;
    int r = read_entries(path, &es);
    if (r == 0 && es.count > 0)
        qsort(es.items, es.count, sizeof(es.items[0]), compare_entries);
    for (size_t i = 0; i < es.count && r == 0; i++)
        r = fn(arg, es.items[i].name, es.items[i].type);
    for (size_t i = 0; i < es.count; i++)
        (void)kb_free(es.items[i].name);
    (void)kb_free(es.items);
    return r;
}

static int fs_free_bytes(struct kb_fs *fs, const char *path, uint64_t *ret)
{
    struct statvfs st;
    (void)fs;
    if (statvfs(path, &st) < 0)
        return kb_err_from_errno(errno);
    *ret = (uint64_t)st.f_bavail * st.f_frsize;
    return 0;
}

static int64_t fs_wall_ms(struct kb_fs *fs)
{
    struct timespec ts;
    (void)fs;
    (void)clock_gettime(CLOCK_REALTIME, &ts);
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static uint64_t fs_now_ms(struct kb_fs *fs)
{
    (void)fs;
    return srv_now_us() / 1000;
}

/* ---- locks: flock on a descriptor of its own, so that two brokers of one process exclude each
 * other too ---- */

static struct srv_held *find_held(struct srv_files *files, const char *path)
{
    struct srv_held *h = NULL;
    LIST_FOREACH(h, &files->held, entries)
    {
        if (strcmp(h->path, path) == 0)
            return h;
    }
    return NULL;
}

static int lock_file(struct srv_files *files, const char *path)
{
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (fd < 0)
        return kb_err_from_errno(errno);
    if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
        int r = errno == EWOULDBLOCK ? -KB_EBUSY : kb_err_from_errno(errno);
        (void)close(fd);
        return r;
    }
    struct srv_held *h = kb_new(struct srv_held);
    h->path = kb_strdup(path);
    h->fd = fd;
    LIST_INSERT_HEAD(&files->held, h, entries);
    return 0;
}

static int fs_lock(struct kb_fs *fs, const char *path)
{
    struct srv_files *files = ((struct srv_fs *)fs)->files;
    (void)pthread_mutex_lock(&files->lock);
    int r = find_held(files, path) != NULL ? 0 : lock_file(files, path);
    (void)pthread_mutex_unlock(&files->lock);
    return r;
}

static void fs_unlock(struct kb_fs *fs, const char *path)
{
    struct srv_files *files = ((struct srv_fs *)fs)->files;
    (void)pthread_mutex_lock(&files->lock);
    struct srv_held *h = find_held(files, path);
    if (h != NULL) {
        LIST_REMOVE(h, entries);
        (void)close(h->fd);
        (void)kb_free(h->path);
        (void)kb_free(h);
    }
    (void)pthread_mutex_unlock(&files->lock);
}

static const struct kb_fs_ops ops = {
    .lock = fs_lock,
    .unlock = fs_unlock,
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
    .free_bytes = fs_free_bytes,
    .wall_ms = fs_wall_ms,
    .now_ms = fs_now_ms,
};

void srv_fs_init(struct srv_fs *fs, struct srv_files *files)
{
    fs->fs.ops = &ops;
    fs->files = files;
}
