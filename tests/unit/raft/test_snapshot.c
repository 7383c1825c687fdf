/* Snapshots of one core, stepped by hand: chunks in order, what an install does to the log, what a
 * leader sends and whom it believes (R10, rule 6.6's transport). */
#include "tests/unit/raft/solo.h"

static const struct raft_position at_20 = {20, 1};

static struct raft_message chunk(uint64_t position, bool done)
{
    return (struct raft_message){.kind = RAFT_MSG_SNAPSHOT,
                                 .term = 2,
                                 .round = 1,
                                 .snapshot = at_20,
                                 .position = position,
                                 .done = done};
}

static void stored(struct solo *s, uint64_t offset)
{
    (void)solo_step(s, (struct raft_input){
                           .kind = RAFT_IN_SNAPSHOT_STORED, .position = at_20, .offset = offset});
}

/* All but the last chunk of 20 at 100 bytes each, then the last. */
static void receive_all(struct solo *s)
{
    (void)solo_hear(s, 2, chunk(0, false));
    solo_persist(s);
    stored(s, 100);
    (void)solo_hear(s, 2, chunk(100, true));
    ck_assert(s->fx.take_chunk);
}

START_TEST(chunk__is_taken_in_order_and_once)
{
    struct solo s;
    solo_start_plain(&s);
    (void)solo_hear(&s, 2, chunk(100, false)); /* the first one is missing */
    ck_assert(!s.fx.take_chunk);
    solo_persist(&s);
    ck_assert_uint_eq(solo_sent(&s, RAFT_MSG_SNAPSHOT_REPLY)->position, 0);
    (void)solo_hear(&s, 2, chunk(0, false));
    ck_assert(s.fx.take_chunk);
    (void)solo_hear(&s, 2, chunk(0, false)); /* again, while the driver has it in hand */
    ck_assert(!s.fx.take_chunk);
    stored(&s, 100);
    ck_assert_uint_eq(solo_sent(&s, RAFT_MSG_SNAPSHOT_REPLY)->position, 100);
    (void)solo_hear(&s, 2, chunk(50, false));
    ck_assert(!s.fx.take_chunk);
    ck_assert_uint_eq(solo_sent(&s, RAFT_MSG_SNAPSHOT_REPLY)->position, 100);
    (void)solo_hear(&s, 2, chunk(0, false)); /* the leader begins anew */
    ck_assert(s.fx.take_chunk);
    solo_free(&s);
}
END_TEST

START_TEST(install__resets_another_log_and_counts_as_durable)
{
    struct solo s;
    struct raft_voters five = solo_voters(5);
    struct raft_entry entry = {1, 3, 1};
    five.index = 7;
    solo_start_plain(&s);
    (void)solo_follow(&s, 1, (struct raft_position){0, 0}, &entry, 1, 0);
    receive_all(&s);
    (void)solo_step(&s, (struct raft_input){.kind = RAFT_IN_SNAPSHOT_INSTALLED,
                                            .position = at_20,
                                            .voters = &five});
    ck_assert(s.fx.log_reset);
    ck_assert_uint_eq(s.fx.log_reset_base.index, 20);
    ck_assert_uint_eq(s.fx.commit_index, 20);
    ck_assert(solo_sent(&s, RAFT_MSG_SNAPSHOT_REPLY)->done);
    struct raft_status status;
    raft_core_status(s.core, &status);
    ck_assert_uint_eq(status.voters.count, 5);
    ck_assert_uint_eq(status.last_index, 20);
    (void)solo_follow(&s, 2, (struct raft_position){0, 0}, NULL, 0, 20);
    ck_assert_uint_eq(solo_sent(&s, RAFT_MSG_APPEND_REPLY)->match_index, 20);
    solo_free(&s);
}
END_TEST

START_TEST(install__keeps_a_log_that_goes_on_from_it)
{
    struct solo s;
    struct raft_entry entries[] = {{1, 20, 1}, {21, 25, 1}};
    solo_start_plain(&s);
    (void)solo_follow(&s, 1, (struct raft_position){0, 0}, entries, 2, 0);
    solo_persist(&s);
    solo_durable(&s, 25, 1);
    receive_all(&s);
    (void)solo_step(&s, (struct raft_input){.kind = RAFT_IN_SNAPSHOT_INSTALLED, .position = at_20});
    ck_assert(!s.fx.log_reset);
    struct raft_status status;
    raft_core_status(s.core, &status);
    ck_assert_uint_eq(status.last_index, 25);
    ck_assert_uint_eq(status.snapshot.index, 20);
    solo_free(&s);
}
END_TEST

START_TEST(install__under_way_takes_no_entries_and_gives_no_vote)
{
    struct solo s;
    struct raft_entry entry = {1, 3, 1};
    struct raft_message vote = {.kind = RAFT_MSG_VOTE, .term = 3, .last = {90, 2}};
    solo_start_plain(&s);
    receive_all(&s);
    (void)solo_follow(&s, 2, (struct raft_position){0, 0}, &entry, 1, 0);
    ck_assert_uint_eq(s.fx.append_count, 0);
    ck_assert_ptr_nonnull(solo_sent(&s, RAFT_MSG_APPEND_REPLY)); /* a sign of life */
    solo_link(&s, 2, RAFT_LINK_DEAD);
    (void)solo_hear(&s, 3, vote);
    ck_assert(!solo_sent(&s, RAFT_MSG_VOTE_REPLY)->granted);
    (void)solo_step(&s, (struct raft_input){.kind = RAFT_IN_SNAPSHOT_FAILED, .position = at_20});
    (void)solo_hear(&s, 3, vote);
    solo_persist(&s);
    ck_assert(solo_sent(&s, RAFT_MSG_VOTE_REPLY)->granted);
    solo_free(&s);
}
END_TEST

