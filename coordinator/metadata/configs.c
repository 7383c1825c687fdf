/* AlterConfigs and IncrementalAlterConfigs, for topics and for the defaults of all brokers. */
#include <stdlib.h>
#include <string.h>

#include "coordinator/metadata/admin_private.h"
#include "proto/base/assert.h"
#include "proto/base/err.h"
#include "proto/base/mem.h"
#include "proto/cluster/unpack.h"

enum { OP_SET = 0, OP_DELETE = 1, OP_APPEND = 2, OP_SUBTRACT = 3 };

void meta_emit_config(struct meta_result *result, int32_t type, const char *resource,
                      const char *name, const char *value)
{
    Kc__ConfigRecord config = KC__CONFIG_RECORD__INIT;
    config.has_resource_type = 1;
    config.resource_type = type;
    config.resource_name = kc_str(resource);
    config.name = kc_str(name);
    config.value = kc_str(value);
    Kc__Record record = KC__RECORD__INIT;
    record.kind_case = KC__RECORD__KIND_CONFIG;
    record.config = &config;
    meta_records_add(&result->records, &record);
}

/* Makes the value tidy and checks it. */
static struct meta_verdict check_tidy(struct kb_arena *arena, enum meta_topic_key key,
                                      const char **value)
{
    const char *why = NULL;
    *value = meta_topic_value_tidy(key, *value, arena);
    if (*value == NULL)
        return meta_refuse(arena, KW_POLICY_VIOLATION, "the request is too large");
    if (meta_topic_value_check(key, *value, arena, &why) < 0)
        return meta_refuse(arena, KW_INVALID_CONFIG, "%s", why);
    return meta_fine();
}

struct meta_verdict meta_check_config(struct kb_arena *arena, const char *name, const char **value)
{
    int key = name != NULL ? meta_topic_key_find(name) : -1;
    if (key < 0)
        return meta_refuse(arena, KW_INVALID_CONFIG, "unknown topic config \"%.128s\"",
                           name != NULL ? name : "");
    if (*value == NULL)
        return meta_refuse(arena, KW_INVALID_CONFIG, "%s has no value", name);
    return check_tidy(arena, (enum meta_topic_key)key, value);
}

/* ---- one resource -------------------------------------------------------------------------------
 */

/* Configs of a resource as they will be. */
struct alteration {
    struct meta_controller *c;
    struct kb_arena *arena;
    int8_t type;
    struct kw_str resource;
    const char *name;               /* of the resource, NUL-terminated */
    const struct meta_configs *old; /* NULL = none */
    struct meta_configs next;
    bool *consequential; /* set when partitions are concerned: see emit_consequences */
};

/* The table's key for a config of this resource; broker defaults go by the server's names. */
static int key_of(const struct alteration *a, const char *name)
{
    if (name == NULL)
        return -1;
    return a->type == META_RESOURCE_TOPIC ? meta_topic_key_find(name)
                                          : meta_topic_key_find_broker(name);
}

static struct meta_verdict begin(struct alteration *a)
{
    if (a->type == META_RESOURCE_TOPIC) {
        const struct meta_topic *t = meta_find_topic(a->c->image, a->resource);
        if (a->resource.size == 0)
            return meta_refuse(a->arena, KW_INVALID_REQUEST, "the name of the topic is empty");
        if (meta_topic_name_check(a->resource.data, (size_t)a->resource.size, NULL) < 0)
            return meta_refuse(a->arena, KW_INVALID_TOPIC_EXCEPTION, "no topic can have this name");
        if (t == NULL)
            return meta_unknown_topic(a->arena, a->resource);
        a->name = t->name;
        a->old = &t->configs;
    } else if (a->type == META_RESOURCE_BROKER && a->resource.size == 0) {
        a->name = "";
        a->old = meta_image_resource_configs(a->c->image, META_RESOURCE_BROKER, "");
    } else if (a->type == META_RESOURCE_BROKER) {
        return meta_refuse(a->arena, KW_INVALID_REQUEST,
                           "configs of a single broker are changed in its server.properties; "
                           "defaults of all brokers can be changed at run time");
    } else {
        return meta_refuse(a->arena, KW_INVALID_REQUEST,
                           "configs of resource type %d cannot be changed here", a->type);
    }
    if (a->old != NULL)
        meta_configs_copy(&a->next, a->old);
    return meta_fine();
}

