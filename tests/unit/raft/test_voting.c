/* Votes of one core, stepped by hand: what must be durable before what leaves, whose votes count,
 * who may stand (rules 5.1, 5.3, 5.5, 7.3, R1, R2, R11, R15). */
#include "proto/base/err.h"
#include "proto/base/log.h"
#include "tests/unit/raft/solo.h"

static const struct raft_message pre_vote = {.kind = RAFT_MSG_PRE_VOTE, .term = 1};
static const struct raft_message vote = {.kind = RAFT_MSG_VOTE, .term = 1};

START_TEST(vote_reply__waits_for_the_vote_to_be_durable)
{
    struct solo s;
    solo_start_plain(&s);
    solo_tick(&s, 250);
    (void)solo_hear(&s, 2, vote);
    ck_assert_ptr_nonnull(s.fx.hard);
    ck_assert_uint_eq(s.fx.hard->term, 1);
    ck_assert_int_eq(s.fx.hard->vote.id, 2);
    ck_assert_ptr_null(solo_sent(&s, RAFT_MSG_VOTE_REPLY));
    solo_persist(&s);
    ck_assert(solo_sent(&s, RAFT_MSG_VOTE_REPLY)->granted);
    solo_free(&s);
}
END_TEST

START_TEST(vote__is_given_once_per_term)
{
    struct solo s;
    solo_start_plain(&s);
    solo_tick(&s, 250);
    (void)solo_hear(&s, 2, vote);
    solo_persist(&s);
    (void)solo_hear(&s, 3, vote);
    ck_assert(!solo_sent(&s, RAFT_MSG_VOTE_REPLY)->granted);
    (void)solo_hear(&s, 2, vote); /* asked again: the same answer */
    ck_assert(solo_sent(&s, RAFT_MSG_VOTE_REPLY)->granted);
    ck_assert_ptr_null(s.fx.hard);
    solo_free(&s);
}
END_TEST

START_TEST(vote__is_remembered_over_a_restart)
{
    struct solo s;
    struct raft_voters voters = solo_voters(3);
    struct raft_core_config config = solo_config(&voters);
    config.hard = (struct raft_hard_state){.term = 1, .vote = solo_node(3)};
    solo_start(&s, &config);
    solo_tick(&s, 250);
    (void)solo_hear(&s, 2, vote);
    ck_assert(!solo_sent(&s, RAFT_MSG_VOTE_REPLY)->granted);
    solo_free(&s);
}
END_TEST

START_TEST(candidate__asks_only_when_its_own_vote_is_durable)
{
    struct solo s;
    solo_start_plain(&s);
    while (s.fx.role != RAFT_PRE_CANDIDATE)
        solo_tick(&s, 10);
    ck_assert_ptr_null(s.fx.hard); /* R11 */
    (void)solo_hear(
        &s, 3, (struct raft_message){.kind = RAFT_MSG_PRE_VOTE_REPLY, .term = 1, .granted = true});
    ck_assert_int_eq(s.fx.role, RAFT_CANDIDATE);
    ck_assert_int_eq(s.fx.hard->vote.id, 1);
    ck_assert_ptr_null(solo_sent(&s, RAFT_MSG_VOTE));
    /* A vote that comes too early, or twice, is not counted before that. */
    (void)solo_hear(&s, 3,
                    (struct raft_message){.kind = RAFT_MSG_VOTE_REPLY, .term = 1, .granted = true});
    ck_assert_int_eq(s.fx.role, RAFT_CANDIDATE);
    solo_persist(&s);
    ck_assert_ptr_nonnull(solo_sent(&s, RAFT_MSG_VOTE));
    solo_free(&s);
}
END_TEST

START_TEST(candidate__presents_its_durable_end)
{
    struct solo s;
    struct raft_entry entries[] = {{1, 4, 1}, {5, 5, 1}};
    solo_start_plain(&s);
    (void)solo_follow(&s, 1, (struct raft_position){0, 0}, entries, 2, 0);
    solo_persist(&s);
    solo_durable(&s, 4, 1);
    solo_link(&s, 2, RAFT_LINK_DEAD);
    solo_tick(&s, 40);
    const struct raft_message *m = solo_sent(&s, RAFT_MSG_PRE_VOTE);
    ck_assert_ptr_nonnull(m);
    ck_assert_uint_eq(m->last.index, 4);
    ck_assert_uint_eq(m->last.term, 1);
    solo_free(&s);
}
END_TEST

