#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "broker/server/config.h"
#include "broker/server/properties.h"
#include "proto/base/err.h"
#include "proto/base/mem.h"

/* Where values come from: the file, the environment, the flags. */

/* ---- file ---- */

struct file_arg {
    struct srv_config *config;
    const char *name;
};

static int on_property(void *arg, const char *key, const char *value, unsigned line)
{
    struct file_arg *f = arg;
    char *where = kb_asprintf("%s:%u", f->name, line);
    srv_config_set(f->config, key, value, SRV_FROM_FILE, where);
    (void)kb_free(where);
    return 0;
}

void srv_config_load_text(struct srv_config *c, const char *name, const char *text, size_t size)
{
    struct file_arg arg = {c, name};
    unsigned line = 0;
    if (srv_properties_parse(text, size, on_property, &arg, &line) < 0)
        srv_config_error(c, "%s:%u: malformed \\uXXXX escape, or a NUL byte", name, line);
}

void srv_config_load_file(struct srv_config *c, const char *path)
{
    struct kb_buf text = {0};
    FILE *f = fopen(path, "re");
    if (f == NULL) {
        srv_config_error(c, "cannot read the configuration %s: %s", path, strerror(errno));
        return;
    }
    kb_buf_reserve(&text, SRV_PROPERTIES_BYTES_MAX + 1);
    text.size = fread(text.data, 1, SRV_PROPERTIES_BYTES_MAX + 1, f);
    if (ferror(f) != 0)
        srv_config_error(c, "cannot read the configuration %s: %s", path, strerror(errno));
    else if (text.size > SRV_PROPERTIES_BYTES_MAX)
        srv_config_error(c, "the configuration %s is larger than 1 MiB", path);
    else
        srv_config_load_text(c, path, (const char *)text.data, text.size);
    (void)fclose(f);
    kb_buf_release(&text);
}

/* ---- environment ---- */

/* Variables of Kafka's start scripts and image that are no configuration keys. */
static const char *const not_keys[] = {
    "KAFKA_VERSION",
    "KAFKA_OPTS",
    "KAFKA_HOME",
    "KAFKA_HEAP_OPTS",
    "KAFKA_HEAP_OPT",
    "KAFKA_JMX_OPTS",
    "KAFKA_JMX_PORT",
    "KAFKA_JMX_HOSTNAME",
    "KAFKA_GC_LOG_OPTS",
    "KAFKA_JVM_PERFORMANCE_OPTS",
    "KAFKA_LOG4J_OPTS",
    "KAFKA_LOG4J_ROOT_LOGLEVEL",
    "KAFKA_LOG4J_LOGGERS",
    "KAFKA_LOG4J_CONFIG_FILE",
    "KAFKA_LOG4J_CMD_OPTS",
    "KAFKA_TOOLS_LOG4J_LOGLEVEL",
    "KAFKA_DEBUG",
    "KAFKA_CLASSPATH",
    "KAFKA_SKIP_CLUSTER_ID",
};

char *srv_config_env_key(const char *variable)
{
    if (strcmp(variable, "CLUSTER_ID") == 0)
        return kb_strdup("cluster.id");
    if (strncmp(variable, "KAFKA_", 6) != 0 || variable[6] == '\0')
        return NULL;
    for (size_t i = 0; i < sizeof(not_keys) / sizeof(not_keys[0]); i++) {
        if (strcmp(variable, not_keys[i]) == 0)
            return NULL;
    }
    char *key = kb_alloc(strlen(variable) + 1);
    size_t size = 0;
    for (const char *at = variable + 6; *at != '\0';) {
        size_t run = strspn(at, "_");
        if (run == 0) {
            key[size++] = (char)tolower((unsigned char)*at++);
            continue;
        }
        if (run <= 3) {
            key[size++] = run == 1 ? '.' : run == 2 ? '_' : '-';
        } else {
            memset(key + size, '_', run);
            size += run;
        }
        at += run;
    }
    return key;
}

void srv_config_load_env(struct srv_config *c, char *const *environment)
{
    for (; *environment != NULL; environment++) {
        const char *equals = strchr(*environment, '=');
        if (equals == NULL)
            continue;
        char *variable = kb_strndup(*environment, (size_t)(equals - *environment));
        char *key = srv_config_env_key(variable);
        if (key != NULL)
            srv_config_set(c, key, equals + 1, SRV_FROM_ENVIRONMENT, variable);
        (void)kb_free(key);
        (void)kb_free(variable);
    }
}

/* ---- flags ---- */

enum { FLAG_SET = 256, FLAG_CHECK, FLAG_FOUND, FLAG_KEY };

