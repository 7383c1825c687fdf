/* A crowd of connections to one broker, all of one kind, from one thread.
 *
 *   crowd -p PORT -n CONNECTIONS -f FRAMES [options]
 *
 * FRAMES holds whole requests one after the other, each with its size in front; connection k begins
 * with the k-th of them and goes round. What a connection is like:
 *
 *   -w N   requests that may be unanswered (1)      -m N   requests it sends at all (0 = no end)
 *   -i MS  between an answer and the next request   -o     opened again when the broker closes it
 *   -s N   bytes a second it sends (-1 = no limit)  -r N   bytes a second it reads (-1; 0 = never)
 *   -c N   connections opened a second (0 = at once) -b N  receive buffer of its socket
 *
 * Commands, one a line on stdin; each is answered by one JSON object on stdout:
 *   figures  what happened since the last question   again  -m requests more for each
 *   end      close all and end */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum {
    TICK_MS = 10,
    EVENTS = 512,
    LATENCIES_MAX = 1 << 20,
    READ_BYTES = 64 << 10,
    FRAMES_MAX = 4096,
    REOPEN_MS = 200,
};

struct member {
    int fd; /* -1 = closed */
    bool connected;
    bool wanted; /* to be opened (again) at next_ms */
    bool writing;
    bool reading;
    uint32_t frame;    /* the next or present one */
    uint64_t sent;     /* bytes of it */
    uint32_t requests; /* sent whole */
    uint32_t answers;
    uint8_t prefix[4];
    uint32_t prefix_size;
    uint64_t answer_left;
    double next_ms; /* the next request, or the next attempt to connect */
    double asked_ms;
    double send_credit;
    double read_credit;
};

struct crowd {
    uint16_t port;
    uint32_t count, window, requests_max, per_second;
    double interval_ms, send_rate, read_rate;
    int receive_buffer;
    bool reopen;
    const uint8_t *bytes;
    size_t frame_at[FRAMES_MAX], frame_size[FRAMES_MAX];
    uint32_t frames;
    struct member *members;
    uint32_t opened_to; /* members below were wanted */
    int epoll;
    double started_ms, tick_ms;
    /* since the last question */
    uint64_t requests, answers, bytes_sent, bytes_read, closed, refused;
    float *latencies;
    uint32_t latencies_count;
    uint64_t latencies_seen;
};

static double now_ms(void)
{
    struct timespec ts;
    (void)clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec * 1000.0 + (double)ts.tv_nsec / 1e6;
}

static void die(const char *what)
{
    (void)fprintf(stderr, "crowd: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void load_frames(struct crowd *c, const char *path)
{
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) < 0 || st.st_size < 4)
        die(path);
    size_t size = (size_t)st.st_size;
    void *bytes = mmap(NULL, size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (bytes == MAP_FAILED)
        die(path);
    (void)close(fd);
    c->bytes = bytes;
    for (size_t at = 0; at + 4 <= size && c->frames < FRAMES_MAX;) {
        uint32_t length = 0;
        memcpy(&length, c->bytes + at, 4);
        size_t whole = 4 + (size_t)ntohl(length);
        /* The last one may be a beginning only: what is announced and never comes. */
        c->frame_at[c->frames] = at;
        c->frame_size[c->frames++] = whole < size - at ? whole : size - at;
        at += whole;
    }
}

/* ---- a member ---- */

static bool may_send(const struct crowd *c, const struct member *m, double now)
{
    if (m->sent > 0)
        return true;
    bool more = c->requests_max == 0 || m->requests < c->requests_max;
    return more && m->requests - m->answers < c->window && now >= m->next_ms;
}

static void watch(struct crowd *c, struct member *m)
{
    struct epoll_event e = {.data.ptr = m};
    bool paced_reads = c->read_rate >= 0;
    e.events = (m->writing || !m->connected ? EPOLLOUT : 0U) | (paced_reads ? 0U : EPOLLIN) |
               EPOLLRDHUP;
    if (epoll_ctl(c->epoll, EPOLL_CTL_MOD, m->fd, &e) < 0)
        die("epoll");
}

static void member_close(struct crowd *c, struct member *m, double now)
{
    (void)close(m->fd);
    *m = (struct member){
        .fd = -1, .frame = m->frame, .wanted = c->reopen, .next_ms = now + REOPEN_MS};
    c->closed++;
}

static void member_open(struct crowd *c, struct member *m, double now)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(c->port)};
    int one = 1;
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    m->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (m->fd < 0)
        die("socket");
    m->wanted = false;
    m->next_ms = now;
    if (c->receive_buffer > 0)
        (void)setsockopt(m->fd, SOL_SOCKET, SO_RCVBUF, &c->receive_buffer,
                         sizeof(c->receive_buffer));
    (void)setsockopt(m->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    if (connect(m->fd, (struct sockaddr *)&to, sizeof(to)) < 0 && errno != EINPROGRESS) {
        c->refused++;
        (void)close(m->fd);
        *m = (struct member){.fd = -1, .wanted = true, .next_ms = now + REOPEN_MS};
        return;
    }
    struct epoll_event e = {.events = EPOLLOUT, .data.ptr = m};
    if (epoll_ctl(c->epoll, EPOLL_CTL_ADD, m->fd, &e) < 0)
        die("epoll");
}

