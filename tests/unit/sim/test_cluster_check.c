/* The checkers of voter sets (R15), of cuts (R9), of brokers (R17), of what is given once (R18) and
 * of the heal (R14, P21), each shown a world in which one promise is broken: exactly that promise
 * must be named. */
#include "proto/cluster/metadata.pb-c.h"
#include "proto/cluster/unpack.h"
#include "tests/sim/sim_env.h"
#include "tests/sim/sim_heal_check.h"
#include "tests/sim/sim_metadata_check.h"
#include "tests/sim/sim_raft_check.h"
#include "tests/sim/sim_voters_check.h"
#include "tests/unit/unit.h"

#define LOG_DIR "data/__cluster_metadata-0"
#define LOG_PATH LOG_DIR "/00000000000000000001.log"

static void expect(const struct sim_checks *checks, int only)
{
    for (int i = 0; i < SIM_CHECK_MAX_; i++) {
        if (i == only)
            ck_assert_msg(checks->check[i].failures > 0, "%s not noticed", sim_check_name(i));
        else
            ck_assert_msg(checks->check[i].failures == 0, "%s: %s", sim_check_name(i),
                          checks->check[i].first);
    }
}

/* ---- batches ---- */

static struct kb_block *entry(int64_t index, int32_t term, const Kc__Record *records, size_t count)
{
    struct kw_batch_builder b;
    struct kb_block *block = NULL;
    kw_batch_builder_init(&b);
    b.base_offset = index;
    b.leader_epoch = term;
    for (size_t i = 0; i < count; i++) {
        struct kb_buf value = {0};
        (void)kc_pack(&value, &records[i].base);
        ck_assert_int_eq(
            kw_batch_builder_add(&b, 1, kw_bytes_of(NULL, 0), kw_bytes_of(value.data, value.size)),
            0);
        kb_buf_release(&value);
    }
    ck_assert_int_eq(kw_batch_builder_finish(&b, &block), 0);
    kw_batch_builder_release(&b);
    return block;
}

/* ---- voter sets ---- */

struct node_disk {
    char directory; /* its id, 0 = none */
    uint64_t term;
    int32_t voted_for;
    bool barred;
};

static struct {
    struct sim_checks checks;
    struct sim_world *world;
    struct sim_disk *disks[4];
    struct node_disk on[4];
    struct kb_buf logs[4];
    struct sim_voters_check *check;
    uint64_t led; /* this term had a leader, node 1 */
} v;

static const struct node_disk *of(struct sim_disk *disk)
{
    for (int i = 0; i < 4; i++) {
        if (v.disks[i] == disk)
            return &v.on[i];
    }
    ck_abort();
}

static int directory_of(struct sim_disk *disk, uint8_t ret[SIM_DIRECTORY_BYTES])
{
    memset(ret, of(disk)->directory, SIM_DIRECTORY_BYTES);
    return of(disk)->directory != 0;
}

static int vote_of(struct sim_disk *disk, uint64_t *ret_term, int32_t *ret_voted_for)
{
    *ret_term = of(disk)->term;
    *ret_voted_for = of(disk)->voted_for;
    return 1;
}

static int barred_of(struct sim_disk *disk, bool *ret)
{
    *ret = of(disk)->barred;
    return 1;
}

static int32_t leader_of(void *arg, uint64_t term)
{
    return term == v.led ? 1 : -1;
}

/* A set of nodes 1.., with these directories; a blank stands for nobody. */
static struct sim_voter_set set_of(uint64_t index, const char *directories)
{
    struct sim_voter_set set = {.index = index};
    for (int32_t i = 0; directories[i] != '\0'; i++) {
        if (directories[i] == ' ')
            continue;
        set.voters[set.count].id = i + 1;
        memset(set.voters[set.count++].directory, directories[i], SIM_DIRECTORY_BYTES);
    }
    return set;
}

