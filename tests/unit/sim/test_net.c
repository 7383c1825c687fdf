/* Two hosts talk in frames: order and bytes are kept, closing is told, cuts make bytes wait, dead
 * hosts leave connections half open, and a slow reader slows its sender. */
#include "tests/sim/sim_net.h"

#include "proto/base/err.h"
#include "proto/base/mem.h"
#include "tests/sim/sim_disk.h"
#include "tests/sim/sim_env.h"
#include "tests/unit/unit.h"

struct end {
    struct kb_conn *conn;
    bool open, closed, drained;
    enum kb_close_reason reason;
    uint32_t frames;
    uint64_t bytes;
    uint32_t next; /* the number the next frame carries */
    bool echo;
};

static void end_open(struct kb_conn *conn, void *user)
{
    ((struct end *)user)->open = true;
}

static void send_number(struct kb_conn *conn, uint32_t number, uint32_t padding)
{
    struct kb_chain c = {0};
    struct kb_block *b = kb_block_new(8 + padding);
    b->size = 8 + padding;
    memset(b->data, 0, b->size);
    kb_put_be32(b->data, 4 + padding);
    kb_put_be32(b->data + 4, number);
    kb_chain_add_block(&c, b, 0, b->size);
    (void)kb_block_unref(b);
    kb_conn_send(conn, &c);
    ck_assert_uint_eq(c.size, 0);
}

static void end_frame(struct kb_conn *conn, void *user, struct kb_block *frame)
{
    struct end *e = user;
    ck_assert_uint_ge(frame->size, 4);
    ck_assert_uint_eq(kb_get_be32(frame->data), e->next);
    e->next++;
    e->frames++;
    e->bytes += frame->size;
    if (e->echo)
        send_number(conn, kb_get_be32(frame->data), 0);
}

static void end_drain(struct kb_conn *conn, void *user)
{
    ((struct end *)user)->drained = true;
}

static void end_close(struct kb_conn *conn, void *user, enum kb_close_reason reason)
{
    struct end *e = user;
    ck_assert(!e->closed);
    e->closed = true;
    e->reason = reason;
    e->conn = NULL;
}

static const struct kb_conn_handler handler = {
    .on_open = end_open, .on_frame = end_frame, .on_drain = end_drain, .on_close = end_close};
static const struct kb_conn_options options = {.frame_bytes_max = 1 << 20,
                                               .send_high_bytes = 1 << 16};

struct pair {
    struct sim_world *world;
    struct sim_host *a, *b;
    struct sim_env *client_env, *server_env;
    struct end client, server;
    struct kb_listener *listener;
};

static void on_accept(struct kb_conn *conn, const char *host, uint16_t port, void *arg)
{
    struct pair *p = arg;
    ck_assert_str_eq(host, "a");
    p->server.conn = conn;
    p->server.open = true;
    kb_conn_set_handler(conn, &handler, &p->server);
}

static void pair_start(struct pair *p, uint64_t seed, const struct kb_conn_options *server_options)
{
    *p = (struct pair){.world = sim_world_new(seed)};
    p->client_env = sim_world_add_env(p->world, "a");
    p->server_env = sim_world_add_env(p->world, "b");
    p->a = sim_env_host(p->client_env);
    p->b = sim_env_host(p->server_env);
    ck_assert_int_eq(kb_env_listen(sim_env_kb(p->server_env), "", 9092, server_options, on_accept,
                                   p, &p->listener),
                     0);
}

static void pair_connect(struct pair *p)
{
    p->client.conn = kb_env_connect(sim_env_kb(p->client_env), "b", 9092, 1000, &options, &handler,
                                    &p->client);
    ck_assert(sim_world_run_until_flag(p->world, &p->client.open, 500));
    sim_world_run_for(p->world, 10);
    ck_assert(p->server.open);
}

static void pair_end(struct pair *p)
{
    p->listener = kb_listener_close(p->listener);
    (void)sim_world_free(p->world);
}

START_TEST(frames__arrive_whole_and_in_order_under_delay_and_loss)
{
    struct pair p;
    pair_start(&p, 3, &options);
    struct sim_link_settings bad = {.delay_us_min = 100, .delay_us_max = 90000, .loss_ppm = 200000};
    pair_connect(&p);
    sim_net_set_all(p.world, &bad);
    p.server.echo = true;
    for (uint32_t i = 0; i < 200; i++) {
        send_number(p.client.conn, i, i * 37);
        sim_world_run_for(p.world, 3);
    }
    ck_assert(sim_world_run_idle(p.world, 600000));
    ck_assert_uint_eq(p.server.frames, 200);
    ck_assert_uint_eq(p.client.frames, 200);
    ck_assert_uint_gt(sim_net_counts(p.world).retransmissions, 10);
    ck_assert(!p.client.closed && !p.server.closed);
    pair_end(&p);
}
END_TEST

