#ifndef TESTS_LOG_WORLD_H
#define TESTS_LOG_WORLD_H

#include <stdbool.h>
#include <stdint.h>

#include "proto/base/bytes.h"
#include "replication/log/log.h"
#include "tests/sim/sim_disk.h"
#include "tests/sim/sim_env.h"
#include "tests/sim/sim_world.h"

/* One log on one simulated host, and a plain model beside it: the batches it should hold. */

#define LW_DIR "/data/orders-0"

struct lw_batch {
    int64_t base_offset, last_offset;
    int32_t epoch;
    int64_t max_timestamp;
    size_t position, size; /* in lw.bytes */
};
struct lw {
    struct sim_world *world;
    struct sim_host *host;
    struct sim_env *env;
    struct log_cache *cache;
    struct log *log;
    struct log_options options;
    /* What the log reported. */
    bool opened, done;
    int open_result, done_result;
    struct log_found found;
    int64_t written, durable;
    uint32_t generation;
    unsigned space_events, failures;
    int failure;
    /* The model. */
    struct kb_buf bytes;
    struct lw_batch *batches;
    size_t batch_count, batch_capacity;
};

void lw_init(struct lw *l, uint64_t seed);
void lw_release(struct lw *l);
/* Create or open and wait for the answer. */
void lw_create(struct lw *l, int64_t first_offset);
void lw_open(struct lw *l, bool clean, int64_t durable_mark);
/* Clean stop; the process ends too. */
void lw_close(struct lw *l);
/* The process ends at once; the next one starts, without a log. */
void lw_kill(struct lw *l);
void lw_power_cut(struct lw *l, enum sim_crash_mode mode);
/* Free what a dead process left, start the next one. */
void lw_restart(struct lw *l);

/* A batch of records with this value size, each 1 ms later than the one before. */
struct kb_block *lw_make_batch(int records, size_t value_size, int64_t timestamp);
/* Append as leader; waits while the log is busy. The result of the last try. */
int lw_append(struct lw *l, int32_t epoch, int records, size_t value_size, int64_t timestamp);
/* One try. */
int lw_append_once(struct lw *l, int32_t epoch, int records, size_t value_size, int64_t timestamp);
/* Until all is durable (strong logs). */
void lw_settle(struct lw *l);
void lw_run(struct lw *l, uint64_t ms);
/* Wait for a log_done_fn. */
void lw_on_done(struct log *log, void *user, int result);
int lw_wait_done(struct lw *l);
/* The model after a cut. */
void lw_model_cut(struct lw *l, int64_t offset);

/* Read from offset with this limit until bound; compare with the model. */
void lw_check_read(struct lw *l, int64_t offset, int64_t bound, size_t max_bytes);
/* Everything, in several ways. */
void lw_check_all(struct lw *l);
/* One read; the caller releases r->records. */
int lw_read(struct lw *l, struct log_read *r, int64_t offset, int64_t bound, size_t max_bytes,
            bool min_one);

#endif
