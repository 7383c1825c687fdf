#include "broker/server/config.h"

#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/assert.h"
#include "proto/base/err.h"
#include "proto/base/mem.h"

#define UNKNOWN_KEYS_NAMED 20

static const char *const source_names[] = {
    [SRV_FROM_DEFAULT] = "default",
    [SRV_FROM_FILE] = "file",
    [SRV_FROM_ENVIRONMENT] = "environment",
    [SRV_FROM_FLAG] = "flag",
};

const char *srv_config_source_name(enum srv_config_source source)
{
    return (unsigned)source <= SRV_FROM_FLAG ? source_names[source] : "?";
}

void srv_config_init(struct srv_config *c)
{
    size_t n = 0;
    *c = (struct srv_config){0};
    (void)srv_keys(&n);
    c->values = kb_new_array(struct srv_config_value, n);
}

static void strings_free(char **list, size_t count)
{
    for (size_t i = 0; i < count; i++)
        (void)kb_free(list[i]);
    (void)kb_free(list);
}

void srv_config_release(struct srv_config *c)
{
    size_t n = 0;
    (void)srv_keys(&n);
    for (size_t i = 0; i < n && c->values != NULL; i++) {
        (void)kb_free(c->values[i].text);
        (void)kb_free(c->values[i].where);
    }
    (void)kb_free(c->values);
    (void)kb_free(c->file);
    strings_free(c->ignored, c->ignored_count);
    strings_free(c->errors, c->errors_count);
    strings_free(c->warnings, c->warnings_count);
    for (size_t i = 0; i < c->listeners_count; i++) {
        (void)kb_free(c->listeners[i].name);
        (void)kb_free(c->listeners[i].host);
        (void)kb_free(c->listeners[i].advertised_host);
    }
    (void)kb_free(c->listeners);
    for (size_t i = 0; i < c->voters_count; i++)
        (void)kb_free(c->voters[i].host);
    (void)kb_free(c->voters);
    *c = (struct srv_config){0};
}

/* ---- problems ---- */

static char *sentence(const char *format, va_list args)
{
    va_list copy;
    va_copy(copy, args);
    int size = vsnprintf(NULL, 0, format, copy);
    va_end(copy);
    KB_ASSERT(size >= 0);
    char *text = kb_alloc((size_t)size + 1);
    (void)vsnprintf(text, (size_t)size + 1, format, args);
    return text;
}

void srv_config_error(struct srv_config *c, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    kb_array_reserve(c->errors, c->errors_count, c->errors_capacity);
    c->errors[c->errors_count++] = sentence(format, args);
    va_end(args);
}

void srv_config_warn(struct srv_config *c, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    kb_array_reserve(c->warnings, c->warnings_count, c->warnings_capacity);
    c->warnings[c->warnings_count++] = sentence(format, args);
    va_end(args);
}

/* ---- values ---- */

static void note_ignored(struct srv_config *c, const char *key)
{
    for (size_t i = 0; i < c->ignored_count; i++) {
        if (strcmp(c->ignored[i], key) == 0)
            return;
    }
    kb_array_reserve(c->ignored, c->ignored_count, c->ignored_capacity);
    c->ignored[c->ignored_count++] = kb_strdup(key);
}

void srv_config_set(struct srv_config *c, const char *key, const char *value,
                    enum srv_config_source source, const char *where)
{
    int index = srv_key_find(key);
    if (index < 0) {
        const struct srv_ignored_key *ignored = srv_ignored_key_find(key);
        if (ignored != NULL) {
            note_ignored(c, ignored->name);
            return;
        }
        if (++c->unknown_count > UNKNOWN_KEYS_NAMED)
            return;
        const char *nearest = srv_key_nearest(key);
        srv_config_warn(c, "%s: unknown key %s is ignored%s%s%s", where, key,
                        nearest != NULL ? ". Did you mean " : "", nearest != NULL ? nearest : "",
                        nearest != NULL ? "?" : "");
        return;
    }
    c->anything_set = true;
    struct srv_config_value *v = &c->values[index];
    if (v->text != NULL && v->source > source)
        return;
    (void)kb_free(v->text);
    (void)kb_free(v->where);
    *v = (struct srv_config_value){kb_strdup(value), source, kb_strdup(where)};
}

