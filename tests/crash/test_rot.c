/* Every bit of a log's segments turned in turn, also the bits of base offset and leader epoch,
 * which no CRC covers (rows 39 to 41): below the durable mark it is damage, found by the start or
 * by the first who reads it, and never an end of the log; above it in the newest segment it is cut.
 * What is given out is what was written. */
#include <stdio.h>
#include <string.h>

#include "proto/base/err.h"
#include "replication/log/epochs.h"
#include "replication/log/head.h"
#include "tests/crash/crash_main.h"
#include "tests/unit/log/log_world.h"

enum { FILES_MAX = 64 };

struct file {
    char path[128];
    struct kb_buf bytes;
};

struct rot {
    struct lw l;
    struct file files[FILES_MAX];
    size_t file_count;
    /* Counts. */
    size_t bits, damaged, cut, by_readers, unseen;
};

static int file_entry(void *arg, const char *name, enum kb_fs_type type)
{
    struct rot *r = arg;
    ck_assert_uint_lt(r->file_count, FILES_MAX);
    struct file *f = &r->files[r->file_count++];
    (void)snprintf(f->path, sizeof(f->path), LW_DIR "/%s", name);
    return sim_disk_read(sim_host_disk(r->l.host), f->path, &f->bytes);
}

static int remove_entry(void *arg, const char *name, enum kb_fs_type type)
{
    struct rot *r = arg;
    char path[300];
    (void)snprintf(path, sizeof(path), LW_DIR "/%s", name);
    return sim_disk_remove(sim_host_disk(r->l.host), path);
}

static void restore(struct rot *r)
{
    struct sim_disk *d = sim_host_disk(r->l.host);
    ck_assert_int_eq(sim_disk_list(d, LW_DIR, false, remove_entry, r), 0);
    for (size_t i = 0; i < r->file_count; i++)
        sim_disk_put(d, r->files[i].path, r->files[i].bytes.data, r->files[i].bytes.size);
}

/* Which batch of the model a byte of a segment lies in. */
static const struct lw_batch *batch_at(const struct rot *r, const struct file *f, size_t position)
{
    long long base = 0;
    ck_assert_int_eq(sscanf(strrchr(f->path, '/') + 1, "%20lld.log", &base), 1);
    size_t i = 0;
    while (r->l.batches[i].base_offset < base)
        i++;
    size_t start = r->l.batches[i].position;
    while (r->l.batches[i].position - start + r->l.batches[i].size <= position)
        i++;
    return &r->l.batches[i];
}

static size_t at_byte;
static unsigned at_bit;

/* Read all there is; true when somebody says that something is damaged. Bytes are compared. */
static bool read_all(struct rot *r, const struct lw_batch *turned)
{
    struct lw *l = &r->l;
    int64_t offset = log_start_offset(l->log);
    size_t i = 0;
    while (offset < log_end_offset(l->log)) {
        struct log_read read;
        int result = lw_read(l, &read, offset, INT64_MAX, 400, true);
        if (result == -KB_ECORRUPT)
            return true;
        ck_assert_int_eq(result, LOG_READ_OK);
        for (size_t s = 0; s < read.records.count; s++) {
            const struct kb_slice *slice = &read.records.slices[s];
            const uint8_t *p = slice->block->data + slice->position;
            for (size_t at = 0; at < slice->size; i++) {
                const struct lw_batch *b = &l->batches[i];
                ck_assert_uint_lt(i, l->batch_count);
                ck_assert_msg(memcmp(p + at, l->bytes.data + b->position, b->size) == 0,
                              "batch at %lld is given out as it never was, turned was %lld",
                              (long long)b->base_offset, (long long)turned->base_offset);
                at += b->size;
            }
        }
        bool more = read.records.size != 0;
        offset = read.next_offset;
        kb_chain_release(&read.records);
        ck_assert_msg(more, "nothing at %lld, byte %zu bit %u of %lld..%lld, end %lld",
                      (long long)offset, at_byte, at_bit, (long long)turned->base_offset,
                      (long long)turned->last_offset, (long long)log_end_offset(l->log));
    }
    return false;
}

