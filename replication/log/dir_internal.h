#ifndef LOG_DIR_INTERNAL_H
#define LOG_DIR_INTERNAL_H

#include "proto/base/queue.h"
#include <uthash.h>

#include "replication/log/dir.h"
#include "replication/log/dir_text.h"

/* Inside of the data directory, shared by dir.c and dir_start.c. */

#define DIR_FILE_LOCK ".lock"
#define DIR_FILE_META "meta.properties"
#define DIR_FILE_STATE "kvorum.state"
#define DIR_FILE_MARKER ".kafka_cleanshutdown"
#define DIR_FILE_RESERVE "kvorum.reserve"
#define DIR_SUFFIX_STRAY "-stray"
#define DIR_SUFFIX_DELETE "-delete"
const char *dir_mark_file(enum log_dir_mark mark);
/* dir/name, a new string. */
char *dir_join(const char *dir, const char *name);

struct log_dir_log {
    char *name; /* "topic-partition", the key */
    char *topic;
    char *path;
    int32_t partition;
    int64_t marks[LOG_DIR_MARK_COUNT_];
    UT_hash_handle hh;
};

/* What the start job works on: inputs, then all it found. Shares nothing with the loop. */
struct dir_start_log {
    char *topic;
    int32_t partition;
    struct kb_uuid topic_id;
};
struct dir_start_mark {
    enum log_dir_mark mark;
    char *topic;
    int32_t partition;
    int64_t offset;
};
struct dir_start {
    char *path;
    char *cluster_id; /* configured; may be NULL */
    int32_t node_id;
    uint64_t reserve_bytes;
    struct kb_uuid new_directory_id; /* used when there is none yet */

    struct dir_meta meta;
    struct dir_state state;
    bool fresh, clean, reserve_present;
    bool repaired; /* meta.properties was damaged and has been written again from its copy */
    int64_t clean_broker_epoch;
    char *reason; /* on failure */
    struct dir_start_log *logs;
    size_t log_count, log_capacity;
    struct dir_start_mark *marks;
    size_t mark_count, mark_capacity;
    char **leftovers; /* names of deleted logs */
    size_t leftover_count, leftover_capacity;
};
int dir_start_run(struct dir_start *s, struct kb_fs *fs);
void dir_start_release(struct dir_start *s);

/* 0, -KB_ENOSPC, … ; whole or not there. */
int dir_reserve_make(struct kb_fs *fs, const char *path, uint64_t size_bytes);

#endif