/* Four nodes; the first three are voters, with directories a, b and c. */
static void voters_begin(void)
{
    struct sim_voters_options o = {.checks = &v.checks,
                                   .disk_count = 4,
                                   .first_id = 1,
                                   .log_dir = LOG_DIR,
                                   .directory_of = directory_of,
                                   .vote_of = vote_of,
                                   .barred_of = barred_of};
    memset(&v, 0, sizeof(v));
    v.world = sim_world_new(1);
    for (int i = 0; i < 4; i++) {
        char name[8] = {'n', (char)('1' + i)};
        v.disks[i] = o.disks[i] = sim_host_disk(sim_world_add_host(v.world, name));
        v.on[i] = (struct node_disk){.directory = (char)('a' + i), .voted_for = -1};
    }
    v.check = sim_voters_check_new(&o);
    struct sim_voter_set set = set_of(0, "abc");
    sim_voters_check_know(v.check, &set);
}

static void voters_end(int only)
{
    v.check = sim_voters_check_free(v.check);
    for (int i = 0; i < 4; i++)
        kb_buf_release(&v.logs[i]);
    v.world = sim_world_free(v.world);
    expect(&v.checks, only);
}

static void vote(uint32_t disk, uint64_t term, int32_t voted_for)
{
    v.on[disk].term = term;
    v.on[disk].voted_for = voted_for;
    sim_voters_check_disk(v.check, disk, leader_of, NULL);
}

static void elected(uint32_t disk, uint64_t term, const char *set)
{
    struct sim_voter_set s = set_of(0, set);
    sim_voters_check_elected(v.check, disk, term, &s);
}

START_TEST(voters_check__accepts_votes_of_the_set)
{
    voters_begin();
    vote(0, 1, 1);
    vote(1, 1, 1);
    elected(0, 1, "abc");
    v.on[2].directory = 'x'; /* node 3 comes back blank, and is let in anew */
    sim_voters_check_disk(v.check, 2, leader_of, NULL);
    struct sim_voter_set now = set_of(9, "abx");
    sim_voters_check_know(v.check, &now);
    vote(2, 2, 3);
    vote(1, 2, 3);
    elected(2, 2, "abx");
    ck_assert_uint_gt(v.checks.check[SIM_CHECK_R15].checks, 4);
    voters_end(-1);
}
END_TEST

START_TEST(voters_check__names_votes_of_other_directories)
{
    voters_begin();
    v.on[2].directory = 'x';
    vote(2, 1, 1); /* nobody has let it in */
    voters_end(SIM_CHECK_R15);
    voters_begin();
    vote(3, 1, 1); /* a broker without a vote */
    voters_end(SIM_CHECK_R15);
    voters_begin(); /* one of three, and one that is in another's set only */
    struct sim_voter_set other = set_of(5, "abx");
    sim_voters_check_know(v.check, &other);
    v.on[2].directory = 'x';
    vote(0, 1, 1);
    vote(2, 1, 1);
    elected(0, 1, "abc");
    voters_end(SIM_CHECK_R15);
    voters_begin(); /* it leads, and is not of its set */
    vote(0, 1, 1);
    vote(1, 1, 1);
    elected(0, 1, "xbc");
    voters_end(SIM_CHECK_R15);
}
END_TEST

/* Seed 1628: its disk had that vote under its own name. */
START_TEST(voters_check__accepts_the_vote_of_before_under_a_damaged_name)
{
    voters_begin();
    vote(2, 1, 1);
    v.on[2].directory = 'x';
    vote(2, 1, 1);
    voters_end(-1);
    voters_begin(); /* another one */
    vote(2, 1, 1);
    v.on[2].directory = 'x';
    vote(2, 2, 1);
    voters_end(SIM_CHECK_R15);
}
END_TEST

/* Seed 3000855: what a barred directory notes when a leader has brought it up is not a vote that
 * counts, whether it is one of a set or not. */
static void observer_freed(bool barred, uint64_t term, int32_t voted_for, int only)
{
    voters_begin();
    v.led = 4;
    v.on[3].barred = barred;
    vote(3, 4, -1);
    v.on[3].barred = false;
    vote(3, term, voted_for);
    voters_end(only);
}

