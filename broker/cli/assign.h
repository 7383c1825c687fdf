#ifndef CLI_ASSIGN_H
#define CLI_ASSIGN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Which member of a group reads which partitions: Kafka's range and roundrobin. */

struct cli_assign_topic {
    const char *name;
    int32_t partitions; /* 0 = unknown: nobody gets any */
};
struct cli_assign_member {
    const char *id;
    const bool *wants; /* per topic */
};
/* owners[t][p] = index of the member, -1 = nobody. members are in order of their ids, topics in
 * order of their names. */
void cli_assign_range(const struct cli_assign_topic *topics, size_t topics_count,
                      const struct cli_assign_member *members, size_t members_count,
                      int32_t *const *owners);
void cli_assign_round_robin(const struct cli_assign_topic *topics, size_t topics_count,
                            const struct cli_assign_member *members, size_t members_count,
                            int32_t *const *owners);

#endif
