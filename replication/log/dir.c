#include "replication/log/dir.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "proto/base/assert.h"
#include "proto/base/err.h"
#include "proto/base/log.h"
#include "proto/base/mem.h"
#include "replication/log/dir_internal.h"

/* A change of the disk on its way through the Raft lane. */
struct dir_op {
    struct kb_job job;
    TAILQ_ENTRY(dir_op) link;
    struct log_dir *dir;
    const char *what; /* for on_failed */
    int (*work)(struct dir_op *op, struct kb_fs *fs);
    void (*settle)(struct dir_op *op, int result); /* before fn; may be NULL */
    char *path, *to;
    char *parent; /* directory to sync after a rename */
    struct kb_buf data;
    uint64_t size_bytes;
    int result; /* what refuse_run answers; farewell_run: the error that forbids the marker */
    bool sole;  /* the end of log_dir_close: runs though the directory has failed */
    bool moves; /* renames the directory of a log */
    enum log_dir_mark mark;
    uint64_t version; /* of the mark */
    log_dir_done_fn *fn;
    void *arg;
};
TAILQ_HEAD(dir_op_list, dir_op);

/* Somebody waits until this version of a mark is durable. */
struct dir_waiter {
    TAILQ_ENTRY(dir_waiter) link;
    uint64_t version;
    log_dir_done_fn *fn;
    void *arg;
};
TAILQ_HEAD(dir_waiter_list, dir_waiter);

struct dir_checkpoint {
    uint64_t changed; /* counts changes */
    uint64_t saved;   /* as of this change */
    bool writing;
    struct dir_waiter_list waiters;
    struct dir_waiter_list ready; /* being told */
};

struct dir_open {
    struct kb_job job;
    struct log_dir *dir;
    struct dir_start start;
};

struct log_dir {
    struct kb_env *env;
    char *path;
    char *boot_id;
    uint64_t reserve_bytes;
    uint64_t interval_ms;
    void (*on_failed)(void *arg, int result, const char *what);
    void *on_failed_arg;
    log_dir_open_fn *open_fn;
    void *open_arg;
    struct dir_open *opening;
    struct dir_meta meta;
    struct dir_state state;
    bool reserve_present;
    int failed;               /* first final error */
    struct log_dir_log *logs; /* uthash by name */
    struct dir_checkpoint checkpoints[LOG_DIR_MARK_COUNT_];
    uint64_t last_checkpoint_ms;
    struct dir_op_list ops; /* in flight, in order */
    bool closing;
    uint64_t close_tried[LOG_DIR_MARK_COUNT_]; /* version the close has tried to save */
    int64_t close_epoch;
    log_dir_done_fn *close_fn;
    void *close_arg;
};

static void close_step(struct log_dir *dir);

/* ---- operations ---- */

static struct dir_op *op_new(struct log_dir *dir, const char *what,
                             int (*work)(struct dir_op *, struct kb_fs *), log_dir_done_fn *fn,
                             void *arg)
{
    struct dir_op *op = kb_new(struct dir_op);
    op->dir = dir;
    op->what = what;
    op->work = work;
    op->fn = fn;
    op->arg = arg;
    return op;
}

static void op_free(struct dir_op *op)
{
    (void)kb_free(op->path);
    (void)kb_free(op->to);
    (void)kb_free(op->parent);
    kb_buf_release(&op->data);
    (void)kb_free(op);
}

static int op_run(struct kb_job *job, struct kb_fs *fs)
{
    struct dir_op *op = (struct dir_op *)job;
    return op->work(op, fs);
}

static void op_done(struct kb_job *job, int result)
{
    struct dir_op *op = (struct dir_op *)job;
    struct log_dir *dir = op->dir;
    TAILQ_REMOVE(&dir->ops, op, link);
    if (result < 0 && result != -KB_ENOSPC && dir->failed == 0) {
        dir->failed = result;
        if (dir->on_failed != NULL)
            dir->on_failed(dir->on_failed_arg, result, op->what);
    }
    if (op->settle != NULL)
        op->settle(op, result);
    log_dir_done_fn *fn = op->fn;
    void *arg = op->arg;
    bool last = op->sole; /* the end of log_dir_close: fn may free the directory */
    op_free(op);
    if (fn != NULL)
        fn(arg, result);
    if (!last)
        close_step(dir);
}

