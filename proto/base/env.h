#ifndef KB_ENV_H
#define KB_ENV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/bytes.h"

/* The seam: the only door from a broker to the world. broker/server implements it with libevent,
 * threads and Linux; tests/sim with a virtual clock, a lying network and a lying disk.
 *
 * One env belongs to one broker. Every function is called on the state loop and every callback runs
 * there, one at a time, and never from inside the call that asked for it (an answer is always a
 * later event). Exceptions are named: kb_fs_* runs only inside jobs.
 *
 * Nothing here aborts on behalf of the world: failures arrive as negative kb_err results. */

struct kb_env;
struct kb_timer;
struct kb_listener;
struct kb_conn;
struct kb_fs;
struct kb_fd;

/* ---- time, chance ---------------------------------------------------------------------------- */

/* Monotonic clock that counts suspended time (CLOCK_BOOTTIME); never 0. Read afresh at each call.
 */
uint64_t kb_env_now_ms(struct kb_env *env);
uint64_t kb_env_now_us(struct kb_env *env);
/* Wall clock, ms since 1970; may jump. Only for record timestamps, retention and people. */
int64_t kb_env_wall_ms(struct kb_env *env);
void kb_env_random(struct kb_env *env, void *ret, size_t size);
uint64_t kb_env_random_u64(struct kb_env *env);

/* ---- timers ---------------------------------------------------------------------------------- */

typedef void kb_timer_fn(void *arg);
struct kb_timer *kb_timer_new(struct kb_env *env, kb_timer_fn *fn, void *arg);
/* Fire once, delay_ms from now (0 = soon, after the events already waiting); replaces a former
 * time. */
void kb_timer_arm(struct kb_timer *t, uint64_t delay_ms);
void kb_timer_cancel(struct kb_timer *t);
bool kb_timer_armed(const struct kb_timer *t);
/* Cancels; NULL accepted; returns NULL. Legal inside its own callback. */
struct kb_timer *kb_timer_free(struct kb_timer *t);

/* ---- connections: streams of frames ------------------------------------------------------------
 * A frame is a big-endian int32 size, then that many bytes. A size below 0 or above the limit
 * closes the connection with KB_CLOSE_BAD_FRAME. */

enum kb_close_reason {
    KB_CLOSE_LOCAL,       /* kb_conn_close was called */
    KB_CLOSE_PEER,        /* the other side ended it (FIN) or reset it */
    KB_CLOSE_REFUSED,     /* connect: nobody listens there: that process is not running */
    KB_CLOSE_UNREACHABLE, /* connect: no route, or no such host */
    KB_CLOSE_TIMEOUT,     /* connect took longer than its limit */
    KB_CLOSE_BAD_FRAME,   /* size out of bounds */
    KB_CLOSE_STALE_RANGE, /* a file range in the output queue was truncated (replication rule 2.10)
                           */
    KB_CLOSE_ERROR,       /* any other failure */
    KB_CLOSE_REASON_MAX_
};
const char *kb_close_reason_name(enum kb_close_reason reason);

struct kb_conn_handler {
    /* An outgoing connection is established. */
    void (*on_open)(struct kb_conn *conn, void *user);
    /* A whole frame, without its size prefix. frame is borrowed: take a reference to keep it. */
    void (*on_frame)(struct kb_conn *conn, void *user, struct kb_block *frame);
    /* Queued output fell to a quarter of the high mark or below, after being above the high mark.
     * May be NULL. */
    void (*on_drain)(struct kb_conn *conn, void *user);
    /* Last call, exactly once; conn is gone when it returns. */
    void (*on_close)(struct kb_conn *conn, void *user, enum kb_close_reason reason);
};

struct kb_conn_options {
    uint32_t frame_bytes_max;  /* larger frames close the connection */
    uint32_t send_high_bytes;  /* kb_conn_congested is true above it */
    struct kb_budget *budget;  /* frames are charged to it while referenced; reading stops, in all
                                  connections that share it, while it is exhausted. May be NULL:
                                  never stops (control links, replication rule 9.6). */
    struct kb_budget *answers; /* Charged, also above its limit, for output that is in memory and
                                  waits to be sent. Above the limit no frames are taken on the
                                  connections that share it; from half of it on file ranges are
                                  not brought into memory, and who does not read is closed. NULL: a
                                  link between brokers, never held back by it, and served before
                                  connections that have one; one frame larger than the whole of
                                  `budget` is let through. */
    bool control;              /* small frames, lowest latency */
};