START_TEST(close__is_told_after_the_last_byte)
{
    struct pair p;
    pair_start(&p, 4, &options);
    pair_connect(&p);
    for (uint32_t i = 0; i < 5; i++)
        send_number(p.client.conn, i, 200000);
    kb_conn_close_after_send(p.client.conn);
    ck_assert(!p.client.closed);
    ck_assert(sim_world_run_idle(p.world, 60000));
    ck_assert_uint_eq(p.server.frames, 5);
    ck_assert(p.client.closed && p.client.reason == KB_CLOSE_LOCAL);
    ck_assert(p.server.closed && p.server.reason == KB_CLOSE_PEER);
    pair_end(&p);
}
END_TEST

START_TEST(connect__tells_refused_unreachable_and_timeout_apart)
{
    struct pair p;
    pair_start(&p, 5, &options);
    struct end ends[3] = {0};
    struct kb_env *env = sim_env_kb(p.client_env);
    (void)kb_env_connect(env, "b", 1234, 1000, &options, &handler, &ends[0]);
    (void)kb_env_connect(env, "nowhere", 1234, 1000, &options, &handler, &ends[1]);
    sim_world_run_for(p.world, 100);
    ck_assert(ends[0].closed && ends[0].reason == KB_CLOSE_REFUSED);
    ck_assert(ends[1].closed && ends[1].reason == KB_CLOSE_UNREACHABLE);
    sim_net_cut(p.b, p.a);
    (void)kb_env_connect(env, "b", 9092, 1000, &options, &handler, &ends[2]);
    sim_world_run_for(p.world, 990);
    ck_assert(!ends[2].closed);
    sim_world_run_for(p.world, 20);
    ck_assert(ends[2].closed && ends[2].reason == KB_CLOSE_TIMEOUT);
    ck_assert(!p.server.open);
    pair_end(&p);
}
END_TEST

START_TEST(pause__slows_the_sender_and_drain_tells_when_it_is_over)
{
    struct pair p;
    pair_start(&p, 6, &options);
    pair_connect(&p);
    kb_conn_pause(p.server.conn);
    for (uint32_t i = 0; i < 8; i++)
        send_number(p.client.conn, i, 100000);
    sim_world_run_for(p.world, 1000);
    ck_assert_uint_eq(p.server.frames, 0);
    ck_assert(kb_conn_congested(p.client.conn));
    p.client.drained = false; /* the first frames left at once */
    kb_conn_resume(p.server.conn);
    ck_assert(sim_world_run_idle(p.world, 1000));
    ck_assert_uint_eq(p.server.frames, 8);
    ck_assert(p.client.drained);
    ck_assert_uint_eq(kb_conn_queued_bytes(p.client.conn), 0);
    pair_end(&p);
}
END_TEST

static struct kb_block *kept[4];
static void keep_frame(struct kb_conn *conn, void *user, struct kb_block *frame)
{
    struct end *e = user;
    kept[e->frames++] = kb_block_ref(frame);
}

START_TEST(budget__stops_reading_while_frames_are_held)
{
    struct pair p;
    struct kb_budget budget = {.limit_bytes = 25000};
    struct kb_conn_options limited = options;
    struct kb_conn_handler keeper = handler;
    limited.budget = &budget;
    keeper.on_frame = keep_frame;
    pair_start(&p, 6, &limited);
    pair_connect(&p);
    kb_conn_set_handler(p.server.conn, &keeper, &p.server);
    for (uint32_t i = 0; i < 4; i++)
        send_number(p.client.conn, i, 10000);
    sim_world_run_for(p.world, 100);
    ck_assert_uint_eq(p.server.frames, 2);
    kept[0] = kb_block_unref(kept[0]);
    kept[1] = kb_block_unref(kept[1]);
    sim_world_run_for(p.world, 100);
    ck_assert_uint_eq(p.server.frames, 4);
    kept[2] = kb_block_unref(kept[2]);
    kept[3] = kb_block_unref(kept[3]);
    ck_assert_uint_eq(budget.used_bytes, 0);
    pair_end(&p);
}
END_TEST

