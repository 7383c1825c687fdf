#include "tests/sim/sim_group_member.h"

#include <stdlib.h>
#include <string.h>

#include "proto/base/assert.h"
#include "proto/base/mem.h"
#include "proto/kafka/messages.h"
#include "tests/sim/sim_env.h"
#include "tests/sim/sim_group_wire.h"

#define TICK_MS 25
#define RETRY_MS 60
#define REQUEST_MS 1500
#define COMMIT_MS 400
#define PARTITIONS_MAX 64

enum member_state {
    MEMBER_JOIN,    /* wants to join */
    MEMBER_SYNC,    /* has a generation, wants its assignment */
    MEMBER_OFFSETS, /* wants to know from where on to read */
    MEMBER_RUN,
    MEMBER_OUT, /* left, or fenced */
};

struct committing {
    struct sim_group_asker asker;
    struct sim_group_commit commits[PARTITIONS_MAX];
    size_t count; /* 0: none under way */
};

struct sim_member {
    struct kb_env *env;
    struct sim_member_options options;
    struct sim_client *client;
    struct sim_consumer *consumer;
    struct kb_timer *tick;
    enum member_state state;
    int32_t coordinator; /* -1: to be found */
    bool asking;         /* find, join, sync, offsets or leave under way */
    bool beating, rejoin, leaving;
    uint64_t retry_ms, beat_ms, commit_ms;
    struct sim_group_asker asked, beat; /* who asked what is under way */
    char id[SIM_GROUP_ID_MAX];
    int32_t generation;
    bool joined; /* the id was accepted as a member's */
    bool leads;
    uint64_t contact_us;
    int32_t contact_broker; /* that answered it */
    char protocol[16];
    struct sim_group_share shares[SIM_GROUP_MEMBERS_MAX]; /* of whom it leads */
    size_t share_count;
    uint64_t owned;
    int64_t worked[PARTITIONS_MAX];    /* behind the last record it has worked on */
    int64_t committed[PARTITIONS_MAX]; /* as acknowledged */
    struct committing committing;
    struct committing late; /* one of an earlier generation, sent in the next */
};

static uint64_t now_us(const struct sim_member *m)
{
    return sim_world_now_us(sim_env_world(sim_env_of(m->env)));
}

static struct kw_str instance_of(const struct sim_member *m)
{
    return m->options.instance != NULL ? kw_str_of(m->options.instance) : kw_str_null();
}

struct sim_group_asker sim_member_asker(const struct sim_member *m)
{
    struct sim_group_asker a = {.group = m->options.group,
                                .broker = m->coordinator,
                                .generation = m->generation,
                                .asked_us = now_us(m)};
    memcpy(a.member, m->id, sizeof(a.member));
    if (m->options.instance != NULL)
        (void)strncpy(a.instance, m->options.instance, sizeof(a.instance) - 1);
    return a;
}

static void note(const struct sim_member *m, const char *what, int16_t error)
{
    sim_world_note(sim_env_world(sim_env_of(m->env)), "member %u of %s: %s %s (%s generation %d)",
                   m->options.number, m->options.group_id, what, kw_error_name(error), m->id,
                   m->generation);
}

static void retry_soon(struct sim_member *m)
{
    m->retry_ms = kb_env_now_ms(m->env) + RETRY_MS + kb_env_random_u64(m->env) % RETRY_MS;
}

/* ---- what an error means for the member ---- */

static void give_up_partitions(struct sim_member *m)
{
    for (uint32_t p = 0; p < PARTITIONS_MAX; p++) {
        if ((m->owned >> p & 1) != 0)
            sim_consumer_assign(m->consumer, p, -1);
    }
    m->owned = 0;
}

static void begin_join(struct sim_member *m)
{
    give_up_partitions(m);
    m->rejoin = false;
    m->generation = -1;
    m->state = MEMBER_JOIN;
}

static void lost_coordinator(struct sim_member *m)
{
    m->coordinator = -1;
    sim_client_refresh(m->client);
    retry_soon(m);
}

/* It was answered as one who is in the group, and no rebalance was under way, whose end it could
 * have missed: a commit's answer does not say that. */
