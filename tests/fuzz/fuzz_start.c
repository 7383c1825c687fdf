/* Any bytes in the data directory of a broker that starts: the disk of a cluster of one with two
 * topics, and some of its files changed. The first byte: bit 0 = the CRCs of the vote and of
 * kvorum.state are made right, and those of batches. Then changes, a byte for the file (a list
 * below), one that chooses, and operands:
 *   0  size(2) bytes   its contents, whole
 *   1  at(2) value     one byte of it
 *   2  size(2)         it is cut
 *   3                  it is gone
 * The broker starts, or says why it does not, or ends itself; it does not die and keeps nothing.
 * One that came to serve does so again after kill -9. */
#include <stdlib.h>
#include <string.h>

#include "broker/api/api.h"
#include "proto/base/assert.h"
#include "proto/base/crc32c.h"
#include "proto/base/log.h"
#include "proto/kafka/batch.h"
#include "tests/sim/sim_disk.h"
#include "tests/sim/sim_solo.h"

enum { ORIGIN_SEED = 7, SEED = 8, START_MS = 20000, CHANGES_MAX = 8, SETTLE_MS = 3000 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define ROOT SIM_SOLO_DIR "/"
#define META ROOT "__cluster_metadata-0/"
#define SEGMENT "00000000000000000000.log"
static const char *const paths[] = {
    ROOT "meta.properties",
    ROOT "kvorum.state",
    ROOT ".kafka_cleanshutdown",
    ROOT "replication-offset-checkpoint",
    ROOT "recovery-point-offset-checkpoint",
    ROOT "log-start-offset-checkpoint",
    ROOT "cleaner-offset-checkpoint",
    ROOT "kvorum.founding",
    META "quorum-state",
    META SEGMENT,
    META "leader-epoch-checkpoint",
    META "00000000000000000005-0000000001.checkpoint",
    META "cut-limit",
    META "partition.metadata",
    ROOT "t-0/partition.metadata",
    ROOT "t-0/" SEGMENT,
    ROOT "t-0/leader-epoch-checkpoint",
    ROOT "t-7/partition.metadata",
    ROOT "__consumer_offsets-0/" SEGMENT,
    ROOT "u-0.0011223344556677-delete/" SEGMENT,
    ROOT "x-99999999999/" SEGMENT,
    ROOT "-1/partition.metadata",
};
#define PATHS (sizeof(paths) / sizeof(paths[0]))

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

static size_t take_size(struct input *in)
{
    size_t size = (size_t)take_byte(in) << 8;
    return size | take_byte(in);
}

/* ---- the disk that every run starts from ---- */

static struct {
    struct sim_solo solo;
    struct sim_disk_copy *disk;
} origin;

static void ignore_frame(struct kb_conn *conn, void *user, struct kb_block *frame)
{
    (void)conn;
    (void)user;
    (void)frame;
}

static void ignore_close(struct kb_conn *conn, void *user, enum kb_close_reason reason)
{
    (void)conn;
    (void)user;
    (void)reason;
}

/* CreateTopics version 2 of "t" and "u", FindCoordinator version 0 (makes __consumer_offsets),
 * OffsetCommit version 2. */
static void make_topics(struct sim_world *world)
{
    static const uint8_t frames[] = {
        0, 0, 0, 54, 0,  19, 0, 2, 0, 0,  0, 1,  0,   1, 'f', 0, 0, 0, 2, 0, 1,   't', 0, 0,  0, 1,
        0, 1, 0, 0,  0,  0,  0, 0, 0, 0,  0, 1,  'u', 0, 0,   0, 1, 0, 1, 0, 0,   0,   0, 0,  0, 0,
        0, 0, 0, 39, 16, 0,  0, 0, 0, 14, 0, 10, 0,   0, 0,   0, 0, 3, 0, 1, 'f', 0,   1, 'g'};
    static const uint8_t commit[] = {
        0,   0,   0,   53, 0, 8,   0,   2,   0,   0,   0,   2,   0,   1, 'f', 0, 1, 'g', 255,
        255, 255, 255, 0,  0, 255, 255, 255, 255, 255, 255, 255, 255, 0, 0,   0, 1, 0,   1,
        't', 0,   0,   0,  1, 0,   0,   0,   0,   0,   0,   0,   0,   0, 0,   0, 1, 0,   0};
    static const struct kb_conn_handler handler = {.on_frame = ignore_frame,
                                                   .on_close = ignore_close};
    static const struct kb_conn_options options = {.frame_bytes_max = 1 << 20,
                                                   .send_high_bytes = 1 << 20};
    struct sim_env *client = sim_world_add_env(world, "client");
    struct kb_conn *conn = kb_env_connect(sim_env_kb(client), "node1", SIM_SOLO_PORT, 1000,
                                          &options, &handler, NULL);
    struct kb_chain chain = {0};
    kb_chain_add_copy(&chain, frames, sizeof(frames));
    kb_conn_send(conn, &chain);
    sim_world_run_for(world, SETTLE_MS);
    kb_chain_add_copy(&chain, commit, sizeof(commit));
    kb_conn_send(conn, &chain);
    sim_world_run_for(world, SETTLE_MS);
}

static void origin_make(void)
{
    sim_solo_init(&origin.solo, ORIGIN_SEED, 1);
    origin.solo.apis = api_table(&origin.solo.apis_count);
    sim_solo_start(&origin.solo);
    bool running = sim_solo_run_until(&origin.solo, NODE_RUNNING, START_MS);
    KB_ASSERT(running);
    make_topics(origin.solo.world);
    sim_solo_kill(&origin.solo);
    struct sim_disk *disk = sim_host_disk(origin.solo.host);
    sim_disk_crash(disk, SIM_CRASH_KEEP); /* all of it durable: what the copy takes */
    origin.disk = sim_disk_copy_new(disk);
}

/* ---- changes ---- */

static void seal_batches(struct kb_buf *b)
{
    struct kw_batches it;
    struct kw_batch batch;
    kw_batches_init(&it, b->data, b->size);
    while (kw_batches_next(&it, &batch) == KW_BATCHES_ONE) {
        uint8_t *at = b->data + (batch.data - b->data);
        kw_batch_set_max_timestamp(at, batch.size, false, batch.max_timestamp ^ 1);
        kw_batch_set_max_timestamp(at, batch.size, false, batch.max_timestamp);
    }
}

/* The last line is "crc=", over all before it. */
static void seal_text(struct kb_buf *b)
{
    static const char mark[] = "crc=";
    char text[16];
    uint8_t *at = b->size > 0 ? memmem(b->data, b->size, mark, strlen(mark)) : NULL;
    if (at == NULL || b->size - (size_t)(at - b->data) < 12)
        return;
    (void)snprintf(text, sizeof(text), "%08x", kb_crc32c(0, b->data, (size_t)(at - b->data)));
    memcpy(at + strlen(mark), text, 8);
}

/* u32 size, u32 CRC, record: a snapshot. */
static void seal_frames(struct kb_buf *b)
{
    for (size_t at = 0; b->size - at >= 8;) {
        size_t size = kb_get_be32(b->data + at);
        if (size > b->size - at - 8)
            return;
        kb_put_be32(b->data + at + 4, kb_crc32c(0, b->data + at + 8, size));
        at += 8 + size;
    }
}

static void seal(const char *path, struct kb_buf *b)
{
    if (strstr(path, ".log") != NULL)
        seal_batches(b);
    else if (strstr(path, "-0000000001.checkpoint") != NULL)
        seal_frames(b);
    else
        seal_text(b);
}

static void change(struct sim_disk *disk, struct input *in, bool sealed)
{
    const char *path = paths[take_byte(in) % PATHS];
    uint8_t kind = take_byte(in) % 4;
    struct kb_buf b = {0};
    size_t at = kind < 3 ? take_size(in) : 0;
    if (kind == 1 || kind == 2)
        (void)sim_disk_read(disk, path, &b);
    if (kind == 3) {
        (void)sim_disk_remove(disk, path);
        return;
    }
    if (kind == 0) {
        at = at < in->size ? at : in->size;
        kb_buf_append(&b, in->data, at);
        in->data += at;
        in->size -= at;
    } else if (kind == 1 && b.size > 0) {
        b.data[at % b.size] = take_byte(in);
    } else if (at < b.size) {
        b.size = at;
    }
    if (sealed)
        seal(path, &b);
    sim_disk_put(disk, path, b.size > 0 ? b.data : (const uint8_t *)"", b.size);
    kb_buf_release(&b);
}

/* ---- lives ---- */

/* True when it came to serve. */
static bool live(struct sim_solo *s)
{
    sim_solo_start(s);
    bool running = sim_solo_run_until(s, NODE_RUNNING, START_MS);
    sim_world_run_for(s->world, SETTLE_MS);
    running = running && !sim_env_is_down(s->env);
    if (!sim_env_is_down(s->env))
        sim_env_kill(s->env);
    s->node = node_free(s->node);
    KB_ASSERT(sim_env_leaks(s->env) == 0);
    s->env = sim_env_free(s->env);
    return running;
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
    struct input in = {data, size};
    struct sim_solo s;
    if (getenv("KVORUM_FUZZ_LOG") == NULL)
        kb_log_set_sink(log_nothing, NULL, KB_LOG_ERROR);
    if (origin.disk == NULL)
        origin_make();
    bool sealed = (take_byte(&in) & 1) != 0;
    sim_solo_init(&s, SEED, 1);
    s.apis = origin.solo.apis;
    s.apis_count = origin.solo.apis_count;
    sim_disk_restore(sim_host_disk(s.host), origin.disk);
    for (int i = 0; i < CHANGES_MAX && in.size > 0; i++)
        change(sim_host_disk(s.host), &in, sealed);
    if (live(&s)) {
        bool again = live(&s);
        KB_ASSERT(again);
    }
    sim_solo_release(&s);
    return 0;
}
