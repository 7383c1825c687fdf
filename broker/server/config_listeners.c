#include <stdio.h>
#include <ctype.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "broker/server/config.h"
#include "proto/base/assert.h"
#include "proto/base/err.h"
#include "proto/base/mem.h"

/* Who this node is, who votes, where it listens. */

/* ---- small parsers ---- */

/* The next item of a comma list, without spaces around it; false at the end. Empty items are
 * passed over. */
static bool next_item(const char **at, const char **ret, size_t *ret_size)
{
    for (;;) {
        *at += strspn(*at, ", \t\n");
        if (**at == '\0')
            return false;
        size_t n = strcspn(*at, ",");
        *ret = *at;
        *at += n;
        while (n > 0 && isspace((unsigned char)(*ret)[n - 1]))
            n--;
        *ret_size = n;
        if (n > 0)
            return true;
    }
}

static int parse_port(const char *text, size_t size, uint16_t *ret)
{
    unsigned long v = 0;
    if (size == 0 || size > 5)
        return -KB_EINVAL;
    for (size_t i = 0; i < size; i++) {
        if (!isdigit((unsigned char)text[i]))
            return -KB_EINVAL;
        v = v * 10 + (unsigned long)(text[i] - '0');
    }
    if (v > 65535)
        return -KB_EINVAL;
    *ret = (uint16_t)v;
    return 0;
}

int srv_parse_host_port(const char *text, size_t size, char **ret_host, uint16_t *ret_port)
{
    const char *colon = NULL;
    for (size_t i = 0; i < size; i++) {
        if (text[i] == ':')
            colon = text + i;
        if (isspace((unsigned char)text[i]) || text[i] == '/')
            return -KB_EINVAL;
    }
    if (colon == NULL || parse_port(colon + 1, size - (size_t)(colon + 1 - text), ret_port) < 0)
        return -KB_EINVAL;
    size_t host_size = (size_t)(colon - text);
    if (host_size >= 2 && text[0] == '[' && text[host_size - 1] == ']') {
        *ret_host = kb_strndup(text + 1, host_size - 2);
        return 0;
    }
    if (memchr(text, ':', host_size) != NULL || memchr(text, '[', host_size) != NULL)
        return -KB_EINVAL; /* a bare IPv6 address: where would its port begin? */
    *ret_host = kb_strndup(text, host_size);
    return 0;
}

/* ---- node and voters ---- */

static int parse_voter(const char *item, size_t size, struct srv_voter_setting *ret)
{
    const char *at = memchr(item, '@', size);
    int32_t id = 0;
    if (at == NULL || at == item || at - item > 9)
        return -KB_EINVAL;
    for (const char *p = item; p < at; p++) {
        if (!isdigit((unsigned char)*p))
            return -KB_EINVAL;
        id = id * 10 + (*p - '0');
    }
    struct srv_voter_setting v = {.id = id};
    int r = srv_parse_host_port(at + 1, size - (size_t)(at + 1 - item), &v.host, &v.port);
    if (r < 0)
        return r;
    if (v.host[0] == '\0' || v.port == 0) {
        (void)kb_free(v.host);
        return -KB_EINVAL;
    }
    *ret = v;
    return 0;
}

static struct srv_voter_setting *find_voter(const struct srv_config *c, int32_t id)
{
    for (size_t i = 0; i < c->voters_count; i++) {
        if (c->voters[i].id == id)
            return &c->voters[i];
    }
    return NULL;
}

