#ifndef LOG_DIR_H
#define LOG_DIR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/env.h"
#include "proto/base/uuid.h"

/* A data directory (one entry of log.dirs): its lock, identity and clean marker, the offsets each
 * log persists (checkpoints), and its list of logs. Owned by the state loop.
 *
 *   .lock                              locked while the broker lives (8.1)
 *   meta.properties                    version, cluster.id (absent: blank), node.id, directory.id
 *   .kafka_cleanshutdown               {"version":0,"brokerEpoch":N}: written last (8.5)
 *   kvorum.state                       broker epoch (8.4), boot id, creations index (8.2), CRC
 *   replication-offset-checkpoint      high watermarks           \  Kafka's text format:
 *   recovery-point-offset-checkpoint   durable marks F            | version 0, count,
 *   log-start-offset-checkpoint        log start offsets          | "topic partition offset"
 *   cleaner-offset-checkpoint          first dirty offsets       /
 *   kvorum.reserve                     space kept for a full disk
 *   <topic>-<partition>/               a log
 *   <topic>-<partition>.<hex>-stray/   set aside: never deleted by us (8.5)
 *   <topic>-<partition>.<hex>-delete/  deleted; removed at the next start if a crash left it
 *
 * Small files are replaced whole (write, sync, rename, sync of the directory) by jobs of the Raft
 * lane, in the order asked for. A failure is final for the directory: on_failed (rule 9.3). Only a
 * full disk is not: a lazy checkpoint is tried again a second later, who waits gets -KB_ENOSPC. */

struct log_dir;

#define LOG_DIR_RESERVE_BYTES (64u << 20)

struct log_dir_options {
    const char *path;                /* made when missing */
    int32_t node_id;                 /* must equal meta.properties' */
    const char *cluster_id;          /* configured; NULL: any. Must equal a stored one */
    const char *boot_id;             /* changes when the machine restarts; NULL or "": unknown */
    uint64_t reserve_bytes;          /* 0: no reserve file */
    uint64_t checkpoint_interval_ms; /* 1000 */
    void (*on_failed)(void *arg, int result, const char *what); /* a durable write failed */
    void *arg;
};

/* The offsets that one log persists; a handle owned by the directory. */
struct log_dir_log;
enum log_dir_mark {
    LOG_DIR_HIGH_WATERMARK, /* a lower bound for reading, never a point to cut at (3.4) */
    LOG_DIR_DURABLE,        /* F: what is below survived a sync (8.2); a lower bound */
    LOG_DIR_START,          /* log start offset */
    LOG_DIR_CLEANER,        /* first dirty offset of compaction */
    LOG_DIR_MARK_COUNT_
};

struct log_dir_found_log {
    const char *topic; /* "__cluster_metadata" for the Raft log */
    int32_t partition;
    struct kb_uuid topic_id; /* partition.metadata; zero when missing or unreadable */
    struct log_dir_log *log; /* the handle, with the marks found */
};
/* What a start found. Borrowed from the directory; valid until the callback returns. */
struct log_dir_found {
    struct kb_uuid directory_id;
    bool fresh;                 /* formatted by this start */
    const char *cluster_id;     /* NULL: blank (11.1) */
    bool clean;                 /* the clean marker was there (and is durably gone now) */
    int64_t clean_broker_epoch; /* in the marker; -1: none or not readable */
    int64_t broker_epoch;       /* the newest written (8.4); -1: none, or the record is damaged */
    bool same_boot;             /* the machine has not restarted since the last life */
    /* 8.2: a missing log counts as whole and empty if assigned after this Raft index; a damaged
     * record gives INT64_MAX, so that nothing missing is taken for empty. */
    uint64_t creations_index;
    const struct log_dir_found_log *logs;
    size_t log_count;
    bool reserve_missing; /* there was no space for the reserve file */
};
typedef void log_dir_open_fn(void *arg, struct log_dir *dir, int result, const char *reason,
                             const struct log_dir_found *found);
/* Lock, remove the clean marker durably, read or make the identity, read checkpoints, list the logs
 * and remove what deletions left behind: one job. Then fn, once. result 0 with found, or negative
 * with a sentence for people in reason (dir is dead then: free it, also from inside fn):
 *   -KB_EBUSY    another broker holds the lock
 *   -KB_EINVAL   node id or cluster id differ from the configured ones
 *   -KB_ECORRUPT meta.properties is damaged, or missing beside logs
 *   -KB_EUNSUPPORTED meta.properties of another version */
struct log_dir *log_dir_open(struct kb_env *env, const struct log_dir_options *options,
                             log_dir_open_fn *fn, void *arg);
