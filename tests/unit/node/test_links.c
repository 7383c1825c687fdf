/* What a broker takes from the links to others: each message comes from who said hello there (rule
 * 1.4), and what counts as a sign that it still leads (3.7). */
#include <string.h>

#include "broker/node/node_internal.h"
#include "proto/base/log.h"
#include "tests/unit/node/scenario.h"

static struct node *controller(struct scenario *s)
{
    int32_t index = sim_cluster_controller(s->cluster);
    ck_assert_int_ge(index, 0);
    return sim_cluster_node(s->cluster, (uint32_t)index);
}

/* The two brokers that are not the controller: who sends, and in whose name. */
static void pick(struct scenario *s, int32_t *ret_sender, int32_t *ret_other)
{
    int32_t id = sim_cluster_controller(s->cluster) + 1;
    *ret_sender = id % 3 + 1;
    *ret_other = (id + 1) % 3 + 1;
}

/* Brokers send their own messages over the link they have dialled or the one they accepted. */
static struct node_link *link_from(struct scenario *s, int32_t sender)
{
    struct node_peer *p = node_peer_find(controller(s), sender);
    ck_assert_ptr_nonnull(p);
    return p->accepted[NODE_CONTROL];
}

static struct node_link *open_link_from(struct scenario *s, int32_t sender)
{
    for (int i = 0; i < 200 && link_from(s, sender) == NULL; i++)
        scenario_run_for(s, 20);
    ck_assert_ptr_nonnull(link_from(s, sender));
    return link_from(s, sender);
}

struct letter {
    Kvorum__PeerMessage m;
    Kvorum__RegisterRequest reg;
    Kvorum__HeartbeatRequest beat;
    Kvorum__AlterPartitionRequest alter;
    Kvorum__ElectionRequest election;
    Kvorum__ProducerIdsRequest ids;
};

static void letter_init(struct letter *t, struct node *as, int kind, uint64_t epoch)
{
    kvorum__peer_message__init(&t->m);
    kvorum__register_request__init(&t->reg);
    kvorum__heartbeat_request__init(&t->beat);
    kvorum__alter_partition_request__init(&t->alter);
    kvorum__election_request__init(&t->election);
    kvorum__producer_ids_request__init(&t->ids);
    t->reg.node_id = t->beat.node_id = t->alter.node_id = node_id(as);
    t->election.node_id = t->ids.node_id = node_id(as);
    t->reg.incarnation = t->beat.incarnation = as->incarnation;
    t->beat.broker_epoch = t->alter.broker_epoch = t->election.broker_epoch = epoch;
    t->ids.broker_epoch = epoch;
    t->beat.want_stop = 1; /* what would be seen */
    t->reg.cluster_id = as->cluster_id;
    t->reg.directory_id.data = as->directory_id.bytes;
    t->reg.directory_id.len = sizeof(as->directory_id.bytes);
    t->m.body_case = (Kvorum__PeerMessage__BodyCase)kind;
    switch (kind) {
    case KVORUM__PEER_MESSAGE__BODY_REGISTER_REQUEST:
        t->m.register_request = &t->reg;
        break;
    case KVORUM__PEER_MESSAGE__BODY_HEARTBEAT_REQUEST:
        t->m.heartbeat_request = &t->beat;
        break;
    case KVORUM__PEER_MESSAGE__BODY_ALTER_PARTITION_REQUEST:
        t->m.alter_partition_request = &t->alter;
        break;
    case KVORUM__PEER_MESSAGE__BODY_ELECTION_REQUEST:
        t->m.election_request = &t->election;
        break;
    default:
        t->m.producer_ids_request = &t->ids;
        break;
    }
}

static void deliver(struct scenario *s, struct node_link *l, const Kvorum__PeerMessage *m)
{
    struct node_message msg = {
        .link = l,
        .peer = node_peer_find(controller(s), l->peer_id),
        .m = m,
        .request_id = 1,
        .reply = {.peer_id = l->peer_id, .link_serial = l->serial, .request_id = 1},
    };
    node_dispatch(controller(s), &msg);
    scenario_run_for(s, 300);
}

static const int kinds[] = {
    KVORUM__PEER_MESSAGE__BODY_REGISTER_REQUEST,
    KVORUM__PEER_MESSAGE__BODY_HEARTBEAT_REQUEST,
    KVORUM__PEER_MESSAGE__BODY_ALTER_PARTITION_REQUEST,
    KVORUM__PEER_MESSAGE__BODY_ELECTION_REQUEST,
    KVORUM__PEER_MESSAGE__BODY_PRODUCER_IDS_REQUEST,
};

