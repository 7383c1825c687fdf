/* Frames over real loopback sockets: a plain blocking client socket of the test talks to a listener
 * of the environment, whose connections echo, pause, run out of budget or are closed. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>

#include "tests/unit/server/world.h"
#include "tests/unit/unit.h"

struct service {
    struct world *w;
    struct kb_listener *listener;
    struct kb_conn *last;
    size_t n_accepted;
    size_t n_frames;
    size_t n_closed;
    uint64_t bytes;
    bool echo;
    bool hold;  /* keep a reference to every frame */
    bool pause; /* pause after each frame */
    struct kb_block *held[64];
    size_t n_held;
    enum kb_close_reason reason;
    size_t n_drained;
};

static void send_frame(struct kb_conn *conn, const void *data, size_t size)
{
    struct kb_chain chain = {0};
    uint8_t prefix[4];
    kb_put_be32(prefix, (uint32_t)size);
    kb_chain_add_copy(&chain, prefix, 4);
    kb_chain_add_copy(&chain, data, size);
    kb_conn_send(conn, &chain);
    ck_assert_uint_eq(chain.count, 0);
}

static void on_frame(struct kb_conn *conn, void *user, struct kb_block *frame)
{
    struct service *s = user;
    s->n_frames++;
    s->bytes += frame->size;
    if (s->pause)
        kb_conn_pause(conn);
    if (s->echo)
        send_frame(conn, frame->data, frame->size);
    if (s->hold)
        s->held[s->n_held++] = kb_block_ref(frame);
}

static void on_close(struct kb_conn *conn, void *user, enum kb_close_reason reason)
{
    struct service *s = user;
    s->n_closed++;
    s->reason = reason;
    if (s->last == conn)
        s->last = NULL;
}

static void on_drain(struct kb_conn *conn, void *user)
{
    struct service *s = user;
    (void)conn;
    s->n_drained++;
}

static const struct kb_conn_handler handler = {
    .on_frame = on_frame, .on_drain = on_drain, .on_close = on_close};

static void on_accept(struct kb_conn *conn, const char *host, uint16_t port, void *arg)
{
    struct service *s = arg;
    ck_assert_str_eq(host, "127.0.0.1");
    ck_assert_uint_ne(port, 0);
    s->n_accepted++;
    s->last = conn;
    kb_conn_set_handler(conn, &handler, s);
}

static void service_open(struct service *s, struct world *w, const struct kb_conn_options *options)
{
    memset(s, 0, sizeof(*s));
    s->w = w;
    s->echo = true;
    ck_assert_int_eq(kb_env_listen(w->env, "127.0.0.1", 0, options, on_accept, s, &s->listener), 0);
    ck_assert_uint_ne(kb_listener_port(s->listener), 0);
}

static void service_close(struct service *s)
{
    for (size_t i = 0; i < s->n_held; i++)
        s->held[i] = kb_block_unref(s->held[i]);
    s->listener = kb_listener_close(s->listener);
}

static const struct kb_conn_options plain = {.frame_bytes_max = 1 << 20,
                                             .send_high_bytes = 1 << 20};

static int client_open(struct service *s)
{
    int one = 1;
    struct sockaddr_in a = {.sin_family = AF_INET,
                            .sin_port = htons(kb_listener_port(s->listener)),
                            .sin_addr = {htonl(INADDR_LOOPBACK)}};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_ge(fd, 0);
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    ck_assert_int_eq(connect(fd, (struct sockaddr *)&a, sizeof(a)), 0);
    (void)fcntl(fd, F_SETFL, O_NONBLOCK);
    return fd;
}

static void client_write(struct service *s, int fd, const void *data, size_t size)
{
    size_t done = 0;
    while (done < size) {
        ssize_t n = send(fd, (const uint8_t *)data + done, size - done, MSG_NOSIGNAL);
        if (n > 0)
            done += (size_t)n;
        else
            ck_assert(n < 0 && errno == EAGAIN);
        srv_env_round(s->w->srv, 0);
    }
}