static void heard(struct sim_member *m, const struct sim_group_asker *a)
{
    if (strcmp(a->member, m->id) != 0 || a->asked_us <= m->contact_us)
        return;
    m->contact_us = a->asked_us;
    m->contact_broker = a->broker;
}

/* a: who asked; what was told to an earlier self does not touch the member. */
static void take_error(struct sim_member *m, const struct sim_group_asker *a, int16_t error)
{
    bool same = strcmp(a->member, m->id) == 0 && a->generation == m->generation;
    if (m->state == MEMBER_OUT || (!same && error != KW_FENCED_INSTANCE_ID))
        return;
    switch (error) {
    case KW_NONE:
        return;
    case KW_REBALANCE_IN_PROGRESS:
        m->rejoin = true;
        return;
    case KW_ILLEGAL_GENERATION:
        begin_join(m);
        return;
    case KW_UNKNOWN_MEMBER_ID:
        note(m, "expelled", error);
        /* A former coordinator that has not heard of its successor may have answered it: then its
         * successor has not heard it. */
        if (m->joined && m->contact_broker == a->broker)
            sim_group_check_expelled(m->options.check, a, m->contact_us, m->options.session_ms,
                                     now_us(m));
        m->joined = false;
        m->id[0] = '\0';
        begin_join(m);
        return;
    case KW_FENCED_INSTANCE_ID:
        note(m, "fenced", error);
        begin_join(m);
        m->state = MEMBER_OUT;
        return;
    case KW_NOT_COORDINATOR:
    case KW_COORDINATOR_NOT_AVAILABLE:
        lost_coordinator(m);
        return;
    default:
        sim_check(m->options.checks, SIM_CHECK_RUN,
                  kw_error_retriable(error) || kw_error_refreshes(error),
                  "group %u: %s is refused with %s", a->group, sim_group_asker_key(a),
                  kw_error_name(error));
        retry_soon(m);
    }
}

/* Send on the way into, or out of, the group. */
static void ask(struct sim_member *m, int16_t api_key, const void *request, uint64_t timeout_ms,
                sim_answer_fn *fn)
{
    m->asking = true;
    m->asked = sim_member_asker(m);
    sim_client_set_timeout(m->client, timeout_ms);
    sim_client_call(m->client, api_key == KW_API_FIND_COORDINATOR ? SIM_ANY_BROKER : m->coordinator,
                    api_key, request, fn, m);
    sim_client_set_timeout(m->client, REQUEST_MS);
}

/* Its answer: false when it is lost or the member is out. */
static bool answered(struct sim_member *m, const void *response)
{
    m->asking = false;
    if (response == NULL)
        lost_coordinator(m);
    return response != NULL && m->state != MEMBER_OUT;
}

/* ---- finding the coordinator ---- */

static void take_found(void *arg, const void *response)
{
    struct sim_member *m = arg;
    const struct kw_find_coordinator_response *rs = response;
    if (!answered(m, response))
        return;
    bool many = sim_client_version(m->client, KW_API_FIND_COORDINATOR) >= 4;
    int16_t error = rs->error_code;
    int32_t node = rs->node_id;
    if (many) {
        error = rs->coordinators_count == 1 ? rs->coordinators[0].error_code
                                            : KW_UNKNOWN_SERVER_ERROR;
        node = rs->coordinators_count == 1 ? rs->coordinators[0].node_id : -1;
    }
    if (error == KW_NONE)
        m->coordinator = node;
    else
        retry_soon(m);
}

static void ask_coordinator(struct sim_member *m)
{
    struct kw_find_coordinator_request rq;
    struct kw_str key = kw_str_of(m->options.group_id);
    kw_find_coordinator_request_init(&rq);
    if (sim_client_version(m->client, KW_API_FIND_COORDINATOR) >= 4) {
        rq.coordinator_keys = &key;
        rq.coordinator_keys_count = 1;
    } else {
        rq.key = key;
    }
    ask(m, KW_API_FIND_COORDINATOR, &rq, REQUEST_MS, take_found);
}

/* ---- JoinGroup ---- */

