#ifndef CLI_CONSUME_PRIVATE_H
#define CLI_CONSUME_PRIVATE_H

#include "broker/cli/consume_group.h"

/* What consume_group.c (the course of things), consume_join.c (membership) and consume_offsets.c
 * share. */

enum {
    GROUP_SESSION_MS = 10000,
    GROUP_REBALANCE_MS = 30000,
    GROUP_BEAT_MS = 1000,
    GROUP_COMMIT_MS = 1000,
    GROUP_RETRY_MS = 50,
    GROUP_ANSWER_MS = 5000,
};

enum membership_state {
    GROUP_FINDING,   /* who is the coordinator? */
    GROUP_JOINING,   /* not a member of the generation at hand */
    GROUP_ASSIGNING, /* leads, and needs to know the topics of all members */
    GROUP_SYNCING,
    GROUP_FETCHING, /* where did the group leave off? */
    GROUP_STABLE,
    GROUP_LEAVING, /* commits, then says so */
    GROUP_CLOSED,
};

struct membership_member {
    char *id;
    size_t *topics; /* of the wire */
    size_t topics_count;
};

struct membership_part {
    size_t topic;
    int32_t index;
    int64_t committed; /* -1 = nothing */
};

struct cli_membership {
    struct cli_membership_options options;
    enum membership_state state;
    int32_t coordinator; /* a peer of the wire; -1 = unknown */
    char *member_id;     /* "" before the coordinator gave one */
    int32_t generation;
    char *protocol;
    bool calling; /* one request at a time, but for heartbeats and commits */
    bool beating;
    bool committing;
    bool rejoin; /* as soon as what was read is committed */
    bool leave_sent;
    uint64_t retry_at_ms;
    uint64_t beat_at_ms;
    uint64_t commit_at_ms;
    uint64_t close_by_ms;
    struct membership_member *members; /* when it leads: in order of their ids */
    size_t members_count;
    struct membership_part *parts; /* assigned */
    size_t parts_count;
    size_t parts_capacity;
};

/* The coordinator can be asked now. */
bool membership_ready(struct cli_membership *g);
/* What an answer's error means for the membership: true when it was one (and was dealt with). */
bool membership_take_error(struct cli_membership *g, int result, int16_t error);
void membership_retry(struct cli_membership *g, enum membership_state state);
void membership_set_state(struct cli_membership *g, enum membership_state state);
void membership_release_members(struct cli_membership *g);

void membership_join(struct cli_membership *g);
void membership_assign(struct cli_membership *g); /* when it leads and knows the topics */

void membership_fetch_offsets(struct cli_membership *g);
/* True when everything that was read is committed, or cannot be. */
bool membership_commit(struct cli_membership *g);

#endif
