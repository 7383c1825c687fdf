#include "tests/sim/sim_replica_check.h"

#include <stdlib.h>
#include <string.h>

#include "proto/base/map.h"
#include "proto/base/mem.h"

#define DIR_TEXT 128

/* What one (partition, epoch, offset) holds, for ever. */
struct known {
    uint32_t crc;
    uint32_t node; /* first seen at */
};

struct sim_replica_check {
    struct sim_replica_options options;
    struct sim_log *visible; /* [node * partitions + partition] */
    struct sim_log *durable;
    uint32_t *holders;      /* by partition, masks of nodes */
    char (*dirs)[DIR_TEXT]; /* by partition, once they were asked for */
    bool replaced[8];
    sim_scan_fn *scan_fn;
    void *scan_arg;
    struct kb_map known; /* (partition, epoch, offset) -> struct known */
};

struct sim_replica_check *sim_replica_check_new(const struct sim_replica_options *options)
{
    struct sim_replica_check *c = kb_new(struct sim_replica_check);
    size_t logs = (size_t)options->disk_count * options->partitions;
    c->options = *options;
    c->visible = kb_new_array(struct sim_log, logs);
    c->durable = kb_new_array(struct sim_log, logs);
    c->holders = kb_new_array(uint32_t, options->partitions);
    c->dirs = kb_calloc(options->partitions, sizeof(c->dirs[0]));
    for (uint32_t p = 0; p < options->partitions; p++)
        c->holders[p] = (1U << options->disk_count) - 1;
    return c;
}

struct sim_replica_check *sim_replica_check_free(struct sim_replica_check *c)
{
    if (c == NULL)
        return NULL;
    size_t cursor = 0;
    uint64_t key = 0;
    struct known *k;
    for (size_t i = 0; i < (size_t)c->options.disk_count * c->options.partitions; i++) {
        sim_log_release(&c->visible[i]);
        sim_log_release(&c->durable[i]);
    }
    while ((k = kb_map_next(&c->known, &cursor, &key)) != NULL)
        free(k);
    kb_map_release(&c->known);
    free(c->visible);
    free(c->durable);
    free(c->holders);
    free(c->dirs);
    free(c);
    return NULL;
}

void sim_replica_check_assign(struct sim_replica_check *c, uint32_t partition, uint32_t nodes)
{
    c->holders[partition] = nodes;
}

static bool holds_it(const struct sim_replica_check *c, uint32_t node, uint32_t partition)
{
    return (c->holders[partition] >> node & 1) != 0;
}

static uint32_t first_holder(const struct sim_replica_check *c, uint32_t partition)
{
    uint32_t n = 0;
    while (n + 1 < c->options.disk_count && !holds_it(c, n, partition))
        n++;
    return n;
}

/* P2 over replicas: remember what each (epoch, offset) held when it was first seen anywhere. */
static void know(struct sim_replica_check *c, uint32_t node, uint32_t partition,
                 const struct sim_log_batch *b)
{
    if (c->options.starts != NULL)
        sim_start_check_batch(c->options.starts, partition, b->first, b->last, b->max_timestamp);
    uint64_t key = (uint64_t)partition << 56 ^ (uint64_t)(uint32_t)b->epoch << 36 ^
                   (uint64_t)b->first;
    struct known *k = kb_map_get(&c->known, key);
    if (c->options.epochs != NULL)
        sim_epoch_check_batch(c->options.epochs, node, partition, b->first, b->last, b->epoch);
    if (k == NULL) {
        k = kb_new(struct known);
        *k = (struct known){.crc = b->crc, .node = node};
        (void)kb_map_put(&c->known, key, k);
        return;
    }
    sim_check(c->options.checks, SIM_CHECK_P2, k->crc == b->crc,
              "partition %u epoch %d offset %lld: node %u holds other bytes than node %u",
              partition, b->epoch, (long long)b->first, node + 1, k->node + 1);
}

static const char *dir_of(struct sim_replica_check *c, uint32_t partition)
{
    char *dir = c->dirs[partition];
    if (dir[0] == '\0')
        c->options.dir_of(c->options.arg, partition, dir);
    return dir;
}