/* What the leader will hand out: each partition to the members in turns. */
static void share_out(struct sim_member *m, const struct kw_join_group_response *rs)
{
    uint32_t partitions = sim_topics_partitions(m->options.client.topics);
    m->share_count = 0;
    for (int32_t i = 0; i < rs->members_count && m->share_count < SIM_GROUP_MEMBERS_MAX; i++) {
        struct sim_group_share *s = &m->shares[m->share_count++];
        struct kw_str instance = rs->members[i].group_instance_id;
        *s = (struct sim_group_share){.partitions = 0};
        (void)snprintf(s->member, sizeof(s->member), "%.*s", rs->members[i].member_id.size,
                       rs->members[i].member_id.data);
        if (instance.data != NULL)
            (void)snprintf(s->instance, sizeof(s->instance), "%.*s", instance.size, instance.data);
    }
    for (uint32_t p = 0; p < partitions && m->share_count > 0; p++)
        m->shares[(p + (uint32_t)m->generation) % m->share_count].partitions |= UINT64_C(1) << p;
}

static void take_joined(void *arg, const void *response)
{
    struct sim_member *m = arg;
    const struct kw_join_group_response *rs = response;
    if (!answered(m, response))
        return;
    sim_group_check_answer(m->options.check, &m->asked, SIM_GROUP_JOIN, rs->error_code, now_us(m));
    if (rs->error_code == KW_MEMBER_ID_REQUIRED) {
        (void)snprintf(m->id, sizeof(m->id), "%.*s", rs->member_id.size, rs->member_id.data);
        return;
    }
    if (rs->error_code != KW_NONE) {
        take_error(m, &m->asked, rs->error_code);
        return;
    }
    (void)snprintf(m->id, sizeof(m->id), "%.*s", rs->member_id.size, rs->member_id.data);
    m->generation = rs->generation_id;
    m->joined = true;
    m->contact_us = m->asked.asked_us; /* its id may be new */
    m->contact_broker = m->asked.broker;
    m->leads = kw_str_is(rs->leader, m->id) && !rs->skip_assignment;
    (void)snprintf(m->protocol, sizeof(m->protocol), "%.*s", rs->protocol_name.size,
                   rs->protocol_name.data);
    sim_group_check_joined(m->options.check, &m->asked, m->id, m->generation, now_us(m));
    if (m->leads)
        share_out(m, rs);
    m->state = MEMBER_SYNC;
}

static void ask_to_join(struct sim_member *m)
{
    struct kw_join_group_request rq;
    struct kw_join_group_request_protocol protocol = {.name = KW_STR("range")};
    struct kb_buf subscription = {0};
    sim_group_write_subscription(m->options.client.topics, (int16_t)(kb_env_random_u64(m->env) % 4),
                                 &subscription);
    protocol.metadata = kw_bytes_of(subscription.data, subscription.size);
    kw_join_group_request_init(&rq);
    rq.group_id = kw_str_of(m->options.group_id);
    rq.member_id = kw_str_of(m->id);
    rq.group_instance_id = instance_of(m);
    rq.session_timeout_ms = (int32_t)m->options.session_ms;
    rq.rebalance_timeout_ms = (int32_t)m->options.rebalance_ms;
    rq.protocol_type = KW_STR("consumer");
    rq.protocols = &protocol;
    rq.protocols_count = 1;
    m->generation = -1;
    ask(m, KW_API_JOIN_GROUP, &rq, m->options.rebalance_ms + 2000, take_joined);
    kb_buf_release(&subscription);
}

/* ---- SyncGroup ---- */

static void take_synced(void *arg, const void *response)
{
    struct sim_member *m = arg;
    const struct kw_sync_group_response *rs = response;
    uint64_t partitions = 0;
    if (!answered(m, response))
        return;
    sim_group_check_answer(m->options.check, &m->asked, SIM_GROUP_SYNC, rs->error_code, now_us(m));
    take_error(m, &m->asked, rs->error_code);
    if (rs->error_code == KW_REBALANCE_IN_PROGRESS)
        begin_join(m);
    if (rs->error_code != KW_NONE)
        return;
    bool ok = sim_group_read_assignment(m->options.client.topics, rs->assignment, &partitions);
    sim_check(m->options.checks, SIM_CHECK_G6, ok, "group %u: %s is given garbage", m->asked.group,
              m->asked.member);
    sim_group_check_synced(m->options.check, &m->asked, partitions);
    heard(m, &m->asked);
    m->owned = partitions;
    m->state = partitions != 0 ? MEMBER_OFFSETS : MEMBER_RUN;
    m->beat_ms = kb_env_now_ms(m->env) + m->options.session_ms / 3;
    note(m, "synced", KW_NONE);
}

