#include "tests/sim/sim_group_check.h"

#include <stdlib.h>
#include <string.h>

#include "proto/base/assert.h"
#include "proto/base/mem.h"
#include "proto/kafka/error.h"

#define PARTITIONS_MAX 64
#define GROUPS_MAX 8
#define EMPTY_US_MIN UINT64_C(1000000) /* the interval of the brokers' expiry */

/* A time in which a broker coordinated without a break. */
struct reign {
    int32_t broker;
    uint64_t from_us, to_us;
};

/* What a JoinGroup gave. */
struct joined {
    uint32_t group;
    int32_t broker, generation;
    char member[SIM_GROUP_ID_MAX];
    char instance[SIM_GROUP_ID_MAX];
    uint64_t asked_us, answered_us;
};

/* What a leader sent; several of one generation when it sent again. */
struct sent {
    uint32_t group;
    int32_t generation;
    struct sim_group_share shares[SIM_GROUP_MEMBERS_MAX];
    size_t count;
};

/* Who has, or committed for, a partition in a generation. */
struct owner {
    uint32_t group, partition;
    int32_t generation;
    char key[SIM_GROUP_ID_MAX];
};
struct owners {
    struct owner *owner;
    size_t count, capacity;
};

struct sim_group_check {
    struct sim_checks *checks;
    uint64_t retention_us; /* UINT64_MAX: offsets stay */
    /* Each group's newest commit that was accepted, and when. */
    struct {
        bool any;
        uint64_t asked_us;
    } commits[GROUPS_MAX];
    uint64_t active_us[GROUPS_MAX];   /* when a member last asked what it was granted */
    uint64_t new_life_us[GROUPS_MAX]; /* when it was first seen to have begun anew */
    struct reign *reigns;
    size_t reign_count, reign_capacity;
    struct joined *joins;
    size_t join_count, join_capacity;
    struct sent *sents;
    size_t sent_count, sent_capacity;
    struct owners synced, committed;
};

struct sim_group_check *sim_group_check_new(struct sim_checks *checks, uint64_t retention_ms)
{
    struct sim_group_check *c = kb_new(struct sim_group_check);
    c->checks = checks;
    c->retention_us = retention_ms != 0 ? retention_ms * 1000 : UINT64_MAX;
    return c;
}

struct sim_group_check *sim_group_check_free(struct sim_group_check *c)
{
    if (c == NULL)
        return NULL;
    free(c->reigns);
    free(c->joins);
    free(c->sents);
    free(c->synced.owner);
    free(c->committed.owner);
    free(c);
    return NULL;
}

const char *sim_group_asker_key(const struct sim_group_asker *a)
{
    return a->instance[0] != '\0' ? a->instance : a->member;
}

/* ---- coordinators (G2) ---- */

static struct reign *reign_now(struct sim_group_check *c, int32_t broker)
{
    for (size_t i = c->reign_count; i > 0; i--) {
        if (c->reigns[i - 1].broker == broker)
            return c->reigns[i - 1].to_us == UINT64_MAX ? &c->reigns[i - 1] : NULL;
    }
    return NULL;
}

void sim_group_check_coordinator(struct sim_group_check *c, int32_t broker, bool ready,
                                 uint64_t now_us)
{
    struct reign *r = reign_now(c, broker);
    if (ready == (r != NULL))
        return;
    if (!ready) {
        r->to_us = now_us;
        return;
    }
    kb_array_reserve(c->reigns, c->reign_count, c->reign_capacity);
    c->reigns[c->reign_count++] =
        (struct reign){.broker = broker, .from_us = now_us, .to_us = UINT64_MAX};
}

/* A reign of this broker that touches [from, to]; the last of them. */
static const struct reign *reign_at(const struct sim_group_check *c, int32_t broker,
                                    uint64_t from_us, uint64_t to_us)
{
    for (size_t i = c->reign_count; i > 0; i--) {
        const struct reign *r = &c->reigns[i - 1];
        if (r->broker == broker && r->from_us <= to_us && r->to_us >= from_us)
            return r;
    }
    return NULL;
}

/* Says the answer anything about the group? A heartbeat is answered without an error while the
 * group is loaded, so that its members stay (as Apache Kafka). */
static bool is_verdict(enum sim_group_request request, int16_t error)
{
    return error != KW_COORDINATOR_LOAD_IN_PROGRESS && error != KW_NOT_COORDINATOR &&
           error != KW_COORDINATOR_NOT_AVAILABLE &&
           (request != SIM_GROUP_HEARTBEAT || error != KW_NONE);
}

