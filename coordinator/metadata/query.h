#ifndef META_QUERY_H
#define META_QUERY_H

#include "coordinator/metadata/image.h"
#include "coordinator/metadata/topic_config.h"
#include "proto/base/arena.h"
#include "proto/kafka/messages.h"

/* Read-only answers from an image (the committed one). Parts of Kafka responses are filled in an
 * arena; strings borrow from the image, so encode before the next apply. 0 or -KB_ENOMEM.
 *
 * Left to the caller: which topics are asked for and allowed, auto-creation, waiting for a leader
 * whose link closed (rule 10.5), throttling, authorized operations but for those of
 * DescribeTopicPartitions, which are always given. */

struct meta_query {
    const struct meta_image *image;
    struct kb_arena *arena;
    const char *listener; /* the asking client's; brokers without it are left out */
    /* Rule 10.5: a leader that is not named, -1 = none: its partitions get
     * LEADER_NOT_AVAILABLE. */
    int32_t dead_leader;
};

/* What everybody may do with a topic, as bits of Kafka's AclOperation: Read Write Create Delete
 * Alter Describe DescribeConfigs AlterConfigs. */
enum { META_TOPIC_OPERATIONS = 3576 };

/* Live brokers with the listener, in order of id; all registered ones when fenced ones count too.
 */
int meta_query_metadata_brokers(const struct meta_query *q, struct kw_metadata_response *ret);
/* One topic, partitions included, error NONE. version decides LISTENER_NOT_FOUND and offline ones.
 */
int meta_query_metadata_topic(const struct meta_query *q, const struct meta_topic *topic,
                              int16_t version, struct kw_metadata_response_topic *ret);
int meta_query_describe_cluster(const struct meta_query *q, bool include_fenced,
                                struct kw_describe_cluster_response *ret);
/* Topics from req's names (NULL/empty = all) at the cursor, partitions up to the limit, next cursor
 * when there is more. Unknown names get UNKNOWN_TOPIC_OR_PARTITION. */
int meta_query_describe_topic_partitions(const struct meta_query *q,
                                         const struct kw_describe_topic_partitions_request *req,
                                         struct kw_describe_topic_partitions_response *ret);
/* One topic resource of DescribeConfigs. */
int meta_query_describe_topic_configs(const struct meta_query *q,
                                      const struct meta_static_configs *statics,
                                      const struct kw_describe_configs_request_resource *resource,
                                      bool synonyms, bool documentation,
                                      struct kw_describe_configs_response_result *ret);

#endif