static int refuse_run(struct dir_op *op, struct kb_fs *fs)
{
    (void)fs;
    return op->result;
}

/* After a failure nothing more is written: what the disk holds is not known (9.3). */
static void op_submit(struct dir_op *op)
{
    struct log_dir *dir = op->dir;
    KB_ASSERT(dir->opening == NULL);
    if (dir->failed != 0 && !op->sole) {
        op->work = refuse_run;
        op->result = dir->failed;
    }
    op->job.run = op_run;
    op->job.done = op_done;
    TAILQ_INSERT_TAIL(&dir->ops, op, link);
    kb_lane_job(dir->env, KB_LANE_RAFT, &op->job);
}

static int replace_run(struct dir_op *op, struct kb_fs *fs)
{
    return kb_fs_replace(fs, op->path, op->data.data, op->data.size);
}

void log_dir_write_file(struct log_dir *dir, const char *name, const void *data, size_t size,
                        log_dir_done_fn *fn, void *arg)
{
    struct dir_op *op = op_new(dir, name, replace_run, fn, arg);
    op->what = "a file of the data directory";
    op->path = dir_join(dir->path, name);
    kb_buf_append(&op->data, data, size);
    op_submit(op);
}

/* ---- checkpoints ---- */

static void checkpoint_start(struct log_dir *dir, enum log_dir_mark mark);

static void checkpoint_settle(struct dir_op *op, int result)
{
    struct log_dir *dir = op->dir;
    struct dir_checkpoint *c = &dir->checkpoints[op->mark];
    struct dir_waiter *w = NULL;
    c->writing = false;
    if (result == 0)
        c->saved = op->version;
    while ((w = TAILQ_FIRST(&c->waiters)) != NULL && w->version <= op->version) {
        TAILQ_REMOVE(&c->waiters, w, link);
        TAILQ_INSERT_TAIL(&c->ready, w, link);
    }
    if (!TAILQ_EMPTY(&c->waiters))
        checkpoint_start(dir, op->mark);
    while ((w = TAILQ_FIRST(&c->ready)) != NULL) {
        TAILQ_REMOVE(&c->ready, w, link);
        w->fn(w->arg, result); /* may forget others of them */
        (void)kb_free(w);
    }
}

static void checkpoint_start(struct log_dir *dir, enum log_dir_mark mark)
{
    struct dir_checkpoint *c = &dir->checkpoints[mark];
    struct dir_op *op = op_new(dir, dir_mark_file(mark), replace_run, NULL, NULL);
    size_t count = 0;
    const struct log_dir_log *log = NULL;
    for (log = dir->logs; log != NULL; log = log->hh.next)
        count += log->marks[mark] >= 0;
    dir_checkpoint_begin(&op->data, count);
    for (log = dir->logs; log != NULL; log = log->hh.next)
        if (log->marks[mark] >= 0)
            dir_checkpoint_line(&op->data, log->topic, log->partition, log->marks[mark]);
    op->path = dir_join(dir->path, dir_mark_file(mark));
    op->settle = checkpoint_settle;
    op->mark = mark;
    op->version = c->changed;
    c->writing = true;
    op_submit(op);
}

static int nothing_run(struct dir_op *op, struct kb_fs *fs)
{
    (void)op;
    (void)fs;
    return 0;
}

void log_dir_mark_flush(struct log_dir *dir, enum log_dir_mark mark, log_dir_done_fn *fn, void *arg)
{
    struct dir_checkpoint *c = &dir->checkpoints[mark];
    if (c->saved == c->changed) {
        op_submit(op_new(dir, "flush", nothing_run, fn, arg));
        return;
    }
    struct dir_waiter *w = kb_new(struct dir_waiter);
    *w = (struct dir_waiter){.version = c->changed, .fn = fn, .arg = arg};
    TAILQ_INSERT_TAIL(&c->waiters, w, link);
    if (!c->writing)
        checkpoint_start(dir, mark);
}

static void forget_waiters(struct dir_waiter_list *list, const void *arg)
{
    struct dir_waiter *w = NULL;
    struct dir_waiter *next = NULL;
    TAILQ_FOREACH_SAFE(w, list, link, next)
    {
        if (w->arg != arg)
            continue;
        TAILQ_REMOVE(list, w, link);
        (void)kb_free(w);
    }
}