static struct meta_verdict check_value(const struct alteration *a, int key, const char *name,
                                       const char **value)
{
    if (key < 0)
        return meta_refuse(
            a->arena, KW_INVALID_CONFIG, "%s config \"%.128s\" %s",
            a->type == META_RESOURCE_TOPIC ? "topic" : "broker", name != NULL ? name : "",
            a->type == META_RESOURCE_TOPIC ? "is not known" : "cannot be changed at run time");
    if (*value == NULL)
        return meta_refuse(a->arena, KW_INVALID_REQUEST, "%s has no value", name);
    return check_tidy(a->arena, (enum meta_topic_key)key, value);
}

/* ---- lists --------------------------------------------------------------------------------------
 */

static bool list_contains(const char *list, const char *word, size_t size)
{
    while (*list != '\0') {
        size_t length = strcspn(list, ",");
        if (length == size && memcmp(list, word, size) == 0)
            return true;
        list += length;
        list += *list == ',';
    }
    return false;
}

/* Words of `list` without those of `minus`, then those of `plus` that are not there. */
static char *list_combine(struct kb_arena *arena, const char *list, const char *minus,
                          const char *plus)
{
    struct kb_buf out = {0};
    const char *sources[2] = {list, plus};
    kb_buf_append(&out, "", 1);
    for (int i = 0; i < 2; i++) {
        const char *at = sources[i];
        while (*at != '\0') {
            size_t length = strcspn(at, ",");
            bool skip = list_contains(minus, at, length) ||
                        list_contains((const char *)out.data, at, length);
            if (!skip && length > 0) {
                out.size--;
                if (out.size > 0)
                    kb_buf_append(&out, ",", 1);
                kb_buf_append(&out, at, length);
                kb_buf_append(&out, "", 1);
            }
            at += length;
            at += *at == ',';
        }
    }
    char *text = kb_arena_strndup(arena, (const char *)out.data, out.size - 1);
    kb_buf_release(&out);
    return text;
}

/* What APPEND and SUBTRACT start from: the value that counts. */
static const char *current_value(const struct alteration *a, int key, const char *name)
{
    const char *value = meta_configs_get(&a->next, name);
    if (value != NULL)
        return value;
    return meta_topic_value(a->c->image, NULL, NULL, (enum meta_topic_key)key, NULL);
}

static struct meta_verdict apply_op(struct alteration *a, int8_t op, const char *name,
                                    const char *value)
{
    int key = key_of(a, name);
    if (op == OP_DELETE) {
        if (name != NULL) /* what is not set is gone already, whatever its name */
            meta_configs_set(&a->next, name, NULL);
        return meta_fine();
    }
    struct meta_verdict v = check_value(a, key, name, &value);
    if (key >= 0 && value != NULL && (op == OP_APPEND || op == OP_SUBTRACT)) {
        if (meta_topic_key_info((enum meta_topic_key)key)->type != META_TYPE_LIST)
            return meta_refuse(a->arena, KW_INVALID_CONFIG,
                               "%s is no list: nothing can be appended or subtracted", name);
        const char *current = current_value(a, key, name);
        value = op == OP_APPEND ? list_combine(a->arena, current, "", value)
                                : list_combine(a->arena, current, value, "");
        v = check_value(a, key, name, &value);
    } else if (op != OP_SET && key >= 0) {
        return meta_refuse(a->arena, KW_INVALID_REQUEST, "operation %d is not known", op);
    }
    if (v.error == KW_NONE)
        meta_configs_set(&a->next, name, value);
    return v;
}

/* ---- records ------------------------------------------------------------------------------------
 */

static void emit_difference(const struct alteration *a, struct meta_result *result,
                            const char *name, const char *value)
{
    int key = key_of(a, name);
    *a->consequential |= key == META_MIN_INSYNC_REPLICAS || key == META_FLUSH_MESSAGES;
    meta_emit_config(result, a->type, a->name, name, value);
}

static void emit_differences(const struct alteration *a, struct meta_result *result)
{
    static const struct meta_configs none;
    const struct meta_configs *old = a->old != NULL ? a->old : &none;
    for (size_t i = 0; i < old->count; i++) {
        if (meta_configs_get(&a->next, old->entries[i].name) == NULL)
            emit_difference(a, result, old->entries[i].name, NULL);
    }
    for (size_t i = 0; i < a->next.count; i++) {
        const struct meta_config_entry *e = &a->next.entries[i];
        const char *before = meta_configs_get(old, e->name);
        if (before == NULL || strcmp(before, e->value) != 0)
            emit_difference(a, result, e->name, e->value);
    }
}

