#ifndef SIM_DISK_H
#define SIM_DISK_H

#include <stdbool.h>
#include <stdint.h>

#include "proto/base/bytes.h"
#include "tests/sim/sim_world.h"

/* A disk with two images: what processes see (page cache included) and what would survive a power
 * cut. kb_fs_sync carries one file's bytes and size over; kb_fs_sync_dir one directory's creations,
 * renames and removals. Paths are absolute or relative to "/", which always exists. */

struct sim_disk_settings {
    uint64_t capacity_bytes; /* 0 = endless */
    bool no_allocate;        /* kb_fs_allocate answers -KB_EUNSUPPORTED */
    /* Virtual time of one call, uniform between both. */
    uint32_t write_us_min, write_us_max;
    uint32_t sync_us_min, sync_us_max;
    uint32_t read_us_min, read_us_max;
    /* Chances in a million: kb_env_read_now would wait; a call fails with -KB_EIO. */
    uint32_t cold_ppm;
    uint32_t write_eio_ppm, sync_eio_ppm, read_eio_ppm;
    /* The next n calls fail with -KB_EIO, whatever the chances. */
    uint32_t write_fail_next, sync_fail_next, read_fail_next;
    bool dead; /* every call fails with -KB_EIO, but for names that are only looked at */
};
/* To be changed in place at any time. */
struct sim_disk_settings *sim_disk_settings(struct sim_disk *d);

/* Calls that were answered with -KB_EIO. */
uint64_t sim_disk_failures(const struct sim_disk *d);
/* When the first of them came; 0 none. Forgotten when a new process begins, say. */
uint64_t sim_disk_failed_us(const struct sim_disk *d);
void sim_disk_forget_failures(struct sim_disk *d);
/* By these settings writes or syncs may fail now. */
bool sim_disk_is_failing(const struct sim_disk *d);

/* Every write, sync and read that starts or is under way ends duration_ms later. */
void sim_disk_stall(struct sim_disk *d, uint64_t duration_ms);

/* Power cut: what was not synced is lost, kept, or torn and reordered in sectors of 512 bytes;
 * directories keep a prefix of their unsynced changes; renames are old or new. Only while no
 * process runs on the host: sim_env_power_cut does both. */
enum sim_crash_mode {
    SIM_CRASH_SEEDED, /* the seed picks one of the others per file and directory */
    SIM_CRASH_DROP,
    SIM_CRASH_KEEP,
    SIM_CRASH_TORN,
};
void sim_disk_crash(struct sim_disk *d, enum sim_crash_mode mode);
/* What sim_env_power_cut uses; SIM_CRASH_SEEDED at first. */
void sim_disk_set_crash_mode(struct sim_disk *d, enum sim_crash_mode mode);

/* All bytes of a file in one of the images: 0 or -KB_ENOENT. Caller releases *ret. */
int sim_disk_read(struct sim_disk *d, const char *path, struct kb_buf *ret);
int sim_disk_read_durable(struct sim_disk *d, const char *path, struct kb_buf *ret);
/* Borrowed view of the same, valid until the next change of the disk. */
int sim_disk_view(struct sim_disk *d, const char *path, bool durable, struct kb_view *ret);
/* Names in a directory of either image, sorted; stops at and returns a non-zero answer. */
int sim_disk_list(struct sim_disk *d, const char *path, bool durable, kb_fs_list_fn *fn, void *arg);

/* ---- a directory of one of the images; borrowed until a name of the disk changes ---- */