START_TEST(message__in_anothers_name_ends_the_link)
{
    struct scenario s;
    int32_t sender = -1;
    int32_t other = -1;
    struct letter t;
    scenario_start(&s, 31);
    pick(&s, &sender, &other);
    struct node *as = sim_cluster_node(s.cluster, (uint32_t)other - 1);
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        struct node_link *l = open_link_from(&s, sender);
        uint64_t serial = l->serial;
        letter_init(&t, as, kinds[i], as->broker_epoch);
        deliver(&s, l, &t.m);
        l = open_link_from(&s, sender);
        ck_assert_msg(l->serial != serial, "body %d was taken in another's name", kinds[i]);
        ck_assert(!meta_image_broker(controller(&s)->image, other)->stopping);
    }
    scenario_end(&s);
}
END_TEST

/* An earlier life of the same broker is another one. */
START_TEST(message__of_another_life_ends_the_link)
{
    struct scenario s;
    int32_t sender = -1;
    int32_t other = -1;
    struct letter t;
    scenario_start(&s, 32);
    pick(&s, &sender, &other);
    struct node *as = sim_cluster_node(s.cluster, (uint32_t)sender - 1);
    for (size_t i = 0; i < 2; i++) {
        struct node_link *l = open_link_from(&s, sender);
        uint64_t serial = l->serial;
        letter_init(&t, as, kinds[i], as->broker_epoch);
        t.reg.incarnation ^= 2;
        t.beat.incarnation ^= 2;
        deliver(&s, l, &t.m);
        ck_assert(open_link_from(&s, sender)->serial != serial);
    }
    scenario_end(&s);
}
END_TEST

/* 3.7: what a fenced broker hears is no word that it still leads. */
START_TEST(heartbeat__of_a_fenced_broker_proves_nothing)
{
    struct scenario s;
    scenario_start(&s, 33);
    uint32_t i = (uint32_t)(sim_cluster_controller(s.cluster) + 1) % 3;
    sim_cluster_kill(s.cluster, i, false);
    scenario_run_for(&s, 1000);
    struct sim_disk_settings *disk =
        sim_disk_settings(sim_host_disk(sim_cluster_host(s.cluster, i)));
    struct sim_disk_settings usual = *disk;
    const struct meta_image *image = controller(&s)->image;
    uint64_t old_epoch = meta_image_broker(image, (int32_t)i + 1)->epoch;
    disk->sync_us_min = disk->sync_us_max = 20000;
    sim_cluster_start(s.cluster, i);
    struct node *n = sim_cluster_node(s.cluster, i);
    for (int ms = 0; meta_image_broker(image, (int32_t)i + 1)->epoch == old_epoch; ms++) {
        ck_assert_int_lt(ms, 20000);
        scenario_run_for(&s, 1);
    }
    /* Registered, and the record is being synced here. Its broker epoch takes long to be on disk,
     * and until then it stays fenced (8.4). */
    scenario_run_for(&s, 25);
    disk->sync_us_min = disk->sync_us_max = 2000000;
    scenario_run_for(&s, 100);
    ck_assert_uint_gt(n->broker_epoch, old_epoch);
    *disk = usual;
    scenario_run_for(&s, 1500);
    ck_assert(n->fenced);
    ck_assert_uint_eq(node_lifecycle_heard_ms(n), 0);
    scenario_until(&s, scenario_all_running, 20000, "the broker runs");
    scenario_run_for(&s, 1000);
    ck_assert_uint_gt(node_lifecycle_heard_ms(n), 0);
    scenario_end(&s);
}
END_TEST

/* ---- what a follower says on its data link ---- */

static struct node_partition *led_orders(struct scenario *s, struct node **ret_follower)
{
    int32_t leader = scenario_leader(s);
    ck_assert_int_gt(leader, 0);
    struct node *n = sim_cluster_node(s->cluster, (uint32_t)leader - 1);
    *ret_follower = sim_cluster_node(s->cluster, (uint32_t)leader % 3);
    return node_partition_find(n, &meta_image_topic(n->image, "orders")->id, 0);
}

static uint64_t silent_ms(struct node_partition *p, struct node *follower)
{
    struct rep_inspect i;
    rep_inspect(p->rep, node_now(p->node), &i);
    for (size_t k = 0; k < i.n_peers; k++) {
        if (i.peers[k].node_id == node_id(follower))
            return node_now(p->node) - i.peers[k].heard_ms;
    }
    return UINT64_MAX;
}

