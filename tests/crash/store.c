#include "tests/crash/store.h"

#include <check.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "proto/base/err.h"
#include "replication/log/recover.h"

/* ---- the run ---- */

static void on_written(struct log *log, void *user, uint32_t generation, int64_t offset)
{
    ((struct store *)user)->lw.written = offset;
}

static void on_durable(struct log *log, void *user, uint32_t generation, int64_t offset)
{
    struct store *s = user;
    s->lw.durable = offset;
    s->now.end_min = offset;
    log_dir_mark_set(s->dir, s->dir_log, LOG_DIR_DURABLE, log_durable_mark(log));
    store_note(s);
}

static void on_space(struct log *log, void *user)
{
    ((struct store *)user)->lw.space_events++;
}

static void on_failed(struct log *log, void *user, int error)
{
    ((struct store *)user)->lw.failures++;
}

static const struct log_handler handler = {on_written, on_durable, on_space, on_failed};

static void on_dir_failed(void *arg, int result, const char *what)
{
    ck_abort_msg("%s: %s", what, kb_err_name(result));
}

void store_note(struct store *s)
{
    ck_assert_uint_lt(s->promise_count, sizeof(s->promises) / sizeof(s->promises[0]));
    struct store_promise *p = kb_memdup(&s->now, sizeof(s->now));
    s->promises[s->promise_count++] = p;
    crash_trace_note(&s->trace, p);
}

void store_init(struct store *s, uint64_t seed)
{
    *s = (struct store){0};
    lw_init(&s->lw, seed);
    s->lw.options.handler = &handler;
    s->lw.options.user = s;
    s->lw.options.remember_cut = true;
    s->lw.options.config.index_interval_bytes = 200;
    s->lw.options.config.file_delete_delay_ms = 20;
    s->dir_options = (struct log_dir_options){
        .path = STORE_ROOT,
        .node_id = 1,
        .boot_id = "boot-a",
        .checkpoint_interval_ms = 1000,
        .on_failed = on_dir_failed,
        .arg = s,
    };
    s->now = (struct store_promise){
        .hw_min = -1, .mark_min = -1, .broker_epoch = -1, .contents = {0, -1}};
    s->content_count = 1;
    crash_trace_begin(&s->trace, sim_host_disk(s->lw.host));
}

void store_release(struct store *s)
{
    crash_trace_release(&s->trace);
    sim_env_kill(s->lw.env);
    s->lw.log = log_free(s->lw.log);
    s->dir = log_dir_free(s->dir);
    lw_release(&s->lw);
    for (size_t i = 0; i < s->promise_count; i++)
        (void)kb_free(s->promises[i]);
    for (int i = 0; i < s->content_count; i++) {
        kb_buf_release(&s->contents[i].bytes);
        (void)kb_free(s->contents[i].batches);
    }
}

static void on_dir_open(void *arg, struct log_dir *dir, int result, const char *reason,
                        const struct log_dir_found *found)
{
    struct store *s = arg;
    ck_assert_msg(result == 0, "%s", result < 0 ? reason : "");
    s->opened = true;
    s->directory_id = found->directory_id;
    s->now.formatted = true;
    store_note(s);
}

void store_open(struct store *s)
{
    s->opened = false;
    s->dir = log_dir_open(sim_env_kb(s->lw.env), &s->dir_options, on_dir_open, s);
    ck_assert(sim_world_run_until_flag(s->lw.world, &s->opened, 10000));
}

void store_create_log(struct store *s)
{
    s->dir_log = log_dir_log_add(s->dir, "orders", 0);
    lw_create(&s->lw, 0);
    ck_assert_int_eq(s->lw.open_result, 0);
    s->now.created = true;
    store_note(s);
}

void store_on_answer(void *arg, int result)
{
    struct store *s = arg;
    s->answered = true;
    s->answer = result;
}

void store_wait(struct store *s)
{
    ck_assert(sim_world_run_until_flag(s->lw.world, &s->answered, 60000));
    ck_assert_int_eq(s->answer, 0);
    s->answered = false;
}

static void content_add(struct store *s)
{
    struct store_content *c = &s->contents[s->now.contents[0]];
    struct lw_batch b = s->lw.batches[s->lw.batch_count - 1];
    const uint8_t *bytes = s->lw.bytes.data + b.position;
    b.position = c->bytes.size;
    kb_buf_append(&c->bytes, bytes, b.size);
    kb_array_reserve(c->batches, c->count, c->capacity);
    c->batches[c->count++] = b;
}