void log_dir_forget(struct log_dir *dir, const void *arg)
{
    struct dir_op *op = NULL;
    for (int m = 0; m < LOG_DIR_MARK_COUNT_; m++) {
        forget_waiters(&dir->checkpoints[m].waiters, arg);
        forget_waiters(&dir->checkpoints[m].ready, arg);
    }
    TAILQ_FOREACH(op, &dir->ops, link)
    {
        if (op->arg == arg)
            op->fn = NULL;
    }
}

uint64_t log_dir_due(struct log_dir *dir, uint64_t now_ms)
{
    bool dirty = false;
    if (dir->opening != NULL || dir->failed != 0 || dir->closing)
        return UINT64_MAX;
    for (int m = 0; m < LOG_DIR_MARK_COUNT_; m++)
        dirty = dirty || dir->checkpoints[m].saved != dir->checkpoints[m].changed;
    if (!dirty)
        return UINT64_MAX;
    uint64_t due = dir->last_checkpoint_ms + dir->interval_ms;
    if (now_ms < due)
        return due;
    dir->last_checkpoint_ms = now_ms;
    for (int m = 0; m < LOG_DIR_MARK_COUNT_; m++) {
        const struct dir_checkpoint *c = &dir->checkpoints[m];
        if (c->saved != c->changed && !c->writing)
            checkpoint_start(dir, (enum log_dir_mark)m);
    }
    return now_ms + dir->interval_ms;
}

/* ---- logs ---- */

static struct log_dir_log *find_by_name(struct log_dir *dir, const char *topic, int32_t partition)
{
    char name[300];
    struct log_dir_log *log = NULL;
    (void)snprintf(name, sizeof(name), "%s-%" PRId32, topic, partition);
    HASH_FIND_STR(dir->logs, name, log);
    return log;
}

struct log_dir_log *log_dir_log_find(struct log_dir *dir, const char *topic, int32_t partition)
{
    return find_by_name(dir, topic, partition);
}

struct log_dir_log *log_dir_log_add(struct log_dir *dir, const char *topic, int32_t partition)
{
    struct log_dir_log *log = find_by_name(dir, topic, partition);
    if (log != NULL)
        return log;
    log = kb_new(struct log_dir_log);
    log->name = kb_asprintf("%s-%" PRId32, topic, partition);
    log->topic = kb_strdup(topic);
    log->path = dir_join(dir->path, log->name);
    log->partition = partition;
    for (int m = 0; m < LOG_DIR_MARK_COUNT_; m++)
        log->marks[m] = -1;
    HASH_ADD_KEYPTR(hh, dir->logs, log->name, strlen(log->name), log);
    return log;
}

struct log_dir_log *log_dir_log_remove(struct log_dir *dir, struct log_dir_log *log)
{
    if (log == NULL)
        return NULL;
    for (int m = 0; m < LOG_DIR_MARK_COUNT_; m++)
        if (log->marks[m] >= 0)
            dir->checkpoints[m].changed++;
    HASH_DEL(dir->logs, log);
    (void)kb_free(log->name);
    (void)kb_free(log->topic);
    (void)kb_free(log->path);
    return kb_free(log);
}

const char *log_dir_log_path(const struct log_dir_log *log)
{
    return log->path;
}

int64_t log_dir_mark_get(const struct log_dir_log *log, enum log_dir_mark mark)
{
    return log->marks[mark];
}

void log_dir_mark_set(struct log_dir *dir, struct log_dir_log *log, enum log_dir_mark mark,
                      int64_t offset)
{
    if (log->marks[mark] == offset)
        return;
    log->marks[mark] = offset;
    dir->checkpoints[mark].changed++;
}

/* ---- identity ---- */

static void write_state(struct log_dir *dir, log_dir_done_fn *fn, void *arg)
{
    struct dir_op *op = op_new(dir, DIR_FILE_STATE, replace_run, fn, arg);
    op->path = dir_join(dir->path, DIR_FILE_STATE);
    dir->state.meta = dir->meta;
    dir_state_format(&dir->state, &op->data);
    op_submit(op);
}

void log_dir_set_cluster_id(struct log_dir *dir, const char *cluster_id, log_dir_done_fn *fn,
                            void *arg)
{
    KB_ASSERT(strlen(cluster_id) < sizeof(dir->meta.cluster_id));
    (void)snprintf(dir->meta.cluster_id, sizeof(dir->meta.cluster_id), "%s", cluster_id);
    write_state(dir, NULL, NULL); /* the copy first: a start takes the id from whichever has it */
    struct dir_op *op = op_new(dir, DIR_FILE_META, replace_run, fn, arg);
    op->path = dir_join(dir->path, DIR_FILE_META);
    dir_meta_format(&dir->meta, &op->data);
    op_submit(op);
}

