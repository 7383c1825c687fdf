/* Any bytes on a real socket, in pieces, to a listener of the server: a reader of this file's own
 * cuts them into frames, and exactly these must be delivered, in order, whatever pauses and budgets
 * come between; a size out of bounds closes the connection after them. The first byte: bit 0 = each
 * frame pauses the connection, bit 1 = frames are held, so that the budget runs out. Then steps, a
 * byte that chooses:
 *   0, 1  size(2) bytes: written
 *   2     a round of the loop
 *   3     the connection goes on
 *   4     frames that are held are given back
 *   5     a frame of size(2) made of one byte */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "broker/server/env.h"
#include "proto/base/assert.h"
#include "proto/base/crc32c.h"
#include "proto/base/log.h"
#include "proto/base/mem.h"

enum {
    FRAME_BYTES_MAX = 2048,
    BUDGET_BYTES = 3 * FRAME_BYTES_MAX,
    FRAMES_MAX = 4096,
    HELD_MAX = 16,
    STEPS_MAX = 64,
    ROUNDS_MAX = 5000,
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct frames {
    uint32_t crcs[FRAMES_MAX];
    size_t count;
};

static struct {
    struct srv_env *srv;
    struct kb_listener *listener;
    struct kb_budget budget;
    struct kb_conn *conn;
    bool closed;
    enum kb_close_reason reason;
    bool pauses;
    bool holds;
    struct kb_block *held[HELD_MAX];
    size_t held_count;
    struct frames got;
    /* What was written, read by the rules. */
    struct kb_buf sent;
    size_t read;
    bool broken;
    struct frames wanted;
} bench;

static void add(struct frames *f, const uint8_t *data, size_t size)
{
    KB_ASSERT(f->count < FRAMES_MAX);
    f->crcs[f->count++] = kb_crc32c((uint32_t)size, data, size);
}

static void on_frame(struct kb_conn *conn, void *user, struct kb_block *frame)
{
    (void)user;
    add(&bench.got, frame->data, frame->size);
    if (bench.holds && bench.held_count < HELD_MAX)
        bench.held[bench.held_count++] = kb_block_ref(frame);
    if (bench.pauses)
        kb_conn_pause(conn);
}

static void on_close(struct kb_conn *conn, void *user, enum kb_close_reason reason)
{
    (void)conn;
    (void)user;
    bench.conn = NULL;
    bench.closed = true;
    bench.reason = reason;
}

static const struct kb_conn_handler handler = {.on_frame = on_frame, .on_close = on_close};

static void on_accept(struct kb_conn *conn, const char *host, uint16_t port, void *arg)
{
    (void)host;
    (void)port;
    (void)arg;
    bench.conn = conn;
    kb_conn_set_handler(conn, &handler, NULL);
}

static void on_exit_(void *arg, int status, const char *reason)
{
    (void)arg;
    (void)status;
    (void)reason;
    abort();
}

static void log_nothing(void *arg, enum kb_log_level level, const char *component, const char *text)
{
    (void)arg;
    (void)level;
    (void)component;
    (void)text;
}

static void bench_open(void)
{
    const struct srv_env_options options = {.exit_fn = on_exit_};
    const struct kb_conn_options conn = {.frame_bytes_max = FRAME_BYTES_MAX,
                                         .send_high_bytes = FRAME_BYTES_MAX,
                                         .budget = &bench.budget};
    kb_log_set_sink(log_nothing, NULL, KB_LOG_ERROR);
    bench.budget.limit_bytes = BUDGET_BYTES;
    int r = srv_env_new(&options, &bench.srv);
    KB_ASSERT(r == 0);
    r = kb_env_listen(srv_env_base(bench.srv), "127.0.0.1", 0, &conn, on_accept, NULL,
                      &bench.listener);
    KB_ASSERT(r == 0);
}

static int dial(void)
{
    struct sockaddr_in a = {.sin_family = AF_INET,
                            .sin_port = htons(kb_listener_port(bench.listener)),
                            .sin_addr = {htonl(INADDR_LOOPBACK)}};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&a, sizeof(a)) < 0)
        abort();
    for (int i = 0; i < ROUNDS_MAX && bench.conn == NULL; i++)
        srv_env_round(bench.srv, 10);
    KB_ASSERT(bench.conn != NULL);
    return fd;
}

