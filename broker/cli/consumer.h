#ifndef CLI_CONSUMER_H
#define CLI_CONSUMER_H

#include "broker/cli/wire.h"
#include "proto/kafka/batch.h"

/* A reader of partitions on a loop: finds where to begin, fetches from the leaders, follows when
 * they change. Knows nothing of groups. */

struct cli_consumer;

enum cli_start_kind {
    CLI_START_BEGINNING,
    CLI_START_END,
    CLI_START_OFFSET,    /* value: the offset */
    CLI_START_LAST,      /* value: records before the end */
    CLI_START_TIMESTAMP, /* value: ms */
};
struct cli_start {
    enum cli_start_kind kind;
    int64_t value;
};

struct cli_consumed {
    size_t topic;
    int32_t partition;
    const struct kw_record *record; /* borrowed for the call */
};

struct cli_consumer_options {
    struct cli_loop *loop;
    struct cli_wire *wire; /* the owner calls cli_consumer_pump when it changed */
    /* False: nothing more is wanted now (the loop ends); what follows is not delivered. The
     * partitions must not be changed in here. */
    bool (*on_record)(void *arg, const struct cli_consumed *c);
    /* A partition cannot be read any further. text: a sentence without its object. */
    void (*on_error)(void *arg, size_t topic, int32_t partition, int16_t error, const char *text);
    /* Records were removed before they were read; it goes on at offset. */
    void (*on_gap)(void *arg, size_t topic, int32_t partition, int64_t from, int64_t offset);
    void *arg;
};
struct cli_consumer *cli_consumer_new(const struct cli_consumer_options *options);
struct cli_consumer *cli_consumer_free(struct cli_consumer *c);
void cli_consumer_add(struct cli_consumer *c, size_t topic, int32_t partition,
                      struct cli_start start);
void cli_consumer_clear(struct cli_consumer *c); /* no partitions any more */
void cli_consumer_pump(struct cli_consumer *c);

size_t cli_consumer_count(const struct cli_consumer *c);
/* The i-th partition and the offset that is read next; -1 while that is unknown. */
int64_t cli_consumer_position(const struct cli_consumer *c, size_t i, size_t *ret_topic,
                              int32_t *ret_partition);
/* Every partition has been read up to the end its leader told last. */
bool cli_consumer_at_end(const struct cli_consumer *c);

#endif