static bool newest(const struct rot *r, const struct file *f)
{
    const char *last = NULL;
    for (size_t i = 0; i < r->file_count; i++)
        if (strstr(r->files[i].path, ".log") != NULL)
            last = r->files[i].path;
    return last == f->path;
}

/* One bit of a batch's epoch may make the last batch of all one of a newer epoch: above the mark
 * nothing tells that from a leader's first batch. */
static bool may_be_unseen(const struct rot *r, const struct lw_batch *b, size_t in_batch,
                          unsigned bit, int64_t mark)
{
    const struct lw_batch *last = &r->l.batches[r->l.batch_count - 1];
    uint32_t epoch = (uint32_t)b->epoch;
    uint32_t mask = UINT32_C(1) << (8 * (15 - in_batch) + bit);
    return b == last && in_batch >= 12 && in_batch < 16 && b->base_offset >= mark &&
           (epoch & mask) == 0 && mask != UINT32_C(1) << 31;
}

static void turn(struct rot *r, const struct file *f, size_t position, unsigned bit, bool clean,
                 int64_t mark)
{
    struct lw *l = &r->l;
    const struct lw_batch *b = batch_at(r, f, position);
    size_t in_batch = position - (b->position - batch_at(r, f, 0)->position);
    restore(r);
    at_byte = in_batch;
    at_bit = bit;
    ck_assert_int_eq(sim_disk_flip_bit(sim_host_disk(l->host), f->path, position, bit), 0);
    lw_open(l, clean, mark);
    ck_assert_int_eq(l->open_result, 0);
    r->bits++;
    const char *where = "";
    if (l->found.state == LOG_DAMAGED) {
        r->damaged++;
        ck_assert_int_le(l->found.damaged_from, b->base_offset);
        ck_assert(l->found.damaged_from < mark || !newest(r, f));
    } else if (l->found.state == LOG_CUT) {
        r->cut++;
        ck_assert(newest(r, f) && b->last_offset >= mark);
        ck_assert_msg(l->found.end_offset <= b->base_offset,
                      "byte %zu bit %u of the batch at %lld: end %lld", in_batch, bit,
                      (long long)b->base_offset, (long long)l->found.end_offset);
        ck_assert_int_ge(l->found.end_offset, mark);
    } else if (may_be_unseen(r, b, in_batch, bit, mark) && l->found.last_epoch != b->epoch) {
        r->unseen++;
        lw_kill(l);
        return;
    } else {
        r->by_readers++;
        where = "a reader";
        ck_assert_int_eq(l->found.state, LOG_WHOLE);
        ck_assert_msg(read_all(r, b), "%s: byte %zu (%zu of its batch) bit %u is seen by nobody",
                      f->path, position, in_batch, bit);
        lw_kill(l);
        return;
    }
    (void)where;
    (void)read_all(r, b);
    lw_kill(l);
}

