#ifndef CLI_PRODUCER_H
#define CLI_PRODUCER_H

#include "broker/cli/wire.h"
#include "proto/kafka/batch.h"

/* A producer on a loop. Records of one partition are sent in order, one batch of a partition in
 * flight, again and again until they are acknowledged or their time is over; an idempotent one is
 * thereby written once. Batches wait linger_ms for more. Used with acks 0 a record counts as
 * delivered once it was handed to a connection. */

struct cli_producer;

/* What became of one batch. */
struct cli_delivery {
    size_t topic;
    int32_t partition;
    int32_t broker;      /* who answered; -1 = nobody */
    int64_t base_offset; /* -1 = unknown */
    uint32_t count;
    const uint64_t *tags; /* of its records, as given; borrowed */
    int16_t error;        /* KW_NONE = acknowledged; else the last one */
    int result;           /* with an error: -ETIMEDOUT when its time was over, else 0 */
    bool doubtful;        /* not acknowledged, but it may have been written */
    const char *text;     /* of the broker, NULL = none; borrowed */
};

struct cli_producer_options {
    struct cli_loop *loop;
    struct cli_wire *wire; /* the owner calls cli_producer_pump when it changed */
    int16_t acks;
    int codec;
    bool idempotent; /* with acks -1 only */
    uint32_t linger_ms;
    uint32_t delivery_timeout_ms; /* 0 = for ever */
    void (*on_delivery)(void *arg, const struct cli_delivery *d);
    /* A batch has to be sent again; may be NULL. */
    void (*on_retry)(void *arg, size_t topic, int32_t partition, int16_t error);
    void *arg;
};
struct cli_producer *cli_producer_new(const struct cli_producer_options *options);
/* What is open is dropped without a word. NULL accepted; returns NULL. */
struct cli_producer *cli_producer_free(struct cli_producer *p);

/* One record, copied. The topic is an index of the wire; the partition is not checked here. 0, or
 * -KB_ETOOBIG. */
int cli_producer_add(struct cli_producer *p, size_t topic, int32_t partition, int64_t timestamp_ms,
                     struct kw_bytes key, struct kw_bytes value,
                     const struct kw_record_header *headers, int32_t headers_count, uint64_t tag);
/* A partition for a record without a key: the same one until its batch is full or goes out. */
int32_t cli_producer_pick(struct cli_producer *p, size_t topic, int32_t partitions_count);
/* Send what can be sent. */
void cli_producer_pump(struct cli_producer *p);
/* Do not linger any more. */
void cli_producer_flush(struct cli_producer *p);
size_t cli_producer_pending(const struct cli_producer *p); /* records not yet delivered */
size_t cli_producer_bytes(const struct cli_producer *p);   /* of these */

#endif
