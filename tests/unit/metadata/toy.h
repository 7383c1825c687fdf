#ifndef TESTS_METADATA_TOY_H
#define TESTS_METADATA_TOY_H

#include <check.h>

#include "coordinator/metadata/controller.h"
#include "coordinator/metadata/image.h"
#include "coordinator/metadata/query.h"
#include "coordinator/metadata/topic_config.h"
#include "proto/base/arena.h"
#include "proto/base/err.h"
#include "proto/base/prng.h"
#include "proto/kafka/error.h"
#include "proto/kafka/messages.h"

/* A controller with a log that commits at once. Every batch is replayed into the controller's image
 * and into a committed one; after each, R16-R18 are checked and both images are compared (R10). */

enum { TOY_BROKERS_MAX = 8 };

struct toy_broker {
    uint64_t incarnation;
    uint64_t epoch; /* durable in its directory */
    struct kb_uuid directory;
    const char *boot_id;
    const char *rack;
    bool up;
};
struct toy {
    struct meta_image *committed;
    struct meta_controller *c;
    struct meta_controller_config config;
    uint64_t now_ms;
    uint64_t term;
    uint64_t incarnations;
    struct kb_arena arena;
    struct meta_result result;
    struct toy_broker brokers[TOY_BROKERS_MAX + 1]; /* by id, from 1 */
    bool allow_unclean;                             /* elections by rule 4.6 may happen */
    bool allow_any;                                 /* the next elections were asked for by name */
};

/* Founded with voters 1..voters (odd), none registered. Node 1 is the controller. */
struct toy *toy_new(int voters);
/* toy_new, and all of them registered and unfenced. */
struct toy *toy_up(int voters);
struct toy *toy_free(struct toy *t);
/* Replay and check what result holds; returns the number of records. */
size_t toy_commit(struct toy *t);
/* Move the clock and tick until nothing comes; brokers that are up are heard. */
void toy_run(struct toy *t, uint64_t ms);
/* Tick without hearing anybody. */
void toy_tick(struct toy *t);
/* Another controller takes over: a new one over the committed image, nobody linked but `linked`. */
void toy_take_over(struct toy *t, const int32_t *linked, size_t count);

/* Start (or restart) a broker process and register it. logs: its reports; NULL = whole logs of all
 * its replicas at (leader epoch, 100). Returns the error. */
struct toy_start {
    bool unclean;
    bool new_directory;
    uint64_t previous_epoch;   /* 0 = what its directory has */
    enum meta_log_state state; /* of the made-up reports */
    int64_t end_offset;        /* of the made-up reports, 0 = 100 */
    uint64_t creations_synced; /* 0 = all */
    bool no_logs;
    const char *boot_id;
};
int16_t toy_start(struct toy *t, int32_t id, const struct toy_start *how);
/* The living incarnation registers again, as with every new controller (rule 8.3); all whole. */
void toy_report_again(struct toy *t, int32_t id);
/* Unfence it by a heartbeat. */
void toy_unfence(struct toy *t, int32_t id);
/* toy_start + toy_unfence, clean. */
void toy_join(struct toy *t, int32_t id);
/* The process is gone: its link is refused. Without the tick. */
void toy_kill(struct toy *t, int32_t id);
struct meta_heartbeat_request toy_beat(struct toy *t, int32_t id);
struct meta_heartbeat_response toy_heartbeat(struct toy *t, const struct meta_heartbeat_request *r);

/* Create a topic with a manual assignment, e.g. "1,2,3;2,3,1", and configs "a=b,c=d" (NULL none).
 */
const struct meta_topic *toy_topic(struct toy *t, const char *name, const char *assignment,
                                   const char *configs);
const struct meta_partition *toy_partition(struct toy *t, const char *topic, int32_t index);
/* AlterPartition by the present leader at the present epochs. */
int16_t toy_alter(struct toy *t, const char *topic, int32_t index, const int32_t *isr,
                  size_t count);
/* Set or delete (value NULL) one topic config. */
int16_t toy_set_config(struct toy *t, const char *topic, const char *name, const char *value);

/* "leader 1 isr 1,2 elr 3 known -" */
const char *toy_state(struct toy *t, const char *topic, int32_t index);
#define toy_assert_state(t, topic, index, text)                                                    \
    ck_assert_str_eq(toy_state((t), (topic), (index)), (text))

#endif