/* A new incoming connection: the callee sets a handler at once with kb_conn_set_handler, or closes
 * it. */
typedef void kb_accept_fn(struct kb_conn *conn, const char *peer_host, uint16_t peer_port,
                          void *arg);
/* 0, -KB_EADDRINUSE, -KB_EPERM, -KB_EUNREACHABLE (no such address) or -KB_EIO. host "" or "0.0.0.0"
 * = all addresses. Port 0 takes a free one. The options apply to every accepted connection. */
int kb_env_listen(struct kb_env *env, const char *host, uint16_t port,
                  const struct kb_conn_options *options, kb_accept_fn *fn, void *arg,
                  struct kb_listener **ret);
uint16_t kb_listener_port(const struct kb_listener *l);
/* Stops accepting; accepted connections live on. NULL accepted; returns NULL. */
struct kb_listener *kb_listener_close(struct kb_listener *l);

/* Start connecting; never fails at once: on_open or on_close follows. timeout_ms bounds resolving
 * and connecting. */
struct kb_conn *kb_env_connect(struct kb_env *env, const char *host, uint16_t port,
                               uint64_t timeout_ms, const struct kb_conn_options *options,
                               const struct kb_conn_handler *handler, void *user);
void kb_conn_set_handler(struct kb_conn *conn, const struct kb_conn_handler *handler, void *user);
/* Queue whole frames, size prefixes included. Takes the slices; *chain is empty afterwards. Legal
 * before on_open. Order is kept. Void after close. */
void kb_conn_send(struct kb_conn *conn, struct kb_chain *chain);
uint64_t kb_conn_queued_bytes(const struct kb_conn *conn);
/* Queued output is above send_high_bytes. */
bool kb_conn_congested(const struct kb_conn *conn);
/* Stop and resume delivery of frames (one already being delivered excepted). Kafka clients have one
 * request in work per connection: the dispatcher pauses until the answer is queued. */
void kb_conn_pause(struct kb_conn *conn);
void kb_conn_resume(struct kb_conn *conn);
/* Drop queued output and close; on_close(KB_CLOSE_LOCAL) follows as an event. */
void kb_conn_close(struct kb_conn *conn);
/* Send what is queued, then close. */
void kb_conn_close_after_send(struct kb_conn *conn);

/* ---- files: handles, ordered writes, reads -----------------------------------------------------
 * Paths are absolute or relative to the broker's working directory. A kb_file names one file; the
 * world opens and closes descriptors as it likes. Two lanes, each in order; neither waits for the
 * other. */

enum kb_lane { KB_LANE_RAFT, KB_LANE_DATA, KB_LANE_COUNT_ };

struct kb_file *kb_file_new(struct kb_env *env,
                            const char *path); /* one reference; opens nothing */
struct kb_file *kb_file_ref(struct kb_file *f);
struct kb_file *kb_file_unref(struct kb_file *f); /* NULL accepted; returns NULL */
const char *kb_file_path(const struct kb_file *f);
/* The file was renamed (by a job); later use goes to the new path. */
void kb_file_set_path(struct kb_file *f, const char *path);
/* Bytes below the current end are about to be cut or replaced: ranges queued for sending that were
 * made before this call close their connection instead (replication rule 2.10). */
void kb_file_bump(struct kb_file *f);
uint32_t kb_file_generation(const struct kb_file *f);

/* A write, in lane order. The caller owns the request and keeps it until the last callback. A
 * lane's worker takes all that waits, writes, reports written, syncs each dirty file once, reports
 * durable. */
