/* CreateTopics. */
#include <stdlib.h>
#include <string.h>

#include "coordinator/metadata/admin_private.h"
#include "proto/base/err.h"
#include "proto/base/mem.h"
#include "proto/cluster/unpack.h"

enum {
    REPLICATION_DEFAULT = 3,
    TRANSACTION_PARTITIONS = 50, /* transaction.state.log.num.partitions */
};

/* One topic being created. */
struct alike;
struct creation {
    struct meta_controller *c;
    struct alike *alike;
    struct kb_arena *arena;
    struct meta_placer *placer;
    const struct kw_create_topics_request_topic *req;
    const char *name;
    struct meta_configs configs;
    size_t partitions;
    size_t rf; /* of partition 0 */
    int32_t *replicas;
    size_t *counts; /* replicas per partition */
};

/* ---- partitions ---------------------------------------------------------------------------------
 */

struct meta_verdict meta_check_assignment(const struct meta_controller *c, struct kb_arena *arena,
                                          int32_t partition, const int32_t *ids, int32_t count)
{
    bool live = false;
    if (count < 1 || count > META_REPLICAS_MAX)
        return meta_refuse(arena, KW_INVALID_REPLICA_ASSIGNMENT,
                           "partition %d needs 1 to %d replicas, not %d", partition,
                           META_REPLICAS_MAX, count);
    for (int32_t i = 0; i < count; i++) {
        const struct meta_broker *b = meta_image_broker(c->image, ids[i]);
        if (b == NULL)
            return meta_refuse(arena, KW_INVALID_REPLICA_ASSIGNMENT,
                               "partition %d names broker %d, which is not registered", partition,
                               ids[i]);
        if (meta_ids_contain(ids, (size_t)i, ids[i]))
            return meta_refuse(arena, KW_INVALID_REPLICA_ASSIGNMENT,
                               "partition %d names broker %d twice", partition, ids[i]);
        live |= !b->fenced && !b->stopping;
    }
    if (!live)
        return meta_refuse(arena, KW_INVALID_REPLICA_ASSIGNMENT,
                           "partition %d: none of its brokers is running", partition);
    return meta_fine();
}

void meta_emit_new_partition(struct meta_controller *c, struct meta_result *result,
                             const struct kb_uuid *topic_id, int32_t index, const int32_t *replicas,
                             size_t count)
{
    int32_t isr[META_REPLICAS_MAX];
    struct kb_uuid directories[META_REPLICAS_MAX];
    struct meta_partition p = {
        .index = index,
        .leader = -1,
        .last_unclean_epoch = -1,
        .replicas = (int32_t *)(uintptr_t)replicas,
        .directories = directories,
        .replicas_count = count,
        .isr = isr,
    };
    for (size_t i = 0; i < count; i++) {
        const struct meta_broker *b = meta_image_broker(c->image, replicas[i]);
        directories[i] = b->directories[0];
        if (b->fenced || b->stopping)
            continue;
        isr[p.isr_count++] = b->id;
        if (p.leader < 0) {
            p.leader = b->id;
            p.leader_broker_epoch = b->epoch;
        }
    }
    struct meta_partition_record r;
    meta_partition_record_fill(&r, &p, topic_id, true);
    meta_records_add(&result->records, &r.record);
}

/* ---- names --------------------------------------------------------------------------------------
 */

/* Names that hold '.' or '_', which Kafka counts as equal, with one in place of both: those of the
 * image and those made by this request. */
struct alike {
    struct kb_arena *arena;
    struct meta_names names;
    bool filled;
};

static bool alike_add(struct alike *a, const char *name)
{
    char *copy = kb_arena_strndup(a->arena, name, strlen(name));
    for (char *at = copy; at != NULL && *at != '\0'; at++)
        *at = *at == '.' ? '_' : *at;
    return copy != NULL && meta_names_add(&a->names, kw_str_of(copy));
}