static struct meta_verdict finish(struct alteration *a, bool validate_only,
                                  struct meta_result *result)
{
    const char *why = NULL;
    if (a->type == META_RESOURCE_TOPIC && meta_topic_configs_check(a->c->image, &a->next, &why) < 0)
        return meta_refuse(a->arena, KW_INVALID_CONFIG, "%s", why);
    if (meta_records_bytes(&result->records) > META_PLAN_BYTES_MAX)
        return meta_refuse(a->arena, KW_POLICY_VIOLATION, "the request is too large; send several");
    if (!validate_only)
        emit_differences(a, result);
    return meta_fine();
}

/* What the new values mean for partitions, in the same batch: a changed minimum clears the ELRs it
 * governs (rule 3.2; with an empty ISR nothing was acknowledged meanwhile, and the ELR is all there
 * is); a topic turned strong is not yet known to have synced (4.4). */
static void emit_consequences(struct meta_controller *c, struct meta_result *result)
{
    struct meta_plan plan = meta_plan_make(c, 0, result);
    size_t count = result->records.count;
    struct meta_image *next = meta_image_clone(c->image);
    for (size_t i = 0; i < count; i++) {
        int r = meta_image_apply(next, next->last_index + 1, next->last_term,
                                 meta_records_at(&result->records, i), NULL);
        KB_ASSERT(r == 0);
    }
    for (size_t i = 0; i < c->image->topics_count; i++) {
        const struct meta_topic *t = c->image->topics[i];
        bool was_strong = meta_topic_strong(c->image, t);
        bool strong = meta_topic_strong(next, next->topics[i]);
        for (size_t k = 0; k < t->partitions_count; k++) {
            const struct meta_partition *p = t->partitions[k];
            struct meta_change ch;
            meta_change_begin(&ch, p);
            if (meta_min_isr(c->image, p) != meta_min_isr(next, next->topics[i]->partitions[k]) &&
                p->isr_count > 0)
                ch.elr_count = 0;
            if (was_strong != strong && p->unsynced != strong) {
                ch.unsynced = strong;
                ch.touched = true;
            }
            (void)meta_change_emit(&ch, &plan);
        }
    }
    (void)meta_image_free(next);
}

/* ---- requests -----------------------------------------------------------------------------------
 */

/* Either request in a common form. */
struct item {
    struct kw_str name;
    struct kw_str value;
    int8_t op;
};
struct resource {
    int8_t type;
    struct kw_str name;
    struct item *items;
    size_t count;
    struct meta_verdict verdict;
};
struct request {
    struct meta_controller *c;
    struct kb_arena *arena;
    struct resource *resources;
    size_t count;
    bool replace; /* AlterConfigs: what is not named goes back to its default */
    bool validate_only;
};

static struct meta_verdict alter(struct alteration *a, bool replace, const struct item *items,
                                 size_t count, bool validate_only, struct meta_result *result)
{
    struct meta_names seen = {0};
    struct meta_verdict v = begin(a);
    if (v.error == KW_NONE && replace)
        meta_configs_release(&a->next);
    for (size_t i = 0; i < count && v.error == KW_NONE; i++) {
        const char *name = meta_text(a->arena, items[i].name);
        const char *value = meta_text(a->arena, items[i].value);
        if (!meta_names_add(&seen, items[i].name))
            v = meta_refuse(a->arena, KW_INVALID_REQUEST, "\"%.128s\" is given twice",
                            name != NULL ? name : "");
        else
            v = apply_op(a, items[i].op, name, value);
    }
    if (v.error == KW_NONE)
        v = finish(a, validate_only, result);
    meta_configs_release(&a->next);
    meta_names_release(&seen);
    return v;
}

/* A resource may be named once per request: names with the type before them. */
static enum meta_mention *resource_mentions(const struct request *q)
{
    struct kw_str *keys = kb_arena_new_array(q->arena, struct kw_str, q->count);
    for (size_t i = 0; keys != NULL && i < q->count; i++) {
        const struct resource *r = &q->resources[i];
        char *key = kb_arena_alloc(q->arena, (size_t)r->name.size + 1);
        if (key == NULL)
            return NULL;
        key[0] = (char)r->type;
        if (r->name.size > 0)
            memcpy(key + 1, r->name.data, (size_t)r->name.size);
        keys[i] = (struct kw_str){key, r->name.size + 1};
    }
    return keys != NULL ? meta_mentions(q->arena, keys, q->count) : NULL;
}

