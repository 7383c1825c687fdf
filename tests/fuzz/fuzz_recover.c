/* Any bytes as the files of one log's directory: the log opens on them, is read, appended to and
 * opened again. The first byte: bit 0 = the clean marker was there, bit 1 = CRCs of batches are
 * made right, bit 2 = the log is closed in between instead of losing power. Then the durable mark
 * and the start offset (a byte each) and files: kind, base offset (a byte each), size (2), bytes.
 * Whatever lies there, the log must not die; what an unclean start has made of it, the next start
 * must find whole, with the same end. */
#include <stdlib.h>
#include <string.h>

#include "proto/base/assert.h"
#include "proto/base/err.h"
#include "proto/base/log.h"
#include "proto/kafka/batch.h"
#include "replication/log/log.h"
#include "tests/sim/sim_disk.h"
#include "tests/sim/sim_env.h"

#define DIR "/data/orders-0"

enum { FILES_MAX = 12, WAIT_MS = 60000, READS_MAX = 64, EPOCH = 40 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct input {
    const uint8_t *data;
    size_t size;
};

struct bench {
    struct sim_world *world;
    struct sim_host *host;
    struct sim_env *env;
    struct log *log;
    struct log_options options;
    struct log_found found;
    int result;
    bool done;
};

static uint8_t take_byte(struct input *in)
{
    if (in->size == 0)
        return 0;
    in->size--;
    return *in->data++;
}

static void make_crcs_right(uint8_t *data, size_t size)
{
    struct kw_batches it;
    struct kw_batch b;
    kw_batches_init(&it, data, size);
    while (kw_batches_next(&it, &b) == KW_BATCHES_ONE) {
        uint8_t *at = data + (b.data - data);
        kw_batch_set_max_timestamp(at, b.size, false, b.max_timestamp ^ 1);
        kw_batch_set_max_timestamp(at, b.size, false, b.max_timestamp);
    }
}

static void put_file(struct bench *w, struct input *in, bool seal)
{
    static const char *const based[] = {"log",         "index",    "timeindex",     "snapshot",
                                        "log.cleaned", "log.swap", "index.cleaned", "log.deleted"};
    static const char *const plain[] = {"leader-epoch-checkpoint", "cut-limit",
                                        "partition.metadata", "leader-epoch-checkpoint.tmp"};
    char path[128];
    uint8_t kind = take_byte(in) % 12;
    unsigned base = take_byte(in);
    size_t size = (size_t)take_byte(in) << 8;
    size |= take_byte(in);
    size = size < in->size ? size : in->size;
    struct kb_buf bytes = {0};
    kb_buf_append(&bytes, in->data, size);
    in->data += size;
    in->size -= size;
    if (kind < 8)
        (void)snprintf(path, sizeof(path), DIR "/%020u.%s", base, based[kind]);
    else
        (void)snprintf(path, sizeof(path), DIR "/%s", plain[kind - 8]);
    if (kind == 0 && seal)
        make_crcs_right(bytes.data, bytes.size);
    sim_disk_put(sim_host_disk(w->host), path, bytes.size > 0 ? bytes.data : (const uint8_t *)"",
                 bytes.size);
    kb_buf_release(&bytes);
}

/* ---- the log's answers ---- */

static void on_open(struct log *log, void *user, int result, const struct log_found *found)
{
    struct bench *w = user;
    (void)log;
    w->done = true;
    w->result = result;
    if (result == 0)
        w->found = *found;
}

static void on_done(struct log *log, void *user, int result)
{
    struct bench *w = user;
    (void)log;
    w->done = true;
    w->result = result;
}

static void on_read(struct log_read *r, int result)
{
    struct bench *w = r->user;
    w->done = true;
    w->result = result;
}

static bool wait_done(struct bench *w)
{
    bool there = sim_world_run_until_flag(w->world, &w->done, WAIT_MS);
    w->done = false;
    return there;
}

/* True when the log is open and there. */
static bool open_log(struct bench *w, bool clean)
{
    w->options.clean = clean;
    w->log = log_open(sim_env_kb(w->env), &w->options, on_open, w);
    bool answered = wait_done(w);
    KB_ASSERT(answered);
    if (w->result < 0 || w->found.state == LOG_MISSING) {
        w->log = log_free(w->log);
        return false;
    }
    KB_ASSERT(w->found.start_offset <= w->found.end_offset);
    return true;
}

static void next_life(struct bench *w)
{
    if (!sim_env_is_down(w->env))
        sim_env_kill(w->env);
    w->log = log_free(w->log);
    KB_ASSERT(sim_env_leaks(w->env) == 0);
    w->env = sim_env_free(w->env);
    w->env = sim_host_start(w->host);
}

/* Everything from the start on, a limited number of times. */
static void read_all(struct bench *w)
{
    int64_t offset = log_start_offset(w->log);
    for (int i = 0; i < READS_MAX && offset < log_end_offset(w->log); i++) {
        struct log_read r = {.offset = offset,
                             .bound_offset = INT64_MAX,
                             .max_bytes = 4096,
                             .min_one = true,
                             .done = on_read,
                             .user = w};
        int result = log_read(w->log, &r);
        if (result == LOG_READ_PENDING) {
            bool answered = wait_done(w);
            KB_ASSERT(answered);
            result = w->result;
        }
        int64_t next = r.next_offset;
        kb_chain_release(&r.records);
        if (result != LOG_READ_OK || next <= offset)
            return;
        offset = next;
    }
}

static void append_one(struct bench *w)
{
    struct kw_batch_builder b;
    struct kb_block *block = NULL;
    struct log_appended a;
    struct kw_bytes none = {NULL, 0};
    if (w->found.end_offset > INT64_MAX / 2 || w->found.last_epoch > EPOCH)
        return;
    kw_batch_builder_init(&b);
    int r = kw_batch_builder_add(&b, 1000, none, none);
    KB_ASSERT(r == 0);
    r = kw_batch_builder_finish(&b, &block);
    KB_ASSERT(r == 0);
    kw_batch_builder_release(&b);
    r = log_append_leader(w->log, block, 0, block->size, EPOCH, &a);
    KB_ASSERT(r != LOG_APPEND_OK || a.first_offset == w->found.end_offset);
    (void)kb_block_unref(block);
    sim_world_run_for(w->world, 1000);
}

static void run(struct bench *w, bool clean, bool close_between)
{
    if (!open_log(w, clean))
        return;
    struct log_found first = w->found;
    read_all(w);
    if (clean) {
        append_one(w);
    } else {
        next_life(w);
        if (!open_log(w, false))
            KB_ASSERT(w->result < 0);
        else if (first.state == LOG_DAMAGED)
            KB_ASSERT(w->found.state == LOG_DAMAGED && w->found.damaged_from == first.damaged_from);
        else
            KB_ASSERT(w->found.state == LOG_WHOLE && w->found.end_offset == first.end_offset);
        if (w->log == NULL)
            return;
        append_one(w);
    }
    if (close_between && log_failure(w->log) == 0) {
        w->done = false;
        log_close(w->log, on_done, w);
        bool answered = wait_done(w);
        KB_ASSERT(answered);
    }
    next_life(w);
    if (open_log(w, close_between))
        read_all(w);
}

static void log_nothing(void *arg, enum kb_log_level level, const char *component, const char *text)
{
    (void)arg;
    (void)level;
    (void)component;
    (void)text;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct log_handler handler = {0};
    struct input in = {data, size};
    struct bench w = {.world = sim_world_new(1)};
    if (getenv("KVORUM_FUZZ_LOG") == NULL)
        kb_log_set_sink(log_nothing, NULL, KB_LOG_ERROR);
    uint8_t mode = take_byte(&in);
    w.host = sim_world_add_host(w.world, "node1");
    w.env = sim_host_start(w.host);
    w.options = (struct log_options){
        .dir = DIR, .lane = KB_LANE_DATA, .handler = &handler, .user = &w, .producers = true};
    log_config_init(&w.options.config);
    w.options.durable_mark = take_byte(&in);
    w.options.start_offset = take_byte(&in);
    for (int i = 0; i < FILES_MAX && in.size > 4; i++)
        put_file(&w, &in, (mode & 2) != 0);
    run(&w, (mode & 1) != 0, (mode & 4) != 0);
    next_life(&w);
    (void)sim_world_free(w.world);
    return 0;
}