static bool alike_taken(struct alike *a, const struct meta_image *image, const char *name)
{
    if (strpbrk(name, "._") == NULL)
        return false;
    for (size_t i = 0; !a->filled && i < image->topics_count; i++) {
        if (strpbrk(image->topics[i]->name, "._") != NULL)
            (void)alike_add(a, image->topics[i]->name);
    }
    a->filled = true;
    return !alike_add(a, name);
}

static struct meta_verdict check_name(struct creation *cr)
{
    const char *why = NULL;
    const struct kw_str *name = &cr->req->name;
    if (meta_topic_name_check(name->data, (size_t)name->size, &why) < 0)
        return meta_refuse(cr->arena, KW_INVALID_TOPIC_EXCEPTION, "%s", why);
    if (meta_image_topic(cr->c->image, cr->name) != NULL)
        return meta_refuse(cr->arena, KW_TOPIC_ALREADY_EXISTS, "topic \"%s\" exists already",
                           cr->name);
    if (alike_taken(cr->alike, cr->c->image, cr->name))
        return meta_refuse(cr->arena, KW_INVALID_TOPIC_EXCEPTION,
                           "topic \"%s\" collides with another one: '.' and '_' count as equal",
                           cr->name);
    return meta_fine();
}

/* ---- sizes --------------------------------------------------------------------------------------
 */

static size_t default_partitions(const struct creation *cr)
{
    if (strcmp(cr->name, "__consumer_offsets") == 0)
        return (size_t)cr->c->config.offsets_topic_partitions;
    if (meta_topic_name_internal(cr->name))
        return TRANSACTION_PARTITIONS;
    return (size_t)cr->c->config.num_partitions;
}

static size_t default_replication(const struct creation *cr)
{
    const struct meta_controller_config *config = &cr->c->config;
    size_t brokers = cr->c->image->brokers_count;
    if (meta_topic_name_internal(cr->name)) {
        if (config->offsets_topic_replication_factor > 0)
            return (size_t)config->offsets_topic_replication_factor;
        /* Rule 11.5. */
        size_t voters = (size_t)meta_image_founding_voter_count(cr->c->image);
        return voters > 0 && voters < REPLICATION_DEFAULT ? voters : REPLICATION_DEFAULT;
    }
    if (config->default_replication_factor > 0)
        return (size_t)config->default_replication_factor;
    /* Voters that have not registered yet are brokers all the same: a topic made while the cluster
     * starts must not stay with fewer replicas for ever. */
    const struct meta_voter *voters = NULL;
    size_t expected = meta_image_voters(cr->c->image, &voters);
    if (brokers < expected)
        brokers = expected;
    return brokers < REPLICATION_DEFAULT ? brokers : REPLICATION_DEFAULT;
}

static struct meta_verdict place_given(struct creation *cr)
{
    const struct kw_create_topics_request_topic *req = cr->req;
    size_t n = (size_t)req->assignments_count;
    if (req->num_partitions != -1 || req->replication_factor != -1)
        return meta_refuse(cr->arena, KW_INVALID_REQUEST,
                           "with a manual assignment, partitions and replication factor must not "
                           "be given");
    cr->partitions = n;
    cr->replicas = kb_arena_new_array(cr->arena, int32_t, n * META_REPLICAS_MAX);
    cr->counts = kb_arena_new_array(cr->arena, size_t, n);
    if (cr->arena->failed)
        return meta_refuse(cr->arena, KW_POLICY_VIOLATION, "the request is too large");
    for (size_t i = 0; i < n; i++) {
        const struct kw_create_topics_request_assignment *a = &req->assignments[i];
        if (a->partition_index < 0 || (size_t)a->partition_index >= n ||
            cr->counts[a->partition_index] != 0)
            return meta_refuse(cr->arena, KW_INVALID_REPLICA_ASSIGNMENT,
                               "partitions must be numbered 0 to %zu, each once", n - 1);
        struct meta_verdict v = meta_check_assignment(cr->c, cr->arena, a->partition_index,
                                                      a->broker_ids, a->broker_ids_count);
        if (v.error != KW_NONE)
            return v;
        size_t index = (size_t)a->partition_index;
        cr->counts[index] = (size_t)a->broker_ids_count;
        memcpy(&cr->replicas[index * META_REPLICAS_MAX], a->broker_ids,
               cr->counts[index] * sizeof(int32_t));
        if (cr->counts[index] != (size_t)req->assignments[0].broker_ids_count)
            return meta_refuse(cr->arena, KW_INVALID_REPLICA_ASSIGNMENT,
                               "all partitions of a topic need the same number of replicas");
    }
    cr->rf = cr->counts[0];
    return meta_fine();
}

