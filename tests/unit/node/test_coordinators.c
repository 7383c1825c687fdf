/* Who may answer for a group (G1, G2): not a coordinator that is cut off or was replaced, and its
 * successor only when all that may have been acknowledged is committed and loaded. */
#include "broker/node/node_internal.h"
#include "tests/sim/sim_probe.h"
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

static void read_commit(void *arg, const void *response)
{
    const struct kw_offset_commit_response *r = response;
    *(int *)arg = r != NULL ? r->topics[0].partitions[0].error_code : -2;
}

static void ask_commit(struct scenario *s, int32_t broker, int64_t offset, int *error)
{
    struct kw_offset_commit_request rq;
    struct kw_offset_commit_request_topic topic;
    struct kw_offset_commit_request_partition partition;
    kw_offset_commit_request_init(&rq);
    kw_offset_commit_request_topic_init(&topic);
    kw_offset_commit_request_partition_init(&partition);
    rq.group_id = KW_STR("g");
    rq.generation_id_or_member_epoch = -1;
    rq.topics = &topic;
    rq.topics_count = 1;
    topic.name = KW_STR("orders");
    topic.partitions = &partition;
    topic.partitions_count = 1;
    partition.committed_offset = offset;
    scenario_ask(s, broker, KW_API_OFFSET_COMMIT, &rq, read_commit, error);
}

static int commit(struct scenario *s, int64_t offset)
{
    int error = -1;
    int32_t id = coordinator(s);
    if (id < 0)
        return -1;
    ask_commit(s, id, offset, &error);
    for (int i = 0; i < 60 && error == -1; i++)
        scenario_run_for(s, 100);
    return error;
}

static bool commits_five(struct scenario *s)
{
    return commit(s, 5) == KW_NONE;
}

struct fetched {
    int error; /* -1 none yet, -2 lost */
    int64_t offset;
};

static void read_fetched(void *arg, const void *response)
{
    const struct kw_offset_fetch_response *r = response;
    struct fetched *f = arg;
    f->error = r != NULL ? r->groups[0].error_code : -2;
    f->offset = r != NULL && f->error == KW_NONE
                    ? r->groups[0].topics[0].partitions[0].committed_offset
                    : -1;
}

static void ask_fetch(struct scenario *s, int32_t broker, struct fetched *f)
{
    static int32_t index;
    struct kw_offset_fetch_request rq;
    struct kw_offset_fetch_request_group group;
    struct kw_offset_fetch_request_group_topic topic;
    *f = (struct fetched){.error = -1, .offset = -1};
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
    scenario_ask(s, broker, KW_API_OFFSET_FETCH, &rq, read_fetched, f);
}

static bool fetches_seven(struct scenario *s)
{
    static struct fetched f; /* its answer may come when nobody waits for it any more */
    int32_t id = coordinator(s);
    if (id < 0)
        return false;
    ask_fetch(s, id, &f);
    scenario_run_for(s, 1000);
    ck_assert_msg(f.error != KW_NONE || f.offset == 7, "answered %lld", (long long)f.offset);
    return f.error == KW_NONE;
}

static struct sim_host *host_of(struct scenario *s, int32_t id)
{
    return sim_cluster_host(s->cluster, (uint32_t)id - 1);
}

static void cut_from_others(struct scenario *s, int32_t id, bool cut)
{
    for (int32_t other = 1; other <= 3; other++) {
        if (other == id)
            continue;
        (cut ? sim_net_cut : sim_net_heal)(host_of(s, id), host_of(s, other));
        (cut ? sim_net_cut : sim_net_heal)(host_of(s, other), host_of(s, id));
    }
}

START_TEST(cut_off__coordinator_answers_nothing)
{
    struct scenario s;
    struct fetched f;
    int error = -1;
    scenario_start(&s, 21);
    scenario_until(&s, commits_five, 20000, "a commit");
    int32_t id = coordinator(&s);
    cut_from_others(&s, id, true);
    scenario_run_for(&s, 4000);
    ask_fetch(&s, id, &f);
    ask_commit(&s, id, 6, &error);
    scenario_run_for(&s, 500);
    ck_assert_int_eq(f.error, KW_NOT_COORDINATOR);
    ck_assert_int_eq(error, KW_NOT_COORDINATOR);
    cut_from_others(&s, id, false);
    scenario_until(&s, commits_five, 20000, "commits go on");
    scenario_end(&s);
}
END_TEST

static int32_t controller(const struct scenario *s)
{
    for (uint32_t i = 0; i < 3; i++) {
        if (node_quorum_is_leader(sim_cluster_node(s->cluster, i)))
            return (int32_t)i + 1;
    }
    return -1;
}

/* The controller, which leads a partition, is cut off from all others: they elect after one
 * session, and it must know by then, too. Its own answers to itself are no sign of a controller. */
