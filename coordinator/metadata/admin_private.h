#ifndef META_ADMIN_PRIVATE_H
#define META_ADMIN_PRIVATE_H

#include "coordinator/metadata/controller_private.h"
#include "proto/kafka/codec.h"
#include "proto/kafka/error.h"
#include "proto/kafka/messages.h"

/* What the admin commands share. */

/* A verdict on one named thing: a Kafka code and a sentence. */
struct meta_verdict {
    int16_t error;
    struct kw_str message; /* null when error is KW_NONE */
};
static inline struct meta_verdict meta_fine(void)
{
    return (struct meta_verdict){.error = KW_NONE, .message = {NULL, 0}};
}
struct meta_verdict meta_refuse(struct kb_arena *arena, int16_t error, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* A NUL-terminated copy; NULL when s is null, holds a NUL or the arena refuses. */
char *meta_text(struct kb_arena *arena, struct kw_str s);
/* The topic of that name, NULL = none. */
const struct meta_topic *meta_find_topic(const struct meta_image *image, struct kw_str name);
struct meta_verdict meta_unknown_topic(struct kb_arena *arena, struct kw_str name);

/* Names already seen in one request. Zero-initialise to start. */
struct meta_names {
    struct kw_str *names;
    size_t count;
    size_t capacity;
};
/* False when it was there already. */
bool meta_names_add(struct meta_names *n, struct kw_str name);
void meta_names_release(struct meta_names *n);

/* How often a request mentions a name. What is mentioned twice is refused wherever it stands. */
enum meta_mention {
    META_MENTION_ONCE,
    META_MENTION_FIRST, /* of several */
    META_MENTION_AGAIN,
};
/* One entry per name (arena); null names count as ONCE. NULL when the arena refuses. */
enum meta_mention *meta_mentions(struct kb_arena *arena, const struct kw_str *names, size_t count);

/* ---- placement.c --------------------------------------------------------------------------------
 */

/* How many replicas and leaderships each broker has, those of this request included. */
struct meta_placer;
struct meta_placer *meta_placer_new(struct meta_controller *c);
struct meta_placer *meta_placer_free(struct meta_placer *p);
/* Choose replicas for new partitions, rf ids each, the preferred leader (a live broker) first.
 * 0, or -KB_ELIMIT: fewer than rf brokers, or none is live. */
int meta_place(struct meta_placer *p, size_t partitions, size_t rf, int32_t *ret);

/* ---- partitions of new topics
 * -------------------------------------------------------------------- */

/* Check a given assignment of one partition. */
struct meta_verdict meta_check_assignment(const struct meta_controller *c, struct kb_arena *arena,
                                          int32_t partition, const int32_t *ids, int32_t count);
/* The record of a partition that begins to exist. */
void meta_emit_new_partition(struct meta_controller *c, struct meta_result *result,
                             const struct kb_uuid *topic_id, int32_t index, const int32_t *replicas,
                             size_t count);

/* ---- configs.c ----------------------------------------------------------------------------------
 */

/* A topic config by name; NULL for a name or value that is none. *value becomes the one to keep. */
struct meta_verdict meta_check_config(struct kb_arena *arena, const char *name, const char **value);
void meta_emit_config(struct meta_result *result, int32_t type, const char *resource,
                      const char *name, const char *value);

#endif