bool sim_group_check_heard(const struct sim_group_check *c, const struct sim_group_asker *a,
                           uint64_t now_us)
{
    const struct reign *r = reign_at(c, a->broker, a->asked_us, now_us);
    return r != NULL && r->from_us <= a->asked_us && r->to_us >= now_us;
}

/* ---- stale callers (G5, G12) ---- */

/* Largest generation told before `asked`; with r only by its broker in that reign. */
static int32_t generation_before(const struct sim_group_check *c, uint32_t group, uint64_t asked_us,
                                 const struct reign *r)
{
    int32_t newest = -1;
    for (size_t i = 0; i < c->join_count; i++) {
        const struct joined *j = &c->joins[i];
        if (j->group != group || j->answered_us > asked_us || j->generation <= newest)
            continue;
        if (r == NULL || (j->broker == r->broker && j->asked_us >= r->from_us))
            newest = j->generation;
    }
    return newest;
}

/* Commits are refused by whoever is asked: they must reach the log. A former coordinator that has
 * not heard of its successor may still answer what it only reads; there the newer generation must
 * be its own. */
static void check_generation(struct sim_group_check *c, const struct sim_group_asker *a,
                             enum sim_group_request request, int16_t error, uint64_t now_us)
{
    const struct reign *r = reign_at(c, a->broker, now_us, now_us);
    if (a->generation < 0 || request == SIM_GROUP_JOIN || request == SIM_GROUP_FETCH ||
        request == SIM_GROUP_LEAVE)
        return;
    if (request != SIM_GROUP_COMMIT && (r == NULL || r->from_us > a->asked_us))
        return;
    int32_t newest = generation_before(c, a->group, a->asked_us,
                                       request == SIM_GROUP_COMMIT ? NULL : r);
    if (newest > a->generation)
        sim_check(
            c->checks, SIM_CHECK_G5, error != KW_NONE,
            "group %u: broker %d accepts request %d of %s at generation %d, %d was told before",
            a->group, a->broker, (int)request, a->member, a->generation, newest);
}

static const struct joined *first_join(const struct sim_group_check *c, uint32_t group,
                                       const char *member)
{
    for (size_t i = 0; i < c->join_count; i++) {
        if (c->joins[i].group == group && strcmp(c->joins[i].member, member) == 0)
            return &c->joins[i];
    }
    return NULL;
}

/* Somebody else had come in as this instance before it asked. A heartbeat that lay in the broker's
 * connection when an append failed is read while the group is loaded anew, and says nothing. */
static void check_instance(struct sim_group_check *c, const struct sim_group_asker *a,
                           enum sim_group_request request, int16_t error, uint64_t now_us)
{
    const struct joined *own;
    if (a->instance[0] == '\0' || a->member[0] == '\0' || request == SIM_GROUP_FETCH ||
        (request == SIM_GROUP_HEARTBEAT && !sim_group_check_heard(c, a, now_us)))
        return;
    own = first_join(c, a->group, a->member);
    for (size_t i = 0; i < c->join_count && own != NULL; i++) {
        const struct joined *j = &c->joins[i];
        if (j->group != a->group || strcmp(j->instance, a->instance) != 0 ||
            strcmp(j->member, a->member) == 0 || j->asked_us < own->answered_us ||
            j->answered_us > a->asked_us)
            continue;
        if (request != SIM_GROUP_COMMIT &&
            reign_at(c, a->broker, a->asked_us, a->asked_us) !=
                reign_at(c, j->broker, j->answered_us, j->answered_us))
            continue; /* it only reads, and may not know of its successor */
        sim_check(c->checks, SIM_CHECK_G12, error != KW_NONE,
                  "group %u: broker %d accepts request %d of %s, %s is instance %s since before",
                  a->group, a->broker, (int)request, a->member, j->member, a->instance);
        return;
    }
}