/* Flags that are one key each. */
static const struct {
    const char *flag;
    const char *key;
    const char *argument;
    const char *doc;
} key_flags[] = {
    {"node-id", "node.id", "N", "id of this node"},
    {"listeners", "listeners", "LIST", "addresses to bind, NAME://host:port"},
    {"advertised-listeners", "advertised.listeners", "LIST", "addresses given to clients"},
    {"voters", "controller.quorum.voters", "LIST", "id@host:port of each voter"},
    {"data", "log.dirs", "DIR", "data directory"},
    {"cluster-id", "cluster.id", "ID", "id of the cluster"},
    {"log-level", "kvorum.log.level", "LEVEL", "debug, info, warn or error"},
    {"log-format", "kvorum.log.format", "FORM", "text or json"},
};
#define KEY_FLAGS (sizeof(key_flags) / sizeof(key_flags[0]))

static void set_pair(struct srv_config *c, const char *pair)
{
    const char *equals = strchr(pair, '=');
    if (equals == NULL || equals == pair) {
        srv_config_error(c, "--set %s: write it as key=value", pair);
        return;
    }
    char *key = kb_strndup(pair, (size_t)(equals - pair));
    srv_config_set(c, key, equals + 1, SRV_FROM_FLAG, "--set");
    (void)kb_free(key);
}

static void set_file(struct srv_config *c, const char *path)
{
    if (c->file != NULL)
        srv_config_error(c, "two configuration files are named: %s and %s", c->file, path);
    (void)kb_free(c->file);
    c->file = kb_strdup(path);
}

static void on_flag(struct srv_config *c, int flag, char *const *argv)
{
    switch (flag) {
    case 'c':
        set_file(c, optarg);
        break;
    case 's':
    case FLAG_SET:
        set_pair(c, optarg);
        break;
    case FLAG_CHECK:
        c->check_only = true;
        break;
    case FLAG_FOUND:
        srv_config_set(c, "kvorum.found.without.absent.voters", "true", SRV_FROM_FLAG,
                       "--found-without-absent-voters");
        break;
    case 'h':
        c->help = true;
        break;
    case ':':
        srv_config_error(c, "%s needs a value", argv[optind - 1]);
        break;
    case '?':
        srv_config_error(c, "unknown flag %s. See: kvorum server --help", argv[optind - 1]);
        break;
    default: {
        size_t i = (size_t)flag - FLAG_KEY;
        char *where = kb_asprintf("--%s", key_flags[i].flag);
        srv_config_set(c, key_flags[i].key, optarg, SRV_FROM_FLAG, where);
        (void)kb_free(where);
        break;
    }
    }
}

void srv_config_load_args(struct srv_config *c, int argc, char *const *argv)
{
    struct option options[KEY_FLAGS + 8] = {
        {"config", required_argument, NULL, 'c'},
        {"set", required_argument, NULL, FLAG_SET},
        {"override", required_argument, NULL, FLAG_SET}, /* as Kafka's start script */
        {"check-config", no_argument, NULL, FLAG_CHECK},
        {"found-without-absent-voters", no_argument, NULL, FLAG_FOUND},
        {"help", no_argument, NULL, 'h'},
    };
    for (size_t i = 0; i < KEY_FLAGS; i++)
        options[6 + i] = (struct option){key_flags[i].flag, required_argument, NULL,
                                         FLAG_KEY + (int)i};
    optind = 0; /* start anew: getopt keeps its place in a global */
    for (;;) {
        int flag = getopt_long(argc, argv, ":c:s:h", options, NULL);
        if (flag < 0)
            break;
        on_flag(c, flag, argv);
    }
    for (int i = optind; i < argc; i++)
        set_file(c, argv[i]);
}

void srv_config_usage(struct kb_buf *to)
{
    kb_buf_append_str(
        to, "usage: kvorum server [flags] [server.properties]\n\n"
            "  -c, --config FILE                  read Kafka's server.properties\n"
            "  -s, --set KEY=VALUE                set any key; wins over environment and file\n"
            "      --check-config                 check everything, start nothing\n"
            "      --found-without-absent-voters  found the cluster with a majority of its voters\n"
            "  -h, --help                         this page\n");
    for (size_t i = 0; i < KEY_FLAGS; i++)
        kb_buf_printf(to, "      --%s %s%*s %s (%s)\n", key_flags[i].flag, key_flags[i].argument,
                      (int)(27 - strlen(key_flags[i].flag) - strlen(key_flags[i].argument)), "",
                      key_flags[i].doc, key_flags[i].key);
    kb_buf_append_str(to, "\nKAFKA_NODE_ID and the like set keys too (KAFKA_ + the key in capitals "
                          "with _ for . and __ for _).\nflag > environment > file > default. "
                          "Keys: kvorum config explain KEY\n");
}
