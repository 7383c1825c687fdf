#ifndef TESTS_CRASH_STORE_H
#define TESTS_CRASH_STORE_H

#include "replication/log/dir.h"
#include "replication/log/dir_internal.h"
#include "tests/crash/crash.h"
#include "tests/unit/log/log_world.h"

/* A data directory with one log in it, led through a small script while a trace is taken, and what
 * it had promised at each moment. The product's own start code then meets every disk. */

#define STORE_ROOT "/data"

/* What the log may hold. */
struct store_content {
    struct kb_buf bytes;
    struct lw_batch *batches;
    size_t count, capacity;
};
enum { STORE_CONTENTS_MAX = 8 };

struct store_promise {
    bool formatted, created;
    bool clean;               /* the clean stop is over */
    int64_t end_min;          /* reported durable */
    int64_t start_min;        /* of DeleteRecords that were answered */
    int64_t hw_min, mark_min; /* persisted checkpoints; -1: none */
    int64_t broker_epoch;     /* written and synced; -1: none */
    uint64_t creations;
    char cluster_id[32]; /* "": none */
    /* The log holds a prefix of one of these. */
    int contents[2]; /* -1: none */
};

struct store {
    struct lw lw;
    struct log_dir *dir;
    struct log_dir_log *dir_log;
    struct log_dir_options dir_options;
    struct kb_uuid directory_id;
    struct crash_trace trace;
    bool no_marks; /* nothing is noted of what is durable */
    bool answered;
    int answer;
    struct store_promise now;
    struct store_promise *promises[4000];
    size_t promise_count;
    struct store_content contents[STORE_CONTENTS_MAX];
    int content_count;
    bool opened;
};

void store_init(struct store *s, uint64_t seed);
void store_release(struct store *s);
/* Start the directory; format it on an empty disk. */
void store_open(struct store *s);
void store_create_log(struct store *s);
/* Append without waiting for it to be durable (it waits while the log is busy), or with. */
void store_append(struct store *s, int32_t epoch, int records, size_t value_size);
void store_settle(struct store *s);
/* Checkpoints as each second writes them. */
void store_checkpoint(struct store *s);
void store_cut(struct store *s, int64_t offset);
/* DeleteRecords as the node does it. */
void store_delete(struct store *s, int64_t offset);
/* Close log and directory. */
void store_close(struct store *s);
/* What is promised has changed. */
void store_note(struct store *s);
void store_on_answer(void *arg, int result);
void store_wait(struct store *s);
/* A new content, a copy of the present one up to an offset; its number. */
int store_content_fork(struct store *s, int64_t end);

/* ---- after the run ---- */

struct store_check {
    const struct store *store;
    size_t states;
    size_t whole, cut; /* verdicts */
    int32_t epoch_max;
};
/* A crash_visit_fn; arg is a store_check. Fails the test when a promise is broken. */
void store_visit(void *arg, const struct crash_state *state);
void store_walk(struct store *s, const char *name, const struct crash_limits *limits);

#endif