START_TEST(bad_frame__closes_the_connection)
{
    struct pair p;
    pair_start(&p, 6, &options);
    pair_connect(&p);
    struct kb_chain c = {0};
    kb_chain_add_copy(&c, "\x7f\xff\xff\xff\0\0\0\0", 8);
    kb_conn_send(p.client.conn, &c);
    sim_world_run_for(p.world, 100);
    ck_assert(p.server.closed && p.server.reason == KB_CLOSE_BAD_FRAME);
    ck_assert(p.client.closed && p.client.reason == KB_CLOSE_PEER);
    pair_end(&p);
}
END_TEST

START_TEST(kill__closes_the_other_end_soon)
{
    struct pair p;
    pair_start(&p, 6, &options);
    pair_connect(&p);
    sim_env_kill(p.server_env);
    sim_world_run_for(p.world, 100);
    ck_assert(p.client.closed && p.client.reason == KB_CLOSE_PEER);
    ck_assert(!p.server.closed);
    pair_end(&p);
}
END_TEST

START_TEST(power_cut__leaves_the_other_end_half_open)
{
    struct pair p;
    pair_start(&p, 6, &options);
    pair_connect(&p);
    sim_env_power_cut(p.server_env);
    p.listener = kb_listener_close(p.listener);
    (void)sim_env_free(p.server_env);
    send_number(p.client.conn, 0, 0);
    sim_world_run_for(p.world, 10000);
    ck_assert(!p.client.closed);
    p.server_env = sim_host_start(p.b); /* the new kernel knows nothing of that connection */
    sim_world_run_for(p.world, 2000);
    ck_assert(p.client.closed && p.client.reason == KB_CLOSE_PEER);
    pair_end(&p);
}
END_TEST

START_TEST(power_cut__is_noticed_by_a_sender_in_the_end)
{
    struct pair p;
    pair_start(&p, 6, &options);
    pair_connect(&p);
    sim_net_set_tcp_timeout(p.world, 5000);
    sim_env_power_cut(p.server_env);
    send_number(p.client.conn, 0, 0);
    sim_world_run_for(p.world, 4900);
    ck_assert(!p.client.closed);
    sim_world_run_for(p.world, 2000);
    ck_assert(p.client.closed && p.client.reason == KB_CLOSE_ERROR);
    pair_end(&p);
}
END_TEST

/* What the quorum's checker knows of the network. */
START_TEST(steady__ends_with_gaps_cuts_and_connections)
{
    struct pair p;
    pair_start(&p, 11, &options);
    pair_connect(&p);
    ck_assert_uint_eq(sim_net_heard_us(p.a, p.b), 0);
    uint32_t number = 0;
    for (int i = 0; i < 20; i++) {
        send_number(p.client.conn, number++, 0);
        sim_world_run_for(p.world, 100);
    }
    uint64_t now_us = sim_world_now_us(p.world);
    ck_assert_uint_le(now_us - sim_net_heard_us(p.a, p.b), 200000);
    ck_assert_uint_le(sim_net_steady_us(p.a, p.b), now_us - 1900000);
    ck_assert_uint_eq(sim_net_heard_us(p.b, p.a), 0);
    sim_world_run_for(p.world, 500);
    send_number(p.client.conn, number++, 0);
    sim_world_run_for(p.world, 100);
    ck_assert_uint_gt(sim_net_steady_us(p.a, p.b), now_us); /* after a gap */
    sim_net_cut(p.a, p.b);
    sim_net_heal(p.a, p.b);
    ck_assert_uint_gt(sim_net_steady_us(p.a, p.b), sim_world_now_us(p.world));
    sim_world_run_for(p.world, 2000);
    now_us = sim_world_now_us(p.world);
    sim_net_reset(p.a, p.b);
    ck_assert_uint_ge(sim_net_steady_us(p.b, p.a), now_us);
    sim_env_kill(p.server_env);
    ck_assert_uint_eq(sim_net_heard_us(p.a, p.b), 0);
    pair_end(&p);
}
END_TEST

