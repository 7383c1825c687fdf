#include "proto/base/env.h"

#include <stdio.h>
#include <string.h>

#include "proto/base/assert.h"
#include "proto/base/err.h"
#include "proto/base/mutant.h"

static const char *const close_reason_names[KB_CLOSE_REASON_MAX_] = {
    [KB_CLOSE_LOCAL] = "local",
    [KB_CLOSE_PEER] = "peer",
    [KB_CLOSE_REFUSED] = "refused",
    [KB_CLOSE_UNREACHABLE] = "unreachable",
    [KB_CLOSE_TIMEOUT] = "timeout",
    [KB_CLOSE_BAD_FRAME] = "bad_frame",
    [KB_CLOSE_STALE_RANGE] = "stale_range",
    [KB_CLOSE_ERROR] = "error",
};

const char *kb_close_reason_name(enum kb_close_reason reason)
{
    return (unsigned)reason < KB_CLOSE_REASON_MAX_ ? close_reason_names[reason] : "?";
}

uint64_t kb_env_now_us(struct kb_env *env)
{
    return env->ops->now_us(env);
}

uint64_t kb_env_now_ms(struct kb_env *env)
{
    return env->ops->now_us(env) / 1000;
}

int64_t kb_env_wall_ms(struct kb_env *env)
{
    return env->ops->wall_ms(env);
}

void kb_env_random(struct kb_env *env, void *ret, size_t size)
{
    env->ops->random(env, ret, size);
}

uint64_t kb_env_random_u64(struct kb_env *env)
{
    uint64_t v = 0;
    env->ops->random(env, &v, sizeof(v));
    return v;
}

struct kb_timer *kb_timer_new(struct kb_env *env, kb_timer_fn *fn, void *arg)
{
    return env->ops->timer_new(env, fn, arg);
}

void kb_timer_arm(struct kb_timer *t, uint64_t delay_ms)
{
    t->env->ops->timer_arm(t, delay_ms);
}

void kb_timer_cancel(struct kb_timer *t)
{
    t->env->ops->timer_cancel(t);
}

bool kb_timer_armed(const struct kb_timer *t)
{
    return t->env->ops->timer_armed(t);
}

struct kb_timer *kb_timer_free(struct kb_timer *t)
{
    if (t != NULL)
        t->env->ops->timer_free(t);
    return NULL;
}

int kb_env_listen(struct kb_env *env, const char *host, uint16_t port,
                  const struct kb_conn_options *options, kb_accept_fn *fn, void *arg,
                  struct kb_listener **ret)
{
    return env->ops->listen(env, host, port, options, fn, arg, ret);
}

uint16_t kb_listener_port(const struct kb_listener *l)
{
    return l->env->ops->listener_port(l);
}

struct kb_listener *kb_listener_close(struct kb_listener *l)
{
    if (l != NULL)
        l->env->ops->listener_close(l);
    return NULL;
}

struct kb_conn *kb_env_connect(struct kb_env *env, const char *host, uint16_t port,
                               uint64_t timeout_ms, const struct kb_conn_options *options,
                               const struct kb_conn_handler *handler, void *user)
{
    return env->ops->connect(env, host, port, timeout_ms, options, handler, user);
}

void kb_conn_set_handler(struct kb_conn *conn, const struct kb_conn_handler *handler, void *user)
{
    conn->env->ops->conn_set_handler(conn, handler, user);
}

void kb_conn_send(struct kb_conn *conn, struct kb_chain *chain)
{
    conn->env->ops->conn_send(conn, chain);
}

uint64_t kb_conn_queued_bytes(const struct kb_conn *conn)
{
    return conn->env->ops->conn_queued_bytes(conn);
}

bool kb_conn_congested(const struct kb_conn *conn)
{
    return conn->env->ops->conn_congested(conn);
}

void kb_conn_pause(struct kb_conn *conn)
{
    conn->env->ops->conn_pause(conn);
}

void kb_conn_resume(struct kb_conn *conn)
{
    conn->env->ops->conn_resume(conn);
}

void kb_conn_close(struct kb_conn *conn)
{
    conn->env->ops->conn_close(conn, false);
}

void kb_conn_close_after_send(struct kb_conn *conn)
{
    conn->env->ops->conn_close(conn, true);
}

struct kb_file *kb_file_new(struct kb_env *env, const char *path)
{
    return env->ops->file_new(env, path);
}

struct kb_file *kb_file_ref(struct kb_file *f)
{
    KB_ASSERT(f->refs > 0);
    f->refs++;
    return f;
}

