/* Entries of one core, stepped by hand: what counts as durable, what is committed and applied, what
 * is cut, what a leader promises (rules 5.1, 5.2, 5.4, 5.6, 6.2, 6.10, R3, R7-R9, R12). */
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "proto/base/err.h"
#include "proto/base/log.h"
#include "tests/unit/raft/solo.h"

static int propose(struct solo *s, uint32_t n_records, uint32_t size_bytes)
{
    return solo_step(s, (struct raft_input){.kind = RAFT_IN_PROPOSE,
                                            .n_records = n_records,
                                            .size_bytes = size_bytes});
}

static int acknowledge(struct solo *s, int32_t from, uint64_t round, uint64_t index)
{
    return solo_hear(s, from,
                     (struct raft_message){.kind = RAFT_MSG_APPEND_REPLY,
                                           .term = s->fx.term,
                                           .round = round,
                                           .match_index = index,
                                           .end_index = index,
                                           .durable_index = index});
}

START_TEST(leader__counts_its_own_entries_only_when_durable)
{
    struct solo s;
    solo_start_plain(&s);
    solo_lead(&s);
    ck_assert_int_eq(propose(&s, 2, 10), RAFT_OK);
    ck_assert_uint_eq(s.fx.proposed.first, 1);
    ck_assert_uint_eq(s.fx.proposed.last, 2);
    ck_assert_uint_eq(s.fx.n_sends, 2); /* sent before it is synced (5.2) */
    ck_assert_int_eq(acknowledge(&s, 2, 1, 2), 0);
    struct raft_status status;
    raft_core_status(s.core, &status);
    ck_assert_uint_eq(status.commit_index, 0);
    ck_assert_int_eq(acknowledge(&s, 3, 1, 2), 0);
    raft_core_status(s.core, &status);
    ck_assert_uint_eq(status.commit_index, 2); /* two others have it */
    ck_assert_uint_eq(s.fx.commit_index, 0);   /* applied when durable here */
    solo_durable(&s, 2, 1);
    ck_assert_uint_eq(s.fx.commit_index, 2);
    solo_free(&s);
}
END_TEST

START_TEST(leader__commits_older_terms_only_through_its_own)
{
    struct solo s;
    struct raft_voters voters = solo_voters(3);
    struct raft_entry old = {1, 3, 1};
    struct raft_core_config config = solo_config(&voters);
    config.hard.term = 1;
    config.entries = &old;
    config.n_entries = 1;
    solo_start(&s, &config);
    solo_lead(&s);
    ck_assert_uint_eq(s.fx.term, 2);
    (void)acknowledge(&s, 2, 1, 3);
    (void)acknowledge(&s, 3, 1, 3);
    ck_assert_uint_eq(s.fx.commit_index, 0); /* R7 */
    (void)propose(&s, 1, 10);
    solo_durable(&s, 4, 2);
    (void)acknowledge(&s, 2, 1, 4);
    ck_assert_uint_eq(s.fx.commit_index, 4);
    solo_free(&s);
}
END_TEST

START_TEST(leader__resigns_after_1500_ms_without_a_majority)
{
    struct solo s;
    solo_start_plain(&s);
    solo_lead(&s);
    uint64_t elected_ms = s.now_ms;
    while (s.fx.role == RAFT_LEADER && s.now_ms < elected_ms + 3000)
        solo_tick(&s, s.fx.deadline_ms - s.now_ms);
    ck_assert_uint_eq(s.now_ms, elected_ms + 1500);
    ck_assert_int_eq(s.fx.role, RAFT_RESIGNED);
    ck_assert_int_eq(propose(&s, 1, 10), RAFT_NOT_LEADER); /* R12 */
    ck_assert_uint_eq(s.fx.term, 1);
    solo_free(&s);
}
END_TEST

START_TEST(leader__stays_with_one_of_two_answering)
{
    struct solo s;
    solo_start_plain(&s);
    solo_lead(&s);
    for (int i = 0; i < 30; i++) {
        solo_tick(&s, 150);
        const struct raft_message *beat = solo_sent(&s, RAFT_MSG_APPEND);
        ck_assert_ptr_nonnull(beat);
        (void)acknowledge(&s, 3, beat->round, 0);
    }
    ck_assert_int_eq(s.fx.role, RAFT_LEADER);
    solo_free(&s);
}
END_TEST