/* Bytes read: size, or fewer at the end of the stream. */
static size_t client_read(struct service *s, int fd, void *ret, size_t size)
{
    size_t done = 0;
    uint64_t end_ms = kb_env_now_ms(s->w->env) + 10000;
    while (done < size) {
        srv_env_round(s->w->srv, 1);
        ssize_t n = recv(fd, (uint8_t *)ret + done, size - done, 0);
        if (n == 0 || (n < 0 && errno != EAGAIN))
            break;
        if (n > 0)
            done += (size_t)n;
        ck_assert_uint_lt(kb_env_now_ms(s->w->env), end_ms);
    }
    return done;
}

static void rounds(struct service *s, int n)
{
    for (int i = 0; i < n; i++)
        srv_env_round(s->w->srv, 1);
}

static void until_frames(struct service *s, size_t n)
{
    uint64_t end_ms = kb_env_now_ms(s->w->env) + 10000;
    while (s->n_frames < n) {
        ck_assert_uint_lt(kb_env_now_ms(s->w->env), end_ms);
        srv_env_round(s->w->srv, 10);
    }
}

static void until_closed(struct service *s, size_t n)
{
    uint64_t end_ms = kb_env_now_ms(s->w->env) + 10000;
    while (s->n_closed < n) {
        ck_assert_uint_lt(kb_env_now_ms(s->w->env), end_ms);
        srv_env_round(s->w->srv, 10);
    }
}

static size_t make_frame(uint8_t *to, const char *text)
{
    size_t size = strlen(text);
    kb_put_be32(to, (uint32_t)size);
    memcpy(to + 4, text, size); /* NOLINT(bugprone-not-null-terminated-result): a frame */
    return size + 4;
}

START_TEST(frame__cut_at_every_byte_arrives_whole)
{
    struct world w;
    struct service s;
    uint8_t out[64];
    uint8_t in[64];
    world_open(&w, NULL);
    service_open(&s, &w, &plain);
    int fd = client_open(&s);
    size_t size = make_frame(out, "first frame");
    size += make_frame(out + size, "");
    size += make_frame(out + size, "the second one");
    for (size_t cut = 0; cut <= size; cut++) {
        client_write(&s, fd, out, cut);
        rounds(&s, 2);
        client_write(&s, fd, out + cut, size - cut);
        ck_assert_uint_eq(client_read(&s, fd, in, size), size);
        ck_assert_mem_eq(in, out, size);
    }
    ck_assert_uint_eq(s.n_frames, 3 * (size + 1));
    (void)close(fd);
    until_closed(&s, 1);
    ck_assert_int_eq(s.reason, KB_CLOSE_PEER);
    service_close(&s);
    world_close(&w);
}
END_TEST

START_TEST(frame__size_out_of_bounds_closes_only_that_connection)
{
    static const uint32_t sizes[] = {(1u << 20) + 1, 0x7fffffff, 0x80000000, 0xffffffff};
    struct world w;
    struct service s;
    uint8_t buffer[64];
    world_open(&w, NULL);
    service_open(&s, &w, &plain);
    int good = client_open(&s);
    for (size_t i = 0; i < 4; i++) {
        int fd = client_open(&s);
        kb_put_be32(buffer, sizes[i]);
        client_write(&s, fd, buffer, 4);
        ck_assert_uint_eq(client_read(&s, fd, buffer, 1), 0);
        until_closed(&s, i + 1);
        ck_assert_int_eq(s.reason, KB_CLOSE_BAD_FRAME);
        (void)close(fd);
    }
    client_write(&s, good, buffer, make_frame(buffer, "alive"));
    ck_assert_uint_eq(client_read(&s, good, buffer, 9), 9);
    (void)close(good);
    until_closed(&s, 5);
    service_close(&s);
    world_close(&w);
}
END_TEST

