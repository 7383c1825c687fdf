#ifndef CLI_CONSUME_GROUP_H
#define CLI_CONSUME_GROUP_H

#include "broker/cli/consumer.h"

/* A member of a consumer group on a loop, by the classic protocol: finds the coordinator, joins,
 * assigns when it leads, reads where the group left off, beats, commits, leaves. */

struct cli_membership;
struct cli_membership_options {
    struct cli_loop *loop;
    struct cli_wire *wire;         /* the owner calls cli_membership_pump when it changed */
    struct cli_consumer *consumer; /* gets the partitions that are assigned */
    const char *name;
    const size_t *topics; /* of the wire; borrowed */
    size_t topics_count;
    struct cli_start start; /* where the group has no offset yet */
    /* Something that cannot go on, in a sentence. */
    void (*on_error)(void *arg, int16_t error, const char *text);
    /* The partitions are others now; told after they were handed to the consumer. */
    void (*on_assigned)(void *arg, size_t count, int32_t generation);
    /* What was read so far has to be on its way before it is committed. May be NULL. */
    void (*before_commit)(void *arg);
    void *arg;
};
struct cli_membership *cli_membership_new(const struct cli_membership_options *options);
struct cli_membership *cli_membership_free(struct cli_membership *g);
void cli_membership_pump(struct cli_membership *g);
/* Commit and leave; the owner pumps until cli_membership_is_closed. */
void cli_membership_close(struct cli_membership *g);
bool cli_membership_is_closed(const struct cli_membership *g);
bool cli_membership_is_stable(const struct cli_membership *g);

#endif
