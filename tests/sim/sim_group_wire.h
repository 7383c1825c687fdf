#ifndef SIM_GROUP_WIRE_H
#define SIM_GROUP_WIRE_H

#include "proto/base/bytes.h"
#include "proto/kafka/messages.h"
#include "tests/sim/sim_client.h"

/* What members of groups put into requests, in the words of each version. Partitions are numbered
 * over all topics of the run. */

/* Append a consumer's subscription to all topics. */
void sim_group_write_subscription(const struct sim_topics *topics, int16_t version,
                                  struct kb_buf *to);
/* Append an assignment of these partitions. */
void sim_group_write_assignment(const struct sim_topics *topics, uint64_t partitions,
                                struct kb_buf *to);
/* The partitions of an assignment; empty bytes are none. False: malformed. */
bool sim_group_read_assignment(const struct sim_topics *topics, struct kw_bytes bytes,
                               uint64_t *ret_partitions);

/* An OffsetCommit of these partitions, all arrays included. */
struct sim_group_commit_request {
    struct kw_offset_commit_request rq;
    struct kw_offset_commit_request_topic topics[8];
    struct kw_offset_commit_request_partition partitions[64];
    char metadata[64][24];
};
struct sim_group_commit {
    uint32_t partition;
    int64_t offset;
    uint64_t id; /* of sim_group_offsets */
};
void sim_group_fill_commit(const struct sim_client *c, const struct sim_topics *topics,
                           const struct sim_group_commit *commits, size_t count,
                           struct sim_group_commit_request *ret);
/* The error of a partition in an answer; KW_UNKNOWN_SERVER_ERROR when it is not in it. */
int16_t sim_group_commit_error(const struct sim_client *c, const struct sim_topics *topics,
                               uint32_t partition, const struct kw_offset_commit_response *rs);

/* An OffsetFetch of these partitions of one group, all arrays included. */
struct sim_group_fetch_request {
    struct kw_offset_fetch_request rq;
    struct kw_offset_fetch_request_topic old_topics[8];
    struct kw_offset_fetch_request_group group;
    struct kw_offset_fetch_request_group_topic topics[8];
    int32_t indexes[64];
};
void sim_group_fill_fetch(const struct sim_client *c, const struct sim_topics *topics,
                          const char *group_id, uint64_t partitions,
                          struct sim_group_fetch_request *ret);
/* Error, offset and metadata of a partition in an answer. */
int16_t sim_group_fetched(const struct sim_client *c, const struct sim_topics *topics,
                          uint32_t partition, const struct kw_offset_fetch_response *rs,
                          int64_t *ret_offset, struct kw_str *ret_metadata);

#endif