static void run(struct request *q, struct meta_result *result)
{
    const enum meta_mention *mentions = resource_mentions(q);
    bool consequential = false;
    for (size_t i = 0; i < q->count && !q->arena->failed; i++) {
        struct resource *r = &q->resources[i];
        struct alteration a = {.c = q->c,
                               .arena = q->arena,
                               .type = r->type,
                               .resource = r->name,
                               .consequential = &consequential};
        r->verdict = mentions[i] == META_MENTION_ONCE
                         ? alter(&a, q->replace, r->items, r->count, q->validate_only, result)
                         : meta_refuse(q->arena, KW_INVALID_REQUEST,
                                       "the request names this resource twice");
    }
    if (consequential)
        emit_consequences(q->c, result);
}

/* Room for count resources; -KB_ENOMEM when the arena refuses. */
static int request_begin(struct request *q, int32_t count)
{
    q->count = count > 0 ? (size_t)count : 0;
    q->resources = kb_arena_new_array(q->arena, struct resource, q->count);
    return q->resources != NULL ? 0 : -KB_ENOMEM;
}

static struct item *resource_begin(struct request *q, size_t i, int8_t type, struct kw_str name,
                                   int32_t count)
{
    struct resource *r = &q->resources[i];
    r->type = type;
    r->name = name;
    r->count = count > 0 ? (size_t)count : 0;
    r->items = kb_arena_new_array(q->arena, struct item, r->count);
    return r->items;
}

int meta_controller_alter_configs(struct meta_controller *c,
                                  const struct kw_alter_configs_request *req,
                                  struct kb_arena *arena, struct meta_result *result,
                                  struct kw_alter_configs_response *ret)
{
    struct request q = {
        .c = c, .arena = arena, .replace = true, .validate_only = req->validate_only};
    if (request_begin(&q, req->resources_count) < 0)
        return -KB_ENOMEM;
    for (size_t i = 0; i < q.count; i++) {
        const struct kw_alter_configs_request_resource *r = &req->resources[i];
        struct item *items = resource_begin(&q, i, r->resource_type, r->resource_name,
                                            r->configs_count);
        for (size_t k = 0; items != NULL && k < q.resources[i].count; k++)
            items[k] = (struct item){r->configs[k].name, r->configs[k].value, OP_SET};
    }
    run(&q, result);
    kw_alter_configs_response_init(ret);
    ret->responses = kb_arena_new_array(arena, struct kw_alter_configs_response_topic, q.count);
    if (ret->responses == NULL)
        return -KB_ENOMEM;
    ret->responses_count = (int32_t)q.count;
    for (size_t i = 0; i < q.count; i++)
        ret->responses[i] = (struct kw_alter_configs_response_topic){
            .error_code = q.resources[i].verdict.error,
            .error_message = q.resources[i].verdict.message,
            .resource_type = q.resources[i].type,
            .resource_name = q.resources[i].name};
    return 0;
}

int meta_controller_incremental_alter_configs(
    struct meta_controller *c, const struct kw_incremental_alter_configs_request *req,
    struct kb_arena *arena, struct meta_result *result,
    struct kw_incremental_alter_configs_response *ret)
{
    struct request q = {.c = c, .arena = arena, .validate_only = req->validate_only};
    if (request_begin(&q, req->resources_count) < 0)
        return -KB_ENOMEM;
    for (size_t i = 0; i < q.count; i++) {
        const struct kw_incremental_alter_configs_request_resource *r = &req->resources[i];
        struct item *items = resource_begin(&q, i, r->resource_type, r->resource_name,
                                            r->configs_count);
        for (size_t k = 0; items != NULL && k < q.resources[i].count; k++)
            items[k] = (struct item){r->configs[k].name, r->configs[k].value,
                                     r->configs[k].config_operation};
    }
    run(&q, result);
    kw_incremental_alter_configs_response_init(ret);
    ret->responses = kb_arena_new_array(arena, struct kw_incremental_alter_configs_response_topic,
                                        q.count);
    if (ret->responses == NULL)
        return -KB_ENOMEM;
    ret->responses_count = (int32_t)q.count;
    for (size_t i = 0; i < q.count; i++)
        ret->responses[i] = (struct kw_incremental_alter_configs_response_topic){
            .error_code = q.resources[i].verdict.error,
            .error_message = q.resources[i].verdict.message,
            .resource_type = q.resources[i].type,
            .resource_name = q.resources[i].name};
    return 0;
}