static void parse_voters(struct srv_config *c)
{
    const char *at = srv_config_text(c, "controller.quorum.voters");
    const char *item = NULL;
    size_t size = 0;
    if (at == NULL)
        return;
    c->voters = kb_new_array(struct srv_voter_setting, SRV_VOTERS_MAX);
    while (next_item(&at, &item, &size)) {
        struct srv_voter_setting v;
        if (parse_voter(item, size, &v) < 0) {
            srv_config_error(c, "controller.quorum.voters: \"%.*s\" is not id@host:port", (int)size,
                             item);
            return;
        }
        bool twice = find_voter(c, v.id) != NULL;
        if (twice || c->voters_count == SRV_VOTERS_MAX) {
            (void)kb_free(v.host);
            if (twice)
                srv_config_error(c, "controller.quorum.voters names node %d twice", (int)v.id);
            else
                srv_config_error(c, "controller.quorum.voters names more than %d voters",
                                 SRV_VOTERS_MAX);
            return;
        }
        c->voters[c->voters_count++] = v;
    }
    if (c->voters_count > 0 && c->voters_count % 2 == 0)
        srv_config_error(c,
                         "controller.quorum.voters names %zu voters, an even number: that survives "
                         "no more failures than %zu, and can split into halves that both stop. "
                         "Use %zu or %zu",
                         c->voters_count, c->voters_count - 1, c->voters_count - 1,
                         c->voters_count + 1);
}

static void finish_id(struct srv_config *c)
{
    bool has_old = srv_config_is_set(c, "broker.id") && srv_config_int(c, "broker.id") >= 0;
    if (srv_config_is_set(c, "node.id")) {
        c->node_id = (int32_t)srv_config_int(c, "node.id");
        if (has_old && srv_config_int(c, "broker.id") != c->node_id)
            srv_config_error(c, "node.id is %d and broker.id, its old name, is %lld. Remove one",
                             (int)c->node_id, (long long)srv_config_int(c, "broker.id"));
    } else if (has_old) {
        c->node_id = (int32_t)srv_config_int(c, "broker.id");
    } else if (c->voters_count <= 1) {
        c->node_id = c->voters_count == 1 ? c->voters[0].id : 1;
    } else {
        srv_config_error(c, "node.id is not set: which of the nodes in controller.quorum.voters is "
                            "this one? Set node.id");
    }
}

void srv_config_finish_node(struct srv_config *c)
{
    const char *roles = srv_config_text(c, "process.roles");
    parse_voters(c);
    finish_id(c);
    if (c->errors_count > 0)
        return;
    bool voter = c->voters_count == 0 || find_voter(c, c->node_id) != NULL;
    c->observer = !voter;
    if (roles == NULL || *roles == '\0')
        return;
    bool broker = strstr(roles, "broker") != NULL;
    bool controller = strstr(roles, "controller") != NULL;
    if (!broker)
        srv_config_error(c, "process.roles=controller alone is not supported: every voter is a "
                            "broker too. Use process.roles=broker,controller");
    else if (controller && !voter)
        srv_config_error(c,
                         "process.roles has controller, but node %d is not in "
                         "controller.quorum.voters. Add it there, or use process.roles=broker",
                         (int)c->node_id);
    else if (!controller && c->voters_count == 0)
        srv_config_error(c, "process.roles=broker needs controller.quorum.voters, to know which "
                            "cluster to join");
    else if (!controller && voter)
        srv_config_error(c,
                         "node %d is in controller.quorum.voters, but process.roles=broker. Use "
                         "process.roles=broker,controller",
                         (int)c->node_id);
}

/* ---- listeners ---- */

/* NAME://host:port into *ret. */
static int parse_listener(const char *item, size_t size, struct srv_listener_setting *ret)
{
    size_t name_size = 0;
    while (name_size < size &&
           (isalnum((unsigned char)item[name_size]) || strchr("_-.", item[name_size]) != NULL))
        name_size++;
    if (name_size == 0 || size - name_size < 3 || strncmp(item + name_size, "://", 3) != 0)
        return -KB_EINVAL;
    struct srv_listener_setting l = {0};
    int r = srv_parse_host_port(item + name_size + 3, size - name_size - 3, &l.host, &l.port);
    if (r < 0)
        return r;
    l.name = kb_strndup(item, name_size);
    for (char *p = l.name; *p != '\0'; p++)
        *p = (char)toupper((unsigned char)*p);
    *ret = l;
    return 0;
}

static void listener_release(struct srv_listener_setting *l)
{
    l->name = kb_free(l->name);
    l->host = kb_free(l->host);
    l->advertised_host = kb_free(l->advertised_host);
}