int store_content_fork(struct store *s, int64_t end)
{
    ck_assert_int_lt(s->content_count, STORE_CONTENTS_MAX);
    struct store_content *from = &s->contents[s->now.contents[0]];
    struct store_content *to = &s->contents[s->content_count];
    for (size_t i = 0; i < from->count && from->batches[i].last_offset < end; i++) {
        struct lw_batch b = from->batches[i];
        kb_buf_append(&to->bytes, from->bytes.data + b.position, b.size);
        kb_array_reserve(to->batches, to->count, to->capacity);
        to->batches[to->count++] = b;
    }
    return s->content_count++;
}

void store_append(struct store *s, int32_t epoch, int records, size_t value_size)
{
    int64_t timestamp = 1000 + log_end_offset(s->lw.log) * 7;
    ck_assert_int_eq(lw_append(&s->lw, epoch, records, value_size, timestamp), 0);
    content_add(s);
    store_note(s);
}

void store_settle(struct store *s)
{
    lw_settle(&s->lw);
}

void store_checkpoint(struct store *s)
{
    int64_t mark = log_dir_mark_get(s->dir_log, LOG_DIR_DURABLE);
    int64_t hw = s->now.end_min;
    uint32_t generation = log_generation(s->lw.log);
    if (s->now.hw_min > hw) { /* the log was cut */
        s->now.hw_min = hw;
        store_note(s);
    }
    log_dir_mark_set(s->dir, s->dir_log, LOG_DIR_HIGH_WATERMARK, hw);
    log_dir_mark_flush(s->dir, LOG_DIR_HIGH_WATERMARK, store_on_answer, s);
    store_wait(s);
    s->now.hw_min = hw;
    store_note(s);
    log_dir_mark_flush(s->dir, LOG_DIR_DURABLE, store_on_answer, s);
    store_wait(s);
    s->now.mark_min = mark;
    store_note(s);
    log_durable_mark_saved(s->lw.log, generation);
    lw_run(&s->lw, 20);
}

void store_cut(struct store *s, int64_t offset)
{
    int old = s->now.contents[0];
    int cut = store_content_fork(s, offset);
    /* From here on either, and of what goes nothing is promised. */
    s->now.contents[0] = cut;
    s->now.contents[1] = old;
    /* The offset may lie inside a batch, which goes then. */
    const struct store_content *c = &s->contents[cut];
    int64_t end = c->count != 0 ? c->batches[c->count - 1].last_offset + 1 : 0;
    if (s->now.end_min > end)
        s->now.end_min = end;
    store_note(s);
    s->lw.done = false;
    log_truncate_to(s->lw.log, offset, lw_on_done, &s->lw);
    ck_assert_int_eq(lw_wait_done(&s->lw), 0);
    ck_assert_int_eq(log_end_offset(s->lw.log), end);
    lw_model_cut(&s->lw, offset);
    s->now.contents[1] = -1;
    store_note(s);
}

void store_delete(struct store *s, int64_t offset)
{
    log_dir_mark_set(s->dir, s->dir_log, LOG_DIR_START, offset);
    log_dir_mark_flush(s->dir, LOG_DIR_START, store_on_answer, s);
    store_wait(s);
    s->now.start_min = offset;
    store_note(s);
    log_set_start_offset(s->lw.log, offset);
    lw_run(&s->lw, 100);
}

void store_close(struct store *s)
{
    s->lw.done = false;
    log_close(s->lw.log, lw_on_done, &s->lw);
    ck_assert_int_eq(lw_wait_done(&s->lw), 0);
    s->lw.log = log_free(s->lw.log);
    log_dir_close(s->dir, s->now.broker_epoch, store_on_answer, s);
    store_wait(s);
    s->dir = log_dir_free(s->dir);
    s->now.clean = true;
    store_note(s);
}

/* ---- the start ---- */

struct verdict {
    bool clean;
    bool log_there;
    enum log_state state;
    int64_t start, end, first_base;
    int32_t last_epoch;
    int64_t marks[LOG_DIR_MARK_COUNT_];
    int64_t broker_epoch;
    uint64_t creations;
    char cluster_id[64];
    struct kb_uuid directory_id;
    bool fresh;
};

struct meeting {
    const struct store_check *check;
    const struct crash_state *state;
    struct verdict v;
    struct log_recovery rc;
    struct log_producers *producers;
};

static void meeting_release(struct meeting *m)
{
    log_recovery_release(&m->rc);
    m->producers = log_producers_free(m->producers);
}

