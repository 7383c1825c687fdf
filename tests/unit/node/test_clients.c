/* connections.max.idle.ms: who says nothing for ten minutes is closed; who speaks, or waits for an
 * answer that long, is not. */
#include "broker/node/node_internal.h"
#include "proto/kafka/codec.h"
#include "tests/unit/node/scenario.h"

struct peer {
    struct kb_conn *conn;
    int answers;
    bool closed;
};

static void on_frame(struct kb_conn *conn, void *user, struct kb_block *frame)
{
    ((struct peer *)user)->answers++;
}

static void on_close(struct kb_conn *conn, void *user, enum kb_close_reason reason)
{
    ((struct peer *)user)->closed = true;
}

static const struct kb_conn_handler handler = {.on_frame = on_frame, .on_close = on_close};
static const struct kb_conn_options options = {.frame_bytes_max = 1 << 20,
                                               .send_high_bytes = 1 << 20};

static void dial(struct scenario *s, struct peer *p)
{
    p->conn = kb_env_connect(sim_env_kb(s->client_env), "node1", SIM_CLUSTER_PORT, 1000, &options,
                             &handler, p);
}

static void ask_versions(struct peer *p)
{
    struct kb_chain chain = {0};
    struct kw_writer w;
    struct kw_request_header header = {.api_key = KW_API_API_VERSIONS};
    kw_writer_init(&w, &chain);
    kw_frame_begin(&w);
    kw_request_header_write(&w, &header);
    kw_frame_end(&w);
    ck_assert_int_eq(kw_writer_finish(&w), 0);
    kb_conn_send(p->conn, &chain);
}

START_TEST(idle_connections__are_closed)
{
    struct scenario s;
    struct peer silent = {0};
    struct peer talks = {0};
    scenario_start(&s, 31);
    dial(&s, &silent);
    dial(&s, &talks);
    ask_versions(&silent);
    for (int minute = 0; minute < 9; minute++) {
        ask_versions(&talks);
        scenario_run_for(&s, 60000);
    }
    ck_assert(!silent.closed);
    ck_assert_int_eq(silent.answers, 1);
    ask_versions(&talks);
    scenario_run_for(&s, 61000);
    ck_assert(silent.closed);
    ck_assert(!talks.closed);
    ck_assert_int_eq(talks.answers, 10);
    kb_conn_close(talks.conn);
    scenario_run_for(&s, 10);
    scenario_end(&s);
}
END_TEST

/* The tick's time is read before its work, and an answer that is part of it is later than that. */
START_TEST(idle_connections__active_after_the_tick_began)
{
    struct scenario s;
    struct peer p = {0};
    scenario_start(&s, 32);
    struct node *n = sim_cluster_node(s.cluster, 0);
    scenario_run_for(&s, 660000); /* the scenario's own clients are gone */
    dial(&s, &p);
    ask_versions(&p);
    scenario_run_for(&s, 20);
    ck_assert_int_eq(p.answers, 1);
    uint64_t now_ms = node_now(n);
    ask_versions(&p);
    scenario_run_for(&s, 5);
    ck_assert_int_eq(p.answers, 2);
    node_clients_expire(n, now_ms);
    scenario_run_for(&s, 20);
    ck_assert(!p.closed);
    kb_conn_close(p.conn);
    scenario_run_for(&s, 10);
    scenario_end(&s);
}
END_TEST

UNIT_MAIN("node_clients", idle_connections__are_closed,
          idle_connections__active_after_the_tick_began)
