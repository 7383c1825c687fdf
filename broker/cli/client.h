#ifndef CLI_CLIENT_H
#define CLI_CLIENT_H

#include "broker/cli/internal.h"
#include "proto/kafka/error.h"
#include "proto/kafka/messages.h"

/* A Kafka client for one command: finds brokers from the bootstrap list, learns from each which
 * versions it speaks, and sends requests side by side to the nodes they belong to. Synchronous: a
 * call returns when all of its requests are answered, failed or out of time. Works with Apache
 * Kafka as well. */

enum {
    CLI_ANY_NODE = -1,  /* of a request: whichever answers */
    CLI_API_KEYS = 128, /* of Kafka; ours is beyond */
    CLI_RETRY_MS = 100, /* between attempts */
    CLI_ARENA_BYTES = 512 << 20,
};

/* One address. */
struct cli_link {
    char *host;
    uint16_t port;
    int32_t id; /* -1: of the bootstrap list */
    int fd;     /* -1: not connected */
    int result; /* negative errno of the last failure */
    int16_t version_min[CLI_API_KEYS];
    int16_t version_max[CLI_API_KEYS]; /* -1: not spoken */
};

struct cli_client {
    const struct cli_args *args;
    uint64_t deadline_ms; /* of the operation; long-lived commands set it anew for each call */
    const struct kw_metadata_response *metadata; /* of the last refresh; NULL before */
    /* Private. */
    struct cli_link *links_;
    size_t links_count_;
    size_t links_capacity_;
    size_t any_; /* the link of the last CLI_ANY_NODE request */
    struct kb_arena metadata_arena_;
};

struct cli_request {
    int32_t node_id; /* or CLI_ANY_NODE */
    int16_t api_key;
    int16_t version_cap; /* do not use a later one; 0 = no cap (a cap of 0 cannot be asked for) */
    const void *request; /* struct kw_X_request, of kw_X_request_init */
    /* Results. */
    unsigned tries;  /* more than 1: an earlier one may have been carried out */
    int result;      /* 0, or a negative errno: -EPROTONOSUPPORT = the node does not speak it */
    int16_t version; /* that was used; set by prepare as well */
    void *response;  /* struct kw_X_response in the arena of the call; NULL unless result is 0 */
    /* Private. */
    size_t link_;
    bool done_;
};

/* Read the bootstrap list; nothing is sent yet. CLI_OK or CLI_USAGE, told on stderr. The deadline
 * is --timeout from now. */
int cli_client_init(struct cli_client *c, const struct cli_args *args);
void cli_client_release(struct cli_client *c);

/* Connect to the nodes of these requests and choose versions, for requests whose contents depend on
 * them. Requests that failed have a negative result. */
void cli_client_prepare(struct cli_client *c, struct cli_request *requests, size_t count);
/* Send all of them, several to one node one after the other. 0, or the first negative result. What
 * fails is not sent again. */
int cli_client_call(struct cli_client *c, struct kb_arena *arena, struct cli_request *requests,
                    size_t count);
/* One request to any node; when a node fails or is slow another is asked. */
int cli_client_ask(struct cli_client *c, struct kb_arena *arena, struct cli_request *request);

/* Metadata of these topics (count -1: all), without creating any; brokers become known by id. 0 and
 * c->metadata (which lives until the next refresh), or a negative errno. */
int cli_client_refresh(struct cli_client *c, const char *const *topics, int32_t count);
/* Of the last refresh; NULL when there is none. */
const struct kw_metadata_response_topic *cli_client_topic(const struct cli_client *c,
                                                          struct kw_str name);
const struct kw_metadata_response_partition *
cli_client_partition(const struct kw_metadata_response_topic *topic, int32_t index);
/* The node that coordinates the group: 0 and *ret_id, or a negative errno, or a Kafka error. Tried
 * again until the deadline while the coordinator is only late. */
int cli_client_coordinator(struct cli_client *c, const char *group, int32_t *ret_id);

/* Is there a broker of this id? */
bool cli_client_knows(const struct cli_client *c, int32_t node_id);
/* All topics and brokers; when one of these names is missing, once more a little later: another
 * node may just have created it. CLI_OK, or the exit code, told on stderr. */