START_TEST(pre_vote__is_held_until_the_leader_is_lost)
{
    struct solo s;
    struct raft_message asked = {.kind = RAFT_MSG_PRE_VOTE, .term = 2};
    solo_start_plain(&s);
    (void)solo_follow(&s, 1, (struct raft_position){0, 0}, NULL, 0, 0);
    solo_persist(&s);
    (void)solo_hear(&s, 3, asked);
    ck_assert_uint_eq(s.fx.n_messages, 0);
    ck_assert_uint_le(s.fx.deadline_ms, s.now_ms + 200);
    solo_link(&s, 2, RAFT_LINK_DEAD);
    ck_assert(solo_sent(&s, RAFT_MSG_PRE_VOTE_REPLY)->granted);
    ck_assert_ptr_null(s.fx.hard); /* R11 */
    solo_free(&s);
}
END_TEST

START_TEST(pre_vote__is_refused_after_200_ms_beside_a_leader)
{
    struct solo s;
    struct raft_message asked = {.kind = RAFT_MSG_PRE_VOTE, .term = 2};
    solo_start_plain(&s);
    (void)solo_follow(&s, 1, (struct raft_position){0, 0}, NULL, 0, 0);
    solo_persist(&s);
    (void)solo_hear(&s, 3, asked);
    solo_tick(&s, 199);
    ck_assert_uint_eq(s.fx.n_messages, 0);
    solo_tick(&s, 1);
    ck_assert(!solo_sent(&s, RAFT_MSG_PRE_VOTE_REPLY)->granted);
    solo_free(&s);
}
END_TEST

START_TEST(pre_vote__is_refused_to_a_worse_log)
{
    struct solo s;
    struct raft_entry entry = {1, 3, 2};
    struct raft_message asked = {.kind = RAFT_MSG_PRE_VOTE, .term = 5, .last = {9, 1}};
    solo_start_plain(&s);
    (void)solo_follow(&s, 2, (struct raft_position){0, 0}, &entry, 1, 0);
    solo_persist(&s);
    solo_durable(&s, 3, 2);
    solo_link(&s, 2, RAFT_LINK_DEAD);
    (void)solo_hear(&s, 3, asked); /* longer, but of an older term */
    ck_assert(!solo_sent(&s, RAFT_MSG_PRE_VOTE_REPLY)->granted);
    solo_free(&s);
}
END_TEST

START_TEST(vote__is_held_beside_a_living_leader_unless_it_asked_for_it)
{
    struct solo s;
    struct raft_message asked = {.kind = RAFT_MSG_VOTE, .term = 2};
    solo_start_plain(&s);
    (void)solo_follow(&s, 1, (struct raft_position){0, 0}, NULL, 0, 0);
    solo_persist(&s);
    (void)solo_hear(&s, 3, asked);
    ck_assert_uint_eq(s.fx.term, 1); /* R13: the term is not taken over */
    asked.transfer = true;           /* 5.8 */
    (void)solo_hear(&s, 3, asked);
    ck_assert_uint_eq(s.fx.term, 2);
    ck_assert_int_eq(s.fx.hard->vote.id, 3);
    solo_free(&s);
}
END_TEST

START_TEST(vote__of_another_directory_is_not_counted)
{
    struct solo s;
    struct raft_node other = solo_node(2);
    struct raft_message granted = {.kind = RAFT_MSG_PRE_VOTE_REPLY, .term = 1, .granted = true};
    solo_start_plain(&s);
    other.directory.bytes[5] = 9;
    while (s.fx.role != RAFT_PRE_CANDIDATE)
        solo_tick(&s, 10);
    (void)solo_step(
        &s, (struct raft_input){
                .kind = RAFT_IN_LINK, .node = other, .link = 9, .link_state = RAFT_LINK_UP});
    ck_assert_ptr_null(solo_sent(&s, RAFT_MSG_PRE_VOTE)); /* nor asked */
    (void)solo_step(&s,
                    (struct raft_input){
                        .kind = RAFT_IN_MESSAGE, .node = other, .link = 9, .message = &granted});
    ck_assert_int_eq(s.fx.role, RAFT_PRE_CANDIDATE);
    (void)solo_hear(&s, 2, granted);
    ck_assert_int_eq(s.fx.role, RAFT_CANDIDATE);
    solo_free(&s);
}
END_TEST

START_TEST(message__on_a_replaced_link_is_void)
{
    struct solo s;
    solo_start_plain(&s);
    solo_tick(&s, 250);
    (void)solo_step(&s, (struct raft_input){.kind = RAFT_IN_LINK,
                                            .node = solo_node(2),
                                            .link = 22,
                                            .link_state = RAFT_LINK_UP});
    (void)solo_hear(&s, 2, pre_vote); /* on link 2 */
    ck_assert_uint_eq(s.fx.n_messages, 0);
    solo_free(&s);
}
END_TEST