static int index_of(const char *key)
{
    int index = srv_key_find(key);
    KB_ASSERT(index >= 0);
    return index;
}

const char *srv_config_text(const struct srv_config *c, const char *key)
{
    size_t n = 0;
    int index = index_of(key);
    const char *text = c->values[index].text;
    return text != NULL ? text : srv_keys(&n)[index].default_value;
}

bool srv_config_is_set(const struct srv_config *c, const char *key)
{
    return c->values[index_of(key)].text != NULL;
}

int64_t srv_config_int(const struct srv_config *c, const char *key)
{
    const char *text = srv_config_text(c, key);
    return text != NULL ? strtoll(text, NULL, 10) : 0;
}

bool srv_config_bool(const struct srv_config *c, const char *key)
{
    const char *text = srv_config_text(c, key);
    return text != NULL && strcasecmp(text, "true") == 0;
}

void srv_config_explain_source(const struct srv_config *c, const char *key, struct kb_buf *to)
{
    const struct srv_config_value *v = &c->values[index_of(key)];
    if (v->text == NULL)
        kb_buf_append_str(to, "default");
    else
        kb_buf_printf(to, "%s %s", srv_config_source_name(v->source), v->where);
    kb_buf_append(to, "", 1);
    to->size--;
}

/* ---- checks of single values ---- */

static bool choice_fits(const char *choices, const char *item, size_t size)
{
    for (const char *at = choices; at != NULL && *at != '\0';) {
        size_t n = strcspn(at, "|");
        if (n == size && strncmp(at, item, n) == 0)
            return true;
        at += n;
        at += *at == '|';
    }
    return false;
}

static bool items_fit(const struct srv_key *key, const char *text)
{
    if (key->choices == NULL)
        return true;
    if (key->type == SRV_KEY_STRING)
        return choice_fits(key->choices, text, strlen(text));
    for (const char *at = text; *at != '\0';) {
        at += strspn(at, " ,");
        size_t n = strcspn(at, ",");
        while (n > 0 && at[n - 1] == ' ')
            n--;
        if (n > 0 && !choice_fits(key->choices, at, n))
            return false;
        at += strcspn(at, ",");
    }
    return true;
}

static bool parse_int(const char *text, int64_t *ret)
{
    char *end = NULL;
    if (*text == '\0' || isspace((unsigned char)*text))
        return false;
    errno = 0;
    long long v = strtoll(text, &end, 10);
    *ret = v;
    return errno == 0 && *end == '\0';
}

static void check_number(struct srv_config *c, const struct srv_key *key, const char *text,
                         const char *where)
{
    int64_t v = 0;
    if (!parse_int(text, &v))
        srv_config_error(c, "%s: %s must be a whole number, not \"%s\"", where, key->name, text);
    else if (v < key->min || v > key->max)
        srv_config_error(c, "%s: %s is %lld but must be from %lld to %lld", where, key->name,
                         (long long)v, (long long)key->min, (long long)key->max);
}

static void check_value(struct srv_config *c, const struct srv_key *key,
                        const struct srv_config_value *v)
{
    char *end = NULL;
    switch (key->type) {
    case SRV_KEY_INT:
    case SRV_KEY_LONG:
        check_number(c, key, v->text, v->where);
        break;
    case SRV_KEY_BOOL:
        if (strcasecmp(v->text, "true") != 0 && strcasecmp(v->text, "false") != 0)
            srv_config_error(c, "%s: %s must be true or false, not \"%s\"", v->where, key->name,
                             v->text);
        break;
    case SRV_KEY_DOUBLE: {
        double d = strtod(v->text, &end);
        if (end == v->text || *end != '\0' || !(d >= 0 && d <= 1))
            srv_config_error(c, "%s: %s must be a number from 0 to 1, not \"%s\"", v->where,
                             key->name, v->text);
        break;
    }
    case SRV_KEY_STRING:
    case SRV_KEY_LIST:
        if (!items_fit(key, v->text))
            srv_config_error(c, "%s: %s is \"%s\" but must be of: %s", v->where, key->name, v->text,
                             key->choices);
        break;
    }
}

