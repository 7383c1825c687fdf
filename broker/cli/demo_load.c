/* The load of kvorum demo: every partition is written steadily and read back; what was acknowledged
 * must be read once, in order. A process of its own, so that nothing the screen does slows it. */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "broker/cli/consumer.h"
#include "broker/cli/demo.h"
#include "broker/cli/producer.h"

enum {
    PERIOD_MS = 20,   /* between two records of a partition */
    OPEN_MAX_ = 1000, /* unacknowledged records of a partition */
    LINGER_MS = 2,
    NO_PROGRESS_MS = 20000, /* the rest will not be read any more */
};

/* The load's own memory. */
struct load {
    struct demo_load *shared;
    struct cli_loop loop;
    struct cli_wire *write_wire; /* fetches wait: they have connections of their own */
    struct cli_wire *read_wire;
    struct cli_producer *producer;
    struct cli_consumer *consumer;
    struct cli_timer timer;
    size_t write_topic;
    size_t read_topic;
    bool reading;
    uint64_t progress_ms;
    struct {
        uint64_t next;  /* number of the next record */
        uint64_t acked; /* numbers below are acknowledged */
        uint64_t read;  /* number expected next */
    } partitions[DEMO_PARTITIONS];
};

/* ---- writing -----------------------------------------------------------------------------------
 */

static void on_delivery(void *arg, const struct cli_delivery *d)
{
    struct load *l = arg;
    uint64_t now_ms = cli_now_ms();
    struct demo_load *s = l->shared;
    int32_t p = d->partition;
    if (d->error != KW_NONE) {
        /* Nothing that waiting would help against. */
        atomic_store(&s->state, DEMO_LOAD_FAILED);
        l->loop.stop = true;
        return;
    }
    l->partitions[p].acked = d->tags[d->count - 1] + 1;
    (void)atomic_fetch_add(&s->acked, d->count);
    atomic_store(&s->partitions[p].acked_ms, now_ms);
    if (atomic_load(&s->partitions[p].killed_ms) != 0 &&
        atomic_load(&s->partitions[p].recovered_ms) == 0 &&
        d->broker != atomic_load(&s->partitions[p].victim))
        atomic_store(&s->partitions[p].recovered_ms, now_ms);
}

