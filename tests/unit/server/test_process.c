/* The process around the node: a small echo service in place of it, started with srv_main in a
 * child process; its log lines, its exit statuses, its signals. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "broker/server/log_sink.h"
#include "broker/server/port_holder.h"
#include "broker/server/server.h"
#include "proto/base/err.h"
#include "proto/base/mem.h"
#include "tests/unit/unit.h"

/* ---- a service that only starts and stops ---- */

struct service {
    struct kb_env *env;
    struct kb_timer *timer;
    srv_started_fn *started;
    srv_stopped_fn *stopped;
    void *arg;
    const char *mode; /* how it fails to start, "slow" to stop, or "" */
};

static void on_timer(void *arg)
{
    struct service *s = arg;
    if (s->stopped != NULL)
        s->stopped(s->arg);
    else if (strcmp(s->mode, "fail") == 0)
        s->started(s->arg, -KB_EADDRINUSE, "cannot listen on :9: address in use");
    else if (strcmp(s->mode, "foreign") == 0)
        s->started(s->arg, -KB_EINVAL, "d belongs to cluster x.");
    else if (strcmp(s->mode, "forbidden") == 0)
        s->started(s->arg, -KB_EPERM, "d: not permitted");
    else if (strcmp(s->mode, "broken") == 0)
        s->started(s->arg, -KB_EIO, NULL);
    else
        s->started(s->arg, 0, NULL);
}

static void *service_open(struct kb_env *env, const struct srv_config *config, void *arg)
{
    struct service *s = kb_new(struct service);
    (void)config;
    s->env = env;
    s->mode = arg;
    s->timer = kb_timer_new(env, on_timer, s);
    return s;
}

static void service_start(void *service, srv_started_fn *started, void *arg)
{
    struct service *s = service;
    s->started = started;
    s->arg = arg;
    kb_timer_arm(s->timer, 1);
}

static void service_stop(void *service, uint64_t timeout_ms, srv_stopped_fn *stopped, void *arg)
{
    struct service *s = service;
    s->stopped = stopped;
    s->arg = arg;
    kb_timer_arm(s->timer, strcmp(s->mode, "slow") == 0 ? timeout_ms : 1);
}

static void service_close(void *service)
{
    struct service *s = service;
    s->timer = kb_timer_free(s->timer);
    (void)kb_free(s);
}

static const struct srv_service service = {
    .open = service_open, .start = service_start, .stop = service_stop, .close = service_close};

/* ---- the child ---- */

struct child {
    pid_t pid;
    int out;
    char text[16384];
    size_t size;
};

static void child_start(struct child *c, const char *mode, const char *flag)
{
    int pipe_fds[2];
    memset(c, 0, sizeof(*c));
    ck_assert_int_eq(pipe(pipe_fds), 0);
    c->pid = fork();
    ck_assert_int_ge(c->pid, 0);
    if (c->pid == 0) {
        char *const argv[] = {(char *)"server", (char *)"--set", (char *)flag, NULL};
        char *const environment[] = {(char *)"KAFKA_ADVERTISED_LISTENERS=PLAINTEXT://"
                                             "no-such-host.invalid:9092",
                                     NULL};
        (void)dup2(pipe_fds[1], STDOUT_FILENO);
        (void)dup2(pipe_fds[1], STDERR_FILENO);
        closefrom(STDERR_FILENO + 1);
        int status = srv_main(3, argv, environment, &service, (void *)mode);
        (void)fflush(stdout);
        _exit(status);
    }
    (void)close(pipe_fds[1]);
    c->out = pipe_fds[0];
}

/* Read until part was seen; false at the end of the output. */
static bool child_says(struct child *c, const char *part)
{
    while (strstr(c->text, part) == NULL) {
        ssize_t n = read(c->out, c->text + c->size, sizeof(c->text) - 1 - c->size);
        if (n <= 0)
            return false;
        c->size += (size_t)n;
    }
    return true;
}

