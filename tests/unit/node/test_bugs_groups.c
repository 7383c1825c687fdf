/* Bugs that other systems' group coordinators had (tests/classic-bugs.md), as stories of whole
 * brokers. tests/transcript/groups tells those of one coordinator alone. */
#include <stdio.h>
#include <string.h>

#include "broker/node/node_internal.h"
#include "tests/unit/node/scenario.h"

#define OFFSETS_DIR "/data/__consumer_offsets-0"

enum { GROUPS = 6, DELETED = 3, LOST = -2, NONE_YET = -3, NO_OFFSET = -1 };

static char names[GROUPS][8];

static void read_coordinator(void *arg, const void *response)
{
    const struct kw_find_coordinator_response *r = response;
    *(int32_t *)arg = r->error_code == KW_NONE ? r->node_id : -1;
}

static int32_t coordinator(struct scenario *s)
{
    struct kw_find_coordinator_request rq;
    int32_t id = -1;
    kw_find_coordinator_request_init(&rq);
    rq.key = KW_STR("g0"); /* the topic has one partition */
    (void)scenario_call(s, SIM_ANY_BROKER, KW_API_FIND_COORDINATOR, &rq, read_coordinator, &id);
    return id;
}

static void read_commit(void *arg, const void *response)
{
    const struct kw_offset_commit_response *r = response;
    *(int *)arg = r->topics[0].partitions[0].error_code;
}

static bool commit(struct scenario *s, int group, int64_t offset)
{
    struct kw_offset_commit_request rq;
    struct kw_offset_commit_request_topic topic;
    struct kw_offset_commit_request_partition partition;
    int error = LOST;
    int32_t id = coordinator(s);
    kw_offset_commit_request_init(&rq);
    kw_offset_commit_request_topic_init(&topic);
    kw_offset_commit_request_partition_init(&partition);
    rq.group_id = kw_str_of(names[group]);
    rq.generation_id_or_member_epoch = -1;
    rq.topics = &topic;
    rq.topics_count = 1;
    topic.name = KW_STR("orders");
    topic.partitions = &partition;
    topic.partitions_count = 1;
    partition.committed_offset = offset;
    if (id > 0)
        (void)scenario_call(s, id, KW_API_OFFSET_COMMIT, &rq, read_commit, &error);
    return error == KW_NONE;
}

static bool commits(struct scenario *s)
{
    return commit(s, 0, 0);
}

static void read_fetched(void *arg, const void *response)
{
    const struct kw_offset_fetch_response *r = response;
    if (r->groups[0].error_code == KW_NONE)
        *(int64_t *)arg = r->groups[0].topics[0].partitions[0].committed_offset;
}

static int64_t fetch(struct scenario *s, int group)
{
    struct kw_offset_fetch_request rq;
    struct kw_offset_fetch_request_group g;
    struct kw_offset_fetch_request_group_topic topic;
    int32_t index = 0;
    int64_t offset = NONE_YET;
    kw_offset_fetch_request_init(&rq);
    kw_offset_fetch_request_group_init(&g);
    kw_offset_fetch_request_group_topic_init(&topic);
    rq.groups = &g;
    rq.groups_count = 1;
    g.group_id = kw_str_of(names[group]);
    g.topics = &topic;
    g.topics_count = 1;
    topic.name = KW_STR("orders");
    topic.partition_indexes = &index;
    topic.partition_indexes_count = 1;
    for (int i = 0; i < 100 && offset == NONE_YET; i++) {
        int32_t id = coordinator(s);
        if (id > 0)
            (void)scenario_call(s, id, KW_API_OFFSET_FETCH, &rq, read_fetched, &offset);
        scenario_run_for(s, 100);
    }
    return offset;
}

static void read_deleted(void *arg, const void *response)
{
    const struct kw_delete_groups_response *r = response;
    *(int *)arg = r->results[0].error_code;
}