static void run(const char *name, bool clean, int64_t mark_back, size_t step)
{
    struct rot r = {.bits = 0};
    lw_init(&r.l, 1);
    struct lw *l = &r.l;
    l->options.config.segment_bytes = 700;
    l->options.config.index_interval_bytes = 150;
    lw_create(l, 0);
    for (int i = 0; i < 12; i++) {
        int32_t epoch = i < 3 ? 1 : i < 8 ? 2 : i < 11 ? 5 : 6;
        ck_assert_int_eq(lw_append(l, epoch, 1 + i % 3, 30 + (size_t)(i * 37 % 90), 1000 + i * 5),
                         0);
    }
    lw_settle(l);
    ck_assert_uint_gt(log_segment_count(l->log), 2);
    lw_run(l, 10000); /* the epoch file is complete */
    int64_t end = log_end_offset(l->log);
    ck_assert_int_eq(log_durable_mark(l->log), end);
    int64_t mark = end - mark_back;
    if (clean)
        lw_close(l);
    else
        lw_kill(l);
    ck_assert_int_eq(sim_disk_list(sim_host_disk(l->host), LW_DIR, false, file_entry, &r), 0);
    for (size_t i = 0; i < r.file_count; i++) {
        const struct file *f = &r.files[i];
        const char *dot = strrchr(f->path, '.');
        if (dot == NULL || strcmp(dot, ".log") != 0)
            continue;
        for (size_t bit = 0; bit < f->bytes.size * 8; bit += 1) {
            const struct lw_batch *b = batch_at(&r, f, bit / 8);
            size_t in_batch = bit / 8 - (b->position - batch_at(&r, f, 0)->position);
            if (in_batch < LOG_HEAD_SIZE || bit % step == 0)
                turn(&r, f, bit / 8, (unsigned)(bit % 8), clean, mark);
        }
    }
    printf("%-28s %6zu bits: damage %zu, cut %zu, found by readers %zu, not told %zu\n", name,
           r.bits, r.damaged, r.cut, r.by_readers, r.unseen);
    (void)fflush(stdout);
    for (size_t i = 0; i < r.file_count; i++)
        kb_buf_release(&r.files[i].bytes);
    lw_release(l);
}

START_TEST(bit__below_the_mark)
{
    run("below the mark", false, 0, 11);
}
END_TEST

START_TEST(bit__above_the_mark)
{
    run("above the mark", false, 6, 11);
}
END_TEST

START_TEST(bit__after_a_clean_stop)
{
    run("after a clean stop", true, 0, 11);
}
END_TEST

/* A bit of the epoch file: either it is made again from the batches, or they are read to be sound.
 * Where one batch alone has an epoch, nobody can tell which of both is wrong: damage. */
START_TEST(bit__of_the_epoch_file)
{
    struct rot r = {.bits = 0};
    lw_init(&r.l, 2);
    struct lw *l = &r.l;
    l->options.config.segment_bytes = 700;
    lw_create(l, 0);
    for (int i = 0; i < 12; i++)
        ck_assert_int_eq(lw_append(l, i < 3 ? 1 : i < 8 ? 2 : 5, 1 + i % 3, 60, 1000 + i * 5), 0);
    lw_settle(l);
    lw_run(l, 10000);
    int64_t end = log_end_offset(l->log);
    lw_kill(l);
    ck_assert_int_eq(sim_disk_list(sim_host_disk(l->host), LW_DIR, false, file_entry, &r), 0);
    for (size_t i = 0; i < r.file_count; i++) {
        const struct file *f = &r.files[i];
        if (strstr(f->path, "leader-epoch-checkpoint") == NULL)
            continue;
        for (size_t bit = 0; bit < f->bytes.size * 8; bit++) {
            restore(&r);
            sim_disk_flip_bit(sim_host_disk(l->host), f->path, bit / 8, (unsigned)(bit % 8));
            lw_open(l, false, end);
            ck_assert_int_eq(l->open_result, 0);
            r.bits++;
            r.damaged += l->found.state == LOG_DAMAGED;
            if (l->found.state != LOG_DAMAGED) {
                ck_assert_int_eq(l->found.state, LOG_WHOLE);
                ck_assert_int_eq(l->found.end_offset, end);
                for (size_t b = 0; b < l->batch_count; b++)
                    ck_assert_int_eq(log_epoch_at(l->log, l->batches[b].base_offset),
                                     l->batches[b].epoch);
                lw_check_all(l);
            }
            lw_kill(l);
        }
    }
    printf("%-28s %6zu bits: damage %zu\n", "of the epoch file", r.bits, r.damaged);
    ck_assert_uint_lt(r.damaged * 4, r.bits);
    for (size_t i = 0; i < r.file_count; i++)
        kb_buf_release(&r.files[i].bytes);
    lw_release(l);
}
END_TEST

CRASH_MAIN("crash_rot", bit__below_the_mark, bit__above_the_mark, bit__after_a_clean_stop,
           bit__of_the_epoch_file)
