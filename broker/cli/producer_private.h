#ifndef CLI_PRODUCER_PRIVATE_H
#define CLI_PRODUCER_PRIVATE_H

#include "broker/cli/producer.h"

/* What producer.c (queues, outcomes) and producer_send.c (requests) share. */

enum {
    PRODUCER_RETRY_MS = 20,
    PRODUCER_ANSWER_MS = 10000,
    PRODUCER_SLOW_MS = 500, /* an answer that takes longer: is it still the leader? */
    PRODUCER_BATCH_BYTES = 256 << 10,
    PRODUCER_REQUEST_BYTES = 8 << 20,
    PRODUCER_UNSENT_BYTES = 4 << 20,
};

struct producer_batch {
    TAILQ_ENTRY(producer_batch) entries;
    struct kw_batch_builder builder;
    struct kb_block *block; /* made when it is sent first; then nothing is added any more */
    size_t bytes;
    uint64_t *tags;
    size_t tags_count;
    size_t tags_capacity;
    uint64_t made_ms;
    uint64_t sent_ms;
    int16_t error; /* of the last attempt */
    bool doubtful; /* an attempt had no answer, or one that leaves it open */
};
TAILQ_HEAD(producer_batches, producer_batch);

struct producer_part {
    size_t topic;
    int32_t index;
    struct producer_batches batches; /* the first is sent first */
    int64_t producer_id;             /* -1: takes the producer's newest before the next batch */
    int16_t producer_epoch;
    int32_t next_sequence;
    bool in_flight;
    int32_t broker; /* in flight to it */
    uint64_t attempt;
    uint64_t retry_at_ms;
};

struct cli_producer {
    struct cli_producer_options options;
    struct producer_part **parts;
    size_t parts_count;
    size_t parts_capacity;
    int64_t producer_id; /* -1 = none, or used up */
    int16_t producer_epoch;
    bool asking_id;
    uint64_t ask_at_ms;
    bool flushing;
    size_t pending;
    size_t bytes;
    int32_t sticky; /* partition for records without a key */
    bool sticky_used;
};

/* Ready to be sent now: full, lingered long enough, or sent before. *ret_wait_ms: or then. */
bool producer_part_due(const struct cli_producer *p, const struct producer_part *part,
                       uint64_t now_ms, uint64_t *ret_wait_ms);
/* The outcome of the batch that is first. Negative result: no answer. */
void producer_part_answered(struct cli_producer *p, struct producer_part *part, int result,
                            int16_t error, int64_t base_offset, const char *text);
void producer_send_all(struct cli_producer *p);

#endif
