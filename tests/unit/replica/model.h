#ifndef TESTS_UNIT_REPLICA_MODEL_H
#define TESTS_UNIT_REPLICA_MODEL_H

#include "proto/base/prng.h"
#include "tests/unit/replica/toy.h"

/* Three replicas, a toy controller that commits images one after the other, links that delay and
 * break, disks that lose what was not synced. One random action per step, from one seed. */

#define MODEL_NODES 3
#define MODEL_QUEUE_MAX 32
#define MODEL_IMAGES_MAX 4096
#define MODEL_BATCH_MAX 8
#define MODEL_EPOCHS_MAX 4096

enum model_message_kind { MODEL_FETCH, MODEL_DURABLE, MODEL_ANSWER };
struct model_message {
    enum model_message_kind kind;
    struct rep_fetch fetch; /* of the request, in answers too */
    enum rep_fetch_result verdict;
    struct rep_fetch_answer got;
    struct toy_record batch[MODEL_BATCH_MAX];
    int n_batch;
};
struct model_queue { /* in order, as one connection */
    struct model_message messages[MODEL_QUEUE_MAX];
    size_t count;
};

struct model_broker { /* as the controller sees it */
    int64_t broker_epoch;
    bool fenced;
};
struct model_proposal {
    bool in_flight;
    uint64_t term; /* of the controller it is meant for */
    int node;
    int64_t broker_epoch;
    struct rep_proposal body;
};
struct model_reply {
    bool in_flight;
    uint64_t term;
    int64_t broker_epoch;
    uint64_t id;
    enum rep_proposal_result result;
};
struct model_node {
    struct toy_node toy;
    bool up;
    bool registered;
    bool damaged; /* its disk; until it starts over */
    int64_t hw_checkpoint;
    size_t registration; /* image that brought its registration */
    size_t applied;      /* images replayed */
    uint64_t term;       /* of the controller it talks to */
    uint64_t link;       /* number of its data link */
    bool asking;         /* a request is out */
    bool wants_fetch;
    bool wants_report;     /* durable report */
    bool wants_controller; /* standing report not taken yet */
    struct model_reply reply;
};

struct model {
    struct kb_prng prng;
    uint64_t now_ms;
    bool strong;
    uint64_t storm; /* one step in so many disturbs */
    struct model_node nodes[MODEL_NODES];
    struct model_queue to_leader[MODEL_NODES];   /* from follower i, to whom its request is meant */
    struct model_queue from_leader[MODEL_NODES]; /* answers for follower i */
    int asked[MODEL_NODES];                      /* leader at the other end of i's link */

    /* controller */
    uint64_t term;
    struct model_broker brokers[MODEL_NODES];
    struct model_proposal proposals[MODEL_NODES];
    struct toy_image images[MODEL_IMAGES_MAX];
    size_t n_images;

    /* what must hold */
    struct toy_record committed[TOY_LOG_MAX];
    int64_t n_committed;
    int64_t deleted_to; /* acknowledged DeleteRecords */
    int64_t latest_served;
    int32_t writer_of[MODEL_EPOCHS_MAX]; /* node + 1; 0 = none */
    uint64_t values;
    size_t elections, joins, truncations, resets, refusals; /* the run did something */
};

void model_init(struct model *m, uint64_t seed, bool strong);
void model_free(struct model *m);
/* One random action. */
void model_step(struct model *m);
/* Everything heals; true when the partition is whole again within `rounds`. */
bool model_heal(struct model *m, int rounds);

/* ---- model_controller.c ---- */
struct toy_image *model_image(struct model *m); /* the latest committed one */
void model_fence(struct model *m, unsigned nodes);
void model_register(struct model *m, int node);
void model_unfence(struct model *m, int node);
void model_move_leader(struct model *m, int node);
void model_take_proposal(struct model *m, int slot);
void model_take_report(struct model *m, int node);

/* ---- model_check.c ---- */
void model_check(struct model *m);
void model_check_join(struct model *m, int node);

#endif