static void ask_to_sync(struct sim_member *m)
{
    struct kw_sync_group_request rq;
    struct kw_sync_group_request_assignment assignments[SIM_GROUP_MEMBERS_MAX];
    struct kb_buf bytes[SIM_GROUP_MEMBERS_MAX] = {{0}};
    kw_sync_group_request_init(&rq);
    rq.group_id = kw_str_of(m->options.group_id);
    rq.generation_id = m->generation;
    rq.member_id = kw_str_of(m->id);
    rq.group_instance_id = instance_of(m);
    rq.protocol_type = KW_STR("consumer");
    rq.protocol_name = kw_str_of(m->protocol);
    rq.assignments = assignments;
    for (size_t i = 0; i < m->share_count && m->leads; i++) {
        sim_group_write_assignment(m->options.client.topics, m->shares[i].partitions, &bytes[i]);
        assignments[rq.assignments_count++] = (struct kw_sync_group_request_assignment){
            .member_id = kw_str_of(m->shares[i].member),
            .assignment = kw_bytes_of(bytes[i].data, bytes[i].size)};
    }
    ask(m, KW_API_SYNC_GROUP, &rq, m->options.rebalance_ms + 2000, take_synced);
    if (m->leads)
        sim_group_check_sent(m->options.check, &m->asked, m->shares, m->share_count);
    for (size_t i = 0; i < SIM_GROUP_MEMBERS_MAX; i++)
        kb_buf_release(&bytes[i]);
}

/* ---- OffsetFetch ---- */

static void take_offsets(void *arg, const void *response)
{
    struct sim_member *m = arg;
    const struct sim_topics *topics = m->options.client.topics;
    int64_t offsets[PARTITIONS_MAX];
    int16_t error = KW_NONE;
    if (!answered(m, response))
        return;
    for (uint32_t p = 0; p < PARTITIONS_MAX && error == KW_NONE; p++) {
        struct kw_str metadata = kw_str_null();
        if ((m->owned >> p & 1) == 0)
            continue;
        error = sim_group_fetched(m->client, topics, p, response, &offsets[p], &metadata);
        if (error == KW_NONE)
            sim_group_offsets_fetched(m->options.offsets, m->options.group, p, offsets[p],
                                      kw_str_view(metadata), m->asked.asked_us);
    }
    if (error != KW_UNKNOWN_TOPIC_ID && m->owned != 0)
        sim_group_check_answer(m->options.check, &m->asked, SIM_GROUP_FETCH, error, now_us(m));
    if (error != KW_NONE) {
        take_error(m, &m->asked, error);
        return;
    }
    if (m->state != MEMBER_OFFSETS)
        return; /* it lost them meanwhile */
    for (uint32_t p = 0; p < PARTITIONS_MAX; p++) {
        if ((m->owned >> p & 1) == 0)
            continue;
        m->worked[p] = m->committed[p] = offsets[p] < 0 ? 0 : offsets[p];
        sim_consumer_assign(m->consumer, p, m->worked[p]);
    }
    m->state = MEMBER_RUN;
}

static bool knows_topics(const struct sim_member *m)
{
    for (uint32_t t = 0; t < m->options.client.topics->count; t++) {
        struct kb_uuid id = sim_client_topic_id(m->client, t);
        if (kb_uuid_is_zero(&id))
            return false;
    }
    return true;
}

static void ask_offsets(struct sim_member *m)
{
    struct sim_group_fetch_request rq;
    if (!knows_topics(m)) {
        sim_client_refresh(m->client);
        return;
    }
    sim_group_fill_fetch(m->client, m->options.client.topics, m->options.group_id, m->owned, &rq);
    ask(m, KW_API_OFFSET_FETCH, &rq, REQUEST_MS, take_offsets);
}