START_TEST(cut_off__controller_counts_one_session)
{
    for (uint64_t seed = 31, found = 0; found < 3; seed++) {
        struct scenario s;
        int error = -1;
        scenario_start(&s, seed);
        scenario_until(&s, commits_five, 20000, "a commit");
        int32_t id = coordinator(&s);
        if (id == controller(&s)) {
            found++;
            cut_from_others(&s, id, true);
            scenario_run_for(&s, 2100);
            ask_commit(&s, id, 6, &error);
            scenario_run_for(&s, 100);
            ck_assert_int_eq(error, KW_NOT_COORDINATOR);
            cut_from_others(&s, id, false);
            scenario_until(&s, commits_five, 20000, "commits go on");
        }
        scenario_end(&s);
    }
}
END_TEST

START_TEST(replaced__coordinator_answers_nothing)
{
    struct scenario s;
    struct fetched f;
    scenario_start(&s, 22);
    scenario_until(&s, commits_five, 20000, "a commit");
    int32_t old = coordinator(&s);
    sim_env_freeze(sim_cluster_env(s.cluster, (uint32_t)old - 1));
    scenario_run_for(&s, 4000);
    sim_env_thaw(sim_cluster_env(s.cluster, (uint32_t)old - 1));
    scenario_run_for(&s, 500); /* it hears of its successor, and is not preferred again yet */
    ask_fetch(&s, old, &f);
    scenario_run_for(&s, 300);
    ck_assert_int_eq(f.error, KW_NOT_COORDINATOR);
    scenario_end(&s);
}
END_TEST

static void read_described(void *arg, const void *response)
{
    const struct kw_describe_groups_response *r = response;
    *(int *)arg = r != NULL ? r->groups[0].error_code : -2;
}

static void ask_describe(struct scenario *s, int32_t broker, int *error)
{
    struct kw_describe_groups_request rq;
    struct kw_str name = KW_STR("g");
    kw_describe_groups_request_init(&rq);
    rq.groups = &name;
    rq.groups_count = 1;
    scenario_ask(s, broker, KW_API_DESCRIBE_GROUPS, &rq, read_described, error);
}

static bool leads_offsets(struct scenario *s, int32_t id, int32_t *ret_epoch)
{
    struct sim_leader_view view;
    const struct sim_env *env = sim_cluster_env(s->cluster, (uint32_t)id - 1);
    if (env == NULL || sim_env_is_down(env) ||
        !sim_probe_leads(sim_cluster_node(s->cluster, (uint32_t)id - 1), "__consumer_offsets", 0,
                         &view))
        return false;
    *ret_epoch = view.leader_epoch;
    return true;
}

/* It may be the same broker in its next life (4.5): whole, and preferred. */
static int32_t successor, former_epoch;
static bool is_replaced(struct scenario *s)
{
    int32_t epoch = -1;
    successor = coordinator(s);
    return successor > 0 && leads_offsets(s, successor, &epoch) && epoch > former_epoch;
}

/* An offset on two of three disks that must have it, when the coordinator dies: nobody knows yet
 * whether it was acknowledged. The successor holds it, and says nothing before it is committed. */
START_TEST(successor__answers_only_what_is_committed)
{
    struct scenario s;
    struct fetched f;
    int error = -1;
    int described = -1;
    scenario_start(&s, 7);
    scenario_until(&s, commits_five, 20000, "a commit");
    scenario_set_config(&s, "__consumer_offsets", "min.insync.replicas", "3");
    scenario_until(&s, commits_five, 20000, "a commit on three disks");
    int32_t old = coordinator(&s);
    ck_assert(leads_offsets(&s, old, &former_epoch));
    int32_t third = 1;
    while (third == old || third == sim_cluster_controller(s.cluster) + 1)
        third++;
    sim_env_freeze(sim_cluster_env(s.cluster, (uint32_t)third - 1));
    ask_commit(&s, old, 7, &error);
    scenario_run_for(&s, 300);
    ck_assert_int_eq(error, -1);
    sim_cluster_kill(s.cluster, (uint32_t)old - 1, false);
    scenario_run_for(&s, 50);
    sim_cluster_start(s.cluster, (uint32_t)old - 1); /* for a quorum */
    scenario_until(&s, is_replaced, 20000, "a successor");
    ask_describe(&s, successor, &described);
    scenario_run_for(&s, 1000);
    ck_assert_int_ne(described, KW_NONE);
    ask_fetch(&s, successor, &f);
    scenario_run_for(&s, 2000);
    ck_assert_int_ne(f.error, KW_NONE);
    sim_env_thaw(sim_cluster_env(s.cluster, (uint32_t)third - 1));
    scenario_until(&s, fetches_seven, 30000, "the offset is there");
    scenario_end(&s);
}
END_TEST

#define OFFSETS_DIR "/data/__consumer_offsets-0"

struct segments {
    char first[64];
    int count;
};

static int add_segment(void *arg, const char *name, enum kb_fs_type type)
{
    struct segments *l = arg;
    const char *dot = strrchr(name, '.');
    if (type != KB_FS_FILE || dot == NULL || strcmp(dot, ".log") != 0)
        return 0;
    if (l->count++ == 0)
        (void)snprintf(l->first, sizeof(l->first), OFFSETS_DIR "/%s", name);
    return 0;
}