void sim_group_check_answer(struct sim_group_check *c, const struct sim_group_asker *a,
                            enum sim_group_request request, int16_t error, uint64_t now_us)
{
    if (is_verdict(request, error))
        sim_check(c->checks, SIM_CHECK_G2, reign_at(c, a->broker, a->asked_us, now_us) != NULL,
                  "group %u: broker %d answers request %d with %s and has not been its coordinator "
                  "since it was asked",
                  a->group, a->broker, (int)request, kw_error_name(error));
    if (request == SIM_GROUP_COMMIT && error == KW_NONE) {
        KB_ASSERT(a->group < GROUPS_MAX);
        c->commits[a->group].any = true;
        c->commits[a->group].asked_us = a->asked_us;
    }
    if ((request == SIM_GROUP_SYNC || request == SIM_GROUP_HEARTBEAT) && error == KW_NONE) {
        KB_ASSERT(a->group < GROUPS_MAX);
        c->active_us[a->group] = a->asked_us;
    }
    check_generation(c, a, request, error, now_us);
    check_instance(c, a, request, error, now_us);
}

/* ---- generations (G3) ---- */

/* No offset holds it, and it may have been empty for long enough: it may have been deleted. */
static bool may_be_new(const struct sim_group_check *c, uint32_t group, uint64_t now_us)
{
    KB_ASSERT(group < GROUPS_MAX);
    if (c->active_us[group] != 0 && now_us < c->active_us[group] + EMPTY_US_MIN)
        return false;
    return !c->commits[group].any || now_us - c->commits[group].asked_us >= c->retention_us;
}

/* Neither this member nor this instance was in the group before: what it joins is a new generation.
 */
static bool is_stranger(const struct sim_group_check *c, const struct sim_group_asker *a,
                        const char *member)
{
    for (size_t i = 0; i < c->join_count; i++) {
        const struct joined *j = &c->joins[i];
        if (j->group == a->group &&
            (strcmp(j->member, member) == 0 ||
             (a->instance[0] != '\0' && strcmp(j->instance, a->instance) == 0)))
            return false;
    }
    return true;
}

/* An answer that slept until the group had begun anew (seed 101515). */
static bool is_of_former_life(const struct sim_group_check *c, const struct sim_group_asker *a,
                              int32_t generation)
{
    KB_ASSERT(a->group < GROUPS_MAX);
    return generation > 1 && a->asked_us < c->new_life_us[a->group];
}

static void forget_owners(struct owners *owners, uint32_t group)
{
    for (size_t i = 0; i < owners->count; i++) {
        if (owners->owner[i].group == group)
            owners->owner[i].group = UINT32_MAX;
    }
}

/* What the group was told in a former life is nothing to this one. */
static void forget_group(struct sim_group_check *c, uint32_t group, uint64_t now_us)
{
    c->new_life_us[group] = now_us;
    for (size_t i = 0; i < c->join_count; i++) {
        if (c->joins[i].group == group)
            c->joins[i].group = UINT32_MAX;
    }
    for (size_t i = 0; i < c->sent_count; i++) {
        if (c->sents[i].group == group)
            c->sents[i].group = UINT32_MAX;
    }
    forget_owners(&c->synced, group);
    forget_owners(&c->committed, group);
}

void sim_group_check_joined(struct sim_group_check *c, const struct sim_group_asker *a,
                            const char *member, int32_t generation, uint64_t now_us)
{
    int32_t newest = generation_before(c, a->group, a->asked_us, NULL);
    if (generation == 1 && may_be_new(c, a->group, now_us) &&
        (newest > 1 || (newest == 1 && is_stranger(c, a, member)))) {
        forget_group(c, a->group, now_us);
        newest = -1;
    }
    sim_check(c->checks, SIM_CHECK_G3, generation >= newest,
              "group %u: broker %d gives %s generation %d, %d was told before", a->group, a->broker,
              member, generation, newest);
    kb_array_reserve(c->joins, c->join_count, c->join_capacity);
    struct joined *j = &c->joins[c->join_count++];
    *j = (struct joined){.group = is_of_former_life(c, a, generation) ? UINT32_MAX : a->group,
                         .broker = a->broker,
                         .generation = generation,
                         .asked_us = a->asked_us,
                         .answered_us = now_us};
    (void)strncpy(j->member, member, sizeof(j->member) - 1);
    memcpy(j->instance, a->instance, sizeof(j->instance));
}

int32_t sim_group_check_generation(const struct sim_group_check *c, uint32_t group)
{
    return generation_before(c, group, UINT64_MAX, NULL);
}

/* ---- assignments (G4, G6) ---- */

void sim_group_check_sent(struct sim_group_check *c, const struct sim_group_asker *a,
                          const struct sim_group_share *shares, size_t count)
{
    KB_ASSERT(count <= SIM_GROUP_MEMBERS_MAX);
    kb_array_reserve(c->sents, c->sent_count, c->sent_capacity);
    struct sent *s = &c->sents[c->sent_count++];
    *s = (struct sent){.group = a->group, .generation = a->generation, .count = count};
    memcpy(s->shares, shares, count * sizeof(*shares));
}