static int child_status(struct child *c)
{
    int status = 0;
    (void)child_says(c, "\x01"); /* to the end */
    ck_assert_int_eq(waitpid(c->pid, &status, 0), c->pid);
    (void)close(c->out);
    ck_assert(WIFEXITED(status));
    return WEXITSTATUS(status);
}

START_TEST(process__starts_warns_and_stops_on_a_signal)
{
    static const int signals[] = {SIGTERM, SIGINT};
    for (int i = 0; i < 2; i++) {
        struct child c;
        child_start(&c, "", "log.dirs=d");
        ck_assert(child_says(&c, "event=started"));
        ck_assert(child_says(&c, "event=advertised_unresolvable"));
        ck_assert_int_eq(kill(c.pid, signals[i]), 0);
        ck_assert_int_eq(child_status(&c), 0);
        ck_assert_ptr_nonnull(strstr(c.text, " INFO server node=1 event=started version="));
        ck_assert_ptr_nonnull(strstr(c.text, "event=stopping why=SIG"));
        ck_assert_ptr_nonnull(strstr(c.text, "event=stopped\n"));
    }
}
END_TEST

START_TEST(process__second_signal_ends_it_at_once)
{
    struct child c;
    child_start(&c, "slow", "kvorum.stop.timeout.ms=3600000");
    ck_assert(child_says(&c, "event=started"));
    ck_assert_int_eq(kill(c.pid, SIGTERM), 0);
    ck_assert(child_says(&c, "event=stopping"));
    ck_assert_int_eq(kill(c.pid, SIGINT), 0);
    ck_assert_int_eq(child_status(&c), 128 + SIGINT);
    ck_assert_ptr_nonnull(strstr(c.text, "event=killed"));
}
END_TEST

START_TEST(process__failures_have_a_status_and_a_sentence)
{
    struct child c;
    static const struct {
        const char *mode;
        int status;
        const char *text;
    } cases[] = {
        {"fail", 2,
         "kvorum server: cannot listen on :9: address in use. Stop what uses it, or change "
         "listeners=.\n"},
        {"foreign", 2, "kvorum server: d belongs to cluster x.\n"},
        {"forbidden", 2, "kvorum server: d: not permitted. This process is user "},
        {"broken", 1,
         "event=start_failed error=KB_EIO why=\"disk or socket error\"\nkvorum server: "
         "disk or socket error\n"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        child_start(&c, cases[i].mode, "log.dirs=d");
        ck_assert_int_eq(child_status(&c), cases[i].status);
        ck_assert_msg(strstr(c.text, cases[i].text) != NULL, "%s", c.text);
        /* A refusal is one sentence. */
        ck_assert_int_eq(strstr(c.text, "event=start_failed") != NULL, cases[i].status == 1);
    }
    child_start(&c, "", "node.id=x");
    ck_assert_int_eq(child_status(&c), 2);
    ck_assert_ptr_nonnull(
        strstr(c.text, "kvorum server: --set: node.id must be a whole number, not \"x\"\n"));
}
END_TEST

/* The name of the process and one sentence, also when several ports are held. */
START_TEST(process__names_who_holds_its_port)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t size = sizeof(a);
    struct child c;
    char flag[64];
    char expected[128];
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_eq(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
    ck_assert_int_eq(listen(fd, 1), 0);
    ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&a, &size), 0);
    (void)snprintf(flag, sizeof(flag), "listeners=PLAINTEXT://127.0.0.1:%u", ntohs(a.sin_port));
    (void)snprintf(expected, sizeof(expected), "kvorum server: port %u is already used by pid %d (",
                   ntohs(a.sin_port), (int)getpid());
    child_start(&c, "fail", flag);
    ck_assert_int_eq(child_status(&c), 2);
    ck_assert_msg(strstr(c.text, expected) != NULL, "%s", c.text);
    ck_assert_ptr_null(strstr(c.text, "cannot listen"));
    (void)close(fd);
}
END_TEST

