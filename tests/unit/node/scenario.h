#ifndef TESTS_NODE_SCENARIO_H
#define TESTS_NODE_SCENARIO_H

#include "broker/api/api.h"
#include "proto/kafka/messages.h"
#include "tests/sim/sim_cluster.h"
#include "tests/sim/sim_disk.h"
#include "tests/sim/sim_net.h"
#include "tests/unit/unit.h"

/* Three whole brokers in the simulated world, led by hand: no chance but the seed's, one client
 * that asks and waits. KVORUM_SCENARIO_LOG=1 prints what the brokers log. */
struct scenario {
    struct sim_checks checks;
    struct sim_world *world;
    struct sim_topics topics;
    struct sim_cluster *cluster;
    struct sim_env *client_env;
    struct sim_client *client;
    struct sim_client *second; /* for requests whose answers may be long in coming */
    const char *bootstrap[3];
    uint32_t nodes;
    int16_t errors[8];   /* of the last answer, as its reader left them */
    int64_t base_offset; /* of the last record produced */
};

/* On every node's disk. */
#define SCENARIO_LOG "/data/orders-0/00000000000000000000.log"

/* A cluster that runs, with the topic "orders" of one partition and three replicas. */
void scenario_start(struct scenario *s, uint64_t seed);
/* The same of one node, or of three. */
void scenario_start_nodes(struct scenario *s, uint64_t seed, uint32_t nodes);
/* Also requires that no checker complained. */
void scenario_end(struct scenario *s);
void scenario_run_for(struct scenario *s, uint64_t ms);
/* Wait for something; aborts the test with the text when it does not come. */
typedef bool scenario_predicate_fn(struct scenario *s);
void scenario_until(struct scenario *s, scenario_predicate_fn *fn, uint64_t limit_ms,
                    const char *what);
bool scenario_all_running(struct scenario *s);
bool scenario_isr_full(struct scenario *s); /* of orders-0 */
bool scenario_whole(struct scenario *s);    /* both */
/* As the client last heard; asks anew. -1 = none. */
int32_t scenario_leader(struct scenario *s);
/* No running broker leads orders-0. */
bool scenario_nobody_leads(struct scenario *s);
/* A node, from 0, that neither leads orders-0 nor the quorum. */
uint32_t scenario_bystander(struct scenario *s);
/* Cut a node off from the other nodes, or undo that; clients reach it. */
void scenario_isolate(struct scenario *s, uint32_t node, bool cut);

/* Ask and wait for the answer; read is called with it. False: the request was lost. */
bool scenario_call(struct scenario *s, int32_t broker, int16_t api_key, const void *request,
                   sim_answer_fn *read, void *arg);
/* Ask over the second client, without waiting; read is called with the answer, NULL when it is
 * lost. */
void scenario_ask(struct scenario *s, int32_t broker, int16_t api_key, const void *request,
                  sim_answer_fn *read, void *arg);
void scenario_set_config(struct scenario *s, const char *topic, const char *name,
                         const char *value);
/* Make a topic of one partition; the error, or -1. Needs a quorum. */
int scenario_create(struct scenario *s, const char *name);
/* Append one record with acks=all to orders-0; the error. -1: the answer was lost. */
int scenario_produce(struct scenario *s, const char *value);
/* The same, by an idempotent producer in its epoch 0. */
int scenario_produce_sequence(struct scenario *s, const char *value, int64_t producer_id,
                              int32_t sequence);
/* One record for orders-0, to whom and when the test likes. */
struct scenario_record {
    const char *value;
    int64_t producer_id; /* -1: not idempotent */
    int16_t producer_epoch;
    int32_t sequence;
    int16_t acks;
};
/* Send it over the second client, without waiting; read is called with the answer, NULL when it is
 * lost. */
void scenario_send(struct scenario *s, int32_t broker, const struct scenario_record *record,
                   sim_answer_fn *read, void *arg);

#endif