static struct sim_log *refresh(struct sim_replica_check *c, uint32_t node, uint32_t partition,
                               bool durable)
{
    size_t index = (size_t)node * c->options.partitions + partition;
    struct sim_log *l = durable ? &c->durable[index] : &c->visible[index];
    sim_log_refresh(l, c->options.disks[node], dir_of(c, partition), durable);
    for (size_t i = l->fresh; i < l->count; i++)
        know(c, node, partition, &l->batches[i]);
    return l;
}

/* Offset and epoch are set by the leader; the rest, CRC included, stays as it was sent. */
static bool holds(struct sim_replica_check *c, uint32_t node, uint32_t partition, int64_t first,
                  int64_t last, struct kb_view batch)
{
    const struct sim_log_batch *b = sim_log_find(refresh(c, node, partition, true), first);
    if (c->durable[(size_t)node * c->options.partitions + partition].first_base > last)
        return true; /* it was there, and went with its segment */
    if (b == NULL || b->first != first || b->last != last || b->size != batch.size)
        return false;
    struct kb_view bytes = sim_log_bytes(b, c->options.disks[node], dir_of(c, partition), true);
    return bytes.size == batch.size &&
           memcmp(bytes.data + 16, batch.data + 16, batch.size - 16) == 0;
}

void sim_replica_check_replaced(struct sim_replica_check *c, uint32_t node)
{
    c->replaced[node] = true;
}

void sim_replica_check_ack(struct sim_replica_check *c, uint32_t partition, int64_t first,
                           int64_t last, int16_t acks, struct kb_view batch)
{
    uint32_t copies = 0;
    if (acks == 0)
        return;
    for (uint32_t n = 0; n < c->options.disk_count; n++)
        copies += holds_it(c, n, partition) &&
                  (c->replaced[n] || holds(c, n, partition, first, last, batch));
    sim_check(c->options.checks, acks == 1 ? SIM_CHECK_P22 : SIM_CHECK_P9,
              copies >= (acks == 1 ? 1 : c->options.min_insync),
              "partition %u offsets %lld-%lld: acknowledged and durable on %u disks", partition,
              (long long)first, (long long)last, copies);
}

static void check_members(struct sim_replica_check *c, uint32_t partition, uint32_t nodes,
                          int64_t offset, enum sim_check_id id, const char *what)
{
    for (uint32_t n = 0; n < c->options.disk_count; n++) {
        if ((nodes & 1U << n) == 0 || c->replaced[n])
            continue;
        int64_t end = sim_log_end(refresh(c, n, partition, true));
        sim_check(c->options.checks, id, end >= offset,
                  "partition %u: node %u is in the ISR with %lld durable below the %s of %lld",
                  partition, n + 1, (long long)end, what, (long long)offset);
    }
}

void sim_replica_check_hw(struct sim_replica_check *c, uint32_t partition, int64_t high_watermark,
                          uint32_t isr)
{
    check_members(c, partition, isr, high_watermark, SIM_CHECK_P4, "high watermark");
}

void sim_replica_check_joined(struct sim_replica_check *c, uint32_t partition, int64_t epoch_start,
                              uint32_t joined)
{
    check_members(c, partition, joined, epoch_start, SIM_CHECK_P13, "epoch start");
}

void sim_replica_check_reported(struct sim_replica_check *c, uint32_t node, uint32_t partition,
                                int64_t durable)
{
    const struct sim_log *l = refresh(c, node, partition, true);
    int64_t end = sim_log_end(l);
    end = l->count > 0 ? end : l->base; /* it was emptied, to begin there */
    sim_check(c->options.checks, SIM_CHECK_P14, end >= durable,
              "partition %u: node %u reports %lld as durable, its disk has %lld durably", partition,
              node + 1, (long long)durable, (long long)end);
}

void sim_replica_check_epochs(struct sim_replica_check *c, uint32_t node, uint32_t partition,
                              int32_t (*epoch_at)(void *arg, int64_t offset), void *arg)
{
    const struct sim_log *l = refresh(c, node, partition, false);
    for (size_t i = 0; i < l->count; i++) {
        const struct sim_log_batch *b = &l->batches[i];
        int32_t known = epoch_at(arg, b->first);
        if (known >= 0 && !sim_check(c->options.checks, SIM_CHECK_P7, known == b->epoch,
                                     "partition %u: node %u takes offset %lld for epoch %d, its "
                                     "batch has %d",
                                     partition, node + 1, (long long)b->first, known, b->epoch))
            return;
    }
}