static struct meta_verdict place_chosen(struct creation *cr)
{
    const struct kw_create_topics_request_topic *req = cr->req;
    if (req->num_partitions < -1 || req->num_partitions == 0 ||
        req->num_partitions > META_PARTITIONS_MAX)
        return meta_refuse(cr->arena, KW_INVALID_PARTITIONS,
                           "\"%s\" cannot have %d partitions: 1 to %d are possible", cr->name,
                           req->num_partitions, META_PARTITIONS_MAX);
    if (req->replication_factor < -1 || req->replication_factor == 0 ||
        req->replication_factor > META_REPLICAS_MAX)
        return meta_refuse(cr->arena, KW_INVALID_REPLICATION_FACTOR,
                           "the replication factor must be at least 1, not %d",
                           req->replication_factor);
    cr->partitions = req->num_partitions == -1 ? default_partitions(cr)
                                               : (size_t)req->num_partitions;
    cr->rf = req->replication_factor == -1 ? default_replication(cr)
                                           : (size_t)req->replication_factor;
    int32_t *chosen = kb_arena_new_array(cr->arena, int32_t, cr->partitions * cr->rf);
    cr->replicas = kb_arena_new_array(cr->arena, int32_t, cr->partitions * META_REPLICAS_MAX);
    cr->counts = kb_arena_new_array(cr->arena, size_t, cr->partitions);
    if (cr->arena->failed)
        return meta_refuse(cr->arena, KW_POLICY_VIOLATION, "the request is too large");
    if (meta_place(cr->placer, cr->partitions, cr->rf, chosen) < 0) {
        size_t brokers = cr->c->image->brokers_count;
        if (cr->rf > brokers)
            return meta_refuse(cr->arena, KW_INVALID_REPLICATION_FACTOR,
                               "cannot create \"%s\" with replication factor %zu: the cluster has "
                               "%zu node%s. Use a replication factor of %zu.",
                               cr->name, cr->rf, brokers, brokers == 1 ? "" : "s", brokers);
        return meta_refuse(cr->arena, KW_INVALID_REPLICATION_FACTOR,
                           "cannot create \"%s\": no broker is running", cr->name);
    }
    for (size_t i = 0; i < cr->partitions; i++) {
        cr->counts[i] = cr->rf;
        memcpy(&cr->replicas[i * META_REPLICAS_MAX], &chosen[i * cr->rf], cr->rf * sizeof(int32_t));
    }
    return meta_fine();
}

/* ---- configs ------------------------------------------------------------------------------------
 */

static void internal_configs(struct creation *cr)
{
    if (!meta_topic_name_internal(cr->name))
        return;
    meta_configs_set(&cr->configs, "cleanup.policy", "compact");
    meta_configs_set(&cr->configs, "segment.bytes", "104857600");
    meta_configs_set(&cr->configs, "compression.type",
                     strcmp(cr->name, "__transaction_state") == 0 ? "uncompressed" : "producer");
}

