#include "tests/sim/sim_admin_check.h"

#include <stdlib.h>

#include "proto/base/assert.h"
#include "proto/base/mem.h"
#include "proto/kafka/error.h"

/* Sets of partition counts as masks; bit 0: the topic does not exist. */
#define ABSENT UINT64_C(1)

struct topic {
    uint64_t states; /* by the answers */
    uint64_t open;   /* what calls without an answer may still make of it */
};

struct sim_admin_check {
    struct sim_checks *checks;
    struct topic topics[SIM_ADMIN_TOPICS_MAX];
    int64_t ends[SIM_ADMIN_PARTITIONS_MAX];
    struct sim_admin_counts counts;
};

struct sim_admin_check *sim_admin_check_new(struct sim_checks *checks)
{
    struct sim_admin_check *c = kb_new(struct sim_admin_check);
    c->checks = checks;
    for (size_t i = 0; i < SIM_ADMIN_TOPICS_MAX; i++)
        c->topics[i].states = ABSENT;
    return c;
}

struct sim_admin_check *sim_admin_check_free(struct sim_admin_check *c)
{
    free(c);
    return NULL;
}

static const char *name_of(enum sim_admin_call call)
{
    static const char *const names[] = {"create", "delete", "grow"};
    return names[call];
}

/* The answer says that the topic was in one of these states. */
static void require(struct sim_admin_check *c, uint32_t topic, uint64_t states,
                    enum sim_admin_call call, int16_t error)
{
    struct topic *t = &c->topics[topic];
    uint64_t possible = (t->states | t->open) & states;
    sim_check(c->checks, SIM_CHECK_ADMIN, possible != 0,
              "topic %u: %s is answered with %s; it is one of %llx, or becomes one of %llx", topic,
              name_of(call), kw_error_name(error), (unsigned long long)t->states,
              (unsigned long long)t->open);
    if (possible != 0)
        t->states = possible;
}

void sim_admin_check_done(struct sim_admin_check *c, uint32_t topic, enum sim_admin_call call,
                          int32_t partitions, int16_t error, bool repeated)
{
    struct topic *t = &c->topics[topic];
    uint64_t after = call == SIM_ADMIN_DELETE ? ABSENT : UINT64_C(1) << partitions;
    KB_ASSERT(partitions >= 0 && partitions <= 60);
    if (repeated && error != KW_NONE)
        t->open |= after;
    switch (error) {
    case KW_NONE:
        c->counts.ok++;
        require(c, topic, call == SIM_ADMIN_CREATE ? ABSENT : ~ABSENT, call, error);
        t->states = after;
        return;
    case KW_TOPIC_ALREADY_EXISTS:
        c->counts.failed++;
        require(c, topic, ~ABSENT, call, error);
        return;
    case KW_UNKNOWN_TOPIC_OR_PARTITION:
        c->counts.failed++;
        require(c, topic, ABSENT, call, error);
        return;
    case KW_INVALID_PARTITIONS: /* it has as many, or more */
    case KW_INVALID_REPLICATION_FACTOR:
        c->counts.failed++;
        return;
    default:
        c->counts.info++;
        t->open |= after;
    }
}

void sim_admin_check_final(struct sim_admin_check *c, uint32_t topic, int32_t partitions)
{
    const struct topic *t = &c->topics[topic];
    sim_check(c->checks, SIM_CHECK_ADMIN,
              partitions <= 60 && ((t->states | t->open) >> partitions & 1) != 0,
              "topic %u has %d partitions in the end; by the answers it is one of %llx, or became "
              "one of %llx",
              topic, partitions, (unsigned long long)t->states, (unsigned long long)t->open);
}

struct sim_admin_counts sim_admin_check_counts(const struct sim_admin_check *c)
{
    return c->counts;
}

void sim_admin_check_listed(struct sim_admin_check *c, uint32_t partition, int64_t end)
{
    KB_ASSERT(partition < SIM_ADMIN_PARTITIONS_MAX);
    sim_check(c->checks, SIM_CHECK_P5, end >= c->ends[partition],
              "partition %u: its end is told as %lld, was told as %lld before", partition,
              (long long)end, (long long)c->ends[partition]);
    c->ends[partition] = end;
}