START_TEST(voters_check__accepts_an_observer_that_was_barred)
{
    observer_freed(true, 4, 1, -1);
    observer_freed(false, 4, 1, SIM_CHECK_R15); /* it never was */
    observer_freed(true, 4, 2, SIM_CHECK_R15);  /* not its leader */
    observer_freed(true, 5, 1, SIM_CHECK_R15);  /* a candidate of the next term */
    voters_begin();                             /* freed in term 4, it votes in the next */
    v.led = 4;
    v.on[3].barred = true;
    vote(3, 4, -1);
    v.on[3].barred = false;
    vote(3, 4, 1);
    vote(3, 5, 1);
    voters_end(SIM_CHECK_R15);
}
END_TEST

START_TEST(voters_check__names_a_damaged_directory_that_votes)
{
    voters_begin();
    vote(1, 3, 1);
    sim_voters_check_damaged(v.check, 1);
    v.on[1].barred = true;
    vote(1, 4, -1); /* a later term is no vote */
    v.led = 4;
    v.on[1].barred = false;
    vote(1, 4, 3); /* a leader has brought it up */
    vote(1, 5, 1);
    voters_end(-1);
    voters_begin();
    vote(1, 3, 1);
    sim_voters_check_damaged(v.check, 1);
    v.on[1].barred = true;
    vote(1, 4, 3);
    voters_end(SIM_CHECK_R15);
    voters_begin();
    vote(1, 3, 1);
    sim_voters_check_damaged(v.check, 1);
    vote(1, 3, 1); /* not written yet */
    ck_assert_uint_eq(v.checks.check[SIM_CHECK_R15].failures, 0);
    v.led = 4;
    vote(1, 4, 3); /* as if nothing had happened */
    voters_end(SIM_CHECK_R15);
}
END_TEST

static void changed(const char *from, const char *to, uint64_t committed, bool own)
{
    struct sim_voter_set a = set_of(5, from), b = set_of(8, to);
    sim_voters_check_changed(v.check, 0, &a, &b, committed, own);
}

START_TEST(voters_check__names_changes_too_many_or_too_early)
{
    voters_begin();
    changed("abc", "ab", 7, true);
    changed("ab", "abx", 7, true);
    changed("abc", "abc", 1, false); /* no voter changes */
    ck_assert_uint_eq(v.checks.check[SIM_CHECK_R15].failures, 0);
    changed("abc", "abx", 7, true); /* out and in at once */
    ck_assert_uint_eq(v.checks.check[SIM_CHECK_R15].failures, 1);
    changed("abc", "ab", 4, true); /* the one before is not committed */
    ck_assert_uint_eq(v.checks.check[SIM_CHECK_R15].failures, 2);
    changed("abc", "ab", 7, false);
    ck_assert_uint_eq(v.checks.check[SIM_CHECK_R15].failures, 3);
    voters_end(SIM_CHECK_R15);
}
END_TEST

static struct sim_log_batch append_to(int disk, int64_t index)
{
    Kc__NoOpRecord no_op = KC__NO_OP_RECORD__INIT;
    Kc__Record record = KC__RECORD__INIT;
    struct sim_log log = {0};
    record.kind_case = KC__RECORD__KIND_NO_OP;
    record.no_op = &no_op;
    struct kb_block *b = entry(index, 1, &record, 1);
    kb_buf_append(&v.logs[disk], b->data, b->size);
    sim_disk_put(v.disks[disk], LOG_PATH, v.logs[disk].data, v.logs[disk].size);
    (void)kb_block_unref(b);
    sim_log_refresh(&log, v.disks[disk], LOG_DIR, true);
    struct sim_log_batch last = log.batches[log.count - 1];
    sim_log_release(&log);
    return last;
}

static void committed(const struct sim_log_batch *e)
{
    struct sim_voter_set set = set_of(0, "abc");
    sim_voters_check_committed(v.check, 0, &set, e);
}

START_TEST(voters_check__names_copies_that_do_not_count)
{
    voters_begin();
    for (uint32_t i = 0; i < 4; i++)
        sim_voters_check_disk(v.check, i, leader_of, NULL);
    struct sim_log_batch e = append_to(0, 1);
    (void)append_to(1, 1);
    committed(&e);
    sim_voters_check_leaves(v.check, 1); /* it has reported this one */
    v.on[1].directory = 'x';
    committed(&e);
    ck_assert_uint_eq(v.checks.check[SIM_CHECK_R15].failures, 0);
    e = append_to(0, 2);
    (void)append_to(1, 2); /* blank, and not let in */
    (void)append_to(3, 2); /* no voter */
    committed(&e);
    voters_end(SIM_CHECK_R15);
}
END_TEST

