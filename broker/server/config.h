#ifndef SRV_CONFIG_H
#define SRV_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "broker/server/config_keys.h"
#include "proto/base/bytes.h"

/* The configuration of one broker: every key's value with the place it came from, and what follows
 * from them (listeners, voters, …), checked. Load order decides: flag > environment > file >
 * default. One thread owns it.
 *
 *   struct srv_config c;
 *   srv_config_init(&c);
 *   srv_config_load_args(&c, argc, argv);   // the flags name the file
 *   srv_config_load_env(&c, environ);
 *   srv_config_load_file(&c, c.file);       // in any order
 *   srv_config_finish(&c);                  // fills the typed part, runs all checks
 *   if (c.errors_count > 0) … exit 2 */

enum srv_config_source {
    SRV_FROM_DEFAULT,
    SRV_FROM_FILE,
    SRV_FROM_ENVIRONMENT,
    SRV_FROM_FLAG,
};
const char *srv_config_source_name(enum srv_config_source source);

struct srv_config_value {
    char *text; /* NULL = the default */
    enum srv_config_source source;
    char *where; /* "server.properties:12", "KAFKA_NODE_ID", "--set"; NULL for the default */
};

struct srv_listener_setting {
    char *name;
    char *host; /* to bind; "" = all addresses */
    uint16_t port;
    bool controller;
    char *advertised_host;
    uint16_t advertised_port; /* 0 = the port that was bound */
};
struct srv_voter_setting {
    int32_t id;
    char *host;
    uint16_t port;
};
#define SRV_LISTENERS_MAX 16
#define SRV_VOTERS_MAX 15

struct srv_config {
    /* What the flags asked for besides keys. */
    char *file; /* --config; NULL = none */
    bool check_only;
    bool help;

    struct srv_config_value *values; /* by index of srv_keys */
    char **ignored;                  /* Kafka keys set that do nothing here, each once */
    size_t ignored_count;
    size_t ignored_capacity;
    size_t unknown_count;
    bool anything_set; /* any key, from anywhere */

    /* Filled by srv_config_finish. */
    int32_t node_id;
    bool observer;
    struct srv_listener_setting *listeners;
    size_t listeners_count;
    struct srv_voter_setting *voters; /* empty = a cluster of this node alone */
    size_t voters_count;
    const char *log_dir;

    char **errors; /* one sentence each, without the program's name */
    size_t errors_count;
    size_t errors_capacity;
    char **warnings;
    size_t warnings_count;
    size_t warnings_capacity;
};

void srv_config_init(struct srv_config *c);
void srv_config_release(struct srv_config *c);

/* Each adds to errors and warnings what it does not understand; nothing else fails. */
void srv_config_load_args(struct srv_config *c, int argc, char *const *argv);
void srv_config_load_env(struct srv_config *c, char *const *environment);
void srv_config_load_file(struct srv_config *c, const char *path);
void srv_config_load_text(struct srv_config *c, const char *name, const char *text, size_t size);
void srv_config_finish(struct srv_config *c);
/* The text of `kvorum server --help`. */
void srv_config_usage(struct kb_buf *to);

/* The value that counts, as text; NULL when there is none. key must be in srv_keys. */
const char *srv_config_text(const struct srv_config *c, const char *key);
bool srv_config_is_set(const struct srv_config *c, const char *key);
/* Only after srv_config_finish without errors. A key without value gives 0 or false. */
int64_t srv_config_int(const struct srv_config *c, const char *key);
bool srv_config_bool(const struct srv_config *c, const char *key);
/* The place a value came from, for people: "default", "file server.properties:12", … */
void srv_config_explain_source(const struct srv_config *c, const char *key, struct kb_buf *to);

/* For the parts of this module (config_*.c). */
void srv_config_error(struct srv_config *c, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
void srv_config_warn(struct srv_config *c, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* Set a key by name: known ones by precedence, ignored and unknown ones are noted. */
void srv_config_set(struct srv_config *c, const char *key, const char *value,
                    enum srv_config_source source, const char *where);
/* The environment variable's key in a new string, or NULL when it names none (KAFKA_OPTS, …). */
char *srv_config_env_key(const char *variable);
void srv_config_finish_node(struct srv_config *c);      /* roles, id, voters */
void srv_config_finish_listeners(struct srv_config *c); /* after finish_node */

/* "host:port", "[v6]:port", ":port"; host in a new string. 0 or -KB_EINVAL. */
int srv_parse_host_port(const char *text, size_t size, char **ret_host, uint16_t *ret_port);

#endif
