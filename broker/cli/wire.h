#ifndef CLI_WIRE_H
#define CLI_WIRE_H

#include "broker/cli/conn.h"
#include "proto/kafka/error.h"
#include "proto/kafka/messages.h"

/* A Kafka client on a loop, for the commands that go on for a while: connections to brokers that
 * stay open, versions by what each broker offers, and who leads which partition. It does not retry:
 * its users are "pumps" that look at the state and send what can be sent, again after every change
 * (on_change). */

struct cli_wire;

struct cli_wire_options {
    struct cli_loop *loop;
    const char *bootstrap; /* HOST:PORT,… */
    uint64_t connect_timeout_ms;
    bool auto_create; /* asking for a topic may make it */
    /* Something changed: a connection, an answer, the metadata. Called from a timer of its own,
     * never from inside a call into the wire. */
    void (*on_change)(void *arg);
    void *arg;
};
/* NULL and a sentence on stderr when the bootstrap list is malformed. */
struct cli_wire *cli_wire_new(const struct cli_wire_options *options);
/* Whoever waits for an answer hears -ECANCELED: users are freed after it. NULL accepted. */
struct cli_wire *cli_wire_free(struct cli_wire *w);
/* on_change will run soon. */
void cli_wire_poke(struct cli_wire *w);
/* on_change will run after so many ms at the latest. It runs once for all who asked: a pump that
 * still waits for a time asks again. */
void cli_wire_poke_in(struct cli_wire *w, uint64_t ms);

/* Is there a connection to this broker that can be used now? If not, one is begun, at most every
 * 20 ms, later every 250 ms. */
bool cli_wire_ready(struct cli_wire *w, int32_t broker);
/* A broker that is ready, any; -1 when there is none, and then connections are begun. */
int32_t cli_wire_any(struct cli_wire *w);
/* The best common version for an API; -1 when there is none. The broker must be ready. */
int16_t cli_wire_version(const struct cli_wire *w, int32_t broker, int16_t api_key);

/* The answer, decoded and borrowed for the call; NULL when it will not come: result is -ETIMEDOUT,
 * -ECONNRESET, -EPROTO, … */
typedef void cli_answer_fn(void *arg, int result, const void *response);
/* Send a request (kw_…_request) to a ready broker with cli_wire_version. fn runs exactly once,
 * never before this returns; fn NULL: no answer is expected (acks=0). A broker that does not answer
 * within timeout_ms is disconnected, and all that wait for it hear of it. */
void cli_wire_send(struct cli_wire *w, int32_t broker, int16_t api_key, const void *request,
                   uint64_t timeout_ms, cli_answer_fn *fn, void *arg);
/* Answers for arg are not wanted any more. */
void cli_wire_forget(struct cli_wire *w, const void *arg);
/* Bytes that the broker has not taken yet. */
size_t cli_wire_unsent(const struct cli_wire *w, int32_t broker);
size_t cli_wire_unsent_all(const struct cli_wire *w);

/* ---- metadata ---------------------------------------------------------------------------------
 */

struct cli_topic_partition {
    int16_t error;
    int32_t leader; /* -1 = none, or its broker is unknown */
    int32_t leader_epoch;
    int32_t isr_count;
    int32_t replicas_count;
};
struct cli_topic {
    char *name;
    int16_t error;     /* KW_NONE, or why there is nothing to see; -1 = not asked yet */
    uint64_t error_ms; /* since when it is this error */
    struct cli_topic_partition *partitions;
    int32_t partitions_count;
};
/* Index of a topic that metadata is asked for from now on; the same name gives the same index. */
size_t cli_wire_topic(struct cli_wire *w, const char *name);
const struct cli_topic *cli_wire_topic_at(const struct cli_wire *w, size_t topic);
/* Its view, with leader -1 while it is unknown. */
struct cli_topic_partition cli_wire_partition(const struct cli_wire *w, size_t topic,
                                              int32_t partition);
/* Ask for metadata soon: at most every 50 ms, one request at a time. */
void cli_wire_refresh(struct cli_wire *w);
uint64_t cli_wire_metadata_age_ms(const struct cli_wire *w); /* UINT64_MAX = never came */
/* Some broker answered at some time. */
bool cli_wire_reached(const struct cli_wire *w);
/* "cannot reach any node: …" */
void cli_wire_tell_unreachable(const struct cli_wire *w);
/* A broker that an answer names. */
void cli_wire_learn_broker(struct cli_wire *w, int32_t id, struct kw_str host, int32_t port);
/* The id under which a group's coordinator is connected a second time: what is asked of it must not
 * wait behind a fetch. */
static inline int32_t cli_wire_coordinator_id(int32_t id)
{
    return id | 1 << 30;
}

#endif