/* ---- OffsetCommit ---- */

/* What an error says about a commit: only the verdicts on who commits mean that it did not happen.
 */
static enum sim_commit_outcome outcome_of(int16_t error)
{
    if (error == KW_NONE)
        return SIM_COMMIT_OK;
    return error == KW_ILLEGAL_GENERATION || error == KW_UNKNOWN_MEMBER_ID ||
                   error == KW_FENCED_INSTANCE_ID
               ? SIM_COMMIT_STALE
               : SIM_COMMIT_OPEN;
}

static void take_committed(void *arg, const void *response)
{
    struct sim_member *m =
        (struct sim_member *)((char *)arg - offsetof(struct sim_member, committing));
    const struct committing c = m->committing;
    int16_t first = KW_NONE;
    m->committing.count = 0;
    m->commit_ms = kb_env_now_ms(m->env) + COMMIT_MS;
    if (response == NULL) {
        lost_coordinator(m);
        return;
    }
    for (size_t i = 0; i < c.count; i++) {
        uint32_t p = c.commits[i].partition;
        int16_t error = sim_group_commit_error(m->client, m->options.client.topics, p, response);
        first = i == 0 ? error : first;
        sim_group_offsets_done(m->options.offsets, c.commits[i].id, outcome_of(error), now_us(m));
        if (error != KW_NONE)
            continue;
        sim_group_check_committed(m->options.check, &c.asker, p);
        if (c.commits[i].offset > m->committed[p])
            m->committed[p] = c.commits[i].offset;
    }
    if (first != KW_UNKNOWN_TOPIC_OR_PARTITION && first != KW_UNKNOWN_TOPIC_ID)
        sim_group_check_answer(m->options.check, &c.asker, SIM_GROUP_COMMIT, first, now_us(m));
    take_error(m, &c.asker, first);
}

static void take_late(void *arg, const void *response)
{
    struct committing *c = arg;
    struct sim_member *m = (struct sim_member *)((char *)arg - offsetof(struct sim_member, late));
    c->count = 0;
    if (response == NULL)
        return;
    int16_t error = sim_group_commit_error(m->client, m->options.client.topics,
                                           c->commits[0].partition, response);
    sim_group_offsets_done(m->options.offsets, c->commits[0].id, outcome_of(error), now_us(m));
    if (error != KW_UNKNOWN_TOPIC_OR_PARTITION && error != KW_UNKNOWN_TOPIC_ID)
        sim_group_check_answer(m->options.check, &c->asker, SIM_GROUP_COMMIT, error, now_us(m));
}

/* As if the network had held it back: a commit of the generation before (fault row 26). */
static void commit_late(struct sim_member *m)
{
    struct sim_group_commit_request rq;
    struct committing *c = &m->late;
    uint32_t partitions = sim_topics_partitions(m->options.client.topics);
    if (c->count > 0 || m->generation < 1 || !knows_topics(m))
        return;
    c->asker = sim_member_asker(m);
    c->asker.generation = m->generation - 1;
    c->commits[0].partition = (uint32_t)(kb_env_random_u64(m->env) % partitions);
    c->commits[0].offset = 0;
    c->commits[0].id = sim_group_offsets_commit(m->options.offsets, m->options.group,
                                                c->commits[0].partition, c->asker.generation, 0,
                                                now_us(m));
    c->count = 1;
    sim_group_fill_commit(m->client, m->options.client.topics, c->commits, 1, &rq);
    rq.rq.group_id = kw_str_of(m->options.group_id);
    rq.rq.member_id = kw_str_of(m->id);
    rq.rq.group_instance_id = instance_of(m);
    rq.rq.generation_id_or_member_epoch = c->asker.generation;
    sim_client_call(m->client, m->coordinator, KW_API_OFFSET_COMMIT, &rq.rq, take_late, c);
}

