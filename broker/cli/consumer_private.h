#ifndef CLI_CONSUMER_PRIVATE_H
#define CLI_CONSUMER_PRIVATE_H

#include "broker/cli/consumer.h"

/* What consumer.c (partitions, requests) and consumer_take.c (answers) share. */

enum {
    CONSUMER_RETRY_MS = 20,
    CONSUMER_WAIT_MS = 500,  /* a fetch without news */
    CONSUMER_SLOW_MS = 1000, /* an answer that takes longer: is it still the leader? */
    CONSUMER_ANSWER_MS = 10000,
    CONSUMER_LOST_MS = 5000, /* an unknown partition is gone after that */
    CONSUMER_PARTITION_BYTES = 1 << 20,
    CONSUMER_FETCH_BYTES = 8 << 20,
    CONSUMER_OUTPUT_BYTES = 1 << 30,
};

struct consumer_part {
    size_t topic;
    int32_t index;
    struct cli_start start;
    int64_t position; /* -1: to be found out */
    bool clamp;       /* the position is a guess: if it is too low, begin at the beginning */
    bool delivered;   /* something was read from here */
    bool failed;      /* told; nothing more */
    bool at_end;
    bool in_flight;
    int32_t broker; /* in flight to it */
    uint64_t attempt;
    uint64_t sent_ms;
    uint64_t retry_at_ms;
    uint64_t unknown_ms; /* since when nobody knows it; 0 = known */
};

struct cli_consumer {
    struct cli_consumer_options options;
    struct consumer_part **parts;
    size_t parts_count;
    size_t parts_capacity;
    uint64_t generation; /* of the parts: answers of older ones are void */
    size_t first;        /* of the next fetch, so that each comes first in turn */
    bool stopped;        /* on_record wanted no more */
};

/* One request under way. */
struct consumer_sent {
    struct cli_consumer *consumer;
    uint64_t generation;
    size_t count;
    struct {
        struct consumer_part *part;
        uint64_t attempt;
    } items[];
};

void consumer_on_fetch(void *arg, int result, const void *response);
void consumer_on_offsets(void *arg, int result, const void *response);

#endif