static struct meta_verdict take_configs(struct creation *cr)
{
    const char *why = NULL;
    internal_configs(cr);
    for (int32_t i = 0; i < cr->req->configs_count; i++) {
        const char *name = meta_text(cr->arena, cr->req->configs[i].name);
        const char *value = meta_text(cr->arena, cr->req->configs[i].value);
        struct meta_verdict v = meta_check_config(cr->arena, name, &value);
        if (v.error != KW_NONE)
            return v;
        meta_configs_set(&cr->configs, name, value);
    }
    if (meta_topic_configs_check(cr->c->image, &cr->configs, &why) < 0)
        return meta_refuse(cr->arena, KW_INVALID_CONFIG, "%s", why);
    return meta_fine();
}

static void answer_configs(struct creation *cr, struct kw_create_topics_response_topic *ret)
{
    /* The topic as it will be, for the values that count. */
    struct meta_partition first = {.replicas_count = cr->rf};
    struct meta_partition *partitions[1] = {&first};
    struct meta_topic topic = {
        .configs = cr->configs, .partitions = partitions, .partitions_count = 1};
    ret->configs = kb_arena_new_array(cr->arena, struct kw_create_topics_response_config,
                                      META_TOPIC_KEY_COUNT_);
    if (ret->configs == NULL)
        return;
    ret->configs_count = META_TOPIC_KEY_COUNT_;
    for (int i = 0; i < META_TOPIC_KEY_COUNT_; i++) {
        enum meta_config_source source;
        const char *value = meta_topic_value(cr->c->image, &topic, NULL, (enum meta_topic_key)i,
                                             &source);
        struct kw_create_topics_response_config *line = &ret->configs[i];
        kw_create_topics_response_config_init(line);
        line->name = kw_str_of(meta_topic_key_info((enum meta_topic_key)i)->name);
        line->value = kw_str_of(kb_arena_strndup(cr->arena, value, strlen(value)));
        line->config_source = (int8_t)source;
    }
}

/* ---- the request --------------------------------------------------------------------------------
 */

/* Never issued before (R18): drawn at random and not in use. */
static struct kb_uuid new_topic_id(struct meta_controller *c)
{
    struct kb_uuid id;
    do {
        uint64_t words[2] = {kb_prng_next(&c->prng), kb_prng_next(&c->prng)};
        uint8_t random[16];
        memcpy(random, words, sizeof(random));
        kb_uuid_from_random(&id, random);
    } while (meta_image_topic_by_id(c->image, &id) != NULL);
    return id;
}

static void emit_topic(struct creation *cr, struct meta_result *result, const struct kb_uuid *id)
{
    Kc__TopicRecord topic = KC__TOPIC_RECORD__INIT;
    topic.has_topic_id = 1;
    topic.topic_id = kc_uuid_field(id);
    topic.name = kc_str(cr->name);
    Kc__Record record = KC__RECORD__INIT;
    record.kind_case = KC__RECORD__KIND_TOPIC;
    record.topic = &topic;
    meta_records_add(&result->records, &record);
    for (size_t i = 0; i < cr->configs.count; i++)
        meta_emit_config(result, META_RESOURCE_TOPIC, cr->name, cr->configs.entries[i].name,
                         cr->configs.entries[i].value);
    for (size_t i = 0; i < cr->partitions; i++)
        meta_emit_new_partition(cr->c, result, id, (int32_t)i, &cr->replicas[i * META_REPLICAS_MAX],
                                cr->counts[i]);
}

static struct meta_verdict prepare(struct creation *cr, size_t partitions_before)
{
    struct meta_verdict v = check_name(cr);
    if (v.error == KW_NONE)
        v = take_configs(cr);
    if (v.error == KW_NONE)
        v = cr->req->assignments_count > 0 ? place_given(cr) : place_chosen(cr);
    if (v.error == KW_NONE && partitions_before + cr->partitions > META_REQUEST_PARTITIONS_MAX)
        v = meta_refuse(cr->arena, KW_POLICY_VIOLATION,
                        "one request can create %d partitions; send several",
                        META_REQUEST_PARTITIONS_MAX);
    return v;
}

