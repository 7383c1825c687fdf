/* File ranges as output: what arrives is what the file holds, whether the pages are warm or cold,
 * for ranges of every size; a range whose log was cut closes its connection. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/socket.h>

#include "tests/unit/server/world.h"
#include "tests/unit/unit.h"

#define FILE_BYTES (3 * 1024 * 1024 + 777)
#define STALE_BYTES 67108864

struct fixture {
    struct world w;
    struct kb_listener *listener;
    struct kb_conn *conn;
    int client;
    bool closed;
    enum kb_close_reason reason;
    char *path;
    struct kb_file *file;
};

static void on_frame(struct kb_conn *conn, void *user, struct kb_block *frame)
{
    (void)conn;
    (void)user;
    (void)frame;
}

static void on_close(struct kb_conn *conn, void *user, enum kb_close_reason reason)
{
    struct fixture *f = user;
    (void)conn;
    f->closed = true;
    f->reason = reason;
    f->conn = NULL;
}

static const struct kb_conn_handler handler = {.on_frame = on_frame, .on_close = on_close};

static void on_accept(struct kb_conn *conn, const char *host, uint16_t port, void *arg)
{
    struct fixture *f = arg;
    (void)host;
    (void)port;
    f->conn = conn;
    kb_conn_set_handler(conn, &handler, f);
}

static void fixture_open_with(struct fixture *f, const struct srv_env_options *options)
{
    struct kb_conn_options o = {.frame_bytes_max = 1 << 20, .send_high_bytes = 1 << 20};
    memset(f, 0, sizeof(*f));
    world_open(&f->w, options);
    ck_assert_int_eq(kb_env_listen(f->w.env, "127.0.0.1", 0, &o, on_accept, f, &f->listener), 0);
    struct sockaddr_in a = {.sin_family = AF_INET,
                            .sin_port = htons(kb_listener_port(f->listener)),
                            .sin_addr = {htonl(INADDR_LOOPBACK)}};
    f->client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_eq(connect(f->client, (struct sockaddr *)&a, sizeof(a)), 0);
    (void)fcntl(f->client, F_SETFL, O_NONBLOCK);
    while (f->conn == NULL)
        srv_env_round(f->w.srv, 10);
    f->path = world_file(&f->w, "segment", FILE_BYTES);
    f->file = kb_file_new(f->w.env, f->path);
}

static void fixture_open(struct fixture *f)
{
    fixture_open_with(f, NULL);
}

static void fixture_close(struct fixture *f)
{
    (void)close(f->client);
    while (!f->closed)
        srv_env_round(f->w.srv, 10);
    f->listener = kb_listener_close(f->listener);
    f->file = kb_file_unref(f->file);
    ck_assert_int_eq(srv_env_quiesce(f->w.srv, 10000), 0);
    (void)kb_free(f->path);
    world_close(&f->w);
}

static void make_cold(const struct fixture *f)
{
    int fd = open(f->path, O_RDWR);
    ck_assert_int_eq(fsync(fd), 0);
    ck_assert_int_eq(posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED), 0);
    (void)close(fd);
}

/* Bytes read, until size or the end of the stream. */
static size_t receive(struct fixture *f, uint8_t *ret, size_t size)
{
    uint64_t end_ms = kb_env_now_ms(f->w.env) + 20000;
    size_t done = 0;
    while (done < size) {
        srv_env_round(f->w.srv, 1);
        ssize_t n = recv(f->client, ret + done, size - done, 0);
        if (n == 0 || (n < 0 && errno != EAGAIN))
            break;
        done += n > 0 ? (size_t)n : 0;
        ck_assert_uint_lt(kb_env_now_ms(f->w.env), end_ms);
    }
    return done;
}

struct range {
    uint64_t position;
    uint64_t size;
};

/* Header, range, header, range, … and what it must look like to the other side. */
static size_t queue(struct fixture *f, const struct range *ranges, size_t count, uint8_t *expected)
{
    struct kb_chain chain = {0};
    size_t total = 0;
    for (size_t i = 0; i < count; i++) {
        kb_chain_add_copy(&chain, "header", 6);
        kb_chain_add_file(&chain, f->file, ranges[i].position, ranges[i].size);
        memcpy(expected + total, "header", 6); /* NOLINT(bugprone-not-null-terminated-result) */
        total += 6;
        for (uint64_t p = 0; p < ranges[i].size; p++)
            expected[total++] = world_byte(ranges[i].position + p);
    }
    kb_conn_send(f->conn, &chain);
    return total;
}

static void check_ranges(struct fixture *f, const struct range *ranges, size_t count)
{
    size_t size = 0;
    for (size_t i = 0; i < count; i++)
        size += 6 + (size_t)ranges[i].size;
    uint8_t *expected = kb_alloc(size);
    uint8_t *in = kb_alloc(size);
    ck_assert_uint_eq(queue(f, ranges, count, expected), size);
    ck_assert_uint_eq(receive(f, in, size), size);
    ck_assert_int_eq(memcmp(in, expected, size), 0);
    ck_assert_uint_eq(kb_conn_queued_bytes(f->conn), 0);
    (void)kb_free(expected);
    (void)kb_free(in);
}

static const struct range mixed[] = {
    {0, 1},          {1, 4096},       {5000, 100000},      {700001, 256 * 1024 - 1},
    {3, 256 * 1024}, {100, 1500000},  {FILE_BYTES - 9, 9}, {77, 200000},
    {78, 200000},    {0, FILE_BYTES},
};
#define MIXED_COUNT (sizeof(mixed) / sizeof(mixed[0]))

