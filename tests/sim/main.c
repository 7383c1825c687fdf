/* sim --seeds A..B [--jobs N] [--replay-every N] [--json FILE]   many runs, a summary
 *     --until-failure   no more runs once one has failed
 * sim --seed N [--trace] [--log]                                 one run, told in full
 * Exit status 0: every run kept every promise, and every replay gave the same trace. */
#include <getopt.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "broker/api/api.h"
#include "proto/base/assert.h"
#include "proto/base/log.h"
#include "proto/base/mem.h"
#include "tests/sim/sim_report.h"
#include "tests/sim/sim_run.h"

#define JOBS_MAX 64
#define RUN_CPU_S 60 /* a run that takes longer goes round in a circle */

struct arguments {
    uint64_t first, last;
    uint32_t jobs;
    uint64_t replay_every; /* run each n-th seed twice; 0 = never */
    const char *json;
    bool one, trace, log, until_failure;
};

/* What a worker tells through the pipe: a seed it begins (done false), or its result. */
struct message {
    uint32_t worker;
    bool done;
    struct sim_result result;
};
_Static_assert(sizeof(struct message) <= 4096, "one write to a pipe is not torn");

static void run_seed(uint64_t seed, FILE *story, bool trace, struct sim_result *ret)
{
    struct sim_run_options o = {.seed = seed, .story = story, .trace = trace};
    o.apis = api_table(&o.apis_count);
    sim_run(&o, ret);
}

/* A replay must give the same trace. */
static void run_checked(uint64_t seed, bool twice, struct sim_result *ret)
{
    struct sim_result again;
    run_seed(seed, NULL, false, ret);
    if (!twice)
        return;
    run_seed(seed, NULL, false, &again);
    ret->cpu_ms += again.cpu_ms;
    if (again.hash == ret->hash && again.events == ret->events)
        return;
    ret->ok = false;
    ret->failures[SIM_CHECK_RUN]++;
    (void)snprintf(ret->failure, sizeof(ret->failure),
                   "run: the replay differs: %llu events, digest %llx; then %llu, %llx",
                   (unsigned long long)ret->events, (unsigned long long)ret->hash,
                   (unsigned long long)again.events, (unsigned long long)again.hash);
}

/* ---- one seed ---- */

/* Brokers under faults complain all the time; only what they take for their own mistake is news. */
static void log_bugs(void *arg, enum kb_log_level level, const char *component, const char *text)
{
    if (strcmp(component, "bug") == 0)
        (void)fprintf(stderr, "sim: %s\n", text);
}

static int run_one(const struct arguments *a)
{
    struct sim_result result;
    run_seed(a->first, a->trace || a->log ? stdout : NULL, a->trace, &result);
    sim_report_one(stdout, &result);
    return result.ok ? 0 : 1;
}

/* ---- many seeds ---- */

struct worker {
    pid_t pid;
    uint64_t next;    /* the seed it does or will do first */
    uint64_t running; /* the seed it said it began */
    bool busy;
};

static void work(const struct arguments *a, uint32_t number, uint64_t from, int pipe_fd)
{
    struct itimerval limit = {.it_value.tv_sec = RUN_CPU_S};
    for (uint64_t seed = from; seed <= a->last; seed += a->jobs) {
        struct message m = {.worker = number};
        m.result.seed = seed;
        if (write(pipe_fd, &m, sizeof(m)) != (ssize_t)sizeof(m))
            _exit(1);
        bool twice = a->replay_every != 0 && seed % a->replay_every == 0;
        (void)setitimer(ITIMER_VIRTUAL, &limit, NULL);
        run_checked(seed, twice, &m.result);
        m.done = true;
        if (write(pipe_fd, &m, sizeof(m)) != (ssize_t)sizeof(m))
            _exit(1);
    }
    _exit(0);
}

static void fork_worker(const struct arguments *a, struct worker *w, uint32_t number,
                        const int pipe_fds[2])
{
    w->busy = false;
    w->pid = -1;
    if (w->next > a->last)
        return;
    (void)fflush(NULL);
    w->pid = fork();
    KB_ASSERT(w->pid >= 0);
    if (w->pid == 0) {
        (void)close(pipe_fds[0]);
        work(a, number, w->next, pipe_fds[1]);
    }
}

/* A worker died in a run: that seed failed, the next process goes on behind it. */
static void bury(const struct arguments *a, struct worker *workers, const int pipe_fds[2],
                 struct sim_report *report)
{
    int status = 0;
    pid_t pid;
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        for (uint32_t i = 0; i < a->jobs; i++) {
            struct worker *w = &workers[i];
            if (w->pid != pid)
                continue;
            w->pid = -1;
            if (!w->busy && WIFEXITED(status) && WEXITSTATUS(status) == 0)
                continue;
            struct sim_result r = {.seed = w->busy ? w->running : w->next};
            r.failures[SIM_CHECK_RUN] = 1;
            (void)snprintf(r.failure, sizeof(r.failure), "run: the process died (%s %d)",
                           WIFSIGNALED(status) ? "signal" : "status",
                           WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
            sim_report_add(report, &r);
            if (a->until_failure)
                continue;
            w->next = r.seed + a->jobs;
            fork_worker(a, w, i, pipe_fds);
        }
    }
}