START_TEST(frame__largest_and_many_small_ones_are_echoed)
{
    struct world w;
    struct service s;
    size_t size = (1 << 20) + 4;
    uint8_t *out = kb_alloc(size);
    uint8_t *in = kb_alloc(size);
    world_open(&w, NULL);
    service_open(&s, &w, &plain);
    int fd = client_open(&s);
    for (size_t i = 4; i < size; i++)
        out[i] = world_byte(i);
    kb_put_be32(out, 1 << 20);
    client_write(&s, fd, out, size);
    ck_assert_uint_eq(client_read(&s, fd, in, size), size);
    ck_assert_mem_eq(in, out, size);
    size_t total = 0;
    for (int i = 0; total < size - 64; i++) {
        char text[32];
        (void)snprintf(text, sizeof(text), "number %d", i);
        total += make_frame(out + total, text);
    }
    client_write(&s, fd, out, total);
    ck_assert_uint_eq(client_read(&s, fd, in, total), total);
    ck_assert_mem_eq(in, out, total);
    (void)close(fd);
    until_closed(&s, 1);
    (void)kb_free(out);
    (void)kb_free(in);
    service_close(&s);
    world_close(&w);
}
END_TEST

START_TEST(pause__delivers_one_request_at_a_time_and_keeps_order)
{
    struct world w;
    struct service s;
    uint8_t out[512];
    uint8_t in[512];
    size_t size = 0;
    world_open(&w, NULL);
    service_open(&s, &w, &plain);
    s.pause = true;
    int fd = client_open(&s);
    for (int i = 0; i < 20; i++) {
        char text[32];
        (void)snprintf(text, sizeof(text), "request %d", i);
        size += make_frame(out + size, text);
    }
    client_write(&s, fd, out, size);
    for (size_t i = 1; i <= 20; i++) {
        until_frames(&s, i);
        rounds(&s, 3);
        ck_assert_uint_eq(s.n_frames, i);
        kb_conn_resume(s.last);
    }
    ck_assert_uint_eq(client_read(&s, fd, in, size), size);
    ck_assert_mem_eq(in, out, size);
    /* Pipelined requests before the end of the stream are not lost by a pause. */
    size = make_frame(out, "one");
    size += make_frame(out + size, "two");
    client_write(&s, fd, out, size);
    (void)close(fd);
    until_frames(&s, 21);
    rounds(&s, 5);
    kb_conn_resume(s.last);
    until_frames(&s, 22);
    s.pause = false;
    if (s.last != NULL)
        kb_conn_resume(s.last);
    until_closed(&s, 1);
    ck_assert_int_eq(s.reason, KB_CLOSE_PEER);
    service_close(&s);
    world_close(&w);
}
END_TEST

START_TEST(pause__notices_a_peer_that_leaves)
{
    struct world w;
    struct service s;
    uint8_t out[64];
    world_open(&w, NULL);
    service_open(&s, &w, &plain);
    s.pause = true;
    s.echo = false;
    int fd = client_open(&s);
    client_write(&s, fd, out, make_frame(out, "a long poll"));
    until_frames(&s, 1);
    (void)close(fd);
    until_closed(&s, 1);
    ck_assert_int_eq(s.reason, KB_CLOSE_PEER);
    service_close(&s);
    world_close(&w);
}
END_TEST

