#ifndef SRV_CONFIG_KEYS_H
#define SRV_CONFIG_KEYS_H

#include <stddef.h>
#include <stdint.h>

/* Every configuration key there is: Kafka's that act here, our own (kvorum.*), and Kafka's that are
 * accepted without effect. The table behind server.properties, `kvorum config explain` and the
 * documentation. Static storage; any thread. */
enum srv_key_type {
    SRV_KEY_INT,
    SRV_KEY_LONG,
    SRV_KEY_BOOL,
    SRV_KEY_DOUBLE,
    SRV_KEY_STRING,
    SRV_KEY_LIST, /* separated by commas */
};
struct srv_key {
    const char *name;
    enum srv_key_type type;
    const char *default_value; /* ours; NULL = none, see doc */
    const char *kafka_default; /* NULL = none */
    int64_t min;               /* of numbers */
    int64_t max;
    const char *choices; /* "a|b|c" for strings and list items; NULL = anything */
    const char *doc;
};
/* A Kafka key without effect. */
struct srv_ignored_key {
    const char *name;
    const char *doc;
};

const struct srv_key *srv_keys(size_t *ret_count);
/* Index into srv_keys, or -1. */
int srv_key_find(const char *name);
const struct srv_ignored_key *srv_ignored_keys(size_t *ret_count);
/* NULL when name is not one of them. Per-listener forms (listener.name.X.…) count as ignored. */
const struct srv_ignored_key *srv_ignored_key_find(const char *name);
/* The most similar known name, or NULL when none is near. */
const char *srv_key_nearest(const char *name);
/* "int", "long", "boolean", "double", "string", "list". */
const char *srv_key_type_name(enum srv_key_type type);

#endif
