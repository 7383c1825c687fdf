/* Group calls while commits do not end: a record of __consumer_offsets waits for a replica that is
 * frozen. Who waits hears COORDINATOR_NOT_AVAILABLE after offsets.commit.timeout.ms, nothing that
 * rests on the record is told before (rule 6.3), and the record is there once replicas are back. */
#include "broker/node/node_internal.h"
#include "coordinator/groups/shard.h"
#include "tests/unit/node/scenario.h"

static void read_coordinator(void *arg, const void *response)
{
    const struct kw_find_coordinator_response *r = response;
    int32_t *id = arg;
    *id = r->error_code == KW_NONE ? r->node_id : -1;
}

static int32_t coordinator(struct scenario *s)
{
    struct kw_find_coordinator_request rq;
    int32_t id = -1;
    kw_find_coordinator_request_init(&rq);
    rq.key = KW_STR("g");
    (void)scenario_call(s, SIM_ANY_BROKER, KW_API_FIND_COORDINATOR, &rq, read_coordinator, &id);
    return id;
}

struct commit {
    struct kw_offset_commit_request rq;
    struct kw_offset_commit_request_topic topic;
    struct kw_offset_commit_request_partition partition;
    uint64_t answered_us;
    struct scenario *s;
    int error; /* -1 none yet, -2 lost */
};

static void commit_init(struct commit *c, struct scenario *s, int64_t offset)
{
    *c = (struct commit){.s = s, .error = -1};
    kw_offset_commit_request_init(&c->rq);
    kw_offset_commit_request_topic_init(&c->topic);
    kw_offset_commit_request_partition_init(&c->partition);
    c->rq.group_id = KW_STR("g");
    c->rq.generation_id_or_member_epoch = -1;
    c->rq.topics = &c->topic;
    c->rq.topics_count = 1;
    c->topic.name = KW_STR("orders");
    c->topic.partitions = &c->partition;
    c->topic.partitions_count = 1;
    c->partition.committed_offset = offset;
}

static void read_commit(void *arg, const void *response)
{
    const struct kw_offset_commit_response *r = response;
    struct commit *c = arg;
    c->answered_us = sim_world_now_us(c->s->world);
    c->error = r != NULL ? r->topics[0].partitions[0].error_code : -2;
}

static int commit(struct scenario *s, int64_t offset)
{
    struct commit c;
    int32_t id = coordinator(s);
    commit_init(&c, s, offset);
    if (id < 0)
        return KW_COORDINATOR_NOT_AVAILABLE;
    (void)scenario_call(s, id, KW_API_OFFSET_COMMIT, &c.rq, read_commit, &c);
    return c.error;
}

static bool commits(struct scenario *s)
{
    return commit(s, 5) == KW_NONE;
}

static void read_fetched(void *arg, const void *response)
{
    const struct kw_offset_fetch_response *r = response;
    int64_t *offset = arg;
    if (r->groups_count == 1 && r->groups[0].error_code == KW_NONE)
        *offset = r->groups[0].topics[0].partitions[0].committed_offset;
}

static int64_t committed(struct scenario *s)
{
    struct kw_offset_fetch_request rq;
    struct kw_offset_fetch_request_group group;
    struct kw_offset_fetch_request_group_topic topic;
    int32_t index = 0;
    int64_t offset = -2;
    kw_offset_fetch_request_init(&rq);
    kw_offset_fetch_request_group_init(&group);
    kw_offset_fetch_request_group_topic_init(&topic);
    rq.groups = &group;
    rq.groups_count = 1;
    group.group_id = KW_STR("g");
    group.topics = &topic;
    group.topics_count = 1;
    topic.name = KW_STR("orders");
    topic.partition_indexes = &index;
    topic.partition_indexes_count = 1;
    (void)scenario_call(s, coordinator(s), KW_API_OFFSET_FETCH, &rq, read_fetched, &offset);
    return offset;
}

static bool fetches_seven(struct scenario *s)
{
    return committed(s) == 7;
}

struct described {
    int answers;
    int16_t error;
    uint64_t answered_us;
    struct scenario *s;
};