START_TEST(ranges__small_and_large_warm_and_cold_arrive_unchanged)
{
    struct fixture f;
    struct srv_env_stats stats;
    fixture_open(&f);
    check_ranges(&f, mixed, MIXED_COUNT);
    check_ranges(&f, mixed, MIXED_COUNT);
    srv_env_stats(f.w.srv, &stats);
    ck_assert_uint_gt(stats.sendfile_bytes, FILE_BYTES);
    uint64_t cold_before = stats.cold_reads;
    for (size_t i = 0; i < MIXED_COUNT; i++) {
        make_cold(&f);
        check_ranges(&f, mixed + i, 1);
    }
    make_cold(&f);
    check_ranges(&f, mixed, MIXED_COUNT);
    srv_env_stats(f.w.srv, &stats);
    ck_assert_uint_gt(stats.cold_reads, cold_before);
    fixture_close(&f);
}
END_TEST

/* overlayfs and others never say what is in memory: long ranges were fetched again and again. */
START_TEST(ranges__without_reads_that_never_wait_arrive_unchanged)
{
    struct fixture f;
    struct srv_env_options options = {.never_read_now = true};
    struct srv_env_stats stats;
    fixture_open_with(&f, &options);
    check_ranges(&f, mixed, MIXED_COUNT);
    make_cold(&f);
    check_ranges(&f, mixed, MIXED_COUNT);
    srv_env_stats(f.w.srv, &stats);
    ck_assert_uint_gt(stats.sendfile_bytes, FILE_BYTES);
    fixture_close(&f);
}
END_TEST

START_TEST(ranges__hundred_small_ones_in_one_answer)
{
    struct fixture f;
    struct range ranges[100];
    fixture_open(&f);
    for (size_t i = 0; i < 100; i++)
        ranges[i] = (struct range){i * 30001, 1 + i * 211};
    check_ranges(&f, ranges, 100);
    make_cold(&f);
    check_ranges(&f, ranges, 100);
    fixture_close(&f);
}
END_TEST

static void check_stale(uint64_t size, bool partly_sent)
{
    struct fixture f;
    uint8_t *in = kb_alloc(STALE_BYTES);
    uint8_t *expected = kb_alloc(STALE_BYTES);
    fixture_open(&f);
    struct range r = {0, size};
    size_t total = 0;
    for (uint64_t n = 0; n < (partly_sent ? 60000000 / size : 1); n++)
        total += queue(&f, &r, 1, expected + total);
    for (int i = 0; partly_sent && i < 20; i++)
        srv_env_round(f.w.srv, 1);
    kb_file_bump(f.file);
    struct range fresh = {0, 10};
    total += queue(&f, &fresh, 1, expected + total);
    size_t got = receive(&f, in, total);
    ck_assert_uint_lt(got, total);
    ck_assert_int_eq(memcmp(in, expected, got), 0);
    world_until(&f.w, &f.closed);
    ck_assert_int_eq(f.reason, KB_CLOSE_STALE_RANGE);
    fixture_close(&f);
    (void)kb_free(in);
    (void)kb_free(expected);
}

START_TEST(ranges__made_before_a_cut_close_the_connection)
{
    check_stale(1000, false);
    check_stale(FILE_BYTES, false);
    check_stale(100000, true);
    check_stale(FILE_BYTES, true);
}
END_TEST

START_TEST(ranges__made_after_a_cut_are_sent)
{
    struct fixture f;
    fixture_open(&f);
    kb_file_bump(f.file);
    check_ranges(&f, mixed, MIXED_COUNT);
    fixture_close(&f);
}
END_TEST

START_TEST(ranges__beyond_the_end_close_the_connection)
{
    static const struct range beyond[] = {
        {FILE_BYTES - 5, 6}, {FILE_BYTES + 10, 1}, {FILE_BYTES - 300000, 300001}};
    for (size_t i = 0; i < 3; i++) {
        struct fixture f;
        uint8_t *buffer = kb_alloc(1 << 20);
        fixture_open(&f);
        size_t total = queue(&f, &beyond[i], 1, buffer);
        ck_assert_uint_lt(receive(&f, buffer, total), total);
        world_until(&f.w, &f.closed);
        ck_assert_int_eq(f.reason, KB_CLOSE_ERROR);
        fixture_close(&f);
        (void)kb_free(buffer);
    }
}
END_TEST

START_TEST(ranges__connection_gone_while_the_disk_reads)
{
    struct fixture f;
    uint8_t *expected = kb_alloc(4000000);
    fixture_open(&f);
    make_cold(&f);
    struct range r = {100, 200000};
    (void)queue(&f, &r, 1, expected);
    srv_env_round(f.w.srv, 0); /* the cold read starts */
    kb_conn_close(f.conn);
    world_until(&f.w, &f.closed);
    fixture_close(&f);
    /* And the whole environment ends while a read is under way. */
    fixture_open(&f);
    make_cold(&f);
    (void)queue(&f, &r, 1, expected);
    srv_env_round(f.w.srv, 0);
    f.file = kb_file_unref(f.file);
    (void)kb_free(f.path);
    (void)close(f.client);
    world_close(&f.w);
    (void)kb_free(expected);
}
END_TEST

UNIT_MAIN("env_ranges", ranges__without_reads_that_never_wait_arrive_unchanged,
          ranges__small_and_large_warm_and_cold_arrive_unchanged,
          ranges__hundred_small_ones_in_one_answer, ranges__made_before_a_cut_close_the_connection,
          ranges__made_after_a_cut_are_sent, ranges__beyond_the_end_close_the_connection,
          ranges__connection_gone_while_the_disk_reads)
