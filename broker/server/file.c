#include "broker/server/file.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proto/base/assert.h"
#include "proto/base/err.h"
#include "proto/base/mem.h"

void srv_files_init(struct srv_files *fs, size_t open_max)
{
    *fs = (struct srv_files){.open_max = open_max > 4 ? open_max : 4};
    (void)pthread_mutex_init(&fs->lock, NULL);
    (void)pthread_cond_init(&fs->opened, NULL);
    TAILQ_INIT(&fs->lru);
    LIST_INIT(&fs->held);
}

/* Out of the cache, under the lock. Returns the descriptor to close, or -1 while it is pinned. */
static int detach(struct srv_files *fs, struct srv_open *o)
{
    TAILQ_REMOVE(&fs->lru, o, lru);
    o->file->open = NULL;
    o->file = NULL;
    if (o->pins > 0)
        return -1;
    int fd = o->fd;
    fs->open_count--;
    (void)kb_free(o);
    return fd;
}

void srv_files_release(struct srv_files *fs)
{
    while (!TAILQ_EMPTY(&fs->lru)) {
        int fd = detach(fs, TAILQ_FIRST(&fs->lru));
        KB_ASSERT(fd >= 0);
        (void)close(fd);
    }
    struct srv_held *h = NULL;
    while ((h = LIST_FIRST(&fs->held)) != NULL) {
        LIST_REMOVE(h, entries);
        (void)close(h->fd);
        (void)kb_free(h->path);
        (void)kb_free(h);
    }
    (void)pthread_cond_destroy(&fs->opened);
    (void)pthread_mutex_destroy(&fs->lock);
}

size_t srv_files_open_count(struct srv_files *fs)
{
    (void)pthread_mutex_lock(&fs->lock);
    size_t count = fs->open_count;
    (void)pthread_mutex_unlock(&fs->lock);
    return count;
}

struct srv_file *srv_file_new(struct srv_files *fs, struct kb_env *env, const char *path)
{
    struct srv_file *f = kb_new(struct srv_file);
    f->base.env = env;
    f->base.path = kb_strdup(path);
    f->base.refs = 1;
    f->files = fs;
    return f;
}

int srv_file_set_path(struct srv_file *f, const char *path)
{
    char *copy = kb_strdup(path);
    int fd = -1;
    (void)pthread_mutex_lock(&f->files->lock);
    char *old = f->base.path;
    f->base.path = copy;
    f->path_changes++;
    if (f->open != NULL)
        fd = detach(f->files, f->open);
    (void)pthread_mutex_unlock(&f->files->lock);
    (void)kb_free(old);
    return fd;
}

int srv_file_free(struct srv_file *f)
{
    int fd = -1;
    (void)pthread_mutex_lock(&f->files->lock);
    KB_ASSERT(!f->opening);
    if (f->open != NULL)
        fd = detach(f->files, f->open);
    (void)pthread_mutex_unlock(&f->files->lock);
    (void)kb_free(f->base.path);
    (void)kb_free(f);
    return fd;
}

char *srv_file_path_copy(struct srv_file *f)
{
    (void)pthread_mutex_lock(&f->files->lock);
    char *path = kb_strdup(f->base.path);
    (void)pthread_mutex_unlock(&f->files->lock);
    return path;
}

/* Make room for one more: the least recently used one without pins. Under the lock. */
static int evict_one(struct srv_files *fs)
{
    struct srv_open *o = NULL;
    TAILQ_FOREACH_REVERSE(o, &fs->lru, srv_open_list, lru)
    {
        if (o->pins == 0)
            return detach(fs, o);
    }
    return -1;
}

static int open_path(const char *path, struct srv_open *o)
{
    struct stat st;
    int fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0 && (errno == EACCES || errno == EROFS || errno == EPERM))
        fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return kb_err_from_errno(errno);
    if (fstat(fd, &st) < 0) {
        int r = kb_err_from_errno(errno);
        (void)close(fd);
        return r;
    }
    o->fd = fd;
    o->device = st.st_dev;
    return 0;
}

/* Open f's path without the lock; the path may change meanwhile, then the new one is opened. The
 * process may be out of descriptors: then cached ones make room. Called and returns with the lock
 * held. */
static int open_unlocked(struct srv_files *fs, struct srv_file *f, struct srv_open *o)
{
    int victim = fs->open_count >= fs->open_max ? evict_one(fs) : -1;
    for (;;) {
        uint32_t changes = f->path_changes;
        char *path = kb_strdup(f->base.path);
        (void)pthread_mutex_unlock(&fs->lock);
        if (victim >= 0)
            (void)close(victim);
        victim = -1;
        int r = open_path(path, o);
        (void)kb_free(path);
        (void)pthread_mutex_lock(&fs->lock);
        if (f->path_changes != changes) {
            if (r == 0)
                (void)close(o->fd);
            continue;
        }
        if (r == -KB_ELIMIT)
            victim = evict_one(fs);
        if (victim < 0)
            return r;
    }
}

int srv_file_pin(struct srv_file *f, struct srv_open **ret)
{
    struct srv_files *fs = f->files;
    int r = 0;
    (void)pthread_mutex_lock(&fs->lock);
    while (f->open == NULL && f->opening)
        (void)pthread_cond_wait(&fs->opened, &fs->lock);
    if (f->open == NULL) {
        struct srv_open *o = kb_new(struct srv_open);
        f->opening = true;
        r = open_unlocked(fs, f, o);
        f->opening = false;
        (void)pthread_cond_broadcast(&fs->opened);
        if (r < 0) {
            (void)kb_free(o);
        } else {
            o->file = f;
            f->open = o;
            fs->open_count++;
            TAILQ_INSERT_HEAD(&fs->lru, o, lru);
        }
    }
    if (r == 0) {
        struct srv_open *o = f->open;
        o->pins++;
        TAILQ_REMOVE(&fs->lru, o, lru);
        TAILQ_INSERT_HEAD(&fs->lru, o, lru);
        *ret = o;
    }
    (void)pthread_mutex_unlock(&fs->lock);
    return r;
}

struct srv_open *srv_file_try_pin(struct srv_file *f)
{
    struct srv_files *fs = f->files;
    (void)pthread_mutex_lock(&fs->lock);
    struct srv_open *o = f->open;
    if (o != NULL) {
        o->pins++;
        TAILQ_REMOVE(&fs->lru, o, lru);
        TAILQ_INSERT_HEAD(&fs->lru, o, lru);
    }
    (void)pthread_mutex_unlock(&fs->lock);
    return o;
}

int srv_file_unpin(struct srv_files *fs, struct srv_open *o)
{
    int fd = -1;
    (void)pthread_mutex_lock(&fs->lock);
    KB_ASSERT(o->pins > 0);
    if (--o->pins == 0 && o->file == NULL) {
        fd = o->fd;
        fs->open_count--;
        (void)kb_free(o);
    }
    (void)pthread_mutex_unlock(&fs->lock);
    return fd;
}