static size_t create_one(struct creation *cr, size_t partitions_before, bool validate_only,
                         struct meta_result *result, struct kw_create_topics_response_topic *ret)
{
    struct meta_verdict v = prepare(cr, partitions_before);
    if (v.error == KW_NONE && !validate_only) {
        struct kb_uuid id = new_topic_id(cr->c);
        size_t before = result->records.count;
        emit_topic(cr, result, &id);
        if (meta_records_bytes(&result->records) > META_PLAN_BYTES_MAX) {
            meta_records_truncate(&result->records, before);
            v = meta_refuse(cr->arena, KW_POLICY_VIOLATION,
                            "the request is too large; send several");
        } else {
            ret->topic_id = id;
        }
    }
    ret->error_code = v.error;
    ret->error_message = v.message;
    if (v.error != KW_NONE)
        return 0;
    ret->num_partitions = (int32_t)cr->partitions;
    ret->replication_factor = (int16_t)cr->rf;
    answer_configs(cr, ret);
    return cr->partitions;
}

static struct meta_verdict check_request(struct creation *cr, enum meta_mention mention, size_t at)
{
    if (at >= META_REQUEST_PARTITIONS_MAX)
        return meta_refuse(cr->arena, KW_POLICY_VIOLATION,
                           "one request can create %d topics; send several",
                           META_REQUEST_PARTITIONS_MAX);
    if (mention != META_MENTION_ONCE)
        return meta_refuse(cr->arena, KW_INVALID_REQUEST, "the request names this topic twice");
    return meta_fine();
}

static enum meta_mention *mentions_of(const struct kw_create_topics_request *req, size_t count,
                                      struct kb_arena *arena)
{
    struct kw_str *names = kb_arena_new_array(arena, struct kw_str, count);
    for (size_t i = 0; names != NULL && i < count; i++)
        names[i] = req->topics[i].name;
    return names != NULL ? meta_mentions(arena, names, count) : NULL;
}

int meta_controller_create_topics(struct meta_controller *c,
                                  const struct kw_create_topics_request *req,
                                  struct kb_arena *arena, struct meta_result *result,
                                  struct kw_create_topics_response *ret)
{
    size_t count = req->topics_count > 0 ? (size_t)req->topics_count : 0;
    size_t partitions = 0;
    struct alike alike = {.arena = arena};
    const enum meta_mention *mentions = mentions_of(req, count, arena);
    kw_create_topics_response_init(ret);
    ret->topics = kb_arena_new_array(arena, struct kw_create_topics_response_topic, count);
    if (ret->topics == NULL || mentions == NULL)
        return -KB_ENOMEM;
    struct meta_placer *placer = meta_placer_new(c);
    for (size_t i = 0; i < count && !arena->failed; i++) {
        struct kw_create_topics_response_topic *t = &ret->topics[ret->topics_count];
        struct creation cr = {
            .c = c, .alike = &alike, .arena = arena, .placer = placer, .req = &req->topics[i]};
        if (mentions[i] == META_MENTION_AGAIN)
            continue; /* answered once */
        ret->topics_count++;
        kw_create_topics_response_topic_init(t);
        t->name = cr.req->name;
        cr.name = kb_arena_strndup(arena, cr.req->name.data, (size_t)cr.req->name.size);
        struct meta_verdict v = check_request(&cr, mentions[i], i);
        t->error_code = v.error;
        t->error_message = v.message;
        if (v.error == KW_NONE && cr.name != NULL)
            partitions += create_one(&cr, partitions, req->validate_only, result, t);
        meta_configs_release(&cr.configs);
    }
    (void)meta_placer_free(placer);
    meta_names_release(&alike.names);
    return arena->failed ? -KB_ENOMEM : 0;
}
