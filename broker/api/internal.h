#ifndef API_INTERNAL_H
#define API_INTERNAL_H

/* What the files of this room share. */

#include "broker/node/node_internal.h"

/* Handlers, one per API. Each owns the request until it answers, rejects or ends it. */
void api_api_versions(struct node_request *rq);
void api_metadata(struct node_request *rq);
void api_produce(struct node_request *rq);
void api_fetch(struct node_request *rq);
void api_list_offsets(struct node_request *rq);
void api_offset_for_leader_epoch(struct node_request *rq);
void api_init_producer_id(struct node_request *rq);
void api_delete_records(struct node_request *rq);
void api_create_topics(struct node_request *rq);
void api_delete_topics(struct node_request *rq);
void api_create_partitions(struct node_request *rq);
void api_alter_configs(struct node_request *rq);
void api_incremental_alter_configs(struct node_request *rq);
void api_elect_leaders(struct node_request *rq);
void api_describe_configs(struct node_request *rq);
void api_describe_cluster(struct node_request *rq);
void api_describe_quorum(struct node_request *rq);
void api_describe_topic_partitions(struct node_request *rq);
void api_find_coordinator(struct node_request *rq);
void api_join_group(struct node_request *rq);
void api_sync_group(struct node_request *rq);
void api_heartbeat(struct node_request *rq);
void api_leave_group(struct node_request *rq);
void api_offset_commit(struct node_request *rq);
void api_offset_fetch(struct node_request *rq);
void api_offset_delete(struct node_request *rq);
void api_describe_groups(struct node_request *rq);
void api_list_groups(struct node_request *rq);
void api_delete_groups(struct node_request *rq);
void api_status(struct node_request *rq);

/* Without access control everybody may do everything: bit n is Kafka's AclOperation n. Topics:
 * META_TOPIC_OPERATIONS. */
enum {
    API_CLUSTER_OPERATIONS =
        8096,                    /* Create Alter Describe ClusterAction *Configs IdempotentWrite */
    API_GROUP_OPERATIONS = 3400, /* Read Delete Describe DescribeConfigs AlterConfigs */
};

/* Answers an admin command that found no controller in time. */
void api_admin_fail(struct node_request *rq, int error, const char *text);

/* Decode the body into *message with READ, or reject the request and return from the caller. */
#define API_DECODE(rq, READ, message)                                                              \
    do {                                                                                           \
        struct kw_reader rd_;                                                                      \
        kw_reader_init(&rd_, (rq)->body.data, (rq)->body.size);                                    \
        int r_ = READ(&rd_, (rq)->header.api_version, &(rq)->arena, (message));                    \
        if (r_ == 0)                                                                               \
            r_ = kw_reader_finish(&rd_);                                                           \
        if (r_ < 0) {                                                                              \
            node_request_reject((rq), "malformed body");                                           \
            return;                                                                                \
        }                                                                                          \
    } while (0)

/* A writer of type node_body_write_fn for a response struct. */
#define API_WRITER(name, WRITE, type)                                                              \
    static void name(struct kw_writer *w, int16_t version, const void *body)                       \
    {                                                                                              \
        WRITE(w, version, (const struct type *)body);                                              \
    }

/* A topic of the committed image by name or (when name is null) by id; NULL = unknown. */
const struct meta_topic *api_topic(struct node_request *rq, struct kw_str name,
                                   const struct kb_uuid *id);
/* NUL-terminated copy in the request's arena; NULL when the arena refuses. */
char *api_text(struct node_request *rq, struct kw_str s);
struct kw_str api_str(const char *s); /* borrows; "" for NULL */

/* The client endpoint of a broker on the request's listener; NULL when it has none or is unknown.
 */
const struct meta_endpoint *api_broker_endpoint(struct node_request *rq, int32_t broker_id);

/* An answer that may have to wait for the image: until says for how long at the latest (a monotonic
 * ms, looked at again whenever the image moves; 0 = no longer), answer sends it and ends the
 * request. First member of an API's continuation, in the request's arena; a closing connection
 * drops it. */
struct api_wait {
    struct node_hold hold;
    struct node_request *rq;
    uint64_t (*until)(struct api_wait *w);
    void (*answer)(struct api_wait *w);
};
void api_wait_start(struct api_wait *w, struct node_request *rq,
                    uint64_t (*until)(struct api_wait *), void (*answer)(struct api_wait *));

/* When a question came, for answers that name leaders (rule 10.5). */
struct api_question {
    struct node *node;
    uint64_t started_ms;
    uint64_t proof_since;
};
void api_question_init(struct api_question *q, struct node *n);
/* Until when this leader must not be named yet: its link closed and nothing is decided, or nothing
 * was heard of it since the question came (50 ms at most). 0 = name it. */
uint64_t api_leader_until(const struct api_question *q, int32_t leader);
/* Until when to wait for a topic that is being made on demand; asks for it. 0 = wait no longer. */
uint64_t api_creation_until(const struct api_question *q, const char *topic);

/* Ask the active controller to create a topic with the cluster's defaults (or the internal ones).
 * At most one request per name is under way; nothing is reported: the image will show the topic. */
void api_auto_create(struct node *n, const char *topic);

/* The group's shard is being loaded here: run the request again when it is, for a second at most,
 * instead of sending the client away (which asks again seconds later). group_id points into the
 * frame. false: answer the error. */
bool api_group_wait(struct node_request *rq, struct kw_str group_id, enum kw_error error);

/* An answer whose parts come from several group shards. One part after the other: part i is filled
 * in from its shard, then everything that shard had replayed must be committed (6.3) - with prove
 * set, in a batch that shows it still led afterwards (6.10) - before the next one. All pointers
 * into the request's arena. */
struct api_settle {
    int32_t count;
    bool prove;
    /* Fill part i of body. *ret: the shard to wait for; NULL: nothing was read. -KB_ENOMEM. */
    int (*part)(struct node_request *rq, const struct api_settle *s, int32_t i,
                struct node_group **ret);
    const void *request;
    void *body;
    node_body_write_fn *write;
    node_group_fail_fn *fail;
    int32_t next_;
};
void api_settle(struct node_request *rq, const struct api_settle *what);

/* Elements of a response array in the request's arena; rejects nothing: NULL on refusal. */
#define api_new_array(rq, type, count) kb_arena_new_array(&(rq)->arena, type, (size_t)(count))

#endif
