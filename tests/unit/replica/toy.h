#ifndef TESTS_UNIT_REPLICA_TOY_H
#define TESTS_UNIT_REPLICA_TOY_H

#include "replication/replica/replica.h"
#include "tests/unit/unit.h"

/* ck_assert tells its parent process about every success too, which a million checks cannot pay. */
#define TOY_CHECK(cond) ((cond) ? (void)0 : ck_abort_msg("%s:%d: %s", __FILE__, __LINE__, #cond))

/* A toy of what surrounds a replica: a log in memory whose tail may be lost, and a node that
 * carries effects out and remembers them for the test to look at. */

#define TOY_LOG_MAX 4096
#define TOY_EPOCHS_MAX 256

/* One record is one batch. */
struct toy_record {
    int32_t epoch;
    uint64_t value;
};
struct toy_log {
    struct toy_record records[TOY_LOG_MAX];
    struct rep_epoch_offset epochs[TOY_EPOCHS_MAX]; /* epoch and where it starts */
    size_t n_epochs;
    int64_t start;
    int64_t end;
    int64_t written;
    int64_t durable;
    uint64_t generation;
};
void toy_log_assign(struct toy_log *l, int32_t epoch);
void toy_log_append(struct toy_log *l, int32_t epoch, uint64_t value);
void toy_log_cut(struct toy_log *l, int64_t to);
/* Rebuild the epoch table from the records: what a restart does. */
void toy_log_recover(struct toy_log *l);

struct toy_node {
    struct rep_config config;
    int64_t broker_epoch;
    struct rep *rep;
    struct toy_log log;
    uint64_t controller_heard_ms;
    uint64_t link_heard_ms;

    struct rep_effects fx; /* of the last call */
    uint32_t seen;         /* flags since toy_node_forget */
    enum rep_fail_reason fail;
    enum rep_report report;
    int64_t truncated_to, reset_to; /* last; -1 = none */
    bool lowered_hw, set_aside;
    int64_t kept_below; /* offsets below the log's start that its files still have */
    int64_t lone_from;  /* what toy_node_open says of the log's end */
    bool hold_cuts;     /* truncations and resets wait for toy_node_finish_cut */
};
/* A replica of config.node_id = id with a whole log that holds n records of the given epoch, all on
 * disk, HW as given. n = 0: empty. */
void toy_node_init(struct toy_node *t, int32_t id, int32_t epoch, int64_t n, int64_t hw);
/* As init, but the log in t->log is taken as it is, and recovery's verdict is given. */
void toy_node_open(struct toy_node *t, int32_t id, enum rep_log_state state, int64_t hw,
                   uint64_t now_ms);
void toy_node_free(struct toy_node *t);
/* Carry out t->fx; call after each rep_* that filled it. */
void toy_node_do(struct toy_node *t, uint64_t now_ms);
void toy_node_finish_cut(struct toy_node *t, uint64_t now_ms);
void toy_node_forget(struct toy_node *t);
void toy_node_image(struct toy_node *t, const struct rep_image *image, uint64_t now_ms);
/* Leader append of n records; written and durable at once unless lazy. */
void toy_node_append(struct toy_node *t, int n, bool lazy, uint64_t now_ms);
/* The disk has everything. */
void toy_node_sync(struct toy_node *t, uint64_t now_ms);
/* One round of following over a link: request, answer, batches (limit at most), end, and with
 * `durable` the sync and its report. Returns the leader's verdict on the request. */
enum rep_fetch_result toy_follow(struct toy_node *follower, struct toy_node *leader, uint64_t link,
                                 int limit, bool durable, uint64_t now_ms);

/* Images: three replicas 1, 2, 3 with broker epochs 101, 102, 103, all in the ISR, leader 1 in
 * epoch 5, partition epoch 10, minimum 2, strong. Change fields afterwards. */
struct toy_image {
    struct rep_image image;
    struct rep_image_replica replicas[3];
};
void toy_image_init(struct toy_image *m);
/* Bit 0 is replica 1. */
void toy_image_isr(struct toy_image *m, unsigned isr, unsigned elr);
/* New leader in a new epoch; -1 for none. */
void toy_image_elect(struct toy_image *m, int32_t leader);

#endif
