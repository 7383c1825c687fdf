/* Dialling: two ends of one environment talk to each other, and every way a dial can fail is told
 * apart. Timers too: they share the loop. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/socket.h>

#include "tests/unit/server/world.h"
#include "tests/unit/unit.h"

struct end {
    struct kb_conn *conn;
    bool opened;
    bool closed;
    bool got;
    enum kb_close_reason reason;
    struct kb_buf last;
};

static void on_open(struct kb_conn *conn, void *user)
{
    struct end *e = user;
    (void)conn;
    e->opened = true;
}

static void on_frame(struct kb_conn *conn, void *user, struct kb_block *frame)
{
    struct end *e = user;
    (void)conn;
    e->last.size = 0;
    kb_buf_append(&e->last, frame->data, frame->size);
    e->got = true;
}

static void on_close(struct kb_conn *conn, void *user, enum kb_close_reason reason)
{
    struct end *e = user;
    ck_assert(!e->closed);
    ck_assert(e->conn == NULL || e->conn == conn);
    e->closed = true;
    e->reason = reason;
    e->conn = NULL;
}

static const struct kb_conn_handler handler = {
    .on_open = on_open, .on_frame = on_frame, .on_close = on_close};
static const struct kb_conn_options options = {
    .frame_bytes_max = 1 << 20, .send_high_bytes = 1 << 20, .control = true};

static void on_accept(struct kb_conn *conn, const char *host, uint16_t port, void *arg)
{
    struct end *e = arg;
    (void)host;
    (void)port;
    e->conn = conn;
    e->opened = true;
    kb_conn_set_handler(conn, &handler, e);
}

static void say(struct kb_conn *conn, const char *text)
{
    struct kb_chain chain = {0};
    uint8_t prefix[4];
    kb_put_be32(prefix, (uint32_t)strlen(text));
    kb_chain_add_copy(&chain, prefix, 4);
    kb_chain_add_copy(&chain, text, strlen(text));
    kb_conn_send(conn, &chain);
}

/* A port of this machine that nobody listens on. */
static uint16_t free_port(void)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t size = sizeof(a);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    ck_assert_int_eq(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
    ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&a, &size), 0);
    (void)close(fd);
    return ntohs(a.sin_port);
}

static enum kb_close_reason dial_fails(struct world *w, const char *host, uint16_t port,
                                       uint64_t timeout_ms)
{
    struct end e = {0};
    e.conn = kb_env_connect(w->env, host, port, timeout_ms, &options, &handler, &e);
    ck_assert_ptr_nonnull(e.conn);
    ck_assert(!e.closed); /* never from inside the call */
    world_until(w, &e.closed);
    ck_assert(!e.opened);
    return e.reason;
}

START_TEST(dial__by_address_and_by_name_both_ends_talk)
{
    static const char *const hosts[] = {"127.0.0.1", "localhost", "localhost"};
    struct world w;
    world_open(&w, NULL);
    for (int i = 0; i < 3; i++) {
        struct kb_listener *l = NULL;
        struct end server = {0};
        struct end client = {0};
        ck_assert_int_eq(kb_env_listen(w.env, "", 0, &options, on_accept, &server, &l), 0);
        client.conn = kb_env_connect(w.env, hosts[i], kb_listener_port(l), 5000, &options, &handler,
                                     &client);
        say(client.conn, "before it is open");
        world_until(&w, &server.got);
        ck_assert(client.opened);
        ck_assert_uint_eq(server.last.size, 17);
        say(server.conn, "answer");
        world_until(&w, &client.got);
        ck_assert_mem_eq(client.last.data, "answer", 6);
        kb_conn_close(client.conn);
        world_until(&w, &server.closed);
        ck_assert_int_eq(server.reason, KB_CLOSE_PEER);
        ck_assert_int_eq(client.reason, KB_CLOSE_LOCAL);
        kb_buf_release(&server.last);
        kb_buf_release(&client.last);
        l = kb_listener_close(l);
    }
    world_close(&w);
}
END_TEST

static void on_close_stop(struct kb_conn *conn, void *user, enum kb_close_reason reason)
{
    (void)conn;
    (void)reason;
    srv_env_stop(user);
}