static void read_described(void *arg, const void *response)
{
    const struct kw_describe_groups_response *r = response;
    struct described *d = arg;
    d->answers++;
    d->error = r != NULL ? r->groups[0].error_code : (int16_t)-2;
    d->answered_us = sim_world_now_us(d->s->world);
}

static void read_listed(void *arg, const void *response)
{
    const struct kw_list_groups_response *r = response;
    struct described *d = arg;
    d->answers++;
    d->error = r != NULL ? r->error_code : (int16_t)-2;
    d->answered_us = sim_world_now_us(d->s->world);
}

static void read_beat(void *arg, const void *response)
{
    const struct kw_heartbeat_response *r = response;
    struct described *d = arg;
    d->answers++;
    d->error = r != NULL ? r->error_code : (int16_t)-2;
    d->answered_us = sim_world_now_us(d->s->world);
}

static uint32_t other_than(int32_t a, int32_t b)
{
    for (uint32_t i = 0; i < 3; i++) {
        if ((int32_t)i + 1 != a && (int32_t)i + 1 != b)
            return i;
    }
    return 0;
}

/* A commit has just gone into the log, and the third replica it needs is frozen. */
static uint32_t hang(struct scenario *s, struct commit *c, int32_t *ret_coordinator)
{
    scenario_start(s, 7);
    scenario_until(s, commits, 20000, "a first commit");
    scenario_set_config(s, "__consumer_offsets", "min.insync.replicas", "3");
    scenario_until(s, commits, 20000, "a commit on three disks");
    *ret_coordinator = coordinator(s);
    uint32_t frozen = other_than(*ret_coordinator, sim_cluster_controller(s->cluster) + 1);
    sim_env_freeze(sim_cluster_env(s->cluster, frozen));
    commit_init(c, s, 7);
    scenario_ask(s, *ret_coordinator, KW_API_OFFSET_COMMIT, &c->rq, read_commit, c);
    scenario_run_for(s, 300);
    ck_assert_int_eq(c->error, -1);
    return frozen;
}

START_TEST(commit__that_does_not_end_is_answered)
{
    struct scenario s;
    struct commit c;
    int32_t id = -1;
    uint32_t frozen = hang(&s, &c, &id);
    uint64_t since_us = sim_world_now_us(s.world) - 300000;
    scenario_run_for(&s, 6000);
    ck_assert_int_eq(c.error, KW_COORDINATOR_NOT_AVAILABLE);
    ck_assert_uint_ge(c.answered_us - since_us, 4990000);
    ck_assert_uint_le(c.answered_us - since_us, 5300000);
    /* No queue grows meanwhile. */
    ck_assert_int_eq(commit(&s, 6), KW_COORDINATOR_NOT_AVAILABLE);
    sim_env_thaw(sim_cluster_env(s.cluster, frozen));
    scenario_until(&s, fetches_seven, 20000, "the commit is there");
    scenario_until(&s, commits, 20000, "commits go on");
    scenario_end(&s);
}
END_TEST