static struct srv_listener_setting *find_listener(const struct srv_config *c, const char *name)
{
    for (size_t i = 0; i < c->listeners_count; i++) {
        if (strcasecmp(c->listeners[i].name, name) == 0)
            return &c->listeners[i];
    }
    return NULL;
}

/* Take ownership of l's strings. False when it does not fit; the reason is noted. */
static bool add_listener(struct srv_config *c, struct srv_listener_setting *l)
{
    const char *why = NULL;
    if (find_listener(c, l->name) != NULL)
        why = "is named twice";
    else if (c->listeners_count == SRV_LISTENERS_MAX)
        why = "is one too many";
    for (size_t i = 0; i < c->listeners_count && why == NULL; i++) {
        const struct srv_listener_setting *other = &c->listeners[i];
        if (l->port != 0 && l->port == other->port && strcmp(l->host, other->host) == 0)
            why = "has the same address as another one";
    }
    if (why != NULL) {
        srv_config_error(c, "listeners: %s %s", l->name, why);
        listener_release(l);
        return false;
    }
    c->listeners[c->listeners_count++] = *l;
    return true;
}

static void parse_listeners(struct srv_config *c, const char *key, const char *text,
                            bool host_dropped)
{
    const char *item = NULL;
    size_t size = 0;
    while (next_item(&text, &item, &size)) {
        struct srv_listener_setting l;
        if (parse_listener(item, size, &l) < 0) {
            srv_config_error(c, "%s: \"%.*s\" is not NAME://host:port (IPv6: NAME://[::1]:port)",
                             key, (int)size, item);
            return;
        }
        if (host_dropped)
            l.host[0] = '\0';
        if (!add_listener(c, &l))
            return;
    }
    if (c->listeners_count == 0)
        srv_config_error(c, "%s names no listener", key);
}

static void parse_advertised(struct srv_config *c)
{
    const char *at = srv_config_text(c, "advertised.listeners");
    const char *item = NULL;
    size_t size = 0;
    while (at != NULL && next_item(&at, &item, &size)) {
        struct srv_listener_setting a;
        if (parse_listener(item, size, &a) < 0) {
            srv_config_error(c, "advertised.listeners: \"%.*s\" is not NAME://host:port", (int)size,
                             item);
            return;
        }
        struct srv_listener_setting *l = find_listener(c, a.name);
        if (l == NULL)
            srv_config_error(c,
                             "advertised.listeners has %s, which is not in listeners. Add "
                             "%s://:%u there",
                             a.name, a.name, a.port);
        else if (a.host[0] == '\0' || strcmp(a.host, "0.0.0.0") == 0 || strcmp(a.host, "::") == 0)
            srv_config_error(c,
                             "advertised.listeners: %s has no address that a client could connect "
                             "to. Name a host",
                             a.name);
        else {
            (void)kb_free(l->advertised_host);
            l->advertised_host = a.host;
            l->advertised_port = a.port;
            a.host = NULL;
        }
        listener_release(&a);
    }
}

/* The protocol of a listener; names that are not mapped are PLAINTEXT, but for those of
 * protocols, which are themselves. */
static void protocol_of(const struct srv_config *c, const char *name, const char **ret,
                        size_t *ret_size)
{
    const char *at = srv_config_text(c, "listener.security.protocol.map");
    const char *item = NULL;
    size_t size = 0;
    size_t name_size = strlen(name);
    bool own = strcmp(name, "SSL") == 0 || strcmp(name, "SASL_PLAINTEXT") == 0 ||
               strcmp(name, "SASL_SSL") == 0;
    *ret = own ? name : "PLAINTEXT";
    *ret_size = strlen(*ret);
    while (next_item(&at, &item, &size)) {
        if (size > name_size && item[name_size] == ':' && strncasecmp(item, name, name_size) == 0) {
            *ret = item + name_size + 1;
            *ret_size = size - name_size - 1;
            return;
        }
    }
}

