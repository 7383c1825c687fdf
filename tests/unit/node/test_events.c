/* The ring of recent events: people look at it after a failover. It keeps the newest, counts the
 * partitions of one cause into one event, and never grows. */
#include "broker/node/events.h"
#include "tests/unit/unit.h"

#include <stdio.h>
#include <string.h>

static struct node_event event(enum node_event_kind kind, int32_t node_id, uint64_t mono_ms)
{
    return (struct node_event){.kind = kind,
                               .node_id = node_id,
                               .other_id = -1,
                               .mono_ms = mono_ms,
                               .wall_ms = (int64_t)mono_ms + 1000,
                               .silent_ms = -1};
}

static void add_moved(struct node_events *e, int32_t from, int32_t to, uint64_t mono_ms)
{
    char topic[] = "orders";
    struct node_event m = event(NODE_EVENT_LEADERS_MOVED, from, mono_ms);
    m.other_id = to;
    m.count = 1;
    m.topic = topic;
    m.partition = (int32_t)mono_ms;
    node_events_add(e, &m);
    memset(topic, 'x', sizeof(topic) - 1); /* the ring has its own copy */
}

START_TEST(add__keeps_the_newest)
{
    struct node_events e = {0};
    for (uint64_t i = 1; i <= NODE_EVENTS_MAX + 10; i++) {
        struct node_event x = event(NODE_EVENT_LINK_LOST, (int32_t)i, i);
        node_events_add(&e, &x);
    }
    ck_assert_uint_eq(node_events_count(&e), NODE_EVENTS_MAX);
    ck_assert_uint_eq(node_events_at(&e, 0)->sequence, 11);
    ck_assert_int_eq(node_events_at(&e, NODE_EVENTS_MAX - 1)->node_id, NODE_EVENTS_MAX + 10);
    node_events_release(&e);
    ck_assert_uint_eq(node_events_count(&e), 0);
}
END_TEST

START_TEST(add__oldest_first_before_it_is_full)
{
    struct node_events e = {0};
    struct node_event a = event(NODE_EVENT_CONTROLLER, 1, 5);
    struct node_event b = event(NODE_EVENT_FENCED, 2, 6);
    node_events_add(&e, &a);
    node_events_add(&e, &b);
    ck_assert_uint_eq(node_events_count(&e), 2);
    ck_assert_int_eq(node_events_at(&e, 0)->kind, NODE_EVENT_CONTROLLER);
    ck_assert_uint_eq(node_events_at(&e, 1)->sequence, 2);
    node_events_release(&e);
}
END_TEST

START_TEST(add__counts_partitions_of_one_cause)
{
    struct node_events e = {0};
    add_moved(&e, 1, 2, 10);
    add_moved(&e, 1, 3, 10);
    add_moved(&e, 1, 2, 10 + NODE_EVENTS_MERGE_MS);
    ck_assert_uint_eq(node_events_count(&e), 2);
    ck_assert_uint_eq(node_events_at(&e, 0)->count, 2);
    ck_assert_str_eq(node_events_at(&e, 0)->topic, "orders");
    ck_assert_int_eq(node_events_at(&e, 0)->partition, 10);
    ck_assert_uint_eq(node_events_at(&e, 1)->count, 1);
    node_events_release(&e);
}
END_TEST

START_TEST(add__later_ones_stand_for_themselves)
{
    struct node_events e = {0};
    add_moved(&e, 1, 2, 10);
    add_moved(&e, 1, 2, 11 + NODE_EVENTS_MERGE_MS);
    ck_assert_uint_eq(node_events_count(&e), 2);
    /* An event without partitions is never merged. */
    struct node_event x = event(NODE_EVENT_FENCED, 1, 200);
    node_events_add(&e, &x);
    node_events_add(&e, &x);
    ck_assert_uint_eq(node_events_count(&e), 4);
    node_events_release(&e);
}
END_TEST

START_TEST(add__other_reasons_are_other_events)
{
    struct node_events e = {0};
    struct node_event x = event(NODE_EVENT_ISR_LEFT, 1, 10);
    x.count = 1;
    x.reason = "lagging";
    node_events_add(&e, &x);
    x.reason = "fenced";
    node_events_add(&e, &x);
    ck_assert_uint_eq(node_events_count(&e), 2);
    node_events_release(&e);
}
END_TEST

START_TEST(kind_name__all_have_one)
{
    for (int kind = 0; kind < NODE_EVENT_KINDS_; kind++)
        ck_assert_ptr_nonnull(node_event_kind_name((enum node_event_kind)kind));
}
END_TEST

UNIT_MAIN("node_events", add__keeps_the_newest, add__oldest_first_before_it_is_full,
          add__counts_partitions_of_one_cause, add__later_ones_stand_for_themselves,
          add__other_reasons_are_other_events, kind_name__all_have_one)
