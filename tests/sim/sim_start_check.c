#include "tests/sim/sim_start_check.h"

#include <stdlib.h>

#include "proto/base/assert.h"
#include "proto/base/mem.h"

#define UNKNOWN (-1)
/* A broker's clock may run apart by a thousandth while it comes back from a jump. */
#define EARLY_MS 100

struct seen {
    uint64_t life;
    int64_t start;
    bool member;
};

struct partition {
    int64_t retention_ms, retention_bytes;
    int64_t *times; /* by offset; UNKNOWN */
    size_t times_count, times_capacity;
    int64_t aged;     /* all below is older than retention.ms */
    int64_t by_bytes; /* all below was let go by retention.bytes */
    bool open, open_all;
    int64_t open_offset; /* of the call under way */
    int64_t possible;    /* calls without an answer may have deleted up to here */
    bool possible_all;   /* ... or up to any high watermark */
    int64_t floor;       /* acknowledged */
    int32_t floor_epoch; /* in this epoch at the latest */
    int64_t highest;     /* high watermark */
    struct seen nodes[SIM_START_NODES_MAX];
};

struct sim_start_check {
    struct sim_checks *checks;
    struct partition *partitions;
    uint32_t count;
    sim_start_bytes_fn *bytes;
    void *bytes_arg;
    struct sim_start_counts counts;
};

struct sim_start_check *sim_start_check_new(struct sim_checks *checks, uint32_t partitions)
{
    struct sim_start_check *c = kb_new(struct sim_start_check);
    c->checks = checks;
    c->partitions = kb_new_array(struct partition, partitions);
    c->count = partitions;
    for (uint32_t p = 0; p < partitions; p++) {
        c->partitions[p].retention_ms = -1;
        c->partitions[p].retention_bytes = -1;
    }
    return c;
}

struct sim_start_check *sim_start_check_free(struct sim_start_check *c)
{
    if (c == NULL)
        return NULL;
    for (uint32_t p = 0; p < c->count; p++)
        free(c->partitions[p].times);
    free(c->partitions);
    free(c);
    return NULL;
}