int cli_refresh_for(struct cli_client *c, const char *what, const char *const *names, size_t count);
/* Run a command with a client and an arena of its own. */
typedef int cli_client_fn(struct cli_client *c, struct kb_arena *arena);
int cli_with_client(const struct cli_args *args, cli_client_fn *run);

/* Wait a little before the next attempt. False: the deadline is over. */
bool cli_client_pause(struct cli_client *c);
/* Is it worth another attempt? For results of requests and for Kafka's errors. */
bool cli_retriable(int result);

/* ---- offsets.c --------------------------------------------------------------------------------
 */

enum { CLI_EARLIEST = -2, CLI_LATEST = -1 };
/* One question to the leader of a partition. */
struct cli_offset {
    struct kw_str topic; /* not of c->metadata: that may be fetched anew */
    int32_t partition;
    int64_t timestamp; /* CLI_EARLIEST, CLI_LATEST or ms */
    int result;        /* 0, negative errno, or a Kafka error */
    int64_t offset;    /* -1: no record is that young */
};
/* Ask the leaders of the metadata at hand, side by side. The list is ordered by topic and names no
 * partition twice. patient: while leaders change ask again until the deadline. */
void cli_offsets_fetch(struct cli_client *c, struct kb_arena *arena, struct cli_offset *list,
                       size_t count, bool patient);

/* ---- describing what failed ---- */

/* "node 2 (host:port)", or the list of all nodes for CLI_ANY_NODE. Valid until the next call. */
const char *cli_client_name(const struct cli_client *c, int32_t node_id);
/* Tell on stderr why this request failed, and give the exit code. what: "cannot list topics". */
int cli_client_fail(struct cli_client *c, const char *what, const struct cli_request *request);
/* Tell a Kafka error: "WHAT: message (NAME)", and give the exit code. message may be null. */
int cli_kafka_fail(const char *what, int16_t error, struct kw_str message);
int cli_kafka_exit(int16_t error);
/* When metadata changes are stopped: say so on stderr (true). */
bool cli_tell_no_quorum(const struct cli_args *args);

/* The topic of the metadata at hand, or NULL and told on stderr, with the most similar name. */
const struct kw_metadata_response_topic *cli_need_topic(const struct cli_client *c,
                                                        const char *name);
/* Send an admin command to any node and tell what went wrong. CLI_OK or the exit code. */
int cli_admin(struct cli_client *c, struct kb_arena *arena, const char *what,
              struct cli_request *request);
/* For the timeout fields of requests: a little less than what is left. */
int32_t cli_server_timeout_ms(const struct cli_client *c);
/* --yes, or yes typed on a terminal. CLI_OK, CLI_FAILED (no), or CLI_USAGE without a terminal. */
int cli_confirm(const struct cli_args *args, const char *question);

/* ---- topics.c, configs.c ---- */

/* The topics of the metadata at hand, by name. Free the array. */
const struct kw_metadata_response_topic **cli_topics_sorted(const struct cli_client *c,
                                                            bool internal, size_t *ret_count);
/* "NAME=VALUE"; views into text. */
void cli_split_config(const char *text, struct kw_str *ret_name, struct kw_str *ret_value);
/* All configs of a topic: CLI_OK and *ret in the arena, or the exit code, told on stderr. */
int cli_topic_configs(struct cli_client *c, struct kb_arena *arena, const char *topic,
                      const struct kw_describe_configs_response_result **ret);
/* NULL when there is none of that name. */
const struct kw_describe_configs_response_config *
cli_config_find(const struct kw_describe_configs_response_result *all, const char *name);
json_t *cli_config_json(const struct kw_describe_configs_response_config *w);
bool cli_config_is_default(const struct kw_describe_configs_response_config *w);
const char *cli_config_source(const struct kw_describe_configs_response_config *w);
/* operation 0: set "NAME=VALUE"s, 1: unset "NAME"s. CLI_OK, or the exit code, told on stderr. */
int cli_config_alter(struct cli_client *c, struct kb_arena *arena, const char *topic,
                     const char *const *entries, size_t count, int8_t operation);
/* Tell that args->configs were refused, with the nearest name of one that does not exist. */
void cli_config_fail(struct cli_client *c, const char *what, int16_t error, struct kw_str message);

/* printf arguments for "%.*s". */
#define CLI_STR(s) (int)(s).size, (s).data != NULL ? (s).data : ""

#endif