/* ---- checks over several values ---- */

static void finish_directory(struct srv_config *c)
{
    const char *dirs = srv_config_text(c, "log.dirs");
    if (!srv_config_is_set(c, "log.dirs") && srv_config_is_set(c, "log.dir"))
        dirs = srv_config_text(c, "log.dir");
    c->log_dir = dirs;
    if (strchr(dirs, ',') != NULL)
        srv_config_error(c,
                         "log.dirs names several directories (%s), and this broker keeps all data "
                         "in one. Join the disks below it, or run one broker per disk",
                         dirs);
    else if (*dirs == '\0')
        srv_config_error(c, "log.dirs is empty. Name the data directory");
}

static void finish_limits(struct srv_config *c)
{
    if (srv_config_int(c, "socket.request.max.bytes") >
        srv_config_int(c, "kvorum.memory.max.bytes"))
        srv_config_error(c,
                         "socket.request.max.bytes (%s) is larger than kvorum.memory.max.bytes "
                         "(%s): such a request could never be read",
                         srv_config_text(c, "socket.request.max.bytes"),
                         srv_config_text(c, "kvorum.memory.max.bytes"));
    if (srv_config_int(c, "group.min.session.timeout.ms") >
        srv_config_int(c, "group.max.session.timeout.ms"))
        srv_config_error(c, "group.min.session.timeout.ms is larger than "
                            "group.max.session.timeout.ms: no consumer could join a group");
    if (srv_config_int(c, "broker.heartbeat.interval.ms") * 2 >
        srv_config_int(c, "broker.session.timeout.ms"))
        srv_config_error(c, "broker.session.timeout.ms must be at least twice "
                            "broker.heartbeat.interval.ms, or one late heartbeat fences a broker");
    const char *authorizer = srv_config_text(c, "authorizer.class.name");
    if (authorizer != NULL && *authorizer != '\0')
        srv_config_error(c,
                         "authorizer.class.name is %s, but access control lists are not enforced "
                         "yet. Leave it empty to run without them",
                         authorizer);
    const char *between = srv_config_text(c, "security.inter.broker.protocol");
    if (between != NULL && strcmp(between, "PLAINTEXT") != 0)
        srv_config_error(c,
                         "security.inter.broker.protocol is %s, but links between brokers are not "
                         "encrypted yet. Only PLAINTEXT can be served",
                         between);
    const char *id = srv_config_text(c, "cluster.id");
    if (id != NULL && (*id == '\0' || strlen(id) > 64 || strpbrk(id, " \t\r\n\"") != NULL))
        srv_config_error(c, "cluster.id \"%s\" must be 1 to 64 characters without spaces", id);
}

void srv_config_finish(struct srv_config *c)
{
    size_t n = 0;
    const struct srv_key *keys = srv_keys(&n);
    for (size_t i = 0; i < n; i++) {
        if (c->values[i].text != NULL)
            check_value(c, &keys[i], &c->values[i]);
    }
    if (c->errors_count > 0) /* typed access needs sound values */
        return;
    finish_directory(c);
    finish_limits(c);
    srv_config_finish_node(c);
    srv_config_finish_listeners(c);
    if (c->unknown_count > UNKNOWN_KEYS_NAMED)
        srv_config_warn(c, "%zu more unknown keys are ignored",
                        c->unknown_count - UNKNOWN_KEYS_NAMED);
    if (c->ignored_count == 0)
        return;
    struct kb_buf list = {0};
    for (size_t i = 0; i < c->ignored_count; i++)
        kb_buf_printf(&list, "%s%s", i > 0 ? ", " : "", c->ignored[i]);
    srv_config_warn(c, "these Kafka keys have no effect here: %s", (const char *)list.data);
    kb_buf_release(&list);
}