START_TEST(confirm__is_answered_by_a_round_begun_after_it)
{
    struct solo s;
    solo_start_plain(&s);
    solo_lead(&s);
    (void)acknowledge(&s, 2, 1, 0);
    ck_assert_uint_eq(s.fx.confirmed_round, 1);
    ck_assert_int_eq(solo_step(&s, (struct raft_input){.kind = RAFT_IN_CONFIRM}), 0);
    uint64_t round = s.fx.round;
    ck_assert_uint_gt(round, 1);
    ck_assert_ptr_nonnull(solo_sent(&s, RAFT_MSG_APPEND)); /* at once */
    (void)acknowledge(&s, 2, 1, 0);                        /* an old answer proves nothing */
    ck_assert_uint_lt(s.fx.confirmed_round, round);
    (void)acknowledge(&s, 2, round, 0);
    ck_assert_uint_eq(s.fx.confirmed_round, round);
    solo_free(&s);
}
END_TEST

START_TEST(leader__refuses_answers_that_cannot_be)
{
    struct solo s;
    solo_start_plain(&s);
    solo_lead(&s);
    ck_assert_int_eq(acknowledge(&s, 2, 1, 9), -KB_EINVAL); /* beyond the log */
    ck_assert_int_eq(acknowledge(&s, 2, 77, 0), -KB_EINVAL);
    ck_assert_int_eq(s.fx.role, RAFT_LEADER);
    solo_free(&s);
}
END_TEST

START_TEST(leader__does_not_count_a_fallen_durable_end)
{
    struct solo s;
    struct raft_peer_status peers[3];
    solo_start_plain(&s);
    solo_lead(&s);
    (void)propose(&s, 5, 10);
    solo_durable(&s, 5, 1);
    (void)acknowledge(&s, 2, 1, 5);
    ck_assert_uint_eq(s.fx.commit_index, 5);
    (void)acknowledge(&s, 2, 1, 3); /* late, of the same round: nothing fell */
    ck_assert_uint_eq(raft_core_peers(s.core, peers, 3), 3);
    ck_assert(!peers[1].fallen);
    solo_tick(&s, 150);
    uint64_t round = solo_sent(&s, RAFT_MSG_APPEND)->round;
    (void)acknowledge(&s, 2, round, 3);
    (void)raft_core_peers(s.core, peers, 3);
    ck_assert(peers[1].fallen);
    (void)propose(&s, 1, 10);
    solo_durable(&s, 6, 1);
    ck_assert_uint_eq(s.fx.commit_index, 5);
    solo_tick(&s, 150);
    ck_assert_int_eq(solo_sent(&s, RAFT_MSG_APPEND)->to.id, 2);
    ck_assert_uint_eq(solo_sent(&s, RAFT_MSG_APPEND)->floor_index, 5); /* it may not vote */
    (void)acknowledge(&s, 2, round, 6); /* past the point: it counts again */
    ck_assert_uint_eq(s.fx.commit_index, 6);
    solo_free(&s);
}
END_TEST