static void start_log(struct meeting *m, struct kb_fs *fs)
{
    static const struct log_producers_config config = {.count_max = 1000};
    struct verdict *v = &m->v;
    m->producers = log_producers_new(&config);
    m->rc = (struct log_recovery){
        .dir = LW_DIR,
        .clean = v->clean,
        .durable_mark = v->marks[LOG_DIR_DURABLE] < 0 ? 0 : v->marks[LOG_DIR_DURABLE],
        .start_offset = v->marks[LOG_DIR_START] < 0 ? 0 : v->marks[LOG_DIR_START],
        .index_interval_bytes = 200,
        .remember_cut = true,
        .producers = m->producers,
    };
    int r = log_recovery_run(fs, &m->rc);
    ck_assert_msg(r == 0, "prefix %zu: recovery: %s", m->state->prefix, kb_err_name(r));
    v->state = m->rc.found.state;
    v->start = m->rc.found.start_offset;
    v->end = m->rc.found.end_offset;
    v->last_epoch = m->rc.found.last_epoch;
    v->first_base = m->rc.segment_count != 0 ? m->rc.segments[0].base_offset : -1;
}

/* The directory first, then the log, as a broker starts. */
static void start(struct meeting *m)
{
    const struct store *s = m->check->store;
    struct kb_fs *fs = sim_env_fs(m->state->env);
    struct dir_start ds = {.path = kb_strdup(STORE_ROOT), .node_id = 1};
    ds.new_directory_id.bytes[0] = 99;
    int r = dir_start_run(&ds, fs);
    ck_assert_msg(r == 0, "prefix %zu: the directory does not start: %s", m->state->prefix,
                  ds.reason != NULL ? ds.reason : kb_err_name(r));
    struct verdict *v = &m->v;
    *v = (struct verdict){.clean = ds.clean,
                          .broker_epoch = ds.state.broker_epoch,
                          .creations = ds.state.creations_index,
                          .directory_id = ds.meta.directory_id,
                          .fresh = ds.fresh,
                          .state = LOG_MISSING};
    (void)snprintf(v->cluster_id, sizeof(v->cluster_id), "%s", ds.meta.cluster_id);
    for (int k = 0; k < LOG_DIR_MARK_COUNT_; k++)
        v->marks[k] = -1;
    for (size_t i = 0; i < ds.mark_count; i++)
        if (strcmp(ds.marks[i].topic, "orders") == 0)
            v->marks[ds.marks[i].mark] = ds.marks[i].offset;
    for (size_t i = 0; i < ds.log_count; i++)
        v->log_there = v->log_there || strcmp(ds.logs[i].topic, "orders") == 0;
    if (ds.fresh)
        ck_assert(!s->now.formatted || !v->log_there);
    dir_start_release(&ds);
    if (v->log_there)
        start_log(m, fs);
}

/* ---- judgement ---- */

