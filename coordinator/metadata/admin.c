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

static int name_order(struct kw_str a, struct kw_str b)
{
    size_t shared = (size_t)(a.size < b.size ? a.size : b.size);
    int order = shared > 0 ? memcmp(a.data, b.data, shared) : 0;
    return order != 0 ? order : (a.size > b.size) - (a.size < b.size);
}

/* Position of the name, or where it belongs; sorted, so that large requests stay cheap. */
static size_t names_find(const struct meta_names *n, struct kw_str name, bool *ret_there)
{
    size_t low = 0;
    size_t high = n->count;
    *ret_there = false;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = name_order(n->names[middle], name);
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

struct mentioned {
    struct kw_str name;
    size_t index;
};

static int mentioned_order(const void *a, const void *b)
{
    const struct mentioned *x = a;
    const struct mentioned *y = b;
    int order = name_order(x->name, y->name);
    return order != 0 ? order : (x->index > y->index) - (x->index < y->index);
}

enum meta_mention *meta_mentions(struct kb_arena *arena, const struct kw_str *names, size_t count)
{
    enum meta_mention *ret = kb_arena_new_array(arena, enum meta_mention, count);
    struct mentioned *sorted = kb_arena_new_array(arena, struct mentioned, count);
    size_t n = 0;
    if (ret == NULL || sorted == NULL)
        return NULL;
    for (size_t i = 0; i < count; i++) {
        ret[i] = META_MENTION_ONCE;
        if (names[i].data != NULL)
            sorted[n++] = (struct mentioned){names[i], i};
    }
    qsort(sorted, n, sizeof(sorted[0]), mentioned_order);
    for (size_t i = 1; i < n; i++) {
        if (name_order(sorted[i - 1].name, sorted[i].name) != 0)
            continue;
        ret[sorted[i].index] = META_MENTION_AGAIN;
        if (ret[sorted[i - 1].index] == META_MENTION_ONCE)
            ret[sorted[i - 1].index] = META_MENTION_FIRST;
    }
    return ret;
}
