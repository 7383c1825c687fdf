#include "tests/sim/sim_metadata_check.h"

#include <stdlib.h>
#include <string.h>

#include "proto/base/arena.h"
#include "proto/base/mem.h"
#include "proto/cluster/metadata.pb-c.h"
#include "proto/cluster/unpack.h"
#include "proto/kafka/batch.h"

#define NODES_MAX 16

/* Node ids of a partition's sets fit a bit mask: the simulator's ids are small. */
struct partition {
    uint8_t topic_id[16];
    int32_t index;
    int32_t leader; /* -1 none */
    uint64_t leader_broker_epoch;
    int32_t leader_epoch, partition_epoch;
    uint32_t replicas, isr, elr;
};

struct sim_metadata_check {
    struct sim_checks *checks;
    struct partition *partitions;
    size_t count, capacity;
    uint64_t elections;
};

uint64_t sim_metadata_check_elections(const struct sim_metadata_check *c)
{
    return c->elections;
}

struct sim_metadata_check *sim_metadata_check_new(struct sim_checks *checks)
{
    struct sim_metadata_check *c = kb_new(struct sim_metadata_check);
    c->checks = checks;
    return c;
}

struct sim_metadata_check *sim_metadata_check_free(struct sim_metadata_check *c)
{
    if (c == NULL)
        return NULL;
    free(c->partitions);
    free(c);
    return NULL;
}

static uint32_t mask_of(const int32_t *ids, size_t count)
{
    uint32_t mask = 0;
    for (size_t i = 0; i < count; i++)
        mask |= ids[i] >= 0 && ids[i] < 32 ? 1U << ids[i] : 0;
    return mask;
}

static uint32_t bit_of(int32_t id)
{
    return id >= 0 && id < 32 ? 1U << id : 0;
}

/* What holds of every record alone. */
static void check_state(struct sim_metadata_check *c, const struct partition *p)
{
    sim_check(c->checks, SIM_CHECK_R16, (p->isr & ~p->replicas) == 0,
              "partition %d epoch %d: ISR %x is not within replicas %x", p->index,
              p->partition_epoch, p->isr, p->replicas);
    sim_check(c->checks, SIM_CHECK_R16, (p->isr & p->elr) == 0 && (p->elr & ~p->replicas) == 0,
              "partition %d epoch %d: ISR %x and ELR %x", p->index, p->partition_epoch, p->isr,
              p->elr);
    sim_check(c->checks, SIM_CHECK_R16, p->leader < 0 || (p->isr & bit_of(p->leader)) != 0,
              "partition %d epoch %d: leader %d is not in ISR %x", p->index, p->partition_epoch,
              p->leader, p->isr);
}

static void check_move(struct sim_metadata_check *c, const struct partition *from,
                       const struct partition *to)
{
    sim_check(c->checks, SIM_CHECK_R16, to->partition_epoch > from->partition_epoch,
              "partition %d: partition epoch goes from %d to %d", to->index, from->partition_epoch,
              to->partition_epoch);
    bool new_leader = to->leader != from->leader ||
                      (to->leader >= 0 && to->leader_broker_epoch != from->leader_broker_epoch);
    sim_check(c->checks, SIM_CHECK_R16,
              new_leader ? to->leader_epoch > from->leader_epoch
                         : to->leader_epoch >= from->leader_epoch,
              "partition %d: leader %d epoch %d becomes leader %d epoch %d", to->index,
              from->leader, from->leader_epoch, to->leader, to->leader_epoch);
    c->elections += new_leader;
    if (to->leader < 0 || to->leader == from->leader)
        return;
    /* From the ISR; from the ELR only when no member of that ISR is left. */
    bool legal = (from->isr & bit_of(to->leader)) != 0 ||
                 ((from->elr & bit_of(to->leader)) != 0 && (to->isr & from->isr) == 0) ||
                 c->checks->unclean_asked;
    sim_check(c->checks, SIM_CHECK_R16, legal,
              "partition %d epoch %d: %d is elected out of ISR %x and ELR %x", to->index,
              to->leader_epoch, to->leader, from->isr, from->elr);
}

static void take_partition(struct sim_metadata_check *c, const Kc__PartitionRecord *r)
{
    struct partition p = {.index = r->partition,
                          .leader = r->has_leader ? r->leader : -1,
                          .leader_broker_epoch = r->leader_broker_epoch,
                          .leader_epoch = r->leader_epoch,
                          .partition_epoch = r->partition_epoch,
                          .replicas = mask_of(r->replicas, r->n_replicas),
                          .isr = mask_of(r->isr, r->n_isr),
                          .elr = mask_of(r->elr, r->n_elr)};
    if (!sim_check(c->checks, SIM_CHECK_R16, r->topic_id.len == sizeof(p.topic_id),
                   "partition %d: a record without a topic id", p.index))
        return;
    memcpy(p.topic_id, r->topic_id.data, sizeof(p.topic_id));
    check_state(c, &p);
    for (size_t i = 0; i < c->count; i++) {
        struct partition *old = &c->partitions[i];
        if (old->index == p.index && memcmp(old->topic_id, p.topic_id, sizeof(p.topic_id)) == 0) {
            check_move(c, old, &p);
            *old = p;
            return;
        }
    }
    kb_array_reserve(c->partitions, c->count, c->capacity);
    c->partitions[c->count++] = p;
}

bool sim_metadata_check_find(const struct sim_metadata_check *c, const uint8_t topic_id[16],
                             int32_t partition, struct sim_metadata_partition *ret)
{
    for (size_t i = 0; i < c->count; i++) {
        const struct partition *p = &c->partitions[i];
        if (p->index != partition || memcmp(p->topic_id, topic_id, sizeof(p->topic_id)) != 0)
            continue;
        *ret = (struct sim_metadata_partition){p->leader, p->leader_epoch, p->partition_epoch,
                                               p->isr};
        return true;
    }
    return false;
}

void sim_metadata_check_batch(struct sim_metadata_check *c, struct kb_view batch)
{
    struct kw_batch b;
    struct kw_records *it = NULL;
    struct kw_record record;
    struct kb_arena arena;
    if (kw_batch_parse(batch.data, batch.size, &b) != KW_BATCH_WHOLE ||
        kw_records_open(&b, 64 << 20, &it) < 0)
        return;
    kb_arena_init(&arena, 16 << 20);
    while (kw_records_next(it, &record) == 1) {
        ProtobufCMessage *m = NULL;
        int r = kc_unpack(&kc__record__descriptor, &arena, kw_bytes_view(record.value), 8 << 20,
                          &m);
        const Kc__Record *rec = (const Kc__Record *)m;
        if (sim_check(c->checks, SIM_CHECK_R16, r == 0, "metadata record %lld cannot be read",
                      (long long)record.offset) &&
            rec->kind_case == KC__RECORD__KIND_PARTITION)
            take_partition(c, rec->partition);
    }
    kb_arena_release(&arena);
    (void)kw_records_close(it);
}
