#ifndef CLI_GROUP_H
#define CLI_GROUP_H

#include "broker/cli/client.h"

/* What the group commands share. Everything lives in the arena of the command. */

struct cli_group_row {
    struct kw_str topic;
    int32_t partition;
    int64_t committed; /* -1: nothing */
    int64_t log_start; /* -1: not known */
    int64_t log_end;   /* -1: not known */
    struct kw_str metadata;
    const struct kw_describe_groups_response_member *member; /* to whom it is assigned; or NULL */
};
struct cli_group {
    const char *name;
    int32_t coordinator;
    const struct kw_describe_groups_response_group *about; /* NULL: there is no such group */
    struct cli_group_row *rows;                            /* by topic and partition */
    size_t count;
    size_t capacity;
};

/* Ask the coordinator for state, members and committed offsets. CLI_OK, or the exit code, told on
 * stderr; a group that does not exist is CLI_OK. */
int cli_group_load(struct cli_client *c, struct kb_arena *arena, const char *name,
                   struct cli_group *ret);
/* Free the array of rows. */
void cli_group_release(struct cli_group *g);
/* The row of a partition, made if there is none. */
struct cli_group_row *cli_group_row(struct cli_group *g, struct kw_str topic, int32_t partition);
void cli_group_sort(struct cli_group *g);
/* Fill log_start and log_end of all rows, as far as leaders answer. patient: wait for them. */
void cli_group_ends(struct cli_client *c, struct kb_arena *arena, struct cli_group *g,
                    bool patient);
/* "group does not exist", with the nearest name. CLI_NOT_FOUND. */
int cli_group_missing(struct cli_client *c, struct kb_arena *arena, const char *name);
/* The groups of all brokers by name, in the arena. CLI_OK; or the exit code, told on stderr, and
 * those of the brokers that answered. */
struct cli_listed_group {
    const struct kw_list_groups_response_group *group;
    int32_t node_id;
};
int cli_groups_list(struct cli_client *c, struct kb_arena *arena, struct cli_listed_group **ret,
                    size_t *ret_count);

/* What a reset does to one partition. */
enum cli_reset_kind {
    CLI_RESET_EARLIEST,
    CLI_RESET_LATEST,
    CLI_RESET_OFFSET,
    CLI_RESET_DATETIME,
    CLI_RESET_SHIFT,
};
/* The offset to commit, within start and end. argument: the offset, or how far to shift; found: the
 * first offset of the time, -1 = none is that young. -1: cannot be told (nothing to shift from, or
 * bounds unknown). */
int64_t cli_reset_target(enum cli_reset_kind kind, int64_t argument, int64_t found,
                         const struct cli_group_row *row);
/* "2026-01-31T12:00:00", with ".123", and "Z", "+01:00" or nothing (UTC) behind it. A date alone is
 * its midnight. */
bool cli_parse_datetime(const char *text, int64_t *ret_ms);
/* "T" or "T:0,2,5-7": each partition number is given to fn; -1 = all of T. False: malformed. */
typedef void cli_partition_fn(void *arg, struct kw_str topic, int32_t partition);
bool cli_parse_topic(const char *text, cli_partition_fn *fn, void *arg);

#endif
