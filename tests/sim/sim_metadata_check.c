#include "tests/sim/sim_metadata_check.h"

#include <stdio.h>
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
    bool shared; /* two were eligible once */
};

struct broker {
    bool known, removed, fenced, stopping;
    uint64_t incarnation, epoch;
};

/* A topic id, for ever: from the first to before the second index; the second is 0 for one that is
 * there. */
struct topic {
    uint8_t id[16];
    uint64_t created, removed;
};

struct sim_metadata_check {
    struct sim_checks *checks;
    struct topic *topics;
    size_t topic_count, topic_capacity;
    struct partition *partitions;
    size_t count, capacity;
    uint64_t elections;
    struct broker brokers[32]; /* by id */
    uint64_t newest_epoch;     /* of any broker */
    int64_t next_producer_id;
    /* Of the batch under way: who joined an ISR, and what lies in an ISR somebody wrote. */
    uint32_t joined, members;
    int32_t example; /* the number of a partition that has them */
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
    free(c->topics);
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
    p.shared = __builtin_popcount(p.isr | p.elr) > 1;
    if (!sim_check(c->checks, SIM_CHECK_R16, r->topic_id.len == sizeof(p.topic_id),
                   "partition %d: a record without a topic id", p.index))
        return;
    memcpy(p.topic_id, r->topic_id.data, sizeof(p.topic_id));
    check_state(c, &p);
    c->members |= p.isr;
    c->example = p.index;
    for (size_t i = 0; i < c->count; i++) {
        struct partition *old = &c->partitions[i];
        if (old->index == p.index && memcmp(old->topic_id, p.topic_id, sizeof(p.topic_id)) == 0) {
            check_move(c, old, &p);
            /* Who is elected out of the ELR did not join: nobody else lives (4.5). */
            c->joined |= p.isr & ~old->isr & ~(p.leader >= 0 ? old->elr & bit_of(p.leader) : 0);
            p.shared = p.shared || old->shared;
            *old = p;
            return;
        }
    }
    kb_array_reserve(c->partitions, c->count, c->capacity);
    c->partitions[c->count++] = p;
}

/* ---- brokers (R17, R18) ---- */

static struct broker *broker_of(struct sim_metadata_check *c, int32_t id)
{
    bool ok = sim_check(c->checks, SIM_CHECK_R17, bit_of(id) != 0, "a record of broker %d", id);
    return ok ? &c->brokers[id] : NULL;
}

/* A process's registration, or the same process with other addresses. */
static void take_broker(struct sim_metadata_check *c, int64_t index, const Kc__BrokerRecord *r)
{
    struct broker *b = broker_of(c, r->broker_id);
    uint64_t epoch = r->has_epoch ? r->epoch : (uint64_t)index;
    if (b == NULL)
        return;
    if (b->known && !b->removed && b->incarnation == r->incarnation && r->has_epoch) {
        sim_check(c->checks, SIM_CHECK_R17, b->epoch == epoch,
                  "broker %d: epoch goes from %llu to %llu in one life", r->broker_id,
                  (unsigned long long)b->epoch, (unsigned long long)epoch);
        b->fenced = !r->unfenced;
        b->stopping = r->stopping;
        return;
    }
    sim_check(c->checks, SIM_CHECK_R17, !b->known || epoch > b->epoch,
              "broker %d registers with epoch %llu after %llu", r->broker_id,
              (unsigned long long)epoch, (unsigned long long)b->epoch);
    sim_check(c->checks, SIM_CHECK_R18, epoch > c->newest_epoch,
              "broker %d gets epoch %llu, and %llu was given before", r->broker_id,
              (unsigned long long)epoch, (unsigned long long)c->newest_epoch);
    c->newest_epoch = epoch > c->newest_epoch ? epoch : c->newest_epoch;
    *b = (struct broker){.known = true,
                         .fenced = !r->unfenced,
                         .stopping = r->stopping,
                         .incarnation = r->incarnation,
                         .epoch = epoch};
}