static void compare_pair(struct sim_replica_check *c, uint32_t partition, uint32_t a, uint32_t b,
                         int64_t bound)
{
    const struct sim_log *la = &c->visible[(size_t)a * c->options.partitions + partition];
    const struct sim_log *lb = &c->visible[(size_t)b * c->options.partitions + partition];
    for (size_t i = 0; i < la->count && la->batches[i].last < bound; i++) {
        const struct sim_log_batch *x = &la->batches[i];
        if (lb->count == 0 || x->first < lb->batches[0].first)
            continue; /* before the other's start */
        const struct sim_log_batch *y = i < lb->count && lb->batches[i].first == x->first
                                            ? &lb->batches[i]
                                            : sim_log_find(lb, x->first);
        if (!sim_check(c->options.checks, SIM_CHECK_P3,
                       y != NULL && y->crc == x->crc && y->first == x->first,
                       "partition %u offset %lld below high watermark %lld: nodes %u and %u differ",
                       partition, (long long)x->first, (long long)bound, a + 1, b + 1))
            return;
    }
}

void sim_replica_check_compare(struct sim_replica_check *c, uint32_t partition,
                               const int64_t *high_watermarks)
{
    for (uint32_t n = 0; n < c->options.disk_count; n++) {
        if (holds_it(c, n, partition))
            (void)refresh(c, n, partition, false);
    }
    for (uint32_t a = 0; a < c->options.disk_count; a++) {
        for (uint32_t b = a + 1; b < c->options.disk_count; b++) {
            int64_t bound = high_watermarks[a] < high_watermarks[b] ? high_watermarks[a]
                                                                    : high_watermarks[b];
            if (bound > 0 && holds_it(c, a, partition) && holds_it(c, b, partition))
                compare_pair(c, partition, a, b, bound);
        }
    }
}

/* ---- the end ---- */

static const struct sim_log *first_log(const struct sim_replica_check *c, uint32_t partition)
{
    return &c->durable[(size_t)first_holder(c, partition) * c->options.partitions + partition];
}

static int64_t log_begin(const struct sim_log *l)
{
    return l->count > 0 ? l->batches[0].first : l->first_base;
}

static void compare_durable(struct sim_replica_check *c, uint32_t partition, uint32_t node)
{
    const struct sim_log *first = first_log(c, partition);
    const struct sim_log *l = &c->durable[(size_t)node * c->options.partitions + partition];
    size_t skip = 0, more = 0, same = 0; /* one of them may begin later */
    while (skip < first->count && first->batches[skip].first < log_begin(l))
        skip++;
    while (more < l->count && l->batches[more].first < log_begin(first))
        more++;
    while (skip + same < first->count && more + same < l->count &&
           first->batches[skip + same].crc == l->batches[more + same].crc)
        same++;
    sim_check(c->options.checks, SIM_CHECK_P3,
              skip + same == first->count && more + same == l->count &&
                  sim_log_end(l) == sim_log_end(first),
              "partition %u after healing: node %u has %zu batches to %lld, the first %zu to %lld, "
              "%zu from the later start on are equal",
              partition, node + 1, l->count, (long long)sim_log_end(l), first->count,
              (long long)sim_log_end(first), same);
}