START_TEST(budget__stops_reading_and_goes_on_when_given_back)
{
    struct world w;
    struct service s;
    struct kb_budget budget = {.limit_bytes = (size_t)64 * 1024};
    struct kb_conn_options o = {
        .frame_bytes_max = 32 * 1024, .send_high_bytes = 1 << 20, .budget = &budget};
    struct srv_env_stats stats;
    static uint8_t out[16 * 1024 + 4];
    world_open(&w, NULL);
    service_open(&s, &w, &o);
    s.echo = false;
    s.hold = true;
    int fds[3];
    kb_put_be32(out, sizeof(out) - 4);
    for (int i = 0; i < 3; i++) {
        fds[i] = client_open(&s);
        rounds(&s, 2);
    }
    for (int i = 0; i < 12; i++) /* 4 fit; the sockets take the others */
        ck_assert_int_eq(send(fds[i % 3], out, sizeof(out), MSG_NOSIGNAL), sizeof(out));
    until_frames(&s, 4);
    rounds(&s, 10);
    ck_assert_uint_eq(s.n_frames, 4);
    ck_assert_uint_le(budget.peak_bytes, budget.limit_bytes);
    srv_env_stats(w.srv, &stats);
    ck_assert_uint_ge(stats.reading_stopped, 2);
    for (size_t i = 0; i < 12; i++) {
        until_frames(&s, i < 8 ? i + 4 : 12);
        ck_assert_uint_le(s.n_frames, i + 4);
        s.held[i] = kb_block_unref(s.held[i]);
    }
    ck_assert_uint_eq(s.n_frames, 12);
    for (int i = 0; i < 3; i++)
        (void)close(fds[i]);
    until_closed(&s, 3);
    ck_assert_uint_eq(budget.used_bytes, 0);
    service_close(&s);
    world_close(&w);
}
END_TEST

START_TEST(budget__frame_above_the_whole_budget_is_refused)
{
    struct world w;
    struct service s;
    struct kb_budget budget = {.limit_bytes = 4096};
    struct kb_budget answers = {.limit_bytes = 4096};
    struct kb_conn_options o = {.frame_bytes_max = 1 << 20,
                                .send_high_bytes = 1 << 20,
                                .budget = &budget,
                                .answers = &answers};
    uint8_t out[8];
    world_open(&w, NULL);
    service_open(&s, &w, &o);
    int fd = client_open(&s);
    kb_put_be32(out, 8192);
    client_write(&s, fd, out, 5);
    until_closed(&s, 1);
    ck_assert_int_eq(s.reason, KB_CLOSE_BAD_FRAME);
    (void)close(fd);
    service_close(&s);
    world_close(&w);
}
END_TEST

/* A leader has taken it, so its follower must be able to fetch it. */
START_TEST(budget__frame_above_it_passes_between_brokers)
{
    struct world w;
    struct service s;
    struct kb_budget budget = {.limit_bytes = 4096};
    struct kb_conn_options o = {
        .frame_bytes_max = 1 << 20, .send_high_bytes = 1 << 20, .budget = &budget};
    static uint8_t out[8196];
    static uint8_t in[8196];
    world_open(&w, NULL);
    service_open(&s, &w, &o);
    int fd = client_open(&s);
    kb_put_be32(out, 8192);
    client_write(&s, fd, out, sizeof(out));
    ck_assert_uint_eq(client_read(&s, fd, in, sizeof(in)), sizeof(in));
    (void)close(fd);
    until_closed(&s, 1);
    service_close(&s);
    world_close(&w);
}
END_TEST

/* Three announce 400 KB and send one byte; there is room for two of them. A heartbeat passes. */
START_TEST(budget__large_frames_that_never_come_hold_up_no_small_one)
{
    struct world w;
    struct service s;
    struct kb_budget budget = {.limit_bytes = (size_t)1280 * 1024};
    struct kb_budget answers = {.limit_bytes = 1 << 20};
    struct kb_conn_options o = {.frame_bytes_max = 1 << 20,
                                .send_high_bytes = 1 << 20,
                                .budget = &budget,
                                .answers = &answers};
    struct srv_env_stats stats;
    uint8_t buffer[64];
    uint8_t in[64];
    int fds[4];
    world_open(&w, NULL);
    service_open(&s, &w, &o);
    for (int i = 0; i < 4; i++) {
        fds[i] = client_open(&s);
        rounds(&s, 2);
    }
    for (int i = 0; i < 3; i++) {
        kb_put_be32(buffer, 400 * 1024);
        client_write(&s, fds[i], buffer, 5);
    }
    rounds(&s, 5);
    srv_env_stats(w.srv, &stats);
    ck_assert_uint_eq(stats.reading_stopped, 1);
    size_t size = make_frame(buffer, "heartbeat");
    for (int i = 0; i < 10; i++) {
        client_write(&s, fds[3], buffer, size);
        ck_assert_uint_eq(client_read(&s, fds[3], in, size), size);
    }
    for (int i = 0; i < 4; i++)
        (void)close(fds[i]);
    until_closed(&s, 4);
    ck_assert_uint_eq(budget.used_bytes, 0);
    service_close(&s);
    world_close(&w);
}
END_TEST

