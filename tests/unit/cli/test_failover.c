/* A node goes away and somebody asks the others what happened: the story is found among their
 * events, whatever else they tell of. */
#include "broker/cli/failover.h"
#include "tests/unit/unit.h"

enum { EVENTS_MAX = 32 };

struct story {
    Kvorum__StatusEvent event[EVENTS_MAX];
    Kvorum__StatusEvent *list[EVENTS_MAX];
    size_t count;
};

/* Times as people tell them: ms since an hour that ended 100 000 ms later. */
static Kvorum__StatusEvent *tell(struct story *s, const char *kind, int32_t node_id, uint64_t at_ms)
{
    Kvorum__StatusEvent *e = &s->event[s->count];
    kvorum__status_event__init(e);
    e->kind = (char *)(uintptr_t)kind;
    e->has_node_id = node_id >= 0;
    e->node_id = node_id;
    e->age_ms = 100000 - at_ms;
    e->wall_ms = 1000000 + (int64_t)at_ms;
    s->list[s->count++] = e;
    return e;
}

static void tell_moved(struct story *s, int32_t from, int32_t to, uint32_t count, uint64_t at_ms)
{
    Kvorum__StatusEvent *e = tell(s, "leaders_moved", from, at_ms);
    e->has_other_id = to >= 0;
    e->other_id = to;
    e->count = count;
}

/* The cluster comes up, node 1 is its controller. */
static void begin(struct story *s)
{
    *s = (struct story){0};
    (void)tell(s, "controller", 1, 100);
    for (int32_t id = 1; id <= 3; id++)
        (void)tell(s, "unfenced", id, 200);
}

START_TEST(find__nothing_happened)
{
    struct story s;
    struct cli_failover f;
    begin(&s);
    ck_assert(!cli_failover_find(s.list, s.count, &f));
    ck_assert(!cli_failover_find(s.list, 0, &f));
}
END_TEST

static void kill_controller(struct story *s)
{
    (void)tell(s, "link_lost", 1, 50000);
    (void)tell(s, "peer_dead", 1, 50020);
    (void)tell(s, "controller", 3, 50090);
    tell(s, "fenced", 1, 50130)->silent_ms = 140;
    tell_moved(s, 1, 2, 5, 50130);
    tell_moved(s, 1, 3, 3, 50130);
}

START_TEST(find__killed_controller)
{
    struct story s;
    struct cli_failover f;
    begin(&s);
    kill_controller(&s);
    ck_assert(cli_failover_find(s.list, s.count, &f));
    ck_assert_int_eq(f.node_id, 1);
    ck_assert(!f.stopped && !f.silent);
    ck_assert_int_eq(f.wall_ms, 1050000);
    ck_assert_int_eq(f.detected_ms, 20);
    ck_assert_int_eq(f.controller_ms, 90);
    ck_assert_int_eq(f.controller_id, 3);
    ck_assert_int_eq(f.leaders_ms, 130);
    ck_assert_uint_eq(f.leaders_moved, 8);
}
END_TEST

START_TEST(find__its_return_is_no_failover)
{
    struct story s;
    struct cli_failover f;
    begin(&s);
    kill_controller(&s);
    (void)tell(&s, "peer_back", 1, 60000);
    (void)tell(&s, "registered", 1, 60100);
    (void)tell(&s, "unfenced", 1, 60300);
    tell_moved(&s, 2, 1, 4, 61000);
    (void)tell(&s, "controller", 2, 70000);
    ck_assert(cli_failover_find(s.list, s.count, &f));
    ck_assert_int_eq(f.node_id, 1);
    ck_assert_uint_eq(f.leaders_moved, 8);
    ck_assert_int_eq(f.controller_id, 3);
}
END_TEST

START_TEST(find__frozen_node_is_silent)
{
    struct story s;
    struct cli_failover f;
    begin(&s);
    (void)tell(&s, "link_lost", 2, 100);
    (void)tell(&s, "peer_back", 2, 150);
    (void)tell(&s, "unfenced", 2, 200);
    tell(&s, "fenced", 2, 51500)->silent_ms = 1500;
    tell_moved(&s, 2, 3, 1, 51510);
    tell_moved(&s, 2, -1, 1, 51510);
    ck_assert(cli_failover_find(s.list, s.count, &f));
    ck_assert(f.silent);
    ck_assert_int_eq(f.wall_ms, 1050000);
    ck_assert_int_eq(f.detected_ms, 1500);
    ck_assert_int_eq(f.controller_ms, -1);
    ck_assert_int_eq(f.leaders_ms, 1510);
    ck_assert_uint_eq(f.leaders_moved, 1); /* what nobody took over has not moved */
}
END_TEST

START_TEST(find__controlled_stop)
{
    struct story s;
    struct cli_failover f;
    begin(&s);
    (void)tell(&s, "stopping", 3, 50000);
    tell_moved(&s, 3, 1, 2, 50010);
    (void)tell(&s, "link_lost", 3, 50200);
    (void)tell(&s, "fenced", 3, 50210);
    ck_assert(cli_failover_find(s.list, s.count, &f));
    ck_assert(f.stopped);
    ck_assert_int_eq(f.detected_ms, -1);
    ck_assert_int_eq(f.leaders_ms, 10);
    ck_assert_uint_eq(f.leaders_moved, 2);
}
END_TEST

START_TEST(text__one_line)
{
    struct cli_failover f = {.node_id = 1,
                             .wall_ms = 1050302,
                             .detected_ms = 20,
                             .controller_ms = 90,
                             .leaders_ms = 130,
                             .leaders_moved = 8};
    (void)setenv("TZ", "UTC", 1);
    char *text = cli_failover_text(&f);
    ck_assert_str_eq(text, "node 1 lost 00:17:30.302 → detected +0.02 s → new controller +0.09 s "
                           "→ 8 leaders moved +0.13 s");
    (void)kb_free(text);
    f = (struct cli_failover){.node_id = 2,
                              .silent = true,
                              .wall_ms = 1000,
                              .detected_ms = 1500,
                              .controller_ms = -1,
                              .leaders_ms = 1500,
                              .leaders_moved = 1};
    text = cli_failover_text(&f);
    ck_assert_str_eq(text, "node 2 silent since 00:00:01.000 → detected +1.50 s → 1 leader moved "
                           "+1.50 s");
    (void)kb_free(text);
}
END_TEST

UNIT_MAIN("cli_failover", find__nothing_happened, find__killed_controller,
          find__its_return_is_no_failover, find__frozen_node_is_silent, find__controlled_stop,
          text__one_line)
