/* Helpers of the admin commands. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/metadata/admin_private.h"
#include "proto/base/mem.h"

struct meta_verdict meta_refuse(struct kb_arena *arena, int16_t error, const char *format, ...)
{
    char line[512];
    va_list args;
    va_start(args, format);
    int size = vsnprintf(line, sizeof(line), format, args);
    va_end(args);
    size_t kept = size < 0 ? 0 : (size_t)size < sizeof(line) ? (size_t)size : sizeof(line) - 1;
    return (struct meta_verdict){.error = error,
                                 .message = kw_str_of(kb_arena_strndup(arena, line, kept))};
}

char *meta_text(struct kb_arena *arena, struct kw_str s)
{
    if (s.data == NULL || memchr(s.data, '\0', (size_t)s.size) != NULL)
        return NULL;
    return kb_arena_strndup(arena, s.data, (size_t)s.size);
}

const struct meta_topic *meta_find_topic(const struct meta_image *image, struct kw_str name)
{
    char text[META_TOPIC_NAME_MAX + 1];
    if (name.data == NULL || meta_topic_name_check(name.data, (size_t)name.size, NULL) < 0)
        return NULL;
    memcpy(text, name.data, (size_t)name.size);
    text[name.size] = '\0';
    return meta_image_topic(image, text);
}

struct meta_verdict meta_unknown_topic(struct kb_arena *arena, struct kw_str name)
{
    return meta_refuse(arena, KW_UNKNOWN_TOPIC_OR_PARTITION, "topic \"%.*s\" does not exist",
                       name.size < META_TOPIC_NAME_MAX ? name.size : META_TOPIC_NAME_MAX,
                       name.data != NULL ? name.data : "");
}

/* Position of the name, or where it belongs; sorted, so that large requests stay cheap. */
static size_t names_find(const struct meta_names *n, struct kw_str name, bool *ret_there)
{
    size_t low = 0;
    size_t high = n->count;
    *ret_there = false;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        struct kw_str other = n->names[middle];
        size_t shared = (size_t)(other.size < name.size ? other.size : name.size);
        int order = shared > 0 ? memcmp(other.data, name.data, shared) : 0;
        if (order == 0)
            order = (other.size > name.size) - (other.size < name.size);
        if (order == 0) {
            *ret_there = true;
            return middle;
        }
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

bool meta_names_contain(const struct meta_names *n, struct kw_str name)
{
    bool there;
    (void)names_find(n, name, &there);
    return there;
}

bool meta_names_add(struct meta_names *n, struct kw_str name)
{
    bool there;
    size_t at = names_find(n, name, &there);
    if (there)
        return false;
    meta_array_insert(n->names, at, n->count, n->capacity);
    n->names[at] = name;
    return true;
}

void meta_names_release(struct meta_names *n)
{
    free(n->names);
    *n = (struct meta_names){0};
}