static void commit_worked(struct sim_member *m)
{
    struct sim_group_commit_request rq;
    struct committing *c = &m->committing;
    c->asker = sim_member_asker(m);
    if (kb_env_random_u64(m->env) % 8 == 0)
        commit_late(m);
    for (uint32_t p = 0; p < PARTITIONS_MAX; p++) {
        if ((m->owned >> p & 1) == 0 || m->worked[p] <= m->committed[p])
            continue;
        uint64_t id = sim_group_offsets_commit(m->options.offsets, m->options.group, p,
                                               m->generation, m->worked[p], now_us(m));
        c->commits[c->count++] = (struct sim_group_commit){p, m->worked[p], id};
    }
    m->commit_ms = kb_env_now_ms(m->env) + COMMIT_MS;
    if (c->count == 0)
        return;
    sim_group_fill_commit(m->client, m->options.client.topics, c->commits, c->count, &rq);
    rq.rq.group_id = kw_str_of(m->options.group_id);
    rq.rq.member_id = kw_str_of(m->id);
    rq.rq.group_instance_id = instance_of(m);
    rq.rq.generation_id_or_member_epoch = m->generation;
    sim_client_call(m->client, m->coordinator, KW_API_OFFSET_COMMIT, &rq.rq, take_committed, c);
}

/* ---- Heartbeat, LeaveGroup ---- */

static void take_beat(void *arg, const void *response)
{
    struct sim_member *m = (struct sim_member *)((char *)arg - offsetof(struct sim_member, beat));
    const struct kw_heartbeat_response *rs = response;
    m->beating = false;
    if (rs == NULL) {
        lost_coordinator(m);
        return;
    }
    sim_group_check_answer(m->options.check, &m->beat, SIM_GROUP_HEARTBEAT, rs->error_code,
                           now_us(m));
    take_error(m, &m->beat, rs->error_code);
    if (rs->error_code == KW_NONE && sim_group_check_heard(m->options.check, &m->beat, now_us(m)))
        heard(m, &m->beat);
}

static void beat(struct sim_member *m)
{
    struct kw_heartbeat_request rq;
    kw_heartbeat_request_init(&rq);
    rq.group_id = kw_str_of(m->options.group_id);
    rq.generation_id = m->generation;
    rq.member_id = kw_str_of(m->id);
    rq.group_instance_id = instance_of(m);
    m->beating = true;
    m->beat_ms = kb_env_now_ms(m->env) + m->options.session_ms / 4;
    m->beat = sim_member_asker(m);
    sim_client_call(m->client, m->coordinator, KW_API_HEARTBEAT, &rq, take_beat, &m->beat);
}

static void take_left(void *arg, const void *response)
{
    struct sim_member *m = arg;
    m->asking = false;
    m->state = MEMBER_OUT; /* also when nobody heard: its session will end */
}

static void ask_to_leave(struct sim_member *m)
{
    struct kw_leave_group_request rq;
    struct kw_leave_group_request_member member = {.member_id = kw_str_of(m->id),
                                                   .group_instance_id = instance_of(m),
                                                   .reason = kw_str_null()};
    kw_leave_group_request_init(&rq);
    rq.group_id = kw_str_of(m->options.group_id);
    if (sim_client_version(m->client, KW_API_LEAVE_GROUP) >= 3) {
        rq.members = &member;
        rq.members_count = 1;
    } else {
        rq.member_id = kw_str_of(m->id);
    }
    give_up_partitions(m);
    ask(m, KW_API_LEAVE_GROUP, &rq, REQUEST_MS, take_left);
}

/* ---- what to do next ---- */

static void run(struct sim_member *m, uint64_t now_ms)
{
    if (m->committing.count > 0)
        return;
    if (now_ms >= m->commit_ms || m->rejoin || m->leaving)
        commit_worked(m);
    if (m->committing.count > 0 && (m->rejoin || m->leaving))
        return; /* first what it has worked on */
    if (m->leaving)
        ask_to_leave(m);
    else if (m->rejoin)
        begin_join(m);
}