static void member_send(struct crowd *c, struct member *m, double now)
{
    bool blocked = false;
    while (!blocked && may_send(c, m, now)) {
        size_t left = c->frame_size[m->frame] - m->sent;
        size_t most = left;
        if (left == 0)
            break; /* only a beginning of it exists, and it was sent */
        if (c->send_rate >= 0 && (double)most > m->send_credit)
            most = (size_t)m->send_credit;
        if (most == 0)
            break;
        ssize_t n = send(m->fd, c->bytes + c->frame_at[m->frame] + m->sent, most,
                         MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno == EAGAIN) {
            blocked = true;
            break;
        }
        if (n < 0) {
            member_close(c, m, now);
            return;
        }
        m->sent += (uint64_t)n;
        m->send_credit -= (double)n;
        c->bytes_sent += (uint64_t)n;
        uint32_t length = 0;
        memcpy(&length, c->bytes + c->frame_at[m->frame], 4);
        if (m->sent < 4 + (uint64_t)ntohl(length))
            continue;
        m->sent = 0;
        m->frame = (m->frame + 1) % c->frames;
        m->requests++;
        m->asked_ms = now;
        c->requests++;
    }
    if (m->writing != blocked) {
        m->writing = blocked;
        watch(c, m);
    }
}

static void answered(struct crowd *c, struct member *m, double now)
{
    m->answers++;
    c->answers++;
    m->next_ms = now + c->interval_ms;
    float ms = (float)(now - m->asked_ms);
    uint64_t at = c->latencies_seen++;
    c->latencies[at % LATENCIES_MAX] = ms;
    if (c->latencies_count < LATENCIES_MAX)
        c->latencies_count++;
}

static void take(struct crowd *c, struct member *m, const uint8_t *data, size_t size, double now)
{
    while (size > 0) {
        if (m->answer_left > 0) {
            size_t n = size < m->answer_left ? size : (size_t)m->answer_left;
            m->answer_left -= n;
            data += n;
            size -= n;
            if (m->answer_left == 0)
                answered(c, m, now);
            continue;
        }
        m->prefix[m->prefix_size++] = *data++;
        size--;
        if (m->prefix_size == 4) {
            uint32_t length = 0;
            memcpy(&length, m->prefix, 4);
            m->answer_left = ntohl(length);
            m->prefix_size = 0;
        }
    }
}