static bool is_share_of(const struct sim_group_share *s, const struct sim_group_asker *a)
{
    return strcmp(s->member, a->member) == 0 ||
           (a->instance[0] != '\0' && strcmp(s->instance, a->instance) == 0);
}

static void check_share(struct sim_group_check *c, const struct sim_group_asker *a,
                        uint64_t partitions)
{
    bool ok = false;
    for (size_t i = 0; i < c->sent_count && !ok; i++) {
        const struct sent *s = &c->sents[i];
        for (size_t k = 0; k < s->count && s->group == a->group && s->generation == a->generation;
             k++)
            ok = ok || (is_share_of(&s->shares[k], a) && s->shares[k].partitions == partitions);
    }
    sim_check(c->checks, SIM_CHECK_G6, ok,
              "group %u: %s is given %llx in generation %d, which no leader sent it", a->group,
              a->member, (unsigned long long)partitions, a->generation);
}

/* One owner of a partition in a generation. */
static void check_owner(struct sim_group_check *c, struct owners *owners,
                        const struct sim_group_asker *a, uint32_t partition, const char *what)
{
    const char *key = sim_group_asker_key(a);
    if (is_of_former_life(c, a, a->generation))
        return;
    for (size_t i = owners->count; i > 0; i--) {
        const struct owner *o = &owners->owner[i - 1];
        if (o->group != a->group || o->partition != partition || o->generation != a->generation)
            continue;
        sim_check(c->checks, SIM_CHECK_G4, strcmp(o->key, key) == 0,
                  "group %u partition %u generation %d: %s and %s %s it", a->group, partition,
                  a->generation, o->key, key, what);
        return;
    }
    kb_array_reserve(owners->owner, owners->count, owners->capacity);
    struct owner *o = &owners->owner[owners->count++];
    *o = (struct owner){.group = a->group, .partition = partition, .generation = a->generation};
    (void)strncpy(o->key, key, sizeof(o->key) - 1);
}

void sim_group_check_synced(struct sim_group_check *c, const struct sim_group_asker *a,
                            uint64_t partitions)
{
    check_share(c, a, partitions);
    for (uint32_t p = 0; p < PARTITIONS_MAX; p++) {
        if ((partitions >> p & 1) != 0)
            check_owner(c, &c->synced, a, p, "own");
    }
}

void sim_group_check_committed(struct sim_group_check *c, const struct sim_group_asker *a,
                               uint32_t partition)
{
    if (a->generation >= 0)
        check_owner(c, &c->committed, a, partition, "commit for");
}

/* ---- coming and going (G7, G12) ---- */

void sim_group_check_expelled(struct sim_group_check *c, const struct sim_group_asker *a,
                              uint64_t contact_us, uint32_t session_ms, uint64_t now_us)
{
    uint64_t silent_us = now_us - contact_us;
    /* A broker counts whole milliseconds, of which the first may have been nearly over (seed 1048).
     */
    sim_check(
        c->checks, SIM_CHECK_G7, silent_us + 1000 > (uint64_t)session_ms * 1000,
        "group %u: broker %d has expelled %s %llu ms after it was heard; its session is %u ms",
        a->group, a->broker, a->member, (unsigned long long)silent_us / 1000, session_ms);
}

void sim_group_check_dead(struct sim_group_check *c, const struct sim_group_asker *a,
                          uint64_t dead_ms, uint32_t session_ms, bool listed)
{
    sim_check(c->checks, SIM_CHECK_G7, !listed || dead_ms < 2 * (uint64_t)session_ms,
              "group %u: broker %d lists %s, dead for %llu ms; its session is %u ms", a->group,
              a->broker, a->member, (unsigned long long)dead_ms, session_ms);
}

void sim_group_check_returned(struct sim_group_check *c, const struct sim_group_asker *a,
                              uint64_t away_ms, uint32_t session_ms, int32_t generation)
{
    if (away_ms < session_ms)
        sim_check(c->checks, SIM_CHECK_G12, generation == a->generation,
                  "group %u: %s was away for %llu ms of its session of %u ms, and the generation "
                  "went from %d to %d",
                  a->group, a->instance, (unsigned long long)away_ms, session_ms, a->generation,
                  generation);
}