void log_dir_set_broker_epoch(struct log_dir *dir, int64_t epoch, log_dir_done_fn *fn, void *arg)
{
    dir->state.broker_epoch = epoch;
    (void)snprintf(dir->state.boot_id, sizeof(dir->state.boot_id), "%s", dir->boot_id);
    write_state(dir, fn, arg);
}

void log_dir_set_creations(struct log_dir *dir, uint64_t raft_index, log_dir_done_fn *fn, void *arg)
{
    dir->state.creations_index = raft_index;
    write_state(dir, fn, arg);
}

/* ---- space ---- */

static int release_run(struct dir_op *op, struct kb_fs *fs)
{
    int r = kb_fs_unlink(fs, op->path);
    return r == -KB_ENOENT ? 0 : r;
}

static void release_settle(struct dir_op *op, int result)
{
    if (result == 0)
        op->dir->reserve_present = false;
}

void log_dir_reserve_release(struct log_dir *dir, log_dir_done_fn *fn, void *arg)
{
    struct dir_op *op = op_new(dir, DIR_FILE_RESERVE, release_run, fn, arg);
    op->path = dir_join(dir->path, DIR_FILE_RESERVE);
    op->settle = release_settle;
    op_submit(op);
}

static int restore_run(struct dir_op *op, struct kb_fs *fs)
{
    struct kb_fs_stat st;
    uint64_t space = 0;
    int r = kb_fs_stat(fs, op->path, &st);
    if (r < 0 || st.type != KB_FS_NONE || op->size_bytes == 0)
        return r;
    /* As much again must stay, or it would be asked for at once. */
    r = kb_fs_free_bytes(fs, op->parent, &space);
    if (r == 0 && space < 2 * op->size_bytes)
        r = -KB_ENOSPC;
    return r < 0 ? r : dir_reserve_make(fs, op->path, op->size_bytes);
}

static void restore_settle(struct dir_op *op, int result)
{
    if (result == 0)
        op->dir->reserve_present = true;
}

void log_dir_reserve_restore(struct log_dir *dir, log_dir_done_fn *fn, void *arg)
{
    struct dir_op *op = op_new(dir, DIR_FILE_RESERVE, restore_run, fn, arg);
    op->path = dir_join(dir->path, DIR_FILE_RESERVE);
    op->parent = kb_strdup(dir->path);
    op->size_bytes = dir->reserve_bytes;
    op->settle = restore_settle;
    op_submit(op);
}

bool log_dir_reserve_present(const struct log_dir *dir)
{
    return dir->reserve_present;
}

/* ---- logs leave ---- */

static int move_run(struct dir_op *op, struct kb_fs *fs)
{
    int r = kb_fs_rename(fs, op->path, op->to);
    if (r == -KB_ENOENT)
        return 0; /* it never was on this disk */
    return r < 0 ? r : kb_fs_sync_dir(fs, op->parent);
}

static struct dir_op *move_new(struct log_dir *dir, struct log_dir_log *log, const char *suffix,
                               log_dir_done_fn *fn, void *arg)
{
    struct dir_op *op = op_new(dir, "renaming of a log", move_run, fn, arg);
    op->moves = true;
    char *name = dir_log_name_aside(log->name, kb_env_random_u64(dir->env), suffix);
    op->path = kb_strdup(log->path);
    op->parent = kb_strdup(dir->path);
    op->to = dir_join(dir->path, name);
    (void)kb_free(name);
    return op;
}

void log_dir_set_aside(struct log_dir *dir, struct log_dir_log *log, log_dir_done_fn *fn, void *arg)
{
    op_submit(move_new(dir, log, DIR_SUFFIX_STRAY, fn, arg));
    (void)log_dir_log_remove(dir, log);
}

bool log_dir_is_leaving(const struct log_dir *dir, const char *topic, int32_t partition)
{
    const struct dir_op *op = NULL;
    char *name = kb_asprintf("%s-%" PRId32, topic, partition);
    char *path = dir_join(dir->path, name);
    bool leaving = false;
    TAILQ_FOREACH(op, &dir->ops, link)
    {
        leaving = leaving || (op->moves && strcmp(op->path, path) == 0);
    }
    (void)kb_free(name);
    (void)kb_free(path);
    return leaving;
}

