#ifndef SIM_AUDIT_CHECK_H
#define SIM_AUDIT_CHECK_H

#include "tests/sim/sim_checks.h"

/* Judges what brokers answer about their logs: P15 (who asks with another leader epoch or topic id
 * is told so, and gets nothing else), P18 (ListOffsets) and P19 (OffsetForLeaderEpoch). What the
 * asked broker was when the question left and when its answer came says what may be answered; what
 * was committed then is compared with the log of the end. */
struct sim_audit_check;

/* A broker and its replica of the partition asked about, at one moment. */
struct sim_audit_view {
    uint32_t life; /* of its process; 0 it is down */
    bool open;     /* it has the log */
    bool leads;
    bool knows_topic;     /* by the committed records it has applied the topic id is there */
    int32_t leader_epoch; /* that it knows */
    int64_t start, high_watermark, end;
    int64_t epoch_start; /* of a leader */
};

enum sim_audit_kind {
    SIM_AUDIT_FETCH,
    SIM_AUDIT_EARLIEST,
    SIM_AUDIT_LATEST,
    SIM_AUDIT_TIME,
    SIM_AUDIT_MAX_TIME,
    SIM_AUDIT_EPOCH_END,
    SIM_AUDIT_KIND_MAX_
};
struct sim_audit_question {
    enum sim_audit_kind kind;
    int32_t broker;
    uint32_t partition;    /* of the run, below 64; not looked at when the topic is another */
    bool by_id;            /* the topic is named by its id */
    bool other_topic;      /* not one of the run's */
    int32_t current_epoch; /* the asker's leader epoch; -1 not told */
    int64_t timestamp;
    int32_t epoch; /* whose end is asked for */
    struct sim_audit_view before;
};
struct sim_audit_answer {
    int16_t error;
    int64_t offset; /* end offset */
    int64_t timestamp;
    int32_t epoch;
};

struct sim_audit_check *sim_audit_check_new(struct sim_checks *checks);
/* NULL accepted; returns NULL. */
struct sim_audit_check *sim_audit_check_free(struct sim_audit_check *c);
/* The broker is `after` when its answer has come. */
void sim_audit_check_answer(struct sim_audit_check *c, const struct sim_audit_question *question,
                            const struct sim_audit_answer *answer,
                            const struct sim_audit_view *after);
/* The log of the end, each partition's records in order and its end offset (retention may have left
 * no record); then judge what waited for it. */
void sim_audit_check_record(struct sim_audit_check *c, uint32_t partition, int64_t offset,
                            int32_t epoch, int64_t timestamp);
void sim_audit_check_end(struct sim_audit_check *c, uint32_t partition, int64_t end);
void sim_audit_check_final(struct sim_audit_check *c);

#endif