static void check_protocols(struct srv_config *c)
{
    for (size_t i = 0; i < c->listeners_count; i++) {
        const char *protocol = NULL;
        size_t size = 0;
        protocol_of(c, c->listeners[i].name, &protocol, &size);
        if (size == 9 && strncasecmp(protocol, "PLAINTEXT", 9) == 0)
            continue;
        srv_config_error(c,
                         "listener %s has security protocol %.*s, and this version serves "
                         "PLAINTEXT only. Change listener.security.protocol.map",
                         c->listeners[i].name, (int)size, protocol);
    }
}

/* The controller's listener: the one named so, or one made up: at the port by which the other
 * voters know this node, or for an observer any free port (it registers the one it got). */
static void finish_controller(struct srv_config *c)
{
    const char *names = srv_config_text(c, "controller.listener.names");
    const char *at = names;
    const char *item = NULL;
    size_t size = 0;
    if (!next_item(&at, &item, &size)) {
        srv_config_error(c, "controller.listener.names is empty. Leave it unset for CONTROLLER");
        return;
    }
    char *name = kb_strndup(item, size);
    const char *second = NULL;
    if (next_item(&at, &second, &size))
        srv_config_warn(c, "controller.listener.names has several names; %s is used", name);
    struct srv_listener_setting *l = find_listener(c, name);
    struct srv_voter_setting *self = find_voter(c, c->node_id);
    if (l == NULL) {
        struct srv_listener_setting made = {.name = kb_strdup(name), .host = kb_strdup("")};
        made.port = self != NULL ? self->port : 0;
        if (c->voters_count == 0) { /* alone: nobody else has to reach it */
            (void)kb_free(made.host);
            made.host = kb_strdup("localhost");
        }
        l = add_listener(c, &made) ? &c->listeners[c->listeners_count - 1] : NULL;
    }
    (void)kb_free(name);
    if (l == NULL)
        return;
    l->controller = true;
    if (self != NULL && l->advertised_host == NULL) {
        l->advertised_host = kb_strdup(self->host);
        l->advertised_port = self->port;
    }
    if (c->listeners_count == 1)
        srv_config_error(c,
                         "listeners has only the controller's listener %s. Add one for clients, "
                         "such as PLAINTEXT://:9092",
                         l->name);
}

/* What is not advertised explicitly is advertised as it is bound; all addresses become the name of
 * this host. */
static void finish_advertised(struct srv_config *c)
{
    char host[256] = "";
    if (gethostname(host, sizeof(host) - 1) < 0 || host[0] == '\0')
        (void)snprintf(host, sizeof(host), "localhost");
    for (size_t i = 0; i < c->listeners_count; i++) {
        struct srv_listener_setting *l = &c->listeners[i];
        if (l->advertised_host != NULL)
            continue;
        bool everywhere = l->host[0] == '\0' || strcmp(l->host, "0.0.0.0") == 0 ||
                          strcmp(l->host, "::") == 0;
        l->advertised_host = kb_strdup(everywhere ? host : l->host);
        l->advertised_port = l->port;
    }
}

void srv_config_finish_listeners(struct srv_config *c)
{
    bool bound = srv_config_is_set(c, "listeners");
    bool advertised = srv_config_is_set(c, "advertised.listeners");
    c->listeners = kb_new_array(struct srv_listener_setting, SRV_LISTENERS_MAX + 1);
    if (bound)
        parse_listeners(c, "listeners", srv_config_text(c, "listeners"), false);
    else if (advertised) /* as Kafka's image: the same ports on all addresses */
        parse_listeners(c, "advertised.listeners", srv_config_text(c, "advertised.listeners"),
                        true);
    else if (!c->anything_set)
        parse_listeners(c, "listeners", "PLAINTEXT://localhost:9092", false);
    else
        parse_listeners(c, "listeners", srv_config_text(c, "listeners"), false);
    if (c->errors_count > 0)
        return;
    parse_advertised(c);
    finish_controller(c);
    check_protocols(c);
    finish_advertised(c);
}