/* Per producer and partition: sequences in log order without gap or repetition, P11 and P12. */
static void check_sequences(struct sim_replica_check *c, uint32_t partition)
{
    const struct sim_log *l = first_log(c, partition);
    struct kb_map next = {0}; /* (producer id, epoch) -> next sequence + 1 */
    int64_t floor = c->options.starts != NULL ? sim_start_check_floor(c->options.starts, partition)
                                              : 0;
    for (size_t i = 0; i < l->count; i++) {
        const struct sim_log_batch *b = &l->batches[i];
        /* What was deleted may have been sent again, and is no more known. */
        if (b->producer_id < 0 || b->last < floor)
            continue;
        uint64_t key = (uint64_t)b->producer_id << 16 | (uint16_t)b->producer_epoch;
        int64_t expected = (int64_t)(uintptr_t)kb_map_get(&next, key);
        /* What came before may have been deleted. */
        expected = expected > 0 ? expected - 1 : l->first_base > 0 || floor > 0 ? b->sequence : 0;
        sim_check(c->options.checks, SIM_CHECK_P12, b->sequence >= expected,
                  "partition %u: producer %lld sequence %d again at offset %lld", partition,
                  (long long)b->producer_id, b->sequence, (long long)b->first);
        sim_check(c->options.checks, SIM_CHECK_P11, b->sequence <= expected,
                  "partition %u: producer %lld jumps from sequence %lld to %d at offset %lld",
                  partition, (long long)b->producer_id, (long long)expected, b->sequence,
                  (long long)b->first);
        int64_t after = b->sequence + (int64_t)b->record_count;
        (void)kb_map_put(&next, key, (void *)(uintptr_t)(after + 1));
    }
    kb_map_release(&next);
}

void sim_replica_check_on_scan(struct sim_replica_check *c, sim_scan_fn *fn, void *arg)
{
    c->scan_fn = fn;
    c->scan_arg = arg;
}

static void report_records(struct sim_replica_check *c, uint32_t partition, sim_raw_record_fn *fn,
                           void *arg)
{
    const struct sim_log *l = first_log(c, partition);
    struct sim_disk *disk = c->options.disks[first_holder(c, partition)];
    const char *dir = dir_of(c, partition);
    for (size_t i = 0; i < l->count; i++) {
        struct kb_view bytes = sim_log_bytes(&l->batches[i], disk, dir, true);
        struct kw_batch b;
        struct kw_records *it = NULL;
        struct kw_record record;
        if (kw_batch_parse(bytes.data, bytes.size, &b) != KW_BATCH_WHOLE ||
            kw_records_open(&b, 64 << 20, &it) < 0)
            continue;
        while (kw_records_next(it, &record) == 1) {
            if (c->scan_fn != NULL)
                c->scan_fn(c->scan_arg, partition, record.offset, b.leader_epoch, record.timestamp);
            fn(arg, partition, record.offset, kw_bytes_view(record.value));
        }
        (void)kw_records_close(it);
    }
}

void sim_replica_check_final(struct sim_replica_check *c, sim_raw_record_fn *fn, void *arg)
{
    for (uint32_t p = 0; p < c->options.partitions; p++) {
        for (uint32_t n = 0; n < c->options.disk_count; n++)
            (void)refresh(c, n, p, true);
        for (uint32_t n = first_holder(c, p) + 1; n < c->options.disk_count; n++) {
            if (holds_it(c, n, p))
                compare_durable(c, p, n);
        }
        check_sequences(c, p);
        report_records(c, p, fn, arg);
    }
}

int64_t sim_replica_check_start(struct sim_replica_check *c, uint32_t node, uint32_t partition)
{
    int64_t base = refresh(c, node, partition, true)->first_base;
    return base > 0 ? base : 0;
}

uint64_t sim_replica_check_bytes(struct sim_replica_check *c, uint32_t partition, int64_t offset)
{
    uint64_t largest = 0;
    for (uint32_t n = 0; n < c->options.disk_count; n++) {
        const struct sim_log *l = refresh(c, n, partition, false);
        uint64_t bytes = 0;
        for (size_t i = l->count; i > 0 && l->batches[i - 1].last >= offset; i--)
            bytes += l->batches[i - 1].size;
        largest = bytes > largest ? bytes : largest;
    }
    return largest;
}

int64_t sim_replica_check_end(struct sim_replica_check *c, uint32_t node, uint32_t partition)
{
    return sim_log_end(refresh(c, node, partition, true));
}

int64_t sim_replica_check_first_end(struct sim_replica_check *c, uint32_t partition)
{
    return sim_replica_check_end(c, first_holder(c, partition), partition);
}

bool sim_replica_check_ends_alike(struct sim_replica_check *c, uint32_t partition)
{
    int64_t end = sim_replica_check_first_end(c, partition);
    for (uint32_t n = 0; n < c->options.disk_count; n++) {
        if (holds_it(c, n, partition) && sim_replica_check_end(c, n, partition) != end)
            return false;
    }
    return true;
}