START_TEST(leader__does_not_count_a_barred_directory_until_others_confirm_it)
{
    struct solo s;
    struct raft_message barred = {.kind = RAFT_MSG_APPEND_REPLY,
                                  .term = 1,
                                  .round = 1,
                                  .match_index = 1,
                                  .end_index = 1,
                                  .durable_index = 1,
                                  .barred = true};
    solo_start_plain(&s);
    solo_lead(&s);
    (void)propose(&s, 1, 10);
    solo_durable(&s, 1, 1);
    (void)solo_hear(&s, 2, barred);
    ck_assert_uint_eq(s.fx.commit_index, 0); /* own and barred: no majority */
    ck_assert_uint_eq(s.fx.confirmed_round, 0);
    uint64_t round = solo_sent(&s, RAFT_MSG_APPEND)->round; /* a round begun after it spoke */
    ck_assert_uint_eq(round, 2);
    (void)acknowledge(&s, 3, 1, 1); /* commits, but the answer is of a round before */
    ck_assert_uint_eq(s.fx.commit_index, 1);
    for (size_t i = 0; i < s.fx.n_messages; i++)
        ck_assert_uint_eq(s.fx.messages[i].clear_index, 0);
    (void)acknowledge(&s, 3, round, 1);
    const struct raft_message *m = solo_sent(&s, RAFT_MSG_APPEND);
    ck_assert_int_eq(m->to.id, 2);
    ck_assert_uint_eq(m->clear_index, 1);
    (void)propose(&s, 1, 10);
    solo_durable(&s, 2, 1);
    barred.match_index = barred.end_index = barred.durable_index = 2;
    (void)solo_hear(&s, 2, barred);
    ck_assert_uint_eq(s.fx.commit_index, 1);
    barred.barred = false;
    (void)solo_hear(&s, 2, barred);
    ck_assert_uint_eq(s.fx.commit_index, 2);
    solo_free(&s);
}
END_TEST

START_TEST(leader__does_not_count_observers)
{
    struct solo s;
    solo_start_plain(&s);
    solo_lead(&s);
    solo_link(&s, 7, RAFT_LINK_UP);
    (void)propose(&s, 1, 10);
    (void)acknowledge(&s, 7, 1, 1);
    (void)acknowledge(&s, 2, 1, 0);
    solo_durable(&s, 1, 1);
    ck_assert_uint_eq(s.fx.commit_index, 0);
    struct raft_peer_status peers[4];
    ck_assert_uint_eq(raft_core_peers(s.core, peers, 4), 4);
    ck_assert(!peers[3].voter);
    ck_assert_uint_eq(peers[3].end_index, 1);
    (void)acknowledge(&s, 2, 1, 1);
    ck_assert_uint_eq(s.fx.commit_index, 1);
    solo_free(&s);
}
END_TEST

START_TEST(propose__is_limited_by_count_and_size)
{
    struct solo s;
    solo_start_plain(&s);
    ck_assert_int_eq(propose(&s, 1, 10), RAFT_NOT_LEADER);
    solo_lead(&s);
    ck_assert_int_eq(propose(&s, 1, RAFT_ENTRY_BYTES_MAX + 1), RAFT_TOO_LARGE);
    ck_assert_int_eq(propose(&s, 1, RAFT_ENTRY_BYTES_MAX), RAFT_OK); /* alone it passes (6.5) */
    ck_assert_int_eq(propose(&s, 1, 1), RAFT_BUSY);
    solo_durable(&s, 1, 1);
    (void)acknowledge(&s, 2, 1, 1);
    for (int i = 0; i < RAFT_UNCOMMITTED_ENTRIES_MAX; i++)
        ck_assert_int_eq(propose(&s, 1, 1), RAFT_OK);
    ck_assert_int_eq(propose(&s, 1, 1), RAFT_BUSY);
    solo_free(&s);
}
END_TEST

START_TEST(send__waits_for_the_drivers_report_and_goes_on)
{
    struct solo s;
    solo_start_plain(&s);
    solo_lead(&s);
    (void)acknowledge(&s, 2, 1, 0);
    (void)propose(&s, 1, 10);
    struct raft_send send = s.fx.sends[0];
    ck_assert_int_eq(send.header.to.id, 2);
    (void)propose(&s, 1, 10);
    ck_assert_uint_eq(s.fx.n_sends, 0); /* one at a time per peer */
    (void)solo_step(&s, (struct raft_input){.kind = RAFT_IN_ENTRIES_SENT,
                                            .send_id = send.send_id,
                                            .position = {1, 0}});
    ck_assert_uint_eq(s.fx.n_sends, 1);
    ck_assert_uint_eq(s.fx.sends[0].from_index, 2); /* before the answer: pipelined */
    (void)solo_step(
        &s, (struct raft_input){.kind = RAFT_IN_ENTRIES_SENT, .send_id = s.fx.sends[0].send_id});
    ck_assert_uint_eq(s.fx.n_sends, 0); /* it could not: not at once again */
    solo_tick(&s, 150);
    ck_assert_uint_ge(s.fx.n_sends, 1);
    solo_free(&s);
}
END_TEST