START_TEST(install__of_what_is_applied_already_is_answered_at_once)
{
    struct solo s;
    struct raft_entry entry = {1, 25, 1};
    solo_start_plain(&s);
    (void)solo_follow(&s, 2, (struct raft_position){0, 0}, &entry, 1, 25);
    solo_persist(&s);
    solo_durable(&s, 25, 1);
    (void)solo_hear(&s, 2, chunk(0, false));
    ck_assert(!s.fx.take_chunk);
    ck_assert(solo_sent(&s, RAFT_MSG_SNAPSHOT_REPLY)->done);
    solo_free(&s);
}
END_TEST

/* A leader whose log starts behind 20, and node 2 that has nothing. */
static void lead_behind_20(struct solo *s)
{
    struct raft_voters voters = solo_voters(3);
    struct raft_entry entry = {21, 22, 1};
    struct raft_core_config config = solo_config(&voters);
    config.hard.term = 1;
    config.snapshot = at_20;
    config.entries = &entry;
    config.n_entries = 1;
    solo_start(s, &config);
    solo_lead(s);
    (void)solo_hear(s, 2,
                    (struct raft_message){
                        .kind = RAFT_MSG_APPEND_REPLY, .term = 2, .round = 1, .rejected = true});
}

static struct raft_message about(uint64_t index, uint64_t position)
{
    return (struct raft_message){.kind = RAFT_MSG_SNAPSHOT_REPLY,
                                 .term = 2,
                                 .round = 1,
                                 .snapshot = {index, 1},
                                 .position = position};
}

START_TEST(leader__sends_its_snapshot_where_the_log_does_not_reach)
{
    struct solo s;
    lead_behind_20(&s);
    ck_assert_uint_eq(s.fx.n_snapshot_sends, 1);
    ck_assert_uint_eq(s.fx.snapshot_sends[0].header.snapshot.index, 20);
    ck_assert_uint_eq(s.fx.snapshot_sends[0].header.position, 0);
    (void)solo_step(&s, (struct raft_input){.kind = RAFT_IN_SNAPSHOT_SENT,
                                            .send_id = s.fx.snapshot_sends[0].send_id});
    ck_assert_uint_eq(s.fx.n_snapshot_sends, 0); /* one chunk on the way */
    (void)solo_hear(&s, 2, about(20, 100));
    ck_assert_uint_eq(s.fx.snapshot_sends[0].header.position, 100);
    (void)solo_step(&s, (struct raft_input){.kind = RAFT_IN_SNAPSHOT_SENT,
                                            .send_id = s.fx.snapshot_sends[0].send_id});
    struct raft_message done = about(20, 0);
    done.done = true;
    (void)solo_hear(&s, 2, done);
    ck_assert_uint_eq(s.fx.n_sends, 1);
    ck_assert_uint_eq(s.fx.sends[0].from_index, 21);
    solo_free(&s);
}
END_TEST

START_TEST(leader__begins_anew_when_told_of_another_snapshot)
{
    struct solo s;
    lead_behind_20(&s);
    (void)solo_step(&s, (struct raft_input){.kind = RAFT_IN_SNAPSHOT_SENT,
                                            .send_id = s.fx.snapshot_sends[0].send_id});
    (void)solo_hear(&s, 2, about(17, 300)); /* a former leader's */
    ck_assert_uint_eq(s.fx.n_snapshot_sends, 1);
    ck_assert_uint_eq(s.fx.snapshot_sends[0].header.snapshot.index, 20);
    ck_assert_uint_eq(s.fx.snapshot_sends[0].header.position, 0);
    solo_free(&s);
}
END_TEST

START_TEST(leader__sends_a_lost_chunk_again)
{
    struct solo s;
    lead_behind_20(&s);
    (void)solo_step(&s, (struct raft_input){.kind = RAFT_IN_SNAPSHOT_SENT,
                                            .send_id = s.fx.snapshot_sends[0].send_id});
    size_t again = 0;
    for (int i = 0; i < 20; i++) {
        solo_tick(&s, 150);
        again += s.fx.n_snapshot_sends;
        (void)solo_hear(
            &s, 3, (struct raft_message){.kind = RAFT_MSG_APPEND_REPLY, .term = 2, .round = 1});
    }
    ck_assert_uint_eq(again, 1);
    solo_free(&s);
}
END_TEST

UNIT_MAIN("raft_snapshot", chunk__is_taken_in_order_and_once,
          install__resets_another_log_and_counts_as_durable,
          install__keeps_a_log_that_goes_on_from_it,
          install__under_way_takes_no_entries_and_gives_no_vote,
          install__of_what_is_applied_already_is_answered_at_once,
          leader__sends_its_snapshot_where_the_log_does_not_reach,
          leader__begins_anew_when_told_of_another_snapshot, leader__sends_a_lost_chunk_again)