START_TEST(message__malformed_is_refused)
{
    struct solo s;
    struct raft_entry gap[] = {{1, 2, 1}, {4, 5, 1}};
    struct raft_entry backwards[] = {{1, 2, 2}, {3, 4, 1}};
    struct raft_entry future = {1, 1, 9};
    solo_start_plain(&s);
    ck_assert_int_eq(solo_hear(&s, 2, (struct raft_message){.kind = RAFT_MSG_MAX_, .term = 1}),
                     -KB_EINVAL);
    ck_assert_int_eq(solo_hear(&s, 2, (struct raft_message){.kind = RAFT_MSG_APPEND}), -KB_EINVAL);
    ck_assert_int_eq(solo_follow(&s, 2, (struct raft_position){0, 0}, gap, 2, 0), -KB_EINVAL);
    ck_assert_int_eq(solo_follow(&s, 2, (struct raft_position){0, 0}, backwards, 2, 0), -KB_EINVAL);
    ck_assert_int_eq(solo_follow(&s, 2, (struct raft_position){0, 0}, &future, 1, 0), -KB_EINVAL);
    ck_assert_int_eq(solo_follow(&s, 2, (struct raft_position){3, 0}, NULL, 0, 0), -KB_EINVAL);
    ck_assert_uint_eq(s.fx.term, 0);
    solo_free(&s);
}
END_TEST

START_TEST(append__of_a_second_leader_in_one_term_is_refused)
{
    struct solo s;
    solo_start_plain(&s);
    ck_assert_int_eq(solo_follow(&s, 1, (struct raft_position){0, 0}, NULL, 0, 0), 0);
    ck_assert_int_eq(
        solo_hear(&s, 3, (struct raft_message){.kind = RAFT_MSG_APPEND, .term = 1, .round = 1}),
        -KB_EINVAL);
    solo_free(&s);
}
END_TEST

START_TEST(new__checks_what_it_is_given)
{
    struct raft_core *core = NULL;
    struct raft_voters even = solo_voters(4);
    struct raft_voters odd = solo_voters(3);
    struct raft_entry gap = {2, 3, 1};
    struct raft_core_config config = solo_config(&even);
    ck_assert_int_eq(raft_core_new(&config, &core), -KB_EINVAL);
    ck_assert_ptr_nonnull(raft_voters_problem(even.nodes, even.count));
    even.index = 7; /* between two changes (5.7) */
    ck_assert_int_eq(raft_core_new(&config, &core), 0);
    core = raft_core_free(core);
    config = solo_config(&odd);
    config.entries = &gap;
    config.n_entries = 1;
    ck_assert_int_eq(raft_core_new(&config, &core), -KB_EINVAL);
    ck_assert_ptr_null(raft_core_free(NULL));
}
END_TEST

START_TEST(new__takes_a_log_above_the_vote_for_a_damaged_vote)
{
    struct solo s;
    struct raft_voters voters = solo_voters(3);
    struct raft_entry entries = {1, 3, 4};
    struct raft_core_config config = solo_config(&voters);
    config.entries = &entries;
    config.n_entries = 1;
    config.hard = (struct raft_hard_state){.term = 2, .vote = solo_node(3)};
    s = (struct solo){.now_ms = config.now_ms};
    ck_assert_int_eq(raft_core_new(&config, &s.core), 0);
    (void)solo_step(&s, (struct raft_input){.kind = RAFT_IN_TICK});
    ck_assert(s.fx.hard->barred); /* durable before anything else: a second crash keeps it */
    ck_assert_uint_eq(s.fx.hard->term, 4);
    ck_assert_int_eq(s.fx.hard->vote.id, RAFT_NOBODY);
    solo_persist(&s);
    solo_link(&s, 2, RAFT_LINK_UP);
    solo_tick(&s, 1000);
    ck_assert_int_eq(s.fx.role, RAFT_FOLLOWER);
    (void)solo_hear(&s, 2, (struct raft_message){.kind = RAFT_MSG_VOTE, .term = 5, .last = {9, 4}});
    ck_assert(!solo_sent(&s, RAFT_MSG_VOTE_REPLY)->granted);
    solo_free(&s);
}
END_TEST

START_TEST(stall__of_the_node_is_not_the_leaders_silence)
{
    struct solo s;
    solo_start_plain(&s);
    (void)solo_follow(&s, 1, (struct raft_position){0, 0}, NULL, 0, 0);
    solo_persist(&s);
    solo_tick(&s, 100);
    s.now_ms += 1300;
    (void)solo_step(&s, (struct raft_input){.kind = RAFT_IN_NODE_STALLED, .gap_ms = 1300});
    solo_tick(&s, 0);
    ck_assert_int_eq(s.fx.role, RAFT_FOLLOWER);
    ck_assert_int_eq(s.fx.leader.id, 2);
    solo_tick(&s, 1300);
    ck_assert_int_eq(s.fx.role, RAFT_PRE_CANDIDATE);
    solo_free(&s);
}
END_TEST

