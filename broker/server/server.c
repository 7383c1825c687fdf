#include "broker/server/server.h"

#include <event2/event.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "broker/server/env.h"
#include "broker/server/log_sink.h"
#include "broker/server/port_holder.h"
#include "proto/base/err.h"
#include "proto/base/log.h"
#include "proto/base/mem.h"

#ifndef KVORUM_VERSION
#define KVORUM_VERSION "unknown"
#endif

#define OPEN_FILES_WANTED 131072
#define MALLOC_ARENAS 2

struct process {
    const struct srv_config *config;
    const struct srv_service *service;
    struct srv_env *env;
    void *running; /* the service */
    struct event *signal_event;
    int signal_fd;
    uint64_t start_ms;
    bool stopping;
    int status;
};

/* ---- limits ---- */

/* As many descriptors as the hard limit grants. Few malloc arenas: idle memory counts, and one
 * thread does nearly all the allocating. */
static void set_limits(void)
{
    struct rlimit limit;
    (void)mallopt(M_ARENA_MAX, MALLOC_ARENAS);
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        return;
    rlim_t wanted = limit.rlim_max < OPEN_FILES_WANTED ? limit.rlim_max : OPEN_FILES_WANTED;
    if (limit.rlim_cur < wanted) {
        limit.rlim_cur = wanted;
        (void)setrlimit(RLIMIT_NOFILE, &limit);
    }
}

/* ---- signals ---- */

static void on_stopped(void *arg)
{
    struct process *p = arg;
    kb_log_info("server", "event=stopped");
    srv_env_stop(p->env);
}

static void stop(struct process *p, const char *why)
{
    uint64_t timeout_ms = (uint64_t)srv_config_int(p->config, "kvorum.stop.timeout.ms");
    if (!srv_config_bool(p->config, "controlled.shutdown.enable"))
        timeout_ms = 0;
    p->stopping = true;
    kb_log_info("server", "event=stopping why=%s timeout_ms=%llu", why,
                (unsigned long long)timeout_ms);
    p->service->stop(p->running, timeout_ms, on_stopped, p);
}

static void on_signal(evutil_socket_t fd, short what, void *arg)
{
    struct process *p = arg;
    struct signalfd_siginfo info;
    (void)what;
    if (read(fd, &info, sizeof(info)) != (ssize_t)sizeof(info))
        return;
    const char *name = info.ssi_signo == SIGINT ? "SIGINT" : "SIGTERM";
    if (!p->stopping) {
        stop(p, name);
        return;
    }
    kb_log_warn("server", "event=killed why=\"a second %s\"", name);
    srv_log_flush();
    _exit(128 + (int)info.ssi_signo);
}

static int watch_signals(struct process *p)
{
    sigset_t set;
    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGTERM);
    (void)sigaddset(&set, SIGINT);
    (void)pthread_sigmask(SIG_BLOCK, &set, NULL);
    p->signal_fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    if (p->signal_fd < 0)
        return -KB_ELIMIT;
    p->signal_event = event_new(srv_env_loop(p->env), p->signal_fd, EV_READ | EV_PERSIST, on_signal,
                                p);
    if (p->signal_event == NULL || event_add(p->signal_event, NULL) < 0)
        return -KB_ENOMEM;
    return 0;
}

static void forget_signals(struct process *p)
{
    if (p->signal_event != NULL)
        event_free(p->signal_event);
    if (p->signal_fd >= 0)
        (void)close(p->signal_fd);
}

/* ---- start ---- */

struct advertised {
    const struct srv_config *config;
    const struct srv_listener_setting *listener;
};

static void on_advertised(void *arg, int result)
{
    struct advertised *a = arg;
    const struct srv_listener_setting *l = a->listener;
    const struct srv_config_value *v = &a->config->values[srv_key_find("advertised.listeners")];
    bool from_environment = v->text != NULL && v->source == SRV_FROM_ENVIRONMENT;
    if (result == -KB_EUNREACHABLE)
        kb_log_warn("server",
                    "event=advertised_unresolvable listener=%s why=\"listener %s advertises %s:%u, "
                    "which this host cannot resolve: clients elsewhere may connect, then fail\" "
                    "hint=\"set %s=…,%s://HOST:%u to a name the clients know, localhost for those "
                    "on this machine\"",
                    l->name, l->name, l->advertised_host, l->advertised_port,
                    from_environment ? v->where : "advertised.listeners", l->name,
                    l->advertised_port);
    (void)kb_free(a);
}

/* The classic first failure of Kafka set-ups: clients are sent to a name that means nothing. */
static void check_advertised(struct process *p)
{
    for (size_t i = 0; i < p->config->listeners_count; i++) {
        const struct srv_listener_setting *l = &p->config->listeners[i];
        if (l->controller)
            continue;
        struct advertised *a = kb_new(struct advertised);
        a->config = p->config;
        a->listener = l;
        srv_env_resolve(p->env, l->advertised_host, on_advertised, a);
    }
}

/* Name the process that holds one of our ports. */
static void explain_port(const struct process *p, const char *reason)
{
    for (size_t i = 0; i < p->config->listeners_count; i++) {
        const struct srv_listener_setting *l = &p->config->listeners[i];
        char name[64] = "";
        int pid = l->port != 0 ? srv_port_holder(l->port, name, sizeof(name)) : 0;
        if (pid == 0 || pid == (int)getpid())
            continue;
        (void)fprintf(stderr,
                      "kvorum server: port %u is already used by pid %d (%s). Stop it or change "
                      "listeners=.\n",
                      l->port, pid, name);
        return;
    }
    (void)fprintf(stderr, "kvorum server: %s. Stop what uses it, or change listeners=.\n", reason);
}

