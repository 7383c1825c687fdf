#ifndef SIM_CLIENT_H
#define SIM_CLIENT_H

#include <stdbool.h>
#include <stdint.h>

#include "proto/base/env.h"
#include "proto/base/uuid.h"
#include "proto/kafka/api.h"
#include "proto/kafka/codec.h"
#include "proto/kafka/error.h"
#include "tests/sim/sim_world.h"

/* A Kafka client of the simulator over env.h: connections, metadata and requests; producers and
 * consumers stand on it. Each client speaks one version of each API, drawn from its env's chance.
 * Runs on its env's loop like everything else. */
struct sim_client;

/* The partitions a run is about, numbered 0.. over all topics. */
struct sim_topic {
    char name[32];
    int32_t partitions;
};
#define SIM_TOPICS_MAX 8
struct sim_topics {
    struct sim_topic topic[SIM_TOPICS_MAX];
    uint32_t count;
};
uint32_t sim_topics_partitions(const struct sim_topics *t);
/* Topic index and partition number of partition p. */
void sim_topics_split(const struct sim_topics *t, uint32_t p, uint32_t *ret_topic,
                      int32_t *ret_index);

struct sim_client_options {
    const struct sim_topics *topics; /* borrowed */
    const char *const *bootstrap;    /* hosts, borrowed */
    size_t bootstrap_count;
    uint16_t port;
    uint64_t request_timeout_ms;
    const char *client_id;
};
struct sim_client *sim_client_new(struct kb_env *env, const struct sim_client_options *options);
/* Answers that wait are not called any more. NULL accepted; returns NULL. */
struct sim_client *sim_client_free(struct sim_client *c);
struct kb_env *sim_client_env(struct sim_client *c);

/* The answer to one request, decoded; NULL when it was lost (closed, timed out). Borrowed for the
 * call. */
typedef void sim_answer_fn(void *arg, const void *response);
#define SIM_ANY_BROKER (-1)
/* Send request (a kw_..._request struct of that API) to a broker. fn runs exactly once, later. With
 * fn NULL no answer is expected (acks=0). */
void sim_client_call(struct sim_client *c, int32_t broker, int16_t api_key, const void *request,
                     sim_answer_fn *fn, void *arg);
/* How long requests sent from now on wait for their answer. */
void sim_client_set_timeout(struct sim_client *c, uint64_t timeout_ms);
/* Answers for arg are not wanted any more. */
void sim_client_forget(struct sim_client *c, void *arg);
int16_t sim_client_version(const struct sim_client *c, int16_t api_key);
/* Speak this version from now on. */
void sim_client_set_version(struct sim_client *c, int16_t api_key, int16_t version);

/* ---- metadata ---- */

struct sim_partition_view {
    int32_t leader; /* -1 none */
    int32_t leader_epoch;
    int32_t replica_count, isr_count;
    uint32_t replicas; /* as a mask, bit 0 = node 1 */
};
/* As last heard; leader -1 before. */
const struct sim_partition_view *sim_client_partition(const struct sim_client *c, uint32_t p);
/* Zero before it is known. */
struct kb_uuid sim_client_topic_id(const struct sim_client *c, uint32_t topic);
/* Ask for metadata soon (one request at a time, at most every 50 ms). */
void sim_client_refresh(struct sim_client *c);
/* Runs after each metadata answer. */
typedef void sim_metadata_fn(void *arg);
void sim_client_on_metadata(struct sim_client *c, sim_metadata_fn *fn, void *arg);
uint64_t sim_client_lost(const struct sim_client *c); /* requests without an answer */

#endif
