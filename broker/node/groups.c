/* Consumer group shards of the __consumer_offsets partitions led here. */
#include "broker/node/node_internal.h"

void node_groups_leader(struct node_partition *p, bool leading)
{
    (void)p;
    (void)leading;
}

void node_groups_committed(struct node_partition *p)
{
    (void)p;
}

void node_groups_tick(struct node *n, uint64_t now_ms)
{
    (void)n;
    (void)now_ms;
}

void node_groups_free(struct node *n)
{
    (void)n;
}

void node_groups_topic_deleted(struct node *n, const char *topic, const struct kb_uuid *topic_id)
{
    (void)n;
    (void)topic;
    (void)topic_id;
}