static void delete_group(struct scenario *s, int group)
{
    struct kw_delete_groups_request rq;
    struct kw_str name = kw_str_of(names[group]);
    int error = LOST;
    kw_delete_groups_request_init(&rq);
    rq.groups_names = &name;
    rq.groups_names_count = 1;
    ck_assert(scenario_call(s, coordinator(s), KW_API_DELETE_GROUPS, &rq, read_deleted, &error));
    ck_assert_int_eq(error, KW_NONE);
}

struct sizes {
    struct sim_disk *disk;
    uint64_t bytes;
};

static int add_segment(void *arg, const char *name, enum kb_fs_type type)
{
    struct sizes *sizes = arg;
    struct kb_view log;
    char path[128];
    const char *dot = strrchr(name, '.');
    (void)type;
    (void)snprintf(path, sizeof(path), OFFSETS_DIR "/%s", name);
    if (dot != NULL && strcmp(dot, ".log") == 0 &&
        sim_disk_view(sizes->disk, path, false, &log) == 0)
        sizes->bytes += log.size;
    return 0;
}

/* Every disk has lost most of the commits that were made: each is a batch of over 100 bytes. */
static bool compacted(struct scenario *s)
{
    for (uint32_t i = 0; i < 3; i++) {
        struct node_partition *p = node_partition_find_named(sim_cluster_node(s->cluster, i),
                                                             KW_STR("__consumer_offsets"), 0);
        struct sizes sizes = {.disk = sim_host_disk(sim_cluster_host(s->cluster, i))};
        (void)sim_disk_list(sizes.disk, OFFSETS_DIR, false, add_segment, &sizes);
        if (sizes.bytes == 0 || sizes.bytes > (uint64_t)log_end_offset(p->log) * 40)
            return false;
    }
    return true;
}

static void check_offsets(struct scenario *s)
{
    for (int g = 0; g < GROUPS; g++)
        ck_assert_int_eq(fetch(s, g), g == DELETED ? NO_OFFSET : 100 + g);
}

/* KAFKA-17306, Kafka PR 2436: a new coordinator did not load all offsets of a compacted topic, or
 * failed at a tombstone whose record was gone before. Segments of many commits are compacted, one
 * group is deleted before and one is deleted and made anew; then coordinators change, and all
 * brokers start anew. */
START_TEST(kafka_17306__compacted_offsets_are_loaded_after_a_failover)
{
    struct scenario s;
    scenario_start(&s, 501);
    for (int g = 0; g < GROUPS; g++)
        (void)snprintf(names[g], sizeof(names[g]), "g%d", g);
    scenario_until(&s, commits, 20000, "a commit");
    scenario_set_config(&s, "__consumer_offsets", "segment.ms", "1500");
    scenario_set_config(&s, "__consumer_offsets", "min.cleanable.dirty.ratio", "0.1");
    for (int64_t round = 0; round < 12; round++) {
        for (int g = 0; g < GROUPS; g++) {
            if (g != DELETED || round < 8)
                ck_assert(commit(&s, g, round == 11 ? 100 + g : round));
        }
        if (round == 5)
            delete_group(&s, 4); /* and it commits again */
        if (round == 9)
            delete_group(&s, DELETED);
        scenario_run_for(&s, 2000);
    }
    scenario_until(&s, compacted, 60000, "the topic is compacted");
    check_offsets(&s);
    for (int i = 0; i < 2; i++) {
        uint32_t old = (uint32_t)coordinator(&s) - 1;
        sim_cluster_kill(s.cluster, old, false);
        scenario_run_for(&s, 2000);
        check_offsets(&s);
        sim_cluster_start(s.cluster, old);
        scenario_run_for(&s, 500);
        scenario_until(&s, scenario_whole, 30000, "whole again");
    }
    for (uint32_t i = 0; i < 3; i++)
        sim_cluster_kill(s.cluster, i, true);
    scenario_run_for(&s, 1000);
    for (uint32_t i = 0; i < 3; i++)
        sim_cluster_start(s.cluster, i);
    scenario_run_for(&s, 500);
    scenario_until(&s, scenario_whole, 30000, "whole again");
    check_offsets(&s);
    scenario_end(&s);
}
END_TEST

UNIT_MAIN("node_bugs_groups", kafka_17306__compacted_offsets_are_loaded_after_a_failover)