/* Free everything now; waiting callbacks never run. NULL accepted; returns NULL. Legal when nothing
 * is under way (inside or after the callback of a failed open or of log_dir_close), or when the env
 * delivers no events any more (crash). */
struct log_dir *log_dir_free(struct log_dir *dir);

const char *log_dir_root(const struct log_dir *dir);
struct kb_uuid log_dir_id(const struct log_dir *dir);

/* ---- logs and their marks ---- */

/* The handle of a log, made when unknown (all marks -1: unset). Its directory is not touched. */
struct log_dir_log *log_dir_log_add(struct log_dir *dir, const char *topic, int32_t partition);
struct log_dir_log *log_dir_log_find(struct log_dir *dir, const char *topic, int32_t partition);
/* Forget it: gone from the next checkpoints. The handle dies. NULL accepted; returns NULL. */
struct log_dir_log *log_dir_log_remove(struct log_dir *dir, struct log_dir_log *log);
/* root/topic-partition; owned by the handle. */
const char *log_dir_log_path(const struct log_dir_log *log);
/* -1 when unset. */
int64_t log_dir_mark_get(const struct log_dir_log *log, enum log_dir_mark mark);
/* Remember; persisted by the next checkpoint. A mark may fall. Cheap: meant for every append.
 * F must not stand above the log's end after a crash: whoever truncates below F lowers it first and
 * flushes (or never sets F above the high watermark). A high watermark that is lowered (2.7) is
 * flushed before the first byte goes. */
void log_dir_mark_set(struct log_dir *dir, struct log_dir_log *log, enum log_dir_mark mark,
                      int64_t offset);

typedef void log_dir_done_fn(void *arg, int result);
/* Call fn when all marks of this kind, as they are now, are durable (DeleteRecords, lowered marks).
 * Calls that wait for the disk share one write. */
void log_dir_mark_flush(struct log_dir *dir, enum log_dir_mark mark, log_dir_done_fn *fn,
                        void *arg);
/* Whoever waits with this arg, for a flush or another operation, is not told any more. */
void log_dir_forget(struct log_dir *dir, const void *arg);
/* Do what time asks for: a lazy checkpoint of what changed, each second. Call it from time to time;
 * returns the monotonic ms when it wants to be called again (UINT64_MAX: nothing waits). */
uint64_t log_dir_due(struct log_dir *dir, uint64_t now_ms);

/* ---- identity, epochs ---- */

/* Durable, then fn. */
void log_dir_set_cluster_id(struct log_dir *dir, const char *cluster_id, log_dir_done_fn *fn,
                            void *arg);
/* Before the broker asks to be unfenced (8.4), after its registration was handled. The boot id is
 * stored with it: not earlier, or a start that dies before registering would hide a power cut. */
void log_dir_set_broker_epoch(struct log_dir *dir, int64_t epoch, log_dir_done_fn *fn, void *arg);
/* Logs assigned up to this Raft index exist durably: before the first of them counts as durable. */
void log_dir_set_creations(struct log_dir *dir, uint64_t raft_index, log_dir_done_fn *fn,
                           void *arg);
/* Replace a small file of our own in the directory, durably, in order with the rest. Copies. */
void log_dir_write_file(struct log_dir *dir, const char *name, const void *data, size_t size,
                        log_dir_done_fn *fn, void *arg);

/* ---- space ---- */

/* Give the reserve back to the volume (the Raft side met ENOSPC). 0 to fn also when it was gone. */
void log_dir_reserve_release(struct log_dir *dir, log_dir_done_fn *fn, void *arg);
/* Make it again. -KB_ENOSPC to fn when space is still short. */
void log_dir_reserve_restore(struct log_dir *dir, log_dir_done_fn *fn, void *arg);
bool log_dir_reserve_present(const struct log_dir *dir);

/* ---- logs leave ---- */

/* Rename a closed log's directory aside: unknown topic id, kept for people (8.5). The handle dies
 * at once; its path is free for a new log when fn runs. */
void log_dir_set_aside(struct log_dir *dir, struct log_dir_log *log, log_dir_done_fn *fn,
                       void *arg);
/* Rename a closed log's directory to -delete, durably, then fn; its files go in the background. */
void log_dir_delete(struct log_dir *dir, struct log_dir_log *log, log_dir_done_fn *fn, void *arg);
/* One of both is under way: a log that was made there now would be renamed in its place. */
bool log_dir_is_leaving(const struct log_dir *dir, const char *topic, int32_t partition);

/* ---- stop ---- */

/* All logs are closed and synced: write the last checkpoints, then the clean marker with this
 * broker epoch, free the lock, then fn. Only log_dir_free may follow. */
void log_dir_close(struct log_dir *dir, int64_t broker_epoch, log_dir_done_fn *fn, void *arg);

#endif