/* One connection may be late while others are heard. */
START_TEST(steady__ends_with_clogs_and_skews)
{
    static const struct sim_link_settings skewed = {.skew_us_max = 2000000};
    struct pair p;
    pair_start(&p, 11, &options);
    pair_connect(&p);
    send_number(p.client.conn, 0, 0);
    sim_world_run_for(p.world, 100);
    uint64_t now_us = sim_world_now_us(p.world);
    sim_net_clog(p.a, p.b, 300000);
    ck_assert_uint_eq(sim_net_steady_us(p.a, p.b), now_us + 300000);
    ck_assert_uint_lt(sim_net_steady_us(p.b, p.a), now_us);
    sim_world_run_for(p.world, 1000);
    sim_net_set_all(p.world, &skewed);
    send_number(p.client.conn, 1, 0);
    sim_net_set_all(p.world, &(struct sim_link_settings){0});
    while (p.server.frames < 2 && sim_world_step(p.world))
        ;
    ck_assert_uint_ge(sim_world_now_us(p.world), now_us + 1000000);
    ck_assert_uint_eq(sim_net_steady_us(p.a, p.b), sim_world_now_us(p.world));
    pair_end(&p);
}
END_TEST

START_TEST(cut__makes_bytes_wait_and_heal_delivers_them)
{
    struct pair p;
    pair_start(&p, 6, &options);
    pair_connect(&p);
    sim_net_cut(p.a, p.b); /* one way only */
    send_number(p.client.conn, 0, 0);
    send_number(p.server.conn, 0, 0);
    sim_world_run_for(p.world, 3000);
    ck_assert_uint_eq(p.server.frames, 0);
    ck_assert_uint_eq(p.client.frames, 1);
    sim_net_heal(p.a, p.b);
    sim_world_run_for(p.world, 1000);
    ck_assert_uint_eq(p.server.frames, 1);
    sim_world_run_for(p.world, 60000);
    ck_assert(!p.client.closed && !p.server.closed);
    pair_end(&p);
}
END_TEST

START_TEST(freeze__accepts_in_the_kernel_and_answers_later)
{
    struct pair p;
    pair_start(&p, 6, &options);
    sim_env_freeze(p.server_env);
    p.client.conn = kb_env_connect(sim_env_kb(p.client_env), "b", 9092, 1000, &options, &handler,
                                   &p.client);
    send_number(p.client.conn, 0, 0);
    sim_world_run_for(p.world, 3000);
    ck_assert(p.client.open && !p.client.closed);
    ck_assert(!p.server.open);
    sim_env_thaw(p.server_env);
    sim_world_run_for(p.world, 10);
    ck_assert(p.server.open);
    ck_assert_uint_eq(p.server.frames, 1);
    pair_end(&p);
}
END_TEST

static void send_range(struct pair *p, struct kb_file *f)
{
    struct kb_chain c = {0};
    kb_chain_add_file(&c, f, 0, 8);
    kb_conn_send(p->client.conn, &c);
}

START_TEST(file_range__is_sent_or_closes_the_connection_when_stale)
{
    struct pair p;
    pair_start(&p, 6, &options);
    pair_connect(&p);
    sim_disk_put(sim_host_disk(p.a), "log", "\0\0\0\4\0\0\0\0", 8);
    struct kb_file *f = kb_file_new(sim_env_kb(p.client_env), "log");
    send_range(&p, f);
    sim_world_run_for(p.world, 100);
    ck_assert_uint_eq(p.server.frames, 1);
    send_range(&p, f);
    kb_file_bump(f);
    sim_world_run_for(p.world, 100);
    ck_assert_uint_eq(p.server.frames, 1);
    ck_assert(p.client.closed && p.client.reason == KB_CLOSE_STALE_RANGE);
    ck_assert(p.server.closed && p.server.reason == KB_CLOSE_PEER);
    (void)kb_file_unref(f);
    pair_end(&p);
}
END_TEST

START_TEST(listen__refuses_a_taken_port_and_finds_a_free_one)
{
    struct pair p;
    pair_start(&p, 6, &options);
    struct kb_env *env = sim_env_kb(p.server_env);
    struct kb_listener *l[2] = {0};
    ck_assert_int_eq(kb_env_listen(env, "b", 9092, &options, on_accept, &p, &l[0]), -KB_EADDRINUSE);
    ck_assert_int_eq(kb_env_listen(env, "a", 1, &options, on_accept, &p, &l[0]), -KB_EUNREACHABLE);
    ck_assert_int_eq(kb_env_listen(env, "", 0, &options, on_accept, &p, &l[0]), 0);
    ck_assert_int_eq(kb_env_listen(env, "", 0, &options, on_accept, &p, &l[1]), 0);
    ck_assert_uint_ne(kb_listener_port(l[0]), kb_listener_port(l[1]));
    (void)kb_listener_close(l[0]);
    (void)kb_listener_close(l[1]);
    pair_end(&p);
}
END_TEST

