#ifndef LOG_PRODUCERS_INTERNAL_H
#define LOG_PRODUCERS_INTERNAL_H

#include <sys/queue.h>

#include "proto/base/map.h"
#include "replication/log/producers.h"

/* Inside of struct log_producers, shared by producers.c and producers_snapshot.c. */

enum { LOG_PRODUCER_NO_EPOCH = -1 };

/* A remembered batch; its first sequence and offset follow from the delta. */
struct producer_batch {
    int32_t last_sequence; /* -1: it had none */
    int32_t delta;         /* last - first, of offsets and sequences alike */
    int64_t last_offset;
    int64_t timestamp;
};

/* What an update changes, and the undo journal keeps. */
struct producer_state {
    int16_t epoch;
    uint8_t batch_count;
    bool any_sequence; /* no batch is remembered because of an abort: any sequence may follow */
    int32_t coordinator_epoch;
    int64_t txn_first_offset; /* -1: none open */
    int64_t last_timestamp;
    struct producer_batch batches[LOG_PRODUCER_BATCHES]; /* oldest first */
};

struct producer {
    TAILQ_ENTRY(producer) link; /* by last activity, oldest first */
    int64_t id;
    uint64_t used_ms;
    struct producer_state state;
};
TAILQ_HEAD(producer_list, producer);

struct open_txn {
    int64_t first_offset;
    int64_t producer_id;
};
struct ended_txn {
    int64_t first_offset;
    int64_t marker_offset;
};

/* State of a producer before one batch. */
struct producer_undo {
    int64_t last_offset; /* of that batch */
    int64_t producer_id;
    bool created; /* unknown before: undo removes it */
    struct producer_state state;
};

struct log_producers {
    struct log_producers_config config;
    struct kb_map map; /* producer id -> struct producer */
    struct producer_list list;
    int64_t end_offset;
    struct open_txn *open; /* by first offset */
    size_t open_count, open_capacity;
    struct ended_txn *ended; /* by marker offset; marker not known below the high watermark */
    size_t ended_count, ended_capacity;
    struct producer_undo *undo; /* oldest first, from undo_first */
    size_t undo_first, undo_end, undo_capacity;
    int64_t undo_floor; /* truncation below it needs a snapshot */
};

struct producer *producers_find(const struct log_producers *p, int64_t id);
/* New and unused, at the newest end; makes room by the count limit. */
struct producer *producers_add(struct log_producers *p, int64_t id, uint64_t now_ms);
void producers_open_txn_add(struct log_producers *p, int64_t first_offset, int64_t producer_id);
void producers_ended_txn_add(struct log_producers *p, int64_t first_offset, int64_t marker_offset);
void producer_state_clear_batches(struct producer_state *s);

#endif