static void put(int fd, const void *data, size_t size)
{
    if (bench.closed || size == 0)
        return;
    ssize_t n = send(fd, data, size, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n > 0) /* less than all when the other end does not read */
        kb_buf_append(&bench.sent, data, (size_t)n);
    while (!bench.broken && bench.sent.size - bench.read >= 4) {
        uint32_t frame = kb_get_be32(bench.sent.data + bench.read);
        bench.broken = frame > FRAME_BYTES_MAX;
        if (bench.broken || bench.sent.size - bench.read - 4 < frame)
            return;
        add(&bench.wanted, bench.sent.data + bench.read + 4, frame);
        bench.read += 4 + frame;
    }
}

static void give_back(void)
{
    while (bench.held_count > 0)
        (void)kb_block_unref(bench.held[--bench.held_count]);
}

/* ---- steps ---- */

struct input {
    const uint8_t *data;
    size_t size;
};

static uint8_t take_byte(struct input *in)
{
    if (in->size == 0)
        return 0;
    in->size--;
    return *in->data++;
}

static void step(struct input *in, int fd)
{
    uint8_t frame[4 + FRAME_BYTES_MAX];
    uint8_t kind = take_byte(in) % 6;
    size_t size = 0;
    if (kind < 2 || kind == 5) {
        size = (size_t)take_byte(in) << 8;
        size |= take_byte(in);
    }
    switch (kind) {
    case 2:
        srv_env_round(bench.srv, 0);
        break;
    case 3:
        if (bench.conn != NULL)
            kb_conn_resume(bench.conn);
        break;
    case 4:
        give_back();
        break;
    case 5:
        size = size % (FRAME_BYTES_MAX + 1);
        kb_put_be32(frame, (uint32_t)size);
        memset(frame + 4, take_byte(in), size);
        put(fd, frame, 4 + size);
        break;
    default:
        size = size < in->size ? size : in->size;
        put(fd, in->data, size);
        in->data += size;
        in->size -= size;
        break;
    }
}

/* Let everything through that is still on its way. */
static void settle(void)
{
    bench.pauses = bench.holds = false;
    for (int i = 0; i < ROUNDS_MAX; i++) {
        bool all = bench.got.count >= bench.wanted.count && (bench.closed || !bench.broken);
        if (all)
            break;
        give_back();
        if (bench.conn != NULL)
            kb_conn_resume(bench.conn);
        srv_env_round(bench.srv, 1);
    }
    KB_ASSERT(bench.got.count == bench.wanted.count);
    KB_ASSERT(memcmp(bench.got.crcs, bench.wanted.crcs,
                     sizeof(bench.got.crcs[0]) * bench.got.count) == 0);
    KB_ASSERT(bench.closed == bench.broken);
    KB_ASSERT(!bench.closed || bench.reason == KB_CLOSE_BAD_FRAME);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in = {data, size};
    if (bench.srv == NULL)
        bench_open();
    uint8_t mode = take_byte(&in);
    bench.pauses = (mode & 1) != 0;
    bench.holds = (mode & 2) != 0;
    bench.closed = bench.broken = false;
    bench.got.count = bench.wanted.count = bench.read = 0;
    bench.sent.size = 0;
    int fd = dial();
    for (int i = 0; i < STEPS_MAX && in.size > 0; i++)
        step(&in, fd);
    settle();
    give_back();
    (void)close(fd);
    for (int i = 0; i < ROUNDS_MAX && !bench.closed; i++) {
        kb_conn_resume(bench.conn); /* who does not read does not see the end */
        srv_env_round(bench.srv, 10);
    }
    KB_ASSERT(bench.closed);
    KB_ASSERT(bench.budget.used_bytes == 0);
    return 0;
}