START_TEST(clog__holds_everything_back_and_gives_it_at_once)
{
    struct pair p;
    pair_start(&p, 6, &options);
    pair_connect(&p);
    sim_net_clog(p.a, p.b, 2000000);
    for (uint32_t i = 0; i < 5; i++) {
        send_number(p.client.conn, i, 0);
        sim_world_run_for(p.world, 300);
    }
    ck_assert_uint_eq(p.server.frames, 0);
    send_number(p.server.conn, 0, 0); /* the other way is free */
    sim_world_run_for(p.world, 400);
    ck_assert_uint_eq(p.client.frames, 1);
    ck_assert_uint_eq(p.server.frames, 0);
    sim_world_run_for(p.world, 110);
    ck_assert_uint_eq(p.server.frames, 5);
    ck_assert(!p.client.closed && !p.server.closed);
    pair_end(&p);
}
END_TEST

START_TEST(half_open__is_told_at_one_end_and_found_by_sending_at_the_other)
{
    struct pair p;
    pair_start(&p, 6, &options);
    pair_connect(&p);
    sim_net_half_open(p.b, p.a);
    sim_world_run_for(p.world, 20000);
    ck_assert(p.server.closed && p.server.reason == KB_CLOSE_ERROR);
    ck_assert(!p.client.closed);
    send_number(p.client.conn, 0, 0);
    sim_world_run_for(p.world, 10);
    ck_assert(p.client.closed && p.client.reason == KB_CLOSE_PEER);
    ck_assert_uint_eq(p.server.frames, 0);
    ck_assert_uint_eq(sim_net_counts(p.world).half_opened, 1);
    pair_end(&p);
}
END_TEST

/* What one connection was sent first comes after what another one was sent later; each keeps its
 * own order. */
START_TEST(skew__reorders_between_connections_only)
{
    uint32_t overtaken = 0;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct pair p;
        struct end refused[20] = {0};
        pair_start(&p, seed, &options);
        for (uint64_t i = 0; i < seed; i++) /* the connections' numbers decide */
            (void)kb_env_connect(sim_env_kb(p.client_env), "b", 1, 1000, &options, &handler,
                                 &refused[i]);
        sim_world_run_for(p.world, 100);
        pair_connect(&p);
        struct end first = p.server;
        struct end second_client = {0};
        p.server = (struct end){0};
        second_client.conn = kb_env_connect(sim_env_kb(p.client_env), "b", 9092, 1000, &options,
                                            &handler, &second_client);
        sim_world_run_for(p.world, 10);
        ck_assert(p.server.open);
        kb_conn_set_handler(first.conn, &handler, &first);
        struct sim_link_settings s = {.delay_us_min = 100, .delay_us_max = 100};
        s.skew_us_max = 500000;
        sim_net_set_all(p.world, &s);
        for (uint32_t i = 0; i < 3; i++)
            send_number(p.client.conn, i, 0);
        sim_world_run_for(p.world, 50);
        send_number(second_client.conn, 0, 0);
        while (p.server.frames == 0 && sim_world_step(p.world))
            ;
        overtaken += first.frames == 0;
        sim_world_run_for(p.world, 1000);
        ck_assert_uint_eq(first.frames, 3);
        pair_end(&p);
    }
    ck_assert_uint_gt(overtaken, 3);
    ck_assert_uint_lt(overtaken, 17);
}
END_TEST

UNIT_MAIN("sim_net", clog__holds_everything_back_and_gives_it_at_once,
          half_open__is_told_at_one_end_and_found_by_sending_at_the_other,
          skew__reorders_between_connections_only,
          frames__arrive_whole_and_in_order_under_delay_and_loss,
          close__is_told_after_the_last_byte, connect__tells_refused_unreachable_and_timeout_apart,
          pause__slows_the_sender_and_drain_tells_when_it_is_over,
          budget__stops_reading_while_frames_are_held, bad_frame__closes_the_connection,
          kill__closes_the_other_end_soon, power_cut__leaves_the_other_end_half_open,
          power_cut__is_noticed_by_a_sender_in_the_end,
          cut__makes_bytes_wait_and_heal_delivers_them, steady__ends_with_gaps_cuts_and_connections,
          steady__ends_with_clogs_and_skews, freeze__accepts_in_the_kernel_and_answers_later,
          file_range__is_sent_or_closes_the_connection_when_stale,
          listen__refuses_a_taken_port_and_finds_a_free_one)
