#ifndef SRV_FILE_H
#define SRV_FILE_H

#include <pthread.h>
#include <stdatomic.h>
#include <sys/queue.h>
#include <sys/types.h>

#include "proto/base/env.h"

/* Descriptors behind kb_file: opened on first use, kept in least-recently-used order, shared by all
 * threads. A pin keeps one descriptor open while it is used; a descriptor taken out of the cache
 * while pinned closes with its last pin. */
struct srv_files;

struct srv_open {
    int fd;
    dev_t device;
    unsigned pins;
    struct srv_file *file; /* NULL once out of the cache */
    TAILQ_ENTRY(srv_open) lru;
};
TAILQ_HEAD(srv_open_list, srv_open);

struct srv_file {
    struct kb_file base;
    struct srv_files *files;
    struct srv_open *open; /* the rest under srv_files.lock, but for failed */
    bool opening;
    uint32_t path_changes;
    _Atomic bool failed; /* a write or sync failed: its later writes are refused */
};

/* A file this broker keeps locked (kb_fs_lock). */
struct srv_held {
    char *path;
    int fd;
    LIST_ENTRY(srv_held) entries;
};
struct srv_files {
    pthread_mutex_t lock;
    pthread_cond_t opened;
    struct srv_open_list lru; /* most recently used first */
    size_t open_count;
    size_t open_max;
    LIST_HEAD(, srv_held) held; /* under lock */
};
void srv_files_init(struct srv_files *fs, size_t open_max);
/* Closes what is cached; nothing may be pinned. */
void srv_files_release(struct srv_files *fs);
size_t srv_files_open_count(struct srv_files *fs);

struct srv_file *srv_file_new(struct srv_files *fs, struct kb_env *env, const char *path);
/* Both are called on the loop. They return a descriptor that the caller must get closed elsewhere
 * (closing may wait for the disk), or -1. */
int srv_file_set_path(struct srv_file *f, const char *path);
int srv_file_free(struct srv_file *f);
/* A copy of the present path, from any thread. */
char *srv_file_path_copy(struct srv_file *f);

/* Pin the file's descriptor, opening it if need be: may wait for the disk. 0 or negative. */
int srv_file_pin(struct srv_file *f, struct srv_open **ret);
/* Pin only if it is open already: never waits for the disk. NULL when it is not. */
struct srv_open *srv_file_try_pin(struct srv_file *f);
/* Returns a descriptor that the caller must close, or -1. */
int srv_file_unpin(struct srv_files *fs, struct srv_open *o);

#endif