static void member_read(struct crowd *c, struct member *m, double now)
{
    static uint8_t buffer[READ_BYTES];
    for (int i = 0; i < 16; i++) {
        size_t most = sizeof(buffer);
        if (c->read_rate >= 0 && (double)most > m->read_credit)
            most = (size_t)m->read_credit;
        if (most == 0)
            return;
        ssize_t n = recv(m->fd, buffer, most, MSG_DONTWAIT);
        if (n < 0 && errno == EAGAIN)
            return;
        if (n <= 0) {
            member_close(c, m, now);
            return;
        }
        m->read_credit -= (double)n;
        c->bytes_read += (uint64_t)n;
        take(c, m, buffer, (size_t)n, now);
        if ((size_t)n < most)
            return;
    }
}

static void on_event(struct crowd *c, struct member *m, uint32_t events, double now)
{
    if (m->fd < 0)
        return;
    if (!m->connected) {
        int error = 0;
        socklen_t size = sizeof(error);
        (void)getsockopt(m->fd, SOL_SOCKET, SO_ERROR, &error, &size);
        if (error != 0) {
            c->refused++;
            (void)close(m->fd);
            *m = (struct member){.fd = -1, .wanted = true, .next_ms = now + REOPEN_MS};
            return;
        }
        m->connected = true;
        watch(c, m);
    }
    if ((events & EPOLLIN) != 0)
        member_read(c, m, now);
    if (m->fd >= 0 && (events & (EPOLLERR | EPOLLHUP)) != 0)
        member_close(c, m, now);
    else if (m->fd >= 0 && (events & EPOLLRDHUP) != 0 && c->read_rate >= 0)
        member_close(c, m, now);
    if (m->fd >= 0 && m->connected)
        member_send(c, m, now);
}

/* ---- the clock ---- */

static void tick(struct crowd *c, double now)
{
    double passed_s = (now - c->tick_ms) / 1000.0;
    uint32_t due = c->per_second == 0
                       ? c->count
                       : (uint32_t)((now - c->started_ms) / 1000.0 * c->per_second) + 1;
    c->tick_ms = now;
    while (c->opened_to < c->count && c->opened_to < due)
        c->members[c->opened_to++].wanted = true;
    for (uint32_t i = 0; i < c->opened_to; i++) {
        struct member *m = &c->members[i];
        if (m->fd < 0) {
            if (m->wanted && now >= m->next_ms)
                member_open(c, m, now);
            continue;
        }
        if (!m->connected)
            continue;
        m->send_credit += c->send_rate >= 0 ? passed_s * c->send_rate : 0;
        m->read_credit += c->read_rate >= 0 ? passed_s * c->read_rate : 0;
        if (c->read_rate > 0)
            member_read(c, m, now);
        if (m->fd >= 0 && !m->writing && may_send(c, m, now))
            member_send(c, m, now);
    }
}

/* ---- commands ---- */

static int by_value(const void *a, const void *b)
{
    float x = *(const float *)a;
    float y = *(const float *)b;
    return (x > y) - (x < y);
}

static double percentile(const struct crowd *c, double share)
{
    if (c->latencies_count == 0)
        return 0;
    uint32_t at = (uint32_t)(share * (c->latencies_count - 1));
    return (double)c->latencies[at];
}

static void figures(struct crowd *c)
{
    uint32_t open = 0;
    uint32_t unanswered = 0;
    uint32_t done = 0;
    for (uint32_t i = 0; i < c->count; i++) {
        const struct member *m = &c->members[i];
        open += m->fd >= 0 && m->connected;
        unanswered += m->fd >= 0 && m->requests > m->answers;
        done += m->fd >= 0 && c->requests_max > 0 && m->answers == c->requests_max;
    }
    qsort(c->latencies, c->latencies_count, sizeof(float), by_value);
    (void)printf("{\"open\":%u,\"unanswered\":%u,\"done\":%u,\"requests\":%llu,\"answers\":%llu,"
                 "\"bytes_sent\":%llu,"
                 "\"bytes_read\":%llu,\"closed\":%llu,\"refused\":%llu,\"p50_ms\":%.1f,\"p99_ms\":%"
                 ".1f,\"max_ms\":%.1f}\n",
                 open, unanswered, done, (unsigned long long)c->requests,
                 (unsigned long long)c->answers, (unsigned long long)c->bytes_sent,
                 (unsigned long long)c->bytes_read, (unsigned long long)c->closed,
                 (unsigned long long)c->refused, percentile(c, 0.5), percentile(c, 0.99),
                 percentile(c, 1));
    (void)fflush(stdout);
    c->requests = c->answers = c->bytes_sent = c->bytes_read = c->closed = c->refused = 0;
    c->latencies_count = 0;
    c->latencies_seen = 0;
}