static int remove_run(struct dir_op *op, struct kb_fs *fs)
{
    int r = kb_fs_remove_tree(fs, op->path);
    return r == -KB_ENOENT ? 0 : r;
}

/* The rename is durable: the bytes may go in their own time, off the Raft lane. */
static void delete_settle(struct dir_op *op, int result)
{
    struct log_dir *dir = op->dir;
    if (result < 0)
        return;
    struct dir_op *sweep = op_new(dir, "removal of a log", remove_run, NULL, NULL);
    sweep->path = kb_strdup(op->to);
    sweep->job.run = op_run;
    sweep->job.done = op_done;
    TAILQ_INSERT_TAIL(&dir->ops, sweep, link);
    kb_env_job(dir->env, &sweep->job);
}

void log_dir_delete(struct log_dir *dir, struct log_dir_log *log, log_dir_done_fn *fn, void *arg)
{
    struct dir_op *op = move_new(dir, log, DIR_SUFFIX_DELETE, fn, arg);
    op->settle = delete_settle;
    op_submit(op);
    (void)log_dir_log_remove(dir, log);
}

/* ---- stop ---- */

/* The marker is the very last write (8.5); the lock goes even if there may be no marker. */
static int farewell_run(struct dir_op *op, struct kb_fs *fs)
{
    int r = op->result;
    if (r == 0)
        r = kb_fs_replace(fs, op->path, op->data.data, op->data.size);
    if (r != -KB_ECRASHED)
        kb_fs_unlock(fs, op->to);
    return r;
}

static void close_step(struct log_dir *dir)
{
    if (!dir->closing || !TAILQ_EMPTY(&dir->ops))
        return;
    for (int m = 0; m < LOG_DIR_MARK_COUNT_ && dir->failed == 0; m++)
        if (dir->checkpoints[m].saved != dir->checkpoints[m].changed &&
            dir->checkpoints[m].changed != dir->close_tried[m]) {
            dir->close_tried[m] = dir->checkpoints[m].changed;
            checkpoint_start(dir, (enum log_dir_mark)m);
        }
    if (!TAILQ_EMPTY(&dir->ops))
        return;
    struct dir_op *op = op_new(dir, DIR_FILE_MARKER, farewell_run, dir->close_fn, dir->close_arg);
    op->path = dir_join(dir->path, DIR_FILE_MARKER);
    op->to = dir_join(dir->path, DIR_FILE_LOCK);
    dir_marker_format(dir->close_epoch, &op->data);
    op->result = dir->failed;
    op->sole = true;
    op_submit(op);
}

void log_dir_close(struct log_dir *dir, int64_t broker_epoch, log_dir_done_fn *fn, void *arg)
{
    KB_ASSERT(!dir->closing);
    dir->closing = true;
    dir->close_epoch = broker_epoch;
    dir->close_fn = fn;
    dir->close_arg = arg;
    close_step(dir);
}

/* ---- start ---- */

static int open_run(struct kb_job *job, struct kb_fs *fs)
{
    return dir_start_run(&((struct dir_open *)job)->start, fs);
}

static void open_free(struct dir_open *o)
{
    dir_start_release(&o->start);
    (void)kb_free(o);
}

static void take_found(struct log_dir *dir, const struct dir_start *s, struct log_dir_found *found,
                       struct log_dir_found_log *logs)
{
    dir->meta = s->meta;
    dir->state = s->state;
    dir->reserve_present = s->reserve_present;
    for (size_t i = 0; i < s->log_count; i++)
        logs[i] = (struct log_dir_found_log){
            .topic = s->logs[i].topic,
            .partition = s->logs[i].partition,
            .topic_id = s->logs[i].topic_id,
            .log = log_dir_log_add(dir, s->logs[i].topic, s->logs[i].partition),
        };
    for (size_t i = 0; i < s->mark_count; i++) {
        const struct dir_start_mark *m = &s->marks[i];
        struct log_dir_log *log = find_by_name(dir, m->topic, m->partition);
        if (log != NULL)
            log->marks[m->mark] = m->offset;
    }
    *found = (struct log_dir_found){
        .directory_id = s->meta.directory_id,
        .fresh = s->fresh,
        .cluster_id = s->meta.cluster_id[0] == '\0' ? NULL : dir->meta.cluster_id,
        .clean = s->clean,
        .clean_broker_epoch = s->clean_broker_epoch,
        .broker_epoch = s->state.broker_epoch,
        .same_boot = dir->boot_id[0] != '\0' && strcmp(dir->boot_id, s->state.boot_id) == 0,
        .creations_index = s->state.creations_index,
        .logs = logs,
        .log_count = s->log_count,
        .reserve_missing = dir->reserve_bytes != 0 && !s->reserve_present,
    };
}