/* Is it for the user to put right, rather than something that broke? */
static bool is_refusal(int result)
{
    return result == -KB_EADDRINUSE || result == -KB_EINVAL || result == -KB_EBUSY ||
           result == -KB_EPERM || result == -KB_ENOENT || result == -KB_EEXIST ||
           result == -KB_EUNREACHABLE || result == -KB_EUNSUPPORTED;
}

static void explain(const struct process *p, int result, const char *reason)
{
    if (result == -KB_EADDRINUSE)
        explain_port(p, reason);
    else if (result == -KB_EPERM)
        (void)fprintf(stderr,
                      "kvorum server: %s. This process is user %d, group %d: give them the right "
                      "to write there (chown), or change log.dirs=.\n",
                      reason, (int)geteuid(), (int)getegid());
    else
        (void)fprintf(stderr, "kvorum server: %s\n", reason);
}

static void on_started(void *arg, int result, const char *reason)
{
    struct process *p = arg;
    if (result < 0) {
        if (reason == NULL)
            reason = kb_err_text(result);
        if (!is_refusal(result))
            kb_log_error("server", "event=start_failed error=%s why=\"%s\"", kb_err_name(result),
                         reason);
        srv_log_flush();
        explain(p, result, reason);
        p->status = is_refusal(result) ? 2 : 1;
        srv_env_stop(p->env);
        return;
    }
    struct kb_buf listeners = {0};
    for (size_t i = 0; i < p->config->listeners_count; i++) {
        const struct srv_listener_setting *l = &p->config->listeners[i];
        if (!l->controller)
            kb_buf_printf(&listeners, "%s%s://%s:%u", listeners.size > 0 ? "," : "", l->name,
                          l->advertised_host, l->advertised_port);
    }
    kb_log_info("server",
                "event=started version=%s pid=%d listeners=%s data=%s role=%s voters=%zu "
                "took_ms=%llu",
                KVORUM_VERSION, (int)getpid(), (const char *)listeners.data, p->config->log_dir,
                p->config->observer ? "broker" : "broker,controller", p->config->voters_count,
                (unsigned long long)(kb_env_now_ms(srv_env_base(p->env)) - p->start_ms));
    kb_buf_release(&listeners);
    check_advertised(p);
}

static int run(struct process *p, void *arg)
{
    int r = watch_signals(p);
    if (r < 0)
        return r;
    p->running = p->service->open(srv_env_base(p->env), p->config, arg);
    if (p->running == NULL)
        return -KB_EINVAL;
    p->service->start(p->running, on_started, p);
    srv_env_run(p->env);
    return 0;
}

int srv_run(const struct srv_config *config, const struct srv_service *service, void *arg)
{
    struct process p = {.config = config, .service = service, .signal_fd = -1};
    struct srv_env_options options = {
        .reader_threads = (unsigned)srv_config_int(config, "kvorum.reader.threads"),
        .job_threads = (unsigned)srv_config_int(config, "kvorum.job.threads"),
    };
    struct srv_log_options log = {
        .fd = STDERR_FILENO,
        .json = strcmp(srv_config_text(config, "kvorum.log.format"), "json") == 0,
        .node_id = config->node_id,
    };
    set_limits();
    (void)kb_log_level_parse(srv_config_text(config, "kvorum.log.level"), &log.level);
    int r = srv_log_open(&log);
    if (r == 0)
        r = srv_env_new(&options, &p.env);
    if (r == 0) {
        p.start_ms = kb_env_now_ms(srv_env_base(p.env));
        for (size_t i = 0; i < config->warnings_count; i++)
            kb_log_warn("server", "event=config_warning text=\"%s\"", config->warnings[i]);
        r = run(&p, arg);
        srv_env_halt(p.env);
        if (p.running != NULL)
            service->close(p.running);
        forget_signals(&p);
        p.env = srv_env_free(p.env);
    }
    srv_log_close();
    if (r < 0) {
        (void)fprintf(stderr, "kvorum server: cannot start: %s\n", kb_err_text(r));
        return 1;
    }
    return p.status;
}

/* ---- the sub-command ---- */

static int report(const struct srv_config *c)
{
    for (size_t i = 0; i < c->errors_count; i++)
        (void)fprintf(stderr, "kvorum server: %s\n", c->errors[i]);
    if (c->errors_count > 0)
        return 2;
    if (c->check_only) {
        for (size_t i = 0; i < c->warnings_count; i++)
            (void)fprintf(stderr, "kvorum server: warning: %s\n", c->warnings[i]);
        (void)printf("configuration is sound: node %d, %zu voters, data in %s\n", (int)c->node_id,
                     c->voters_count, c->log_dir);
    }
    return 0;
}

static int main_with(struct srv_config *c, int argc, char *const *argv, char *const *environment,
                     const struct srv_service *service, void *arg)
{
    srv_config_load_args(c, argc, argv);
    if (c->help && c->errors_count == 0) {
        struct kb_buf text = {0};
        srv_config_usage(&text);
        (void)fwrite(text.data, 1, text.size, stdout);
        kb_buf_release(&text);
        return 0;
    }
    srv_config_load_env(c, environment);
    if (c->file != NULL)
        srv_config_load_file(c, c->file);
    srv_config_finish(c);
    int status = report(c);
    if (status != 0 || c->check_only)
        return status;
    return srv_run(c, service, arg);
}

int srv_main(int argc, char *const *argv, char *const *environment,
             const struct srv_service *service, void *arg)
{
    struct srv_config c;
    srv_config_init(&c);
    int status = main_with(&c, argc, argv, environment, service, arg);
    srv_config_release(&c);
    return status;
}