/* Eight ask for 64 KB again and again and read nothing, until the answers are above their limit.
 * They are closed, and one that reads is answered. */
START_TEST(answers__who_does_not_read_is_closed_when_memory_is_short)
{
    struct world w;
    struct service s;
    struct kb_budget budget = {.limit_bytes = 8 << 20};
    struct kb_budget answers = {.limit_bytes = 1 << 20};
    struct kb_conn_options o = {.frame_bytes_max = 1 << 20,
                                .send_high_bytes = 1 << 20,
                                .budget = &budget,
                                .answers = &answers};
    static uint8_t out[64 * 1024 + 4];
    static uint8_t in[64 * 1024 + 4];
    int fds[9];
    world_open(&w, NULL);
    service_open(&s, &w, &o);
    for (int i = 0; i < 9; i++) {
        fds[i] = client_open(&s);
        rounds(&s, 2);
    }
    kb_put_be32(out, sizeof(out) - 4);
    size_t at[8] = {0};
    for (int turn = 0; turn < 4000 && answers.used_bytes <= answers.limit_bytes; turn++) {
        int i = turn % 8;
        ssize_t n = send(fds[i], out + at[i], sizeof(out) - at[i], MSG_NOSIGNAL);
        at[i] = n > 0 ? (at[i] + (size_t)n) % sizeof(out) : at[i];
        srv_env_round(w.srv, 0);
    }
    ck_assert_uint_gt(answers.used_bytes, answers.limit_bytes);
    ck_assert_uint_lt(answers.used_bytes, answers.limit_bytes + 16 * sizeof(out));
    client_write(&s, fds[8], out, sizeof(out));
    ck_assert_uint_eq(client_read(&s, fds[8], in, sizeof(in)), sizeof(in));
    ck_assert_mem_eq(in, out, sizeof(in));
    ck_assert_uint_ge(s.n_closed, 1);
    ck_assert_uint_le(s.n_closed, 8);
    ck_assert_int_eq(s.reason, KB_CLOSE_LOCAL);
    for (int i = 0; i < 9; i++)
        (void)close(fds[i]);
    until_closed(&s, 9);
    ck_assert_uint_eq(answers.used_bytes, 0);
    service_close(&s);
    world_close(&w);
}
END_TEST

START_TEST(send__slow_reader_is_congested_then_drains)
{
    struct world w;
    struct service s;
    struct kb_conn_options o = {.frame_bytes_max = 1 << 20, .send_high_bytes = 256 * 1024};
    static uint8_t data[1 << 20];
    size_t total = 16 * (sizeof(data) + 4);
    world_open(&w, NULL);
    service_open(&s, &w, &o);
    int fd = client_open(&s);
    while (s.last == NULL)
        srv_env_round(w.srv, 10);
    for (int i = 0; i < 16; i++)
        send_frame(s.last, data, sizeof(data));
    rounds(&s, 20);
    ck_assert(kb_conn_congested(s.last));
    ck_assert_uint_gt(kb_conn_queued_bytes(s.last), o.send_high_bytes);
    ck_assert_uint_eq(s.n_drained, 0);
    uint8_t *in = kb_alloc(total);
    ck_assert_uint_eq(client_read(&s, fd, in, total), total);
    rounds(&s, 2);
    ck_assert_uint_eq(s.n_drained, 1);
    ck_assert(!kb_conn_congested(s.last));
    ck_assert_uint_eq(kb_conn_queued_bytes(s.last), 0);
    (void)kb_free(in);
    (void)close(fd);
    until_closed(&s, 1);
    service_close(&s);
    world_close(&w);
}
END_TEST