struct kb_write {
    /* Set by the caller. The file must exist. Slices must be blocks, not file ranges; the lane
     * holds the references in `chain` until the write is done and releases them then. */
    struct kb_file *file;
    uint64_t position;
    struct kb_chain chain;
    bool sync; /* false: on_durable is not called and nothing is synced for this write */
    /* result 0 or negative. on_written may be NULL. After a failed write on_durable is called with
     * the same error when sync is set; later writes to that file in the lane fail with -KB_EIO too.
     */
    void (*on_written)(struct kb_write *w, int result);
    void (*on_durable)(struct kb_write *w, int result);
    /* Private to the world. */
    struct kb_write *next_;
    struct kb_env *env_;
    void *private_[2];
};
void kb_lane_write(struct kb_env *env, enum kb_lane lane, struct kb_write *w);

/* A job: a function with the synchronous file calls, which shares nothing with the loop while it
 * runs: its inputs and results live in the struct around it. */
struct kb_job {
    int (*run)(struct kb_job *job, struct kb_fs *fs); /* off the loop */
    void (*done)(struct kb_job *job, int result);     /* on the loop, with what run returned */
    bool any_order; /* in a lane: before or after its other requests, as suits it */
    struct kb_job *next_;
    struct kb_env *env_;
    void *private_[2];
};
/* Run in lane order, unless any_order: after all writes queued before (which are synced first if
 * they asked for it), before all queued later. */
void kb_lane_job(struct kb_env *env, enum kb_lane lane, struct kb_job *job);
/* Run on a background worker, in no order with anything. For long work (compaction, recovery
 * scans). */
void kb_env_job(struct kb_env *env, struct kb_job *job);
/* Age in ms of the lane's oldest unfinished write or sync; 0 when idle (replication rule 9.4). */
uint64_t kb_lane_stall_ms(struct kb_env *env, enum kb_lane lane);

/* Read what is resident, without waiting. Bytes read (short only at the end of the file),
 * -KB_EAGAIN when it would wait for the disk, or another error. The one file call allowed on the
 * loop. */
int64_t kb_env_read_now(struct kb_env *env, struct kb_file *file, uint64_t position, void *ret,
                        size_t size);
/* Read by a reader thread. The caller owns the request until done runs. */
struct kb_read {
    struct kb_file *file;
    uint64_t position;
    void *buffer;
    size_t size;
    void (*done)(struct kb_read *r, int64_t result); /* bytes read or negative */
    struct kb_read *next_;
    struct kb_env *env_;
    void *private_[2];
};
void kb_env_read(struct kb_env *env, struct kb_read *r);

/* The broker cannot go on (a failed sync, replication rule 9.3; a broken identity). The reason has
 * been logged. The world stops the process with this exit status, without running anything else. */
void kb_env_exit(struct kb_env *env, int status, const char *reason);

/* ---- synchronous file calls, only inside jobs -------------------------------------------------
 */

enum kb_fs_flags {
    KB_FS_READ = 0,
    KB_FS_WRITE = 1,     /* read and write */
    KB_FS_CREATE = 2,    /* with KB_FS_WRITE; existing files are opened */
    KB_FS_EXCLUSIVE = 4, /* with KB_FS_CREATE: -KB_EEXIST when it is there */
    KB_FS_TRUNCATE = 8,
};
/* 0 or -KB_ENOENT, -KB_EEXIST, -KB_ENOSPC, -KB_EPERM, -KB_EIO. */
int kb_fs_open(struct kb_fs *fs, const char *path, int flags, struct kb_fd **ret);
/* NULL accepted; returns NULL. Does not sync. */
struct kb_fd *kb_fs_close(struct kb_fs *fs, struct kb_fd *fd);
/* Bytes read; less than size only at the end of the file. Negative on failure. */
int64_t kb_fs_pread(struct kb_fs *fs, struct kb_fd *fd, void *ret, size_t size, uint64_t position);
/* All of it, or a negative error with an unknown part written. */
int kb_fs_pwrite(struct kb_fs *fs, struct kb_fd *fd, const void *data, size_t size,
                 uint64_t position);
int kb_fs_truncate(struct kb_fs *fs, struct kb_fd *fd, uint64_t size);
/* Reserve space without changing the size (FALLOC_FL_KEEP_SIZE). 0, -KB_ENOSPC, or
 * -KB_EUNSUPPORTED where the file system cannot. */