struct kb_file *kb_file_unref(struct kb_file *f)
{
    if (f == NULL)
        return NULL;
    KB_ASSERT(f->refs > 0);
    if (--f->refs == 0)
        f->env->ops->file_release(f);
    return NULL;
}

const char *kb_file_path(const struct kb_file *f)
{
    return f->path;
}

void kb_file_set_path(struct kb_file *f, const char *path)
{
    f->env->ops->file_set_path(f, path);
}

void kb_file_bump(struct kb_file *f)
{
    f->generation++;
}

uint32_t kb_file_generation(const struct kb_file *f)
{
    return f->generation;
}

void kb_lane_write(struct kb_env *env, enum kb_lane lane, struct kb_write *w)
{
    KB_ASSERT(!w->sync || w->on_durable != NULL);
    w->env_ = env;
    env->ops->lane_write(env, lane, w);
}

void kb_lane_job(struct kb_env *env, enum kb_lane lane, struct kb_job *job)
{
    job->env_ = env;
    env->ops->lane_job(env, lane, job);
}

void kb_env_job(struct kb_env *env, struct kb_job *job)
{
    job->env_ = env;
    env->ops->job(env, job);
}

uint64_t kb_lane_stall_ms(struct kb_env *env, enum kb_lane lane)
{
    return env->ops->lane_stall_ms(env, lane);
}

int64_t kb_env_read_now(struct kb_env *env, struct kb_file *file, uint64_t position, void *ret,
                        size_t size)
{
    return env->ops->read_now(env, file, position, ret, size);
}

void kb_env_read(struct kb_env *env, struct kb_read *r)
{
    r->env_ = env;
    env->ops->read(env, r);
}

void kb_env_exit(struct kb_env *env, int status, const char *reason)
{
    env->ops->exit(env, status, reason);
}

/* ---- synchronous file calls ---- */

int kb_fs_open(struct kb_fs *fs, const char *path, int flags, struct kb_fd **ret)
{
    return fs->ops->open(fs, path, flags, ret);
}

struct kb_fd *kb_fs_close(struct kb_fs *fs, struct kb_fd *fd)
{
    if (fd != NULL)
        fs->ops->close(fs, fd);
    return NULL;
}

int64_t kb_fs_pread(struct kb_fs *fs, struct kb_fd *fd, void *ret, size_t size, uint64_t position)
{
    return fs->ops->pread(fs, fd, ret, size, position);
}

int kb_fs_pwrite(struct kb_fs *fs, struct kb_fd *fd, const void *data, size_t size,
                 uint64_t position)
{
    return fs->ops->pwrite(fs, fd, data, size, position);
}

int kb_fs_truncate(struct kb_fs *fs, struct kb_fd *fd, uint64_t size)
{
    return fs->ops->truncate(fs, fd, size);
}

int kb_fs_allocate(struct kb_fs *fs, struct kb_fd *fd, uint64_t position, uint64_t size)
{
    return fs->ops->allocate(fs, fd, position, size);
}

int kb_fs_sync(struct kb_fs *fs, struct kb_fd *fd)
{
    return fs->ops->sync(fs, fd);
}

void kb_fs_drop_cache(struct kb_fs *fs, struct kb_fd *fd)
{
    fs->ops->drop_cache(fs, fd);
}

int64_t kb_fs_size(struct kb_fs *fs, struct kb_fd *fd)
{
    return fs->ops->size(fs, fd);
}

int kb_fs_stat(struct kb_fs *fs, const char *path, struct kb_fs_stat *ret)
{
    return fs->ops->stat(fs, path, ret);
}

int kb_fs_rename(struct kb_fs *fs, const char *from, const char *to)
{
    return fs->ops->rename(fs, from, to);
}

int kb_fs_link(struct kb_fs *fs, const char *from, const char *to)
{
    return fs->ops->link == NULL ? -KB_EUNSUPPORTED : fs->ops->link(fs, from, to);
}

int kb_fs_unlink(struct kb_fs *fs, const char *path)
{
    return fs->ops->unlink(fs, path);
}

int kb_fs_mkdir(struct kb_fs *fs, const char *path)
{
    return fs->ops->mkdir(fs, path);
}

int kb_fs_rmdir(struct kb_fs *fs, const char *path)
{
    return fs->ops->rmdir(fs, path);
}

int kb_fs_sync_dir(struct kb_fs *fs, const char *path)
{
    return fs->ops->sync_dir(fs, path);
}

int kb_fs_list(struct kb_fs *fs, const char *path, kb_fs_list_fn *fn, void *arg)
{
    return fs->ops->list(fs, path, fn, arg);
}

int kb_fs_lock(struct kb_fs *fs, const char *path)
{
    return fs->ops->lock == NULL ? -KB_EUNSUPPORTED : fs->ops->lock(fs, path);
}