static void proceed(struct sim_member *m)
{
    uint64_t now_ms = kb_env_now_ms(m->env);
    bool beats = (m->state == MEMBER_OFFSETS || m->state == MEMBER_RUN) && !m->leaving;
    if (beats && m->coordinator >= 0 && !m->beating && now_ms >= m->beat_ms)
        beat(m);
    if (m->state == MEMBER_OUT || m->asking || now_ms < m->retry_ms)
        return;
    if (m->coordinator < 0) {
        ask_coordinator(m);
        return;
    }
    switch (m->state) {
    case MEMBER_JOIN:
        if (m->leaving && m->id[0] == '\0')
            m->state = MEMBER_OUT;
        else if (m->leaving)
            ask_to_leave(m);
        else
            ask_to_join(m);
        break;
    case MEMBER_SYNC:
        ask_to_sync(m);
        break;
    case MEMBER_OFFSETS:
        if (m->rejoin)
            begin_join(m);
        else
            ask_offsets(m);
        break;
    case MEMBER_RUN:
        run(m, now_ms);
        break;
    case MEMBER_OUT:
        break;
    }
}

static void on_tick(void *arg)
{
    struct sim_member *m = arg;
    proceed(m);
    kb_timer_arm(m->tick, TICK_MS);
}

static void on_record(void *arg, uint32_t partition, int64_t offset, struct kb_view value)
{
    struct sim_member *m = arg;
    sim_group_offsets_delivered(m->options.offsets, m->options.group, partition, offset);
    m->worked[partition] = offset + 1;
}

/* ---- life ---- */

static void floor_version(struct sim_member *m, int16_t api_key, int16_t floor)
{
    if (sim_client_version(m->client, api_key) < floor)
        sim_client_set_version(m->client, api_key, floor);
}

struct sim_member *sim_member_new(struct kb_env *env, const struct sim_member_options *options)
{
    struct sim_member *m = kb_new(struct sim_member);
    struct sim_consumer_options co = {.client = options->client,
                                      .checks = options->checks,
                                      .number = options->number,
                                      .max_wait_ms = 250,
                                      .assigned = true,
                                      .on_record = on_record,
                                      .arg = m};
    KB_ASSERT(sim_topics_partitions(options->client.topics) <= PARTITIONS_MAX);
    m->env = env;
    m->options = *options;
    m->coordinator = -1;
    m->generation = -1;
    m->client = sim_client_new(env, &options->client);
    if (options->statics) {
        floor_version(m, KW_API_JOIN_GROUP, 5);
        floor_version(m, KW_API_SYNC_GROUP, 3);
        floor_version(m, KW_API_HEARTBEAT, 3);
        floor_version(m, KW_API_OFFSET_COMMIT, 7);
        floor_version(m, KW_API_LEAVE_GROUP, 3);
    }
    /* The first versions know no rebalance timeout: the session counts for both. */
    if (sim_client_version(m->client, KW_API_JOIN_GROUP) < 1)
        m->options.rebalance_ms = m->options.session_ms;
    m->consumer = sim_consumer_new(env, &co);
    m->tick = kb_timer_new(env, on_tick, m);
    kb_timer_arm(m->tick, kb_env_random_u64(env) % 200);
    sim_client_set_timeout(m->client, REQUEST_MS);
    sim_client_refresh(m->client);
    return m;
}

struct sim_member *sim_member_free(struct sim_member *m)
{
    if (m == NULL)
        return NULL;
    m->client = sim_client_free(m->client);
    m->consumer = sim_consumer_free(m->consumer);
    m->tick = kb_timer_free(m->tick);
    free(m);
    return NULL;
}

void sim_member_leave(struct sim_member *m)
{
    m->leaving = true;
}

bool sim_member_is_out(const struct sim_member *m)
{
    return m->state == MEMBER_OUT;
}

bool sim_member_is_running(const struct sim_member *m)
{
    return m->state == MEMBER_RUN && !m->rejoin && m->coordinator >= 0;
}

uint64_t sim_member_contact_us(const struct sim_member *m)
{
    return m->contact_us;
}

uint64_t sim_member_partitions(const struct sim_member *m)
{
    return m->owned;
}

bool sim_member_is_at(const struct sim_member *m, uint32_t partition, int64_t end)
{
    return sim_member_is_running(m) && (m->owned >> partition & 1) != 0 &&
           m->worked[partition] == end && m->committed[partition] == end;
}