int kb_fs_allocate(struct kb_fs *fs, struct kb_fd *fd, uint64_t position, uint64_t size);
/* Data and size of a file opened with KB_FS_WRITE. */
int kb_fs_sync(struct kb_fs *fs, struct kb_fd *fd);
/* Forget cached pages, so that later reads come from the disk (rule 8.1). Best effort. */
void kb_fs_drop_cache(struct kb_fs *fs, struct kb_fd *fd);
int64_t kb_fs_size(struct kb_fs *fs, struct kb_fd *fd);

enum kb_fs_type { KB_FS_NONE, KB_FS_FILE, KB_FS_DIR };
struct kb_fs_stat {
    enum kb_fs_type type; /* KB_FS_NONE: not there */
    uint64_t size;
    int64_t modified_wall_ms;
};
int kb_fs_stat(struct kb_fs *fs, const char *path, struct kb_fs_stat *ret);
int kb_fs_rename(struct kb_fs *fs, const char *from, const char *to); /* replaces */
/* A second name for a file; both are equal from then on. -KB_EEXIST when `to` is there,
 * -KB_EUNSUPPORTED where the file system cannot. */
int kb_fs_link(struct kb_fs *fs, const char *from, const char *to);
int kb_fs_unlink(struct kb_fs *fs, const char *path); /* a file */
int kb_fs_mkdir(struct kb_fs *fs, const char *path);  /* one level; -KB_EEXIST */
int kb_fs_rmdir(struct kb_fs *fs, const char *path);
/* Make creations, renames and removals in this directory durable. */
int kb_fs_sync_dir(struct kb_fs *fs, const char *path);
/* Call fn for each entry, "." and ".." left out, in name order; a non-zero answer stops and is
 * returned. */
typedef int kb_fs_list_fn(void *arg, const char *name, enum kb_fs_type type);
int kb_fs_list(struct kb_fs *fs, const char *path, kb_fs_list_fn *fn, void *arg);
/* Lock a directory by its lock file (made when missing). The lock belongs to this broker until
 * kb_fs_unlock, or until the broker ends in any way: a crash frees it. Locking what this broker
 * holds already is fine. 0, -KB_EBUSY when another broker or process holds it, or a file error. */
int kb_fs_lock(struct kb_fs *fs, const char *path);
/* Free a lock that this broker holds; nothing happens when it holds none. The file stays. */
void kb_fs_unlock(struct kb_fs *fs, const char *path);
/* Bytes an unprivileged process may still write on the volume of path. */
int kb_fs_free_bytes(struct kb_fs *fs, const char *path, uint64_t *ret);
int64_t kb_fs_wall_ms(struct kb_fs *fs);
uint64_t kb_fs_now_ms(struct kb_fs *fs);

/* Helpers over the calls above (env.c). */
/* Replace path's content so that after a crash it is the old or the new, never a mix: path.tmp,
 * sync, rename, sync of the directory. */
int kb_fs_replace(struct kb_fs *fs, const char *path, const void *data, size_t size);
/* The whole file; -KB_ETOOBIG above size_max. Caller releases *ret. */
int kb_fs_read_all(struct kb_fs *fs, const char *path, size_t size_max, struct kb_buf *ret);
/* mkdir -p, each new level's parent synced. */
int kb_fs_mkdirs(struct kb_fs *fs, const char *path);
/* Remove a directory and all below it. */
int kb_fs_remove_tree(struct kb_fs *fs, const char *path);

/* ---- what a world implements -------------------------------------------------------------------
 * Each struct begins with a pointer to its world's table; the functions above dispatch through it.
 * A world embeds these as its first member. */