/* ---- cuts ---- */

START_TEST(raft_check__names_cuts_below_commit)
{
    for (int bad = 0; bad < 3; bad++) {
        struct sim_checks checks = {0};
        struct sim_world *w = sim_world_new(1);
        struct sim_raft_options o = {
            .checks = &checks, .voter_count = 1, .first_id = 1, .log_dir = LOG_DIR};
        o.disks[0] = sim_host_disk(sim_world_add_host(w, "n1"));
        struct sim_raft_check *c = sim_raft_check_new(&o);
        struct sim_raft_view view = {
            .life = 1, .last_index = 9, .commit_index = 5, .leader_commit = 5};
        sim_raft_check_step(c, 0, &view);
        view.cuts++;
        view.cut_index = 7;
        view.last_index = 7;
        sim_raft_check_step(c, 0, &view); /* what is not committed may go */
        view.cuts++;
        view.cut_index = 5;
        view.last_index = 8; /* cut, and longer again in the same step */
        sim_raft_check_step(c, 0, &view);
        ck_assert_uint_eq(checks.check[SIM_CHECK_R9].checks, 2);
        ck_assert_uint_eq(checks.check[SIM_CHECK_R9].failures, 0);
        view.cuts += bad > 0;
        view.cut_index = bad == 1 ? 4 : view.cut_index;
        view.last_index = bad == 2 ? 4 : view.last_index;
        sim_raft_check_step(c, 0, &view);
        view.life++; /* a new life knows nothing of it */
        view.last_index = view.commit_index = view.leader_commit = 0;
        sim_raft_check_step(c, 0, &view);
        (void)sim_raft_check_free(c);
        (void)sim_world_free(w);
        expect(&checks, bad > 0 ? SIM_CHECK_R9 : -1);
    }
}
END_TEST

/* ---- brokers, and what is given once ---- */

static uint8_t topic_id[16] = {7};

static struct {
    struct sim_checks checks;
    struct sim_metadata_check *check;
    int64_t index;
} m;

static void put(const Kc__Record *records, size_t count)
{
    struct kb_block *b = entry(m.index, 1, records, count);
    sim_metadata_check_batch(m.check, kb_view_of(b->data, b->size));
    m.index += (int64_t)count;
    (void)kb_block_unref(b);
}

static Kc__Record broker(Kc__BrokerRecord *r, int32_t id, uint64_t incarnation)
{
    Kc__Record record = KC__RECORD__INIT;
    *r = (Kc__BrokerRecord)KC__BROKER_RECORD__INIT;
    r->has_broker_id = r->has_incarnation = 1;
    r->broker_id = id;
    r->incarnation = incarnation;
    record.kind_case = KC__RECORD__KIND_BROKER;
    record.broker = r;
    return record;
}

static Kc__Record change(Kc__BrokerChangeRecord *r, int32_t id, int64_t epoch, int fenced,
                         int stopping)
{
    Kc__Record record = KC__RECORD__INIT;
    *r = (Kc__BrokerChangeRecord)KC__BROKER_CHANGE_RECORD__INIT;
    r->has_broker_id = r->has_broker_epoch = 1;
    r->broker_id = id;
    r->broker_epoch = (uint64_t)epoch;
    r->has_fenced = fenced >= 0;
    r->fenced = fenced == 1;
    r->has_stopping = stopping >= 0;
    r->stopping = stopping == 1;
    record.kind_case = KC__RECORD__KIND_BROKER_CHANGE;
    record.broker_change = r;
    return record;
}

static Kc__Record partition(Kc__PartitionRecord *r, int32_t epoch, int32_t *isr, size_t count)
{
    static int32_t replicas[] = {1, 2};
    Kc__Record record = KC__RECORD__INIT;
    *r = (Kc__PartitionRecord)KC__PARTITION_RECORD__INIT;
    r->has_topic_id = r->has_partition = r->has_leader = r->has_leader_epoch = 1;
    r->has_partition_epoch = 1;
    r->topic_id = (ProtobufCBinaryData){.len = 16, .data = topic_id};
    r->leader = isr[0];
    r->partition_epoch = epoch;
    r->replicas = replicas;
    r->n_replicas = 2;
    r->isr = isr;
    r->n_isr = count;
    record.kind_case = KC__RECORD__KIND_PARTITION;
    record.partition = r;
    return record;
}

