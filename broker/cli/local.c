/* Where the broker beside this command listens, by the settings in the environment that both were
 * started with: a container's health check works for whatever listeners its user chose. */
#include <stdlib.h>

#include "broker/cli/internal.h"

/* The next item of a comma list, without spaces around it; false at the end. */
static bool next_item(const char **at, const char **ret, size_t *ret_size)
{
    *at += strspn(*at, ", \t\n");
    size_t n = strcspn(*at, ",");
    *ret = *at;
    *at += n;
    while (n > 0 && strchr(" \t\n", (*ret)[n - 1]) != NULL)
        n--;
    *ret_size = n;
    return n > 0;
}

static bool names_contain(const char *names, const char *name, size_t name_size)
{
    const char *item = NULL;
    size_t size = 0;
    while (next_item(&names, &item, &size)) {
        if (size == name_size && strncasecmp(item, name, size) == 0)
            return true;
    }
    return false;
}

static bool all_addresses(const char *host, size_t size)
{
    static const char *const names[] = {"", "0.0.0.0", "[::]"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (strlen(names[i]) == size && strncmp(host, names[i], size) == 0)
            return true;
    }
    return false;
}

/* NAME://host:port of a client listener with a fixed port: its address into *ret. */
static bool take_listener(const char *item, size_t size, bool host_counts, const char *controllers,
                          char *ret, size_t ret_size)
{
    const char *sep = memmem(item, size, "://", 3);
    const char *colon = memrchr(item, ':', size);
    char *host = NULL;
    uint16_t port = 0;
    if (sep == NULL || colon == sep || names_contain(controllers, item, (size_t)(sep - item)))
        return false;
    const char *begin = sep + 3;
    size_t host_size = (size_t)(colon - begin);
    if (!host_counts || all_addresses(begin, host_size))
        host_size = 0;
    int n = snprintf(ret, ret_size, "%.*s%.*s", host_size > 0 ? (int)host_size : 9,
                     host_size > 0 ? begin : "127.0.0.1", (int)(size - (size_t)(colon - item)),
                     colon);
    if (n < 0 || (size_t)n >= ret_size || cli_address_parse(ret, (size_t)n, &host, &port) < 0)
        return false;
    (void)kb_free(host);
    return true;
}

bool cli_local_address(const char *listeners, const char *advertised, const char *controllers,
                       char *ret, size_t ret_size)
{
    bool bound = listeners != NULL && *listeners != '\0';
    const char *at = bound ? listeners : advertised;
    const char *item = NULL;
    size_t size = 0;
    if (controllers == NULL || *controllers == '\0')
        controllers = "CONTROLLER";
    while (at != NULL && next_item(&at, &item, &size)) {
        if (take_listener(item, size, bound, controllers, ret, ret_size))
            return true;
    }
    return false;
}