/* Polls go on for other partitions; for one it has let go they are no word in its epoch. */
START_TEST(poll__of_who_follows_no_more_is_no_sign)
{
    struct scenario s;
    struct node *follower = NULL;
    scenario_start(&s, 34);
    struct node_partition *p = led_orders(&s, &follower);
    scenario_run_for(&s, 2000);
    ck_assert_uint_le(silent_ms(p, follower), NODE_FETCH_WAIT_MS + 100);
    Kvorum__PeerMessage m = KVORUM__PEER_MESSAGE__INIT;
    Kvorum__FetchRequest q = KVORUM__FETCH_REQUEST__INIT;
    Kvorum__FetchPartition w = KVORUM__FETCH_PARTITION__INIT;
    Kvorum__FetchPartition *list = &w;
    m.body_case = KVORUM__PEER_MESSAGE__BODY_FETCH_REQUEST;
    m.fetch_request = &q;
    q.partitions = &list;
    q.n_partitions = 1;
    q.has_broker_epoch = 1;
    q.broker_epoch = follower->broker_epoch;
    w.has_topic_id = 1;
    w.topic_id.data = p->topic_id.bytes;
    w.topic_id.len = 16;
    w.has_partition = 1;
    w.has_forget = 1;
    w.forget = 1;
    struct node_peer *peer = node_peer_find(follower, node_id(p->node));
    ck_assert_int_eq(node_link_call(peer->dialled[NODE_DATA], &m, NULL, NULL, NULL), 0);
    scenario_run_for(&s, 1200);
    ck_assert(!node_replicate_followed_by(p, node_id(follower)));
    ck_assert_uint_ge(silent_ms(p, follower), 1200);
    scenario_end(&s);
}
END_TEST

/* Brokers without a control link between them ask each other for a sign of life on the data link;
 * it neither ends the link nor says anything of partitions. */
START_TEST(ping__on_a_data_link_is_answered)
{
    struct scenario s;
    struct node *follower = NULL;
    scenario_start(&s, 35);
    struct node_partition *p = led_orders(&s, &follower);
    struct node_peer *peer = node_peer_find(follower, node_id(p->node));
    struct node_link *l = peer->dialled[NODE_DATA];
    uint64_t serial = l->serial;
    peer->proof_asked = ++follower->proof_sequence;
    peer->proof_link = serial;
    node_link_ping(l, peer->proof_asked);
    scenario_run_for(&s, 200);
    ck_assert_ptr_nonnull(peer->dialled[NODE_DATA]);
    ck_assert_uint_eq(peer->dialled[NODE_DATA]->serial, serial);
    ck_assert_uint_eq(peer->proof_heard, peer->proof_asked);
    scenario_end(&s);
}
END_TEST

static void count_bad(void *arg, enum kb_log_level level, const char *component, const char *text)
{
    int *bad = arg;
    (void)level;
    (void)component;
    *bad += strstr(text, "event=bad_message") != NULL;
}

/* A leader of the quorum is frozen while entries of its own are on their way to the log. When it
 * wakes, others have put theirs in the same places: what it owed to its peers is owed no more. */
START_TEST(leader__that_was_replaced_sends_nothing_of_its_term)
{
    int bad = 0;
    for (uint64_t seed = 61; seed < 81; seed++) {
        struct scenario s;
        scenario_start(&s, seed);
        int32_t index = sim_cluster_controller(s.cluster);
        ck_assert_int_ge(index, 0);
        struct sim_env *env = sim_cluster_env(s.cluster, (uint32_t)index);
        kb_log_set_sink(count_bad, &bad, KB_LOG_WARN);
        for (int i = 0; i < 3; i++) {
            sim_env_freeze(env);
            scenario_run_for(&s, 2500);
            sim_env_thaw(env);
            scenario_run_for(&s, 2500);
            index = sim_cluster_controller(s.cluster);
            env = sim_cluster_env(s.cluster, (uint32_t)(index >= 0 ? index : 0));
        }
        scenario_end(&s);
    }
    ck_assert_int_eq(bad, 0);
}
END_TEST

UNIT_MAIN("node_links", message__in_anothers_name_ends_the_link,
          message__of_another_life_ends_the_link, heartbeat__of_a_fenced_broker_proves_nothing,
          poll__of_who_follows_no_more_is_no_sign, ping__on_a_data_link_is_answered,
          leader__that_was_replaced_sends_nothing_of_its_term)
