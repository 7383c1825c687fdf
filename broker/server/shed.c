#include <fcntl.h>
#include <malloc.h>
#include <stdio.h>
#include <unistd.h>

#include "broker/server/internal.h"
#include "proto/base/assert.h"
#include "proto/base/log.h"
#include "proto/base/mem.h"
#include "proto/base/queue.h"

/* Memory is short: readers that do not read and senders that do not go on make room for the
 * others. Output in memory is charged to the budget of answers when it is queued, whatever that
 * budget says; above its limit no more requests are taken, from half of it on those who keep it
 * are closed. */

#define SHED_CHECK_MS 200
#define UNREAD_LIMIT_US (1 * 1000000ull) /* the other side took nothing for so long */
#define OWING_LIMIT_US (10 * 1000000ull) /* it takes some, but has kept memory for so long */
#define PASSES_MAX 8

/* What a burst has left on the heap stays resident until it is asked for. */
#define TRIM_CHECK_MS 5000
#define TRIM_ABOVE_BYTES ((size_t)32 * 1024 * 1024) /* resident beyond what is in use */
#define TRIM_KEEP_BYTES ((size_t)4 * 1024 * 1024)

void srv_conns_watch_memory(struct srv_env *e)
{
    if (!kb_timer_armed(e->stall_timer))
        kb_timer_arm(e->stall_timer, SHED_CHECK_MS);
}

void srv_conn_charge(struct srv_conn *c, uint64_t size)
{
    if (c->options.answers == NULL || size == 0)
        return;
    kb_budget_charge(c->options.answers, (size_t)size);
    if (c->charged_bytes == 0) {
        c->owing_us = c->drained_us = srv_now_us();
        TAILQ_INSERT_TAIL(&c->env->owing, c, owing_link);
    }
    c->charged_bytes += size;
    if (srv_conn_answers_short(c))
        srv_conns_watch_memory(c->env);
}

void srv_conn_discharge(struct srv_conn *c, uint64_t size)
{
    if (c->options.answers == NULL || size == 0)
        return;
    KB_ASSERT(size <= c->charged_bytes);
    kb_budget_give(c->options.answers, (size_t)size);
    c->charged_bytes -= size;
    if (c->charged_bytes == 0)
        TAILQ_REMOVE(&c->env->owing, c, owing_link);
}

bool srv_conn_answers_short(const struct srv_conn *c)
{
    return c->options.answers != NULL && kb_budget_above(c->options.answers, 2);
}

bool srv_conn_answers_spent(const struct srv_conn *c)
{
    return c->options.answers != NULL && kb_budget_above(c->options.answers, 1);
}

static bool keeps_memory(const struct srv_conn *c, uint64_t now_us)
{
    return srv_conn_answers_short(c) &&
           (now_us - c->drained_us >= UNREAD_LIMIT_US || now_us - c->owing_us >= OWING_LIMIT_US);
}

/* Those above the mean of all who keep memory go first. */
static size_t shed_pass(struct srv_env *e, uint64_t now_us, uint64_t *bytes)
{
    struct srv_conn *c = NULL;
    struct srv_conn *next = NULL;
    uint64_t sum = 0;
    size_t count = 0;
    size_t closed = 0;
    TAILQ_FOREACH(c, &e->owing, owing_link)
    {
        if (!keeps_memory(c, now_us))
            continue;
        sum += c->charged_bytes;
        count++;
    }
    TAILQ_FOREACH_SAFE(c, &e->owing, owing_link, next)
    {
        if (!keeps_memory(c, now_us) || c->charged_bytes * count < sum)
            continue;
        *bytes += c->charged_bytes;
        closed++;
        srv_conn_fail(c, KB_CLOSE_LOCAL);
    }
    return closed;
}

/* ---- freed memory goes back ---- */

/* Bytes of this process that are in memory; 0 when that cannot be found out. */
static uint64_t resident_bytes(void)
{
    char text[64];
    unsigned long long size = 0;
    unsigned long long resident = 0;
    int fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return 0;
    ssize_t n = read(fd, text, sizeof(text) - 1);
    (void)close(fd);
    text[n > 0 ? n : 0] = '\0';
    if (sscanf(text, "%llu %llu", &size, &resident) != 2)
        return 0;
    return resident * (uint64_t)sysconf(_SC_PAGESIZE);
}

void srv_memory_trim(void *env)
{
    struct srv_env *e = env;
    struct mallinfo2 m = mallinfo2();
    if (resident_bytes() > m.uordblks + m.hblkhd + TRIM_ABOVE_BYTES)
        (void)malloc_trim(TRIM_KEEP_BYTES);
    kb_timer_arm(e->trim_timer, TRIM_CHECK_MS);
}

/* ---- the clock ---- */

void srv_conns_shed(void *env)
{
    struct srv_env *e = env;
    uint64_t now_us = srv_now_us();
    uint64_t bytes = 0;
    size_t closed = 0;
    size_t more = 1;
    bool is_short = false;
    struct srv_conn *c = NULL;
    for (int i = 0; i < PASSES_MAX && more > 0; i++) {
        more = shed_pass(e, now_us, &bytes);
        closed += more;
    }
    if (closed > 0)
        kb_log_warn(
            "server",
            "event=readers_closed count=%zu bytes=%llu why=\"they do not read their answers, "
            "and memory is short\"",
            closed, (unsigned long long)bytes);
    if (!TAILQ_EMPTY(&e->blocked))
        srv_conns_evict_stalled(e, now_us);
    TAILQ_FOREACH(c, &e->owing, owing_link)
    {
        is_short = is_short || srv_conn_answers_short(c);
    }
    if (is_short || !TAILQ_EMPTY(&e->blocked))
        srv_conns_watch_memory(e);
}