static void take_broker_change(struct sim_metadata_check *c, const Kc__BrokerChangeRecord *r)
{
    struct broker *b = broker_of(c, r->broker_id);
    if (b == NULL ||
        !sim_check(c->checks, SIM_CHECK_R17, b->known && !b->removed && b->epoch == r->broker_epoch,
                   "broker %d of epoch %llu is changed as if it had %llu", r->broker_id,
                   (unsigned long long)b->epoch, (unsigned long long)r->broker_epoch))
        return;
    b->fenced = r->has_fenced ? r->fenced : b->fenced;
    b->stopping = r->has_stopping ? r->stopping : b->stopping;
}

static void take_broker_remove(struct sim_metadata_check *c, const Kc__BrokerRemoveRecord *r)
{
    struct broker *b = broker_of(c, r->broker_id);
    if (b == NULL)
        return;
    sim_check(c->checks, SIM_CHECK_R17, b->epoch == r->broker_epoch,
              "broker %d of epoch %llu is removed as if it had %llu", r->broker_id,
              (unsigned long long)b->epoch, (unsigned long long)r->broker_epoch);
    b->removed = true;
}

/* A batch happens at once: when it is over, no ISR it wrote has a member that is fenced, and nobody
 * has joined who is stopping. */
static void check_members(struct sim_metadata_check *c)
{
    for (int32_t id = 0; id < 32 && c->members != 0; id++) {
        const struct broker *b = &c->brokers[id];
        if ((c->members & bit_of(id)) == 0)
            continue;
        sim_check(c->checks, SIM_CHECK_R17, b->known && !b->removed && !b->fenced,
                  "partition %d: broker %d is in a new ISR and fenced", c->example, id);
        sim_check(c->checks, SIM_CHECK_R17, (c->joined & bit_of(id)) == 0 || !b->stopping,
                  "partition %d: broker %d joins an ISR and is stopping", c->example, id);
    }
    c->members = c->joined = 0;
}

/* ---- what is given once (R18) ---- */

static struct topic *topic_of(const struct sim_metadata_check *c, const uint8_t id[16])
{
    for (size_t i = 0; i < c->topic_count; i++) {
        if (memcmp(c->topics[i].id, id, 16) == 0)
            return &c->topics[i];
    }
    return NULL;
}

static void take_topic(struct sim_metadata_check *c, int64_t index, const Kc__TopicRecord *r)
{
    if (!sim_check(c->checks, SIM_CHECK_R16, r->topic_id.len == 16, "topic %s has no id",
                   r->name) ||
        !sim_check(c->checks, SIM_CHECK_R18, topic_of(c, r->topic_id.data) == NULL,
                   "topic %s gets an id that another one had", r->name))
        return;
    kb_array_reserve(c->topics, c->topic_count, c->topic_capacity);
    struct topic *t = &c->topics[c->topic_count++];
    *t = (struct topic){.created = (uint64_t)index};
    memcpy(t->id, r->topic_id.data, sizeof(t->id));
}

static void take_topic_remove(struct sim_metadata_check *c, int64_t index,
                              const Kc__TopicRemoveRecord *r)
{
    struct topic *t = r->topic_id.len == 16 ? topic_of(c, r->topic_id.data) : NULL;
    if (sim_check(c->checks, SIM_CHECK_R16, t != NULL && t->removed == 0,
                  "a topic is removed that is not there") &&
        t != NULL)
        t->removed = (uint64_t)index;
}

static void take_producer_ids(struct sim_metadata_check *c, const Kc__ProducerIdsRecord *r)
{
    sim_check(c->checks, SIM_CHECK_R18, r->next_id > c->next_producer_id,
              "producer ids below %lld are given, and they were up to %lld", (long long)r->next_id,
              (long long)c->next_producer_id);
    c->next_producer_id = r->next_id > c->next_producer_id ? r->next_id : c->next_producer_id;
}