void kb_fs_unlock(struct kb_fs *fs, const char *path)
{
    if (fs->ops->unlock != NULL)
        fs->ops->unlock(fs, path);
}

int kb_fs_free_bytes(struct kb_fs *fs, const char *path, uint64_t *ret)
{
    return fs->ops->free_bytes(fs, path, ret);
}

int64_t kb_fs_wall_ms(struct kb_fs *fs)
{
    return fs->ops->wall_ms(fs);
}

uint64_t kb_fs_now_ms(struct kb_fs *fs)
{
    return fs->ops->now_ms(fs);
}

/* ---- helpers ---- */

/* The directory part of path in a new string: "." when there is none. */
static char *parent_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    if (slash == NULL)
        return kb_strdup(".");
    return slash == path ? kb_strdup("/") : kb_strndup(path, (size_t)(slash - path));
}

static int write_new(struct kb_fs *fs, const char *path, const void *data, size_t size)
{
    struct kb_fd *fd = NULL;
    int r = kb_fs_open(fs, path, KB_FS_WRITE | KB_FS_CREATE | KB_FS_TRUNCATE, &fd);
    if (r < 0)
        return r;
    if (size != 0)
        r = kb_fs_pwrite(fs, fd, data, size, 0);
    if (r == 0 && !KB_MUTANT("small-file-not-synced"))
        r = kb_fs_sync(fs, fd);
    (void)kb_fs_close(fs, fd);
    return r;
}

int kb_fs_replace(struct kb_fs *fs, const char *path, const void *data, size_t size)
{
    char *tmp = kb_asprintf("%s.tmp", path);
    char *dir = parent_of(path);
    int r = write_new(fs, tmp, data, size);
    if (r < 0) {
        (void)kb_fs_unlink(fs, tmp);
        goto out;
    }
    r = kb_fs_rename(fs, tmp, path);
    if (r == 0)
        r = KB_MUTANT("rename-not-synced") ? 0 : kb_fs_sync_dir(fs, dir);
out:
    (void)kb_free(tmp);
    (void)kb_free(dir);
    return r;
}

int kb_fs_read_all(struct kb_fs *fs, const char *path, size_t size_max, struct kb_buf *ret)
{
    struct kb_fd *fd = NULL;
    struct kb_buf b = {0};
    int r = kb_fs_open(fs, path, KB_FS_READ, &fd);
    if (r < 0)
        return r;
    int64_t size = kb_fs_size(fs, fd);
    if (size < 0) {
        r = (int)size;
        goto out;
    }
    if ((uint64_t)size > size_max) {
        r = -KB_ETOOBIG;
        goto out;
    }
    kb_buf_reserve(&b, (size_t)size + 1);
    int64_t n = kb_fs_pread(fs, fd, b.data, (size_t)size, 0);
    if (n < 0) {
        r = (int)n;
        goto out;
    }
    b.size = (size_t)n;
    *ret = b;
    b = (struct kb_buf){0};
out:
    kb_buf_release(&b);
    (void)kb_fs_close(fs, fd);
    return r;
}

int kb_fs_mkdirs(struct kb_fs *fs, const char *path)
{
    struct kb_fs_stat st;
    int r = kb_fs_stat(fs, path, &st);
    if (r < 0)
        return r;
    if (st.type == KB_FS_DIR)
        return 0;
    if (st.type != KB_FS_NONE)
        return -KB_EEXIST;
    char *parent = parent_of(path);
    if (strcmp(parent, ".") != 0 && strcmp(parent, "/") != 0)
        r = kb_fs_mkdirs(fs, parent);
    if (r == 0)
        r = kb_fs_mkdir(fs, path);
    if (r == -KB_EEXIST)
        r = 0;
    if (r == 0)
        r = kb_fs_sync_dir(fs, parent);
    (void)kb_free(parent);
    return r;
}

struct remove_walk {
    struct kb_fs *fs;
    const char *path;
};

static int remove_entry(void *arg, const char *name, enum kb_fs_type type)
{
    struct remove_walk *w = arg;
    char *child = kb_asprintf("%s/%s", w->path, name);
    int r = type == KB_FS_DIR ? kb_fs_remove_tree(w->fs, child) : kb_fs_unlink(w->fs, child);
    (void)kb_free(child);
    return r;
}

int kb_fs_remove_tree(struct kb_fs *fs, const char *path)
{
    struct remove_walk w = {.fs = fs, .path = path};
    int r = kb_fs_list(fs, path, remove_entry, &w);
    return r < 0 ? r : kb_fs_rmdir(fs, path);
}
