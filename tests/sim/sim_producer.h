#ifndef SIM_PRODUCER_H
#define SIM_PRODUCER_H

#include "tests/sim/sim_client.h"
#include "tests/sim/sim_history.h"

/* A producer: makes batches of records with values of their own, sends them, and writes into the
 * history what became of them. An idempotent one keeps up to five batches in flight per partition,
 * sends again in order until each is acknowledged, and never gives up by itself. */
struct sim_producer;

struct sim_ack {
    uint32_t partition;
    int64_t first_offset, last_offset;
    int16_t acks;
    int32_t broker, leader_epoch; /* asked, and as known then */
    struct kb_view batch;         /* as it was sent */
};
struct sim_producer_options {
    struct sim_client_options client;
    struct sim_history *history;               /* borrowed */
    struct sim_checks *checks;                 /* borrowed */
    uint32_t number;                           /* unique among producers */
    int16_t acks;                              /* -1, 0, 1 */
    bool idempotent;                           /* with acks -1 */
    uint32_t interval_ms_min, interval_ms_max; /* between batches */
    uint32_t records_max;                      /* per batch */
    /* An idempotent one that has nothing under way takes its next epoch, or a new id, before one
     * batch of this many; 0 = never. */
    uint32_t renews_every;
    /* Runs when it was given an id. May be NULL. */
    void (*on_identity)(void *arg, int64_t producer_id, int16_t producer_epoch);
    /* Runs when a batch is acknowledged, before the history hears of it. May be NULL. */
    void (*on_ack)(void *arg, const struct sim_ack *ack);
    void *on_ack_arg;
    /* Does this broker not know yet that the partition has another leader? What it says of
     * sequences then is no verdict. NULL = never. */
    bool (*is_behind)(void *arg, uint32_t partition, int32_t broker);
    /* Appends key and value of a record; false: it has none, it deletes the key. NULL: the key is
     * the record's number, the value what the history makes of it. */
    bool (*fill)(void *arg, uint64_t id, struct kb_buf *key, struct kb_buf *value);
};
struct sim_producer *sim_producer_new(struct kb_env *env,
                                      const struct sim_producer_options *options);
/* Open records become SIM_INFO. NULL accepted; returns NULL. */
struct sim_producer *sim_producer_free(struct sim_producer *p);
/* Make no more batches; those made are still sent. */
void sim_producer_stop(struct sim_producer *p);
/* Nothing waits to be acknowledged. */
bool sim_producer_is_idle(const struct sim_producer *p);
/* One more batch of one record for this partition, at once. */
void sim_producer_push(struct sim_producer *p, uint32_t partition);

#endif