static int64_t larger(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

/* ---- what may go ---- */

void sim_start_check_retention(struct sim_start_check *c, uint32_t partition, int64_t retention_ms,
                               int64_t retention_bytes)
{
    c->partitions[partition].retention_ms = retention_ms;
    c->partitions[partition].retention_bytes = retention_bytes;
}

void sim_start_check_bytes(struct sim_start_check *c, sim_start_bytes_fn *fn, void *arg)
{
    c->bytes = fn;
    c->bytes_arg = arg;
}

void sim_start_check_batch(struct sim_start_check *c, uint32_t partition, int64_t first,
                           int64_t last, int64_t timestamp)
{
    struct partition *p = &c->partitions[partition];
    KB_ASSERT(first >= 0 && last >= first && last < 100000000);
    if (p->retention_ms < 0)
        return;
    while (p->times_count <= (size_t)last) {
        kb_array_reserve(p->times, p->times_count, p->times_capacity);
        p->times[p->times_count++] = UNKNOWN;
    }
    /* Of a tail that was cut the older one counts, too: it may have been in a segment that went. */
    for (int64_t o = first; o <= last; o++) {
        if (p->times[o] == UNKNOWN || timestamp < p->times[o])
            p->times[o] = timestamp;
    }
}

void sim_start_check_asked(struct sim_start_check *c, uint32_t partition, int64_t offset)
{
    struct partition *p = &c->partitions[partition];
    KB_ASSERT(!p->open);
    p->open = true;
    p->open_all = offset == SIM_START_HIGH_WATERMARK;
    p->open_offset = offset;
}

void sim_start_check_answered(struct sim_start_check *c, uint32_t partition,
                              enum sim_start_answer answer, int64_t low_watermark,
                              int32_t newest_epoch)
{
    struct partition *p = &c->partitions[partition];
    KB_ASSERT(p->open);
    p->open = false;
    if (answer == SIM_START_REFUSED) {
        c->counts.refused++;
        return;
    }
    if (answer == SIM_START_UNKNOWN) {
        c->counts.unknown++;
        p->possible = larger(p->possible, p->open_offset);
        p->possible_all = p->possible_all || p->open_all;
        return;
    }
    c->counts.deleted++;
    sim_check(c->checks, SIM_CHECK_P16, low_watermark >= p->open_offset,
              "partition %u: DeleteRecords up to %lld is answered with %lld", partition,
              (long long)p->open_offset, (long long)low_watermark);
    if (low_watermark > p->floor) {
        p->floor = low_watermark;
        p->floor_epoch = newest_epoch;
    }
}

/* Behind all that is older than retention.ms from this offset on. */
static int64_t aged_from(const struct partition *p, int64_t offset, int64_t now_ms)
{
    while (p->retention_ms >= 0 && (size_t)offset < p->times_count &&
           (p->times[offset] == UNKNOWN || p->times[offset] + p->retention_ms < now_ms + EARLY_MS))
        offset++;
    return offset;
}

int64_t sim_start_check_gone(struct sim_start_check *c, uint32_t partition, int64_t now_ms)
{
    struct partition *p = &c->partitions[partition];
    int64_t gone = larger(larger(p->floor, p->possible), p->by_bytes);
    if (p->open)
        gone = larger(gone, p->open_offset);
    if (p->possible_all || (p->open && p->open_all))
        gone = larger(gone, p->highest);
    /* Timestamps need not rise with offsets (a batch sent again bears its first one): a log that
     * begins behind what was deleted has nothing younger before what is old (seed 3000353). */
    p->aged = aged_from(p, p->aged, now_ms);
    return gone > p->aged ? aged_from(p, gone, now_ms) : p->aged;
}

int64_t sim_start_check_floor(const struct sim_start_check *c, uint32_t partition)
{
    return c->partitions[partition].floor;
}

/* May a log begin here? */
static bool may_begin(struct sim_start_check *c, uint32_t partition, int64_t start, int64_t now_ms)
{
    struct partition *p = &c->partitions[partition];
    if (start <= sim_start_check_gone(c, partition, now_ms))
        return true;
    if (p->retention_bytes < 0 || c->bytes == NULL ||
        c->bytes(c->bytes_arg, partition, start) < (uint64_t)p->retention_bytes)
        return false;
    p->by_bytes = start;
    return true;
}

/* ---- nodes ---- */

void sim_start_check_node(struct sim_start_check *c, uint32_t node, uint32_t partition,
                          const struct sim_start_view *v, int64_t now_ms)
{
    struct partition *p = &c->partitions[partition];
    struct seen *s = &p->nodes[node];
    p->highest = larger(p->highest, v->high_watermark);
    sim_check(c->checks, SIM_CHECK_P16, v->start <= v->high_watermark,
              "partition %u: node %u begins at %lld, above its high watermark %lld", partition,
              node + 1, (long long)v->start, (long long)v->high_watermark);
    if (v->start > s->start || s->life != v->life) {
        if (v->start > larger(p->floor, p->open ? p->open_offset : 0) && v->start > p->possible)
            c->counts.moved++;
        sim_check(c->checks, SIM_CHECK_RETENTION, may_begin(c, partition, v->start, now_ms),
                  "partition %u: node %u begins at %lld, though only what lies below %lld may go",
                  partition, node + 1, (long long)v->start,
                  (long long)sim_start_check_gone(c, partition, now_ms));
    }
    if (v->member) {
        sim_check(c->checks, SIM_CHECK_P16, v->start >= p->floor,
                  "partition %u: node %u is in the ISR and begins at %lld; deleted up to %lld",
                  partition, node + 1, (long long)v->start, (long long)p->floor);
        sim_check(c->checks, SIM_CHECK_P16,
                  !s->member || s->life != v->life || v->start >= s->start,
                  "partition %u: the start at node %u falls from %lld to %lld", partition, node + 1,
                  (long long)s->start, (long long)v->start);
    }
    *s = (struct seen){.life = v->life, .start = v->start, .member = v->member};
}

void sim_start_check_durable(struct sim_start_check *c, uint32_t node, uint32_t partition,
                             int64_t start)
{
    sim_check(c->checks, SIM_CHECK_P16, start >= c->partitions[partition].floor,
              "partition %u: on the disk of node %u, which is in the ISR, it begins at %lld; "
              "deleted up to %lld",
              partition, node + 1, (long long)start, (long long)c->partitions[partition].floor);
}

/* ---- clients ---- */

struct sim_start_asked sim_start_check_asking(const struct sim_start_check *c, uint32_t partition,
                                              int32_t leader_epoch)
{
    const struct partition *p = &c->partitions[partition];
    bool later = leader_epoch >= 0 && leader_epoch >= p->floor_epoch;
    return (struct sim_start_asked){.leader_epoch = leader_epoch, .floor = later ? p->floor : 0};
}

void sim_start_check_told(struct sim_start_check *c, uint32_t partition,
                          const struct sim_start_asked *asked, int64_t start, int64_t now_ms)
{
    sim_check(c->checks, SIM_CHECK_P16, start >= asked->floor,
              "partition %u: the leader of epoch %d begins at %lld; deleted up to %lld before",
              partition, asked->leader_epoch, (long long)start, (long long)asked->floor);
    sim_check(c->checks, SIM_CHECK_RETENTION, may_begin(c, partition, start, now_ms),
              "partition %u: its leader begins at %lld, though only what lies below %lld may go",
              partition, (long long)start, (long long)sim_start_check_gone(c, partition, now_ms));
}

void sim_start_check_read(struct sim_start_check *c, uint32_t partition,
                          const struct sim_start_asked *asked, int64_t offset)
{
    sim_check(c->checks, SIM_CHECK_P16, offset >= asked->floor,
              "partition %u: the leader of epoch %d gives records from %lld on; deleted up to %lld "
              "before",
              partition, asked->leader_epoch, (long long)offset, (long long)asked->floor);
}

void sim_start_check_out_of_range(struct sim_start_check *c, uint32_t partition, int64_t offset,
                                  int64_t now_ms)
{
    sim_check(c->checks, SIM_CHECK_RETENTION, may_begin(c, partition, offset + 1, now_ms),
              "partition %u: offset %lld is out of range, though only what lies below %lld may go",
              partition, (long long)offset, (long long)sim_start_check_gone(c, partition, now_ms));
}

struct sim_start_counts sim_start_check_counts(const struct sim_start_check *c)
{
    return c->counts;
}
