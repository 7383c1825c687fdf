/* Kafka's assignors for the classic protocol, as its Java client computes them. */
#include "broker/cli/assign.h"

static size_t count_wanting(const struct cli_assign_member *members, size_t count, size_t topic)
{
    size_t n = 0;
    for (size_t i = 0; i < count; i++)
        n += members[i].wants[topic];
    return n;
}

/* Topic by topic: each member gets a run of partitions, the first ones one more. */
void cli_assign_range(const struct cli_assign_topic *topics, size_t topics_count,
                      const struct cli_assign_member *members, size_t members_count,
                      int32_t *const *owners)
{
    for (size_t t = 0; t < topics_count; t++) {
        int32_t wanting = (int32_t)count_wanting(members, members_count, t);
        int32_t p = 0;
        int32_t rank = 0;
        for (size_t m = 0; m < members_count && wanting > 0; m++) {
            if (!members[m].wants[t])
                continue;
            int32_t share = topics[t].partitions / wanting +
                            (rank++ < topics[t].partitions % wanting);
            for (; share > 0; share--)
                owners[t][p++] = (int32_t)m;
        }
        for (; p < topics[t].partitions; p++)
            owners[t][p] = -1;
    }
}

/* All partitions of all topics in turn to the members in turn. */
void cli_assign_round_robin(const struct cli_assign_topic *topics, size_t topics_count,
                            const struct cli_assign_member *members, size_t members_count,
                            int32_t *const *owners)
{
    size_t next = 0;
    for (size_t t = 0; t < topics_count; t++) {
        bool any = count_wanting(members, members_count, t) > 0;
        for (int32_t p = 0; p < topics[t].partitions; p++) {
            owners[t][p] = -1;
            if (!any)
                continue;
            while (!members[next].wants[t])
                next = (next + 1) % members_count;
            owners[t][p] = (int32_t)next;
            next = (next + 1) % members_count;
        }
    }
}
