#ifndef CLI_INTERNAL_H
#define CLI_INTERNAL_H

/* What the files of this room share. A command runs once in its own process and on one thread. */

#include <inttypes.h>
#include <jansson.h>
#include <netdb.h>

#include "broker/cli/args.h"
#include "broker/cli/cli.h"
#include "proto/base/arena.h"
#include "proto/base/bytes.h"
#include "proto/base/mem.h"
#include "proto/cluster/status.pb-c.h"
#include "proto/cluster/unpack.h"
#include "proto/kafka/api.h"
#include "proto/kafka/codec.h"

enum {
    CLI_SCHEMA_VERSION = 1,
    CLI_NODE_TIMEOUT_MS = 1000, /* a dead node must not slow the command */
    CLI_ANSWER_BYTES_MAX = 128 << 20,
};

/* ---- net.c: requests over non-blocking sockets ------------------------------------------------
 */

uint64_t cli_now_ms(void);
/* "host:port", "host", "[::1]:9092"; the port is 9092 unless given. 0 or -KB_EINVAL. */
int cli_address_parse(const char *text, size_t size, char **ret_host, uint16_t *ret_port);

enum cli_call_state { CLI_RESOLVING, CLI_CONNECTING, CLI_SENDING, CLI_RECEIVING, CLI_DONE };
struct cli_call {
    char *host;
    uint16_t port;
    int fd; /* open after success */
    enum cli_call_state state;
    int result;       /* 0, or a negative errno */
    struct kb_buf in; /* the answer, its 4 bytes of size included */
    uint64_t began_ms;
    uint64_t took_ms;
    size_t tag; /* the caller's */
    /* Private. */
    struct kb_buf out_;
    size_t sent_;
    struct gaicb *lookup_;
    struct addrinfo *address_; /* the one being tried */
};
/* Requests that run side by side. Zero-initialise to start. */
struct cli_calls {
    struct cli_call **calls;
    size_t count;
    size_t capacity;
    bool stop; /* set by done: the others are not waited for */
};
/* Send this frame (taken) to host:port. fd -1: connect first. */
struct cli_call *cli_calls_add(struct cli_calls *set, const char *host, uint16_t port, int fd,
                               struct kb_buf *frame);
/* Until all are done or the time is over; the others then have -ETIMEDOUT, or -ECANCELED after stop
 * (done is not called for these). done may add calls. */
typedef void cli_done_fn(void *arg, struct cli_call *call);
void cli_calls_run(struct cli_calls *set, uint64_t deadline_ms, cli_done_fn *done, void *arg);
void cli_calls_release(struct cli_calls *set); /* closes what is open */
/* "refused", "timed out after 1 s", … */
const char *cli_result_text(int result);

/* ---- cluster.c: what all nodes believe --------------------------------------------------------
 */

enum cli_verdict { CLI_HEALTHY, CLI_DEGRADED, CLI_UNAVAILABLE };
const char *cli_verdict_name(enum cli_verdict v);

struct cli_node {
    int32_t id; /* -1: an address of the bootstrap list of which nobody knows the node */
    char *host;
    uint16_t port;
    int result; /* 0 = it answered */
    bool voter;
    bool fenced;         /* in the best view */
    bool registered;     /* in the best view */
    int64_t seen_age_ms; /* -1 = nobody heard from it */
    size_t leaders;
    size_t in_isr;
    size_t assigned;
    const Kvorum__StatusResponse *status; /* NULL when it did not answer */
};
/* Gathered once. Zero-initialise to start. */
struct cli_cluster {
    struct cli_node *nodes; /* by id */
    size_t nodes_count;
    size_t nodes_capacity;
    const Kvorum__StatusResponse *best; /* controller's view, else the newest; NULL: no answers */
    int32_t controller_id;              /* -1: none in office */
    size_t nodes_up;
    size_t voters;
    size_t voters_up;
    size_t partitions;
    size_t leaderless; /* or led by a node that is down */
    size_t under_replicated;
    size_t under_min_isr;
    bool changes; /* metadata can change: a controller is in office and has its majority */
    enum cli_verdict verdict;
    /* Private. */
    struct kb_arena arena_;
    struct cli_calls calls_;
    bool local_;
    const char *topic; /* set before gathering: partitions of this topic alone */
};
/* Ask the bootstrap list and all brokers any of them knows, at most CLI_NODE_TIMEOUT_MS long.
 * local: the first of the list alone. CLI_OK, CLI_USAGE or CLI_NO_NODE, told on stderr unless
 * quiet. */