static void put_broker(int32_t id, uint64_t incarnation)
{
    Kc__BrokerRecord b;
    Kc__Record r = broker(&b, id, incarnation);
    put(&r, 1);
}

static void put_change(int32_t id, int64_t epoch, int fenced, int stopping)
{
    Kc__BrokerChangeRecord c;
    Kc__Record r = change(&c, id, epoch, fenced, stopping);
    put(&r, 1);
}

static void put_isr(int32_t epoch, int32_t a, int32_t b)
{
    Kc__PartitionRecord p;
    int32_t isr[] = {a, b};
    Kc__Record r = partition(&p, epoch, isr, b >= 0 ? 2 : 1);
    put(&r, 1);
}

/* Brokers 1 (epoch 1) and 2 (epoch 2) run; both are in the ISR of a partition. */
static void metadata_begin(void)
{
    memset(&m, 0, sizeof(m));
    m.index = 1;
    m.check = sim_metadata_check_new(&m.checks);
    put_broker(1, 100);
    put_broker(2, 200);
    put_change(1, 1, 0, -1);
    put_change(2, 2, 0, -1);
    put_isr(0, 1, 2);
}

static void metadata_end(int only)
{
    m.check = sim_metadata_check_free(m.check);
    expect(&m.checks, only);
}

START_TEST(metadata_check__knows_who_was_always_alone)
{
    metadata_begin();
    put_isr(1, 1, -1); /* it was not */
    ck_assert(!sim_metadata_check_alone(m.check, 1));
    topic_id[0]++;
    put_isr(0, 1, -1);
    put_isr(1, 1, -1);
    ck_assert(sim_metadata_check_alone(m.check, 1));
    ck_assert(!sim_metadata_check_alone(m.check, 2));
    put_isr(2, 1, 2);
    ck_assert(!sim_metadata_check_alone(m.check, 1));
    put_isr(3, 1, -1);
    ck_assert(!sim_metadata_check_alone(m.check, 1));
    topic_id[0]--;
    metadata_end(-1);
}
END_TEST

START_TEST(metadata_check__knows_brokers_that_come_and_go)
{
    metadata_begin();
    Kc__PartitionRecord p;
    Kc__BrokerChangeRecord c;
    int32_t one[] = {1}, both[] = {1, 2};
    Kc__Record fenced[] = {partition(&p, 1, one, 1), change(&c, 2, 2, 1, -1)};
    put(fenced, 2);
    int64_t epoch = m.index;
    put_broker(2, 201);
    /* In one batch: what comes first may rest on what comes last. */
    Kc__Record unfenced[] = {partition(&p, 2, both, 2), change(&c, 2, epoch, 0, -1)};
    put(unfenced, 2);
    put_change(2, epoch, -1, 1);
    put_isr(3, 1, 2); /* a member that stops stays for a while */
    Kc__BrokerRecord moved;
    Kc__Record r = broker(&moved, 2, 201); /* the same life, another address */
    moved.has_epoch = moved.has_unfenced = 1;
    moved.epoch = (uint64_t)epoch;
    moved.unfenced = 1;
    put(&r, 1);
    ck_assert_uint_eq(sim_metadata_check_broker_epoch(m.check, 2, NULL), (uint64_t)epoch);
    ck_assert_uint_gt(m.checks.check[SIM_CHECK_R17].checks, 6);
    ck_assert_uint_gt(m.checks.check[SIM_CHECK_R18].checks, 2);
    metadata_end(-1);
}
END_TEST

