#ifndef TESTS_CRASH_H
#define TESTS_CRASH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/bytes.h"
#include "tests/sim/sim_disk.h"
#include "tests/sim/sim_env.h"

/* Every state that a power cut may leave of a small run on a simulated disk.
 *
 * A trace holds the changes and syncs of the run in order, and notes: what had been promised by
 * when. For each prefix of the run the enumerator composes disks from
 *   - per directory: a prefix of the changes since its last sync;
 *   - per file: each image that its writes since the last sync may leave (crash_images.c);
 * all combinations of them up to a limit, beyond it what README.md says, and shows each disk that
 * was not shown before under the same promises. */

/* ---- the trace ---- */

struct crash_change {
    enum sim_disk_change_kind kind;
    uint64_t inode, in_dir, from_dir;
    bool dir;
    uint64_t position, size;
    uint8_t *data;
    char *name, *from_name;
};
struct crash_note {
    size_t changes;      /* holds once this many changes were made */
    const void *promise; /* the case's own */
};
struct crash_trace {
    struct sim_disk *disk;
    struct crash_change *changes;
    size_t count, capacity;
    struct crash_note *notes;
    size_t note_count, note_capacity;
};
/* Begin on an empty disk: the trace knows no more than it hears. */
void crash_trace_begin(struct crash_trace *t, struct sim_disk *d);
void crash_trace_note(struct crash_trace *t, const void *promise); /* borrowed */
void crash_trace_end(struct crash_trace *t);
void crash_trace_release(struct crash_trace *t);

/* ---- images of one file ---- */

struct crash_image {
    struct kb_buf bytes;
    uint64_t hash;
};
struct crash_images {
    struct crash_image *images; /* the first: nothing was written; the last: everything */
    size_t count, capacity;
    bool bounded; /* not all subsets of sectors */
};
/* changes: the writes and sizes since the last sync, in order, upon `durable`. limit bounds how
 * many subsets of sectors are listed. */
void crash_images_make(struct crash_images *ret, const struct kb_buf *durable,
                       const struct crash_change *const *changes, size_t count, size_t limit,
                       uint64_t seed);
void crash_images_release(struct crash_images *im);
uint64_t crash_hash(uint64_t hash, const void *data, size_t size);

/* ---- the walk ---- */

struct crash_limits {
    size_t images; /* subsets of sectors per file */
    size_t states; /* combinations per prefix */
    bool no_kills; /* leave out processes that were killed and powered off in the next life */
    size_t stride; /* only every stride-th prefix, and those before a sync; 0 and 1: all */
};
struct crash_counts {
    size_t prefixes, bounded_prefixes;
    size_t composed; /* disks, with repetitions */
    size_t states;   /* disks shown */
    size_t kills;    /* shown as left by kill -9, unsynced changes still in memory */
};
struct crash_state {
    struct sim_env *env; /* of the host whose disk it is; no process of the product runs */
    const void *promise; /* of the newest note; NULL before the first */
    size_t prefix;
    /* The visible image has more than the durable one: the process was killed, the machine not. */
    bool killed;
};
typedef void crash_visit_fn(void *arg, const struct crash_state *s);
void crash_walk(const struct crash_trace *t, const struct crash_limits *limits, crash_visit_fn *fn,
                void *arg, struct crash_counts *ret);
/* One line for people. */
void crash_counts_print(const char *name, const struct crash_counts *c, size_t changes);

/* ---- all files of a disk, for comparing ---- */

/* Path, size and bytes of each file below path, in order. */
void crash_dump(struct sim_disk *d, const char *path, struct kb_buf *ret);
/* Says where two dumps differ; true when they are equal. */
bool crash_dumps_equal(const struct kb_buf *a, const struct kb_buf *b, char *ret_where,
                       size_t where_size);

#endif