static struct segments segments_of(struct scenario *s, int32_t id)
{
    struct segments l = {.count = 0};
    (void)sim_disk_list(sim_host_disk(host_of(s, id)), OFFSETS_DIR, true, add_segment, &l);
    return l;
}

static bool commits_seven(struct scenario *s)
{
    return commit(s, 7) == KW_NONE;
}

static int32_t victim;
static bool victim_leads(struct scenario *s)
{
    int32_t epoch = -1;
    return leads_offsets(s, victim, &epoch);
}

/* A bit has turned where only a load looks: in a closed segment. Whoever finds it while it loads
 * gives the lead away, for with it nobody could use the groups. */
START_TEST(damaged__log_is_loaded_by_another)
{
    struct scenario s;
    struct kb_view bytes;
    scenario_start(&s, 23);
    scenario_until(&s, commits_five, 20000, "a commit");
    scenario_set_config(&s, "__consumer_offsets", "segment.ms", "500");
    for (int i = 0; i < 4; i++) {
        scenario_until(&s, commits_seven, 20000, "a commit");
        scenario_run_for(&s, 1000);
    }
    victim = coordinator(&s);
    struct segments l = segments_of(&s, victim);
    ck_assert_int_gt(l.count, 1);
    sim_cluster_kill(s.cluster, (uint32_t)victim - 1, true);
    scenario_run_for(&s, 3000);
    struct sim_disk *disk = sim_host_disk(host_of(&s, victim));
    ck_assert_int_eq(sim_disk_view(disk, l.first, true, &bytes), 0);
    ck_assert_int_eq(sim_disk_rot_bit(disk, l.first, bytes.size - 1, 3), 0);
    sim_cluster_start(s.cluster, (uint32_t)victim - 1);
    scenario_until(&s, scenario_all_running, 20000, "it is back");
    scenario_run_for(&s, 3000);
    for (int32_t id = 1; id <= 3; id++) {
        int32_t epoch = -1;
        if (id != victim && leads_offsets(&s, id, &epoch))
            sim_cluster_kill(s.cluster, (uint32_t)id - 1, false);
    }
    scenario_until(&s, victim_leads, 20000, "it leads");
    for (uint32_t i = 0; i < 3; i++)
        sim_cluster_start(s.cluster, i);
    scenario_until(&s, fetches_seven, 20000, "somebody who has it whole tells the offset");
    scenario_end(&s);
}
END_TEST

/* Waits for whatever moves on a broker, as a request for a shard that is being loaded does. */
struct waiting {
    struct node_hold hold;
    struct sim_cluster *cluster;
    uint32_t node;
    uint64_t applied; /* as the last event left it */
    uint64_t most;    /* records applied in one event */
    int looks;
};

static void after_event(void *arg, uint32_t node)
{
    struct waiting *w = arg;
    if (node != w->node)
        return;
    uint64_t applied = meta_image_last_index(sim_cluster_node(w->cluster, node)->image);
    if (applied - w->applied > w->most)
        w->most = applied - w->applied;
    w->applied = applied;
}

static void look(struct node_hold *h)
{
    struct waiting *w = (struct waiting *)h;
    w->looks++;
    ck_assert_uint_eq(meta_image_last_index(h->node->image), w->applied);
    node_hold_add(h->node, h);
}

/* A broker that was away hears of many committed records at once, and replays them one behind the
 * other. In their middle it is what it was some time ago, perhaps a coordinator whose high
 * watermark reaches its epoch's start and whose successor the next record names (simulator seed
 * 16609). Who waits is not answered from there. */
START_TEST(catching_up__broker_answers_nobody_in_the_middle)
{
    struct scenario s;
    char name[16];
    scenario_start(&s, 24);
    uint32_t away = scenario_bystander(&s);
    struct node *n = sim_cluster_node(s.cluster, away);
    struct waiting w = {
        .hold = {.fn = look, .deadline_ms = UINT64_MAX}, .cluster = s.cluster, .node = away};
    scenario_isolate(&s, away, true);
    scenario_run_for(&s, 100);
    for (int i = 1; i <= 5; i++) {
        (void)snprintf(name, sizeof(name), "topic%d", i);
        ck_assert_int_eq(scenario_create(&s, name), KW_NONE);
    }
    w.applied = meta_image_last_index(n->image);
    sim_cluster_on_event(s.cluster, after_event, &w);
    node_hold_add(n, &w.hold);
    scenario_isolate(&s, away, false);
    scenario_run_for(&s, 3000);
    scenario_until(&s, scenario_whole, 20000, "it is back");
    ck_assert_uint_ge(w.most, 5);
    ck_assert_int_gt(w.looks, 0);
    node_hold_remove(&w.hold);
    sim_cluster_on_event(s.cluster, NULL, NULL);
    scenario_end(&s);
}
END_TEST

UNIT_MAIN("node_coordinators", catching_up__broker_answers_nobody_in_the_middle,
          cut_off__controller_counts_one_session, cut_off__coordinator_answers_nothing,
          replaced__coordinator_answers_nothing, successor__answers_only_what_is_committed,
          damaged__log_is_loaded_by_another)