static void open_done(struct kb_job *job, int result)
{
    struct dir_open *o = (struct dir_open *)job;
    struct log_dir *dir = o->dir;
    struct log_dir_found found = {0};
    struct log_dir_found_log *logs = NULL;
    dir->opening = NULL;
    if (result == 0) {
        logs = kb_new_array(struct log_dir_found_log, o->start.log_count);
        take_found(dir, &o->start, &found, logs);
        if (o->start.repaired)
            kb_log_error("dir", "event=meta_repaired dir=%s why=\"meta.properties was damaged\"",
                         dir->path);
        dir->last_checkpoint_ms = kb_env_now_ms(dir->env);
        dir->open_fn(dir->open_arg, dir, 0, NULL, &found);
    } else {
        const char *reason = o->start.reason;
        dir->open_fn(dir->open_arg, dir, result, reason != NULL ? reason : kb_err_text(result),
                     NULL);
    }
    (void)kb_free(logs);
    open_free(o);
}

struct log_dir *log_dir_open(struct kb_env *env, const struct log_dir_options *options,
                             log_dir_open_fn *fn, void *arg)
{
    struct log_dir *dir = kb_new(struct log_dir);
    struct dir_open *o = kb_new(struct dir_open);
    uint8_t random[16];
    dir->env = env;
    dir->path = kb_strdup(options->path);
    dir->boot_id = kb_strdup(options->boot_id != NULL ? options->boot_id : "");
    dir->reserve_bytes = options->reserve_bytes;
    dir->interval_ms = options->checkpoint_interval_ms;
    dir->on_failed = options->on_failed;
    dir->on_failed_arg = options->arg;
    dir->open_fn = fn;
    dir->open_arg = arg;
    dir->opening = o;
    TAILQ_INIT(&dir->ops);
    for (int m = 0; m < LOG_DIR_MARK_COUNT_; m++) {
        TAILQ_INIT(&dir->checkpoints[m].waiters);
        TAILQ_INIT(&dir->checkpoints[m].ready);
    }
    o->dir = dir;
    o->start.path = kb_strdup(options->path);
    o->start.cluster_id = options->cluster_id != NULL ? kb_strdup(options->cluster_id) : NULL;
    o->start.node_id = options->node_id;
    o->start.reserve_bytes = options->reserve_bytes;
    kb_env_random(env, random, sizeof(random));
    kb_uuid_from_random(&o->start.new_directory_id, random);
    o->job.run = open_run;
    o->job.done = open_done;
    kb_lane_job(env, KB_LANE_RAFT, &o->job);
    return dir;
}

struct log_dir *log_dir_free(struct log_dir *dir)
{
    struct dir_op *op = NULL;
    struct dir_waiter *w = NULL;
    if (dir == NULL)
        return NULL;
    if (dir->opening != NULL)
        open_free(dir->opening);
    while ((op = TAILQ_FIRST(&dir->ops)) != NULL) {
        TAILQ_REMOVE(&dir->ops, op, link);
        op_free(op);
    }
    for (int m = 0; m < LOG_DIR_MARK_COUNT_; m++)
        while ((w = TAILQ_FIRST(&dir->checkpoints[m].waiters)) != NULL) {
            TAILQ_REMOVE(&dir->checkpoints[m].waiters, w, link);
            (void)kb_free(w);
        }
    while (dir->logs != NULL)
        (void)log_dir_log_remove(dir, dir->logs);
    (void)kb_free(dir->path);
    (void)kb_free(dir->boot_id);
    return kb_free(dir);
}

const char *log_dir_root(const struct log_dir *dir)
{
    return dir->path;
}

struct kb_uuid log_dir_id(const struct log_dir *dir)
{
    return dir->meta.directory_id;
}