static void again(struct crowd *c)
{
    for (uint32_t i = 0; i < c->count; i++)
        c->members[i].requests = c->members[i].answers = 0;
    figures(c);
}

static void on_command(struct crowd *c)
{
    char text[64];
    ssize_t n = read(STDIN_FILENO, text, sizeof(text) - 1);
    if (n <= 0)
        exit(0);
    text[n] = '\0';
    if (strncmp(text, "figures", 7) == 0)
        figures(c);
    else if (strncmp(text, "again", 5) == 0)
        again(c);
    else
        exit(0);
}

static void run(struct crowd *c)
{
    struct epoll_event events[EVENTS];
    struct epoll_event input = {.events = EPOLLIN};
    c->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (c->epoll < 0 || epoll_ctl(c->epoll, EPOLL_CTL_ADD, STDIN_FILENO, &input) < 0)
        die("epoll");
    c->started_ms = c->tick_ms = now_ms();
    for (;;) {
        double now = now_ms();
        if (now >= c->tick_ms + TICK_MS || c->opened_to == 0)
            tick(c, now);
        int n = epoll_wait(c->epoll, events, EVENTS, TICK_MS);
        now = now_ms();
        for (int i = 0; i < n; i++) {
            if (events[i].data.ptr == NULL)
                on_command(c);
            else
                on_event(c, events[i].data.ptr, events[i].events, now);
        }
    }
}

int main(int argc, char **argv)
{
    struct crowd c = {.count = 1, .window = 1, .send_rate = -1, .read_rate = -1};
    const char *path = NULL;
    int o = 0;
    while ((o = getopt(argc, argv, "p:n:f:w:m:i:s:r:c:b:o")) != -1) {
        switch (o) {
        case 'p':
            c.port = (uint16_t)strtoul(optarg, NULL, 10);
            break;
        case 'n':
            c.count = (uint32_t)strtoul(optarg, NULL, 10);
            break;
        case 'f':
            path = optarg;
            break;
        case 'w':
            c.window = (uint32_t)strtoul(optarg, NULL, 10);
            break;
        case 'm':
            c.requests_max = (uint32_t)strtoul(optarg, NULL, 10);
            break;
        case 'i':
            c.interval_ms = strtod(optarg, NULL);
            break;
        case 's':
            c.send_rate = strtod(optarg, NULL);
            break;
        case 'r':
            c.read_rate = strtod(optarg, NULL);
            break;
        case 'c':
            c.per_second = (uint32_t)strtoul(optarg, NULL, 10);
            break;
        case 'b':
            c.receive_buffer = (int)strtol(optarg, NULL, 10);
            break;
        case 'o':
            c.reopen = true;
            break;
        default:
            return 2;
        }
    }
    if (path == NULL || c.port == 0 || c.count == 0)
        return 2;
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &limit);
    }
    load_frames(&c, path);
    c.members = calloc(c.count, sizeof(*c.members));
    c.latencies = calloc(LATENCIES_MAX, sizeof(*c.latencies));
    if (c.members == NULL || c.latencies == NULL)
        die("memory");
    for (uint32_t i = 0; i < c.count; i++)
        c.members[i] = (struct member){.fd = -1, .frame = i % c.frames};
    run(&c);
    return 0;
}