START_TEST(close__after_send_loses_nothing_even_with_unread_input)
{
    struct world w;
    struct service s;
    uint8_t buffer[64];
    world_open(&w, NULL);
    service_open(&s, &w, &plain);
    s.echo = false;
    int fd = client_open(&s);
    client_write(&s, fd, buffer, make_frame(buffer, "hello"));
    until_frames(&s, 1);
    client_write(&s, fd, buffer, 3); /* never answered */
    send_frame(s.last, "last words", 10);
    kb_conn_close_after_send(s.last);
    kb_conn_close_after_send(s.last);
    send_frame(s.last, "too late", 8);
    ck_assert_uint_eq(client_read(&s, fd, buffer, 64), 14);
    ck_assert_mem_eq(buffer + 4, "last words", 10);
    (void)close(fd);
    until_closed(&s, 1);
    ck_assert_int_eq(s.reason, KB_CLOSE_LOCAL);
    /* And at once, from inside the callback of another event. */
    fd = client_open(&s);
    while (s.n_accepted < 2)
        srv_env_round(w.srv, 10);
    kb_conn_close(s.last);
    kb_conn_close(s.last);
    ck_assert_uint_eq(s.n_closed, 1); /* never from inside the call */
    until_closed(&s, 2);
    ck_assert_int_eq(s.reason, KB_CLOSE_LOCAL);
    (void)close(fd);
    service_close(&s);
    world_close(&w);
}
END_TEST

START_TEST(connections__two_hundred_at_once)
{
    struct world w;
    struct service s;
    int fds[200];
    uint8_t buffer[64];
    uint8_t in[64];
    struct srv_env_stats stats;
    world_open(&w, NULL);
    service_open(&s, &w, &plain);
    for (int i = 0; i < 200; i++) {
        fds[i] = client_open(&s);
        srv_env_round(w.srv, 0);
    }
    for (int turn = 0; turn < 5; turn++) {
        for (int i = 0; i < 200; i++) {
            char text[32];
            (void)snprintf(text, sizeof(text), "client %d turn %d", i, turn);
            client_write(&s, fds[i], buffer, make_frame(buffer, text));
        }
        for (int i = 0; i < 200; i++) {
            char text[32];
            (void)snprintf(text, sizeof(text), "client %d turn %d", i, turn);
            size_t size = make_frame(buffer, text);
            ck_assert_uint_eq(client_read(&s, fds[i], in, size), size);
            ck_assert_mem_eq(in, buffer, size);
        }
    }
    srv_env_stats(w.srv, &stats);
    ck_assert_uint_eq(stats.connections, 200);
    for (int i = 0; i < 200; i++)
        (void)close(fds[i]);
    until_closed(&s, 200);
    service_close(&s);
    world_close(&w);
}
END_TEST

UNIT_MAIN("env_frames", frame__cut_at_every_byte_arrives_whole,
          frame__size_out_of_bounds_closes_only_that_connection,
          frame__largest_and_many_small_ones_are_echoed,
          pause__delivers_one_request_at_a_time_and_keeps_order, pause__notices_a_peer_that_leaves,
          budget__stops_reading_and_goes_on_when_given_back,
          budget__frame_above_the_whole_budget_is_refused,
          budget__frame_above_it_passes_between_brokers,
          budget__large_frames_that_never_come_hold_up_no_small_one,
          answers__who_does_not_read_is_closed_when_memory_is_short,
          send__slow_reader_is_congested_then_drains,
          close__after_send_loses_nothing_even_with_unread_input, connections__two_hundred_at_once)