#define REQUIRE(m, condition, ...)                                                                 \
    do {                                                                                           \
        if (!(condition))                                                                          \
            broken(m, #condition, __VA_ARGS__);                                                    \
    } while (0)

__attribute__((format(printf, 3, 4))) static void
broken(const struct meeting *m, const char *condition, const char *format, ...)
{
    char text[300];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    struct kb_buf dump = {0};
    crash_dump(sim_host_disk(sim_env_host(m->state->env)), "", &dump);
    (void)fprintf(stderr, "prefix %zu, %s: state %s start %lld end %lld epoch %d clean %d\n",
                  m->state->prefix, m->state->killed ? "killed" : "power cut",
                  log_state_name(m->v.state), (long long)m->v.start, (long long)m->v.end,
                  m->v.last_epoch, m->v.clean);
    const struct crash_trace *t = &m->check->store->trace;
    for (size_t k = 0; k < t->count; k++) {
        const struct crash_change *c = &t->changes[k];
        static const char *const names[] = {"write",  "size",   "sync",    "link",
                                            "unlink", "rename", "sync dir"};
        if (k + 40 > m->state->prefix && k < m->state->prefix + 2)
            (void)fprintf(stderr, "%s%4zu %-8s inode %llu in %llu %s %s at %llu size %llu\n",
                          k == m->state->prefix ? "--- cut here\n" : "", k, names[c->kind],
                          (unsigned long long)c->inode, (unsigned long long)c->in_dir,
                          c->from_name != NULL ? c->from_name : "", c->name != NULL ? c->name : "",
                          (unsigned long long)c->position, (unsigned long long)c->size);
    }
    kb_buf_release(&dump);
    ck_abort_msg("prefix %zu (%s): %s: %s", m->state->prefix,
                 m->state->killed ? "killed" : "power cut", condition, text);
}

static void check_dir(const struct meeting *m)
{
    const struct store_promise *p = m->state->promise;
    const struct store *s = m->check->store;
    const struct verdict *v = &m->v;
    if (p == NULL || !p->formatted)
        return;
    REQUIRE(m, !v->fresh && kb_uuid_equal(&v->directory_id, &s->directory_id), "identity");
    REQUIRE(m, v->log_there || !p->created, "the log's directory");
    REQUIRE(m, v->clean || !p->clean, "clean marker");
    REQUIRE(m, strcmp(v->cluster_id, p->cluster_id) == 0 || p->cluster_id[0] == '\0',
            "cluster id %s, not %s", v->cluster_id, p->cluster_id);
    REQUIRE(m, v->broker_epoch >= p->broker_epoch, "broker epoch %lld", (long long)v->broker_epoch);
    REQUIRE(m, v->creations >= p->creations, "creations %llu", (unsigned long long)v->creations);
    REQUIRE(m, v->marks[LOG_DIR_HIGH_WATERMARK] >= p->hw_min, "high watermark %lld, promised %lld",
            (long long)v->marks[LOG_DIR_HIGH_WATERMARK], (long long)p->hw_min);
}

/* All segments' bytes in order. */
static int log_file(void *arg, const char *name, enum kb_fs_type type)
{
    const char *dot = strrchr(name, '.');
    if (type == KB_FS_FILE && dot != NULL && strcmp(dot, ".log") == 0 && strlen(name) == 24) {
        struct kb_view v;
        char *path = kb_asprintf(LW_DIR "/%s", name);
        void **args = arg;
        ck_assert_int_eq(sim_disk_view(args[0], path, false, &v), 0);
        kb_buf_append(args[1], v.data, v.size);
        (void)kb_free(path);
    }
    return 0;
}

/* The batches of this content that a log from first_base to end holds. */
static struct kb_view content_range(const struct store_content *c, int64_t first_base, int64_t end)
{
    size_t from = 0;
    while (from < c->count && c->batches[from].base_offset < first_base)
        from++;
    size_t to = from;
    while (to < c->count && c->batches[to].last_offset < end)
        to++;
    size_t begin = from < c->count ? c->batches[from].position : c->bytes.size;
    size_t stop = to < c->count ? c->batches[to].position : c->bytes.size;
    return kb_view_of(c->bytes.data + begin, stop - begin);
}

static const struct store_content *content_match(const struct meeting *m)
{
    const struct store_promise *p = m->state->promise;
    struct kb_buf bytes = {0};
    void *args[2] = {sim_host_disk(sim_env_host(m->state->env)), &bytes};
    const struct store_content *found = NULL;
    (void)sim_disk_list(args[0], LW_DIR, false, log_file, args);
    for (int i = 0; i < 2 && found == NULL; i++) {
        if (p->contents[i] < 0)
            continue;
        const struct store_content *c = &m->check->store->contents[p->contents[i]];
        struct kb_view want = content_range(c, m->v.first_base, m->v.end);
        if (kb_view_equal(want, kb_view_of(bytes.data, bytes.size)))
            found = c;
    }
    kb_buf_release(&bytes);
    return found;
}

static void check_state_of(const struct meeting *m, const struct store_content *c)
{
    static const struct log_producers_config config = {.count_max = 1000};
    struct log_producers *twin = log_producers_new(&config);
    for (size_t i = 0; i < c->count && c->batches[i].last_offset < m->v.end; i++) {
        const struct lw_batch *b = &c->batches[i];
        struct log_producer_batch p;
        (void)log_producer_batch_parse(c->bytes.data + b->position, b->size, &p);
        (void)log_producers_update(twin, &p, 1, NULL);
        log_producers_advance(twin, b->last_offset + 1);
        if (b->base_offset >= m->v.first_base)
            REQUIRE(m, log_epochs_at(&m->rc.epochs, b->base_offset) == b->epoch, "epoch at %lld",
                    (long long)b->base_offset);
    }
    REQUIRE(m, log_producers_end_offset(m->producers) == m->v.end, "producers end at %lld",
            (long long)log_producers_end_offset(m->producers));
    if (m->v.first_base == 0) { /* else what the twin needs may be gone */
        REQUIRE(m, log_producers_count(m->producers) == log_producers_count(twin),
                "%zu producers instead of %zu", log_producers_count(m->producers),
                log_producers_count(twin));
        for (size_t i = 0; i < c->count && c->batches[i].last_offset < m->v.end; i++) {
            struct log_producer_batch p;
            struct log_producers_original a = {0};
            struct log_producers_original b = {0};
            (void)log_producer_batch_parse(c->bytes.data + c->batches[i].position,
                                           c->batches[i].size, &p);
            REQUIRE(m,
                    log_producers_check(m->producers, &p, NULL, &a) ==
                            log_producers_check(twin, &p, NULL, &b) &&
                        a.base_offset == b.base_offset,
                    "producer %lld", (long long)p.producer_id);
        }
    }
    (void)log_producers_free(twin);
}

static void check_log(const struct meeting *m)
{
    const struct store_promise *p = m->state->promise;
    const struct verdict *v = &m->v;
    if (!v->log_there || p == NULL)
        return;
    if (!p->created && v->state == LOG_MISSING)
        return;
    /* A power cut damages nothing: whatever it leaves, recovery knows for a torn end. */
    REQUIRE(m, v->state == LOG_WHOLE || v->state == LOG_CUT, "a power cut is taken for damage");
    REQUIRE(m, v->end >= p->end_min, "the end falls to %lld, %lld was durable", (long long)v->end,
            (long long)p->end_min);
    REQUIRE(m, v->start >= p->start_min || p->start_min == 0, "the start falls to %lld from %lld",
            (long long)v->start, (long long)p->start_min);
    REQUIRE(m, v->start <= v->end, "start behind the end");
    const struct store_content *c = content_match(m);
    REQUIRE(m, c != NULL, "what lies there was never written so");
    check_state_of(m, c);
}

static bool verdicts_equal(const struct verdict *a, const struct verdict *b)
{
    return a->log_there == b->log_there && a->state == b->state && a->start == b->start &&
           a->end == b->end && a->last_epoch == b->last_epoch &&
           a->broker_epoch == b->broker_epoch && a->creations == b->creations &&
           memcmp(a->marks, b->marks, sizeof(a->marks)) == 0 &&
           kb_uuid_equal(&a->directory_id, &b->directory_id);
}

/* Start again after a power cut that takes all that the first start did not sync: it must have
 * rested on nothing else, and find nothing more to do (P20). */
static void check_again(const struct meeting *first)
{
    struct sim_disk *d = sim_host_disk(sim_env_host(first->state->env));
    struct meeting again = {.check = first->check, .state = first->state};
    struct kb_buf before = {0};
    struct kb_buf after = {0};
    char where[200];
    crash_dump(d, "", &before);
    sim_disk_crash(d, SIM_CRASH_DROP);
    start(&again);
    REQUIRE(&again, verdicts_equal(&first->v, &again.v),
            "the next start finds end %lld after %lld, state %s after %s", (long long)again.v.end,
            (long long)first->v.end, log_state_name(again.v.state), log_state_name(first->v.state));
    check_dir(&again);
    check_log(&again);
    crash_dump(d, "", &after);
    /* A clean start trusts what an unclean one makes again; and what a killed process had not
     * synced, and nobody needs, goes with the power. */
    if (!first->v.clean && !first->state->killed)
        REQUIRE(&again, crash_dumps_equal(&before, &after, where, sizeof(where)),
                "the next start leaves other bytes: %s", where);
    kb_buf_release(&before);
    kb_buf_release(&after);
    meeting_release(&again);
}

void store_visit(void *arg, const struct crash_state *state)
{
    struct store_check *check = arg;
    struct meeting m = {.check = check, .state = state};
    /* What was promised of being clean ends with the next start. */
    struct store_promise promise;
    start(&m);
    check_dir(&m);
    check_log(&m);
    check->states++;
    check->whole += m.v.log_there && m.v.state == LOG_WHOLE;
    check->cut += m.v.log_there && m.v.state == LOG_CUT;
    if (state->promise != NULL) {
        promise = *(const struct store_promise *)state->promise;
        promise.clean = false;
        struct crash_state next = *state;
        next.promise = &promise;
        m.state = &next;
        check_again(&m);
    }
    meeting_release(&m);
}

void store_walk(struct store *s, const char *name, const struct crash_limits *limits)
{
    struct store_check check = {.store = s};
    struct crash_counts counts;
    crash_trace_end(&s->trace);
    crash_walk(&s->trace, limits, store_visit, &check, &counts);
    crash_counts_print(name, &counts, s->trace.count);
    printf("%-28s whole %zu, cut %zu\n", "", check.whole, check.cut);
    ck_assert_uint_gt(check.states, s->trace.count);
}