static void write_record(struct load *l, int32_t p)
{
    char value[48];
    struct timespec now;
    uint64_t number = l->partitions[p].next++;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    int size = snprintf(value, sizeof(value), "%d %" PRIu64, p, number);
    (void)cli_producer_add(l->producer, l->write_topic, p,
                           (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000, kw_bytes_of(NULL, 0),
                           kw_bytes_of(value, (size_t)size), NULL, 0, number);
}

static bool all_read(const struct load *l)
{
    for (int p = 0; p < DEMO_PARTITIONS; p++) {
        if (l->partitions[p].read < l->partitions[p].next)
            return false;
    }
    return cli_producer_pending(l->producer) == 0;
}

/* The end: what was acknowledged and not read is lost. */
static void finish(struct load *l)
{
    for (int p = 0; p < DEMO_PARTITIONS; p++) {
        uint64_t acked = l->partitions[p].acked;
        if (acked > l->partitions[p].read)
            (void)atomic_fetch_add(&l->shared->lost, acked - l->partitions[p].read);
    }
    atomic_store(&l->shared->state, DEMO_LOAD_DONE);
    l->loop.stop = true;
}

static void on_timer(void *arg)
{
    struct load *l = arg;
    bool stop = atomic_load(&l->shared->stop);
    cli_timer_arm(&l->loop, &l->timer, PERIOD_MS);
    if (atomic_load(&l->shared->state) == DEMO_LOAD_STARTING)
        return;
    for (int32_t p = 0; p < DEMO_PARTITIONS && !stop; p++) {
        if (l->partitions[p].next - l->partitions[p].acked < OPEN_MAX_)
            write_record(l, p);
    }
    if (stop && (all_read(l) || cli_now_ms() - l->progress_ms > NO_PROGRESS_MS))
        finish(l);
}

static void on_write_change(void *arg)
{
    struct load *l = arg;
    const struct cli_topic *t = cli_wire_topic_at(l->write_wire, l->write_topic);
    if (t->partitions_count < DEMO_PARTITIONS) {
        cli_wire_refresh(l->write_wire);
        return;
    }
    if (atomic_load(&l->shared->state) == DEMO_LOAD_STARTING)
        atomic_store(&l->shared->state, DEMO_LOAD_RUNNING);
    cli_producer_pump(l->producer);
}

/* ---- reading -----------------------------------------------------------------------------------
 */

static bool on_record(void *arg, const struct cli_consumed *c)
{
    struct load *l = arg;
    char text[48] = "";
    char *end = NULL;
    size_t size = (size_t)c->record->value.size;
    uint64_t *next = &l->partitions[c->partition].read;
    memcpy(text, c->record->value.data, size < sizeof(text) ? size : sizeof(text) - 1);
    if (strtol(text, &end, 10) != c->partition)
        return true; /* somebody else writes there, too */
    uint64_t number = strtoull(end, NULL, 10);
    l->progress_ms = cli_now_ms();
    (void)atomic_fetch_add(&l->shared->read, 1);
    if (number < *next) {
        (void)atomic_fetch_add(&l->shared->duplicated, 1);
        return true;
    }
    (void)atomic_fetch_add(&l->shared->lost, number - *next);
    *next = number + 1;
    return true;
}

static void on_read_error(void *arg, size_t topic, int32_t partition, int16_t error,
                          const char *text)
{
    struct load *l = arg;
    (void)topic;
    (void)partition;
    (void)error;
    (void)text;
    atomic_store(&l->shared->state, DEMO_LOAD_FAILED);
    l->loop.stop = true;
}

static void on_read_change(void *arg)
{
    struct load *l = arg;
    const struct cli_topic *t = cli_wire_topic_at(l->read_wire, l->read_topic);
    if (t->partitions_count < DEMO_PARTITIONS) {
        cli_wire_refresh(l->read_wire);
        return;
    }
    for (int32_t p = 0; p < DEMO_PARTITIONS && !l->reading; p++)
        cli_consumer_add(l->consumer, l->read_topic, p, (struct cli_start){CLI_START_BEGINNING, 0});
    l->reading = true;
    cli_consumer_pump(l->consumer);
}

/* ---- life --------------------------------------------------------------------------------------
 */

static void run_load(struct demo_load *shared, const char *bootstrap)
{
    struct load *l = kb_new(struct load);
    l->shared = shared;
    l->progress_ms = cli_now_ms();
    cli_loop_init(&l->loop);
    struct cli_wire_options wo = {.loop = &l->loop,
                                  .bootstrap = bootstrap,
                                  .connect_timeout_ms = CLI_NODE_TIMEOUT_MS,
                                  .on_change = on_write_change,
                                  .arg = l};
    l->write_wire = cli_wire_new(&wo);
    wo.on_change = on_read_change;
    l->read_wire = cli_wire_new(&wo);
    const struct cli_producer_options po = {.loop = &l->loop,
                                            .wire = l->write_wire,
                                            .acks = -1,
                                            .idempotent = true,
                                            .linger_ms = LINGER_MS,
                                            .on_delivery = on_delivery,
                                            .arg = l};
    l->producer = cli_producer_new(&po);
    const struct cli_consumer_options co = {.loop = &l->loop,
                                            .wire = l->read_wire,
                                            .on_record = on_record,
                                            .on_error = on_read_error,
                                            .arg = l};
    l->consumer = cli_consumer_new(&co);
    l->write_topic = cli_wire_topic(l->write_wire, DEMO_TOPIC);
    l->read_topic = cli_wire_topic(l->read_wire, DEMO_TOPIC);
    l->timer = (struct cli_timer){.fn = on_timer, .arg = l};
    cli_timer_arm(&l->loop, &l->timer, PERIOD_MS);
    cli_loop_run(&l->loop);
    (void)cli_wire_free(l->write_wire);
    (void)cli_wire_free(l->read_wire);
    (void)cli_producer_free(l->producer);
    (void)cli_consumer_free(l->consumer);
    cli_loop_release(&l->loop);
    (void)kb_free(l);
}

struct demo_load *demo_load_start(const char *bootstrap)
{
    struct demo_load *l = mmap(NULL, sizeof(*l), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
                               -1, 0);
    pid_t parent = getpid();
    if (l == MAP_FAILED) {
        cli_error("cannot get shared memory: %s", strerror(errno));
        return NULL;
    }
    pid_t pid = fork();
    if (pid == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent)
            _exit(1);
        (void)setpgid(0, 0);
        run_load(l, bootstrap);
        _exit(0);
    }
    l->pid = pid;
    if (pid > 0)
        return l;
    cli_error("cannot start a process: %s", strerror(errno));
    (void)munmap(l, sizeof(*l));
    return NULL;
}

struct demo_load *demo_load_free(struct demo_load *l)
{
    if (l == NULL)
        return NULL;
    if (l->pid > 0) {
        (void)kill(l->pid, SIGKILL);
        (void)waitpid(l->pid, NULL, 0);
    }
    (void)munmap(l, sizeof(*l));
    return NULL;
}

bool demo_load_is_steady(const struct demo_load *l, uint64_t ms)
{
    uint64_t now_ms = cli_now_ms();
    for (int p = 0; p < DEMO_PARTITIONS; p++) {
        uint64_t acked_ms = atomic_load(&l->partitions[p].acked_ms);
        if (acked_ms == 0 || now_ms > acked_ms + ms)
            return false;
    }
    return true;
}

bool demo_load_has_died(struct demo_load *l)
{
    if (l->pid > 0 && waitpid(l->pid, NULL, WNOHANG) == l->pid)
        l->pid = 0;
    return atomic_load(&l->state) == DEMO_LOAD_FAILED ||
           (l->pid == 0 && atomic_load(&l->state) != DEMO_LOAD_DONE);
}