static bool any_alive(const struct arguments *a, const struct worker *workers)
{
    for (uint32_t i = 0; i < a->jobs; i++) {
        if (workers[i].pid > 0)
            return true;
    }
    return false;
}

static void take(const struct message *m, struct worker *workers, struct sim_report *report)
{
    struct worker *w = &workers[m->worker];
    w->busy = !m->done;
    w->running = m->result.seed;
    if (m->done)
        sim_report_add(report, &m->result);
}

static void on_alarm(int signal_number)
{
}

static int run_many(const struct arguments *a)
{
    struct worker workers[JOBS_MAX] = {0};
    struct sim_report *report = sim_report_new(a->last - a->first + 1);
    struct message m;
    struct itimerspec every = {.it_interval = {.tv_nsec = 100000000},
                               .it_value = {.tv_nsec = 100000000}};
    struct sigaction action = {.sa_handler = on_alarm}; /* interrupts the read: look for the dead */
    timer_t timer;
    int pipe_fds[2];
    int r = pipe(pipe_fds);
    KB_ASSERT(r == 0);
    (void)sigaction(SIGALRM, &action, NULL);
    for (uint32_t i = 0; i < a->jobs; i++) {
        workers[i].next = a->first + i;
        fork_worker(a, &workers[i], i, pipe_fds);
    }
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGALRM};
    r = timer_create(CLOCK_MONOTONIC, &event, &timer);
    KB_ASSERT(r == 0);
    (void)timer_settime(timer, 0, &every, NULL);
    while (sim_report_count(report) < a->last - a->first + 1) {
        ssize_t n = read(pipe_fds[0], &m, sizeof(m));
        if (n == (ssize_t)sizeof(m))
            take(&m, workers, report);
        else
            bury(a, workers, pipe_fds, report);
        if (n < 0 && !any_alive(a, workers) && sim_report_count(report) == 0)
            break;
        if (a->until_failure && sim_report_failed(report) > 0)
            break;
    }
    (void)timer_delete(timer);
    for (uint32_t i = 0; i < a->jobs; i++) {
        if (workers[i].pid > 0)
            (void)kill(workers[i].pid, SIGKILL); /* none is left but after a failure */
    }
    while (wait(NULL) > 0)
        ;
    sim_report_print(stdout, report);
    if (a->json != NULL && sim_report_json(a->json, report) < 0)
        (void)fprintf(stderr, "sim: cannot write %s\n", a->json);
    int failed = sim_report_failed(report) > 0;
    (void)sim_report_free(report);
    return failed;
}

/* ---- arguments ---- */

static int usage(void)
{
    (void)fprintf(stderr, "usage: sim --seeds A..B [--jobs N] [--replay-every N] [--json FILE] "
                          "[--until-failure]\n"
                          "       sim --seed N [--trace] [--log]\n");
    return 2;
}

static bool parse_seeds(const char *text, struct arguments *a)
{
    char *end = NULL;
    a->first = a->last = strtoull(text, &end, 10);
    if (end[0] == '.' && end[1] == '.')
        a->last = strtoull(end + 2, &end, 10);
    return *end == '\0' && a->last >= a->first;
}

int main(int argc, char **argv)
{
    static const struct option options[] = {{"seeds", required_argument, NULL, 's'},
                                            {"seed", required_argument, NULL, 'o'},
                                            {"jobs", required_argument, NULL, 'j'},
                                            {"json", required_argument, NULL, 'J'},
                                            {"replay-every", required_argument, NULL, 'r'},
                                            {"trace", no_argument, NULL, 't'},
                                            {"log", no_argument, NULL, 'l'},
                                            {"until-failure", no_argument, NULL, 'u'},
                                            {0}};
    struct arguments a = {.replay_every = 50};
    long cpus = sysconf(_SC_NPROCESSORS_ONLN);
    bool given = false;
    int c;
    a.jobs = cpus > 0 && cpus < JOBS_MAX ? (uint32_t)cpus : 2;
    while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (c) {
        case 's':
        case 'o':
            given = parse_seeds(optarg, &a);
            a.one = c == 'o';
            break;
        case 'j':
            a.jobs = (uint32_t)strtoul(optarg, NULL, 10);
            break;
        case 'J':
            a.json = optarg;
            break;
        case 'r':
            a.replay_every = strtoull(optarg, NULL, 10);
            break;
        case 't':
            a.trace = true;
            break;
        case 'l':
            a.log = true;
            break;
        case 'u':
            a.until_failure = true;
            break;
        default:
            return usage();
        }
    }
    if (!given || optind != argc || a.jobs == 0 || a.jobs > JOBS_MAX)
        return usage();
    kb_log_set_sink(log_bugs, NULL, KB_LOG_ERROR);
    return a.one ? run_one(&a) : run_many(&a);
}