START_TEST(follower__acknowledges_only_what_is_durable)
{
    struct solo s;
    struct raft_entry entries[] = {{1, 2, 1}, {3, 3, 1}};
    solo_start_plain(&s);
    (void)solo_follow(&s, 1, (struct raft_position){0, 0}, entries, 2, 3);
    ck_assert_uint_eq(s.fx.append_count, 2);
    ck_assert_uint_eq(s.fx.n_messages, 0);
    solo_persist(&s);
    ck_assert_uint_eq(s.fx.commit_index, 0);
    solo_durable(&s, 2, 1);
    const struct raft_message *m = solo_sent(&s, RAFT_MSG_APPEND_REPLY);
    ck_assert_uint_eq(m->match_index, 2);
    ck_assert_uint_eq(m->end_index, 3);
    ck_assert_uint_eq(s.fx.commit_index, 2); /* min(commit, own durable) */
    solo_durable(&s, 3, 1);
    ck_assert_uint_eq(s.fx.commit_index, 3);
    solo_free(&s);
}
END_TEST

START_TEST(follower__drops_durable_reports_of_an_older_generation)
{
    struct solo s;
    struct raft_entry old = {1, 3, 1};
    struct raft_entry other = {1, 3, 2};
    solo_start_plain(&s);
    (void)solo_follow(&s, 1, (struct raft_position){0, 0}, &old, 1, 0);
    solo_persist(&s);
    uint64_t generation = s.fx.generation;
    (void)solo_hear(
        &s, 3,
        (struct raft_message){
            .kind = RAFT_MSG_APPEND, .term = 2, .round = 1, .entries = &other, .n_entries = 1});
    ck_assert(s.fx.truncate);
    ck_assert_uint_eq(s.fx.truncate_after, 0);
    ck_assert_uint_gt(s.fx.generation, generation);
    /* A third leader has the first one's entry, so it comes again; its first copy was cut. */
    (void)solo_hear(
        &s, 2,
        (struct raft_message){
            .kind = RAFT_MSG_APPEND, .term = 3, .round = 1, .entries = &old, .n_entries = 1});
    ck_assert_uint_eq(s.fx.append_count, 1);
    (void)solo_step(&s, (struct raft_input){.kind = RAFT_IN_LOG_DURABLE,
                                            .position = {3, 1},
                                            .generation = generation});
    struct raft_status status;
    raft_core_status(s.core, &status);
    ck_assert_uint_eq(status.durable_index, 0);
    solo_free(&s);
}
END_TEST

START_TEST(follower__takes_an_append_twice_once)
{
    struct solo s;
    struct raft_entry entries[] = {{1, 2, 1}, {3, 4, 1}, {5, 5, 1}};
    solo_start_plain(&s);
    (void)solo_follow(&s, 1, (struct raft_position){0, 0}, entries, 2, 0);
    (void)solo_follow(&s, 1, (struct raft_position){0, 0}, entries, 3, 0);
    ck_assert_uint_eq(s.fx.append_skip, 2);
    ck_assert_uint_eq(s.fx.append_count, 1);
    (void)solo_follow(&s, 1, (struct raft_position){2, 1}, entries + 1, 1, 0);
    ck_assert_uint_eq(s.fx.append_count, 0);
    ck_assert(!s.fx.truncate); /* a late append does not shorten the log */
    solo_free(&s);
}
END_TEST

START_TEST(follower__commits_no_further_than_was_checked)
{
    struct solo s;
    struct raft_voters voters = solo_voters(3);
    struct raft_entry tail = {1, 5, 1};
    struct raft_core_config config = solo_config(&voters);
    config.hard.term = 1;
    config.entries = &tail;
    config.n_entries = 1;
    solo_start(&s, &config);
    /* A heartbeat that only says commit 5: the tail may be another one. */
    (void)solo_follow(&s, 2, (struct raft_position){0, 0}, NULL, 0, 5);
    solo_persist(&s);
    ck_assert_uint_eq(s.fx.commit_index, 0);
    (void)solo_follow(&s, 2, (struct raft_position){5, 1}, NULL, 0, 5);
    ck_assert_uint_eq(s.fx.commit_index, 5);
    solo_free(&s);
}
END_TEST