START_TEST(port_holder__names_who_listens)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t size = sizeof(a);
    char name[64] = "";
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    ck_assert_int_eq(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
    ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&a, &size), 0);
    ck_assert_int_eq(srv_port_holder(ntohs(a.sin_port), name, sizeof(name)), 0);
    ck_assert_int_eq(listen(fd, 1), 0);
    ck_assert_int_ne(srv_port_holder(ntohs(a.sin_port), name, sizeof(name)), 0);
    ck_assert(name[0] != '\0');
    (void)close(fd);
}
END_TEST

static void check_line(bool json, const char *text, const char *expected)
{
    struct kb_buf b = {0};
    srv_log_format(&b, json, 1795349051302, KB_LOG_INFO, "raft", 3, text);
    kb_buf_append(&b, "", 1);
    ck_assert_str_eq((char *)b.data, expected);
    kb_buf_release(&b);
}

START_TEST(log__lines_have_the_documented_form)
{
    check_line(false, "event=became_leader term=8\nx",
               "2026-11-22T12:04:11.302Z INFO raft node=3 event=became_leader term=8 x\n");
    check_line(false, "event=x node=3", "2026-11-22T12:04:11.302Z INFO raft node=3 event=x\n");
    check_line(false, "event=x node=3 node=30 leader_node=3",
               "2026-11-22T12:04:11.302Z INFO raft node=3 event=x node=30 leader_node=3\n");
    check_line(true, "event=became_leader term=8 why=\"two words\" tp=orders-3",
               "{\"time\":\"2026-11-22T12:04:11.302Z\",\"level\":\"info\",\"component\":\"raft\","
               "\"node\":3,\"event\":\"became_leader\",\"term\":8,\"why\":\"two words\","
               "\"tp\":\"orders-3\"}\n");
    check_line(true, "event=x not a pair \"\t\\",
               "{\"time\":\"2026-11-22T12:04:11.302Z\",\"level\":\"info\",\"component\":\"raft\","
               "\"node\":3,\"event\":\"x\",\"text\":\"not a pair \\\"\\u0009\\\\\"}\n");
    check_line(true, "a=007 b=-5 c=- d=",
               "{\"time\":\"2026-11-22T12:04:11.302Z\",\"level\":\"info\",\"component\":\"raft\","
               "\"node\":3,\"a\":\"007\",\"b\":-5,\"c\":\"-\",\"d\":\"\"}\n");
}
END_TEST

START_TEST(log__stuck_reader_does_not_hold_up_the_writer)
{
    int fds[2];
    char text[4096];
    ck_assert_int_eq(pipe(fds), 0);
    struct srv_log_options o = {.fd = fds[1], .level = KB_LOG_INFO, .node_id = 1};
    ck_assert_int_eq(srv_log_open(&o), 0);
    for (int i = 0; i < 20000; i++) /* far more than pipe and ring hold */
        kb_log_info("test", "event=line number=%d", i);
    kb_log_debug("test", "event=too_low");
    (void)fcntl(fds[0], F_SETFL, O_NONBLOCK);
    size_t total = 0;
    for (int quiet = 0; quiet < 50;) {
        ssize_t n = read(fds[0], text, sizeof(text));
        quiet = n > 0 ? 0 : quiet + 1;
        total += n > 0 ? (size_t)n : 0;
        if (n <= 0)
            (void)usleep(2000);
    }
    ck_assert_uint_gt(total, 60000);
    ck_assert_uint_lt(total, 20000 * 50);
    kb_log_warn("test", "event=after");
    srv_log_flush();
    ssize_t n = read(fds[0], text, sizeof(text) - 1);
    ck_assert_int_gt(n, 0);
    text[n] = '\0';
    ck_assert_ptr_nonnull(strstr(text, "event=log_lines_dropped count="));
    ck_assert_ptr_nonnull(strstr(text, "event=after"));
    srv_log_close();
    (void)close(fds[0]);
    (void)close(fds[1]);
}
END_TEST

UNIT_MAIN("process", process__starts_warns_and_stops_on_a_signal,
          process__second_signal_ends_it_at_once, process__failures_have_a_status_and_a_sentence,
          process__names_who_holds_its_port, port_holder__names_who_listens,
          log__lines_have_the_documented_form, log__stuck_reader_does_not_hold_up_the_writer)