/* These see the commit under way: they wait for it, and are given up in their turn. */
START_TEST(readers__wait_for_what_they_saw)
{
    struct scenario s;
    struct commit c;
    int32_t id = -1;
    uint32_t frozen = hang(&s, &c, &id);
    struct described described = {.s = &s};
    struct described listed = {.s = &s};
    struct described beat = {.s = &s};
    struct kw_str name = KW_STR("g");
    struct kw_describe_groups_request dq;
    struct kw_list_groups_request lq;
    struct kw_heartbeat_request hq;
    kw_describe_groups_request_init(&dq);
    kw_list_groups_request_init(&lq);
    kw_heartbeat_request_init(&hq);
    dq.groups = &name;
    dq.groups_count = 1;
    hq.group_id = KW_STR("g");
    hq.member_id = KW_STR("nobody");
    sim_client_call(s.client, id, KW_API_DESCRIBE_GROUPS, &dq, read_described, &described);
    sim_client_call(s.client, id, KW_API_LIST_GROUPS, &lq, read_listed, &listed);
    sim_client_call(s.client, id, KW_API_HEARTBEAT, &hq, read_beat, &beat);
    scenario_run_for(&s, 1500);
    ck_assert_int_eq(described.answers + listed.answers + beat.answers, 0);
    sim_env_thaw(sim_cluster_env(s.cluster, frozen));
    scenario_run_for(&s, 1000);
    ck_assert_int_eq(c.error, KW_NONE);
    ck_assert_int_eq(described.error, KW_NONE);
    ck_assert_int_eq(listed.error, KW_NONE);
    ck_assert_int_eq(beat.error, KW_UNKNOWN_MEMBER_ID);
    ck_assert_int_eq(described.answers + listed.answers + beat.answers, 3);

    described.answers = listed.answers = beat.answers = 0;
    sim_env_freeze(sim_cluster_env(s.cluster, frozen));
    commit_init(&c, &s, 8);
    scenario_ask(&s, id, KW_API_OFFSET_COMMIT, &c.rq, read_commit, &c);
    scenario_run_for(&s, 100);
    sim_client_call(s.client, id, KW_API_HEARTBEAT, &hq, read_beat, &beat);
    sim_client_call(s.client, id, KW_API_DESCRIBE_GROUPS, &dq, read_described, &described);
    sim_client_call(s.client, id, KW_API_LIST_GROUPS, &lq, read_listed, &listed);
    scenario_run_for(&s, 7000);
    ck_assert_int_eq(c.error, KW_COORDINATOR_NOT_AVAILABLE);
    ck_assert_int_eq(described.error, KW_COORDINATOR_NOT_AVAILABLE);
    ck_assert_int_eq(listed.error, KW_COORDINATOR_NOT_AVAILABLE);
    ck_assert_int_eq(beat.error, KW_COORDINATOR_NOT_AVAILABLE);
    sim_env_thaw(sim_cluster_env(s.cluster, frozen));
    scenario_until(&s, commits, 20000, "commits go on");
    scenario_end(&s);
}
END_TEST

enum { MANY = 30000, LOOKS = 200 };

static int32_t loading_node(struct scenario *s)
{
    enum kw_error error = KW_NONE;
    for (uint32_t i = 0; i < 3; i++) {
        struct node *n = sim_cluster_node(s->cluster, i);
        if (n == NULL)
            continue;
        (void)node_group_of(n, KW_STR("g"), &error);
        if (error == KW_COORDINATOR_LOAD_IN_PROGRESS)
            return (int32_t)i + 1;
    }
    return -1;
}

/* A request that waits for its shard is looked at whenever something moves, and costs no more each
 * time. */
START_TEST(loading__is_waited_for_at_no_growing_cost)
{
    struct scenario s;
    struct commit c;
    int32_t id = -1;
    scenario_start(&s, 8);
    scenario_until(&s, commits, 20000, "a first commit");
    for (uint32_t i = 0; i < 3; i++)
        sim_cluster_kill(s.cluster, i, false);
    scenario_run_for(&s, 500);
    for (uint32_t i = 0; i < 3; i++)
        sim_cluster_start(s.cluster, i);
    scenario_until(&s, scenario_all_running, 30000, "the brokers are back");
    scenario_run_for(&s, 5000);
    int32_t old = coordinator(&s);
    ck_assert_int_gt(old, 0);
    for (uint32_t i = 0; i < 3; i++) {
        struct sim_disk_settings *d =
            sim_disk_settings(sim_host_disk(sim_cluster_host(s.cluster, i)));
        d->cold_ppm = 1000000;
        d->read_us_min = d->read_us_max = 400000;
    }
    sim_client_refresh(s.second);
    scenario_run_for(&s, 500);
    sim_cluster_kill(s.cluster, (uint32_t)old - 1, false);
    for (int i = 0; i < 2000 && id < 0; i++) {
        scenario_run_for(&s, 1);
        id = loading_node(&s);
    }
    ck_assert_int_gt(id, 0);
    commit_init(&c, &s, 7);
    c.topic.partitions = kb_new_array(struct kw_offset_commit_request_partition, MANY);
    c.topic.partitions_count = MANY;
    for (int32_t i = 0; i < MANY; i++)
        c.topic.partitions[i] = c.partition;
    scenario_ask(&s, id, KW_API_OFFSET_COMMIT, &c.rq, read_commit, &c);
    (void)kb_free(c.topic.partitions);
    struct node *n = sim_cluster_node(s.cluster, (uint32_t)id - 1);
    int looks = 0;
    for (; looks < LOOKS && c.error == -1; looks++) {
        scenario_run_for(&s, 1);
        node_holds_run(n);
    }
    ck_assert_int_eq(looks, LOOKS);
    scenario_run_for(&s, 5000);
    ck_assert_int_eq(c.error, KW_NONE);
    scenario_end(&s);
}
END_TEST