struct sim_inode;
struct sim_dir {
    const struct sim_inode *inode;
    bool durable;
};
struct sim_dir_entry {
    const char *name;
    bool dir;
    struct kb_view bytes; /* of a file, borrowed until it changes */
};
/* Equal stamps of directories of one disk: the same names lead to the same bytes. */
struct sim_dir_stamp {
    uint64_t inode; /* 0: of no directory */
    uint64_t names, files;
};
/* False when there is none. */
bool sim_disk_dir(struct sim_disk *d, const char *path, bool durable, struct sim_dir *ret);
size_t sim_dir_count(const struct sim_dir *dir);
/* Sorted by name. */
struct sim_dir_entry sim_dir_at(const struct sim_dir *dir, size_t index);
/* The bytes of a file; false when there is none of this name. */
bool sim_dir_view(const struct sim_dir *dir, const char *name, struct kb_view *ret);
struct sim_dir_stamp sim_dir_stamp(const struct sim_dir *dir);
bool sim_dir_stamp_same(const struct sim_dir_stamp *a, const struct sim_dir_stamp *b);

/* ---- meddling (both images, at once durable, with what else waits in those directories) ---- */

/* Create or replace a file, with its directories. */
void sim_disk_put(struct sim_disk *d, const char *path, const void *data, size_t size);
/* 0 or -KB_ENOENT (no such file or no such byte). */
int sim_disk_flip_bit(struct sim_disk *d, const char *path, uint64_t position, unsigned bit);
/* A bit turns on the medium, at rest: kb_env_read_now would wait for it, whoever reads the page
 * from the disk gets it and has it in memory from then on, until it is written again. The images of
 * this header go on showing the byte as it was written: what checkers read is what should be there.
 */
int sim_disk_rot_bit(struct sim_disk *d, const char *path, uint64_t position, unsigned bit);
/* How many have turned so. */
uint64_t sim_disk_rotten(const struct sim_disk *d);
int sim_disk_remove(struct sim_disk *d, const char *path); /* a file */
/* The files of a directory, as a process sees them, go to another disk, with the bits that have
 * turned there. */
void sim_disk_copy_dir(struct sim_disk *to, struct sim_disk *from, const char *path);
/* Somebody else holds the lock file at path (kb_fs_lock answers -KB_EBUSY); NULL = nobody. */
void sim_disk_lock_elsewhere(struct sim_disk *d, const char *path);
/* Everything is gone, as after a replaced disk. Only while no process runs. */
void sim_disk_wipe(struct sim_disk *d);
/* Remember the durable image, and go back to it later: an older copy of the directory. Restoring
 * wants no running process. */
struct sim_disk_copy;
struct sim_disk_copy *sim_disk_copy_new(struct sim_disk *d);
void sim_disk_restore(struct sim_disk *d, const struct sim_disk_copy *copy);
struct sim_disk_copy *sim_disk_copy_free(struct sim_disk_copy *copy);

/* ---- a witness ----
 * Hears of every change and sync that succeeded, in order, before anything else happens. Inodes
 * have numbers; the root directory of a new disk is SIM_DISK_ROOT. */
enum { SIM_DISK_ROOT = 1 };
enum sim_disk_change_kind {
    SIM_CHANGE_WRITE,    /* inode, position, data, size */
    SIM_CHANGE_SIZE,     /* inode, size */
    SIM_CHANGE_SYNC,     /* inode */
    SIM_CHANGE_LINK,     /* in_dir, name, inode (a new one or a second name), dir */
    SIM_CHANGE_UNLINK,   /* in_dir, name */
    SIM_CHANGE_RENAME,   /* from_dir, from_name, in_dir, name, inode */
    SIM_CHANGE_SYNC_DIR, /* inode */
};
struct sim_disk_change {
    enum sim_disk_change_kind kind;
    uint64_t inode;
    bool dir; /* the inode is a directory */
    uint64_t position, size;
    const void *data;
    uint64_t in_dir, from_dir;
    const char *name, *from_name;
};
typedef void sim_disk_witness_fn(void *arg, const struct sim_disk_change *change);
void sim_disk_set_witness(struct sim_disk *d, sim_disk_witness_fn *fn, void *arg); /* NULL: none */

uint64_t sim_disk_used_bytes(const struct sim_disk *d);
/* Syncs of files and directories so far: what is durable changes with nothing else but power cuts.
 */
uint64_t sim_disk_sync_count(const struct sim_disk *d);

#endif
