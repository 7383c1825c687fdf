#ifndef SIM_HISTORY_H
#define SIM_HISTORY_H

#include <stdbool.h>
#include <stdint.h>

#include "proto/base/bytes.h"
#include "tests/sim/sim_checks.h"

/* What the clients of a run did and saw: every record sent with its outcome, every record read.
 * Values are unique over the run. Partitions are numbered 0.. by the run. Judges P1, P2, P10, P11
 * and P12, some at once, the rest when the final logs are known. */
struct sim_history;

enum sim_outcome {
    SIM_OPEN, /* sent, nothing heard */
    SIM_OK,   /* acknowledged */
    SIM_FAIL, /* refused: did not and will not happen */
    SIM_INFO, /* nobody knows: timed out, disconnected, acks=0 */
};

struct sim_history *sim_history_new(struct sim_checks *checks, uint32_t partitions);
struct sim_history *sim_history_free(struct sim_history *h);

/* A record as it is sent. All of one producer in one partition are numbered by `order`. */
struct sim_sent {
    uint32_t producer;
    uint32_t partition;
    uint32_t order;
    int16_t acks;
    int64_t producer_id; /* -1: not idempotent */
    int16_t producer_epoch;
    int32_t sequence;
    enum sim_outcome outcome;
    int64_t offset; /* of an OK; -1 */
};
/* A new record: its number, from which sim_history_value makes its value. */
uint64_t sim_history_send(struct sim_history *h, const struct sim_sent *sent);
/* Its idempotent identity, once it is known. */
void sim_history_set_sequence(struct sim_history *h, uint64_t id, int64_t producer_id,
                              int16_t producer_epoch, int32_t sequence);
/* Append the value of record id: "v<id>." and some padding that follows from the id. */
void sim_history_value(uint64_t id, struct kb_buf *value);
/* The id in a value, or -1 when the bytes are nobody's. */
int64_t sim_history_parse(struct kb_view value);

/* R18: a producer was given this id as a new one; nobody was before. */
void sim_history_identity(struct sim_history *h, int64_t producer_id);

void sim_history_done(struct sim_history *h, uint64_t id, enum sim_outcome outcome, int64_t offset);
/* A consumer was given this record. */
void sim_history_read(struct sim_history *h, uint32_t consumer, uint32_t partition, int64_t offset,
                      struct kb_view value);

/* The final log of a partition, from offset 0 on, as one reader saw it; the first reader's is kept
 * and the others are compared with it (P2). */
void sim_history_final(struct sim_history *h, const char *reader, uint32_t partition,
                       int64_t offset, struct kb_view value);
/* It begins here, for what lies before may be gone; 0 unless told. Of the first reader it says from
 * where on everything must be there. */
void sim_history_final_start(struct sim_history *h, uint32_t partition, int64_t start_offset);
void sim_history_final_end(struct sim_history *h, const char *reader, uint32_t partition,
                           int64_t end_offset);
/* All final logs are in: judge everything. */
void sim_history_judge(struct sim_history *h);

uint64_t sim_history_sent(const struct sim_history *h);
uint64_t sim_history_acked(const struct sim_history *h); /* OK with acks=all or 1 */
uint64_t sim_history_reads(const struct sim_history *h);
const struct sim_sent *sim_history_get(const struct sim_history *h, uint64_t id);

#endif