/* ---- what cannot be appended now ---- */

static void read_deleted(void *arg, const void *response)
{
    const struct kw_delete_topics_response *r = response;
    *(int *)arg = r->responses[0].error_code;
}

static int delete_topic(struct scenario *s, struct kw_str name)
{
    struct kw_delete_topics_request rq;
    int error = -1;
    kw_delete_topics_request_init(&rq);
    rq.topic_names = &name;
    rq.topic_names_count = 1;
    rq.timeout_ms = 2000;
    sim_client_set_version(s->client, KW_API_DELETE_TOPICS, 5);
    (void)scenario_call(s, sim_cluster_controller(s->cluster) + 1, KW_API_DELETE_TOPICS, &rq,
                        read_deleted, &error);
    return error;
}

static size_t offsets_held(struct scenario *s, int32_t id)
{
    struct group_shard_stats stats;
    enum kw_error error = KW_NONE;
    struct node_group *g = node_group_of(sim_cluster_node(s->cluster, (uint32_t)id - 1),
                                         KW_STR("g"), &error);
    if (g == NULL)
        return 0;
    group_shard_stats(node_group_shard(g), &stats);
    return stats.offsets;
}

static bool holds_one(struct scenario *s)
{
    int32_t id = coordinator(s); /* -1: nobody for a moment */
    return id > 0 && offsets_held(s, id) == 1;
}

/* How often the shard is not ready within these milliseconds. */
static int gaps(struct scenario *s, int32_t id, int ms)
{
    enum kw_error error = KW_NONE;
    int count = 0;
    for (; ms > 0; ms -= 10) {
        scenario_run_for(s, 10);
        (void)node_group_of(sim_cluster_node(s->cluster, (uint32_t)id - 1), KW_STR("g"), &error);
        count += error != KW_NONE;
    }
    return count;
}

static bool isr_is_small(struct scenario *s)
{
    struct node *n = sim_cluster_node(s->cluster, (uint32_t)sim_cluster_controller(s->cluster));
    const struct meta_topic *t = meta_image_topic(n->image, NODE_OFFSETS_TOPIC);
    const struct meta_partition *p =
        meta_topic_partition(t, group_partition_for(KW_STR("g"), (int32_t)t->partitions_count));
    return p->isr_count == 2;
}

/* The offsets of a deleted topic go once that can be written; the shard stays meanwhile. */
START_TEST(topic_deleted__waits_until_it_can_be_appended)
{
    struct scenario s;
    struct commit c;
    scenario_start(&s, 9);
    ck_assert_int_eq(scenario_create(&s, "gone"), KW_NONE);
    scenario_until(&s, commits, 20000, "a first commit");
    int32_t id = coordinator(&s);
    commit_init(&c, &s, 3);
    c.topic.name = KW_STR("gone");
    (void)scenario_call(&s, id, KW_API_OFFSET_COMMIT, &c.rq, read_commit, &c);
    ck_assert_int_eq(c.error, KW_NONE);
    ck_assert_uint_eq(offsets_held(&s, id), 2);
    scenario_set_config(&s, "__consumer_offsets", "min.insync.replicas", "3");
    uint32_t killed = other_than(id, sim_cluster_controller(s.cluster) + 1);
    sim_cluster_kill(s.cluster, killed, false);
    scenario_until(&s, isr_is_small, 10000, "the replica is out of the ISR");
    ck_assert_int_eq(delete_topic(&s, KW_STR("gone")), KW_NONE);
    ck_assert_int_eq(gaps(&s, id, 3000), 0);
    ck_assert_uint_eq(offsets_held(&s, id), 2);
    sim_cluster_start(s.cluster, killed);
    scenario_until(&s, holds_one, 20000, "its offsets are gone");
    scenario_end(&s);
}
END_TEST