int64_t sim_metadata_check_producer_ids(const struct sim_metadata_check *c)
{
    return c->next_producer_id;
}

bool sim_metadata_check_topic(const struct sim_metadata_check *c, const uint8_t topic_id[16])
{
    return topic_of(c, topic_id) != NULL;
}

bool sim_metadata_check_has_topic(const struct sim_metadata_check *c, const uint8_t topic_id[16],
                                  uint64_t index)
{
    const struct topic *t = topic_of(c, topic_id);
    return t != NULL && index >= t->created && (t->removed == 0 || index < t->removed);
}

const uint8_t *sim_metadata_check_any_topic(const struct sim_metadata_check *c, uint64_t chance)
{
    return c->topic_count > 0 ? c->topics[chance % c->topic_count].id : NULL;
}

uint64_t sim_metadata_check_broker_epoch(const struct sim_metadata_check *c, int32_t id,
                                         uint64_t *ret_incarnation)
{
    const struct broker *b = bit_of(id) != 0 ? &c->brokers[id] : NULL;
    if (b == NULL || !b->known || b->removed)
        return 0;
    if (ret_incarnation != NULL)
        *ret_incarnation = b->incarnation;
    return b->epoch;
}

bool sim_metadata_check_whole(const struct sim_metadata_check *c, char text[96])
{
    for (size_t i = 0; i < c->count; i++) {
        const struct partition *p = &c->partitions[i];
        const struct topic *t = topic_of(c, p->topic_id);
        if ((t != NULL && t->removed != 0) || (p->leader >= 0 && p->isr == p->replicas))
            continue;
        (void)snprintf(text, 96, "partition %d of topic %02x%02x: leader %d, ISR %x of %x",
                       p->index, p->topic_id[0], p->topic_id[1], p->leader, p->isr, p->replicas);
        return false;
    }
    return true;
}

bool sim_metadata_check_alone(const struct sim_metadata_check *c, int32_t id)
{
    for (size_t i = 0; i < c->count; i++) {
        const struct partition *p = &c->partitions[i];
        const struct topic *t = topic_of(c, p->topic_id);
        if ((t == NULL || t->removed == 0) && !p->shared && (p->isr | p->elr) == bit_of(id))
            return true;
    }
    return false;
}

/* ---- the log ---- */

bool sim_metadata_check_find(const struct sim_metadata_check *c, const uint8_t topic_id[16],
                             int32_t partition, struct sim_metadata_partition *ret)
{
    for (size_t i = 0; i < c->count; i++) {
        const struct partition *p = &c->partitions[i];
        if (p->index != partition || memcmp(p->topic_id, topic_id, sizeof(p->topic_id)) != 0)
            continue;
        *ret = (struct sim_metadata_partition){p->leader, p->leader_epoch, p->partition_epoch,
                                               p->isr, p->elr};
        return true;
    }
    return false;
}

static void take_record(struct sim_metadata_check *c, int64_t index, const Kc__Record *r)
{
    switch (r->kind_case) {
    case KC__RECORD__KIND_PARTITION:
        take_partition(c, r->partition);
        break;
    case KC__RECORD__KIND_BROKER:
        take_broker(c, index, r->broker);
        break;
    case KC__RECORD__KIND_BROKER_CHANGE:
        take_broker_change(c, r->broker_change);
        break;
    case KC__RECORD__KIND_BROKER_REMOVE:
        take_broker_remove(c, r->broker_remove);
        break;
    case KC__RECORD__KIND_TOPIC:
        take_topic(c, index, r->topic);
        break;
    case KC__RECORD__KIND_TOPIC_REMOVE:
        take_topic_remove(c, index, r->topic_remove);
        break;
    case KC__RECORD__KIND_PRODUCER_IDS:
        take_producer_ids(c, r->producer_ids);
        break;
    default:
        break;
    }
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
                      (long long)record.offset))
            take_record(c, record.offset, rec);
    }
    check_members(c);
    kb_arena_release(&arena);
    (void)kw_records_close(it);
}