START_TEST(run__ends_when_the_last_callback_of_a_round_stops_it)
{
    static const struct kb_conn_handler stopper = {.on_frame = on_frame, .on_close = on_close_stop};
    struct world w;
    world_open(&w, NULL);
    struct kb_conn *c = kb_env_connect(w.env, "127.0.0.1", free_port(), 5000, &options, &stopper,
                                       w.srv);
    kb_conn_close(c);
    srv_env_run(w.srv); /* on_close is delivered at the end of a round, when nothing else waits */
    world_close(&w);
}
END_TEST

START_TEST(dial__failures_are_told_apart)
{
    struct world w;
    world_open(&w, NULL);
    ck_assert_int_eq(dial_fails(&w, "127.0.0.1", free_port(), 5000), KB_CLOSE_REFUSED);
    ck_assert_int_eq(dial_fails(&w, "localhost", free_port(), 5000), KB_CLOSE_REFUSED);
    ck_assert_int_eq(dial_fails(&w, "no-such-host.invalid", 9092, 8000), KB_CLOSE_UNREACHABLE);
    /* A listener whose queue is full accepts no more: the dial runs into its limit. */
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t size = sizeof(a);
    int full = socket(AF_INET, SOCK_STREAM, 0);
    ck_assert_int_eq(bind(full, (struct sockaddr *)&a, sizeof(a)), 0);
    ck_assert_int_eq(listen(full, 0), 0);
    ck_assert_int_eq(getsockname(full, (struct sockaddr *)&a, &size), 0);
    int filler[3];
    for (int i = 0; i < 3; i++) {
        filler[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
        (void)connect(filler[i], (struct sockaddr *)&a, sizeof(a));
    }
    uint64_t start_ms = kb_env_now_ms(w.env);
    ck_assert_int_eq(dial_fails(&w, "127.0.0.1", ntohs(a.sin_port), 200), KB_CLOSE_TIMEOUT);
    ck_assert_uint_ge(kb_env_now_ms(w.env) - start_ms, 199);
    for (int i = 0; i < 3; i++)
        (void)close(filler[i]);
    (void)close(full);
    /* Closed by ourselves while the name is looked up. */
    struct end e = {0};
    e.conn = kb_env_connect(w.env, "also-missing.invalid", 1, 5000, &options, &handler, &e);
    kb_conn_close(e.conn);
    world_until(&w, &e.closed);
    ck_assert_int_eq(e.reason, KB_CLOSE_LOCAL);
    world_close(&w);
}
END_TEST

START_TEST(listen__names_what_is_wrong)
{
    struct world w;
    struct end e = {0};
    struct kb_listener *l = NULL;
    struct kb_listener *second = NULL;
    world_open(&w, NULL);
    ck_assert_int_eq(kb_env_listen(w.env, "127.0.0.1", 0, &options, on_accept, &e, &l), 0);
    uint16_t port = kb_listener_port(l);
    ck_assert_int_eq(kb_env_listen(w.env, "127.0.0.1", port, &options, on_accept, &e, &second),
                     -KB_EADDRINUSE);
    ck_assert_int_eq(kb_env_listen(w.env, "203.0.113.7", 0, &options, on_accept, &e, &second),
                     -KB_EUNREACHABLE);
    ck_assert_ptr_null(second);
    l = kb_listener_close(l);
    ck_assert_int_eq(kb_env_listen(w.env, "127.0.0.1", port, &options, on_accept, &e, &l), 0);
    l = kb_listener_close(l);
    world_close(&w);
}
END_TEST

struct tick {
    struct world *w;
    struct kb_timer *timer;
    struct kb_buf *story;
    char name;
    int again;
    bool done;
    uint64_t fired_us;
};

static void on_tick(void *arg)
{
    struct tick *t = arg;
    kb_buf_append(t->story, &t->name, 1);
    t->fired_us = kb_env_now_us(t->w->env);
    ck_assert(!kb_timer_armed(t->timer));
    if (t->again-- > 0) {
        kb_timer_arm(t->timer, 0);
        return;
    }
    t->done = true;
    if (t->name == 'f')
        t->timer = kb_timer_free(t->timer);
}

START_TEST(timer__order_rearm_cancel_and_free_inside)
{
    struct world w;
    struct kb_buf story = {0};
    struct tick t[6];
    world_open(&w, NULL);
    for (int i = 0; i < 6; i++) {
        t[i] = (struct tick){.w = &w, .story = &story, .name = (char)('a' + i)};
        t[i].timer = kb_timer_new(w.env, on_tick, &t[i]);
        ck_assert(!kb_timer_armed(t[i].timer));
    }
    uint64_t start_us = kb_env_now_us(w.env);
    kb_timer_arm(t[0].timer, 30);
    kb_timer_arm(t[1].timer, 10);
    kb_timer_arm(t[2].timer, 10);
    kb_timer_arm(t[3].timer, 5);
    kb_timer_arm(t[3].timer, 50);
    kb_timer_arm(t[4].timer, 7);
    kb_timer_cancel(t[4].timer);
    kb_timer_arm(t[5].timer, 20);
    t[1].again = 2;
    ck_assert(kb_timer_armed(t[3].timer));
    world_until(&w, &t[3].done);
    kb_buf_append(&story, "", 1);
    ck_assert_str_eq((char *)story.data, "bcbbfad");
    ck_assert_uint_ge(t[2].fired_us - start_us, 10000);
    ck_assert_uint_ge(t[3].fired_us - start_us, 50000);
    for (int i = 0; i < 6; i++)
        t[i].timer = kb_timer_free(t[i].timer);
    kb_buf_release(&story);
    world_close(&w);
}
END_TEST

struct due {
    struct kb_timer *timer;
    struct due *(*fired)[3000];
    size_t *n_fired;
    uint64_t from_us; /* its time lies between these two */
    uint64_t to_us;
};

static void on_due(void *arg)
{
    struct due *d = arg;
    (*d->fired)[(*d->n_fired)++] = d;
}

START_TEST(timer__thousands_fire_in_the_order_of_their_times)
{
    enum { COUNT = 3000 };
    static struct due *fired[COUNT];
    struct world w;
    struct due *t = kb_calloc(COUNT, sizeof(*t));
    size_t n_fired = 0;
    world_open(&w, NULL);
    for (int i = 0; i < COUNT; i++) {
        uint64_t delay_ms = (uint64_t)(i * 7919 % 100);
        t[i] = (struct due){.fired = &fired, .n_fired = &n_fired};
        t[i].timer = kb_timer_new(w.env, on_due, &t[i]);
        t[i].from_us = kb_env_now_us(w.env) + delay_ms * 1000;
        kb_timer_arm(t[i].timer, delay_ms);
        t[i].to_us = kb_env_now_us(w.env) + delay_ms * 1000;
    }
    for (int i = 0; i < COUNT; i += 3)
        kb_timer_cancel(t[i].timer);
    while (n_fired < COUNT - COUNT / 3)
        srv_env_round(w.srv, 20);
    uint64_t latest_us = 0;
    for (size_t i = 0; i < n_fired; i++) {
        ck_assert_uint_ge(fired[i]->to_us, latest_us);
        if (fired[i]->from_us > latest_us)
            latest_us = fired[i]->from_us;
        ck_assert_int_ne((fired[i] - t) % 3, 0);
    }
    for (int i = 0; i < COUNT; i++)
        t[i].timer = kb_timer_free(t[i].timer);
    (void)kb_free(t);
    world_close(&w);
}
END_TEST

START_TEST(random__differs_and_wall_clock_is_now)
{
    struct world w;
    world_open(&w, NULL);
    ck_assert_uint_ne(kb_env_random_u64(w.env), kb_env_random_u64(w.env));
    ck_assert_int_gt(kb_env_wall_ms(w.env), 1600000000000);
    kb_env_exit(w.env, 3, "the reason");
    ck_assert_str_eq(w.exit_reason, "the reason");
    world_close(&w);
}
END_TEST

UNIT_MAIN("env_dial", run__ends_when_the_last_callback_of_a_round_stops_it,
          dial__by_address_and_by_name_both_ends_talk, dial__failures_are_told_apart,
          listen__names_what_is_wrong, timer__order_rearm_cancel_and_free_inside,
          timer__thousands_fire_in_the_order_of_their_times, random__differs_and_wall_clock_is_now)