START_TEST(metadata_check__names_what_old_and_fenced_brokers_do)
{
    metadata_begin();
    put_change(2, 1, 1, -1); /* of an epoch it does not have */
    metadata_end(SIM_CHECK_R17);
    metadata_begin();
    put_isr(1, 1, -1);
    put_change(2, 2, 1, -1);
    put_isr(2, 1, 2); /* fenced, and in a new ISR */
    metadata_end(SIM_CHECK_R17);
    metadata_begin();
    put_isr(1, 1, -1);
    put_change(2, 2, -1, 1);
    put_isr(2, 1, 2); /* stopping, and joins */
    metadata_end(SIM_CHECK_R17);
    metadata_begin();
    Kc__BrokerRecord b;
    Kc__Record r = broker(&b, 2, 200); /* another epoch in the same life */
    b.has_epoch = 1;
    b.epoch = 77;
    put(&r, 1);
    metadata_end(SIM_CHECK_R17);
}
END_TEST

static void put_topic(void)
{
    Kc__TopicRecord t = KC__TOPIC_RECORD__INIT;
    Kc__Record r = KC__RECORD__INIT;
    t.has_topic_id = 1;
    t.topic_id = (ProtobufCBinaryData){.len = 16, .data = topic_id};
    t.name = (char *)(uintptr_t) "t";
    r.kind_case = KC__RECORD__KIND_TOPIC;
    r.topic = &t;
    put(&r, 1);
}

static void put_topic_remove(void)
{
    Kc__TopicRemoveRecord t = KC__TOPIC_REMOVE_RECORD__INIT;
    Kc__Record r = KC__RECORD__INIT;
    t.has_topic_id = 1;
    t.topic_id = (ProtobufCBinaryData){.len = 16, .data = topic_id};
    r.kind_case = KC__RECORD__KIND_TOPIC_REMOVE;
    r.topic_remove = &t;
    put(&r, 1);
}

static void put_ids(int64_t next)
{
    Kc__ProducerIdsRecord p = KC__PRODUCER_IDS_RECORD__INIT;
    Kc__Record r = KC__RECORD__INIT;
    p.has_next_id = 1;
    p.next_id = next;
    r.kind_case = KC__RECORD__KIND_PRODUCER_IDS;
    r.producer_ids = &p;
    put(&r, 1);
}

START_TEST(metadata_check__names_what_is_given_twice)
{
    metadata_begin();
    put_ids(1000);
    put_ids(2000);
    put_topic();
    ck_assert_int_eq(sim_metadata_check_producer_ids(m.check), 2000);
    ck_assert(sim_metadata_check_topic(m.check, topic_id));
    ck_assert_uint_eq(m.checks.check[SIM_CHECK_R18].failures, 0);
    put_ids(2000);
    metadata_end(SIM_CHECK_R18);
    metadata_begin();
    put_topic();
    put_topic_remove();
    put_topic(); /* the id of one that is gone */
    metadata_end(SIM_CHECK_R18);
    metadata_begin();
    Kc__BrokerRecord b;
    Kc__Record r = broker(&b, 3, 300); /* an epoch that another broker has */
    b.has_epoch = 1;
    b.epoch = 2;
    put(&r, 1);
    metadata_end(SIM_CHECK_R18);
}
END_TEST

/* ---- the heal ---- */

START_TEST(metadata_check__tells_what_is_not_whole)
{
    char text[96];
    metadata_begin();
    ck_assert(sim_metadata_check_whole(m.check, text));
    put_isr(1, 1, -1);
    ck_assert(!sim_metadata_check_whole(m.check, text));
    ck_assert_ptr_nonnull(strstr(text, "leader 1, ISR 2 of 6"));
    put_topic();
    put_topic_remove(); /* nobody waits for what is gone */
    ck_assert(sim_metadata_check_whole(m.check, text));
    metadata_end(-1);
}
END_TEST

#define MS UINT64_C(1000)