int cli_cluster_gather(const struct cli_args *args, bool local, struct cli_cluster *ret);
void cli_cluster_release(struct cli_cluster *c);
/* "running", "DOWN", "fenced", … */
const char *cli_node_state(const struct cli_node *n);
/* Verdict, controller and counts. */
json_t *cli_cluster_json(const struct cli_cluster *c);
/* What tells two pictures apart, without ages and counters. */
void cli_cluster_key(const struct cli_cluster *c, FILE *key);
/* A picture for cli_show: gather, print as args wants it, and write the key. */
typedef void cli_cluster_print_fn(const struct cli_args *args, const struct cli_cluster *c);
int cli_cluster_render(const struct cli_args *args, FILE *key, cli_cluster_print_fn *json,
                       cli_cluster_print_fn *table);
/* The frame of a status request. */
void cli_status_frame(bool partitions, const char *topic, struct kb_buf *ret);

/* ---- words.c: what is wrong, in sentences -----------------------------------------------------
 */

/* Why metadata changes are stopped, what still works, what to start. Appended to ret, without NUL.
 */
void cli_words_no_quorum(const struct cli_cluster *c, struct kb_buf *ret);
/* An array of sentences: the quorum, partitions without leader, partitions that refuse writes. */
json_t *cli_words_problems(const struct cli_cluster *c);

/* ---- table.c: how answers look ----------------------------------------------------------------
 */

struct libscols_table;
/* Column names, ending with NULL; a name that begins with '>' is aligned to the right. */
struct libscols_table *cli_table_new(const struct cli_args *args, const char *const *columns);
/* printf text of each cell, separated by '\t'. */
void cli_table_row(struct libscols_table *t, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
void cli_table_print(struct libscols_table *t); /* and frees it */
void cli_table_free(struct libscols_table *t);
/* Null, or the text; bytes that are no UTF-8 as \xHH. */
json_t *cli_str_json(struct kw_str s);
json_t *cli_uuid_json(const struct kb_uuid *u); /* null for none */
/* Print and free; schema_version is added in front. jsonl: on one line. */
void cli_json_print(const struct cli_args *args, json_t *object);
/* "2026-01-31T12:00:00.123Z" */
void cli_time_text(int64_t wall_ms, char text[40]);
/* "1.2 G" */
void cli_bytes_text(uint64_t bytes, char text[16]);
/* "now", "6.2 s ago", "–" for negative. */
void cli_age_text(int64_t age_ms, char text[32]);

/* Text that is coloured when it goes to a terminal that wants it. Borrows text. */
enum cli_color { CLI_PLAIN, CLI_GREEN, CLI_YELLOW, CLI_RED };
void cli_print_colored(const struct cli_args *args, enum cli_color color, const char *text);
/* Colour the last row that was added. */
void cli_table_color(const struct cli_args *args, struct libscols_table *t, enum cli_color color);

/* ---- watch.c: pictures that are drawn again ---------------------------------------------------
 */

/* Print one picture to args->out, and to key what tells it from another one: ages and counters left
 * out. Returns the exit code. */
typedef int cli_render_fn(const struct cli_args *args, FILE *key);
/* Once, or with --watch until a signal. */
int cli_show(const struct cli_args *args, cli_render_fn *render);
int cli_watch(const struct cli_args *args, cli_render_fn *render);

/* ---- commands ---------------------------------------------------------------------------------
 */

int cli_status(const struct cli_args *args);
int cli_health(const struct cli_args *args);
int cli_topic_ls(const struct cli_args *args);
int cli_topic_create(const struct cli_args *args);
int cli_topic_describe(const struct cli_args *args);
int cli_topic_alter(const struct cli_args *args);
int cli_topic_rm(const struct cli_args *args);
int cli_group_ls(const struct cli_args *args);
int cli_group_describe(const struct cli_args *args);
int cli_group_reset(const struct cli_args *args);
int cli_group_rm(const struct cli_args *args);
int cli_quorum_status(const struct cli_args *args);
int cli_quorum_replication(const struct cli_args *args);
int cli_leader_elect(const struct cli_args *args);
int cli_log_dump(const struct cli_args *args);
int cli_config_get(const struct cli_args *args);
int cli_config_set(const struct cli_args *args);
int cli_config_unset(const struct cli_args *args);
int cli_config_explain(const struct cli_args *args);
int cli_produce(const struct cli_args *args);
int cli_consume(const struct cli_args *args);
int cli_demo(const struct cli_args *args);

#endif