struct kb_fs_ops {
    int (*open)(struct kb_fs *, const char *path, int flags, struct kb_fd **ret);
    void (*close)(struct kb_fs *, struct kb_fd *);
    int64_t (*pread)(struct kb_fs *, struct kb_fd *, void *ret, size_t size, uint64_t position);
    int (*pwrite)(struct kb_fs *, struct kb_fd *, const void *, size_t size, uint64_t position);
    int (*truncate)(struct kb_fs *, struct kb_fd *, uint64_t size);
    int (*allocate)(struct kb_fs *, struct kb_fd *, uint64_t position, uint64_t size);
    int (*sync)(struct kb_fs *, struct kb_fd *);
    void (*drop_cache)(struct kb_fs *, struct kb_fd *);
    int64_t (*size)(struct kb_fs *, struct kb_fd *);
    int (*stat)(struct kb_fs *, const char *path, struct kb_fs_stat *ret);
    int (*rename)(struct kb_fs *, const char *from, const char *to);
    int (*link)(struct kb_fs *, const char *from, const char *to);
    int (*unlink)(struct kb_fs *, const char *path);
    int (*mkdir)(struct kb_fs *, const char *path);
    int (*rmdir)(struct kb_fs *, const char *path);
    int (*sync_dir)(struct kb_fs *, const char *path);
    int (*list)(struct kb_fs *, const char *path, kb_fs_list_fn *fn, void *arg);
    int (*lock)(struct kb_fs *, const char *path);
    void (*unlock)(struct kb_fs *, const char *path);
    int (*free_bytes)(struct kb_fs *, const char *path, uint64_t *ret);
    int64_t (*wall_ms)(struct kb_fs *);
    uint64_t (*now_ms)(struct kb_fs *);
};
struct kb_fs {
    const struct kb_fs_ops *ops;
};

struct kb_env_ops {
    uint64_t (*now_us)(struct kb_env *);
    int64_t (*wall_ms)(struct kb_env *);
    void (*random)(struct kb_env *, void *ret, size_t size);
    struct kb_timer *(*timer_new)(struct kb_env *, kb_timer_fn *fn, void *arg);
    void (*timer_arm)(struct kb_timer *, uint64_t delay_ms);
    void (*timer_cancel)(struct kb_timer *);
    bool (*timer_armed)(const struct kb_timer *);
    void (*timer_free)(struct kb_timer *);
    int (*listen)(struct kb_env *, const char *host, uint16_t port, const struct kb_conn_options *,
                  kb_accept_fn *fn, void *arg, struct kb_listener **ret);
    uint16_t (*listener_port)(const struct kb_listener *);
    void (*listener_close)(struct kb_listener *);
    struct kb_conn *(*connect)(struct kb_env *, const char *host, uint16_t port,
                               uint64_t timeout_ms, const struct kb_conn_options *,
                               const struct kb_conn_handler *, void *user);
    void (*conn_set_handler)(struct kb_conn *, const struct kb_conn_handler *, void *user);
    void (*conn_send)(struct kb_conn *, struct kb_chain *chain);
    uint64_t (*conn_queued_bytes)(const struct kb_conn *);
    bool (*conn_congested)(const struct kb_conn *);
    void (*conn_pause)(struct kb_conn *);
    void (*conn_resume)(struct kb_conn *);
    void (*conn_close)(struct kb_conn *, bool after_send);
    void (*file_release)(struct kb_file *); /* last reference gone: close descriptors, free */
    struct kb_file *(*file_new)(struct kb_env *, const char *path);
    void (*file_set_path)(struct kb_file *, const char *path);
    void (*lane_write)(struct kb_env *, enum kb_lane lane, struct kb_write *w);
    void (*lane_job)(struct kb_env *, enum kb_lane lane, struct kb_job *job);
    void (*job)(struct kb_env *, struct kb_job *job);
    uint64_t (*lane_stall_ms)(struct kb_env *, enum kb_lane lane);
    int64_t (*read_now)(struct kb_env *, struct kb_file *, uint64_t position, void *ret, size_t);
    void (*read)(struct kb_env *, struct kb_read *r);
    void (*exit)(struct kb_env *, int status, const char *reason);
};
struct kb_env {
    const struct kb_env_ops *ops;
};
struct kb_timer {
    struct kb_env *env;
};
struct kb_listener {
    struct kb_env *env;
};
struct kb_conn {
    struct kb_env *env;
};
struct kb_file {
    struct kb_env *env;
    char *path; /* owned */
    uint32_t refs;
    uint32_t generation;
};

#endif