static void swallow(void *arg, enum kb_log_level level, const char *component, const char *text)
{
}

START_TEST(follower__aborts_rather_than_cut_committed_entries)
{
    pid_t pid = fork();
    if (pid == 0) {
        struct solo s;
        struct raft_entry entry = {1, 3, 1};
        struct raft_entry other = {1, 2, 2};
        kb_log_set_sink(swallow, NULL, KB_LOG_ERROR);
        solo_start_plain(&s);
        (void)solo_follow(&s, 1, (struct raft_position){0, 0}, &entry, 1, 3);
        (void)solo_hear(
            &s, 3,
            (struct raft_message){
                .kind = RAFT_MSG_APPEND, .term = 2, .round = 1, .entries = &other, .n_entries = 1});
        _exit(0);
    }
    int status;
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT); /* R9 */
}
END_TEST

START_TEST(transfer__answers_who_cannot_lead)
{
    struct solo s;
    struct raft_input to = {.kind = RAFT_IN_TRANSFER, .node = solo_node(7)};
    solo_start_plain(&s);
    ck_assert_int_eq(solo_step(&s, to), RAFT_NOT_LEADER);
    solo_lead(&s);
    ck_assert_int_eq(propose(&s, 1, 1), RAFT_OK);
    solo_durable(&s, 1, 1);
    ck_assert_int_eq(solo_step(&s, to), RAFT_UNKNOWN_VOTER);
    to.node = solo_node(2);
    ck_assert_int_eq(solo_step(&s, to), RAFT_OK);
    ck_assert_ptr_null(solo_sent(&s, RAFT_MSG_TIMEOUT_NOW)); /* nobody has it yet */
    ck_assert_int_eq(solo_step(&s, to), RAFT_BUSY);
    ck_assert_int_eq(propose(&s, 1, 1), RAFT_BUSY);
    solo_tick(&s, 1000);
    ck_assert_int_eq(s.fx.transfer_end, RAFT_TRANSFER_FAILED);
    ck_assert_int_eq(propose(&s, 1, 1), RAFT_OK);
    solo_free(&s);
}
END_TEST

START_TEST(names__are_there_for_every_value)
{
    for (int i = 0; i < RAFT_MSG_MAX_; i++)
        ck_assert_str_ne(raft_message_kind_name((enum raft_message_kind)i), "?");
    for (int i = 0; i < RAFT_IN_MAX_; i++)
        ck_assert_str_ne(raft_input_kind_name((enum raft_input_kind)i), "?");
    for (int i = 0; i < RAFT_ROLE_MAX_; i++)
        ck_assert_str_ne(raft_role_name((enum raft_role)i), "?");
    for (int i = 0; i <= RAFT_TOO_LARGE; i++)
        ck_assert_str_ne(raft_answer_name((enum raft_answer)i), "?");
    ck_assert_str_eq(raft_role_name(RAFT_ROLE_MAX_), "?");
}
END_TEST

UNIT_MAIN("raft_copying", leader__counts_its_own_entries_only_when_durable,
          leader__commits_older_terms_only_through_its_own,
          leader__resigns_after_1500_ms_without_a_majority, leader__stays_with_one_of_two_answering,
          confirm__is_answered_by_a_round_begun_after_it, leader__refuses_answers_that_cannot_be,
          leader__does_not_count_a_fallen_durable_end,
          leader__does_not_count_a_barred_directory_until_others_confirm_it,
          leader__does_not_count_observers, propose__is_limited_by_count_and_size,
          send__waits_for_the_drivers_report_and_goes_on,
          follower__acknowledges_only_what_is_durable,
          follower__drops_durable_reports_of_an_older_generation,
          follower__takes_an_append_twice_once, follower__commits_no_further_than_was_checked,
          follower__aborts_rather_than_cut_committed_entries, transfer__answers_who_cannot_lead,
          names__are_there_for_every_value)