START_TEST(stall__of_the_node_grants_no_pre_vote_either)
{
    struct solo s;
    struct raft_message asked = {.kind = RAFT_MSG_PRE_VOTE, .term = 2};
    solo_start_plain(&s);
    (void)solo_follow(&s, 1, (struct raft_position){0, 0}, NULL, 0, 0);
    solo_persist(&s);
    solo_tick(&s, 100);
    s.now_ms += 1300;
    (void)solo_hear(&s, 3, asked); /* waited in the socket: judged by the last tick */
    ck_assert_ptr_null(solo_sent(&s, RAFT_MSG_PRE_VOTE_REPLY));
    (void)solo_step(&s, (struct raft_input){.kind = RAFT_IN_NODE_STALLED, .gap_ms = 1300});
    solo_tick(&s, 0);
    ck_assert_ptr_null(solo_sent(&s, RAFT_MSG_PRE_VOTE_REPLY));
    solo_tick(&s, 200);
    ck_assert(!solo_sent(&s, RAFT_MSG_PRE_VOTE_REPLY)->granted);
    solo_free(&s);
}
END_TEST

START_TEST(floor__refuses_votes_until_the_durable_end_is_past_it)
{
    struct solo s;
    struct raft_entry entry = {1, 5, 1};
    struct raft_message asked = {.kind = RAFT_MSG_PRE_VOTE, .term = 2, .last = {9, 1}};
    solo_start_plain(&s);
    (void)solo_hear(&s, 2,
                    (struct raft_message){.kind = RAFT_MSG_APPEND,
                                          .term = 1,
                                          .round = 1,
                                          .entries = &entry,
                                          .n_entries = 1,
                                          .floor_index = 5});
    solo_persist(&s);
    solo_link(&s, 2, RAFT_LINK_DEAD);
    (void)solo_hear(&s, 3, asked);
    ck_assert(!solo_sent(&s, RAFT_MSG_PRE_VOTE_REPLY)->granted); /* 5.6 */
    solo_durable(&s, 5, 1);
    (void)solo_hear(&s, 3, asked);
    ck_assert(solo_sent(&s, RAFT_MSG_PRE_VOTE_REPLY)->granted);
    solo_free(&s);
}
END_TEST

START_TEST(link__that_comes_up_in_an_election_is_asked_at_once)
{
    struct solo s;
    solo_start_plain(&s);
    solo_link(&s, 3, RAFT_LINK_DEAD);
    while (s.fx.role != RAFT_PRE_CANDIDATE)
        solo_tick(&s, 10);
    solo_link(&s, 3, RAFT_LINK_UP);
    ck_assert_int_eq(solo_sent(&s, RAFT_MSG_PRE_VOTE)->to.id, 3);
    solo_free(&s);
}
END_TEST

START_TEST(timeout_now__is_taken_from_the_own_leader_only)
{
    struct solo s;
    struct raft_message m = {.kind = RAFT_MSG_TIMEOUT_NOW, .term = 1};
    solo_start_plain(&s);
    (void)solo_follow(&s, 1, (struct raft_position){0, 0}, NULL, 0, 0);
    solo_persist(&s);
    (void)solo_hear(&s, 3, m);
    ck_assert_int_eq(s.fx.role, RAFT_FOLLOWER);
    (void)solo_hear(&s, 2, m);
    ck_assert_int_eq(s.fx.role, RAFT_CANDIDATE);
    solo_persist(&s);
    ck_assert(solo_sent(&s, RAFT_MSG_VOTE)->transfer);
    solo_free(&s);
}
END_TEST

UNIT_MAIN("raft_voting", vote_reply__waits_for_the_vote_to_be_durable, vote__is_given_once_per_term,
          vote__is_remembered_over_a_restart, candidate__asks_only_when_its_own_vote_is_durable,
          candidate__presents_its_durable_end, pre_vote__is_held_until_the_leader_is_lost,
          pre_vote__is_refused_after_200_ms_beside_a_leader, pre_vote__is_refused_to_a_worse_log,
          vote__is_held_beside_a_living_leader_unless_it_asked_for_it,
          vote__of_another_directory_is_not_counted, message__on_a_replaced_link_is_void,
          message__malformed_is_refused, append__of_a_second_leader_in_one_term_is_refused,
          new__checks_what_it_is_given, new__takes_a_log_above_the_vote_for_a_damaged_vote,
          stall__of_the_node_is_not_the_leaders_silence,
          stall__of_the_node_grants_no_pre_vote_either,
          floor__refuses_votes_until_the_durable_end_is_past_it,
          link__that_comes_up_in_an_election_is_asked_at_once,
          timeout_now__is_taken_from_the_own_leader_only)