START_TEST(heal_check__names_a_quorum_that_is_late)
{
    for (int bad = 0; bad < 4; bad++) {
        struct sim_checks checks = {0};
        struct sim_heal_check h = {0};
        sim_heal_check_step(&h, 5 * MS, false, 3, "nothing"); /* not healed yet */
        sim_heal_check_begin(&h, &checks, 10 * MS, 7);
        uint64_t late = 10 * MS + SIM_HEAL_QUORUM_MS * MS + 1;
        sim_heal_check_step(&h, 20 * MS, true, 7, NULL);  /* a leader alone is not enough */
        sim_heal_check_step(&h, 30 * MS, false, 8, NULL); /* nor is what a former one wrote */
        ck_assert_uint_eq(checks.check[SIM_CHECK_R14].checks, 0);
        if (bad == 0)
            sim_heal_check_step(&h, 40 * MS, true, 8, NULL);
        else
            sim_heal_check_step(&h, late, bad == 1, bad == 2 ? 8 : 7, NULL);
        sim_heal_check_step(&h, late + MS, true, 9, NULL);
        ck_assert_uint_eq(checks.check[SIM_CHECK_R14].checks, 1);
        ck_assert_uint_eq(h.quorum_us, bad == 0 ? 30 * MS : SIM_HEAL_QUORUM_MS * MS + 1 + MS);
        expect(&checks, bad > 0 ? SIM_CHECK_R14 : -1);
    }
}
END_TEST

START_TEST(heal_check__names_partitions_that_are_not_whole)
{
    for (int bad = 0; bad < 4; bad++) {
        struct sim_checks checks = {0};
        struct sim_heal_check h = {0};
        sim_heal_check_begin(&h, &checks, 10 * MS, 7);
        uint64_t late = 10 * MS + SIM_HEAL_WHOLE_MS * MS + 1;
        sim_heal_check_step(&h, 20 * MS, true, 8, "p-0");
        if (bad != 1)
            sim_heal_check_step(&h, 30 * MS, true, 8, NULL);
        sim_heal_check_step(&h, 40 * MS, true, 8, "p-0");
        if (bad != 1)
            sim_heal_check_step(&h, 50 * MS, true, 8, NULL);
        if (bad > 0)
            sim_heal_check_step(&h, bad < 3 ? late : 60 * MS, true, 8, "p-0");
        sim_heal_check_end(&h, bad == 3 ? "p-0" : NULL);
        ck_assert_uint_eq(h.whole_us, bad == 1 ? 0 : 40 * MS);
        ck_assert_uint_gt(checks.check[SIM_CHECK_P21].checks, 0);
        expect(&checks, bad > 0 ? SIM_CHECK_P21 : -1);
    }
}
END_TEST

/* A turned bit found late gives its replica as long again, and none that was missing before. */
START_TEST(heal_check__counts_from_a_turned_bit_that_is_found)
{
    for (int bad = 0; bad < 4; bad++) {
        struct sim_checks checks = {0};
        struct sim_heal_check h = {0};
        sim_heal_check_begin(&h, &checks, 10 * MS, 7);
        sim_heal_check_step(&h, 20 * MS, true, 8, bad == 1 ? "p-0" : NULL);
        uint64_t found = 10 * MS + SIM_HEAL_WHOLE_MS * MS;
        uint64_t late = found + SIM_HEAL_WHOLE_MS * MS + 1;
        if (bad != 2)
            sim_heal_check_found(&h, found);
        sim_heal_check_step(&h, found + MS, true, 8, "p-0");
        sim_heal_check_step(&h, bad == 3 ? late : late - 1, true, 8, bad == 3 ? "p-0" : NULL);
        sim_heal_check_end(&h, NULL);
        expect(&checks, bad > 0 ? SIM_CHECK_P21 : -1);
    }
}
END_TEST

UNIT_MAIN("sim_cluster_check", voters_check__accepts_votes_of_the_set,
          voters_check__names_votes_of_other_directories,
          voters_check__accepts_the_vote_of_before_under_a_damaged_name,
          voters_check__accepts_an_observer_that_was_barred,
          voters_check__names_a_damaged_directory_that_votes,
          voters_check__names_changes_too_many_or_too_early,
          voters_check__names_copies_that_do_not_count, raft_check__names_cuts_below_commit,
          metadata_check__knows_who_was_always_alone,
          metadata_check__knows_brokers_that_come_and_go,
          metadata_check__names_what_old_and_fenced_brokers_do,
          metadata_check__names_what_is_given_twice, metadata_check__tells_what_is_not_whole,
          heal_check__names_a_quorum_that_is_late, heal_check__names_partitions_that_are_not_whole,
          heal_check__counts_from_a_turned_bit_that_is_found)