static void fill_all(struct scenario *s, bool full)
{
    for (uint32_t i = 0; i < 3; i++) {
        struct sim_disk *d = sim_host_disk(sim_cluster_host(s->cluster, i));
        sim_disk_settings(d)->capacity_bytes = full ? sim_disk_used_bytes(d) : 0;
    }
}

/* 9.3: when every disk is full the groups are refused what must be written (an OffsetFetch, too:
 * its proof of leadership is a record), no attempt costs the shard, and all is there afterwards.
 * Here the ISR is the first to refuse; the log's own word counts where there is but one replica. */
START_TEST(full_disks__cost_no_shard)
{
    struct scenario s;
    int error = KW_NONE;
    scenario_start(&s, 12);
    scenario_until(&s, commits, 20000, "a first commit");
    fill_all(&s, true);
    for (int i = 0; i < 400 && error == KW_NONE; i++)
        error = commit(&s, 7);
    ck_assert_int_ne(error, KW_NONE);
    scenario_run_for(&s, 5000); /* the log has heard it, a shard that met it is loaded again */
    int32_t id = coordinator(&s);
    ck_assert_int_gt(id, 0);
    for (int i = 0; i < 10; i++) {
        struct commit c;
        commit_init(&c, &s, 8);
        (void)scenario_call(&s, id, KW_API_OFFSET_COMMIT, &c.rq, read_commit, &c);
        ck_assert_int_eq(c.error, KW_COORDINATOR_NOT_AVAILABLE);
        ck_assert_int_eq(gaps(&s, id, 300), 0);
    }
    fill_all(&s, false);
    scenario_until(&s, fetches_seven, 30000, "what was committed before");
    scenario_until(&s, commits, 30000, "commits with space again");
    scenario_end(&s);
}
END_TEST

/* Clocks jump a month ahead; then another broker, which has run all the while, takes the groups
 * over. Its first pass over the offsets must not believe the clock. */
START_TEST(takeover__after_a_clock_jump_expires_nothing)
{
    struct scenario s;
    scenario_start(&s, 9);
    scenario_until(&s, commits, 20000, "a first commit");
    ck_assert_int_eq(commit(&s, 7), KW_NONE);
    int32_t old = coordinator(&s);
    for (uint32_t i = 0; i < 3; i++)
        sim_host_set_clock_skew(sim_cluster_host(s.cluster, i), INT64_C(30) * 86400000);
    scenario_run_for(&s, 500);
    sim_cluster_kill(s.cluster, (uint32_t)old - 1, false);
    scenario_run_for(&s, 5000);
    scenario_until(&s, fetches_seven, 10000, "another coordinator tells the offset");
    ck_assert_int_ne(coordinator(&s), old);
    scenario_end(&s);
}
END_TEST

/* The same while brokers start: the clock of the start counts, not that of the end of recovery
 * (simulator seed 3000450, where a cleaner believed it). */
START_TEST(start__believes_no_clock_that_jumps_afterwards)
{
    struct scenario s;
    scenario_start(&s, 9);
    scenario_until(&s, commits, 20000, "a first commit");
    ck_assert_int_eq(commit(&s, 7), KW_NONE);
    for (uint32_t i = 0; i < 3; i++)
        sim_cluster_kill(s.cluster, i, false);
    scenario_run_for(&s, 500);
    for (uint32_t i = 0; i < 3; i++) {
        sim_cluster_start(s.cluster, i);
        sim_host_set_clock_skew(sim_cluster_host(s.cluster, i), INT64_C(30) * 86400000);
    }
    scenario_run_for(&s, 5000);
    scenario_until(&s, fetches_seven, 10000, "a coordinator tells the offset");
    scenario_end(&s);
}
END_TEST

UNIT_MAIN("node_groups", takeover__after_a_clock_jump_expires_nothing,
          start__believes_no_clock_that_jumps_afterwards, commit__that_does_not_end_is_answered,
          readers__wait_for_what_they_saw, loading__is_waited_for_at_no_growing_cost,
          full_disks__cost_no_shard, topic_deleted__waits_until_it_can_be_appended)
